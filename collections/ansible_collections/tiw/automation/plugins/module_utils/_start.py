# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Made by tests/collection/make_start_options.py from the core's table; do not edit.
"""The options of a start.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t

# fmt: off
START_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "preset": {
        "type": "str",
        "choices": ["whiteboard_only", "mixed_stream", "audio_files"],
    },
    "group_id": {"type": "str"},
    "concat": {
        "type": "dict",
        "options": {
            "enabled": {"type": "bool", "required": True},
            "image": {"type": "str"},
        },
    },
    "whiteboard": {
        "type": "dict",
        "options": {
            "width": {"type": "int"},
            "height": {"type": "int"},
            "init_param": {"type": "str"},
        },
    },
    "mix_stream": {
        "type": "dict",
        "options": {
            "enabled": {"type": "bool", "required": True},
            "disable_audio": {"type": "bool"},
            "model_id": {"type": "int", "choices": [1, 2]},
            "teacher_id": {"type": "str"},
            "custom": {
                "type": "dict",
                "options": {
                    "canvas": {
                        "type": "dict",
                        "required": True,
                        "options": {
                            "layout_params": {
                                "type": "dict",
                                "required": True,
                                "options": {
                                    "width": {"type": "int", "required": True},
                                    "height": {"type": "int", "required": True},
                                    "x": {"type": "int"},
                                    "y": {"type": "int"},
                                    "z_order": {"type": "int"},
                                },
                            },
                            "background_color": {"type": "str"},
                        },
                    },
                    "input_stream_list": {
                        "type": "list",
                        "elements": "dict",
                        "required": True,
                        "options": {
                            "layout_params": {
                                "type": "dict",
                                "required": True,
                                "options": {
                                    "width": {"type": "int", "required": True},
                                    "height": {"type": "int", "required": True},
                                    "x": {"type": "int"},
                                    "y": {"type": "int"},
                                    "z_order": {"type": "int"},
                                },
                            },
                            "input_stream_id": {"type": "str"},
                            "background_color": {"type": "str"},
                            "fill_mode": {"type": "int", "choices": [0, 1]},
                        },
                    },
                },
            },
        },
    },
    "extras": {"type": "list", "elements": "str", "choices": ["MIX_STREAM"]},
    "audio_file_needed": {"type": "bool"},
    "record_control": {
        "type": "dict",
        "options": {
            "enabled": {"type": "bool", "required": True},
            "disable_record": {"type": "bool"},
            "disable_audio": {"type": "bool"},
            "pull_small_video": {"type": "bool"},
            "stream_controls": {
                "type": "list",
                "elements": "dict",
                "options": {
                    "stream_id": {"type": "str", "required": True},
                    "disable_record": {"type": "bool"},
                    "disable_audio": {"type": "bool"},
                    "pull_small_video": {"type": "bool"},
                },
            },
        },
    },
    "record_mode": {"type": "str", "choices": ["REALTIME_MODE", "VIDEO_GENERATION_MODE"]},
    "chat_group_id": {"type": "str"},
    "auto_stop_timeout": {"type": "int"},
    "extra_data": {"type": "str"},
    "trtc_room_id": {"type": "int"},
    "trtc_room_id_str": {"type": "str"},
}
