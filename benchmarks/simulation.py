# SPDX-License-Identifier: Apache-2.0
"""Orders of polling, compared on simulated lessons; ours is the one that the watcher uses.

A discrete-event simulation with fixed seeds, of the lessons in ``workloads.py``. A lesson is waited
for from its start, and the delay is the time from FINISHED to the answer with it. Requests leave
at the pace of the quota, 19 a second, and are answered at once.

Every order sees the same lessons. The alternatives:

* a timer of 60 s for each wait, in front of the same pace;
* round robin: the lesson that was polled longest ago;
* two rings: one for each stage, nothing is learned;
* the index that knows the two distributions, which is impossible in practice.

The result depends on the seeds alone.
"""

from __future__ import annotations

import argparse
import heapq
import math
import multiprocessing
import os
import random
import signal
import statistics
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from plots import bars, shares
from report import Figure, report, report_row
from workloads import (
    PROCESSING_MEDIAN_S,
    RECORDING_MEDIAN_S,
    SIGMA,
    WORKLOADS,
    Lesson,
    steady,
)

from tiw_automation.core.waiting.durations import (
    Durations,
    Processing,
    processing_durations,
    recording_durations,
)
from tiw_automation.core.waiting.poll_order import PollOrder, Stage

PACE = 19.0
FIXED, KNOWS = "fixed 60 s with a bucket", "index that knows the hazards"
ROUND_ROBIN, EVERY_5_S = "round robin", "fixed 5 s"
OURS, OURS_5_S, UNBOUNDED = "ours", "ours, poll_interval 5 s", "ours, without the bound"
CALLBACKS = "ours, callbacks"
TO_FINISHED, TO_STOPPED = "ours, running list to FINISHED", "ours, running list to STOPPED"


class Order(Protocol):
    """An order that the simulation drives."""

    def begin(self, lesson: Lesson, now: float) -> None:
        """A wait begins."""

    def choose(self, now: float) -> Lesson | None:
        """Return the lesson to poll now."""

    def again(self, lesson: Lesson, now: float) -> None:
        """The polled lesson is not FINISHED."""

    def over(self, lesson: Lesson, now: float) -> None:
        """The polled lesson is FINISHED."""

    def next_time(self, now: float) -> float | None:
        """Return from when on there is a lesson to poll."""


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
    """The order that the watcher uses, driven by the simulated clock."""

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
        # So late that no lesson is left: the hazard just before is used.
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
    """Return the order with one ring for each stage and a constant hazard: nothing is learned."""
    return PollOrder(
        pace=PACE,
        recording=Durations([0.0], 3060.0),
        processing=Processing([0.0], 300.0),
        learns=False,
    )


def wrong_priors() -> PollOrder[Lesson]:
    """Return ours with initial durations that are wrong by a factor of 4 in opposite directions."""
    recording, processing = recording_durations(), processing_durations()
    return PollOrder(
        pace=PACE,
        recording=Durations(recording.edges, 4 * 3060.0),
        processing=Processing(processing.edges, 300.0 / 4),
    )


def without_the_bound() -> PollOrder[Lesson]:
    """Return ours without a bound on how long a recording may go unpolled."""
    order: PollOrder[Lesson] = PollOrder(pace=PACE)
    order.most_rounds = math.inf
    return order


@dataclass
class Result:
    """What an order achieved on one set of lessons.

    ``longest_gap_s`` is the longest time between two polls of a lesson, ``most_waits`` how many
    there were at most at the same time.
    """

    delays: list[float]
    requests: int
    longest_gap_s: float
    most_waits: int

    @property
    def mean(self) -> float:
        """The mean delay in seconds."""
        return statistics.fmean(self.delays)

    @property
    def p95(self) -> float:
        """The delay that 95 % stay under."""
        return self.quantile(0.95)

    def quantile(self, share: float) -> float:
        """Return the delay that this share stays under."""
        return sorted(self.delays)[int(share * len(self.delays))]


Event = tuple[float, int, Callable[[float], float | None]]
"""When, a number that breaks ties, and what to do, which returns when to repeat it."""


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

    :param outage: from when to when no poll is possible.
    """
    happenings = list(events or [])
    heapq.heapify(happenings)
    since, end = measured
    awaited = sum(since <= lesson.finishes < end for lesson in lessons)
    delays: list[float] = []
    requests = 0
    longest_gap = 0.0
    now = 0.0
    coming = found = most_waits = 0
    while len(delays) < awaited and now < until:
        if outage[0] <= now < outage[1]:
            now = outage[1]
        while coming < len(lessons) and lessons[coming].starts <= now:
            lessons[coming].last = now
            order.begin(lessons[coming], now)
            coming += 1
        most_waits = max(most_waits, coming - found)
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
                delays.append(now - max(chosen.finishes, 0.0))
            chosen.found = True
            found += 1
            order.over(chosen, now)
        else:
            order.again(chosen, now)
        now += 1 / PACE
    return Result(delays, requests, longest_gap, most_waits)


def callbacks(ours: Ours, lessons: list[Lesson], seed: int, lost: float = 0.0) -> list[Event]:
    """Return a hint for each lesson's end, some seconds late; some are lost."""
    chance = random.Random(seed)

    def hint(one: Lesson) -> Callable[[float], None]:
        return lambda now: None if one.found else ours.order.hint(one, now)

    return [
        (one.finishes + 1.5 + chance.expovariate(1.0), number, hint(one))
        for number, one in enumerate(lessons)
        if chance.random() >= lost
    ]


def known_stops(ours: Ours, lessons: list[Lesson]) -> list[Event]:
    """Return events that set each lesson's stop time when it begins."""

    def expect(one: Lesson) -> Callable[[float], None]:
        return lambda now: ours.order.expect_stop(one, now, one.stops)

    return [(max(one.starts, 0.0) + 1e-3, n, expect(one)) for n, one in enumerate(lessons)]


def running_list(ours: Ours, lessons: list[Lesson], until_finished: bool) -> list[Event]:
    """Return readings of the list of running tasks, every five seconds at the soonest.

    A page holds 500 tasks, and pages are read at the pace of that action's quota.
    """
    arrivals = deque(enumerate(lessons))
    leaving: list[tuple[float, int, Lesson]] = []

    def read(now: float) -> float:
        seen = now - len(leaving) / 500 / PACE
        while arrivals and arrivals[0][1].starts <= seen:
            number, one = arrivals.popleft()
            leaves = one.finishes if until_finished else one.stops
            if leaves > seen and not one.found:
                ours.order.set_listed(one, now, True)
                heapq.heappush(leaving, (leaves, number, one))
        left = []
        while leaving and leaving[0][0] <= seen:
            left.append(heapq.heappop(leaving)[1:])
        # What has left since the last reading is noticed in the order of the list.
        for _, one in sorted(left, key=lambda entry: entry[0]):
            if not one.found:
                ours.order.set_listed(one, now, False)
        return now + 5.0 + len(leaving) / 500 / PACE

    return [(0.0, 0, read)]


def after_an_outage(count: int, seed: int) -> float:
    """Return how long it takes to poll all after ten minutes without polls, over N / pace."""
    lessons = steady(count, seed)
    begin, end = 5400.0, 6000.0
    polled: set[int] = set()
    waiting = {id(one) for one in lessons if one.starts <= begin}

    class Watching(Ours):
        def choose(self, now: float) -> Lesson | None:
            chosen = super().choose(now)
            if now >= end and chosen is not None:
                polled.add(id(chosen))
                if not done and not waiting - found - polled:
                    done.append(now)
            return chosen

    done: list[float] = []
    found: set[int] = set()
    ours = Watching()

    def recovered(now: float) -> None:
        found.update(id(one) for one in lessons if one.found)
        ours.order.catch_up(now)
        alive.append(len(waiting - found))

    alive: list[int] = []
    events: list[Event] = [(end, 0, recovered)]
    run(ours, lessons, events=events, outage=(begin, end), until=end + 3 * count / PACE)
    return (done[0] - end) / (alive[0] / PACE)


Job = tuple[str, str, int, int]
"""A load, an order's name, how many waits, and the seed."""

# What drives the lessons: an order and events.
Driver = Callable[[list[Lesson], int], tuple[Order, list[Event]]]


def _plain(make: Callable[[], Order]) -> Driver:
    return lambda lessons, seed: (make(), [])


def _hinted(hints: Callable[[Ours, list[Lesson], int], list[Event]]) -> Driver:
    def drive(lessons: list[Lesson], seed: int) -> tuple[Order, list[Event]]:
        ours = Ours()
        return ours, hints(ours, lessons, seed)

    return drive


ORDERS: dict[str, Driver] = {
    FIXED: _plain(lambda: FixedInterval(60)),
    ROUND_ROBIN: _plain(lambda: FixedInterval(0)),
    EVERY_5_S: _plain(lambda: FixedInterval(5)),
    "two rings": _plain(lambda: Ours(two_rings())),
    KNOWS: _plain(lambda: Ours(omniscient())),
    OURS: _plain(Ours),
    OURS_5_S: _plain(lambda: Ours(None, 5.0)),
    UNBOUNDED: _plain(lambda: Ours(without_the_bound())),
    "ours, priors wrong by 4": _plain(lambda: Ours(wrong_priors())),
    CALLBACKS: _hinted(callbacks),
    "ours, 1 % of callbacks lost": _hinted(
        lambda ours, lessons, seed: callbacks(ours, lessons, seed, 0.01)
    ),
    TO_FINISHED: _hinted(lambda ours, lessons, _: running_list(ours, lessons, True)),
    TO_STOPPED: _hinted(lambda ours, lessons, _: running_list(ours, lessons, False)),
    "ours, stop times known": _hinted(lambda ours, lessons, _: known_stops(ours, lessons)),
}
# The orders for the figures with a target, and those for 50,000 waits and bursts.
QUICK = {
    1000: (FIXED, ROUND_ROBIN, KNOWS, OURS),
    10_000: (FIXED, ROUND_ROBIN, KNOWS, OURS, CALLBACKS, TO_FINISHED, TO_STOPPED),
}
MANY = (FIXED, ROUND_ROBIN, KNOWS, OURS, CALLBACKS, TO_FINISHED, TO_STOPPED)
BURST = (FIXED, ROUND_ROBIN, "two rings", KNOWS, OURS, TO_FINISHED, TO_STOPPED)
# The other workloads, with the number of their waits.
TIMETABLES = (
    "timetable",
    "timetable, a queue of 25/s",
    "timetable, a queue of 15/s",
    "timetable, a queue of 15/s, stops within 60 s",
)
OTHERS = (
    ("heavy tails", 1000),
    ("heavy tails", 10_000),
    ("mixed kinds", 3000),
    ("slower and slower", 3000),
    ("restart", 10_000),
    *((name, 10_000) for name in TIMETABLES),
)
TIMETABLE = (ROUND_ROBIN, OURS, TO_STOPPED)
# Those with a target, which all seeds must meet, and the others.
COMPARED = {
    (ROUND_ROBIN, OURS, UNBOUNDED, TO_STOPPED): (1, 2, 3),
    (FIXED, CALLBACKS, TO_FINISHED): (1,),
}
FEW = ("few", "few, processed in 40 s", "few, processed in 1 to 4 s")
# Some numbers of few waits, with the seeds that give about 1,500 lessons.
FEW_WAITS = {1: range(1, 61), 3: range(1, 21), 20: range(1, 4)}


def simulate(job: Job) -> Result:
    """Run one order on one set of lessons."""
    load, name, count, seed = job
    workload = WORKLOADS[load]
    lessons = workload.make(count, seed)
    order, events = ORDERS[name](lessons, seed)
    return run(order, lessons, measured=workload.measured, events=events)


def jobs(full: bool) -> list[Job]:
    """Return what is to be simulated."""
    few_jobs = [
        (load, name, count, seed)
        for count in (FEW_WAITS if full else (3,))
        for load in FEW
        for name in (EVERY_5_S, OURS_5_S)
        for seed in FEW_WAITS[count]
    ]
    if not full:
        return [
            *(("steady", name, count, 1) for count in QUICK for name in QUICK[count]),
            *(("heavy tails", name, 10_000, 1) for name in (OURS, UNBOUNDED)),
            *((load, name, 10_000, 1) for load in TIMETABLES for name in TIMETABLE),
            *few_jobs,
        ]
    seeds = (1, 2, 3)
    steady_orders = [name for name in ORDERS if name != EVERY_5_S]
    return [
        *(
            ("steady", name, count, one)
            for count in QUICK
            for name in steady_orders
            for one in seeds
        ),
        *(("burst", name, count, seed) for count in QUICK for name in BURST for seed in seeds),
        *(("steady", name, 50_000, 1) for name in MANY),
        *(("burst", name, 50_000, 1) for name in BURST),
        *(
            (load, name, count, one)
            for load, count in OTHERS
            for names, some in COMPARED.items()
            for name in names
            for one in some
        ),
        *few_jobs,
    ]


def _recovery(seed: int) -> float:
    return after_an_outage(10_000, seed)


def _leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@dataclass
class Table:
    """The results of all seeds, and the figures from them."""

    cells: dict[tuple[str, str, int], list[Result]] = field(default_factory=dict)

    def fill(self, todo: list[Job], results: Iterable[Result]) -> None:
        """Collect the results of the jobs, and print a line for each order."""
        for number, (job, result) in enumerate(zip(todo, results, strict=True)):
            load, name, count, _ = job
            cell = self.cells.setdefault(job[:3], [])
            cell.append(result)
            if number + 1 < len(todo) and todo[number + 1][:3] == job[:3]:
                continue
            report_row("workloads", self.row(load, name, count))

    def row(self, load: str, name: str, count: int) -> dict[str, str]:
        """Return the delays of an order on a workload, and what they cost."""
        cell = self.cells[load, name, count]
        delays = sorted(delay for result in cell for delay in result.delays)
        requests = sum(result.requests for result in cell)
        return {
            "lessons": load,
            "waits": f"{count:,}",
            "order": name,
            "mean, s": f"{statistics.fmean(delays):.1f}",
            "p95": f"{delays[int(0.95 * len(delays))]:.1f}",
            "p99.9": f"{delays[int(0.999 * len(delays))]:.1f}",
            "longest": f"{delays[-1]:.1f}",
            "longest unpolled": f"{max(result.longest_gap_s for result in cell):.0f}",
            "requests for each": f"{requests / len(delays):.1f}",
            "seeds": f"{len(cell)}",
        }

    def mean(self, load: str, name: str, count: int) -> float:
        """Return the mean over the seeds of the mean delay."""
        return statistics.fmean(result.mean for result in self.cells[load, name, count])

    def p95(self, load: str, name: str, count: int) -> float:
        """Return the mean over the seeds of the 95th percentile."""
        return statistics.fmean(result.p95 for result in self.cells[load, name, count])

    def seeds(self, load: str, count: int, name: str = OURS) -> str:
        """Return the description of the seeds."""
        number = len(self.cells[load, name, count])
        return "simulated, seed 1" if number == 1 else f"simulated, seeds 1 to {number}"

    def ratio(
        self, what: str, load: str, count: int, name: str, other: str, most: float | None
    ) -> Figure:
        """Return the mean delay of an order, divided by that of another one."""
        mean, others = self.mean(load, name, count), self.mean(load, other, count)
        how = f"{self.seeds(load, count, name)}; {mean:.1f} and {others:.1f} s"
        pairs = list(zip(*(self.cells[load, one, count] for one in (name, other)), strict=True))
        if len(pairs) > 1:
            how += f"; the worst seed {max(one.mean / two.mean for one, two in pairs):.3f}"
        label = f"{load}, {count:,} waits"
        return Figure(f"{what}, {label}: {name} / {other}", mean / others, most, how)

    def both(self, one: str, other: str) -> list[tuple[str, int]]:
        """Return the workloads and numbers of waits that two orders have in common."""
        sizes = dict.fromkeys((load, count) for load, _, count in self.cells)
        return [
            (load, count)
            for load, count in sizes
            if {(load, one, count), (load, other, count)} <= self.cells.keys()
        ]


def figures(table: Table) -> list[Figure]:
    """Return the ratios that have a target."""
    found = []
    for count, mean, p95, known in ((1000, 0.13, 0.13, 1.4), (10_000, 0.35, 0.50, 1.1)):
        ours, fixed = table.mean("steady", OURS, count), table.mean("steady", FIXED, count)
        index = table.mean("steady", KNOWS, count)
        late, fixed_late = (table.p95("steady", name, count) for name in (OURS, FIXED))
        label, how = f"{count // 1000}k waits", table.seeds("steady", count)
        found += [
            Figure(
                f"G3 mean delay, {label}: ours / fixed 60 s with a bucket",
                ours / fixed,
                mean,
                f"{how}; {ours:.1f} and {fixed:.1f} s",
            ),
            Figure(
                f"G4 p95 delay, {label}: ours / fixed 60 s with a bucket",
                late / fixed_late,
                p95,
                f"{how}; {late:.1f} and {fixed_late:.1f} s",
            ),
            Figure(
                f"G5 mean delay, {label}: ours / the index that knows the hazards",
                ours / index,
                known,
                f"{how}; {ours:.1f} and {index:.1f} s",
            ),
        ]
    for name, target in ((CALLBACKS, 0.02), (TO_FINISHED, 0.02), (TO_STOPPED, 0.10)):
        hinted, around = (table.mean("steady", one, 10_000) for one in (name, ROUND_ROBIN))
        found.append(
            Figure(
                f"G6 mean delay, 10k waits, {name.removeprefix('ours, ')}: ours / round robin",
                hinted / around,
                target,
                f"{table.seeds('steady', 10_000)}; {hinted:.1f} and {around:.1f} s",
            )
        )
    return found


def bound_figures(table: Table) -> list[Figure]:
    """Return what the bound on the time without a poll costs, and what it gains."""
    found = [
        table.ratio("G19 mean delay", load, count, OURS, UNBOUNDED, 1.05)
        for load, count in table.both(OURS, UNBOUNDED)
    ]
    late, free_late = (
        statistics.fmean(one.quantile(0.999) for one in table.cells["heavy tails", name, 10_000])
        for name in (OURS, UNBOUNDED)
    )
    found.append(
        Figure(
            f"G19 p99.9 delay, heavy tails, 10,000 waits: {OURS} / {UNBOUNDED}",
            late / free_late,
            0.955,
            f"{table.seeds('heavy tails', 10_000)}; {late:.0f} and {free_late:.0f} s",
        )
    )
    for load, count in (("steady", 10_000), ("heavy tails", 10_000)):
        cell = table.cells[load, OURS, count]
        result = max(cell, key=lambda one: one.longest_gap_s * PACE / one.most_waits)
        found.append(
            Figure(
                f"G19 longest time between two polls, {load}, {count:,} waits / (N / pace)",
                result.longest_gap_s * PACE / result.most_waits,
                2.5,
                f"{table.seeds(load, count)}; {result.longest_gap_s:.0f} s, its rest included, "
                f"N at most {result.most_waits}",
            )
        )
    return found


def list_figures(table: Table) -> list[Figure]:
    """Return what the list of running tasks gains where it holds no STOPPED recordings."""
    how = "G20 mean delay"
    return [
        *(
            table.ratio(
                how, load, 10_000, TO_STOPPED, ROUND_ROBIN, 0.5 if "queue" in load else 0.92
            )
            for load in TIMETABLES
        ),
        *(
            table.ratio(how, load, count, TO_STOPPED, OURS, 1.0)
            for load, count in table.both(TO_STOPPED, OURS)
        ),
    ]


def few_figures(table: Table) -> list[Figure]:
    """Return what few recordings cost, and whether they are found as early as by a timer."""
    found = []
    for load, count in table.both(OURS_5_S, EVERY_5_S):
        found.append(table.ratio("G21 mean delay", load, count, OURS_5_S, EVERY_5_S, 1.1))
        requests, timer = (
            sum(result.requests for result in table.cells[load, name, count])
            for name in (OURS_5_S, EVERY_5_S)
        )
        found.append(
            Figure(
                f"G21 requests, {load}, {count} waits: {OURS_5_S} / {EVERY_5_S}",
                requests / timer,
                0.3 if load == "few" else None,
                f"{table.seeds(load, count, OURS_5_S)}; {requests} and {timer}",
            )
        )
    return found


def more_figures(table: Table) -> list[Figure]:
    """Return the ratios of bursts and of 50,000 waits, which have no target."""
    loads = [("burst", count) for count in (1000, 10_000, 50_000)] + [("steady", 50_000)]
    found = []
    for load, count in loads:
        label = f"{count // 1000}k {'starts within 10 min' if load == 'burst' else 'waits'}"
        pairs = [(OURS, FIXED), (OURS, KNOWS), (TO_FINISHED, FIXED), (TO_STOPPED, FIXED)]
        for name, other in pairs:
            mean, others = table.mean(load, name, count), table.mean(load, other, count)
            found.append(
                Figure(
                    f"{label}, mean delay: {name} / {other}",
                    mean / others,
                    None,
                    f"{table.seeds(load, count)}; {mean:.1f} and {others:.1f} s",
                )
            )
    return found


def draw(table: Table, folder: Path) -> None:
    """Write the charts that docs/performance.md shows."""
    folder.mkdir(parents=True, exist_ok=True)
    titles = {
        "steady": "Mean delay from FINISHED to the answer, {:,} waits on 19 requests a second",
        "burst": "Mean delay, {:,} starts within ten minutes on 19 requests a second",
    }
    files = {"steady": "simulated-delay", "burst": "simulated-burst"}
    sizes = dict.fromkeys(
        (load, count)
        for load, _, count in table.cells
        if load == "steady" or (load, count) == ("burst", 10_000)
    )
    for load, count in sizes:
        rows = [
            (name, table.mean(load, name, count))
            for cell_load, name, size in table.cells
            if (cell_load, size) == (load, count)
        ]
        path = folder / f"{files[load]}-{count // 1000}k.svg"
        bars(path, titles[load].format(count), "seconds", rows, OURS)
    names = (OURS, FIXED, CALLBACKS, TO_FINISHED, TO_STOPPED)
    lines = {
        name: table.cells["steady", name, 10_000][0].delays
        for name in names
        if ("steady", name, 10_000) in table.cells
    }
    if lines:
        shares(
            folder / "simulated-delays-10k.svg",
            "Share of recordings found within x, 10,000 waits on 19 requests a second",
            "seconds from FINISHED to the answer",
            lines,
        )


def main() -> int:
    """Print the delays of each order and the ratios; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="three seeds, bursts, 50,000 waits")
    parser.add_argument("--plots", type=Path, help="write the charts into this folder")
    options = parser.parse_args()
    table = Table()
    todo, seeds = jobs(options.full), [1, 2, 3] if options.full else [1]
    with multiprocessing.Pool(os.cpu_count(), _leave_interrupts_to_the_parent) as pool:
        table.fill(todo, pool.imap(simulate, todo))
        recoveries = pool.map(_recovery, seeds)
    if options.plots:
        draw(table, options.plots)
    return report(
        *figures(table),
        *bound_figures(table),
        *list_figures(table),
        *few_figures(table),
        *(more_figures(table) if options.full else ()),
        Figure(
            "G18 after an outage, 10k waits, simulated: until all were polled / (N / rate)",
            max(recoveries),
            1.05,
            f"{table.seeds('steady', 10_000)}, the worst",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
