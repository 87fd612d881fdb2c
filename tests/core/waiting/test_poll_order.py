# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import math
import random
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tiw_automation.core.waiting.durations import (
    Durations,
    Processing,
    processing_durations,
    recording_durations,
)
from tiw_automation.core.waiting.poll_order import (
    MOST_ROUNDS,
    SAFETY_SHARE,
    Place,
    PollOrder,
    Stage,
)

PACE = 19.0


class Wait(Place):
    __slots__ = ("name",)

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name

    def __repr__(self) -> str:
        return f"Wait({self.name!r})"


def order(**given: Any) -> PollOrder[Wait]:
    return PollOrder(pace=PACE, **given)


def added(polls: PollOrder[Wait], count: int, now: float = 0.0) -> list[Wait]:
    waits = [Wait(str(number)) for number in range(count)]
    for wait in waits:
        polls.add(wait, now)
    return waits


def seen(polls: PollOrder[Wait], wait: Wait, now: float, stage: Stage, **more: Any) -> None:
    assert polls.pop(now) is wait
    polls.answered(wait, now, stage, **more)


def test_unseen_recordings_are_polled_in_the_order_in_which_they_were_added() -> None:
    polls = order()
    waits = added(polls, 100)
    assert [polls.pop(n / PACE) for n in range(100)] == waits
    assert polls.pop(10) is None
    assert len(polls) == 100


def test_no_recording_is_polled_before_its_time() -> None:
    polls = order()
    late, soon = Wait("late"), Wait("soon")
    polls.add(late, 0.0, not_before=30.0)
    polls.add(soon, 0.0, not_before=10.0)
    assert polls.next_due(0.0) == 10.0
    assert polls.pop(9.9) is None
    assert polls.pop(10.0) is soon
    assert polls.next_due(11.0) == 30.0
    polls.bring_forward(late, 11.0, 0.0)
    assert polls.pop(11.0) is late


def test_an_answer_is_followed_by_a_rest() -> None:
    polls = order()
    (wait,) = added(polls, 1)
    seen(polls, wait, 0.0, Stage.STOPPED, poll_interval=5.0)
    assert polls.next_due(0.0) == 5.0
    assert polls.pop(4.9) is None
    assert polls.pop(5.0) is wait


def test_few_are_polled_every_poll_interval_and_many_active_ones_less_often() -> None:
    few = order()
    (wait,) = added(few, 1)
    seen(few, wait, 0.0, Stage.ACTIVE, poll_interval=5.0, started_ago=60.0)
    assert few.next_due(0.0) == 5.0
    many = order()
    waits = added(many, 400)
    seen(many, waits[0], 0.0, Stage.ACTIVE, poll_interval=5.0, started_ago=60.0)
    for other in waits[1:]:
        many.remove(other)
    due = many.next_due(0.0)
    assert due is not None
    assert 20.0 < due <= 100.0


@pytest.mark.parametrize(
    ("took", "any_change", "least", "most"),
    [(300.0, False, 20.0, 60.0), (300.0, True, 5.0, 5.0), (3.0, False, 5.0, 5.0)],
)
def test_few_that_still_record_are_polled_a_few_times_in_a_short_processing_time(
    took: float, any_change: bool, least: float, most: float
) -> None:
    polls = order()
    now = 0.0
    for _ in range(12):
        (wait,) = added(polls, 1, now)
        seen(polls, wait, now, Stage.ACTIVE, started_ago=3000.0)
        seen(polls, wait, now + 1.0, Stage.STOPPED, stopped_ago=0.5)
        seen(polls, wait, now + took, Stage.STOPPED, stopped_ago=took)
        seen(polls, wait, now + took + 1.0, Stage.FINISHED, stopped_ago=took + 1.0)
        polls.remove(wait)
        now += 2000.0
    (wait,) = added(polls, 1, now)
    more = {"poll_interval": 5.0, "any_change": any_change, "started_ago": 60.0}
    seen(polls, wait, now, Stage.ACTIVE, **more)
    due = polls.next_due(now)
    assert due is not None
    assert least <= due - now <= most


def test_a_stopped_recording_comes_before_an_active_one_that_was_polled_earlier() -> None:
    polls = order()
    recording, stopped = added(polls, 2)
    seen(polls, recording, 0.0, Stage.ACTIVE, started_ago=1200.0)
    seen(polls, stopped, 10.0, Stage.STOPPED, stopped_ago=100.0)
    # The first poll in a while is a safety poll: of the longest unanswered.
    assert polls.pop(60.0) is recording
    polls.answered(recording, 60.0, Stage.ACTIVE, started_ago=1260.0)
    assert polls.pop(60.1) is stopped


def test_of_several_in_the_same_state_the_longest_unanswered_comes_first() -> None:
    polls = order()
    waits = added(polls, 3)
    for number, wait in enumerate(waits):
        seen(polls, wait, float(number), Stage.STOPPED, stopped_ago=100.0)
    assert [polls.pop(30.0 + number / PACE) for number in range(3)] == waits


def test_a_hinted_recording_is_polled_first_and_again_if_the_hint_came_too_soon() -> None:
    polls = order()
    waits = added(polls, 50)
    polls.pop(0.0)
    polls.hint(waits[40], 0.0)
    assert polls.pop(0.1) is waits[40]
    polls.answered(waits[40], 0.1, Stage.STOPPED, poll_interval=60.0)
    polled = {}
    now = 0.1
    while now < 30:
        now += 1 / PACE
        wait = polls.pop(now)
        if wait is waits[40]:
            polled[round(now - 0.1, 1)] = wait
        if wait is not None:
            polls.answered(wait, now, Stage.STOPPED, poll_interval=60.0)
    first, second = polled
    assert first == pytest.approx(2.0, abs=0.2)
    assert second == pytest.approx(7.0, abs=0.3)


def test_a_hint_during_the_request_is_not_lost() -> None:
    polls = order()
    (wait,) = added(polls, 1)
    assert polls.pop(0.0) is wait
    polls.hint(wait, 0.1)
    polls.answered(wait, 0.2, Stage.STOPPED, poll_interval=60.0)
    assert polls.next_due(0.2) == pytest.approx(0.7)


def test_a_flood_of_hints_causes_at_most_two_polls_a_second() -> None:
    polls = order()
    (wait,) = added(polls, 1)
    polled = 0
    for tick in range(1000):
        now = tick / 100
        polls.hint(wait, now)
        if polls.pop(now) is wait:
            polled += 1
            polls.answered(wait, now, Stage.STOPPED, poll_interval=60.0)
    assert polled <= 21


def test_safety_polls_keep_their_share_against_hints() -> None:
    """I3, I10."""
    polls = order()
    waits = added(polls, 200)
    hinted = waits[:150]
    quiet = set(waits[150:])
    polled = quiet_polled = 0
    now = 0.0
    while polled < 2000:
        now += 1 / PACE
        for wait in hinted:
            polls.hint(wait, now)
        chosen = polls.pop(now)
        if chosen is None:
            continue
        polled += 1
        quiet_polled += chosen in quiet
        polls.answered(chosen, now, Stage.ACTIVE, started_ago=600.0)
    # Hinted recordings get safety polls as well.
    assert quiet_polled >= 0.2 * SAFETY_SHARE * polled
    assert min(wait.polled_at for wait in quiet) > -math.inf


def test_a_recording_on_the_running_list_has_safety_polls_only_and_is_polled_when_it_leaves() -> (
    None
):
    polls = order()
    waits = added(polls, 40)
    for wait in waits:
        polls.set_listed(wait, 0.0, True)
    polled = 0
    now = 0.0
    while now < 100:
        now += 1 / PACE
        chosen = polls.pop(now)
        if chosen is not None:
            polled += 1
            polls.answered(chosen, now, Stage.ACTIVE, started_ago=now)
    assert polled == pytest.approx(100 * PACE * SAFETY_SHARE, rel=0.1)
    polls.set_listed(waits[7], now, False)
    assert waits[7] in (polls.pop(now + 1.0), polls.pop(now + 1.0))


@pytest.mark.parametrize("end", [Stage.STOPPED, Stage.FINISHED])
def test_what_leaving_the_list_means_is_learned(end: Stage) -> None:
    polls = order()
    waits = added(polls, 300)
    for number, wait in enumerate(waits):
        seen(polls, wait, number / PACE, Stage.ACTIVE, started_ago=0.0)
    now = len(waits) / PACE
    for wait in waits:
        polls.set_listed(wait, now, True)
    polled = []
    left = set()
    for wait in waits:
        now += 1.0
        polls.set_listed(wait, now, False)
        left.add(wait)
        chosen = [polls.pop(now + tick / PACE) for tick in range(3)]
        polled.append(wait in chosen)
        for one in filter(None, chosen):
            stage = end if one in left else Stage.ACTIVE
            polls.answered(one, now, stage, started_ago=now, stopped_ago=0.0)
    assert polled[0]
    if end is Stage.FINISHED:
        assert all(polled)
    else:
        # Only now and then, to check that it still means the same; the others count as STOPPED.
        assert 0 < sum(polled[50:]) < 60
        assert all(wait.stage is Stage.STOPPED for wait in waits[50:])


def in_a_queue() -> tuple[PollOrder[Wait], list[Wait], float]:
    """Return an order that has seen a queue, its waits that have left the list, and the time."""
    polls = order()
    waits = added(polls, 400)
    for number, wait in enumerate(waits):
        seen(polls, wait, number / PACE, Stage.ACTIVE, started_ago=0.0)
    now = 100.0
    for wait in waits:
        polls.set_listed(wait, now, True)
    for wait in waits:
        polls.set_listed(wait, now, False)
    polls._leavers._over_when_left = 0.0
    polls._leavers._share_in_order = 1.0
    polls._leavers.is_queue = True
    return polls, waits, now


def test_in_a_queue_none_is_polled_before_the_earliest_is_finished() -> None:
    polls, waits, now = in_a_queue()
    polled = []
    over = 0
    while over < 100:
        now += 1 / PACE
        # Ten are finished in each second.
        finished = set(waits[: int(10 * (now - 100.0))])
        wait = polls.pop(now)
        if wait is None:
            continue
        polled.append(wait)
        stage = Stage.FINISHED if wait in finished else Stage.STOPPED
        polls.answered(wait, now, stage, poll_interval=1.0)
        if stage is Stage.FINISHED:
            polls.remove(wait)
            over += 1
    # 100 are finished after 10 s.
    assert now < 100.0 + 13.0


def test_one_that_a_queue_has_lost_does_not_hold_up_the_others() -> None:
    polls, waits, now = in_a_queue()
    left = set(waits[1:])
    while left and now < 200.0:
        now += 1 / PACE
        wait = polls.pop(now)
        if wait is None:
            continue
        stage = Stage.STOPPED if wait is waits[0] else Stage.FINISHED
        polls.answered(wait, now, stage, poll_interval=5.0)
        if stage is Stage.FINISHED:
            polls.remove(wait)
            left.discard(wait)
    assert now < 100.0 + 400 / PACE + 10.0


def test_thousands_that_leave_the_list_at_once_do_not_hold_up_a_hint() -> None:
    polls = order()
    waits = added(polls, 3000)
    now = 1.0
    for wait in waits:
        seen(polls, wait, now, Stage.ACTIVE, started_ago=0.0)
    for wait in waits:
        polls.set_listed(wait, now, True)
    for wait in waits:
        polls.set_listed(wait, now, False)
    polls._leavers._over_when_left = 0.0
    polls.hint(waits[2900], now)
    polled = [polls.pop(now + number / PACE) for number in range(300)]
    assert waits[2900] in polled


def test_a_hint_is_not_lost_when_its_recording_leaves_the_list() -> None:
    polls = order()
    waits = added(polls, 50)
    now = 1.0
    for wait in waits:
        seen(polls, wait, now, Stage.ACTIVE, started_ago=0.0)
    polls.set_listed(waits[20], now, True)
    polls.hint(waits[20], now)
    polls.set_listed(waits[20], now, False)
    polls._leavers._over_when_left = 0.0
    assert waits[20] in (polls.pop(now + 1.0), polls.pop(now + 1.1))


def test_an_expected_stop_counts_as_stopped_from_its_time_on() -> None:
    polls = order()
    waits = added(polls, 30)
    for number, wait in enumerate(waits):
        seen(polls, wait, number / PACE, Stage.ACTIVE, started_ago=0.0)
    polls.expect_stop(waits[20], 2.0, at=600.0)
    # Before that time it has safety polls only.
    polled = [polls.pop(590.0 + n / 100) for n in range(29)]
    assert waits[20] not in polled
    for wait in filter(None, polled):
        polls.answered(wait, 590.2, Stage.ACTIVE, started_ago=590.0)
    assert waits[20] in (polls.pop(800.0), polls.pop(800.1))
    polls.answered(waits[20], 800.2, Stage.ACTIVE, started_ago=800.0)
    assert (waits[20].stop_at, waits[20].stage) == (None, Stage.ACTIVE)


def test_a_stop_by_this_process_moves_a_wait_at_once() -> None:
    polls = order()
    waits = added(polls, 30)
    for number, wait in enumerate(waits):
        seen(polls, wait, number / PACE, Stage.ACTIVE, started_ago=600.0)
    polls.expect_stop(waits[20], 2.0, at=2.0)
    polls.pop(250.0)
    assert polls.pop(250.1) is waits[20]


def test_after_an_outage_each_is_polled_once_before_any_is_polled_twice() -> None:
    """I3."""
    polls = order()
    chance = random.Random(1)
    waits = added(polls, 400)
    now = 0.0
    for _ in range(2000):
        now += 1 / PACE
        wait = polls.pop(now)
        if wait is not None:
            stage = chance.choice([Stage.ACTIVE, Stage.STOPPED])
            polls.answered(wait, now, stage, poll_interval=1.0)
    now += 600.0
    polls.catch_up(now)
    polled: list[Wait] = []
    while len(polled) < 400:
        now += 1 / PACE
        wait = polls.pop(now)
        assert wait is not None
        polled.append(wait)
        polls.answered(wait, now, wait.stage, poll_interval=1.0)
    assert set(polled) == set(waits)
    # And then the order is the usual one again.
    assert polls.pop(now + 1.0) is not None


def test_removed_places_are_gone_wherever_they_were() -> None:
    polls = order()
    waits = added(polls, 6)
    in_flight = polls.pop(0.0)
    assert in_flight is waits[0]
    polls.hint(waits[1], 0.0)
    polls.set_listed(waits[2], 0.0, True)
    assert polls.pop(0.1) is waits[1]
    polls.answered(waits[1], 0.1, Stage.STOPPED, poll_interval=50.0)
    for wait in waits:
        polls.remove(wait)
    assert len(polls) == 0
    assert polls.next_due(100.0) is None
    assert polls.pop(1000.0) is None


def test_places_that_come_and_go_leave_nothing_behind() -> None:
    polls = order()
    for number in range(5000):
        wait = Wait(str(number))
        polls.add(wait, 0.0, not_before=1e6)
        polls.remove(wait)
    assert len(polls._resting) < 200
    del wait
    gc.collect()
    assert sum(isinstance(item, Wait) for item in gc.get_objects()) < 200


def test_none_starves_whatever_the_others_are_worth() -> None:
    """I3."""
    polls = order()
    waits = added(polls, 300)
    slow = waits[150:]
    now = 0.0
    longest = 0.0
    last = dict.fromkeys(waits, 0.0)
    while now < 3000:
        now += 1 / PACE
        wait = polls.pop(now)
        if wait is None:
            continue
        longest = max(longest, now - last[wait])
        last[wait] = now
        # The worst case: half of them are always about to finish.
        if wait in slow:
            polls.answered(wait, now, Stage.ACTIVE, started_ago=1.0)
        else:
            polls.answered(wait, now, Stage.STOPPED, stopped_ago=400.0)
    longest = max(longest, *(now - time for time in last.values()))
    assert longest <= (MOST_ROUNDS + 0.25) * 300 / PACE


def test_durations_are_learned_from_what_is_seen() -> None:
    chance = random.Random(3)
    learned = Durations([60.0 * n for n in range(120)], mean_s=3060.0)
    for _ in range(3000):
        end = chance.gauss(1800.0, 120.0)
        learned.lasted(0.0, end)
        learned.ended(end)
    learned.rebuild()
    assert math.exp(-learned.hazard(1440.0)) > 0.9
    assert math.exp(-learned.hazard(1800.0)) == pytest.approx(0.5, abs=0.1)
    assert math.exp(-learned.hazard(2200.0)) < 0.1


def test_an_end_between_two_answers_is_spread_over_the_time_between() -> None:
    chance = random.Random(4)
    learned = processing_durations()
    for number in range(4000):
        end = chance.gauss(270.0, 30.0)
        at = 0.0
        # Polled about every 100 s.
        while True:
            step = chance.uniform(60.0, 140.0)
            if at + step >= end:
                break
            learned.lasted(at, at + step)
            at += step
        learned.ended_within(at, at + step)
        if number % 16 == 0:
            learned.rebuild()
    learned.rebuild()
    assert math.exp(-learned.hazard(210.0)) > 0.85
    assert math.exp(-learned.hazard(270.0)) == pytest.approx(0.5, abs=0.15)
    assert math.exp(-learned.hazard(360.0)) < 0.12


def test_a_poll_is_worth_the_expected_delay_that_it_ends() -> None:
    known = Processing([60.0 * n for n in range(40)], 300.0)
    for age, tau in ((0.0, 5.0), (100.0, 12.0), (100.0, 400.0), (0.0, 2300.0), (5000.0, 100.0)):
        # A constant hazard: E[T; T <= tau] / P(T > tau) in closed form.
        y = tau / 300.0
        exact = 300.0 * (1 - math.exp(-y) * (1 + y)) / math.exp(-y)
        assert known.worth(age, tau) == pytest.approx(exact, rel=0.03), (age, tau)
    for tau in (5.0, 100.0, 1000.0):
        steps = [(n + 0.5) * tau / 2000 for n in range(2000)]
        exact = sum((tau * tau - p * p) / 2 * math.exp(-p / 300) / 300 * tau / 2000 for p in steps)
        assert known.worth_before(tau) == pytest.approx(exact, rel=0.03)


def test_worth_grows_with_the_time_since_the_last_answer() -> None:
    polls = order()
    for age in (0.0, 50.0, 300.0, 1000.0, 20_000.0):
        worths = [polls.processing.worth(age, tau) for tau in range(1, 5000, 7)]
        assert worths == sorted(worths)
        assert all(math.isfinite(worth) for worth in worths)


def test_nothing_absurd_is_learned_from_a_clock_that_jumps() -> None:
    polls = order()
    (wait,) = added(polls, 1)
    seen(polls, wait, 0.0, Stage.ACTIVE, started_ago=-1e9)
    assert wait.age == 0.0
    seen(polls, wait, 10.0, Stage.ACTIVE, started_ago=1e9)
    assert wait.age == 10.0
    seen(polls, wait, 30.0, Stage.STOPPED, stopped_ago=1e9)
    assert wait.age <= 20.0
    seen(polls, wait, 40.0, Stage.STOPPED, stopped_ago=-1e9)
    assert wait.age >= 0.0
    assert polls.pop(60.0) is wait
    polls.answered(wait, 60.0, Stage.FINISHED, started_ago=1e9, stopped_ago=-5.0)
    assert sum(polls.recording._seconds) <= 60.0
    assert sum(polls.processing._seconds) <= 60.0


class OrderMachine(RuleBasedStateMachine):
    """Any sequence of events; no place is lost, doubled or polled too early."""

    @initialize()
    def begin(self) -> None:
        self.polls: PollOrder[Wait] = order()
        self.now = 1000.0
        self.waits: list[Wait] = []
        self.in_flight: list[Wait] = []
        self.earliest: dict[Wait, float] = {}

    @rule(delay=st.sampled_from([0.0, 0.0, 1.0, 50.0]))
    def add(self, delay: float) -> None:
        wait = Wait(str(len(self.earliest)))
        self.waits.append(wait)
        self.earliest[wait] = self.now + delay
        self.polls.add(wait, self.now, self.now + delay)

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.06, 1.0, 30.0, 5000.0]))
    def advance(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def pop(self) -> None:
        due = self.polls.next_due(self.now)
        wait = self.polls.pop(self.now)
        assert (wait is not None) == (due is not None and due <= self.now)
        if wait is not None:
            assert wait in self.waits
            assert wait not in self.in_flight
            assert self.earliest[wait] <= self.now
            self.in_flight.append(wait)

    @precondition(lambda self: self.in_flight)
    @rule(
        data=st.data(),
        stage=st.sampled_from(list(Stage)[1:]),
        ago=st.one_of(st.none(), st.floats(-1e6, 1e6)),
        rest=st.sampled_from([0.0, 5.0]),
    )
    def answer(self, data: st.DataObject, stage: Stage, ago: float | None, rest: float) -> None:
        wait = data.draw(st.sampled_from(self.in_flight))
        self.in_flight.remove(wait)
        hinted = wait.urgent or wait.repeats
        self.polls.answered(
            wait, self.now, stage, poll_interval=rest, started_ago=ago, stopped_ago=ago
        )
        if stage is Stage.FINISHED:
            self.polls.remove(wait)
            self.waits.remove(wait)
        elif not hinted:
            self.earliest[wait] = self.now + rest

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), seconds=st.sampled_from([0.5, 30.0]))
    def fail(self, data: st.DataObject, seconds: float) -> None:
        wait = data.draw(st.sampled_from(self.in_flight))
        self.in_flight.remove(wait)
        self.polls.put_back(wait, self.now, self.now + seconds)
        self.earliest[wait] = self.now + seconds

    @precondition(lambda self: self.waits)
    @rule(data=st.data(), what=st.sampled_from(["hint", "listed", "unlisted", "stop", "cancel"]))
    def touch(self, data: st.DataObject, what: str) -> None:
        wait = data.draw(st.sampled_from(self.waits))
        if what == "cancel":
            self.polls.remove(wait)
            self.waits.remove(wait)
            if wait in self.in_flight:
                self.in_flight.remove(wait)
            return
        if what == "hint":
            self.polls.hint(wait, self.now)
        elif what == "stop":
            self.polls.expect_stop(wait, self.now, self.now + data.draw(st.floats(-100, 100)))
        else:
            self.polls.set_listed(wait, self.now, what == "listed")
        if wait.polled_at > -math.inf:
            self.earliest[wait] = min(self.earliest[wait], self.now)

    @rule()
    def outage(self) -> None:
        self.polls.catch_up(self.now)

    @invariant()
    def no_place_is_lost(self) -> None:
        assert len(self.polls) == len(self.waits)

    def teardown(self) -> None:
        if not hasattr(self, "polls"):
            return
        # Each is polled within the time that the safety share promises.
        expected = set(self.waits) - set(self.in_flight)
        end = self.now + 60 + len(expected) / (SAFETY_SHARE * PACE)
        while expected and self.now < end:
            self.now += 1 / PACE
            wait = self.polls.pop(self.now)
            if wait is not None:
                expected.discard(wait)
                self.polls.put_back(wait, self.now, self.now)
        assert not expected


TestOrderMachine = OrderMachine.TestCase
TestOrderMachine.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=60, deadline=None, derandomize=True
)


def test_the_priors_are_those_in_the_documentation() -> None:
    assert recording_durations().rates[0] == pytest.approx(1 / (51 * 60))
    assert processing_durations().rates[0] == pytest.approx(1 / 300)


def test_rests_that_end_together_end_in_slices_and_lose_no_place() -> None:
    order: PollOrder[Place] = PollOrder()
    places = [Place() for _ in range(5000)]
    for place in places:
        order.add(place, 1000.0, 1005.0)
    assert order.next_due(1004.0) == 1005.0
    assert order.next_due(1005.0) == 1005.0
    assert order._in_rings < 1000
    popped = list(iter(lambda: order.pop(1006.0), None))
    assert len(popped) == 5000
    assert set(map(id, popped)) == set(map(id, places))
