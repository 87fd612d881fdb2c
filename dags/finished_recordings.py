# SPDX-License-Identifier: Apache-2.0
"""Scheduled by finished recordings: reports everything that the application records."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import dag, task

from tiw_automation.airflow import assets

FINISHED = assets.tiw_online_record_asset()


@dag(schedule=[FINISHED], catchup=False, tags=["tiw"])
def finished_recordings() -> None:
    @task
    def batches(triggering_asset_events: Any = None) -> list[list[dict[str, Any]]]:
        """Return what has finished: one run may have the events of many recordings."""
        found = assets.finished_recordings(triggering_asset_events)
        return [found[first : first + 100] for first in range(0, len(found), 100)]

    @task(retries=1, retry_delay=timedelta(seconds=10))
    def report(recordings: list[dict[str, Any]]) -> list[str]:
        for recording in recordings:
            print(recording["message"])
        return [recording["record_task_id"] for recording in recordings]

    report.expand(recordings=batches())


finished_recordings()
