#!/usr/bin/python
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: online_record
short_description: Start, pause, resume or stop a recording of the Interactive Whiteboard
version_added: 0.1.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Brings a real-time recording of Tencent Cloud's Interactive Whiteboard (TIW) into a state
    (C(StartOnlineRecord), C(PauseOnlineRecord), C(ResumeOnlineRecord), C(StopOnlineRecord)). With
    O(wait=true) it waits until the recording is in that state.
  - It reads the state first and changes it only if it differs, so the task can be run again.
  - It never starts a second recording of the same O(record_user_id), even if the answer to the
    first start was lost.
  - The options of a start are checked before anything is sent. They have no effect if O(task_id)
    names the recording.
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.writing_module
  - tiw.automation._attributes.action_group
  - tiw.automation._start
  - tiw.automation._waiting
  - tiw.automation._waiting.acceptance
  - tiw.automation._account
  - tiw.automation._account.module
options:
  state:
    description:
      - V(started) with O(task_id) resumes a paused recording. With O(room_id) it starts the
        recording of O(record_user_id) in that room, or finds it running.
      - V(paused) pauses a recording. Tencent Cloud ends a recording that is paused for 90 minutes.
      - V(stopped) ends a recording permanently. Its videos follow minutes later, see
        O(wait_for=FINISHED).
    type: str
    required: true
    choices:
      - started
      - paused
      - stopped
  task_id:
    description:
      - The C(TaskId) of the recording. It must be a string; quote a number.
      - Exactly one of O(task_id) and O(room_id) is required. V(paused) and V(stopped) require
        O(task_id).
      - In check mode it may also be the RV(task_id) that this module returned in check mode for a
        recording that would be started. No request is sent for it. The module predicts that
        O(state) changes it.
    type: raw
  room_id:
    description:
      - The room to record. From 1 to 4294967295.
    type: int
  record_user_id:
    description:
      - The id of the user with which TIW enters the room. It begins with
        C(tic_record_user_<room_id>_) and has at most 60 letters, digits, C(_) and C(-). No
        participant may use it.
      - It identifies the recording. While a recording of this user runs in the room, the task finds
        it; afterwards the task starts a new one. Required with O(room_id).
      - Only the Chinese site lists running tasks (C(DescribeRunningTasks)). On the international
        site the task fails if the recording runs already, because its O(task_id) cannot be found.
    type: str
  record_user_sig:
    description:
      - The signature (UserSig) of O(record_user_id), valid for at least an hour.
      - A start requires exactly one of O(record_user_sig) and O(user_sig_key).
    type: str
  user_sig_key:
    description:
      - The key of the application. The module makes the signature with it. Tencent Cloud's console
        of IM or TRTC shows it. It is never sent.
    type: str
  wait_for:
    description:
      - The states that end the wait with O(wait=true). By default V(RECORDING) for
        O(state=started), V(PAUSED) for O(state=paused), and V(STOPPED) or V(FINISHED) for
        O(state=stopped).
      - With V(FINISHED), a recording that failed or whose finish reason is not accepted fails the
        task.
      - Check mode does not wait.
    type: list
    elements: str
    choices:
      - RECORDING
      - PAUSED
      - STOPPED
      - FINISHED
seealso:
  - module: tiw.automation.online_record_info
  - name: StartOnlineRecord
    description: The page of the API action with all its options.
    link: https://www.tencentcloud.com/document/product/1176/53505
"""

EXAMPLES = r"""
- name: Start to record a room, or find the running recording
  tiw.automation.online_record:
    state: started
    sdk_app_id: 1400000001
    room_id: 29001
    record_user_id: tic_record_user_29001_algebra
    user_sig_key: "{{ vault_user_sig_key }}"
    preset: mixed_stream
    auto_stop_timeout: 900
    wait: true
    wait_timeout: 60
    wait_sleep: 1
  delegate_to: localhost
  register: lesson

- name: Pause it
  tiw.automation.online_record:
    state: paused
    task_id: "{{ lesson.task_id }}"
  delegate_to: localhost

- name: Resume it
  tiw.automation.online_record:
    state: started
    task_id: "{{ lesson.task_id }}"
  delegate_to: localhost

- name: Stop it, and wait for its videos
  tiw.automation.online_record:
    state: stopped
    task_id: "{{ lesson.task_id }}"
    wait: true
    wait_for: FINISHED
  delegate_to: localhost
  register: stopped

- name: Record only two streams, one of them without sound
  tiw.automation.online_record:
    state: started
    room_id: 29001
    record_user_id: tic_record_user_29001_history
    record_user_sig: "{{ signature }}"
    record_control:
      enabled: true
      disable_record: true
      stream_controls:
        - stream_id: teacher
          disable_record: false
        - stream_id: tic_substream
          disable_record: false
          disable_audio: true
  delegate_to: localhost
"""

RETURN = r"""
task_id:
  description:
    - The id of the recording. For a recording that check mode would start, it is C(check-mode:)
      and O(record_user_id); every part of this collection accepts this id in check mode.
  returned: when the recording is known
  type: str
  sample: ghucnligqtgtvk2624mb
previous_status:
  description: The status before the task, null if there was no recording.
  returned: when the recording is known
  type: str
  sample: RECORDING
record:
  description:
    - The recording at the end of the task, in the form that M(tiw.automation.online_record_info)
      returns. Right after a change the API may still return the previous state. Null if the API
      did not answer.
    - In check mode it is the recording as it is, or the predicted one if it would be started.
  returned: when the recording is known
  type: dict
  contains:
    exists:
      description: Whether the recording exists, null without an answer of the API.
      type: bool
      returned: always
      sample: true
    verdict:
      description:
        - What the answer means. V(pending) is a recording that has not ended, V(finished) one that
          ended and is accepted, V(failed) one that failed or is not accepted, V(missing) one that
          does not exist, V(unknown) one without an answer of the API.
      type: str
      returned: always
      sample: finished
    message:
      description: A sentence with the verdict and its reason.
      type: str
      returned: always
      sample: Recording ghucnligqtgtvk2624mb is FINISHED (USER_CALL), 2 videos.
    sdk_app_id:
      description: The application that was asked.
      type: int
      returned: always
      sample: 1400000001
    task_id:
      description: The id of the recording.
      type: str
      returned: always
      sample: ghucnligqtgtvk2624mb
    status:
      description: One of V(PREPARED), V(RECORDING), V(PAUSED), V(STOPPED) and V(FINISHED).
      type: str
      returned: always
      sample: FINISHED
    finish_reason:
      description: One of V(AUTO), V(USER_CALL), V(EXCEPTION) and V(FORCE_STOP), null before the end.
      type: str
      returned: always
      sample: USER_CALL
    room_id:
      description: The room that was recorded.
      type: int
      returned: always
      sample: 29001
    group_id:
      description: The group of the whiteboard's signals.
      type: str
      returned: always
      sample: "29001"
    record_user_id:
      description: The user that recorded.
      type: str
      returned: always
      sample: tic_record_user_29001_1
    record_start_time:
      description: When the recording began, in UNIX seconds.
      type: int
      returned: always
      sample: 1558685457
    record_stop_time:
      description: When the recording ended, in UNIX seconds.
      type: int
      returned: always
      sample: 1558685472
    total_time_ms:
      description: The length of the replay in milliseconds.
      type: int
      returned: always
      sample: 12000
    exception_count:
      description: How many exceptions occurred during the recording.
      type: int
      returned: always
      sample: 0
    omitted_durations:
      description: The pauses that were cut out of joined videos.
      type: list
      elements: dict
      returned: always
      contains:
        video_time_ms:
          description: The position of the pause in the video, in milliseconds.
          type: int
          returned: always
          sample: 5000
        pause_time_ms:
          description: When the pause began, in UNIX milliseconds.
          type: int
          returned: always
          sample: 1558685460000
        resume_time_ms:
          description: When the pause ended, in UNIX milliseconds.
          type: int
          returned: always
          sample: 1558685465000
    videos:
      description: The videos, in the order of the API.
      type: list
      elements: dict
      returned: always
      contains:
        id:
          description: The id of the video.
          type: str
          returned: always
          sample: tic_record_user_29001_1
        url:
          description: The URL from which the video can be downloaded.
          type: str
          returned: always
          sample: http://videos.example.com/ghucnligqtgtvk2624mb/1.mp4
        format:
          description: The format of the file.
          type: str
          returned: always
          sample: mp4
        type:
          description: What the video shows, as the API's number.
          type: int
          returned: always
          sample: 2
        kind:
          description:
            - What the video shows, as a name, one of V(camera), V(screen_share), V(whiteboard),
              V(mixed), V(audio) and V(unknown).
          type: str
          returned: always
          sample: whiteboard
        user_id:
          description: The user whose stream it is, empty for the whiteboard.
          type: str
          returned: always
          sample: teacher
        play_time_ms:
          description: The beginning of the video on the common timeline, in milliseconds.
          type: int
          returned: always
          sample: 0
        duration_ms:
          description: The length of the video in milliseconds.
          type: int
          returned: always
          sample: 12000
        size_bytes:
          description: The size of the file in bytes.
          type: int
          returned: always
          sample: 356000
        width:
          description: The width in pixels.
          type: int
          returned: always
          sample: 1280
        height:
          description: The height in pixels.
          type: int
          returned: always
          sample: 960
    video_urls:
      description: The URLs of all videos that have one, in the order of the API.
      type: list
      elements: str
      returned: always
      sample:
        - http://videos.example.com/ghucnligqtgtvk2624mb/1.mp4
    videos_expire_at:
      description:
        - An estimate of when Tencent Cloud deletes the videos, in UNIX seconds. Known only for
          videos in its public bucket, which keeps files for three days.
      type: int
      returned: always
      sample: 1558944672
    replay_url:
      description: The URL of the replay, null if there is no replay.
      type: str
      returned: always
      sample: null
    interrupts:
      description: How often the stream of each user was interrupted.
      type: list
      elements: dict
      returned: always
      contains:
        user_id:
          description: The user.
          type: str
          returned: always
          sample: teacher
        count:
          description: How often the stream was interrupted.
          type: int
          returned: always
          sample: 1
    request_id:
      description: The id of the last request, which Tencent Cloud's support asks for.
      type: str
      returned: always
      sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
elapsed:
  description: The duration of the task in seconds.
  returned: when the recording is known
  type: float
  sample: 2.4
code:
  description: The error code of Tencent Cloud or of this collection.
  returned: failure
  type: str
  sample: UnsupportedOperation.TaskHasAlreadyStopped
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: How to correct the error.
  returned: failure
  type: str
  sample: The recording has ended; start another one.
retryable:
  description: Whether the same task may succeed later without a change.
  returned: failure
  type: bool
  sample: false
"""

import typing as t

from ansible_collections.tiw.automation.plugins.module_utils._change import (
    Change,
    has_ended,
    run_change,
    status_of,
    without_none,
)
from ansible_collections.tiw.automation.plugins.module_utils._module import run_module
from ansible_collections.tiw.automation.plugins.module_utils._start import START_ARGUMENTS
from ansible_collections.tiw.automation.plugins.module_utils._task_ids import check_mode_id
from ansible_collections.tiw.automation.plugins.module_utils._waiting import (
    ACCEPTANCE_ARGUMENTS,
    WAIT_ARGUMENTS,
    record_dict,
)

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import Outcome, TiwClient

_STATES_OF = {
    "started": ("RECORDING",),
    "paused": ("PAUSED",),
    "stopped": ("STOPPED", "FINISHED"),
}
_STATUS_AFTER = {
    "start": "RECORDING",
    "resume": "RECORDING",
    "pause": "PAUSED",
    "stop": "STOPPED",
}


class Recording(Change):
    """The recording of the task.

    :raises ConfigurationError: an option is invalid; nothing was sent.
    """

    key = "record"

    def __init__(self, module: AnsibleModule, client: TiwClient) -> None:
        from tiw_automation.core.tasks import find_kind

        params = module.params
        states = params["wait_for"] or _STATES_OF[params["state"]]
        super().__init__(module, client, find_kind("online_record"), states, _STATUS_AFTER)
        self.start_options = _start_options(params)
        if self.task_id is None:
            client.start_online_record_params(**self.start_options)

    def find(self) -> str | None:
        options = self.start_options
        return self.client.find_online_record(options["room_id"], options["record_user_id"])

    def action_from(self, found: Outcome) -> str | None:
        return _action(self.state, found)

    def act(self, action: str) -> bool:
        if action == "start":
            self.task_id = self.client.start_online_record(**self.start_options)
            return True
        changed: bool = getattr(self.client, f"{action}_online_record")(self.task_id)
        return changed

    def assumed_status(self) -> str:
        return "PAUSED" if self.state == "started" else "RECORDING"

    def predicted_id(self) -> str:
        return check_mode_id(self.module.params["record_user_id"])

    def shown(self, outcome: Outcome) -> dict[str, t.Any]:
        return record_dict(self.sdk_app_id, outcome.task_id, outcome, outcome.message)


def _start_options(params: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the arguments of a start; Ansible sets every option that is left out to None."""
    names = ("room_id", "record_user_id", "record_user_sig", "user_sig_key", *START_ARGUMENTS)
    given: dict[str, t.Any] = without_none({name: params[name] for name in names})
    return given


def _action(state: str, outcome: Outcome) -> str | None:
    """Return the action that brings a recording into a state, or None if it is in it.

    :raises UnsupportedOperation: there is no such action.
    """
    from tiw_automation.core import UnsupportedOperation

    status = status_of(outcome)
    if state == "stopped":
        return None if has_ended(outcome) else "stop"
    if has_ended(outcome):
        raise UnsupportedOperation(
            f"It cannot be {state} any more: {outcome.message.rstrip('.')}.",
            code="UnsupportedOperation.TaskHasAlreadyStopped",
            hint="The recording has ended; leave task_id out to start another one.",
        )
    if state == "started":
        return "resume" if status == "PAUSED" else None
    if status == "PREPARED":
        raise UnsupportedOperation(
            f"Recording {outcome.task_id} cannot be paused yet: it is PREPARED.",
            code="UnsupportedOperation.InvalidTaskStatus",
            retryable=True,
            hint="It takes some seconds to begin: start it with wait.",
        )
    return None if status == "PAUSED" else "pause"


def run(module: AnsibleModule, client: TiwClient) -> dict[str, t.Any]:
    return run_change(Recording(module, client))


def main() -> None:
    run_module(
        run,
        {
            "state": {
                "type": "str",
                "required": True,
                "choices": ["started", "paused", "stopped"],
            },
            "task_id": {"type": "raw"},
            "room_id": {"type": "int"},
            "record_user_id": {"type": "str"},
            "record_user_sig": {"type": "str", "no_log": True},
            "user_sig_key": {"type": "str", "no_log": True},
            "wait_for": {
                "type": "list",
                "elements": "str",
                "choices": ["RECORDING", "PAUSED", "STOPPED", "FINISHED"],
            },
            **START_ARGUMENTS,
            **WAIT_ARGUMENTS,
            **ACCEPTANCE_ARGUMENTS,
        },
        required_one_of=[("task_id", "room_id")],
        mutually_exclusive=[("task_id", "room_id"), ("record_user_sig", "user_sig_key")],
        required_by={"room_id": ["record_user_id"]},
        required_if=[("state", "paused", ["task_id"]), ("state", "stopped", ["task_id"])],
    )


if __name__ == "__main__":
    main()
