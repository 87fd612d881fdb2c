# SPDX-License-Identifier: Apache-2.0
"""What a user writes; strict type checkers must accept it against the installed wheel.

The assertions are for the type checkers; the file is not run.
"""

from __future__ import annotations

from typing import Any, assert_type

from airflow.sdk import XComArg

from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.operators import TiwStartOnlineRecordOperator
from tiw_automation.airflow.sensors import TiwOnlineRecordSensor
from tiw_automation.airflow.transfers import TiwOnlineRecordToObjectStorageOperator
from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger
from tiw_automation.core import (
    Acceptance,
    ArchiveFailed,
    LocalStorage,
    OnlineRecord,
    Outcome,
    Progress,
    RecordArchive,
    RecordWatcher,
    Settings,
    TiwClient,
    TiwError,
    Verdict,
    WaitTimeout,
)
from tiw_automation.simulator import Simulator


def video_urls(task_id: str) -> list[str]:
    with TiwClient(sdk_app_id=1400000001, site="intl") as client:
        assert_type(client.settings, Settings)
        record = client.describe_online_record(task_id)
    assert_type(record, OnlineRecord)
    assert_type(record.to_dict(), dict[str, Any])
    return [video.url for video in record.videos if video.url]


async def wait(task_id: str) -> OnlineRecord:
    def report(progress: Progress) -> None:
        print(progress)

    watcher = RecordWatcher(TiwClient())
    try:
        return await watcher.wait(task_id, timeout=3600, on_progress=report)
    except WaitTimeout as error:
        assert_type(error.outcome, Outcome | None)
        raise


async def wait_for_all(task_ids: list[str]) -> dict[str, Verdict]:
    watcher = RecordWatcher(TiwClient())
    acceptance = Acceptance(require_videos=False)
    found: dict[str, Verdict] = {}
    async for outcome in watcher.watch(task_ids, acceptance=acceptance):
        assert_type(outcome.error, TiwError | None)
        found[outcome.task_id] = outcome.verdict
    return found


def archive(record: OnlineRecord) -> list[str]:
    try:
        archived = RecordArchive(LocalStorage("/mnt/lessons")).run([record])
    except ArchiveFailed as failure:
        archived = failure.archived
    return [video.path for video in archived]


def explain(error: TiwError) -> str:
    assert_type(error.code, str)
    assert_type(error.hint, str | None)
    return f"{error.code}: {error.hint or error}"


def simulated() -> None:
    with Simulator(speed=60) as simulator:
        assert_type(simulator.port, int)
        simulator.add("lesson-1", timeline=[{"RECORDING": 60}])


def tasks() -> None:
    started = TiwStartOnlineRecordOperator(task_id="start", room_id="101")
    finished = TiwOnlineRecordSensor(
        task_id="wait", record_task_id=started.output, deferrable=True, timeout=3600
    )
    TiwOnlineRecordToObjectStorageOperator(
        task_id="archive",
        records=XComArg(finished, key="records"),
        record_task_id=started.output,
        destination="file:///mnt/lessons",
    )
    assert_type(TiwHook("tencentcloud_default").get_conn(), TiwClient)
    trigger = TiwOnlineRecordTrigger(
        record_task_ids=["lesson-1"], sdk_app_id=1400000001, end_time=None
    )
    assert_type(trigger.serialize(), tuple[str, dict[str, Any]])
