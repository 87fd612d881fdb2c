# SPDX-License-Identifier: Apache-2.0
"""When a request may leave: one pace for an account, whichever process it leaves from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.quota.quota import Quota as Quota
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "quota": "Quota",
        },
    )
