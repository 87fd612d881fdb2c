# SPDX-License-Identifier: Apache-2.0
"""The task ids that a client has seen, so that an earlier task is not taken for a new one."""

from __future__ import annotations

from collections import deque

from tiw_automation.core.locks import ProcessLock


class KnownIds:
    """The latest TaskIds that a client started, changed or found; thread-safe."""

    def __init__(self) -> None:
        self._lock = ProcessLock()
        self._ids: deque[str] = deque(maxlen=1000)

    def add(self, task_id: str) -> None:
        """Note a TaskId."""
        with self._lock:
            if task_id not in self._ids:
                self._ids.append(task_id)

    def snapshot(self) -> frozenset[str]:
        """Return the TaskIds that are known now."""
        with self._lock:
            return frozenset(self._ids)
