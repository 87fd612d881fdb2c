# SPDX-License-Identifier: Apache-2.0
"""The example DAG under Airflow's real api-server, scheduler, dag-processor and triggerer."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
DAG = "wait_for_recording"
SENSOR = "wait_for_recordings"
USER_SIG_KEY = "the-key-that-signs-users"
DAGS = (DAG, "lesson_lifecycle", "many_recordings")

_spec = importlib.util.spec_from_file_location("airflow_stack", ROOT / "demo" / "airflow_stack.py")
assert _spec is not None
assert _spec.loader is not None
airflow_stack = importlib.util.module_from_spec(_spec)
sys.modules["airflow_stack"] = airflow_stack
_spec.loader.exec_module(airflow_stack)


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(region="ap-guangzhou", user_sig_key=USER_SIG_KEY, stopped_seconds=3) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(simulator: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir()
    for name in DAGS:
        shutil.copy(ROOT / "dags" / f"{name}.py", dags)
    with airflow_stack.AirflowStack(
        home,
        dags_folder=dags,
        # As if this repository were Airflow's home: its plugins folder must be harmless.
        plugins_folder=ROOT / "plugins",
        environment={
            **simulator.environment(),
            "AIRFLOW_CONN_TENCENTCLOUD_DEFAULT": json.dumps(
                {"conn_type": "tencentcloud", "extra": {"user_sig_secret": USER_SIG_KEY}}
            ),
        },
    ) as running:
        yield running


def test_the_dag_waits_and_maps_over_the_urls(simulator: Simulator, airflow: Any) -> None:
    for task_id in ("algebra", "history"):
        simulator.add(task_id, timeline=[{"RECORDING": 8}, {"STOPPED": 4}])
    run_id = airflow.trigger(DAG, {"record_task_ids": ["history", "algebra"]})
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "success", airflow.task_log(DAG, run_id, SENSOR)
    urls = airflow.xcom(DAG, run_id, SENSOR, "return_value")
    assert ["history" in urls[0], "history" in urls[1], "algebra" in urls[2]] == [True] * 3
    assert len(urls) == 4
    records = airflow.xcom(DAG, run_id, SENSOR, "records")
    assert [record["task_id"] for record in records] == ["history", "algebra"]
    assert [record["status"] for record in records] == ["FINISHED", "FINISHED"]
    mapped = [t for t in airflow.task_states(DAG, run_id) if t["task_id"] == "fetch"]
    assert [task["state"] for task in mapped] == ["success"] * 4
    log = airflow.task_log(DAG, run_id, SENSOR)
    assert "is FINISHED" in log
    assert simulator.rejects == 0


def test_a_failed_recording_fails_at_once_and_says_why(simulator: Simulator, airflow: Any) -> None:
    simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})
    run_id = airflow.trigger(DAG, {"record_task_ids": ["drama"]})
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "failed"
    (sensor,) = [t for t in airflow.task_states(DAG, run_id) if t["task_id"] == SENSOR]
    assert (sensor["state"], sensor["try_number"]) == ("failed", 1)
    assert "im login failed" in airflow.task_log(DAG, run_id, SENSOR)
    assert simulator.requests_by_task["drama"] == 1


def test_a_killed_triggerer_loses_no_wait(simulator: Simulator, airflow: Any) -> None:
    simulator.add("geometry", timeline=[{"RECORDING": 15}, {"STOPPED": 3}])
    run_id = airflow.trigger(DAG, {"record_task_ids": ["geometry"]})
    airflow.wait_for_task(DAG, run_id, SENSOR, "deferred")
    airflow.kill_component("triggerer")
    airflow.start_component("triggerer")
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "success", airflow.task_log(DAG, run_id, SENSOR)
    assert len(airflow.xcom(DAG, run_id, SENSOR, "return_value")) == 2
    (sensor,) = [t for t in airflow.task_states(DAG, run_id) if t["task_id"] == SENSOR]
    assert sensor["try_number"] == 1


def test_a_lesson_from_beginning_to_end(simulator: Simulator, airflow: Any, tmp_path: Path) -> None:
    given = {"room_id": 4711, "lesson_seconds": 6, "destination": f"file://{tmp_path}"}
    run_id = airflow.trigger("lesson_lifecycle", given)
    airflow.wait_for_run("lesson_lifecycle", run_id)
    assert airflow.run_state("lesson_lifecycle", run_id) == "success", airflow.task_log(
        "lesson_lifecycle", run_id, "stop"
    )
    task_id = airflow.xcom("lesson_lifecycle", run_id, "record", "return_value")
    (facts,) = [facts for facts in simulator.recordings if facts["task_id"] == task_id]
    assert (facts["room_id"], facts["status"]) == (4711, "FINISHED")
    (record,) = airflow.xcom("lesson_lifecycle", run_id, "stop", "records")
    paths = airflow.xcom("lesson_lifecycle", run_id, "archive", "return_value")
    assert len(paths) >= len(record["videos"]) > 0
    sizes = {path.stat().st_size for path in tmp_path.rglob("*.mp4")}
    assert sizes == {video["size_bytes"] for video in record["videos"]}


def test_many_recordings_in_chunks(simulator: Simulator, airflow: Any) -> None:
    ids = simulator.add_finished(50)
    run_id = airflow.trigger("many_recordings", {"record_task_ids": ids, "chunk": 25})
    airflow.wait_for_run("many_recordings", run_id)
    assert airflow.run_state("many_recordings", run_id) == "success"
    states = airflow.task_states("many_recordings", run_id)
    assert [t["map_index"] for t in states if t["task_id"] == SENSOR] == [0, 1]
    counts = [
        airflow.xcom("many_recordings", run_id, "publish", "return_value", map_index=index)
        for index in (0, 1)
    ]
    assert counts == [25, 25]
    assert {simulator.requests_by_task[task_id] for task_id in ids} == {1}


def test_no_secret_in_any_log_and_no_url_in_an_event(simulator: Simulator, airflow: Any) -> None:
    logs = [path.read_text(errors="replace") for path in airflow.home.rglob("*.log")]
    fired = [line for log in logs for line in log.splitlines() if "TriggerEvent" in line]
    assert fired
    assert not [line for line in fired if "/videos/" in line]
    assert not [log for log in logs if simulator.secret_key in log]
    assert not [log for log in logs if USER_SIG_KEY in log]


def test_this_repository_as_a_home_loads_nothing_twice(airflow: Any) -> None:
    assert airflow.import_errors() == []
    for component in ("api-server", "scheduler", "dag-processor", "triggerer"):
        log = airflow.log_file(component).read_text()
        assert "Failed to import plugin" not in log
        assert "already registered" not in log
    providers = airflow.get("/providers?limit=200")["providers"]
    assert [p["package_name"] for p in providers].count("tiw-automation") == 1
