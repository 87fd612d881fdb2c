# SPDX-License-Identifier: Apache-2.0
"""The life of one recording, as a pure function of the virtual time."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any
from urllib.parse import quote

from .errors import ApiFault
from .media import mp3, mp4

VIDEO_TYPES = {"camera": 0, "screen_share": 1, "whiteboard": 2, "mixed": 3, "audio": 4}
"""The API's ``VideoType`` of each kind of video."""
FINISH_REASONS = ("AUTO", "USER_CALL", "EXCEPTION", "FORCE_STOP")
TIMELINE_STATUSES = ("PREPARED", "RECORDING", "PAUSED", "STOPPED")
"""What a timeline consists of; FINISHED is what comes after it."""
ANSWERS = ("normal", "request_id_only")
BEFORE_THE_TIMELINE_S = 60.0
"""How long a recording whose timeline begins with PAUSED or STOPPED, or is empty, had run."""


@dataclass(frozen=True, slots=True)
class Phase:
    """Virtual ``seconds`` in one state."""

    status: str
    seconds: float


DEFAULT_TIMELINE = (
    Phase("PREPARED", 2),
    Phase("RECORDING", 20),
    Phase("PAUSED", 10),
    Phase("RECORDING", 20),
    Phase("STOPPED", 8),
)


@dataclass(frozen=True, slots=True)
class VideoSource:
    """One stream that is recorded; sizes are in pixels."""

    kind: str
    user_id: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class VideoFile:
    """One file that a recording left behind."""

    source: VideoSource
    video_id: str
    play_time_ms: int
    duration_ms: int

    @property
    def format(self) -> str:
        """``mp4``, or ``mp3`` for sound alone."""
        return "mp3" if self.source.kind == "audio" else "mp4"

    @property
    def content(self) -> bytes:
        """The file's bytes."""
        if self.source.kind == "audio":
            return mp3(self.duration_ms)
        return mp4(self.source.width, self.source.height, self.duration_ms)


@dataclass(frozen=True)
class Recording:
    """One recording task.

    Its answer follows its timeline, which begins at ``created``; then it is FINISHED, or, if it
    has a ``failure``, answered with that error.

    :param created: virtual UNIX seconds
    :param concat: whether every stream becomes one file, or one per stretch between pauses
    :param interrupts: breaks of the stream per user id
    :param answer: ``request_id_only`` leaves everything else out of every answer
    :param fields: added to every answer, or put in place of what is there
    """

    sdk_app_id: int
    task_id: str
    created: float
    timeline: tuple[Phase, ...]
    finish_reason: str
    videos: tuple[VideoSource, ...]
    failure: ApiFault | None
    concat: bool
    room_id: int
    group_id: str
    record_user_id: str
    exception_count: int
    interrupts: Mapping[str, int]
    replay_url: str | None
    answer: str
    fields: Mapping[str, Any]

    @cached_property
    def _phases(self) -> tuple[Phase, ...]:
        if not self.timeline or self.timeline[0].status in ("PAUSED", "STOPPED"):
            return (Phase("RECORDING", BEFORE_THE_TIMELINE_S), *self.timeline)
        return self.timeline

    @cached_property
    def _starts(self) -> tuple[float, ...]:
        """When each phase starts, and when the last one ends: virtual UNIX seconds."""
        start = self.created
        if self._phases is not self.timeline:
            start -= BEFORE_THE_TIMELINE_S
        starts = [start]
        for phase in self._phases:
            start += phase.seconds
            starts.append(start)
        return tuple(starts)

    @cached_property
    def _stretches(self) -> tuple[tuple[float, float], ...]:
        """From when to when it recorded: virtual UNIX seconds."""
        return tuple(
            span
            for phase, span in zip(self._phases, pairwise(self._starts), strict=True)
            if phase.status == "RECORDING"
        )

    @cached_property
    def _stopped_at(self) -> float:
        for phase, start in zip(self._phases, self._starts, strict=False):
            if phase.status == "STOPPED":
                return start
        return self._starts[-1]

    @cached_property
    def _total_ms(self) -> int:
        return sum(_ms(end - start) for start, end in self._stretches)

    @cached_property
    def files(self) -> tuple[VideoFile, ...]:
        """The files that exist once it is FINISHED."""
        if not self._stretches:
            return ()
        if self.concat:
            spans = [(0, self._total_ms)]
        else:
            spans, position = [], 0
            for start, end in self._stretches:
                spans.append((position, _ms(end - start)))
                position += _ms(end - start)
        return tuple(
            VideoFile(source, self._video_id(number, position), position, duration)
            for number, source in enumerate(self.videos)
            for position, duration in spans
        )

    def status(self, now: float) -> str:
        """Return the state at the virtual time ``now``, UNIX seconds."""
        for phase, end in zip(self._phases, self._starts[1:], strict=True):
            if now < end:
                return phase.status
        return "FINISHED"

    def describe(self, now: float, base_url: str) -> dict[str, Any]:
        """Return the answer at the virtual time ``now`` without its RequestId.

        :param now: virtual UNIX seconds
        :param base_url: where the video files are, e.g. ``http://127.0.0.1:8787``
        :raises ApiFault: when the recording failed
        """
        if self.answer == "request_id_only":
            return {}
        status = self.status(now)
        finished = status == "FINISHED"
        if finished and self.failure is not None:
            raise ApiFault(self.failure.code, self.failure.message)
        stopped = finished or status == "STOPPED"
        started = status != "PREPARED" and bool(self._stretches)
        answer: dict[str, Any] = {
            "TaskId": self.task_id,
            "Status": status,
            "FinishReason": self.finish_reason if stopped else "",
            "RoomId": self.room_id,
            "GroupId": self.group_id,
            "RecordUserId": self.record_user_id,
            "RecordStartTime": int(self._stretches[0][0]) if started else 0,
            "RecordStopTime": int(self._stopped_at) if stopped else 0,
            "TotalTime": self._total_ms if finished else 0,
            "ExceptionCnt": self.exception_count if stopped else 0,
            "OmittedDurations": self._omitted() if finished and self.concat else [],
            "ReplayUrl": self.replay_url if finished else None,
            "Interrupts": None,
        }
        if finished:
            answer["VideoInfos"] = [self._video_info(file, base_url) for file in self.files]
            answer["Interrupts"] = [
                {"UserId": user_id, "Count": count} for user_id, count in self.interrupts.items()
            ]
        answer.update(self.fields)
        return answer

    def _omitted(self) -> list[dict[str, int]]:
        omitted, position = [], 0
        for (start, end), (resumed, _) in pairwise(self._stretches):
            position += _ms(end - start)
            if resumed > end:
                omitted.append(
                    {"VideoTime": position, "PauseTime": _ms(end), "ResumeTime": _ms(resumed)}
                )
        return omitted

    def _video_info(self, file: VideoFile, base_url: str) -> dict[str, Any]:
        source, task = file.source, quote(self.task_id, safe="")
        url = f"{base_url}/videos/{self.sdk_app_id}/{task}/{file.video_id}.{file.format}"
        return {
            "VideoPlayTime": file.play_time_ms,
            "VideoSize": len(file.content),
            "VideoFormat": file.format,
            "VideoDuration": file.duration_ms,
            "VideoUrl": url,
            "VideoId": file.video_id,
            "VideoType": VIDEO_TYPES[source.kind],
            "UserId": source.user_id,
            "Width": source.width,
            "Height": source.height,
        }

    def _video_id(self, number: int, position_ms: int) -> str:
        name = f"{self.sdk_app_id}/{self.task_id}/{number}/{position_ms}"
        return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
