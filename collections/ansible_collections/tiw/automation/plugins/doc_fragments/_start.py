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
      - A named set of options of a start. An option beside it overrides the one of the set.
      - V(whiteboard_only) records only the whiteboard, V(mixed_stream) adds one picture of all streams,
        V(audio_files) adds an mp3 for each stream.
    type: str
    choices:
      - whiteboard_only
      - mixed_stream
      - audio_files
  group_id:
    description:
      - The IM group of the board, where it is not the room's number.
    type: str
  concat:
    description:
      - Whether the files of a stream become one, with the pauses cut out.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether they do.
        type: bool
        required: true
      image:
        description:
          - The URL of a picture for where a stream is missing.
        type: str
  whiteboard:
    description:
      - The board's picture.
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
      - One picture of all streams, in files of its own. Tencent enables it on request.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether there is one.
        type: bool
        required: true
      disable_audio:
        description:
          - Whether it is without sound.
        type: bool
      model_id:
        description:
          - A ready layout; needed where there is none of your own in custom.
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
          - A layout of your own.
        type: dict
        suboptions:
          canvas:
            description:
              - The whole picture.
            type: dict
            required: true
            suboptions:
              layout_params:
                description:
                  - Its size.
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
                      - 'What lies above what: the greater number.'
                      - At least 0.
                    type: int
              background_color:
                description:
                  - 'Its background, such as #000000.'
                type: str
          input_stream_list:
            description:
              - The streams on it.
            type: list
            elements: dict
            required: true
            suboptions:
              layout_params:
                description:
                  - Where the stream is and how large.
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
                      - 'What lies above what: the greater number.'
                      - At least 0.
                    type: int
              input_stream_id:
                description:
                  - Which stream.
                type: str
              background_color:
                description:
                  - 'What is seen beside it, such as #000000.'
                type: str
              fill_mode:
                description:
                  - 0 cuts off what does not fit, 1 shows all with a border.
                type: int
                choices:
                  - 0
                  - 1
  extras:
    description:
      - Further features; MIX_STREAM is set where mix_stream is enabled.
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
      - Which streams are recorded.
    type: dict
    suboptions:
      enabled:
        description:
          - Whether this counts.
        type: bool
        required: true
      disable_record:
        description:
          - Record no stream but those below.
        type: bool
      disable_audio:
        description:
          - Record no sound but that below.
        type: bool
      pull_small_video:
        description:
          - Record the small picture of streams.
        type: bool
      stream_controls:
        description:
          - What holds for single streams.
        type: list
        elements: dict
        suboptions:
          stream_id:
            description:
              - 'The beginning of a stream''s name: tic_record_user for the board, tic_substream for
                shared screens, else a user''s name.'
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
              - Record its small picture.
            type: bool
  record_mode:
    description:
      - VIDEO_GENERATION_MODE, which Tencent enables on request, makes the videos afterwards.
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
      - Seconds without sound, picture or board after which it ends; 300 by default.
      - From 300 to 86400.
    type: int
  extra_data:
    description:
      - For Tencent's own use.
    type: str
  trtc_room_id:
    description:
      - The TRTC room, where it is not the room's number.
      - From 1 to 4294967295.
    type: int
  trtc_room_id_str:
    description:
      - The TRTC room's name; goes before the number.
    type: str
"""
