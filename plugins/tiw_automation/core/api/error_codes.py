# SPDX-License-Identifier: Apache-2.0
"""The error codes of the API: which class stands for a code, and what to do about it.

The codes are listed on each action's page and under "Common Error Codes"
(https://cloud.tencent.com/document/api/1137/40069). A code that Tencent adds later gets the class
of its prefix, so every answer has a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from tiw_automation.core.errors import (
    ApiError,
    AuthFailure,
    FailedOperation,
    InvalidParameter,
    LimitExceeded,
    PermissionDenied,
    RecordingFailure,
    RequestLimitExceeded,
    ResourceInUse,
    ServerError,
    ServiceUnavailable,
    SignatureExpired,
    TaskNotFound,
    UnsupportedOperation,
)
from tiw_automation.core.formatting import escaped

# The longest prefix counts, so that a code may have another class than its family.
CLASS_OF_CODE: dict[str, type[ApiError]] = {
    "ActionOffline": InvalidParameter,
    "AuthFailure": AuthFailure,
    "AuthFailure.SignatureExpire": SignatureExpired,
    "AuthFailure.UnauthorizedOperation": PermissionDenied,
    "DryRunOperation": UnsupportedOperation,
    "FailedOperation": FailedOperation,
    "FailedOperation.Record": RecordingFailure,
    "InternalError": ServerError,
    "InvalidAction": InvalidParameter,
    "InvalidParameter": InvalidParameter,
    "InvalidParameter.TaskNotFound": TaskNotFound,
    "InvalidParameterValue": InvalidParameter,
    "InvalidRequest": InvalidParameter,
    "IpInBlacklist": PermissionDenied,
    "IpNotInWhitelist": PermissionDenied,
    "LimitExceeded": LimitExceeded,
    "MissingParameter": InvalidParameter,
    "NoSuchProduct": InvalidParameter,
    "NoSuchVersion": InvalidParameter,
    "RequestLimitExceeded": RequestLimitExceeded,
    "RequestSizeLimitExceeded": InvalidParameter,
    "ResourceInUse": ResourceInUse,
    "ResourceInsufficient": LimitExceeded,
    "ResourceNotFound": InvalidParameter,
    # Alone, it is a temporary fault of the service; the codes below it are the account's state.
    "ResourceUnavailable": ServerError,
    "ResourceUnavailable.InterfaceUnAuthorized": PermissionDenied,
    "ResourceUnavailable.NotRegistered": ServiceUnavailable,
    "ResourceUnavailable.ServiceExpired": ServiceUnavailable,
    "ResponseSizeLimitExceeded": LimitExceeded,
    "ServiceUnavailable": ServerError,
    "UnauthorizedOperation": PermissionDenied,
    "UnknownParameter": InvalidParameter,
    "UnsupportedOperation": UnsupportedOperation,
    "UnsupportedProtocol": InvalidParameter,
    "UnsupportedRegion": InvalidParameter,
}

# Codes of the account, although their class may concern one task.
_CODES_OF_ACCOUNT = frozenset(
    {
        "ActionOffline",
        "InvalidAction",
        "InvalidParameter.SdkAppIdNotFound",
        "NoSuchProduct",
        "NoSuchVersion",
        "UnsupportedProtocol",
        "UnsupportedRegion",
    }
)

_CHECK_THE_ENDPOINT = "The endpoint does not serve this action of TIW: check endpoint and site."
_HINTS: dict[str, str] = {
    "ActionOffline": "Tencent has withdrawn this action.",
    "AuthFailure.InvalidAuthorization": (
        "Something on the way changed the request's headers: check proxy and endpoint."
    ),
    "AuthFailure.InvalidSecretId": (
        "This is not the SecretId of an API key: create one in the console under CAM, API keys."
    ),
    "AuthFailure.MFAFailure": (
        "This account requires a second factor: use a key that is exempt, or a role."
    ),
    "AuthFailure.SecretIdNotFound": (
        "The SecretId is unknown here. Keys of Tencent Cloud China and International are "
        "separate: check the site."
    ),
    "AuthFailure.SignatureFailure": (
        "The SecretKey does not belong to the SecretId; check for a missing character or a blank."
    ),
    "AuthFailure.TokenFailure": (
        "The temporary token is wrong or has expired; get new temporary keys."
    ),
    "DryRunOperation": "The request was only a trial: leave DryRun out.",
    "FailedOperation": "Look at the message, and at the task in the TIW console.",
    "FailedOperation.Record": ("The recording itself failed permanently: start another one."),
    "InvalidAction": (
        "The endpoint does not know this action: the international site has fewer than the "
        "Chinese one, among them no DescribeRunningTasks."
    ),
    "InvalidParameter": "Check the parameters against the action's page.",
    "InvalidParameter.CallbackAddressFormatError": (
        "The callback must be a full http:// or https:// URL that Tencent can reach."
    ),
    "InvalidParameter.InvalidExtra": "The only extra is MIX_STREAM.",
    "InvalidParameter.RecordParameter": (
        "Check the recording's options: room, recording user and its signature above all."
    ),
    "InvalidParameter.SdkAppIdNotFound": "Check sdk_app_id; it is shown in the TIW console.",
    "InvalidParameterValue": "Check the value against the action's page.",
    "InvalidRequest": "The request has a form that the API does not accept.",
    "IpInBlacklist": "This machine's address is on the key's list of refused addresses (CAM).",
    "IpNotInWhitelist": (
        "This machine's address is not on the key's list of allowed addresses (CAM)."
    ),
    "LimitExceeded": "Wait until something has ended, or ask Tencent for a higher limit.",
    "LimitExceeded.TaskConcurrency": (
        "An application may have 100 recordings at a time, and a room one: stop one first."
    ),
    "MissingParameter": "Give the parameter that the message names.",
    "NoSuchProduct": _CHECK_THE_ENDPOINT,
    "NoSuchVersion": _CHECK_THE_ENDPOINT,
    "RequestSizeLimitExceeded": "The request is too large: shorten its parameters.",
    "ResourceInUse": "It is already in use: look in the TIW console.",
    "ResourceInUse.RecordUserId": (
        "This recording user is already recording: use that recording, or another record_user_id."
    ),
    "ResourceInsufficient": "Tencent has no capacity for it now: try later.",
    "ResourceNotFound": "It does not exist: check its id and the SdkAppId.",
    "ResourceUnavailable.InterfaceUnAuthorized": (
        "Tencent enables this feature on request: open a ticket for this SdkAppId."
    ),
    "ResourceUnavailable.NotRegistered": "Enable TIW for this account in the console.",
    "ResourceUnavailable.ServiceExpired": "TIW has expired for this account: renew it.",
    "ResponseSizeLimitExceeded": "The answer is too large: ask for less at a time.",
    "UnknownParameter": "The API does not know this parameter: check its spelling.",
    "UnsupportedOperation": "Look at the recording's state: it does not allow this now.",
    "UnsupportedOperation.InvalidTaskStatus": (
        "Only a recording that runs can be paused, and only a paused one resumed."
    ),
    "UnsupportedOperation.TaskHasAlreadyStopped": "The recording has ended; start another one.",
    "UnsupportedProtocol": "Use an https:// endpoint.",
    "UnsupportedRegion": "TIW serves ap-guangzhou (site cn) and ap-singapore (site intl).",
}
# By the recorder's own code in the message of FailedOperation.Record.
_RECORDER_HINTS = {
    40001: "The recording user's name was refused: it begins with tic_record_user_<RoomId>_.",
    40004: (
        "The recording user could not log in: check that its signature was made for it, with "
        "the key of this SdkAppId, and had not expired."
    ),
}


_LONGEST_CODE = 128


def api_error(
    code: str, message: str, *, request_id: str | None = None, action: str | None = None
) -> ApiError:
    """Return the error that stands for a code of the API, with a hint where one is known.

    The API's texts are escaped here, where they enter.
    """
    code = escaped(code.strip(), _LONGEST_CODE)
    cls = _by_prefix(CLASS_OF_CODE, code) or ApiError
    error = cls(
        escaped(message.strip()) or f"The API answered {code or 'an error without a code'}.",
        code=code or None,
        request_id=None if request_id is None else escaped(request_id, _LONGEST_CODE),
        action=action,
    )
    error.concerns_account = cls.concerns_account or code in _CODES_OF_ACCOUNT
    if isinstance(error, RecordingFailure) and error.inner_code in _RECORDER_HINTS:
        error.hint = _RECORDER_HINTS[error.inner_code]
    else:
        error.hint = _HINTS.get(code) or cls.default_hint or _by_prefix(_HINTS, code)
    return error


_Known = TypeVar("_Known")


def _by_prefix(known: Mapping[str, _Known], code: str) -> _Known | None:
    name = code
    while name not in known and "." in name:
        name = name.rpartition(".")[0]
    return known.get(name)
