# SPDX-License-Identifier: Apache-2.0
"""Which states a wait is for, and whether a recording can still come to be in one of them.

A recording goes from PREPARED to RECORDING, may change between RECORDING and PAUSED, is then
STOPPED and at last FINISHED. It may skip a state and never goes back.
"""

from __future__ import annotations

from collections.abc import Iterable

from tiw_automation.core.errors import ConfigurationError, TiwError
from tiw_automation.core.records.outcome import Outcome, Verdict
from tiw_automation.core.records.record import RecordStatus

_ENDS = frozenset({"STOPPED", "FINISHED"})
_RUNS = frozenset({"RECORDING", "PAUSED"}) | _ENDS
_CAN_BECOME = {
    "RECORDING": _RUNS,
    "PAUSED": _RUNS,
    "STOPPED": _ENDS,
    "FINISHED": frozenset({"FINISHED"}),
}


def check_until(given: str | Iterable[str] | None) -> frozenset[str] | None:
    """Return the states that a wait is for; None stands for FINISHED.

    :raises ConfigurationError: a state is unknown, or there is none.
    """
    if given is None:
        return None
    hint = f"Use any of {', '.join(RecordStatus)}."
    if isinstance(given, str):
        given = (given,)
    asked: object = given
    if not isinstance(asked, Iterable):
        raise ConfigurationError(f"until must be a list of states, not {asked!r}.", hint=hint)
    states = list(asked)
    for state in states:
        if state not in tuple(RecordStatus):
            raise ConfigurationError(f"until: {state!r} is not a state.", hint=hint)
    if not states:
        raise ConfigurationError("until holds no state.", hint=hint)
    return frozenset(map(str, states))


def can_become(status: str | None, states: frozenset[str]) -> bool:
    """Return whether a recording of this status is in one of the states or may come to be.

    One whose status is unknown may become anything.
    """
    later = _CAN_BECOME.get(status or "")
    return later is None or not later.isdisjoint(states)


def ends_wait(outcome: Outcome, until: frozenset[str]) -> bool:
    """Return whether an answer ends a wait for these states."""
    record = outcome.record
    if outcome.verdict is not Verdict.PENDING or record is None:
        return False
    return record.status in until or not can_become(record.status, until)


def state_names(until: frozenset[str] | None) -> str:
    """Return the states in their order, for a person."""
    if until is None:
        return RecordStatus.FINISHED.value
    return " or ".join(status.value for status in RecordStatus if status in until)


def out_of_reach_error(outcome: Outcome, until: frozenset[str]) -> TiwError | None:
    """Return the error of a wait whose recording can be in none of its states any more.

    None where it is in one, may come to be, or is of no known state. A recording that failed or
    was not found has an error of its own.
    """
    record = outcome.record
    if record is None or outcome.verdict not in (Verdict.PENDING, Verdict.FINISHED):
        return None
    if record.status in until or can_become(record.status, until):
        return None
    return TiwError(
        f"Recording {outcome.task_id} is {record.status} and cannot become "
        f"{state_names(until)} any more.",
        code="StateOutOfReach",
        request_id=record.request_id,
        action="DescribeOnlineRecord",
        hint="Look at its end, or wait for FINISHED.",
    )
