# SPDX-License-Identifier: Apache-2.0
"""Which views a form of output has: on a terminal, in a pipe, during a wait."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tiw_automation.cli.output import is_terminal
from tiw_automation.cli.views import Json, JsonLines, Lines, Table, Urls, View

if TYPE_CHECKING:
    from tiw_automation.core import TaskKind


def views_for_now(form: str, kind: TaskKind) -> list[View]:
    """Return the views of a command that shows tasks as they are now."""
    return [_in_form(form) or Table(kind)]


def views_for_wait(form: str, kind: TaskKind) -> list[View]:
    """Return the views of a command that waits.

    A live table is drawn on the terminal that is there for it: standard output, or standard error
    where the result goes elsewhere.
    """
    result = _in_form(form)
    if result is None and not is_terminal(sys.stdout):
        return [Lines()]
    if result is not None and (sys.stdout.isatty() or not is_terminal(sys.stderr)):
        return [result]
    from tiw_automation.cli.live import LiveTable

    if result is None:
        return [LiveTable(sys.stdout, kind), Table(kind)]
    return [LiveTable(sys.stderr, kind), result]


def _in_form(form: str) -> View | None:
    known = {"json": Json, "jsonl": JsonLines, "urls": Urls}
    return known[form]() if form in known else None
