# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Made by tests/collection/make_task_options.py from the core's table; do not edit.
"""The kinds of tasks, and the options of all kinds but recordings.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t

# fmt: off
TASK_KIND: dict[str, t.Any] = {
    "type": "str",
    "required": True,
    "choices": ["online_record", "whiteboard_push", "transcode", "ppt_check", "snapshot", "video_generation"],
}

CREATED_KIND: dict[str, t.Any] = {
    "type": "str",
    "required": True,
    "choices": ["whiteboard_push", "transcode", "ppt_check", "snapshot", "video_generation"],
}

TASK_OPTIONS: dict[str, dict[str, t.Any]] = {
    "room_id": {"type": "int"},
    "push_user_id": {"type": "str"},
    "push_user_sig": {"type": "str", "no_log": True},
    "whiteboard": {
        "type": "dict",
        "options": {
            "width": {"type": "int"},
            "height": {"type": "int"},
            "init_param": {"type": "str"},
            "init_params": {"type": "str"},
        },
    },
    "auto_stop_timeout": {"type": "int"},
    "auto_manage_backup": {"type": "bool"},
    "backup": {
        "type": "dict",
        "options": {
            "push_user_id": {"type": "str", "required": True},
            "push_user_sig": {"type": "str", "required": True, "no_log": True},
        },
    },
    "private_map_key": {"type": "str", "no_log": True},
    "video_fps": {"type": "int"},
    "video_bitrate": {"type": "int"},
    "auto_record": {"type": "bool"},
    "user_defined_record_id": {"type": "str"},
    "auto_publish": {"type": "bool"},
    "user_defined_stream_id": {"type": "str"},
    "extra_data": {"type": "str"},
    "trtc_room_id": {"type": "int"},
    "trtc_room_id_str": {"type": "str"},
    "im_auth_param": {
        "type": "dict",
        "options": {
            "sdk_app_id": {"type": "int", "required": True},
            "user_id": {"type": "str", "required": True},
            "user_sig": {"type": "str", "required": True, "no_log": True},
        },
    },
    "trtc_auth_param": {
        "type": "dict",
        "options": {
            "sdk_app_id": {"type": "int", "required": True},
            "user_id": {"type": "str", "required": True},
            "user_sig": {"type": "str", "required": True, "no_log": True},
        },
    },
    "trtc_enter_room_mode": {"type": "str", "choices": ["TRTCAppSceneVideoCall", "TRTCAppSceneLIVE"]},
    "group_id": {"type": "str"},
    "url": {"type": "str", "no_log": True},
    "is_static_ppt": {"type": "bool"},
    "min_resolution": {"type": "str"},
    "thumbnail_resolution": {"type": "str"},
    "compress_file_type": {"type": "str", "choices": ["zip", "tar.gz"]},
    "priority": {"type": "str", "choices": ["low"]},
    "min_scale_resolution": {"type": "str"},
    "auto_handle_unsupported_element": {"type": "bool"},
    "auto_handle_unsupported_element_types": {"type": "list", "elements": "int"},
    "excel_param": {
        "type": "dict",
        "options": {
            "paper_size": {"type": "int", "choices": [0, 1, 2]},
            "paper_direction": {"type": "int", "choices": [0, 1]},
        },
    },
    "callback_url": {"type": "str", "no_log": True},
    "cos": {
        "type": "dict",
        "options": {
            "uin": {"type": "int", "required": True},
            "region": {"type": "str", "required": True},
            "bucket": {"type": "str", "required": True},
            "target_dir": {"type": "str"},
            "domain": {"type": "str"},
        },
    },
    "snapshot_mode": {"type": "str", "choices": ["AllMarks", "LatestMarksOnly"]},
    "online_record_task_id": {"type": "str"},
    "concat": {
        "type": "dict",
        "options": {
            "enabled": {"type": "bool", "required": True},
            "image": {"type": "str"},
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
}
