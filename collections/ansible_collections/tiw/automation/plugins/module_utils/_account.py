# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module of the collection shares: the settings, the client, the form of a failure.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import logging
import os
import typing as t
from urllib.parse import unquote

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import TiwClient, TiwError

# No env_fallback: the core reads the environment, so that a pair of keys comes whole from one
# place, the same in Ansible as everywhere else.
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
    # It may hold a password.
    "proxy": {"type": "str", "no_log": True},
}

_SECRET_VARIABLES = (
    "TENCENTCLOUD_SECRET_ID",
    "TENCENTCLOUD_SECRET_KEY",
    "TENCENTCLOUD_TOKEN",
    "TENCENTCLOUD_SECURITY_TOKEN",
    "TENCENTCLOUD_SESSION_TOKEN",
)
_URL_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "TIW_ENDPOINT", "TIW_QUOTA_URL")
# Ansible replaces a secret wherever it stands, also within a word. This is longer than every word
# by which a result is read (the longest is screen_share), so the short password of a proxy makes
# no result unreadable. No message of the core holds a password, of whatever length.
_LEAST_SECRET = 13


def hide_secrets(module: AnsibleModule) -> None:
    """Keep secrets that Ansible cannot know of, such as the environment's, out of all output."""
    for name in _SECRET_VARIABLES:
        _hide(module, os.environ.get(name))
    urls = [module.params["proxy"], module.params["endpoint"]]
    for name in _URL_VARIABLES:
        urls += [os.environ.get(name), os.environ.get(name.lower())]
    for url in urls:
        password = _password(url or "")
        _hide(module, password)
        _hide(module, unquote(password))


def _password(url: str) -> str:
    """Return the password in a URL as it stands there, also in one that is malformed."""
    user_and_password, at, _host = url.rpartition("@")
    _scheme, _slashes, user_and_password = user_and_password.rpartition("://")
    _user, _colon, password = user_and_password.partition(":")
    return password if at else ""


def _hide(module: AnsibleModule, value: str | None) -> None:
    if value and len(value) >= _LEAST_SECRET:
        module.no_log_values.add(value)


def new_client(module: AnsibleModule) -> TiwClient:
    """Return a client with the settings of the task; the core finds what is left out.

    :raises ConfigurationError: a setting makes no sense.
    """
    from tiw_automation.core import TiwClient

    logger = logging.getLogger("tiw_automation")
    warnings = _AsWarnings(module)
    logger.addHandler(warnings)
    try:
        return TiwClient(**{name: module.params[name] for name in ACCOUNT_ARGUMENTS})
    finally:
        logger.removeHandler(warnings)
        # What is logged later is for the programs that read logs; here it would go to stderr.
        logger.addHandler(logging.NullHandler())
        # But for what is odd about a recording or about the reasons that are accepted.
        for name in ("fields", "records"):
            logger.getChild(f"core.{name}").addHandler(warnings)


def fail_with(module: AnsibleModule, error: TiwError, **found: t.Any) -> t.NoReturn:
    """Fail the task with an error of the core, and with everything found so far."""
    module.fail_json(
        msg=str(error),
        code=error.code,
        request_id=error.request_id,
        hint=error.hint,
        retryable=error.retryable,
        **found,
    )


class _AsWarnings(logging.Handler):
    """Turns warnings of the core into Ansible's."""

    def __init__(self, module: AnsibleModule) -> None:
        super().__init__(logging.WARNING)
        self.module = module

    def emit(self, record: logging.LogRecord) -> None:
        self.module.warn(record.getMessage())
