# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: tracks
short_description: Sort the videos of a recording into the tracks of its timeline
version_added: 0.1.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - A lesson has many videos. Each stream has one, and a new one begins after each pause and each
    interruption. This filter groups the videos that belong together (camera, screen or whiteboard
    of a user), sorts them, and finds the gaps between them.
positional: _input
options:
  _input:
    description:
      - A recording, as M(tiw.automation.online_record_info) returns it in RV(tiw.automation.online_record_info#module:records).
    type: dict
    required: true
  least_gap_ms:
    description:
      - The least length of a gap in milliseconds; shorter gaps are left out. It may be text, as
        from C(-e).
    type: int
    default: 0
requirements:
  - python >= 3.11
  - tiw-automation >= 0.2.0, in the Python that runs Ansible
seealso:
  - module: tiw.automation.online_record_info
"""

EXAMPLES = r"""
- name: Wait for a lesson
  tiw.automation.online_record_info:
    task_id: ghucnligqtgtvk2624mb
    wait: true
  register: lesson

- name: Show which cameras are missing for more than a second
  ansible.builtin.debug:
    msg: "{{ item.user_id }} is missing {{ item.gaps | length }} times"
  loop: >-
    {{ lesson.records[0] | tiw.automation.tracks(least_gap_ms=1000)
    | selectattr('kind', 'equalto', 'camera') }}
  loop_control:
    label: "{{ item.user_id }}"

- name: Sort the videos of several lessons separately
  ansible.builtin.set_fact:
    tracks: "{{ lessons.records | map('tiw.automation.tracks') }}"
"""

RETURN = r"""
_value:
  description:
    - The tracks, by kind and user. Each has the keys C(kind), C(user_id), C(start_ms), C(end_ms),
      C(videos) and C(gaps). The videos are in the order of the timeline and in the form of
      RV(tiw.automation.online_record_info#module:records[].videos). A gap has C(start_ms) and
      C(end_ms). Times are milliseconds on the common timeline, without pauses.
  type: list
  elements: dict
  sample:
    - kind: camera
      user_id: teacher
      start_ms: 0
      end_ms: 12000
      videos: []
      gaps:
        - start_ms: 5000
          end_ms: 6200
"""

import typing as t
from collections.abc import Mapping

from ansible.errors import AnsibleFilterError
from ansible_collections.tiw.automation.plugins.module_utils._core import core_problem


def tracks(record: t.Any, least_gap_ms: t.Any = 0) -> list[dict[str, t.Any]]:
    """Return the tracks of a record dict."""
    problem = core_problem("tracks_of")
    if problem is not None:
        raise AnsibleFilterError(problem)

    from tiw_automation.core import OnlineRecord, tracks_of

    if not isinstance(record, Mapping) or not {"task_id", "videos"} <= set(record):
        # Ansible has its own types of mapping, which users know as dict.
        given = "dict" if isinstance(record, Mapping) else type(record).__name__
        raise AnsibleFilterError(
            "tiw.automation.tracks takes one recording, as online_record_info returns it in "
            f"records, not {given}. For several use map('tiw.automation.tracks')."
        )
    found = tracks_of(OnlineRecord.from_dict(record), least_gap_ms=_milliseconds(least_gap_ms))
    return [track.to_dict() for track in found]


def _milliseconds(value: t.Any) -> int:
    """Return a whole number; templates and the command line may pass it as text."""
    from tiw_automation.core.checks import as_integer
    from tiw_automation.core.formatting import shown

    number = None if isinstance(value, bool) else as_integer(str(value).strip().removesuffix(".0"))
    if number is None or number < 0:
        raise AnsibleFilterError(
            f"least_gap_ms must be a whole number of milliseconds, zero or more, not {shown(value)}."
        )
    return number


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"tracks": tracks}
