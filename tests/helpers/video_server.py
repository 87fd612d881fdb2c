# SPDX-License-Identifier: Apache-2.0
"""A bucket on loopback that serves videos correctly, or with the faults of a test."""

from __future__ import annotations

import contextlib
import http.server
import re
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from serving import serving

Behaviour = Callable[["_Handler", "File"], None]


@dataclass
class File:
    """The file of a path; each request uses the next behaviour, and then ``serve``."""

    content: bytes
    etag: str | None = '"one"'
    behaviours: list[Behaviour] = field(default_factory=list)


@dataclass
class Bucket:
    """A running server; ``requests`` are pairs of a path and the headers, ``peers`` connections."""

    origin: str
    files: dict[str, File] = field(default_factory=dict)
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    peers: set[Any] = field(default_factory=set)
    sent_bytes: int = 0
    # Ends all behaviours that hold a request.
    release: threading.Event = field(default_factory=threading.Event)
    holding: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    # Set when a client has closed the connection of a request that `hold` holds.
    abandoned: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(
        self,
        name: str,
        content: bytes,
        *behaviours: Behaviour,
        etag: str | None = '"one"',
    ) -> str:
        """Add a file and return its URL, with a secret query."""
        self.files[f"/{name}"] = File(content, etag, list(behaviours))
        return f"{self.origin}/{name}?sign=q-secret"

    def ranges(self) -> list[str | None]:
        """Return each request's Range header."""
        return [headers.get("Range") for _, headers in self.requests]


def head(handler: _Handler, status: int, headers: Mapping[str, object]) -> None:
    """Send the head of an answer."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()


def body(handler: _Handler, data: bytes) -> None:
    handler.wfile.write(data)
    with handler.bucket.lock:
        handler.bucket.sent_bytes += len(data)


def tags(file: File) -> dict[str, object]:
    return {"Content-Type": "video/mp4", **({"ETag": file.etag} if file.etag else {})}


def wanted(handler: _Handler, file: File) -> int:
    """Return where the answer begins: the range's start, or 0 for the whole file."""
    found = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    condition = handler.headers.get("If-Range")
    return 0 if found is None or condition not in (None, file.etag) else int(found[1])


def part(file: File, start: int) -> tuple[int, dict[str, object]]:
    """Return status and headers of an answer from ``start`` on."""
    size = len(file.content)
    headers = {**tags(file), "Content-Length": size - start}
    if not start:
        return 200, headers
    return 206, {**headers, "Content-Range": f"bytes {start}-{size - 1}/{size}"}


def serve(handler: _Handler, file: File) -> None:
    """Send all of the requested range."""
    start = wanted(handler, file)
    head(handler, *part(file, start))
    body(handler, file.content[start:])


def cut(after: int) -> Behaviour:
    """Return one that closes the connection after so many bytes."""

    def behave(handler: _Handler, file: File) -> None:
        start = wanted(handler, file)
        head(handler, *part(file, start))
        body(handler, file.content[start : start + after])
        handler.hang_up()

    return behave


def hold(after: int) -> Behaviour:
    """Return one that waits after so many bytes, for the bucket's release or the client's end."""

    def behave(handler: _Handler, file: File) -> None:
        start = wanted(handler, file)
        head(handler, *part(file, start))
        body(handler, file.content[start : start + after])
        handler.wfile.flush()
        handler.bucket.holding.release()
        deadline = time.monotonic() + 30
        while not handler.bucket.release.wait(0.02) and time.monotonic() < deadline:
            # A client that waits for the rest sends nothing, so this is its end.
            if select.select([handler.connection], [], [], 0)[0]:
                handler.bucket.abandoned.set()
                return
        body(handler, file.content[start + after :])

    return behave


def drip(handler: _Handler, file: File) -> None:
    """Send a byte every 20 ms."""
    head(handler, *part(file, 0))
    while not handler.bucket.release.wait(0.02):
        body(handler, b"x")
        handler.wfile.flush()


def silent(handler: _Handler, file: File) -> None:
    """Send no answer."""
    handler.bucket.holding.release()
    handler.bucket.release.wait(30)
    handler.hang_up()


def answer(status: int, content: bytes = b"", **headers: object) -> Behaviour:
    """Return one that sends this."""

    def behave(handler: _Handler, file: File) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        head(handler, status, {"Content-Length": len(content), **named})
        body(handler, content)

    return behave


def without_ranges(handler: _Handler, file: File) -> None:
    """Send the whole file for any range."""
    head(handler, *part(file, 0))
    body(handler, file.content)


def chunked(content: bytes | None = None) -> Behaviour:
    """Return one that sends no length."""

    def behave(handler: _Handler, file: File) -> None:
        data = file.content if content is None else content
        head(handler, 200, {**tags(file), "Transfer-Encoding": "chunked"})
        body(handler, b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data))

    return behave


def until_closed(handler: _Handler, file: File) -> None:
    """Send no length, and end with the connection."""
    head(handler, 200, {**tags(file), "Connection": "close"})
    body(handler, file.content)
    handler.hang_up()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bucket: Bucket

    def do_GET(self) -> None:
        # Through a proxy the request line holds a whole URL.
        path = re.sub(r"^http://[^/]+", "", self.path).partition("?")[0]
        with self.bucket.lock:
            self.bucket.requests.append((self.path, dict(self.headers)))
            self.bucket.peers.add(self.client_address)
            file = self.bucket.files.get(path)
            behave = file.behaviours.pop(0) if file and file.behaviours else serve
        if file is None:
            code = b"<Error><Code>NoSuchKey</Code></Error>"
            answer(404, code, Content_Type="application/xml")(self, File(b""))
            return
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            behave(self, file)

    def hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass


@contextlib.contextmanager
def video_server(tls: ssl.SSLContext | None = None) -> Iterator[Bucket]:
    """Serve on a loopback port."""
    handler = type("Handler", (_Handler,), {})
    server = _Server(("127.0.0.1", 0), handler)
    scheme = "http"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        scheme = "https"
    bucket = Bucket(f"{scheme}://127.0.0.1:{server.server_port}")
    handler.bucket = bucket  # type: ignore[attr-defined]
    with serving(server):
        try:
            yield bucket
        finally:
            bucket.release.set()
