# SPDX-License-Identifier: Apache-2.0
"""Confirms callbacks by polling the recordings that they name.

A callback's signature covers neither its body nor the recording, so a callback alone proves
nothing: a sender who has seen one can forge others until its signature expires.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from tiw_automation.core import hints, metrics
from tiw_automation.core.api.callbacks import Callback
from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.checks import check_task_id
from tiw_automation.core.events import backlog
from tiw_automation.core.events.backlog import Backlog
from tiw_automation.core.records.outcome import Acceptance, Outcome, Verdict
from tiw_automation.core.waiting.outcomes import in_order, out_of_time
from tiw_automation.core.waiting.watcher import RecordWatcher

logger = logging.getLogger(__name__)

LAG_S = 30.0
"""How long a callback may be ahead of DescribeOnlineRecord in calling a recording finished."""
LAG_POLL_S = 2.0

# The most callbacks in one confirmer, and the most outcomes in it that no caller has fetched.
_MOST_AT_ONCE = 10_000
_MOST_UNCLAIMED = 1_000
# Tencent posts a callback for half a minute; after that its outcome is among the unclaimed.
_POSTED_FOR_S = 30.0
_KEEP_S = 60.0
_LONGEST_PAUSE_S = 60.0
# How long a caller that must not block may be blocked: the share of its time, and at once.
_SHARE_OF_TIME = 0.2
_AT_ONCE_S = 2.0

_Key = tuple[int, str, bool]


def confirmation_pause_s(age_s: float) -> float:
    """Return the seconds between two polls for a callback that arrived ``age_s`` seconds ago."""
    return min(max(LAG_POLL_S, age_s / 4), _LONGEST_PAUSE_S)


def hint_waits(callback: Callback) -> None:
    """Hint every wait of this process for the task that a verified callback names.

    Whatever its kind and its event; an event of progress hints nothing, because each would cost a
    poll.
    """
    if callback.task_id is not None and not callback.is_progress:
        hints.hint_all(callback.task_id)


async def describe_unconfirmed(
    watcher: RecordWatcher,
    sdk_app_id: int,
    task_id: str,
    *,
    acceptance: Acceptance | None = None,
) -> Outcome:
    """Poll once a recording that an unconfirmed sender names, within the small pace for these."""
    outcomes = watcher.describe(
        task_id, sdk_app_id=sdk_app_id, acceptance=acceptance, unconfirmed=True
    )
    (outcome,) = await in_order(outcomes, [task_id])
    return outcome


def confirmed_outcome(outcome: Outcome, age_s: float, *, is_finished: bool) -> Outcome | None:
    """Return the outcome that settles a callback, or None where it must be polled again.

    The callback of a finished recording is polled until the API calls the recording final too. If
    it does not within :data:`LAG_S` seconds, the outcome has a
    :class:`~tiw_automation.core.WaitTimeout`. Any other callback is settled by the first answer.

    :param age_s: how many seconds ago the callback arrived.
    :param is_finished: whether the callback reports that the recording has finished.
    """
    if outcome.verdict is Verdict.UNKNOWN:
        return None
    if outcome.is_final or not is_finished:
        return outcome
    return out_of_time(outcome, LAG_S) if age_s >= LAG_S else None


@dataclass(slots=True)
class _Answer:
    """A callback's outcome, once there is one; a final one settles the callback."""

    event_type: str
    timestamp: int | None
    began: float
    asked_at: float
    outcome: Outcome | None = None
    is_final: bool = False
    waiting: concurrent.futures.Future[None] | None = None

    def set(self, outcome: Outcome, *, is_final: bool) -> None:
        """Keep an outcome, and wake up the caller that waits for it."""
        self.outcome, self.is_final = outcome, is_final
        _wake(self.waiting)


def _wake(waiting: concurrent.futures.Future[None] | None) -> None:
    if waiting is not None:
        # Both threads may see the outcome at the same time.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            waiting.set_result(None)


class CallbackConfirmer:
    """Confirms callbacks for a caller that must not block, such as a plain function in a loop.

    Its own thread polls for each callback until there is a :func:`confirmed_outcome` or 15 minutes
    have elapsed, whether or not the callback is posted again. The caller waits at most two seconds
    at once, and at most a fifth of its time in total. If there is no outcome by then, the caller
    must ask again, as Tencent posts again each callback that is not answered with success. An
    outcome that is not asked for again is among the :meth:`unclaimed`. Posts for the same recording
    share one outcome. One thread calls the methods.

    :param client: sends the requests.
    :param acceptance: which finished recordings are accepted.
    :param clock: seconds since any moment.
    """

    def __init__(
        self,
        client: TiwClient,
        *,
        acceptance: Acceptance | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._acceptance = acceptance
        self._clock = clock
        # In the order of their first posts.
        self._answers: dict[_Key, _Answer] = {}
        self._patience_s = _AT_ONCE_S
        self._patient_at = clock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._backlog: Backlog[_Key] | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def ask(self, callback: Callback, within_s: float) -> Outcome | None:
        """Return the outcome of the recording that a callback names, or None before there is one.

        Each outcome is returned once; asking again after that polls again. A refusal by the API,
        such as of the keys, is returned too, and the polling goes on in the background.

        :param within_s: how many seconds to wait for it, at most.
        :raises ConfigurationError: the callback's task id is missing or invalid.
        """
        key = (callback.sdk_app_id, check_task_id(callback.task_id), callback.is_finished)
        self._forget()
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= _MOST_AT_ONCE:
                logger.error("%d callbacks are being confirmed; no more fit.", _MOST_AT_ONCE)
                return None
            loop, waiting = self._running()
            now = self._clock()
            answer = _Answer(callback.event_type, callback.timestamp, began=now, asked_at=now)
            self._answers[key] = answer
            loop.call_soon_threadsafe(self._add, waiting, key)
        answer.asked_at = self._clock()
        self._wait(answer, within_s)
        outcome = answer.outcome
        if answer.is_final:
            del self._answers[key]
        answer.outcome = None
        return outcome

    def unclaimed(self) -> list[tuple[Callback, Outcome]]:
        """Return the outcomes of callbacks that Tencent no longer posts, each once."""
        now = self._clock()
        found = []
        for key, answer in list(self._answers.items()):
            if answer.is_final and answer.outcome and now - answer.asked_at >= _POSTED_FOR_S:
                app_id, task_id, _ = key
                posted = Callback(answer.event_type, app_id, answer.timestamp, task_id)
                found.append((posted, answer.outcome))
                del self._answers[key]
        return found

    def close(self) -> None:
        """End all polling and the thread; the next :meth:`ask` begins anew."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = self._backlog = None
        self._answers.clear()
        if loop is not None and thread is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _wait(self, answer: _Answer, within_s: float) -> None:
        now = self._clock()
        earned = (now - self._patient_at) * _SHARE_OF_TIME
        self._patience_s = min(self._patience_s + earned, _AT_ONCE_S)
        patience_s = max(min(within_s, self._patience_s), 0.0)
        waiting = answer.waiting = concurrent.futures.Future()
        if answer.outcome is not None:
            # It arrived before the wait began.
            _wake(waiting)
        concurrent.futures.wait([waiting], patience_s)
        answer.waiting = None
        self._patient_at = self._clock()
        self._patience_s -= self._patient_at - now

    def _add(self, waiting: Backlog[_Key], key: _Key) -> None:
        if not waiting.add(key):
            self._answers.pop(key, None)

    async def _try(self, key: _Key, age_s: float) -> bool:
        app_id, task_id, is_finished = key
        answer = self._answers.get(key)
        if answer is None:
            return True
        watcher = RecordWatcher.shared(self._client)
        outcome = await describe_unconfirmed(watcher, app_id, task_id, acceptance=self._acceptance)
        found = confirmed_outcome(outcome, age_s, is_finished=is_finished)
        if found is not None:
            answer.set(found, is_final=True)
            metrics.report("tiw.callbacks.confirmed", verdict=found.verdict.value)
        elif outcome.error is not None and not outcome.error.retryable:
            answer.set(outcome, is_final=False)
        return found is not None

    def _forget(self) -> None:
        """Drop what is too old, and the oldest outcomes where too many are unclaimed."""
        now = self._clock()
        for key, answer in list(self._answers.items()):
            if now - answer.began < backlog.KEPT_S + _KEEP_S:
                break
            del self._answers[key]
        unclaimed = [key for key, answer in self._answers.items() if answer.is_final]
        for key in unclaimed[:-_MOST_UNCLAIMED]:
            logger.warning("The outcome of a callback was dropped: no caller has asked for it.")
            del self._answers[key]

    def _running(self) -> tuple[asyncio.AbstractEventLoop, Backlog[_Key]]:
        if self._loop is None or self._backlog is None or self._pid != os.getpid():
            # A forked child has none of its parent's threads.
            self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
            self._backlog = Backlog(self._try, confirmation_pause_s)
            self._answers.clear()
            self._thread = threading.Thread(
                target=_run, args=[self._loop], name="tiw-confirm", daemon=True
            )
            self._thread.start()
        return self._loop, self._backlog


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, and cancel the tasks that are left in it."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()
