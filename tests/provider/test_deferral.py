# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from tiw_automation.airflow.deferral import Deferral, Return, settle
from tiw_automation.airflow.trigger_event import Report, Settled, from_payload
from tiw_automation.airflow.wait_operator import _until_airflow_gives_up
from tiw_automation.core import (
    ConfigurationError,
    OnlineRecord,
    Outcome,
    RecordingFailure,
    TaskNotFound,
    TransportError,
    Verdict,
)

APP = 1400000001
PENDING = Outcome(APP, "t", Verdict.PENDING, OnlineRecord(APP, "t", "RECORDING"))
FINISHED = Outcome(APP, "t", Verdict.FINISHED, OnlineRecord(APP, "t", "FINISHED"))
FAILED = Outcome(APP, "t", Verdict.FAILED, error=RecordingFailure("im login failed"))
MISSING = Outcome(APP, "t", Verdict.MISSING, error=TaskNotFound("no such task"))
CUT_OFF = Outcome(APP, "t", Verdict.UNKNOWN, error=TransportError("no route"))
REFUSED = Outcome(APP, "t", Verdict.UNKNOWN, error=TransportError("no", retryable=False))

NOW = 5.0
OPEN, OVER = Deferral(end_time=NOW + 1), Deferral(end_time=NOW)

# What the worker finds, what the triggerer reported, and: how it ends while there is time (None is
# pending) and when there is none left; whether the triggerer was wrong; whether the same would
# happen again.
TABLE = [
    (PENDING, None, None, "pending", False, False),
    (PENDING, "finished", None, "pending", True, True),
    (PENDING, "failed", None, "pending", True, True),
    (PENDING, "missing", None, "pending", True, True),
    (PENDING, "unknown", None, "pending", True, True),
    (FINISHED, None, "finished", "finished", False, False),
    (FINISHED, "failed", "finished", "finished", False, False),
    (FINISHED, "missing", "finished", "finished", True, False),
    (FINISHED, "unknown", "finished", "finished", False, False),
    (FAILED, "finished", "failed", "failed", False, False),
    (FAILED, "missing", "failed", "failed", True, False),
    (MISSING, "finished", "missing", "missing", False, False),
    (MISSING, "missing", "missing", "missing", False, False),
    (CUT_OFF, None, None, "pending", False, True),
    (CUT_OFF, "finished", None, "unknown", False, True),
    (CUT_OFF, "unknown", None, "unknown", False, True),
    (CUT_OFF, "failed", "failed", "failed", False, False),
    (CUT_OFF, "missing", "missing", "missing", False, False),
    (REFUSED, "missing", "unknown", "unknown", False, False),
]


def returned(answer: Outcome, deferral: Deferral, *ends: Settled, app_id: int = APP) -> Return:
    return settle([answer], deferral, Report(app_id, ends), now=NOW, limit_s=60)


@pytest.mark.parametrize(
    ("answer", "reported", "end", "last", "denied", "repeats"),
    TABLE,
    ids=[f"{row[0].verdict}{'' if row[0].record else '-error'}-{row[1]}" for row in TABLE],
)
def test_the_meaning_of_a_return(
    answer: Outcome, reported: str | None, end: str | None, last: str, denied: bool, repeats: bool
) -> None:
    ends = [] if reported is None else [Settled("t", Verdict(reported), "the triggerer's words")]
    found = returned(answer, OPEN, *ends)
    assert [each.verdict for each in found.ends] == ([end] if end else [])
    assert [outcome.task_id for outcome in found.pending] == ([] if end else ["t"])
    assert ("was wrong about 1 of 1" in (found.contradiction or "")) is denied
    assert (bool(found.pending) and not found.made_progress) is repeats
    over = returned(answer, OVER, *ends)
    assert [each.verdict for each in over.ends] == [last]
    assert over.pending == ()
    assert over.ends[0].timed_out is (last == "pending")


def test_the_last_report_of_the_triggerer_is_kept_where_the_worker_is_cut_off() -> None:
    reported = Settled("t", Verdict.PENDING, "it was last seen STOPPED", timed_out=True)
    # Its own timeout ends the wait, whatever the deferral kept.
    for deferral in (OVER, Deferral()):
        found = returned(CUT_OFF, deferral, reported)
        assert found.ends == (reported,)
        assert not found.contradiction


def test_what_had_ended_before_counts_like_a_report_of_the_triggerer() -> None:
    before = Settled("t", Verdict.FAILED, "im login failed")
    deferral = replace(OPEN, ended=(before,))
    assert returned(CUT_OFF, deferral).ends == (before,)
    found = returned(FINISHED, deferral)
    assert (found.ends[0].verdict, found.contradiction) == ("finished", None)


@pytest.mark.parametrize("app_id", [0, APP, APP + 1])
def test_a_report_on_another_application_does_not_count(app_id: int) -> None:
    found = returned(CUT_OFF, OPEN, Settled("t", Verdict.MISSING, "no such task"), app_id=app_id)
    assert len(found.ends) == (0 if app_id == APP + 1 else 1)
    words = f"asked for application {app_id}, this worker for {APP}."
    assert found.contradiction == (words if app_id == APP + 1 else None)
    found = returned(PENDING, OPEN, app_id=app_id)
    assert found.made_progress is (app_id != APP + 1)


def test_a_deferral_is_read_back_unchanged() -> None:
    kept = Deferral(1.5, 0.5, 3, ("a", "b"), (Settled("a", Verdict.FAILED, "m", timed_out=True),))
    assert Deferral.of(json.loads(json.dumps(kept.to_kwargs()))) == kept
    assert Deferral().to_kwargs() == {}
    # The keys of the first release, which deferred tasks may still have.
    keys = {"end_time", "deferred_at", "in_vain", "record_task_ids", "ended"}
    assert kept.to_kwargs().keys() == keys
    assert Deferral.of({"of_a_later_version": 1}) == Deferral()


@pytest.mark.parametrize("odd", ["x", [], {}, True, math.nan, math.inf, -1, 10**400])
def test_a_time_or_a_count_that_cannot_be_read_is_unset(odd: Any) -> None:
    found = Deferral.of({"end_time": odd, "deferred_at": odd, "in_vain": odd})
    assert found == Deferral()
    assert not found.is_over(5.0)


@pytest.mark.parametrize("odd", [5, [5], [None], "[1]", {"a": 1}])
def test_ids_of_another_form_are_refused(odd: Any) -> None:
    with pytest.raises(ConfigurationError):
        Deferral.of({"record_task_ids": odd})


ROW = {"record_task_id": "t", "verdict": "failed", "message": "m", "timed_out": False}


@pytest.mark.parametrize(
    "event",
    [
        {"sdk_app_id": APP, "outcomes": [ROW | {"record_task_id": None}]},
        {"sdk_app_id": APP, "outcomes": [ROW | {"record_task_id": 5}]},
        {"sdk_app_id": APP, "outcomes": [ROW | {"record_task_id": ["t"]}]},
        {"sdk_app_id": APP, "outcomes": [ROW | {"message": None}]},
        {"sdk_app_id": True, "outcomes": [ROW]},
    ],
    ids=range(5),
)
def test_an_event_of_other_types_asks_for_nothing(event: Any) -> None:
    with pytest.raises(ConfigurationError, match="not of this version's form"):
        from_payload(event)


def test_the_messages_of_an_event_are_safe_to_log() -> None:
    event = {"sdk_app_id": APP, "outcomes": [ROW | {"message": "\x1b[2J\nERROR all lost"}]}
    assert from_payload(event).ends[0].message == "\\x1b[2J\\nERROR all lost"


@pytest.mark.parametrize("left_s", [1e12, 1e300])
def test_airflow_ends_no_deferral_that_it_cannot_count(left_s: float) -> None:
    assert _until_airflow_gives_up(left_s) is None
    assert _until_airflow_gives_up(5.0) is not None
