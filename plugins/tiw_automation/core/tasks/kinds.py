# SPDX-License-Identifier: Apache-2.0
"""All kinds of tasks, as data.

The names, ranges and error codes are those of the API, version 2019-09-19
(https://cloud.tencent.com/document/product/1137/40060). Adding a kind touches this table, the
simulator's table and the documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiw_automation.core.checks import as_text, did_you_mean
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import shown
from tiw_automation.core.tasks import results
from tiw_automation.core.tasks.kind import UUID_ID, TaskKind, TaskUser
from tiw_automation.core.tasks.options import LARGEST_ROOM, Option, read_options
from tiw_automation.core.tasks.start_options import START_OPTIONS

_DAY_S = 24 * 3600
_HALF_A_YEAR_S = 182 * _DAY_S
_MINUTE_S = 60.0

_URL = r"https?://[!-~]+"
_NAME = r"[A-Za-z0-9_-]{1,64}"
_RESOLUTION = r"[1-9][0-9]{0,4}x[1-9][0-9]{0,4}"

_DECK = Option(
    "url",
    "str",
    "The file's http:// or https:// URL, URL-encoded: ASCII characters without blanks.",
    required=True,
    pattern=_URL,
    secret=True,
)
_AUTO_HANDLE = Option(
    "auto_handle_unsupported_element",
    "bool",
    "Whether elements that TIW does not support are repaired or removed.",
)
_AUTO_HANDLE_TYPES = Option(
    "auto_handle_unsupported_element_types",
    "list",
    "The types of elements to repair, 0 (ink) to 13; all by default.",
    items="int",
    least=0,
    most=13,
    cn_only=True,
)
_ROOM = Option(
    "room_id", "int", "The room, 1 to 4294967295.", required=True, least=1, most=LARGEST_ROOM
)
_EXTRA_DATA = Option("extra_data", "str", "For Tencent's own use.")
_AUTH = (
    Option("sdk_app_id", "int", "The application.", required=True, least=1),
    Option("user_id", "str", "The user.", required=True),
    Option("user_sig", "str", "The user's signature.", required=True, secret=True),
)
_START = {option.name: option for option in START_OPTIONS}
_DECK_FAILURES = ("FailedOperation.", "LimitExceeded.TranscodePagesLimitation", "InvalidParameter.")
_CALLER_CODES = (
    "InvalidParameter.BodyParameterTypeUnmatched",
    "InvalidParameter.SdkAppIdNotFound",
    "InvalidParameter.TaskNotFound",
)
_QUEUE = (("QUEUED",), ("PROCESSING",), ("FINISHED",))
_IN_QUEUE = frozenset({"QUEUED", "PROCESSING"})

ONLINE_RECORD = TaskKind(
    name="online_record",
    create_action="StartOnlineRecord",
    describe_action="DescribeOnlineRecord",
    states=(("PREPARED",), ("RECORDING", "PAUSED"), ("STOPPED",), ("FINISHED",)),
    options=START_OPTIONS,
    processing=frozenset({"STOPPED"}),
    processing_mean_s=5 * _MINUTE_S,
    failure_codes=("FailedOperation.Record",),
    result="video",
    active_since="RecordStartTime",
    processing_since="RecordStopTime",
    finished_at="RecordStopTime",
    running_types=("OnlineRecord",),
    callback="OnlineRecord",
    lookup="user",
    user=TaskUser("record_user_id", "record_user_sig", "tic_record_user"),
    stop_action="StopOnlineRecord",
    is_rate_documented=True,
    files_kept_s=3 * _DAY_S,
)

_PUSH = TaskKind(
    name="whiteboard_push",
    create_action="StartWhiteboardPush",
    describe_action="DescribeWhiteboardPush",
    states=(("PREPARED",), ("PUSHING",), ("STOPPED",)),
    options=(
        _ROOM,
        Option(
            "push_user_id",
            "str",
            "The user that TIW enters the room as; nothing else uses it.",
            required=True,
            pattern=r"[!-~]{1,60}",
        ),
        Option("push_user_sig", "str", "That user's signature.", required=True, secret=True),
        Option("whiteboard", "dict", "The board's video.", options=_START["whiteboard"].options),
        Option(
            "auto_stop_timeout",
            "int",
            "Seconds without a change of the board after which the push ends; 1800 by default.",
            least=300,
            most=259200,
        ),
        Option("auto_manage_backup", "bool", "Whether the backup is stopped with the push."),
        Option(
            "backup",
            "dict",
            "A second push of the same board.",
            options=(
                Option("push_user_id", "str", "The second push's user.", required=True),
                Option(
                    "push_user_sig", "str", "That user's signature.", required=True, secret=True
                ),
            ),
        ),
        Option("private_map_key", "str", "TRTC's key for rooms with access control.", secret=True),
        Option(
            "video_fps",
            "int",
            "Pictures a second, 20 by default.",
            least=0,
            most=30,
            sent_as="VideoFPS",
        ),
        Option("video_bitrate", "int", "Kilobits a second, 1200 by default.", least=0, most=2000),
        Option("auto_record", "bool", "Whether TRTC's cloud recording records the push."),
        Option("user_defined_record_id", "str", "The name of that recording.", pattern=_NAME),
        Option("auto_publish", "bool", "Whether TRTC relays the push to the CDN."),
        Option("user_defined_stream_id", "str", "The name of that stream.", pattern=_NAME),
        _EXTRA_DATA,
        _START["trtc_room_id"],
        _START["trtc_room_id_str"],
        Option(
            "im_auth_param",
            "dict",
            "The IM application, if it is another one.",
            options=_AUTH,
            sent_as="IMAuthParam",
        ),
        Option(
            "trtc_auth_param",
            "dict",
            "The TRTC application, if it is another one.",
            options=_AUTH,
            sent_as="TRTCAuthParam",
        ),
        Option(
            "trtc_enter_room_mode",
            "str",
            "TRTC's scene; TRTCAppSceneVideoCall by default.",
            choices=("TRTCAppSceneVideoCall", "TRTCAppSceneLIVE"),
            sent_as="TRTCEnterRoomMode",
        ),
        Option(
            "group_id",
            "str",
            "The IM group of the board, if it is not the room's number.",
            cn_only=True,
        ),
    ),
    processing_mean_s=_MINUTE_S,
    failure_codes=("FailedOperation.WhiteboardPush",),
    read_results=results.of_push,
    active_since="PushStartTime",
    finished_at="PushStopTime",
    running_types=("WhiteboardPush",),
    callback="WhiteboardPush",
    lookup="user",
    user=TaskUser("push_user_id", "push_user_sig", "tic_push_user"),
    stop_action="StopWhiteboardPush",
)

_TRANSCODE = TaskKind(
    name="transcode",
    create_action="CreateTranscode",
    describe_action="DescribeTranscode",
    states=(("QUEUED",), ("PROCESSING",), ("FINISHED", "EXCEPTION")),
    failed=frozenset({"EXCEPTION"}),
    options=(
        _DECK,
        Option(
            "is_static_ppt",
            "bool",
            "Whether a PowerPoint deck becomes pictures instead of HTML5; other files always do.",
            sent_as="IsStaticPPT",
        ),
        Option(
            "min_resolution", "str", "Deprecated: use min_scale_resolution.", pattern=_RESOLUTION
        ),
        Option(
            "thumbnail_resolution",
            "str",
            "Make thumbnails of this size, such as 960x540 (dynamic decks).",
            pattern=_RESOLUTION,
        ),
        Option(
            "compress_file_type",
            "str",
            "Pack the result into one more file.",
            choices=("zip", "tar.gz"),
        ),
        _EXTRA_DATA,
        Option("priority", "str", "Deprecated.", choices=("low",)),
        Option(
            "min_scale_resolution",
            "str",
            "The least size of a page, such as 1280x720.",
            pattern=_RESOLUTION,
        ),
        _AUTO_HANDLE,
        _AUTO_HANDLE_TYPES,
        Option(
            "excel_param",
            "dict",
            "How a spreadsheet is laid out.",
            cn_only=True,
            options=(
                Option("paper_size", "int", "0 is A4, 1 is A2, 2 is A0.", choices=(0, 1, 2)),
                Option("paper_direction", "int", "0 is upright, 1 is landscape.", choices=(0, 1)),
            ),
        ),
    ),
    processing=_IN_QUEUE,
    processing_mean_s=1.5 * _MINUTE_S,
    failure_codes=_DECK_FAILURES,
    caller_codes=_CALLER_CODES,
    result="result",
    read_results=results.of_transcode,
    processing_since="CreateTime",
    finished_at="FinishedTime",
    running_types=("TranscodeH5", "TranscodeJPG"),
    callback="Transcode",
    progress_events=("TranscodeProgressChanged", "PPT2H5ProgressChanged"),
    lookup="url",
    is_rate_documented=True,
    record_kept_s=_HALF_A_YEAR_S,
    files_kept_s=7 * _DAY_S,
)

_PPT_CHECK = TaskKind(
    name="ppt_check",
    create_action="CreatePPTCheckTask",
    describe_action="DescribePPTCheck",
    states=_QUEUE,
    options=(_DECK, _AUTO_HANDLE, _AUTO_HANDLE_TYPES),
    processing=_IN_QUEUE,
    processing_mean_s=_MINUTE_S,
    failure_codes=_DECK_FAILURES,
    caller_codes=_CALLER_CODES,
    read_results=results.of_ppt_check,
    callback="PPTCheck",
    cn_only=True,
    record_kept_s=_HALF_A_YEAR_S,
    files_kept_s=7 * _DAY_S,
)

_SNAPSHOT = TaskKind(
    name="snapshot",
    create_action="CreateSnapshotTask",
    describe_action="DescribeSnapshotTask",
    states=(("RUNNING",), ("FINISHED",)),
    options=(
        Option(
            "whiteboard",
            "dict",
            "The pictures' board.",
            required=True,
            options=(
                Option("width", "int", "Width in pixels, 1280 by default.", least=0, most=2560),
                Option("height", "int", "Height in pixels, 720 by default.", least=0, most=2560),
                Option("init_params", "str", "The board's own settings, as JSON text."),
            ),
        ),
        _ROOM,
        Option(
            "callback_url",
            "str",
            "Where TIW posts that the pictures are ready.",
            pattern=_URL,
            sent_as="CallbackURL",
            secret=True,
        ),
        Option(
            "cos",
            "dict",
            "Your bucket; by default Tencent's, which keeps them three days.",
            sent_as="COS",
            options=(
                Option("uin", "int", "The account that owns the bucket.", required=True, least=1),
                Option("region", "str", "The bucket's region.", required=True),
                Option("bucket", "str", "The bucket's name.", required=True),
                Option("target_dir", "str", "The folder in it."),
                Option("domain", "str", "The CDN's domain."),
            ),
        ),
        Option(
            "snapshot_mode",
            "str",
            "All marks (AllMarks, the default), or a page's latest.",
            choices=("AllMarks", "LatestMarksOnly"),
        ),
    ),
    id_key="TaskID",
    vague_codes=("InvalidParameter",),
    id_pattern=UUID_ID,
    processing=frozenset({"RUNNING"}),
    processing_mean_s=2 * _MINUTE_S,
    read_results=results.of_snapshot,
    processing_since="CreateTime",
    finished_at="FinishTime",
    is_rate_documented=True,
    files_kept_s=3 * _DAY_S,
)

_VIDEO_GENERATION = TaskKind(
    name="video_generation",
    create_action="CreateVideoGenerationTask",
    describe_action="DescribeVideoGenerationTask",
    states=_QUEUE,
    options=(
        Option("online_record_task_id", "str", "The task id of the recording.", required=True),
        _START["whiteboard"],
        _START["concat"],
        _START["mix_stream"],
        _START["record_control"],
        _EXTRA_DATA,
    ),
    processing=_IN_QUEUE,
    processing_mean_s=60 * _MINUTE_S,
    failure_codes=("FailedOperation.Record",),
    result="video",
    read_results=results.of_video_generation,
    callback="VideoGenerationTask",
    files_kept_s=3 * _DAY_S,
)

TASK_KINDS: Mapping[str, TaskKind] = {
    kind.name: kind
    for kind in (
        ONLINE_RECORD,
        _PUSH,
        _TRANSCODE,
        _PPT_CHECK,
        _SNAPSHOT,
        _VIDEO_GENERATION,
    )
}
"""All kinds of tasks by name."""


def find_kind(name: object) -> TaskKind:
    """Return a kind of task.

    :raises ConfigurationError: there is no such kind.
    """
    kind = TASK_KINDS.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ConfigurationError(
            f"task_kind: {shown(name)} is not a kind of task."
            + did_you_mean(as_text(name), TASK_KINDS),
            hint=f"Use one of {', '.join(TASK_KINDS)}.",
        )
    return kind


def create_params(kind: TaskKind, options: Mapping[str, Any], *, is_intl: bool) -> dict[str, Any]:
    """Return the parameters of a kind's create action for options, under the API's names.

    :param is_intl: whether they are for the international site.
    :raises ConfigurationError: the site does not have this kind, or a name, type or value is
        invalid.
    """
    check_site(kind, is_intl=is_intl)
    known = kind.options_at(is_intl)
    unknown = [name for name in options if name not in {option.name for option in known}]
    return read_options(options, known, hint=_hint(kind, unknown[0]) if unknown else None)


def check_site(kind: TaskKind, *, is_intl: bool) -> None:
    """Refuse a kind that the international site lacks.

    :raises ConfigurationError: it is one, and the site is the international one.
    """
    if is_intl and kind.cn_only:
        raise ConfigurationError(
            f"The international site has no {kind.name} ({kind.create_action}).",
            hint="Only the Chinese site has it: set site to cn, with keys of that site.",
        )


def _hint(kind: TaskKind, name: object) -> str | None:
    if any(option.name == name for option in kind.options):
        return "Only the Chinese site has this option."
    owners = [
        other.name for other in TASK_KINDS.values() if name in {o.name for o in other.options}
    ]
    return f"It is an option of {' and '.join(owners)}, not of {kind.name}." if owners else None
