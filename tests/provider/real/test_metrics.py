# SPDX-License-Identifier: Apache-2.0
"""What Airflow's triggerer, tasks and API server report to StatsD."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from callback_posts import callback, post
from metric_servers import Received

from tiw_automation.simulator import Simulator

DAG = "archive_recordings"


def test_every_component_reports_its_part(
    simulator: Simulator, airflow: Any, statsd: tuple[int, Received], tmp_path: Path
) -> None:
    received = statsd[1]
    copied = received.total("airflow.tiw.archive.videos_copied")
    simulator.add("measured", timeline=[{"RECORDING": 5000}, {"STOPPED": 1}])
    conf = {"record_task_ids": ["measured"], "destination": f"file://{tmp_path}"}
    run_id = airflow.trigger(DAG, conf)
    assert post(airflow, "callbacks", callback(simulator, "no-such", key="guessed"))[0] == 403
    airflow.wait_for_task(DAG, run_id, "wait_for_recordings", "deferred")
    waits = received.until("airflow.tiw.watcher.waits")
    simulator.advance(5000)
    airflow.wait_for_run(DAG, run_id)
    assert airflow.run_state(DAG, run_id) == "success"
    # The triggerer.
    assert max(sample.value for sample in waits) >= 1
    assert all(sample.kind == "g" and sample.tags["hostname"] for sample in waits)
    assert all(sample.tags["app"] == str(simulator.sdk_app_id) for sample in waits)
    (account,) = {sample.tags["account"] for sample in waits}
    assert max(s.value for s in received.of("airflow.tiw.quota.pace", account=account)) > 0
    assert received.total("airflow.tiw.watcher.polls", account=account) >= 2
    # A task.
    assert received.total("airflow.tiw.archive.videos_copied") - copied == 2
    assert received.total("airflow.tiw.archive.bytes") > 0
    # The API server.
    assert received.until("airflow.tiw.callbacks.refused", reason="forged")
    assert received.total("airflow.tiw.callbacks.received") >= 1
