# A copy of core/archive/hosts.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""Where videos may come from.

A record's URL is text from outside. Without these rules, a false one could make this machine fetch
what only it can reach. So a name is checked, and then the address that the connection goes to.
"""

from __future__ import annotations

import os
import re
import socket
import unicodedata
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Union

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.errors import VideoHostRefused
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import ConfigurationError
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import escaped, shown

VARIABLE = "TIW_ARCHIVE_HOSTS"

_Address = Union[IPv4Address, IPv6Address]

# Inside Tencent's cloud these names resolve to 10.*, 100.* and 169.254.*.
_TENCENT = ("myqcloud.com", "tencentcos.cn")
# These give keys to every program on the machine that asks.
_METADATA_NAMES = ("metadata.tencentyun.com", "metadata.google.internal")
_NAT64 = ip_network("64:ff9b::/96")
_METADATA = frozenset(map(ip_address, ("169.254.169.254", "169.254.0.23", "fd00:ec2::254")))
_PATTERN = re.compile(r"(\*\.)?[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?|[0-9a-f:.]*:[0-9a-f:.]*")


class HostPolicy:
    """Decides which hosts a video may be downloaded from.

    By default names under ``myqcloud.com`` and ``tencentcos.cn`` may have any address but a
    loopback one, and every other name must have a public address. With ``hosts``, only these
    names are allowed, at any address. The metadata service of a cloud is never allowed.

    :param hosts: names such as ``videos.example.com``, ``*.example.com`` (any name below it) and
        ``127.0.0.1``; a list, or a text with commas. None: those of ``TIW_ARCHIVE_HOSTS``, else
        the default.
    :raises ConfigurationError: one is not a host's name.
    """

    def __init__(self, hosts: Iterable[str] | str | None = None) -> None:
        given = os.environ.get(VARIABLE) or None if hosts is None else hosts
        self._hosts = None if given is None else _checked(given)

    def check_name(self, host: str) -> None:
        """Check the name in a URL, before it is resolved.

        :raises VideoHostRefused: videos may not come from there.
        """
        name = _plain(host)
        if name in _METADATA_NAMES:
            raise _refused(host)
        if self._hosts is not None and not any(_matches(name, one) for one in self._hosts):
            allowed = f"allows only {', '.join(self._hosts)}" if self._hosts else "is empty"
            raise _refused(host, f"hosts {allowed}")
        address = _as_address(name)
        if address is not None:
            self.check_address(host, str(address))

    def check_address(self, host: str, address: str) -> None:
        """Check the address that a connection to a host goes to.

        :raises VideoHostRefused: videos may not come from there.
        """
        found = ip_address(address.partition("%")[0])
        if isinstance(found, IPv6Address):
            found = found.ipv4_mapped or found.sixtofour or _from_nat64(found) or found
        if found in _METADATA:
            raise _refused(host, f"{found} is a metadata service")
        if self._hosts is not None:
            return
        if _is_tencent(_plain(host)):
            allowed = not (found.is_loopback or found.is_unspecified or found.is_multicast)
        else:
            allowed = found.is_global and not found.is_multicast
        if not allowed:
            raise _refused(host, f"{found} is not a public address")

    def may_redirect(self, host: str, target: str) -> bool:
        """Return whether a redirect from one host to another is followed."""
        name = _plain(target)
        if self._hosts is not None:
            return any(_matches(name, one) for one in self._hosts)
        return name == _plain(host) or _is_tencent(name)


def _checked(hosts: object) -> tuple[str, ...]:
    names = hosts.split(",") if isinstance(hosts, str) else hosts
    hint = "Give names such as videos.example.com or *.example.com, without scheme and port."
    if not isinstance(names, Iterable) or isinstance(names, dict):
        raise ConfigurationError(f"hosts must be a list, not {shown(hosts)}.", hint=hint)
    found = []
    for name in names:
        plain = _plain(name) if isinstance(name, str) else ""
        if not plain and isinstance(hosts, str):
            continue
        if not _PATTERN.fullmatch(plain):
            raise ConfigurationError(f"hosts: {shown(name)} is not a host.", hint=hint)
        found.append(plain)
    return tuple(found)


def _plain(host: str) -> str:
    # As a resolver reads it: full-width digits and dots are digits and dots.
    return unicodedata.normalize("NFKC", host).strip().strip("[]").rstrip(".").lower()


def _matches(name: str, pattern: str) -> bool:
    if pattern.startswith("*."):
        return name.endswith(pattern[1:])
    return name == pattern


def _is_tencent(name: str) -> bool:
    return any(name == one or name.endswith(f".{one}") for one in _TENCENT)


def _as_address(name: str) -> _Address | None:
    """Return the address that a name is a spelling of, such as ``0xa9fea9fe``, or None."""
    try:
        return ip_address(name)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(name))
    except (OSError, UnicodeError):
        return None


def _from_nat64(address: IPv6Address) -> IPv4Address | None:
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None


def _refused(host: str, why: str = "") -> VideoHostRefused:
    reason = f": {why}" if why else ""
    return VideoHostRefused(f"A video may not come from the host {escaped(host, 100)}{reason}.")
