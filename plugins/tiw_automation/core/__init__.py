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
from tiw_automation.core.records import (
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
    from tiw_automation.core.archive import (
        ArchivedVideo,
        ArchiveFailed,
        LocalStorage,
        RecordArchive,
    )
    from tiw_automation.core.callbacks import (
        Callback,
        CallbackError,
        CallbackExpired,
        CallbackForged,
        CallbackSettings,
        new_callback_key,
        parse_callback,
    )
    from tiw_automation.core.client import TiwClient
    from tiw_automation.core.download import (
        VideoChanged,
        VideoDownloader,
        VideoError,
        VideoForbidden,
        VideoGone,
    )
    from tiw_automation.core.hearing import Progress
    from tiw_automation.core.quota import Quota
    from tiw_automation.core.running import RunningTask
    from tiw_automation.core.settings import Settings
    from tiw_automation.core.start import PRESETS, START_OPTIONS
    from tiw_automation.core.tracks import Gap, Track, tracks_of
    from tiw_automation.core.user_sig import make_user_sig, new_record_user_id
    from tiw_automation.core.watcher import RecordWatcher, WatcherStats

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
    "ArchiveFailed": "archive",
    "ArchivedVideo": "archive",
    "Callback": "callbacks",
    "CallbackError": "callbacks",
    "CallbackExpired": "callbacks",
    "CallbackForged": "callbacks",
    "CallbackSettings": "callbacks",
    "Gap": "tracks",
    "LocalStorage": "archive",
    "PRESETS": "start",
    "Progress": "hearing",
    "Quota": "quota",
    "RecordArchive": "archive",
    "RecordWatcher": "watcher",
    "RunningTask": "running",
    "START_OPTIONS": "start",
    "Settings": "settings",
    "TiwClient": "client",
    "Track": "tracks",
    "VideoChanged": "download",
    "VideoDownloader": "download",
    "VideoError": "download",
    "VideoForbidden": "download",
    "VideoGone": "download",
    "WatcherStats": "watcher",
    "make_user_sig": "user_sig",
    "new_record_user_id": "user_sig",
    "new_callback_key": "callbacks",
    "parse_callback": "callbacks",
    "tracks_of": "tracks",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
