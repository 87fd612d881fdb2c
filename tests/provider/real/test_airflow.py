# SPDX-License-Identifier: Apache-2.0
"""The example DAG under Airflow's real api-server, scheduler, dag-processor and triggerer."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asset_events
import pytest
from callback_posts import callback, post
from connections import connection

from airflow_stack import AirflowStack
from tiw_automation.core.api.callbacks import MAX_BODY_BYTES
from tiw_automation.core.api.user_sig import make_user_sig
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[3]
DAG = "wait_for_recording"
SENSOR = "wait_for_recordings"
USER_SIG_KEY = "the-key-that-signs-users"
STORED_KEY = "another-key-that-signs-users"
DAGS = (DAG, "lesson_lifecycle", "many_recordings", "finished_recordings")
LINEAGE = "lineage.json"
CALLBACK_KEY = "the-key-that-signs-callbacks"
CALLED = "tiw://callbacks/default/online-records/finished?watch=false"

# The tests' own, beside the examples.
MORE_DAGS = """
from airflow.sdk import DAG, dag, task

from tiw_automation.airflow import assets
from tiw_automation.airflow.operators import TiwStartOnlineRecordOperator

CALLED = assets.tiw_online_record_asset(tencentcloud_conn_id="callbacks", watch=False)


@dag(schedule=[CALLED], catchup=False)
def called():
    @task
    def told(triggering_asset_events=None):
        found = assets.finished_recordings(triggering_asset_events)
        return [each["record_task_id"] for each in found]

    told()


called()
with DAG("signed", schedule=None):
    TiwStartOnlineRecordOperator(
        task_id="record",
        room_id=4712,
        record_user_id="tic_record_user_4712_signed",
        record_user_sig="{{ var.value.signature }}",
        tencentcloud_conn_id="stored",
    )
"""


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
    (dags / "more.py").write_text(MORE_DAGS)
    lineage = {"type": "file", "log_file_path": str(home / LINEAGE), "append": True}
    with AirflowStack(
        home,
        dags_folder=dags,
        # As if this repository were Airflow's home: its plugins folder must be harmless.
        plugins_folder=ROOT / "plugins",
        environment={
            **simulator.environment(),
            "AIRFLOW_CONN_TENCENTCLOUD_DEFAULT": json.dumps(
                {"conn_type": "tencentcloud", "extra": {"user_sig_secret": USER_SIG_KEY}}
            ),
            "AIRFLOW_CONN_CALLBACKS": json.dumps(
                {"conn_type": "tencentcloud", "extra": {"callback_secret": CALLBACK_KEY}}
            ),
            "AIRFLOW__TIW__CALLBACK_CONN_IDS": "callbacks",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(lineage),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "lessons",
        },
    ) as running:
        yield running


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
    """Return the names of the data sets that OpenLineage was told of when a task was complete."""
    path = airflow.home / LINEAGE
    found: dict[str, set[str]] = {"inputs": set(), "outputs": set()}
    for line in path.read_text().splitlines() if path.exists() else ():
        event = json.loads(line)
        if event["eventType"] == "COMPLETE" and event["job"]["name"] == f"{dag_id}.{task_id}":
            for kind, names in found.items():
                names |= {f"{data['namespace']}{data['name']}" for data in event[kind]}
    return found


def test_openlineage_is_told_of_the_videos(airflow: Any) -> None:
    """By Airflow's own listener, of the run before."""
    asset_events.until(
        lambda: lineage_of(airflow, DAG, SENSOR)["outputs"], airflow, of="the sensor's lineage"
    )
    outputs = lineage_of(airflow, DAG, SENSOR)["outputs"]
    assert len(outputs) == 5
    assert all("/videos/" in name and "?" not in name for name in outputs)


def test_a_failed_recording_fails_at_once_and_says_why(simulator: Simulator, airflow: Any) -> None:
    simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})
    run_id = airflow.trigger(DAG, {"record_task_ids": ["drama"]})
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "failed"
    (sensor,) = [t for t in airflow.task_states(DAG, run_id) if t["task_id"] == SENSOR]
    assert (sensor["state"], sensor["try_number"]) == ("failed", 1)
    assert "im login failed" in airflow.task_log(DAG, run_id, SENSOR)
    assert simulator.requests_by_task["drama"] == 1


def reported(airflow: Any) -> list[str]:
    """Return the recordings that the DAG which they schedule has reported, in whichever run."""
    runs = airflow.get("/dags/finished_recordings/dagRuns?limit=100")["dag_runs"]
    done = [run["dag_run_id"] for run in runs if run["state"] == "success"]
    batches = [airflow.xcom("finished_recordings", run, "report", map_index=0) for run in done]
    return sorted(task_id for batch in batches for task_id in batch or ())


def test_a_killed_triggerer_loses_no_wait_and_no_event(simulator: Simulator, airflow: Any) -> None:
    """A sensor waits, and an asset's watcher has told of one recording and follows another one."""
    simulator.add("told", timeline=[{"RECORDING": 1000}])
    simulator.add("geometry", timeline=[{"RECORDING": 5000}, {"STOPPED": 3}])
    run_id = airflow.trigger(DAG, {"record_task_ids": ["geometry"]})
    airflow.wait_for_task(DAG, run_id, SENSOR, "deferred")
    links_and_rendered_templates(airflow, run_id)
    asset_events.until(lambda: simulator.requests_by_task.get("told"), airflow, of="its discovery")
    simulator.advance(1100)
    asset_events.until(lambda: "told" in reported(airflow), airflow, of="the run for it")
    asset_events.until(
        # What is waited for comes after what was told and kept.
        lambda: {"told", "geometry"} <= set(re.findall(r"\w+", asset_events.remembered(airflow))),
        airflow,
        of="what is kept",
    )
    if asset_events.AIRFLOW < (3, 3):
        # Ten seconds are waited there, because Airflow does not say when an event is stored.
        asset_events.until(
            lambda: re.search(r"settled[^]]*told", asset_events.remembered(airflow)), airflow
        )
    airflow.kill_component("triggerer")
    # It ends while nobody looks.
    simulator.advance(5000)
    airflow.start_component("triggerer")
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "success", airflow.task_log(DAG, run_id, SENSOR)
    assert len(airflow.xcom(DAG, run_id, SENSOR, "return_value")) == 2
    (sensor,) = [t for t in airflow.task_states(DAG, run_id) if t["task_id"] == SENSOR]
    assert sensor["try_number"] == 1
    asset_events.until(lambda: "geometry" in reported(airflow), airflow, of="the run for geometry")
    for told in (reported(airflow), asset_events.ids_of(airflow, asset_events.FINISHED)):
        assert [told.count(task_id) for task_id in ("told", "geometry")] == [1, 1]


def links_and_rendered_templates(airflow: Any, run_id: str) -> None:
    """Look at a deferred task as its page does."""
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


def test_a_given_signature_and_the_secrets_of_a_stored_connection_show_nowhere(
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


def test_callbacks_become_one_event_each_and_nothing_else_does(
    simulator: Simulator, airflow: Any
) -> None:
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
        lambda: asset_events.told_in_runs(airflow, "called") == [[done]], airflow, of="a run"
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
    run_id = airflow.trigger("many_recordings", {"record_task_ids": ids, "chunk": 100})
    # The account's quota alone takes 53 seconds.
    airflow.wait_for_run("many_recordings", run_id, timeout_s=300)
    assert airflow.run_state("many_recordings", run_id) == "success"
    states = airflow.task_states("many_recordings", run_id)
    assert [t["map_index"] for t in states if t["task_id"] == SENSOR] == list(range(10))
    counts = [
        airflow.xcom("many_recordings", run_id, "publish", "return_value", map_index=index)
        for index in range(10)
    ]
    assert counts == [100] * 10
    log = airflow.task_log("many_recordings", run_id, "publish", map_index=3)
    assert len([line for line in log.splitlines() if "/videos/" in line]) == 100
    assert {simulator.requests_by_task[task_id] for task_id in ids} == {1}


def test_no_secret_in_any_log_and_no_url_in_an_event(simulator: Simulator, airflow: Any) -> None:
    logs = [path.read_text(errors="replace") for path in airflow.home.rglob("*.log")]
    fired = [line for log in logs for line in log.splitlines() if "TriggerEvent" in line]
    # A wait's event has ids alone; what an asset is told has URLs, and nothing of their signatures.
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
