# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM: the first ends a command in order, the second ends the process at once."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from tiw_automation.cli import exits

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

_SHOW_CURSOR = b"\x1b[?25h"
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end.

    :param number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = exits.TERMINATED if number == signal.SIGTERM else exits.INTERRUPTED


def install() -> None:
    """Raise :class:`Interrupted` in the main thread at the first signal."""
    for number in _SIGNALS:
        signal.signal(number, _first)


def _first(number: int, frame: FrameType | None) -> NoReturn:
    for each in _SIGNALS:
        signal.signal(each, lambda number, frame: _end_at_once(number))
    raise Interrupted(number)


def _end_at_once(number: int) -> NoReturn:
    if sys.stderr.isatty():
        os.write(sys.stderr.fileno(), _SHOW_CURSOR)
    os._exit(Interrupted(number).exit_code)


@contextmanager
def cancelling(
    loop: asyncio.AbstractEventLoop, cancel: Callable[[Interrupted], None]
) -> Iterator[None]:
    """Call ``cancel`` in the loop at the first signal, instead of raising.

    Afterwards the first signal raises again, unless there was one.
    """

    def first(number: int) -> None:
        for each in _SIGNALS:
            loop.add_signal_handler(each, _end_at_once, each)
        cancel(Interrupted(number))

    before = [(number, signal.getsignal(number)) for number in _SIGNALS]
    for number in _SIGNALS:
        loop.add_signal_handler(number, first, number)
    try:
        yield
    finally:
        for number, handler in before:
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
