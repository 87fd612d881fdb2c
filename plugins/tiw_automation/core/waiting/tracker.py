# SPDX-License-Identifier: Apache-2.0
"""All waits of an account: who waits for what, whose turn it is, what an answer ends.

Has no clock, thread or socket of its own: whoever drives it says what time it is, makes the
requests and brings the answers. So every sequence of events can be tried on a fake clock.
"""

from __future__ import annotations

import copy
import heapq
import logging
import math
import sys
from collections.abc import (
    Callable,
    Collection,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    MutableMapping,
)
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Self

from tiw_automation.core.errors import (
    ApiError,
    BadAnswer,
    RequestLimitExceeded,
    ServerError,
    TiwError,
    TransportError,
)
from tiw_automation.core.quota.host import SMALL_PART
from tiw_automation.core.records.outcome import Acceptance, Outcome, Verdict, judge
from tiw_automation.core.records.record import OnlineRecord, RecordStatus
from tiw_automation.core.retry import doubled, is_exhaustion
from tiw_automation.core.tasks.until import is_over
from tiw_automation.core.waiting.poll_order import Place, PollOrder, Stage
from tiw_automation.core.waiting.signal import Signal

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
_MOMENTS_A_SECOND = 128
# Events of one turn of the loop.
_EVENTS_AT_ONCE = 250

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a caller agrees to for all its recordings."""

    acceptance: Acceptance
    poll_interval_s: float
    once: bool
    until: frozenset[str] | None = None
    unconfirmed: bool = False

    def ended_by(self, outcome: Outcome) -> bool:
        """Return whether an answer that is not final ends a wait for other states."""
        return self.until is not None and is_over(outcome, self.until)


class Wait:
    """One caller's interest in one recording."""

    __slots__ = ("caller", "last", "outcome", "poll", "record", "reported", "settled", "told")

    caller: Waiter

    def __init__(self, caller: Waiter, poll: Poll) -> None:
        self.caller = caller
        self.poll = poll
        self.outcome: Outcome | None = None
        self.record: OnlineRecord | None = None
        self.settled = False
        self.last = False
        self.reported = False
        self.told: str | None = None

    def seen(self) -> Outcome:
        """Return what is known of the recording."""
        return self.outcome or Outcome(*self.poll.key, Verdict.PENDING, self.record)

    def take(self, outcome: Outcome) -> None:
        """Hear an answer."""
        if outcome.verdict is Verdict.PENDING and outcome.record is not None:
            self.outcome, self.record = None, outcome.record
        else:
            # A fault on the way does not make what was seen before unseen.
            self.record = outcome.record or self.record
            self.outcome = replace(outcome, record=self.record)
        terms = self.caller.terms
        self.settled = (
            self.last
            or outcome.is_final
            or terms.ended_by(outcome)
            or self.poll.gives_up(outcome, terms.once)
        )
        self.caller.report(self)


class Waiter(Signal):
    """One call that waits for recordings, whatever it keeps of them.

    It is woken when there is news, when its time has run out, and when it is to show that it lives.
    """

    __slots__ = (
        "aimed",
        "closed",
        "event",
        "expired",
        "shows_life",
        "started_at",
        "terms",
        "timeout",
    )

    def __init__(self, terms: Terms, started_at: float, timeout: float | None) -> None:
        super().__init__()
        self.terms = terms
        self.started_at = started_at
        self.timeout = timeout
        self.expired = False
        self.closed = False
        self.shows_life = False
        self.aimed = timeout is None or timeout < 2 * _AIM_S
        self.event: list[Waiter] | None = None

    @property
    def deadline(self) -> float:
        """When the time runs out."""
        return math.inf if self.timeout is None else self.started_at + self.timeout

    @property
    def waits(self) -> Collection[Wait]:
        """What is still waited for."""
        raise NotImplementedError

    def has_news(self) -> bool:
        """Return whether any wait has any."""
        raise NotImplementedError

    def add(self, poll: Poll) -> Wait:
        """Wait for one more."""
        raise NotImplementedError

    def remove(self, wait: Wait) -> None:
        """Wait for one less."""
        raise NotImplementedError

    def report(self, wait: Wait) -> None:
        """Note that a wait has news."""
        raise NotImplementedError

    def stirs(self) -> bool:
        """Return whether there is something to do."""
        if self.has_news() or self.shows_life:
            return True
        return self.expired and not all(wait.last for wait in self.waits)


class _Member(Wait):
    """One of many waits of a caller, linked to those before and after it."""

    __slots__ = ("after", "before")

    after: _Member | None
    before: _Member | None


class _Members(Collection[Wait]):
    """A caller's waits in their order; a dict of them would be an eighth of what they take."""

    __slots__ = ("_count", "_first", "_last")

    def __init__(self) -> None:
        self._first: _Member | None = None
        self._last: _Member | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Wait]:
        member = self._first
        while member is not None:
            yield member
            member = member.after

    def __contains__(self, wait: object) -> bool:
        return any(member is wait for member in self)

    def add(self, member: _Member) -> None:
        member.before, member.after = self._last, None
        if self._last is None:
            self._first = member
        else:
            self._last.after = member
        self._last = member
        self._count += 1

    def remove(self, member: _Member) -> None:
        before, after = member.before, member.after
        if before is None:
            self._first = after
        else:
            before.after = after
        if after is None:
            self._last = before
        else:
            after.before = before
        member.before = member.after = None
        self._count -= 1


class Caller(Waiter):
    """One call that waits for many recordings."""

    __slots__ = ("_waits", "news")

    def __init__(self, terms: Terms, started_at: float, timeout: float | None) -> None:
        super().__init__(terms, started_at, timeout)
        self._waits = _Members()
        self.news: list[Wait] = []

    @property
    def waits(self) -> Collection[Wait]:
        return self._waits

    def __await__(self) -> Generator[Self, None, None]:
        yield self.blocking()

    def has_news(self) -> bool:
        return bool(self.news)

    def add(self, poll: Poll) -> Wait:
        wait = _Member(self, poll)
        self._waits.add(wait)
        return wait

    def remove(self, wait: Wait) -> None:
        assert isinstance(wait, _Member)
        self._waits.remove(wait)

    def report(self, wait: Wait) -> None:
        if not wait.reported:
            wait.reported = True
            self.news.append(wait)
        self.wake()

    def take_news(self) -> list[Wait]:
        """Return the waits with news, each once."""
        news, self.news = self.news, []
        for wait in news:
            wait.reported = False
        return news


class Agenda:
    """When something is to be done for a waiter besides asking; thousands share a moment.

    An event comes by up to a 128th of a second late.
    """

    def __init__(self) -> None:
        self._moments: dict[int, list[Waiter]] = {}
        self._numbers: list[int] = []
        self._entries = 0
        self._stale = 0

    def __len__(self) -> int:
        """The entries, those of waiters that have gone among them."""
        return self._entries

    def plan(self, waiter: Waiter, at: float) -> None:
        """Plan a waiter's next event; it has one at most."""
        number = math.ceil(at * _MOMENTS_A_SECOND)
        moment = self._moments.get(number)
        if moment is None:
            moment = self._moments[number] = []
            heapq.heappush(self._numbers, number)
        moment.append(waiter)
        waiter.event = moment
        self._entries += 1

    def forget(self, waiter: Waiter) -> None:
        """Drop a waiter's event."""
        if waiter.event is None:
            return
        waiter.event = None
        self._stale += 1
        if self._stale > 64 and self._stale > self._entries // 2:
            for number, moment in list(self._moments.items()):
                moment[:] = [entry for entry in moment if entry.event is moment]
                if not moment:
                    del self._moments[number]
            self._numbers = sorted(self._moments)
            self._entries -= self._stale
            self._stale = 0

    def next(self) -> float:
        """Return the time of the next event."""
        return self._numbers[0] / _MOMENTS_A_SECOND if self._numbers else math.inf

    def due(self, now: float, most: int = _EVENTS_AT_ONCE) -> list[Waiter]:
        """Return, and forget, whose event has come; so many at most, the others next time."""
        found: list[Waiter] = []
        while most > 0 and self._numbers and self._numbers[0] / _MOMENTS_A_SECOND <= now:
            moment = self._moments[self._numbers[0]]
            entries = moment[:most]
            del moment[:most]
            if not moment:
                del self._moments[heapq.heappop(self._numbers)]
            most -= len(entries)
            self._entries -= len(entries)
            waiters = [entry for entry in entries if entry.event is moment]
            self._stale -= len(entries) - len(waiters)
            for waiter in waiters:
                waiter.event = None
            found += waiters
        return found


class Poll(Place):
    """One recording that somebody waits for.

    ``interval_s`` is the least time between two requests that it rests by. It is ``unconfirmed``
    as long as only callers wait for it that do not know whether there is such a recording.
    """

    __slots__ = (
        "_waits",
        "app_id",
        "errors_in_a_row",
        "in_flight",
        "interval_s",
        "statusless_in_a_row",
        "task_id",
        "unconfirmed",
    )

    def __init__(self, key: Key, *, unconfirmed: bool = False) -> None:
        super().__init__()
        self.unconfirmed = unconfirmed
        self.app_id, self.task_id = key
        # A dict only where there are several: nearly always there is one.
        self._waits: Wait | dict[Wait, None] | None = None
        self.in_flight = False
        self.interval_s = math.inf
        self.errors_in_a_row = 0
        self.statusless_in_a_row = 0

    @property
    def key(self) -> Key:
        """Its application and task id."""
        return self.app_id, self.task_id

    @property
    def waits(self) -> tuple[Wait, ...]:
        """Who waits for it, in the order in which they came."""
        waits = self._waits
        if waits is None:
            return ()
        return (waits,) if isinstance(waits, Wait) else tuple(waits)

    @property
    def first(self) -> Wait | None:
        """Who has waited for it for longest."""
        return next(iter(self._waits)) if isinstance(self._waits, dict) else self._waits

    def add(self, wait: Wait) -> None:
        """Take in one more who waits."""
        if self._waits is None:
            self._waits = wait
        elif isinstance(self._waits, Wait):
            self._waits = {self._waits: None, wait: None}
        else:
            self._waits[wait] = None

    def remove(self, waits: Iterable[Wait]) -> None:
        """Let go of some who waited, if they still do."""
        for wait in waits:
            if self._waits is wait:
                self._waits = None
            elif isinstance(self._waits, dict):
                self._waits.pop(wait, None)
        if not self._waits:
            self._waits = None

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


class Polls(MutableMapping[Key, Poll]):
    """Every recording that is waited for; within an application a task id alone names it."""

    def __init__(self) -> None:
        self._of_application: dict[int, dict[str, Poll]] = {}

    def __getitem__(self, key: Key) -> Poll:
        return self._of_application[key[0]][key[1]]

    def __setitem__(self, key: Key, poll: Poll) -> None:
        self._of_application.setdefault(key[0], {})[key[1]] = poll

    def __delitem__(self, key: Key) -> None:
        polls = self._of_application[key[0]]
        del polls[key[1]]
        if not polls:
            del self._of_application[key[0]]

    def __iter__(self) -> Iterator[Key]:
        for app_id, polls in self._of_application.items():
            for task_id in polls:
                yield app_id, task_id

    def __len__(self) -> int:
        return sum(map(len, self._of_application.values()))

    def counts(self) -> dict[int, int]:
        """Return how many there are in each application."""
        return {app_id: len(polls) for app_id, polls in self._of_application.items()}

    def named(self, task_id: str) -> list[Poll]:
        """Return those of this task id, in whatever application."""
        return [polls[task_id] for polls in self._of_application.values() if task_id in polls]


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
        """Count a failed connection or an error page; return whether that makes it dead."""
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
        ceiling = doubled(_PROBE_BASE_S, self._probes, _PROBE_CAP_S)
        self.probe_at = now + max(self._jitter() * ceiling, _PROBE_LEAST_S)


class Budget:
    """Tokens that come evenly, of which half a one is saved: turns come when they come.

    :param rate: how many a second; it may change at any time.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._taken_at = -math.inf

    @property
    def next_at(self) -> float:
        """When the next token comes, or came."""
        return self._taken_at + 1.0 / self.rate

    def take(self, now: float) -> None:
        """Take a token, there or not."""
        self._taken_at = min(max(self.next_at, now - 0.5 / self.rate), now)


class Board:
    """Who waits for what.

    Recordings that only unconfirmed callers wait for have an order of their own, which teaches
    nothing to the other one, and a small budget. With a token in it the first of them comes
    before all others; without one they come only when nothing else is due, in this process or in
    another (:attr:`others_wait`). So a flood of them costs the others its budget at most, and the
    genuine ones among them are asked for all the same.

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
        self.unconfirmed: PollOrder[Poll] = PollOrder(learns=False)
        self.budget = Budget(SMALL_PART * order.pace)
        self.others_wait = False
        """Whether other processes have waits, so that what is not due here is due there."""
        self.breaker = Breaker(jitter)
        self.polls = Polls()
        self.in_flight = 0
        self.sent = 0
        self.rejects = 0
        self.errors = 0
        self._jitter = jitter
        self._wall_clock = wall_clock
        # The latest to be FINISHED, and when that was seen.
        self.finished_at: dict[Key, float] = {}
        self.agenda = Agenda()
        self._callers = 0
        self._once: set[Poll] = set()
        self._was_answered = False

    @property
    def confirmed(self) -> int:
        """How many recordings are waited for that some caller knows of."""
        return len(self.polls) - len(self.unconfirmed)

    def order_of(self, poll: Poll) -> PollOrder[Poll]:
        """Return the order in which a recording has its turns."""
        return self.unconfirmed if poll.unconfirmed else self.order

    # What callers do.

    def open(self, caller: Waiter, now: float) -> None:
        """Take in a caller; its recordings follow by :meth:`join`."""
        self._callers += 1
        self._plan(caller, now)

    def join(self, caller: Waiter, key: Key, now: float, not_before: float) -> Poll:
        """Let a caller wait for a recording."""
        poll = self.polls.get(key)
        if poll is None:
            poll = self.polls[key] = Poll(key, unconfirmed=caller.terms.unconfirmed)
            self.order_of(poll).add(poll, now, not_before)
        elif poll.unconfirmed and not caller.terms.unconfirmed:
            self._confirm(poll, now, not_before)
        elif poll.stage is Stage.UNSEEN:
            self.order_of(poll).bring_forward(poll, now, not_before)
        wait = caller.add(poll)
        first = poll.first
        if first is None:
            poll.interval_s = caller.terms.poll_interval_s
        else:
            self._join_others(wait, first, now)
        poll.add(wait)
        if caller.terms.once:
            self._once.add(poll)
            if poll.stage is not Stage.UNSEEN and not poll.in_flight:
                self.order_of(poll).hint(poll, now, again=False)
        return poll

    def _confirm(self, poll: Poll, now: float, not_before: float) -> None:
        """Let a recording have its turns among the others from now on."""
        poll.unconfirmed = False
        self.unconfirmed.remove(poll)
        if poll.in_flight:
            self.order.expect(poll)
        else:
            rests_until = poll.asked_at + poll.interval_s if poll.errors_in_a_row else not_before
            self.order.adopt(poll, now, max(not_before, rests_until))

    def _join_others(self, wait: Wait, first: Wait, now: float) -> None:
        poll, interval = wait.poll, wait.caller.terms.poll_interval_s
        if first.outcome is None:
            wait.record = first.record
        if interval < poll.interval_s:
            poll.interval_s = interval
            if poll.stage is not Stage.UNSEEN and not poll.errors_in_a_row:
                self.order_of(poll).bring_forward(poll, now, poll.asked_at + interval)

    def leave(self, wait: Wait) -> None:
        """End a caller's interest in a recording."""
        wait.caller.remove(wait)
        self._drop(wait.poll, (wait,))

    def close(self, caller: Waiter) -> None:
        """Forget a caller that has left all its recordings."""
        if not caller.closed:
            caller.closed = True
            self._callers -= 1
            self.agenda.forget(caller)

    def expire(self, caller: Waiter) -> list[Wait]:
        """Return the waits that have no request under way; the others are heard once more."""
        idle = []
        for wait in caller.waits:
            if wait.poll.in_flight and not wait.settled:
                wait.last = True
            else:
                idle.append(wait)
        return idle

    # What time does.

    def next_event(self) -> float:
        """Return when :meth:`run_events` has something to do."""
        return self.agenda.next()

    def run_events(self, now: float) -> None:
        """Aim requests at deadlines, let time run out, and let callers show that they live.

        Of a few hundred at a time: thousands may share a moment. The others come next time, at
        once (:meth:`next_event`).
        """
        for caller in self.agenda.due(now):
            if caller.deadline <= now:
                caller.expired = True
            elif not caller.aimed and caller.deadline - _AIM_S <= now:
                caller.aimed = True
                self._aim(caller, now)
            else:
                caller.shows_life = True
            self._plan(caller, now)
            caller.wake()

    def _plan(self, caller: Waiter, now: float) -> None:
        if caller.expired:
            return
        event = caller.deadline if caller.aimed else caller.deadline - _AIM_S
        beat = now + max(_HEARTBEAT_S, _HEARTBEAT_EACH_S * self._callers)
        # A heartbeat may come late, so that many share a moment.
        grid = _HEARTBEAT_S / 600
        self.agenda.plan(caller, event if event <= beat else math.ceil(beat / grid) * grid)

    def _aim(self, caller: Waiter, now: float) -> None:
        waiting = (wait.poll for wait in caller.waits if not wait.settled)
        for poll in islice(waiting, max(int(self.order.pace * _AIM_S), 1)):
            if not poll.in_flight and now - poll.asked_at > _AIM_S:
                self.order_of(poll).hint(poll, now, again=False)

    # Requests and answers.

    def next_due(self, now: float) -> float | None:
        """Return from when on :meth:`take` has a recording to ask for, or None."""
        due = self._next_due(now)
        if due is None or self.breaker.dead_since is None:
            return due
        if self.in_flight:
            return None
        return max(due, self.breaker.probe_at)

    def take(self, now: float) -> Poll | None:
        """Return the recording to ask for now; it is in flight until :meth:`landed`."""
        if self.breaker.dead_since is not None and (self.in_flight or now < self.breaker.probe_at):
            return None
        poll = self._pop(now)
        if poll is not None:
            poll.in_flight = True
            self.in_flight += 1
            self.sent += 1
        return poll

    def is_due(self, now: float) -> bool:
        """Return whether a recording that some caller knows of could be asked for now."""
        due = self.order.next_due(now)
        return due is not None and due <= now

    def _next_due(self, now: float) -> float | None:
        due, small = self.order.next_due(now), self.unconfirmed.next_due(now)
        if small is None:
            return due
        if self.others_wait or (due is not None and due <= now):
            small = max(small, self.budget.next_at)
        return small if due is None else min(due, small)

    def _pop(self, now: float) -> Poll | None:
        poll = None
        if len(self.unconfirmed):
            spare = not (self.others_wait or self.is_due(now))
            if spare or self.budget.next_at <= now:
                poll = self.unconfirmed.pop(now)
                if poll is not None:
                    self.budget.take(now)
        return self.order.pop(now) if poll is None else poll

    def landed(self, poll: Poll, answer: OnlineRecord | TiwError, now: float) -> None:
        """Hear the answer to a request, or the error that came instead."""
        if self.polls.get(poll.key) is not poll:
            return
        poll.in_flight = False
        self.in_flight -= 1
        if isinstance(answer, TiwError):
            answer = self._as_passing(poll, answer)
        self._heard_of_endpoint(answer, now)
        if isinstance(answer, RequestLimitExceeded):
            self.rejects += 1
        app_id, task_id = poll.key
        seen = judge(app_id, task_id, answer, Acceptance())
        poll.count(seen)
        if isinstance(answer, OnlineRecord) and not seen.is_final:
            # Ten thousand answers that nobody will look at again are not kept.
            status = None if answer.status is None else sys.intern(answer.status)
            answer = replace(answer, status=status, raw=_NOTHING)
        if seen.verdict is Verdict.UNKNOWN:
            self.errors += 1
        waits = poll.waits
        floor = min((wait.caller.terms.poll_interval_s for wait in waits), default=0.0)
        poll.interval_s = floor
        settled = []
        for wait in waits:
            wait.take(judge(app_id, task_id, answer, wait.caller.terms.acceptance))
            if wait.settled:
                settled.append(wait)
        if seen.verdict is Verdict.UNKNOWN:
            ceiling = doubled(_RETRY_BASE_S, poll.errors_in_a_row - 1, _RETRY_CAP_S)
            asked = answer.retry_after_s if isinstance(answer, TiwError) else None
            pause = max(floor, self._jitter() * ceiling, asked or 0.0)
            self.order_of(poll).put_back(poll, now, now + pause)
        else:
            self._answered(poll, seen, now, floor)
        self._drop(poll, settled)

    def fail_all(self, error: TiwError, order: PollOrder[Poll]) -> None:
        """End every wait, and begin anew: whatever was interrupted may be half done.

        Answers to requests that are under way are no longer heard.
        """
        polls = list(self.polls.values())
        self.polls, self.order, self._once, self.in_flight = Polls(), order, set(), 0
        self.unconfirmed = PollOrder(learns=False)
        self.breaker = Breaker(self._jitter)
        for poll in polls:
            waits = poll.waits
            for wait in waits:
                wait.take(judge(*poll.key, error, wait.caller.terms.acceptance))
                wait.settled = True
            poll.remove(waits)

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
        self.order_of(poll).answered(
            poll,
            now,
            stage,
            poll_interval=floor,
            started_ago=None if started is None else wall - started,
            stopped_ago=None if stopped is None else wall - stopped,
        )

    def _as_passing(self, poll: Poll, error: TiwError) -> TiwError:
        """Return a refused certificate as a fault that passes, for as long as it may be one.

        An endpoint that has answered before has an operator who is exchanging it. Before any
        answer a few attempts are made, and then it is a refusal.
        """
        may_pass = self._was_answered or poll.errors_in_a_row + 1 < _ATTEMPTS
        if error.code != "TlsError" or error.retryable or not may_pass:
            return error
        passing = copy.copy(error)
        passing.retryable = True
        return passing

    def _heard_of_endpoint(self, answer: OnlineRecord | TiwError, now: float) -> None:
        if isinstance(answer, TiwError) and self._is_down(answer):
            if self.breaker.failed(now):
                logger.warning(
                    "The API does not answer (%s). All %d waits are kept; one request every few "
                    "seconds finds out when it is back.",
                    answer,
                    len(self.polls),
                )
            elif self.breaker.dead_since is not None:
                self._fail_once(answer)
        elif isinstance(answer, (OnlineRecord, ApiError, BadAnswer)):
            # Whatever it says of one recording, something answers.
            self._was_answered = self._was_answered or not isinstance(answer, BadAnswer)
            outage = self.breaker.answered(now)
            if outage is not None:
                logger.warning("The API answers again after %.0f s.", outage)
                if outage >= _OUTAGE_S:
                    self.order.catch_up(now)
        elif self.breaker.dead_since is not None:
            # A fault of this machine: nothing was learnt.
            self.breaker.failed(now)

    def _is_down(self, error: TiwError) -> bool:
        """Return whether an error speaks against the endpoint, and not of one recording.

        Only connections and error pages do. A certificate is no fault of it before it has
        answered once.
        """
        if isinstance(error, ServerError):
            return error.code.startswith("Http")
        if not isinstance(error, TransportError) or isinstance(error, BadAnswer):
            return False
        if error.code == "TlsError" and not self._was_answered:
            return False
        return error.retryable and not is_exhaustion(error)

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

    def _drop(self, poll: Poll, waits: Iterable[Wait]) -> None:
        poll.remove(waits)
        if poll in self._once and not any(wait.caller.terms.once for wait in poll.waits):
            self._once.discard(poll)
        # One that is in flight stays known, so that no second request joins it on the wire.
        if poll.first is None and not poll.in_flight and self.polls.get(poll.key) is poll:
            del self.polls[poll.key]
            self.order_of(poll).remove(poll)
