# SPDX-License-Identifier: Apache-2.0
"""The parameters of each request: names, types, ranges; and the errors for invalid ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiFault, missing

RECORD_PARAMETER = "InvalidParameter.RecordParameter"
_MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter.

    :param kind: ``int``, ``str``, ``bool``, or for an object its own fields
    :param is_list: whether it is a list of that kind
    :param least: of a number, or of the bytes of a text
    :param most: of a number, or of the bytes of a text
    :param choices: the values that are allowed
    :param pattern: of the whole text
    :param code: the error for a value that is out of range
    """

    kind: type | dict[str, Field]
    required: bool = False
    is_list: bool = False
    least: int | None = None
    most: int | None = None
    choices: tuple[str | int, ...] = ()
    pattern: str | None = None
    code: str = RECORD_PARAMETER


Schema = Mapping[str, Field]


def check(parameters: Mapping[str, Any], schema: Schema, *, is_flat: bool) -> dict[str, Any]:
    """Return the parameters in their types; absent and null ones are left out.

    :param is_flat: whether numbers and booleans are texts, and lists are ``{"0": ...}``
    :raises ApiFault: for the first mistake
    """
    return _object(parameters, schema, "", is_flat)


def _object(data: Mapping[str, Any], schema: Schema, path: str, is_flat: bool) -> dict[str, Any]:
    for name in data:
        if name not in schema:
            raise ApiFault("UnknownParameter", f"The parameter `{path}{name}` is not recognized.")
    checked = {}
    for name, field in schema.items():
        value = data.get(name)
        if value is not None:
            checked[name] = _value(value, field, path + name, is_flat)
        elif field.required:
            raise missing(path + name)
    return checked


def _value(value: Any, field: Field, path: str, is_flat: bool) -> Any:
    if not field.is_list:
        return _single(value, field, path, is_flat)
    if is_flat and isinstance(value, dict):
        if not all(name.isdecimal() and int(name) < _MAX_ITEMS for name in value):
            raise _mismatch(path, "a list")
        value = [value[name] for name in sorted(value, key=int)]
    if not isinstance(value, list):
        raise _mismatch(path, "a list")
    return [_single(item, field, f"{path}.{number}", is_flat) for number, item in enumerate(value)]


def _single(value: Any, field: Field, path: str, is_flat: bool) -> Any:
    if isinstance(field.kind, dict):
        if not isinstance(value, dict):
            raise _mismatch(path, "an object")
        return _object(value, field.kind, f"{path}.", is_flat)
    if is_flat:
        value = _from_text(value, field.kind)
    # In Python true is an integer, in JSON it is not.
    if type(value) is not field.kind or (type(value) is int and not -(2**63) <= value < 2**63):
        raise _mismatch(path, _NAMES[field.kind])
    _check_range(value, field, path)
    return value


def _from_text(value: Any, kind: type) -> Any:
    if not isinstance(value, str):
        return value
    if kind is int and re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value)
    if kind is bool:
        # Python's SDK sends True, Node's true.
        return {"true": True, "false": False}.get(value.lower(), value)
    return value


_NAMES = {int: "an integer", str: "a string", bool: "a boolean"}


def _mismatch(path: str, wanted: str) -> ApiFault:
    return ApiFault(
        "InvalidParameter.BodyParameterTypeUnmatched",
        f"The parameter type does not match: `{path}` must be {wanted}.",
    )


def _check_range(value: Any, field: Field, path: str) -> None:
    size = len(value.encode()) if isinstance(value, str) else value
    if field.least is not None and size < field.least:
        raise _out_of_range(field, path, f"at least {field.least}", value)
    if field.most is not None and size > field.most:
        raise _out_of_range(field, path, f"at most {field.most}", value)
    if field.choices and value not in field.choices:
        raise _out_of_range(field, path, f"one of {', '.join(map(str, field.choices))}", value)
    if field.pattern is not None and not re.fullmatch(field.pattern, value):
        raise _out_of_range(field, path, f"of the form {field.pattern}", value)


def _out_of_range(field: Field, path: str, allowed: str, value: object) -> ApiFault:
    if isinstance(value, str) and not field.choices and field.pattern is None:
        # It may be a key or a signature.
        return ApiFault(field.code, f"`{path}` must be {allowed} bytes long.")
    return ApiFault(field.code, f"`{path}` must be {allowed}, not `{value}`.")


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
_START = {
    "SdkAppId": _APP_ID,
    "RoomId": Field(int, required=True, least=1, most=_MAX_ROOM_ID),
    "RecordUserId": Field(str, required=True, least=1, most=60),
    "RecordUserSig": Field(str, required=True, least=1),
    "GroupId": Field(str),
    "Concat": Field({"Enabled": Field(bool, required=True), "Image": Field(str)}),
    "Whiteboard": Field(
        {"Width": Field(int, least=2), "Height": Field(int, least=2), "InitParam": Field(str)}
    ),
    "MixStream": Field(
        {
            "Enabled": Field(bool, required=True),
            "DisableAudio": Field(bool),
            "ModelId": Field(int, choices=(1, 2)),
            "TeacherId": Field(str),
            "Custom": Field(_CUSTOM_LAYOUT),
        }
    ),
    "Extras": Field(
        str, is_list=True, choices=("MIX_STREAM",), code="InvalidParameter.InvalidExtra"
    ),
    "AudioFileNeeded": Field(bool),
    "RecordControl": Field(
        {
            "Enabled": Field(bool, required=True),
            **_STREAM_SWITCHES,
            "StreamControls": Field(
                {"StreamId": Field(str, required=True), **_STREAM_SWITCHES}, is_list=True
            ),
        }
    ),
    "RecordMode": Field(str, choices=("REALTIME_MODE", "VIDEO_GENERATION_MODE")),
    "ChatGroupId": Field(str),
    "AutoStopTimeout": Field(int, least=300, most=86400),
    "ExtraData": Field(str),
    "TRTCRoomId": Field(int, least=1, most=_MAX_ROOM_ID),
    "TRTCRoomIdStr": Field(str),
}
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
    "DescribeOnlineRecordCallback": {"SdkAppId": _APP_ID},
    "SetOnlineRecordCallback": {
        "SdkAppId": _APP_ID,
        "Callback": Field(
            str,
            required=True,
            pattern=r"|https?://[^\s/?#@]+([/?#]\S*)?",
            code="InvalidParameter.CallbackAddressFormatError",
        ),
    },
    "SetOnlineRecordCallbackKey": {
        "SdkAppId": _APP_ID,
        "CallbackKey": Field(str, required=True, most=64, code="InvalidParameter"),
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
