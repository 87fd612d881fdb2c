# SPDX-License-Identifier: Apache-2.0
"""The actions of recordings against the simulator: lost answers, repeats, refusals, new keys."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import (
    AuthFailure,
    ConfigurationError,
    CredentialsError,
    InvalidParameter,
    LimitExceeded,
    Outcome,
    RecordingFailure,
    RecordWatcher,
    ResourceInUse,
    ServerError,
    SignatureExpired,
    StartUncertain,
    TaskNotFound,
    TiwClient,
    UnsupportedOperation,
)
from tiw_automation.core.quota.quota import Quota, Slot
from tiw_automation.simulator import Simulator

ROOM = 880528
USER = f"tic_record_user_{ROOM}_lesson1"
SIG = "signature"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulator of the Chinese site, which lists what runs; its time stands still."""
    with Simulator(region="ap-guangzhou", speed=0) as running:
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[TiwClient]:
    with TiwClient(**simulator.settings()) as opened:
        yield opened


@pytest.fixture
def abroad() -> Iterator[Simulator]:
    """A simulator of the international site, which does not list what runs."""
    with Simulator(region="ap-singapore", speed=0) as running:
        yield running


def once() -> Slot:
    """Return a reserved slot, with which a call is made once."""
    return Slot(Quota(1000), time.monotonic())


def test_the_life_of_a_recording(simulator: Simulator, client: TiwClient) -> None:
    task_id = client.start_online_record(ROOM, record_user_sig=SIG, preset="audio_files")
    assert client.describe_online_record(task_id).status == "PREPARED"
    simulator.advance(10)
    assert client.describe_online_record(task_id).status == "RECORDING"
    assert client.pause_online_record(task_id)
    simulator.advance(10)
    assert client.describe_online_record(task_id).status == "PAUSED"
    assert client.resume_online_record(task_id)
    simulator.advance(10)
    assert [t.task_id for t in client.describe_running_tasks()] == [task_id]
    assert client.stop_online_record(task_id)
    simulator.advance(600)
    record = client.describe_online_record(task_id)
    assert (record.status, record.finish_reason, record.room_id) == ("FINISHED", "USER_CALL", ROOM)
    assert "audio" in {video.kind for video in record.videos}
    assert simulator.started == 1


def test_a_repeated_change_changes_nothing(simulator: Simulator, client: TiwClient) -> None:
    task_id = client.start_online_record(ROOM, record_user_sig=SIG)
    simulator.advance(10)
    for change in (
        client.pause_online_record,
        client.resume_online_record,
        client.stop_online_record,
    ):
        assert change(task_id) is True
        simulator.advance(10)
        assert change(task_id) is False


def test_changes_that_a_state_does_not_allow(simulator: Simulator, client: TiwClient) -> None:
    task_id = client.start_online_record(ROOM, record_user_sig=SIG)
    simulator.advance(10)
    client.stop_online_record(task_id)
    simulator.advance(600)
    for change in (client.pause_online_record, client.resume_online_record):
        with pytest.raises(UnsupportedOperation):
            change(task_id)
    with pytest.raises(TaskNotFound):
        client.stop_online_record("nosuchtask")


def test_starting_again_with_the_same_user_returns_the_same_recording(
    simulator: Simulator, client: TiwClient
) -> None:
    start: dict[str, Any] = {"record_user_id": USER, "record_user_sig": SIG}
    task_id = client.start_online_record(ROOM, **start)
    simulator.advance(10)
    assert client.start_online_record(ROOM, **start) == task_id
    assert simulator.started == 1
    assert client.find_online_record(ROOM, USER) == task_id
    assert client.find_online_record(ROOM + 1, USER) is None
    client.stop_online_record(task_id)
    simulator.advance(5)
    assert client.find_online_record(ROOM, USER) is None


@pytest.mark.parametrize("times", [1, 2])
def test_a_lost_answer_never_starts_a_second_recording(
    simulator: Simulator, client: TiwClient, times: int
) -> None:
    simulator.inject("answer_lost", times=times, action="StartOnlineRecord")
    task_id = client.start_online_record(ROOM, record_user_sig=SIG)
    simulator.advance(10)
    assert simulator.started == 1
    assert client.describe_online_record(task_id).status == "RECORDING"


def test_a_request_that_was_lost_is_sent_again(simulator: Simulator, client: TiwClient) -> None:
    simulator.inject("reset", times=1, action="StartOnlineRecord")
    assert client.start_online_record(ROOM, record_user_sig=SIG)
    assert simulator.started == 1


def test_without_a_running_list_a_lost_answer_is_start_uncertain(abroad: Simulator) -> None:
    abroad.inject("answer_lost", times=1, action="StartOnlineRecord")
    with TiwClient(**abroad.settings()) as client, pytest.raises(StartUncertain) as caught:
        client.start_online_record(ROOM, record_user_id=USER, record_user_sig=SIG)
    assert abroad.started == 1
    assert caught.value.record_user_id == USER
    assert "TaskId" in str(caught.value)


def test_when_all_fails_the_error_names_the_way_on(simulator: Simulator, client: TiwClient) -> None:
    simulator.inject("reset", times=9, action="StartOnlineRecord")
    with pytest.raises(StartUncertain, match="never starts a second one") as caught:
        client.start_online_record(ROOM, record_user_id=USER, record_user_sig=SIG)
    assert simulator.started == 0
    assert USER in str(caught.value)


def test_a_throttled_start_is_repeated(simulator: Simulator, client: TiwClient) -> None:
    simulator.inject("throttle_then_ok", action="StartOnlineRecord")
    assert client.start_online_record(ROOM, record_user_sig=SIG)
    assert simulator.started == 1


@pytest.mark.parametrize("fault", ["reset", "throttle"])
def test_a_start_can_be_ended_before_each_request(
    simulator: Simulator, client: TiwClient, fault: str
) -> None:
    simulator.inject(fault, action="StartOnlineRecord")
    sent_before: list[int] = []

    def before_each() -> None:
        sent_before.append(simulator.requests.get("StartOnlineRecord", 0))
        if len(sent_before) == 2:
            raise InterruptedError("ended by the caller")

    with pytest.raises(InterruptedError, match="ended by the caller"):
        client.start_online_record(ROOM, record_user_sig=SIG, before_each=before_each)
    assert sent_before == [0, 1]
    assert simulator.requests["StartOnlineRecord"] == 1


@pytest.mark.parametrize(
    "fault", ["reset", "answer_lost", "throttle_then_ok", "server_error_then_ok"]
)
@pytest.mark.parametrize("action", ["Stop", "Pause"])
def test_a_change_whose_answer_is_lost_is_made_once(
    simulator: Simulator, client: TiwClient, fault: str, action: str
) -> None:
    task_id = client.start_online_record(ROOM, record_user_sig=SIG)
    simulator.advance(10)
    simulator.inject(fault, times=1, action=f"{action}OnlineRecord")
    change = client.stop_online_record if action == "Stop" else client.pause_online_record
    assert change(task_id) is True
    simulator.advance(3)
    expected = {"Stop": "STOPPED", "Pause": "PAUSED"}[action]
    assert client.describe_online_record(task_id).status == expected


def test_a_read_is_repeated_and_a_refusal_is_not(simulator: Simulator, client: TiwClient) -> None:
    (task_id,) = simulator.add_finished(1)
    simulator.inject("server_error", times=2)
    assert client.describe_online_record(task_id).status == "FINISHED"
    asked = simulator.requests["DescribeOnlineRecord"]
    with pytest.raises(TaskNotFound):
        client.describe_online_record("nosuchtask")
    assert simulator.requests["DescribeOnlineRecord"] == asked + 1
    simulator.inject("server_error", times=1)
    with pytest.raises(ServerError):
        client.describe_online_record(task_id, slot=once())


def test_another_recording_of_the_room_is_refused(client: TiwClient) -> None:
    client.start_online_record(ROOM, record_user_sig=SIG)
    with pytest.raises((ResourceInUse, LimitExceeded, InvalidParameter)):
        client.start_online_record(ROOM, record_user_sig=SIG)


def test_either_a_signature_or_a_key_is_given(client: TiwClient) -> None:
    both: dict[str, Any] = {"record_user_sig": SIG, "user_sig_key": "k"}
    for given in ({}, both):
        with pytest.raises(ConfigurationError, match="Exactly one"):
            client.start_online_record(ROOM, **given)
    with pytest.raises(ConfigurationError, match="record_user_id"):
        client.start_online_record(ROOM, record_user_id="teacher", record_user_sig=SIG)
    with pytest.raises(ConfigurationError, match="Did you mean whiteboard"):
        client.start_online_record(ROOM, record_user_sig=SIG, whitebord={})
    assert client.requests_sent == 0


@pytest.mark.parametrize("given", [{"s3cret": 7}, ["s3cret"], True, 1.5, "s3cret s3cret", ""])
@pytest.mark.parametrize("name", ["record_user_sig", "user_sig_key"])
def test_a_signature_or_a_key_of_another_type_is_refused_and_not_shown(
    client: TiwClient, name: str, given: Any
) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        client.start_online_record(ROOM, **{name: given})
    assert "s3cret" not in str(caught.value)
    assert client.requests_sent == 0


def test_a_signature_of_digits_may_come_as_a_number(client: TiwClient) -> None:
    signature: Any = 20251128
    params = client.start_online_record_params(ROOM, record_user_sig=signature)
    assert params["RecordUserSig"] == "20251128"


@pytest.mark.parametrize(("key", "good"), [("the-apps-key", True), ("another-key", False)])
def test_a_signature_made_with_the_applications_key_is_accepted(key: str, good: bool) -> None:
    with Simulator(speed=0, user_sig_key="the-apps-key") as simulator:
        client = TiwClient(**simulator.settings())
        task_id = client.start_online_record(ROOM, user_sig_key=key)
        simulator.advance(30)
        if good:
            assert client.describe_online_record(task_id).status == "RECORDING"
            return
        with pytest.raises(RecordingFailure, match="signature") as caught:
            client.describe_online_record(task_id)
        assert caught.value.inner_code == 40004


def test_callbacks_are_set_read_and_removed(client: TiwClient) -> None:
    found = client.describe_online_record_callback()
    assert (found.url, found.key) == (None, None)
    client.set_online_record_callback("https://example.com/tiw?from=tencent")
    client.set_online_record_callback_key("k" * 64)
    found = client.describe_online_record_callback()
    assert (found.url, found.key) == ("https://example.com/tiw?from=tencent", "k" * 64)
    client.set_online_record_callback(None)
    client.set_online_record_callback_key(None)
    found = client.describe_online_record_callback()
    assert (found.url, found.key) == (None, None)


@pytest.mark.parametrize(
    "url", ["example.com", "ftp://example.com", "http://", "http://a b/", "http://a:b/"]
)
def test_an_invalid_callback_url(client: TiwClient, url: str) -> None:
    with pytest.raises(ConfigurationError, match="malformed"):
        client.set_online_record_callback(url)
    with pytest.raises(ConfigurationError, match="64"):
        client.set_online_record_callback_key("k" * 65)


def test_the_international_site_does_not_list_what_runs(abroad: Simulator) -> None:
    with pytest.raises(InvalidParameter, match="international"):
        TiwClient(**abroad.settings()).describe_running_tasks()
    with pytest.raises(ConfigurationError, match="task_type"):
        TiwClient(**abroad.settings()).describe_running_tasks("Record")


@pytest.mark.parametrize("skew_s", [3600, -86400])
def test_a_wrong_clock_is_corrected_and_logged(
    skew_s: int, caplog: pytest.LogCaptureFixture
) -> None:
    """I7: signing corrects itself."""
    with Simulator(clock=lambda: time.time() + skew_s) as simulator:
        (task_id,) = simulator.add_finished(1)
        client = TiwClient(**simulator.settings())
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert client.describe_online_record(task_id, slot=once()).status == "FINISHED"
        named = re.search(r"clock is (\d+) s", caplog.text)
        assert named is not None
        assert abs(int(named[1]) - abs(skew_s)) <= 2
        assert caplog.text.count("NTP") == 1
        # The refused one and three that were answered.
        assert client.requests_sent == 4


def test_a_clock_that_cannot_be_corrected_is_named_in_the_error(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.inject("server_error", times=2, code="AuthFailure.SignatureExpire")
    with pytest.raises(SignatureExpired, match="clock"):
        TiwClient(**simulator.settings()).describe_online_record("t")


def test_keys_that_rotate_in_a_file_are_used_at_once(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task_id,) = simulator.add_finished(1)
    path = tmp_path / ".tccli" / "default.credential"
    path.parent.mkdir()
    path.write_text(
        json.dumps({"secretId": simulator.secret_id, "secretKey": simulator.secret_key})
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    client = TiwClient(endpoint=simulator.endpoint, sdk_app_id=simulator.sdk_app_id)
    assert client.describe_online_record(task_id).status == "FINISHED"
    simulator.add_account("AKIDrotatedrotated", "rotatedrotatedrotated")
    path.write_text(
        json.dumps({"secretId": "AKIDrotatedrotated", "secretKey": "rotatedrotatedrotated"})
    )
    simulator.remove_account(simulator.secret_id)
    assert client.describe_online_record(task_id).status == "FINISHED"
    path.write_text(json.dumps({"secretId": "AKIDwrong", "secretKey": "wrongwrongwrong"}))
    with pytest.raises(AuthFailure, match=r"default\.credential"):
        client.describe_online_record(task_id)


ROLE = "qcs::cam::uin/100000000001:roleName/reader"


def test_a_role_is_assumed_and_renewed(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [time.time()]
    with Simulator(clock=lambda: now[0]) as simulator:
        (task_id,) = simulator.add_finished(1)
        monkeypatch.setenv("TIW_STS_ENDPOINT", simulator.endpoint)
        client = TiwClient(**simulator.settings(), role_arn=ROLE)
        quota = client.quota("DescribeOnlineRecord")
        assert client.describe_online_record(task_id).status == "FINISHED"
        first = client.settings.credentials.current()
        assert first.token
        assert first.secret_id != simulator.secret_id
        # Keys that Tencent ends early are renewed when they are refused.
        simulator.remove_account(first.secret_id)
        assert client.describe_online_record(task_id).status == "FINISHED"
        assert client.settings.credentials.current() != first
        assert simulator.requests["AssumeRole"] == 2
        # The quota is that of the account that assumes the role.
        assert client.quota("DescribeOnlineRecord") is quota
        assert client.settings.credentials.identity == simulator.secret_id


def test_a_role_that_must_not_be_assumed_is_named(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIW_STS_ENDPOINT", simulator.endpoint)
    settings: dict[str, Any] = {**simulator.settings(), "secret_key": "wrongwrongwrongwrong"}
    with pytest.raises(AuthFailure, match="assuming qcs::cam") as caught:
        TiwClient(**settings, role_arn=ROLE).describe_online_record("t")
    assert caught.value.action == "AssumeRole"


def test_an_instance_has_a_role(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Simulator(metadata_role="lesson-reader") as simulator:
        (task_id,) = simulator.add_finished(1)
        monkeypatch.setenv("TIW_METADATA_ENDPOINT", simulator.endpoint)
        client = TiwClient(endpoint=simulator.endpoint, sdk_app_id=simulator.sdk_app_id)
        assert client.settings.credentials.identity == "CAM role lesson-reader"
        assert client.describe_online_record(task_id).status == "FINISHED"
    with Simulator() as simulator:
        monkeypatch.setenv("TIW_METADATA_ENDPOINT", simulator.endpoint)
        with pytest.raises(CredentialsError, match="answered 404"):
            TiwClient(endpoint=simulator.endpoint)


def test_metadata_that_hang_do_not_hold_up_a_client(
    rude: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with rude.rude_server(rude.dripping_body) as (port, _):
        monkeypatch.setenv("TIW_METADATA_ENDPOINT", f"http://127.0.0.1:{port}")
        with pytest.raises(CredentialsError, match="did not answer within 2 s"):
            TiwClient(sdk_app_id=1)


async def test_keys_that_rotate_end_no_wait(
    simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.add("lesson", timeline=[{"RECORDING": 60}])
    path = tmp_path / ".tccli" / "default.credential"
    path.parent.mkdir()

    def write(secret_id: str, secret_key: str) -> None:
        path.write_text(json.dumps({"secretId": secret_id, "secretKey": secret_key}))

    write(simulator.secret_id, simulator.secret_key)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    client = TiwClient(endpoint=simulator.endpoint, sdk_app_id=simulator.sdk_app_id)

    def rotate(outcome: Outcome) -> None:
        if outcome.record is None or outcome.record.status != "RECORDING":
            return
        simulator.add_account("AKIDrotatedrotated", "rotatedrotatedrotated")
        write("AKIDrotatedrotated", "rotatedrotatedrotated")
        simulator.remove_account(simulator.secret_id)
        simulator.advance(60)

    found = RecordWatcher(client).watch(["lesson"], timeout=30, poll_interval=0.1, on_change=rotate)
    (outcome,) = [outcome async for outcome in found]
    assert outcome.verdict == "finished"
