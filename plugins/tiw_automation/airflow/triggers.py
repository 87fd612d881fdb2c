# SPDX-License-Identifier: Apache-2.0
"""Waits in the triggerer, for as many sensors and assets as there are, one watcher an account."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import math
import re
import sys
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Hashable,
    Mapping,
    Sequence,
)
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent  # isort: skip
from asgiref.sync import sync_to_async

from tiw_automation.airflow import metrics
from tiw_automation.airflow.connections import with_more
from tiw_automation.airflow.events.announced import Announced
from tiw_automation.airflow.events.asset_events import to_event, to_extra
from tiw_automation.airflow.events.shared_feed import AcknowledgedFeed, Snapshot, feed_of, snapshots
from tiw_automation.airflow.events.state_store import AssetStore, Store, VariableStore
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.trigger_event import Settled, settled, settled_by, to_payload
from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    OnlineRecord,
    Outcome,
    RecordWatcher,
    TiwError,
    Verdict,
    check_sdk_app_id,
    judge,
)
from tiw_automation.core.events import RecordFeed
from tiw_automation.core.retry import chance
from tiw_automation.core.waiting import DEFAULT_POLL_INTERVAL_S

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer


logger = logging.getLogger(__name__)

# The pauses between two attempts to read a connection that Airflow cannot read just now: a half to
# the whole of these.
_READ_AGAIN_FIRST_S = 1.0
_READ_AGAIN_LAST_S = 30.0
# What the first attempt may take where less time is left.
_FIRST_READ_S = 30.0
# The scheduler has started the run of one event before the next one comes.
_APART_S = 10.0
# Airflow logs events, and a record has some kilobytes.
_MOST_IN_AN_EVENT = 50
# What could not be kept just now is tried again then.
_KEEP_AGAIN_S = 1.0


class TiwOnlineRecordTrigger(BaseTrigger):
    """Fires once, when every given recording has ended or the time is up.

    The event carries ids and verdicts, never a URL. A fault on the way (network, throttling)
    delays the recording that met it and fires nothing; a connection that Airflow cannot read
    just now is read again until the time is up. All triggers of a triggerer share one watcher for
    each account, so that any number of them keeps to its quota. A restart resumes the wait: its
    state is these arguments.

    :param record_task_ids: the recordings.
    :param end_time: when to give up, UNIX seconds by the wall clock, or None for never.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param poll_interval: the least seconds between two requests for one recording, and the
        time before the first: the sensor has just asked.
    :param accept_finish_reasons: the reasons that are no failure; None means all but EXCEPTION.
    :param require_videos: whether a finished recording without a video is a failure.
    :param initial_delay: another time before the first request, in seconds.
    """

    # Only those that have one hold it: ten thousand wait without.
    initial_delay: float | None = None

    def __init__(
        self,
        *,
        record_task_ids: list[str],
        end_time: float | None,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        accept_finish_reasons: list[str] | None = None,
        require_videos: bool = True,
        initial_delay: float | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if initial_delay is not None:
            self.initial_delay = initial_delay
        self.record_task_ids = record_task_ids
        self.end_time = end_time
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.poll_interval = poll_interval
        self.accept_finish_reasons = accept_finish_reasons
        self.require_videos = require_videos

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all JSON-native."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "record_task_ids": self.record_task_ids,
                "end_time": self.end_time,
                "sdk_app_id": self.sdk_app_id,
                "tencentcloud_conn_id": self.tencentcloud_conn_id,
                "poll_interval": self.poll_interval,
                "accept_finish_reasons": self.accept_finish_reasons,
                "require_videos": self.require_videos,
                # Left out as a rule: a triggerer of an older version does not know it.
                **({"initial_delay": self.initial_delay} if self.initial_delay is not None else {}),
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        # Ten thousand triggers need the name and the interval once. What else is held for each,
        # while it waits, is this frame: so one recording is awaited right here, and nothing else
        # is kept.
        if self.tencentcloud_conn_id is not None:
            self.tencentcloud_conn_id = sys.intern(self.tencentcloud_conn_id)
        self.poll_interval = _one_of_equal(self.poll_interval)
        try:
            watcher = await _watcher(self.tencentcloud_conn_id, self.end_time)
            if isinstance(watcher, TiwError):
                payload = self._never_asked(watcher)
            elif len(self.record_task_ids) == 1:
                app_id = watcher.client.sdk_app_id(self.sdk_app_id)
                try:
                    ends: Any = await watcher.wait(self.record_task_ids[0], **self._terms())
                except TiwError as error:
                    ends = error
                payload = to_payload(app_id, [self._settled(app_id, ends)])
            else:
                app_id = watcher.client.sdk_app_id(self.sdk_app_id)
                payload = to_payload(app_id, await self._all(watcher))
        except ConfigurationError as error:
            raise with_more(
                error,
                "It is the triggerer that looked: it needs the connections and the environment "
                "that the workers have.",
            ) from error
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]

    def _settled(self, app_id: int, answer: OnlineRecord | TiwError) -> Settled:
        return settled_by(app_id, self.record_task_ids[0], answer, self._acceptance())

    async def _all(self, watcher: RecordWatcher) -> list[Settled]:
        """Wait for a list, and return how each has ended, in the order given."""
        ends = {}
        outcomes = watcher.watch(self.record_task_ids, **self._terms())
        async with contextlib.aclosing(outcomes):
            async for outcome in outcomes:
                ends[outcome.task_id] = settled(outcome)
        return [ends[task_id] for task_id in dict.fromkeys(self.record_task_ids)]

    def _never_asked(self, trouble: TiwError) -> dict[str, Any]:
        """Return the payload of a wait whose time was up before its connection could be read."""
        # The application of the connection is not known either.
        app_id = 0 if self.sdk_app_id is None else check_sdk_app_id(self.sdk_app_id)
        words = f"It was never asked for, and its time is up: {trouble}"
        ids = dict.fromkeys(self.record_task_ids)
        return to_payload(app_id, [Settled(i, Verdict.PENDING, words, timed_out=True) for i in ids])

    def _terms(self) -> dict[str, Any]:
        timeout = None if self.end_time is None else max(self.end_time - time.time(), 0.0)
        delay = self.poll_interval if self.initial_delay is None else self.initial_delay
        return {
            "sdk_app_id": self.sdk_app_id,
            "timeout": timeout,
            "acceptance": self._acceptance(),
            "poll_interval": self.poll_interval,
            # An event within the first moments can overtake the worker that is still deferring,
            # and Airflow then fails the task.
            "initial_delay": min(delay, math.inf if timeout is None else timeout),
        }

    def _acceptance(self) -> Acceptance:
        return Acceptance.of(self.accept_finish_reasons, self.require_videos)


class TiwOnlineRecordFinishedEventTrigger(BaseEventTrigger):
    """Fires when recordings finish, once for each, and never ends.

    Watches the given recordings, or all that begin in the application, which it finds in the list
    of running tasks (DescribeRunningTasks: the Chinese site alone; elsewhere it says so in the
    log, every five minutes). Costs one request a poll interval for the list and one for each
    recording; triggers of one connection, application and interval share them on Airflow 3.3.
    A recording that is missing is asked for again: with other settings of the connection at once,
    with the same after five minutes, then after pauses that double to a day.

    A recording that was seen is announced at least once, with the same ``event_id`` each time:
    what is waited for and what was announced is kept in the asset's state store, before Airflow
    3.3 in an Airflow Variable. One that begins and ends while no triggerer watches never was on
    a list that was read, and is not announced unless it is given. A restart repeats nothing that
    was kept; a kill can repeat what was announced in the two seconds before it on 3.3, in the ten
    seconds before it on 3.1 and 3.2. A fault on the way only delays. A recording that fails is
    logged, and announced if asked for.

    Airflow starts a run for the first of several events that come before its scheduler looks,
    with the first alone; the others wait for the next event after that. So what ends within ten
    seconds shares an event, and a while after the last of several events one without a recording
    follows, for a scheduler that was away longer. Another one comes first after a start, if
    something was published since the start before: no event of that time has started a DAG that was
    paused then, and Airflow starts a watcher anew when such a DAG is unpaused.

    :param record_task_ids: the recordings, or None for all of the application.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection.
    :param poll_interval: the least seconds between two requests for one recording, and for the
        list.
    :param accept_finish_reasons: the reasons that are no failure.
    :param require_videos: whether a finished recording without a video is a failure.
    :param include_failed: whether failed and missing recordings are announced too; see the event's
        ``verdict``. *Missing* is announced at most once, under an ``event_id`` of its own, so that
        the end of a recording that is found later is announced as well.
    :param sweep_after: how many seconds after the last of several events the one without a
        recording follows, None for never.
    :param asset_name: the asset that this trigger belongs to; what was announced is kept for it.
    """

    def __init__(
        self,
        *,
        record_task_ids: list[str] | None = None,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        accept_finish_reasons: list[str] | None = None,
        require_videos: bool = True,
        include_failed: bool = False,
        sweep_after: float | None = 900.0,
        asset_name: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record_task_ids = record_task_ids
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.poll_interval = poll_interval
        self.accept_finish_reasons = accept_finish_reasons
        self.require_videos = require_videos
        self.include_failed = include_failed
        self.sweep_after = sweep_after
        self.asset_name = asset_name

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all JSON-native."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "record_task_ids": self.record_task_ids,
                "sdk_app_id": self.sdk_app_id,
                "tencentcloud_conn_id": self.tencentcloud_conn_id,
                "poll_interval": self.poll_interval,
                "accept_finish_reasons": self.accept_finish_reasons,
                "require_videos": self.require_videos,
                "include_failed": self.include_failed,
                "sweep_after": self.sweep_after,
                "asset_name": self.asset_name,
            },
        )

    def shared_stream_key(self) -> Hashable | None:
        """All that ask the same application in the same way at the same pace share a feed."""
        return (
            "tiw-finished",
            self.tencentcloud_conn_id,
            str(self.sdk_app_id),
            str(float(self.poll_interval)),
            str(self.record_task_ids is None),
        )

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the feed in the form in which Airflow says which events it has stored."""
        return AcknowledgedFeed(_feed(kwargs))

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Any]
    ) -> AsyncGenerator[TriggerEvent, None]:
        """Yield the events of the recordings that this trigger has not announced yet."""
        announced = Announced(self._store(), self._store_key())
        last_event_at = -math.inf
        feed: RecordFeed | None = None
        try:
            await announced.load()
            wakes = announced.wakes
            async for snapshot in shared_stream:
                if snapshot.feed is not feed:
                    feed = snapshot.feed
                    feed.adopt_missing(announced.missing)
                ready = await self._ready(feed, announced)
                wait_s = last_event_at + _APART_S - time.monotonic()
                if ready and wait_s > 0:
                    feed.look_again(wait_s)
                elif ready:
                    batch = await self._untold(ready[:_MOST_IN_AN_EVENT], announced)
                    if not batch:
                        feed.look_again(_KEEP_AGAIN_S)
                        continue
                    quiet_s = time.monotonic() - last_event_at
                    last_event_at = time.monotonic()
                    self._plan_sweep(announced, quiet_s)
                    wakes = False
                    ids = [each["record_task_id"] for each in batch if not _is_missing(each)]
                    announced.settle(ids)
                    yield TriggerEvent(to_event(batch))  # type: ignore[no-untyped-call]
                    self._when_stored(snapshot, announced, partial(announced.published, ids))
                    feed.look_again(_APART_S)
                elif wakes or _is_past(announced.sweep_at):
                    wakes, announced.sweep_at = False, None
                    last_event_at = time.monotonic()
                    yield TriggerEvent(to_event([]))  # type: ignore[no-untyped-call]
                    self._when_stored(snapshot, announced, announced.published_nothing)
        finally:
            announced.close()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Do the same with a feed of its own, where Airflow shares none."""
        own = snapshots(_feed(self.serialize()[1]))
        async with contextlib.aclosing(own):
            events = self.filter_shared_stream(own)
            async with contextlib.aclosing(events):
                async for event in events:
                    yield event

    async def _ready(self, feed: RecordFeed, announced: Announced) -> list[dict[str, Any]]:
        """Return what there is to announce, and find out about the rest."""
        if self.record_task_ids is None:
            # Before the list was read, everything would seem to have left it.
            if feed.listed:
                announced.forget_but(feed.running)
            waiting: Sequence[str] = await announced.wait_for(feed.running)
        else:
            announced.forget_but(self.record_task_ids)
            announced.wait_only_for(self.record_task_ids)
            await announced.wait_for(self.record_task_ids)
            given = dict.fromkeys(self.record_task_ids)
            waiting = [task_id for task_id in given if not announced.is_settled(task_id)]
        # Those that are missing are asked for when they are due.
        feed.follow(i for i in waiting if i not in announced.missing)
        ready: list[dict[str, Any]] = []
        silent: list[dict[str, Any]] = []
        for task_id in waiting:
            announced.set_missing(task_id, feed.missing(task_id))
            end = feed.end(task_id)
            if end is None:
                continue
            outcome = self._judge(end)
            if outcome.verdict is Verdict.FINISHED:
                ready.append(to_extra(outcome))
            elif outcome.verdict is Verdict.MISSING:
                if self.include_failed and not announced.is_passed_on_as_missing(task_id):
                    ready.append(to_extra(outcome))
            else:
                (ready if self.include_failed else silent).append(to_extra(outcome))
        await self._pass_over(silent, announced)
        return ready

    async def _untold(
        self, extras: list[dict[str, Any]], announced: Announced
    ) -> list[dict[str, Any]]:
        """Return what nobody else has told, and let nobody else tell it now."""
        told = await announced.claim(extra["event_id"] for extra in extras)
        await self._pass_over([e for e in extras if e["event_id"] in told], announced)
        untold = [extra for extra in extras if extra["event_id"] not in told]
        missing = [extra["record_task_id"] for extra in untold if _is_missing(extra)]
        if missing and not await announced.pass_on_as_missing(missing):
            # Published at most once: not before that is kept.
            return [extra for extra in untold if not _is_missing(extra)]
        return untold

    async def _pass_over(self, extras: list[dict[str, Any]], announced: Announced) -> None:
        if not extras:
            return
        for extra in extras:
            self.log.info("Not announced: %s", extra["message"])
        ids = [extra["record_task_id"] for extra in extras]
        announced.settle(ids)
        await announced.stored(ids)

    def _plan_sweep(self, announced: Announced, quiet_s: float) -> None:
        if self.sweep_after is not None and (announced.sweep_at or quiet_s < self.sweep_after):
            announced.sweep_at = time.time() + self.sweep_after

    def _when_stored(
        self, snapshot: Snapshot, announced: Announced, then: Callable[[], Awaitable[None]]
    ) -> None:
        if snapshot.stored is not None:
            snapshot.stored.append(then)
        else:
            announced.soon(then)

    def _judge(self, end: Outcome) -> Outcome:
        answer = end.record if end.error is None else end.error
        if answer is None:
            return end
        return judge(end.sdk_app_id, end.task_id, answer, self._acceptance)

    @cached_property
    def _acceptance(self) -> Acceptance:
        # Made once: it warns of each reason that is not known.
        return Acceptance.of(self.accept_finish_reasons, self.require_videos)

    def _store(self) -> Store | None:
        from airflow.sdk.execution_time import task_runner

        accessors = getattr(self, "asset_state_store", None)
        if accessors is not None:
            return AssetStore(accessors)
        # A trigger outside of a triggerer has nowhere to keep anything.
        in_triggerer = getattr(task_runner, "SUPERVISOR_COMMS", None) is not None
        airflow_has_a_store = hasattr(BaseEventTrigger, "shared_stream_key")
        return VariableStore() if in_triggerer and not airflow_has_a_store else None

    def _store_key(self) -> str:
        """Return the same for the same asset, so that an id more in the list repeats nothing."""
        what = "running" if self.record_task_ids is None else "given"
        asset = self.asset_name or f"{self.tencentcloud_conn_id}/{self.sdk_app_id}"
        # A Variable's key is part of a URL, and has its limits.
        readable = re.sub(r"[^A-Za-z0-9]+", "_", asset)[:100]
        return f"tiw_announced_{what}_{readable}_{hashlib.sha256(asset.encode()).hexdigest()[:8]}"


def _is_missing(extra: Mapping[str, Any]) -> bool:
    return bool(extra["verdict"] == Verdict.MISSING.value)


def _is_past(at: float | None) -> bool:
    return at is not None and time.time() >= at


class _Connecting:
    """The making of one account's watcher, for all waits that begin meanwhile.

    :param conn_id: the connection, or None for the environment's settings.
    """

    def __init__(self, conn_id: str | None) -> None:
        self.conn_id = conn_id
        self.waiters = 0
        self.trouble: TiwError | None = None
        self._first = asyncio.ensure_future(self._attempt())
        self._first.add_done_callback(_heard)
        self._later: asyncio.Future[RecordWatcher | None] | None = None

    @property
    def is_over(self) -> bool:
        """Whether who comes now has to begin anew."""
        return self._first.done() and (self._later is None or self._later.done())

    async def watcher(self, end_time: float | None) -> RecordWatcher | TiwError:
        """Return the watcher, or why there was none until the wait's time was up."""
        left_s = None if end_time is None else end_time - time.time()
        began_at = time.monotonic()
        watcher = await _within(left_s and max(left_s, _FIRST_READ_S), self._first)
        if watcher is None and self._first.done():
            if self._later is None:
                self._later = asyncio.ensure_future(self._again())
                self._later.add_done_callback(_heard)
            left_s = left_s and left_s - (time.monotonic() - began_at)
            watcher = await _within(left_s, self._later)
        return (
            watcher
            or self.trouble
            or TiwError(f"Airflow did not say what connection {self.conn_id!r} is.", retryable=True)
        )

    async def _attempt(self) -> RecordWatcher | None:
        try:
            return await _connect(self.conn_id)
        except TiwError as error:
            if not error.retryable:
                raise
            if self.trouble is None:
                logger.warning("Waits of connection %s go on later: %s", self.conn_id, error)
            self.trouble = error
            return None

    async def _again(self) -> RecordWatcher | None:
        """Read it again until that works, or nobody waits any more."""
        pause_s = _READ_AGAIN_FIRST_S
        while self.waiters:
            await asyncio.sleep(pause_s * (1 + chance.random()) / 2)
            pause_s = min(pause_s * 2, _READ_AGAIN_LAST_S)
            watcher = await self._attempt() if self.waiters else None
            if watcher is not None:
                logger.info("Connection %s can be read again.", self.conn_id)
                return watcher
        return None


def _heard(done: asyncio.Future[Any]) -> None:
    # Where nobody waits any more, nobody else hears of its error.
    if not done.cancelled():
        done.exception()


async def _within(
    seconds: float | None, watcher: asyncio.Future[RecordWatcher | None]
) -> RecordWatcher | None:
    """Return what others wait for too, or None where that takes longer."""
    try:
        async with asyncio.timeout(seconds) as limit:
            # One of them that is cancelled, or has no more time, takes nothing from the others.
            return await asyncio.shield(watcher)
    except TimeoutError:
        if not limit.expired():
            raise
        return None


_connecting: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str | None, _Connecting]]
_connecting = WeakKeyDictionary()


async def _watcher(conn_id: str | None, end_time: float | None) -> RecordWatcher | TiwError:
    """Return the watcher of a connection's account; who starts together reads it once.

    Where Airflow cannot say what the connection is, that is tried again until the wait's time is
    up; then the error is returned.
    """
    under_way = _connecting.setdefault(asyncio.get_running_loop(), {})
    connecting = under_way.get(conn_id)
    if connecting is None or connecting.is_over:
        connecting = under_way[conn_id] = _Connecting(conn_id)
    connecting.waiters += 1
    try:
        return await connecting.watcher(end_time)
    finally:
        connecting.waiters -= 1
        if not connecting.waiters and under_way.get(conn_id) is connecting:
            del under_way[conn_id]


async def _connect(tencentcloud_conn_id: str | None) -> RecordWatcher:
    # In a thread, because reading a connection blocks and deadlocks the loop of some versions;
    # by asgiref, because Airflow 3.1 then talks to its supervisor in the loop that it came
    # from: from any other thread two answers cross, and the triggerer dies.
    connect = sync_to_async(TiwHook(tencentcloud_conn_id).get_conn, thread_sensitive=False)
    watcher = RecordWatcher.shared(await connect())
    watcher.on_stats = metrics.emit
    return watcher


def _feed(kwargs: dict[str, Any]) -> RecordFeed:
    return feed_of(
        tencentcloud_conn_id=kwargs["tencentcloud_conn_id"],
        sdk_app_id=kwargs["sdk_app_id"],
        poll_interval=kwargs["poll_interval"],
        discover=kwargs["record_task_ids"] is None,
    )


@lru_cache(maxsize=64, typed=True)
def _one_of_equal(value: float) -> float:
    return value
