# SPDX-License-Identifier: Apache-2.0
"""Follows an application's recordings to their end, for whoever makes events of that.

Which recordings there are is given, or comes from the list of running tasks; how each ends comes
from the account's shared watcher. Nothing here ever gives up or returns. A missing recording
counts as ended and is asked for again all the same, see :mod:`tiw_automation.core.events.missing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Collection,
    Coroutine,
    Iterable,
    Mapping,
)
from itertools import islice

from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.api.running_tasks import RunningListUnavailable, check_lists_running
from tiw_automation.core.checks import check_task_id
from tiw_automation.core.errors import ConfigurationError, TiwError
from tiw_automation.core.events.missing import Missing, MissingRecordings, asked_with
from tiw_automation.core.formatting import escaped
from tiw_automation.core.records.outcome import Acceptance, Outcome, Verdict
from tiw_automation.core.waiting.watcher import RecordWatcher

logger = logging.getLogger(__name__)

# Ends that come together are told together.
_GATHER_S = 0.25
# After a refusal that only a person can lift (keys, permission, site).
_REFUSED_S = 300.0
# What is put off within this part of the pause is put off together.
_BATCHES_A_PAUSE = 60
_REMEMBER_S = 3600.0
# How often the settings are read anew while a recording is missing; at first every poll interval.
_LOOK_AT_SETTINGS_S = 60.0
# An error in the log for all that are missing, this often.
_MISSING_ERROR_EVERY_S = 3600.0
_NAMED_IN_AN_ERROR = 3
_MOST_ODD_IDS = 100

ANY_END = Acceptance(any_reason=True, require_videos=False)
"""Takes every recording that is FINISHED as a good one."""

Connect = Callable[[], Awaitable[TiwClient]]
"""Makes a client, with the settings read anew, so that a repair needs no restart."""


class RecordFeed:
    """The recordings of one application, as they begin and end.

    :param connect: makes a client of the feed's own each time.
    :param sdk_app_id: the application, or None for the client's.
    :param poll_interval: the least seconds between two requests for one recording, and between
        two for the list.
    :param discover: whether to look for recordings in the list of running tasks, which only the
        Chinese site has.
    :param other_ways: what to do where there is no such list: a sentence for the log.
    :param acceptance: which finished recordings count as good; all by default.
    :param on_change: called with what is known of a recording whenever its status changes.
    :param on_end: called with the end of each recording, once; before that once with the outcome
        *missing* where the API did not find it at first.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        sdk_app_id: int | str | None = None,
        poll_interval: float,
        discover: bool = False,
        other_ways: str = "",
        acceptance: Acceptance = ANY_END,
        on_change: Callable[[Outcome], None] | None = None,
        on_end: Callable[[Outcome], None] | None = None,
    ) -> None:
        self.running: frozenset[str] = frozenset()
        """The recordings of the list as it was last read."""
        self.answered = False
        """Whether the API has ever told anything."""
        self.listed = False
        """Whether the list has ever been read."""
        self.refusal: TiwError | None = None
        """The last refusal that only a person can lift; None again after an answer."""
        self._connect = connect
        self._sdk_app_id = sdk_app_id
        self._poll_interval = poll_interval
        self._discover = discover
        self._other_ways = other_ways
        self._acceptance = acceptance
        self._on_change = on_change
        self._on_end = on_end
        self._ends: dict[str, tuple[Outcome, float]] = {}
        self._followed: set[str] = set()
        self._missing = MissingRecordings()
        self._passed_on_as_missing: set[str] = set()
        self._looking_for_missing = False
        self._look_s = poll_interval
        self._odd_ids: set[str] = set()
        self._missing_error_at = -math.inf
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # By the pause, what is put off and may still be joined.
        self._batches: dict[float, dict[str, Exception]] = {}
        self._closed = False

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield at once, at every change and at least once a poll interval, for ever."""
        self._closed = False
        try:
            self._look_for_missing_soon()
            if self._discover:
                self._start(self._list())
            while True:
                yield
                # Not by wait_for, which takes no cancellation on Python 3.11 once it is set.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_interval):
                        await self._changed.wait()
                    await asyncio.sleep(_GATHER_S)
                self._changed.clear()
                self._forget()
        finally:
            self._closed = True
            self._batches.clear()
            self._looking_for_missing = False
            for task in list(self._tasks):
                task.cancel()

    def end(self, task_id: str) -> Outcome | None:
        """Return how a recording has ended, if that is known."""
        known = self._ends.get(task_id)
        return None if known is None else known[0]

    @property
    def waiting(self) -> Collection[str]:
        """The recordings that are followed and have not ended; a missing one has."""
        return frozenset(i for i in self._followed if i not in self._missing)

    def missing(self, task_id: str) -> Missing | None:
        """Return when a missing recording is asked for again; None for any other."""
        return self._missing.get(task_id)

    def adopt_missing(self, kept: Mapping[str, Missing]) -> None:
        """Go on with what was missing before a restart: ask for each when it is due."""
        new = {i: m for i, m in kept.items() if i not in self._followed and i not in self._ends}
        self._missing.adopt(new)
        # The one who kept them has passed them on, or did not want to.
        self._passed_on_as_missing.update(new)
        self._look_for_missing_soon()

    def follow(self, task_ids: Iterable[str]) -> None:
        """Find out how these end; what cannot be a task id is an error in the log, once."""
        new = [
            i
            for i in task_ids
            if i not in self._followed and i not in self._ends and self._is_task_id(i)
        ]
        if new:
            self._followed.update(new)
            self._start(self._follow(new))

    def look_again(self, after_s: float) -> None:
        """Yield from :meth:`changes` then, whether or not anything has changed."""
        asyncio.get_running_loop().call_later(max(after_s, 0.0), self._changed.set)

    def _is_task_id(self, task_id: str) -> bool:
        # Of what comes from a list or was kept, one that is odd must not refuse the others.
        try:
            check_task_id(task_id)
        except ConfigurationError as error:
            if task_id not in self._odd_ids and len(self._odd_ids) < _MOST_ODD_IDS:
                self._odd_ids.add(task_id)
                logger.error("A recording is not followed: %s", error)
            return False
        return True

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, task_ids: list[str]) -> None:
        left = dict.fromkeys(task_ids)
        try:
            client = await self._connect()
            settings = asked_with(client, self._sdk_app_id)
            watcher = RecordWatcher.shared(client)
            outcomes = watcher.watch(
                task_ids,
                sdk_app_id=self._sdk_app_id,
                acceptance=self._acceptance,
                poll_interval=self._poll_interval,
                on_change=self._saw,
            )
            async with contextlib.aclosing(outcomes):
                async for outcome in outcomes:
                    if outcome.verdict is Verdict.MISSING:
                        self._not_found(outcome, settings)
                    elif outcome.is_final:
                        self._ended(outcome)
                    else:
                        if outcome.error is not None and outcome.error.concerns_account:
                            self._refused(outcome.error)
                        self._put_off([outcome.task_id], _REFUSED_S, _reason(outcome))
                    del left[outcome.task_id]
        except Exception as error:
            self._put_off(left, self._pause_s(error), error)

    def _put_off(self, task_ids: Collection[str], pause_s: float, error: Exception) -> None:
        """Follow these again after a pause, with those that are put off soon after them."""
        if self._closed or not task_ids:
            return
        batch = self._batches.get(pause_s)
        if batch is None:
            batch = self._batches[pause_s] = {}
            self._start(self._follow_again(batch, pause_s))
        batch.update(dict.fromkeys(task_ids, error))

    async def _follow_again(self, batch: dict[str, Exception], pause_s: float) -> None:
        # A thousand that meet one fault, each in its turn of the quota, are a few batches.
        await asyncio.sleep(pause_s / _BATCHES_A_PAUSE)
        del self._batches[pause_s]
        faults: dict[str, list[Exception]] = {}
        for error in batch.values():
            faults.setdefault(_kind(error), []).append(error)
        for alike in faults.values():
            logger.error(
                "%d recordings cannot be asked for; that is tried again in %d s: %s",
                len(alike),
                pause_s,
                _words(alike[0]),
            )
        await asyncio.sleep(pause_s)
        await self._follow(list(batch))

    def _look_for_missing_soon(self) -> None:
        if self._missing and not self._looking_for_missing and not self._closed:
            self._looking_for_missing = True
            self._start(self._look_for_missing())

    async def _look_for_missing(self) -> None:
        """Ask for what is missing when it is due, as long as anything is."""
        self._look_s = self._poll_interval
        await asyncio.sleep(_GATHER_S)
        while self._missing:
            before = len(self._missing)
            settings = await self._ask_for_due()
            await asyncio.sleep(self._look_s)
            self._look_s = min(self._look_s * 2, max(_LOOK_AT_SETTINGS_S, self._poll_interval))
            # Not while their number grows: it is said once an hour.
            if settings is not None and 0 < len(self._missing) <= before:
                self._report_missing(settings)
        self._looking_for_missing = False

    async def _ask_for_due(self) -> str | None:
        """Return the settings as they are now, or None where they cannot be read."""
        try:
            with await self._connect() as client:
                settings = asked_with(client, self._sdk_app_id)
        except Exception as error:
            # Whatever it is, the next look reads them anew.
            logger.info("The settings cannot be read now: %s", _words(error))
            return None
        due = self._missing.due(settings, time.time())
        new = [task_id for task_id in due if task_id not in self._followed]
        if new:
            self._followed.update(new)
            self._start(self._follow(new))
        return settings

    def _report_missing(self, settings: str) -> None:
        now = time.monotonic()
        if now - self._missing_error_at < _MISSING_ERROR_EVERY_S:
            return
        self._missing_error_at = now
        logger.error(
            "%d recordings do not exist (%s) by the answers to %s. Check that application, host "
            "and keys are those of the recordings: with other settings all of these are asked "
            "for at once, with the same after pauses of 5 minutes to 24 hours.",
            len(self._missing),
            ", ".join(escaped(i) for i in islice(self._missing, _NAMED_IN_AN_ERROR)),
            settings,
        )

    async def _list(self) -> None:
        while True:
            pause_s = self._poll_interval
            try:
                client = await self._connect()
                with client:
                    check_lists_running(client.settings.host)
                    tasks = await asyncio.to_thread(
                        client.describe_running_tasks, sdk_app_id=self._sdk_app_id
                    )
            except Exception as error:
                known = _as_unavailable(error)
                pause_s = self._pause_s(known)
                refused = pause_s == _REFUSED_S
                logger.error(
                    "The running recordings cannot be listed; that is tried again in %d s: %s%s",
                    pause_s,
                    _words(known),
                    f" {self._other_ways}" if refused and self._other_ways else "",
                )
            else:
                running = frozenset(i for i in (t.task_id for t in tasks) if self._is_task_id(i))
                if running != self.running or not self.listed:
                    self._changed.set()
                self.running = running
                self.answered = self.listed = True
                self.refusal = None
            await asyncio.sleep(pause_s)

    def _saw(self, outcome: Outcome) -> None:
        if outcome.record is not None and outcome.error is None:
            self.answered = True
            self.refusal = None
            if outcome.task_id in self._missing:
                self._missing.found(outcome.task_id)
                self._ends.pop(outcome.task_id, None)
                self._changed.set()
        if self._on_change is not None:
            self._on_change(outcome)

    def _not_found(self, outcome: Outcome, settings: str) -> None:
        task_id = outcome.task_id
        self._missing.not_found(task_id, settings, time.time())
        self._keep_end(outcome)
        self._look_for_missing_soon()
        if task_id not in self._passed_on_as_missing:
            self._look_s = self._poll_interval
            self._passed_on_as_missing.add(task_id)
            if self._on_end is not None:
                self._on_end(outcome)

    def _ended(self, outcome: Outcome) -> None:
        self._missing.found(outcome.task_id)
        self._passed_on_as_missing.discard(outcome.task_id)
        self._keep_end(outcome)
        if self._on_end is not None:
            self._on_end(outcome)

    def _keep_end(self, outcome: Outcome) -> None:
        self._ends[outcome.task_id] = (outcome, time.monotonic())
        self._followed.discard(outcome.task_id)
        self.answered = True
        self.refusal = None
        self._changed.set()

    def _pause_s(self, error: Exception) -> float:
        return _REFUSED_S if self._refused(error) else self._poll_interval

    def _refused(self, error: Exception | None) -> bool:
        """Note an error that only a person can lift; return whether it is one."""
        if not isinstance(error, TiwError) or error.retryable:
            return False
        self.refusal = error
        self._changed.set()
        return True

    def _forget(self) -> None:
        # Who asks late still finds it here; after that it is asked for again.
        now = time.monotonic()
        for task_id in [i for i, (_, at) in self._ends.items() if now - at > _REMEMBER_S]:
            if task_id not in self.running and task_id not in self._missing:
                del self._ends[task_id]


def _as_unavailable(error: Exception) -> Exception:
    if isinstance(error, TiwError) and error.code == "InvalidAction":
        return RunningListUnavailable(
            error.message, code=error.code, request_id=error.request_id, action=error.action
        )
    return error


def _reason(outcome: Outcome) -> Exception:
    return outcome.error or TiwError(outcome.message)


def _kind(error: Exception) -> str:
    # Of one refusal each recording has a RequestId of its own.
    return error.code if isinstance(error, TiwError) else _words(error)


def _words(error: Exception) -> str:
    return str(error) or repr(error)
