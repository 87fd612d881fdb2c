# SPDX-License-Identifier: Apache-2.0
"""Follows an application's recordings to their end, for every event trigger that asks.

Which recordings there are comes from the triggers, or from the list of running tasks; how each
ends comes from the account's shared watcher. Nothing here ever gives up or returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async

from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    FinishReason,
    Outcome,
    RecordWatcher,
    TiwClient,
    TiwError,
)

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer
else:
    # Airflow 3.3 calls it by its methods; before that nothing does.
    SharedStreamProducer = object

logger = logging.getLogger(__name__)

# Ends that come together are told together.
_GATHER_S = 0.25
# After a refusal that only a person can lift (keys, permission, site).
_REFUSED_S = 300.0
_REMEMBER_S = 3600.0
# Each trigger judges by its own terms.
_ANY = Acceptance(tuple(reason.value for reason in FinishReason), require_videos=False)

_INTERNATIONAL = ".intl."
_OTHER_WAYS = (
    " Without the list, give record_task_ids, or let Tencent's callbacks tell "
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


class RecordFeed:
    """The recordings of one application, as they begin and end.

    :param discover: whether to look for them in the list of running tasks, which only the
        Chinese site has.
    :param poll_interval: the least seconds between two requests for one recording, and between
        two for the list.
    """

    def __init__(
        self,
        *,
        tencentcloud_conn_id: str,
        sdk_app_id: int | str | None,
        poll_interval: float,
        discover: bool,
    ) -> None:
        self.running: frozenset[str] = frozenset()
        self._conn_id = tencentcloud_conn_id
        self._sdk_app_id = sdk_app_id
        self._poll_interval = poll_interval
        self._discover = discover
        self._ends: dict[str, tuple[Outcome, float]] = {}
        self._followed: set[str] = set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def snapshots(self, *, acknowledged: bool = False) -> AsyncGenerator[Snapshot, None]:
        """Yield at once, at every change and at least once a poll interval, for ever."""
        try:
            if self._discover:
                self._start(self._list())
            while True:
                yield Snapshot(self, [] if acknowledged else None)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self._poll_interval)
                    await asyncio.sleep(_GATHER_S)
                self._changed.clear()
                self._forget()
        finally:
            for task in list(self._tasks):
                task.cancel()

    def end(self, task_id: str) -> Outcome | None:
        """Return how a recording has ended, judged by no terms, if that is known."""
        known = self._ends.get(task_id)
        return None if known is None else known[0]

    def follow(self, task_ids: Iterable[str]) -> None:
        """Find out how these end."""
        new = [i for i in task_ids if i not in self._followed and i not in self._ends]
        if new:
            self._followed.update(new)
            self._start(self._follow(new))

    def look_again(self, after_s: float) -> None:
        """Yield a snapshot then, whether or not anything has changed."""
        asyncio.get_running_loop().call_later(max(after_s, 0.0), self._changed.set)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _client(self) -> TiwClient:
        # Why a thread, and why asgiref's: see the triggers.
        return await sync_to_async(TiwHook(self._conn_id).get_conn, thread_sensitive=False)()

    async def _follow(self, task_ids: list[str]) -> None:
        left = dict.fromkeys(task_ids)
        while left:
            pause_s, reason = _REFUSED_S, ""
            try:
                watcher = RecordWatcher.shared(await self._client())
                outcomes = watcher.watch(
                    list(left),
                    sdk_app_id=self._sdk_app_id,
                    acceptance=_ANY,
                    poll_interval=self._poll_interval,
                )
                async with contextlib.aclosing(outcomes):
                    async for outcome in outcomes:
                        if outcome.is_final:
                            self._ended(outcome)
                            del left[outcome.task_id]
                        else:
                            reason = outcome.message
            except Exception as error:
                pause_s, reason = self._pause_s(error), _words(error)
            if left:
                logger.error(
                    "%d recordings cannot be asked for; that is tried again in %d s: %s",
                    len(left),
                    pause_s,
                    reason,
                )
                await asyncio.sleep(pause_s)

    def _pause_s(self, error: Exception) -> float:
        refused = isinstance(error, TiwError) and not error.retryable
        return _REFUSED_S if refused else self._poll_interval

    def _ended(self, outcome: Outcome) -> None:
        self._ends[outcome.task_id] = (outcome, time.monotonic())
        self._followed.discard(outcome.task_id)
        self._changed.set()

    async def _list(self) -> None:
        while True:
            pause_s = self._poll_interval
            try:
                client = await self._client()
                with client:
                    _check_site(client)
                    tasks = await asyncio.to_thread(
                        client.describe_running_tasks, sdk_app_id=self._sdk_app_id
                    )
            except Exception as error:
                pause_s = self._pause_s(error)
                refused = pause_s == _REFUSED_S
                logger.error(
                    "The running recordings cannot be listed; that is tried again in %d s: %s%s",
                    pause_s,
                    _words(error),
                    _OTHER_WAYS if refused else "",
                )
            else:
                running = frozenset(task.task_id for task in tasks)
                if running != self.running:
                    self.running = running
                    self._changed.set()
            await asyncio.sleep(pause_s)

    def _forget(self) -> None:
        # A trigger that comes late still finds it here; after that it asks for itself.
        now = time.monotonic()
        for task_id in [i for i, (_, at) in self._ends.items() if now - at > _REMEMBER_S]:
            if task_id not in self.running:
                del self._ends[task_id]


class AcknowledgedFeed(SharedStreamProducer):
    """A feed as Airflow 3.3 shares it, which hears when the events are stored."""

    def __init__(self, feed: RecordFeed) -> None:
        self._feed = feed

    async def open_stream(self) -> AsyncGenerator[tuple[Snapshot, Snapshot], None]:
        """Yield each snapshot, for the triggers and for :meth:`advance`."""
        snapshots = self._feed.snapshots(acknowledged=True)
        async with contextlib.aclosing(snapshots):
            async for snapshot in snapshots:
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


def _check_site(client: TiwClient) -> None:
    if _INTERNATIONAL in client.settings.host:
        raise ConfigurationError(
            f"{client.settings.host} does not tell which recordings run; only the Chinese site "
            "does (DescribeRunningTasks).",
        )


def _words(error: Exception) -> str:
    return str(error) or repr(error)
