# SPDX-License-Identifier: Apache-2.0
"""Many waits, one quota.

One :class:`RecordWatcher` asks for all recordings of an account that anybody in an event loop
waits for: one request in flight per recording, duplicates joined, every request on a turn of
the account's quota. A wait is only a task id and a deadline, so any restart resumes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import math
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass, field, replace
from weakref import WeakKeyDictionary

from tiw_automation.core.client import TiwClient
from tiw_automation.core.errors import (
    ConfigurationError,
    RequestLimitExceeded,
    TiwError,
    WaitTimeout,
)
from tiw_automation.core.order import LongestDueFirst, PollOrder
from tiw_automation.core.records import (
    Acceptance,
    OnlineRecord,
    Outcome,
    Verdict,
    check_task_id,
    check_task_ids,
    judge,
)
from tiw_automation.core.settings import Settings
from tiw_automation.core.threads import DaemonThreads

logger = logging.getLogger(__name__)

DEFAULT_POLL_INTERVAL_S = 5.0

_ACTION = "DescribeOnlineRecord"
# 20 requests a second and round trips of up to 0.8 s; a slower line loses pace, not waits.
_CALLS_AT_ONCE = 16
_RETRY_BASE_S = 1.0
_RETRY_CAP_S = 30.0
# Answers without a Status in a row before a wait gives up on them.
_STATUSLESS_LIMIT = 5
# Attempts at one answer where the caller wants just one.
_ATTEMPTS = 4

_Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class WatcherStats:
    """A watcher's counters since it was made; ``waits`` is the number of recordings now."""

    waits: int
    polls: int
    rejects: int
    errors: int


class _Mailbox:
    """Where one caller's waits report to."""

    __slots__ = ("_ready", "news")

    def __init__(self) -> None:
        self.news: deque[_Wait] = deque()
        self._ready: asyncio.Future[None] | None = None

    def put(self, wait: _Wait) -> None:
        if not wait.reported:
            wait.reported = True
            self.news.append(wait)
        if self._ready is not None and not self._ready.done():
            self._ready.set_result(None)

    async def get(self, timeout_s: float | None) -> _Wait | None:
        """Return a wait with news, or None after ``timeout_s``."""
        if timeout_s == math.inf:
            timeout_s = None
        if not self.news:
            self._ready = asyncio.get_running_loop().create_future()
            try:
                await asyncio.wait_for(self._ready, timeout_s)
            except TimeoutError:
                return None
            finally:
                self._ready = None
        wait = self.news.popleft()
        wait.reported = False
        return wait


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a caller agrees to for all its recordings."""

    acceptance: Acceptance
    poll_interval_s: float
    once: bool


@dataclass(slots=True, eq=False)
class _Wait:
    """One caller's interest in one recording."""

    mailbox: _Mailbox
    terms: _Terms
    outcome: Outcome
    settled: bool = False
    last: bool = False
    reported: bool = False
    told: str | None = None

    def take(self, outcome: Outcome, poll: _Poll) -> None:
        # A fault on the way does not make what was seen before unseen.
        record = outcome.record or self.outcome.record
        self.outcome = replace(outcome, record=record)
        self.settled = self.last or outcome.is_final or poll.gives_up(outcome, self.terms.once)
        self.mailbox.put(self)


@dataclass(slots=True, eq=False)
class _Poll:
    """One recording that somebody waits for."""

    key: _Key
    waits: list[_Wait] = field(default_factory=list)
    due: float = math.inf
    in_flight: bool = False
    errors_in_a_row: int = 0
    statusless_in_a_row: int = 0
    hinted: bool = False

    def count(self, outcome: Outcome) -> None:
        failed = outcome.verdict is Verdict.UNKNOWN
        self.errors_in_a_row = self.errors_in_a_row + 1 if failed else 0
        statusless = failed and outcome.record is not None
        self.statusless_in_a_row = self.statusless_in_a_row + 1 if statusless else 0

    def gives_up(self, outcome: Outcome, once: bool) -> bool:
        if outcome.verdict is not Verdict.UNKNOWN:
            return once
        if outcome.error is not None and not outcome.error.retryable:
            return True
        if self.statusless_in_a_row >= _STATUSLESS_LIMIT:
            return True
        return once and self.errors_in_a_row >= _ATTEMPTS


class RecordWatcher:
    """Waits for recordings, many at a time, on one account's quota.

    A watcher belongs to the event loop in which it is first used, needs no closing and rests
    while nobody waits. A fault on the way (network, throttling, Tencent's own errors) delays
    the recording that met it, with full jitter, and never ends a wait.

    :param client: makes the calls; its ``sdk_app_id`` is the default of every method here.
    :param order: decides which recording is asked for next.
    :param jitter: returns a number between 0 and 1.
    """

    def __init__(
        self,
        client: TiwClient,
        *,
        order: PollOrder[_Key] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.client = client
        self._order: PollOrder[_Key] = LongestDueFirst() if order is None else order
        self._jitter = jitter
        self._polls: dict[_Key, _Poll] = {}
        self._threads = DaemonThreads(_CALLS_AT_ONCE, "tiw-call")
        self._calls_in_flight = 0
        self._changed = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None
        self._sent = 0
        self._rejects = 0
        self._errors = 0

    @classmethod
    def shared(cls, client: TiwClient) -> RecordWatcher:
        """Return the running loop's one watcher for the client's account and settings.

        The first client of equal settings is the one that calls; the others are closed.
        """
        watchers = _shared.setdefault(asyncio.get_running_loop(), {})
        watcher = watchers.get(client.settings)
        if watcher is None:
            watcher = watchers[client.settings] = cls(client)
        elif watcher.client is not client:
            client.close()
        return watcher

    @property
    def polls(self) -> int:
        """The requests sent so far."""
        return self._sent

    def stats(self) -> WatcherStats:
        """Return the counters."""
        return WatcherStats(len(self._polls), self._sent, self._rejects, self._errors)

    async def wait(
        self,
        task_id: str,
        *,
        sdk_app_id: int | str | None = None,
        timeout: float | None = None,
        acceptance: Acceptance | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        initial_delay: float = 0.0,
    ) -> OnlineRecord:
        """Wait until a recording is FINISHED and return it.

        :param timeout: seconds to wait, or None without end.
        :param acceptance: which finished recordings count as good.
        :param poll_interval: the least seconds between two requests for this recording; the
            quota decides the rest.
        :param initial_delay: seconds before the first request.
        :raises RecordFailed: it failed, or finished in a way that is not accepted.
        :raises TaskNotFound: there is no such recording.
        :raises WaitTimeout: the time ran out; it holds what was last seen.
        :raises TiwError: the API refuses to say (keys, permission, settings).
        """
        outcomes = self.watch(
            check_task_id(task_id),
            sdk_app_id=sdk_app_id,
            timeout=timeout,
            acceptance=acceptance,
            poll_interval=poll_interval,
            initial_delay=initial_delay,
        )
        async with contextlib.aclosing(outcomes):
            return (await anext(outcomes)).raise_for_verdict()

    def watch(
        self,
        task_ids: str | Iterable[str],
        *,
        sdk_app_id: int | str | None = None,
        timeout: float | None = None,
        acceptance: Acceptance | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        initial_delay: float = 0.0,
        on_change: Callable[[Outcome], None] | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Yield each recording's end as it comes, once for each distinct id.

        Never raises for one of them: a recording that is still pending when the time runs out
        comes with a :class:`WaitTimeout` as its error, one that the API refuses to speak of
        with the refusal. A request that is under way when the time runs out is still heard.
        Close the generator (``contextlib.aclosing``) where it is left early.

        :param on_change: called with what is known of a recording whenever its status changes.
        :raises ConfigurationError: an argument makes no sense; nothing was sent.
        """
        _check_seconds("timeout", timeout)
        _check_seconds("poll_interval", poll_interval)
        _check_seconds("initial_delay", initial_delay)
        return self._follow(
            self._keys(task_ids, sdk_app_id),
            _Terms(acceptance or Acceptance(), poll_interval, once=False),
            timeout=timeout,
            initial_delay=initial_delay,
            on_change=on_change,
        )

    def describe(
        self,
        task_ids: str | Iterable[str],
        *,
        sdk_app_id: int | str | None = None,
        acceptance: Acceptance | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Yield what is known of each recording now, once for each distinct id, as it comes.

        Every recording is asked for once; a fault on the way is tried again a few times.

        :raises ConfigurationError: an argument makes no sense; nothing was sent.
        """
        return self._follow(
            self._keys(task_ids, sdk_app_id),
            _Terms(acceptance or Acceptance(), poll_interval_s=0.0, once=True),
            timeout=None,
            initial_delay=0.0,
            on_change=None,
        )

    def hint(self, task_id: str) -> None:
        """Say that a recording may have changed: it is asked for as soon as the quota allows.

        Only the answer decides anything; a hint for a recording that nobody waits for is ignored.
        """
        for key, poll in self._polls.items():
            if key[1] == task_id:
                if poll.in_flight:
                    poll.hinted = True
                else:
                    self._schedule(poll, time.monotonic())

    def _keys(self, task_ids: str | Iterable[str], sdk_app_id: int | str | None) -> list[_Key]:
        app_id = self.client.sdk_app_id(sdk_app_id)
        return [(app_id, task_id) for task_id in check_task_ids(task_ids)]

    async def _follow(
        self,
        keys: list[_Key],
        terms: _Terms,
        *,
        timeout: float | None,
        initial_delay: float,
        on_change: Callable[[Outcome], None] | None,
    ) -> AsyncGenerator[Outcome, None]:
        started = time.monotonic()
        deadline = math.inf if timeout is None else started + timeout
        mailbox = _Mailbox()
        waits: dict[_Key, _Wait] = {}
        try:
            for key in keys:
                waits[key] = _Wait(mailbox, terms, Outcome(*key, Verdict.PENDING))
                self._join(key, waits[key], started + initial_delay)
            while waits:
                left = deadline - time.monotonic()
                heard = await mailbox.get(left) if left > 0 else None
                if heard is not None:
                    _tell(heard, on_change)
                    if heard.settled:
                        key = (heard.outcome.sdk_app_id, heard.outcome.task_id)
                        self._leave(key, waits.pop(key))
                        yield heard.outcome
                elif time.monotonic() >= deadline:
                    break
            # A request under way may bring the end that was waited for: it is still heard.
            late = {key: wait for key, wait in waits.items() if self._polls[key].in_flight}
            for wait in late.values():
                wait.last = True
            for key in [key for key in waits if key not in late]:
                wait = waits.pop(key)
                self._leave(key, wait)
                yield _timed_out(wait.outcome, timeout)
            while waits:
                heard = await mailbox.get(None)
                if heard is None or not heard.settled:
                    continue
                _tell(heard, on_change)
                key = (heard.outcome.sdk_app_id, heard.outcome.task_id)
                self._leave(key, waits.pop(key))
                final = heard.outcome.is_final
                yield heard.outcome if final else _timed_out(heard.outcome, timeout)
        finally:
            for key, wait in waits.items():
                self._leave(key, wait)

    def _join(self, key: _Key, wait: _Wait, due: float) -> None:
        poll = self._polls.get(key)
        if poll is None:
            poll = self._polls[key] = _Poll(key)
        poll.waits.append(wait)
        if not poll.in_flight and due < poll.due:
            self._schedule(poll, due)

    def _leave(self, key: _Key, wait: _Wait) -> None:
        poll = self._polls[key]
        poll.waits.remove(wait)
        # One that is in flight stays known, so that no second request joins it on the wire.
        if not poll.waits and not poll.in_flight:
            self._forget(poll)

    def _forget(self, poll: _Poll) -> None:
        del self._polls[poll.key]
        self._order.discard(poll.key)
        self._changed.set()

    def _schedule(self, poll: _Poll, due: float) -> None:
        poll.due = due
        self._order.put(poll.key, due)
        self._changed.set()
        if self._dispatcher is None or self._dispatcher.done():
            # An empty context: this task outlives the wait that starts it, and whatever the
            # caller bound for its own log lines must not stick to everybody's requests.
            self._dispatcher = asyncio.get_running_loop().create_task(
                self._dispatch(), name="tiw-watcher", context=contextvars.Context()
            )
            self._dispatcher.add_done_callback(self._dispatcher_ended)

    def _dispatcher_ended(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if isinstance(error, Exception):
            # Nobody would be asked for again: every wait ends with the fault, none hangs.
            for poll in list(self._polls.values()):
                self._heard(poll, error)

    async def _dispatch(self) -> None:
        quota = self.client.quota(_ACTION)
        while self._polls:
            self._changed.clear()
            due = self._order.next_due()
            now = time.monotonic()
            if due is None or due > now or self._calls_in_flight >= self._threads.size:
                full = self._calls_in_flight >= self._threads.size
                await self._rest(None if full or due is None else due - now)
                continue
            turn = quota.reserve()
            try:
                await asyncio.sleep(max(turn - time.monotonic(), 0))
            except asyncio.CancelledError:
                quota.give_back(turn)
                raise
            # Chosen as late as can be: what was due may have been cancelled meanwhile.
            key = self._order.pop(time.monotonic())
            if key is None:
                quota.give_back(turn)
            else:
                self._send(self._polls[key])

    async def _rest(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), seconds)

    def _send(self, poll: _Poll) -> None:
        poll.in_flight = True
        poll.due = math.inf
        self._calls_in_flight += 1
        self._sent += 1
        app_id, task_id = poll.key

        def ask() -> OnlineRecord | Exception:
            try:
                return self.client.describe_online_record(task_id, app_id, paced=False)
            except Exception as error:
                return error

        def land(answer: OnlineRecord | Exception) -> None:
            self._calls_in_flight -= 1
            self._changed.set()
            self._heard(poll, answer)

        self._threads.run(ask, land)

    def _heard(self, poll: _Poll, answer: OnlineRecord | Exception) -> None:
        poll.in_flight = False
        if isinstance(answer, Exception) and not isinstance(answer, TiwError):
            # A fault of our own must end the wait with its traceback, not hang it.
            wrapped = TiwError(f"Asking failed: {answer!r}", code=type(answer).__name__)
            wrapped.__cause__ = answer
            answer = wrapped
        if isinstance(answer, RequestLimitExceeded):
            self._rejects += 1
        app_id, task_id = poll.key
        seen = judge(app_id, task_id, answer, Acceptance())
        poll.count(seen)
        if seen.verdict is Verdict.UNKNOWN:
            self._errors += 1
        for wait in list(poll.waits):
            wait.take(judge(app_id, task_id, answer, wait.terms.acceptance), poll)
        if not poll.waits:
            self._forget(poll)
        elif any(not wait.settled for wait in poll.waits):
            self._schedule(poll, time.monotonic() + self._pause_s(poll, seen))

    def _pause_s(self, poll: _Poll, seen: Outcome) -> float:
        if poll.hinted:
            poll.hinted = False
            return 0.0
        floor = min(wait.terms.poll_interval_s for wait in poll.waits if not wait.settled)
        if seen.verdict is not Verdict.UNKNOWN:
            return floor
        ceiling = min(_RETRY_BASE_S * 2.0 ** (poll.errors_in_a_row - 1), _RETRY_CAP_S)
        return max(floor, self._jitter() * ceiling)


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Settings, RecordWatcher]] = (
    WeakKeyDictionary()
)


def _check_seconds(name: str, value: object) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise ConfigurationError(
            f"{name} has to be a number of seconds, zero or more, not {value!r}."
        )


def _tell(wait: _Wait, on_change: Callable[[Outcome], None] | None) -> None:
    """Log a change of status and pass it on; runs in the waiter's own coroutine.

    So each line lands in the log of the Airflow task or playbook that it concerns.
    """
    outcome = wait.outcome
    state = f"{outcome.verdict}/{outcome.record.status if outcome.record else None}"
    if state == wait.told:
        return
    wait.told = state
    faulty = outcome.verdict is Verdict.UNKNOWN
    logger.log(
        logging.WARNING if faulty and not wait.terms.once else logging.INFO, "%s", outcome.message
    )
    if on_change is not None:
        on_change(outcome)


def _timed_out(outcome: Outcome, timeout: float | None) -> Outcome:
    if outcome.record is not None and outcome.record.status:
        seen = f"it was last seen {outcome.record.status}"
    elif outcome.error is not None:
        seen = f"the last answer was: {outcome.error}"
    else:
        seen = "its turn on the quota had not come"
    error = WaitTimeout(
        f"Recording {outcome.task_id} was not FINISHED within {timeout:g} s; {seen}.",
        action=_ACTION,
        outcome=outcome,
        hint="Wait longer, or ask again later: nothing is lost.",
    )
    return Outcome(outcome.sdk_app_id, outcome.task_id, Verdict.PENDING, outcome.record, error)
