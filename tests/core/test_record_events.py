# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from tiw_automation.core import (
    Acceptance,
    OmittedDuration,
    OnlineRecord,
    Outcome,
    TaskNotFound,
    Verdict,
    Video,
    judge,
)
from tiw_automation.core.record_events import FINISH, TRANSITION, event_id, to_event, transition_id

QUERY = "?sign=0123456789"
PAUSE = OmittedDuration(1, 2, 3)


def record(status: str, **changes: Any) -> OnlineRecord:
    return OnlineRecord(14, "algebra", status=status, **changes)


def event_of(found: OnlineRecord) -> dict[str, Any]:
    event = to_event(judge(14, "algebra", found, Acceptance()))
    assert json.loads(json.dumps(event)) == event
    return event


def test_an_end_has_one_id_whatever_it_is_like() -> None:
    finished = event_of(record("FINISHED", finish_reason="AUTO"))
    missing = to_event(judge(14, "algebra", TaskNotFound("no"), Acceptance()))
    assert finished["event_id"] == missing["event_id"] == event_id(14, "algebra")
    assert (finished["type"], missing["type"]) == (FINISH, FINISH)
    assert (finished["verdict"], missing["verdict"]) == ("failed", "missing")
    assert (missing["record"], missing["status"]) == (None, None)
    assert set(finished) == set(missing)
    # Kept by whoever has seen it, for ever.
    assert event_id(14, "algebra") == "dbc56562-e427-5b76-b810-30b6c4ae2037"


def test_each_state_has_an_id_and_each_return_to_it() -> None:
    states = [
        record("RECORDING"),
        record("PAUSED"),
        record("RECORDING", omitted_durations=(PAUSE,)),
        record("PAUSED", omitted_durations=(PAUSE,)),
    ]
    ids = [event_of(state)["event_id"] for state in states]
    assert ids == [transition_id(state) for state in states]
    assert len({*ids, event_id(14, "algebra")}) == 5
    assert event_of(states[0])["type"] == TRANSITION
    assert transition_id(OnlineRecord(15, "algebra", status="RECORDING")) not in ids


def test_no_url_has_its_query() -> None:
    video = Video(None, f"https://v.example.com/a.mp4{QUERY}", *[None] * 8)
    found = record("FINISHED", videos=(video,), replay_url=f"https://v.example.com/r{QUERY}#x")
    event = event_of(found)
    assert "0123456789" not in json.dumps(event)
    assert event["record"]["video_urls"] == ["https://v.example.com/a.mp4"]
    assert event["record"]["videos"][0]["url"] == "https://v.example.com/a.mp4"
    assert event["record"]["replay_url"] == "https://v.example.com/r"


def test_what_is_not_known_is_not_told() -> None:
    with pytest.raises(ValueError, match="algebra"):
        to_event(Outcome(14, "algebra", Verdict.PENDING))
