# SPDX-License-Identifier: Apache-2.0
"""The table that is redrawn during a wait. Importing this module imports rich."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tiw_automation.cli.columns import duration, fields_of, fitting
from tiw_automation.cli.output import shown_field
from tiw_automation.cli.tables import new_table, screen
from tiw_automation.cli.views import View
from tiw_automation.core.formatting import counted

if TYPE_CHECKING:
    from tiw_automation.core import Outcome, TaskKind, WatcherStats

# Lines that are not rows: the header, the summary (two on a narrow terminal), the cursor's.
_OTHER_LINES = 5
_STATUS_WIDTH = 10


class LiveTable(View):
    """Shows status, age and expected end of each task, and the requests and their pace below.

    It is removed at the end. Tasks that have not ended are first; those that a low terminal has no
    room for are counted.
    """

    def __init__(self, stream: TextIO, kind: TaskKind) -> None:
        self._stream = stream
        self._console = screen(stream)
        self._live = Live(
            console=self._console, auto_refresh=False, transient=True, redirect_stdout=False
        )
        self._kind = kind
        self._known: dict[str, Outcome] = {}
        self._ended: set[str] = set()
        self._longest_id = 0
        self._began = time.monotonic()

    def begin(self, pending: Sequence[Outcome]) -> None:
        self._known = {outcome.task_id: outcome for outcome in pending}
        self._longest_id = max(map(len, self._known), default=0)
        self._live.start()

    def changed(self, outcome: Outcome) -> None:
        self._known[outcome.task_id] = outcome

    def settled(self, outcome: Outcome) -> None:
        self._known[outcome.task_id] = outcome
        self._ended.add(outcome.task_id)

    def refresh(self, stats: WatcherStats) -> None:
        self._live.update(Group(*self._lines(stats)), refresh=True)

    def close(self) -> None:
        self._live.stop()

    def _lines(self, stats: WatcherStats) -> list[Table | Text]:
        columns = fitting(["ID", "STATUS", "AGE", "EXPECTED END"])
        table = new_table(columns)
        # The columns keep their width while rows come and go.
        table.columns[0].min_width = min(self._longest_id, self._console.width // 2)
        for column in table.columns[1:2]:
            column.min_width = _STATUS_WIDTH
        room = max(self._console.height - _OTHER_LINES, 1)
        shown = self._first(room)
        for outcome in shown:
            fields = fields_of(outcome, columns)
            table.add_row(*(shown_field(field, self._stream) for field in fields))
        hidden = len(self._known) - len(shown)
        more = [Text(f"and {hidden} more", style="dim")] if hidden else []
        return [table, *more, Text(self._summary(stats), style="dim")]

    def _first(self, count: int) -> list[Outcome]:
        """Return the first tasks to show: those that have not ended, then the others."""
        pending = [known for known in self._known.values() if known.task_id not in self._ended]
        ended = [known for known in self._known.values() if known.task_id in self._ended]
        return [*pending[:count], *ended[: max(count - len(pending), 0)]]

    def _summary(self, stats: WatcherStats) -> str:
        passed = duration(time.monotonic() - self._began)
        return (
            f"{len(self._ended)} of {len(self._known)} ended, {counted(stats.polls, 'request')}, "
            f"{stats.rate:.1f} a second, {passed}"
        )
