# SPDX-License-Identifier: Apache-2.0
"""The loop that polls: take a due task, reserve a slot, send the request, hand on the answer."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import os
import time
from collections.abc import Callable, Coroutine
from typing import Any

from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.errors import ApiError, TiwError
from tiw_automation.core.quota.quota import BUSY_PAUSE_S, Quota, Slot, WantedRate
from tiw_automation.core.tasks.kind import TaskKind
from tiw_automation.core.waiting.durations import processing_durations, recording_durations
from tiw_automation.core.waiting.outcomes import ENDS_THE_LOOP, request_error, watcher_error
from tiw_automation.core.waiting.poll_order import PollOrder
from tiw_automation.core.waiting.running_list import RunningHints
from tiw_automation.core.waiting.stats import (
    RequestRate,
    StatsReport,
    WatcherMetrics,
    WatcherStats,
)
from tiw_automation.core.waiting.threads import CallThreads, Place
from tiw_automation.core.waiting.tracker import Caller, Described, Key, TrackedTask, Tracker

# A slot that waited longer than this for a place is exchanged for another one.
_LATE_S = 0.03


class Dispatcher:
    """Polls the tasks of one kind that the calls of the running event loop wait for.

    It runs as one asyncio task while there are waits. An error of its own ends every wait, and
    the next wait starts it anew.

    :param client: makes the calls.
    :param kind: the kind of the tasks.
    :param threads: the threads of this process that wait for answers.
    :param report: where the counters are reported.
    :param stats: returns the counters to report, those of all kinds.
    :param order: makes what decides which task is polled next; by default one that begins with
        the first guesses of the kind.
    :param jitter: returns a number between 0 and 1.
    :param running_list: whether the list of running tasks may be read.
    """

    def __init__(
        self,
        client: TiwClient,
        kind: TaskKind,
        threads: CallThreads,
        report: StatsReport,
        stats: Callable[[], WatcherStats],
        *,
        order: Callable[[], PollOrder[TrackedTask]] | None,
        jitter: Callable[[], float],
        running_list: bool,
    ) -> None:
        self.client = client
        self.kind = kind
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.pid: int = os.getpid()
        self._order = order or self._new_order
        self.tracker: Tracker = Tracker(self._order(), jitter, time.time, kind)
        self._threads = threads
        self._account = (*client.account, kind.describe_action)
        self._report = report
        self._stats = stats
        self._hints = RunningHints(client, self.tracker) if running_list else None
        self._rate = RequestRate()
        self._metrics = WatcherMetrics(client, kind.describe_action)
        # Both run while there are waits, and only then (I8).
        self._task: asyncio.Task[None] | None = None
        self._hints_task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        # Rings at the tracker's next event, whatever the task waits for (I2).
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = math.inf

    def _new_order(self) -> PollOrder[TrackedTask]:
        return PollOrder(
            recording=recording_durations(self.kind.active_mean_s),
            processing=processing_durations(self.kind.processing_mean_s),
        )

    # What calls do.

    def open(self, caller: Caller) -> None:
        """Add a caller; :meth:`close` removes it."""
        self.tracker.open(caller, caller.started_at)
        self._set_alarm()

    def join(self, caller: Caller, key: Key, initial_delay: float, stop: float | None) -> None:
        """Let a caller wait for a task.

        :param initial_delay: seconds from the start of the call to the first request.
        :param stop: when the recording is expected to stop, on the monotonic clock.
        """
        now = time.monotonic()
        not_before = caller.started_at + initial_delay if initial_delay else now
        self.tracker.join(caller, key, now, not_before, stop)
        self._changed.set()
        if self._task is None:
            self._task = self._start(self._run(), "tiw-watcher")

    def close(self, caller: Caller) -> None:
        """Remove a caller and its waits."""
        self.tracker.close(caller)
        self._stop_if_idle()

    def hint(self, task_id: str, stop: float | None) -> None:
        """Pass a hint to the tracker, from any thread; nothing where the loop is closed.

        :param stop: when the recording is expected to stop, on the monotonic clock.
        """
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(
                self._guarded, self._hint, task_id, stop, context=contextvars.Context()
            )

    def _hint(self, task_id: str, stop: float | None) -> None:
        now = time.monotonic()
        if stop is None:
            self.tracker.hint(task_id, now)
        else:
            self.tracker.expect_stop(task_id, now, stop)
        self._changed.set()

    def stats(self) -> WatcherStats:
        """Return the counters."""
        tracker, now = self.tracker, time.monotonic()
        pace = self.client.quota(self.kind.describe_action).rate if tracker.tasks else 0.0
        return WatcherStats(
            len(tracker.tasks),
            tracker.sent,
            tracker.rejects,
            tracker.errors,
            tracker.order.oldest_unpolled_s(now) or 0.0,
            self._rate.per_second(now),
            pace,
        )

    # Polling.

    async def _run(self) -> None:
        tracker = self.tracker
        quota = self.client.quota(self.kind.describe_action)
        quota.expect_answers()
        tracker.order.pace = quota.requests_per_second
        identity, wanted = object(), WantedRate()
        try:
            while True:
                self._changed.clear()
                now = time.monotonic()
                self._read_running_list()
                self._report.report(now, self._stats)
                self._metrics.report(now, self.stats, quota)
                self._exchange_demand(quota, identity, wanted)
                due = self._next_due(now)
                if due <= now:
                    await self._poll_one(quota, wanted)
                    self._metrics.slot_wait_s += time.monotonic() - now
                else:
                    next_report = min(self._report.next_at, self._metrics.next_at)
                    await self._rest(min(due, next_report) - now)
        finally:
            quota.demand(identity, 0)
            self._metrics.end(self.stats, quota)

    def _next_due(self, now: float) -> float:
        due = self.tracker.next_due(now)
        busy = self.tracker.in_flight >= self._threads.share
        return math.inf if due is None or busy else due

    def _exchange_demand(self, quota: Quota, identity: object, wanted: WantedRate) -> None:
        """Announce the waits to the quota, and take over what it knows of other processes."""
        tracker, now = self.tracker, time.monotonic()
        if not tracker.is_due(now):
            wanted.idle(now)
        quota.demand(
            identity,
            tracker.confirmed,
            unconfirmed=len(tracker.unconfirmed),
            wanted=wanted.wanted(now),
        )
        tracker.budget.rate = quota.unconfirmed_rate
        tracker.others_wait = quota.others_wait

    async def _rest(self, seconds: float) -> None:
        """Wait for a change, at most so many seconds."""
        timer = None
        if seconds < math.inf:
            timer = self.loop.call_later(seconds, self._guarded, self._changed.set)
        try:
            await self._changed.wait()
        finally:
            if timer is not None:
                timer.cancel()

    async def _poll_one(self, quota: Quota, wanted: WantedRate) -> None:
        slot, place = await self._slot_and_place(quota)
        # Taken as late as possible: the task that was due may have been cancelled.
        task = self.tracker.take(time.monotonic())
        if task is None:
            self._threads.release(place)
            quota.release(slot)
            return
        if not task.unconfirmed:
            wanted.sent(slot)
        self._send(task, quota, slot, place)

    async def _slot_and_place(self, quota: Quota) -> tuple[float, Place]:
        """Return a slot that has come, and a place for its request.

        The slot is used after the wait for a place, because the request must leave soon after it.
        """
        slot, place = quota.reserve(), None
        # Where processes share the pace, a slot may lie in the past.
        came = max(slot, time.monotonic())
        try:
            await _sleep_until(slot)
            place = await self._place()
            if time.monotonic() - came > _LATE_S:
                quota.release(slot)
                slot = quota.reserve()
            while (used := quota.use(slot)) is None:
                await asyncio.sleep(BUSY_PAUSE_S)
            slot = used
            if slot > time.monotonic():
                self._threads.release(place)
                place = None
                await _sleep_until(slot)
                place = await self._place()
        except BaseException:
            if place is not None:
                self._threads.release(place)
            quota.release(slot)
            raise
        return slot, place

    async def _place(self) -> Place:
        return await self._threads.place(self._account, self.client.settings.url)

    def _send(self, task: TrackedTask, quota: Quota, time_of_slot: float, place: Place) -> None:
        """Poll a task in a thread. Every request leaves in a slot of the quota (I1)."""
        self._rate.add(time_of_slot)
        app_id, task_id = task.key
        describe, kind, slot = self.client.describe_task, self.kind.name, Slot(quota, time_of_slot)

        def poll() -> Described | BaseException:
            answer: Described | BaseException
            try:
                answer = describe(kind, task_id, app_id, slot=slot)
            except BaseException as error:
                # A wait depends on the end of this request, whatever it is.
                answer = error
            if isinstance(answer, ApiError) or not isinstance(answer, BaseException):
                quota.answered(slot.time, time.monotonic() - slot.time)
            return answer

        def complete(answer: Described | BaseException) -> None:
            self._guarded(self._complete, task, answer)

        try:
            self._threads.run(place, poll, complete)
        except TiwError as error:
            quota.release(time_of_slot)
            self._complete(task, error)

    def _complete(self, task: TrackedTask, answer: Described | BaseException) -> None:
        was_down = self.tracker.is_down
        if isinstance(answer, BaseException):
            answer = request_error(answer)
        self.tracker.complete(task, answer, time.monotonic())
        if was_down and not self.tracker.is_down:
            self.client.quota(self.kind.describe_action).forget_round_trips()
        self._changed.set()
        self._stop_if_idle()

    def _read_running_list(self) -> None:
        if self._hints is not None and self._hints_task is None and self._hints.wanted():
            work = self._hints.keep_reading(self._threads, self._changed.set)
            self._hints_task = self._start(work, "tiw-running-list")

    # Events of the tracker.

    def _set_alarm(self) -> None:
        event = self.tracker.next_event()
        if event >= self._alarm_at:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        delay = max(event - time.monotonic(), 0.0)
        self._alarm_at = event
        self._alarm = self.loop.call_later(
            delay, self._guarded, self._ring, context=contextvars.Context()
        )

    def _ring(self) -> None:
        self._alarm, self._alarm_at = None, math.inf
        self.tracker.run_events(time.monotonic())
        self._set_alarm()
        self._changed.set()

    # Start, stop and failure.

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        # In an empty context: the task outlives the wait that starts it, and the context
        # variables of that wait's log lines must not apply to the requests of all.
        task = self.loop.create_task(work, name=name, context=contextvars.Context())
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        error: BaseException | None = None
        if task is self._hints_task:
            self._hints_task = None
        if not task.cancelled():
            error = task.exception()
        elif task is self._task:
            # Something else has cancelled it, and without it the waits would never end.
            error = TiwError(
                "The task that polls the recordings was cancelled.",
                code="Cancelled",
                retryable=True,
                hint="Wait again, and do not cancel the tasks of the watcher.",
            )
        if error is not None:
            self._fail(error)

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        """Run a callback of the loop; an error ends every wait, which would else never end (I2)."""
        try:
            work(*args)
        except BaseException as error:
            self._fail(error)
            if isinstance(error, ENDS_THE_LOOP):
                raise

    def _fail(self, error: BaseException) -> None:
        """End every wait with an error; the next wait starts anew."""
        self._stop()
        if self._hints is not None:
            self._hints = RunningHints(self.client, self.tracker)
        self.tracker.fail_all(watcher_error(error), self._order())

    def _stop_if_idle(self) -> None:
        if not self.tracker.tasks:
            self._stop()

    def _stop(self) -> None:
        for task in (self._task, self._hints_task):
            if task is not None and not task.done():
                task.cancel()
        self._task = self._hints_task = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm, self._alarm_at = None, math.inf


async def _sleep_until(moment: float) -> None:
    # A process that is behind its pace must yield to the other tasks of its loop as well.
    await asyncio.sleep(max(moment - time.monotonic(), 0.0))
