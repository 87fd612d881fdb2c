# SPDX-License-Identifier: Apache-2.0
"""Many waits on one quota."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.waiting.outcomes import in_order as in_order
    from tiw_automation.core.waiting.progress import (
        Progress as Progress,
        out_of_time as out_of_time,
    )
    from tiw_automation.core.waiting.watcher import (
        DEFAULT_POLL_INTERVAL_S as DEFAULT_POLL_INTERVAL_S,
        WatcherStats as WatcherStats,
    )
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "outcomes": "in_order",
            "progress": "Progress out_of_time",
            "watcher": "DEFAULT_POLL_INTERVAL_S WatcherStats",
        },
    )
