# SPDX-License-Identifier: Apache-2.0
"""Runs a coroutine from synchronous code, also where an event loop runs in the same thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

_T = TypeVar("_T")


def run(main: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Return the result of a coroutine; blocks.

    Where an event loop runs in this thread, as in a notebook, the coroutine gets its own loop in
    another thread. What interrupts this thread (for example a signal) cancels the coroutine.

    :param main: makes the coroutine.
    :raises BaseException: what the coroutine raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(main())
    stopped = threading.Event()
    begun: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def cancellable() -> _T:
        begun.append((asyncio.get_running_loop(), asyncio.current_task()))
        if stopped.is_set():
            raise asyncio.CancelledError
        return await main()

    with ThreadPoolExecutor(1, "tiw-loop") as thread:
        running = thread.submit(copy_context().run, lambda: asyncio.run(cancellable()))
        try:
            return running.result()
        except BaseException:
            stopped.set()
            for loop, task in begun:
                # The loop is closed where the coroutine itself raised.
                with contextlib.suppress(RuntimeError):
                    if task is not None:
                        loop.call_soon_threadsafe(task.cancel)
            raise
