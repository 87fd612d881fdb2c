# SPDX-License-Identifier: Apache-2.0
"""Hints from the list of running tasks (DescribeRunningTasks).

One request tells of 500 recordings what would take 500 requests otherwise, but only that they
run: whoever is on the list is asked rarely, whoever has left it at once, and the answer decides.
Tencent does not say when a recording leaves the list, the international site has no such list,
and keys need a permission of their own for it, so nothing depends on it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.api.running_tasks import RunningTask
from tiw_automation.core.errors import TiwError
from tiw_automation.core.retry import is_exhaustion
from tiw_automation.core.waiting.threads import DaemonThreads
from tiw_automation.core.waiting.tracker import Board, Poll

logger = logging.getLogger(__name__)

# With fewer waits the quota suffices without.
WORTH_IT = 500
_PAUSE_S = 5.0
# The part of the list's own quota that reading it may take.
_PART_OF_QUOTA = 0.25
_PAGE = 500
# A list that holds recordings this long after they were FINISHED is not to be trusted.
_LATE_S = 15.0
_MISTRUST_AFTER = 3


class RunningHints:
    """Reads the list of each application that many are waited for in, again and again."""

    def __init__(self, client: TiwClient, board: Board) -> None:
        self._client = client
        self._board = board
        self._listed: dict[int, set[str]] = {}
        self._off: set[int] = set()
        self._wrong: dict[int, int] = {}

    def wanted(self) -> bool:
        """Return whether there is a list worth reading."""
        return len(self._board.polls) >= WORTH_IT and bool(self._applications())

    async def keep_reading(self, threads: DaemonThreads, changed: Callable[[], None]) -> None:
        """Read until nobody gains by it."""
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
                pages = sum(len(listed) // _PAGE + 1 for listed in self._listed.values())
                quota = self._client.quota("DescribeRunningTasks")
                pause = pages / (_PART_OF_QUOTA * quota.requests_per_second)
                await asyncio.sleep(max(_PAUSE_S, pause))
        finally:
            self._forget()
            changed()

    def _applications(self) -> list[int]:
        return [
            app_id
            for app_id, count in self._board.polls.counts().items()
            if count >= WORTH_IT and app_id not in self._off
        ]

    async def _read(self, app_id: int, threads: DaemonThreads) -> list[RunningTask] | BaseException:
        answer: asyncio.Future[list[RunningTask] | BaseException]
        answer = asyncio.get_running_loop().create_future()

        def read() -> list[RunningTask] | BaseException:
            try:
                return self._client.describe_running_tasks(sdk_app_id=app_id)
            except BaseException as error:
                # Whatever it was, the task waits for an answer.
                return error

        def done(found: list[RunningTask] | BaseException) -> None:
            if not answer.done():
                answer.set_result(found)

        try:
            threads.run(read, done)
        except TiwError as error:
            return error
        return await answer

    def _refused(self, app_id: int, error: BaseException) -> None:
        if (isinstance(error, TiwError) and error.retryable) or is_exhaustion(error):
            return
        # This site has no list, or these keys may not read it: that is nobody's fault.
        logger.debug("The running list of %d is not used: %s", app_id, str(error) or repr(error))
        self._off.add(app_id)
        self._unlist(app_id, self._listed.pop(app_id, set()))

    def _apply(self, app_id: int, tasks: list[RunningTask], began: float) -> None:
        board, now = self._board, time.monotonic()
        running = {task.task_id for task in tasks if task.status != "FINISHED"}
        for task_id in running:
            ended = board.finished_at.get((app_id, task_id))
            if ended is not None and began - ended > _LATE_S:
                self._wrong[app_id] = self._wrong.get(app_id, 0) + 1
        if self._wrong.get(app_id, 0) >= _MISTRUST_AFTER:
            logger.info("The running list of %d is behind the recordings; not used.", app_id)
            self._off.add(app_id)
            self._unlist(app_id, self._listed.pop(app_id, set()))
            return
        before = self._listed.get(app_id, set())
        for task_id in running:
            poll = board.polls.get((app_id, task_id))
            if poll is not None:
                board.order_of(poll).set_listed(poll, now, True)
        self._unlist(app_id, before - running)
        self._listed[app_id] = running

    def _unlist(self, app_id: int, task_ids: set[str]) -> None:
        now = time.monotonic()
        for task_id in task_ids:
            poll: Poll | None = self._board.polls.get((app_id, task_id))
            if poll is not None:
                self._board.order_of(poll).set_listed(poll, now, False)

    def _forget(self) -> None:
        """Let everybody take part in the order as if there were no list."""
        for app_id, task_ids in self._listed.items():
            for task_id in task_ids:
                poll = self._board.polls.get((app_id, task_id))
                if poll is not None:
                    self._board.order_of(poll).unlist(poll, time.monotonic())
        self._listed.clear()
