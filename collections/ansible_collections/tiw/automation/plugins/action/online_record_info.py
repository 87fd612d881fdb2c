# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Says how far a wait of the module of the same name is, while it lasts.

Ansible shows what a module says only once it has ended. So the wait is cut into slices, each a run
of the module that asks only for what is unfinished, with a line after each.

What a slice returns is masked, so nothing is decided by it but by the note that comes with it, see
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
    REPORT_ARGUMENTS,
    Note,
    Report,
)

_EVERY_S = 30.0
_WAIT_TIMEOUT_S = 3600.0
_WAIT_SLEEP_S = 5.0
_CALL_TIMEOUT_S = 10.0
_REQUESTS_PER_SECOND = 19.0
# The module gives up after so many calls without an answer, or so many empty answers in a row.
_CALLS_WITHOUT_ANSWER = 3
_EMPTY_ANSWERS = 5
_NAMES_IN_LINE = 3

display = Display()


@dataclass(frozen=True)
class _Plan:
    """How to cut a wait; all in seconds."""

    timeout: float
    every: float
    sleep: float
    patience: float
    requests_per_second: float
    report: dict[str, t.Any]

    @classmethod
    def of(cls, args: t.Mapping[str, t.Any]) -> _Plan | None:
        """Read the options; return None where there is nothing to cut, or the module objects."""

        def number(name: str, default: float) -> float:
            value = args.get(name)
            return default if value is None else float(value)

        def listed(name: str) -> list[str] | None:
            value = args.get(name)
            return (
                REPORT_ARGUMENTS[name].get("default") if value is None else check_type_list(value)
            )

        try:
            if not boolean(args.get("wait") or False):
                return None
            plan = cls(
                timeout=number("wait_timeout", _WAIT_TIMEOUT_S),
                every=number("progress_interval", _EVERY_S),
                sleep=number("wait_sleep", _WAIT_SLEEP_S),
                patience=number("wait_delay", 0.0)
                + _CALLS_WITHOUT_ANSWER * number("timeout", _CALL_TIMEOUT_S),
                requests_per_second=number("requests_per_second", _REQUESTS_PER_SECOND),
                report={"wait": True, **{name: listed(name) for name in REPORT_ARGUMENTS}},
            )
        except (OverflowError, TypeError, ValueError):
            return None
        good = (
            0 < plan.every < plan.timeout < float("inf")
            and 0 <= plan.sleep < float("inf")
            and 0 < plan.patience < float("inf")
            and 0 < plan.requests_per_second < float("inf")
        )
        return plan if good else None

    def slice(self, left: float, recordings: int, *, first: bool) -> float:
        """Return how long the next slice is.

        :param recordings: how many are still waited for.
        """
        length = max(
            self.every,
            # A new process counts from zero and asks at first for everything.
            self.sleep * (_EMPTY_ANSWERS + 1),
            recordings / self.requests_per_second / 2,
            # Before the first answer it is the module that decides when to give up.
            self.patience + 1 if first else 0.0,
        )
        rest = left - length
        # A last slice too short for a request would find nothing.
        return left if rest < 2 * self.sleep + 1 else length


class ActionModule(ActionBase):
    """Runs the module once, or in slices where it waits."""

    _supports_async = True
    _supports_check_mode = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None
    ) -> dict[str, t.Any]:
        """Return the module's result, the slices of a wait joined to one."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        plan = None if self._task.async_val else _Plan.of(self._task.args)
        if plan is None:
            found = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
            found.pop("slice", None)
        else:
            found = self._wait(plan, task_vars)
        result.update(found)
        return result

    def _wait(self, plan: _Plan, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        started = time.monotonic()
        first = plan.slice(plan.timeout, _count(self._task.args), first=True)
        found, note = self._run_slice(first, {}, task_vars)
        if note is None or note.fatal:
            return found
        report = Report(plan.report)
        warnings: list[t.Any] = []
        while True:
            warnings += [text for text in found.get("warnings", []) if text not in warnings]
            report.add(found["records"], found["errors"], note.polls, note.known)
            report.elapsed = time.monotonic() - started
            # Those that this slice could not ask come first in the next one.
            answered = {known.task_id for known in note.known if known.answered}
            waiting = sorted(filter(report.is_open, report.known), key=answered.__contains__)
            left = plan.timeout - report.elapsed
            if not waiting or left <= plan.sleep:
                return self._joined(report, {**found, "warnings": warnings})
            self._say(report, waiting, left)
            found, note = self._run_slice(
                plan.slice(left, len(waiting), first=False),
                # The last request of the slice before may be just over.
                {"task_ids": waiting, "wait_delay": plan.sleep},
                task_vars,
            )
            if note is None or (note.fatal and not note.retryable):
                report.elapsed = time.monotonic() - started
                return {**found, **report.to_result()}

    def _run_slice(
        self, seconds: float, changes: dict[str, t.Any], task_vars: dict[str, t.Any] | None
    ) -> tuple[dict[str, t.Any], Note | None]:
        """Return the result of a run of the module, and its note unless it failed early."""
        args = {**self._task.args, **changes, "wait_timeout": seconds}
        if "task_ids" in changes:
            args.pop("task_id", None)
        found: dict[str, t.Any] = self._execute_module(module_args=args, task_vars=task_vars)
        part = found.pop("slice", None)
        return found, None if part is None else Note.of(part)

    def _joined(self, report: Report, last: dict[str, t.Any]) -> dict[str, t.Any]:
        """Return the result as one run of the module would have given it."""
        kept = {name: last[name] for name in ("warnings", "deprecations") if last.get(name)}
        return {**kept, **report.to_result(), **(report.failure() or {})}

    def _say(self, report: Report, waiting: list[str], left: float) -> None:
        if self._task.no_log:
            return
        total = len(report.known)
        states = Counter(known.status or known.verdict for known in report.known.values())
        summary = ", ".join(f"{count} {state}" for state, count in states.most_common())
        names = ", ".join(waiting[:_NAMES_IN_LINE])
        if len(waiting) > _NAMES_IN_LINE:
            names += f" and {len(waiting) - _NAMES_IN_LINE} more"
        display.display(
            f"{self._task.get_name()}: {total - len(waiting)} of {total} recordings done after "
            f"{_clock(report.elapsed)} ({summary}); waiting for {names}, {_clock(left)} at most",
            stderr=True,
        )


def _count(args: t.Mapping[str, t.Any]) -> int:
    """Return how many recordings the arguments name, about."""
    given = args.get("task_ids", args.get("task_id"))
    return len(given) if isinstance(given, list) else str(given).count(",") + 1


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
