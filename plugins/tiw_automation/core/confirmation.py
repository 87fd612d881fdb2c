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

from tiw_automation.core.callbacks import Callback
from tiw_automation.core.client import TiwClient
from tiw_automation.core.records import Acceptance, Outcome, check_task_id
from tiw_automation.core.watcher import RecordWatcher

logger = logging.getLogger(__name__)

LAG_S = 30.0
"""How long a recording may be called finished before DescribeOnlineRecord says so too."""
LAG_POLL_S = 2.0

# Recordings that are being asked for at once; each waits for its turn on the quota.
_MOST_AT_ONCE = 10_000
# An answer that nobody has come for is dropped then: Tencent posts for half a minute.
_KEEP_S = 60.0
# What a caller that may not be held up for long is held up for in all, and at a stretch.
_PART_OF_TIME = 0.2
_STRETCH_S = 2.0

_Key = tuple[int, str, bool]


async def confirm(
    watcher: RecordWatcher,
    callback: Callback,
    *,
    acceptance: Acceptance | None = None,
) -> Outcome:
    """Ask for the recording that a callback names.

    Of one that is said to have finished, the end is waited for :data:`LAG_S` seconds, across any
    fault; of another, what is known now is enough.

    :raises ConfigurationError: the callback names no recording, or none that there can be.
    """
    task_id, app_id = check_task_id(callback.task_id), callback.sdk_app_id
    if callback.is_finished:
        outcomes = watcher.watch(
            task_id,
            sdk_app_id=app_id,
            timeout=LAG_S,
            acceptance=acceptance,
            poll_interval=LAG_POLL_S,
        )
    else:
        outcomes = watcher.describe(task_id, sdk_app_id=app_id, acceptance=acceptance)
    async with contextlib.aclosing(outcomes):
        return await anext(outcomes)


class CallbackConfirmer:
    """Confirms callbacks for a caller that must not wait, such as an event loop's plain function.

    It asks in a thread of its own. The caller waits for the answer a moment at most, and no more
    than a fifth of its time in all; where that is not enough it is told to come again, as
    Tencent does with each callback that is not answered with success, and finds the answer then.
    Posts of the same recording are joined. One thread calls :meth:`ask` and :meth:`close`.

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
        self._answers: dict[_Key, concurrent.futures.Future[Outcome]] = {}
        self._began: dict[_Key, float] = {}
        self._patience_s = _STRETCH_S
        self._patient_at = clock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()

    def ask(self, callback: Callback, within_s: float) -> Outcome | None:
        """Return what the API says, or None if it has not said so yet.

        An answer is given out once; asking again after that asks the API again.

        :param within_s: how many seconds to wait for it, at most.
        :raises ConfigurationError: the callback names no recording, or none that there can be.
        """
        key = (callback.sdk_app_id, check_task_id(callback.task_id), callback.is_finished)
        self._forget()
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= _MOST_AT_ONCE:
                logger.error("%d callbacks are being confirmed; no more fit.", _MOST_AT_ONCE)
                return None
            answer = asyncio.run_coroutine_threadsafe(self._confirm(callback), self._running_loop())
            self._answers[key], self._began[key] = answer, self._clock()
        if not self._wait(answer, within_s):
            return None
        del self._answers[key], self._began[key]
        return answer.result()

    def close(self) -> None:
        """End what is being asked for, and the thread; the next :meth:`ask` begins anew."""
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        self._answers.clear()
        self._began.clear()
        if loop is not None and thread is not None and self._pid == os.getpid():
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _wait(self, answer: concurrent.futures.Future[Outcome], within_s: float) -> bool:
        now = self._clock()
        earned = (now - self._patient_at) * _PART_OF_TIME
        self._patience_s = min(self._patience_s + earned, _STRETCH_S)
        patience_s = max(min(within_s, self._patience_s), 0.0)
        concurrent.futures.wait([answer], patience_s)
        self._patient_at = self._clock()
        self._patience_s -= self._patient_at - now
        return answer.done()

    async def _confirm(self, callback: Callback) -> Outcome:
        watcher = RecordWatcher.shared(self._client)
        return await confirm(watcher, callback, acceptance=self._acceptance)

    def _forget(self) -> None:
        now = self._clock()
        for key, began in list(self._began.items()):
            # In the order in which they began.
            if now - began < LAG_S + _KEEP_S:
                break
            if self._answers[key].done():
                del self._answers[key], self._began[key]

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None or self._pid != os.getpid():
            # Threads do not come along into a forked child.
            self._pid, self._loop = os.getpid(), asyncio.new_event_loop()
            self._answers.clear()
            self._began.clear()
            self._thread = threading.Thread(
                target=_run, args=[self._loop], name="tiw-confirm", daemon=True
            )
            self._thread.start()
        return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Run the loop until it is stopped, and end what is left in it."""
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.get_loop().run_forever()
