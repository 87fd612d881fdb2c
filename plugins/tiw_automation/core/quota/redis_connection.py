# SPDX-License-Identifier: Apache-2.0
"""A connection to a Redis or Valkey server: the only module that knows its client."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import redis

from tiw_automation.core.formatting import escaped, shown_url

# How long the server may take for an answer or a new connection.
_ANSWER_S = 0.75
_SCHEMES = (("valkey://", "redis://"), ("valkeys://", "rediss://"))


def check_url(url: str) -> None:
    """Check the URL of a server.

    :raises ValueError: it is malformed.
    """
    RedisConnection(url)


class RedisConnection:
    """One connection to a server, which runs the script ``redis.lua``.

    :param url: ``redis://``, ``rediss://`` (TLS), ``valkey://``, ``valkeys://`` (TLS) or
        ``unix://``.
    :raises ValueError: the URL is malformed.
    """

    def __init__(self, url: str) -> None:
        self.shown: str = shown_url(url)
        pool = _pool(url)
        self._kind, self._arguments = pool.connection_class, pool.connection_kwargs
        self._secrets = _secrets(url, self._arguments)
        self._connection: Any = None

    @property
    def is_open(self) -> bool:
        """Whether it is connected, as far as is known."""
        return self._connection is not None

    def open(self) -> None:
        """Connect."""
        connection = self._kind(**self._arguments)
        connection.connect()
        self._connection = connection

    def close(self) -> None:
        """Disconnect; :meth:`open` connects again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()

    def time(self) -> float:
        """Return the time of the server's clock."""
        seconds, micros = self._exchange([["TIME"]])[0]
        return float(seconds) + float(micros) / 1e6

    def run(self, calls: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[Any]:
        """Run the script for each of the calls, which are sent together.

        :param calls: the keys and the arguments of each.
        :returns: an answer or the server's error for each.
        """
        script, digest = _script()
        commands: list[list[Any]] = [
            ["EVALSHA", digest, len(keys), *keys, *arguments] for keys, arguments in calls
        ]
        found = self._exchange(commands)
        missing = [
            number
            for number, answer in enumerate(found)
            if isinstance(answer, redis.exceptions.NoScriptError)
        ]
        again = [["EVAL", script, *commands[number][2:]] for number in missing]
        for number, answer in zip(missing, self._exchange(again), strict=True):
            found[number] = answer
        return found

    def reason(self, error: Exception) -> str:
        """Return why a call failed, without the password."""
        text = escaped(str(error)) or type(error).__name__
        # No message of the client is known to contain it.
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _exchange(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        if not commands:
            return []
        connection, found = self._connection, []
        connection.send_packed_command(connection.pack_commands(commands), check_health=False)
        for _ in commands:
            try:
                found.append(connection.read_response())
            except redis.ResponseError as error:
                found.append(error)
        return found


def _pool(url: str) -> redis.ConnectionPool:
    for ours, theirs in _SCHEMES:
        if url.startswith(ours):
            url = theirs + url.removeprefix(ours)
    # The client checks the host's name of a certificate only since its version 6.
    tls = {"ssl_check_hostname": True} if url.startswith("rediss://") else {}
    return redis.ConnectionPool.from_url(
        url,
        socket_timeout=_ANSWER_S,
        socket_connect_timeout=_ANSWER_S,
        decode_responses=True,
        client_name="tiw-automation",
        retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0),
        **tls,
    )


def _secrets(url: str, arguments: dict[str, Any]) -> set[str]:
    """Return the passwords of a URL, in each form in which a message may show them."""
    raw = urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]
    found = {raw, unquote(raw)}
    for name in ("password", "ssl_password"):
        value = arguments.get(name) or ""
        found |= {value, quote(value, safe=""), escaped(value)}
    return found - {""}


@cache
def _script() -> tuple[str, str]:
    text = Path(__file__).with_name("redis.lua").read_text(encoding="utf-8")
    return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
