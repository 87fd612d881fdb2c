# SPDX-License-Identifier: Apache-2.0
"""What a recording is.

The types follow the data types of ``DescribeOnlineRecord``
(https://www.tencentcloud.com/document/product/1176/53506), in Python's case, with the unit in
each name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import shown, shown_url
from tiw_automation.core.records.fields import (
    Fields,
    check_task_id_of_answer,
    not_too_deep,
    request_id,
)

# Tencent's own bucket, used where an account configured none; files there live three days.
_PUBLIC_HOST = "online-recording-1259648581.file.myqcloud.com"
_PUBLIC_HOST_KEEPS_S = 3 * 24 * 3600
_SHOWN = 80


class RecordStatus(StrEnum):
    """The states of a recording, in their order; only FINISHED is final."""

    PREPARED = "PREPARED"
    RECORDING = "RECORDING"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    FINISHED = "FINISHED"

    @property
    def is_terminal(self) -> bool:
        """Whether the recording can no longer change; a STOPPED one still uploads its videos."""
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


_KIND_OF_TYPE: dict[int | None, VideoKind] = {
    0: VideoKind.CAMERA,
    1: VideoKind.SCREEN_SHARE,
    2: VideoKind.WHITEBOARD,
    3: VideoKind.MIXED,
    4: VideoKind.AUDIO,
}


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
        return _KIND_OF_TYPE.get(self.type, VideoKind.UNKNOWN)

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
    """How often a user's stream was interrupted (``Interrupt``)."""

    user_id: str | None
    count: int | None


@dataclass(frozen=True, slots=True)
class OnlineRecord:
    """A recording as DescribeOnlineRecord described it at one moment.

    ``status`` and ``finish_reason`` are the API's own words, so a word that Tencent adds later
    passes through; compare them with :class:`RecordStatus` and :class:`FinishReason`.
    ``raw`` is the answer as it arrived; a field that is nested deeper than 64 levels is None.
    ``unreadable`` names the attributes that decide an outcome (``finish_reason``, ``videos``) and
    arrived in a form that cannot be read.
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

        A value of an unexpected type is converted where its meaning is clear; otherwise it is
        None, with one warning per field and process.

        :param sdk_app_id: the application that was asked; the answer does not repeat it.
        :param task_id: the recording that was asked for.
        :raises BadAnswer: the answer is about another recording, or is not an object.
        """
        read = Fields(response, "Response", action="DescribeOnlineRecord")
        check_task_id_of_answer(read, "TaskId", task_id, "recording")
        return cls._read(read, _API_KEYS, sdk_app_id, task_id, not_too_deep(response))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> OnlineRecord:
        """Read what :meth:`to_dict` wrote; derived and unknown keys are ignored.

        :raises BadAnswer: it is not an object.
        """
        read = Fields(data, "record")
        app_id, task_id = read.integer("sdk_app_id") or 0, read.text("task_id") or ""
        return cls._read(read, _OWN_KEYS, app_id, task_id, {})

    @classmethod
    def _read(
        cls,
        read: Fields,
        keys: Mapping[str, str],
        sdk_app_id: int,
        task_id: str,
        raw: Mapping[str, Any],
    ) -> OnlineRecord:
        videos = read.items(keys["videos"])
        record = cls(
            sdk_app_id=sdk_app_id,
            task_id=task_id,
            omitted_durations=tuple(
                OmittedDuration(**_values(item, _PAUSE, keys))
                for item in read.items(keys["omitted_durations"])
            ),
            videos=tuple(Video(**_values(item, _VIDEO, keys)) for item in videos),
            interrupts=tuple(
                Interrupt(**_values(item, _INTERRUPT, keys))
                for item in read.items(keys["interrupts"])
            ),
            raw=raw,
            **_values(read, _RECORD, keys),
        )
        unreadable = {n for n in ("finish_reason", "videos") if keys[n] in read.unreadable}
        url = keys["url"]
        if any(url not in item.data or url in item.unreadable for item in videos):
            unreadable.add("videos")
        return replace(record, unreadable=frozenset(unreadable)) if unreadable else record

    @property
    def active_since(self) -> int | None:
        """When the recording began: :attr:`record_start_time`."""
        return self.record_start_time

    @property
    def processing_since(self) -> int | None:
        """When Tencent began to process it: :attr:`record_stop_time`."""
        return self.record_stop_time

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


def public_record(record: OnlineRecord) -> dict[str, Any]:
    """Return :meth:`OnlineRecord.to_dict` with each URL as :func:`shown_url` shows it."""
    return replace(
        record,
        videos=tuple(replace(v, url=v.url and shown_url(v.url)) for v in record.videos),
        replay_url=record.replay_url and shown_url(record.replay_url),
    ).to_dict()


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
            f"video_kinds must be a list, not {shown(value, _SHOWN)}.",
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


# By the name of an attribute: its key in the API's JSON, and how it is read.
_Table = Mapping[str, tuple[str, Callable[[Fields, str], Any]]]

_RECORD: _Table = {
    "status": ("Status", Fields.word),
    "finish_reason": ("FinishReason", Fields.word),
    "room_id": ("RoomId", Fields.positive),
    "group_id": ("GroupId", Fields.text),
    "record_user_id": ("RecordUserId", Fields.text),
    "record_start_time": ("RecordStartTime", Fields.time),
    "record_stop_time": ("RecordStopTime", Fields.time),
    "total_time_ms": ("TotalTime", Fields.integer),
    "exception_count": ("ExceptionCnt", Fields.integer),
    "replay_url": ("ReplayUrl", Fields.url),
    "request_id": ("RequestId", request_id),
}
_VIDEO: _Table = {
    "id": ("VideoId", Fields.text),
    "url": ("VideoUrl", Fields.url),
    "format": ("VideoFormat", Fields.text),
    "type": ("VideoType", Fields.integer),
    "user_id": ("UserId", Fields.text),
    "play_time_ms": ("VideoPlayTime", Fields.integer),
    "duration_ms": ("VideoDuration", Fields.integer),
    "size_bytes": ("VideoSize", Fields.integer),
    "width": ("Width", Fields.integer),
    "height": ("Height", Fields.integer),
}
_PAUSE: _Table = {
    "video_time_ms": ("VideoTime", Fields.integer),
    "pause_time_ms": ("PauseTime", Fields.positive),
    "resume_time_ms": ("ResumeTime", Fields.positive),
}
_INTERRUPT: _Table = {
    "user_id": ("UserId", Fields.text),
    "count": ("Count", Fields.integer),
}
_API_KEYS = {
    "omitted_durations": "OmittedDurations",
    "videos": "VideoInfos",
    "interrupts": "Interrupts",
    **{
        name: key
        for table in (_RECORD, _VIDEO, _PAUSE, _INTERRUPT)
        for name, (key, _) in table.items()
    },
}
_OWN_KEYS = {name: name for name in _API_KEYS}


def _values(read: Fields, table: _Table, keys: Mapping[str, str]) -> dict[str, Any]:
    return {name: convert(read, keys[name]) for name, (_, convert) in table.items()}


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None
