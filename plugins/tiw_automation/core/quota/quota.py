# SPDX-License-Identifier: Apache-2.0
"""How many requests a second, and whose turn.

Tencent counts an action's requests for the whole account, in each second of its own clock, and
refuses what is over (https://www.tencentcloud.com/document/product/1278): so everything in this
process that uses one account, host and action takes its turns from one :class:`Quota`, and the
processes of a host share its pace.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import threading
import time
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.quota.host import (
    SMALL_PART,
    HostPace,
    Turn,
    lowered,
    recovered,
    window_opens,
)
from tiw_automation.core.quota.pace_file import Unusable
from tiw_automation.core.retry import doubled

logger = logging.getLogger(__name__)

# Timers wake up late by a millisecond or two; without this credit each late one is lost pace.
_TOLERANCE_S = 0.005

# What Tencent allows, and what a pace leaves of it for jitter.
_ALLOWED = 20
_PACE_OF_ALLOWED = 0.95

# Clocks, timers and threads are this imprecise; no second is filled to the brim.
_GUARD_S = 0.01

# What a line is taken for until it is known, and the most that a request counts as late.
_UNKNOWN_SPREAD_S = 0.5
_MOST_SPREAD_S = 1.0
# Answers that are this much more or less late than was assumed are not worth a change.
_SAME_S = 0.002
# Requests whose answers may still come; the line is slower, or lost, for more.
_UNDER_WAY = 64
_KNOWN_AFTER = 16
_SURE_AFTER = 64
_ROUND_TRIPS = 256

# A request that leaves later than this after its turn needs another one: others count on it.
# Longer where nobody says when answers come, because connecting is a part of it then.
_USE_BY_S = 0.1
_USE_BY_UNTOLD_S = 0.25

# How soon to try again where the host's file is held, and when to go on without it: whoever holds
# it may only wait for a processor. It is left alone after so many turns in a row without it.
BUSY_PAUSE_S = 0.002
_BUSY_S = 1.0
_PATIENCE = 50
# For how long a file that cannot be used is left alone: at first, and at most.
_ALONE_S = 30.0
_ALONE_MOST_S = 1800.0

# What is due for this long without a break would use any pace; else what was used lately counts.
_HUNGRY_AFTER_S = 0.5
_APPETITE_OVER_S = 2.0

# Quotas of accounts that are no longer used are forgotten, the longest unused ones first.
_KEPT = 64
# However many processes share a tenth, each asks for something now and then.
_LONGEST_UNCONFIRMED_S = 60.0
_IDLE_S = 60.0


def arrivals_allowed(requests_per_second: float) -> int:
    """Return how many requests may arrive within any second at a pace.

    A pace of up to 19 is taken as 95 % of what is allowed, up to 20 as Tencent's limit of 20,
    and one above as a limit that was raised for the account.
    """
    if requests_per_second > _ALLOWED:
        return int(requests_per_second)
    return min(math.ceil(requests_per_second / _PACE_OF_ALLOWED - 1e-9), _ALLOWED)


class RoundTrips:
    """How far the durations of requests lie apart, from the latest few hundred.

    Two requests can arrive closer together than they were sent by as much as their ways differ.
    Where durations are going to be told, the line is taken for a bad one until some are known.
    """

    def __init__(self) -> None:
        self.expected = False
        self._latest: deque[float] = deque()
        self._ordered: list[float] = []

    @property
    def spread_s(self) -> float:
        """The spread; what lies far out from all others is cut, because a stall is no jitter."""
        ordered = self._ordered
        count = len(ordered)
        if not self.expected:
            return 0.0
        if count < _KNOWN_AFTER:
            return max(_UNKNOWN_SPREAD_S, min(ordered[-1], _MOST_SPREAD_S) if ordered else 0.0)
        top = ordered[-1]
        if count >= _SURE_AFTER:
            middle = ordered[count // 2]
            top = min(ordered[-1 - count // 100], middle + 4 * (ordered[count * 9 // 10] - middle))
        return min(max(top - ordered[0], 0.0), _MOST_SPREAD_S)

    def late_s(self, seconds: float) -> float:
        """Return by how much a request of that duration may have arrived late, at most.

        Later than the fastest, that is: it may have lost the time on its way, and whoever sent it
        may not have been run when its turn had come. While little is known there may be faster
        ways than were seen.
        """
        ordered = self._ordered
        count = len(ordered)
        if not self.expected:
            return 0.0
        if count < _KNOWN_AFTER:
            return max(self.spread_s, min(seconds, _MOST_SPREAD_S))
        faster = 4 * (ordered[count * 9 // 10] - ordered[0]) / count
        return min(max(seconds - ordered[0], 0.0) + faster, _MOST_SPREAD_S)

    def add(self, seconds: float) -> None:
        """Add the duration of a request that was answered."""
        self._latest.append(seconds)
        insort(self._ordered, seconds)
        if len(self._latest) > _ROUND_TRIPS:
            oldest = self._latest.popleft()
            del self._ordered[bisect_left(self._ordered, oldest)]

    def overdue_s(self, seconds: float) -> float:
        """Return by how much a request that has no answer after that time is late, at least.

        It may arrive as late as now.
        """
        if not self.expected:
            return 0.0
        fastest = self._ordered[0] if self._ordered else 0.0
        return min(max(self.spread_s, seconds - fastest), _MOST_SPREAD_S)

    def clear(self) -> None:
        """Forget all: the line is a new one."""
        self.expected = True
        self._latest.clear()
        self._ordered.clear()


@dataclass(frozen=True, slots=True)
class Demand:
    """How many recordings are waited for, and how many requests a second that would take."""

    waits: int = 0
    unconfirmed: int = 0
    wanted: float = math.inf


class WantedRate:
    """How many requests a second a watcher's waits would use: all, while one is always due."""

    def __init__(self) -> None:
        self._idle_at = -math.inf
        self._sent_at: deque[float] = deque()

    def idle(self, now: float) -> None:
        """Note that none is due."""
        self._idle_at = now

    def sent(self, now: float) -> None:
        """Note a request for one."""
        self._sent_at.append(now)

    def wanted(self, now: float) -> float:
        """Return the requests a second, with room for more."""
        while self._sent_at and now - self._sent_at[0] > _APPETITE_OVER_S:
            self._sent_at.popleft()
        if now - self._idle_at > _HUNGRY_AFTER_S:
            return math.inf
        return 1.5 * len(self._sent_at) / _APPETITE_OVER_S + 1.0


class Quota:
    """Paces the requests of one action: evenly, never two at once, also after an idle time.

    Whoever sends takes a turn (:meth:`reserve`), waits for it, and enters (:meth:`use`), which
    may add a moment where other processes of the host are in front. :meth:`acquire` does all
    three. Two rules hold: the pace, and that within the second before a request leaves fewer can
    have arrived than are allowed. When one arrived at the latest is known from its answer
    (:meth:`answered`), and taken from the spread of the round trips before: so neither jitter on
    the way nor a process that is not run for a while makes a crowd at the server. A
    refusal lowers the pace by 10 %, another one before it has recovered by 30 %; it recovers by
    30 % in a minute.

    Where the host's file cannot be used one warning says why, and the process paces itself; the
    file is tried again after 30 s, then twice as much each time, half an hour at most.

    Thread-safe; synchronous and asynchronous callers share it. All times are those of ``clock``.

    :param requests_per_second: the pace of the account.
    :param share: the part of it that this host takes, above 0 and at most 1.
    :param clock: a monotonic clock in seconds.
    :param host: the pace of all processes of this host; None paces this process alone.
    :raises ConfigurationError: the pace or the share makes no sense.
    """

    def __init__(
        self,
        requests_per_second: float,
        share: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        host: HostPace | None = None,
    ) -> None:
        self.clock = clock
        self._host = host
        self._alone_until = -math.inf
        self._times_alone = 0
        self._host_refusals = 0
        self._busy_since: float | None = None
        # What could not be written to the host's file: turns, and by how much each was late.
        self._untold: list[tuple[Turn, float]] = []
        self._lock = threading.Lock()
        self._next_turn = -math.inf
        # Turns, and by how much each may be late.
        self._sent: deque[tuple[float, float | None]] = deque()
        self._round_trips = RoundTrips()
        self._factor, self._factor_since = 1.0, -math.inf
        self._host_turns: dict[float, Turn] = {}
        self._host_pace: float | None = None
        self._part = 1.0
        self._unconfirmed_part = SMALL_PART
        self._others_wait = False
        self._warned = False
        self._demands: dict[int, Demand] = {}
        self._callers = 0
        self._used_at = clock()
        self.set_pace(requests_per_second, share)

    @property
    def requests_per_second(self) -> float:
        """The pace that was set, this host's share of it."""
        return self._pace

    @property
    def rate(self) -> float:
        """The pace in force for this process: after refusals, and beside other processes."""
        now = self.clock()
        if self._host_pace is not None:
            return min(self._host_pace * self._part, self._pace)
        return self._pace * recovered(self._factor, self._factor_since, now)

    @property
    def unconfirmed_rate(self) -> float:
        """The requests a second for recordings that no caller knows of, while others are due."""
        least = 1.0 / _LONGEST_UNCONFIRMED_S
        if self._host_pace is None:
            return max(self.rate * SMALL_PART, least)
        return max(min(self._host_pace * self._unconfirmed_part, self._pace), least)

    @property
    def others_wait(self) -> bool:
        """Whether other processes of this host have waits."""
        return self._others_wait

    def is_idle(self, now: float) -> bool:
        """Return whether nothing has taken a turn for a minute, or waits for one."""
        return not self._demands and not self._callers and now - self._used_at > _IDLE_S

    @property
    def spread_s(self) -> float:
        """How far round trips lie apart; it is added to the second that requests are counted in."""
        return self._round_trips.spread_s

    def set_pace(self, requests_per_second: float, share: float = 1.0) -> None:
        """Change the pace from the next turn on.

        :raises ConfigurationError: the pace or the share makes no sense.
        """
        if not 0 < requests_per_second < math.inf:
            raise ConfigurationError(
                f"requests_per_second has to be a number above zero, not {requests_per_second!r}."
            )
        if not 0 < share <= 1:
            raise ConfigurationError(
                "quota_share (TIW_QUOTA_SHARE) has to be a number above zero and at most 1, "
                f"not {share!r}."
            )
        self._pace = requests_per_second * share
        self._share = share
        self._allowed = arrivals_allowed(self._pace)

    def demand(
        self, who: object, waits: int, *, unconfirmed: int = 0, wanted: float = math.inf
    ) -> None:
        """Announce what a watcher waits for; the host's pace is shared by it.

        :param waits: how many recordings.
        :param unconfirmed: how many more that no caller knows of.
        :param wanted: how many requests a second the waits would use.
        """
        with self._lock:
            if waits or unconfirmed:
                self._demands[id(who)] = Demand(waits, unconfirmed, wanted)
            else:
                self._demands.pop(id(who), None)

    def reserve(self) -> float:
        """Take the next turn of this process and return its time; the caller enters then."""
        with self._lock:
            now = self._used_at = self.clock()
            turn = max(now - _TOLERANCE_S, self._next_turn)
            if self._host is None or now < self._alone_until:
                turn = max(turn, self._window_opens())
                self._note(turn)
            self._next_turn = turn + 1.0 / self.rate
            return turn

    def use(self, turn: float) -> float | None:
        """Return the time at which the request of a turn that has come may leave.

        None where another process is at the host's file just now: enter again after
        :data:`BUSY_PAUSE_S`.
        """
        with self._lock:
            now = self.clock()
            if self._host is None or now < self._alone_until:
                return turn
            demands = [*self._demands.values(), *[Demand(1)] * self._callers]
            fault: str | None = None
            taken: Turn | None = None
            try:
                taken = self._host.take(
                    max(now - _TOLERANCE_S, turn),
                    pace=self._pace,
                    share=self._share,
                    limit=self._allowed,
                    spread_s=self._round_trips.spread_s + _GUARD_S,
                    waits=sum(demand.waits for demand in demands),
                    unconfirmed=sum(demand.unconfirmed for demand in demands),
                    wanted=sum(demand.wanted for demand in demands if demand.waits),
                    arrived=[*self._overdue(now), *self._untold],
                )
            except Unusable as error:
                fault = str(error)
            if taken is None:
                return self._without_the_file(turn, now, fault)
            self._host_refusals, self._busy_since, self._times_alone = 0, None, 0
            self._untold.clear()
            self._host_pace, self._part = taken.pace, taken.part
            self._unconfirmed_part, self._others_wait = taken.unconfirmed, taken.others_wait
            if len(self._host_turns) >= _UNDER_WAY:
                del self._host_turns[next(iter(self._host_turns))]
            self._host_turns[taken.time] = taken
            if taken.shares > 1.0 + 1e-9 and self._share < 1.0 and not self._warned:
                self._warned = True
                logger.warning(
                    "quota_share (TIW_QUOTA_SHARE) of the %d processes of this host adds up to "
                    "%g, more than 1. They take turns at the largest; give every host its part.",
                    taken.processes,
                    taken.shares,
                )
            return taken.time

    def renew(self, turn: float, sleep: Callable[[float], None] = time.sleep) -> float:
        """Return a turn whose request may leave now: this one, or another one that is waited for.

        Call it when the request is about to leave. A process that was not run since its turn came
        would be one more than its neighbours count on.
        """
        with self._lock:
            expected = self._round_trips.expected
            use_by_s = max(self._round_trips.spread_s, _USE_BY_S) if expected else _USE_BY_UNTOLD_S
            if self.clock() - turn <= use_by_s:
                return turn
            taken = self._host_turns.pop(turn, None)
            if taken is not None:
                self._tell(taken, -math.inf)
            self._sent = deque(sent for sent in self._sent if sent[0] != turn)
        return self.acquire(sleep)

    def release(self, turn: float) -> None:
        """Return a turn that was not used, entered or not, if nobody has taken a later one."""
        with self._lock:
            taken = self._host_turns.pop(turn, None)
            if self._host is not None and taken is not None:
                self._host.release(taken)
            elif self._sent and self._sent[-1][0] == turn:
                self._sent.pop()
                self._next_turn = turn

    def acquire(self, sleep: Callable[[float], None] = time.sleep) -> float:
        """Take the next turn, wait for it and return its time."""
        with self._lock:
            self._callers += 1
        try:
            turn = self.reserve()
            self._wait_for(turn, sleep)
            while (entered := self.use(turn)) is None:
                sleep(BUSY_PAUSE_S)
            self._wait_for(entered, sleep)
            return entered
        finally:
            with self._lock:
                self._callers -= 1

    def answered(self, turn: float, seconds: float) -> None:
        """Say how long the request of a turn took, from then to its answer."""
        with self._lock:
            spread_s = self._round_trips.spread_s
            self._round_trips.add(seconds)
            late_s = self._round_trips.late_s(seconds)
            taken = self._host_turns.pop(turn, None)
            if self._host is not None and taken is not None:
                if abs(late_s - spread_s) > _SAME_S:
                    self._tell(taken, late_s + _GUARD_S)
                return
            for number, (sent, _) in enumerate(self._sent):
                if sent == turn:
                    self._sent[number] = turn, late_s
                    return

    def rejected(self) -> None:
        """Say that the server refused a request as one too many."""
        with self._lock:
            now = self.clock()
            alone = self._host is None or now < self._alone_until
            if alone or not self._host.rejected(now):  # type: ignore[union-attr]
                self._factor, self._factor_since = lowered(self._factor, self._factor_since, now)

    def expect_answers(self) -> None:
        """Promise to say :meth:`answered` after each request."""
        with self._lock:
            self._round_trips.expected = True

    def new_line(self) -> None:
        """Say that connections are made anew: what is known of round trips may not hold."""
        with self._lock:
            self._round_trips.clear()

    def close(self) -> None:
        """Leave the host's file; the next turn enters it again."""
        with self._lock:
            if self._host is not None:
                self._host.close()

    def abandon(self) -> None:
        """Let go of the host's file in a forked child, where it is the parent's."""
        if self._host is not None:
            self._host.abandon()
            self._host = None

    def _wait_for(self, turn: float, sleep: Callable[[float], None]) -> None:
        delay = turn - self.clock()
        if delay > 0:
            sleep(delay)

    def _window_opens(self) -> float:
        if len(self._sent) < self._allowed:
            return -math.inf
        now = self.clock()
        arrived = [
            turn + (self._round_trips.overdue_s(now - turn) if late_s is None else late_s)
            for turn, late_s in self._sent
        ]
        return window_opens(arrived, self._allowed) + _GUARD_S

    def _tell(self, turn: Turn, late_s: float) -> None:
        if self._host is not None and not self._host.arrived(turn, late_s):
            self._untold.append((turn, late_s))

    def _overdue(self, now: float) -> list[tuple[Turn, float]]:
        """Return what is to be told of requests that should have been answered by now.

        What is told for the last time stays to be told until it was.
        """
        found = []
        for sent in list(self._host_turns.values()):
            late_s = self._round_trips.overdue_s(now - sent.time)
            if late_s > self._round_trips.spread_s + _SAME_S:
                if late_s >= _MOST_SPREAD_S:
                    del self._host_turns[sent.time]
                    self._untold.append((sent, late_s + _GUARD_S))
                else:
                    found.append((sent, late_s + _GUARD_S))
        return found

    def _note(self, turn: float) -> None:
        self._sent.append((turn, None))
        # Nothing counts as more than a second late, so what left before these arrived before.
        while len(self._sent) > 2 * self._allowed:
            self._sent.popleft()

    def _without_the_file(self, turn: float, now: float, fault: str | None) -> float | None:
        """Wait for the file for a while, then go on without it, at last for some time.

        :param fault: why it cannot be used; None where another process holds it.
        """
        if self._busy_since is None:
            self._busy_since = now
        is_new = fault is None or not self._times_alone
        if is_new and now - self._busy_since < _BUSY_S:
            return None
        self._host_refusals += 1
        if fault is not None:
            self._go_alone(fault, now)
        elif self._host_refusals >= _PATIENCE:
            self._go_alone("its file is held by a process that does not go on", now)
        self._note(turn)
        return turn

    def _go_alone(self, reason: str, now: float) -> None:
        """Leave the host's file alone for a while, longer each time."""
        _warn_once(reason)
        self._alone_until = now + doubled(_ALONE_S, self._times_alone, _ALONE_MOST_S)
        self._times_alone += 1
        self._host_refusals, self._busy_since = 0, None
        self._host_pace, self._part, self._others_wait = None, 1.0, False
        self._host_turns.clear()
        self._untold.clear()


class Slot:
    """The slot of one request, which is looked at once more when the request is about to leave.

    :param time: of the slot that was reserved and waited for already, if any.
    """

    __slots__ = ("_quota", "time")

    def __init__(self, quota: Quota, time: float = -math.inf) -> None:
        self._quota = quota
        self.time = time

    def acquire(self) -> None:
        """Reserve a slot and wait for it."""
        self.time = self._quota.acquire()

    def renew(self) -> None:
        """Reserve another slot where this one is past."""
        self.time = self._quota.renew(self.time)


_quotas: dict[tuple[str, str, str], Quota] = {}
_quotas_lock = threading.Lock()
_warned: set[str] = set()


def shared_quota(
    identity: str, host: str, action: str, requests_per_second: float, share: float = 1.0
) -> Quota:
    """Return this process's one quota for an account, host and action.

    It shares the pace with the other processes of this user on this machine; where that cannot
    be, one warning says why.

    :param identity: the SecretId, before any role is assumed.
    :param requests_per_second: the account's pace; where callers differ, the latest one's counts.
    :param share: this host's part of it.
    """
    key = (identity, host, action)
    with _quotas_lock:
        quota = _quotas.pop(key, None)
        if quota is None:
            _forget_idle()
            pace = HostPace(identity, host, action, checked=False)
            quota = Quota(requests_per_second, share, host=pace)
        elif abs(quota.requests_per_second - requests_per_second * share) > 1e-9:
            logger.info(
                "The pace of %s changes from %g to %g requests a second.",
                action,
                quota.requests_per_second,
                requests_per_second * share,
            )
            quota.set_pace(requests_per_second, share)
        # The latest one used comes last.
        _quotas[key] = quota
        return quota


def _forget_idle() -> None:
    now = time.monotonic()
    for key in list(_quotas)[: max(len(_quotas) - _KEPT, 0)]:
        if _quotas[key].is_idle(now):
            _quotas.pop(key).close()


def _warn_once(reason: str) -> None:
    if not _warned:
        _warned.add(reason)
        logger.warning(
            "The pace is not shared with other processes of this host: %s. This process takes all "
            "of requests_per_second x quota_share (TIW_QUOTA_SHARE).",
            reason,
        )


def _leave_host() -> None:
    for quota in list(_quotas.values()):
        with contextlib.suppress(OSError, ValueError):
            quota.close()


def _forget_after_fork() -> None:
    # A lock that another thread held at the fork would stay locked for ever in the child.
    global _quotas_lock
    _quotas_lock = threading.Lock()
    for quota in _quotas.values():
        quota.abandon()
    _quotas.clear()
    _warned.clear()


atexit.register(_leave_host)
os.register_at_fork(after_in_child=_forget_after_fork)
