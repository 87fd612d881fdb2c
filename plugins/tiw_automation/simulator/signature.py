# SPDX-License-Identifier: Apache-2.0
"""Verification of TC3-HMAC-SHA256, the signature of Tencent Cloud API 3.0.

Pure functions: what was received and the time go in; nothing comes out, or an
:class:`~tiw_automation.simulator.errors.ApiFault` with the code that Tencent's gateway uses.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from .errors import ApiFault

ALGORITHM = "TC3-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
MAX_SKEW_S = 300
"""How far the client's clock may be from the server's, in seconds."""

_AUTHORIZATION = re.compile(
    ALGORITHM + r"\s+"
    r"Credential=(?P<secret_id>[^/,\s]+)/(?P<date>\d{4}-\d{2}-\d{2})"
    r"/(?P<service>[^/,\s]+)/tc3_request\s*,\s*"
    r"SignedHeaders=(?P<signed_headers>[A-Za-z0-9;_-]+)\s*,\s*"
    r"Signature=(?P<signature>[0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class Account:
    """Who may call: the key of one SecretId and, for temporary keys, their token."""

    secret_key: str
    token: str | None = None


@dataclass(frozen=True, slots=True)
class Authorization:
    """The parts of an ``Authorization`` header."""

    secret_id: str
    date: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str

    @classmethod
    def parse(cls, header: str) -> Authorization:
        """Take the header apart; malformed ones raise ``AuthFailure.InvalidAuthorization``."""
        match = _AUTHORIZATION.fullmatch(header.strip())
        if match is None:
            raise ApiFault(
                "AuthFailure.InvalidAuthorization",
                "The Authorization header is missing or malformed. Only the signature method "
                f"{ALGORITHM} is supported here.",
            )
        names = tuple(match["signed_headers"].lower().split(";"))
        if not {"content-type", "host"} <= set(names):
            raise ApiFault(
                "AuthFailure.InvalidAuthorization",
                "SignedHeaders must contain `content-type` and `host`.",
            )
        return cls(match["secret_id"], match["date"], match["service"], names, match["signature"])


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """What the signature covers, as it was received.

    :param headers: a case-insensitive mapping
    :param query: the query string, still percent-encoded
    """

    method: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def sign(secret_key: str, date: str, service: str, string_to_sign: str) -> str:
    """Return the signature in lower-case hex."""
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


def string_to_sign(
    request: SignedRequest, authorization: Authorization, timestamp: int, host: str
) -> str:
    """Return the string that both sides sign, with ``host`` as the value of the host header."""
    values = {name: request.headers.get(name, "") for name in authorization.signed_headers}
    values["host"] = host
    headers = "".join(f"{name}:{value.strip().lower()}\n" for name, value in values.items())
    payload = b"" if request.method == "GET" else request.body
    if request.headers.get("X-TC-Content-SHA256") == UNSIGNED_PAYLOAD:
        payload = UNSIGNED_PAYLOAD.encode()
    canonical_request = "\n".join(
        (
            request.method,
            "/",
            request.query if request.method == "GET" else "",
            headers,
            ";".join(authorization.signed_headers),
            hashlib.sha256(payload).hexdigest(),
        )
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    scope = f"{authorization.date}/{authorization.service}/tc3_request"
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


def verify(request: SignedRequest, accounts: Mapping[str, Account], now: float) -> Authorization:
    """Return who sent ``request``, or raise the fault that it is answered with.

    In this order: the header's form, the SecretId, the clock, the signature, the token.
    The service in the credential's scope is not compared with ``tiw``: clients that take it from
    the host name sign ``127``.

    :param now: the server's clock, UNIX seconds
    """
    authorization = Authorization.parse(request.headers.get("Authorization", ""))
    account = accounts.get(authorization.secret_id)
    if account is None:
        raise ApiFault(
            "AuthFailure.SecretIdNotFound",
            "The SecretId is not found, please ensure that your SecretId is correct.",
        )
    timestamp = _timestamp(request.headers.get("X-TC-Timestamp"))
    if abs(now - timestamp) > MAX_SKEW_S:
        raise ApiFault(
            "AuthFailure.SignatureExpire",
            f"The timestamp of the request, `{timestamp}`, differs from the server's time, "
            f"`{int(now)}`, by more than {MAX_SKEW_S} seconds. Please check your system time.",
        )
    if authorization.date != datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d") or not any(
        hmac.compare_digest(
            authorization.signature,
            sign(
                account.secret_key,
                authorization.date,
                authorization.service,
                string_to_sign(request, authorization, timestamp, host),
            ),
        )
        for host in _hosts(request.headers.get("Host", ""))
    ):
        raise ApiFault(
            "AuthFailure.SignatureFailure",
            "The provided credentials could not be validated. "
            "Please check your signature is correct.",
        )
    token = request.headers.get("X-TC-Token", "")
    if not hmac.compare_digest(token.encode(), (account.token or "").encode()):
        raise ApiFault("AuthFailure.TokenFailure", "The token is wrong or has expired.")
    return authorization


def _timestamp(header: str | None) -> int:
    if header is None:
        raise ApiFault(
            "MissingParameter", "The request is missing a required parameter `X-TC-Timestamp`."
        )
    if not re.fullmatch(r"\d{1,12}", header, re.ASCII):
        raise ApiFault(
            "InvalidParameterValue",
            f"The value `{header}` of `X-TC-Timestamp` is no UNIX timestamp in seconds.",
        )
    return int(header)


def _hosts(header: str) -> Iterator[str]:
    # The Node SDK sends the port but signs without it.
    yield header
    host, colon, port = header.rpartition(":")
    if colon and port.isdigit():
        yield host
