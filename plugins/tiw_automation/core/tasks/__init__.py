# SPDX-License-Identifier: Apache-2.0
"""What can be waited for: the states of a task, and the ones that a wait is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.tasks.until import check_until as check_until
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "until": "check_until",
        },
    )
