# SPDX-License-Identifier: Apache-2.0
"""The address of a service: its form, and where keys may go without TLS."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import escaped, shown

_HINT = (
    "Give a host, host:port or a full http(s):// URL without a path, such as http://127.0.0.1:8787."
)
_HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?\.?", re.IGNORECASE | re.ASCII)


def parse_endpoint(value: object, name: str = "endpoint") -> tuple[str, str]:
    """Return the scheme and the host, with its port where one was given.

    :param name: what the value was given as, for the message.
    :raises ConfigurationError: it is malformed, or contains a user or a password.
    """
    if not isinstance(value, str):
        raise ConfigurationError(f"{name} must be a string, not {shown(value)}.", hint=_HINT)
    text = value.strip()
    if "@" in text:
        # The value is not repeated: it may hold a password.
        raise ConfigurationError(f"{name}: it must not contain a user or a password.", hint=_HINT)
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host, port = parts.hostname or "", parts.port
        if ":" in host:
            ipaddress.IPv6Address(host)
    except ValueError as error:
        raise ConfigurationError(
            f"{name}: {shown(value)} is malformed ({escaped(error, 100)}).", hint=_HINT
        ) from None
    if (
        parts.scheme not in ("http", "https")
        or not (":" in host or _HOST_NAME.fullmatch(host))
        or parts.path not in ("", "/")
        or parts.query
        or parts.fragment
        or port == 0
    ):
        raise ConfigurationError(f"{name}: {shown(value)} is malformed.", hint=_HINT)
    name = f"[{host}]" if ":" in host else host
    return parts.scheme, name if port is None else f"{name}:{port}"


def check_scheme(scheme: str, host: str, name: str, *, allow_http: bool) -> None:
    """Refuse plain http to another machine, where others could read keys and answers.

    :raises ConfigurationError: it is not allowed.
    """
    if scheme == "http" and not allow_http and not is_loopback(host):
        raise ConfigurationError(
            f"{name}: http://{host} is another machine, and plain http is not encrypted.",
            hint="Use https://, or set allow_http (TIW_ALLOW_HTTP) where you trust the network.",
        )


def is_loopback(host: str) -> bool:
    """Return whether a host, port or not, is this machine: 127.0.0.0/8, ::1 or localhost."""
    name = urlsplit(f"//{host}").hostname or ""
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
