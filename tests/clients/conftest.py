# SPDX-License-Identifier: Apache-2.0
"""All actions, called by an unmodified client.

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


@pytest.fixture
def all_families(simulator: Simulator, receiver: Receiver) -> Callable[[Call], None]:
    """Return a function that runs a task of each other family through a client."""

    def run(call: Call) -> None:
        app = {"SdkAppId": simulator.sdk_app_id}
        for kind in ("WhiteboardPush", "Transcode", "PPTCheck", "VideoGenerationTask"):
            call(f"Set{kind}Callback", {**app, "Callback": receiver.url})
            call(f"Set{kind}CallbackKey", {**app, "CallbackKey": f"key of {kind}"})
            settings = call(f"Describe{kind}Callback", app)
            assert settings["Callback"] == receiver.url
            assert settings["CallbackKey"] == f"key of {kind}"
        simulator.add("lesson", timeline=[{"RECORDING": 60}], age=60)
        simulator.set_task_defaults("ppt_check", IsOK=False)

        push = call("StartWhiteboardPush", {**app, **_PUSH})
        push_task = {**app, "TaskId": push["TaskId"]}
        backup_task = {**app, "TaskId": json.loads(push["Backup"])["TaskId"]}
        deck = {**app, "TaskId": call("CreateTranscode", {**app, **_DECK})["TaskId"]}
        check = {**app, "TaskId": call("CreatePPTCheckTask", {**app, **_CHECK})["TaskId"]}
        snapshot = {**app, **_BOARD, "CallbackURL": receiver.url}
        board = {**app, "TaskID": call("CreateSnapshotTask", snapshot)["TaskID"]}
        source = {**app, "OnlineRecordTaskId": "lesson"}
        video = {**app, "TaskId": call("CreateVideoGenerationTask", source)["TaskId"]}
        assert call("DescribeTranscode", deck)["Status"] == "QUEUED"
        assert call("DescribeSnapshotTask", board)["Status"] == "Running"
        with pytest.raises(Exception, match=r"ResourceInUse\.RecordUserId"):
            call("StartWhiteboardPush", {**app, **_PUSH})

        simulator.advance(6)
        assert call("DescribeWhiteboardPush", push_task)["Status"] == "PUSHING"
        for action, task in (("DescribePPTCheck", check), ("DescribeVideoGenerationTask", video)):
            answer = call(action, task)
            assert (answer["Status"], answer["Progress"]) == ("PROCESSING", 50)
        by_url = call("DescribeTranscodeByUrl", {**app, "Url": _DECK["Url"]})
        assert (by_url["TaskId"], by_url["Progress"]) == (deck["TaskId"], 50)
        running = {"SdkAppID": simulator.sdk_app_id, "TaskType": "TranscodeH5"}
        (row,) = call("DescribeRunningTasks", running)["Tasks"]
        assert row["TaskID"] == deck["TaskId"]

        simulator.advance(4)
        assert "RequestId" in json.loads(call("StopWhiteboardPush", push_task)["Backup"])
        for task in (push_task, backup_task):
            answer = call("DescribeWhiteboardPush", task)
            assert (answer["Status"], answer["FinishReason"]) == ("STOPPED", "USER_CALL")
        answer = call("DescribeTranscode", deck)
        assert (answer["Status"], answer["Pages"]) == ("FINISHED", 3)
        urls = [answer["ResultUrl"], answer["ThumbnailUrl"] + "3.jpg", answer["CompressFileUrl"]]
        answer = call("DescribePPTCheck", check)
        assert answer["IsOK"] is False
        assert answer["Slides"][0]["Errs"][0]["Type"] == 0
        urls.append(answer["ResultUrl"])
        answer = call("DescribeSnapshotTask", board)
        assert (answer["Status"], answer["Result"]["ErrorCode"]) == ("Finished", "OK")
        urls += answer["Result"]["Snapshots"]
        answer = call("DescribeVideoGenerationTask", video)
        assert answer["Status"] == "FINISHED"
        urls += [video["VideoUrl"] for video in answer["VideoInfoList"]]
        assert len(urls) == 9
        for url in urls:
            with urllib.request.urlopen(url) as file:
                assert file.read()

        with pytest.raises(Exception, match=r"InvalidParameter\.TaskNotFound"):
            call("DescribePPTCheck", deck)
        simulator.add_task(
            "transcode", "broken", failure="FailedOperation.FileOpenFail", duration_s=0
        )
        with pytest.raises(Exception, match=r"FailedOperation\.FileOpenFail"):
            call("DescribeTranscode", {**app, "TaskId": "broken"})
        last = {"WhiteboardPushStopped", "TranscodeFinished", "PPTCheckFinished"}
        last |= {"SnapshotFinished", "VideoGenerationTaskFinished"}
        # Two pushes have two events each, transcode and check four; one more is of the failure.
        assert last <= {body["EventType"] for body in receiver.wait_for(15)}

    return run


_PUSH: dict[str, Any] = {
    "RoomId": ROOM,
    "PushUserId": f"tic_push_user_{ROOM}_1",
    "PushUserSig": "a+signature/with=odd*characters",
    "AutoManageBackup": True,
    "Backup": {"PushUserId": f"tic_push_user_{ROOM}_2", "PushUserSig": "another"},
    "Whiteboard": {"Width": 1280, "Height": 960},
    "VideoFPS": 15,
    "IMAuthParam": {"SdkAppId": 1400000002, "UserId": "someone", "UserSig": "of that user"},
    "TRTCEnterRoomMode": "TRTCAppSceneLIVE",
    "GroupId": "a group",
}
_DECK: dict[str, Any] = {
    "Url": "http://example.com/%E6%B5%8B%E8%AF%95.pptx?sign=a%2Bb",
    "ThumbnailResolution": "320x180",
    "CompressFileType": "zip",
    "AutoHandleUnsupportedElement": True,
    "AutoHandleUnsupportedElementTypes": [0, 13],
    "ExcelParam": {"PaperSize": 1, "PaperDirection": 0},
}
_CHECK: dict[str, Any] = {"Url": _DECK["Url"], "AutoHandleUnsupportedElement": True}
_BOARD: dict[str, Any] = {
    "RoomId": ROOM,
    "Whiteboard": {"Width": 640, "Height": 360, "InitParams": '{"ratio": "16:9"}'},
    "COS": {"Uin": 130001358, "Region": "ap-guangzhou", "Bucket": "test-123070000"},
    "SnapshotMode": "LatestMarksOnly",
}
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
