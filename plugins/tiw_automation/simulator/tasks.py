# SPDX-License-Identifier: Apache-2.0
"""The recordings of every application, and what each action does to them.

The tasks of all other families are in ``task_engine.py``.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from . import usersig
from .clock import Clock
from .errors import ApiFault
from .families import CALLBACKS, DAY_S, FAMILIES, callback_actions
from .recordings import DEFAULT_STOPPED_S, RUNNING, Recording
from .starting import Room, check_options, new_recording, user_failure
from .task_engine import Action, TaskEngine
from .task_state import AnyTask, Task

APP_STATES = ("active", "not_registered", "expired", "foreign")
"""The states of an application: usable, or why it is not."""
DEFAULT_MAX_RECORDINGS = 100
LISTED_S = 3 * DAY_S
"""For how long after its creation DescribeRunningTasks lists a task, seconds."""

_APP_NOT_FOUND = {
    "StartOnlineRecord": "InvalidParameter.SdkAppIdNotFound",
    **{family.create: family.app_not_found for family in FAMILIES.values()},
}
_REFUSALS = {
    "not_registered": (
        "ResourceUnavailable.NotRegistered",
        "The application has not activated the Interactive Whiteboard service.",
    ),
    "expired": (
        "ResourceUnavailable.ServiceExpired",
        "The Interactive Whiteboard service of the application has expired.",
    ),
    "foreign": (
        "UnauthorizedOperation.SdkAppId",
        "The SdkAppId does not exist or does not match the current Tencent Cloud account.",
    ),
}


class Callback(NamedTuple):
    """Where events are posted, and what signs them; either may be empty."""

    url: str = ""
    key: str = ""


@dataclass(slots=True)
class App:
    """An application.

    :param state: one of ``APP_STATES``
    :param max_recordings: how many may run at once
    :param callbacks: by the family of the tasks
    :param user_sig_key: what signs its users; without one every signature is valid
    """

    state: str = "active"
    max_recordings: int = DEFAULT_MAX_RECORDINGS
    callbacks: dict[str, Callback] = field(default_factory=dict)
    user_sig_key: str | None = None

    def callback(self, family: str) -> Callback:
        """Return where the events of a family's tasks are posted."""
        return self.callbacks.get(family, Callback())


class Recorder:
    """Carries out the actions of TIW; not safe to use from several threads at once.

    :param clock: the server's own time, UNIX seconds: user signatures expire by it
    :param virtual: returns the time that recordings live in
    :param changed: called with each recording or other task that is new or has changed
    """

    def __init__(self, clock: Clock, virtual: Clock, changed: Callable[[AnyTask], None]) -> None:
        self.apps: dict[int, App] = {}
        self.rooms: dict[int, Room] = {}
        self.recordings: dict[tuple[int, str], Recording] = {}
        self.base_url = ""
        self.stopped_s = DEFAULT_STOPPED_S
        self.started: int = 0
        self.writes: int = 0
        self._clock = clock
        self._virtual = virtual
        self._changed = changed
        # Those that ran at the last check, so that a start need not check all recordings.
        self._running: dict[tuple[int, str], None] = {}
        self.engine: TaskEngine = TaskEngine(
            virtual=virtual,
            changed=self._add,
            recordings=self.recordings,
            user_problem=self._user_sig_problem,
            base_url=lambda: self.base_url,
        )
        self._actions: dict[str, Action] = {
            "StartOnlineRecord": self._start,
            "PauseOnlineRecord": partial(self._change, Recording.pause),
            "ResumeOnlineRecord": partial(self._change, Recording.resume),
            "StopOnlineRecord": partial(self._change, Recording.stop),
            "DescribeRunningTasks": self._running_tasks,
            **self.engine.actions(),
        }
        for family in CALLBACKS:
            describe, set_url, set_key = callback_actions(family)
            self._actions[describe] = partial(self._describe_callback, family)
            self._actions[set_url] = partial(self._set_callback, family)
            self._actions[set_key] = partial(self._set_callback, family)

    def put(self, recording: Recording) -> None:
        """Add a recording, or replace the one of the same application and id."""
        key = (recording.sdk_app_id, recording.task_id)
        self.recordings[key] = recording
        self._running[key] = None
        self._add(recording)

    def _add(self, task: AnyTask) -> None:
        self.apps.setdefault(task.sdk_app_id, App())
        self._changed(task)

    def execute(self, action: str, parameters: dict[str, Any]) -> str:
        """Carry out an action; return its answer without a RequestId, as JSON.

        :param parameters: checked
        :raises ApiFault: it is refused
        """
        self._check_app(action, parameters)
        if action == "DescribeOnlineRecord":
            return self._find(parameters).describe(self._virtual(), self.base_url)
        answer = self._actions[action](parameters)
        if not action.startswith("Describe"):
            self.writes += 1
        return json.dumps(answer)

    def _check_app(self, action: str, parameters: Mapping[str, Any]) -> None:
        sdk_app_id = parameters["SdkAppID" if "SdkAppID" in parameters else "SdkAppId"]
        app = self.apps.get(sdk_app_id)
        if app is None and action in _APP_NOT_FOUND:
            code = _APP_NOT_FOUND[action]
            raise ApiFault(code, f"The SdkAppId `{sdk_app_id}` is not found.")
        state = "foreign" if app is None else app.state
        if state in _REFUSALS:
            raise ApiFault(*_REFUSALS[state])

    def _start(self, parameters: dict[str, Any]) -> dict[str, Any]:
        check_options(parameters)
        sdk_app_id, now = parameters["SdkAppId"], self._virtual()
        app = self.apps[sdk_app_id]
        running = [known for known in self._all_running(now) if known.sdk_app_id == sdk_app_id]
        if any(known.record_user_id == parameters["RecordUserId"] for known in running):
            raise ApiFault("ResourceInUse.RecordUserId", "The record user is used by another task.")
        if any(known.room_id == parameters["RoomId"] for known in running):
            raise ApiFault(
                "LimitExceeded.TaskConcurrency", "The room is being recorded by another task."
            )
        if len(running) >= app.max_recordings:
            raise ApiFault(
                "LimitExceeded.TaskConcurrency",
                f"The application has {len(running)} recordings, which is its limit.",
            )
        problem = self._user_sig_problem(
            sdk_app_id, parameters["RecordUserId"], parameters["RecordUserSig"]
        )
        recording = new_recording(
            parameters,
            self.rooms.get(parameters["RoomId"], Room()),
            task_id=secrets.token_hex(10),
            now=now,
            stopped_s=self.stopped_s,
            failure=user_failure(parameters, problem, now),
        )
        self.put(recording)
        self.started += 1
        return {"TaskId": recording.task_id}

    def _user_sig_problem(self, sdk_app_id: int, user: str, signature: str) -> str | None:
        key = self.apps[sdk_app_id].user_sig_key
        if key is None:
            return None
        return usersig.problem(signature, key, sdk_app_id, user, self._clock())

    def _all_running(self, now: float) -> list[Recording]:
        running = []
        for key in list(self._running):
            recording = self.recordings[key]
            if recording.status(now) in RUNNING:
                running.append(recording)
            else:
                del self._running[key]
        return running

    def _find(self, parameters: Mapping[str, Any]) -> Recording:
        recording = self.recordings.get((parameters["SdkAppId"], parameters["TaskId"]))
        if recording is None:
            raise ApiFault("InvalidParameter.TaskNotFound", "The task to query does not exist.")
        return recording

    def _change(
        self, change: Callable[[Recording, float], Recording], parameters: dict[str, Any]
    ) -> dict[str, Any]:
        self.put(change(self._find(parameters), self._virtual()))
        return {}

    def _describe_callback(self, family: str, parameters: dict[str, Any]) -> dict[str, Any]:
        callback = self.apps[parameters["SdkAppId"]].callback(family)
        return {"Callback": callback.url, "CallbackKey": callback.key}

    def _set_callback(self, family: str, parameters: dict[str, Any]) -> dict[str, Any]:
        app = self.apps[parameters["SdkAppId"]]
        url, key = app.callback(family)
        app.callbacks[family] = Callback(
            parameters.get("Callback", url), parameters.get("CallbackKey", key)
        )
        return {}

    def _running_tasks(self, parameters: dict[str, Any]) -> dict[str, Any]:
        now = self._virtual()
        known: list[AnyTask] = [*self.recordings.values(), *self.engine.tasks.values()]
        tasks = [
            _running_task(task, now)
            for task in known
            if task.sdk_app_id == parameters["SdkAppID"]
            and task.listed_as == parameters["TaskType"]
            and not task.is_over(now)
            and now - task.created <= LISTED_S
        ]
        first = parameters.get("Offset", 0)
        return {"Total": len(tasks), "Tasks": tasks[first : first + parameters.get("Limit", 100)]}


def _running_task(task: AnyTask, now: float) -> dict[str, Any]:
    # The times of this action have no zone; China's is the likely one.
    created = datetime.fromtimestamp(task.created + 8 * 3600, UTC)
    return {
        "SdkAppID": task.sdk_app_id,
        "TaskID": task.task_id,
        "TaskType": task.listed_as,
        "CreateTime": created.strftime("%Y-%m-%d %H:%M:%S"),
        "CancelTime": "",
        "Status": "QUEUED" if task.status(now) in ("PREPARED", "QUEUED") else "PROCESSING",
        "Progress": task.progress(now) if isinstance(task, Task) else 0,
        "FileURL": task.options.get("Url", "") if isinstance(task, Task) else "",
        "RoomID": task.options.get("RoomId", 0) if isinstance(task, Task) else task.room_id,
    }
