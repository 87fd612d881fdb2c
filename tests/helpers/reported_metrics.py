# SPDX-License-Identifier: Apache-2.0
"""Collects the metrics that this process reports."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from tiw_automation.core import METRICS, Metric, on_metrics
from tiw_automation.core.metrics import COUNTER


class Reported:
    """Every value that was reported, by name, each with its tags."""

    def __init__(self) -> None:
        self.values: dict[str, list[tuple[float, dict[str, str]]]] = defaultdict(list)

    def add(self, metric: Metric, value: float, tags: dict[str, str]) -> None:
        """Keep a value, whose metric and tags must be those of the table."""
        assert METRICS[metric.name] is metric
        assert set(tags) == set(metric.tags), metric.name
        assert metric.kind != COUNTER or value > 0
        self.values[metric.name].append((value, tags))

    def total(self, name: str, **tags: str) -> float:
        """Return a counter's total, of the values with these tags."""
        return sum(value for value, given in self.values[name] if given.items() >= tags.items())

    def series(self, name: str) -> list[float]:
        """Return the values of a gauge."""
        return [value for value, _ in self.values[name]]


@contextmanager
def reported() -> Iterator[Reported]:
    """Collect what is reported in the context."""
    found = Reported()
    remove = on_metrics(found.add)
    try:
        yield found
    finally:
        remove()
