# SPDX-License-Identifier: Apache-2.0
"""When the requests of an account may leave.

Tencent counts an action's requests for the whole account, in each second of its own clock, and
refuses those above its limit (https://www.tencentcloud.com/document/product/1278). So everything
in this process that uses one account, host and action takes its slots from one :class:`Quota`, and
the processes of one or many hosts share a pace. A quota has these collaborators:

* :class:`~tiw_automation.core.quota.pace.Pace`: how many requests a second, how many within one;
* :class:`~tiw_automation.core.quota.pace.RoundTrips`: how far apart two round trips may be;
* :class:`~tiw_automation.core.quota.pace.ArrivalWindow`: what this process sent;
* :class:`~tiw_automation.core.quota.share.PaceShare`: what other processes leave to this one, by a
  :class:`~tiw_automation.core.quota.store.PaceStore`, which all of them change;
* an injected clock.

It decides which of them gives the next slot, and reports to them how each request ended.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable

from tiw_automation.core.quota.host import HostPace
from tiw_automation.core.quota.pace import ArrivalWindow, Pace, RoundTrips, lowered, recovered
from tiw_automation.core.quota.parts import SMALL_PART, Demand
from tiw_automation.core.quota.share import PaceShare
from tiw_automation.core.quota.store import Held, PaceStore

logger = logging.getLogger(__name__)

# Timers wake up late by a millisecond or two; without this credit each late one is lost pace.
_TOLERANCE_S = 0.005

_MOST_BEHIND_S = 0.5

# A request that leaves later than this after its slot needs another one: others count on it.
# Longer where the durations of requests are not reported, because they include connecting.
_USE_BY_S = 0.1
_USE_BY_UNREPORTED_S = 0.25

BUSY_PAUSE_S = 0.002
"""How soon to try again where the store has no slot yet."""

# Waits that are due for this long without a break would use any pace; else what they used lately
# counts.
_ALWAYS_DUE_AFTER_S = 0.5
_WANTED_OVER_S = 2.0

# Quotas of accounts that are no longer used are forgotten, the longest unused ones first.
_KEPT = 64
_IDLE_S = 60.0
# However many processes share a tenth, each polls for an unconfirmed recording now and then.
_LONGEST_UNCONFIRMED_S = 60.0


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
        while self._sent_at and now - self._sent_at[0] > _WANTED_OVER_S:
            self._sent_at.popleft()
        if now - self._idle_at > _ALWAYS_DUE_AFTER_S:
            return math.inf
        return 1.5 * len(self._sent_at) / _WANTED_OVER_S + 1.0


class Quota:
    """Paces the requests of one action: evenly, never two at once, also after an idle time.

    A caller takes a slot (:meth:`reserve`), waits for it, and uses it (:meth:`use`), which may
    move it where other processes come first. :meth:`acquire` does all three. A slot
    that is not used is released (:meth:`release`). Two rules hold: the pace, and that within the
    second before a request leaves fewer can have arrived than are allowed. When a request arrived
    at the latest is known from its answer (:meth:`answered`), and before that assumed from the
    spread of earlier round trips: so neither jitter on the way nor a process that does not run for
    a while brings too many requests to the server at once. A refusal lowers the pace by 10 %,
    another one before it has recovered by 30 %; it recovers by 30 % in a minute.

    Where the store cannot be used, one warning gives the reason, and the process paces itself with
    its last known part; it tries the store again later.

    Thread-safe; synchronous and asynchronous callers share it. All times are those of ``clock``.

    :param requests_per_second: the pace of the account.
    :param share: the part of it that this host uses, above 0 and at most 1.
    :param clock: a monotonic clock in seconds.
    :param store: of the pace that several processes share; None paces this process alone.
    :raises ConfigurationError: the pace or the share is invalid.
    """

    def __init__(
        self,
        requests_per_second: float,
        share: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        store: PaceStore | None = None,
    ) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._pace = Pace(requests_per_second, share)
        self._round_trips = RoundTrips()
        self._window = ArrivalWindow(self._round_trips)
        self._share = PaceShare(store, self._round_trips)
        self._next_slot = self._reserved = -math.inf
        # What refusals left of this process's own pace, and since when.
        self._factor, self._factor_since = 1.0, -math.inf
        self._demands: dict[int, Demand] = {}
        self._callers = 0
        self._used_at = clock()

    @property
    def requests_per_second(self) -> float:
        """The pace that was set, this host's share of it."""
        return self._pace.rate

    @property
    def rate(self) -> float:
        """The pace in force for this process: after refusals, and beside other processes."""
        latest = self._share.latest
        if latest is not None:
            return min(latest.pace * latest.part, self._pace.rate)
        return self._rate_alone * recovered(self._factor, self._factor_since, self.clock())

    @property
    def _behind_s(self) -> float:
        """Return how far a slot may lie in the past, so that a late one costs no pace.

        A store keeps slots apart, and grants one after those of all other processes.
        """
        latest = self._share.latest
        if latest is None:
            return _TOLERANCE_S
        return min(latest.processes / latest.pace, _MOST_BEHIND_S)

    @property
    def _rate_alone(self) -> float:
        known = self._share.part_alone
        return self._pace.rate if known is None else min(known.rate, self._pace.rate)

    @property
    def _allowed_alone(self) -> int:
        """How many requests of this process may arrive within a second without the store."""
        known = self._share.part_alone
        return self._pace.allowed if known is None else min(known.allowed, self._pace.allowed)

    @property
    def unconfirmed_rate(self) -> float:
        """The requests a second for unconfirmed recordings while waits are due."""
        latest = self._share.latest
        if latest is None:
            rate = self.rate * SMALL_PART
        else:
            rate = min(latest.pace * latest.unconfirmed, self._pace.rate)
        return max(rate, 1.0 / _LONGEST_UNCONFIRMED_S)

    @property
    def others_wait(self) -> bool:
        """Whether other processes have waits."""
        latest = self._share.latest
        return latest is not None and latest.others_wait

    @property
    def is_wanted(self) -> bool:
        """Whether a watcher of this process has waits."""
        return bool(self._demands)

    @property
    def part(self) -> float:
        """Which part of the account's pace this process uses, from 0 to 1."""
        known, latest = self._share.part_alone, self._share.latest
        if latest is not None:
            return latest.part
        return 1.0 if known is None else min(known.rate / self._pace.rate, 1.0)

    @property
    def is_alone(self) -> bool:
        """Whether the pace of this process comes from no store: there is none, or it failed."""
        return self._share.is_alone

    def is_idle(self, now: float) -> bool:
        """Return whether no slot was taken for a minute, and no caller waits for one."""
        return not self._demands and not self._callers and now - self._used_at > _IDLE_S

    def set_pace(self, requests_per_second: float, share: float = 1.0) -> None:
        """Change the pace from the next slot on.

        :raises ConfigurationError: the pace or the share is invalid.
        """
        self._pace = Pace(requests_per_second, share)

    def demand(
        self, watcher: object, waits: int, *, unconfirmed: int = 0, wanted: float = math.inf
    ) -> None:
        """Announce what a watcher waits for; the shared pace is divided by it.

        :param waits: how many recordings that a caller waits for.
        :param unconfirmed: how many others.
        :param wanted: how many requests a second the waits would use.
        """
        with self._lock:
            if waits or unconfirmed:
                self._demands[id(watcher)] = Demand(waits, unconfirmed, wanted)
            else:
                self._demands.pop(id(watcher), None)

    def reserve(self) -> float:
        """Take the next slot of this process and return its time; the caller uses it then."""
        with self._lock:
            now = self._used_at = self.clock()
            slot = max(now - self._behind_s, self._next_slot)
            if not self._share.is_used(now):
                slot = max(slot, self._window.opens(now, self._allowed_alone))
                self._window.add(slot, self._pace.allowed)
            rate = self.rate
            self._reserved, self._next_slot = slot, slot + 1.0 / rate
            self._share.expect(slot, rate)
            return slot

    def use(self, slot: float) -> float | None:
        """Return the time at which the request of a slot that has come may leave.

        None where the store has no slot yet: use it again after ``BUSY_PAUSE_S``, 2 ms.
        """
        with self._lock:
            now = self.clock()
            if not self._share.is_used(now):
                # It may have been reserved before the store failed.
                self._window.add(slot, self._pace.allowed)
                return slot
            used = max(now - _TOLERANCE_S, slot)
            try:
                taken = self._share.take(used, now, self._pace, self._demand())
            except Held:
                return None
            if taken is None:
                # The process waited for the store and leaves without it: now, not at its slot.
                self._next_slot = max(self._next_slot, used + 1.0 / self.rate)
            else:
                used = taken
            self._window.add(used, self._pace.allowed)
            return used

    def renew(self, slot: float, sleep: Callable[[float], None] = time.sleep) -> float:
        """Return a slot whose request may leave now: this one, or another one after a wait for it.

        Call it when the request is about to leave. If the process did not run since its slot came,
        the request would be one more than the other processes count on.
        """
        with self._lock:
            if self.clock() - slot <= self._use_by_s():
                return slot
            self._share.remove(slot)
            self._window.remove(slot)
        return self.acquire(sleep)

    def release(self, slot: float) -> None:
        """Return a slot that is not needed, used or only reserved, if no later one was taken."""
        with self._lock:
            is_shared, is_last = self._share.release(slot), self._window.is_last(slot)
            if is_shared or is_last:
                self._window.remove(slot)
            if slot == self._reserved or (is_last and not is_shared):
                self._next_slot = slot

    def acquire(self, sleep: Callable[[float], None] = time.sleep) -> float:
        """Reserve the next slot, wait for it, use it and return its time."""
        with self._lock:
            self._callers += 1
        try:
            slot = self.reserve()
            self._wait_for(slot, sleep)
            while (used := self.use(slot)) is None:
                sleep(BUSY_PAUSE_S)
            self._wait_for(used, sleep)
            return used
        finally:
            with self._lock:
                self._callers -= 1

    def answered(self, slot: float, seconds: float) -> None:
        """Note how long the request of a slot took, from the slot to its answer."""
        with self._lock:
            assumed_s = self._round_trips.spread_s
            self._round_trips.add(seconds)
            late_s = self._round_trips.late_s(seconds)
            self._share.answered(slot, late_s, assumed_s)
            self._window.answered(slot, late_s)

    def rejected(self) -> None:
        """Lower the pace: the server refused a request as one too many."""
        with self._lock:
            now = self.clock()
            if not self._share.rejected(now):
                self._factor, self._factor_since = lowered(self._factor, self._factor_since, now)

    def expect_answers(self) -> None:
        """Promise to call :meth:`answered` after each request."""
        with self._lock:
            self._round_trips.expected = True

    def forget_round_trips(self) -> None:
        """Forget the round trips: the connections are new, and may be slower or faster."""
        with self._lock:
            self._round_trips.clear()

    def close(self) -> None:
        """Leave the store; the next slot enters it again."""
        with self._lock:
            self._share.close()

    def abandon(self) -> None:
        """Stop using the store, in a forked child where it belongs to the parent."""
        # Without the lock, which another thread may have held at the fork.
        self._share.abandon()

    def _wait_for(self, slot: float, sleep: Callable[[float], None]) -> None:
        delay = slot - self.clock()
        if delay > 0:
            sleep(delay)

    def _use_by_s(self) -> float:
        """Return how long after its slot a request may leave."""
        trips = self._round_trips
        return max(trips.spread_s, _USE_BY_S) if trips.expected else _USE_BY_UNREPORTED_S

    def _demand(self) -> Demand:
        """Return what all watchers and callers of this process wait for."""
        demands = [*self._demands.values(), *[Demand(1)] * self._callers]
        return Demand(
            waits=sum(demand.waits for demand in demands),
            unconfirmed=sum(demand.unconfirmed for demand in demands),
            wanted=sum(demand.wanted for demand in demands if demand.waits),
        )


class Slot:
    """The slot of one request, which is checked again when the request is about to leave.

    :param time: of the slot that was used already, if any.
    """

    __slots__ = ("_quota", "time")

    def __init__(self, quota: Quota, time: float = -math.inf) -> None:
        self._quota = quota
        self.time: float = time

    def acquire(self) -> None:
        """Reserve a slot, wait for it and use it."""
        self.time = self._quota.acquire()

    def renew(self) -> None:
        """Acquire another slot where this one is too old."""
        self.time = self._quota.renew(self.time)


_quotas: dict[tuple[str, str, str, str | None], Quota] = {}
_quotas_lock = threading.Lock()


def shared_quota(
    identity: str,
    host: str,
    action: str,
    requests_per_second: float,
    share: float = 1.0,
    url: str | None = None,
) -> Quota:
    """Return this process's one quota for an account, host and action.

    It shares the pace with other processes; where that is not
    possible, one warning gives the reason.

    :param identity: the SecretId, before any role is assumed.
    :param requests_per_second: the account's pace; where callers differ, the latest one's counts.
    :param share: this host's part of it.
    :param url: of the Redis server where the processes of many hosts share the pace; None shares
        it with the processes of this host.
    """
    key = (identity, host, action, url)
    with _quotas_lock:
        quota = _quotas.pop(key, None)
        if quota is None:
            _forget_idle()
            store = _store(identity, host, action, url)
            quota = Quota(requests_per_second, share, store=store)
        elif abs(quota.requests_per_second - requests_per_second * share) > 1e-9:
            logger.info(
                "The pace of %s changes from %g to %g requests a second.",
                action,
                quota.requests_per_second,
                requests_per_second * share,
            )
            quota.set_pace(requests_per_second, share)
        # The latest used one comes last.
        _quotas[key] = quota
        return quota


def _store(identity: str, host: str, action: str, url: str | None) -> PaceStore:
    if url is None:
        return HostPace(identity, host, action, checked=False)
    from tiw_automation.core.quota.redis import RedisPace

    return RedisPace(url, identity, host, action)


def _forget_idle() -> None:
    now = time.monotonic()
    for key in list(_quotas)[: max(len(_quotas) - _KEPT, 0)]:
        if _quotas[key].is_idle(now):
            _quotas.pop(key).close()


def _leave_stores() -> None:
    for quota in list(_quotas.values()):
        with contextlib.suppress(OSError, ValueError):
            quota.close()


def _forget_after_fork() -> None:
    # A lock that another thread held at the fork would stay locked forever in the child.
    global _quotas_lock
    _quotas_lock = threading.Lock()
    for quota in _quotas.values():
        quota.abandon()
    _quotas.clear()


atexit.register(_leave_stores)
os.register_at_fork(after_in_child=_forget_after_fork)
