# SPDX-License-Identifier: Apache-2.0
"""Airflow's own way to try out a DAG, ``dag.test()``, which runs tasks without a server.

One process runs all DAGs, in the order of their names here.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[3]
LESSONS = """
import json

from airflow.models.xcom import XComModel
from airflow.sdk import DAG, task
from airflow.utils.db import initdb
from airflow.utils.session import create_session

from tiw_automation.airflow.operators import TiwStopOnlineRecordOperator
from tiw_automation.airflow.sensors import TiwOnlineRecordSensor

with DAG("deferred", schedule=None) as deferred:
    TiwOnlineRecordSensor(
        task_id="wait",
        record_task_id=["over", "lesson", "broken"],
        deferrable=True,
        poke_interval=0.2,
        timeout=600,
    )
with DAG("quiet", schedule=None, render_template_as_native_obj=True) as quiet:
    TiwOnlineRecordSensor(task_id="wait", record_task_id="over", do_xcom_push=False)
    TiwOnlineRecordSensor(task_id="partly", record_task_id="over,broken", do_xcom_push=False)
    TiwStopOnlineRecordOperator(task_id="stop", record_task_id="over", do_xcom_push=False)


def result(dag, **conf):
    run = dag.test(run_conf=conf)
    with create_session() as session:
        rows = session.query(XComModel).filter(XComModel.dag_id == dag.dag_id).all()
        pushed = sorted([row.task_id, row.map_index, row.key] for row in rows)
    states = {}
    for ti in run.get_task_instances():
        value = ti.xcom_pull(task_ids=ti.task_id, map_indexes=ti.map_index)
        states[f"{ti.task_id} {ti.map_index}"] = [ti.state, value]
    return {"run": run.state, "pushed": pushed, "tasks": states}


if __name__ == "__main__":
    import many_recordings as chunks
    import publish_what_finished as plain

    # As `airflow db migrate`, without another process.
    initdb()
    found = {
        "deferred": result(deferred),
        "quiet": result(quiet),
        "plain": result(plain.publish_what_finished(), record_task_ids=["over", "broken"]),
        "chunks": result(
            chunks.many_recordings(), record_task_ids=["over", "broken", "fine"], chunk=2
        ),
    }
    print("RESULT", json.dumps(found, default=str))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return the result of each DAG, and under ``log`` what the process printed."""
    home = tmp_path_factory.mktemp("home")
    (home / "lessons.py").write_text(LESSONS)
    for name in ("many_recordings", "publish_what_finished"):
        shutil.copy(ROOT / "dags" / f"{name}.py", home)
    with Simulator() as simulator:
        for name in ("over", "fine"):
            simulator.add(name, timeline=[], videos=[{"kind": "whiteboard"}])
        simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
        simulator.add("lesson", timeline=[{"RECORDING": 5000}, {"STOPPED": 5}])
        environment = {
            **os.environ,
            **simulator.environment(),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home),
        }
        log = run_lessons(home, environment, simulator)
    printed = log.partition("RESULT ")[2]
    assert printed, log
    return {**json.loads(printed.splitlines()[0]), "log": log}


def run_lessons(home: Path, environment: dict[str, str], simulator: Simulator) -> str:
    """Run the DAGs, let the lesson end once its trigger has polled it, and return the log."""
    path = home / "log"
    with (
        path.open("w") as log,
        subprocess.Popen(
            [sys.executable, "lessons.py"],
            env=environment,
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            # The first poll is the sensor's, the second one its trigger's.
            deadline = time.monotonic() + 300
            while simulator.requests_by_task.get("lesson", 0) < 2:
                assert process.poll() is None, path.read_text()
                assert time.monotonic() < deadline, path.read_text()
                time.sleep(0.1)
            simulator.advance(6000)
            process.wait(timeout=300)
        finally:
            process.kill()
    return path.read_text()


def test_a_deferred_task_has_the_results_that_a_scheduler_gives(found: dict[str, Any]) -> None:
    state, urls = found["deferred"]["tasks"]["wait -1"]
    assert state == "failed"
    assert "1 of 3 recordings: [broken: failed]" in found["log"]
    order = ["over", "lesson", "lesson"]
    assert [task_id in url for task_id, url in zip(order, urls, strict=True)] == [True] * 3


def test_do_xcom_push_false_leaves_the_links_alone(found: dict[str, Any]) -> None:
    tasks = found["quiet"]["tasks"]
    assert {name: state for name, (state, _) in tasks.items()} == {
        "wait -1": "success",
        "partly -1": "failed",
        "stop -1": "success",
    }
    keys = {key for _, _, key in found["quiet"]["pushed"]}
    assert keys == {"_link_TiwConsoleLink", "_link_TiwReplayLink"}


def test_a_plain_task_gets_what_finished(found: dict[str, Any]) -> None:
    tasks = found["plain"]["tasks"]
    assert tasks["wait_for_recordings -1"][0] == "failed"
    state, published = tasks["publish -1"]
    assert state == "success"
    assert len(published) == 1
    assert "/over/" in published[0]


def test_a_task_that_is_mapped_over_mapped_sensors_gets_what_finished(
    found: dict[str, Any],
) -> None:
    tasks = found["chunks"]["tasks"]
    waits = [tasks[f"wait_for_recordings {index}"][0] for index in range(2)]
    assert waits == ["failed", "success"]
    assert [tasks[f"publish {index}"] for index in range(2)] == [["success", 1]] * 2
