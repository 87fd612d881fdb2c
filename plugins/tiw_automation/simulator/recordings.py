# SPDX-License-Identifier: Apache-2.0
"""The states of one recording, as a pure function of the virtual time.

Its timeline is what happens without further calls; a call returns a recording with another
timeline, whose past is the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, ClassVar
from urllib.parse import quote

from .errors import ApiFault
from .media import mp3, mp4

VIDEO_TYPES = {"camera": 0, "screen_share": 1, "whiteboard": 2, "mixed": 3, "audio": 4}
"""The API's ``VideoType`` of each kind of video."""
FINISH_REASONS = ("AUTO", "USER_CALL", "EXCEPTION", "FORCE_STOP")
TIMELINE_STATUSES = ("PREPARED", "RECORDING", "PAUSED", "STOPPED")
"""The states of a timeline; FINISHED follows it."""
RUNNING = ("PREPARED", "RECORDING", "PAUSED")
"""The states in which a recording occupies its room and its user."""
ANSWERS = ("normal", "request_id_only")
BEFORE_THE_TIMELINE_S = 60.0
"""How long a recording had run whose timeline begins with PAUSED or STOPPED, or is empty."""
PREPARING_S = 2.0
MAX_PAUSE_S = 90 * 60.0
MAX_TOTAL_S = 24 * 3600.0
PAUSE_WARNING_S = 20 * 60.0
VIDEOS_KEPT_S = 3 * 86400.0
DEFAULT_STOPPED_S = 8.0
DEFAULT_AUTO_STOP_S = 300.0
_MAX_FRAME_PIXELS = 3000


@dataclass(frozen=True, slots=True)
class Phase:
    """Virtual ``seconds`` in one state."""

    status: str
    seconds: float


DEFAULT_TIMELINE = (
    Phase("PREPARED", PREPARING_S),
    Phase("RECORDING", 20),
    Phase("PAUSED", 10),
    Phase("RECORDING", 20),
    Phase("STOPPED", DEFAULT_STOPPED_S),
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
    """One video file of a recording."""

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
        width, height = (
            min(pixels + pixels % 2, _MAX_FRAME_PIXELS)
            for pixels in (self.source.width, self.source.height)
        )
        return mp4(width, height, min(self.duration_ms, 2**32 - 1))

    @property
    def name(self) -> str:
        """The file's name."""
        return f"{self.video_id}.{self.format}"

    def info(self, url: str) -> dict[str, Any]:
        """Return its ``VideoInfo`` in an answer.

        :param url: where the videos are, with a slash at its end
        """
        return {
            "VideoPlayTime": self.play_time_ms,
            "VideoSize": len(self.content),
            "VideoFormat": self.format,
            "VideoDuration": self.duration_ms,
            "VideoUrl": url + self.name,
            "VideoId": self.video_id,
            "VideoType": VIDEO_TYPES[self.source.kind],
            "UserId": self.source.user_id,
            "Width": self.source.width,
            "Height": self.source.height,
        }


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a callback: its name, when it happens and, for some, more times.

    :param at: virtual UNIX seconds
    """

    kind: str
    at: float
    times: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """One recording task.

    Its answer follows its timeline, which begins at ``created``; then it is FINISHED, or the
    answer is its ``failure``.

    :param created: virtual UNIX seconds
    :param concat: whether each stream becomes one file, or one for each part between pauses
    :param interrupts: interruptions of the stream for each user id
    :param replay_url: where it begins with a slash, it is on this server
    :param answer: with ``request_id_only`` the answers have nothing else
    :param fields: added to each answer, or replaced in it
    :param private_bucket: whether its videos are refused with 403
    :param stopped_s: how long it is STOPPED after a call stopped it, virtual seconds
    :param auto_stop_s: how long the room may be idle, virtual seconds
    :param idle_since: when the room became idle, virtual UNIX seconds
    :param is_started: whether it comes from StartOnlineRecord, not from a script
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
    private_bucket: bool = False
    stopped_s: float = DEFAULT_STOPPED_S
    auto_stop_s: float = DEFAULT_AUTO_STOP_S
    idle_since: float | None = None
    is_started: bool = False
    family_name: ClassVar[str] = "online_record"
    listed_as: ClassVar[str] = "OnlineRecord"
    callback_url: ClassVar[None] = None

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
    def total_ms(self) -> int:
        """How long it recorded, milliseconds."""
        return sum(_ms(end - start) for start, end in self._stretches)

    @cached_property
    def files(self) -> tuple[VideoFile, ...]:
        """The files that exist once it is FINISHED."""
        if not self._stretches or self.failure is not None:
            return ()
        if self.concat:
            spans = [(0, self.total_ms)]
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

    @cached_property
    def events(self) -> tuple[Event, ...]:
        """The events that Tencent posts, in order; a call does not change past ones."""
        events = []
        if self.failure is None or self.timeline:
            if self._stretches:
                events.append(Event("OnlineRecordStarted", self._stretches[0][0]))
            for phase, (start, end) in zip(self._phases, pairwise(self._starts), strict=True):
                if phase.status == "PAUSED":
                    events += self._pause_events(start, end)
            if self._stretches or self.failure is None:
                events.append(Event("OnlineRecordStopped", self._stopped_at))
        return (*events, Event("OnlineRecordFinished", self._starts[-1]))

    def _pause_events(self, start: float, end: float) -> list[Event]:
        events = []
        paused = {"PauseTime": int(start)}
        if end - start > PAUSE_WARNING_S:
            estimate = {**paused, "EstimateStopTime": int(start + MAX_PAUSE_S)}
            events.append(Event("OnlineRecordLongPauseWarning", start + PAUSE_WARNING_S, estimate))
        forced = self.finish_reason == "FORCE_STOP" and end == self._stopped_at
        if forced and end - start >= MAX_PAUSE_S:
            stopped = {**paused, "StopTime": int(end)}
            events.append(Event("OnlineRecordLongPauseForceStopped", end, stopped))
        return events

    def status(self, now: float) -> str:
        """Return the state at the virtual time ``now``, UNIX seconds."""
        for phase, end in zip(self._phases, self._starts[1:], strict=True):
            if now < end:
                return phase.status
        return "FINISHED"

    def is_over(self, now: float) -> bool:
        """Whether it is FINISHED at the virtual time ``now``."""
        return self.status(now) == "FINISHED"

    def file(self, name: str, now: float) -> bytes | None:
        """Return the content of a video, if it exists at the virtual time ``now``."""
        if not self.is_over(now) or now >= self._stopped_at + VIDEOS_KEPT_S:
            return None
        return next((file.content for file in self.files if file.name == name), None)

    def pause(self, now: float) -> Recording:
        """Return it as it is after PauseOnlineRecord.

        :param now: virtual UNIX seconds, also of the other calls
        :raises ApiFault: it is not RECORDING
        """
        self._require(now, "RECORDING")
        return self._planned("PAUSED", now, self.idle_since)

    def resume(self, now: float) -> Recording:
        """Return it as it is after ResumeOnlineRecord.

        :raises ApiFault: it is not PAUSED
        """
        self._require(now, "PAUSED")
        return self._planned("RECORDING", now, self.idle_since)

    def stop(self, now: float) -> Recording:
        """Return it as it is after StopOnlineRecord.

        :raises ApiFault: it has stopped already
        """
        self._require(now, *RUNNING)
        return self._with_timeline((*self._past(now), Phase("STOPPED", self.stopped_s)))

    def room_idle(self, now: float, idle: bool) -> Recording:
        """Return it as it is after its room became silent, or active again."""
        status = self.status(now)
        if status not in RUNNING:
            return self
        since = now if self.idle_since is None else self.idle_since
        return self._planned(status, now, since if idle else None)

    def planned(self) -> Recording:
        """Return a PREPARED recording as it continues until it is stopped."""
        return self._planned("PREPARED", self.created, None)

    def describe(self, now: float, base_url: str) -> str:
        """Return the answer at the virtual time ``now`` without its RequestId, as JSON.

        :param now: virtual UNIX seconds
        :param base_url: where the video files are, e.g. ``http://127.0.0.1:8787``
        :raises ApiFault: when the recording failed
        """
        status = self.status(now)
        if status == "FINISHED" and self.failure is not None and self.answer == "normal":
            raise ApiFault(self.failure.code, self.failure.message)
        # Within a state the answer stays the same, and clients poll often.
        known = self._answers.get((status, base_url))
        if known is None:
            answer = self._answer(status, base_url) if self.answer == "normal" else {}
            known = self._answers[status, base_url] = json.dumps(answer)
        return known

    @cached_property
    def _answers(self) -> dict[tuple[str, str], str]:
        return {}

    def _answer(self, status: str, base_url: str) -> dict[str, Any]:
        finished = status == "FINISHED"
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
            "TotalTime": self.total_ms if finished else 0,
            "ExceptionCnt": self.exception_count if stopped else 0,
            "OmittedDurations": self._omitted if finished and self.concat else [],
            "VideoInfos": self._video_infos(base_url) if finished else [],
            "ReplayUrl": self._replay_url(base_url) if finished else None,
            "Interrupts": None,
        }
        if finished:
            answer["Interrupts"] = [
                {"UserId": user_id, "Count": count} for user_id, count in self.interrupts.items()
            ]
        answer.update(self.fields)
        return answer

    def event_data(self, event: Event, base_url: str) -> dict[str, Any]:
        """Return the ``EventData`` of the callback of ``event``."""
        ids: dict[str, Any] = {
            "TaskId": self.task_id,
            "RoomId": self.room_id,
            "RecordUserId": self.record_user_id,
        }
        if event.kind != "OnlineRecordFinished":
            return {**ids, **event.times}
        failed = self.failure is not None
        data = {
            **ids,
            "GroupId": self.group_id,
            "FinishReason": "EXCEPTION" if failed else self.finish_reason,
            "RecordStartTime": int(self._stretches[0][0]) if self._stretches and not failed else 0,
            "RecordStopTime": int(self._stopped_at),
            "TotalTime": 0 if failed else self.total_ms,
            "ExceptionCnt": self.exception_count,
            "OmittedDurations": self._omitted if self.concat and not failed else [],
            "VideoInfos": self._video_infos(base_url),
        }
        if self.failure is not None:
            data["Error"] = {"Code": self.failure.code, "Message": self.failure.message}
        return data

    def facts(self, now: float) -> dict[str, Any]:
        """Return its state at the virtual time ``now``, as JSON."""
        status = self.status(now)
        failed = self.failure is not None and status == "FINISHED"
        return {
            "sdk_app_id": self.sdk_app_id,
            "task_id": self.task_id,
            "room_id": self.room_id,
            "record_user_id": self.record_user_id,
            "status": "FAILED" if failed else status,
            "finish_reason": self.finish_reason if status in ("STOPPED", "FINISHED") else None,
            "is_started": self.is_started,
            "created": self.created,
            "next_state_in_s": next((end - now for end in self._starts[1:] if now < end), None),
            "videos": len(self.files) if status == "FINISHED" else 0,
        }

    def _require(self, now: float, *allowed: str) -> None:
        status = self.status(now)
        if status not in RUNNING:
            raise ApiFault(
                "UnsupportedOperation.TaskHasAlreadyStopped", "The task has already stopped."
            )
        if status not in allowed:
            raise ApiFault(
                "UnsupportedOperation.InvalidTaskStatus",
                f"The task cannot do this while it is {status}.",
            )

    def _past(self, now: float) -> tuple[Phase, ...]:
        return tuple(
            Phase(phase.status, min(end, now) - start)
            for phase, (start, end) in zip(self._phases, pairwise(self._starts), strict=True)
            if start < now
        )

    def _planned(self, status: str, now: float, idle_since: float | None) -> Recording:
        """Return it as it continues from ``status`` without further calls."""
        begin, past = now, self._past(now)
        if status == "PREPARED":
            past, begin, status = self._phases[:1], self._starts[1], "RECORDING"
        elif past and past[-1].status == status:
            # The state continues: a second one of the same kind would begin a new file.
            begin -= past[-1].seconds
            past = past[:-1]
        end, reason = self._starts[0] + MAX_TOTAL_S, "FORCE_STOP"
        if status == "PAUSED":
            end = min(end, begin + MAX_PAUSE_S)
        elif idle_since is not None and max(begin, idle_since) + self.auto_stop_s < end:
            end, reason = max(begin, idle_since) + self.auto_stop_s, "AUTO"
        plan = (*past, Phase(status, end - begin), Phase("STOPPED", self.stopped_s))
        return self._with_timeline(plan, reason, idle_since)

    def _with_timeline(
        self,
        timeline: tuple[Phase, ...],
        finish_reason: str = "USER_CALL",
        idle_since: float | None = None,
    ) -> Recording:
        return replace(
            self,
            created=self._starts[0],
            timeline=timeline,
            finish_reason=finish_reason,
            idle_since=idle_since,
        )

    @cached_property
    def _omitted(self) -> list[dict[str, int]]:
        omitted, position = [], 0
        for (start, end), (resumed, _) in pairwise(self._stretches):
            position += _ms(end - start)
            if resumed > end:
                omitted.append(
                    {"VideoTime": position, "PauseTime": _ms(end), "ResumeTime": _ms(resumed)}
                )
        return omitted

    def _replay_url(self, base_url: str) -> str | None:
        if self.replay_url is not None and self.replay_url.startswith("/"):
            return base_url + self.replay_url
        return self.replay_url

    def _video_infos(self, base_url: str) -> list[dict[str, Any]]:
        task = quote(self.task_id, safe="")
        return [file.info(f"{base_url}/videos/{self.sdk_app_id}/{task}/") for file in self.files]

    def _video_id(self, number: int, position_ms: int) -> str:
        name = f"{self.sdk_app_id}/{self.task_id}/{number}/{position_ms}"
        return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
