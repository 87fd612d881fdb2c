# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from tiw_automation.airflow import shared_watcher
from tiw_automation.core import WatcherStats


def test_every_figure_of_a_watcher_is_a_gauge(monkeypatch: pytest.MonkeyPatch) -> None:
    gauges: dict[str, float] = {}
    # The service that receives metrics does not run here.
    monkeypatch.setattr(shared_watcher.Stats, "gauge", gauges.__setitem__, raising=False)
    shared_watcher.emit_metrics(WatcherStats(3, 20, 1, 2, 1.5, 0.25))
    assert gauges == {
        "tiw.watcher.waits": 3,
        "tiw.watcher.polls": 20,
        "tiw.watcher.rejects": 1,
        "tiw.watcher.errors": 2,
        "tiw.watcher.oldest_unpolled_s": 1.5,
        "tiw.watcher.rate": 0.25,
    }
