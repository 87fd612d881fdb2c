# SPDX-License-Identifier: Apache-2.0
"""Which slots to take ahead of their use, where a call to the store takes long."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from tiw_automation.core.quota.parts import SharedSlot

# Slots are taken this much earlier than two calls take.
_AHEAD_S = 0.02
_MOST_AHEAD = 64
# A slot that is older than this when it is needed is not used.
_STALE_S = 0.02
# A process that takes slots steadily will need this much more of them than it took lately.
_MORE = 1.5


class Prefetch:
    """The slots of one process: those that it expects to need, and those that it has.

    It does not protect itself. All times are those of one monotonic clock.
    """

    def __init__(self) -> None:
        self._slots: deque[SharedSlot] = deque()
        # When slots will be needed, and at which rate further ones.
        self._expected: deque[float] = deque(maxlen=_MOST_AHEAD)
        self._last, self._rate = -math.inf, 1.0
        # When slots were taken within the last second.
        self._taken_at: deque[float] = deque(maxlen=4 * _MOST_AHEAD)
        # Whether a slot is needed now and there is none.
        self._needed = False

    def expect(self, at: float, rate: float) -> None:
        """Note that a slot will be needed at that time, and further ones at that rate."""
        self._expected.append(at)
        self._last, self._rate = at, rate

    def add(self, slots: Sequence[SharedSlot]) -> None:
        """Add slots that the store granted."""
        self._slots.extend(slots)

    def put_back(self, slot: SharedSlot) -> None:
        """Add a slot that was taken and not used."""
        self._slots.appendleft(slot)

    def clear(self) -> None:
        """Forget the slots: the store may not know of them."""
        self._slots.clear()

    def stale(self, now: float) -> list[SharedSlot]:
        """Remove the slots that are too old, and return them."""
        found = []
        while self._slots and self._slots[0].time < now - _STALE_S:
            found.append(self._slots.popleft())
        return found

    def take(self, now: float) -> SharedSlot | None:
        """Return the next slot that is not :meth:`stale`; None where there is none yet."""
        self._needed = not self._slots
        if self._needed:
            return None
        self._taken_at.append(now)
        if self._expected:
            self._expected.popleft()
        return self._slots.popleft()

    def due_at(self, now: float, call_s: float) -> float:
        """Return when to ask for the next slot that is missing; infinity where none is."""
        lead_s = 2 * call_s + _AHEAD_S
        missing = self._missing(now, lead_s)
        return missing[0] - lead_s if missing else math.inf

    def delays(self, now: float, call_s: float) -> list[float]:
        """Return after which delays slots are needed that a call must ask for now.

        The delays count from when the call reaches the store. No slot comes before the answer.
        """
        lead_s = 2 * call_s + _AHEAD_S
        missing = [at for at in self._missing(now, lead_s) if at <= now + lead_s]
        return [max(at - now - call_s / 2, call_s / 2) for at in missing]

    def _missing(self, now: float, lead_s: float) -> list[float]:
        """Return when slots are needed that are not here; the first may be any time ahead."""
        while self._expected and self._expected[0] < now - 1.0 and not self._needed:
            self._expected.popleft()
        while self._taken_at and self._taken_at[0] <= now - 1.0:
            self._taken_at.popleft()
        needed = list(self._expected) or ([now] if self._needed else [])
        last = needed[-1] if needed else max(self._last, now - 1.0 / self._rate)
        more = int(_MORE * len(self._taken_at) * lead_s + 0.5)
        needed += [last + number / self._rate for number in range(1, more + 1)]
        return needed[len(self._slots) : _MOST_AHEAD]
