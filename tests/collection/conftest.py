# SPDX-License-Identifier: Apache-2.0
"""A real ansible-playbook that asks the simulator.

A run of ``ansible-playbook`` takes seconds. Tests that need no run of their own mark their tasks
with ``pytest.mark.tasks``: all such tests of a module run in one playbook, each as a play, before
the first of them. The fixture ``played`` returns the results of the test's own tasks, and
``simulator`` the one that they have asked.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
HERE = Path(__file__).parent

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


class Ansible:
    """Ansible's commands in a folder, with the simulator's account in the environment.

    :param bytecode: the folder that startup/sitecustomize.py uses.
    """

    def __init__(self, folder: Path, simulator: Simulator, bytecode: Path) -> None:
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
            "ANSIBLE_CONFIG": str(HERE / "ansible.cfg"),
            "ANSIBLE_FILTER_PLUGINS": str(HERE / "filter_plugins"),
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
            "PYTHONPATH": os.pathsep.join(
                [str(HERE / "startup"), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            "TESTS_BYTECODE": str(bytecode),
            # Linters of documentation write their cache here.
            "XDG_CACHE_HOME": str(folder / "cache"),
        }

    def command(
        self,
        name: str,
        *arguments: str,
        environment: Environment | None = None,
        stderr: int = subprocess.PIPE,
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Ansible's commands."""
        return subprocess.run(
            [str(BIN / name), *arguments],
            stdout=subprocess.PIPE,
            stderr=stderr,
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

        :param keywords: further keywords of the play, such as ``vars``.
        """
        (played,) = self.plays((tasks, keywords), arguments=arguments, environment=environment)
        return played

    def plays(
        self,
        *plays: tuple[Sequence[Task], dict[str, Any]],
        arguments: tuple[str, ...] = (),
        environment: Environment | None = None,
    ) -> list[Played]:
        """Run several plays, each with its tasks and keywords, in one process."""
        files = [self.folder / f"results-{number}.json" for number in range(len(plays))]
        for file in files:
            file.unlink(missing_ok=True)
        whole = [
            _play(tasks, file, keywords)
            for (tasks, keywords), file in zip(plays, files, strict=True)
        ]
        book = self.folder / "play.yml"
        book.write_text(json.dumps(whole))
        # What a play writes to standard error stays between its other lines.
        done = self.command(
            *("ansible-playbook", str(book), *arguments),
            environment=environment,
            stderr=subprocess.STDOUT,
        )
        assert all(file.exists() for file in files), done.stdout
        before, *outputs = re.split(r"^(?=PLAY \[)", done.stdout, flags=re.MULTILINE)
        return [
            Played(json.loads(file.read_text()), before + output)
            for file, output in zip(files, outputs, strict=True)
        ]


def _play(tasks: Sequence[Task], file: Path, keywords: dict[str, Any]) -> dict[str, Any]:
    """Return a play that runs the tasks and writes their results to a file."""
    names = [f"result_{number}" for number in range(len(tasks))]
    steps = [
        {**task, "register": name, "ignore_errors": True}
        for task, name in zip(tasks, names, strict=True)
    ]
    write = "{{ [" + ", ".join(names) + f"] | to_json | write_file({str(file)!r}) }}}}"
    last = {"ansible.builtin.debug": {"msg": write}, "no_log": True}
    python = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    return {
        **{"hosts": "localhost", "connection": "local", "gather_facts": False},
        **keywords,
        "vars": {**python, **keywords.get("vars", {})},
        "tasks": [*steps, last],
    }


@pytest.fixture(scope="session")
def bytecode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bytecode")


@pytest.fixture(scope="session")
def make_ansible(bytecode: Path) -> Callable[[Path, Simulator], Ansible]:
    """Return a function that prepares Ansible's commands in a folder, for a simulator."""
    return lambda folder, simulator: Ansible(folder, simulator, bytecode)


@pytest.fixture
def ansible(
    tmp_path: Path, tiw_simulator: Simulator, make_ansible: Callable[..., Ansible]
) -> Ansible:
    return make_ansible(tmp_path, tiw_simulator)


@pytest.fixture
def ansible_environment(ansible: Ansible) -> Environment:
    return ansible.environment


@pytest.fixture
def command(ansible: Ansible) -> Command:
    return ansible.command


@pytest.fixture
def play(ansible: Ansible) -> Play:
    return ansible.play


# Tests that share a playbook


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "tasks(*tasks, prepare=None, **keywords): the tasks of a test, a play of its own in the "
        "playbook of its module. With prepare, a function that adds the recordings, they ask a "
        "simulator of their own, and otherwise the module's. keywords are the play's.",
    )


@dataclass(frozen=True)
class Shared:
    """What a test has of the playbook of its module."""

    played: Played
    simulator: Simulator


@pytest.fixture(scope="module")
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bytecode: Path
) -> Iterator[dict[str, Shared]]:
    """Run the tasks of the selected tests of a module, in one playbook, and yield them by test.

    The function ``prepare`` of the module, if it has one, prepares the module's simulator.
    """
    marks = {
        item.nodeid: mark
        for item in request.session.items
        if item.path == request.path and (mark := item.get_closest_marker("tasks"))
    }
    with ExitStack() as cleanup:
        of_module = cleanup.enter_context(Simulator())
        getattr(request.module, "prepare", lambda _: None)(of_module)
        simulators, plays = [], []
        for mark in marks.values():
            keywords = dict(mark.kwargs)
            prepare = keywords.pop("prepare", None)
            simulator = cleanup.enter_context(Simulator()) if prepare else of_module
            if prepare:
                prepare(simulator)
            # -vvv prints it, so the keys, which are the same for all, are not in it.
            address = {"TIW_ENDPOINT": simulator.environment()["TIW_ENDPOINT"]}
            environment = {**address, **keywords.pop("environment", {})}
            simulators.append(simulator)
            plays.append((mark.args, {**keywords, "environment": environment}))
        ansible = Ansible(tmp_path_factory.mktemp("shared"), of_module, bytecode)
        played = ansible.plays(*plays, arguments=("-vvv",))
        yield dict(zip(marks, map(Shared, played, simulators), strict=True))


@pytest.fixture
def played(request: pytest.FixtureRequest, shared: dict[str, Shared]) -> Played:
    """Return the results of the tasks that the test is marked with, and what its play printed."""
    return shared[request.node.nodeid].played


@pytest.fixture
def simulator(request: pytest.FixtureRequest, shared: dict[str, Shared]) -> Simulator:
    """Return the simulator that the tasks of the test have asked."""
    return shared[request.node.nodeid].simulator
