# SPDX-License-Identifier: Apache-2.0
"""Sources of keys, and how each stays fresh.

What is temporary is renewed by :class:`RenewedKeys`: one renewal is under way for all callers, in a
thread of its own, and each caller waits for it no longer than its own call may take.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import json
import logging
import math
import os
import re
import stat
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote
from weakref import WeakSet

from tiw_automation.core.api.sites import site_of
from tiw_automation.core.api.transport import Answer, Transport, http_date
from tiw_automation.core.checks import whole_number
from tiw_automation.core.errors import CredentialsError, DeadlineExceeded, TiwError, TransportError
from tiw_automation.core.formatting import escaped

if TYPE_CHECKING:
    from tiw_automation.core.api.sdk import StsSdkClient

logger = logging.getLogger(__name__)

METADATA_URL = "http://metadata.tencentyun.com"
# As CAM allows it.
_ROLE_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
_ROLE_PATH = "/latest/meta-data/cam/security-credentials/"
# Off Tencent's cloud nothing answers there, and a client must not wait for it.
METADATA_TIMEOUT_S = 2.0
_STS_TIMEOUT_S = 10.0
_ROLE_DURATION_S = 7200
_RENEW_BEFORE_END_S = 600.0
_RETRY_RENEWAL_S = 30.0
# STS gives no role for longer, whatever an answer says.
_LONGEST_LIFE_S = 12 * 3600.0
# However wrong a clock is, and however often keys are refused.
_LEAST_GAP_S = 10.0
_LARGEST_FILE_BYTES = 1024 * 1024


class UnreadableFile(CredentialsError):
    """A file is there and cannot be read; one that was not asked for is as if it was not there."""


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

    def current(self, timeout_s: float | None = None) -> Credentials:
        """Return the keys to sign with now; called for every request.

        :param timeout_s: the longest to wait for new ones, in seconds; None waits for their end.
        :raises CredentialsError: there are none any more.
        :raises TransportError: they could not be renewed now; a later call may succeed.
        """

    def renew(self, refused: Credentials, timeout_s: float | None = None) -> bool:
        """Look for others than those that the API refused; return whether there are any.

        :raises TransportError: they could not be renewed now; a later call may succeed.
        """


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """Keys that stay as they are."""

    credentials: Credentials

    @property
    def identity(self) -> str:
        return self.credentials.secret_id

    def current(self, timeout_s: float | None = None) -> Credentials:
        return self.credentials

    def renew(self, refused: Credentials, timeout_s: float | None = None) -> bool:
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
        self._stamp = _stamp(path)
        self._keys = read(path)
        # An account that rotates its keys keeps its quota, so the first id stands for it.
        self._identity = self._keys.secret_id
        self._start_anew()
        _with_locks.add(self)

    def _start_anew(self) -> None:
        self._lock = threading.Lock()

    @property
    def identity(self) -> str:
        return self._identity

    def current(self, timeout_s: float | None = None) -> Credentials:
        stamp = _stamp(self.path)
        with self._lock:
            if stamp not in (None, self._stamp):
                try:
                    self._keys = self._read(self.path)
                except CredentialsError as error:
                    logger.warning("%s The keys read before stay in use.", error.message)
                self._stamp = stamp
            return self._keys

    def renew(self, refused: Credentials, timeout_s: float | None = None) -> bool:
        return self.current() != refused


class _Renewal:
    """One renewal, which any number of callers wait for."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.keys: Credentials | None = None
        self.error: TiwError | None = None


class RenewedKeys(ABC):
    """Temporary keys that are fetched, and fetched anew before they end.

    A failure to renew is logged and tried again while the old keys last. Keys are used for ten
    seconds at least, whatever the clock says, and refused ones are replaced once in ten seconds.

    :param clock: this machine's time in UNIX seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.clock_offset_s = 0.0
        """The server's clock minus this machine's, as of the last renewal."""
        self._keys: Credentials | None = None
        self._refused: Credentials | None = None
        # These two are of this machine's clock.
        self._renew_at = -math.inf
        self._forced_at = -math.inf
        self._start_anew()
        _with_locks.add(self)

    def _start_anew(self) -> None:
        # A forked child has neither the thread that renews nor the one that holds the lock.
        self._lock = threading.Lock()
        self._renewal: _Renewal | None = None

    @abstractmethod
    def fetch(self) -> Credentials:
        """Get new keys, in bounded time."""

    def current(self, timeout_s: float | None = None) -> Credentials:
        with self._lock:
            keys = self._keys
            if keys is not None and keys != self._refused and self._clock() < self._renew_at:
                return keys
            renewal = self._under_way()
        return self._wait(renewal, timeout_s)

    def renew(self, refused: Credentials, timeout_s: float | None = None) -> bool:
        with self._lock:
            if self._keys != refused:
                return True
            if self._renewal is None:
                now = self._clock()
                if abs(now - self._forced_at) < _LEAST_GAP_S:
                    raise TransportError(
                        f"The keys from the {refused.source} were renewed moments ago, and are "
                        "refused again.",
                        code="KeysNotRenewed",
                        hint="Check the role, and what its policy allows.",
                    )
                self._forced_at = now
            self._refused = refused
            renewal = self._under_way()
        return self._wait(renewal, timeout_s) != refused

    def saw_server_time(self, server_time: float | None) -> None:
        """Take over the server's clock, where an answer showed it (UNIX seconds)."""
        if server_time is not None:
            self.clock_offset_s = server_time - self._clock()

    def _under_way(self) -> _Renewal:
        """Return the renewal that is under way, else begin one; the lock is held."""
        if self._renewal is None:
            renewal = _Renewal()
            thread = threading.Thread(
                target=self._carry_out, args=(renewal,), name="tiw-keys", daemon=True
            )
            try:
                thread.start()
            except RuntimeError as error:
                raise _not_renewed(f"no thread could be started ({error})") from None
            self._renewal = renewal
        return self._renewal

    def _wait(self, renewal: _Renewal, timeout_s: float | None) -> Credentials:
        renewal.over.wait(None if timeout_s is None else max(timeout_s, 0.0))
        if renewal.keys is not None:
            return renewal.keys
        with self._lock:
            if self._keys is not None and self._is_usable(self._keys):
                return self._keys
        if renewal.error is not None:
            # Each caller gets an error of its own: what raises one writes into it.
            raise copy.copy(renewal.error) from renewal.error
        raise DeadlineExceeded(
            f"New keys did not come within {timeout_s:.3g} s.",
            hint="Check the network to where the keys come from, or raise timeout.",
        )

    def _is_usable(self, keys: Credentials) -> bool:
        now = self._clock() + self.clock_offset_s
        return keys != self._refused and keys.expires_at is not None and now < keys.expires_at

    def _carry_out(self, renewal: _Renewal) -> None:
        try:
            try:
                keys = self.fetch()
            except TiwError as error:
                self._failed(renewal, error)
            except Exception as error:
                self._failed(renewal, _not_renewed(f"{type(error).__name__}: {error}"))
            else:
                self._succeeded(renewal, keys)
        finally:
            with self._lock:
                self._renewal = None
            renewal.over.set()

    def _succeeded(self, renewal: _Renewal, keys: Credentials) -> None:
        with self._lock:
            now = self._clock()
            ends = now if keys.expires_at is None else keys.expires_at - self.clock_offset_s
            left = min(max(ends - now, 0.0), _LONGEST_LIFE_S)
            # Half of a short life, ten minutes of a long one.
            pause = left - min(_RENEW_BEFORE_END_S, left / 2)
            self._renew_at = now + max(pause, _LEAST_GAP_S)
            self._keys = renewal.keys = keys
            self._refused = None

    def _failed(self, renewal: _Renewal, error: TiwError) -> None:
        with self._lock:
            if self._keys is not None and isinstance(error, CredentialsError):
                # There were keys before, so this is a fault that may pass.
                error = _not_renewed(error.message)
            renewal.error = error
            if self._keys is not None and self._is_usable(self._keys):
                logger.warning("New keys could not be had yet: %s", error)
                self._renew_at = self._clock() + _RETRY_RENEWAL_S


def _not_renewed(reason: str) -> TransportError:
    return TransportError(f"The keys could not be renewed: {reason}", code="KeysNotRenewed")


class InstanceRole(RenewedKeys):
    """The CAM role of the instance that this runs on.

    :param url: of the metadata service.
    :param timeout_s: how long to look for it, in seconds.
    :raises CredentialsError: the instance has no role.
    :raises TransportError: nothing answers there.
    """

    def __init__(
        self,
        url: str = METADATA_URL,
        *,
        timeout_s: float = METADATA_TIMEOUT_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock=clock)
        self.url = url
        # Never by a proxy: its instance would be asked instead of this one.
        self._transport = Transport(url, use_environment=False, pool_size=1)
        self.role = self._get(_ROLE_PATH, min(timeout_s, METADATA_TIMEOUT_S)).strip()
        if not _ROLE_NAME.fullmatch(self.role):
            raise CredentialsError(f"{url} names no CAM role for this instance.")

    @property
    def identity(self) -> str:
        return f"CAM role {self.role}"

    def fetch(self) -> Credentials:
        text = self._get(_ROLE_PATH + quote(self.role, safe=""), METADATA_TIMEOUT_S)
        return temporary_keys(parsed_json(text), f"CAM role {self.role} of this instance")

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


class _StsKeys(RenewedKeys):
    """Temporary keys from the Security Token Service.

    :param url: of the service.
    """

    def __init__(
        self,
        url: str,
        region: str,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock=clock)
        self.url = url
        self.region = region
        self._transport = Transport(url, proxy=proxy, ca_file=ca_file, pool_size=1)

    def _client(self, keys: Credentials | None) -> StsSdkClient:
        # Who needs no such keys does not pay for the import.
        from tiw_automation.core.api.sdk import StsSdkClient

        scheme, _, host = self.url.partition("://")
        return StsSdkClient(
            scheme=scheme,
            host=host,
            region=self.region,
            keys=None if keys is None else lambda _: keys.get_credential_info(),
            transport=self._transport,
            clock=self._clock,
        )

    def _ask(
        self, client: StsSdkClient, action: str, params: Mapping[str, Any], purpose: str
    ) -> Mapping[str, Any]:
        try:
            response = client.respond(action, params, _STS_TIMEOUT_S)
        except TiwError as error:
            error.action = action
            error.hint = f"This was about assuming {purpose}. {error.hint or ''}".strip()
            raise
        self.saw_server_time(client.answered_at)
        found = response.get("Credentials")
        return {**found, **response} if isinstance(found, Mapping) else response


class AssumedRole(_StsKeys):
    """A role that is assumed with the keys of another source (AssumeRole).

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
        host = url.partition("://")[2]
        super().__init__(url, site_of(host).region, proxy=proxy, ca_file=ca_file, clock=clock)
        self.base = base
        self.role_arn = role_arn
        self.session_name = session_name

    @property
    def identity(self) -> str:
        return self.base.identity

    def fetch(self) -> Credentials:
        used = self.base.current(_STS_TIMEOUT_S)
        params = {
            "RoleArn": self.role_arn,
            "RoleSessionName": self.session_name,
            "DurationSeconds": _ROLE_DURATION_S,
        }
        purpose = f"{self.role_arn} with the keys from {used.source}"
        keys = self._ask(self._client(used), "AssumeRole", params, purpose)
        return temporary_keys(keys, f"role {self.role_arn}")


class WebIdentityRole(_StsKeys):
    """The role of a pod on TKE, assumed with the pod's own token (AssumeRoleWithWebIdentity).

    No key is needed. The token's file is read for each renewal: Kubernetes replaces it.

    :param token_file: holds the token, which TKE puts into the pod.
    :param url: of the Security Token Service.
    """

    def __init__(
        self,
        role_arn: str,
        provider_id: str,
        token_file: str,
        region: str,
        session_name: str,
        url: str,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(url, region, proxy=proxy, ca_file=ca_file, clock=clock)
        self.role_arn = role_arn
        self.provider_id = provider_id
        self.token_file = Path(token_file)
        self.session_name = session_name

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
        params = {
            "ProviderId": self.provider_id,
            "WebIdentityToken": token,
            "RoleArn": self.role_arn,
            "RoleSessionName": self.session_name,
            "DurationSeconds": _ROLE_DURATION_S,
        }
        purpose = f"{self.role_arn} with the token of this pod"
        keys = self._ask(self._client(None), "AssumeRoleWithWebIdentity", params, purpose)
        return temporary_keys(keys, f"role {self.role_arn} of this pod")


_with_locks: WeakSet[FileKeys | RenewedKeys] = WeakSet()


def _after_fork() -> None:
    for source in list(_with_locks):
        source._start_anew()


os.register_at_fork(after_in_child=_after_fork)


def text_of(path: Path) -> str | None:
    """Return the text of a file, or None where there is none.

    :raises UnreadableFile: it is there and cannot be read, or is not UTF-8 text of 1 MiB at most.
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
    # A pipe or a device would be waited for.
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with path.open("rb") as file:
        return file.read(_LARGEST_FILE_BYTES + 1)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None


def parsed_json(text: str) -> Any:
    """Return what JSON says, or None where it is not JSON."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def temporary_keys(data: object, source: str) -> Credentials:
    """Read keys as STS and the metadata write them.

    :raises CredentialsError: they are not whole.
    """
    if not isinstance(data, Mapping) or data.get("Code", "Success") != "Success":
        raise CredentialsError(f"The {source} gave no keys.")
    values = {
        "secret_id": data.get("TmpSecretId"),
        "secret_key": data.get("TmpSecretKey"),
        "token": data.get("Token"),
    }
    ends = unix_seconds(data.get("ExpiredTime"))
    if ends is None or not all(values.values()):
        raise CredentialsError(f"The {source} gave no whole set of temporary keys.")
    return replace(whole_keys(source, values), expires_at=ends)


def unix_seconds(value: object) -> float | None:
    """Return a time as a number, or None where it is not one; digits in a text are one."""
    value = whole_number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 2**53 else None


def whole_keys(source: str, values: Mapping[str, Any]) -> Credentials:
    """Return id, key and token, in this order in ``values``, under the names that they were given.

    :raises CredentialsError: half of the pair is missing, or one is not a key.
    """
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
            raise CredentialsError(f"{name} from the {source} must be a string.")
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
