#!/usr/bin/python
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: task
short_description: Create a task of the Interactive Whiteboard, or stop a push of it
version_added: 0.2.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Creates a task of Tencent Cloud's Interactive Whiteboard (TIW). It transcodes or checks a slide
    deck, makes snapshots of a board, pushes a board as a stream, or generates videos. With
    O(wait=true) it waits for the task.
  - It stops a push.
  - A second run creates a second task, because the API does not compare it with earlier ones. Only a
    V(whiteboard_push) with C(push_user_id) in O(options) is found while it runs, on the Chinese
    site, and then nothing is changed.
  - If the answer to the creation is lost, the task is searched for where the API allows it. These
    are a push by its user and a transcode by its URL, on the Chinese site. Otherwise the module fails
    with the RV(code) V(StartUncertain), because the task may exist. It never repeats such a creation.
  - The options are checked before anything is sent.
  - For recordings use M(tiw.automation.online_record).
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.writing_module
  - tiw.automation._attributes.action_group
  - tiw.automation._task_options
  - tiw.automation._task_waiting
  - tiw.automation._account
  - tiw.automation._account.module
attributes:
  idempotent:
    support: partial
    details:
      - A second run creates a second task. Only a V(whiteboard_push) with C(push_user_id) is found
        while it runs, on the Chinese site. Stopping is idempotent.
options:
  state:
    description:
      - V(created) creates a task with O(options).
      - V(stopped) ends the V(whiteboard_push) O(task_id).
    type: str
    default: created
    choices:
      - created
      - stopped
  task_id:
    description:
      - The C(TaskId) of the push to stop. It must be a string; quote a number.
      - In check mode it may also be the RV(task_id) that this module returned in check mode for a
        push that would be created.
      - Required with O(state=stopped).
    type: raw
  user_sig_key:
    description:
      - The key of the application, with which the signature of the user of a V(whiteboard_push) is
        made. The console of IM or TRTC shows it. It is never sent.
    type: str
  wait_for:
    description:
      - The states that end the wait with O(wait=true), those of the kind, see O(task_kind). By
        default the final states that are no failure, such as V(FINISHED). For a V(whiteboard_push)
        with O(state=created) it is V(PUSHING).
      - With a final state, a task that failed or whose end is not accepted fails the task of the
        playbook.
      - Check mode does not wait.
    type: list
    elements: str
seealso:
  - module: tiw.automation.task_info
  - module: tiw.automation.online_record
  - name: The API of TIW
    description: The actions that this module calls.
    link: https://www.tencentcloud.com/document/product/1176/53478
"""

EXAMPLES = r"""
- name: Transcode a slide deck, and wait for it
  tiw.automation.task:
    sdk_app_id: 1400000001
    task_kind: transcode
    options:
      url: https://files.example.com/algebra.pptx
      thumbnail_resolution: 200x200
    wait: true
    wait_timeout: 900
  delegate_to: localhost
  register: deck

- name: Start to transcode several slide decks
  tiw.automation.task:
    task_kind: transcode
    options:
      url: "https://files.example.com/{{ item | urlencode }}"
  delegate_to: localhost
  loop: "{{ decks }}"
  register: created

- name: Wait for all of them in one process
  tiw.automation.task_info:
    task_kind: transcode
    task_ids: "{{ created.results | map(attribute='task_id') }}"
    wait: true
    fail_on:
      - missing
      - failed
      - timeout
  delegate_to: localhost

- name: Check a slide deck, and repair it
  tiw.automation.task:
    site: cn
    task_kind: ppt_check
    options:
      url: https://files.example.com/algebra.pptx
      auto_handle_unsupported_element: true
    wait: true
  delegate_to: localhost
  register: check

- name: Push a board as a stream, or find the running push
  tiw.automation.task:
    task_kind: whiteboard_push
    options:
      room_id: 29001
      push_user_id: tic_push_user_29001_algebra
    user_sig_key: "{{ vault_user_sig_key }}"
    wait: true
    wait_timeout: 60
    wait_sleep: 1
  delegate_to: localhost
  register: push

- name: Stop the push
  tiw.automation.task:
    state: stopped
    task_kind: whiteboard_push
    task_id: "{{ push.task_id }}"
    wait: true
  delegate_to: localhost

- name: Make pictures of a board in your own bucket
  tiw.automation.task:
    task_kind: snapshot
    options:
      room_id: 29001
      whiteboard:
        width: 1920
        height: 1080
      cos:
        uin: 100000000001
        region: ap-guangzhou
        bucket: lessons-1250000000
    wait: true
  delegate_to: localhost
"""

RETURN = r"""
task_id:
  description:
    - The id of the task. For a task that check mode would create, it begins with C(check-mode:);
      M(tiw.automation.task_info) and this module accept this id in check mode.
  returned: when the task is known
  type: str
  sample: ghucnligqtgtvk2624mb
previous_status:
  description: The status before, null for a task that was created.
  returned: when the task is known
  type: str
  sample: null
task:
  description:
    - The task at the end, in the form that M(tiw.automation.task_info) returns. Right after a change
      the API may still return the state before. Null if the API did not answer.
    - In check mode it is the task as it is, or the predicted one if it would be created.
  returned: when the task is known
  type: dict
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
request:
  description:
    - The action and the parameters that check mode would send, without secrets. They are in the diff
      too.
  returned: in check mode, if a task would be created
  type: dict
  contains:
    action:
      description: The action of the API.
      type: str
      returned: always
      sample: CreateTranscode
    params:
      description: Its parameters.
      type: dict
      returned: always
      sample:
        SdkAppId: 1400000001
        ThumbnailResolution: 200x200
        Url: VALUE_SPECIFIED_IN_NO_LOG_PARAMETER
elapsed:
  description: The duration in seconds.
  returned: when the task is known
  type: float
  sample: 2.4
code:
  description: The error code of Tencent Cloud or of this collection.
  returned: failure
  type: str
  sample: StartUncertain
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: How to correct the error.
  returned: failure
  type: str
  sample: Look in the TIW console before you create it again.
retryable:
  description: Whether the same task may succeed later without a change.
  returned: failure
  type: bool
  sample: false
"""

import hashlib
import json
import typing as t

from ansible_collections.tiw.automation.plugins.module_utils._change import (
    Change,
    has_ended,
    run_change,
    without_none,
)
from ansible_collections.tiw.automation.plugins.module_utils._module import run_module
from ansible_collections.tiw.automation.plugins.module_utils._task_ids import (
    check_mode_id,
    running_state,
)
from ansible_collections.tiw.automation.plugins.module_utils._task_options import (
    CREATED_KIND,
    TASK_OPTIONS,
)
from ansible_collections.tiw.automation.plugins.module_utils._waiting import (
    TASK_WAIT_ARGUMENTS,
    WAIT_ARGUMENTS,
    end_states,
)

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import Outcome, TiwClient


class Task(Change):
    """The task to create or to stop.

    :raises ConfigurationError: an option is invalid; nothing was sent.
    """

    def __init__(self, module: AnsibleModule, client: TiwClient) -> None:
        from tiw_automation.core import ConfigurationError
        from tiw_automation.core.tasks import find_kind

        params = module.params
        kind = find_kind(params["task_kind"])
        stops = params["state"] == "stopped"
        if stops and kind.stop_action is None:
            raise ConfigurationError(
                f"A {kind.noun.lower()} cannot be stopped.", hint="It ends by itself."
            )
        runs_until_stopped = kind.stop_action is not None and not stops
        states = [running_state(kind)] if runs_until_stopped else end_states(kind)
        status_after = {"start": kind.states[0][0], "stop": kind.states[-1][0]}
        super().__init__(module, client, kind, params["wait_for"] or states, status_after)
        given = {**(params["options"] or {}), "user_sig_key": params["user_sig_key"]}
        self.options: dict[str, t.Any] = without_none(given)
        self.params: dict[str, t.Any] = {}
        if not stops:
            self.params = client.create_task_params(kind.name, **self.options)
            # Ansible masks the secrets of the options. A signature that is made is none of them.
            secrets = {option.api_name for option in kind.options if option.secret}
            module.no_log_values.update(self.params[name] for name in secrets & set(self.params))

    def find(self) -> str | None:
        user = self.kind.user and self.options.get(self.kind.user.id_option)
        return self.client.find_whiteboard_push(self.options["room_id"], user) if user else None

    def action_from(self, found: Outcome) -> str | None:
        return "stop" if self.state == "stopped" and not has_ended(found) else None

    def act(self, action: str) -> bool:
        if action == "stop":
            return self.client.stop_whiteboard_push(t.cast(str, self.task_id))
        self.task_id = self.client.create_task(self.kind.name, **self.options).task_id
        return True

    def predicted_id(self) -> str:
        # Each task has its own, so that a later task waits for as many as would be created.
        text = json.dumps(self.module.params["options"], sort_keys=True)
        return check_mode_id(f"{self.kind.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}")

    def to_result(self) -> dict[str, t.Any]:
        result = super().to_result()
        if self.action == "start":
            request = {"action": self.kind.create_action, "params": self.params}
            if self.module.check_mode:
                result["request"] = request
            if "diff" in result:
                result["diff"]["after"]["request"] = request
        return result


def run(module: AnsibleModule, client: TiwClient) -> dict[str, t.Any]:
    return run_change(Task(module, client))


def main() -> None:
    run_module(
        run,
        {
            "state": {"type": "str", "default": "created", "choices": ["created", "stopped"]},
            "task_kind": CREATED_KIND,
            "task_id": {"type": "raw"},
            "options": {"type": "dict", "options": TASK_OPTIONS},
            "user_sig_key": {"type": "str", "no_log": True},
            **WAIT_ARGUMENTS,
            **TASK_WAIT_ARGUMENTS,
        },
        mutually_exclusive=[("task_id", "options")],
        required_if=[("state", "created", ["options"]), ("state", "stopped", ["task_id"])],
    )


if __name__ == "__main__":
    main()
