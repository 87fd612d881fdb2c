# SPDX-License-Identifier: Apache-2.0
"""Events under Airflow's real components: the trigger, the outlets and the callbacks' receiver.

All tests use one Airflow, and each continues from the state that the test before it has left.
"""

from __future__ import annotations

import http.client
import json
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asset_events
import pytest
from callback_posts import callback as signed, post
from connections import connection

from airflow_stack import AirflowStack, AirflowStackError
from tiw_automation.core.api.callbacks import MAX_BODY_BYTES
from tiw_automation.core.events.record_events import event_id
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[3]
KEY = "a-callback-key-of-the-tests"
OTHER_KEY = "the-key-of-the-other-school"
CALLED = "tiw://callbacks/default/online-records/finished?watch=false"
CALLED_EACH = "tiw://callbacks/default/online-records/by-recording"
# The default, which the example has.
POLL_S = 5.0
# How much longer a busy machine may take.
_BUSY_S = 30.0
GIVEN = f"{asset_events.FINISHED}/given?include_failed=true&poll_interval=2"

# The tests' own DAGs; the examples are copied from dags/.
DAGS = """
from airflow.sdk import Asset, AssetWatcher, dag, task
from tiw_automation.airflow import assets
from tiw_automation.airflow.sensors import TiwOnlineRecordSensor
from tiw_automation.airflow.triggers import TiwOnlineRecordFinishedEventTrigger

GIVEN = assets.tiw_online_record_asset(
    "given", record_task_ids=["physics", "broken", "nowhere"], poll_interval=2, include_failed=True
)
# Watches the same recordings as the example, by its own terms.
AGAIN = Asset(
    "again",
    watchers=[
        AssetWatcher(
            name="again",
            trigger=TiwOnlineRecordFinishedEventTrigger(poll_interval=5.0, asset_name="again"),
        )
    ],
)
CALLED = assets.tiw_online_record_asset(tencentcloud_conn_id="callbacks", watch=False)
WAITED = assets.tiw_online_record_asset("waited", tencentcloud_conn_id="waited", watch=False)
OF_THE_DB = assets.tiw_online_record_asset(tencentcloud_conn_id="of_the_db", watch=False)
REFUSED = assets.tiw_online_record_asset(tencentcloud_conn_id="international", poll_interval=2)


def scheduled_by(name, schedule):
    @dag(dag_id=name, schedule=schedule, catchup=False)
    def dag_() :
        @task
        def published(triggering_asset_events=None, dag_run=None):
            found = assets.finished_recordings(triggering_asset_events)
            key = getattr(dag_run, "partition_key", None)
            return [[each["record_task_id"], each["verdict"], key] for each in found]
        published()
    dag_()


scheduled_by("given", [GIVEN])
scheduled_by("again", [AGAIN])
scheduled_by("called", [CALLED])
scheduled_by("waited", [WAITED])
scheduled_by("of_the_db", [OF_THE_DB])
scheduled_by("refused", [REFUSED])


@dag(schedule=None, params={"record_task_ids": []}, render_template_as_native_obj=True)
def waiting():
    TiwOnlineRecordSensor(
        task_id="wait",
        record_task_id="{{ params.record_task_ids }}",
        poke_interval=2,
        deferrable=True,
        outlets=OUTLETS,
    )

OUTLETS = [WAITED]
if PARTITIONS:
    from airflow.sdk import PartitionedAssetTimetable

    CALLED_EACH = assets.tiw_online_record_asset(tencentcloud_conn_id="callbacks", partitioned=True)
    scheduled_by("called_each", PartitionedAssetTimetable(assets=CALLED_EACH))
if TASK_PARTITIONS:
    WAITED_EACH = assets.tiw_online_record_asset(tencentcloud_conn_id="waited", partitioned=True)
    scheduled_by("waited_each", PartitionedAssetTimetable(assets=WAITED_EACH))
    OUTLETS.append(WAITED_EACH)

waiting()
"""

AIRFLOW, FINISHED = asset_events.AIRFLOW, asset_events.FINISHED
until, asset_of, events_of = asset_events.until, asset_events.asset_of, asset_events.events_of
ids_of, remembered = asset_events.ids_of, asset_events.remembered
published_in_runs = asset_events.published_in_runs


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    # The Chinese site, because only it has the running list.
    with Simulator(region="ap-guangzhou") as running:
        running.add("physics", timeline=[{"RECORDING": 30}])
        running.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
        yield running


@pytest.fixture(scope="module")
def began_at() -> float:
    return time.monotonic()


@pytest.fixture(scope="module")
def airflow(
    simulator: Simulator, began_at: float, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir()
    for name in ("finished_recordings", "each_finished_recording"):
        shutil.copy(ROOT / "dags" / f"{name}.py", dags)
    partitions = f"PARTITIONS = {AIRFLOW >= (3, 2)}\nTASK_PARTITIONS = {AIRFLOW >= (3, 3)}\n"
    (dags / "of_the_tests.py").write_text(partitions + DAGS)
    connections = {
        "TENCENTCLOUD_DEFAULT": connection(simulator, callback_secret=KEY),
        "CALLBACKS": connection(simulator, callback_secret=KEY),
        "WAITED": connection(simulator),
        # A name of loopback, so that an unwanted request would be counted.
        "INTERNATIONAL": connection(
            simulator, host="tiw.intl.localhost", region="ap-singapore", allow_http=True
        ),
        "SECRETLESS": connection(simulator),
    }
    environment = {
        **{f"AIRFLOW_CONN_{name}": json.dumps(value) for name, value in connections.items()},
        "AIRFLOW__TIW__CALLBACK_CONN_IDS": "tencentcloud_default, callbacks, secretless, of_the_db",
    }
    with AirflowStack(
        home, dags_folder=dags, environment=environment, start_timeout_s=300.0
    ) as running:
        yield running


def ids_in_runs(airflow: Any, dag_id: str) -> list[str]:
    """Return the recordings that the finished runs of a DAG have got, oldest first."""
    return [each[0] for run in published_in_runs(airflow, dag_id) for each in run]


def callback(simulator: Simulator, task_id: str, *, key: str = KEY, **changes: Any) -> bytes:
    return signed(simulator, task_id, key=key, **changes)


def test_the_example_runs_when_recordings_finish(simulator: Simulator, airflow: Any) -> None:
    until(lambda: asset_of(airflow, FINISHED), airflow, of="the asset")
    # A recording that ends before the list was first read is never found.
    until(lambda: simulator.requests.get("DescribeRunningTasks"), airflow, of="the watcher")
    for task_id in ("algebra", "history"):
        simulator.add(task_id, timeline=[{"RECORDING": 20}, {"STOPPED": 4}])
    until(lambda: {"algebra", "history"} <= set(ids_of(airflow, FINISHED)), airflow)
    assert set(ids_of(airflow, FINISHED)) - {"physics"} == {"algebra", "history"}

    def reported() -> list[str]:
        runs = airflow.get("/dags/finished_recordings/dagRuns")["dag_runs"]
        done = [run["dag_run_id"] for run in runs if run["state"] == "success"]
        batches = [airflow.xcom("finished_recordings", run, "report", map_index=0) for run in done]
        return sorted(task_id for ids in batches for task_id in ids)

    until(lambda: {"algebra", "history"} <= set(reported()), airflow)
    assert len(reported()) == len(set(reported()))


def test_an_event_holds_the_record_and_a_stable_id(simulator: Simulator, airflow: Any) -> None:
    event = next(e for e in events_of(airflow, FINISHED) if e["record_task_id"] == "algebra")
    assert event["event_id"] == event_id(simulator.sdk_app_id, "algebra")
    assert event["verdict"] == "finished"
    assert event["record"]["status"] == "FINISHED"
    assert len(event["record"]["video_urls"]) == 2
    assert not [url for url in event["record"]["video_urls"] if "?" in url]


def test_given_recordings_are_published_once_and_failures_too(airflow: Any) -> None:
    uri = GIVEN
    until(lambda: len(ids_of(airflow, uri)) >= 3, airflow)
    until(lambda: sum(map(len, published_in_runs(airflow, "given"))) >= 3, airflow)
    published = [(each[0], each[1]) for run in published_in_runs(airflow, "given") for each in run]
    assert sorted(published) == [
        ("broken", "failed"),
        ("nowhere", "missing"),
        ("physics", "finished"),
    ]


def test_two_triggers_share_one_list(simulator: Simulator, airflow: Any, began_at: float) -> None:
    until(lambda: simulator.requests["DescribeRunningTasks"] >= 6, airflow)
    rounds = (time.monotonic() - began_at) / POLL_S
    asked = simulator.requests["DescribeRunningTasks"]
    # Before Airflow 3.3 nothing is shared but the requests for each recording.
    assert asked <= (rounds + 2 if AIRFLOW >= (3, 3) else 2 * rounds + 4)
    # Both have published it, with about as many requests as one of them needs.
    assert simulator.requests_by_task["algebra"] <= 24 / POLL_S + 2


def test_a_killed_triggerer_loses_nothing_and_repeats_nothing(
    simulator: Simulator, airflow: Any
) -> None:
    simulator.add("geometry", timeline=[{"RECORDING": 25}])
    until(lambda: simulator.requests_by_task.get("geometry"), airflow)
    until(
        lambda: {"algebra", "physics", "geometry"} <= set(re.findall(r"\w+", remembered(airflow))),
        airflow,
        of="the stored state",
    )
    # Before 3.3 this takes ten seconds, because Airflow does not report when an event is stored.
    until(lambda: all_have_settled(airflow, "algebra"), airflow, of="the stored state")
    if AIRFLOW >= (3, 3):
        # The second example asks once for each recording too.
        until(lambda: "algebra" in described(airflow), airflow, of="the second example's run")
    asked = simulator.requests_by_task
    airflow.kill_component("triggerer")
    # It ends while no triggerer runs.
    simulator.advance(30)
    airflow.start_component("triggerer")
    until(lambda: "geometry" in ids_of(airflow, FINISHED), airflow, within_s=150)
    assert len([each for run in published_in_runs(airflow, "given") for each in run]) == 3
    assert simulator.requests_by_task["algebra"] == asked["algebra"]


def all_have_settled(airflow: Any, task_id: str) -> bool:
    """Return whether both watchers of the application have stored that they published it."""
    # Airflow 3.3 has rows of one value, among them those of other keys.
    rows = json.loads(remembered(airflow))
    values = [json.loads(row if isinstance(row, str) else row[0]) for row in rows]
    states = [value for value in values if isinstance(value, dict)]
    settled = [state for state in states if task_id in state["settled"]]
    return len(settled) == 2 and not [state for state in states if task_id in state["waiting"]]


def test_a_site_that_lists_nothing_is_refused_without_a_call(airflow: Any) -> None:
    log = airflow.log_file("triggerer").read_text()
    (line, *_) = [line for line in log.splitlines() if "tiw.intl.localhost" in line]
    assert "does not list which recordings run" in line
    assert "record_task_ids" in line
    assert "callbacks" in line
    assert (
        ids_of(airflow, "tiw://international/default/online-records/finished?poll_interval=2") == []
    )


def test_a_task_that_waits_publishes_to_its_outlets(simulator: Simulator, airflow: Any) -> None:
    one, *several = simulator.add_finished(4)
    for ids in ([one], several):
        run_id = airflow.trigger("waiting", {"record_task_ids": ids})
        airflow.wait_for_run("waiting", run_id)
        assert airflow.run_state("waiting", run_id) == "success"
    uri = "tiw://waited/default/online-records/finished?name=waited&watch=false"
    first, *others = events_of(airflow, uri)
    assert first["record"]["task_id"] == one
    assert first["event_id"] == event_id(simulator.sdk_app_id, one)
    assert [each["record_task_id"] for each in others] == several
    assert {each["record"] for each in others} == {None}
    until(lambda: sum(map(len, published_in_runs(airflow, "waited"))) >= 4, airflow)
    assert sorted(ids_in_runs(airflow, "waited")) == sorted([one, *several])


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 lets a task name partitions")
def test_each_recording_of_a_task_has_its_own_run(simulator: Simulator, airflow: Any) -> None:
    until(lambda: len(published_in_runs(airflow, "waited_each")) >= 4, airflow)
    runs = published_in_runs(airflow, "waited_each")
    assert sorted(runs) == sorted(
        [[f"finished-{n:06d}", "finished", f"finished-{n:06d}"]] for n in range(1, 5)
    )


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 lets a task name partitions")
def test_the_other_example_has_a_run_for_each_recording(airflow: Any) -> None:
    until(lambda: len(ids_of(airflow, FINISHED)) <= len(described(airflow)), airflow)
    assert sorted(described(airflow)) == sorted(ids_of(airflow, FINISHED))


def described(airflow: Any) -> list[str]:
    """Return the recordings that the second example has described, one in each run."""
    records = published_in_runs(airflow, "each_finished_recording", "describe")
    return [record["task_id"] for record in records]


# The receiver of callbacks


@pytest.mark.parametrize("mode", ["normal", "doubled", "out_of_order"])
def test_a_callback_becomes_one_event(mode: str, simulator: Simulator, airflow: Any) -> None:
    simulator.set_callback(f"{airflow.url}/tiw/callbacks/callbacks", KEY)
    simulator.callback_mode = mode
    task_id = simulator.add(f"called-{mode}", timeline=[{"RECORDING": 2}, {"STOPPED": 1}])
    until(lambda: task_id in ids_of(airflow, CALLED), airflow)

    def answers() -> list[int | None]:
        return [d.status for d in simulator.callbacks if d.task_id == task_id and d.is_over]

    expected = 6 if mode == "doubled" else 3
    until(lambda: len(answers()) == expected, airflow)
    assert answers() == [200] * expected
    assert ids_of(airflow, CALLED).count(task_id) == 1
    (event,) = [e for e in events_of(airflow, CALLED) if e["record_task_id"] == task_id]
    assert event["event_id"] == event_id(simulator.sdk_app_id, task_id)
    assert event["record"]["status"] == "FINISHED"


@pytest.mark.parametrize("mode", ["forged", "late"])
def test_an_untrusted_callback_is_refused(mode: str, simulator: Simulator, airflow: Any) -> None:
    simulator.set_callback(f"{airflow.url}/tiw/callbacks/callbacks", KEY)
    simulator.callback_mode = mode
    task_id = simulator.add(f"called-{mode}", timeline=[{"RECORDING": 2}])
    until(
        lambda: any(
            d.status
            for d in simulator.callbacks
            if d.task_id == task_id and d.event == "OnlineRecordFinished"
        ),
        airflow,
    )
    assert {d.status for d in simulator.callbacks if d.task_id == task_id} == {403}
    simulator.set_callback("")
    simulator.callback_mode = "normal"
    assert task_id not in ids_of(airflow, CALLED)


def test_all_refused_posts_get_the_same_answer(simulator: Simulator, airflow: Any) -> None:
    (task_id,) = simulator.add_finished(1)
    good = callback(simulator, task_id)
    without_sign = json.dumps({k: v for k, v in json.loads(good).items() if k != "Sign"}).encode()
    refused = {
        "empty": post(airflow, "callbacks", b""),
        "no JSON": post(airflow, "callbacks", b"EventType=OnlineRecordFinished"),
        "no object": post(airflow, "callbacks", b"[1]"),
        "deep": post(airflow, "callbacks", b"[" * 100_000),
        "unsigned": post(airflow, "callbacks", without_sign),
        "forged": post(airflow, "callbacks", callback(simulator, task_id, key="guessed")),
        "expired": post(airflow, "callbacks", callback(simulator, task_id, valid_s=-1)),
        "no event": post(airflow, "callbacks", callback(simulator, task_id, EventType=None)),
        "wrong type": post(airflow, "callbacks", callback(simulator, task_id, SdkAppId="x")),
        "another app": post(airflow, "callbacks", callback(simulator, task_id, SdkAppId=14)),
        "no such connection": post(airflow, "unknown", good),
        "no connection": post(airflow, "", good),
        "no secret": post(airflow, "secretless", good),
    }
    assert set(refused.values()) == {(403, b'{"error_code": 1}')}, refused
    assert task_id not in ids_of(airflow, CALLED)
    assert task_id not in simulator.requests_by_task


def test_a_body_that_is_too_long_is_not_read(airflow: Any) -> None:
    too_long = b" " * (MAX_BODY_BYTES + 1)
    assert post(airflow, "callbacks", too_long)[0] == 413
    # The same without a Content-Length.
    target = urllib.parse.urlsplit(airflow.url)
    link = http.client.HTTPConnection(target.hostname or "", target.port, timeout=30)
    try:
        chunks = (b" " * 65536 for _ in range(17))
        link.request(
            "POST",
            "/tiw/callbacks/callbacks",
            body=chunks,
            encode_chunked=True,
            headers={"Transfer-Encoding": "chunked"},
        )
        assert link.getresponse().status == 413
    finally:
        link.close()


def test_only_posts_are_answered(airflow: Any) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with pytest.raises(urllib.error.HTTPError, match="405") as caught:
        opener.open(f"{airflow.url}/tiw/callbacks/callbacks", timeout=30)
    caught.value.close()


def test_a_stolen_signature_does_not_finish_a_running_recording(
    simulator: Simulator, airflow: Any
) -> None:
    simulator.add("still-running", timeline=[{"RECORDING": 36_000}])
    answers: list[tuple[int, bytes]] = []
    body = callback(simulator, "still-running")
    posting = threading.Thread(target=lambda: answers.append(post(airflow, "callbacks", body)))
    posting.start()
    until(lambda: simulator.requests_by_task.get("still-running"), airflow)
    # The API server goes on with its own work meanwhile.
    assert airflow.get("/monitor/health")["metadatabase"]["status"] == "healthy"
    assert posting.is_alive()
    posting.join()
    assert answers == [(503, b'{"error_code": 1}')]
    assert "still-running" not in ids_of(airflow, CALLED)


def test_a_recording_that_does_not_exist_gets_no_event(simulator: Simulator, airflow: Any) -> None:
    assert post(airflow, "callbacks", callback(simulator, "never-was"))[0] == 200
    assert "never-was" not in ids_of(airflow, CALLED)


def test_a_failure_without_a_task_id_is_accepted(simulator: Simulator, airflow: Any) -> None:
    error = {"Error": {"Code": "FailedOperation.Record", "Message": "code: 40001, msg: x"}}
    assert post(airflow, "callbacks", callback(simulator, "x", EventData=error))[0] == 200


def test_replays_cost_no_request_and_no_second_event(simulator: Simulator, airflow: Any) -> None:
    (task_id,) = simulator.add_finished(1)
    body = callback(simulator, task_id)
    answers: list[tuple[int, bytes]] = []
    posts = [
        threading.Thread(target=lambda: answers.append(post(airflow, "callbacks", body)))
        for _ in range(8)
    ]
    for thread in posts:
        thread.start()
    for thread in posts:
        thread.join()
    assert answers == [(200, b'{"error_code": 0}')] * 8
    assert simulator.requests_by_task[task_id] == 1
    assert post(airflow, "callbacks", body) == (200, b'{"error_code": 0}')
    assert simulator.requests_by_task[task_id] == 1
    assert ids_of(airflow, CALLED).count(task_id) == 1


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="Airflow 3.1 does not lock what it has queued")
def test_no_callback_waits_for_the_next_one(simulator: Simulator, airflow: Any) -> None:
    # All within one round of the scheduler, which by itself uses only the first of them.
    for task_id in simulator.add_finished(6):
        assert post(airflow, "callbacks", callback(simulator, task_id))[0] == 200
    called = ids_of(airflow, CALLED)
    until(lambda: sum(map(len, published_in_runs(airflow, "called"))) >= len(called), airflow)
    assert sorted(ids_in_runs(airflow, "called")) == sorted(called)


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="Airflow 3.2 has partitions")
def test_each_recording_of_the_callbacks_has_its_own_run(airflow: Any) -> None:
    called = ids_of(airflow, CALLED)
    assert sorted(ids_of(airflow, CALLED_EACH)) == sorted(called)
    until(lambda: len(published_in_runs(airflow, "called_each")) >= len(called), airflow)
    assert sorted(published_in_runs(airflow, "called_each")) == sorted(
        [[task_id, "finished", task_id]] for task_id in called
    )


# DAGs that are paused


def test_a_callback_during_a_pause_starts_a_run_after_it(
    simulator: Simulator, airflow: Any
) -> None:
    paused = ["called", "called_each"] if AIRFLOW >= (3, 2) else ["called"]
    until(lambda: asset_of(airflow, CALLED), airflow, of="the asset")
    for dag_id in paused:
        asset_events.set_paused(airflow, dag_id, True)
    missed = simulator.add_finished(2)
    for task_id in missed:
        assert post(airflow, "callbacks", callback(simulator, task_id))[0] == 200
        assert task_id in ids_of(airflow, CALLED)
    # A few rounds of the scheduler.
    time.sleep(10)
    for dag_id in paused:
        assert not set(missed) & set(ids_in_runs(airflow, dag_id))
        asset_events.set_paused(airflow, dag_id, False)
    for dag_id in paused:
        until(
            lambda dag_id=dag_id: set(missed) <= set(ids_in_runs(airflow, dag_id)),  # type: ignore[misc]
            airflow,
        )
        found = ids_in_runs(airflow, dag_id)
        assert [found.count(task_id) for task_id in missed] == [1, 1]


def test_an_event_of_a_watcher_during_a_pause_starts_a_run_after_it(
    simulator: Simulator, airflow: Any
) -> None:
    until(lambda: asset_of(airflow, "again"), airflow, of="the asset")
    until(lambda: asset_events.watchers_of(airflow, "again"), airflow, of="the watcher")
    simulator.add("unnoticed", timeline=[{"RECORDING": 3600}])
    until(lambda: simulator.requests_by_task.get("unnoticed"), airflow)
    # Airflow stops the watcher when it next parses the DAG file, in about 30 s.
    before = last_parsed(airflow, "again")
    until(lambda: last_parsed(airflow, "again") != before, airflow, of="the DAG file's parsing")
    asset_events.set_paused(airflow, "again", True)
    simulator.advance(3600)
    until(lambda: "unnoticed" in ids_of(airflow, "again"), airflow)
    until(lambda: not asset_events.watchers_of(airflow, "again"), airflow, of="its removal")
    time.sleep(5)
    assert "unnoticed" not in ids_in_runs(airflow, "again")
    asset_events.set_paused(airflow, "again", False)
    unpaused_at = time.monotonic()
    until(lambda: "unnoticed" in ids_in_runs(airflow, "again"), airflow, within_s=120)
    # Airflow reads a DAG file every 30 s.
    assert time.monotonic() - unpaused_at <= 30 + 60 + _BUSY_S
    assert ids_in_runs(airflow, "again").count("unnoticed") == 1
    assert ids_of(airflow, "again").count("unnoticed") == 1


def last_parsed(airflow: Any, dag_id: str) -> str:
    return str(airflow.get(f"/dags/{dag_id}")["last_parsed_time"])


def test_callbacks_and_a_trigger_publish_to_the_same_asset(
    simulator: Simulator, airflow: Any
) -> None:
    simulator.set_callback(f"{airflow.url}/tiw/callbacks/tencentcloud_default", KEY)
    simulator.add("both", timeline=[{"RECORDING": 15}])
    until(lambda: "both" in ids_of(airflow, "again"), airflow)
    until(lambda: "both" in ids_of(airflow, FINISHED), airflow)
    simulator.set_callback("")
    ids = [e["event_id"] for e in events_of(airflow, FINISHED) if e["record_task_id"] == "both"]
    assert len(set(ids)) == 1
    # Before Airflow 3.3 they cannot see each other's events, so there may be two with one id.
    assert len(ids) == 1 if AIRFLOW >= (3, 3) else len(ids) <= 2


def test_a_connection_in_the_database_receives_after_a_restart(
    simulator: Simulator, airflow: Any
) -> None:
    assert "Callbacks for connection of_the_db are not received: There is no connection" in (
        airflow.log_file("api-server").read_text()
    )
    made = connection(simulator, callback_secret=OTHER_KEY)
    body = {"connection_id": "of_the_db", **made, "extra": json.dumps(made["extra"])}
    airflow.post("/connections", body)
    shown = json.dumps(airflow.get("/connections/of_the_db"))
    assert OTHER_KEY not in shown
    assert simulator.secret_key not in shown
    airflow.kill_component("api-server")
    airflow.start_component("api-server")
    until(lambda: is_up(airflow), airflow)
    (task_id,) = simulator.add_finished(1)
    forged = callback(simulator, task_id, key=KEY)
    assert post(airflow, "of_the_db", forged)[0] == 403
    good = callback(simulator, task_id, key=OTHER_KEY)
    assert post(airflow, "of_the_db", good) == (200, b'{"error_code": 0}')
    uri = "tiw://of_the_db/default/online-records/finished?watch=false"
    assert ids_of(airflow, uri) == [task_id]


def is_up(airflow: Any) -> bool:
    try:
        return bool(airflow.get("/monitor/health"))
    except AirflowStackError:
        return False


def test_nothing_was_published_twice(airflow: Any) -> None:
    """By now every trigger has had many rounds, and a kill."""
    for uri in (FINISHED, GIVEN, "again", CALLED):
        ids = [
            task_id for task_id in ids_of(airflow, uri) if AIRFLOW >= (3, 3) or task_id != "both"
        ]
        assert ids
        assert len(ids) == len(set(ids)), (uri, ids)


def test_no_secret_in_any_log(simulator: Simulator, airflow: Any) -> None:
    logs = [path.read_text(errors="replace") for path in airflow.home.rglob("*.log")]
    assert logs
    for secret in (KEY, OTHER_KEY, simulator.secret_key):
        assert not [log for log in logs if secret in log]


def test_the_plugin_is_registered_once(airflow: Any) -> None:
    plugins = airflow.get("/plugins?limit=100")["plugins"]
    assert [plugin["name"] for plugin in plugins].count("tiw_callbacks") == 1
    for component in ("api-server", "scheduler", "dag-processor", "triggerer"):
        log = airflow.log_file(component).read_text()
        assert "already registered" not in log
        assert "Failed to import plugin" not in log
