# SPDX-License-Identifier: Apache-2.0
"""The module, run by a real ansible-playbook against the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import OnlineRecord
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
LESSONS = ["algebra", "history", "chemistry", "drama", "absent"]

Run = Callable[..., dict[str, Any]]


def add_lessons(simulator: Simulator) -> None:
    simulator.add("algebra", timeline=[{"RECORDING": 2}, {"STOPPED": 1}])
    simulator.add("history", timeline=[{"RECORDING": 1}, {"PAUSED": 1}, {"RECORDING": 1}])
    simulator.add("chemistry", timeline=[], finish_reason="EXCEPTION")
    simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})


@pytest.fixture
def ansible_environment(tmp_path: Path, tiw_simulator: Simulator) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        **tiw_simulator.environment(),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_NOCOLOR": "1",
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture
def run(tmp_path: Path, ansible_environment: dict[str, str]) -> Run:
    """Return a function that runs the module in a playbook and returns its result."""

    def play(*arguments: str, environment: dict[str, str] | None = None, **options: Any) -> Any:
        result = tmp_path / "result.json"
        result.unlink(missing_ok=True)
        tasks = [
            {
                "tiw.automation.online_record_info": options,
                "register": "found",
                "ignore_errors": True,
            },
            {
                "ansible.builtin.copy": {
                    "content": "{{ found | to_json }}",
                    "dest": str(result),
                },
                "check_mode": False,
            },
        ]
        book = tmp_path / "play.yml"
        hosts = {"hosts": "localhost", "connection": "local", "gather_facts": False}
        interpreter = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
        book.write_text(json.dumps([{**hosts, "vars": interpreter, "tasks": tasks}]))
        done = subprocess.run(
            [str(BIN / "ansible-playbook"), str(book), *arguments],
            capture_output=True,
            text=True,
            env={**ansible_environment, **(environment or {})},
            timeout=120,
            check=False,
        )
        assert result.exists(), done.stdout + done.stderr
        found = json.loads(result.read_text())
        found["_output"] = done.stdout + done.stderr
        return found

    return play


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


def test_what_to_fail_on(tiw_simulator: Simulator, run: Run) -> None:
    add_lessons(tiw_simulator)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    late = run(task_ids=["slow", "absent"], wait=True, wait_timeout=1, wait_sleep=0.2)
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
    assert found["elapsed"] <= 100 / 19 + 2


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


def test_a_missing_core_names_the_interpreter_and_the_command(
    tmp_path: Path, ansible_environment: dict[str, str]
) -> None:
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    done = subprocess.run(
        [
            *(str(BIN / "ansible"), "localhost", "-m", "tiw.automation.online_record_info"),
            *("-a", "task_ids=a", "-e", f"ansible_python_interpreter={bare}/bin/python"),
        ],
        capture_output=True,
        text=True,
        env=ansible_environment,
        check=False,
    )
    assert done.returncode != 0
    assert f"{bare}/bin/python -m pip install" in done.stdout + done.stderr


def test_the_documentation_renders(ansible_environment: dict[str, str]) -> None:
    done = subprocess.run(
        [str(BIN / "ansible-doc"), "-t", "module", "tiw.automation.online_record_info"],
        capture_output=True,
        text=True,
        env=ansible_environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "wait_sleep" in done.stdout
    assert "failed_ids" in done.stdout


def test_the_playbook_reports(
    tiw_simulator: Simulator, ansible_environment: dict[str, str]
) -> None:
    add_lessons(tiw_simulator)
    done = subprocess.run(
        [
            *(str(BIN / "ansible-playbook"), "tiw.automation.report"),
            *("-e", json.dumps({"task_ids": LESSONS, "wait": True, "wait_sleep": 0.5})),
        ],
        capture_output=True,
        text=True,
        env=ansible_environment,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FINISHED Recording algebra is FINISHED" in done.stdout
    assert "im login failed" in done.stdout
