# SPDX-License-Identifier: Apache-2.0
"""Quotas and hosts of tests, and the clock that they share."""

from __future__ import annotations

import os
from bisect import bisect_left

from tiw_automation.core import Quota
from tiw_automation.core.quota.host import HostPace
from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.parts import Demand, SharedSlot


class Clock:
    """A monotonic clock that only ``sleep`` and tests move."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds < 150
        self.now += seconds


def two_processes() -> tuple[HostPace, HostPace]:
    """Return the host's pace as two of its processes see it."""
    one, two = HostPace("id", "host", "A"), HostPace("id", "host", "A")
    # Another process of this machine that is certainly alive.
    two._pid = os.getppid()
    return one, two


def take(host: HostPace, now: float, waits: int = 1, share: float = 1.0) -> SharedSlot:
    """Take the host's next slot at 19 requests a second."""
    return host.take(now, Pace(19.0, share), Demand(waits))


def most_in_a_second(times: list[float]) -> int:
    """Return the most of the times that lie within any one second."""
    ordered = sorted(times)
    return max(bisect_left(ordered, start + 1 - 1e-9) - n for n, start in enumerate(ordered))


def used(quota: Quota, slot: float) -> float:
    """Use a slot; no other process holds the host's file."""
    time = quota.use(slot)
    assert time is not None
    return time
