# SPDX-License-Identifier: Apache-2.0
"""The one form of the event that the trigger sends to the waiting task.

Airflow logs events and stores them unencrypted: so they carry ids and verdicts, and the worker
polls each finished task once more to get its URLs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    OnlineRecord,
    Outcome,
    TaskFailed,
    TiwError,
    TiwTask,
    Verdict,
    WaitTimeout,
    judge,
)
from tiw_automation.core.formatting import escaped, shown
from tiw_automation.core.tasks import ends_wait, find_kind, out_of_reach_error

_KEYS = {"sdk_app_id", "outcomes"}
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Settled:
    """How the wait for one task ended; ``message`` is one sentence without a URL."""

    task_id: str
    verdict: Verdict
    message: str
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What the trigger found.

    :param sdk_app_id: the application that it asked for; 0 where it could not read the connection.
    :param ends: how each wait ended.
    """

    sdk_app_id: int
    ends: tuple[Settled, ...] = ()


def settled(outcome: Outcome) -> Settled:
    """Return the part of an outcome that an event carries."""
    return Settled(
        outcome.task_id,
        outcome.verdict,
        outcome.message,
        timed_out=isinstance(outcome.error, WaitTimeout),
    )


def settled_by(
    sdk_app_id: int,
    task_id: str,
    answer: OnlineRecord | TiwTask | TiwError,
    acceptance: Acceptance,
    task_kind: str,
) -> Settled:
    """Return the same for what a wait for the end of one task returned or raised."""
    if isinstance(answer, TaskFailed):
        return settled(answer.outcome)
    if isinstance(answer, WaitTimeout):
        return settled(Outcome(sdk_app_id, task_id, Verdict.PENDING, error=answer))
    rules = find_kind(task_kind).rules
    return settled(judge(sdk_app_id, task_id, answer, acceptance, rules))


def reached(outcome: Outcome, until: Iterable[str] | None) -> Outcome:
    """Return what an outcome means for a wait for these states.

    A task that is in one of them counts as finished, and one that can no longer reach any of them
    as failed.

    :param until: the states; None stands for the end.
    """
    if until is None:
        return outcome
    states, kind = frozenset(until), find_kind(outcome.task_kind)
    error = out_of_reach_error(outcome, states, kind)
    if error is not None:
        return replace(outcome, verdict=Verdict.FAILED, error=error)
    if ends_wait(outcome, states, kind):
        return replace(outcome, verdict=Verdict.FINISHED)
    return outcome


def to_rows(ends: Iterable[Settled]) -> list[dict[str, Any]]:
    """Return ends as JSON-native data."""
    rows = [asdict(end) | {"verdict": end.verdict.value} for end in ends]
    # The key of the first release.
    return [{"record_task_id": row.pop("task_id"), **row} for row in rows]


def from_rows(rows: object) -> list[Settled]:
    """Read what :func:`to_rows` returned.

    :raises ConfigurationError: it has another form than this version writes. The wait must be
        repeated, and nothing is lost by that.
    """
    try:
        if not isinstance(rows, list):
            raise TypeError("not a list")
        return [
            Settled(
                _text(row["record_task_id"]),
                Verdict(row["verdict"]),
                # It is written to the task's log.
                escaped(_text(row.get("message", ""))),
                bool(row.get("timed_out", False)),
            )
            for row in rows
        ]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _another_form(error) from error


def to_payload(sdk_app_id: int, ends: Iterable[Settled]) -> dict[str, Any]:
    """Return the event's JSON-native payload."""
    return {"sdk_app_id": sdk_app_id, "outcomes": to_rows(ends)}


def from_payload(event: object) -> Report:
    """Read an event's payload.

    An unknown key is ignored: a later version may send more.

    :raises ConfigurationError: it has another form than this version's trigger sends. The wait
        must be repeated, and nothing is lost by that.
    """
    if not isinstance(event, Mapping) or not set(event) >= _KEYS:
        raise _another_form("wrong keys")
    if type(event["sdk_app_id"]) is not int:
        raise _another_form("sdk_app_id is not an integer")
    return Report(event["sdk_app_id"], tuple(from_rows(event["outcomes"])))


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} instead of a text")
    return value


def _another_form(what: object) -> ConfigurationError:
    return ConfigurationError(
        f"The trigger's event is not of this version's form ({shown(what, _SHOWN)}).",
        hint="Triggerer and workers must run the same tiw-automation; try the task again.",
    )
