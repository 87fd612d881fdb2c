# SPDX-License-Identifier: Apache-2.0
"""The settings that are in force, and which of their parts are invalid.

``Settings.resolve`` stops at the first fault. A checkup reports them all, and goes on with the
parts that are valid.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from tiw_automation.core.api.credentials import Credentials
from tiw_automation.core.api.settings import Settings
from tiw_automation.core.errors import TiwError

# For each part its options, and how the names of its variables begin.
_PARTS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "address": (
        ("site", "region", "endpoint", "allow_http"),
        ("TIW_ENDPOINT", "TIW_STS_ENDPOINT", "TIW_ALLOW_HTTP", "TENCENTCLOUD_REGION"),
    ),
    "SdkAppId": (("sdk_app_id",), ("TIW_SDK_APP_ID",)),
    "proxy": (("proxy",), ()),
    "CA": (("ca_file",), ()),
    "pace": (("requests_per_second", "quota_share", "timeout"), ("TIW_QUOTA_SHARE",)),
    "Redis": (("quota_url",), ("TIW_QUOTA_URL",)),
    "keys": (
        ("secret_id", "secret_key", "token", "profile", "role_arn"),
        ("TENCENTCLOUD_", "TCCLI_", "TKE_", "TIW_METADATA_ENDPOINT"),
    ),
}
_PROFILE = ("TENCENTCLOUD_PROFILE", "TCCLI_PROFILE", "TENCENTCLOUD_SHARED_CREDENTIALS_DIR")
_STAND_IN = {"secret_id": "AKIDnone", "secret_key": "none"}
_STAND_IN_VARIABLES = {
    "TENCENTCLOUD_SECRET_ID": "AKIDnone",
    "TENCENTCLOUD_SECRET_KEY": "none",
}
_STAND_IN_ENDPOINT = "https://tiw.invalid"
_SECRET_OPTIONS = ("secret_id", "secret_key", "token")
_SECRET_VARIABLES = ("SECRET_ID", "SECRET_KEY", "TOKEN")


@dataclass
class Effective:
    """What is in force.

    :param settings: of the valid parts; None where they contradict each other.
    :param errors: by the name of the part.
    :param options: as given.
    """

    settings: Settings | None
    errors: dict[str, TiwError]
    options: Mapping[str, Any]
    _keys: Credentials | None = field(default=None, init=False, repr=False)

    @property
    def app_id(self) -> int | None:
        """The application, if one is set."""
        return self.settings.sdk_app_id if self.settings is not None else None

    def keys(self, timeout_s: float) -> Credentials:
        """Return the keys; an error is also noted as that of the keys.

        :raises TiwError: there are none, or they could not be fetched in time.
        """
        try:
            if "keys" in self.errors:
                raise self.errors["keys"]
            assert self.settings is not None
            self._keys = self.settings.credentials.current(timeout_s)
        except TiwError as error:
            self.errors["keys"] = error
            raise
        return self._keys

    def secrets(self) -> list[str]:
        """Return the values that no result may hold, as far as they are known."""
        found = [str(self.options.get(name) or "") for name in _SECRET_OPTIONS]
        found += [value for name, value in os.environ.items() if name.endswith(_SECRET_VARIABLES)]
        return sorted({value for value in found if len(value) > 7}, key=len, reverse=True)


def resolve_parts(options: Mapping[str, Any], environ: Mapping[str, str]) -> Effective:
    """Resolve the settings; where that fails, each part alone, then the valid ones together.

    :param options: arguments of :meth:`Settings.resolve`.
    """
    try:
        return Effective(Settings.resolve(**options, environ=environ), {}, options)
    except TiwError as error:
        first = error
    errors = {}
    for part in _PARTS:
        try:
            _resolve([part], options, environ)
        except TiwError as error:
            errors[part] = error
    settings = None
    with suppress(TiwError):
        settings = _resolve([part for part in _PARTS if part not in errors], options, environ)
    if settings is None or not errors:
        errors.setdefault("address", first)
    return Effective(settings, errors, options)


def _resolve(parts: list[str], options: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Resolve some parts; keys or an address that are not among them are replaced by others."""
    names = [name for part in parts for name in _PARTS[part][0]]
    prefixes = tuple(prefix for part in parts for prefix in _PARTS[part][1])
    given = {name: options[name] for name in names if options.get(name) is not None}
    variables = {name: value for name, value in environ.items() if name.startswith(prefixes)}
    if "keys" not in parts:
        variables |= {name: environ[name] for name in _PROFILE if name in environ}
        # Given keys shut out the files' endpoint and region, those of the environment do not.
        if any(options.get(name) for name in ("profile", "secret_id", "secret_key")):
            given |= {**_STAND_IN, "profile": options.get("profile")}
        variables |= _STAND_IN_VARIABLES
    elif "address" not in parts:
        variables.pop("TENCENTCLOUD_REGION", None)
        given["endpoint"] = _STAND_IN_ENDPOINT
    return Settings.resolve(**given, environ=variables)
