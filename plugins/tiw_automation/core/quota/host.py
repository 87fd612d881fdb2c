# SPDX-License-Identifier: Apache-2.0
"""One pace for all processes of a user on this host, kept in a small file.

Ansible's forks, Airflow's workers and triggerers are separate processes, and Tencent counts
their requests together. Each request takes its slot from the file. So they keep to one pace
together, even if one of them ends or crashes; and each learns from the file which part of the pace
it may use (:func:`parts`). :class:`HostPace` changes the file; :class:`HostShare` is what one
:class:`~tiw_automation.core.quota.quota.Quota` knows of it, and what it does without it.

The times in the file are those of the monotonic clock, which all processes of a host share and
which restarts with each boot.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tiw_automation.core.quota.pace import (
    GUARD_S,
    LATEST_S,
    SAME_S,
    Pace,
    RoundTrips,
    lowered,
    recovered,
    window_opens,
)
from tiw_automation.core.quota.pace_file import (
    MOST_PACE,
    MOST_WAITS,
    PROCESSES,
    STAMPS,
    UNUSED_AFTER_S,
    Contents,
    Held,
    PaceFile,
    ProcessRow,
    Unusable,
    remove_unused,
)
from tiw_automation.core.retry import doubled

logger = logging.getLogger(__name__)

# A process that took no slot for this long gets no part of the pace.
_QUIET_S = 5.0
# The least part of a process with few waits.
_LEAST_PART = 0.05
SMALL_PART = 0.1
"""The part of the pace for unconfirmed recordings while waits are due."""
# The file is locked for microseconds; a process that holds it for longer was stopped meanwhile.
_LOCK_TRIES = 20
# A process that takes a slot tries again, and its event loop must not block.
_LOCK_TRIES_FOR_A_SLOT = 3

# How long a process waits for a held file: its holder may wait for a processor. After this many
# slots in a row without the file, the process leaves it alone.
_BUSY_S = 1.0
_PATIENCE = 50
# For how long an unusable file is left alone: at first, and at most.
_ALONE_S = 30.0
_ALONE_MOST_S = 1800.0
# How many requests may wait for their answers; where there are more, the answers are late or lost.
_UNDER_WAY = 64


@dataclass(frozen=True, slots=True)
class Demand:
    """What a process waits for.

    :param waits: how many recordings that a caller waits for.
    :param unconfirmed: how many others.
    :param wanted: how many requests a second the waits would use.
    """

    waits: int = 0
    unconfirmed: int = 0
    wanted: float = math.inf


@dataclass(frozen=True, slots=True)
class Part:
    """What a process may use of the pace of its host, each from 0 to 1.

    :param waits: for recordings that a caller waits for.
    :param unconfirmed: for the others.
    """

    waits: float
    unconfirmed: float

    @property
    def whole(self) -> float:
        """Both together."""
        return self.waits + self.unconfirmed


def parts(processes: Sequence[ProcessRow], pace: float) -> list[Part]:
    """Divide the pace of a host among its processes.

    In this order, and never more for a process than its own pace (its quota share):

    1. its waits, in proportion to their number, up to the requests a second that they would use.
       Where there are unconfirmed recordings a tenth is reserved for them, of the whole and of
       what their process may have, or less if they are fewer than would use it at a request a
       second each;
    2. the unconfirmed recordings, in proportion to their number, from all that is left;
    3. the waits again, from what is left then: a process may use what another one leaves.

    :param pace: the largest of the processes' paces.
    """
    waits = [row.waits for row in processes]
    unconfirmed = [row.unconfirmed for row in processes]
    most = [min(row.pace / pace, 1.0) for row in processes]
    used = [
        min(limit - min(SMALL_PART * limit, row.unconfirmed / pace), row.wanted / pace)
        for row, limit in zip(processes, most, strict=True)
    ]
    kept = min(SMALL_PART, sum(unconfirmed) / pace)
    first = _divided(1.0 - kept, waits, used)
    left = [limit - part for limit, part in zip(most, first, strict=True)]
    small = _divided(1.0 - sum(first), unconfirmed, left)
    left = [limit - part for limit, part in zip(left, small, strict=True)]
    rest = _divided(1.0 - sum(first) - sum(small), waits, left)
    return [Part(a + b, c) for a, b, c in zip(first, rest, small, strict=True)]


def _divided(amount: float, weights: Sequence[float], most: Sequence[float]) -> list[float]:
    """Divide an amount in proportion to weights; what exceeds one's limit goes to the others."""
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
class HostSlot:
    """A slot of the host, and what its processes wanted when it was taken.

    :param time: when its request may leave.
    :param pace: the requests a second of the whole host.
    :param part: this process's part of the pace.
    :param unconfirmed: how much of that part is for unconfirmed recordings.
    :param processes: how many share the pace.
    :param shares: the sum of their quota shares below 1.
    :param others_wait: whether other processes have waits.
    :param number: how many slots were taken before it.
    """

    time: float
    pace: float
    part: float
    unconfirmed: float
    processes: int
    shares: float
    others_wait: bool
    number: int


class HostPace:
    """The pace of one account, host name and action on this machine.

    The file is open only during a call; a file that is unusable now may be usable later.

    :param checked: whether to make the file at once.
    :raises Unusable: it was to be made, and cannot be, or does not belong to this user.
    """

    def __init__(self, identity: str, host: str, action: str, *, checked: bool = True) -> None:
        # The account's name is not written anywhere. Versions with another layout use other files.
        name = hashlib.sha256("\0".join(("2", identity, host, action)).encode()).hexdigest()[:32]
        self._file = PaceFile(f"{name}.pace")
        self._pid = os.getpid()
        self._namespace = _pid_namespace()
        self._pace = 1.0
        if checked:
            self._file.make()
        remove_unused(self._in_use, keep=self._file.name)

    @property
    def path(self) -> str:
        """Where the file is.

        :raises Unusable: there is no temporary folder.
        """
        return self._file.path

    def close(self) -> None:
        """Give up this process's part."""
        with (
            contextlib.suppress(Held, Unusable),
            self._file.change(math.inf, self._pace, _LOCK_TRIES, create=False) as contents,
        ):
            contents.rows = [row for row in contents.rows if not self._is_mine(row)]

    def abandon(self) -> None:
        """Close the file without changing it."""
        self._file.abandon()

    def take(
        self,
        now: float,
        pace: Pace,
        demand: Demand,
        spread_s: float = 0.0,
        arrived: Sequence[tuple[HostSlot, float]] = (),
    ) -> HostSlot:
        """Take the host's next slot.

        :param now: the monotonic time.
        :param pace: this process's own.
        :param demand: what this process waits for; a process that waits for nothing counts as one
            that waits for one recording.
        :param spread_s: by how much the request may arrive late, until :meth:`arrived` is called.
        :param arrived: earlier slots, each with the arguments of :meth:`arrived`.
        :raises Held: another process holds the file.
        :raises Unusable: the file cannot be used.
        """
        self._pace = pace.rate
        with self._file.change(now, pace.rate, _LOCK_TRIES_FOR_A_SLOT) as contents:
            for earlier, late_s in arrived:
                _note_arrival(contents, earlier, late_s)
            active = self._enter(contents, self._row(now, pace, demand))
            return _taken(contents, active, pace.allowed, spread_s)

    def arrived(self, slot: HostSlot, late_s: float) -> bool:
        """Note by how much the request of a slot arrived late, at most; ``-inf`` if it never left.

        :returns: whether it was noted; another process may hold the file.
        """
        try:
            with self._file.change(math.inf, self._pace, _LOCK_TRIES) as contents:
                _note_arrival(contents, slot, late_s)
        except (Held, Unusable):
            return False
        return True

    def release(self, slot: HostSlot) -> None:
        """Return a slot that was not used, if no later one was taken."""
        with (
            contextlib.suppress(Held, Unusable),
            self._file.change(math.inf, self._pace, _LOCK_TRIES) as contents,
        ):
            if contents.taken and contents.next_slot == slot.time + 1.0 / slot.pace:
                contents.next_slot = slot.time
                contents.taken -= 1

    def rejected(self, now: float) -> bool:
        """Lower the host's pace: the server has refused a request.

        :returns: whether it was lowered; another process may hold the file.
        """
        try:
            with self._file.change(now, self._pace, _LOCK_TRIES) as contents:
                contents.factor, contents.since = lowered(contents.factor, contents.since, now)
        except (Held, Unusable):
            return False
        return True

    def _row(self, now: float, pace: Pace, demand: Demand) -> ProcessRow:
        waits = demand.waits or (0 if demand.unconfirmed else 1)
        return ProcessRow(
            pid=self._pid,
            namespace=self._namespace,
            seen=now,
            waits=min(float(waits), MOST_WAITS),
            unconfirmed=min(float(demand.unconfirmed), MOST_WAITS),
            wanted=min(demand.wanted, MOST_PACE),
            pace=pace.rate,
            share=pace.share,
        )

    def _in_use(self, row: ProcessRow) -> bool:
        if row.namespace == self._namespace:
            return _alive(row.pid)
        return 0 <= time.monotonic() - row.seen < UNUSED_AFTER_S

    def _is_mine(self, row: ProcessRow) -> bool:
        return row.pid == self._pid and row.namespace == self._namespace

    def _enter(self, contents: Contents, mine: ProcessRow) -> list[ProcessRow]:
        """Write this process's row, without dead ones; return those that share the pace."""
        others = [
            row
            for row in contents.rows
            if not self._is_mine(row) and (row.namespace != self._namespace or _alive(row.pid))
        ]
        active = [mine, *[row for row in others if mine.seen - row.seen <= _QUIET_S]]
        if len(others) >= PROCESSES:
            # The one that took no slot for the longest time leaves its row.
            others.remove(min(others, key=lambda row: row.seen))
        contents.rows = [*others, mine]
        return active


def _taken(
    contents: Contents, active: Sequence[ProcessRow], allowed: int, spread_s: float
) -> HostSlot:
    """Take the next slot of the file.

    :param active: the processes that share the pace, this one first.
    :param allowed: how many requests may arrive within a second at its own pace.
    """
    mine, *others = active
    now, number = mine.seen, contents.taken
    fastest = max(row.pace for row in active)
    limit = max(allowed, round(allowed * fastest / mine.pace))
    pace = fastest * recovered(contents.factor, contents.since, now)
    time = max(now, contents.next_slot)
    if limit <= min(number, STAMPS):
        time = max(time, window_opens(contents.stamps[:number], limit))
    contents.stamps[number % STAMPS] = time + spread_s
    contents.next_slot = time + 1.0 / pace
    contents.taken = number + 1
    part = parts(active, fastest)[0]
    least = min(_LEAST_PART, mine.pace / fastest) if mine.waits else 0.0
    return HostSlot(
        time=time,
        pace=pace,
        part=max(part.whole, least),
        unconfirmed=part.unconfirmed,
        processes=len(active),
        shares=sum(row.share for row in active if row.share < 1.0),
        others_wait=any(row.waits for row in others),
        number=number,
    )


def _note_arrival(contents: Contents, slot: HostSlot, late_s: float) -> None:
    if slot.number < contents.taken <= slot.number + STAMPS:
        contents.stamps[slot.number % STAMPS] = slot.time + late_s


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _pid_namespace() -> int:
    # In a container that shares the folder, process ids differ from those outside.
    try:
        return os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return 0


class HostShare:
    """What one quota uses of its host's pace; a quota without a host uses nothing of it.

    It does not protect itself: its quota's lock is held during each call.

    :param round_trips: of the quota's requests.
    """

    def __init__(self, host: HostPace | None, round_trips: RoundTrips) -> None:
        self._host = host
        self._round_trips = round_trips
        self.latest: HostSlot | None = None
        # Slots whose requests have no answer yet, by their times.
        self._under_way: dict[float, HostSlot] = {}
        # Slots whose arrivals could not be written to the file, each with how late it was.
        self._unreported: list[tuple[HostSlot, float]] = []
        self._alone_until = -math.inf
        self._times_alone = 0
        self._slots_without = 0
        self._busy_since: float | None = None
        self._shares_checked = False

    def is_used(self, now: float) -> bool:
        """Return whether slots come from the host's file now."""
        return self._host is not None and now >= self._alone_until

    def take(self, slot: float, now: float, pace: Pace, demand: Demand) -> float | None:
        """Take the host's next slot, not before ``slot``, and return its time.

        None means that this request leaves without the file. Call it only while
        :meth:`is_used`.

        :raises Held: the file may be usable soon: try again.
        """
        assert self._host is not None
        try:
            taken = self._host.take(
                slot,
                pace,
                demand,
                self._round_trips.spread_s + GUARD_S,
                [*self._overdue(now), *self._unreported],
            )
        except (Held, Unusable) as error:
            self._failed(error, now)
            return None
        self._slots_without, self._busy_since, self._times_alone = 0, None, 0
        self._unreported.clear()
        self.latest = taken
        if len(self._under_way) >= _UNDER_WAY:
            del self._under_way[next(iter(self._under_way))]
        self._under_way[taken.time] = taken
        self._check_shares(taken, pace)
        return taken.time

    def answered(self, slot: float, late_s: float, assumed_s: float) -> bool:
        """Note by how much the request of a slot may have arrived late, if the slot is the host's.

        :param assumed_s: by how much it counts as late so far.
        :returns: whether it is.
        """
        taken = self._under_way.pop(slot, None)
        if taken is not None and abs(late_s - assumed_s) > SAME_S:
            self._report(taken, late_s + GUARD_S)
        return taken is not None

    def remove(self, slot: float) -> None:
        """Note that the request of a slot never left."""
        taken = self._under_way.pop(slot, None)
        if taken is not None:
            self._report(taken, -math.inf)

    def release(self, slot: float) -> bool:
        """Return a slot that was not used; return whether it is the host's."""
        taken = self._under_way.pop(slot, None)
        if self._host is None or taken is None:
            return False
        self._host.release(taken)
        return True

    def rejected(self, now: float) -> bool:
        """Lower the host's pace; return whether it was lowered."""
        return self._host is not None and self.is_used(now) and self._host.rejected(now)

    def close(self) -> None:
        """Leave the host's file; the next slot enters it again."""
        if self._host is not None:
            self._host.close()

    def abandon(self) -> None:
        """Stop using the host's file, in a forked child where it belongs to the parent."""
        if self._host is not None:
            self._host.abandon()
            self._host = None

    def _report(self, slot: HostSlot, late_s: float) -> None:
        if self._host is not None and not self._host.arrived(slot, late_s):
            self._unreported.append((slot, late_s))

    def _overdue(self, now: float) -> list[tuple[HostSlot, float]]:
        """Return the slots whose answers are overdue, each with how late it counts by now.

        The last report of a slot is that it is as late as possible: it moves to the unreported
        ones, which stay until they are written to the file.
        """
        found = []
        for slot in list(self._under_way.values()):
            late_s = self._round_trips.overdue_s(now - slot.time)
            if late_s > self._round_trips.spread_s + SAME_S:
                if late_s >= LATEST_S:
                    del self._under_way[slot.time]
                    self._unreported.append((slot, late_s + GUARD_S))
                else:
                    found.append((slot, late_s + GUARD_S))
        return found

    def _failed(self, error: Held | Unusable, now: float) -> None:
        """Go on without the file: for one slot, or for some time.

        :raises Held: it is worth waiting for.
        """
        if self._busy_since is None:
            self._busy_since = now
        is_new = isinstance(error, Held) or not self._times_alone
        if is_new and now - self._busy_since < _BUSY_S:
            raise Held from error
        self._slots_without += 1
        if isinstance(error, Unusable):
            self._leave_alone(str(error), now)
        elif self._slots_without >= _PATIENCE:
            self._leave_alone("its file is held by a process that does not continue", now)

    def _leave_alone(self, reason: str, now: float) -> None:
        """Leave the host's file alone for a while, longer each time."""
        _warn_once(reason)
        self._alone_until = now + doubled(_ALONE_S, self._times_alone, _ALONE_MOST_S)
        self._times_alone += 1
        self._slots_without, self._busy_since = 0, None
        self.latest = None
        self._under_way.clear()
        self._unreported.clear()

    def _check_shares(self, slot: HostSlot, pace: Pace) -> None:
        if slot.shares > 1.0 + 1e-9 and pace.share < 1.0 and not self._shares_checked:
            self._shares_checked = True
            logger.warning(
                "quota_share (TIW_QUOTA_SHARE) of the %d processes of this host adds up to "
                "%g, more than 1. Together they use the largest one; give each host its own share.",
                slot.processes,
                slot.shares,
            )


_warned: set[str] = set()


def _warn_once(reason: str) -> None:
    if not _warned:
        _warned.add(reason)
        logger.warning(
            "The pace is not shared with other processes of this host: %s. This process uses all "
            "of requests_per_second x quota_share (TIW_QUOTA_SHARE).",
            reason,
        )


os.register_at_fork(after_in_child=_warned.clear)
