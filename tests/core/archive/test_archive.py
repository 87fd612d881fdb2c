# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import video_server as videos
from hypothesis import example, given, settings, strategies as st

from tiw_automation.core import ConfigurationError, OnlineRecord, TiwClient, Video, VideoKind
from tiw_automation.core.archive.archive import ArchivedVideo, ArchiveFailed, RecordArchive
from tiw_automation.core.archive.errors import (
    DownloadStopped,
    FileInTheWay,
    VideoChanged,
    VideoGone,
)
from tiw_automation.core.archive.local import LocalStorage
from tiw_automation.core.archive.names import (
    DEFAULT_MANIFEST,
    DEFAULT_NAMES,
    RECORD_KEYS,
    VIDEO_KEYS,
    NameTemplate,
)
from tiw_automation.core.archive.storage import NoLock, Target
from tiw_automation.simulator import Simulator

MIB = 1024 * 1024
HERE = ["127.0.0.1"]
PART = "lesson/.whiteboard-v1.mp4.part"
CONTENT = random.Random(3).randbytes(700_000)


@pytest.fixture
def bucket() -> Iterator[Any]:
    with videos.video_server() as running:
        yield running


def video(url: str | None, video_id: str | None = "v1", **changes: Any) -> Video:
    plain: dict[str, Any] = {
        "id": video_id,
        "url": url,
        "format": "mp4",
        "type": 2,
        "user_id": "teacher",
        "play_time_ms": 0,
        "duration_ms": 1000,
        "size_bytes": len(CONTENT),
        "width": 320,
        "height": 240,
    }
    return Video(**{**plain, **changes})


def record(*found: Video, task_id: str = "lesson", **changes: Any) -> OnlineRecord:
    return OnlineRecord(1400000001, task_id, status="FINISHED", videos=found, **changes)


def lesson(bucket: Any, *video_ids: str, task_id: str = "lesson") -> OnlineRecord:
    return record(
        *(video(bucket.put(f"{task_id}/{name}.mp4", CONTENT), name) for name in video_ids),
        task_id=task_id,
    )


def archive(folder: Path, **changes: Any) -> RecordArchive:
    return RecordArchive(
        LocalStorage(folder), **{"timeout_s": 10.0, "hosts": ["127.0.0.1"], **changes}
    )


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def manifest(folder: Path, task_id: str = "lesson") -> Any:
    return json.loads((folder / task_id / "manifest.json").read_text())


# Names


def template(pattern: Any = DEFAULT_NAMES) -> NameTemplate:
    return NameTemplate(pattern, "names", RECORD_KEYS + VIDEO_KEYS, [["task_id"]])


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("/{task_id}", "not a path inside"),
        ("../{task_id}", "not a path inside"),
        ("{task_id}/../x", "not a path inside"),
        ("{task_id}/./x", "not a path inside"),
        ("{task_id}//x", "not a path inside"),
        ("{task_id}/", "not a path inside"),
        ("{task_id}\\x", "not a path inside"),
        ("{task_id}\n", "not a path inside"),
        ("", "must contain {task_id}"),
        ("all.mp4", "must contain {task_id}"),
        ("{task_id}-{title}", "{title} is not a key"),
        ("{task_id.__class__}", "not a key"),
        ("{task_id[0]}", "not a key"),
        ("{}", "not a key"),
        ("{0}", "not a key"),
        ("{task_id!r}", "format '!r'|format 'r'"),
        ("{task_id}{index:999999999d}", "format '999999999d'"),
        ("{task_id}{index:{width}}", "format"),
        ("{task_id", "names: "),
        (7, "must be a string"),
        ("{task_id}" + "x" * 300, "more than 220 bytes"),
    ],
)
def test_invalid_patterns(pattern: Any, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        template(pattern)
    assert any(word in str(caught.value) for word in words.split("|"))


def test_names_and_manifests_must_be_unique() -> None:
    with pytest.raises(ConfigurationError, match=r"\{video_id\} or \{index\}"):
        RecordArchive(LocalStorage("x"), names="{task_id}.{format}")
    with pytest.raises(ConfigurationError, match="manifest"):
        RecordArchive(LocalStorage("x"), manifest="manifest.json")
    with pytest.raises(ConfigurationError, match=r"manifest: \{video_id\} is not a key"):
        RecordArchive(LocalStorage("x"), manifest="{task_id}/{video_id}.json")


@pytest.mark.parametrize("changes", [{"max_workers": 0}, {"progress_s": 0}, {"video_kinds": ["x"]}])
def test_other_invalid_arguments(changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(changes))):
        RecordArchive(LocalStorage("x"), **changes)


def names_of(found: OnlineRecord, pattern: str, folder: Path) -> list[str]:
    """Return the names that an archive plans, without copying anything."""
    jobs = archive(folder, names=pattern)._plan([found])
    return [job.name for job in jobs]


def test_every_key(tmp_path: Path) -> None:
    found = record(
        video("http://h/a.mp4", "v/1", user_id="Zoë", play_time_ms=5, duration_ms=6),
        room_id=8,
        group_id="g",
        record_user_id=None,
        record_start_time=1_700_000_000,
    )
    pattern = "/".join("{" + key + "}" for key in RECORD_KEYS + VIDEO_KEYS)
    assert names_of(found, pattern, tmp_path) == [
        "1400000001/lesson/8/g/none/2023-11-14/v%2F1/1/whiteboard/mp4/Zo%C3%AB/5/6/320/240"
    ]
    assert names_of(found, "{task_id}-{index:03d}", tmp_path) == ["lesson-001"]
    # A value that the record does not have comes from the URL, or is named unknown.
    bare = record(video("http://h/x/abc.MP3?sign=1", None, format=None, user_id="", width=None))
    assert names_of(bare, "{task_id}/{video_id}.{format}-{user_id}-{width:03d}", tmp_path) == [
        "lesson/abc.mp3-none-none"
    ]
    odd = record(video("http://h/", None, format="../../x"))
    assert names_of(odd, "{task_id}/{index}.{format}", tmp_path) == ["lesson/1.bin"]


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=20), st.text(max_size=20))
@example("..", ".")
@example(".hidden", "../..")
def test_a_value_never_leaves_the_folder(task_id: str, user_id: str) -> None:
    values: dict[str, Any] = dict.fromkeys(RECORD_KEYS + VIDEO_KEYS)
    name = template("{user_id}/{task_id}").render(
        {**values, "task_id": task_id, "user_id": user_id}
    )
    assert len(name.split("/")) == 2
    assert not [part for part in name.split("/") if part.startswith(".")]
    assert os.path.normpath(f"/archive/{name}") == f"/archive/{name}"
    assert name.isascii()
    assert name.isprintable()


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=8))
def test_two_values_give_two_names(first: str, second: str) -> None:
    values: dict[str, Any] = dict.fromkeys(RECORD_KEYS + VIDEO_KEYS)
    rendered = {template("{task_id}").render({**values, "task_id": v}) for v in (first, second)}
    assert len(rendered) == len({first, second})


def test_two_videos_never_get_one_name(bucket: Any, tmp_path: Path) -> None:
    twice = record(video(f"{bucket.origin}/a", "same"), video(f"{bucket.origin}/b", "same"))
    with pytest.raises(ConfigurationError, match="whiteboard-same"):
        archive(tmp_path).run([twice])
    over = record(video(f"{bucket.origin}/a", "manifest", format="json"))
    with pytest.raises(ConfigurationError, match=r"lesson/manifest\.json"):
        archive(tmp_path, names="{task_id}/{video_id}.{format}").run([over])
    other = OnlineRecord(1400000002, "a", status="FINISHED")
    with pytest.raises(ConfigurationError, match=r"application 1400000001.*1400000002"):
        archive(tmp_path).run([record(task_id="a"), other])
    joined = [
        record(video(f"{bucket.origin}/a", "b-c"), task_id="a"),
        record(video(f"{bucket.origin}/a", "c"), task_id="a-b"),
    ]
    with pytest.raises(ConfigurationError, match="a-b-c"):
        archive(tmp_path, names="{task_id}-{video_id}").run(joined)
    assert bucket.requests == []
    assert files(tmp_path) == []


# Copies


def test_the_simulators_videos(tmp_path: Path) -> None:
    with Simulator() as simulator:
        simulator.add("lesson", timeline=[])
        client = TiwClient(**simulator.settings())
        found = client.describe_online_record("lesson")
        archived = archive(tmp_path).run([found])
        again = archive(tmp_path).run([found, found])
        client.close()
    assert [one.video for one in archived] == list(found.videos)
    assert [one.copied for one in archived + again] == [True, True, False, False]
    for one in archived:
        data = Path(one.path).read_bytes()
        assert len(data) == one.size_bytes == one.video.size_bytes
        assert hashlib.sha256(data).hexdigest() == one.sha256
        assert data[4:8] == b"ftyp"
    assert [a.path for a in again] == [a.path for a in archived]


def test_the_manifest(bucket: Any, tmp_path: Path) -> None:
    before = time.time()
    found = record(
        video(bucket.put("x/v1.mp4", CONTENT), "v1"), replay_url="http://h/replay?token=q-secret"
    )
    (one,) = archive(tmp_path).run([found])
    data = manifest(tmp_path)
    (entry,) = data["files"]
    when = entry.pop("archived_at")
    assert when.endswith("+00:00")
    assert abs(datetime.fromisoformat(when).timestamp() - before) < 60
    assert entry == {
        "name": "lesson/whiteboard-v1.mp4",
        "video_id": "v1",
        "kind": "whiteboard",
        "source_url": f"{bucket.origin}/x/v1.mp4",
        "size_bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
        "etag": '"one"',
    }
    assert data["manifest_version"] == 1
    assert data["record"]["video_urls"] == [f"{bucket.origin}/x/v1.mp4"]
    assert data["record"]["replay_url"] == "http://h/replay"
    assert set(data["record"]) == set(found.to_dict())
    assert "secret" not in (tmp_path / "lesson/manifest.json").read_text()
    assert one.source_url == f"{bucket.origin}/x/v1.mp4"
    assert (tmp_path / "lesson/whiteboard-v1.mp4").read_bytes() == CONTENT


def test_a_second_run_copies_nothing(bucket: Any, tmp_path: Path) -> None:
    found = [lesson(bucket, "v1", "v2"), lesson(bucket, "v1", task_id="other")]
    first = archive(tmp_path).run(found)
    asked, stored = len(bucket.requests), {p: p.stat() for p in tmp_path.rglob("*")}
    second = archive(tmp_path).run(found)
    assert len(bucket.requests) == asked == 3
    assert {p: p.stat().st_mtime_ns for p in stored} == {
        p: s.st_mtime_ns for p, s in stored.items()
    }
    assert [(a.path, a.sha256) for a in second] == [(a.path, a.sha256) for a in first]


def test_a_video_that_differs_from_the_manifest_is_copied_again(
    bucket: Any, tmp_path: Path
) -> None:
    found = lesson(bucket, "v1", "v2")
    archive(tmp_path).run([found])
    (tmp_path / "lesson/whiteboard-v1.mp4").write_bytes(b"half")
    again = archive(tmp_path).run([found])
    assert [one.copied for one in again] == [True, False]
    assert (tmp_path / "lesson/whiteboard-v1.mp4").read_bytes() == CONTENT
    # Also where the record's size does not count.
    (tmp_path / "lesson/whiteboard-v1.mp4").write_bytes(b"half")
    assert archive(tmp_path, verify_size=False).run([found])[0].copied
    (tmp_path / "lesson/whiteboard-v2.mp4").unlink()
    assert [one.copied for one in archive(tmp_path).run([found])] == [False, True]
    # The record now has another video with the same id.
    newer = record(
        found.videos[0], video(bucket.put("new.mp4", CONTENT[:1000]), "v2", size_bytes=1000)
    )
    assert [one.copied for one in archive(tmp_path).run([newer])] == [False, True]
    assert (tmp_path / "lesson/whiteboard-v2.mp4").stat().st_size == 1000


def test_a_video_is_known_by_its_id(bucket: Any, tmp_path: Path) -> None:
    names = "{task_id}/{index}.{format}"
    archive(tmp_path, names=names).run([record(video(bucket.put("a", CONTENT), "a"))])
    # Its host may change, for a CDN in front of the bucket.
    moved = record(video(f"{bucket.origin.replace('127.0.0.1', 'localhost')}/a", "a"))
    assert [one.copied for one in archive(tmp_path, names=names).run([moved])] == [False]
    other = record(video(bucket.put("b", CONTENT[::-1]), "b"))
    asked = len(bucket.requests)
    with pytest.raises(
        ArchiveFailed, match=r"lesson/1\.mp4 exists.* 'a' from .*/a, not 'b'"
    ) as caught:
        archive(tmp_path, names=names).run([other])
    assert isinstance(caught.value.failures[0][1], FileInTheWay)
    assert not caught.value.retryable
    assert "{video_id}" in str(caught.value)
    assert "overwrite" in str(caught.value)
    assert len(bucket.requests) == asked
    assert (tmp_path / "lesson/1.mp4").read_bytes() == CONTENT
    assert manifest(tmp_path)["files"][0]["video_id"] == "a"
    assert archive(tmp_path, names=names, overwrite=True).run([other])[0].copied
    assert (tmp_path / "lesson/1.mp4").read_bytes() == CONTENT[::-1]


def test_a_video_without_an_id_is_known_by_its_url(bucket: Any, tmp_path: Path) -> None:
    names = "{task_id}/{index}.{format}"
    for video_id, copied in ((None, True), (None, False), ("c", False)):
        found = record(video(bucket.put("c", CONTENT), video_id))
        (one,) = archive(tmp_path, names=names).run([found])
        assert one.copied is copied
    nameless = record(video(bucket.put("d", CONTENT[::-1]), None))
    with pytest.raises(ArchiveFailed, match="/c, not None from"):
        archive(tmp_path, names=names).run([nameless])
    assert (tmp_path / "lesson/1.mp4").read_bytes() == CONTENT


def test_videos_listed_in_another_order_replace_no_file(bucket: Any, tmp_path: Path) -> None:
    names = "{task_id}/{index}.{format}"
    first = video(bucket.put("a", CONTENT), "a")
    second = video(bucket.put("b", CONTENT[::-1]), "b")
    archive(tmp_path, names=names).run([record(first, second)])
    bucket.put("a", b"", videos.answer(404))
    again = archive(tmp_path, names=names).run([record(second, first)])
    assert [(one.name, one.copied) for one in again] == [
        ("lesson/2.mp4", False),
        ("lesson/1.mp4", False),
    ]
    # With a half-written entry of a killed process, and a file that was deleted, the names are
    # those of other videos.
    data = manifest(tmp_path)
    data["files"][0]["sha256"] = data["files"][0]["size_bytes"] = None
    (tmp_path / "lesson/manifest.json").write_text(json.dumps(data))
    (tmp_path / "lesson/2.mp4").unlink()
    with pytest.raises(ArchiveFailed, match=r"1 of 1 .*lesson/1\.mp4 exists") as caught:
        archive(tmp_path, names=names).run([record(second)])
    assert [type(error) for _, error in caught.value.failures] == [FileInTheWay]
    bucket.put("a", CONTENT)
    both = archive(tmp_path, names=names).run([record(first, second)])
    assert [one.copied for one in both] == [True, True]


def test_a_video_that_was_only_begun_is_copied(bucket: Any, tmp_path: Path) -> None:
    found = record(video(bucket.put("a", CONTENT, videos.answer(500)), size_bytes=None))
    with pytest.raises(ArchiveFailed):
        archive(tmp_path, attempts=1).run([found])
    assert files(tmp_path) == []
    assert archive(tmp_path).run([found])[0].copied
    # A process that was killed between the file and the manifest leaves this behind.
    data = manifest(tmp_path)
    data["files"][0]["sha256"] = data["files"][0]["size_bytes"] = None
    (tmp_path / "lesson/manifest.json").write_text(json.dumps(data))
    assert archive(tmp_path).run([found])[0].copied
    assert manifest(tmp_path)["files"][0]["sha256"] == hashlib.sha256(CONTENT).hexdigest()


def test_videos_of_an_earlier_choice_stay_in_the_manifest(bucket: Any, tmp_path: Path) -> None:
    found = record(
        video(bucket.put("a", CONTENT), "a", type=0), video(bucket.put("b", CONTENT), "b")
    )
    assert len(archive(tmp_path, video_kinds=["camera"]).run([found])) == 1
    assert files(tmp_path) == ["lesson/camera-a.mp4", "lesson/manifest.json"]
    assert len(archive(tmp_path, video_kinds=[VideoKind.WHITEBOARD]).run([found])) == 1
    assert [entry["video_id"] for entry in manifest(tmp_path)["files"]] == ["a", "b"]


def test_an_unknown_file_is_not_overwritten(bucket: Any, tmp_path: Path) -> None:
    found = lesson(bucket, "v1")
    (tmp_path / "lesson").mkdir()
    mine = tmp_path / "lesson/whiteboard-v1.mp4"
    mine.write_bytes(b"mine")
    with pytest.raises(ArchiveFailed, match="the manifest does not know it") as caught:
        archive(tmp_path).run([found])
    assert not caught.value.retryable
    assert isinstance(caught.value.failures[0][1], FileInTheWay)
    assert mine.read_bytes() == b"mine"
    assert bucket.requests == []
    archive(tmp_path, overwrite=True).run([found])
    assert mine.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"manifest_version": 2, "record": {"sdk_app_id": 1}, "files": []}']
)
def test_a_file_that_is_not_a_manifest(bucket: Any, tmp_path: Path, text: str) -> None:
    found = lesson(bucket, "v1", "v2")
    (tmp_path / "lesson").mkdir()
    (tmp_path / "lesson/manifest.json").write_text(text)
    with pytest.raises(ArchiveFailed, match="is not a manifest of this version") as caught:
        archive(tmp_path).run([found])
    assert str(caught.value).count("is not a manifest") == 1
    assert bucket.requests == []
    assert len(archive(tmp_path, overwrite=True).run([found])) == 2


def test_another_recordings_manifest(bucket: Any, tmp_path: Path) -> None:
    archive(tmp_path).run([lesson(bucket, "v1")])
    other = OnlineRecord(7, "lesson", status="FINISHED", videos=(video(f"{bucket.origin}/x"),))
    with pytest.raises(ArchiveFailed, match="'lesson' of application 1400000001"):
        archive(tmp_path).run([other])


def test_a_video_that_cannot_be_copied_does_not_affect_the_others(
    bucket: Any, tmp_path: Path
) -> None:
    found = record(
        video(f"{bucket.origin}/absent.mp4?sign=q-secret", "gone"),
        video(bucket.put("v2.mp4", CONTENT), "v2"),
        video(bucket.put("v3.mp4", CONTENT), "v3", size_bytes=5),
    )
    with pytest.raises(ArchiveFailed) as caught:
        archive(tmp_path).run([found])
    error = caught.value
    assert [type(reason) for _, reason in error.failures] == [VideoGone, VideoChanged]
    assert [one.video.id for one in error.archived] == ["v2"]
    assert "2 of 3" in str(error)
    assert "[lesson/whiteboard-gone.mp4]" in str(error)
    assert "three days" in str(error)
    assert "secret" not in str(error)
    assert not error.retryable
    assert files(tmp_path) == ["lesson/manifest.json", "lesson/whiteboard-v2.mp4"]
    # One retryable failure makes the whole retryable; a retry copies only what is missing.
    bucket.put("absent.mp4", CONTENT, *[videos.answer(500)] * 2)
    with pytest.raises(ArchiveFailed) as caught:
        archive(tmp_path, attempts=1).run([found])
    assert caught.value.retryable
    assert sum(path.startswith("/v2.mp4") for path, _ in bucket.requests) == 1


def test_the_size_can_be_left_unchecked(bucket: Any, tmp_path: Path) -> None:
    found = record(video(bucket.put("v1.mp4", CONTENT), size_bytes=5))
    for copied in (True, False):
        (one,) = archive(tmp_path, verify_size=False).run([found])
        assert (one.copied, one.size_bytes) == (copied, len(CONTENT))


def test_a_video_without_a_url_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert archive(tmp_path).run([record(video(None))]) == []
    assert "video v1 has no URL" in caplog.text


def test_a_malformed_url_does_not_affect_the_other_videos(bucket: Any, tmp_path: Path) -> None:
    found = record(
        video("https://me:s3cret@[bad/v1.mp4?sign=s3cret", "v1"),
        video(bucket.put("v2.mp4", CONTENT), "v2"),
    )
    with pytest.raises(ArchiveFailed, match="not the URL of a video") as caught:
        archive(tmp_path).run([found])
    assert "s3cret" not in str(caught.value)
    assert [one.video.id for one in caught.value.archived] == ["v2"]
    assert "s3cret" not in (tmp_path / "lesson/manifest.json").read_text()


def test_at_most_max_workers_at_a_time(bucket: Any, tmp_path: Path) -> None:
    found = record(
        *(video(bucket.put(f"{n}.mp4", CONTENT, videos.hold(1000)), f"v{n}") for n in range(5))
    )
    ends: list[Any] = []
    thread = threading.Thread(
        target=lambda: ends.append(archive(tmp_path, max_workers=3).run([found]))
    )
    thread.start()
    for _ in range(3):
        assert bucket.holding.acquire(timeout=10)
    assert not bucket.holding.acquire(timeout=0.5)
    assert len(bucket.requests) == 3
    bucket.release.set()
    thread.join(20)
    assert len(ends[0]) == 5


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class Running:
    """An archive that is held in the middle of a video, in a thread."""

    def __init__(
        self, bucket: Any, folder: Path, found: OnlineRecord | None = None, **changes: Any
    ) -> None:
        self.found = found or record(video(bucket.put("v1.mp4", CONTENT, videos.hold(300_000))))
        self.archive = archive(folder, **changes)
        self.ends: list[Any] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        assert bucket.holding.acquire(timeout=10)
        eventually(lambda: any(part.stat().st_size for part in folder.rglob(".*.mp4.part")))

    def run(self) -> None:
        try:
            self.ends.append(self.archive.run([self.found]))
        except BaseException as error:
            self.ends.append(error)

    def end(self) -> Any:
        self.thread.join(15)
        assert not self.thread.is_alive()
        return self.ends[0]


def test_no_file_has_its_name_before_it_is_complete(bucket: Any, tmp_path: Path) -> None:
    running = Running(bucket, tmp_path)
    time.sleep(0.2)
    lock, part, stored = files(tmp_path)
    assert (part, stored) == ("lesson/.whiteboard-v1.mp4.part", "lesson/manifest.json")
    assert lock.endswith(".lock")
    assert manifest(tmp_path)["files"][0]["sha256"] is None
    bucket.release.set()
    assert running.end()[0].copied
    assert files(tmp_path) == ["lesson/manifest.json", "lesson/whiteboard-v1.mp4"]


def test_stopping_while_data_arrives(bucket: Any, tmp_path: Path) -> None:
    running = Running(bucket, tmp_path)
    running.archive.stop()
    # The thread that reads sees it first.
    bucket.release.set()
    assert isinstance(running.end(), DownloadStopped)
    assert files(tmp_path) == [PART, "lesson/manifest.json"]


def test_what_a_stop_leaves_is_continued(bucket: Any, tmp_path: Path) -> None:
    running = Running(bucket, tmp_path)
    started = time.monotonic()
    # The server sends nothing meanwhile, so the thread that reads cannot see it.
    running.archive.stop()
    assert isinstance(running.end(), DownloadStopped)
    assert time.monotonic() - started < 4
    assert files(tmp_path) == [PART, "lesson/manifest.json"]
    size = (tmp_path / PART).stat().st_size
    bucket.release.set()
    time.sleep(0.5)
    # The thread writes nothing when it continues.
    assert (tmp_path / PART).stat().st_size == size
    assert archive(tmp_path).run([running.found])[0].copied
    assert bucket.ranges() == [None, f"bytes={size}-"]
    assert (tmp_path / "lesson/whiteboard-v1.mp4").read_bytes() == CONTENT


def test_an_exception_in_the_waiting_thread_ends_the_copies(bucket: Any, tmp_path: Path) -> None:
    class Timeout(BaseException):
        pass

    class Impatient(logging.Filter):
        def filter(self, line: logging.LogRecord) -> bool:
            raise Timeout

    log = logging.Logger("impatient", logging.INFO)
    log.addFilter(Impatient())
    running = Running(bucket, tmp_path, log=log, progress_s=0.3)
    assert isinstance(running.end(), Timeout)
    assert files(tmp_path) == [PART, "lesson/manifest.json"]


def camera_and_board(bucket: Any, *behaviours: Any) -> OnlineRecord:
    """Return a record with one video of each of two kinds."""
    return record(
        video(bucket.put("c.mp4", CONTENT, *behaviours), "c", type=0),
        video(bucket.put("b.mp4", CONTENT, *behaviours), "b"),
    )


def by_kinds(manifests: Any) -> dict[str, bool]:
    """Return by its kind whether each entry is complete."""
    return {file["kind"]: file["sha256"] is not None for file in manifests["files"]}


def test_two_runs_at_once_share_a_manifest(bucket: Any, tmp_path: Path) -> None:
    found = camera_and_board(bucket, videos.hold(300_000))
    running = []
    for kind in ("camera", "whiteboard"):
        running.append(Running(bucket, tmp_path, found, video_kinds=[kind]))
    both = {"camera": False, "whiteboard": False}
    eventually(lambda: by_kinds(manifest(tmp_path)) == both)
    bucket.release.set()
    assert [one.copied for each in running for one in each.end()] == [True, True]
    assert by_kinds(manifest(tmp_path)) == {"camera": True, "whiteboard": True}
    assert [one.copied for one in archive(tmp_path).run([found])] == [False, False]
    assert files(tmp_path) == [
        "lesson/camera-c.mp4",
        "lesson/manifest.json",
        "lesson/whiteboard-b.mp4",
    ]


def test_many_runs_that_write_at_one_time(bucket: Any, tmp_path: Path) -> None:
    found = record(*(video(bucket.put(f"{n}", CONTENT[:9]), f"v{n}", type=n) for n in range(1, 6)))
    found = replace(found, videos=tuple(replace(v, size_bytes=9) for v in found.videos))
    kinds = [one.kind for one in found.videos]
    assert len(set(kinds)) == len(kinds)
    together = threading.Barrier(len(kinds))

    def run(kind: VideoKind) -> list[ArchivedVideo]:
        together.wait(20)
        return archive(tmp_path, video_kinds=[kind]).run([found])

    with ThreadPoolExecutor(len(kinds)) as pool:
        assert all(one.copied for (one,) in pool.map(run, kinds))
    assert by_kinds(manifest(tmp_path)) == dict.fromkeys(kinds, True)
    assert not [name for name in files(tmp_path) if name.endswith(".lock")]


def test_a_manifest_is_locked_between_reading_and_writing(bucket: Any, tmp_path: Path) -> None:
    locked = []

    class Watched(LocalStorage):
        def create(self, name: str, size_bytes: int | None) -> Target:
            if name.endswith("manifest.json"):
                with (self.folder / "lesson/.manifest.json.lock").open("r+") as lock:
                    with pytest.raises(BlockingIOError):
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    locked.append(name)
            return super().create(name, size_bytes)

    # A file that a killed process left is not locked.
    (tmp_path / "lesson").mkdir()
    (tmp_path / "lesson/.manifest.json.lock").touch()
    RecordArchive(Watched(tmp_path), hosts=HERE).run([lesson(bucket, "v1")])
    assert len(locked) == 2
    assert files(tmp_path) == ["lesson/manifest.json", "lesson/whiteboard-v1.mp4"]


def test_an_entry_that_another_run_overwrote_is_stored_again(bucket: Any, tmp_path: Path) -> None:
    found = camera_and_board(bucket)
    archive(tmp_path, video_kinds=["camera"]).run([found])
    early = (tmp_path / "lesson/manifest.json").read_bytes()
    written: list[str] = []

    class Lockless(LocalStorage):
        """A storage where another run writes, after this one's last write, what it read before."""

        def exclusive(self, name: str, patience_s: float) -> Any:
            return NoLock()

        def read(self, name: str) -> bytes | None:
            described = by_kinds(manifest(tmp_path))
            if described.get("whiteboard") and not written:
                written.append(name)
                (tmp_path / name).write_bytes(early)
            return super().read(name)

    RecordArchive(Lockless(tmp_path), hosts=HERE, video_kinds=["whiteboard"]).run([found])
    assert written == ["lesson/manifest.json"]
    assert by_kinds(manifest(tmp_path)) == {"camera": True, "whiteboard": True}


def test_a_manifest_that_cannot_be_read_back(
    bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Forgetful(LocalStorage):
        reads = 0

        def read(self, name: str) -> bytes | None:
            self.reads += 1
            # Four reads are for the copy: to look up the entry, again when the video is locked, to
            # announce it, and to complete it.
            if self.reads > 4:
                raise PermissionError("no more")
            return super().read(name)

    (one,) = RecordArchive(Forgetful(tmp_path), hosts=HERE).run([lesson(bucket, "v1")])
    assert one.copied
    assert "manifest.json could not be read back: no more" in caplog.text


def test_a_video_that_another_run_copied_meanwhile_is_not_copied_again(
    bucket: Any, tmp_path: Path
) -> None:
    found = camera_and_board(bucket)

    class Overtaken(LocalStorage):
        """Another run copies the second video right before this one locks it."""

        def exclusive(self, name: str, patience_s: float) -> Any:
            archive(tmp_path, video_kinds=["whiteboard"]).run([found])
            return super().exclusive(name, patience_s)

    archive(tmp_path, video_kinds=["camera"]).run([found])
    again = RecordArchive(Overtaken(tmp_path), hosts=HERE, max_workers=1).run([found])
    assert [one.copied for one in again] == [False, False]


def test_only_videos_that_are_copied_are_announced(bucket: Any, tmp_path: Path) -> None:
    (tmp_path / "lesson").mkdir()
    mine = tmp_path / "lesson/whiteboard-v2.mp4"
    mine.write_bytes(b"mine")
    # Neither in the run that begins with another video, nor in the one after it.
    for _ in range(2):
        with pytest.raises(ArchiveFailed, match="the manifest does not know it"):
            archive(tmp_path, max_workers=1).run([lesson(bucket, "v1", "v2")])
        assert mine.read_bytes() == b"mine"
    assert [entry["video_id"] for entry in manifest(tmp_path)["files"]] == ["v1"]


_KILLED = """
import sys
from tiw_automation.core import OnlineRecord, Video
from tiw_automation.core.archive.archive import RecordArchive
from tiw_automation.core.archive.local import LocalStorage

video = Video("v1", sys.argv[1], "mp4", 2, "teacher", 0, 0, int(sys.argv[3]), 1, 1)
record = OnlineRecord(1400000001, "lesson", status="FINISHED", videos=(video,))
RecordArchive(LocalStorage(sys.argv[2]), hosts=["127.0.0.1"]).run([record])
"""


def test_a_killed_process_is_continued_and_a_running_one_is_waited_for(
    bucket: Any, tmp_path: Path
) -> None:
    url = bucket.put("v1.mp4", CONTENT, *[videos.hold(300_000)] * 2)
    command = [sys.executable, "-c", _KILLED, url, str(tmp_path), str(len(CONTENT))]
    processes = []
    try:
        processes.append(subprocess.Popen(command))
        assert bucket.holding.acquire(timeout=30)
        part = tmp_path / "lesson/.whiteboard-v1.mp4.part"
        eventually(lambda: part.exists() and part.stat().st_size > 0)
        processes[0].send_signal(signal.SIGKILL)
        processes[0].wait()
        assert part.exists()
        processes.append(subprocess.Popen(command))
        assert bucket.holding.acquire(timeout=30)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(archive(tmp_path).run, [record(video(url))])
            time.sleep(0.3)
            assert not waiting.done()
            bucket.release.set()
            assert [one.copied for one in waiting.result(30)] == [False]
        assert processes[1].wait(30) == 0
    finally:
        for process in processes:
            process.kill()
            process.wait()
    first, second = bucket.ranges()
    assert first is None
    assert 0 < int(re.fullmatch(r"bytes=(\d+)-", second)[1]) <= 300_000  # type: ignore[index]
    assert files(tmp_path) == ["lesson/manifest.json", "lesson/whiteboard-v1.mp4"]
    assert (tmp_path / "lesson/whiteboard-v1.mp4").read_bytes() == CONTENT


def test_a_file_is_on_the_disk_before_it_has_its_name(
    bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    real_fsync, real_replace = os.fsync, os.replace

    def fsync(file: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{file}")).name
        calls.append(f"fsync {name}")
        real_fsync(file)

    def replace(source: str, target: str, **folders: int) -> None:
        calls.append(f"replace {target}")
        real_replace(source, target, **folders)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    archive(tmp_path / "new").run([lesson(bucket, "v1")])
    at = calls.index("replace whiteboard-v1.mp4")
    assert calls[at - 1] == "fsync .whiteboard-v1.mp4.part"
    assert calls[at + 1] == "fsync lesson"
    assert calls[:2] == [f"fsync {tmp_path.name}", "fsync new"]


def test_a_storage_that_is_full(bucket: Any, tmp_path: Path) -> None:
    class Full:
        def __init__(self, target: Target) -> None:
            self.restart, self.commit, self.abort = target.restart, target.commit, target.abort
            self.begun, self.begun_bytes = target.begun, target.begun_bytes

        def write(self, data: bytes, /) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    class Small(LocalStorage):
        def create(self, name: str, size_bytes: int | None) -> Target:
            target = super().create(name, size_bytes)
            return Full(target) if name.endswith("mp4") else target

    with pytest.raises(ArchiveFailed, match="No space left on device") as caught:
        RecordArchive(Small(tmp_path), hosts=HERE).run([lesson(bucket, "v1")])
    assert caught.value.retryable
    assert len(bucket.requests) == 1
    assert files(tmp_path) == ["lesson/manifest.json"]


def test_a_restart_truncates_the_file(bucket: Any, tmp_path: Path) -> None:
    found = record(video(bucket.put("a.mp4", CONTENT, videos.cut(500_000), etag=None)))
    archive(tmp_path).run([found])
    assert (tmp_path / "lesson/whiteboard-v1.mp4").read_bytes() == CONTENT


def test_memory_does_not_grow_with_the_video(bucket: Any, tmp_path: Path) -> None:
    size = 64 * MIB
    piece = bytes(MIB)

    def stream(handler: Any, file: Any) -> None:
        videos.head(handler, 200, {**videos.tags(file), "Content-Length": size})
        for _ in range(size // MIB):
            videos.body(handler, piece)

    found = record(video(bucket.put("a.mp4", b"", stream), size_bytes=size))
    tracemalloc.start()
    try:
        archive(tmp_path).run([found])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (tmp_path / "lesson/whiteboard-v1.mp4").stat().st_size == size
    assert peak < 4 * MIB


def test_the_log_reports_progress(
    bucket: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "tiw_automation")
    running = Running(bucket, tmp_path, progress_s=0.2)
    time.sleep(1.0)
    bucket.release.set()
    running.end()
    lines = [line for line in caplog.messages if "videos are done" in line]
    assert 2 <= len(lines) <= 6
    assert lines[0].startswith("0 of 1 videos are done; 3")
    assert "of 700.0 kB copied" in lines[0]
    (copied,) = [line for line in caplog.messages if line.startswith("Copied http")]
    assert hashlib.sha256(CONTENT).hexdigest() in copied
    assert "secret" not in caplog.text
    assert caplog.messages[-1] == "Copied 1 video; 0 were there already, 0 failed."


def test_an_archived_video_is_plain_data(bucket: Any, tmp_path: Path) -> None:
    (one,) = archive(tmp_path).run([lesson(bucket, "v1")])
    assert isinstance(one, ArchivedVideo)
    assert one.name == "lesson/whiteboard-v1.mp4"
    assert one.path == str(tmp_path / one.name)
    assert one.task_id == "lesson"
    assert DEFAULT_MANIFEST == "{task_id}/manifest.json"
