# SPDX-License-Identifier: Apache-2.0
"""One pace for all processes of a user on this host, kept in a small file.

Ansible's forks, Airflow's workers and triggerers each have a process of their own, and Tencent
counts them together. Every request takes its turn from the file, so that together they keep to
one pace whatever becomes of any of them; and each process learns there which part of the pace is
its own. :func:`parts` has the rule.

The times in the file are those of the monotonic clock, which all processes of a host share and
which begins anew with a boot.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from tiw_automation.core.quota.pace_file import (
    LEAST_FACTOR,
    MOST_PACE,
    MOST_WAITS,
    PROCESSES,
    STAMPS,
    Contents,
    Held,
    PaceFile,
    Slot,
    Unusable,
    remove_unless,
    state_path,
)

# A process that took no turn for this long has no use for its part just now.
_QUIET_S = 5.0
# A process with few waits among many still gets on.
_LEAST_PART = 0.05
SMALL_PART = 0.1
"""The part of the pace for recordings that no caller knows of, while others are due."""
# A file that was not written for this long, by processes that are all dead, is swept away.
_SWEPT_AFTER_S = 3600.0
_SWEPT_AT_ONCE = 100
# The file is locked for microseconds; who holds it for longer was stopped while it did.
_LOCK_TRIES = 20
# A process that takes a turn tries again, and may be an event loop.
_LOCK_TRIES_FOR_A_TURN = 3


@dataclass(frozen=True, slots=True)
class Part:
    """What a process may take of the pace of its host, each from 0 to 1.

    :param waits: for the recordings that some caller knows of.
    :param unconfirmed: for the others.
    """

    waits: float
    unconfirmed: float

    @property
    def whole(self) -> float:
        """Both together."""
        return self.waits + self.unconfirmed


def parts(processes: Sequence[Slot], pace: float) -> list[Part]:
    """Divide the pace of a host among its processes.

    In this order, and never more for a process than its own pace (its quota share):

    1. its waits, in proportion to their number, up to the requests a second that they would use.
       Where there are unconfirmed recordings a tenth is kept back for them, of the whole and of
       what their process may have, or less if they are fewer than would use it at a request a
       second each;
    2. the unconfirmed recordings, in proportion to their number, from all that is left;
    3. what is left then, the waits again: whatever one leaves the others may use.

    :param pace: the largest of the processes' paces.
    """
    waits = [slot.waits for slot in processes]
    unconfirmed = [slot.unconfirmed for slot in processes]
    most = [min(slot.pace / pace, 1.0) for slot in processes]
    used = [
        min(limit - min(SMALL_PART * limit, slot.unconfirmed / pace), slot.wanted / pace)
        for slot, limit in zip(processes, most, strict=True)
    ]
    kept = min(SMALL_PART, sum(unconfirmed) / pace)
    first = _filled(1.0 - kept, waits, used)
    left = [limit - part for limit, part in zip(most, first, strict=True)]
    small = _filled(1.0 - sum(first), unconfirmed, left)
    left = [limit - part for limit, part in zip(left, small, strict=True)]
    rest = _filled(1.0 - sum(first) - sum(small), waits, left)
    return [Part(a + b, c) for a, b, c in zip(first, rest, small, strict=True)]


def _filled(amount: float, weights: Sequence[float], most: Sequence[float]) -> list[float]:
    """Divide an amount in proportion to weights; what is too much for one goes to the others."""
    found = [0.0] * len(weights)
    heavy = [number for number, weight in enumerate(weights) if weight > 0]
    weight_left = sum(weights[number] for number in heavy)
    for number in sorted(heavy, key=lambda number: most[number] / weights[number]):
        fair = max(amount, 0.0) * weights[number] / max(weight_left, weights[number])
        found[number] = max(min(fair, most[number]), 0.0)
        amount -= found[number]
        weight_left -= weights[number]
    return found


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the host: when, and what is known of the others since.

    ``part`` is this process's part of ``pace``, the requests a second of the whole host, and
    ``unconfirmed`` what of that part is for recordings that no caller knows of; ``others_wait`` is
    whether other processes have waits. ``processes`` is how many share the pace, ``shares`` what
    the quota shares below 1 among theirs add up to, ``number`` how many turns there were before it.
    """

    time: float
    pace: float
    part: float
    processes: int
    shares: float
    number: int
    unconfirmed: float = 0.0
    others_wait: bool = False


class HostPace:
    """The pace of one account, host name and action on this machine.

    Nothing is opened but for the time of a call; a file that cannot be used now may be later.

    :param checked: whether to make the file at once.
    :raises Unusable: it was to be made, and cannot be, or is not this user's own.
    """

    def __init__(self, identity: str, host: str, action: str, *, checked: bool = True) -> None:
        # No name of an account is written anywhere. Versions whose files differ do not share one.
        name = hashlib.sha256("\0".join(("2", identity, host, action)).encode()).hexdigest()[:32]
        self._file = PaceFile(f"{name}.pace")
        self._pid = os.getpid()
        self._namespace = _pid_namespace()
        self._pace = 1.0
        if checked:
            self._file.make()
        self._sweep()

    @property
    def path(self) -> str:
        """Where the file is.

        :raises Unusable: there is no temporary folder.
        """
        return self._file.path

    def _sweep(self) -> None:
        """Remove the files of accounts that nobody on this host uses any more."""
        with contextlib.suppress(OSError, Unusable), os.scandir(state_path()) as entries:
            for entry in islice(entries, _SWEPT_AT_ONCE):
                if entry.name.endswith(".pace") and entry.name != self._file.name:
                    self._remove_if_left(entry.path)

    def _remove_if_left(self, path: str) -> None:
        with contextlib.suppress(OSError):
            if time.time() - os.lstat(path).st_mtime >= _SWEPT_AFTER_S:
                remove_unless(path, self._in_use)

    def _in_use(self, slot: Slot) -> bool:
        if slot.namespace == self._namespace:
            return _alive(slot.pid)
        return 0 <= time.monotonic() - slot.seen < _SWEPT_AFTER_S

    def close(self) -> None:
        """Give up this process's part."""
        with (
            contextlib.suppress(Held, Unusable),
            self._file.change(math.inf, self._pace, _LOCK_TRIES, create=False) as contents,
        ):
            contents.slots = [slot for slot in contents.slots if not self._is_mine(slot)]

    def abandon(self) -> None:
        """Close the file without a change to it."""
        self._file.abandon()

    def take(
        self,
        now: float,
        *,
        pace: float,
        share: float,
        limit: int,
        spread_s: float,
        waits: int,
        unconfirmed: int = 0,
        wanted: float = MOST_PACE,
        arrived: Sequence[tuple[Turn, float]] = (),
    ) -> Turn | None:
        """Take the host's next turn, or return None if somebody holds the file.

        :param now: the monotonic time; what is within the tolerance of it counts as due.
        :param pace: this process's own requests a second.
        :param share: the quota share that is in it.
        :param limit: how many requests may arrive within a second at that pace.
        :param spread_s: by how much the request may arrive late, until :meth:`arrived` says so.
        :param waits: how many recordings this process waits for.
        :param unconfirmed: how many more that no caller knows of.
        :param wanted: how many requests a second the waits would use.
        :param arrived: what :meth:`arrived` is to be told before, of other turns.
        :raises Unusable: the file cannot be used.
        """
        self._pace = pace
        if not waits and not unconfirmed:
            # A turn is taken for something.
            waits = 1
        mine = Slot(
            pid=self._pid,
            namespace=self._namespace,
            seen=now,
            waits=min(float(waits), MOST_WAITS),
            unconfirmed=min(float(unconfirmed), MOST_WAITS),
            wanted=min(wanted, MOST_PACE),
            pace=pace,
            share=share,
        )
        try:
            with self._file.change(now, pace, _LOCK_TRIES_FOR_A_TURN) as contents:
                for turn_before, late_s in arrived:
                    _note_arrival(contents, turn_before, late_s)
                others = self._others(contents, now)
                self._register(contents, mine)
                return self._turn(contents, mine, others, limit, spread_s)
        except Held:
            return None

    def _turn(
        self, contents: Contents, mine: Slot, others: list[Slot], limit: int, spread_s: float
    ) -> Turn:
        now, taken = mine.seen, contents.taken
        fastest = max(slot.pace for slot in [mine, *others])
        limit = max(limit, round(limit * fastest / mine.pace))
        pace = fastest * recovered(contents.factor, contents.since, now)
        time = max(now, contents.next_turn)
        if limit <= min(taken, STAMPS):
            time = max(time, window_opens(contents.stamps[:taken], limit))
        contents.stamps[taken % STAMPS] = time + spread_s
        contents.next_turn = time + 1.0 / pace
        contents.taken = taken + 1
        part = parts([mine, *others], fastest)[0]
        least = min(_LEAST_PART, mine.pace / fastest) if mine.waits else 0.0
        return Turn(
            time,
            pace,
            max(part.whole, least),
            len(others) + 1,
            sum(slot.share for slot in [mine, *others] if slot.share < 1.0),
            taken,
            part.unconfirmed,
            any(slot.waits for slot in others),
        )

    def arrived(self, turn: Turn, late_s: float) -> bool:
        """Say by how much the request of a turn arrived late, at most; ``-inf`` if it never left.

        :returns: whether it could be said; somebody may hold the file.
        """
        try:
            with self._file.change(math.inf, self._pace, _LOCK_TRIES) as contents:
                _note_arrival(contents, turn, late_s)
        except (Held, Unusable):
            return False
        return True

    def release(self, turn: Turn) -> None:
        """Return a turn that was not used, if nobody has taken a later one."""
        with (
            contextlib.suppress(Held, Unusable),
            self._file.change(math.inf, self._pace, _LOCK_TRIES) as contents,
        ):
            if contents.taken and contents.next_turn == turn.time + 1.0 / turn.pace:
                contents.next_turn = turn.time
                contents.taken -= 1

    def rejected(self, now: float) -> bool:
        """Lower the host's pace: the server has refused a request.

        :returns: whether it could be lowered; somebody may hold the file.
        """
        try:
            with self._file.change(now, self._pace, _LOCK_TRIES) as contents:
                contents.factor, contents.since = lowered(contents.factor, contents.since, now)
        except (Held, Unusable):
            return False
        return True

    def _is_mine(self, slot: Slot) -> bool:
        return slot.pid == self._pid and slot.namespace == self._namespace

    def _others(self, contents: Contents, now: float) -> list[Slot]:
        """Return the other processes that take turns; bury the dead."""
        contents.slots = [
            slot
            for slot in contents.slots
            if self._is_mine(slot) or slot.namespace != self._namespace or _alive(slot.pid)
        ]
        return [
            slot
            for slot in contents.slots
            if not self._is_mine(slot) and now - slot.seen <= _QUIET_S
        ]

    def _register(self, contents: Contents, mine: Slot) -> None:
        others = [slot for slot in contents.slots if not self._is_mine(slot)]
        if len(others) >= PROCESSES:
            # The longest quiet one makes room.
            others.remove(min(others, key=lambda slot: slot.seen))
        contents.slots = [*others, mine]


def _note_arrival(contents: Contents, turn: Turn, late_s: float) -> None:
    if turn.number < contents.taken <= turn.number + STAMPS:
        contents.stamps[turn.number % STAMPS] = turn.time + late_s


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
