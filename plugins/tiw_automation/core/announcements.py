# SPDX-License-Identifier: Apache-2.0
"""What this process does to recordings, told to whoever waits for them in it."""

from __future__ import annotations

import time
from typing import Protocol
from weakref import WeakSet


class Listener(Protocol):
    """Whoever wants to hear; called in the thread of whoever tells."""

    def hint(self, task_id: str, *, expected_stop: float | None = None) -> None:
        """Hear that a recording may have finished, or when it stops (UNIX seconds)."""


listeners: WeakSet[Listener] = WeakSet()


def hint_all(task_id: str, *, expected_stop: float | None = None) -> None:
    """Give every listener of this process a hint."""
    for listener in list(listeners):
        listener.hint(task_id, expected_stop=expected_stop)


def stopped(task_id: str) -> None:
    """Tell that a recording has just been stopped from here."""
    hint_all(task_id, expected_stop=time.time())
