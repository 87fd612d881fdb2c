# SPDX-License-Identifier: Apache-2.0
"""One call of the API: client, settings, keys, transport, and what an action takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiw_automation.core._lazy import lazy_names

if TYPE_CHECKING:
    from tiw_automation.core.api.callback_settings import (
        PLAIN_HTTP as PLAIN_HTTP,
        SHORTEST_KEY as SHORTEST_KEY,
        check_callback_key as check_callback_key,
        check_callback_url as check_callback_url,
        is_plain_http as is_plain_http,
    )
    from tiw_automation.core.api.callbacks import (
        ANSWER as ANSWER,
        MAX_BODY_BYTES as MAX_BODY_BYTES,
        check_signed as check_signed,
        warn_if_weak as warn_if_weak,
    )
    from tiw_automation.core.api.options import (
        SETTINGS as SETTINGS,
        read_options as read_options,
    )
    from tiw_automation.core.api.running_tasks import (
        RunningListUnavailable as RunningListUnavailable,
        check_lists_running as check_lists_running,
    )
    from tiw_automation.core.api.sites import site_of as site_of
else:
    __getattr__, __all__ = lazy_names(
        __name__,
        {
            "callback_settings": """
                PLAIN_HTTP SHORTEST_KEY check_callback_key check_callback_url is_plain_http
            """,
            "callbacks": "ANSWER MAX_BODY_BYTES check_signed warn_if_weak",
            "options": "SETTINGS read_options",
            "running_tasks": "RunningListUnavailable check_lists_running",
            "sites": "site_of",
        },
    )
