# SPDX-License-Identifier: Apache-2.0
"""Events that are really posted, to the test's own server."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tiw_automation.simulator import ScriptError, Simulator, callbacks
from tiw_automation.simulator.callbacks import is_loopback, sign

Call = Callable[..., dict[str, Any]]
START: dict[str, Any] = {
    "RoomId": 5,
    "RecordUserId": "tic_record_user_5_1",
    "RecordUserSig": "any",
}
KEY = "Xz4ZgayTr7rMgWQrH"


class Receiver:
    """Takes what is posted to ``url``.

    :param statuses: what it answers with, one after the other, and then 200
    """

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.bodies: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                with receiver._arrived:
                    assert self.headers["Content-Type"] == "application/json"
                    receiver.bodies.append(json.loads(body))
                    status = receiver.statuses.pop(0) if receiver.statuses else 200
                    receiver._arrived.notify_all()
                self.send_response(status)
                if status == 302:
                    self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback?of=tiw"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_for(self, number: int) -> list[dict[str, Any]]:
        """Return the bodies that arrived, once they are ``number``."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self.bodies) >= number, timeout=10), (
                f"{len(self.bodies)} of {number} arrived"
            )
            return list(self.bodies)

    def events(self, number: int) -> list[str]:
        return [body["EventType"].removeprefix("OnlineRecord") for body in self.wait_for(number)]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiving = Receiver()
    yield receiving
    receiving.close()


@pytest.fixture
def still() -> Iterator[Simulator]:
    """Yield a simulator whose virtual time moves only by ``advance``."""
    with Simulator(speed=0, limit=0) as simulator:
        yield simulator


def settled(simulator: Simulator) -> list[tuple[str, int, int | None]]:
    """Return event, attempts and status of each delivery, once all are over."""
    deadline = time.monotonic() + 10
    while not all(delivery.is_over for delivery in simulator.callbacks):
        assert time.monotonic() < deadline, simulator.callbacks
        time.sleep(0.01)
    return [(d.event, d.attempts, d.status) for d in simulator.callbacks]


def life(simulator: Simulator, call: Call) -> str:
    task_id = str(call(simulator, "StartOnlineRecord", **START)["TaskId"])
    simulator.advance(12)
    call(simulator, "StopOnlineRecord", TaskId=task_id)
    simulator.advance(8)
    return task_id


def test_the_published_signature() -> None:
    assert sign(KEY, 1588040109) == "a2dabb362a9b811c0e26953a6276a41c"


def test_the_events_of_a_recording(still: Simulator, call: Call, receiver: Receiver) -> None:
    call(still, "SetOnlineRecordCallback", Callback=receiver.url)
    call(still, "SetOnlineRecordCallbackKey", CallbackKey=KEY)
    task_id = life(still, call)
    started, stopped, finished = receiver.wait_for(3)
    ids = {"TaskId": task_id, "RoomId": 5, "RecordUserId": START["RecordUserId"]}
    assert (started["EventType"], started["EventData"]) == ("OnlineRecordStarted", ids)
    assert (stopped["EventType"], stopped["EventData"]) == ("OnlineRecordStopped", ids)
    assert finished["EventType"] == "OnlineRecordFinished"
    described = call(still, "DescribeOnlineRecord", TaskId=task_id)
    posted = finished["EventData"]
    assert {name: described[name] for name in posted} == posted
    assert posted["VideoInfos"]
    for body in (started, stopped, finished):
        assert body["SdkAppId"] == still.sdk_app_id
        assert abs(body["Timestamp"] - time.time()) < 10
        assert body["ExpireTime"] > time.time()
        text = f"{KEY}{body['ExpireTime']}".encode()
        assert body["Sign"] == hashlib.md5(text).hexdigest()
    assert settled(still) == [
        ("OnlineRecordStarted", 1, 200),
        ("OnlineRecordStopped", 1, 200),
        ("OnlineRecordFinished", 1, 200),
    ]


def test_without_a_key_events_are_not_signed(
    still: Simulator, call: Call, receiver: Receiver
) -> None:
    still.set_callback(receiver.url)
    life(still, call)
    for body in receiver.wait_for(3):
        assert not {"Sign", "ExpireTime"} & set(body)


def test_a_failure(still: Simulator, call: Call, receiver: Receiver) -> None:
    still.set_callback(receiver.url)
    task_id = call(still, "StartOnlineRecord", **{**START, "RecordUserId": "me"})["TaskId"]
    still.advance(3)
    (body,) = receiver.wait_for(1)
    data = body["EventData"]
    assert body["EventType"] == "OnlineRecordFinished"
    assert data["TaskId"] == task_id
    assert data["Error"]["Code"] == "FailedOperation.Record"
    assert "code: 40001" in data["Error"]["Message"]
    assert (data["FinishReason"], data["RecordStartTime"], data["TotalTime"]) == ("EXCEPTION", 0, 0)
    assert data["VideoInfos"] == []


def test_a_long_pause(still: Simulator, call: Call, receiver: Receiver) -> None:
    still.set_callback(receiver.url)
    task_id = call(still, "StartOnlineRecord", **START)["TaskId"]
    still.advance(10)
    call(still, "PauseOnlineRecord", TaskId=task_id)
    still.advance(20 * 60 + 1)
    warning = receiver.wait_for(2)[1]
    assert warning["EventType"] == "OnlineRecordLongPauseWarning"
    data = warning["EventData"]
    assert data["EstimateStopTime"] - data["PauseTime"] == 90 * 60
    still.advance(70 * 60)
    assert receiver.events(4)[2:] == ["LongPauseForceStopped", "Stopped"]
    forced = receiver.bodies[2]["EventData"]
    assert forced["StopTime"] == data["EstimateStopTime"]
    assert forced["PauseTime"] == data["PauseTime"]


def test_a_resumed_pause_sends_no_warning(still: Simulator, call: Call, receiver: Receiver) -> None:
    still.set_callback(receiver.url)
    task_id = call(still, "StartOnlineRecord", **START)["TaskId"]
    still.advance(10)
    call(still, "PauseOnlineRecord", TaskId=task_id)
    still.advance(60)
    call(still, "ResumeOnlineRecord", TaskId=task_id)
    still.advance(2 * 60 * 60)
    call(still, "StopOnlineRecord", TaskId=task_id)
    still.advance(8)
    assert receiver.events(3) == ["Started", "Stopped", "Finished"]


def test_scripted_recordings_post_events_too(receiver: Receiver) -> None:
    script = {
        "callback": receiver.url,
        "callback_key": KEY,
        "recordings": [
            {"task_id": "past", "timeline": [], "age": 3600},
            {"task_id": "now", "timeline": [{"RECORDING": 1}, {"STOPPED": 1}]},
        ],
    }
    with Simulator(script, speed=20) as simulator:
        bodies = receiver.wait_for(5)
        by_task = [(b["EventData"]["TaskId"], b["EventType"][12:]) for b in bodies]
        now = [kind for task_id, kind in by_task if task_id == "now"]
        assert now == ["Started", "Stopped", "Finished"]
        assert simulator.callback_mode == "normal"


def test_the_clock_of_a_test(receiver: Receiver) -> None:
    offset = [0.0]
    with Simulator(clock=lambda: time.time() + offset[0]) as simulator:
        simulator.set_callback(receiver.url)
        simulator.add("t", timeline=[{"RECORDING": 1000}])
        assert receiver.events(1) == ["Started"]
        offset[0] = 1001
        assert receiver.events(3) == ["Started", "Stopped", "Finished"]


def test_an_event_is_posted_six_times(still: Simulator, receiver: Receiver) -> None:
    still.set_callback(receiver.url)
    receiver.statuses = [500, 404, 302, 204, 503, 500, 200]
    still.add("t", timeline=[{"PREPARED": 1}], error={})
    still.advance(2)
    for attempt in range(1, 7):
        receiver.wait_for(attempt)
        assert still.callbacks[0].attempts == attempt
        if attempt < 6:
            waiting_since = time.monotonic()
            while still.callbacks[0].retry_at is None:
                assert time.monotonic() - waiting_since < 10
                time.sleep(0.005)
            still.advance(4.9)
            time.sleep(0.02)
            assert len(receiver.bodies) == attempt
            still.advance(0.2)
    assert settled(still) == [("OnlineRecordFinished", 6, 500)]
    still.advance(100)
    assert len(receiver.bodies) == 6


def test_an_address_that_listens_only_later(receiver: Receiver) -> None:
    receiver.close()
    with Simulator(speed=100) as simulator:
        simulator.set_callback(receiver.url)
        simulator.add("t", timeline=[{"PREPARED": 1}], error={})
        deadline = time.monotonic() + 10
        while not simulator.callbacks and time.monotonic() < deadline:
            time.sleep(0.01)
        assert settled(simulator) == [("OnlineRecordFinished", 6, None)]
        assert simulator.callbacks[0].error == "ClientConnectorError"


def test_an_answer_that_is_missing(still: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callbacks, "ANSWER_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        still.set_callback(f"http://127.0.0.1:{silent.getsockname()[1]}/")
        still.add("t", timeline=[{"PREPARED": 1}], error={})
        still.advance(2)
        waiting_since = time.monotonic()
        while not still.callbacks or still.callbacks[0].retry_at is None:
            assert time.monotonic() - waiting_since < 10
            time.sleep(0.005)
    (delivery,) = still.callbacks
    assert (delivery.attempts, delivery.status, delivery.is_over) == (1, None, False)
    assert "Timeout" in str(delivery.error)


@pytest.mark.parametrize("key", [KEY, ""])
def test_forged(still: Simulator, call: Call, receiver: Receiver, key: str) -> None:
    still.callback_mode = "forged"
    still.set_callback(receiver.url, key)
    life(still, call)
    for body in receiver.wait_for(3):
        assert body["ExpireTime"] > time.time()
        assert len(body["Sign"]) == 32
        assert body["Sign"] != sign(KEY, body["ExpireTime"])


def test_late(call: Call, receiver: Receiver) -> None:
    with Simulator(speed=0, callback_mode="late") as simulator:
        simulator.set_callback(receiver.url, KEY)
        life(simulator, call)
        for body in receiver.wait_for(3):
            assert body["ExpireTime"] < time.time()
            assert body["Sign"] == sign(KEY, body["ExpireTime"])


def test_doubled(still: Simulator, call: Call, receiver: Receiver) -> None:
    still.callback_mode = "doubled"
    still.set_callback(receiver.url, KEY)
    life(still, call)
    expected = ["Started", "Started", "Stopped", "Stopped", "Finished", "Finished"]
    assert receiver.events(6) == expected


def test_out_of_order(still: Simulator, call: Call, receiver: Receiver) -> None:
    still.callback_mode = "out_of_order"
    still.set_callback(receiver.url, KEY)
    life(still, call)
    assert receiver.events(3) == ["Started", "Finished", "Stopped"]


def test_a_mode_that_does_not_exist(still: Simulator) -> None:
    with pytest.raises(ScriptError, match="Did you mean doubled"):
        still.callback_mode = "double"


def test_events_are_posted_to_loopback_only(still: Simulator, call: Call) -> None:
    call(still, "SetOnlineRecordCallback", Callback="https://example.com/callback")
    life(still, call)
    deadline = time.monotonic() + 10
    while len(still.callbacks) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {d.error for d in still.callbacks} == {"only loopback hosts are allowed"}
    assert {d.attempts for d in still.callbacks} == {0}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:9/x", True),
        ("http://127.9.9.9/x", True),
        ("http://[::1]:9/x", True),
        ("http://localhost:9/x", True),
        ("http://localhost.example.com/", False),
        ("http://10.0.0.1/", False),
        ("http://0.0.0.0/", False),
        ("http://127.0.0.1.example.com/", False),
        ("http://127.0.0.1@example.com/", False),
    ],
)
def test_which_hosts_are_loopback(url: str, expected: bool) -> None:
    assert is_loopback(url) is expected


def lasting(simulator: Simulator, family: str, receiver: Receiver, **task: Any) -> str:
    """Add a task of 10 s, whose events are signed with KEY and posted to the receiver."""
    simulator.set_callback(receiver.url, KEY, family=family)
    task_id = simulator.add_task(family, duration_s=10, **task)
    # Each event is posted before the next one happens.
    for _ in range(10):
        simulator.advance(1)
    return task_id


def test_the_events_of_a_push(still: Simulator, call: Call, receiver: Receiver) -> None:
    task_id = lasting(still, "whiteboard_push", receiver, RoomId=7)
    started, stopped = receiver.wait_for(2)
    described = call(still, "DescribeWhiteboardPush", TaskId=task_id)
    assert started["EventType"] == "WhiteboardPushStarted"
    assert stopped["EventType"] == "WhiteboardPushStopped"
    assert set(started["EventData"]) == {"TaskId", "RoomId", "PushUserId", "PushStartTime"}
    for body in (started, stopped):
        assert {name: described[name] for name in body["EventData"]} == body["EventData"]
        assert body["Sign"] == sign(KEY, body["ExpireTime"])
        assert body["SdkAppId"] == still.sdk_app_id
    assert stopped["EventData"]["FinishReason"] == "AUTO"


def test_the_events_of_a_transcode(still: Simulator, call: Call, receiver: Receiver) -> None:
    task_id = lasting(still, "transcode", receiver)
    *progress, finished = receiver.wait_for(4)
    assert {body["EventType"] for body in progress} == {"TranscodeProgressChanged"}
    assert [body["EventData"]["Progress"] for body in progress] == [25, 50, 75]
    assert {body["EventData"]["TaskId"] for body in progress} == {task_id}
    assert finished["EventType"] == "TranscodeFinished"
    described = call(still, "DescribeTranscode", TaskId=task_id)
    assert finished["EventData"]["ResultUrl"] == described["ResultUrl"]
    assert {name: described[name] for name in finished["EventData"]} == finished["EventData"]


@pytest.mark.parametrize(
    ("family", "event", "code"),
    [
        ("whiteboard_push", "WhiteboardPushStopped", "FailedOperation.WhiteboardPush"),
        ("transcode", "TranscodeFinished", "FailedOperation.FileOpenFail"),
        ("ppt_check", "PPTCheckFinished", "FailedOperation.Preprocess"),
        ("video_generation", "VideoGenerationTaskFinished", "FailedOperation.Record"),
    ],
)
def test_the_event_of_a_task_that_failed(
    still: Simulator, receiver: Receiver, family: str, event: str, code: str
) -> None:
    task_id = lasting(still, family, receiver, failure=code)
    settled_events = {"transcode": 4, "ppt_check": 4, "whiteboard_push": 2}
    last = receiver.wait_for(settled_events.get(family, 1))[-1]
    assert last["EventType"] == event
    assert last["EventData"]["TaskId"] == task_id
    assert last["EventData"]["Error"]["Code"] == code
    assert not last["EventData"].get("ResultUrl")
    assert not last["EventData"].get("VideoInfoList")


@pytest.mark.parametrize("failure", [None, "NoMarks"])
def test_a_snapshot_posts_to_its_own_address(
    still: Simulator, call: Call, receiver: Receiver, failure: str | None
) -> None:
    still.set_callback("http://127.0.0.1:9/", KEY)
    still.set_task_defaults("snapshot", failure=failure)
    options = {"RoomId": 7, "Whiteboard": {}}
    call(still, "CreateSnapshotTask", **options)
    posting = call(still, "CreateSnapshotTask", **options, CallbackURL=receiver.url)["TaskID"]
    still.advance(10)
    (body,) = receiver.wait_for(1)
    assert not {"Sign", "ExpireTime"} & set(body)
    described = call(still, "DescribeSnapshotTask", TaskID=posting)
    del described["RequestId"]
    assert body["EventData"] == described
    assert body["EventData"]["Result"]["ErrorCode"] == (failure or "OK")
    assert settled(still) == [("SnapshotFinished", 1, 200)]


def test_each_family_has_its_own_address(still: Simulator, receiver: Receiver) -> None:
    still.set_callback(receiver.url, family="ppt_check")
    still.add_task("transcode", "same id", duration_s=0)
    still.add_task("ppt_check", "same id", duration_s=0)
    assert receiver.wait_for(1)[0]["EventType"] == "PPTCheckFinished"
    assert [delivery.event for delivery in still.callbacks] == ["PPTCheckFinished"]


def test_progress_out_of_order(still: Simulator, receiver: Receiver) -> None:
    still.callback_mode = "out_of_order"
    lasting(still, "transcode", receiver)
    data = [body["EventData"].get("Progress") for body in receiver.wait_for(4)]
    assert data == [50, 25, None, 75]
