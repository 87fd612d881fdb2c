# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: online_record
short_description: The URLs of the videos of recordings of the Interactive Whiteboard
version_added: 0.1.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Returns the URLs of the videos of finished recordings of Tencent Cloud's Interactive Whiteboard
    (TIW), in the order of the recordings and of the API.
  - A recording that does not exist, failed or has not finished is an error. The lookup does not
    wait. To wait, use M(tiw.automation.online_record_info), which is also faster for many
    recordings.
extends_documentation_fragment:
  - tiw.automation._account
  - tiw.automation._waiting.acceptance
options:
  _terms:
    description:
      - The C(TaskId) of each recording, as one id, a text of ids with commas between them, or a
        list. Each id must be a string.
      - In check mode it may also be an id that M(tiw.automation.online_record) returned in check
        mode for a recording that would be started. Such an id has no URLs.
    type: list
    elements: raw
    required: true
  kinds:
    description:
      - The kinds of video to return. All kinds if this option is not given.
    type: list
    elements: str
    choices:
      - camera
      - screen_share
      - whiteboard
      - mixed
      - audio
      - unknown
requirements:
  - python >= 3.11
  - tiw-automation >= 0.2.0, in the Python that runs Ansible
notes:
  - It runs on the control node. Set the account in the environment of C(ansible-playbook).
seealso:
  - plugin: tiw.automation.tracks
    plugin_type: filter
  - module: tiw.automation.online_record_info
"""

EXAMPLES = r"""
- name: Show the URLs of a lesson
  ansible.builtin.debug:
    msg: "{{ query('tiw.automation.online_record', 'ghucnligqtgtvk2624mb') }}"

- name: Download the whiteboard of several lessons
  ansible.builtin.get_url:
    url: "{{ item }}"
    dest: /srv/lessons/
    mode: "0644"
  loop: "{{ query('tiw.automation.online_record', lesson_ids, kinds=['whiteboard']) }}"

- name: Write one URL into a page
  ansible.builtin.template:
    src: lesson.html.j2
    dest: /srv/www/lesson.html
    mode: "0644"
  vars:
    video: "{{ lookup('tiw.automation.online_record', task_id, kinds='mixed') }}"
"""

RETURN = r"""
_list:
  description: The URLs.
  type: list
  elements: str
  sample:
    - http://videos.example.com/ghucnligqtgtvk2624mb/1.mp4
"""

import typing as t
from collections.abc import Iterator

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase
from ansible_collections.tiw.automation.plugins.module_utils._account import ACCOUNT_ARGUMENTS
from ansible_collections.tiw.automation.plugins.module_utils._core import core_problem
from ansible_collections.tiw.automation.plugins.module_utils._task_ids import (
    is_check_mode_id,
    read_task_ids,
    refuse_check_mode_ids,
)
from ansible_collections.tiw.automation.plugins.module_utils._waiting import describe

if t.TYPE_CHECKING:
    from tiw_automation.core import OnlineRecord, Outcome


class LookupModule(LookupBase):
    """Asks for one recording after the other."""

    def run(
        self, terms: list[t.Any], variables: dict[str, t.Any] | None = None, **kwargs: t.Any
    ) -> list[str]:
        """Return the URLs."""
        self.set_options(var_options=variables, direct=kwargs)
        problem = core_problem("TiwClient")
        if problem is not None:
            raise AnsibleLookupError(problem)

        from tiw_automation.core import TiwError

        try:
            check_mode = bool((variables or {}).get("ansible_check_mode"))
            return list(self._urls(_task_ids(terms, check_mode=check_mode)))
        except TiwError as error:
            raise AnsibleLookupError(str(error)) from error

    def _urls(self, task_ids: list[str]) -> Iterator[str]:
        from tiw_automation.core import Acceptance, TiwClient, check_video_kinds
        from tiw_automation.core.tasks import find_kind

        recording = find_kind("online_record")
        kinds = check_video_kinds(self.get_option("kinds"))
        acceptance = Acceptance.of(
            self.get_option("accept_finish_reasons"), self.get_option("require_videos")
        )
        with TiwClient(**{name: self.get_option(name) for name in ACCOUNT_ARGUMENTS}) as client:
            for task_id in task_ids:
                record = _finished(describe(client, recording, task_id, acceptance))
                yield from (video.url for video in record.select(kinds) if video.url)


def _task_ids(terms: list[t.Any], *, check_mode: bool) -> list[str]:
    """Return the task ids to ask for, each once."""
    task_ids = read_task_ids([task_id for term in terms for task_id in read_task_ids(term)])
    if check_mode:
        return [task_id for task_id in task_ids if not is_check_mode_id(task_id)]
    refuse_check_mode_ids(task_ids)
    return task_ids


def _finished(outcome: Outcome) -> OnlineRecord:
    """Return the finished recording of an outcome.

    :raises TiwError: it is not finished.
    """
    from tiw_automation.core import TiwError

    if outcome.verdict == "pending":
        raise TiwError(
            outcome.message,
            code="NotFinished",
            hint="Wait for it with tiw.automation.online_record_info.",
        )
    return outcome.raise_for_verdict()
