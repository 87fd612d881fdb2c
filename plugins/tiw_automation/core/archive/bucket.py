# SPDX-License-Identifier: Apache-2.0
"""An archive in a bucket, or wherever else fsspec reaches: a file appears when it is whole.

It needs fsspec and the package of its protocol (s3fs, gcsfs, ...), and does not travel with the
collection.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from typing import Any

from tiw_automation.core.archive.errors import DownloadStopped, FileInTheWay
from tiw_automation.core.archive.local import LocalStorage
from tiw_automation.core.archive.storage import MANIFEST_BYTES, NoLock, Reader, Storage, Target
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import escaped, shown, shown_url

# S3 takes 10,000 parts of a file, each 5 MiB or more; a part is held in memory two or three times.
_PART_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 9_000
_MIB = 1024 * 1024


def storage_for(url: str, **local: Any) -> Storage:
    """Return the storage of a folder: a path, a ``file://`` URL, or any URL of fsspec.

    :param local: what :class:`LocalStorage` takes, for a folder of this machine.
    :raises ConfigurationError: the URL or its protocol is unknown, or a package is missing.
    """
    if not url.strip() or "\0" in url:
        raise ConfigurationError(f"The folder {shown(url)} is empty, or contains a NUL.")
    scheme, found, path = url.partition("://")
    if not found:
        return LocalStorage(url, **local)
    hint = (
        "Give a path, or a URL such as file:///srv/lessons or s3://bucket/folder; each protocol "
        "needs its package, s3fs for s3, gcsfs for gs."
    )
    if scheme in ("file", "local"):
        if not path.startswith("/"):
            raise ConfigurationError(f"{shown(url)} names no folder of this machine.", hint=hint)
        # As fsspec reads it: nothing is unquoted, and "?" and "#" belong to the name.
        return LocalStorage(path, **local)
    if not scheme or not path.strip("/"):
        raise ConfigurationError(f"{shown(shown_url(url))} names no bucket.", hint=hint)
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise ConfigurationError(
            f"{shown(shown_url(url))} needs the package fsspec.", hint=hint
        ) from error
    try:
        fs, root = url_to_fs(url)
    except Exception as error:
        # Each protocol has errors of its own, for credentials that are missing for example.
        raise ConfigurationError(
            f"{shown(shown_url(url))} cannot be opened: {escaped(error, 300)}.", hint=hint
        ) from error
    return Bucket(fs, root, url)


class Bucket:
    """A folder in a bucket, through fsspec. It has no locks: use one writer for a recording.

    :param fs: the file system.
    :param root: the folder's path in it.
    :param url: the folder's URL, for people.
    """

    def __init__(self, fs: Any, root: str, url: str) -> None:
        self._fs = fs
        self._root = root.rstrip("/")
        self._url = url.rstrip("/")
        # Earlier listings of this process may be out of date.
        fs.invalidate_cache()

    def path(self, name: str) -> str:
        """Return the file's URL."""
        return f"{self._url}/{name}"

    def size(self, name: str) -> int | None:
        """Return the file's size in bytes, or None."""
        try:
            return int(self._fs.info(f"{self._root}/{name}")["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes | None:
        """Return the file's content, or None."""
        # The size of an earlier listing would cut off what was added since.
        self._fs.invalidate_cache(f"{self._root}/{name}")
        if (self.size(name) or 0) > MANIFEST_BYTES:
            raise FileInTheWay(f"{self.path(name)} is larger than {MANIFEST_BYTES} bytes.")
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def open(self, name: str) -> Reader | None:
        """Open the file to read it, or return None."""
        self._fs.invalidate_cache(f"{self._root}/{name}")
        try:
            reader: Reader = self._fs.open(f"{self._root}/{name}", "rb")
            return reader
        except FileNotFoundError:
            return None

    def names(self) -> Iterator[str]:
        """Yield the name of every file."""
        self._fs.invalidate_cache()
        start = len(self._root) + 1
        for path in sorted(self._fs.find(self._root)):
            name = path[start:]
            if not any(part.startswith(".") for part in name.split("/")):
                yield name

    def create(self, name: str, size_bytes: int | None) -> Target:
        """Begin a file."""
        return _Upload(self._fs, f"{self._root}/{name}", size_bytes)

    def exclusive(self, name: str, patience_s: float) -> NoLock:
        """Return a lock that excludes no other run."""
        return NoLock()


class _Upload:
    """An upload, which is completed, or aborted and then never visible."""

    begun_bytes = 0

    def __init__(self, fs: Any, path: str, size_bytes: int | None) -> None:
        self._fs = fs
        self._path = path
        least = -(-(size_bytes or 0) // _MAX_PARTS)
        self._part_bytes = max(_PART_BYTES, -(-least // _MIB) * _MIB)
        self._lock = threading.Lock()
        self._file: Any = self._new()
        self._written = 0

    def begun(self) -> Iterable[bytes]:
        return ()

    def write(self, data: memoryview, /) -> None:
        with self._lock:
            self._opened().write(data)
            self._written += len(data)

    def restart(self) -> None:
        with self._lock:
            file = self._opened()
            if self._written:
                self._discard(file)
                self._file, self._written = self._new(), 0

    def commit(self) -> None:
        with self._lock:
            file = self._opened()
            file.close()
            file.commit()
            self._file = None
            self._fs.invalidate_cache(self._path)

    def abort(self, *, keep: bool = False) -> None:
        with self._lock:
            if self._file is not None:
                file, self._file = self._file, None
                self._discard(file)

    def _new(self) -> Any:
        file = self._fs.open(self._path, "wb", block_size=self._part_bytes, autocommit=False)
        if not _can_be_dropped(file):
            # Otherwise its finalizer would write an empty file.
            with contextlib.suppress(AttributeError):
                file.closed = True
            # Such a storage has created an empty file by now.
            with contextlib.suppress(Exception):
                self._fs.rm_file(self._path)
            raise ConfigurationError(
                f"The storage of {self._path} ({type(self._fs).__name__}) shows a file before it "
                "is whole.",
                hint="Use file, s3 or gs (not a zonal bucket): these complete or drop an upload.",
            )
        return file

    def _discard(self, file: Any) -> None:
        try:
            file.discard()
        finally:
            # Otherwise its finalizer would upload the rest of its buffer.
            file.closed = True

    def _opened(self) -> Any:
        if self._file is None:
            raise DownloadStopped(f"{self._path}: the upload was aborted.")
        return self._file


def _can_be_dropped(file: Any) -> bool:
    """Return whether the file is invisible before its commit and after a discard."""
    from fsspec.spec import AbstractBufferedFile

    return (
        isinstance(file, AbstractBufferedFile)
        and type(file).commit is not AbstractBufferedFile.commit
        and type(file).discard is not AbstractBufferedFile.discard
        # By name, because gcsfs may be absent. Its zonal buckets show each byte and drop none.
        and not any(kind.__name__ == "ZonalFile" for kind in type(file).__mro__)
    )
