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

DEFAULT_PAGES = 3
Action = Callable[[dict[str, Any]], dict[str, Any]]
UserProblem = Callable[[int, str, str], str | None]
"""Returns what is wrong with a signature, for its application, its user and itself."""


def new_task(
    family: Family,
    options: Mapping[str, Any],
    *,
    sdk_app_id: int,
    created: float,
    task_id: str | None = None,
    pages: int = DEFAULT_PAGES,
    queued_s: float | None = None,
    duration_s: float | None = None,
    failure: ApiFault | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Task:
    """Return a task; what is not given is what the family's table has."""
    random_id = str(uuid.uuid4()) if family.id_key == "TaskID" else secrets.token_hex(10)
    return Task(
        family=family,
        sdk_app_id=sdk_app_id,
        task_id=task_id or random_id,
        created=created,
        options=options,
        pages=pages,
        queued_s=family.queued_s if queued_s is None else queued_s,
        duration_s=family.duration_s if duration_s is None else duration_s,
        failure=failure,
        fields=fields or {},
    )


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
        """The arguments of :func:`new_task` for tasks that requests create, by family."""
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
        """Add a task, or replace the one of the same family, application and id."""
        self.tasks[task.family_name, task.sdk_app_id, task.task_id] = task
        self._changed(task)

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
        task = new_task(family, parameters, sdk_app_id=sdk_app_id, created=now, **defaults)
        task = replace(task, is_started=True, failure=task.failure or self._failure(task))
        task = self._with_source(task)
        backup = self._backup_of(task)
        new = [task] if backup is None else [replace(task, backup_id=backup.task_id), backup]
        self._check_users(new, now)
        for one in new:
            self.put(one)
        answer = {family.id_key: task.task_id}
        if family.user_key:
            answer["Backup"] = "" if backup is None else _text({"TaskId": backup.task_id})
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

    def _with_source(self, task: Task) -> Task:
        key = task.family.source_key
        if key is None:
            return task
        recording = self._recordings.get((task.sdk_app_id, task.options[key]))
        if recording is None:
            raise ApiFault("InvalidParameter.TaskNotFound", "The recording does not exist.")
        return replace(task, recording=recording)

    def _backup_of(self, task: Task) -> Task | None:
        """Return the second task that is started together with a task."""
        options, key = task.options, task.family.user_key
        if key is None or not (options.get("AutoManageBackup") or "Backup" in options):
            return None
        user = options.get("Backup") or {key: f"{options[key]}_backup"}
        own = {name: value for name, value in options.items() if name != "Backup"}
        return replace(task, task_id=secrets.token_hex(10), options={**own, **user})

    def _check_users(self, new: list[Task], now: float) -> None:
        key = new[0].family.user_key
        if key is None:
            return
        family, app = new[0].family_name, new[0].sdk_app_id
        used = {task.options[key] for task in self._of(family, app) if not task.is_over(now)}
        if used & {task.options[key] for task in new}:
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
            request = {"SdkAppId": task.sdk_app_id, "TaskId": task.backup_id}
            answer["Backup"] = _text(self._attempt(self._describe, family, request))
        return answer

    def _stop(self, family: Family, parameters: dict[str, Any]) -> dict[str, Any]:
        task = self._find(family, parameters["SdkAppId"], parameters[family.id_key])
        self.put(task.stop(self._virtual()))
        if task.backup_id is None or not task.options.get("AutoManageBackup"):
            return {"Backup": ""}
        request = {"SdkAppId": task.sdk_app_id, "TaskId": task.backup_id}
        return {"Backup": _text(self._attempt(self._stop, family, request))}

    def _attempt(
        self,
        action: Callable[[Family, dict[str, Any]], dict[str, Any]],
        family: Family,
        request: dict[str, Any],
    ) -> dict[str, Any]:
        """Return what an action on a backup answers, which may be an error."""
        try:
            return action(family, request)
        except ApiFault as refused:
            return {"Error": {"Code": refused.code, "Message": refused.message}}

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
