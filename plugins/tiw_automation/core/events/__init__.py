# SPDX-License-Identifier: Apache-2.0
"""How recordings end: followed, confirmed, and made into events."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.events.backlog import (
        MOST_KEYS as MOST_KEYS,
        Backlog as Backlog,
        NotConfirmed as NotConfirmed,
    )
    from tiw_automation.core.events.confirmation import (
        CallbackConfirmer as CallbackConfirmer,
        describe as describe,
        pause_s as pause_s,
        settled as settled,
    )
    from tiw_automation.core.events.feed import RecordFeed as RecordFeed
    from tiw_automation.core.events.missing import (
        Missing as Missing,
        is_task_id as is_task_id,
    )
    from tiw_automation.core.events.record_events import (
        TRANSITION as TRANSITION,
        event_id as event_id,
        id_of_end as id_of_end,
        to_event as to_event,
    )
    from tiw_automation.core.records.outcome import ANY_END as ANY_END
    from tiw_automation.core.records.record import public_record as public_record
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            ".records.outcome": "ANY_END",
            ".records.record": "public_record",
            "backlog": "Backlog MOST_KEYS NotConfirmed",
            "confirmation": "CallbackConfirmer describe pause_s settled",
            "feed": "RecordFeed",
            "missing": "Missing is_task_id",
            "record_events": "TRANSITION event_id id_of_end to_event",
        },
    )
