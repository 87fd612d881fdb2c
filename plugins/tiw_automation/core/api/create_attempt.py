# SPDX-License-Identifier: Apache-2.0
"""The start of a recording or another task: nothing is billed twice or billed unknown.

StartOnlineRecord has no client token. The API has a guard: a second recording of a user whose first
one *runs* is refused (``ResourceInUse.RecordUserId``). The guard does not cover a recording that
has stopped or failed. The Chinese site also has a list (DescribeRunningTasks), which names the
recordings of a room that run or have ended lately. A start is in one of these states:

*not sent*
    No connection was made, or the request was not sent for another reason. It is repeated while the
    error may pass. The end is a plain error.
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

From the last two a start never returns to *not sent* or *refused*, whatever is answered later. The
list is read, and DescribeOnlineRecord names the user of each recording of the room:

- A recording of this user that runs is this start's.
- A recording of this user that has ended is this start's if the user was made up for this start, or
  if it began after the request was sent. It is an earlier one if it began more than five minutes
  before (the API refuses signatures where clocks differ by more), or if this client knew it before.
  Anything between is undecided.
- A recording that failed, or could not be read, may be this start's, unless this client knew it
  before: it is undecided.
- A request *in doubt* is repeated, twice at most, only where the list was read and no recording in
  it may be this start's. If the first request is carried out after all and its recording runs, the
  guard refuses the second.

A whiteboard push follows the same rules with its own list, guard and user. A transcode has a
look-up by its URL (DescribeTranscodeByUrl): a task whose id differs from the one that was found
before the create is this one's. The other kinds have neither. A create that no guard protects is
never repeated once it is in doubt.

An undecided start ends in ``StartUncertain``. So does a start in doubt where there is no list (the
international site, keys without the permission, a fault that stays): the guard alone would let a
repeated request start a second recording after the first one has ended, so none is sent.

An interruption that is not an ``Exception`` (Ctrl-C, a timeout of Airflow) and an error of the
caller's ``before_each`` keep their class. In doubt, their ``__cause__`` is the ``StartUncertain``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
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
from tiw_automation.core.retry import Retry

logger = logging.getLogger(__name__)

_SEARCHES = 3
_MOST_SKEW_S = 300.0
# Tasks begin at whole seconds.
_ROUNDING_S = 1.0
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task that may be the one that was started.

    :param user: its user, or what else names it.
    :param has_ended: whether it runs no longer.
    :param began_at: when it began, UNIX seconds; None where unknown.
    """

    user: str | None
    has_ended: bool = False
    began_at: int | None = None


Seen = tuple[str, Candidate | TiwError]
"""A TaskId that was found, and what was answered about it."""


@dataclass(frozen=True, slots=True)
class Start:
    """What is started, for requests and messages.

    :param action: the create action.
    :param noun: what messages call the task.
    :param what: the same with its user and room, such as ``recording of u in room 5``.
    :param user: its user, or what else names it among the candidates; empty for nothing.
    :param is_guarded: whether the API refuses a second task of a user whose first one runs.
    :param is_made_up: whether the user was made up for this start.
    :param advice: what to do where it is not known whether it was started.
    :param id_key: the API's name of the task id.
    """

    action: str
    noun: str
    what: str
    user: str = ""
    is_guarded: bool = False
    is_made_up: bool = False
    advice: str = "Look in the TIW console before you create it again."
    id_key: str = "TaskId"


@dataclass(eq=False, slots=True)
class CreateAttempt:
    """One start of a task, from its first request to its result or error.

    :param before_each: called before each request; an error that it raises ends the start.
    :param new_attempt: returns a new call of the create action.
    :param search: returns the tasks that may be the one that was started; None where the API has
        no such look-up.
    :param timeout_s: the deadline of the request and its repetitions.
    :param clock: the server's time as far as it is known, UNIX seconds.
    :param known: the TaskIds that were known before this start.
    :param note: called with the TaskId of this start.
    """

    start: Start
    before_each: Callable[[], None]
    new_attempt: Callable[[], Attempt]
    search: Callable[[], Iterable[Seen]] | None
    retry: Retry
    timeout_s: float
    clock: Callable[[], float]
    known: Collection[str]
    note: Callable[[str], None]
    response: Mapping[str, Any] = field(default_factory=dict, init=False)
    """The answer with the TaskId; empty where the task was found by the search."""
    # Why it is in doubt, and what was answered since.
    _doubts: list[BaseException] = field(default_factory=list, init=False)
    # When the first request in doubt was sent.
    _sent_at: float | None = field(default=None, init=False)
    # Whether the API's guard refused a request: a recording of this user runs.
    _runs: bool = field(default=False, init=False)
    _may_repeat: bool = field(default=True, init=False)
    # The error of before_each, which ended the start.
    _of_caller: BaseException | None = field(default=None, init=False)
    _answered: str | None = field(default=None, init=False)

    def result(self) -> str:
        """Make the start and return its TaskId.

        :raises StartUncertain: a recording may run, or runs, and its TaskId is not known.
        :raises TiwError: nothing was started.
        """
        try:
            task_id = self._start() or self._found_or_started()
            if task_id is not None:
                allow_task_id(task_id)
                self.note(task_id)
                return task_id
        except BaseException as error:
            if self._answered is not None:
                # Interrupted after the start.
                self._doubts.append(error)
            if not self._doubts:
                raise
            if error is self._of_caller or not isinstance(error, Exception):
                raise error from self._uncertain()
            self._doubts.append(error)
        raise self._uncertain() from self._doubts[0]

    def _start(self) -> str | None:
        """Send the request, and again while it is throttled or not sent.

        :returns: the TaskId, or None where the start is in doubt.
        """
        try:
            task_id = self.retry.call(self._once, self.timeout_s)
        except TiwError as error:
            if not self._doubts:
                raise
            self._doubts.append(error)
            self._may_repeat = error.retryable
            return None
        if self._of_caller is not None:
            raise self._of_caller
        return task_id

    def _once(self, left_s: float) -> str | None:
        """Send the request once; return the TaskId, or None where no other may follow at once.

        :raises TiwError: the request was not carried out.
        """
        try:
            self.before_each()
        except BaseException as error:
            self._of_caller = error
            return None
        attempt = self.new_attempt()
        try:
            self.response = attempt.result(left_s)
            self._answered = _task_id(self.response, self.start)
            return self._answered
        except BaseException as error:
            if not self._is_in_doubt(attempt, error):
                raise
            self._doubts.append(error)
            if not isinstance(error, TiwError):
                raise
            logger.warning(
                "Whether a %s was started is not known yet: %s",
                self.start.what,
                in_words([error]),
            )
            return None

    def _is_in_doubt(self, attempt: Attempt, error: BaseException) -> bool:
        if isinstance(error, ResourceInUse) and error.code == "ResourceInUse.RecordUserId":
            self._runs, self._may_repeat = True, False
            return True
        if isinstance(error, _NoTaskId):
            self._may_repeat = False
        if not attempt.is_in_doubt(error):
            return False
        self._may_repeat = self._may_repeat and self.start.is_guarded
        if self._sent_at is None:
            self._sent_at = attempt.sent_at
        return True

    def _found_or_started(self) -> str | None:
        """Search for the recording, and start it again where it was certainly not started."""
        if self.search is None:
            return None
        for number in range(1, _SEARCHES + 1):
            self.retry.pause(number)
            try:
                found = self._found(self.search())
            except TiwError as error:
                self._doubts.append(error)
                if not error.retryable:
                    return None
                continue
            if found is None and self._may_repeat and number < _SEARCHES:
                found = self._start()
            if found is not None:
                return found
        return None

    def _found(self, candidates: Iterable[Seen]) -> str | None:
        """Return the TaskId of the start among candidates; None where none of them may be it.

        :raises TiwError: it is undecided.
        """
        undecided: TiwError | None = None
        ended: str | None = None
        for task_id, seen in candidates:
            if isinstance(seen, Candidate) and seen.user == self.start.user:
                if not seen.has_ended:
                    return task_id
                is_it = self._has_just_ended(task_id, seen)
                ended = task_id if is_it else ended
                if is_it is None:
                    undecided = self._undecided(task_id, "has ended; it may be an earlier one")
            elif task_id in self.known or isinstance(seen, TaskNotFound):
                continue
            elif isinstance(seen, TiwError):
                undecided = seen
            elif not seen.user:
                undecided = self._undecided(task_id, "has no user in its answer")
        if ended is None and undecided is not None:
            raise undecided
        return ended

    def _has_just_ended(self, task_id: str, candidate: Candidate) -> bool | None:
        """Return whether an ended task of this user is this start's; None: undecided."""
        if task_id in self.known or self._sent_at is None:
            return False
        if self.start.is_made_up:
            return True
        began = candidate.began_at
        if began is None:
            return None
        if self._sent_at - _ROUNDING_S <= began <= self.clock() + _ROUNDING_S:
            return True
        return False if began < self._sent_at - _MOST_SKEW_S else None

    def _undecided(self, task_id: str, why: str) -> TiwError:
        return TiwError(f"{self.start.noun} {escaped(task_id, _SHOWN)} {why}.", code="Undecided")

    def _uncertain(self) -> StartUncertain:
        what, hint = self.start.what, self.start.advice
        if self._answered:
            answered = escaped(self._answered, _SHOWN)
            message = f"A {what} runs, its TaskId is {answered}, and the call was interrupted"
        elif self._runs:
            message = f"A {what} runs, but its TaskId is not known"
            hint = (
                "Its callback or the TIW console shows the TaskId; or start one with another "
                "user once this one has ended."
            )
        else:
            message = f"Whether a {what} was started is not known, and its TaskId is not known"
        return StartUncertain(
            f"{message}: {in_words(self._doubts)}.",
            record_user_id=self.start.user if self.start.is_guarded else "",
            action=self.start.action,
            hint=hint,
        )


class _NoTaskId(BadAnswer):
    """The start was carried out, and the answer has no usable TaskId."""


def _task_id(response: Mapping[str, Any], start: Start) -> str:
    """Return the TaskId of an answer, exactly as it came; an integer as its digits."""
    value = response.get(start.id_key)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, str) and value.strip():
        return value
    raise _NoTaskId(
        f"{start.action} answered without a usable {start.id_key} ({shown(value, _SHOWN)}).",
        action=start.action,
        retryable=False,
    )
