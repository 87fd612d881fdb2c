# SPDX-License-Identifier: Apache-2.0
"""What a triggerer's watcher does, as Airflow's metrics ``tiw.watcher.*``."""

from __future__ import annotations

from airflow.providers.common.compat.sdk import Stats as Stats

from tiw_automation.core.waiting import WatcherStats


def emit(stats: WatcherStats) -> None:
    """Set one gauge for each of the watcher's figures."""
    for name in WatcherStats.__slots__:
        Stats.gauge(f"tiw.watcher.{name}", getattr(stats, name))
