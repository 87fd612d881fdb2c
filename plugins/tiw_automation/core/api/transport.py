# SPDX-License-Identifier: Apache-2.0
"""One HTTP exchange that always ends by its deadline.

A socket's own timeout starts again with every byte, so a server that sends byte by byte could hold
a call without limit. Here every step, from the name look-up to the last byte, may take only the
time that is left.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import logging
import math
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from weakref import WeakSet

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import BaseHTTPResponse
from urllib3.util.retry import Retry
from urllib3.util.timeout import Timeout

from tiw_automation.core.api import idle_connections
from tiw_automation.core.api.idle_connections import IdleConnections
from tiw_automation.core.errors import BadAnswer, DeadlineExceeded, TiwError, TransportError
from tiw_automation.core.formatting import escaped
from tiw_automation.core.headers import content_length
from tiw_automation.core.route import find_ca, find_proxy
from tiw_automation.core.sockets import DeadlineReader, connected

# The largest answer of this API holds some hundred videos, well under a megabyte.
_MAX_BODY_BYTES = 8 * 1024 * 1024
_INTERIM_ANSWERS = 20
_GZIP_MEMBERS = 100
_LONGEST_REASON = 200

_NO_RETRIES = Retry(0, read=False, redirect=False, connect=False, status=False)


class _Call(threading.local):
    """The exchange of the current thread: its deadline, and what to call before sending."""

    deadline: float = math.inf
    before_sending: Callable[[], None] | None = None

    def remaining_s(self) -> float:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        return left


_call = _Call()


class _Quiet(logging.Filter):
    """Drops urllib3's log lines about our requests: the query of a video's URL is a signature.

    Only the line for a new connection passes, which names just the host.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return _call.deadline == math.inf or str(record.msg).startswith("Starting new ")


for _name in ("connection", "connectionpool", "poolmanager", "util.retry"):
    logging.getLogger(f"urllib3.{_name}").addFilter(_Quiet())


class _DeadlineResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(DeadlineReader(sock, _call.remaining_s))

    def _read_status(self) -> tuple[str, int, str]:
        """Skip interim answers (RFC 9110, 15.2); http.client would return a 103 as the answer."""
        for _ in range(_INTERIM_ANSWERS):
            found: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            # After 101 the connection has another protocol, which was not requested.
            if found[1] == 101 or found[1] >= 200:
                break
            http.client.parse_headers(self.fp)
        if found[1] < 200:
            raise http.client.HTTPException(f"HTTP {found[1]} is not an answer")
        return found

    def begin(self) -> None:
        super().begin()
        # Checked here, because http.client still closes the connection if this raises.
        lengths = self.headers.get_all("Content-Length")
        if lengths and not self.chunked:
            content_length({"Content-Length": ", ".join(lengths)})

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]
        if size < 0:
            # http.client would read everything, without a limit.
            raise http.client.HTTPException("a chunk has a negative size")
        return size


class _DeadlineMixin:
    response_class: Any = _DeadlineResponse
    timeout: Any
    # What a request consists of, until it is complete: it leaves in one packet.
    _parts: list[bytes] | None = None

    def _new_conn(self: Any) -> socket.socket:
        return connected(
            self._dns_host, self.port, _call.remaining_s, options=self.socket_options or ()
        )

    def request(self: Any, *args: Any, **kwargs: Any) -> None:
        if _call.before_sending is not None:
            # Connecting may take longer than a slot is valid.
            if self.sock is None:
                self.connect()
            _call.before_sending()
        # Sets it for the socket too, which still has the timeout of an earlier call.
        self.timeout = _call.remaining_s()
        parts: list[bytes] = []
        self._parts = parts
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]
        finally:
            self._parts = None
        self.send(b"".join(parts))

    def send(self: Any, data: Any) -> None:
        if self._parts is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._parts.append(data)


class _Connection(_DeadlineMixin, HTTPConnection):
    pass


class _TlsConnection(_DeadlineMixin, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection
    QueueCls = IdleConnections


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
    QueueCls = IdleConnections


class Answer:
    """A complete answer; the SDK reads it by these names."""

    def __init__(self, status_code: int, headers: Mapping[str, str], content: bytes) -> None:
        self.status_code = status_code
        self.headers = headers
        self.content = content

    # The SDK writes these three to its debug log; a body may hold a callback's key.
    reason = ""
    raw: SimpleNamespace = SimpleNamespace(version=11)

    @property
    def text(self) -> str:
        return f"<{len(self.content)} bytes>"


class Transport:
    """Sends requests to one endpoint, and keeps its connections.

    It does not read ``.netrc`` and does not follow redirects. Proxy and CA bundle are the given
    ones, else the environment's (:mod:`~tiw_automation.core.route`).

    :param url: scheme and host of the endpoint.
    :param ca_file: a file of CA certificates, or a folder of them.
    :param pool_size: how many connections are kept; at least the number of threads that call.
    :param use_environment: whether the environment's proxy is used.
    :raises ConfigurationError: the proxy is malformed, or there is no CA certificate.
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
        self._options: dict[str, Any] = {
            "maxsize": pool_size,
            "retries": _NO_RETRIES,
            "num_pools": 2,
            **(find_ca(ca_file) if url.startswith("https:") else {}),
        }
        self._proxy = find_proxy(url, proxy, use_environment=use_environment)
        self._manager = self._new_manager()
        _transports.add(self)

    def _new_manager(self) -> urllib3.PoolManager:
        manager: urllib3.PoolManager
        if self._proxy is not None:
            manager = urllib3.ProxyManager(
                self._proxy.url, proxy_headers=self._proxy.headers, **self._options
            )
        else:
            manager = urllib3.PoolManager(**self._options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
        return manager

    def forget_connections(self) -> None:
        """Start with new connections: in a forked child the old ones belong to the parent."""
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
        """Send one request and return the complete answer.

        :param deadline: the monotonic time by which everything must be done.
        :param before_sending: called when there is a connection, right before the request leaves.
        :raises DeadlineExceeded: the deadline passed.
        :raises TransportError: no connection, a broken one, a refused certificate.
        :raises BadAnswer: the body is truncated, larger than 8 MiB, or in an encoding that was
            not requested.
        """
        with self.bounded(deadline):
            _call.before_sending = before_sending
            try:
                response = self.open(method, path, body, headers, deadline)
            finally:
                _call.before_sending = None
            try:
                content = response.read(_MAX_BODY_BYTES + 1, decode_content=False)
                declared = content_length(response.headers)
                if declared is not None and len(content) < min(declared, _MAX_BODY_BYTES):
                    raise BadAnswer("The answer was cut off.")
                content = _decoded(content, response.headers.get("Content-Encoding", ""))
                if len(content) > _MAX_BODY_BYTES:
                    raise BadAnswer(f"The answer is larger than {_MAX_BODY_BYTES} bytes.")
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
        """Send one request and return the answer before its body is read.

        Both this call and the reading of the body must be within :meth:`bounded`.
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
        """Limit what this thread does on the connections, and translate its errors.

        :param deadline: the monotonic time by which it must be done.
        :raises DeadlineExceeded: the deadline passed.
        :raises TransportError: no connection, a broken one, a refused certificate.
        :raises BadAnswer: the body is truncated.
        """
        started = time.monotonic()
        _call.deadline = deadline
        try:
            yield
        except TiwError:
            raise
        except Exception as error:
            # The wrapper repeats the URL, whose query may be a signature.
            wrapped = isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason
            raise self._translated(error, started, deadline) from (wrapped or error)
        finally:
            _call.deadline = math.inf

    def close(self) -> None:
        """Close the idle connections."""
        self._manager.clear()

    def _translated(self, error: Exception, started: float, deadline: float) -> TransportError:
        if _is_timeout(error) or time.monotonic() >= deadline:
            return DeadlineExceeded(
                f"{self.url} did not answer within {deadline - started:.3g} s.",
                hint="Check the endpoint and the network, or raise the setting timeout.",
            )
        if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
            error = error.reason
        if isinstance(error, urllib3.exceptions.SSLError):
            return TransportError(
                f"The TLS connection to {self.url} failed: {_reason(error)}.",
                code="TlsError",
                # A refused certificate stays refused; a broken handshake may work again.
                retryable=not isinstance(_innermost(error), ssl.SSLCertVerificationError),
                hint="If your own CA has issued the certificate, name its bundle in ca_file or "
                "REQUESTS_CA_BUNDLE.",
            )
        if isinstance(error, urllib3.exceptions.ProxyError):
            return TransportError(
                f"The proxy on the way to {self.url} refused or broke the connection: "
                f"{_reason(error)}.",
                code="ProxyError",
                hint="Check the setting proxy, HTTPS_PROXY and NO_PROXY.",
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
    idle_connections.start_anew()
    for transport in list(_transports):
        transport.forget_connections()


os.register_at_fork(after_in_child=_after_fork)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes, the innermost last."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        # Behind a proxy, urllib3's SSLError has its cause among its arguments only.
        places = (
            getattr(cause, "reason", None),
            getattr(cause, "original_error", None),
            *cause.args,
        )
        wrapped = next((one for one in places if isinstance(one, BaseException)), None)
        cause = wrapped or cause.__cause__ or cause.__context__


def _is_timeout(error: BaseException) -> bool:
    return any(
        isinstance(cause, urllib3.exceptions.TimeoutError)
        # With a number it is the kernel's own, which is not about the deadline.
        or (isinstance(cause, TimeoutError) and cause.errno is None)
        for cause in _causes(error)
    )


def _innermost(error: BaseException) -> BaseException:
    return list(_causes(error))[-1]


def _reason(error: BaseException) -> str:
    """Return the innermost cause in words; urllib3's own wrappers repeat URLs and object ids."""
    inner = _innermost(error)
    if type(inner) is http.client.BadStatusLine:
        # It repeats what was received, which may be anything.
        return "the server does not speak HTTP"
    words = inner.strerror if isinstance(inner, OSError) and inner.strerror else str(inner)
    return escaped(words or type(inner).__name__, _LONGEST_REASON).rstrip(".")


def _decoded(content: bytes, encoding: str) -> bytes:
    """Return a decoded body; of one that is too large, the first part.

    No encoding was requested, but some proxies encode everything.
    """
    name = encoding.strip().lower()
    most = _MAX_BODY_BYTES + 1
    try:
        if name in ("", "identity"):
            return content
        if name in ("gzip", "x-gzip"):
            return _unzipped(content, most)
        if name == "deflate":
            return _deflated(content, most)
    except (EOFError, zlib.error):
        raise BadAnswer(f"The answer's {name} encoding is invalid.") from None
    raise BadAnswer(
        f"The answer has an encoding that was not requested: {escaped(name, 40)}",
        hint="Check whether there is a proxy on the way.",
    )


def _deflated(content: bytes, most: int) -> bytes:
    try:
        return _inflated(content, most, zlib.MAX_WBITS)[0]
    except zlib.error:
        # Some servers omit the zlib frame.
        return _inflated(content, most, -zlib.MAX_WBITS)[0]


def _unzipped(content: bytes, most: int) -> bytes:
    data = b""
    # A body of a million empty members would take seconds.
    for _ in range(_GZIP_MEMBERS):
        part, content = _inflated(content, most - len(data), zlib.MAX_WBITS + 16)
        data += part
        if not content or len(data) >= most:
            return data
    raise EOFError


def _inflated(content: bytes, most: int, frame: int) -> tuple[bytes, bytes]:
    """Return the first stream decoded, and what follows it."""
    stream = zlib.decompressobj(frame)
    data = stream.decompress(content, most)
    if not stream.eof and len(data) < most:
        raise EOFError
    return data, stream.unused_data
