# SPDX-License-Identifier: Apache-2.0
"""Temporary keys: from STS, for keys or for a pod's token, and from a cloud server's metadata."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

from .clock import Clock
from .errors import ApiFault
from .signature import Account

VERSION = "2018-08-13"
WEB_IDENTITY = "AssumeRoleWithWebIdentity"
"""What a pod on TKE calls, with a token in place of a signature."""
ACTIONS = ("AssumeRole", WEB_IDENTITY)
DEFAULT_LIFETIME_S = 7200
METADATA_PATH = "/latest/meta-data/cam/security-credentials"
METADATA_RENEWAL_S = 600
"""How long before their end a cloud server gets new keys, seconds."""


class TemporaryKeys:
    """Hands out keys that work until they expire; not safe to use from several threads at once.

    :param accounts: where valid keys are kept
    :param clock: by which they expire, UNIX seconds
    """

    def __init__(self, accounts: dict[str, Account], clock: Clock) -> None:
        self._accounts = accounts
        self._clock = clock
        self._metadata: dict[str, Any] | None = None
        self.web_identity_token: str | None = None
        """The token of the pod that may assume roles, if there is one."""

    def assume_role(self, parameters: dict[str, Any], secret_id: str | None) -> dict[str, Any]:
        """Return the answer to AssumeRole without its RequestId.

        :param parameters: checked
        :param secret_id: who calls; the new keys use the same quota
        """
        keys = self._issue(parameters.get("DurationSeconds", DEFAULT_LIFETIME_S), secret_id)
        times = {name: keys.pop(name) for name in ("ExpiredTime", "Expiration")}
        return {"Credentials": keys, **times}

    def assume_role_with_web_identity(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to AssumeRoleWithWebIdentity without its RequestId.

        :param parameters: checked
        """
        token = self.web_identity_token or ""
        given = str(parameters["WebIdentityToken"])
        if not token or not secrets.compare_digest(given.encode(), token.encode()):
            raise ApiFault("InvalidParameter.ParamError", "The WebIdentityToken is invalid.")
        return self.assume_role(parameters, None)

    def of_the_server(self) -> dict[str, Any]:
        """Return the keys in the metadata: the same ones until they nearly expire."""
        shown = self._metadata
        if shown is None or shown["ExpiredTime"] - self._clock() < METADATA_RENEWAL_S:
            shown = self._metadata = {**self._issue(DEFAULT_LIFETIME_S, None), "Code": "Success"}
        return shown

    def _issue(self, lifetime_s: int, owner: str | None) -> dict[str, Any]:
        # They begin as Tencent's do, and are as long.
        secret_id = f"AKID{secrets.token_hex(16)}"
        secret_key = secrets.token_hex(16)
        token = secrets.token_urlsafe(48)
        expires_at = int(self._clock()) + lifetime_s
        if owner is not None:
            owner = self._accounts[owner].owner or owner
        self._accounts[secret_id] = Account(secret_key, token, expires_at, owner)
        expiration = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "TmpSecretId": secret_id,
            "TmpSecretKey": secret_key,
            "Token": token,
            "ExpiredTime": expires_at,
            "Expiration": expiration,
        }
