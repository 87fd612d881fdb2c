# SPDX-License-Identifier: Apache-2.0
"""Runs of a real ``ansible-playbook`` on this machine, timed."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).parents[1]

NOTHING: list[dict[str, Any]] = [{"ansible.builtin.meta": "noop"}]
"""Tasks that take no time: the rest is Ansible's own start."""


@dataclass(frozen=True)
class Took:
    """Seconds of a run from the command's start to its end, and of CPU in all its processes."""

    wall: float
    cpu: float


class Playbooks:
    """Plays tasks on localhost, with their own home folder and the simulator's account.

    :param library: a folder of modules beside those of the collection.
    """

    def __init__(self, simulator: Simulator, library: str | None = None) -> None:
        self._simulator = simulator
        self._library = library

    def __enter__(self) -> Playbooks:
        self._folder = tempfile.TemporaryDirectory()
        self._environment = {
            **{name: value for name, value in os.environ.items() if "ANSIBLE" not in name},
            **self._simulator.environment(),
            **({"ANSIBLE_LIBRARY": self._library} if self._library else {}),
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_HOME": self._folder.name,
            "ANSIBLE_LOCALHOST_WARNING": "0",
            "HOME": self._folder.name,
            "NO_PROXY": "127.0.0.1",
        }
        # First, unmeasured: compiled files, caches, folders.
        self.play(NOTHING)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def play(self, tasks: list[dict[str, Any]], **variables: Any) -> Took:
        """Play the tasks and return what it took.

        :raises SystemExit: one of them failed.
        """
        python = "{{ ansible_playbook_python }}"
        play = {
            **{"hosts": "localhost", "connection": "local", "gather_facts": False},
            "vars": {"ansible_python_interpreter": python, **variables},
            "tasks": tasks,
        }
        path = Path(self._folder.name, "play.yml")
        path.write_text(json.dumps([play]))
        cpu_before = _cpu_s()
        began = time.perf_counter()
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), path],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        wall = time.perf_counter() - began
        if done.returncode:
            raise SystemExit((done.stdout + done.stderr)[-5000:])
        return Took(wall, _cpu_s() - cpu_before)


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def holds(*conditions: str) -> dict[str, Any]:
    """Return a task that fails where one of the conditions does not hold."""
    return {"ansible.builtin.assert": {"that": list(conditions), "quiet": True}}
