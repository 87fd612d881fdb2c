# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import math
from typing import Any

import pytest

from tiw_automation.airflow.deferral import Deferral, settle
from tiw_automation.airflow.trigger_event import Settled, from_payload
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

# What the worker finds, what the triggerer said, and: how it ends while there is time (None is
# pending) and when there is none left; whether the triggerer was wrong; whether it was in vain.
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


@pytest.mark.parametrize(
    ("now", "said", "end", "last", "denied", "in_vain"),
    TABLE,
    ids=[f"{row[0].verdict}{'' if row[0].record else '-error'}-{row[1]}" for row in TABLE],
)
def test_what_a_return_means(
    now: Outcome, said: str | None, end: str | None, last: str, denied: bool, in_vain: bool
) -> None:
    told = [] if said is None else [Settled("t", Verdict(said), "the triggerer's words")]
    found = settle([now], [], told, is_time_up=False, limit_s=60)
    assert found.ends.get("t", Settled("t", Verdict.PENDING, "")).verdict == (end or "pending")
    assert [outcome.task_id for outcome in found.pending] == ([] if end else ["t"])
    assert bool(found.denied) is denied
    assert (bool(found.pending) and found.was_in_vain) is in_vain
    over = settle([now], [], told, is_time_up=True, limit_s=60)
    assert over.ends["t"].verdict == last
    assert over.pending == ()
    assert over.ends["t"].timed_out is (last == "pending")


def test_what_the_triggerer_last_saw_is_kept_where_the_worker_is_cut_off() -> None:
    told = [Settled("t", Verdict.PENDING, "it was last seen STOPPED", timed_out=True)]
    found = settle([CUT_OFF], [], told, is_time_up=True, limit_s=60)
    assert found.ends["t"] == told[0]
    assert not found.denied


def test_what_had_ended_before_counts_like_what_the_triggerer_said() -> None:
    before = [Settled("t", Verdict.FAILED, "im login failed")]
    assert settle([CUT_OFF], before, [], is_time_up=False, limit_s=60).ends["t"] == before[0]
    found = settle([FINISHED], before, [], is_time_up=False, limit_s=60)
    assert (found.ends["t"].verdict, found.denied) == ("finished", ())


def test_a_deferral_comes_back_as_it_went() -> None:
    kept = Deferral(1.5, 0.5, 3, ("a", "b"), (Settled("a", Verdict.FAILED, "m", timed_out=True),))
    assert Deferral.of(json.loads(json.dumps(kept.to_kwargs()))) == kept
    assert Deferral().to_kwargs() == {}
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


def test_the_words_of_an_event_are_safe_to_log() -> None:
    event = {"sdk_app_id": APP, "outcomes": [ROW | {"message": "\x1b[2J\nERROR all lost"}]}
    assert from_payload(event)[1][0].message == "\\x1b[2J\\nERROR all lost"


@pytest.mark.parametrize("left_s", [1e12, 1e300])
def test_airflow_ends_no_deferral_that_it_cannot_count(left_s: float) -> None:
    assert _until_airflow_gives_up(left_s) is None
    assert _until_airflow_gives_up(5.0) is not None
