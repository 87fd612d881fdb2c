# SPDX-License-Identifier: Apache-2.0
"""What can be watched: every metric with its type, unit and tags, and who receives the values.

docs/metrics.md explains each one, and docs/grafana shows them. The archive travels to hosts with
Python 3.9, and this module with it.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import NamedTuple

logger = logging.getLogger(__name__)

COUNTER = "counter"
"""The type of a metric whose values are added to a total."""
GAUGE = "gauge"
"""The type of a metric whose latest value counts, for each process."""

EVERY_S = 10.0
"""The seconds between two values of a gauge."""


class Metric(NamedTuple):
    """A metric: its name, ``COUNTER`` or ``GAUGE``, its unit and the names of its tags."""

    name: str
    kind: str
    unit: str
    tags: tuple[str, ...] = ()


_OF_WATCHER = ("account", "app", "action")
_OF_QUOTA = ("account", "action", "store")

METRICS = {
    metric.name: metric
    for metric in (
        Metric("tiw.watcher.waits", GAUGE, "tasks", _OF_WATCHER),
        Metric("tiw.watcher.oldest_unpolled_s", GAUGE, "seconds", _OF_WATCHER),
        Metric("tiw.watcher.rate", GAUGE, "requests a second", _OF_WATCHER),
        Metric("tiw.watcher.polls", COUNTER, "requests", _OF_WATCHER),
        Metric("tiw.watcher.rejects", COUNTER, "requests", _OF_WATCHER),
        Metric("tiw.watcher.errors", COUNTER, "requests", _OF_WATCHER),
        Metric("tiw.quota.pace", GAUGE, "requests a second", _OF_QUOTA),
        Metric("tiw.quota.part", GAUGE, "0 to 1", _OF_QUOTA),
        Metric("tiw.quota.alone", GAUGE, "0 or 1", _OF_QUOTA),
        Metric("tiw.quota.slot_wait_s", COUNTER, "seconds", _OF_QUOTA),
        Metric("tiw.quota.rejects", COUNTER, "requests", ("account", "action")),
        Metric("tiw.archive.videos_started", COUNTER, "videos"),
        Metric("tiw.archive.videos_copied", COUNTER, "videos"),
        Metric("tiw.archive.videos_found", COUNTER, "videos"),
        Metric("tiw.archive.videos_failed", COUNTER, "videos", ("reason",)),
        Metric("tiw.archive.bytes", COUNTER, "bytes"),
        Metric("tiw.callbacks.received", COUNTER, "requests"),
        Metric("tiw.callbacks.refused", COUNTER, "requests", ("reason",)),
        Metric("tiw.callbacks.waiting", GAUGE, "recordings"),
        Metric("tiw.callbacks.confirmed", COUNTER, "recordings", ("verdict",)),
        Metric("tiw.callbacks.dropped", COUNTER, "recordings"),
        Metric("tiw.events.published", COUNTER, "events", ("source",)),
    )
}
"""All metrics by name."""

MetricCallback = Callable[[Metric, float, "dict[str, str]"], object]


class _Receiver:
    """A callback; an error that it raises is logged and ends nothing. Only the first is logged."""

    def __init__(self, function: MetricCallback) -> None:
        self.function = function
        self._failed = False

    def call(self, metric: Metric, value: float, tags: dict[str, str]) -> None:
        try:
            self.function(metric, value, tags)
        except Exception:
            if not self._failed:
                logger.exception("A callback of on_metrics raised an error. The work goes on.")
            self._failed = True


_receivers: list[_Receiver] = []


def on_metrics(callback: MetricCallback) -> Callable[[], None]:
    """Call ``callback(metric, value, tags)`` with each value of each metric of this process.

    The value of a counter is what is added to its total; the value of a gauge replaces the one
    before. It is called from any thread, often from an event loop, so it must not block. What it
    raises is logged and ends nothing.

    :param callback: gets a :class:`Metric`, the value, and the tags with their values.
    :returns: a function that ends this.
    """
    receiver = _Receiver(callback)
    _receivers.append(receiver)

    def remove() -> None:
        if receiver in _receivers:
            _receivers.remove(receiver)

    return remove


def wanted() -> bool:
    """Return whether there is a callback."""
    return bool(_receivers)


def report(name: str, value: float = 1, **tags: str) -> None:
    """Pass a value to the callbacks; a counter's zero is left out.

    :param name: a name in :data:`METRICS`.
    :param tags: a value for each of its tags.
    """
    if not _receivers:
        return
    metric = METRICS[name]
    if value or metric.kind == GAUGE:
        for receiver in list(_receivers):
            receiver.call(metric, value, dict(tags))


def account_tag(identity: str) -> str:
    """Return the tag ``account`` for an account's SecretId, which cannot be read from it."""
    return hashlib.sha256(identity.encode()).hexdigest()[:8]
