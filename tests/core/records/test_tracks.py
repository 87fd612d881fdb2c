# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from tiw_automation.core import ConfigurationError, OnlineRecord, Video, VideoKind, tracks_of


def video(
    kind: int | None, user_id: str | None, start_ms: int | None, duration_ms: int | None
) -> Video:
    return Video(
        id=f"{kind}-{user_id}-{start_ms}",
        url="http://videos/1.mp4",
        format="mp4",
        type=kind,
        user_id=user_id,
        play_time_ms=start_ms,
        duration_ms=duration_ms,
        size_bytes=1,
        width=640,
        height=360,
    )


def record(*videos: Video, total_ms: int | None = None) -> OnlineRecord:
    return OnlineRecord(1, "t", status="FINISHED", total_time_ms=total_ms, videos=videos)


def gaps(*bounds: tuple[int, int]) -> list[dict[str, int]]:
    return [{"start_ms": start, "end_ms": end} for start, end in bounds]


def test_an_interrupted_stream_is_one_track_with_a_gap() -> None:
    lesson = record(
        video(2, "", 0, 9000),
        video(0, "teacher", 5000, 4000),
        video(0, "teacher", 0, 3000),
        video(0, "anna", 1000, 2000),
        total_ms=9000,
    )
    found = [track.to_dict() for track in tracks_of(lesson)]
    assert [(t["kind"], t["user_id"], t["start_ms"], t["end_ms"]) for t in found] == [
        ("camera", "anna", 1000, 3000),
        ("camera", "teacher", 0, 9000),
        ("whiteboard", "", 0, 9000),
    ]
    assert [t["gaps"] for t in found] == [
        gaps((0, 1000), (3000, 9000)),
        gaps((3000, 5000)),
        [],
    ]
    assert [v["play_time_ms"] for v in found[1]["videos"]] == [0, 5000]


def test_files_that_overlap_leave_no_gap() -> None:
    (track,) = tracks_of(record(video(3, "mix", 0, 5000), video(3, "mix", 2000, 1000)))
    assert track.gaps == ()
    assert track.end_ms == 5000


def test_short_gaps_can_be_left_out() -> None:
    lesson = record(video(0, "a", 40, 1000), video(0, "a", 1100, 900), total_ms=4000)
    (track,) = tracks_of(lesson, least_gap_ms=100)
    assert [(gap.start_ms, gap.duration_ms) for gap in track.gaps] == [(2000, 2000)] or [
        (gap.start_ms, gap.end_ms) for gap in track.gaps
    ] == [(2000, 4000)]


def test_videos_without_times() -> None:
    (track,) = tracks_of(record(video(None, None, None, None)))
    assert (track.kind, track.user_id, track.start_ms, track.end_ms) == (
        VideoKind.UNKNOWN,
        "",
        0,
        0,
    )
    assert tracks_of(record()) == []


def test_a_number_may_come_as_text() -> None:
    lesson = record(video(0, "a", 40, 1000), video(0, "a", 1100, 900), total_ms=4000)
    assert tracks_of(lesson, least_gap_ms="100") == tracks_of(lesson, least_gap_ms=100)
    assert tracks_of(lesson, least_gap_ms=" 100 ") == tracks_of(lesson, least_gap_ms=100)


@pytest.mark.parametrize("odd", [-1, "-1", "1.5", 1.5, True, None, "", "9" * 5000, [100], "1_0"])
def test_a_gap_that_is_not_a_number_is_refused(odd: Any) -> None:
    with pytest.raises(ConfigurationError, match="least_gap_ms must be a whole number") as caught:
        tracks_of(record(), least_gap_ms=odd)
    assert len(str(caught.value)) < 300
