# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from tiw_automation.core.order import LongestDueFirst


def test_the_longest_due_comes_first_and_nobody_before_its_time() -> None:
    order: LongestDueFirst[str] = LongestDueFirst()
    order.put("late", 30)
    order.put("early", 10)
    order.put("middle", 20)
    assert order.next_due() == 10
    assert order.pop(5) is None
    assert [order.pop(25), order.pop(25), order.pop(25)] == ["early", "middle", None]
    assert order.next_due() == 30


def test_what_is_put_again_moves_and_what_is_discarded_is_gone() -> None:
    order: LongestDueFirst[str] = LongestDueFirst()
    order.put("a", 10)
    order.put("b", 20)
    order.put("a", 30)
    order.discard("b")
    order.discard("unknown")
    assert order.pop(100) == "a"
    assert order.pop(100) is None
    assert order.next_due() is None


def test_nobody_starves() -> None:
    order: LongestDueFirst[int] = LongestDueFirst()
    for key in range(50):
        order.put(key, 0)
    asked: list[int] = []
    for now in range(1, 501):
        turn = order.pop(now)
        assert turn is not None
        asked.append(turn)
        order.put(turn, now + 5)
    assert max(asked.count(key) for key in range(50)) == 10
    assert min(asked.count(key) for key in range(50)) == 10
