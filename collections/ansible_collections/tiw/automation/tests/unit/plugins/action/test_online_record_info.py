# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How a wait is cut into slices."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tiw.automation.plugins.action.online_record_info import _Plan

WAIT: dict[str, t.Any] = {"task_ids": ["a"], "wait": True}


def plan(**options: t.Any) -> _Plan:
    found = _Plan.of({**WAIT, **options})
    assert found is not None
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"wait": False},
        {"wait": None},
        {"wait": "no"},
        {"progress_interval": 0},
        {"wait_timeout": 20},
        # The module reports these.
        {"wait": "perhaps"},
        {"wait_timeout": "long"},
        {"wait_timeout": 0},
        {"wait_timeout": 10**400},
        {"wait_timeout": float("inf")},
        {"wait_sleep": -1},
        {"progress_interval": float("nan")},
        {"requests_per_second": 0},
        {"timeout": -5},
        {"fail_on": {"missing": True}},
    ],
)
def test_some_waits_are_one_slice(options: dict[str, t.Any]) -> None:
    assert _Plan.of({**WAIT, **options}) is None


def test_options_may_be_text() -> None:
    found = plan(wait="yes", wait_timeout="600", wait_sleep="2.5", fail_on="missing,failed")
    assert found.timeout == 600
    assert found.sleep == 2.5
    assert found.report == {"wait": True, "fail_on": ["missing", "failed"]}


def test_the_length_of_a_slice() -> None:
    assert plan().slice(3600, 1, first=False) == 30
    # The module must have the time to give up by itself.
    assert plan().slice(3600, 1, first=True) == 31
    assert plan(timeout=60).slice(3600, 1, first=True) == 181
    # Long enough for five requests in a row, and for half of all recordings.
    assert plan(wait_sleep=60).slice(3600, 1, first=False) == 360
    assert plan().slice(3600, 19000, first=False) == 500
    assert plan(requests_per_second=1).slice(3600, 100, first=False) == 50
    # The last slice is not too short for a request.
    assert plan().slice(40, 1, first=False) == 40
    assert plan().slice(41, 1, first=False) == 30
    assert plan().slice(12, 1, first=False) == 12
