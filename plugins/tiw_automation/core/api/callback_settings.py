# SPDX-License-Identifier: Apache-2.0
"""Where an application's callbacks go, and the key that signs them.

:mod:`~tiw_automation.core.api.callbacks` reads what is posted.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tiw_automation.core.api.endpoints import is_loopback
from tiw_automation.core.errors import ConfigurationError

LONGEST_KEY = 64
"""The most characters of a callback key."""
SHORTEST_KEY = 16
"""The fewest characters of a callback key that is set."""


@dataclass(frozen=True, slots=True)
class CallbackSettings:
    """The address of an application's callbacks, and their key; None where nothing is set."""

    url: str | None
    key: str | None = field(default=None, repr=False)


def check_callback_url(url: str | None) -> str:
    """Return the address of callbacks; an empty string for None.

    :raises ConfigurationError: it is not an http:// or https:// URL.
    """
    if url is None or url == "":
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        parts.port  # noqa: B018  # raises for a port that is not a number
    except (ValueError, AttributeError, TypeError):
        usable = False
    if not usable or not url.isprintable() or any(sign.isspace() for sign in url):
        # The URL is not shown: its query may hold a secret.
        raise ConfigurationError(
            "The callback's URL is malformed.", hint="Give http:// or https:// with a host."
        )
    return url


def is_plain_http(url: str) -> bool:
    """Return whether others can read callbacks to this address, and use their signatures."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.netloc.rpartition("@")[2])


PLAIN_HTTP = (
    "The callbacks' address is plain http: anyone who sees a callback in transit can forge others "
    "until its signature ends. Give an https:// address."
)
"""The warning for an address of which :func:`is_plain_http` is true."""


def new_callback_key() -> str:
    """Return a new random key for callbacks: 43 letters, digits, ``-`` and ``_``."""
    return secrets.token_urlsafe(32)


def check_callback_key(key: str | None) -> str:
    """Return the key to sign callbacks with; an empty string for None.

    :raises ConfigurationError: it has fewer than 16 characters or more than 64, or is not a text.
    """
    if not key:
        return ""
    check_key_text(key)
    if len(key) > LONGEST_KEY:
        raise ConfigurationError(
            f"A callback key must have at most {LONGEST_KEY} characters, not {len(key)}."
        )
    if len(key) < SHORTEST_KEY:
        raise ConfigurationError(
            f"A callback key must have at least {SHORTEST_KEY} characters, not {len(key)}.",
            hint="One callback is enough to find a short one by trial. tiw_automation.core."
            "new_callback_key() makes a good one.",
        )
    return key


def check_key_text(key: object) -> None:
    """Refuse a key that is not a text.

    :raises ConfigurationError: it is not, or has lone surrogates.
    """
    try:
        if isinstance(key, str) and key.encode():
            return
    except UnicodeEncodeError:
        pass
    # The key is not shown: it is a secret.
    raise ConfigurationError(
        "A callback key must be a text of whole Unicode characters.",
        hint="tiw_automation.core.new_callback_key() makes a good one.",
    )
