# SPDX-License-Identifier: Apache-2.0
"""What an answer means for a task: its verdict, and the outcome that a wait returns.

:func:`judge` is the one place that decides a verdict.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tiw_automation.core.checks import did_you_mean
from tiw_automation.core.errors import (
    BadAnswer,
    ConfigurationError,
    TaskFailure,
    TaskNotFound,
    TiwError,
)
from tiw_automation.core.formatting import counted, escaped, shown
from tiw_automation.core.records.record import FinishReason, OnlineRecord
from tiw_automation.core.records.task import RECORD_RULES, EndRules, TiwTask, noun_of

logger = logging.getLogger(__name__)

_SHOWN = 80


class Verdict(StrEnum):
    """What an answer means for a wait."""

    PENDING = "pending"
    FINISHED = "finished"
    FAILED = "failed"
    MISSING = "missing"
    UNKNOWN = "unknown"


_FINISH_REASON = re.compile("[A-Z][A-Z0-9_]*")
_KNOWN_REASONS = ", ".join(FinishReason)
_FINISH_REASONS = frozenset(FinishReason)
_USUAL_REASONS = _FINISH_REASONS - {FinishReason.EXCEPTION}
_REASONS_HINT = f"Known are {_KNOWN_REASONS}; a reason has the form [A-Z][A-Z0-9_]*."


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which finished recordings are accepted; any other is a failure.

    :param accept_finish_reasons: the accepted reasons: a list, or one text with commas between
        them. None, the default, means all but EXCEPTION, reasons that Tencent adds later
        included; AUTO, USER_CALL and FORCE_STOP together mean the same and become None. An empty
        list accepts no reason.
    :param require_videos: whether a finished recording without a video is a failure.
    :param any_reason: whether every reason is accepted, EXCEPTION too;
        ``accept_finish_reasons`` must be None then.
    :raises ConfigurationError: a reason does not have the form ``[A-Z][A-Z0-9_]*``. An unknown
        reason of that form causes a warning.
    """

    accept_finish_reasons: tuple[str, ...] | None = None
    require_videos: bool = True
    any_reason: bool = False

    def __post_init__(self) -> None:
        given: object = self.accept_finish_reasons
        if given is None:
            return
        if self.any_reason:
            raise ConfigurationError(
                "any_reason accepts every finish reason: leave accept_finish_reasons out."
            )
        reasons = tuple(dict.fromkeys(map(_check_finish_reason, _list_of_reasons(given))))
        usual = set(reasons) == _USUAL_REASONS
        object.__setattr__(self, "accept_finish_reasons", None if usual else reasons)
        for warning in self.warnings():
            logger.warning("%s", warning)

    @classmethod
    def of(
        cls, accept_finish_reasons: str | Iterable[str] | None, require_videos: bool
    ) -> Acceptance:
        """Return the acceptance of two options; reasons may be a text, None is the default."""
        reasons: Any = accept_finish_reasons
        return cls(reasons, require_videos)

    def accepts(self, finish_reason: str | None) -> bool:
        """Return whether a recording that ended for this reason is accepted.

        A recording without a reason is.
        """
        if not finish_reason or self.any_reason:
            return True
        if self.accept_finish_reasons is None:
            return finish_reason != FinishReason.EXCEPTION
        return finish_reason in self.accept_finish_reasons

    def warnings(self) -> list[str]:
        """Return a sentence for each accepted reason that is unknown; these are logged too."""
        return [
            f"accept_finish_reasons: {escaped(reason, _SHOWN)} is not a known finish "
            f"reason.{did_you_mean(reason, FinishReason)} Known are {_KNOWN_REASONS}."
            for reason in self.accept_finish_reasons or ()
            if reason not in _FINISH_REASONS
        ]


DEFAULT_ACCEPTANCE = Acceptance()
"""Every reason but EXCEPTION, and at least one video."""
ANY_END = Acceptance(any_reason=True, require_videos=False)
"""Every recording that is FINISHED."""


def _list_of_reasons(given: object) -> Iterable[object]:
    if isinstance(given, str):
        return given.split(",")
    if isinstance(given, Mapping) or not isinstance(given, Iterable):
        raise ConfigurationError(
            f"accept_finish_reasons must be a list of finish reasons, not {shown(given, _SHOWN)}.",
            hint=_REASONS_HINT,
        )
    return given


def _check_finish_reason(given: object) -> str:
    reason = given.strip().upper() if isinstance(given, str) and given.isascii() else ""
    if not _FINISH_REASON.fullmatch(reason):
        raise ConfigurationError(
            f"accept_finish_reasons: {shown(given, _SHOWN)} is not a finish reason.",
            hint=_REASONS_HINT,
        )
    return reason


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of one task, and what it means.

    ``record`` is what was seen of a recording, ``task`` of a task of another kind. ``error`` is
    the reason of the verdict ``failed``, ``missing`` or ``unknown``, or a :class:`WaitTimeout`
    where the timeout elapsed while the task was still pending.
    """

    sdk_app_id: int
    task_id: str
    verdict: Verdict
    record: OnlineRecord | None = None
    error: TiwError | None = None
    task: TiwTask | None = None
    task_kind: str = RECORD_RULES.task_kind

    @classmethod
    def about(
        cls,
        sdk_app_id: int,
        task_id: str,
        verdict: Verdict,
        described: OnlineRecord | TiwTask | None,
        *,
        error: TiwError | None = None,
        task_kind: str = RECORD_RULES.task_kind,
    ) -> Outcome:
        """Return the outcome of a task that was described, or could not be."""
        if isinstance(described, TiwTask):
            return cls(sdk_app_id, task_id, verdict, None, error, described, task_kind)
        return cls(sdk_app_id, task_id, verdict, described, error, None, task_kind)

    @property
    def described(self) -> OnlineRecord | TiwTask | None:
        """What was seen of it, whatever its kind."""
        return self.record if self.task is None else self.task

    def with_described(self, seen: OnlineRecord | TiwTask | None) -> Outcome:
        """Return the same with another description of the task."""
        if isinstance(seen, TiwTask):
            return replace(self, record=None, task=seen)
        return replace(self, record=seen, task=None)

    @property
    def is_final(self) -> bool:
        """Whether no further poll can change it."""
        return self.verdict in (Verdict.FINISHED, Verdict.FAILED, Verdict.MISSING)

    @property
    def message(self) -> str:
        """One sentence for a person, without a URL."""
        if self.error is not None:
            return str(self.error)
        seen, name = self.described, f"{noun_of(self.task_kind)} {escaped(self.task_id, _SHOWN)}"
        if seen is None:
            return f"{name}: nothing is known yet."
        status = escaped(seen.status or "without a status", _SHOWN)
        if self.verdict is not Verdict.FINISHED:
            return f"{name} is {status}."
        if isinstance(seen, TiwTask):
            return f"{name} is {status}, {counted(len(seen.urls), 'URL')}."
        reason = escaped(seen.finish_reason or "no reason given", _SHOWN)
        return f"{name} is {status} ({reason}), {counted(len(seen.videos), 'video')}."

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native data with every key, always.

        ``record`` for a recording, ``task`` for a task of another kind.
        """
        key, seen = "record" if self.task_kind == "online_record" else "task", self.described
        return {
            "sdk_app_id": self.sdk_app_id,
            "task_id": self.task_id,
            "verdict": self.verdict.value,
            "message": self.message,
            key: seen.to_dict() if seen else None,
            "error": self.error.to_dict() if self.error else None,
        }

    def raise_for_verdict(self) -> OnlineRecord:
        """Return the finished recording; for a task of another kind see :meth:`finished`.

        :raises RecordFailed: the recording failed; the error holds this outcome.
        :raises TaskNotFound: the recording was not found.
        :raises WaitTimeout: it was still pending when the timeout elapsed.
        :raises TiwError: the verdict is ``unknown``, or this is not about a recording.
        """
        seen = self.finished()
        if isinstance(seen, TiwTask):
            raise TiwError(f"Task {escaped(self.task_id, _SHOWN)} is not a recording.")
        return seen

    def finished(self) -> OnlineRecord | TiwTask:
        """Return the finished task, whatever its kind.

        :raises TaskFailed: it failed, a :class:`RecordFailed` for a recording; the error holds
            this outcome.
        :raises TaskNotFound: it was not found.
        :raises WaitTimeout: it was still pending when the timeout elapsed.
        :raises TiwError: the verdict is ``unknown``.
        """
        seen = self.described
        if self.verdict is Verdict.FINISHED and seen is not None:
            return seen
        if self.verdict is Verdict.FAILED:
            reason = self.error or TaskFailure(self.message)
            failed = RecordFailed if self.task_kind == RECORD_RULES.task_kind else TaskFailed
            raise failed(
                reason.message,
                code=reason.code,
                outcome=self,
                request_id=reason.request_id,
                action=reason.action,
                hint=reason.hint,
            ) from reason
        if self.error is not None:
            raise self.error
        raise WaitTimeout(self.message, outcome=self)


class TaskFailed(TiwError):
    """A task that was waited for has failed; ``outcome`` holds the reason."""

    default_code = "TaskFailed"

    def __init__(self, message: str, *, outcome: Outcome, **details: Any) -> None:
        super().__init__(message, **details)
        self.outcome = outcome


class RecordFailed(TaskFailed):
    """A recording that was waited for has failed."""

    default_code = "RecordFailed"


class WaitTimeout(TiwError):
    """The wait's timeout elapsed; ``outcome`` is the last one that was seen."""

    default_code = "WaitTimeout"

    def __init__(self, message: str, *, outcome: Outcome | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.outcome = outcome


def judge(
    sdk_app_id: int,
    task_id: str,
    answer: OnlineRecord | TiwTask | TiwError,
    acceptance: Acceptance,
    rules: EndRules = RECORD_RULES,
) -> Outcome:
    """Return what an answer, or the error that came instead, means for a task.

    A :class:`~tiw_automation.core.errors.TaskFailure` is the task's own failure, and permanent. An
    answer without a status is ``unknown``: the API page shows one for a failed recording, but the
    same form arises when an error is lost on the way, so the task must be polled again.

    :param rules: how tasks of its kind end; by default those of recordings.
    """
    kind = rules.task_kind
    if isinstance(answer, TiwError):
        verdict = _verdict_of_error(answer)
        return Outcome(sdk_app_id, task_id, verdict, error=answer, task_kind=kind)
    verdict, error = _judge_described(answer, acceptance, rules)
    return Outcome.about(sdk_app_id, task_id, verdict, answer, error=error, task_kind=kind)


def _verdict_of_error(error: TiwError) -> Verdict:
    if isinstance(error, TaskFailure):
        return Verdict.FAILED
    return Verdict.MISSING if isinstance(error, TaskNotFound) else Verdict.UNKNOWN


def _judge_described(
    seen: OnlineRecord | TiwTask, acceptance: Acceptance, rules: EndRules
) -> tuple[Verdict, TiwError | None]:
    if seen.status is None:
        return Verdict.UNKNOWN, _unreadable(seen, rules, "without a Status")
    if seen.status not in rules.final:
        return Verdict.PENDING, None
    if seen.status in rules.failed or (isinstance(seen, TiwTask) and seen.failure):
        return Verdict.FAILED, _own_failure(seen, rules)
    if "finish_reason" in seen.unreadable:
        return Verdict.UNKNOWN, _unreadable(seen, rules, "with a FinishReason that is not a text")
    if not acceptance.accepts(seen.finish_reason):
        return Verdict.FAILED, _ended_badly(seen, rules)
    return _judge_results(seen, acceptance, rules)


def _judge_results(
    seen: OnlineRecord | TiwTask, acceptance: Acceptance, rules: EndRules
) -> tuple[Verdict, TiwError | None]:
    urls: Sized = seen.urls if isinstance(seen, TiwTask) else seen.video_urls
    if not urls and not seen.unreadable.isdisjoint(("videos", "urls")):
        what = "with VideoInfos that cannot be read"
        if isinstance(seen, TiwTask):
            what = "with results that cannot be read"
        return Verdict.UNKNOWN, _unreadable(seen, rules, what)
    if not urls and rules.result and acceptance.require_videos:
        return Verdict.FAILED, _no_results(seen, rules, rules.result)
    _warn_of_unknown_reason(seen, acceptance)
    return Verdict.FINISHED, None


def _named(seen: OnlineRecord | TiwTask, rules: EndRules) -> str:
    return f"{noun_of(rules.task_kind)} {escaped(seen.task_id, _SHOWN)}"


def _unreadable(seen: OnlineRecord | TiwTask, rules: EndRules, what: str) -> TiwError:
    return BadAnswer(
        f"{rules.describe_action} answered for {escaped(seen.task_id, _SHOWN)} {what}.",
        request_id=seen.request_id,
        action=rules.describe_action,
    )


def _own_failure(seen: OnlineRecord | TiwTask, rules: EndRules) -> TiwError:
    code, message = seen.status or "", ""
    if isinstance(seen, TiwTask) and seen.failure:
        code, message = seen.failure
    reason = f"{escaped(code, _SHOWN)} {escaped(message)}".rstrip(". ")
    return TaskFailure(
        f"{_named(seen, rules)} failed: {reason}.",
        code=escaped(code, _SHOWN),
        request_id=seen.request_id,
        action=rules.describe_action,
    )


def _ended_badly(seen: OnlineRecord | TiwTask, rules: EndRules) -> TiwError:
    reason = escaped(seen.finish_reason, _SHOWN)
    count = f" and {counted(len(seen.videos), 'video')}" if isinstance(seen, OnlineRecord) else ""
    return TiwError(
        f"{_named(seen, rules)} ended with FinishReason {reason}{count}.",
        code=f"FinishReason.{reason}",
        request_id=seen.request_id,
        action=rules.describe_action,
        hint=(
            f"Add {reason} to accept_finish_reasons to take it as it is."
            if _FINISH_REASON.fullmatch(reason)
            else "Leave accept_finish_reasons unset to take every reason but EXCEPTION."
        ),
    )


def _no_results(seen: OnlineRecord | TiwTask, rules: EndRules, result: str) -> TiwError:
    of_record = isinstance(seen, OnlineRecord)
    return TiwError(
        f"{_named(seen, rules)} is {seen.status} without a {result}.",
        code="NoVideos" if of_record else "NoUrls",
        request_id=seen.request_id,
        action=rules.describe_action,
        hint=f"Set require_{'videos' if of_record else 'urls'} to false to take it as it is.",
    )


def _warn_of_unknown_reason(seen: OnlineRecord | TiwTask, acceptance: Acceptance) -> None:
    """Warn that an unknown reason is accepted by default; once for each answer."""
    global _warned_of
    reason = seen.finish_reason
    if acceptance.accept_finish_reasons is not None or not reason or reason in _FINISH_REASONS:
        return
    # An answer is judged once for each wait, one directly after the other.
    if seen is not _warned_of:
        _warned_of = seen
        logger.warning(
            "Recording %s ended with FinishReason %s, which is unknown: it is accepted unless "
            "accept_finish_reasons names the reasons to accept.",
            escaped(seen.task_id, _SHOWN),
            escaped(reason, _SHOWN),
        )


_warned_of: OnlineRecord | TiwTask | None = None
