# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the progress of a wait of the module of the same name, as that of recordings does."""

from __future__ import annotations

from ansible_collections.tiw.automation.plugins.action.online_record_info import (
    ActionModule as _RecordAction,
)
from ansible_collections.tiw.automation.plugins.module_utils._report import TASKS


class ActionModule(_RecordAction):
    """Runs the module once, or in slices if it waits."""

    form = TASKS
