# SPDX-License-Identifier: Apache-2.0
"""The operators that create TIW tasks of the other kinds, and stop a whiteboard push.

Import them from :mod:`tiw_automation.airflow.operators`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import conf  # isort: skip
from airflow.sdk.log import mask_secret  # isort: skip

from tiw_automation.airflow.arguments import one_task_id
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.kept_task import KeptTask
from tiw_automation.airflow.lineage import lineage
from tiw_automation.airflow.wait_operator import MayWait, TiwOperator, TiwTaskFailed
from tiw_automation.core import (
    TASK_KINDS,
    ConfigurationError,
    StartUncertain,
    TaskKind,
    TiwClient,
    TiwTask,
    check_task_ids,
)
from tiw_automation.core.formatting import shown
from tiw_automation.core.tasks import Option, check_room_id, find_kind
from tiw_automation.core.waiting import DEFAULT_POLL_INTERVAL_S

if TYPE_CHECKING:
    import jinja2
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context, XComArg

# The longest kind, a video's generation, takes an hour and more.
_WAIT_S = 6 * 3600.0
_SHARED_FIELDS = ("sdk_app_id", "tencentcloud_conn_id")


def option_fields(task_kind: str) -> tuple[str, ...]:
    """Return the templated fields of the operator of a kind: every option, and the shared ones."""
    return (*(option.name for option in TASK_KINDS[task_kind].options), *_SHARED_FIELDS)


def structured_options(task_kind: str) -> frozenset[str]:
    """Return those options of a kind that are lists or dictionaries."""
    options = TASK_KINDS[task_kind].options
    return frozenset(option.name for option in options if option.type in ("dict", "list"))


class TiwCreateTaskOperator(MayWait):
    """Creates a TIW task of a kind, and pushes its TaskId.

    With ``wait_for_completion`` it waits until the task has ended and pushes what the sensor
    pushes: the URLs, and under ``tasks`` the results. Until then ``tasks`` holds what the create
    action returned. A kill ends no TIW task.

    On Airflow 3.3 the TaskId is kept in the task's state store: a retry continues with the TIW
    task that an earlier try has created, unless that one failed. Before 3.3 a retry creates
    another one; only a push is found by its user while it runs. If it is unknown whether a task
    was created, and a retry could not find it, the Airflow task fails without a retry.

    :param task_kind: the kind, such as ``transcode``; the operators of one kind have their own.
    :param options: the options of the kind's create action, in snake case.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param wait_for_completion: whether to wait until it has ended.
    :param wait_timeout: how long, in seconds or as a timedelta; six hours by default. When it
        elapses the task fails in the ordinary way, so that ``retries`` apply.
    :param poll_interval: the least time between two polls, in the same forms; 5 s by default.
    :param deferrable: whether to wait in the triggerer, without a worker; Airflow's
        ``[operators] default_deferrable`` by default.
    :param until: as in the sensor.
    :param accept_finish_reasons: as in the sensor.
    :param require_urls: as in the sensor.
    """

    template_fields: Sequence[str] = ("task_kind", "options", *_SHARED_FIELDS)
    structured_fields: frozenset[str] = frozenset({"options"})
    ui_color = "#dcecf5"

    def __init__(
        self,
        *,
        task_kind: str | None = None,
        options: Mapping[str, Any] | str | XComArg | None = None,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        wait_for_completion: bool = False,
        wait_timeout: float | timedelta = _WAIT_S,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL_S,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        until: str | Sequence[str] | None = None,
        accept_finish_reasons: Sequence[str] | None = None,
        require_urls: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.task_kind: str = task_kind or self.task_kind
        self.options: Any = options
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.wait_for_completion = wait_for_completion
        self.wait_timeout = wait_timeout
        self.poll_interval = poll_interval
        self.deferrable = deferrable
        self.until = until
        self.accept_finish_reasons: str | Sequence[str] | None = accept_finish_reasons
        self.require_urls = require_urls

    def given_options(self) -> dict[str, Any]:
        """Return the options: those of ``options``, and those that are arguments of the class."""
        given = {} if self.options is None else self.options
        if not isinstance(given, Mapping):
            raise ConfigurationError(f"options must be a dictionary, not {shown(given)}.")
        own_kind = type(self).task_kind
        known = TASK_KINDS[own_kind].options if own_kind else ()
        own = {option.name: getattr(self, option.name) for option in known}
        return {**given, **{name: value for name, value in own.items() if value is not None}}

    def execute(self, context: Context) -> Any:
        """Create, and wait if that was asked for."""
        self.check_arguments()
        kept = KeptTask(context, "tiw_task_id", self.log)
        task_instance: Any = context["ti"]
        with self.client() as client:
            task = kept.find(client, self.task_kind, self.sdk_app_id)
            if task is None:
                task = self._create(context, client, find_kind(self.task_kind))
                kept.keep(task.task_id)
            if self.do_xcom_push:
                task_instance.xcom_push(key="tasks", value=[task.to_dict()])
            return self.wait_if_asked(context, client, task.task_id)

    def asked_ids(self, context: Context) -> list[str]:
        """Return the task that was created before a deferral of which Airflow has kept nothing."""
        task_instance: Any = context["ti"]
        kept = task_instance.xcom_pull(
            task_ids=self.task_id, key="tasks", map_indexes=task_instance.map_index
        )
        return check_task_ids([task["task_id"] for task in kept or ()])

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the source and the files that were made of it as datasets."""
        source = self.given_options().get("url")
        return lineage(inputs=[source] if source else [], outputs=self._found_urls)

    def _create(self, context: Context, client: TiwClient, kind: TaskKind) -> TiwTask:
        options, user_sig_key = self.given_options(), None
        if kind.user is not None:
            room_id = check_room_id(options.get("room_id"))
            user = options.get(kind.user.id_option)
            options[kind.user.id_option] = user or user_of_task(kind.user.prefix, room_id, context)
            if options.get(kind.user.sig_option) is None:
                user_sig_key = TiwHook(self.tencentcloud_conn_id).user_sig_key
        try:
            task = client.create_task(
                kind.name,
                user_sig_key=user_sig_key,
                sdk_app_id=self.sdk_app_id,
                **options,
            )
        except StartUncertain as error:
            if kind.user is not None:
                raise
            raise TiwTaskFailed(f"{error} No retry creates it again: clear the task.") from error
        self.log.info("%s %s was created.", kind.noun, task.task_id)
        return task

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: jinja2.Environment,
        seen_oids: set[int],
    ) -> None:
        # Hides the secrets on the page of rendered templates and in the logs.
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if parent is self:
            for secret in _secrets(self.given_options(), find_kind(self.task_kind).options):
                mask_secret(secret)


class TiwTranscodeOperator(TiwCreateTaskOperator):
    """Transcodes a slide deck (CreateTranscode).

    The result is one URL, or one for each page of a static deck; ``tasks`` has the URLs of the
    thumbnails too.

    :param url: the deck's URL, URL-encoded. Its query is masked.
    :param is_static_ppt: whether a PowerPoint deck becomes pictures instead of HTML5; other files
        always do.
    :param min_resolution: deprecated: use ``min_scale_resolution``.
    :param thumbnail_resolution: make thumbnails of this size, such as 960x540 (dynamic decks).
    :param compress_file_type: ``zip`` or ``tar.gz``: pack the result into one more file.
    :param extra_data: for Tencent's own use.
    :param priority: deprecated.
    :param min_scale_resolution: the least size of a page, such as 1280x720.
    :param auto_handle_unsupported_element: whether elements that TIW does not support are
        repaired or removed.
    :param auto_handle_unsupported_element_types: the types of these elements (Chinese site).
    :param excel_param: ``paper_size``, ``paper_direction`` (Chinese site).
    :param kwargs: also those of :class:`TiwCreateTaskOperator`.
    """

    task_kind = "transcode"
    template_fields: Sequence[str] = option_fields("transcode")
    structured_fields: frozenset[str] = structured_options("transcode")

    def __init__(
        self,
        *,
        url: str | XComArg,
        is_static_ppt: bool | str | None = None,
        min_resolution: str | None = None,
        thumbnail_resolution: str | None = None,
        compress_file_type: str | None = None,
        extra_data: str | None = None,
        priority: str | None = None,
        min_scale_resolution: str | None = None,
        auto_handle_unsupported_element: bool | str | None = None,
        auto_handle_unsupported_element_types: Sequence[int] | str | None = None,
        excel_param: Mapping[str, Any] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.is_static_ppt = is_static_ppt
        self.min_resolution = min_resolution
        self.thumbnail_resolution = thumbnail_resolution
        self.compress_file_type = compress_file_type
        self.extra_data = extra_data
        self.priority = priority
        self.min_scale_resolution = min_scale_resolution
        self.auto_handle_unsupported_element = auto_handle_unsupported_element
        self.auto_handle_unsupported_element_types = auto_handle_unsupported_element_types
        self.excel_param = excel_param


class TiwPptCheckOperator(TiwCreateTaskOperator):
    """Checks a slide deck for what TIW cannot show (CreatePPTCheckTask; Chinese site).

    The result is the URL of the repaired deck, if one was made. A check that finds errors has
    finished: they are in ``tasks``, under ``result``.

    :param url: the deck's URL, URL-encoded. Its query is masked.
    :param auto_handle_unsupported_element: whether elements that TIW does not support are
        repaired or removed.
    :param auto_handle_unsupported_element_types: the types of these elements.
    :param kwargs: also those of :class:`TiwCreateTaskOperator`.
    """

    task_kind = "ppt_check"
    template_fields: Sequence[str] = option_fields("ppt_check")
    structured_fields: frozenset[str] = structured_options("ppt_check")

    def __init__(
        self,
        *,
        url: str | XComArg,
        auto_handle_unsupported_element: bool | str | None = None,
        auto_handle_unsupported_element_types: Sequence[int] | str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.auto_handle_unsupported_element = auto_handle_unsupported_element
        self.auto_handle_unsupported_element_types = auto_handle_unsupported_element_types


class TiwSnapshotOperator(TiwCreateTaskOperator):
    """Takes pictures of a room's whiteboard (CreateSnapshotTask).

    :param whiteboard: ``width``, ``height``, ``init_params``.
    :param room_id: the room, 1 to 4294967295.
    :param callback_url: where TIW posts that the pictures are ready. Its query is masked.
    :param cos: your bucket: ``uin``, ``region``, ``bucket``, ``target_dir``, ``domain``.
    :param snapshot_mode: ``AllMarks`` or ``LatestMarksOnly``.
    :param kwargs: also those of :class:`TiwCreateTaskOperator`.
    """

    task_kind = "snapshot"
    template_fields: Sequence[str] = option_fields("snapshot")
    structured_fields: frozenset[str] = structured_options("snapshot")

    def __init__(
        self,
        *,
        whiteboard: Mapping[str, Any] | str | XComArg,
        room_id: int | str | XComArg,
        callback_url: str | None = None,
        cos: Mapping[str, Any] | str | None = None,
        snapshot_mode: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.whiteboard = whiteboard
        self.room_id = room_id
        self.callback_url = callback_url
        self.cos = cos
        self.snapshot_mode = snapshot_mode


class TiwWhiteboardPushOperator(TiwCreateTaskOperator):
    """Pushes a room's whiteboard as a stream (StartWhiteboardPush).

    Stop it in a teardown, with :class:`TiwStopWhiteboardPushOperator`. The push's user is the same
    for every try of a task in a run, so a retry finds the push that runs. A backup's TaskId is in
    ``tasks``, under ``result``.

    :param room_id: the room, 1 to 4294967295.
    :param push_user_id: the user that TIW enters the room as; by default made of the DAG, the run,
        the task and the map index.
    :param push_user_sig: that user's signature; made with the key ``user_sig_secret`` of the
        connection by default. Every signature is masked.
    :param whiteboard: ``width``, ``height``, ``init_param``.
    :param auto_stop_timeout: seconds without a change of the board after which the push ends.
    :param auto_manage_backup: whether the backup is stopped with the push.
    :param backup: a second push of the same board: ``push_user_id``, ``push_user_sig``.
    :param private_map_key: TRTC's key for rooms with access control.
    :param video_fps: pictures a second.
    :param video_bitrate: kilobits a second.
    :param auto_record: whether TRTC's cloud recording records the push.
    :param user_defined_record_id: the name of that recording.
    :param auto_publish: whether TRTC relays the push to the CDN.
    :param user_defined_stream_id: the name of that stream.
    :param extra_data: for Tencent's own use.
    :param trtc_room_id: the TRTC room, where it is not the room's number.
    :param trtc_room_id_str: the TRTC room's name, used instead of the number.
    :param im_auth_param: another IM application: ``sdk_app_id``, ``user_id``, ``user_sig``.
    :param trtc_auth_param: another TRTC application, in the same form.
    :param trtc_enter_room_mode: ``TRTCAppSceneVideoCall`` or ``TRTCAppSceneLIVE``.
    :param group_id: the board's IM group, where it is not the room's number (Chinese site).
    :param kwargs: also those of :class:`TiwCreateTaskOperator`.
    """

    task_kind = "whiteboard_push"
    template_fields: Sequence[str] = option_fields("whiteboard_push")
    structured_fields: frozenset[str] = structured_options("whiteboard_push")

    def __init__(
        self,
        *,
        room_id: int | str | XComArg,
        push_user_id: str | None = None,
        push_user_sig: str | None = None,
        whiteboard: Mapping[str, Any] | str | None = None,
        auto_stop_timeout: int | str | None = None,
        auto_manage_backup: bool | str | None = None,
        backup: Mapping[str, Any] | str | None = None,
        private_map_key: str | None = None,
        video_fps: int | str | None = None,
        video_bitrate: int | str | None = None,
        auto_record: bool | str | None = None,
        user_defined_record_id: str | None = None,
        auto_publish: bool | str | None = None,
        user_defined_stream_id: str | None = None,
        extra_data: str | None = None,
        trtc_room_id: int | str | None = None,
        trtc_room_id_str: str | None = None,
        im_auth_param: Mapping[str, Any] | str | None = None,
        trtc_auth_param: Mapping[str, Any] | str | None = None,
        trtc_enter_room_mode: str | None = None,
        group_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.room_id = room_id
        self.push_user_id = push_user_id
        self.push_user_sig = push_user_sig
        self.whiteboard = whiteboard
        self.auto_stop_timeout = auto_stop_timeout
        self.auto_manage_backup = auto_manage_backup
        self.backup = backup
        self.private_map_key = private_map_key
        self.video_fps = video_fps
        self.video_bitrate = video_bitrate
        self.auto_record = auto_record
        self.user_defined_record_id = user_defined_record_id
        self.auto_publish = auto_publish
        self.user_defined_stream_id = user_defined_stream_id
        self.extra_data = extra_data
        self.trtc_room_id = trtc_room_id
        self.trtc_room_id_str = trtc_room_id_str
        self.im_auth_param = im_auth_param
        self.trtc_auth_param = trtc_auth_param
        self.trtc_enter_room_mode = trtc_enter_room_mode
        self.group_id = group_id


class TiwVideoGenerationOperator(TiwCreateTaskOperator):
    """Generates videos from a recording, with other settings (CreateVideoGenerationTask).

    :param online_record_task_id: the TaskId of the recording.
    :param whiteboard: ``width``, ``height``, ``init_param``.
    :param concat: ``enabled`` (one file a stream, pauses cut out), ``image``.
    :param mix_stream: ``enabled``, ``disable_audio``, ``model_id``, ``teacher_id``, ``custom``.
    :param record_control: which streams are in the videos.
    :param extra_data: for Tencent's own use.
    :param kwargs: also those of :class:`TiwCreateTaskOperator`.
    """

    task_kind = "video_generation"
    template_fields: Sequence[str] = option_fields("video_generation")
    structured_fields: frozenset[str] = structured_options("video_generation")

    def __init__(
        self,
        *,
        online_record_task_id: str | XComArg,
        whiteboard: Mapping[str, Any] | str | None = None,
        concat: Mapping[str, Any] | str | None = None,
        mix_stream: Mapping[str, Any] | str | None = None,
        record_control: Mapping[str, Any] | str | None = None,
        extra_data: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.online_record_task_id = online_record_task_id
        self.whiteboard = whiteboard
        self.concat = concat
        self.mix_stream = mix_stream
        self.record_control = record_control
        self.extra_data = extra_data


class TiwStopWhiteboardPushOperator(TiwOperator):
    """Stops a whiteboard push, and pushes its TaskId; succeeds also where it has ended already.

    :param tiw_task_id: the TaskId that StartWhiteboardPush returned.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    """

    template_fields: Sequence[str] = ("tiw_task_id", *_SHARED_FIELDS)

    def __init__(
        self,
        *,
        tiw_task_id: str | XComArg,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tiw_task_id = tiw_task_id
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id

    def execute(self, context: Context) -> str:
        """Stop."""
        task_id = one_task_id("tiw_task_id", self.tiw_task_id)
        with self.client() as client:
            did = client.stop_whiteboard_push(task_id, self.sdk_app_id)
        done = "was" if did else "had already been"
        self.log.info("Whiteboard push %s %s stopped.", task_id, done)
        return task_id


def user_of_task(prefix: str, room_id: int, context: Any) -> str:
    """Return a user that is the same for every try of one task in a run, and unique to it."""
    ti = context["ti"]
    whose = "\0".join(map(str, (ti.dag_id, ti.run_id, ti.task_id, ti.map_index)))
    return f"{prefix}_{room_id}_{hashlib.sha256(whose.encode()).hexdigest()[:24]}"


def _secrets(given: object, options: Sequence[Option]) -> Iterator[str]:
    """Yield the secrets among options; of a URL its query, which may be a signature."""
    for option in options:
        value = given.get(option.name) if isinstance(given, Mapping) else None
        if option.options:
            yield from _secrets(value, option.options)
        elif option.secret and isinstance(value, str):
            secret = value.partition("?")[2] if "://" in value else value
            if secret:
                yield secret
