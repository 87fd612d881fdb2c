# SPDX-License-Identifier: Apache-2.0
"""The checks of ``tiw doctor``: what is set, what answers, and what the keys may do.

Each check costs only its own result: a fault in one setting does not hide the others. Everything
is bounded in time. No result holds a secret, a URL's query or the name of a user.
"""

from __future__ import annotations

import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from tiw_automation import __version__
from tiw_automation.cli.effective import Effective, resolve_parts
from tiw_automation.cli.option_names import in_options
from tiw_automation.cli.permissions import Action, Answered, ask_all, needed_policy, read_actions
from tiw_automation.core.api.callback_settings import PLAIN_HTTP, is_plain_http
from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.api.endpoints import is_loopback
from tiw_automation.core.api.settings import Settings
from tiw_automation.core.api.sites import SITES
from tiw_automation.core.api.transport import Transport
from tiw_automation.core.errors import (
    ConfigurationError,
    PermissionDenied,
    TiwError,
    TransportError,
)
from tiw_automation.core.formatting import escaped, shown_url
from tiw_automation.core.headers import http_date
from tiw_automation.core.quota.host import HostPace
from tiw_automation.core.quota.pace import Pace, recovered
from tiw_automation.core.quota.pace_file import Contents, state_folder
from tiw_automation.core.quota.parts import Demand, SharedSlot
from tiw_automation.core.quota.store import NotYet, PaceStore, Unusable
from tiw_automation.core.route import find_ca, find_proxy

OK, WARNING, FAULT, NOT_CHECKED = "ok", "warning", "fault", "not checked"

CALL_S = 5.0
"""How long one request of a checkup may take, in seconds."""
# Signatures are refused after five minutes, but a client then signs with the server's time.
_CLOCK_OFF_S = 60.0
_LATELY_S = 60.0
_CHOOSE_SITE = (
    "Give --site cn for an account of cloud.tencent.com, or --site intl for one of "
    "www.tencentcloud.com; or set TIW_ENDPOINT and TENCENTCLOUD_REGION."
)
_HOMES = re.compile(r"(?<![\w.-])/(home|Users)/[^/\s:;,'\"]+")


@dataclass(frozen=True, slots=True)
class Check:
    """One result.

    :param name: what was checked; stable.
    :param state: ``ok``, ``warning``, ``fault`` or ``not checked``.
    :param found: what was found.
    :param advice: what to do; empty where nothing is to be done.
    :param cause: of a fault: ``refused``, ``unreachable`` or ``failed``.
    """

    name: str
    state: str
    found: str
    advice: str = ""
    cause: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return JSON-native data."""
        return asdict(self)


def checkup(options: Mapping[str, Any], *, probe: bool = False) -> Iterator[Check]:
    """Check everything; yield each result once it is known.

    :param options: arguments of :meth:`Settings.resolve`.
    :param probe: also try to stop, pause and resume a task that cannot exist.
    """
    effective = resolve_parts(options, os.environ)
    tidy = _Tidy(effective)
    for check in _checks(effective, probe):
        yield tidy(check)


def _checks(effective: Effective, probe: bool) -> Iterator[Check]:
    yield _versions()
    yield from _settings_checks(effective)
    reached = False
    for check in _network_checks(effective):
        reached = reached or (check.name == "connection" and check.state == OK)
        yield check
    yield from _account_checks(effective, reached, probe)
    yield _guarded("pace file", lambda: _pace_file(effective))
    if "Redis" not in effective.errors:
        yield _guarded("Redis", lambda: _redis(effective))


def fault_of(name: str, error: TiwError) -> Check:
    """Return an error as a fault."""
    if isinstance(error, TransportError):
        cause = "unreachable"
    elif error.concerns_account or isinstance(error, ConfigurationError):
        cause = "refused"
    else:
        cause = "failed"
    return Check(name, FAULT, without_hint(error), in_options(error.hint or ""), cause)


def without_hint(error: TiwError) -> str:
    """Return an error's text without its hint."""
    found = str(error).removesuffix(f" {error.hint}") if error.hint else str(error)
    return in_options(found)


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """Return a check's result; whatever it raises is its own fault."""
    try:
        return check()
    except TiwError as error:
        return fault_of(name, error)
    except Exception as error:
        return Check(name, FAULT, f"{type(error).__name__}: {error}", cause="failed")


def _versions() -> Check:
    found = [f"tiw-automation {__version__}"]
    for package in ("tencentcloud-sdk-python-tiw", "tencentcloud-sdk-python-common"):
        try:
            found.append(f"{package.removeprefix('tencentcloud-')} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"no {package}")
    found.append(f"Python {platform.python_version()}")
    state = WARNING if any(part.startswith("no ") for part in found) else OK
    advice = "Install tiw-automation again, in a new environment." if state == WARNING else ""
    return Check("versions", state, ", ".join(found), advice)


def _settings_checks(effective: Effective) -> Iterator[Check]:
    settings, errors = effective.settings, effective.errors
    yield _guarded("keys", lambda: _keys(effective))
    if "address" in errors:
        yield fault_of("endpoint", errors["address"])
    elif settings is None:
        yield Check("endpoint", NOT_CHECKED, "The settings contradict each other.")
    else:
        yield from _address(settings)
    for name, find in (("proxy", _proxy), ("CA", _ca)):
        if name not in errors and settings is not None:
            try:
                yield find(settings)
            except TiwError as error:
                errors[name] = error
        if name in errors:
            yield fault_of(name, errors[name])
    for name in ("pace", "Redis"):
        if name in errors:
            yield fault_of(name, errors[name])
    yield _guarded("SdkAppId", lambda: _sdk_app_id(effective))


def _keys(effective: Effective) -> Check:
    if effective.settings is None and "keys" not in effective.errors:
        return Check("keys", NOT_CHECKED, "The settings contradict each other.")
    keys = effective.keys(CALL_S)
    kind = "temporary keys" if keys.token else "keys"
    ends = ""
    if keys.expires_at is not None:
        ends = f", for {max(keys.expires_at - time.time(), 0) / 60:.0f} min more"
    found = f"{keys.secret_id[:4]}... from the {keys.source} ({kind}{ends})"
    return Check("keys", OK, found)


def _address(settings: Settings) -> Iterator[Check]:
    host = settings.host.rpartition(":")[0] or settings.host
    site = next((name for name, site in SITES.items() if site.host == host), None)
    if site is None:
        yield Check("site", OK, "neither cn nor intl: an endpoint of your own")
    elif SITES[site].region == settings.region:
        yield Check("site", OK, site)
    else:
        yield Check("site", WARNING, f"none is set: {host} with {settings.region}", _CHOOSE_SITE)
    yield Check("region", OK, settings.region)
    if settings.scheme == "http" and not is_loopback(settings.host):
        advice = "Use https://: anyone on the way can read and change requests and answers."
        yield Check("endpoint", WARNING, f"{settings.url} (plain http)", advice)
    else:
        yield Check("endpoint", OK, settings.url)


def _proxy(settings: Settings) -> Check:
    found = find_proxy(settings.url, settings.proxy)
    if found is None:
        return Check("proxy", OK, "none")
    with_password = " with a user and a password" if found.headers else ""
    return Check("proxy", OK, f"{shown_url(found.url)}{with_password}")


def _ca(settings: Settings) -> Check:
    if settings.scheme == "http":
        return Check("CA", OK, "not used: plain http")
    found = find_ca(settings.ca_file)
    return Check("CA", OK, next(iter(found.values()), "the system's"))


def _sdk_app_id(effective: Effective) -> Check:
    if "SdkAppId" in effective.errors:
        raise effective.errors["SdkAppId"]
    if effective.settings is None:
        return Check("SdkAppId", NOT_CHECKED, "The settings contradict each other.")
    found = effective.settings.sdk_app_id
    if found is None:
        raise ConfigurationError(
            "No SdkAppId is set.",
            hint="Give --sdk-app-id or set TIW_SDK_APP_ID; the TIW console shows it.",
        )
    return Check("SdkAppId", OK, str(found))


def _network_checks(effective: Effective) -> Iterator[Check]:
    settings = effective.settings
    if settings is None or effective.errors.keys() & {"address", "proxy", "CA"}:
        yield Check("connection", NOT_CHECKED, "The faults above come first.")
        return
    begun = time.monotonic()
    try:
        transport = Transport(settings.url, proxy=settings.proxy, ca_file=settings.ca_file)
        answer = transport.exchange("GET", "/", None, {}, begun + CALL_S)
    except TiwError as error:
        fault = fault_of("connection", error)
        yield replace(fault, advice=fault.advice or "Check endpoint, proxy, CA and firewall.")
        return
    took_s = time.monotonic() - begun
    yield Check("connection", OK, f"{settings.host} answered in {took_s * 1000:.0f} ms")
    yield _clock(http_date(answer.headers.get("Date", "")), took_s)


def _clock(server_time: float | None, took_s: float) -> Check:
    if server_time is None:
        return Check("clock", NOT_CHECKED, "The answer has no usable Date.")
    # The Date is in whole seconds.
    ahead_s = time.time() - took_s / 2 - (server_time + 0.5)
    if abs(ahead_s) <= _CLOCK_OFF_S:
        return Check(
            "clock", OK, f"differs from the server's by {max(abs(ahead_s) - 0.5, 0):.0f} s"
        )
    way = "ahead of" if ahead_s > 0 else "behind"
    return Check(
        "clock",
        WARNING,
        f"{abs(ahead_s):.0f} s {way} the server's",
        "Set this machine's clock (NTP). Until then requests are signed with the server's time.",
    )


def _account_checks(effective: Effective, reached: bool, probe: bool) -> Iterator[Check]:
    first, *others = read_actions(probe)
    if not reached or effective.errors or effective.app_id is None:
        reason = "The faults above come first"
        yield Check("account", NOT_CHECKED, reason)
        yield from (_not_called(action, effective, reason) for action in (first, *others))
        yield Check("callbacks", NOT_CHECKED, reason)
        return
    with TiwClient(**{**effective.options, "timeout": CALL_S}) as client:
        answered = ask_all(client, [first], CALL_S)[0]
        account = _account(answered)
        yield account
        if account.state == FAULT:
            reason = "The account's answer comes first"
            yield from (_not_called(action, effective, reason) for action in (first, *others))
            yield Check("callbacks", NOT_CHECKED, reason)
            return
        all_answered = [answered, *ask_all(client, others, CALL_S)]
    for found in all_answered:
        yield _permission(found, effective)
    yield _callbacks(all_answered)


def _account(answered: Answered) -> Check:
    error = answered.error
    if error is None or answered.is_permitted:
        return Check("account", OK, "The keys and the SdkAppId are accepted.")
    if isinstance(error, PermissionDenied):
        found = "The keys are accepted, but may not read recordings of this SdkAppId."
        return Check("account", WARNING, found, in_options(error.hint or ""))
    if isinstance(error, TransportError) or error.concerns_account:
        return fault_of("account", error)
    return Check("account", WARNING, without_hint(error), in_options(error.hint or ""))


def _not_called(action: Action, effective: Effective, reason: str) -> Check:
    if action.is_called:
        return Check(action.check_name, NOT_CHECKED, reason)
    return _permission(Answered(action), effective)


def _permission(answered: Answered, effective: Effective) -> Check:
    action, error = answered.action, answered.error
    name, policy = action.check_name, needed_policy(action.name, effective.app_id)
    if not action.is_called:
        return Check(name, NOT_CHECKED, action.why_not, f"It needs {policy}.")
    if error is None or answered.is_permitted:
        return Check(name, OK, "permitted")
    if isinstance(error, PermissionDenied):
        state = FAULT if action.is_needed else WARNING
        cause = "refused" if action.is_needed else ""
        return Check(name, state, f"refused ({error.code})", f"It needs {policy}.", cause)
    if error.code == "InvalidAction":
        return Check(name, NOT_CHECKED, "not on this site")
    if action.is_needed:
        return fault_of(name, error)
    return Check(name, WARNING, without_hint(error), in_options(error.hint or ""))


def _callbacks(all_answered: list[Answered]) -> Check:
    found = next(one for one in all_answered if one.action.name == "DescribeOnlineRecordCallback")
    if found.response is None:
        return Check("callbacks", NOT_CHECKED, "The keys may not read where callbacks go.")
    url, key = found.response.get("Callback"), found.response.get("CallbackKey")
    if not url or not isinstance(url, str):
        return Check("callbacks", OK, "No address is set; waits only poll.")
    where = escaped(shown_url(url))
    if not key:
        advice = "Set one with tiw callbacks set: without a key, anyone can post."
        return Check("callbacks", WARNING, f"{where}, without a key", advice)
    if is_plain_http(url):
        return Check("callbacks", WARNING, f"{where}, with a key", PLAIN_HTTP)
    return Check("callbacks", OK, f"{where}, with a key")


def _pace_file(effective: Effective) -> Check:
    settings = effective.settings
    if settings is not None and settings.quota_url is not None:
        return Check("pace file", OK, "Not used: TIW_QUOTA_URL is set.")
    try:
        if settings is None or "keys" in effective.errors:
            return Check("pace file", OK, f"The folder {state_folder()} is usable.")
        identity = settings.credentials.identity
        pace = HostPace(identity, settings.host, "DescribeOnlineRecord")
        contents = _contents(pace, settings.requests_per_second)
    except (Unusable, OSError) as error:
        return Check(
            "pace file",
            WARNING,
            f"It cannot be used: {error}. Processes of this host do not share their pace.",
            "Set TMPDIR to a folder that this user may write to.",
        )
    now = time.monotonic()
    others = [
        row.pid for row in contents.rows if row.pid != os.getpid() and now - row.seen < _LATELY_S
    ]
    share = settings.requests_per_second * settings.quota_share
    rate = share * recovered(contents.factor, contents.since, now)
    sharers = f"shared with process {', '.join(map(str, others))}" if others else "not shared now"
    return Check("pace file", OK, f"{pace.path}: {rate:.3g} requests a second, {sharers}")


def _contents(pace: HostPace, requests_per_second: float) -> Contents:
    with open(pace.path, "rb") as file:
        return Contents.read(file.read(), time.monotonic(), requests_per_second)


def _redis(effective: Effective) -> Check:
    """Take one slot of the shared pace, as each process does."""
    settings = effective.settings
    if settings is None or settings.quota_url is None:
        return Check("Redis", OK, "TIW_QUOTA_URL is not set; each host has its own pace.")
    from tiw_automation.core.quota.redis import RedisPace

    has_keys = "keys" not in effective.errors
    identity = settings.credentials.identity if has_keys else "tiw doctor"
    shown = escaped(shown_url(settings.quota_url))
    pace = RedisPace(settings.quota_url, identity, settings.host, "DescribeOnlineRecord")
    try:
        slot = _first_slot(pace, Pace(settings.requests_per_second, settings.quota_share))
    except Unusable as error:
        return Check(
            "Redis",
            WARNING,
            f"{shown} cannot be used: {error}. Each process has its own pace.",
            "Check the URL, the server, and that its user may run scripts (EVAL, EVALSHA, TIME).",
        )
    finally:
        pace.close()
    return Check("Redis", OK, f"{shown}: {slot.pace:.3g} requests a second for all processes")


def _first_slot(pace: PaceStore, own: Pace) -> SharedSlot:
    """Return the next slot.

    :raises Unusable: the store cannot be used, or has no slot within a few seconds.
    """
    began = time.monotonic()
    pace.expect(began, own.rate)
    while (now := time.monotonic()) < began + CALL_S:
        try:
            return pace.take(now, own, Demand())
        except NotYet:
            time.sleep(0.02)
    raise Unusable("it has no slot yet")


def grouped(permissions: Sequence[Check]) -> list[Check]:
    """Return the checks of actions with one for all that have the same result."""
    groups: dict[tuple[str, str, bool], list[Check]] = {}
    for check in permissions:
        groups.setdefault((check.state, check.found, bool(check.advice)), []).append(check)
    return [_group(checks) for checks in groups.values()]


def _group(checks: Sequence[Check]) -> Check:
    first = checks[0]
    names = ", ".join(check.name.removeprefix("tiw:") for check in checks)
    advice = first.advice
    if len(checks) > 1 and first.name in advice:
        advice = advice.replace("It needs", "Each needs").replace(first.name, "tiw:<its name>")
    return replace(first, name="permissions", found=f"{first.found}: {names}", advice=advice)


class _Tidy:
    """Removes secrets and names of users from what checks report."""

    def __init__(self, effective: Effective) -> None:
        self._home = str(Path.home())
        self._secrets = effective.secrets()

    def __call__(self, check: Check) -> Check:
        return replace(check, found=self._text(check.found), advice=self._text(check.advice))

    def _text(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "...")
        if len(self._home) > 1:
            text = re.sub(re.escape(self._home) + r"(?![\w.-])", "~", text)
        return escaped(_HOMES.sub(r"/\1/...", text))
