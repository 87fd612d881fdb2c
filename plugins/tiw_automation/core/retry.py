# SPDX-License-Identifier: Apache-2.0
"""How often a call is repeated that has no effect, or no second effect."""

from __future__ import annotations

import errno
import itertools
import random
import time
from collections.abc import Callable
from typing import TypeVar

from tiw_automation.core.errors import TiwError
from tiw_automation.core.locks import ProcessLock

_T = TypeVar("_T")

chance: random.SystemRandom = random.SystemRandom()
"""The source of random pauses.

It does not share the state of the ``random`` module: forked workers, and programs that seed it,
would all draw the same pauses.
"""

_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 4.0


_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def is_exhaustion(error: BaseException | None) -> bool:
    """Return whether an error means that this machine has no thread, descriptor or memory left.

    That passes, and shows nothing about the request. The causes of the error are checked as well.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError):
            return True
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            return True
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def doubled(first: float, times: int, most: float) -> float:
    """Return a pause that was doubled ``times`` times, at most ``most``."""
    # After an hour of outage the power would exceed every float.
    return min(first * 2.0 ** min(times, 64), most)


class RetryBudget:
    """Limits the repetitions of all calls of a client, so that they do not make an outage worse.

    A repetition costs one; a call that succeeds earns a tenth. So in the long run there is at
    most one repetition for ten calls, and a new client may repeat ``size`` times.

    :param size: the repetitions that are available at first, and that can be saved at most.
    """

    def __init__(self, size: int = 20) -> None:
        self.size = size
        self._tenths = size * 10
        self._lock = ProcessLock()

    def take(self) -> bool:
        """Take one repetition; return False where none is left."""
        with self._lock:
            if self._tenths < 10:
                return False
            self._tenths -= 10
            return True

    def earn(self) -> None:
        """Count a success."""
        with self._lock:
            self._tenths = min(self._tenths + 1, self.size * 10)


class Retry:
    """Repeats a call while its error is retryable, within a deadline and a budget.

    The pauses have full jitter: uniform between zero and 0.25 s, then twice as much each time, at
    most 4 s. They are at least as long as the server asked for (``Retry-After``). No attempt begins
    in the last tenth of the time: it would end with the deadline, and hide the error that counts.

    :param clock: a monotonic clock in seconds.
    :param uniform: draws a random number between two others.
    """

    def __init__(
        self,
        budget: RetryBudget,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        uniform: Callable[[float, float], float] = chance.uniform,
    ) -> None:
        self._budget = budget
        self._clock = clock
        self._sleep = sleep
        self._uniform = uniform

    def pause(self, number: int) -> None:
        """Sleep before a repetition.

        :param number: of the repetition, counted from 1.
        """
        self._sleep(self._delay_s(number))

    def _delay_s(self, number: int) -> float:
        return self._uniform(0.0, doubled(_FIRST_DELAY_S, number - 1, _LONGEST_DELAY_S))

    def call(self, attempt: Callable[[float], _T], timeout_s: float) -> _T:
        """Return what ``attempt`` returns.

        :param attempt: called with the seconds that it has.
        :param timeout_s: the seconds for all attempts and pauses together.
        :raises TiwError: the last error: it is not retryable, or time or budget are used up.
        """
        deadline = self._clock() + timeout_s
        last_begin = deadline - timeout_s / 10
        for number in itertools.count(1):
            try:
                result = attempt(deadline - self._clock())
            except TiwError as error:
                delay = max(self._delay_s(number), error.retry_after_s or 0.0)
                out_of_time = self._clock() + delay > last_begin
                if not error.retryable or out_of_time or not self._budget.take():
                    raise
                self._sleep(delay)
                if self._clock() > last_begin:
                    raise
            else:
                self._budget.earn()
                return result
        raise AssertionError("unreachable")
