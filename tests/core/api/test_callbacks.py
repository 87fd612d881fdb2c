# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hmac
import json
import re
import tracemalloc
from functools import partial
from typing import Any

import pytest

from tiw_automation.core import (
    CallbackError,
    CallbackExpired,
    CallbackForged,
    CallbackSettings,
    ConfigurationError,
    RecordingFailure,
    new_callback_key,
    parse_callback,
)
from tiw_automation.core.api import callback_body
from tiw_automation.core.api.callback_settings import (
    check_callback_key,
    check_callback_url,
    is_plain_http,
)
from tiw_automation.core.api.callbacks import MAX_BODY_BYTES, EventType, sign, warn_if_weak

KEY = "Xz4ZgayTr7rMgWQrH"
EXPIRES = 1588040109
NOW = EXPIRES - 60


def body(event_type: str | None, data: Any, **changes: Any) -> bytes:
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


RECORDING = {"TaskId": "t1", "RoomId": 880528, "RecordUserId": "tic_record_user_880528_1"}


def test_the_published_vector() -> None:
    assert sign(KEY, EXPIRES) == "a2dabb362a9b811c0e26953a6276a41c"


@pytest.mark.parametrize("event", [EventType.STARTED, EventType.STOPPED])
def test_a_recording_that_started_or_stopped(event: str) -> None:
    found = parse_callback(body(event, RECORDING), KEY, now=NOW)
    assert (found.event_type, found.task_id, found.room_id, found.record_user_id) == (
        event,
        *RECORDING.values(),
    )
    assert (found.sdk_app_id, found.timestamp) == (1400000001, NOW)
    assert not found.is_finished
    assert found.record is None


def test_a_recording_that_finished() -> None:
    data = {
        **RECORDING,
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
        **RECORDING,
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
    data = {**RECORDING, "Error": {"Code": "", "Message": ""}}
    assert parse_callback(body("OnlineRecordFinished", data), KEY, now=NOW).error is None


def test_the_warnings_about_a_long_pause() -> None:
    warned = {**RECORDING, "PauseTime": 5, "EstimateStopTime": 9}
    found = parse_callback(body(EventType.LONG_PAUSE_WARNING, warned), KEY, now=NOW)
    assert (found.pause_time, found.estimated_stop_time, found.stop_time) == (5, 9, None)
    stopped = {**RECORDING, "PauseTime": 5, "StopTime": 9}
    found = parse_callback(body(EventType.LONG_PAUSE_FORCE_STOPPED, stopped), KEY, now=NOW)
    assert (found.pause_time, found.estimated_stop_time, found.stop_time) == (5, None, 9)


def test_an_unknown_event_passes_through() -> None:
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
def test_a_callback_without_a_right_signature_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(CallbackForged) as caught:
        parse_callback(body("OnlineRecordFinished", RECORDING, **changes), KEY, now=NOW)
    assert KEY not in str(caught.value)
    assert sign(KEY, EXPIRES) not in str(caught.value)


def test_signatures_are_compared_in_constant_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[tuple[bytes, bytes]] = []
    decides = hmac.compare_digest

    def recorded(given: bytes, right: bytes) -> bool:
        compared.append((given, right))
        return decides(given, right)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    right = sign(KEY, EXPIRES)
    assert parse_callback(body("OnlineRecordFinished", RECORDING), KEY, now=NOW).task_id == "t1"
    assert compared == [(right.encode(), right.encode())]
    monkeypatch.setattr(hmac, "compare_digest", lambda *_: False)
    with pytest.raises(CallbackForged):
        parse_callback(body("OnlineRecordFinished", RECORDING), KEY, now=NOW)


def test_a_signature_ends() -> None:
    posted = body("OnlineRecordFinished", RECORDING)
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
        body("", RECORDING),
        body("{{ lookup('pipe', 'id') }}", RECORDING),
        body("OnlineRecordFinished\n", RECORDING),
        body("O" * 65, RECORDING),
        body("OnlineRecordFinished", RECORDING, SdkAppId=...),
        body("OnlineRecordFinished", "text"),
        body("OnlineRecordFinished", {**RECORDING, "TaskId": " t1"}),
        body("OnlineRecordStarted", {**RECORDING, "TaskId": "t\n1"}),
        body("OnlineRecordStarted", {**RECORDING, "TaskId": "\ud800"}),
        body("OnlineRecordFinished", [RECORDING]),
        body("OnlineRecordFinished", {**RECORDING, "TaskId": {}}),
        body("OnlineRecordFinished", {**RECORDING, "TaskId": False}),
        body("OnlineRecordFinished", {**RECORDING, "TaskId": -5}),
        body("OnlineRecordFinished", {**RECORDING, "TaskId": "t" * 129}),
        body("OnlineRecordFinished", {**RECORDING, "TaskId": "t" * 100_000}),
        body("OnlineRecordFinished", {**RECORDING, "TaskId": 10**4000}),
        body(None, RECORDING),
        body("OnlineRecordFinished", RECORDING) + b"x",
        body("OnlineRecordFinished", {f"k{n}": n for n in range(2000)}),
        None,
        5,
        [],
    ],
    ids=range(29),
)
def test_a_body_that_is_not_a_callback(posted: Any) -> None:
    with pytest.raises(CallbackError) as caught:
        parse_callback(posted, KEY, now=NOW)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "data",
    [
        {**RECORDING, "RoomId": "1253"},
        {**RECORDING, "RoomId": {"a": 1}, "RecordUserId": 5, "PauseTime": "x"},
        {**RECORDING, "Error": "x"},
        {**RECORDING, "Error": [1]},
        {**RECORDING, "Error": {"Code": 5, "Message": {}}},
        {**RECORDING, "VideoInfos": {}},
        {**RECORDING, "VideoInfos": "x", "OmittedDurations": 7},
        {**RECORDING, "VideoInfos": [[], 5, None, {"VideoUrl": 7, "VideoType": []}]},
        {**RECORDING, "Sign": "0" * 32, "ExpireTime": 7},
        {"New": {"TaskId": "another", "Sign": "x"}, "TaskId": "t1"},
        {"VideoInfos": [{"ExpireTime": n, "Sign": f"{n:032x}"} for n in range(500)], **RECORDING},
    ],
    ids=range(11),
)
def test_an_odd_field_beside_the_hint_costs_only_itself(data: dict[str, Any]) -> None:
    found = parse_callback(body("OnlineRecordFinished", data), KEY, now=NOW)
    assert (found.event_type, found.sdk_app_id, found.task_id, found.timestamp) == (
        "OnlineRecordFinished",
        1400000001,
        "t1",
        NOW,
    )
    # A field that is asked for is its value or None, never an error.
    assert found.raw["EventData"] == data
    assert found.record is None or found.record.task_id == "t1"
    assert found.error is None or found.error.message is not None
    names = ("room_id", "record_user_id", "pause_time", "stop_time", "estimated_stop_time")
    assert all(isinstance(getattr(found, name), int | str | None) for name in names)


@pytest.mark.parametrize(
    ("changes", "sdk_app_id", "timestamp"),
    [
        ({"SdkAppId": "1400000001"}, 1400000001, NOW),
        ({"SdkAppId": 1400000001.0}, 1400000001, NOW),
        ({"SdkAppId": 2**63 - 1}, 2**63 - 1, NOW),
        ({"Timestamp": "1575545412"}, 1400000001, 1575545412),
        ({"Timestamp": 1575545412.0}, 1400000001, 1575545412),
        ({"Timestamp": "soon"}, 1400000001, None),
        ({"Timestamp": True}, 1400000001, None),
        ({"Timestamp": 10**4000}, 1400000001, None),
        ({"Timestamp": [1]}, 1400000001, None),
        ({"Timestamp": None}, 1400000001, None),
        ({"Timestamp": ...}, 1400000001, None),
    ],
    ids=range(11),
)
def test_a_number_may_have_another_form(
    changes: dict[str, Any], sdk_app_id: int, timestamp: int | None
) -> None:
    posted = body("OnlineRecordFinished", RECORDING, **changes)
    for form in (posted, json.loads(posted)):
        found = parse_callback(form, KEY, now=NOW)
        assert (found.task_id, found.sdk_app_id, found.timestamp) == ("t1", sdk_app_id, timestamp)


@pytest.mark.parametrize(
    "sdk_app_id",
    [-1, 0, 2**63, 10**4000, True, False, None, "x", "", "-5", [], {}, 1.5, ...],
    ids=range(14),
)
def test_an_invalid_application_is_refused(sdk_app_id: Any) -> None:
    posted = body("OnlineRecordFinished", RECORDING, SdkAppId=sdk_app_id)
    with pytest.raises(CallbackError, match="SdkAppId"):
        parse_callback(posted, KEY, now=NOW)


@pytest.mark.parametrize(
    ("task_id", "digits"), [(12345678901234567890, "12345678901234567890"), (5.0, "5"), (0, "0")]
)
def test_a_task_id_that_is_a_number_is_its_digits(task_id: float, digits: str) -> None:
    posted = body("OnlineRecordFinished", {"TaskId": task_id})
    for form in (posted, json.loads(posted)):
        assert parse_callback(form, KEY, now=NOW).task_id == digits


@pytest.mark.parametrize("expire_time", [10**5000, -(10**5000), 2**63], ids=range(3))
def test_a_huge_expire_time_of_an_object_is_forged(expire_time: int) -> None:
    posted = json.loads(body("OnlineRecordFinished", RECORDING)) | {"ExpireTime": expire_time}
    with pytest.raises(CallbackForged):
        parse_callback(posted, KEY, now=NOW)


@pytest.mark.parametrize("data", [None, {}, [], "", 0, False, ...])
def test_event_data_may_be_empty(data: Any) -> None:
    posted = body("OnlineRecordStarted", RECORDING, EventData=data)
    found = parse_callback(posted, KEY, now=NOW)
    assert (found.task_id, found.room_id, found.error) == (None, None, None)


RIGHT = f'"ExpireTime": {EXPIRES}, "Sign": "{sign(KEY, EXPIRES)}"'
REST = '"EventType": "OnlineRecordFinished", "SdkAppId": 14'
EVENT = '"EventData": {"TaskId": "t1", "Text": "}\\",{[ \\\\", "Deep": [[{"a": [{}]}], "]"]}'


@pytest.mark.parametrize(
    "posted",
    [
        f"{{{RIGHT}, {EVENT}, {REST}}}",
        f"{{{EVENT}, {REST}, {RIGHT}}}",
        f"{{{REST}, {RIGHT}, {EVENT}}}",
        f"{{{EVENT}, {REST}, {RIGHT}}}".replace(" ", ""),
        f"\r\n\t {{ {EVENT} , {REST} , {RIGHT} }} \n".replace(": ", " \n : \t ").replace(
            ", ", ",\n"
        ),
        "\ufeff" + f"{{{EVENT}, {REST}, {RIGHT}}}",
        f'{{"Sign": "x", "ExpireTime": 1, {EVENT}, {REST}, {RIGHT}}}',
        f'{{{EVENT}, {REST}, {RIGHT}, "More": {{"Sign": "x", "ExpireTime": 2}}}}',
        f'{{"\\u0045ventData": {{"\\u0054askId": "\\u0074\\u0031"}}, {REST}, {RIGHT}}}',
        f'{{"EventData": {{"TaskId": "t0"}}, {EVENT}, {REST}, {RIGHT}}}',
        f'{{{EVENT}, {REST}, {RIGHT}, "Ä": "\\u00e4 ä \U0001f600"}}',
    ],
    ids=range(11),
)
def test_a_genuine_post_may_be_written_in_any_way(posted: str) -> None:
    for form in (posted, posted.encode(), bytearray(posted.encode())):
        found = parse_callback(form, KEY, now=NOW)  # type: ignore[arg-type]
        assert (found.task_id, found.sdk_app_id, found.is_finished) == ("t1", 14, True)


@pytest.mark.parametrize(
    "posted",
    [
        # The right pair is in the wrong place, or another pair follows.
        f'{{{REST}, "EventData": {{"TaskId": "t1", {RIGHT}}}}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "ExpireTime": {EXPIRES + 9}}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "Sign": "{"0" * 32}"}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "Sign": null}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "\\u0053ign": "{"0" * 32}"}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "Expire\\u0054ime": {EXPIRES + 9}}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "ExpireTime": {EXPIRES}.0}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "ExpireTime": {EXPIRES}e0}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "ExpireTime": true}}',
        f'{{{REST}, {EVENT}, {RIGHT}, "ExpireTime": [{EXPIRES}]}}',
        f'{{{REST}, {EVENT}, "Text": "{RIGHT.replace(chr(34), chr(92) + chr(34))}"}}',
        f"[{{{REST}, {EVENT}, {RIGHT}}}]",
        f'{{"a": {{{REST}, {EVENT}, {RIGHT}}}}}',
        f'{{{REST}, {EVENT}, "ExpireTime": 0{EXPIRES}, "Sign": "{sign(KEY, EXPIRES)}"}}',
    ],
    ids=range(14),
)
def test_a_signature_counts_only_in_its_own_place(posted: str) -> None:
    with pytest.raises(CallbackError):
        parse_callback(posted.encode(), KEY, now=NOW)


def test_a_valid_signature_in_the_wrong_place_does_not_replace_an_expired_one() -> None:
    later = EXPIRES + 60
    decoy = f'"EventData": {{"TaskId": "t1", "ExpireTime": {later}, "Sign": "{sign(KEY, later)}"}}'
    posted = f"{{{REST}, {decoy}, {RIGHT}}}"
    with pytest.raises(CallbackForged):
        parse_callback(posted, KEY, now=EXPIRES + 30)


FILLERS = {
    "objects": b"{},",
    "lists": b"[],",
    "deep": b"[[[[[[[[[[]]]]]]]]]],",
    "strings": b'"",',
    "numbers": b"1,",
    "escapes": b'"\\"\\n",',
    "named": b'{"Sign":"","ExpireTime":1},',
    "spaces": b"      ",
}


def flood(filler: bytes, signature: str) -> bytes:
    """Return a callback of the greatest length that is read."""
    head = (
        b'{"EventType":"OnlineRecordFinished","SdkAppId":14,'
        b'"EventData":{"TaskId":"t1","VideoInfos":['
    )
    tail = f'1]}},"ExpireTime":{EXPIRES},"Sign":"{signature}"}}'.encode()
    count = (MAX_BODY_BYTES - len(head) - len(tail)) // len(filler)
    return head + filler * count + tail


@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
def test_the_longest_callback_builds_nothing(
    filler: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed: list[int] = []
    loads = json.loads

    def recorded(text: Any, **options: Any) -> Any:
        parsed.append(len(text))
        return loads(text, **options)

    monkeypatch.setattr("tiw_automation.core.api.callback_body.json.loads", recorded)
    posted = flood(filler, sign(KEY, EXPIRES))
    # The first call also fills caches, and a thread of another test may allocate meanwhile.
    assert min(traced_bytes(posted) for _ in range(3)) < 100_000
    assert max(parsed) < 100


def traced_bytes(posted: bytes) -> int:
    """Return the most bytes that are allocated while a callback is read."""
    tracemalloc.start()
    try:
        assert parse_callback(posted, KEY, now=NOW).task_id == "t1"
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
def test_the_longest_callback_is_skipped_in_pieces(
    filler: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two pieces another thread can run, such as the event loop's."""
    pieces: list[int] = []
    match = callback_body._match

    def recorded(*args: Any) -> re.Match[bytes]:
        found = match(*args)
        pieces.append(found.end() - found.start())
        return found

    monkeypatch.setattr(callback_body, "_match", recorded)
    assert parse_callback(flood(filler, sign(KEY, EXPIRES)), KEY, now=NOW).task_id == "t1"
    assert max(pieces) <= 32 * 1024
    # Each piece is a good part of the work.
    assert len(pieces) < 200


@pytest.mark.parametrize(("levels", "is_read"), [(3, True), (5, False)])
def test_a_long_value_may_be_four_levels_deep(levels: int, is_read: bool) -> None:
    videos = b'"VideoInfos":' + b"[" * levels + b"{}," * 20_000 + b"1" + b"]" * levels
    posted = f'{{{REST}, "EventData":{{"TaskId":"t1",'.encode() + videos + b"}, "
    posted += RIGHT.encode() + b"}"
    if is_read:
        assert parse_callback(posted, KEY, now=NOW).task_id == "t1"
    else:
        with pytest.raises(CallbackError):
            parse_callback(posted, KEY, now=NOW)


@pytest.mark.parametrize("filler", FILLERS.values(), ids=FILLERS)
def test_a_forged_callback_is_not_read(filler: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: bytes) -> Any:
        raise AssertionError("It was read before its signature was checked.")

    monkeypatch.setattr("tiw_automation.core.api.callback_body.read_fields", never)
    with pytest.raises(CallbackForged):
        parse_callback(flood(filler, "0" * 32), KEY, now=NOW)


def test_only_the_hint_is_read_before_something_else_is_accessed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("It was built before it was accessed.")

    monkeypatch.setattr("tiw_automation.core.api.callbacks.OnlineRecord.from_response", never)
    monkeypatch.setattr("tiw_automation.core.api.callbacks.api_error", never)
    posted = body("OnlineRecordFinished", {**RECORDING, "Error": FAILURE, "VideoInfos": [{}]})
    for form in (posted, json.loads(posted)):
        found = parse_callback(form, KEY, now=NOW)
        assert "raw" not in vars(found)
        assert found.without_body() == found
        assert found.without_body().raw == {}


@pytest.mark.parametrize("key", ["", None])
def test_without_a_key_every_callback_is_refused(key: Any) -> None:
    with pytest.raises(ConfigurationError, match="key"):
        parse_callback(body("OnlineRecordFinished", RECORDING), key, now=NOW)


def test_a_new_key_is_long_and_random() -> None:
    keys = {new_callback_key() for _ in range(50)}
    assert len(keys) == 50
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", key) for key in keys)
    assert all(check_callback_key(key) == key for key in keys)


@pytest.mark.parametrize("key", ["a", "k" * 15, "k" * 65])
def test_a_key_of_an_invalid_length_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError, match=str(len(key))) as caught:
        check_callback_key(key)
    assert f"{key}." not in str(caught.value)


@pytest.mark.parametrize("key", [b"k" * 20, 12345678901234567890, ["k" * 20], "\udcff" * 20])
def test_a_key_must_be_a_text(key: Any) -> None:
    posted = body("OnlineRecordFinished", RECORDING)
    for use in (check_callback_key, warn_if_weak, partial(parse_callback, posted, now=NOW)):
        with pytest.raises(ConfigurationError, match="must be a text") as caught:
            use(key)
        assert "kkk" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        ["https://host/"],
        5,
        b"https://host/",
        "https://host/\x1b[2J",
        "https://h\0ost/",
        {},
        "\ud800",
    ],
)
def test_an_invalid_address_is_refused(url: Any) -> None:
    with pytest.raises(ConfigurationError, match="malformed"):
        check_callback_url(url)


@pytest.mark.parametrize("key", [KEY, "k" * 16, "k" * 64, "", None])
def test_a_valid_key(key: str | None) -> None:
    assert check_callback_key(key) == (key or "")


def test_a_weak_key_in_use_is_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        with pytest.raises(CallbackForged):
            parse_callback(body("OnlineRecordFinished", RECORDING), "weak-key", now=NOW)
        assert parse_callback(body("OnlineRecordFinished", RECORDING), KEY, now=NOW).task_id
    (line,) = [record.getMessage() for record in caplog.records]
    assert "8 characters" in line
    assert "weak-key" not in line


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("http://hooks.example.com/tiw", True),
        ("http://10.0.0.5:8080/x", True),
        ("HTTP://hooks.example.com/tiw", True),
        ("https://hooks.example.com/tiw", False),
        ("http://localhost:8080/x", False),
        ("http://127.0.0.1:8080/x", False),
        ("http://[::1]:8080/x", False),
    ],
)
def test_which_addresses_are_readable_in_transit(url: str, plain: bool) -> None:
    assert is_plain_http(check_callback_url(url)) is plain


def test_the_key_is_not_shown() -> None:
    assert KEY not in repr(CallbackSettings("http://host/", KEY))
