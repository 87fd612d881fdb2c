# SPDX-License-Identifier: Apache-2.0
"""Callbacks, which Tencent posts when something happens to a task: verify, then parse.

https://www.tencentcloud.com/document/product/1176/55569. The signature covers the key and its
ExpireTime, neither the body nor the task id: a party that has seen one callback can forge others
until then. So a callback is a hint: it names the recording to poll, and proves nothing about it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from tiw_automation.core.api import callback_body
from tiw_automation.core.api.callback_settings import SHORTEST_KEY, check_key_text
from tiw_automation.core.api.error_codes import api_error
from tiw_automation.core.checks import check_task_id
from tiw_automation.core.errors import (
    ConfigurationError,
    RecordingFailure,
    TiwError,
)
from tiw_automation.core.formatting import escaped
from tiw_automation.core.records.fields import Fields
from tiw_automation.core.records.record import OnlineRecord
from tiw_automation.core.tasks.kinds import TASK_KINDS

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 768 * 1024
"""The longest callback that is read, enough for 2,100 videos. Six streams that are cut every five
minutes for a day are 628 KiB."""
ANSWER = {"error_code": 0}
"""The answer to a callback, with HTTP 200. After any other answer Tencent posts again, every 5 s, 5
times in total."""

# No signature covers an event's name, which is used in events, logs and templates.
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SHOWN = 80


class CallbackError(TiwError):
    """The posted body is not a callback of Tencent's, or cannot be trusted."""

    default_code = "CallbackError"


class CallbackForged(CallbackError):
    """The signature is missing or wrong."""

    default_code = "CallbackForged"
    default_hint = "Check that the key is the one set by SetOnlineRecordCallbackKey."


class CallbackExpired(CallbackError):
    """The signature is right, but its time has elapsed."""

    default_code = "CallbackExpired"
    default_hint = "Check this machine's clock; a replayed callback looks the same."


class EventType(StrEnum):
    """The events of a recording."""

    STARTED = "OnlineRecordStarted"
    STOPPED = "OnlineRecordStopped"
    FINISHED = "OnlineRecordFinished"
    LONG_PAUSE_WARNING = "OnlineRecordLongPauseWarning"
    LONG_PAUSE_FORCE_STOPPED = "OnlineRecordLongPauseForceStopped"


@dataclass(frozen=True)
class Callback:
    """One event: a hint that names the recording to poll.

    ``event_type`` is the API's own word, so events that Tencent adds later pass through.
    ``task_id`` is None where Tencent left it out, as in an old form of a failure. Times are UNIX
    seconds.

    Everything else is read from the body on first access, and is None where it is absent or
    unreadable. It is not trusted: confirm it with DescribeOnlineRecord.
    """

    event_type: str
    sdk_app_id: int
    timestamp: int | None = None
    task_id: str | None = None
    posted: bytes | Mapping[str, Any] = field(default=b"", repr=False, compare=False)
    """The body as it was given."""

    @property
    def concerns_recording(self) -> bool:
        """Whether its event is one of recordings, not of another kind of task."""
        return self.event_type.startswith("OnlineRecord")

    @property
    def is_progress(self) -> bool:
        """Whether it only reports how far a task has come."""
        return any(self.event_type in kind.progress_events for kind in TASK_KINDS.values())

    @property
    def is_finished(self) -> bool:
        """Whether it reports that the recording has ended, successfully or not."""
        return self.event_type == EventType.FINISHED

    def without_body(self) -> Callback:
        """Return the hint without the body, which takes little memory."""
        return Callback(self.event_type, self.sdk_app_id, self.timestamp, self.task_id)

    @cached_property
    def raw(self) -> Mapping[str, Any]:
        """The JSON object that was posted; empty where it cannot be read."""
        if isinstance(self.posted, Mapping):
            return self.posted
        try:
            found = json.loads(self.posted)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    @cached_property
    def record(self) -> OnlineRecord | None:
        """The recording as OnlineRecordFinished describes it."""
        if not self.is_finished or not self.task_id:
            return None
        # The event is the answer of DescribeOnlineRecord without a Status.
        shown = {**self._event.data, "Status": "FINISHED"}
        try:
            return OnlineRecord.from_response(
                shown, sdk_app_id=self.sdk_app_id, task_id=self.task_id
            )
        except TiwError:
            return None

    @cached_property
    def error(self) -> TiwError | None:
        """Why the recording failed, as OnlineRecordFinished reports it."""
        found = self._event.data.get("Error")
        if not isinstance(found, Mapping):
            return None
        read = Fields(found, "EventData.Error")
        code, message = read.text("Code") or "", read.text("Message") or ""
        if not code and not message:
            return None
        return api_error(code or RecordingFailure.default_code, message)

    @property
    def room_id(self) -> int | None:
        """The number of the room."""
        return self._event.integer("RoomId") or None

    @property
    def record_user_id(self) -> str | None:
        """The user that records."""
        return self._event.text("RecordUserId") or None

    @property
    def pause_time(self) -> int | None:
        """When the recording was paused, in an event about a long pause."""
        return self._event.integer("PauseTime") or None

    @property
    def stop_time(self) -> int | None:
        """When the recording was stopped after a long pause."""
        return self._event.integer("StopTime") or None

    @property
    def estimated_stop_time(self) -> int | None:
        """When the recording will be stopped after a long pause."""
        return self._event.integer("EstimateStopTime") or None

    @property
    def _event(self) -> Fields:
        found = self.raw.get("EventData")
        return Fields(found if isinstance(found, Mapping) else {}, "EventData")


_weak_keys: set[int] = set()


def warn_if_weak(key: str) -> None:
    """Warn once in this process about a key in use that is too short to be set.

    :raises ConfigurationError: it is not a text.
    """
    check_key_text(key)
    if len(key) >= SHORTEST_KEY or hash(key) in _weak_keys:
        return
    _weak_keys.add(hash(key))
    logger.warning(
        "A callback key of %d characters is in use: one callback is enough to find it by trial. "
        "Set one of %d or more; tiw_automation.core.new_callback_key() makes a good one.",
        len(key),
        SHORTEST_KEY,
    )


def sign(key: str, expire_time: int) -> str:
    """Return the signature that a callback carries.

    :param expire_time: when the signature ends, UNIX seconds.
    """
    return hashlib.md5(f"{key}{expire_time}".encode(), usedforsecurity=False).hexdigest()


def parse_callback(
    body: bytes | str | Mapping[str, Any], key: str, *, now: float | None = None
) -> Callback:
    """Verify and read a posted body.

    The signature of a body in bytes is checked before anything else is read, and only the fields of
    a hint are built into objects: it takes some 30 ms at most.

    :param body: the request's body as it came, or its JSON object.
    :param key: the callback key (SetOnlineRecordCallbackKey).
    :param now: UNIX seconds, the present by default.
    :raises CallbackForged: it has no signature, or a wrong one.
    :raises CallbackExpired: its ExpireTime has passed.
    :raises CallbackError: it is not a callback, or is longer than 768 KiB, or its EventType,
        SdkAppId or TaskId is invalid.
    :raises ConfigurationError: the key is empty; any sender would be trusted.
    """
    if not key:
        raise ConfigurationError(
            "A callback cannot be verified without a key.",
            hint="Set one with SetOnlineRecordCallbackKey and give the same here.",
        )
    warn_if_weak(key)
    now = time.time() if now is None else now
    if isinstance(body, Mapping):
        return _verified(body, key, now)
    posted = _in_bytes(body)
    genuine = _genuine_in(posted, key, now)
    try:
        fields = callback_body.read_fields(posted)
    except ValueError:
        raise CallbackError("The callback is not a JSON object.") from None
    # A name may appear twice, or where it means something else.
    if _signature(fields) not in genuine:
        raise CallbackForged("The callback's signature is missing or wrong.")
    return _callback(fields, posted)


def check_signed(body: bytes, key: str) -> None:
    """Refuse a body without a right signature, within a millisecond and without parsing it.

    A body that is not refused may have the signature in the wrong place, which
    :func:`parse_callback` detects.

    :raises CallbackForged: no signature in it is right.
    :raises CallbackExpired: the right signatures have ended.
    :raises CallbackError: it is longer than 768 KiB.
    """
    _genuine_in(_in_bytes(body), key, time.time())


def _genuine_in(posted: bytes, key: str, now: float) -> set[tuple[int | None, str | None]]:
    return _genuine(callback_body.expire_times(posted), callback_body.signatures(posted), key, now)


def _verified(fields: Mapping[str, Any], key: str, now: float) -> Callback:
    expire_time, signature = _signature(fields)
    _genuine([expire_time] if expire_time is not None else [], [signature or ""], key, now)
    return _callback(fields, fields)


def _in_bytes(body: object) -> bytes:
    # JSON can hold half a surrogate pair, which UTF-8 cannot encode.
    if isinstance(body, str) and len(body) <= MAX_BODY_BYTES:
        body = body.encode(errors="surrogatepass")
    elif isinstance(body, (bytearray, memoryview)):
        body = bytes(body)
    if not isinstance(body, (bytes, str)):
        raise CallbackError("The callback is not a JSON object.")
    if isinstance(body, str) or len(body) > MAX_BODY_BYTES:
        raise CallbackError(
            f"A callback must have at most {MAX_BODY_BYTES} bytes, not {len(body)}."
        )
    return body


def _signature(fields: Mapping[str, Any]) -> tuple[int | None, str | None]:
    expire_time, signature = fields.get("ExpireTime"), fields.get("Sign")
    return (
        # Python cannot write a number of more than 4,300 digits.
        expire_time if type(expire_time) is int and abs(expire_time) < 2**63 else None,
        signature if isinstance(signature, str) else None,
    )


def _genuine(
    expire_times: Iterable[int], signatures: Iterable[str], key: str, now: float
) -> set[tuple[int | None, str | None]]:
    """Return the right signatures, with the times when they end.

    :raises CallbackForged: there is none.
    :raises CallbackExpired: all of them have ended.
    """
    expected = {expire_time: sign(key, expire_time).encode() for expire_time in expire_times}
    if not expected:
        raise CallbackForged("The callback has no ExpireTime.")
    right = {
        (expire_time, given)
        for expire_time, signature in expected.items()
        for given in signatures
        if hmac.compare_digest(given.encode(errors="replace"), signature)
    }
    if not right:
        raise CallbackForged("The callback's signature is missing or wrong.")
    valid: set[tuple[int | None, str | None]] = {pair for pair in right if now <= pair[0]}
    if not valid:
        ended = max(expire_time for expire_time, _ in right)
        raise CallbackExpired(f"The callback's signature ended at {ended}.")
    return valid


def _callback(fields: Mapping[str, Any], posted: bytes | Mapping[str, Any]) -> Callback:
    read = Fields(fields, "Callback")
    event_type = fields.get("EventType")
    if not isinstance(event_type, str) or not event_type:
        raise CallbackError("The callback's EventType is absent.")
    if not _WORD.fullmatch(event_type):
        raise CallbackError(
            f"The callback's EventType is invalid: '{escaped(event_type, _SHOWN)}'."
        )
    sdk_app_id = read.integer("SdkAppId")
    if sdk_app_id is None or not 0 < sdk_app_id < 2**63:
        shown = "SdkAppId" if sdk_app_id is None else f"SdkAppId {sdk_app_id}"
        raise CallbackError(f"The callback's {shown} is absent or invalid.")
    return Callback(
        event_type,
        sdk_app_id,
        timestamp=read.integer("Timestamp"),
        task_id=_task_id(fields.get("EventData")),
        posted=posted,
    )


def _task_id(event: object) -> str | None:
    if not event:
        return None
    if not isinstance(event, Mapping):
        raise CallbackError("The callback's EventData is not an object.")
    named = (name for name in callback_body.TASK_IDS if event.get(name) not in (None, ""))
    key = next(named, None)
    if key is None:
        return None
    try:
        return check_task_id(Fields(event, "EventData").text(key) or event[key])
    except ConfigurationError as error:
        raise CallbackError(
            f"The callback's TaskId is invalid: {escaped(error.message, _SHOWN)}"
        ) from None
