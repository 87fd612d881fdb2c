# SPDX-License-Identifier: Apache-2.0
"""One pace for all processes of a user on this host, kept in a small file.

Ansible's forks, Airflow's workers and triggerers each have a process of their own, and Tencent
counts them together. Every request takes its turn from the file, so that together they keep to
one pace whatever becomes of any of them; and each process learns there which part of the pace is
its own: that of its waits among all waits.

The times in the file are those of the monotonic clock, which all processes of a host share and
which begins anew with a boot.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import mmap
import os
import stat
import struct
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

logger = logging.getLogger(__name__)

_MAGIC = b"tiwpace1"
_PROCESSES = 128
_STAMPS = 256
# magic, next turn, factor, factor since, stamps taken
_HEADER = struct.Struct("=8sdddQ")
_STAMP = struct.Struct("=d")
_ALL_STAMPS = struct.Struct(f"={_STAMPS}d")
# process, its pid namespace, last seen, waits, pace, share
_SLOT = struct.Struct("=qQdddd")
_STAMPS_AT = 64
_SLOTS_AT = _STAMPS_AT + _STAMPS * _STAMP.size
_SIZE = _SLOTS_AT + _PROCESSES * _SLOT.size

# A process that took no turn for this long has no use for its part just now.
_QUIET_S = 5.0
# Whoever has few waits among many still gets on.
_LEAST_PART = 0.05
# A file that was not written for this long, by processes that are all dead, is swept away.
_SWEPT_AFTER_S = 3600.0
_SWEPT_AT_ONCE = 100
# The file is locked for microseconds; who holds it for longer was stopped while it did.
_LOCK_TRIES = 20
_LOCK_PAUSE_S = 0.0002
# Whoever takes a turn comes again, and may be an event loop.
_LOCK_TRIES_FOR_A_TURN = 3


class Unusable(Exception):
    """The file cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the host: when, and what is known of the others since.

    ``part`` is this process's part of ``pace``, the requests a second of the whole host.
    ``processes`` is how many share it, ``shares`` what their quota shares add up to, ``number`` how
    many turns there were before it.
    """

    time: float
    pace: float
    part: float
    processes: int
    shares: float
    number: int


def state_folder() -> str:
    """Return the folder of this user's files, made if need be, for nobody else to enter.

    :raises Unusable: it cannot be made, or is not this user's own.
    """
    path = os.path.join(tempfile.gettempdir(), f"tiw-automation-{os.geteuid()}")
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    except OSError as error:
        raise Unusable(f"{path}: {error.strerror}") from None
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise Unusable(f"{path} is not a folder")
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise Unusable(f"{path} is open to other users")
    return path


class HostPace:
    """The pace of one account, host name and action on this machine.

    :raises Unusable: the file cannot be opened, or is not this user's own.
    """

    def __init__(self, identity: str, host: str, action: str) -> None:
        # No name of an account is written anywhere.
        name = hashlib.sha256("\0".join((identity, host, action)).encode()).hexdigest()[:32]
        self.path = os.path.join(state_folder(), f"{name}.pace")
        self._open()
        self._pid = os.getpid()
        self._namespace = _pid_namespace()
        self._sweep()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._file = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise Unusable(f"{self.path}: {error.strerror}") from None
        try:
            found = os.fstat(self._file)
            if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
                raise Unusable(f"{self.path} is not a file of this user")
            if found.st_size < _SIZE:
                os.ftruncate(self._file, _SIZE)
            self._map = mmap.mmap(self._file, _SIZE)
        except (Unusable, OSError, ValueError) as error:
            os.close(self._file)
            self._file = -1
            if isinstance(error, Unusable):
                raise
            raise Unusable(f"{self.path}: {error}") from None

    def _sweep(self) -> None:
        """Remove the files of accounts that nobody on this host uses any more."""
        with contextlib.suppress(OSError), os.scandir(os.path.dirname(self.path)) as entries:
            for entry in islice(entries, _SWEPT_AT_ONCE):
                if entry.name.endswith(".pace") and entry.path != self.path:
                    self._remove_if_left(entry.path)

    def _remove_if_left(self, path: str) -> None:
        with contextlib.suppress(OSError):
            if time.time() - os.lstat(path).st_mtime < _SWEPT_AFTER_S:
                return
            file = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                slots = os.pread(file, _SIZE, 0)[_SLOTS_AT:]
                if not any(map(self._in_use, _SLOT.iter_unpack(slots))):
                    os.unlink(path)
            except struct.error:
                os.unlink(path)
            finally:
                os.close(file)

    def _in_use(self, slot: tuple[Any, ...]) -> bool:
        pid, namespace, seen = slot[:3]
        if not pid:
            return False
        if namespace == self._namespace:
            return _alive(pid)
        return bool(0 <= time.monotonic() - seen < _SWEPT_AFTER_S)

    def close(self) -> None:
        """Give up this process's part."""
        if self._lock():
            try:
                for number, slot in self._slots():
                    if slot[0] == self._pid and slot[1] == self._namespace:
                        self._free(number)
            finally:
                self._unlock()
        self._map.close()
        if self._file >= 0:
            os.close(self._file)

    def abandon(self) -> None:
        """Close the file without a change to it."""
        if self._file >= 0:
            os.close(self._file)

    def take(
        self,
        now: float,
        *,
        pace: float,
        share: float,
        limit: int,
        spread_s: float,
        waits: int,
        arrived: Sequence[tuple[Turn, float]] = (),
    ) -> Turn | None:
        """Take the host's next turn, or return None if somebody holds the file.

        :param now: the monotonic time; what is within the tolerance of it counts as due.
        :param pace: this process's own requests a second.
        :param limit: how many requests may arrive within a second at that pace.
        :param spread_s: by how much the request may arrive late, until :meth:`arrived` says so.
        :param waits: how many recordings this process waits for.
        :param arrived: what :meth:`arrived` is to be told before, of other turns.
        """
        if not self._lock(_LOCK_TRIES_FOR_A_TURN):
            return None
        try:
            for turn_before, late_s in arrived:
                self._note_arrival(turn_before, late_s)
            others, total, fastest, shares = self._others(now)
            mine = max(float(waits), 1.0)
            self._register(now, mine, pace, share)
            fastest = max(fastest, pace)
            limit = max(limit, round(limit * fastest / pace))
            next_turn, factor, since, taken = self._header(now, fastest, others)
            fastest *= recovered(factor, since, now)
            turn = max(now, next_turn)
            if limit <= min(taken, _STAMPS):
                turn = max(turn, window_opens(self._stamps(taken), limit))
            self._put_stamp(taken, turn + spread_s)
            interval = 1.0 / fastest
            _HEADER.pack_into(self._map, 0, _MAGIC, turn + interval, factor, since, taken + 1)
            total += mine
            part = max(mine / total, _LEAST_PART) if others else 1.0
            return Turn(turn, fastest, part, others + 1, shares + share, taken)
        finally:
            self._unlock()

    def arrived(self, turn: Turn, late_s: float) -> bool:
        """Say by how much the request of a turn arrived late, at most; ``-inf`` if it never left.

        :returns: whether it could be said; somebody may hold the file.
        """
        if not self._lock():
            return False
        try:
            self._note_arrival(turn, late_s)
            return True
        finally:
            self._unlock()

    def _note_arrival(self, turn: Turn, late_s: float) -> None:
        magic, _, _, _, taken = _HEADER.unpack_from(self._map, 0)
        if magic == _MAGIC and turn.number < taken <= turn.number + _STAMPS:
            self._put_stamp(turn.number, turn.time + late_s)

    def give_back(self, turn: Turn) -> None:
        """Return a turn that was not used, if nobody has taken a later one."""
        if not self._lock():
            return
        try:
            magic, next_turn, factor, since, taken = _HEADER.unpack_from(self._map, 0)
            if magic == _MAGIC and taken and next_turn == turn.time + 1.0 / turn.pace:
                _HEADER.pack_into(self._map, 0, _MAGIC, turn.time, factor, since, taken - 1)
        finally:
            self._unlock()

    def rejected(self, now: float) -> None:
        """Lower the host's pace: the server has refused a request."""
        if not self._lock():
            return
        try:
            magic, next_turn, factor, since, taken = _HEADER.unpack_from(self._map, 0)
            if magic == _MAGIC:
                factor, since = lowered(factor, since, now)
                _HEADER.pack_into(self._map, 0, _MAGIC, next_turn, factor, since, taken)
        finally:
            self._unlock()

    def _header(self, now: float, pace: float, others: int) -> tuple[float, float, float, int]:
        magic, next_turn, factor, since, taken = _HEADER.unpack_from(self._map, 0)
        # No turn is further ahead than one for each process: this one is of another boot.
        stale = next_turn > now + 2.0 + (others + 2) / (pace * LEAST_FACTOR)
        sound = magic == _MAGIC and 0 < factor <= 1
        if not sound or stale or since > now + 2.0:
            return float("-inf"), 1.0, float("-inf"), 0
        return next_turn, factor, since, taken

    def _stamps(self, taken: int) -> tuple[float, ...]:
        """Return when the latest requests arrived at the latest."""
        return _ALL_STAMPS.unpack_from(self._map, _STAMPS_AT)[: min(taken, _STAMPS)]

    def _put_stamp(self, number: int, time: float) -> None:
        _STAMP.pack_into(self._map, _STAMPS_AT + number % _STAMPS * _STAMP.size, time)

    def _slots(self) -> list[tuple[int, tuple[int, int, float, float, float, float]]]:
        found = []
        for number in range(_PROCESSES):
            slot = _SLOT.unpack_from(self._map, _SLOTS_AT + number * _SLOT.size)
            if not slot[0]:
                break
            found.append((number, slot))
        return found

    def _others(self, now: float) -> tuple[int, float, float, float]:
        """Return the other processes' number, waits, fastest pace and shares; bury the dead."""
        count, waits, fastest, shares = 0, 0.0, 0.0, 0.0
        for number, slot in reversed(self._slots()):
            pid, namespace, seen, slot_waits, pace, share = slot
            if pid == self._pid and namespace == self._namespace:
                continue
            if seen > now + 2.0 or (namespace == self._namespace and not _alive(pid)):
                self._free(number)
            elif now - seen <= _QUIET_S:
                count += 1
                waits += slot_waits
                fastest = max(fastest, pace)
                shares += share
        return count, waits, fastest, shares

    def _register(self, now: float, waits: float, pace: float, share: float) -> None:
        slots = self._slots()
        number = len(slots)
        for found, slot in slots:
            if slot[0] == self._pid and slot[1] == self._namespace:
                number = found
                break
        if number == _PROCESSES:
            # The longest quiet one makes room.
            number = min(slots, key=lambda item: item[1][2])[0]
        entry = (self._pid, self._namespace, now, waits, pace, share)
        _SLOT.pack_into(self._map, _SLOTS_AT + number * _SLOT.size, *entry)

    def _free(self, number: int) -> None:
        # The last one moves into the gap, so that the slots in use are always the first.
        last = len(self._slots()) - 1
        entry = _SLOT.unpack_from(self._map, _SLOTS_AT + last * _SLOT.size)
        _SLOT.pack_into(self._map, _SLOTS_AT + number * _SLOT.size, *entry)
        _SLOT.pack_into(self._map, _SLOTS_AT + last * _SLOT.size, 0, 0, 0.0, 0.0, 0.0, 0.0)

    def _lock(self, tries: int = _LOCK_TRIES) -> bool:
        for _ in range(tries):
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(self._file).st_nlink:
                    return True
                self._open_anew()
            except BlockingIOError:
                time.sleep(_LOCK_PAUSE_S)
            except (Unusable, OSError, ValueError):
                return False
        return False

    def _open_anew(self) -> None:
        """Open another file where this one was swept away, by another process or with the folder.

        :raises Unusable: there is none to be had; the next lock fails as well.
        """
        self._map.close()
        file, self._file = self._file, -1
        os.close(file)
        state_folder()
        self._open()

    def _unlock(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)


LEAST_FACTOR = 0.05
# What one refusal takes when the pace was full, and the next one before it is full again: a lone
# one may have been bad luck, several mean that others use the account.
_LOWERED_ONCE = 0.9
_LOWERED_AGAIN = 0.7
# 0.1 requests a second, each second, at 19 requests a second.
_RECOVERED_A_SECOND = 0.1 / 19.0


def window_opens(arrived: Sequence[float], allowed: int) -> float:
    """Return from when on a request may leave so that it is not one too many within a second.

    They need not arrive in the order in which they left, so the latest ones count.

    :param arrived: when the requests before it arrived at the latest; as many as are allowed, or
        more.
    """
    return sorted(arrived)[-allowed] + 1.0


def lowered(factor: float, since: float, now: float) -> tuple[float, float]:
    """Return the factor of a pace after a refusal, and since when it holds.

    What was sent before the last refusal came cannot have known of it, so a second of refusals
    counts as one.
    """
    if now - since < 1.0:
        return factor, since
    factor = recovered(factor, since, now)
    return max(factor * (_LOWERED_ONCE if factor == 1.0 else _LOWERED_AGAIN), LEAST_FACTOR), now


def recovered(factor: float, since: float, now: float) -> float:
    """Return the factor of a pace some time after it was lowered: it grows steadily."""
    if factor >= 1.0:
        return 1.0
    return min(factor + max(now - since, 0.0) * _RECOVERED_A_SECOND, 1.0)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _pid_namespace() -> int:
    # In a container that shares the folder, the numbers of processes are its own.
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0
