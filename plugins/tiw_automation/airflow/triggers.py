# SPDX-License-Identifier: Apache-2.0
"""The triggers: a wait of a deferred Airflow task, and the finished recordings of an asset."""

from __future__ import annotations

import contextlib
import hashlib
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
    Iterable,
    Mapping,
    Sequence,
)
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.triggers.base import BaseEventTrigger, BaseTrigger, TriggerEvent  # isort: skip

from tiw_automation.airflow.connections import with_more
from tiw_automation.airflow.events.announced import Announced
from tiw_automation.airflow.events.asset_events import to_event, to_extra
from tiw_automation.airflow.events.shared_feed import AcknowledgedFeed, Snapshot, feed_of, snapshots
from tiw_automation.airflow.events.state_store import AssetStore, Store, VariableStore
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.shared_watcher import shared_watcher
from tiw_automation.airflow.trigger_event import (
    Settled,
    reached,
    settled,
    settled_by,
    to_payload,
)
from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    Outcome,
    TiwError,
    Verdict,
    check_sdk_app_id,
    judge,
    metrics,
)
from tiw_automation.core.events import RecordFeed
from tiw_automation.core.waiting import DEFAULT_POLL_INTERVAL_S, in_order

if TYPE_CHECKING:
    from airflow.triggers.shared_stream import SharedStreamProducer

# The scheduler has started the run of one event before the next event comes.
_APART_S = 10.0
# Airflow logs events, and a record has some kilobytes.
_MOST_IN_AN_EVENT = 50
# When a write to the state store that failed is repeated.
_KEEP_AGAIN_S = 1.0
# The arguments of a wait that the first release did not have.
_LATER_ARGUMENTS = ("initial_delay", "task_kind", "until")


class TiwOnlineRecordTrigger(BaseTrigger):
    """Fires once, when every given task has ended or the timeout elapsed.

    It waits for tasks of any kind; it and its arguments have the names of the first release, whose
    deferred tasks this version resumes.

    The event carries ids and verdicts, never a URL. A network fault or throttling delays the
    task that met it and fires nothing; a connection that is temporarily unreadable is read
    again until the timeout elapses. All triggers of a triggerer share one watcher for each
    account, so that any number of them keeps to its quota. A restart resumes the wait: its state
    is these arguments.

    :param record_task_ids: the tasks.
    :param end_time: when the wait ends, UNIX seconds by the wall clock, or None for never.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param poll_interval: the least seconds between two polls of one task, and the time
        before the first: the sensor has just polled.
    :param accept_finish_reasons: the reasons that are not a failure; None means all but EXCEPTION.
    :param require_videos: whether a finished task without its result is a failure.
    :param initial_delay: another time before the first poll, in seconds.
    :param task_kind: the tasks' kind.
    :param until: the states that the wait is for; None waits for the end.
    """

    # Defaults of the class: ten thousand triggers do not hold them.
    initial_delay: float | None = None
    task_kind: str = "online_record"
    until: list[str] | None = None

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
        task_kind: str = "online_record",
        until: list[str] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        if initial_delay is not None:
            self.initial_delay = initial_delay
        if task_kind != self.task_kind:
            self.task_kind = sys.intern(task_kind)
        if until is not None:
            self.until = until
        self.record_task_ids = record_task_ids
        self.end_time = end_time
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.poll_interval: float = poll_interval
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
                # Only what differs from the default: a triggerer of an older version does not
                # know these.
                **{name: vars(self)[name] for name in _LATER_ARGUMENTS if name in vars(self)},
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, then yield the one event."""
        # A triggerer holds ten thousand of these. So equal arguments are one object, and the end of
        # a single task is awaited in this frame, without another one.
        if self.tencentcloud_conn_id is not None:
            self.tencentcloud_conn_id = sys.intern(self.tencentcloud_conn_id)
        self.poll_interval = _one_of_equal(self.poll_interval)
        ids = self.record_task_ids
        try:
            watcher = await shared_watcher(self.tencentcloud_conn_id, self.end_time)
            if isinstance(watcher, TiwError):
                payload = self._never_polled(watcher)
            elif len(ids) == 1 and self.until is None:
                app_id = watcher.client.sdk_app_id(self.sdk_app_id)
                try:
                    answer: Any = await watcher.wait(ids[0], **self._terms())
                except TiwError as error:
                    answer = error
                end = settled_by(app_id, ids[0], answer, self._acceptance(), self.task_kind)
                payload = to_payload(app_id, [end])
            else:
                app_id = watcher.client.sdk_app_id(self.sdk_app_id)
                watch = watcher.watch(ids, until=self.until, **self._terms())
                outcomes = [reached(end, self.until) for end in await in_order(watch, ids)]
                payload = to_payload(app_id, map(settled, outcomes))
        except ConfigurationError as error:
            raise with_more(
                error,
                "This was read in the triggerer: it needs the connections and the environment "
                "that the workers have.",
            ) from error
        yield TriggerEvent(payload)  # type: ignore[no-untyped-call]

    def _never_polled(self, error: TiwError) -> dict[str, Any]:
        """Return the payload of a wait that ended before its connection could be read."""
        # The application of the connection is not known either.
        app_id = 0 if self.sdk_app_id is None else check_sdk_app_id(self.sdk_app_id)
        words = f"It was never polled before the wait's timeout elapsed: {error}"
        ids = dict.fromkeys(self.record_task_ids)
        return to_payload(app_id, [Settled(i, Verdict.PENDING, words, timed_out=True) for i in ids])

    def _terms(self) -> dict[str, Any]:
        timeout = None if self.end_time is None else max(self.end_time - time.time(), 0.0)
        delay = self.poll_interval if self.initial_delay is None else self.initial_delay
        return {
            "task_kind": self.task_kind,
            "sdk_app_id": self.sdk_app_id,
            "timeout": timeout,
            "acceptance": self._acceptance(),
            "poll_interval": self.poll_interval,
            # An event within the first moments can reach Airflow before the worker has deferred,
            # and Airflow then fails the task.
            "initial_delay": min(delay, math.inf if timeout is None else timeout),
        }

    def _acceptance(self) -> Acceptance:
        return Acceptance.of(self.accept_finish_reasons, self.require_videos)


class TiwOnlineRecordFinishedEventTrigger(BaseEventTrigger):
    """Fires when recordings finish, once for each, and never ends.

    Watches the given recordings, or all that begin in the application. It finds these in the list
    of running tasks (DescribeRunningTasks), which only the Chinese site has; on another site it
    logs that every five minutes. Costs one request a poll interval for the list and one for each
    recording; triggers of one connection, application and interval share them on Airflow 3.3.
    A missing recording is polled again: with other settings of the connection at once, with the
    same after five minutes, then after pauses that double to a day.

    A recording that was seen is announced at least once, with the same ``event_id`` each time:
    what is waited for and what was announced is kept in the asset's state store, before Airflow
    3.3 in an Airflow Variable. A recording that begins and ends while no triggerer watches is
    announced only if its id is given. A restart repeats nothing that was kept; a kill can repeat
    what was announced in the two seconds before it on 3.3, in the ten seconds before it on 3.1
    and 3.2. A network fault only delays. A recording that fails is logged, and announced if asked
    for.

    Where several events come before Airflow's scheduler looks, it starts a run for the first one;
    the others wait for the next event after that. So recordings that end within ten seconds share
    an event, and a while after the last of several events an event without a recording follows,
    in case the scheduler was away longer. Such an event also comes first after a start, if
    something was published since the start before: no event of that time has started a DAG that
    was paused then, and Airflow starts a watcher anew when such a DAG is unpaused.

    :param record_task_ids: the recordings, or None for all of the application.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param poll_interval: the least seconds between two polls of one recording, and between two
        reads of the list.
    :param accept_finish_reasons: the reasons that are not a failure; None means all but EXCEPTION.
    :param require_videos: whether a finished recording without a video is a failure.
    :param include_failed: whether failed and missing recordings are announced too; see the event's
        ``verdict``. *Missing* is announced at most once, under another ``event_id``, so that
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
        """Return the key of a feed, equal for triggers that poll the same in the same way."""
        return (
            "tiw-finished",
            self.tencentcloud_conn_id,
            str(self.sdk_app_id),
            str(float(self.poll_interval)),
            str(self.record_task_ids is None),
        )

    @classmethod
    def create_shared_stream_producer(cls, kwargs: dict[str, Any]) -> SharedStreamProducer:
        """Return the feed in the form in which Airflow confirms the events that it has stored."""
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
                batch = await self._batch(feed, announced, last_event_at)
                if batch is None or not (batch or wakes or _is_past(announced.sweep_at)):
                    continue
                self._plan_sweep(batch, announced, time.monotonic() - last_event_at)
                last_event_at, wakes = time.monotonic(), False
                ids = [each["record_task_id"] for each in batch if not _is_missing(each)]
                announced.settle(ids)
                yield TriggerEvent(to_event(batch))  # type: ignore[no-untyped-call]
                if batch:
                    metrics.report("tiw.events.published", len(batch), source="trigger")
                    self._when_stored(snapshot, announced, partial(announced.published, ids))
                    feed.look_again(_APART_S)
                else:
                    self._when_stored(snapshot, announced, announced.published_nothing)
        finally:
            announced.close()

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the same events from an unshared feed, where Airflow has no shared streams."""
        own = snapshots(_feed(self.serialize()[1]))
        async with contextlib.aclosing(own):
            events = self.filter_shared_stream(own)
            async with contextlib.aclosing(events):
                async for event in events:
                    yield event

    async def _batch(
        self, feed: RecordFeed, announced: Announced, last_event_at: float
    ) -> list[dict[str, Any]] | None:
        """Return what the next event announces, or None where it must come later."""
        ready = await self._ready(feed, announced)
        if not ready:
            return []
        wait_s = last_event_at + _APART_S - time.monotonic()
        if wait_s > 0:
            feed.look_again(wait_s)
            return None
        batch = await self._unannounced(ready[:_MOST_IN_AN_EVENT], announced)
        if not batch:
            feed.look_again(_KEEP_AGAIN_S)
        return batch or None

    async def _ready(self, feed: RecordFeed, announced: Announced) -> list[dict[str, Any]]:
        """Return what is ready to be announced, and follow the rest."""
        ready: list[dict[str, Any]] = []
        silent: list[dict[str, Any]] = []
        for task_id in await self._follow(feed, announced):
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

    async def _follow(self, feed: RecordFeed, announced: Announced) -> Iterable[str]:
        """Let the feed poll what is waited for, and return that."""
        waiting: Sequence[str]
        if self.record_task_ids is None:
            # Before the list was read, everything would seem to have left it.
            if feed.listed:
                announced.forget_but(feed.running)
            waiting = await announced.wait_for(feed.running)
        else:
            announced.forget_but(self.record_task_ids)
            announced.wait_only_for(self.record_task_ids)
            await announced.wait_for(self.record_task_ids)
            given = dict.fromkeys(self.record_task_ids)
            waiting = [task_id for task_id in given if not announced.is_settled(task_id)]
        # Those that are missing are polled when they are due.
        feed.follow(i for i in waiting if i not in announced.missing)
        return waiting

    async def _unannounced(
        self, extras: list[dict[str, Any]], announced: Announced
    ) -> list[dict[str, Any]]:
        """Return what no callback has announced, and keep callbacks from announcing it now."""
        claimed = await announced.claim(extra["event_id"] for extra in extras)
        await self._pass_over([e for e in extras if e["event_id"] in claimed], announced)
        rest = [extra for extra in extras if extra["event_id"] not in claimed]
        missing = [extra["record_task_id"] for extra in rest if _is_missing(extra)]
        if missing and not await announced.pass_on_as_missing(missing):
            # Published at most once: not before that is kept.
            return [extra for extra in rest if not _is_missing(extra)]
        return rest

    async def _pass_over(self, extras: list[dict[str, Any]], announced: Announced) -> None:
        if not extras:
            return
        for extra in extras:
            self.log.info("Not announced: %s", extra["message"])
        ids = [extra["record_task_id"] for extra in extras]
        announced.settle(ids)
        await announced.stored(ids)

    def _plan_sweep(
        self, batch: list[dict[str, Any]], announced: Announced, quiet_s: float
    ) -> None:
        if not batch:
            announced.sweep_at = None
        elif self.sweep_after is not None and (announced.sweep_at or quiet_s < self.sweep_after):
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
        # Made once: it warns of each unknown reason.
        return Acceptance.of(self.accept_finish_reasons, self.require_videos)

    def _store(self) -> Store | None:
        from airflow.sdk.execution_time import task_runner

        accessors = getattr(self, "asset_state_store", None)
        if accessors is not None:
            return AssetStore(accessors)
        # A trigger outside of a triggerer cannot keep anything.
        in_triggerer = getattr(task_runner, "SUPERVISOR_COMMS", None) is not None
        airflow_has_a_store = hasattr(BaseEventTrigger, "shared_stream_key")
        return VariableStore() if in_triggerer and not airflow_has_a_store else None

    def _store_key(self) -> str:
        """Return one key an asset, so that another id in the list repeats no announcement."""
        what = "running" if self.record_task_ids is None else "given"
        asset = self.asset_name or f"{self.tencentcloud_conn_id}/{self.sdk_app_id}"
        # A Variable's key is part of a URL, and has its limits.
        readable = re.sub(r"[^A-Za-z0-9]+", "_", asset)[:100]
        return f"tiw_announced_{what}_{readable}_{hashlib.sha256(asset.encode()).hexdigest()[:8]}"


def _is_missing(extra: Mapping[str, Any]) -> bool:
    return bool(extra["verdict"] == Verdict.MISSING.value)


def _is_past(at: float | None) -> bool:
    return at is not None and time.time() >= at


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
