# SPDX-License-Identifier: Apache-2.0
"""How outcomes are shown while they become known, and at the end."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tiw_automation.cli.columns import columns_of, fields_of
from tiw_automation.cli.option_names import in_options
from tiw_automation.cli.output import (
    note,
    print_json,
    print_json_line,
    print_line,
    print_table,
    show_error,
)
from tiw_automation.core.formatting import counted

if TYPE_CHECKING:
    from tiw_automation.core import Outcome, TaskKind, TiwError, WatcherStats

_MOST_REASONS = 20
_MOST_IDS = 10


class View:
    """Shows nothing; the base of the others."""

    def begin(self, pending: Sequence[Outcome]) -> None:
        """Show what is waited for."""

    def changed(self, outcome: Outcome) -> None:
        """Show that a task's status has changed."""

    def settled(self, outcome: Outcome) -> None:
        """Show the outcome of a task."""

    def refresh(self, stats: WatcherStats) -> None:
        """Show the passing time; called twice a second."""

    def close(self) -> None:
        """Restore the terminal; called also after an error."""

    def end(self, outcomes: Sequence[Outcome], settled: set[str]) -> None:
        """Show all outcomes in the order asked.

        :param settled: the ids of those that :meth:`settled` was called with.
        """


class Lines(View):
    """A sentence for each change, for pipes and logs."""

    def __init__(self) -> None:
        self._printed: dict[str, str] = {}

    def changed(self, outcome: Outcome) -> None:
        line = in_options(outcome.message)
        if outcome.task_id not in line:
            line = f"{outcome.task_id}: {line}"
        if self._printed.get(outcome.task_id) != line:
            self._printed[outcome.task_id] = line
            print_line(line)

    def settled(self, outcome: Outcome) -> None:
        self.changed(outcome)

    def end(self, outcomes: Sequence[Outcome], settled: set[str]) -> None:
        for outcome in outcomes:
            if outcome.task_id not in settled:
                self.changed(outcome)


class Table(View):
    """A table of all outcomes at the end.

    :param kind: the kind of the tasks.
    """

    def __init__(self, kind: TaskKind) -> None:
        self._kind = kind

    def end(self, outcomes: Sequence[Outcome], settled: set[str]) -> None:
        columns = columns_of(self._kind)
        print_table(columns, [fields_of(outcome, columns) for outcome in outcomes])
        show_reasons(outcomes)


class Json(View):
    """A list of all outcomes at the end."""

    def end(self, outcomes: Sequence[Outcome], settled: set[str]) -> None:
        print_json([outcome.to_dict() for outcome in outcomes])


class JsonLines(View):
    """A line of JSON for each outcome when it is known."""

    def settled(self, outcome: Outcome) -> None:
        print_json_line(outcome.to_dict())

    def end(self, outcomes: Sequence[Outcome], settled: set[str]) -> None:
        for outcome in outcomes:
            if outcome.task_id not in settled:
                self.settled(outcome)


class Urls(View):
    """The URLs of each task when it is known, one a line."""

    def settled(self, outcome: Outcome) -> None:
        seen = outcome.described
        for url in getattr(seen, "video_urls", getattr(seen, "urls", ())):
            print_line(url)

    def end(self, outcomes: Sequence[Outcome], settled: set[str]) -> None:
        show_reasons(outcomes)


def show_reasons(outcomes: Sequence[Outcome]) -> None:
    """Print why tasks are not as wanted on standard error, each reason once."""
    ids_of: dict[tuple[str, str], list[str]] = {}
    error_of: dict[tuple[str, str], TiwError] = {}
    for outcome in outcomes:
        if outcome.error is not None:
            reason = (outcome.error.code, outcome.error.message)
            error_of.setdefault(reason, outcome.error)
            ids_of.setdefault(reason, []).append(outcome.task_id)
    for reason, error in list(error_of.items())[:_MOST_REASONS]:
        show_error(error, "" if error.concerns_account else _listed(ids_of[reason]))
    if len(error_of) > _MOST_REASONS:
        more = counted(len(error_of) - _MOST_REASONS, "more reason")
        note(f"{more}: see them with --output json.")


def _listed(task_ids: Sequence[str]) -> str:
    more = [f"{len(task_ids) - _MOST_IDS} more"] if len(task_ids) > _MOST_IDS else []
    return ", ".join([*task_ids[:_MOST_IDS], *more])
