# SPDX-License-Identifier: Apache-2.0
"""The one form of the event that the trigger sends to the waiting task.

Airflow logs events and stores them unencrypted: so they carry ids and verdicts, and the worker
polls each finished recording once more to get its URLs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    OnlineRecord,
    Outcome,
    RecordFailed,
    TiwError,
    Verdict,
    WaitTimeout,
    judge,
)
from tiw_automation.core.formatting import escaped, shown

_KEYS = {"sdk_app_id", "outcomes"}
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Settled:
    """How the wait for one recording ended; ``message`` is one sentence without a URL."""

    record_task_id: str
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
    record_task_id: str,
    answer: OnlineRecord | TiwError,
    acceptance: Acceptance,
) -> Settled:
    """Return the same for what a wait for one recording returned or raised."""
    if isinstance(answer, RecordFailed):
        return settled(answer.outcome)
    if isinstance(answer, WaitTimeout):
        return settled(Outcome(sdk_app_id, record_task_id, Verdict.PENDING, error=answer))
    return settled(judge(sdk_app_id, record_task_id, answer, acceptance))


def to_rows(ends: Iterable[Settled]) -> list[dict[str, Any]]:
    """Return ends as JSON-native data."""
    return [asdict(end) | {"verdict": end.verdict.value} for end in ends]


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
