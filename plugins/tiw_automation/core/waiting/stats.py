# SPDX-License-Identifier: Apache-2.0
"""The counters of a watcher, and how they are reported while it has waits."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tiw_automation.core.waiting.progress import Observer, observer

_REPORT_EVERY_S = 10.0
_RATE_OVER_S = 10.0


@dataclass(frozen=True, slots=True)
class WatcherStats:
    """The counters of a watcher.

    :param waits: the tasks that are waited for now, of all kinds.
    :param polls: the requests sent so far.
    :param rejects: how many of them the server refused as one too many.
    :param errors: how many of them ended with an error, those included.
    :param oldest_unpolled_s: the longest time that a task has had no answer, in seconds.
    :param rate: the requests a second over the last ten seconds.
    """

    waits: int
    polls: int
    rejects: int
    errors: int
    oldest_unpolled_s: float = 0.0
    rate: float = 0.0

    def __add__(self, other: WatcherStats) -> WatcherStats:
        """Return the counters of both."""
        return WatcherStats(
            self.waits + other.waits,
            self.polls + other.polls,
            self.rejects + other.rejects,
            self.errors + other.errors,
            max(self.oldest_unpolled_s, other.oldest_unpolled_s),
            self.rate + other.rate,
        )


class RequestRate:
    """The requests a second over the last ten seconds."""

    def __init__(self) -> None:
        self._sent_at: deque[float] = deque()

    def add(self, now: float) -> None:
        """Count a request."""
        self._sent_at.append(now)
        while now - self._sent_at[0] > _RATE_OVER_S:
            self._sent_at.popleft()

    def per_second(self, now: float) -> float:
        """Return the rate."""
        return sum(now - sent <= _RATE_OVER_S for sent in self._sent_at) / _RATE_OVER_S


class StatsReport:
    """Passes the counters to a callback every ten seconds."""

    def __init__(self) -> None:
        self._observer: Observer[WatcherStats] | None = None
        self._next_at = -math.inf

    @property
    def callback(self) -> Callable[[WatcherStats], object] | None:
        """The callback; None for none. What it raises is logged and ends nothing."""
        return None if self._observer is None else self._observer.function

    @callback.setter
    def callback(self, function: Callable[[WatcherStats], object] | None) -> None:
        self._observer = observer("on_stats", function)

    @property
    def next_at(self) -> float:
        """When the next report is due."""
        return math.inf if self._observer is None else self._next_at

    def report(self, now: float, stats: Callable[[], WatcherStats]) -> None:
        """Call the callback, if a report is due."""
        if self._observer is not None and now >= self._next_at:
            self._next_at = now + _REPORT_EVERY_S
            self._observer.call(stats())
