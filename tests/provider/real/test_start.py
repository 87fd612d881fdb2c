# SPDX-License-Identifier: Apache-2.0
"""Starting recordings under Airflow's real components: tries that die, tasks that are killed."""

from __future__ import annotations

from typing import Any

import asset_events

from airflow_stack import AirflowStack
from tiw_automation.core import TiwClient
from tiw_automation.simulator import Simulator

HAS_TASK_STATE = asset_events.AIRFLOW >= (3, 3)
KILLED = "Server indicated the task shouldn't be running anymore"
ROOMS = {"lost": 101, "dies": 102, "kept": 103, "stopped": 104}


def test_a_try_whose_answer_was_lost(starts: Simulator, airflow: AirflowStack) -> None:
    """This try cannot find its recording either; the next one can."""
    starts.inject("answer_lost", action="StartOnlineRecord")
    starts.inject("server_error", action="DescribeRunningTasks")
    run_id = airflow.trigger("lost")
    airflow.wait_for_task("lost", run_id, "record", "up_for_retry", timeout_s=120)
    starts.clear_faults()
    assert "was started is not known" in airflow.task_log("lost", run_id, "record")
    assert airflow.wait_for_run("lost", run_id) == {("record", -1): "success"}
    (facts,) = in_room(starts, "lost")
    assert airflow.xcom("lost", run_id, "record") == facts["task_id"]


def test_a_recording_that_has_ended_before_the_next_try(
    starts: Simulator, airflow: AirflowStack
) -> None:
    run_id = airflow.trigger("dies")
    airflow.wait_for_task("dies", run_id, "record", "up_for_retry")
    (facts,) = in_room(starts, "dies")
    end(starts, facts["task_id"])
    assert airflow.wait_for_run("dies", run_id) == {("record", -1): "success"}
    found = [facts["task_id"] for facts in in_room(starts, "dies")]
    # Before 3.3 nothing is kept from one try to the next: only a running recording is found.
    assert len(found) == (1 if HAS_TASK_STATE else 2)
    assert airflow.xcom("dies", run_id, "record") == found[-1]
    # A task that is cleared starts anew.
    end(starts, found[-1])
    again = {"dag_run_id": run_id, "task_ids": ["record"], "only_failed": False}
    airflow.post("/dags/dies/clearTaskInstances", {**again, "dry_run": False})
    assert airflow.wait_for_run("dies", run_id) == {("record", -1): "success"}
    assert airflow.xcom("dies", run_id, "record") not in found
    assert len(in_room(starts, "dies")) == len(found) + 1


def test_a_kill_stops_the_recording_only_where_that_was_asked_for(
    starts: Simulator, airflow: AirflowStack
) -> None:
    """Both are killed while they wait for the answer, which comes before Airflow's timeout."""
    stops = starts.requests.get("StopOnlineRecord", 0)
    starts.inject("held", action="StartOnlineRecord")
    run_id = airflow.trigger("kills")
    asset_events.until(
        lambda: in_room(starts, "kept") and in_room(starts, "stopped"),
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
    starts.advance(30)
    starts.clear_faults()
    asset_events.until(
        lambda: starts.requests.get("StopOnlineRecord", 0) > stops,
        airflow,
        within_s=120,
        of="the stop",
    )
    starts.advance(5)
    (kept,), (stopped,) = in_room(starts, "kept"), in_room(starts, "stopped")
    assert (kept["status"], stopped["status"]) == ("RECORDING", "STOPPED")
    states = {t["task_id"]: t["state"] for t in airflow.task_states("kills", run_id)}
    assert states == {"kept": "failed", "stopped": "failed"}


def in_room(starts: Simulator, task: str) -> list[dict[str, Any]]:
    return [facts for facts in starts.recordings if facts["room_id"] == ROOMS[task]]


def end(starts: Simulator, record_task_id: str) -> None:
    """End a recording as its teacher would, and let its videos become ready."""
    starts.advance(30)
    with TiwClient(**starts.settings()) as client:
        client.stop_online_record(record_task_id)
    starts.advance(600)
