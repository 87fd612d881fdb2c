# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task ids, as users write them and as check mode makes them."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tiw.automation.plugins.module_utils._task_ids import (
    check_mode_id,
    check_mode_outcome,
    is_check_mode_id,
    read_task_ids,
    refuse_check_mode_ids,
    running_state,
)

from tiw_automation.core import TASK_KINDS, ConfigurationError
from tiw_automation.core.tasks import find_kind


@pytest.mark.parametrize(
    "given",
    [
        ["algebra", "history"],
        ("algebra", "history", "algebra"),
        "algebra,history",
        "algebra, history",
        " algebra ,history,algebra",
        # How Ansible splits a text.
        ["algebra", " history"],
    ],
)
def test_several_ids(given: t.Any) -> None:
    assert read_task_ids(given) == ["algebra", "history"]


def test_a_hundred_thousand_ids() -> None:
    ids = [f"lesson-{number}" for number in range(100_000)]
    assert read_task_ids(ids) == ids
    assert read_task_ids(",".join(ids)) == ids


@pytest.mark.parametrize(
    "given",
    [
        None,
        [],
        "",
        " ",
        ",",
        "algebra,",
        12,
        [12],
        [None],
        [["algebra"]],
        {"algebra": 1},
        ["algebra,history"],
        "x{{1+1}}",
        "['a']",
        "a\nb",
        "a" * 129,
        "algebra history",
    ],
)
def test_invalid_ids_are_refused(given: t.Any) -> None:
    with pytest.raises(ConfigurationError):
        read_task_ids(given)


@pytest.mark.parametrize("user", ["tic_record_user_29001_1", f"tic_record_user_1_{'x' * 42}"])
def test_an_id_of_check_mode_is_an_id(user: str) -> None:
    task_id = check_mode_id(user)
    assert is_check_mode_id(task_id)
    assert user in task_id
    assert read_task_ids(f"{task_id}, algebra") == [task_id, "algebra"]
    with pytest.raises(ConfigurationError, match="check mode returned it"):
        refuse_check_mode_ids(["algebra", task_id])
    refuse_check_mode_ids(["algebra"])


def test_the_outcome_of_a_task_that_would_be_started() -> None:
    recording, deck = find_kind("online_record"), find_kind("transcode")
    assert check_mode_outcome(1, "check-mode:a", "FINISHED", recording).verdict == "finished"
    assert check_mode_outcome(1, "check-mode:a", "PAUSED", recording).verdict == "pending"
    found = check_mode_outcome(1, "check-mode:a", "FINISHED", deck)
    assert (found.verdict, found.task_kind) == ("finished", "transcode")
    assert found.task is not None


def test_the_state_of_a_task_that_runs() -> None:
    assert {name: running_state(kind) for name, kind in TASK_KINDS.items()} == {
        "online_record": "RECORDING",
        "whiteboard_push": "PUSHING",
        "transcode": "PROCESSING",
        "ppt_check": "PROCESSING",
        "snapshot": "RUNNING",
        "video_generation": "PROCESSING",
    }
