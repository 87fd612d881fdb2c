# SPDX-License-Identifier: Apache-2.0
"""The simulator, called by the unmodified SDK and by hand."""

from __future__ import annotations

import contextlib
import gc
import inspect
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import warnings
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import models, tiw_client

from tiw_automation.simulator import ScriptError, Simulator
from tiw_automation.simulator.signature import sign

DOCS = Path(__file__).resolve().parents[2] / "docs/simulator.md"

pytestmark = [
    # The SDK signs with a call that Python 3.12 deprecates, and does not close its answers.
    pytest.mark.filterwarnings("ignore:datetime.datetime.utcfromtimestamp:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


def sdk(simulator: Simulator, *, key: str | None = None, method: str = "POST") -> Any:
    profile = ClientProfile(
        httpProfile=HttpProfile(
            protocol="http", endpoint=simulator.endpoint.split("//")[1], reqMethod=method
        ),
        language="en-US",
    )
    keys = Credential(simulator.secret_id, key or simulator.secret_key)
    return tiw_client.TiwClient(keys, simulator.region, profile)


def ask(simulator: Simulator, task_id: str, **given: Any) -> Any:
    params = {"SdkAppId": simulator.sdk_app_id, "TaskId": task_id}
    return sdk(simulator, **given).call_json("DescribeOnlineRecord", params)["Response"]


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_the_unmodified_sdk_works(tiw_simulator: Simulator, method: str) -> None:
    (task_id,) = tiw_simulator.add_finished(1)
    request = models.DescribeOnlineRecordRequest()
    request.SdkAppId = tiw_simulator.sdk_app_id
    request.TaskId = task_id
    answer = sdk(tiw_simulator, method=method).DescribeOnlineRecord(request)
    assert answer.Status == "FINISHED"
    assert answer.FinishReason == "USER_CALL"
    assert answer.RequestId
    video = answer.VideoInfos[0]
    with urllib.request.urlopen(video.VideoUrl) as got:
        content = got.read()
    assert len(content) == video.VideoSize
    assert content[4:8] == b"ftyp"


def test_a_wrong_key_is_refused(tiw_simulator: Simulator) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        ask(tiw_simulator, "t", key="anotherkeyanotherkeyanotherkey")
    assert caught.value.get_code() == "AuthFailure.SignatureFailure"
    assert caught.value.get_request_id()
    assert tiw_simulator.requests == {}


def test_the_published_signature() -> None:
    text = (
        "TC3-HMAC-SHA256\n1551113065\n2019-02-25/cvm/tc3_request\n"
        "5ffe6a04c0664d6b969fab9a13bdab201d63ee709638e2749d62a09ca18d7031"
    )
    key = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE"
    expected = "72e494ea809ad7a8c8f7a4507b9bddcbaa8e581f516e8da2f66e2c5a96525168"
    assert sign(key, "2019-02-25", "cvm", text) == expected


def test_the_five_states() -> None:
    with Simulator(speed=0) as simulator:
        phases: list[dict[str, float]] = [
            {"PREPARED": 2},
            {"RECORDING": 10},
            {"PAUSED": 5},
            {"RECORDING": 10},
            {"STOPPED": 5},
        ]
        simulator.add("t", timeline=phases)
        seen = []
        for phase in phases:
            answer = ask(simulator, "t")
            seen.append(answer["Status"])
            assert not answer.get("VideoInfos")
            simulator.advance(*phase.values())
        assert seen == ["PREPARED", "RECORDING", "PAUSED", "RECORDING", "STOPPED"]
        answer = ask(simulator, "t")
        assert answer["Status"] == "FINISHED"
        assert answer["TotalTime"] == 20_000
        # A new file for each part between pauses, and for each of two streams.
        assert sorted(video["VideoPlayTime"] for video in answer["VideoInfos"]) == [
            *(0, 0, 10_000, 10_000)
        ]


@pytest.mark.parametrize("reason", ["AUTO", "USER_CALL", "EXCEPTION", "FORCE_STOP"])
def test_finish_reasons(tiw_simulator: Simulator, reason: str) -> None:
    tiw_simulator.add("t", timeline=[], finish_reason=reason)
    assert ask(tiw_simulator, "t")["FinishReason"] == reason


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"TaskId": "absent"}, "InvalidParameter.TaskNotFound"),
        ({"TaskId": "failed"}, "FailedOperation.Record"),
        ({"TaskId": 7}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"TaskId": "t", "SdkAppId": "x"}, "InvalidParameter.BodyParameterTypeUnmatched"),
        ({"TaskId": "t", "SdkAppId": 1499999999}, "UnauthorizedOperation.SdkAppId"),
        ({"TaskId": None}, "MissingParameter"),
        ({"TaskId": "t", "Surprise": 1}, "UnknownParameter"),
    ],
)
def test_what_is_refused(tiw_simulator: Simulator, params: dict[str, Any], code: str) -> None:
    tiw_simulator.add("failed", error={"code": "FailedOperation.Record"})
    with pytest.raises(TencentCloudSDKException) as caught:
        sdk(tiw_simulator).call_json(
            "DescribeOnlineRecord", {"SdkAppId": tiw_simulator.sdk_app_id, **params}
        )
    assert caught.value.get_code() == code


def test_an_unknown_action_and_an_answer_without_a_status(tiw_simulator: Simulator) -> None:
    with pytest.raises(TencentCloudSDKException) as caught:
        sdk(tiw_simulator).call_json("NoSuchAction", {})
    assert caught.value.get_code() == "InvalidAction"
    tiw_simulator.add("bare", answer="request_id_only")
    assert list(ask(tiw_simulator, "bare")) == ["RequestId"]


def test_the_limit_of_twenty_in_a_second() -> None:
    now = [1_800_000_000.0]
    with Simulator(clock=lambda: now[0]) as simulator:
        from tiw_automation.simulator.limits import RateLimiter

        assert simulator.max_in_window == 0
        limiter = RateLimiter()
        verdicts = [limiter.request("id", "action", now[0]) for _ in range(22)]
        assert verdicts == [None] * 20 + [21, 22]
        assert limiter.request("other", "action", now[0]) is None
        assert limiter.request("id", "action", now[0] + 1) is None
        assert limiter.max_in_window == 22


def test_a_rejected_request_gets_the_gateways_message(tiw_simulator: Simulator) -> None:
    (task_id,) = tiw_simulator.add_finished(1)
    client = sdk(tiw_simulator)
    params = {"SdkAppId": tiw_simulator.sdk_app_id, "TaskId": task_id}
    messages = []
    for _ in range(60):
        try:
            client.call_json("DescribeOnlineRecord", params)
        except TencentCloudSDKException as error:
            messages.append(error.get_message())
    assert "exceeds the frequency limit `20` for a second" in messages[0]
    assert tiw_simulator.rejects == len(messages)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"recording": []}, "recording: unknown key, allowed: "),
        ({"recording": []}, ". Did you mean recordings?"),
        ({"recordings": [{}]}, "recordings[0]: task_id is missing"),
        ({"recordings": [{"taskid": "a"}]}, ". Did you mean task_id instead of taskid?"),
        ({"recordings": [{"task_id": "a"}, {"task_id": "a"}]}, "task_id a is given twice"),
        (
            {"recordings": [{"task_id": "a", "timeline": [{"DONE": 1}]}]},
            'recordings[0].timeline[0]: got "DONE", allowed: PREPARED, RECORDING',
        ),
        ({"recordings": [{"task_id": "a", "timeline": [{"PAUSED": -1}]}]}, "timeline[0].PAUSED"),
        (
            {"recordings": [{"task_id": "a", "timeline": [{"STOPPED": 1}, {"PAUSED": 1}]}]},
            "STOPPED can only come last",
        ),
        ({"recordings": [{"task_id": "a", "timeline": [{"FINISHED": 1}]}]}, "leave it out"),
        ({"recordings": [{"task_id": "a", "videos": [{"kind": "cam"}]}]}, "Did you mean camera?"),
        (
            {"recordings": [{"task_id": "a", "finish_reason": "NEVER"}]},
            'got "NEVER", allowed: AUTO',
        ),
        ({"recordings": [{"task_id": 7}]}, "(put it in quotes)"),
        ({"sdk_app_id": "x"}, "sdk_app_id: got"),
        ({"speed": -1}, "speed: got -1, allowed: a number from 0"),
        ({"region": "ap-beijing"}, "region: got"),
        ({"secret_id": "a"}, "secret_id and secret_key must be given together"),
        ({"rooms": [{"users": []}]}, "rooms[0]: room_id is missing"),
        ({"faults": [{"name": "hangs"}]}, "faults[0].name: got"),
        ({"faults": ["hangs"]}, "Did you mean hang?"),
        ({"faults": [{"name": "slow", "delai": 1}]}, "Did you mean delay?"),
        ({"faults": [{"name": "hang", "action": "StopOnlineRecords"}]}, "mean StopOnlineRecord?"),
        ({"callback_mode": "double"}, "Did you mean doubled?"),
    ],
)
def test_mistakes_in_a_script(tmp_path: Path, script: dict[str, Any], words: str) -> None:
    with pytest.raises(ScriptError) as caught:
        Simulator(script=script)
    assert words in str(caught.value)
    file = tmp_path / "lessons.json"
    file.write_text(json.dumps(script))
    with pytest.raises(ScriptError) as from_file:
        Simulator(script=file)
    assert str(file) in str(from_file.value)


def test_the_page_names_arguments_and_methods() -> None:
    page = DOCS.read_text(encoding="utf-8")
    for name in inspect.signature(Simulator).parameters:
        assert f"`{name}`" in page
    for name in vars(Simulator):
        if not name.startswith("_") and name != "serve":
            assert re.search(rf"\b{name}\b", page), name


def command(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tiw_automation.simulator", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command(tmp_path: Path, number: signal.Signals) -> None:
    script = tmp_path / "lessons.yml"
    script.write_text("recordings:\n  - task_id: lesson\n    timeline: []\n")
    process = command("--port", "0", "--script", str(script))
    try:
        assert process.stdout is not None
        facts = json.loads(process.stdout.readline())
        assert sorted(facts) == ["endpoint", "region", "sdk_app_id", "secret_id", "secret_key"]
        with urllib.request.urlopen(f"{facts['endpoint']}/_simulator/stats") as answer:
            assert json.load(answer)["rejects"] == 0
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{facts['endpoint']}/videos/1/2/3.mp4")
        process.send_signal(number)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_mistake_in_the_command_is_one_line(tmp_path: Path) -> None:
    script = tmp_path / "lessons.yml"
    script.write_text("recordingz: []\n")
    process = command("--port", "0", "--script", str(script))
    _, printed = process.communicate(timeout=30)
    assert process.returncode == 2
    assert printed.count("\n") == 1
    assert str(script) in printed
    with Simulator() as taken:
        process = command("--port", str(taken.port))
        _, printed = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "cannot listen" in printed


def end_while_connections_arrive() -> None:
    over = threading.Event()
    mine: list[socket.socket] = []

    def knock(port: int) -> None:
        while not over.is_set() and len(mine) < 300:
            with contextlib.suppress(OSError):
                mine.append(socket.create_connection(("127.0.0.1", port), 1))
                mine[-1].sendall(b"GET / HTTP/1.1\r\nHost: tiw\r\n\r\n")

    with Simulator() as simulator:
        knocking = threading.Thread(target=knock, args=(simulator.port,))
        knocking.start()
        while len(mine) < 5:
            time.sleep(0.001)
    over.set()
    knocking.join()
    for each in mine:
        each.close()


def test_a_connection_during_the_end_is_closed() -> None:
    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always", ResourceWarning)
        for _ in range(20):
            end_while_connections_arrive()
        gc.collect()
    assert [str(warning.message) for warning in unclosed] == []
