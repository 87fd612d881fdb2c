# SPDX-License-Identifier: Apache-2.0
"""The watcher of a triggerer's loop: one for each account."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine
from typing import Any
from weakref import WeakKeyDictionary

from asgiref.sync import sync_to_async

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.metrics import export
from tiw_automation.core import RecordWatcher, TiwError
from tiw_automation.core.retry import chance

logger = logging.getLogger(__name__)

# The pauses between two attempts to read a connection that is temporarily unreadable. Each is
# shortened at random, to a half at most.
_READ_AGAIN_FIRST_S = 1.0
_READ_AGAIN_LAST_S = 30.0
# How long the first attempt may take where the wait has less time left.
_FIRST_READ_S = 30.0


async def shared_watcher(conn_id: str | None, end_time: float | None) -> RecordWatcher | TiwError:
    """Return the watcher of a connection's account.

    Waits that begin together read the connection once. While Airflow cannot read it, the attempt
    is repeated until the wait's time has elapsed; then the last error is returned.

    :param conn_id: the connection, or None for the environment's settings.
    :param end_time: when the wait ends, UNIX seconds, or None for never.
    :raises ConfigurationError: a setting is invalid, or the connection does not exist.
    """
    connecting = _connecting_by_loop.setdefault(asyncio.get_running_loop(), {})
    current = connecting.get(conn_id)
    if current is None or current.is_over:
        current = connecting[conn_id] = _Connecting(conn_id)
    current.waits += 1
    try:
        return await current.watcher(end_time)
    finally:
        current.waits -= 1
        if not current.waits and connecting.get(conn_id) is current:
            del connecting[conn_id]


class _Connecting:
    """Makes one account's watcher, for all waits that begin meanwhile.

    :param conn_id: the connection, or None for the environment's settings.
    """

    def __init__(self, conn_id: str | None) -> None:
        self.conn_id = conn_id
        self.waits = 0
        self.error: TiwError | None = None
        self._first = _started(self._attempt())
        self._later: asyncio.Future[RecordWatcher | None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether a wait that begins now must start anew."""
        return self._first.done() and (self._later is None or self._later.done())

    async def watcher(self, end_time: float | None) -> RecordWatcher | TiwError:
        """Return the watcher, or why there was none until the wait's time elapsed."""
        left_s = None if end_time is None else end_time - time.time()
        began_at = time.monotonic()
        watcher = await _within(left_s and max(left_s, _FIRST_READ_S), self._first)
        if watcher is None and self._first.done():
            if self._later is None:
                self._later = _started(self._repeat())
            left_s = left_s and left_s - (time.monotonic() - began_at)
            watcher = await _within(left_s, self._later)
        unread = f"Airflow did not return connection {self.conn_id!r} in time."
        return watcher or self.error or TiwError(unread, retryable=True)

    async def _attempt(self) -> RecordWatcher | None:
        try:
            return await _connect(self.conn_id)
        except TiwError as error:
            if not error.retryable:
                raise
            if self.error is None:
                logger.warning("Waits of connection %s go on later: %s", self.conn_id, error)
            self.error = error
            return None

    async def _repeat(self) -> RecordWatcher | None:
        """Repeat the attempt until it succeeds, or no wait is left."""
        pause_s = _READ_AGAIN_FIRST_S
        while self.waits:
            await asyncio.sleep(pause_s * (1 + chance.random()) / 2)
            pause_s = min(pause_s * 2, _READ_AGAIN_LAST_S)
            watcher = await self._attempt() if self.waits else None
            if watcher is not None:
                logger.info("Connection %s can be read again.", self.conn_id)
                return watcher
        return None


_connecting_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, _Connecting]] = (
    WeakKeyDictionary()
)


async def _connect(conn_id: str | None) -> RecordWatcher:
    # In a thread, because reading a connection blocks and deadlocks the loop of some versions;
    # by asgiref, because Airflow 3.1 then asks its supervisor in the loop that the call came
    # from: from any other thread two answers cross, and the triggerer dies.
    connect = sync_to_async(TiwHook(conn_id).get_conn, thread_sensitive=False)
    export(gauges=True)
    return RecordWatcher.shared(await connect())


def _started(
    attempt: Coroutine[Any, Any, RecordWatcher | None],
) -> asyncio.Future[RecordWatcher | None]:
    future = asyncio.ensure_future(attempt)
    future.add_done_callback(_read_error)
    return future


def _read_error(done: asyncio.Future[Any]) -> None:
    # When every wait is cancelled, asyncio would report the error as never retrieved.
    if not done.cancelled():
        done.exception()


async def _within(
    seconds: float | None, watcher: asyncio.Future[RecordWatcher | None]
) -> RecordWatcher | None:
    """Return what other waits await too, or None where it takes longer."""
    try:
        async with asyncio.timeout(seconds) as limit:
            # A wait that is cancelled, or has no time left, must not cancel it for the others.
            return await asyncio.shield(watcher)
    except TimeoutError:
        if not limit.expired():
            raise
        return None
