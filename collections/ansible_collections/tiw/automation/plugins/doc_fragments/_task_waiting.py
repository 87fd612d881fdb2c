# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a wait for tasks of any kind. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until every task is in one of the states of O(wait_for).
      - A passing fault (network, throttling, an error of the server) never ends a wait.
    type: bool
    default: false
  wait_timeout:
    description:
      - How many seconds to wait, for all tasks together.
    type: float
    default: 3600
  wait_sleep:
    description:
      - The least number of seconds between two requests for the same task. With many tasks
        O(requests_per_second) increases it.
    type: float
    default: 5
  accept_finish_reasons:
    description:
      - The finish reasons that are accepted. With another reason the verdict of a push or a recording
        is V(failed). Tasks of other kinds have none.
      - By default every reason except V(EXCEPTION) is accepted, also one that this collection does
        not know.
    type: list
    elements: str
  require_urls:
    description:
      - Whether a finished task without a result counts as failed. These are a V(transcode), a
        V(video_generation) and a recording. The other kinds may have none.
    type: bool
    default: true
"""
