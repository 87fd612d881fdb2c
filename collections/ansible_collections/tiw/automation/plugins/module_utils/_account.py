# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The account options of every module, and the secrets in them that Ansible does not know.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import os
import typing as t
from urllib.parse import unquote

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import shown_url

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# No env_fallback: the core reads the environment, so that both keys of a pair come from the same
# place, in Ansible as everywhere else.
ACCOUNT_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "secret_id": {"type": "str", "no_log": True},
    "secret_key": {"type": "str", "no_log": True},
    "token": {"type": "str", "no_log": True},
    "profile": {"type": "str"},
    "role_arn": {"type": "str"},
    "sdk_app_id": {"type": "int"},
    "site": {"type": "str", "choices": ["cn", "intl"]},
    "region": {"type": "str"},
    "endpoint": {"type": "str"},
    "allow_http": {"type": "bool"},
    "requests_per_second": {"type": "float"},
    "timeout": {"type": "float"},
    "ca_file": {"type": "path"},
    # They may hold a password.
    "proxy": {"type": "str", "no_log": True},
    "quota_url": {"type": "str", "no_log": True},
}

_SECRET_VARIABLES = (
    "TENCENTCLOUD_SECRET_ID",
    "TENCENTCLOUD_SECRET_KEY",
    "TENCENTCLOUD_TOKEN",
    "TENCENTCLOUD_SECURITY_TOKEN",
    "TENCENTCLOUD_SESSION_TOKEN",
)
_URL_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "TIW_ENDPOINT", "TIW_QUOTA_URL")
# Ansible masks a secret wherever it occurs, also inside a word. This is longer than each key and
# constant of a result (the longest is screen_share), so a short password of a proxy does not make
# results unreadable. No message of the core holds a password of any length.
_LEAST_SECRET = 13


def hide_secrets(module: AnsibleModule) -> None:
    """Mask secrets in all output that Ansible cannot know, such as those of the environment."""
    for name in _SECRET_VARIABLES:
        _hide(module, os.environ.get(name))
    urls = [module.params[name] for name in ("proxy", "endpoint", "quota_url")]
    for name in _URL_VARIABLES:
        urls += [os.environ.get(name), os.environ.get(name.lower())]
    for url in urls:
        password = _password(url or "")
        _hide(module, password)
        _hide(module, unquote(password))


def without_queries(found: t.Any) -> t.Any:
    """Return options in which no URL has a query or a user: either may be a secret."""
    if isinstance(found, dict):
        return {name: without_queries(value) for name, value in found.items()}
    if isinstance(found, list):
        return [without_queries(value) for value in found]
    return shown_url(found) if isinstance(found, str) and "://" in found else found


def _password(url: str) -> str:
    """Return the password in a URL exactly as written, also if the URL is malformed."""
    user_and_password, at, _host = url.rpartition("@")
    _scheme, _slashes, user_and_password = user_and_password.rpartition("://")
    _user, _colon, password = user_and_password.partition(":")
    return password if at else ""


def _hide(module: AnsibleModule, value: str | None) -> None:
    if value and len(value) >= _LEAST_SECRET:
        module.no_log_values.add(value)
