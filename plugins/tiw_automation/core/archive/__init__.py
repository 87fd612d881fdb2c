# SPDX-License-Identifier: Apache-2.0
"""Copies of recordings that outlive Tencent's three days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.archive.archive import (
        ArchivedVideo as ArchivedVideo,
        ArchiveFailed as ArchiveFailed,
        PlannedVideo as PlannedVideo,
        Progress as Progress,
        RecordArchive as RecordArchive,
    )
    from tiw_automation.core.archive.bucket import Bucket as Bucket, storage_for as storage_for
    from tiw_automation.core.archive.download import (
        DEFAULT_MAX_BYTES as DEFAULT_MAX_BYTES,
        VideoDownloader as VideoDownloader,
    )
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
    from tiw_automation.core.archive.names import (
        DEFAULT_MANIFEST as DEFAULT_MANIFEST,
        DEFAULT_NAMES as DEFAULT_NAMES,
    )
    from tiw_automation.core.archive.storage import (
        NoLock as NoLock,
        Storage as Storage,
        Target as Target,
    )
    from tiw_automation.core.archive.verification import Finding as Finding, verify as verify
    from tiw_automation.core.records.record import public_record as public_record
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            ".records.record": "public_record",
            "archive": "ArchiveFailed ArchivedVideo PlannedVideo Progress RecordArchive",
            "bucket": "Bucket storage_for",
            "download": "DEFAULT_MAX_BYTES VideoDownloader",
            "errors": """
                DownloadStopped FileInTheWay VideoBusy VideoChanged VideoError VideoForbidden
                VideoGone VideoHostRefused VideoTooLarge
            """,
            "hosts": "HostPolicy",
            "local": "LocalStorage",
            "names": "DEFAULT_MANIFEST DEFAULT_NAMES",
            "storage": "NoLock Storage Target",
            "verification": "Finding verify",
        },
    )
