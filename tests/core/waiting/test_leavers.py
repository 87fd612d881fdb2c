# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random

import pytest

from tiw_automation.core.waiting.leavers import Leavers


def left(count: int, seconds: float = 0.0) -> Leavers[int]:
    leavers: Leavers[int] = Leavers()
    for number in range(count):
        leavers.add(number, 1000.0 + number * seconds)
    return leavers


def pairs(leavers: Leavers[int], answers: list[tuple[int, bool]]) -> None:
    for number, over in answers:
        leavers.answered(number, over)


def test_a_queue_is_assumed_when_the_earlier_one_is_over_in_all_pairs() -> None:
    leavers = left(3000)
    for number in range(10):
        pairs(leavers, [(1000 + number, False), (number, True)])
    assert not leavers.is_queue
    for number in range(10, 25):
        pairs(leavers, [(1000 + number, False), (number, True)])
    assert leavers.is_queue


def test_no_queue_is_assumed_when_they_end_in_any_order() -> None:
    chance = random.Random(1)
    leavers = left(3000)
    for _ in range(5000):
        leavers.answered(chance.randrange(3000), chance.random() < 0.5)
        assert not leavers.is_queue


def test_a_queue_is_no_longer_assumed_when_the_order_has_ended() -> None:
    leavers = left(3000)
    for number in range(40):
        pairs(leavers, [(1000 + number, False), (number, True)])
    assert leavers.is_queue
    for number in range(6):
        pairs(leavers, [(1000 + number, True), (number, False)])
    assert not leavers.is_queue


@pytest.mark.parametrize(("apart", "seconds"), [(50, 0.0), (200, 1.0)])
def test_pairs_too_near_or_too_far_apart_show_nothing(apart: int, seconds: float) -> None:
    leavers = left(3000, seconds)
    for number in range(200):
        pairs(leavers, [(apart + number, False), (number, True)])
    assert not leavers.is_queue


def test_the_earliest_is_compared_after_several_that_are_not_over() -> None:
    leavers = left(1000)
    assert leavers.to_compare() is None
    for number in range(500, 508):
        leavers.answered(number, False)
    assert leavers.to_compare() == 0
    leavers.answered(508, True)
    assert leavers.to_compare() is None


def test_one_that_left_before_another_that_is_over_was_overtaken() -> None:
    leavers = left(10)
    leavers.answered(5, True)
    assert leavers.was_overtaken(4)
    assert not leavers.was_overtaken(6)


def test_what_is_forgotten_teaches_nothing() -> None:
    leavers = left(300)
    leavers.forget(200)
    leavers.forget(200)
    leavers.answered(200, True)
    assert not leavers.was_overtaken(0)
    assert 200 not in leavers.pending
