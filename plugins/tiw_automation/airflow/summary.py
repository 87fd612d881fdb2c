# SPDX-License-Identifier: Apache-2.0
"""The line of a task's log about a finished recording."""

from __future__ import annotations

from datetime import UTC, datetime

from tiw_automation.core import OnlineRecord, Video
from tiw_automation.core.formatting import amount


def summary(record: OnlineRecord) -> str:
    """Return one line without a URL: when, why it ended, what disturbed it and its videos."""
    broken = sum(interrupt.count or 0 for interrupt in record.interrupts)
    videos = ", ".join(map(_video, record.videos)) or "none"
    return (
        f"Recording {record.task_id} is {record.status}: recorded from "
        f"{_moment(record.record_start_time)} to {_moment(record.record_stop_time)}, ended by "
        f"{record.finish_reason or 'an unknown reason'}, interruptions: {broken}, "
        f"exceptions: {record.exception_count or 0}, videos: {videos}."
    )


def clock(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def _moment(unix_s: int | None) -> str:
    if unix_s is None:
        return "an unknown time"
    try:
        return f"{datetime.fromtimestamp(unix_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (OSError, OverflowError, ValueError):
        # For example after the year 9999: Tencent's number is only shown.
        return "an unknown time"


def _video(video: Video) -> str:
    length = "unknown length" if video.duration_ms is None else clock(video.duration_ms / 1000)
    size = "unknown size" if video.size_bytes is None else amount(video.size_bytes)
    return f"{video.kind} ({length}, {size})"
