# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the archive module decides itself; the archive is the core's."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.tiw.automation.plugins.module_utils import _archive
from ansible_collections.tiw.automation.plugins.module_utils._account import without_queries

VALID: dict[str, t.Any] = {
    "folder": "/srv",
    "progress_interval": 30.0,
    "video_timeout": 60.0,
    "mode": None,
    "directory_mode": None,
    "owner": None,
    "group": None,
}


class Failed(Exception):
    pass


class Module:
    """The part of an AnsibleModule that the checks need."""

    def __init__(self, **params: t.Any) -> None:
        self.params = {**VALID, **params}

    def fail_json(self, msg: str) -> None:
        raise Failed(msg)


def check(**params: t.Any) -> None:
    _archive._check(t.cast(t.Any, Module(**params)))


@pytest.mark.parametrize(
    "mode", ["0640", "640", "02750", 0o640, "u=rw,g=r,o=", "u+x", "a-w", "g=u", "u=rwX,go="]
)
def test_valid_modes(mode: t.Any) -> None:
    check(mode=mode, directory_mode=mode)


@pytest.mark.parametrize("mode", ["", "rw", "0888", "u=q", "u=rw,", True, 1.5, -1, 0o10000, []])
def test_invalid_modes(mode: t.Any) -> None:
    for option in ("mode", "directory_mode"):
        with pytest.raises(Failed, match=f"^{option}: "):
            check(**{option: mode})


def test_an_owner_may_be_a_number() -> None:
    check(owner="4711", group="4711")
    with pytest.raises(Failed, match="owner: nobody-knows-them is not known"):
        check(owner="nobody-knows-them")


@pytest.mark.parametrize("seconds", [-1.0, float("inf"), float("nan")])
def test_invalid_intervals(seconds: float) -> None:
    with pytest.raises(Failed, match="progress_interval"):
        check(progress_interval=seconds)


@pytest.mark.parametrize(
    ("mode", "number"),
    [(None, 0o640), ("0600", 0o600), ("02640", 0o2640), (0o644, 0o644), ("u=rw", 0o640)],
)
def test_the_mode_of_a_new_file(mode: t.Any, number: int) -> None:
    assert _archive._octal(mode, 0o640) == number


@pytest.mark.parametrize(
    ("record", "good"),
    [
        ({}, True),
        ({"status": "FINISHED"}, True),
        ({"status": "RECORDING"}, False),
        ({"status": "FINISHED", "verdict": "failed"}, False),
        ({"status": "FINISHED", "verdict": "finished"}, True),
        ({"verdict": "missing"}, False),
    ],
)
def test_which_recordings_are_archived(record: dict[str, t.Any], good: bool) -> None:
    assert _archive._is_good(record) is good


def test_the_folders_of_a_file() -> None:
    assert list(_archive._folders_of("/srv/a/b/c.mp4", "/srv")) == ["/srv/a/b", "/srv/a"]
    assert list(_archive._folders_of("/srv/c.mp4", "/srv")) == []


def test_a_note_is_not_masked() -> None:
    """It is the key of a dict; Ansible masks values."""
    note = _archive.Note(files=[("a", 1, True)], copied=["b"], done=3)
    (value,) = note.to_result().values()
    assert value is None
    read = _archive.Note.of(note.to_result())
    assert (read.copied, read.done, [tuple(file) for file in read.files]) == (
        ["b"],
        3,
        [("a", 1, True)],
    )


def test_no_url_of_the_options_has_a_query() -> None:
    given = {"records": [{"url": "https://u:p@a/b?sign=1", "size": 1}], "x": ["a?b", None]}
    assert without_queries(given) == {
        "records": [{"url": "https://a/b", "size": 1}],
        "x": ["a?b", None],
    }
