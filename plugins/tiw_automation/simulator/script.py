# SPDX-License-Identifier: Apache-2.0
"""Scripts: what a simulator starts with, from a YAML or JSON file or from Python objects.

A mistake raises :class:`~tiw_automation.simulator.reading.ScriptError`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .api import REGIONS
from .callbacks import MODES
from .errors import ApiFault
from .families import FAMILIES
from .faults import Fault, parse_fault
from .reading import (
    Check,
    Place,
    ScriptError,
    Table,
    any_text,
    count,
    flag,
    integer,
    list_of,
    mapping,
    number,
    one_of,
    positive,
    room_number,
    secret,
    text,
)
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
from .starting import Room
from .task_script import parse_defaults, parse_task
from .task_state import Task

DEFAULT_SDK_APP_ID = 1400000001
DEFAULT_ROOM_ID = 880528
BEGINS = ("now", "first_request")
DEFAULT_VIDEOS = (
    VideoSource("camera", "teacher", 640, 360),
    VideoSource("whiteboard", "", 640, 360),
)
DEFAULT_FAILURE_MESSAGE = (
    "code: 40004, msg: 2019-09-23 10:31:47, im login failed with code 6206, desc serSig expired\n"
)


@dataclass(frozen=True, slots=True)
class Script:
    """A parsed script; values that it does not have are ``None``.

    :param begin: when the timelines begin, one of :data:`BEGINS`
    :param rooms: who is in which room
    :param recordings: their ``created`` is relative to the moment when a simulator adds them
    :param tasks: of the other families, with the same ``created``
    :param task_defaults: by family, what tasks have that requests create
    """

    sdk_app_id: int | None
    speed: float | None
    limit: int | None
    region: str | None
    secret_id: str | None
    secret_key: str | None
    token: str | None
    max_recordings: int | None
    stopped_seconds: float | None
    user_sig_key: str | None
    metadata_role: str | None
    callback: str | None
    callback_key: str | None
    callback_mode: str | None
    odd: bool | None
    begin: str | None
    rooms: Mapping[int, Room]
    faults: tuple[Fault, ...]
    recordings: tuple[Recording, ...]
    tasks: tuple[Task, ...]
    task_defaults: Mapping[str, dict[str, Any]]


def load_script(
    script: str | Path | Mapping[str, Any] | None,
    *,
    sdk_app_id: int | None = None,
    source: str = "script",
) -> Script:
    """Read a script from a file (``.json``, else YAML) or a mapping; ``None`` is an empty one.

    :param sdk_app_id: the application of its recordings, in place of the script's own
    :param source: what begins the message about a mistake in a mapping
    """
    if script is None or isinstance(script, Mapping):
        table = Table(script or {}, Place(source))
    else:
        table = Table(_read(Path(script)) or {}, Place(str(script)))
    own_app_id = table.take("sdk_app_id", positive)
    app_id = sdk_app_id or own_app_id
    result = Script(
        sdk_app_id=app_id,
        speed=table.take("speed", number),
        limit=table.take("limit", count),
        region=table.take("region", one_of(REGIONS)),
        secret_id=table.take("secret_id", text),
        secret_key=table.take("secret_key", secret),
        token=table.take("token", secret),
        max_recordings=table.take("max_recordings", count),
        stopped_seconds=table.take("stopped_seconds", number),
        user_sig_key=table.take("user_sig_key", secret),
        metadata_role=table.take("metadata_role", text),
        callback=table.take("callback", any_text),
        callback_key=table.take("callback_key", any_text),
        callback_mode=table.take("callback_mode", one_of(MODES)),
        odd=table.take("odd", flag),
        begin=table.take("begin", one_of(BEGINS)),
        rooms=table.take("rooms", _rooms, {}),
        faults=table.take("faults", list_of(parse_fault), ()),
        recordings=table.take("recordings", _recordings(app_id or DEFAULT_SDK_APP_ID), ()),
        tasks=table.take("tasks", _tasks(app_id or DEFAULT_SDK_APP_ID), ()),
        task_defaults=table.take("task_defaults", _task_defaults, {}),
    )
    if (result.secret_id is None) != (result.secret_key is None):
        table.place.fail("secret_id and secret_key must be given together")
    table.done()
    return result


def _pixels(value: object, place: Place) -> int:
    pixels = integer(2, 3000, "an even whole number from 2 to 3000")(value, place)
    if pixels % 2:
        place.wrong(value, "an even whole number from 2 to 3000")
    return pixels


def _phase(value: object, place: Place) -> Phase:
    if not isinstance(value, Mapping) or len(value) != 1:
        place.wrong(value, "one state and its virtual seconds, like `RECORDING: 20`")
    ((status, seconds),) = value.items()
    if status == "FINISHED":
        place.fail("FINISHED follows the timeline; leave it out")
    if status not in TIMELINE_STATUSES:
        place.wrong(status, ", ".join(TIMELINE_STATUSES), TIMELINE_STATUSES)
    return Phase(status, number(seconds, place.key(status)))


def _timeline(value: object, place: Place) -> tuple[Phase, ...]:
    phases = list_of(_phase)(value, place)
    for position, phase in enumerate(phases):
        if phase.status == "PREPARED" and position > 0:
            place.item(position).fail("PREPARED can only come first")
        if phase.status == "STOPPED" and position < len(phases) - 1:
            place.item(position).fail("STOPPED can only come last")
        if phase.status == "PAUSED" and position and phases[position - 1].status == "PREPARED":
            place.item(position).fail("PAUSED cannot follow PREPARED")
    return phases


def _video(room_id: int) -> Check[VideoSource]:
    def check(value: object, place: Place) -> VideoSource:
        table = Table(value, place)
        kind = table.require("kind", one_of(VIDEO_TYPES))
        default_user_id = {
            "whiteboard": "",
            "mixed": f"tic_mixstream_{room_id}_1",
            "screen_share": "tic_substream_teacher",
        }.get(kind, "teacher")
        user_id = table.take("user_id", any_text, default_user_id)
        if kind == "audio":
            width = height = 0
        else:
            width = table.take("width", _pixels, 640)
            height = table.take("height", _pixels, 360)
        table.done()
        return VideoSource(kind, user_id, width, height)

    return check


def _failure(value: object, place: Place) -> ApiFault:
    table = Table(value, place)
    code = table.take("code", text, "FailedOperation.Record")
    message = table.take("message", text, DEFAULT_FAILURE_MESSAGE)
    table.done()
    return ApiFault(code, message)


def _interrupts(value: object, place: Place) -> dict[str, int]:
    if not isinstance(value, Mapping):
        place.wrong(value, "a mapping of user ids to counts")
    return {
        any_text(user_id, place.key(user_id)): count(times, place.key(user_id))
        for user_id, times in value.items()
    }


def parse_recording(value: object, place: Place, sdk_app_id: int) -> Recording:
    """Return the recording that ``value`` describes, its ``created`` relative to now.

    :param sdk_app_id: its application unless it names another
    """
    table = Table(value, place)
    task_id = table.require("task_id", text)
    room_id = table.take("room_id", room_number, DEFAULT_ROOM_ID)
    finish_reason = table.take("finish_reason", one_of(FINISH_REASONS), "USER_CALL")
    failure = table.take("error", _failure)
    timeline = table.take("timeline", _timeline, DEFAULT_TIMELINE if failure is None else ())
    recording = Recording(
        sdk_app_id=table.take("sdk_app_id", positive, sdk_app_id),
        task_id=task_id,
        created=-table.take("age", number, 0.0),
        timeline=timeline,
        finish_reason=finish_reason,
        videos=table.take("videos", list_of(_video(room_id)), DEFAULT_VIDEOS),
        failure=failure,
        concat=table.take("concat", flag, False),
        room_id=room_id,
        group_id=table.take("group_id", text, str(room_id)),
        record_user_id=table.take("record_user_id", text, f"tic_record_user_{room_id}_{task_id}"),
        exception_count=table.take(
            "exception_count", count, 1 if finish_reason == "EXCEPTION" else 0
        ),
        interrupts=table.take("interrupts", _interrupts, {}),
        replay_url=table.take("replay_url", text),
        answer=table.take("answer", one_of(ANSWERS), "normal"),
        fields=table.take("fields", mapping, {}),
        private_bucket=table.take("private_bucket", flag, False),
    )
    table.done()
    return recording


def _recordings(sdk_app_id: int) -> Check[tuple[Recording, ...]]:
    def check(value: object, place: Place) -> tuple[Recording, ...]:
        parse = list_of(lambda item, place: parse_recording(item, place, sdk_app_id))
        recordings = parse(value, place)
        seen = set()
        for position, recording in enumerate(recordings):
            if (recording.sdk_app_id, recording.task_id) in seen:
                place.item(position).fail(f"task_id {recording.task_id} is given twice")
            seen.add((recording.sdk_app_id, recording.task_id))
        return recordings

    return check


def _tasks(sdk_app_id: int) -> Check[tuple[Task, ...]]:
    return list_of(lambda item, place: parse_task(item, place, sdk_app_id))


def _task_defaults(value: object, place: Place) -> dict[str, dict[str, Any]]:
    return {
        one_of(FAMILIES)(name, place): parse_defaults(content, place.key(name), name)
        for name, content in mapping(value, place).items()
    }


def default_recording(sdk_app_id: int, task_id: str) -> Recording:
    """Return a recording that has finished, for a task that needs one."""
    return parse_recording({"task_id": task_id, "timeline": []}, Place(task_id), sdk_app_id)


def _room(value: object, place: Place) -> tuple[int, Room]:
    table = Table(value, place)
    room_id = table.require("room_id", room_number)
    room = Room(
        users=table.take("users", list_of(text), Room().users),
        screen_shares=table.take("screen_shares", list_of(text), ()),
    )
    table.done()
    return room_id, room


def _rooms(value: object, place: Place) -> dict[int, Room]:
    return dict(list_of(_room)(value, place))


def _read(path: Path) -> object:
    place = Place(str(path))
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        place.fail(f"cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        place.fail("is not UTF-8 text")
    try:
        if path.suffix == ".json":
            return json.loads(content, object_pairs_hook=_unique)
        return yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = f"line {mark.line + 1}, column {mark.column + 1}" if mark else "somewhere"
        place.fail(f"is not valid YAML: {line}: {error.problem}")
    except yaml.YAMLError as error:
        place.fail(f"is not valid YAML: {' '.join(str(error).split())}")
    except json.JSONDecodeError as error:
        place.fail(f"is not valid JSON: line {error.lineno}, column {error.colno}: {error.msg}")
    except _Twice as error:
        place.fail(f"the key {error} is given twice in one mapping")


class _Twice(Exception):
    pass


def _unique(pairs: list[tuple[Any, Any]]) -> dict[Any, Any]:
    # Both formats silently keep the last one.
    result: dict[Any, Any] = {}
    for key, value in pairs:
        if key in result:
            raise _Twice(key)
        result[key] = value
    return result


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key that is given twice."""


def _construct_mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(
                problem="a key must be a plain text", problem_mark=key.start_mark
            )
    return _unique(
        [
            (loader.construct_object(key), loader.construct_object(value, deep=True))
            for key, value in node.value
        ]
    )


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_mapping)

__all__ = ["Script", "ScriptError", "default_recording", "load_script", "parse_recording"]
