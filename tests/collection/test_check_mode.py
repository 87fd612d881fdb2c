# SPDX-License-Identifier: Apache-2.0
"""Every later task accepts the result of a start in check mode."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiw_automation.core import OnlineRecord
from tiw_automation.simulator import Simulator

COLLECTION = Path(__file__).resolve().parents[2] / "collections/ansible_collections/tiw/automation"
Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]
KEY = "user-signature-key-user-signature-key"
USER = "tic_record_user_29001_algebra"
PREDICTED = f"check-mode:{USER}"
KEYS = set(OnlineRecord(1, "t").to_dict()) | {"exists", "verdict", "message"}
LESSON = "{{ result_0.task_id }}"
URLS = "query('tiw.automation.online_record', result_0.task_id)"


def record(state: str, **options: Any) -> dict[str, Any]:
    return {"tiw.automation.online_record": {"state": state, **options}}


def info(ids: Any, **options: Any) -> dict[str, Any]:
    return {"tiw.automation.online_record_info": {"task_ids": ids, **options}}


def start() -> dict[str, Any]:
    return record("started", room_id=29001, record_user_id=USER, user_sig_key=KEY)


def test_a_predicted_recording_is_paused_resumed_stopped_and_waited_for(
    tiw_simulator: Simulator, play: Play, ansible_environment: dict[str, str]
) -> None:
    # The site that lists what runs.
    ansible_environment["TENCENTCLOUD_REGION"] = "ap-guangzhou"
    tiw_simulator.add("runs", timeline=[{"RECORDING": 1000}])
    finish = {"wait": True, "wait_for": ["FINISHED"]}
    picky = ["missing", "failed", "timeout"]
    played = play(
        start(),
        record("paused", task_id=LESSON),
        record("started", task_id=LESSON),
        record("stopped", task_id=LESSON, **finish),
        info(["runs", LESSON]),
        info(LESSON, wait=True, fail_on=picky),
        info(f"{LESSON}, runs", wait=True, wait_for=["RECORDING"], fail_on=picky),
        {"ansible.builtin.debug": {"msg": "{{ " + URLS + " }}"}},
        arguments=("--check", "--diff"),
    )
    results = played.results
    assert not [result["msg"] for result in results if result.get("failed")], played.output
    assert [result["task_id"] for result in results[:4]] == [PREDICTED] * 4
    assert [result["changed"] for result in results[:4]] == [True] * 4
    before = [result["previous_status"] for result in results[:4]]
    assert before == [None, "RECORDING", "PAUSED", "RECORDING"]
    states = [result["record"]["status"] for result in results[:4]]
    assert states == ["RECORDING", "PAUSED", "RECORDING", "FINISHED"]
    assert results[0]["diff"]["after"] == {"task_id": PREDICTED, "status": "RECORDING"}
    asked = [*(result["record"] for result in results[:4]), *results[4]["records"]]
    assert all(set(entry) == KEYS for entry in asked)
    assert results[4]["pending"] == ["runs", PREDICTED]
    assert results[5]["all_finished"] is True
    assert results[5]["video_urls"] == []
    assert [entry["task_id"] for entry in results[6]["records"]] == [PREDICTED, "runs"]
    assert results[7]["msg"] == []
    assert tiw_simulator.writes == 0
    assert set(tiw_simulator.requests_by_task) == {"runs"}


def test_outside_check_mode_its_id_is_refused_and_no_request_is_sent(
    tiw_simulator: Simulator, play: Play
) -> None:
    played = play(
        record("stopped", task_id=PREDICTED),
        info(["runs", PREDICTED]),
        {
            "ansible.builtin.debug": {
                "msg": f"{{{{ query('tiw.automation.online_record', '{PREDICTED}') }}}}"
            }
        },
    )
    for result in played.results:
        assert result["failed"]
        assert f"{PREDICTED} is not a recording: check mode returned it" in result["msg"]
    assert tiw_simulator.requests == {}


def test_every_playbook_of_the_collection_accepts_it(
    tiw_simulator: Simulator,
    command: Command,
    ansible_environment: dict[str, str],
    tmp_path: Path,
) -> None:
    ansible_environment["TENCENTCLOUD_REGION"] = "ap-guangzhou"
    names = sorted(path.stem for path in (COLLECTION / "playbooks").glob("*.yml"))
    names.remove("start")
    book = tmp_path / "all.yml"
    book.write_text(
        "".join(f"- import_playbook: tiw.automation.{name}\n" for name in ["start", *names])
    )
    folder = tmp_path / "lessons"
    predicted = "check-mode:tic_record_user_29001_playbook"
    variables = {
        **{"room_id": 29001, "user_sig_key": KEY, "task_ids": predicted, "folder": str(folder)},
        **{"wait": "yes", "fail_on": "missing,failed,timeout"},
        **{"url": "https://hooks.example.com/tiw", "callback_key": "k" * 32},
        **{"base_url": "https://files.example.com", "files": "algebra.pptx"},
        **{"EventType": "OnlineRecordFinished", "EventData": {"TaskId": predicted}},
    }
    folder.mkdir()
    done = command("ansible-playbook", str(book), "--check", "-e", json.dumps(variables))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Would start {predicted}" in done.stdout
    for name in (
        "Pause",
        "Resume",
        "Stop",
        "Set or remove",
        "Archive the videos",
        "Wait for all transcodes",
    ):
        assert f"TASK [{name}]" in done.stdout, name
    assert tiw_simulator.writes == 0
    assert not tiw_simulator.requests_by_task
    assert not list(folder.iterdir())
