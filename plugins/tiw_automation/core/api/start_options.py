# SPDX-License-Identifier: Apache-2.0
"""What a recording can be started with: every option of StartOnlineRecord, as data.

The tables below are the one place that knows them; the client checks and translates by them, and
the adapters make their own arguments of them. The ranges are those of
https://www.tencentcloud.com/document/product/1176/53505 and its data types.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.checks import as_text, whole_number
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import escaped, shown

_LARGEST_ROOM = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    :param name: what users type.
    :param api_name: what is sent.
    :param type: ``int``, ``str``, ``bool``, ``dict`` (of ``options``) or ``list`` (of ``options``,
        or of strings).
    :param description: one sentence for the adapters' documentation.
    :param least: the least of an integer.
    :param most: the most of an integer.
    :param choices: the values that are allowed; all others are not.
    :param pattern: what a string has to match.
    """

    name: str
    api_name: str
    type: str
    description: str
    required: bool = False
    least: int | None = None
    most: int | None = None
    choices: tuple[Any, ...] = ()
    pattern: str | None = None
    options: tuple[Option, ...] = ()


_COLOUR = r"#[0-9A-Fa-f]{6}"

_LAYOUT = (
    Option("width", "Width", "int", "Width in pixels.", required=True, least=2, most=3000),
    Option("height", "Height", "int", "Height in pixels.", required=True, least=2, most=3000),
    Option("x", "X", "int", "Distance from the left, in pixels.", least=0, most=3000),
    Option("y", "Y", "int", "Distance from the top, in pixels.", least=0, most=3000),
    Option("z_order", "ZOrder", "int", "What lies above what: the greater number.", least=0),
)

_CUSTOM_LAYOUT = (
    Option(
        "canvas",
        "Canvas",
        "dict",
        "The whole picture.",
        required=True,
        options=(
            Option(
                "layout_params",
                "LayoutParams",
                "dict",
                "Its size.",
                required=True,
                options=_LAYOUT,
            ),
            Option(
                "background_color",
                "BackgroundColor",
                "str",
                "Its background, such as #000000.",
                pattern=_COLOUR,
            ),
        ),
    ),
    Option(
        "input_stream_list",
        "InputStreamList",
        "list",
        "The streams on it.",
        required=True,
        options=(
            Option(
                "layout_params",
                "LayoutParams",
                "dict",
                "Where the stream is and how large.",
                required=True,
                options=_LAYOUT,
            ),
            Option("input_stream_id", "InputStreamId", "str", "Which stream."),
            Option(
                "background_color",
                "BackgroundColor",
                "str",
                "What is seen beside it, such as #000000.",
                pattern=_COLOUR,
            ),
            Option(
                "fill_mode",
                "FillMode",
                "int",
                "0 cuts off what does not fit, 1 shows all with a border.",
                choices=(0, 1),
            ),
        ),
    ),
)

START_OPTIONS = (
    Option(
        "group_id",
        "GroupId",
        "str",
        "The IM group of the board, where it is not the room's number.",
    ),
    Option(
        "concat",
        "Concat",
        "dict",
        "Whether the files of a stream become one, with the pauses cut out.",
        options=(
            Option("enabled", "Enabled", "bool", "Whether they do.", required=True),
            Option("image", "Image", "str", "The URL of a picture for where a stream is missing."),
        ),
    ),
    Option(
        "whiteboard",
        "Whiteboard",
        "dict",
        "The board's picture.",
        options=(
            Option("width", "Width", "int", "Width in pixels, 1280 by default.", least=2),
            Option("height", "Height", "int", "Height in pixels, 960 by default.", least=2),
            Option("init_param", "InitParam", "str", "The board's own settings, as JSON text."),
        ),
    ),
    Option(
        "mix_stream",
        "MixStream",
        "dict",
        "One picture of all streams, in files of its own. Tencent enables it on request.",
        options=(
            Option("enabled", "Enabled", "bool", "Whether there is one.", required=True),
            Option("disable_audio", "DisableAudio", "bool", "Whether it is without sound."),
            Option(
                "model_id",
                "ModelId",
                "int",
                "A ready layout; needed where there is none of your own in custom.",
                choices=(1, 2),
            ),
            Option("teacher_id", "TeacherId", "str", "The user who is shown as the teacher."),
            Option("custom", "Custom", "dict", "A layout of your own.", options=_CUSTOM_LAYOUT),
        ),
    ),
    Option(
        "extras",
        "Extras",
        "list",
        "Further features; MIX_STREAM is set where mix_stream is enabled.",
        choices=("MIX_STREAM",),
    ),
    Option("audio_file_needed", "AudioFileNeeded", "bool", "Whether each stream also gets an mp3."),
    Option(
        "record_control",
        "RecordControl",
        "dict",
        "Which streams are recorded.",
        options=(
            Option("enabled", "Enabled", "bool", "Whether this counts.", required=True),
            Option("disable_record", "DisableRecord", "bool", "Record no stream but those below."),
            Option("disable_audio", "DisableAudio", "bool", "Record no sound but that below."),
            Option(
                "pull_small_video", "PullSmallVideo", "bool", "Record the small picture of streams."
            ),
            Option(
                "stream_controls",
                "StreamControls",
                "list",
                "What holds for single streams.",
                options=(
                    Option(
                        "stream_id",
                        "StreamId",
                        "str",
                        "The beginning of a stream's name: tic_record_user for the board, "
                        "tic_substream for shared screens, else a user's name.",
                        required=True,
                    ),
                    Option("disable_record", "DisableRecord", "bool", "Do not record it."),
                    Option("disable_audio", "DisableAudio", "bool", "Record it without sound."),
                    Option(
                        "pull_small_video", "PullSmallVideo", "bool", "Record its small picture."
                    ),
                ),
            ),
        ),
    ),
    Option(
        "record_mode",
        "RecordMode",
        "str",
        "VIDEO_GENERATION_MODE, which Tencent enables on request, makes the videos afterwards.",
        choices=("REALTIME_MODE", "VIDEO_GENERATION_MODE"),
    ),
    Option("chat_group_id", "ChatGroupId", "str", "The chat's IM group (VIDEO_GENERATION_MODE)."),
    Option(
        "auto_stop_timeout",
        "AutoStopTimeout",
        "int",
        "Seconds without sound, picture or board after which it ends; 300 by default.",
        least=300,
        most=86400,
    ),
    Option("extra_data", "ExtraData", "str", "For Tencent's own use."),
    Option(
        "trtc_room_id",
        "TRTCRoomId",
        "int",
        "The TRTC room, where it is not the room's number.",
        least=1,
        most=_LARGEST_ROOM,
    ),
    Option(
        "trtc_room_id_str", "TRTCRoomIdStr", "str", "The TRTC room's name; goes before the number."
    ),
)
"""Every option but the room, the recording user and the application."""

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # The recipe of TIW's FAQ: no stream but the board's, which is named after the recording user.
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
"""Options under one name; what is given beside them goes before."""


# As templates render them.
_FLAGS = {"true": True, "false": False}
_READ_AS_DATA = (
    "Give the text itself, in quotes: what reads a template or YAML takes {...}, [...], true and "
    "1.5 for data."
)
_SHOWN = 200


def check_room_id(value: object, name: str = "room_id") -> int:
    """Return a room's number.

    :raises ConfigurationError: it is no integer from 1 to 4294967295.
    """
    return _integer(whole_number(value), name, 1, _LARGEST_ROOM)


def start_params(options: Mapping[str, Any], preset: str | None = None) -> dict[str, Any]:
    """Return the parameters of StartOnlineRecord for options, under the API's names.

    Options that are None are left out. ``MIX_STREAM`` is put into ``Extras`` where the mixed
    stream is enabled, which the API asks for.

    :param options: by the names of :data:`START_OPTIONS`.
    :param preset: one of :data:`PRESETS`.
    :raises ConfigurationError: a name, type or value that the API does not take.
    """
    merged = _merged(options, preset)
    params = _object(merged, START_OPTIONS, "")
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
            f"preset: {shown(preset)} is not a preset{_nearest(preset, PRESETS)}.",
            hint=f"Use one of {', '.join(PRESETS)}.",
        )
    merged: dict[str, Any] = deepcopy(dict(PRESETS[preset]))
    for name, value in given.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = {**merged[name], **value} if both else value
    return merged


def _object(value: object, known: Sequence[Option], where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigurationError(
            f"{where} has to hold {', '.join(option.name for option in known)}, not {shown(value)}."
        )
    by_name = {option.name: option for option in known}
    for name in value:
        if name not in by_name:
            raise ConfigurationError(
                f"{escaped(_under(where, name), _SHOWN)} is no option{_nearest(name, by_name)}.",
                hint=f"Use any of {', '.join(by_name)}.",
            )
    params = {}
    for option in known:
        given = value.get(option.name)
        place = _under(where, option.name)
        if given is not None:
            params[option.api_name] = _value(given, option, place)
        elif option.required:
            raise ConfigurationError(f"{place} is missing.", hint=option.description)
    return params


def _value(value: object, option: Option, place: str) -> Any:
    if option.type == "dict":
        return _object(value, option.options, place)
    if option.type == "list":
        if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
            raise ConfigurationError(f"{place} has to be a list, not {shown(value)}.")
        items = [(f"{place}[{number}]", item) for number, item in enumerate(value)]
        if option.options:
            return [_object(item, option.options, where) for where, item in items]
        return [_text(item, option, where) for where, item in items]
    if option.type == "bool":
        flag = _FLAGS.get(value.strip().lower()) if isinstance(value, str) else value
        if not isinstance(flag, bool):
            raise ConfigurationError(f"{place} has to be true or false, not {shown(value)}.")
        return flag
    if option.type == "int":
        number = _integer(whole_number(value), place, option.least, option.most)
        if option.choices and number not in option.choices:
            raise _not_one_of(place, value, option)
        return number
    return _text(value, option, place)


def _text(value: object, option: Option, place: str) -> str:
    text = as_text(value)
    if text is None or not text.strip():
        raise ConfigurationError(
            f"{place} has to be a text that is not empty, not {shown(value)}.",
            hint=None if isinstance(value, str) else f"{_READ_AS_DATA} {option.description}",
        )
    if option.choices and text not in option.choices:
        raise _not_one_of(place, value, option)
    if option.pattern and not re.fullmatch(option.pattern, text):
        raise ConfigurationError(f"{place}: {shown(value)} is malformed.", hint=option.description)
    return text


def _integer(value: object, place: str, least: int | None, most: int | None) -> int:
    if (
        isinstance(value, bool)
        or not isinstance(value, int)
        or (least is not None and value < least)
        or (most is not None and value > most)
    ):
        bounds = [f"from {least}" if least is not None else "", f"to {most}" if most else ""]
        limits = " ".join(filter(None, ["an integer", *bounds]))
        raise ConfigurationError(f"{place} has to be {limits}, not {shown(value)}.")
    return value


def _not_one_of(place: str, value: object, option: Option) -> ConfigurationError:
    allowed = ", ".join(str(choice) for choice in option.choices)
    near = _nearest(value, [str(choice) for choice in option.choices])
    return ConfigurationError(
        f"{place}: {shown(value)} is not allowed{near}.", hint=f"Use {allowed}."
    )


def _nearest(value: object, names: Any) -> str:
    close = difflib.get_close_matches(shown(value).strip("'"), list(names), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def _under(where: str, name: object) -> str:
    return f"{where}.{name}" if where else str(name)
