# SPDX-License-Identifier: Apache-2.0
"""Which slots are taken ahead, and how a server's clock is known."""

from __future__ import annotations

import math

import pytest

from tiw_automation.core.quota.parts import SharedSlot
from tiw_automation.core.quota.prefetch import Prefetch
from tiw_automation.core.quota.server_clock import ServerClock


def slot(time: float) -> SharedSlot:
    return SharedSlot(time, 19.0, 1.0, 0.0, 1, 0.0, False, 0)


def test_a_slot_is_asked_for_two_calls_before_it_is_needed() -> None:
    prefetch = Prefetch()
    assert prefetch.due_at(100.0, 0.1) == math.inf
    prefetch.expect(101.0, 2.0)
    assert prefetch.due_at(100.0, 0.1) == pytest.approx(100.78)
    assert prefetch.delays(100.7, 0.1) == []
    assert prefetch.delays(100.8, 0.1) == pytest.approx([0.15])


def test_a_slot_that_is_needed_now_is_asked_for_at_once() -> None:
    prefetch = Prefetch()
    assert prefetch.take(100.0) is None
    assert prefetch.due_at(100.0, 0.0) <= 100.0
    assert len(prefetch.delays(100.0, 0.0)) == 1
    prefetch.add([slot(100.1)])
    assert prefetch.take(100.1) == slot(100.1)
    assert prefetch.due_at(100.1, 0.0) == math.inf


def test_a_steady_process_far_away_takes_several_slots_ahead() -> None:
    prefetch, now, most = Prefetch(), 100.0, 0
    for _ in range(100):
        now += 1 / 19
        prefetch.expect(now, 19.0)
        asked = prefetch.delays(now, 0.15)
        most = max(most, len(asked))
        prefetch.add([slot(now + delay) for delay in asked])
        assert prefetch.take(now) is not None
    # Two calls and a little are 0.32 s.
    assert 5 <= len(prefetch._slots) <= 7
    # A process that stops asks for no more.
    assert prefetch.delays(now + 1.1, 0.15) == []


def test_old_slots_are_not_used() -> None:
    prefetch = Prefetch()
    prefetch.add([slot(100.0), slot(100.5)])
    assert prefetch.stale(100.03) == [slot(100.0)]
    prefetch.put_back(slot(100.4))
    assert prefetch.take(100.4) == slot(100.4)
    prefetch.clear()
    assert prefetch.take(100.5) is None


def test_the_clocks_bounds() -> None:
    clock = ServerClock()
    assert clock.uncertain_s == math.inf
    assert clock.add(10.0, 10.2, 1010.1)
    assert (clock.least, clock.most) == pytest.approx((999.95, 1000.05))
    assert clock.add(11.0, 11.05, 1011.02)
    assert clock.uncertain_s == pytest.approx(0.025, abs=0.001)
    assert not clock.add(12.0, 12.05, 1013.0)
