# SPDX-License-Identifier: Apache-2.0
"""All actions of a recording, called by an unmodified client.

Each test gives a ``call``: it sends one action to the simulator and returns the content of the
answer, or raises an error whose text holds the API's code.
"""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

Call = Callable[[str, dict[str, Any]], dict[str, Any]]

ROOM = 1203


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """Yield a simulator of the Chinese site whose virtual time stands still."""
    with Simulator(speed=0, limit=0, region="ap-guangzhou") as running:
        yield running


class Receiver:
    """Receives the callbacks that are posted to ``url``."""

    def __init__(self) -> None:
        self._bodies: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                with receiver._arrived:
                    receiver._bodies.append(body)
                    receiver._arrived.notify_all()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def wait_for(self, number: int) -> list[dict[str, Any]]:
        with self._arrived:
            assert self._arrived.wait_for(lambda: len(self._bodies) >= number, timeout=10)
            return list(self._bodies)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiving = Receiver()
    yield receiving
    receiving.close()


@pytest.fixture
def all_actions(simulator: Simulator, receiver: Receiver) -> Callable[[Call], None]:
    """Return a function that calls every action of a recording through a client."""

    def run(call: Call) -> None:
        app = {"SdkAppId": simulator.sdk_app_id}
        call("SetOnlineRecordCallback", {**app, "Callback": receiver.url})
        call("SetOnlineRecordCallbackKey", {**app, "CallbackKey": "a key"})
        settings = call("DescribeOnlineRecordCallback", app)
        assert (settings["Callback"], settings["CallbackKey"]) == (receiver.url, "a key")

        task = {**app, "TaskId": call("StartOnlineRecord", {**app, **_START})["TaskId"]}
        assert call("DescribeOnlineRecord", task)["Status"] == "PREPARED"
        with pytest.raises(Exception, match=r"ResourceInUse\.RecordUserId"):
            call("StartOnlineRecord", {**app, **_START})
        simulator.advance(32)
        call("PauseOnlineRecord", task)
        assert call("DescribeOnlineRecord", task)["Status"] == "PAUSED"
        with pytest.raises(Exception, match=r"UnsupportedOperation\.InvalidTaskStatus"):
            call("PauseOnlineRecord", task)
        simulator.advance(10)
        call("ResumeOnlineRecord", task)
        simulator.advance(20)
        running = call(
            "DescribeRunningTasks",
            {"SdkAppID": simulator.sdk_app_id, "TaskType": "OnlineRecord"},
        )
        assert running["Total"] == 1
        assert running["Tasks"][0]["TaskID"] == task["TaskId"]
        call("StopOnlineRecord", task)
        with pytest.raises(Exception, match=r"UnsupportedOperation\.TaskHasAlreadyStopped"):
            call("StopOnlineRecord", task)
        assert call("DescribeOnlineRecord", task)["Status"] == "STOPPED"
        simulator.advance(8)

        finished = call("DescribeOnlineRecord", task)
        assert (finished["Status"], finished["FinishReason"]) == ("FINISHED", "USER_CALL")
        assert finished["TotalTime"] == 50_000
        assert len(finished["OmittedDurations"]) == 1
        tracks = [(video["VideoType"], video["UserId"]) for video in finished["VideoInfos"]]
        assert tracks == [(2, ""), (3, f"tic_mixstream_{ROOM}_2"), (4, "teacher"), (4, "student")]
        for video in finished["VideoInfos"]:
            with urllib.request.urlopen(video["VideoUrl"]) as answer:
                assert len(answer.read()) == video["VideoSize"]

        with pytest.raises(Exception, match=r"InvalidParameter\.TaskNotFound"):
            call("DescribeOnlineRecord", {**app, "TaskId": "absent"})
        events = [body["EventType"] for body in receiver.wait_for(3)]
        assert events == [f"OnlineRecord{kind}" for kind in ("Started", "Stopped", "Finished")]
        assert (simulator.started, simulator.writes) == (1, 6)

    return run


_START: dict[str, Any] = {
    "RoomId": ROOM,
    "RecordUserId": f"tic_record_user_{ROOM}_141551",
    "RecordUserSig": "a+signature/with=odd*characters",
    "Concat": {"Enabled": True},
    "Whiteboard": {"Width": 1280, "Height": 960, "InitParam": '{"ratio": "16:9"}'},
    "MixStream": {"Enabled": True, "DisableAudio": False, "ModelId": 2, "TeacherId": "teacher"},
    "Extras": ["MIX_STREAM"],
    "AudioFileNeeded": True,
    "RecordControl": {
        "Enabled": True,
        "DisableRecord": True,
        "StreamControls": [{"StreamId": "tic_record_user", "DisableRecord": False}],
    },
}
