# SPDX-License-Identifier: Apache-2.0
"""Which exit code an error has, and which one counts of several."""

from __future__ import annotations

import pytest

from tiw_automation.cli import exits
from tiw_automation.core import (
    AuthFailure,
    ChangeUncertain,
    ConfigurationError,
    CredentialsError,
    DeadlineExceeded,
    Outcome,
    PermissionDenied,
    RecordingFailure,
    RequestLimitExceeded,
    ResourceInUse,
    ServerError,
    StartUncertain,
    TaskNotFound,
    TiwError,
    TransportError,
    Verdict,
    WaitTimeout,
)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TiwError("x"), 1),
        (RecordingFailure("x"), 1),
        (TaskNotFound("x"), 1),
        (ResourceInUse("x"), 1),
        (WaitTimeout("x"), 3),
        (AuthFailure("x"), 4),
        (PermissionDenied("x"), 4),
        (ConfigurationError("x"), 4),
        (CredentialsError("x"), 4),
        (TransportError("x"), 5),
        (DeadlineExceeded("x"), 5),
        (ServerError("x"), 5),
        (RequestLimitExceeded("x"), 5),
        (ChangeUncertain("x", task_id="t"), 5),
        (StartUncertain("x"), 1),
    ],
)
def test_of_error(error: TiwError, code: int) -> None:
    assert exits.of_error(error) == code


def test_of_an_outcome() -> None:
    outcome = Outcome(1, "t", Verdict.FAILED, error=RecordingFailure("x"))
    assert exits.of_outcome(outcome) == 1
    assert exits.of_outcome(Outcome(1, "t", Verdict.PENDING)) == 0


def test_of_a_start_that_could_not_be_reached() -> None:
    uncertain = StartUncertain("x")
    uncertain.__cause__ = TransportError("y")
    assert exits.of_error(uncertain) == 5


def test_of_several() -> None:
    assert exits.worst([]) == 0
    assert exits.worst([0, 1, 3]) == 3
    assert exits.worst([1, 3, 5]) == 5
    assert exits.worst([1, 3, 5, 4, 0]) == 4
