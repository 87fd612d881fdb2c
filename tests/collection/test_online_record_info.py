# SPDX-License-Identifier: Apache-2.0
"""The module, run by a real ansible-playbook against the simulator."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tiw_automation.core import OnlineRecord
from tiw_automation.simulator import Simulator

Run = Callable[..., dict[str, Any]]
Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]
LESSONS = ["algebra", "history", "chemistry", "drama", "absent"]


def add_lessons(simulator: Simulator) -> None:
    simulator.add("algebra", timeline=[{"RECORDING": 2}, {"STOPPED": 1}])
    simulator.add("history", timeline=[{"RECORDING": 1}, {"PAUSED": 1}, {"RECORDING": 1}])
    simulator.add("chemistry", timeline=[], finish_reason="EXCEPTION")
    simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})


def test_five_lessons_are_waited_for(tiw_simulator: Simulator, run: Run) -> None:
    add_lessons(tiw_simulator)
    found = run(task_ids=[*LESSONS, "algebra"], wait=True, wait_sleep=0.5)
    assert not found.get("failed"), found["_output"]
    assert [record["task_id"] for record in found["records"]] == LESSONS
    verdicts = [record["verdict"] for record in found["records"]]
    assert verdicts == ["finished", "finished", "failed", "failed", "missing"]
    assert [record["exists"] for record in found["records"]] == [True] * 4 + [False]
    assert found["failed_ids"] == ["chemistry", "drama"]
    assert found["missing"] == ["absent"]
    assert found["pending"] == []
    assert found["all_finished"] is False
    assert len(found["video_urls"]) == 2 + 4
    assert found["polls"] == tiw_simulator.requests["DescribeOnlineRecord"]
    assert found["changed"] is False
    assert "im login failed" in found["records"][3]["message"]
    keys = set(OnlineRecord(1, "t").to_dict()) | {"exists", "verdict", "message"}
    assert all(set(record) == keys for record in found["records"])


def test_without_waiting_each_is_asked_once_also_in_check_mode(
    tiw_simulator: Simulator, run: Run
) -> None:
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    found = run("--check", task_ids=["slow", "absent"])
    assert not found.get("failed"), found["_output"]
    assert found["pending"] == ["slow"]
    assert found["records"][0]["status"] == "RECORDING"
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 2}


@pytest.mark.parametrize("task_ids", [["odd", "slow"], ["slow", "odd"]])
def test_one_that_is_refused_ends_no_other(
    tiw_simulator: Simulator, run: Run, task_ids: list[str]
) -> None:
    for task_id in task_ids:
        tiw_simulator.add(task_id, timeline=[{"RECORDING": 1000}])
    tiw_simulator.inject("server_error", code="InvalidParameterValue", task_id="odd")
    found = run(task_ids=task_ids)
    assert found["failed"], found["_output"]
    assert found["pending"] == ["slow"]
    assert found["errors"]["odd"]["code"] == "InvalidParameterValue"


def test_what_to_fail_on(tiw_simulator: Simulator, run: Run) -> None:
    add_lessons(tiw_simulator)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    late = run(task_ids=["slow", "absent"], wait=True, wait_timeout=5, wait_sleep=0.2)
    assert late["failed"]
    assert "slow (timeout)" in late["msg"]
    assert late["missing"] == ["absent"]
    picky = run(task_ids=["drama", "absent"], fail_on=["failed", "missing"])
    assert picky["failed"]
    assert "drama (failed)" in picky["msg"]
    assert "absent (missing)" in picky["msg"]
    assert picky["code"] == "FailedOperation.Record"
    assert picky["request_id"]


def test_a_hundred_recordings_are_one_process_and_one_request_each(
    tiw_simulator: Simulator, run: Run
) -> None:
    ids = tiw_simulator.add_finished(100)
    found = run(task_ids=ids, wait=True)
    assert found["all_finished"] is True
    assert found["polls"] == 100
    assert set(tiw_simulator.requests_by_task.values()) == {1}
    assert tiw_simulator.rejects == 0


def test_wrong_keys_are_one_error_and_no_secret_is_shown(
    tiw_simulator: Simulator, run: Run
) -> None:
    wrong = "wrongkeywrongkeywrongkeywrongkey"
    ids = tiw_simulator.add_finished(50)
    found = run("-vvv", task_ids=ids, secret_id=tiw_simulator.secret_id, secret_key=wrong)
    assert found["failed"]
    assert found["code"] == "AuthFailure.SignatureFailure"
    assert found["hint"]
    assert found["request_id"]
    assert sum(tiw_simulator.requests.values()) == 0
    assert wrong not in found["_output"]
    assert tiw_simulator.secret_key not in found["_output"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"task_ids": []}, "task id"),
        ({"task_ids": [""]}, "task id"),
        ({"task_ids": ["a", "  "]}, "task id"),
        ({"task_ids": ["a"], "sdk_app_id": 0}, "positive integer"),
        ({"task_ids": ["a"], "endpoint": "http://h/path"}, "endpoint"),
        ({"task_ids": ["a"], "site": "cn", "region": "ap-singapore"}, "contradicts"),
        ({"task_ids": ["a"], "secret_id": "AKIDhalfapairhalfapair"}, "without secret_key"),
        ({"task_ids": ["a"], "timeout": 0}, "timeout"),
        ({"task_ids": ["a"], "requests_per_second": -1}, "requests_per_second"),
        ({"task_ids": ["a"], "wait": True, "wait_timeout": 0}, "wait_timeout"),
        ({"task_ids": ["a"], "fail_on": ["late"]}, "fail_on"),
    ],
)
def test_bad_options(
    tiw_simulator: Simulator, run: Run, options: dict[str, Any], words: str
) -> None:
    found = run(**options)
    assert found["failed"]
    assert words in found["msg"]
    assert tiw_simulator.requests == {}


def test_the_playbook_reports(tiw_simulator: Simulator, command: Command) -> None:
    add_lessons(tiw_simulator)
    done = command(
        *("ansible-playbook", "tiw.automation.report"),
        *("-e", json.dumps({"task_ids": LESSONS, "wait": True, "wait_sleep": 0.5})),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FINISHED Recording algebra is FINISHED" in done.stdout
    assert "im login failed" in done.stdout


def test_states_that_are_waited_for(tiw_simulator: Simulator, play: Play) -> None:
    tiw_simulator.add("soon", timeline=[{"PREPARED": 1}, {"RECORDING": 1000}])
    tiw_simulator.add("pausing", timeline=[{"RECORDING": 1}, {"PAUSED": 1000}])
    tiw_simulator.add("over", timeline=[{"STOPPED": 1000}])
    tiw_simulator.add("ends", timeline=[])
    tiw_simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})

    def wait(ids: list[str], *states: str, **options: Any) -> dict[str, Any]:
        chosen = {"wait": True, "wait_sleep": 0.2, "wait_for": list(states), **options}
        return {"tiw.automation.online_record_info": {"task_ids": ids, **chosen}}

    one, two, picky, mixed = play(
        wait(["soon", "pausing"], "RECORDING", "PAUSED"),
        wait(["pausing", "over", "drama", "absent"], "PAUSED", fail_on=[]),
        wait(["pausing", "over", "drama", "absent"], "PAUSED"),
        wait(["pausing", "over", "ends"], "PAUSED", "STOPPED", "FINISHED"),
    ).results
    assert not one.get("failed"), one
    assert {record["status"] for record in one["records"]} <= {"RECORDING", "PAUSED"}
    assert one["pending"] == ["soon", "pausing"]
    assert one["unreached"] == []
    assert one["errors"] == {}
    assert one["all_finished"] is False
    assert not two.get("failed"), two
    assert two["unreached"] == ["over"]
    assert two["failed_ids"] == ["drama"]
    assert two["missing"] == ["absent"]
    assert set(two["errors"]) == {"over", "drama", "absent"}
    assert two["errors"]["over"]["code"] == "StateOutOfReach"
    # It is not waited for in vain.
    assert two["elapsed"] < 3600
    assert [record["status"] for record in mixed["records"]] == ["PAUSED", "STOPPED", "FINISHED"]
    assert mixed["unreached"] == []
    assert mixed["all_finished"] is False
    assert picky["failed"]
    assert "over (timeout): Recording over is STOPPED and cannot become PAUSED" in picky["msg"]
    assert "drama" not in picky["msg"]


def progress(output: str) -> list[str]:
    return [line for line in output.splitlines() if "recordings done after" in line]


def test_a_long_wait_says_how_far_it_is_and_asks_only_for_what_is_unfinished(
    tiw_simulator: Simulator, play: Play
) -> None:
    add_lessons(tiw_simulator)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 8}])
    tiw_simulator.add("endless", timeline=[{"RECORDING": 1000}])
    options = {
        "task_ids": [*LESSONS, "slow", "endless"],
        **{"wait": True, "wait_timeout": 16, "wait_sleep": 0.2, "timeout": 1},
        "progress_interval": 2,
        "fail_on": ["timeout", "failed"],
    }
    played = play({"name": "Wait", "tiw.automation.online_record_info": options})
    found = played.results[0]
    lines = progress(played.output)
    # How many depends on the machine.
    assert lines, played.output
    assert "Wait: " in lines[0]
    assert "endless" in lines[0]
    assert "waiting for endless" in lines[-1]
    assert [record["task_id"] for record in found["records"]] == options["task_ids"]
    assert found["pending"] == ["endless"]
    assert found["records"][5]["status"] == "FINISHED"
    assert found["failed"]
    assert "3 of 7 recordings: chemistry (failed)" in found["msg"]
    assert "endless (timeout)" in found["msg"]
    assert found["code"] == "FinishReason.EXCEPTION"
    assert found["polls"] == tiw_simulator.requests["DescribeOnlineRecord"]
    # Each was asked in the first slice only.
    asked = tiw_simulator.requests_by_task
    assert asked["drama"] == asked["absent"] == asked["chemistry"] == 1
    assert asked["endless"] > len(lines)


def test_an_outage_in_the_middle_of_a_wait_does_not_end_it(
    tiw_simulator: Simulator, play: Play
) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 1000}])
    options = {
        **{"task_ids": ["lesson"], "wait": True, "wait_timeout": 600, "wait_sleep": 0.5},
        **{"timeout": 1, "progress_interval": 3},
    }
    over = threading.Event()

    def outage() -> None:
        # After the first answer, and for longer than a slice.
        while sum(tiw_simulator.requests.values()) < 2 and not over.wait(0.05):
            pass
        tiw_simulator.fault = "hang"
        over.wait(8)
        tiw_simulator.clear_faults()
        tiw_simulator.advance(2000)

    away = threading.Thread(target=outage)
    away.start()
    try:
        played = play({"tiw.automation.online_record_info": options})
    finally:
        over.set()
        away.join()
    assert not played.results[0].get("failed"), played.output
    assert played.results[0]["all_finished"] is True
    assert progress(played.output)


def test_no_progress_where_none_is_wanted(tiw_simulator: Simulator, play: Play) -> None:
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    options = {
        **{"task_ids": ["slow"], "wait": True, "wait_timeout": 8, "wait_sleep": 0.5},
        **{"timeout": 1, "fail_on": []},
    }
    quiet = {"tiw.automation.online_record_info": {**options, "progress_interval": 0}}
    secret = {
        "tiw.automation.online_record_info": {**options, "progress_interval": 2},
        "no_log": True,
    }
    played = play(quiet, secret)
    assert progress(played.output) == []
    assert [result["pending"] for result in played.results] == [["slow"], ["slow"]]


def test_a_wait_in_the_background(tiw_simulator: Simulator, play: Play) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 4}])
    options = {"task_ids": ["lesson"], "wait": True, "wait_sleep": 0.5, "progress_interval": 1}
    started, ended = play(
        {"tiw.automation.online_record_info": options, "async": 60, "poll": 0},
        {
            "ansible.builtin.async_status": {"jid": "{{ result_0.ansible_job_id }}"},
            "until": "result_1.finished",
            **{"retries": 30, "delay": 1},
        },
    ).results
    assert started["ansible_job_id"]
    assert ended["all_finished"] is True
    assert ended["records"][0]["verdict"] == "finished"


def test_check_mode_waits_too(tiw_simulator: Simulator, play: Play) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 3}])
    options = {"task_ids": ["lesson"], "wait": True, "wait_sleep": 0.5}
    played = play({"tiw.automation.online_record_info": options}, arguments=("--check", "--diff"))
    assert played.results[0]["all_finished"] is True
    assert played.results[0]["changed"] is False
    assert tiw_simulator.writes == 0
