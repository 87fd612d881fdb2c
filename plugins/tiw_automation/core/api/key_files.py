# SPDX-License-Identifier: Apache-2.0
"""The files that hold keys: those of Tencent's command line, ``tccli``, and that of the SDK."""

from __future__ import annotations

import configparser
import errno
import json
import os
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiw_automation.core.api.credentials import Credentials, whole_keys
from tiw_automation.core.checks import as_number, did_you_mean
from tiw_automation.core.errors import ConfigurationError, CredentialsError
from tiw_automation.core.formatting import escaped, shown

_LARGEST_FILE_BYTES = 1024 * 1024
# Its file has a longer name, and file systems take 255 bytes.
_LONGEST_PROFILE = 200
_KEY_NAMES = ("secret_id", "secret_key", "token")
# A name in a file of keys is shown only if it is this close to one of ours: it may be a key itself.
_LEAST_SIMILARITY = 0.75


class UnreadableFile(CredentialsError):
    """A file exists and cannot be read; one that was not named counts as missing."""


def text_of(path: Path) -> str | None:
    """Return the text of a file, or None where there is no file.

    :raises UnreadableFile: it cannot be read, or is not UTF-8 text of at most 1 MiB.
    """
    name = escaped(path, 300)
    try:
        data = _bytes_of(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        if getattr(error, "errno", None) == errno.ELOOP:
            return None
        reason = getattr(error, "strerror", None) or "its name is invalid"
        raise UnreadableFile(f"{name} cannot be read: {reason}.") from None
    if data is None:
        raise UnreadableFile(f"{name} is not a regular file.")
    if len(data) > _LARGEST_FILE_BYTES:
        raise UnreadableFile(f"{name} is larger than {_LARGEST_FILE_BYTES} bytes.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UnreadableFile(f"{name} is not UTF-8 text.") from None


def _bytes_of(path: Path) -> bytes | None:
    # Opening a pipe or a device would block.
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with path.open("rb") as file:
        return file.read(_LARGEST_FILE_BYTES + 1)


@dataclass(frozen=True, slots=True)
class Profile:
    """The settings of a profile of ``tccli``, in its ``.configure`` file.

    :param endpoint: TIW's.
    :param sts_endpoint: that of the Security Token Service.
    """

    region: str | None = None
    endpoint: str | None = None
    sts_endpoint: str | None = None


def read_profile(
    profile: str | None, environ: Mapping[str, str], home: Path | None = None
) -> Profile:
    """Read the settings of a profile; missing ones are None.

    :param profile: its name; None for the environment's, else ``default``.
    :raises ConfigurationError: the file cannot be read, or does not hold a JSON object.
    """
    path = tccli_path(environ, home, profile or named_profile(environ) or "default", "configure")
    found = text_of(path)
    if found is None:
        return Profile()
    data = json_object(path, found)

    def text(section: str, key: str) -> str | None:
        part = data.get(section)
        value = part.get(key) if isinstance(part, Mapping) else None
        return value if isinstance(value, str) and value else None

    return Profile(text("_sys_param", "region"), text("tiw", "endpoint"), text("sts", "endpoint"))


def named_profile(environ: Mapping[str, str]) -> str | None:
    """Return the profile that the environment names, if any."""
    return environ.get("TENCENTCLOUD_PROFILE") or environ.get("TCCLI_PROFILE") or None


def home_folder(home: Path | None) -> Path:
    """Return the given home directory, else the user's."""
    return home if home is not None else Path(os.path.expanduser("~"))


def tccli_path(environ: Mapping[str, str], home: Path | None, profile: str, kind: str) -> Path:
    """Return the path of a profile's file.

    :param kind: ``credential`` or ``configure``.
    :raises ConfigurationError: the profile's name is malformed.
    """
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
    folder = Path(os.path.expanduser(given)) if given else home_folder(home) / ".tccli"
    return folder / f"{profile}.{kind}"


def json_object(path: Path, text: str) -> Mapping[str, Any]:
    """Return the JSON object that a file of ``tccli`` holds.

    :param path: the file's, for messages.
    :raises CredentialsError: the text is not a JSON object.
    """
    hint = "Run tccli configure to write it again."
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CredentialsError(f"{path} is not valid JSON{_line_of(error)}.", hint=hint) from None
    if not isinstance(data, Mapping):
        raise CredentialsError(f"{path} does not hold a JSON object.", hint=hint)
    return data


def _line_of(error: Exception) -> str:
    line = getattr(error, "lineno", None)
    return f" (line {line})" if line else ""


def read_tccli(path: Path) -> Credentials:
    """Return the keys of a profile's ``.credential`` file.

    :raises CredentialsError: the file does not hold both keys, or they have expired.
    """
    data = json_object(path, text_of(path) or "")
    names = ("secretId", "secretKey", "token")
    keys = whole_keys(str(path), {name: data.get(name) or None for name in names})
    ends = as_number(data.get("expiresAt"))
    if ends is None:
        return keys
    if ends <= time.time():
        raise CredentialsError(
            f"The keys of {path} have expired.", hint="Run tccli auth login to renew them."
        )
    return replace(keys, expires_at=ends)


def read_ini(path: Path) -> Credentials:
    """Return the keys of the SDK's file.

    :raises CredentialsError: the file does not hold both keys in its section [default].
    """
    # A section [DEFAULT] would be part of every other one.
    parser = configparser.ConfigParser(interpolation=None, default_section="")
    hint = "It begins with [default], then secret_id = ... and secret_key = ..."
    try:
        parser.read_string(text_of(path) or "")
    except configparser.Error as error:
        raise CredentialsError(f"{path} is not an INI file{_line_of(error)}.", hint=hint) from None
    if not parser.has_section("default"):
        there = ", ".join(f"[{escaped(name, 40)}]" for name in parser.sections()[:5]) or "none"
        raise CredentialsError(
            f"{path} has no section [default]; its sections: {there}.",
            hint="Put the keys under [default].",
        )
    # The SDK's own example has quotes around the keys.
    section = {name: value.strip("'\"") for name, value in parser["default"].items()}
    if not section.get("secret_id") and not section.get("secret_key"):
        raise CredentialsError(f"[default] of {path} {_without_keys(section)}", hint=hint)
    return whole_keys(str(path), {name: section.get(name) or None for name in _KEY_NAMES})


def _without_keys(section: Mapping[str, str]) -> str:
    """Describe a section without keys; a name unlike ours is counted, not shown."""
    names, others, meant = [], 0, ""
    for name, value in section.items():
        near = did_you_mean(name, _KEY_NAMES, least=_LEAST_SIMILARITY)
        if name in _KEY_NAMES:
            names.append(name if value else f"an empty {name}")
        elif near:
            names.append(escaped(name))
            meant += near
        else:
            others += 1
    if others:
        names.append(f"{others} other name" + ("s" if others > 1 else ""))
    holds = f"holds {', '.join(names)}" if names else "is empty"
    return f"{holds}, without secret_id and secret_key.{meant}"
