# SPDX-License-Identifier: Apache-2.0
"""How long the order leaves a recording unpolled, and what it learns, on a simulated clock."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable

import pytest

from tiw_automation.core.waiting.poll_order import Place, PollOrder, Stage

PACE = 19.0
BOUND = 2.5
"""A recording that can be polled is polled within so many times N / pace."""

Times = tuple[float, float]
"""How long a recording lasts, and its processing, in seconds."""
Kind = Callable[[random.Random], Times]


class Wait(Place):
    def __init__(self, stops: float, finishes: float) -> None:
        super().__init__()
        self.stops, self.finishes = stops, finishes
        # Since when it can be polled.
        self.ready = 0.0

    def stage_at(self, now: float) -> Stage:
        if now >= self.finishes:
            return Stage.FINISHED
        return Stage.STOPPED if now >= self.stops else Stage.ACTIVE


class Timeline:
    """Polls at the pace, and records how long each place could have been polled."""

    def __init__(self, seed: int = 1, poll_interval: float = 1.0) -> None:
        self.polls: PollOrder[Wait] = PollOrder(pace=PACE)
        self.chance = random.Random(seed)
        self.now = 1000.0
        self.waits: dict[Wait, None] = {}
        self.poll_interval = poll_interval
        self.longest = 0.0
        self.delays: list[float] = []

    def add(self, count: int, kind: Kind) -> list[Wait]:
        added = []
        for _ in range(count):
            lasts, processing = kind(self.chance)
            wait = Wait(self.now + lasts, self.now + lasts + processing)
            wait.ready = self.now
            self.polls.add(wait, self.now)
            self.waits[wait] = None
            added.append(wait)
        return added

    def remove(self, waits: Iterable[Wait]) -> None:
        for wait in waits:
            self.polls.remove(wait)
            del self.waits[wait]

    def poll(self) -> Wait | None:
        """Poll once; a slot later."""
        self.now += 1 / PACE
        wait = self.polls.pop(self.now)
        if wait is None:
            return None
        rounds = (self.now - wait.ready) * PACE / len(self.polls)
        self.longest = max(self.longest, rounds)
        stage = wait.stage_at(self.now)
        self.polls.answered(wait, self.now, stage, poll_interval=self.poll_interval)
        if stage is Stage.FINISHED:
            self.delays.append(self.now - wait.finishes)
            self.remove([wait])
        else:
            due = [entry[0] for entry in self.polls._resting if entry[2] is wait]
            wait.ready = due[0] if due else self.now
        return wait

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.poll()


def heavy_tailed(chance: random.Random) -> Times:
    return 60.0 * chance.paretovariate(0.8), chance.lognormvariate(4.0, 1.0)


def endless(chance: random.Random) -> Times:
    return math.inf, math.inf


def processed_forever(chance: random.Random) -> Times:
    return chance.uniform(0.0, 600.0), math.inf


def mixed(chance: random.Random) -> Times:
    return chance.choice([heavy_tailed, endless, processed_forever])(chance)


@pytest.mark.parametrize("kind", [heavy_tailed, mixed], ids=lambda kind: kind.__name__)
def test_many_that_are_added_at_once_are_polled_within_the_bound(kind: Kind) -> None:
    timeline = Timeline()
    timeline.add(600, kind)
    end = timeline.now + 500.0
    while timeline.now < end:
        timeline.poll()
        timeline.add(600 - len(timeline.waits), kind)
    assert timeline.longest <= BOUND


def test_a_few_among_a_hundred_times_as_many_that_are_new_are_polled_within_the_bound() -> None:
    timeline = Timeline()
    few = timeline.add(10, endless)
    timeline.run(200.0)
    timeline.add(990, mixed)
    last = dict.fromkeys(few, timeline.now)
    timeline.run(2 * BOUND * 1000 / PACE)
    assert timeline.longest <= BOUND
    assert all(wait.polled_at > last[wait] for wait in few)


def test_when_few_of_many_are_left_each_is_polled_within_the_new_bound() -> None:
    timeline = Timeline()
    timeline.add(1000, mixed)
    timeline.run(150.0)
    left = list(timeline.waits)[::100]
    timeline.remove([wait for wait in timeline.waits if wait not in left])
    began = timeline.now
    for wait in left:
        wait.ready = max(wait.ready, began)
    timeline.longest = 0.0
    # They rest for as long as many did.
    timeline.run(60.0)
    assert timeline.longest <= BOUND
    assert all(wait.polled_at >= began for wait in left if wait in timeline.waits)


@pytest.mark.parametrize("jump", [3600.0, 86400.0 * 30, 0.3, -0.3, -30.0])
def test_after_a_jump_of_the_clock_each_is_polled_within_the_bound(jump: float) -> None:
    timeline = Timeline()
    timeline.add(300, mixed)
    timeline.run(120.0)
    timeline.now += jump
    began = timeline.now
    timeline.run(max(-jump, 0.0) + timeline.poll_interval + BOUND * 300 / PACE)
    assert all(wait.polled_at >= began for wait in timeline.waits)


def test_hints_for_most_leave_the_others_within_the_share_of_safety_polls() -> None:
    timeline = Timeline()
    waits = timeline.add(100, endless)
    timeline.run(20.0)
    hinted, quiet = waits[:90], waits[90:]
    began = timeline.now
    end = began + 100 / (0.05 * PACE)
    while timeline.now < end:
        for wait in hinted:
            timeline.polls.hint(wait, timeline.now)
        timeline.poll()
    assert all(wait.polled_at > began for wait in quiet)


def hour(timeline: Timeline, count: int, finishes: Callable[[int], float]) -> None:
    """Let ``count`` recordings stop at once and leave the list; poll until all are FINISHED."""
    waits = timeline.add(count, endless)
    for _ in waits:
        timeline.poll()
    for wait in waits:
        timeline.polls.set_listed(wait, timeline.now, True)
    timeline.run(10.0)
    stopped = timeline.now
    for number, wait in enumerate(waits):
        wait.stops, wait.finishes = stopped, stopped + finishes(number)
        timeline.polls.set_listed(wait, timeline.now, False)
    # Those of the last hour show nothing about this one.
    timeline.delays.clear()
    while timeline.waits:
        timeline.poll()


def test_a_queue_and_independent_times_are_learned_and_learned_anew_when_they_change() -> None:
    timeline = Timeline()
    chance = random.Random(2)
    leavers = timeline.polls._leavers
    found = []
    for is_queue in (True, False, True, False):
        if is_queue:
            hour(timeline, 700, lambda number: number / 10.0)
        else:
            hour(timeline, 700, lambda number: chance.uniform(0.0, 120.0))
        found.append((leavers.is_queue, sum(timeline.delays) / len(timeline.delays)))
    assert [is_queue for is_queue, _ in found] == [True, False, True, False]
    # Round robin takes 700 / pace / 2 = 18 s in the mean.
    assert found[2][1] < 10.0
    assert found[3][1] < 22.0


def test_a_queue_that_leaves_in_another_order_than_it_processes_is_no_queue() -> None:
    timeline = Timeline()
    hour(timeline, 700, lambda number: (700 - number) / 10.0)
    assert not timeline.polls._leavers.is_queue


def parked(count: int = 300) -> tuple[Timeline, list[Wait]]:
    """Return recordings that are on the list, so that they have safety polls only."""
    timeline = Timeline()
    waits = timeline.add(count, endless)
    timeline.run(2 * count / PACE)
    for wait in waits:
        timeline.polls.set_listed(wait, timeline.now, True)
    timeline.run(20.0)
    return timeline, waits


def test_when_the_list_is_not_read_any_more_each_is_polled_within_the_bound() -> None:
    timeline, waits = parked()
    began = timeline.now
    for wait in waits:
        timeline.polls.unlist(wait, timeline.now)
    timeline.run(BOUND * len(waits) / PACE)
    assert all(wait.polled_at >= began for wait in waits)


def test_one_that_the_list_shows_without_end_is_found_by_safety_polls() -> None:
    timeline, waits = parked(100)
    for wait in waits:
        wait.stops = wait.finishes = timeline.now
    timeline.run(100 / (0.05 * PACE) + 20.0)
    assert len(timeline.delays) == 100


def test_a_list_that_flickers_loses_no_recording() -> None:
    timeline, waits = parked(100)
    listed = False
    for second in range(60):
        for wait in waits[second % 2 :: 2]:
            timeline.polls.set_listed(wait, timeline.now, listed)
        listed = not listed
        timeline.run(1.0)
    for wait in waits:
        timeline.polls.unlist(wait, timeline.now)
    began = timeline.now
    timeline.run(BOUND * 100 / PACE + 1.0)
    assert all(wait.polled_at >= began for wait in waits)
    assert len(timeline.polls) == 100


def test_few_waits_that_become_many_rest_no_longer_than_before() -> None:
    timeline = Timeline(poll_interval=5.0)
    few = timeline.add(2, endless)
    timeline.run(60.0)
    before = len(timeline.polls)
    timeline.add(300, endless)
    began = timeline.now
    timeline.run(60.0)
    assert before == 2
    assert all(wait.polled_at >= began for wait in few)


def test_a_processing_time_that_becomes_short_is_learned_from_a_few_recordings() -> None:
    timeline = Timeline(poll_interval=5.0)
    delays = []
    for number in range(30):
        took = 300.0 if number < 10 else 4.0
        timeline.add(1, lambda chance: (600.0 + chance.uniform(0.0, 60.0), took))  # noqa: B023
        timeline.delays.clear()
        while timeline.waits:
            timeline.poll()
        delays += timeline.delays
    assert max(delays) <= 60.0
    # A timer of 5 s has 2.5 s in the mean and 5 s at most.
    assert sum(delays[15:]) / len(delays[15:]) <= 5.0
