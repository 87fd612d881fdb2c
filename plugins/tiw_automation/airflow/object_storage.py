# SPDX-License-Identifier: Apache-2.0
"""An Airflow object storage as a place for an archive: a file appears when it is whole."""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import ObjectStoragePath  # isort: skip
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from tiw_automation.core import ConfigurationError
from tiw_automation.core.archive import DownloadStopped, LocalStorage, Storage, Target

# S3 takes 10,000 parts of a file, each 5 MiB or more; a part is held in memory two or three times.
_PART_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 9_000
_MIB = 1024 * 1024


def storage_of(folder: ObjectStoragePath) -> Storage:
    """Return the storage of an Airflow path.

    Reads the storage's connection, so call it from the task's own thread.
    """
    return _Folder(folder) if isinstance(folder.fs, LocalFileSystem) else _Bucket(folder)


class _Folder(LocalStorage):
    """A folder of this machine, whose paths are URLs as everywhere in Airflow."""

    def __init__(self, folder: ObjectStoragePath) -> None:
        super().__init__(folder.path)

    def path(self, name: str) -> str:
        return f"file://{self.folder / name}"


class _Bucket:
    """A bucket, through fsspec."""

    def __init__(self, folder: ObjectStoragePath) -> None:
        # As text: Airflow 3.1 warns each time that paths are joined.
        self._url = str(folder).rstrip("/")
        self._root = str(folder.path).rstrip("/")
        self._fs: Any = folder.fs
        # The listings of an earlier task of this process may be out of date.
        self._fs.invalidate_cache()

    def path(self, name: str) -> str:
        return f"{self._url}/{name}"

    def size(self, name: str) -> int | None:
        try:
            return int(self._fs.info(f"{self._root}/{name}")["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes | None:
        # The size of an earlier listing would cut off what was added since.
        self._fs.invalidate_cache(f"{self._root}/{name}")
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def create(self, name: str, size_bytes: int | None) -> Target:
        return _Upload(self._fs, f"{self._root}/{name}", size_bytes)

    def exclusive(self, name: str) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()


class _Upload:
    """An upload, which is completed, or aborted and then never visible."""

    def __init__(self, fs: Any, path: str, size_bytes: int | None) -> None:
        self._fs = fs
        self._path = path
        least = -(-(size_bytes or 0) // _MAX_PARTS)
        self._part_bytes = max(_PART_BYTES, -(-least // _MIB) * _MIB)
        self._lock = threading.Lock()
        self._file: Any = self._new()

    def write(self, data: bytes, /) -> None:
        with self._lock:
            self._opened().write(data)

    def restart(self) -> None:
        with self._lock:
            self._discard(self._opened())
            self._file = self._new()

    def commit(self) -> None:
        with self._lock:
            file = self._opened()
            file.close()
            file.commit()
            self._file = None
            self._fs.invalidate_cache(self._path)

    def abort(self) -> None:
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
    return (
        isinstance(file, AbstractBufferedFile)
        and type(file).commit is not AbstractBufferedFile.commit
        and type(file).discard is not AbstractBufferedFile.discard
        # By name, because gcsfs may be absent. Its zonal buckets show each byte and drop none.
        and not any(kind.__name__ == "ZonalFile" for kind in type(file).__mro__)
    )
