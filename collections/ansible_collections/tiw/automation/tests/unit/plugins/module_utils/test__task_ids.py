# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ids of recordings, as people and as check mode write them."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tiw.automation.plugins.module_utils._task_ids import (
    foreseen,
    foreseen_id,
    is_foreseen,
    read_task_ids,
    refuse_foreseen,
)

from tiw_automation.core import ConfigurationError


@pytest.mark.parametrize(
    "given",
    [
        ["algebra", "history"],
        ("algebra", "history", "algebra"),
        "algebra,history",
        "algebra, history",
        " algebra ,history,algebra",
        # As Ansible splits a text.
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
def test_what_is_no_id(given: t.Any) -> None:
    with pytest.raises(ConfigurationError):
        read_task_ids(given)


@pytest.mark.parametrize("user", ["tic_record_user_29001_1", f"tic_record_user_1_{'x' * 42}"])
def test_an_id_of_check_mode_is_an_id(user: str) -> None:
    task_id = foreseen_id(user)
    assert is_foreseen(task_id)
    assert user in task_id
    assert read_task_ids(f"{task_id}, algebra") == [task_id, "algebra"]
    with pytest.raises(ConfigurationError, match="check mode returned it"):
        refuse_foreseen(["algebra", task_id])
    refuse_foreseen(["algebra"])


def test_what_would_be() -> None:
    assert foreseen(1, "check-mode:a", "FINISHED").verdict == "finished"
    assert foreseen(1, "check-mode:a", "PAUSED").verdict == "pending"
