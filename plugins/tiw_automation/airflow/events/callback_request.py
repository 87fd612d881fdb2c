# SPDX-License-Identifier: Apache-2.0
"""Reads the HTTP request of a callback within limits of time and memory, and answers it.

The address is open to everybody, so a slow or a large sender must not keep the others out.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from tiw_automation.core.api import MAX_BODY_BYTES
from tiw_automation.core.formatting import escaped

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

_BODY_WITHIN_S = 8.0
# What is too long is read and dropped up to here: a sender that is cut off gets no answer.
_READ_AT_MOST = 2 * MAX_BODY_BYTES
# The most digits of a Content-Length.
_LONGEST_LENGTH = 19
# The most bytes of all bodies that are being read, and the part of them that is reserved for short
# bodies: slow senders of long bodies keep no short one out.
_MOST_BYTES = 16 * 1024 * 1024
_FOR_SHORT_BODIES = 4 * 1024 * 1024
_SHORT_BODY = 64 * 1024

_WHY = {
    400: "aborted",
    403: "untrusted",
    405: "not_a_post",
    408: "too_slow",
    413: "too_long",
    503: "busy",
}


class Refused(Exception):
    """The request is refused with the HTTP ``status``; the reason is only for the log.

    :param why: the reason as a tag of the metric; by default that of the status.
    """

    def __init__(self, status: int, reason: str, why: str | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.why: str = why or _WHY[status]


class Memory:
    """Counts the bytes of all bodies that are being read."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self, count: int, *, size: int) -> bool:
        """Take bytes for a body that has that size with them; return whether there were enough."""
        most = _MOST_BYTES - (0 if size <= _SHORT_BODY else _FOR_SHORT_BODIES)
        if self._taken + count > most:
            return False
        self._taken += count
        return True

    def give_back(self, count: int) -> None:
        """Give back bytes that a body has taken."""
        self._taken -= count


@contextlib.asynccontextmanager
async def read_body(scope: Scope, receive: Receive, memory: Memory) -> AsyncIterator[bytes]:
    """Read the body; its memory is given back at the end of the context.

    :raises Refused: it is too long or too slow, or there is not enough memory now.
    """
    _check_content_length(scope)
    body = _Body(memory)
    try:
        await body.read(receive)
        yield body.content()
    finally:
        body.drop()


async def respond(send: Send, status: int, answer: Mapping[str, Any]) -> None:
    """Send a JSON answer."""
    body = json.dumps(answer).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _check_content_length(scope: Scope) -> None:
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or len(length) > _LONGEST_LENGTH or int(length) > _READ_AT_MOST:
        raise Refused(413, f"its length is {escaped(length.decode('latin-1'), 80)}")


class _Body:
    """A body that is being read; one that is too long is counted, and not kept."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._kept = bytearray()
        self._size = 0

    async def read(self, receive: Receive) -> None:
        try:
            async with asyncio.timeout(_BODY_WITHIN_S):
                more = True
                while more:
                    message = await receive()
                    if message["type"] != "http.request":
                        raise Refused(400, "the sender has left")
                    self._add(message.get("body", b""))
                    more = bool(message.get("more_body"))
        except TimeoutError:
            raise Refused(408, "it is too slow") from None

    def content(self) -> bytes:
        if self._size > MAX_BODY_BYTES:
            raise Refused(413, f"it has {self._size} bytes")
        return bytes(self._kept)

    def drop(self) -> None:
        self._memory.give_back(len(self._kept))
        self._kept.clear()

    def _add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        if self._size > _READ_AT_MOST:
            raise Refused(413, f"it has more than {_READ_AT_MOST} bytes")
        if self._size > MAX_BODY_BYTES:
            self.drop()
        elif self._memory.take(len(chunk), size=self._size):
            self._kept += chunk
        else:
            raise Refused(503, "there is not enough memory")
