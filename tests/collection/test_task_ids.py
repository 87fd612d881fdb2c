# SPDX-License-Identifier: Apache-2.0
"""The same forms of task ids are accepted everywhere in the collection."""

from __future__ import annotations

import asyncio
import json
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import ConfigurationError
from tiw_automation.simulator import Simulator

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/tiw/automation"
SOURCE = COLLECTION / "extensions/eda/plugins/event_source/online_record.py"
Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]
IDS = ["algebra", "history"]
GOOD: list[Any] = [IDS, "algebra,history", "algebra, history", " algebra ,history,algebra"]
BAD: list[Any] = [
    *([], "", "algebra,", {"algebra": 1}, ["algebra,history"]),
    *("x{{1+1}}", "['a']", "a\nb"),
]


def info(ids: Any) -> dict[str, Any]:
    return {"tiw.automation.online_record_info": {"task_ids": ids}}


def shown(expression: str) -> dict[str, Any]:
    return {"ansible.builtin.debug": {"msg": "{{ " + expression + " }}"}}


def test_modules_and_plugins_accept_the_same_forms(tiw_simulator: Simulator, play: Play) -> None:
    for task_id in IDS:
        tiw_simulator.add(task_id, timeline=[], videos=[{"kind": "mixed"}])
    # The others are read by the same function, see the unit test of _task_ids.
    texts = GOOD[1:3]
    variables = {f"ids_{number}": ids for number, ids in enumerate(texts)}
    lookup = "query('tiw.automation.online_record', {})"
    tasks = [
        task
        for name in variables
        for task in (
            info("{{ " + name + " }}"),
            shown(lookup.format(name)),
            shown(f"{name} | tiw.automation.task_ids"),
        )
    ]
    results = play(*tasks, shown(lookup.format("'algebra', 'history'")), vars=variables).results
    assert not [result["msg"] for result in results if result.get("failed")]
    for number in range(len(texts)):
        asked, urls, ids = results[3 * number : 3 * number + 3]
        assert [record["task_id"] for record in asked["records"]] == IDS
        assert ids["msg"] == IDS
        assert urls["msg"] == asked["video_urls"] == results[-1]["msg"]


def test_modules_and_plugins_refuse_the_same_forms(tiw_simulator: Simulator, play: Play) -> None:
    # Ansible's own mark for a text that is not a template.
    variables = {
        f"ids_{number}": {"__ansible_unsafe": ids} if isinstance(ids, str) else ids
        for number, ids in enumerate(["", ["algebra,history"], "x{{1+1}}"])
    }
    tasks = [
        task
        for name in variables
        for task in (
            shown(f"query('tiw.automation.online_record', {name})"),
            shown(f"{name} | tiw.automation.task_ids"),
            info("{{ " + name + " }}"),
        )
    ]
    for result, task in zip(play(*tasks, vars=variables).results, tasks, strict=True):
        assert result["failed"], task
        assert "task id" in result["msg"], result["msg"]
    assert tiw_simulator.requests == {}


def test_the_playbooks_accept_a_text_from_the_command_line(
    tiw_simulator: Simulator, command: Command, tmp_path: Path
) -> None:
    for task_id in IDS:
        tiw_simulator.add(task_id, timeline=[{"RECORDING": 10_000}], videos=[{"kind": "mixed"}])
    names = ["pause", "resume", "stop", "report", "archive"]
    book = tmp_path / "all.yml"
    book.write_text("".join(f"- import_playbook: tiw.automation.{name}\n" for name in names))
    (tmp_path / "lessons").mkdir()
    done = command(
        *("ansible-playbook", str(book)),
        *("-e", "task_ids=algebra,history", "-e", "wait=yes", "-e", "wait_sleep=0.5"),
        *("-e", f"folder={tmp_path}/lessons", "-e", "archive_recordings_skip_bad=false"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # One of each for each: paused, resumed and stopped.
    assert tiw_simulator.writes == 6
    assert sorted(path.name for path in (tmp_path / "lessons").iterdir()) == IDS


def test_the_event_source_accepts_the_same_forms(tiw_simulator: Simulator) -> None:
    source = runpy.run_path(str(SOURCE))["RecordSource"]

    async def read() -> None:
        for ids in GOOD:
            assert list(source(asyncio.Queue(), {"task_ids": ids})._given) == IDS
        for ids in BAD:
            with pytest.raises(ConfigurationError):
                source(asyncio.Queue(), {"task_ids": ids})

    asyncio.run(read())


def test_the_schema_of_the_event_source_allows_both_forms() -> None:
    schema = json.loads((SOURCE.parent / "schemas/online_record.json").read_text())
    listed, text = schema["properties"]["task_ids"]["oneOf"]
    assert listed["type"] == "array"
    assert text["type"] == "string"
