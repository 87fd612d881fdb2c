# SPDX-License-Identifier: Apache-2.0
"""The role and the playbooks of the collection."""

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
import yaml

from tiw_automation.core import TiwClient
from tiw_automation.simulator import Simulator

Command = Callable[..., subprocess.CompletedProcess[str]]
KEY = "user-signature-key-user-signature-key"
PLAYBOOKS = (
    Path(__file__).resolve().parents[2] / "collections/ansible_collections/tiw/automation/playbooks"
)


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


@pytest.fixture
def playbooks(command: Command, tmp_path: Path) -> Callable[..., list[str]]:
    """Return a function that runs playbooks of the collection in one process.

    Each is a name and its variables. It returns what each printed.
    """

    def run(*books: tuple[str, dict[str, Any]], arguments: tuple[str, ...] = ()) -> list[str]:
        book = tmp_path / "book.yml"
        imported = [
            {"import_playbook": f"tiw.automation.{name}", "vars": variables}
            for name, variables in books
        ]
        book.write_text(json.dumps(imported))
        done = command("ansible-playbook", str(book), *arguments)
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        return re.split(r"^PLAY \[", output, flags=re.MULTILINE)[1:]

    return run


Playbook = Callable[..., str]
Playbooks = Callable[..., list[str]]


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
    tiw_simulator: Simulator, playbook: Playbook, playbooks: Playbooks, tmp_path: Path
) -> None:
    tiw_simulator.add("soon", timeline=[{"RECORDING": 2}, {"PAUSED": 1}, {"RECORDING": 2}])
    tiw_simulator.add("odd..name", timeline=[], videos=[{"kind": "audio", "user_id": "a/b"}])
    folder = tmp_path / "lessons"
    folder.mkdir()
    variables = {"task_ids": ["soon", "odd..name"], "folder": str(folder)}
    predicted = playbook("archive", "--check", **variables)
    assert files(folder) == {}
    assert recap(predicted)["changed"] == 1
    waiting = {**variables, "archive_recordings_wait_sleep": 0.5}
    first, again = playbooks(("archive", waiting), ("archive", variables))
    assert "changed: [" in first
    assert "changed: [" not in again
    kept = files(folder)
    with TiwClient(**tiw_simulator.settings()) as client:
        record = client.describe_online_record("soon")
        (audio,) = client.describe_online_record("odd..name").videos
    names = [f"soon/{video.kind}-{video.id}.mp4" for video in record.videos]
    assert set(kept) == {
        f"odd..name/audio-{audio.id}.mp3",
        "odd..name/manifest.json",
        *names,
        "soon/manifest.json",
    }
    manifest = json.loads(kept["soon/manifest.json"])
    assert manifest["record"]["task_id"] == "soon"
    assert manifest["record"]["verdict"] == "finished"
    entries = {entry["video_id"]: entry for entry in manifest["files"]}
    for name, video in zip(names, record.videos, strict=True):
        entry = entries[video.id]
        assert entry["name"] == name
        assert entry["size_bytes"] == len(kept[name]) == video.size_bytes
        assert entry["sha256"] == hashlib.sha256(kept[name]).hexdigest()
    # A file that was cut and one that is gone are replaced; no other is changed.
    (folder / names[0]).write_bytes(b"cut")
    (folder / names[3]).unlink()
    mended = playbook("archive", **variables)
    assert recap(mended)["changed"] == 1
    mended_files = files(folder)
    assert {n: c for n, c in mended_files.items() if n.endswith(".mp4")} == {
        n: c for n, c in kept.items() if n.endswith(".mp4")
    }


def test_archiving_on_a_host_that_has_neither_the_core_nor_the_account(
    tiw_simulator: Simulator, playbooks: Playbooks, tmp_path: Path
) -> None:
    tiw_simulator.add("lesson", timeline=[], videos=[{"kind": "whiteboard"}])
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare)], check=True)
    inventory = tmp_path / "inventory.ini"
    inventory.write_text(
        f"[keepers]\nfiles ansible_connection=local ansible_python_interpreter={bare}/bin/python\n"
    )
    folder = tmp_path / "lessons"
    folder.mkdir()
    variables = {"task_ids": ["lesson"], "folder": str(folder), "archive_host": "keepers"}
    archive = ("archive", variables)
    output, again = playbooks(archive, archive, arguments=("-i", str(inventory)))
    assert "files -> localhost" in output
    assert "changed: [files" in output
    manifest, video = files(folder)
    assert manifest == "lesson/manifest.json"
    assert video.startswith("lesson/whiteboard-")
    assert "changed: [files" not in again


def test_archiving_reports_failures_after_it_has_kept_the_others(
    tiw_simulator: Simulator, playbook: Playbook, playbooks: Playbooks, tmp_path: Path
) -> None:
    tiw_simulator.add("good", timeline=[])
    tiw_simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})
    variables: dict[str, Any] = {
        "task_ids": ["drama", "good", "absent"],
        "folder": str(tmp_path / "lessons"),
        "archive_recordings_kinds": ["whiteboard"],
    }
    output = playbook("archive", **variables, rc=2)
    assert "im login failed" in output
    assert "TaskNotFound" in output
    manifest, video = files(tmp_path / "lessons")
    assert manifest == "good/manifest.json"
    assert video.startswith("good/whiteboard-")
    skipping = {**variables, "archive_recordings_skip_bad": True}
    # A download that breaks is repeated; one that stays short is a failure.
    tiw_simulator.add("short", timeline=[], videos=[{"kind": "whiteboard"}])
    more = {"archive_recordings_retries": 1, "archive_recordings_retry_delay": 1}
    variables = {**variables, "task_ids": ["short"], **more}
    tiw_simulator.inject("truncated", action="video", times=1)
    playbooks(("archive", skipping), ("archive", variables))
    (short,) = (tmp_path / "lessons/short").glob("whiteboard-*.mp4")
    short.unlink()
    tiw_simulator.fault = {"name": "truncated", "action": "video"}
    output = playbook("archive", **variables, rc=2)
    assert short.name in output
    assert "was cut off" in output


def test_start_pause_resume_and_stop(
    tiw_simulator: Simulator, playbooks: Playbooks, ansible_environment: dict[str, str]
) -> None:
    ansible_environment["TENCENTCLOUD_REGION"] = "ap-guangzhou"
    tiw_simulator.set_app(user_sig_key=KEY)
    room = {"room_id": 29001, "user_sig_key": KEY}
    started, again, _paused = playbooks(
        ("start", {**room, "preset": "audio_files"}),
        ("start", room),
        ("pause", {"task_ids": ["{{ started.task_id }}"]}),
        arguments=("-vvv",),
    )
    assert KEY not in started + again
    (recording,) = tiw_simulator.recordings
    task_id = recording["task_id"]
    assert f"Started {task_id}" in started
    assert f"Found running: {task_id}" in again
    assert recording["status"] == "PAUSED"
    playbooks(("resume", {"task_ids": [task_id]}))
    assert tiw_simulator.recordings[0]["status"] == "RECORDING"
    (stopped,) = playbooks(("stop", {"task_ids": [task_id], "wait": True, "wait_sleep": 1}))
    assert "/videos/" in stopped
    assert tiw_simulator.recordings[0]["status"] == "FINISHED"
    assert tiw_simulator.started == 1


def test_callbacks(tiw_simulator: Simulator, playbook: Playbook, playbooks: Playbooks) -> None:
    ours = "https://hooks.example.com/tiw"
    nothing, output = playbooks(
        ("callbacks", {}), ("callbacks", {"url": ours, "callback_key": "k" * 30})
    )
    assert '"key_is_set": false' in nothing
    assert f'"url": "{ours}"' in output
    assert '"key_is_set": true' in output
    refused = playbook("callbacks", url="https://others.example.com/", rc=2)
    assert "Set force" in refused
    (gone,) = playbooks(("callbacks", {"url": ours, "state": "absent"}))
    assert '"url": null' in gone


@pytest.fixture
def refused(command: Command, tmp_path: Path) -> Callable[..., int]:
    """Return a function that runs the playbook react on many events, in one process.

    It returns how many of them the playbook refuses before it asks the API.
    """

    def run(*events: dict[str, Any]) -> int:
        (play,) = yaml.safe_load((PLAYBOOKS / "react.yml").read_text())
        marks = [{"ansible.builtin.debug": {"msg": "REFUSED {{ ansible_failed_result.msg }}"}}]
        block = [{"block": play["tasks"], "rescue": marks}]
        plays = [{**play, "vars": {**play["vars"], **event}, "tasks": block} for event in events]
        book = tmp_path / "events.yml"
        book.write_text(json.dumps(plays))
        done = command("ansible-playbook", str(book))
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        assert "TASK [Ask for the recording]" not in output
        return output.count("REFUSED This is not an event of a recording")

    return run


def test_an_event_is_only_a_hint(
    tiw_simulator: Simulator, playbook: Playbook, refused: Callable[..., int], tmp_path: Path
) -> None:
    tiw_simulator.add("lesson", timeline=[{"RECORDING": 1000}], videos=[{"kind": "whiteboard"}])
    folder = tmp_path / "lessons"
    event = {
        "EventType": "OnlineRecordFinished",
        "EventData": {"TaskId": "lesson", "VideoInfos": [{"VideoUrl": "http://forged/"}]},
        "folder": str(folder),
    }
    # The event claims the end; the API does not confirm it.
    assert "lesson is RECORDING" in playbook("react", **event)
    assert not folder.exists()
    tiw_simulator.advance(2000)
    assert "lesson is FINISHED" in playbook("react", **event)
    manifest, video = files(folder)
    assert manifest == "lesson/manifest.json"
    assert video.startswith("lesson/whiteboard-")
    assert "not an event of a recording" in playbook("react", **{**event, "EventData": {}}, rc=2)
    assert refused({**event, "EventType": "Something"}, {**event, "EventData": "lesson"}) == 2


def test_an_event_is_not_a_template(
    tiw_simulator: Simulator, playbook: Playbook, refused: Callable[..., int], tmp_path: Path
) -> None:
    tiw_simulator.add("lesson", timeline=[], videos=[{"kind": "whiteboard"}])
    run, folder = tmp_path / "run", str(tmp_path / "lessons")
    template = f"{{{{ lookup('ansible.builtin.pipe', 'touch {run}') }}}}"

    def posted(event_type: str, **data: str) -> dict[str, str]:
        file = tmp_path / f"event-{len(list(tmp_path.glob('event-*')))}.json"
        file.write_text(json.dumps({"EventType": event_type, "EventData": data}))
        return {"event_file": str(file), "folder": folder}

    finished = "OnlineRecordFinished"
    events = [
        posted(finished, TaskId=template),
        # A line end behind an id, and an id that is longer than any.
        posted(finished, TaskId="lesson\n"),
        posted(finished, TaskId="x" * 129),
        posted(template, TaskId="lesson"),
        posted(f"OnlineRecord{template}", TaskId="lesson"),
    ]
    assert refused(*events) == len(events)
    assert not run.exists()
    event = posted(finished, TaskId="lesson", A=template)
    assert "lesson is FINISHED" in playbook("react", **event)
    assert not run.exists()


def variables_of(name: str) -> dict[bool, list[str]]:
    """Return the variables that a playbook's comment describes, by whether they are required."""
    text = (PLAYBOOKS / f"{name}.yml").read_text()
    block = text.split("# Variables:\n")[1].split("#\n")[0]
    entry = re.compile(r"^#   (\S+(?:, \S+)*)  +(.*(?:\n#     +.*)*)", re.MULTILINE)
    found: dict[bool, list[str]] = {True: [], False: []}
    for names, meaning in entry.findall(block):
        found["(required)" in meaning] += names.split(", ")
    return found


def test_the_readme_has_the_variables_of_each_playbook() -> None:
    readme = (PLAYBOOKS.parent / "README.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (.*) \| (.*) \|$", readme.split("### Playbooks")[1], re.M)
    shown = {row[0]: [re.findall(r"`(\w+)`", cell) for cell in row[1:]] for row in rows}
    names = [path.stem for path in PLAYBOOKS.glob("*.yml")]
    assert shown == {name: [variables_of(name)[True], variables_of(name)[False]] for name in names}


@pytest.mark.parametrize("name", ["report", "start", "archive", "transcode_slides"])
def test_a_missing_variable_is_named(playbook: Playbook, name: str) -> None:
    output = playbook(name, rc=2)
    needed = " and ".join(variables_of(name)[True])
    assert re.search(rf"{needed} (is|are) required: give -e ", output)
    assert "Traceback" not in output


def test_each_playbook_checks_what_it_needs() -> None:
    for path in PLAYBOOKS.glob("*.yml"):
        (play,) = yaml.safe_load(path.read_text())
        tasks = [*play.get("pre_tasks", []), *play.get("tasks", [])]
        checks = [one["ansible.builtin.assert"]["that"] for one in tasks[:1] if len(one) == 2]
        needed = [f"{name} is defined" for name in variables_of(path.stem)[True]]
        assert checks == ([needed] if needed else []), path
