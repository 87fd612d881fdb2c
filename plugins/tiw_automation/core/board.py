# SPDX-License-Identifier: Apache-2.0
"""All waits of an account: who waits for what, whose turn it is, what an answer ends.

Has no clock, thread or socket of its own: whoever drives it says what time it is, makes the
requests and brings the answers. So every sequence of events can be tried on a fake clock.
"""

from __future__ import annotations

import heapq
import logging
import math
from asyncio import Future
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from tiw_automation.core.errors import RequestLimitExceeded, ServerError, TiwError, TransportError
from tiw_automation.core.order import Place, PollOrder, Stage
from tiw_automation.core.records import (
    Acceptance,
    OnlineRecord,
    Outcome,
    RecordStatus,
    Verdict,
    judge,
)

logger = logging.getLogger(__name__)

Key = tuple[int, str]
"""An application and a recording's task id."""

_RETRY_BASE_S = 1.0
_RETRY_CAP_S = 30.0
# Answers without a Status in a row before a wait gives up on them.
_STATUSLESS_LIMIT = 5
# Attempts at one answer where the caller wants just one.
_ATTEMPTS = 4

# Failed connections in a row after which the endpoint counts as dead, and how it is probed.
_DEAD_AFTER = 5
_PROBE_BASE_S = 2.0
_PROBE_CAP_S = 8.0
_PROBE_LEAST_S = 0.2
# An outage of this length has put everybody behind.
_OUTAGE_S = 20.0

_FINISHED_KEPT = 1000

# Whoever has a deadline is asked this long before it.
_AIM_S = 1.0
_HEARTBEAT_S = 600.0
# With many callers a heartbeat a second for ten of them all is enough.
_HEARTBEAT_EACH_S = 0.1


@dataclass(frozen=True, slots=True)
class Terms:
    """What a caller agrees to for all its recordings."""

    acceptance: Acceptance
    poll_interval_s: float
    once: bool


class Wait:
    """One caller's interest in one recording."""

    __slots__ = ("caller", "last", "outcome", "poll", "reported", "settled", "told")

    def __init__(self, caller: Caller, poll: Poll) -> None:
        self.caller = caller
        self.poll = poll
        self.outcome: Outcome | None = None
        self.settled = False
        self.last = False
        self.reported = False
        self.told: str | None = None

    def seen(self) -> Outcome:
        """Return what is known of the recording."""
        return self.outcome or Outcome(*self.poll.key, Verdict.PENDING)

    def take(self, outcome: Outcome) -> None:
        """Hear an answer."""
        record = outcome.record
        if record is None and self.outcome is not None:
            # A fault on the way does not make what was seen before unseen.
            record = self.outcome.record
        elif record is not None and record.raw and not outcome.is_final:
            # Ten thousand answers that nobody will look at again are not kept.
            record = replace(record, raw={})
        self.outcome = replace(outcome, record=record)
        self.settled = (
            self.last or outcome.is_final or self.poll.gives_up(outcome, self.caller.terms.once)
        )
        self.caller.report(self)


class Caller:
    """One call that waits for one or many recordings.

    :attr:`ready` is a future, or None: it is done when there is news, or when :attr:`expired` or
    :attr:`beats` changes.
    """

    __slots__ = (
        "_aimed",
        "_beat_at",
        "beats",
        "closed",
        "deadline",
        "expired",
        "news",
        "ready",
        "started_at",
        "terms",
        "waits",
    )

    def __init__(self, terms: Terms, started_at: float, timeout: float | None) -> None:
        self.terms = terms
        self.deadline = math.inf if timeout is None else started_at + timeout
        self.waits: dict[Key, Wait] = {}
        self.news: list[Wait] | None = None
        self.ready: Future[None] | None = None
        self.expired = False
        self.closed = False
        self.beats = 0
        self.started_at = started_at
        self._aimed = timeout is None or timeout < 2 * _AIM_S
        self._beat_at = math.inf

    def report(self, wait: Wait) -> None:
        """Note that a wait has news."""
        if not wait.reported:
            wait.reported = True
            if self.news is None:
                self.news = []
            self.news.append(wait)
        self.wake()

    def take_news(self) -> list[Wait]:
        """Return the waits with news, each once."""
        news, self.news = self.news or [], None
        for wait in news:
            wait.reported = False
        return news

    def wake(self) -> None:
        """Let the caller look what there is."""
        if self.ready is not None and not self.ready.done():
            self.ready.set_result(None)

    def next_event(self) -> float:
        """Return when something is to be done for this caller besides asking."""
        if self.expired:
            return math.inf
        aim = math.inf if self._aimed else self.deadline - _AIM_S
        return min(self.deadline, self._beat_at, aim)


class Poll(Place):
    """One recording that somebody waits for."""

    __slots__ = ("errors_in_a_row", "in_flight", "key", "status", "statusless_in_a_row", "waits")

    def __init__(self, key: Key) -> None:
        super().__init__()
        self.key = key
        self.waits: tuple[Wait, ...] = ()
        self.in_flight = False
        self.status: str | None = None
        self.errors_in_a_row = 0
        self.statusless_in_a_row = 0

    def count(self, outcome: Outcome) -> None:
        """Count the errors in a row."""
        failed = outcome.verdict is Verdict.UNKNOWN
        self.errors_in_a_row = self.errors_in_a_row + 1 if failed else 0
        statusless = failed and outcome.record is not None
        self.statusless_in_a_row = self.statusless_in_a_row + 1 if statusless else 0

    def gives_up(self, outcome: Outcome, once: bool) -> bool:
        """Return whether an answer that is not final ends a wait."""
        if outcome.verdict is not Verdict.UNKNOWN:
            return once
        if outcome.error is not None and not outcome.error.retryable:
            return True
        if self.statusless_in_a_row >= _STATUSLESS_LIMIT:
            return True
        return once and self.errors_in_a_row >= _ATTEMPTS


class Breaker:
    """Keeps requests from an endpoint that is dead, and finds out when it is back.

    :param jitter: returns a number between 0 and 1.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0
        self._probes = 0
        self.dead_since: float | None = None
        self.probe_at = -math.inf

    def failed(self, now: float) -> bool:
        """Count a failed connection; return whether the endpoint has just been found dead."""
        self._failures += 1
        if self.dead_since is None:
            if self._failures < _DEAD_AFTER:
                return False
            self.dead_since = now
            self._probes = 0
            self._plan(now)
            return True
        self._probes += 1
        self._plan(now)
        return False

    def answered(self, now: float) -> float | None:
        """Count an answer; return how long the endpoint had been dead, or None if it was not."""
        self._failures = 0
        since, self.dead_since = self.dead_since, None
        return None if since is None else now - since

    def _plan(self, now: float) -> None:
        ceiling = min(_PROBE_BASE_S * 2.0**self._probes, _PROBE_CAP_S)
        self.probe_at = now + max(self._jitter() * ceiling, _PROBE_LEAST_S)


class Board:
    """Who waits for what.

    :param order: decides which recording is asked for next.
    :param jitter: returns a number between 0 and 1.
    :param wall_clock: UNIX seconds, to read an answer's times by.
    """

    def __init__(
        self,
        order: PollOrder[Poll],
        jitter: Callable[[], float],
        wall_clock: Callable[[], float],
    ) -> None:
        self.order = order
        self.breaker = Breaker(jitter)
        self.polls: dict[Key, Poll] = {}
        self.in_flight = 0
        self.sent = 0
        self.rejects = 0
        self.errors = 0
        self._jitter = jitter
        self._wall_clock = wall_clock
        self.applications: dict[int, int] = {}
        # The latest to be FINISHED, and when that was seen.
        self.finished_at: dict[Key, float] = {}
        self._events: list[tuple[float, int, Caller]] = []
        self._event_number = 0
        self._stale_events = 0
        self._callers = 0
        self._once: set[Poll] = set()

    # What callers do.

    def open(self, caller: Caller, now: float) -> None:
        """Take in a caller; its recordings follow by :meth:`join`."""
        self._callers += 1
        caller._beat_at = now + max(_HEARTBEAT_S, _HEARTBEAT_EACH_S * self._callers)
        self._plan(caller)

    def join(self, caller: Caller, key: Key, now: float, not_before: float) -> Poll:
        """Let a caller wait for a recording."""
        poll = self.polls.get(key)
        if poll is None:
            poll = self.polls[key] = Poll(key)
            self.applications[key[0]] = self.applications.get(key[0], 0) + 1
            self.order.add(poll, now, not_before)
        elif poll.stage is Stage.UNSEEN:
            self.order.bring_forward(poll, now, not_before)
        wait = Wait(caller, poll)
        if poll.waits:
            self._join_others(wait, now)
        poll.waits = (*poll.waits, wait)
        caller.waits[key] = wait
        if caller.terms.once:
            self._once.add(poll)
            if poll.stage is not Stage.UNSEEN and not poll.in_flight:
                self.order.hint(poll, now, again=False)
        return poll

    def _join_others(self, wait: Wait, now: float) -> None:
        poll, interval = wait.poll, wait.caller.terms.poll_interval_s
        known = poll.waits[0].outcome
        if known is not None and known.verdict is Verdict.PENDING:
            wait.outcome = known
        shortest = min(other.caller.terms.poll_interval_s for other in poll.waits)
        if interval < shortest and not poll.errors_in_a_row:
            self.order.bring_forward(poll, now, poll.asked_at + interval)

    def leave(self, caller: Caller, key: Key) -> Wait:
        """End a caller's interest in a recording."""
        wait = caller.waits.pop(key)
        poll = wait.poll
        if wait in poll.waits:
            self._drop(poll, (wait,))
        return wait

    def close(self, caller: Caller) -> None:
        """Forget a caller that has left all its recordings."""
        if not caller.closed:
            caller.closed = True
            self._callers -= 1
            self._stale_events += 1
            if self._stale_events > 64 and self._stale_events > len(self._events) // 2:
                self._events = [event for event in self._events if not event[2].closed]
                heapq.heapify(self._events)
                self._stale_events = 0

    def expire(self, caller: Caller) -> list[Key]:
        """Return the recordings that have no request under way; the others are heard once more."""
        idle = []
        for key, wait in caller.waits.items():
            if wait.poll.in_flight and not wait.settled:
                wait.last = True
            else:
                idle.append(key)
        return idle

    def keys_of(self, task_id: str) -> Iterator[Key]:
        """Yield the recordings of this id that are waited for, in whatever application."""
        for app_id in self.applications:
            if (app_id, task_id) in self.polls:
                yield app_id, task_id

    # What time does.

    def next_event(self) -> float:
        """Return when :meth:`run_events` has something to do."""
        return self._events[0][0] if self._events else math.inf

    def run_events(self, now: float) -> None:
        """Aim requests at deadlines, let time run out, and let callers show that they live."""
        while self._events and self._events[0][0] <= now:
            _, _, caller = heapq.heappop(self._events)
            if caller.closed:
                self._stale_events -= 1
                continue
            if caller.deadline <= now:
                caller.expired = True
            elif not caller._aimed and caller.deadline - _AIM_S <= now:
                caller._aimed = True
                self._aim(caller, now)
            if caller._beat_at <= now:
                caller.beats += 1
                caller._beat_at = now + max(_HEARTBEAT_S, _HEARTBEAT_EACH_S * self._callers)
            self._plan(caller)
            caller.wake()

    def _plan(self, caller: Caller) -> None:
        event = caller.next_event()
        if event < math.inf:
            self._event_number += 1
            heapq.heappush(self._events, (event, self._event_number, caller))

    def _aim(self, caller: Caller, now: float) -> None:
        waiting = (wait.poll for wait in caller.waits.values() if not wait.settled)
        for poll in islice(waiting, max(int(self.order.pace * _AIM_S), 1)):
            if not poll.in_flight and now - poll.asked_at > _AIM_S:
                self.order.hint(poll, now, again=False)

    # Requests and answers.

    def next_due(self, now: float) -> float | None:
        """Return from when on :meth:`take` has a recording to ask for, or None."""
        due = self.order.next_due(now)
        if due is None or self.breaker.dead_since is None:
            return due
        if self.in_flight:
            return None
        return max(due, self.breaker.probe_at)

    def take(self, now: float) -> Poll | None:
        """Return the recording to ask for now; it is in flight until :meth:`landed`."""
        if self.breaker.dead_since is not None and (self.in_flight or now < self.breaker.probe_at):
            return None
        poll = self.order.pop(now)
        if poll is not None:
            poll.in_flight = True
            self.in_flight += 1
            self.sent += 1
        return poll

    def landed(self, poll: Poll, answer: OnlineRecord | TiwError, now: float) -> None:
        """Hear the answer to a request, or the error that came instead."""
        poll.in_flight = False
        self.in_flight -= 1
        self._heard_of_endpoint(answer, now)
        if isinstance(answer, RequestLimitExceeded):
            self.rejects += 1
        app_id, task_id = poll.key
        seen = judge(app_id, task_id, answer, Acceptance())
        poll.count(seen)
        if isinstance(answer, OnlineRecord):
            poll.status = answer.status
        if seen.verdict is Verdict.UNKNOWN:
            self.errors += 1
        floor = min((w.caller.terms.poll_interval_s for w in poll.waits), default=0.0)
        settled = []
        for wait in poll.waits:
            wait.take(judge(app_id, task_id, answer, wait.caller.terms.acceptance))
            if wait.settled:
                settled.append(wait)
        if seen.verdict is Verdict.UNKNOWN:
            ceiling = min(_RETRY_BASE_S * 2.0 ** (poll.errors_in_a_row - 1), _RETRY_CAP_S)
            pause = max(floor, self._jitter() * ceiling)
            self.order.put_back(poll, now, now + pause)
        else:
            self._answered(poll, seen, now, floor)
        self._drop(poll, settled)

    def fail_all(self, error: TiwError) -> None:
        """End every wait: nobody would be asked for again."""
        for poll in list(self.polls.values()):
            waits = poll.waits
            for wait in waits:
                wait.last = True
                wait.take(judge(*poll.key, error, wait.caller.terms.acceptance))
            self._drop(poll, waits)

    def _answered(self, poll: Poll, seen: Outcome, now: float, floor: float) -> None:
        record = seen.record
        if seen.is_final or record is None:
            stage = Stage.FINISHED
        else:
            stage = Stage.STOPPED if record.status == RecordStatus.STOPPED else Stage.ACTIVE
        if record is None:
            # Failed or missing: that says nothing about how long recordings last.
            poll.stage = Stage.FINISHED
            return
        if stage is Stage.FINISHED:
            self.finished_at[poll.key] = now
            if len(self.finished_at) > _FINISHED_KEPT:
                del self.finished_at[next(iter(self.finished_at))]
        wall = self._wall_clock()
        started, stopped = record.record_start_time, record.record_stop_time
        self.order.answered(
            poll,
            now,
            stage,
            poll_interval=floor,
            started_ago=None if started is None else wall - started,
            stopped_ago=None if stopped is None else wall - stopped,
        )

    def _heard_of_endpoint(self, answer: OnlineRecord | TiwError, now: float) -> None:
        page = isinstance(answer, ServerError) and answer.code.startswith("Http")
        broken = isinstance(answer, TransportError) and answer.retryable
        if not page and not broken:
            outage = self.breaker.answered(now)
            if outage is not None:
                logger.warning("The API answers again after %.0f s.", outage)
                if outage >= _OUTAGE_S:
                    self.order.catch_up(now)
            return
        if self.breaker.failed(now):
            logger.warning(
                "The API does not answer (%s). All %d waits are kept; one request every few "
                "seconds finds out when it is back.",
                answer,
                len(self.polls),
            )
        elif self.breaker.dead_since is not None and isinstance(answer, TiwError):
            self._fail_once(answer)

    def _fail_once(self, error: TiwError) -> None:
        """Count a failed probe for everybody who wants one answer only, and would wait long."""
        for poll in list(self._once):
            if poll.in_flight:
                continue
            outcome = judge(*poll.key, error, Acceptance())
            poll.count(outcome)
            if poll.errors_in_a_row >= _ATTEMPTS:
                settled = [wait for wait in poll.waits if wait.caller.terms.once]
                for wait in settled:
                    wait.take(outcome)
                self._drop(poll, settled)

    def _drop(self, poll: Poll, waits: tuple[Wait, ...] | list[Wait]) -> None:
        if waits:
            poll.waits = tuple(wait for wait in poll.waits if wait not in waits)
        if poll in self._once and not any(wait.caller.terms.once for wait in poll.waits):
            self._once.discard(poll)
        # One that is in flight stays known, so that no second request joins it on the wire.
        if not poll.waits and not poll.in_flight and self.polls.get(poll.key) is poll:
            del self.polls[poll.key]
            self.applications[poll.key[0]] -= 1
            if not self.applications[poll.key[0]]:
                del self.applications[poll.key[0]]
            self.order.remove(poll)
