# SPDX-License-Identifier: Apache-2.0
"""What an answer means for a recording: its verdict, and the outcome that a wait returns.

:func:`judge` is the one place that decides a verdict.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tiw_automation.core.checks import did_you_mean
from tiw_automation.core.errors import (
    BadAnswer,
    ConfigurationError,
    RecordingFailure,
    TaskNotFound,
    TiwError,
)
from tiw_automation.core.formatting import escaped, shown
from tiw_automation.core.records.record import FinishReason, OnlineRecord, RecordStatus, Video

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
    """What is known of one recording, and what it means.

    ``error`` is the reason of the verdict ``failed``, ``missing`` or ``unknown``, or a
    :class:`WaitTimeout` where the timeout elapsed while the recording was still pending.
    """

    sdk_app_id: int
    task_id: str
    verdict: Verdict
    record: OnlineRecord | None = None
    error: TiwError | None = None

    @property
    def is_final(self) -> bool:
        """Whether no further poll can change it."""
        return self.verdict in (Verdict.FINISHED, Verdict.FAILED, Verdict.MISSING)

    @property
    def message(self) -> str:
        """One sentence for a person, without a URL."""
        if self.error is not None:
            return str(self.error)
        record, task_id = self.record, escaped(self.task_id, _SHOWN)
        if record is None:
            return f"Recording {task_id}: nothing is known yet."
        if self.verdict is Verdict.FINISHED:
            reason = escaped(record.finish_reason or "no reason given", _SHOWN)
            return f"Recording {task_id} is FINISHED ({reason}), {_count(record.videos)}."
        return f"Recording {task_id} is {escaped(record.status or 'without a status', _SHOWN)}."

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native data with every key, always."""
        return {
            "sdk_app_id": self.sdk_app_id,
            "task_id": self.task_id,
            "verdict": self.verdict.value,
            "message": self.message,
            "record": self.record.to_dict() if self.record else None,
            "error": self.error.to_dict() if self.error else None,
        }

    def raise_for_verdict(self) -> OnlineRecord:
        """Return the finished recording.

        :raises RecordFailed: the recording failed; the error holds this outcome.
        :raises TaskNotFound: the recording was not found.
        :raises WaitTimeout: it was still pending when the timeout elapsed.
        :raises TiwError: the verdict is ``unknown``.
        """
        if self.verdict is Verdict.FINISHED and self.record is not None:
            return self.record
        if self.verdict is Verdict.FAILED:
            reason = self.error or RecordingFailure(self.message)
            raise RecordFailed(
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


class RecordFailed(TiwError):
    """A recording that was waited for has failed; ``outcome`` holds the reason."""

    default_code = "RecordFailed"

    def __init__(self, message: str, *, outcome: Outcome, **details: Any) -> None:
        super().__init__(message, **details)
        self.outcome = outcome


class WaitTimeout(TiwError):
    """The wait's timeout elapsed; ``outcome`` is the last one that was seen."""

    default_code = "WaitTimeout"

    def __init__(self, message: str, *, outcome: Outcome | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.outcome = outcome


def judge(
    sdk_app_id: int, task_id: str, answer: OnlineRecord | TiwError, acceptance: Acceptance
) -> Outcome:
    """Return what an answer, or the error that came instead, means for a recording.

    ``FailedOperation.Record`` is the recording's own failure, and permanent. An answer without a
    status is ``unknown``: the API page shows one for a failed recording, but the same form arises
    when an error is lost on the way, so the recording must be polled again.
    """
    if isinstance(answer, TiwError):
        return Outcome(sdk_app_id, task_id, _verdict_of_error(answer), error=answer)
    verdict, error = _judge_record(answer, acceptance)
    return Outcome(sdk_app_id, task_id, verdict, answer, error)


def _verdict_of_error(error: TiwError) -> Verdict:
    if isinstance(error, RecordingFailure):
        return Verdict.FAILED
    return Verdict.MISSING if isinstance(error, TaskNotFound) else Verdict.UNKNOWN


def _judge_record(record: OnlineRecord, acceptance: Acceptance) -> tuple[Verdict, TiwError | None]:
    if record.status is None:
        return Verdict.UNKNOWN, _unreadable(record, "without a Status")
    if record.status != RecordStatus.FINISHED:
        return Verdict.PENDING, None
    if "finish_reason" in record.unreadable:
        return Verdict.UNKNOWN, _unreadable(record, "with a FinishReason that is not a text")
    if not acceptance.accepts(record.finish_reason):
        return Verdict.FAILED, _ended_badly(record)
    if not record.video_urls and "videos" in record.unreadable:
        return Verdict.UNKNOWN, _unreadable(record, "with VideoInfos that cannot be read")
    if not record.video_urls and acceptance.require_videos:
        return Verdict.FAILED, _no_videos(record)
    _warn_of_unknown_reason(record, acceptance)
    return Verdict.FINISHED, None


def _unreadable(record: OnlineRecord, what: str) -> TiwError:
    return BadAnswer(
        f"DescribeOnlineRecord answered for {escaped(record.task_id, _SHOWN)} {what}.",
        request_id=record.request_id,
        action="DescribeOnlineRecord",
    )


def _ended_badly(record: OnlineRecord) -> TiwError:
    reason = escaped(record.finish_reason, _SHOWN)
    return TiwError(
        f"Recording {escaped(record.task_id, _SHOWN)} ended with FinishReason {reason} "
        f"and {_count(record.videos)}.",
        code=f"FinishReason.{reason}",
        request_id=record.request_id,
        action="DescribeOnlineRecord",
        hint=(
            f"Add {reason} to accept_finish_reasons to take it as it is."
            if _FINISH_REASON.fullmatch(reason)
            else "Leave accept_finish_reasons unset to take every reason but EXCEPTION."
        ),
    )


def _no_videos(record: OnlineRecord) -> TiwError:
    return TiwError(
        f"Recording {escaped(record.task_id, _SHOWN)} is FINISHED without a video.",
        code="NoVideos",
        request_id=record.request_id,
        action="DescribeOnlineRecord",
        hint="Set require_videos to false to take it as it is.",
    )


def _warn_of_unknown_reason(record: OnlineRecord, acceptance: Acceptance) -> None:
    """Warn that an unknown reason is accepted by default; once for each answer."""
    global _warned_of
    reason = record.finish_reason
    if acceptance.accept_finish_reasons is not None or not reason or reason in _FINISH_REASONS:
        return
    # An answer is judged once for each wait, one directly after the other.
    if record is not _warned_of:
        _warned_of = record
        logger.warning(
            "Recording %s ended with FinishReason %s, which is unknown: it is accepted unless "
            "accept_finish_reasons names the reasons to accept.",
            escaped(record.task_id, _SHOWN),
            escaped(reason, _SHOWN),
        )


_warned_of: OnlineRecord | None = None


def _count(videos: Sequence[Video]) -> str:
    return "1 video" if len(videos) == 1 else f"{len(videos)} videos"
