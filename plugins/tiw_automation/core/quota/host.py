# SPDX-License-Identifier: Apache-2.0
"""One pace for all processes of a user on this host, kept in a small file.

Ansible's forks, Airflow's workers and triggerers are separate processes, and Tencent counts
their requests together. Each request takes its slot from the file. So they keep to one pace
together, even if one of them ends or crashes; and each learns from the file which part of the pace
it may use (:func:`~tiw_automation.core.quota.parts.parts`).

An exchange with the file costs more than all else of a slot. So a process that takes slots
steadily, while no other one takes any, leases those of the next quarter of a second at once.

The times in the file are those of the monotonic clock, which all processes of a host share and
which restarts with each boot.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace

from tiw_automation.core.quota.pace import Pace, lowered, recovered, window_opens
from tiw_automation.core.quota.pace_file import (
    PROCESSES,
    STAMPS,
    UNUSED_AFTER_S,
    Contents,
    PaceFile,
    remove_unused,
)
from tiw_automation.core.quota.parts import (
    MOST_PACE,
    MOST_WAITS,
    QUIET_S,
    Demand,
    PartAlone,
    ProcessRow,
    SharedSlot,
    limit_of,
    slot_of,
)
from tiw_automation.core.quota.store import Held, Unusable

# The file is locked for microseconds; a process that holds it for longer was stopped meanwhile.
_LOCK_TRIES = 20
# A process that takes a slot tries again, and its event loop must not block.
_LOCK_TRIES_FOR_A_SLOT = 3
# How long a lease holds: another process that begins waits for its first slot as long at most.
_LEASE_S = 0.25
_LEASE_SLOTS = STAMPS // 4
# A process gets a lease where its slots follow each other within this time.
_STEADY_S = _LEASE_S / 2
# Where they follow each other within this time, an arrival that is not urgent waits for the next.
_SOON_S = 0.5
# A lease is renewed when less than this many times the time between two slots is left of it.
_GAPS = 1.5
# How much earlier than the pace asks for a slot of a lease may be, in times between two slots.
_EARLY = 0.9


class _Lease:
    """Slots that a process took at once, because no other one takes any.

    In the file, the next slot is at the end of the lease, and each request of the lease counts as
    one that leaves then. So it may leave at any time until then.

    :param first: its first slot.
    :param opens: the earliest time of each slot.
    :param end: when other processes may take slots.
    :param spread_s: by how much the requests may arrive late.
    """

    def __init__(
        self,
        first: SharedSlot | None = None,
        opens: Sequence[float] = (),
        end: float = -math.inf,
        spread_s: float = 0.0,
    ) -> None:
        self._first = first
        self._opens = opens
        self.used: list[SharedSlot] = []
        self.end = end
        self.spread_s = spread_s
        self.next_slot = first.time if first else -math.inf

    @property
    def latest(self) -> float:
        """When its requests have arrived, as far as other processes know."""
        return self.end + self.spread_s

    @property
    def left(self) -> range:
        """The numbers of the slots that are not used."""
        if self._first is None:
            return range(0)
        number = self._first.number
        return range(number + len(self.used), number + len(self._opens))

    def take(self, now: float) -> SharedSlot | None:
        """Return the next slot, not before ``now``; None if there is none within the lease."""
        if self._first is None or len(self.used) == len(self._opens):
            return None
        step_s = 1.0 / self._first.pace
        # A caller that keeps the pace does not wait for the lease's beat.
        is_early = now < self.next_slot - _EARLY * step_s
        time = max(self.next_slot if is_early else now, self._opens[len(self.used)])
        if time >= self.end:
            return None
        self.next_slot = max(time, self.next_slot) + step_s
        self.used.append(replace(self._first, time=time, number=self.left[0]))
        return self.used[-1]

    def release(self, slot: SharedSlot) -> bool:
        """Take back a slot; return whether it is the latest one of the lease."""
        if not self.used or self.used[-1] is not slot:
            return False
        self.used.pop()
        self.next_slot = slot.time
        return True

    def is_over(self, gap_s: float) -> bool:
        """Return whether it was used, and has no slot for the next request.

        :param gap_s: how soon the next one is expected.
        """
        return bool(self.used) and not (self.left and self.used[-1].time + gap_s < self.end)


class HostPace:
    """The pace of one account, host name and action on this machine.

    A file that is unusable now may be usable later.

    :param checked: whether to make the file at once.
    :raises Unusable: it was to be made, and cannot be, or does not belong to this user.
    """

    # The file is locked for microseconds, but its holder may wait for a processor.
    patience_s: float = 1.0
    alone_s: float = 30.0
    alone_most_s: float = 1800.0
    part_alone: PartAlone | None = None

    def __init__(self, identity: str, host: str, action: str, *, checked: bool = True) -> None:
        # The account's name is not written anywhere. Versions with another layout use other files.
        name = hashlib.sha256("\0".join(("2", identity, host, action)).encode()).hexdigest()[:32]
        self._file = PaceFile(f"{name}.pace")
        self._pid = os.getpid()
        self._namespace = _pid_namespace()
        self._pace = 1.0
        self._lease = _Lease()
        self._taken_at, self._gap_s = -math.inf, math.inf
        # What the latest slot was taken with.
        self._wants: tuple[Pace, Demand, float] | None = None
        # Arrivals that are not yet written; the file counts these requests as later.
        self._unwritten: list[tuple[SharedSlot, float]] = []
        if checked:
            self._file.make()
        remove_unused(self._in_use, keep=self._file.name)

    @property
    def path(self) -> str:
        """Where the file is.

        :raises Unusable: there is no temporary folder.
        """
        return self._file.path

    @property
    def shared_with(self) -> str:
        """The processes that share the pace, for messages."""
        return "other processes of this host"

    def expect(self, slot: float, rate: float) -> None:
        """Do nothing: a slot is taken at once."""

    def close(self) -> None:
        """Give up this process's part."""
        with (
            contextlib.suppress(Held, Unusable),
            self._file.change(math.inf, self._pace, _LOCK_TRIES, create=False) as contents,
        ):
            self._end_lease(contents)
            contents.rows = [row for row in contents.rows if not self._is_mine(row)]
        self._file.close()

    def abandon(self) -> None:
        """Close the file without changing it."""
        self._file.close()

    def take(
        self,
        now: float,
        pace: Pace,
        demand: Demand,
        spread_s: float = 0.0,
        arrived: Sequence[tuple[SharedSlot, float]] = (),
    ) -> SharedSlot:
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
        self._gap_s, self._taken_at = now - self._taken_at, now
        self._wants = pace, demand, spread_s
        slot = self._lease.take(now)
        if slot is not None:
            self._unwritten += arrived
            return slot
        lease = _Lease()
        with self._file.change(now, pace.rate, _LOCK_TRIES_FOR_A_SLOT) as contents:
            active = self._enter(contents, self._row(now, pace, demand), arrived)
            slot = _take(contents, active, pace.allowed, spread_s)
            if len(active) == 1 and self._gap_s < _STEADY_S:
                lease = _take_lease(contents, slot, pace.allowed, spread_s, with_first=False)
        self._pace, self._lease = pace.rate, lease
        return slot

    def arrived(self, slot: SharedSlot, late_s: float) -> bool:
        """Note by how much the request of a slot arrived late, at most; ``-inf`` if it never left.

        :returns: whether it was noted; another process may hold the file.
        """
        # The file counts the request as later: it delays others at most.
        is_covered = slot.time + late_s <= self._lease.latest or (
            self._wants is not None and late_s <= self._wants[2] and self._gap_s < _SOON_S
        )
        if is_covered or self._lease.used:
            self._unwritten.append((slot, late_s))
        try:
            if self._lease.is_over(_GAPS * self._gap_s):
                self._renew()
            elif not is_covered:
                with self._file.change(math.inf, self._pace, _LOCK_TRIES) as contents:
                    _note_arrival(contents, slot, late_s)
        except (Held, Unusable):
            return is_covered
        return True

    def _renew(self) -> None:
        """Take the next lease.

        The thread that had an answer does it: an exchange would delay an event loop.
        """
        assert self._wants is not None
        pace, demand, spread_s = self._wants
        now, lease = self._lease.used[-1].time, _Lease()
        with self._file.change(now, pace.rate, _LOCK_TRIES) as contents:
            active = self._enter(contents, self._row(now, pace, demand))
            if len(active) == 1:
                slot = _take(contents, active, pace.allowed, spread_s)
                lease = _take_lease(contents, slot, pace.allowed, spread_s, with_first=True)
        self._lease = lease

    def release(self, slot: SharedSlot) -> None:
        """Return a slot that was not used, if no later one was taken."""
        if self._lease.release(slot):
            return
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
                self._end_lease(contents)
                contents.factor, contents.since = lowered(contents.factor, contents.since, now)
        except (Held, Unusable):
            return False
        return True

    def _end_lease(self, contents: Contents) -> None:
        """Write when the requests of the lease arrived, and return its other slots."""
        lease, self._lease = self._lease, _Lease()
        for slot, late_s in [*((slot, lease.spread_s) for slot in lease.used), *self._unwritten]:
            _note_arrival(contents, slot, late_s)
        for number in lease.left:
            contents.stamps[number % STAMPS] = -math.inf
        self._unwritten.clear()
        if lease.left and contents.next_slot == lease.end:
            contents.next_slot = lease.next_slot

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

    def _enter(
        self,
        contents: Contents,
        mine: ProcessRow,
        arrived: Sequence[tuple[SharedSlot, float]] = (),
    ) -> list[ProcessRow]:
        """End the lease and write this process's row, without dead ones.

        :param arrived: as for :meth:`take`.
        :returns: the rows of those that share the pace, this one first.
        """
        self._end_lease(contents)
        for slot, late_s in arrived:
            _note_arrival(contents, slot, late_s)
        others = [
            row
            for row in contents.rows
            if not self._is_mine(row) and (row.namespace != self._namespace or _alive(row.pid))
        ]
        active = [mine, *[row for row in others if mine.seen - row.seen <= QUIET_S]]
        if len(others) >= PROCESSES:
            # The one that took no slot for the longest time leaves its row.
            others.remove(min(others, key=lambda row: row.seen))
        contents.rows = [*others, mine]
        return active


def _take(
    contents: Contents, active: Sequence[ProcessRow], allowed: int, spread_s: float
) -> SharedSlot:
    """Take the next slot of the file.

    :param active: the processes that share the pace, this one first.
    :param allowed: how many requests may arrive within a second at its own pace.
    """
    mine = active[0]
    fastest = max(row.pace for row in active)
    pace = fastest * recovered(contents.factor, contents.since, mine.seen)
    opens = _opens(contents, limit_of(mine, allowed, fastest))
    slot = slot_of(max(mine.seen, contents.next_slot, opens), contents.taken, pace, active)
    _write(contents, slot.time, pace, slot.time + spread_s)
    return slot


def _take_lease(
    contents: Contents, first: SharedSlot, allowed: int, spread_s: float, *, with_first: bool
) -> _Lease:
    """Take the slots after the first one for a lease.

    :param allowed: how many requests may arrive within a second.
    :param with_first: whether the first one is part of it.
    """
    opens = [first.time]
    for _ in range(min(int(_LEASE_S * first.pace), _LEASE_SLOTS)):
        opens.append(_opens(contents, allowed))
        time = max(contents.next_slot, opens[-1])
        _write(contents, time, first.pace, time + spread_s)
    if not with_first:
        del opens[0]
        first = replace(first, time=first.time + 1.0 / first.pace, number=first.number + 1)
    lease = _Lease(first, opens, contents.next_slot, spread_s)
    for number in lease.left:
        contents.stamps[number % STAMPS] = lease.latest
    return lease


def _opens(contents: Contents, limit: int) -> float:
    """Return when a second holds fewer requests than its limit."""
    if limit > min(contents.taken, STAMPS):
        return -math.inf
    return window_opens(contents.stamps[: contents.taken], limit)


def _write(contents: Contents, time: float, pace: float, arrival: float) -> None:
    """Write a slot that is taken."""
    contents.stamps[contents.taken % STAMPS] = arrival
    contents.next_slot = time + 1.0 / pace
    contents.taken += 1


def _note_arrival(contents: Contents, slot: SharedSlot, late_s: float) -> None:
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
