# SPDX-License-Identifier: Apache-2.0
"""Passes the metrics of :mod:`tiw_automation.core.metrics` to Airflow's: StatsD, OpenTelemetry.

A counter is added to by every process. A gauge is that of one process, so only the triggerer and
the API server report any; its tag ``hostname`` keeps the hosts apart.
"""

from __future__ import annotations

import socket
import sys
from functools import cache
from importlib import import_module
from typing import Any

from tiw_automation.core.metrics import COUNTER, GAUGE, Metric, on_metrics

# Since 3.2 the metrics of tasks and those of Airflow's own components are apart.
_SINCE_3_2 = ("airflow.sdk.observability", "airflow.observability")

_exported: set[str] = set()


def export(*, gauges: bool = False) -> None:
    """Pass the counters of this process to Airflow from now on.

    :param gauges: whether to pass the gauges too.
    """
    if not _exported:
        on_metrics(_pass_on)
    _exported.update((COUNTER, GAUGE) if gauges else (COUNTER,))


def _pass_on(metric: Metric, value: float, tags: dict[str, str]) -> None:
    if metric.kind not in _exported:
        return
    if metric.kind == COUNTER:
        _stats().incr(metric.name, value, tags=tags)
    else:
        _stats().gauge(metric.name, value, tags={**tags, "hostname": socket.gethostname()})


@cache
def _stats() -> Any:
    """Return Airflow's metrics in the form in which they are configured in this process."""
    try:
        places = [import_module(f"{place}.stats") for place in _SINCE_3_2]
    except ModuleNotFoundError:
        from airflow.stats import Stats

        return Stats
    for place in places:
        if _is_initialized(place.Stats):
            return place.Stats
    # No part of Airflow does this where triggers run.
    _initialize(places[0].Stats)
    return places[0].Stats


def _is_initialized(stats: Any) -> bool:
    # 3.3 keeps it in the module of the class, 3.2 in the class itself.
    module = sys.modules[stats.__module__]
    factory = getattr(module, "_factory", None) or getattr(stats, "factory", None)
    # 3.2 sets this one where its metrics are used before they are initialized.
    return factory is not None and getattr(factory, "__name__", "") != "NoStatsLogger"


def _initialize(stats: Any) -> None:
    from airflow.sdk.configuration import conf

    stats_utils = import_module("airflow.sdk.observability.metrics.stats_utils")
    try:
        factory = stats_utils.get_stats_factory()
    except TypeError:
        # 3.2
        stats.initialize(factory=stats_utils.get_stats_factory(stats))
    else:
        legacy = conf.getboolean("metrics", "legacy_names_on", fallback=False)
        stats.initialize(factory=factory, export_legacy_names=legacy)
