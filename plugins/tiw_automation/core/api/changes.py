# SPDX-License-Identifier: Apache-2.0
"""A pause, resume or stop: done or not, or an error that names what is uncertain.

- *Not sent* or *refused* (see :mod:`~tiw_automation.core.api.attempt`): it is repeated where that
  may help. A refusal is not an error where the recording is in the wanted state already: this call
  did nothing.
- *Done*: the API has carried it out.
- *In doubt*: it may have been carried out. The recording's state is read. Where that is the wanted
  one, this call did it. Else, and where the state cannot be read, the action is repeated: doing it
  twice changes nothing. The state that is read is some two seconds old.

From *in doubt* there are three ends: done, the task's own failure where its Describe action
reports it (``TaskFailure``), or ``ChangeUncertain``, whatever the action's last answer was. An
interruption that is not an ``Exception`` keeps its class, with the ``ChangeUncertain`` as its
``__cause__``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tiw_automation.core.api.attempt import Attempt, in_words
from tiw_automation.core.errors import (
    ChangeUncertain,
    TaskFailure,
    TiwError,
    UnsupportedOperation,
)
from tiw_automation.core.formatting import escaped
from tiw_automation.core.records.record import RecordStatus
from tiw_automation.core.records.task import noun_of
from tiw_automation.core.retry import Retry

_STOPPED = "UnsupportedOperation.TaskHasAlreadyStopped"
_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Change:
    """An action and the state that it leads to.

    :param action: the API's name of it.
    :param states: the states in which it is done.
    :param task_kind: the kind of its tasks.
    """

    action: str
    states: tuple[str, ...]
    task_kind: str = "online_record"


PAUSE = Change("PauseOnlineRecord", (RecordStatus.PAUSED,))
RESUME = Change("ResumeOnlineRecord", (RecordStatus.RECORDING,))
STOP = Change("StopOnlineRecord", (RecordStatus.STOPPED, RecordStatus.FINISHED))
STOP_PUSH = Change("StopWhiteboardPush", ("STOPPED",), "whiteboard_push")


@dataclass(eq=False, slots=True)
class ChangeAttempt:
    """One change of a task's state, from its first request to its result or error.

    :param new_attempt: returns a new call of the change's action.
    :param status: returns the task's state.
    :param timeout_s: the deadline of the change and its repetitions.
    """

    change: Change
    task_id: str
    new_attempt: Callable[[], Attempt]
    status: Callable[[], str | None]
    retry: Retry
    timeout_s: float
    # Why it is in doubt, and what was answered since.
    _doubts: list[BaseException] = field(default_factory=list, init=False)
    _failure: TaskFailure | None = field(default=None, init=False)

    def result(self) -> bool:
        """Make the change; return whether this call did it.

        :raises ChangeUncertain: it may have been carried out.
        :raises TiwError: it was not carried out, or the task failed.
        """
        try:
            return self.retry.call(self._once, self.timeout_s)
        except BaseException as error:
            if not self._doubts or error is self._failure:
                raise
            if not isinstance(error, Exception):
                raise error from self._uncertain()
            self._doubts.append(error)
        raise self._uncertain() from self._doubts[0]

    def _once(self, left_s: float) -> bool:
        if self._doubts and self._is_done():
            return True
        attempt = self.new_attempt()
        try:
            attempt.result(left_s)
        except UnsupportedOperation as refusal:
            return self._is_done_despite(refusal)
        except BaseException as error:
            if attempt.is_in_doubt(error):
                self._doubts.append(error)
                if isinstance(error, TiwError):
                    # The state may decide it, and doing it twice changes nothing.
                    error.retryable = True
            raise
        return True

    def _is_done_despite(self, refusal: UnsupportedOperation) -> bool:
        """Return whether this call made the change, where the state allows no such action.

        :raises UnsupportedOperation: the task is not in the wanted state.
        """
        has_stopped = refusal.code == _STOPPED
        if (has_stopped and RecordStatus.STOPPED in self.change.states) or self._is_done():
            # Where this call was in doubt, it made the change.
            return bool(self._doubts)
        # The state follows the action some two seconds later.
        refusal.retryable = bool(self._doubts) and not has_stopped
        raise refusal

    def _is_done(self) -> bool:
        """Return whether the task is known to be in the wanted state.

        :raises TaskFailure: the task failed.
        """
        try:
            return self.status() in self.change.states
        except TaskFailure as error:
            self._failure = error
            raise
        except TiwError:
            return False

    def _uncertain(self) -> ChangeUncertain:
        return ChangeUncertain(
            f"{self.change.action} of {noun_of(self.change.task_kind).lower()} "
            f"{escaped(self.task_id, _SHOWN)} may have been carried out: {in_words(self._doubts)}.",
            task_id=self.task_id,
            action=self.change.action,
        )
