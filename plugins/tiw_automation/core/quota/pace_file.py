# SPDX-License-Identifier: Apache-2.0
"""The file in which the processes of a host keep their pace: where it is, and what it holds.

It is locked, read and written for each slot; no memory map could be harmed by a file that is
truncated meanwhile. Each field is checked when it is read, because a crash, a full disk or another
program may have written it:

======  ===========  ==================================  ==========================  ==============
offset  field        what it is                          range                       out of range
======  ===========  ==================================  ==========================  ==============
0       magic        ``tiwpace2``                        that                        a new file
8       next slot    when the next slot is               to now + the longest wait   now
16      factor       what refusals left of the pace      0.05 to 1                   1
24      since        when the factor was set             to now + 2 s                factor 1
32      taken        how many slots there were           0 to 2**53                  0
64      256 stamps   when the latest requests arrived,   to now + the longest wait   long ago
                     each at the slot's number           + 5 s
                     modulo 256
2112    128 rows     one process each; the first whose   see below                   no process
                     process id is 0 ends them
======  ===========  ==================================  ==========================  ==============

A row is: process id (1 to 2**31 - 1), the inode of its process id namespace (any), when it took its
last slot (to now + 2 s), its confirmed and its unconfirmed waits (0 to 1e7 each), the requests a
second that the confirmed ones would use (0 to 1e6), its pace (1e-6 to 1e6 requests a second) and
its quota share (above 0, to 1). Times are seconds of the monotonic clock, which restarts with each
boot; all numbers are 8 bytes long, in the machine's own order.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import stat
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from operator import attrgetter

from tiw_automation.core.quota.pace import LEAST_FACTOR
from tiw_automation.core.quota.parts import ProcessRow
from tiw_automation.core.quota.store import Held, Unusable

MAGIC = b"tiwpace2"
PROCESSES = 128
STAMPS = 256
_MOST_SLOTS = 2**53
# All processes of a host read the same clock, but not at the same moment.
_AHEAD_S = 2.0
# A request counts as up to a second late, and leaves up to a second after its slot.
_LATE_S = 5.0

_HEADER = struct.Struct("=8sdddQ")
_STAMPS = struct.Struct(f"={STAMPS}d")
_ROW = struct.Struct("=qQdddddd")
_STAMPS_AT = 64
_ROWS_AT = _STAMPS_AT + _STAMPS.size
SIZE = _ROWS_AT + PROCESSES * _ROW.size

# A file that was not written for this long, by processes that are all dead, is removed.
UNUSED_AFTER_S = 3600.0
_REMOVED_AT_ONCE = 100
_LOCK_PAUSE_S = 0.0002
_CHECKED_EACH_S = 1.0
_MOST_OPEN = 128
_KEPT_OPEN_S = 10.0
_OFTEN_S = 1.0
_OPENED = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEVER = -math.inf


_VALUES = attrgetter(*(column.name for column in fields(ProcessRow)))


@dataclass(slots=True)
class Contents:
    """What the file holds, checked."""

    next_slot: float = _NEVER
    factor: float = 1.0
    since: float = _NEVER
    taken: int = 0
    stamps: list[float] = field(default_factory=lambda: [_NEVER] * STAMPS)
    rows: list[ProcessRow] = field(default_factory=list)

    @classmethod
    def read(cls, data: bytes, now: float, pace: float) -> Contents:
        """Read what the file holds; a value out of its range is ignored.

        :param now: the monotonic time.
        :param pace: the reader's requests a second.
        """
        data = data[:SIZE].ljust(SIZE, b"\0")
        found = cls()
        for values in _ROW.iter_unpack(data[_ROWS_AT:]):
            row = ProcessRow(*values)
            if not row.pid:
                break
            if row.is_sound and row.seen <= now + _AHEAD_S:
                found.rows.append(row)
        magic, next_slot, factor, since, taken = _HEADER.unpack_from(data)
        if magic != MAGIC:
            return found
        longest_s = found.longest_wait_s(pace)
        if next_slot <= now + longest_s:
            found.next_slot = next_slot
        if LEAST_FACTOR <= factor <= 1 and since <= now + _AHEAD_S:
            found.factor, found.since = factor, since
        if taken <= _MOST_SLOTS:
            latest = now + longest_s + _LATE_S
            stamps = _STAMPS.unpack_from(data, _STAMPS_AT)
            found.taken, found.stamps = taken, [t if t <= latest else _NEVER for t in stamps]
        return found

    def longest_wait_s(self, pace: float) -> float:
        """Return how far ahead the next slot may be: twenty slots of each process at full pace.

        A slot that is further ahead is from another boot, or invalid.
        """
        pace = max([pace, *(row.pace for row in self.rows)])
        return 2.0 + (len(self.rows) + 2) / (pace * LEAST_FACTOR)

    def written(self) -> bytes:
        """Return the bytes of the file."""
        rows = b"".join(_ROW.pack(*_VALUES(row)) for row in self.rows[:PROCESSES])
        header = _HEADER.pack(MAGIC, self.next_slot, self.factor, self.since, self.taken)
        data = header.ljust(_STAMPS_AT, b"\0") + _STAMPS.pack(*self.stamps) + rows
        return data.ljust(SIZE, b"\0")


def state_path() -> str:
    """Return the path of the folder of this user's files, whether it exists or not.

    :raises Unusable: there is no temporary folder.
    """
    try:
        return os.path.join(tempfile.gettempdir(), f"tiw-automation-{os.geteuid()}")
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from None


def state_folder() -> str:
    """Return the folder of this user's files; it is made where it is missing, closed to others.

    :raises Unusable: it cannot be made, or does not belong to this user alone.
    """
    path = state_path()
    try:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        found = os.lstat(path)
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        raise Unusable(f"{path} is not a folder")
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Unusable(f"{path} is open to other users")
    return path


class PaceFile:
    """One file of the folder, which stays open between two uses that follow each other soon.

    One thread may use it at a time.

    :param name: its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = -1
        self._path = ""
        self._checked_at = _NEVER
        self.used_at = _NEVER

    @property
    def path(self) -> str:
        """Where it is.

        :raises Unusable: there is no temporary folder.
        """
        return os.path.join(state_path(), self.name)

    def make(self) -> None:
        """Make the file where it is missing.

        :raises Unusable: it cannot be made, or does not belong to this user.
        """
        try:
            self._open(create=True)
        except OSError as error:
            raise Unusable(f"{self.name}: {error.strerror or error}") from None
        finally:
            self.close()

    @contextlib.contextmanager
    def change(
        self, now: float, pace: float, tries: int, *, create: bool = True
    ) -> Iterator[Contents]:
        """Read the file, and write the contents back after the block.

        :param now: the monotonic time; infinity where times ahead of it are not checked.
        :param pace: the reader's requests a second.
        :param tries: how often to try to lock it.
        :param create: whether to make it where it is missing.
        :raises Held: another process holds it.
        :raises Unusable: it cannot be made, read or written, or does not belong to this user.
        """
        _kept_open.borrow(self)
        try:
            self._lock(tries, create)
            before = os.pread(self._file, SIZE, 0)
            contents = Contents.read(before, now, pace)
            yield contents
            after = contents.written()
            if after != before and os.pwrite(self._file, after, 0) < SIZE:
                raise Unusable(f"{self.path}: it cannot be written completely")
        except OSError as error:
            raise Unusable(f"{self.name}: {error.strerror or error}") from None
        finally:
            self._unlock()
            _kept_open.give_back(self)

    def close(self) -> None:
        """Close it; the lock is kept: in a forked child it belongs to the parent."""
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):
                os.close(file)

    def _lock(self, tries: int, create: bool) -> None:
        self._check_or_open(create)
        for _ in range(tries):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_S)
                continue
            if os.fstat(self._file).st_nlink:
                return
            # Another process removed it before it was locked.
            self._unlock()
            self._open(create)
        raise Held

    def _unlock(self) -> None:
        if self._file >= 0:
            with contextlib.suppress(OSError):
                # Closing is not enough: a child that was forked meanwhile shares the lock.
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _check_or_open(self, create: bool) -> None:
        """Open it, or check now and then that it is still the file at its path."""
        now = time.monotonic()
        if self._file < 0 or self._path != self.path:
            self._open(create)
        elif now - self._checked_at > _CHECKED_EACH_S:
            state_folder()
            if not os.path.samestat(os.lstat(self._path), os.fstat(self._file)):
                self._open(create)
            self._checked_at = now

    def _open(self, create: bool) -> None:
        self.close()
        if create:
            state_folder()
        self._path, self._checked_at = self.path, time.monotonic()
        flags = _OPENED | (os.O_CREAT if create else 0)
        self._file = os.open(self._path, flags, 0o600)
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            self.close()
            raise Unusable(f"{self._path} is not a file of this user")


class _KeptOpen:
    """The open files that no call uses: few, and closed when they are not used for a while.

    A file that is used once is not kept.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Since when each is unused, the longest unused one first.
        self._since: dict[PaceFile, float] = {}

    def borrow(self, file: PaceFile) -> None:
        """Keep a file from being closed."""
        with self._lock:
            self._since.pop(file, None)

    def give_back(self, file: PaceFile) -> None:
        """Let a file be closed again."""
        now = time.monotonic()
        is_used_often, file.used_at = now - file.used_at < _OFTEN_S, now
        if not is_used_often:
            file.close()
            return
        with self._lock:
            self._since[file] = now
            if len(self._since) > _MOST_OPEN:
                self._close_first()

    def close_idle(self) -> None:
        """Close those that are not used any more."""
        now = time.monotonic()
        with self._lock:
            while self._since and now - next(iter(self._since.values())) >= _KEPT_OPEN_S:
                self._close_first()

    def _close_first(self) -> None:
        file = next(iter(self._since))
        del self._since[file]
        file.close()


_kept_open = _KeptOpen()


def close_idle_files() -> None:
    """Close the files that are not used any more."""
    _kept_open.close_idle()


def _forget_after_fork() -> None:
    # Another thread may have held the lock at the fork; each file is closed by its pace.
    global _kept_open
    _kept_open = _KeptOpen()


os.register_at_fork(after_in_child=_forget_after_fork)


def remove_unused(is_used: Callable[[ProcessRow], bool], keep: str) -> None:
    """Remove files that were not written for an hour and name no process in use.

    :param keep: the name of a file that stays.
    """
    with contextlib.suppress(OSError, Unusable), os.scandir(state_path()) as entries:
        for entry in islice(entries, _REMOVED_AT_ONCE):
            if entry.name.endswith(".pace") and entry.name != keep:
                with contextlib.suppress(OSError):
                    _remove_if_unused(entry.path, is_used)


def _remove_if_unused(path: str, is_used: Callable[[ProcessRow], bool]) -> None:
    if time.time() - os.lstat(path).st_mtime < UNUSED_AFTER_S:
        return
    file = os.open(path, _OPENED)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        contents = Contents.read(os.pread(file, SIZE, 0), math.inf, 1.0)
        if not any(map(is_used, contents.rows)):
            os.unlink(path)
    finally:
        os.close(file)
