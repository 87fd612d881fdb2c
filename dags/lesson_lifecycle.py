# SPDX-License-Identifier: Apache-2.0
"""Record a lesson from beginning to end: start, lesson, stop, wait, archive."""

from __future__ import annotations

from datetime import timedelta

from airflow.providers.standard.sensors.date_time import DateTimeSensorAsync
from airflow.sdk import Param, XComArg, dag

from tiw_automation.airflow.operators import (
    TiwStartOnlineRecordOperator,
    TiwStopOnlineRecordOperator,
)
from tiw_automation.airflow.transfers import TiwOnlineRecordToObjectStorageOperator


@dag(
    schedule=None,
    tags=["tiw"],
    render_template_as_native_obj=True,
    params={
        "room_id": Param(880528, type="integer", minimum=1, maximum=4294967295),
        "lesson_seconds": Param(45 * 60, type="integer", minimum=0),
        "destination": Param(
            "file:///tmp/lessons", type="string", description="Any object storage of Airflow."
        ),
    },
)
def lesson_lifecycle() -> None:
    # The connection has the key that signs the recording user. A retry finds the recording that an
    # earlier try has started.
    record = TiwStartOnlineRecordOperator(
        task_id="record",
        room_id="{{ params.room_id }}",
        concat={"enabled": True},
        # A start that is killed before it pushed the TaskId stops its recording.
        stop_on_kill=True,
        # Ends a recording that no task can stop any more, after its room was silent for so long.
        auto_stop_timeout=600,
        retries=3,
        retry_delay=timedelta(seconds=20),
    )
    lesson = DateTimeSensorAsync(
        task_id="lesson",
        target_time=(
            "{{ (dag_run.start_date + macros.timedelta(seconds=params.lesson_seconds))"
            ".isoformat() }}"
        ),
    )
    # A teardown also runs when the run is marked failed or the lesson's sensor failed: a recording
    # that is never stopped costs money.
    stop = TiwStopOnlineRecordOperator(
        task_id="stop",
        record_task_id=record.output,
        wait_for_completion=True,
        deferrable=True,
        poll_interval=5,
        retries=3,
        retry_delay=timedelta(seconds=20),
    ).as_teardown(setups=record)
    archive = TiwOnlineRecordToObjectStorageOperator(
        task_id="archive",
        records=XComArg(stop, key="records"),
        destination="{{ params.destination }}",
        retries=5,
        retry_delay=timedelta(minutes=1),
        retry_exponential_backoff=True,
    )
    record >> lesson >> stop >> archive


lesson_lifecycle()
