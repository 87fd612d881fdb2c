# SPDX-License-Identifier: Apache-2.0
"""Odd inputs at the core's borders; each has no effect on others, or is refused by its name."""

from __future__ import annotations

import gzip
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import rude_server

from tiw_automation.core import (
    Acceptance,
    BadAnswer,
    ConfigurationError,
    FailedOperation,
    OnlineRecord,
    RecordingFailure,
    SignatureExpired,
    StartUncertain,
    TiwClient,
    TiwError,
    TransportError,
    Verdict,
    check_task_ids,
    judge,
    make_user_sig,
)
from tiw_automation.core.api.credential_chain import find_credentials
from tiw_automation.core.api.credentials import Credentials, RenewedKeys
from tiw_automation.core.api.error_codes import api_error
from tiw_automation.core.api.options import SETTINGS, read_options
from tiw_automation.core.api.roles import temporary_keys
from tiw_automation.core.api.running_tasks import check_task_type
from tiw_automation.core.api.settings import Settings
from tiw_automation.core.api.user_sig import check_record_user_id
from tiw_automation.core.checks import as_integer, as_number, check_sdk_app_id, check_seconds
from tiw_automation.core.errors import ApiError
from tiw_automation.core.formatting import shown, shown_url
from tiw_automation.core.headers import http_date
from tiw_automation.core.locks import ProcessLock
from tiw_automation.core.records.record import check_video_kinds
from tiw_automation.core.records.tracks import tracks_of
from tiw_automation.core.tasks.start_options import check_room_id, start_params

HUGE = 10**5000
VIDEO = {"VideoUrl": "https://h.example/a.mp4"}
GOOD = {"TaskId": "t", "Status": "FINISHED", "FinishReason": "AUTO", "VideoInfos": [VIDEO]}
ROOM, USER = 7, "tic_record_user_7_abc"


def client(port: int = 9, **given: Any) -> TiwClient:
    made = TiwClient(
        **{
            "secret_id": "AKIDexample",
            "secret_key": "key",
            "sdk_app_id": 1400000001,
            "endpoint": f"http://127.0.0.1:{port}",
            "requests_per_second": 1000,
            **given,
        }
    )
    made._retry._sleep = lambda seconds: None
    return made


# Arguments


class _Faulty:
    def __repr__(self) -> str:
        raise RuntimeError("no text")


ODD = {
    "huge": HUGE,
    "negative": -HUGE,
    "listed": [HUGE],
    "faulty": _Faulty(),
    "digits": "9" * 10_000,
    "escape": "x\n\x1b[31m",
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize(
    "check",
    [
        check_task_ids,
        check_sdk_app_id,
        lambda odd: check_seconds("timeout", odd),
        check_video_kinds,
        check_room_id,
        lambda odd: check_record_user_id(odd, 7),
        lambda odd: make_user_sig(1, "u", "key", expire_s=odd),
        check_task_type,
        lambda odd: tracks_of(OnlineRecord(1, "t"), least_gap_ms=cast(Any, [odd])),
        lambda odd: start_params({}, odd),
        lambda odd: start_params({"mix_stream": {"enabled": True, "model_id": odd}}),
        lambda odd: Acceptance.of(odd, True),
        lambda odd: Settings.resolve(site=odd, environ={}),
        lambda odd: Settings.resolve(timeout=odd, secret_id="a", secret_key="b", environ={}),
        lambda odd: read_options({"timeout": odd}, SETTINGS),
        lambda odd: read_options({"allow_http": odd}, SETTINGS),
    ],
)
def test_the_refusal_of_an_odd_argument_is_short(check: Callable[[Any], Any], odd: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check(odd)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 3000


@pytest.mark.parametrize("name", ["profile", "role_arn", "site", "region"])
@pytest.mark.parametrize("odd", [5, True, ["cn"], {"a": 1}, b"cn", "cn\n", "\x1b[31m"])
def test_a_setting_that_is_not_a_text(name: str, odd: Any) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        Settings.resolve(**{name: odd}, secret_id="a", secret_key="b", environ={})
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("user", ["", "a\nTLS.sdkappid:2", b"u", None, "\ud800", [HUGE]])
def test_a_signature_needs_the_name_of_a_user(user: Any) -> None:
    with pytest.raises(ConfigurationError, match="user_id"):
        make_user_sig(1, user, "key")


def test_the_time_of_a_signature_may_be_digits_in_a_text() -> None:
    made = make_user_sig(1, "u", "key", expire_s=7200, now=1.0)
    assert make_user_sig(1, "u", "key", expire_s="7200", now=1.0) == made  # type: ignore[arg-type]


@pytest.mark.parametrize("action", ["动作", None, 5, "Foo\n", ""])
def test_an_action_is_a_name(action: Any) -> None:
    with pytest.raises(ConfigurationError, match="action"):
        client().call(action, {})


@pytest.mark.parametrize("params", [None, "x", [1], 5])
def test_parameters_are_a_mapping(params: Any) -> None:
    with pytest.raises(ConfigurationError, match="mapping"):
        client().call("DescribeOnlineRecord", params)


def test_an_ignored_variable_cannot_write_log_lines(caplog: pytest.LogCaptureFixture) -> None:
    Settings.resolve(secret_id="a", secret_key="b", environ={"TENCENTCLOUD_REGION": "x\nERROR"})
    assert r"x\nERROR" in caplog.text


@pytest.mark.parametrize(
    ("value", "integer", "number"),
    [
        (7, 7, 7.0),
        (-7, -7, -7.0),
        (" 7 ", 7, 7.0),
        ("-7", -7, -7.0),
        (7.5, None, 7.5),
        ("7.5", None, 7.5),
        ("1e3", None, 1000.0),
        *((odd, None, None) for odd in (None, True, "", "x", "7_0", "\u0667", "\u00b2", [7], b"7")),
        *((odd, None, None) for odd in (float("nan"), float("inf"), "nan", "-inf", "1e999")),
        pytest.param(HUGE, None, None, id="huge"),
        pytest.param("9" * 41, None, float("9" * 41), id="41 digits"),
    ],
)
def test_what_is_read_as_a_number(value: object, integer: int | None, number: float | None) -> None:
    assert as_integer(value) == integer
    assert as_number(value) == number


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:key@host:8/a/b@c.mp4?sign=1#x", "https://host:8/a/b@c.mp4"),
        ("me:key@host/a?sign=1", "host/a"),
        ("//me:key@host/a", "//host/a"),
        ("http://[?sign=1", "..."),
        ("a.mp4?sign=1", "a.mp4"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_its_secrets(url: str, shown: str) -> None:
    assert shown_url(url) == shown


def test_a_value_without_a_repr_is_shown_as_its_type() -> None:
    assert shown(HUGE) == "a int"
    assert shown(_Faulty()) == "a _Faulty"


# Answers


@pytest.mark.parametrize("around", ["\ufeff{}", "{}\x00", "\u200b{}\u3000"])
def test_invisible_characters_around_a_word_do_not_count(around: str) -> None:
    answer = {**GOOD, "Status": around.format("finished")}
    record = OnlineRecord.from_response(answer, sdk_app_id=1, task_id="t")
    assert judge(1, "t", record, Acceptance()).verdict is Verdict.FINISHED
    answer = {**GOOD, "FinishReason": around.format("Exception")}
    record = OnlineRecord.from_response(answer, sdk_app_id=1, task_id="t")
    assert judge(1, "t", record, Acceptance()).verdict is Verdict.FAILED


@pytest.mark.parametrize("word", ["x\x1b[31m", "\ud800", "a\nb", "w" * 500])
def test_an_odd_word_is_read_the_same_again(word: str) -> None:
    answer = {**GOOD, "Status": word, "FinishReason": word}
    record = OnlineRecord.from_response(answer, sdk_app_id=1, task_id="t")
    assert OnlineRecord.from_dict(record.to_dict()) == record


def test_an_object_of_numbered_videos_is_their_list() -> None:
    answer = {**GOOD, "VideoInfos": {"0": VIDEO, "1": {"VideoUrl": "https://h.example/b.mp4"}}}
    record = OnlineRecord.from_response(answer, sdk_app_id=1, task_id="t")
    assert record.video_urls == ["https://h.example/a.mp4", "https://h.example/b.mp4"]


def answered(body: bytes, head: bytes = b"") -> dict[str, Any]:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), head, body)
    with rude_server.rude_server(rude_server.answer(raw)) as (port, _):
        sdk = client(port, timeout=5)._sdk
        return sdk.respond("DescribeOnlineRecord", {}, 5)


@pytest.mark.parametrize(
    "more",
    [
        b'"TotalTime": ' + b"9" * 5000,
        b'"TotalTime": -' + b"9" * 5000,
        b'"GroupId": "cut within a character \xe4\xbd"',
        b'"Error": {}',
        b'"Error": []',
        b'"Error": ""',
    ],
)
def test_an_odd_text_or_number_does_not_invalidate_the_answer(more: bytes) -> None:
    good = json.dumps(GOOD).encode()[:-1]
    response = answered(b'{"Response": ' + good + b", " + more + b"}}")
    record = OnlineRecord.from_response(response, sdk_app_id=1, task_id="t")
    assert judge(1, "t", record, Acceptance()).verdict is Verdict.FINISHED
    assert record.video_urls == [VIDEO["VideoUrl"]]


@pytest.mark.parametrize("around", ["{}\n", " {}", "\t{}\r\n"])
def test_blanks_around_a_code_do_not_count(around: str) -> None:
    error = {"Code": around.format("FailedOperation.Record"), "Message": "m"}
    body = {"Response": {"Error": error, "RequestId": "r"}}
    with pytest.raises(RecordingFailure):
        answered(json.dumps(body).encode())


def test_a_million_empty_gzip_members_take_no_time() -> None:
    body = gzip.compress(b"") * 300_000
    before = time.process_time()
    with pytest.raises(BadAnswer):
        answered(body, b"Content-Encoding: gzip\r\n")
    assert time.process_time() - before < 1


def test_an_answer_that_is_not_http_is_not_shown() -> None:
    raw = b'{"Response": {"CallbackKey": "the-key-of-callbacks"}}\r\n\r\n'
    with (
        rude_server.rude_server(rude_server.answer(raw)) as (port, _),
        pytest.raises(TransportError) as caught,
    ):
        client(port)._sdk.respond("DescribeOnlineRecordCallback", {}, 5)
    assert "the-key-of-callbacks" not in str(caught.value)


@pytest.mark.parametrize(
    "date", ["Fri, 31 Dec 9999 23:59:59 -2359", "Fri, 31 Dec 9999 23:59:59 GMT", "1 Jan 1970 00:00"]
)
def test_an_implausible_date_is_ignored(date: str) -> None:
    assert http_date(date) is None
    error = {"Error": {"Code": "AuthFailure.SignatureExpire", "Message": "m"}}
    with pytest.raises(SignatureExpired):
        answered(json.dumps({"Response": error}).encode(), f"Date: {date}\r\n".encode())


# The running list

Script = Callable[[str, Mapping[str, Any]], dict[str, Any]]


def scripted(script: Script, **given: Any) -> tuple[TiwClient, list[str]]:
    """Return a client whose requests all leave and are answered by ``script``; and its actions."""
    made, actions = client(**given), []

    def respond(
        action: str,
        params: Mapping[str, Any],
        timeout_s: float,
        *,
        before_sending: Callable[[], None],
        before_repeating: Callable[[], None],
    ) -> dict[str, Any]:
        before_sending()
        actions.append(action)
        return script(action, params)

    made._sdk.respond = respond  # type: ignore[method-assign, assignment]
    return made, actions


@pytest.mark.parametrize("total", [None, 0, -5, "x", 10**30, 5])
@pytest.mark.parametrize("size", [100, 500])
def test_every_page_is_read_whatever_the_total(total: object, size: int) -> None:
    rows = [{"TaskID": f"t{number}", "RoomID": number} for number in range(1200)]

    def script(action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"Tasks": rows[params["Offset"] :][:size], "Total": total}

    made, _ = scripted(script)
    assert len(made.describe_running_tasks()) == 1200


def test_pages_that_are_shorter_than_asked_for_are_all_read() -> None:
    rows = [{"TaskID": f"t{number}", "RoomID": number} for number in range(400)]

    def script(action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"Tasks": rows[params["Offset"] :][:100], "Total": len(rows)}

    made, actions = scripted(script)
    assert len(made.describe_running_tasks()) == 400
    assert len(actions) == 4


def test_a_list_without_an_end_ends() -> None:
    def script(action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        assert len(actions) <= 200
        first = params["Offset"]
        return {"Tasks": [{"TaskID": f"t{first + n}"} for n in range(500)], "Total": 10**9}

    made, actions = scripted(script, requests_per_second=100_000)
    with pytest.raises(BadAnswer, match="does not end"):
        made.describe_running_tasks()
    assert len(actions) == 200


# Starts and changes


@pytest.mark.parametrize(
    "page",
    [
        {"Tasks": [{"RoomID": ROOM}], "Total": 1},
        {"Tasks": [None], "Total": 1},
        {"Tasks": [{"TaskId": "T1", "RoomId": ROOM}], "Total": 1},
        {"Tasks": [{"TaskID": ["T1"], "RoomID": ROOM}], "Total": 1},
        {"Tasks": None, "Total": 1},
    ],
)
def test_a_start_in_doubt_is_not_repeated_if_a_row_is_unreadable(
    page: dict[str, Any],
) -> None:
    def script(action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if action == "DescribeRunningTasks":
            return page
        raise TransportError("The answer was lost.")

    made, actions = scripted(script)
    with pytest.raises(StartUncertain) as caught:
        made.start_online_record(ROOM, record_user_id=USER, record_user_sig="sig")
    assert caught.value.record_user_id == USER
    assert actions.count("StartOnlineRecord") == 1


def _beside_a_task() -> ApiError:
    error = api_error("FailedOperation", "m")
    error.names_task = True
    return error


@pytest.mark.parametrize(
    "error",
    [
        _beside_a_task(),
        api_error("", "m"),
        api_error("RequestTimeout", "m"),
        api_error("FailedOperation.Timeout", "m"),
        api_error("ResponseSizeLimitExceeded", "m"),
    ],
    ids=["beside a TaskId", "no code", "time-out", "failed by time-out", "too large"],
)
def test_an_error_that_is_not_a_refusal_leaves_a_start_in_doubt(error: ApiError) -> None:
    def script(action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if action == "StartOnlineRecord":
            raise error
        if action == "DescribeRunningTasks":
            return {"Tasks": [{"TaskID": "T1", "RoomID": ROOM}], "Total": 1}
        return {"TaskId": "T1", "Status": "RECORDING", "RecordUserId": USER}

    made, actions = scripted(script)
    started = made.start_online_record(ROOM, record_user_id=USER, record_user_sig="sig")
    assert started == "T1"
    assert actions.count("StartOnlineRecord") == 1


def test_a_task_id_beside_an_error_is_noted() -> None:
    error = {"Error": {"Code": "FailedOperation", "Message": "m"}}
    for more, names in (({"TaskId": "T1"}, True), ({}, False)):
        with pytest.raises(FailedOperation) as caught:
            answered(json.dumps({"Response": {**error, **more}}).encode())
        assert caught.value.names_task is names


def test_an_interruption_after_the_answer_names_the_recording() -> None:
    made, _ = scripted(lambda action, params: {"TaskId": "T1"})

    def interrupt(task_id: str) -> None:
        raise KeyboardInterrupt

    made._known.add = interrupt  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt) as caught:
        made.start_online_record(ROOM, record_user_id=USER, record_user_sig="sig")
    assert isinstance(caught.value.__cause__, StartUncertain)
    assert "T1" in str(caught.value.__cause__)


def test_a_change_in_doubt_asks_for_the_state_after_any_error() -> None:
    def script(action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        if action == "PauseOnlineRecord":
            raise api_error("", "m")
        return {"TaskId": "T1", "Status": "PAUSED"}

    made, actions = scripted(script)
    assert made.pause_online_record("T1") is True
    assert actions == ["PauseOnlineRecord", "DescribeOnlineRecord"]


# Keys


def _keys(**changes: Any) -> dict[str, Any]:
    whole = {"TmpSecretId": "i", "TmpSecretKey": "k", "Token": "t", "ExpiredTime": 2_000_000_000}
    return {**whole, **changes}


def test_the_end_of_keys_may_be_digits_in_a_text() -> None:
    assert temporary_keys(_keys(ExpiredTime="2000000000"), "role").expires_at == 2_000_000_000


def test_keys_whose_end_is_in_milliseconds_are_renewed_all_the_same() -> None:
    now = [1_800_000_000.0]
    fetched = []

    class Role(RenewedKeys):
        identity = "role"

        def fetch(self) -> Credentials:
            fetched.append(now[0])
            end_ms = (now[0] + 7200) * 1000
            return temporary_keys(_keys(ExpiredTime=end_ms), "role")

    role = Role(clock=lambda: now[0])
    role.current(5)
    now[0] += 12 * 3600
    role.current(5)
    assert len(fetched) == 2


def test_a_file_of_keys_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    folder = tmp_path / ".tccli"
    folder.mkdir()
    keys = json.dumps({"secretId": "AKIDbom", "secretKey": "k"})
    (folder / "default.credential").write_text(keys, encoding="utf-8-sig")
    assert find_credentials(environ={}, home=tmp_path).identity == "AKIDbom"


@pytest.mark.parametrize("role", [b"x" * 100_000, b'{"a": 1}', b"../../x", b"a b"])
def test_what_the_metadata_names_must_be_a_role(role: bytes, tmp_path: Path) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(role), role)
    with rude_server.rude_server(rude_server.answer(raw)) as (port, _):
        environ = {"TIW_METADATA_ENDPOINT": f"http://127.0.0.1:{port}"}
        with pytest.raises(TiwError, match="names no CAM role") as caught:
            find_credentials(environ=environ, home=tmp_path)
    assert len(str(caught.value)) < 3000


def test_a_path_with_odd_characters_is_escaped(tmp_path: Path) -> None:
    environ = {
        "TENCENTCLOUD_SHARED_CREDENTIALS_DIR": str(tmp_path / "a\n\x1b[31m"),
        "TIW_METADATA_ENDPOINT": "http://127.0.0.1:9",
    }
    with pytest.raises(TiwError) as caught:
        find_credentials(environ=environ, home=tmp_path)
    assert str(caught.value).isprintable()


# Forks


def test_a_lock_that_a_thread_holds_is_open_in_a_forked_child() -> None:
    made, _ = scripted(lambda action, params: GOOD)
    locks = [made._count_lock, made._known._lock, made._retry._budget._lock]
    assert all(isinstance(lock, ProcessLock) for lock in locks)
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        with locks[0], locks[1], locks[2]:
            held.set()
            release.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        try:
            made.describe_online_record("t")
            made._known.add("t")
            os._exit(0)
        finally:
            os._exit(1)
    release.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0
