# SPDX-License-Identifier: Apache-2.0
"""Reading what recordings there are: a YAML or JSON file, or the same as Python objects.

A mistake raises :class:`ScriptError`, whose one sentence names the file and the key, what was
given, what is allowed and, where there is one, the nearest name.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import ApiFault
from .recordings import (
    ANSWERS,
    DEFAULT_TIMELINE,
    FINISH_REASONS,
    TIMELINE_STATUSES,
    VIDEO_TYPES,
    Phase,
    Recording,
    VideoSource,
)

MAX_SECONDS = 1_000_000
DEFAULT_ROOM_ID = 880528
DEFAULT_FAILURE_MESSAGE = (
    "code: 40004, msg: 2019-09-23 10:31:47, im login failed with code 6206, desc serSig expired\n"
)


class ScriptError(ValueError):
    """A mistake in a script; its text is one sentence for people."""


@dataclass(frozen=True, slots=True)
class Script:
    """A script that was read; what it does not say is ``None``."""

    source: str
    sdk_app_id: int | None
    speed: float | None
    limit: int | None
    region: str | None
    secret_id: str | None
    secret_key: str | None
    token: str | None
    recordings: tuple[Mapping[str, Any], ...]


def load_script(script: str | Path | Mapping[str, Any] | None) -> Script:
    """Read a script from a file (``.json``, else YAML) or a mapping; ``None`` is an empty one.

    The recordings are only looked at by :func:`parse_recording`, which needs to know when they
    start.
    """
    if script is None:
        script = {}
    if isinstance(script, Mapping):
        return _parse_script(script, "script")
    return _parse_script(_read(Path(script)), str(script))


def parse_recording(data: object, where: str, *, sdk_app_id: int, now: float) -> Recording:
    """Return the recording that ``data`` describes.

    :param where: what the sentence about a mistake begins with
    :param sdk_app_id: the application it belongs to unless it says another
    :param now: virtual UNIX seconds at which its timeline begins
    """
    keys = _Keys(data, where, RECORDING_KEYS)
    room_id = keys.integer("room_id", DEFAULT_ROOM_ID)
    failure = keys.get("error")
    return Recording(
        sdk_app_id=keys.integer("sdk_app_id", sdk_app_id),
        task_id=keys.text("task_id", None),
        created=now,
        timeline=_timeline(keys.get("timeline"), f"{where}.timeline", failed=failure is not None),
        finish_reason=keys.choice("finish_reason", FINISH_REASONS, "USER_CALL"),
        videos=_videos(keys.get("videos"), f"{where}.videos", room_id),
        failure=None if failure is None else _failure(failure, f"{where}.error"),
        concat=keys.boolean("concat", False),
        room_id=room_id,
        group_id=keys.text("group_id", str(room_id)),
        record_user_id=keys.text("record_user_id", f"tic_record_user_{room_id}_1"),
        exception_count=keys.integer("exception_count", 0, least=0),
        interrupts=keys.mapping("interrupts"),
        replay_url=keys.text("replay_url", "") or None,
        answer=keys.choice("answer", ANSWERS, "normal"),
        fields=keys.mapping("fields"),
    )


RECORDING_KEYS = (
    "answer",
    "concat",
    "error",
    "exception_count",
    "fields",
    "finish_reason",
    "group_id",
    "interrupts",
    "record_user_id",
    "replay_url",
    "room_id",
    "sdk_app_id",
    "task_id",
    "timeline",
    "videos",
)
SCRIPT_KEYS = (
    "limit",
    "recordings",
    "region",
    "sdk_app_id",
    "secret_id",
    "secret_key",
    "speed",
    "token",
)


def _parse_script(data: object, source: str) -> Script:
    keys = _Keys(data, source, SCRIPT_KEYS)
    recordings = keys.get("recordings")
    if recordings is None:
        recordings = []
    if not isinstance(recordings, list):
        raise keys.wrong("recordings", recordings, "a list of recordings")
    for number, recording in enumerate(recordings):
        if not isinstance(recording, Mapping):
            raise ScriptError(
                f"{source}: recordings[{number}] must be a mapping with a task_id, "
                f"not {recording!r}."
            )
    return Script(
        source=source,
        sdk_app_id=keys.optional_integer("sdk_app_id"),
        speed=keys.optional_number("speed"),
        limit=keys.optional_integer("limit", least=0),
        region=keys.optional_text("region"),
        secret_id=keys.optional_text("secret_id"),
        secret_key=keys.optional_text("secret_key"),
        token=keys.optional_text("token"),
        recordings=tuple(recordings),
    )


def _read(path: Path) -> object:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ScriptError(f"{path}: the script cannot be read: {error}.") from None
    try:
        return json.loads(text) if path.suffix == ".json" else (yaml.safe_load(text) or {})
    except (ValueError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ScriptError(f"{path}: this is not valid: {reason}.") from None


def _timeline(data: object, where: str, *, failed: bool) -> tuple[Phase, ...]:
    if data is None:
        # One that fails has failed already, unless its timeline says when.
        return () if failed else DEFAULT_TIMELINE
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise ScriptError(f"{where} must be a list such as [RECORDING: 20], not {data!r}.")
    phases = []
    for number, entry in enumerate(data):
        place = f"{where}[{number}]"
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise ScriptError(f"{place} must be one state and its seconds, not {entry!r}.")
        ((status, seconds),) = entry.items()
        if status not in TIMELINE_STATUSES:
            raise ScriptError(
                f"{place}: {status!r} is not a state{_nearest(status, TIMELINE_STATUSES)}; "
                f"allowed are {', '.join(TIMELINE_STATUSES)}, and FINISHED comes by itself."
            )
        phases.append(Phase(status, _number(seconds, f"{place}.{status}")))
    return tuple(phases)


def _videos(data: object, where: str, room_id: int) -> tuple[VideoSource, ...]:
    if data is None:
        data = [{"kind": "camera", "user_id": "teacher"}, {"kind": "whiteboard"}]
    if not isinstance(data, Sequence) or isinstance(data, str):
        raise ScriptError(f"{where} must be a list of videos, not {data!r}.")
    videos = []
    for number, entry in enumerate(data):
        keys = _Keys(entry, f"{where}[{number}]", ("height", "kind", "user_id", "width"))
        kind = keys.choice("kind", tuple(VIDEO_TYPES), None)
        users = {"whiteboard": "", "mixed": f"tic_mixstream_{room_id}_1"}
        videos.append(
            VideoSource(
                kind=kind,
                user_id=keys.text("user_id", users.get(kind, "teacher")),
                width=keys.integer("width", 0 if kind == "audio" else 320, least=0),
                height=keys.integer("height", 0 if kind == "audio" else 240, least=0),
            )
        )
    return tuple(videos)


def _failure(data: object, where: str) -> ApiFault:
    keys = _Keys(data, where, ("code", "message"))
    return ApiFault(
        keys.text("code", "FailedOperation.Record"), keys.text("message", DEFAULT_FAILURE_MESSAGE)
    )


def _number(value: object, where: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value <= MAX_SECONDS
        or not math.isfinite(value)
    ):
        raise ScriptError(f"{where} must be a number from 0 to {MAX_SECONDS}, not {value!r}.")
    return float(value)


def _nearest(given: Hashable, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(given), list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


class _Keys:
    """Reads the keys of one mapping; a mistake names where it is."""

    def __init__(self, data: object, where: str, allowed: tuple[str, ...]) -> None:
        if not isinstance(data, Mapping):
            raise ScriptError(
                f"{where} must be a mapping with any of {', '.join(allowed)}, not {data!r}."
            )
        for key in data:
            if key not in allowed:
                raise ScriptError(
                    f"{where}: unknown key {key!r}{_nearest(key, allowed)}; "
                    f"allowed are {', '.join(allowed)}."
                )
        self._data = data
        self._where = where

    def get(self, key: str) -> Any:
        return self._data.get(key)

    def wrong(self, key: str, value: object, wanted: str) -> ScriptError:
        return ScriptError(f"{self._where}: {key} must be {wanted}, not {value!r}.")

    def text(self, key: str, default: str | None) -> str:
        value = self._data.get(key, default)
        if not isinstance(value, str) or (default is None and not value.strip()):
            raise self.wrong(
                key, value, "a string" if default is not None else "a non-empty string"
            )
        return value

    def integer(self, key: str, default: int, *, least: int = 1) -> int:
        value = self._data.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(key, value, f"an integer of {least} or more")
        return value

    def boolean(self, key: str, default: bool) -> bool:
        value = self._data.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, value, "true or false")
        return value

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None) -> str:
        value = self._data.get(key, default)
        if value not in allowed:
            raise self.wrong(key, value, f"one of {', '.join(allowed)}{_nearest(value, allowed)}")
        return str(value)

    def mapping(self, key: str) -> Mapping[str, Any]:
        value = self._data.get(key) or {}
        if not isinstance(value, Mapping):
            raise self.wrong(key, value, "a mapping")
        return value

    def optional_integer(self, key: str, *, least: int = 1) -> int | None:
        return None if self._data.get(key) is None else self.integer(key, 0, least=least)

    def optional_number(self, key: str) -> float | None:
        value = self._data.get(key)
        return None if value is None else _number(value, f"{self._where}: {key}")

    def optional_text(self, key: str) -> str | None:
        return None if self._data.get(key) is None else self.text(key, None)
