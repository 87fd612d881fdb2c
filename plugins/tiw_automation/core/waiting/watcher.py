# SPDX-License-Identifier: Apache-2.0
"""The public face: wait for one task, watch many, describe them now, give hints."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import (
    AsyncGenerator,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
)
from functools import reduce
from operator import add
from typing import Any, Literal, overload

from tiw_automation.core import hints
from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.api.settings import Settings
from tiw_automation.core.checks import as_number, check_seconds, check_task_id, check_task_ids
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import shown
from tiw_automation.core.records.outcome import DEFAULT_ACCEPTANCE, Acceptance, Outcome
from tiw_automation.core.records.record import OnlineRecord
from tiw_automation.core.records.task import TiwTask
from tiw_automation.core.retry import chance
from tiw_automation.core.tasks.kind import TaskKind
from tiw_automation.core.tasks.kinds import find_kind
from tiw_automation.core.tasks.until import check_until
from tiw_automation.core.waiting.dispatcher import Dispatcher
from tiw_automation.core.waiting.outcomes import described_at_end, settled_outcome, timed_out
from tiw_automation.core.waiting.poll_order import PollOrder
from tiw_automation.core.waiting.progress import LOG_ONLY, BatchReporter, Progress, Reporter
from tiw_automation.core.waiting.stats import StatsReport, WatcherStats
from tiw_automation.core.waiting.threads import CALL_THREADS
from tiw_automation.core.waiting.tracker import Caller, Key, Terms, TrackedTask, Tracker

DEFAULT_POLL_INTERVAL_S = 5.0
# After so many ids a call lets the other tasks of its event loop run.
_IDS_AT_ONCE = 250


class RecordWatcher:
    """Waits for recordings and other tasks, many at a time, on one account's quota.

    Each kind of task has a quota and an order apart from the others, so that none slows another
    one. All watchers of a process share its threads. Every method takes ``task_kind``, a name of
    :data:`~tiw_automation.core.TASK_KINDS`; by default it is about recordings.

    A watcher belongs to the event loop in which it is first used. It needs no closing and does
    nothing while there are no waits. A fault on the way (network, throttling, an error of
    Tencent's) delays the task that met it, with full jitter, and never ends a wait. An error of
    the watcher itself ends every wait with a :class:`TiwError`; one that is not an
    :class:`Exception`, as a signal handler may raise for the time limit of a task, is raised by
    every wait. The copy in a forked child starts empty.

    :param client: makes the calls; its ``sdk_app_id`` is the default of every method here.
    :param order: makes what decides which task is polled next, for each kind.
    :param jitter: returns a number between 0 and 1.
    :param running_list: whether the list of running tasks may be read once several hundred
        recordings are waited for; it only changes the order of the polls.
    """

    def __init__(
        self,
        client: TiwClient,
        *,
        order: Callable[[], PollOrder[TrackedTask]] | None = None,
        jitter: Callable[[], float] = chance.random,
        running_list: bool = True,
    ) -> None:
        self.client = client
        self._order = order
        self._jitter = jitter
        self._running_list = running_list
        self._report = StatsReport()
        self._threads = CALL_THREADS
        # By kind.
        self._dispatchers: dict[str, Dispatcher] = {}
        hints.listen(self)

    @classmethod
    def shared(cls, client: TiwClient) -> RecordWatcher:
        """Return the running loop's one watcher for the client's account and settings.

        The first client of equal settings is the one that makes the calls; the others are closed.
        """
        watchers = _watchers_of(asyncio.get_running_loop())
        watcher = watchers.get(client.settings)
        if watcher is None:
            watcher = watchers[client.settings] = cls(client)
        elif watcher.client is not client:
            client.close()
        return watcher

    @staticmethod
    def hint_all(task_id: str, *, expected_stop: float | None = None) -> None:
        """Give every watcher of this process a :meth:`hint`; from any thread."""
        hints.hint_all(task_id, expected_stop=expected_stop)

    @property
    def on_stats(self) -> Callable[[WatcherStats], object] | None:
        """Called in the loop with :meth:`stats` every ten seconds while there are waits.

        What it raises is logged and ends nothing.
        """
        return self._report.callback

    @on_stats.setter
    def on_stats(self, callback: Callable[[WatcherStats], object] | None) -> None:
        self._report.callback = callback

    @property
    def polls(self) -> int:
        """The requests sent so far."""
        return self.stats().polls

    def stats(self) -> WatcherStats:
        """Return the counters."""
        found = (dispatcher.stats() for dispatcher in self._current())
        return reduce(add, found, WatcherStats(0, 0, 0, 0))

    @overload
    def wait(  # type: ignore[overload-overlap]
        self,
        task_id: str,
        *,
        task_kind: Literal["online_record"] = "online_record",
        sdk_app_id: int | str | None = None,
        timeout: float | None = None,
        acceptance: Acceptance | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        initial_delay: float = 0.0,
        expected_stop: float | None = None,
        until: str | Collection[str] | None = None,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Coroutine[Any, Any, OnlineRecord]: ...
    @overload
    def wait(
        self,
        task_id: str,
        *,
        task_kind: str,
        sdk_app_id: int | str | None = None,
        timeout: float | None = None,
        acceptance: Acceptance | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        initial_delay: float = 0.0,
        expected_stop: float | None = None,
        until: str | Collection[str] | None = None,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Coroutine[Any, Any, TiwTask]: ...
    def wait(
        self,
        task_id: str,
        *,
        task_kind: str = "online_record",
        sdk_app_id: int | str | None = None,
        timeout: float | None = None,
        acceptance: Acceptance | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        initial_delay: float = 0.0,
        expected_stop: float | None = None,
        until: str | Collection[str] | None = None,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Coroutine[Any, Any, OnlineRecord | TiwTask]:
        """Wait until a task has ended, or is in one of the states ``until``, and return it.

        A recording ends with FINISHED and is an :class:`OnlineRecord`, a task of another kind is
        a :class:`TiwTask`.

        :param timeout: seconds to wait; None waits without limit.
        :param acceptance: which finished tasks count as good.
        :param poll_interval: the least seconds between two requests for this task; the
            quota decides the rest.
        :param initial_delay: seconds before the first request.
        :param expected_stop: when a recording is going to stop or stopped, UNIX seconds.
        :param until: as for :meth:`watch`.
        :param on_change: as for :meth:`watch`.
        :param on_progress: as for :meth:`watch`.
        :raises ConfigurationError: an argument is invalid; raised by the call, before any await.
        :raises TaskFailed: it failed, or finished in a way that is not accepted; for a recording
            a :class:`RecordFailed`.
        :raises TaskNotFound: there is no such task.
        :raises WaitTimeout: the time elapsed; it holds what was last seen.
        :raises TiwError: the API refuses to answer (keys, permission, settings), or, with the
            code ``StateOutOfReach``, the task can no longer reach a state of ``until``.
        """
        key = self.client.sdk_app_id(sdk_app_id), check_task_id(task_id)
        kind = find_kind(task_kind)
        terms = _terms(kind, timeout, acceptance, poll_interval, initial_delay, until)
        stop = _check_stop(expected_stop)
        reporter = Reporter(on_change, on_progress) if on_change or on_progress else LOG_ONLY
        return self._wait(key, terms, reporter, timeout, initial_delay, stop)

    def watch(
        self,
        task_ids: str | Iterable[str],
        *,
        task_kind: str = "online_record",
        sdk_app_id: int | str | None = None,
        timeout: float | None = None,
        acceptance: Acceptance | None = None,
        poll_interval: float = DEFAULT_POLL_INTERVAL_S,
        initial_delay: float = 0.0,
        expected_stop: float | Mapping[str, float] | None = None,
        until: str | Collection[str] | None = None,
        unconfirmed: bool = False,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> AsyncGenerator[Outcome, None]:
        """Yield the outcome of each task as it is settled, once for each distinct id.

        It raises nothing for a single task: one that is still pending when the time elapses
        has a :class:`WaitTimeout` as its error, one that the API refuses has the refusal. A
        request that is in flight when the time elapses is still awaited. Close the generator
        (``contextlib.aclosing``) where it is left early.

        :param expected_stop: when the recordings are going to stop or stopped, UNIX seconds:
            one time, or one for each task id.
        :param until: states (:class:`RecordStatus`, or those of the kind). A wait ends when its
            task is in one of them. It also ends when the task can no longer reach any of them:
            then its outcome has an error with the code ``StateOutOfReach``. None waits for the
            end, FINISHED for recordings.
        :param unconfirmed: whether these ids come from a sender who may not know the recordings.
            Those that no other call of this watcher waits for get at most a tenth of the pace
            while anything else is due, here or in another process of the host.
        :param on_change: called with what is known of a recording whenever its status changes.
        :param on_progress: called with the :class:`Progress` of this call whenever a status
            changes, and every ten minutes otherwise. What either raises is logged and ends
            nothing.
        :raises ConfigurationError: an argument is invalid; nothing was sent.
        """
        app_id, ids = self.client.sdk_app_id(sdk_app_id), check_task_ids(task_ids)
        kind = find_kind(task_kind)
        terms = _terms(kind, timeout, acceptance, poll_interval, initial_delay, until, unconfirmed)
        stops = _check_stops(expected_stop, ids)
        reporter = BatchReporter(len(ids), on_change, on_progress)
        return self._watch(app_id, ids, terms, reporter, timeout, initial_delay, stops)

    def describe(
        self,
        task_ids: str | Iterable[str],
        *,
        task_kind: str = "online_record",
        sdk_app_id: int | str | None = None,
        acceptance: Acceptance | None = None,
        unconfirmed: bool = False,
    ) -> AsyncGenerator[Outcome, None]:
        """Yield what is known of each task now, once for each distinct id, as it arrives.

        Every task is polled once; after a fault on the way it is polled a few times more.

        :param unconfirmed: as for :meth:`watch`.
        :raises ConfigurationError: an argument is invalid; nothing was sent.
        """
        app_id, ids = self.client.sdk_app_id(sdk_app_id), check_task_ids(task_ids)
        terms = Terms(
            acceptance or DEFAULT_ACCEPTANCE,
            0.0,
            once=True,
            unconfirmed=unconfirmed,
            kind=find_kind(task_kind),
        )
        return self._watch(app_id, ids, terms, BatchReporter(len(ids)), None, 0.0, {})

    def hint(
        self,
        task_id: str,
        *,
        task_kind: str | None = None,
        expected_stop: float | None = None,
    ) -> None:
        """Hint that a task may have changed: it is polled as soon as the quota allows.

        With ``expected_stop`` (UNIX seconds) the hint is when it is going to stop or stopped:
        before that time it is polled rarely, and after it as often as one that was seen STOPPED.
        Only an answer decides anything. A hint for a task without a wait is ignored. From any
        thread.

        :param task_kind: the task's kind; by default the hint is for the tasks of any kind with
            this id.

        :raises ConfigurationError: ``expected_stop`` is not a time, or ``task_id`` not a string.
        """
        if not isinstance(task_id, str):
            raise ConfigurationError(
                f"A task id must be a string, not {shown(task_id)}.",
                hint="Give one hint for each recording.",
            )
        stop = _check_stop(expected_stop)
        kind = None if task_kind is None else find_kind(task_kind)
        for dispatcher in self._current():
            if kind in (None, dispatcher.kind):
                dispatcher.hint(task_id, stop)

    async def _wait(
        self,
        key: Key,
        terms: Terms,
        reporter: Reporter,
        timeout: float | None,
        initial_delay: float,
        stop: float | None,
    ) -> OnlineRecord | TiwTask:
        caller = Caller(terms, time.monotonic(), timeout)
        dispatcher = self._attached(terms.kind)
        dispatcher.open(caller)
        try:
            dispatcher.join(caller, key, initial_delay, stop)
            while True:
                await caller.changed()
                for outcome in _new_outcomes(caller, dispatcher.tracker, reporter):
                    return described_at_end(outcome, terms.until)
        finally:
            dispatcher.close(caller)

    async def _watch(
        self,
        app_id: int,
        task_ids: list[str],
        terms: Terms,
        reporter: BatchReporter,
        timeout: float | None,
        initial_delay: float,
        stops: Mapping[str, float],
    ) -> AsyncGenerator[Outcome, None]:
        caller = Caller(terms, time.monotonic(), timeout)
        dispatcher = self._attached(terms.kind)
        dispatcher.open(caller)
        try:
            for number, task_id in enumerate(task_ids, 1):
                dispatcher.join(caller, (app_id, task_id), initial_delay, stops.get(task_id))
                if number % _IDS_AT_ONCE == 0:
                    await asyncio.sleep(0)
            # They are not needed while the call waits.
            task_ids.clear()
            while caller.waits:
                if not caller.has_work():
                    await caller.changed()
                outcomes = _new_outcomes(caller, dispatcher.tracker, reporter)
                for number, outcome in enumerate(outcomes, 1):
                    yield outcome
                    if number % _IDS_AT_ONCE == 0:
                        await asyncio.sleep(0)
        finally:
            dispatcher.close(caller)

    def _attached(self, kind: TaskKind) -> Dispatcher:
        """Return the running loop's dispatcher of a kind, a new one where the old loop is closed.

        :raises ConfigurationError: this watcher is in use in another event loop.
        """
        loop = asyncio.get_running_loop()
        current = self._current()
        if any(known.loop is not loop and not known.loop.is_closed() for known in current):
            raise ConfigurationError(
                "This RecordWatcher is in use in another event loop.",
                hint="Make one for each loop, or use RecordWatcher.shared(client).",
            )
        for dispatcher in current:
            if dispatcher.kind is kind and dispatcher.loop is loop:
                return dispatcher
        self._dispatchers[kind.name] = dispatcher = Dispatcher(
            self.client,
            kind,
            self._threads,
            self._report,
            self.stats,
            order=self._order,
            jitter=self._jitter,
            running_list=self._running_list,
        )
        return dispatcher

    def _current(self) -> list[Dispatcher]:
        """Return the dispatchers of this process; none before the first wait."""
        pid = os.getpid()
        # A copy: another thread may give a hint meanwhile.
        return [known for known in list(self._dispatchers.values()) if known.pid == pid]


def _new_outcomes(caller: Caller, tracker: Tracker, reporter: Reporter) -> Iterator[Outcome]:
    """Report a caller's news, and yield the outcomes of the waits that have ended since."""
    for wait in caller.take_news():
        reporter.report(wait)
        if wait.settled:
            tracker.leave(wait)
            yield settled_outcome(wait)
    if not caller.expired:
        reporter.heartbeat(caller)
        return
    for wait in tracker.expire(caller):
        # The others were settled meanwhile: they are among the next news.
        if not wait.settled:
            tracker.leave(wait)
            yield timed_out(wait)


_WATCHERS = "_tiw_automation_watchers"


def _watchers_of(loop: asyncio.AbstractEventLoop) -> dict[Settings, RecordWatcher]:
    """Return the shared watchers of a loop, none in a forked child.

    They are an attribute of the loop: they refer to it, so any other place would keep it alive.
    """
    pid, watchers = getattr(loop, _WATCHERS, (None, {}))
    if pid != os.getpid():
        # The waits of a parent are polled by the parent.
        watchers = {}
        setattr(loop, _WATCHERS, (os.getpid(), watchers))
    return watchers


def _terms(
    kind: TaskKind,
    timeout: float | None,
    acceptance: Acceptance | None,
    poll_interval: float,
    initial_delay: float,
    until: str | Collection[str] | None,
    unconfirmed: bool = False,
) -> Terms:
    states = check_until(until, kind)
    if timeout is not None:
        check_seconds("timeout", timeout)
    check_seconds("poll_interval", poll_interval)
    check_seconds("initial_delay", initial_delay)
    return Terms(
        acceptance or DEFAULT_ACCEPTANCE,
        poll_interval,
        once=False,
        until=states,
        unconfirmed=bool(unconfirmed),
        kind=kind,
    )


def _check_stop(value: object) -> float | None:
    """Return an expected stop as a monotonic time."""
    if value is None:
        return None
    moment = None if isinstance(value, str) else as_number(value)
    if moment is None or not 0 < moment < 1e11:
        raise ConfigurationError(
            f"expected_stop must be a time in UNIX seconds, not {shown(value)}.",
            hint="For a datetime, give its timestamp().",
        )
    return time.monotonic() + moment - time.time()


def _check_stops(
    value: float | Mapping[str, float] | None, task_ids: list[str]
) -> Mapping[str, float]:
    if value is None:
        return {}
    given = value if isinstance(value, Mapping) else dict.fromkeys(task_ids, value)
    unknown = set(given) - set(task_ids)
    if unknown:
        raise ConfigurationError(
            f"expected_stop names {sorted(map(str, unknown))[0]!r}, which is not among the task "
            "ids."
        )
    stops = {task_id: _check_stop(stop) for task_id, stop in given.items()}
    return {task_id: stop for task_id, stop in stops.items() if stop is not None}
