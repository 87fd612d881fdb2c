# SPDX-License-Identifier: Apache-2.0
"""Which actions of the API the keys may call, found out without changing anything.

An action that reads is called once. Where it needs a task id, it gets one that no task has: the
answer that this task was not found comes after the check of the permission. An action that
creates or sets something is never called.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.api.running_tasks import ACTION as RUNNING_TASKS
from tiw_automation.core.errors import DeadlineExceeded, TaskNotFound, TiwError
from tiw_automation.core.tasks.kinds import TASK_KINDS

NO_TASK = "tiw-doctor-no-such-task"
_NO_FILE = "https://tiw-doctor.invalid/no-such-file.pptx"
_LONGER_S = 1.0
_NEVER = "never called, because it would create or change something"
_ONLY_PROBED = "called only with --probe"


@dataclass(frozen=True)
class Action:
    """One action of the API.

    :param params: beside the SdkAppId; None where it is not called.
    :param app_key: the API's name of the SdkAppId.
    :param why_not: why it is not called.
    :param vague_codes: errors that mean that the task was not found.
    :param is_needed: whether nothing works without it.
    """

    name: str
    params: Mapping[str, Any] | None = None
    app_key: str = "SdkAppId"
    why_not: str = _NEVER
    vague_codes: tuple[str, ...] = ()
    is_needed: bool = False

    @property
    def is_called(self) -> bool:
        return self.params is not None

    @property
    def check_name(self) -> str:
        """The name of its check."""
        return f"tiw:{self.name}"


@dataclass
class Answered:
    """How the API answered an action."""

    action: Action
    response: Mapping[str, Any] | None = None
    error: TiwError | None = None

    @property
    def is_permitted(self) -> bool:
        """Whether its error is the expected one: there is no such task."""
        error = self.error
        return isinstance(error, TaskNotFound) or (
            error is not None and error.code in self.action.vague_codes
        )


def needed_policy(action: str, sdk_app_id: int | None) -> str:
    """Return what a CAM policy must allow for an action."""
    return f"tiw:{action} on qcs::tiw::uin/<account>:sdkappid/{sdk_app_id or '<SdkAppId>'}"


def read_actions(probe: bool) -> list[Action]:
    """Return every action that this package uses; the first one is what all else needs.

    :param probe: whether to call those that stop, pause and resume.
    """
    return [*_reading(), *_changing(probe), *_creating()]


def _reading() -> Iterator[Action]:
    for kind in TASK_KINDS.values():
        yield Action(
            kind.describe_action,
            {kind.id_key: NO_TASK},
            vague_codes=kind.vague_codes,
            is_needed=kind.name == "online_record",
        )
    yield Action("DescribeTranscodeByUrl", {"Url": _NO_FILE})
    about = {"TaskType": "OnlineRecord", "Offset": 0, "Limit": 1}
    yield Action(RUNNING_TASKS, about, app_key="SdkAppID")
    yield Action("DescribeOnlineRecordCallback", {})


def _changing(probe: bool) -> Iterator[Action]:
    stops = [kind.stop_action for kind in TASK_KINDS.values() if kind.stop_action]
    for name in ("PauseOnlineRecord", "ResumeOnlineRecord", *stops):
        params = {"TaskId": NO_TASK} if probe else None
        yield Action(name, params, why_not=_ONLY_PROBED)


def _creating() -> Iterator[Action]:
    for kind in TASK_KINDS.values():
        yield Action(kind.create_action)
    for name in ("SetOnlineRecordCallback", "SetOnlineRecordCallbackKey"):
        yield Action(name)


def ask_all(client: TiwClient, actions: Sequence[Action], timeout_s: float) -> list[Answered]:
    """Call the actions that may be called, all at once; return all in their order.

    :param timeout_s: of each call. An action whose slot does not come in time counts as
        unanswered.
    """
    answers = [Answered(action) for action in actions]
    # Daemons: a call that waits for its slot must not keep the process.
    threads = [
        threading.Thread(target=_ask, args=(client, answer), daemon=True)
        for answer in answers
        if answer.action.is_called
    ]
    for answer in answers:
        if answer.action.is_called:
            answer.error = DeadlineExceeded(f"No answer came within {timeout_s:g} s.")
    deadline = time.monotonic() + timeout_s + _LONGER_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    return answers


def _ask(client: TiwClient, answer: Answered) -> None:
    action = answer.action
    assert action.params is not None
    params = {action.app_key: client.sdk_app_id(), **action.params}
    try:
        answer.response = client.call(action.name, params)
    except TiwError as error:
        answer.error = error
    else:
        answer.error = None
