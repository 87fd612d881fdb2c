# SPDX-License-Identifier: Apache-2.0
"""One pace for the processes of many hosts, kept in Redis or Valkey.

The script ``redis.lua`` does on the server, by the server's clock, what
:class:`~tiw_automation.core.quota.host.HostPace` does with its file. A call takes as long as the
way to the server and back, so slots are taken ahead of their use. These are the roles:

* :class:`RedisPace`: the store of one account, host name and action; it never waits for the server.
* :class:`_Line`: the one connection of this process to a server, in a thread, for all accounts.
* :class:`ServerClock`: how the server's clock and this machine's monotonic clock correspond.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import redis

from tiw_automation.core.formatting import escaped, shown_url
from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.parts import (
    MOST_PACE,
    MOST_WAITS,
    QUIET_S,
    Demand,
    ProcessRow,
    SharedSlot,
    limit_of,
    part_alone,
    slot_of,
)
from tiw_automation.core.quota.store import Held, NotYet, Unusable

logger = logging.getLogger(__name__)

# How long the server may take for an answer, and for a new connection.
_ANSWER_S = 0.75
_CONNECT_S = 2.0
_RECONNECT_S = 0.25
# A process in use calls at least this often, so that it knows its part if the server fails.
_HEARTBEAT_S = 1.0
_IN_USE_S = 60.0
# Reports that are not urgent wait this long for a call that takes a slot.
_REPORT_S = 0.05
# How soon to ask again where no slot was granted.
_AGAIN_S = 0.02
# Slots are taken this much earlier than two calls take.
_AHEAD_S = 0.02
_MOST_AHEAD = 64
# A slot that is older than this when it is needed is not used.
_STALE_S = 0.02
# Clocks may run this much faster or slower than others.
_DRIFT = 5e-4
_CLOCK_JUMP_S = 0.05
_LEAST_WAY = 0.25


class ServerClock:
    """How far the server's clock is ahead of this machine's: between two bounds.

    The server read its clock after a call left and before its answer came. The fastest calls
    bound it best. Each way is taken to last at least a quarter of the fastest round trip.
    """

    def __init__(self) -> None:
        self._least, self._most = -math.inf, math.inf
        self._fastest_s = math.inf
        self._at = -math.inf

    @property
    def least(self) -> float:
        """The lower bound."""
        return self._least + self._fastest_s * _LEAST_WAY

    @property
    def most(self) -> float:
        """The upper bound."""
        return max(self._most - self._fastest_s * _LEAST_WAY, self.least)

    @property
    def uncertain_s(self) -> float:
        """How far the bounds are apart; infinity before the first call."""
        return self.most - self.least if self._at > -math.inf else math.inf

    def add(self, sent_at: float, answered_at: float, server: float) -> bool:
        """Add a call; return whether it agrees with those before it."""
        drift_s = max(answered_at - self._at, 0.0) * _DRIFT if self._at > -math.inf else 0.0
        self._at = answered_at
        least, most = server - answered_at, server - sent_at
        agrees = least <= self._most + _CLOCK_JUMP_S and most >= self._least - _CLOCK_JUMP_S
        if agrees:
            least, most = max(least, self._least - drift_s), min(most, self._most + drift_s)
        self._least, self._most = min(least, most), max(least, most)
        self._fastest_s = min(self._fastest_s, answered_at - sent_at)
        return agrees


@dataclass(slots=True)
class _Wish:
    """What a process reported last with :meth:`RedisPace.take`."""

    pace: Pace
    demand: Demand
    spread_s: float


class RedisPace:
    """The pace of one account, host name and action in a Redis server.

    Thread-safe, and never blocks for longer than a lock of this process.

    :param url: the server's; ``redis://``, ``rediss://`` (TLS) or ``unix://``.
    :param line: the connection; the process's own by default.
    """

    patience_s = 0.5
    alone_s = alone_most_s = 0.5

    def __init__(
        self, url: str, identity: str, host: str, action: str, *, line: _Line | None = None
    ) -> None:
        # The account's name is not written anywhere.
        name = hashlib.sha256("\0".join((identity, host, action)).encode()).hexdigest()[:32]
        self.keys = [f"{{tiw1:{name}}}:{part}" for part in ("state", "arrivals", "processes")]
        self._line = line or _line(url)
        self._lock = threading.Lock()
        self._id = uuid.uuid4().hex
        self._wish: _Wish | None = None
        self._rate = 1.0
        # When slots will be taken, and when they were taken lately.
        self._expected: deque[float] = deque(maxlen=_MOST_AHEAD)
        self._taken_at: deque[float] = deque(maxlen=4 * _MOST_AHEAD)
        # Slots that are not used yet.
        self._in_hand: deque[SharedSlot] = deque()
        self._arrivals: dict[int, float | None] = {}
        self._arrivals_since = math.inf
        self._returned: SharedSlot | None = None
        self._rejected = self._leaving = False
        self._used_at = self._needed_at = -math.inf
        self._called_at = self._again_at = -math.inf
        self._latest_time = -math.inf
        # Whether the connection was lost since the last call.
        self._lost = True
        self._alone = 1.0
        self._error: str | None = None

    @property
    def shared_with(self) -> str:
        """The processes that share the pace, for messages."""
        return f"the processes of other hosts through {self._line.shown}"

    def expect(self, slot: float, rate: float) -> None:
        """Note that a slot will be taken at that time, and further ones at that rate."""
        with self._lock:
            self._expected.append(slot)
            self._rate = rate
        self._line.wake(self)

    def take(
        self,
        now: float,
        pace: Pace,
        demand: Demand,
        spread_s: float = 0.0,
        arrived: Sequence[tuple[SharedSlot, float]] = (),
    ) -> SharedSlot:
        """Take the next slot; see :class:`~tiw_automation.core.quota.store.PaceStore`."""
        clock = self._line.clock()
        with self._lock:
            self._wish = _Wish(pace, demand, spread_s)
            self._used_at, self._leaving = clock, False
            for earlier, late_s in arrived:
                self._note_arrival(earlier, late_s, clock)
            slot = self._next_in_hand(clock)
            if slot is not None:
                self._needed_at = -math.inf
                self._taken_at.append(clock)
                if self._expected:
                    self._expected.popleft()
                self._latest_time = max(self._latest_time, slot.time)
            elif self._needed_at == -math.inf:
                self._needed_at = clock
            answers = clock - self._called_at < 2 * self._line.call_s + _HEARTBEAT_S / 4
        self._line.wake(self)
        if slot is not None:
            return slot
        if (error := self._error or self._line.error) is not None:
            raise Unusable(error)
        raise NotYet if answers else Held

    def arrived(self, slot: SharedSlot, late_s: float) -> bool:
        """Note by how much the request of a slot arrived late, at most."""
        with self._lock:
            self._note_arrival(slot, late_s, self._line.clock())
        self._line.wake(self)
        return True

    def release(self, slot: SharedSlot) -> None:
        """Return a slot that was not used, if no later one was taken."""
        with self._lock:
            self._returned = slot
        self._line.wake(self)

    def rejected(self, now: float) -> bool:
        """Lower the pace of all processes; return whether the server can be reached."""
        with self._lock:
            self._rejected = True
        self._line.wake(self)
        return (self._error or self._line.error) is None

    def close(self) -> None:
        """Give up this process's part; the next slot takes part again."""
        with self._lock:
            if self._wish is None:
                return
            self._leaving = True
        self._line.wake(self)
        self._line.wait_until(lambda: not self._leaving)

    def abandon(self) -> None:
        """Stop using the server, in a forked child where the connection is the parent's."""

    # What the line calls.

    def due_at(self, now: float) -> float:
        """Return when the next call is due; infinity where none is."""
        with self._lock:
            if self._wish is None:
                return math.inf
            if self._leaving or self._rejected or self._returned is not None:
                return now
            due = self._arrivals_since + _REPORT_S
            if now - self._used_at < _IN_USE_S:
                due = min(due, self._called_at + _HEARTBEAT_S)
            if self._delays(now):
                due = min(due, self._again_at)
            return due

    def arguments(self, now: float) -> list[str]:
        """Return the arguments of the script, and take over what they report."""
        with self._lock:
            wish, clock = self._wish, self._line.server
            assert wish is not None
            spread_s = wish.spread_s + min(clock.uncertain_s, 1.0)
            pause_s = 0.0
            if self._lost:
                pause_s = 1.0 + spread_s + max(self._latest_time - now, 0.0)
            demand = wish.demand
            waits = demand.waits or (0 if demand.unconfirmed else 1)
            delays = [] if self._leaving else self._delays(now)
            returned = self._returned
            found = [
                self._id,
                _text(pause_s),
                _text(spread_s),
                str(wish.pace.allowed),
                repr(float(wish.pace.rate)),
                repr(float(wish.pace.share)),
                str(min(waits, int(MOST_WAITS))),
                str(min(demand.unconfirmed, int(MOST_WAITS))),
                repr(float(min(demand.wanted, MOST_PACE))),
                _text(self._alone),
                "1" if self._rejected else "",
                "1" if self._leaving else "",
                "" if returned is None else str(returned.number),
                "" if returned is None else _text(returned.time + clock.least),
                str(len(delays)),
                *map(_text, delays),
            ]
            for number, arrived_at in self._arrivals.items():
                found += [str(number), "-" if arrived_at is None else _text(arrived_at)]
            self._arrivals.clear()
            self._arrivals_since = math.inf
            self._rejected, self._returned = False, None
            return found

    def accept(self, reply: Sequence[Any], answered_at: float, agrees: bool) -> None:
        """Take over the answer of a call.

        :param agrees: whether the server's clock has run evenly since the call before.
        """
        now, pace, alone, first, delays, processes = reply
        rows = [row for text in processes if (row := _row(text, answered_at)) is not None]
        with self._lock:
            self._error = None
            self._called_at = answered_at
            self._again_at = answered_at + (0.0 if delays else _AGAIN_S)
            self._leaving = False
            self._lost = not agrees
            if not rows or self._wish is None or not agrees:
                self._in_hand.clear()
                return
            granted = float(alone)
            self._alone = part_alone(rows)
            active = [rows[0], *[r for r in rows[1:] if answered_at - r.seen <= QUIET_S]]
            fastest = max(row.pace for row in active)
            allowed = limit_of(rows[0], self._wish.pace.allowed, fastest)
            for number, delay in enumerate(delays, int(first)):
                at = float(now) + float(delay) - self._line.server.least
                slot = slot_of(at, number, float(pace), active, max(granted, 0.01), allowed)
                self._in_hand.append(slot)

    def failed(self, reason: str, *, lost: bool) -> None:
        """Note that a call failed.

        :param lost: whether the connection was lost.
        """
        with self._lock:
            self._lost = self._lost or lost
            self._leaving = False
            self._again_at = self._called_at = self._line.clock()
            self._in_hand.clear()
            if not lost:
                self._error = reason

    # Helpers; the lock is held.

    def _note_arrival(self, slot: SharedSlot, late_s: float, now: float) -> None:
        server = self._line.server
        if late_s == -math.inf:
            self._arrivals[slot.number] = None
        else:
            # The slot may have come earlier than its time here by as much as is uncertain.
            self._arrivals[slot.number] = slot.time + server.most + late_s
        self._arrivals_since = min(self._arrivals_since, now)

    def _next_in_hand(self, now: float) -> SharedSlot | None:
        while self._in_hand:
            slot = self._in_hand.popleft()
            if slot.time >= now - _STALE_S:
                return slot
            self._note_arrival(slot, -math.inf, now)
        return None

    def _delays(self, now: float) -> list[float]:
        """Return after which delays slots are needed that are not in hand."""
        while self._expected and self._expected[0] < now - 1.0 and self._needed_at == -math.inf:
            self._expected.popleft()
        horizon = now + 2 * self._line.call_s + _AHEAD_S
        expected = list(self._expected)
        if self._needed_at > -math.inf and not expected:
            expected = [now]
        times = [at for at in expected if at <= horizon]
        # A process that takes slots steadily needs more of them at its rate.
        lately = sum(1 for at in self._taken_at if at > now - 1.0)
        more = int(1.5 * lately * (horizon - now) + 0.5)
        last = expected[-1] if expected else now
        for number in range(1, more + 1):
            if last + number / self._rate <= horizon:
                times.append(last + number / self._rate)
        needed = times[len(self._in_hand) : _MOST_AHEAD]
        return [max(at - now - self._line.call_s / 2, -1.0) for at in needed]


class _Line:
    """The one connection of this process to a server, in a thread of its own.

    It collects the calls of all accounts that are due and sends them together.

    :param clock: a monotonic clock in seconds.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.shown = shown_url(url)
        self.clock = clock
        self.server = ServerClock()
        self.call_s = 0.0
        """How long a call takes, from the latest ones."""
        self.error: str | None = None
        self._url = url
        self._connection: Any = None
        self._paces: dict[RedisPace, None] = {}
        self._changed = threading.Condition()
        self._woken = False
        self._running = False

    def wake(self, pace: RedisPace) -> None:
        """Look whether a call is due."""
        with self._changed:
            self._paces[pace] = None
            self._woken = True
            if not self._running:
                self._running = True
                threading.Thread(target=self._run, name="tiw-redis", daemon=True).start()
            self._changed.notify_all()

    def wait_until(self, done: Callable[[], bool]) -> None:
        """Wait for a call, a quarter of a second at most."""
        with self._changed:
            self._changed.wait_for(lambda: done() or self.error is not None, 0.25)

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._woken and not self._wait():
                    return
                self._woken = False
            now = self.clock()
            due = [pace for pace in list(self._paces) if pace.due_at(now) <= now]
            if due:
                self._call(due)
                with self._changed:
                    self._changed.notify_all()
                if self.error is not None:
                    time.sleep(_RECONNECT_S)

    def _wait(self) -> bool:
        """Wait until a call may be due; return False where the thread ends."""
        now = self.clock()
        due_at = min((pace.due_at(now) for pace in list(self._paces)), default=math.inf)
        if due_at <= now:
            return True
        if not self._changed.wait(min(due_at - now, _IN_USE_S)) and due_at == math.inf:
            # Nobody has used it for a minute: the next use connects anew.
            self._disconnect()
            self._paces.clear()
            self._running = False
            return False
        return True

    def _call(self, due: Sequence[RedisPace]) -> None:
        try:
            self._connect()
            sent_at = self.clock()
            replies = self._replies([pace.arguments(sent_at) for pace in due], due)
            answered_at = self.clock()
        except Exception as error:
            self._fail(error)
            return
        self.error = None
        self.call_s = max(answered_at - sent_at, 0.9 * self.call_s)
        for pace, reply in zip(due, replies, strict=True):
            if isinstance(reply, Exception):
                pace.failed(self._reason(reply), lost=False)
                continue
            try:
                agrees = self.server.add(sent_at, answered_at, float(reply[0]))
                pace.accept(reply, answered_at, agrees)
            except (TypeError, ValueError, IndexError):
                pace.failed("its answer cannot be read", lost=False)

    def _replies(self, calls: Sequence[list[str]], due: Sequence[RedisPace]) -> list[Any]:
        """Send calls together, and return their answers or errors."""
        script, digest = _script()
        commands: list[list[Any]] = [
            ["EVALSHA", digest, 3, *pace.keys, *call] for pace, call in zip(due, calls, strict=True)
        ]
        found = self._exchange(commands)
        missing = [n for n, reply in enumerate(found) if _is_missing(reply)]
        again = [["EVAL", script, *commands[number][2:]] for number in missing]
        for number, reply in zip(missing, self._exchange(again) if again else [], strict=True):
            found[number] = reply
        return found

    def _exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        connection, found = self._connection, []
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        for _ in commands:
            try:
                found.append(connection.read_response())
            except redis.ResponseError as error:
                found.append(error)
        return found

    def _connect(self) -> None:
        if self._connection is None:
            self._connection = _connection(self._url)
            self._connection.connect()
            self.server = ServerClock()
            # The first slots need to know how far away the server is.
            sent_at = self.clock()
            seconds, micros = self._exchange([["TIME"]])[0]
            self.server.add(sent_at, self.clock(), float(seconds) + float(micros) / 1e6)

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def _fail(self, error: Exception) -> None:
        self.error = self._reason(error)
        self._disconnect()
        for pace in list(self._paces):
            pace.failed(self.error, lost=True)

    def _reason(self, error: Exception) -> str:
        text = escaped(str(error)) or type(error).__name__
        # No message of the client is known to contain it.
        for secret in _secrets(self._url):
            text = text.replace(secret, "***")
        return text


def check_url(url: str) -> None:
    """Check the URL of a server.

    :raises ValueError: it is malformed.
    """
    _connection(url)


def _connection(url: str) -> Any:
    for ours, theirs in (("valkey://", "redis://"), ("valkeys://", "rediss://")):
        if url.startswith(ours):
            url = theirs + url.removeprefix(ours)
    pool = redis.ConnectionPool.from_url(
        url,
        socket_timeout=_ANSWER_S,
        socket_connect_timeout=_CONNECT_S,
        decode_responses=True,
        client_name="tiw-automation",
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
    )
    return pool.connection_class(**pool.connection_kwargs)


def _secrets(url: str) -> list[str]:
    from urllib.parse import unquote, urlsplit

    raw = urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]
    return [text for text in {raw, unquote(raw)} if text]


@cache
def _script() -> tuple[str, str]:
    text = Path(__file__).with_name("redis.lua").read_text(encoding="utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def _is_missing(reply: object) -> bool:
    return isinstance(reply, redis.exceptions.NoScriptError)


def _text(number: float) -> str:
    return f"{number:.6f}"


def _row(text: str, now: float) -> ProcessRow | None:
    """Return a process of an answer; None where it is invalid."""
    age, waits, unconfirmed, wanted, pace, share, _alone = map(float, text.split())
    row = ProcessRow(1, 0, now - age, waits, unconfirmed, wanted, pace, share)
    return row if row.is_sound else None


_lines: dict[str, _Line] = {}
_lines_lock = threading.Lock()


def _line(url: str) -> _Line:
    with _lines_lock:
        if url not in _lines:
            _lines[url] = _Line(url)
        return _lines[url]


def _forget_after_fork() -> None:
    global _lines_lock
    _lines_lock = threading.Lock()
    _lines.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
