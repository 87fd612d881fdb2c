# SPDX-License-Identifier: Apache-2.0
"""The sensors that wait for recordings and for the other TIW tasks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import (  # isort: skip
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    conf,
)
from airflow.sdk import BaseSensorOperator, PokeReturnValue  # isort: skip

from tiw_automation.airflow.arguments import flag
from tiw_automation.airflow.deferral import may_change
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.trigger_event import settled
from tiw_automation.airflow.wait_operator import (
    TiwOnlineRecordFailed as TiwOnlineRecordFailed,
    TiwTaskFailed as TiwTaskFailed,
    WaitLimits,
    WaitsForRecords,
    WaitsForTasks,
)
from tiw_automation.core import Outcome
from tiw_automation.core.waiting import DEFAULT_POLL_INTERVAL_S, out_of_time

if TYPE_CHECKING:
    from airflow.sdk import Context, XComArg


class WaitingSensor(WaitsForTasks, BaseSensorOperator):
    """Waits until TIW tasks have ended, by poking or in the triggerer."""

    def __init__(
        self, *, deferrable: bool, poke_interval: float | timedelta | None, **kwargs: Any
    ) -> None:
        if poke_interval is not None:
            kwargs["poke_interval"] = poke_interval
        elif flag("deferrable", deferrable):
            kwargs["poke_interval"] = DEFAULT_POLL_INTERVAL_S
        super().__init__(**kwargs)
        self.deferrable = deferrable
        # The last outcome of each task.
        self._seen: dict[str, Outcome] = {}

    def execute(self, context: Context) -> Any:
        """Wait; where the timeout elapses, what has finished is pushed, as after a deferral."""
        try:
            return super().execute(context)
        except (AirflowSensorTimeout, AirflowSkipException) as over:
            # Airflow's loop gives up without a cause; where it skips for what a poke raised, that
            # is the cause.
            if over.__cause__ is not None or not self._seen:
                raise
        return self._give_up(context)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Go on after a deferral; ``never_fail`` skips for the same errors as when poking."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except AirflowSkipException as skip:
            # Airflow skips for a trigger that broke too, which is not a TIW task's fault.
            cause = skip.__cause__
            judged = isinstance(cause, (AirflowSensorTimeout, AirflowFailException))
            if cause is not None and not judged and not self.never_fail:
                raise cause from None
            raise
        except Exception as error:
            if self.never_fail:
                raise AirflowSkipException("Skipping, because never_fail is set.") from error
            raise

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll each task that is not settled; done when all are.

        Defers from here, so that Airflow's own loop treats the first answer in both modes alike.
        """
        found = self._poll(context)
        if flag("deferrable", self.deferrable) and not found.is_done:
            ended = [settled(seen) for seen in self._seen.values() if seen.is_final]
            self.defer_until_settled(self.asked_ids(context), self.limits(), ended)
        return found

    def limits(self) -> WaitLimits:
        """Return how often to poll, and when the wait ends."""
        deferrable = flag("deferrable", self.deferrable)
        return WaitLimits(
            poll_interval_s=float(self.poke_interval),
            timeout_s=float(self.timeout),
            execution_timeout=self.execution_timeout if deferrable else None,
            # What Airflow raises for a sensor's timeout, which no retry follows.
            timed_out=AirflowSensorTimeout,
        )

    def _poll(self, context: Context) -> PokeReturnValue:
        self.check_arguments()
        ids = self.asked_ids(context)
        open_ids = [i for i in ids if i not in self._seen or not self._seen[i].is_final]
        with self.client() as client:
            outcomes = self.describe(client, open_ids) if open_ids else []
        self._seen |= {outcome.task_id: outcome for outcome in outcomes}
        ends = [self._seen[task_id] for task_id in ids]
        # A task that is refused is polled again as long as others are waited for.
        if any(may_change(end) for end in ends):
            return PokeReturnValue(is_done=False)
        return PokeReturnValue(is_done=True, xcom_value=self.finish(context, ends, self.limits()))

    def _give_up(self, context: Context) -> list[str]:
        """Push and judge the last outcomes."""
        limits, wanted = self.limits(), self.wanted_states()
        ends = [
            out_of_time(seen, limits.timeout_s, wanted) if may_change(seen) else seen
            for seen in (self._seen[task_id] for task_id in self.asked_ids(context))
        ]
        try:
            return self.finish(context, ends, limits)
        except (AirflowSensorTimeout, AirflowFailException) as error:
            if not (self.soft_fail or self.never_fail):
                raise
            which = "soft_fail" if self.soft_fail else "never_fail"
            raise AirflowSkipException(f"Skipping, because {which} is set: {error}") from error


class TiwOnlineRecordSensor(WaitsForRecords, WaitingSensor):
    """Waits until recordings are FINISHED, and pushes the URLs of their videos.

    ``return_value`` is the flat list of URLs in the order asked, ready for
    ``.expand(url=sensor.output)``; the key ``records`` holds the list of records. Several
    recordings are all settled first; those that finished are pushed, and then the task fails
    without a retry and names each that failed. It ends in the same way where its timeout elapses.
    A network fault or throttling ends no wait, and a task that is killed stops no recording.

    :param record_task_id: the TaskId that StartOnlineRecord returned, or a list of them.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param deferrable: whether to wait in the triggerer, without a worker; Airflow's
        ``[operators] default_deferrable`` by default.
    :param video_kinds: the kinds of video wanted: any of camera, screen_share, whiteboard,
        mixed, audio; all by default.
    :param accept_finish_reasons: the finish reasons that are not a failure; None means all but
        EXCEPTION.
    :param require_videos: whether a finished recording without a video is a failure.
    :param push_records: whether to push the records too.
    :param poke_interval: the least time between two polls of one recording: 5 s by default where
        it defers, because the triggerer's quota limits the rest; Airflow's minute where it pokes,
        because workers do not know of each other.
    """

    template_fields: Sequence[str] = ("record_task_id", "sdk_app_id", "tencentcloud_conn_id")

    def __init__(
        self,
        *,
        record_task_id: str | list[str] | XComArg,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        video_kinds: Sequence[str] | None = None,
        accept_finish_reasons: Sequence[str] | None = None,
        require_videos: bool = True,
        push_records: bool = True,
        poke_interval: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(deferrable=deferrable, poke_interval=poke_interval, **kwargs)
        self.record_task_id = record_task_id
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.video_kinds = video_kinds
        self.accept_finish_reasons: str | Sequence[str] | None = accept_finish_reasons
        self.require_videos = require_videos
        self.push_records = push_records


class TiwTaskSensor(WaitingSensor):
    """Waits until TIW tasks of a kind have ended, and pushes the URLs of their results.

    ``return_value`` is the flat list of URLs in the order asked, ready for
    ``.expand(url=sensor.output)``; the key ``tasks`` holds the results. Several tasks are all
    settled first; those that finished are pushed, and then the Airflow task fails without a retry
    and names each that failed. It ends in the same way where its timeout elapses. A network fault
    or throttling ends no wait, and an Airflow task that is killed stops nothing.

    :param tiw_task_id: the TaskId that the create action returned, or a list of them.
    :param task_kind: the kind, such as ``transcode``; the sensors of one kind have their own.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param deferrable: whether to wait in the triggerer, without a worker; Airflow's
        ``[operators] default_deferrable`` by default.
    :param until: a state, or a list of states, of the kind to wait for instead of the end. A task
        that can no longer reach any of them fails.
    :param accept_finish_reasons: the finish reasons that are not a failure; None means all but
        EXCEPTION.
    :param require_urls: whether a task of a kind that must have a result is a failure without
        one.
    :param poke_interval: as in :class:`TiwOnlineRecordSensor`.
    """

    template_fields: Sequence[str] = (
        "task_kind",
        "tiw_task_id",
        "sdk_app_id",
        "tencentcloud_conn_id",
    )

    def __init__(
        self,
        *,
        tiw_task_id: str | list[str] | XComArg,
        task_kind: str | None = None,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        until: str | Sequence[str] | None = None,
        accept_finish_reasons: Sequence[str] | None = None,
        require_urls: bool = True,
        poke_interval: float | timedelta | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(deferrable=deferrable, poke_interval=poke_interval, **kwargs)
        self.task_kind: str = task_kind or self.task_kind
        self.tiw_task_id = tiw_task_id
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.until = until
        self.accept_finish_reasons: str | Sequence[str] | None = accept_finish_reasons
        self.require_urls = require_urls


class TiwTranscodeSensor(TiwTaskSensor):
    """Waits until decks are transcoded, and pushes their URLs.

    A dynamic deck has one URL, a static one has one for each page.
    """

    task_kind = "transcode"


class TiwPptCheckSensor(TiwTaskSensor):
    """Waits until decks are checked, and pushes the URLs of those that were repaired.

    A check that finds errors has finished: they are in ``tasks``, under ``result``.
    """

    task_kind = "ppt_check"


class TiwSnapshotSensor(TiwTaskSensor):
    """Waits until snapshots of whiteboards are taken, and pushes the URLs of their pictures."""

    task_kind = "snapshot"


class TiwWhiteboardPushSensor(TiwTaskSensor):
    """Waits until whiteboard pushes are STOPPED, or with ``until="PUSHING"`` until they run.

    A push has no URLs.
    """

    task_kind = "whiteboard_push"


class TiwVideoGenerationSensor(TiwTaskSensor):
    """Waits until videos are generated from recordings, and pushes their URLs."""

    task_kind = "video_generation"
