# A copy of core/route.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""The way to a host: the proxy, and the certificate authorities that are trusted.

Defaults come from the environment by the rules of curl, and are checked before anything is sent.
No message repeats a proxy's address: it may contain a password.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import ssl
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import ConfigurationError
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import shown

_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_PROXY_HINT = (
    "Give http://host:port, with user:password@ if the proxy requires it; in these, write @ / # as "
    "%40 %2F %23."
)
# The file names that OpenSSL looks for in a folder.
_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")


@dataclass(frozen=True)
class Proxy:
    """A proxy's address, and the headers that it requires."""

    url: str
    headers: dict[str, str] | None = field(repr=False)


def find_proxy(url: str, given: str | None, *, use_environment: bool = True) -> Proxy | None:
    """Return the proxy on the way to a URL, if there is one.

    :param given: used instead of the environment's, whatever ``NO_PROXY`` is.
    :raises ConfigurationError: it is malformed, or of a kind that is not supported.
    """
    if given:
        return parse_proxy(given, "proxy")
    if not use_environment:
        return None
    parts = urlsplit(url)
    variables = {name.lower(): value for name, value in os.environ.items() if name.isupper()}
    # The lower-case name wins.
    variables.update({name: value for name, value in os.environ.items() if name.islower()})
    found = variables.get(f"{parts.scheme}_proxy") or variables.get("all_proxy")
    if not found or _is_direct(parts, variables.get("no_proxy") or ""):
        return None
    return parse_proxy(found, _variable_of(found))


def _is_direct(parts: SplitResult, no_proxy: str) -> bool:
    """Return whether ``NO_PROXY`` names a host: itself, its domain, or its network."""
    host = (parts.hostname or "").rstrip(".")
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    for entry in no_proxy.replace(",", " ").lower().split():
        name = entry.strip("[]").lstrip("*").lstrip(".").rstrip(".")
        if entry == "*" or name in (host, f"{host}:{parts.port}"):
            return True
        if address is not None:
            with contextlib.suppress(ValueError):
                if address in ip_network(name, strict=False):
                    return True
        elif name and host.endswith("." + name.rpartition(":")[0 if ":" in name else 2]):
            return True
    return False


def parse_proxy(value: object, name: str) -> Proxy:
    """Parse a proxy's URL; without a scheme it is http.

    :param name: what it was given as, for the message.
    :raises ConfigurationError: it is malformed, or of a kind that is not supported.
    """

    def malformed(why: str) -> ConfigurationError:
        return ConfigurationError(f"{name} is malformed: {why}.", hint=_PROXY_HINT)

    if not isinstance(value, str):
        raise malformed("it must be a string")
    text = value.strip()
    # Otherwise "localhost:3128" would have the scheme "localhost".
    text = text if "://" in text else "http://" + text.lstrip("/")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise malformed("its host is invalid") from None
    try:
        port = parts.port
    except ValueError:
        port = 0
    auth, _, _ = parts.netloc.rpartition("@")
    host = parts.hostname or ""
    # A password with a bare / # or ? ends the host early, and the rest looks like a path.
    has_more = parts.path not in ("", "/") or parts.query or parts.fragment
    usable = host.isascii() and host.isprintable() and not set(host) & set(" %@\\<>\"'`{}|^")
    if port == 0:
        raise malformed("its port must be a number from 1 to 65535")
    if not host or not usable:
        raise malformed("its host is missing or invalid")
    if has_more:
        raise malformed("something follows its host and port")
    if parts.scheme not in ("http", "https"):
        raise ConfigurationError(
            f"{name}: a proxy of this kind is not supported.", hint=_PROXY_HINT
        )
    where = f"[{host}]" if ":" in host else host
    return Proxy(
        f"{parts.scheme}://{where}" + ("" if port is None else f":{port}"), _authorization(auth)
    )


def _authorization(auth: str) -> dict[str, str] | None:
    if not auth:
        return None
    user, _, password = auth.partition(":")
    text = f"{unquote(user)}:{unquote(password)}"
    try:
        encoded = text.encode("latin-1")
    except UnicodeEncodeError:
        encoded = text.encode(errors="replace")
    return {"proxy-authorization": f"Basic {base64.b64encode(encoded).decode()}"}


def _variable_of(proxy: str) -> str:
    names = (name for name in os.environ if name.lower().endswith("_proxy"))
    found = sorted(name for name in names if os.environ[name] == proxy)
    return f"The proxy in {' or '.join(found)}" if found else "The environment's proxy"


def find_ca(given: str | None) -> dict[str, str]:
    """Return the certificate authorities to trust, as arguments of urllib3.

    They are the given ones, else those of ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE`` or
    ``SSL_CERT_FILE``, else certifi's; where that is not installed, the system's (empty).

    :raises ConfigurationError: there is no certificate.
    """
    if given:
        return check_ca(given, "ca_file")
    for name in _CA_VARIABLES:
        chosen = os.environ.get(name)
        if chosen:
            return check_ca(chosen, name)
    try:
        import certifi
    except ImportError:
        return {}
    return {"ca_certs": certifi.where()}


def check_ca(path: str, name: str) -> dict[str, str]:
    """Return a file or folder of certificates as arguments of urllib3.

    :param name: what it was given as, for the message.
    :raises ConfigurationError: it cannot be read, or there is no certificate in it.
    """
    try:
        kind = _kind_of(path)
    except ssl.SSLError:
        kind = None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is invalid"
        raise ConfigurationError(f"{name}: {shown(path)} cannot be read: {reason}.") from None
    if kind is not None:
        return {kind: path}
    if not os.path.exists(path):
        raise ConfigurationError(f"{name}: there is no file or folder {shown(path)}.")
    if os.path.isdir(path):
        raise ConfigurationError(
            f"{name}: the folder {shown(path)} holds no certificate under the name of its hash.",
            hint="Run openssl rehash on it, or name one file that holds all certificates.",
        )
    raise ConfigurationError(
        f"{name}: {shown(path)} holds no certificate.",
        hint="It begins with -----BEGIN CERTIFICATE-----.",
    )


def _kind_of(path: str) -> str | None:
    """Return urllib3's argument for it, or None where it holds no certificate."""
    if os.path.isdir(path):
        hashed = any(_HASHED.fullmatch(entry) for entry in os.listdir(path))
        return "ca_cert_dir" if hashed else None
    # Opening a pipe or a device would block.
    if not os.path.isfile(path):
        return None
    found = os.stat(path)
    return "ca_certs" if _holds_certificates(path, found.st_mtime_ns, found.st_size) else None


@lru_cache(maxsize=16)
def _holds_certificates(path: str, mtime_ns: int, size: int) -> bool:
    """Return whether a file holds any; cached, because a system's bundle takes a while to read."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=path)
    return context.cert_store_stats()["x509"] > 0
