# SPDX-License-Identifier: Apache-2.0
"""Something to await again and again, with next to nothing kept for it.

What asyncio calls a future-like object: :func:`asyncio.isfuture` says how a task knows one. A
future for each time that somebody waits would be an eighth of all that a pending wait takes.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, get_running_loop
from collections.abc import Callable
from contextvars import Context
from typing import Any, Self


class Signal:
    """What one task waits for until somebody wakes it, as often as it likes; of one loop."""

    __slots__ = ("_asyncio_future_blocking", "_context", "_loop", "_wakeup")

    def __init__(self) -> None:
        self._asyncio_future_blocking = False
        self._loop: AbstractEventLoop | None = None
        self._wakeup: Callable[[Any], object] | None = None
        self._context: Context | None = None

    @property
    def is_awaited(self) -> bool:
        """Whether a task waits and was not woken yet."""
        return self._wakeup is not None

    def blocking(self) -> Self:
        """Return what a coroutine yields to its task, so that :meth:`wake` resumes it."""
        self._loop = get_running_loop()
        self._asyncio_future_blocking = True
        return self

    def wake(self) -> None:
        """Let whoever waits go on."""
        if self._wakeup is not None and self._loop is not None:
            self._loop.call_soon(self._wakeup, self, context=self._context)
            self._wakeup = self._context = None

    # What a task calls.

    def get_loop(self) -> AbstractEventLoop | None:
        return self._loop

    def add_done_callback(
        self, callback: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        self._wakeup, self._context = callback, context

    def cancel(self, msg: str | None = None) -> bool:
        # The task wakes up, finds that it was cancelled, and raises that itself.
        self.wake()
        return False

    def result(self) -> None:
        return None
