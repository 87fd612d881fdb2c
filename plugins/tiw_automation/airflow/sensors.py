# SPDX-License-Identifier: Apache-2.0
"""The sensor that waits for recordings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import (  # isort: skip
    AirflowFailException,
    AirflowSensorTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
)

from tiw_automation.airflow.events import Settled, from_payload, settled
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger
from tiw_automation.core import (
    Acceptance,
    OnlineRecord,
    Outcome,
    RecordWatcher,
    TiwClient,
    Verdict,
    check_task_ids,
    check_video_kinds,
)

if TYPE_CHECKING:
    from airflow.sdk import Context

# How much later than the trigger Airflow itself may give up: the trigger knows what was last seen.
_GRACE_S = 60.0


class TiwOnlineRecordFailed(AirflowFailException):
    """A recording failed or does not exist; trying the task again cannot change that."""


class TiwOnlineRecordSensor(BaseSensorOperator):
    """Waits until recordings are FINISHED, and pushes the URLs of their videos.

    ``return_value`` is the flat list of URLs in the order asked, ready for
    ``.expand(url=sensor.output)``; the key ``records`` holds the list of records. Several
    recordings are all settled first; what there is is pushed, and then the task fails naming
    each that failed, without a retry. A fault on the way ends no wait.

    :param record_task_id: the TaskId that StartOnlineRecord returned, or a list of them.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection.
    :param deferrable: wait in the triggerer, without a worker; Airflow's
        ``[operators] default_deferrable`` by default.
    :param video_kinds: the kinds of video wanted: any of camera, screen_share, whiteboard,
        mixed, audio; all by default.
    :param accept_finish_reasons: the finish reasons that are no failure.
    :param require_videos: whether a finished recording without a video is a failure.
    :param push_records: whether to push the records too.
    """

    template_fields: Sequence[str] = ("record_task_id", "sdk_app_id", "tencentcloud_conn_id")
    ui_color = "#e6f1f2"

    def __init__(
        self,
        *,
        record_task_id: str | list[str],
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str = TiwHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        video_kinds: Sequence[str] | None = None,
        accept_finish_reasons: Sequence[str] = ("AUTO", "USER_CALL", "FORCE_STOP"),
        require_videos: bool = True,
        push_records: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.record_task_id = record_task_id
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.deferrable = deferrable
        self.video_kinds = video_kinds
        self.accept_finish_reasons = accept_finish_reasons
        self.require_videos = require_videos
        self.push_records = push_records
        self._settled: dict[str, Outcome] = {}

    def execute(self, context: Context) -> Any:
        """Ask once; then poke, or defer to the trigger."""
        if not self.deferrable:
            return super().execute(context)
        found = self.poke(context)
        if found.is_done:
            return found.xcom_value
        timeout = self._deferral_s()
        self.defer(
            trigger=TiwOnlineRecordTrigger(
                record_task_ids=check_task_ids(self.record_task_id),
                end_time=time.time() + timeout,
                sdk_app_id=self.sdk_app_id,
                tencentcloud_conn_id=self.tencentcloud_conn_id,
                poll_interval=float(self.poke_interval),
                accept_finish_reasons=list(self.accept_finish_reasons),
                require_videos=self.require_videos,
            ),
            method_name="execute_complete",
            timeout=timedelta(seconds=timeout + _GRACE_S),
        )

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask once for each recording that is not settled; done when all are."""
        with self._client() as client:
            ids = check_task_ids(self.record_task_id)
            check_video_kinds(self.video_kinds)
            open_ids = [task_id for task_id in ids if task_id not in self._settled]
            outcomes = asyncio.run(self._describe(client, open_ids))
        self._settled |= {o.task_id: o for o in outcomes if o.is_final}
        for outcome in outcomes:
            self.log.info("%s", outcome.message)
        refused = next((o for o in outcomes if o.verdict is Verdict.UNKNOWN), None)
        if refused is not None and refused.error is not None and not refused.error.retryable:
            raise refused.error
        if len(self._settled) < len(ids):
            return PokeReturnValue(is_done=False)
        ends = [self._settled[task_id] for task_id in ids]
        return PokeReturnValue(is_done=True, xcom_value=self._finish(context, ends))

    def execute_complete(self, context: Context, event: Any) -> list[str]:
        """Take the trigger's event, get the finished records, push and judge."""
        _, ends = from_payload(event)
        for end in ends:
            self.log.info("%s", end.message)
        finished = [end.record_task_id for end in ends if end.verdict is Verdict.FINISHED]
        records: dict[str, OnlineRecord] = {}
        if finished:
            with self._client() as client:
                outcomes = asyncio.run(self._describe(client, finished))
            records = {o.task_id: o.raise_for_verdict() for o in outcomes}
        urls = self._push(context, [records[task_id] for task_id in finished])
        self._fail_if_needed(ends)
        return urls

    def _finish(self, context: Context, outcomes: list[Outcome]) -> list[str]:
        good = [o.record for o in outcomes if o.verdict is Verdict.FINISHED and o.record]
        urls = self._push(context, good)
        self._fail_if_needed([settled(outcome) for outcome in outcomes])
        return urls

    def _push(self, context: Context, records: list[OnlineRecord]) -> list[str]:
        kinds = check_video_kinds(self.video_kinds)
        urls = [video.url for record in records for video in record.select(kinds) if video.url]
        task_instance: Any = context["ti"]
        if self.push_records:
            task_instance.xcom_push(key="records", value=[record.to_dict() for record in records])
        # Pushed here as well, because a failing task returns nothing.
        task_instance.xcom_push(key="return_value", value=urls)
        return urls

    def _fail_if_needed(self, ends: list[Settled]) -> None:
        bad = [end for end in ends if end.verdict is not Verdict.FINISHED]
        if not bad:
            return
        summary = f"{len(bad)} of {len(ends)} recordings: " + " ".join(
            f"[{end.record_task_id}: {end.verdict}] {end.message}" for end in bad
        )
        if any(end.verdict in (Verdict.FAILED, Verdict.MISSING) for end in bad):
            raise TiwOnlineRecordFailed(summary)
        if any(end.timed_out for end in bad):
            raise AirflowSensorTimeout(summary)
        # The API refuses or cannot be reached: an ordinary failure, so that retries apply.
        raise RuntimeError(summary)

    async def _describe(self, client: TiwClient, task_ids: list[str]) -> list[Outcome]:
        acceptance = Acceptance(tuple(self.accept_finish_reasons), self.require_videos)
        watcher = RecordWatcher(client)
        found = watcher.describe(task_ids, sdk_app_id=self.sdk_app_id, acceptance=acceptance)
        by_id = {outcome.task_id: outcome async for outcome in found}
        return [by_id[task_id] for task_id in task_ids]

    def _client(self) -> TiwClient:
        return TiwHook(self.tencentcloud_conn_id).get_conn()

    def _deferral_s(self) -> float:
        # Airflow does not apply execution_timeout to the deferred phase.
        limits = [float(self.timeout)]
        if self.execution_timeout is not None:
            limits.append(self.execution_timeout.total_seconds())
        return min(limits)
