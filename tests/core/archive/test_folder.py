# SPDX-License-Identifier: Apache-2.0
"""A folder that others may write to, and folders of earlier versions."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import video_server as videos

from tiw_automation.core import ConfigurationError, OnlineRecord, VideoKind
from tiw_automation.core.archive import (
    ArchiveFailed,
    FileInTheWay,
    LocalStorage,
    RecordArchive,
    verify,
)
from tiw_automation.core.archive.errors import VideoBusy
from tiw_automation.core.archive.records import VIDEO_KINDS

HERE = ["127.0.0.1"]
DATA = Path(__file__).parent / "data"
NAME = "lesson/whiteboard-v1.mp4"
CONTENT = bytes(range(256)) * 1000


@pytest.fixture
def bucket() -> Iterator[Any]:
    with videos.video_server() as running:
        yield running


def lesson(bucket: Any, *names: str, **video: Any) -> dict[str, Any]:
    """Return a record's JSON form with videos of the bucket."""
    return {
        "sdk_app_id": 1400000001,
        "task_id": "lesson",
        "status": "FINISHED",
        "videos": [
            {
                "id": name,
                "url": bucket.put(f"{name}.mp4", CONTENT),
                "format": "mp4",
                "kind": "whiteboard",
                "size_bytes": len(CONTENT),
                **video,
            }
            for name in names
        ],
    }


def archive(folder: Any, **options: Any) -> RecordArchive:
    given = {"hosts": HERE, "timeout_s": 5.0, **options}
    return RecordArchive(LocalStorage(folder), **given)


def modes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): oct(stat.S_IMODE(path.stat().st_mode))
        for path in sorted(folder.rglob("*"))
    }


def test_record_dicts_are_archived_as_records_are(bucket: Any, tmp_path: Path) -> None:
    given = lesson(bucket, "v1")
    (one,) = archive(tmp_path).run([given])
    assert one.video is given["videos"][0]
    assert one.copied
    (again,) = archive(tmp_path).run([OnlineRecord.from_dict(given)])
    assert not again.copied


@pytest.mark.parametrize("given", [{}, {"task_id": "a"}, [], "x", None, {"sdk_app_id": 1}])
def test_what_is_not_a_record(given: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="must have a task_id and an sdk_app_id"):
        archive(tmp_path).run([given])


def test_odd_values_of_a_record_cost_only_themselves(bucket: Any, tmp_path: Path) -> None:
    given = lesson(bucket, "v1", kind="hologram", size_bytes="12", user_id=7)
    given["videos"] += [None, "x", {"id": 3, "url": ["a"]}]
    given["record_start_time"] = 1e300
    (one,) = archive(tmp_path).run([given])
    assert one.name == "lesson/unknown-v1.mp4"
    nothings: list[Any] = [None, "x", {}, 5]
    for nothing in nothings:
        assert archive(tmp_path).run([{**given, "task_id": "b", "videos": nothing}]) == []
    assert archive(tmp_path).run([{"sdk_app_id": 1, "task_id": "c"}]) == []


def test_an_id_that_is_not_unique_or_too_long_fails_alone(bucket: Any, tmp_path: Path) -> None:
    given = lesson(bucket, "v1", "v1", "v2", "x" * 300)
    given["videos"][1]["url"] += "&other"
    with pytest.raises(ArchiveFailed) as caught:
        archive(tmp_path).run([given])
    reasons = [str(error) for _, error in caught.value.failures]
    assert len(reasons) == 2
    assert "an earlier video has it" in reasons[0]
    assert "more than 220 bytes" in reasons[1]
    assert [one.name for one in caught.value.archived] == [NAME, "lesson/whiteboard-v2.mp4"]
    same = lesson(bucket, "v1")
    assert len(archive(tmp_path).run([{**same, "videos": same["videos"] * 2}])) == 1


def test_half_a_character_is_escaped(bucket: Any, tmp_path: Path) -> None:
    given = {**lesson(bucket, "v1"), "record_user_id": "\ud800"}
    names = "{task_id}/{record_user_id}-{video_id}.{format}"
    (one,) = archive(tmp_path, names=names).run([given])
    assert one.name == "lesson/%5Cud800-v1.mp4"
    assert {finding.state for finding in verify(LocalStorage(tmp_path))} == {"whole"}


def test_the_kinds_are_those_of_a_record() -> None:
    assert tuple(kind.value for kind in VideoKind) == VIDEO_KINDS


def test_permissions_do_not_depend_on_the_umask(bucket: Any, tmp_path: Path) -> None:
    for mask in (0o000, 0o077):
        before = os.umask(mask)
        try:
            archive(tmp_path / str(mask) / "deep").run([lesson(bucket, "v1")])
        finally:
            os.umask(before)
        assert modes(tmp_path / str(mask)) == {
            "deep": "0o750",
            "deep/lesson": "0o750",
            "deep/lesson/manifest.json": "0o640",
            f"deep/{NAME}": "0o640",
        }


def test_permissions_and_owner_that_are_given(bucket: Any, tmp_path: Path) -> None:
    me = os.getuid(), os.getgid()
    storage = LocalStorage(
        tmp_path / "a", file_mode=0o604, folder_mode=0o705, owner=me[0], group=me[1]
    )
    RecordArchive(storage, hosts=HERE).run([lesson(bucket, "v1")])
    assert modes(tmp_path) == {
        "a": "0o705",
        "a/lesson": "0o705",
        "a/lesson/manifest.json": "0o604",
        f"a/{NAME}": "0o604",
    }


@pytest.mark.parametrize("spelling", ["{0}/", "{0}//", "{0}/.", "{0}/x/..", "~/archive", "link"])
def test_every_spelling_of_a_folder_is_one_archive(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "archive"
    (tmp_path / "link").symlink_to(folder)
    given = lesson(bucket, "v1")
    archive(folder).run([given])
    (again,) = archive(spelling.format(folder)).run([given])
    assert not again.copied
    assert len(bucket.requests) == 1


def link(path: Path) -> None:
    path.symlink_to("/etc/passwd")


def dangling(path: Path) -> None:
    path.symlink_to("/nowhere")


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [link, dangling, endless, pipe, folder])
@pytest.mark.parametrize("name", [NAME, "lesson/manifest.json", "lesson/.whiteboard-v1.mp4.part"])
def test_what_is_not_a_file_is_neither_opened_nor_followed(
    bucket: Any, tmp_path: Path, make: Any, name: str
) -> None:
    """It fails alone; the other recording is archived."""
    (tmp_path / "lesson").mkdir()
    make(tmp_path / name)
    before = os.lstat(tmp_path / name)
    good = {**lesson(bucket, "v2"), "task_id": "good"}
    with pytest.raises(ArchiveFailed) as caught:
        archive(tmp_path).run([lesson(bucket, "v1"), good])
    ((failed, error),) = caught.value.failures
    assert failed == NAME
    assert isinstance(error, FileInTheWay)
    assert Path(name).name in str(error)
    assert [one.task_id for one in caught.value.archived] == ["good"]
    assert os.lstat(tmp_path / name).st_ino == before.st_ino


def test_a_link_in_the_place_of_a_folder_is_not_followed(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "archive").mkdir()
    (tmp_path / "archive/lesson").symlink_to(tmp_path / "outside")
    with pytest.raises(ArchiveFailed, match="link"):
        archive(tmp_path / "archive").run([lesson(bucket, "v1")])
    assert list((tmp_path / "outside").iterdir()) == []


def test_a_manifest_that_is_too_large(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "lesson").mkdir()
    with (tmp_path / "lesson/manifest.json").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ArchiveFailed, match="larger than 16777216"):
        archive(tmp_path).run([lesson(bucket, "v1")])


@pytest.mark.parametrize("name", ["../../x.mp4", "/etc/passwd", "lesson/../../x", "", "a//b", 5])
def test_a_manifest_cannot_name_what_is_outside(bucket: Any, tmp_path: Path, name: Any) -> None:
    given = lesson(bucket, "v1")
    archive(tmp_path).run([given])
    path = tmp_path / "lesson/manifest.json"
    data = json.loads(path.read_text())
    data["files"][0]["name"] = name
    path.write_text(json.dumps(data))
    with pytest.raises(ArchiveFailed, match="is not a manifest"):
        archive(tmp_path).run([given])
    assert [finding.state for finding in verify(LocalStorage(tmp_path))] == [
        "unreadable",
        "unlisted",
    ]


def test_a_lock_that_nobody_releases(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "lesson").mkdir()
    with (tmp_path / "lesson/.manifest.json.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        storage = LocalStorage(tmp_path)
        started = time.monotonic()
        with pytest.raises(VideoBusy, match="another run holds its lock") as caught:
            storage.exclusive("lesson/manifest.json", 0.3).__enter__()
        assert caught.value.retryable
        assert time.monotonic() - started < 5


def test_a_lock_whose_holder_is_at_work_is_waited_for(tmp_path: Path) -> None:
    storage, over = LocalStorage(tmp_path), threading.Event()

    def work() -> None:
        with storage.exclusive("v", 1.0) as lock:
            begun.set()
            while not over.wait(0.1):
                lock._shown_at = 0.0
                lock.progress()

    begun = threading.Event()
    holder = threading.Thread(target=work)
    holder.start()
    assert begun.wait(5)
    ends: list[str] = []

    def wait() -> None:
        with storage.exclusive("v", 0.5):
            ends.append("held")

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(1.2)
    assert ends == []
    over.set()
    waiter.join(5)
    holder.join(5)
    assert ends == ["held"]
    assert list(tmp_path.iterdir()) == []


def test_the_largest_size(bucket: Any, tmp_path: Path) -> None:
    given = lesson(bucket, "v1")
    with pytest.raises(ArchiveFailed, match=r"has 256000 bytes, more than 255999.*max_bytes"):
        archive(tmp_path, max_bytes=len(CONTENT) - 1).run([given])
    given["videos"][0]["size_bytes"] = None
    with pytest.raises(ArchiveFailed, match="more than 255999"):
        archive(tmp_path, max_bytes=len(CONTENT) - 1).run([given])
    archive(tmp_path, max_bytes=len(CONTENT)).run([given])


def test_a_plan_asks_for_no_video_and_writes_nothing(bucket: Any, tmp_path: Path) -> None:
    given = lesson(bucket, "v1", "v2")
    plan = archive(tmp_path / "new").plan([given])
    assert [(one.name, one.size_bytes, one.is_there) for one in plan] == [
        ("lesson/whiteboard-v1.mp4", len(CONTENT), False),
        ("lesson/whiteboard-v2.mp4", len(CONTENT), False),
    ]
    assert list(tmp_path.iterdir()) == []
    first = {**given, "videos": given["videos"][:1]}
    archive(tmp_path / "new").run([first])
    assert [one.is_there for one in archive(tmp_path / "new").plan([given])] == [True, False]
    assert len(bucket.requests) == 1


def test_videos_that_tencent_has_deleted_are_not_asked_for(bucket: Any, tmp_path: Path) -> None:
    given = lesson(bucket, "v1")
    archive(tmp_path).run([given])
    bucket.files.clear()
    assert [one.copied for one in archive(tmp_path).run([given])] == [False]
    assert len(bucket.requests) == 1


def test_the_cost_does_not_grow_with_what_lies_there(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a listing nor a look at the files of other recordings."""
    calls: list[str] = []
    for name in ("listdir", "scandir", "stat", "open"):
        real = getattr(os, name)

        def counted(*given: Any, name: str = name, real: Any = real, **named: Any) -> Any:
            calls.append(name)
            return real(*given, **named)

        monkeypatch.setattr(os, name, counted)
    given = lesson(bucket, "v1")
    counts = []
    for size in (0, 300):
        for number in range(size):
            (tmp_path / f"{number}.mp4").touch()
            (tmp_path / "lesson" / f"old-{number}.mp4").touch()
        shutil.rmtree(tmp_path / "lesson") if not size and (tmp_path / "lesson").exists() else None
        archive(tmp_path).run([given])
        calls.clear()
        archive(tmp_path).run([given])
        counts.append(sorted(calls))
    assert counts[0] == counts[1]
    assert "scandir" not in counts[0]
    assert "listdir" not in counts[0]


def test_progress_names_the_files_that_are_being_copied(bucket: Any, tmp_path: Path) -> None:
    given = lesson(bucket, "v1", "v2")
    bucket.files["/v2.mp4"].behaviours.append(videos.hold(100_000))
    seen: list[Any] = []

    def note(progress: Any) -> None:
        seen.append(progress)
        if any(file.arrived_bytes == 100_000 for file in progress.files):
            bucket.release.set()

    archive(tmp_path, progress=note, max_workers=1).run([given])
    (middle,) = {
        (one.videos, one.videos_done, one.size_bytes, one.files[0].name, one.files[0].size_bytes)
        for one in seen
        if one.files and one.files[0].arrived_bytes == 100_000
    }
    assert middle == (2, 1, 2 * len(CONTENT), "lesson/whiteboard-v2.mp4", len(CONTENT))
    assert (seen[-1].videos_done, seen[-1].arrived_bytes) == (2, 2 * len(CONTENT))


@pytest.mark.parametrize("kind", ["python-0.1", "role-0.1"])
def test_a_folder_of_an_earlier_version_is_taken_over(kind: str, tmp_path: Path) -> None:
    """Without a request: the videos were deleted long ago."""
    shutil.copytree(DATA / kind, tmp_path / "old")
    before = sorted(path.name for path in (tmp_path / "old/lesson-1").iterdir())
    record = json.loads((DATA / "record.json").read_text())
    found = archive(tmp_path / "old", attempts=1).run([record])
    assert [one.copied for one in found] == [False, False]
    assert sorted(path.name for path in (tmp_path / "old/lesson-1").iterdir()) == before
    assert {one.state for one in verify(LocalStorage(tmp_path / "old"))} == {"whole"}


def test_both_earlier_kinds_in_one_folder(bucket: Any, tmp_path: Path) -> None:
    """The files of the kind whose manifest was replaced are named by verify."""
    shutil.copytree(DATA / "python-0.1", tmp_path / "old")
    shutil.copytree(DATA / "role-0.1", tmp_path / "old", dirs_exist_ok=True)
    record = json.loads((DATA / "record.json").read_text())
    assert [one.copied for one in archive(tmp_path / "old").run([record])] == [False, False]
    states = [one.state for one in verify(LocalStorage(tmp_path / "old"))]
    assert sorted(states) == ["unlisted", "unlisted", "whole", "whole"]


def test_a_manifest_of_the_role_is_stored_in_todays_form(bucket: Any, tmp_path: Path) -> None:
    shutil.copytree(DATA / "role-0.1", tmp_path / "old")
    record = json.loads((DATA / "record.json").read_text())
    more = lesson(bucket, "new")["videos"]
    found = archive(tmp_path / "old").run([{**record, "videos": [*record["videos"], *more]}])
    assert [one.copied for one in found] == [False, False, True]
    data = json.loads((tmp_path / "old/lesson-1/manifest.json").read_text())
    assert data["manifest_version"] == 1
    assert len(data["files"]) == 3
    assert {one.state for one in verify(LocalStorage(tmp_path / "old"))} == {"whole"}


def test_verify_finds_what_is_wrong(bucket: Any, tmp_path: Path) -> None:
    names = ["v1", "v2", "v3", "v4"]
    given = lesson(bucket, *names)
    archive(tmp_path).run([given])
    paths = [tmp_path / f"lesson/whiteboard-{name}.mp4" for name in names]
    paths[1].unlink()
    paths[2].write_bytes(CONTENT[:-1])
    paths[3].write_bytes(CONTENT[:-1] + b"x")
    (tmp_path / "lesson/note.txt").write_text("mine")
    read: list[int] = []
    found = {
        one.name: (one.state, one.is_bad)
        for one in verify(LocalStorage(tmp_path), progress=read.append)
    }
    assert found == {
        "lesson/whiteboard-v1.mp4": ("whole", False),
        "lesson/whiteboard-v2.mp4": ("missing", True),
        "lesson/whiteboard-v3.mp4": ("cut", True),
        "lesson/whiteboard-v4.mp4": ("changed", True),
        "lesson/note.txt": ("unlisted", False),
    }
    assert sum(read) == 2 * len(CONTENT)
    quick = {one.name: one.state for one in verify(LocalStorage(tmp_path), contents=False)}
    assert quick["lesson/whiteboard-v4.mp4"] == "whole"
    with pytest.raises(ConfigurationError, match="must end with a text"):
        list(verify(LocalStorage(tmp_path), manifest="{task_id}"))
