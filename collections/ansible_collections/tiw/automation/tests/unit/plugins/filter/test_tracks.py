# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbers as templates and the command line pass them."""

from __future__ import annotations

import typing as t

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.tiw.automation.plugins.filter.tracks import tracks

PLACES = {"id": "v", "user_id": "u", "kind": "camera", "type": 0}
VIDEOS = [
    {**PLACES, "url": "http://v/1", "play_time_ms": 0, "duration_ms": 1000},
    {**PLACES, "url": "http://v/2", "play_time_ms": 2000, "duration_ms": 1000},
]
RECORD = {"sdk_app_id": 1, "task_id": "a", "videos": VIDEOS}


@pytest.mark.parametrize("gap", ["1001", " 1001 ", 1001, 1001.0, "1001.0"])
def test_a_number_may_be_text(gap: t.Any) -> None:
    assert [track["gaps"] for track in tracks(RECORD, least_gap_ms=gap)] == [[]]
    assert [len(track["gaps"]) for track in tracks(RECORD, least_gap_ms="0")] == [1]


@pytest.mark.parametrize(
    "gap",
    [
        True,
        -1,
        "-1",
        "",
        "1e3",
        "1e999999999",
        "1_000",
        "\u0661",
        1.5,
        float("inf"),
        None,
        "9" * 5000,
    ],
)
def test_an_invalid_number_of_milliseconds_is_refused(gap: t.Any) -> None:
    with pytest.raises(AnsibleFilterError, match="least_gap_ms"):
        tracks(RECORD, least_gap_ms=gap)
