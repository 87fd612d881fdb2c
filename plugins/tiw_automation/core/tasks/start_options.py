# SPDX-License-Identifier: Apache-2.0
"""The options of StartOnlineRecord, as data.

The tables below are the only place that lists the options: the adapters derive their own arguments
from them. The ranges are those of https://www.tencentcloud.com/document/product/1176/53505 and its
data types.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from tiw_automation.core.checks import as_text, did_you_mean
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import shown
from tiw_automation.core.tasks.options import LARGEST_ROOM, Option, read_integer, read_options

_COLOUR = r"#[0-9A-Fa-f]{6}"

_LAYOUT = (
    Option("width", "int", "Width in pixels.", required=True, least=2, most=3000),
    Option("height", "int", "Height in pixels.", required=True, least=2, most=3000),
    Option("x", "int", "Distance from the left, in pixels.", least=0, most=3000),
    Option("y", "int", "Distance from the top, in pixels.", least=0, most=3000),
    Option("z_order", "int", "The position in the stack; the greatest number is on top.", least=0),
)

_CUSTOM_LAYOUT = (
    Option(
        "canvas",
        "dict",
        "The picture as a whole.",
        required=True,
        options=(
            Option("layout_params", "dict", "The picture's size.", required=True, options=_LAYOUT),
            Option(
                "background_color",
                "str",
                "The background colour, such as #000000.",
                pattern=_COLOUR,
            ),
        ),
    ),
    Option(
        "input_stream_list",
        "list",
        "The streams in the picture.",
        required=True,
        options=(
            Option(
                "layout_params",
                "dict",
                "The stream's position and size.",
                required=True,
                options=_LAYOUT,
            ),
            Option("input_stream_id", "str", "The stream's name."),
            Option(
                "background_color",
                "str",
                "The colour of the area that the stream does not fill, such as #000000.",
                pattern=_COLOUR,
            ),
            Option(
                "fill_mode",
                "int",
                "0 fills the area and cuts off the rest, 1 shows the whole stream with a border.",
                choices=(0, 1),
            ),
        ),
    ),
)

START_OPTIONS = (
    Option("group_id", "str", "The IM group of the board, if it is not the room's number."),
    Option(
        "concat",
        "dict",
        "Joins the files of each stream into one, without the pauses.",
        options=(
            Option("enabled", "bool", "Whether the files are joined.", required=True),
            Option("image", "str", "The URL of a picture that is shown while a stream is missing."),
        ),
    ),
    Option(
        "whiteboard",
        "dict",
        "The board's video.",
        options=(
            Option("width", "int", "Width in pixels, 1280 by default.", least=2),
            Option("height", "int", "Height in pixels, 960 by default.", least=2),
            Option("init_param", "str", "The board's own settings, as JSON text."),
        ),
    ),
    Option(
        "mix_stream",
        "dict",
        "One video of all streams, in separate files. Tencent enables it on request.",
        options=(
            Option("enabled", "bool", "Whether this video is made.", required=True),
            Option("disable_audio", "bool", "Whether this video has no sound."),
            Option(
                "model_id",
                "int",
                "A predefined layout; required unless custom has one.",
                choices=(1, 2),
            ),
            Option("teacher_id", "str", "The user who is shown as the teacher."),
            Option("custom", "dict", "Your own layout.", options=_CUSTOM_LAYOUT),
        ),
    ),
    Option(
        "extras",
        "list",
        "Further features; MIX_STREAM is added if mix_stream is enabled.",
        choices=("MIX_STREAM",),
    ),
    Option("audio_file_needed", "bool", "Whether each stream also gets an mp3."),
    Option(
        "record_control",
        "dict",
        "Selects the streams that are recorded.",
        options=(
            Option("enabled", "bool", "Whether this selection applies.", required=True),
            Option("disable_record", "bool", "Record only the streams listed below."),
            Option("disable_audio", "bool", "Record only the sound of the streams listed below."),
            Option("pull_small_video", "bool", "Record the small video of each stream."),
            Option(
                "stream_controls",
                "list",
                "Settings of single streams.",
                options=(
                    Option(
                        "stream_id",
                        "str",
                        "The beginning of a stream's name: tic_record_user for the board, "
                        "tic_substream for shared screens, otherwise a user's name.",
                        required=True,
                    ),
                    Option("disable_record", "bool", "Do not record it."),
                    Option("disable_audio", "bool", "Record it without sound."),
                    Option("pull_small_video", "bool", "Record its small video."),
                ),
            ),
        ),
    ),
    Option(
        "record_mode",
        "str",
        "VIDEO_GENERATION_MODE makes the videos afterwards; Tencent enables it on request.",
        choices=("REALTIME_MODE", "VIDEO_GENERATION_MODE"),
    ),
    Option("chat_group_id", "str", "The chat's IM group (VIDEO_GENERATION_MODE)."),
    Option(
        "auto_stop_timeout",
        "int",
        "Seconds without sound, video or board after which the recording ends; 300 by default.",
        least=300,
        most=86400,
    ),
    Option("extra_data", "str", "For Tencent's own use."),
    Option(
        "trtc_room_id",
        "int",
        "The TRTC room, if it is not the room's number.",
        least=1,
        most=LARGEST_ROOM,
    ),
    Option("trtc_room_id_str", "str", "The TRTC room's name; replaces trtc_room_id."),
)
"""All options except the room, the recording user and the application."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # From TIW's FAQ: only the board's stream, whose name begins with the recording user's.
    "whiteboard_only": {
        "record_control": {
            "enabled": True,
            "disable_record": True,
            "disable_audio": True,
            "stream_controls": [
                {"stream_id": "tic_record_user", "disable_record": False, "disable_audio": False}
            ],
        }
    },
    "mixed_stream": {"mix_stream": {"enabled": True, "model_id": 1}},
    "audio_files": {"audio_file_needed": True},
}
"""Sets of options by name; an option that is given replaces the preset's."""


def check_room_id(value: object, name: str = "room_id") -> int:
    """Return a room's number.

    :raises ConfigurationError: it is not an integer from 1 to 4294967295.
    """
    return read_integer(value, name, 1, LARGEST_ROOM)


def start_params(options: Mapping[str, Any], preset: str | None = None) -> dict[str, Any]:
    """Return the parameters of StartOnlineRecord for options, under the API's names.

    Options that are None are left out. ``MIX_STREAM`` is added to ``Extras`` if the mixed stream is
    enabled, because the API requires it.

    :param options: by the names of :data:`START_OPTIONS`.
    :param preset: one of :data:`PRESETS`.
    :raises ConfigurationError: a name, type or value is invalid.
    """
    merged = _merged(options, preset)
    params = read_options(merged, START_OPTIONS)
    mixed = merged.get("mix_stream") or {}
    if mixed.get("enabled"):
        if mixed.get("model_id") is None and mixed.get("custom") is None:
            raise ConfigurationError(
                "mix_stream: there is neither a model_id nor a custom layout.",
                hint="Give model_id 1 or 2, or a layout of your own in custom.",
            )
        params["Extras"] = list(dict.fromkeys([*params.get("Extras", ()), "MIX_STREAM"]))
    return params


def _merged(options: Mapping[str, Any], preset: object) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    if preset is None:
        return given
    if not isinstance(preset, str) or preset not in PRESETS:
        raise ConfigurationError(
            f"preset: {shown(preset)} is not a preset.{did_you_mean(as_text(preset), PRESETS)}",
            hint=f"Use one of {', '.join(PRESETS)}.",
        )
    merged: dict[str, Any] = deepcopy(dict(PRESETS[preset]))
    for name, value in given.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = {**merged[name], **value} if both else value
    return merged
