# SPDX-License-Identifier: Apache-2.0
"""Every setting of a client, resolved and checked once.

Precedence: an explicit value, then an explicit profile, then the environment, then the files of the
default profile, then the default. An explicit site shuts out every endpoint that is not an
argument. Explicit keys shut out the endpoint and the region of the default profile's files, which
may belong to another account.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from tiw_automation.core.api.credential_chain import find_credentials
from tiw_automation.core.api.credentials import CredentialSource
from tiw_automation.core.api.endpoints import check_scheme, parse_endpoint
from tiw_automation.core.api.key_files import Profile, UnreadableFile, read_profile
from tiw_automation.core.api.options import read_options
from tiw_automation.core.api.sites import SITES, Site
from tiw_automation.core.checks import as_number, check_sdk_app_id
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import escaped, shown
from tiw_automation.core.route import check_ca, parse_proxy

logger = logging.getLogger(__name__)

DEFAULT_REQUESTS_PER_SECOND = 19.0
DEFAULT_TIMEOUT_S = 10.0

# The pair of the DescribeOnlineRecord page, used where neither site nor region is given.
_DEFAULT_SITE = replace(SITES["cn"], region=SITES["intl"].region)
_QUOTA_SCHEMES = ("redis://", "rediss://", "valkey://", "valkeys://", "unix://")
_SIMULATORS_ID, _TENCENTS_HOSTS = "AKIDsimulator", ".tencentcloudapi.com"
_SERVED_REGIONS = sorted({site.region for site in SITES.values()})


@dataclass(frozen=True, slots=True)
class _Ambient:
    """Where a part of the address comes from if no argument gives it.

    :param variable: of the environment.
    :param setting: of the profile, an attribute of ``Profile``.
    :param in_words: the profile's setting, for messages.
    :param site_shuts_out: whether an explicit site forbids both.
    """

    variable: str
    setting: str
    in_words: str
    site_shuts_out: bool


_ENDPOINT = _Ambient("TIW_ENDPOINT", "endpoint", "The profile's endpoint", True)
_STS = _Ambient("TIW_STS_ENDPOINT", "sts_endpoint", "The profile's endpoint of sts", True)
_REGION = _Ambient("TENCENTCLOUD_REGION", "region", "The profile's region", False)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a client. Hashable: clients with equal settings may share one watcher.

    ``requests_per_second`` is the pace of one action for the whole account, of which this host
    takes ``quota_share``; ``quota_url`` is where many hosts share it.
    ``timeout_s`` is the deadline of one call in seconds.
    """

    credentials: CredentialSource
    sdk_app_id: int | None
    scheme: str
    host: str
    region: str
    requests_per_second: float
    quota_share: float
    quota_url: str | None
    timeout_s: float
    ca_file: str | None
    proxy: str | None

    @property
    def url(self) -> str:
        """The endpoint with its scheme."""
        return f"{self.scheme}://{self.host}"

    def __repr__(self) -> str:
        # A proxy's URL may hold a password.
        return (
            f"Settings(account={self.credentials.identity!r}, url={self.url!r}, "
            f"region={self.region!r}, sdk_app_id={self.sdk_app_id!r})"
        )

    @classmethod
    def resolve(
        cls,
        *,
        secret_id: str | None = None,
        secret_key: str | None = None,
        token: str | None = None,
        profile: str | None = None,
        role_arn: str | None = None,
        sdk_app_id: int | str | None = None,
        site: str | None = None,
        region: str | None = None,
        endpoint: str | None = None,
        allow_http: bool | str | None = None,
        requests_per_second: float | None = None,
        quota_share: float | None = None,
        quota_url: str | None = None,
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        timeout: float | None = None,
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
    ) -> Settings:
        """Resolve what is not given, and check everything.

        :param allow_http: whether keys may go to another machine over plain http.
        :param environ: read instead of ``os.environ``.
        :param home: searched for files instead of the user's home directory.
        :raises ConfigurationError: a setting is invalid; the message names it.
        :raises CredentialsError: no complete pair of keys was found.
        """
        env = os.environ if environ is None else environ
        _check_texts(profile=profile, role_arn=role_arn, site=site, region=region)
        # Explicit keys may belong to another account than the files, and need other settings.
        skip_files = not profile and bool(secret_id or secret_key)
        address = _Address(
            site=site,
            environ=env,
            files=Profile() if skip_files else _files(profile, env, home),
            profile_first=bool(profile),
            allow_http=_may_use_http(allow_http, env),
        )
        given_endpoint = address.endpoint(endpoint)
        scheme, host = given_endpoint or ("https", address.site_or_default.host)
        served_from = address.region(region, at_any=given_endpoint is not None)
        checked_proxy, checked_ca_file = _proxy_url(proxy), _trusted(ca_file)
        timeout_s = _above_zero("timeout", timeout, DEFAULT_TIMEOUT_S)
        app_id = sdk_app_id if sdk_app_id is not None else (env.get("TIW_SDK_APP_ID") or None)
        share = quota_share if quota_share is not None else env.get("TIW_QUOTA_SHARE") or None
        credentials = find_credentials(
            secret_id=secret_id,
            secret_key=secret_key,
            token=token,
            profile=profile,
            role_arn=role_arn,
            environ=env,
            home=home,
            sts_url=address.sts_url(),
            proxy=checked_proxy,
            ca_file=checked_ca_file,
            timeout_s=timeout_s,
        )
        _refuse_simulators_key(credentials, host)
        return cls(
            credentials=credentials,
            sdk_app_id=None if app_id is None else check_sdk_app_id(app_id),
            scheme=scheme,
            host=host,
            region=served_from,
            requests_per_second=_above_zero(
                "requests_per_second", requests_per_second, DEFAULT_REQUESTS_PER_SECOND
            ),
            quota_share=_above_zero("quota_share (TIW_QUOTA_SHARE)", share, 1.0, at_most=1.0),
            quota_url=_quota_url(quota_url or env.get("TIW_QUOTA_URL")),
            timeout_s=timeout_s,
            ca_file=checked_ca_file,
            proxy=checked_proxy,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """Resolves host, region and the address of STS by the precedence of this module.

    :param profile_first: whether the files' settings go before the environment's.
    """

    site: str | None
    environ: Mapping[str, str]
    files: Profile
    profile_first: bool
    allow_http: bool

    def __post_init__(self) -> None:
        if self.site is not None and self.site not in SITES:
            raise ConfigurationError(
                f"site: {shown(self.site)} is not a site.",
                hint=f"Use one of {', '.join(SITES)}.",
            )

    @property
    def site_or_default(self) -> Site:
        return _DEFAULT_SITE if self.site is None else SITES[self.site]

    def endpoint(self, given: object) -> tuple[str, str] | None:
        """Return the scheme and host of the given or ambient endpoint, if there is one."""
        if given is not None and given != "":
            return self._parsed("endpoint", given)
        if self.site is not None and self.environ.get(_ENDPOINT.variable):
            _warn_once(
                f"{_ENDPOINT.variable} is ignored: site {shown(self.site)} was given, and names "
                "the host."
            )
        found = self._ambient(_ENDPOINT)
        return self._parsed(*found[0]) if found else None

    def sts_url(self) -> str:
        found = self._ambient(_STS)
        return "://".join(self._parsed(*found[0])) if found else self.site_or_default.sts_url

    def region(self, given: str | None, *, at_any: bool) -> str:
        """Return the given region, else the first ambient one that is served, else the default.

        :param at_any: whether there is an endpoint, which may serve any region.
        """
        default = self.site_or_default.region
        served = _SERVED_REGIONS if self.site is None else [default]
        places = ", ".join(served)
        if given is None:
            for name, value in self._ambient(_REGION):
                if value in served:
                    return value
                _warn_once(f"{name} {value} is ignored: TIW is served from {places} here.")
            return default
        if self.site is not None and given != default:
            raise ConfigurationError(
                f"region {shown(given)} contradicts site {shown(self.site)}, which is served from "
                f"{default}.",
                hint="Leave one of the two out.",
            )
        if given not in served and not at_any:
            raise ConfigurationError(
                f"region: TIW is not served from {shown(given)}.",
                hint=f"Use one of {places}, or leave it out.",
            )
        return given

    def _ambient(self, part: _Ambient) -> list[tuple[str, str]]:
        """Return names and values of what gives a part, the first that counts first."""
        if self.site is not None and part.site_shuts_out:
            return []
        found = [
            (part.variable, self.environ.get(part.variable)),
            (part.in_words, getattr(self.files, part.setting)),
        ]
        ranked = found[::-1] if self.profile_first else found
        return [(name, value) for name, value in ranked if value]

    def _parsed(self, name: str, value: object) -> tuple[str, str]:
        scheme, host = parse_endpoint(value, name)
        check_scheme(scheme, host, name, allow_http=self.allow_http)
        return scheme, host


def _refuse_simulators_key(credentials: CredentialSource, host: str) -> None:
    if credentials.identity.startswith(_SIMULATORS_ID) and host.endswith(_TENCENTS_HOSTS):
        raise ConfigurationError(
            f"The key is the simulator's, and {host} is Tencent's.",
            hint="Set TIW_ENDPOINT to the simulator's address, and give no site; or set your own "
            "keys.",
        )


def _check_texts(**given: object) -> None:
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{name} must be a string, not {shown(value)}.")
        if value and not value.isprintable():
            raise ConfigurationError(f"{name} holds characters that do not print: {shown(value)}.")


def _files(profile: str | None, env: Mapping[str, str], home: Path | None) -> Profile:
    try:
        found = read_profile(profile, env, home)
    except ConfigurationError as error:
        if profile:
            raise
        # It was not named, and everything may be given elsewhere.
        if not isinstance(error, UnreadableFile):
            _warn_once(f"{error} It is ignored.")
        return Profile()
    # The command line writes its default host into every profile, so this one is not a choice.
    return replace(found, endpoint=None) if found.endpoint == _DEFAULT_SITE.host else found


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        logger.warning("%s", escaped(message))


def _above_zero(name: str, value: object, default: float, *, at_most: float = math.inf) -> float:
    if value is None:
        return default
    number = as_number(value)
    if number is None or not 0 < number <= at_most:
        limit = "" if at_most == math.inf else f" and at most {at_most:g}"
        raise ConfigurationError(
            f"{name} must be a number above zero{limit}, not {shown(value)}.",
            hint=f"The default is {default:g}.",
        )
    return number


def _trusted(value: str | os.PathLike[str] | None) -> str | None:
    if value is None or value == "":
        return None
    try:
        path = os.path.expanduser(os.fspath(value))
    except TypeError:
        raise ConfigurationError("ca_file must be a path.") from None
    check_ca(path, "ca_file")
    return path


def _proxy_url(value: str | None) -> str | None:
    if value is None or value == "":
        return None
    parse_proxy(value, "proxy")
    return value


def _quota_url(value: object) -> str | None:
    if not value:
        return None
    # The value is not shown: it may hold a password.
    if not isinstance(value, str) or not value.startswith(_QUOTA_SCHEMES):
        raise ConfigurationError(
            "quota_url (TIW_QUOTA_URL) is not the URL of a Redis server.",
            hint="For example redis://host:6379/0, or rediss://user:password@host:6379/0 for TLS.",
        )
    try:
        from tiw_automation.core.quota.redis_connection import check_url
    except ImportError:
        raise ConfigurationError(
            "quota_url (TIW_QUOTA_URL) needs the Python package redis.",
            hint="Install tiw-automation[redis].",
        ) from None
    try:
        check_url(value)
    except Exception:
        raise ConfigurationError("quota_url (TIW_QUOTA_URL) is malformed.") from None
    return value


def _may_use_http(given: bool | str | None, env: Mapping[str, str]) -> bool:
    name, value = "allow_http", given
    if given is None or given == "":
        name, value = "TIW_ALLOW_HTTP", env.get("TIW_ALLOW_HTTP")
    return bool(read_options({name: value}, {name: bool}).get(name))
