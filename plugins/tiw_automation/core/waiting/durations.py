# SPDX-License-Identifier: Apache-2.0
"""How long the stages of a task last, learned from observations."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

_MINUTE = 60.0
_HOUR = 3600.0
_DAY = 24 * _HOUR

# The prior: a lesson lasts 51 minutes on average, its processing 5.
_PRIOR_RECORDING_S = 51 * _MINUTE
_PRIOR_PROCESSING_S = 5 * _MINUTE
_PRIOR_EVENTS = 0.25
# Above so many ends in one bucket, older observations lose half of their weight.
_MEMORY_EVENTS = 400.0
# Keeps exponentials within the range of a float.
_MOST_HAZARD = 30.0


class Durations:
    """How long a stage lasts, learned from observations.

    It keeps ends and observed seconds in buckets of the age. So recordings that were first seen
    late, or are not over yet, count for the time that they were observed.

    :param edges: where the buckets begin, in seconds, from 0 on; the last one has no end.
    :param mean_s: the prior's mean duration.
    """

    def __init__(self, edges: Sequence[float], mean_s: float) -> None:
        self.edges: list[float] = list(edges)
        self._events = [0.0] * len(edges)
        self._seconds = [0.0] * len(edges)
        self._mean_s = mean_s
        self.events: int = 0
        self.rates: list[float] = [1.0 / mean_s] * len(edges)
        self.rebuild()

    def bucket(self, age: float) -> int:
        """Return the number of the bucket that holds ``age``."""
        return max(bisect_right(self.edges, age) - 1, 0)

    def lasted(self, start: float, end: float) -> None:
        """Count that the stage went on from age ``start`` to age ``end``."""
        edges, last = self.edges, len(self.edges) - 1
        number = self.bucket(start)
        while start < end:
            limit = end if number == last else min(end, edges[number + 1])
            self._seconds[number] += limit - start
            start = limit
            number += 1

    def ended(self, age: float) -> None:
        """Count that the stage ended at ``age``."""
        number = self.bucket(age)
        self._events[number] += 1.0
        if self._events[number] > _MEMORY_EVENTS:
            self._events[number] /= 2
            self._seconds[number] /= 2
        self.events += 1

    def ended_within(self, start: float, end: float) -> None:
        """Count that the stage went on at age ``start`` and was over at age ``end``.

        The end is spread over the ages between, according to the present estimate.
        """
        edges, last = self.edges, len(self.edges) - 1
        first, final = self.bucket(start), self.bucket(end)
        pieces = []
        alive = 1.0
        at = start
        for number in range(first, final + 1):
            limit = end if number == last else min(end, edges[number + 1])
            left = alive * math.exp(-self.rates[number] * (limit - at))
            pieces.append((number, at, limit, alive - left))
            alive, at = left, limit
        total = 1.0 - alive
        if total <= 1e-12:
            self.lasted(start, (start + end) / 2)
            self.ended((start + end) / 2)
            return
        remaining = 1.0
        for number, at, limit, mass in pieces:
            part = mass / total
            self._events[number] += part
            self._seconds[number] += (limit - at) * (remaining - part / 2)
            remaining -= part
        self.events += 1

    def rebuild(self) -> None:
        """Update what :meth:`hazard` returns from the counts."""
        prior_s = _PRIOR_EVENTS * self._mean_s
        self.rates = [
            (events + _PRIOR_EVENTS) / (seconds + prior_s)
            for events, seconds in zip(self._events, self._seconds, strict=True)
        ]
        self._hazards = [0.0]
        for (start, end), rate in zip(pairwise(self.edges), self.rates, strict=False):
            self._hazards.append(self._hazards[-1] + (end - start) * rate)

    def know(self, rates: Sequence[float]) -> None:
        """Set each bucket's hazard a second, instead of learning it."""
        weight = 1e9
        self._seconds = [weight] * len(rates)
        self._events = [rate * weight for rate in rates]
        self.rebuild()

    def hazard(self, age: float) -> float:
        """Return the cumulative hazard up to ``age``: the survival's negative logarithm."""
        number = bisect_right(self.edges, age) - 1
        return self._hazards[number] + (age - self.edges[number]) * self.rates[number]

    def quantile(self, share: float) -> float:
        """Return the duration that this share stays under."""
        hazard = -math.log1p(-share)
        number = bisect_right(self._hazards, hazard) - 1
        return self.edges[number] + (hazard - self._hazards[number]) / self.rates[number]


class Processing(Durations):
    """Durations with tables of partial moments, of a density in steps."""

    STEP_S = 15.0
    STEPS = 160

    def rebuild(self) -> None:
        super().rebuild()
        step = self.STEP_S
        self.density: list[float] = []
        self.ended_by: list[float] = [0.0]
        self.first: list[float] = [0.0]
        self.second: list[float] = [0.0]
        alive = 1.0
        for number in range(self.STEPS):
            start, end = number * step, (number + 1) * step
            left = math.exp(-self.hazard(end))
            density = (alive - left) / step
            alive = left
            self.density.append(density)
            self.ended_by.append(1.0 - left)
            self.first.append(self.first[-1] + density * (end * end - start * start) / 2)
            self.second.append(self.second[-1] + density * (end**3 - start**3) / 3)

    def worth(self, age: float, tau: float) -> float:
        """Return ``E[T; T <= tau] / P(T > tau)`` where the stage had gone on for ``age``."""
        until = age + tau
        step = self.STEP_S
        one, two = int(age / step), int(until / step)
        if two >= self.STEPS or self.ended_by[two + 1] > 0.9999:
            # Far out the mean hazard is precise enough.
            y = min(self.hazard(until) - self.hazard(age), _MOST_HAZARD)
            return tau * (math.expm1(y) / y - 1.0) if y > 1e-6 else tau * y / 2
        left = 1.0 - self.ended_by[two] - self.density[two] * (until - two * step)
        if one == two:
            return self.density[one] * tau * tau / (2 * left)
        ended = self.ended_by[one] + self.density[one] * (age - one * step)
        first = self.first[one] + self.density[one] * (age * age - (one * step) ** 2) / 2
        later = self.first[two] + self.density[two] * (until * until - (two * step) ** 2) / 2
        return (later - first - age * (1.0 - left - ended)) / left

    def worth_before(self, tau: float) -> float:
        """Return ``E[T; T <= tau]`` per unit of hazard of the stage before this one."""
        number = int(tau / self.STEP_S)
        if number >= self.STEPS:
            return (tau * tau * self.ended_by[-1] - self.second[-1]) / 2
        start = number * self.STEP_S
        density = self.density[number]
        ended = self.ended_by[number] + density * (tau - start)
        second = self.second[number] + density * (tau**3 - start**3) / 3
        return (tau * tau * ended - second) / 2


def _spread(step: float, until: float, growth: float, limit: float) -> list[float]:
    edges = [number * step for number in range(int(until / step) + 1)]
    while edges[-1] * growth < limit:
        edges.append(edges[-1] * growth)
    return edges


def recording_durations(mean_s: float = _PRIOR_RECORDING_S) -> Durations:
    """Return the prior for what comes before processing, such as a lesson of 51 minutes."""
    return Durations(_spread(5 * _MINUTE, 3 * _HOUR, 1.4, _DAY), mean_s)


def processing_durations(mean_s: float = _PRIOR_PROCESSING_S) -> Processing:
    """Return the prior for processing, by default that of recordings: 5 minutes on average."""
    return Processing(_spread(30.0, 15 * _MINUTE, 1.4, 4 * _HOUR), mean_s)
