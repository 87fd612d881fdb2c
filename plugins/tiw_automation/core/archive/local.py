# SPDX-License-Identifier: Apache-2.0
"""An archive in a folder of this machine.

Others may write to the folder, too. So below it every step is made from an open folder, no link
is followed, and only regular files are opened: a link to /etc/passwd, a pipe or a device in the
place of a file is an error of that one file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Union

from tiw_automation.core.archive.errors import DownloadStopped, FileInTheWay, VideoBusy
from tiw_automation.core.archive.storage import MANIFEST_BYTES

_WRITE_BACK_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
_LOCK_TICK_S = 0.1
_PROGRESS_S = 1.0
# A pipe does not block, a link is not followed, and no child process inherits it.
_SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR)

_Path = Union[str, "os.PathLike[str]"]


class LocalStorage:
    """An archive in a folder of this machine, which is created where it is missing.

    :param folder: its path; ``~`` is the home of the user. The folder itself may be a link.
    :param file_mode: the permissions of new files, whatever the umask is.
    :param folder_mode: the permissions of new folders.
    :param owner: the user id of new files and folders, where it is not that of the process.
    :param group: their group id.
    """

    def __init__(
        self,
        folder: _Path,
        *,
        file_mode: int = 0o640,
        folder_mode: int = 0o750,
        owner: int | None = None,
        group: int | None = None,
    ) -> None:
        self.folder: Path = Path(os.path.abspath(os.path.expanduser(os.fspath(folder))))
        self.file_mode = file_mode
        self.folder_mode = folder_mode
        self.owner = owner
        self.group = group

    def path(self, name: str) -> str:
        """Return the file's path."""
        return str(self.folder / name)

    def size(self, name: str) -> int | None:
        """Return the file's size in bytes, or None."""
        with self._parent(name) as folder:
            if folder is None:
                return None
            try:
                found = os.stat(os.path.basename(name), dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                return None
            self._check_regular(name, found)
            return found.st_size

    def read(self, name: str) -> bytes | None:
        """Return the file's content, or None."""
        reader = self.open(name)
        if reader is None:
            return None
        with contextlib.closing(reader):
            size = os.fstat(reader.fileno()).st_size
            if size > MANIFEST_BYTES:
                raise FileInTheWay(f"{self.path(name)} is larger than {MANIFEST_BYTES} bytes.")
            content: bytes = reader.read(size)
        return content

    def open(self, name: str) -> Any:
        """Open the file to read it, or return None."""
        with self._parent(name) as folder:
            if folder is None:
                return None
            try:
                file = os.open(os.path.basename(name), os.O_RDONLY | _SAFE, dir_fd=folder)
            except FileNotFoundError:
                return None
            except OSError as error:
                raise self._in_the_way(name, error) from error
        try:
            self._check_regular(name, os.fstat(file))
        except BaseException:
            os.close(file)
            raise
        return os.fdopen(file, "rb")

    def names(self) -> Iterator[str]:
        """Yield the name of every file."""
        for folder, folders, files in os.walk(self.folder):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = os.path.join(folder, name)
                if not name.startswith("."):
                    yield os.path.relpath(path, self.folder)

    def create(self, name: str, size_bytes: int | None) -> LocalFile:
        """Begin a file."""
        folder = self._make_parent(name)
        try:
            return LocalFile(self, folder, name)
        except BaseException:
            os.close(folder)
            raise

    @contextlib.contextmanager
    def exclusive(self, name: str, patience_s: float) -> Iterator[LocalLock]:
        """Hold a lock, also against other processes of this machine."""
        folder = self._make_parent(name)
        hidden = f".{os.path.basename(name)}.lock"
        try:
            file = self._locked(folder, name, hidden, patience_s)
        except BaseException:
            os.close(folder)
            raise
        lock = LocalLock(folder, hidden, file)
        try:
            yield lock
        finally:
            lock.release()

    def take_over(self, descriptor: int, mode: int) -> None:
        """Give an open file or folder the permissions and the owner of this archive."""
        os.fchmod(descriptor, mode)
        if self.owner is not None or self.group is not None:
            os.fchown(
                descriptor,
                -1 if self.owner is None else self.owner,
                -1 if self.group is None else self.group,
            )

    def open_hidden(self, folder: int, name: str, hidden: str) -> int:
        """Open a hidden file beside ``name`` to write it; it is created where it is missing."""
        flags = os.O_RDWR | os.O_CREAT | _SAFE
        try:
            file = os.open(hidden, flags, 0o600, dir_fd=folder)
        except OSError as error:
            raise self._in_the_way(hidden, error) from error
        try:
            self._check_regular(os.path.join(os.path.dirname(name), hidden), os.fstat(file))
        except BaseException:
            os.close(file)
            raise
        return file

    def _locked(self, folder: int, name: str, hidden: str, patience_s: float) -> int:
        seen: object = None
        deadline = 0.0
        while True:
            file = self.open_hidden(folder, name, hidden)
            try:
                if _flocked(file):
                    # The last holder has removed its file; another run may have a new one.
                    if _is_still(file, hidden, folder):
                        return file
                else:
                    found = os.fstat(file)
                    progress = (found.st_ino, found.st_mtime_ns)
                    if progress != seen:
                        seen, deadline = progress, time.monotonic() + patience_s
                    if time.monotonic() >= deadline:
                        raise VideoBusy(
                            f"{self.path(name)}: another run holds its lock, and has made no "
                            f"progress in {patience_s:g} s."
                        )
                    time.sleep(_LOCK_TICK_S)
            except BaseException:
                os.close(file)
                raise
            os.close(file)

    @contextlib.contextmanager
    def _parent(self, name: str) -> Iterator[int | None]:
        """Open the folder that a name is in; None where it does not exist."""
        try:
            folder = self._open_parent(name)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise self._in_the_way(os.path.dirname(name), error) from error
            yield None
            return
        try:
            yield folder
        finally:
            os.close(folder)

    def _open_parent(self, name: str) -> int:
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in name.split("/")[:-1]:
            folder = _step(folder, part)
        return folder

    def _make_parent(self, name: str) -> int:
        self._make_root()
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for part in name.split("/")[:-1]:
            try:
                os.mkdir(part, self.folder_mode, dir_fd=folder)
            except FileExistsError:
                made = False
            except OSError:
                os.close(folder)
                raise
            else:
                made = True
            outer = os.dup(folder)
            try:
                folder = _step(folder, part)
                if made:
                    self.take_over(folder, self.folder_mode)
                    os.fsync(outer)
            except OSError as error:
                raise self._in_the_way(os.path.dirname(name), error) from error
            finally:
                os.close(outer)
        return folder

    def _make_root(self) -> None:
        missing = []
        folder = self.folder
        while not folder.is_dir():
            missing.append(folder)
            folder = folder.parent
        for new in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(new, self.folder_mode)
                made = os.open(new, _FOLDER)
                try:
                    self.take_over(made, self.folder_mode)
                finally:
                    os.close(made)
            _sync(new.parent)

    def _check_regular(self, name: str, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise FileInTheWay(f"{self.path(name)} is {_kind(found.st_mode)}, not a file.")

    def _in_the_way(self, name: str, error: OSError) -> FileInTheWay | OSError:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.EISDIR):
            return FileInTheWay(
                f"{self.path(name)} is a link, or something else that is not what the archive "
                f"stores there ({error.strerror})."
            )
        return error


class LocalLock:
    """A lock that is held: an empty hidden file, which is removed at the end.

    :param folder: the open folder of the file; is closed at the end.
    """

    def __init__(self, folder: int, hidden: str, file: int) -> None:
        self._folder = folder
        self._hidden = hidden
        self._file: int | None = file
        self._lock = threading.Lock()
        self._shown_at = time.monotonic()

    def progress(self) -> None:
        """Show those that wait that this run is at work."""
        now = time.monotonic()
        if now - self._shown_at >= _PROGRESS_S:
            self._shown_at = now
            with self._lock:
                if self._file is not None:
                    os.utime(self._file)

    def release(self) -> None:
        """Release it; from any thread, also twice."""
        with self._lock:
            file, self._file = self._file, None
            if file is None:
                return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._hidden, dir_fd=self._folder)
            os.close(file)
            os.close(self._folder)


class LocalFile:
    """A file with a hidden name until it is stored on the disk.

    :param folder: the open folder of the file; is closed at the end.
    """

    def __init__(self, storage: LocalStorage, folder: int, name: str) -> None:
        self._storage = storage
        self._folder = folder
        self._name = os.path.basename(name)
        self._path = storage.path(name)
        self._hidden = f".{self._name}.part"
        self._lock = threading.Lock()
        self._file: int | None = storage.open_hidden(folder, name, self._hidden)
        storage.take_over(self._file, storage.file_mode)
        self.begun_bytes: int = _begun_bytes(self._file)
        os.lseek(self._file, self.begun_bytes, os.SEEK_SET)
        self._written = self._written_back = self.begun_bytes
        if not self.begun_bytes:
            os.ftruncate(self._file, 0)

    def begun(self) -> Iterator[bytes]:
        """Yield the bytes that an earlier run has left."""
        offset = 0
        while offset < self.begun_bytes:
            with self._lock:
                piece = os.pread(self._opened(), _PIECE_BYTES, offset)
            if not piece:
                return
            offset += len(piece)
            yield piece

    def write(self, data: memoryview, /) -> None:
        with self._lock:
            file = self._opened()
            view = memoryview(data)
            while view:
                count = os.write(file, view)
                view = view[count:]
                self._written += count
            pending = self._written - self._written_back
            if pending >= _WRITE_BACK_BYTES:
                _write_back(file, self._written_back, pending)
                self._written_back = self._written

    def restart(self) -> None:
        with self._lock:
            file = self._opened()
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            self._written = self._written_back = 0

    def commit(self) -> None:
        with self._lock:
            file = self._opened()
            os.fsync(file)
            os.replace(self._hidden, self._name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            os.fsync(self._folder)
            self._close()

    def abort(self, *, keep: bool = False) -> None:
        with self._lock:
            if self._file is None:
                return
            if not keep or not self._written:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self._hidden, dir_fd=self._folder)
            self._close()

    def _opened(self) -> int:
        if self._file is None:
            raise DownloadStopped(f"{self._path}: writing was stopped.")
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)
            os.close(self._folder)


def _begun_bytes(file: int) -> int:
    """Return how many bytes of a hidden file can be relied on.

    What was written before this machine started may have lost bytes when it stopped.
    """
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    found = os.fstat(file)
    if clock is None or found.st_mtime <= time.time() - time.clock_gettime(clock):
        return 0
    return found.st_size


def _write_back(file: int, offset: int, count: int) -> None:
    # The kernel writes it now, or the last fsync would wait for all of it. No later reader needs
    # the video in the cache.
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file, offset, count, os.POSIX_FADV_DONTNEED)


def _step(folder: int, part: str) -> int:
    """Open a folder in an open folder, which is closed."""
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    finally:
        os.close(folder)


def _flocked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_still(file: int, name: str, folder: int) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(file), found)


def _sync(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _kind(mode: int) -> str:
    for is_kind, word in (
        (stat.S_ISLNK, "a link"),
        (stat.S_ISDIR, "a folder"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISSOCK, "a socket"),
    ):
        if is_kind(mode):
            return word
    return "a device"
