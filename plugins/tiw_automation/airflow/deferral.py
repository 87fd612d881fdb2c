# SPDX-License-Identifier: Apache-2.0
"""What a task keeps while it is deferred, and what its return means: no Airflow, no requests.

The worker that comes back asks for every recording itself: what it is answered counts, because its
connection and its environment are the task's. The triggerer may have others. What it said counts
for a recording that the worker cannot reach, and for nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiw_automation.airflow.trigger_event import Settled, from_rows, settled, to_rows
from tiw_automation.core import ConfigurationError, Outcome, Verdict, check_task_ids
from tiw_automation.core.checks import check_seconds
from tiw_automation.core.waiting import out_of_time


@dataclass(frozen=True, slots=True)
class Deferral:
    """What a task is deferred with, and comes back with.

    ``dag.test()`` loses it, and Airflow's own end of a deferral too: each field may be unset.

    :param end_time: when the time is up, UNIX seconds.
    :param deferred_at: when the task was deferred first, UNIX seconds.
    :param in_vain: how often in a row a return has brought nothing: the worker could not reach
        TIW, or found what the triggerer had said to be wrong.
    :param record_task_ids: all recordings in their order, where some had ended before.
    :param ended: how those had ended.
    """

    end_time: float | None = None
    deferred_at: float | None = None
    in_vain: int = 0
    record_task_ids: tuple[str, ...] = ()
    ended: tuple[Settled, ...] = ()

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Deferral:
        """Read what :meth:`to_kwargs` returned, in this version or another one.

        A time or a count that cannot be read is unset.

        :raises ConfigurationError: ``ended`` or ``record_task_ids`` is of another form.
        """
        ids = kept.get("record_task_ids")
        return cls(
            end_time=_time(kept.get("end_time")),
            deferred_at=_time(kept.get("deferred_at")),
            in_vain=int(_time(kept.get("in_vain")) or 0),
            record_task_ids=tuple(check_task_ids(ids)) if ids else (),
            ended=tuple(from_rows(kept.get("ended") or [])),
        )

    def is_over(self, now: float) -> bool:
        """Whether its time has elapsed.

        :param now: UNIX seconds.
        """
        return self.end_time is not None and now >= self.end_time

    def to_kwargs(self) -> dict[str, Any]:
        """Return JSON-native data; what is unset is left out."""
        kept = {
            "end_time": self.end_time,
            "deferred_at": self.deferred_at,
            "in_vain": self.in_vain or None,
            "record_task_ids": list(self.record_task_ids) or None,
            "ended": to_rows(self.ended) or None,
        }
        return {name: value for name, value in kept.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Return:
    """What is known once the worker has asked.

    :param ends: how each recording has ended, by its id; what is pending is not among them.
    :param pending: what has not ended, while there is time left.
    :param denied: what the triggerer said, and the worker's answer contradicts.
    """

    ends: Mapping[str, Settled]
    pending: tuple[Outcome, ...]
    denied: tuple[Settled, ...]

    @property
    def was_in_vain(self) -> bool:
        """Whether to come back later than usual: the same would happen again at once."""
        denied = {end.record_task_id for end in self.denied}
        return self.is_cut_off or any(outcome.task_id in denied for outcome in self.pending)

    @property
    def is_cut_off(self) -> bool:
        """Whether the worker could reach TIW for none of what is pending."""
        return all(outcome.verdict is Verdict.UNKNOWN for outcome in self.pending)


def settle(
    outcomes: Sequence[Outcome],
    before: Iterable[Settled],
    told: Iterable[Settled],
    *,
    is_time_up: bool,
    limit_s: float,
) -> Return:
    """Return what the worker's answers mean.

    :param outcomes: what the worker was answered, for each recording.
    :param before: how those ended that had ended before the deferral.
    :param told: what the triggerer said.
    :param is_time_up: whether nothing is waited for any more.
    :param limit_s: how long that was, in seconds.
    """
    by_trigger = {end.record_task_id: end for end in told}
    known = {end.record_task_id: end for end in before} | by_trigger
    ends = {}
    pending = []
    for outcome in outcomes:
        end = _end(outcome, known.get(outcome.task_id), is_time_up, limit_s)
        if end is None:
            pending.append(outcome)
        else:
            ends[outcome.task_id] = end
    denied = [
        by_trigger[outcome.task_id]
        for outcome in outcomes
        if outcome.task_id in by_trigger and _denies(outcome, by_trigger[outcome.task_id])
    ]
    return Return(ends, tuple(pending), tuple(denied))


def may_change(outcome: Outcome) -> bool:
    """Whether to go on waiting: for one that has not ended, and after a fault on the way.

    Not after a refusal, and not after answers that lack a Status several times in a row.
    """
    if outcome.verdict is Verdict.UNKNOWN:
        error = outcome.error
        return outcome.record is None and error is not None and error.retryable
    return outcome.verdict is Verdict.PENDING


def is_for_good(end: Settled | None) -> bool:
    """Whether a recording has ended without a result, so that nothing is missing to conclude."""
    return end is not None and end.verdict in (Verdict.FAILED, Verdict.MISSING)


def _time(value: object) -> float | None:
    try:
        return check_seconds("time", value)
    except ConfigurationError:
        return None


def _end(now: Outcome, known: Settled | None, is_time_up: bool, limit_s: float) -> Settled | None:
    """Return how a recording has ended, or None where it is pending."""
    if not may_change(now):
        return settled(now)
    is_cut_off = now.verdict is Verdict.UNKNOWN
    if is_cut_off and is_for_good(known):
        return known
    if not is_time_up:
        return None
    if is_cut_off and known is not None:
        # A fault on the way says less than what the trigger knew.
        return known if known.timed_out else settled(now)
    return settled(out_of_time(now, limit_s))


def _denies(now: Outcome, told: Settled) -> bool:
    """Whether an answer contradicts what the triggerer said, and so its settings are others.

    One that failed and has finished since does not: its videos may have come late.
    """
    if now.verdict is Verdict.UNKNOWN or told.timed_out:
        return False
    was_missing = told.verdict is Verdict.MISSING and now.verdict is not Verdict.MISSING
    return was_missing or now.verdict is Verdict.PENDING
