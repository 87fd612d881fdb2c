# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM: the first ends a command in order, the second ends the process at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from tiw_automation.cli import exits

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

_SHOW_CURSOR = b"\x1b[?25h"
_TERMINALS = (1, 2)


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end.

    :param number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__()
        self.exit_code = exits.TERMINATED if number == signal.SIGTERM else exits.INTERRUPTED


def install() -> None:
    """Raise :class:`Interrupted` in the main thread at the first signal."""
    for number in _signals():
        signal.signal(number, _first)


def _signals() -> list[int]:
    """Return the signals that end a command; a shell's background jobs ignore Ctrl-C."""
    both = (signal.SIGINT, signal.SIGTERM)
    return [number for number in both if signal.getsignal(number) is not signal.SIG_IGN]


def _first(number: int, frame: FrameType | None) -> NoReturn:
    for each in _signals():
        signal.signal(each, lambda number, frame: _end_at_once(number))
    raise Interrupted(number)


def _end_at_once(number: int) -> NoReturn:
    for descriptor in filter(os.isatty, _TERMINALS):
        os.write(descriptor, _SHOW_CURSOR)
    os._exit(Interrupted(number).exit_code)


@contextmanager
def cancelling(
    loop: asyncio.AbstractEventLoop, cancel: Callable[[Interrupted], None]
) -> Iterator[None]:
    """Call ``cancel`` in the loop at the first signal, instead of raising.

    A second one ends the process at once. Afterwards signals are handled as before.
    """

    def first(number: int) -> None:
        for each, _ in before:
            loop.add_signal_handler(each, _end_at_once, each)
        cancel(Interrupted(number))

    before = [(number, signal.getsignal(number)) for number in _signals()]
    for number, _ in before:
        loop.add_signal_handler(number, first, number)
    try:
        yield
    finally:
        for number, handler in before:
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
