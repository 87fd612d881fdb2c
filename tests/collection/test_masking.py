# SPDX-License-Identifier: Apache-2.0
"""Ansible masks the result of a module, and a callback plugin owns standard output.

A wait in slices continues with what the slice before found, also if Ansible masks it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tiw_automation.simulator import Simulator

Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]

SLICED = {
    **{"wait": True, "wait_timeout": 60, "wait_sleep": 0.2, "timeout": 1},
    "progress_interval": 2,
}
# Long enough to be masked, and a part of an id.
MASKED = "algebra-lesson"
PASSWORDS = ("lon", "1", MASKED)
TOKENS = ("e", "1", "RECORDING")


@contextlib.contextmanager
def each_ends_after_its_first_slice(simulator: Simulator, *task_ids: str) -> Iterator[None]:
    """Let recordings end, one after the other, some time after their first poll."""
    for number, task_id in enumerate(task_ids, 1):
        simulator.add(task_id, timeline=[{"RECORDING": number * 20_000 - 10_000}])
    over = threading.Event()

    def end() -> None:
        for task_id in task_ids:
            while not simulator.requests_by_task.get(task_id) and not over.wait(0.05):
                pass
            over.wait(5)
            simulator.advance(20_000)

    ending = threading.Thread(target=end)
    ending.start()
    try:
        yield
    finally:
        over.set()
        ending.join()


def wait(name: str, ids: list[str], **options: Any) -> dict[str, Any]:
    return {
        "name": name,
        "tiw.automation.online_record_info": {"task_ids": ids, **SLICED, **options},
    }


def behind_proxy(number: int, password: str) -> dict[str, Any]:
    """Return a wait in an environment that holds the password of a proxy."""
    ids = [f"history-p{number}", f"{MASKED}-{number}", f"long-p{number}"]
    environment = {"HTTP_PROXY": f"http://svc:{password}@127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    return {**wait(f"Proxy {number}", ids), "environment": environment}


def with_token(number: int, token: str) -> dict[str, Any]:
    """Return a wait with a secret option. Ansible masks the options, however short they are."""
    keys = {"secret_id": f"AKIDtoken{number}", "secret_key": "key-of-the-token", "token": token}
    ids = [f"history-t{number}", f"long-t{number}"]
    return wait(f"Token {number}", ids, **keys, video_kinds=["whiteboard"])


def test_masked_secrets_change_no_wait(tiw_simulator: Simulator, play: Play) -> None:
    for number, token in enumerate(TOKENS):
        # The simulator does not check the token, which occurs in every result.
        tiw_simulator.add_account(f"AKIDtoken{number}", "key-of-the-token", token=token)
    tasks = [behind_proxy(number, password) for number, password in enumerate(PASSWORDS)]
    tasks += [with_token(number, token) for number, token in enumerate(TOKENS)]
    ids = [task["tiw.automation.online_record_info"]["task_ids"] for task in tasks]
    for task_id in (task_id for of_task in ids for task_id in of_task[:-1]):
        tiw_simulator.add(task_id, timeline=[])
    with each_ends_after_its_first_slice(tiw_simulator, *(of_task[-1] for of_task in ids)):
        played = play(*tasks)
    asked = tiw_simulator.requests_by_task
    assert set(asked) == {task_id for of_task in ids for task_id in of_task}
    for task, of_task, found in zip(tasks, ids, played.results, strict=True):
        lines = [
            line for line in played.output.splitlines() if line.startswith(f"{task['name']}: ")
        ]
        assert "recordings done after" in lines[0]
        assert not found.get("failed"), (task["name"], played.output)
        assert found["all_finished"] is True
        assert [record["task_id"] for record in found["records"]] == of_task
        assert found["missing"] == found["pending"] == found["unreached"] == []
        behind = task["name"].startswith("Proxy")
        assert len(found["video_urls"]) == (6 if behind else 2)
        if behind:
            assert found["polls"] == sum(asked[task_id] for task_id in of_task)


CALLBACK = '''
import json
from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: one_json
type: stdout
short_description: As ansible.posix.json, one document
description: One document.
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "one_json"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tasks = []

    def v2_runner_on_ok(self, result):
        self.tasks.append(result.task_name if hasattr(result, "task_name") else str(result))

    v2_runner_on_failed = v2_runner_on_ok

    def v2_playbook_on_stats(self, stats):
        self._display.display(json.dumps({"tasks": len(self.tasks)}))
'''


def test_standard_output_belongs_to_the_callback_plugin(
    tiw_simulator: Simulator, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks/one_json.py").write_text(CALLBACK)
    tasks = [wait("Wait", ["history"])]
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    head = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables}
    book = tmp_path / "book.yml"
    book.write_text(json.dumps([{**head, "tasks": tasks}]))
    environment = {
        "ANSIBLE_CALLBACK_PLUGINS": str(tmp_path / "callbacks"),
        "ANSIBLE_STDOUT_CALLBACK": "one_json",
    }
    with each_ends_after_its_first_slice(tiw_simulator, "history"):
        done = command("ansible-playbook", str(book), environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {"tasks": 1}
    assert "Wait: 0 of 1 recordings done after" in done.stderr
