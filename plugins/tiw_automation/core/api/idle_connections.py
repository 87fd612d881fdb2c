# SPDX-License-Identifier: Apache-2.0
"""The connections that wait for their next request: few for the whole process, and not for long."""

from __future__ import annotations

import queue
import time
from typing import Any
from weakref import WeakSet

from tiw_automation.core.locks import ProcessLock

_IDLE_S = 10.0
_MOST = 128
"""How many idle connections all clients of this process keep together."""

_SWEEP_S = 1.0

_queues: WeakSet[IdleConnections] = WeakSet()
_lock = ProcessLock()
_sweep_at = 0.0


class IdleConnections(queue.LifoQueue[Any]):
    """The idle connections of one of urllib3's pools, which fills it up with None."""

    def __init__(self, maxsize: int = 0) -> None:
        super().__init__(maxsize)
        with _lock:
            _queues.add(self)

    def _put(self, item: Any) -> None:
        if item is not None:
            item.idle_since = time.monotonic()
        super()._put(item)

    def start_anew(self) -> None:
        """Drop the connections of the parent process, and a lock that its threads may have held."""
        connections = [connection for connection in self.queue if connection is not None]
        super().__init__(self.maxsize)
        for connection in connections:
            connection.close()

    def idle(self) -> list[float]:
        """Return since when each connection is idle, in monotonic seconds."""
        with self.mutex:
            return [item.idle_since for item in self.queue if item is not None]

    def close_before(self, moment: float) -> None:
        """Close the connections that are idle since before a monotonic time."""
        with self.mutex:
            old = [item for item in self.queue if item is not None and item.idle_since < moment]
            self.queue[:] = [None if item in old else item for item in self.queue]
        for connection in old:
            connection.close()


def limit_idle_connections() -> None:
    """Do :func:`close_idle_connections` if the last time was more than a second ago."""
    global _sweep_at
    now = time.monotonic()
    if now >= _sweep_at:
        _sweep_at = now + _SWEEP_S
        close_idle_connections()


def close_idle_connections() -> None:
    """Close the connections that have been idle for ten seconds, and the oldest of too many."""
    queues = _all_queues()
    newest = sorted((since for one in queues for since in one.idle()), reverse=True)
    moment = time.monotonic() - _IDLE_S
    if len(newest) > _MOST:
        moment = max(moment, newest[_MOST - 1])
    for one in queues:
        one.close_before(moment)


def start_anew() -> None:
    """Drop all idle connections in a forked child: they belong to its parent."""
    for one in _all_queues():
        one.start_anew()


def _all_queues() -> list[IdleConnections]:
    with _lock:
        return list(_queues)
