# SPDX-License-Identifier: Apache-2.0
"""One pace for the processes of many hosts, kept in Redis or Valkey.

The script ``redis.lua`` does on the server, by the server's clock, what
:class:`~tiw_automation.core.quota.host.HostPace` does with its file. A call takes as long as the
way to the server and back, so slots are taken ahead of their use. These are the roles:

* :class:`RedisPace`: the store of one account, host name and action; it never waits for the server.
* :class:`~tiw_automation.core.quota.prefetch.Prefetch`: which slots it takes ahead.
* :class:`~tiw_automation.core.quota.redis_script.Call` and ``Answer``: what the script gets and
  returns.
* :class:`~tiw_automation.core.quota.redis_thread.RedisThread`: makes the calls of all accounts.
* :class:`~tiw_automation.core.quota.redis_connection.RedisConnection`: the client of Redis.
* :class:`~tiw_automation.core.quota.server_clock.ServerClock`: how the server's clock and this
  machine's monotonic clock correspond.
"""

from __future__ import annotations

import hashlib
import math
import threading
import uuid
from collections.abc import Sequence

from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.parts import (
    QUIET_S,
    Demand,
    PartAlone,
    SharedSlot,
    limit_of,
    part_alone,
    slot_of,
)
from tiw_automation.core.quota.prefetch import Prefetch
from tiw_automation.core.quota.redis_script import Answer, Call
from tiw_automation.core.quota.redis_thread import RedisThread, thread_of
from tiw_automation.core.quota.store import NotYet, Unusable

# A process in use calls at least this often, so that it knows its part if the server fails.
_HEARTBEAT_S = 1.0
_IN_USE_S = 60.0
# Reports that are not urgent wait this long for a call that takes a slot.
_REPORT_S = 0.05
# How soon to ask again where no slot was granted, and after a call that failed.
_AGAIN_S = 0.02
_AGAIN_AFTER_FAILURE_S = 0.25
# A server that sends no answer for this long, beside two calls, counts as unusable.
_SILENT_S = 0.4
# After a lost connection nothing is granted for this long: the server may have forgotten.
_PAUSE_S = 1.0
# How long the end of a process may wait until its part is given up.
_LEAVE_S = 0.25
# A process for which nothing is left while the server is unusable uses this part.
_LEAST_ALONE = 0.01


class RedisPace:
    """The pace of one account, host name and action in a Redis server.

    Thread-safe, and never blocks for longer than a lock of this process.

    :param url: the server's; ``redis://``, ``rediss://`` (TLS) or ``unix://``.
    :param thread: makes the calls; the process's own by default.
    :raises ValueError: the URL is malformed.
    """

    patience_s: float = 0.5
    alone_s: float = 0.5
    alone_most_s: float = 0.5

    def __init__(
        self,
        url: str,
        identity: str,
        host: str,
        action: str,
        *,
        thread: RedisThread | None = None,
    ) -> None:
        # The account's name is not written anywhere.
        name = hashlib.sha256("\0".join((identity, host, action)).encode()).hexdigest()[:32]
        self.keys: Sequence[str] = [
            f"{{tiw1:{name}}}:{part}" for part in ("state", "arrivals", "processes")
        ]
        self._thread = thread or thread_of(url)
        self._lock = threading.Lock()
        self._id = uuid.uuid4().hex
        # What this process reported last with take(); None while it has no part.
        self._wish: tuple[Pace, Demand, float] | None = None
        self._prefetch = Prefetch()
        # What the next call reports.
        self._arrivals: dict[int, float | None] = {}
        self._report_at = math.inf
        self._rejected = self._leaving = False
        # Whether the call under way gives up the part.
        self._leaves = False
        self._used_at = -math.inf
        # When the latest answer came, and when slots may be asked for again.
        self._answered_at = self._again_at = -math.inf
        self._latest_time = -math.inf
        # Whether the connection was lost since the last call.
        self._lost = True
        # The part that it wants while the server is unusable, and what the server granted.
        self._alone = 1.0
        self.part_alone: PartAlone | None = None
        self._error: str | None = None

    @property
    def shared_with(self) -> str:
        """The processes that share the pace, for messages."""
        return f"the processes of other hosts through {self._thread.connection.shown}"

    def expect(self, slot: float, rate: float) -> None:
        """Note that a slot will be taken at that time, and further ones at that rate."""
        with self._lock:
            self._prefetch.expect(slot, rate)
            self._plan()

    def take(
        self,
        now: float,
        pace: Pace,
        demand: Demand,
        spread_s: float = 0.0,
        arrived: Sequence[tuple[SharedSlot, float]] = (),
    ) -> SharedSlot:
        """Take the next slot; see :class:`~tiw_automation.core.quota.store.PaceStore`."""
        clock = self._thread.clock()
        with self._lock:
            if self._wish is None or clock - self._used_at > _IN_USE_S:
                # An earlier answer does not show that the server answers now.
                self._answered_at = max(self._answered_at, clock)
            self._wish = (pace, demand, spread_s)
            self._used_at, self._leaving = clock, False
            for earlier, late_s in arrived:
                self._note_arrival(earlier, late_s, clock)
            for stale in self._prefetch.stale(clock):
                self._note_arrival(stale, -math.inf, clock)
            slot = self._prefetch.take(clock)
            self._plan()
            if slot is not None:
                self._latest_time = max(self._latest_time, slot.time)
                return slot
            silent = clock - self._answered_at > 2 * self._thread.call_s + _SILENT_S
            error = self._error or self._thread.error or ("it does not answer" if silent else None)
        raise NotYet if error is None else Unusable(error)

    def arrived(self, slot: SharedSlot, late_s: float) -> bool:
        """Note by how much the request of a slot arrived late, at most."""
        with self._lock:
            self._note_arrival(slot, late_s, self._thread.clock())
            self._plan()
        return True

    def release(self, slot: SharedSlot) -> None:
        """Keep a slot that was not used for the next request."""
        with self._lock:
            self._prefetch.put_back(slot)

    def rejected(self, now: float) -> bool:
        """Lower the pace of all processes; return whether the server can be reached."""
        with self._lock:
            self._rejected = True
            self._plan()
            return (self._error or self._thread.error) is None

    def close(self) -> None:
        """Give up this process's part; the next slot takes part again."""
        with self._lock:
            if self._wish is None:
                return
            self._leaving = True
            self._plan()
        self._thread.wait_until(lambda: not self._leaving, _LEAVE_S)

    def abandon(self) -> None:
        """Stop using the server, in a forked child where the connection is the parent's."""

    # What the thread calls.

    def call(self, now: float) -> Call:
        """Return the call that is made now, and take over what it reports."""
        with self._lock:
            assert self._wish is not None
            pace, demand, spread_s = self._wish
            spread_s += min(self._thread.server.uncertain_s, 1.0)
            pause_s = _PAUSE_S + spread_s + max(self._latest_time - now, 0.0) if self._lost else 0.0
            call = Call(
                process=self._id,
                pause_s=pause_s,
                spread_s=spread_s,
                pace=pace,
                demand=demand,
                alone=self._alone,
                rejected=self._rejected,
                leaving=self._leaving,
                delays=[] if self._leaving else self._prefetch.delays(now, self._thread.call_s),
                arrivals=self._arrivals,
            )
            self._arrivals, self._report_at = {}, math.inf
            self._rejected, self._leaves = False, self._leaving
            return call

    def accept(self, answer: Answer, answered_at: float) -> None:
        """Take over the answer of a call."""
        with self._lock:
            self._error, self._lost = None, False
            self._answered_at = answered_at
            self._again_at = answered_at + (0.0 if answer.delays else _AGAIN_S)
            if self._leaves:
                self._left()
            elif self._wish is not None and answer.processes:
                self._take_over(answer, self._wish[0], answered_at)
            self._plan()

    def failed(self, reason: str, *, lost: bool) -> None:
        """Note that a call failed.

        :param lost: whether the connection was lost.
        """
        with self._lock:
            self._lost = self._lost or lost
            self._error = None if lost else reason
            self._left()
            self._again_at = self._thread.clock() + _AGAIN_AFTER_FAILURE_S
            self._plan()

    # Helpers; the lock is held.

    def _left(self) -> None:
        """Forget the slots, and the wish unless the process takes part again by now."""
        self._prefetch.clear()
        if self._leaving:
            self._leaving, self._wish = False, None

    def _take_over(self, answer: Answer, pace: Pace, answered_at: float) -> None:
        """Take over the slots of an answer, and the part that it leaves to this process."""
        rows = answer.processes
        active = [rows[0], *[row for row in rows[1:] if answered_at - row.seen <= QUIET_S]]
        allowed = limit_of(rows[0], pace.allowed, max(row.pace for row in active))
        self._alone = part_alone(rows)
        granted = max(answer.alone, _LEAST_ALONE)
        self.part_alone = PartAlone.of(granted, answer.pace, allowed)
        begin = answer.now - self._thread.server.least
        self._prefetch.add(
            [
                slot_of(begin + delay, number, answer.pace, active)
                for number, delay in enumerate(answer.delays, answer.first)
            ]
        )

    def _note_arrival(self, slot: SharedSlot, late_s: float, now: float) -> None:
        if late_s == -math.inf:
            self._arrivals[slot.number] = None
        else:
            # The slot may have come earlier than its time here by as much as is uncertain.
            self._arrivals[slot.number] = slot.time + self._thread.server.most + late_s
        self._report_at = min(self._report_at, now + _REPORT_S)

    def _plan(self) -> None:
        """Set when the next call is due."""
        now = self._thread.clock()
        if self._wish is None:
            due = math.inf
        elif self._leaving or self._rejected:
            due = now
        else:
            due = max(self._prefetch.due_at(now, self._thread.call_s), self._again_at)
            due = min(due, self._report_at)
            if now - self._used_at < _IN_USE_S:
                due = min(due, max(self._answered_at + _HEARTBEAT_S, self._again_at))
        self._thread.call_at(self, due)
