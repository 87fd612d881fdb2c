# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that wait, and which end is good. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until every recording is in one of the states of O(wait_for).
      - A fault on the way (network, throttling, an error of the server) never ends a wait. Only
        at the beginning, as long as the API has not answered at all, the task gives up after
        three times O(timeout).
    type: bool
    default: false
  wait_timeout:
    description:
      - How many seconds to wait, for all recordings together.
      - After a lesson has ended its videos take some minutes to appear.
    type: float
    default: 3600
  wait_sleep:
    description:
      - The least number of seconds between two requests for the same recording. With many
        recordings O(requests_per_second) makes it longer.
    type: float
    default: 5
"""

    ACCEPTANCE = r"""
options:
  accept_finish_reasons:
    description:
      - The reasons for its end with which a finished recording counts as good. With any other
        reason its verdict is V(failed).
      - If it is not given, every reason but V(EXCEPTION) is good, also one that this collection
        does not know.
      - V(AUTO) is the end of a lesson in which nothing happened any more, V(USER_CALL) a call of
        C(StopOnlineRecord), V(FORCE_STOP) the end of one that was paused for more than 90 minutes
        or ran for more than 24 hours, V(EXCEPTION) an abnormal end. Others may be named as well.
    type: list
    elements: str
  require_videos:
    description:
      - Whether a recording that has finished without a video counts as failed.
    type: bool
    default: true
"""
