# SPDX-License-Identifier: Apache-2.0
"""The SDK's models list the API's fields: a new field must make a test fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest
from tencentcloud.tiw.v20190919 import models

from tiw_automation.core import START_OPTIONS, OnlineRecord
from tiw_automation.core.api.running_tasks import read_page
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
