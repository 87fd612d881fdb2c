# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of modules that wait. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Whether to wait until every recording has ended.
      - A fault on the way (network, throttling, an error of the server) never ends a wait. Only
        at the beginning, as long as the API has not answered at all, the task gives up after
        three times O(timeout).
    type: bool
    default: false
  wait_timeout:
    description:
      - How many seconds to wait for all recordings together.
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
