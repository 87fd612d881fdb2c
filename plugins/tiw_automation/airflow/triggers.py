# SPDX-License-Identifier: Apache-2.0
"""Waits in the triggerer, for as many sensors as there are, with one watcher an account."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import AsyncIterator
from typing import Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.triggers.base import BaseTrigger, TriggerEvent  # isort: skip
from asgiref.sync import sync_to_async

from tiw_automation.airflow.events import settled, to_payload
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.core import Acceptance, RecordWatcher


class TiwOnlineRecordTrigger(BaseTrigger):
    """Fires once, when every given recording has ended or the time is up.

    The event carries ids and verdicts, never a URL. A fault on the way (network, throttling)
    delays the recording that met it and fires nothing. All triggers of a triggerer share one
    watcher for each account, so that any number of them keeps to its quota. A restart resumes
    the wait: its state is these arguments.

    :param record_task_ids: the recordings.
    :param end_time: when to give up, UNIX seconds by the wall clock, or None for never.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection.
    :param poll_interval: the least seconds between two requests for one recording, and the
        time before the first: the sensor has just asked.
    :param accept_finish_reasons: the reasons that are no failure.
    :param require_videos: whether a finished recording without a video is a failure.
    """

    def __init__(
        self,
        *,
        record_task_ids: list[str],
        end_time: float | None,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str = TiwHook.default_conn_name,
        poll_interval: float = 30.0,
        accept_finish_reasons: list[str] | None = None,
        require_videos: bool = True,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record_task_ids = record_task_ids
        self.end_time = end_time
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.poll_interval = poll_interval
        self.accept_finish_reasons = accept_finish_reasons
        self.require_videos = require_videos

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all JSON-native."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "record_task_ids": self.record_task_ids,
                "end_time": self.end_time,
                "sdk_app_id": self.sdk_app_id,
                "tencentcloud_conn_id": self.tencentcloud_conn_id,
                "poll_interval": self.poll_interval,
                "accept_finish_reasons": self.accept_finish_reasons,
                "require_videos": self.require_videos,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        # In a thread, because reading a connection blocks and deadlocks the loop of some versions;
        # by asgiref, because Airflow 3.1 then talks to its supervisor in the loop that it came
        # from: from any other thread two answers cross, and the triggerer dies.
        connect = sync_to_async(TiwHook(self.tencentcloud_conn_id).get_conn, thread_sensitive=False)
        client = await connect()
        watcher = RecordWatcher.shared(client)
        timeout = None if self.end_time is None else max(self.end_time - time.time(), 0.0)
        outcomes = watcher.watch(
            self.record_task_ids,
            sdk_app_id=self.sdk_app_id,
            timeout=timeout,
            acceptance=self._acceptance(),
            poll_interval=self.poll_interval,
            # An event within the first moments can overtake the worker that is still deferring,
            # and Airflow then fails the task.
            initial_delay=min(self.poll_interval, math.inf if timeout is None else timeout),
        )
        ends = {}
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                ends[outcome.task_id] = settled(outcome)
                self.log.info("%s", outcome.message)
        in_order = [ends[task_id] for task_id in dict.fromkeys(self.record_task_ids)]
        payload = to_payload(watcher.client.sdk_app_id(self.sdk_app_id), in_order)
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]

    def _acceptance(self) -> Acceptance:
        if self.accept_finish_reasons is None:
            return Acceptance(require_videos=self.require_videos)
        return Acceptance(tuple(self.accept_finish_reasons), self.require_videos)
