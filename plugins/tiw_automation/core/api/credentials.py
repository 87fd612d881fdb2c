# SPDX-License-Identifier: Apache-2.0
"""Keys, the sources that give them, and how each source stays up to date.

:class:`RenewedKeys` renews temporary keys: one renewal runs for all callers, in a thread of its
own, and each caller waits for it no longer than its own call may take.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tiw_automation.core.errors import CredentialsError, DeadlineExceeded, TiwError, TransportError
from tiw_automation.core.locks import ProcessLock

logger = logging.getLogger(__name__)

_RENEW_BEFORE_END_S = 600.0
_RETRY_RENEWAL_S = 30.0
# STS gives no role for longer, whatever an answer states.
_LONGEST_LIFE_S = 12 * 3600.0
# The least time between two renewals, however wrong a clock is and however often keys are refused.
_LEAST_GAP_S = 10.0


@dataclass(frozen=True, slots=True)
class Credentials:
    """A pair of keys, with a token where they are temporary.

    :param source: where they were found, for error messages.
    :param expires_at: when they expire, in UNIX seconds; None where they do not, or it is unknown.
    """

    secret_id: str
    secret_key: str = field(repr=False)
    token: str | None = field(default=None, repr=False)
    source: str = field(default="arguments", compare=False)
    expires_at: float | None = field(default=None, compare=False)

    def get_credential_info(self) -> tuple[str, str, str | None]:
        """Return id, key and token; the SDK calls this on every request."""
        return self.secret_id, self.secret_key, self.token


class CredentialSource(Protocol):
    """Gives the keys to sign with. Hashable; equal sources give the same keys."""

    @property
    def identity(self) -> str:
        """The account that Tencent counts requests for, before any role is assumed."""

    def current(self, timeout_s: float | None = None) -> Credentials:
        """Return the keys to sign with now; called for every request.

        :param timeout_s: how long to wait for a renewal at most, in seconds; None: no limit.
        :raises CredentialsError: the source has no keys any more.
        :raises TransportError: they could not be renewed now; a later call may succeed.
        """

    def renew(self, refused: Credentials, timeout_s: float | None = None) -> bool:
        """Look for other keys than those that the API refused; return whether there are any.

        :raises TransportError: they could not be renewed now; a later call may succeed.
        """


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """Keys that never change."""

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

    The last valid keys stay in use while the file is being written or holds no valid keys.

    :param read: returns the file's keys.
    """

    def __init__(self, path: Path, read: Callable[[Path], Credentials]) -> None:
        self.path = path
        self._read = read
        self._stamp = _stamp(path)
        self._keys = read(path)
        # An account keeps its quota when it rotates its keys, so the first id identifies it.
        self._identity = self._keys.secret_id
        self._lock = ProcessLock()

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
    """One renewal; any number of callers wait for it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.over = threading.Event()
        self.keys: Credentials | None = None
        self.error: TiwError | None = None


class RenewedKeys(ABC):
    """Temporary keys that are fetched, and fetched again before they expire.

    While the old keys are valid, a failed renewal is logged and retried. Keys are used for at
    least ten seconds, however wrong the clock is; refused keys are replaced at most once in ten
    seconds.

    :param clock: this machine's time in UNIX seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.clock_offset_s: float = 0.0
        """The server's clock minus this machine's, as of the last renewal."""
        self._keys: Credentials | None = None
        self._refused: Credentials | None = None
        # Both by this machine's clock.
        self._renew_at = -math.inf
        self._forced_at = -math.inf
        self._lock = ProcessLock()
        self._renewal: _Renewal | None = None

    @abstractmethod
    def fetch(self) -> Credentials:
        """Return new keys, in bounded time."""

    def current(self, timeout_s: float | None = None) -> Credentials:
        with self._lock:
            keys = self._keys
            if keys is not None and keys != self._refused and self._clock() < self._renew_at:
                return keys
            renewal = self._running()
        return self._wait(renewal, timeout_s)

    def renew(self, refused: Credentials, timeout_s: float | None = None) -> bool:
        with self._lock:
            if self._keys != refused:
                return True
            if not self._is_renewing():
                now = self._clock()
                if abs(now - self._forced_at) < _LEAST_GAP_S:
                    raise TransportError(
                        f"The keys from the {refused.source} were renewed moments ago and are "
                        "refused again.",
                        code="KeysNotRenewed",
                        hint="Check the role and its policy.",
                    )
                self._forced_at = now
            self._refused = refused
            renewal = self._running()
        return self._wait(renewal, timeout_s) != refused

    def saw_server_time(self, server_time: float | None) -> None:
        """Correct the clock by the server's, in UNIX seconds; None changes nothing."""
        if server_time is not None:
            self.clock_offset_s = server_time - self._clock()

    def _is_renewing(self) -> bool:
        # A forked child does not have the thread that renews.
        return self._renewal is not None and self._renewal.pid == os.getpid()

    def _running(self) -> _Renewal:
        """Return the renewal that is running, else start one; the caller holds the lock."""
        if self._renewal is None or not self._is_renewing():
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
            # Each caller gets an error of its own, because raising one changes it.
            raise copy.copy(renewal.error) from renewal.error
        raise DeadlineExceeded(
            f"New keys did not arrive within {timeout_s:.3g} s.",
            hint="Check the network to the service that gives the keys, or raise the setting "
            "timeout.",
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
            # At half of a short life, ten minutes before the end of a long one.
            pause = left - min(_RENEW_BEFORE_END_S, left / 2)
            self._renew_at = now + max(pause, _LEAST_GAP_S)
            self._keys = renewal.keys = keys
            self._refused = None

    def _failed(self, renewal: _Renewal, error: TiwError) -> None:
        with self._lock:
            if self._keys is not None and isinstance(error, CredentialsError):
                # There were keys before, so the fault may be temporary.
                error = _not_renewed(error.message)
            renewal.error = error
            if self._keys is not None and self._is_usable(self._keys):
                logger.warning("The keys could not be renewed yet: %s", error)
                self._renew_at = self._clock() + _RETRY_RENEWAL_S


def _not_renewed(reason: str) -> TransportError:
    return TransportError(f"The keys could not be renewed: {reason}", code="KeysNotRenewed")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    with contextlib.suppress(OSError):
        found = path.stat()
        return found.st_mtime_ns, found.st_size, found.st_ino
    return None


def whole_keys(source: str, values: Mapping[str, Any]) -> Credentials:
    """Return id, key and token, in this order in ``values``, by the names that they were given as.

    :raises CredentialsError: one of the pair is missing, or a value is not a key.
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
        if value is not None and value != "":
            _check_key(f"{name} from the {source}", value)
    return Credentials(secret_id, secret_key, token or None, source)


def _check_key(name: str, value: object) -> None:
    # No message repeats a value: it is a secret.
    if not isinstance(value, str):
        raise CredentialsError(f"{name} must be a string.")
    if any(char.isspace() for char in value):
        raise CredentialsError(f"{name} has blanks around it or in it.", hint="Remove them.")
    if not value.isascii() or not value.isprintable() or set(value) & {'"', "'"}:
        raise CredentialsError(
            f"{name} holds quotes or characters that no key has.",
            hint="Give the bare value, without quotes.",
        )
