# SPDX-License-Identifier: Apache-2.0
"""Turns Tencent's callbacks into asset events, in Airflow's API server.

A plugin's app is open to everybody, and the signature of a callback covers neither its body nor
the recording. So a callback only names the recording to poll; the event holds what
DescribeOnlineRecord answers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from tiw_automation.airflow.events.callback_connection import CallbackConnection, may_pass
from tiw_automation.airflow.events.callback_request import Memory, Refused, read_body, respond
from tiw_automation.airflow.events.event_sink import BeingPublished, EventSink
from tiw_automation.airflow.metrics import export
from tiw_automation.core import (
    Callback,
    CallbackError,
    CallbackExpired,
    CallbackForged,
    Outcome,
    RecordWatcher,
    TiwError,
    Verdict,
    WaitTimeout,
    metrics,
    parse_callback,
)
from tiw_automation.core.api import ANSWER, MAX_BODY_BYTES, check_signed
from tiw_automation.core.events import (
    Backlog,
    NotConfirmed,
    confirmation_pause_s,
    confirmed_outcome,
    describe_unconfirmed,
    event_id,
    hint_waits,
)
from tiw_automation.core.records import ANY_END

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

URL_PREFIX = "/tiw/callbacks"

# Longer bodies take tens of milliseconds to parse, and are parsed in a thread.
_PARSED_IN_LOOP = 64 * 1024
# Tencent waits 10 s for an answer, and posts again.
_ANSWER_WITHIN_S = 8.0
# The most requests that wait for their recording; the callbacks of others are confirmed as well.
_MOST_WAITING = 500
# The most recordings that are remembered as done.
_REMEMBERED = 10_000
# How often a kind of refusal is logged at most.
_LOG_EVERY_S = 60.0
# How often to look whether a watcher's event is stored. That may take half a minute, or a whole one
# while the watcher publishes other events, even if Tencent has given up by then.
_LOOK_AGAIN_S = 2.0

# A connection, an SdkAppId and a task id.
_Key = tuple[str, int, str]

# The one answer to all refused requests: it reveals nothing to an unauthenticated sender.
_REFUSAL = {"error_code": 1}


def callback_apps() -> list[dict[str, Any]]:
    """Return the app to mount in a list, or an empty list.

    It serves the connections that ``[tiw] callback_conn_ids`` names and that have a
    ``callback_secret``. Each of the others is an error in the log: without a secret every request
    would be trusted. One that Airflow cannot read now is read again with each callback, which is
    answered 503 until that works.
    """
    names = conf.get("tiw", "callback_conn_ids", fallback="") or ""
    conn_ids = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    connections = {i: found for i in conn_ids if (found := _usable_connection(i)) is not None}
    if not connections:
        return []
    export(gauges=True)
    app = CallbackReceiver(connections, EventSink())
    return [{"app": app, "url_prefix": URL_PREFIX, "name": "TIW callbacks"}]


def _usable_connection(conn_id: str) -> CallbackConnection | None:
    connection = CallbackConnection(conn_id)
    try:
        connection.read()
    except Exception as error:
        logger.error("Callbacks for connection %s are not received: %s", conn_id, error)
        return connection if may_pass(error) else None
    logger.info("Callbacks are received at %s/%s.", URL_PREFIX, conn_id)
    return connection


class CallbackReceiver:
    """The ASGI app: ``POST /<connection id>``.

    A verified callback is reduced to its task id and confirmed in the background, whether or not
    it is posted again: see :mod:`tiw_automation.core.events.backlog`.

    Answers

    - 200 once the recording's event is stored, was stored before, or is not needed;
    - 403 to every request that is not trusted;
    - 413 to a body of more than 768 KiB;
    - 503 while the recording cannot be confirmed, or a watcher's event is not stored yet: Tencent
      then posts the callback again.

    :param connections: by connection id.
    :param sink: stores the events.
    """

    def __init__(self, connections: Mapping[str, CallbackConnection], sink: EventSink) -> None:
        self._connections = connections
        self._sink = sink
        self._backlog: Backlog[_Key] = Backlog(self._try, confirmation_pause_s)
        self._done: OrderedDict[_Key, None] = OrderedDict()
        self._waiting = 0
        self._memory = Memory()
        self._refusals = _LogOnceAMinute(logging.WARNING, "%d posts were refused; the last one: %s")
        self._too_long = _LogOnceAMinute(
            logging.ERROR,
            f"%d posts of more than {MAX_BODY_BYTES} bytes were refused; the last one: %s. A "
            "recording of more than about 2,100 videos needs a watcher or a sensor.",
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        metrics.report("tiw.callbacks.received")
        try:
            await self._receive(scope, receive)
        except Refused as refused:
            metrics.report("tiw.callbacks.refused", reason=refused.why)
            await respond(send, refused.status, _REFUSAL)
        except Exception:
            logger.exception("A callback could not be processed; Tencent will post it again.")
            metrics.report("tiw.callbacks.refused", reason="fault")
            await respond(send, 503, _REFUSAL)
        else:
            await respond(send, 200, ANSWER)

    async def _receive(self, scope: Scope, receive: Receive) -> None:
        if scope["method"] != "POST":
            raise Refused(405, "it is not a POST")
        connection = self._connections.get(_conn_id(scope))
        if connection is None:
            self._refusals.add("No connection of that name receives callbacks.")
            raise Refused(403, "it is not trusted", "unknown_connection")
        callback = await self._verified(connection, scope, receive)
        task_id = callback.task_id
        if not callback.is_finished:
            hint_waits(callback)
            logger.info("Callback %s: task %s.", callback.event_type, task_id)
        elif task_id is None:
            logger.warning("A recording failed, and the callback does not name it.")
        else:
            await self._confirmed((connection.conn_id, callback.sdk_app_id, task_id))

    async def _verified(
        self, connection: CallbackConnection, scope: Scope, receive: Receive
    ) -> Callback:
        """Return the verified callback, without the rest of its body.

        :raises Refused: it is not trusted, or cannot be verified yet.
        """
        try:
            async with read_body(scope, receive, self._memory) as body:
                settings = await connection.settings()
                callback = await _parse(body, settings.secret)
            settings.check_app(callback)
        except CallbackError as error:
            self._refusals.add(error)
            raise Refused(403, "it is not trusted", _why(error)) from None
        except TiwError as error:
            self._refusals.add(error)
            raise Refused(503, "it cannot be verified yet", "connection_unreadable") from None
        except Refused as refused:
            if refused.status == 413:
                self._too_long.add(refused)
            raise
        return callback

    async def _confirmed(self, key: _Key) -> None:
        """Wait until a recording is done, together with all requests for the same recording.

        :raises Refused: it is not done within the time for an answer.
        """
        if key in self._done:
            return
        if not self._backlog.add(key):
            raise Refused(503, "the backlog is full")
        if self._waiting >= _MOST_WAITING:
            raise Refused(503, "too many requests wait")
        self._waiting += 1
        try:
            await asyncio.wait_for(self._backlog.result(key), _ANSWER_WITHIN_S)
        except (TimeoutError, NotConfirmed, TiwError, OSError):
            # The backlog has logged it.
            raise Refused(503, "it is not confirmed yet", "not_confirmed_yet") from None
        finally:
            self._waiting -= 1

    async def _try(self, key: _Key, age_s: float) -> bool:
        """Poll a recording once and store its event; return whether it is done."""
        conn_id, sdk_app_id, task_id = key
        settings = await self._connections[conn_id].settings()
        watcher = RecordWatcher.shared(settings.client)
        # By any reason, because each asset has its own terms.
        outcome = await describe_unconfirmed(watcher, sdk_app_id, task_id, acceptance=ANY_END)
        found = confirmed_outcome(outcome, age_s, is_finished=True)
        if found is None:
            if outcome.verdict is Verdict.UNKNOWN:
                raise outcome.error or TiwError(outcome.message)
            return False
        if isinstance(found.error, WaitTimeout):
            logger.warning("%s The callback is not confirmed.", found.message)
            raise NotConfirmed(found.message)
        if found.verdict is Verdict.FINISHED:
            await self._publish(conn_id, settings.client.settings.sdk_app_id, found)
        else:
            logger.warning("%s", found.message)
        metrics.report("tiw.callbacks.confirmed", verdict=found.verdict.value)
        if found.verdict is not Verdict.MISSING:
            self._remember(key)
        return True

    async def _publish(self, conn_id: str, own_app_id: int | None, outcome: Outcome) -> None:
        """Store the event, after that of a watcher which is publishing the same recording."""
        whose = (conn_id, outcome.sdk_app_id, own_app_id)
        identity = event_id(outcome.sdk_app_id, outcome.task_id)
        names: list[str] = []
        pending = await asyncio.to_thread(self._sink.wants, *whose, identity)
        while pending:
            try:
                names += await asyncio.to_thread(self._sink.store, *whose, outcome)
                pending = False
            except BeingPublished as error:
                names += error.stored_in
                await asyncio.sleep(_LOOK_AGAIN_S)
        metrics.report("tiw.events.published", len(names), source="callback")
        logger.info("%s Published to %s.", outcome.message, ", ".join(names) or "no asset")

    def _remember(self, key: _Key) -> None:
        self._done[key] = None
        if len(self._done) > _REMEMBERED:
            self._done.popitem(last=False)


def _conn_id(scope: Scope) -> str:
    path, root = str(scope["path"]), str(scope.get("root_path") or "")
    return path.removeprefix(root).strip("/")


def _why(error: CallbackError) -> str | None:
    if isinstance(error, CallbackForged):
        return "forged"
    return "expired" if isinstance(error, CallbackExpired) else None


async def _parse(body: bytes, secret: str) -> Callback:
    """Verify and parse a body, and return the callback without it."""
    check_signed(body, secret)
    if len(body) <= _PARSED_IN_LOOP:
        return parse_callback(body, secret).without_body()
    return (await asyncio.to_thread(parse_callback, body, secret)).without_body()


class _LogOnceAMinute:
    """Logs at most one line a minute, with the number of events since the last line.

    :param level: of the line.
    :param message: with a place for the number and one for the last event.
    """

    def __init__(self, level: int, message: str) -> None:
        self._level = level
        self._message = message
        self._count = 0
        self._logged_at = float("-inf")

    def add(self, what: object) -> None:
        """Count one event more, and log it if a line is due."""
        self._count += 1
        now = time.monotonic()
        if now - self._logged_at >= _LOG_EVERY_S:
            logger.log(self._level, self._message, self._count, what)
            self._logged_at, self._count = now, 0
