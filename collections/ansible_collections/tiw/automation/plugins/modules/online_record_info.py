#!/usr/bin/python
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: online_record_info
short_description: Read, or wait for, recordings of the Interactive Whiteboard
version_added: 0.1.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Returns the state and the videos of real-time recordings of Tencent Cloud's Interactive
    Whiteboard (TIW) (C(DescribeOnlineRecord)). With O(wait=true) it waits until they have ended or
    are in a state of O(wait_for).
  - Give all recordings to one task instead of a C(loop). One process asks for a hundred of them,
    stays within the request limit of the account, and polls each as rarely as possible.
  - A recording that is missing or failed does not fail the task, unless O(fail_on) names it.
  - During a wait, a line shows the progress every O(progress_interval) seconds. With C(async) the
    wait runs in the background, without these lines.
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.info_module
  - tiw.automation._attributes.action_group
  - tiw.automation._attributes.async
  - tiw.automation._waiting
  - tiw.automation._waiting.acceptance
  - tiw.automation._account
  - tiw.automation._account.module
options:
  task_ids:
    description:
      - The C(TaskId) of each recording, as C(StartOnlineRecord) returned it. An id that is given
        twice counts once.
      - Every item must be a string. A number is an error; quote it, because YAML changes numbers
        such as V(0123) or V(1_000) before a module gets them.
      - One id, or several with commas between them, may be given without a list. There a number
        becomes a string.
      - In check mode it may also be an id that M(tiw.automation.online_record) returned in check
        mode for a recording that would be started. No request is sent for it. With O(wait=true)
        its state is the earliest one of O(wait_for), otherwise V(RECORDING). It has no videos.
    type: list
    elements: raw
    required: true
    aliases:
      - task_id
  wait_for:
    description:
      - The states that end the wait for a recording with O(wait=true).
      - The wait also ends, without success, when the recording can reach none of them any more. A
        recording that is V(STOPPED), for example, never becomes V(RECORDING) again.
    type: list
    elements: str
    choices:
      - PREPARED
      - RECORDING
      - PAUSED
      - STOPPED
      - FINISHED
    default:
      - FINISHED
  wait_delay:
    description:
      - How many seconds of O(wait_timeout) elapse before the first request.
    type: float
    default: 0
  progress_interval:
    description:
      - About how many seconds there are between two lines of progress. V(0) shows none.
      - The wait is cut into slices of that length. Each slice is a process that asks only for
        unfinished recordings. A slice is longer if O(wait_sleep) or the number of recordings
        requires it.
    type: float
    default: 30
  video_kinds:
    description:
      - The kinds of video in RV(video_urls). All kinds if this option is not given.
      - RV(records) always holds every video.
    type: list
    elements: str
    choices:
      - camera
      - screen_share
      - whiteboard
      - mixed
      - audio
      - unknown
  fail_on:
    description:
      - What fails the task, after it has asked for every recording. The failed task returns the
        results too.
      - V(missing) is a recording that does not exist, V(failed) one that failed, V(timeout) one
        that is in none of the states of O(wait_for) when the wait ends.
      - A recording without an answer of the API always fails the task.
    type: list
    elements: str
    choices:
      - missing
      - failed
      - timeout
    default:
      - timeout
seealso:
  - name: DescribeOnlineRecord
    description: The page of the API action that this module calls.
    link: https://www.tencentcloud.com/document/product/1176/53506
"""

EXAMPLES = r"""
- name: Read the states of two recordings
  tiw.automation.online_record_info:
    sdk_app_id: 1400000001
    task_ids:
      - ghucnligqtgtvk2624mb
      - hpucnligqtgtvk2624xz
  delegate_to: localhost
  register: lessons

- name: Wait until all have ended, at most two hours, and fail if one is not usable
  tiw.automation.online_record_info:
    task_ids: "{{ lesson_ids }}"
    wait: true
    wait_timeout: 7200
    fail_on:
      - missing
      - failed
      - timeout
  delegate_to: localhost
  register: lessons

- name: Download the videos
  ansible.builtin.get_url:
    url: "{{ item }}"
    dest: /srv/lessons/
    mode: "0644"
  loop: "{{ lessons.video_urls }}"

- name: Wait until the lesson is being recorded
  tiw.automation.online_record_info:
    task_id: ghucnligqtgtvk2624mb
    wait: true
    wait_for: RECORDING
    wait_timeout: 60
    wait_sleep: 1
  delegate_to: localhost

- name: Wait in the background
  tiw.automation.online_record_info:
    task_ids: "{{ lesson_ids }}"
    wait: true
    fail_on:
      - missing
      - failed
      - timeout
  delegate_to: localhost
  async: 4000
  poll: 0
  register: waiting

- name: Accept the videos of an aborted lesson
  tiw.automation.online_record_info:
    task_id: ghucnligqtgtvk2624mb
    accept_finish_reasons:
      - AUTO
      - USER_CALL
      - FORCE_STOP
      - EXCEPTION
    require_videos: false
  delegate_to: localhost

- name: Set the account once for all tasks
  module_defaults:
    group/tiw.automation.all:
      secret_id: "{{ vault_tencentcloud_secret_id }}"
      secret_key: "{{ vault_tencentcloud_secret_key }}"
      sdk_app_id: 1400000001
      site: intl
  delegate_to: localhost
  block:
    - name: Wait for the videos of the whiteboard
      tiw.automation.online_record_info:
        task_ids: "{{ lesson_ids }}"
        video_kinds:
          - whiteboard
        wait: true
        fail_on:
          - missing
          - failed
          - timeout
"""

RETURN = r"""
records:
  description:
    - What is known of each recording, in the order of O(task_ids), each once.
    - Each has every key. For a recording that is missing or failed, all keys except RV(records[].sdk_app_id),
      RV(records[].task_id), RV(records[].exists), RV(records[].verdict) and RV(records[].message) may be null or empty.
  returned: always, except when an option is invalid
  type: list
  elements: dict
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
video_urls:
  description:
    - The URLs of the videos of all recordings whose verdict is V(finished), in the order of
      O(task_ids). O(video_kinds) limits them.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample:
    - http://videos.example.com/ghucnligqtgtvk2624mb/1.mp4
all_finished:
  description: Whether the verdict of every recording is V(finished).
  returned: always, except when an option is invalid
  type: bool
  sample: true
pending:
  description: The ids of the recordings that have not ended.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample: []
missing:
  description: The ids of the recordings that do not exist.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample: []
failed_ids:
  description: The ids of the recordings that failed, or whose end is not accepted.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample: []
unreached:
  description:
    - The ids of the recordings that did not reach a state of O(wait_for). Empty with
      O(wait=false).
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample: []
errors:
  description:
    - The errors, by the id of the recording. A recording without an error has no entry.
    - Each holds RV(code), C(message), RV(request_id), C(action), RV(retryable) and RV(hint).
  returned: always, except when an option is invalid
  type: dict
  sample:
    hpucnligqtgtvk2624xz:
      action: DescribeOnlineRecord
      code: FailedOperation.Record
      hint: Start another one.
      message: "code: 40004, msg: 2019-09-23 10:31:47, im login failed"
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
from ansible_collections.tiw.automation.plugins.module_utils._waiting import ACCEPTANCE_ARGUMENTS


def main() -> None:
    run_module(
        run,
        {
            **INFO_ARGUMENTS,
            "wait_for": {
                "type": "list",
                "elements": "str",
                "choices": ["PREPARED", "RECORDING", "PAUSED", "STOPPED", "FINISHED"],
                "default": ["FINISHED"],
            },
            "video_kinds": {
                "type": "list",
                "elements": "str",
                "choices": ["camera", "screen_share", "whiteboard", "mixed", "audio", "unknown"],
            },
            **ACCEPTANCE_ARGUMENTS,
        },
    )


if __name__ == "__main__":
    main()
