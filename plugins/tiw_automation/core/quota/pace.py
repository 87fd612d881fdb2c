# SPDX-License-Identifier: Apache-2.0
"""The rules of pacing: how many requests a second, how many within a second, how far apart.

Nothing here knows of a clock, a file or another process. All times are seconds of one clock.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from tiw_automation.core.errors import ConfigurationError

# Clocks, timers and threads are this imprecise, so no second is filled completely.
GUARD_S = 0.01
# An answer that comes this much earlier or later than assumed changes nothing.
SAME_S = 0.002
LATEST_S = 1.0
"""The most by which a request counts as late."""
LEAST_FACTOR = 0.05
"""The least that refusals leave of a pace."""

# What Tencent allows, and the part of it that a pace uses, to leave room for jitter.
_ALLOWED = 20
_PACE_OF_ALLOWED = 0.95

# What one refusal takes of a full pace, and what the next one takes before the pace has recovered:
# a single refusal may be chance, several mean that others use the account.
_LOWERED_ONCE = 0.9
_LOWERED_AGAIN = 0.7
# At 19 requests a second it grows by 0.1 each second.
_RECOVERED_A_SECOND = 0.1 / 19.0

# The spread that is assumed before any round trip is measured.
_UNKNOWN_SPREAD_S = 0.5
_KNOWN_AFTER = 16
_SURE_AFTER = 64
_ROUND_TRIPS = 256


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace that a process may use when it is alone on its host.

    :param account: the requests a second of the account.
    :param share: the part of them that this host may use, above 0 and at most 1.
    :raises ConfigurationError: one of them is invalid.
    """

    account: float
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.account < math.inf:
            raise ConfigurationError(
                f"requests_per_second must be a number above zero, not {self.account!r}."
            )
        if not 0 < self.share <= 1:
            raise ConfigurationError(
                "quota_share (TIW_QUOTA_SHARE) must be a number above zero and at most 1, "
                f"not {self.share!r}."
            )

    @property
    def rate(self) -> float:
        """The requests a second."""
        return self.account * self.share

    @property
    def allowed(self) -> int:
        """How many requests may arrive within any second."""
        return arrivals_allowed(self.rate)


def arrivals_allowed(requests_per_second: float) -> int:
    """Return how many requests may arrive within any second at a pace.

    A pace of up to 19 is taken as 95 % of what is allowed, up to 20 as Tencent's limit of 20,
    and one above as a limit that was raised for the account.
    """
    if requests_per_second > _ALLOWED:
        return int(requests_per_second)
    return min(math.ceil(requests_per_second / _PACE_OF_ALLOWED - 1e-9), _ALLOWED)


def window_opens(arrived: Sequence[float], allowed: int) -> float:
    """Return the earliest time at which a request leaves without exceeding a second's limit.

    Requests may arrive in another order than they left, so the latest arrivals count.

    :param arrived: when the requests before it arrived at the latest; at least ``allowed`` of them.
    """
    return sorted(arrived)[-allowed] + 1.0


def lowered(factor: float, since: float, now: float) -> tuple[float, float]:
    """Return the factor of a pace after a refusal, and since when it holds.

    A request that left before the last refusal arrived could not react to it, so all refusals
    within a second count as one.
    """
    if now - since < 1.0:
        return factor, since
    factor = recovered(factor, since, now)
    return max(factor * (_LOWERED_ONCE if factor == 1.0 else _LOWERED_AGAIN), LEAST_FACTOR), now


def recovered(factor: float, since: float, now: float) -> float:
    """Return the factor of a pace some time after it was lowered: it grows steadily."""
    if factor >= 1.0:
        return 1.0
    return min(factor + max(now - since, 0.0) * _RECOVERED_A_SECOND, 1.0)


class RoundTrips:
    """How far the durations of requests lie apart, from the latest 256.

    Two requests can arrive closer together than they left by as much as their times on the way
    differ. Where durations will be reported, a large spread is assumed until some are known.
    """

    def __init__(self) -> None:
        self.expected: bool = False
        self._latest: deque[float] = deque()
        self._ordered: list[float] = []

    @property
    def spread_s(self) -> float:
        """The spread without far outliers, because a stall is not jitter."""
        ordered = self._ordered
        count = len(ordered)
        if not self.expected:
            return 0.0
        if count < _KNOWN_AFTER:
            return max(_UNKNOWN_SPREAD_S, min(ordered[-1], LATEST_S) if ordered else 0.0)
        top = ordered[-1]
        if count >= _SURE_AFTER:
            middle = ordered[count // 2]
            top = min(ordered[-1 - count // 100], middle + 4 * (ordered[count * 9 // 10] - middle))
        return min(max(top - ordered[0], 0.0), LATEST_S)

    def late_s(self, seconds: float) -> float:
        """Return by how much a request of that duration may have arrived late, at most.

        Late means later than the fastest: the request may have lost the time on its way, or its
        process did not run when its slot came. While few durations are known, faster ones are
        possible.
        """
        ordered = self._ordered
        count = len(ordered)
        if not self.expected:
            return 0.0
        if count < _KNOWN_AFTER:
            # It arrived before its answer; the fastest may take no time at all.
            return min(seconds, LATEST_S)
        faster = 4 * (ordered[count * 9 // 10] - ordered[0]) / count
        return min(max(seconds - ordered[0], 0.0) + faster, LATEST_S)

    def add(self, seconds: float) -> None:
        """Add the duration of a request that was answered."""
        self._latest.append(seconds)
        insort(self._ordered, seconds)
        if len(self._latest) > _ROUND_TRIPS:
            oldest = self._latest.popleft()
            del self._ordered[bisect_left(self._ordered, oldest)]

    def overdue_s(self, seconds: float) -> float:
        """Return by how much a request without an answer after that time is late, at least.

        It may arrive as late as now.
        """
        if not self.expected:
            return 0.0
        fastest = self._ordered[0] if self._ordered else 0.0
        return min(max(self.spread_s, seconds - fastest), LATEST_S)

    def clear(self) -> None:
        """Forget all durations: the connections are new."""
        self.expected = True
        self._latest.clear()
        self._ordered.clear()


class ArrivalWindow:
    """The latest requests of one process, each with how late it may have arrived."""

    def __init__(self, round_trips: RoundTrips) -> None:
        self._round_trips = round_trips
        # Slots in their order; None while the answer is missing.
        self._late_s: dict[float, float | None] = {}

    def opens(self, now: float, allowed: int) -> float:
        """Return when the next request may leave; ``-inf`` where fewer have left than allowed."""
        if len(self._late_s) < allowed:
            return -math.inf
        arrived = [
            slot + (self._round_trips.overdue_s(now - slot) if late_s is None else late_s)
            for slot, late_s in self._late_s.items()
        ]
        return window_opens(arrived, allowed) + GUARD_S

    def add(self, slot: float, allowed: int) -> None:
        """Add the slot of a request."""
        self._late_s[slot] = None
        # No request counts as more than a second late, so older ones arrived before these.
        while len(self._late_s) > 2 * allowed:
            del self._late_s[next(iter(self._late_s))]

    def answered(self, slot: float, late_s: float) -> None:
        """Note by how much the request of a slot may have arrived late."""
        if slot in self._late_s:
            self._late_s[slot] = late_s

    def remove(self, slot: float) -> None:
        """Remove a slot whose request never left."""
        self._late_s.pop(slot, None)

    def is_last(self, slot: float) -> bool:
        """Return whether a slot is the latest one."""
        return bool(self._late_s) and next(reversed(self._late_s)) == slot
