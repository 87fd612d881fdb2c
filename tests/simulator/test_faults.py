# SPDX-License-Identifier: Apache-2.0
"""Every fault, as it arrives on the wire."""

from __future__ import annotations

import json
import re
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tiw_automation.simulator import ScriptError, Simulator
from tiw_automation.simulator.faults import FAULTS

Call = Callable[..., dict[str, Any]]
CodeOf = Callable[..., str]

DOCS = Path(__file__).resolve().parents[2] / "docs/simulator.md"
DESCRIBE = "DescribeOnlineRecord"
START: dict[str, Any] = {
    "RoomId": 5,
    "RecordUserId": "tic_record_user_5_1",
    "RecordUserSig": "any",
}


class Raw:
    """One request over its own socket, without a valid signature."""

    def __init__(self, simulator: Simulator, timeout: float = 10) -> None:
        host = f"127.0.0.1:{simulator.port}"
        head = f"POST / HTTP/1.1\r\nHost: {host}\r\nX-TC-Action: {DESCRIBE}\r\n"
        head += "Authorization: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        self.was_reset = self.timed_out = False
        self.data = b""
        self.seconds: list[float] = []
        with socket.create_connection(("127.0.0.1", simulator.port), timeout=timeout) as peer:
            peer.sendall(head.encode())
            try:
                while piece := peer.recv(65536):
                    self.data += piece
                    self.seconds.append(time.monotonic())
            except ConnectionResetError:
                self.was_reset = True
            except TimeoutError:
                self.timed_out = True

    @property
    def head(self) -> str:
        return self.data.partition(b"\r\n\r\n")[0].decode()

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        return int(self.head.split(" ")[1])

    def header(self, name: str) -> str | None:
        found = re.search(rf"^{name}: (.*?)\r?$", self.head, re.IGNORECASE | re.MULTILINE)
        return found[1] if found else None


def test_an_answer_without_a_fault(tiw_simulator: Simulator) -> None:
    raw = Raw(tiw_simulator)
    assert raw.status == 200
    assert raw.header("Content-Type") == "application/json"
    assert json.loads(raw.body)["Response"]["Error"]["Code"] == "AuthFailure.InvalidAuthorization"


def test_content_types(tiw_simulator: Simulator) -> None:
    tiw_simulator.inject("charset", times=1)
    assert Raw(tiw_simulator).header("Content-Type") == "application/json; charset=utf-8"
    tiw_simulator.inject("charset", times=1, content_type="text/json")
    assert Raw(tiw_simulator).header("Content-Type") == "text/json"
    tiw_simulator.inject("no_content_type", times=1)
    raw = Raw(tiw_simulator)
    assert raw.header("Content-Type") is None
    assert json.loads(raw.body)
    assert Raw(tiw_simulator).header("Content-Type") == "application/json"


def test_error_pages(tiw_simulator: Simulator) -> None:
    tiw_simulator.inject("html_502", times=1)
    raw = Raw(tiw_simulator)
    assert (raw.status, raw.header("Content-Type")) == (502, "text/html")
    tiw_simulator.inject("html_502", times=1, status=504)
    assert Raw(tiw_simulator).status == 504
    tiw_simulator.inject("json_500", times=1)
    raw = Raw(tiw_simulator)
    assert raw.status == 500
    response = json.loads(raw.body)["Response"]
    assert response["Error"]["Code"] == "InternalError"
    assert response["RequestId"]


def test_broken_bodies(tiw_simulator: Simulator) -> None:
    tiw_simulator.inject("truncated", times=1)
    raw = Raw(tiw_simulator)
    assert 0 < len(raw.body) < int(raw.header("Content-Length") or 0)
    tiw_simulator.inject("bad_json", times=1)
    raw = Raw(tiw_simulator)
    assert raw.header("Content-Type") == "application/json"
    with pytest.raises(json.JSONDecodeError):
        json.loads(raw.body)


def test_connections_that_end(tiw_simulator: Simulator) -> None:
    for name in ("reset", "answer_lost", "outage"):
        tiw_simulator.inject(name, times=1)
        raw = Raw(tiw_simulator)
        assert raw.was_reset
        assert raw.data == b""
    assert Raw(tiw_simulator).status == 200


def test_slow_answers(tiw_simulator: Simulator) -> None:
    tiw_simulator.inject("drip", times=1, interval=0.001, bytes=10)
    raw = Raw(tiw_simulator)
    assert len(raw.seconds) > 5
    assert json.loads(raw.body)
    tiw_simulator.inject("slow", times=1, delay=0.3, jitter=0.1)
    started = time.monotonic()
    assert Raw(tiw_simulator).status == 200
    assert time.monotonic() - started >= 0.2
    tiw_simulator.inject("hang", times=1)
    raw = Raw(tiw_simulator, timeout=0.3)
    assert raw.timed_out
    assert raw.data == b""


def test_an_answer_that_is_held(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.inject("held", times=1, action="StartOnlineRecord")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(call, tiw_simulator, "StartOnlineRecord", **START)
        while not tiw_simulator.started:
            time.sleep(0.01)
        # Another request passes, and the fault was for one request only.
        assert Raw(tiw_simulator).status == 200
        assert not answer.done()
        tiw_simulator.clear_faults()
        assert answer.result(10)["TaskId"] == tiw_simulator.recordings[0]["task_id"]


def test_a_simulator_with_hanging_clients_can_end() -> None:
    with Simulator() as simulator:
        simulator.fault = "hang"
        Raw(simulator, timeout=0.1)
        peer = socket.create_connection(("127.0.0.1", simulator.port))
        peer.sendall(b"GET /?a=b HTTP/1.1\r\nHost: x\r\n\r\n")
    peer.close()


def test_answers_without_expected_fields(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.add("t", timeline=[])
    tiw_simulator.inject("request_id_only", times=1)
    assert list(call(tiw_simulator, DESCRIBE, TaskId="t")) == ["RequestId"]
    tiw_simulator.inject("null_arrays", times=1)
    answer = call(tiw_simulator, DESCRIBE, TaskId="t")
    assert (answer["VideoInfos"], answer["OmittedDurations"]) == (None, None)
    assert answer["Status"] == "FINISHED"


def test_answers_with_unexpected_fields(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.add("t", timeline=[])
    tiw_simulator.inject("unknown_field", times=1)
    answer = call(tiw_simulator, DESCRIBE, TaskId="t")
    assert answer["FieldOfTomorrow"]
    assert answer["VideoInfos"][0]["FieldOfTomorrow"]
    tiw_simulator.inject("unknown_enum", times=1)
    answer = call(tiw_simulator, DESCRIBE, TaskId="t")
    assert answer["Status"] == answer["FinishReason"] == "STATE_OF_TOMORROW"
    assert call(tiw_simulator, DESCRIBE, TaskId="t")["Status"] == "FINISHED"


def test_refusals(tiw_simulator: Simulator, call: Call, code_of: CodeOf) -> None:
    tiw_simulator.add("t", timeline=[])
    burst = tiw_simulator.inject("throttle", times=2)
    for _ in range(2):
        assert code_of(tiw_simulator, DESCRIBE, TaskId="t") == "RequestLimitExceeded"
    call(tiw_simulator, DESCRIBE, TaskId="t")
    assert burst.hits == 2
    for name, code in [
        ("throttle_then_ok", "RequestLimitExceeded"),
        ("server_error_then_ok", "InternalError"),
    ]:
        tiw_simulator.inject(name)
        assert code_of(tiw_simulator, DESCRIBE, TaskId="t") == code
        call(tiw_simulator, DESCRIBE, TaskId="t")
    tiw_simulator.inject("server_error", code="FailedOperation", message="no", times=1)
    assert code_of(tiw_simulator, DESCRIBE, TaskId="t") == "FailedOperation"
    assert tiw_simulator.faults == []


def test_a_start_whose_answer_is_lost(
    tiw_simulator: Simulator, call: Call, code_of: CodeOf
) -> None:
    tiw_simulator.inject("answer_lost", action="StartOnlineRecord", times=1)
    with pytest.raises(TencentCloudSDKException):
        call(tiw_simulator, "StartOnlineRecord", **START)
    assert tiw_simulator.started == 1
    assert code_of(tiw_simulator, "StartOnlineRecord", **START) == "ResourceInUse.RecordUserId"
    tiw_simulator.inject("reset", action="StopOnlineRecord", times=1)
    with pytest.raises(TencentCloudSDKException):
        call(tiw_simulator, "StopOnlineRecord", TaskId=tiw_simulator.recordings[0]["task_id"])
    assert tiw_simulator.writes == 1
    assert tiw_simulator.requests["StopOnlineRecord"] == 1


def test_which_requests_a_fault_is_for(tiw_simulator: Simulator, call: Call) -> None:
    for task_id in ("a", "b"):
        tiw_simulator.add(task_id, timeline=[])
    tiw_simulator.inject("request_id_only", task_id="a")
    tiw_simulator.inject("request_id_only", action="DescribeOnlineRecordCallback")
    assert "Status" not in call(tiw_simulator, DESCRIBE, TaskId="a")
    assert "Status" in call(tiw_simulator, DESCRIBE, TaskId="b")
    flat: dict[str, Any] = {"sign_method": "HmacSHA1", "http_method": "GET"}
    assert "Status" not in call(tiw_simulator, DESCRIBE, TaskId="a", **flat)
    assert "Callback" not in call(tiw_simulator, "DescribeOnlineRecordCallback")
    tiw_simulator.clear_faults()
    assert "Status" in call(tiw_simulator, DESCRIBE, TaskId="a")


def test_a_fault_for_a_time_and_one_by_chance(call: Call) -> None:
    offset = [0.0]
    with Simulator(limit=0, clock=lambda: time.time() + offset[0]) as simulator:
        simulator.add("t", timeline=[])
        simulator.inject("request_id_only", seconds=100)
        offset[0] = 99
        assert "Status" not in call(simulator, DESCRIBE, TaskId="t")
        offset[0] = 101
        assert "Status" in call(simulator, DESCRIBE, TaskId="t")
        runs = []
        for _ in range(2):
            simulator.inject("request_id_only", probability=0.5)
            runs.append(["Status" in call(simulator, DESCRIBE, TaskId="t") for _ in range(40)])
            simulator.clear_faults()
        assert runs[0] == runs[1]
        assert 5 < sum(runs[0]) < 35


def test_the_standing_fault(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.add("t", timeline=[])
    tiw_simulator.fault = "request_id_only"
    assert tiw_simulator.fault == "request_id_only"
    tiw_simulator.inject("unknown_enum", times=1)
    assert call(tiw_simulator, DESCRIBE, TaskId="t")["Status"] == "STATE_OF_TOMORROW"
    assert "Status" not in call(tiw_simulator, DESCRIBE, TaskId="t")
    tiw_simulator.fault = {"name": "unknown_enum"}
    assert "Status" in call(tiw_simulator, DESCRIBE, TaskId="t")
    tiw_simulator.fault = None
    assert call(tiw_simulator, DESCRIBE, TaskId="t")["Status"] == "FINISHED"


def test_a_download_that_fails(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.add("t", timeline=[])
    url = call(tiw_simulator, DESCRIBE, TaskId="t")["VideoInfos"][0]["VideoUrl"]
    tiw_simulator.inject("html_502", action="video", task_id="t", times=1)
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url)
    caught.value.close()
    tiw_simulator.inject("truncated", action="video", times=1)
    with urllib.request.urlopen(url) as answer, pytest.raises(Exception, match="IncompleteRead"):
        answer.read()
    with urllib.request.urlopen(url) as answer:
        assert answer.read()


def test_faults_of_a_script(call: Call, code_of: CodeOf) -> None:
    faults = ["throttle_then_ok", {"name": "request_id_only", "task_id": "t", "times": 1}]
    with Simulator({"faults": faults, "recordings": [{"task_id": "t", "timeline": []}]}) as it:
        assert code_of(it, DESCRIBE, TaskId="t") == "RequestLimitExceeded"
        assert "Status" not in call(it, DESCRIBE, TaskId="t")
        assert "Status" in call(it, DESCRIBE, TaskId="t")


def over_http(simulator: Simulator, method: str, body: object = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    url = f"{simulator.endpoint}/_simulator/faults"
    request = urllib.request.Request(url, data=data, method=method)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_faults_over_http(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.add("t", timeline=[])
    status, answer = over_http(tiw_simulator, "POST", {"name": "request_id_only", "times": 2})
    assert (status, answer["faults"][0]["times"]) == (200, 2)
    assert "Status" not in call(tiw_simulator, DESCRIBE, TaskId="t")
    _, answer = over_http(tiw_simulator, "GET")
    assert answer == {"faults": [{"name": "request_id_only", "times": 1, "hits": 1}]}
    status, answer = over_http(tiw_simulator, "POST", [{"name": "request-id-only"}, "reset"])
    assert status == 400
    assert "Did you mean request_id_only?" in answer["error"]
    assert len(tiw_simulator.faults) == 1
    assert over_http(tiw_simulator, "DELETE")[0] == 200
    assert tiw_simulator.faults == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"name": "trunkated"}, "Did you mean truncated?"),
        ({"name": "reset", "time": 3}, "Did you mean times?"),
        ({"name": "reset", "times": 0}, "a positive whole number"),
        ({"name": "reset", "action": "Describe"}, "action: got"),
        ({"name": "reset", "probability": 2}, "a number from 0 to 1"),
        ({"name": "truncated", "part": 1}, "less than 1"),
        ({"name": "html_502", "status": 200}, "from 400 to 599"),
        ({"name": "reset", "delay": 1}, "unknown key"),
    ],
)
def test_mistakes_in_a_fault(tiw_simulator: Simulator, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ScriptError, match=re.escape(words)):
        tiw_simulator.inject(**given)
    with pytest.raises(ScriptError):
        tiw_simulator.fault = given
    assert tiw_simulator.faults == []


def test_every_fault_is_documented() -> None:
    page = DOCS.read_text(encoding="utf-8")
    assert [name for name in FAULTS if f"`{name}`" not in page] == []
