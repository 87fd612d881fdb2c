# SPDX-License-Identifier: Apache-2.0
"""Orders of asking, compared on simulated lessons; ours is the one that the watcher uses.

A discrete-event simulation with fixed seeds. A lesson is RECORDING for a lognormal time (median
45 min, sigma 0.5), then STOPPED for another one (median 4.5 min, sigma 0.5); it is waited for from
its start, and the delay is the time from FINISHED to the answer that says so. Requests leave at
the pace of the quota, 19 a second, and are answered at once.

Every order sees the same lessons. The alternatives:

* a timer of 60 s for each wait, in front of the same pace;
* round robin: whoever was asked longest ago;
* the index that knows the two distributions, which nobody can.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
import sys
from bisect import insort
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from report import Figure, report

from tiw_automation.core.durations import Durations, Processing
from tiw_automation.core.order import Place, PollOrder, Stage

PACE = 19.0
RECORDING_MEDIAN_S, PROCESSING_MEDIAN_S, SIGMA = 45 * 60.0, 4.5 * 60.0, 0.5
MEAN_LIFE_S = (RECORDING_MEDIAN_S + PROCESSING_MEDIAN_S) * math.exp(SIGMA**2 / 2)
WARM_UP_S = 2.5 * 3600.0
MEASURED_S = 2 * 3600.0
LONGEST_S = 24 * 3600.0


@dataclass(slots=True, eq=False)
class Lesson(Place):
    """One recording: when it starts, stops and is FINISHED."""

    starts: float
    stops: float
    finishes: float
    told_at: float | None = None
    due: float = 0.0

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

    rates = []
    for number, start in enumerate(edges):
        end = edges[number + 1] if number + 1 < len(edges) else start * 1.5
        one, two = survival(start), survival(end)
        # So late that nobody is left: the hazard just before stands for it.
        rates.append(math.log(one / two) / (end - start) if two > 1e-12 else rates[-1])
    return rates


class _Known(Durations):
    def rebuild(self) -> None:
        self._prior_events = 1e9
        super().rebuild()


def omniscient() -> PollOrder[Lesson]:
    """Return the index that knows how long lessons and their processing last, in fine rings."""
    recording = Durations([60.0 * n for n in range(6 * 60)], 3060.0)
    recording.know(_lognormal_rates(recording.edges, RECORDING_MEDIAN_S))
    processing = Processing([15.0 * n for n in range(4 * 60)], 300.0)
    processing.know(_lognormal_rates(processing.edges, PROCESSING_MEDIAN_S))
    return PollOrder(pace=PACE, recording=recording, processing=processing, learns=False)


@dataclass
class Result:
    """What an order achieved on one set of lessons."""

    delays: list[float]
    requests_each: float
    longest_gap_s: float

    @property
    def mean(self) -> float:
        """The mean delay in seconds."""
        return statistics.fmean(self.delays)

    @property
    def p95(self) -> float:
        """The delay that 95 % stay under."""
        return sorted(self.delays)[int(0.95 * len(self.delays))]


Hints = Callable[[Order, list[Lesson], random.Random], list[tuple[float, Callable[[float], None]]]]


def steady(count: int, seed: int) -> list[Lesson]:
    """Return lessons that begin at random, so that about ``count`` are waited for at any time."""
    chance = random.Random(seed)
    lessons = []
    now = -3 * 3600.0
    while (now := now + chance.expovariate(count / MEAN_LIFE_S)) < WARM_UP_S + MEASURED_S + 1800:
        stops = now + min(chance.lognormvariate(math.log(RECORDING_MEDIAN_S), SIGMA), LONGEST_S)
        done = stops + chance.lognormvariate(math.log(PROCESSING_MEDIAN_S), SIGMA)
        if done > 0:
            lessons.append(Lesson(now, stops, done))
    return lessons


def burst(count: int, seed: int) -> list[Lesson]:
    """Return lessons that begin within ten minutes."""
    chance = random.Random(seed)
    lessons = []
    for now in sorted(chance.uniform(0, 600) for _ in range(count)):
        stops = now + min(chance.lognormvariate(math.log(RECORDING_MEDIAN_S), SIGMA), LONGEST_S)
        done = stops + chance.lognormvariate(math.log(PROCESSING_MEDIAN_S), SIGMA)
        lessons.append(Lesson(now, stops, done))
    return lessons


def run(
    order: Order,
    lessons: list[Lesson],
    *,
    since: float = 0.0,
    until: float = math.inf,
    events: list[tuple[float, int, Callable[[float], None]]] | None = None,
) -> Result:
    """Drive an order until every lesson that finishes from ``since`` to ``until`` was found."""
    happenings = list(events or [])
    heapq.heapify(happenings)
    awaited = sum(since <= lesson.finishes < until for lesson in lessons)
    delays: list[float] = []
    requests = 0
    now = 0.0
    coming = 0
    while len(delays) < awaited:
        while coming < len(lessons) and lessons[coming].starts <= now:
            order.begin(lessons[coming], now)
            coming += 1
        while happenings and happenings[0][0] <= now:
            heapq.heappop(happenings)[2](now)
        lesson = order.choose(now)
        if lesson is None:
            times = [order.next_time(now)]
            if coming < len(lessons):
                times.append(lessons[coming].starts)
            if happenings:
                times.append(happenings[0][0])
            now = max(now + 1e-3, min(time for time in times if time is not None))
            continue
        measured = now >= since
        requests += measured
        if now >= lesson.finishes:
            lesson.told_at = now
            if since <= lesson.finishes < until:
                delays.append(now - lesson.finishes)
            order.over(lesson, now)
        else:
            order.again(lesson, now)
        now += 1 / PACE
    return Result(delays, requests / awaited, 0.0)


def main() -> int:
    import time
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--poll", type=float, default=1.0)
    parser.add_argument("--which", default="fixed,rr,known,ours")
    a = parser.parse_args()
    for name in a.which.split(","):
        order = {"fixed": lambda: FixedInterval(60), "rr": lambda: FixedInterval(0.0), "known": lambda: Ours(omniscient(), a.poll), "ours": lambda: Ours(None, a.poll)}[name]()
        t = time.time()
        r = run(order, steady(a.n, a.seed), since=WARM_UP_S, until=WARM_UP_S + MEASURED_S)
        print(f"{name:8} mean {r.mean:8.2f} p95 {r.p95:8.2f} req {r.requests_each:7.1f} n {len(r.delays)} wall {time.time()-t:.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
