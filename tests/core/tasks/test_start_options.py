# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re
from typing import Any

import pytest

from tiw_automation.core import PRESETS, ConfigurationError
from tiw_automation.core.tasks.start_options import check_room_id, start_params

LAYOUT = {"width": 640, "height": 360, "x": 0, "y": 3000, "z_order": 1}
API_LAYOUT = {"Width": 640, "Height": 360, "X": 0, "Y": 3000, "ZOrder": 1}

EVERY_OPTION: dict[str, Any] = {
    "group_id": "g",
    "concat": {"enabled": True, "image": "http://host/a.png"},
    "whiteboard": {"width": 2, "height": 960, "init_param": "{}"},
    "mix_stream": {
        "enabled": True,
        "disable_audio": False,
        "model_id": 2,
        "teacher_id": "anna",
        "custom": {
            "canvas": {"layout_params": LAYOUT, "background_color": "#00ff7F"},
            "input_stream_list": [
                {
                    "layout_params": LAYOUT,
                    "input_stream_id": "anna",
                    "background_color": "#000000",
                    "fill_mode": 1,
                }
            ],
        },
    },
    "extras": ["MIX_STREAM"],
    "audio_file_needed": True,
    "record_control": {
        "enabled": True,
        "disable_record": False,
        "disable_audio": False,
        "pull_small_video": True,
        "stream_controls": [
            {
                "stream_id": "tic_substream",
                "disable_record": True,
                "disable_audio": True,
                "pull_small_video": False,
            }
        ],
    },
    "record_mode": "REALTIME_MODE",
    "chat_group_id": "c",
    "auto_stop_timeout": 86400,
    "extra_data": "e",
    "trtc_room_id": 4294967295,
    "trtc_room_id_str": "room",
}


def test_every_option_under_the_apis_own_name() -> None:
    assert start_params(EVERY_OPTION) == {
        "GroupId": "g",
        "Concat": {"Enabled": True, "Image": "http://host/a.png"},
        "Whiteboard": {"Width": 2, "Height": 960, "InitParam": "{}"},
        "MixStream": {
            "Enabled": True,
            "DisableAudio": False,
            "ModelId": 2,
            "TeacherId": "anna",
            "Custom": {
                "Canvas": {"LayoutParams": API_LAYOUT, "BackgroundColor": "#00ff7F"},
                "InputStreamList": [
                    {
                        "LayoutParams": API_LAYOUT,
                        "InputStreamId": "anna",
                        "BackgroundColor": "#000000",
                        "FillMode": 1,
                    }
                ],
            },
        },
        "Extras": ["MIX_STREAM"],
        "AudioFileNeeded": True,
        "RecordControl": {
            "Enabled": True,
            "DisableRecord": False,
            "DisableAudio": False,
            "PullSmallVideo": True,
            "StreamControls": [
                {
                    "StreamId": "tic_substream",
                    "DisableRecord": True,
                    "DisableAudio": True,
                    "PullSmallVideo": False,
                }
            ],
        },
        "RecordMode": "REALTIME_MODE",
        "ChatGroupId": "c",
        "AutoStopTimeout": 86400,
        "ExtraData": "e",
        "TRTCRoomId": 4294967295,
        "TRTCRoomIdStr": "room",
    }


def test_an_option_that_is_none_is_left_out() -> None:
    assert start_params(dict.fromkeys(EVERY_OPTION)) == {}
    assert start_params({"whiteboard": {"width": None}}) == {"Whiteboard": {}}


def test_the_presets() -> None:
    assert start_params({}, "audio_files") == {"AudioFileNeeded": True}
    assert start_params({}, "mixed_stream") == {
        "MixStream": {"Enabled": True, "ModelId": 1},
        "Extras": ["MIX_STREAM"],
    }
    control = start_params({}, "whiteboard_only")["RecordControl"]
    assert control["DisableRecord"] is True
    assert control["StreamControls"] == [
        {"StreamId": "tic_record_user", "DisableRecord": False, "DisableAudio": False}
    ]


def test_an_option_replaces_the_presets_and_leaves_the_preset_unchanged() -> None:
    given = {"mix_stream": {"model_id": 2}}
    assert start_params(given, "mixed_stream")["MixStream"] == {"Enabled": True, "ModelId": 2}
    assert PRESETS["mixed_stream"]["mix_stream"]["model_id"] == 1


def test_numbers_and_flags_are_read_as_templates_render_them() -> None:
    given = {"auto_stop_timeout": "600", "audio_file_needed": "True", "trtc_room_id": " 7 "}
    params = start_params({**given, "concat": {"enabled": "false"}})
    assert params == {
        "AutoStopTimeout": 600,
        "AudioFileNeeded": True,
        "TRTCRoomId": 7,
        "Concat": {"Enabled": False},
    }


def test_an_integer_becomes_its_digits_where_a_text_is_expected() -> None:
    """Templates that render native objects turn "880528" into a number."""
    params = start_params(
        {
            "group_id": 880528,
            "extra_data": 0,
            "trtc_room_id_str": 10**40,
            "record_control": {"enabled": True, "stream_controls": [{"stream_id": 7}]},
        }
    )
    assert params["GroupId"] == "880528"
    assert params["ExtraData"] == "0"
    assert params["TRTCRoomIdStr"] == "1" + 40 * "0"
    assert params["RecordControl"]["StreamControls"] == [{"StreamId": "7"}]


@pytest.mark.parametrize(
    "value",
    [{"a": 7}, ["a"], True, False, 1.5, b"a", object(), 10**5000, [[[]]]],
    ids=lambda value: type(value).__name__,
)
def test_a_text_that_was_read_as_data_is_refused_with_a_hint(value: object) -> None:
    with pytest.raises(ConfigurationError, match="extra_data must be a text") as caught:
        start_params({"extra_data": value})
    assert "Give the text itself, in quotes" in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [10**5000, "9" * 5000, "x" * 900_000, "\x1b[2J\n", {"a": "\x1b"}],
    ids=["number", "digits", "long", "escapes", "dict"],
)
def test_a_message_shows_a_value_safely(value: Any) -> None:
    for options in ({"auto_stop_timeout": value}, {"record_mode": value}, {"whiteboard": [value]}):
        with pytest.raises(ConfigurationError) as caught:
            start_params(options)
        assert len(str(caught.value)) < 1000
        assert str(caught.value).isprintable()
    with pytest.raises(ConfigurationError, match="room_id must be an integer"):
        check_room_id(value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"whitebord": {}}, "whitebord is not an option. Did you mean whiteboard?"),
        ({"whiteboard": {"widht": 5}}, "whiteboard.widht is not an option. Did you mean width?"),
        ({"whiteboard": 5}, "whiteboard must hold width, height, init_param, not 5"),
        ({"whiteboard": {"width": 1}}, "whiteboard.width must be an integer from 2, not 1"),
        ({"whiteboard": {"width": True}}, "whiteboard.width must be an integer from 2"),
        ({"whiteboard": {"width": "wide"}}, "whiteboard.width must be an integer from 2"),
        ({"whiteboard": {"width": "-640"}}, "width must be an integer from 2, not '-640'"),
        ({"concat": {}}, "concat.enabled is missing"),
        ({"concat": {"enabled": "yes"}}, "concat.enabled must be true or false, not 'yes'"),
        ({"mix_stream": {"enabled": True}}, "neither a model_id nor a custom layout"),
        ({"mix_stream": {"enabled": True, "model_id": 3}}, "model_id: 3 is not allowed"),
        (
            {"mix_stream": {"enabled": True, "custom": {"canvas": {}}}},
            "mix_stream.custom.canvas.layout_params is missing",
        ),
        ({"extras": "MIX_STREAM"}, "extras must be a list, not 'MIX_STREAM'"),
        ({"extras": ["MixStream"]}, "extras[0]: 'MixStream' is not allowed"),
        ({"auto_stop_timeout": 299}, "auto_stop_timeout must be an integer from 300 to 86400"),
        ({"auto_stop_timeout": 86401}, "auto_stop_timeout must be an integer from 300 to 86400"),
        ({"record_mode": "REALTIME"}, "not allowed. Did you mean REALTIME_MODE?"),
        ({"group_id": " "}, "group_id must be a text that is not empty"),
        ({"trtc_room_id": 0}, "trtc_room_id must be an integer from 1 to 4294967295"),
        (
            {"record_control": {"enabled": True, "stream_controls": [{"stream_id": "a"}, {}]}},
            "record_control.stream_controls[1].stream_id is missing",
        ),
        (
            {"record_control": {"enabled": True, "stream_controls": {"stream_id": "a"}}},
            "stream_controls must be a list",
        ),
    ],
)
def test_invalid_options(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        start_params(options)


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        ({**LAYOUT, "width": 3001}, "width must be an integer from 2 to 3000"),
        ({**LAYOUT, "x": -1}, "x must be an integer from 0 to 3000"),
        ({**LAYOUT, "z_order": -1}, "z_order must be an integer from 0"),
        ({"width": 5}, "height is missing"),
    ],
)
def test_invalid_layouts(layout: dict[str, Any], words: str) -> None:
    custom = {"canvas": {"layout_params": layout}, "input_stream_list": []}
    with pytest.raises(ConfigurationError, match=words):
        start_params({"mix_stream": {"enabled": True, "custom": custom}})


@pytest.mark.parametrize("colour", ["red", "#fff", "#00000g", "000000"])
def test_a_colour_has_six_digits(colour: str) -> None:
    canvas = {"layout_params": LAYOUT, "background_color": colour}
    custom = {"canvas": canvas, "input_stream_list": []}
    with pytest.raises(ConfigurationError, match="background_color"):
        start_params({"mix_stream": {"enabled": True, "custom": custom}})


def test_a_preset_that_does_not_exist() -> None:
    with pytest.raises(ConfigurationError, match="Did you mean whiteboard_only"):
        start_params({}, "whiteboard")


@pytest.mark.parametrize("room", [0, -1, 4294967296, 1.0, True, None, "", "a", "\uff11"])
def test_an_invalid_room(room: object) -> None:
    with pytest.raises(ConfigurationError, match="room_id must be an integer from 1"):
        check_room_id(room)


def test_a_valid_room() -> None:
    assert check_room_id(4294967295) == 4294967295
    assert check_room_id("7") == 7
