# SPDX-License-Identifier: Apache-2.0
"""How waits end: the outcome of one, the record or error of one, the outcomes of many in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from dataclasses import replace

from tiw_automation.core.errors import TiwError
from tiw_automation.core.records.outcome import Outcome, Verdict, WaitTimeout
from tiw_automation.core.records.record import OnlineRecord
from tiw_automation.core.records.task import TiwTask, noun_of
from tiw_automation.core.retry import is_exhaustion
from tiw_automation.core.tasks.kinds import find_kind
from tiw_automation.core.tasks.until import out_of_reach_error, wanted_states
from tiw_automation.core.waiting.tracker import Wait

# asyncio lets these end the event loop.
ENDS_THE_LOOP = (KeyboardInterrupt, SystemExit)


async def in_order(
    outcomes: AsyncGenerator[Outcome, None], task_ids: Iterable[str]
) -> list[Outcome]:
    """Return what ``watch`` or ``describe`` yields in the order of the ids, each id once.

    The generator is closed, also where this is cancelled.
    """
    async with contextlib.aclosing(outcomes):
        found = {outcome.task_id: outcome async for outcome in outcomes}
    return [found[task_id] for task_id in dict.fromkeys(task_ids)]


def settled_outcome(wait: Wait) -> Outcome:
    """Return the outcome of a settled wait.

    :raises BaseException: what interrupted all waits, such as the time limit of a task.
    """
    outcome, terms = wait.outcome, wait.caller.terms
    if isinstance(outcome.error, _Interruption) and outcome.error.__cause__ is not None:
        raise outcome.error.__cause__
    if terms.until is not None:
        error = out_of_reach_error(outcome, terms.until, terms.kind)
        if error is not None:
            return replace(outcome, error=error)
        if terms.ended_by(outcome):
            return outcome
    if wait.last and not outcome.is_final and wait.caller.timeout is not None:
        return timed_out(wait)
    return outcome


def timed_out(wait: Wait) -> Outcome:
    """Return the outcome of a wait whose time elapsed."""
    caller, terms = wait.caller, wait.caller.terms
    assert caller.timeout is not None
    return out_of_time(wait.outcome, caller.timeout, wanted_states(terms.until, terms.kind))


def out_of_time(outcome: Outcome, timeout_s: float, wanted: str = "FINISHED") -> Outcome:
    """Return the outcome of a wait whose time elapsed.

    :param outcome: what was last seen.
    :param timeout_s: the seconds that the wait had.
    :param wanted: the names of the states that it was for.
    """
    described = outcome.described
    if described is not None and described.status:
        seen = f"it was last seen {described.status}"
    elif outcome.error is not None:
        seen = f"the last answer was: {outcome.error}"
    else:
        seen = "the quota had no slot for it yet"
    error = WaitTimeout(
        f"{noun_of(outcome.task_kind)} {outcome.task_id} was not {wanted} within "
        f"{timeout_s:g} s; {seen}.",
        action=find_kind(outcome.task_kind).describe_action,
        outcome=outcome,
        hint="Wait longer, or ask again later: nothing is lost.",
    )
    return replace(outcome, verdict=Verdict.PENDING, error=error)


def described_at_end(outcome: Outcome, until: frozenset[str] | None) -> OnlineRecord | TiwTask:
    """Return the task of a wait that ended well.

    :param until: the states that it was for; None for a final one.
    :raises TiwError: it did not end well.
    """
    seen = outcome.described
    if until is None or outcome.verdict is Verdict.FAILED:
        return outcome.finished()
    if outcome.error is not None or seen is None:
        raise outcome.error or TiwError(outcome.message)
    return seen


class _Interruption(TiwError):
    """Carries an error that is not an Exception to every wait, which raises it unchanged."""


def request_error(error: BaseException) -> TiwError:
    """Return an unexpected error of a request as one that a wait can end with."""
    return _as_tiw_error(error, TiwError)


def watcher_error(error: BaseException) -> TiwError:
    """Return an error of the watcher itself as the one that ends every wait."""
    # Each wait would raise KeyboardInterrupt again, and each would end the loop again.
    known = isinstance(error, (Exception, asyncio.CancelledError, *ENDS_THE_LOOP))
    return _as_tiw_error(error, TiwError if known else _Interruption)


def _as_tiw_error(error: BaseException, kind: type[TiwError]) -> TiwError:
    if isinstance(error, TiwError):
        return error
    wrapped = kind(
        f"Polling failed: {error!r}", code=type(error).__name__, retryable=is_exhaustion(error)
    )
    wrapped.__cause__ = error
    return wrapped
