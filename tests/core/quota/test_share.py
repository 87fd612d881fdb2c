# SPDX-License-Identifier: Apache-2.0
"""What processes do while the store of their pace fails, on one clock that the test moves."""

from __future__ import annotations

import heapq
import itertools
import logging
from collections.abc import Sequence

import pytest
from quotas import Clock, most_in_a_second

from tiw_automation.core import Quota
from tiw_automation.core.quota.pace import Pace, window_opens
from tiw_automation.core.quota.parts import (
    Demand,
    PartAlone,
    ProcessRow,
    SharedSlot,
    part_alone,
    slot_of,
)
from tiw_automation.core.quota.store import NotYet, Unusable

PACE = 19.0


class Server:
    """Grants slots as the script in Redis does, while it works."""

    def __init__(self) -> None:
        self.works = True
        self.next_slot = 0.0
        self.number = 0
        self.arrivals: list[float] = []
        self.rows: dict[object, ProcessRow] = {}


class FakeStore:
    """One process's way to the server."""

    patience_s = alone_s = alone_most_s = 0.5
    shared_with = "the other processes of the test"

    def __init__(self, server: Server) -> None:
        self.server = server
        self.lost = True
        self.part_alone: PartAlone | None = None

    def expect(self, slot: float, rate: float) -> None: ...

    def take(
        self,
        now: float,
        pace: Pace,
        demand: Demand,
        spread_s: float = 0.0,
        arrived: Sequence[tuple[SharedSlot, float]] = (),
    ) -> SharedSlot:
        server = self.server
        if not server.works:
            self.lost = True
            raise Unusable("connection refused")
        if self.lost:
            self.lost = False
            server.next_slot = max(server.next_slot, now + 1.0 + spread_s)
        mine = ProcessRow(1, 0, now, demand.waits or 1, 0, 1e6, pace.rate, 1.0)
        server.rows[self] = mine
        rows = [mine, *[row for other, row in server.rows.items() if other is not self]]
        self.part_alone = PartAlone.of(part_alone(rows), PACE, pace.allowed)
        if server.next_slot > now + 0.02:
            raise NotYet
        time = max(now, server.next_slot)
        if len(server.arrivals) >= pace.allowed:
            time = max(time, window_opens(server.arrivals[-40:], pace.allowed))
        server.arrivals.append(time + spread_s)
        server.next_slot, server.number = time + 1.0 / PACE, server.number + 1
        return slot_of(time, server.number, PACE, rows)

    def arrived(self, slot: SharedSlot, late_s: float) -> bool:
        return True

    def release(self, slot: SharedSlot) -> None: ...

    def rejected(self, now: float) -> bool:
        return False

    def close(self) -> None: ...

    def abandon(self) -> None: ...


class Processes:
    """Quotas with waits, which send whenever a slot comes."""

    def __init__(self, waits: Sequence[int]) -> None:
        self.clock = Clock()
        self.server = Server()
        self.quotas = [Quota(PACE, clock=self.clock, store=FakeStore(self.server)) for _ in waits]
        for number, quota in enumerate(self.quotas):
            quota.demand(self, waits[number])
        self.sent: list[float] = []
        # When each process does its next step: (time, number, slot that it reserved).
        self.steps = [(100.0 + n / 100, n, quota.reserve()) for n, quota in enumerate(self.quotas)]

    def run(self, seconds: float) -> tuple[float, float]:
        begin, end = self.clock.now, self.clock.now + seconds
        while self.steps[0][0] < end:
            at, number, slot = heapq.heappop(self.steps)
            self.clock.now = max(self.clock.now, at)
            used = self.quotas[number].use(slot)
            if used is None:
                heapq.heappush(self.steps, (self.clock.now + 0.01, number, slot))
                continue
            left = max(used, self.clock.now)
            self.sent.append(left)
            now, self.clock.now = self.clock.now, left
            slot = self.quotas[number].reserve()
            self.clock.now = now
            heapq.heappush(self.steps, (max(slot, left), number, slot))
        self.clock.now = end
        return begin, end

    def rate(self, begin: float, end: float) -> float:
        return len([at for at in self.sent if begin <= at < end]) / (end - begin)

    def longest_gap(self, begin: float, end: float) -> float:
        times = [begin, *sorted(at for at in self.sent if begin <= at < end), end]
        return max(b - a for a, b in itertools.pairwise(times))


@pytest.mark.parametrize("waits", [(70, 10, 10, 10), (1000, *[1] * 9), (5, 5, 5), (40,)])
def test_all_go_on_with_parts_that_add_up_to_at_most_one_and_come_back(
    waits: tuple[int, ...], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    processes = Processes(waits)
    processes.run(8.0)
    for outage in (1, 2):
        processes.server.works = False
        begin, back = processes.run(6.0)
        assert processes.longest_gap(begin, back) < 1.0
        assert 0.9 * PACE < processes.rate(begin + 1, back) <= PACE + 0.5
        warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == outage
        processes.server.works = True
        begin, end = processes.run(6.0)
        assert processes.longest_gap(begin, end) < 2.2
        assert processes.rate(end - 3, end) > 0.97 * PACE
    assert caplog.text.count("again") == 2
    assert most_in_a_second(processes.sent) <= 20


def test_a_server_that_fails_for_a_moment_costs_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    processes = Processes((3, 1))
    processes.run(5.0)
    for _ in range(3):
        processes.server.works = False
        processes.run(0.3)
        processes.server.works = True
        processes.run(4.0)
    assert not caplog.records
    assert most_in_a_second(processes.sent) <= 20


def test_more_than_twenty_processes_keep_the_pace_together() -> None:
    processes = Processes([1] * 25)
    processes.run(4.0)
    processes.server.works = False
    begin, end = processes.run(10.0)
    assert processes.rate(begin + 1, end) <= PACE * 1.05
