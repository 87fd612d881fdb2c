# SPDX-License-Identifier: Apache-2.0
"""The event source, the event filter and the rulebooks, by a real ansible-rulebook at -vv."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import socket
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from page_blocks import Block, blocks

from tiw_automation.core.api.callbacks import sign
from tiw_automation.core.events.record_events import event_id
from tiw_automation.simulator import Simulator

_SPEC = importlib.util.spec_from_file_location(
    "eda_conftest", Path(__file__).with_name("conftest.py")
)
assert _SPEC is not None
assert _SPEC.loader is not None
conftest = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(conftest)

KEY = "callback-key-callback-key"

Start = Callable[..., Any]
Printing = Callable[[dict[str, Any]], list[dict[str, Any]]]


def no_secrets(output: str, simulator: Simulator, *more: str) -> None:
    for secret in (simulator.secret_id, simulator.secret_key, KEY, "sign=", *more):
        assert secret not in output


def test_finished_recordings_are_kept_and_others_reported(
    tiw_simulator: Simulator, start: Start, tmp_path: Path
) -> None:
    """The rulebook of the collection with the playbooks that it runs, and faults meanwhile."""
    tiw_simulator.add("algebra", timeline=[{"RECORDING": 1000}])
    tiw_simulator.add("odd", timeline=[{"RECORDING": 1000}], finish_reason="EXCEPTION")
    lessons = tmp_path / "lessons"
    rulebook = start(
        tiw_simulator,
        "tiw.automation.finished_recordings",
        {
            "folder": str(lessons),
            "task_ids": ["algebra", "odd", "absent"],
            "poll_interval": 0.5,
            "stop_when_done": True,
        },
    )
    rulebook.until(lambda: tiw_simulator.requests_by_task.get("odd"), "it asks")
    for fault in ("outage", "html_502", "throttle"):
        tiw_simulator.fault = fault
        time.sleep(1)
    tiw_simulator.fault = None
    tiw_simulator.advance(2000)
    assert rulebook.end() == 0, rulebook.output
    kept = sorted(str(path.relative_to(lessons)) for path in lessons.rglob("*.mp4"))
    assert len(kept) == 2
    assert all(name.startswith("algebra/") for name in kept)
    assert "FAILED Recording odd ended with FinishReason EXCEPTION" in rulebook.output
    assert "MISSING" in rulebook.output
    no_secrets(rulebook.output, tiw_simulator)


@pytest.mark.parametrize("block", blocks("rulebook"), ids=lambda block: block.id)
def test_a_rulebook_of_a_page_archives(
    block: Block, chinese: Simulator, start: Start, tmp_path: Path
) -> None:
    text = re.sub(r"/(?=srv/|var/lib/)", f"{tmp_path}/", block.text)
    (tmp_path / "var/lib/eda").mkdir(parents=True)
    (rulebook,) = yaml.safe_load(text)
    for source in rulebook["sources"]:
        # A site disables the endpoint of the environment, which is the simulator.
        source["tiw.automation.online_record"].pop("site", None)
    chinese.add("algebra", timeline=[{"RECORDING": 10_000}])
    started = start(chinese, [rulebook])
    started.until(lambda: chinese.requests_by_task.get("algebra"), "it polls")
    chinese.advance(20_000)
    lessons = tmp_path / "srv/lessons"
    started.until(lambda: len(list(lessons.rglob("algebra/*.mp4"))) == 2, "it archives")


def test_transitions_and_a_restart(
    tiw_simulator: Simulator, start: Start, printing: Printing, tmp_path: Path
) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 100}, {"PAUSED": 100}] * 2)
    settings = {k: v for k, v in tiw_simulator.settings().items() if v is not None}
    given = {name: f"{{{{ {name} }}}}" for name in settings}
    state = tmp_path / "state.json"
    source = {
        "tiw.automation.online_record": {
            "task_ids": ["lesson"],
            "emit": "transitions",
            "poll_interval": 0.2,
            "stop_when_done": True,
            "state_file": str(state),
            **given,
        }
    }
    first = start(None, printing(source), settings)
    for number in range(3):
        first.until(lambda n=number: len(first.events) > n, "a transition")
        if number < 2:
            tiw_simulator.advance(100)
    first.stop()
    second = start(None, printing(source), settings)
    second.until(lambda: second.events, "the state after a restart")
    tiw_simulator.advance(100)
    second.until(lambda: len(second.events) > 1, "the next transition")
    tiw_simulator.advance(1000)
    assert second.end() == 0, second.output
    states = [(event[1], event[2]) for event in first.events + second.events]
    assert states == [
        ("transition", "RECORDING"),
        ("transition", "PAUSED"),
        ("transition", "RECORDING"),
        ("transition", "RECORDING"),
        ("transition", "PAUSED"),
        ("finish", "FINISHED"),
    ]
    ids = [event[4] for event in first.events + second.events]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 5
    assert ids[-1] == event_id(tiw_simulator.sdk_app_id, "lesson")
    no_secrets(first.output + second.output, tiw_simulator)


def test_discovery(chinese: Simulator, start: Start, printing: Printing) -> None:
    source = {"tiw.automation.online_record": {"discover": True, "poll_interval": 0.3}}
    rulebook = start(chinese, printing(source))
    rulebook.until(lambda: chinese.requests.get("DescribeRunningTasks"), "it lists")
    chinese.add("algebra", timeline=[{"RECORDING": 100}])
    chinese.inject("reset", times=3)
    rulebook.until(lambda: rulebook.events, "an end")
    chinese.add("history", timeline=[{"RECORDING": 100}])
    rulebook.until(lambda: len(rulebook.events) > 1, "another")
    assert [event[0] for event in rulebook.events] == ["algebra", "history"]
    no_secrets(rulebook.output, chinese)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"discover": True}, ["DescribeRunningTasks", "Give task_ids", "callbacks"]),
        ({"task_ids": ["a"], "pol_interval": 1}, ["'pol_interval'", "Did you mean poll_interval?"]),
        ({"task_ids": ["a"], "secret_id": "{{ id }}", "secret_key": "{{ key }}"}, ["AuthFailure"]),
    ],
)
def test_wrong_settings_end_it_with_a_sentence(
    options: dict[str, Any],
    words: list[str],
    tiw_simulator: Simulator,
    start: Start,
    printing: Printing,
) -> None:
    keys = {"id": tiw_simulator.secret_id, "key": "wrong" * 8}
    rulebook = start(tiw_simulator, printing({"tiw.automation.online_record": options}), keys)
    assert rulebook.end() == 1
    (line,) = [x for x in rulebook.output.splitlines() if "Source error" in x]
    assert not [word for word in words if word not in line], line
    no_secrets(rulebook.output, tiw_simulator, keys["key"])


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def post(url: str, body: Any) -> int:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_callbacks(tiw_simulator: Simulator, start: Start, tmp_path: Path) -> None:
    """The rulebook of the collection, with genuine callbacks and all sorts of others."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/tiw"
    lessons = tmp_path / "lessons"
    variables = {"folder": str(lessons), "callback_port": port}
    environment = {"TIW_CALLBACK_KEY": KEY}
    rulebook = start(tiw_simulator, "tiw.automation.recording_callbacks", variables, environment)

    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    rulebook.until(listens, "it listens")
    tiw_simulator.set_callback(url, KEY)
    tiw_simulator.add("algebra", timeline=[{"RECORDING": 100}, {"STOPPED": 10}])
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    tiw_simulator.advance(50)
    rulebook.until(lambda: "OnlineRecordStarted: Recording algebra" in rulebook.output, "a start")
    tiw_simulator.callback_mode = "doubled"
    tiw_simulator.advance(500)
    rulebook.until(lambda: len(list(lessons.rglob("*.mp4"))) == 2, "the videos")
    rulebook.until(lambda: "im login failed" in rulebook.output, "the failure")
    rulebook.until(lambda: all(sent.is_over for sent in tiw_simulator.callbacks), "the answers")
    assert {sent.status for sent in tiw_simulator.callbacks} == {200}

    # From here on nothing is posted but by hand.
    tiw_simulator.set_callback("")
    (other,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("runs", timeline=[{"RECORDING": 100000}])
    now = int(time.time())
    genuine: dict[str, Any] = {
        "EventType": "OnlineRecordFinished",
        "EventData": {"TaskId": other, "FinishReason": "EXCEPTION", "Note": "forged-note"},
        "Timestamp": now,
        "SdkAppId": tiw_simulator.sdk_app_id,
        "ExpireTime": now + 600,
        "Sign": sign(KEY, now + 600),
    }
    asked = dict(tiw_simulator.requests_by_task)
    dropped = [
        {**genuine, "Sign": "0" * 32},
        {**genuine, "ExpireTime": now - 60, "Sign": sign(KEY, now - 60)},
        {key: value for key, value in genuine.items() if key not in ("Sign", "ExpireTime")},
        {**genuine, "SdkAppId": 99},
        {**genuine, "EventData": {}},
        {**genuine, "EventData": {"TaskId": "algebra"}},
        [genuine],
        {"anything": "else"},
    ]
    for body in dropped:
        assert post(url, body) == 200, body
    assert post(url, b"{no json") == 400
    assert dict(tiw_simulator.requests_by_task) == asked
    assert rulebook.output.count("A post was dropped: ") >= len(dropped)
    # With a valid signature, about a recording that runs: asked for, and never believed.
    lie = {**genuine, "EventData": {"TaskId": "runs"}}
    assert post(url, lie) == 503
    # Two more words of Tencent's, of which the second is a replay.
    deadline = time.monotonic() + 60
    while (status := post(url, genuine)) == 503:
        assert time.monotonic() < deadline
        time.sleep(0.5)
    assert status == 200
    assert post(url, genuine) == 200
    rulebook.until(lambda: len(list(lessons.rglob("*.mp4"))) == 3, "the other video")
    assert sorted(path.name for path in lessons.iterdir() if path.is_dir()) == ["algebra", other]
    assert rulebook.output.count("PLAY [React to a callback]") == 2
    no_secrets(rulebook.output, tiw_simulator, genuine["Sign"], "forged-note")


def test_without_java_it_is_named(tmp_path: Path) -> None:
    problem = conftest.java_problem({"PATH": str(tmp_path)})
    assert "Java 17 or later" in problem
    assert str(tmp_path) in problem
    old = tmp_path / "java"
    old.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    old.chmod(0o755)
    environment = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    assert 'version "11.0.2"' in conftest.java_problem(environment)
    assert conftest.java_problem(dict(os.environ)) is None
