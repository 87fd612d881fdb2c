# SPDX-License-Identifier: Apache-2.0
"""The example DAG with the CeleryExecutor on Redis, and PostgreSQL as the metadata database."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_stack import AirflowStack
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
DAG = "many_recordings"
SENSOR = "wait_for_recordings"
PATIENCE_S = 300.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(speed=0) as running:
        yield running


@pytest.fixture(scope="module")
def airflow(
    simulator: Simulator, postgresql: str, redis: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AirflowStack]:
    home = tmp_path_factory.mktemp("celery")
    (home / "dags").mkdir()
    shutil.copy(ROOT / "dags" / f"{DAG}.py", home / "dags")
    with AirflowStack(
        home,
        dags_folder=home / "dags",
        environment=simulator.environment(),
        start_timeout_s=PATIENCE_S,
        database=postgresql,
        broker=redis,
    ) as running:
        yield running


def test_tasks_wait_without_a_celery_worker_and_end_on_one(
    simulator: Simulator, airflow: AirflowStack
) -> None:
    ids = [simulator.add(f"lesson-{n}", timeline=[{"RECORDING": 100}]) for n in range(20)]
    run_id = airflow.trigger(DAG, {"record_task_ids": ids, "chunk": 5})
    for index in range(4):
        airflow.wait_for_task(
            DAG, run_id, SENSOR, "deferred", map_index=index, timeout_s=PATIENCE_S
        )
    # No wait occupies a worker: so a worker may be killed now and started anew.
    airflow.kill_component("worker")
    simulator.advance(101)
    airflow.start_component("worker")
    states = airflow.wait_for_run(DAG, run_id, timeout_s=PATIENCE_S)
    assert set(states.values()) == {"success"}
    counts = [
        airflow.xcom(DAG, run_id, "publish", "return_value", map_index=index) for index in range(4)
    ]
    assert counts == [10] * 4
    assert simulator.rejects == 0
    assert "succeeded in" in airflow.log_file("worker").read_text()


def test_the_log_of_a_celery_worker_has_the_reason_of_a_failed_recording(
    simulator: Simulator, airflow: AirflowStack
) -> None:
    simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})
    run_id = airflow.trigger(DAG, {"record_task_ids": ["drama"], "chunk": 1})
    airflow.wait_for_run(DAG, run_id, timeout_s=PATIENCE_S)
    assert airflow.run_state(DAG, run_id) == "failed"
    assert "im login failed" in airflow.task_log(DAG, run_id, SENSOR, map_index=0)
