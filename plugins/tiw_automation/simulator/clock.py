# SPDX-License-Identifier: Apache-2.0
"""The virtual time of recordings."""

from __future__ import annotations

import math
from collections.abc import Callable

Clock = Callable[[], float]
"""Returns UNIX seconds."""


class VirtualClock:
    """Starts at the real time and then runs ``speed`` times as fast; :meth:`hold` stops it.

    :param clock: the real time, UNIX seconds
    :param speed: virtual seconds per real second; with 0 only
        :meth:`advance` moves the time
    """

    def __init__(self, clock: Clock, speed: float = 1.0) -> None:
        if not (math.isfinite(speed) and speed >= 0):
            raise ValueError(f"speed must be a finite number of 0 or more, not {speed!r}")
        self.speed = speed
        self._clock = clock
        self._real_start = clock()
        self._virtual_start = self._real_start
        self.is_held = False

    def hold(self) -> None:
        """Stop the virtual time."""
        self.is_held = True

    def release(self) -> float:
        """Let the virtual time run on from the real time; return how far it jumps, seconds."""
        self.is_held = False
        held_s = self._clock() - self._real_start
        self._real_start += held_s
        self._virtual_start += held_s
        return held_s

    def now(self) -> float:
        """Return the virtual time, UNIX seconds."""
        if self.is_held:
            return self._virtual_start
        return self._virtual_start + (self._clock() - self._real_start) * self.speed

    def advance(self, seconds: float) -> None:
        """Move the virtual time forward by virtual ``seconds`` at once."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"seconds must be a finite number of 0 or more, not {seconds!r}")
        self._virtual_start += seconds
