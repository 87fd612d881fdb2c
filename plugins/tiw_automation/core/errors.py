# SPDX-License-Identifier: Apache-2.0
"""One tree for everything that can go wrong; :class:`TiwError` is its root.

The API's codes are listed on each action's page and under "Common Error Codes"
(https://cloud.tencent.com/document/api/1137/40069). A code that Tencent adds later
falls back to the class of its prefix, so no answer is ever without a class.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

from tiw_automation.core.formatting import escaped


class TiwError(Exception):
    """The root of every error that this package raises.

    :param message: what happened, for a person; never holds a secret or a URL's query string.
    :param code: Tencent's error code where the API gave one, else a name of ours.
    :param request_id: the ``RequestId`` that Tencent's support asks for, if there is one.
    :param action: the API action that was called, if one was.
    :param retryable: whether the same call may succeed later; the class decides by default.
    :param hint: what to do about it.
    """

    default_code: ClassVar[str] = "TiwError"
    default_retryable: ClassVar[bool] = False
    default_hint: ClassVar[str | None] = None
    retry_after_s: float | None = None
    """How long the server asked to wait (``Retry-After``), seconds, where it did."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        request_id: str | None = None,
        action: str | None = None,
        retryable: bool | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = self.default_code if code is None else code
        self.request_id = request_id
        self.action = action
        self.retryable = self.default_retryable if retryable is None else retryable
        self.hint = self.default_hint if hint is None else hint

    @property
    def concerns_account(self) -> bool:
        """Whether every task of the account and application would get the same answer.

        True for keys, permission, the service, region, product, version and settings; False for
        all else, unknown codes among them: such an error is that of one task or of one moment.
        """
        return isinstance(self, _OF_ACCOUNT) or self.code in _CODES_OF_ACCOUNT

    def __str__(self) -> str:
        where = [self.code] if self.code not in self.message else []
        if self.request_id:
            where.append(f"RequestId {self.request_id}")
        parts = [self.message.rstrip() + (f" ({', '.join(where)})" if where else "")]
        if self.hint:
            parts.append(self.hint)
        return " ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle as cls(*args), which loses keyword-only arguments. They are state, not
        # arguments of _rebuild: an error holds an outcome that may hold the error itself.
        return (_rebuild, (type(self), self.message), self.__dict__.copy())

    def to_dict(self) -> dict[str, Any]:
        """Return the error as JSON-native data, the same in Ansible, XCom and events."""
        return {
            "code": self.code,
            "message": self.message,
            "request_id": self.request_id,
            "action": self.action,
            "retryable": self.retryable,
            "hint": self.hint,
        }


def _rebuild(cls: type[TiwError], message: str) -> TiwError:
    error = cls.__new__(cls, message)
    error.args = (message,)
    return error


class ConfigurationError(TiwError, ValueError):
    """A setting or an argument is invalid; nothing was sent."""

    default_code = "ConfigurationError"


class CredentialsError(ConfigurationError):
    """No usable pair of SecretId and SecretKey was found; nothing was sent."""

    default_code = "CredentialsError"


class TransportError(TiwError):
    """The request did not reach the API, or its answer did not come back whole."""

    default_code = "TransportError"
    default_retryable = True


class DeadlineExceeded(TransportError):
    """The call's hard deadline passed before the answer was complete."""

    default_code = "DeadlineExceeded"


class BadAnswer(TransportError):
    """Something answered, but not in the API's form (a proxy's page, a cut body)."""

    default_code = "BadAnswer"


class ApiError(TiwError):
    """The API refused the request or could not carry it out."""

    default_code = "ApiError"
    names_task: bool = False
    """Whether the answer held a TaskId beside the error."""


class AuthFailure(ApiError):
    """The keys or the signature were refused."""

    default_code = "AuthFailure"
    default_hint = (
        "Check SecretId, SecretKey and token, and that they belong to this site's account."
    )


class SignatureExpired(AuthFailure):
    """The request's timestamp is more than five minutes from the server's clock."""

    default_code = "AuthFailure.SignatureExpire"
    default_hint = "This machine's clock is off by more than five minutes; set it (NTP)."
    server_time: float | None = None
    """The server's clock at its answer, UNIX seconds, where the answer said it."""


class PermissionDenied(ApiError):
    """The account may not do this, or the SdkAppId is not its own."""

    default_code = "UnauthorizedOperation"
    default_hint = (
        "Grant the CAM action (tiw:<Action>) to this key, and check that the SdkAppId belongs "
        "to the same account and site."
    )


class RequestLimitExceeded(ApiError):
    """Too many requests in this second; the quota is counted for the whole account."""

    default_code = "RequestLimitExceeded"
    default_retryable = True
    default_hint = "Something else uses this account's quota too; lower requests_per_second."


class LimitExceeded(ApiError):
    """An account limit (such as concurrent recordings) is reached; a second later it still is."""

    default_code = "LimitExceeded"


class TaskNotFound(ApiError):
    """No recording with this task id exists in this application."""

    default_code = "InvalidParameter.TaskNotFound"
    default_hint = "Check the task id, the SdkAppId and the site; each belongs to the others."


class InvalidParameter(ApiError):
    """A parameter is missing, unknown, of the wrong type or out of its range."""

    default_code = "InvalidParameter"


class ResourceInUse(ApiError):
    """The recording user is recording another room already."""

    default_code = "ResourceInUse"


class ServiceUnavailable(ApiError):
    """TIW is not enabled for this account, has expired, or is not served here."""

    default_code = "ResourceUnavailable"
    default_hint = "Check in the console that TIW is enabled, paid and not expired."


class ServerError(ApiError):
    """Tencent's side failed; the same call may succeed later."""

    default_code = "InternalError"
    default_retryable = True
    default_hint = "Try again later; if it stays, give Tencent's support the RequestId."


class UnsupportedOperation(ApiError):
    """The recording is in a state that does not allow this action."""

    default_code = "UnsupportedOperation"


class FailedOperation(ApiError):
    """The action was understood and failed."""

    default_code = "FailedOperation"


class RecordingFailure(FailedOperation):
    """``FailedOperation.Record``: the recording itself failed, for good.

    Tencent's message has the form ``code: 40004, msg: <time>, <reason>``.
    """

    default_code = "FailedOperation.Record"

    @property
    def inner_code(self) -> int | None:
        """The recorder's own code (40004 is "im login failed"), if the message holds one."""
        match = _INNER.search(self.message)
        return int(match["code"]) if match else None

    @property
    def inner_message(self) -> str:
        """The recorder's own words, or the whole message when it has another form."""
        match = _INNER.search(self.message)
        return (match["text"] if match else self.message).strip()


_INNER = re.compile(r"code:\s*(?P<code>[0-9]{1,9}),\s*msg:\s*(?P<text>.*)", re.DOTALL)


class StartUncertain(TiwError):
    """A recording may run, or runs, whose TaskId is not known.

    ``__cause__`` is why.

    :param record_user_id: its recording user, also one that was made up. While its recording runs,
        a start with the same one starts no second recording.
    """

    default_code = "StartUncertain"

    def __init__(self, message: str, *, record_user_id: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.record_user_id = record_user_id


class ChangeUncertain(TransportError):
    """A pause, resume or stop may have been carried out: no usable answer came to it.

    :param task_id: the recording; the same call may be made again.
    """

    default_code = "ChangeUncertain"
    default_hint = "Ask for the recording's state, or make the same call again: it is safe."

    def __init__(self, message: str, *, task_id: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.task_id = task_id


# Longest prefix wins, so a code and the family it belongs to can differ.
_BY_CODE: dict[str, type[ApiError]] = {
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
    # Bare, it is a passing fault of the service; its children below are the account's state.
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

# What concerns the account as a whole; an error that is not here concerns one task.
_OF_ACCOUNT = (ConfigurationError, AuthFailure, PermissionDenied, ServiceUnavailable)
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
        "Something on the way has changed the request's headers: check proxy and endpoint."
    ),
    "AuthFailure.InvalidSecretId": (
        "This is no SecretId of an API key: create one in the console under CAM, API keys."
    ),
    "AuthFailure.MFAFailure": (
        "This account asks for a second factor: use a key that is exempt, or a role."
    ),
    "AuthFailure.SecretIdNotFound": (
        "The SecretId is unknown here. Keys of Tencent Cloud China and International are "
        "separate: check the site."
    ),
    "AuthFailure.SignatureFailure": (
        "The SecretKey does not belong to the SecretId; check for a cut or a blank."
    ),
    "AuthFailure.TokenFailure": (
        "The temporary token is wrong or has expired; get new temporary keys."
    ),
    "DryRunOperation": "The request was only tried: leave DryRun out.",
    "FailedOperation": "Look at the message, and at the task in the TIW console.",
    "FailedOperation.Record": (
        "The recording itself failed, and asking again changes nothing: start another one."
    ),
    "InvalidAction": (
        "The endpoint does not know this action: the international site has fewer than the "
        "Chinese one, among them no DescribeRunningTasks."
    ),
    "InvalidParameter": "Check the parameters against the action's page.",
    "InvalidParameter.CallbackAddressFormatError": (
        "The callback has to be a full http:// or https:// URL that Tencent can reach."
    ),
    "InvalidParameter.InvalidExtra": "The only extra is MIX_STREAM.",
    "InvalidParameter.RecordParameter": (
        "Check the recording's options: room, recording user and its signature above all."
    ),
    "InvalidParameter.SdkAppIdNotFound": "Check sdk_app_id; it is shown in the TIW console.",
    "InvalidParameterValue": "Check the value against the action's page.",
    "InvalidRequest": "The request came in a form that the API does not take.",
    "IpInBlacklist": "This machine's address is on the key's list of refused ones (CAM).",
    "IpNotInWhitelist": "This machine's address is not on the key's list of allowed ones (CAM).",
    "LimitExceeded": "Wait until something has ended, or ask Tencent for a higher limit.",
    "LimitExceeded.TaskConcurrency": (
        "An application may have 100 recordings at a time, and a room one: stop one first."
    ),
    "MissingParameter": "Give the parameter that the message names.",
    "NoSuchProduct": _CHECK_THE_ENDPOINT,
    "NoSuchVersion": _CHECK_THE_ENDPOINT,
    "RequestSizeLimitExceeded": "The request is too large: shorten its parameters.",
    "ResourceInUse": "Something uses it already: look in the TIW console.",
    "ResourceInUse.RecordUserId": (
        "This recording user is recording already: use that recording, or another record_user_id."
    ),
    "ResourceInsufficient": "Tencent has no capacity for it now: try later.",
    "ResourceNotFound": "What was asked for does not exist: check its id and the SdkAppId.",
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
# What the recorder itself says in FailedOperation.Record.
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
    """Return the error that stands for an API error code, with what is known to help.

    What the API wrote is escaped here, where it enters.
    """
    code = escaped(code.strip(), _LONGEST_CODE)
    cls = _by_prefix(_BY_CODE, code) or ApiError
    error = cls(
        escaped(message.strip()) or f"The API answered {code or 'an error without a code'}.",
        code=code or None,
        request_id=None if request_id is None else escaped(request_id, _LONGEST_CODE),
        action=action,
    )
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
