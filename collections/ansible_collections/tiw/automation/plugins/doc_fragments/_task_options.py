# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Made by tests/collection/make_task_options.py from the core's table; do not edit.
"""The kinds of tasks and their options. PRIVATE to the collection."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  task_kind:
    description:
      - The kind of task.
      - V(whiteboard_push) is a task of C(StartWhiteboardPush); its states are V(PREPARED), V(PUSHING),
        V(STOPPED).
      - V(transcode) is a task of C(CreateTranscode); its states are V(QUEUED), V(PROCESSING), V(FINISHED),
        V(EXCEPTION).
      - V(ppt_check) is a task of C(CreatePPTCheckTask); its states are V(QUEUED), V(PROCESSING),
        V(FINISHED). Only the Chinese site has it.
      - V(snapshot) is a task of C(CreateSnapshotTask); its states are V(RUNNING), V(FINISHED).
      - V(video_generation) is a task of C(CreateVideoGenerationTask); its states are V(QUEUED), V(PROCESSING),
        V(FINISHED).
    type: str
    required: true
    choices:
      - whiteboard_push
      - transcode
      - ppt_check
      - snapshot
      - video_generation
  options:
    description:
      - The options of a new task, those of O(task_kind).
      - They are checked before anything is sent. An option of another kind is an error.
    type: dict
    suboptions:
      room_id:
        description:
          - V(whiteboard_push), V(snapshot) - The room, 1 to 4294967295. Required.
        type: int
      push_user_id:
        description:
          - V(whiteboard_push) - The user that TIW enters the room as; nothing else uses it. One is
            made up by default.
        type: str
      push_user_sig:
        description:
          - V(whiteboard_push) - That user's signature. Exactly one of this and O(user_sig_key) is
            required.
        type: str
      whiteboard:
        description:
          - V(whiteboard_push), V(video_generation) - The board's video.
          - V(snapshot) - The pictures' board. Required.
        type: dict
        suboptions:
          width:
            description:
              - V(whiteboard_push), V(video_generation) - Width in pixels, 1280 by default. At least
                2.
              - V(snapshot) - Width in pixels, 1280 by default. From 0 to 2560.
            type: int
          height:
            description:
              - V(whiteboard_push), V(video_generation) - Height in pixels, 960 by default. At least
                2.
              - V(snapshot) - Height in pixels, 720 by default. From 0 to 2560.
            type: int
          init_param:
            description:
              - V(whiteboard_push), V(video_generation) - The board's own settings, as JSON text.
            type: str
          init_params:
            description:
              - V(snapshot) - The board's own settings, as JSON text.
            type: str
      auto_stop_timeout:
        description:
          - V(whiteboard_push) - Seconds without a change of the board after which the push ends;
            1800 by default. From 300 to 259200.
        type: int
      auto_manage_backup:
        description:
          - V(whiteboard_push) - Whether the backup is stopped with the push.
        type: bool
      backup:
        description:
          - V(whiteboard_push) - A second push of the same board.
        type: dict
        suboptions:
          push_user_id:
            description:
              - The second push's user. Required.
            type: str
            required: true
          push_user_sig:
            description:
              - That user's signature. Required.
            type: str
            required: true
      private_map_key:
        description:
          - V(whiteboard_push) - TRTC's key for rooms with access control.
        type: str
      video_fps:
        description:
          - V(whiteboard_push) - Pictures a second, 20 by default. From 0 to 30.
        type: int
      video_bitrate:
        description:
          - V(whiteboard_push) - Kilobits a second, 1200 by default. From 0 to 2000.
        type: int
      auto_record:
        description:
          - V(whiteboard_push) - Whether TRTC's cloud recording records the push.
        type: bool
      user_defined_record_id:
        description:
          - V(whiteboard_push) - The name of that recording.
        type: str
      auto_publish:
        description:
          - V(whiteboard_push) - Whether TRTC relays the push to the CDN.
        type: bool
      user_defined_stream_id:
        description:
          - V(whiteboard_push) - The name of that stream.
        type: str
      extra_data:
        description:
          - V(whiteboard_push), V(transcode), V(video_generation) - For Tencent's own use.
        type: str
      trtc_room_id:
        description:
          - V(whiteboard_push) - The TRTC room, if it is not the room's number. From 1 to 4294967295.
        type: int
      trtc_room_id_str:
        description:
          - V(whiteboard_push) - The TRTC room's name; replaces trtc_room_id.
        type: str
      im_auth_param:
        description:
          - V(whiteboard_push) - The IM application, if it is another one.
        type: dict
        suboptions:
          sdk_app_id:
            description:
              - The application. At least 1. Required.
            type: int
            required: true
          user_id:
            description:
              - The user. Required.
            type: str
            required: true
          user_sig:
            description:
              - The user's signature. Required.
            type: str
            required: true
      trtc_auth_param:
        description:
          - V(whiteboard_push) - The TRTC application, if it is another one.
        type: dict
        suboptions:
          sdk_app_id:
            description:
              - The application. At least 1. Required.
            type: int
            required: true
          user_id:
            description:
              - The user. Required.
            type: str
            required: true
          user_sig:
            description:
              - The user's signature. Required.
            type: str
            required: true
      trtc_enter_room_mode:
        description:
          - V(whiteboard_push) - TRTC's scene; TRTCAppSceneVideoCall by default.
        type: str
        choices:
          - TRTCAppSceneVideoCall
          - TRTCAppSceneLIVE
      group_id:
        description:
          - V(whiteboard_push) - The IM group of the board, if it is not the room's number. Only on
            the Chinese site.
        type: str
      url:
        description:
          - 'V(transcode), V(ppt_check) - The file''s http:// or https:// URL, URL-encoded: ASCII
            characters without blanks. Required.'
        type: str
      is_static_ppt:
        description:
          - V(transcode) - Whether a PowerPoint deck becomes pictures instead of HTML5; other files
            always do.
        type: bool
      min_resolution:
        description:
          - 'V(transcode) - Deprecated: use min_scale_resolution.'
        type: str
      thumbnail_resolution:
        description:
          - V(transcode) - Make thumbnails of this size, such as 960x540 (dynamic decks).
        type: str
      compress_file_type:
        description:
          - V(transcode) - Pack the result into one more file.
        type: str
        choices:
          - zip
          - tar.gz
      priority:
        description:
          - V(transcode) - Deprecated.
        type: str
        choices:
          - low
      min_scale_resolution:
        description:
          - V(transcode) - The least size of a page, such as 1280x720.
        type: str
      auto_handle_unsupported_element:
        description:
          - V(transcode), V(ppt_check) - Whether elements that TIW does not support are repaired or
            removed.
        type: bool
      auto_handle_unsupported_element_types:
        description:
          - V(transcode), V(ppt_check) - The types of elements to repair, 0 (ink) to 13; all by default.
            From 0 to 13. Only on the Chinese site.
        type: list
        elements: int
      excel_param:
        description:
          - V(transcode) - How a spreadsheet is laid out. Only on the Chinese site.
        type: dict
        suboptions:
          paper_size:
            description:
              - 0 is A4, 1 is A2, 2 is A0.
            type: int
            choices:
              - 0
              - 1
              - 2
          paper_direction:
            description:
              - 0 is upright, 1 is landscape.
            type: int
            choices:
              - 0
              - 1
      callback_url:
        description:
          - V(snapshot) - Where TIW posts that the pictures are ready.
        type: str
      cos:
        description:
          - V(snapshot) - Your bucket; by default Tencent's, which keeps them three days.
        type: dict
        suboptions:
          uin:
            description:
              - The account that owns the bucket. At least 1. Required.
            type: int
            required: true
          region:
            description:
              - The bucket's region. Required.
            type: str
            required: true
          bucket:
            description:
              - The bucket's name. Required.
            type: str
            required: true
          target_dir:
            description:
              - The folder in it.
            type: str
          domain:
            description:
              - The CDN's domain.
            type: str
      snapshot_mode:
        description:
          - V(snapshot) - All marks (AllMarks, the default), or a page's latest.
        type: str
        choices:
          - AllMarks
          - LatestMarksOnly
      online_record_task_id:
        description:
          - V(video_generation) - The task id of the recording. Required.
        type: str
      concat:
        description:
          - V(video_generation) - Joins the files of each stream into one, without the pauses.
        type: dict
        suboptions:
          enabled:
            description:
              - Whether the files are joined. Required.
            type: bool
            required: true
          image:
            description:
              - The URL of a picture that is shown while a stream is missing.
            type: str
      mix_stream:
        description:
          - V(video_generation) - One video of all streams, in separate files. Tencent enables it
            on request.
        type: dict
        suboptions:
          enabled:
            description:
              - Whether this video is made. Required.
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
                  - The picture as a whole. Required.
                type: dict
                required: true
                suboptions:
                  layout_params:
                    description:
                      - The picture's size. Required.
                    type: dict
                    required: true
                    suboptions:
                      width:
                        description:
                          - Width in pixels. From 2 to 3000. Required.
                        type: int
                        required: true
                      height:
                        description:
                          - Height in pixels. From 2 to 3000. Required.
                        type: int
                        required: true
                      x:
                        description:
                          - Distance from the left, in pixels. From 0 to 3000.
                        type: int
                      y:
                        description:
                          - Distance from the top, in pixels. From 0 to 3000.
                        type: int
                      z_order:
                        description:
                          - The position in the stack; the greatest number is on top. At least 0.
                        type: int
                  background_color:
                    description:
                      - 'The background colour, such as #000000.'
                    type: str
              input_stream_list:
                description:
                  - The streams in the picture. Required.
                type: list
                elements: dict
                required: true
                suboptions:
                  layout_params:
                    description:
                      - The stream's position and size. Required.
                    type: dict
                    required: true
                    suboptions:
                      width:
                        description:
                          - Width in pixels. From 2 to 3000. Required.
                        type: int
                        required: true
                      height:
                        description:
                          - Height in pixels. From 2 to 3000. Required.
                        type: int
                        required: true
                      x:
                        description:
                          - Distance from the left, in pixels. From 0 to 3000.
                        type: int
                      y:
                        description:
                          - Distance from the top, in pixels. From 0 to 3000.
                        type: int
                      z_order:
                        description:
                          - The position in the stack; the greatest number is on top. At least 0.
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
      record_control:
        description:
          - V(video_generation) - Selects the streams that are recorded.
        type: dict
        suboptions:
          enabled:
            description:
              - Whether this selection applies. Required.
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
                  - 'The beginning of a stream''s name: tic_record_user for the board, tic_substream
                    for shared screens, otherwise a user''s name. Required.'
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
"""

    INFO = r"""
options:
  task_kind:
    description:
      - The kind of the tasks.
      - V(online_record) is a recording. M(tiw.automation.online_record_info) returns more of it.
      - V(whiteboard_push) is a task of C(StartWhiteboardPush); its states are V(PREPARED), V(PUSHING),
        V(STOPPED).
      - V(transcode) is a task of C(CreateTranscode); its states are V(QUEUED), V(PROCESSING), V(FINISHED),
        V(EXCEPTION).
      - V(ppt_check) is a task of C(CreatePPTCheckTask); its states are V(QUEUED), V(PROCESSING),
        V(FINISHED). Only the Chinese site has it.
      - V(snapshot) is a task of C(CreateSnapshotTask); its states are V(RUNNING), V(FINISHED).
      - V(video_generation) is a task of C(CreateVideoGenerationTask); its states are V(QUEUED), V(PROCESSING),
        V(FINISHED).
    type: str
    required: true
    choices:
      - online_record
      - whiteboard_push
      - transcode
      - ppt_check
      - snapshot
      - video_generation
"""
