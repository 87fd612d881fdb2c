# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a wait, and of which recordings are accepted. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until every recording is in one of the states of O(wait_for).
      - A passing fault (network, throttling, an error of the server) never ends a wait. But if the
        API has not answered at all, the task fails after three times O(timeout).
    type: bool
    default: false
  wait_timeout:
    description:
      - How many seconds to wait, for all recordings together.
      - The videos of a lesson appear some minutes after its end.
    type: float
    default: 3600
  wait_sleep:
    description:
      - The least number of seconds between two requests for the same recording. With many
        recordings O(requests_per_second) increases it.
    type: float
    default: 5
"""

    ACCEPTANCE = r"""
options:
  accept_finish_reasons:
    description:
      - The finish reasons that are accepted. With another reason the verdict of a recording is
        V(failed).
      - By default every reason except V(EXCEPTION) is accepted, also one that this collection does
        not know.
      - V(AUTO) is the end of a lesson after a time without activity, V(USER_CALL) a call of
        C(StopOnlineRecord), V(FORCE_STOP) the end of a recording that was paused for more than 90
        minutes or ran for more than 24 hours, V(EXCEPTION) an abnormal end. Other reasons are
        allowed.
    type: list
    elements: str
  require_videos:
    description:
      - Whether a finished recording without a video counts as failed.
    type: bool
    default: true
"""
