# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The callback address of an application, without its secrets.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t
from urllib.parse import urlsplit

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

_LEAST_SECRET = 6


def shown(url: str | None) -> str:
    """Return an address without what may be secret in it; an empty string for None."""
    from tiw_automation.core.formatting import shown_url

    return shown_url(url or "")


def hide_query(module: AnsibleModule, url: str | None) -> None:
    """Mask the query and the password of an address in all output."""
    try:
        parts = urlsplit(url or "")
        secrets = (parts.query, parts.password)
    except ValueError:
        return
    # A short one may occur in any word, and Ansible masks it there too.
    module.no_log_values.update(s for s in secrets if s and len(s) >= _LEAST_SECRET)


def callback_dict(sdk_app_id: int, url: str | None, key: str | None) -> dict[str, t.Any]:
    """Return the address and whether a key is set, without secrets."""
    return {"sdk_app_id": sdk_app_id, "url": shown(url) or None, "key_is_set": bool(key)}
