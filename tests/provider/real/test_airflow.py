# SPDX-License-Identifier: Apache-2.0
"""The example DAGs under Airflow's real api-server, scheduler, dag-processor and triggerer."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import asset_events
from callback_posts import callback, post
from connections import connection
from real_airflow import CALLBACK_KEY, LINEAGE, USER_SIG_KEY

from tiw_automation.core.api.callbacks import MAX_BODY_BYTES
from tiw_automation.core.api.user_sig import make_user_sig
from tiw_automation.simulator import Simulator

DAG = "wait_for_recording"
SENSOR = "wait_for_recordings"
STORED_KEY = "another-key-that-signs-users"
CALLED = "tiw://callbacks/default/online-records/finished?watch=false"


def test_the_dag_waits_and_maps_over_the_urls(simulator: Simulator, airflow: Any) -> None:
    for task_id in ("algebra", "history"):
        simulator.add(task_id, timeline=[{"RECORDING": 5000}, {"STOPPED": 5000}])
    (over,) = simulator.add_finished(1)
    run_id = airflow.trigger(DAG, {"record_task_ids": ["history", over, "algebra"]})
    for status in ("RECORDING", "STOPPED"):
        asset_events.until(
            lambda status=status: f"algebra is {status}" in airflow.task_log(DAG, run_id, SENSOR),  # type: ignore[misc]
            airflow,
            of=f"{status} in the log",
        )
        simulator.advance(5000)
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "success", airflow.task_log(DAG, run_id, SENSOR)
    urls = airflow.xcom(DAG, run_id, SENSOR, "return_value")
    order = ["history", "history", over, "algebra", "algebra"]
    assert [task_id in url for task_id, url in zip(order, urls, strict=True)] == [True] * 5
    records = airflow.xcom(DAG, run_id, SENSOR, "records")
    assert [record["task_id"] for record in records] == ["history", over, "algebra"]
    assert {record["status"] for record in records} == {"FINISHED"}
    mapped = [t for t in airflow.task_states(DAG, run_id) if t["task_id"] == "fetch"]
    assert [task["state"] for task in mapped] == ["success"] * 5
    assert "algebra is FINISHED" in airflow.task_log(DAG, run_id, SENSOR)
    # Before the task was deferred, and for its URLs.
    assert simulator.requests_by_task[over] == 2
    assert simulator.rejects == 0


def lineage_of(airflow: Any, dag_id: str, task_id: str) -> dict[str, set[str]]:
    """Return the names of the data sets in OpenLineage's events of a task that succeeded."""
    path = airflow.home / LINEAGE
    found: dict[str, set[str]] = {"inputs": set(), "outputs": set()}
    for line in path.read_text().splitlines() if path.exists() else ():
        event = json.loads(line)
        if event["eventType"] == "COMPLETE" and event["job"]["name"] == f"{dag_id}.{task_id}":
            for kind, names in found.items():
                names |= {f"{data['namespace']}{data['name']}" for data in event[kind]}
    return found


def test_openlineage_has_the_videos(airflow: Any) -> None:
    """From Airflow's own listener, for the run of the test before."""
    asset_events.until(
        lambda: lineage_of(airflow, DAG, SENSOR)["outputs"], airflow, of="the sensor's lineage"
    )
    outputs = lineage_of(airflow, DAG, SENSOR)["outputs"]
    assert len(outputs) == 5
    assert all("/videos/" in name and "?" not in name for name in outputs)


def test_a_failed_recording_fails_at_once_with_its_reason(
    simulator: Simulator, airflow: Any
) -> None:
    simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})
    run_id = airflow.trigger(DAG, {"record_task_ids": ["drama"]})
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "failed"
    (sensor,) = [t for t in airflow.task_states(DAG, run_id) if t["task_id"] == SENSOR]
    assert (sensor["state"], sensor["try_number"]) == ("failed", 1)
    assert "im login failed" in airflow.task_log(DAG, run_id, SENSOR)
    assert simulator.requests_by_task["drama"] == 1


def reported(airflow: Any) -> list[str]:
    """Return the recordings that all runs of the DAG which they schedule have reported."""
    runs = airflow.get("/dags/finished_recordings/dagRuns?limit=100")["dag_runs"]
    done = [run["dag_run_id"] for run in runs if run["state"] == "success"]
    batches = [airflow.xcom("finished_recordings", run, "report", map_index=0) for run in done]
    return sorted(task_id for batch in batches for task_id in batch or ())


def test_a_killed_triggerer_loses_no_wait_and_no_event(simulator: Simulator, airflow: Any) -> None:
    """A sensor waits; an asset's watcher has published one recording and follows another one."""
    simulator.add("published", timeline=[{"RECORDING": 1000}])
    simulator.add("geometry", timeline=[{"RECORDING": 5000}, {"STOPPED": 3}])
    run_id = airflow.trigger(DAG, {"record_task_ids": ["geometry"]})
    airflow.wait_for_task(DAG, run_id, SENSOR, "deferred")
    check_links_and_rendered_templates(airflow, run_id)
    asset_events.until(
        lambda: simulator.requests_by_task.get("published"), airflow, of="its discovery"
    )
    simulator.advance(1100)
    asset_events.until(lambda: "published" in reported(airflow), airflow, of="the run for it")
    asset_events.until(
        # What is waited for is stored after what was published.
        lambda: (
            {"published", "geometry"} <= set(re.findall(r"\w+", asset_events.remembered(airflow)))
        ),
        airflow,
        of="what is kept",
    )
    if asset_events.AIRFLOW < (3, 3):
        # Ten seconds there, because Airflow does not confirm that an event is stored.
        asset_events.until(
            lambda: re.search(r"settled[^]]*published", asset_events.remembered(airflow)), airflow
        )
    airflow.kill_component("triggerer")
    # It ends while no triggerer runs.
    simulator.advance(5000)
    airflow.start_component("triggerer")
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "success", airflow.task_log(DAG, run_id, SENSOR)
    assert len(airflow.xcom(DAG, run_id, SENSOR, "return_value")) == 2
    (sensor,) = [t for t in airflow.task_states(DAG, run_id) if t["task_id"] == SENSOR]
    assert sensor["try_number"] == 1
    asset_events.until(lambda: "geometry" in reported(airflow), airflow, of="the run for geometry")
    for found in (reported(airflow), asset_events.ids_of(airflow, asset_events.FINISHED)):
        assert [found.count(task_id) for task_id in ("published", "geometry")] == [1, 1]


def check_links_and_rendered_templates(airflow: Any, run_id: str) -> None:
    """Check what the page of a deferred task shows."""
    task = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{SENSOR}"
    links = airflow.get(f"{task}/links")["extra_links"]
    assert links["TIW console"] == "https://console.cloud.tencent.com/tiw"
    assert not links["Replay"]
    rendered = airflow.get(task)["rendered_fields"]
    assert "geometry" in str(rendered["record_task_id"])
    assert rendered["tencentcloud_conn_id"] == "tencentcloud_default"


def test_a_finished_task_links_to_its_replay(simulator: Simulator, airflow: Any) -> None:
    (done,) = simulator.add_finished(1)
    run_id = airflow.trigger(DAG, {"record_task_ids": [done]})
    airflow.wait_for_run(DAG, run_id)
    task = f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/{SENSOR}"
    links = airflow.get(f"{task}/links")["extra_links"]
    urls = airflow.xcom(DAG, run_id, SENSOR, "return_value")
    (record,) = airflow.xcom(DAG, run_id, SENSOR, "records")
    assert links["Replay"] == (record["replay_url"] or urls[0])


def test_the_api_shows_no_secret_of_a_connection(airflow: Any) -> None:
    secrets = {
        "token": "the-token-of-a-role",
        "callback_secret": "the-key-of-callbacks",
        "user_sig_secret": "the-key-of-users",
        "proxy": "http://me:the-proxys-password@proxy.example:3128",
    }
    body = {
        "connection_id": "secretive",
        "conn_type": "tencentcloud",
        "login": "AKIDexample",
        "password": "the-secret-key-itself",
        "extra": json.dumps({**secrets, "sdk_app_id": 1400000001}),
    }
    airflow.post("/connections", body)
    for path in ("/connections/secretive", "/connections?limit=100"):
        shown = json.dumps(airflow.get(path))
        assert "1400000001" in shown
        for secret in (*secrets.values(), body["password"]):
            assert secret not in shown


def test_a_given_signature_and_the_secrets_of_a_stored_connection_are_shown_nowhere(
    simulator: Simulator, airflow: Any
) -> None:
    signature = make_user_sig(simulator.sdk_app_id, "tic_record_user_4712_signed", USER_SIG_KEY)
    airflow.post("/variables", {"key": "signature", "value": signature})
    stored = connection(simulator, user_sig_secret=STORED_KEY)
    body = {**stored, "connection_id": "stored", "extra": json.dumps(stored["extra"])}
    airflow.post("/connections", body)
    run_id = airflow.trigger("signed")
    airflow.wait_for_run("signed", run_id)
    assert airflow.run_state("signed", run_id) == "success", airflow.task_log(
        "signed", run_id, "record"
    )
    (facts,) = [facts for facts in simulator.recordings if facts["room_id"] == 4712]
    assert facts["record_user_id"] == "tic_record_user_4712_signed"
    task = airflow.get(f"/dags/signed/dagRuns/{run_id}/taskInstances/record")
    assert task["rendered_fields"]["record_user_sig"] == "***"
    for secret in (signature, simulator.secret_key, STORED_KEY):
        assert secret not in json.dumps(task)
        assert secret not in airflow.task_log("signed", run_id, "record")


def test_only_valid_callbacks_become_events_one_each(simulator: Simulator, airflow: Any) -> None:
    """On the real api-server; the environment events-airflow33 has many more."""
    (done,) = simulator.add_finished(1)
    simulator.add("goes-on", timeline=[{"RECORDING": 50_000}])
    good = callback(simulator, done, key=CALLBACK_KEY)
    refused = {
        "forged": callback(simulator, done, key="guessed"),
        "expired": callback(simulator, done, key=CALLBACK_KEY, valid_s=-1),
        "malformed": b"[" * 50_000,
        "surrogate": b'{"Sign": "\\ud800", "ExpireTime": 1}',
    }
    answers = {name: post(airflow, "callbacks", body) for name, body in refused.items()}
    assert {status for status, _ in answers.values()} == {403}
    assert len({text for _, text in answers.values()}) == 1
    assert post(airflow, "callbacks", good + b" " * MAX_BODY_BYTES)[0] == 413
    assert post(airflow, "callbacks", callback(simulator, "goes-on", key=CALLBACK_KEY))[0] == 503
    for _ in range(3):
        assert post(airflow, "callbacks", good) == (200, b'{"error_code": 0}')
    assert asset_events.ids_of(airflow, CALLED) == [done]
    asset_events.until(
        lambda: asset_events.published_in_runs(airflow, "called") == [[done]], airflow, of="a run"
    )
    assert simulator.requests_by_task[done] == 1


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
    asset_events.until(
        lambda: lineage_of(airflow, "lesson_lifecycle", "archive")["outputs"],
        airflow,
        of="the archive's lineage",
    )
    lineage = lineage_of(airflow, "lesson_lifecycle", "archive")
    # A data set's namespace is "file", its name the path.
    assert lineage["outputs"] == {path.replace("file://", "file", 1) for path in paths}
    assert lineage["inputs"] == {video["url"].partition("?")[0] for video in record["videos"]}


def test_a_run_that_is_marked_failed_stops_its_recording(
    simulator: Simulator, airflow: Any
) -> None:
    dag = "lesson_lifecycle"
    run_id = airflow.trigger(dag, {"room_id": 4713, "lesson_seconds": 3600})
    airflow.wait_for_task(dag, run_id, "lesson", "deferred")

    def recording() -> dict[str, Any]:
        (facts,) = [facts for facts in simulator.recordings if facts["room_id"] == 4713]
        return dict(facts)

    asset_events.until(lambda: recording()["status"] == "RECORDING", airflow, of="the recording")
    airflow.patch(f"/dags/{dag}/dagRuns/{run_id}", {"state": "failed"})
    airflow.wait_for_run(dag, run_id)
    assert recording()["status"] == "FINISHED", airflow.task_log(dag, run_id, "stop")
    states = {task["task_id"]: task["state"] for task in airflow.task_states(dag, run_id)}
    assert states == {
        "record": "success",
        "lesson": "failed",
        "stop": "success",
        "archive": "skipped",
    }
    assert airflow.run_state(dag, run_id) == "failed"


def test_many_recordings_in_chunks(simulator: Simulator, airflow: Any) -> None:
    ids = simulator.add_finished(1000)
    run_id = airflow.trigger("many_recordings", {"record_task_ids": ids, "chunk": 250})
    airflow.wait_for_run("many_recordings", run_id, timeout_s=300)
    assert airflow.run_state("many_recordings", run_id) == "success"
    states = airflow.task_states("many_recordings", run_id)
    assert [t["map_index"] for t in states if t["task_id"] == SENSOR] == list(range(4))
    counts = [
        airflow.xcom("many_recordings", run_id, "publish", "return_value", map_index=index)
        for index in range(4)
    ]
    assert counts == [250] * 4
    log = airflow.task_log("many_recordings", run_id, "publish", map_index=3)
    assert len([line for line in log.splitlines() if "/videos/" in line]) == 250
    assert {simulator.requests_by_task[task_id] for task_id in ids} == {1}


def test_no_secret_in_any_log_and_no_url_in_an_event(simulator: Simulator, airflow: Any) -> None:
    logs = [path.read_text(errors="replace") for path in airflow.home.rglob("*.log")]
    fired = [line for log in logs for line in log.splitlines() if "TriggerEvent" in line]
    # A wait's event has only ids; an asset's event has URLs, without their signatures.
    waits = [line for line in fired if "outcomes" in line]
    assert waits
    assert not [line for line in waits if "/videos/" in line]
    assert not [line for line in fired if re.search(r"/videos/[^\s']*\?", line)]
    for secret in (simulator.secret_key, USER_SIG_KEY, CALLBACK_KEY, STORED_KEY):
        assert not [log for log in logs if secret in log]


def test_this_repository_as_a_home_loads_nothing_twice(airflow: Any) -> None:
    assert airflow.import_errors() == []
    for component in ("api-server", "scheduler", "dag-processor", "triggerer"):
        log = airflow.log_file(component).read_text()
        assert "Failed to import plugin" not in log
        assert "already registered" not in log
    providers = airflow.get("/providers?limit=200")["providers"]
    assert [p["package_name"] for p in providers].count("tiw-automation") == 1
