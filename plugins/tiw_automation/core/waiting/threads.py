# SPDX-License-Identifier: Apache-2.0
"""A few daemon threads that make calls for an event loop.

A ``ThreadPoolExecutor`` joins its threads when the process exits, so one hung call would delay
the exit. These threads do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections.abc import Callable
from typing import Any

from tiw_automation.core.errors import TiwError

_IDLE_S = 10.0

_Job = tuple[Callable[[], Any], "asyncio.AbstractEventLoop", Callable[[Any], None]]


class DaemonThreads:
    """Runs jobs in at most ``size`` daemon threads; an idle thread ends by itself.

    The caller runs at most ``size`` jobs at once, so no job ever waits for a thread.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self.name = name
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[_Job]] = []

    def run(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run ``job`` in a thread, then ``done`` with its result in the calling loop.

        A job must not raise: ``done`` would never be called. A result that comes after the loop
        was closed is dropped.

        :raises TiwError: this process cannot start a thread now; the error is retryable.
        """
        item = (job, asyncio.get_running_loop(), done)
        if self._pid != os.getpid():
            # A forked child has no threads, and another thread may have held the lock.
            self._pid, self._lock, self._idle = os.getpid(), threading.Lock(), []
        with self._lock:
            # The thread that was used last, so that the others can end.
            inbox = self._idle.pop() if self._idle else None
        if inbox is not None:
            inbox.put(item)
            return
        inbox = queue.SimpleQueue()
        inbox.put(item)
        thread = threading.Thread(target=self._work, args=(inbox,), name=self.name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            raise TiwError(
                f"This process cannot start a thread now: {error}.",
                code="NoThread",
                retryable=True,
                hint="Raise the limit of threads (ulimit -u, or the container's pids limit).",
            ) from error

    def _work(self, inbox: queue.SimpleQueue[_Job]) -> None:
        while True:
            try:
                job, loop, done = inbox.get(timeout=_IDLE_S)
            except queue.Empty:
                with self._lock:
                    if inbox in self._idle:
                        self._idle.remove(inbox)
                        return
                continue
            result = job()
            with self._lock:
                self._idle.append(inbox)
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done, result)
            # An idle thread must not keep the loop or the answer alive.
            del job, loop, done, result
