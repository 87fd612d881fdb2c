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
  - Asks Tencent Cloud's Interactive Whiteboard (TIW) for the state and the videos of real-time
    recordings (C(DescribeOnlineRecord)), and with O(wait=true) waits until they have ended.
  - Give all recordings to one task instead of a C(loop). A hundred of them are one process, which
    keeps to the request limit of the account and asks for each only as often as it must.
  - A recording that is missing or has failed is a result, not an error, unless O(fail_on) says
    otherwise.
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.info_module
  - tiw.automation._attributes.action_group
  - tiw.automation._waiting
  - tiw.automation._account
options:
  task_ids:
    description:
      - The C(TaskId) of each recording, as C(StartOnlineRecord) returned it. One that is given
        twice is asked for once.
      - Every item has to be a string. A number is an error and has to be quoted, because YAML
        changes numbers such as V(0123) or V(1_000) before a module sees them.
      - A single id, or several with commas between them, may be given without a list. A number
        there has become a string before the module sees it.
    type: list
    elements: raw
    required: true
    aliases:
      - task_id
  accept_finish_reasons:
    description:
      - The reasons for its end with which a finished recording counts as good. With any other
        reason its verdict is V(failed).
      - V(AUTO) is the end of a lesson in which nothing happened any more, V(USER_CALL) a call of
        C(StopOnlineRecord), V(FORCE_STOP) the end of one that was paused for more than 90 minutes
        or ran for more than 24 hours, V(EXCEPTION) an abnormal end.
    type: list
    elements: str
    choices:
      - AUTO
      - USER_CALL
      - EXCEPTION
      - FORCE_STOP
    default:
      - AUTO
      - USER_CALL
      - FORCE_STOP
  require_videos:
    description:
      - Whether a recording that has finished without a video counts as failed.
    type: bool
    default: true
  video_kinds:
    description:
      - Which videos RV(video_urls) holds. All of them if this option is not given.
      - RV(records) holds every video whatever is chosen here.
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
      - What makes the task fail, after every recording was asked for. The results are in the
        failed task all the same.
      - V(missing) is a recording that does not exist, V(failed) one that failed, V(timeout) one
        that has not ended within O(wait_timeout).
      - An answer that could not be had always fails the task.
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
- name: See how two recordings are doing
  tiw.automation.online_record_info:
    sdk_app_id: 1400000001
    task_ids:
      - ghucnligqtgtvk2624mb
      - hpucnligqtgtvk2624xz
  delegate_to: localhost
  register: lessons

- name: Wait until all have ended, for two hours at most, and fail if one is not usable
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

- name: Take what an aborted lesson has left
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
"""

RETURN = r"""
records:
  description:
    - What is known of each recording, in the order asked, each once.
    - Every key is always there. For a recording that is missing or has failed all but RV(records[].sdk_app_id),
      RV(records[].task_id), RV(records[].exists), RV(records[].verdict) and RV(records[].message) may be null or empty.
  returned: always, except when an option makes no sense
  type: list
  elements: dict
  contains:
    exists:
      description: Whether the recording exists, null where no answer could be had.
      type: bool
      returned: always
      sample: true
    verdict:
      description:
        - What the answer means. V(pending) is a recording that has not ended, V(finished) one that
          has ended well, V(failed) one that failed or ended in a way that is not accepted,
          V(missing) one that does not exist, V(unknown) one for which no answer could be had.
      type: str
      returned: always
      sample: finished
    message:
      description: The verdict and its reason in a sentence.
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
          description: The place of the pause in the video, in milliseconds.
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
          description: Where the video can be downloaded.
          type: str
          returned: always
          sample: http://videos.example.com/ghucnligqtgtvk2624mb/1.mp4
        format:
          description: The format of the file.
          type: str
          returned: always
          sample: mp4
        type:
          description: What the video shows, as the number that the API gives.
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
          description: Where the video begins on the common time line, in milliseconds.
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
      description: The URL of every video that has one, in the order of the API.
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
      description: The URL of the replay, where one was made.
      type: str
      returned: always
      sample: null
    interrupts:
      description: How often the stream of each user broke.
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
          description: How often the stream broke.
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
    - The URLs of the videos of all recordings whose verdict is V(finished), in the order asked, as
      far as O(video_kinds) wants them.
  returned: always, except when an option makes no sense
  type: list
  elements: str
  sample:
    - http://videos.example.com/ghucnligqtgtvk2624mb/1.mp4
all_finished:
  description: Whether the verdict of every recording is V(finished).
  returned: always, except when an option makes no sense
  type: bool
  sample: true
pending:
  description: The ids of the recordings that have not ended.
  returned: always, except when an option makes no sense
  type: list
  elements: str
  sample: []
missing:
  description: The ids of the recordings that do not exist.
  returned: always, except when an option makes no sense
  type: list
  elements: str
  sample: []
failed_ids:
  description: The ids of the recordings that failed, or ended in a way that is not accepted.
  returned: always, except when an option makes no sense
  type: list
  elements: str
  sample: []
polls:
  description: The number of requests that were sent.
  returned: always, except when an option makes no sense
  type: int
  sample: 2
elapsed:
  description: The seconds it took to ask and to wait.
  returned: always, except when an option makes no sense
  type: float
  sample: 0.4
code:
  description: The error code of Tencent Cloud, or one of this collection.
  returned: failure
  type: str
  sample: AuthFailure.SecretIdNotFound
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: What to do about it.
  returned: failure
  type: str
  sample: Check sdk_app_id; it is shown in the TIW console.
"""

import asyncio
import time
import typing as t
from contextlib import aclosing

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tiw.automation.plugins.module_utils._account import (
    ACCOUNT_ARGUMENTS,
    fail_with,
    hide_secrets,
    new_client,
)
from ansible_collections.tiw.automation.plugins.module_utils._core import require_core

if t.TYPE_CHECKING:
    from tiw_automation.core import Outcome, TiwClient, TiwError

# How many calls may end in an error before the API has to have answered once.
_CALLS_WITHOUT_ANSWER = 3
_PROBLEMS_IN_MESSAGE = 10


class Request:
    """The options of the task, checked."""

    def __init__(self, params: dict[str, t.Any], client: TiwClient) -> None:
        from tiw_automation.core import (
            Acceptance,
            ConfigurationError,
            check_task_ids,
            check_video_kinds,
        )

        self.client = client
        self.sdk_app_id = client.sdk_app_id()
        self.task_ids = check_task_ids(params["task_ids"])
        self.acceptance = Acceptance(
            accept_finish_reasons=tuple(params["accept_finish_reasons"]),
            require_videos=params["require_videos"],
        )
        self.video_kinds = check_video_kinds(params["video_kinds"])
        self.fail_on = set(params["fail_on"])
        self.wait: bool = params["wait"]
        self.wait_timeout: float = params["wait_timeout"]
        self.wait_sleep: float = params["wait_sleep"]
        if not 0 < self.wait_timeout < float("inf"):
            raise ConfigurationError(
                f"wait_timeout has to be a number of seconds above zero, not {self.wait_timeout}.",
                hint="Set wait to false to ask once.",
            )
        if not 0 <= self.wait_sleep < float("inf"):
            raise ConfigurationError(
                f"wait_sleep has to be a number of seconds, zero or more, not {self.wait_sleep}."
            )


class Findings:
    """What is known so far."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.outcomes: dict[str, Outcome] = {}
        # Why there is no answer at all, as long as there is none.
        self.trouble: TiwError | None = None
        self.answered = False
        self.polls = 0
        self.started = time.monotonic()

    def hear(self, outcome: Outcome) -> None:
        """Take note of an outcome, final or not."""
        if outcome.record is not None or outcome.is_final:
            self.answered = True
        elif outcome.verdict == "unknown":
            self.trouble = outcome.error

    def ids(self, verdict: str) -> list[str]:
        """Return the ids with a verdict, in the order asked."""
        return [
            task_id
            for task_id in self.request.task_ids
            if task_id in self.outcomes and self.outcomes[task_id].verdict == verdict
        ]

    def to_result(self) -> dict[str, t.Any]:
        """Return the result of the task."""
        good = [self.outcomes[task_id].record for task_id in self.ids("finished")]
        videos = [v for record in good if record for v in record.select(self.request.video_kinds)]
        return {
            "changed": False,
            "records": [self._record(task_id) for task_id in self.request.task_ids],
            "video_urls": [video.url for video in videos if video.url],
            "all_finished": len(good) == len(self.request.task_ids),
            "pending": self.ids("pending"),
            "missing": self.ids("missing"),
            "failed_ids": self.ids("failed"),
            "polls": self.polls,
            "elapsed": round(time.monotonic() - self.started, 3),
        }

    def _record(self, task_id: str) -> dict[str, t.Any]:
        from tiw_automation.core import OnlineRecord

        outcome = self.outcomes.get(task_id)
        record = outcome.record if outcome else None
        if record is None:
            error = outcome.error if outcome else None
            record = OnlineRecord(
                self.request.sdk_app_id, task_id, request_id=error.request_id if error else None
            )
        if outcome is None:
            verdict, message = "unknown", "The task stopped before there was an answer."
        else:
            verdict, message = outcome.verdict.value, outcome.message
        exists: bool | None = verdict != "missing"
        if verdict in ("pending", "unknown") and record.status is None:
            exists = None
        return {**record.to_dict(), "exists": exists, "verdict": verdict, "message": message}


async def ask(request: Request, found: Findings) -> TiwError | None:
    """Ask for every recording, or wait for it; return the error that made it pointless, if any.

    An error before the first answer of any recording (wrong keys, wrong endpoint) would be the
    same for all of them, so it ends the task at once.
    """
    from tiw_automation.core import RecordWatcher, TransportError

    watcher = RecordWatcher(request.client)
    patience = _CALLS_WITHOUT_ANSWER * request.client.settings.timeout_s
    try:
        async with asyncio.timeout(patience if request.wait else None) as first_answer:

            def hear(outcome: Outcome) -> None:
                found.hear(outcome)
                if found.answered:
                    first_answer.reschedule(None)

            async with aclosing(_outcomes(watcher, request, hear)) as outcomes:
                async for outcome in outcomes:
                    found.outcomes[outcome.task_id] = outcome
                    hear(outcome)
                    if outcome.verdict == "unknown" and not found.answered:
                        break
    except TimeoutError:
        silence = TransportError(f"The API did not answer within {patience:g} s.")
        found.trouble = found.trouble or silence
    finally:
        found.polls = watcher.polls
    return None if found.answered else found.trouble


def _outcomes(watcher: t.Any, request: Request, hear: t.Callable[[Outcome], None]) -> t.Any:
    if not request.wait:
        return watcher.describe(request.task_ids, acceptance=request.acceptance)
    return watcher.watch(
        request.task_ids,
        timeout=request.wait_timeout,
        acceptance=request.acceptance,
        poll_interval=request.wait_sleep,
        on_change=hear,
    )


def problems(found: Findings) -> list[tuple[str, Outcome]]:
    """Return what makes the task fail, in the order asked: each with the word for it."""
    request = found.request
    words = {"unknown": "unknown"}
    words.update({word: word for word in ("missing", "failed") if word in request.fail_on})
    if request.wait and "timeout" in request.fail_on:
        words["pending"] = "timeout"
    outcomes = [found.outcomes[task_id] for task_id in request.task_ids]
    return [
        (words[outcome.verdict.value], outcome)
        for outcome in outcomes
        if outcome.verdict.value in words
    ]


def fail_on_problems(module: AnsibleModule, found: Findings) -> None:
    """Fail the task if a recording is in a state that ``fail_on`` names."""
    bad = problems(found)
    if not bad:
        return
    named = [f"{o.task_id} ({word}): {o.message}" for word, o in bad[:_PROBLEMS_IN_MESSAGE]]
    if len(bad) > len(named):
        named.append(f"and {len(bad) - len(named)} more, see records")
    error = next((outcome.error for _word, outcome in bad if outcome.error), None)
    module.fail_json(
        msg=f"{len(bad)} of {len(found.request.task_ids)} recordings: {'; '.join(named)}",
        code=error.code if error else None,
        request_id=error.request_id if error else None,
        hint=error.hint if error else None,
        **found.to_result(),
    )


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "task_ids": {
                "type": "list",
                "elements": "raw",
                "required": True,
                "aliases": ["task_id"],
            },
            "wait": {"type": "bool", "default": False},
            "wait_timeout": {"type": "float", "default": 3600},
            "wait_sleep": {"type": "float", "default": 5},
            "accept_finish_reasons": {
                "type": "list",
                "elements": "str",
                "choices": ["AUTO", "USER_CALL", "EXCEPTION", "FORCE_STOP"],
                "default": ["AUTO", "USER_CALL", "FORCE_STOP"],
            },
            "require_videos": {"type": "bool", "default": True},
            "video_kinds": {
                "type": "list",
                "elements": "str",
                "choices": ["camera", "screen_share", "whiteboard", "mixed", "audio", "unknown"],
            },
            "fail_on": {
                "type": "list",
                "elements": "str",
                "choices": ["missing", "failed", "timeout"],
                "default": ["timeout"],
            },
            **ACCOUNT_ARGUMENTS,
        },
        supports_check_mode=True,
    )
    hide_secrets(module)
    require_core(module)

    from tiw_automation.core import TiwError

    try:
        request = Request(module.params, new_client(module))
    except TiwError as error:
        fail_with(module, error)
    found = Findings(request)
    fatal = asyncio.run(ask(request, found))
    if fatal is not None:
        fail_with(module, fatal, **found.to_result())
    fail_on_problems(module, found)
    module.exit_json(**found.to_result())


if __name__ == "__main__":
    main()
