# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that ask for many tasks, online_record_info and task_info.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import asyncio
import time
import typing as t
from contextlib import aclosing

from ansible_collections.tiw.automation.plugins.module_utils._module import failure
from ansible_collections.tiw.automation.plugins.module_utils._report import (
    RECORDS,
    REPORT_ARGUMENTS,
    TASKS,
    Known,
    Report,
    urls_of,
)
from ansible_collections.tiw.automation.plugins.module_utils._task_ids import (
    check_mode_outcome,
    is_check_mode_id,
    read_task_ids,
    refuse_check_mode_ids,
    running_state,
)
from ansible_collections.tiw.automation.plugins.module_utils._waiting import (
    WAIT_ARGUMENTS,
    Waiting,
    end_states,
    record_dict,
    task_dict,
    watch_states,
)

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import Outcome, RecordWatcher, TiwClient, TiwError

INFO_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "task_ids": {"type": "list", "elements": "raw", "required": True, "aliases": ["task_id"]},
    "wait_delay": {"type": "float", "default": 0},
    "progress_interval": {"type": "float", "default": 30},
    **REPORT_ARGUMENTS,
    **WAIT_ARGUMENTS,
}
"""The options of both modules."""


class Request:
    """The options of the task, checked.

    :param check_mode: whether ids of check mode are accepted; TIW is not asked for them.
    :raises ConfigurationError: an option is invalid; nothing was sent.
    """

    def __init__(self, params: dict[str, t.Any], client: TiwClient, *, check_mode: bool) -> None:
        from tiw_automation.core.checks import check_seconds
        from tiw_automation.core.tasks import find_kind

        self.client = client
        self.params = params
        self.form = TASKS if "task_kind" in params else RECORDS
        self.kind = find_kind(params.get("task_kind", "online_record"))
        self.sdk_app_id = client.sdk_app_id()
        self.task_ids = read_task_ids(params["task_ids"])
        self.wait: bool = params["wait"]
        given = params["wait_for"]
        self.waiting = Waiting(params, end_states(self.kind) if given is None else given, self.kind)
        check_seconds("progress_interval", params["progress_interval"])
        if not check_mode:
            refuse_check_mode_ids(self.task_ids, self.kind.noun.lower())

    @property
    def first_answer_s(self) -> float | None:
        """How many seconds a wait may last without any answer; None if it does not wait."""
        from tiw_automation.core.waiting import first_answer_s

        return first_answer_s(self.client.settings, self.waiting.delay) if self.wait else None

    def check_mode_outcomes(self) -> dict[str, Outcome]:
        """Return the outcomes of the tasks that would be started."""
        status = self.waiting.first_state if self.wait else running_state(self.kind)
        return {
            task_id: check_mode_outcome(self.sdk_app_id, task_id, status, self.kind)
            for task_id in filter(is_check_mode_id, self.task_ids)
        }


class Findings:
    """The outcomes so far.

    :ivar first: whether the API has answered for any task; it limits how long that may take.
    """

    def __init__(self, request: Request) -> None:
        from tiw_automation.core.waiting import FirstAnswer

        self.request = request
        self.outcomes: dict[str, Outcome] = request.check_mode_outcomes()
        self.first = FirstAnswer(request.first_answer_s)
        self.polls = 0
        self.started = time.monotonic()

    def report(self) -> Report:
        """Return the report on them."""
        request = self.request
        report = Report(request.params, request.form)
        errors = {name: o.error.to_dict() for name, o in self.outcomes.items() if o.error}
        shown = [self._shown(task_id) for task_id in request.task_ids]
        report.add(shown, errors, self.polls, map(self._known, shown))
        report.elapsed = time.monotonic() - self.started
        return report

    def _shown(self, task_id: str) -> dict[str, t.Any]:
        app_id, outcome = self.request.sdk_app_id, self.outcomes.get(task_id)
        message = outcome.message if outcome else "The task stopped before there was an answer."
        if self.request.form is RECORDS:
            return record_dict(app_id, task_id, outcome, message)
        return task_dict(app_id, task_id, outcome, message, self.request.kind)

    def _known(self, shown: dict[str, t.Any]) -> Known:
        verdict, status = shown["verdict"], shown["status"]
        states = self.request.waiting.states
        kinds = self.request.params.get("video_kinds")
        return Known(
            shown["task_id"],
            verdict,
            status,
            answered=verdict in ("finished", "failed", "missing") or status is not None,
            chosen=[
                position
                for position, url in enumerate(urls_of(shown))
                if url and (kinds is None or shown["videos"][position]["kind"] in kinds)
            ],
            reached=status in states,
            is_open=(
                verdict == "pending"
                and status not in states
                and self.request.kind.can_become(status, states)
            ),
        )


async def ask(request: Request, found: Findings) -> TiwError | None:
    """Ask for every task, or wait for it; return the error that ends all, or None.

    An error of the account (wrong keys, wrong endpoint) before the first answer concerns every
    task, so it ends all at once. So does a wait that gets no answer at all.
    """
    from tiw_automation.core import RecordWatcher

    watcher = RecordWatcher(request.client)
    try:
        async with found.first:
            await _collect(request, found, watcher)
    finally:
        found.polls = watcher.polls
    return found.first.error


async def _collect(request: Request, found: Findings, watcher: RecordWatcher) -> None:
    """Add each outcome to the findings, until the last or until an error of the account."""
    first = found.first
    task_ids = [task_id for task_id in request.task_ids if task_id not in found.outcomes]
    if not task_ids:
        return
    if request.wait:
        ends = watch_states(watcher, task_ids, request.waiting, first.note)
    else:
        ends = watcher.describe(
            task_ids, task_kind=request.kind.name, acceptance=request.waiting.acceptance
        )
    async with aclosing(ends) as outcomes:
        async for outcome in outcomes:
            found.outcomes[outcome.task_id] = outcome
            first.note(outcome)
            if not first.came and outcome.error and outcome.error.concerns_account:
                return


def run(module: AnsibleModule, client: TiwClient) -> dict[str, t.Any]:
    """Ask for the tasks of a module's options and return its result."""
    request = Request(module.params, client, check_mode=module.check_mode)
    found = Findings(request)
    fatal = asyncio.run(ask(request, found))
    report = found.report()
    result = report.to_result()
    if request.wait:
        retryable = fatal is not None and fatal.retryable
        result["slice"] = report.note(fatal=fatal is not None, retryable=retryable).to_result()
    if fatal is not None:
        return failure(fatal, **result)
    return {**result, **report.failure()}
