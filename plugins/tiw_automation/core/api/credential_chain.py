# SPDX-License-Identifier: Apache-2.0
"""The order in which keys are looked for.

Id, key and token come whole from the first source that holds either key. A pair is never completed
from another source: half of one account and half of another only shows as a signature failure. In
order:

1. the arguments,
2. the files of an explicit ``profile``,
3. the environment,
4. ``~/.tccli/<profile>.credential``, the file of Tencent's command line, in another folder with
   ``TENCENTCLOUD_SHARED_CREDENTIALS_DIR``,
5. ``~/.tencentcloud/credentials``, then ``/etc/tencentcloud/credentials``, the SDK's file,
6. the role of the pod that this process runs in, on TKE (``TKE_ROLE_ARN``, ``TKE_PROVIDER_ID``,
   ``TKE_REGION``, ``TKE_WEB_IDENTITY_TOKEN_FILE``),
7. the CAM role of the instance that this process runs on.

With a ``role_arn``, the keys that were found assume that role (STS AssumeRole).

An unreadable file counts as missing unless it was named; where no keys are found, the error names
it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tiw_automation.core.api.credentials import (
    CredentialSource,
    FileKeys,
    FixedKeys,
    whole_keys,
)
from tiw_automation.core.api.endpoints import parse_endpoint
from tiw_automation.core.api.key_files import (
    UnreadableFile,
    home_folder,
    json_object,
    named_profile,
    read_ini,
    read_tccli,
    tccli_path,
    text_of,
)
from tiw_automation.core.api.roles import (
    METADATA_TIMEOUT_S,
    METADATA_URL,
    AssumedRole,
    InstanceRole,
    Sts,
    WebIdentityRole,
)
from tiw_automation.core.api.sites import SITES
from tiw_automation.core.errors import ConfigurationError, CredentialsError, TiwError
from tiw_automation.core.formatting import escaped, shown
from tiw_automation.core.locks import ProcessLock

_ID_VARIABLE, _KEY_VARIABLE = "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"
_TOKEN_VARIABLES = (
    "TENCENTCLOUD_TOKEN",
    "TENCENTCLOUD_SECURITY_TOKEN",
    "TENCENTCLOUD_SESSION_TOKEN",
)
_ROLE_VARIABLES = ("TENCENTCLOUD_ROLE_ARN", "TENCENTCLOUD_ASSUME_ROLE_ARN")
_SESSION_VARIABLES = ("TENCENTCLOUD_ROLE_SESSION_NAME", "TENCENTCLOUD_ASSUME_ROLE_SESSION_NAME")
_POD_VARIABLES = (
    "TKE_ROLE_ARN",
    "TKE_PROVIDER_ID",
    "TKE_WEB_IDENTITY_TOKEN_FILE",
    "TKE_REGION",
)
_SYSTEM_FILE = Path("/etc/tencentcloud/credentials")
_SESSION_NAME = "tiw-automation"

_Source = TypeVar("_Source", bound=CredentialSource)
_shared: dict[Hashable, Any] = {}
_shared_lock = ProcessLock()


def _share(key: Hashable, make: Callable[[], _Source]) -> _Source:
    """Return this process's one source for a key, so that its clients fetch the keys once."""
    with _shared_lock:
        known: _Source | None = _shared.get(key)
    if known is not None:
        return known
    # Not under the lock: it may call a service that does not answer.
    made = make()
    with _shared_lock:
        source: _Source = _shared.setdefault(key, made)
    return source


def find_credentials(
    *,
    secret_id: str | None = None,
    secret_key: str | None = None,
    token: str | None = None,
    profile: str | None = None,
    role_arn: str | None = None,
    environ: Mapping[str, str],
    home: Path | None = None,
    sts_url: str = SITES["cn"].sts_url,
    proxy: str | None = None,
    ca_file: str | None = None,
    timeout_s: float = METADATA_TIMEOUT_S,
) -> CredentialSource:
    """Return the first source that holds keys.

    :param environ: the environment to read, usually ``os.environ``.
    :param home: the home directory, the user's by default.
    :param sts_url: where roles are assumed.
    :param timeout_s: how long to look for an instance's role at most, in seconds.
    :raises CredentialsError: no source holds a key, one holds half a pair, a key has blanks or
        quotes, or an explicit profile does not exist; the message names the places and what was
        found there.
    :raises ConfigurationError: the name of the profile or of the role is malformed.
    :raises TransportError: the profile names the instance's role, and the metadata service cannot
        be reached.
    """
    search = _Search(environ, home, timeout_s, Sts(sts_url, proxy, ca_file))
    base = (
        search.arguments(secret_id, secret_key, token)
        or (search.tccli(profile, "profile") if profile else None)
        or search.environment()
        or search.named_or_default_profile()
        or search.sdk_file()
        or search.pod_role()
        or search.instance_role()
    )
    if base is None:
        places = "; ".join(escaped(place, 300) for place in search.looked_at)
        raise CredentialsError(
            f"No keys were found. Looked at: {places}.",
            hint="Create a key in the console under CAM, API keys, and give both halves. "
            "Without an account: tiw simulator --example -- COMMAND runs a command against a "
            "simulator.",
        )
    of_environment = _first(environ, _ROLE_VARIABLES)
    by_rank = (search.role_arn, of_environment) if profile else (of_environment, search.role_arn)
    arn = role_arn or by_rank[0] or by_rank[1]
    return search.assumed(base, arn) if arn else base


@dataclass(slots=True)
class _Search:
    """Looks at one source after the other, and notes where it looked.

    :param role_arn: the role that the profile names.
    """

    environ: Mapping[str, str]
    home: Path | None
    timeout_s: float
    sts: Sts
    looked_at: list[str] = field(default_factory=list)
    role_arn: str | None = None
    asked_instance: bool = False

    def arguments(
        self, secret_id: str | None, secret_key: str | None, token: str | None
    ) -> CredentialSource | None:
        self.looked_at.append("the arguments secret_id and secret_key (not given)")
        if not (secret_id or secret_key or token):
            return None
        values = {"secret_id": secret_id, "secret_key": secret_key, "token": token}
        return FixedKeys(whole_keys("arguments", values))

    def environment(self) -> CredentialSource | None:
        pair = {name: self.environ.get(name) for name in (_ID_VARIABLE, _KEY_VARIABLE)}
        token = next((n for n in _TOKEN_VARIABLES if self.environ.get(n)), _TOKEN_VARIABLES[0])
        self.looked_at.append(f"the variables {_ID_VARIABLE} and {_KEY_VARIABLE} (not set)")
        if not any(pair.values()):
            return None
        return FixedKeys(whole_keys("environment", {**pair, token: self.environ.get(token)}))

    def named_or_default_profile(self) -> CredentialSource | None:
        named = named_profile(self.environ)
        if named is not None:
            return self.tccli(named, "variable TENCENTCLOUD_PROFILE or TCCLI_PROFILE")
        return self.tccli("default", None)

    def tccli(self, profile: str, wanted_by: str | None) -> CredentialSource | None:
        """Look at a profile.

        :param wanted_by: what names it, if anything; then it must exist and hold keys.
        """
        path = tccli_path(self.environ, self.home, profile, "credential")
        text = self._text(path, wanted=wanted_by is not None)
        if text is None:
            if wanted_by:
                raise CredentialsError(
                    f"There is no profile {shown(profile)} ({wanted_by}): no file {path}.",
                    hint=_other_profiles(path.parent),
                )
            return None
        data = json_object(path, text)
        role = data.get("role-arn")
        if isinstance(role, str) and role:
            self.role_arn = role
        if data.get("type") == "cvm-role":
            return self._instance() if wanted_by else self.instance_role()
        if not data.get("secretId") and not data.get("secretKey"):
            if wanted_by:
                raise CredentialsError(f"{path} holds no keys.", hint="Run tccli configure.")
            self.looked_at.append(f"{path} (holds no keys)")
            return None
        return _share(("file", path), lambda: FileKeys(path, read_tccli))

    def sdk_file(self) -> CredentialSource | None:
        for path in (home_folder(self.home) / ".tencentcloud/credentials", _SYSTEM_FILE):
            if self._text(path, wanted=False) is not None:
                return _share(("file", path), partial(FileKeys, path, read_ini))
        return None

    def pod_role(self) -> CredentialSource | None:
        values = {name: self.environ.get(name) for name in _POD_VARIABLES}
        lacking = ", ".join(name for name, value in values.items() if not value)
        if lacking:
            state = "not set" if not any(values.values()) else f"without {lacking}"
            self.looked_at.append(f"the role of this pod in the variables TKE_* ({state})")
            return None
        arn, provider, token_file, region = (str(values[name]) for name in _POD_VARIABLES)
        given = (arn, provider, token_file, region, self._session_name(), self.sts)
        return _share(("pod", *given), lambda: WebIdentityRole(*given))

    def instance_role(self) -> CredentialSource | None:
        if self.asked_instance:
            return None
        self.asked_instance = True
        try:
            return self._instance()
        except TiwError as error:
            if isinstance(error, ConfigurationError) and not isinstance(error, CredentialsError):
                raise
            reason = error.message.rstrip(".")
        self.looked_at.append(f"the CAM role of this instance ({reason})")
        return None

    def assumed(self, base: CredentialSource, arn: str) -> CredentialSource:
        """Return a role that is assumed with the keys of another source."""
        if not arn.startswith("qcs::cam::"):
            raise ConfigurationError(
                f"role_arn {shown(arn)} is malformed.",
                hint="It has the form qcs::cam::uin/<account>:roleName/<name>, as CAM shows it.",
            )
        given = (base, arn, self._session_name(), self.sts)
        return _share(("role", *given), lambda: AssumedRole(*given))

    def _session_name(self) -> str:
        return _first(self.environ, _SESSION_VARIABLES) or _SESSION_NAME

    def _instance(self) -> CredentialSource:
        given = self.environ.get("TIW_METADATA_ENDPOINT") or METADATA_URL
        given = given if "://" in given else f"http://{given}"
        url = "://".join(parse_endpoint(given, "TIW_METADATA_ENDPOINT"))
        return _share(("instance", url), lambda: InstanceRole(url, timeout_s=self.timeout_s))

    def _text(self, path: Path, *, wanted: bool) -> str | None:
        try:
            text = text_of(path)
        except UnreadableFile as error:
            if wanted:
                raise
            self.looked_at.append(error.message.rstrip("."))
            return None
        if text is None and not wanted:
            self.looked_at.append(f"{path} (not there)")
        return text


def _first(environ: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def _other_profiles(folder: Path) -> str:
    try:
        there = sorted(path.stem for path in folder.glob("*.credential"))
    except OSError:
        there = []
    return f"There are: {', '.join(there)}." if there else "Run tccli configure."
