# SPDX-License-Identifier: Apache-2.0
"""What a call that waits makes of what it hears: lines in the log, progress, last words.

All of it is said by the caller's own coroutine, so each line lands in the log of the Airflow task
or playbook that it concerns.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from tiw_automation.core.errors import TiwError
from tiw_automation.core.records.outcome import Outcome, Verdict, WaitTimeout
from tiw_automation.core.records.record import OnlineRecord
from tiw_automation.core.tasks.until import in_words, out_of_reach
from tiw_automation.core.waiting.tracker import Wait, Waiter

logger = logging.getLogger("tiw_automation.core.waiting.watcher")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a call has come.

    :param total: the recordings that it waits for, or did.
    :param waiting: how many of them have not ended.
    :param statuses: how many of those were last seen in which status; UNSEEN before any answer.
    :param elapsed_s: since the call began.
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


# The last two end whoever runs the function, and nothing has asked for that: a cancelled future
# whose result is read raises one of them.
_OWN_FAULTS = (Exception, asyncio.CancelledError, GeneratorExit)


class Observer(Generic[_News]):
    """A function of the caller's that is shown news; its errors are logged and end nothing.

    The first error is logged with its traceback, the others are not.

    :param name: what the caller calls it.
    """

    def __init__(self, name: str, function: Callable[[_News], object]) -> None:
        self._name = name
        self.function = function
        self._failed = False

    def show(self, news: _News) -> None:
        """Call the function."""
        try:
            self.function(news)
        except _OWN_FAULTS:
            if not self._failed:
                logger.exception("%s raised an error. The wait goes on.", self._name)
            self._failed = True


def observer(name: str, function: Callable[[_News], object] | None) -> Observer[_News] | None:
    """Return an observer, or None where there is no function."""
    return None if function is None else Observer(name, function)


class Ear:
    """What a call for one recording does with news; keeps nothing of it, so calls can share one.

    :param on_change: called with what is known of a recording whenever its status changes.
    :param on_progress: called with the :class:`Progress` then, and at every heartbeat.
    """

    def __init__(
        self,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self.on_change = observer("on_change", on_change)
        self.on_progress = observer("on_progress", on_progress)

    def hear(self, wait: Wait) -> None:
        """Log a change of status and pass it on."""
        outcome = wait.seen()
        status = outcome.record.status if outcome.record else None
        # Thousands of waits share a few states.
        state = sys.intern(f"{outcome.verdict}/{status}")
        if state == wait.told:
            if wait.settled:
                self.count(state, None)
            return
        self.count(wait.told, None if wait.settled else state)
        wait.told = state
        faulty = outcome.verdict is Verdict.UNKNOWN and not wait.caller.terms.once
        logger.log(logging.WARNING if faulty else logging.INFO, "%s", outcome.message)
        if self.on_change is not None:
            self.on_change.show(outcome)
        if self.on_progress is not None:
            self.on_progress.show(self.progress(wait.caller))

    def show_life(self, caller: Waiter) -> None:
        """Show that the wait goes on, if it is time to."""
        if not caller.shows_life:
            return
        caller.shows_life = False
        progress = self.progress(caller)
        logger.info("%s", progress)
        if self.on_progress is not None:
            self.on_progress.show(progress)

    def progress(self, caller: Waiter) -> Progress:
        """Return how far the call has come."""
        statuses = self.statuses(caller)
        elapsed = time.monotonic() - caller.started_at
        return Progress(self.total, sum(statuses.values()), statuses, elapsed)

    @property
    def total(self) -> int:
        """The recordings that the call waits for, or did."""
        return 1

    def statuses(self, caller: Waiter) -> dict[str, int]:
        """Return how many were last seen in which status."""
        return {_status(wait.told): 1 for wait in caller.waits if not wait.settled}

    def count(self, before: str | None, after: str | None) -> None:
        """Note that a recording is in another state, or has ended."""


SILENT = Ear()
"""That of a call for one recording that only logs."""


class CrowdEar(Ear):
    """What a call for many recordings does with news; no heartbeat looks at all of them."""

    def __init__(
        self,
        total: int,
        on_change: Callable[[Outcome], None] | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        super().__init__(on_change, on_progress)
        self._total = total
        self._statuses = Counter({_status(None): total})

    @property
    def total(self) -> int:
        return self._total

    def statuses(self, caller: Waiter) -> dict[str, int]:
        return {status: count for status, count in self._statuses.items() if count > 0}

    def count(self, before: str | None, after: str | None) -> None:
        self._statuses[_status(before)] -= 1
        if after is not None:
            self._statuses[_status(after)] += 1


def _status(told: str | None) -> str:
    status = "None" if told is None else told.partition("/")[2]
    return "UNSEEN" if status == "None" else status


def last_words(wait: Wait) -> Outcome:
    """Return how a settled wait ended; one that was heard after its time may still be pending."""
    outcome, terms = wait.seen(), wait.caller.terms
    if terms.until is not None:
        error = out_of_reach(outcome, terms.until)
        if error is not None:
            return replace(outcome, error=error)
        if terms.ended_by(outcome):
            return outcome
    if wait.last and not outcome.is_final and wait.caller.timeout is not None:
        return timed_out(wait)
    return outcome


def result(wait: Wait) -> OnlineRecord:
    """Return the recording of a wait that has ended well.

    :raises TiwError: it has not.
    """
    outcome = last_words(wait)
    if wait.caller.terms.until is None or outcome.verdict is Verdict.FAILED:
        return outcome.raise_for_verdict()
    if outcome.error is not None or outcome.record is None:
        raise outcome.error or TiwError(outcome.message)
    return outcome.record


def timed_out(wait: Wait) -> Outcome:
    """Return the end of a wait whose time has run out."""
    caller = wait.caller
    assert caller.timeout is not None
    return out_of_time(wait.seen(), caller.timeout, in_words(caller.terms.until))


def out_of_time(outcome: Outcome, timeout_s: float, wanted: str = "FINISHED") -> Outcome:
    """Return the end of a wait of that many seconds, of which this is what was last seen."""
    if outcome.record is not None and outcome.record.status:
        seen = f"it was last seen {outcome.record.status}"
    elif outcome.error is not None:
        seen = f"the last answer was: {outcome.error}"
    else:
        seen = "its turn on the quota had not come"
    error = WaitTimeout(
        f"Recording {outcome.task_id} was not {wanted} within {timeout_s:g} s; {seen}.",
        action="DescribeOnlineRecord",
        outcome=outcome,
        hint="Wait longer, or ask again later: nothing is lost.",
    )
    return Outcome(outcome.sdk_app_id, outcome.task_id, Verdict.PENDING, outcome.record, error)
