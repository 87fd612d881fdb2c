# SPDX-License-Identifier: Apache-2.0
"""What each action does, and each code with which it refuses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tiw_automation.simulator import ScriptError, Simulator
from tiw_automation.simulator.usersig import make, problem

Call = Callable[..., dict[str, Any]]
CodeOf = Callable[..., str]

ROOM = 1203
START: dict[str, Any] = {
    "RoomId": ROOM,
    "RecordUserId": f"tic_record_user_{ROOM}_1",
    "RecordUserSig": "any",
}
HOUR = 3600


def changed(**changes: Any) -> dict[str, Any]:
    return {**START, **changes}


def in_room(room_id: int, number: int = 1) -> dict[str, Any]:
    return changed(RoomId=room_id, RecordUserId=f"tic_record_user_{room_id}_{number}")


@pytest.fixture
def still() -> Iterator[Simulator]:
    """Yield a simulator whose virtual time moves only by ``advance``."""
    with Simulator(speed=0, limit=0) as simulator:
        yield simulator


def test_a_recording_from_start_to_finish(still: Simulator, call: Call) -> None:
    task_id = call(still, "StartOnlineRecord", **START)["TaskId"]

    def describe() -> dict[str, Any]:
        return call(still, "DescribeOnlineRecord", TaskId=task_id)

    assert describe()["Status"] == "PREPARED"
    assert describe()["RecordStartTime"] == 0
    still.advance(2)
    assert describe()["Status"] == "RECORDING"
    still.advance(30)
    call(still, "PauseOnlineRecord", TaskId=task_id)
    assert describe()["Status"] == "PAUSED"
    still.advance(10)
    call(still, "ResumeOnlineRecord", TaskId=task_id)
    still.advance(20)
    call(still, "StopOnlineRecord", TaskId=task_id)
    stopped = describe()
    assert (stopped["Status"], stopped["FinishReason"]) == ("STOPPED", "USER_CALL")
    assert stopped["VideoInfos"] == []
    still.advance(8)
    finished = describe()
    assert finished["Status"] == "FINISHED"
    assert finished["TotalTime"] == 50_000
    assert finished["RecordStopTime"] - finished["RecordStartTime"] == 60
    assert finished["GroupId"] == str(ROOM)
    # Two cameras and the whiteboard, each before and after the pause.
    tracks = [(v["VideoType"], v["UserId"], v["VideoPlayTime"]) for v in finished["VideoInfos"]]
    assert tracks == [
        *((0, "teacher", 0), (0, "teacher", 30_000)),
        *((0, "student", 0), (0, "student", 30_000)),
        *((2, "", 0), (2, "", 30_000)),
    ]
    assert finished["OmittedDurations"] == []
    assert (still.started, still.writes) == (1, 4)
    (facts,) = still.recordings
    assert facts["status"] == "FINISHED"
    assert facts["is_started"]


def finished_after(
    simulator: Simulator, call: Call, pauses: int = 0, **options: Any
) -> dict[str, Any]:
    task_id = call(simulator, "StartOnlineRecord", **changed(**options))["TaskId"]
    simulator.advance(12)
    for _ in range(pauses):
        call(simulator, "PauseOnlineRecord", TaskId=task_id)
        simulator.advance(5)
        call(simulator, "ResumeOnlineRecord", TaskId=task_id)
        simulator.advance(10)
    call(simulator, "StopOnlineRecord", TaskId=task_id)
    simulator.advance(8)
    return call(simulator, "DescribeOnlineRecord", TaskId=task_id)


def shapes(answer: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [
        (v["VideoType"], v["UserId"], v["VideoFormat"], v["Width"], v["Height"])
        for v in answer["VideoInfos"]
    ]


def test_concat_makes_one_file_and_lists_what_it_leaves_out(still: Simulator, call: Call) -> None:
    answer = finished_after(still, call, pauses=2, Concat={"Enabled": True})
    assert [v["VideoDuration"] for v in answer["VideoInfos"]] == [30_000] * 3
    omitted = answer["OmittedDurations"]
    assert [o["VideoTime"] for o in omitted] == [10_000, 20_000]
    assert [o["ResumeTime"] - o["PauseTime"] for o in omitted] == [5_000, 5_000]


def test_the_size_of_the_whiteboard(still: Simulator, call: Call) -> None:
    answer = finished_after(still, call, Whiteboard={"Width": 641, "Height": 480})
    assert (2, "", "mp4", 641, 480) in shapes(answer)
    plain = finished_after(still, call, RoomId=7, RecordUserId="tic_record_user_7_1")
    assert (2, "", "mp4", 1280, 960) in shapes(plain)


CUSTOM = {
    "Canvas": {"LayoutParams": {"Width": 800, "Height": 600}, "BackgroundColor": "#00ffAA"},
    "InputStreamList": [
        {"LayoutParams": {"Width": 400, "Height": 600, "X": 10, "ZOrder": 2}, "FillMode": 1}
    ],
}


@pytest.mark.parametrize(
    ("mix", "file"),
    [
        ({"ModelId": 1}, (3, "tic_mixstream_1203_1", "mp4", 1320, 1224)),
        ({"ModelId": 2, "TeacherId": "t"}, (3, "tic_mixstream_1203_2", "mp4", 1624, 1000)),
        ({"Custom": CUSTOM}, (3, "tic_mixstream_1203_0", "mp4", 800, 600)),
    ],
)
def test_mixed_streams_are_added(
    still: Simulator, call: Call, mix: dict[str, Any], file: tuple[Any, ...]
) -> None:
    answer = finished_after(still, call, MixStream={"Enabled": True, **mix}, Extras=["MIX_STREAM"])
    assert shapes(answer)[-1] == file
    assert len(shapes(answer)) == 4


def test_audio_files(still: Simulator, call: Call) -> None:
    still.set_room(ROOM, users=["anna"], screen_shares=["anna"])
    answer = finished_after(still, call, AudioFileNeeded=True)
    assert [shape[:3] for shape in shapes(answer)] == [
        (0, "anna", "mp4"),
        (1, "tic_substream_anna", "mp4"),
        (2, "", "mp4"),
        (4, "anna", "mp3"),
        (4, "tic_substream_anna", "mp3"),
    ]


def test_record_control_switches_streams(still: Simulator, call: Call) -> None:
    still.set_room(ROOM, users=["anna", "annabel"], screen_shares=["anna"])
    only_the_whiteboard = {
        "Enabled": True,
        "DisableRecord": True,
        "DisableAudio": True,
        "StreamControls": [{"StreamId": "tic_record_user", "DisableRecord": False}],
    }
    answer = finished_after(still, call, RecordControl=only_the_whiteboard, AudioFileNeeded=True)
    assert [shape[:2] for shape in shapes(answer)] == [(2, "")]
    # A StreamId is a prefix; the longest one that matches counts.
    control = {
        "Enabled": True,
        "StreamControls": [
            {"StreamId": "anna", "DisableRecord": True},
            {"StreamId": "annabel", "DisableRecord": False, "PullSmallVideo": True},
        ],
    }
    more = changed(RoomId=ROOM, RecordUserId="tic_record_user_1203_2", RecordControl=control)
    answer = finished_after(still, call, **more)
    assert [shape[:2] for shape in shapes(answer)] == [
        (0, "annabel"),
        (1, "tic_substream_anna"),
        (2, ""),
    ]
    assert shapes(answer)[0][3:] == (320, 180)
    off = finished_after(
        still,
        call,
        **changed(
            RecordUserId="tic_record_user_1203_3",
            RecordControl={**control, "Enabled": False},
        ),
    )
    assert len(shapes(off)) == 4


def test_video_generation_has_a_replay(still: Simulator, call: Call) -> None:
    answer = finished_after(still, call, RecordMode="VIDEO_GENERATION_MODE", ChatGroupId="chat")
    with urllib.request.urlopen(answer["ReplayUrl"]) as page:
        assert b"Tencent" in page.read()
    realtime = finished_after(still, call, RoomId=7, RecordUserId="tic_record_user_7_1")
    assert realtime["ReplayUrl"] is None


def test_stopped_before_it_recorded(still: Simulator, call: Call) -> None:
    task_id = call(still, "StartOnlineRecord", **START)["TaskId"]
    still.advance(1)
    call(still, "StopOnlineRecord", TaskId=task_id)
    still.advance(8)
    answer = call(still, "DescribeOnlineRecord", TaskId=task_id)
    assert (answer["Status"], answer["RecordStartTime"]) == ("FINISHED", 0)
    assert answer["VideoInfos"] == []


def test_a_pause_of_ninety_minutes_ends_a_recording(still: Simulator, call: Call) -> None:
    task_id = call(still, "StartOnlineRecord", **START)["TaskId"]
    still.advance(10)
    call(still, "PauseOnlineRecord", TaskId=task_id)
    still.advance(1.5 * HOUR - 1)
    assert call(still, "DescribeOnlineRecord", TaskId=task_id)["Status"] == "PAUSED"
    still.advance(2)
    answer = call(still, "DescribeOnlineRecord", TaskId=task_id)
    assert (answer["Status"], answer["FinishReason"]) == ("STOPPED", "FORCE_STOP")


def test_a_recording_ends_after_a_day(still: Simulator, call: Call) -> None:
    task_id = call(still, "StartOnlineRecord", **START)["TaskId"]
    still.advance(24 * HOUR - 1)
    assert call(still, "DescribeOnlineRecord", TaskId=task_id)["Status"] == "RECORDING"
    still.advance(2)
    assert call(still, "DescribeOnlineRecord", TaskId=task_id)["FinishReason"] == "FORCE_STOP"


@pytest.mark.parametrize(("timeout", "after"), [({}, 300), ({"AutoStopTimeout": 600}, 600)])
def test_an_idle_room_ends_a_recording(
    still: Simulator, call: Call, timeout: dict[str, int], after: int
) -> None:
    task_id = call(still, "StartOnlineRecord", **changed(**timeout))["TaskId"]
    still.advance(100)
    still.room_idle(task_id)
    still.advance(after - 1)
    still.room_active(task_id)
    still.advance(after)
    assert call(still, "DescribeOnlineRecord", TaskId=task_id)["Status"] == "RECORDING"
    still.room_idle(task_id)
    still.advance(after + 1)
    answer = call(still, "DescribeOnlineRecord", TaskId=task_id)
    assert (answer["Status"], answer["FinishReason"]) == ("STOPPED", "AUTO")
    still.advance(8)
    answer = call(still, "DescribeOnlineRecord", TaskId=task_id)
    # An idle time of the room does not begin a new file.
    assert {video["VideoPlayTime"] for video in answer["VideoInfos"]} == {0}


def test_calls_change_a_scripted_recording_too(still: Simulator, call: Call) -> None:
    still.add("lesson", timeline=[{"RECORDING": 100}])
    still.advance(10)
    call(still, "PauseOnlineRecord", TaskId="lesson")
    still.advance(200)
    call(still, "StopOnlineRecord", TaskId="lesson")
    still.advance(8)
    assert call(still, "DescribeOnlineRecord", TaskId="lesson")["TotalTime"] == 10_000


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"RoomId": None}, "MissingParameter"),
        ({"RecordUserSig": None}, "MissingParameter"),
        ({"RoomId": "1203"}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"RoomId": 12.0}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"RoomId": True}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"AutoStopTimeout": 2**63}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"RoomId": 0}, "InvalidParameter.RecordParameter"),
        ({"RoomId": 2**32}, "InvalidParameter.RecordParameter"),
        ({"TRTCRoomId": 0}, "InvalidParameter.RecordParameter"),
        ({"RecordUserId": "tic_record_user_1203_" + "ü" * 20}, "InvalidParameter.RecordParameter"),
        ({"RecordUserSig": ""}, "InvalidParameter.RecordParameter"),
        ({"AutoStopTimeout": 299}, "InvalidParameter.RecordParameter"),
        ({"AutoStopTimeout": 86401}, "InvalidParameter.RecordParameter"),
        ({"RecordMode": "FAST"}, "InvalidParameter.RecordParameter"),
        ({"Whiteboard": {"Width": 1}}, "InvalidParameter.RecordParameter"),
        ({"Whiteboard": 3}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"Whiteboard": {"Depth": 3}}, "UnknownParameter"),
        ({"AutoRecord": True}, "UnknownParameter"),
        ({"Concat": {}}, "MissingParameter"),
        ({"Concat": {"Enabled": 1}}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"Extras": "MIX_STREAM"}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"Extras": ["MixStream"]}, "InvalidParameter.InvalidExtra"),
        ({"MixStream": {"Enabled": True, "ModelId": 1}}, "InvalidParameter.InvalidExtra"),
        ({"MixStream": {"Enabled": True}, "Extras": ["MIX_STREAM"]}, "MissingParameter"),
        ({"MixStream": {"Enabled": True, "ModelId": 3}}, "InvalidParameter.RecordParameter"),
        (
            {"MixStream": {"Enabled": True, "Custom": {"InputStreamList": []}}},
            "MissingParameter",
        ),
        (
            {
                "MixStream": {
                    "Enabled": True,
                    "Custom": {**CUSTOM, "Canvas": {"LayoutParams": {"Width": 1, "Height": 2}}},
                }
            },
            "InvalidParameter.RecordParameter",
        ),
        (
            {
                "MixStream": {
                    "Enabled": True,
                    "Custom": {
                        **CUSTOM,
                        "Canvas": {**CUSTOM["Canvas"], "BackgroundColor": "red"},  # type: ignore[dict-item]
                    },
                }
            },
            "InvalidParameter.RecordParameter",
        ),
        (
            {
                "MixStream": {
                    "Enabled": True,
                    "Custom": {
                        **CUSTOM,
                        "InputStreamList": [
                            {"LayoutParams": {"Width": 9, "Height": 9}, "FillMode": 2}
                        ],
                    },
                }
            },
            "InvalidParameter.RecordParameter",
        ),
        ({"RecordControl": {"Enabled": True, "StreamControls": [{}]}}, "MissingParameter"),
        (
            {"RecordControl": {"Enabled": True, "StreamControls": [{"StreamID": "x"}]}},
            "UnknownParameter",
        ),
        ({"SdkAppId": 1499999999}, "InvalidParameter.SdkAppIdNotFound"),
    ],
)
def test_what_start_refuses(
    still: Simulator, code_of: CodeOf, changes: dict[str, Any], code: str
) -> None:
    assert code_of(still, "StartOnlineRecord", **changed(**changes)) == code
    assert (still.started, still.writes, still.recordings) == (0, 0, [])


def test_a_room_or_user_in_use_is_refused(still: Simulator, call: Call, code_of: CodeOf) -> None:
    task_id = call(still, "StartOnlineRecord", **START)["TaskId"]
    assert code_of(still, "StartOnlineRecord", **START) == "ResourceInUse.RecordUserId"
    same_user = changed(RoomId=7)
    assert code_of(still, "StartOnlineRecord", **same_user) == "ResourceInUse.RecordUserId"
    same_room = in_room(ROOM, 2)
    assert code_of(still, "StartOnlineRecord", **same_room) == "LimitExceeded.TaskConcurrency"
    call(still, "StopOnlineRecord", TaskId=task_id)
    assert call(still, "StartOnlineRecord", **START)["TaskId"] != task_id
    assert still.started == 2


def test_a_hundred_at_once(still: Simulator, call: Call, code_of: CodeOf) -> None:
    first = [call(still, "StartOnlineRecord", **in_room(room))["TaskId"] for room in range(1, 101)]
    assert code_of(still, "StartOnlineRecord", **in_room(200)) == "LimitExceeded.TaskConcurrency"
    call(still, "StopOnlineRecord", TaskId=first[0])
    call(still, "StartOnlineRecord", **in_room(200))


def test_the_limit_of_recordings_can_be_set(call: Call, code_of: CodeOf) -> None:
    with Simulator(max_recordings=1) as simulator:
        call(simulator, "StartOnlineRecord", **in_room(1))
        code = code_of(simulator, "StartOnlineRecord", **in_room(2))
        assert code == "LimitExceeded.TaskConcurrency"
        simulator.set_app(max_recordings=2)
        call(simulator, "StartOnlineRecord", **in_room(2))


CONTROL = ("PauseOnlineRecord", "ResumeOnlineRecord", "StopOnlineRecord")


def test_what_the_other_writes_refuse(still: Simulator, call: Call, code_of: CodeOf) -> None:
    for action in CONTROL:
        assert code_of(still, action, TaskId="absent") == "InvalidParameter.TaskNotFound"
        assert code_of(still, action) == "MissingParameter"
    task_id = call(still, "StartOnlineRecord", **START)["TaskId"]
    wrong_state = "UnsupportedOperation.InvalidTaskStatus"
    assert code_of(still, "PauseOnlineRecord", TaskId=task_id) == wrong_state
    assert code_of(still, "ResumeOnlineRecord", TaskId=task_id) == wrong_state
    still.advance(3)
    assert code_of(still, "ResumeOnlineRecord", TaskId=task_id) == wrong_state
    call(still, "PauseOnlineRecord", TaskId=task_id)
    assert code_of(still, "PauseOnlineRecord", TaskId=task_id) == wrong_state
    call(still, "StopOnlineRecord", TaskId=task_id)
    for seconds in (0, 10):
        still.advance(seconds)
        for action in CONTROL:
            code = code_of(still, action, TaskId=task_id)
            assert code == "UnsupportedOperation.TaskHasAlreadyStopped"
    assert still.writes == 3


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("expired", "ResourceUnavailable.ServiceExpired"),
        ("not_registered", "ResourceUnavailable.NotRegistered"),
        ("foreign", "UnauthorizedOperation.SdkAppId"),
    ],
)
def test_an_application_that_cannot_be_used(
    still: Simulator, call: Call, code_of: CodeOf, state: str, code: str
) -> None:
    still.set_app(state=state)
    assert code_of(still, "StartOnlineRecord", **START) == code
    assert code_of(still, "DescribeOnlineRecord", TaskId="t") == code
    assert code_of(still, "DescribeOnlineRecordCallback") == code
    still.set_app(state="active")
    assert call(still, "StartOnlineRecord", **START)["TaskId"]


def test_mistakes_in_set_app(still: Simulator) -> None:
    with pytest.raises(ScriptError, match="Did you mean expired"):
        still.set_app(state="expire")
    with pytest.raises(ScriptError, match="Did you mean max_recordings"):
        still.set_app(max_recording=3)


def test_another_application(still: Simulator, call: Call, code_of: CodeOf) -> None:
    still.set_app(1499999999)
    task_id = call(still, "StartOnlineRecord", **changed(SdkAppId=1499999999))["TaskId"]
    assert code_of(still, "DescribeOnlineRecord", TaskId=task_id) == "InvalidParameter.TaskNotFound"
    call(still, "DescribeOnlineRecord", TaskId=task_id, SdkAppId=1499999999)


def test_callback_settings(still: Simulator, call: Call, code_of: CodeOf) -> None:
    def shown() -> tuple[str, str]:
        answer = call(still, "DescribeOnlineRecordCallback")
        return answer["Callback"], answer["CallbackKey"]

    assert shown() == ("", "")
    call(still, "SetOnlineRecordCallback", Callback="https://example.com/online/callback?x=1")
    call(still, "SetOnlineRecordCallbackKey", CallbackKey="k" * 64)
    assert shown() == ("https://example.com/online/callback?x=1", "k" * 64)
    for bad in ("example.com", "ftp://example.com", "http://", "http:// x", "http://a b/"):
        code = code_of(still, "SetOnlineRecordCallback", Callback=bad)
        assert code == "InvalidParameter.CallbackAddressFormatError"
    assert code_of(still, "SetOnlineRecordCallbackKey", CallbackKey="k" * 65) == "InvalidParameter"
    call(still, "SetOnlineRecordCallback", Callback="")
    call(still, "SetOnlineRecordCallbackKey", CallbackKey="")
    assert shown() == ("", "")
    assert still.writes == 4


def test_running_tasks(still: Simulator, call: Call, code_of: CodeOf) -> None:
    def running(**parameters: Any) -> dict[str, Any]:
        given = {"TaskType": "OnlineRecord", **parameters}
        return call(still, "DescribeRunningTasks", region="ap-guangzhou", **given)

    assert (running()["Total"], running()["Tasks"]) == (0, [])
    ids = [call(still, "StartOnlineRecord", **in_room(room))["TaskId"] for room in (1, 2, 3)]
    assert [task["Status"] for task in running()["Tasks"]] == ["QUEUED"] * 3
    still.advance(3)
    (task,) = running(Offset=1, Limit=1)["Tasks"]
    assert running(Offset=1, Limit=1)["Total"] == 3
    assert (task["TaskID"], task["RoomID"], task["Status"]) == (ids[1], 2, "PROCESSING")
    assert len(task["CreateTime"]) == len("2023-03-14 15:00:00")
    call(still, "StopOnlineRecord", TaskId=ids[0])
    assert running()["Total"] == 3
    still.advance(10)
    assert [task["TaskID"] for task in running()["Tasks"]] == ids[1:]
    assert running(TaskType="WhiteboardPush")["Total"] == 0


@pytest.mark.parametrize(
    ("parameters", "region", "code"),
    [
        ({"TaskType": "OnlineRecord"}, "ap-singapore", "InvalidAction"),
        ({"TaskType": "Recording"}, "ap-guangzhou", "InvalidParameterValue"),
        ({"TaskType": "OnlineRecord", "Limit": 501}, "ap-guangzhou", "InvalidParameterValue"),
        ({"TaskType": "OnlineRecord", "Limit": 0}, "ap-guangzhou", "InvalidParameterValue"),
        ({"TaskType": "OnlineRecord", "Offset": -1}, "ap-guangzhou", "InvalidParameterValue"),
        ({"TaskType": "OnlineRecord", "SdkAppId": 1}, "ap-guangzhou", "UnknownParameter"),
        ({}, "ap-guangzhou", "MissingParameter"),
    ],
)
def test_what_running_tasks_refuses(
    still: Simulator, code_of: CodeOf, parameters: dict[str, Any], region: str, code: str
) -> None:
    assert code_of(still, "DescribeRunningTasks", region=region, **parameters) == code


KEY = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"


def failure(simulator: Simulator, call: Call, **start: Any) -> str:
    """Start a recording that must fail once it is prepared; return the error's text."""
    task_id = call(simulator, "StartOnlineRecord", **changed(**start))["TaskId"]
    assert call(simulator, "DescribeOnlineRecord", TaskId=task_id)["Status"] == "PREPARED"
    simulator.advance(3)
    with pytest.raises(TencentCloudSDKException) as caught:
        call(simulator, "DescribeOnlineRecord", TaskId=task_id)
    assert caught.value.get_code() == "FailedOperation.Record"
    assert simulator.recordings[-1]["status"] == "FAILED"
    return str(caught.value.get_message())


def test_a_bad_user_signature_fails_later(call: Call) -> None:
    now, user = time.time(), START["RecordUserId"]
    with Simulator(speed=0, user_sig_key=KEY) as simulator:
        app = simulator.sdk_app_id
        for signature, words in [
            (make(KEY, app, user, now - 7200, 3600), "desc serSig expired"),
            (make("another", app, user, now), "desc serSig verification failed"),
            (make(KEY, 1, user, now), "desc serSig sdkappid mismatch"),
            (make(KEY, app, "anna", now), "desc serSig identifier mismatch"),
            ("any", "desc serSig illegal"),
            (make(KEY, app, user, now)[:40], "desc serSig illegal"),
        ]:
            text = failure(simulator, call, RecordUserSig=signature)
            assert text.startswith("code: 40004, msg: ")
            assert "im login failed with code 6206" in text
            assert words in text
        good = changed(RecordUserSig=make(KEY, app, user, now))
        task_id = call(simulator, "StartOnlineRecord", **good)["TaskId"]
        simulator.advance(3)
        assert call(simulator, "DescribeOnlineRecord", TaskId=task_id)["Status"] == "RECORDING"


def test_a_user_id_of_another_form_fails_later(still: Simulator, call: Call) -> None:
    for user in ("recorder", "tic_record_user_99_1", f"tic_record_user_{ROOM}_"):
        text = failure(still, call, RecordUserId=user)
        assert text.startswith("code: 40001, msg: ")
        assert "invalid userid" in text


def test_the_published_user_signature() -> None:
    """A signature made step by step as Tencent's own functions do is valid."""
    fields: dict[str, Any] = {
        "TLS.ver": "2.0",
        "TLS.identifier": "anna",
        "TLS.sdkappid": 140,
        "TLS.expire": 100,
        "TLS.time": 1000,
    }
    text = "TLS.identifier:anna\nTLS.sdkappid:140\nTLS.time:1000\nTLS.expire:100\n"
    digest = hmac.new(KEY.encode(), text.encode(), hashlib.sha256).digest()
    fields["TLS.sig"] = base64.b64encode(digest).decode()
    packed = base64.b64encode(zlib.compress(json.dumps(fields).encode())).decode()
    signature = packed.replace("+", "*").replace("/", "-").replace("=", "_")
    assert problem(signature, KEY, 140, "anna", 1100) is None
    assert problem(signature, KEY, 140, "anna", 1101) == "serSig expired"


def status_of(url: str) -> int:
    try:
        with urllib.request.urlopen(url) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_videos_are_kept_for_three_days(still: Simulator, call: Call) -> None:
    answer = finished_after(still, call)
    url = answer["VideoInfos"][0]["VideoUrl"]
    assert status_of(url) == 200
    still.advance(3 * 24 * HOUR - 60)
    assert status_of(url) == 200
    still.advance(60)
    assert status_of(url) == 404
    # Only the files are deleted.
    assert call(still, "DescribeOnlineRecord", TaskId=answer["TaskId"])["VideoInfos"]


def test_a_private_bucket(still: Simulator, call: Call) -> None:
    still.add("private", timeline=[], private_bucket=True)
    answer = call(still, "DescribeOnlineRecord", TaskId="private")
    assert status_of(answer["VideoInfos"][0]["VideoUrl"]) == 403


def test_an_old_recording(still: Simulator, call: Call) -> None:
    still.add("old", timeline=[{"RECORDING": 10}], age=4 * 24 * HOUR)
    answer = call(still, "DescribeOnlineRecord", TaskId="old")
    assert answer["Status"] == "FINISHED"
    assert status_of(answer["VideoInfos"][0]["VideoUrl"]) == 404


def test_a_download_continues_where_it_ended(still: Simulator, call: Call) -> None:
    still.add("t", timeline=[])
    video = call(still, "DescribeOnlineRecord", TaskId="t")["VideoInfos"][0]

    def get(method: str = "GET", **headers: str) -> tuple[int, bytes, Any]:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(video["VideoUrl"], headers=names, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, b"", error.headers

    status, whole, headers = get()
    assert (status, len(whole)) == (200, video["VideoSize"])
    status, rest, got = get(Range="bytes=100-")
    assert (status, rest) == (206, whole[100:])
    assert got["Content-Range"] == f"bytes 100-{len(whole) - 1}/{len(whole)}"
    assert get(Range="bytes=100-", If_Range='"other"')[:2] == (200, whole)
    assert get(Range="bytes=100-", If_Range=headers["ETag"])[:2] == (206, whole[100:])
    assert get(Range=f"bytes={len(whole)}-")[0] == 416
    assert get(Range="seconds=1-2")[0] == 416
    status, nothing, got = get("HEAD")
    assert (status, nothing, got["Content-Length"]) == (200, b"", str(len(whole)))
    assert get("DELETE")[0] == 405
