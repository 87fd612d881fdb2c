# SPDX-License-Identifier: Apache-2.0
"""The limit of a wait that gets no answer at all, for commands that a person started."""

from __future__ import annotations

import asyncio
from types import TracebackType

from tiw_automation.core.api.settings import Settings
from tiw_automation.core.errors import ApiError, TiwError, TransportError
from tiw_automation.core.records.outcome import Outcome

_CALLS_WITHOUT_ANSWER = 3


class FirstAnswer:
    """Ends a wait that has no answer in time, because its endpoint is wrong, for example.

    It stands around the wait, and gets each outcome, final or not::

        async with FirstAnswer(within_s) as first:
            async for outcome in watcher.watch(task_ids, on_change=first.note):
                first.note(outcome)
        if first.error is not None:
            raise first.error

    The first answer lifts the limit. A refusal that may pass, such as throttling, does too. A
    certificate that is not trusted ends the wait at once: waiting does not heal it.

    :param within_s: after how many seconds the wait ends; None for no limit.
    :ivar came: whether anything is known of any task.
    :ivar trouble: the latest error that left a task without an answer.
    :ivar is_late: whether the limit has ended the wait.
    """

    def __init__(self, within_s: float | None) -> None:
        self.came = False
        self.trouble: TiwError | None = None
        self.is_late = False
        self._within_s = within_s
        self._limit: asyncio.Timeout | None = None

    @property
    def error(self) -> TiwError | None:
        """The error of a wait without an answer, None if there was one."""
        return None if self.came else self.trouble

    def note(self, outcome: Outcome) -> None:
        """Note what an outcome shows about the API."""
        if outcome.described is not None or outcome.is_final:
            self.came = True
        elif outcome.verdict == "unknown" and not self.came:
            self.trouble = outcome.error
            if isinstance(outcome.error, TransportError) and not outcome.error.retryable:
                self._move_limit(asyncio.get_running_loop().time())
        answers = isinstance(outcome.error, ApiError) and outcome.error.retryable
        if self.came or answers:
            self._move_limit(None)

    def _move_limit(self, when: float | None) -> None:
        """Let a limit end at this time of the loop, or never."""
        if self._within_s is not None and self._limit is not None and not self._limit.expired():
            self._limit.reschedule(when)

    async def __aenter__(self) -> FirstAnswer:
        self._limit = asyncio.timeout(self._within_s)
        await self._limit.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        limit, self._limit = self._limit, None
        assert limit is not None
        try:
            await limit.__aexit__(kind, error, trace)
        except TimeoutError:
            self.is_late = True
            self.trouble = self.trouble or TransportError(
                f"No answer of the API in {self._within_s:g} s."
            )
            return True
        return False


def first_answer_s(settings: Settings, delay_s: float = 0.0) -> float:
    """Return how many seconds a wait may last without an answer: three calls.

    :param delay_s: the seconds before the first request.
    """
    return delay_s + _CALLS_WITHOUT_ANSWER * settings.timeout_s
