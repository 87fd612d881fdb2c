# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a module supports, such as check mode. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying
      the target.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in
      C(check_mode)), when in diff mode.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second
      invocation indicates no change.
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module changes nothing. In check mode it does the same and also waits.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    support: full
    details:
      - This module changes nothing.
"""

    WRITING_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - It reads the real state, returns what it would change, and writes nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
"""

    ASYNC = r"""
options: {}
attributes:
  async:
    description: Supports being used with the C(async) keyword.
    support: full
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/tiw.automation.all) in C(module_defaults) to set defaults for this
      module.
    support: full
    membership:
      - tiw.automation.all
"""
