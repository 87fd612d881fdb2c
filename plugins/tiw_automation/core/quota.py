# SPDX-License-Identifier: Apache-2.0
"""How many requests a second, and whose turn.

Tencent counts an action's requests for the whole account, in each second of its own clock, and
refuses what is over (https://www.tencentcloud.com/document/product/1278): so everything in this
process that uses one account, host and action takes its turns from one :class:`Quota`.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable

from tiw_automation.core.errors import ConfigurationError

logger = logging.getLogger(__name__)

# Timers wake up late by a millisecond or two; without this credit each late one is lost pace.
_TOLERANCE_S = 0.005


class Quota:
    """Paces the requests of one action: evenly, never two at once, also after an idle time.

    Thread-safe; synchronous and asynchronous callers share it. All times are those of ``clock``.

    :param requests_per_second: the pace.
    :param clock: a monotonic clock in seconds.
    :raises ConfigurationError: the pace is not above zero.
    """

    def __init__(
        self, requests_per_second: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.clock = clock
        self._lock = threading.Lock()
        self._next_turn = float("-inf")
        self.set_pace(requests_per_second)

    @property
    def requests_per_second(self) -> float:
        """The pace in force."""
        return 1.0 / self._interval_s

    def set_pace(self, requests_per_second: float) -> None:
        """Change the pace from the next turn on."""
        if not requests_per_second > 0:
            raise ConfigurationError(
                f"requests_per_second has to be above zero, not {requests_per_second!r}."
            )
        self._interval_s = 1.0 / requests_per_second

    def reserve(self) -> float:
        """Take the next turn and return its time; the caller sends then, not before."""
        with self._lock:
            turn = max(self.clock() - _TOLERANCE_S, self._next_turn)
            self._next_turn = turn + self._interval_s
            return turn

    def give_back(self, turn: float) -> None:
        """Return a turn that was not used, if nobody has taken a later one."""
        with self._lock:
            if self._next_turn == turn + self._interval_s:
                self._next_turn = turn

    def acquire(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Take the next turn and wait for it."""
        delay = self.reserve() - self.clock()
        if delay > 0:
            sleep(delay)


_quotas: dict[tuple[str, str, str], Quota] = {}
_quotas_lock = threading.Lock()


def shared_quota(identity: str, host: str, action: str, requests_per_second: float) -> Quota:
    """Return this process's one quota for an account, host and action.

    :param identity: the SecretId, before any role is assumed.
    :param requests_per_second: the pace; where callers differ, the latest one's counts.
    """
    key = (identity, host, action)
    with _quotas_lock:
        quota = _quotas.get(key)
        if quota is None:
            quota = _quotas[key] = Quota(requests_per_second)
        elif abs(quota.requests_per_second - requests_per_second) > 1e-9:
            logger.info(
                "The pace of %s changes from %g to %g requests a second.",
                action,
                quota.requests_per_second,
                requests_per_second,
            )
            quota.set_pace(requests_per_second)
        return quota


def _forget_after_fork() -> None:
    # A lock that another thread held at the fork would stay locked for ever in the child.
    global _quotas_lock
    _quotas_lock = threading.Lock()
    _quotas.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
