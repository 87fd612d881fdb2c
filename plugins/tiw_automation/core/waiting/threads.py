# SPDX-License-Identifier: Apache-2.0
"""The threads that make calls for event loops: one pool for all accounts of this process.

A *place* is the right to run one call in a thread. Calls that want one while all are taken wait in
the order of their arrival. So accounts that always wait for a place make equally many calls.

A call that hangs keeps its place until the client's timeout. Two limits keep that from delaying
the calls of others: an account has at most a quarter of the places, and an endpoint gets more than
a quarter only while another quarter is free. Most accounts share one endpoint, so a limit of a
quarter for it would leave most places unused; the quarter that stays free is for the others.

A ``ThreadPoolExecutor`` joins its threads when the process exits, so one hung call would delay
the exit. These threads do not.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import threading
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.api.idle_connections import (
    close_idle_connections,
    limit_idle_connections,
)
from tiw_automation.core.errors import TiwError
from tiw_automation.core.quota.pace_file import close_idle_files

_IDLE_S = 10.0

_Job = tuple[Callable[[], Any], "asyncio.AbstractEventLoop", Callable[[Any], None], "Place"]


@dataclass(eq=False, slots=True)
class Place:
    """The right to run one call; it ends with :meth:`CallThreads.run` or ``release``.

    :param account: the account and what it asks for.
    :param endpoint: where the call goes.
    """

    account: Hashable
    endpoint: str
    granted: asyncio.Future[None] | None = None
    """Is done when the place is there; None where there was one at once."""


class CallThreads:
    """Runs calls in daemon threads; an idle thread ends by itself.

    :param size: the most calls at a time.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.share: int = max(size // 4, 1)
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[queue.SimpleQueue[_Job]] = []
        self._taken: Counter[Hashable] = Counter()
        self._free = self.size
        # In the order of their arrival.
        self._waiting: dict[Place, None] = {}

    async def place(self, account: Hashable, endpoint: str) -> Place:
        """Wait for a place, and return it.

        :param account: of an account, what it asks for; it has at most ``share`` places.
        :param endpoint: where the call goes.
        """
        if self._pid != os.getpid():
            # A forked child has no threads, and another thread may have held the lock.
            self._start_anew()
        place = Place(account, endpoint)
        with self._lock:
            if not self._waiting and self._fits(place):
                self._take(place)
                return place
            place.granted = asyncio.get_running_loop().create_future()
            self._waiting[place] = None
            self._grant()
        try:
            await place.granted
        except BaseException:
            with self._lock:
                waits = place in self._waiting
                self._waiting.pop(place, None)
            if not waits:
                self.release(place)
            raise
        return place

    def release(self, place: Place) -> None:
        """Give a place back."""
        with self._lock:
            self._free += 1
            for holder in (place.account, place.endpoint):
                self._taken[holder] -= 1
                if not self._taken[holder]:
                    del self._taken[holder]
            self._grant()

    def run(self, place: Place, job: Callable[[], Any], done: Callable[[Any], None]) -> None:
        """Run ``job`` in a thread, give the place back, and run ``done`` in the calling loop.

        A job must not raise: ``done`` would never be called. A result that comes after the loop
        was closed is dropped.

        :param done: called with the job's result.
        :raises TiwError: this process cannot start a thread now; the error is retryable. The place
            was given back.
        """
        item = (job, asyncio.get_running_loop(), done, place)
        with self._lock:
            # The thread that was used last, so that the others can end.
            inbox = self._idle.pop() if self._idle else None
        if inbox is not None:
            inbox.put(item)
            return
        inbox = queue.SimpleQueue()
        inbox.put(item)
        thread = threading.Thread(target=self._work, args=(inbox,), name="tiw-call", daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            self.release(place)
            raise TiwError(
                f"This process cannot start a thread now: {error}.",
                code="NoThread",
                retryable=True,
                hint="Raise the limit of threads (ulimit -u, or the container's pids limit).",
            ) from error

    def _fits(self, place: Place) -> bool:
        of_endpoint = self._taken[place.endpoint]
        least_free = 0 if of_endpoint < self.share else self.share
        return self._free > least_free and self._taken[place.account] < self.share

    def _take(self, place: Place) -> None:
        self._free -= 1
        self._taken[place.account] += 1
        self._taken[place.endpoint] += 1

    def _grant(self) -> None:
        """Give the free places to those that wait; the lock is held."""
        for place in list(self._waiting) if self._free else ():
            if not self._fits(place):
                continue
            assert place.granted is not None
            # A closed loop wants no place any more.
            with contextlib.suppress(RuntimeError):
                place.granted.get_loop().call_soon_threadsafe(_done, place.granted)
                self._take(place)
            del self._waiting[place]

    def _work(self, inbox: queue.SimpleQueue[_Job]) -> None:
        while True:
            try:
                job, loop, done, place = inbox.get(timeout=_IDLE_S)
            except queue.Empty:
                with self._lock:
                    if inbox not in self._idle:
                        continue
                    self._idle.remove(inbox)
                close_idle_connections()
                close_idle_files()
                return
            result = job()
            with self._lock:
                self._idle.append(inbox)
            self.release(place)
            limit_idle_connections()
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(done, result)
            # An idle thread must not keep the loop or the answer alive.
            del job, loop, done, place, result


def _done(granted: asyncio.Future[None]) -> None:
    if not granted.done():
        granted.set_result(None)


CALL_THREADS = CallThreads(64)
"""The threads of this process. At 20 requests a second, and answers within 0.8 s, an account needs
its share of 16."""
