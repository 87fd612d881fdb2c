# SPDX-License-Identifier: Apache-2.0
"""The sensors of the other kinds of tasks: what recordings have no test of, and each kind once."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)
from airflow.sdk import DAG
from waits import Pushes, context, fire, stored

from tiw_automation.airflow import sensors
from tiw_automation.airflow.arguments import flag
from tiw_automation.airflow.sensors import (
    TiwOnlineRecordSensor,
    TiwTaskFailed,
    TiwTaskSensor,
    TiwTranscodeSensor,
    TiwWhiteboardPushSensor,
)
from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger
from tiw_automation.core import TASK_KINDS, ConfigurationError
from tiw_automation.simulator import Simulator

TYPED: dict[str, type[TiwTaskSensor]] = {
    found.task_kind: found
    for found in vars(sensors).values()
    if inspect.isclass(found) and issubclass(found, TiwTaskSensor) and found is not TiwTaskSensor
}
# How many URLs the simulator's task of each kind has.
URLS = {
    "whiteboard_push": 0,
    "transcode": 1,
    "ppt_check": 0,
    "snapshot": 3,
    "video_generation": 2,
}
FINAL = {"whiteboard_push": "STOPPED"}
FAILURES = {
    "whiteboard_push": "FailedOperation.WhiteboardPush",
    "transcode": "FailedOperation.FileOpenFail",
    "ppt_check": "FailedOperation.FileFormatError",
    "snapshot": "FailedOperation.NoSuchRoom",
    "video_generation": "FailedOperation.Record",
}
KINDS = sorted(URLS)


@pytest.fixture
def simulator(connect: Callable[..., None]) -> Iterator[Simulator]:
    with Simulator(region="ap-guangzhou") as running:
        connect(running, extra={"region": "ap-guangzhou"})
        connect(running, name="wrong", password="anotherkeyanotherkeyanother")
        yield running


def sensor(kind: str, tiw_task_id: Any, **given: Any) -> TiwTaskSensor:
    return TYPED[kind](task_id="wait", tiw_task_id=tiw_task_id, **given)


def add(simulator: Simulator, kind: str, duration_s: float = 5.0, **task: Any) -> str:
    return simulator.add_task(kind, duration_s=duration_s, **task)


def where(pushes: Pushes | None = None) -> Any:
    return {**context(pushes or Pushes()), "task_reschedule_count": 0}


def to_the_end(
    waiting: Any,
    run: Any,
    *,
    meanwhile: Callable[[], None] = lambda: None,
    has_triggerer: bool = True,
) -> Any:
    """Run a task as Airflow does, through its deferral if it defers.

    :param meanwhile: called before the first poll that can end the wait.
    """
    if not flag("deferrable", waiting.deferrable):
        meanwhile()
    try:
        return waiting.execute(run)
    except TaskDeferred as deferred:
        meanwhile()
        if not has_triggerer:
            return waiting.resume_execution("__fail__", {"error": "Trigger timeout"}, run)
        kept = {**stored(deferred.kwargs), "event": asyncio.run(fire(deferred.trigger))}
        return waiting.resume_execution(deferred.method_name, kept, run)


def test_every_kind_has_a_sensor_and_recordings_have_their_own() -> None:
    assert set(TYPED) == set(TASK_KINDS) - {"online_record"} == set(URLS)
    for kind, found in TYPED.items():
        assert found.__name__ == f"Tiw{kind.title().replace('_', '')}Sensor"
        assert found.template_fields == TiwTaskSensor.template_fields
        assert found(task_id="t", tiw_task_id="a").task_kind == kind
    assert TiwOnlineRecordSensor.task_kind == "online_record"


@pytest.mark.parametrize("kind", KINDS)
def test_a_poke_pushes_the_urls_in_the_order_asked(kind: str, simulator: Simulator) -> None:
    ids = [add(simulator, kind) for _ in range(2)]
    simulator.advance(100)
    asked = [ids[1], ids[0], ids[1]]
    pushes = Pushes()
    found = sensor(kind, asked).poke(context(pushes))
    assert found.is_done
    tasks = pushes.values["tasks"]
    assert [task["task_id"] for task in tasks] == [ids[1], ids[0]]
    assert {task["status"] for task in tasks} == {FINAL.get(kind, "FINISHED")}
    assert {task["task_kind"] for task in tasks} == {kind}
    urls = [url for task in tasks for url in task["urls"]]
    assert found.xcom_value == pushes.values["return_value"] == urls
    assert len(urls) == 2 * URLS[kind]


@pytest.mark.parametrize("kind", KINDS)
async def test_deferred_and_back(kind: str, simulator: Simulator) -> None:
    done = add(simulator, kind)
    simulator.advance(100)
    going = add(simulator, kind, duration_s=1000)
    waiting = sensor(kind, [going, done], deferrable=True, poke_interval=0.1, timeout=60)
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(waiting.execute, where())
    assert deferred.value.timeout == timedelta(seconds=120)
    trigger = deferred.value.trigger
    assert isinstance(trigger, TiwOnlineRecordTrigger)
    assert (trigger.task_kind, trigger.record_task_ids) == (kind, [going])
    simulator.advance(2000)
    event = await fire(trigger)
    assert [end["verdict"] for end in event["outcomes"]] == ["finished"]
    assert "http" not in json.dumps([event, deferred.value.kwargs])
    pushes = Pushes()
    urls = await asyncio.to_thread(
        waiting.resume_execution,
        "execute_complete",
        {**stored(deferred.value.kwargs), "event": event},
        context(pushes),
    )
    assert [task["task_id"] for task in pushes.values["tasks"]] == [going, done]
    assert len(urls) == 2 * URLS[kind]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_names_the_task_and_its_reason_in_both_modes(
    kind: str, deferrable: bool, simulator: Simulator
) -> None:
    code = FAILURES[kind]
    broken = add(simulator, kind, failure={"code": code, "message": "it did not work"})
    done = add(simulator, kind)
    waiting = sensor(kind, [broken, "absent", done], deferrable=deferrable, poke_interval=0.1)
    pushes = Pushes()
    with pytest.raises(TiwTaskFailed, match=r"2 of 3 tasks: \[.*it did not work") as caught:
        to_the_end(waiting, where(pushes), meanwhile=lambda: simulator.advance(100))
    assert f"[{broken}: failed]" in str(caught.value)
    assert code in str(caught.value)
    assert [task["task_id"] for task in pushes.values["tasks"]] == [done]
    assert len(pushes.values["return_value"]) == URLS[kind]


def test_a_failed_transcode_is_not_the_callers_mistake(simulator: Simulator) -> None:
    """Codes that begin with InvalidParameter name a broken deck."""
    for code in ("InvalidParameter.FileFormatUnsupported", "FailedOperation.FileDownloadFail"):
        broken = add(simulator, "transcode", failure=code)
        simulator.advance(100)
        with pytest.raises(TiwTaskFailed, match=code):
            sensor("transcode", broken).poke(context(Pushes()))


def test_a_static_deck_has_a_url_for_each_page(simulator: Simulator) -> None:
    deck = add(simulator, "transcode", pages=12, IsStaticPPT=True)
    simulator.advance(100)
    found = sensor("transcode", deck).poke(context(Pushes()))
    assert [url.rpartition("/")[2] for url in found.xcom_value or ()] == [
        f"{number}.jpg" for number in range(1, 13)
    ]


def test_a_check_that_finds_errors_has_finished(simulator: Simulator) -> None:
    deck = simulator.add_task("ppt_check", duration_s=5, IsOK=False)
    simulator.advance(100)
    pushes = Pushes()
    assert sensor("ppt_check", deck).poke(context(pushes)).is_done
    assert pushes.values["tasks"][0]["result"]["is_ok"] is False


def test_an_id_of_another_kind_is_missing_and_the_error_says_what_it_may_be(
    simulator: Simulator,
) -> None:
    shot = add(simulator, "snapshot")
    with pytest.raises(TiwTaskFailed, match=r"\[.*: missing\].*another kind of task"):
        sensor("transcode", shot).poke(context(Pushes()))


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_wait_for_a_state(deferrable: bool, simulator: Simulator) -> None:
    push = simulator.add_task("whiteboard_push", queued_s=50)
    waiting = sensor(
        "whiteboard_push", push, until="PUSHING", deferrable=deferrable, poke_interval=0.1
    )
    pushes = Pushes()
    assert to_the_end(waiting, where(pushes), meanwhile=lambda: simulator.advance(60)) == []
    assert pushes.values["tasks"][0]["status"] == "PUSHING"
    assert pushes.values["return_value"] == []


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_state_that_is_out_of_reach_fails(deferrable: bool, simulator: Simulator) -> None:
    push = simulator.add_task("whiteboard_push", queued_s=10, duration_s=20)
    waiting = sensor(
        "whiteboard_push", push, until=["PUSHING"], deferrable=deferrable, poke_interval=0.1
    )
    with pytest.raises(TiwTaskFailed, match="STOPPED and cannot become PUSHING"):
        to_the_end(waiting, where(), meanwhile=lambda: simulator.advance(60))


@pytest.mark.parametrize("mode", ["poke", "reschedule", "deferrable", "no triggerer"])
def test_a_timeout_ends_every_mode_in_the_same_way(mode: str, simulator: Simulator) -> None:
    done = add(simulator, "whiteboard_push")
    simulator.advance(100)
    going = simulator.add_task("whiteboard_push")
    deferrable = mode in ("deferrable", "no triggerer")
    waiting = sensor(
        "whiteboard_push",
        [done, going],
        deferrable=deferrable,
        mode="poke" if deferrable else mode,
        poke_interval=0.2,
        timeout=1,
    )
    pushes = Pushes()
    with pytest.raises(AirflowSensorTimeout, match=r"was not STOPPED within 1 s; .* PREPARED"):
        to_the_end(waiting, where(pushes), has_triggerer=mode != "no triggerer")
    assert [task["task_id"] for task in pushes.values["tasks"]] == [done]


SOFT = [
    ("a failed task", {"tiw_task_id": "broken"}, "skipped"),
    ("one that does not exist", {"tiw_task_id": "absent"}, "skipped"),
    ("a timeout", {"tiw_task_id": "slow", "timeout": 1}, "skipped"),
    ("wrong keys", {"tiw_task_id": "slow", "tencentcloud_conn_id": "wrong"}, "failed"),
]


@pytest.mark.parametrize(("what", "given", "verdict"), SOFT, ids=[row[0] for row in SOFT])
@pytest.mark.parametrize("deferrable", [False, True])
def test_soft_fail_skips_for_the_same_reasons_as_for_recordings(
    what: str, given: dict[str, Any], verdict: str, deferrable: bool, simulator: Simulator
) -> None:
    add(simulator, "transcode", task_id="broken", failure="FailedOperation.Transcode")
    simulator.advance(100)
    add(simulator, "transcode", task_id="slow", duration_s=1000)
    waiting = TiwTranscodeSensor(
        task_id="wait", deferrable=deferrable, soft_fail=True, poke_interval=0.2, **given
    )
    try:
        to_the_end(waiting, where())
    except AirflowSkipException:
        found = "skipped"
    except Exception:
        found = "failed"
    assert found == verdict


def test_execution_timeout_limits_the_deferral(simulator: Simulator) -> None:
    going = add(simulator, "transcode", duration_s=1000)
    waiting = sensor(
        "transcode", going, deferrable=True, timeout=999, execution_timeout=timedelta(seconds=30)
    )
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute(where())
    assert deferred.value.timeout == timedelta(seconds=90)


def test_an_outage_delays_and_fails_nothing(simulator: Simulator) -> None:
    done = add(simulator, "snapshot")
    simulator.advance(100)
    event = asyncio.run(
        fire(
            TiwOnlineRecordTrigger(
                record_task_ids=[done], end_time=None, poll_interval=0.1, task_kind="snapshot"
            )
        )
    )
    waiting = sensor("snapshot", done, deferrable=True, timeout=60)
    simulator.fault = "outage"
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute_complete(context(Pushes()), event)
    simulator.fault = None
    assert deferred.value.trigger.task_kind == "snapshot"
    assert len(waiting.execute_complete(context(Pushes()), event)) == 3


async def test_a_trigger_of_the_first_release_still_waits_for_recordings(
    tiw_simulator: Simulator, connect: Callable[..., None]
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    given: dict[str, Any] = {
        "record_task_ids": [done],
        "end_time": time.time() + 60,
        "sdk_app_id": None,
        "tencentcloud_conn_id": "tencentcloud_default",
        "poll_interval": 0.1,
        "accept_finish_reasons": None,
        "require_videos": True,
    }
    old = TiwOnlineRecordTrigger(**given)
    # A triggerer of the first release can run what this version defers.
    assert old.serialize()[1] == given
    event = await fire(old)
    row = event["outcomes"][0]
    assert (row["record_task_id"], row["verdict"]) == (done, "finished")
    waiting = TiwOnlineRecordSensor(task_id="wait", record_task_id=done)
    kept = {"end_time": given["end_time"], "deferred_at": time.time(), "event": event}
    urls = await asyncio.to_thread(
        waiting.resume_execution, "execute_complete", kept, context(Pushes())
    )
    assert len(urls) == 1


async def test_a_trigger_keeps_its_kind_and_its_states() -> None:
    given: dict[str, Any] = {"record_task_ids": ["a"], "end_time": None}
    made = TiwOnlineRecordTrigger(**given, task_kind="whiteboard_push", until=["PUSHING"])
    copy = TiwOnlineRecordTrigger(**json.loads(json.dumps(made.serialize()[1])))
    assert (copy.task_kind, copy.until) == ("whiteboard_push", ["PUSHING"])


def test_the_generic_sensor_waits_for_any_kind_recordings_too(simulator: Simulator) -> None:
    (done,) = simulator.add_finished(1)
    pushes = Pushes()
    waiting = TiwTaskSensor(task_id="wait", task_kind="online_record", tiw_task_id=done)
    found = waiting.poke(context(pushes))
    assert len(found.xcom_value or ()) == 1
    assert pushes.values["tasks"][0]["room_id"]
    shot = add(simulator, "snapshot")
    simulator.advance(100)
    waiting = TiwTaskSensor(task_id="shot", task_kind="{{ kind }}", tiw_task_id="{{ id }}")
    values: Any = {"kind": "snapshot", "id": shot}
    waiting.render_template_fields(values)
    assert len(waiting.poke(context(Pushes())).xcom_value or ()) == 3


BAD: list[tuple[dict[str, Any], str]] = [
    ({"task_kind": "transcodes"}, "transcodes.*not a kind of task.*Did you mean transcode.*snapsh"),
    ({}, "not a kind of task"),
    ({"task_kind": "transcode", "until": "PUSHING"}, "until.*PUSHING.*not a state.*QUEUED"),
    ({"task_kind": "transcode", "require_urls": "maybe"}, "require_urls"),
    ({"task_kind": "transcode", "tiw_task_id": ""}, "task id is empty"),
]


@pytest.mark.parametrize(("given", "words"), BAD)
def test_bad_arguments(given: dict[str, Any], words: str, simulator: Simulator) -> None:
    with pytest.raises(ConfigurationError, match=words):
        TiwTaskSensor(task_id="wait", **{"tiw_task_id": "a", **given}).poke(context(Pushes()))
    assert simulator.requests == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_mapped_sensor_waits_for_each_value(kind: str, simulator: Simulator) -> None:
    ids = [add(simulator, kind) for _ in range(2)]
    simulator.advance(100)
    with DAG("mapped") as dag:
        mapped = (
            TYPED[kind].partial(task_id="wait", poke_interval=5, until=None).expand(tiw_task_id=ids)
        )
    pushes = Pushes()
    whose: Any = {
        "ti": pushes,
        "dag": dag,
        "dag_run": SimpleNamespace(conf={}),
        "expanded_ti_count": 2,
    }
    pushes.map_index = 1  # type: ignore[attr-defined]
    mapped.render_template_fields(whose)
    task = whose["task"]
    assert (type(task), task.task_kind, task.tiw_task_id) == (TYPED[kind], kind, ids[1])
    assert task.poke(whose).is_done


def test_do_xcom_push_false_pushes_nothing(simulator: Simulator) -> None:
    deck = add(simulator, "transcode")
    simulator.advance(100)
    pushes = Pushes()
    assert sensor("transcode", deck, do_xcom_push=False).poke(context(pushes)).is_done
    assert pushes.values == {}


def test_openlineage_and_the_link_to_the_console(simulator: Simulator) -> None:
    deck = add(simulator, "transcode")
    simulator.advance(100)
    waiting = sensor("transcode", deck)
    waiting.poke(context(Pushes()))
    found = waiting.get_openlineage_facets_on_complete(None)
    assert [data.name.rpartition("/")[2] for data in found.outputs] == ["index.html"]
    assert waiting.console_url == "https://console.cloud.tencent.com/tiw"
    assert [link.name for link in waiting.operator_extra_links] == ["TIW console"]


def test_a_push_has_an_own_finish_reason(simulator: Simulator) -> None:
    push = simulator.add_task("whiteboard_push", duration_s=5, FinishReason="EXCEPTION")
    simulator.advance(100)
    with pytest.raises(TiwTaskFailed, match="FinishReason EXCEPTION"):
        sensor("whiteboard_push", push).poke(context(Pushes()))
    taken = TiwWhiteboardPushSensor(
        task_id="wait", tiw_task_id=push, accept_finish_reasons=["EXCEPTION"]
    )
    assert taken.poke(context(Pushes())).is_done
