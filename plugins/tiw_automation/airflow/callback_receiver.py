# SPDX-License-Identifier: Apache-2.0
"""Turns Tencent's callbacks into asset events, in Airflow's API server.

A plugin's app is reachable by anybody, and a callback's signature covers neither its body nor the
recording. So a callback only says which recording to ask for; DescribeOnlineRecord says the rest.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow.providers.common.compat.sdk import conf

from tiw_automation.airflow.asset_store import BeingTold, EventSink
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
    parse_callback,
)
from tiw_automation.core.callbacks import ANSWER, MAX_BODY_BYTES
from tiw_automation.core.confirmation import confirm
from tiw_automation.core.record_events import event_id
from tiw_automation.core.record_feed import ANY_END

logger = logging.getLogger(__name__)

URL_PREFIX = "/tiw/callbacks"

# Tencent gives up on an answer after 10 s, and posts again.
_ANSWER_WITHIN_S = 8.0
_BODY_WITHIN_S = 8.0
# What is too long is thrown away up to here: who is cut off while sending hears no answer.
_READ_AT_MOST = 2 * MAX_BODY_BYTES
# Recordings that are being asked for at once; each waits for its turn on the quota.
_MOST_AT_ONCE = 10_000
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


class CallbackReceiver:
    """The ASGI app: ``POST /<connection id>``.

    Answers 200 once the recording's event is stored, was stored before, or needs none; 403 to
    whatever is not to be trusted, always the same; 413 to more than a mebibyte; and 503 where the
    recording cannot be asked for yet, or a watcher's event is not stored yet, so that Tencent
    posts again.

    :param sources: by connection id.
    :param sink: where events go.
    """

    def __init__(self, sources: Mapping[str, _Source], sink: EventSink) -> None:
        self._sources = sources
        self._sink = sink
        self._under_way: dict[tuple[str, int, str], asyncio.Task[None]] = {}
        self._refused = 0
        self._told_at = float("-inf")

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
        body = await _read(scope, receive)
        try:
            if source is None:
                raise CallbackError("No connection of that name receives callbacks.")
            settings = await source.settings()
            callback = parse_callback(body, settings.secret)
            settings.check_app(callback)
        except CallbackError as error:
            self._tell_of_refusal(error)
            raise _Refused(403, "not trusted") from None
        except TiwError as error:
            self._tell_of_refusal(error)
            raise _Refused(503, "not yet") from None
        task_id = callback.task_id
        if not callback.is_finished:
            logger.info("Callback %s: recording %s.", callback.event_type, task_id)
        elif task_id is None:
            logger.warning("A recording failed, and the callback does not say which.")
        else:
            await self._confirm(settings, callback, task_id)

    async def _confirm(self, settings: _Settings, callback: Callback, task_id: str) -> None:
        """Wait until a recording is dealt with, together with all who post the same."""
        key = (settings.conn_id, callback.sdk_app_id, task_id)
        task = self._under_way.get(key)
        if task is None:
            if len(self._under_way) >= _MOST_AT_ONCE:
                logger.error("%d callbacks are being confirmed; no more fit.", _MOST_AT_ONCE)
                raise _Refused(503, "full")
            # It goes on when nobody waits any more: the answer to the next post is its result.
            task = asyncio.get_running_loop().create_task(
                self._deal_with(settings, callback, task_id)
            )
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        try:
            await asyncio.wait_for(asyncio.shield(task), _ANSWER_WITHIN_S)
        except TimeoutError:
            raise _Refused(503, "not yet") from None

    def _done(self, key: tuple[str, int, str], task: asyncio.Task[None]) -> None:
        self._under_way.pop(key, None)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.warning("Recording %s: the callback was not confirmed: %s", key[2], error)

    async def _deal_with(self, settings: _Settings, callback: Callback, task_id: str) -> None:
        sdk_app_id = callback.sdk_app_id
        whose = (settings.conn_id, sdk_app_id, settings.client.settings.sdk_app_id)
        if not await asyncio.to_thread(self._sink.wants, *whose, event_id(sdk_app_id, task_id)):
            return
        # Each asset has its own terms.
        watcher = RecordWatcher.shared(settings.client)
        outcome = await confirm(watcher, callback, acceptance=ANY_END)
        if outcome.verdict is Verdict.FINISHED:
            told = await self._store(whose, outcome)
            logger.info("%s Told to %s.", outcome.message, ", ".join(told) or "nobody")
        elif outcome.is_final:
            logger.warning("%s", outcome.message)
        else:
            raise outcome.error or TiwError(outcome.message)

    async def _store(self, whose: _Whose, outcome: Outcome) -> list[str]:
        """Store it, once what a watcher may be telling of it is stored or never will be."""
        told: list[str] = []
        while True:
            try:
                return told + await asyncio.to_thread(self._sink.store, *whose, outcome)
            except BeingTold as later:
                told += later.told
                await asyncio.sleep(_LOOK_AGAIN_S)

    def _tell_of_refusal(self, error: TiwError) -> None:
        self._refused += 1
        now = time.monotonic()
        if now - self._told_at >= _LOG_EVERY_S:
            logger.warning("%d posts were refused; the last one: %s", self._refused, error)
            self._told_at = now
            self._refused = 0


def _conn_id(scope: _Scope) -> str:
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path.removeprefix(root).strip("/")


async def _read(scope: _Scope, receive: _Receive) -> bytes:
    """Return the body, and keep no byte more than it may have."""
    length = dict(scope["headers"]).get(b"content-length", b"0")
    if not length.isdigit() or int(length) > _READ_AT_MOST:
        raise _Refused(413, "too long")
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
                    raise _Refused(413, "too long")
                if size <= MAX_BODY_BYTES:
                    body += chunk
    except TimeoutError:
        raise _Refused(408, "too slow") from None
    if size > MAX_BODY_BYTES:
        raise _Refused(413, "too long")
    return bytes(body)


async def _respond(send: _Send, status: int, answer: Mapping[str, Any]) -> None:
    body = json.dumps(answer).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
