# SPDX-License-Identifier: Apache-2.0
"""Many waits on one quota."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.waiting.outcomes import (
        in_order as in_order,
        out_of_time as out_of_time,
    )
    from tiw_automation.core.waiting.progress import Progress as Progress
    from tiw_automation.core.waiting.stats import WatcherStats as WatcherStats
    from tiw_automation.core.waiting.watcher import (
        DEFAULT_POLL_INTERVAL_S as DEFAULT_POLL_INTERVAL_S,
    )
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "outcomes": "in_order out_of_time",
            "progress": "Progress",
            "stats": "WatcherStats",
            "watcher": "DEFAULT_POLL_INTERVAL_S",
        },
    )
