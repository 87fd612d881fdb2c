# SPDX-License-Identifier: Apache-2.0
"""The shared core: everything about a TIW recording, nothing about Airflow or Ansible.

>>> from tiw_automation.core import TiwClient
>>> TiwClient(sdk_app_id=1400000001).describe_online_record("ghucnligqtgtvk2624mb").video_urls

The client and the watcher are imported on first use: they bring the SDK and asyncio, which a
DAG file that only names an error does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tiw_automation.core.errors import (
    ApiError,
    AuthFailure,
    BadAnswer,
    ChangeUncertain,
    ConfigurationError,
    CredentialsError,
    DeadlineExceeded,
    FailedOperation,
    InvalidParameter,
    LimitExceeded,
    PermissionDenied,
    RecordFailed,
    RecordingFailure,
    RequestLimitExceeded,
    ResourceInUse,
    ServerError,
    ServiceUnavailable,
    SignatureExpired,
    StartUncertain,
    TaskNotFound,
    TiwError,
    TransportError,
    UnsupportedOperation,
    WaitTimeout,
)
from tiw_automation.core.records.record import (
    Acceptance,
    FinishReason,
    Interrupt,
    OmittedDuration,
    OnlineRecord,
    Outcome,
    RecordStatus,
    Verdict,
    Video,
    VideoKind,
    check_sdk_app_id,
    check_task_id,
    check_task_ids,
    check_video_kinds,
    judge,
)

if TYPE_CHECKING:
    from tiw_automation.core.api.callbacks import (
        Callback,
        CallbackError,
        CallbackExpired,
        CallbackForged,
        CallbackSettings,
        new_callback_key,
        parse_callback,
    )
    from tiw_automation.core.api.client import TiwClient
    from tiw_automation.core.api.running_tasks import RunningTask
    from tiw_automation.core.api.settings import Settings
    from tiw_automation.core.api.start_options import PRESETS, START_OPTIONS
    from tiw_automation.core.api.user_sig import make_user_sig, new_record_user_id
    from tiw_automation.core.archive.archive import (
        ArchivedVideo,
        ArchiveFailed,
        LocalStorage,
        RecordArchive,
    )
    from tiw_automation.core.archive.download import (
        VideoChanged,
        VideoDownloader,
        VideoError,
        VideoForbidden,
        VideoGone,
    )
    from tiw_automation.core.quota.quota import Quota
    from tiw_automation.core.records.tracks import Gap, Track, tracks_of
    from tiw_automation.core.waiting.progress import Progress
    from tiw_automation.core.waiting.watcher import RecordWatcher, WatcherStats

__all__ = [
    "PRESETS",
    "START_OPTIONS",
    "Acceptance",
    "ApiError",
    "ArchiveFailed",
    "ArchivedVideo",
    "AuthFailure",
    "BadAnswer",
    "Callback",
    "CallbackError",
    "CallbackExpired",
    "CallbackForged",
    "CallbackSettings",
    "ChangeUncertain",
    "ConfigurationError",
    "CredentialsError",
    "DeadlineExceeded",
    "FailedOperation",
    "FinishReason",
    "Gap",
    "Interrupt",
    "InvalidParameter",
    "LimitExceeded",
    "LocalStorage",
    "OmittedDuration",
    "OnlineRecord",
    "Outcome",
    "PermissionDenied",
    "Progress",
    "Quota",
    "RecordArchive",
    "RecordFailed",
    "RecordStatus",
    "RecordWatcher",
    "RecordingFailure",
    "RequestLimitExceeded",
    "ResourceInUse",
    "RunningTask",
    "ServerError",
    "ServiceUnavailable",
    "Settings",
    "SignatureExpired",
    "StartUncertain",
    "TaskNotFound",
    "TiwClient",
    "TiwError",
    "Track",
    "TransportError",
    "UnsupportedOperation",
    "Verdict",
    "Video",
    "VideoChanged",
    "VideoDownloader",
    "VideoError",
    "VideoForbidden",
    "VideoGone",
    "VideoKind",
    "WaitTimeout",
    "WatcherStats",
    "check_sdk_app_id",
    "check_task_id",
    "check_task_ids",
    "check_video_kinds",
    "judge",
    "make_user_sig",
    "new_callback_key",
    "new_record_user_id",
    "parse_callback",
    "tracks_of",
]

_LAZY = {
    "ArchiveFailed": "archive.archive",
    "ArchivedVideo": "archive.archive",
    "Callback": "api.callbacks",
    "CallbackError": "api.callbacks",
    "CallbackExpired": "api.callbacks",
    "CallbackForged": "api.callbacks",
    "CallbackSettings": "api.callbacks",
    "Gap": "records.tracks",
    "LocalStorage": "archive.archive",
    "PRESETS": "api.start_options",
    "Progress": "waiting.progress",
    "Quota": "quota.quota",
    "RecordArchive": "archive.archive",
    "RecordWatcher": "waiting.watcher",
    "RunningTask": "api.running_tasks",
    "START_OPTIONS": "api.start_options",
    "Settings": "api.settings",
    "TiwClient": "api.client",
    "Track": "records.tracks",
    "VideoChanged": "archive.download",
    "VideoDownloader": "archive.download",
    "VideoError": "archive.download",
    "VideoForbidden": "archive.download",
    "VideoGone": "archive.download",
    "WatcherStats": "waiting.watcher",
    "make_user_sig": "api.user_sig",
    "new_record_user_id": "api.user_sig",
    "new_callback_key": "api.callbacks",
    "parse_callback": "api.callbacks",
    "tracks_of": "records.tracks",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
