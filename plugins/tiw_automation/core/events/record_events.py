# SPDX-License-Identifier: Apache-2.0
"""What an event says of a recording, and the id by which it is known again.

Events are logged and stored by whoever gets them, so no URL in one has its query string: that
is where a signature is.
"""

from __future__ import annotations

import re
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tiw_automation.core.records.outcome import Outcome, Verdict
from tiw_automation.core.records.record import OnlineRecord

FINISH = "finish"
"""The type of an event that says that a recording has ended, well or not."""
TRANSITION = "transition"
"""The type of an event that says that a recording is in another state, and goes on."""


def event_id(sdk_app_id: int, task_id: str) -> str:
    """Return the id of the event that a recording has ended, which it does once."""
    return _uuid(sdk_app_id, task_id, "ended")


def missing_id(sdk_app_id: int, task_id: str) -> str:
    """Return the id of the event that a recording was not found.

    It is not the id of its end: a recording that is found later, with other settings, ends too.
    """
    return _uuid(sdk_app_id, task_id, "missing")


def id_of_end(outcome: Outcome) -> str:
    """Return the id of the event of a final outcome."""
    make = missing_id if outcome.verdict is Verdict.MISSING else event_id
    return make(outcome.sdk_app_id, outcome.task_id)


def transition_id(sdk_app_id: int, task_id: str, status: str, time: int = 1) -> str:
    """Return the id of the event that a recording is in a state.

    :param time: for which time it is in that state; a lesson may be paused more than once.
    """
    return _uuid(sdk_app_id, task_id, f"{status}/{time}")


def to_event(outcome: Outcome, *, time: int = 1) -> dict[str, Any]:
    """Return the JSON-native event of what is known of a recording.

    The keys are ``type`` (:data:`FINISH` or :data:`TRANSITION`), ``event_id, sdk_app_id, task_id,
    status, verdict, message`` and ``record``, which is None where there is none.

    :param time: for which time the recording is in its state.
    :raises ValueError: nothing is known, so that there is nothing to tell.
    """
    record = outcome.record
    app_id, task_id = outcome.sdk_app_id, outcome.task_id
    if outcome.is_final:
        kind, identity = FINISH, id_of_end(outcome)
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
        "record": None if record is None else without_queries(record),
    }


def without_queries(record: OnlineRecord) -> dict[str, Any]:
    """Return a record's JSON-native data with no query string in any URL."""
    shown = record.to_dict()
    shown["video_urls"] = [_without_query(url) for url in shown["video_urls"]]
    shown["replay_url"] = _without_query(shown["replay_url"])
    for video in shown["videos"]:
        video["url"] = _without_query(video["url"])
    return shown


def _uuid(sdk_app_id: int, task_id: str, what: str) -> str:
    return str(uuid5(NAMESPACE_URL, f"tiw://{sdk_app_id}/{task_id}/{what}"))


def _without_query(url: str | None) -> str | None:
    # Not taken apart: one that is malformed has to be told too.
    return url and re.split("[?#]", url, maxsplit=1)[0]
