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
import math
import os
import time
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from types import TracebackType
from typing import Any, Self

from tiw_automation.core import hints
from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.api.settings import Settings
from tiw_automation.core.checks import check_seconds, check_task_id, check_task_ids
from tiw_automation.core.errors import (
    ApiError,
    ConfigurationError,
    TiwError,
)
from tiw_automation.core.formatting import shown
from tiw_automation.core.quota.quota import BUSY_PAUSE_S, Quota, Slot, WantedRate
from tiw_automation.core.records.outcome import Acceptance, Outcome
from tiw_automation.core.records.record import OnlineRecord
from tiw_automation.core.retry import chance, is_exhaustion
from tiw_automation.core.tasks.until import check_until
from tiw_automation.core.waiting.poll_order import PollOrder
from tiw_automation.core.waiting.progress import (
    SILENT,
    CrowdEar,
    Ear,
    Observer,
    Progress,
    last_words,
    result,
    timed_out,
)
from tiw_automation.core.waiting.running_list import RunningHints
from tiw_automation.core.waiting.threads import DaemonThreads
from tiw_automation.core.waiting.tracker import Board, Caller, Key, Poll, Terms, Wait, Waiter

DEFAULT_POLL_INTERVAL_S = 5.0

_ACTION = "DescribeOnlineRecord"
# 20 requests a second and round trips of up to 0.8 s; a slower line loses pace, not waits.
_CALLS_AT_ONCE = 16
# What is done in one turn of the event loop, so that nobody else's turn comes late.
_WAITS_A_TURN = 250
# What asyncio lets out of the loop by itself.
_ENDS_THE_LOOP = (KeyboardInterrupt, SystemExit)
# The rate that stats() names is that of this time.
_RATE_OVER_S = 10.0
_STATS_EVERY_S = 10.0


@dataclass(frozen=True, slots=True)
class WatcherStats:
    """What a watcher does.

    :param waits: the recordings that are waited for now.
    :param polls: the requests sent so far.
    :param rejects: how many of them were one too many for the server.
    :param errors: how many brought an error, those among them.
    :param oldest_unpolled_s: for how long the one that is next in line has had no answer.
    :param rate: the requests a second of the last ten seconds.
    """

    waits: int
    polls: int
    rejects: int
    errors: int
    oldest_unpolled_s: float = 0.0
    rate: float = 0.0


class RecordWatcher:
    """Waits for recordings, many at a time, on one account's quota.

    A watcher belongs to the event loop in which it is first used, needs no closing and rests
    while nobody waits. A fault on the way (network, throttling, Tencent's own errors) delays
    the recording that met it, with full jitter, and never ends a wait. A fault of its own ends
    every wait with a :class:`TiwError`, and one that is no :class:`Exception`, as a signal may
    raise for the time limit of a task, is raised by every wait. A forked child's copy starts
    empty.

    :param client: makes the calls; its ``sdk_app_id`` is the default of every method here.
    :param order: makes what decides which recording is asked for next.
    :param jitter: returns a number between 0 and 1.
    :param running_list: whether the list of running tasks may be read once several hundred
        recordings are waited for; it only says whom to ask first.
    """

    def __init__(
        self,
        client: TiwClient,
        *,
        order: Callable[[], PollOrder[Poll]] = PollOrder,
        jitter: Callable[[], float] = chance.random,
        running_list: bool = True,
    ) -> None:
        self.client = client
        self._stats_observer: Observer[WatcherStats] | None = None
        self.on_stats: Callable[[WatcherStats], None] | None = None
        """Called with :meth:`stats` every ten seconds while anybody waits, in the loop.

        What it raises is logged and ends nothing.
        """
        self._order = order
        self._jitter = jitter
        self._running_list = running_list
        self._threads = DaemonThreads(_CALLS_AT_ONCE, "tiw-call")
        self._begin()
        hints.listen(self)

    def _begin(self) -> None:
        self._board = Board(self._order(), self._jitter, time.time)
        self._pid = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dispatcher: asyncio.Task[None] | None = None
        self._pause: asyncio.Future[None] | None = None
        self._changed = False
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf
        self._landed: deque[tuple[Poll, OnlineRecord | BaseException]] = deque()
        self._chores: deque[_LoneWait] = deque()
        self._done_this_turn = 0
        self._sent_at: deque[float] = deque()
        self._stats_at = -math.inf
        self._hints = RunningHints(self.client, self._board) if self._running_list else None
        self._hints_task: asyncio.Task[None] | None = None

    @classmethod
    def shared(cls, client: TiwClient) -> RecordWatcher:
        """Return the running loop's one watcher for the client's account and settings.

        The first client of equal settings is the one that calls; the others are closed.
        """
        watchers = _watchers_of(asyncio.get_running_loop())
        watcher = watchers.get(client.settings)
        if watcher is None:
            watcher = watchers[client.settings] = cls(client)
        elif watcher.client is not client:
            client.close()
        return watcher

    @staticmethod
    def hint_all(task_id: str, *, expected_stop: float | None = None) -> None:
        """Give every watcher of this process a :meth:`hint`; from any thread."""
        hints.hint_all(task_id, expected_stop=expected_stop)

    @property
    def polls(self) -> int:
        """The requests sent so far."""
        return self._board.sent

    def stats(self) -> WatcherStats:
        """Return the counters."""
        board, now = self._board, time.monotonic()
        recent = sum(now - sent <= _RATE_OVER_S for sent in self._sent_at)
        return WatcherStats(
            len(board.polls),
            board.sent,
            board.rejects,
            board.errors,
            board.order.longest_unasked_s(now) or 0.0,
            recent / _RATE_OVER_S,
        )

    def wait(
        self,
        task_id: str,
        *,
        sdk_app_id: int | str | None = None,
        timeout: float | None = None,
        acceptance: Acceptance | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        initial_delay: float = 0.0,
        expected_stop: float | None = None,
        until: str | Collection[str] | None = None,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Coroutine[Any, Any, OnlineRecord]:
        """Wait until a recording is FINISHED, or in one of the states ``until``, and return it.

        :param timeout: seconds to wait, or None without end.
        :param acceptance: which finished recordings count as good.
        :param poll_interval: the least seconds between two requests for this recording; the
            quota decides the rest.
        :param initial_delay: seconds before the first request.
        :param expected_stop: when the recording is going to stop or stopped, UNIX seconds.
        :param until: as for :meth:`watch`.
        :param on_change: as for :meth:`watch`.
        :param on_progress: as for :meth:`watch`.
        :raises RecordFailed: it failed, or finished in a way that is not accepted.
        :raises TaskNotFound: there is no such recording.
        :raises WaitTimeout: the time ran out; it holds what was last seen.
        :raises TiwError: the API refuses to say (keys, permission, settings), or, with the code
            ``StateOutOfReach``, the recording can be in no state of ``until`` any more.
        """
        key = self.client.sdk_app_id(sdk_app_id), check_task_id(task_id)
        states = check_until(until)
        terms = _terms(timeout, acceptance, poll_interval, initial_delay, states)
        stop = _check_stop(expected_stop)
        ear = Ear(on_change, on_progress) if on_change or on_progress else SILENT
        return _LoneWait(self, key, terms, timeout, ear, initial_delay, stop)

    def watch(
        self,
        task_ids: str | Iterable[str],
        *,
        sdk_app_id: int | str | None = None,
        timeout: float | None = None,
        acceptance: Acceptance | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        initial_delay: float = 0.0,
        expected_stop: float | Mapping[str, float] | None = None,
        until: str | Collection[str] | None = None,
        unconfirmed: bool = False,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Yield each recording's end as it comes, once for each distinct id.

        Never raises for one of them: a recording that is still pending when the time runs out
        comes with a :class:`WaitTimeout` as its error, one that the API refuses to speak of
        with the refusal. A request that is under way when the time runs out is still heard.
        Close the generator (``contextlib.aclosing``) where it is left early.

        :param expected_stop: when the recordings are going to stop or stopped, UNIX seconds:
            one time, or one for each task id.
        :param until: states (:class:`RecordStatus`); a recording's wait is over when it is in one
            of them, or can be in none of them any more: then its outcome has an error with the
            code ``StateOutOfReach``. None waits for FINISHED.
        :param unconfirmed: whether these ids come from a sender who need not know the recordings.
            Those that no other call of this watcher waits for take at most a tenth of the pace
            while anything else is due, here or in another process of the host.
        :param on_change: called with what is known of a recording whenever its status changes.
        :param on_progress: called with the :class:`Progress` of this call whenever a status
            changes, and every ten minutes otherwise. What either raises is logged and ends
            nothing.
        :raises ConfigurationError: an argument makes no sense; nothing was sent.
        """
        app_id, ids = self.client.sdk_app_id(sdk_app_id), check_task_ids(task_ids)
        states = check_until(until)
        terms = _terms(timeout, acceptance, poll_interval, initial_delay, states, unconfirmed)
        stops = _check_stops(expected_stop, ids)
        ear = CrowdEar(len(ids), on_change, on_progress)
        return self._follow(app_id, ids, terms, ear, timeout, initial_delay, stops)

    def describe(
        self,
        task_ids: str | Iterable[str],
        *,
        sdk_app_id: int | str | None = None,
        acceptance: Acceptance | None = None,
        unconfirmed: bool = False,
    ) -> AsyncGenerator[Outcome, None]:
        """Yield what is known of each recording now, once for each distinct id, as it comes.

        Every recording is asked for once; a fault on the way is tried again a few times.

        :param unconfirmed: as for :meth:`watch`.
        :raises ConfigurationError: an argument makes no sense; nothing was sent.
        """
        app_id, ids = self.client.sdk_app_id(sdk_app_id), check_task_ids(task_ids)
        terms = Terms(acceptance or _ANY, 0.0, once=True, unconfirmed=unconfirmed)
        return self._follow(app_id, ids, terms, CrowdEar(len(ids)), None, 0.0, {})

    def hint(self, task_id: str, *, expected_stop: float | None = None) -> None:
        """Say that a recording may have changed: it is asked for as soon as the quota allows.

        With ``expected_stop`` (UNIX seconds) say when it is going to stop, or that it stopped:
        then it is asked for as often as one that was seen STOPPED, from that time on, and rarely
        before. Only the answer decides anything; a hint for a recording that nobody waits for is
        ignored. From any thread.

        :raises ConfigurationError: ``expected_stop`` is no time, or ``task_id`` is no text.
        """
        if not isinstance(task_id, str):
            raise ConfigurationError(
                f"A task id must be a string, not {shown(task_id)}.",
                hint="Give one hint for each recording.",
            )
        stop = _check_stop(expected_stop)
        loop = self._loop
        if loop is None or self._pid != os.getpid():
            return
        try:
            here = asyncio.get_running_loop() is loop
        except RuntimeError:
            here = False
        if here:
            self._hint(task_id, stop)
        else:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._safely, self._hint, task_id, stop)

    def _hint(self, task_id: str, stop: float | None) -> None:
        board, now = self._board, time.monotonic()
        for poll in board.polls.named(task_id):
            if stop is None:
                board.order_of(poll).hint(poll, now)
            else:
                board.order_of(poll).expect_stop(poll, now, stop)
        self._wake()

    async def _follow(
        self,
        app_id: int,
        task_ids: list[str],
        terms: Terms,
        ear: CrowdEar,
        timeout: float | None,
        initial_delay: float,
        stops: Mapping[str, float],
    ) -> AsyncGenerator[Outcome, None]:
        caller = Caller(terms, time.monotonic(), timeout)
        self._open(caller)
        try:
            for number, task_id in enumerate(task_ids):
                self._join(caller, (app_id, task_id), initial_delay, stops.get(task_id))
                if number % _WAITS_A_TURN == _WAITS_A_TURN - 1:
                    await asyncio.sleep(0)
            # Not needed for as long as the wait lasts.
            task_ids.clear()
            while caller.waits:
                if not caller.stirs():
                    await caller
                for number, wait in enumerate(caller.take_news()):
                    ear.hear(wait)
                    if wait.settled:
                        self._board.leave(wait)
                        _pass_on(wait)
                        yield last_words(wait)
                    if number % _WAITS_A_TURN == _WAITS_A_TURN - 1:
                        await asyncio.sleep(0)
                if caller.expired:
                    for number, wait in enumerate(self._board.expire(caller)):
                        if wait.settled:
                            continue
                        self._board.leave(wait)
                        yield timed_out(wait)
                        if number % _WAITS_A_TURN == _WAITS_A_TURN - 1:
                            await asyncio.sleep(0)
                else:
                    ear.show_life(caller)
        finally:
            self._close(caller)

    def _open(self, caller: Waiter) -> None:
        """Take in a caller; :meth:`_close` lets it go.

        :raises ConfigurationError: this watcher is in use in another event loop.
        """
        self._attach()
        self._board.open(caller, caller.started_at)
        self._set_alarm()

    def _join(self, caller: Waiter, key: Key, initial_delay: float, stop: float | None) -> None:
        """Let a caller wait for a recording."""
        # One time for both where the call has only begun: it is kept as long as the wait.
        now = caller.started_at if isinstance(caller, _LoneCaller) else time.monotonic()
        not_before = caller.started_at + initial_delay if initial_delay else now
        poll = self._board.join(caller, key, now, not_before)
        if stop is not None:
            self._board.order_of(poll).expect_stop(poll, now, stop)
        self._wake()
        if self._dispatcher is None:
            self._dispatcher = self._start(self._dispatch(), "tiw-watcher")

    def _close(self, caller: Waiter) -> None:
        """Leave everything that is left; many in several turns of the loop."""
        self._board.close(caller)
        for wait in list(islice(caller.waits, _WAITS_A_TURN)):
            self._board.leave(wait)
        if caller.waits and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon(self._safely, self._close, caller, context=contextvars.Context())
        self._end_if_idle()

    def _do(self, chore: _LoneWait) -> None:
        """Begin or end a wait: at once, or in a later turn of the loop where this one has many."""
        assert self._loop is not None
        if self._done_this_turn == 0 and not self._loop.is_closed():
            self._loop.call_soon(self._safely, self._next_turn, context=contextvars.Context())
        self._done_this_turn += 1
        if self._done_this_turn > _WAITS_A_TURN or self._chores:
            self._chores.append(chore)
        else:
            chore.begin_or_end()

    def _next_turn(self) -> None:
        self._done_this_turn = 0
        chores, self._chores = self._chores, deque()
        try:
            for _ in range(min(len(chores), _WAITS_A_TURN)):
                self._do(chores.popleft())
        finally:
            self._chores.extendleft(reversed(chores))

    def _attach(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop and self._pid == os.getpid():
            return
        if self._pid != os.getpid() or (self._loop is not None and self._loop.is_closed()):
            self._begin()
        elif self._loop is not None:
            raise ConfigurationError(
                "This RecordWatcher is in use in another event loop.",
                hint="Make one for each loop, or use RecordWatcher.shared(client).",
            )
        self._loop = loop

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # An empty context: this task outlives the wait that starts it, and whatever the
        # caller bound for its own log lines must not stick to everybody's requests.
        task = asyncio.get_running_loop().create_task(
            work, name=name, context=contextvars.Context()
        )
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task is self._hints_task:
            self._hints_task = None
        if not task.cancelled():
            error = task.exception()
        elif task is self._dispatcher:
            # By another one than this watcher, and without it the waits would last for ever.
            error = TiwError(
                "The task that asks for recordings was cancelled.",
                code="Cancelled",
                retryable=True,
                hint="Wait again, and leave the tasks of the watcher alone.",
            )
        else:
            error = None
        if error is not None:
            self._fail(error)

    def _safely(self, work: Callable[..., None], *args: Any) -> None:
        """Do what the loop calls for: it would only log a fault, and everybody would wait on."""
        try:
            work(*args)
        except BaseException as error:
            self._fail(error)
            if isinstance(error, _ENDS_THE_LOOP):
                raise

    def _fail(self, error: BaseException) -> None:
        """End every wait with a fault: nobody would be asked for again. The next begins anew."""
        for task in (self._dispatcher, self._hints_task):
            if task is not None and not task.done():
                task.cancel()
        self._dispatcher = self._hints_task = None
        if self._hints is not None:
            self._hints = RunningHints(self.client, self._board)
        self._board.fail_all(_fault(error), self._order())
        self._end_if_idle()

    def _end_if_idle(self) -> None:
        if self._board.polls:
            return
        for task in (self._dispatcher, self._hints_task):
            if task is not None and not task.done():
                task.cancel()
        self._dispatcher = self._hints_task = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, math.inf

    def _set_alarm(self) -> None:
        event = self._board.next_event()
        if event >= self._alarm_at or self._loop is None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        delay = max(event - time.monotonic(), 0.0)
        self._alarm_at = event
        self._alarm = self._loop.call_later(
            delay, self._safely, self._ring, context=contextvars.Context()
        )

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self._board.run_events(time.monotonic())
        self._set_alarm()
        self._wake()

    def _wake(self) -> None:
        self._changed = True
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    async def _rest(self, seconds: float) -> None:
        """Wait for a change, at most so long."""
        loop = asyncio.get_running_loop()
        self._pause = loop.create_future()
        timer = None if seconds == math.inf else loop.call_later(seconds, self._safely, self._wake)
        try:
            await self._pause
        finally:
            self._pause = None
            if timer is not None:
                timer.cancel()

    async def _dispatch(self) -> None:
        board = self._board
        quota = self.client.quota(_ACTION)
        quota.expect_answers()
        board.order.pace = quota.requests_per_second
        me, wanted = object(), WantedRate()
        try:
            while True:
                self._changed = False
                self._hear_answers()
                now = time.monotonic()
                self._report(now)
                self._announce(quota, me, wanted)
                due = board.next_due(now)
                if board.in_flight >= self._threads.size:
                    due = None
                if due is None or due > now:
                    if not self._changed:
                        await self._rest(self._rest_s(due, now))
                    continue
                await self._ask_one(quota, wanted)
        finally:
            quota.demand(me, 0)

    def _announce(self, quota: Quota, me: object, wanted: WantedRate) -> None:
        """Exchange with the quota what is waited for here, and what for elsewhere."""
        board, now = self._board, time.monotonic()
        if not board.is_due(now):
            wanted.idle(now)
        quota.demand(
            me,
            board.confirmed,
            unconfirmed=len(board.unconfirmed),
            wanted=wanted.wanted(now),
        )
        board.budget.rate = quota.unconfirmed_rate
        board.others_wait = quota.others_wait

    def _rest_s(self, due: float | None, now: float) -> float:
        rest = math.inf if due is None else due - now
        return min(rest, self._stats_at - now) if self.on_stats is not None else rest

    async def _ask_one(self, quota: Quota, wanted: WantedRate) -> None:
        turn = quota.reserve()
        try:
            await _sleep_until(turn)
            while (entered := quota.use(turn)) is None:
                await asyncio.sleep(BUSY_PAUSE_S)
            turn = entered
            await _sleep_until(turn)
        except BaseException:
            quota.release(turn)
            raise
        self._hear_answers()
        # Chosen as late as can be: what was due may have been cancelled meanwhile.
        poll = self._board.take(time.monotonic())
        if poll is None:
            quota.release(turn)
        else:
            if not poll.unconfirmed:
                wanted.sent(turn)
            self._send(poll, quota, turn)

    def _send(self, poll: Poll, quota: Quota, turn: float) -> None:
        self._sent_at.append(turn)
        while turn - self._sent_at[0] > _RATE_OVER_S:
            self._sent_at.popleft()
        app_id, task_id = poll.key
        client, landed, board = self.client, self._landed, self._board
        slot = Slot(quota, turn)

        def ask() -> bool:
            answer: OnlineRecord | BaseException
            try:
                answer = client.describe_online_record(task_id, app_id, slot=slot)
            except BaseException as error:
                # Whatever it was, somebody waits for the end of this request.
                answer = error
            if isinstance(answer, (OnlineRecord, ApiError)):
                quota.answered(slot.time, time.monotonic() - slot.time)
            landed.append((poll, answer))
            return True

        def land(_: bool) -> None:
            if self._board is board:
                self._safely(self._hear_and_wake)

        try:
            self._threads.run(ask, land)
        except TiwError as error:
            quota.release(turn)
            landed.append((poll, error))
            self._hear_answers()

    def _hear_and_wake(self) -> None:
        self._hear_answers()
        self._wake()

    def _hear_answers(self) -> None:
        while self._landed:
            poll, answer = self._landed.popleft()
            dead = self._board.breaker.dead_since is not None
            heard = answer if isinstance(answer, (OnlineRecord, TiwError)) else _wrapped(answer)
            self._board.landed(poll, heard, time.monotonic())
            if dead and self._board.breaker.dead_since is None:
                self.client.quota(_ACTION).new_line()
        self._end_if_idle()

    def _report(self, now: float) -> None:
        if self._hints is not None and self._hints_task is None and self._hints.wanted():
            work = self._hints.keep_reading(self._threads, self._wake)
            self._hints_task = self._start(work, "tiw-running-list")
        if self.on_stats is not None and now >= self._stats_at:
            self._stats_at = now + _STATS_EVERY_S
            self._show_stats(self.on_stats)

    def _show_stats(self, on_stats: Callable[[WatcherStats], None]) -> None:
        shown = self._stats_observer
        if shown is None or shown.function is not on_stats:
            shown = self._stats_observer = Observer("on_stats", on_stats)
        shown.show(self.stats())


class _LoneCaller(Waiter):
    """A call that waits for one recording."""

    __slots__ = ("wait",)

    def __init__(self, terms: Terms, timeout: float | None) -> None:
        super().__init__(terms, 0.0, timeout)
        self.wait: Wait | None = None

    @property
    def waits(self) -> Collection[Wait]:
        return () if self.wait is None else (self.wait,)

    def has_news(self) -> bool:
        return self.wait is not None and self.wait.reported

    def add(self, poll: Poll) -> Wait:
        assert self.wait is not None
        Wait.__init__(self.wait, self, poll)
        return self.wait

    def remove(self, wait: Wait) -> None:
        self.wait = None

    def report(self, wait: Wait) -> None:
        wait.reported = True
        self.wake()


class _LoneWait(Wait, Coroutine[Any, Any, OnlineRecord]):
    """A wait that is a coroutine, for whoever waits for one recording; begins when it is awaited.

    Ten thousand of them, each in a task of its own, are what waiting costs most in: the frame of
    an ``async def`` and a future for what it awaits would be half as much again.
    """

    __slots__ = ("_ear", "_plan", "_watcher")

    caller: _LoneCaller

    def __init__(
        self,
        watcher: RecordWatcher,
        key: Key,
        terms: Terms,
        timeout: float | None,
        ear: Ear,
        initial_delay: float,
        stop: float | None,
    ) -> None:
        self.caller = _LoneCaller(terms, timeout)
        self._watcher = watcher
        self._ear = ear
        self._plan: tuple[int, str, float, float | None] | None = (*key, initial_delay, stop)

    def __await__(self) -> Self:
        return self

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self.caller.is_awaited:
            raise RuntimeError("A wait is being awaited already.")
        try:
            if self.caller.closed:
                raise RuntimeError("A wait can be awaited once.")
            if self._plan is not None:
                self._watcher._attach()
                self.caller.started_at = time.monotonic()
                self._watcher._do(self)
            while self.caller.stirs():
                self._look()
        except BaseException:
            self.close()
            raise
        return self.caller.blocking()

    def send(self, value: Any) -> Any:
        return next(self)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        self.close()
        if isinstance(kind, BaseException):
            raise kind
        raise (value if isinstance(value, BaseException) else kind()).with_traceback(trace)

    def close(self) -> None:
        """End the wait, or the chance to begin it."""
        if self._plan is not None:
            self._plan = None
            self.caller.closed = True
        elif not self.caller.closed:
            self._watcher._do(self)

    def __del__(self) -> None:
        if self._plan is not None:
            warnings.warn("A wait was never awaited.", RuntimeWarning, stacklevel=2, source=self)

    def begin_or_end(self) -> None:
        """Begin if it has not begun, else end; nothing where it has ended."""
        caller = self.caller
        if self._plan is not None:
            app_id, task_id, initial_delay, stop = self._plan
            self._plan = None
            caller.wait = self
            self._watcher._open(caller)
            self._watcher._join(caller, (app_id, task_id), initial_delay, stop)
        elif not caller.closed:
            self._watcher._close(caller)

    def _look(self) -> None:
        """Hear what there is.

        :raises StopIteration: it has ended well.
        """
        caller = self.caller
        if self.reported:
            self.reported = False
            self._ear.hear(self)
            if self.settled:
                _pass_on(self)
                raise StopIteration(result(self))
        if caller.expired and self._watcher._board.expire(caller):
            raise StopIteration(timed_out(self).raise_for_verdict())
        self._ear.show_life(caller)


_ANY = Acceptance()

_OWN = "_tiw_automation_watchers"


def _watchers_of(loop: asyncio.AbstractEventLoop) -> dict[Settings, RecordWatcher]:
    """Return the shared watchers of a loop, none in a forked child.

    The loop itself holds them: they hold the loop, so from any other place they would keep it.
    """
    pid, watchers = getattr(loop, _OWN, (None, {}))
    if pid != os.getpid():
        # What a parent waits for, the parent asks for.
        watchers = {}
        setattr(loop, _OWN, (os.getpid(), watchers))
    return watchers


async def _sleep_until(turn: float) -> None:
    # Others have their turn of the loop in any case, also where this process is behind its pace.
    await asyncio.sleep(max(turn - time.monotonic(), 0.0))


class _Interruption(TiwError):
    """Stands for what is no Exception and has to reach whoever waits as it is."""


def _wrapped(error: BaseException, kind: type[TiwError] = TiwError) -> TiwError:
    """Return a fault of our own as one that ends a wait, with its traceback."""
    if isinstance(error, TiwError):
        return error
    wrapped = kind(
        f"Asking failed: {error!r}", code=type(error).__name__, retryable=is_exhaustion(error)
    )
    wrapped.__cause__ = error
    return wrapped


def _fault(error: BaseException) -> TiwError:
    """Return the end of every wait."""
    # Raised once more by each who waits, these would end the loop once more.
    known = isinstance(error, (Exception, asyncio.CancelledError, *_ENDS_THE_LOOP))
    return _wrapped(error, TiwError if known else _Interruption)


def _pass_on(wait: Wait) -> None:
    """Raise what has interrupted everybody, such as the time limit of a task."""
    error = wait.seen().error
    if isinstance(error, _Interruption) and error.__cause__ is not None:
        raise error.__cause__


@lru_cache(maxsize=64)
def _same_terms(
    acceptance: Acceptance,
    poll_interval: float,
    until: frozenset[str] | None,
    unconfirmed: bool,
) -> Terms:
    # Ten thousand waits on the same terms need them once.
    return Terms(acceptance, poll_interval, once=False, until=until, unconfirmed=unconfirmed)


def _terms(
    timeout: float | None,
    acceptance: Acceptance | None,
    poll_interval: float,
    initial_delay: float,
    until: frozenset[str] | None,
    unconfirmed: bool = False,
) -> Terms:
    if timeout is not None:
        check_seconds("timeout", timeout)
    check_seconds("poll_interval", poll_interval)
    check_seconds("initial_delay", initial_delay)
    return _same_terms(acceptance or _ANY, poll_interval, until, bool(unconfirmed))


def _check_stop(value: object) -> float | None:
    """Return an expected stop as a monotonic time."""
    if value is None:
        return None
    usable = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not usable or not 0 < value < 1e11:  # type: ignore[operator]
        raise ConfigurationError(
            f"expected_stop must be a time in UNIX seconds, not {shown(value)}.",
            hint="For a datetime, give its timestamp().",
        )
    return time.monotonic() + float(value) - time.time()  # type: ignore[arg-type]


def _check_stops(
    value: float | Mapping[str, float] | None, task_ids: list[str]
) -> Mapping[str, float]:
    if value is None:
        return {}
    given = value if isinstance(value, Mapping) else dict.fromkeys(task_ids, value)
    unknown = set(given) - set(task_ids)
    if unknown:
        raise ConfigurationError(
            f"expected_stop names {sorted(map(str, unknown))[0]!r}, which is not among the task "
            "ids."
        )
    stops = {task_id: _check_stop(stop) for task_id, stop in given.items()}
    return {task_id: stop for task_id, stop in stops.items() if stop is not None}
