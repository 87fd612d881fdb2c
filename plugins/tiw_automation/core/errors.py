# SPDX-License-Identifier: Apache-2.0
"""The tree of all errors that this package raises; :class:`TiwError` is its root.

Which class stands for which code of the API: :mod:`~tiw_automation.core.api.error_codes`.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar


class TiwError(Exception):
    """The root of every error that this package raises.

    :param message: what happened, for a person; never holds a secret or a URL's query string.
    :param code: Tencent's error code where the API gave one, else a name of ours; by default the
        class's.
    :param request_id: the ``RequestId`` that Tencent's support asks for, if there is one.
    :param action: the API action that was called, if any.
    :param retryable: whether the same call may succeed later; by default the class decides.
    :param hint: what to do about it; by default the class's.
    """

    default_code: ClassVar[str] = "TiwError"
    default_retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""
    concerns_account: bool = False
    """Whether every task of the account and application would get the same answer.

    True for keys, permission, the service, region, product, version and settings. False for all
    else, unknown codes among them: such an error concerns one task or one moment.
    """
    retry_after_s: float | None = None
    """How long the server asked to wait (``Retry-After``), in seconds, if it did."""

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
        self.code: str = self.default_code if code is None else code
        self.request_id = request_id
        self.action = action
        self.retryable: bool = self.default_retryable if retryable is None else retryable
        self.hint: str | None = (self.default_hint or None) if hint is None else hint

    def __str__(self) -> str:
        where = [self.code] if self.code not in self.message else []
        if self.request_id:
            where.append(f"RequestId {self.request_id}")
        parts = [self.message.rstrip() + (f" ({', '.join(where)})" if where else "")]
        if self.hint:
            if not self.message.rstrip().endswith((".", "!", "?")):
                parts[0] += "."
            parts.append(self.hint)
        return " ".join(parts)

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions pickle as cls(*args), which loses keyword-only arguments. They are passed as
        # state, not as arguments of _rebuild: an error may hold an outcome that holds the error.
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
    concerns_account = True


class CredentialsError(ConfigurationError):
    """No usable pair of SecretId and SecretKey was found; nothing was sent."""

    default_code = "CredentialsError"


class TransportError(TiwError):
    """The request did not reach the API, or its answer did not arrive complete."""

    default_code = "TransportError"
    default_retryable = True


class DeadlineExceeded(TransportError):
    """The call's deadline passed before the answer was complete."""

    default_code = "DeadlineExceeded"


class BadAnswer(TransportError):
    """An answer arrived that is not in the API's form (a proxy's page, a truncated body)."""

    default_code = "BadAnswer"


class ApiError(TiwError):
    """The API refused the request or could not carry it out."""

    default_code = "ApiError"
    names_task: bool = False
    """Whether the answer contained a TaskId as well as the error."""


class AuthFailure(ApiError):
    """The keys or the signature were refused."""

    default_code = "AuthFailure"
    concerns_account = True
    default_hint = (
        "Check SecretId, SecretKey and token, and that they belong to this site's account."
    )


class SignatureExpired(AuthFailure):
    """The request's timestamp differs from the server's clock by more than five minutes."""

    default_code = "AuthFailure.SignatureExpire"
    default_hint = "This machine's clock is off by more than five minutes; set it (NTP)."
    server_time: float | None = None
    """The server's clock when it answered, in UNIX seconds, if the answer showed it."""


class PermissionDenied(ApiError):
    """The account may not do this, or the SdkAppId belongs to another account."""

    default_code = "UnauthorizedOperation"
    concerns_account = True
    default_hint = (
        "Grant the CAM action (tiw:<Action>) to this key, and check that the SdkAppId belongs "
        "to the same account and site."
    )


class RequestLimitExceeded(ApiError):
    """Too many requests in this second; Tencent counts them for the whole account."""

    default_code = "RequestLimitExceeded"
    default_retryable = True
    default_hint = "Something else also uses this account's quota; lower requests_per_second."


class LimitExceeded(ApiError):
    """A limit of the account, such as concurrent recordings, is reached and stays reached."""

    default_code = "LimitExceeded"


class TaskNotFound(ApiError):
    """No task with this task id exists in this application."""

    default_code = "InvalidParameter.TaskNotFound"
    default_hint = "Check the task id, the SdkAppId and the site; each belongs to the others."


class InvalidParameter(ApiError):
    """A parameter is missing, unknown, of the wrong type or out of its range."""

    default_code = "InvalidParameter"


class ResourceInUse(ApiError):
    """The recording user already records another room."""

    default_code = "ResourceInUse"


class ServiceUnavailable(ApiError):
    """TIW is not enabled for this account, has expired, or is not served here."""

    default_code = "ResourceUnavailable"
    concerns_account = True
    default_hint = "Check in the console that TIW is enabled, paid and not expired."


class ServerError(ApiError):
    """Tencent's service failed; the same call may succeed later."""

    default_code = "InternalError"
    default_retryable = True
    default_hint = "Try again later; if it stays, give Tencent's support the RequestId."


class UnsupportedOperation(ApiError):
    """The recording is in a state that does not allow this action."""

    default_code = "UnsupportedOperation"


class FailedOperation(ApiError):
    """The action was understood and failed."""

    default_code = "FailedOperation"


class TaskFailure(FailedOperation):
    """The task itself failed, permanently: asking again brings the same answer."""

    default_code = "TaskFailure"
    default_hint = "Mend what the message names, and create another task."


class RecordingFailure(TaskFailure):
    """``FailedOperation.Record``: the recording itself failed, permanently.

    Tencent's message has the form ``code: 40004, msg: <time>, <reason>``.
    """

    default_code = "FailedOperation.Record"
    default_hint = ""

    @property
    def inner_code(self) -> int | None:
        """The recorder's own code (40004 is "im login failed"), if the message holds one."""
        match = _INNER.search(self.message)
        return int(match["code"]) if match else None

    @property
    def inner_message(self) -> str:
        """The recorder's own message, or the whole message when it has another form."""
        match = _INNER.search(self.message)
        return (match["text"] if match else self.message).strip()


_INNER = re.compile(r"code:\s*(?P<code>[0-9]{1,9}),\s*msg:\s*(?P<text>.*)", re.DOTALL)


class StartUncertain(TiwError):
    """A task may be running, or is running, whose TaskId is not known.

    ``__cause__`` is the reason.

    :param record_user_id: the user of a recording or a push, given or generated; empty for other
        kinds. While its task runs, a start with the same user does not start a second one.
    """

    default_code = "StartUncertain"

    def __init__(self, message: str, *, record_user_id: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.record_user_id = record_user_id


class ChangeUncertain(TransportError):
    """A pause, resume or stop may have been carried out: no usable answer arrived.

    :param task_id: the task's; the same call may be repeated.
    """

    default_code = "ChangeUncertain"
    default_hint = "Ask for the recording's state, or repeat the same call: it is safe."

    def __init__(self, message: str, *, task_id: str, **details: Any) -> None:
        super().__init__(message, **details)
        self.task_id = task_id
