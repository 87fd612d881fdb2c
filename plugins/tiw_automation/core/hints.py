# SPDX-License-Identifier: Apache-2.0
"""Hints about what this process does to recordings, for the watchers that wait for them."""

from __future__ import annotations

import os
import threading
import time
from typing import Protocol
from weakref import WeakSet


class Listener(Protocol):
    """Receives hints, in the thread that gives them."""

    def hint(self, task_id: str, *, expected_stop: float | None = None) -> None:
        """Take the hint that a recording may have finished, or when it stops (UNIX seconds)."""


_listeners: WeakSet[Listener] = WeakSet()
# One thread may create a watcher while another one gives a hint.
_lock = threading.RLock()


def listen(listener: Listener) -> None:
    """Give a listener every hint from now on, while it exists."""
    with _lock:
        _listeners.add(listener)


def hint_all(task_id: str, *, expected_stop: float | None = None) -> None:
    """Give every listener of this process a hint."""
    with _lock:
        listeners = list(_listeners)
    for listener in listeners:
        listener.hint(task_id, expected_stop=expected_stop)


def stopped(task_id: str) -> None:
    """Give the hint that this process has just stopped a recording."""
    hint_all(task_id, expected_stop=time.time())


def _forget_after_fork() -> None:
    # A lock that another thread held at the fork would stay locked in the child.
    global _lock, _listeners
    _lock, _listeners = threading.RLock(), WeakSet(list(_listeners))


os.register_at_fork(after_in_child=_forget_after_fork)
