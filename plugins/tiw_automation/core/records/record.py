# SPDX-License-Identifier: Apache-2.0
"""What a recording is, and what an answer means.

The types follow the data types of ``DescribeOnlineRecord``
(https://www.tencentcloud.com/document/product/1176/53506), in Python's case, with the unit in
each name. :func:`judge` is the one place that says what an answer or an error means.
"""

from __future__ import annotations

import difflib
import logging
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from tiw_automation.core.errors import (
    BadAnswer,
    ConfigurationError,
    RecordFailed,
    RecordingFailure,
    TaskNotFound,
    TiwError,
    WaitTimeout,
)
from tiw_automation.core.formatting import escaped, shown
from tiw_automation.core.records.fields import Fields

logger = logging.getLogger(__name__)

# Tencent's own bucket, used where an account configured none; files there live three days.
_PUBLIC_HOST = "online-recording-1259648581.file.myqcloud.com"
_PUBLIC_HOST_KEEPS_S = 3 * 24 * 3600


class RecordStatus(StrEnum):
    """The states of a recording, in their order; only FINISHED is the end."""

    PREPARED = "PREPARED"
    RECORDING = "RECORDING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    FINISHED = "FINISHED"

    @property
    def is_terminal(self) -> bool:
        """Whether the recording can change no more; STOPPED still uploads its videos."""
        return self is RecordStatus.FINISHED


class FinishReason(StrEnum):
    """Why a recording ended."""

    AUTO = "AUTO"
    USER_CALL = "USER_CALL"
    EXCEPTION = "EXCEPTION"
    FORCE_STOP = "FORCE_STOP"


class VideoKind(StrEnum):
    """What a video shows: the name of the API's ``VideoType``."""

    CAMERA = "camera"
    SCREEN_SHARE = "screen_share"
    WHITEBOARD = "whiteboard"
    MIXED = "mixed"
    AUDIO = "audio"
    UNKNOWN = "unknown"


_KIND_OF_TYPE = {
    0: VideoKind.CAMERA,
    1: VideoKind.SCREEN_SHARE,
    2: VideoKind.WHITEBOARD,
    3: VideoKind.MIXED,
    4: VideoKind.AUDIO,
}


class Verdict(StrEnum):
    """What an answer means for a wait."""

    PENDING = "pending"
    FINISHED = "finished"
    FAILED = "failed"
    MISSING = "missing"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Video:
    """One video file of a recording (``VideoInfo``)."""

    id: str | None
    url: str | None
    format: str | None
    type: int | None
    user_id: str | None
    play_time_ms: int | None
    duration_ms: int | None
    size_bytes: int | None
    width: int | None
    height: int | None

    @property
    def kind(self) -> VideoKind:
        """The name of :attr:`type`; ``unknown`` for a number that is not documented."""
        return (
            _KIND_OF_TYPE.get(self.type, VideoKind.UNKNOWN)
            if self.type is not None
            else VideoKind.UNKNOWN
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native data with every key, always."""
        return {
            "id": self.id,
            "url": self.url,
            "format": self.format,
            "type": self.type,
            "kind": self.kind.value,
            "user_id": self.user_id,
            "play_time_ms": self.play_time_ms,
            "duration_ms": self.duration_ms,
            "size_bytes": self.size_bytes,
            "width": self.width,
            "height": self.height,
        }


@dataclass(frozen=True, slots=True)
class OmittedDuration:
    """A pause that video splicing cut out (``OmittedDuration``); UNIX times in milliseconds."""

    video_time_ms: int | None
    pause_time_ms: int | None
    resume_time_ms: int | None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """How often a user's stream broke (``Interrupt``)."""

    user_id: str | None
    count: int | None


@dataclass(frozen=True, slots=True)
class OnlineRecord:
    """A recording as DescribeOnlineRecord shows it at one moment.

    ``status`` and ``finish_reason`` are the API's own words, so a word that Tencent adds later
    passes through; compare them with :class:`RecordStatus` and :class:`FinishReason`.
    ``raw`` is the answer as it came; a field of it that is nested deeper than 64 levels is None.
    ``unreadable`` holds the attributes that decide an outcome (``finish_reason``, ``videos``) and
    were given in a form that cannot be read.
    """

    sdk_app_id: int
    task_id: str
    status: str | None = None
    finish_reason: str | None = None
    room_id: int | None = None
    group_id: str | None = None
    record_user_id: str | None = None
    record_start_time: int | None = None
    record_stop_time: int | None = None
    total_time_ms: int | None = None
    exception_count: int | None = None
    omitted_durations: tuple[OmittedDuration, ...] = ()
    videos: tuple[Video, ...] = ()
    replay_url: str | None = None
    interrupts: tuple[Interrupt, ...] = ()
    request_id: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    unreadable: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    @classmethod
    def from_response(
        cls, response: Mapping[str, Any], *, sdk_app_id: int, task_id: str
    ) -> OnlineRecord:
        """Read the ``Response`` object of DescribeOnlineRecord.

        What is odd is converted where its meaning is plain; else it is None, with one warning
        per field and process.

        :param sdk_app_id: the application that was asked; the answer does not repeat it.
        :param task_id: the recording that was asked for, kept where the answer lacks it.
        :raises BadAnswer: the answer is about another recording, or is not an object.
        """
        read = Fields(response, "Response", action="DescribeOnlineRecord")
        answered = read.text("TaskId") or task_id
        if answered.strip() not in (task_id.strip(), "") or "TaskId" in read.unreadable:
            shown = "unreadable" if "TaskId" in read.unreadable else escaped(answered, _SHOWN)
            raise BadAnswer(
                f"Asked for recording '{escaped(task_id, _SHOWN)}', the answer's TaskId is "
                f"'{shown}'.",
                request_id=_request_id(read, "RequestId"),
                action="DescribeOnlineRecord",
            )
        return cls._read(read, _API_NAMES, sdk_app_id, task_id, _not_too_deep(response))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OnlineRecord:
        """Read what :meth:`to_dict` wrote; derived keys and unknown ones are ignored.

        :raises BadAnswer: it is not an object.
        """
        read = Fields(data, "record")
        app_id, task_id = read.integer("sdk_app_id") or 0, read.text("task_id") or ""
        return cls._read(read, _OWN_NAMES, app_id, task_id, {})

    @classmethod
    def _read(
        cls,
        read: Fields,
        names: Callable[[str], str],
        sdk_app_id: int,
        task_id: str,
        raw: Mapping[str, Any],
    ) -> OnlineRecord:
        videos = read.items(names("videos"))
        record = cls(
            sdk_app_id=sdk_app_id,
            task_id=task_id,
            status=read.word(names("status")),
            finish_reason=read.word(names("finish_reason")),
            room_id=read.positive(names("room_id")),
            group_id=read.text(names("group_id")),
            record_user_id=read.text(names("record_user_id")),
            record_start_time=read.time(names("record_start_time")),
            record_stop_time=read.time(names("record_stop_time")),
            total_time_ms=read.integer(names("total_time_ms")),
            exception_count=read.integer(names("exception_count")),
            omitted_durations=tuple(
                OmittedDuration(
                    video_time_ms=item.integer(names("video_time_ms")),
                    pause_time_ms=item.positive(names("pause_time_ms")),
                    resume_time_ms=item.positive(names("resume_time_ms")),
                )
                for item in read.items(names("omitted_durations"))
            ),
            videos=tuple(
                Video(
                    id=item.text(names("id")),
                    url=item.url(names("url")),
                    format=item.text(names("format")),
                    type=item.integer(names("type")),
                    user_id=item.text(names("user_id")),
                    play_time_ms=item.integer(names("play_time_ms")),
                    duration_ms=item.integer(names("duration_ms")),
                    size_bytes=item.integer(names("size_bytes")),
                    width=item.integer(names("width")),
                    height=item.integer(names("height")),
                )
                for item in videos
            ),
            replay_url=read.url(names("replay_url")),
            interrupts=tuple(
                Interrupt(user_id=item.text(names("user_id")), count=item.integer(names("count")))
                for item in read.items(names("interrupts"))
            ),
            request_id=_request_id(read, names("request_id")),
            raw=raw,
        )
        unreadable = {n for n in ("finish_reason", "videos") if names(n) in read.unreadable}
        url = names("url")
        if any(url not in item.data or url in item.unreadable for item in videos):
            unreadable.add("videos")
        return replace(record, unreadable=frozenset(unreadable)) if unreadable else record

    @property
    def video_urls(self) -> list[str]:
        """The URLs of all videos that have one, in the API's order."""
        return [video.url for video in self.videos if video.url]

    @property
    def videos_expire_at(self) -> int | None:
        """When Tencent deletes the videos: an estimate in UNIX seconds, or None where unknown.

        Known only for Tencent's public bucket, which keeps files for three days.
        """
        hosts = set(map(_host, self.video_urls))
        if hosts != {_PUBLIC_HOST} or self.record_stop_time is None:
            return None
        return self.record_stop_time + _PUBLIC_HOST_KEEPS_S

    def select(self, kinds: Iterable[VideoKind] | None) -> tuple[Video, ...]:
        """Return the videos of the given kinds, or all of them for None."""
        if kinds is None:
            return self.videos
        wanted = set(kinds)
        return tuple(video for video in self.videos if video.kind in wanted)

    def to_dict(self) -> dict[str, Any]:
        """Return the one JSON shape that Ansible returns, XCom holds and events carry."""
        return {
            "sdk_app_id": self.sdk_app_id,
            "task_id": self.task_id,
            "status": self.status,
            "finish_reason": self.finish_reason,
            "room_id": self.room_id,
            "group_id": self.group_id,
            "record_user_id": self.record_user_id,
            "record_start_time": self.record_start_time,
            "record_stop_time": self.record_stop_time,
            "total_time_ms": self.total_time_ms,
            "exception_count": self.exception_count,
            "omitted_durations": [asdict(item) for item in self.omitted_durations],
            "videos": [video.to_dict() for video in self.videos],
            "video_urls": self.video_urls,
            "videos_expire_at": self.videos_expire_at,
            "replay_url": self.replay_url,
            "interrupts": [asdict(item) for item in self.interrupts],
            "request_id": self.request_id,
        }


@dataclass(frozen=True, slots=True)
class Acceptance:
    """Which finished recordings count as good.

    :param accept_finish_reasons: the reasons that are no failure: a list, or one text with commas
        between them. None, the default, means all but EXCEPTION, among them reasons that Tencent
        adds later; AUTO, USER_CALL and FORCE_STOP together mean the same and become None. An
        empty list accepts no reason.
    :param require_videos: whether a finished recording without a video is a failure.
    :param any_reason: whether every reason is accepted, EXCEPTION too;
        ``accept_finish_reasons`` must be None then.
    :raises ConfigurationError: a reason is not a word of the form ``[A-Z][A-Z0-9_]*``. One of
        that form that is not known is a warning.
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
        """Return what options say: reasons in any form of a list, None for the default."""
        reasons: Any = accept_finish_reasons
        return cls(reasons, require_videos)

    def accepts(self, finish_reason: str | None) -> bool:
        """Return whether a recording that ended for this reason is no failure.

        Where the API gives no reason there is nothing against it.
        """
        if not finish_reason or self.any_reason:
            return True
        if self.accept_finish_reasons is None:
            return finish_reason != FinishReason.EXCEPTION
        return finish_reason in self.accept_finish_reasons

    def warnings(self) -> list[str]:
        """Return a sentence about each accepted reason that is not known; these are logged too."""
        return [
            f"accept_finish_reasons: {escaped(reason, _SHOWN)} is not a finish reason that is "
            f"known.{_nearest(reason)} Known are {_KNOWN_REASONS}."
            for reason in self.accept_finish_reasons or ()
            if reason not in _FINISH_REASONS
        ]


_FINISH_REASON = re.compile("[A-Z][A-Z0-9_]*")
_KNOWN_REASONS = ", ".join(FinishReason)
_FINISH_REASONS = frozenset(FinishReason)
_USUAL_REASONS = _FINISH_REASONS - {FinishReason.EXCEPTION}
_REASONS_HINT = f"Known are {_KNOWN_REASONS}; a reason has the form [A-Z][A-Z0-9_]*."


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


def _nearest(reason: str) -> str:
    near = difflib.get_close_matches(reason, list(FinishReason), 1)
    return f" Did you mean {near[0]}?" if near else ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of one recording, and what it means.

    ``error`` holds why a verdict is ``failed``, ``missing`` or ``unknown``, and a
    :class:`WaitTimeout` where time ran out while the recording was still pending.
    """

    sdk_app_id: int
    task_id: str
    verdict: Verdict
    record: OnlineRecord | None = None
    error: TiwError | None = None

    @property
    def is_final(self) -> bool:
        """Whether asking again can change nothing."""
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
        """Return JSON-native data; :meth:`from_dict` reads it back."""
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

        :raises RecordFailed: the recording failed, with this outcome.
        :raises TaskNotFound: there is no such recording.
        :raises WaitTimeout: it was still pending when the time ran out.
        :raises TiwError: the API could not say.
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


def judge(
    sdk_app_id: int, task_id: str, answer: OnlineRecord | TiwError, acceptance: Acceptance
) -> Outcome:
    """Say what an answer, or the error that came instead, means for a recording.

    ``FailedOperation.Record`` is the recording's own failure, never a passing one. An answer
    without a status is ``unknown``: the API page shows one for a failed recording, but the same
    shape arises when an error is lost on the way, so it has to be asked again.
    """
    if isinstance(answer, RecordingFailure):
        return Outcome(sdk_app_id, task_id, Verdict.FAILED, error=answer)
    if isinstance(answer, TaskNotFound):
        return Outcome(sdk_app_id, task_id, Verdict.MISSING, error=answer)
    if isinstance(answer, TiwError):
        return Outcome(sdk_app_id, task_id, Verdict.UNKNOWN, error=answer)
    if answer.status is None:
        return _unknown(sdk_app_id, task_id, answer, "without a Status")
    if answer.status != RecordStatus.FINISHED:
        return Outcome(sdk_app_id, task_id, Verdict.PENDING, record=answer)
    if "finish_reason" in answer.unreadable:
        return _unknown(sdk_app_id, task_id, answer, "with a FinishReason that is not a text")
    if not acceptance.accepts(answer.finish_reason):
        return Outcome(
            sdk_app_id, task_id, Verdict.FAILED, record=answer, error=_ended_badly(answer)
        )
    if not answer.video_urls and "videos" in answer.unreadable:
        return _unknown(sdk_app_id, task_id, answer, "with VideoInfos that cannot be read")
    if not answer.video_urls and acceptance.require_videos:
        return Outcome(sdk_app_id, task_id, Verdict.FAILED, record=answer, error=_no_videos(answer))
    _warn_of_unknown_reason(answer, acceptance)
    return Outcome(sdk_app_id, task_id, Verdict.FINISHED, record=answer)


def _unknown(sdk_app_id: int, task_id: str, record: OnlineRecord, what: str) -> Outcome:
    error = BadAnswer(
        f"DescribeOnlineRecord answered for {escaped(task_id, _SHOWN)} {what}.",
        request_id=record.request_id,
        action="DescribeOnlineRecord",
    )
    return Outcome(sdk_app_id, task_id, Verdict.UNKNOWN, record=record, error=error)


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
    """Warn that a reason which is not known counts as good by default; once for an answer."""
    global _warned_of
    reason = record.finish_reason
    if acceptance.accept_finish_reasons is not None or not reason or reason in _FINISH_REASONS:
        return
    # An answer is judged once for each that waits, one after the other.
    if record is not _warned_of:
        _warned_of = record
        logger.warning(
            "Recording %s ended with FinishReason %s, which is not known: it is accepted unless "
            "accept_finish_reasons names the reasons to accept.",
            escaped(record.task_id, _SHOWN),
            escaped(reason, _SHOWN),
        )


_warned_of: OnlineRecord | None = None


def _count(videos: Sequence[Video]) -> str:
    return "1 video" if len(videos) == 1 else f"{len(videos)} videos"


# What TIW's ids look like, and room for more: no sign of it is special in a shell or a template.
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}")
_TASK_ID_HINT = "Give the TaskId that StartOnlineRecord returned, as a string."
_SHOWN = 80
# Ids of another form that StartOnlineRecord returned to this process.
_started_task_ids: set[str] = set()


def allow_task_id(task_id: str) -> None:
    """Note an id that StartOnlineRecord returned: this process never refuses it."""
    if not _TASK_ID.fullmatch(task_id):
        _started_task_ids.add(task_id)


def check_task_ids(value: object) -> list[str]:
    """Return the task ids of a wait: each once, in the order given.

    This is the one reader of task ids, for every adapter.

    :param value: one id, several in one string with commas between, or any iterable of ids.
    :raises ConfigurationError: there is none, or one is no string, empty or of another form than
        ``[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}``.
    """
    if isinstance(value, str) and value in _started_task_ids:
        return [value]
    if isinstance(value, str):
        _refuse_text_of_a_list(value)
        value = map(str.strip, value.split(","))
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"A task id has to be a string or a list of strings, not {shown(value, _SHOWN)}.",
            hint=_TASK_ID_HINT,
        )
    ids = dict.fromkeys(map(check_task_id, value))
    if not ids:
        raise ConfigurationError("No task id was given.", hint=_TASK_ID_HINT)
    return list(ids)


def check_task_id(value: object) -> str:
    """Return one task id.

    :raises ConfigurationError: it is no string, empty or of another form than
        ``[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}``.
    """
    if not isinstance(value, str):
        raise ConfigurationError(
            f"A task id has to be a string, not {shown(value, _SHOWN)} ({type(value).__name__}).",
            hint=_TASK_ID_HINT,
        )
    if _TASK_ID.fullmatch(value) or value in _started_task_ids:
        return value
    _refuse_text_of_a_list(value)
    if not value.strip():
        raise ConfigurationError("A task id is empty.", hint=_TASK_ID_HINT)
    raise ConfigurationError(
        f"This is not a task id: '{escaped(value, _SHOWN)}' ({len(value)} characters).",
        hint=(
            "A task id has 1 to 128 letters, digits and signs of _.:=@+- and begins with a "
            f"letter or a digit. {_TASK_ID_HINT}"
        ),
    )


def _refuse_text_of_a_list(text: str) -> None:
    if text.startswith(("[", "(", "{")):
        raise ConfigurationError(
            f"This is the text of a list, not a task id: '{escaped(text, _SHOWN)}'.",
            hint="Give the list itself: what makes it renders it as a text.",
        )


# More than any number of ours has; Python refuses to read thousands.
_DIGITS = 40


def whole_number(value: object) -> object:
    """Return the number that a text of digits is, as templates render one; else what was given."""
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else value


def check_sdk_app_id(value: object) -> int:
    """Return an SdkAppId as the API wants it; digits in a string are taken as the number.

    :raises ConfigurationError: it is no positive integer.
    """
    value = whole_number(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise ConfigurationError(
            f"sdk_app_id has to be a positive integer, not {shown(value, _SHOWN)}.",
            hint="It is the number that the TIW console shows for the application.",
        )
    return value


def check_seconds(name: str, value: object) -> float:
    """Return a number of seconds.

    :raises ConfigurationError: it is no number, below zero or without an end.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value <= sys.float_info.max
    ):
        raise ConfigurationError(
            f"{name} has to be a number of seconds, zero or more, not {shown(value, _SHOWN)}."
        )
    return float(value)


def check_video_kinds(value: object) -> tuple[VideoKind, ...] | None:
    """Return the kinds of video that are wanted, or None for all.

    :raises ConfigurationError: one is not a kind.
    """
    if value is None:
        return None
    names = [value] if isinstance(value, str) else value
    allowed = ", ".join(kind.value for kind in VideoKind)
    if isinstance(names, Mapping) or not isinstance(names, Iterable):
        raise ConfigurationError(
            f"video_kinds has to be a list, not {shown(value, _SHOWN)}.",
            hint=f"Use any of {allowed}.",
        )
    kinds = []
    for name in names:
        try:
            kinds.append(VideoKind(name))
        except ValueError:
            raise ConfigurationError(
                f"video_kinds: {shown(name, _SHOWN)} is not a kind of video.",
                hint=f"Use any of {allowed}.",
            ) from None
    return tuple(kinds)


_API_FIELDS = {
    "status": "Status",
    "finish_reason": "FinishReason",
    "room_id": "RoomId",
    "group_id": "GroupId",
    "record_user_id": "RecordUserId",
    "record_start_time": "RecordStartTime",
    "record_stop_time": "RecordStopTime",
    "total_time_ms": "TotalTime",
    "exception_count": "ExceptionCnt",
    "replay_url": "ReplayUrl",
    "request_id": "RequestId",
    "omitted_durations": "OmittedDurations",
    "video_time_ms": "VideoTime",
    "pause_time_ms": "PauseTime",
    "resume_time_ms": "ResumeTime",
    "videos": "VideoInfos",
    "id": "VideoId",
    "url": "VideoUrl",
    "format": "VideoFormat",
    "type": "VideoType",
    "user_id": "UserId",
    "play_time_ms": "VideoPlayTime",
    "duration_ms": "VideoDuration",
    "size_bytes": "VideoSize",
    "width": "Width",
    "height": "Height",
    "interrupts": "Interrupts",
    "count": "Count",
}
_API_NAMES = _API_FIELDS.__getitem__
_OWN_NAMES = str
_DEEPEST = 64


def _request_id(read: Fields, key: str) -> str | None:
    found = read.text(key)
    return None if found is None else escaped(found, _SHOWN)


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _not_too_deep(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an answer without what is nested so deep that copying or pickling it would fail."""
    deep = [key for key, value in response.items() if _is_too_deep(value)]
    return {**response, **dict.fromkeys(deep)} if deep else response


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True
