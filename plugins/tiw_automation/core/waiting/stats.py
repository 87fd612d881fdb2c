# SPDX-License-Identifier: Apache-2.0
"""The counters of a watcher, and how they are reported while it has waits.

:class:`StatsReport` passes all of them to the user's callback; :class:`WatcherMetrics` passes those
of one action to :mod:`tiw_automation.core.metrics`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from tiw_automation.core import metrics
from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.quota.quota import Quota
from tiw_automation.core.waiting.progress import Observer, observer

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
    :param pace: the requests a second that the quota allows this process now; 0 without waits.
    """

    waits: int
    polls: int
    rejects: int
    errors: int
    oldest_unpolled_s: float = 0.0
    rate: float = 0.0
    pace: float = 0.0

    def __add__(self, other: WatcherStats) -> WatcherStats:
        """Return the counters of both."""
        return WatcherStats(
            self.waits + other.waits,
            self.polls + other.polls,
            self.rejects + other.rejects,
            self.errors + other.errors,
            max(self.oldest_unpolled_s, other.oldest_unpolled_s),
            self.rate + other.rate,
            self.pace + other.pace,
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
            self._next_at = now + metrics.EVERY_S
            self._observer.call(stats())


class WatcherMetrics:
    """Reports the metrics of one account and action, every ten seconds while there are waits.

    :param client: of the account.
    :param action: the action that polls.
    """

    def __init__(self, client: TiwClient, action: str) -> None:
        settings = client.settings
        account = metrics.account_tag(settings.credentials.identity)
        app = "none" if settings.sdk_app_id is None else str(settings.sdk_app_id)
        store = "host" if settings.quota_url is None else "redis"
        self._of_watcher = {"account": account, "app": app, "action": action}
        self._of_quota = {"account": account, "action": action, "store": store}
        self._next_at = -math.inf
        self._reported: dict[str, float] = {}
        self.slot_wait_s: float = 0.0
        """How long tasks that were due have waited for a slot so far, in seconds."""

    @property
    def next_at(self) -> float:
        """When the next report is due."""
        return self._next_at if metrics.wanted() else math.inf

    def report(self, now: float, stats: Callable[[], WatcherStats], quota: Quota) -> None:
        """Report the gauges, and what was counted since the last report, if a report is due."""
        if now >= self.next_at:
            self._next_at = now + metrics.EVERY_S
            current = stats()
            self._set_watcher_gauges(current)
            self._set_quota_gauges(current.pace, quota.part, float(quota.is_alone))
            self._add_to_counters(current)

    def end(self, stats: Callable[[], WatcherStats], quota: Quota) -> None:
        """Report the end of the waits: the gauges become 0. The next report is due at once."""
        if metrics.wanted():
            self._next_at = -math.inf
            self._set_watcher_gauges(WatcherStats(0, 0, 0, 0))
            # Another application of the account may use the same quota.
            if not quota.is_wanted:
                self._set_quota_gauges(0.0, 0.0, 0.0)
            self._add_to_counters(stats())

    def _set_watcher_gauges(self, stats: WatcherStats) -> None:
        for name in ("waits", "oldest_unpolled_s", "rate"):
            metrics.report(f"tiw.watcher.{name}", getattr(stats, name), **self._of_watcher)

    def _set_quota_gauges(self, pace: float, part: float, alone: float) -> None:
        for name, value in (("pace", pace), ("part", part), ("alone", alone)):
            metrics.report(f"tiw.quota.{name}", value, **self._of_quota)

    def _add_to_counters(self, stats: WatcherStats) -> None:
        for name in ("polls", "rejects", "errors"):
            self._add(f"tiw.watcher.{name}", getattr(stats, name), self._of_watcher)
        self._add("tiw.quota.slot_wait_s", self.slot_wait_s, self._of_quota)

    def _add(self, name: str, total: float, tags: dict[str, str]) -> None:
        metrics.report(name, total - self._reported.get(name, 0), **tags)
        self._reported[name] = total
