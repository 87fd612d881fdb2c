# SPDX-License-Identifier: Apache-2.0
"""The module online_record_archive, by a real ansible-playbook."""

from __future__ import annotations

import json
import os
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import video_server as videos

from tiw_automation.core import OnlineRecord
from tiw_automation.core.archive import LocalStorage, RecordArchive, verify
from tiw_automation.simulator import Simulator

CONTENT = bytes(range(256)) * 2000
HERE = ["127.0.0.1"]
Play = Any


@pytest.fixture
def bucket() -> Iterator[Any]:
    with videos.video_server() as running:
        yield running


def lesson(bucket: Any, *names: str, task_id: str = "lesson", **record: Any) -> dict[str, Any]:
    """Return a record dict with videos of the bucket."""
    found = [
        {
            "id": name,
            "url": bucket.put(f"{task_id}/{name}.mp4", CONTENT),
            "format": "mp4",
            "type": 2,
            "kind": "whiteboard",
            "user_id": "",
            "play_time_ms": 0,
            "duration_ms": 1,
            "size_bytes": len(CONTENT),
            "width": 1,
            "height": 1,
        }
        for name in names
    ]
    plain = {"sdk_app_id": 1400000001, "task_id": task_id, "status": "FINISHED", "videos": found}
    return {**plain, **record}


def task(folder: object, *records: Any, **options: Any) -> dict[str, Any]:
    given = {"folder": str(folder), "hosts": HERE, "progress_interval": 0, **options}
    if "task_ids" not in options:
        given["records"] = list(records)
    return {"tiw.automation.online_record_archive": given}


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_copying_is_predicted_complete_and_idempotent(
    play: Play, bucket: Any, tmp_path: Path
) -> None:
    folder = tmp_path / "deep/archive"
    record = lesson(bucket, "v1", "v2", task_id="lesson")
    spellings = [f"{folder}/", f"{folder}//.", f"{tmp_path}/deep/../deep/archive"]
    played = play(
        {**task(folder, record), "check_mode": True},
        {**task(folder, record), "diff": True},
        *(task(spelling, record) for spelling in spellings),
        {**task(folder, record), "check_mode": True},
    )
    predicted, copied, *again, settled = played.results
    assert predicted["changed"]
    assert predicted["bytes_copied"] == copied["bytes_copied"] == 2 * len(CONTENT)
    assert predicted["paths"] == copied["paths"]
    assert [one["sha256"] for one in predicted["files"]] == [None, None]
    assert copied["changed"]
    assert copied["diff"]["before"] == ""
    assert copied["diff"]["after"].count("512.0 kB") == 2
    assert [one["changed"] for one in (*again, settled)] == [False] * 4
    assert {one["folder"] for one in (copied, *again)} == {str(folder)}
    assert len(bucket.requests) == 2
    assert "secret" not in played.output
    assert files(folder) == [
        "lesson/manifest.json",
        "lesson/whiteboard-v1.mp4",
        "lesson/whiteboard-v2.mp4",
    ]
    assert {oct(path.stat().st_mode & 0o777) for path in folder.rglob("*.*")} == {"0o640"}
    assert oct(folder.stat().st_mode & 0o777) == "0o750"


def test_one_odd_video_fails_alone(play: Play, bucket: Any, tmp_path: Path) -> None:
    odd = lesson(bucket, "gone", "secret", "away", "meta", "pipe", "zero", "large", task_id="odd")
    by_id = {video["id"]: video for video in odd["videos"]}
    del bucket.files["/odd/gone.mp4"]
    by_id["secret"]["url"] = "file:///etc/passwd"
    bucket.files["/odd/away.mp4"].behaviours.append(
        videos.answer(302, Location="http://localhost:1/x.mp4")
    )
    by_id["meta"]["url"] = "http://169.254.169.254/latest/meta-data/"
    by_id["large"]["size_bytes"] = 10**12
    folder = tmp_path / "archive"
    (folder / "odd").mkdir(parents=True)
    os.mkfifo(folder / "odd/whiteboard-pipe.mp4")
    (folder / "odd/whiteboard-zero.mp4").symlink_to("/dev/zero")
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    (failed,) = play(
        task(folder, odd, lesson(bucket, "v1"), attempts=1, verify_size=False, max_bytes=10**9)
    ).results
    assert failed["failed"]
    codes = {name.rpartition("-")[2]: error["code"] for name, error in failed["failures"].items()}
    assert codes == {
        "gone.mp4": "Video.Gone",
        "secret.mp4": "ConfigurationError",
        "away.mp4": "Video.Redirected",
        "meta.mp4": "Video.HostRefused",
        "pipe.mp4": "Archive.FileInTheWay",
        "zero.mp4": "Archive.FileInTheWay",
    }
    assert {one["video_id"] for one in failed["files"]} == {"large", "v1"}
    assert "root:" not in json.dumps(failed)
    assert all("Authorization" not in headers for _, headers in bucket.requests)
    assert stat.S_ISFIFO((folder / "odd/whiteboard-pipe.mp4").stat().st_mode)


def test_hosts_and_sizes_are_bounded(play: Play, bucket: Any, tmp_path: Path) -> None:
    record = lesson(bucket, "v1")
    played = play(
        task(tmp_path / "a", record, hosts=["videos.example.com"]),
        task(tmp_path / "b", record, max_bytes=1000),
        task(tmp_path / "c", record, hosts=["http://127.0.0.1"]),
        task(tmp_path / "d", record, names="{task_id}/{title}"),
        task(tmp_path / "e", {"task_id": "x"}),
        task(tmp_path / "f", record, task_ids="x", records=[record]),
    )
    refused, large, no_host, no_key, no_record, both = played.results
    assert refused["code"] == "Video.HostRefused"
    assert "hosts" in refused["msg"]
    assert "more than 1000" in large["msg"]
    assert "is not a host" in no_host["msg"]
    assert "{title} is not a key" in no_key["msg"]
    assert "must have a task_id and an sdk_app_id" in no_record["msg"]
    assert "mutually exclusive" in both["msg"]
    assert files(tmp_path / "a") == []


def test_owner_and_permissions_are_kept(play: Play, bucket: Any, tmp_path: Path) -> None:
    record = lesson(bucket, "v1")
    folder = tmp_path / "archive"
    rights = {"mode": "0600", "directory_mode": "u=rwx,g=,o=", "owner": "root", "group": "0"}
    played = play(
        task(folder, record),
        {**task(folder, record, **rights), "check_mode": True},
        task(folder, record, **rights),
        task(folder, record, **rights),
    )
    assert [result["changed"] for result in played.results] == [True, True, True, False]
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in folder.rglob("*")}
    assert modes == {
        "lesson": "0o700",
        "manifest.json": "0o600",
        "whiteboard-v1.mp4": "0o600",
    }
    assert oct(folder.stat().st_mode & 0o777) == "0o700"


def test_the_progress_is_shown_and_slices_continue(play: Play, bucket: Any, tmp_path: Path) -> None:
    """The second slice asks for the rest of the video that the first one has begun."""
    record = lesson(bucket, "v1", "v2")
    bucket.files["/lesson/v2.mp4"].behaviours.append(videos.hold(100_000))
    timer = threading.Timer(20, bucket.release.set)
    timer.start()
    played = play({**task(tmp_path, record, progress_interval=1.5), "name": "Keep the lesson"})
    timer.cancel()
    (done,) = played.results
    assert done["changed"]
    assert [one["copied"] for one in done["files"]] == [True, True]
    assert done["bytes_copied"] == 2 * len(CONTENT)
    assert "Keep the lesson: 1 of 2 videos done after" in played.output
    assert "copying lesson/whiteboard-v2.mp4" in played.output
    assert bucket.ranges() == [None, None, "bytes=100000-"]
    assert (tmp_path / "lesson/whiteboard-v2.mp4").read_bytes() == CONTENT


def test_recordings_that_are_not_finished(
    play: Play, tiw_simulator: Simulator, tmp_path: Path
) -> None:
    tiw_simulator.add("good", timeline=[])
    tiw_simulator.add("runs", timeline=[{"RECORDING": 1e6}])
    played = play(
        task(tmp_path, task_ids="good,runs,absent"),
        task(tmp_path, task_ids=["good", "runs"], skip_bad=True),
    )
    failed, skipped = played.results
    assert "2 could not be archived" in failed["msg"]
    assert [one["task_id"] for one in failed["bad"]] == ["runs", "absent"]
    assert failed["bytes_copied"] > 0
    assert not skipped["failed"]
    assert not skipped["changed"]


@pytest.mark.parametrize("first", ["python", "ansible"])
def test_python_and_ansible_keep_one_archive(
    play: Play, bucket: Any, tmp_path: Path, first: str
) -> None:
    """One after the other: one manifest, each video once."""
    record = lesson(bucket, "v1", "v2")
    python = RecordArchive(LocalStorage(tmp_path / "archive"), hosts=HERE)
    if first == "python":
        python.run([OnlineRecord.from_dict(record)])
        assert not play(task(f"{tmp_path}//archive", record)).results[0]["changed"]
    else:
        assert play(task(tmp_path / "archive", record)).results[0]["changed"]
        found = python.run([OnlineRecord.from_dict(record)])
        assert [one.copied for one in found] == [False, False]
    assert len(bucket.requests) == 2
    assert {one.state for one in verify(LocalStorage(tmp_path / "archive"))} == {"whole"}


def test_python_and_ansible_at_the_same_time(play: Play, bucket: Any, tmp_path: Path) -> None:
    record = lesson(bucket, "v1", "v2")
    for name in ("v1", "v2"):
        bucket.files[f"/lesson/{name}.mp4"].behaviours.append(videos.hold(100_000))
    ends: list[Any] = []

    def run() -> None:
        ends.append(RecordArchive(LocalStorage(tmp_path / "archive"), hosts=HERE).run([record]))

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(2):
        assert bucket.holding.acquire(timeout=20)
    timer = threading.Timer(4, bucket.release.set)
    timer.start()
    (result,) = play(task(tmp_path / "archive", record)).results
    timer.join()
    thread.join(30)
    assert not result["failed"]
    assert [one.copied for one in ends[0]] == [True, True]
    assert len(bucket.requests) == 2
    assert {one.state for one in verify(LocalStorage(tmp_path / "archive"))} == {"whole"}


def test_a_folder_of_the_first_role_is_taken_over(play: Play, tmp_path: Path) -> None:
    """No video is asked for; its server is gone."""
    data = Path(__file__).parents[1] / "core/archive/data"
    record = json.loads((data / "record.json").read_text())
    for kind in ("role-0.1", "python-0.1"):
        shutil.copytree(data / kind, tmp_path / kind)
    played = play(*(task(tmp_path / kind, record) for kind in ("role-0.1", "python-0.1")))
    assert [result["changed"] for result in played.results] == [False, False]
    assert played.results[0]["files"][0]["name"].startswith("lesson-1/001-camera-")
