# SPDX-License-Identifier: Apache-2.0
"""What tasks downstream get of a wait of which a part failed, by Airflow's own task runner."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[3]
LESSONS = """
import json

from airflow.models.xcom import XComModel
from airflow.sdk import DAG, task
from airflow.utils.session import create_session

from tiw_automation.airflow.operators import TiwStopOnlineRecordOperator
from tiw_automation.airflow.sensors import TiwOnlineRecordSensor

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

    found = {
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
    """Return what each DAG has ended with."""
    home = tmp_path_factory.mktemp("home")
    (home / "lessons.py").write_text(LESSONS)
    for name in ("many_recordings", "publish_what_finished"):
        shutil.copy(ROOT / "dags" / f"{name}.py", home)
    with Simulator() as simulator:
        for name in ("over", "fine"):
            simulator.add(name, timeline=[], videos=[{"kind": "whiteboard"}])
        simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
        environment = {
            **os.environ,
            **simulator.environment(),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(home),
        }
        migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(migrate, env=environment, check=True, capture_output=True, timeout=300)
        done = subprocess.run(
            [sys.executable, "lessons.py"],
            env=environment,
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    printed = done.stdout.partition("RESULT ")[2]
    assert printed, f"{done.stdout}{done.stderr}"
    return dict(json.loads(printed.splitlines()[0]))


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
