# SPDX-License-Identifier: Apache-2.0
"""``tiw task``."""

from __future__ import annotations

import json

import pytest
from tiw_command import run_tiw

from tiw_automation.core import TASK_KINDS
from tiw_automation.simulator import Simulator

KEY = "k" * 40
DECK = "https://files.example.com/deck.pptx"
CREATE = {
    "online_record": ["--room-id", "5"],
    "whiteboard_push": ["--room-id", "5"],
    "transcode": ["--url", DECK, "--no-is-static-ppt"],
    "ppt_check": ["--url", DECK, "--auto-handle-unsupported-element-types", "1,2"],
    "snapshot": ["--room-id", "5", "--whiteboard", '{"width": 640, "height": 480}'],
    "video_generation": ["--online-record-task-id", "lesson"],
}


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_create_and_show(kind: str) -> None:
    with Simulator(region="ap-guangzhou") as simulator:
        simulator.add("lesson", timeline=[])
        created = run_tiw(simulator, "task", "create", kind, *CREATE[kind], TIW_USER_SIG_KEY=KEY)
        assert created.exit_code == 0, created.output
        task_id = created.stdout.strip()
        shown = run_tiw(simulator, "task", "show", kind, task_id)
    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"{task_id}\t")


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_create_has_each_option_of_the_table(tiw_simulator: Simulator, kind: str) -> None:
    shown = run_tiw(tiw_simulator, "task", "create", kind, "--help").stdout
    for option in TASK_KINDS[kind].options:
        assert "--" + option.name.replace("_", "-") in shown


def test_create_and_wait() -> None:
    with Simulator(speed=100) as simulator:
        arguments = ["task", "create", "transcode", "--url", DECK, "--wait", "-o", "urls"]
        shown = run_tiw(simulator, *arguments)
    assert shown.exit_code == 0
    assert shown.stdout.startswith("http://")


def test_wait(tiw_simulator: Simulator) -> None:
    task_id = tiw_simulator.add_task("transcode", duration_s=0)
    shown = run_tiw(tiw_simulator, "task", "wait", "transcode", task_id, "-o", "jsonl")
    assert shown.exit_code == 0
    assert json.loads(shown.stdout)["task"]["status"] == "FINISHED"


def test_secrets_are_never_arguments(tiw_simulator: Simulator) -> None:
    arguments = ["task", "create", "whiteboard_push", "--room-id", "5"]
    backup = '{"push_user_id": "u", "push_user_sig": "topsecret"}'
    shown = run_tiw(tiw_simulator, *arguments, "--backup", backup)
    assert shown.exit_code == 2
    assert "topsecret" not in shown.output
    assert run_tiw(tiw_simulator, *arguments, "--push-user-sig", "x").exit_code == 2
    piped = run_tiw(tiw_simulator, *arguments, "--backup", "@-", given=backup, TIW_USER_SIG_KEY=KEY)
    assert piped.exit_code == 0


def test_usage(tiw_simulator: Simulator) -> None:
    for arguments in (
        ["create", "transcode"],
        ["create", "transkode"],
        ["create", "transcode", "--url", "not a url"],
        ["show", "transkode", "x"],
        ["wait", "transcode", "x", "--until", "RECORDING"],
    ):
        assert run_tiw(tiw_simulator, "task", *arguments).exit_code == 2
    assert not tiw_simulator.requests


def test_a_misspelt_kind(tiw_simulator: Simulator) -> None:
    shown = run_tiw(tiw_simulator, "task", "create", "transkode")
    assert "Did you mean transcode?" in shown.stderr
