# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from typing import Any

import pytest

from tiw_automation.core import (
    Acceptance,
    OnlineRecord,
    Outcome,
    TaskNotFound,
    Verdict,
    Video,
    judge,
)
from tiw_automation.core.events.record_events import (
    FINISH,
    TRANSITION,
    event_id,
    missing_id,
    to_event,
    transition_id,
)

QUERY = "?sign=0123456789"


def record(status: str, **changes: Any) -> OnlineRecord:
    return OnlineRecord(14, "algebra", status=status, **changes)


def event_of(found: OnlineRecord) -> dict[str, Any]:
    event = to_event(judge(14, "algebra", found, Acceptance()))
    assert json.loads(json.dumps(event)) == event
    return event


def test_an_end_has_one_id_for_every_verdict() -> None:
    failed = event_of(record("FINISHED", finish_reason="AUTO"))
    video = Video(None, "https://v.example.com/a.mp4", *[None] * 8)
    finished = event_of(record("FINISHED", finish_reason="AUTO", videos=(video,)))
    assert finished["event_id"] == failed["event_id"] == event_id(14, "algebra")
    assert (finished["type"], failed["type"]) == (FINISH, FINISH)
    assert (finished["verdict"], failed["verdict"]) == ("finished", "failed")
    assert set(finished) == set(failed)
    # Receivers have stored it, so it must never change.
    assert event_id(14, "algebra") == "dbc56562-e427-5b76-b810-30b6c4ae2037"


def test_a_missing_recording_has_another_id() -> None:
    """The end of a recording that is found later is not a duplicate."""
    missing = to_event(judge(14, "algebra", TaskNotFound("no"), Acceptance()))
    assert missing["event_id"] == missing_id(14, "algebra") != event_id(14, "algebra")
    assert missing_id(14, "algebra") == "3d18f000-02a5-5739-936e-fc8510e57ca5"
    assert (missing["type"], missing["verdict"]) == (FINISH, "missing")
    assert (missing["record"], missing["status"]) == (None, None)


def test_each_visit_to_a_state_has_its_id() -> None:
    recording = judge(14, "algebra", record("RECORDING"), Acceptance())
    paused = judge(14, "algebra", record("PAUSED"), Acceptance())
    events = [to_event(recording), to_event(paused), to_event(recording, time=2)]
    assert [event["type"] for event in events] == [TRANSITION] * 3
    assert [event["verdict"] for event in events] == ["pending"] * 3
    ids = {event["event_id"] for event in events}
    assert ids == {
        transition_id(14, "algebra", "RECORDING"),
        transition_id(14, "algebra", "PAUSED", 1),
        transition_id(14, "algebra", "RECORDING", 2),
    }
    others = {event_id(14, "algebra"), transition_id(15, "algebra", "PAUSED")}
    assert len(ids | others) == 5


def test_no_url_has_its_query() -> None:
    video = Video(None, f"https://v.example.com/a.mp4{QUERY}", *[None] * 8)
    found = record("FINISHED", videos=(video,), replay_url=f"https://v.example.com/r{QUERY}#x")
    event = event_of(found)
    assert "0123456789" not in json.dumps(event)
    assert event["record"]["video_urls"] == ["https://v.example.com/a.mp4"]
    assert event["record"]["videos"][0]["url"] == "https://v.example.com/a.mp4"
    assert event["record"]["replay_url"] == "https://v.example.com/r"


def test_no_url_has_its_user_and_password() -> None:
    video = Video(None, f"https://me:s3cret@v.example.com/a.mp4{QUERY}", *[None] * 8)
    found = record("FINISHED", videos=(video,), replay_url="//me:s3cret@h/r")
    event = event_of(found)
    assert "s3cret" not in json.dumps(event)
    assert event["record"]["video_urls"] == ["https://v.example.com/a.mp4"]
    assert event["record"]["replay_url"] == "//h/r"


def test_a_malformed_url_is_not_shown() -> None:
    event = event_of(record("FINISHED", replay_url=f"https://me:s3cret@[bad/r{QUERY}"))
    assert event["record"]["replay_url"] == "..."


def test_an_outcome_without_a_record_has_no_event() -> None:
    with pytest.raises(ValueError, match="algebra"):
        to_event(Outcome(14, "algebra", Verdict.PENDING))
