# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest

import tiw_automation.core
from tiw_automation.core import (
    ApiError,
    AuthFailure,
    ConfigurationError,
    FailedOperation,
    InvalidParameter,
    LimitExceeded,
    OnlineRecord,
    Outcome,
    PermissionDenied,
    RecordFailed,
    RecordingFailure,
    RequestLimitExceeded,
    ResourceInUse,
    ServerError,
    ServiceUnavailable,
    SignatureExpired,
    TaskNotFound,
    TiwError,
    UnsupportedOperation,
    Verdict,
    WaitTimeout,
)
from tiw_automation.core.api.error_codes import api_error


@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        ("AuthFailure", AuthFailure, False),
        ("AuthFailure.SecretIdNotFound", AuthFailure, False),
        ("AuthFailure.SignatureFailure", AuthFailure, False),
        ("AuthFailure.SignatureExpire", SignatureExpired, False),
        ("AuthFailure.UnauthorizedOperation", PermissionDenied, False),
        ("FailedOperation", FailedOperation, False),
        ("FailedOperation.Record", RecordingFailure, False),
        ("InternalError", ServerError, True),
        ("InvalidParameter.BodyParameterTypeUnmatched", InvalidParameter, False),
        ("InvalidParameter.TaskNotFound", TaskNotFound, False),
        ("LimitExceeded.TaskConcurrency", LimitExceeded, False),
        ("MissingParameter", InvalidParameter, False),
        ("RequestLimitExceeded", RequestLimitExceeded, True),
        ("RequestLimitExceeded.UinLimitExceeded", RequestLimitExceeded, True),
        ("ResourceInUse.RecordUserId", ResourceInUse, False),
        ("ResourceUnavailable", ServerError, True),
        ("ResourceUnavailable.NotRegistered", ServiceUnavailable, False),
        ("ResourceUnavailable.ServiceExpired", ServiceUnavailable, False),
        ("UnauthorizedOperation.SdkAppId", PermissionDenied, False),
        ("UnsupportedOperation.TaskHasAlreadyStopped", UnsupportedOperation, False),
        ("BrandNew.Code", ApiError, False),
    ],
)
def test_each_code_has_its_class(code: str, expected: type[ApiError], retryable: bool) -> None:
    error = api_error(code, "Something happened.", request_id="r-1", action="DescribeOnlineRecord")
    assert type(error) is expected
    assert error.retryable is retryable
    assert (error.code, error.request_id, error.action) == (code, "r-1", "DescribeOnlineRecord")
    assert code in str(error)
    assert "r-1" in str(error)


def test_a_recording_failure_has_the_recorders_message() -> None:
    error = api_error(
        "FailedOperation.Record",
        "code: 40004, msg: 2019-09-23 10:31:47, im login failed with code 6206, serSig expired\n",
    )
    assert isinstance(error, RecordingFailure)
    assert error.inner_code == 40004
    assert error.inner_message.endswith("im login failed with code 6206, serSig expired")
    plain = RecordingFailure("Something else.")
    assert plain.inner_code is None
    assert plain.inner_message == "Something else."


def test_an_error_becomes_json_native_data() -> None:
    error = api_error("InternalError", "Sorry.", request_id="r-1", action="StopOnlineRecord")
    assert error.to_dict() == {
        "code": "InternalError",
        "message": "Sorry.",
        "request_id": "r-1",
        "action": "StopOnlineRecord",
        "retryable": True,
        "hint": "Try again later; if it stays, give Tencent's support the RequestId.",
    }


def test_a_configuration_error_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^no good\. Do this\.$"):
        raise ConfigurationError("no good", code="good", hint="Do this.")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("it failed", "it failed (Code). Mend it."),
        ("It failed.", "It failed. (Code) Mend it."),
    ],
)
def test_a_full_stop_stands_before_the_hint(message: str, shown: str) -> None:
    assert str(TiwError(message, code="Code", hint="Mend it.")) == shown
    assert str(TiwError(message, code="Code")) == shown.removesuffix(" Mend it.").removesuffix(
        "." if message == "it failed" else ""
    )


def test_errors_survive_pickling_whole() -> None:
    outcome = Outcome(1, "t", Verdict.FAILED, error=RecordingFailure("code: 1, msg: x"))
    error = RecordFailed("failed", outcome=outcome, request_id="r-1", hint="h")
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(copy, RecordFailed)
    assert isinstance(copy, TiwError)
    assert str(copy) == str(error)
    assert copy.outcome.verdict is Verdict.FAILED


def tree(cls: type[TiwError] = TiwError) -> Iterator[type[TiwError]]:
    yield cls
    for below in cls.__subclasses__():
        yield from tree(below)


for module in pkgutil.walk_packages(
    tiw_automation.core.__path__, f"{tiw_automation.core.__name__}."
):
    importlib.import_module(module.name)
TREE = [cls for cls in dict.fromkeys(tree()) if cls.__module__.startswith("tiw_automation.core")]


COMMON = {*inspect.signature(TiwError).parameters, "details"}


def of_kind(cls: type[TiwError]) -> tuple[TiwError, Outcome]:
    """Return an error of a class, and an outcome; each holds the other, as in waits."""
    answer = {"Status": "RECORDING", "TaskId": "t", "Odd": {"a": ["\ud800"]}}
    record = OnlineRecord.from_response(answer, sdk_app_id=1, task_id="t")
    known = {
        "outcome": Outcome(1, "t", Verdict.PENDING, record=record),
        "record_user_id": "u",
        "failures": [("a.mp4", RecordingFailure("code: 1, msg: x"))],
        "archived": [],
        "retry_after_s": 1.0,
    }
    needed: dict[str, Any] = {
        name: known.get(name, f"a {name}")
        for name, parameter in inspect.signature(cls).parameters.items()
        if name in known or (parameter.default is parameter.empty and name not in COMMON)
    }
    error = cls("m", code="c", request_id="r", action="a", hint="h", retryable=True, **needed)
    outcome = Outcome(1, "t", Verdict.PENDING, record=record, error=error)
    if "outcome" in needed:
        error.outcome = outcome  # type: ignore[attr-defined]
    error.add_note("a note")
    return error, outcome


def same(found: TiwError | None, error: TiwError) -> bool:
    return (
        found is not None
        and type(found) is type(error)
        and str(found) == str(error)
        and found.args == error.args
        and found.to_dict() == error.to_dict()
        and vars(found).keys() == vars(error).keys()
    )


@pytest.mark.parametrize("cls", TREE)
def test_every_error_can_be_pickled_and_copied(cls: type[TiwError]) -> None:
    error, outcome = of_kind(cls)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert same(pickle.loads(pickle.dumps(error, protocol)), error)
        copied = pickle.loads(pickle.dumps(outcome, protocol))
        assert same(copied.error, error)
        assert copied.to_dict() == outcome.to_dict()
    assert same(copy.copy(error), error)
    assert same(copy.deepcopy(error), error)
    for copied in (copy.copy(outcome), copy.deepcopy(outcome)):
        assert same(copied.error, error)


@pytest.mark.parametrize("cls", TREE)
def test_an_outcome_with_any_error_becomes_a_dict(cls: type[TiwError]) -> None:
    error, outcome = of_kind(cls)
    data = asdict(outcome)
    assert same(data["error"], error)
    assert data["record"]["status"] == "RECORDING"


def test_an_error_that_was_raised_and_chained_can_be_copied() -> None:
    _, outcome = of_kind(WaitTimeout)
    failed = Outcome(1, "t", Verdict.FAILED, error=RecordingFailure("code: 1, msg: x"))
    for raising in (outcome, failed):
        with pytest.raises(TiwError) as caught:
            raising.raise_for_verdict()
        assert same(pickle.loads(pickle.dumps(caught.value)), caught.value)
        assert same(copy.deepcopy(caught.value), caught.value)


def test_the_apis_texts_are_escaped() -> None:
    odd = "x\r\n\x1b[31m\u202e\ud800"
    error = api_error(odd, odd * 10_000, request_id=odd)
    assert type(error) is ApiError
    assert str(error).isprintable()
    assert len(str(error)) < 10_000
    assert all(str(text).isprintable() for text in error.to_dict().values())
    assert api_error(" InternalError\n", "Sorry.").code == "InternalError"
    assert api_error("", "").code == "ApiError"
    digits = RecordingFailure(f"code: {'9' * 5000}, msg: x")
    assert digits.inner_code is None


# Sections "Error Codes" of the family's action pages, and the common ones
# (https://cloud.tencent.com/document/api/1137/40069).
CODES = [
    "ActionOffline",
    "AuthFailure",
    "AuthFailure.InvalidAuthorization",
    "AuthFailure.InvalidSecretId",
    "AuthFailure.MFAFailure",
    "AuthFailure.SecretIdNotFound",
    "AuthFailure.SignatureExpire",
    "AuthFailure.SignatureFailure",
    "AuthFailure.TokenFailure",
    "AuthFailure.UnauthorizedOperation",
    "DryRunOperation",
    "FailedOperation",
    "FailedOperation.FileDownloadFail",
    "FailedOperation.FileFormatError",
    "FailedOperation.FileOpenFail",
    "FailedOperation.FileUploadFail",
    "FailedOperation.Record",
    "FailedOperation.Transcode",
    "FailedOperation.TranscodeServerError",
    "FailedOperation.WhiteboardPush",
    "InternalError",
    "InvalidAction",
    "InvalidParameter",
    "InvalidParameter.BodyParameterTypeUnmatched",
    "InvalidParameter.CallbackAddressFormatError",
    "InvalidParameter.InvalidExtra",
    "InvalidParameter.RecordParameter",
    "InvalidParameter.SdkAppIdNotFound",
    "InvalidParameter.TaskNotFound",
    "InvalidParameterValue",
    "InvalidRequest",
    "IpInBlacklist",
    "IpNotInWhitelist",
    "LimitExceeded",
    "LimitExceeded.TaskConcurrency",
    "LimitExceeded.TranscodePagesLimitation",
    "MissingParameter",
    "NoSuchProduct",
    "NoSuchVersion",
    "RequestLimitExceeded",
    "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
    "RequestLimitExceeded.IPLimitExceeded",
    "RequestLimitExceeded.UinLimitExceeded",
    "RequestSizeLimitExceeded",
    "ResourceInUse",
    "ResourceInUse.RecordUserId",
    "ResourceInsufficient",
    "ResourceNotFound",
    "ResourceUnavailable",
    "ResourceUnavailable.InterfaceUnAuthorized",
    "ResourceUnavailable.NotRegistered",
    "ResourceUnavailable.ServiceExpired",
    "ResponseSizeLimitExceeded",
    "ServiceUnavailable",
    "UnauthorizedOperation",
    "UnauthorizedOperation.SdkAppId",
    "UnknownParameter",
    "UnsupportedOperation",
    "UnsupportedOperation.InvalidTaskStatus",
    "UnsupportedOperation.TaskHasAlreadyStopped",
    "UnsupportedProtocol",
    "UnsupportedRegion",
]


@pytest.mark.parametrize("code", CODES)
def test_every_documented_code_has_a_class_and_a_hint(code: str) -> None:
    error = api_error(code, "Something happened.")
    assert type(error) is not ApiError
    assert error.hint
    assert error.hint in str(error)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("AuthFailure.SecretIdNotFound", "site"),
        ("AuthFailure.UnauthorizedOperation", "CAM"),
        ("ResourceUnavailable.ServiceExpired", "renew"),
        ("RequestLimitExceeded", "requests_per_second"),
        ("InvalidParameter.TaskNotFound", "task id"),
        ("AuthFailure.SignatureExpire", "clock"),
        ("ResourceInUse.RecordUserId", "record_user_id"),
    ],
)
def test_the_hint_is_about_the_cause(code: str, words: str) -> None:
    assert words in str(api_error(code, "Something happened."))


def test_a_wrong_user_signature_is_named_as_such() -> None:
    message = "code: 40004, msg: 2019-09-23 10:31:47, im login failed with code 6206"
    assert "signature" in str(api_error("FailedOperation.Record", message))
    assert "name" in str(api_error("FailedOperation.Record", "code: 40001, msg: invalid userid"))
