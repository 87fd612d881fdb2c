# SPDX-License-Identifier: Apache-2.0
"""Every setting of a client, resolved and checked once.

Precedence: an explicit value, then an explicit profile, then the environment, then the files of the
default profile, then the default. An explicit site shuts out every endpoint that is not an
argument; explicit keys shut out the endpoint and the region of the default profile's files, which
may be those of another account.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiw_automation.core.api.credential_chain import (
    CredentialSource,
    Profile,
    find_credentials,
    read_profile,
)
from tiw_automation.core.api.credentials import UnreadableFile
from tiw_automation.core.api.endpoints import check_scheme, parse_endpoint
from tiw_automation.core.api.options import read_options
from tiw_automation.core.api.route import check_ca, parse_proxy
from tiw_automation.core.api.sites import SITES
from tiw_automation.core.checks import check_sdk_app_id
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import escaped, shown

logger = logging.getLogger(__name__)

DEFAULT_REQUESTS_PER_SECOND = 19.0
DEFAULT_TIMEOUT_S = 10.0

# The pair of the DescribeOnlineRecord page, used where neither site nor region is given.
_DEFAULT_HOST, _DEFAULT_REGION = SITES["cn"].host, SITES["intl"].region
_SERVED_REGIONS = sorted({site.region for site in SITES.values()})


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client works with. Hashable: equal settings may share one watcher.

    ``requests_per_second`` is the pace of one action for the whole account; this process takes
    ``quota_share`` of it. ``timeout_s`` is one call's hard deadline in seconds.
    """

    credentials: CredentialSource
    sdk_app_id: int | None
    scheme: str
    host: str
    region: str
    requests_per_second: float
    quota_share: float
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
        ca_file: str | os.PathLike[str] | None = None,
        proxy: str | None = None,
        timeout: float | None = None,
        environ: Mapping[str, str] | None = None,
        home: Path | None = None,
    ) -> Settings:
        """Fill in what is not given, and check everything.

        :param allow_http: whether keys may go to another machine over plain http.
        :param environ: read instead of ``os.environ``.
        :param home: looked in for files instead of the user's home directory.
        :raises ConfigurationError: a setting is invalid; the message names it.
        :raises CredentialsError: no whole pair of keys was found.
        """
        env = os.environ if environ is None else environ
        _check_texts(profile=profile, role_arn=role_arn, site=site, region=region)
        # Explicit keys may be of another account than the files, and need other settings.
        skip_files = not profile and bool(secret_id or secret_key)
        files = Profile() if skip_files else _files(profile, env, home)
        http = _may_use_http(allow_http, env)
        scheme, host, resolved_region = _address(
            site, region, endpoint, env, files, first=bool(profile), allow_http=http
        )
        checked_proxy, checked_ca_file = _proxy_url(proxy), _trusted(ca_file)
        timeout_s = _positive("timeout", timeout, DEFAULT_TIMEOUT_S)
        app_id = sdk_app_id if sdk_app_id is not None else (env.get("TIW_SDK_APP_ID") or None)
        share = quota_share if quota_share is not None else (env.get("TIW_QUOTA_SHARE") or 1)
        return cls(
            credentials=find_credentials(
                secret_id=secret_id,
                secret_key=secret_key,
                token=token,
                profile=profile,
                role_arn=role_arn,
                environ=env,
                home=home,
                sts_url=_sts_url(site, env, files, allow_http=http),
                proxy=checked_proxy,
                ca_file=checked_ca_file,
                timeout_s=timeout_s,
            ),
            sdk_app_id=None if app_id is None else check_sdk_app_id(app_id),
            scheme=scheme,
            host=host,
            region=resolved_region,
            requests_per_second=_positive(
                "requests_per_second", requests_per_second, DEFAULT_REQUESTS_PER_SECOND
            ),
            quota_share=_positive("quota_share (TIW_QUOTA_SHARE)", share, 1.0, at_most=1.0),
            timeout_s=timeout_s,
            ca_file=checked_ca_file,
            proxy=checked_proxy,
        )


def _check_texts(**given: object) -> None:
    for name, value in given.items():
        if value is not None and not isinstance(value, str):
            raise ConfigurationError(f"{name} must be a string, not {shown(value)}.")
        if value and not value.isprintable():
            raise ConfigurationError(f"{name} holds signs that do not print: {shown(value)}.")


def _files(profile: str | None, env: Mapping[str, str], home: Path | None) -> Profile:
    try:
        return read_profile(profile, env, home)
    except ConfigurationError as error:
        if profile:
            raise
        # It was not asked for by name, and everything may be given elsewhere.
        if not isinstance(error, UnreadableFile):
            _warn_once(f"{error} It is ignored.")
        return Profile()


def _address(
    site: str | None,
    region: str | None,
    endpoint: str | None,
    env: Mapping[str, str],
    files: Profile,
    *,
    first: bool,
    allow_http: bool,
) -> tuple[str, str, str]:
    """Return scheme, host and region; ``first`` says that the profile goes before ``env``."""
    if site is not None and site not in SITES:
        raise ConfigurationError(
            f"site: {shown(site)} is not a site.", hint=f"Use one of {', '.join(SITES)}."
        )
    host = SITES[site].host if site else _DEFAULT_HOST
    default_region = SITES[site].region if site else _DEFAULT_REGION
    allowed = [default_region] if site else _SERVED_REGIONS
    given_endpoint = ("endpoint", endpoint)
    if site and not endpoint and env.get("TIW_ENDPOINT"):
        _warn_once(f"TIW_ENDPOINT is ignored: site {shown(site)} was given, and names the host.")
    elif not endpoint and not site:
        # The command line writes its default host into every profile: that says nothing.
        of_files = files.endpoint if files.endpoint != _DEFAULT_HOST else None
        ambient = [("TIW_ENDPOINT", env.get("TIW_ENDPOINT")), ("The profile's endpoint", of_files)]
        given_endpoint = next(
            (found for found in (ambient[::-1] if first else ambient) if found[1]),
            ("endpoint", None),
        )
    if region is not None and site and region != default_region:
        raise ConfigurationError(
            f"region {shown(region)} contradicts site {shown(site)}, which is served from "
            f"{default_region}.",
            hint="Leave one of the two out.",
        )
    if region is not None and region not in allowed and not given_endpoint[1]:
        raise ConfigurationError(
            f"region: TIW is not served from {shown(region)}.",
            hint=f"Use one of {', '.join(allowed)}, or leave it out.",
        )
    found = [
        ("TENCENTCLOUD_REGION", env.get("TENCENTCLOUD_REGION")),
        ("The profile's region", files.region),
    ]
    for source, value in found[::-1] if first else found:
        if region is None and value:
            if value in allowed:
                region = value
                break
            _warn_once(
                f"{source} {value} is ignored: TIW is served from {', '.join(allowed)} here."
            )
    scheme = "https"
    name, value = given_endpoint
    if value is not None and value != "":
        scheme, host = parse_endpoint(value, name)
        check_scheme(scheme, host, name, allow_http=allow_http)
    return scheme, host, region or default_region


def _sts_url(site: str | None, env: Mapping[str, str], files: Profile, *, allow_http: bool) -> str:
    if site is None:
        for name, value in (
            ("TIW_STS_ENDPOINT", env.get("TIW_STS_ENDPOINT")),
            ("The profile's endpoint of sts", files.sts_endpoint),
        ):
            if value:
                scheme, host = parse_endpoint(value, name)
                check_scheme(scheme, host, name, allow_http=allow_http)
                return f"{scheme}://{host}"
    return SITES[site or "cn"].sts_url


_warned: set[str] = set()


def _warn_once(message: str) -> None:
    if message not in _warned:
        _warned.add(message)
        logger.warning("%s", escaped(message))


def _positive(name: str, value: Any, default: float, *, at_most: float = math.inf) -> float:
    if value is None:
        return default
    limit = "" if at_most == math.inf else f" and at most {at_most:g}"
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (OverflowError, TypeError, ValueError):
        number = math.nan
    if not 0 < number <= at_most or number == math.inf:
        raise ConfigurationError(
            f"{name} has to be a number above zero{limit}, not {shown(value)}.",
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


def _may_use_http(given: bool | str | None, env: Mapping[str, str]) -> bool:
    if given is not None and given != "":
        return bool(read_options({"allow_http": given}, {"allow_http": bool})["allow_http"])
    name = "TIW_ALLOW_HTTP"
    return bool(read_options({name: env.get(name)}, {name: bool}).get(name, False))
