# SPDX-License-Identifier: Apache-2.0
"""One request that is to change something, and what is known of it afterwards.

- *Not sent*: it was refused on this machine, or no connection was made.
- *Refused*: the API answered that it does not carry it out.
- *In doubt*: it was sent, and no such answer came: the connection broke, the answer was
  unreadable, the service reported a fault of its own or a time-out, the error had no code or stood
  beside a TaskId, or this process was interrupted. It may have been carried out.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from tiw_automation.core.errors import ApiError, ServerError
from tiw_automation.core.formatting import escaped

_SHOWN = 300


class Attempt:
    """One request.

    :param clock: the time in UNIX seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.left_at: float | None = None
        """When the request left this machine; None while it has not, or was refused for sure."""

    def leaves(self) -> None:
        """Note that the request leaves now."""
        self.left_at = self._clock()

    def begins_again(self) -> None:
        """Note that what has left was refused, and that the request will be made once more."""
        self.left_at = None

    def is_in_doubt(self, error: BaseException) -> bool:
        """Return whether the request may have been carried out although it ended in an error."""
        return self.left_at is not None and not _is_refusal(error)


def _is_refusal(error: BaseException) -> bool:
    if not isinstance(error, ApiError) or isinstance(error, ServerError):
        return False
    # An error without a code says nothing, and some codes speak of the answer alone.
    says_nothing = error.code in (ApiError.default_code, "ResponseSizeLimitExceeded")
    return not (error.names_task or says_nothing or "timeout" in error.code.lower())


def in_words(errors: Sequence[BaseException]) -> str:
    """Return what went wrong first and, where that differs, last; safe to show."""
    shown = [escaped(str(error) or type(error).__name__, _SHOWN).rstrip(". ") for error in errors]
    return shown[0] if shown[-1] == shown[0] else f"{shown[0]}. Then: {shown[-1]}"
