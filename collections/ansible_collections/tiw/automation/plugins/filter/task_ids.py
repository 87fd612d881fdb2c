# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
name: task_ids
short_description: Read task ids from a list or a text
version_added: 0.2.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Returns a list of the task ids in a variable. The variable may hold a list, one id, or a text of
    ids with commas between them, like the options of this collection that take ids. Each id is in
    the list once.
  - A value that is not a task id of Tencent Cloud's Interactive Whiteboard is an error.
positional: _input
options:
  _input:
    description:
      - The ids, for example from C(-e task_ids=algebra,history).
    type: raw
    required: true
requirements:
  - python >= 3.11
  - tiw-automation >= 0.2.0, in the Python that runs Ansible
seealso:
  - module: tiw.automation.online_record
"""

EXAMPLES = r"""
- name: Stop the recordings of the command line
  tiw.automation.online_record:
    state: stopped
    task_id: "{{ item }}"
  loop: "{{ task_ids | tiw.automation.task_ids }}"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description:
    - The ids.
  type: list
  elements: str
  sample:
    - ghucnligqtgtvk2624mb
"""

import typing as t

from ansible.errors import AnsibleFilterError
from ansible_collections.tiw.automation.plugins.module_utils._core import core_problem
from ansible_collections.tiw.automation.plugins.module_utils._task_ids import read_task_ids


def task_ids(value: t.Any) -> list[str]:
    """Return the task ids that a variable holds."""
    problem = core_problem("check_task_ids")
    if problem is not None:
        raise AnsibleFilterError(problem)

    from tiw_automation.core import TiwError

    try:
        return read_task_ids(value)
    except TiwError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, t.Callable[..., t.Any]]:
        """Return the filters by name."""
        return {"task_ids": task_ids}
