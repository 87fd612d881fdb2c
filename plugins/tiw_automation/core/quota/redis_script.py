# SPDX-License-Identifier: Apache-2.0
"""What one call of the script ``redis.lua`` sends and returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.parts import (
    LEAST_PACE,
    MOST_PACE,
    MOST_WAITS,
    Demand,
    ProcessRow,
)

# No slot lies further ahead than the script grants; more cannot be an answer of it.
_MOST_DELAY_S = 10.0


@dataclass(slots=True)
class Call:
    """What a process reports and asks for; times are those of the server's clock.

    :param process: its name.
    :param pause_s: for how long nothing may be granted; 0 for no pause.
    :param spread_s: by how much a request may arrive late.
    :param alone: the part of the pace that it would use while the server is unusable.
    :param rejected: whether TIW refused a request.
    :param leaving: whether the process gives up its part.
    :param delays: after how long slots are needed, each at the earliest.
    :param arrivals: when the requests of earlier slots arrived at the latest, by the slots'
        numbers; None where one never left.
    """

    process: str
    pause_s: float
    spread_s: float
    pace: Pace
    demand: Demand
    alone: float
    rejected: bool
    leaving: bool
    delays: Sequence[float]
    arrivals: Mapping[int, float | None]

    def arguments(self) -> list[str]:
        """Return the arguments of the script."""
        demand = self.demand
        waits = demand.waits or (0 if demand.unconfirmed else 1)
        found = [
            self.process,
            _text(self.pause_s),
            _text(self.spread_s),
            str(self.pace.allowed),
            repr(float(self.pace.rate)),
            repr(float(self.pace.share)),
            str(min(waits, int(MOST_WAITS))),
            str(min(demand.unconfirmed, int(MOST_WAITS))),
            repr(float(min(demand.wanted, MOST_PACE))),
            _text(self.alone),
            "1" if self.rejected else "",
            "1" if self.leaving else "",
            str(len(self.delays)),
            *map(_text, self.delays),
        ]
        for number, arrived_at in self.arrivals.items():
            found += [str(number), "-" if arrived_at is None else _text(arrived_at)]
        return found


@dataclass(slots=True)
class Answer:
    """What the script returned.

    :param now: the server's time.
    :param pace: the requests a second of all processes together.
    :param alone: the part of it that the process may use while the server is unusable.
    :param first: the number of the first slot.
    :param delays: after how long each slot comes.
    :param processes: the process itself first, unless it left; then the others.
    """

    now: float
    pace: float
    alone: float
    first: int
    delays: list[float]
    processes: list[ProcessRow]

    @classmethod
    def read(cls, reply: Any, answered_at: float) -> Answer:
        """Read an answer of the server.

        :param answered_at: when it came, by this machine's clock.
        :raises ValueError: it is not an answer of the script.
        """
        try:
            now, pace, alone, first, delays, processes = reply
            if not (isinstance(delays, list) and isinstance(processes, list)):
                raise TypeError
            return cls(
                now=_number(now, 0.0, math.inf),
                pace=_number(pace, LEAST_PACE / 100, MOST_PACE),
                alone=_number(alone, 0.0, 1.0),
                first=int(first),
                delays=[_number(delay, -1.0, _MOST_DELAY_S) for delay in delays],
                processes=[row for text in processes if (row := _row(text, answered_at))],
            )
        except (TypeError, ValueError, AttributeError, OverflowError):
            raise ValueError("its answer cannot be read") from None


def _number(text: Any, least: float, most: float) -> float:
    value = float(text)
    if not (least <= value <= most and value < math.inf):
        raise ValueError
    return value


def _row(text: str, now: float) -> ProcessRow | None:
    """Return a process of an answer; None where it is invalid."""
    try:
        age, waits, unconfirmed, wanted, pace, share, _alone = map(float, text.split())
    except ValueError:
        return None
    row = ProcessRow(1, 0, now - age, waits, unconfirmed, wanted, pace, share)
    return row if row.is_sound else None


def _text(number: float) -> str:
    return f"{number:.6f}"
