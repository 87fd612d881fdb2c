#!/usr/bin/python
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: task_info
short_description: Read, or wait for, tasks of the Interactive Whiteboard
version_added: 0.2.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Returns the state and the results of tasks of Tencent Cloud's Interactive Whiteboard (TIW), such
    as slide decks that are transcoded or checked, snapshots of the board, pushes of the board and
    generated videos. With O(wait=true) it waits until they have ended or are in a state of
    O(wait_for).
  - Give all tasks of a kind to one task of the playbook instead of a C(loop). One process asks for a
    hundred of them, stays within the request limit of the account, and polls each as rarely as
    possible.
  - A task that is missing or failed does not fail the task of the playbook, unless O(fail_on) names
    it.
  - During a wait, a line shows the progress every O(progress_interval) seconds. With C(async) the
    wait runs in the background, without these lines.
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.info_module
  - tiw.automation._attributes.action_group
  - tiw.automation._attributes.async
  - tiw.automation._task_options.info
  - tiw.automation._task_waiting
  - tiw.automation._account
  - tiw.automation._account.module
options:
  task_ids:
    description:
      - The C(TaskId) of each task, as its create action returned it. All must be of O(task_kind). An
        id that is given twice counts once.
      - Every item must be a string. A number is an error; quote it, because YAML changes numbers
        such as V(0123) or V(1_000) before a module gets them.
      - One id, or several with commas between them, may be given without a list. Ansible makes a
        string of a number there.
      - In check mode it may also be an id that M(tiw.automation.task) returned in check mode for a
        task that would be created. TIW is not asked for it. With O(wait=true) its state is the first
        one of O(wait_for), by default the final one without results; otherwise it is one of a task
        that runs.
    type: list
    elements: raw
    required: true
    aliases:
      - task_id
  wait_for:
    description:
      - The states that end the wait for a task with O(wait=true), those of the kind, see
        O(task_kind). By default the final states that are no failure, such as V(FINISHED).
      - The wait also ends, without success, when the task can reach none of them any more.
    type: list
    elements: str
  wait_delay:
    description:
      - How many seconds of O(wait_timeout) elapse before the first request.
    type: float
    default: 0
  progress_interval:
    description:
      - About how many seconds lie between two lines of progress. V(0) shows none.
      - The wait is cut into slices of that length. Each slice is a process that asks only for
        unfinished tasks. A slice is longer if O(wait_sleep) or the number of tasks requires it.
    type: float
    default: 30
  fail_on:
    description:
      - What fails the task of the playbook, after it has asked for every task. It returns the
        results too.
      - V(missing) is a task that does not exist, V(failed) one that failed, V(timeout) one that is
        in none of the states of O(wait_for) when the wait ends.
      - A task without an answer of the API always fails the task of the playbook.
    type: list
    elements: str
    choices:
      - missing
      - failed
      - timeout
    default:
      - timeout
seealso:
  - module: tiw.automation.task
  - module: tiw.automation.online_record_info
  - name: The API of TIW
    description: The actions that this module calls.
    link: https://www.tencentcloud.com/document/product/1176/53478
"""

EXAMPLES = r"""
- name: Read the states of two transcodes
  tiw.automation.task_info:
    sdk_app_id: 1400000001
    task_kind: transcode
    task_ids:
      - ghucnligqtgtvk2624mb
      - hpucnligqtgtvk2624xz
  delegate_to: localhost
  register: decks

- name: Wait until all slide decks are transcoded, and fail if one is not usable
  tiw.automation.task_info:
    task_kind: transcode
    task_ids: "{{ created.results | map(attribute='task_id') }}"
    wait: true
    wait_timeout: 1800
    fail_on:
      - missing
      - failed
      - timeout
  delegate_to: localhost
  register: decks

- name: Wait until the board is being pushed
  tiw.automation.task_info:
    task_kind: whiteboard_push
    task_id: ghucnligqtgtvk2624mb
    wait: true
    wait_for: PUSHING
    wait_timeout: 60
    wait_sleep: 1
  delegate_to: localhost

- name: Wait in the background
  tiw.automation.task_info:
    task_kind: video_generation
    task_ids: "{{ video_tasks }}"
    wait: true
    wait_timeout: 14400
  delegate_to: localhost
  async: 15000
  poll: 0
  register: waiting
"""

RETURN = r"""
tasks:
  description:
    - What is known of each task, in the order asked, each once.
    - Each has every key. For a task that is missing or failed, all keys except
      RV(tasks[].sdk_app_id), RV(tasks[].task_kind), RV(tasks[].task_id), RV(tasks[].exists),
      RV(tasks[].verdict) and RV(tasks[].message) may be null or empty.
  returned: always, except when an option is invalid
  type: list
  elements: dict
  contains:
    exists:
      description: Whether the task exists, null without an answer of the API.
      type: bool
      returned: always
      sample: true
    verdict:
      description:
        - What the answer means. V(pending) is a task that has not ended, V(finished) one that ended and
          is accepted, V(failed) one that failed or is not accepted, V(missing) one that does not exist,
          V(unknown) one without an answer of the API.
        - A V(ppt_check) that finds errors in the slides is V(finished); C(result.is_ok) is false then.
      type: str
      returned: always
      sample: finished
    message:
      description: A sentence with the verdict and its reason.
      type: str
      returned: always
      sample: Transcode ghucnligqtgtvk2624mb is FINISHED, 1 URL.
    sdk_app_id:
      description: The application that was asked.
      type: int
      returned: always
      sample: 1400000001
    task_kind:
      description: The kind of task.
      type: str
      returned: always
      sample: transcode
    task_id:
      description: The id of the task.
      type: str
      returned: always
      sample: ghucnligqtgtvk2624mb
    status:
      description: One of the states of the kind, see O(task_kind).
      type: str
      returned: always
      sample: FINISHED
    progress:
      description: The progress in percent, null where the API returns none.
      type: int
      returned: always
      sample: 100
    finish_reason:
      description: Why a push or a recording ended, such as V(AUTO) or V(USER_CALL); null for other kinds.
      type: str
      returned: always
      sample: null
    urls:
      description:
        - The results. For a V(transcode) the URL of the HTML5 deck, or the URL of each page of a static
          deck; for a V(ppt_check) the URL of the repaired deck, if there is one; for a V(snapshot) its
          pictures; for a V(video_generation) and a V(online_record) the videos; for a V(whiteboard_push)
          none.
      type: list
      elements: str
      returned: always
      sample:
        - https://slides.example.com/ghucnligqtgtvk2624mb/index.html
    thumbnail_urls:
      description: The thumbnails of a V(transcode) that asked for them with C(thumbnail_resolution).
      type: list
      elements: str
      returned: always
      sample: []
    urls_expire_at:
      description:
        - An estimate of when Tencent Cloud deletes the files, in UNIX seconds. Known only for files in
          its public bucket.
      type: int
      returned: always
      sample: 1558944672
    result:
      description:
        - The answer of the API, with names such as C(push_start_time) for C(PushStartTime), also fields
          that this version does not know.
        - For a recording it is the form of M(tiw.automation.online_record_info).
      type: dict
      returned: always
      sample:
        pages: 24
        resolution: 960x720
        title: algebra
    request_id:
      description: The id of the last request, which Tencent Cloud's support asks for.
      type: str
      returned: always
      sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
urls:
  description: The URLs of all tasks whose verdict is V(finished), in the order asked.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample:
    - https://slides.example.com/ghucnligqtgtvk2624mb/index.html
all_finished:
  description: Whether the verdict of every task is V(finished).
  returned: always, except when an option is invalid
  type: bool
  sample: true
pending:
  description: The ids of the tasks that have not ended.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample: []
missing:
  description: The ids of the tasks that do not exist.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample: []
failed_ids:
  description: The ids of the tasks that failed, or whose end is not accepted.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample: []
unreached:
  description:
    - The ids of the tasks that did not reach a state of O(wait_for). Empty with O(wait=false).
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample: []
errors:
  description:
    - The errors, by the id of the task. A task without an error has no entry.
    - Each holds RV(code), C(message), RV(request_id), C(action), RV(retryable) and RV(hint).
  returned: always, except when an option is invalid
  type: dict
  sample:
    hpucnligqtgtvk2624xz:
      action: DescribeTranscode
      code: FailedOperation.FileDownloadFail
      hint: Mend what the message names, and create another task.
      message: Failed to download the file.
      request_id: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
      retryable: false
polls:
  description: The number of requests that were sent.
  returned: always, except when an option is invalid
  type: int
  sample: 2
slice:
  description:
    - Data with which the action plugin of the module joins the slices of a wait. The plugin removes
      it, so only a task with C(async) shows it. Its form may change with any version.
  returned: with O(wait=true) and C(async)
  type: dict
  sample: {}
elapsed:
  description: The duration of the requests and the wait in seconds.
  returned: always, except when an option is invalid
  type: float
  sample: 0.4
code:
  description: The error code of Tencent Cloud or of this collection.
  returned: failure
  type: str
  sample: AuthFailure.SecretIdNotFound
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: How to correct the error.
  returned: failure
  type: str
  sample: Check sdk_app_id; it is shown in the TIW console.
retryable:
  description: Whether the same task may succeed later without a change.
  returned: failure
  type: bool
  sample: false
"""

from ansible_collections.tiw.automation.plugins.module_utils._info import INFO_ARGUMENTS, run
from ansible_collections.tiw.automation.plugins.module_utils._module import run_module
from ansible_collections.tiw.automation.plugins.module_utils._task_options import TASK_KIND
from ansible_collections.tiw.automation.plugins.module_utils._waiting import TASK_WAIT_ARGUMENTS


def main() -> None:
    run_module(run, {"task_kind": TASK_KIND, **INFO_ARGUMENTS, **TASK_WAIT_ARGUMENTS})


if __name__ == "__main__":
    main()
