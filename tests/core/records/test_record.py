# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import pickle
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest

from tiw_automation.core import (
    Acceptance,
    AuthFailure,
    BadAnswer,
    ConfigurationError,
    Interrupt,
    OnlineRecord,
    Outcome,
    RecordFailed,
    RecordingFailure,
    RecordStatus,
    RequestLimitExceeded,
    TaskNotFound,
    TransportError,
    Verdict,
    VideoKind,
    WaitTimeout,
    check_sdk_app_id,
    check_task_id,
    check_task_ids,
    check_video_kinds,
    judge,
)
from tiw_automation.core.checks import check_seconds

APP = 1400000001
TASK = "ghucnligqtgtvk2624mb"

# The first output example of the DescribeOnlineRecord page.
FINISHED: dict[str, Any] = {
    "ExceptionCnt": 0,
    "FinishReason": "USER_CALL",
    "GroupId": "880528",
    "OmittedDurations": [],
    "RecordStartTime": 1568949369,
    "RecordStopTime": 1568949392,
    "RecordUserId": "tic_record_user_880528_test-01",
    "RequestId": "d290f1ee-6c54-4b01-90e6-d701748f0851",
    "RoomId": 880528,
    "Status": "FINISHED",
    "TaskId": TASK,
    "TotalTime": 18317,
    "ReplayUrl": "http://replayurl",
    "Interrupts": [],
    "VideoInfos": [
        {
            "UserId": "Mac_trtc_04",
            "VideoDuration": 17969,
            "VideoFormat": "mp4",
            "VideoId": "dace3518e865e76a9e36712c629822ba",
            "VideoPlayTime": 0,
            "VideoSize": 593418,
            "VideoType": 0,
            "Width": 640,
            "Height": 360,
            "VideoUrl": "http://online-recording-1259648581.file.myqcloud.com/a/1.mp4",
        },
        {
            "UserId": "tic_mixstream_880528_101",
            "VideoDuration": 18205,
            "VideoFormat": "mp4",
            "VideoId": "763d1f6b8679c3f17fb118bd37d05c85",
            "VideoPlayTime": 3,
            "VideoSize": 765545,
            "VideoType": 3,
            "Width": 640,
            "Height": 360,
            "VideoUrl": "http://online-recording-1259648581.file.myqcloud.com/a/2.mp4",
        },
        {
            "UserId": "",
            "VideoDuration": 17605,
            "VideoFormat": "mp4",
            "VideoId": "a8152f8faa2cfe621dc965a066a5813c",
            "VideoPlayTime": 623,
            "VideoSize": 226337,
            "VideoType": 2,
            "Width": 640,
            "Height": 360,
            "VideoUrl": "http://online-recording-1259648581.file.myqcloud.com/a/3.mp4",
        },
    ],
}
# Its second example as the English page prints it, and as the API really answers.
WITHOUT_STATUS = {"RequestId": "d290f1ee-6c54-4b01-90e6-d701748f0851"}
FAILURE = RecordingFailure("code: 40004, msg: 2019-09-23 10:31:47, im login failed with code 6206")

KEYS = [
    "sdk_app_id",
    "task_id",
    "status",
    "finish_reason",
    "room_id",
    "group_id",
    "record_user_id",
    "record_start_time",
    "record_stop_time",
    "total_time_ms",
    "exception_count",
    "omitted_durations",
    "videos",
    "video_urls",
    "videos_expire_at",
    "replay_url",
    "interrupts",
    "request_id",
]
VIDEO_KEYS = [
    "id",
    "url",
    "format",
    "type",
    "kind",
    "user_id",
    "play_time_ms",
    "duration_ms",
    "size_bytes",
    "width",
    "height",
]


def record(**changes: Any) -> OnlineRecord:
    return OnlineRecord.from_response({**FINISHED, **changes}, sdk_app_id=APP, task_id=TASK)


def test_the_first_example_of_the_page() -> None:
    data = record().to_dict()
    assert list(data) == KEYS
    assert data["sdk_app_id"] == APP
    assert data["task_id"] == TASK
    assert data["status"] == "FINISHED"
    assert data["finish_reason"] == "USER_CALL"
    assert data["room_id"] == 880528
    assert data["record_start_time"] == 1568949369
    assert data["record_stop_time"] == 1568949392
    assert data["total_time_ms"] == 18317
    assert data["exception_count"] == 0
    assert [video["kind"] for video in data["videos"]] == ["camera", "mixed", "whiteboard"]
    assert list(data["videos"][0]) == VIDEO_KEYS
    assert data["videos"][2]["user_id"] == ""
    assert data["videos"][2]["play_time_ms"] == 623
    assert data["videos"][0]["size_bytes"] == 593418
    assert data["video_urls"] == [video["VideoUrl"] for video in FINISHED["VideoInfos"]]
    assert data["videos_expire_at"] == 1568949392 + 3 * 24 * 3600
    assert json.loads(json.dumps(data)) == data
    assert OnlineRecord.from_dict(json.loads(json.dumps(data))) == record()


def test_an_absent_null_or_zero_field_keeps_its_key() -> None:
    early = OnlineRecord.from_response(
        {
            "Status": "PREPARED",
            "TaskId": TASK,
            "RequestId": "r",
            "RecordStartTime": 0,
            "RecordStopTime": 0,
            "VideoInfos": None,
            "Interrupts": None,
            "OmittedDurations": None,
            "ReplayUrl": None,
            "FinishReason": "",
        },
        sdk_app_id=APP,
        task_id=TASK,
    ).to_dict()
    assert list(early) == KEYS
    assert early["record_start_time"] is None
    assert early["record_stop_time"] is None
    assert early["finish_reason"] is None
    assert early["replay_url"] is None
    assert (early["videos"], early["video_urls"], early["interrupts"]) == ([], [], [])
    assert early["omitted_durations"] == []
    assert early["videos_expire_at"] is None


def test_nested_lists_are_read() -> None:
    data = record(
        Interrupts=[{"UserId": "u", "Count": 2}],
        OmittedDurations=[{"VideoTime": 5, "PauseTime": 1000, "ResumeTime": 2000}],
    ).to_dict()
    assert data["interrupts"] == [{"user_id": "u", "count": 2}]
    assert data["omitted_durations"] == [
        {"video_time_ms": 5, "pause_time_ms": 1000, "resume_time_ms": 2000}
    ]
    assert OnlineRecord.from_dict(data).to_dict() == data


def test_unknown_fields_and_words_pass_through() -> None:
    odd = record(Status="ARCHIVED", Surprise={"a": 1})
    assert odd.status == "ARCHIVED"
    assert odd.raw["Surprise"] == {"a": 1}
    assert "Surprise" not in odd.to_dict()
    assert record(VideoInfos=[{"VideoType": 9}]).videos[0].kind is VideoKind.UNKNOWN
    assert judge(APP, TASK, odd, Acceptance()).verdict is Verdict.PENDING


def test_the_expiry_is_only_estimated_for_tencents_own_bucket() -> None:
    mine = record(VideoInfos=[{"VideoUrl": "http://mine-1.cos.ap-guangzhou.myqcloud.com/x.mp4"}])
    assert mine.videos_expire_at is None


GOOD_URLS = [video["VideoUrl"] for video in FINISHED["VideoInfos"]]
FIRST = FINISHED["VideoInfos"][0]


@pytest.mark.parametrize(
    ("changes", "attribute", "read"),
    [
        ({"RoomId": "880528"}, "room_id", 880528),
        ({"RoomId": 880528.0}, "room_id", 880528),
        ({"RoomId": "+880528.0"}, "room_id", 880528),
        ({"RoomId": "880_528"}, "room_id", None),
        ({"RoomId": "\u0668"}, "room_id", None),
        ({"RoomId": True}, "room_id", None),
        ({"RoomId": 2**63}, "room_id", None),
        ({"RoomId": "9" * 5000}, "room_id", None),
        ({"TotalTime": 18317.0}, "total_time_ms", 18317),
        ({"TotalTime": 18317.5}, "total_time_ms", None),
        ({"TotalTime": float("inf")}, "total_time_ms", None),
        ({"TotalTime": float("nan")}, "total_time_ms", None),
        ({"ExceptionCnt": "0"}, "exception_count", 0),
        ({"ExceptionCnt": [0]}, "exception_count", None),
        ({"GroupId": 880528}, "group_id", "880528"),
        ({"GroupId": 880528.0}, "group_id", "880528"),
        ({"GroupId": {}}, "group_id", None),
        ({"GroupId": "\ud800x"}, "group_id", "\\ud800x"),
        ({"ReplayUrl": 0}, "replay_url", None),
        ({"ReplayUrl": ["http://x"]}, "replay_url", None),
        ({"Interrupts": {}}, "interrupts", ()),
        ({"Interrupts": "none"}, "interrupts", ()),
        ({"Interrupts": {"UserId": 7, "Count": "2"}}, "interrupts", (Interrupt("7", 2),)),
        ({"Interrupts": [None, 3, {"Count": 1}]}, "interrupts", (Interrupt(None, 1),)),
        ({"OmittedDurations": 0}, "omitted_durations", ()),
        ({"RecordStartTime": 10**400}, "record_start_time", None),
        ({"RecordStartTime": 1568949369000}, "record_start_time", None),
        ({"RecordStartTime": "1568949369"}, "record_start_time", 1568949369),
        ({"RecordStopTime": -5}, "record_stop_time", None),
        ({"RecordStopTime": 0.0}, "record_stop_time", None),
        ({"RequestId": {"a": 1}}, "request_id", None),
        ({"RequestId": "r\n1"}, "request_id", "r\\n1"),
        ({"Status": "Finished"}, "status", "FINISHED"),
        ({"Status": " finished\n"}, "status", "FINISHED"),
        ({"TaskId": None}, "task_id", TASK),
        ({"TaskId": ""}, "task_id", TASK),
        ({"TaskId": f" {TASK} "}, "task_id", TASK),
        ({"FinishReason": None}, "finish_reason", None),
        ({"FinishReason": " auto "}, "finish_reason", "AUTO"),
    ],
)
def test_an_odd_field_affects_no_other(
    changes: dict[str, Any], attribute: str, read: object
) -> None:
    odd = record(**changes)
    assert getattr(odd, attribute) == read
    assert odd.video_urls == GOOD_URLS
    assert judge(APP, TASK, odd, Acceptance()).verdict is Verdict.FINISHED
    json.dumps(odd.to_dict(), ensure_ascii=False, allow_nan=False).encode()
    assert OnlineRecord.from_dict(odd.to_dict()) == odd


def test_all_odd_fields_at_once_still_give_the_videos() -> None:
    odd = record(
        RoomId="880528",
        TotalTime=18317.0,
        Interrupts={},
        ReplayUrl=0,
        ExceptionCnt="0",
        Status="Finished",
        VideoInfos=[None, *({**video, "VideoSize": "356000"} for video in FINISHED["VideoInfos"])],
    )
    assert judge(APP, TASK, odd, Acceptance()).raise_for_verdict().video_urls == GOOD_URLS
    assert [video.size_bytes for video in odd.videos] == [356000] * 3
    assert record(VideoInfos=FIRST).video_urls == GOOD_URLS[:1]


def test_a_task_id_of_digits_may_come_as_a_number() -> None:
    for came in (1234567890, 1234567890.0, "1234567890"):
        answer = {**FINISHED, "TaskId": came}
        read = OnlineRecord.from_response(answer, sdk_app_id=APP, task_id="1234567890")
        assert judge(APP, "1234567890", read, Acceptance()).verdict is Verdict.FINISHED
    odds: list[Any] = [[TASK], {}, True, 7, 10**400]
    for odd in odds:
        with pytest.raises(BadAnswer) as caught:
            record(TaskId=odd)
        assert caught.value.retryable


@pytest.mark.parametrize("written", ["Exception", " EXCEPTION", "exception\n"])
def test_an_exception_in_any_spelling_is_a_failure(written: str) -> None:
    answer = record(FinishReason=written, VideoInfos="unreadable")
    failed = judge(APP, TASK, answer, Acceptance(require_videos=False))
    assert failed.verdict is Verdict.FAILED
    assert "EXCEPTION" in failed.message


@pytest.mark.parametrize("odd", [7, 0, True, [], {}, ["EXCEPTION"], {"a": "EXCEPTION"}])
def test_a_finish_reason_that_cannot_be_read_is_unknown(odd: object) -> None:
    unknown = judge(APP, TASK, record(FinishReason=odd), Acceptance())
    assert unknown.verdict is Verdict.UNKNOWN
    assert unknown.error is not None
    assert unknown.error.retryable
    going_on = record(FinishReason=odd, Status="RECORDING")
    assert judge(APP, TASK, going_on, Acceptance()).verdict is Verdict.PENDING


@pytest.mark.parametrize("odd", [7, True, ["FINISHED"], {}, "", "  ", None])
def test_a_status_that_cannot_be_read_is_unknown(odd: object) -> None:
    unknown = judge(APP, TASK, record(Status=odd), Acceptance())
    assert unknown.verdict is Verdict.UNKNOWN
    assert unknown.error is not None
    assert unknown.error.retryable


@pytest.mark.parametrize(
    "odd",
    [
        "none",
        "",
        0,
        True,
        [None],
        ["x", 3],
        [[FIRST]],
        {"Items": [FIRST]},
        [{}],
        [{**FIRST, "VideoUrl": 7}],
        [{**FIRST, "VideoUrl": {"url": "http://videos/1.mp4"}}],
    ],
)
@pytest.mark.parametrize("require_videos", [True, False])
def test_videos_that_cannot_be_read_are_unknown(odd: object, require_videos: bool) -> None:
    acceptance = Acceptance(require_videos=require_videos)
    unknown = judge(APP, TASK, record(VideoInfos=odd), acceptance)
    assert unknown.verdict is Verdict.UNKNOWN
    assert unknown.error is not None
    assert unknown.error.retryable
    stopped = record(VideoInfos=odd, Status="STOPPED")
    assert judge(APP, TASK, stopped, acceptance).verdict is Verdict.PENDING


@pytest.mark.parametrize("none", [None, [], {}, [{**FIRST, "VideoUrl": ""}]])
def test_an_empty_list_of_videos_in_any_form(none: object) -> None:
    assert judge(APP, TASK, record(VideoInfos=none), Acceptance()).verdict is Verdict.FAILED


def test_one_video_that_can_be_read_is_enough() -> None:
    odd = record(VideoInfos=[None, {**FIRST, "VideoUrl": 7}, FIRST])
    assert judge(APP, TASK, odd, Acceptance()).raise_for_verdict().video_urls == GOOD_URLS[:1]


def test_a_malformed_url_or_id_affects_no_other_field() -> None:
    twice = [{**FIRST, "VideoUrl": "http://[::1/", "VideoId": "x" * 300}] * 2
    odd = record(VideoInfos=twice)
    assert odd.videos_expire_at is None
    assert odd.to_dict()["video_urls"] == ["http://[::1/"] * 2
    assert judge(APP, TASK, odd, Acceptance()).verdict is Verdict.FINISHED


def test_a_field_nested_too_deep_is_left_out_of_raw() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    odd = record(Surprise=deep, Interrupts=deep)
    outcome = judge(APP, TASK, odd, Acceptance())
    assert outcome.verdict is Verdict.FINISHED
    assert odd.raw["Surprise"] is None
    assert odd.raw["TaskId"] == TASK
    assert pickle.loads(pickle.dumps(outcome)) == outcome
    assert asdict(outcome)["task_id"] == TASK
    while deep:
        # One by one: Python frees a deep list by recursion.
        deep = deep.pop()


def test_an_unreadable_field_causes_one_warning(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiw_automation.core.records.fields._warned", set())
    for size in ("big\x1b[31m", "huge", None, 3):
        record(VideoInfos=[{**FIRST, "VideoSize": size}] * 5, Interrupts=[None, None])
    size_line, row_line = (line.getMessage() for line in caplog.records)
    assert "DescribeOnlineRecord: Response.VideoInfos[].VideoSize is unreadable" in size_line
    assert "Response.Interrupts[]" in row_line
    assert {line.levelname for line in caplog.records} == {"WARNING"}


@pytest.mark.parametrize("data", [{}, {"task_id": 3, "videos": [None, {"url": 1}]}, {"videos": 3}])
def test_from_dict_accepts_any_object(data: dict[str, Any]) -> None:
    read = OnlineRecord.from_dict(data)
    assert list(read.to_dict()) == KEYS
    assert read.video_urls == []


def test_messages_are_printable() -> None:
    odd = "\x1b[31m\n\u202e"
    for answer in (
        record(Status=odd),
        record(FinishReason=odd),
        OnlineRecord(APP, odd, status=odd),
        OnlineRecord(APP, odd, status="FINISHED", finish_reason=odd),
    ):
        for acceptance in (Acceptance(), Acceptance(("AUTO",)), Acceptance(require_videos=False)):
            assert judge(APP, odd, answer, acceptance).message.isprintable()
    assert Outcome(APP, odd, Verdict.PENDING).message.isprintable()


def test_an_answer_about_another_recording_is_refused() -> None:
    with pytest.raises(BadAnswer, match="another"):
        record(TaskId="another")


def test_videos_are_selected_by_kind() -> None:
    assert [v.type for v in record().select([VideoKind.WHITEBOARD, VideoKind.CAMERA])] == [0, 2]
    assert record().select(None) == record().videos


@pytest.mark.parametrize("status", [s for s in RecordStatus if not s.is_terminal])
def test_every_state_but_finished_is_pending(status: RecordStatus) -> None:
    outcome = judge(APP, TASK, record(Status=status.value, VideoInfos=None), Acceptance())
    assert outcome.verdict is Verdict.PENDING
    assert not outcome.is_final
    assert status.value in outcome.message
    with pytest.raises(WaitTimeout):
        outcome.raise_for_verdict()


@pytest.mark.parametrize("reason", ["AUTO", "USER_CALL", "FORCE_STOP"])
def test_an_accepted_end(reason: str) -> None:
    outcome = judge(APP, TASK, record(FinishReason=reason), Acceptance())
    assert outcome.verdict is Verdict.FINISHED
    assert outcome.is_final
    assert outcome.raise_for_verdict().video_urls == record().video_urls
    assert "3 videos" in outcome.message
    assert "http" not in outcome.message


def test_an_end_by_exception_is_a_failure_unless_accepted() -> None:
    bad = record(FinishReason="EXCEPTION")
    outcome = judge(APP, TASK, bad, Acceptance())
    assert outcome.verdict is Verdict.FAILED
    assert outcome.record is bad
    assert "EXCEPTION" in outcome.message
    with pytest.raises(RecordFailed, match="EXCEPTION") as caught:
        outcome.raise_for_verdict()
    assert caught.value.outcome is outcome
    accepting = Acceptance(accept_finish_reasons=("EXCEPTION",))
    assert judge(APP, TASK, bad, accepting).verdict is Verdict.FINISHED


def test_an_end_without_a_video_is_a_failure_unless_accepted() -> None:
    empty = record(VideoInfos=None)
    assert judge(APP, TASK, empty, Acceptance()).verdict is Verdict.FAILED
    assert "without a video" in judge(APP, TASK, empty, Acceptance()).message
    assert judge(APP, TASK, empty, Acceptance(require_videos=False)).verdict is Verdict.FINISHED


def test_the_second_example_as_printed_is_unknown() -> None:
    bare = OnlineRecord.from_response(WITHOUT_STATUS, sdk_app_id=APP, task_id=TASK)
    outcome = judge(APP, TASK, bare, Acceptance())
    assert outcome.verdict is Verdict.UNKNOWN
    assert not outcome.is_final
    assert outcome.error is not None
    assert outcome.error.retryable
    assert outcome.error.request_id == WITHOUT_STATUS["RequestId"]


def test_the_second_example_as_the_api_really_answers_is_a_failure() -> None:
    outcome = judge(APP, TASK, FAILURE, Acceptance())
    assert outcome.verdict is Verdict.FAILED
    with pytest.raises(RecordFailed, match="im login failed"):
        outcome.raise_for_verdict()


def test_other_errors() -> None:
    missing = judge(APP, TASK, TaskNotFound("The task does not exist."), Acceptance())
    assert missing.verdict is Verdict.MISSING
    with pytest.raises(TaskNotFound):
        missing.raise_for_verdict()
    for error in (RequestLimitExceeded("slow"), TransportError("gone"), AuthFailure("no")):
        outcome = judge(APP, TASK, error, Acceptance())
        assert outcome.verdict is Verdict.UNKNOWN
        with pytest.raises(type(error)):
            outcome.raise_for_verdict()


def test_an_outcome_is_json_native() -> None:
    data = judge(APP, TASK, FAILURE, Acceptance()).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["verdict"] == "failed"
    assert data["record"] is None
    assert data["error"]["code"] == "FailedOperation.Record"
    assert Outcome(APP, TASK, Verdict.PENDING).to_dict()["message"]


@pytest.mark.parametrize(
    "reasons",
    [[""], "", "AUTO,", ["NO-WAY"], [3], [None], 3, {"AUTO": 1}, ["\u0130O"], "9X", ["*"]],
)
def test_a_malformed_finish_reason_is_invalid(reasons: Any) -> None:
    with pytest.raises(ConfigurationError, match="AUTO, USER_CALL, EXCEPTION, FORCE_STOP"):
        Acceptance(accept_finish_reasons=reasons)


def test_an_unknown_finish_reason_causes_a_warning_with_the_nearest(
    caplog: pytest.LogCaptureFixture,
) -> None:
    accepting = Acceptance(("USERCALL", "ARCHIVED"))
    assert accepting.accept_finish_reasons == ("USERCALL", "ARCHIVED")
    near, far = (line.getMessage() for line in caplog.records)
    assert "Did you mean USER_CALL?" in near
    assert "ARCHIVED" in far
    assert "Did you mean" not in far
    assert accepting.warnings() == [near, far]
    assert Acceptance(("AUTO",)).warnings() == Acceptance().warnings() == []


@pytest.mark.parametrize(
    "written",
    [
        ("AUTO", "USER_CALL", "FORCE_STOP"),
        ["FORCE_STOP", "AUTO", "AUTO", "USER_CALL"],
        {"AUTO", "USER_CALL", "FORCE_STOP"},
        "auto, user_call ,FORCE_STOP",
        " AUTO,USER_CALL,FORCE_STOP",
    ],
)
def test_the_default_written_out_is_the_default(written: Any) -> None:
    accepting = Acceptance(written)
    assert accepting == Acceptance() == Acceptance.of(written, True) == Acceptance.of(None, True)
    assert hash(accepting) == hash(Acceptance())
    assert accepting.accept_finish_reasons is None


def test_an_empty_list_accepts_no_reason() -> None:
    assert Acceptance(()).accept_finish_reasons == ()
    assert judge(APP, TASK, record(), Acceptance(())).verdict is Verdict.FAILED
    assert Acceptance(()).accepts(None)


def test_any_reason_accepts_every_reason() -> None:
    every = Acceptance(any_reason=True)
    for reason in ("AUTO", "EXCEPTION", "ARCHIVED"):
        assert judge(APP, TASK, record(FinishReason=reason), every).verdict is Verdict.FINISHED
    with pytest.raises(ConfigurationError, match="accept_finish_reasons"):
        Acceptance(("AUTO",), any_reason=True)


def test_an_unknown_end_is_accepted_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    answer = record(FinishReason="MAINTENANCE\x1b[31m")
    for _ in range(3):
        assert judge(APP, TASK, answer, Acceptance()).verdict is Verdict.FINISHED
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert TASK in line.getMessage()
    assert "MAINTENANCE\\x1b[31M" in line.getMessage()
    assert judge(APP, TASK, record(FinishReason="AUTO"), Acceptance()).is_final
    assert len(caplog.records) == 1


def test_the_hint_for_an_end_that_was_not_accepted_works() -> None:
    answer = record(FinishReason="MAINTENANCE")
    refused = judge(APP, TASK, answer, Acceptance(("AUTO",)))
    assert refused.verdict is Verdict.FAILED
    assert "Add MAINTENANCE to accept_finish_reasons" in refused.message
    accepting = Acceptance(("AUTO", "MAINTENANCE"))
    assert judge(APP, TASK, answer, accepting).verdict is Verdict.FINISHED
    odd = judge(APP, TASK, record(FinishReason="by hand\n"), Acceptance(("AUTO",)))
    assert "BY HAND" in odd.message
    assert "Add " not in odd.message


def test_duplicate_task_ids_are_joined_in_order() -> None:
    assert check_task_ids(["b", "a", "b"]) == ["b", "a"]
    assert check_task_ids("one") == ["one"]
    assert check_task_id("one") == "one"


@pytest.mark.parametrize(
    "value",
    [[], "", "  ", ["a", ""], ["a", " a"], [3], 3, None, {"a": 1}, ["a\nb"], ["a b"], [["a"]]],
)
def test_invalid_task_ids(value: object) -> None:
    with pytest.raises(ConfigurationError, match="task id"):
        check_task_ids(value)


@pytest.mark.parametrize("value", ["['a', 'b']", "('a',)", '{"a": 1}', ["['a']"]])
def test_the_text_of_a_list_is_not_a_task_id(value: object) -> None:
    with pytest.raises(ConfigurationError, match="Give the list itself"):
        check_task_ids(value)


@pytest.mark.parametrize("value", [3, "", None, b"x"])
def test_an_invalid_task_id(value: object) -> None:
    with pytest.raises(ConfigurationError, match="task id"):
        check_task_id(value)


def test_sdk_app_ids() -> None:
    assert check_sdk_app_id(1400000001) == 1400000001
    assert check_sdk_app_id("1400000001") == 1400000001


@pytest.mark.parametrize("value", [0, -1, "", "abc", "1.5", 1.5, True, None, "-3", 2**63])
def test_invalid_sdk_app_ids(value: object) -> None:
    with pytest.raises(ConfigurationError, match="positive integer"):
        check_sdk_app_id(value)


def test_video_kinds() -> None:
    assert check_video_kinds(None) is None
    assert check_video_kinds("audio") == (VideoKind.AUDIO,)
    assert check_video_kinds(["mixed", "camera"]) == (VideoKind.MIXED, VideoKind.CAMERA)
    for bad in (["film"], 3, [None]):
        with pytest.raises(ConfigurationError, match="screen_share"):
            check_video_kinds(bad)


@pytest.mark.parametrize("check", [check_task_id, check_sdk_app_id, partial(check_seconds, "t")])
@pytest.mark.parametrize("huge", [10**400, -(10**5000), [10**5000]], ids=range(3))
def test_a_value_that_python_cannot_write_is_refused(check: Any, huge: Any) -> None:
    with pytest.raises(ConfigurationError):
        check(huge)
