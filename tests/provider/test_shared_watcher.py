# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout
from supervisors import Supervisor
from waits import Pushes, context, fire, sensor

from tiw_automation.airflow import shared_watcher
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger
from tiw_automation.core import ConfigurationError, RecordWatcher, TiwError
from tiw_automation.simulator import Simulator

Connect = Callable[..., None]


async def test_all_triggers_share_one_watcher(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(20)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])

    def trigger(task_id: str) -> TiwOnlineRecordTrigger:
        return TiwOnlineRecordTrigger(
            record_task_ids=[task_id], end_time=time.time() + 3, poll_interval=1.0
        )

    # Thirty triggers wait for the same recording, and one poll serves all.
    await asyncio.gather(*(fire(trigger(task_id)) for task_id in [*ids, *["slow"] * 30]))
    assert tiw_simulator.rejects == 0
    assert tiw_simulator.requests_by_task["slow"] <= 4
    assert all(tiw_simulator.requests_by_task[task_id] == 1 for task_id in ids)
    client = await asyncio.to_thread(TiwHook().get_conn)
    assert RecordWatcher.shared(client).client is not client


NAMES = ["tencentcloud_default", "mine"]


@pytest.mark.parametrize("fault", ["answered", "not found"])
@pytest.mark.parametrize("name", NAMES)
async def test_waits_outlast_an_airflow_that_cannot_read_connections(
    name: str,
    fault: str,
    supervised: Supervisor,
    tiw_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(shared_watcher, "_READ_AGAIN_FIRST_S", 0.02)
    caplog.set_level("INFO", shared_watcher.logger.name)
    supervised.fault, supervised.fails = fault, 9
    ids = tiw_simulator.add_finished(5)
    waits = [
        TiwOnlineRecordTrigger(
            record_task_ids=[task_id],
            end_time=end_time,
            tencentcloud_conn_id=name,
            poll_interval=0.1,
        )
        for task_id in ids
        for end_time in (None, time.time() + 60)
    ]
    for payload in await asyncio.gather(*map(fire, waits)):
        assert [end["verdict"] for end in payload["outcomes"]] == ["finished"]
        assert payload["sdk_app_id"] == tiw_simulator.sdk_app_id
    # The keys of the environment, which are another account's, were never used.
    assert tiw_simulator.rejects == 0
    assert caplog.text.count("could not read connection") == 1
    assert caplog.text.count("can be read again") == 1


@pytest.mark.parametrize("ids", [["slow"], ["slow", "other"]])
async def test_a_connection_that_is_never_read_is_a_timeout(
    ids: list[str],
    supervised: Supervisor,
    tiw_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_watcher, "_READ_AGAIN_FIRST_S", 0.02)
    supervised.fails = math.inf
    trigger = TiwOnlineRecordTrigger(
        record_task_ids=ids, end_time=time.time() + 0.3, poll_interval=0.1
    )
    payload = await fire(trigger)
    assert {end["verdict"] for end in payload["outcomes"]} == {"pending"}
    assert tiw_simulator.requests == {}
    # The worker polls once more; where it cannot, the task is retried.
    ended = partial(sensor(ids).execute_complete, context(Pushes()), payload, end_time=time.time())
    with pytest.raises(TiwError, match="could not read connection"):
        await asyncio.to_thread(ended)
    # Without a wait the connection is not read any more.
    async with asyncio.timeout(20):
        while any(shared_watcher._connecting_by_loop.values()):
            await asyncio.sleep(0.02)
    supervised.fails = 0
    for task_id in ids:
        tiw_simulator.add(task_id, timeline=[{"RECORDING": 1000}])
    with pytest.raises(AirflowSensorTimeout, match="last seen RECORDING"):
        await asyncio.to_thread(ended)


async def test_a_connection_that_does_not_exist_ends_the_wait_at_once(
    supervised: Supervisor,
) -> None:
    supervised.connections.clear()
    trigger = TiwOnlineRecordTrigger(
        record_task_ids=["a"], end_time=time.time() + 60, tencentcloud_conn_id="mine"
    )
    with pytest.raises(ConfigurationError, match="no connection 'mine'"):
        await fire(trigger)


async def test_a_first_attempt_that_hangs_ends_with_the_wait(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_watcher, "_FIRST_READ_S", 0.2)
    over = threading.Event()
    monkeypatch.setattr(TiwHook, "get_conn", lambda hook: over.wait())
    trigger = TiwOnlineRecordTrigger(record_task_ids=["t"], end_time=time.time(), poll_interval=0.1)
    try:
        payload = await fire(trigger)
    finally:
        over.set()
    assert payload["outcomes"][0]["timed_out"]
    assert "did not return connection" in payload["outcomes"][0]["message"]


async def test_one_connection_is_read_once_for_all_that_start_together(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(tiw_simulator)
    made: list[TiwHook] = []
    get_conn = TiwHook.get_conn

    def counted(hook: TiwHook) -> Any:
        made.append(hook)
        return get_conn(hook)

    monkeypatch.setattr(TiwHook, "get_conn", counted)
    (done,) = tiw_simulator.add_finished(1)
    trigger = TiwOnlineRecordTrigger(record_task_ids=[done], end_time=None, poll_interval=0.1)
    gone = asyncio.ensure_future(fire(trigger))
    others = [asyncio.ensure_future(fire(trigger)) for _ in range(9)]
    await asyncio.sleep(0)
    # Cancelling the first one does not affect the others.
    gone.cancel()
    assert len(await asyncio.gather(*others)) == 9
    assert len(made) == 1
    # A wait that starts later reads the connection anew.
    await fire(trigger)
    assert len(made) == 2
