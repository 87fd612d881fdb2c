# SPDX-License-Identifier: Apache-2.0
"""One run for each finished recording, by Airflow 3.3's partitions.

The events of a trigger have no partition, so a first DAG gives each recording its own. Before
Airflow 3.3 a task cannot do that, and this file holds no DAG: map over the recordings instead,
as finished_recordings.py does.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from airflow.sdk import dag, task

from tiw_automation.airflow import assets
from tiw_automation.airflow.operators import TiwDescribeOnlineRecordOperator

FINISHED = assets.tiw_online_record_asset()
EACH = assets.tiw_online_record_asset(partitioned=True)

if tuple(int(part) for part in version("apache-airflow-core").split(".")[:2]) >= (3, 3):
    from airflow.sdk import PartitionedAssetTimetable
    from airflow.sdk.exceptions import AirflowSkipException

    @dag(schedule=[FINISHED], catchup=False, tags=["tiw"])
    def split_finished_recordings() -> None:
        @task(outlets=[EACH])
        def split(triggering_asset_events: Any = None, outlet_events: Any = None) -> None:
            found = assets.finished_recordings(triggering_asset_events)
            if not found:
                raise AirflowSkipException("Every recording of these events has its run already.")
            outlet_events[EACH].extra = {"sdk_app_id": found[0]["sdk_app_id"]}
            outlet_events[EACH].add_partitions([each["record_task_id"] for each in found])

        split()

    @dag(schedule=PartitionedAssetTimetable(assets=EACH), catchup=False, tags=["tiw"])
    def each_finished_recording() -> None:
        TiwDescribeOnlineRecordOperator(
            task_id="describe", record_task_id="{{ dag_run.partition_key }}"
        )

    split_finished_recordings()
    each_finished_recording()
