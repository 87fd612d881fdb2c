# SPDX-License-Identifier: Apache-2.0
"""What a StartOnlineRecord request starts: which streams are recorded, into which files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .errors import ApiFault, missing
from .recordings import PREPARING_S, Phase, Recording, VideoSource

RECORD_FAILED = "FailedOperation.Record"
_CAMERA = (640, 360)
_SCREEN = (1280, 720)
_CANVASES = {1: (1320, 1224), 2: (1624, 1000)}
"""The sizes of Tencent's own layouts for mixed streams."""


@dataclass(frozen=True, slots=True)
class Room:
    """Who is in a room, with a camera and a microphone each.

    :param users: user ids
    :param screen_shares: the ids of those who share their screen
    """

    users: tuple[str, ...] = ("teacher", "student")
    screen_shares: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Switches:
    """The settings of RecordControl for one stream."""

    is_recorded: bool = True
    has_sound: bool = True
    is_small: bool = False


def check_options(parameters: Mapping[str, Any]) -> None:
    """Raise the fault for options that are valid alone, but not together."""
    mix = parameters.get("MixStream", {})
    if not mix.get("Enabled"):
        return
    if "MIX_STREAM" not in parameters.get("Extras", []):
        raise ApiFault(
            "InvalidParameter.InvalidExtra", "MixStream needs `MIX_STREAM` among the Extras."
        )
    if "ModelId" not in mix and "Custom" not in mix:
        raise missing("MixStream.ModelId")


def new_recording(
    parameters: Mapping[str, Any],
    room: Room,
    *,
    task_id: str,
    now: float,
    stopped_s: float,
    failure: ApiFault | None,
) -> Recording:
    """Return the recording that a request starts.

    :param parameters: of the request, checked
    :param now: virtual UNIX seconds
    :param stopped_s: how long it will be STOPPED, virtual seconds
    :param failure: the error with which it fails once it is prepared
    """
    room_id = parameters["RoomId"]
    generated = parameters.get("RecordMode") == "VIDEO_GENERATION_MODE"
    recording = Recording(
        sdk_app_id=parameters["SdkAppId"],
        task_id=task_id,
        created=now,
        timeline=(Phase("PREPARED", PREPARING_S),),
        finish_reason="USER_CALL" if failure is None else "EXCEPTION",
        videos=tuple(_videos(parameters, room)),
        failure=failure,
        concat=parameters.get("Concat", {}).get("Enabled", False),
        room_id=room_id,
        group_id=parameters.get("GroupId") or str(room_id),
        record_user_id=parameters["RecordUserId"],
        exception_count=0 if failure is None else 1,
        interrupts={},
        replay_url=f"/replays/{parameters['SdkAppId']}/{task_id}" if generated else None,
        answer="normal",
        fields={},
        stopped_s=stopped_s,
        auto_stop_s=parameters.get("AutoStopTimeout", 300),
        is_started=True,
    )
    return recording.planned() if failure is None else recording


def user_failure(parameters: Mapping[str, Any], problem: str | None, now: float) -> ApiFault | None:
    """Return the error of a recording whose user cannot enter the room, or ``None``.

    :param problem: what is wrong with the user's signature
    :param now: virtual UNIX seconds
    """
    # The service writes its own time, in China's zone.
    at = datetime.fromtimestamp(now + 8 * 3600, UTC).strftime("%Y-%m-%d %H:%M:%S")
    user_id = parameters["RecordUserId"]
    if not re.fullmatch(rf"tic_record_user_{parameters['RoomId']}_.+", user_id, re.DOTALL):
        return ApiFault(RECORD_FAILED, f"code: 40001, msg: {at}, invalid userid\n")
    if problem is None:
        return None
    return ApiFault(
        RECORD_FAILED, f"code: 40004, msg: {at}, im login failed with code 6206, desc {problem}\n"
    )


def _videos(parameters: Mapping[str, Any], room: Room) -> Iterator[VideoSource]:
    control = parameters.get("RecordControl", {})
    board = parameters.get("Whiteboard", {})
    size = (board.get("Width", 1280), board.get("Height", 960))
    streams = [("camera", user, user, _CAMERA) for user in room.users] + [
        ("screen_share", f"tic_substream_{user}", f"tic_substream_{user}", _SCREEN)
        for user in room.screen_shares
    ]
    for kind, user_id, stream_id, pixels in [
        *streams,
        ("whiteboard", "", parameters["RecordUserId"], size),
    ]:
        switches = _switches(control, stream_id)
        if switches.is_recorded:
            width, height = (max(2, p // 2) if switches.is_small else p for p in pixels)
            yield VideoSource(kind, user_id, width, height)
    yield from _mixed(parameters)
    if parameters.get("AudioFileNeeded"):
        for _, user_id, stream_id, _ in streams:
            if _switches(control, stream_id).has_sound:
                yield VideoSource("audio", user_id, 0, 0)


def _mixed(parameters: Mapping[str, Any]) -> Iterator[VideoSource]:
    mix = parameters.get("MixStream", {})
    if not mix.get("Enabled"):
        return
    layout = 0
    if "Custom" in mix:
        canvas = mix["Custom"]["Canvas"]["LayoutParams"]
        width, height = canvas["Width"], canvas["Height"]
    else:
        layout = mix["ModelId"]
        width, height = _CANVASES[layout]
    yield VideoSource("mixed", f"tic_mixstream_{parameters['RoomId']}_{layout}", width, height)


def _switches(control: Mapping[str, Any], stream_id: str) -> _Switches:
    if not control.get("Enabled"):
        return _Switches()
    exceptions: Sequence[Mapping[str, Any]] = control.get("StreamControls", [])
    matching = [rule for rule in exceptions if stream_id.startswith(rule["StreamId"])]
    closest = max(matching, key=lambda rule: len(rule["StreamId"]), default={})

    def switch(name: str) -> bool:
        return bool(closest.get(name, control.get(name, False)))

    return _Switches(
        is_recorded=not switch("DisableRecord"),
        has_sound=not switch("DisableAudio"),
        is_small=switch("PullSmallVideo"),
    )
