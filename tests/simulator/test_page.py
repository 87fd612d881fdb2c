# SPDX-License-Identifier: Apache-2.0
"""What a simulator serves to a browser and to a script over HTTP."""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from tiw_automation.simulator import Simulator
from tiw_automation.simulator.example import EXAMPLE
from tiw_automation.simulator.pages import LIVE

Call = Callable[..., dict[str, Any]]
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def get(simulator: Simulator, path: str, **given: Any) -> tuple[int, str, str]:
    request = urllib.request.Request(simulator.endpoint + path, **given)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


def test_the_page_is_for_browsers(tiw_simulator: Simulator) -> None:
    status, content_type, page = get(tiw_simulator, "/", headers=BROWSER)
    assert (status, page) == (200, LIVE)
    assert content_type == "text/html; charset=utf-8"
    _, content_type, answer = get(tiw_simulator, "/")
    assert content_type == "application/json"
    assert json.loads(answer)["Response"]["Error"]["Code"] == "MissingParameter"
    _, content_type, _ = get(tiw_simulator, "/?Action=DescribeOnlineRecord", headers=BROWSER)
    assert content_type == "application/json"


def test_the_page_loads_nothing_from_elsewhere() -> None:
    assert not re.search(r"https?:|//[a-z]|src=|href=|@import", LIVE)


def test_the_page_requests_what_exists(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 100}])
    call(tiw_simulator, "DescribeOnlineRecord", TaskId="lesson")
    tiw_simulator.inject("reset", times=3)
    (names,) = re.findall(r"\[([^\[\]]*)\]\.map\(get\)", LIVE)
    shown = {}
    for name in json.loads(f"[{names}]"):
        status, _, text = get(tiw_simulator, f"/_simulator/{name}")
        assert status == 200
        shown[name] = json.loads(text)
    (recording,) = shown["recordings"]["recordings"]
    for field in set(re.findall(r"\br\.(\w+)", LIVE)):
        assert field in recording
    for field in set(re.findall(r"\bstats\.(\w+)", LIVE)):
        assert field in shown["stats"]
    assert shown["stats"]["by_task"] == {"lesson": 1}
    assert shown["faults"]["faults"] == [{"name": "reset", "times": 3, "hits": 0}]
    assert shown["callbacks"] == {"callbacks": []}


def test_time_can_be_moved_over_http(tiw_simulator: Simulator, call: Call) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 100}])
    status, _, _ = get(tiw_simulator, "/_simulator/advance", data=b'{"seconds": 101}')
    assert status == 200
    assert call(tiw_simulator, "DescribeOnlineRecord", TaskId="lesson")["Status"] == "FINISHED"
    for bad in (b"{}", b'{"seconds": -1}', b'{"second": 1}', b"[]", b"{"):
        status, _, text = get(tiw_simulator, "/_simulator/advance", data=bad)
        assert status == 400
        assert json.loads(text)["error"]


def test_counts_can_be_reset_over_http(tiw_simulator: Simulator, call: Call) -> None:
    (task_id,) = tiw_simulator.add_finished(1)
    call(tiw_simulator, "DescribeOnlineRecord", TaskId=task_id)
    assert json.loads(get(tiw_simulator, "/_simulator/stats")[2])["requests"]
    assert get(tiw_simulator, "/_simulator/reset-stats", data=b"")[0] == 200
    assert not json.loads(get(tiw_simulator, "/_simulator/stats")[2])["requests"]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_where_it_listens(host: str) -> None:
    with Simulator(host=host) as simulator:
        assert get(simulator, "/", headers=BROWSER)[0] == 200


def post(simulator: Simulator, name: str, data: object) -> tuple[int, Any]:
    status, _, text = get(simulator, f"/_simulator/{name}", data=json.dumps(data).encode())
    return status, json.loads(text)


def test_recordings_over_http(tiw_simulator: Simulator, call: Call) -> None:
    given = [{"task_id": "algebra", "timeline": [{"RECORDING": 60}]}, {"task_id": "history"}]
    assert post(tiw_simulator, "recordings", given) == (200, {"task_ids": ["algebra", "history"]})
    assert call(tiw_simulator, "DescribeOnlineRecord", TaskId="algebra")["Status"] == "RECORDING"
    status, answer = post(tiw_simulator, "recordings", {"task_id": "algebra"})
    assert status == 400
    assert "exists already" in answer["error"]
    status, answer = post(tiw_simulator, "recordings", {"task_id": "x", "timelnie": []})
    assert status == 400
    assert "Did you mean timeline?" in answer["error"]


def test_the_example_begins_when_one_of_its_recordings_is_asked_for(
    call: Call, code_of: Callable[..., str]
) -> None:
    with Simulator(EXAMPLE, speed=50) as simulator:
        simulator.add_task("transcode", "deck", duration_s=100)
        time.sleep(2.5)
        missing = code_of(simulator, "DescribeOnlineRecord", TaskId="doctor")
        assert missing == "InvalidParameter.TaskNotFound"
        answer = call(simulator, "DescribeOnlineRecord", TaskId="algebra")
        assert answer["Status"] == "RECORDING"
        assert simulator.tasks[0]["status"] in ("QUEUED", "PROCESSING")
        assert abs(answer["RecordStartTime"] - time.time()) < 30
        simulator.advance(130)
        states = [found["status"] for found in simulator.recordings]
        assert states == ["FINISHED", "FINISHED", "FAILED"]
        assert simulator.tasks[0]["status"] == "FINISHED"
