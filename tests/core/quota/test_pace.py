# SPDX-License-Identifier: Apache-2.0
"""The rules of pacing."""

from __future__ import annotations

import pytest

from tiw_automation.core.quota.pace import RoundTrips, arrivals_allowed


def test_how_many_may_arrive_within_a_second_at_a_pace() -> None:
    assert {pace: arrivals_allowed(pace) for pace in (19.0, 20.0, 9.5, 4.75, 0.5, 40.0)} == {
        19.0: 20,
        20.0: 20,
        9.5: 10,
        4.75: 5,
        0.5: 1,
        40.0: 40,
    }


def test_a_stall_is_not_jitter() -> None:
    trips = RoundTrips()
    trips.expected = True
    for _ in range(100):
        trips.add(0.05)
        trips.add(0.06)
    trips.add(5.0)
    assert trips.spread_s < 0.06
    trips.clear()
    assert trips.spread_s == 0.5


def test_round_trips_of_long_ago_are_forgotten() -> None:
    trips = RoundTrips()
    trips.expected = True
    for number in range(64):
        trips.add(0.3 + number / 1000)
    assert trips.spread_s == pytest.approx(0.063)
    for _ in range(256):
        trips.add(0.05)
    assert trips.spread_s == 0.0


def test_a_request_that_is_as_slow_as_the_others_is_not_overdue() -> None:
    trips = RoundTrips()
    trips.expected = True
    for _ in range(100):
        trips.add(0.7)
    assert trips.overdue_s(0.7) == pytest.approx(0.0, abs=1e-6)
    assert trips.overdue_s(1.2) == pytest.approx(0.5)
    assert trips.overdue_s(9.0) == 1.0
