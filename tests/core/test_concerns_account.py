# SPDX-License-Identifier: Apache-2.0
"""Which errors concern the whole account, and which concern one task."""

from __future__ import annotations

import pytest

from tiw_automation.core import (
    ConfigurationError,
    CredentialsError,
    TiwError,
    errors as errors_module,
)
from tiw_automation.core.api.error_codes import CLASS_OF_CODE, api_error

OF_ACCOUNT = {
    "ActionOffline",
    "AuthFailure",
    "AuthFailure.SignatureExpire",
    "AuthFailure.UnauthorizedOperation",
    "InvalidAction",
    "IpInBlacklist",
    "IpNotInWhitelist",
    "NoSuchProduct",
    "NoSuchVersion",
    "ResourceUnavailable.InterfaceUnAuthorized",
    "ResourceUnavailable.NotRegistered",
    "ResourceUnavailable.ServiceExpired",
    "UnauthorizedOperation",
    "UnsupportedProtocol",
    "UnsupportedRegion",
}
OF_TASK = {
    "DryRunOperation",
    "FailedOperation",
    "FailedOperation.Record",
    "InternalError",
    "InvalidParameter",
    "InvalidParameter.TaskNotFound",
    "InvalidParameterValue",
    "InvalidRequest",
    "LimitExceeded",
    "MissingParameter",
    "RequestLimitExceeded",
    "RequestSizeLimitExceeded",
    "ResourceInUse",
    "ResourceInsufficient",
    "ResourceNotFound",
    "ResourceUnavailable",
    "ResponseSizeLimitExceeded",
    "ServiceUnavailable",
    "UnknownParameter",
    "UnsupportedOperation",
}
CHILDREN = {
    "AuthFailure.SecretIdNotFound": True,
    "AuthFailure.Something.New": True,
    "UnauthorizedOperation.CamNoAuth": True,
    "InvalidParameter.SdkAppIdNotFound": True,
    "InvalidParameter.Something": False,
    "UnsupportedOperation.InvalidTaskStatus": False,
    "Something.New": False,
    "": False,
}


def test_every_known_code_is_listed_here() -> None:
    assert set(CLASS_OF_CODE) == OF_ACCOUNT | OF_TASK
    assert not OF_ACCOUNT & OF_TASK


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        *((code, True) for code in sorted(OF_ACCOUNT)),
        *((code, False) for code in sorted(OF_TASK)),
        *CHILDREN.items(),
    ],
)
def test_codes(code: str, expected: bool) -> None:
    assert api_error(code, "message").concerns_account is expected


CLASSES = sorted(
    (
        found
        for found in vars(errors_module).values()
        if isinstance(found, type) and issubclass(found, TiwError)
    ),
    key=lambda found: found.__name__,
)
CLASSES_OF_ACCOUNT = {
    "AuthFailure",
    "ConfigurationError",
    "CredentialsError",
    "PermissionDenied",
    "ServiceUnavailable",
    "SignatureExpired",
}


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_classes(kind: type[TiwError]) -> None:
    error = kind.__new__(kind)
    error.code = "anything"
    assert error.concerns_account is (kind.__name__ in CLASSES_OF_ACCOUNT)


def test_settings() -> None:
    assert ConfigurationError("region").concerns_account
    assert CredentialsError("keys").concerns_account
