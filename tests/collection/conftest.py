# SPDX-License-Identifier: Apache-2.0
"""A real ansible-playbook that asks the simulator.

A run of ``ansible-playbook`` takes seconds. Tests that need no run of their own mark their tasks
with ``pytest.mark.tasks``: the tasks of all such tests of a module run in one playbook, on one
simulator, and the fixture ``played`` returns the results of the test's own tasks.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
PLUGINS = Path(__file__).with_name("filter_plugins")

Environment = dict[str, str]
Command = Callable[..., subprocess.CompletedProcess[str]]
Task = dict[str, Any]

# Of this machine, and what the tests set themselves. Python's own switch against bytecode would
# make each process compile Ansible again.
_NOT_PASSED_ON = ("ANSIBLE_", "TENCENTCLOUD_", "TIW_", "TCCLI_", "TKE_", "PYTHONDONTWRITEBYTECODE")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@dataclass(frozen=True)
class Played:
    """The result of each task of a playbook, and all that was printed."""

    results: list[dict[str, Any]]
    output: str


Play = Callable[..., Played]
Run = Callable[..., dict[str, Any]]


class Ansible:
    """Ansible's commands in a folder, with the simulator's account in the environment."""

    def __init__(self, folder: Path, simulator: Simulator) -> None:
        self.folder = folder
        self.environment: Environment = {
            **{
                name: value
                for name, value in os.environ.items()
                if not name.startswith(_NOT_PASSED_ON) and name.upper() not in _PROXIES
            },
            **simulator.environment(),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_ASYNC_DIR": str(folder / "async"),
            "ANSIBLE_FILTER_PLUGINS": str(PLUGINS),
            "ANSIBLE_HOME": str(folder / "ansible"),
            # Newer Ansible shows a task's arguments only on demand, older always: there must be
            # no secret in them.
            "ANSIBLE_INJECT_INVOCATION": "1",
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "ANSIBLE_NOCOLOR": "1",
            # One copy less for each task.
            "ANSIBLE_PIPELINING": "1",
            "HOME": str(folder),
            "NO_PROXY": "127.0.0.1",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            # Linters of documentation write their cache here.
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def command(
        self, name: str, *arguments: str, environment: Environment | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's commands."""
        return subprocess.run(
            [str(BIN / name), *arguments],
            capture_output=True,
            text=True,
            env={**self.environment, **(environment or {})},
            cwd=self.folder,
            timeout=600,
            check=False,
        )

    def play(
        self,
        *tasks: Task,
        arguments: tuple[str, ...] = (),
        environment: Environment | None = None,
        **keywords: Any,
    ) -> Played:
        """Run tasks in one playbook and return the results; a failed task does not end it.

        The result of the first task is the variable ``result_0``, and so on.
        """
        result = self.folder / "results.json"
        result.unlink(missing_ok=True)
        names = [f"result_{number}" for number in range(len(tasks))]
        steps = [
            {**task, "register": name, "ignore_errors": True}
            for task, name in zip(tasks, names, strict=True)
        ]
        write = "{{ [" + ", ".join(names) + f"] | to_json | write_file({str(result)!r}) }}}}"
        last = {"ansible.builtin.debug": {"msg": write}, "no_log": True}
        hosts = {"hosts": "localhost", "connection": "local", "gather_facts": False}
        variables = {
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            **keywords.pop("vars", {}),
        }
        whole = {**hosts, "vars": variables, **keywords, "tasks": [*steps, last]}
        book = self.folder / "play.yml"
        book.write_text(json.dumps([whole]))
        done = self.command("ansible-playbook", str(book), *arguments, environment=environment)
        output = done.stdout + done.stderr
        assert result.exists(), output
        return Played(json.loads(result.read_text()), output)


@pytest.fixture
def ansible(tmp_path: Path, tiw_simulator: Simulator) -> Ansible:
    return Ansible(tmp_path, tiw_simulator)


@pytest.fixture
def ansible_environment(ansible: Ansible) -> Environment:
    return ansible.environment


@pytest.fixture
def command(ansible: Ansible) -> Command:
    return ansible.command


@pytest.fixture
def play(ansible: Ansible) -> Play:
    return ansible.play


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


# Tests that share a playbook


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "tasks(*tasks): the tasks of a test, which run in one playbook with those of its module",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep tests that share a playbook in one process of pytest-xdist (``--dist loadgroup``)."""
    if item.get_closest_marker("tasks") and item.config.pluginmanager.hasplugin("xdist"):
        item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[Simulator]:
    """Yield the simulator of the tests that share a playbook."""
    with Simulator() as simulator:
        yield simulator


@pytest.fixture(scope="module")
def shared_results(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    shared_simulator: Simulator,
) -> dict[str, Played]:
    """Run the tasks of the selected tests of a module; return the results by test.

    The function ``prepare`` of the module adds the recordings to the simulator.
    """
    tasks: dict[str, list[Task]] = {}
    for item in request.session.items:
        mark = item.get_closest_marker("tasks")
        if mark is not None and item.path == request.path:
            tasks[item.nodeid] = list(mark.args)
    request.module.prepare(shared_simulator)
    ansible = Ansible(tmp_path_factory.mktemp("shared"), shared_simulator)
    played = ansible.play(*(task for of_test in tasks.values() for task in of_test))
    results = iter(played.results)
    return {
        test: Played([next(results) for _ in of_test], played.output)
        for test, of_test in tasks.items()
    }


@pytest.fixture
def played(request: pytest.FixtureRequest, shared_results: dict[str, Played]) -> Played:
    """Return the results of the tasks that the test is marked with."""
    return shared_results[request.node.nodeid]
