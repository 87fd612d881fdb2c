# SPDX-License-Identifier: Apache-2.0
"""The operators that start, pause, resume, stop and describe recordings.

Those of the other tasks are in :mod:`~tiw_automation.airflow.task_operators`, and imported from
here as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import AirflowException, conf  # isort: skip
from airflow.sdk.log import mask_secret  # isort: skip

from tiw_automation.airflow.arguments import flag, one_task_id
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.kept_task import KeptTask
from tiw_automation.airflow.task_operators import (
    TiwCreateTaskOperator as TiwCreateTaskOperator,
    TiwPptCheckOperator as TiwPptCheckOperator,
    TiwSnapshotOperator as TiwSnapshotOperator,
    TiwStopWhiteboardPushOperator as TiwStopWhiteboardPushOperator,
    TiwTranscodeOperator as TiwTranscodeOperator,
    TiwVideoGenerationOperator as TiwVideoGenerationOperator,
    TiwWhiteboardPushOperator as TiwWhiteboardPushOperator,
    user_of_task,
)
from tiw_automation.airflow.wait_operator import MayWait, TiwOperator, WaitsForRecords
from tiw_automation.core import (
    START_OPTIONS,
    ConfigurationError,
    TiwClient,
    TiwError,
)
from tiw_automation.core.tasks import check_room_id
from tiw_automation.core.waiting import DEFAULT_POLL_INTERVAL_S

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context, XComArg

# About two seconds after its start a recording is listed.
_LISTED_AFTER_S = 2.5
_OPTIONS = tuple(option.name for option in START_OPTIONS)


class TiwStartOnlineRecordOperator(TiwOperator):
    """Starts to record a room, and pushes the recording's TaskId.

    Safe to retry, and to run again after a crash: the recording user is the same for every try
    of a task in a run, and TIW records once for a user. A recording of that user which already
    runs is returned instead of starting another one. On Airflow 3.3 the TaskId is kept in the
    task's state store as well: a retry also returns a recording that has ended meanwhile. A task
    that was cleared starts anew, unless its recording still runs; so does a retry after a kill that
    stopped the recording.

    Tencent begins about two seconds later, so a wrong signature or room appears as the recording's
    failure in the sensor.

    :param room_id: the room, 1 to 4294967295.
    :param record_user_id: the user that TIW enters the room as; by default made of the DAG, the
        run, the task and the map index.
    :param record_user_sig: that user's signature; made with the key ``user_sig_secret`` of the
        connection by default. Airflow masks it in its logs and pages.
    :param preset: ``whiteboard_only``, ``mixed_stream`` or ``audio_files``.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param stop_on_kill: whether to stop the recording when the task is killed, or its
        ``execution_timeout`` elapses, before the TaskId was pushed; after that the task has ended.
        A kill before the request was sent prevents the start. Airflow gives a kill five seconds; a
        recording whose start is not answered by then continues.
    :param group_id: the whiteboard's IM group, where it is not the room's number.
    :param concat: ``enabled`` (one file a stream, pauses cut out), ``image``.
    :param whiteboard: ``width``, ``height``, ``init_param``.
    :param mix_stream: ``enabled``, ``disable_audio``, ``model_id``, ``teacher_id``, ``custom``.
    :param extras: further features; MIX_STREAM is set where mix_stream is enabled.
    :param audio_file_needed: whether each stream also gets an mp3.
    :param record_control: which streams are recorded.
    :param record_mode: ``REALTIME_MODE`` or ``VIDEO_GENERATION_MODE``.
    :param chat_group_id: the chat's IM group.
    :param auto_stop_timeout: seconds without audio, video or whiteboard after which it ends.
    :param extra_data: for Tencent's own use.
    :param trtc_room_id: the TRTC room, where it is not the room's number.
    :param trtc_room_id_str: the TRTC room's name, used instead of the number.
    """

    template_fields: Sequence[str] = (
        "room_id",
        "record_user_id",
        "record_user_sig",
        "preset",
        "sdk_app_id",
        "tencentcloud_conn_id",
        *_OPTIONS,
    )
    structured_fields: frozenset[str] = frozenset(
        option.name for option in START_OPTIONS if option.type in ("dict", "list")
    )

    def __init__(
        self,
        *,
        room_id: int | str | XComArg,
        record_user_id: str | None = None,
        record_user_sig: str | None = None,
        preset: str | None = None,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        stop_on_kill: bool = False,
        group_id: str | None = None,
        concat: Mapping[str, Any] | None = None,
        whiteboard: Mapping[str, Any] | None = None,
        mix_stream: Mapping[str, Any] | None = None,
        extras: Sequence[str] | None = None,
        audio_file_needed: bool | None = None,
        record_control: Mapping[str, Any] | None = None,
        record_mode: str | None = None,
        chat_group_id: str | None = None,
        auto_stop_timeout: int | None = None,
        extra_data: str | None = None,
        trtc_room_id: int | None = None,
        trtc_room_id_str: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.room_id = room_id
        self.record_user_id = record_user_id
        self.record_user_sig = record_user_sig
        self.preset = preset
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.stop_on_kill = stop_on_kill
        self.group_id = group_id
        self.concat = concat
        self.whiteboard = whiteboard
        self.mix_stream = mix_stream
        self.extras = extras
        self.audio_file_needed = audio_file_needed
        self.record_control = record_control
        self.record_mode = record_mode
        self.chat_group_id = chat_group_id
        self.auto_stop_timeout = auto_stop_timeout
        self.extra_data = extra_data
        self.trtc_room_id = trtc_room_id
        self.trtc_room_id_str = trtc_room_id_str
        self._client: TiwClient | None = None
        self._kept: KeptTask | None = None
        self._started: str | None = None
        # The room and the user of the start, and how many requests the client had sent before it
        # and before its latest attempt: as long as the number is the same, nothing was sent.
        self._asked_for: tuple[int, str] | None = None
        self._sent_before_all = 0
        self._sent_before: int | None = None
        self._is_executing = False
        self._was_killed = False
        self._sleep: Callable[[float], None] = time.sleep

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # Hides the signature on the page of rendered templates and in the logs.
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if parent is self and self.record_user_sig:
            mask_secret(self.record_user_sig)

    def execute(self, context: Context) -> str:
        """Start, or find the recording that an earlier try has started."""
        self._is_executing = True
        try:
            return self._recording(context)
        finally:
            # In this order: a kill that comes in between is handled twice, and never lost.
            self._is_executing = False
            if self._was_killed:
                self._stop_what_was_started()
                raise AirflowException("The task was killed while it was starting a recording.")

    def _recording(self, context: Context) -> str:
        room_id = check_room_id(self.room_id)
        flag("stop_on_kill", self.stop_on_kill)
        user = self.record_user_id or user_of_task("tic_record_user", room_id, context)
        self._kept = KeptTask(context, "record_task_id", self.log)
        with self.client() as self._client:
            found = self._kept.find(self._client, "online_record", self.sdk_app_id)
            if found is not None:
                self._started = found.task_id
                return found.task_id
            self._started = self._start(self._client, room_id, user)
        self.log.info("Room %s is recorded by %s: recording %s.", room_id, user, self._started)
        self._kept.keep(self._started)
        return self._started

    def _start(self, client: TiwClient, room_id: int, user: str) -> str:
        signature = self.record_user_sig
        if signature is not None and not isinstance(signature, str):
            raise ConfigurationError(
                f"record_user_sig must be a text, not {type(signature).__name__}."
            )
        user_sig_key = None if signature else TiwHook(self.tencentcloud_conn_id).user_sig_key
        self._sent_before_all = client.requests_sent
        self._asked_for = (room_id, user)

        def before_each() -> None:
            # In this order: a kill that comes in between also prevents the start.
            self._sent_before = client.requests_sent
            if self._was_killed:
                raise AirflowException("The task was killed, so no start is sent.")

        return client.start_online_record(
            room_id,
            record_user_id=user,
            record_user_sig=signature,
            user_sig_key=user_sig_key,
            preset=self.preset,
            sdk_app_id=self.sdk_app_id,
            before_each=before_each,
            **{name: getattr(self, name) for name in _OPTIONS},
        )

    def on_kill(self) -> None:
        """Stop the recording if ``stop_on_kill`` is set, also one that is just being started."""
        if not flag("stop_on_kill", self.stop_on_kill) or self._was_killed:
            return
        self._was_killed = True
        if not self._is_executing:
            self._stop_what_was_started()
        # Airflow calls this from a signal handler in the middle of execute, which may hold any lock
        # and may await an answer of Airflow: so execute does the rest. Only a start that still
        # waits for its slot is ended here.
        elif self._client is not None and self._client.requests_sent == self._sent_before:
            raise AirflowException("The task was killed, so no start is sent.")

    def _stop_what_was_started(self) -> None:
        """Stop the recording if it is known or can be found; log what was done.

        Reads nothing from Airflow, because another call may await Airflow's answer at this moment.
        """
        client = self._client
        if client is None:
            return
        with client:
            started = self._started
            if started is None and self._asked_for and client.requests_sent > self._sent_before_all:
                started = self._find(client, *self._asked_for)
            if started is None:
                return
            try:
                did = client.stop_online_record(started, self.sdk_app_id)
            except TiwError as error:
                self.log.error(
                    "The task was killed, but its recording %s could not be stopped: %s",
                    started,
                    error,
                )
                return
        if did:
            self.log.info("Recording %s was stopped, because the task was killed.", started)
            if self._kept is not None:
                self._kept.forget()
        else:
            self.log.info("Recording %s had already ended when the task was killed.", started)

    def _find(self, client: TiwClient, room_id: int, user: str) -> str | None:
        """Return the recording of a start that was not answered, if it can be found."""
        try:
            found = client.find_online_record(room_id, user, self.sdk_app_id)
            if found is None:
                self._sleep(_LISTED_AFTER_S)
                found = client.find_online_record(room_id, user, self.sdk_app_id)
        except TiwError as error:
            self.log.warning(
                "It is unknown whether %s records room %s, so nothing was stopped: %s",
                user,
                room_id,
                error,
            )
            return None
        if found is None:
            self.log.warning(
                "No recording of %s in room %s was found, so nothing was stopped.", user, room_id
            )
        return found


class _ChangeOperator(TiwOperator):
    template_fields: Sequence[str] = ("record_task_id", "sdk_app_id", "tencentcloud_conn_id")

    def __init__(
        self,
        *,
        record_task_id: str | XComArg,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.record_task_id = record_task_id
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id

    def _change(self, change: Callable[..., bool], done: str) -> str:
        task_id = one_task_id("record_task_id", self.record_task_id)
        with self.client() as client:
            _log_change(self, task_id, change(client, task_id, self.sdk_app_id), done)
        return task_id


class TiwPauseOnlineRecordOperator(_ChangeOperator):
    """Pauses a recording and pushes its TaskId; succeeds also where it is paused already.

    :param record_task_id: the TaskId that StartOnlineRecord returned.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    """

    def execute(self, context: Context) -> str:
        """Pause."""
        return self._change(TiwClient.pause_online_record, "paused")


class TiwResumeOnlineRecordOperator(_ChangeOperator):
    """Resumes a paused recording and pushes its TaskId; succeeds also where it runs already.

    :param record_task_id: the TaskId that StartOnlineRecord returned.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    """

    def execute(self, context: Context) -> str:
        """Resume."""
        return self._change(TiwClient.resume_online_record, "resumed")


class TiwDescribeOnlineRecordOperator(_ChangeOperator):
    """Polls a recording once, without waiting, and pushes its record.

    :param record_task_id: the TaskId that StartOnlineRecord returned.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    """

    def execute(self, context: Context) -> dict[str, Any]:
        """Poll."""
        task_id = one_task_id("record_task_id", self.record_task_id)
        with self.client() as client:
            record = client.describe_online_record(task_id, self.sdk_app_id)
        self.log.info("Recording %s is %s.", record.task_id, record.status)
        return record.to_dict()


class TiwStopOnlineRecordOperator(WaitsForRecords, MayWait):
    """Stops a recording; succeeds also where it has ended already.

    Pushes the TaskId; with ``wait_for_completion`` waits until the videos are ready and pushes
    what the sensor pushes.

    :param record_task_id: the TaskId that StartOnlineRecord returned.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param wait_for_completion: whether to wait until it is FINISHED.
    :param wait_timeout: how long, in seconds or as a timedelta; an hour by default. When it
        elapses the task fails in the ordinary way, so that ``retries`` apply, and the next try
        waits as long again.
    :param poll_interval: the least time between two polls, in the same forms; 5 s by default.
    :param deferrable: whether to wait in the triggerer, without a worker; Airflow's
        ``[operators] default_deferrable`` by default.
    :param video_kinds: as in the sensor.
    :param accept_finish_reasons: as in the sensor.
    :param require_videos: as in the sensor.
    :param push_records: as in the sensor.
    """

    template_fields: Sequence[str] = ("record_task_id", "sdk_app_id", "tencentcloud_conn_id")

    def __init__(
        self,
        *,
        record_task_id: str | XComArg,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        wait_for_completion: bool = False,
        wait_timeout: float | timedelta = 3600.0,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL_S,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        video_kinds: Sequence[str] | None = None,
        accept_finish_reasons: Sequence[str] | None = None,
        require_videos: bool = True,
        push_records: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.record_task_id = record_task_id
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.wait_for_completion = wait_for_completion
        self.wait_timeout = wait_timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.video_kinds = video_kinds
        self.accept_finish_reasons: str | Sequence[str] | None = accept_finish_reasons
        self.require_videos = require_videos
        self.push_records = push_records

    def execute(self, context: Context) -> Any:
        """Stop, and wait if that was asked for."""
        self.check_arguments()
        task_id = one_task_id("record_task_id", self.record_task_id)
        with self.client() as client:
            did = client.stop_online_record(task_id, self.sdk_app_id)
            _log_change(self, task_id, did, "stopped")
            return self.wait_if_asked(context, client, task_id)


def _log_change(operator: Any, task_id: str, did: bool, what: str) -> None:
    done = "was" if did else "had already been"
    operator.log.info("Recording %s %s %s.", task_id, done, what)
