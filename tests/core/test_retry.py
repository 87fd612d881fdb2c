# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tiw_automation.core import InvalidParameter, ServerError, TiwError
from tiw_automation.core.retry import Retry, RetryBudget


class Time:
    """A clock that only :meth:`sleep` moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def retry(time: Time, budget: RetryBudget | None = None) -> Retry:
    return Retry(
        budget or RetryBudget(),
        clock=lambda: time.now,
        sleep=time.sleep,
        uniform=lambda low, high: high,
    )


def failing(times: int, error: TiwError) -> Callable[[float], str]:
    left = [times]

    def attempt(_: float) -> str:
        if left[0]:
            left[0] -= 1
            raise error
        return "done"

    return attempt


def test_a_retryable_error_is_retried_with_growing_pauses() -> None:
    time = Time()
    assert retry(time).call(failing(6, ServerError("down")), 60.0) == "done"
    assert time.pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0]


def test_an_error_that_is_not_retryable_is_not_retried() -> None:
    time = Time()
    with pytest.raises(InvalidParameter):
        retry(time).call(failing(1, InvalidParameter("no")), 60.0)
    assert time.pauses == []


def test_the_deadline_holds_and_each_attempt_gets_the_seconds_that_are_left() -> None:
    time = Time()
    left = []

    def attempt(left_s: float) -> None:
        left.append(left_s)
        raise ServerError("down")

    with pytest.raises(ServerError):
        retry(time).call(attempt, 2.0)
    assert left == [2.0, 1.75, 1.25, 0.25]
    assert time.now < 2.0


def test_an_outage_uses_up_the_budget_and_successes_refill_it() -> None:
    time, budget = Time(), RetryBudget(size=3)
    for expected in (3, 0):
        time.pauses.clear()
        with pytest.raises(ServerError):
            retry(time, budget).call(failing(100, ServerError("down")), 1e9)
        assert len(time.pauses) == expected
    for _ in range(10):
        retry(time, budget).call(failing(0, ServerError("down")), 1.0)
    assert retry(time, budget).call(failing(1, ServerError("down")), 60.0) == "done"


def test_pauses_are_drawn_between_zero_and_their_limit() -> None:
    bounds = []

    def uniform(low: float, high: float) -> float:
        bounds.append((low, high))
        return 0.0

    time = Time()
    Retry(RetryBudget(), clock=lambda: time.now, sleep=time.sleep, uniform=uniform).call(
        failing(2, ServerError("down")), 9.0
    )
    assert bounds == [(0.0, 0.25), (0.0, 0.5)]


def test_a_program_that_seeds_random_does_not_draw_the_same_pauses() -> None:
    state = random.getstate()
    try:
        drawn = []
        for _ in range(2):
            random.seed(0)
            pauses: list[float] = []
            fails = failing(3, ServerError("later"))
            Retry(RetryBudget(), sleep=pauses.append).call(fails, 60.0)
            drawn.append(pauses)
            assert random.random() == random.Random(0).random()
        assert drawn[0] != drawn[1]
    finally:
        random.setstate(state)
