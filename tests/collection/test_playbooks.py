# SPDX-License-Identifier: Apache-2.0
"""The role and the playbooks that come with the collection."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import TiwClient
from tiw_automation.simulator import Simulator

Command = Callable[..., subprocess.CompletedProcess[str]]
KEY = "user-signature-key-user-signature-key"


@pytest.fixture
def playbook(command: Command) -> Callable[..., str]:
    """Return a function that runs a playbook of the collection and returns what it printed."""

    def run(name: str, *arguments: str, rc: int = 0, **variables: Any) -> str:
        done = command(
            *("ansible-playbook", f"tiw.automation.{name}", "-e", json.dumps(variables)),
            *arguments,
        )
        output = done.stdout + done.stderr
        assert done.returncode == rc, output
        return output

    return run


Playbook = Callable[..., str]


def recap(output: str) -> dict[str, int]:
    """Return the counts of the last line, of localhost."""
    line = output[output.index("PLAY RECAP") :]
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_archiving_is_complete_and_idempotent(
    tiw_simulator: Simulator, playbook: Playbook, tmp_path: Path
) -> None:
    tiw_simulator.add("soon", timeline=[{"RECORDING": 2}, {"PAUSED": 1}, {"RECORDING": 2}])
    tiw_simulator.add("odd..name", timeline=[], videos=[{"kind": "audio", "user_id": "a/b"}])
    folder = tmp_path / "lessons"
    folder.mkdir()
    variables = {"task_ids": ["soon", "odd..name"], "folder": str(folder)}
    foreseen = playbook("archive", "--check", **variables)
    assert files(folder) == {}
    assert "item=odd..name/001-audio-a%2Fb.mp3" in foreseen
    assert recap(foreseen)["changed"] == 2
    playbook("archive", **variables, archive_recordings_wait_sleep=0.5)
    kept = files(folder)
    assert sorted(kept) == [
        "odd..name/001-audio-a%2Fb.mp3",
        "odd..name/manifest.json",
        "soon/001-camera-teacher.mp4",
        "soon/002-camera-teacher.mp4",
        "soon/003-whiteboard.mp4",
        "soon/004-whiteboard.mp4",
        "soon/manifest.json",
    ]
    with TiwClient(**tiw_simulator.settings()) as client:
        record = client.describe_online_record("soon")
    manifest = json.loads(kept["soon/manifest.json"])
    assert manifest["record"]["task_id"] == "soon"
    assert manifest["record"]["verdict"] == "finished"
    assert len(manifest["files"]) == 4
    for entry, video in zip(manifest["files"], record.videos, strict=True):
        content = kept[f"soon/{entry['file']}"]
        assert entry["size_bytes"] == len(content) == video.size_bytes
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["video_id"] == video.id
    again = playbook("archive", **variables)
    assert recap(again)["changed"] == 0
    assert files(folder) == kept
    # A file that was cut, and one that is gone, are made good; nothing else is touched.
    (folder / "soon/001-camera-teacher.mp4").write_bytes(b"cut")
    (folder / "soon/004-whiteboard.mp4").unlink()
    mended = playbook("archive", **variables)
    assert recap(mended)["changed"] == 1
    assert files(folder) == kept


def test_archiving_on_a_host_that_has_neither_the_core_nor_the_account(
    tiw_simulator: Simulator, playbook: Playbook, tmp_path: Path
) -> None:
    tiw_simulator.add("lesson", timeline=[])
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        f"[keepers]\nfiles ansible_connection=local ansible_python_interpreter={bare}/bin/python\n"
    )
    folder = tmp_path / "lessons"
    folder.mkdir()
    variables = {"task_ids": ["lesson"], "folder": str(folder), "archive_host": "keepers"}
    output = playbook("archive", "-i", str(inventory), **variables)
    assert "files -> localhost" in output
    assert "lesson/manifest.json" in files(folder)
    assert len(files(folder)) == 3
    assert "changed=0" in playbook("archive", "-i", str(inventory), **variables)


def test_archiving_says_what_is_wrong_after_it_has_kept_the_rest(
    tiw_simulator: Simulator, playbook: Playbook, tmp_path: Path
) -> None:
    tiw_simulator.add("good", timeline=[])
    tiw_simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})
    variables = {
        "task_ids": ["drama", "good", "absent"],
        "folder": str(tmp_path / "lessons"),
        "archive_recordings_kinds": ["whiteboard"],
    }
    output = playbook("archive", **variables, rc=2)
    assert "im login failed" in output
    assert "TaskNotFound" in output
    kept = ["good/002-whiteboard.mp4", "good/manifest.json"]
    assert sorted(files(tmp_path / "lessons")) == kept
    playbook("archive", **variables, archive_recordings_skip_bad=True)
    # A download that breaks is tried again; one that stays short is no success.
    tiw_simulator.add("short", timeline=[], videos=[{"kind": "whiteboard"}])
    more: dict[str, Any] = {"task_ids": ["short"], "archive_recordings_retry_delay": 1}
    variables = {**variables, **more}
    tiw_simulator.inject("truncated", action="video", times=1)
    playbook("archive", **variables)
    (tmp_path / "lessons/short/001-whiteboard.mp4").unlink()
    tiw_simulator.fault = {"name": "truncated", "action": "video"}
    assert "001-whiteboard.mp4" in playbook("archive", **variables, rc=2)


def test_start_pause_resume_and_stop(
    tiw_simulator: Simulator, playbook: Playbook, ansible_environment: dict[str, str]
) -> None:
    ansible_environment["TENCENTCLOUD_REGION"] = "ap-guangzhou"
    tiw_simulator.set_app(user_sig_key=KEY)
    output = playbook("start", "-vvv", room_id=29001, user_sig_key=KEY, preset="audio_files")
    assert KEY not in output
    (recording,) = tiw_simulator.recordings
    task_id = recording["task_id"]
    assert f"Started {task_id}" in output
    assert f"Found running: {task_id}" in playbook("start", room_id=29001, user_sig_key=KEY)
    playbook("pause", task_ids=[task_id])
    assert tiw_simulator.recordings[0]["status"] == "PAUSED"
    playbook("resume", task_ids=[task_id])
    assert tiw_simulator.recordings[0]["status"] == "RECORDING"
    stopped = playbook("stop", task_ids=[task_id], wait=True, wait_sleep=1)
    assert "/videos/" in stopped
    assert tiw_simulator.recordings[0]["status"] == "FINISHED"
    assert tiw_simulator.started == 1


def test_callbacks(tiw_simulator: Simulator, playbook: Playbook) -> None:
    assert '"key_is_set": false' in playbook("callbacks")
    output = playbook("callbacks", url="https://hooks.example.com/tiw", callback_key="k" * 30)
    assert '"url": "https://hooks.example.com/tiw"' in output
    assert '"key_is_set": true' in output
    refused = playbook("callbacks", url="https://others.example.com/", rc=2)
    assert "Set force" in refused
    gone = playbook("callbacks", url="https://hooks.example.com/tiw", state="absent")
    assert '"url": null' in gone


def test_an_event_is_a_hint(tiw_simulator: Simulator, playbook: Playbook, tmp_path: Path) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 1000}])
    folder = tmp_path / "lessons"
    event = {
        "EventType": "OnlineRecordFinished",
        "EventData": {"TaskId": "lesson", "VideoInfos": [{"VideoUrl": "http://forged/"}]},
        "folder": str(folder),
    }
    # It says that it has finished; the API says otherwise.
    assert "lesson is RECORDING" in playbook("react", **event)
    assert not folder.exists()
    tiw_simulator.advance(2000)
    assert "lesson is FINISHED" in playbook("react", **event)
    assert len(files(folder)) == 3
    mistakes: list[dict[str, Any]] = [
        {"EventData": {}},
        {"EventType": "Something"},
        {"EventData": "lesson"},
    ]
    for wrong in mistakes:
        assert "no event of a recording" in playbook("react", **{**event, **wrong}, rc=2)


def test_what_was_posted_is_no_template(
    tiw_simulator: Simulator, playbook: Playbook, tmp_path: Path
) -> None:
    tiw_simulator.add("lesson", timeline=[])
    posted, run = tmp_path / "event.json", tmp_path / "run"
    given = {"event_file": str(posted), "folder": str(tmp_path / "lessons")}
    template = f"{{{{ lookup('ansible.builtin.pipe', 'touch {run}') }}}}"
    for event_type, task_id in (
        ("OnlineRecordFinished", template),
        # A line end behind an id, and an id that is longer than any.
        ("OnlineRecordFinished", "lesson\n"),
        ("OnlineRecordFinished", "x" * 129),
        (template, "lesson"),
        (f"OnlineRecord{template}", "lesson"),
    ):
        posted.write_text(json.dumps({"EventType": event_type, "EventData": {"TaskId": task_id}}))
        assert "no event of a recording" in playbook("react", **given, rc=2)
        assert not run.exists()
    event = {"EventType": "OnlineRecordFinished", "EventData": {"TaskId": "lesson", "A": template}}
    posted.write_text(json.dumps(event))
    assert "lesson is FINISHED" in playbook("react", **given)
    assert not run.exists()
