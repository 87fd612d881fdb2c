# A copy of core/locks.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""A lock that is free in a forked child.

Another thread may hold a lock at the moment of a fork. That thread does not exist in the child,
so the lock would never be released there.
"""

from __future__ import annotations

import os
import threading
from weakref import WeakSet


class ProcessLock:
    """A lock of this process; a context manager."""

    def __init__(self) -> None:
        self._reset()
        _locks.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exc_info: object) -> None:
        self._lock.release()


_locks: WeakSet[ProcessLock] = WeakSet()


def _after_fork() -> None:
    for lock in list(_locks):
        lock._reset()


os.register_at_fork(after_in_child=_after_fork)
