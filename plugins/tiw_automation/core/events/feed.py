# SPDX-License-Identifier: Apache-2.0
"""Follows the recordings of an application until each has ended, so that events can be published.

The task ids are given, or come from the list of running tasks; the outcomes come from the
account's shared watcher. A feed never gives up and never returns. A missing recording counts as
ended and is polled again all the same, see :mod:`tiw_automation.core.events.missing`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Iterable, Mapping

from tiw_automation.core.api.running_tasks import RunningListUnavailable, check_lists_running
from tiw_automation.core.checks import check_task_id
from tiw_automation.core.errors import ConfigurationError, TiwError
from tiw_automation.core.events.missing import Missing, MissingRecordings, asked_with
from tiw_automation.core.events.missing_polls import Connect, MissingPolls
from tiw_automation.core.formatting import counted
from tiw_automation.core.records.outcome import ANY_END, Acceptance, Outcome, Verdict
from tiw_automation.core.waiting.watcher import RecordWatcher

logger = logging.getLogger(__name__)

# Changes within this time are yielded together.
_GATHER_S = 0.25
# The pause after a refusal that only a person can lift (keys, permission, site).
_REFUSED_S = 300.0
# Task ids that are put off within this part of the pause form one batch.
_BATCHES_A_PAUSE = 60
_REMEMBER_S = 3600.0
_MOST_ODD_IDS = 100


class RecordFeed:
    """The recordings of one application, as they begin and end.

    :param connect: makes a client of the feed's own each time.
    :param sdk_app_id: the application, or None for the client's.
    :param poll_interval: the least seconds between two polls of one recording, and between two
        requests for the list.
    :param discover: whether to find recordings in the list of running tasks, which only the
        Chinese site has.
    :param other_ways: what to do where the list is not available: a sentence for the log.
    :param acceptance: which finished recordings are accepted; all by default.
    :param on_change: called with the outcome so far whenever a recording's status changes.
    :param on_end: called once with the final outcome of each recording; before that once with the
        outcome *missing* where the API did not find it at first.
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
        self.answered: bool = False
        """Whether the API has answered at least once."""
        self.listed: bool = False
        """Whether the list has been read at least once."""
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
        self._missing_polls = MissingPolls(
            self._missing,
            connect,
            sdk_app_id=sdk_app_id,
            poll_interval=poll_interval,
            poll=self._poll_missing,
        )
        self._reported_missing: set[str] = set()
        self._odd_ids: set[str] = set()
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        # By the pause, the task ids that are put off; others may still join them.
        self._batches: dict[float, dict[str, Exception]] = {}
        self._closed = False

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield at once, at every change and at least once a poll interval, without end."""
        self._closed = False
        try:
            self._missing_polls.start()
            if self._discover:
                self._start(self._follow_list())
            while True:
                yield
                # Not by wait_for, which on Python 3.11 ignores a cancellation once it is set.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_interval):
                        await self._changed.wait()
                    await asyncio.sleep(_GATHER_S)
                self._changed.clear()
                self._forget()
        finally:
            self._closed = True
            self._batches.clear()
            self._missing_polls.stop()
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
        """Return when a missing recording is polled again; None for any other."""
        return self._missing.get(task_id)

    def adopt_missing(self, kept: Mapping[str, Missing]) -> None:
        """Take over what was missing before a restart: poll each when it is due."""
        new = {i: m for i, m in kept.items() if i not in self._followed and i not in self._ends}
        self._missing.adopt(new)
        # The caller who kept them has published them, or chose not to.
        self._reported_missing.update(new)
        if not self._closed:
            self._missing_polls.start()

    def follow(self, task_ids: Iterable[str]) -> None:
        """Wait for these to end; what cannot be a task id is logged as an error, once."""
        new = (i for i in task_ids if i not in self._followed and i not in self._ends)
        self._begin([i for i in new if self._is_task_id(i)])

    def look_again(self, after_s: float) -> None:
        """Yield from :meth:`changes` after so many seconds, even without a change."""
        asyncio.get_running_loop().call_later(max(after_s, 0.0), self._changed.set)

    def _is_task_id(self, task_id: str) -> bool:
        # One invalid id, from a list or from before a restart, must not affect the others.
        try:
            check_task_id(task_id)
        except ConfigurationError as error:
            if task_id not in self._odd_ids and len(self._odd_ids) < _MOST_ODD_IDS:
                self._odd_ids.add(task_id)
                logger.error("A recording is not followed: %s", error)
            return False
        return True

    def _begin(self, task_ids: list[str]) -> None:
        if task_ids:
            self._followed.update(task_ids)
            self._start(self._follow(task_ids))

    def _poll_missing(self, due: Iterable[str]) -> None:
        self._begin([i for i in due if i not in self._followed])

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, task_ids: list[str]) -> None:
        left = dict.fromkeys(task_ids)
        try:
            client = await self._connect()
            settings = asked_with(client, self._sdk_app_id)
            outcomes = RecordWatcher.shared(client).watch(
                task_ids,
                sdk_app_id=self._sdk_app_id,
                acceptance=self._acceptance,
                poll_interval=self._poll_interval,
                on_change=self._status_changed,
            )
            async with contextlib.aclosing(outcomes):
                async for outcome in outcomes:
                    self._watched(outcome, settings)
                    del left[outcome.task_id]
        except Exception as error:
            self._put_off(left, self._pause_s(error), error)

    def _watched(self, outcome: Outcome, settings: str) -> None:
        """Take the outcome by which the watcher ended a wait, and the settings of its client."""
        if outcome.verdict is Verdict.MISSING:
            self._not_found(outcome, settings)
        elif outcome.is_final:
            self._ended(outcome)
        else:
            error = outcome.error or TiwError(outcome.message)
            if error.concerns_account:
                self._note_refusal(error)
            self._put_off([outcome.task_id], _REFUSED_S, error)

    def _put_off(self, task_ids: Collection[str], pause_s: float, error: Exception) -> None:
        """Follow these again after a pause, in a batch with those that are put off soon after."""
        if self._closed or not task_ids:
            return
        batch = self._batches.get(pause_s)
        if batch is None:
            batch = self._batches[pause_s] = {}
            self._start(self._follow_again(batch, pause_s))
        batch.update(dict.fromkeys(task_ids, error))

    async def _follow_again(self, batch: dict[str, Exception], pause_s: float) -> None:
        # One error met by a thousand recordings, each at its own slot, gives a few batches.
        await asyncio.sleep(pause_s / _BATCHES_A_PAUSE)
        del self._batches[pause_s]
        errors: dict[str, list[Exception]] = {}
        for error in batch.values():
            errors.setdefault(_kind(error), []).append(error)
        for alike in errors.values():
            logger.error(
                "%s cannot be asked for; the next attempt is in %d s: %s",
                counted(len(alike), "recording"),
                pause_s,
                _text(alike[0]),
            )
        await asyncio.sleep(pause_s)
        await self._follow(list(batch))

    async def _follow_list(self) -> None:
        while True:
            pause_s = self._poll_interval
            try:
                running = await self._read_list()
            except Exception as error:
                pause_s = self._list_failed(_as_unavailable(error))
            else:
                if running != self.running or not self.listed:
                    self._changed.set()
                self.running = running
                self.listed = True
                self._note_answer()
            await asyncio.sleep(pause_s)

    async def _read_list(self) -> frozenset[str]:
        with await self._connect() as client:
            check_lists_running(client.settings.host)
            tasks = await asyncio.to_thread(
                client.describe_running_tasks, sdk_app_id=self._sdk_app_id
            )
        return frozenset(task.task_id for task in tasks if self._is_task_id(task.task_id))

    def _list_failed(self, error: Exception) -> float:
        """Log why the list cannot be read; return the pause before the next attempt."""
        pause_s = self._pause_s(error)
        refused = pause_s == _REFUSED_S
        logger.error(
            "The running recordings cannot be listed; the next attempt is in %d s: %s%s",
            pause_s,
            _text(error),
            f" {self._other_ways}" if refused and self._other_ways else "",
        )
        return pause_s

    def _status_changed(self, outcome: Outcome) -> None:
        if outcome.record is not None and outcome.error is None:
            self._note_answer()
            if outcome.task_id in self._missing:
                self._missing.found(outcome.task_id)
                self._ends.pop(outcome.task_id, None)
                self._changed.set()
        if self._on_change is not None:
            self._on_change(outcome)

    def _not_found(self, outcome: Outcome, settings: str) -> None:
        self._missing.not_found(outcome.task_id, settings, time.time())
        self._keep_end(outcome)
        if not self._closed:
            self._missing_polls.start()
        if outcome.task_id not in self._reported_missing:
            self._missing_polls.poll_soon()
            self._reported_missing.add(outcome.task_id)
            if self._on_end is not None:
                self._on_end(outcome)

    def _ended(self, outcome: Outcome) -> None:
        self._missing.found(outcome.task_id)
        self._reported_missing.discard(outcome.task_id)
        self._keep_end(outcome)
        if self._on_end is not None:
            self._on_end(outcome)

    def _keep_end(self, outcome: Outcome) -> None:
        self._ends[outcome.task_id] = (outcome, time.monotonic())
        self._followed.discard(outcome.task_id)
        self._note_answer()
        self._changed.set()

    def _note_answer(self) -> None:
        self.answered = True
        self.refusal = None

    def _pause_s(self, error: Exception) -> float:
        return _REFUSED_S if self._note_refusal(error) else self._poll_interval

    def _note_refusal(self, error: Exception) -> bool:
        """Return whether only a person can lift an error, and keep it as the refusal if so."""
        if not isinstance(error, TiwError) or error.retryable:
            return False
        self.refusal = error
        self._changed.set()
        return True

    def _forget(self) -> None:
        # A caller who asks late still finds an end here; after that it is polled again.
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


def _kind(error: Exception) -> str:
    # The same refusal has another RequestId, and so another text, for each recording.
    return error.code if isinstance(error, TiwError) else _text(error)


def _text(error: Exception) -> str:
    return str(error) or repr(error)
