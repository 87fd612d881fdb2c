# SPDX-License-Identifier: Apache-2.0
"""The module online_record_info, run by a real ansible-playbook against the simulator."""

from __future__ import annotations

import json
import re
import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
from page_blocks import outputs

from tiw_automation.core import OnlineRecord
from tiw_automation.simulator import Simulator
from tiw_automation.simulator.server import DEFAULT_SECRET_ID

README = "collections/ansible_collections/tiw/automation/README.md"

Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]
LESSONS = ["algebra", "history", "chemistry", "drama", "absent"]
MANY = [f"finished-{number:06d}" for number in range(1, 101)]


def info(**options: Any) -> dict[str, Any]:
    return {"tiw.automation.online_record_info": options}


def add_lessons(simulator: Simulator) -> None:
    simulator.add("algebra", timeline=[{"RECORDING": 2}, {"STOPPED": 1}])
    simulator.add("history", timeline=[{"RECORDING": 1}, {"PAUSED": 1}, {"RECORDING": 1}])
    simulator.add("chemistry", timeline=[], finish_reason="EXCEPTION")
    simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})


def progress(output: str) -> list[str]:
    return [line for line in output.splitlines() if "recordings done after" in line]


# In one playbook


def prepare(simulator: Simulator) -> None:
    """Add the recordings of the tests that share a playbook."""
    for task_id in (
        "once",
        "slow",
        "quiet",
        "secret",
        "first-1",
        "first-2",
        "second-1",
        "second-2",
    ):
        simulator.add(task_id, timeline=[{"RECORDING": 100_000}])
    for refused in ("first-1", "second-2"):
        simulator.inject("server_error", code="InvalidParameterValue", task_id=refused)
    simulator.add("play", error={"message": "code: 40004, msg: now, im login failed"})
    assert simulator.add_finished(100) == MANY


@pytest.mark.tasks({**info(task_ids=["once", "absent-once"]), "check_mode": True})
def test_without_waiting_each_is_asked_once_also_in_check_mode(
    played: Any, simulator: Simulator
) -> None:
    (found,) = played.results
    assert not found.get("failed"), played.output
    assert found["pending"] == ["once"]
    assert found["records"][0]["status"] == "RECORDING"
    asked = simulator.requests_by_task
    assert (asked["once"], asked["absent-once"], found["polls"]) == (1, 1, 2)


@pytest.mark.tasks(info(task_ids=["first-1", "first-2"]), info(task_ids=["second-1", "second-2"]))
def test_one_that_is_refused_ends_no_other(played: Any) -> None:
    for found, refused, other in zip(
        played.results, ("first-1", "second-2"), ("first-2", "second-1"), strict=True
    ):
        assert found["failed"], played.output
        assert found["pending"] == [other]
        assert found["errors"][refused]["code"] == "InvalidParameterValue"


@pytest.mark.tasks(
    info(task_ids=["slow", "absent"], wait=True, wait_timeout=5, wait_sleep=0.2),
    info(task_ids=["play", "absent"], fail_on=["failed", "missing"]),
)
def test_what_to_fail_on(played: Any) -> None:
    late, picky = played.results
    assert late["failed"]
    assert "slow (timeout)" in late["msg"]
    assert late["missing"] == ["absent"]
    assert picky["failed"]
    assert "play (failed)" in picky["msg"]
    assert "absent (missing)" in picky["msg"]
    assert picky["code"] == "FailedOperation.Record"
    assert picky["request_id"]


@pytest.mark.tasks(info(task_ids=MANY, wait=True))
def test_a_hundred_recordings_are_one_process_and_one_request_each(
    played: Any, simulator: Simulator
) -> None:
    (found,) = played.results
    assert found["all_finished"] is True
    assert found["polls"] == 100
    assert {simulator.requests_by_task[task_id] for task_id in MANY} == {1}
    assert simulator.rejects == 0


INVALID: list[tuple[dict[str, Any], str]] = [
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
]


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(words, marks=pytest.mark.tasks(info(**options)), id=f"{words}-{number}")
        for number, (options, words) in enumerate(INVALID)
    ],
)
def test_invalid_options_send_nothing(words: str, played: Any, simulator: Simulator) -> None:
    (found,) = played.results
    assert found["failed"]
    assert words in found["msg"]
    assert "a" not in simulator.requests_by_task


SHORT = {"wait": True, "wait_timeout": 8, "wait_sleep": 0.5, "timeout": 1, "fail_on": []}


@pytest.mark.tasks(
    {"name": "Quiet", **info(task_ids=["quiet"], **SHORT, progress_interval=0)},
    {"name": "Secret", **info(task_ids=["secret"], **SHORT, progress_interval=2), "no_log": True},
)
def test_no_progress_where_none_is_wanted(played: Any) -> None:
    lines = progress(played.output)
    assert [line for line in lines if line.startswith(("Quiet", "Secret"))] == []
    assert [result["pending"] for result in played.results] == [["quiet"], ["secret"]]


WRONG_KEY = "wrongkeywrongkeywrongkeywrongkey"


def fifty(simulator: Simulator) -> None:
    simulator.add_finished(50)


@pytest.mark.tasks(
    info(task_ids=MANY[:50], secret_id=DEFAULT_SECRET_ID, secret_key=WRONG_KEY), prepare=fifty
)
def test_wrong_keys_are_one_error_without_a_secret(played: Any, simulator: Simulator) -> None:
    (found,) = played.results
    assert found["failed"]
    assert found["code"] == "AuthFailure.SignatureFailure"
    assert found["hint"]
    assert found["request_id"]
    assert sum(simulator.requests.values()) == 0
    assert WRONG_KEY not in played.output
    assert simulator.secret_key not in played.output


# In a playbook each


def test_five_lessons_are_waited_for_also_in_check_mode(
    tiw_simulator: Simulator, play: Play
) -> None:
    add_lessons(tiw_simulator)
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 3}])
    checked = info(task_ids=["lesson"], wait=True, wait_sleep=0.5)
    played = play(
        {**checked, "check_mode": True, "diff": True},
        info(task_ids=[*LESSONS, "algebra"], wait=True, wait_sleep=0.5),
    )
    checked, found = played.results
    assert checked["all_finished"] is True
    assert checked["changed"] is False
    assert tiw_simulator.writes == 0
    assert not found.get("failed"), played.output
    assert [record["task_id"] for record in found["records"]] == LESSONS
    verdicts = [record["verdict"] for record in found["records"]]
    assert verdicts == ["finished", "finished", "failed", "failed", "missing"]
    assert [record["exists"] for record in found["records"]] == [True] * 4 + [False]
    assert found["failed_ids"] == ["chemistry", "drama"]
    assert found["missing"] == ["absent"]
    assert found["pending"] == []
    assert found["all_finished"] is False
    assert len(found["video_urls"]) == 2 + 4
    polls = checked["polls"] + found["polls"]
    assert polls == tiw_simulator.requests["DescribeOnlineRecord"]
    assert found["changed"] is False
    assert "im login failed" in found["records"][3]["message"]
    keys = set(OnlineRecord(1, "t").to_dict()) | {"exists", "verdict", "message"}
    assert all(set(record) == keys for record in found["records"])


def test_the_playbook_reports(tiw_simulator: Simulator, command: Command) -> None:
    """A wait fails at its end for what did not finish, unless ``fail_on`` accepts it."""
    add_lessons(tiw_simulator)
    tiw_simulator.add("long", timeline=[{"RECORDING": 10_000}])
    lessons = {"task_ids": [*LESSONS, "long"], "wait_sleep": 0.5}
    for given, named in (
        ({"wait": True, "wait_timeout": 8}, "absent, chemistry, drama, long"),
        # The command line makes a text of each value.
        ({"wait": "true", "wait_timeout": 1, "fail_on": "[]"}, ""),
        ({"wait": "true", "wait_timeout": 1, "fail_on": "missing"}, "absent"),
        ({"wait": "false"}, ""),
    ):
        done = command(
            "ansible-playbook", "tiw.automation.report", "-e", json.dumps({**lessons, **given})
        )
        output = " ".join(done.stdout.split())
        assert done.returncode == (2 if named else 0), output
        assert "FINISHED Recording algebra is FINISHED" in output
        assert "im login failed" in output
        # Newer Ansible prints a message twice.
        shown = set(re.findall(r"in an unwanted state: (.*?)\. The report", output))
        assert shown == ({named} if named else set()), output


def test_the_playbook_refuses_another_state(tiw_simulator: Simulator, command: Command) -> None:
    given = ["-e", "task_ids=algebra", "-e", "fail_on=missing,mising"]
    done = command("ansible-playbook", "tiw.automation.report", *given)
    assert done.returncode == 2
    output = " ".join(done.stdout.split())
    assert "must be any of missing, failed and timeout, or [], not missing,mising" in output
    assert tiw_simulator.requests == {}


def test_a_wait_for_other_states(tiw_simulator: Simulator, play: Play) -> None:
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
    # The wait ends before its timeout.
    assert two["elapsed"] < 3600
    assert [record["status"] for record in mixed["records"]] == ["PAUSED", "STOPPED", "FINISHED"]
    assert mixed["unreached"] == []
    assert mixed["all_finished"] is False
    assert picky["failed"]
    assert "over (timeout): Recording over is STOPPED and cannot become PAUSED" in picky["msg"]
    assert "drama" not in picky["msg"]


def test_a_long_wait_shows_its_progress_and_asks_only_for_what_is_unfinished(
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
    time = r"\d:\d\d:\d\d"
    form = (
        rf"[\w ]+: \d of \d recordings done after {time} \((\d [A-Za-z]+(, )?)+\); "
        rf"waiting for [\w, ]+, {time} at most"
    )
    assert all(re.fullmatch(form, line) for line in (*lines, *outputs(README, "recordings done")))
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
