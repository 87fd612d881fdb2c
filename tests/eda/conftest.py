# SPDX-License-Identifier: Apache-2.0
"""A real ansible-rulebook with the collection as it is installed, asking the simulator."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
NEWEST_TOO_OLD = 16
# Without bytecode each process would compile Ansible again.
_NOT_PASSED_ON = ("ANSIBLE_", "PYTHONDONTWRITEBYTECODE")
# A loaded machine needs long to start a Java machine and a playbook.
PATIENCE_S = 240.0


def java_problem(environment: dict[str, str]) -> str | None:
    """Return why ansible-rulebook cannot run here, or None."""
    needs = (
        "ansible-rulebook needs Java 17 or later (Debian: openjdk-17-jre-headless), "
        "on PATH or in JAVA_HOME"
    )
    home = environment.get("JAVA_HOME")
    path = f"{home}/bin" if home else environment.get("PATH", "")
    java = shutil.which("java", path=path)
    if java is None:
        return f"{needs}; java was not found in {path!r}."
    output = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', output)
    if found is None or int(found[1]) <= NEWEST_TOO_OLD:
        return f"{needs}; {java} is {output.strip() or 'not Java'}."
    return None


def pytest_sessionstart() -> None:
    """Fail at once with a message if Java is missing."""
    problem = java_problem(dict(os.environ))
    if problem is not None:
        pytest.exit(problem, returncode=1)


@pytest.fixture
def chinese() -> Iterator[Simulator]:
    with Simulator(speed=10, region="ap-guangzhou") as simulator:
        yield simulator


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the collection, install it from its archive, and return the folder."""
    folder = tmp_path_factory.mktemp("installed")
    place = folder / "collections"
    galaxy = [str(BIN / "ansible-galaxy"), "collection"]
    environment = {**os.environ, "ANSIBLE_HOME": str(folder), "ANSIBLE_COLLECTIONS_PATH": "/none"}
    run: dict[str, Any] = {"check": True, "capture_output": True, "env": environment}
    subprocess.run([*galaxy, "build", COLLECTION, "--output-path", folder], **run)
    (archive,) = folder.glob("tiw-automation-*.tar.gz")
    subprocess.run([*galaxy, "install", archive, "-p", place], **run)
    return place


class Rulebook:
    """An ansible-rulebook that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def output(self) -> str:
        """All that it has printed so far."""
        return self._log.read_text(errors="replace")

    @property
    def events(self) -> list[list[str]]:
        """The events, as the rule of :func:`printing` prints them."""
        return [line.split() for line in re.findall(r"^EVENT (.*)", self.output, re.M)]

    def until(self, done: Callable[[], object], what: str) -> None:
        """Wait until a condition holds; ``what`` describes it."""
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            assert self.process.poll() is None, f"{what}: it ended\n{self.output}"
            assert time.monotonic() < deadline, f"{what}: not in time\n{self.output}"
            time.sleep(0.1)

    def end(self) -> int:
        """Wait for its end."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end\n{self.output}") from None

    def stop(self) -> None:
        """End it and all processes that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(20)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        for process in self._left():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def _left(self) -> list[int]:
        """Return the processes that it started in other sessions, such as playbooks."""
        mark = f"\0ANSIBLE_HOME={self._log.parent}/".encode()
        found = []
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if mark in b"\0" + environment.read_bytes():
                    found.append(int(environment.parent.name))
        return found


Start = Callable[..., Rulebook]


@pytest.fixture
def start(tmp_path: Path, installed: Path) -> Iterator[Start]:
    """Return a function that starts a rulebook, by its full name or as data."""
    started: list[Rulebook] = []

    def run(
        simulator: Simulator | None,
        rulebook: str | list[dict[str, Any]],
        variables: dict[str, Any] | None = None,
        environment: dict[str, str] | None = None,
    ) -> Rulebook:
        folder = tmp_path / f"run-{len(started)}"
        folder.mkdir()
        if not isinstance(rulebook, str):
            (folder / "rulebook.yml").write_text(yaml.safe_dump(rulebook))
            rulebook = str(folder / "rulebook.yml")
        inventory, values = folder / "inventory.yml", folder / "vars.yml"
        local = {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        }
        inventory.write_text(json.dumps({"all": {"hosts": {"localhost": local}}}))
        values.write_text(json.dumps(variables or {}))
        log = folder / "output.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [
                    *(BIN / "ansible-rulebook", "--rulebook", rulebook, "--vars", values),
                    *("--inventory", inventory, "--shutdown-delay", "300", "-vv"),
                ],
                cwd=folder,
                env={
                    **{k: v for k, v in os.environ.items() if not k.startswith(_NOT_PASSED_ON)},
                    **({} if simulator is None else simulator.environment()),
                    "ANSIBLE_COLLECTIONS_PATH": str(installed),
                    "ANSIBLE_HOME": str(folder / "ansible"),
                    "ANSIBLE_NOCOLOR": "1",
                    "HOME": str(folder),
                    "NO_PROXY": "127.0.0.1",
                    "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
                    "PYTHONPYCACHEPREFIX": str(installed.parent / "bytecode"),
                    "PYTHONUNBUFFERED": "1",
                    **(environment or {}),
                },
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        started.append(Rulebook(process, log))
        return started[-1]

    try:
        yield run
    finally:
        for rulebook in started:
            rulebook.stop()


def printing(source: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a rulebook that prints the events of a source."""
    words = ("task_id", "type", "status", "verdict", "meta.uuid")
    return [
        {
            "name": "Print",
            "hosts": "localhost",
            "sources": [source],
            "rules": [
                {
                    "name": "Print",
                    "condition": "event.task_id is defined",
                    "action": {
                        "debug": {
                            "msg": "EVENT " + " ".join(f"{{{{ event.{word} }}}}" for word in words)
                        }
                    },
                }
            ],
        }
    ]


@pytest.fixture(name="printing")
def _printing() -> Callable[[dict[str, Any]], list[dict[str, Any]]]:
    return printing
