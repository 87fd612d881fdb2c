# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tiw_automation.core import (
    AuthFailure,
    ConfigurationError,
    InvalidParameter,
    Outcome,
    PermissionDenied,
    RecordingFailure,
    RecordWatcher,
    TaskNotFound,
    TiwClient,
)
from tiw_automation.simulator import Simulator


def test_a_finished_recording(tiw_simulator: Simulator) -> None:
    (task_id,) = tiw_simulator.add_finished(1)
    with TiwClient(**tiw_simulator.settings()) as client:
        record = client.describe_online_record(task_id)
    assert record.status == "FINISHED"
    assert record.video_urls
    assert record.request_id
    assert record.raw["Status"] == "FINISHED"


def test_settings_come_from_the_environment(
    tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (task_id,) = tiw_simulator.add_finished(1)
    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    assert TiwClient().describe_online_record(task_id).status == "FINISHED"


def test_any_action_can_be_called(tiw_simulator: Simulator) -> None:
    (task_id,) = tiw_simulator.add_finished(1)
    client = TiwClient(**tiw_simulator.settings())
    response = client.call(
        "DescribeOnlineRecord", {"SdkAppId": tiw_simulator.sdk_app_id, "TaskId": task_id}
    )
    assert response["TaskId"] == task_id
    with pytest.raises(InvalidParameter) as caught:
        client.call("NoSuchAction", {})
    assert caught.value.action == "NoSuchAction"
    with pytest.raises(ConfigurationError):
        client.call("no such action", {})


def test_refusals_of_the_api(tiw_simulator: Simulator) -> None:
    tiw_simulator.add(
        "failed", error={"code": "FailedOperation.Record", "message": "code: 40004, msg: x"}
    )
    settings = tiw_simulator.settings()
    client = TiwClient(**settings)
    with pytest.raises(TaskNotFound) as missing:
        client.describe_online_record("nothing-like-it")
    assert missing.value.request_id
    assert missing.value.action == "DescribeOnlineRecord"
    with pytest.raises(RecordingFailure):
        client.describe_online_record("failed")
    with pytest.raises(PermissionDenied):
        client.describe_online_record("failed", sdk_app_id=1499999999)
    with pytest.raises(AuthFailure) as refused:
        TiwClient(**{**settings, "secret_key": "anotherkeyanotherkey"}).describe_online_record("x")
    assert refused.value.code == "AuthFailure.SignatureFailure"
    assert "anotherkey" not in str(refused.value)


def test_an_application_must_be_given(tiw_simulator: Simulator) -> None:
    client = TiwClient(**{**tiw_simulator.settings(), "sdk_app_id": None})
    with pytest.raises(ConfigurationError, match="TIW_SDK_APP_ID"):
        client.describe_online_record("t")
    (task_id,) = tiw_simulator.add_finished(1)
    assert client.describe_online_record(task_id, tiw_simulator.sdk_app_id).status == "FINISHED"


async def test_a_recording_is_followed_to_its_end() -> None:
    # The simulator's time stands still until each state was seen.
    with Simulator(speed=0) as simulator:
        states = ["PREPARED", "RECORDING", "PAUSED", "RECORDING", "STOPPED"]
        simulator.add("lesson", timeline=[{state: 4} for state in states])
        seen = []

        def see(outcome: Outcome) -> None:
            seen.append(outcome.record and outcome.record.status)
            simulator.advance(4)

        watcher = RecordWatcher(TiwClient(**simulator.settings()))
        outcomes = watcher.watch("lesson", timeout=60, poll_interval=0.05, on_change=see)
        assert [outcome.verdict.value async for outcome in outcomes] == ["finished"]
    assert seen == [*states, "FINISHED"]
    assert simulator.rejects == 0


async def test_a_backlog_is_paced_so_that_no_request_is_rejected() -> None:
    with Simulator() as simulator:
        ids = simulator.add_finished(60)
        watcher = RecordWatcher(TiwClient(**simulator.settings()))
        outcomes = [outcome async for outcome in watcher.watch(ids, timeout=30)]
        assert len(outcomes) == 60
        assert simulator.rejects == 0
        assert simulator.max_in_window <= 20


def test_the_core_is_light_to_import() -> None:
    program = (
        "import sys; from tiw_automation.core import TaskNotFound, judge; "
        "heavy = {'tencentcloud', 'requests', 'asyncio', 'airflow', 'ansible'} & set(sys.modules); "
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=os.environ.copy(),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    from tiw_automation import core

    names: list[str] = core.__all__  # type: ignore[attr-defined]
    for name in names:
        assert getattr(core, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = core.no_such_name  # type: ignore[attr-defined]
