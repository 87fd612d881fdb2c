# SPDX-License-Identifier: Apache-2.0
"""The state of an account's waits of one kind: which call waits for which task, what is due.

It has no clock, thread or socket: the dispatcher passes the time, sends the requests and hands
back the answers. So a test can run any sequence of events on a fake clock.
"""

from __future__ import annotations

import asyncio
import copy
import heapq
import logging
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from tiw_automation.core.errors import (
    ApiError,
    BadAnswer,
    RequestLimitExceeded,
    ServerError,
    TiwError,
    TransportError,
)
from tiw_automation.core.quota.parts import SMALL_PART
from tiw_automation.core.records.outcome import (
    DEFAULT_ACCEPTANCE,
    Acceptance,
    Outcome,
    Verdict,
    judge,
)
from tiw_automation.core.records.record import OnlineRecord
from tiw_automation.core.records.task import TiwTask
from tiw_automation.core.retry import doubled, is_exhaustion
from tiw_automation.core.tasks.kind import TaskKind
from tiw_automation.core.tasks.kinds import ONLINE_RECORD
from tiw_automation.core.tasks.until import ends_wait
from tiw_automation.core.waiting.poll_order import Place, PollOrder, Stage

logger = logging.getLogger(__name__)

Key = tuple[int, str]
"""An application and a task id."""
Described = OnlineRecord | TiwTask
"""A task as it was seen in one answer."""

_RETRY_BASE_S = 1.0
_RETRY_CAP_S = 30.0
# A wait gives up after so many answers without a Status in a row.
_STATUSLESS_LIMIT = 5
# Attempts for a caller that wants one answer only.
_ATTEMPTS = 4

# The endpoint counts as down after so many failed connections in a row, and is then probed.
_DOWN_AFTER = 5
_PROBE_BASE_S = 2.0
_PROBE_CAP_S = 8.0
_PROBE_LEAST_S = 0.2
# After an outage of this length every task is polled once before any is polled twice.
_OUTAGE_S = 20.0

_FINISHED_KEPT = 1000

# The last request of a wait with a deadline is sent this long before it.
_AIM_S = 1.0
_HEARTBEAT_S = 600.0
# All callers together log at most ten heartbeats a second.
_HEARTBEAT_EACH_S = 0.1
_MOMENTS_A_SECOND = 128
# Events that are handled in one iteration of the event loop.
_EVENTS_AT_ONCE = 250

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Terms:
    """What a caller wants for all its tasks.

    :param acceptance: which finished recordings count as good.
    :param poll_interval_s: the least seconds between two requests for a task.
    :param once: whether one answer is enough, whatever it is.
    :param until: the states to wait for; None waits for FINISHED.
    :param unconfirmed: whether the caller may not know the tasks.
    :param kind: the kind of its tasks.
    """

    acceptance: Acceptance
    poll_interval_s: float
    once: bool
    until: frozenset[str] | None = None
    unconfirmed: bool = False
    kind: TaskKind = ONLINE_RECORD

    def ended_by(self, outcome: Outcome) -> bool:
        """Return whether an answer that is not final ends a wait for other states."""
        return self.until is not None and ends_wait(outcome, self.until, self.kind)


class Wait:
    """One caller's interest in one task.

    ``settled`` is set once and never reset (I2): the caller then takes the outcome and leaves.
    ``last`` marks a wait whose time elapsed while a request was in flight: its answer settles it,
    whatever it is (I5). ``reported`` is the state that was last reported to the caller.
    """

    __slots__ = ("_outcome", "_seen", "caller", "last", "reported", "settled", "task")

    def __init__(self, caller: Caller, task: TrackedTask) -> None:
        self.caller: Caller = caller
        self.task: TrackedTask = task
        # One of the two is enough for most waits: thousands are pending.
        self._outcome: Outcome | None = None
        self._seen: Described | None = None
        self.settled: bool = False
        self.last: bool = False
        self.reported: str | None = None

    @property
    def outcome(self) -> Outcome:
        """What is known of the task."""
        if self._outcome is not None:
            return self._outcome
        kind = self.caller.terms.kind.name
        return Outcome.about(*self.task.key, Verdict.PENDING, self._seen, task_kind=kind)

    def learn_from(self, other: Wait) -> None:
        """Take over what another wait for the same task has seen."""
        if other._outcome is None:
            self._seen = other._seen

    def update(self, outcome: Outcome) -> None:
        """Take an answer."""
        if outcome.verdict is Verdict.PENDING and outcome.described is not None:
            self._outcome, self._seen = None, outcome.described
        else:
            # A fault does not discard what was seen before.
            self._seen = outcome.described or self._seen
            self._outcome = outcome.with_described(self._seen)
        terms = self.caller.terms
        self.settled = (
            self.last
            or outcome.is_final
            or terms.ended_by(outcome)
            or self.task.gives_up(outcome, terms.once)
        )
        self.caller.add_news(self)


class Caller:
    """One call that waits for one task or for many.

    Its coroutine takes the news, looks at ``expired`` and ``heartbeat_due``, and then awaits
    :meth:`changed`.

    :param started_at: when the call began.
    :param timeout: the seconds that it waits, None without limit.
    """

    __slots__ = (
        "_changed",
        "aimed",
        "closed",
        "expired",
        "heartbeat_due",
        "moment",
        "news",
        "started_at",
        "terms",
        "timeout",
        "waits",
    )

    def __init__(self, terms: Terms, started_at: float, timeout: float | None) -> None:
        self.terms: Terms = terms
        self.started_at: float = started_at
        self.timeout: float | None = timeout
        # Both are dicts for their order; their values mean nothing.
        self.waits: dict[Wait, None] = {}
        self.news: dict[Wait, None] = {}
        self.expired: bool = False
        self.closed: bool = False
        self.heartbeat_due: bool = False
        self.aimed: bool = timeout is None or timeout < 2 * _AIM_S
        self.moment: list[Caller] | None = None
        self._changed: asyncio.Future[None] | None = None

    @property
    def deadline(self) -> float:
        """When the time elapses."""
        return math.inf if self.timeout is None else self.started_at + self.timeout

    def has_work(self) -> bool:
        """Return whether there is something to do for the call's coroutine."""
        if self.news or self.heartbeat_due:
            return True
        return self.expired and not all(wait.last for wait in self.waits)

    def changed(self) -> asyncio.Future[None]:
        """Return a future that is done when there may be something to do."""
        self._changed = asyncio.get_running_loop().create_future()
        return self._changed

    def wake(self) -> None:
        """Let the call's coroutine continue."""
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def add_news(self, wait: Wait) -> None:
        """Note that a wait has news, and wake the call."""
        self.news[wait] = None
        self.wake()

    def take_news(self) -> list[Wait]:
        """Return the waits with news, each once."""
        news = list(self.news)
        self.news.clear()
        return news


class Agenda:
    """When something other than a request is due for a caller; thousands may share a moment.

    An event comes up to a 128th of a second late.
    """

    def __init__(self) -> None:
        self._moments: dict[int, list[Caller]] = {}
        self._numbers: list[int] = []
        self._entries = 0
        self._stale = 0

    def __len__(self) -> int:
        """The entries, including those of callers that have left."""
        return self._entries

    def plan(self, caller: Caller, at: float) -> None:
        """Plan a caller's next event; it has at most one."""
        number = math.ceil(at * _MOMENTS_A_SECOND)
        moment = self._moments.get(number)
        if moment is None:
            moment = self._moments[number] = []
            heapq.heappush(self._numbers, number)
        moment.append(caller)
        caller.moment = moment
        self._entries += 1

    def forget(self, caller: Caller) -> None:
        """Drop a caller's event."""
        if caller.moment is None:
            return
        caller.moment = None
        self._stale += 1
        if self._stale > 64 and self._stale > self._entries // 2:
            self._remove_stale()

    def _remove_stale(self) -> None:
        for number, moment in list(self._moments.items()):
            moment[:] = [caller for caller in moment if caller.moment is moment]
            if not moment:
                del self._moments[number]
        self._numbers = sorted(self._moments)
        self._entries -= self._stale
        self._stale = 0

    def next(self) -> float:
        """Return the time of the next event."""
        return self._numbers[0] / _MOMENTS_A_SECOND if self._numbers else math.inf

    def due(self, now: float, most: int = _EVENTS_AT_ONCE) -> list[Caller]:
        """Remove and return the callers whose event is due: at most so many at once."""
        found: list[Caller] = []
        while most > 0 and self._numbers and self._numbers[0] / _MOMENTS_A_SECOND <= now:
            moment = self._moments[self._numbers[0]]
            entries = moment[:most]
            del moment[:most]
            if not moment:
                del self._moments[heapq.heappop(self._numbers)]
            most -= len(entries)
            self._entries -= len(entries)
            callers = [caller for caller in entries if caller.moment is moment]
            self._stale -= len(entries) - len(callers)
            for caller in callers:
                caller.moment = None
            found += callers
        return found


class TrackedTask(Place):
    """One task that is waited for.

    ``in_flight`` is true from :meth:`Tracker.take` to :meth:`Tracker.complete`, and a task in
    flight is in no order: so it has one request at a time (I4). ``interval_s`` is the least
    seconds between two requests that its waits want. ``unconfirmed`` is true while only callers
    wait for it that may not know the task.
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
        self.unconfirmed: bool = unconfirmed
        self.app_id: int = key[0]
        self.task_id: str = key[1]
        # Most tasks have one wait: a dict for each would be a third of what a wait takes.
        self._waits: Wait | dict[Wait, None] | None = None
        self.in_flight: bool = False
        self.interval_s: float = math.inf
        self.errors_in_a_row: int = 0
        self.statusless_in_a_row: int = 0

    @property
    def key(self) -> Key:
        """Its application and task id."""
        return self.app_id, self.task_id

    @property
    def waits(self) -> tuple[Wait, ...]:
        """The waits for it, the oldest first."""
        waits = self._waits
        if waits is None:
            return ()
        return (waits,) if isinstance(waits, Wait) else tuple(waits)

    @property
    def first(self) -> Wait | None:
        """The oldest wait for it."""
        return next(iter(self._waits)) if isinstance(self._waits, dict) else self._waits

    def add(self, wait: Wait) -> None:
        """Add a wait."""
        if self._waits is None:
            self._waits = wait
        elif isinstance(self._waits, Wait):
            self._waits = {self._waits: None, wait: None}
        else:
            self._waits[wait] = None

    def remove(self, waits: Iterable[Wait]) -> None:
        """Remove waits, where they are still there."""
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
        statusless = failed and outcome.described is not None
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


class TrackedTasks:
    """All tasks that are waited for, by application and task id."""

    def __init__(self) -> None:
        self._by_application: dict[int, dict[str, TrackedTask]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_application.values()))

    def __iter__(self) -> Iterator[TrackedTask]:
        for tasks in self._by_application.values():
            yield from tasks.values()

    def get(self, key: Key) -> TrackedTask | None:
        """Return a task, None if it is not among them."""
        tasks = self._by_application.get(key[0])
        return None if tasks is None else tasks.get(key[1])

    def add(self, task: TrackedTask) -> None:
        """Add a task."""
        self._by_application.setdefault(task.app_id, {})[task.task_id] = task

    def remove(self, task: TrackedTask) -> None:
        """Remove a task."""
        tasks = self._by_application[task.app_id]
        del tasks[task.task_id]
        if not tasks:
            del self._by_application[task.app_id]

    def counts(self) -> dict[int, int]:
        """Return the number of tasks of each application."""
        return {app_id: len(tasks) for app_id, tasks in self._by_application.items()}

    def named(self, task_id: str) -> list[TrackedTask]:
        """Return the tasks with this id, of any application."""
        return [tasks[task_id] for tasks in self._by_application.values() if task_id in tasks]


class CircuitBreaker:
    """Keeps requests from an endpoint that is down, and probes it until it is back (I11).

    ``down_since`` is None while the endpoint answers; else one request at a time is sent, not
    before ``probe_at``.

    :param jitter: returns a number between 0 and 1.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._failures = 0
        self._probes = 0
        self.down_since: float | None = None
        self.probe_at: float = -math.inf

    def failed(self, now: float) -> bool:
        """Count a failed connection or an error page; return whether this one opens the breaker."""
        self._failures += 1
        if self.down_since is None:
            if self._failures < _DOWN_AFTER:
                return False
            self.down_since = now
            self._probes = 0
            self._plan(now)
            return True
        self._probes += 1
        self._plan(now)
        return False

    def answered(self, now: float) -> float | None:
        """Count an answer; return how long the endpoint was down, None if it was not."""
        self._failures = 0
        since, self.down_since = self.down_since, None
        return None if since is None else now - since

    def _plan(self, now: float) -> None:
        ceiling = doubled(_PROBE_BASE_S, self._probes, _PROBE_CAP_S)
        self.probe_at = now + max(self._jitter() * ceiling, _PROBE_LEAST_S)


class Budget:
    """Tokens at a steady rate, of which at most half a token is saved.

    :param rate: tokens a second; it may change at any time.
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._taken_at = -math.inf

    @property
    def next_at(self) -> float:
        """When the next token is or was available."""
        return self._taken_at + 1.0 / self.rate

    def take(self, now: float) -> None:
        """Take a token, also where none is available."""
        self._taken_at = min(max(self.next_at, now - 0.5 / self.rate), now)


class Tracker:
    """All waits of an account, and the tasks that they are for.

    Tasks for which only unconfirmed callers wait have an order of their own, which teaches
    nothing to the other one, and a small budget. While the budget has a token the first of them
    is polled before all others; without a token they are polled only when nothing else is due, in
    this process or in another one (``others_wait``). So a flood of them costs the others no more
    than the budget, and the genuine ones among them are polled all the same.

    :param order: decides which task is polled next.
    :param jitter: returns a number between 0 and 1.
    :param wall_clock: returns UNIX seconds, only to compare with the times in an answer (I7).
    :param kind: the kind of all its tasks.
    """

    def __init__(
        self,
        order: PollOrder[TrackedTask],
        jitter: Callable[[], float],
        wall_clock: Callable[[], float],
        kind: TaskKind = ONLINE_RECORD,
    ) -> None:
        self.kind = kind
        self.order: PollOrder[TrackedTask] = order
        self.unconfirmed: PollOrder[TrackedTask] = PollOrder(learns=False)
        self.budget: Budget = Budget(SMALL_PART * order.pace)
        self.others_wait = False
        """Whether other processes have waits, so that a task that is not due here is due there."""
        self.breaker: CircuitBreaker = CircuitBreaker(jitter)
        # A task is here while a wait or a request for it exists, and no longer (I4, I8).
        self.tasks: TrackedTasks = TrackedTasks()
        # The tasks whose in_flight is true.
        self.in_flight: int = 0
        self.sent: int = 0
        self.rejects: int = 0
        self.errors: int = 0
        self.finished_at: dict[Key, float] = {}
        """When the latest tasks were seen FINISHED."""
        # One event for each open caller, so that no deadline is missed (I2, I8).
        self.agenda: Agenda = Agenda()
        self._jitter = jitter
        self._wall_clock = wall_clock
        self._callers = 0
        # The tasks with a caller that wants one answer only: an outage settles them (I2).
        self._once: set[TrackedTask] = set()
        self._was_answered = False

    @property
    def confirmed(self) -> int:
        """The number of tasks that at least one caller knows."""
        return len(self.tasks) - len(self.unconfirmed)

    @property
    def is_down(self) -> bool:
        """Whether the endpoint is down."""
        return self.breaker.down_since is not None

    # Callers.

    def open(self, caller: Caller, now: float) -> None:
        """Add a caller; its tasks follow by :meth:`join`."""
        self._callers += 1
        self._plan(caller, now)

    def join(
        self, caller: Caller, key: Key, now: float, not_before: float, stop: float | None = None
    ) -> None:
        """Let a caller wait for a task.

        :param not_before: when its first request may be sent.
        :param stop: when the recording is going to stop or stopped, if that is known.
        """
        terms = caller.terms
        task = self.tasks.get(key)
        if task is None:
            task = TrackedTask(key, unconfirmed=terms.unconfirmed)
            self.tasks.add(task)
            self._order_of(task).add(task, now, not_before)
        elif task.unconfirmed and not terms.unconfirmed:
            self._confirm(task, now, not_before)
        elif task.stage is Stage.UNSEEN:
            self._order_of(task).bring_forward(task, now, not_before)
        wait = Wait(caller, task)
        caller.waits[wait] = None
        first = task.first
        if first is None:
            task.interval_s = terms.poll_interval_s
        else:
            self._join_others(wait, first, now)
        task.add(wait)
        if terms.once:
            self._poll_once(task, now)
        if stop is not None:
            self._order_of(task).expect_stop(task, now, stop)

    def _order_of(self, task: TrackedTask) -> PollOrder[TrackedTask]:
        return self.unconfirmed if task.unconfirmed else self.order

    def _confirm(self, task: TrackedTask, now: float, not_before: float) -> None:
        """Move a task to the order of the confirmed ones."""
        task.unconfirmed = False
        self.unconfirmed.remove(task)
        if task.in_flight:
            self.order.adopt_in_flight(task)
        else:
            rests_until = task.polled_at + task.interval_s if task.errors_in_a_row else not_before
            self.order.adopt(task, now, max(not_before, rests_until))

    def _join_others(self, wait: Wait, first: Wait, now: float) -> None:
        task, terms = wait.task, wait.caller.terms
        interval = terms.poll_interval_s
        wait.learn_from(first)
        sooner = interval < task.interval_s or (terms.until is not None and not task.urgent)
        task.interval_s = min(task.interval_s, interval)
        if sooner and task.stage is not Stage.UNSEEN and not task.errors_in_a_row:
            self._order_of(task).bring_forward(task, now, task.polled_at + interval)

    def _poll_once(self, task: TrackedTask, now: float) -> None:
        self._once.add(task)
        if task.stage is not Stage.UNSEEN and not task.in_flight:
            self._order_of(task).hint(task, now, again=False)

    def leave(self, wait: Wait) -> None:
        """End a caller's interest in a task."""
        wait.caller.waits.pop(wait, None)
        self._drop(wait.task, (wait,))

    def close(self, caller: Caller) -> None:
        """Remove a caller and all its waits; nothing of them is kept (I8)."""
        if caller.closed:
            return
        caller.closed = True
        self._callers -= 1
        self.agenda.forget(caller)
        waits, caller.waits = caller.waits, {}
        for wait in waits:
            self._drop(wait.task, (wait,))

    def expire(self, caller: Caller) -> list[Wait]:
        """Return the waits without a request in flight; the others get one more answer (I5)."""
        idle = []
        for wait in caller.waits:
            if wait.task.in_flight and not wait.settled:
                wait.last = True
            else:
                idle.append(wait)
        return idle

    # Events.

    def next_event(self) -> float:
        """Return when :meth:`run_events` is due."""
        return self.agenda.next()

    def run_events(self, now: float) -> None:
        """Aim requests at deadlines, expire callers, and make heartbeats due.

        It handles a few hundred events, because thousands may share a moment. The others are due
        at once (:meth:`next_event`).
        """
        for caller in self.agenda.due(now):
            if caller.deadline <= now:
                caller.expired = True
            elif not caller.aimed and caller.deadline - _AIM_S <= now:
                caller.aimed = True
                self._aim(caller, now)
            else:
                caller.heartbeat_due = True
            self._plan(caller, now)
            caller.wake()

    def _plan(self, caller: Caller, now: float) -> None:
        if caller.expired:
            return
        deadline = caller.deadline
        event = deadline if caller.aimed else deadline - _AIM_S
        beat = now + max(_HEARTBEAT_S, _HEARTBEAT_EACH_S * self._callers)
        # A heartbeat may come late, so that many share a moment.
        grid = _HEARTBEAT_S / 600
        self.agenda.plan(caller, event if event <= beat else math.ceil(beat / grid) * grid)

    def _aim(self, caller: Caller, now: float) -> None:
        """Poll the tasks of a caller once more just before its deadline (I5)."""
        pending = (wait.task for wait in caller.waits if not wait.settled)
        for task in islice(pending, max(int(self.order.pace * _AIM_S), 1)):
            if not task.in_flight and now - task.polled_at > _AIM_S:
                self._order_of(task).hint(task, now, again=False)

    # Hints: they move a task in its order and settle nothing (I10).

    def hint(self, task_id: str, now: float) -> None:
        """Poll the tasks with this id soon."""
        for task in self.tasks.named(task_id):
            self._order_of(task).hint(task, now)

    def expect_stop(self, task_id: str, now: float, at: float) -> None:
        """Expect that the recordings with this id stop at a time, or did."""
        for task in self.tasks.named(task_id):
            self._order_of(task).expect_stop(task, now, at)

    def set_listed(self, key: Key, now: float, listed: bool) -> None:
        """Note whether the account's list of running tasks holds a task."""
        task = self.tasks.get(key)
        if task is not None:
            self._order_of(task).set_listed(task, now, listed)

    def unlist(self, key: Key, now: float) -> None:
        """Forget what the list of running tasks showed of a task."""
        task = self.tasks.get(key)
        if task is not None:
            self._order_of(task).unlist(task, now)

    # Requests.

    def next_due(self, now: float) -> float | None:
        """Return from when on :meth:`take` returns a task, None if there is none to poll."""
        due, small = self.order.next_due(now), self.unconfirmed.next_due(now)
        if small is not None:
            if self.others_wait or (due is not None and due <= now):
                small = max(small, self.budget.next_at)
            due = small if due is None else min(due, small)
        if due is None or not self.is_down:
            return due
        return None if self.in_flight else max(due, self.breaker.probe_at)

    def is_due(self, now: float) -> bool:
        """Return whether a task that at least one caller knows could be polled now."""
        due = self.order.next_due(now)
        return due is not None and due <= now

    def take(self, now: float) -> TrackedTask | None:
        """Return the task to poll now; it is in flight until :meth:`complete`."""
        if self.is_down and (self.in_flight or now < self.breaker.probe_at):
            return None
        task = self._pop(now)
        if task is not None:
            task.in_flight = True
            self.in_flight += 1
            self.sent += 1
        return task

    def _pop(self, now: float) -> TrackedTask | None:
        task = None
        if len(self.unconfirmed):
            spare = not (self.others_wait or self.is_due(now))
            if spare or self.budget.next_at <= now:
                task = self.unconfirmed.pop(now)
                if task is not None:
                    self.budget.take(now)
        return self.order.pop(now) if task is None else task

    # Answers.

    def complete(self, task: TrackedTask, answer: Described | TiwError, now: float) -> None:
        """Take the answer to a request, or the error that came instead.

        It settles only waits for this task (I6).
        """
        if self.tasks.get(task.key) is not task:
            return
        task.in_flight = False
        self.in_flight -= 1
        if isinstance(answer, TiwError):
            answer = self._as_passing(answer)
        self._note_endpoint(answer, now)
        if isinstance(answer, RequestLimitExceeded):
            self.rejects += 1
        outcome = self._judge(task, answer, DEFAULT_ACCEPTANCE)
        task.count(outcome)
        if not isinstance(answer, TiwError) and not outcome.is_final:
            answer = _without_raw(answer)
        settled = self._update_waits(task, answer)
        if outcome.verdict is Verdict.UNKNOWN:
            self.errors += 1
            self._retry_later(task, answer, now)
        else:
            self._plan_next(task, outcome, now)
        self._drop(task, settled)

    def _judge(
        self, task: TrackedTask, answer: Described | TiwError, acceptance: Acceptance
    ) -> Outcome:
        return judge(*task.key, answer, acceptance, self.kind.rules)

    def _update_waits(self, task: TrackedTask, answer: Described | TiwError) -> list[Wait]:
        """Pass an answer to all waits for a task; return those that it settles."""
        waits = task.waits
        task.interval_s = min((wait.caller.terms.poll_interval_s for wait in waits), default=0.0)
        for wait in waits:
            wait.update(self._judge(task, answer, wait.caller.terms.acceptance))
        return [wait for wait in waits if wait.settled]

    def _retry_later(self, task: TrackedTask, answer: Described | TiwError, now: float) -> None:
        ceiling = doubled(_RETRY_BASE_S, task.errors_in_a_row - 1, _RETRY_CAP_S)
        asked = answer.retry_after_s if isinstance(answer, TiwError) else None
        pause = max(task.interval_s, self._jitter() * ceiling, asked or 0.0)
        self._order_of(task).put_back(task, now, now + pause)

    def _plan_next(self, task: TrackedTask, outcome: Outcome, now: float) -> None:
        seen = outcome.described
        if seen is None:
            # It failed or is missing, which shows nothing about how long tasks last.
            task.stage = Stage.FINISHED
            return
        if outcome.is_final:
            stage = Stage.FINISHED
            self.finished_at[task.key] = now
            if len(self.finished_at) > _FINISHED_KEPT:
                del self.finished_at[next(iter(self.finished_at))]
        else:
            stage = Stage.STOPPED if seen.status in self.kind.processing else Stage.ACTIVE
        wall = self._wall_clock()
        started, stopped = seen.active_since, seen.processing_since
        self._order_of(task).answered(
            task,
            now,
            stage,
            poll_interval=task.interval_s,
            any_change=any(wait.caller.terms.until is not None for wait in task.waits),
            started_ago=None if started is None else wall - started,
            stopped_ago=None if stopped is None else wall - stopped,
        )

    def fail_all(self, error: TiwError, order: PollOrder[TrackedTask]) -> None:
        """Settle every wait with an error, and start anew: the state may be inconsistent.

        Answers to requests that are in flight are ignored.
        """
        tasks = list(self.tasks)
        self.tasks, self.order, self._once, self.in_flight = TrackedTasks(), order, set(), 0
        self.unconfirmed = PollOrder(learns=False)
        self.breaker = CircuitBreaker(self._jitter)
        for task in tasks:
            waits = task.waits
            for wait in waits:
                wait.update(self._judge(task, error, wait.caller.terms.acceptance))
                wait.settled = True
            task.remove(waits)

    def _drop(self, task: TrackedTask, waits: Iterable[Wait]) -> None:
        task.remove(waits)
        if task in self._once and not any(wait.caller.terms.once for wait in task.waits):
            self._once.discard(task)
        # A task in flight stays known, so that no second request for it is sent (I4).
        if task.first is None and not task.in_flight and self.tasks.get(task.key) is task:
            self.tasks.remove(task)
            self._order_of(task).remove(task)

    # The endpoint.

    def _as_passing(self, error: TiwError) -> TiwError:
        """Return a refused certificate as a retryable error while it may be one.

        If the endpoint has answered before, its operator is exchanging the certificate. Before
        any answer it is a refusal.
        """
        if error.code != "TlsError" or error.retryable or not self._was_answered:
            return error
        passing = copy.copy(error)
        passing.retryable = True
        return passing

    def _note_endpoint(self, answer: Described | TiwError, now: float) -> None:
        if isinstance(answer, TiwError) and self._shows_outage(answer):
            self._endpoint_failed(answer, now)
        elif isinstance(answer, (OnlineRecord, TiwTask, ApiError, BadAnswer)):
            # Whatever the answer means for its task, the endpoint answers.
            self._was_answered = self._was_answered or not isinstance(answer, BadAnswer)
            self._endpoint_answered(now)
        elif self.is_down:
            # A fault of this machine, which shows nothing about the endpoint.
            self.breaker.failed(now)

    def _shows_outage(self, error: TiwError) -> bool:
        """Return whether an error shows that the endpoint is down: a connection or an error page.

        A certificate does not before the endpoint has answered once.
        """
        if isinstance(error, ServerError):
            return error.code.startswith("Http")
        if not isinstance(error, TransportError) or isinstance(error, BadAnswer):
            return False
        if error.code == "TlsError" and not self._was_answered:
            return False
        return error.retryable and not is_exhaustion(error)

    def _endpoint_failed(self, error: TiwError, now: float) -> None:
        if self.breaker.failed(now):
            logger.warning(
                "The API does not answer (%s). %s on; one request every few seconds probes whether "
                "it is back.",
                error,
                "1 wait goes" if len(self.tasks) == 1 else f"{len(self.tasks)} waits go",
            )
        elif self.is_down:
            self._fail_once(error)

    def _endpoint_answered(self, now: float) -> None:
        outage_s = self.breaker.answered(now)
        if outage_s is not None:
            logger.warning("The API answers again after %.0f s.", outage_s)
            if outage_s >= _OUTAGE_S:
                self.order.catch_up(now)

    def _fail_once(self, error: TiwError) -> None:
        """Count a failed probe for every caller that wants one answer only: none may come soon."""
        for task in list(self._once):
            if task.in_flight:
                continue
            outcome = self._judge(task, error, DEFAULT_ACCEPTANCE)
            task.count(outcome)
            if task.errors_in_a_row >= _ATTEMPTS:
                settled = [wait for wait in task.waits if wait.caller.terms.once]
                for wait in settled:
                    wait.update(outcome)
                self._drop(task, settled)


def _without_raw(seen: Described) -> Described:
    """Return what was seen without its raw answer: thousands of pending tasks are kept."""
    status = None if seen.status is None else sys.intern(seen.status)
    return replace(seen, status=status, raw=_NOTHING)
