# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange against a deadline that really ends it.

A socket's own timeout counts anew with every byte, so a server that drips can hold a call for
ever. Here every read is given only what is left, from the name look-up to the last byte.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import certifi
import urllib3
from requests.utils import get_environ_proxies, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse
from urllib3.util import make_headers, parse_url
from urllib3.util.retry import Retry
from urllib3.util.timeout import Timeout

from tiw_automation.core.errors import (
    BadAnswer,
    ConfigurationError,
    DeadlineExceeded,
    TransportError,
)

# The largest answer of this API holds some hundred videos, well under a megabyte.
_MAX_BODY_BYTES = 8 * 1024 * 1024

_NO_RETRIES = Retry(0, read=False, redirect=False, connect=False, status=False)


class _Call(threading.local):
    """The exchange that the current thread carries out: its deadline, and who may still wait."""

    deadline: float = float("inf")
    before_sending: Callable[[], None] | None = None

    def remaining_s(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left


_call = _Call()


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket, each time for no longer than the call has left."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # An unbuffered socket file keeps the socket's own count of who still needs it.
        self._raw: Any = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_call.remaining_s())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_DeadlineReader(sock))


def _addresses(host: str, port: int) -> list[tuple[Any, ...]]:
    """Look a name up, for no longer than the call has left; getaddrinfo knows no timeout."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=look_up, name="tiw-look-up", daemon=True)
    thread.start()
    thread.join(_call.remaining_s())
    if not found:
        raise TimeoutError(f"the name {host} was not resolved")
    if isinstance(found[0], OSError):
        raise found[0]
    return list(found[0])


def _connect(host: str, port: int, options: Any) -> socket.socket:
    failure: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in _addresses(host.strip("[]"), port):
        sock = socket.socket(family, kind, protocol)
        try:
            for option in options or ():
                sock.setsockopt(*option)
            sock.settimeout(_call.remaining_s())
            sock.connect(address)
            # The TLS handshake that may follow is one operation under this timeout.
            sock.settimeout(_call.remaining_s())
            return sock
        except TimeoutError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            failure = error
    raise failure


class _DeadlineMixin:
    response_class: Any = _DeadlineResponse

    def _new_conn(self: Any) -> socket.socket:
        return _connect(self._dns_host, self.port, self.socket_options)

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if _call.before_sending is not None:
            # Connecting can take longer than a turn is good for.
            if self.sock is None:
                self.connect()
            _call.before_sending()
        # A socket from the pool still has what an earlier call had left.
        if self.sock is not None:
            self.sock.settimeout(_call.remaining_s())
        super().request(*args, **kwargs)  # type: ignore[misc]


class _Connection(_DeadlineMixin, HTTPConnection):
    pass


class _TlsConnection(_DeadlineMixin, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class Answer:
    """What came back; the names are those that the SDK reads."""

    def __init__(self, status_code: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content

    # The SDK writes these three to its debug log; a body may hold a callback's key.
    reason = ""
    raw = SimpleNamespace(version=11)

    @property
    def text(self) -> str:
        return f"<{len(self.content)} bytes>"


class Transport:
    """Sends requests of the SDK's making over connections of our own.

    The environment's ``.netrc`` is not read and redirects are not followed. Proxies come from
    ``proxy``, else from the environment by the usual rules (``NO_PROXY`` included); the CA
    bundle from ``ca_file``, else ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE`` or
    ``SSL_CERT_FILE``, else certifi's.

    :param url: scheme and host of the endpoint.
    :param pool_size: connections kept; at least the number of threads that call.
    :param use_environment: whether the environment's proxy counts.
    :raises ConfigurationError: the CA bundle cannot be read.
    """

    def __init__(
        self,
        url: str,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        pool_size: int = 16,
        use_environment: bool = True,
    ) -> None:
        self.url = url
        options: dict[str, Any] = {"maxsize": pool_size, "retries": _NO_RETRIES, "num_pools": 2}
        if url.startswith("https:"):
            options["ca_certs"] = ca_file or _environment_ca() or certifi.where()
        resolved = proxy
        if use_environment and not proxy:
            resolved = select_proxy(url, get_environ_proxies(url, no_proxy=None))
        self._proxy = resolved
        self._options = options
        self._manager = self._new_manager()
        _transports.add(self)

    def _new_manager(self) -> urllib3.PoolManager:
        manager: urllib3.PoolManager
        if self._proxy:
            parsed = parse_url(self._proxy)
            headers = make_headers(proxy_basic_auth=parsed.auth) if parsed.auth else None
            bare = parsed._replace(auth=None).url
            try:
                manager = urllib3.ProxyManager(bare, proxy_headers=headers, **self._options)
            except urllib3.exceptions.ProxySchemeUnknown:
                raise ConfigurationError(
                    f"proxy: {parsed.scheme!r} is not supported.", hint="Use an http:// proxy."
                ) from None
        else:
            manager = urllib3.PoolManager(**self._options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager

    def forget_connections(self) -> None:
        """Begin with new connections: in a forked child the old ones are the parent's."""
        self._manager = self._new_manager()

    def exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
        before_sending: Callable[[], None] | None = None,
    ) -> Answer:
        """Send one request and return the whole answer.

        :param deadline: the monotonic time by which everything has to be over.
        :param before_sending: called when there is a connection, right before the request leaves.
        :raises DeadlineExceeded: it was not.
        :raises TransportError: no connection, a broken one, a refused certificate.
        :raises BadAnswer: the body is cut or absurdly large.
        """
        with self.bounded(deadline):
            _call.before_sending = before_sending
            try:
                response = self.open(method, path, body, headers, deadline)
            finally:
                _call.before_sending = None
            try:
                content = response.read(_MAX_BODY_BYTES + 1)
                if len(content) > _MAX_BODY_BYTES:
                    raise BadAnswer(f"The answer is larger than {_MAX_BODY_BYTES} bytes.")
                declared = response.headers.get("Content-Length")
                if declared and declared.isdigit() and len(content) < int(declared):
                    raise BadAnswer("The answer was cut off.")
            except BaseException:
                response.close()
                raise
            response.release_conn()
            return Answer(response.status, response.headers, content)

    def open(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        deadline: float,
    ) -> BaseHTTPResponse:
        """Send one request and return the answer's head; the body is still to be read.

        Call it within :meth:`bounded`, and read within it too.
        """
        return self._manager.urlopen(
            method,
            self.url + path,
            body=body,
            headers={"Accept-Encoding": "identity", **headers},
            timeout=Timeout(total=max(deadline - time.monotonic(), 0.001)),
            redirect=False,
            preload_content=False,
        )

    @contextlib.contextmanager
    def bounded(self, deadline: float) -> Iterator[None]:
        """Bound what this thread does on the connections, and say in our words what went wrong.

        :param deadline: the monotonic time by which it has to be over.
        :raises DeadlineExceeded: it was not.
        :raises TransportError: no connection, a broken one, a refused certificate.
        :raises BadAnswer: the body is cut.
        """
        started = time.monotonic()
        _call.deadline = deadline
        try:
            yield
        except TransportError:
            raise
        except Exception as error:
            raise self._translated(error, started, deadline) from error
        finally:
            _call.deadline = float("inf")

    def close(self) -> None:
        """Close the idle connections."""
        self._manager.clear()

    def _translated(self, error: Exception, started: float, deadline: float) -> TransportError:
        if _is_timeout(error) or time.monotonic() >= deadline:
            return DeadlineExceeded(
                f"{self.url} did not answer within {deadline - started:.3g} s.",
                hint="Check the endpoint and the network between, or raise timeout.",
            )
        if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
            error = error.reason
        if isinstance(error, urllib3.exceptions.SSLError):
            return TransportError(
                f"The TLS connection to {self.url} failed: {_reason(error)}.",
                code="TlsError",
                # A certificate stays as it is; a handshake that broke may not.
                retryable=not isinstance(_innermost(error), ssl.SSLCertVerificationError),
                hint="If the endpoint's certificate is of your own CA, name its bundle in ca_file.",
            )
        if isinstance(error, urllib3.exceptions.ProxyError):
            return TransportError(
                f"The proxy on the way to {self.url} refused or broke the connection: "
                f"{_reason(error)}.",
                code="ProxyError",
                hint="Check proxy, HTTPS_PROXY and NO_PROXY.",
            )
        cut = (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)
        if isinstance(error, cut) or isinstance(error.__context__, cut):
            return BadAnswer("The answer was cut off.")
        return TransportError(
            f"{self.url} could not be reached: {_reason(error)}.",
            hint="Check the endpoint, the network and HTTPS_PROXY.",
        )


_transports: WeakSet[Transport] = WeakSet()


def _after_fork() -> None:
    for transport in list(_transports):
        transport.forget_connections()


os.register_at_fork(after_in_child=_after_fork)


def _is_timeout(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return True
        error = getattr(error, "reason", None) if _has_reason(error) else error.__context__
    return False


def _has_reason(error: BaseException) -> bool:
    return isinstance(getattr(error, "reason", None), BaseException)


def _innermost(error: BaseException) -> BaseException:
    while True:
        deeper = getattr(error, "reason", None) or getattr(error, "original_error", None)
        deeper = (
            deeper if isinstance(deeper, BaseException) else error.__cause__ or error.__context__
        )
        if deeper is None:
            return error
        error = deeper


def _reason(error: BaseException) -> str:
    """Return the innermost cause in words; urllib3's own wrappers repeat URL and object ids."""
    inner = _innermost(error)
    words = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return f"{words or type(inner).__name__}".rstrip(".")


def _environment_ca() -> str | None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        path = os.environ.get(name)
        if path:
            return path
    return None
