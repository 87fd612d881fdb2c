# SPDX-License-Identifier: Apache-2.0
"""A lock that a forked child finds open.

Another thread may hold a lock at the moment of a fork. In the child that thread does not exist,
and the lock would stay closed for ever.
"""

from __future__ import annotations

import os
import threading
from weakref import WeakSet


class ProcessLock:
    """A lock of this process; a context manager."""

    def __init__(self) -> None:
        self._start_anew()
        _locks.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


_locks: WeakSet[ProcessLock] = WeakSet()


def _after_fork() -> None:
    for lock in list(_locks):
        lock._start_anew()


os.register_at_fork(after_in_child=_after_fork)
