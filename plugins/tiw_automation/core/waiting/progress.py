# SPDX-License-Identifier: Apache-2.0
"""How a call that waits reports what happens: log lines, callbacks and progress.

The call's own coroutine reports, so each line appears in the log of the Airflow task or playbook
that it concerns.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from tiw_automation.core.records.outcome import Outcome, Verdict
from tiw_automation.core.waiting.tracker import Caller, Wait

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come.

    :param total: the number of recordings that the call waits for, or waited for.
    :param waiting: how many of them have not ended.
    :param statuses: how many of those were last seen in which status; UNSEEN before any answer.
    :param elapsed_s: the seconds since the call began.
    """

    total: int
    waiting: int
    statuses: Mapping[str, int]
    elapsed_s: float

    def __str__(self) -> str:
        seen = ", ".join(f"{count} {status}" for status, count in sorted(self.statuses.items()))
        return (
            f"Still waiting for {self.waiting} of {self.total} recordings after "
            f"{self.elapsed_s:.0f} s: {seen}."
        )


_News = TypeVar("_News")


# A callback that reads a cancelled future raises one of the last two. Nothing has asked for the
# end of the call then.
_CALLBACK_FAULTS = (Exception, asyncio.CancelledError, GeneratorExit)


class Observer(Generic[_News]):
    """A user's callback; an error that it raises is logged and ends nothing.

    Only the first error is logged, with its traceback.

    :param name: the name of the option that set the callback.
    """

    def __init__(self, name: str, function: Callable[[_News], object]) -> None:
        self._name = name
        self.function = function
        self._failed = False

    def call(self, news: _News) -> None:
        """Call the function."""
        try:
            self.function(news)
        except _CALLBACK_FAULTS:
            if not self._failed:
                logger.exception("%s raised an error. The wait goes on.", self._name)
            self._failed = True


def observer(name: str, function: Callable[[_News], object] | None) -> Observer[_News] | None:
    """Return an observer, None where there is no function."""
    return None if function is None else Observer(name, function)


class Reporter:
    """Reports for a call that waits for one task; it keeps nothing, so calls can share one.

    :param on_change: called with what is known of a recording whenever its status changes.
    :param on_progress: called with the :class:`Progress` then, and at every heartbeat.
    """

    def __init__(
        self,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._on_change = observer("on_change", on_change)
        self._on_progress = observer("on_progress", on_progress)

    def report(self, wait: Wait) -> None:
        """Report a wait's news, if its state has changed."""
        outcome = wait.outcome
        seen = outcome.described
        status = seen.status if seen else None
        # Thousands of waits share a few states.
        state = sys.intern(f"{outcome.verdict}/{status}")
        if state == wait.reported:
            if wait.settled:
                self._count(state, None)
            return
        self._count(wait.reported, None if wait.settled else state)
        wait.reported = state
        faulty = outcome.verdict is Verdict.UNKNOWN and not wait.caller.terms.once
        logger.log(logging.WARNING if faulty else logging.INFO, "%s", outcome.message)
        if self._on_change is not None:
            self._on_change.call(outcome)
        if self._on_progress is not None:
            self._on_progress.call(self._progress(wait.caller))

    def heartbeat(self, caller: Caller) -> None:
        """Report that the call goes on, if its heartbeat is due."""
        if not caller.heartbeat_due:
            return
        caller.heartbeat_due = False
        progress = self._progress(caller)
        logger.info("%s", progress)
        if self._on_progress is not None:
            self._on_progress.call(progress)

    def _progress(self, caller: Caller) -> Progress:
        statuses = self._statuses(caller)
        elapsed = time.monotonic() - caller.started_at
        return Progress(self._total, sum(statuses.values()), statuses, elapsed)

    @property
    def _total(self) -> int:
        return 1

    def _statuses(self, caller: Caller) -> dict[str, int]:
        return {_status(wait.reported): 1 for wait in caller.waits if not wait.settled}

    def _count(self, before: str | None, after: str | None) -> None:
        """Count that a recording changed its state; None stands for the end."""


LOG_ONLY = Reporter()
"""For calls for one recording without callbacks."""


class BatchReporter(Reporter):
    """Reports for a call that waits for many; it counts, so a heartbeat need not visit them all."""

    def __init__(
        self,
        total: int,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        super().__init__(on_change, on_progress)
        self._recordings = total
        self._counts = Counter({_status(None): total})

    @property
    def _total(self) -> int:
        return self._recordings

    def _statuses(self, caller: Caller) -> dict[str, int]:
        return {status: count for status, count in self._counts.items() if count > 0}

    def _count(self, before: str | None, after: str | None) -> None:
        self._counts[_status(before)] -= 1
        if after is not None:
            self._counts[_status(after)] += 1


def _status(state: str | None) -> str:
    status = "None" if state is None else state.partition("/")[2]
    return "UNSEEN" if status == "None" else status
