# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import (
    AirflowException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseOperator,
    TaskDeferred,
)
from airflow.sdk import DAG
from airflow.sdk.execution_time.timeout import timeout as airflow_timeout
from airflow.triggers.base import BaseTrigger
from supervisors import Supervisor
from waits import Pushes, context, fire, logged, sensor, stored

from tiw_automation.airflow import loops
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.sensors import TiwOnlineRecordFailed, TiwOnlineRecordSensor
from tiw_automation.airflow.summary import summary
from tiw_automation.airflow.trigger_event import Settled, to_payload
from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger
from tiw_automation.airflow.wait_operator import rest_s
from tiw_automation.core import (
    ConfigurationError,
    OnlineRecord,
    TiwError,
    Verdict,
    Video,
)
from tiw_automation.simulator import Simulator

Connect = Callable[..., None]


def test_a_poke_that_finds_all_finished(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(2)
    pushes = Pushes()
    found = sensor([ids[1], ids[0], ids[1]]).poke(context(pushes))
    assert found.is_done
    assert found.xcom_value is not None
    assert [ids[1] in found.xcom_value[0], ids[0] in found.xcom_value[1]] == [True, True]
    assert [record["task_id"] for record in pushes.values["records"]] == [ids[1], ids[0]]
    assert pushes.values["return_value"] == found.xcom_value


def test_a_poke_polls_only_what_is_not_settled(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 100}, {"STOPPED": 5}])
    waiting = sensor([done, "slow"])
    assert not waiting.poke(context(Pushes())).is_done
    tiw_simulator.advance(200)
    assert waiting.poke(context(Pushes())).is_done
    assert tiw_simulator.requests_by_task == {done: 1, "slow": 2}


def test_video_kinds_are_selected(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("t", timeline=[], videos=[{"kind": "camera"}, {"kind": "whiteboard"}])
    pushes = Pushes()
    found = sensor("t", video_kinds=["whiteboard"], push_records=False).poke(context(pushes))
    assert len(found.xcom_value or []) == 1
    assert "records" not in pushes.values
    with pytest.raises(ConfigurationError, match="video_kinds"):
        sensor("t", video_kinds=["film"]).poke(context(Pushes()))


def test_finished_recordings_are_pushed_before_the_failure(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    tiw_simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    pushes = Pushes()
    with pytest.raises(TiwOnlineRecordFailed) as caught:
        sensor([done, "broken", "absent", "odd"]).poke(context(pushes))
    for words in ("3 of 4", "[broken: failed]", "im login failed", "[absent: missing]", "[odd: "):
        assert words in str(caught.value)
    assert len(pushes.values["return_value"]) == 1
    accepting = sensor("odd", accept_finish_reasons=["EXCEPTION"])
    assert accepting.poke(context(Pushes())).is_done


def test_reschedule_mode_keeps_nothing_between_pokes(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    assert sensor(done, mode="reschedule").poke(context(Pushes())).is_done


def test_a_finished_recording_is_not_deferred(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    assert len(sensor(done, deferrable=True).execute(context(Pushes()))) == 1
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 1}


async def test_deferred_and_back(connect: Connect) -> None:
    with Simulator(speed=10) as simulator:
        connect(simulator)
        simulator.add("lesson", timeline=[{"RECORDING": 1000}, {"STOPPED": 5}])
        waiting = sensor("lesson", deferrable=True, poke_interval=0.2, timeout=60)
        with pytest.raises(TaskDeferred) as deferred:
            await asyncio.to_thread(waiting.execute, context(Pushes()))
        assert deferred.value.method_name == "execute_complete"
        assert deferred.value.timeout == timedelta(seconds=120)
        simulator.advance(2000)
        payload = await fire(deferred.value.trigger)
        assert payload["outcomes"][0]["verdict"] == "finished"
        assert "http" not in json.dumps(payload)
        pushes = Pushes()
        urls = await asyncio.to_thread(waiting.execute_complete, context(pushes), payload)
    assert len(urls) == 2
    assert pushes.values["return_value"] == urls


async def test_tencent_cannot_be_reached_between_the_trigger_and_the_worker(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    ids = [*tiw_simulator.add_finished(1), "absent"]
    trigger = TiwOnlineRecordTrigger(
        record_task_ids=ids, end_time=time.time() + 60, poll_interval=0.1
    )
    payload = await fire(trigger)
    waiting = sensor(ids, deferrable=True, poke_interval=0.1, timeout=90)
    tiw_simulator.fault = "outage"
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(waiting.execute_complete, context(Pushes()), payload)
    assert deferred.value.timeout == timedelta(seconds=150)
    assert isinstance(deferred.value.trigger, TiwOnlineRecordTrigger)
    # A missing recording is not polled again.
    assert deferred.value.trigger.record_task_ids == ids[:1]
    tiw_simulator.fault = None
    payload = await fire(deferred.value.trigger)
    pushes = Pushes()
    with pytest.raises(TiwOnlineRecordFailed, match=r"1 of 2 .*absent: missing"):
        await asyncio.to_thread(
            waiting.execute_complete, context(pushes), payload, **stored(deferred.value.kwargs)
        )
    assert len(pushes.values["return_value"]) == 1


async def test_a_recording_that_ended_before_a_deferral_is_not_polled_in_the_triggerer(
    connect: Connect,
) -> None:
    with Simulator(speed=10) as simulator:
        connect(simulator)
        done = simulator.add_finished(2)
        simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
        simulator.add("lesson", timeline=[{"RECORDING": 1000}, {"STOPPED": 5}])
        ids = [done[0], "lesson", "broken", done[1]]
        waiting = sensor(ids, deferrable=True, poke_interval=0.2, timeout=60)
        with pytest.raises(TaskDeferred) as deferred:
            await asyncio.to_thread(waiting.execute, context(Pushes()))
        assert isinstance(deferred.value.trigger, TiwOnlineRecordTrigger)
        assert deferred.value.trigger.record_task_ids == ["lesson"]
        assert "http" not in json.dumps(deferred.value.kwargs)
        simulator.advance(2000)
        payload = await fire(deferred.value.trigger)
        pushes = Pushes()
        with pytest.raises(TiwOnlineRecordFailed, match=r"1 of 4 .*\[broken: failed\].*im login"):
            await asyncio.to_thread(
                waiting.execute_complete, context(pushes), payload, **stored(deferred.value.kwargs)
            )
        # By the worker that deferred, and by the one that resumed.
        asked = simulator.requests_by_task
        assert [asked[task_id] for task_id in (*done, "broken")] == [2, 2, 2]
    pushed = [record["task_id"] for record in pushes.values["records"]]
    assert pushed == [done[0], "lesson", done[1]]


async def test_a_worker_that_never_reaches_tencent_defers_until_the_timeout_elapsed(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator, extra={"timeout": 1})
    (done,) = tiw_simulator.add_finished(1)
    waiting = sensor(done, deferrable=True, poke_interval=0.1, timeout=90)
    end_time = time.time() + 30
    trigger = TiwOnlineRecordTrigger(record_task_ids=[done], end_time=end_time, poll_interval=0.1)
    event = await fire(trigger)
    tiw_simulator.fault = "outage"
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(
            waiting.resume_execution,
            "execute_complete",
            {"event": event, "end_time": end_time},
            context(Pushes()),
        )
    assert deferred.value.trigger.end_time == end_time
    assert (deferred.value.kwargs or {})["end_time"] == end_time
    assert deferred.value.timeout <= timedelta(seconds=90)
    kwargs, delays = stored(deferred.value.kwargs), [deferred.value.trigger.initial_delay]
    # The triggerer reaches Tencent, and this worker does not: each deferral is longer.
    for _ in range(3):
        with pytest.raises(TaskDeferred) as deferred:
            await asyncio.to_thread(
                waiting.resume_execution,
                "execute_complete",
                kwargs | {"event": event},
                context(Pushes()),
            )
        kwargs = stored(deferred.value.kwargs)
        delays.append(deferred.value.trigger.initial_delay)
    assert delays[0] is None
    assert [10 <= delays[1] <= 12.5, 20 <= delays[2] <= 25, 40 <= delays[3] <= 50] == [True] * 3
    with pytest.raises(RuntimeError, match=f"1 of 1 .*{done}: unknown"):
        await asyncio.to_thread(
            waiting.resume_execution,
            "execute_complete",
            {"event": event, "end_time": time.time()},
            context(Pushes()),
        )


@pytest.mark.parametrize(("interval", "longest"), [(0.1, 300), (60, 300), (900, 900)])
def test_a_worker_that_is_cut_off_rests_for_at_least_a_poll_interval(
    interval: float, longest: float
) -> None:
    assert [rest_s(number, interval) for number in (0, 1)] == [None, None]
    rests = [rest_s(number, interval) or 0.0 for number in (2, 3, 4, 9, 5000)]
    for number, rest in zip((1, 2, 3, 8, 4999), rests, strict=True):
        usual = min(max(interval, 5.0) * 2 ** min(number, 30), longest)
        assert usual <= rest <= usual * 1.25


async def test_a_wait_that_timed_out_is_not_repeated(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    trigger = TiwOnlineRecordTrigger(
        record_task_ids=[done, "slow"], end_time=time.time() + 1, poll_interval=0.1
    )
    payload = await fire(trigger)
    tiw_simulator.fault = "outage"
    with pytest.raises(AirflowSensorTimeout, match=rf"\[{done}: unknown\].*\[slow: pending\]"):
        await asyncio.to_thread(sensor([done, "slow"]).execute_complete, context(Pushes()), payload)


async def test_a_lost_deferral_changes_no_result(connect: Connect) -> None:
    """``dag.test()`` resumes a task with only the event."""
    with Simulator(speed=10) as simulator:
        connect(simulator)
        done = simulator.add_finished(2)
        simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
        simulator.add("lesson", timeline=[{"RECORDING": 1000}, {"STOPPED": 5}])
        waiting = sensor(
            [done[0], "lesson", "broken", done[1]], deferrable=True, poke_interval=0.2, timeout=60
        )
        with pytest.raises(TaskDeferred) as deferred:
            await asyncio.to_thread(waiting.execute, context(Pushes()))
        simulator.advance(2000)
        payload = await fire(deferred.value.trigger)
        pushes = Pushes()
        with pytest.raises(TiwOnlineRecordFailed, match=r"1 of 4 .*\[broken: failed\].*im login"):
            await asyncio.to_thread(waiting.execute_complete, context(pushes), payload)
    pushed = [record["task_id"] for record in pushes.values["records"]]
    assert pushed == [done[0], "lesson", done[1]]


def deferred_again(
    waiting: TiwOnlineRecordSensor, event: Any, kept: dict[str, Any] | None = None
) -> tuple[TiwOnlineRecordTrigger, dict[str, Any]]:
    """Resume a task with an event, and return what it is deferred with again."""
    with pytest.raises(TaskDeferred) as deferred:
        waiting.resume_execution(
            "execute_complete", {**(kept or {}), "event": event}, context(Pushes())
        )
    assert isinstance(deferred.value.trigger, TiwOnlineRecordTrigger)
    return deferred.value.trigger, stored(deferred.value.kwargs)


async def test_a_triggerer_of_another_account_fails_no_recording(
    tiw_simulator: Simulator, connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    """For example it has no connection, and the variables of another account."""
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 1000}, {"STOPPED": 5}])
    waiting = sensor("lesson", deferrable=True, poke_interval=0.1, timeout=3600)
    connect(tiw_simulator)
    with pytest.raises(TaskDeferred) as deferred:
        await asyncio.to_thread(waiting.execute, context(Pushes()))
    kept, trigger = stored(deferred.value.kwargs), deferred.value.trigger
    rests: list[float] = []
    with Simulator(sdk_app_id=tiw_simulator.sdk_app_id) as another:
        for _ in range(4):
            assert isinstance(trigger, TiwOnlineRecordTrigger)
            rests.append(trigger.initial_delay or 0.0)
            trigger.initial_delay = None
            connect(another)
            event = await fire(trigger)
            assert event["outcomes"][0]["verdict"] == "missing"
            connect(tiw_simulator)
            capfd.readouterr()
            trigger, kept = await asyncio.to_thread(deferred_again, waiting, event, kept)
            log = logged(capfd)
            assert len(re.findall(r"\[error +\] The triggerer was wrong about 1 of 1", log)) == 1
            assert "It reported lesson missing, this worker finds: Recording lesson is REC" in log
            assert "connection 'tencentcloud_default'" in log
        tiw_simulator.advance(2000)
        urls = await asyncio.to_thread(
            waiting.resume_execution, "execute_complete", kept | {"event": event}, context(Pushes())
        )
    assert len(urls) == 2
    assert rests[:2] == [0, 0]
    assert [10 <= rests[2] <= 12.5, 20 <= rests[3] <= 25] == [True, True]
    assert (rest_s(1000, 0.1) or 0.0) <= 375


NOT_CONFIRMED = [
    (Verdict.MISSING, "TaskNotFound"),
    (Verdict.FAILED, "im login failed"),
    (Verdict.UNKNOWN, "AuthFailure.SignatureFailure"),
    (Verdict.FINISHED, "is FINISHED"),
]


@pytest.mark.parametrize(("verdict", "words"), NOT_CONFIRMED)
def test_an_end_that_a_worker_does_not_confirm_is_waited_for_at_longer_and_longer_pauses(
    verdict: Verdict,
    words: str,
    tiw_simulator: Simulator,
    connect: Connect,
    capfd: pytest.CaptureFixture[str],
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    ends = [Settled(done, Verdict.FINISHED, ""), Settled("slow", verdict, words)]
    event = to_payload(tiw_simulator.sdk_app_id, ends)
    waiting = sensor([done, "slow"], deferrable=True, timeout=3600)
    rests, kept = [], {"end_time": time.time() + 3600}
    for _ in range(9):
        trigger, kept = deferred_again(waiting, event, kept)
        assert trigger.record_task_ids == ["slow"]
        rests.append(trigger.initial_delay or 5)
    assert "[error" in logged(capfd)
    # Twice as long each time up to 300 s, plus up to a quarter at random.
    assert [5 * 2 ** max(n, 0) <= rest for n, rest in enumerate(rests[:6])] == [True] * 6
    assert all(300 <= rest <= 375 for rest in rests[6:])
    # When its timeout elapses, the task ends with that.
    pushes = Pushes()
    with pytest.raises(AirflowSensorTimeout, match=r"\[slow: pending\].*last seen RECORDING"):
        waiting.execute_complete(context(pushes), event, **kept | {"end_time": time.time()})
    assert len(pushes.values["return_value"]) == 1
    # When the end is confirmed, the task ends with it.
    tiw_simulator.advance(2000)
    assert len(waiting.execute_complete(context(Pushes()), event, **kept)) == 3


@pytest.mark.parametrize("verdict", [Verdict.MISSING, Verdict.FINISHED])
def test_an_event_of_another_application_decides_nothing(
    verdict: Verdict,
    tiw_simulator: Simulator,
    connect: Connect,
    capfd: pytest.CaptureFixture[str],
) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}, {"STOPPED": 5}])
    event = to_payload(1400009999, [Settled("slow", verdict, "")])
    waiting = sensor("slow", deferrable=True, timeout=3600)
    kept: dict[str, Any] = {"end_time": time.time() + 3600}
    rests: list[float] = []
    for _ in range(3):
        trigger, kept = deferred_again(waiting, event, kept)
        rests.append(trigger.initial_delay or 0.0)
    log = logged(capfd)
    assert f"application 1400009999, this worker for {tiw_simulator.sdk_app_id}." in log
    assert "was wrong about" not in log
    assert rests[0] == 0
    assert 10 <= rests[1] <= 12.5 < 20 <= rests[2]
    # It does not count where the worker cannot poll, either.
    tiw_simulator.fault = "outage"
    deferred_again(waiting, event, kept)
    tiw_simulator.fault = None
    tiw_simulator.advance(2000)
    assert len(waiting.execute_complete(context(Pushes()), event, **kept)) == 2


def test_the_triggerers_report_counts_where_the_worker_cannot_reach_tencent(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    ends = [Settled("absent", Verdict.MISSING, "no such task"), Settled("f", Verdict.FAILED, "m")]
    event = to_payload(tiw_simulator.sdk_app_id, ends)
    tiw_simulator.fault = "outage"
    with pytest.raises(TiwOnlineRecordFailed, match=r"2 of 2 .*no such task \[f: failed\] m"):
        sensor(["absent", "f"]).execute_complete(context(Pushes()), event)


def test_recordings_that_the_triggerer_reported_missing_and_that_have_finished(
    tiw_simulator: Simulator, connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(5)
    ends = [Settled(task_id, Verdict.MISSING, "") for task_id in ids]
    event = to_payload(tiw_simulator.sdk_app_id, ends)
    pushes = Pushes()
    urls = sensor(ids).execute_complete(context(pushes), event)
    assert pushes.values["return_value"] == urls
    assert len(urls) == 5
    (line,) = [line for line in logged(capfd).splitlines() if "[error" in line]
    assert "wrong about 5 of 5" in line
    # At most three are named.
    assert [task_id in line for task_id in ids] == [True] * 3 + [False] * 2


def test_a_task_with_a_recording_that_has_not_ended_is_deferred_again(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    event = to_payload(tiw_simulator.sdk_app_id, [Settled(done, Verdict.FINISHED, "")])
    waiting = sensor(["slow", done], deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        waiting.execute_complete(context(Pushes()), event)
    assert isinstance(deferred.value.trigger, TiwOnlineRecordTrigger)
    assert deferred.value.trigger.record_task_ids == ["slow"]
    # When its timeout elapses, the task ends with that.
    pushes = Pushes()
    with pytest.raises(AirflowSensorTimeout, match=r"1 of 2 .*\[slow: pending\].*seen RECORDING"):
        waiting.execute_complete(context(pushes), event, end_time=time.time())
    assert len(pushes.values["return_value"]) == 1


OTHERWISE: list[tuple[str, str]] = [
    ("gone", r"1 of 2 .*\[gone: missing\]"),
    ("odd", r"1 of 2 .*\[odd: failed\].*FinishReason EXCEPTION"),
    ("broken", r"1 of 2 .*\[broken: failed\].*im login failed"),
]


@pytest.mark.parametrize(("other", "words"), OTHERWISE, ids=[row[0] for row in OTHERWISE])
@pytest.mark.parametrize("soft_fail", [False, True])
def test_a_recording_with_another_end_than_reported_does_not_affect_the_rest(
    other: str, words: str, soft_fail: bool, tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    ends = [Settled(task_id, Verdict.FINISHED, "") for task_id in (other, done)]
    event = to_payload(tiw_simulator.sdk_app_id, ends)
    waiting = sensor([other, done], deferrable=True, soft_fail=soft_fail)
    pushes = Pushes()
    expected = AirflowSkipException if soft_fail else TiwOnlineRecordFailed
    with pytest.raises(expected) as caught:
        waiting.resume_execution("execute_complete", {"event": event}, context(pushes))
    assert re.search(words, str(caught.value.__cause__ if soft_fail else caught.value))
    assert len(pushes.values["return_value"]) == 1


async def test_a_recording_that_cannot_be_polled_in_time_does_not_affect_the_rest(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(2)
    event = to_payload(
        tiw_simulator.sdk_app_id, [Settled(task_id, Verdict.FINISHED, "") for task_id in ids]
    )
    tiw_simulator.inject("reset", task_id=ids[0])
    pushes = Pushes()
    with pytest.raises(RuntimeError, match=rf"1 of 2 .*\[{ids[0]}: unknown\]"):
        await asyncio.to_thread(
            sensor(ids).execute_complete, context(pushes), event, end_time=time.time()
        )
    assert [record["task_id"] for record in pushes.values["records"]] == [ids[1]]


WAYS: dict[str, dict[str, Any]] = {
    "poke": {},
    "reschedule": {"mode": "reschedule"},
    "deferred": {"deferrable": True, "timeout": 1},
}


def ended(waiting: TiwOnlineRecordSensor, pushes: Pushes) -> BaseException:
    """Run a sensor whose timeout elapses, with its deferral, and return its error."""
    try:
        try:
            waiting.execute(context(pushes))
        except TaskDeferred as deferred:
            kwargs = stored(deferred.kwargs) | {"event": asyncio.run(fire(deferred.trigger))}
            waiting.resume_execution(deferred.method_name, kwargs, context(pushes))
    except Exception as error:
        return error
    raise AssertionError("it ended well")


@pytest.mark.parametrize("way", WAYS)
def test_a_timeout_ends_every_mode_in_the_same_way(
    way: str, tiw_simulator: Simulator, connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    given = {"poke_interval": 0.1, "timeout": 0} | WAYS[way]

    pushes = Pushes()
    error = ended(sensor(["slow", done], **given), pushes)
    assert isinstance(error, AirflowSensorTimeout)
    words = (
        r"1 of 2 .*\[slow: pending\] .* was not FINISHED within .* s; it was last seen RECORDING"
    )
    assert re.search(words, str(error))
    assert len(pushes.values["return_value"]) == 1
    assert [record["task_id"] for record in pushes.values["records"]] == [done]

    pushes = Pushes()
    error = ended(sensor(["absent", "slow", done, "broken"], **given), pushes)
    assert isinstance(error, TiwOnlineRecordFailed)
    words = r"3 of 4 .*\[absent: missing\].*\[slow: pending\].*\[broken: failed\].*im login failed"
    assert re.search(words, str(error))
    assert len(pushes.values["return_value"]) == 1

    for flag in ("soft_fail", "never_fail"):
        for ids in (["slow", done], ["absent", "slow", done]):
            pushes = Pushes()
            capfd.readouterr()
            error = ended(sensor(ids, **given, **{flag: True}), pushes)
            assert isinstance(error, AirflowSkipException)
            assert "1 of 2" in str(error.__cause__) or "2 of 3" in str(error.__cause__)
            # The skip itself does not name it.
            assert "[slow: pending] Recording slow was not FINISHED" in logged(capfd)
            assert len(pushes.values["return_value"]) == 1


@pytest.mark.parametrize("way", WAYS)
def test_an_unknown_verdict_ends_every_mode_in_the_same_way(
    way: str, tiw_simulator: Simulator, connect: Connect
) -> None:
    """The API page shows an answer without a Status for a recording that failed."""
    connect(tiw_simulator)
    connect(tiw_simulator, name="wrong", password="anotherkeyanotherkeyanother")
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("odd", timeline=[{"RECORDING": 1000}])
    tiw_simulator.inject("request_id_only", task_id="odd")
    given = {"poke_interval": 0.1} | WAYS[way] | {"timeout": 60}
    pushes = Pushes()
    error = ended(sensor(["odd", done], **given), pushes)
    assert isinstance(error, RuntimeError)
    assert re.search(r"1 of 2 .*\[odd: unknown\].* without a Status", str(error))
    assert len(pushes.values["return_value"]) == 1
    error = ended(sensor(done, tencentcloud_conn_id="wrong", **given), pushes)
    assert isinstance(error, RuntimeError)
    assert "SignatureFailure" in str(error)


def test_a_refused_recording_is_polled_again_while_others_are_waited_for(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 100}, {"STOPPED": 5}])
    tiw_simulator.inject("server_error", task_id=done, times=1, code="UnauthorizedOperation")
    waiting = sensor([done, "slow"])
    assert not waiting.poke(context(Pushes())).is_done
    tiw_simulator.advance(200)
    assert len(waiting.poke(context(Pushes())).xcom_value or []) == 3


async def test_a_recording_that_the_trigger_could_not_settle_is_polled(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    """One timed out and has finished since; one was refused and no longer is."""
    connect(tiw_simulator)
    late, refused = tiw_simulator.add_finished(2)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    ends = [
        Settled(late, Verdict.PENDING, "its slot had not come", timed_out=True),
        Settled(refused, Verdict.UNKNOWN, "UnauthorizedOperation"),
    ]
    event = to_payload(tiw_simulator.sdk_app_id, ends)
    found = await asyncio.to_thread(
        sensor([late, refused]).execute_complete, context(Pushes()), event
    )
    assert len(found) == 2
    # For one that still runs there is time left.
    event = to_payload(
        tiw_simulator.sdk_app_id, [Settled("slow", Verdict.UNKNOWN, "UnauthorizedOperation")]
    )
    with pytest.raises(TaskDeferred):
        await asyncio.to_thread(
            sensor("slow").execute_complete, context(Pushes()), event, end_time=time.time() + 60
        )


LESSON: dict[str, Any] = {
    "timeline": [{"RECORDING": 3000}, {"STOPPED": 60}],
    "finish_reason": "AUTO",
    "interrupts": {"teacher": 2, "pupil": 1},
    "exception_count": 4,
    "videos": [{"kind": "camera"}, {"kind": "whiteboard"}],
}
LESSON_LINE = (
    r"Recording lesson is FINISHED: recorded from \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC to "
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, ended by AUTO, interruptions: 3, exceptions: 4, "
    r"videos: camera \(0:50:00, [\d.]+ .B\), whiteboard \(0:50:00, [\d.]+ .B\)\."
)


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_log_summarizes_each_recording(
    deferrable: bool, tiw_simulator: Simulator, connect: Connect, capfd: pytest.CaptureFixture[str]
) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("lesson", **LESSON)
    tiw_simulator.advance(4000)
    others = tiw_simulator.add_finished(24)
    ids = ["lesson", *others]
    waiting = sensor(ids, deferrable=deferrable)
    if deferrable:
        ends = [Settled(task_id, Verdict.FINISHED, "") for task_id in ids]
        event = to_payload(tiw_simulator.sdk_app_id, ends)
        waiting.execute_complete(context(Pushes()), event, deferred_at=time.time() - 3725)
    else:
        waiting.poke(context(Pushes()))
    log = logged(capfd)
    assert re.search(LESSON_LINE, log), log
    for task_id in others:
        assert (
            len(re.findall(rf"Recording {task_id} is FINISHED: .* videos: whiteboard ", log)) == 1
        )
    assert "http" not in log
    assert ("The task was deferred for 1:02:" in log) is deferrable


def video(**known: Any) -> Video:
    return Video(**dict.fromkeys(Video.__dataclass_fields__) | known)


def test_the_units_and_the_unknown_values_of_a_summary() -> None:
    record = OnlineRecord(
        sdk_app_id=1,
        task_id="t",
        status="FINISHED",
        finish_reason="FORCE_STOP",
        record_start_time=1767225600,
        record_stop_time=1767225600 + 90061,
        videos=(
            video(type=3, url="https://a/b", duration_ms=90061499, size_bytes=123456789),
            video(type=4, duration_ms=0, size_bytes=4321),
            video(),
        ),
    )
    assert summary(record) == (
        "Recording t is FINISHED: recorded from 2026-01-01 00:00:00 UTC to 2026-01-02 01:01:01 "
        "UTC, ended by FORCE_STOP, interruptions: 0, exceptions: 0, videos: mixed (25:01:01, "
        "123.5 MB), audio (0:00:00, 4.3 kB), unknown (unknown length, unknown size)."
    )
    far = OnlineRecord(
        sdk_app_id=1, task_id="t", record_start_time=2**62, record_stop_time=-(2**62)
    )
    assert "recorded from an unknown time to an unknown time" in summary(far)
    assert summary(OnlineRecord(sdk_app_id=1, task_id="t", status="FINISHED")) == (
        "Recording t is FINISHED: recorded from an unknown time to an unknown time, ended by an "
        "unknown reason, interruptions: 0, exceptions: 0, videos: none."
    )


async def test_a_wait_that_is_killed_stops_no_recording(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    # Airflow calls these when a user ends the task, in the worker and from 3.3 on in the triggerer.
    assert TiwOnlineRecordSensor.on_kill is BaseOperator.on_kill
    for name in ("on_kill", "cleanup"):
        assert getattr(TiwOnlineRecordTrigger, name, None) is getattr(BaseTrigger, name, None)
    connect(tiw_simulator)
    ids = ["one", "two"]
    for task_id in ids:
        tiw_simulator.add(task_id, timeline=[{"RECORDING": 1000}])
    for waited_for in (["one"], ids):
        before = tiw_simulator.requests_by_task.get("one", 0)
        trigger = TiwOnlineRecordTrigger(
            record_task_ids=waited_for, end_time=None, poll_interval=0.1
        )
        events = trigger.run()
        event = asyncio.ensure_future(anext(events))
        while tiw_simulator.requests_by_task.get("one", 0) == before:
            assert not event.done()
            await asyncio.sleep(0.02)
        for end in (getattr(trigger, "on_kill", None), trigger.cleanup):
            if end is not None:
                await end()
        event.cancel()
        with pytest.raises(asyncio.CancelledError):
            await event
        await events.aclose()  # type: ignore[attr-defined]
    sensor(ids).on_kill()
    assert set(tiw_simulator.requests) == {"DescribeOnlineRecord"}
    record = await asyncio.to_thread(lambda: TiwHook().get_conn().describe_online_record("one"))
    assert record.status == "RECORDING"


def test_execution_timeout_limits_the_deferral(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    limited = sensor("slow", deferrable=True, execution_timeout=timedelta(seconds=30))
    with pytest.raises(TaskDeferred) as deferred:
        limited.execute(context(Pushes()))
    assert deferred.value.timeout == timedelta(seconds=90)
    trigger = deferred.value.trigger
    assert isinstance(trigger, TiwOnlineRecordTrigger)
    assert trigger.end_time == pytest.approx(time.time() + 30, abs=5)
    # As in poke mode: a task that it ends is retried, and not skipped.
    pushes = Pushes()
    limited = sensor("slow", deferrable=True, execution_timeout=timedelta(seconds=1), timeout=60)
    error = ended(limited, pushes)
    assert type(error) is TimeoutError
    assert "last seen RECORDING" in str(error)
    assert "execution_timeout elapsed: 0:00:01" in str(error)


def test_a_task_that_cannot_read_its_connection_fails_in_the_ordinary_way(
    supervised: Supervisor, tiw_simulator: Simulator
) -> None:
    supervised.fault, supervised.fails = "not found", math.inf
    for deferrable in (False, True):
        with pytest.raises(TiwError, match="could not read connection") as met:
            sensor("a", deferrable=deferrable).poke(context(Pushes()))
        assert met.value.retryable
    assert tiw_simulator.requests == {}


SOFT: list[tuple[str, dict[str, Any], str]] = [
    ("a failed recording", {"record_task_id": "broken"}, "skipped"),
    ("one that does not exist", {"record_task_id": "absent"}, "skipped"),
    ("a timeout", {"record_task_id": "slow", "timeout": 1}, "skipped"),
    ("wrong keys", {"record_task_id": "slow", "conn": "wrong"}, "failed"),
]


@pytest.mark.parametrize(("what", "given", "verdict"), SOFT, ids=[row[0] for row in SOFT])
@pytest.mark.parametrize("deferrable", [False, True])
def test_soft_fail_skips_for_the_same_reasons_deferred_or_not(
    what: str,
    given: dict[str, Any],
    verdict: str,
    deferrable: bool,
    tiw_simulator: Simulator,
    connect: Connect,
) -> None:
    connect(tiw_simulator)
    connect(tiw_simulator, name="wrong", password="anotherkeyanotherkeyanother")
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    waiting = sensor(
        given["record_task_id"],
        deferrable=deferrable,
        soft_fail=True,
        poke_interval=0.3,
        timeout=given.get("timeout", 60),
        tencentcloud_conn_id=given.get("conn", "tencentcloud_default"),
    )
    where = context(Pushes())
    where["task_reschedule_count"] = 0
    try:
        try:
            waiting.execute(where)
        except TaskDeferred as deferred:
            event = asyncio.run(fire(deferred.trigger))
            waiting.resume_execution(deferred.method_name, {"event": event}, where)
    except AirflowSkipException:
        found = "skipped"
    except Exception:
        found = "failed"
    assert found == verdict


async def test_soft_fail_skips_deferred_as_well_only_if_the_recording_is_at_fault(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    """The keys are revoked while it is deferred: that is not a reason to skip."""
    connect(tiw_simulator, password="anotherkeyanotherkeyanother")
    trigger = TiwOnlineRecordTrigger(record_task_ids=["slow"], end_time=None, poll_interval=0.1)
    event = await fire(trigger)
    waiting = sensor("slow", deferrable=True, soft_fail=True)
    with pytest.raises(RuntimeError, match="SignatureFailure"):
        await asyncio.to_thread(
            waiting.resume_execution, "execute_complete", {"event": event}, context(Pushes())
        )
    # never_fail skips for every error, as in poke mode.
    waiting = sensor("slow", deferrable=True, never_fail=True)
    with pytest.raises(AirflowSkipException):
        await asyncio.to_thread(
            waiting.resume_execution, "execute_complete", {"event": event}, context(Pushes())
        )


def test_a_trigger_that_breaks_is_not_a_reason_to_skip() -> None:
    """For example because its connection was deleted while it was deferred."""
    kept = {"error": "Trigger failure", "traceback": ["ConfigurationError: no connection"]}
    with pytest.raises(AirflowException, match="Trigger failure"):
        sensor("t", deferrable=True, soft_fail=True).resume_execution(
            "__fail__", dict(kept), context(Pushes())
        )
    with pytest.raises(AirflowSkipException):
        sensor("t", deferrable=True, never_fail=True).resume_execution(
            "__fail__", dict(kept), context(Pushes())
        )


def test_airflows_own_end_of_a_deferral_polls_and_judges_like_any_other(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    """For example because no triggerer ran until the timeout elapsed."""
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    kept = {"error": "Trigger timeout"}

    def resumed(ids: list[str], **given: Any) -> tuple[Pushes, Any]:
        pushes = Pushes()
        waiting = sensor(ids, deferrable=True, **given)
        try:
            return pushes, waiting.resume_execution("__fail__", dict(kept), context(pushes))
        except Exception as error:
            return pushes, error

    pushes, result = resumed([done])
    assert result == pushes.values["return_value"] != []
    pushes, error = resumed([done, "slow"])
    assert isinstance(error, AirflowSensorTimeout)
    assert re.search(r"1 of 2 .*\[slow: pending\] .* it was last seen RECORDING", str(error))
    assert len(pushes.values["return_value"]) == 1
    assert isinstance(resumed(["slow"], soft_fail=True)[1], AirflowSkipException)
    assert isinstance(resumed(["absent", "slow"])[1], TiwOnlineRecordFailed)
    assert isinstance(resumed(["absent"], soft_fail=True)[1], AirflowSkipException)
    tiw_simulator.fault = "outage"
    error = resumed([done])[1]
    assert isinstance(error, AirflowSensorTimeout)
    assert "the last answer was" in str(error)
    assert isinstance(resumed([done], soft_fail=True)[1], AirflowSkipException)


def test_airflows_own_end_of_a_deferral_while_it_cannot_read_connections(
    supervised: Supervisor,
) -> None:
    supervised.fails = math.inf
    for given, kind in (({}, AirflowSensorTimeout), ({"soft_fail": True}, AirflowSkipException)):
        with pytest.raises(kind):
            sensor("slow", deferrable=True, **given).resume_execution(
                "__fail__", {"error": "Trigger timeout"}, context(Pushes())
            )


def test_deferrable_may_be_given_as_a_text(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    assert not sensor("slow", deferrable="false").poke(context(Pushes())).is_done
    assert sensor("slow", deferrable="false").poke_interval == 60
    with pytest.raises(TaskDeferred):
        sensor("slow", deferrable="true").poke(context(Pushes()))
    with pytest.raises(ConfigurationError, match="deferrable must be True or False"):
        sensor("slow", deferrable="maybe")


def test_the_default_interval_is_short_where_a_shared_quota_limits_the_rest() -> None:
    assert sensor("t").poke_interval == 60
    assert sensor("t", deferrable=True).poke_interval == 5
    assert sensor("t", deferrable=True, poke_interval=90).poke_interval == 90
    assert sensor("t", poke_interval=timedelta(seconds=7)).poke_interval == 7
    with DAG("with_defaults", schedule=None, default_args={"poke_interval": 33}):
        assert sensor("t", deferrable=True).poke_interval == 33


def test_openlineage_knows_the_videos(tiw_simulator: Simulator, connect: Connect) -> None:
    pytest.importorskip("airflow.providers.openlineage.extractors")
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(2)
    done = sensor(ids)
    assert done.get_openlineage_facets_on_complete(None).outputs == []
    urls = done.poke(context(Pushes())).xcom_value
    assert urls
    facets = done.get_openlineage_facets_on_complete(None)
    assert [f"{d.namespace}{d.name}" for d in facets.outputs] == [
        url.partition("?")[0] for url in urls
    ]


@pytest.mark.parametrize(
    "event",
    [
        None,
        {},
        [],
        "success",
        {"sdk_app_id": 1},
        {"sdk_app_id": "1", "outcomes": []},
        {"sdk_app_id": 1, "outcomes": None},
        {"sdk_app_id": 1, "outcomes": {"record_task_id": "t"}},
        {"sdk_app_id": 1, "outcomes": [None]},
        {"sdk_app_id": 1, "outcomes": ["finished"]},
        {"sdk_app_id": 1, "outcomes": [{"verdict": "good"}]},
        {"sdk_app_id": 1, "outcomes": [{"record_task_id": "t", "verdict": "\x1b[31m" * 999}]},
    ],
)
def test_an_event_of_another_form_fails_loudly(event: Any) -> None:
    with pytest.raises(ConfigurationError, match="same tiw-automation") as caught:
        sensor("t").execute_complete(context(Pushes()), event)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_an_event_and_what_was_kept_of_another_version(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(2)
    # A later version sends keys that this one does not know; an earlier one leaves some out.
    event = {
        "sdk_app_id": tiw_simulator.sdk_app_id,
        "asked_by": "a later one",
        "outcomes": [
            {"record_task_id": ids[0], "verdict": "finished", "polls": 7},
            {"record_task_id": ids[0], "verdict": "finished"},
        ],
    }
    kept = {"record_task_ids": ids, "end_time": None, "in_vain": None, "attempts": 3}
    assert len(sensor("other").execute_complete(context(Pushes()), event, **kept)) == 2


@pytest.mark.parametrize("bad", [[], "", " ", [3], None, 880528, {"a": 1}, "['a']", "a b", ["a,b"]])
def test_bad_task_ids(tiw_simulator: Simulator, connect: Connect, bad: Any) -> None:
    connect(tiw_simulator)
    with pytest.raises(ConfigurationError, match="task id"):
        sensor(bad).poke(context(Pushes()))
    assert tiw_simulator.requests == {}


def test_several_recordings_in_one_text(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(2)
    for text in (",".join(ids), f" {ids[0]} , {ids[1]}", f"{ids[0]},{ids[1]},{ids[0]}"):
        assert len(sensor(text).poke(context(Pushes())).xcom_value or []) == 2


def test_the_default_reasons_are_all_but_exception(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    written = ["FORCE_STOP", "AUTO", "USER_CALL"]
    for reasons, kept in ((None, None), (written, None), (["EXCEPTION"], ["EXCEPTION"])):
        waiting = sensor("slow", deferrable=True, accept_finish_reasons=reasons)
        with pytest.raises(TaskDeferred) as deferred:
            waiting.execute(context(Pushes()))
        # A triggerer holds it for each wait.
        assert deferred.value.trigger.serialize()[1]["accept_finish_reasons"] == kept
    tiw_simulator.add("forced", timeline=[], finish_reason="FORCE_STOP")
    assert sensor("forced").poke(context(Pushes())).is_done
    tiw_simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    with pytest.raises(TiwOnlineRecordFailed, match="FinishReason EXCEPTION"):
        sensor("odd").poke(context(Pushes()))


@pytest.mark.parametrize("deferred", [False, True])
def test_do_xcom_push_false_pushes_nothing(
    deferred: bool, tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    pushes = Pushes()
    for ids in (done, [done, "absent"]):
        waiting = sensor(ids, do_xcom_push=False)
        with contextlib.suppress(TiwOnlineRecordFailed):
            if deferred:
                event = to_payload(tiw_simulator.sdk_app_id, [Settled(done, Verdict.FINISHED, "")])
                waiting.execute_complete(context(pushes), event)
            else:
                waiting.execute(context(pushes))
    assert pushes.values == {}
    # Airflow itself pushes the links.
    assert waiting.replay_url


async def test_in_a_running_loop(tiw_simulator: Simulator, connect: Connect) -> None:
    """For example in a notebook."""
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(2)
    assert len(sensor(ids).execute(context(Pushes()))) == 2
    event = to_payload(tiw_simulator.sdk_app_id, [Settled(i, Verdict.FINISHED, "") for i in ids])
    assert len(sensor(ids).execute_complete(context(Pushes()), event)) == 2
    with pytest.raises(TiwOnlineRecordFailed, match="absent: missing"):
        sensor("absent").execute(context(Pushes()))


async def test_a_signal_ends_a_wait_in_a_running_loop() -> None:
    ended = threading.Event()

    async def wait() -> None:
        try:
            await asyncio.sleep(600)
        finally:
            ended.set()

    began = time.monotonic()
    with pytest.raises(AirflowTaskTimeout), airflow_timeout(0.3):  # type: ignore[no-untyped-call]
        loops.run(wait)
    assert ended.is_set()
    assert time.monotonic() - began < 60


def test_no_connection_means_the_environment(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The default connection is another account's.
    connect(tiw_simulator, password="anotherkeyanotherkeyanother")
    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    given: dict[str, Any] = {"tencentcloud_conn_id": None, "poke_interval": 0.1}
    assert len(sensor(done, **given).execute(context(Pushes()))) == 1
    ids = [done, "slow"]
    with pytest.raises(TaskDeferred) as deferred:
        sensor(ids, deferrable=True, **given).execute(context(Pushes()))
    tiw_simulator.advance(2000)
    event = asyncio.run(fire(deferred.value.trigger))
    kept = stored(deferred.value.kwargs)
    assert len(sensor(ids, **given).execute_complete(context(Pushes()), event, **kept)) == 3


def test_a_refusal_is_an_ordinary_failure(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator, password="anotherkeyanotherkeyanother")
    with pytest.raises(Exception, match=r"AuthFailure\.SignatureFailure") as caught:
        sensor("t").poke(context(Pushes()))
    assert not isinstance(caught.value, TiwOnlineRecordFailed)
