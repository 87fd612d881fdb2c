# SPDX-License-Identifier: Apache-2.0
"""The tracks of a lesson: whose camera, screen or whiteboard was recorded when.

A recording has many files: one for each stream, and a new one after each pause and each
interruption of a stream. ``VideoPlayTime`` is the position of a file on the timeline that all of
them share; pauses are cut out of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.checks import as_integer
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import shown
from tiw_automation.core.records.record import OnlineRecord, Video, VideoKind

_ORDER = list(VideoKind)


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of the timeline that no file of a track covers, in milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def duration_ms(self) -> int:
        """The length of the gap."""
        return self.end_ms - self.start_ms


@dataclass(frozen=True, slots=True)
class Track:
    """The files of one stream, in the order of the timeline.

    :param gaps: where the stream is missing, between the timeline's beginning and its end.
    """

    kind: VideoKind
    user_id: str
    videos: tuple[Video, ...]
    gaps: tuple[Gap, ...]

    @property
    def start_ms(self) -> int:
        """The track's beginning on the timeline."""
        return min(_start(video) for video in self.videos)

    @property
    def end_ms(self) -> int:
        """The track's end on the timeline."""
        return max(_end(video) for video in self.videos)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native data."""
        return {
            "kind": self.kind.value,
            "user_id": self.user_id,
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "videos": [video.to_dict() for video in self.videos],
            "gaps": [{"start_ms": gap.start_ms, "end_ms": gap.end_ms} for gap in self.gaps],
        }


def tracks_of(record: OnlineRecord, *, least_gap_ms: int | str = 0) -> list[Track]:
    """Return the tracks of a recording: by kind, then by the user's name.

    :param least_gap_ms: gaps shorter than this are left out, in milliseconds; a text of digits
        is read as a number.
    :raises ConfigurationError: ``least_gap_ms`` is not a whole number, zero or more.
    """
    least_ms = _check_milliseconds("least_gap_ms", least_gap_ms)
    groups: dict[tuple[VideoKind, str], list[Video]] = {}
    for video in record.videos:
        groups.setdefault((video.kind, video.user_id or ""), []).append(video)
    end = max(
        [record.total_time_ms or 0, *(_end(video) for video in record.videos)],
    )
    return [
        Track(
            kind,
            user_id,
            tuple(sorted(videos, key=lambda video: (_start(video), _end(video)))),
            tuple(gap for gap in _gaps(videos, end) if gap.duration_ms >= max(least_ms, 1)),
        )
        for (kind, user_id), videos in sorted(
            groups.items(), key=lambda item: (_ORDER.index(item[0][0]), item[0][1])
        )
    ]


def _check_milliseconds(name: str, given: object) -> int:
    number = as_integer(given)
    if number is None or number < 0:
        raise ConfigurationError(
            f"{name} must be a whole number of milliseconds, zero or more, not {shown(given, 80)}."
        )
    return number


def _gaps(videos: Iterable[Video], end_ms: int) -> Iterable[Gap]:
    covered = 0
    for video in sorted(videos, key=_start):
        yield Gap(covered, _start(video))
        covered = max(covered, _end(video))
    yield Gap(covered, end_ms)


def _start(video: Video) -> int:
    return video.play_time_ms or 0


def _end(video: Video) -> int:
    return _start(video) + (video.duration_ms or 0)
