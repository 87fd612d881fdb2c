# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from typing import Any

import pytest
import supervisors
from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time import comms, task_runner
from asgiref.sync import async_to_sync

from tiw_automation.airflow import triggers
from tiw_automation.airflow.events import announced, shared_feed
from tiw_automation.airflow.events.announced import Announced
from tiw_automation.airflow.events.shared_feed import AcknowledgedFeed
from tiw_automation.airflow.events.state_store import (
    PUBLISHING,
    AssetStore,
    VariableStore,
    published_key,
)
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.supervisor import _open_requests
from tiw_automation.airflow.triggers import TiwOnlineRecordFinishedEventTrigger
from tiw_automation.core.events import feed as record_feed
from tiw_automation.core.events.missing import Missing, asked_with
from tiw_automation.core.events.record_events import event_id
from tiw_automation.simulator import Simulator

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
Connect = Callable[..., None]
TIMELINE = [{"RECORDING": 3}, {"STOPPED": 1}]


class Memory:
    """A store like Airflow's. It outlives the trigger, and can be made to fail."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.fails = 0
        self.error: Exception = OSError("the API server is away")

    async def aget(self, key: str) -> Any:
        self._fail()
        return json.loads(self.values.get(key, "null"))

    async def aset(self, key: str, value: Any) -> None:
        self._fail()
        self.values[key] = json.dumps(value)

    async def adelete(self, key: str) -> None:
        self._fail()
        self.values.pop(key, None)

    def _fail(self) -> None:
        if self.fails:
            self.fails -= 1
            raise self.error

    def state(self) -> Any:
        """Return what the one trigger has stored."""
        (value,) = (v for k, v in self.values.items() if k.startswith("tiw_announced_"))
        return json.loads(value)


def make(memory: Memory | None = None, **arguments: Any) -> TiwOnlineRecordFinishedEventTrigger:
    given = {"poll_interval": 0.2, **arguments}
    made = TiwOnlineRecordFinishedEventTrigger(**json.loads(json.dumps(given)))
    made.asset_state_store = memory  # type: ignore[assignment]
    return made


@contextlib.asynccontextmanager
async def running(trigger: TiwOnlineRecordFinishedEventTrigger) -> AsyncGenerator[Any, None]:
    events = trigger.run()
    try:
        yield events
    finally:
        await events.aclose()  # type: ignore[attr-defined]


async def next_ids(events: Any, within_s: float = 20.0) -> list[str]:
    """Return the task ids of the next event."""
    return ids_of(await asyncio.wait_for(anext(events), within_s))


def ids_of(event: Any) -> list[str]:
    payload = json.loads(json.dumps(event.payload))
    return [each["record_task_id"] for each in payload.get("recordings", [payload])]


async def nothing_more(events: Any, for_s: float = 0.5) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(events), for_s)


async def until(is_true: Callable[[], Any], within_s: float = 20.0) -> None:
    async with asyncio.timeout(within_s):
        while not is_true():
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def next_of(events: Any) -> AsyncGenerator[asyncio.Future[Any], None]:
    """Request the next event; cancel that at the end of the context."""
    waiting = asyncio.ensure_future(anext(events))
    try:
        yield waiting
    finally:
        waiting.cancel()
        await asyncio.wait([waiting])


@pytest.fixture
def chinese() -> Any:
    with Simulator(speed=10, region="ap-guangzhou") as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triggers, "_APART_S", 0.2)
    monkeypatch.setattr(record_feed, "_GATHER_S", 0.05)
    monkeypatch.setattr(record_feed, "_REFUSED_S", 0.2)
    monkeypatch.setattr(announced, "STORED_AFTER_S", 0.1)
    monkeypatch.setattr(announced, "_RETRY_FIRST_S", 0.05)


def test_a_serialized_trigger_can_be_created_again() -> None:
    path, arguments = make(record_task_ids=["a"], asset_name="mine").serialize()
    assert path == "tiw_automation.airflow.triggers.TiwOnlineRecordFinishedEventTrigger"
    again = TiwOnlineRecordFinishedEventTrigger(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)


def test_triggers_that_share_a_feed() -> None:
    key = make(poll_interval=5).shared_stream_key()
    assert key == make(poll_interval=5.0, include_failed=True, asset_name="x").shared_stream_key()
    assert (
        make(poll_interval=5, record_task_ids=["a"]).shared_stream_key()
        == make(poll_interval=5, record_task_ids=["b"]).shared_stream_key()
    )
    others = [
        make(poll_interval=6),
        make(poll_interval=5, sdk_app_id=14),
        make(poll_interval=5, tencentcloud_conn_id="x"),
        make(poll_interval=5, record_task_ids=["a"]),
    ]
    assert key not in [other.shared_stream_key() for other in others]


async def test_given_recordings_are_published_once_and_the_trigger_goes_on(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 100}])
    async with running(make(record_task_ids=["slow", done, done])) as events:
        assert await next_ids(events) == [done]
        tiw_simulator.advance(200)
        assert await next_ids(events) == ["slow"]
        asked = tiw_simulator.requests
        await nothing_more(events)
        assert tiw_simulator.requests == asked


async def test_an_event_holds_the_record(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    async with running(make(record_task_ids=[done])) as events:
        payload = (await anext(events)).payload
    assert payload["event_id"] == event_id(tiw_simulator.sdk_app_id, done)
    assert payload["verdict"] == "finished"
    assert payload["record"]["task_id"] == done


async def test_failures_are_published_if_requested(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    tiw_simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    ids = ["broken", "odd", "absent"]
    memory = Memory()
    async with running(make(memory, record_task_ids=ids)) as events:
        await nothing_more(events)
    assert memory.state()["settled"] == ["broken", "odd"]
    assert memory.state()["waiting"] == ["absent"]
    verdicts: dict[str, str] = {}
    async with running(make(record_task_ids=ids, include_failed=True)) as events:
        while len(verdicts) < 3:
            payload = (await asyncio.wait_for(anext(events), 20)).payload
            for each in payload.get("recordings", [payload]):
                verdicts[each["record_task_id"]] = each["verdict"]
    assert verdicts == {"broken": "failed", "odd": "failed", "absent": "missing"}
    accepting = make(record_task_ids=["odd"], accept_finish_reasons=["EXCEPTION"])
    async with running(accepting) as events:
        assert await next_ids(events) == ["odd"]


async def test_recordings_are_found_by_the_running_list(
    chinese: Simulator, connect: Connect
) -> None:
    connect(chinese, extra={"region": "ap-guangzhou"})
    chinese.add_finished(2)

    def is_polled(task_id: str) -> bool:
        return task_id in chinese.requests_by_task

    async with running(make()) as events:
        for task_id in ("algebra", "history"):
            async with next_of(events) as event:
                # After the list was read at least once.
                await until(lambda: chinese.requests.get("DescribeRunningTasks"))
                chinese.add(task_id, timeline=[{"RECORDING": 3600}, {"STOPPED": 1}])
                await until(partial(is_polled, task_id))
                chinese.advance(3600)
                found = (await asyncio.wait_for(event, 20)).payload
            assert found["record_task_id"] == task_id
        await nothing_more(events)


async def test_a_sweep_follows_several_events(chinese: Simulator, connect: Connect) -> None:
    connect(chinese, extra={"region": "ap-guangzhou"})
    memory = Memory()
    for number in range(4):
        chinese.add(f"bell-{number}", timeline=[{"RECORDING": 1000}])
    chinese.add("late", timeline=[{"RECORDING": 7200}])
    async with running(make(memory, sweep_after=1.5)) as events:
        first = asyncio.ensure_future(next_ids(events))
        # The list of running tasks names them only while they run.
        await until(lambda: len(chinese.requests_by_task) == 5)
        chinese.advance(2000)
        found = await first
        chinese.advance(7200)
        while len(found) < 5:
            found += await next_ids(events)
        assert sorted(found) == ["bell-0", "bell-1", "bell-2", "bell-3", "late"]
        # A scheduler that was away has seen only the first event: one more makes it look again.
        sweep = asyncio.ensure_future(next_ids(events))
        await until(lambda: memory.state()["sweep_at"] is not None)
        assert await sweep == []
        await nothing_more(events)
        assert memory.state()["sweep_at"] is None


async def test_events_are_published_with_pauses(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "_MOST_IN_AN_EVENT", 3)
    connect(tiw_simulator)
    ids = tiw_simulator.add_finished(12)
    async with running(make(record_task_ids=ids)) as events:
        times: list[float] = []
        batches: list[list[str]] = []
        while sum(map(len, batches)) < len(ids):
            batches.append(await next_ids(events))
            times.append(time.monotonic())
    assert min(after - before for before, after in pairwise(times)) >= 0.19
    assert max(map(len, batches)) <= 3
    assert sorted(task_id for batch in batches for task_id in batch) == sorted(ids)


async def test_no_sweep_follows_a_single_event(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    async with running(make(record_task_ids=[done], sweep_after=0.2)) as events:
        assert await next_ids(events) == [done]
        await nothing_more(events)


async def test_the_international_site_is_not_asked_for_its_list(
    tiw_simulator: Simulator,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("TIW_ALLOW_HTTP", "1")
    connect(tiw_simulator, host="tiw.intl.localhost")
    async with running(make()) as events:
        await nothing_more(events)
    assert tiw_simulator.requests == {}
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    # One in five minutes, which are 0.2 s here.
    assert 2 <= len(lines) <= 4
    for words in ("only the Chinese site", "record_task_ids", "callbacks"):
        assert words in lines[0]


async def test_a_site_without_the_list_is_the_same_error(
    tiw_simulator: Simulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connect(tiw_simulator, extra={"region": "ap-singapore"})
    async with running(make()) as events, next_of(events):
        await until(lambda: "cannot be listed" in caplog.text)
    (first, *_) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert "InvalidAction" in first
    assert "record_task_ids" in first


async def test_a_connection_that_is_repaired_is_read_again(
    tiw_simulator: Simulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    connect(tiw_simulator, password="wrong" * 8)
    async with running(make(record_task_ids=[done])) as events:
        waiting = asyncio.ensure_future(anext(events))
        await until(lambda: "cannot be asked for" in caplog.text)
        connect(tiw_simulator)
        assert (await asyncio.wait_for(waiting, 20)).payload["record_task_id"] == done


@pytest.mark.parametrize("fault", ["answered", "not found"])
async def test_a_connection_that_airflow_cannot_read_only_delays(
    fault: str,
    supervised: supervisors.Supervisor,
    tiw_simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    supervised.fault, supervised.fails = fault, 5
    (done,) = tiw_simulator.add_finished(1)
    memory = Memory()
    async with running(make(memory, record_task_ids=[done], include_failed=True)) as events:
        event = await asyncio.wait_for(anext(events), 20)
    assert (event.payload["record_task_id"], event.payload["verdict"]) == (done, "finished")
    assert "could not read connection" in caplog.text
    assert tiw_simulator.rejects == 0


async def test_a_network_fault_only_delays(chinese: Simulator, connect: Connect) -> None:
    connect(chinese, extra={"region": "ap-guangzhou"})
    chinese.inject("reset", times=4)
    chinese.add("algebra", timeline=[{"RECORDING": 600}])
    async with running(make()) as events:
        waiting = asyncio.ensure_future(next_ids(events, 120))
        await until(lambda: chinese.requests_by_task.get("algebra"), 120)
        chinese.advance(900)
        assert await waiting == ["algebra"]


async def test_a_restart_repeats_nothing_and_loses_nothing(
    chinese: Simulator, connect: Connect
) -> None:
    connect(chinese, extra={"region": "ap-guangzhou"})
    memory = Memory()
    chinese.add("algebra", timeline=TIMELINE)
    chinese.add("history", timeline=[{"RECORDING": 1000}])
    async with running(make(memory)) as events:
        assert await next_ids(events) == ["algebra"]
        async with next_of(events):
            await until(lambda: memory.state()["settled"] == ["algebra"])
    # It ends, and leaves the list, while no watcher runs.
    chinese.advance(2000)
    async with running(make(memory)) as events:
        assert await next_ids(events) == []
        assert await next_ids(events) == ["history"]
        await nothing_more(events)


async def test_a_kill_before_the_event_is_stored_repeats_it(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    memory = Memory()
    for _ in range(2):
        async with running(make(memory, record_task_ids=[done])) as events:
            assert await next_ids(events) == [done]
    assert memory.state() == {"settled": [], "waiting": [done], "sweep_at": None}


async def test_an_added_id_repeats_nothing(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    one, two = tiw_simulator.add_finished(2)
    memory = Memory()
    async with running(make(memory, record_task_ids=[one], asset_name="mine")) as events:
        assert await next_ids(events) == [one]
        await nothing_more(events)
    after = make(memory, record_task_ids=[one, two], asset_name="mine")
    async with running(after) as events:
        assert await next_ids(events) == []
        assert await next_ids(events) == [two]
    assert [key for key in memory.values if key != PUBLISHING] == [after._store_key()]


async def test_removed_ids_are_dropped(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(tiw_simulator)
    one, two = tiw_simulator.add_finished(2)
    for task_id in ("slow", "gone"):
        tiw_simulator.add(task_id, timeline=[{"RECORDING": 10_000}])
    memory = Memory()
    before = make(memory, record_task_ids=[one, two, "slow", "gone"], asset_name="mine")
    async with running(before) as events:
        found = await next_ids(events)
        while len(found) < 2:
            found += await next_ids(events)
        await nothing_more(events)
    assert memory.state()["settled"] == sorted([one, two])
    after = make(memory, record_task_ids=[two, "slow"], asset_name="mine")
    async with running(after) as events:
        assert await next_ids(events) == []
        await nothing_more(events)
    # A recording that has ended is remembered for an hour, in case the list had a gap.
    assert memory.state()["settled"] == sorted([one, two])
    assert memory.state()["waiting"] == ["slow"]
    monkeypatch.setattr(announced, "_REMEMBER_S", -1.0)
    async with running(make(memory, **after.serialize()[1])) as events:
        await nothing_more(events)
    assert memory.state() == {"settled": [two], "waiting": ["slow"], "sweep_at": None}


async def test_a_recording_between_two_watchers_is_not_found(
    chinese: Simulator, connect: Connect
) -> None:
    connect(chinese, extra={"region": "ap-guangzhou"})
    memory = Memory()

    def is_listed(times: int) -> bool:
        return chinese.requests.get("DescribeRunningTasks", 0) >= times

    for lists in (1, 3):
        async with running(make(memory)) as events, next_of(events) as event:
            await until(partial(is_listed, lists))
            assert not event.done()
        if lists == 1:
            chinese.add("unseen", timeline=TIMELINE)
            chinese.advance(100)
    # The list holds only what runs now; given ids and callbacks find it.
    async with running(make(memory, record_task_ids=["unseen"])) as events:
        assert await next_ids(events) == ["unseen"]


async def test_a_restart_while_the_list_is_unreachable_forgets_nothing(
    chinese: Simulator,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connect(chinese, extra={"region": "ap-guangzhou"}, password="wrong" * 8)
    monkeypatch.setattr(announced, "_REMEMBER_S", -1.0)
    memory = Memory()
    trigger = make(memory)
    first = Announced(AssetStore(memory), trigger._store_key())
    first.settle(["algebra"])
    await first.stored(["algebra"])
    async with running(trigger) as events, next_of(events):
        await until(lambda: caplog.text.count("cannot be listed") >= 2)
    assert memory.state()["settled"] == ["algebra"]


async def test_an_event_of_a_callback_is_not_repeated(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    one, two = tiw_simulator.add_finished(2)
    memory = Memory()
    key = published_key(event_id(tiw_simulator.sdk_app_id, one))
    memory.values[key] = "true"
    async with running(make(memory, record_task_ids=[one, two])) as events:
        assert await next_ids(events) == [two]
        await nothing_more(events)
    assert memory.state()["settled"] == sorted([one, two])
    assert key not in memory.values


async def test_an_event_of_a_callback_at_the_last_moment_is_not_repeated(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    one, two = tiw_simulator.add_finished(2)
    identity = {task_id: event_id(tiw_simulator.sdk_app_id, task_id) for task_id in (one, two)}

    class LastMoment(Memory):
        """A callback stores its event just before the trigger claims its own."""

        async def aset(self, key: str, value: Any) -> None:
            if key == PUBLISHING and identity[one] in value:
                self.values[published_key(identity[one])] = "true"
            await super().aset(key, value)

    memory = LastMoment()
    async with running(make(memory, record_task_ids=[one, two])) as events:
        assert await next_ids(events) == [two]
        assert identity[two] in json.loads(memory.values[PUBLISHING])
        await nothing_more(events)
    assert memory.state()["settled"] == sorted([one, two])


async def test_a_claim_lasts_until_airflow_must_have_stored_the_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = Memory()
    trigger = Announced(AssetStore(memory), "x")
    for event in ("a", "b"):
        assert await trigger.claim([event]) == set()
    assert json.loads(memory.values[PUBLISHING]) == ["a", "b"]
    monkeypatch.setattr(announced, "PUBLISHING_S", 0.0)
    await trigger.claim(["c"])
    assert json.loads(memory.values[PUBLISHING]) == ["c"]


# Recordings that are missing


@pytest.fixture
def two() -> Any:
    """Return two accounts, of which the first does not know the recordings of the second."""
    with Simulator(speed=10) as one, Simulator(speed=10, sdk_app_id=one.sdk_app_id + 1) as other:
        yield one, other


async def missing_in(memory: Memory, *task_ids: str) -> dict[str, Any]:
    """Wait until these are stored as missing; return what is stored of them, by settings."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(ValueError):
                missing = memory.state().get("missing", {})
                if set(task_ids) == {i for of_settings in missing.values() for i in of_settings}:
                    return dict(missing)
            await asyncio.sleep(0.02)


async def test_the_connection_of_another_application_is_repaired_while_it_watches(
    two: Any, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    wrong, right = two
    ids = right.add_finished(3)
    connect(wrong)
    memory = Memory()
    async with running(make(memory, record_task_ids=ids)) as events:
        async with next_of(events) as event:
            missing = await missing_in(memory, *ids)
            assert not event.done()
            async with asyncio.timeout(20):
                while "do not exist" not in caplog.text:
                    await asyncio.sleep(0.02)
            connect(right)
            found = ids_of(await event)
        while len(found) < 3:
            found += await next_ids(events)
        assert sorted(found) == ids
        await nothing_more(events)
    assert "missing" not in memory.state()
    assert memory.state()["settled"] == ids
    # Stored with the settings of the request, but without a key.
    (settings,) = missing
    assert str(wrong.sdk_app_id) in settings
    assert wrong.secret_id not in json.dumps(missing)
    assert set(wrong.requests_by_task.values()) == {1}
    (line,) = {r.getMessage() for r in caplog.records if "do not exist" in r.getMessage()}
    assert line.startswith("3 recordings")


async def test_a_connection_is_repaired_before_a_restart(two: Any, connect: Connect) -> None:
    wrong, right = two
    (done,) = right.add_finished(1)
    connect(wrong)
    memory = Memory()
    async with running(make(memory, record_task_ids=[done])) as events, next_of(events):
        await missing_in(memory, done)
    # With the same settings it is not due yet.
    async with running(make(memory, record_task_ids=[done])) as events:
        await nothing_more(events)
    assert wrong.requests_by_task[done] == 1
    connect(right)
    async with running(make(memory, record_task_ids=[done])) as events:
        assert await next_ids(events) == [done]
        await nothing_more(events)
    assert right.requests_by_task[done] == 1


async def test_missing_is_published_once_and_so_is_the_later_end(
    two: Any, connect: Connect
) -> None:
    wrong, right = two
    (done,) = right.add_finished(1)
    connect(wrong)
    memory = Memory()
    terms: Any = {"record_task_ids": [done], "include_failed": True}
    async with running(make(memory, **terms)) as events:
        first = (await anext(events)).payload
        assert (first["verdict"], first["record_task_id"]) == ("missing", done)
        # A kill before Airflow has stored the event: it is still published at most once.
        assert memory.state()["passed_on_as_missing"] == [done]
    async with running(make(memory, **terms)) as events:
        await nothing_more(events)
    connect(right)
    async with running(make(memory, **terms)) as events:
        second = (await anext(events)).payload
        assert (second["verdict"], second["record_task_id"]) == ("finished", done)
        await nothing_more(events)
    ids = [event_id(right.sdk_app_id, done), event_id(wrong.sdk_app_id, done)]
    assert second["event_id"] == ids[0]
    assert first["event_id"] not in ids
    assert memory.state()["settled"] == [done]
    assert "passed_on_as_missing" not in memory.state()


async def test_missing_is_not_published_before_that_is_stored(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    memory = Memory()
    trigger = make(memory, record_task_ids=["absent"], include_failed=True)
    async with running(trigger) as events:
        async with next_of(events) as event:
            await until(lambda: tiw_simulator.requests_by_task.get("absent"))
            memory.fails = 10_000
            # After two attempts to store it.
            await until(lambda: memory.fails <= 9_998)
            assert not event.done()
            memory.fails = 0
            assert (await asyncio.wait_for(event, 20)).payload["verdict"] == "missing"
        assert memory.state()["passed_on_as_missing"] == ["absent"]


async def test_a_new_watcher_does_not_wait_for_the_pause_of_another(
    two: Any, connect: Connect
) -> None:
    """The feed is shared on Airflow 3.3, the stored state is not."""
    _, right = two
    (done,) = right.add_finished(1)
    connect(right)
    feed = triggers._feed(make(record_task_ids=[done]).serialize()[1])
    with contextlib.closing(TiwHook().get_conn()) as client:
        same = asked_with(client)
    feed.adopt_missing({done: Missing(same, time.time() + 200, 300)})
    shared = shared_feed.snapshots(feed)
    async with contextlib.aclosing(shared):
        events = make(Memory(), record_task_ids=[done]).filter_shared_stream(shared)
        async with contextlib.aclosing(events):
            assert await next_ids(events) == [done]


# DAGs that were paused


async def test_a_start_after_something_was_published_wakes_dags_that_were_paused(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    one, two = tiw_simulator.add_finished(2)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 10_000}])
    memory = Memory()
    trigger: Any = {"asset_name": "mine", "sweep_after": None}
    async with running(make(memory, **trigger, record_task_ids=[one, "slow"])) as events:
        # Without a stored state no DAG has missed anything.
        assert await next_ids(events) == [one]
        await nothing_more(events)
    for _ in range(2):
        # Killed before Airflow has stored that event, the next trigger repeats it.
        async with running(make(memory, **trigger, record_task_ids=[one, "slow"])) as events:
            assert await next_ids(events) == []
    async with running(make(memory, **trigger, record_task_ids=[one, "slow"])) as events:
        assert await next_ids(events) == []
        await nothing_more(events)
    # Nothing was published since that start.
    async with running(make(memory, **trigger, record_task_ids=[one, "slow"])) as events:
        await nothing_more(events)
    async with running(make(memory, **trigger, record_task_ids=[one, "slow", two])) as events:
        assert await next_ids(events) == [two]
        await nothing_more(events)
    async with running(make(memory, **trigger, record_task_ids=[one, "slow", two])) as events:
        assert await next_ids(events) == []
        await nothing_more(events)


async def test_a_recording_without_an_event_wakes_no_dag(
    tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    memory = Memory()
    for _ in range(2):
        async with running(make(memory, record_task_ids=["broken"])) as events:
            await nothing_more(events)
    assert memory.state() == {"settled": ["broken"], "waiting": [], "sweep_at": None}


# The stored state


async def test_nothing_is_published_before_the_state_is_read(
    tiw_simulator: Simulator, connect: Connect, caplog: pytest.LogCaptureFixture
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    memory = Memory()
    first = Announced(AssetStore(memory), make(record_task_ids=[done])._store_key())
    first.settle([done])
    await first.stored([done])
    memory.fails = 3
    async with running(make(memory, record_task_ids=[done])) as events, next_of(events) as event:
        await until(lambda: caplog.text.count("cannot be read yet") == 3)
        await asyncio.sleep(0.5)
        assert not event.done()
    assert caplog.text.count("cannot be read yet") == 3
    assert tiw_simulator.requests == {}


async def test_a_failed_write_is_repeated_later(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    state = Announced(AssetStore(memory), "tiw_announced_x")
    memory.fails = 1
    assert await state.wait_for(["a"]) == ["a"]
    assert memory.values == {}
    assert "cannot be stored yet" in caplog.text
    assert await state.wait_for(["a"]) == ["a"]
    assert memory.state()["waiting"] == ["a"]


async def test_several_assets_on_one_trigger_are_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    memory = Memory()
    memory.fails, memory.error = 1, ValueError("Task has 2 concrete inlets and outlets")
    state = Announced(AssetStore(memory), "x")
    await state.load()
    assert "asset_name" in caplog.text
    assert await state.wait_for(["a"]) == ["a"]
    assert memory.values == {}


async def test_a_store_with_only_blocking_calls() -> None:
    class Blocking:
        def __init__(self) -> None:
            self.values: dict[str, Any] = {}

        def get(self, key: str) -> Any:
            return self.values.get(key)

        def set(self, key: str, value: Any) -> None:
            self.values[key] = value

        def delete(self, key: str) -> None:
            del self.values[key]

    store = AssetStore(Blocking())
    await store.set("a", [1])
    assert await store.get("a") == [1]
    await store.delete("a")
    assert await store.get("a") is None


async def test_a_recording_that_left_the_list_is_forgotten_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = Memory()
    state = Announced(AssetStore(memory), "tiw_announced_x")
    state.settle(["old", "listed", "unsure"])
    await state.stored(["old", "listed"])
    monkeypatch.setattr(announced, "_REMEMBER_S", -1.0)
    state.forget_but(["listed"])
    await state.wait_for(["listed"])
    assert memory.state() == {"settled": ["listed"], "waiting": ["unsure"], "sweep_at": None}


OLD = {"settled": ["a"], "waiting": ["b"], "sweep_at": None}
ODD = "cannot be read"


@pytest.mark.parametrize("old", [None, {"settled": ["a"]}, OLD, {**OLD, "of_a_newer_one": [7]}])
async def test_the_state_of_another_version_is_read(
    old: Any, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory()
    memory.values["x"] = json.dumps(old)
    state = Announced(AssetStore(memory), "x")
    await state.load()
    assert state.is_settled("a") is (old is not None)
    assert not state.wakes
    assert ODD not in caplog.text


@pytest.mark.parametrize(
    "nonsense",
    [
        [],
        "x",
        7,
        True,
        {"settled": "abc"},
        {"settled": 7},
        {"settled": {"a": 1}},
        {"waiting": {"b": 1}},
        {"sweep_at": "soon"},
        {"sweep_at": 1e300},
        {"sweep_at": True},
        {"missing": [1]},
        {"missing": "x"},
        {"passed_on_as_missing": 7},
        {"settled": ["a"] * 100_001},
    ],
)
async def test_an_invalid_state_is_empty_with_one_warning(
    nonsense: Any, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Memory()
    memory.values["x"] = json.dumps(nonsense)
    state = Announced(AssetStore(memory), "x")
    await state.load()
    assert not state.is_settled("a")
    assert (await state.wait_for([]), dict(state.missing), state.sweep_at) == ([], {}, None)
    assert len([r for r in caplog.records if ODD in r.getMessage()]) == 1
    # Written anew.
    assert await state.wait_for(["b"]) == ["b"]
    assert json.loads(memory.values["x"]) == {"settled": [], "waiting": ["b"], "sweep_at": None}


async def test_an_invalid_part_leaves_the_other_parts(caplog: pytest.LogCaptureFixture) -> None:
    memory = Memory()
    odd = {"waiting": ["b", 7, None, "", "x\x1b", "b", "a", "\ud800"], "sweep_at": [], "missing": 1}
    memory.values["x"] = json.dumps({**OLD, **odd})
    state = Announced(AssetStore(memory), "x")
    await state.load()
    assert state.is_settled("a")
    assert await state.wait_for([]) == ["b"]
    assert len([r for r in caplog.records if ODD in r.getMessage()]) == 1


async def test_an_invalid_state_delays_no_event(tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    memory = Memory()
    trigger = make(memory, record_task_ids=[done])
    memory.values[trigger._store_key()] = json.dumps({"waiting": ["a b", done], "settled": 7})
    memory.values[PUBLISHING] = json.dumps({"a": [7]})
    async with running(trigger) as events:
        assert await next_ids(events) == [done]


# Airflow Variables


class Supervisor:
    """Stands for Airflow's supervisor of a triggerer, as on Airflow 3.1 and 3.2."""

    def __init__(self) -> None:
        self.variables: dict[str, str] = {}
        self.fault = ""
        self.fails = 0
        self.answered = 0
        self.lets_go = asyncio.Event()
        self.lets_go.set()

    async def asend(self, message: Any) -> Any:
        await self.lets_go.wait()
        self.answered += 1
        kind = type(message).__name__
        error = comms.ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail={"status_code": 500})
        if self.fails:
            self.fails -= 1
            if self.fault == "raised":
                raise AirflowRuntimeError(error)
            if self.fault == "answered":
                return error
            if self.fault == "not read" and kind != "GetVariable":
                return None
            return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
        if kind == "PutVariable":
            self.variables[message.key] = message.value
        elif kind == "DeleteVariable":
            del self.variables[message.key]
            return comms.OKResponse(ok=True)
        elif message.key not in self.variables:
            return comms.ErrorResponse(error=ErrorType.VARIABLE_NOT_FOUND)
        else:
            return comms.VariableResult(key=message.key, value=self.variables[message.key])
        return None


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    made = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", made, raising=False)
    return made


async def test_a_variable_is_read_and_written(supervisor: Supervisor) -> None:
    store = VariableStore()
    assert await store.get("a") is None
    await store.set("a", {"b": [1]})
    assert supervisor.variables == {"a": '{"b": [1]}'}
    assert await store.get("a") == {"b": [1]}
    await store.delete("a")
    assert supervisor.variables == {}


@pytest.mark.parametrize("text", ['{"settled": ["a"', "", "settled", "[" * 100_000])
async def test_a_variable_that_is_not_json_is_empty_with_one_warning(
    text: str, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.variables["tiw_announced_x"] = text
    state = Announced(VariableStore(), "tiw_announced_x")
    await state.load()
    assert len([r for r in caplog.records if ODD in r.getMessage()]) == 1
    assert "several assets" not in caplog.text
    # The state is still stored in the Variable.
    await state.wait_for(["b"])
    assert json.loads(supervisor.variables["tiw_announced_x"])["waiting"] == ["b"]


@pytest.mark.parametrize("fault", ["raised", "answered"])
async def test_a_failed_call_for_a_variable_is_an_error(fault: str, supervisor: Supervisor) -> None:
    store = VariableStore()
    supervisor.variables["a"] = "1"
    for call in (store.get("a"), store.set("a", 2), store.delete("a")):
        supervisor.fault, supervisor.fails = fault, 1
        with pytest.raises((OSError, AirflowRuntimeError)):
            await call
    assert supervisor.variables == {"a": "1"}


@pytest.mark.parametrize("fault", ["raised", "answered", "not read"])
async def test_a_failed_read_is_not_an_empty_state(
    fault: str, supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor.variables["tiw_announced_x"] = json.dumps(OLD)
    # One that cannot be read is reported three times as not found.
    supervisor.fault, supervisor.fails = fault, 6 if fault == "not read" else 2
    past = Announced(VariableStore(), "tiw_announced_x")
    await past.load()
    assert caplog.text.count("cannot be read yet") == 2
    assert past.is_settled("a")
    assert await past.wait_for(["a", "c"]) == ["b", "c"]
    found = json.loads(supervisor.variables["tiw_announced_x"])
    assert found == {**OLD, "waiting": ["b", "c"]}


async def test_a_failed_write_is_logged_and_repeated(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    state = Announced(VariableStore(), "tiw_announced_x")
    supervisor.fault, supervisor.fails = "raised", 1
    await state.wait_for(["a"])
    assert "cannot be stored yet" in caplog.text
    assert supervisor.variables == {}
    await state.wait_for(["a"])
    assert json.loads(supervisor.variables["tiw_announced_x"])["waiting"] == ["a"]


async def test_the_answer_to_a_cancelled_call_is_read(supervisor: Supervisor) -> None:
    supervisor.lets_go.clear()
    asking = asyncio.ensure_future(VariableStore().set("a", 1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking])
    assert asking.cancelled()
    supervisor.lets_go.set()
    async with asyncio.timeout(10):
        while _open_requests:
            await asyncio.sleep(0)
    assert supervisor.answered == 1
    assert supervisor.variables == {"a": "1"}


async def test_a_removed_watcher_finishes_reading_its_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow 3.1 asks its supervisor for it; an answer that is not read ends the triggerer."""
    asks, answers = asyncio.Event(), asyncio.Event()
    read: list[str] = []

    async def ask() -> None:
        asks.set()
        await answers.wait()
        read.append("the answer")

    def get_conn(_: TiwHook) -> None:
        async_to_sync(ask)()
        raise OSError("no connection")

    monkeypatch.setattr(TiwHook, "get_conn", get_conn)
    async with running(make(record_task_ids=["algebra"])) as events, next_of(events):
        await asyncio.wait_for(asks.wait(), 20)
    answers.set()
    await until(lambda: not _open_requests)
    assert read == ["the answer"]


# Airflow 3.3's own shared streams


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 has shared streams")
async def test_a_shared_feed_records_an_event_once_airflow_has_stored_it(
    chinese: Simulator, connect: Connect
) -> None:
    import structlog
    from airflow.triggers.shared_stream import SharedStreamManager

    connect(chinese, extra={"region": "ap-guangzhou"})
    manager = SharedStreamManager(
        log=structlog.get_logger(), max_subscriber_queue=64, ack_timeout=60, cohort_grace_period=0
    )
    memories = [Memory(), Memory()]
    made = [make(memory, asset_name=f"asset-{n}") for n, memory in enumerate(memories)]
    key = made[0].shared_stream_key()
    assert key == made[1].shared_stream_key()
    published: list[tuple[int, str]] = []
    sequence_numbers: list[int] = []

    async def drive(number: int) -> None:
        # As TriggerRunner.run_trigger does.
        stream = manager.subscribe(trigger_id=number, trigger=made[number], key=key)
        async for event in made[number].filter_shared_stream(stream):
            published.append((number, event.payload["record_task_id"]))
            bound = manager.bind_pending_event(trigger_id=number, key=key)
            assert bound is not None
            sequence_numbers.append(bound)

    tasks = [asyncio.create_task(drive(number)) for number in (0, 1)]
    try:
        chinese.add("algebra", timeline=TIMELINE)
        await until(lambda: len(published) == 2)
        # Several rounds.
        await asyncio.sleep(0.5)
        assert [memory.state()["settled"] for memory in memories] == [[], []]
        assert [memory.state()["waiting"] for memory in memories] == [["algebra"], ["algebra"]]
        manager.confirm_persisted(sequence_numbers)
        settled = [["algebra"], ["algebra"]]
        await until(lambda: [memory.state()["settled"] for memory in memories] == settled)
        assert sorted(published) == [(0, "algebra"), (1, "algebra")]
        # The same requests served both.
        assert chinese.requests_by_task["algebra"] <= 4
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for number in (0, 1):
            await manager.unsubscribe(number, key)
        await manager.stop_all()


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 has shared streams")
async def test_an_event_that_airflow_lost_is_not_recorded_as_stored() -> None:
    from airflow.triggers.shared_stream import AdvanceItem, AdvanceOutcome

    called: list[int] = []

    async def stored() -> None:
        called.append(1)

    feed = shared_feed.feed_of(
        tencentcloud_conn_id="x", sdk_app_id=None, poll_interval=1, discover=False
    )
    snapshot = shared_feed.Snapshot(feed, [stored])
    lost = AdvanceItem(snapshot, AdvanceOutcome(acked=1, failed=1, rejected=0))
    good = AdvanceItem(snapshot, AdvanceOutcome(acked=2, failed=0, rejected=0))
    producer = AcknowledgedFeed(feed)
    await producer.advance([lost])
    assert called == []
    await producer.advance([lost, good])
    assert called == [1]
