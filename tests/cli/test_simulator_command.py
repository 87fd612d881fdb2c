# SPDX-License-Identifier: Apache-2.0
"""``tiw simulator`` and ``tiw-simulator``: alone, around a command, and without their packages."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiw_command import running, start_tiw

TIW = [sys.executable, "-m", "tiw_automation.cli"]
TIW_SIMULATOR = [sys.executable, "-m", "tiw_automation.simulator"]
END_S = 30.0
SHOW_ENVIRONMENT = "import json, os; print(json.dumps(dict(os.environ)))"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=END_S,
    )


def test_it_announces_itself_and_ends_at_a_signal() -> None:
    with running(start_tiw(os.environ, "simulator", "--port", "0")) as process:
        facts = json.loads(process.stdout.readline())
        assert set(facts) == {"endpoint", "secret_id", "secret_key", "sdk_app_id", "region"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == 0


def test_a_command_finds_the_simulator_and_no_other_keys() -> None:
    foreign = {
        "TENCENTCLOUD_TOKEN": "foreign",
        "TENCENTCLOUD_PROFILE": "foreign",
        "TKE_ROLE_ARN": "foreign",
        "TIW_STS_ENDPOINT": "foreign",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "intern.example.com",
    }
    ended = run(*TIW, "simulator", "--", sys.executable, "-c", SHOW_ENVIRONMENT, **foreign)
    found = json.loads(ended.stdout)
    assert found["TIW_ENDPOINT"].startswith("http://127.0.0.1:")
    assert found["TIW_ARCHIVE_HOSTS"] == "127.0.0.1"
    assert {"TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TIW_SDK_APP_ID"} <= found.keys()
    assert found["no_proxy"] == found["NO_PROXY"] == "intern.example.com,127.0.0.1"
    assert "foreign" not in found.values()


def test_the_example_is_a_trial_of_seconds() -> None:
    waiting = [*TIW, "wait", "algebra", "history", "drama", "-o", "jsonl"]
    ended = run(*TIW, "simulator", "--example", "--speed", "100", "--", *waiting)
    found = {one["task_id"]: one["verdict"] for one in map(json.loads, ended.stdout.splitlines())}
    assert found == {"algebra": "finished", "history": "finished", "drama": "failed"}
    assert ended.returncode == 1


@pytest.mark.parametrize("command", [[*TIW, "simulator"], TIW_SIMULATOR])
def test_the_environment_can_be_read_by_a_shell(command: list[str], tmp_path: Path) -> None:
    given = [*command[1:], "--port", "0", "--example", "--export"]
    with (
        (tmp_path / "simulator.env").open("w") as file,
        running(subprocess.Popen([command[0], *given], stdout=file)) as process,
    ):
        end = time.monotonic() + END_S
        while "no_proxy" not in (tmp_path / "simulator.env").read_text():
            assert time.monotonic() < end
            time.sleep(0.05)
        lines = f". {tmp_path}/simulator.env; {shlex.join(TIW)} archive --dry-run algebra folder"
        archived = run("sh", "-c", lines, HTTP_PROXY="http://127.0.0.1:9")
        assert "algebra is not archived: Recording algebra is RECORDING" in archived.stderr
        shown = run("sh", "-c", f". {tmp_path}/simulator.env; echo $TIW_ARCHIVE_HOSTS $NO_PROXY")
        assert shown.stdout == "127.0.0.1 127.0.0.1\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_S) == 0


def test_a_script_and_the_example_exclude_each_other() -> None:
    for command in ([*TIW, "simulator"], TIW_SIMULATOR):
        assert run(*command, "--example", "--script", "lessons.yml").returncode == 2


def test_options_after_the_command_are_its_own() -> None:
    ended = run(*TIW, "simulator", "--", *TIW, "doctor", "--output", "json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["state"] == "ok"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["no-such-command"], 127),
        (["/"], 126),
    ],
)
def test_the_exit_code_is_the_commands(command: list[str], code: int) -> None:
    assert run(*TIW, "simulator", "--", *command).returncode == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_command(number: signal.Signals) -> None:
    waits = f"trap 'exit 9' {number.name[3:]}; echo ready; while :; do sleep 0.1; done"
    # In a session of its own there is no terminal whose keys would reach both.
    arguments = ("simulator", "--", "sh", "-c", waits)
    with running(start_tiw(os.environ, *arguments, start_new_session=True)) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(END_S) == 9


def test_a_script_with_a_mistake_is_one_sentence(tmp_path: Path) -> None:
    script = tmp_path / "lessons.yml"
    script.write_text("recordings: 7\n")
    for command in ([*TIW, "simulator"], [*TIW_SIMULATOR]):
        ended = run(*command, "--script", str(script))
        assert ended.returncode == 2
        assert "Traceback" not in ended.stderr
    ended = run(*TIW, "simulator", "--script", str(script), "--", "true")
    assert ended.returncode == 2
    assert ended.stderr.startswith("tiw: The simulator cannot start: ")


WITHOUT = """
import runpy, sys
import importlib.util as util
found = util.find_spec
util.find_spec = lambda name, *more: None if name in ("aiohttp", "yaml") else found(name, *more)
sys.modules["aiohttp"] = sys.modules["yaml"] = None
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def test_without_its_packages_it_names_them_in_one_sentence() -> None:
    sentence = (
        "The simulator needs aiohttp and PyYAML: install it with "
        "pip install 'tiw-automation[simulator]'.\n"
    )
    ended = run(sys.executable, "-c", WITHOUT, "tiw_automation.simulator.__main__")
    assert (ended.returncode, ended.stderr) == (2, f"tiw-simulator: {sentence}")
    ended = run(sys.executable, "-c", WITHOUT, "tiw_automation.cli.__main__", "simulator")
    assert (ended.returncode, ended.stderr) == (2, f"tiw: {sentence}")
    ended = run(sys.executable, "-c", WITHOUT, "tiw_automation.simulator.__main__", "--version")
    assert ended.returncode == 0
    assert ended.stdout.startswith("tiw-simulator ")
