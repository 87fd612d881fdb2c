# SPDX-License-Identifier: Apache-2.0
"""Where an archive's files are stored: what a storage must do, and a folder of this machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from tiw_automation.core.archive.errors import DownloadStopped

_WRITE_BACK_BYTES = 16 * 1024 * 1024


class Target(Protocol):
    """A file that is being written: it gets its name only at :meth:`commit`."""

    def write(self, data: bytes, /) -> object:
        """Append."""

    def restart(self) -> None:
        """Drop what was written."""

    def commit(self) -> None:
        """Give the complete, safely stored file its name; a file of that name is replaced."""

    def abort(self) -> None:
        """Leave nothing behind. Safe at any time, from any thread, also after :meth:`commit`.

        A later write or commit raises :class:`DownloadStopped`.
        """


class Storage(Protocol):
    """Where an archive is stored; names are relative, with ``/`` between folders."""

    def path(self, name: str) -> str:
        """Return the path or URL by which the file is opened later."""

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None where it does not exist."""

    def read(self, name: str) -> bytes | None:
        """Return a small file's content, or None where it does not exist."""

    def create(self, name: str, size_bytes: int | None) -> Target:
        """Begin a file, of about that size where it is known."""

    def exclusive(self, name: str) -> AbstractContextManager[object]:
        """Exclude other runs that enter this for the same file, where the storage has locks."""


class LocalStorage:
    """An archive in a folder of this machine, which is created where it is missing."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def path(self, name: str) -> str:
        """Return the file's path."""
        return str(self.folder / name)

    def size(self, name: str) -> int | None:
        """Return the file's size in bytes, or None."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return (self.folder / name).stat().st_size
        return None

    def read(self, name: str) -> bytes | None:
        """Return the file's content, or None."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            return (self.folder / name).read_bytes()
        return None

    def create(self, name: str, size_bytes: int | None) -> Target:
        """Begin a file."""
        return _LocalFile(self.folder / name)

    def exclusive(self, name: str) -> AbstractContextManager[object]:
        """Hold a lock, also against other processes of this machine."""
        return _lock_held(self.folder / name)


class _LocalFile:
    """A file with a hidden name until it is stored on the disk.

    Its writer holds a lock on it: a hidden file without a lock was left by a killed process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        _make_folders(path.parent)
        _remove_abandoned(path)
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file: int | None = os.open(self._temporary, flags, 0o666)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._written = self._written_back = 0

    def write(self, data: bytes, /) -> None:
        with self._lock:
            file = self._open_file()
            view = memoryview(data)
            while view:
                count = os.write(file, view)
                view = view[count:]
                self._written += count
            pending = self._written - self._written_back
            if pending >= _WRITE_BACK_BYTES:
                # The kernel writes it now, or the last fsync would wait for all of it. No later
                # reader needs the video in the cache.
                os.posix_fadvise(file, self._written_back, pending, os.POSIX_FADV_DONTNEED)
                self._written_back = self._written

    def restart(self) -> None:
        with self._lock:
            file = self._open_file()
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            self._written = self._written_back = 0

    def commit(self) -> None:
        with self._lock:
            file = self._open_file()
            os.fsync(file)
            os.replace(self._temporary, self._path)
            self._file = None
            os.close(file)
            _sync_folder(self._path.parent)

    def abort(self) -> None:
        with self._lock:
            if self._file is not None:
                self._temporary.unlink(missing_ok=True)
                os.close(self._file)
                self._file = None

    def _open_file(self) -> int:
        if self._file is None:
            raise DownloadStopped(f"{self._path}: writing was stopped.")
        return self._file


@contextlib.contextmanager
def _lock_held(path: Path) -> Iterator[None]:
    _make_folders(path.parent)
    lock = path.with_name(f".{path.name}.lock")
    file = _open_locked(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(file)


def _open_locked(lock: Path) -> int:
    while True:
        # Open for writing: an exclusive lock on NFS needs it.
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # The previous holder has removed its file; another process may have created a new one.
            if os.path.samestat(os.fstat(file), lock.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _make_folders(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove_abandoned(path: Path) -> None:
    """Remove the hidden files of this name that killed processes left."""
    pattern = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.part")
    for other in path.parent.iterdir():
        if not pattern.fullmatch(other.name):
            continue
        with contextlib.suppress(OSError):
            file = os.open(other, os.O_WRONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                other.unlink()
            finally:
                os.close(file)
