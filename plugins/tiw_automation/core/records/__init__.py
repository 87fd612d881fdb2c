# SPDX-License-Identifier: Apache-2.0
"""What a recording is, and what an answer means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.checks import (
        check_sdk_app_id as check_sdk_app_id,  # for the collection 0.1
    )
    from tiw_automation.core.records.outcome import (
        ANY_END as ANY_END,
        DEFAULT_ACCEPTANCE as DEFAULT_ACCEPTANCE,
    )
    from tiw_automation.core.records.record import (
        public_record as public_record,
    )
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            ".checks": "check_sdk_app_id",
            "outcome": "ANY_END DEFAULT_ACCEPTANCE",
            "record": "public_record",
        },
    )
