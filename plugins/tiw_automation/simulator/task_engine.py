# SPDX-License-Identifier: Apache-2.0
"""The tasks of all families but recordings, and what each action does to them."""

from __future__ import annotations

import json
import secrets
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from .clock import Clock
from .errors import ApiFault
from .families import DAY_S, FAMILIES
from .recordings import Recording
from .task_state import Family, Task

Action = Callable[[dict[str, Any]], dict[str, Any]]
UserProblem = Callable[[int, str, str], str | None]
"""Returns what is wrong with a signature, for its application, its user and itself."""


def new_id(family: Family) -> str:
    """Return a task id of the form that a family has."""
    return str(uuid.uuid4()) if family.id_key == "TaskID" else secrets.token_hex(10)


class TaskEngine:
    """Carries out the actions of the families; not safe to use from several threads at once.

    :param virtual: returns the time that tasks live in
    :param changed: called with each task that is new or has changed
    :param recordings: those of every application, by application and task id
    :param user_problem: checks the signatures of users
    :param base_url: returns the URL of the files
    """

    def __init__(
        self,
        *,
        virtual: Clock,
        changed: Callable[[Task], None],
        recordings: Mapping[tuple[int, str], Recording],
        user_problem: UserProblem,
        base_url: Callable[[], str],
    ) -> None:
        self.tasks: dict[tuple[str, int, str], Task] = {}
        self.defaults: dict[str, dict[str, Any]] = {}
        """The optional arguments of a :class:`Task` that a request creates, by family."""
        self._virtual = virtual
        self._changed = changed
        self._recordings = recordings
        self._user_problem = user_problem
        self._base_url = base_url

    def actions(self) -> dict[str, Action]:
        """Return each action by its name."""
        actions: dict[str, Action] = {}
        for family in FAMILIES.values():
            actions[family.create] = partial(self._create, family)
            actions[family.describe] = partial(self._describe, family)
            if family.stop:
                actions[family.stop] = partial(self._stop, family)
            if family.by_url:
                actions[family.by_url] = partial(self._find_by_url, family)
        return actions

    def put(self, task: Task) -> None:
        """Add one task, or replace the one of the same family, application and id."""
        self.tasks[task.family_name, task.sdk_app_id, task.task_id] = task
        self._changed(task)

    def add(self, task: Task) -> None:
        """Add a task, and the second one that its options ask for."""
        for one in self._with_backup(task):
            self.put(one)

    def set_idle(self, sdk_app_id: int, task_id: str, idle: bool) -> bool:
        """Silence the room of a task, or end the silence; return whether there is such a task."""
        for family in FAMILIES.values():
            task = self.tasks.get((family.name, sdk_app_id, task_id))
            if task is not None and family.auto_stop_s is not None:
                self.put(task.room_idle(self._virtual(), idle))
                return True
        return False

    def _create(self, family: Family, parameters: dict[str, Any]) -> dict[str, Any]:
        sdk_app_id, now = parameters["SdkAppId"], self._virtual()
        defaults = self.defaults.get(family.name, {})
        task = Task(family, sdk_app_id, new_id(family), now, parameters, **defaults)
        task = replace(
            task,
            failure=task.failure or self._failure(task),
            recording=self._source(task),
            is_started=True,
        )
        new = self._with_backup(task)
        self._check_users(new, now)
        for one in new:
            self.put(one)
        answer = {family.id_key: task.task_id}
        if family.user_key is not None:
            answer["Backup"] = _text({"TaskId": new[1].task_id}) if len(new) > 1 else ""
        return answer

    def _failure(self, task: Task) -> ApiFault | None:
        """Return the error with which a task's own parameters make it fail."""
        options, key = task.options, task.family.user_key
        url = options.get("Url")
        if url is not None and not url.lower().startswith(("http://", "https://")):
            return ApiFault("InvalidParameter.UrlFormatError", "The format of the Url is invalid.")
        if key is not None:
            signature = options[key.replace("UserId", "UserSig")]
            problem = self._user_problem(task.sdk_app_id, options[key], signature)
            if problem is not None:
                message = f"code: 40006, msg: TRTC onError, code: -70003, msg: {problem}\n"
                return ApiFault(task.family.failures[0], message)
        return None

    def _source(self, task: Task) -> Recording | None:
        key = task.family.source_key
        if key is None:
            return None
        recording = self._recordings.get((task.sdk_app_id, task.options[key]))
        if recording is None:
            raise ApiFault("InvalidParameter.TaskNotFound", "The recording does not exist.")
        return recording

    def _with_backup(self, task: Task) -> list[Task]:
        """Return a task, and the second one that its options ask for."""
        options, key = task.options, task.family.user_key
        if key is None or not (options.get("AutoManageBackup") or "Backup" in options):
            return [task]
        user = options.get("Backup") or {key: f"{options[key]}_backup"}
        own = {name: value for name, value in options.items() if name != "Backup"}
        backup = replace(task, task_id=new_id(task.family), options={**own, **user})
        return [replace(task, backup_id=backup.task_id), backup]

    def _check_users(self, new: list[Task], now: float) -> None:
        key, first = new[0].family.user_key, new[0]
        if key is None:
            return
        known = self._of(first.family_name, first.sdk_app_id)
        users = [task.options[key] for task in (*known, *new) if not task.is_over(now)]
        if any(users.count(task.options[key]) > 1 for task in new):
            raise ApiFault("ResourceInUse.RecordUserId", "The user is used by another task.")

    def _of(self, family: str, sdk_app_id: int) -> Iterator[Task]:
        for (name, app, _), task in self.tasks.items():
            if (name, app) == (family, sdk_app_id):
                yield task

    def _find(self, family: Family, sdk_app_id: int, task_id: str) -> Task:
        task = self.tasks.get((family.name, sdk_app_id, task_id))
        if task is None or self._virtual() > task.ended_at + family.record_kept_s:
            raise ApiFault(family.not_found, "The task to query does not exist.")
        return task

    def _describe(self, family: Family, parameters: dict[str, Any]) -> dict[str, Any]:
        task = self._find(family, parameters["SdkAppId"], parameters[family.id_key])
        answer = task.describe(self._virtual(), self._base_url())
        if task.backup_id is not None:
            backup = self._find(family, task.sdk_app_id, task.backup_id)
            answer["Backup"] = _text(backup.answer(self._virtual(), self._base_url()))
        return answer

    def _stop(self, family: Family, parameters: dict[str, Any]) -> dict[str, Any]:
        task = self._find(family, parameters["SdkAppId"], parameters[family.id_key])
        self.put(task.stop(self._virtual()))
        if task.backup_id is None or not task.options.get("AutoManageBackup"):
            return {"Backup": ""}
        backup = self._find(family, task.sdk_app_id, task.backup_id)
        if not backup.is_over(self._virtual()):
            self.put(backup.stop(self._virtual()))
        return {"Backup": _text({})}

    def _find_by_url(self, family: Family, parameters: dict[str, Any]) -> dict[str, Any]:
        now = self._virtual()
        found = [
            task
            for task in self._of(family.name, parameters["SdkAppId"])
            if task.options["Url"] == parameters["Url"] and now - task.created <= DAY_S
        ]
        if not found:
            raise ApiFault(family.not_found, "The task to query does not exist.")
        # Of tasks that were created at once, the last one is the newest.
        task = max(reversed(found), key=lambda task: task.created)
        failed = task.failure is not None and task.is_over(now)
        status = "EXCEPTION" if failed else task.status(now)
        return {"Progress": task.progress(now), "Status": status, "TaskId": task.task_id}


def _text(answer: Mapping[str, Any]) -> str:
    """Return what a backup's own answer would be, as JSON text."""
    return json.dumps({"RequestId": str(uuid.uuid4()), **answer}, separators=(",", ":"))
