# SPDX-License-Identifier: Apache-2.0
"""How recordings end: followed, confirmed, and made into events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.events.backlog import (
        Backlog as Backlog,
        NotConfirmed as NotConfirmed,
    )
    from tiw_automation.core.events.confirmation import (
        CallbackConfirmer as CallbackConfirmer,
        confirmation_pause_s as confirmation_pause_s,
        confirmed_outcome as confirmed_outcome,
        describe_unconfirmed as describe_unconfirmed,
        hint_waits as hint_waits,
    )
    from tiw_automation.core.events.feed import RecordFeed as RecordFeed
    from tiw_automation.core.events.missing import (
        Missing as Missing,
        is_task_id as is_task_id,
    )
    from tiw_automation.core.events.record_events import (
        TRANSITION as TRANSITION,
        end_id as end_id,
        event_id as event_id,
        to_event as to_event,
    )
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "backlog": "Backlog NotConfirmed",
            "confirmation": """
                CallbackConfirmer confirmation_pause_s confirmed_outcome describe_unconfirmed
                hint_waits
            """,
            "feed": "RecordFeed",
            "missing": "Missing is_task_id",
            "record_events": "TRANSITION event_id end_id to_event",
        },
    )
