# SPDX-License-Identifier: Apache-2.0
"""What the API says of the recording that a callback names.

A callback's signature covers neither its body nor the recording, so its word alone counts for
nothing: whoever has seen one can make up others until it expires.
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

from tiw_automation.core.api.callbacks import Callback
from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.checks import check_task_id
from tiw_automation.core.events import backlog
from tiw_automation.core.events.backlog import Backlog
from tiw_automation.core.records.outcome import Acceptance, Outcome, Verdict
from tiw_automation.core.waiting.outcomes import out_of_time
from tiw_automation.core.waiting.watcher import RecordWatcher

logger = logging.getLogger(__name__)

LAG_S = 30.0
"""How long a recording may be called finished before DescribeOnlineRecord says so too."""
LAG_POLL_S = 2.0

# Callbacks that are being asked for, and answers that nothing has come for, in one confirmer.
_MOST_AT_ONCE = 10_000
_MOST_UNCLAIMED = 1_000
# Tencent posts a callback for half a minute; after that its answer goes along with another's.
_POSTED_FOR_S = 30.0
_KEEP_S = 60.0
_LONGEST_PAUSE_S = 60.0
# What a caller that may not be held up for long is held up for in all, and at a stretch.
_PART_OF_TIME = 0.2
_STRETCH_S = 2.0

_Key = tuple[int, str, bool]


def pause_s(age_s: float) -> float:
    """Return how many seconds to wait before a callback of that age is asked for again."""
    return min(max(LAG_POLL_S, age_s / 4), _LONGEST_PAUSE_S)


async def describe(
    watcher: RecordWatcher,
    sdk_app_id: int,
    task_id: str,
    *,
    acceptance: Acceptance | None = None,
) -> Outcome:
    """Ask once for a recording that a stranger names, within the small pace for these."""
    outcomes = watcher.describe(
        task_id, sdk_app_id=sdk_app_id, acceptance=acceptance, unconfirmed=True
    )
    async with contextlib.aclosing(outcomes):
        return await anext(outcomes)


def settled(outcome: Outcome, age_s: float, *, is_finished: bool) -> Outcome | None:
    """Return what an answer makes of a callback, or None where it has to be asked for again.

    One that says that a recording has finished is asked for until the API says so too, or has
    said something else for :data:`LAG_S` seconds, which is a
    :class:`~tiw_automation.core.WaitTimeout`; of another, what is known now is enough.

    :param age_s: for how many seconds the callback has been known.
    """
    if outcome.verdict is Verdict.UNKNOWN:
        return None
    if outcome.is_final or not is_finished:
        return outcome
    return out_of_time(outcome, LAG_S) if age_s >= LAG_S else None


async def confirm(
    watcher: RecordWatcher,
    callback: Callback,
    *,
    acceptance: Acceptance | None = None,
) -> Outcome:
    """Ask for the recording that a callback names, until it is :func:`settled`.

    Across any fault, for 15 minutes at most: then the last answer is returned.

    :raises ConfigurationError: the callback names no recording, or one that there cannot be.
    """
    task_id, app_id, is_finished = (
        check_task_id(callback.task_id),
        callback.sdk_app_id,
        callback.is_finished,
    )
    del callback
    began = time.monotonic()
    while True:
        outcome = await describe(watcher, app_id, task_id, acceptance=acceptance)
        age = time.monotonic() - began
        found = settled(outcome, age, is_finished=is_finished)
        if found is not None:
            return found
        if age >= backlog.KEPT_S:
            return outcome
        await asyncio.sleep(pause_s(age))


class _Answer:
    """What is known of a callback: an outcome once there is one."""

    __slots__ = ("_cancelled", "asked_at", "began", "event", "is_final", "outcome", "waiting")

    def __init__(self, callback: Callback, now: float) -> None:
        self.event = (callback.event_type, callback.timestamp)
        self.began = self.asked_at = now
        self.outcome: Outcome | None = None
        self.is_final = False
        self.waiting: concurrent.futures.Future[None] | None = None
        self._cancelled = False

    def done(self) -> bool:
        """Whether it is not being asked for any more."""
        return self.is_final or self._cancelled

    def cancelled(self) -> bool:
        """Whether that has ended without an answer."""
        return self._cancelled

    def cancel(self) -> None:
        """End without an answer."""
        self._cancelled = not self.is_final

    def set(self, outcome: Outcome, *, is_final: bool) -> None:
        """Take an answer, and wake up who waits for it."""
        self.outcome, self.is_final = outcome, is_final
        _wake(self.waiting)


def _wake(waiting: concurrent.futures.Future[None] | None) -> None:
    if waiting is not None:
        # Both threads may see the answer at the same time.
        with contextlib.suppress(concurrent.futures.InvalidStateError):
            waiting.set_result(None)


class CallbackConfirmer:
    """Confirms callbacks for a caller that must not wait, such as an event loop's plain function.

    It asks in a thread of its own, for each callback until it is :func:`settled` or 15 minutes
    have passed, whether or not it is posted again. The caller waits for the answer a moment at
    most, and no more than a fifth of its time in all; where that is not enough it must come again,
    as Tencent does with each callback that is not answered with success, and finds the answer
    then. What has not come again by then is among the :meth:`unclaimed`. Posts of the same
    recording are joined. One thread calls the methods.

    :param client: makes the calls.
    :param acceptance: which finished recordings count as good.
    :param clock: seconds, from anywhere.
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
        # In the order in which they began.
        self._answers: dict[_Key, _Answer] = {}
        self._patience_s = _STRETCH_S
        self._patient_at = clock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._backlog: Backlog[_Key] | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def ask(self, callback: Callback, within_s: float) -> Outcome | None:
        """Return what the API says, or None if it has not said so yet.

        An answer is given out once; asking again after that asks the API again. A refusal of the
        API, such as of the keys, is given out too, and asked again in the background.

        :param within_s: how many seconds to wait for it, at most.
        :raises ConfigurationError: the callback names no recording, or one that there cannot be.
        """
        key = (callback.sdk_app_id, check_task_id(callback.task_id), callback.is_finished)
        self._forget()
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= _MOST_AT_ONCE:
                logger.error("%d callbacks are being confirmed; no more fit.", _MOST_AT_ONCE)
                return None
            loop, waiting = self._running()
            answer = self._answers[key] = _Answer(callback, self._clock())
            loop.call_soon_threadsafe(self._take_in, waiting, key)
        answer.asked_at = self._clock()
        self._wait(answer, within_s)
        outcome = answer.outcome
        if answer.is_final:
            del self._answers[key]
        answer.outcome = None
        return outcome

    def unclaimed(self) -> list[tuple[Callback, Outcome]]:
        """Return the answers to callbacks that are posted no more, each once."""
        now = self._clock()
        found = []
        for key, answer in list(self._answers.items()):
            if answer.is_final and answer.outcome and now - answer.asked_at >= _POSTED_FOR_S:
                event_type, timestamp = answer.event
                app_id, task_id, _ = key
                found.append((Callback(event_type, app_id, timestamp, task_id), answer.outcome))
                del self._answers[key]
        return found

    def close(self) -> None:
        """End what is being asked for, and the thread; the next :meth:`ask` begins anew."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = self._backlog = None
        for answer in self._answers.values():
            answer.cancel()
        self._answers.clear()
        if loop is not None and thread is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _wait(self, answer: _Answer, within_s: float) -> None:
        now = self._clock()
        earned = (now - self._patient_at) * _PART_OF_TIME
        self._patience_s = min(self._patience_s + earned, _STRETCH_S)
        patience_s = max(min(within_s, self._patience_s), 0.0)
        waiting = answer.waiting = concurrent.futures.Future()
        if answer.outcome is not None:
            # It came before it could be waited for.
            _wake(waiting)
        concurrent.futures.wait([waiting], patience_s)
        answer.waiting = None
        self._patient_at = self._clock()
        self._patience_s -= self._patient_at - now

    def _take_in(self, waiting: Backlog[_Key], key: _Key) -> None:
        if not waiting.add(key):
            self._answers.pop(key, None)

    async def _try(self, key: _Key, age_s: float) -> bool:
        app_id, task_id, is_finished = key
        answer = self._answers.get(key)
        if answer is None:
            return True
        watcher = RecordWatcher.shared(self._client)
        outcome = await describe(watcher, app_id, task_id, acceptance=self._acceptance)
        found = settled(outcome, age_s, is_finished=is_finished)
        if found is not None:
            answer.set(found, is_final=True)
        elif outcome.error is not None and not outcome.error.retryable:
            answer.set(outcome, is_final=False)
        return found is not None

    def _forget(self) -> None:
        """Drop what is too old, and answers that too many have not come for."""
        now = self._clock()
        for key, answer in list(self._answers.items()):
            if now - answer.began < backlog.KEPT_S + _KEEP_S:
                break
            del self._answers[key]
        unclaimed = [key for key, answer in self._answers.items() if answer.is_final]
        for key in unclaimed[:-_MOST_UNCLAIMED]:
            logger.warning("The answer of a callback was dropped: nothing has come for it.")
            del self._answers[key]

    def _running(self) -> tuple[asyncio.AbstractEventLoop, Backlog[_Key]]:
        if self._loop is None or self._backlog is None or self._pid != os.getpid():
            # Threads do not come along into a forked child.
            self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
            self._backlog = Backlog(self._try, pause_s)
            self._answers.clear()
            self._thread = threading.Thread(
                target=_run, args=[self._loop], name="tiw-confirm", daemon=True
            )
            self._thread.start()
        return self._loop, self._backlog


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, and end what is left in it."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()
