# SPDX-License-Identifier: Apache-2.0
"""The file in which the processes of a host keep their pace: where it is, and what it holds.

It is opened, locked, read, written and closed for each turn, so that no descriptor is kept and no
other process can take its pages away. Whatever stands in it is checked as it is read, because a
crash, a full disk or another program may have written it:

======  ===========  ==================================  ==========================  ==============
offset  field        what it is                          range                       out of range
======  ===========  ==================================  ==========================  ==============
0       magic        ``tiwpace2``                        that                        a new file
8       next turn    when the next turn is               to now + the longest wait   now
16      factor       what refusals left of the pace      0.05 to 1                   1
24      since        when the factor was set             to now + 2 s                factor 1
32      taken        how many turns there were           0 to 2**53                  0
64      256 stamps   when the latest requests arrived,   to now + the longest wait   long ago
                     each at the turn's number           + 5 s
                     modulo 256
2112    128 slots    one process each; the first whose   see below                   no process
                     process is 0 ends them
======  ===========  ==================================  ==========================  ==============

A slot is: process (1 to 2**31 - 1), the inode of its process id namespace (any), when it took its
last turn (to now + 2 s), its waits and its unconfirmed ones (0 to 1e7 each), the requests a second
that its waits would use (0 to 1e6), its pace (1e-6 to 1e6 requests a second) and its quota share
(above 0, to 1). Times are seconds of the monotonic clock, which begins anew with a boot; all
numbers are 8 bytes long, in the machine's own order.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import stat
import struct
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

MAGIC = b"tiwpace2"
PROCESSES = 128
STAMPS = 256
LEAST_FACTOR = 0.05
MOST_WAITS = 1e7
MOST_PACE = 1e6
_LEAST_PACE = 1e-6
_MOST_PID = 2**31 - 1
_MOST_TURNS = 2**53
# The clocks of a host's processes are one, but they read it at different moments.
_AHEAD_S = 2.0
# A request counts as up to a second late, and is sent up to a second after its turn.
_LATE_S = 5.0

_HEADER = struct.Struct("=8sdddQ")
_STAMPS = struct.Struct(f"={STAMPS}d")
_SLOT = struct.Struct("=qQdddddd")
_STAMPS_AT = 64
_SLOTS_AT = _STAMPS_AT + _STAMPS.size
SIZE = _SLOTS_AT + PROCESSES * _SLOT.size

_LOCK_PAUSE_S = 0.0002
_OPENED = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEVER = -math.inf


class Unusable(Exception):
    """The file cannot be used; the text says why."""


class Held(Exception):
    """Another process holds the file just now."""


@dataclass(slots=True)
class Slot:
    """One process: who it is, when it took its last turn, and what it wants."""

    pid: int
    namespace: int
    seen: float
    waits: float
    unconfirmed: float
    wanted: float
    pace: float
    share: float

    @property
    def is_sound(self) -> bool:
        """Whether every field is within its range, but for the time, which depends on now."""
        return (
            1 <= self.pid <= _MOST_PID
            and self.seen > _NEVER
            and 0 <= self.waits <= MOST_WAITS
            and 0 <= self.unconfirmed <= MOST_WAITS
            and 0 <= self.wanted <= MOST_PACE
            and _LEAST_PACE <= self.pace <= MOST_PACE
            and 0 < self.share <= 1
        )


@dataclass(slots=True)
class Contents:
    """What the file holds, checked."""

    next_turn: float = _NEVER
    factor: float = 1.0
    since: float = _NEVER
    taken: int = 0
    stamps: list[float] = field(default_factory=lambda: [_NEVER] * STAMPS)
    slots: list[Slot] = field(default_factory=list)

    @classmethod
    def read(cls, data: bytes, now: float, pace: float) -> Contents:
        """Read what stands in the file; what is out of its range is as if it were not there.

        :param now: the monotonic time.
        :param pace: the reader's requests a second.
        """
        data = data[:SIZE].ljust(SIZE, b"\0")
        found = cls()
        for values in _SLOT.iter_unpack(data[_SLOTS_AT:]):
            slot = Slot(*values)
            if not slot.pid:
                break
            if slot.is_sound and slot.seen <= now + _AHEAD_S:
                found.slots.append(slot)
        magic, next_turn, factor, since, taken = _HEADER.unpack_from(data)
        if magic != MAGIC:
            return found
        longest_s = found.longest_wait_s(pace)
        if next_turn <= now + longest_s:
            found.next_turn = next_turn
        if LEAST_FACTOR <= factor <= 1 and since <= now + _AHEAD_S:
            found.factor, found.since = factor, since
        if taken <= _MOST_TURNS:
            latest = now + longest_s + _LATE_S
            stamps = _STAMPS.unpack_from(data, _STAMPS_AT)
            found.taken, found.stamps = taken, [t if t <= latest else _NEVER for t in stamps]
        return found

    def longest_wait_s(self, pace: float) -> float:
        """Return the longest that a turn may be ahead: twenty turns of each process at full pace.

        A next turn that is further ahead is of another boot, or made up.
        """
        pace = max([pace, *(slot.pace for slot in self.slots)])
        return 2.0 + (len(self.slots) + 2) / (pace * LEAST_FACTOR)

    def written(self) -> bytes:
        """Return what is to stand in the file."""
        slots = b"".join(
            _SLOT.pack(
                slot.pid,
                slot.namespace,
                slot.seen,
                slot.waits,
                slot.unconfirmed,
                slot.wanted,
                slot.pace,
                slot.share,
            )
            for slot in self.slots[:PROCESSES]
        )
        header = _HEADER.pack(MAGIC, self.next_turn, self.factor, self.since, self.taken)
        data = header.ljust(_STAMPS_AT, b"\0") + _STAMPS.pack(*self.stamps) + slots
        return data.ljust(SIZE, b"\0")


def state_path() -> str:
    """Return the path of the folder of this user's files, there or not.

    :raises Unusable: there is no temporary folder.
    """
    try:
        return os.path.join(tempfile.gettempdir(), f"tiw-automation-{os.geteuid()}")
    except OSError as error:
        raise Unusable(error.strerror or str(error)) from None


def state_folder() -> str:
    """Return the folder of this user's files, made if need be, for nobody else to enter.

    :raises Unusable: it cannot be made, or is not this user's own.
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
    """One file of the folder.

    :param name: its name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._file = -1

    @property
    def path(self) -> str:
        """Where it is.

        :raises Unusable: there is no temporary folder.
        """
        return os.path.join(state_path(), self.name)

    def make(self) -> None:
        """Make the file where it is missing.

        :raises Unusable: it cannot be made, or is not this user's own.
        """
        try:
            self._open(create=True)
        except OSError as error:
            raise Unusable(f"{self.name}: {error.strerror or error}") from None
        finally:
            self.abandon()

    @contextlib.contextmanager
    def change(
        self, now: float, pace: float, tries: int, *, create: bool = True
    ) -> Iterator[Contents]:
        """Give what the file holds, and write what has become of it.

        :param now: the monotonic time; infinity where it does not matter what lies ahead.
        :param pace: the reader's requests a second.
        :param tries: how often to try to lock it.
        :param create: whether to make it where it is missing.
        :raises Held: another process holds it.
        :raises Unusable: it cannot be made, read or written, or is not this user's own.
        """
        try:
            self._lock(tries, create)
            before = os.pread(self._file, SIZE, 0)
            contents = Contents.read(before, now, pace)
            yield contents
            after = contents.written()
            if after != before and os.pwrite(self._file, after, 0) < SIZE:
                raise Unusable(f"{self.path}: it cannot be written whole")
        except OSError as error:
            raise Unusable(f"{self.name}: {error.strerror or error}") from None
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Unlock and close it."""
        file, self._file = self._file, -1
        if file < 0:
            return
        with contextlib.suppress(OSError):
            # A child that was forked meanwhile holds the same lock.
            fcntl.flock(file, fcntl.LOCK_UN)
        with contextlib.suppress(OSError):
            os.close(file)

    def abandon(self) -> None:
        """Close it and nothing else: in a forked child the lock is the parent's."""
        file, self._file = self._file, -1
        if file >= 0:
            with contextlib.suppress(OSError):
                os.close(file)

    def _lock(self, tries: int, create: bool) -> None:
        self._open(create)
        for _ in range(tries):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_S)
                continue
            if os.fstat(self._file).st_nlink:
                return
            # It was swept away between the two.
            self.let_go()
            self._open(create)
        raise Held

    def _open(self, create: bool) -> None:
        if create:
            state_folder()
        flags = _OPENED | (os.O_CREAT if create else 0)
        self._file = os.open(self.path, flags, 0o600)
        found = os.fstat(self._file)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise Unusable(f"{self.path} is not a file of this user")


def remove_unless(path: str, is_used: Callable[[Slot], bool]) -> None:
    """Remove a file unless a process in it is in use.

    :raises OSError: it cannot be opened, or another process holds it.
    """
    file = os.open(path, _OPENED)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        contents = Contents.read(os.pread(file, SIZE, 0), math.inf, 1.0)
        if not any(map(is_used, contents.slots)):
            os.unlink(path)
    finally:
        os.close(file)
