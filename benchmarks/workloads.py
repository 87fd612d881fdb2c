# SPDX-License-Identifier: Apache-2.0
"""The lessons that the simulation waits for: when each starts, stops and is FINISHED.

``documented`` is the workload of most figures: a lesson is RECORDING for a lognormal time (median
45 min, sigma 0.5), then STOPPED for another one (median 4.5 min, sigma 0.5). The others are harder
for an order that learns how long lessons and their processing last. A workload depends on its seed
alone.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from tiw_automation.core.waiting.poll_order import Place, Stage

RECORDING_MEDIAN_S, PROCESSING_MEDIAN_S, SIGMA = 45 * 60.0, 4.5 * 60.0, 0.5
MEAN_LIFE_S = (RECORDING_MEDIAN_S + PROCESSING_MEDIAN_S) * math.exp(SIGMA**2 / 2)
HOUR_S = 3600.0
LONGEST_S = 24 * HOUR_S
MEASURED = (2.5 * HOUR_S, 4.5 * HOUR_S)
# A timetable has so many hours, and its lessons start within this time.
HOURS = 3
STARTS_WITHIN_S = 900.0


@dataclass(slots=True, eq=False)
class Lesson(Place):
    """One recording; its wait begins with it, or when the simulation does."""

    starts: float
    stops: float
    finishes: float
    found: bool = False
    due: float = 0.0
    last: float = 0.0

    def __post_init__(self) -> None:
        Place.__init__(self)

    def stage_at(self, now: float) -> Stage:
        """Return the stage that an answer has."""
        if now >= self.finishes:
            return Stage.FINISHED
        return Stage.STOPPED if now >= self.stops else Stage.ACTIVE


Kind = Callable[[float, random.Random], Lesson]
"""Makes a lesson that starts then."""


@dataclass(frozen=True)
class Workload:
    """Lessons, and which of them count: those that are FINISHED within the ``measured`` time.

    :param make: returns the lessons for a number of waits and a seed, the earliest first.
    """

    make: Callable[[int, int], list[Lesson]]
    measured: tuple[float, float] = (0.0, math.inf)


def _lognormal(chance: random.Random, median_s: float, sigma: float = SIGMA) -> float:
    return chance.lognormvariate(math.log(median_s), sigma)


def lesson(starts: float, chance: random.Random) -> Lesson:
    """Return a lesson of the documented lengths."""
    stops = starts + min(_lognormal(chance, RECORDING_MEDIAN_S), LONGEST_S)
    return Lesson(starts, stops, stops + _lognormal(chance, PROCESSING_MEDIAN_S))


def heavy_tailed(starts: float, chance: random.Random) -> Lesson:
    """Return a lesson of at least 5 min: one in 20 lasts more than 50 min, one in 200 5 hours."""
    stops = starts + min(5 * 60 * chance.paretovariate(1.3), LONGEST_S)
    return Lesson(starts, stops, stops + _lognormal(chance, PROCESSING_MEDIAN_S))


def mixed(starts: float, chance: random.Random) -> Lesson:
    """Return one of a short clip, a lesson and a long event, which are processed as differently."""
    minutes, processing_s = chance.choice([(8.0, 30.0), (45.0, 270.0), (150.0, 1200.0)])
    stops = starts + _lognormal(chance, 60 * minutes)
    return Lesson(starts, stops, stops + _lognormal(chance, processing_s))


def slower_and_slower(starts: float, chance: random.Random) -> Lesson:
    """Return a lesson whose processing takes 1 min at the beginning, and 25 min 5 hours later."""
    stops = starts + _lognormal(chance, RECORDING_MEDIAN_S)
    median_s = 60 + 1440 * min(max(stops / (5 * HOUR_S), 0.0), 1.0)
    return Lesson(starts, stops, stops + _lognormal(chance, median_s))


def processed_within(least_s: float, most_s: float) -> Kind:
    """Return a kind of the documented length whose processing takes between these times."""

    def make(starts: float, chance: random.Random) -> Lesson:
        stops = starts + _lognormal(chance, RECORDING_MEDIAN_S)
        return Lesson(starts, stops, stops + chance.uniform(least_s, most_s))

    return make


def steady(
    count: int,
    seed: int,
    kind: Kind = lesson,
    *,
    mean_life_s: float = MEAN_LIFE_S,
    begin: float = -3 * HOUR_S,
    end: float = MEASURED[1] + 1800,
) -> list[Lesson]:
    """Return lessons that begin at random, so that about ``count`` are waited for at any time."""
    chance = random.Random(seed)
    lessons = []
    now = begin
    while (now := now + chance.expovariate(count / mean_life_s)) < end:
        one = kind(now, chance)
        if one.finishes > 0:
            lessons.append(one)
    return lessons


def burst(count: int, seed: int) -> list[Lesson]:
    """Return lessons that begin within ten minutes."""
    chance = random.Random(seed)
    return [lesson(now, chance) for now in sorted(chance.uniform(0, 600) for _ in range(count))]


def timetable(count: int, seed: int, stops_within_s: float = 0.0) -> list[Lesson]:
    """Return ``count`` lessons in each hour, which stop together on the hour."""
    chance = random.Random(seed)
    lessons = []
    for hour in range(HOURS):
        for _ in range(count):
            starts = hour * HOUR_S + chance.uniform(0, STARTS_WITHIN_S)
            stops = (hour + 1) * HOUR_S + chance.uniform(0, stops_within_s)
            finishes = stops + _lognormal(chance, PROCESSING_MEDIAN_S)
            lessons.append(Lesson(starts, stops, finishes))
    return sorted(lessons, key=lambda one: one.starts)


def queued(a_second: float, stops_within_s: float = 0.0) -> Callable[[int, int], list[Lesson]]:
    """Return a timetable whose lessons are processed one by one: first stopped, first FINISHED."""

    def make(count: int, seed: int) -> list[Lesson]:
        lessons = timetable(count, seed, stops_within_s)
        free_at = 0.0
        for one in sorted(lessons, key=lambda one: one.stops):
            free_at = one.finishes = max(one.stops, free_at) + 1 / a_second
        return lessons

    return make


def backlog(count: int, seed: int) -> list[Lesson]:
    """Return the waits of a restart: half an hour's lessons were FINISHED meanwhile."""
    down_s = 1800.0
    chance = random.Random(seed)
    lessons = []
    now = -3 * HOUR_S - down_s
    while (now := now + chance.expovariate(count / MEAN_LIFE_S)) < 2 * HOUR_S:
        one = lesson(now, chance)
        if one.finishes > -down_s:
            lessons.append(one)
    return lessons


def _mean_life_s(kind: Kind) -> float:
    chance = random.Random(0)
    return statistics.fmean(kind(0.0, chance).finishes for _ in range(20_000))


def _random_starts(kind: Kind, measured: tuple[float, float], begin: float = -4.0) -> Workload:
    def make(count: int, seed: int) -> list[Lesson]:
        return steady(
            count,
            seed,
            kind,
            mean_life_s=_mean_life_s(kind),
            begin=begin * HOUR_S,
            end=measured[1] + 1800,
        )

    return Workload(make, measured)


_A_DAY = (HOUR_S, 25 * HOUR_S)
WORKLOADS = {
    "steady": Workload(steady, MEASURED),
    "burst": Workload(burst),
    "heavy tails": _random_starts(heavy_tailed, MEASURED, begin=-24.0),
    "mixed kinds": _random_starts(mixed, MEASURED, begin=-8.0),
    "slower and slower": _random_starts(slower_and_slower, (HOUR_S, 5 * HOUR_S)),
    "timetable": Workload(timetable),
    "timetable, a queue of 25/s": Workload(queued(25.0)),
    "timetable, a queue of 15/s": Workload(queued(15.0)),
    "timetable, a queue of 15/s, stops within 60 s": Workload(queued(15.0, 60.0)),
    "restart": Workload(backlog, (-math.inf, HOUR_S)),
    "few": _random_starts(lesson, _A_DAY),
    "few, processed in 40 s": _random_starts(processed_within(36.0, 44.0), _A_DAY),
    "few, processed in 1 to 4 s": _random_starts(processed_within(1.0, 4.0), _A_DAY),
}
"""By name."""
