# SPDX-License-Identifier: Apache-2.0
"""A few daemon threads that make calls for an event loop.

A ``ThreadPoolExecutor`` joins its threads when the process exits, so one hung call would hold
up the exit; these are left behind.
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

    The caller keeps to ``size`` jobs at once, and so no job ever waits for a thread.
    """

    def __init__(self, size: int, name: str) -> None:
        self.size = size
        self.name = name
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[_Job]] = []

    def run(self, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run ``job`` in a thread, then ``done`` with its result in the calling loop.

        A job raises nothing: whoever waits for its result would wait for ever.
        A result that comes after the loop was closed is dropped.

        :raises TiwError: this machine can start no thread now; it may later.
        """
        item = (job, asyncio.get_running_loop(), done)
        if self._pid != os.getpid():
            # Threads do not come along into a forked child, and the lock may have been held.
            self._pid, self._lock, self._idle = os.getpid(), threading.Lock(), []
        with self._lock:
            # The hottest thread first, so that the others can end.
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
                f"This process can start no thread now: {error}.",
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
            # Neither the loop nor the answer may live on while the thread idles.
            del job, loop, done, result
