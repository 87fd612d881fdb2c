# SPDX-License-Identifier: Apache-2.0
"""The event of a recording, and the id by which a duplicate is recognized.

Receivers log and store events, so the URLs in an event have no query string, which may hold a
signature, and no user and password.
"""

from __future__ import annotations

from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tiw_automation.core.records.outcome import Outcome, Verdict
from tiw_automation.core.records.record import public_record

FINISH = "finish"
"""The type of the event of a final outcome, whatever its verdict."""
TRANSITION = "transition"
"""The type of the event of a recording that has changed its state and has not ended."""


def event_id(sdk_app_id: int, task_id: str) -> str:
    """Return the id of the event of a recording's end, which happens once."""
    return _uuid(sdk_app_id, task_id, "ended")


def missing_id(sdk_app_id: int, task_id: str) -> str:
    """Return the id of the event of a recording that was not found.

    It differs from the id of its end: a recording may be found later, with other settings.
    """
    return _uuid(sdk_app_id, task_id, "missing")


def end_id(outcome: Outcome) -> str:
    """Return the id of the event of a final outcome."""
    make = missing_id if outcome.verdict is Verdict.MISSING else event_id
    return make(outcome.sdk_app_id, outcome.task_id)


def transition_id(sdk_app_id: int, task_id: str, status: str, time: int = 1) -> str:
    """Return the id of the event of a recording that has come into a state.

    :param time: counts its visits to that state, from 1; a lesson may be paused more than once.
    """
    return _uuid(sdk_app_id, task_id, f"{status}/{time}")


def to_event(outcome: Outcome, *, time: int = 1) -> dict[str, Any]:
    """Return the JSON-native event of an outcome.

    The keys are ``type`` (:data:`FINISH` or :data:`TRANSITION`), ``event_id, sdk_app_id, task_id,
    status, verdict, message`` and ``record``, which is None where there is none.

    :param time: counts the recording's visits to its state, from 1.
    :raises ValueError: nothing is known of the recording yet.
    """
    record = outcome.record
    app_id, task_id = outcome.sdk_app_id, outcome.task_id
    if outcome.is_final:
        kind, identity = FINISH, end_id(outcome)
    elif record is not None and record.status:
        kind, identity = TRANSITION, transition_id(app_id, task_id, record.status, time)
    else:
        raise ValueError(f"Nothing is known of recording {task_id}.")
    return {
        "type": kind,
        "event_id": identity,
        "sdk_app_id": app_id,
        "task_id": task_id,
        "status": record.status if record else None,
        "verdict": outcome.verdict.value,
        "message": outcome.message,
        "record": None if record is None else public_record(record),
    }


def _uuid(sdk_app_id: int, task_id: str, what: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"tiw://{sdk_app_id}/{task_id}/{what}"))
