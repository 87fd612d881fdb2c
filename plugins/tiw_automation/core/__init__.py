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
    from tiw_automation.core.client import TiwClient
    from tiw_automation.core.quota import Quota
    from tiw_automation.core.settings import Settings
    from tiw_automation.core.watcher import RecordWatcher, WatcherStats

__all__ = [
    "Acceptance",
    "ApiError",
    "AuthFailure",
    "BadAnswer",
    "ConfigurationError",
    "CredentialsError",
    "DeadlineExceeded",
    "FailedOperation",
    "FinishReason",
    "Interrupt",
    "InvalidParameter",
    "LimitExceeded",
    "OmittedDuration",
    "OnlineRecord",
    "Outcome",
    "PermissionDenied",
    "Quota",
    "RecordFailed",
    "RecordStatus",
    "RecordWatcher",
    "RecordingFailure",
    "RequestLimitExceeded",
    "ResourceInUse",
    "ServerError",
    "ServiceUnavailable",
    "Settings",
    "SignatureExpired",
    "TaskNotFound",
    "TiwClient",
    "TiwError",
    "TransportError",
    "UnsupportedOperation",
    "Verdict",
    "Video",
    "VideoKind",
    "WaitTimeout",
    "WatcherStats",
    "check_sdk_app_id",
    "check_task_id",
    "check_task_ids",
    "check_video_kinds",
    "judge",
]

_LAZY = {
    "Quota": "quota",
    "RecordWatcher": "watcher",
    "Settings": "settings",
    "TiwClient": "client",
    "WatcherStats": "watcher",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
