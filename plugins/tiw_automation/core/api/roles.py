# SPDX-License-Identifier: Apache-2.0
"""Temporary keys: of the instance's CAM role, and of roles that are assumed at STS."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tiw_automation.core.api.credentials import (
    Credentials,
    CredentialSource,
    RenewedKeys,
    whole_keys,
)
from tiw_automation.core.api.key_files import text_of
from tiw_automation.core.api.sites import site_of
from tiw_automation.core.api.transport import Answer, Transport
from tiw_automation.core.checks import as_number
from tiw_automation.core.errors import CredentialsError, TiwError, TransportError
from tiw_automation.core.headers import http_date

if TYPE_CHECKING:
    from tiw_automation.core.api.sdk import StsSdkClient

METADATA_URL = "http://metadata.tencentyun.com"
METADATA_TIMEOUT_S = 2.0
"""Outside Tencent's cloud nothing answers there, and a client must not wait for it long."""

# The names that CAM allows.
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
_ROLE_PATH = "/latest/meta-data/cam/security-credentials/"
_STS_TIMEOUT_S = 10.0
_ROLE_DURATION_S = 7200


class InstanceRole(RenewedKeys):
    """The CAM role of the instance that this process runs on.

    :param url: of the metadata service.
    :param timeout_s: how long to look for the role, in seconds.
    :raises CredentialsError: the instance has no role.
    :raises TransportError: nothing answers there.
    """

    def __init__(self, url: str = METADATA_URL, *, timeout_s: float = METADATA_TIMEOUT_S) -> None:
        super().__init__()
        self.url = url
        # Never through a proxy: it would give the keys of its own instance.
        self._transport = Transport(url, use_environment=False, pool_size=1)
        self.role: str = self._get(_ROLE_PATH, min(timeout_s, METADATA_TIMEOUT_S)).strip()
        if not _ROLE_NAME.fullmatch(self.role):
            raise CredentialsError(f"{url} names no CAM role for this instance.")

    @property
    def identity(self) -> str:
        return f"CAM role {self.role}"

    def fetch(self) -> Credentials:
        text = self._get(_ROLE_PATH + quote(self.role, safe=""), METADATA_TIMEOUT_S)
        try:
            data = json.loads(text)
        except (ValueError, RecursionError):
            data = None
        return temporary_keys(data, f"CAM role {self.role} of this instance")

    def _get(self, path: str, timeout_s: float) -> str:
        deadline = time.monotonic() + timeout_s
        try:
            answer = self._transport.exchange("GET", path, None, {}, deadline)
        except TiwError as error:
            error.message = f"This instance's metadata: {error.message}"
            raise
        self.saw_server_time(http_date(answer.headers.get("Date", "")))
        if answer.status_code != 200:
            raise self._refusal(path, answer)
        return answer.content.decode(errors="replace")

    def _refusal(self, path: str, answer: Answer) -> TiwError:
        message = f"This instance's metadata: {self.url}{path} answered {answer.status_code}."
        if answer.status_code == 429 or answer.status_code >= 500:
            return TransportError(message, code=f"Http{answer.status_code}")
        return CredentialsError(message)


@dataclass(frozen=True, slots=True)
class Sts:
    """Where the Security Token Service is, and the way to it.

    :param url: scheme and host.
    """

    url: str
    proxy: str | None = None
    ca_file: str | None = None


class _StsRole(RenewedKeys):
    """A role that is assumed at the Security Token Service."""

    def __init__(self, role_arn: str, session_name: str, region: str, sts: Sts) -> None:
        super().__init__()
        self.role_arn = role_arn
        self.session_name = session_name
        self.region = region
        self.url: str = sts.url
        self._transport = Transport(sts.url, proxy=sts.proxy, ca_file=sts.ca_file, pool_size=1)

    def _assume(
        self, action: str, keys: Credentials | None, with_what: str, **params: str
    ) -> Mapping[str, Any]:
        """Return the answer of an action that assumes the role, its ``Credentials`` unpacked.

        :param keys: None where the action is not signed.
        :param with_what: what the role is assumed with, for messages.
        """
        client = self._client(keys)
        given = {
            "RoleArn": self.role_arn,
            "RoleSessionName": self.session_name,
            "DurationSeconds": _ROLE_DURATION_S,
            **params,
        }
        try:
            response = client.respond(action, given, _STS_TIMEOUT_S)
        except TiwError as error:
            error.action = action
            where = f"This happened while assuming {self.role_arn} with {with_what}."
            error.hint = f"{where} {error.hint or ''}".strip()
            raise
        self.saw_server_time(client.answered_at)
        found = response.get("Credentials")
        return {**found, **response} if isinstance(found, Mapping) else response

    def _client(self, keys: Credentials | None) -> StsSdkClient:
        # Imported here, so that a client without a role does not load the SDK for it.
        from tiw_automation.core.api.sdk import StsSdkClient

        scheme, _, host = self.url.partition("://")
        return StsSdkClient(
            scheme=scheme,
            host=host,
            region=self.region,
            keys=None if keys is None else lambda _: keys.get_credential_info(),
            transport=self._transport,
        )


class AssumedRole(_StsRole):
    """A role that is assumed with the keys of another source (AssumeRole).

    :param base: gives the keys that assume it.
    """

    def __init__(self, base: CredentialSource, role_arn: str, session_name: str, sts: Sts) -> None:
        region = site_of(sts.url.partition("://")[2]).region
        super().__init__(role_arn, session_name, region, sts)
        self.base = base

    @property
    def identity(self) -> str:
        return self.base.identity

    def fetch(self) -> Credentials:
        used = self.base.current(_STS_TIMEOUT_S)
        found = self._assume("AssumeRole", used, f"the keys from {used.source}")
        return temporary_keys(found, f"role {self.role_arn}")


class WebIdentityRole(_StsRole):
    """The role of a pod on TKE, assumed with the pod's own token (AssumeRoleWithWebIdentity).

    It needs no key. The token's file is read for each renewal, because Kubernetes replaces it.

    :param token_file: holds the token that TKE puts into the pod.
    """

    def __init__(
        self,
        role_arn: str,
        provider_id: str,
        token_file: str,
        region: str,
        session_name: str,
        sts: Sts,
    ) -> None:
        super().__init__(role_arn, session_name, region, sts)
        self.provider_id = provider_id
        self.token_file: Path = Path(token_file)

    @property
    def identity(self) -> str:
        return f"CAM role {self.role_arn}"

    def fetch(self) -> Credentials:
        token = (text_of(self.token_file) or "").strip()
        if not token:
            raise CredentialsError(
                f"TKE_WEB_IDENTITY_TOKEN_FILE: there is no token in {self.token_file}.",
                hint="Check the pod's service account and its projected volume.",
            )
        found = self._assume(
            "AssumeRoleWithWebIdentity",
            None,
            "the token of this pod",
            ProviderId=self.provider_id,
            WebIdentityToken=token,
        )
        return temporary_keys(found, f"role {self.role_arn} of this pod")


def temporary_keys(data: object, source: str) -> Credentials:
    """Return the keys of an answer of STS or the metadata service.

    :raises CredentialsError: they are incomplete.
    """
    if not isinstance(data, Mapping) or data.get("Code", "Success") != "Success":
        raise CredentialsError(f"The {source} gave no keys.")
    values = {
        "secret_id": data.get("TmpSecretId"),
        "secret_key": data.get("TmpSecretKey"),
        "token": data.get("Token"),
    }
    ends = as_number(data.get("ExpiredTime"))
    if ends is None or not all(values.values()):
        raise CredentialsError(f"The {source} gave an incomplete set of temporary keys.")
    return replace(whole_keys(source, values), expires_at=ends)
