# SPDX-License-Identifier: Apache-2.0
"""Verification of both signatures of Tencent Cloud API 3.0: TC3-HMAC-SHA256 and the older v1.

Pure functions: they get the request and the time, and return the SecretId, or an
:class:`~tiw_automation.simulator.errors.ApiFault` with the code that Tencent's gateway uses.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from .errors import ApiFault, missing

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
_V1_DIGESTS = {"HmacSHA1": "sha1", "HmacSHA256": "sha256"}


@dataclass(frozen=True, slots=True)
class Account:
    """The keys of a caller.

    :param secret_key: the key of one SecretId
    :param token: what requests with temporary keys must carry
    :param expires_at: when they expire, UNIX seconds
    :param owner: the SecretId whose quota they use, where it is another one
    """

    secret_key: str
    token: str | None = None
    expires_at: float | None = None
    owner: str | None = None


class Authorization(NamedTuple):
    """The parts of an ``Authorization`` header."""

    secret_id: str
    date: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str

    @classmethod
    def parse(cls, header: str) -> Authorization:
        """Parse the header; a malformed one raises ``AuthFailure.InvalidAuthorization``."""
        match = _AUTHORIZATION.fullmatch(header.strip())
        if match is None:
            raise ApiFault(
                "AuthFailure.InvalidAuthorization",
                "The Authorization header is missing or malformed. Only the signature method "
                f"{ALGORITHM} is supported here.",
            )
        secret_id, date, service, signed, signature = match.groups()
        names = tuple(signed.lower().split(";"))
        if "content-type" not in names or "host" not in names:
            raise ApiFault(
                "AuthFailure.InvalidAuthorization",
                "SignedHeaders must contain `content-type` and `host`.",
            )
        return cls(secret_id, date, service, names, signature)


class SignedRequest(NamedTuple):
    """What the signature covers, as it was received.

    :param headers: a case-insensitive mapping
    :param query: the query string, still percent-encoded
    """

    method: str
    query: str
    headers: Mapping[str, str]
    body: bytes


def sign(secret_key: str, date: str, service: str, string_to_sign: str) -> str:
    """Return a TC3 signature in lower-case hex."""
    key = _signing_key(secret_key, date, service)
    return hmac.digest(key, string_to_sign.encode(), "sha256").hex()


@lru_cache(maxsize=1024)
def _signing_key(secret_key: str, date: str, service: str) -> bytes:
    key = f"TC3{secret_key}".encode()
    for part in (date, service, "tc3_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def string_to_sign(
    request: SignedRequest, authorization: Authorization, timestamp: int, host: str
) -> str:
    """Return the string that both sides sign, with ``host`` as the value of the host header."""
    headers = ""
    for name in authorization.signed_headers:
        value = host if name == "host" else request.headers.get(name, "")
        headers += f"{name}:{value.strip().lower()}\n"
    payload = b"" if request.method == "GET" else request.body
    if request.headers.get("X-TC-Content-SHA256") == UNSIGNED_PAYLOAD:
        payload = UNSIGNED_PAYLOAD.encode()
    query = request.query if request.method == "GET" else ""
    canonical_request = (
        f"{request.method}\n/\n{query}\n{headers}\n{';'.join(authorization.signed_headers)}\n"
        f"{hashlib.sha256(payload).hexdigest()}"
    )
    digest = hashlib.sha256(canonical_request.encode()).hexdigest()
    scope = f"{authorization.date}/{authorization.service}/tc3_request"
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{digest}"


def verify(request: SignedRequest, accounts: Mapping[str, Account], now: float) -> str:
    """Return the SecretId that signed with TC3, or raise the fault to answer with.

    In this order: the header's form, the SecretId, the clock, the signature, the token.
    The service in the credential's scope is not compared with ``tiw``: clients that take it from
    the host name sign ``127``.

    :param now: the server's clock, UNIX seconds
    """
    authorization = Authorization.parse(request.headers.get("Authorization", ""))
    account = _account(accounts, authorization.secret_id)
    timestamp = _timestamp(request.headers.get("X-TC-Timestamp"), "X-TC-Timestamp", now)
    if authorization.date != _date(timestamp // 86400):
        raise _wrong_signature()
    for host in _hosts(request.headers.get("Host", "")):
        text = string_to_sign(request, authorization, timestamp, host)
        wanted = sign(account.secret_key, authorization.date, authorization.service, text)
        if hmac.compare_digest(authorization.signature, wanted):
            break
    else:
        raise _wrong_signature()
    _check_token(account, request.headers.get("X-TC-Token", ""), now)
    return authorization.secret_id


def sign_v1(secret_key: str, method: str, host: str, parameters: Mapping[str, str]) -> str:
    """Return a v1 signature in base64.

    :param parameters: all that is sent but ``Signature``, decoded; they name the digest
    """
    digest = _V1_DIGESTS[parameters.get("SignatureMethod", "HmacSHA1")]
    pairs = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters))
    text = f"{method}{host}/?{pairs}"
    return base64.b64encode(hmac.digest(secret_key.encode(), text.encode(), digest)).decode()


def verify_v1(
    request: SignedRequest,
    parameters: Mapping[str, str],
    accounts: Mapping[str, Account],
    now: float,
) -> str:
    """Return the SecretId that signed with v1, or raise the fault to answer with.

    :param parameters: those of the query or the form, decoded
    :param now: the server's clock, UNIX seconds
    """
    for name in ("SecretId", "Timestamp", "Nonce", "Signature"):
        if not parameters.get(name):
            raise missing(name)
    account = _account(accounts, parameters["SecretId"])
    _timestamp(parameters["Timestamp"], "Timestamp", now)
    method = parameters.get("SignatureMethod", "HmacSHA1")
    if method not in _V1_DIGESTS:
        raise ApiFault(
            "InvalidParameterValue",
            f"The value `{method}` of `SignatureMethod` is not one of {', '.join(_V1_DIGESTS)}.",
        )
    signed = {name: value for name, value in parameters.items() if name != "Signature"}
    if not any(
        hmac.compare_digest(
            parameters["Signature"].encode(),
            sign_v1(account.secret_key, request.method, host, signed).encode(),
        )
        for host in _hosts(request.headers.get("Host", ""))
    ):
        raise _wrong_signature()
    _check_token(account, parameters.get("Token", ""), now)
    return parameters["SecretId"]


@lru_cache(maxsize=64)
def _date(day: int) -> str:
    return datetime.fromtimestamp(day * 86400, UTC).strftime("%Y-%m-%d")


def _account(accounts: Mapping[str, Account], secret_id: str) -> Account:
    account = accounts.get(secret_id)
    if account is None:
        raise ApiFault(
            "AuthFailure.SecretIdNotFound",
            "The SecretId is not found, please ensure that your SecretId is correct.",
        )
    return account


def _timestamp(text: str | None, name: str, now: float) -> int:
    if not text:
        raise missing(name)
    if not text.isascii() or not text.isdigit() or len(text) > 11:
        raise ApiFault(
            "InvalidParameterValue",
            f"The value `{text}` of `{name}` is not a UNIX timestamp in seconds.",
        )
    timestamp = int(text)
    if abs(now - timestamp) > MAX_SKEW_S:
        raise ApiFault(
            "AuthFailure.SignatureExpire",
            f"The timestamp of the request, `{timestamp}`, differs from the server's time, "
            f"`{int(now)}`, by more than {MAX_SKEW_S} seconds. Please check your system time.",
        )
    return timestamp


def _wrong_signature() -> ApiFault:
    return ApiFault(
        "AuthFailure.SignatureFailure",
        "The provided credentials could not be validated. Please check your signature is correct.",
    )


def _check_token(account: Account, token: str, now: float) -> None:
    expired = account.expires_at is not None and now >= account.expires_at
    if expired or not hmac.compare_digest(token.encode(), (account.token or "").encode()):
        raise ApiFault("AuthFailure.TokenFailure", "The token is wrong or has expired.")


def _hosts(header: str) -> Iterator[str]:
    # The Node SDK sends the port but signs without it.
    yield header
    host, colon, port = header.rpartition(":")
    if colon and port.isdigit():
        yield host
