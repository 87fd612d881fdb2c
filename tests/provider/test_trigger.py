# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout
from waits import Pushes, context, fire, sensor

from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger
from tiw_automation.core import ConfigurationError
from tiw_automation.simulator import Simulator

Connect = Callable[..., None]


async def test_a_trigger_whose_timeout_elapsed(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    trigger = TiwOnlineRecordTrigger(
        record_task_ids=["slow"], end_time=time.time() + 0.5, poll_interval=0.1
    )
    payload = await fire(trigger)
    with pytest.raises(AirflowSensorTimeout, match="last seen RECORDING"):
        await asyncio.to_thread(sensor("slow").execute_complete, context(Pushes()), payload)


async def test_a_trigger_does_not_fire_within_its_first_moments(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    started = time.monotonic()
    await fire(TiwOnlineRecordTrigger(record_task_ids=[done], end_time=None, poll_interval=0.5))
    assert time.monotonic() - started >= 0.5


async def test_one_recording_ends_like_a_list(tiw_simulator: Simulator, connect: Connect) -> None:
    """One recording has its own code path, because a triggerer holds so many such waits."""
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    tiw_simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    ids = [done, "broken", "odd", "absent", "slow"]

    async def ends(*record_task_ids: str) -> list[dict[str, Any]]:
        trigger = TiwOnlineRecordTrigger(
            record_task_ids=list(record_task_ids), end_time=time.time() + 2, poll_interval=0.1
        )
        payload = await fire(trigger)
        for end in payload["outcomes"]:
            # The seconds of a wait and the id of a request differ.
            end["message"] = re.sub(r"within [\d.]+ s|RequestId \S+", "", end["message"])
        return list(payload["outcomes"])

    apart = [end for task_id in ids for end in await ends(task_id)]
    assert apart == await ends(*ids)
    assert [end["verdict"] for end in apart] == [
        "finished", "failed", "failed", "missing", "pending",
    ]  # fmt: skip


async def test_a_refusal_is_the_same_for_one_and_for_several(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator, password="anotherkeyanotherkeyanother")
    for ids in (["a"], ["a", "b"]):
        trigger = TiwOnlineRecordTrigger(record_task_ids=ids, end_time=None, poll_interval=0.1)
        payload = await fire(trigger)
        assert {end["verdict"] for end in payload["outcomes"]} == {"unknown"}
        assert "AuthFailure.SignatureFailure" in payload["outcomes"][0]["message"]
        with pytest.raises(RuntimeError, match="SignatureFailure"):
            await asyncio.to_thread(sensor(ids).execute_complete, context(Pushes()), payload)


async def test_a_trigger_is_stored_in_the_form_that_older_triggerers_know() -> None:
    given: dict[str, Any] = {"record_task_ids": ["t"], "end_time": None}
    assert "initial_delay" not in TiwOnlineRecordTrigger(**given).serialize()[1]
    resting = TiwOnlineRecordTrigger(**given, initial_delay=9.0)
    assert TiwOnlineRecordTrigger(**resting.serialize()[1]).initial_delay == 9.0


@pytest.mark.parametrize("ids", [["a"], ["a", "b"]])
@pytest.mark.parametrize("missing", ["keys", "sdk_app_id"])
async def test_the_error_of_a_triggerer_without_settings_names_the_triggerer(
    missing: str,
    ids: list[str],
    tiw_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TIW_METADATA_ENDPOINT", "http://127.0.0.1:1")
    if missing == "sdk_app_id":
        for name, value in tiw_simulator.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.delenv("TIW_SDK_APP_ID")
    trigger = TiwOnlineRecordTrigger(record_task_ids=ids, end_time=None)
    with pytest.raises(ConfigurationError, match=f"(?i)no {missing} w") as caught:
        await fire(trigger)
    assert "This was read in the triggerer" in str(caught.value)
    if missing == "keys":
        assert "connection 'tencentcloud_default' was not found" in str(caught.value)
