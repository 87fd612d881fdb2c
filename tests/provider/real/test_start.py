# SPDX-License-Identifier: Apache-2.0
"""Starting recordings under Airflow's real components: tries that die, tasks that are killed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import asset_events
import pytest

from airflow_stack import AirflowStack
from tiw_automation.core import TiwClient
from tiw_automation.simulator import Simulator

HAS_TASK_STATE = asset_events.AIRFLOW >= (3, 3)
KILLED = "Server indicated the task shouldn't be running anymore"
ROOMS = {"lost": 101, "dies": 102, "kept": 103, "stopped": 104}
DAGS = '''
from datetime import timedelta

from airflow.sdk import DAG

from tiw_automation.airflow.operators import TiwStartOnlineRecordOperator


class Dies(TiwStartOnlineRecordOperator):
    """Its first try ends when the recording has been started, before it can say so."""

    def execute(self, context):
        started = super().execute(context)
        if context["ti"].try_number == 1:
            raise RuntimeError("out of memory, say")
        return started


again = {"retries": 1, "retry_delay": timedelta(seconds=15)}
with DAG("lost", schedule=None):
    TiwStartOnlineRecordOperator(task_id="record", room_id=101, **again)
with DAG("dies", schedule=None):
    Dies(task_id="record", room_id=102, **again)
with DAG("kills", schedule=None):
    patient = {"tencentcloud_conn_id": "patient"}
    TiwStartOnlineRecordOperator(task_id="kept", room_id=103, **patient)
    TiwStartOnlineRecordOperator(task_id="stopped", room_id=104, stop_on_kill=True, **patient)
'''


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(region="ap-guangzhou", user_sig_key="the-apps-key") as running:
        yield running


@pytest.fixture(scope="module")
def airflow(
    simulator: Simulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowStack]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir()
    (dags / "starts.py").write_text(DAGS)
    environment = {
        **simulator.environment(),
        "AIRFLOW_CONN_TENCENTCLOUD_DEFAULT": connection(timeout=5),
        "AIRFLOW_CONN_PATIENT": connection(timeout=90),
        "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
    }
    with AirflowStack(home, dags_folder=dags, environment=environment) as running:
        yield running


def connection(timeout: float) -> str:
    extra = {"user_sig_secret": "the-apps-key", "timeout": timeout}
    return json.dumps({"conn_type": "tencentcloud", "extra": extra})


def test_a_try_whose_answer_was_lost(simulator: Simulator, airflow: AirflowStack) -> None:
    """It cannot find its recording either; the next one can."""
    simulator.inject("answer_lost", action="StartOnlineRecord")
    simulator.inject("server_error", action="DescribeRunningTasks")
    run_id = airflow.trigger("lost")
    airflow.wait_for_task("lost", run_id, "record", "up_for_retry", timeout_s=120)
    simulator.clear_faults()
    assert "was started is not known" in airflow.task_log("lost", run_id, "record")
    assert airflow.wait_for_run("lost", run_id) == {("record", -1): "success"}
    (facts,) = in_room(simulator, "lost")
    assert airflow.xcom("lost", run_id, "record") == facts["task_id"]


def test_a_recording_that_has_ended_before_the_next_try(
    simulator: Simulator, airflow: AirflowStack
) -> None:
    run_id = airflow.trigger("dies")
    airflow.wait_for_task("dies", run_id, "record", "up_for_retry")
    (facts,) = in_room(simulator, "dies")
    end(simulator, facts["task_id"])
    assert airflow.wait_for_run("dies", run_id) == {("record", -1): "success"}
    found = [facts["task_id"] for facts in in_room(simulator, "dies")]
    # Before 3.3 nothing is kept from one try to the next, so only what still runs is found.
    assert len(found) == (1 if HAS_TASK_STATE else 2)
    assert airflow.xcom("dies", run_id, "record") == found[-1]
    # Whoever clears a task wants it done again.
    end(simulator, found[-1])
    again = {"dag_run_id": run_id, "task_ids": ["record"], "only_failed": False}
    airflow.post("/dags/dies/clearTaskInstances", {**again, "dry_run": False})
    assert airflow.wait_for_run("dies", run_id) == {("record", -1): "success"}
    assert airflow.xcom("dies", run_id, "record") not in found
    assert len(in_room(simulator, "dies")) == len(found) + 1


def test_a_kill_stops_the_recording_of_who_asked_for_it(
    simulator: Simulator, airflow: AirflowStack
) -> None:
    """Both are killed while they wait for the answer; it comes before Airflow loses patience."""
    stops = simulator.requests.get("StopOnlineRecord", 0)
    simulator.inject("held", action="StartOnlineRecord")
    run_id = airflow.trigger("kills")
    asset_events.until(
        lambda: in_room(simulator, "kept") and in_room(simulator, "stopped"),
        airflow,
        within_s=120,
        of="both recordings",
    )
    log = airflow.log_file("scheduler")
    before = log.read_text().count(KILLED)
    for task in ("kept", "stopped"):
        airflow.patch(f"/dags/kills/dagRuns/{run_id}/taskInstances/{task}", {"new_state": "failed"})
    asset_events.until(
        lambda: log.read_text().count(KILLED) == before + 2, airflow, within_s=120, of="both kills"
    )
    simulator.advance(30)
    simulator.clear_faults()
    asset_events.until(
        lambda: simulator.requests.get("StopOnlineRecord", 0) > stops,
        airflow,
        within_s=120,
        of="the stop",
    )
    simulator.advance(5)
    (kept,), (stopped,) = in_room(simulator, "kept"), in_room(simulator, "stopped")
    assert (kept["status"], stopped["status"]) == ("RECORDING", "STOPPED")
    states = {t["task_id"]: t["state"] for t in airflow.task_states("kills", run_id)}
    assert states == {"kept": "failed", "stopped": "failed"}


def in_room(simulator: Simulator, task: str) -> list[dict[str, Any]]:
    return [facts for facts in simulator.recordings if facts["room_id"] == ROOMS[task]]


def end(simulator: Simulator, record_task_id: str) -> None:
    """End a recording as its teacher would, and let its videos be made."""
    simulator.advance(30)
    with TiwClient(**simulator.settings()) as client:
        client.stop_online_record(record_task_id)
    simulator.advance(600)
