# SPDX-License-Identifier: Apache-2.0
"""Ansible masks what a module returns, and a callback plugin owns standard output.

A wait that is cut into slices goes on by what the slice before has found, whatever is masked in it.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]

SLICED = {
    **{"wait": True, "wait_timeout": 60, "wait_sleep": 0.2, "timeout": 1},
    "progress_interval": 2,
}
# Long enough to be masked, and a part of an id; the numbers and the words of every result.
MASKED = "algebra-lesson"


def proxied(password: str) -> dict[str, str]:
    return {"HTTP_PROXY": f"http://svc:{password}@127.0.0.1:9", "NO_PROXY": "127.0.0.1"}


@contextlib.contextmanager
def ends_after_the_first_slice(simulator: Simulator, task_id: str) -> Iterator[None]:
    """Let a recording run for as long as a slice takes after it was first asked for."""
    simulator.add(task_id, timeline=[{"RECORDING": 10_000}])
    over = threading.Event()

    def end() -> None:
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


def play_sliced(play: Play, simulator: Simulator, ids: list[str], **how: Any) -> dict[str, Any]:
    """Wait for recordings of which the last ends after the first slice and the others at once."""
    for task_id in ids[:-1]:
        simulator.add(task_id, timeline=[])
    options = {"task_ids": ids, **SLICED, **how.pop("options", {})}
    with ends_after_the_first_slice(simulator, ids[-1]):
        played = play({"tiw.automation.online_record_info": options}, **how)
    assert "recordings done after" in played.output
    found: dict[str, Any] = played.results[0]
    assert not found.get("failed"), played.output
    assert found["all_finished"] is True
    assert [record["task_id"] for record in found["records"]] == ids
    assert found["missing"] == found["pending"] == found["unreached"] == []
    assert set(simulator.requests_by_task) == set(ids)
    return found


@pytest.mark.parametrize("password", ["lon", "1", MASKED])
def test_the_password_of_a_proxy_changes_no_wait(
    password: str, tiw_simulator: Simulator, play: Play
) -> None:
    ids = ["history", f"{MASKED}-7", "long"]
    found = play_sliced(play, tiw_simulator, ids, environment=proxied(password))
    assert len(found["video_urls"]) == 6
    assert found["polls"] == tiw_simulator.requests["DescribeOnlineRecord"]


@pytest.mark.parametrize("secret", ["e", "1", "RECORDING"])
def test_a_secret_of_the_task_changes_no_wait(
    secret: str, tiw_simulator: Simulator, play: Play
) -> None:
    """Ansible masks the options themselves, however short they are."""
    # A token that the simulator does not look at, and that stands in every result.
    tiw_simulator.add_account("AKIDtoken", "key-of-the-token", token=secret)
    options = {
        **{"secret_id": "AKIDtoken", "secret_key": "key-of-the-token", "token": secret},
        "video_kinds": ["whiteboard"],
    }
    found = play_sliced(play, tiw_simulator, ["history", "long"], options=options)
    assert len(found["video_urls"]) == 2


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


def test_standard_output_is_the_callback_plugins(
    tiw_simulator: Simulator, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "callbacks").mkdir()
    (tmp_path / "callbacks/one_json.py").write_text(CALLBACK)
    options = {"task_ids": "history", **SLICED}
    tasks = [{"name": "Wait", "tiw.automation.online_record_info": options}]
    variables = {"ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    head = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables}
    book = tmp_path / "book.yml"
    book.write_text(json.dumps([{**head, "tasks": tasks}]))
    environment = {
        "ANSIBLE_CALLBACK_PLUGINS": str(tmp_path / "callbacks"),
        "ANSIBLE_STDOUT_CALLBACK": "one_json",
    }
    with ends_after_the_first_slice(tiw_simulator, "history"):
        done = command("ansible-playbook", str(book), environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout) == {"tasks": 1}
    assert "Wait: 0 of 1 recordings done after" in done.stderr
