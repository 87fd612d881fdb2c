# SPDX-License-Identifier: Apache-2.0
"""Servers that misbehave on the wire, for the transport's tests."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

Behaviour = Callable[[socket.socket, threading.Event], None]


def silent(peer: socket.socket, stop: threading.Event) -> None:
    stop.wait()


def _drip(peer: socket.socket, stop: threading.Event, piece: bytes) -> None:
    while not stop.wait(0.05):
        peer.sendall(piece)


def dripping_headers(peer: socket.socket, stop: threading.Event) -> None:
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
    _drip(peer, stop, b"x")


def dripping_body(peer: socket.socket, stop: threading.Event) -> None:
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    _drip(peer, stop, b"x")


def dripping_chunks(peer: socket.socket, stop: threading.Event) -> None:
    peer.recv(65536)
    peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    _drip(peer, stop, b"1\r\nx\r\n")


def half_a_tls_handshake(peer: socket.socket, stop: threading.Event) -> None:
    peer.recv(65536)
    # The first bytes of a ServerHello record that is never complete.
    peer.sendall(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc\x03\x03")
    _drip(peer, stop, b"\x00")


def answer(raw: bytes) -> Behaviour:
    """Return a behaviour that reads one request, answers with ``raw`` and closes the connection."""

    def behave(peer: socket.socket, stop: threading.Event) -> None:
        _read_request(peer)
        peer.sendall(raw)

    return behave


def answers(*pieces: bytes) -> Behaviour:
    """Return a behaviour that answers each request of a connection with the next piece."""

    def behave(peer: socket.socket, stop: threading.Event) -> None:
        for raw in pieces:
            _read_request(peer)
            peer.sendall(raw)
        stop.wait()

    return behave


@contextlib.contextmanager
def silent_address() -> Iterator[int]:
    """Yield a port of 127.0.0.2 that never accepts connections: its backlog is full."""
    with socket.socket() as listener, contextlib.ExitStack() as waiting:
        listener.bind(("127.0.0.2", 0))
        listener.listen(0)
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def _read_request(peer: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(peer)
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = sum(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
    while len(body) < length:
        body += _received(peer)
    return head + b"\r\n\r\n" + body


def _received(peer: socket.socket) -> bytes:
    data = peer.recv(65536)
    if not data:
        raise ConnectionError("the client has disconnected")
    return data


@contextlib.contextmanager
def rude_server(behaviour: Behaviour) -> Iterator[tuple[int, list[int]]]:
    """Serve on a loopback port; yield the port and a list with one entry a connection."""
    stop = threading.Event()
    connections: list[int] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def handle(peer: socket.socket) -> None:
        with peer, contextlib.suppress(OSError):
            behaviour(peer, stop)

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            connections.append(peer.fileno())
            thread = threading.Thread(target=handle, args=(peer,), daemon=True)
            threads.append(thread)
            thread.start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield listener.getsockname()[1], connections
    finally:
        stop.set()
        # Closing alone does not end a call of accept() in another thread.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        acceptor.join(5)
        for thread in threads:
            thread.join(5)
