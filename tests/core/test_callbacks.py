# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hmac
import json
from typing import Any

import pytest

from tiw_automation.core import (
    CallbackError,
    CallbackExpired,
    CallbackForged,
    CallbackSettings,
    ConfigurationError,
    RecordingFailure,
    parse_callback,
)
from tiw_automation.core.callbacks import MAX_BODY_BYTES, EventType, sign

KEY = "Xz4ZgayTr7rMgWQrH"
EXPIRES = 1588040109
NOW = EXPIRES - 60


def body(event_type: str, data: Any, **changes: Any) -> bytes:
    callback = {
        "EventType": event_type,
        "EventData": data,
        "Timestamp": NOW,
        "SdkAppId": 1400000001,
        "ExpireTime": EXPIRES,
        "Sign": sign(KEY, EXPIRES),
        **changes,
    }
    return json.dumps({k: v for k, v in callback.items() if v is not ...}).encode()


WHOSE = {"TaskId": "t1", "RoomId": 880528, "RecordUserId": "tic_record_user_880528_1"}


def test_the_published_vector() -> None:
    assert sign(KEY, EXPIRES) == "a2dabb362a9b811c0e26953a6276a41c"


@pytest.mark.parametrize("event", [EventType.STARTED, EventType.STOPPED])
def test_a_recording_that_started_or_stopped(event: str) -> None:
    found = parse_callback(body(event, WHOSE), KEY, now=NOW)
    assert (found.event_type, found.task_id, found.room_id, found.record_user_id) == (
        event,
        *WHOSE.values(),
    )
    assert (found.sdk_app_id, found.timestamp) == (1400000001, NOW)
    assert not found.is_finished
    assert found.record is None


def test_a_recording_that_finished() -> None:
    data = {
        **WHOSE,
        "GroupId": "880528",
        "FinishReason": "USER_CALL",
        "RecordStartTime": 100,
        "RecordStopTime": 160,
        "TotalTime": 60000,
        "ExceptionCnt": 0,
        "OmittedDurations": None,
        "VideoInfos": [{"VideoUrl": "http://v/1.mp4", "VideoType": 2, "VideoDuration": 60000}],
    }
    found = parse_callback(body("OnlineRecordFinished", data), KEY, now=NOW)
    assert found.is_finished
    assert found.error is None
    assert found.record is not None
    assert found.record.status == "FINISHED"
    assert found.record.video_urls == ["http://v/1.mp4"]
    assert found.record.total_time_ms == 60000


FAILURE = {
    "Code": "FailedOperation.Record",
    "Message": "code: 40001, msg: 2020-05-21 15:20:06, invalid userid\n",
}


def test_a_failure_in_its_new_form() -> None:
    data = {
        **WHOSE,
        "FinishReason": "EXCEPTION",
        "RecordStartTime": 0,
        "TotalTime": 0,
        "VideoInfos": [],
        "Error": FAILURE,
    }
    found = parse_callback(body("OnlineRecordFinished", data), KEY, now=NOW)
    assert isinstance(found.error, RecordingFailure)
    assert found.error.inner_code == 40001
    assert found.record is not None
    assert found.record.finish_reason == "EXCEPTION"
    assert found.record.record_start_time is None


def test_a_failure_in_its_old_form_names_no_recording() -> None:
    found = parse_callback(body("OnlineRecordFinished", {"Error": FAILURE}), KEY, now=NOW)
    assert (found.is_finished, found.task_id, found.record) == (True, None, None)
    assert isinstance(found.error, RecordingFailure)


def test_an_empty_error_is_none() -> None:
    data = {**WHOSE, "Error": {"Code": "", "Message": ""}}
    assert parse_callback(body("OnlineRecordFinished", data), KEY, now=NOW).error is None


def test_the_warnings_about_a_long_pause() -> None:
    warned = {**WHOSE, "PauseTime": 5, "EstimateStopTime": 9}
    found = parse_callback(body(EventType.LONG_PAUSE_WARNING, warned), KEY, now=NOW)
    assert (found.pause_time, found.estimated_stop_time, found.stop_time) == (5, 9, None)
    stopped = {**WHOSE, "PauseTime": 5, "StopTime": 9}
    found = parse_callback(body(EventType.LONG_PAUSE_FORCE_STOPPED, stopped), KEY, now=NOW)
    assert (found.pause_time, found.estimated_stop_time, found.stop_time) == (5, None, 9)


def test_an_event_that_is_new_passes_through() -> None:
    found = parse_callback(body("OnlineRecordSomething", {"New": 1}), KEY, now=NOW)
    assert found.event_type == "OnlineRecordSomething"
    assert found.raw["EventData"] == {"New": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"Sign": ...},
        {"Sign": None},
        {"Sign": 5},
        {"Sign": ""},
        {"Sign": "ä"},
        {"Sign": "\ud800"},
        {"Sign": sign("another", EXPIRES)},
        {"Sign": sign(KEY, EXPIRES).upper()},
        {"ExpireTime": EXPIRES + 1},
        {"ExpireTime": ...},
        {"ExpireTime": str(EXPIRES)},
        {"ExpireTime": True},
    ],
)
def test_what_is_not_signed_is_not_believed(changes: dict[str, Any]) -> None:
    with pytest.raises(CallbackForged) as caught:
        parse_callback(body("OnlineRecordFinished", WHOSE, **changes), KEY, now=NOW)
    assert KEY not in str(caught.value)
    assert sign(KEY, EXPIRES) not in str(caught.value)


def test_how_much_of_a_signature_is_right_takes_no_time_to_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    decides = hmac.compare_digest

    def recorded(given: bytes, right: bytes) -> bool:
        compared.append((given, right))
        return decides(given, right)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    right = sign(KEY, EXPIRES)
    assert parse_callback(body("OnlineRecordFinished", WHOSE), KEY, now=NOW).task_id == "t1"
    assert compared == [(right.encode(), right.encode())]
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: False)
    with pytest.raises(CallbackForged):
        parse_callback(body("OnlineRecordFinished", WHOSE), KEY, now=NOW)


def test_a_signature_ends() -> None:
    posted = body("OnlineRecordFinished", WHOSE)
    assert parse_callback(posted, KEY, now=EXPIRES).task_id == "t1"
    with pytest.raises(CallbackExpired, match=str(EXPIRES)):
        parse_callback(posted, KEY, now=EXPIRES + 1)


@pytest.mark.parametrize(
    "posted",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        b" " * (MAX_BODY_BYTES + 1),
        body("", WHOSE),
        body("{{ lookup('pipe', 'id') }}", WHOSE),
        body("OnlineRecordFinished\n", WHOSE),
        body("O" * 65, WHOSE),
        body("OnlineRecordFinished", WHOSE, SdkAppId=...),
        body("OnlineRecordFinished", WHOSE, SdkAppId="1"),
        body("OnlineRecordFinished", "text"),
        body("OnlineRecordFinished", {**WHOSE, "TaskId": 5}),
        body("OnlineRecordFinished", {**WHOSE, "TaskId": " t1"}),
        body("OnlineRecordStarted", {**WHOSE, "TaskId": "t\n1"}),
        body("OnlineRecordStarted", {**WHOSE, "TaskId": "\ud800"}),
        body("OnlineRecordFinished", {**WHOSE, "Error": "text"}),
        body("OnlineRecordFinished", {**WHOSE, "VideoInfos": {}}),
    ],
    ids=range(20),
)
def test_what_is_no_callback(posted: bytes) -> None:
    with pytest.raises(CallbackError):
        parse_callback(posted, KEY, now=NOW)


@pytest.mark.parametrize("key", ["", None])
def test_without_a_key_nothing_is_believed(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="key"):
        parse_callback(body("OnlineRecordFinished", WHOSE), key, now=NOW)


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(CallbackSettings("http://host/", KEY))
