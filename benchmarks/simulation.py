# SPDX-License-Identifier: Apache-2.0
"""Orders of asking, compared on simulated lessons; ours is the one that the watcher uses.

A discrete-event simulation with fixed seeds. A lesson is RECORDING for a lognormal time (median
45 min, sigma 0.5), then STOPPED for another one (median 4.5 min, sigma 0.5); it is waited for from
its start, and the delay is the time from FINISHED to the answer that says so. Requests leave at
the pace of the quota, 19 a second, and are answered at once.

Every order sees the same lessons. The alternatives:

* a timer of 60 s for each wait, in front of the same pace;
* round robin: whoever was asked longest ago;
* two rings: one for each stage, nothing is learned;
* the index that knows the two distributions, which nobody can.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import sys
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from plots import bars, shares
from report import Figure, report

from tiw_automation.core.durations import (
    Durations,
    Processing,
    processing_durations,
    recording_durations,
)
from tiw_automation.core.order import Place, PollOrder, Stage

PACE = 19.0
RECORDING_MEDIAN_S, PROCESSING_MEDIAN_S, SIGMA = 45 * 60.0, 4.5 * 60.0, 0.5
MEAN_LIFE_S = (RECORDING_MEDIAN_S + PROCESSING_MEDIAN_S) * math.exp(SIGMA**2 / 2)
MEASURED = (2.5 * 3600.0, 4.5 * 3600.0)
LONGEST_S = 24 * 3600.0


@dataclass(slots=True, eq=False)
class Lesson(Place):
    """One recording: when it starts, stops and is FINISHED."""

    starts: float
    stops: float
    finishes: float
    told: bool = False
    due: float = 0.0
    last: float = 0.0

    def __post_init__(self) -> None:
        Place.__init__(self)

    def stage_at(self, now: float) -> Stage:
        """Return what an answer would say."""
        if now >= self.finishes:
            return Stage.FINISHED
        return Stage.STOPPED if now >= self.stops else Stage.ACTIVE


class Order(Protocol):
    """What the simulation drives."""

    def begin(self, lesson: Lesson, now: float) -> None:
        """A wait begins."""

    def choose(self, now: float) -> Lesson | None:
        """Return whom to ask now."""

    def again(self, lesson: Lesson, now: float) -> None:
        """The one that was asked is not FINISHED."""

    def over(self, lesson: Lesson, now: float) -> None:
        """The one that was asked is FINISHED."""

    def next_time(self, now: float) -> float | None:
        """Return from when on there is somebody to ask."""


class FixedInterval:
    """A timer for each wait; those that are due queue for the pace."""

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self._queue: deque[Lesson] = deque()

    def begin(self, lesson: Lesson, now: float) -> None:
        self.again(lesson, now)

    def again(self, lesson: Lesson, now: float) -> None:
        lesson.due = now + self._interval_s
        self._queue.append(lesson)

    def choose(self, now: float) -> Lesson | None:
        if self._queue and self._queue[0].due <= now:
            return self._queue.popleft()
        return None

    def over(self, lesson: Lesson, now: float) -> None:
        pass

    def next_time(self, now: float) -> float | None:
        return max(self._queue[0].due, now) if self._queue else None


class Ours:
    """The order that the watcher uses, driven by a clock of its own."""

    def __init__(self, order: PollOrder[Lesson] | None = None, poll_interval: float = 1.0) -> None:
        self.order: PollOrder[Lesson] = PollOrder(pace=PACE) if order is None else order
        self._poll_interval = poll_interval

    def begin(self, lesson: Lesson, now: float) -> None:
        self.order.add(lesson, now)

    def choose(self, now: float) -> Lesson | None:
        return self.order.pop(now)

    def again(self, lesson: Lesson, now: float) -> None:
        stopped = now >= lesson.stops
        self.order.answered(
            lesson,
            now,
            Stage.STOPPED if stopped else Stage.ACTIVE,
            poll_interval=self._poll_interval,
            started_ago=now - lesson.starts,
            stopped_ago=now - lesson.stops if stopped else None,
        )

    def over(self, lesson: Lesson, now: float) -> None:
        self.order.answered(
            lesson,
            now,
            Stage.FINISHED,
            started_ago=now - lesson.starts,
            stopped_ago=now - lesson.stops,
        )
        self.order.remove(lesson)

    def next_time(self, now: float) -> float | None:
        return self.order.next_due(now)


def _lognormal_rates(edges: list[float], median_s: float) -> list[float]:
    """Return the mean hazard of a lognormal time in each bucket."""

    def survival(time: float) -> float:
        if time <= 0:
            return 1.0
        return math.erfc(math.log(time / median_s) / SIGMA / math.sqrt(2)) / 2

    rates: list[float] = []
    for number, start in enumerate(edges):
        end = edges[number + 1] if number + 1 < len(edges) else start * 1.5
        one, two = survival(start), survival(end)
        # So late that nobody is left: the hazard just before stands for it.
        rates.append(math.log(one / two) / (end - start) if two > 1e-12 else rates[-1])
    return rates


def omniscient() -> PollOrder[Lesson]:
    """Return the index that knows how long lessons and their processing last, in fine rings."""
    recording = Durations([60.0 * n for n in range(6 * 60)], 3060.0)
    recording.know(_lognormal_rates(recording.edges, RECORDING_MEDIAN_S))
    processing = Processing([15.0 * n for n in range(4 * 60)], 300.0)
    processing.know(_lognormal_rates(processing.edges, PROCESSING_MEDIAN_S))
    return PollOrder(pace=PACE, recording=recording, processing=processing, learns=False)


def two_rings() -> PollOrder[Lesson]:
    """Return the order with one ring a stage and a constant hazard in each: nothing is learned."""
    return PollOrder(
        pace=PACE,
        recording=Durations([0.0], 3060.0),
        processing=Processing([0.0], 300.0),
        learns=False,
    )


def wrong_priors() -> PollOrder[Lesson]:
    """Return ours, which begins with durations that are wrong by 4 in opposite directions."""
    recording, processing = recording_durations(), processing_durations()
    return PollOrder(
        pace=PACE,
        recording=Durations(recording.edges, 4 * 3060.0),
        processing=Processing(processing.edges, 300.0 / 4),
    )


@dataclass
class Result:
    """What an order achieved on one set of lessons."""

    delays: list[float]
    requests: int
    longest_gap_s: float

    @property
    def mean(self) -> float:
        """The mean delay in seconds."""
        return statistics.fmean(self.delays)

    @property
    def p95(self) -> float:
        """The delay that 95 % stay under."""
        return sorted(self.delays)[int(0.95 * len(self.delays))]


Event = tuple[float, int, Callable[[float], float | None]]
"""When, a number that breaks ties, and what to do, which returns when to do it again."""


def lesson(starts: float, chance: random.Random) -> Lesson:
    """Return a lesson of random length."""
    length = min(chance.lognormvariate(math.log(RECORDING_MEDIAN_S), SIGMA), LONGEST_S)
    stops = starts + length
    return Lesson(
        starts, stops, stops + chance.lognormvariate(math.log(PROCESSING_MEDIAN_S), SIGMA)
    )


def steady(count: int, seed: int) -> list[Lesson]:
    """Return lessons that begin at random, so that about ``count`` are waited for at any time."""
    chance = random.Random(seed)
    lessons = []
    now = -3 * 3600.0
    while (now := now + chance.expovariate(count / MEAN_LIFE_S)) < MEASURED[1] + 1800:
        one = lesson(now, chance)
        if one.finishes > 0:
            lessons.append(one)
    return lessons


def burst(count: int, seed: int) -> list[Lesson]:
    """Return lessons that begin within ten minutes."""
    chance = random.Random(seed)
    return [lesson(now, chance) for now in sorted(chance.uniform(0, 600) for _ in range(count))]


def run(
    order: Order,
    lessons: list[Lesson],
    *,
    measured: tuple[float, float] = (0.0, math.inf),
    events: list[Event] | None = None,
    outage: tuple[float, float] = (math.inf, math.inf),
    until: float = math.inf,
) -> Result:
    """Drive an order until every lesson that finishes in the ``measured`` time was found.

    :param outage: from when to when nothing can be asked.
    """
    happenings = list(events or [])
    heapq.heapify(happenings)
    since, end = measured
    awaited = sum(since <= lesson.finishes < end for lesson in lessons)
    delays: list[float] = []
    requests = 0
    longest_gap = 0.0
    now = 0.0
    coming = 0
    while len(delays) < awaited and now < until:
        if outage[0] <= now < outage[1]:
            now = outage[1]
        while coming < len(lessons) and lessons[coming].starts <= now:
            lessons[coming].last = now
            order.begin(lessons[coming], now)
            coming += 1
        while happenings and happenings[0][0] <= now:
            _, number, happen = heapq.heappop(happenings)
            again = happen(now)
            if again is not None:
                heapq.heappush(happenings, (again, number, happen))
        chosen = order.choose(now)
        if chosen is None:
            times = [order.next_time(now)]
            if coming < len(lessons):
                times.append(lessons[coming].starts)
            if happenings:
                times.append(happenings[0][0])
            now = max(now + 1e-3, min(time for time in times if time is not None))
            continue
        if since <= now < end:
            requests += 1
            longest_gap = max(longest_gap, now - chosen.last)
        chosen.last = now
        if now >= chosen.finishes:
            if since <= chosen.finishes < end:
                delays.append(now - chosen.finishes)
            chosen.told = True
            order.over(chosen, now)
        else:
            order.again(chosen, now)
        now += 1 / PACE
    return Result(delays, requests, longest_gap)


def callbacks(ours: Ours, lessons: list[Lesson], seed: int, lost: float = 0.0) -> list[Event]:
    """Return a hint for each lesson's end, some seconds late; some are lost."""
    chance = random.Random(seed)

    def hint(one: Lesson) -> Callable[[float], None]:
        return lambda now: None if one.told else ours.order.hint(one, now)

    return [
        (one.finishes + 1.5 + chance.expovariate(1.0), number, hint(one))
        for number, one in enumerate(lessons)
        if chance.random() >= lost
    ]


def known_stops(ours: Ours, lessons: list[Lesson]) -> list[Event]:
    """Return, for each lesson's begin, that the time of its stop is known."""

    def expect(one: Lesson) -> Callable[[float], None]:
        return lambda now: ours.order.expect_stop(one, now, one.stops)

    return [(max(one.starts, 0.0) + 1e-3, n, expect(one)) for n, one in enumerate(lessons)]


def running_list(ours: Ours, lessons: list[Lesson], until_finished: bool) -> list[Event]:
    """Return readings of the list of running tasks, every five seconds at the soonest.

    A page holds 500 tasks, and pages are read at the pace of that action's own quota.
    """
    arrivals = deque(lessons)
    leaving: list[tuple[float, int, Lesson]] = []

    def read(now: float) -> float:
        seen = now - len(leaving) / 500 / PACE
        while arrivals and arrivals[0].starts <= seen:
            one = arrivals.popleft()
            leaves = one.finishes if until_finished else one.stops
            if leaves > seen and not one.told:
                ours.order.set_listed(one, now, True)
                heapq.heappush(leaving, (leaves, id(one), one))
        while leaving and leaving[0][0] <= seen:
            one = heapq.heappop(leaving)[2]
            if not one.told:
                ours.order.set_listed(one, now, False)
        return now + 5.0 + len(leaving) / 500 / PACE

    return [(0.0, 0, read)]


def after_an_outage(count: int, seed: int) -> float:
    """Return how long it takes to ask everybody after ten minutes of silence, over N / pace."""
    lessons = steady(count, seed)
    begin, end = 5400.0, 6000.0
    asked: set[int] = set()
    waiting = {id(one) for one in lessons if one.starts <= begin}

    class Watching(Ours):
        def choose(self, now: float) -> Lesson | None:
            chosen = super().choose(now)
            if now >= end and chosen is not None:
                asked.add(id(chosen))
                if not done and not waiting - told - asked:
                    done.append(now)
            return chosen

    done: list[float] = []
    told: set[int] = set()
    ours = Watching()

    def recovered(now: float) -> None:
        told.update(id(one) for one in lessons if one.told)
        ours.order.catch_up(now)
        alive.append(len(waiting - told))

    alive: list[int] = []
    events: list[Event] = [(end, 0, recovered)]
    run(ours, lessons, events=events, outage=(begin, end), until=end + 3 * count / PACE)
    return (done[0] - end) / (alive[0] / PACE)


@dataclass
class Table:
    """Collects the results of every seed, and what to say of them."""

    seeds: list[int]
    cells: dict[tuple[str, str, int], list[Result]] = field(default_factory=dict)

    def fill(self, load: str, name: str, count: int, make: Callable[[int], Result]) -> None:
        """Run one order with every seed and print what came out."""
        results = [make(seed) for seed in self.seeds]
        self.cells[load, name, count] = results
        print(
            f"  {load:6} {count:6d} {name:42} mean {self.mean(load, name, count):8.2f} s  "
            f"p95 {self.p95(load, name, count):8.2f} s  "
            f"longest gap {max(r.longest_gap_s for r in results):7.0f} s",
            flush=True,
        )

    def mean(self, load: str, name: str, count: int) -> float:
        """Return the mean over the seeds of the mean delay."""
        return statistics.fmean(result.mean for result in self.cells[load, name, count])

    def p95(self, load: str, name: str, count: int) -> float:
        """Return the mean over the seeds of the 95th percentile."""
        return statistics.fmean(result.p95 for result in self.cells[load, name, count])


def measure_steady(table: Table, count: int, extras: bool) -> None:
    """Fill the rows of about ``count`` waits at any time."""

    def hinted(hints: Callable[[Ours, list[Lesson], int], list[Event]]) -> Callable[[int], Result]:
        def make(seed: int) -> Result:
            ours, lessons = Ours(), steady(count, seed)
            return run(ours, lessons, measured=MEASURED, events=hints(ours, lessons, seed))

        return make

    for name, order in ORDERS.items():
        if extras or name != "two rings":
            table.fill("steady", name, count, partial(_in_steady_state, order, count))
    if extras:
        slow = partial(_in_steady_state, lambda: Ours(None, 5.0), count)
        table.fill("steady", "ours, poll_interval 5 s", count, slow)
        wrong = partial(_in_steady_state, lambda: Ours(wrong_priors()), count)
        table.fill("steady", "ours, priors wrong by 4", count, wrong)
    if extras or count >= 10_000:
        table.fill("steady", "ours, callbacks", count, hinted(callbacks))
        table.fill(
            "steady",
            "ours, running list to FINISHED",
            count,
            hinted(lambda ours, lessons, _: running_list(ours, lessons, True)),
        )
        table.fill(
            "steady",
            "ours, running list to STOPPED",
            count,
            hinted(lambda ours, lessons, _: running_list(ours, lessons, False)),
        )
    if extras:
        table.fill(
            "steady",
            "ours, 1 % of callbacks lost",
            count,
            hinted(lambda ours, lessons, seed: callbacks(ours, lessons, seed, 0.01)),
        )
        table.fill(
            "steady",
            "ours, stop times known",
            count,
            hinted(lambda ours, lessons, _: known_stops(ours, lessons)),
        )


ORDERS: dict[str, Callable[[], Order]] = {
    "fixed 60 s with a bucket": lambda: FixedInterval(60),
    "round robin": lambda: FixedInterval(0),
    "two rings": lambda: Ours(two_rings()),
    "index that knows the hazards": lambda: Ours(omniscient()),
    "ours": Ours,
}


def _in_steady_state(order: Callable[[], Order], count: int, seed: int) -> Result:
    return run(order(), steady(count, seed), measured=MEASURED)


def _in_a_burst(order: Callable[[], Order], count: int, seed: int) -> Result:
    return run(order(), burst(count, seed))


def figures(table: Table) -> list[Figure]:
    """Return the ratios that have a target."""
    seeds = len(table.cells["steady", "ours", 1000])
    how = f"simulated, {seeds} seed{'s' * (seeds > 1)}"
    found = []
    for count, mean, p95, known in ((1000, 0.13, 0.13, 1.4), (10_000, 0.35, 0.50, 1.1)):
        ours, fixed = table.mean("steady", "ours", count), "fixed 60 s with a bucket"
        label = f"{count // 1000}k waits"
        found += [
            Figure(
                f"G3 mean delay, {label}: ours / fixed 60 s with a bucket",
                ours / table.mean("steady", fixed, count),
                mean,
                how,
            ),
            Figure(
                f"G4 p95 delay, {label}: ours / fixed 60 s with a bucket",
                table.p95("steady", "ours", count) / table.p95("steady", fixed, count),
                p95,
                how,
            ),
            Figure(
                f"G5 mean delay, {label}: ours / the index that knows the hazards",
                ours / table.mean("steady", "index that knows the hazards", count),
                known,
                how,
            ),
        ]
    for name, target in (
        ("callbacks", 0.02),
        ("running list to FINISHED", 0.02),
        ("running list to STOPPED", 0.10),
    ):
        ratio = table.mean("steady", f"ours, {name}", 10_000) / table.mean(
            "steady", "round robin", 10_000
        )
        found.append(Figure(f"G6 10k waits, {name}: ours / round robin", ratio, target, how))
    return found


def draw(table: Table, folder: Path) -> None:
    """Write the charts."""
    folder.mkdir(parents=True, exist_ok=True)
    for count in (1000, 10_000):
        rows = [
            (name, table.mean(load, name, size))
            for load, name, size in table.cells
            if load == "steady" and size == count
        ]
        bars(
            folder / f"simulated-delay-{count // 1000}k.svg",
            f"Mean delay from FINISHED to the answer, {count} waits on 19 requests a second",
            "seconds",
            rows,
            "ours",
        )
    names = ["ours", "fixed 60 s with a bucket", "ours, callbacks", "ours, running list to STOPPED"]
    lines = {
        name: table.cells["steady", name, 10_000][0].delays
        for name in names
        if ("steady", name, 10_000) in table.cells
    }
    shares(
        folder / "simulated-delays-10k.svg",
        "Share of recordings found within x, 10,000 waits on 19 requests a second",
        "seconds from FINISHED to the answer",
        lines,
    )


def main() -> int:
    """Print every order's delays and the ratios; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="three seeds, bursts, 50k waits")
    parser.add_argument("--plots", type=Path, help="write the charts into this folder")
    options = parser.parse_args()
    table = Table([1, 2, 3] if options.full else [1])
    for count in (1000, 10_000):
        measure_steady(table, count, options.full)
    if options.full:
        for count in (1000, 10_000):
            for name, order in ORDERS.items():
                table.fill("burst", name, count, partial(_in_a_burst, order, count))
        table.seeds = [1]
        for name in ("round robin", "ours"):
            table.fill("steady", name, 50_000, partial(_in_steady_state, ORDERS[name], 50_000))
    if options.plots:
        draw(table, options.plots)
    recovery = after_an_outage(10_000, 1)
    return report(
        *figures(table),
        Figure(
            "G18 after an outage, 10k waits: until everybody was asked / (N / rate)",
            recovery,
            1.05,
            "simulated, 1 seed",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
