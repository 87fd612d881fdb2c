# SPDX-License-Identifier: Apache-2.0
"""The states that a wait is for, and whether a task can still reach one of them.

A recording goes from PREPARED to RECORDING, changes between RECORDING and PAUSED, is then STOPPED
and at last FINISHED. It may skip a state and never goes back. The states of the other kinds of
tasks are in the same order as in their table.
"""

from __future__ import annotations

from collections.abc import Iterable

from tiw_automation.core.errors import ConfigurationError, TiwError
from tiw_automation.core.formatting import shown
from tiw_automation.core.records.outcome import Outcome, Verdict
from tiw_automation.core.tasks.kind import TaskKind
from tiw_automation.core.tasks.kinds import ONLINE_RECORD


def check_until(
    given: str | Iterable[str] | None, kind: TaskKind = ONLINE_RECORD
) -> frozenset[str] | None:
    """Return the states that a wait is for; None stands for a final one.

    :raises ConfigurationError: a state is unknown, or the list is empty.
    """
    if given is None:
        return None
    hint = f"Use any of {', '.join(kind.state_names)}."
    if isinstance(given, str):
        given = (given,)
    asked: object = given
    if not isinstance(asked, Iterable):
        raise ConfigurationError(f"until must be a list of states, not {shown(asked)}.", hint=hint)
    states = list(asked)
    for state in states:
        if state not in kind.state_names:
            raise ConfigurationError(f"until: {shown(state)} is not a state.", hint=hint)
    if not states:
        raise ConfigurationError("until must name at least one state.", hint=hint)
    return frozenset(map(str, states))


def ends_wait(outcome: Outcome, until: frozenset[str], kind: TaskKind = ONLINE_RECORD) -> bool:
    """Return whether an answer that is not final ends a wait for these states."""
    seen = outcome.described
    if outcome.verdict is not Verdict.PENDING or seen is None:
        return False
    return seen.status in until or not kind.can_become(seen.status, until)


def wanted_states(until: frozenset[str] | None, kind: TaskKind = ONLINE_RECORD) -> str:
    """Return the states that a wait is for in their order, for a message."""
    wanted = until or set(kind.states[-1]) - kind.failed
    return " or ".join(state for state in kind.state_names if state in wanted)


def out_of_reach_error(
    outcome: Outcome, until: frozenset[str], kind: TaskKind = ONLINE_RECORD
) -> TiwError | None:
    """Return the error of a wait whose task can no longer reach any of its states.

    None while it can, and where the task failed or was not found: its outcome has an error
    already.
    """
    seen = outcome.described
    if seen is None or outcome.verdict not in (Verdict.PENDING, Verdict.FINISHED):
        return None
    if kind.can_become(seen.status, until):
        return None
    return TiwError(
        f"{kind.noun} {outcome.task_id} is {seen.status} and cannot become "
        f"{wanted_states(until, kind)} any more.",
        code="StateOutOfReach",
        request_id=seen.request_id,
        action=kind.describe_action,
        hint=f"Read it as it is, or wait for {wanted_states(None, kind)}.",
    )
