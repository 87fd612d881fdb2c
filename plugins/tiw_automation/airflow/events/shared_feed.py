# SPDX-License-Identifier: Apache-2.0
"""The recordings of an application as they end, read once for all triggers that watch it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from tiw_automation.airflow import supervisor
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.metrics import export
from tiw_automation.core import TiwClient
from tiw_automation.core.events import RecordFeed

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer
else:
    # Only Airflow 3.3 has it, and calls its methods.
    SharedStreamProducer = object

_OTHER_WAYS = (
    "Without the list, give record_task_ids, or receive Tencent's callbacks "
    "(docs/airflow-events.md)."
)


@dataclass(slots=True)
class Snapshot:
    """A moment at which something may have changed in a feed.

    ``stored`` are calls to make as soon as Airflow reports that the events of this snapshot are
    stored: a trigger that publishes an event adds its own. It is None where Airflow does not
    report that.
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

    It judges nothing: each trigger judges the outcomes by its own terms.

    :param discover: whether to find recordings in the list of running tasks.
    """

    async def connect() -> TiwClient:
        # Why in a thread of asgiref: see triggers.py.
        read = sync_to_async(TiwHook(tencentcloud_conn_id).get_conn, thread_sensitive=False)
        export(gauges=True)
        return await supervisor.uninterrupted(read())

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
    """Yield at once, at every change and at least once a poll interval, without end.

    :param acknowledged: whether Airflow reports which events it has stored.
    """
    changes = feed.changes()
    async with contextlib.aclosing(changes):
        async for _ in changes:
            yield Snapshot(feed, [] if acknowledged else None)


class AcknowledgedFeed(SharedStreamProducer):
    """A feed in the form that Airflow 3.3 shares among triggers and acknowledges.

    Airflow calls :meth:`advance` once it has stored the events of a snapshot.
    """

    def __init__(self, feed: RecordFeed) -> None:
        self._feed = feed

    async def open_stream(self) -> AsyncGenerator[tuple[Snapshot, Snapshot], None]:
        """Yield each snapshot, for the triggers and for :meth:`advance`."""
        shared = snapshots(self._feed, acknowledged=True)
        async with contextlib.aclosing(shared):
            async for snapshot in shared:
                yield snapshot, snapshot

    async def advance(self, batch: Sequence[Any]) -> None:
        """Make the calls of the snapshots whose events are all stored."""
        for item in batch:
            # Airflow does not report which event was lost, so all of them may be repeated.
            if not item.outcome.failed:
                for stored in item.broker_payload.stored:
                    await stored()

    def get_advance_lane(self, broker_payload: Any) -> None:
        """Keep the order of the snapshots."""

    async def aclose(self) -> None:
        """Nothing is held open."""
