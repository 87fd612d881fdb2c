# SPDX-License-Identifier: Apache-2.0
"""What a task keeps while it is deferred, and what its return means: no Airflow, no requests.

The worker that resumes the task polls every TIW task itself, and its answers count: its
connection and its environment are the task's, and the triggerer may have others. What the
triggerer reported counts only for a task that the worker cannot reach.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tiw_automation.airflow.trigger_event import Report, Settled, from_rows, settled, to_rows
from tiw_automation.core import ConfigurationError, Outcome, Verdict, check_task_ids
from tiw_automation.core.checks import check_seconds
from tiw_automation.core.waiting import out_of_time

# How many tasks a line about many names.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Deferral:
    """What a task is deferred with and resumed with.

    ``dag.test()`` loses it, and so does Airflow's own end of a deferral: each field may be unset.

    :param end_time: when the wait ends, UNIX seconds.
    :param deferred_at: when the task was deferred first, UNIX seconds.
    :param failed_returns: how many returns in a row brought nothing: the worker could not reach
        TIW, or contradicted the triggerer.
    :param task_ids: all TIW tasks in their order; empty in those of the first release where none
        had ended before.
    :param ended: how those had ended.
    """

    end_time: float | None = None
    deferred_at: float | None = None
    failed_returns: int = 0
    task_ids: tuple[str, ...] = ()
    ended: tuple[Settled, ...] = ()

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Deferral:
        """Read what :meth:`to_kwargs` returned, in this version or another one.

        A time or a count that cannot be read is unset.

        :raises ConfigurationError: ``ended`` or ``record_task_ids`` has another form.
        """
        ids = kept.get("record_task_ids")
        return cls(
            end_time=_seconds(kept.get("end_time")),
            deferred_at=_seconds(kept.get("deferred_at")),
            failed_returns=int(_seconds(kept.get("in_vain")) or 0),
            task_ids=tuple(check_task_ids(ids)) if ids else (),
            ended=tuple(from_rows(kept.get("ended") or [])),
        )

    def is_over(self, now: float) -> bool:
        """Return whether its time has elapsed.

        :param now: UNIX seconds.
        """
        return self.end_time is not None and now >= self.end_time

    def to_kwargs(self) -> dict[str, Any]:
        """Return JSON-native data; what is unset is left out."""
        kept = {
            "end_time": self.end_time,
            "deferred_at": self.deferred_at,
            # These keys are those of the first release, whose deferred tasks this version resumes.
            "in_vain": self.failed_returns or None,
            "record_task_ids": list(self.task_ids) or None,
            "ended": to_rows(self.ended) or None,
        }
        return {name: value for name, value in kept.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Return:
    """What is known once the worker has polled.

    :param ends: how each task has ended, in the order of the answers; what is pending is
        left out.
    :param pending: what has not ended, while there is time left.
    :param contradiction: what is wrong with the triggerer's report, or None.
    :param made_progress: False where the same would happen again at once, so that the next return
        must come later than usual.
    :param is_cut_off: whether the worker could reach TIW for none of what is pending.
    """

    ends: tuple[Settled, ...]
    pending: tuple[Outcome, ...]
    contradiction: str | None
    made_progress: bool
    is_cut_off: bool


def settle(
    answers: Sequence[Outcome],
    deferral: Deferral,
    report: Report,
    *,
    now: float,
    limit_s: float,
    wanted: str = "FINISHED",
) -> Return:
    """Return what the worker's answers mean.

    :param answers: what the worker found, for each task.
    :param deferral: what the task was deferred with.
    :param report: what the triggerer found.
    :param now: UNIX seconds.
    :param limit_s: how long the wait could last, in seconds.
    :param wanted: the names of the states that it is for.
    """
    app_id = answers[0].sdk_app_id
    is_of_another = report.sdk_app_id not in (0, app_id)
    reported = {} if is_of_another else {end.task_id: end for end in report.ends}
    known = {end.task_id: end for end in deferral.ended} | reported
    is_over = deferral.is_over(now) or any(end.timed_out for end in report.ends)
    late = partial(out_of_time, timeout_s=limit_s, wanted=wanted) if is_over else None
    ends = [_end(answer, known.get(answer.task_id), late) for answer in answers]
    pending = tuple(answer for answer, end in zip(answers, ends, strict=True) if end is None)
    denied = {a.task_id: a for a in answers if _denies(a, reported.get(a.task_id))}
    is_cut_off = all(answer.verdict is Verdict.UNKNOWN for answer in pending)
    repeats = is_of_another or is_cut_off or any(a.task_id in denied for a in pending)
    contradiction = _examples(reported, denied, len(answers)) if denied else None
    if is_of_another:
        contradiction = f"asked for application {report.sdk_app_id}, this worker for {app_id}."
    return Return(tuple(filter(None, ends)), pending, contradiction, not repeats, is_cut_off)


def may_change(outcome: Outcome) -> bool:
    """Return whether to go on waiting: for one that has not ended, and after a passing fault.

    Not after a refusal, and not after answers that lack a Status several times in a row.
    """
    if outcome.verdict is Verdict.UNKNOWN:
        error = outcome.error
        return outcome.described is None and error is not None and error.retryable
    return outcome.verdict is Verdict.PENDING


def _end(
    answer: Outcome, known: Settled | None, late: Callable[[Outcome], Outcome] | None
) -> Settled | None:
    """Return how a task has ended, or None where it is pending.

    :param late: makes the outcome of a wait whose time elapsed; None while there is time left.
    """
    if not may_change(answer):
        return settled(answer)
    is_cut_off = answer.verdict is Verdict.UNKNOWN
    if is_cut_off and known is not None:
        if known.verdict in (Verdict.FAILED, Verdict.MISSING):
            return known
        if late:
            # A network fault is less informative than what the trigger last saw.
            return known if known.timed_out else settled(answer)
    return settled(late(answer)) if late else None


def _denies(answer: Outcome, reported: Settled | None) -> bool:
    """Return whether an answer contradicts the triggerer's, and so its settings differ.

    A task that failed and has finished since does not: its videos may have come late.
    """
    if reported is None or reported.timed_out or answer.verdict is Verdict.UNKNOWN:
        return False
    was_missing = reported.verdict is Verdict.MISSING and answer.verdict is not Verdict.MISSING
    return was_missing or answer.verdict is Verdict.PENDING


def _examples(reported: Mapping[str, Settled], denied: Mapping[str, Outcome], count: int) -> str:
    shown = "; ".join(
        f"{task_id} {reported[task_id].verdict}, this worker finds: {answer.message}"
        for task_id, answer in itertools.islice(denied.items(), _SHOWN)
    )
    return f"was wrong about {len(denied)} of {count} tasks. It reported {shown}"


def _seconds(value: object) -> float | None:
    try:
        return check_seconds("time", value)
    except ConfigurationError:
        return None
