# SPDX-License-Identifier: Apache-2.0
"""Turns Tencent's callbacks into asset events, in Airflow's API server.

A plugin's app is reachable by anybody, and a callback's signature covers neither its body nor the
recording. So a callback only says which recording to ask for; DescribeOnlineRecord says the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import conf

from tiw_automation.airflow.events.event_sink import BeingTold, EventSink
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.core import (
    Callback,
    CallbackError,
    ConfigurationError,
    Outcome,
    RecordWatcher,
    TiwClient,
    TiwError,
    Verdict,
    WaitTimeout,
    parse_callback,
)
from tiw_automation.core.api import ANSWER, MAX_BODY_BYTES, check_signed, warn_if_weak
from tiw_automation.core.events import (
    ANY_END,
    MOST_KEYS,
    Backlog,
    NotConfirmed,
    describe,
    event_id,
    pause_s,
    settled,
)
from tiw_automation.core.formatting import escaped

logger = logging.getLogger(__name__)

URL_PREFIX = "/tiw/callbacks"

# Tencent gives up on an answer after 10 s, and posts again.
_ANSWER_WITHIN_S = 8.0
_BODY_WITHIN_S = 8.0
# What is too long is thrown away up to here: who is cut off while sending hears no answer.
_READ_AT_MOST = 2 * MAX_BODY_BYTES
# Digits of a Content-Length.
_LONGEST_LENGTH = 19
# Recordings that are being asked for at once; each waits for its turn on the quota.
_MOST_AT_ONCE = MOST_KEYS
# What all bodies that are being read may take together, and what is kept of that for short ones:
# somebody who sends slowly holds up no more than those who send long ones.
_BYTES_UNDER_WAY = 16 * 1024 * 1024
_FOR_SHORT_ONES = 4 * 1024 * 1024
_SHORT = 64 * 1024
# Posts that wait for an answer; what more are posted are asked for all the same.
_MOST_WAITING = 500
# Recordings whose event is known to be stored.
_REMEMBERED = 10_000
# How long a connection is taken to be as it was read.
_SETTINGS_S = 60.0
# And how long to be of no use: a database that was away for a moment costs no callback, because
# Tencent posts each for half a minute.
_TROUBLE_S = 10.0
# Refused posts are told of once in so long, however many come.
_LOG_EVERY_S = 60.0

# How often to look whether a watcher's event is stored; that is waited for half a minute, a whole
# one while the watcher goes on to tell others, also where Tencent has given up by then.
_LOOK_AGAIN_S = 2.0

_Scope = Mapping[str, Any]
_Whose = tuple[str, int, int | None]
# Of the connection; SdkAppId and task id.
_Key = tuple[str, int, str]
_Receive = Callable[[], Awaitable[dict[str, Any]]]
_Send = Callable[[dict[str, Any]], Awaitable[None]]

# One answer for whatever is refused: it tells a stranger nothing.
_REFUSAL = {"error_code": 1}


class _Refused(Exception):
    """The post is not answered with success; ``status`` is what is said instead."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def callback_apps() -> list[dict[str, Any]]:
    """Return the app to mount, or none.

    Mounted are the connections that ``[tiw] callback_conn_ids`` names and that have a
    ``callback_secret``; each of the others is an error in the log, because without a secret
    anybody's post would be believed. One that Airflow cannot read just now is read again with
    the posts, which are answered 503 until then.
    """
    names = conf.get("tiw", "callback_conn_ids", fallback="") or ""
    conn_ids = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    sources = {}
    for conn_id in conn_ids:
        source = _Source(conn_id)
        try:
            source.read()
        except Exception as error:
            logger.error("Callbacks for connection %s are not received: %s", conn_id, error)
            if not _may_pass(error):
                continue
        else:
            logger.info("Callbacks are received at %s/%s.", URL_PREFIX, conn_id)
        sources[conn_id] = source
    if not sources:
        return []
    app = CallbackReceiver(sources, EventSink())
    return [{"app": app, "url_prefix": URL_PREFIX, "name": "TIW callbacks"}]


@dataclass(frozen=True, slots=True)
class _Settings:
    """What a connection says; the secret is never shown."""

    conn_id: str
    secret: str
    client: TiwClient

    def __repr__(self) -> str:
        return f"_Settings({self.conn_id!r})"

    def check_app(self, callback: Callback) -> None:
        own = self.client.settings.sdk_app_id
        if own is not None and callback.sdk_app_id != own:
            raise CallbackError(f"It is of SdkAppId {callback.sdk_app_id}, not {own}.")


class _Source:
    """A connection, read again from time to time so that a new secret needs no restart.

    It is read that seldom whether or not it can be used, and however many post.
    """

    def __init__(self, conn_id: str) -> None:
        self.conn_id = conn_id
        self._settings: _Settings | None = None
        self._trouble: str | None = None
        self._is_late = False
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    def read(self) -> _Settings:
        """Return the settings; blocks.

        :raises ConfigurationError: there is no such connection, or it has no secret.
        """
        hook = TiwHook(self.conn_id)
        secret = hook.callback_secret
        if not secret:
            raise ConfigurationError(
                f"Connection {self.conn_id!r} has no callback_secret.",
                hint="Set the same there as with SetOnlineRecordCallbackKey, then restart the "
                "API server.",
            )
        warn_if_weak(secret)
        client = hook.get_conn()
        known = self._settings
        if known is not None and known.client.settings == client.settings:
            client.close()
            client = known.client
        self._settings = _Settings(self.conn_id, secret, client)
        self._trouble, self._is_late = None, False
        self._read_at = time.monotonic()
        return self._settings

    async def settings(self) -> _Settings:
        """Return settings that are at most a minute old, read in a thread.

        :raises CallbackError: they could not be used when they were last read.
        :raises TiwError: Airflow could not read them yet; what it has read once is good until it
            says something else.
        """
        async with self._reading:
            is_good = self._settings is not None and self._trouble is None
            keeps_s = _SETTINGS_S if is_good else _TROUBLE_S
            if time.monotonic() - self._read_at >= keeps_s:
                await asyncio.to_thread(self._try_to_read)
        if self._trouble is not None:
            raise CallbackError(self._trouble)
        if self._settings is None:
            raise TiwError(f"Airflow cannot read connection {self.conn_id!r} yet.", retryable=True)
        return self._settings

    def _try_to_read(self) -> None:
        was_usable = self._trouble is None
        try:
            self.read()
        except Exception as error:
            self._read_at = time.monotonic()
            if _may_pass(error):
                if not self._is_late:
                    logger.warning("Callbacks for %s wait: %s", self.conn_id, error)
                self._is_late = True
                return
            self._trouble = str(error)
            if was_usable:
                logger.error("Callbacks for %s are not received: %s", self.conn_id, error)


def _may_pass(error: Exception) -> bool:
    """Whether a connection that could not be read may be read later, as it is."""
    return isinstance(error, TiwError) and error.retryable


class _Room:
    """The bytes that bodies take while they are read, all together."""

    def __init__(self) -> None:
        self._taken = 0

    def take(self, count: int, *, size: int) -> bool:
        """Take more for a body of what is then that size; return whether there was room."""
        room = _BYTES_UNDER_WAY - (0 if size <= _SHORT else _FOR_SHORT_ONES)
        if self._taken + count > room:
            return False
        self._taken += count
        return True

    def give_back(self, count: int) -> None:
        """Return what a body took."""
        self._taken -= count


class CallbackReceiver:
    """The ASGI app: ``POST /<connection id>``.

    A verified callback is kept as its task id and confirmed in the background, whether or not it
    is posted again: see :mod:`tiw_automation.core.events.backlog`.

    Answers 200 once the recording's event is stored, was stored before, or needs none; 403 to
    what is not to be trusted, always the same; 413 to more than 768 KiB; and 503 where the
    recording cannot be asked for yet, or a watcher's event is not stored yet, so that Tencent
    posts again.

    :param sources: by connection id.
    :param sink: where events go.
    """

    def __init__(self, sources: Mapping[str, _Source], sink: EventSink) -> None:
        self._sources = sources
        self._sink = sink
        self._under_way: Backlog[_Key] = Backlog(self._deal_with, pause_s)
        self._dealt_with: OrderedDict[_Key, None] = OrderedDict()
        self._waiting = 0
        self._room = _Room()
        self._refusals = _Tally(logging.WARNING, "%d posts were refused; the last one: %s")
        self._too_long = _Tally(
            logging.ERROR,
            f"%d posts of more than {MAX_BODY_BYTES} bytes were refused; the last one: %s. A "
            "recording of more than about 2,100 videos needs a watcher or a sensor.",
        )

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive)
        except _Refused as refused:
            await _respond(send, refused.status, _REFUSAL)
        except Exception:
            logger.exception("A callback could not be dealt with; Tencent will post it again.")
            await _respond(send, 503, _REFUSAL)
        else:
            await _respond(send, 200, ANSWER)

    async def _answer(self, scope: _Scope, receive: _Receive) -> None:
        if scope["method"] != "POST":
            raise _Refused(405, "method")
        source = self._sources.get(_conn_id(scope))
        if source is None:
            self._refusals.add("No connection of that name receives callbacks.")
            raise _Refused(403, "not trusted")
        callback = await self._verified(source, scope, receive)
        task_id = callback.task_id
        if not callback.is_finished:
            logger.info("Callback %s: recording %s.", callback.event_type, task_id)
        elif task_id is None:
            logger.warning("A recording failed, and the callback does not say which.")
        else:
            await self._confirm((source.conn_id, callback.sdk_app_id, task_id))

    async def _verified(self, source: _Source, scope: _Scope, receive: _Receive) -> Callback:
        """Return the hint that was posted; nothing else of the body is kept.

        :raises _Refused: it is not to be trusted, or it cannot be seen yet whether it is.
        """
        try:
            async with _body(scope, receive, self._room) as body:
                settings = await source.settings()
                check_signed(body, settings.secret)
                if len(body) <= _SHORT:
                    callback = parse_callback(body, settings.secret)
                else:
                    # It takes tens of milliseconds, in pieces of a few.
                    callback = await asyncio.to_thread(parse_callback, body, settings.secret)
                callback = callback.without_body()
            settings.check_app(callback)
        except CallbackError as error:
            self._refusals.add(error)
            raise _Refused(403, "not trusted") from None
        except TiwError as error:
            self._refusals.add(error)
            raise _Refused(503, "not yet") from None
        except _Refused as refused:
            if refused.status == 413:
                self._too_long.add(refused)
            raise
        return callback

    async def _confirm(self, key: _Key) -> None:
        """Wait until a recording is dealt with, together with all who post the same."""
        if key in self._dealt_with:
            return
        if not self._under_way.add(key, most=_MOST_AT_ONCE):
            raise _Refused(503, "full")
        if self._waiting >= _MOST_WAITING:
            raise _Refused(503, "not yet")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._under_way.result(key), _ANSWER_WITHIN_S)
        except (TimeoutError, NotConfirmed, TiwError, OSError):
            # The backlog has logged it.
            raise _Refused(503, "not yet") from None
        finally:
            self._waiting -= 1

    async def _deal_with(self, key: _Key, age_s: float) -> bool:
        """Ask for a recording and store its event; return whether nothing is left to do."""
        conn_id, sdk_app_id, task_id = key
        settings = await self._sources[conn_id].settings()
        watcher = RecordWatcher.shared(settings.client)
        # Each asset has its own terms.
        outcome = await describe(watcher, sdk_app_id, task_id, acceptance=ANY_END)
        found = settled(outcome, age_s, is_finished=True)
        if found is None:
            if outcome.verdict is Verdict.UNKNOWN:
                raise outcome.error or TiwError(outcome.message)
            return False
        if isinstance(found.error, WaitTimeout):
            logger.warning("%s The callback is not confirmed.", found.message)
            raise NotConfirmed(found.message)
        if found.verdict is Verdict.FINISHED:
            whose = (conn_id, sdk_app_id, settings.client.settings.sdk_app_id)
            told = await self._store(whose, found)
            logger.info("%s Told to %s.", found.message, ", ".join(told) or "nobody")
        else:
            logger.warning("%s", found.message)
        if found.verdict is not Verdict.MISSING:
            self._remember(key)
        return True

    async def _store(self, whose: _Whose, outcome: Outcome) -> list[str]:
        """Store it, once what a watcher may be telling of it is stored or never will be."""
        identity = event_id(outcome.sdk_app_id, outcome.task_id)
        if not await asyncio.to_thread(self._sink.wants, *whose, identity):
            return []
        told: list[str] = []
        while True:
            try:
                return told + await asyncio.to_thread(self._sink.store, *whose, outcome)
            except BeingTold as later:
                told += later.told
                await asyncio.sleep(_LOOK_AGAIN_S)

    def _remember(self, key: _Key) -> None:
        self._dealt_with[key] = None
        if len(self._dealt_with) > _REMEMBERED:
            self._dealt_with.popitem(last=False)


class _Tally:
    """Logs once a minute how many there were, however many there are."""

    def __init__(self, level: int, message: str) -> None:
        self._level = level
        self._message = message
        self._count = 0
        self._logged_at = float("-inf")

    def add(self, what: object) -> None:
        """Count one more."""
        self._count += 1
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            logger.log(self._level, self._message, self._count, what)
            self._logged_at, self._count = now, 0


def _conn_id(scope: _Scope) -> str:
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path.removeprefix(root).strip("/")


@contextlib.asynccontextmanager
async def _body(scope: _Scope, receive: _Receive, room: _Room) -> AsyncIterator[bytes]:
    """Read the body; the room that it takes is given back on leaving.

    :raises _Refused: it is too long, too slow, or there is no room for it now.
    """
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or len(length) > _LONGEST_LENGTH or int(length) > _READ_AT_MOST:
        raise _Refused(413, f"its length is {escaped(length.decode('latin-1'), 80)}")
    body, size = bytearray(), 0
    try:
        async with asyncio.timeout(_BODY_WITHIN_S):
            more = True
            while more:
                message = await receive()
                if message["type"] != "http.request":
                    raise _Refused(400, "gone")
                chunk, more = message.get("body", b""), bool(message.get("more_body"))
                size += len(chunk)
                if size > _READ_AT_MOST:
                    raise _Refused(413, f"more than {_READ_AT_MOST} bytes came")
                if size > MAX_BODY_BYTES:
                    room.give_back(len(body))
                    body.clear()
                elif room.take(len(chunk), size=size):
                    body += chunk
                else:
                    raise _Refused(503, "no room")
        if size > MAX_BODY_BYTES:
            raise _Refused(413, f"it has {size} bytes")
        yield bytes(body)
    except TimeoutError:
        raise _Refused(408, "too slow") from None
    finally:
        room.give_back(len(body))


async def _respond(send: _Send, status: int, answer: Mapping[str, Any]) -> None:
    body = json.dumps(answer).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
