# SPDX-License-Identifier: Apache-2.0
"""Tables on a terminal. Importing this module imports rich."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from rich.console import Console
from rich.table import Table


def screen(stream: TextIO) -> Console:
    """Return a console on a stream; texts have no markup, and NO_COLOR is respected."""
    return Console(file=stream, markup=False, highlight=False, emoji=False)


def new_table(columns: Sequence[str]) -> Table:
    """Return an empty table; long fields are folded, so that nothing is lost."""
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table
