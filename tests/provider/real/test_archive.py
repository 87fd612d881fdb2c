# SPDX-License-Identifier: Apache-2.0
"""The archiving DAG under Airflow's real components, to a folder and to an S3 on loopback."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import video_server as videos
from real_airflow import BUCKET, STORE_KEY

from tiw_automation.simulator import Simulator

DAG = "archive_recordings"
TASK = "archive"


def conf(destination: str, *task_ids: str) -> dict[str, Any]:
    return {"record_task_ids": list(task_ids), "destination": destination}


def test_waiting_and_archiving_to_s3(simulator: Simulator, airflow: Any, s3: Any) -> None:
    for task_id in ("physics", "chemistry"):
        simulator.add(task_id, timeline=[{"RECORDING": 4}, {"STOPPED": 2}])
    destination = f"s3://store@{BUCKET}/rec"
    run_id = airflow.trigger(DAG, conf(destination, "chemistry", "physics"))
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "success", airflow.task_log(DAG, run_id, TASK)
    records = airflow.xcom(DAG, run_id, "wait_for_recordings", "records")
    paths = airflow.xcom(DAG, run_id, TASK)
    assert ["/chemistry/" in path for path in paths] == [True, True, False, False]
    day = time.strftime("%Y-%m-%d", time.gmtime(records[0]["record_start_time"]))
    stored = {item["Key"]: item["Size"] for item in s3.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert {f"rec/{day}/{name}/manifest.json" for name in ("physics", "chemistry")} < set(stored)
    sizes = [video["size_bytes"] for record in records for video in record["videos"]]
    assert [stored[path.partition(f"{BUCKET}/")[2]] for path in paths] == sizes
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=BUCKET)
    log = airflow.task_log(DAG, run_id, TASK)
    assert log.count("Copied http") == 4
    assert "Copied 4 videos; 0 were there already, 0 failed." in log
    # The asset's event carries the records.
    events = airflow.get("/assets/events?limit=100")["asset_events"]
    (event,) = [e for e in events if e["source_dag_id"] == DAG]
    assert event["extra"]["paths"] == paths
    assert [record["task_id"] for record in event["extra"]["records"]] == ["chemistry", "physics"]
    # A second run finds all of them.
    again = airflow.trigger(DAG, conf(destination, "chemistry", "physics"))
    airflow.wait_for_run(DAG, again)
    assert airflow.xcom(DAG, again, TASK) == paths
    log = airflow.task_log(DAG, again, TASK)
    assert "Copied 0 videos; 4 were there already, 0 failed." in log


@pytest.mark.parametrize("kind", ["file", "s3"])
def test_a_task_that_is_killed_leaves_no_partial_file(
    simulator: Simulator, airflow: Any, s3: Any, tmp_path: Path, kind: str
) -> None:
    content = random.Random(6).randbytes(18 * 1024 * 1024)
    name = f"killed-{kind}"
    destination = f"file://{tmp_path}" if kind == "file" else f"s3://store@{BUCKET}/{name}"

    def unfinished() -> int:
        if kind == "file":
            return len(list(tmp_path.rglob("*.part")))
        return len(s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))

    with videos.video_server() as bucket:
        url = bucket.put("v1.mp4", content, *[videos.hold(17 * 1024 * 1024)] * 9)
        shown = {"VideoUrl": url, "VideoId": "v1", "VideoFormat": "mp4", "VideoType": 2}
        info = {**shown, "VideoSize": len(content), "VideoDuration": 1000, "VideoPlayTime": 0}
        simulator.add(name, timeline=[], fields={"VideoInfos": [info]})
        run_id = airflow.trigger(DAG, conf(destination, name))
        assert bucket.holding.acquire(timeout=90)
        wait_until(lambda: unfinished() == 1)
        path = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{TASK}"
        airflow.patch(path, {"new_state": "failed"})
        # The server still sends nothing: only the kill ends the download.
        assert bucket.abandoned.wait(60)
        # What is in a folder is continued by the next try.
        wait_until(lambda: unfinished() == int(kind == "file"))
        airflow.wait_for_run(DAG, run_id)
    if kind == "file":
        found = [path.name for path in tmp_path.rglob("[!.]*") if path.is_file()]
    else:
        listing = s3.list_objects_v2(Bucket=BUCKET, Prefix=name)["Contents"]
        found = [item["Key"].rpartition("/")[2] for item in listing]
    assert found == ["manifest.json"]
    assert "secret" not in airflow.task_log(DAG, run_id, TASK)


def wait_until(holds: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_no_secret_in_any_log(simulator: Simulator, airflow: Any) -> None:
    logs = [path.read_text(errors="replace") for path in airflow.home.rglob("*.log")]
    assert logs
    for secret in (simulator.secret_key, STORE_KEY, "q-secret"):
        assert not [log for log in logs if secret in log]
    assert airflow.import_errors() == []
