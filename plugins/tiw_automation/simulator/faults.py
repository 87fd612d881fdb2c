# SPDX-License-Identifier: Apache-2.0
"""Faults between a client and Tencent, on demand.

A fault is set for some requests, e.g. the next three of one action. It can refuse a request with
an error of the API, change the answer's content, or change how the answer is sent. ``FAULTS`` is
the one table of their names.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import math
import random
import socket
import struct
import threading
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aiohttp import web

from .clock import Clock
from .errors import ApiFault
from .limits import DEFAULT_LIMIT, rejection_message
from .reading import Check, Place, Table, any_text, integer, number, one_of, text
from .schema import REQUESTS

VIDEO = "video"
"""Stands for an action: the download of a video, or of another file."""
ACTIONS = (*REQUESTS, VIDEO)
_LEAVE_CHECK_S = 0.05


class Answer(NamedTuple):
    """What is sent where no fault strikes."""

    body: bytes
    headers: Mapping[str, str]
    status: int = 200

    def response(self) -> web.Response:
        """Return it as an answer of aiohttp."""
        return web.Response(body=self.body, status=self.status, headers=self.headers)


class Sent(web.StreamResponse):
    """An answer that is already bytes.

    aiohttp's conversion of a dictionary to bytes costs more than all that the simulator does.

    :param data: the status line, the headers and the body
    """

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = data
        self._is_kept_alive = False

    async def prepare(self, request: web.BaseRequest) -> None:
        self._is_kept_alive = request.keep_alive
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client has disconnected")
        transport.write(self._data)

    async def write_eof(self, data: bytes = b"") -> None:
        pass

    @property
    def keep_alive(self) -> bool:
        return self._is_kept_alive


Refuse = Callable[["Fault", str], ApiFault]
"""Returns the error of the answer, for a fault and the client's language."""
Edit = Callable[[dict[str, Any]], None]
"""Changes the ``Response`` object of an answer."""
Alter = Callable[[Answer, "Fault"], Answer]
"""Returns the answer that is sent instead."""
Send = Callable[[web.BaseRequest, Answer, "Fault"], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault.

    :param summary: what happens, in a few words
    :param executes: whether the request still takes effect
    :param options: the options that only this kind has, each with its check and its default
    :param times: for how many requests, unless the fault sets another number; ``None`` is all
    """

    summary: str
    executes: bool = True
    refuse: Refuse | None = None
    edit: Edit | None = None
    alter: Alter | None = None
    send: Send | None = None
    options: Mapping[str, tuple[Check[Any], Any]] = field(default_factory=dict)
    times: int | None = None


@dataclass(slots=True, weakref_slot=True, eq=False)
class Fault:
    """A fault that was set.

    :param times: for how many more requests; ``None`` is without limit
    :param action: only for this action, or for ``video``
    :param task_id: only for requests about this task
    :param seconds: for how long, by the simulator's clock, from when it was set
    :param probability: how likely it strikes a matching request, 0 to 1
    :param options: those of its kind
    :param is_cleared: whether it was removed, ended or not
    """

    name: str
    times: int | None
    action: str | None
    task_id: str | None
    seconds: float | None
    probability: float
    options: Mapping[str, Any]
    hits: int = 0
    since: float = 0.0
    is_last: bool = False
    is_cleared: bool = False
    # The same requests meet the same faults in every run.
    dice: random.Random = field(default_factory=lambda: random.Random(0), repr=False)

    @property
    def kind(self) -> Kind:
        """What happens."""
        return FAULTS[self.name]

    @property
    def changes_sending(self) -> bool:
        """Whether the answer must be sent by :meth:`send`."""
        return self.kind.alter is not None or self.kind.send is not None

    async def send(self, request: web.BaseRequest, answer: Answer) -> web.StreamResponse:
        """Answer a request that it strikes."""
        if self.kind.alter is not None:
            answer = self.kind.alter(answer, self)
        if self.kind.send is not None:
            return await self.kind.send(request, answer, self)
        return answer.response()

    def is_over(self, now: float) -> bool:
        """Whether it strikes no more requests."""
        return self.times == 0 or (self.seconds is not None and now >= self.since + self.seconds)

    def is_for(self, action: str, task_id: str | None) -> bool:
        """Whether such a request matches it."""
        return self.action in (None, action) and self.task_id in (None, task_id)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON, without what was not set."""
        given = {
            "times": self.times,
            "action": self.action,
            "task_id": self.task_id,
            "seconds": self.seconds,
        }
        chosen = {name: value for name, value in given.items() if value is not None}
        if self.probability < 1:
            chosen["probability"] = self.probability
        return {"name": self.name, **chosen, **self.options, "hits": self.hits}


def parse_fault(value: object, place: Place) -> Fault:
    """Return the fault that a script's entry, or a name alone, describes.

    :raises ScriptError: a name, an option or a value is invalid
    """
    if isinstance(value, str):
        value = {"name": value}
    table = Table(value, place)
    name = table.require("name", one_of(FAULTS))
    kind = FAULTS[name]
    fault = Fault(
        name=name,
        times=table.take("times", integer(1, 2**31, "a positive whole number"), kind.times),
        action=table.take("action", one_of(ACTIONS)),
        task_id=table.take("task_id", text),
        seconds=table.take("seconds", number),
        probability=table.take("probability", _probability, 1.0),
        options={
            option: table.take(option, check, default)
            for option, (check, default) in kind.options.items()
        },
    )
    table.done()
    return fault


class Faults:
    """The faults that are set; safe to use from several threads.

    :param clock: what ``seconds`` are measured by, UNIX seconds
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        # Also those that have ended, while an answer of theirs is under way.
        self._known: weakref.WeakSet[Fault] = weakref.WeakSet()

    def add(self, fault: Fault, *, last: bool = False) -> None:
        """Set a fault; of several that match, the one that was set first strikes.

        :param last: whether faults that are set later still come before it
        """
        with self._lock:
            fault.since = self._clock()
            fault.is_last = last
            self._faults.append(fault)
            self._known.add(fault)
            self._faults.sort(key=lambda known: known.is_last)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            for fault in self._known:
                fault.is_cleared = True
            self._faults.clear()

    def remove(self, fault: Fault) -> None:
        """Remove a fault, if it is still set."""
        with self._lock:
            fault.is_cleared = True
            self._faults = [kept for kept in self._faults if kept is not fault]

    def take(self, action: str, task_id: Callable[[], str | None]) -> Fault | None:
        """Return the fault that strikes this request, if there is one, and count it.

        :param task_id: called only where a fault is for one recording
        """
        if not self._faults:
            return None
        with self._lock:
            now = self._clock()
            self._faults = [fault for fault in self._faults if not fault.is_over(now)]
            for fault in self._faults:
                named = task_id() if fault.task_id is not None else None
                if not fault.is_for(action, named):
                    continue
                if fault.probability < 1 and fault.dice.random() >= fault.probability:
                    continue
                fault.hits += 1
                if fault.times is not None:
                    fault.times -= 1
                return fault
            return None

    def to_list(self) -> list[dict[str, Any]]:
        """Return the faults that can still strike, as JSON."""
        with self._lock:
            now = self._clock()
            return [fault.to_dict() for fault in self._faults if not fault.is_over(now)]


def _probability(value: object, place: Place) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1:
        place.wrong(value, "a number from 0 to 1")
    return float(value)


def _throttled(fault: Fault, language: str) -> ApiFault:
    return ApiFault(
        "RequestLimitExceeded", rejection_message(DEFAULT_LIMIT + 1, DEFAULT_LIMIT, language)
    )


def _error(fault: Fault, language: str) -> ApiFault:
    return ApiFault(fault.options["code"], fault.options["message"])


def _only_the_request_id(response: dict[str, Any]) -> None:
    response.clear()


def _null_arrays(response: dict[str, Any]) -> None:
    for name, value in response.items():
        if isinstance(value, list):
            response[name] = None
        elif isinstance(value, dict):
            _null_arrays(value)


def _unknown_field(response: dict[str, Any]) -> None:
    for rows in list(response.values()):
        if isinstance(rows, list):
            for row in rows:
                if isinstance(row, dict):
                    row["FieldOfTomorrow"] = {"Nested": [1]}
    response["FieldOfTomorrow"] = {"Nested": [1]}


def _other_task(response: dict[str, Any]) -> None:
    for name in ("TaskId", "TaskID"):
        if name in response:
            response[name] = "another-recording"


def _unknown_enum(response: dict[str, Any]) -> None:
    for name in ("Status", "FinishReason"):
        if response.get(name):
            response[name] = "STATE_OF_TOMORROW"


def _charset(answer: Answer, fault: Fault) -> Answer:
    headers = {**answer.headers, "Content-Type": fault.options["content_type"]}
    return answer._replace(headers=headers)


def _html(answer: Answer, fault: Fault) -> Answer:
    status = fault.options["status"]
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1></body></html>\r\n"
    return Answer(page.encode(), {**answer.headers, "Content-Type": "text/html"}, status)


def _html_429(answer: Answer, fault: Fault) -> Answer:
    page = b"<html><head><title>429</title></head><body><h1>Too Many Requests</h1></body></html>"
    headers = {"Content-Type": "text/html", "Retry-After": fault.options["retry_after"]}
    return Answer(page, {**answer.headers, **headers}, 429)


def _json_500(answer: Answer, fault: Fault) -> Answer:
    try:
        request_id = json.loads(answer.body)["Response"]["RequestId"]
    except (ValueError, KeyError):
        request_id = ""
    error = {"Code": "InternalError", "Message": "An internal error has occurred."}
    body = json.dumps({"Response": {"Error": error, "RequestId": request_id}}).encode()
    headers = {**answer.headers, "Content-Type": "application/json"}
    return Answer(body, headers, fault.options["status"])


def _bad_json(answer: Answer, fault: Fault) -> Answer:
    return Answer(answer.body[:-2] + b"]]", answer.headers)


def _deep_json(answer: Answer, fault: Fault) -> Answer:
    nested = b'{"Response": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    return Answer(nested, answer.headers)


def _gzip(answer: Answer, fault: Fault) -> Answer:
    return Answer(gzip.compress(answer.body), {**answer.headers, "Content-Encoding": "gzip"})


async def _no_content_type(
    request: web.BaseRequest, answer: Answer, fault: Fault
) -> web.StreamResponse:
    kept = {name: value for name, value in answer.headers.items() if name != "Content-Type"}
    return _Raw(_raw_head(answer.status, kept, len(answer.body)) + answer.body)


async def _truncated(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    half = answer.body[: int(len(answer.body) * fault.options["part"])]
    return _Raw(_raw_head(answer.status, answer.headers, len(answer.body)) + half)


async def _early_hints(
    request: web.BaseRequest, answer: Answer, fault: Fault
) -> web.StreamResponse:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"
    head = _raw_head(answer.status, answer.headers, len(answer.body), "keep-alive")
    return Sent(hints + head + answer.body)


async def _reset(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    return _Raw(b"", reset=True)


async def _drip(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    size = fault.options["bytes"]
    for start in range(0, len(answer.body), size):
        await response.write(answer.body[start : start + size])
        await asyncio.sleep(fault.options["interval"])
    return response


async def _slow(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    delay, jitter = fault.options["delay"], fault.options["jitter"]
    await asyncio.sleep(max(0.0, delay + fault.dice.uniform(-jitter, jitter)))
    return answer.response()


async def _held(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    while _is_there(request) and not fault.is_cleared:
        await asyncio.sleep(_LEAVE_CHECK_S)
    return answer.response()


async def _hang(request: web.BaseRequest, answer: Answer, fault: Fault) -> web.StreamResponse:
    while _is_there(request):
        await asyncio.sleep(_LEAVE_CHECK_S)
    return _Raw(b"")


def _is_there(request: web.BaseRequest) -> bool:
    # aiohttp does not report that the client has disconnected.
    return request.transport is not None and not request.transport.is_closing()


def _raw_head(
    status: int, headers: Mapping[str, str], length: int, connection: str = "close"
) -> bytes:
    lines = [
        f"HTTP/1.1 {status} OK",
        f"Content-Length: {length}",
        f"Connection: {connection}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()


class _Raw(Sent):
    """Bytes as they are; then the connection ends.

    :param reset: whether it ends with a reset
    """

    def __init__(self, data: bytes, *, reset: bool = False) -> None:
        super().__init__(data)
        self._reset = reset

    async def prepare(self, request: web.BaseRequest) -> None:
        await super().prepare(request)
        transport = request.transport
        if transport is not None and self._reset:
            sock = transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        elif transport is not None:
            transport.close()
        # aiohttp treats this as a client that has disconnected, and sends nothing more.
        raise ConnectionResetError("the fault has ended the connection")


def _status(value: object, place: Place) -> int:
    return integer(400, 599, "a whole number from 400 to 599")(value, place)


def _part(value: object, place: Place) -> float:
    share = _probability(value, place)
    if math.isclose(share, 1):
        place.wrong(value, "a number from 0 to less than 1")
    return share


_THROTTLE = Kind("RequestLimitExceeded, as when others use the account", False, refuse=_throttled)
_SERVER_ERROR = Kind(
    "an error of the API, InternalError unless `code` names another",
    False,
    refuse=_error,
    options={
        "code": (text, "InternalError"),
        "message": (any_text, "An internal error has occurred. Retry your request."),
    },
)

FAULTS: Mapping[str, Kind] = {
    "charset": Kind(
        "a content type that the SDK does not expect",
        alter=_charset,
        options={"content_type": (text, "application/json; charset=utf-8")},
    ),
    "no_content_type": Kind("an answer without a content type", send=_no_content_type),
    "html_502": Kind(
        "a proxy's HTML page in place of the answer",
        False,
        alter=_html,
        options={"status": (_status, 502)},
    ),
    "json_500": Kind(
        "an error of the API under an HTTP status",
        False,
        alter=_json_500,
        options={"status": (_status, 500)},
    ),
    "truncated": Kind(
        "the connection ends in the middle of the body",
        send=_truncated,
        options={"part": (_part, 0.5)},
    ),
    "early_hints": Kind("103 Early Hints before the answer", send=_early_hints),
    "gzip": Kind("a compressed body, which no client asked for", alter=_gzip),
    "html_429": Kind(
        "a proxy's HTML page: Too Many Requests",
        False,
        alter=_html_429,
        options={"retry_after": (text, "1")},
    ),
    "deep_json": Kind("JSON that is nested 100,000 deep", alter=_deep_json),
    "other_task": Kind("an answer about another recording", edit=_other_task),
    "bad_json": Kind("a body that is not JSON", alter=_bad_json),
    "reset": Kind("the connection is reset, and the request has no effect", False, send=_reset),
    "answer_lost": Kind("the request takes effect, and then the connection is reset", send=_reset),
    "drip": Kind(
        "the answer comes in drops, `bytes` every `interval` real seconds",
        send=_drip,
        options={
            "bytes": (integer(1, 2**20, "a positive whole number"), 1),
            "interval": (number, 0.5),
        },
    ),
    "slow": Kind(
        "the answer comes `delay` real seconds late, give or take `jitter`",
        send=_slow,
        options={"delay": (number, 1.0), "jitter": (number, 0.0)},
    ),
    "held": Kind("the answer comes once the fault is removed", send=_held),
    "hang": Kind("no answer at all", False, send=_hang),
    "request_id_only": Kind("nothing but a RequestId", edit=_only_the_request_id),
    "null_arrays": Kind("null in place of every list", edit=_null_arrays),
    "unknown_field": Kind("fields that do not exist yet", edit=_unknown_field),
    "unknown_enum": Kind("a Status and a FinishReason that do not exist yet", edit=_unknown_enum),
    "throttle": _THROTTLE,
    "throttle_then_ok": Kind("the same, once", False, refuse=_throttled, times=1),
    "server_error": _SERVER_ERROR,
    "server_error_then_ok": Kind(
        "the same, once", False, refuse=_error, options=_SERVER_ERROR.options, times=1
    ),
    "outage": Kind("every connection is reset, for `seconds`", False, send=_reset),
}
"""Every kind of fault by its name."""

__all__ = ["ACTIONS", "FAULTS", "VIDEO", "Answer", "Fault", "Faults", "Kind", "parse_fault"]
