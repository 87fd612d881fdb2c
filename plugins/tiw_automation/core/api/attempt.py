# SPDX-License-Identifier: Apache-2.0
"""One call of an action: its slot, its requests, and what is known of it afterwards.

A call that ended in an error is in one of three states:

- *Not sent*: it was refused on this machine, or no connection was made.
- *Refused*: the API answered that it does not carry it out.
- *In doubt*: it was sent, and no such answer came: the connection broke, the answer was
  unreadable, the service reported a fault of its own or a timeout, the error had no code or stood
  beside a TaskId, or this process was interrupted. It may have been carried out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tiw_automation.core import metrics
from tiw_automation.core.api.credentials import Credentials, CredentialSource
from tiw_automation.core.api.sdk import TiwSdkClient
from tiw_automation.core.errors import (
    ApiError,
    AuthFailure,
    RequestLimitExceeded,
    ServerError,
    SignatureExpired,
    TiwError,
)
from tiw_automation.core.formatting import escaped
from tiw_automation.core.quota.quota import Quota, Slot

logger = logging.getLogger(__name__)

_SHOWN = 300


@dataclass(eq=False, slots=True)
class Attempt:
    """One call of an action, from its slot to its result or error.

    A request that was refused before the API looked at it is sent again once where that helps:
    signed with the server's time, or with keys that have changed.

    :param credentials: the keys that ``sdk`` signs with.
    :param quota: returns the quota of the action.
    :param count: called for each request.
    :param slot: a slot that was reserved for the first request; one is reserved by default.
    """

    action: str
    params: Mapping[str, Any]
    sdk: TiwSdkClient
    credentials: CredentialSource
    quota: Callable[[], Quota]
    count: Callable[[], None]
    slot: Slot | None = None
    sent_at: float | None = field(default=None, init=False)
    """The server's time when the request was sent; None if it was not, or was refused."""

    def result(self, timeout_s: float) -> dict[str, Any]:
        """Make the call and return its ``Response`` object.

        :param timeout_s: the deadline, which counts from the call's slot.
        :raises TiwError: the API refused, or no whole answer came.
        """
        slot = self.slot or Slot(self.quota())
        if self.slot is None:
            slot.acquire()
        self.count()
        begun = time.monotonic()
        keys = self.credentials.current(timeout_s)
        # Renewing the keys may have taken some of the time.
        left_s = timeout_s - (time.monotonic() - begun)
        try:
            return self._respond(slot, keys, left_s)
        except TiwError as error:
            error.action = error.action or self.action
            if isinstance(error, RequestLimitExceeded):
                self.quota().rejected()
                account = metrics.account_tag(self.credentials.identity)
                metrics.report("tiw.quota.rejects", account=account, action=self.action)
            raise

    def is_in_doubt(self, error: BaseException) -> bool:
        """Return whether the call may have been carried out although it ended in this error."""
        return self.sent_at is not None and not _is_refusal(error)

    def _respond(self, slot: Slot, keys: Credentials, left_s: float) -> dict[str, Any]:
        try:
            return self._send(slot, left_s)
        except SignatureExpired:
            raise
        except AuthFailure as refusal:
            self.sent_at = None
            if not self.credentials.renew(keys, left_s):
                source = f"The keys are from the {keys.source}."
                refusal.hint = f"{refusal.hint} {source}" if refusal.hint else source
                raise
        logger.info("The keys from the %s have changed.", keys.source)
        self._begin_again(slot)
        return self._send(slot, left_s)

    def _send(self, slot: Slot, left_s: float) -> dict[str, Any]:
        return self.sdk.respond(
            self.action,
            self.params,
            left_s,
            before_sending=lambda: self._leave(slot),
            before_repeating=lambda: self._begin_again(slot),
        )

    def _leave(self, slot: Slot) -> None:
        slot.renew()
        self.sent_at = self.sdk.server_time()

    def _begin_again(self, slot: Slot) -> None:
        # The request that was sent was refused.
        self.sent_at = None
        slot.acquire()
        self.count()


def _is_refusal(error: BaseException) -> bool:
    if not isinstance(error, ApiError) or isinstance(error, ServerError):
        return False
    # An error without a code decides nothing, and some codes are about the answer alone.
    is_open = error.code in (ApiError.default_code, "ResponseSizeLimitExceeded")
    return not (error.names_task or is_open or "timeout" in error.code.lower())


def in_words(errors: Sequence[BaseException]) -> str:
    """Return the first error and, where it differs, the last one; safe to show."""
    shown = [escaped(str(error) or type(error).__name__, _SHOWN).rstrip(". ") for error in errors]
    return shown[0] if shown[-1] == shown[0] else f"{shown[0]}. Then: {shown[-1]}"
