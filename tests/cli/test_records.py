# SPDX-License-Identifier: Apache-2.0
"""``tiw show`` and ``tiw wait``."""

from __future__ import annotations

import json
import threading
import time

import pytest
from tiw_command import run_tiw

from tiw_automation.simulator import Simulator

USER = "老师王小明"
HOSTILE = "\x1b[31mred\n"


def test_show_prints_a_line_for_each(tiw_simulator: Simulator) -> None:
    first, second = tiw_simulator.add_finished(2)
    shown = run_tiw(tiw_simulator, "show", f"{first},{second}", first)
    assert shown.exit_code == 0
    assert [line.split("\t")[:2] for line in shown.stdout.splitlines()] == [
        [first, "FINISHED"],
        [second, "FINISHED"],
    ]


def test_show_reads_ids_of_standard_input(tiw_simulator: Simulator) -> None:
    first, second = tiw_simulator.add_finished(2)
    shown = run_tiw(tiw_simulator, "show", "-", "-o", "json", given=f"{first}\n\n# x\n{second}\n")
    assert [one["task_id"] for one in json.loads(shown.stdout)] == [first, second]


def test_show_a_missing_one(tiw_simulator: Simulator) -> None:
    (task_id,) = tiw_simulator.add_finished(1)
    shown = run_tiw(tiw_simulator, "show", task_id, "nope")
    assert shown.exit_code == 1
    assert "nope\tMISSING" in shown.stdout
    assert shown.stderr.startswith("tiw: nope: ")
    assert "\n  code: InvalidParameter.TaskNotFound\n  request id: " in shown.stderr
    assert "\n  hint: " in shown.stderr


def test_show_escapes_what_comes_from_outside(tiw_simulator: Simulator) -> None:
    videos = [{"kind": "camera", "user_id": USER}, {"kind": "camera", "user_id": HOSTILE}]
    tiw_simulator.add("lesson", timeline=[], videos=videos)
    shown = run_tiw(tiw_simulator, "show", "lesson")
    assert shown.stdout.endswith(f"{USER}, \\x1b[31mred\\n\n")


def test_urls_are_one_a_line(tiw_simulator: Simulator) -> None:
    ids = tiw_simulator.add_finished(2)
    shown = run_tiw(tiw_simulator, "show", *ids, "--output", "urls")
    assert len(shown.stdout.splitlines()) == 2
    assert all(line.startswith("http://") for line in shown.stdout.splitlines())


@pytest.mark.parametrize("form", ["jsonl", "json"])
def test_outcomes_as_json(tiw_simulator: Simulator, form: str) -> None:
    (task_id,) = tiw_simulator.add_finished(1)
    shown = run_tiw(tiw_simulator, "wait", task_id, "-o", form)
    found = json.loads(shown.stdout)
    outcome = found[0] if form == "json" else found
    assert outcome["verdict"] == "finished"
    assert outcome["record"]["status"] == "FINISHED"


def test_wait_prints_each_change() -> None:
    with Simulator(speed=60) as simulator:
        simulator.add("lesson", timeline=[{"RECORDING": 60}, {"STOPPED": 60}])
        shown = run_tiw(simulator, "wait", "lesson")
    lines = shown.stdout.splitlines()
    assert shown.exit_code == 0
    assert lines[0] == "Recording lesson is RECORDING."
    assert lines[-1].startswith("Recording lesson is FINISHED")
    assert len(lines) == len(set(lines))


def test_wait_for_a_state(tiw_simulator: Simulator) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 600}])
    shown = run_tiw(tiw_simulator, "wait", "lesson", "--until", "recording,paused")
    assert shown.exit_code == 0


def test_the_time_elapses(tiw_simulator: Simulator) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 600}])
    shown = run_tiw(tiw_simulator, "wait", "lesson", "nope", "--timeout", "1s")
    assert shown.exit_code == 3
    assert "lesson was not FINISHED within 1 s" in shown.stdout
    assert "nope: " in shown.stdout


def test_a_failed_recording(tiw_simulator: Simulator) -> None:
    tiw_simulator.add("lesson", timeline=[], finish_reason="EXCEPTION")
    assert run_tiw(tiw_simulator, "wait", "lesson").exit_code == 1
    accepted = run_tiw(tiw_simulator, "wait", "lesson", "--accept-finish-reasons", "EXCEPTION")
    assert accepted.exit_code == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["show"],
        ["show", "bad id"],
        ["show", ""],
        ["wait", "x", "--until", "FOO"],
        ["wait", "x", "--timeout", "soon"],
        ["wait", "x", "--accept-finish-reasons", "?"],
        ["show", "x", "--output", "xml"],
    ],
)
def test_usage(tiw_simulator: Simulator, arguments: list[str]) -> None:
    shown = run_tiw(tiw_simulator, *arguments)
    assert shown.exit_code == 2
    assert "Usage: tiw" in shown.stderr
    assert not tiw_simulator.requests


def test_refused_keys(tiw_simulator: Simulator) -> None:
    shown = run_tiw(tiw_simulator, "show", "a", "b", TENCENTCLOUD_SECRET_KEY="wrong")
    assert shown.exit_code == 4
    # One block for all ids.
    assert shown.stderr.count("code: AuthFailure") == 1


def test_refused_settings(tiw_simulator: Simulator) -> None:
    shown = run_tiw(tiw_simulator, "show", "a", "--region", "mars")
    assert shown.exit_code == 4
    assert run_tiw(tiw_simulator, "show", "a", TIW_SDK_APP_ID="").exit_code == 4


def test_unreachable(tiw_simulator: Simulator) -> None:
    shown = run_tiw(tiw_simulator, "show", "a", "--endpoint", "http://127.0.0.1:1")
    assert shown.exit_code == 5
    assert "could not be reached" in shown.stderr


UNREACHABLE = ("--endpoint", "http://127.0.0.1:1", "--request-timeout", "0.5")


@pytest.mark.parametrize(
    "command",
    [("wait", "a"), ("task", "wait", "transcode", "a"), ("archive", "--wait", "a", "lessons")],
)
def test_a_wait_whose_endpoint_never_answers_ends(
    tiw_simulator: Simulator, command: tuple[str, ...]
) -> None:
    began = time.monotonic()
    shown = run_tiw(tiw_simulator, *command, *UNREACHABLE)
    assert shown.exit_code == 5
    assert shown.stderr.count("could not be reached") >= 1
    assert "\n  hint: Check the endpoint" in shown.stderr
    assert 1.4 < time.monotonic() - began < 10


def test_a_wait_that_had_an_answer_outlasts_an_outage(tiw_simulator: Simulator) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 600}])

    def end_later() -> None:
        while "DescribeOnlineRecord" not in tiw_simulator.requests:
            time.sleep(0.05)
        tiw_simulator.fault = "outage"
        time.sleep(2)
        tiw_simulator.fault = None
        tiw_simulator.advance(700)

    ending = threading.Thread(target=end_later)
    ending.start()
    shown = run_tiw(tiw_simulator, "wait", "lesson", "--request-timeout", "0.5")
    ending.join()
    assert shown.exit_code == 0


def test_json_escapes_what_does_not_print(tiw_simulator: Simulator) -> None:
    videos = [{"kind": "camera", "user_id": f"{USER}\u202e\x9b31m"}]
    tiw_simulator.add("lesson", timeline=[], videos=videos)
    shown = run_tiw(tiw_simulator, "show", "lesson", "-o", "json")
    assert USER in shown.stdout
    assert "\\u202e\\u009b31m" in shown.stdout
    assert json.loads(shown.stdout)[0]["record"]["videos"][0]["user_id"].endswith("\x9b31m")
