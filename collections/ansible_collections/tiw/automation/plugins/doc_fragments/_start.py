# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Made by tests/collection/make_start_options.py from the core's table; do not edit.
"""The options of a start. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  preset:
    description:
      - A named set of start options. An option that is also given overrides that of the set.
      - V(whiteboard_only) records only the whiteboard, V(mixed_stream) adds one video that shows
        all streams, V(audio_files) adds an mp3 for each stream.
    type: str
    choices:
      - whiteboard_only
      - mixed_stream
      - audio_files
  group_id:
    description:
      - The IM group of the board, if it is not the room's number.
    type: str
  concat:
    description:
      - Joins the files of each stream into one, without the pauses.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether the files are joined.
        type: bool
        required: true
      image:
        description:
          - The URL of a picture that is shown while a stream is missing.
        type: str
  whiteboard:
    description:
      - The board's video.
    type: dict
    suboptions:
      width:
        description:
          - Width in pixels, 1280 by default.
          - At least 2.
        type: int
      height:
        description:
          - Height in pixels, 960 by default.
          - At least 2.
        type: int
      init_param:
        description:
          - The board's own settings, as JSON text.
        type: str
  mix_stream:
    description:
      - One video of all streams, in separate files. Tencent enables it on request.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether this video is made.
        type: bool
        required: true
      disable_audio:
        description:
          - Whether this video has no sound.
        type: bool
      model_id:
        description:
          - A predefined layout; required unless custom has one.
        type: int
        choices:
          - 1
          - 2
      teacher_id:
        description:
          - The user who is shown as the teacher.
        type: str
      custom:
        description:
          - Your own layout.
        type: dict
        suboptions:
          canvas:
            description:
              - The picture as a whole.
            type: dict
            required: true
            suboptions:
              layout_params:
                description:
                  - The picture's size.
                type: dict
                required: true
                suboptions:
                  width:
                    description:
                      - Width in pixels.
                      - From 2 to 3000.
                    type: int
                    required: true
                  height:
                    description:
                      - Height in pixels.
                      - From 2 to 3000.
                    type: int
                    required: true
                  x:
                    description:
                      - Distance from the left, in pixels.
                      - From 0 to 3000.
                    type: int
                  y:
                    description:
                      - Distance from the top, in pixels.
                      - From 0 to 3000.
                    type: int
                  z_order:
                    description:
                      - The position in the stack; the greatest number is on top.
                      - At least 0.
                    type: int
              background_color:
                description:
                  - 'The background colour, such as #000000.'
                type: str
          input_stream_list:
            description:
              - The streams in the picture.
            type: list
            elements: dict
            required: true
            suboptions:
              layout_params:
                description:
                  - The stream's position and size.
                type: dict
                required: true
                suboptions:
                  width:
                    description:
                      - Width in pixels.
                      - From 2 to 3000.
                    type: int
                    required: true
                  height:
                    description:
                      - Height in pixels.
                      - From 2 to 3000.
                    type: int
                    required: true
                  x:
                    description:
                      - Distance from the left, in pixels.
                      - From 0 to 3000.
                    type: int
                  y:
                    description:
                      - Distance from the top, in pixels.
                      - From 0 to 3000.
                    type: int
                  z_order:
                    description:
                      - The position in the stack; the greatest number is on top.
                      - At least 0.
                    type: int
              input_stream_id:
                description:
                  - The stream's name.
                type: str
              background_color:
                description:
                  - 'The colour of the area that the stream does not fill, such as #000000.'
                type: str
              fill_mode:
                description:
                  - 0 fills the area and cuts off the rest, 1 shows the whole stream with a border.
                type: int
                choices:
                  - 0
                  - 1
  extras:
    description:
      - Further features; MIX_STREAM is added if mix_stream is enabled.
    type: list
    elements: str
    choices:
      - MIX_STREAM
  audio_file_needed:
    description:
      - Whether each stream also gets an mp3.
    type: bool
  record_control:
    description:
      - Selects the streams that are recorded.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether this selection applies.
        type: bool
        required: true
      disable_record:
        description:
          - Record only the streams listed below.
        type: bool
      disable_audio:
        description:
          - Record only the sound of the streams listed below.
        type: bool
      pull_small_video:
        description:
          - Record the small video of each stream.
        type: bool
      stream_controls:
        description:
          - Settings of single streams.
        type: list
        elements: dict
        suboptions:
          stream_id:
            description:
              - 'The beginning of a stream''s name: tic_record_user for the board, tic_substream for
                shared screens, otherwise a user''s name.'
            type: str
            required: true
          disable_record:
            description:
              - Do not record it.
            type: bool
          disable_audio:
            description:
              - Record it without sound.
            type: bool
          pull_small_video:
            description:
              - Record its small video.
            type: bool
  record_mode:
    description:
      - VIDEO_GENERATION_MODE makes the videos afterwards; Tencent enables it on request.
    type: str
    choices:
      - REALTIME_MODE
      - VIDEO_GENERATION_MODE
  chat_group_id:
    description:
      - The chat's IM group (VIDEO_GENERATION_MODE).
    type: str
  auto_stop_timeout:
    description:
      - Seconds without sound, video or board after which the recording ends; 300 by default.
      - From 300 to 86400.
    type: int
  extra_data:
    description:
      - For Tencent's own use.
    type: str
  trtc_room_id:
    description:
      - The TRTC room, if it is not the room's number.
      - From 1 to 4294967295.
    type: int
  trtc_room_id_str:
    description:
      - The TRTC room's name; replaces trtc_room_id.
    type: str
"""
