# SPDX-License-Identifier: Apache-2.0
"""The states that a wait is for, and whether a recording can still reach one of them.

A recording goes from PREPARED to RECORDING, changes between RECORDING and PAUSED, is then STOPPED
and at last FINISHED. It may skip a state and never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable

from tiw_automation.core.errors import ConfigurationError, TiwError
from tiw_automation.core.formatting import shown
from tiw_automation.core.records.outcome import Outcome, Verdict
from tiw_automation.core.records.record import RecordStatus

_AFTER_STOP = frozenset({"STOPPED", "FINISHED"})
_AFTER_START = frozenset({"RECORDING", "PAUSED"}) | _AFTER_STOP
# The states that a recording can be in from each state on; any, where the state is not here.
_REACHABLE = {
    "RECORDING": _AFTER_START,
    "PAUSED": _AFTER_START,
    "STOPPED": _AFTER_STOP,
    "FINISHED": frozenset({"FINISHED"}),
}


def check_until(given: str | Iterable[str] | None) -> frozenset[str] | None:
    """Return the states that a wait is for; None stands for FINISHED.

    :raises ConfigurationError: a state is unknown, or the list is empty.
    """
    if given is None:
        return None
    hint = f"Use any of {', '.join(RecordStatus)}."
    if isinstance(given, str):
        given = (given,)
    asked: object = given
    if not isinstance(asked, Iterable):
        raise ConfigurationError(f"until must be a list of states, not {shown(asked)}.", hint=hint)
    states = list(asked)
    for state in states:
        if state not in tuple(RecordStatus):
            raise ConfigurationError(f"until: {shown(state)} is not a state.", hint=hint)
    if not states:
        raise ConfigurationError("until must name at least one state.", hint=hint)
    return frozenset(map(str, states))


def can_become(status: str | None, states: frozenset[str]) -> bool:
    """Return whether a recording with this status is in one of the states or can become so.

    One with an unknown status can become anything.
    """
    reachable = _REACHABLE.get(status or "")
    return reachable is None or not reachable.isdisjoint(states)


def ends_wait(outcome: Outcome, until: frozenset[str]) -> bool:
    """Return whether an answer that is not final ends a wait for these states."""
    record = outcome.record
    if outcome.verdict is not Verdict.PENDING or record is None:
        return False
    return record.status in until or not can_become(record.status, until)


def state_names(until: frozenset[str] | None) -> str:
    """Return the states in their order, for a message."""
    if until is None:
        return RecordStatus.FINISHED.value
    return " or ".join(status.value for status in RecordStatus if status in until)


def out_of_reach_error(outcome: Outcome, until: frozenset[str]) -> TiwError | None:
    """Return the error of a wait whose recording can no longer reach any of its states.

    None while it can, and where the recording failed or was not found: its outcome has an error
    already.
    """
    record = outcome.record
    if record is None or outcome.verdict not in (Verdict.PENDING, Verdict.FINISHED):
        return None
    if can_become(record.status, until):
        return None
    return TiwError(
        f"Recording {outcome.task_id} is {record.status} and cannot become "
        f"{state_names(until)} any more.",
        code="StateOutOfReach",
        request_id=record.request_id,
        action="DescribeOnlineRecord",
        hint="Read its record as it is, or wait for FINISHED.",
    )
