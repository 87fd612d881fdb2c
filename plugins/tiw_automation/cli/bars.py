# SPDX-License-Identifier: Apache-2.0
"""Progress on standard error: bars on a terminal, a line now and then on anything else."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tiw_automation.cli.output import is_terminal, note
from tiw_automation.core.formatting import amount

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

    from tiw_automation.core.archive import Progress

_LINE_S = 10.0
# Below this width, a bar has no size, rate and time left.
_NARROW = 70


@contextmanager
def copying_bars(size_bytes: int) -> Iterator[Callable[[Progress], None]]:
    """Yield a function that shows how far an archive is.

    :param size_bytes: of all that is to be copied, as far as it is known.
    """
    if not is_terminal(sys.stderr):
        yield _Lines(size_bytes)
        return
    with _bars() as bars:
        yield _Bars(bars, size_bytes)


@contextmanager
def reading_bar() -> Iterator[Callable[[int], None]]:
    """Yield a function that counts bytes that were read."""
    if not is_terminal(sys.stderr):
        yield lambda count: None
        return
    from rich.progress import DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from tiw_automation.cli.tables import screen

    columns = (TextColumn("read"), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=screen(sys.stderr), transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda count: bars.advance(task, count)


class _Lines:
    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self._begun = self._shown_at = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._shown_at < _LINE_S:
            return
        self._shown_at = now
        rate = progress.arrived_bytes / (now - self._begun)
        left_s = max(self._size_bytes - progress.arrived_bytes, 0) / rate if rate else None
        left = f", {left_s:.0f} s left" if left_s is not None and self._size_bytes else ""
        note(
            f"{progress.videos_done} of {progress.videos} videos are done; "
            f"{amount(progress.arrived_bytes)} copied, {amount(rate)}/s{left}."
        )


def _bars() -> Bars:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress as Bars,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column

    from tiw_automation.cli.tables import screen

    console = screen(sys.stderr)
    name = TextColumn(
        "{task.description}",
        markup=False,
        table_column=Column(ratio=2, no_wrap=True, overflow="ellipsis"),
    )
    bar = BarColumn(bar_width=None, table_column=Column(ratio=1))
    columns: list[Any] = [name, bar, TextColumn("{task.percentage:>3.0f} %")]
    if console.width >= _NARROW:
        columns += [DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True)]
    return Bars(*columns, console=console, transient=True, expand=True)


class _Bars:
    """A bar for the whole, and one for each video that is being copied."""

    def __init__(self, bars: Bars, size_bytes: int) -> None:
        self._bars = bars
        self._whole = bars.add_task("all videos", total=size_bytes or None)
        self._files: dict[str, Any] = {}

    def __call__(self, progress: Progress) -> None:
        from tiw_automation.core.formatting import escaped

        about = f"{progress.videos_done} of {progress.videos} videos"
        self._bars.update(self._whole, description=about, completed=progress.arrived_bytes)
        copied = {file.name: file for file in progress.files}
        for name in self._files.keys() - copied.keys():
            self._bars.remove_task(self._files.pop(name))
        for name, file in copied.items():
            if name not in self._files:
                self._files[name] = self._bars.add_task(escaped(name), total=file.size_bytes)
            self._bars.update(self._files[name], completed=file.arrived_bytes)
