# SPDX-License-Identifier: Apache-2.0
"""Every kind of task under Airflow's real components: two runs that go on at the same time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import asset_events
import pytest
from real_airflow import LINEAGE, USER_SIG_KEY

from airflow_stack import AirflowStack
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[3]
DAG = "task_kinds"
SLIDES = "transcode_slides"
SIGNATURE = "q-signature=5ca1ab1e5ca1ab1e"
BROKEN = "broken"
DAGS = f'''
from datetime import timedelta

from airflow.sdk import DAG

from tiw_automation.airflow import operators, sensors

ROOM = 4720
DECK = "https://decks.example/lesson.pptx?{SIGNATURE}"
# Retries for the races of Airflow's scheduler, which a busy machine loses now and then.
again = {{"retries": 2, "retry_delay": timedelta(seconds=3)}}
patient = {{"poke_interval": 1, "timeout": 300, **again}}

with DAG("{DAG}", schedule=None):
    # The three modes of a sensor, and an operator that waits itself.
    checked = operators.TiwPptCheckOperator(task_id="check", url=DECK)
    sensors.TiwPptCheckSensor(task_id="checked", tiw_task_id=checked.output, **patient)

    shot = operators.TiwSnapshotOperator(
        task_id="shot", room_id=ROOM, whiteboard={{"width": 640, "height": 480}}
    )
    sensors.TiwSnapshotSensor(
        task_id="pictures",
        tiw_task_id=shot.output,
        mode="reschedule",
        **{{**patient, "poke_interval": 10}},
    )

    video = operators.TiwVideoGenerationOperator(
        task_id="video", online_record_task_id="{{{{ dag_run.conf['recording'] }}}}"
    )
    sensors.TiwVideoGenerationSensor(
        task_id="videos", tiw_task_id=video.output, deferrable=True, **patient
    )

    operators.TiwTranscodeOperator.partial(
        task_id="transcode",
        thumbnail_resolution="960x540",
        wait_for_completion=True,
        deferrable=True,
        poll_interval=1,
        **again,
    ).expand(url=[DECK, "https://decks.example/other.pptx"])

    push = operators.TiwWhiteboardPushOperator(task_id="push", room_id=ROOM)
    runs = sensors.TiwWhiteboardPushSensor(
        task_id="runs", tiw_task_id=push.output, until="PUSHING", deferrable=True, **patient
    )
    stop = operators.TiwStopWhiteboardPushOperator(task_id="stop", tiw_task_id=push.output)
    stopped = sensors.TiwTaskSensor(
        task_id="stopped",
        task_kind="whiteboard_push",
        tiw_task_id=push.output,
        deferrable=True,
        **patient,
    )
    push >> runs >> stop.as_teardown(setups=push)
    stop >> stopped

    # Broken decks: one waits in the triggerer, and neither is retried.
    sensors.TiwTaskSensor(
        task_id="fails",
        task_kind="transcode",
        tiw_task_id=["{BROKEN}"],
        deferrable=True,
        **patient,
    )
    sensors.TiwTranscodeSensor(
        task_id="skips", tiw_task_id="{BROKEN}", deferrable=True, soft_fail=True, **patient
    )
'''
Runs = dict[str, str]


@pytest.fixture(scope="module")
def runs(simulator: Simulator, airflow: AirflowStack) -> Runs:
    """Return the id of the one run of each DAG; both have ended."""
    (airflow.dags_folder / "kinds.py").write_text(DAGS)
    shutil.copy(ROOT / "dags" / f"{SLIDES}.py", airflow.dags_folder)
    (recording,) = simulator.add_finished(1)
    # The deck of the example has errors, and is repaired.
    simulator.set_task_defaults("ppt_check", IsOK=False)
    # Longer than a worker needs to defer.
    simulator.set_task_defaults("video_generation", duration_s=20)
    simulator.add_task(
        "transcode", task_id=BROKEN, duration_s=45, failure="FailedOperation.FileOpenFail"
    )
    found = {
        DAG: airflow.trigger(DAG, {"recording": recording}),
        SLIDES: airflow.trigger(SLIDES, {"url": "https://decks.example/slides.pptx"}),
    }
    for dag_id, run_id in found.items():
        airflow.wait_for_run(dag_id, run_id, timeout_s=400)
    return found


def states(airflow: AirflowStack, dag_id: str, runs: Runs) -> dict[tuple[str, int], str]:
    tasks = airflow.task_states(dag_id, runs[dag_id])
    return {(task["task_id"], task["map_index"]): task["state"] for task in tasks}


def pushed(airflow: AirflowStack, runs: Runs, task_id: str, map_index: int = -1) -> Any:
    """Return the URLs and the results that a task has pushed."""
    return tuple(
        airflow.xcom(DAG, runs[DAG], task_id, key, map_index=map_index)
        for key in ("return_value", "tasks")
    )


def test_every_task_ends_as_it_must(airflow: AirflowStack, runs: Runs) -> None:
    found = states(airflow, DAG, runs)
    bad = {("fails", -1): "failed", ("skips", -1): "skipped"}
    assert {key: state for key, state in found.items() if state != "success"} == bad
    assert len(found) == 14


KINDS = [
    ("checked", -1, "ppt_check", "FINISHED"),
    ("pictures", -1, "snapshot", "FINISHED"),
    ("videos", -1, "video_generation", "FINISHED"),
    ("transcode", 0, "transcode", "FINISHED"),
    ("transcode", 1, "transcode", "FINISHED"),
    ("runs", -1, "whiteboard_push", "PUSHING"),
    ("stopped", -1, "whiteboard_push", "STOPPED"),
]


@pytest.mark.parametrize(("task_id", "map_index", "kind", "status"), KINDS)
def test_a_wait_pushes_urls_and_results(
    task_id: str, map_index: int, kind: str, status: str, airflow: AirflowStack, runs: Runs
) -> None:
    urls, (result,) = pushed(airflow, runs, task_id, map_index)
    assert (result["task_kind"], result["status"]) == (kind, status)
    assert urls == result["urls"]
    assert bool(urls) is (kind in ("snapshot", "video_generation", "transcode"))
    assert bool(result["thumbnail_urls"]) is (kind == "transcode")


def test_a_task_is_polled_by_the_worker_and_not_created_twice(
    simulator: Simulator, airflow: AirflowStack, runs: Runs
) -> None:
    decks = [task for task in simulator.tasks if task["family"] == "transcode"]
    # Two of the mapped operator, the slides, and the broken one.
    assert len(decks) == 4
    for family in ("ppt_check", "snapshot", "video_generation", "whiteboard_push"):
        made = [task["task_id"] for task in simulator.tasks if task["family"] == family]
        assert len(made) == (2 if family == "ppt_check" else 1)
    assert simulator.rejects == 0


def test_a_broken_deck_fails_without_a_retry_and_names_the_reason(
    airflow: AirflowStack, runs: Runs
) -> None:
    tries = {t["task_id"]: t["try_number"] for t in airflow.task_states(DAG, runs[DAG])}
    assert (tries["fails"], tries["skips"]) == (1, 1)
    log = airflow.task_log(DAG, runs[DAG], "fails")
    assert f"1 of 1 tasks: [{BROKEN}: failed]" in log
    assert "FailedOperation.FileOpenFail" in log


def test_the_pages_of_a_deck_are_mapped_over(
    simulator: Simulator, airflow: AirflowStack, runs: Runs
) -> None:
    found = states(airflow, SLIDES, runs)
    assert set(found.values()) == {"success"}, airflow.task_log(SLIDES, runs[SLIDES], "transcode")
    pages = airflow.xcom(SLIDES, runs[SLIDES], "transcode", "return_value")
    assert [page.rpartition("/")[2] for page in pages] == ["1.jpg", "2.jpg", "3.jpg"]
    sizes = [
        airflow.xcom(SLIDES, runs[SLIDES], "publish", "return_value", map_index=number)
        for number in range(3)
    ]
    assert all(sizes)


def test_the_page_of_a_task_has_its_link_and_no_signature(
    simulator: Simulator, airflow: AirflowStack, runs: Runs
) -> None:
    base = f"/dags/{DAG}/dagRuns/{runs[DAG]}/taskInstances"
    links = airflow.get(f"{base}/runs/links")["extra_links"]
    assert links == {"TIW console": "https://console.cloud.tencent.com/tiw"}
    rendered = airflow.get(f"{base}/check")["rendered_fields"]
    assert rendered["url"] == "https://decks.example/lesson.pptx?***"
    assert airflow.get(f"{base}/runs")["rendered_fields"]["task_kind"] == "whiteboard_push"
    logs = [path.read_text(errors="replace") for path in airflow.home.rglob("*.log")]
    events = [line for log in logs for line in log.splitlines() if "TriggerEvent" in line]
    assert not [line for line in events if "/files/" in line]
    for secret in (SIGNATURE, simulator.secret_key, USER_SIG_KEY):
        assert not [log for log in logs if secret in log]


def test_openlineage_has_the_deck_and_the_results(airflow: AirflowStack, runs: Runs) -> None:
    def datasets() -> dict[str, list[set[str]]]:
        found: dict[str, list[set[str]]] = {}
        for line in (airflow.home / LINEAGE).read_text().splitlines():
            event = json.loads(line)
            if event["eventType"] == "COMPLETE":
                names = [
                    {f"{data['namespace']}{data['name']}" for data in event[side]}
                    for side in ("inputs", "outputs")
                ]
                found.setdefault(event["job"]["name"], names)
        return found

    asset_events.until(lambda: f"{SLIDES}.transcode" in datasets(), airflow, of="its lineage")
    inputs, outputs = datasets()[f"{SLIDES}.transcode"]
    (repaired,) = inputs
    assert "/files/ppt_check/" in repaired
    assert len(outputs) == 3
    assert len(datasets()[f"{DAG}.pictures"][1]) == 3
