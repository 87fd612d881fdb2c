# SPDX-License-Identifier: Apache-2.0
"""An application's recordings as they end, in the form in which triggers share them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from tiw_automation.airflow import supervisor
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.core import TiwClient
from tiw_automation.core.events import RecordFeed

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer
else:
    # Airflow 3.3 calls it by its methods; before that nothing does.
    SharedStreamProducer = object

_OTHER_WAYS = (
    "Without the list, give record_task_ids, or let Tencent's callbacks tell "
    "(docs/airflow-events.md)."
)


@dataclass(slots=True)
class Snapshot:
    """What is known at one moment.

    ``stored`` is called for by whoever announces something because of this snapshot, as soon as
    Airflow says that its events are stored; where Airflow never says, it is None.
    """

    feed: RecordFeed
    stored: list[Callable[[], Awaitable[None]]] | None = None


def feed_of(
    *,
    tencentcloud_conn_id: str | None,
    sdk_app_id: int | str | None,
    poll_interval: float,
    discover: bool,
) -> RecordFeed:
    """Return the feed of a connection's application.

    Each trigger judges an end by its own terms.
    """

    async def connect() -> TiwClient:
        # Why a thread, and why asgiref's: see the triggers.
        read = sync_to_async(TiwHook(tencentcloud_conn_id).get_conn, thread_sensitive=False)
        return await supervisor.to_its_end(read())

    return RecordFeed(
        connect,
        sdk_app_id=sdk_app_id,
        poll_interval=poll_interval,
        discover=discover,
        other_ways=_OTHER_WAYS,
    )


async def snapshots(
    feed: RecordFeed, *, acknowledged: bool = False
) -> AsyncGenerator[Snapshot, None]:
    """Yield at once, at every change and at least once a poll interval, for ever."""
    changes = feed.changes()
    async with contextlib.aclosing(changes):
        async for _ in changes:
            yield Snapshot(feed, [] if acknowledged else None)


class AcknowledgedFeed(SharedStreamProducer):
    """A feed as Airflow 3.3 shares it, which hears when the events are stored."""

    def __init__(self, feed: RecordFeed) -> None:
        self._feed = feed

    async def open_stream(self) -> AsyncGenerator[tuple[Snapshot, Snapshot], None]:
        """Yield each snapshot, for the triggers and for :meth:`advance`."""
        shared = snapshots(self._feed, acknowledged=True)
        async with contextlib.aclosing(shared):
            async for snapshot in shared:
                yield snapshot, snapshot

    async def advance(self, batch: Sequence[Any]) -> None:
        """Pass on that all events of these snapshots are stored."""
        for item in batch:
            # Airflow does not say whose event was lost: all of them may come again.
            if not item.outcome.failed:
                for stored in item.broker_payload.stored:
                    await stored()

    def get_advance_lane(self, broker_payload: Any) -> None:
        """Keep the order of the snapshots."""

    async def aclose(self) -> None:
        """Nothing is held open."""
