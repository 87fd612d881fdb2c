# SPDX-License-Identifier: Apache-2.0
"""The parameters of each request: one table for each action."""

from __future__ import annotations

from collections.abc import Mapping

from .families import CALLBACKS, CN_ONLY_ACTIONS, CN_ONLY_PARAMETERS, FAMILIES, callback_actions
from .parameters import Field, Schema

_APP_ID = Field(int, required=True)
_TASK = {"SdkAppId": _APP_ID, "TaskId": Field(str, required=True)}
_MAX_ROOM_ID = 2**32 - 1
_COLOUR = Field(str, pattern="#[0-9A-Fa-f]{6}")
_LAYOUT_PARAMS = {
    "Width": Field(int, required=True, least=2, most=3000),
    "Height": Field(int, required=True, least=2, most=3000),
    "X": Field(int, least=0, most=3000),
    "Y": Field(int, least=0, most=3000),
    "ZOrder": Field(int),
}
_CUSTOM_LAYOUT = {
    "Canvas": Field(
        {"LayoutParams": Field(_LAYOUT_PARAMS, required=True), "BackgroundColor": _COLOUR},
        required=True,
    ),
    "InputStreamList": Field(
        {
            "LayoutParams": Field(_LAYOUT_PARAMS, required=True),
            "InputStreamId": Field(str),
            "BackgroundColor": _COLOUR,
            "FillMode": Field(int, choices=(0, 1)),
        },
        required=True,
        is_list=True,
    ),
}
_STREAM_SWITCHES = {
    "DisableRecord": Field(bool),
    "DisableAudio": Field(bool),
    "PullSmallVideo": Field(bool),
}
_WHITEBOARD = Field(
    {"Width": Field(int, least=2), "Height": Field(int, least=2), "InitParam": Field(str)}
)
_CONCAT = Field({"Enabled": Field(bool, required=True), "Image": Field(str)})
_MIX_STREAM = Field(
    {
        "Enabled": Field(bool, required=True),
        "DisableAudio": Field(bool),
        "ModelId": Field(int, choices=(1, 2)),
        "TeacherId": Field(str),
        "Custom": Field(_CUSTOM_LAYOUT),
    }
)
_RECORD_CONTROL = Field(
    {
        "Enabled": Field(bool, required=True),
        **_STREAM_SWITCHES,
        "StreamControls": Field(
            {"StreamId": Field(str, required=True), **_STREAM_SWITCHES}, is_list=True
        ),
    }
)
_START = {
    "SdkAppId": _APP_ID,
    "RoomId": Field(int, required=True, least=1, most=_MAX_ROOM_ID),
    "RecordUserId": Field(str, required=True, least=1, most=60),
    "RecordUserSig": Field(str, required=True, least=1),
    "GroupId": Field(str),
    "Concat": _CONCAT,
    "Whiteboard": _WHITEBOARD,
    "MixStream": _MIX_STREAM,
    "Extras": Field(
        str, is_list=True, choices=("MIX_STREAM",), code="InvalidParameter.InvalidExtra"
    ),
    "AudioFileNeeded": Field(bool),
    "RecordControl": _RECORD_CONTROL,
    "RecordMode": Field(str, choices=("REALTIME_MODE", "VIDEO_GENERATION_MODE")),
    "ChatGroupId": Field(str),
    "AutoStopTimeout": Field(int, least=300, most=86400),
    "ExtraData": Field(str),
    "TRTCRoomId": Field(int, least=1, most=_MAX_ROOM_ID),
    "TRTCRoomIdStr": Field(str),
}
_AUTH = Field(
    {
        "SdkAppId": _APP_ID,
        "UserId": Field(str, required=True),
        "UserSig": Field(str, required=True),
    }
)
_USER_DEFINED_ID = Field(str, pattern="[A-Za-z0-9_-]{1,64}")
_PUSH = {
    "SdkAppId": _APP_ID,
    "RoomId": Field(int, required=True, least=1, most=_MAX_ROOM_ID),
    "PushUserId": Field(str, required=True, least=1, most=60),
    "PushUserSig": Field(str, required=True, least=1),
    "Whiteboard": _WHITEBOARD,
    "AutoStopTimeout": Field(int, least=300, most=259200),
    "AutoManageBackup": Field(bool),
    "Backup": Field(
        {
            "PushUserId": Field(str, required=True, least=1, most=60),
            "PushUserSig": Field(str, required=True, least=1),
        }
    ),
    "PrivateMapKey": Field(str),
    "VideoFPS": Field(int, least=0, most=30),
    "VideoBitrate": Field(int, least=0, most=2000),
    "AutoRecord": Field(bool),
    "UserDefinedRecordId": _USER_DEFINED_ID,
    "AutoPublish": Field(bool),
    "UserDefinedStreamId": _USER_DEFINED_ID,
    "ExtraData": Field(str),
    "TRTCRoomId": Field(int, least=1, most=_MAX_ROOM_ID),
    "TRTCRoomIdStr": Field(str),
    "IMAuthParam": _AUTH,
    "TRTCAuthParam": _AUTH,
    "TRTCEnterRoomMode": Field(str, choices=("TRTCAppSceneVideoCall", "TRTCAppSceneLIVE")),
    "GroupId": Field(str),
}


def _document(code: str) -> dict[str, Field]:
    """Return the parameters of both actions that read a document.

    :param code: the error for a value that is out of range
    """
    return {
        "SdkAppId": _APP_ID,
        "Url": Field(str, required=True, least=1, code=code),
        "AutoHandleUnsupportedElement": Field(bool),
        "AutoHandleUnsupportedElementTypes": Field(int, is_list=True, least=0, most=13, code=code),
    }


_TRANSCODE = {
    **_document("InvalidParameter.TranscodeParameter"),
    "IsStaticPPT": Field(bool),
    "MinResolution": Field(str),
    "MinScaleResolution": Field(str),
    "ThumbnailResolution": Field(str),
    "CompressFileType": Field(str),
    "Priority": Field(str),
    "ExcelParam": Field({"PaperSize": Field(int), "PaperDirection": Field(int)}),
    "ExtraData": Field(str),
}
_BAD_SNAPSHOT = "InvalidParameter"
_PIXELS = Field(int, least=0, most=2560, code=_BAD_SNAPSHOT)
_SNAPSHOT = {
    "SdkAppId": _APP_ID,
    "RoomId": Field(int, required=True, least=1, code=_BAD_SNAPSHOT),
    "Whiteboard": Field(
        {"Width": _PIXELS, "Height": _PIXELS, "InitParams": Field(str)}, required=True
    ),
    "CallbackURL": Field(str),
    "COS": Field(
        {
            "Uin": Field(int, required=True, least=0, code=_BAD_SNAPSHOT),
            "Region": Field(str, required=True),
            "Bucket": Field(str, required=True),
            "TargetDir": Field(str),
            "Domain": Field(str),
        }
    ),
    "SnapshotMode": Field(str, choices=("AllMarks", "LatestMarksOnly"), code=_BAD_SNAPSHOT),
}
_VIDEO_GENERATION = {
    "SdkAppId": _APP_ID,
    "OnlineRecordTaskId": Field(str, required=True),
    "Whiteboard": _WHITEBOARD,
    "Concat": _CONCAT,
    "MixStream": _MIX_STREAM,
    "RecordControl": _RECORD_CONTROL,
    "ExtraData": Field(str),
}
_CALLBACK = Field(
    str,
    required=True,
    pattern=r"|https?://[^\s/?#@]+([/?#]\S*)?",
    code="InvalidParameter.CallbackAddressFormatError",
)
_CALLBACK_KEY = Field(str, required=True, most=64, code="InvalidParameter")
_VALUE = "InvalidParameterValue"
_ROLE_ARN = r"qcs::cam::uin/[0-9]+:role(Name)?/.+"
_ROLE = {
    "RoleArn": Field(str, required=True, pattern=_ROLE_ARN, code="InvalidParameter.ParamError"),
    "RoleSessionName": Field(
        str, required=True, pattern=r"[\w+=,.@-]{2,128}", code="InvalidParameter.ParamError"
    ),
    "DurationSeconds": Field(int, least=1, most=43200, code="InvalidParameter.OverTimeError"),
}

REQUESTS: Mapping[str, Schema] = {
    "StartOnlineRecord": _START,
    "PauseOnlineRecord": _TASK,
    "ResumeOnlineRecord": _TASK,
    "StopOnlineRecord": _TASK,
    "DescribeOnlineRecord": _TASK,
    "StartWhiteboardPush": _PUSH,
    "StopWhiteboardPush": _TASK,
    "CreateTranscode": _TRANSCODE,
    "DescribeTranscodeByUrl": {"SdkAppId": _APP_ID, "Url": Field(str, required=True, least=1)},
    "CreatePPTCheckTask": _document("InvalidParameter.PreprocessParameter"),
    "CreateSnapshotTask": _SNAPSHOT,
    "CreateVideoGenerationTask": _VIDEO_GENERATION,
    **{
        family.describe: {"SdkAppId": _APP_ID, family.id_key: Field(str, required=True)}
        for family in FAMILIES.values()
    },
    **{
        action: {"SdkAppId": _APP_ID, **parameters}
        for family in CALLBACKS
        for action, parameters in zip(
            callback_actions(family),
            ({}, {"Callback": _CALLBACK}, {"CallbackKey": _CALLBACK_KEY}),
            strict=True,
        )
    },
    "DescribeRunningTasks": {
        "SdkAppID": _APP_ID,
        "TaskType": Field(
            str,
            required=True,
            choices=("TranscodeH5", "TranscodeJPG", "WhiteboardPush", "OnlineRecord"),
            code=_VALUE,
        ),
        "Offset": Field(int, least=0, code=_VALUE),
        "Limit": Field(int, least=1, most=500, code=_VALUE),
    },
    "AssumeRole": {
        **_ROLE,
        "Policy": Field(str),
        "ExternalId": Field(str),
        "Tags": Field({"Key": Field(str, required=True), "Value": Field(str)}, is_list=True),
        "SourceIdentity": Field(str),
        "SerialNumber": Field(str),
        "TokenCode": Field(str),
    },
    "AssumeRoleWithWebIdentity": {
        **_ROLE,
        "ProviderId": Field(str, required=True, least=1),
        "WebIdentityToken": Field(str, required=True, least=1),
    },
}
"""The parameters of every action that is simulated."""

INTERNATIONAL: Mapping[str, Schema] = {
    action: {
        name: field
        for name, field in schema.items()
        if name not in CN_ONLY_PARAMETERS.get(action, ())
    }
    for action, schema in REQUESTS.items()
    if action not in CN_ONLY_ACTIONS
}
"""The same on the international site, which has fewer of them."""
