# SPDX-License-Identifier: Apache-2.0
"""What Tencent posts when something happens to a recording: verify, then parse.

https://www.tencentcloud.com/document/product/1176/55569. The signature covers the key and the
time it ends, neither the body nor the task id: whoever has seen one callback can make up others
until then. So a callback is a hint: it says which recording to ask for, never what is true of it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from tiw_automation.core.errors import (
    BadAnswer,
    ConfigurationError,
    RecordingFailure,
    TiwError,
    api_error,
)
from tiw_automation.core.fields import Fields
from tiw_automation.core.records import OnlineRecord, check_task_id

MAX_BODY_BYTES = 1024 * 1024
"""The most that a callback may be long; the largest real one is a few dozen kilobytes."""
LONGEST_KEY = 64
"""The most characters that a callback key may have."""
ANSWER = {"error_code": 0}
"""What to answer with, and HTTP 200; anything else is posted again, every 5 s, 5 times in all."""

# No signature covers an event's name, and it ends up in events, logs and templates.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SHOWN = 80


class CallbackError(TiwError):
    """Something was posted that is no callback of Tencent's, or that is not to be trusted."""

    default_code = "CallbackError"


class CallbackForged(CallbackError):
    """The signature is missing or wrong."""

    default_code = "CallbackForged"
    default_hint = "Check that the key is the one set by SetOnlineRecordCallbackKey."


class CallbackExpired(CallbackError):
    """The signature was right, and is no longer."""

    default_code = "CallbackExpired"
    default_hint = "Check this machine's clock; a replayed callback looks the same."


class EventType(StrEnum):
    """The events of a recording."""

    STARTED = "OnlineRecordStarted"
    STOPPED = "OnlineRecordStopped"
    FINISHED = "OnlineRecordFinished"
    LONG_PAUSE_WARNING = "OnlineRecordLongPauseWarning"
    LONG_PAUSE_FORCE_STOPPED = "OnlineRecordLongPauseForceStopped"


@dataclass(frozen=True, slots=True)
class CallbackSettings:
    """Where an application's callbacks go; None where nothing is set."""

    url: str | None
    key: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Callback:
    """One event.

    ``event_type`` is the API's own word, so that one that Tencent adds later passes through.
    ``task_id`` is None where Tencent left it out, as in an old form of a failure. Times are UNIX
    seconds. ``record`` is what OnlineRecordFinished says of the recording, and ``error`` why it
    failed; ask DescribeOnlineRecord before believing either.
    """

    event_type: str
    sdk_app_id: int
    timestamp: int | None = None
    task_id: str | None = None
    room_id: int | None = None
    record_user_id: str | None = None
    pause_time: int | None = None
    stop_time: int | None = None
    estimated_stop_time: int | None = None
    record: OnlineRecord | None = None
    error: TiwError | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def is_finished(self) -> bool:
        """Whether it says that the recording has ended, well or not."""
        return self.event_type == EventType.FINISHED


def check_callback_url(url: str | None) -> str:
    """Return where callbacks are to go; an empty string for None.

    :raises ConfigurationError: it is no http:// or https:// URL.
    """
    if url is None or url == "":
        return ""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        parts.port  # noqa: B018  # raises for a port that is no number
    except (ValueError, AttributeError):
        usable = False
    if not usable or any(sign.isspace() for sign in url):
        # Not repeated: a query may hold a secret.
        raise ConfigurationError(
            "The callback's URL is malformed.", hint="Give http:// or https:// with a host."
        )
    return url


def check_callback_key(key: str | None) -> str:
    """Return the key to sign callbacks with; an empty string for None.

    :raises ConfigurationError: it is longer than 64 characters.
    """
    if key is not None and len(key) > LONGEST_KEY:
        raise ConfigurationError(
            f"A callback key has at most {LONGEST_KEY} characters, not {len(key)}."
        )
    return key or ""


def sign(key: str, expire_time: int) -> str:
    """Return the signature that a callback carries.

    :param expire_time: when it ends, UNIX seconds.
    """
    return hashlib.md5(f"{key}{expire_time}".encode(), usedforsecurity=False).hexdigest()


def parse_callback(
    body: bytes | str | Mapping[str, Any], key: str, *, now: float | None = None
) -> Callback:
    """Verify and read what was posted.

    :param body: the request's body as it came, or the JSON object that it is.
    :param key: the callback key (SetOnlineRecordCallbackKey).
    :param now: UNIX seconds, the present by default.
    :raises CallbackForged: it carries no signature, or a wrong one.
    :raises CallbackExpired: its ExpireTime has passed.
    :raises CallbackError: it is no callback, or too long, or its event is no word, or its TaskId
        is no task id.
    :raises ConfigurationError: the key is empty: then anybody's post would be believed.
    """
    if not key:
        raise ConfigurationError(
            "A callback cannot be verified without a key.",
            hint="Set one with SetOnlineRecordCallbackKey and give the same here.",
        )
    data = _object(body)
    expire_time, signature = data.get("ExpireTime"), data.get("Sign")
    if isinstance(expire_time, bool) or not isinstance(expire_time, int):
        raise CallbackForged("The callback carries no ExpireTime.")
    # JSON can hold half a surrogate pair, which has no encoding.
    if not isinstance(signature, str) or not hmac.compare_digest(
        signature.encode(errors="replace"), sign(key, expire_time).encode()
    ):
        raise CallbackForged("The callback's signature is missing or wrong.")
    if (time.time() if now is None else now) > expire_time:
        raise CallbackExpired(f"The callback's signature ended at {expire_time}.")
    try:
        return _callback(data)
    except BadAnswer as error:
        raise CallbackError(error.message) from None


def _object(body: bytes | str | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(body, Mapping):
        return dict(body)
    size = len(body)
    if size > MAX_BODY_BYTES:
        raise CallbackError(f"A callback of {size} bytes is too long; {MAX_BODY_BYTES} may be.")
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise CallbackError("The callback is no JSON.") from None
    if not isinstance(data, dict):
        raise CallbackError("The callback is no JSON object.")
    return data


def _callback(data: dict[str, Any]) -> Callback:
    read = Fields(data, "Callback")
    event_type, sdk_app_id = read.text("EventType"), read.integer("SdkAppId")
    if not event_type or not sdk_app_id:
        raise CallbackError("The callback lacks its EventType or its SdkAppId.")
    if not _WORD.fullmatch(event_type):
        raise CallbackError(f"The callback's EventType is no word: {event_type[:_SHOWN]!r}.")
    event = Fields(data.get("EventData") or {}, "EventData")
    task_id = _task_id(event)
    error = _error(event.data.get("Error"))
    record = None
    if event_type == EventType.FINISHED and task_id:
        # The event is the answer of DescribeOnlineRecord without a Status.
        shown = {**event.data, "Status": "FINISHED"}
        record = OnlineRecord.from_response(shown, sdk_app_id=sdk_app_id, task_id=task_id)
    return Callback(
        event_type=event_type,
        sdk_app_id=sdk_app_id,
        timestamp=read.integer("Timestamp"),
        task_id=task_id,
        room_id=event.integer("RoomId") or None,
        record_user_id=event.text("RecordUserId") or None,
        pause_time=event.integer("PauseTime") or None,
        stop_time=event.integer("StopTime") or None,
        estimated_stop_time=event.integer("EstimateStopTime") or None,
        record=record,
        error=error,
        raw=data,
    )


def _task_id(event: Fields) -> str | None:
    task_id = event.text("TaskId")
    if not task_id:
        return None
    try:
        return check_task_id(task_id)
    except ConfigurationError as error:
        raise CallbackError(f"The callback's TaskId is none: {error.message[:_SHOWN]}") from None


def _error(found: object) -> TiwError | None:
    if found is None:
        return None
    read = Fields(found, "EventData.Error")
    code, message = read.text("Code") or "", read.text("Message") or ""
    if not code and not message:
        return None
    return api_error(code or RecordingFailure.default_code, message)
