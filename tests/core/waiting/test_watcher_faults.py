# SPDX-License-Identifier: Apache-2.0
"""Waits over a real network connection with faults; I12, and what a user sees."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import gc
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    Outcome,
    RecordWatcher,
    ServerError,
    TiwClient,
    TiwError,
    Verdict,
    WaitTimeout,
    hints,
)
from tiw_automation.core.api.running_tasks import RunningTask
from tiw_automation.core.quota import quota as quota_module
from tiw_automation.core.waiting import running_list as hints_module
from tiw_automation.core.waiting.poll_order import PollOrder, Stage
from tiw_automation.core.waiting.progress import Progress
from tiw_automation.core.waiting.stats import WatcherStats
from tiw_automation.core.waiting.threads import CALL_THREADS, CallThreads
from tiw_automation.core.waiting.tracker import Caller, Terms, Tracker
from tiw_automation.simulator import Simulator

LENIENT = Acceptance(require_videos=False)
RECORDING = [{"RECORDING": 100_000}]


@pytest.fixture
def api() -> Iterator[Simulator]:
    with Simulator(limit=0) as simulator:
        yield simulator


def client(api: Simulator, **given: Any) -> TiwClient:
    settings = {**api.settings(), "requests_per_second": 200, "timeout": 1.0}
    # Each test has a separate quota.
    identity = f"AKIDtest{os.getpid()}{id(api)}"
    api.add_account(identity, settings["secret_key"])
    return TiwClient(**{**settings, "secret_id": identity, **given})


def watcher(api: Simulator, **given: Any) -> RecordWatcher:
    return RecordWatcher(client(api, **given), jitter=lambda: 0.05)


FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("slow", {"delay": 0.1, "jitter": 0.08, "times": 40}),
    ("hang", {"times": 3}),
    ("reset", {"times": 8}),
    ("answer_lost", {"times": 8}),
    ("truncated", {"times": 8}),
    ("html_502", {"times": 8}),
    ("json_500", {"times": 8}),
    ("bad_json", {"times": 8}),
    ("request_id_only", {"times": 3}),
    ("throttle", {"times": 20}),
    ("drip", {"times": 2}),
    ("server_error", {"times": 8}),
]


@pytest.mark.parametrize(("fault", "options"), FAULTS, ids=[name for name, _ in FAULTS])
async def test_every_wait_survives_a_fault_on_the_way(
    api: Simulator, fault: str, options: dict[str, Any]
) -> None:
    """I2."""
    task_ids = api.add_finished(30)
    api.inject(fault, **options)
    found = watcher(api).watch(task_ids, timeout=40, poll_interval=0.05)
    outcomes = [outcome async for outcome in found]
    assert sorted(outcome.task_id for outcome in outcomes) == task_ids
    assert {outcome.verdict for outcome in outcomes} == {Verdict.FINISHED}


async def test_all_faults_at_once(api: Simulator) -> None:
    """I2."""
    task_ids = api.add_finished(60)
    for fault, options in FAULTS:
        if fault not in ("hang", "drip", "request_id_only"):
            api.inject(fault, **{**options, "times": 200, "probability": 0.05})
    found = watcher(api).watch(task_ids, timeout=50, poll_interval=0.05)
    assert [outcome.verdict async for outcome in found] == [Verdict.FINISHED] * 60


async def test_an_outage_keeps_all_waits_and_few_requests_are_sent(api: Simulator) -> None:
    """I11."""
    task_ids = [api.add(f"t{n}", timeline=RECORDING) for n in range(100)]
    patient = RecordWatcher(client(api))
    waiting = asyncio.create_task(
        _collect(patient, task_ids, timeout=60, poll_interval=0.1, acceptance=LENIENT)
    )
    while patient.polls < 100:
        await asyncio.sleep(0.01)
    api.fault = "outage"
    await asyncio.sleep(1)
    before = patient.polls
    await asyncio.sleep(4)
    assert patient.polls - before < 25
    assert patient.stats().waits == 100
    api.fault = None
    api.advance(200_000)
    outcomes = await waiting
    assert {outcome.verdict for outcome in outcomes} == {Verdict.FINISHED}


async def _collect(waits: RecordWatcher, task_ids: list[str], **given: Any) -> list[Outcome]:
    return [outcome async for outcome in waits.watch(task_ids, **given)]


async def test_a_hung_request_delays_no_other_one(api: Simulator) -> None:
    """I6."""
    task_ids = api.add_finished(20)
    api.inject("hang", task_id=task_ids[0])
    started = time.monotonic()
    arrived = {}
    waits = watcher(api, timeout=3.0)
    found = waits.watch(task_ids, timeout=2.5, poll_interval=0.05)
    async with contextlib.aclosing(found):
        async for outcome in found:
            arrived[outcome.task_id] = time.monotonic() - started
            if len(arrived) == 19:
                break
    assert task_ids[0] not in arrived
    assert max(arrived.values()) < 2.0


async def test_no_secret_and_no_query_string_is_logged_or_shown(
    api: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """I12."""
    caplog.set_level(logging.DEBUG, logger="tiw_automation")
    task_ids = api.add_finished(5)
    for fault in ("reset", "html_502", "truncated", "bad_json", "throttle", "request_id_only"):
        api.inject(fault, times=2)
    api.inject("hang", times=1)
    waits = watcher(api)
    outcomes = await _collect(waits, [*task_ids, "unknown"], timeout=20, poll_interval=0.05)
    shown = " ".join([caplog.text, repr(waits), repr(waits.client), repr(waits.stats())])
    shown += " ".join(outcome.message + repr(outcome.error) for outcome in outcomes)
    assert api.secret_key not in shown
    assert "Signature=" not in shown
    assert "http://" not in shown.replace(api.endpoint, "")
    assert "?" not in shown


async def test_the_server_s_window_is_never_over_the_limit() -> None:
    """I1."""
    with Simulator() as strict:
        task_ids = [strict.add(f"t{n}", timeline=RECORDING) for n in range(60)]
        strict.inject("slow", delay=0.05, jitter=0.02)
        waits = watcher(strict, requests_per_second=19)
        outcomes = await _collect(waits, task_ids, timeout=4.0, poll_interval=0.05)
        assert len(outcomes) == 60
        assert strict.max_in_window <= 20
        assert strict.rejects == 0
        assert waits.polls > 19 * 3


async def test_loops_in_threads_live_side_by_side(api: Simulator) -> None:
    """I1, I2: several loops and threads at once."""
    task_ids = api.add_finished(90)
    account = client(api, requests_per_second=100)
    results: dict[int, list[Outcome]] = {}

    def work(number: int) -> None:
        async def run() -> list[Outcome]:
            mine = task_ids[number::3]
            return await _collect(RecordWatcher.shared(account), mine, timeout=20)

        results[number] = asyncio.run(run())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert sum(len(outcomes) for outcomes in results.values()) == 90
    assert time.monotonic() - started >= 89 / 100 - 0.1


async def test_a_watcher_belongs_to_one_loop(api: Simulator) -> None:
    (task_id,) = api.add_finished(1)
    mine = watcher(api)
    assert (await mine.wait(task_id, timeout=5)).status == "FINISHED"

    def elsewhere() -> str:
        with pytest.raises(ConfigurationError, match="another event loop") as caught:
            asyncio.run(mine.wait(task_id, timeout=5))
        return str(caught.value)

    assert "shared" in await asyncio.to_thread(elsewhere)


def test_a_watcher_goes_on_in_a_new_loop_when_its_own_is_closed(api: Simulator) -> None:
    task_ids = api.add_finished(2)
    mine = watcher(api)
    for task_id in task_ids:
        assert asyncio.run(mine.wait(task_id, timeout=5)).status == "FINISHED"


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
async def test_a_fork_in_the_middle_of_waits(api: Simulator) -> None:
    """I2, I8: the child has none of them, the parent loses none."""
    slow = [api.add(f"slow{n}", timeline=RECORDING) for n in range(20)]
    (quick,) = api.add_finished(1)
    mine = watcher(api)
    waiting = asyncio.create_task(
        _collect(mine, slow, timeout=60, poll_interval=0.05, acceptance=LENIENT)
    )
    while mine.polls < 40:
        await asyncio.sleep(0.01)
    child = os.fork()
    if child == 0:
        # A child as multiprocessing makes it: the parent's loop does not run in it.
        code = 3
        try:
            asyncio._set_running_loop(None)
            fresh = RecordWatcher(mine.client)
            assert asyncio.run(mine.wait(quick, timeout=5)).status == "FINISHED"
            assert asyncio.run(fresh.wait(quick, timeout=5)).status == "FINISHED"
            code = 0 if mine.stats().waits == 0 else 4
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    before = mine.polls
    await asyncio.sleep(0.5)
    assert mine.polls > before
    api.advance(200_000)
    assert {outcome.verdict for outcome in await waiting} == {Verdict.FINISHED}


async def test_a_hint_from_another_thread(api: Simulator) -> None:
    task_id = api.add("t", timeline=RECORDING)
    mine = watcher(api)
    waiting = asyncio.create_task(
        mine.wait(task_id, timeout=30, poll_interval=25, acceptance=LENIENT)
    )
    while mine.polls < 1:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    api.advance(200_000)
    threading.Thread(target=RecordWatcher.hint_all, args=(task_id,)).start()
    started = time.monotonic()
    assert (await waiting).status == "FINISHED"
    assert time.monotonic() - started < 5


async def test_a_stop_by_this_process_is_a_hint_for_its_waits(api: Simulator) -> None:
    task_id = api.add("t", timeline=RECORDING)
    mine = watcher(api)
    waiting = asyncio.create_task(mine.wait(task_id, timeout=60, acceptance=LENIENT))
    while mine.polls < 1 or mine.stats().errors:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    (task,) = mine._dispatchers["online_record"].tracker.tasks
    assert task.stage is Stage.ACTIVE
    assert await asyncio.to_thread(mine.client.stop_online_record, task_id)
    await asyncio.sleep(0.1)
    # It rests, and counts as STOPPED from its next poll on.
    assert task.stop_at is not None or int(task.stage) == Stage.STOPPED
    api.advance(100)
    assert (await waiting).status == "FINISHED"


@pytest.mark.parametrize("stop", [float("nan"), -5, "soon", True, 1e300])
async def test_an_invalid_hint_is_refused(api: Simulator, stop: Any) -> None:
    mine = watcher(api)
    with pytest.raises(ConfigurationError, match="expected_stop"):
        mine.hint("t", expected_stop=stop)
    with pytest.raises(ConfigurationError, match="expected_stop"):
        mine.watch("t", expected_stop=stop)
    with pytest.raises(ConfigurationError, match="expected_stop"):
        await mine.wait("t", expected_stop=stop)
    with pytest.raises(ConfigurationError, match="other"):
        mine.watch("t", expected_stop={"other": time.time()})


async def test_an_expected_stop_never_hides_the_truth(api: Simulator) -> None:
    """I10."""
    (task_id,) = api.add_finished(1)
    found = await watcher(api).wait(task_id, timeout=10, expected_stop=time.time() + 9999)
    assert found.status == "FINISHED"


async def test_progress_is_reported_at_every_change(api: Simulator) -> None:
    api.add("short", timeline=[{"RECORDING": 5}, {"STOPPED": 5}], videos=[])
    api.add("long", timeline=RECORDING, videos=[])
    reported: list[Progress] = []
    mine = watcher(api)
    waiting = asyncio.create_task(
        _collect(
            mine,
            ["short", "long"],
            timeout=20,
            poll_interval=0.05,
            acceptance=LENIENT,
            on_progress=reported.append,
        )
    )
    for seconds in (7, 7, 200_000):
        await asyncio.sleep(0.4)
        api.advance(seconds)
    await waiting
    seen = [dict(progress.statuses) for progress in reported]
    assert {"RECORDING": 2} in seen
    assert {"RECORDING": 1, "STOPPED": 1} in seen
    assert seen[-1] == {}
    assert (reported[0].total, reported[-1].waiting) == (2, 0)
    assert "1 RECORDING, 1 STOPPED" in str(reported[seen.index({"RECORDING": 1, "STOPPED": 1})])


async def test_a_heartbeat_shows_that_a_wait_goes_on(
    api: Simulator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiw_automation.core.waiting.tracker._HEARTBEAT_S", 0.3)
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="none")
    beats: list[str] = []

    class Spy(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("Still waiting"):
                beats.append(whose.get())

    spy = Spy()
    log = logging.getLogger("tiw_automation.core.waiting.progress")
    log.addHandler(spy)
    caplog.set_level(logging.INFO)
    api.add("t", timeline=RECORDING)

    async def wait(name: str) -> None:
        whose.set(name)
        with pytest.raises(WaitTimeout):
            await mine.wait("t", timeout=0.75, poll_interval=0.1)

    mine = watcher(api)
    try:
        await asyncio.gather(wait("one"), wait("two"))
    finally:
        log.removeHandler(spy)
    assert sorted(beats) == ["one", "one", "two", "two"]
    assert "Still waiting for 1 of 1 recordings after" in caplog.text


async def test_stats_are_reported(api: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiw_automation.core.metrics.EVERY_S", 0.2)
    for number in range(20):
        api.add(f"t{number}", timeline=RECORDING)
    emitted: list[WatcherStats] = []
    mine = watcher(api, requests_per_second=50)
    mine.on_stats = emitted.append
    await _collect(mine, [f"t{n}" for n in range(20)], timeout=1.5, poll_interval=0.05)
    assert len(emitted) >= 5
    last = emitted[-1]
    assert last.waits == 20
    assert 30 < last.polls <= 80
    assert 3 < last.rate < 8
    assert 0.0 < last.oldest_unpolled_s < 2.0
    assert (last.rejects, last.errors) == (0, 0)


async def test_recordings_on_the_running_list_are_polled_rarely(
    api: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hints_module, "WORTH_IT", 30)
    monkeypatch.setattr(hints_module, "_PAUSE_S", 0.2)
    ids = [api.add(f"t{n}", timeline=RECORDING) for n in range(60)]
    api.add("ending", timeline=[{"RECORDING": 500}, {"STOPPED": 1}])
    # Only the Chinese site has the list.
    mine = watcher(api, requests_per_second=40, region="ap-guangzhou")
    waiting = asyncio.create_task(
        _collect(mine, ids, timeout=60, poll_interval=0.05, acceptance=LENIENT)
    )
    ending = asyncio.create_task(mine.wait("ending", timeout=30, acceptance=LENIENT))
    await asyncio.sleep(2.5)
    before = mine.polls
    await asyncio.sleep(1.0)
    # Those on the list have safety polls only: 5 % of 40 a second.
    assert mine.polls - before <= 6
    api.advance(1000)
    assert (await ending).status == "FINISHED"
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert api.requests["DescribeRunningTasks"] >= 3


@pytest.mark.parametrize("code", ["InvalidParameter.ActionNotFound", "UnauthorizedOperation"])
async def test_without_the_running_list_all_waits_are_polled(
    api: Simulator, monkeypatch: pytest.MonkeyPatch, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hints_module, "WORTH_IT", 30)
    monkeypatch.setattr(hints_module, "_PAUSE_S", 0.1)
    caplog.set_level(logging.INFO)
    api.inject("server_error", action="DescribeRunningTasks", code=code)
    ids = [api.add(f"t{n}", timeline=RECORDING) for n in range(60)]
    mine = watcher(api, region="ap-guangzhou")
    await _collect(mine, ids, timeout=2, poll_interval=0.05)
    assert api.faults[0]["hits"] == 1
    assert mine.polls > 100
    assert "list" not in caplog.text


async def test_thousands_of_waits_begin_and_time_out_in_many_iterations_of_the_loop(
    api: Simulator,
) -> None:
    ids = [f"t{n}" for n in range(5000)]
    mine = watcher(api, requests_per_second=5)
    waits: list[int] = []

    async def look() -> None:
        while True:
            waits.append(mine.stats().waits)
            await asyncio.sleep(0)

    async def steps(work: asyncio.Task[Any], until: int) -> list[int]:
        waits.clear()
        looking = asyncio.create_task(look())
        while abs(mine.stats().waits - until) > 10:
            await asyncio.sleep(0)
        looking.cancel()
        return [abs(b - a) for a, b in itertools.pairwise(waits)]

    waiting = asyncio.create_task(_collect(mine, ids, timeout=2.0))
    assert max(await steps(waiting, 5000)) <= 500
    assert max(await steps(waiting, 0)) <= 500
    assert len(await waiting) == 5000

    cancelled = asyncio.create_task(_collect(mine, ids, timeout=100.0))
    await steps(cancelled, 5000)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    await asyncio.sleep(0.2)
    assert mine.stats().waits == 0


# One fault, one wait: D of the field notes.


def broken(_: Any) -> None:
    raise ValueError("this observer is broken")


async def test_observers_that_raise_end_no_wait_and_are_logged_once(
    api: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    task_ids = api.add_finished(20)
    waits = watcher(api)
    waits.on_stats = broken
    outcomes = await _collect(waits, task_ids, timeout=20, on_change=broken, on_progress=broken)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.FINISHED] * 20
    await waits.wait(task_ids[0], on_change=broken, on_progress=broken)
    errors = [r for r in caplog.records if r.levelno == logging.ERROR and r.exc_info]
    # Each of the two calls has two observers, and the watcher has one.
    assert sorted(r.getMessage().partition(" ")[0] for r in errors) == [
        *["on_change"] * 2,
        *["on_progress"] * 2,
        "on_stats",
    ]
    assert waits.stats().waits == 0


@pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit])
async def test_an_observer_that_reads_a_cancelled_future_ends_no_wait(
    error: type[BaseException], api: Simulator
) -> None:
    def broken(_: object) -> None:
        raise error

    task_ids = api.add_finished(3)
    waits = watcher(api)
    waits.on_stats = broken
    outcomes = await _collect(waits, task_ids, timeout=20, on_change=broken, on_progress=broken)
    assert [outcome.verdict for outcome in outcomes] == [Verdict.FINISHED] * 3
    await waits.wait(task_ids[0], timeout=20, on_change=broken, on_progress=broken)


async def test_a_watcher_whose_task_is_cancelled_ends_its_waits(api: Simulator) -> None:
    api.add("recording", timeline=RECORDING)
    waits = watcher(api)
    waiting = asyncio.create_task(waits.wait("recording"))
    await asyncio.sleep(0.2)
    (dispatcher,) = [task for task in asyncio.all_tasks() if task.get_name() == "tiw-watcher"]
    dispatcher.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(TiwError, match="was cancelled"):
            await waiting
        # The next one begins anew.
        await waits.wait(api.add("finished", timeline=[]))


@pytest.mark.parametrize("given", [["recording"], {}, None, 7], ids=repr)
async def test_a_hint_with_an_invalid_task_id_ends_no_wait(given: Any, api: Simulator) -> None:
    api.add("recording", timeline=RECORDING)
    waits = watcher(api)
    waiting = asyncio.create_task(_collect(waits, ["recording"], timeout=1.0))
    await asyncio.sleep(0.2)
    for hint in (waits.hint, RecordWatcher.hint_all):
        with pytest.raises(ConfigurationError, match="A task id must be a string"):
            await asyncio.to_thread(hint, given)
        with pytest.raises(ConfigurationError, match="A task id must be a string"):
            hint(given)
    assert [type(outcome.error) for outcome in await waiting] == [WaitTimeout]


@pytest.mark.parametrize("huge", [10**400, 10**5000], ids=["10**400", "10**5000"])
@pytest.mark.parametrize("name", ["timeout", "poll_interval", "initial_delay", "expected_stop"])
async def test_an_integer_beyond_every_float_is_refused(
    name: str, huge: int, api: Simulator
) -> None:
    waits = watcher(api)
    option: dict[str, Any] = {name: huge}
    with pytest.raises(ConfigurationError, match=name):
        _ = waits.wait("recording", **option)
    with pytest.raises(ConfigurationError, match=name):
        waits.watch(["recording"], **option)


async def test_a_short_lack_of_threads_ends_no_wait(
    api: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_ids = api.add_finished(100)
    refused: list[threading.Thread] = []
    start = threading.Thread.start

    def no_thread(thread: threading.Thread) -> None:
        if thread.name == "tiw-call" and len(refused) < 5:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    waits = watcher(api)
    # Those of the process have idle threads, from other tests.
    waits._threads = CallThreads(16)
    outcomes = await _collect(waits, task_ids, timeout=20, poll_interval=0.05)
    assert len(refused) == 5
    assert {outcome.verdict for outcome in outcomes} == {Verdict.FINISHED}


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "too many open files"), MemoryError()], ids=["EMFILE", "memory"]
)
async def test_a_short_lack_of_resources_delays_one_poll(
    api: Simulator, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    task_ids = api.add_finished(30)
    waits = watcher(api)
    describe = waits.client.describe_online_record
    left = [error] * 5

    def poor(*given: Any, **named: Any) -> Any:
        if left:
            raise left.pop()
        return describe(*given, **named)

    monkeypatch.setattr(waits.client, "describe_online_record", poor)
    outcomes = await _collect(waits, task_ids, timeout=20, poll_interval=0.05)
    assert {outcome.verdict for outcome in outcomes} == {Verdict.FINISHED}


async def test_a_running_list_without_a_thread_is_read_later(
    api: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker = Tracker(PollOrder(), lambda: 0.5, time.time)
    hints = hints_module.RunningHints(client(api), tracker)
    threads = CallThreads(1)

    def no_thread(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    answer = await hints._read(1400000001, threads)
    assert isinstance(answer, TiwError)
    assert answer.retryable
    hints._refused(1400000001, answer)
    assert not hints._off


def test_recordings_of_a_list_that_lags_count_as_not_listed_instead_of_stopped(
    api: Simulator,
) -> None:
    app_id = 1400000001
    tracker = Tracker(PollOrder(), lambda: 0.5, time.time)
    hints = hints_module.RunningHints(client(api), tracker)
    caller = Caller(Terms(LENIENT, 1.0, once=False), 0.0, None)
    now = time.monotonic()
    tracker.join(caller, (app_id, "t"), now, now)
    tracker.finished_at[app_id, "old"] = now - 60.0
    running = [
        RunningTask(app_id, task_id, "OnlineRecord", "PROCESSING", *[None] * 5)
        for task_id in ("t", "old")
    ]
    hints._apply(app_id, running, now)
    assert [task.listed for task in tracker.tasks] == [True]
    for _ in range(2):
        hints._apply(app_id, running, now)
    assert [task.listed for task in tracker.tasks] == [False]
    assert not tracker.order._leavers.pending
    assert app_id in hints._off


def test_a_running_list_that_cannot_be_read_for_a_minute_is_forgotten(
    api: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    app_id = 1400000001
    now = 1000.0
    clock = iter([now, now + 59.0, now + 61.0, *[now + 62.0] * 2])
    monkeypatch.setattr(hints_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    tracker = Tracker(PollOrder(), lambda: 0.5, time.time)
    hints = hints_module.RunningHints(client(api), tracker)
    caller = Caller(Terms(LENIENT, 1.0, once=False), now, None)
    tracker.join(caller, (app_id, "t"), now, now)
    running = [RunningTask(app_id, "t", "OnlineRecord", "RECORDING", *[None] * 5)]
    hints._apply(app_id, running, now)
    for listed in (True, False):
        hints._refused(app_id, ServerError("Sorry."))
        assert [task.listed for task in tracker.tasks] == [listed]
    assert not tracker.order._leavers.pending
    hints._apply(app_id, running, now)
    assert [task.listed for task in tracker.tasks] == [True]


def test_shared_watchers_leave_with_their_loop(api: Simulator) -> None:
    task_ids = api.add_finished(2)
    loops: list[weakref.ref[Any]] = []
    watchers: list[weakref.ref[Any]] = []

    async def one() -> None:
        loops.append(weakref.ref(asyncio.get_running_loop()))
        mine = RecordWatcher.shared(client(api))
        assert RecordWatcher.shared(mine.client) is mine
        watchers.append(weakref.ref(mine))
        assert len(await _collect(mine, task_ids, timeout=20)) == 2

    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(50):
        asyncio.run(one())
    deadline = time.monotonic() + 20
    # A thread refers to its last loop until it has passed on its answer.
    while any(ref() for ref in [*loops, *watchers]) and time.monotonic() < deadline:
        gc.collect()
        time.sleep(0.05)
    assert not any(ref() for ref in [*loops, *watchers])
    assert len(os.listdir("/proc/self/fd")) <= before + 4


def test_hints_while_watchers_come_and_go(api: Simulator) -> None:
    made = client(api)
    failures: list[BaseException] = []
    over = threading.Event()

    def come_and_go() -> None:
        while not over.is_set():
            kept = [RecordWatcher(made, running_list=False) for _ in range(20)]
            del kept

    def hint() -> None:
        try:
            for _ in range(3000):
                RecordWatcher.hint_all("lesson")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=come_and_go) for _ in range(2)]
    hinting = [threading.Thread(target=hint) for _ in range(2)]
    for thread in [*threads, *hinting]:
        thread.start()
    for thread in hinting:
        thread.join()
    over.set()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_is_forked_while_locks_are_held_works(api: Simulator) -> None:
    task_ids = api.add_finished(3)
    parents = watcher(api)
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        quota = parents.client.quota("DescribeOnlineRecord")
        with (
            hints._lock,
            CALL_THREADS._lock,
            quota._lock,
            quota_module._quotas_lock,
        ):
            inside.set()
            leave.wait(30)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            RecordWatcher.hint_all("lesson")
            mine = RecordWatcher(parents.client)
            outcomes = asyncio.run(_collect(mine, task_ids, timeout=20))
            again = asyncio.run(_collect(parents, task_ids, timeout=20))
            code = 0 if len(outcomes) == len(again) == 3 else 2
        os._exit(code)
    deadline = time.monotonic() + 30
    ended = 0
    while not ended and time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.05)
    if not ended:
        os.kill(child, 9)
        os.waitpid(child, 0)
    leave.set()
    holder.join()
    assert ended
    assert os.waitstatus_to_exitcode(status) == 0


async def test_waits_beside_a_flood_of_unconfirmed_ids(api: Simulator) -> None:
    """F3: the median delay is at most 1.5 times that without."""

    async def median_delay(flood: int) -> float:
        waits = RecordWatcher(client(api, requests_per_second=30), running_list=False)
        lessons = [f"lesson{n}beside{flood}" for n in range(100)]
        forged = [f"forged{n}" for n in range(flood)]
        for lesson in lessons:
            api.add(lesson, timeline=[{"RECORDING": 4.0}])
        for task_id in forged:
            api.add(task_id, timeline=[{"RECORDING": 100_000}])
        over_at = time.monotonic() + 4.0

        async def post() -> None:
            # After all lessons were polled, and before they end.
            await asyncio.sleep(3.8)
            if forged:
                await _collect(waits, forged, timeout=60, poll_interval=2.0, unconfirmed=True)

        posting = asyncio.create_task(post())
        delays = []
        found = waits.watch(lessons, timeout=60, poll_interval=1.0, acceptance=LENIENT)
        async for outcome in found:
            assert outcome.verdict is Verdict.FINISHED
            delays.append(time.monotonic() - over_at)
        posting.cancel()
        await asyncio.gather(posting, return_exceptions=True)
        return sorted(delays)[50]

    calm = await median_delay(0)
    assert await median_delay(300) <= 1.5 * calm


async def test_many_waits_do_not_block_the_loop(api: Simulator) -> None:
    """They begin, rest and time out in slices; the garbage collector is not measured."""
    waits = RecordWatcher(client(api, requests_per_second=19), running_list=False)
    longest = 0.0

    async def look() -> None:
        nonlocal longest
        while True:
            began = time.process_time()
            await asyncio.sleep(0)
            longest = max(longest, time.process_time() - began)

    ids = [f"t{n}" for n in range(60_000)]
    # The call itself checks the ids.
    outcomes = waits.watch(ids, timeout=6.0, initial_delay=0.5)
    gc.collect()
    gc.disable()
    try:
        looking = asyncio.create_task(look())
        seen = [outcome.verdict async for outcome in outcomes]
        looking.cancel()
    finally:
        gc.enable()
    assert len(seen) == 60_000
    assert longest < 0.1


FLOOD = """
import asyncio, json, sys, tempfile
from tiw_automation.core import RecordWatcher, TiwClient

given = json.loads(sys.stdin.readline())
tempfile.tempdir = given["folder"]

async def flood():
    waits = RecordWatcher(TiwClient(**given["settings"]), running_list=False)
    ids = [f"forged{n}" for n in range(300)]
    print("ready", flush=True)
    sys.stdin.readline()
    ends = waits.watch(ids, timeout=given["seconds"], poll_interval=2.0, unconfirmed=given["small"])
    async for _ in ends:
        pass
    print(waits.polls, flush=True)

asyncio.run(flood())
"""


async def test_waits_beside_a_flood_in_another_process(
    api: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """F3: an api-server with 300 posts costs a triggerer with 100 waits very little."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    mine = client(api, requests_per_second=30)
    settings = {**api.settings(), "requests_per_second": 30, "timeout": 1.0}
    settings["secret_id"] = mine.settings.credentials.identity
    for number in range(300):
        api.add(f"forged{number}", timeline=[{"RECORDING": 100_000}])
    given = {"settings": settings, "folder": str(tmp_path), "seconds": 14.0, "small": True}
    process = subprocess.Popen(
        [sys.executable, "-c", FLOOD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(given) + "\n")
        process.stdin.flush()
        assert await asyncio.to_thread(process.stdout.readline) == "ready\n"

        async def median_delay(flood: bool) -> float:
            waits = RecordWatcher(mine, running_list=False)
            lessons = [f"lesson{n}beside{flood}" for n in range(100)]
            for lesson in lessons:
                api.add(lesson, timeline=[{"RECORDING": 4.0}])
            over_at = time.monotonic() + 4.0
            if flood:
                print("go", file=process.stdin, flush=True)
            found = waits.watch(lessons, timeout=60, poll_interval=1.0, acceptance=LENIENT)
            delays = [time.monotonic() - over_at async for _ in found]
            return sorted(delays)[50]

        calm = await median_delay(flood=False)
        assert await median_delay(flood=True) <= 1.5 * calm
        # The flood is polled meanwhile.
        polls = int(await asyncio.to_thread(process.stdout.readline))
        assert polls > 14 * 30 / 10 * 0.5
    finally:
        process.kill()
        process.communicate()
