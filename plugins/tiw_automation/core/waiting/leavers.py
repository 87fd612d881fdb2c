# SPDX-License-Identifier: Apache-2.0
"""The recordings that have left the list of running tasks, and what is learned from them.

Two things are not documented, and decide when they are polled.

* *When does Tencent remove a recording from the list?* If it has usually been FINISHED by then,
  each is polled at once. Else leaving means STOPPED: its processing begins.
* *How is it processed?* If each recording takes its own time, those that left together end in any
  order. If Tencent works through a queue, they end in the order in which they left. Then the
  earliest is polled again and again, and none behind it can be FINISHED before it is.

The second is learned from pairs of answers of which one is FINISHED and the other STOPPED. In a
queue the FINISHED one is always the one that left earlier. Where each takes its own time, it is
the later one as often.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P")

# How much one answer changes what is expected of the next one.
_ANSWER = 0.05
_PAIR = 0.08
# A queue is assumed above the first share of pairs in order, and no longer below the second.
_QUEUE, _NO_QUEUE = 0.9, 0.7
_ROW = 8
# Of two that left closer together, the order is uncertain: a reading of the list shows many at
# once. Of two that left further apart in time, the age decides which one ends first.
_APART = 100
_TOGETHER_S = 60.0


@dataclass(frozen=True, slots=True)
class _Leaving:
    number: int
    at: float


class Leavers(Generic[P]):
    """Those that have left the list and are not over, in the order of leaving.

    ``usually_over`` is whether a recording that leaves is usually FINISHED; ``in_order`` whether
    Tencent works through a queue.
    """

    def __init__(self) -> None:
        self.line: OrderedDict[P, _Leaving] = OrderedDict()
        self.in_order = False
        self._count = 0
        self._over_when_left = 0.5
        self._share_in_order = 0.5
        self._last: tuple[_Leaving, bool] | None = None
        self._latest_over = 0
        self._stopped_in_a_row = 0

    @property
    def usually_over(self) -> bool:
        """Whether leaving the list has usually meant FINISHED."""
        return self._over_when_left >= 0.5

    def to_compare(self) -> P | None:
        """Return the earliest if an answer to it would complete a pair, else None.

        While others than it are over, there is no need to know.
        """
        if self._last is None or self._stopped_in_a_row < _ROW or not self.line:
            return None
        first, leaving = next(iter(self.line.items()))
        return first if _comparable(leaving, self._last[0]) else None

    def add(self, place: P, now: float) -> None:
        """Add one that leaves the list now."""
        self._count += 1
        self.line[place] = _Leaving(self._count, now)

    def forget(self, place: P) -> None:
        """Remove one that is over, or is on the list again."""
        self.line.pop(place, None)

    def answered_at_once(self, over: bool) -> None:
        """Learn from the first answer after leaving, to a poll that the leaving caused."""
        self._over_when_left += (over - self._over_when_left) * _ANSWER

    def answered(self, place: P, over: bool) -> None:
        """Learn from any answer to one in the line: it is FINISHED, or still STOPPED."""
        leaving = self.line.get(place)
        if leaving is None:
            return
        self._stopped_in_a_row = 0 if over else self._stopped_in_a_row + 1
        if over:
            self._latest_over = max(self._latest_over, leaving.number)
        last, self._last = self._last, (leaving, over)
        if last is None or last[1] is over or not _comparable(last[0], leaving):
            return
        earlier_is_over = over is (leaving.number < last[0].number)
        self._share_in_order += (earlier_is_over - self._share_in_order) * _PAIR
        self.in_order = self._share_in_order > (_NO_QUEUE if self.in_order else _QUEUE)
        self._last = None

    def was_overtaken(self, place: P) -> bool:
        """Return whether one that left later, or nearly at the same time, is over."""
        return self.line[place].number <= self._latest_over


def _comparable(one: _Leaving, other: _Leaving) -> bool:
    return (
        abs(one.number - other.number) >= _APART and abs(one.at - other.at) <= _TOGETHER_S
    )
