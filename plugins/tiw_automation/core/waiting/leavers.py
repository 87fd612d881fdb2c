# SPDX-License-Identifier: Apache-2.0
"""The recordings that have left the list of running tasks, and what is learned from them.

Two things decide when such a recording is polled. Tencent documents neither, so both are learned.

*When does a recording leave the list?* If it is usually FINISHED by then, it is polled at once.
Otherwise it has only STOPPED, and its processing begins.

*How are recordings processed?* If each takes its own time, those that left together end in any
order, and the longest unanswered is polled next. If Tencent works through a queue, they end in the
order in which they left. Then none behind the earliest can be FINISHED before that one, which is
polled until it is.

Pairs of answers show which it is, one of them FINISHED and the other STOPPED. In a queue the
FINISHED one left earlier in every pair. Where each takes its own time, it did in every second pair.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Generic, TypeVar

P = TypeVar("P")

# How much one answer, and one pair, change what is expected of the next one.
_ANSWER = 0.05
_PAIR = 0.08
# A queue is assumed once more than the first share of the pairs is in order, until less than the
# second share is.
_QUEUE, _NO_QUEUE = 0.9, 0.7
# Two recordings make a pair only if at least so many left from the one to the other, because one
# reading of the list shows many at once; and only within this time, because else the earlier one
# ends first in any case.
_APART = 100
_TOGETHER_S = 60.0
# Where those that leave are usually not FINISHED, one in so many is still polled at once, to notice
# when that changes.
_POLLED = 16
# One poll in so many is a trial: it is chosen to make a pair. Where no queue is assumed, that
# needs so many answers of STOPPED in a row: while some are FINISHED, pairs need no trials.
_TRIAL = 32
_STOPPED = 8


@dataclass(frozen=True, slots=True)
class _Leaving:
    number: int
    at: float


class Leavers(Generic[P]):
    """Those that have left the list and are not over.

    ``pending`` holds them, the earliest first. ``is_queue`` is whether Tencent works through a
    queue, as far as is known.
    """

    def __init__(self) -> None:
        self.pending: OrderedDict[P, _Leaving] = OrderedDict()
        self.is_queue: bool = False
        self._left = 0
        self._considered = 0
        self._decisions = 0
        self._over_when_left = 0.5
        self._share_in_order = 0.5
        self._latest_over = 0
        self._stopped_in_a_row = 0
        self._last: tuple[_Leaving, bool] | None = None

    def add(self, place: P, now: float) -> None:
        """Add a recording that leaves the list now."""
        self._left += 1
        self.pending[place] = _Leaving(self._left, now)

    def forget(self, place: P) -> None:
        """Remove one that is over, still records, or is on the list again."""
        self.pending.pop(place, None)

    def is_polled_at_once(self) -> bool:
        """Decide whether one that has just left is polled for that reason."""
        self._considered += 1
        return self._over_when_left >= 0.5 or self._considered % _POLLED == 0

    def answered_at_once(self, over: bool) -> None:
        """Learn from the answer to one that was polled because it had left."""
        self._over_when_left += (over - self._over_when_left) * _ANSWER

    def answered(self, place: P, over: bool) -> None:
        """Learn from any answer to a pending one: it is FINISHED, or still STOPPED."""
        leaving = self.pending.get(place)
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
        self.is_queue = self._share_in_order > (_NO_QUEUE if self.is_queue else _QUEUE)
        # Each answer is in one pair only.
        self._last = None

    def was_overtaken(self, place: P) -> bool:
        """Return whether one that left later is over."""
        return self.pending[place].number < self._latest_over

    def is_trial(self) -> bool:
        """Decide whether the next poll is a trial."""
        self._decisions += 1
        return self._decisions % _TRIAL == 0

    def to_compare(self) -> P | None:
        """Return the earliest if it makes a pair with the last one that was answered."""
        if self._last is None or self._stopped_in_a_row < _STOPPED or not self.pending:
            return None
        first, leaving = next(iter(self.pending.items()))
        return first if _comparable(leaving, self._last[0]) else None


def _comparable(one: _Leaving, other: _Leaving) -> bool:
    return abs(one.number - other.number) >= _APART and abs(one.at - other.at) <= _TOGETHER_S
