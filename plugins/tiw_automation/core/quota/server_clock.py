# SPDX-License-Identifier: Apache-2.0
"""How a server's clock and this machine's monotonic clock correspond."""

from __future__ import annotations

import math

# Clocks may run this much faster or slower than others.
_DRIFT = 5e-4
_JUMP_S = 0.05
# Each way takes at least this part of the fastest round trip.
_LEAST_WAY = 0.25


class ServerClock:
    """How far the server's clock is ahead of this machine's: between two bounds.

    The server read its clock after a call left and before its answer came. The fastest calls
    bound it best.
    """

    def __init__(self) -> None:
        self._least, self._most = -math.inf, math.inf
        self._fastest_s = math.inf
        self._at = -math.inf

    @property
    def least(self) -> float:
        """The lower bound."""
        return self._least + self._fastest_s * _LEAST_WAY

    @property
    def most(self) -> float:
        """The upper bound."""
        return max(self._most - self._fastest_s * _LEAST_WAY, self.least)

    @property
    def uncertain_s(self) -> float:
        """How far the bounds are apart; infinity before the first call."""
        return self.most - self.least if self._at > -math.inf else math.inf

    def add(self, sent_at: float, answered_at: float, server: float) -> bool:
        """Add a call; return whether it agrees with those before it."""
        drift_s = max(answered_at - self._at, 0.0) * _DRIFT if self._at > -math.inf else 0.0
        self._at = answered_at
        least, most = server - answered_at, server - sent_at
        agrees = least <= self._most + _JUMP_S and most >= self._least - _JUMP_S
        if agrees:
            least, most = max(least, self._least - drift_s), min(most, self._most + drift_s)
        self._least, self._most = min(least, most), max(least, most)
        self._fastest_s = min(self._fastest_s, answered_at - sent_at)
        return agrees
