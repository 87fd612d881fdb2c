# SPDX-License-Identifier: Apache-2.0
"""Publish the videos of the recordings that finished, also where others failed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

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
def publish_what_finished() -> None:
    finished = TiwOnlineRecordSensor(
        task_id="wait_for_recordings",
        record_task_id="{{ params.record_task_ids }}",
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(hours=6).total_seconds(),
        retries=2,
    )

    # A plain task: Airflow does not expand a task over the output of a failed one.
    @task(trigger_rule="all_done")
    def publish(ti: Any = None) -> list[str]:
        """Read the URLs that were pushed, also by a wait that failed."""
        urls: list[str] = ti.xcom_pull(task_ids="wait_for_recordings") or []
        print("\n".join(urls))
        return urls

    finished >> publish()


publish_what_finished()
