# SPDX-License-Identifier: Apache-2.0
"""Everything about TIW recordings, and nothing about Airflow or Ansible.

>>> from tiw_automation.core import TiwClient
>>> TiwClient(sdk_app_id=1400000001).describe_online_record("ghucnligqtgtvk2624mb").video_urls

These names are the public ones. Each is imported when it is first used: the client brings the SDK
and the watcher asyncio, which a DAG file that names an error does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names
from tiw_automation.core._moved import keep_old_names

if TYPE_CHECKING:
    from tiw_automation.core.api.callback_settings import (
        CallbackSettings as CallbackSettings,
        new_callback_key as new_callback_key,
    )
    from tiw_automation.core.api.callbacks import (
        Callback as Callback,
        CallbackError as CallbackError,
        CallbackExpired as CallbackExpired,
        CallbackForged as CallbackForged,
        parse_callback as parse_callback,
    )
    from tiw_automation.core.api.client import TiwClient as TiwClient
    from tiw_automation.core.api.running_tasks import (
        RunningListUnavailable as RunningListUnavailable,
        RunningTask as RunningTask,
    )
    from tiw_automation.core.api.settings import Settings as Settings
    from tiw_automation.core.api.user_sig import (
        make_user_sig as make_user_sig,
        new_record_user_id as new_record_user_id,
    )
    from tiw_automation.core.archive.archive import (
        ArchivedVideo as ArchivedVideo,
        ArchiveFailed as ArchiveFailed,
        RecordArchive as RecordArchive,
    )
    from tiw_automation.core.archive.download import VideoDownloader as VideoDownloader
    from tiw_automation.core.archive.errors import (
        DownloadStopped as DownloadStopped,
        FileInTheWay as FileInTheWay,
        VideoBusy as VideoBusy,
        VideoChanged as VideoChanged,
        VideoError as VideoError,
        VideoForbidden as VideoForbidden,
        VideoGone as VideoGone,
        VideoHostRefused as VideoHostRefused,
        VideoTooLarge as VideoTooLarge,
    )
    from tiw_automation.core.archive.hosts import HostPolicy as HostPolicy
    from tiw_automation.core.archive.local import LocalStorage as LocalStorage
    from tiw_automation.core.checks import (
        check_sdk_app_id as check_sdk_app_id,
        check_task_id as check_task_id,
        check_task_ids as check_task_ids,
    )
    from tiw_automation.core.errors import (
        ApiError as ApiError,
        AuthFailure as AuthFailure,
        BadAnswer as BadAnswer,
        ChangeUncertain as ChangeUncertain,
        ConfigurationError as ConfigurationError,
        CredentialsError as CredentialsError,
        DeadlineExceeded as DeadlineExceeded,
        FailedOperation as FailedOperation,
        InvalidParameter as InvalidParameter,
        LimitExceeded as LimitExceeded,
        PermissionDenied as PermissionDenied,
        RecordingFailure as RecordingFailure,
        RequestLimitExceeded as RequestLimitExceeded,
        ResourceInUse as ResourceInUse,
        ServerError as ServerError,
        ServiceUnavailable as ServiceUnavailable,
        SignatureExpired as SignatureExpired,
        StartUncertain as StartUncertain,
        TaskFailure as TaskFailure,
        TaskNotFound as TaskNotFound,
        TiwError as TiwError,
        TransportError as TransportError,
        UnsupportedOperation as UnsupportedOperation,
    )
    from tiw_automation.core.events.confirmation import hint_waits as hint_waits
    from tiw_automation.core.metrics import (
        METRICS as METRICS,
        Metric as Metric,
        on_metrics as on_metrics,
    )
    from tiw_automation.core.quota.quota import Quota as Quota
    from tiw_automation.core.records.outcome import (
        Acceptance as Acceptance,
        Outcome as Outcome,
        RecordFailed as RecordFailed,
        TaskFailed as TaskFailed,
        Verdict as Verdict,
        WaitTimeout as WaitTimeout,
        judge as judge,
    )
    from tiw_automation.core.records.record import (
        FinishReason as FinishReason,
        Interrupt as Interrupt,
        OmittedDuration as OmittedDuration,
        OnlineRecord as OnlineRecord,
        RecordStatus as RecordStatus,
        Video as Video,
        VideoKind as VideoKind,
        check_video_kinds as check_video_kinds,
    )
    from tiw_automation.core.records.task import TiwTask as TiwTask
    from tiw_automation.core.records.tracks import (
        Gap as Gap,
        Track as Track,
        tracks_of as tracks_of,
    )
    from tiw_automation.core.tasks.kind import TaskKind as TaskKind
    from tiw_automation.core.tasks.kinds import TASK_KINDS as TASK_KINDS
    from tiw_automation.core.tasks.start_options import (
        PRESETS as PRESETS,
        START_OPTIONS as START_OPTIONS,
    )
    from tiw_automation.core.waiting.progress import Progress as Progress
    from tiw_automation.core.waiting.stats import WatcherStats as WatcherStats
    from tiw_automation.core.waiting.watcher import RecordWatcher as RecordWatcher
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "api.callback_settings": "CallbackSettings new_callback_key",
            "api.callbacks": """
                Callback CallbackError CallbackExpired CallbackForged parse_callback
            """,
            "api.client": "TiwClient",
            "api.running_tasks": "RunningListUnavailable RunningTask",
            "api.settings": "Settings",
            "api.user_sig": "make_user_sig new_record_user_id",
            "archive.archive": "ArchiveFailed ArchivedVideo RecordArchive",
            "archive.download": "VideoDownloader",
            "archive.errors": """
                DownloadStopped FileInTheWay VideoBusy VideoChanged VideoError VideoForbidden
                VideoGone VideoHostRefused VideoTooLarge
            """,
            "archive.hosts": "HostPolicy",
            "archive.local": "LocalStorage",
            "checks": "check_sdk_app_id check_task_id check_task_ids",
            "errors": """
                ApiError AuthFailure BadAnswer ChangeUncertain
                ConfigurationError CredentialsError DeadlineExceeded
                FailedOperation InvalidParameter LimitExceeded PermissionDenied
                RecordingFailure RequestLimitExceeded ResourceInUse ServerError
                ServiceUnavailable SignatureExpired StartUncertain TaskFailure TaskNotFound
                TiwError TransportError UnsupportedOperation
            """,
            "events.confirmation": "hint_waits",
            "metrics": "METRICS Metric on_metrics",
            "quota.quota": "Quota",
            "records.outcome": """
                Acceptance Outcome RecordFailed TaskFailed Verdict WaitTimeout judge
            """,
            "records.record": """
                FinishReason Interrupt OmittedDuration OnlineRecord RecordStatus
                Video VideoKind check_video_kinds
            """,
            "records.task": "TiwTask",
            "records.tracks": "Gap Track tracks_of",
            "tasks.kind": "TaskKind",
            "tasks.kinds": "TASK_KINDS",
            "tasks.start_options": "PRESETS START_OPTIONS",
            "waiting.progress": "Progress",
            "waiting.stats": "WatcherStats",
            "waiting.watcher": "RecordWatcher",
        },
    )

keep_old_names(__name__)
