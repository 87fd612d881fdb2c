# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import http.server
import json
import logging
import pickle
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import asdict
from typing import Any

import pytest

from tiw_automation.core import (
    Acceptance,
    AuthFailure,
    BadAnswer,
    ConfigurationError,
    OnlineRecord,
    Outcome,
    Quota,
    RecordFailed,
    RecordWatcher,
    TaskNotFound,
    TiwClient,
    TiwError,
    Verdict,
    WaitTimeout,
)
from tiw_automation.core.waiting.poll_order import PollOrder
from tiw_automation.core.waiting.tracker import TrackedTask

APP = 1400000001
VIDEOS = [{"VideoUrl": "http://127.0.0.1/1.mp4", "VideoType": 0}]


def status(value: str | None, **more: Any) -> dict[str, Any]:
    return {"Status": value, **more} if value else dict(more)


def finished(**more: Any) -> dict[str, Any]:
    return status("FINISHED", FinishReason="AUTO", VideoInfos=VIDEOS, **more)


def error(code: str, message: str = "Sorry.") -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": message}}


class ScriptedApi:
    """Answers each recording from a list, and then repeats its last entry; counts the requests."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[dict[str, Any]]] = {}
        self.default = [finished()]
        self.asked: list[str] = []
        self.in_flight: Counter[str] = Counter()
        self.most_at_once = 0
        self.delay_s = 0.0
        self.gate: threading.Event | None = None
        self.lock = threading.Lock()
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True
            wbufsize = -1

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = api.answer(body["TaskId"])
                raw = json.dumps({"Response": {"RequestId": "r", **answer}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 64

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))

    def answer(self, task_id: str) -> dict[str, Any]:
        with self.lock:
            self.asked.append(task_id)
            self.in_flight[task_id] += 1
            self.most_at_once = max(self.most_at_once, self.in_flight[task_id])
            script = self.scripts.get(task_id, self.default)
            answer = script.pop(0) if len(script) > 1 else script[0]
        if self.gate is not None:
            self.gate.wait(10)
        time.sleep(self.delay_s)
        with self.lock:
            self.in_flight[task_id] -= 1
        return answer

    def client(self, **given: Any) -> TiwClient:
        settings = {
            "secret_id": f"AKID{self.server.server_port}",
            "secret_key": "keyexample",
            "sdk_app_id": APP,
            "endpoint": f"http://127.0.0.1:{self.server.server_port}",
            "requests_per_second": 500,
            "timeout": 5,
            **given,
        }
        return TiwClient(**settings)


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    scripted = ScriptedApi()
    scripted.thread.start()
    yield scripted
    if scripted.gate is not None:
        scripted.gate.set()
    scripted.server.shutdown()
    scripted.thread.join()
    scripted.server.server_close()


def watcher(api: ScriptedApi, **given: Any) -> RecordWatcher:
    return RecordWatcher(api.client(**given), jitter=lambda: 0.01)


async def test_a_slot_that_lies_in_the_past_is_used(
    api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes that share a pace have such slots; a second slot for one poll would be lost."""
    reserved: list[float] = []

    def reserve(quota: Quota) -> float:
        reserved.append(time.monotonic() - 0.15)
        return reserved[-1]

    monkeypatch.setattr(Quota, "reserve", reserve)
    api.scripts["a"] = [status("RECORDING"), finished()]
    await watcher(api).wait("a", poll_interval=0.01)
    assert len(reserved) == len(api.asked) == 2


async def test_a_finished_recording_costs_one_request(api: ScriptedApi) -> None:
    found = await watcher(api).wait("t", timeout=5)
    assert found.video_urls == ["http://127.0.0.1/1.mp4"]
    assert found.sdk_app_id == APP
    assert api.asked == ["t"]


async def test_a_wait_goes_through_all_states(
    api: ScriptedApi, caplog: pytest.LogCaptureFixture
) -> None:
    states = ["PREPARED", "RECORDING", "PAUSED", "PAUSED", "RECORDING", "STOPPED"]
    api.scripts["t"] = [*map(status, states), finished()]
    changes: list[str | None] = []
    with caplog.at_level(logging.INFO, "tiw_automation.core.waiting.progress"):
        outcomes = [
            outcome
            async for outcome in watcher(api).watch(
                ["t"],
                timeout=10,
                poll_interval=0.01,
                on_change=lambda seen: changes.append(seen.record.status if seen.record else None),
            )
        ]
    assert [outcome.verdict for outcome in outcomes] == [Verdict.FINISHED]
    assert changes == ["PREPARED", "RECORDING", "PAUSED", "RECORDING", "STOPPED", "FINISHED"]
    assert len(api.asked) == 7
    # One line for each change, none for an answer without news.
    assert len(caplog.records) == 6


async def test_every_kind_of_end_comes_out_of_one_watch(api: ScriptedApi) -> None:
    """I2."""
    api.scripts = {
        "exception": [{**finished(), "FinishReason": "EXCEPTION"}],
        "failed": [error("FailedOperation.Record", "code: 40004, msg: now, im login failed")],
        "missing": [error("InvalidParameter.TaskNotFound")],
        "refused": [error("UnauthorizedOperation.SdkAppId")],
        "endless": [status("RECORDING")],
    }
    ids = ["good", "exception", "failed", "missing", "refused", "endless"]
    outcomes = {
        outcome.task_id: outcome
        async for outcome in watcher(api).watch([*ids, "good"], timeout=1, poll_interval=0.2)
    }
    assert sorted(outcomes) == sorted(ids)
    verdicts = {task_id: outcome.verdict.value for task_id, outcome in outcomes.items()}
    assert verdicts == {
        "good": "finished",
        "exception": "failed",
        "failed": "failed",
        "missing": "missing",
        "refused": "unknown",
        "endless": "pending",
    }
    assert isinstance(outcomes["endless"].error, WaitTimeout)
    assert "last seen RECORDING" in outcomes["endless"].message
    assert outcomes["refused"].error is not None
    assert outcomes["refused"].error.code == "UnauthorizedOperation.SdkAppId"
    for outcome in outcomes.values():
        shown = outcome.to_dict()
        assert pickle.loads(pickle.dumps(outcome)).to_dict() == shown
        assert copy.deepcopy(outcome).to_dict() == shown
        assert asdict(outcome)["task_id"] == outcome.task_id
    asked = Counter(api.asked)
    assert [asked[task_id] for task_id in ids[:5]] == [1] * 5


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (error("FailedOperation.Record"), RecordFailed),
        (error("InvalidParameter.TaskNotFound"), TaskNotFound),
        (error("AuthFailure.SignatureFailure"), AuthFailure),
        (status("FINISHED", FinishReason="AUTO"), RecordFailed),
        (status("RECORDING"), WaitTimeout),
    ],
)
async def test_a_single_wait_raises(
    api: ScriptedApi, answer: dict[str, Any], raised: type[Exception]
) -> None:
    api.scripts["t"] = [answer]
    with pytest.raises(raised):
        await watcher(api).wait("t", timeout=0.3, poll_interval=0.1)


async def test_each_wait_has_its_own_acceptance_on_one_request(api: ScriptedApi) -> None:
    api.scripts["t"] = [status("RECORDING"), {**finished(), "FinishReason": "EXCEPTION"}]
    shared = watcher(api)
    lenient = Acceptance(accept_finish_reasons=("EXCEPTION",))
    strict: OnlineRecord | BaseException
    accepting: OnlineRecord | BaseException
    strict, accepting = await asyncio.gather(
        shared.wait("t", timeout=5, poll_interval=0.05),
        shared.wait("t", timeout=5, poll_interval=0.05, acceptance=lenient),
        return_exceptions=True,
    )
    assert isinstance(strict, RecordFailed)
    assert not isinstance(accepting, BaseException)
    assert len(api.asked) == 2


async def test_faults_on_the_way_delay_a_wait_and_do_not_end_it(api: ScriptedApi) -> None:
    """I2."""
    api.scripts["t"] = [
        error("RequestLimitExceeded"),
        error("InternalError"),
        {},
        error("ResourceUnavailable"),
        finished(),
    ]
    faulty = watcher(api)
    assert (await faulty.wait("t", timeout=10, poll_interval=0.01)).status == "FINISHED"
    assert faulty.stats().rejects == 1
    assert faulty.stats().errors == 4
    assert faulty.stats().waits == 0


async def test_answers_without_a_status_are_an_error_after_a_few_in_a_row(api: ScriptedApi) -> None:
    api.scripts["t"] = [{}]
    with pytest.raises(BadAnswer, match="without a Status"):
        await watcher(api).wait("t", timeout=20, poll_interval=0.01)
    assert len(api.asked) == 5


async def test_a_failing_recording_does_not_delay_the_others(api: ScriptedApi) -> None:
    """I6."""
    api.scripts["bad"] = [error("InternalError")]
    slow = RecordWatcher(api.client(), jitter=lambda: 1.0)
    ids = ["bad", *(f"t{n}" for n in range(20))]
    seen: dict[str, Outcome] = {}
    watched = slow.watch(ids, poll_interval=60, on_change=lambda o: seen.update({o.task_id: o}))
    async with asyncio.timeout(20), contextlib.aclosing(watched):
        outcomes = [await anext(watched) for _ in range(20)]
        last = asyncio.ensure_future(anext(watched))
        while "bad" not in seen:
            await asyncio.sleep(0.01)
        last.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await last
    assert all(outcome.verdict is Verdict.FINISHED for outcome in outcomes)
    assert Counter(api.asked)["bad"] == 1
    assert "InternalError" in seen["bad"].message


async def test_describe_polls_each_recording_once(api: ScriptedApi) -> None:
    api.scripts["t1"] = [status("RECORDING"), finished()]
    outcomes = {o.task_id: o async for o in watcher(api).describe(["t1", "t2", "t1"])}
    assert outcomes["t1"].verdict is Verdict.PENDING
    assert outcomes["t1"].error is None
    assert outcomes["t2"].verdict is Verdict.FINISHED
    assert sorted(api.asked) == ["t1", "t2"]


async def test_describe_retries_a_fault_a_few_times_only(api: ScriptedApi) -> None:
    api.scripts["t1"] = [error("InternalError"), status("RECORDING")]
    api.scripts["t2"] = [error("InternalError")]
    outcomes = {o.task_id: o async for o in watcher(api).describe(["t1", "t2"])}
    assert outcomes["t1"].verdict is Verdict.PENDING
    assert outcomes["t2"].verdict is Verdict.UNKNOWN
    assert Counter(api.asked) == {"t1": 2, "t2": 4}


async def test_one_request_in_flight_for_a_recording(api: ScriptedApi) -> None:
    """I4."""
    api.default = [status("RECORDING")]
    api.delay_s = 0.05
    busy = watcher(api)

    async def come_and_go(number: int) -> None:
        await asyncio.sleep(number * 0.007)
        with contextlib.suppress(WaitTimeout):
            await busy.wait("t", timeout=0.03, poll_interval=0.0)

    await asyncio.gather(*(come_and_go(number) for number in range(40)))
    assert len(api.asked) >= 2
    assert api.most_at_once == 1


async def test_the_pace_is_kept_and_no_recording_starves(api: ScriptedApi) -> None:
    """I1, I3."""
    api.default = [status("RECORDING")]
    paced = watcher(api, requests_per_second=100)
    ids = [f"t{n}" for n in range(20)]
    started = time.monotonic()
    outcomes = [o async for o in paced.watch(ids, timeout=1.0, poll_interval=0.0)]
    taken = time.monotonic() - started
    assert len(outcomes) == 20
    assert paced.polls <= 100 * taken + 2
    asked = Counter(api.asked)
    assert max(asked.values()) - min(asked.values()) <= 1


async def test_the_floor_between_two_requests(api: ScriptedApi) -> None:
    api.default = [status("RECORDING")]
    with pytest.raises(WaitTimeout):
        await watcher(api).wait("t", timeout=0.5, poll_interval=0.2)
    assert len(api.asked) <= 3


async def test_a_first_request_can_be_delayed(api: ScriptedApi) -> None:
    with pytest.raises(WaitTimeout, match="the quota had no slot for it yet"):
        await watcher(api).wait("t", timeout=0.1, initial_delay=5)
    assert api.asked == []


async def test_the_answer_to_a_request_in_flight_at_the_deadline_counts(api: ScriptedApi) -> None:
    """I5."""
    api.gate = threading.Event()
    opener = threading.Timer(0.6, api.gate.set)
    opener.start()
    found = await watcher(api).wait("t", timeout=0.2)
    opener.join()
    assert found.status == "FINISHED"


async def test_a_hint_polls_at_once_and_decides_nothing(api: ScriptedApi) -> None:
    """I10."""
    api.scripts["t"] = [status("RECORDING"), status("STOPPED"), finished()]
    hinted = watcher(api)
    waiting = asyncio.create_task(hinted.wait("t", timeout=20, poll_interval=60))
    for asked in (1, 2, 3):
        while len(api.asked) < asked:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        hinted.hint("t")
        hinted.hint("unknown")
    assert (await waiting).status == "FINISHED"
    assert len(api.asked) == 3


async def test_a_cancelled_wait_leaves_nothing_behind(api: ScriptedApi) -> None:
    """I8."""
    api.default = [status("RECORDING")]
    left = watcher(api)
    tasks = [asyncio.create_task(left.wait(f"t{n}")) for n in range(5)]
    while len(api.asked) < 5:
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for _ in range(200):
        if not any(task.get_name() == "tiw-watcher" for task in asyncio.all_tasks()):
            break
        await asyncio.sleep(0.01)
    assert left.stats().waits == 0
    assert not any(task.get_name() == "tiw-watcher" for task in asyncio.all_tasks())
    count = len(api.asked)
    await asyncio.sleep(0.1)
    assert len(api.asked) == count
    # It works on for the next one.
    api.default = [finished()]
    assert (await left.wait("again", timeout=5)).status == "FINISHED"


async def test_a_watch_that_is_closed_early_stops_polling(api: ScriptedApi) -> None:
    """I8."""
    api.scripts["slow"] = [status("RECORDING")]
    closed = watcher(api)
    outcomes = closed.watch(["quick", "slow"], poll_interval=0.01)
    async with contextlib.aclosing(outcomes):
        assert (await anext(outcomes)).task_id == "quick"
    await asyncio.sleep(0.1)
    assert closed.stats().waits == 0


async def test_the_task_that_polls_has_no_context_of_the_first_wait(
    api: ScriptedApi,
) -> None:
    whose: contextvars.ContextVar[str] = contextvars.ContextVar("whose", default="none")
    seen: list[str] = []

    class Spy(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(whose.get())

    class SpyingOrder(PollOrder[TrackedTask]):
        def pop(self, now: float) -> TrackedTask | None:
            # The watcher's own task calls this.
            dispatched_for.append(whose.get())
            return super().pop(now)

    dispatched_for: list[str] = []
    spy = Spy()
    log = logging.getLogger("tiw_automation.core.waiting.progress")
    log.addHandler(spy)
    log.setLevel(logging.INFO)
    shared = RecordWatcher(api.client(), order=SpyingOrder)

    async def wait(name: str) -> None:
        whose.set(name)
        await shared.wait(name, timeout=5)

    try:
        await asyncio.gather(wait("one"), wait("two"))
    finally:
        log.removeHandler(spy)
        log.setLevel(logging.NOTSET)
    assert sorted(seen) == ["one", "two"]
    assert set(dispatched_for) == {"none"}


async def test_one_shared_watcher_for_equal_settings(api: ScriptedApi) -> None:
    first = RecordWatcher.shared(api.client())
    assert RecordWatcher.shared(api.client()) is first
    assert RecordWatcher.shared(api.client(requests_per_second=5)) is not first


def test_every_loop_has_its_own_watcher_and_all_share_the_quota(api: ScriptedApi) -> None:
    """I1, from several loops in threads at once."""
    results: list[int] = []

    async def work(name: str) -> None:
        shared = RecordWatcher.shared(api.client(requests_per_second=50))
        outcomes = [o async for o in shared.watch([f"{name}{n}" for n in range(20)], timeout=30)]
        results.append(sum(o.verdict is Verdict.FINISHED for o in outcomes))

    started = time.monotonic()
    threads = [threading.Thread(target=lambda n=n: asyncio.run(work(f"w{n}-"))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [20, 20, 20]
    # 60 requests at 50 a second cannot be through sooner, however many loops share them.
    assert time.monotonic() - started >= 59 / 50 - 0.05


@pytest.mark.parametrize(
    "call",
    [
        lambda w: w.watch([]),
        lambda w: w.watch([" "]),
        lambda w: w.watch([3]),
        lambda w: w.watch(["t"], timeout=-1),
        lambda w: w.watch(["t"], poll_interval="5"),
        lambda w: w.watch(["t"], initial_delay=float("nan")),
        lambda w: w.watch(["t"], sdk_app_id=0),
        lambda w: w.describe(None),
    ],
)
async def test_bad_arguments_are_refused_before_anything_is_sent(
    api: ScriptedApi, call: Callable[[RecordWatcher], object]
) -> None:
    with pytest.raises(ConfigurationError):
        call(watcher(api))
    assert api.asked == []


async def test_an_error_of_the_watcher_itself_ends_every_wait(api: ScriptedApi) -> None:
    class BrokenOrder(PollOrder[TrackedTask]):
        def pop(self, now: float) -> TrackedTask | None:
            raise RuntimeError("broken order")

    broken = RecordWatcher(api.client(), order=BrokenOrder)
    outcomes: list[Outcome] = [o async for o in broken.watch(["a", "b"], timeout=20)]
    assert all("broken order" in o.message for o in outcomes)
    assert len(outcomes) == 2


class TimeLimit(BaseException):
    """Raised by a signal handler, at any point of the loop."""


class InterruptedOrder(PollOrder[TrackedTask]):
    """Raises once, in one of the steps of the dispatcher."""

    where = "pop"
    what: type[BaseException] | None = TimeLimit

    @classmethod
    def interrupt(cls, where: str) -> None:
        mine, what = InterruptedOrder, InterruptedOrder.what
        if where == mine.where and what is not None:
            mine.what = None
            raise what("too late")

    def pop(self, now: float) -> TrackedTask | None:
        found = super().pop(now)
        self.interrupt("pop")
        return found

    def answered(self, *args: Any, **more: Any) -> None:
        self.interrupt("answered")
        super().answered(*args, **more)


def interrupted(
    api: ScriptedApi, monkeypatch: pytest.MonkeyPatch, where: str, what: type[BaseException]
) -> RecordWatcher:
    monkeypatch.setattr(InterruptedOrder, "where", where)
    monkeypatch.setattr(InterruptedOrder, "what", what)
    return RecordWatcher(api.client(), order=InterruptedOrder)


async def _all_of(outcomes: AsyncIterator[Outcome]) -> list[Outcome]:
    return [outcome async for outcome in outcomes]


@pytest.mark.parametrize("where", ["pop", "answered"])
@pytest.mark.parametrize("what", [TimeLimit, RuntimeError])
async def test_an_interruption_of_the_watcher_ends_every_wait(
    api: ScriptedApi, monkeypatch: pytest.MonkeyPatch, where: str, what: type[BaseException]
) -> None:
    mine = interrupted(api, monkeypatch, where, what)
    api.default = [status("RECORDING")]
    async with asyncio.timeout(20):
        ends = await asyncio.gather(
            mine.wait("a"),
            mine.wait("a", timeout=60),
            _all_of(mine.watch(["a", "b"], timeout=60)),
            _all_of(mine.watch("c")),
            return_exceptions=True,
        )
        if what is TimeLimit:
            assert [type(end) for end in ends] == [TimeLimit] * 4
        else:
            assert [type(end) for end in ends] == [TiwError, TiwError, list, list]
            assert all("RuntimeError('too late')" in str(end) for end in ends[:2])
            assert all("too late" in o.message for end in ends[2:] for o in end)
        api.default = [finished()]
        # All requests in flight are ignored, and the next waits are polled.
        found = [(await mine.wait(task_id, timeout=60)).task_id for task_id in "abc"]
    assert found == ["a", "b", "c"]
    assert mine.stats().waits == 0
    async with asyncio.timeout(20):
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0)


def test_an_interrupt_from_the_keyboard_leaves_the_loop_once(
    api: ScriptedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ("pop", "answered"):
        mine = interrupted(api, monkeypatch, where, KeyboardInterrupt)
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            waiting = loop.create_task(mine.wait("t"))
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(asyncio.wait([waiting], timeout=20))
            with pytest.raises(TiwError, match="KeyboardInterrupt"):
                loop.run_until_complete(asyncio.wait_for(waiting, 20))
            assert loop.run_until_complete(mine.wait("t", timeout=20)).status == "FINISHED"


async def test_any_error_of_a_request_in_its_thread_ends_one_wait(api: ScriptedApi) -> None:
    class Panicking(TiwClient):
        def describe_task(self, task_kind: str, task_id: str, *args: Any, **more: Any) -> Any:
            if task_id == "panic":
                raise TimeLimit("in a thread")
            return super().describe_task(task_kind, task_id, *args, **more)

    client = Panicking(
        secret_id="AKID",
        secret_key="keyexample",
        sdk_app_id=APP,
        endpoint=f"http://127.0.0.1:{api.server.server_port}",
        requests_per_second=500,
    )
    mine = RecordWatcher(client)
    async with asyncio.timeout(20):
        ends = await _all_of(mine.watch(["panic", "t"]))
    assert {end.task_id: end.verdict.value for end in ends} == {"panic": "unknown", "t": "finished"}
    assert any("in a thread" in end.message for end in ends)


async def test_a_single_wait_is_a_coroutine(api: ScriptedApi) -> None:
    mine = watcher(api)

    async def within() -> OnlineRecord:
        return await mine.wait("within")

    async with asyncio.TaskGroup() as group:
        grouped = group.create_task(mine.wait("grouped"))
    found = [
        await within(),
        grouped.result(),
        *await asyncio.gather(mine.wait("gathered"), mine.wait("gathered")),
        await asyncio.wait_for(mine.wait("waited-for"), 5),
    ]
    assert [record.task_id for record in found] == [
        "within",
        "grouped",
        "gathered",
        "gathered",
        "waited-for",
    ]
    wait = mine.wait("twice")
    assert (await wait).status == "FINISHED"
    with pytest.raises(RuntimeError, match="already awaited"):
        await wait


def test_a_single_wait_can_be_run_by_asyncio(api: ScriptedApi) -> None:
    assert asyncio.run(watcher(api).wait("t", timeout=5)).status == "FINISHED"


async def test_a_single_wait_that_is_never_awaited_causes_a_warning(api: ScriptedApi) -> None:
    mine = watcher(api)
    forgotten = [mine.wait("t")]
    with pytest.warns(RuntimeWarning, match="never awaited"):
        forgotten.clear()
    assert api.asked == []
    # One that is closed, or whose task was cancelled before it ran, was not forgotten.
    mine.wait("t").close()
    task = asyncio.create_task(mine.wait("t"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert mine.stats().waits == 0


async def test_progress_does_not_count_a_wait_that_gave_up(api: ScriptedApi) -> None:
    api.scripts["vague"] = [status(None)]
    api.scripts["slow"] = [status("RECORDING"), *[status(None)] * 4, status("RECORDING")]
    reported: list[Any] = []
    outcomes = watcher(api).watch(
        ["vague", "slow"], poll_interval=0.05, timeout=5, on_progress=reported.append
    )
    async with contextlib.aclosing(outcomes):
        assert (await anext(outcomes)).task_id == "vague"
        api.scripts["slow"] = [status("PAUSED")]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(anext(outcomes), 1)
    assert reported[-1].waiting == 1
    assert reported[-1].statuses == {"PAUSED": 1}


async def test_a_single_wait_is_awaited_by_one_task(api: ScriptedApi) -> None:
    wait = watcher(api).wait("t", initial_delay=0.05)

    async def awaiting() -> OnlineRecord:
        return await wait

    first = asyncio.create_task(awaiting())
    await asyncio.sleep(0)
    with pytest.raises(RuntimeError, match="awaited already"):
        await awaiting()
    assert (await asyncio.wait_for(first, 5)).task_id == "t"


async def test_a_single_wait_keeps_the_message_of_its_cancellation_and_can_be_shielded(
    api: ScriptedApi,
) -> None:
    """I8."""
    api.default = [status("RECORDING")]
    mine = watcher(api)
    shielded = asyncio.create_task(mine.wait("shielded", poll_interval=0.05))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(shielded), 0.2)
    assert mine.stats().waits == 1
    shielded.cancel("because")
    with pytest.raises(asyncio.CancelledError, match="because"):
        await shielded
    api.default = [finished()]

    async def stubborn() -> OnlineRecord:
        with contextlib.suppress(asyncio.CancelledError):
            await mine.wait("first", initial_delay=60)
        return await mine.wait("second")

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0.05)
    task.cancel()
    assert (await task).task_id == "second"


async def test_thousands_of_single_waits_can_begin_and_be_cancelled_at_once(
    api: ScriptedApi,
) -> None:
    """I2, I8."""
    api.default = [status("RECORDING")]
    mine = watcher(api, requests_per_second=5)
    tasks = [asyncio.create_task(mine.wait(f"t{n}")) for n in range(2000)]
    # Some are cancelled before they begin.
    for task in tasks[1500:]:
        task.cancel()
    await asyncio.sleep(0.1)
    assert mine.stats().waits == 1500
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert mine.stats().waits <= 16
    api.default = [finished()]
    assert (await mine.wait("again")).status == "FINISHED"
    assert mine.stats().waits <= 16
