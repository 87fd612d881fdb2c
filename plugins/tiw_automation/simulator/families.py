# SPDX-License-Identifier: Apache-2.0
"""The one table of the families of tasks that are not recordings.

A further family is one more entry here, the parameters of its create action in ``schema.py`` and
its answer in ``task_answers.py``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from .recordings import Recording
from .task_answers import (
    ppt_check_answer,
    ppt_check_files,
    push_answer,
    snapshot_answer,
    snapshot_files,
    transcode_answer,
    transcode_files,
    video_generation_answer,
    video_generation_files,
)
from .task_state import ENDED, PROGRESS, STARTED, EventKind, Family

DAY_S = 86400.0
_HALF_A_YEAR_S = 182 * DAY_S
_QUEUED = ("QUEUED", "PROCESSING", "FINISHED")
_DOCUMENT = {"Url": "http://127.0.0.1/lesson.pptx"}
_FILE_FAILURES = (
    "FailedOperation.FileDownloadFail",
    "FailedOperation.FileFormatError",
    "FailedOperation.FileOpenFail",
    "FailedOperation.FileUploadFail",
    "InvalidParameter.FileFormatUnsupported",
    "InvalidParameter.UrlFormatError",
)

_TABLE = (
    Family(
        name="whiteboard_push",
        create="StartWhiteboardPush",
        stop="StopWhiteboardPush",
        describe="DescribeWhiteboardPush",
        callback="WhiteboardPush",
        statuses=("PREPARED", "PUSHING", "STOPPED"),
        duration_s=math.inf,
        auto_stop_s=1800.0,
        answer=push_answer,
        events=(
            EventKind(
                "WhiteboardPushStarted",
                STARTED,
                ("TaskId", "RoomId", "PushUserId", "PushStartTime"),
            ),
            EventKind(
                "WhiteboardPushStopped",
                ENDED,
                (
                    *("TaskId", "RoomId", "GroupId", "PushUserId", "FinishReason"),
                    *("PushStartTime", "PushStopTime", "IMSyncTime", "ExceptionCnt"),
                ),
            ),
        ),
        failures=("FailedOperation.WhiteboardPush",),
        listed_as=("WhiteboardPush",),
        user_key="PushUserId",
        cn_only_options=("GroupId",),
        options={"RoomId": 880528, "PushUserId": "tic_push_user_880528_1", "PushUserSig": "any"},
    ),
    Family(
        name="transcode",
        create="CreateTranscode",
        describe="DescribeTranscode",
        by_url="DescribeTranscodeByUrl",
        callback="Transcode",
        statuses=_QUEUED,
        answer=transcode_answer,
        files=transcode_files,
        events=(
            EventKind(
                "TranscodeProgressChanged",
                PROGRESS,
                ("TaskId", "Progress", "Resolution", "Title", "Pages"),
            ),
            EventKind(
                "TranscodeFinished",
                ENDED,
                (
                    *("TaskId", "Resolution", "Title", "Pages", "ResultUrl"),
                    *("ThumbnailUrl", "ThumbnailResolution", "CompressFileUrl"),
                ),
            ),
        ),
        failures=(
            *_FILE_FAILURES,
            "FailedOperation.Transcode",
            "FailedOperation.TranscodeServerError",
            "InvalidParameter.TranscodeParameter",
            "LimitExceeded.TranscodePagesLimitation",
        ),
        listed_as=("TranscodeH5", "TranscodeJPG"),
        cn_only_options=("AutoHandleUnsupportedElementTypes", "ExcelParam"),
        files_kept_s=7 * DAY_S,
        record_kept_s=_HALF_A_YEAR_S,
        options=_DOCUMENT,
    ),
    Family(
        name="ppt_check",
        create="CreatePPTCheckTask",
        describe="DescribePPTCheck",
        callback="PPTCheck",
        statuses=_QUEUED,
        answer=ppt_check_answer,
        files=ppt_check_files,
        # The names of these two events are not documented.
        events=(
            EventKind("PPTCheckProgressChanged", PROGRESS, ("TaskId", "Progress")),
            EventKind("PPTCheckFinished", ENDED),
        ),
        failures=(
            *_FILE_FAILURES,
            "FailedOperation.Preprocess",
            "FailedOperation.PreprocessServerError",
            "InvalidParameter.PreprocessParameter",
        ),
        is_cn_only=True,
        files_kept_s=7 * DAY_S,
        record_kept_s=_HALF_A_YEAR_S,
        options=_DOCUMENT,
    ),
    Family(
        name="snapshot",
        create="CreateSnapshotTask",
        describe="DescribeSnapshotTask",
        id_key="TaskID",
        statuses=("Running", "Finished"),
        queued_s=0.0,
        answer=snapshot_answer,
        files=snapshot_files,
        # Neither is the name of this one.
        events=(EventKind("SnapshotFinished", ENDED),),
        fails_in_result=True,
        not_found="InvalidParameter",
        app_not_found="UnauthorizedOperation.SdkAppId",
        files_kept_s=3 * DAY_S,
        options={"RoomId": 880528, "Whiteboard": {}},
    ),
    Family(
        name="video_generation",
        create="CreateVideoGenerationTask",
        describe="DescribeVideoGenerationTask",
        callback="VideoGenerationTask",
        statuses=_QUEUED,
        answer=video_generation_answer,
        files=video_generation_files,
        # Nor that of this one.
        events=(EventKind("VideoGenerationTaskFinished", ENDED),),
        failures=("FailedOperation.Record",),
        source_key="OnlineRecordTaskId",
        files_kept_s=3 * DAY_S,
        options={"OnlineRecordTaskId": "lesson"},
    ),
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in _TABLE}
"""Each family by its name."""
CALLBACKS: Mapping[str, str] = {
    Recording.family_name: "OnlineRecord",
    **{family.name: family.callback for family in _TABLE if family.callback},
}
"""What the names of the callback's actions contain, for each family that has them."""


def callback_actions(family: str) -> tuple[str, str, str]:
    """Return the actions that return the callback of a family, set its address and its key."""
    middle = CALLBACKS[family]
    return (f"Describe{middle}Callback", f"Set{middle}Callback", f"Set{middle}CallbackKey")


def _cn_only() -> Iterator[str]:
    yield "DescribeRunningTasks"
    for family in _TABLE:
        if family.by_url:
            yield family.by_url
        if family.is_cn_only:
            yield from (family.create, family.describe, *callback_actions(family.name))


CN_ONLY_ACTIONS = frozenset(_cn_only())
"""The actions that the international site does not have."""
CN_ONLY_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    family.create: family.cn_only_options for family in _TABLE
}
"""The parameters that it does not have, for each create action."""
