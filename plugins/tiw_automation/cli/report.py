# SPDX-License-Identifier: Apache-2.0
"""The lines of ``tiw doctor``: on a terminal in columns and colours, else with tabs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tiw_automation.cli.output import is_terminal, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from tiw_automation.cli.checkup import Check

_STYLES = {"ok": "green", "warning": "yellow", "fault": "bold red", "not checked": "dim"}
_STATE_WIDTH, _NAME_WIDTH = len("not checked"), len("permissions")
# Below this width, what was found gets lines of its own.
_NARROW = 60


class Report:
    """Shows each check as soon as it is known."""

    def __init__(self) -> None:
        self._console = None
        if is_terminal(sys.stdout):
            from tiw_automation.cli.tables import screen

            self._console = screen(sys.stdout)

    def line(self, check: Check) -> None:
        """Show a check: state, name, what was found and what to do."""
        if self._console is None:
            print_table((), [[check.state, check.name, check.found, check.advice]])
        else:
            narrow = self._console.width < _NARROW
            self._console.print(_narrow(check) if narrow else _wide(check))


def _wide(check: Check) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 1), expand=True)
    table.add_column(width=_STATE_WIDTH)
    table.add_column(width=_NAME_WIDTH)
    table.add_column(ratio=1, overflow="fold")
    table.add_row(Text(check.state, _STYLES[check.state]), Text(check.name), Text(check.found))
    if check.advice:
        table.add_row("", "", Text(check.advice, "dim" if check.state == "not checked" else ""))
    return table


def _narrow(check: Check) -> Table:
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(expand=True)
    table.add_column(overflow="fold")
    table.add_row(Text.assemble((check.state, _STYLES[check.state]), " ", check.name))
    for text in filter(None, (check.found, check.advice)):
        table.add_row(Padding(Text(text), (0, 0, 0, 2)))
    return table
