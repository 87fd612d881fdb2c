# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the progress of a wait of the module of the same name, while it lasts.

Ansible shows the output of a module only when the module ends. So this plugin cuts a wait into
slices. Each slice is a run of the module that asks only for the recordings that are unfinished,
and a line follows it. The module task_info uses this plugin too, see C(meta/runtime.yml).

Ansible masks the result of a slice, so the plugin decides with the note that comes beside it, see
the module util C(_report). The lines go to standard error: standard output belongs to the callback
plugin, which may write JSON there.
"""

from __future__ import annotations

import time
import typing as t
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta

from ansible.module_utils.common.validation import check_type_list
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.tiw.automation.plugins.module_utils._report import (
    RECORDS,
    REPORT_ARGUMENTS,
    TASKS,
    Note,
    Report,
)

_DEFAULTS = {
    "wait_timeout": 3600.0,
    "wait_sleep": 5.0,
    "wait_delay": 0.0,
    "progress_interval": 30.0,
    "timeout": 10.0,
    "requests_per_second": 19.0,
}
# The module gives up after so many calls without an answer, or so many empty answers in a row.
_CALLS_WITHOUT_ANSWER = 3
_EMPTY_ANSWERS = 5
_NAMES_IN_LINE = 3

display = Display()


@dataclass(frozen=True)
class _Plan:
    """How to cut a wait into slices; all times in seconds.

    :param every: the wanted length of a slice.
    :param patience: how long the module waits for the first answer.
    :param report: the options of the report.
    """

    timeout: float
    every: float
    sleep: float
    patience: float
    requests_per_second: float
    report: dict[str, t.Any]

    @classmethod
    def of(cls, args: t.Mapping[str, t.Any]) -> _Plan | None:
        """Read the options; None if the wait is one slice, or if an option is invalid.

        The module reports an invalid option.
        """
        try:
            if not boolean(args.get("wait") or False):
                return None
            plan = cls._read(args)
        except (OverflowError, TypeError, ValueError):
            return None
        return plan if plan._is_valid() else None

    @classmethod
    def _read(cls, args: t.Mapping[str, t.Any]) -> _Plan:
        given = {name: value for name, value in args.items() if value is not None}
        number = {name: float(given.get(name, value)) for name, value in _DEFAULTS.items()}
        report = {
            name: check_type_list(given[name]) if name in given else spec.get("default")
            for name, spec in REPORT_ARGUMENTS.items()
        }
        return cls(
            timeout=number["wait_timeout"],
            every=number["progress_interval"],
            sleep=number["wait_sleep"],
            patience=number["wait_delay"] + _CALLS_WITHOUT_ANSWER * number["timeout"],
            requests_per_second=number["requests_per_second"],
            report={"wait": True, **report},
        )

    def _is_valid(self) -> bool:
        return (
            0 < self.every < self.timeout < float("inf")
            and 0 <= self.sleep < float("inf")
            and 0 < self.patience < float("inf")
            and 0 < self.requests_per_second < float("inf")
        )

    def slice(self, left: float, recordings: int, *, first: bool) -> float:
        """Return the length of the next slice.

        :param left: the rest of the wait.
        :param recordings: how many are unfinished.
        """
        length = max(
            self.every,
            # A new process counts empty answers from zero, and asks for every recording first.
            self.sleep * (_EMPTY_ANSWERS + 1),
            recordings / self.requests_per_second / 2,
            # Before the first answer, the module decides when to give up.
            self.patience + 1 if first else 0.0,
        )
        rest = left - length
        # In a last slice that is too short, no request would be sent.
        return left if rest < 2 * self.sleep + 1 else length


class ActionModule(ActionBase):
    """Runs the module once, or in slices if it waits."""

    _supports_async = True
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None
    ) -> dict[str, t.Any]:
        """Return the module's result; the slices of a wait are joined."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        plan = None if self._task.async_val else _Plan.of(self._task.args)
        if plan is None:
            found = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
            found.pop("slice", None)
        else:
            found = self._wait(plan, task_vars)
        return {**result, **found}

    def _wait(self, plan: _Plan, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        started = time.monotonic()
        length = plan.slice(plan.timeout, _count(self._task.args), first=True)
        found, note = self._run_slice(length, {}, task_vars)
        if note is None or note.fatal:
            return found
        report = Report(plan.report, TASKS if "task_kind" in self._task.args else RECORDS)
        warnings: list[t.Any] = []
        while note is not None and not (note.fatal and not note.retryable):
            warnings += [text for text in found.get("warnings", []) if text not in warnings]
            report.add(found[report.form.key], found["errors"], note.polls, note.known)
            report.elapsed = time.monotonic() - started
            waiting = _unfinished(report, note)
            left = plan.timeout - report.elapsed
            if not waiting or left <= plan.sleep:
                return _joined(report, {**found, "warnings": warnings})
            self._show_progress(report, waiting, left)
            length = plan.slice(left, len(waiting), first=False)
            # The last request of the slice before may have ended just now.
            changes = {"task_ids": waiting, "wait_delay": plan.sleep}
            found, note = self._run_slice(length, changes, task_vars)
        report.elapsed = time.monotonic() - started
        return {**found, **report.to_result()}

    def _run_slice(
        self, seconds: float, changes: dict[str, t.Any], task_vars: dict[str, t.Any] | None
    ) -> tuple[dict[str, t.Any], Note | None]:
        """Run the module; return its result, and its note unless an option is invalid."""
        args = {**self._task.args, **changes, "wait_timeout": seconds}
        if "task_ids" in changes:
            args.pop("task_id", None)
        found: dict[str, t.Any] = self._execute_module(module_args=args, task_vars=task_vars)
        part = found.pop("slice", None)
        return found, None if part is None else Note.of(part)

    def _show_progress(self, report: Report, waiting: list[str], left: float) -> None:
        if self._task.no_log:
            return
        total = len(report.known)
        states = Counter(known.status or known.verdict for known in report.known.values())
        summary = ", ".join(f"{count} {state}" for state, count in states.most_common())
        names = ", ".join(waiting[:_NAMES_IN_LINE])
        if len(waiting) > _NAMES_IN_LINE:
            names += f" and {len(waiting) - _NAMES_IN_LINE} more"
        display.display(
            f"{self._task.get_name()}: {total - len(waiting)} of {total} {report.form.noun} done after "
            f"{_clock(report.elapsed)} ({summary}); waiting for {names}, {_clock(left)} at most",
            stderr=True,
        )


def _unfinished(report: Report, note: Note) -> list[str]:
    """Return the ids to wait for; those without an answer in the last slice come first."""
    answered = {known.task_id for known in note.known if known.answered}
    return sorted(
        (task_id for task_id, known in report.known.items() if known.is_open),
        key=answered.__contains__,
    )


def _joined(report: Report, last: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the result of all slices in the form of one run of the module."""
    kept = {name: last[name] for name in ("warnings", "deprecations") if last.get(name)}
    return {**kept, **report.to_result(), **report.failure()}


def _count(args: t.Mapping[str, t.Any]) -> int:
    """Return about how many recordings the arguments name."""
    given = args.get("task_ids", args.get("task_id"))
    return len(given) if isinstance(given, list) else str(given).count(",") + 1


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
