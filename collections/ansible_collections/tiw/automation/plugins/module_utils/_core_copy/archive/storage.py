# A copy of core/archive/storage.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""Where an archive's files are stored: what a storage must do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

MANIFEST_BYTES = 16 * 1024 * 1024
"""The most bytes of a file that is read as a whole."""


class Target(Protocol):
    """A file that is being written: it gets its name only at :meth:`commit`."""

    begun_bytes: int
    """How many bytes of it an earlier run has left; 0 where the storage keeps none."""

    def begun(self) -> Iterable[bytes]:
        """Return these bytes."""

    def write(self, data: memoryview, /) -> object:
        """Append."""

    def restart(self) -> None:
        """Drop what was written."""

    def commit(self) -> None:
        """Give the complete, safely stored file its name; a file of that name is replaced."""

    def abort(self, *, keep: bool = False) -> None:
        """Leave nothing behind. Safe at any time, from any thread, also after :meth:`commit`.

        A later write or commit raises :class:`DownloadStopped`.

        :param keep: leave the bytes for the next run, where the storage can.
        """


class Reader(Protocol):
    """A file that is read from its beginning."""

    def read(self, count: int, /) -> bytes:
        """Return up to so many bytes; none at the end."""

    def close(self) -> None:
        """End reading."""


class Storage(Protocol):
    """Where an archive is stored; names are relative, with ``/`` between folders."""

    def path(self, name: str) -> str:
        """Return the path or URL by which the file is opened later."""

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None where it does not exist.

        :raises FileInTheWay: there is something that is not a file.
        """

    def read(self, name: str) -> bytes | None:
        """Return the content of a small file, or None where it does not exist.

        :raises FileInTheWay: there is something that is not a file, or a file of over 16 MiB.
        """

    def open(self, name: str) -> Reader | None:
        """Open a file to read it, or return None where it does not exist."""

    def names(self) -> Iterator[str]:
        """Yield the name of every file, sorted; those that begin with a dot are left out."""

    def create(self, name: str, size_bytes: int | None) -> Target:
        """Begin a file, of about that size where it is known."""

    def exclusive(self, name: str, patience_s: float) -> AbstractContextManager[Lock]:
        """Exclude other runs that enter this for the same name, where the storage has locks.

        :param patience_s: how long another run may hold it without any progress.
        :raises VideoBusy: another run holds it, and makes no progress.
        """


class Lock(Protocol):
    """What :meth:`Storage.exclusive` yields."""

    def progress(self) -> object:
        """Show those that wait that this run is at work."""

    def release(self) -> object:
        """Release it before the end; from any thread, also twice."""


class NoLock:
    """The lock of a storage that has none."""

    def __enter__(self) -> NoLock:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def progress(self) -> None:
        pass

    def release(self) -> None:
        pass
