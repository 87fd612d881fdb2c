# SPDX-License-Identifier: Apache-2.0
"""Wait for recordings, then copy their videos, which Tencent deletes after three days."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import Asset, Param, XComArg, dag

from tiw_automation.airflow.sensors import TiwOnlineRecordSensor
from tiw_automation.airflow.transfers import TiwOnlineRecordToObjectStorageOperator

# DAGs that it schedules find the records and the paths in the event's extra.
archived_lessons = Asset("archived_lessons")


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
        "destination": Param(
            "s3://aws_default@my-bucket/lessons",
            type="string",
            description="A folder of any object storage that Airflow has a connection to, "
            "or file:///mnt/lessons.",
        ),
    },
)
def archive_recordings() -> None:
    finished = TiwOnlineRecordSensor(
        task_id="wait_for_recordings",
        record_task_id="{{ params.record_task_ids }}",
        deferrable=True,
        poke_interval=5,
        timeout=timedelta(hours=6).total_seconds(),
        retries=2,
        retry_delay=timedelta(seconds=30),
    )
    TiwOnlineRecordToObjectStorageOperator(
        task_id="archive",
        records=XComArg(finished, key="records"),
        destination="{{ params.destination }}",
        # A folder for each day, and in it one for each lesson.
        names="{start_date}/{task_id}/{kind}-{user_id}-{video_id}.{format}",
        manifest="{start_date}/{task_id}/manifest.json",
        outlets=[archived_lessons],
        # A retry copies only what is missing; there are three days for it.
        retries=5,
        retry_delay=timedelta(minutes=1),
        retry_exponential_backoff=True,
        max_retry_delay=timedelta(hours=2),
    )


archive_recordings()
