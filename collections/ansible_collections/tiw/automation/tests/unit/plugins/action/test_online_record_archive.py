# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How copying is cut into slices, and how their results are joined."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tiw.automation.plugins.action import online_record_archive
from ansible_collections.tiw.automation.plugins.action.online_record_archive import (
    ActionModule,
    _interval,
    _joined,
)
from ansible_collections.tiw.automation.plugins.module_utils._archive import Note

MEGABYTE = 10**6


class Task:
    """The part of a task that the plugin needs."""

    no_log = False

    def __init__(self, **args: t.Any) -> None:
        self.args = args

    def get_name(self) -> str:
        return "Keep"


def run(
    monkeypatch: pytest.MonkeyPatch, notes: list[Note], **args: t.Any
) -> tuple[list[t.Any], list[str]]:
    """Run slices that return these notes, then the end; return the lengths and the lines."""
    lengths: list[t.Any] = []
    lines: list[str] = []
    left = iter(notes)

    def execute(module_args: dict[str, t.Any], task_vars: object) -> dict[str, t.Any]:
        lengths.append(module_args.get("progress_interval"))
        note = next(left, None)
        return {} if note is None else {"note": note.to_result(), "now": ["a", "b", "c", "d"]}

    plugin = ActionModule.__new__(ActionModule)
    plugin._task = Task(**args)
    monkeypatch.setattr(plugin, "_execute_module", execute)
    monkeypatch.setattr(
        online_record_archive.display, "display", lambda line, stderr: lines.append(line)
    )
    assert plugin._run_slices({}) == {}
    return lengths, lines


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(None, 30.0), ("5", 5.0), (0, None), (-1, None), ("soon", None), ([], None), ("inf", None)],
)
def test_the_interval(given: t.Any, seconds: float | None) -> None:
    assert _interval(given) == seconds


def test_slices_without_progress_become_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    """At last one is longer than the limits of time that the module has."""
    moves = Note(stopped=True, videos=2, arrived_bytes=5 * MEGABYTE)
    stalls = Note(stopped=True, videos=2)
    lengths, lines = run(monkeypatch, [moves, stalls, stalls, moves])
    assert lengths == [30.0, 30.0, 60.0, 120.0, 120.0]
    assert "Keep: 0 of 2 videos done after 0:00:00; 5.0 MB copied" in lines[0]
    assert lines[0].endswith("; copying a, b, c and 1 more")


def test_slices_are_long_beside_what_they_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = Note(stopped=True, arrived_bytes=1, parts_bytes=9000 * MEGABYTE)
    assert run(monkeypatch, [begun])[0] == [30.0, 90.0]


def test_an_invalid_interval_is_left_to_the_module(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, [], progress_interval="soon")[0] == ["soon"]
    assert run(monkeypatch, [], progress_interval=0)[0] == [0]


def test_results_of_slices_are_joined() -> None:
    """By the note; in the result everything may be masked."""
    note = Note.of(Note(files=[("a", 1, False), ("b", None, True), ("c", 4, False)]).to_result())
    found = {
        "changed": "***",
        "files": [{"name": "***", "copied": "***"} for _number in range(3)],
        "diff": {"before": "a\nc\n", "after": "a\nb\nc\n"},
    }
    joined = _joined(found, note, {"a"})
    assert joined == {
        "changed": True,
        "files": [{"name": "***", "copied": copied} for copied in (True, True, False)],
        "bytes_copied": 1,
        "diff": {"before": "c\n", "after": "a\nb\nc\n"},
    }


def test_an_end_without_files_still_has_a_change() -> None:
    assert _joined({"failed": True}, Note(), {"a"}) == {"failed": True, "changed": True}
    assert _joined({"failed": True}, Note(), set()) == {"failed": True}
