# SPDX-License-Identifier: Apache-2.0
"""The whole core against a simulator that answers in odd forms: every result is the same."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from tiw_automation.core import (
    BadAnswer,
    OnlineRecord,
    Outcome,
    RecordWatcher,
    RequestLimitExceeded,
    TiwClient,
    Verdict,
    parse_callback,
)
from tiw_automation.simulator import Simulator

ROOM = 101
KEY = "a callback key of the tests"


@pytest.fixture
def odd() -> Iterator[Simulator]:
    with Simulator(odd=True, limit=0, region="ap-guangzhou", speed=0) as simulator:
        yield simulator


@pytest.fixture
def client(odd: Simulator) -> Iterator[TiwClient]:
    with TiwClient(**odd.settings(), requests_per_second=1000) as opened:
        yield opened


def watch(client: TiwClient, ids: list[str]) -> dict[str, Outcome]:
    async def run() -> dict[str, Outcome]:
        watcher = RecordWatcher(client, jitter=lambda: 0.0)
        found = watcher.watch(ids, timeout=60, poll_interval=0)
        return {outcome.task_id: outcome async for outcome in found}

    return asyncio.run(run())


def test_every_recording_has_the_expected_end(odd: Simulator, client: TiwClient) -> None:
    good = odd.add_finished(100)
    for number in range(20):
        odd.add(f"bad-{number}", timeline=[], finish_reason="EXCEPTION")
        odd.add(f"one-{number}", timeline=[], videos=[{"kind": "camera", "user_id": "anna"}])
        odd.add(f"empty-{number}", timeline=[], videos=[])
    outcomes = watch(client, [recording["task_id"] for recording in odd.recordings])
    assert {outcomes[task_id].verdict for task_id in good} == {Verdict.FINISHED}
    for number in range(20):
        assert outcomes[f"bad-{number}"].verdict is Verdict.FAILED
        assert outcomes[f"empty-{number}"].verdict is Verdict.FAILED
        record = outcomes[f"one-{number}"].record
        assert record is not None
        assert len(record.video_urls) == 1
    for outcome in outcomes.values():
        json.dumps(outcome.to_dict())


def test_a_lesson_from_its_start_to_its_end(odd: Simulator, client: TiwClient) -> None:
    task_id = client.start_online_record(ROOM, record_user_sig="any")
    odd.advance(3)
    (running,) = client.describe_running_tasks()
    assert (running.task_id, running.room_id) == (task_id, ROOM)
    record = client.describe_online_record(task_id)
    assert record.record_user_id is not None
    assert client.find_online_record(ROOM, record.record_user_id) == task_id
    assert client.pause_online_record(task_id)
    assert client.resume_online_record(task_id)
    assert client.stop_online_record(task_id)
    odd.advance(60)
    assert watch(client, [task_id])[task_id].verdict is Verdict.FINISHED


def test_callbacks_name_their_recording(odd: Simulator, client: TiwClient) -> None:
    bodies: list[bytes] = []
    arrived = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            if len({json.loads(body)["EventData"]["TaskId"] for body in bodies}) == 30:
                arrived.set()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        odd.set_callback(f"http://127.0.0.1:{server.server_port}/", KEY)
        for number in range(30):
            odd.add(f"lesson-{number}", timeline=[{"STOPPED": 5}], age=1)
        odd.advance(10)
        assert arrived.wait(30)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    found = {parse_callback(body, KEY).task_id for body in bodies}
    assert found == {f"lesson-{number}" for number in range(30)}


def test_early_hints_and_compression_are_not_answers(odd: Simulator, client: TiwClient) -> None:
    ids = odd.add_finished(4)
    odd.fault = "early_hints"
    assert [client.describe_online_record(i).task_id for i in ids] == ids
    odd.fault = "gzip"
    assert [client.describe_online_record(i).task_id for i in ids] == ids


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"name": "html_429", "retry_after": "\u00b2"}, RequestLimitExceeded),
        ("other_task", BadAnswer),
        ("deep_json", BadAnswer),
    ],
)
def test_an_invalid_answer_is_one_error(
    odd: Simulator, client: TiwClient, fault: Any, error: type[Exception]
) -> None:
    (task_id,) = odd.add_finished(1)
    odd.fault = fault
    answer = {"SdkAppId": odd.sdk_app_id, "TaskId": task_id}
    with pytest.raises(error):
        OnlineRecord.from_response(
            client.call("DescribeOnlineRecord", answer), sdk_app_id=odd.sdk_app_id, task_id=task_id
        )
