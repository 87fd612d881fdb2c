# SPDX-License-Identifier: Apache-2.0
"""A real ansible-playbook, asking the simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"

Environment = dict[str, str]
Command = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Played:
    """What a playbook has done: the result of each task, and all that was printed."""

    results: list[dict[str, Any]]
    output: str


Play = Callable[..., Played]
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def ansible_environment(tmp_path: Path, tiw_simulator: Simulator) -> Environment:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")},
        **tiw_simulator.environment(),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_ASYNC_DIR": str(tmp_path / "async"),
        "ANSIBLE_HOME": str(tmp_path / "ansible"),
        # Newer Ansible shows a task's arguments only on demand, older always: no secret in them.
        "ANSIBLE_INJECT_INVOCATION": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_NOCOLOR": "1",
        # One copy less for each task.
        "ANSIBLE_PIPELINING": "1",
        "HOME": str(tmp_path),
        "NO_PROXY": "127.0.0.1",
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        # Linters of documentation write their cache here.
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


@pytest.fixture
def command(tmp_path: Path, ansible_environment: Environment) -> Command:
    """Return a function that runs one of Ansible's commands."""

    def run(
        name: str, *arguments: str, environment: Environment | None = None, cwd: Path = tmp_path
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / name), *arguments],
            capture_output=True,
            text=True,
            env={**ansible_environment, **(environment or {})},
            cwd=cwd,
            timeout=240,
            check=False,
        )

    return run


@pytest.fixture
def play(tmp_path: Path, command: Command) -> Play:
    """Return a function that runs tasks in one playbook and returns what each has returned.

    A task that fails does not end it.
    """

    def run(
        *tasks: dict[str, Any],
        arguments: tuple[str, ...] = (),
        environment: Environment | None = None,
        **keywords: Any,
    ) -> Played:
        result = tmp_path / "results.json"
        result.unlink(missing_ok=True)
        names = [f"result_{number}" for number in range(len(tasks))]
        steps = [
            {**task, "register": name, "ignore_errors": True}
            for task, name in zip(tasks, names, strict=True)
        ]
        last = {
            "ansible.builtin.copy": {
                "content": "{{ [" + ", ".join(names) + "] | to_json }}",
                "dest": str(result),
            },
            "check_mode": False,
            "diff": False,
            "no_log": True,
        }
        book = tmp_path / "play.yml"
        hosts = {"hosts": "localhost", "connection": "local", "gather_facts": False}
        variables = {
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            **keywords.pop("vars", {}),
        }
        whole = {**hosts, "vars": variables, **keywords, "tasks": [*steps, last]}
        book.write_text(json.dumps([whole]))
        done = command("ansible-playbook", str(book), *arguments, environment=environment)
        output = done.stdout + done.stderr
        assert result.exists(), output
        return Played(json.loads(result.read_text()), output)

    return run


@pytest.fixture
def run(play: Play) -> Run:
    """Return a function that runs online_record_info in a playbook and returns its result."""

    def one(*arguments: str, environment: Environment | None = None, **options: Any) -> Any:
        played = play(
            {"tiw.automation.online_record_info": options},
            arguments=arguments,
            environment=environment,
        )
        return {**played.results[0], "_output": played.output}

    return one
