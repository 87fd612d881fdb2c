# SPDX-License-Identifier: Apache-2.0
"""A start: nothing is billed twice, and nothing is billed unknown.

StartOnlineRecord has no client token. The API has a guard: a second recording of a user whose first
one *runs* is refused (``ResourceInUse.RecordUserId``). The guard does not cover a recording that
has stopped or failed. The Chinese site also has a list (DescribeRunningTasks), which names the
recordings of a room that run or have ended lately. A start is in one of these states:

*not sent*
    No connection was made, or nothing has left for another reason. It is repeated while the error
    may pass. The end is a plain error.
*refused*
    The API answered that it does not carry it out. It is repeated where the answer is that there
    were too many requests. The end is a plain error.
*known*
    An answer with a TaskId. The end is that TaskId, whatever its form.
*in doubt*
    It was sent, and no such answer came (see :mod:`~tiw_automation.core.api.attempt`): it may have
    been carried out. The end is the TaskId or ``StartUncertain``.
*carried out, unknown*
    The answer holds no TaskId, or a recording of this user runs already
    (``ResourceInUse.RecordUserId``). The end is the TaskId or ``StartUncertain``.

From the last two nothing leads back, whatever is answered later. The list is read, and each
recording of the room is asked for its user:

- A recording of this user that runs is the one.
- A recording of this user that has ended is the one if the user was made up for this start, or if
  it began after the request had left. It is another one if it began more than five minutes before
  (the API refuses signatures where clocks differ by more), or if this client knew it before.
  Anything between is not decided.
- A recording that failed, or could not be read, may be the one, unless this client knew it before:
  it is not decided.
- Only where the list was read and no recording of it may be the one, a request *in doubt* is made
  again, twice at most. If the first one is carried out all the same and runs, the guard refuses it.

What is not decided ends in ``StartUncertain``. So does a start in doubt where there is no list (the
international site, keys without the permission, a fault that stays): the guard alone would let a
repeated request start a second recording after the first one has ended, so none is made.

An interruption that is no ``Exception`` (Ctrl-C, a time-out of Airflow's) and what the caller's
``before_each`` raises keep their class. In doubt, their ``__cause__`` is the ``StartUncertain``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.api.attempt import Attempt, in_words
from tiw_automation.core.checks import allow_task_id
from tiw_automation.core.errors import (
    BadAnswer,
    ResourceInUse,
    StartUncertain,
    TaskNotFound,
    TiwError,
)
from tiw_automation.core.formatting import escaped, shown
from tiw_automation.core.records.record import OnlineRecord, RecordStatus
from tiw_automation.core.retry import Retry

logger = logging.getLogger(__name__)

ACTION = "StartOnlineRecord"
ENDED = (RecordStatus.STOPPED, RecordStatus.FINISHED)

_LOOKS = 3
_MOST_SKEW_S = 300.0
# Recordings begin at whole seconds.
_ROUNDING_S = 1.0
_SHOWN = 80

Seen = tuple[str, OnlineRecord | TiwError]
"""A TaskId of the running list, and what DescribeOnlineRecord said of it."""


@dataclass(frozen=True, slots=True)
class Starter:
    """What a start works with.

    :param send: sends StartOnlineRecord once, within the seconds given.
    :param look: returns the recordings of the room that the running list names.
    :param clock: the server's time as far as it is known, UNIX seconds.
    :param known: TaskIds that were known before this start.
    :param note: called with the TaskId of this start.
    """

    send: Callable[[Attempt, float], Mapping[str, Any]]
    look: Callable[[], Iterable[Seen]]
    retry: Retry
    timeout_s: float
    clock: Callable[[], float]
    known: Collection[str]
    note: Callable[[str], None]


class StartAttempt:
    """One start of a recording, from its first request to its end.

    :param user: the recording user.
    :param is_made_up: whether the user was made up for this start.
    :param before_each: called before each request; what it raises ends the start.
    """

    def __init__(
        self,
        starter: Starter,
        room: int,
        user: str,
        *,
        is_made_up: bool,
        before_each: Callable[[], None],
    ) -> None:
        self._starter = starter
        self._room = room
        self._user = user
        self._is_made_up = is_made_up
        self._before_each = before_each
        # Why it is in doubt, and what was answered since.
        self._doubts: list[BaseException] = []
        self._left_at: float | None = None
        self._runs = False
        self._may_repeat = True
        self._of_caller: BaseException | None = None
        self._answered: str | None = None

    def result(self) -> str:
        """Make the start and return its TaskId.

        :raises StartUncertain: a recording may run, or runs, and its TaskId is not known.
        :raises TiwError: nothing was started.
        """
        try:
            task_id = self._start() or self._found_or_started()
            if task_id is not None:
                allow_task_id(task_id)
                self._starter.note(task_id)
                return task_id
        except BaseException as error:
            if self._answered is not None:
                # Interrupted when all was over.
                self._doubts.append(error)
            if not self._doubts:
                raise
            if error is self._of_caller or not isinstance(error, Exception):
                raise error from self._uncertain()
            self._doubts.append(error)
        raise self._uncertain() from self._doubts[0]

    def _found_or_started(self) -> str | None:
        for number in range(1, _LOOKS + 1):
            self._starter.retry.pause(number)
            try:
                found = self._found()
            except TiwError as error:
                self._doubts.append(error)
                if not error.retryable:
                    return None
                continue
            if found is None and self._may_repeat and number < _LOOKS:
                found = self._start()
            if found is not None:
                return found
        return None

    def _start(self) -> str | None:
        """Send the request, and again while it is throttled or not sent.

        :returns: the TaskId, or None where it is not known.
        """
        try:
            answer = self._starter.retry.call(self._once, self._starter.timeout_s)
        except TiwError as error:
            if not self._doubts:
                raise
            self._doubts.append(error)
            self._may_repeat = error.retryable
            return None
        if isinstance(answer, str):
            return answer
        if answer is self._of_caller:
            raise answer
        logger.warning(
            "What became of starting %s is not known yet: %s", self._user, in_words([answer])
        )
        return None

    def _once(self, left_s: float) -> str | TiwError:
        """Send the request once; return what must not be repeated, raise what may be."""
        try:
            self._before_each()
        except BaseException as error:
            self._of_caller = error
            if isinstance(error, TiwError):
                return error
            raise
        attempt = Attempt(self._starter.clock)
        try:
            self._answered = _task_id(self._starter.send(attempt, left_s))
            return self._answered
        except BaseException as error:
            if not self._is_in_doubt(attempt, error):
                raise
            self._doubts.append(error)
            if isinstance(error, TiwError):
                return error
            raise

    def _is_in_doubt(self, attempt: Attempt, error: BaseException) -> bool:
        if isinstance(error, ResourceInUse) and error.code == "ResourceInUse.RecordUserId":
            self._runs, self._may_repeat = True, False
            return True
        if isinstance(error, _NoTaskId):
            self._may_repeat = False
        if not attempt.is_in_doubt(error):
            return False
        if self._left_at is None:
            self._left_at = attempt.left_at
        return True

    def _found(self) -> str | None:
        """Look the recording up; return None where no recording may be it.

        :raises TiwError: it is not decided.
        """
        undecided: TiwError | None = None
        ended: str | None = None
        for task_id, seen in self._starter.look():
            if isinstance(seen, OnlineRecord) and seen.record_user_id == self._user:
                if seen.status not in ENDED:
                    return task_id
                is_it = self._has_just_ended(task_id, seen)
                ended = task_id if is_it else ended
                if is_it is None:
                    undecided = _not_decided(task_id, "has ended; it may be an earlier one")
            elif task_id in self._starter.known or isinstance(seen, TaskNotFound):
                continue
            elif isinstance(seen, TiwError):
                undecided = seen
            elif not seen.record_user_id:
                undecided = _not_decided(task_id, "has no RecordUserId in its answer")
        if ended is None and undecided is not None:
            raise undecided
        return ended

    def _has_just_ended(self, task_id: str, record: OnlineRecord) -> bool | None:
        """Return whether a recording of this user that has ended is this one; None: unknown."""
        if task_id in self._starter.known or self._left_at is None:
            return False
        if self._is_made_up:
            return True
        began = record.record_start_time
        if began is None:
            return None
        if self._left_at - _ROUNDING_S <= began <= self._starter.clock() + _ROUNDING_S:
            return True
        return False if began < self._left_at - _MOST_SKEW_S else None

    def _uncertain(self) -> StartUncertain:
        whose = f"a recording of {self._user} in room {self._room}"
        hint = (
            f"Look in the TIW console. Or start it again with record_user_id {self._user}: "
            "while a recording of that user runs, that never starts a second one."
        )
        if self._answered:
            answered = escaped(self._answered, _SHOWN)
            message = f"A{whose[1:]} runs, its TaskId is {answered}, and the call was interrupted"
        elif self._runs:
            message = f"A{whose[1:]} runs, but its TaskId is not known"
            hint = (
                "Its callback or the TIW console says the TaskId; or start one with another "
                "record_user_id once this one has ended."
            )
        else:
            message = f"Whether {whose} was started is not known, and its TaskId is not known"
        return StartUncertain(
            f"{message}: {in_words(self._doubts)}.",
            record_user_id=self._user,
            action=ACTION,
            hint=hint,
        )


class _NoTaskId(BadAnswer):
    """The start was carried out, and the answer does not name it."""


def _task_id(response: Mapping[str, Any]) -> str:
    """Return the TaskId of an answer, exactly as it came; the digits of an integer."""
    value = response.get("TaskId")
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.strip():
        return value
    raise _NoTaskId(
        f"{ACTION} answered without a usable TaskId ({shown(value, _SHOWN)}).",
        action=ACTION,
        retryable=False,
    )


def _not_decided(task_id: str, why: str) -> TiwError:
    return TiwError(f"Recording {escaped(task_id, _SHOWN)} {why}.", code="Undecided")
