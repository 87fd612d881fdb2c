# SPDX-License-Identifier: Apache-2.0
"""Where the keys come from.

Id, key and token come whole from the first source that holds either key: a pair is never
completed from another source, because half of one account and half of another only shows up
as a signature failure. In order:

1. the arguments,
2. the files of an explicit ``profile``,
3. the environment,
4. ``~/.tccli/<profile>.credential``, the command line's own file, in another folder with
   ``TENCENTCLOUD_SHARED_CREDENTIALS_DIR``,
5. ``~/.tencentcloud/credentials``, then ``/etc/tencentcloud/credentials``, the SDK's file,
6. the role of the pod that this runs in, on TKE (``TKE_ROLE_ARN``, ``TKE_PROVIDER_ID``,
   ``TKE_REGION``, ``TKE_WEB_IDENTITY_TOKEN_FILE``),
7. the CAM role of the instance that this runs on.

With a ``role_arn``, what was found is used to assume that role (STS AssumeRole).

A file that nobody named and that cannot be read is as if it was not there; where nothing is found,
the error names it.
"""

from __future__ import annotations

import configparser
import difflib
import json
import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tiw_automation.core.api.credentials import (
    METADATA_TIMEOUT_S,
    METADATA_URL,
    AssumedRole,
    Credentials,
    CredentialSource,
    FileKeys,
    FixedKeys,
    InstanceRole,
    RenewedKeys,
    UnreadableFile,
    WebIdentityRole,
    text_of,
    unix_seconds,
    whole_keys,
)
from tiw_automation.core.api.endpoints import parse_endpoint
from tiw_automation.core.errors import ConfigurationError, CredentialsError, TiwError
from tiw_automation.core.formatting import escaped, shown

__all__ = [
    "CredentialSource",
    "Credentials",
    "Profile",
    "RenewedKeys",
    "find_credentials",
    "read_profile",
]

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
# Its file has a longer name, and file systems take 255 bytes.
_LONGEST_PROFILE = 200
_KEY_NAMES = ("secret_id", "secret_key", "token")

_Source = TypeVar("_Source", bound=CredentialSource)
_shared: dict[Hashable, Any] = {}
_shared_lock = threading.Lock()


def _share(key: Hashable, make: Callable[[], _Source]) -> _Source:
    """Return this process's one source for a key: many clients must not fetch the same keys."""
    with _shared_lock:
        known: _Source | None = _shared.get(key)
    if known is not None:
        return known
    # Not under the lock: it may ask a service that does not answer.
    made = make()
    with _shared_lock:
        source: _Source = _shared.setdefault(key, made)
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
    :raises ConfigurationError: the file cannot be read, or is no JSON object.
    """
    path = _tccli(environ, home, profile or _named_profile(environ) or "default", "configure")
    found = text_of(path)
    if found is None:
        return Profile()
    data = _json_object(path, found)

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
    timeout_s: float = METADATA_TIMEOUT_S,
) -> CredentialSource:
    """Return the first source that holds keys.

    :param environ: the environment to read, usually ``os.environ``.
    :param home: the home directory, the user's by default.
    :param sts_url: where roles are assumed.
    :param timeout_s: how long to look for an instance's role at most, in seconds.
    :raises CredentialsError: no source holds a key, one holds half a pair, a key has blanks or
        quotes, or an explicit profile does not exist; the message says where it looked and
        what it found.
    :raises TransportError: the profile names the instance's role, which could not be asked for.
    """
    found = _Search(environ, home, timeout_s)
    base = (
        found.arguments(secret_id, secret_key, token)
        or (found.tccli(profile, "profile") if profile else None)
        or found.environment()
        or found.named_or_default_profile()
        or found.sdk_file()
        or found.pod_role(sts_url, proxy, ca_file)
        or found.instance_role()
    )
    if base is None:
        raise CredentialsError(
            f"No keys were found. Looked at: {found.in_words()}.",
            hint="Create a key in the console under CAM, API keys, and give both halves.",
        )
    of_environment = _first(environ, _ROLE_VARIABLES)
    of_files = found.role_arn
    arn = role_arn or (of_files if profile else None) or of_environment or of_files
    if not arn:
        return base
    if not arn.startswith("qcs::cam::"):
        raise ConfigurationError(
            f"role_arn {shown(arn)} is malformed.",
            hint="It has the form qcs::cam::uin/<account>:roleName/<name>, as CAM shows it.",
        )
    session = _session_name(environ)
    return _share(
        ("role", base, arn, session, sts_url, proxy, ca_file),
        lambda: AssumedRole(base, arn, session, sts_url, proxy=proxy, ca_file=ca_file),
    )


class _Search:
    """Looks at one source after the other and keeps account of it."""

    def __init__(self, environ: Mapping[str, str], home: Path | None, timeout_s: float) -> None:
        self.environ = environ
        self.home = home
        self.timeout_s = timeout_s
        self.looked_at: list[str] = []
        self.role_arn: str | None = None
        self.instance_was_asked = False

    def in_words(self) -> str:
        return "; ".join(escaped(place, 300) for place in self.looked_at)

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
        named = _named_profile(self.environ)
        if named is not None:
            return self.tccli(named, "variable TENCENTCLOUD_PROFILE or TCCLI_PROFILE")
        return self.tccli("default", None)

    def tccli(self, profile: str, wanted_by: str | None) -> CredentialSource | None:
        """Look at a profile; one that is named (``wanted_by``) must exist and hold keys."""
        path = _tccli(self.environ, self.home, profile, "credential")
        text = self._text(path, wanted=wanted_by is not None)
        if text is None:
            if wanted_by:
                raise CredentialsError(
                    f"There is no profile {shown(profile)} ({wanted_by}): no file {path}.",
                    hint=_other_profiles(path.parent),
                )
            return None
        data = _json_object(path, text)
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
        return _share(("file", path), lambda: FileKeys(path, _read_tccli))

    def sdk_file(self) -> CredentialSource | None:
        for path in (_home(self.home) / ".tencentcloud/credentials", _SYSTEM_FILE):
            if self._text(path, wanted=False) is not None:
                return _share(("file", path), partial(FileKeys, path, _read_ini))
        return None

    def pod_role(
        self, sts_url: str, proxy: str | None, ca_file: str | None
    ) -> CredentialSource | None:
        values = {name: self.environ.get(name) for name in _POD_VARIABLES}
        lacking = ", ".join(name for name, value in values.items() if not value)
        if lacking:
            state = "not set" if not any(values.values()) else f"without {lacking}"
            self.looked_at.append(f"the role of this pod in the variables TKE_* ({state})")
            return None
        arn, provider, token_file, region = (str(values[name]) for name in _POD_VARIABLES)
        given = (arn, provider, token_file, region, _session_name(self.environ), sts_url)
        return _share(
            ("pod", *given, proxy, ca_file),
            lambda: WebIdentityRole(*given, proxy=proxy, ca_file=ca_file),
        )

    def instance_role(self) -> CredentialSource | None:
        if self.instance_was_asked:
            return None
        self.instance_was_asked = True
        try:
            return self._instance()
        except ConfigurationError as error:
            if not isinstance(error, CredentialsError):
                raise
            reason = error.message
        except TiwError as error:
            reason = error.message
        self.looked_at.append(f"the CAM role of this instance ({reason.rstrip('.')})")
        return None

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


def _session_name(environ: Mapping[str, str]) -> str:
    return _first(environ, _SESSION_VARIABLES) or _SESSION_NAME


def _named_profile(environ: Mapping[str, str]) -> str | None:
    return environ.get("TENCENTCLOUD_PROFILE") or environ.get("TCCLI_PROFILE") or None


def _home(home: Path | None) -> Path:
    return home if home is not None else Path(os.path.expanduser("~"))


def _tccli(environ: Mapping[str, str], home: Path | None, profile: str, kind: str) -> Path:
    if (
        profile != os.path.basename(profile)
        or profile in (".", "..")
        or not profile.isprintable()
        or len(profile) > _LONGEST_PROFILE
    ):
        raise ConfigurationError(
            f"profile {shown(profile)} is malformed.", hint="It is a name, without a folder."
        )
    given = environ.get("TENCENTCLOUD_SHARED_CREDENTIALS_DIR")
    folder = Path(os.path.expanduser(given)) if given else _home(home) / ".tccli"
    return folder / f"{profile}.{kind}"


def _other_profiles(folder: Path) -> str:
    try:
        there = sorted(path.stem for path in folder.glob("*.credential"))
    except OSError:
        there = []
    return f"There are: {', '.join(there)}." if there else "Run tccli configure."


def _json_object(path: Path, text: str) -> Mapping[str, Any]:
    hint = "Run tccli configure to write it anew."
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CredentialsError(f"{path} is no JSON: {where}.", hint=hint) from None
    except (ValueError, RecursionError):
        raise CredentialsError(f"{path} is no JSON that can be read.", hint=hint) from None
    if not isinstance(data, Mapping):
        raise CredentialsError(f"{path} holds no JSON object.", hint=hint)
    return data


def _read_tccli(path: Path) -> Credentials:
    data = _json_object(path, text_of(path) or "")
    names = ("secretId", "secretKey", "token")
    keys = whole_keys(str(path), {name: data.get(name) or None for name in names})
    ends = unix_seconds(data.get("expiresAt"))
    if ends is not None:
        if ends <= time.time():
            raise CredentialsError(
                f"The keys of {path} have expired.", hint="Run tccli auth login, which renews them."
            )
        keys = replace(keys, expires_at=ends)
    return keys


def _read_ini(path: Path) -> Credentials:
    # A section [DEFAULT] would be part of every other one.
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    hint = "It begins with [default], then secret_id = ... and secret_key = ..."
    try:
        parser.read_string(text_of(path) or "")
    except configparser.Error as error:
        line = getattr(error, "lineno", None)
        where = f" (line {line})" if line else ""
        raise CredentialsError(
            f"{path} is no file of sections and keys{where}.", hint=hint
        ) from None
    if not parser.has_section("default"):
        there = ", ".join(f"[{escaped(name, 40)}]" for name in parser.sections()[:5]) or "none"
        raise CredentialsError(
            f"{path} has no section [default]; its sections: {there}.",
            hint="Put the keys under [default].",
        )
    # The SDK's own example writes them in quotes.
    section = {name: value.strip("'\"") for name, value in parser["default"].items()}
    if not section.get("secret_id") and not section.get("secret_key"):
        raise CredentialsError(
            f"[default] of {path} {_described(section)}, without secret_id and secret_key.",
            hint=hint,
        )
    return whole_keys(str(path), {name: section.get(name) or None for name in _KEY_NAMES})


def _described(section: Mapping[str, str]) -> str:
    """Say what a section holds; a name that is far from all of ours may be a key itself."""
    empty = [name for name in _KEY_NAMES if section.get(name) == ""]
    near = {
        name: difflib.get_close_matches(name, _KEY_NAMES, 1, 0.75)
        for name in section
        if name not in _KEY_NAMES and len(name) <= 40
    }
    said = [f"an empty {name}" for name in empty]
    said += [f"{escaped(name)} (is {close[0]} meant?)" for name, close in near.items() if close]
    others = len(section) - len(said) - ("token" in section and "token" not in empty)
    if "token" in section and "token" not in empty:
        said.append("token")
    if others:
        said.append(f"{others} other name" + ("s" if others > 1 else ""))
    return f"holds {', '.join(said)}" if said else "is empty"
