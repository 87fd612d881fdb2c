# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from tiw_automation.core import ConfigurationError, TiwClient
from tiw_automation.core.events import missing as module
from tiw_automation.core.events.missing import (
    FIRST_PAUSE_S,
    LAST_PAUSE_S,
    Missing,
    MissingRecordings,
    asked_with,
    from_json,
    to_json,
)

HERE, ELSEWHERE = "SdkAppId 14, tiw.example, key 0", "SdkAppId 15, tiw.example, key 0"


def asks(
    known: MissingRecordings, settings: str, until: float, step_s: float = 60.0
) -> list[float]:
    """Return when a recording that is never found is polled."""
    asked, now = [], 0.0
    while now <= until:
        for task_id in known.due(settings, now):
            known.not_found(task_id, settings, now)
            asked.append(now)
        now += step_s
    return asked


def test_pauses_double_from_five_minutes_to_a_day() -> None:
    known = MissingRecordings()
    known.not_found("algebra", HERE, 0.0)
    at = [0.0, *asks(known, HERE, until=5 * 86400)]
    pauses = [after - before for before, after in pairwise(at)]
    assert pauses[:4] == [300, 600, 1200, 2400]
    assert pauses[-2:] == [86400, 86400]
    assert len(pauses) <= 14


def test_with_other_settings_it_is_due_at_once_and_the_first_pause_follows() -> None:
    known = MissingRecordings()
    for now in (0.0, 300.0, 900.0):
        known.not_found("algebra", HERE, now)
    assert known.due(HERE, 901.0) == []
    assert known.due(ELSEWHERE, 901.0) == ["algebra"]
    known.not_found("algebra", ELSEWHERE, 901.0)
    assert known.get("algebra") == Missing(ELSEWHERE, 901.0 + FIRST_PAUSE_S, FIRST_PAUSE_S)
    known.found("algebra")
    assert (len(known), list(known), known.get("algebra")) == (0, [], None)


def test_a_clock_that_was_set_back_does_not_lengthen_a_pause() -> None:
    known = MissingRecordings()
    known.adopt({"algebra": Missing(HERE, 4e9, FIRST_PAUSE_S)})
    assert known.due(HERE, 1e9) == ["algebra"]


def test_a_known_entry_is_newer_than_a_stored_one() -> None:
    known = MissingRecordings()
    known.not_found("algebra", HERE, 1000.0)
    known.adopt({"algebra": Missing(HERE, 1.0, 300.0), "history": Missing(HERE, 1.0, 300.0)})
    assert known.due(HERE, 1001.0) == ["history"]


def test_stored_entries_are_read_back() -> None:
    known = {"a": Missing(HERE, 1.5, 600.0), "b": Missing(ELSEWHERE, 2.0, LAST_PAUSE_S)}
    assert from_json(json.loads(json.dumps(to_json(known)))) == known


def test_the_number_of_stored_entries_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_KEPT", 3)
    kept = to_json({f"lesson-{n}": Missing(HERE, 1.0, 300.0) for n in range(9)})
    assert list(kept[HERE]) == ["lesson-6", "lesson-7", "lesson-8"]
    many = {HERE: {f"lesson-{n}": [1.0, 300.0] for n in range(9)}}
    assert len(from_json(many)) == 3


GOOD = {"good": [1.0, 300.0]}


@pytest.mark.parametrize(
    "odd",
    [
        {"x": None},
        {"x": []},
        {"x": [1.0]},
        {"x": [1.0, "300"]},
        {"x": [True, 300.0]},
        {"x": [float("nan"), 300.0]},
        {"x": [float("inf"), 300.0]},
        {"x": [10**400, 300.0]},
        {"x": [-1, 300.0]},
        {"x": [1.0, 300.0, 7]},
        {"": [1.0, 300.0]},
        {"a b": [1.0, 300.0]},
        {"x" * 200: [1.0, 300.0]},
        {"\ud800": [1.0, 300.0]},
    ],
)
def test_an_invalid_entry_is_left_out(odd: dict[str, Any]) -> None:
    assert list(from_json({HERE: {**odd, **GOOD}})) == ["good"]
    assert list(from_json({HERE: GOOD, "x" * 10_000: odd, "y": odd, "z": 7})) == ["good"]


@pytest.mark.parametrize("pause_s", [0, 1e-300, 2**62])
def test_an_invalid_pause_becomes_the_nearest_valid_one(pause_s: float) -> None:
    (found,) = from_json({HERE: {"a": [1.0, pause_s]}}).values()
    assert FIRST_PAUSE_S <= found.pause_s <= LAST_PAUSE_S


@pytest.mark.parametrize("kept", [None, 7, "x", [], [["a", 1]], True])
def test_another_form_is_invalid(kept: Any) -> None:
    with pytest.raises(ValueError, match="not an object"):
        from_json(kept)


def test_settings_differ_and_hold_no_key() -> None:
    keys: dict[str, Any] = {"secret_id": "AKIDexample", "secret_key": "s3cret" * 5}
    known: dict[str, Any] = {**keys, "sdk_app_id": 14, "site": "intl"}
    changes: list[dict[str, Any]] = [
        {},
        {"sdk_app_id": 15},
        {"site": "cn"},
        {"secret_id": "AKIDother"},
        {"role_arn": "qcs::cam::uin/100:roleName/one"},
        {"role_arn": "qcs::cam::uin/100:roleName/other"},
    ]
    texts = []
    for change in changes:
        with TiwClient(**{**known, **change}) as client:
            texts.append(asked_with(client))
    assert len(set(texts)) == len(changes)
    assert "tiw.intl.tencentcloudapi.com" in texts[0]
    assert "14" in texts[0]
    assert not [text for text in texts if "AKID" in text or "s3cret" in text]
    # Another secret of the same account finds the same recordings.
    with TiwClient(**{**known, "secret_key": "other" * 8}) as client:
        assert asked_with(client) == texts[0]
        assert asked_with(client, "15") == texts[1]
    with TiwClient(**keys, site="intl") as client, pytest.raises(ConfigurationError):
        asked_with(client)
