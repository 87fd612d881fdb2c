# SPDX-License-Identifier: Apache-2.0
"""Copies of recordings that outlive Tencent's three days."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.archive.archive import (
        DEFAULT_MANIFEST as DEFAULT_MANIFEST,
        DEFAULT_NAMES as DEFAULT_NAMES,
        ArchivedVideo as ArchivedVideo,
        ArchiveFailed as ArchiveFailed,
        LocalStorage as LocalStorage,
        RecordArchive as RecordArchive,
        Storage as Storage,
        Target as Target,
        public_record as public_record,
    )
    from tiw_automation.core.archive.download import DownloadStopped as DownloadStopped
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "archive": """
                ArchiveFailed ArchivedVideo DEFAULT_MANIFEST DEFAULT_NAMES
                LocalStorage RecordArchive Storage Target public_record
            """,
            "download": "DownloadStopped",
        },
    )
