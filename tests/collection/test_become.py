# SPDX-License-Identifier: Apache-2.0
"""With become on the play, tasks still use the account of the environment."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml

from tiw_automation.simulator import Simulator

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/tiw/automation"
Command = Callable[..., subprocess.CompletedProcess[str]]

# Drops the environment as sudo does, but for what Python needs, and stays the same user.
BECOME = '''
import shlex
from ansible.plugins.become import BecomeBase

DOCUMENTATION = """
name: bare
short_description: Drops the environment
description: As sudo does.
author: tests
options:
  become_user:
    description: The user.
    default: root
    vars: [{name: ansible_become_user}]
  become_exe:
    description: The command.
    vars: [{name: ansible_become_exe}]
  become_flags:
    description: The flags.
    vars: [{name: ansible_become_flags}]
  become_pass:
    description: The password.
    vars: [{name: ansible_become_password}]
"""


class BecomeModule(BecomeBase):
    name = "bare"

    def build_become_command(self, cmd, shell):
        super().build_become_command(cmd, shell)
        if not cmd:
            return cmd
        kept = " ".join(f'{n}="${n}"' for n in ("HOME", "PATH", "PYTHONPATH", "TESTS_BYTECODE"))
        return f"env -i {kept} {self._build_success_command(cmd, shell)}"
'''


def tasks_of(node: Any, become: Any = None) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield each task that asks the API, with its effective become."""
    if isinstance(node, list):
        for item in node:
            yield from tasks_of(item, become)
    if isinstance(node, dict):
        become = node.get("become", become)
        for name, options in node.items():
            asks = str(name).startswith("tiw.automation.online_record")
            # An archive of given records asks nothing, and may need root for its folder.
            if asks and "records" not in (options or {}):
                yield node, become
        for key in ("tasks", "block", "always", "rescue", "pre_tasks", "post_tasks", "handlers"):
            yield from tasks_of(node.get(key), become)


def test_every_task_that_asks_the_api_disables_become() -> None:
    paths = [*COLLECTION.glob("playbooks/*.yml"), *COLLECTION.glob("roles/*/tasks/*.yml")]
    found = [task for path in paths for task in tasks_of(yaml.safe_load(path.read_text()))]
    assert len(found) > 8
    assert not [task["name"] for task, become in found if become is not False]


def test_become_on_the_play_and_in_the_inventory(
    tiw_simulator: Simulator, command: Command, tmp_path: Path
) -> None:
    plugins = tmp_path / "become"
    plugins.mkdir()
    (plugins / "bare.py").write_text(BECOME)
    environment = {"ANSIBLE_BECOME_PLUGINS": str(plugins), "ANSIBLE_BECOME_METHOD": "bare"}
    inventory = tmp_path / "inventory.yml"
    hosts = {
        "localhost": {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        }
    }
    (_done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("runs", timeline=[{"RECORDING": 10_000}])
    folder = tmp_path / "lessons"
    role = {
        "role": "tiw.automation.archive_recordings",
        "vars": {
            "archive_recordings_task_ids": "finished-000001",
            "archive_recordings_folder": str(folder),
        },
    }
    book = tmp_path / "book.yml"
    for kind, variables in (("play", {}), ("inventory", {"ansible_become": True})):
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": variables}}))
        plays: list[dict[str, Any]] = [
            {"hosts": "localhost", "gather_facts": False, "become": True, "roles": [role]},
            {"import_playbook": "tiw.automation.report"},
            {"import_playbook": "tiw.automation.react"},
            {"import_playbook": "tiw.automation.pause"},
        ]
        book.write_text(json.dumps(plays))
        given = {
            **{"task_ids": "runs", "folder": str(folder), "EventType": "OnlineRecordFinished"},
            "EventData": {"TaskId": "finished-000001"},
        }
        done = command(
            *("ansible-playbook", str(book), "-i", str(inventory), "--become"),
            *("-e", json.dumps(given)),
            environment=environment,
        )
        assert done.returncode == 0, (kind, done.stdout + done.stderr)
        assert (folder / "finished-000001/manifest.json").exists()
