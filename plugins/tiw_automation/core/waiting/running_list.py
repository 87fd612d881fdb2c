# SPDX-License-Identifier: Apache-2.0
"""Hints from the list of running tasks (DescribeRunningTasks).

One request shows which of up to 500 recordings run, and nothing else about them. A recording on
the list is polled rarely, one that has left it at once, and the answer to that poll decides.
Tencent does not document when a recording leaves the list, the international site has no such
list, and keys need a permission of their own for it. So nothing depends on it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable

from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.api.running_tasks import RunningTask
from tiw_automation.core.errors import TiwError
from tiw_automation.core.retry import is_exhaustion
from tiw_automation.core.waiting.threads import CallThreads
from tiw_automation.core.waiting.tracker import Tracker

logger = logging.getLogger(__name__)

# With fewer waits the quota is enough without the list.
WORTH_IT = 500
_PAUSE_S = 5.0
# The most of the list's own quota that reading it uses.
_PART_OF_QUOTA = 0.25
_PAGE = 500
# A list is wrong that holds a recording so long after it was seen FINISHED; it is ignored after
# so many of those.
_LATE_S = 15.0
_MISTRUST_AFTER = 3
# A list that could not be read for so long is forgotten until it can be: who left it is not known.
_STALE_S = 60.0


class RunningHints:
    """Reads the list of each application with many waits, again and again.

    :param client: makes the calls.
    :param tracker: gets the hints.
    """

    def __init__(self, client: TiwClient, tracker: Tracker) -> None:
        self._client = client
        self._tracker = tracker
        # In the order of the list: a queue may process them in it. The values mean nothing.
        self._listed: dict[int, dict[str, None]] = {}
        self._off: set[int] = set()
        self._wrong: dict[int, int] = {}
        self._read_at: dict[int, float] = {}

    def wanted(self) -> bool:
        """Return whether there is a list worth reading."""
        types = self._tracker.kind.running_types
        return bool(types) and len(self._tracker.tasks) >= WORTH_IT and bool(self._applications())

    async def keep_reading(self, threads: CallThreads, changed: Callable[[], None]) -> None:
        """Read the lists while they are worth it.

        :param changed: called after each list that was read.
        """
        try:
            while self.wanted():
                for app_id in self._applications():
                    began = time.monotonic()
                    answer = await self._read(app_id, threads)
                    if isinstance(answer, BaseException):
                        self._refused(app_id, answer)
                    else:
                        self._apply(app_id, answer, began)
                    changed()
                await asyncio.sleep(self._pause_s())
        finally:
            for app_id in list(self._listed):
                self._forget(app_id)
            changed()

    def _pause_s(self) -> float:
        pages = sum(len(listed) // _PAGE + 1 for listed in self._listed.values())
        quota = self._client.quota("DescribeRunningTasks")
        return max(_PAUSE_S, pages / (_PART_OF_QUOTA * quota.requests_per_second))

    def _applications(self) -> list[int]:
        return [
            app_id
            for app_id, count in self._tracker.tasks.counts().items()
            if count >= WORTH_IT and app_id not in self._off
        ]

    async def _read(self, app_id: int, threads: CallThreads) -> list[RunningTask] | BaseException:
        answer: asyncio.Future[list[RunningTask] | BaseException]
        answer = asyncio.get_running_loop().create_future()

        def read() -> list[RunningTask] | BaseException:
            try:
                return [
                    task
                    for task_type in self._tracker.kind.running_types
                    for task in self._client.describe_running_tasks(task_type, app_id)
                ]
            except BaseException as error:
                # The coroutine waits for an answer, whatever it is.
                return error

        def done(found: list[RunningTask] | BaseException) -> None:
            if not answer.done():
                answer.set_result(found)

        client = self._client
        place = await threads.place((*client.account, "DescribeRunningTasks"), client.settings.url)
        try:
            threads.run(place, read, done)
        except TiwError as error:
            return error
        return await answer

    def _refused(self, app_id: int, error: BaseException) -> None:
        if (isinstance(error, TiwError) and error.retryable) or is_exhaustion(error):
            if time.monotonic() - self._read_at.get(app_id, 0.0) > _STALE_S:
                self._forget(app_id)
            return
        # Not a fault: this site has no list, or these keys may not read it.
        logger.debug("The running list of %d is not used: %s", app_id, str(error) or repr(error))
        self._switch_off(app_id)

    def _switch_off(self, app_id: int) -> None:
        self._off.add(app_id)
        self._forget(app_id)

    def _apply(self, app_id: int, tasks: list[RunningTask], began: float) -> None:
        running = dict.fromkeys(task.task_id for task in tasks if task.status != "FINISHED")
        if not self._is_trusted(app_id, running, began):
            logger.info("The running list of %d lags behind the recordings; not used.", app_id)
            self._switch_off(app_id)
            return
        now = self._read_at[app_id] = time.monotonic()
        for task_id in running:
            self._tracker.set_listed((app_id, task_id), now, True)
        for task_id in self._listed.get(app_id, {}):
            if task_id not in running:
                self._tracker.set_listed((app_id, task_id), now, False)
        self._listed[app_id] = running

    def _is_trusted(self, app_id: int, running: Iterable[str], began: float) -> bool:
        for task_id in running:
            finished_at = self._tracker.finished_at.get((app_id, task_id))
            if finished_at is not None and began - finished_at > _LATE_S:
                self._wrong[app_id] = self._wrong.get(app_id, 0) + 1
        return self._wrong.get(app_id, 0) < _MISTRUST_AFTER

    def _forget(self, app_id: int) -> None:
        """Order the recordings of an application without its list."""
        now = time.monotonic()
        for task_id in self._listed.pop(app_id, {}):
            self._tracker.unlist((app_id, task_id), now)
