# SPDX-License-Identifier: Apache-2.0
"""``tiw start``, ``pause``, ``resume``, ``stop`` and ``running``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiw_command import run_tiw

from tiw_automation.core import START_OPTIONS
from tiw_automation.simulator import Simulator

KEY = "k" * 40


@pytest.fixture
def key_file(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n", encoding="utf-8")
    return str(path)


def test_start_prints_the_task_id(tiw_simulator: Simulator, key_file: str) -> None:
    shown = run_tiw(tiw_simulator, "start", "29001", "--user-sig-key-file", key_file)
    assert shown.exit_code == 0
    assert shown.stdout.strip() == tiw_simulator.recordings[-1]["task_id"]


@pytest.mark.parametrize("form", ["json", "jsonl"])
def test_start_as_json(tiw_simulator: Simulator, key_file: str, form: str) -> None:
    arguments = ("start", "5", "--user-sig-key-file", key_file, "-o", form)
    found = json.loads(run_tiw(tiw_simulator, *arguments).stdout)
    assert found["task_id"] == tiw_simulator.recordings[-1]["task_id"]


def test_the_key_of_the_environment_and_of_standard_input(tiw_simulator: Simulator) -> None:
    assert run_tiw(tiw_simulator, "start", "5", TIW_USER_SIG_KEY=KEY).exit_code == 0
    piped = run_tiw(tiw_simulator, "start", "6", "--user-sig-key-file", "-", given=KEY)
    assert piped.exit_code == 0


def test_start_has_each_option_of_the_table(tiw_simulator: Simulator) -> None:
    shown = run_tiw(tiw_simulator, "start", "--help").stdout
    for option in START_OPTIONS:
        assert "--" + option.name.replace("_", "-") in shown
    assert "--record-user-sig-file" in shown
    assert "--user-sig-key " not in shown


def test_start_checks_options_before_it_sends(tiw_simulator: Simulator, key_file: str) -> None:
    arguments = ["start", "5", "--user-sig-key-file", key_file]
    for wrong in (
        ["--whiteboard", '{"widht": 3}'],
        ["--whiteboard", "{"],
        ["--auto-stop-timeout", "1"],
        ["--preset", "all"],
        ["--user-sig-key-file", "/nonexistent"],
    ):
        assert run_tiw(tiw_simulator, *arguments, *wrong).exit_code == 2
    assert run_tiw(tiw_simulator, "start", "five", TIW_USER_SIG_KEY=KEY).exit_code == 2
    assert not tiw_simulator.requests


def test_start_with_objects(tiw_simulator: Simulator, key_file: str, tmp_path: Path) -> None:
    (tmp_path / "board.json").write_text('{"width": 640, "height": 480}', encoding="utf-8")
    board = f"@{tmp_path}/board.json"
    arguments = ["start", "5", "--user-sig-key-file", key_file, "--whiteboard", board]
    concat = ["--concat", '{"enabled": true}', "--no-audio-file-needed"]
    assert run_tiw(tiw_simulator, *arguments, *concat).exit_code == 0


def test_start_and_wait(tiw_simulator: Simulator, key_file: str) -> None:
    arguments = ["start", "5", "--user-sig-key-file", key_file, "--wait", "--timeout", "20"]
    shown = run_tiw(tiw_simulator, *arguments)
    assert shown.exit_code == 0
    task_id = tiw_simulator.recordings[-1]["task_id"]
    assert f"recording {task_id} was started" in shown.stderr
    assert shown.stdout.splitlines()[-1] == f"Recording {task_id} is RECORDING."


def test_a_start_whose_answer_is_lost(tiw_simulator: Simulator, key_file: str) -> None:
    tiw_simulator.inject("answer_lost", action="StartOnlineRecord")
    shown = run_tiw(tiw_simulator, "start", "5", "--user-sig-key-file", key_file)
    assert shown.exit_code == 5
    assert "Whether a recording of tic_record_user_5_" in shown.stderr
    assert "code: StartUncertain" in shown.stderr


def test_pause_resume_stop(tiw_simulator: Simulator) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 600}])
    assert run_tiw(tiw_simulator, "pause", "lesson").stdout == "lesson paused\n"
    assert run_tiw(tiw_simulator, "pause", "lesson").stdout == "lesson was paused already\n"
    assert run_tiw(tiw_simulator, "resume", "lesson").stdout == "lesson resumed\n"
    assert run_tiw(tiw_simulator, "stop", "lesson").stdout == "lesson stopped\n"


def test_one_error_leaves_the_others(tiw_simulator: Simulator) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 600}])
    shown = run_tiw(tiw_simulator, "stop", "nope", "lesson")
    assert shown.exit_code == 1
    assert shown.stdout == "lesson stopped\n"


def test_stop_and_wait() -> None:
    with Simulator(speed=30) as simulator:
        simulator.add("lesson", timeline=[{"RECORDING": 6000}])
        shown = run_tiw(simulator, "stop", "nope", "lesson", "--wait", "-o", "urls")
    assert shown.exit_code == 1
    assert shown.stdout.startswith("http://")


def test_running() -> None:
    with Simulator(region="ap-guangzhou") as simulator:
        simulator.add("lesson", timeline=[{"RECORDING": 600}], room_id=7)
        shown = run_tiw(simulator, "running")
        assert shown.exit_code == 0
        assert shown.stdout.split("\t")[:3] == ["lesson", "PROCESSING", "7"]
        found = json.loads(run_tiw(simulator, "running", "-o", "json").stdout)
        assert found[0]["task_id"] == "lesson"
        assert run_tiw(simulator, "running", "--kind", "transcode").stdout == ""


def test_running_on_the_international_site(tiw_simulator: Simulator) -> None:
    other = {"TENCENTCLOUD_SECRET_ID": "AKIDother"}
    shown = run_tiw(tiw_simulator, "running", "--site", "intl", **other)
    assert shown.exit_code == 4
    assert "only the Chinese site does" in shown.stderr
