# SPDX-License-Identifier: Apache-2.0
"""``tiw archive`` and ``tiw verify`` against the simulator."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tiw_command import run_tiw, running, start_tiw

from tiw_automation.cli.app import tiw
from tiw_automation.simulator import Simulator


@pytest.fixture
def lessons(tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """Return a simulator with a finished and a running recording; the environment points to it."""
    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TIW_ARCHIVE_HOSTS", "127.0.0.1")
    tiw_simulator.add("algebra", timeline=[{"RECORDING": 1}])
    tiw_simulator.add("drama", timeline=[{"RECORDING": 3600}])
    tiw_simulator.advance(60)
    return tiw_simulator


def command(*arguments: str | Path) -> Result:
    return CliRunner().invoke(tiw, [str(argument) for argument in arguments])


def data(result: Result) -> Any:
    return json.loads(result.stdout)


def videos(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.mp4"))


def test_it_copies_once(lessons: Simulator, tmp_path: Path) -> None:
    first = command("archive", "algebra", tmp_path, "--output", "json")
    assert first.exit_code == 0, first.stderr
    assert [video["state"] for video in data(first)["videos"]] == ["copied", "copied"]
    assert len(videos(tmp_path)) == 2
    again = command("archive", "algebra", tmp_path, "--output", "json")
    assert [video["state"] for video in data(again)["videos"]] == ["there", "there"]


def test_a_recording_that_runs_is_one_line_and_the_others_are_copied(
    lessons: Simulator, tmp_path: Path
) -> None:
    result = command("archive", "drama", "algebra", tmp_path, "--output", "json")
    assert result.exit_code == 1
    assert result.stderr == "tiw: drama is not archived: Recording drama is RECORDING.\n"
    found = data(result)
    assert [one["task_id"] for one in found["left_out"]] == ["drama"]
    assert [video["task_id"] for video in found["videos"]] == ["algebra", "algebra"]


def test_it_waits_where_it_is_asked_to(lessons: Simulator, tmp_path: Path) -> None:
    lessons.add("music", timeline=[{"STOPPED": 1}])
    result = command("archive", "--wait", "music", tmp_path, "--timeout", "30")
    assert result.exit_code == 0, result.stderr
    assert len(videos(tmp_path)) == 2
    late = command("archive", "--wait", "drama", tmp_path, "--timeout", "0.2")
    assert late.exit_code == 3


def test_an_interrupted_wait_copies_nothing(lessons: Simulator, tmp_path: Path) -> None:
    started = start_tiw(os.environ, "archive", "--wait", "drama", str(tmp_path))
    with running(started) as process:
        assert process.stderr.readline() == "tiw: Recording drama is RECORDING.\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Interrupted: no video was copied yet." in process.stderr.read()


def test_a_recording_that_was_not_found(lessons: Simulator, tmp_path: Path) -> None:
    result = command("archive", "nothing", tmp_path)
    assert result.exit_code == 1
    assert "nothing" in result.stderr


def test_keys_that_are_refused(
    lessons: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", "another-key")
    assert command("archive", "algebra", tmp_path).exit_code == 4


def test_a_dry_run_requests_no_video_and_writes_nothing(lessons: Simulator, tmp_path: Path) -> None:
    result = command("archive", "--dry-run", "algebra", tmp_path / "new", "--output", "jsonl")
    assert result.exit_code == 0
    found = [json.loads(line) for line in result.stdout.splitlines()]
    assert [video["state"] for video in found] == ["would be copied"] * 2
    assert not (tmp_path / "new").exists()


def test_modes_kinds_and_names(lessons: Simulator, tmp_path: Path) -> None:
    options = ["--video-kind", "camera", "--file-mode", "600", "--folder-mode", "700"]
    names = ["--names", "{task_id}/{index:02d}.{format}"]
    result = command("archive", *options, *names, "algebra", tmp_path)
    assert result.exit_code == 0, result.stderr
    (video,) = videos(tmp_path)
    assert video == tmp_path / "algebra/01.mp4"
    assert video.stat().st_mode & 0o777 == 0o600
    assert video.parent.stat().st_mode & 0o777 == 0o700


def test_a_host_that_is_not_allowed_is_named(
    lessons: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TIW_ARCHIVE_HOSTS")
    result = command("archive", "algebra", tmp_path)
    assert result.exit_code == 1
    assert "127.0.0.1" in result.stderr
    assert command("archive", "--host", "127.0.0.1", "algebra", tmp_path).exit_code == 0


@pytest.mark.parametrize(
    "option", [["--file-mode", "rw"], ["--workers", "0"], ["--max-bytes", "x"]]
)
def test_options_that_are_invalid(lessons: Simulator, tmp_path: Path, option: list[str]) -> None:
    assert command("archive", *option, "algebra", tmp_path).exit_code == 2


def test_a_folder_whose_protocol_is_unknown(lessons: Simulator) -> None:
    result = command("archive", "algebra", "nowhere://bucket/archive")
    assert result.exit_code == 4
    assert "nowhere" in result.stderr


def test_verify_finds_what_is_missing_cut_or_changed(lessons: Simulator, tmp_path: Path) -> None:
    command("archive", "algebra", tmp_path)
    good = command("verify", tmp_path)
    assert (good.exit_code, good.stdout) == (0, "")
    assert good.stderr == "tiw: 2 whole (sizes and SHA-256).\n"
    first, second = videos(tmp_path)
    content = bytearray(first.read_bytes())
    content[10] ^= 1
    first.write_bytes(content)
    assert command("verify", "--quick", tmp_path).exit_code == 0
    os.truncate(second, 5)
    (tmp_path / "notes.txt").write_text("a file of another program")
    bad = command("verify", tmp_path)
    assert bad.exit_code == 1
    states = {line.split("\t")[1]: line.split("\t")[0] for line in bad.stdout.splitlines()}
    assert states == {
        str(first): "changed",
        str(second): "cut",
        str(tmp_path / "notes.txt"): "unlisted",
    }
    second.unlink()
    found = data(command("verify", "--output", "json", tmp_path))
    assert found["counts"]["missing"] == 1
    assert {one["state"] for one in found["findings"]} == {"changed", "missing", "unlisted"}


def test_verify_of_a_folder_without_an_archive(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "nothing"):
        result = command("verify", folder)
        assert result.exit_code == 1
        assert "holds no archive" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["music"]])
def test_a_missing_folder_is_named(tiw_simulator: Simulator, arguments: list[str]) -> None:
    shown = run_tiw(tiw_simulator, "archive", *arguments)
    assert shown.exit_code == 2
    assert "ID or FOLDER is missing" in shown.stderr
    assert "Usage: tiw archive [OPTIONS] ID... FOLDER" in shown.stderr
