# SPDX-License-Identifier: Apache-2.0
"""How the processes that share a pace divide it.

Each store of a shared pace keeps a row for each process; these rules are the same for all stores.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_WAITS = 1e7
MOST_PACE = 1e6
LEAST_PACE = 1e-6
MOST_PID = 2**31 - 1

QUIET_S = 5.0
"""A process that took no slot for this long gets no part of the pace."""
SMALL_PART = 0.1
"""The part of the pace for unconfirmed recordings while waits are due."""
# The least part of a process with few waits; together they get at most half of the pace.
_LEAST_PART = 0.05
_LEAST_PARTS = 0.5


@dataclass(slots=True)
class ProcessRow:
    """One process: which one, when it took its last slot, and what it wants."""

    pid: int
    namespace: int
    seen: float
    waits: float
    unconfirmed: float
    wanted: float
    pace: float
    share: float

    @property
    def is_sound(self) -> bool:
        """Whether each field is within its range; the limit of ``seen`` depends on now."""
        return (
            1 <= self.pid <= MOST_PID
            and self.seen > -math.inf
            and 0 <= self.waits <= MOST_WAITS
            and 0 <= self.unconfirmed <= MOST_WAITS
            and 0 <= self.wanted <= MOST_PACE
            and LEAST_PACE <= self.pace <= MOST_PACE
            and 0 < self.share <= 1
        )


@dataclass(frozen=True, slots=True)
class Demand:
    """What a process waits for.

    :param waits: how many recordings that a caller waits for.
    :param unconfirmed: how many others.
    :param wanted: how many requests a second the waits would use.
    """

    waits: int = 0
    unconfirmed: int = 0
    wanted: float = math.inf


@dataclass(frozen=True, slots=True)
class Part:
    """What a process may use of the pace of its host, each from 0 to 1.

    :param waits: for recordings that a caller waits for.
    :param unconfirmed: for the others.
    """

    waits: float
    unconfirmed: float

    @property
    def whole(self) -> float:
        """Both together."""
        return self.waits + self.unconfirmed


def parts(processes: Sequence[ProcessRow], pace: float) -> list[Part]:
    """Divide the pace of a host among its processes.

    In this order, and never more for a process than its own pace (its quota share):

    1. its waits, in proportion to their number, up to the requests a second that they would use.
       Where there are unconfirmed recordings a tenth is reserved for them, of the whole and of
       what their process may have, or less if they are fewer than would use it at a request a
       second each;
    2. the unconfirmed recordings, in proportion to their number, from all that is left;
    3. the waits again, from what is left then: a process may use what another one leaves.

    :param pace: the largest of the processes' paces.
    """
    waits = [row.waits for row in processes]
    unconfirmed = [row.unconfirmed for row in processes]
    most = [min(row.pace / pace, 1.0) for row in processes]
    used = [
        min(limit - min(SMALL_PART * limit, row.unconfirmed / pace), row.wanted / pace)
        for row, limit in zip(processes, most, strict=True)
    ]
    kept = min(SMALL_PART, sum(unconfirmed) / pace)
    first = _divided(1.0 - kept, waits, used)
    left = [limit - part for limit, part in zip(most, first, strict=True)]
    small = _divided(1.0 - sum(first), unconfirmed, left)
    left = [limit - part for limit, part in zip(left, small, strict=True)]
    rest = _divided(1.0 - sum(first) - sum(small), waits, left)
    return [Part(a + b, c) for a, b, c in zip(first, rest, small, strict=True)]


def _divided(amount: float, weights: Sequence[float], most: Sequence[float]) -> list[float]:
    """Divide an amount in proportion to weights; what exceeds one's limit goes to the others."""
    found = [0.0] * len(weights)
    heavy = [number for number, weight in enumerate(weights) if weight > 0]
    weight_left = sum(weights[number] for number in heavy)
    for number in sorted(heavy, key=lambda number: most[number] / weights[number]):
        fair = max(amount, 0.0) * weights[number] / max(weight_left, weights[number])
        found[number] = max(min(fair, most[number]), 0.0)
        amount -= found[number]
        weight_left -= weights[number]
    return found


@dataclass(frozen=True, slots=True)
class SharedSlot:
    """A slot of a shared pace, and what its processes wanted when it was taken.

    :param time: when its request may leave.
    :param pace: the requests a second of all processes together.
    :param part: this process's part of the pace.
    :param unconfirmed: how much of that part is for unconfirmed recordings.
    :param processes: how many share the pace.
    :param shares: the sum of their quota shares below 1.
    :param others_wait: whether other processes have waits.
    :param number: how many slots were taken before it.
    """

    time: float
    pace: float
    part: float
    unconfirmed: float
    processes: int
    shares: float
    others_wait: bool
    number: int


@dataclass(frozen=True, slots=True)
class PartAlone:
    """What a process may use while the store is unusable, so that all keep to one pace.

    :param rate: requests a second.
    :param allowed: how many of its requests may arrive within a second.
    """

    rate: float
    allowed: int

    @classmethod
    def of(cls, part: float, pace: float, allowed: int) -> PartAlone:
        """Return it for a part of the pace of all processes.

        :param allowed: how many requests of all processes may arrive within a second.
        """
        return cls(pace * part, max(int(allowed * part + 1e-9), 1))


def slot_of(time: float, number: int, pace: float, active: Sequence[ProcessRow]) -> SharedSlot:
    """Return a slot that was taken, with the part of the process that took it.

    :param active: the processes that share the pace, this one first.
    """
    mine, *others = active
    fastest = max(row.pace for row in active)
    part = parts(active, fastest)[0]
    return SharedSlot(
        time=time,
        pace=pace,
        part=max(part.whole, _least(mine, len(active), fastest)),
        unconfirmed=part.unconfirmed,
        processes=len(active),
        shares=sum(row.share for row in active if row.share < 1.0),
        others_wait=any(row.waits for row in others),
        number=number,
    )


def part_alone(processes: Sequence[ProcessRow]) -> float:
    """Return the part of the first process if each paces itself: all add up to at most 1.

    Of up to twenty processes each gets a twentieth at least, which is one request in a second.
    """
    fastest = max(row.pace for row in processes)
    found = [
        max(part.whole, _least(row, len(processes), fastest))
        for part, row in zip(parts(processes, fastest), processes, strict=True)
    ]
    least = min(_LEAST_PART, 1.0 / len(processes))
    rest, left = 1.0, sum(found)
    for part in sorted(found):
        alone = max(part * min(rest / left, 1.0), least) if left > 0 else least
        if part == found[0]:
            return alone
        rest, left = rest - alone, left - part
    raise AssertionError


def limit_of(mine: ProcessRow, allowed: int, fastest: float) -> int:
    """Return how many requests of all processes may arrive within a second.

    :param allowed: how many may at the pace of this process alone.
    """
    return max(allowed, round(allowed * fastest / mine.pace))


def _least(row: ProcessRow, processes: int, fastest: float) -> float:
    if not row.waits:
        return 0.0
    return min(_LEAST_PART, _LEAST_PARTS / processes, row.pace / fastest)
