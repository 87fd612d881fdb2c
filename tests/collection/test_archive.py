# SPDX-License-Identifier: Apache-2.0
"""The module online_record_archive, by a real ansible-playbook."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import video_server as videos
from page_blocks import outputs

from tiw_automation.core import OnlineRecord
from tiw_automation.core.archive import LocalStorage, RecordArchive, verify
from tiw_automation.simulator import Simulator

README = "collections/ansible_collections/tiw/automation/README.md"

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
        given.setdefault("records", list(records))
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
    (shown,) = outputs(README, "videos done")
    form = (
        r"[\w ]+: \d of \d videos done after \d:\d\d:\d\d; \S+ \w+ copied, \S+ \w+/s; copying \S+"
    )
    assert re.fullmatch(form, shown)
    assert re.search(f"^{form}$", played.output, re.MULTILINE)
    assert bucket.ranges() == [None, None, "bytes=100000-"]
    assert (tmp_path / "lesson/whiteboard-v2.mp4").read_bytes() == CONTENT


def test_a_server_that_sends_nothing_ends_the_task(play: Play, bucket: Any, tmp_path: Path) -> None:
    """Although each slice begins the module's limits of time anew."""
    record = lesson(bucket, "v1")
    bucket.files["/lesson/v1.mp4"].behaviours += [videos.silent] * 5
    limits = {"progress_interval": 1, "video_timeout": 2.5, "attempts": 1}
    played = play(task(tmp_path, record, **limits), {**task(tmp_path, record), "check_mode": True})
    stalled, predicted = played.results
    assert "did not answer within 2.5 s" in stalled["msg"]
    assert 1 <= len(bucket.requests) <= 3
    assert predicted["changed"]


def test_a_manifest_that_cannot_be_read_fails_alone(
    play: Play, bucket: Any, tmp_path: Path
) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd/manifest.json").write_text("[]")
    records = [lesson(bucket, "v1", task_id="odd"), lesson(bucket, "v1")]
    played = play(
        {**task(tmp_path, *records), "check_mode": True},
        task(tmp_path, *records),
        task(tmp_path / "x", *records, owner="nobody-knows-them"),
        task(tmp_path / "y", {**records[1], "status": "RECORDING"}),
    )
    predicted, failed, unknown, unfinished = played.results
    for result in (predicted, failed):
        assert list(result["failures"]) == ["odd/whiteboard-v1.mp4"]
        assert "is not a manifest" in result["msg"]
        assert [one["task_id"] for one in result["files"]] == ["lesson"]
    assert "owner: nobody-knows-them is not known" in unknown["msg"]
    assert "lesson: RECORDING" in unfinished["msg"]
    assert len(bucket.requests) == 1


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
    assert not result["changed"]
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


def test_invalid_options_fail_before_a_copy(play: Play, bucket: Any, tmp_path: Path) -> None:
    record = lesson(bucket, "v1")
    (tmp_path / "file").touch()
    cases: dict[str, dict[str, Any]] = {
        "folder is empty": {"folder": " "},
        f"{tmp_path}/file is not a folder": {"folder": f"{tmp_path}/file/deep"},
        "mode: 'rw' is not a mode": {"mode": "rw"},
        "mode: True is not a mode": {"mode": True},
        "directory_mode: '0999' is not a mode": {"directory_mode": "0999"},
        "progress_interval must be 0 or more": {"progress_interval": -1},
        "progress_interval must be 0 or more seconds, not inf": {"progress_interval": "inf"},
        "'progress_interval' is of type ": {"progress_interval": "soon"},
        "video_timeout must be above zero": {"video_timeout": 0},
        "max_workers must be 1 or more": {"max_workers": 0},
    }
    archive = {"folder": tmp_path / "archive"}
    played = play(*(task(records=[record], **{**archive, **options}) for options in cases.values()))
    for message, result in zip(cases, played.results, strict=True):
        assert message in result["msg"]
        assert "Traceback" not in str(result.get("exception"))
    assert not bucket.requests
    assert not (tmp_path / "archive").exists()


def test_odd_records(play: Play, bucket: Any, tmp_path: Path) -> None:
    """What is no video is left out, and no text of a record is a path or a terminal's command."""
    bare = {"task_id": "bare", "sdk_app_id": 1}
    odd = {**bare, "task_id": "odd", "videos": ["x", None, {"url": 5}, {"id": "q", "url": "q"}]}
    escaping = {**lesson(bucket, "v1"), "task_id": "../../out\n\x1b[31m"}
    failed = {**bare, "task_id": "red", "verdict": "failed", "message": "\x1b[31m"}
    modes = {"mode": "u=rw,g=r,o=r", "directory_mode": "u=rwx,go=rx"}
    played = play(
        task(tmp_path / "a", bare, {**bare, "task_id": "null", "videos": None}, odd),
        task(tmp_path / "b", escaping, **modes),
        task(tmp_path / "c", failed),
    )
    without, outside, red = played.results
    assert list(without["failures"]) == ["odd/unknown-q.q"]
    assert outside["changed"]
    (video,) = (tmp_path / "b").rglob("*.mp4")
    assert video.parent.name == "%2E.%2F..%2Fout%0A%1B%5B31m"
    assert oct(video.stat().st_mode & 0o777) == "0o644"
    assert oct(video.parent.stat().st_mode & 0o777) == "0o755"
    assert "\x1b" not in red["msg"] + played.output


def test_no_output_holds_a_secret(play: Play, bucket: Any, tmp_path: Path) -> None:
    """The query of a URL may be its signature, and the URL of a proxy has a password."""
    record = lesson(bucket, "v1")
    for video in record["videos"]:
        video["url"] += "?sign=a-signature"
    record["replay_url"] = "https://replay.example.com/?sign=a-signature"
    far = lesson(bucket, "v2", task_id="far")
    far["videos"][0]["url"] = "http://videos.example.com/v2.mp4?sign=a-signature"
    proxy = {"proxy": "http://svc:pass@127.0.0.1:9", "attempts": 1, "hosts": ["*.example.com"]}
    played = play(
        task(tmp_path, record),
        task(tmp_path, record, progress_interval=20),
        {**task(tmp_path, record, far), "check_mode": True, "diff": True},
        task(tmp_path, far, **proxy),
        task(tmp_path, record, task_ids="x", records=[record]),
        task(tmp_path, record, folders="x"),
        arguments=("-vvv",),
    )
    copied, *_, unreached, both, unknown = played.results
    assert copied["changed"]
    assert "The proxy on the way" in unreached["msg"]
    assert "mutually exclusive" in both["msg"]
    assert "Unsupported parameters" in unknown["msg"]
    assert "note" not in copied
    texts = [json.dumps(played.results), played.output]
    texts += [path.read_text() for path in tmp_path.rglob("manifest.json")]
    for text in texts:
        assert "a-signature" not in text
        assert "svc:pass" not in text


def test_masked_output_is_not_input(play: Play, bucket: Any, tmp_path: Path) -> None:
    """The names of the videos and their sizes contain secrets, and the slices are joined."""
    record = lesson(bucket, "v1", "v2")
    bucket.files["/lesson/v2.mp4"].behaviours.append(videos.hold(100_000))
    timer = threading.Timer(20, bucket.release.set)
    timer.start()
    keys = {"secret_id": "whiteboard-v1", "secret_key": "5120", "token": "1"}
    played = play({**task(tmp_path, record, progress_interval=1.5, **keys), "diff": True})
    timer.cancel()
    (done,) = played.results
    assert not done["failed"]
    assert done["changed"]
    assert done["bytes_copied"] == 2 * len(CONTENT)
    assert [one["copied"] for one in done["files"]] == [True, True]
    assert done["diff"]["before"] == ""
    assert "whiteboard-v1" not in played.output
    assert len(bucket.requests) == 3


def test_async_copies_in_the_background(play: Play, bucket: Any, tmp_path: Path) -> None:
    record = lesson(bucket, "v1")
    in_background = {**task(tmp_path, record, progress_interval=1), "async": 60, "poll": 1}
    (done,) = play(in_background).results
    assert done["changed"]
    assert done["bytes_copied"] == len(CONTENT)
    assert files(tmp_path / "lesson") == ["manifest.json", "whiteboard-v1.mp4"]


OLD_PYTHON = Path.home() / ".pyenv/versions"
OLD = next(iter(sorted(OLD_PYTHON.glob("3.9.*/bin/python3.9"))), shutil.which("python3.9"))


@pytest.mark.skipif(OLD is None, reason="no Python 3.9")
def test_an_old_host_without_the_package(play: Play, bucket: Any, tmp_path: Path) -> None:
    """As RHEL 9 has it; a shim of pyenv is not a Python."""
    record = lesson(bucket, "v1")
    played = play(
        {**task(tmp_path / "archive", record), "check_mode": True},
        task(tmp_path / "archive", record, progress_interval=5),
        task(tmp_path / "archive", record),
        task(tmp_path / "archive", task_ids="x"),
        vars={"ansible_python_interpreter": str(OLD)},
        environment={"PYTHONPATH": ""},
    )
    predicted, copied, again, asked = played.results
    assert [one["changed"] for one in (predicted, copied, again)] == [True, True, False]
    assert files(tmp_path / "archive") == ["lesson/manifest.json", "lesson/whiteboard-v1.mp4"]
    assert "needs Python 3.11 or later" in asked["msg"]
