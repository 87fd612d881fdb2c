# SPDX-License-Identifier: Apache-2.0
"""Buckets: which storage a URL names, and what two writers without locks can lose."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import video_server as videos
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem

from tiw_automation.core import ConfigurationError
from tiw_automation.core.archive import (
    ArchiveFailed,
    Bucket,
    DownloadStopped,
    FileInTheWay,
    LocalStorage,
    RecordArchive,
    Target,
    storage_for,
    verify,
)
from tiw_automation.core.archive.download import Downloaded
from tiw_automation.core.archive.manifest import Manifest

CONTENT = bytes(range(256)) * 1000
MANIFEST = "lesson/manifest.json"
MIB = 1024 * 1024


class Store(AbstractFileSystem):  # type: ignore[misc]
    """Objects that appear when their upload is completed, as in S3; it has no locks."""

    protocol = "store"
    cachable = False

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.objects: dict[str, bytes] = {}
        self.uploads: set[int] = set()

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path in self.objects:
            return {"name": path, "size": len(self.objects[path]), "type": "file"}
        if any(name.startswith(f"{path}/") for name in self.objects):
            return {"name": path, "size": 0, "type": "directory"}
        raise FileNotFoundError(path)

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:
        start = f"{self._strip_protocol(path)}/"
        below = [name for name in self.objects if name.startswith(start)]
        children = {start + name.removeprefix(start).partition("/")[0] for name in below}
        found = [self.info(name) for name in sorted(children)]
        return found if detail else [one["name"] for one in found]

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
        return Upload(self, path, mode, **options) if mode == "wb" else Object(self, path, mode)


class Object(AbstractBufferedFile):  # type: ignore[misc]
    """A stored object."""

    def _fetch_range(self, start: int, end: int) -> bytes:
        data: bytes = self.fs.objects[self.path][start:end]
        return data


class Upload(AbstractBufferedFile):  # type: ignore[misc]
    """An upload in parts."""

    parts: bytes = b""

    def _initiate_upload(self) -> None:
        self.fs.uploads.add(id(self))

    def _upload_chunk(self, final: bool = False) -> bool:
        self.parts += self.buffer.getvalue()
        return True

    def commit(self) -> None:
        self.fs.objects[self.path] = self.parts
        self.fs.uploads.discard(id(self))

    def discard(self) -> None:
        self.fs.uploads.discard(id(self))


class Racing(Bucket):
    """A bucket in which another run acts after the manifest was read and before it is written."""

    def __init__(self, fs: Any, act: Callable[[], object]) -> None:
        super().__init__(fs, "archive", "store://archive")
        self._acts = [act]

    def create(self, name: str, size_bytes: int | None) -> Target:
        if name.endswith("manifest.json") and self._acts:
            self._acts.pop()()
        return super().create(name, size_bytes)


@pytest.fixture
def fs() -> Store:
    return Store()


@pytest.fixture
def storage(fs: Store) -> Bucket:
    return Bucket(fs, "archive/", "store://archive/")


@pytest.fixture
def server() -> Iterator[Any]:
    with videos.video_server() as running:
        yield running


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    found = fsspec.filesystem("memory")
    yield found
    found.store.clear()
    found.pseudo_dirs[:] = [""]


def video(server: Any, name: str, kind: str = "whiteboard") -> dict[str, Any]:
    url = server.put(f"{name}.mp4", CONTENT)
    size = len(CONTENT)
    return {"id": name, "url": url, "format": "mp4", "kind": kind, "size_bytes": size}


def lesson(*found: dict[str, Any]) -> dict[str, Any]:
    """Return a record's JSON form."""
    plain = {"sdk_app_id": 1400000001, "task_id": "lesson", "status": "FINISHED"}
    return {**plain, "videos": list(found)}


def archive(storage: Bucket, **options: Any) -> RecordArchive:
    return RecordArchive(storage, hosts=["127.0.0.1"], **options)


def store(target: Target, data: bytes) -> None:
    target.restart()
    target.write(memoryview(data))
    target.commit()


# Which storage a URL names


def test_a_path_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    folder = str(tmp_path / "x")
    for url in ("x", "./x//", "~/x", "~/y/../x", folder, f"file://{folder}/", f"local://{folder}"):
        found = storage_for(url)
        assert isinstance(found, LocalStorage)
        assert found.path("a/b") == f"{folder}/a/b"


@pytest.mark.parametrize("name", ["a b", "a?b", "a#b", "a%20b", "教室", "s3:x", "a\nb", "\udcff"])
def test_each_character_of_a_path_belongs_to_its_name(tmp_path: Path, name: str) -> None:
    for url in (f"{tmp_path}/{name}", f"file://{tmp_path}/{name}"):
        storage = storage_for(url)
        store(storage.create("v", 5), url.encode("utf-8", "surrogateescape"))
        assert (tmp_path / name / "v").read_bytes() == url.encode("utf-8", "surrogateescape")


def test_a_folder_gets_its_permissions(tmp_path: Path) -> None:
    storage = storage_for(f"file://{tmp_path}/x", file_mode=0o600, folder_mode=0o700)
    store(storage.create("lesson/v", 1), b"x")
    found = {path.name: oct(path.stat().st_mode & 0o777) for path in (tmp_path / "x").rglob("*")}
    assert found == {"lesson": "0o700", "v": "0o600"}


def test_another_url_is_a_bucket(memory: MemoryFileSystem) -> None:
    # The permissions are only for folders.
    storage = storage_for("memory://rec/2026/", file_mode=0o600)
    assert isinstance(storage, Bucket)
    assert storage.path("a/b") == "memory://rec/2026/a/b"
    memory.pipe("/rec/2026/a/b", b"abc")
    assert storage.size("a/b") == 3


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "is empty, or contains a NUL"),
        ("  ", "is empty, or contains a NUL"),
        ("a\0b", "is empty, or contains a NUL"),
        ("file://host/x", "names no folder of this machine"),
        ("file://", "names no folder of this machine"),
        ("s3://", "names no bucket"),
        ("s3:///", "names no bucket"),
        ("://bucket/x", "names no bucket"),
        ("FILE:///x", "Protocol not known: FILE"),
        ("minio://bucket/x", "Protocol not known: minio"),
        ("no\x1b[2Jsuch://bucket/x", "Protocol not known"),
    ],
)
def test_a_url_that_names_no_storage(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        storage_for(url)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(("url", "package"), [("s3://bucket/x", "s3fs"), ("gs://b", "gcsfs")])
def test_a_package_that_is_missing(url: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    # fsspec's table of the classes that it has loaded.
    monkeypatch.setattr(sys.modules["fsspec.registry"], "_registry", {})
    with pytest.raises(ConfigurationError, match=f"cannot be opened: .*{package}"):
        storage_for(url)


def test_fsspec_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "fsspec"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError, match=r"needs the package fsspec"):
        storage_for("s3://bucket/x")
    # A folder needs no package.
    assert isinstance(storage_for(f"file://{tmp_path}"), LocalStorage)


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        storage_for("minio://id:hidden@bucket/x?token=hidden")
    assert "hidden" not in f"{caught.value} {caught.value.hint}"


# Files in a bucket


def test_files_are_listed_measured_and_read(memory: MemoryFileSystem) -> None:
    for name in ("b/2", "a/1", "b/.2.part", ".hidden/3", "top"):
        memory.pipe(f"/rec/{name}", b"<" + name.encode() + b">")
    memory.pipe("/record/other", b"")
    storage = storage_for("memory://rec")
    assert list(storage.names()) == ["a/1", "b/2", "top"]
    assert (storage.size("a/1"), storage.read("a/1")) == (5, b"<a/1>")
    file = storage.open("a/1")
    assert file is not None
    assert [file.read(3), file.read(3), file.read(3)] == [b"<a/", b"1>", b""]
    file.close()
    absent: list[object] = [storage.size("x"), storage.read("x"), storage.open("x")]
    assert absent == [None, None, None]
    assert list(storage_for("memory://absent").names()) == []


def test_a_file_appears_with_its_commit(fs: Store, storage: Bucket) -> None:
    target = storage.create("lesson/v", len(CONTENT))
    target.write(memoryview(CONTENT))
    assert (fs.objects, len(fs.uploads)) == ({}, 0)
    target.commit()
    assert fs.objects == {"archive/lesson/v": CONTENT}
    assert storage.read("lesson/v") == CONTENT


def test_nothing_of_an_aborted_upload_is_left(fs: Store, storage: Bucket) -> None:
    target = storage.create("lesson/v", None)
    target.write(memoryview(bytes(9 * MIB)))
    assert len(fs.uploads) == 1
    target.restart()
    assert not fs.uploads
    target.write(memoryview(bytes(9 * MIB)))
    target.abort(keep=True)
    target.abort()
    assert (fs.objects, fs.uploads) == ({}, set())
    with pytest.raises(DownloadStopped):
        target.write(memoryview(b"x"))
    with pytest.raises(DownloadStopped):
        target.restart()
    with pytest.raises(DownloadStopped):
        target.commit()
    assert target.begun_bytes == 0
    assert list(target.begun()) == []


def test_a_storage_that_shows_partial_files_is_refused(memory: MemoryFileSystem) -> None:
    storage = storage_for("memory://rec")
    with pytest.raises(ConfigurationError, match="shows a file before it is whole"):
        storage.create("lesson/v", 5)
    assert memory.find("/") == []


def test_a_manifest_that_is_too_large_is_not_read(fs: Store, storage: Bucket) -> None:
    fs.objects["archive/lesson/manifest.json"] = bytes(16 * MIB + 1)
    with pytest.raises(FileInTheWay, match="larger than"):
        storage.read(MANIFEST)
    (found,) = verify(storage)
    assert (found.name, found.state, found.is_bad) == (MANIFEST, "unreadable", True)


def test_an_archive_in_a_bucket(fs: Store, storage: Bucket, server: Any) -> None:
    record = lesson(video(server, "v1"), video(server, "v2"))
    found = archive(storage).run([record])
    assert [one.path for one in found] == [
        f"store://archive/lesson/whiteboard-{name}.mp4" for name in ("v1", "v2")
    ]
    assert [one.copied for one in archive(storage).run([record])] == [False, False]
    assert len(server.requests) == 2
    assert {one.state for one in verify(storage)} == {"whole"}
    fs.objects["archive/lesson/whiteboard-v1.mp4"] = CONTENT[:-1]
    fs.objects["archive/lesson/whiteboard-v2.mp4"] = bytes(len(CONTENT))
    assert [one.state for one in verify(storage)] == ["cut", "changed"]
    assert [one.state for one in verify(storage, contents=False)] == ["cut", "whole"]


# Two writers


def test_an_entry_that_another_run_overwrote_is_restored(fs: Store, storage: Bucket) -> None:
    record = lesson()
    copied = Downloaded(3, "0" * 64, None)
    ended, still_runs = (
        {"id": name, "url": f"https://h/{name}", "kind": "camera"} for name in ("v1", "v2")
    )
    second = Manifest(storage, MANIFEST, record, overwrite=False)
    racing = Racing(fs, lambda: second.complete("lesson/v2", still_runs, copied))
    first = Manifest(racing, MANIFEST, record, overwrite=False)
    first.complete("lesson/v1", ended, copied)
    assert b"lesson/v2" not in fs.objects[f"archive/{MANIFEST}"]
    second.restore()
    text = fs.objects[f"archive/{MANIFEST}"]
    assert b"lesson/v1" in text
    assert b"lesson/v2" in text


def test_verify_names_what_a_lost_update_dropped(fs: Store, storage: Bucket, server: Any) -> None:
    """The second run ends after the first has read the manifest and before that one writes it."""
    record = lesson(video(server, "c", "camera"), video(server, "b"))
    second = archive(storage, video_kinds=["camera"])
    racing = Racing(fs, lambda: second.run([record]))
    archive(racing, video_kinds=["whiteboard"]).run([record])
    states = {one.name: (one.state, one.is_bad) for one in verify(storage)}
    assert states == {
        "lesson/camera-c.mp4": ("unlisted", False),
        "lesson/whiteboard-b.mp4": ("whole", False),
    }
    # No run replaces a file that it does not know.
    with pytest.raises(ArchiveFailed, match="exists, and the manifest does not know it"):
        archive(storage).run([record])
    found = archive(storage, overwrite=True).run([record])
    assert [one.copied for one in found] == [True, False]
    assert {one.state for one in verify(storage)} == {"whole"}


def test_a_manifest_for_each_writer_loses_nothing(fs: Store, storage: Bucket, server: Any) -> None:
    record = lesson(video(server, "c", "camera"), video(server, "b"))
    names = {kind: f"{{task_id}}/{kind}.manifest.json" for kind in ("camera", "whiteboard")}
    second = archive(storage, video_kinds=["camera"], manifest=names["camera"])
    racing = Racing(fs, lambda: second.run([record]))
    archive(racing, video_kinds=["whiteboard"], manifest=names["whiteboard"]).run([record])
    # The ending of the names is that of the default, so verify finds both.
    assert [one.state for one in verify(storage)] == ["whole", "whole"]
