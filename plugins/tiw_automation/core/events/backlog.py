# SPDX-License-Identifier: Apache-2.0
"""A queue of unconfirmed callbacks, each tried until it is done: bounded in number, bytes and time.

Tencent posts a callback for half a minute. At the small pace for unconfirmed senders, a few hundred
callbacks take longer than that. So the key of each stays in the queue, whether or not the callback
is posted again; at most a hundred are tried at the same time.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import logging
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from tiw_automation.core import metrics

logger = logging.getLogger(__name__)

KEPT_S = 900.0
"""How many seconds a key is tried."""
MOST_KEYS = 10_000
MOST_BYTES = 2_000_000
"""The most keys in a queue, and the most bytes that they may take together."""

_AT_ONCE = 100
# The memory of a key without its text: its objects, and a place in two collections.
_KEY_BYTES = 180
_LOG_EVERY_S = 60.0
_Key = tuple[str | int | bool, ...]
K = TypeVar("K", bound=_Key)


class NotConfirmed(Exception):
    """A key must not be tried again; the text is the reason."""


class Backlog(Generic[K]):
    """A queue of keys; each is tried until it is done or 15 minutes have elapsed.

    It belongs to the event loop in which it is first used.

    :param attempt: called with a key and its age in the queue, in seconds; returns whether the key
        is done, or raises :class:`NotConfirmed` to drop it. After any other error the key is tried
        again.
    :param pause_s: called with the key's age; returns the seconds before its next try.
    :param clock: seconds since any moment.
    """

    def __init__(
        self,
        attempt: Callable[[K, float], Awaitable[bool]],
        pause_s: Callable[[float], float],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._attempt = attempt
        self._pause_s = pause_s
        self._clock = clock
        self._since: dict[K, float] = {}
        self._bytes = 0
        self._new: deque[K] = deque()
        self._again: list[tuple[float, K]] = []
        self._tried_now: dict[asyncio.Task[None], None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[K, asyncio.Future[None]] = {}
        self._logged: dict[str, tuple[float, int]] = {}

    def __len__(self) -> int:
        """Return the number of keys in the queue."""
        return len(self._since)

    def __contains__(self, key: K) -> bool:
        """Return whether a key is in the queue."""
        return key in self._since

    def add(self, key: K, *, most: int = MOST_KEYS) -> bool:
        """Add a key; return whether it is in the queue, which is false where the queue is full.

        :param most: how many keys the queue may hold.
        """
        if key in self._since:
            return True
        size = _size(key)
        if len(self._since) >= most or self._bytes + size > MOST_BYTES:
            self._log(logging.ERROR, "%d callbacks wait already; no more fit.", len(self))
            return False
        self._since[key] = self._clock()
        self._bytes += size
        self._new.append(key)
        metrics.report("tiw.callbacks.waiting", len(self))
        self._work()
        return True

    async def result(self, key: K) -> None:
        """Wait until a key in the queue is done.

        :raises NotConfirmed: it was dropped.
        :raises Exception: the error of its latest try; it stays in the queue.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
        await asyncio.shield(waiting)

    def _work(self) -> None:
        """Start a task for the keys that are due, unless the most tasks run already."""
        if len(self._tried_now) < _AT_ONCE and self._is_due():
            # An empty context: the task outlives the request that started it.
            task = asyncio.get_running_loop().create_task(
                self._try_all(), name="tiw-callbacks", context=contextvars.Context()
            )
            self._tried_now[task] = None
            task.add_done_callback(self._tried_now.pop)

    def _is_due(self) -> bool:
        return bool(self._new) or bool(self._again and self._again[0][0] <= self._clock())

    def _next(self) -> K | None:
        """Remove and return the key that has been due for longest."""
        due = self._again[0][0] if self._again else math.inf
        if self._new and self._since[self._new[0]] <= due:
            return self._new.popleft()
        if due <= self._clock():
            return heapq.heappop(self._again)[1]
        return None

    async def _try_all(self) -> None:
        while (key := self._next()) is not None:
            self._work()
            await self._try(key)
        self._set_timer()

    async def _try(self, key: K) -> None:
        age = self._clock() - self._since[key]
        error: Exception | None = None
        try:
            if age < KEPT_S and await self._attempt(key, age):
                self._end(key, None)
                return
        except NotConfirmed as reason:
            self._end(key, reason)
            return
        except Exception as reason:
            error = reason
            self._log(logging.WARNING, "A callback is not confirmed yet: %s", error)
            self._release(key, error)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Something that it awaited was cancelled, not this task.
        age = self._clock() - self._since[key]
        if age < KEPT_S:
            heapq.heappush(self._again, (self._clock() + self._pause_s(age), key))
        else:
            self._log(
                logging.WARNING, "A callback was not confirmed within %.0f minutes.", KEPT_S / 60
            )
            self._end(key, error or NotConfirmed("Its time has elapsed."))

    def _end(self, key: K, error: Exception | None) -> None:
        del self._since[key]
        self._bytes -= _size(key)
        self._release(key, error)
        metrics.report("tiw.callbacks.waiting", len(self))
        if error is not None:
            metrics.report("tiw.callbacks.dropped")

    def _release(self, key: K, error: Exception | None) -> None:
        waiting = self._waiting.pop(key, None)
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)
            # Marked as retrieved: every caller that waited may be gone.
            waiting.exception()

    def _set_timer(self) -> None:
        """Set the timer to the moment at which the next key is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._again:
            delay = max(self._again[0][0] - self._clock(), 0.0)
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(delay, self._on_time, context=contextvars.Context())

    def _on_time(self) -> None:
        self._timer = None
        self._work()
        if not self._tried_now:
            # The clock may be a little behind the loop's.
            self._set_timer()

    def _log(self, level: int, message: str, *args: object) -> None:
        """Log each message at most once a minute, with the number of times that it was due."""
        now = self._clock()
        logged_at, count = self._logged.get(message, (-math.inf, 0))
        if now - logged_at < _LOG_EVERY_S:
            self._logged[message] = (logged_at, count + 1)
            return
        self._logged[message] = (now, 0)
        logger.log(level, message + " (%d such since the last line.)", *args, count + 1)


def _size(key: _Key) -> int:
    # The longest text comes from the sender; the others are shared.
    return _KEY_BYTES + max((len(part) for part in key if isinstance(part, str)), default=0)
