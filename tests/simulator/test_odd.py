# SPDX-License-Identifier: Apache-2.0
"""Odd answers: other forms, the same meaning."""

from __future__ import annotations

import http.client
import json
import random
from collections.abc import Callable
from typing import Any

from tiw_automation.simulator import Simulator
from tiw_automation.simulator.oddity import oddly

Call = Callable[..., dict[str, Any]]
DESCRIBE = "DescribeOnlineRecord"
ANSWER = {
    "Status": "FINISHED",
    "FinishReason": "USER_CALL",
    "TaskId": "123",
    "GroupId": "880528",
    "RoomId": 880528,
    "Interrupts": [],
    "VideoInfos": [{"VideoUrl": "http://host/1.mp4", "VideoSize": 5, "VideoType": 0}],
}


def forms(name: str, count: int = 400) -> set[str]:
    dice = random.Random(1)
    return {json.dumps(oddly(ANSWER, dice)[name]) for _ in range(count)}


def test_every_form_occurs() -> None:
    assert forms("Status") == {'"FINISHED"', '"Finished"', '" finished "'}
    assert forms("RoomId") == {"880528", '"880528"', "880528.0", '"880528.0"'}
    assert forms("GroupId") == {'"880528"', "880528"}
    assert forms("Interrupts") == {"[]", "{}", "null"}
    assert {form[0] for form in forms("VideoInfos")} == {"[", "{"}


def test_what_decides_a_result_keeps_its_meaning() -> None:
    dice = random.Random(2)
    for _ in range(200):
        odd = oddly(ANSWER, dice)
        assert odd["TaskId"] == "123"
        rows = odd["VideoInfos"]
        rows = [rows] if isinstance(rows, dict) else rows
        assert [row["VideoUrl"] for row in rows if row] == ["http://host/1.mp4"]
        assert odd["Status"].strip().upper() == "FINISHED"


def test_errors_keep_their_form() -> None:
    error = {"Error": {"Code": "InternalError", "Message": "7"}}
    assert oddly(error, random.Random(0)) == error


def test_the_same_requests_get_the_same_answers(call: Call) -> None:
    def answers() -> list[str]:
        with Simulator(odd=True, speed=0) as simulator:
            simulator.add("lesson", timeline=[], age=60)
            found = [call(simulator, DESCRIBE, TaskId="lesson") for _ in range(10)]
        port = str(simulator.port)
        for answer in found:
            del answer["RequestId"], answer["RecordStartTime"], answer["RecordStopTime"]
        return [json.dumps(answer).replace(port, "PORT") for answer in found]

    first = answers()
    assert len(set(first)) > 5
    assert answers() == first


def test_odd_answers_can_be_set_at_any_time(call: Call) -> None:
    with Simulator(limit=0) as simulator:
        simulator.add("lesson", timeline=[])

        def forms_seen() -> set[type]:
            answers = [call(simulator, DESCRIBE, TaskId="lesson") for _ in range(30)]
            return {type(answer["RoomId"]) for answer in answers}

        assert forms_seen() == {int}
        simulator.odd = True
        assert forms_seen() == {int, str, float}
        simulator.odd = False
        assert forms_seen() == {int}


def test_a_script_can_set_odd_answers() -> None:
    with Simulator({"odd": True}) as simulator:
        assert simulator.odd


def raw_request(simulator: Simulator) -> bytes:
    connection = http.client.HTTPConnection("127.0.0.1", simulator.port, timeout=10)
    try:
        connection.connect()
        assert connection.sock is not None
        connection.sock.sendall(
            b"POST / HTTP/1.1\r\nHost: x\r\nX-TC-Action: DescribeOnlineRecord\r\n"
            b"Authorization: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
        )
        data = b""
        while piece := connection.sock.recv(65536):
            data += piece
        return data
    finally:
        connection.close()


def test_early_hints_come_before_the_answer(tiw_simulator: Simulator) -> None:
    tiw_simulator.fault = "early_hints"
    data = raw_request(tiw_simulator)
    assert data.startswith(b"HTTP/1.1 103 Early Hints\r\n")
    assert b"\r\n\r\nHTTP/1.1 200 OK\r\n" in data


def test_a_page_with_too_many_requests(tiw_simulator: Simulator) -> None:
    tiw_simulator.fault = {"name": "html_429", "retry_after": "7"}
    data = raw_request(tiw_simulator)
    assert data.startswith(b"HTTP/1.1 429 ")
    assert b"Retry-After: 7\r\n" in data


def test_a_body_that_is_compressed_or_deep(tiw_simulator: Simulator) -> None:
    tiw_simulator.inject("gzip", times=1)
    tiw_simulator.inject("deep_json", times=1)
    assert b"Content-Encoding: gzip\r\n" in raw_request(tiw_simulator)
    assert raw_request(tiw_simulator).count(b"[") == 100_000


def test_an_answer_about_another_recording(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.add("lesson", timeline=[])
    tiw_simulator.fault = "other_task"
    assert call(tiw_simulator, DESCRIBE, TaskId="lesson")["TaskId"] == "another-recording"
