# SPDX-License-Identifier: Apache-2.0
"""Where the keys come from, and how they stay fresh.

Id, key and token come whole from the first source that holds any of them: a pair is never
completed from another source, because half of one account and half of another only shows up
as a signature failure. In order:

1. the arguments,
2. the files of an explicit ``profile``,
3. the environment,
4. ``~/.tccli/<profile>.credential``, the command line's own file,
5. ``~/.tencentcloud/credentials``, then ``/etc/tencentcloud/credentials``, the SDK's file,
6. the CAM role of the instance that this runs on.

With a ``role_arn``, what was found is used to assume that role (STS AssumeRole).
"""

from __future__ import annotations

import configparser
import json
import logging
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

from tiw_automation.core.errors import ConfigurationError, CredentialsError, TiwError
from tiw_automation.core.transport import Transport

logger = logging.getLogger(__name__)

METADATA_URL = "http://metadata.tencentyun.com"
_ROLE_PATH = "/latest/meta-data/cam/security-credentials/"
# Off Tencent's cloud nothing answers there, and a client must not wait for it.
_METADATA_TIMEOUT_S = 2.0
_STS_TIMEOUT_S = 10.0
_ROLE_DURATION_S = 7200
_RENEW_BEFORE_END_S = 600.0
_RETRY_RENEWAL_S = 30.0

_ID_VARIABLE, _KEY_VARIABLE = "TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY"
_TOKEN_VARIABLES = (
    "TENCENTCLOUD_TOKEN",
    "TENCENTCLOUD_SECURITY_TOKEN",
    "TENCENTCLOUD_SESSION_TOKEN",
)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A pair of keys, with a token where they are temporary.

    :param source: where they were found, for error messages.
    :param expires_at: when they end, UNIX seconds, or None where they do not or it is not known.
    """

    secret_id: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    source: str = field(default="arguments", compare=False)
    expires_at: float | None = field(default=None, compare=False)

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Return id, key and token: the form in which the SDK asks, on every request."""
        return self.secret_id, self.secret_key, self.token


class CredentialSource(Protocol):
    """Gives the keys of the moment. Hashable; equal ones give the same keys."""

    @property
    def identity(self) -> str:
        """Whom Tencent counts requests for, before any role is assumed."""

    def current(self) -> Credentials:
        """Return the keys to sign with now; called for every request.

        :raises CredentialsError: there are none any more.
        """

    def renew(self, refused: Credentials) -> bool:
        """Look for others than those that the API refused; return whether there are any."""


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """Keys that stay as they are."""

    credentials: Credentials

    @property
    def identity(self) -> str:
        return self.credentials.secret_id

    def current(self) -> Credentials:
        return self.credentials

    def renew(self, refused: Credentials) -> bool:
        return False


class FileKeys:
    """Keys of a file, which is read again when it changes.

    A file that is being written or has lost its keys for a moment changes nothing: the last good
    keys stay until there are others.

    :param read: returns the file's keys.
    """

    def __init__(self, path: Path, read: Callable[[Path], Credentials]) -> None:
        self.path = path
        self._read = read
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._keys = read(path)
        # An account that rotates its keys keeps its quota, so the first id stands for it.
        self._identity = self._keys.secret_id

    @property
    def identity(self) -> str:
        return self._identity

    def current(self) -> Credentials:
        stamp = _stamp(self.path)
        with self._lock:
            if stamp not in (None, self._stamp):
                try:
                    self._keys = self._read(self.path)
                except CredentialsError as error:
                    logger.warning("%s The keys read before stay in use.", error.message)
                self._stamp = stamp
            return self._keys

    def renew(self, refused: Credentials) -> bool:
        return self.current() != refused


class RenewedKeys(ABC):
    """Temporary keys that are fetched, and fetched anew before they end.

    A failure to renew is logged and tried again while the old keys last.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._keys: Credentials | None = None
        self._renew_at = 0.0

    @abstractmethod
    def fetch(self) -> Credentials:
        """Get new keys."""

    def current(self) -> Credentials:
        with self._lock:
            now = self._clock()
            if self._keys is None or now >= self._renew_at:
                self._renew(now)
            assert self._keys is not None
            return self._keys

    def renew(self, refused: Credentials) -> bool:
        with self._lock:
            if self._keys == refused:
                self._keys = None
                self._renew(self._clock())
            return self._keys != refused

    def _renew(self, now: float) -> None:
        try:
            self._keys = self.fetch()
        except TiwError as error:
            if self._keys is None or self._keys.expires_at is None or now >= self._keys.expires_at:
                raise
            logger.warning("New keys could not be had yet: %s", error)
            self._renew_at = now + _RETRY_RENEWAL_S
            return
        ends = self._keys.expires_at if self._keys.expires_at is not None else now
        # Half of a short life, ten minutes of a long one.
        self._renew_at = ends - min(_RENEW_BEFORE_END_S, max(ends - now, 0.0) / 2)


class InstanceRole(RenewedKeys):
    """The CAM role of the instance that this runs on.

    :param url: of the metadata service.
    :raises CredentialsError: nothing answers there, or the instance has no role.
    """

    def __init__(self, url: str = METADATA_URL, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock=clock)
        self.url = url
        # Never by a proxy: its instance would be asked instead of this one.
        self._transport = Transport(url, use_environment=False, pool_size=1)
        self.role = self._get(_ROLE_PATH).strip()
        if not self.role or "\n" in self.role or "<" in self.role:
            raise CredentialsError(f"{url} names no CAM role for this instance.")

    @property
    def identity(self) -> str:
        return f"CAM role {self.role}"

    def fetch(self) -> Credentials:
        text = self._get(_ROLE_PATH + quote(self.role, safe=""))
        return _temporary(text, f"CAM role {self.role} of this instance")

    def _get(self, path: str) -> str:
        deadline = time.monotonic() + _METADATA_TIMEOUT_S
        try:
            answer = self._transport.exchange("GET", path, None, {}, deadline)
        except TiwError as error:
            raise CredentialsError(f"This instance's metadata: {error.message}") from None
        if answer.status_code != 200:
            raise CredentialsError(
                f"This instance's metadata: {self.url}{path} answered {answer.status_code}."
            )
        return answer.content.decode(errors="replace")


class AssumedRole(RenewedKeys):
    """A role that is assumed with the keys of another source.

    :param base: whose keys assume it.
    :param url: of the Security Token Service.
    """

    def __init__(
        self,
        base: CredentialSource,
        role_arn: str,
        session_name: str,
        url: str,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock=clock)
        self.base = base
        self.role_arn = role_arn
        self.session_name = session_name
        self.url = url
        self.proxy = proxy
        self.ca_file = ca_file

    @property
    def identity(self) -> str:
        return self.base.identity

    def fetch(self) -> Credentials:
        # Whoever assumes no role does not pay for the import.
        from tiw_automation.core.sdk import StsSdkClient

        scheme, _, host = self.url.partition("://")
        client = StsSdkClient(
            scheme=scheme,
            host=host,
            region="ap-singapore" if ".intl." in host else "ap-guangzhou",
            keys=lambda: self.base.current().get_credential_info(),
            transport=Transport(self.url, proxy=self.proxy, ca_file=self.ca_file, pool_size=1),
            clock=self._clock,
        )
        params = {
            "RoleArn": self.role_arn,
            "RoleSessionName": self.session_name,
            "DurationSeconds": _ROLE_DURATION_S,
        }
        try:
            response = client.respond("AssumeRole", params, _STS_TIMEOUT_S)
        except TiwError as error:
            error.action = "AssumeRole"
            error.hint = (
                f"This was about assuming {self.role_arn} with the keys from "
                f"{self.base.current().source}. {error.hint or ''}".strip()
            )
            raise
        found = response.get("Credentials")
        keys = {**found, **response} if isinstance(found, Mapping) else response
        return _temporary_of(keys, f"role {self.role_arn}")


_Source = TypeVar("_Source", bound=CredentialSource)
_shared: dict[Hashable, Any] = {}
_shared_lock = threading.Lock()


def _share(key: Hashable, make: Callable[[], _Source]) -> _Source:
    """Return this process's one source for a key: many clients must not fetch the same keys."""
    with _shared_lock:
        if key not in _shared:
            _shared[key] = make()
        source: _Source = _shared[key]
        return source


def _forget_after_fork() -> None:
    # A lock that another thread held at the fork would stay locked for ever in the child.
    global _shared_lock
    _shared_lock = threading.Lock()
    _shared.clear()


os.register_at_fork(after_in_child=_forget_after_fork)


@dataclass(frozen=True, slots=True)
class Profile:
    """A profile of Tencent's command line, ``tccli``.

    What its ``.configure`` file says beside the keys: ``region``, and hosts for TIW and STS.
    """

    region: str | None = None
    endpoint: str | None = None
    sts_endpoint: str | None = None


def read_profile(
    profile: str | None, environ: Mapping[str, str], home: Path | None = None
) -> Profile:
    """Read the settings of a profile; what does not exist is left out.

    :param profile: its name, or None for the environment's, else ``default``.
    :raises ConfigurationError: the file is no JSON object.
    """
    path = _tccli(home, profile or _named_profile(environ) or "default", "configure")
    if not path.is_file():
        return Profile()
    data = _json_file(path)

    def text(section: str, key: str) -> str | None:
        part = data.get(section)
        value = part.get(key) if isinstance(part, Mapping) else None
        return value if isinstance(value, str) and value else None

    return Profile(text("_sys_param", "region"), text("tiw", "endpoint"), text("sts", "endpoint"))


def find_credentials(
    *,
    secret_id: str | None = None,
    secret_key: str | None = None,
    token: str | None = None,
    profile: str | None = None,
    role_arn: str | None = None,
    environ: Mapping[str, str],
    home: Path | None = None,
    sts_url: str = "https://sts.tencentcloudapi.com",
    proxy: str | None = None,
    ca_file: str | None = None,
) -> CredentialSource:
    """Return the first source that holds keys.

    :param environ: the environment to read, usually ``os.environ``.
    :param home: the home directory, the user's by default.
    :param sts_url: where roles are assumed.
    :raises CredentialsError: no source holds a key, one holds half a pair, a key has blanks or
        quotes, or an explicit profile does not exist; the message says where it looked and
        what it found.
    """
    found = _Search(environ, home)
    base = (
        found.arguments(secret_id, secret_key, token)
        or (found.tccli(profile, "profile") if profile else None)
        or found.environment()
        or found.named_or_default_profile()
        or found.sdk_file()
        or found.instance_role()
    )
    if base is None:
        raise CredentialsError(
            f"No keys were found. Looked at: {'; '.join(found.looked_at)}.",
            hint="Create a key in the console under CAM, API keys, and give both halves.",
        )
    arn = role_arn or environ.get("TENCENTCLOUD_ROLE_ARN") or found.role_arn
    if not arn:
        return base
    if not arn.startswith("qcs::cam::"):
        raise ConfigurationError(
            f"role_arn {arn!r} is malformed.",
            hint="It has the form qcs::cam::uin/<account>:roleName/<name>, as CAM shows it.",
        )
    session = environ.get("TENCENTCLOUD_ROLE_SESSION_NAME") or "tiw-automation"
    return _share(
        ("role", base, arn, session, sts_url, proxy, ca_file),
        lambda: AssumedRole(base, arn, session, sts_url, proxy=proxy, ca_file=ca_file),
    )


class _Search:
    """Looks at one source after the other and keeps account of it."""

    def __init__(self, environ: Mapping[str, str], home: Path | None) -> None:
        self.environ = environ
        self.home = home
        self.looked_at: list[str] = []
        self.role_arn: str | None = None

    def arguments(
        self, secret_id: str | None, secret_key: str | None, token: str | None
    ) -> CredentialSource | None:
        self.looked_at.append("the arguments secret_id and secret_key (not given)")
        if not (secret_id or secret_key or token):
            return None
        values = {"secret_id": secret_id, "secret_key": secret_key, "token": token}
        return FixedKeys(_whole("arguments", values))

    def environment(self) -> CredentialSource | None:
        pair = {name: self.environ.get(name) for name in (_ID_VARIABLE, _KEY_VARIABLE)}
        token = next((n for n in _TOKEN_VARIABLES if self.environ.get(n)), _TOKEN_VARIABLES[0])
        self.looked_at.append(f"the variables {_ID_VARIABLE} and {_KEY_VARIABLE} (not set)")
        if not any(pair.values()):
            return None
        return FixedKeys(_whole("environment", {**pair, token: self.environ.get(token)}))

    def named_or_default_profile(self) -> CredentialSource | None:
        named = _named_profile(self.environ)
        if named is not None:
            return self.tccli(named, "variable TENCENTCLOUD_PROFILE or TCCLI_PROFILE")
        return self.tccli("default", None)

    def tccli(self, profile: str, wanted_by: str | None) -> CredentialSource | None:
        """Look at a profile; one that somebody ``wanted_by`` name has to exist and hold keys."""
        path = _tccli(self.home, profile, "credential")
        if not path.is_file():
            if wanted_by:
                there = sorted(p.stem for p in path.parent.glob("*.credential"))
                raise CredentialsError(
                    f"There is no profile {profile!r} ({wanted_by}): no file {path}.",
                    hint=f"There are: {', '.join(there)}." if there else "Run tccli configure.",
                )
            self.looked_at.append(f"{path} (not there)")
            return None
        data = _json_file(path)
        if data.get("type") == "cvm-role":
            return self.instance_role()
        role = data.get("role-arn")
        if isinstance(role, str) and role:
            self.role_arn = role
        if not data.get("secretId") and not data.get("secretKey"):
            if wanted_by:
                raise CredentialsError(f"{path} holds no keys.", hint="Run tccli configure.")
            self.looked_at.append(f"{path} (holds no keys)")
            return None
        return _share(("file", path), lambda: FileKeys(path, _read_tccli))

    def sdk_file(self) -> CredentialSource | None:
        for path in (_home(self.home) / ".tencentcloud/credentials", _SYSTEM_FILE):
            if not path.is_file():
                self.looked_at.append(f"{path} (not there)")
                continue
            return _share(("file", path), partial(FileKeys, path, _read_ini))
        return None

    def instance_role(self) -> CredentialSource | None:
        url = self.environ.get("TIW_METADATA_ENDPOINT") or METADATA_URL
        try:
            return _share(("instance", url), lambda: InstanceRole(url))
        except CredentialsError as error:
            self.looked_at.append(f"the CAM role of this instance ({error.message.rstrip('.')})")
            return None


_SYSTEM_FILE = Path("/etc/tencentcloud/credentials")


def _named_profile(environ: Mapping[str, str]) -> str | None:
    return environ.get("TENCENTCLOUD_PROFILE") or environ.get("TCCLI_PROFILE") or None


def _home(home: Path | None) -> Path:
    return home if home is not None else Path(os.path.expanduser("~"))


def _tccli(home: Path | None, profile: str, kind: str) -> Path:
    if profile != os.path.basename(profile) or profile in (".", ".."):
        raise ConfigurationError(
            f"profile {profile!r} is malformed.", hint="It is a name, without a folder."
        )
    return _home(home) / ".tccli" / f"{profile}.{kind}"


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise CredentialsError(f"{path} is not UTF-8 text.") from None
    except OSError as error:
        raise CredentialsError(f"{path} cannot be read: {error.strerror}.") from None


def _json_file(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(_text_of(path))
    except json.JSONDecodeError as error:
        raise CredentialsError(
            f"{path} is no JSON: line {error.lineno}, column {error.colno}.",
            hint="Run tccli configure to write it anew.",
        ) from None
    if not isinstance(data, Mapping):
        raise CredentialsError(f"{path} holds no JSON object.")
    return data


def _read_tccli(path: Path) -> Credentials:
    data = _json_file(path)
    names = ("secretId", "secretKey", "token")
    keys = _whole(str(path), {name: data.get(name) or None for name in names})
    ends = data.get("expiresAt")
    if isinstance(ends, int | float) and not isinstance(ends, bool):
        if ends <= time.time():
            raise CredentialsError(
                f"The keys of {path} have expired.", hint="Run tccli auth login, which renews them."
            )
        keys = replace(keys, expires_at=float(ends))
    return keys


def _read_ini(path: Path) -> Credentials:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text_of(path))
    except configparser.Error as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise CredentialsError(
            f"{path} is no file of sections and keys{where}.",
            hint="It begins with [default], then secret_id = ... and secret_key = ...",
        ) from None
    if not parser.has_section("default"):
        there = ", ".join(f"[{name}]" for name in parser.sections()) or "none"
        raise CredentialsError(
            f"{path} has no section [default]; its sections: {there}.",
            hint="Put the keys under [default].",
        )
    section = parser["default"]
    # The SDK's own example writes them in quotes.
    return _whole(
        str(path),
        {
            name: (section.get(name) or "").strip("'\"") or None
            for name in ("secret_id", "secret_key", "token")
        },
    )


def _temporary(text: str, source: str) -> Credentials:
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    if not isinstance(data, Mapping) or data.get("Code", "Success") != "Success":
        raise CredentialsError(f"The {source} gave no keys.")
    return _temporary_of(data, source)


def _temporary_of(data: Mapping[str, Any], source: str) -> Credentials:
    values = {
        "secret_id": data.get("TmpSecretId"),
        "secret_key": data.get("TmpSecretKey"),
        "token": data.get("Token"),
    }
    ends = data.get("ExpiredTime")
    if isinstance(ends, bool) or not isinstance(ends, int | float) or not all(values.values()):
        raise CredentialsError(f"The {source} gave no whole set of temporary keys.")
    return replace(_whole(source, values), expires_at=float(ends))


def _whole(source: str, values: Mapping[str, Any]) -> Credentials:
    (id_name, secret_id), (key_name, secret_key), (_, token) = values.items()
    if not secret_id or not secret_key:
        held = id_name if secret_id else key_name if secret_key else "a token"
        lacking = key_name if secret_id else id_name
        raise CredentialsError(
            f"Found in the {source}: {held} without {lacking}.",
            hint="Give both; a pair is never completed from another source.",
        )
    for name, value in values.items():
        if value is None or value == "":
            continue
        if not isinstance(value, str):
            raise CredentialsError(f"{name} from the {source} has to be a string.")
        if any(sign.isspace() for sign in value):
            raise CredentialsError(
                f"{name} from the {source} has blanks around it or in it.", hint="Remove them."
            )
        if not value.isascii() or not value.isprintable() or set(value) & {'"', "'"}:
            raise CredentialsError(
                f"{name} from the {source} holds quotes or signs that no key has.",
                hint="Give the bare value, without quotes.",
            )
    return Credentials(secret_id, secret_key, token or None, source)
