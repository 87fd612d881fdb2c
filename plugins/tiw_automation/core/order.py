# SPDX-License-Identifier: Apache-2.0
"""In which order recordings are asked for."""

from __future__ import annotations

import heapq
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)


class PollOrder(Protocol[Key]):
    """Decides whose turn it is; the watcher knows nothing else about order."""

    def put(self, key: Key, due: float) -> None:
        """Add a recording, or move it: it is not asked for before ``due``."""

    def discard(self, key: Key) -> None:
        """Forget a recording, known or not."""

    def next_due(self) -> float | None:
        """Return the time at which the next recording may be asked for, or None without any."""

    def pop(self, now: float) -> Key | None:
        """Take out the recording whose turn it is at ``now``, or return None."""


class LongestDueFirst(Generic[Key]):
    """Whoever has been due for longest comes first, so nobody starves."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Key]] = []
        self._current: dict[Key, int] = {}
        self._puts = 0

    def put(self, key: Key, due: float) -> None:
        self._puts += 1
        self._current[key] = self._puts
        heapq.heappush(self._heap, (due, self._puts, key))

    def discard(self, key: Key) -> None:
        self._current.pop(key, None)

    def next_due(self) -> float | None:
        self._drop_stale()
        return self._heap[0][0] if self._heap else None

    def pop(self, now: float) -> Key | None:
        due = self.next_due()
        if due is None or due > now:
            return None
        key = heapq.heappop(self._heap)[2]
        del self._current[key]
        return key

    def _drop_stale(self) -> None:
        # What was moved or discarded stays in the heap until it comes to the top.
        while self._heap and self._current.get(self._heap[0][2]) != self._heap[0][1]:
            heapq.heappop(self._heap)
