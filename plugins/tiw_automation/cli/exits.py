# SPDX-License-Identifier: Apache-2.0
"""The exit codes of ``tiw``, and which errors and outcomes they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiw_automation.core import Outcome, TiwError

FINISHED = 0
FAILED = 1
"""A task failed or was not found, or a command had another error."""
USAGE = 2
TIMED_OUT = 3
REFUSED = 4
"""Keys, permission or settings were refused."""
UNREACHABLE = 5
"""No usable answer came."""
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143

_GRAVEST_FIRST = (REFUSED, UNREACHABLE, TIMED_OUT, FAILED)


def of_error(error: TiwError) -> int:
    """Return the exit code of a command that ends with this error."""
    from tiw_automation.core import ApiError, StartUncertain, TiwError, TransportError, WaitTimeout

    if isinstance(error, StartUncertain) and isinstance(error.__cause__, TiwError):
        return of_error(error.__cause__)
    if isinstance(error, WaitTimeout):
        return TIMED_OUT
    if error.concerns_account:
        return REFUSED
    if isinstance(error, TransportError) or (isinstance(error, ApiError) and error.retryable):
        return UNREACHABLE
    return FAILED


def of_outcome(outcome: Outcome) -> int:
    """Return the exit code of one outcome; a pending task without an error counts as good."""
    return FINISHED if outcome.error is None else of_error(outcome.error)


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of several: the first of 4, 5, 3, 1 among them, else 0."""
    found = set(codes)
    return next((code for code in _GRAVEST_FIRST if code in found), FINISHED)
