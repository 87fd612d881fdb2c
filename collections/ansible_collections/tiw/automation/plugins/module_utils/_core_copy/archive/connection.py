# A copy of core/archive/connection.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""One HTTP request for a video, over a connection whose every step has a deadline.

The name is resolved once and the address is checked, so that what is checked is what is connected
to. There is no ``.netrc``, no cookie and no key.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any
from urllib.parse import SplitResult, urlsplit

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.hosts import HostPolicy
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import (
    BadAnswer,
    ConfigurationError,
    DeadlineExceeded,
    TiwError,
    TransportError,
)
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import escaped
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.route import Proxy, find_ca, find_proxy
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.sockets import DeadlineReader, connected

_INTERIM_ANSWERS = 20
_REASON = 200
# As Python 3.14 has it; less would need many system calls for a video.
_BUFFER_BYTES = 128 * 1024


class Origins:
    """The ways to all hosts that videos come from; keeps connections for their next request.

    :param policy: which hosts are allowed.
    :param proxy: the URL of an HTTP proxy; by default the environment's.
    :param ca_file: a bundle of CA certificates to trust.
    :raises ConfigurationError: the proxy or the bundle is invalid.
    """

    def __init__(self, policy: HostPolicy, proxy: str | None, ca_file: str | None) -> None:
        self._lock = threading.Lock()
        self._idle: dict[tuple[str, str], list[Connection]] = {}
        self.policy = policy
        self.proxy = proxy
        self.ca_file = ca_file
        self._tls: ssl.SSLContext | None = None
        if proxy:
            find_proxy("http://", proxy)
        if ca_file:
            find_ca(ca_file)

    def __del__(self) -> None:
        self.close()

    def get(self, url: str, headers: dict[str, str], timeout_s: float) -> Response:
        """Send a GET request and return its answer before the body is read.

        :param timeout_s: the time until the head of the answer is there.
        :raises VideoHostRefused: videos may not come from there.
        :raises TransportError: there was no answer.
        """
        parts = urlsplit(url)
        self.policy.check_name(parts.hostname or "")
        kept = self._kept(parts)
        if kept is not None:
            try:
                return Response(self, kept, kept.get(parts, headers, timeout_s))
            except DeadlineExceeded:
                raise
            except TransportError:
                # The server has closed it meanwhile.
                pass
        connection = self._new(parts)
        return Response(self, connection, connection.get(parts, headers, timeout_s))

    def keep(self, connection: Connection) -> None:
        """Keep a connection for another request."""
        with self._lock:
            self._idle.setdefault(connection.origin, []).append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def _kept(self, parts: SplitResult) -> Connection | None:
        with self._lock:
            idle = self._idle.get(_origin(parts))
            return idle.pop() if idle else None

    def _new(self, parts: SplitResult) -> Connection:
        proxy = find_proxy(f"{parts.scheme}://{parts.netloc}", self.proxy)
        tls = self._context() if parts.scheme == "https" else None
        if proxy is not None and proxy.url.startswith("https:"):
            if tls is not None:
                raise ConfigurationError(
                    "A proxy that is reached by https cannot be used for https videos.",
                    hint="Give the proxy as http://host:port; the videos stay encrypted.",
                )
            return Connection(parts, self.policy, proxy, None, self._context())
        return Connection(parts, self.policy, proxy, tls, None)

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                found = find_ca(self.ca_file)
                self._tls = ssl.create_default_context(
                    cafile=found.get("ca_certs"), capath=found.get("ca_cert_dir")
                )
            return self._tls


class Response:
    """An answer; its body is read with :meth:`readinto`.

    :param origins: gets the connection back when the whole body was read.
    """

    def __init__(
        self, origins: Origins, connection: Connection, answer: http.client.HTTPResponse
    ) -> None:
        self._origins = origins
        self._connection = connection
        self._answer = answer
        self.status: int = answer.status
        self.headers: http.client.HTTPMessage = answer.headers

    def readinto(self, buffer: memoryview, began: float, timeout_s: float) -> int:
        """Read a part of the body and return how many bytes it has; 0 is the end.

        :param began: when their time began, in monotonic seconds.
        """
        with self._connection.bounded(began, timeout_s):
            count: int = self._answer.readinto(buffer)
            return count

    def read(self, most: int, timeout_s: float) -> bytes:
        """Return the beginning of the body."""
        with self._connection.bounded(time.monotonic(), timeout_s):
            return self._answer.read(most)

    def done(self) -> None:
        """Keep the connection where it can be used again, after the whole body was read."""
        if self._answer.will_close or not self._answer.isclosed():
            self.close()
        else:
            self._origins.keep(self._connection)

    def close(self) -> None:
        """Close the connection, whatever is still on the way."""
        self._answer.close()
        self._connection.close()


class Connection(http.client.HTTPConnection):
    """A connection to one origin, perhaps through a proxy.

    :param tls: the certificates to trust where the origin is reached by https.
    :param proxy_tls: the same, where the proxy is.
    """

    def __init__(
        self,
        parts: SplitResult,
        policy: HostPolicy,
        proxy: Proxy | None,
        tls: ssl.SSLContext | None,
        proxy_tls: ssl.SSLContext | None,
    ) -> None:
        self.origin: tuple[str, str] = _origin(parts)
        self._policy = policy
        self._proxy = proxy
        self._proxy_tls = proxy_tls
        self._tls = tls
        self._name = parts.hostname or ""
        self._deadline = 0.0
        self._limit_s = 0.0
        port = parts.port or (443 if parts.scheme == "https" else 80)
        if proxy is None:
            super().__init__(self._name, port)
            return
        hop = urlsplit(proxy.url)
        default = 443 if hop.scheme == "https" else 80
        super().__init__(hop.hostname or "", hop.port or default)
        if tls is not None:
            self.set_tunnel(self._name, port, proxy.headers)

    def get(
        self, parts: SplitResult, headers: dict[str, str], timeout_s: float
    ) -> http.client.HTTPResponse:
        """Send a request and return the head of its answer."""
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Accept-Encoding": "identity", "User-Agent": "tiw-automation", **headers}
        if self._proxy is not None and self._tls is None:
            host = parts.netloc.rpartition("@")[2]
            target = f"{parts.scheme}://{host}{target}"
            sent.update(self._proxy.headers or {})
            sent["Host"] = host
        with self.bounded(time.monotonic(), timeout_s):
            # What is not ASCII, and spaces, would end the request line early.
            self.request("GET", _ascii(target), headers=sent)
            answer = self.getresponse()
            # http.client takes a part of a chunk for a broken connection.
            if isinstance(answer.fp, _Reader):
                answer.fp.returns_parts = not answer.chunked
            return answer

    def connect(self) -> None:
        """Connect to the origin or the proxy, by an address that is allowed."""
        self.sock = self._connected()
        if self._proxy_tls is not None:
            self.sock = self._proxy_tls.wrap_socket(self.sock, server_hostname=self.host)
        if self._tls is not None:
            if self._proxy is not None:
                self._tunnel()  # type: ignore[attr-defined]
            self.sock.settimeout(self._left_s())
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)

    def _connected(self) -> socket.socket:
        """Return a socket that is connected to the first address that answers."""
        if self._proxy is not None:
            return connected(self.host, self.port, self._left_s)
        check = partial(self._policy.check_address, self._name)
        return connected(self.host, self.port, self._left_s, check=check)

    def response_class(  # type: ignore[override]
        self, sock: socket.socket, *args: Any, **kwargs: Any
    ) -> http.client.HTTPResponse:
        """Return an answer whose every read has the connection's deadline."""
        answer = _Answer(sock, *args, **kwargs)
        answer.fp.close()
        answer.fp = _Reader(DeadlineReader(sock, self._left_s), _BUFFER_BYTES)
        return answer

    @contextlib.contextmanager
    def bounded(self, began: float, timeout_s: float) -> Iterator[None]:
        """Do something within a time, and translate its errors.

        :param began: when the time began, in monotonic seconds.
        :raises TransportError: it failed or the time elapsed; the connection is closed then.
        """
        self._deadline, self._limit_s = began + timeout_s, timeout_s
        try:
            if self.sock is not None:
                self.sock.settimeout(self._left_s())
            yield
        except TiwError:
            self.close()
            raise
        except Exception as error:
            self.close()
            raise self._translated(error) from error

    def _left_s(self) -> float:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("the deadline has passed")
        return left

    def _translated(self, error: Exception) -> TransportError:
        where = f"{self.origin[0]}://{self.origin[1]}"
        # With a number it is the kernel's own, which is not about the deadline.
        if isinstance(error, socket.timeout) and error.errno is None:
            return DeadlineExceeded(
                f"{where} did not answer within {self._limit_s:.3g} s.",
                hint="Check the network, or raise the timeout.",
            )
        if isinstance(error, ssl.SSLCertVerificationError):
            return TransportError(
                f"The TLS connection to {where} failed: {_reason(error)}.",
                code="TlsError",
                retryable=False,
                hint="If your own CA has issued the certificate, name its bundle in ca_file or "
                "REQUESTS_CA_BUNDLE.",
            )
        if isinstance(error, http.client.IncompleteRead):
            return BadAnswer("The answer was cut off.")
        if self._proxy is not None and (self.sock is None or "unnel" in str(error)):
            return TransportError(
                f"The proxy on the way to {where} refused or broke the connection: "
                f"{_reason(error)}.",
                code="ProxyError",
                hint="Check the setting proxy, HTTPS_PROXY and NO_PROXY.",
            )
        return TransportError(
            f"{where} could not be reached: {_reason(error)}.",
            hint="Check the network and HTTPS_PROXY.",
        )


class _Answer(http.client.HTTPResponse):
    def _read_status(self) -> tuple[str, int, str]:
        """Skip interim answers (RFC 9110, 15.2)."""
        for _ in range(_INTERIM_ANSWERS):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if found[1] == 101 or found[1] >= 200:
                return found
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("there are only interim answers")

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            # http.client would read everything, without a limit.
            raise http.client.HTTPException("a chunk has a negative size")
        return size


class _Reader(io.BufferedReader):
    returns_parts = False
    """Whether ``readinto`` returns what has arrived, instead of waiting for a full buffer."""

    def readinto(self, buffer: Any) -> int:
        if not self.returns_parts:
            return super().readinto(buffer)
        # readinto1 would wait for more where less than the buffer's size has arrived.
        arrived = len(self.peek())
        return super().readinto(memoryview(buffer)[:arrived])


def _origin(parts: SplitResult) -> tuple[str, str]:
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _ascii(target: str) -> str:
    return "".join(
        char if "!" <= char <= "~" else "".join(f"%{byte:02X}" for byte in char.encode())
        for char in target
    )


def _reason(error: Exception) -> str:
    if type(error) is http.client.BadStatusLine:
        # It repeats what was received, which may be anything.
        return "the server does not speak HTTP"
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return escaped(words or type(error).__name__, _REASON).rstrip(".")
