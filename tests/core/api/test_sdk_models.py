# SPDX-License-Identifier: Apache-2.0
"""The SDK's models list the API's fields: a new field must make a test fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from tencentcloud.tiw.v20190919 import models

from tiw_automation.core import START_OPTIONS, TASK_KINDS, OnlineRecord, TaskKind, TiwTask
from tiw_automation.core.api.running_tasks import read_page
from tiw_automation.core.tasks.kind import python_name
from tiw_automation.core.tasks.options import Option


def fields(model: str) -> set[str]:
    return {name.removeprefix("_") for name in vars(getattr(models, model)())}


class Read(Mapping[str, Any]):
    """A mapping that notes which keys were read."""

    def __init__(self, **known: Any) -> None:
        self.known = known
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return self.known[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)


def test_every_field_of_a_recording_is_read() -> None:
    parts = {
        "VideoInfos": ("VideoInfo", Read()),
        "OmittedDurations": ("OmittedDuration", Read()),
        "Interrupts": ("Interrupt", Read()),
    }
    answer = Read(**{name: [read] for name, (_, read) in parts.items()})
    OnlineRecord.from_response(answer, sdk_app_id=1, task_id="t")
    assert answer.asked == fields("DescribeOnlineRecordResponse")
    for model, read in parts.values():
        assert read.asked == fields(model)


def test_every_field_of_a_running_task_is_read() -> None:
    task = Read(TaskID="t")
    answer = Read(Tasks=[task])
    read_page(answer, sdk_app_id=1, task_type="OnlineRecord")
    assert answer.asked == fields("DescribeRunningTasksResponse") - {"RequestId"}
    assert task.asked == fields("RunningTaskItem")


def options_of(options: Sequence[Option], name: str) -> Sequence[Option]:
    (found,) = [option for option in options if option.api_name == name]
    return found.options


WHOLE = START_OPTIONS
CUSTOM = options_of(options_of(WHOLE, "MixStream"), "Custom")


@pytest.mark.parametrize(
    ("model", "options", "given_otherwise"),
    [
        (
            "StartOnlineRecordRequest",
            WHOLE,
            {"SdkAppId", "RoomId", "RecordUserId", "RecordUserSig"},
        ),
        ("Concat", options_of(WHOLE, "Concat"), set()),
        ("Whiteboard", options_of(WHOLE, "Whiteboard"), set()),
        ("MixStream", options_of(WHOLE, "MixStream"), set()),
        ("CustomLayout", CUSTOM, set()),
        ("Canvas", options_of(CUSTOM, "Canvas"), set()),
        ("LayoutParams", options_of(options_of(CUSTOM, "Canvas"), "LayoutParams"), set()),
        ("StreamLayout", options_of(CUSTOM, "InputStreamList"), set()),
        ("RecordControl", options_of(WHOLE, "RecordControl"), set()),
        ("StreamControl", options_of(options_of(WHOLE, "RecordControl"), "StreamControls"), set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_option_of_a_start_can_be_given(
    model: str, options: Sequence[Option], given_otherwise: set[str]
) -> None:
    assert {option.api_name for option in options} == fields(model) - given_otherwise


@pytest.mark.parametrize(
    ("model", "known"),
    [
        ("DescribeOnlineRecordRequest", {"SdkAppId", "TaskId"}),
        ("PauseOnlineRecordRequest", {"SdkAppId", "TaskId"}),
        ("ResumeOnlineRecordRequest", {"SdkAppId", "TaskId"}),
        ("StopOnlineRecordRequest", {"SdkAppId", "TaskId"}),
        ("StartOnlineRecordResponse", {"TaskId", "RequestId"}),
        ("DescribeOnlineRecordCallbackRequest", {"SdkAppId"}),
        ("DescribeOnlineRecordCallbackResponse", {"Callback", "CallbackKey", "RequestId"}),
        ("SetOnlineRecordCallbackRequest", {"SdkAppId", "Callback"}),
        ("SetOnlineRecordCallbackKeyRequest", {"SdkAppId", "CallbackKey"}),
        ("DescribeRunningTasksRequest", {"SdkAppID", "TaskType", "Offset", "Limit"}),
    ],
)
def test_the_smaller_messages(model: str, known: set[str]) -> None:
    assert fields(model) == known


OTHERS = [kind for kind in TASK_KINDS.values() if kind.name != "online_record"]


@pytest.mark.parametrize("kind", OTHERS, ids=lambda kind: kind.name)
def test_every_option_of_a_kind_can_be_given(kind: TaskKind) -> None:
    sent = {option.api_name for option in kind.options} | {"SdkAppId"}
    assert sent == fields(f"{kind.create_action}Request")


@pytest.mark.parametrize(
    ("kind", "option", "model"),
    [
        ("whiteboard_push", "Whiteboard", "Whiteboard"),
        ("whiteboard_push", "Backup", "WhiteboardPushBackupParam"),
        ("whiteboard_push", "IMAuthParam", "AuthParam"),
        ("whiteboard_push", "TRTCAuthParam", "AuthParam"),
        ("transcode", "ExcelParam", "ExcelParam"),
        ("snapshot", "Whiteboard", "SnapshotWhiteboard"),
        ("snapshot", "COS", "SnapshotCOS"),
        ("video_generation", "Concat", "Concat"),
        ("video_generation", "MixStream", "MixStream"),
        ("video_generation", "RecordControl", "RecordControl"),
    ],
)
def test_every_part_of_an_option_can_be_given(kind: str, option: str, model: str) -> None:
    parts = options_of(TASK_KINDS[kind].options, option)
    assert {part.api_name for part in parts} == fields(model)


@pytest.mark.parametrize("kind", TASK_KINDS.values(), ids=lambda kind: kind.name)
def test_the_names_of_options_are_those_of_the_api_in_pythons_case(kind: TaskKind) -> None:
    for option in kind.options:
        assert option.name == python_name(option.api_name)
        assert all(part.name == python_name(part.api_name) for part in option.options)


@pytest.mark.parametrize("kind", OTHERS, ids=lambda kind: kind.name)
def test_every_field_of_an_answer_comes_through(kind: TaskKind) -> None:
    names = fields(f"{kind.describe_action}Response")
    assert kind.id_key in names
    assert fields(f"{kind.describe_action}Request") == {"SdkAppId", kind.id_key}
    answer = {**dict.fromkeys(names, 7), kind.id_key: "t", "Status": "QUEUED"}
    task = kind.read(answer, sdk_app_id=1, task_id="t")
    assert isinstance(task, TiwTask)
    plain = names - {kind.id_key, "Status", "Progress", "RequestId"}
    back = {python_name(name): name for name in plain}
    # Two names must not become one.
    assert len(back) == len(plain)
    assert {back[name] for name in task.result} == plain
    assert task.raw == answer


def test_the_names_that_are_hard_to_convert() -> None:
    names = {
        "TaskID": "task_id",
        "COS": "cos",
        "VideoFPS": "video_fps",
        "IMAuthParam": "im_auth_param",
        "TRTCRoomIdStr": "trtc_room_id_str",
        "IsStaticPPT": "is_static_ppt",
        "IsOK": "is_ok",
        "IMSyncTime": "im_sync_time",
        "CallbackURL": "callback_url",
        "VideoInfoList": "video_info_list",
    }
    assert {name: python_name(name) for name in names} == names
