# SPDX-License-Identifier: Apache-2.0
"""The event source and the event filter, as ansible-rulebook loads them, without it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import runpy
import stat
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from aiohttp import web

from tiw_automation.core import ConfigurationError
from tiw_automation.core.api.callbacks import EventType, sign
from tiw_automation.core.api.options import SECRETS, SETTINGS
from tiw_automation.core.events.record_events import event_id, missing_id, transition_id
from tiw_automation.simulator import Simulator

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/tiw/automation"
PLUGINS = COLLECTION / "extensions/eda/plugins"
SOURCE = PLUGINS / "event_source/online_record.py"
FILTER = PLUGINS / "event_filter/online_record_callback.py"
KEY = "callback-key-callback-key"

Event = dict[str, Any]


@pytest.fixture
def chinese() -> Any:
    with Simulator(speed=10, region="ap-guangzhou") as simulator:
        yield simulator


class Running:
    """A source that runs, and the queue that it fills, which holds one event at a time."""

    def __init__(self, args: dict[str, Any]) -> None:
        self.queue: asyncio.Queue[Event] = asyncio.Queue(1)
        self.task = asyncio.create_task(runpy.run_path(str(SOURCE))["main"](self.queue, args))

    async def next(self) -> Event:
        """Return the next event."""
        getting = asyncio.create_task(self.queue.get())
        await asyncio.wait([getting, self.task], timeout=30, return_when="FIRST_COMPLETED")
        if not getting.done():
            getting.cancel()
            if self.task.done():
                self.task.result()
            raise AssertionError("no event")
        event = getting.result()
        assert json.loads(json.dumps(event)) == event
        return event

    async def nothing_more(self) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(self.queue.get(), 0.7)


@contextlib.asynccontextmanager
async def source(simulator: Simulator, **options: Any) -> AsyncGenerator[Running, None]:
    running = Running({**simulator.settings(), "poll_interval": 0.1, **options})
    try:
        yield running
    finally:
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)


async def test_the_ends_of_given_recordings(tiw_simulator: Simulator) -> None:
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 100}, {"PAUSED": 100}])
    tiw_simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    async with source(tiw_simulator, task_ids=["slow", done, "odd", "absent"]) as running:
        events = {e["task_id"]: e for e in [await running.next() for _ in range(3)]}
        await running.nothing_more()
        tiw_simulator.advance(300)
        events["slow"] = await running.next()
        await running.nothing_more()
    verdicts = {task_id: event["verdict"] for task_id, event in events.items()}
    assert verdicts == {done: "finished", "slow": "finished", "odd": "failed", "absent": "missing"}
    for task_id, event in events.items():
        assert event["type"] == "finish"
        assert event["event_id"] == event["meta"]["uuid"]
        identity = missing_id if task_id == "absent" else event_id
        assert event["event_id"] == identity(tiw_simulator.sdk_app_id, task_id)
    assert events["slow"]["status"] == "FINISHED"
    assert events["slow"]["record"]["video_urls"]


async def test_each_transition_once_and_the_same_after_a_restart(tiw_simulator: Simulator) -> None:
    # With a fault on the way, after which the same state is seen again.
    timeline = [{"RECORDING": 100}, {"PAUSED": 100}, {"RECORDING": 100}]
    tiw_simulator.add("lesson", timeline=timeline)
    events = []
    async with source(tiw_simulator, task_ids="lesson", emit="transitions") as running:
        for _ in range(3):
            events.append(await running.next())
            tiw_simulator.inject("server_error", times=2)
            await running.nothing_more()
            tiw_simulator.advance(100)
        events.append(await running.next())
    assert [event["status"] for event in events] == ["RECORDING", "PAUSED", "RECORDING", "FINISHED"]
    assert [event["type"] for event in events] == ["transition"] * 3 + ["finish"]
    assert len({event["event_id"] for event in events}) == 4
    async with source(tiw_simulator, task_ids="lesson", emit="transitions") as running:
        assert (await running.next())["event_id"] == events[-1]["event_id"]


async def test_a_restart_publishes_the_current_state_again_with_the_same_id(
    tiw_simulator: Simulator,
) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 10000}])
    ids = []
    for _ in range(2):
        async with source(tiw_simulator, task_ids="lesson", emit="transitions") as running:
            ids.append((await running.next())["event_id"])
    assert ids[0] == ids[1]


async def test_a_second_pause_has_another_id_also_after_a_restart(
    tiw_simulator: Simulator, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 100}, {"PAUSED": 100}] * 2)
    published = []
    for _ in range(4):
        options = {"emit": "transitions", "state_file": str(state)}
        async with source(tiw_simulator, task_ids="lesson", **options) as running:
            event = await running.next()
            published.append((event["status"], event["event_id"]))
            async with asyncio.timeout(30):
                while json.loads(state.read_text())["states"]["lesson"][0] != event["status"]:
                    await asyncio.sleep(0.05)
        async with source(tiw_simulator, task_ids="lesson", **options) as running:
            assert (await running.next())["event_id"] == event["event_id"]
        tiw_simulator.advance(100)
    assert [status for status, _ in published] == ["RECORDING", "PAUSED"] * 2
    assert len(set(published)) == 4


@pytest.mark.parametrize("slow", [False, True])
async def test_an_end_is_published_once_while_the_source_runs(
    slow: bool, chinese: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # The feed forgets an end at once.
    monkeypatch.setattr("tiw_automation.core.events.feed._REMEMBER_S", -1.0)
    ids = chinese.add_finished(3)
    options = {"task_ids": ids, "discover": True, "state_file": str(tmp_path / "state.json")}
    async with source(chinese, **options) as running:
        if slow:
            async with asyncio.timeout(30):
                while chinese.requests.get("DescribeRunningTasks", 0) < 20:
                    await asyncio.sleep(0.05)
        ended = [(await running.next())["task_id"] for _ in ids]
        await running.nothing_more()
    assert sorted(ended) == sorted(ids)
    assert chinese.requests["DescribeOnlineRecord"] == len(ids)


async def test_recordings_are_found(chinese: Simulator) -> None:
    async with source(chinese, discover=True) as running:
        await running.nothing_more()
        chinese.add("algebra", timeline=[{"RECORDING": 60}])
        assert (await running.next())["task_id"] == "algebra"
        chinese.add("history", timeline=[{"RECORDING": 60}])
        assert (await running.next())["task_id"] == "history"
        await running.nothing_more()


async def test_found_recordings_survive_a_restart(chinese: Simulator, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    options = {"discover": True, "state_file": str(state)}
    chinese.add("algebra", timeline=[{"RECORDING": 1000}])
    chinese.add("history", timeline=[{"RECORDING": 10000}])
    async with source(chinese, **options):
        async with asyncio.timeout(30):
            while not state.exists() or len(json.loads(state.read_text())["found"]) < 2:
                await asyncio.sleep(0.05)
    assert stat.S_IMODE(state.stat().st_mode) == 0o600
    # It ends and leaves the list while no source runs.
    chinese.advance(1100)
    async with source(chinese, **options) as running:
        assert (await running.next())["task_id"] == "algebra"
        async with asyncio.timeout(30):
            while json.loads(state.read_text())["found"] != ["history"]:
                await asyncio.sleep(0.05)
    async with source(chinese, **options) as running:
        await running.nothing_more()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["state.json"]


async def test_a_state_file_that_is_a_link_stays_one_and_only_its_owner_may_read_it(
    chinese: Simulator, tmp_path: Path
) -> None:
    kept, link = tmp_path / "volume/state.json", tmp_path / "state.json"
    kept.parent.mkdir()
    kept.write_text('{"found": [], "states": {}}')
    kept.chmod(0o644)
    link.symlink_to(kept)
    # Left by a killed process with the same id.
    left = kept.with_name(f".state.json.{os.getpid()}")
    left.write_text("x")
    left.chmod(0o666)
    chinese.add("algebra", timeline=[{"RECORDING": 10000}])
    async with source(chinese, discover=True, state_file=str(link)):
        async with asyncio.timeout(30):
            while json.loads(kept.read_text())["found"] != ["algebra"]:
                await asyncio.sleep(0.05)
    assert link.is_symlink()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert not left.exists()


async def test_faults_do_not_end_the_source(tiw_simulator: Simulator) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 1000}])
    async with source(tiw_simulator, task_ids="lesson", emit="transitions", timeout=1) as running:
        assert (await running.next())["status"] == "RECORDING"
        for fault in ("outage", "html_502", "throttle", "truncated", "bad_json", "request_id_only"):
            tiw_simulator.fault = fault
            await asyncio.sleep(0.6)
            assert not running.task.done()
        tiw_simulator.fault = None
        tiw_simulator.advance(2000)
        assert (await running.next())["verdict"] == "finished"


async def test_a_slow_rule_engine_loses_no_event_and_delays_no_request(
    tiw_simulator: Simulator,
) -> None:
    ids = tiw_simulator.add_finished(30)
    async with source(tiw_simulator, task_ids=ids, stop_when_done=True) as running:
        async with asyncio.timeout(30):
            while tiw_simulator.requests.get("DescribeOnlineRecord", 0) < len(ids):
                await asyncio.sleep(0.05)
        assert running.queue.qsize() <= 1
        ended = []
        for _ in ids:
            await asyncio.sleep(0.01)
            ended.append((await running.next())["task_id"])
        await asyncio.wait_for(running.task, 30)
    assert sorted(ended) == sorted(ids)


async def test_a_rule_engine_that_fails_ends_the_source(tiw_simulator: Simulator) -> None:
    tiw_simulator.add_finished(1)

    class Broken(asyncio.Queue[Event]):
        async def put(self, item: Event) -> None:
            raise KeyError("a filter failed")

    args = {**tiw_simulator.settings(), "task_ids": "finished-000001"}
    with pytest.raises(KeyError):
        await asyncio.wait_for(runpy.run_path(str(SOURCE))["main"](Broken(), args), 30)


@pytest.mark.parametrize("discover", [False, True])
async def test_it_stops_when_all_have_ended(discover: bool, chinese: Simulator) -> None:
    (done,) = chinese.add_finished(1)
    chinese.add("runs", timeline=[{"RECORDING": 10000}])
    async with source(chinese, task_ids=done, discover=discover, stop_when_done=True) as running:
        if discover:
            async with asyncio.timeout(30):
                while not chinese.requests_by_task.get("runs"):
                    await asyncio.sleep(0.05)
            chinese.advance(11000)
        ended = {(await running.next())["task_id"] for _ in range(1 + discover)}
        await asyncio.wait_for(running.task, 30)
    assert ended == ({done, "runs"} if discover else {done})


async def test_it_stops_at_once_if_no_recording_runs(chinese: Simulator) -> None:
    async with source(chinese, discover=True, stop_when_done=True) as running:
        await asyncio.wait_for(running.task, 30)


WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["task_ids", "discover"]),
    ({"task_ids": []}, ["No task id"]),
    ({"task_ids": [5]}, ["5", "string"]),
    ({"task_ids": {"a": 1}}, ["task_ids", "a list"]),
    ({"task_id": "a"}, ["'task_id'", "Did you mean task_ids?", "state_file"]),
    ({"task_ids": "a", "emit": "all"}, ["emit", "'all'", "finishes, transitions"]),
    ({"task_ids": "a", "poll_interval": 0}, ["poll_interval", "not 0", "seconds"]),
    ({"task_ids": "a", "poll_interval": "often"}, ["poll_interval", "'often'"]),
    ({"task_ids": "a", "discover": "perhaps"}, ["discover", "'perhaps'", "true or false"]),
    ({"task_ids": "a", "accept_finish_reasons": ["go!"]}, ["'go!'", "AUTO", "FORCE_STOP"]),
    ({"task_ids": "a", "site": "mars"}, ["site", "'mars'", "cn, intl"]),
    ({"task_ids": "a", "region": "ap-moon", "endpoint": None}, ["'ap-moon'", "ap-guangzhou"]),
    ({"task_ids": "a", "endpoint": "ftp://x"}, ["endpoint", "'ftp://x'"]),
    ({"task_ids": "a", "requests_per_second": 0}, ["requests_per_second", "above zero"]),
    ({"task_ids": "a", "timeout": -1}, ["timeout", "above zero"]),
    ({"task_ids": "a", "ca_file": "/nowhere.pem"}, ["ca_file", "/nowhere.pem"]),
    ({"task_ids": "a", "proxy": "socks5://h"}, ["proxy", "http://host:port"]),
    ({"task_ids": "a", "sdk_app_id": "mine"}, ["sdk_app_id", "'mine'"]),
    ({"task_ids": "a", "sdk_app_id": None}, ["sdk_app_id"]),
    ({"task_ids": "a", "secret_key": None}, ["secret_key"]),
    ({"task_ids": "a", "state_file": "/nowhere/state"}, ["state_file", "/nowhere/state"]),
    ({"task_ids": "a", "state_file": "~unknown-user/state"}, ["state_file", "~unknown-user"]),
    (
        {
            "discover": True,
            "site": "intl",
            "endpoint": None,
            "region": None,
            "secret_id": "AKIDother",
        },
        ["task_ids", "callback"],
    ),
    ({"discover": True}, ["task_ids", "callback", "DescribeRunningTasks"]),
    ({"task_ids": "a", "secret_key": "wrong" * 8}, ["AuthFailure"]),
]


@pytest.mark.parametrize(("options", "words"), WRONG, ids=lambda given: str(given)[:40])
async def test_a_mistake_is_reported_at_once(
    options: dict[str, Any], words: list[str], tiw_simulator: Simulator
) -> None:
    async with source(tiw_simulator, **options) as running:
        with pytest.raises(ValueError if words != ["AuthFailure"] else Exception) as caught:
            await asyncio.wait_for(running.task, 30)
    message = str(caught.value)
    assert not [word for word in words if word not in message], message
    assert tiw_simulator.secret_key not in message
    assert "wrongwrong" not in message


@pytest.mark.parametrize(
    "text", ["not ours", "[]", "{}", '{"found": 1, "states": {}}', '{"found": [], "states": [1]}']
)
async def test_another_file_is_refused_and_unchanged(
    text: str, chinese: Simulator, tmp_path: Path
) -> None:
    other = tmp_path / "notes.txt"
    other.write_text(text)
    async with source(chinese, discover=True, state_file=str(other)) as running:
        with pytest.raises(ValueError, match="state_file"):
            await asyncio.wait_for(running.task, 30)
    assert other.read_text() == text


BEGINNING = '{"found": ["algebra", "his'


@pytest.mark.parametrize("content", [BEGINNING, BEGINNING[:12], "\0" * 4096], ids=len)
async def test_a_damaged_state_file_is_renamed(
    content: str, chinese: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state.json"
    state.write_text(content)
    chinese.add("algebra", timeline=[{"RECORDING": 60}])
    async with source(chinese, discover=True, state_file=str(state)) as running:
        assert (await running.next())["task_id"] == "algebra"
    assert (tmp_path / "state.json.damaged").read_text() == content
    assert json.loads(state.read_text())["states"] == {}
    assert caplog.text.count("is damaged") == 1


async def test_an_odd_entry_of_a_state_file_is_left_out(
    chinese: Simulator, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state.json"
    kept = {
        "found": ["algebra", "x{{lookup('pipe', 'id')}}", 5, None, ["history"], "a" * 999],
        "states": {
            "algebra": ["RECORDING", {"RECORDING": 2}],
            "history": ["PAUSED"],
            "drama": 7,
            "chemistry": ["PAUSED", {"PAUSED": float("inf")}],
            "music": ["PAUSED", {"PAUSED": -1}],
            "x{{1}}": ["PAUSED", {"PAUSED": 1}],
        },
        "version": 2,
    }
    state.write_text(json.dumps(kept))
    chinese.add("algebra", timeline=[{"RECORDING": 10000}])
    options = {"discover": True, "emit": "transitions", "state_file": str(state)}
    async with source(chinese, **options) as running:
        event = await running.next()
        await running.nothing_more()
    assert event["event_id"] == transition_id(chinese.sdk_app_id, "algebra", "RECORDING", 2)
    assert json.loads(state.read_text()) == {
        "found": ["algebra"],
        "states": {"algebra": ["RECORDING", {"RECORDING": 2}]},
    }
    assert caplog.text.count("10 odd entries") == 1
    assert set(chinese.requests_by_task) == {"algebra"}


async def test_an_endless_state_file_is_refused_in_time(chinese: Simulator, tmp_path: Path) -> None:
    pipe, empty, huge = tmp_path / "pipe", tmp_path / "empty", tmp_path / "huge"
    os.mkfifo(pipe)
    empty.touch()
    with huge.open("wb") as file:
        file.truncate(2**33)
    for path in (pipe, huge, Path("/dev/zero"), tmp_path):
        async with source(chinese, discover=True, state_file=str(path)) as running:
            with pytest.raises(ConfigurationError, match="state_file"):
                await asyncio.wait_for(running.task, 30)
    async with source(chinese, discover=True, state_file=str(empty), stop_when_done=True) as new:
        await asyncio.wait_for(new.task, 30)


async def test_an_id_of_the_list_that_is_a_template_is_in_no_event(
    chinese: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    """A rule may pass the id on as an extra variable, which Ansible treats as a template."""
    hostile = "x{{lookup('pipe', 'id')}}\x1b[31m\n"
    chinese.add(hostile, timeline=[{"RECORDING": 60}])
    chinese.add("algebra", timeline=[{"RECORDING": 60}])
    async with source(chinese, discover=True, emit="transitions") as running:
        seen = {(await running.next())["task_id"]}
        seen.add((await running.next())["task_id"])
        await running.nothing_more()
    assert seen == {"algebra"}
    assert hostile not in chinese.requests_by_task
    assert "\x1b" not in caplog.text


async def test_a_text_holds_several_ids_and_reasons(tiw_simulator: Simulator) -> None:
    tiw_simulator.add("algebra", timeline=[], finish_reason="EXCEPTION")
    tiw_simulator.add("history", timeline=[])
    options = {"task_ids": "algebra, history", "accept_finish_reasons": "EXCEPTION, USER_CALL"}
    async with source(tiw_simulator, **options) as running:
        verdicts = {e["task_id"]: e["verdict"] for e in [await running.next() for _ in range(2)]}
    assert verdicts == {"algebra": "finished", "history": "finished"}


async def test_a_later_refusal_does_not_end_the_source(
    tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiw_automation.core.events.feed._REFUSED_S", 0.2)
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 1000}])
    async with source(tiw_simulator, task_ids="lesson", emit="transitions") as running:
        assert (await running.next())["status"] == "RECORDING"
        tiw_simulator.remove_account(tiw_simulator.secret_id)
        async with asyncio.timeout(30):
            while "cannot be asked for" not in caplog.text:
                await asyncio.sleep(0.05)
        tiw_simulator.add_account(tiw_simulator.secret_id, tiw_simulator.secret_key)
        tiw_simulator.advance(2000)
        assert (await running.next())["verdict"] == "finished"


async def test_no_secret_is_logged(
    tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    ids = tiw_simulator.add_finished(2)
    async with source(tiw_simulator, task_ids=ids, stop_when_done=True) as running:
        text = json.dumps([await running.next() for _ in ids])
        await asyncio.wait_for(running.task, 30)
    for secret in (tiw_simulator.secret_id, tiw_simulator.secret_key, "?sign", "?token"):
        assert secret not in caplog.text + text


def test_the_source_alone(tiw_simulator: Simulator) -> None:
    (done,) = tiw_simulator.add_finished(1)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(SOURCE), *arguments],
            env={**os.environ, **tiw_simulator.environment(), "NO_PROXY": "127.0.0.1"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    good = run(json.dumps({"task_ids": [done], "stop_when_done": True}))
    assert good.returncode == 0, good.stderr
    assert [json.loads(line)["task_id"] for line in good.stdout.splitlines()] == [done]
    secret = json.dumps([{"secret_key": "wrongwrong"}])
    for bad, word in (([], "task_ids"), ([secret], "a mapping, not a list"), (["x"], "Expecting")):
        done_badly = run(*bad)
        assert "wrongwrong" not in done_badly.stderr
        assert done_badly.returncode == 1
        assert word in done_badly.stderr
        assert "Traceback" not in done_badly.stderr


@pytest.mark.parametrize("path", [SOURCE, FILTER], ids=lambda path: path.stem)
def test_without_the_core_the_error_names_the_command_that_installs_it(path: Path) -> None:
    code = f"""
import asyncio, logging, runpy, sys
logging.basicConfig()
sys.modules["tiw_automation.core"] = None
main = runpy.run_path({str(path)!r})["main"]
if asyncio.iscoroutinefunction(main):
    asyncio.run(main(None, {{}}))
main({{"payload": {{}}, "meta": {{"endpoint": ""}}}})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"{sys.executable} -m pip install --upgrade 'tiw-automation>=" in done.stderr


# The filter


class Gate:
    """The filter, called like the webhook does."""

    def __init__(self, simulator: Simulator) -> None:
        self.simulator = simulator
        self.options = {
            **{k: v for k, v in simulator.settings().items() if v is not None},
            "callback_key": KEY,
        }
        self.main = runpy.run_path(str(FILTER))["main"]

    def post(self, payload: Any, **options: Any) -> list[Event]:
        """Return the events of a post."""
        meta = {"endpoint": "tiw", "headers": {"X-Proxy-Token": "0123456789"}}
        event = {"payload": payload, "meta": meta}
        found = self.main(event, **{**self.options, **options})
        return [found] if isinstance(found, dict) else found

    def settle(self, payload: Any, **options: Any) -> list[Event]:
        """Post as often as Tencent would, until the answer is 200."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.post(payload, **options)
            except web.HTTPServiceUnavailable:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def callback(self, task_id: str | None, event: str = EventType.FINISHED, **changes: Any) -> Any:
        """Return a genuine callback with some changes."""
        expires = int(time.time()) + 600
        data = {} if task_id is None else {"TaskId": task_id, "RoomId": 1}
        return {
            "EventType": event,
            "EventData": data,
            "Timestamp": expires - 600,
            "SdkAppId": self.simulator.sdk_app_id,
            "ExpireTime": expires,
            "Sign": sign(KEY, expires),
            **changes,
        }


@pytest.fixture
def gate(tiw_simulator: Simulator) -> Gate:
    return Gate(tiw_simulator)


def test_the_event_of_a_callback_holds_the_answer_of_the_api(
    gate: Gate, tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    forged = {"TaskId": done, "FinishReason": "EXCEPTION", "VideoInfos": []}
    (event,) = gate.settle(gate.callback(done, EventData=forged))
    assert event["verdict"] == "finished"
    assert event["record"]["finish_reason"] == "USER_CALL"
    assert event["record"]["video_urls"]
    assert event["event_id"] == event_id(tiw_simulator.sdk_app_id, done)
    assert event["meta"] == {"endpoint": "tiw", "uuid": event["event_id"]}
    assert event["callback"]["event_type"] == "OnlineRecordFinished"
    assert json.loads(json.dumps(event)) == event
    assert KEY not in json.dumps(event)
    # Replayed, with this or another valid signature.
    assert gate.post(gate.callback(done)) == []
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 1}


def test_other_events_hold_the_current_state(gate: Gate, tiw_simulator: Simulator) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 100}, {"PAUSED": 1000}])
    (started,) = gate.settle(gate.callback("lesson", EventType.STARTED))
    assert (started["type"], started["status"]) == ("transition", "RECORDING")
    tiw_simulator.advance(150)
    (warned,) = gate.settle(gate.callback("lesson", EventType.LONG_PAUSE_WARNING))
    assert (warned["status"], warned["callback"]["event_type"]) == (
        "PAUSED",
        "OnlineRecordLongPauseWarning",
    )
    same = gate.callback("lesson", EventType.LONG_PAUSE_WARNING)
    same["Timestamp"] = warned["callback"]["timestamp"]
    assert gate.settle(same) == []
    tiw_simulator.advance(2000)
    # Late and out of order: its state has passed.
    (late,) = gate.settle(gate.callback("lesson", EventType.STOPPED))
    assert (late["type"], late["verdict"]) == ("finish", "finished")
    assert gate.settle(gate.callback("lesson")) == []


def test_an_invalid_callback_is_dropped_without_a_request(
    gate: Gate, tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    past = int(time.time()) - 60
    posts: list[tuple[Any, str]] = [
        (gate.callback(done, Sign="0" * 32), "signature is missing or wrong"),
        (gate.callback(done, Sign=None), "signature is missing or wrong"),
        (gate.callback(done, Sign="\u00fc"), "signature is missing or wrong"),
        (gate.callback(done, ExpireTime=None), "ExpireTime"),
        (gate.callback(done, ExpireTime=past, Sign=sign(KEY, past)), "signature ended"),
        (gate.callback(done, ExpireTime=int(time.time()) + 999), "signature is missing or wrong"),
        (gate.callback(done, SdkAppId=99), "SdkAppId 99"),
        (gate.callback(done, SdkAppId="x"), "SdkAppId"),
        (gate.callback(done, EventType=None), "EventType"),
        (gate.callback(done, EventType="{{ lookup('pipe', 'id') }}"), "EventType is invalid"),
        (gate.callback(done, EventType=EventType.STARTED, SdkAppId=-5), "SdkAppId -5"),
        (gate.callback(None, EventType.STARTED), "task id"),
        (gate.callback(done, EventData=[1]), "EventData"),
        (gate.callback(None), "task id"),
        (gate.callback("a b\nc"), "not a task id"),
        (gate.callback(done, EventType=EventType.STARTED, SdkAppId=2**63), "SdkAppId"),
        (gate.callback(done, SdkAppId=True), "SdkAppId"),
        ({}, "ExpireTime"),
        ([gate.callback(done)], "not a JSON object"),
        ("x", "not a JSON object"),
        (None, "not a JSON object"),
    ]
    for payload, words in posts:
        caplog.clear()
        assert gate.post(payload) == [], words
        (line,) = [r.getMessage() for r in caplog.records if r.name.startswith("tiw.automation")]
        assert line.startswith("A post was dropped: ")
        assert words in line
        assert KEY not in line
    assert tiw_simulator.requests == {}


def test_an_unconfirmed_callback_is_dropped(
    gate: Gate,
    tiw_simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tiw_automation.core.events.confirmation.LAG_S", 0.3)
    tiw_simulator.add("runs", timeline=[{"RECORDING": 10000}])
    assert gate.settle(gate.callback("runs")) == []
    assert "does not confirm 'OnlineRecordFinished'" in caplog.text
    caplog.clear()
    assert gate.settle(gate.callback("absent")) == []
    assert "absent" in caplog.text


def test_a_failed_recording_is_an_event(gate: Gate, tiw_simulator: Simulator) -> None:
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    (event,) = gate.settle(gate.callback("broken"))
    assert event["verdict"] == "failed"
    assert "im login failed" in event["message"]


def test_a_callback_without_an_answer_must_be_posted_again(
    gate: Gate, tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.fault = "outage"
    for _ in range(3):
        with pytest.raises(web.HTTPServiceUnavailable):
            gate.post(gate.callback(done), confirm_timeout=0)
    tiw_simulator.fault = None
    (event,) = gate.settle(gate.callback(done), confirm_timeout=0)
    assert event["verdict"] == "finished"


@pytest.mark.parametrize(
    "odd",
    [
        {"EventData": {"RoomId": "1253", "Error": "x", "VideoInfos": {}}},
        {"Timestamp": "1575545412"},
        {"SdkAppId": str},
    ],
    ids=["EventData", "Timestamp", "SdkAppId"],
)
def test_an_odd_form_loses_no_event(
    odd: dict[str, Any], gate: Gate, tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    posted = gate.callback(done, **odd)
    if "EventData" in odd:
        posted["EventData"] = {"TaskId": done, **odd["EventData"]}
    if "SdkAppId" in odd:
        posted["SdkAppId"] = str(tiw_simulator.sdk_app_id)
    (event,) = gate.settle(posted)
    assert event["task_id"] == done


def test_an_answer_that_comes_late_goes_with_the_next_post(
    gate: Gate, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiw_automation.core.events.confirmation._POSTED_FOR_S", 0.0)
    ids = tiw_simulator.add_finished(3)
    for task_id in ids[1:]:
        with pytest.raises(web.HTTPServiceUnavailable):
            gate.post(gate.callback(task_id), confirm_timeout=0)
    (inner,) = gate.main.__globals__["_gates"].values()
    deadline = time.monotonic() + 30
    while not all(answer.is_final for answer in inner._confirmer._answers.values()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    events = gate.settle(gate.callback(ids[0]), confirm_timeout=0)
    assert [event["task_id"] for event in events] == ids
    assert {event["verdict"] for event in events} == {"finished"}
    assert len({event["meta"]["uuid"] for event in events}) == 3
    # Each once, also if it is posted again.
    again = [gate.post(gate.callback(task_id), confirm_timeout=0) for task_id in ids]
    assert again == [[], [], []]
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 3}


def test_a_weak_key_is_a_warning(
    gate: Gate, tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    for _ in range(2):
        assert gate.post(gate.callback(done), callback_key="short-one") == []
    assert caplog.text.count("callback key of 9 characters is in use") == 1
    assert "short-one" not in caplog.text


FILTER_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"callback_key": None}, "TIW_CALLBACK_KEY"),
    ({"callback_key": "{{ key }}"}, "fills in no variables"),
    ({"confirm_timeout": -1}, "confirm_timeout"),
    ({"confirm_timout": 1}, "Did you mean confirm_timeout?"),
    ({"require_videos": "perhaps"}, "require_videos"),
    ({"site": "mars"}, "'mars'"),
    ({"secret_id": None}, "secret_id"),
    ({"secret_key": "wrong" * 8}, "AuthFailure"),
]


@pytest.mark.parametrize(("options", "words"), FILTER_WRONG, ids=lambda given: str(given)[:40])
def test_an_invalid_option_admits_and_loses_no_callback(
    options: dict[str, Any],
    words: str,
    gate: Gate,
    tiw_simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    for _ in range(100):
        with pytest.raises(web.HTTPServiceUnavailable):
            gate.post(gate.callback(done), **options)
        if words in caplog.text:
            break
        time.sleep(0.1)
    assert [r for r in caplog.records if r.levelno == logging.ERROR and words in r.getMessage()]
    assert KEY not in caplog.text
    assert "wrongwrong" not in caplog.text


def test_options_are_not_checked_again_at_each_post(
    gate: Gate, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    monkeypatch.delenv("TIW_CALLBACK_KEY", raising=False)
    now = [1000.0]
    monkeypatch.setitem(gate.main.__globals__, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for _ in range(2):
        with pytest.raises(web.HTTPServiceUnavailable):
            gate.post(gate.callback(done), callback_key="")
        monkeypatch.setenv("TIW_CALLBACK_KEY", KEY)
    now[0] += 10.0
    (event,) = gate.settle(gate.callback(done), callback_key="")
    assert event["task_id"] == done


def test_an_internal_error_drops_no_post(gate: Gate, tiw_simulator: Simulator) -> None:
    (done,) = tiw_simulator.add_finished(1)
    (gone,) = tiw_simulator.add_finished(1)
    assert gate.settle(gate.callback(done))
    (inner,) = gate.main.__globals__["_gates"].values()

    def fails(*_: Any) -> None:
        raise ConfigurationError("The keys are gone.")

    good = inner._confirmer.ask
    inner._confirmer.ask = fails
    with pytest.raises(web.HTTPServiceUnavailable):
        gate.post(gate.callback(gone))
    inner._confirmer.ask = good
    assert gate.settle(gate.callback(gone))


def test_the_key_comes_from_the_environment(
    gate: Gate, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    monkeypatch.setenv("TIW_CALLBACK_KEY", KEY)
    (event,) = gate.settle(gate.callback(done), callback_key="")
    assert event["task_id"] == done


def test_behind_another_source_it_logs_an_error(
    gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    assert gate.main({"payload": gate.callback("a")}, **gate.options) == []
    assert "eda.builtin.webhook" in caplog.text


# Their documentation


def documentation(path: Path) -> dict[str, Any]:
    found = re.search(
        r'^DOCUMENTATION = r"""\n(.*?)"""', path.read_text(), re.DOTALL | re.MULTILINE
    )
    assert found is not None
    return dict(yaml.safe_load(found[1]))


JSON_TYPES = {"str": "string", "bool": "boolean", "float": "number", "int": "integer"}


@pytest.mark.parametrize("path", [SOURCE, FILTER], ids=lambda path: path.stem)
def test_documentation_schema_and_code_have_the_same_options(path: Path) -> None:
    options = documentation(path)["options"]
    names = runpy.run_path(str(path))
    known = {**names["OWN_OPTIONS"], **SETTINGS}
    assert {name: kind.__name__ for name, kind in known.items()} == {
        name: option["type"] for name, option in options.items()
    }
    schema = json.loads((path.parent / f"schemas/{path.stem}.json").read_text())
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert list(properties) == list(options)
    for name, option in options.items():
        entry = properties[name]
        assert entry["description"], name
        assert (entry.get("format") == "password") is (name in SECRETS), name
        assert entry.get("default") == option.get("default"), name
        if name == "task_ids":
            # A text of ids with commas is allowed too.
            entry, text = entry["oneOf"]
            assert text == {"type": "string"}
        if option["type"] == "list":
            assert entry["type"] == "array"
            entry = entry["items"]
            assert entry["type"] == JSON_TYPES[option["elements"]]
        else:
            assert entry["type"] == JSON_TYPES[option["type"]]
        assert entry.get("enum") == option.get("choices"), name
    # By default all reasons except EXCEPTION are accepted, unknown ones too.
    assert not {"default", "choices"} & set(options["accept_finish_reasons"])


def test_the_minimum_of_the_core_is_the_modules() -> None:
    util = (COLLECTION / "plugins/module_utils/_core.py").read_text()
    minimum = re.search(r'MINIMUM_VERSION = "(.*)"', util)
    assert minimum is not None
    for path in (SOURCE, FILTER):
        assert runpy.run_path(str(path))["CORE"] == f"tiw-automation>={minimum[1]}"


def test_galaxy_lists_them() -> None:
    listed = yaml.safe_load((COLLECTION / "meta/extensions.yml").read_text())["extensions"]
    folders = [COLLECTION / "extensions" / entry["args"]["ext_dir"] for entry in listed]
    assert folders == [SOURCE.parent, FILTER.parent]
