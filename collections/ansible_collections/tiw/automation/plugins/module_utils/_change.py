# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules that bring a task of TIW into a state, online_record and task.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import asyncio
import time
import typing as t
from contextlib import aclosing

from ansible_collections.tiw.automation.plugins.module_utils._module import failure
from ansible_collections.tiw.automation.plugins.module_utils._task_ids import (
    check_mode_outcome,
    is_check_mode_id,
    refuse_check_mode_ids,
    running_state,
)
from ansible_collections.tiw.automation.plugins.module_utils._waiting import (
    Waiting,
    describe,
    task_dict,
    watch_states,
)

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import Outcome, TaskKind, TiwClient, TiwError


class Change:
    """The outcome of a task before and after, and the action between them.

    A module's own class adds what its tasks can do.

    :param states: the states that end a wait.
    :param status_after: the status after each action; ``start`` makes a new task.
    :cvar key: the key of the task in the result.
    :ivar before: None where there is no task yet.
    :ivar action: a key of ``status_after``, None if the task is in the wanted state.
    :ivar changed: whether the action changed something.
    :raises ConfigurationError: an option is invalid; nothing was sent.
    """

    key = "task"

    def __init__(
        self,
        module: AnsibleModule,
        client: TiwClient,
        kind: TaskKind,
        states: t.Sequence[str],
        status_after: t.Mapping[str, str],
    ) -> None:
        from tiw_automation.core import check_task_id

        self.module = module
        self.client = client
        self.kind = kind
        self.status_after = status_after
        self.state: str = module.params["state"]
        self.sdk_app_id = client.sdk_app_id()
        self.waiting = Waiting(module.params, states, kind)
        self.task_id: str | None = None
        if module.params["task_id"] is not None:
            self.task_id = check_task_id(module.params["task_id"])
            if not module.check_mode:
                refuse_check_mode_ids([self.task_id], kind.noun.lower())
        self.before: Outcome | None = None
        self.after: Outcome | None = None
        self.action: str | None = None
        self.changed = False
        self.started = time.monotonic()

    def find(self) -> str | None:
        """Return the id of the task to start, if it runs already.

        :raises TiwError: it cannot be looked for.
        """
        raise NotImplementedError

    def action_from(self, found: Outcome) -> str | None:
        """Return the action that brings a task into the wanted state; None if it is in it.

        :raises UnsupportedOperation: there is no such action.
        """
        raise NotImplementedError

    def act(self, action: str) -> bool:
        """Carry out an action; return whether it changed something.

        :raises TiwError: it failed.
        """
        raise NotImplementedError

    def assumed_status(self) -> str:
        """Return the status of a task of check mode before the action."""
        return running_state(self.kind)

    def predicted_id(self) -> str:
        """Return the id of a task that would be started."""
        raise NotImplementedError

    def shown(self, outcome: Outcome) -> dict[str, t.Any]:
        """Return the task for the result."""
        return task_dict(self.sdk_app_id, outcome.task_id, outcome, outcome.message, self.kind)

    def describe(self) -> Outcome:
        """Return the task as it is now.

        :raises TiwError: the API did not answer, or there is no such task.
        """
        task_id = t.cast(str, self.task_id)
        if is_check_mode_id(task_id):
            return self._predicted(self.assumed_status())
        outcome = describe(self.client, self.kind, task_id, self.waiting.acceptance)
        if outcome.verdict == "unknown" and outcome.error is not None:
            raise outcome.error
        return outcome

    def _predicted(self, status: str) -> Outcome:
        return check_mode_outcome(self.sdk_app_id, t.cast(str, self.task_id), status, self.kind)

    def choose_action(self) -> None:
        """Choose the action that brings the task into the wanted state.

        :raises TiwError: its state is unknown, or no action can do that.
        """
        if self.task_id is not None:
            self.before = self.describe()
        else:
            self.task_id = self._find_running()
            found = self.describe() if self.task_id is not None else None
            if found is None or has_ended(found):
                self.task_id = None
                self.action = "start"
                return
            self.before = found
        self.action = self.action_from(self.before)

    def _find_running(self) -> str | None:
        from tiw_automation.core import InvalidParameter, PermissionDenied

        try:
            return self.find()
        except (InvalidParameter, PermissionDenied) as error:
            if self.module.check_mode:
                self.module.warn(f"Whether it runs already cannot be checked here: {error}")
            return None

    def predict(self) -> None:
        """Predict the outcome of the action; nothing is sent."""
        self.after = self.before
        if self.action == "start":
            self.task_id = self.predicted_id()
        if self.action is not None and self.task_id is not None and is_check_mode_id(self.task_id):
            waits = self.module.params["wait"]
            self.after = self._predicted(
                self.waiting.first_state if waits else self.status_after[self.action]
            )

    def follow_up(self) -> None:
        """Ask for the task after the action, or wait for it."""
        from tiw_automation.core import TiwError

        if self.module.params["wait"]:
            asyncio.run(self._wait())
        elif not self.changed:
            self.after = self.before
        else:
            try:
                self.after = self.describe()
            except TiwError as error:
                # The action is done all the same.
                self.module.warn(f"The state after the change could not be read: {error}")

    async def _wait(self) -> None:
        from tiw_automation.core import RecordWatcher

        watcher = RecordWatcher(self.client)
        ends = watch_states(watcher, [t.cast(str, self.task_id)], self.waiting, lambda _: None)
        async with aclosing(ends) as outcomes:
            async for outcome in outcomes:
                self.after = outcome

    def wait_error(self) -> TiwError | None:
        """Return why a wait did not reach what it was for, or None."""
        from tiw_automation.core import TiwError

        outcome = self.after
        if not self.module.params["wait"] or outcome is None:
            return None
        reached = status_of(outcome) in self.waiting.states
        if self.module.params["wait_for"] is None and self.state == "stopped":
            # The task has ended, however: more was not asked for.
            reached = has_ended(outcome)
        elif outcome.verdict == "failed" and not self.kind.rules.final.isdisjoint(
            self.waiting.states
        ):
            reached = False
        return None if reached else outcome.error or TiwError(outcome.message)

    def to_result(self) -> dict[str, t.Any]:
        """Return the result of the module."""
        changed = self.changed or (self.module.check_mode and self.action is not None)
        previous = status_of(self.before)
        result: dict[str, t.Any] = {
            "changed": changed,
            "task_id": self.task_id,
            "previous_status": previous,
            self.key: self.after and self.shown(self.after),
            "elapsed": round(time.monotonic() - self.started, 3),
        }
        if self.module._diff:
            status = self.status_after[self.action] if changed and self.action else previous
            known = self.task_id if self.before else None
            result["diff"] = {
                "before": {"task_id": known, "status": previous},
                "after": {"task_id": self.task_id, "status": status},
            }
        return result


def run_change(change: Change) -> dict[str, t.Any]:
    """Bring a task into the wanted state and return the result of the module."""
    from tiw_automation.core import TiwError

    try:
        change.choose_action()
        if change.module.check_mode:
            change.predict()
            return change.to_result()
        if change.action is not None:
            change.changed = change.act(change.action)
        change.follow_up()
    except TiwError as error:
        change.after = change.after or change.before
        return failure(error, **change.to_result())
    unreached = change.wait_error()
    result = change.to_result()
    return result if unreached is None else failure(unreached, **result)


def status_of(outcome: Outcome | None) -> str | None:
    """Return the status that was seen, if any."""
    return outcome.described.status if outcome and outcome.described else None


def has_ended(outcome: Outcome) -> bool:
    """Return whether the task runs no longer; one that failed may have no status."""
    return outcome.is_final or status_of(outcome) in ("STOPPED", "FINISHED")


def without_none(value: t.Any) -> t.Any:
    """Return options without those that were left out, which Ansible sets to None."""
    if isinstance(value, dict):
        return {name: without_none(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_none(item) for item in value]
    return value
