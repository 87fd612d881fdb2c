# SPDX-License-Identifier: Apache-2.0
"""Wait for recordings without a worker, then do something with each of their videos."""

from __future__ import annotations

from datetime import timedelta
from urllib.request import urlopen

from airflow.sdk import Param, dag, task

from tiw_automation.airflow.sensors import TiwOnlineRecordSensor


@dag(
    schedule=None,
    tags=["tiw"],
    render_template_as_native_obj=True,
    params={
        "record_task_ids": Param(
            ["lesson-algebra", "lesson-history"],
            type="array",
            items={"type": "string"},
            minItems=1,
            description="The TaskIds that StartOnlineRecord returned.",
        ),
    },
)
def wait_for_recording() -> None:
    finished = TiwOnlineRecordSensor(
        task_id="wait_for_recordings",
        record_task_id="{{ params.record_task_ids }}",
        deferrable=True,
        # The least seconds between two polls of one recording; the quota may make it longer.
        poke_interval=5,
        timeout=timedelta(hours=6).total_seconds(),
        # For API errors; a failed recording fails the task without a retry.
        retries=2,
        retry_delay=timedelta(seconds=30),
    )

    @task(retries=1, retry_delay=timedelta(seconds=10))
    def fetch(url: str) -> int:
        """Download a video and return its size in bytes."""
        with urlopen(url, timeout=60) as answer:
            size = len(answer.read())
        print(f"{size} bytes")
        return size

    fetch.expand(url=finished.output)


wait_for_recording()
