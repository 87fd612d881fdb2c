# SPDX-License-Identifier: Apache-2.0
"""How often a call that changes nothing, or nothing twice, is made again."""

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

chance = random.SystemRandom()
"""What pauses are drawn from.

Never the state that the ``random`` module shares: forked workers and programs that seed it would
all pause alike.
"""

_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 4.0


_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


def is_exhaustion(error: BaseException | None) -> bool:
    """Return whether an error comes from this machine having no thread, descriptor or memory left.

    That passes, and says nothing about whatever was asked. The errors that led to it count.
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
    """Return a pause that was doubled so many times, within its limit, however many they are."""
    # An outage of an hour comes to powers that no float holds.
    return min(first * 2.0 ** min(times, 64), most)


class RetryBudget:
    """What all calls of a client may repeat together, so that an outage is not made worse.

    A repetition costs one; a call that succeeds earns a tenth. So in the long run there is at
    most one repetition for ten calls, and a client that is new may repeat ``size`` times.

    :param size: the most that can be saved up, and what there is at first.
    """

    def __init__(self, size: int = 20) -> None:
        self.size = size
        self._tenths = size * 10
        self._lock = ProcessLock()

    def take(self) -> bool:
        """Take one repetition, if there is one left."""
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
    """Repeats a call while its error may pass, with full jitter, within a deadline and a budget.

    The pauses are drawn evenly from zero to 0.25 s, then twice as much each time, 4 s at most, or
    are as long as the server asked for (``Retry-After``).

    :param clock: a monotonic clock in seconds.
    :param uniform: draws a number between two others.
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
        """Sleep before the repetition of that number, counted from 1."""
        self._sleep(self._delay_s(number))

    def _delay_s(self, number: int) -> float:
        return self._uniform(0.0, doubled(_FIRST_DELAY_S, number - 1, _LONGEST_DELAY_S))

    def call(self, attempt: Callable[[float], _T], timeout_s: float) -> _T:
        """Return what ``attempt`` returns.

        :param attempt: called with the seconds that are left for it.
        :param timeout_s: for everything together.
        :raises TiwError: the last error, when it cannot pass or time or budget are used up.
        """
        deadline = self._clock() + timeout_s
        for number in itertools.count(1):
            try:
                result = attempt(deadline - self._clock())
            except TiwError as error:
                delay = max(self._delay_s(number), error.retry_after_s or 0.0)
                out_of_time = self._clock() + delay >= deadline
                if not error.retryable or out_of_time or not self._budget.take():
                    raise
                self._sleep(delay)
            else:
                self._budget.earn()
                return result
        raise AssertionError("a count does not end")
