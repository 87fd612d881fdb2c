#!/usr/bin/python
# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
---
module: online_record_archive
short_description: Copy the videos of recordings to a folder, before Tencent deletes them
version_added: 0.2.0
author:
  - The tiw-automation contributors (@tiw-automation)
description:
  - Copies the videos of recordings of Tencent Cloud's Interactive Whiteboard (TIW) to a folder of
    the host, and stores a manifest for each recording. Tencent deletes the videos of its public
    bucket three days after the recording.
  - A video appears under its name when it is complete and on the disk. An interrupted copy is
    continued by the next run. A video that the manifest knows, in the size that the folder has, is
    not requested again, also after Tencent has deleted it.
  - A video that cannot be copied does not keep the others from being copied. The task fails at the
    end and names each that failed.
  - With O(records) the host needs no Python package and no account, and Python 3.9 is enough. With
    O(task_ids) the host asks the API first, so it needs the package C(tiw-automation) and the
    account.
  - The tasks of the core, of Airflow and of the command line store the same archive; several of
    them may use one folder.
  - A line shows the progress every O(progress_interval) seconds. With C(async) the copying runs in
    the background, without these lines.
extends_documentation_fragment:
  - tiw.automation._attributes
  - tiw.automation._attributes.writing_module
  - tiw.automation._attributes.action_group
  - tiw.automation._attributes.async
  - tiw.automation._waiting.acceptance
  - tiw.automation._account
  - tiw.automation._account.module
options:
  task_ids:
    description:
      - The C(TaskId) of each recording, a list or a text with commas. Exactly one of O(task_ids) and
        O(records) is required.
    type: list
    elements: raw
    aliases:
      - task_id
  records:
    description:
      - The recordings as RV(tiw.automation.online_record_info#module:records) returns them.
      - One whose C(verdict) is not V(finished) is not archived, see O(skip_bad).
    type: list
    elements: dict
  folder:
    description:
      - The folder of the archive. It is created where it is missing. Every spelling of a folder is
        the same archive.
      - Below it no symbolic link is followed, and only regular files are opened.
    type: path
    required: true
  names:
    description:
      - The pattern of the names of the videos, with keys in braces. It contains C({task_id}), and
        C({video_id}) or C({index}).
      - The keys are C(sdk_app_id), C(task_id), C(room_id), C(group_id), C(record_user_id),
        C(start_date), C(video_id), C(index), C(kind), C(format), C(user_id), C(play_time_ms),
        C(duration_ms), C(width) and C(height).
    type: str
    default: "{task_id}/{kind}-{video_id}.{format}"
  manifest:
    description:
      - The pattern of the names of the manifests. It contains C({task_id}).
    type: str
    default: "{task_id}/manifest.json"
  video_kinds:
    description:
      - The kinds of video to copy. All kinds if this option is not given.
    type: list
    elements: str
    choices:
      - camera
      - screen_share
      - whiteboard
      - mixed
      - audio
      - unknown
  mode:
    description:
      - The permissions of the videos and manifests, as in M(ansible.builtin.file). New files have
        V(0640) by default. If this option is given, files that are there already get them too.
    type: raw
  directory_mode:
    description:
      - The permissions of the folders. New folders have V(0750) by default.
    type: raw
  owner:
    description:
      - The user that files and folders belong to.
    type: str
  group:
    description:
      - The group that files and folders belong to.
    type: str
  hosts:
    description:
      - The hosts that videos may come from, such as V(videos.example.com) or V(*.example.com).
        Redirects are followed only between them.
      - By default these are the names of Tencent's storage under C(myqcloud.com) and
        C(tencentcos.cn), and every name with a public address. The addresses of this machine and
        of its network must be named. The metadata service of a cloud is never allowed.
      - In the environment of the module E(TIW_ARCHIVE_HOSTS), with commas between the names.
    type: list
    elements: str
  max_bytes:
    description:
      - The most bytes of one video. V(0) is no limit. The default is 64 GiB.
    type: int
    default: 68719476736
  overwrite:
    description:
      - Whether to replace a file that is not known to be the video, or is another one.
    type: bool
    default: false
  verify_size:
    description:
      - Whether to refuse a video of another size than the record states.
    type: bool
    default: true
  max_workers:
    description:
      - How many videos are copied at once.
    type: int
    default: 4
  video_timeout:
    description:
      - How many seconds a server may take to answer, and then to send each further 64 KiB.
    type: float
    default: 60
  attempts:
    description:
      - How many requests for a video in a row may fail without 1 MiB of progress.
    type: int
    default: 6
  skip_bad:
    description:
      - Whether recordings that are missing, failed or have not ended are left out. Otherwise they
        fail the task, after all others were archived.
    type: bool
    default: false
  progress_interval:
    description:
      - How many seconds there are between two lines of progress. V(0) shows none.
    type: float
    default: 30
seealso:
  - module: tiw.automation.online_record_info
"""

EXAMPLES = r"""
- name: Wait for the lessons of a day
  tiw.automation.online_record_info:
    task_ids: "{{ lesson_ids }}"
    wait: true
  delegate_to: localhost
  register: lessons

- name: Keep their videos on the file server, which needs no package and no account
  tiw.automation.online_record_archive:
    records: "{{ lessons.records }}"
    folder: /srv/lessons
    owner: lessons
    group: lessons

- name: Keep only the whiteboard, in one folder a day
  tiw.automation.online_record_archive:
    records: "{{ lessons.records }}"
    folder: /srv/lessons
    names: "{start_date}/{task_id}-{index:03d}.{format}"
    manifest: "{start_date}/{task_id}.manifest.json"
    video_kinds:
      - whiteboard

- name: Copy from your own bucket behind a CDN, at most 10 GB a video
  tiw.automation.online_record_archive:
    task_ids: ghucnligqtgtvk2624mb
    folder: ~/lessons
    hosts:
      - videos.example.com
    max_bytes: 10000000000
  delegate_to: localhost
"""

RETURN = r"""
folder:
  description: The folder of the archive, as an absolute path.
  returned: success
  type: str
  sample: /srv/lessons
files:
  description: Every video that is in the archive, in the order of the recordings. In check mode every
    video that would be.
  returned: always, except when an option is invalid
  type: list
  elements: dict
  contains:
    path:
      description: The path of the file.
      type: str
      returned: always
      sample: /srv/lessons/ghucnligqtgtvk2624mb/whiteboard-v1.mp4
    name:
      description: Its name in the folder.
      type: str
      returned: always
      sample: ghucnligqtgtvk2624mb/whiteboard-v1.mp4
    task_id:
      description: The recording.
      type: str
      returned: always
      sample: ghucnligqtgtvk2624mb
    video_id:
      description: The API's id of the video.
      type: str
      returned: always
      sample: v1
    kind:
      description: What the video shows.
      type: str
      returned: always
      sample: whiteboard
    source_url:
      description: Where it came from, without its query.
      type: str
      returned: always
      sample: https://online-recording-1259648581.file.myqcloud.com/1400000001/v1.mp4
    size_bytes:
      description: Its size in bytes. In check mode that of the record, null where it is unknown.
      type: int
      returned: always
      sample: 104857600
    sha256:
      description: Its SHA-256, null in check mode.
      type: str
      returned: always
      sample: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
    copied:
      description: Whether this task copied it. In check mode whether it would.
      type: bool
      returned: always
      sample: true
paths:
  description: The paths of RV(files).
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample:
    - /srv/lessons/ghucnligqtgtvk2624mb/whiteboard-v1.mp4
manifests:
  description: The path of the manifest of each recording.
  returned: always, except when an option is invalid
  type: list
  elements: str
  sample:
    - /srv/lessons/ghucnligqtgtvk2624mb/manifest.json
bytes_copied:
  description: How many bytes this task copied. In check mode how many it would copy, as far as it is
    known.
  returned: always, except when an option is invalid
  type: int
  sample: 104857600
failures:
  description: By the name that the video would have, the error of each video that could not be copied,
    with C(code), C(message), C(hint) and C(retryable).
  returned: always, except when an option is invalid
  type: dict
  sample: {}
bad:
  description: The recordings that were not archived because they are missing, failed or have not
    ended, each with C(task_id) and C(message).
  returned: always, except when an option is invalid
  type: list
  elements: dict
  sample: []
code:
  description: The code of the first error.
  returned: failure
  type: str
  sample: Video.Gone
request_id:
  description: The id of the request that failed, which Tencent Cloud's support asks for.
  returned: failure
  type: str
  sample: 9a7d5b54-77b3-40f0-9a5f-d7e1ba8ab7e1
hint:
  description: How to correct the error.
  returned: failure
  type: str
  sample: Tencent deletes the videos in its public bucket three days after the recording.
retryable:
  description: Whether the same task may succeed later without a change.
  returned: failure
  type: bool
  sample: false
"""

from ansible_collections.tiw.automation.plugins.module_utils._archive import (
    ARCHIVE_ARGUMENTS,
    ARCHIVE_RULES,
    run,
)
from ansible_collections.tiw.automation.plugins.module_utils._module import end_module, new_module


def main() -> None:
    module = new_module(ARCHIVE_ARGUMENTS, **ARCHIVE_RULES)
    end_module(module, run(module))


if __name__ == "__main__":
    main()
