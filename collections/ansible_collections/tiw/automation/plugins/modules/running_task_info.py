#!/usr/bin/python
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: running_task_info
short_description: List the tasks that run in an application of the Interactive Whiteboard
version_added: 0.1.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Lists all running tasks of Tencent Cloud's Interactive Whiteboard (TIW) in an application
    (C(DescribeRunningTasks)).
  - Only the Chinese site has this action, so O(site=cn) or the region V(ap-guangzhou) is required.
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.info_module
  - tiw.automation._attributes.action_group
  - tiw.automation._account
  - tiw.automation._account.module
options:
  task_type:
    description:
      - The tasks to list. V(OnlineRecord) are real-time recordings, V(WhiteboardPush) whiteboards
        that are pushed to a stream, V(TranscodeH5) and V(TranscodeJPG) documents that are
        transcoded.
    type: str
    choices:
      - OnlineRecord
      - WhiteboardPush
      - TranscodeH5
      - TranscodeJPG
    default: OnlineRecord
seealso:
  - module: tiw.automation.online_record_info
  - name: DescribeRunningTasks
    description: The page of the API action that this module calls.
    link: https://cloud.tencent.com/document/product/1137/89907
"""

EXAMPLES = r"""
- name: List the running recordings
  tiw.automation.running_task_info:
    sdk_app_id: 1400000001
    site: cn
  delegate_to: localhost
  register: running

- name: Stop all recordings of a room
  tiw.automation.online_record:
    state: stopped
    task_id: "{{ item.task_id }}"
    site: cn
  loop: "{{ running.tasks | selectattr('room_id', 'equalto', 29001) }}"
  loop_control:
    label: "{{ item.task_id }}"
  delegate_to: localhost
"""

RETURN = r"""
tasks:
  description:
    - The tasks, in the order of the API, each once. Each has every key; a value that the API does
      not return is null.
  returned: success
  type: list
  elements: dict
  contains:
    sdk_app_id:
      description: The application.
      type: int
      returned: always
      sample: 1400000001
    task_id:
      description: The id of the task.
      type: str
      returned: always
      sample: ghucnligqtgtvk2624mb
    task_type:
      description: The type of the task.
      type: str
      returned: always
      sample: OnlineRecord
    status:
      description: Its state, V(QUEUED), V(PROCESSING) or V(FINISHED).
      type: str
      returned: always
      sample: PROCESSING
    room_id:
      description: The room of a recording or of a whiteboard that is pushed.
      type: int
      returned: always
      sample: 29001
    create_time:
      description: When it was created, as the API returns it, without a time zone.
      type: str
      returned: always
      sample: "2026-11-24 10:00:00"
    cancel_time:
      description: When it was cancelled, in the same form.
      type: str
      returned: always
      sample: null
    progress:
      description: How much of a document is transcoded, in percent.
      type: int
      returned: always
      sample: 0
    file_url:
      description: The document that is transcoded.
      type: str
      returned: always
      sample: null
task_ids:
  description: The ids of the tasks, ready for M(tiw.automation.online_record_info).
  returned: success
  type: list
  elements: str
  sample:
    - ghucnligqtgtvk2624mb
code:
  description: The error code of Tencent Cloud or of this collection.
  returned: failure
  type: str
  sample: InvalidAction
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: How to correct the error.
  returned: failure
  type: str
  sample: Set site to cn; only the Chinese site has DescribeRunningTasks.
retryable:
  description: Whether the same task may succeed later without a change.
  returned: failure
  type: bool
  sample: false
"""

import typing as t

from ansible_collections.tiw.automation.plugins.module_utils._module import run_module

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import TiwClient


def run(module: AnsibleModule, client: TiwClient) -> dict[str, t.Any]:
    tasks = client.describe_running_tasks(module.params["task_type"])
    return {
        "tasks": [task.to_dict() for task in tasks],
        "task_ids": [task.task_id for task in tasks],
    }


def main() -> None:
    run_module(
        run,
        {
            "task_type": {
                "type": "str",
                "choices": ["OnlineRecord", "WhiteboardPush", "TranscodeH5", "TranscodeJPG"],
                "default": "OnlineRecord",
            }
        },
    )


if __name__ == "__main__":
    main()
