# A copy of core/sockets.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""Connecting to a host, and reading from it, for no longer than there is time.

The time is a function that returns the seconds that are left, and raises a timeout where there are
none.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

# RFC 8305: after this, the next address is tried at the same time.
_STAGGER_S = 0.25


class DeadlineReader(io.RawIOBase):
    """Reads from a socket, each time for no longer than there is time."""

    def __init__(self, sock: socket.socket, left_s: Callable[[], float]) -> None:
        self._sock = sock
        self._left_s = left_s
        # An unbuffered socket file counts as a user of the socket, which keeps it open.
        self._raw: Any = sock.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(self._left_s())
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()


def connected(
    host: str,
    port: int,
    left_s: Callable[[], float],
    *,
    options: Iterable[Any] = (),
    check: Callable[[str], object] = lambda address: None,
) -> socket.socket:
    """Return a connection to the address that answers first (happy eyeballs, RFC 8305).

    The next address is tried when one has failed, or has not answered for a moment.

    :param options: arguments of ``setsockopt``.
    :param check: called with each address before it is connected to; what it raises is raised
        where no other address answers.
    """
    waiting = deque(_addresses(host.strip("[]"), port, left_s))
    failure: Exception = OSError(f"{host} has no address")
    next_at = 0.0
    with selectors.DefaultSelector() as begun:
        try:
            while waiting or begun.get_map():
                pause = left_s()
                if waiting and (time.monotonic() >= next_at or not begun.get_map()):
                    address = waiting.popleft()
                    try:
                        check(str(address[4][0]))
                        begun.register(_begin(address, options), selectors.EVENT_WRITE)
                    except Exception as error:
                        failure = error
                        continue
                    next_at = time.monotonic() + _STAGGER_S
                if waiting:
                    pause = min(pause, next_at - time.monotonic())
                for key, _events in begun.select(max(pause, 0.0)):
                    sock: Any = key.fileobj
                    begun.unregister(sock)
                    code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    if not code:
                        # The TLS handshake that may follow is one operation under this timeout.
                        sock.settimeout(left_s())
                        return sock  # type: ignore[no-any-return]
                    sock.close()
                    failure = OSError(code, os.strerror(code))
                    next_at = 0.0
        finally:
            for key in list(begun.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    raise failure


def _addresses(host: str, port: int, left_s: Callable[[], float]) -> list[tuple[Any, ...]]:
    """Look up a name, for no longer than there is time; getaddrinfo has no timeout."""
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=look_up, name="tiw-look-up", daemon=True)
    thread.start()
    thread.join(left_s())
    if not found:
        raise socket.timeout(f"the name {host} was not resolved")
    if isinstance(found[0], Exception):
        raise found[0]
    return _interleaved(found[0])


def _interleaved(addresses: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the addresses with their families alternating, so that a broken one costs little."""
    families: dict[int, list[tuple[Any, ...]]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    rounds = itertools.zip_longest(*families.values())
    return [address for one in rounds for address in one if address is not None]


def _begin(address: tuple[Any, ...], options: Iterable[Any]) -> socket.socket:
    """Start to connect; the socket becomes writable when that is done."""
    family, kind, protocol, _name, where = address
    sock = socket.socket(family, kind, protocol)
    try:
        for option in options:
            sock.setsockopt(*option)
        sock.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            sock.connect(where)
    except BaseException:
        sock.close()
        raise
    return sock
