# SPDX-License-Identifier: Apache-2.0
"""The columns of tables of tasks."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiw_automation.core import OnlineRecord, Outcome, TaskKind, TiwTask

_MINUTE_S = 60
# What a column takes, with the space before it.
_WIDTHS = {
    "ID": 20,
    "STATUS": 11,
    "AGE": 9,
    "EXPECTED END": 14,
    "REASON": 12,
    "BEGAN": 18,
    "VIDEOS": 8,
    "USERS": 20,
    "PROGRESS": 10,
    "URLS": 6,
}


def columns_of(kind: TaskKind) -> list[str]:
    """Return the columns of a table of outcomes, those that a narrow terminal has room for."""
    if kind.name == "online_record":
        return fitting(["ID", "STATUS", "REASON", "VIDEOS", "BEGAN", "USERS"])
    return fitting(["ID", "STATUS", "PROGRESS", "URLS"])


def fitting(columns: Sequence[str]) -> list[str]:
    """Return the first columns that fit side by side: all where there is no terminal."""
    if not sys.stdout.isatty() and not sys.stderr.isatty():
        return list(columns)
    found: list[str] = []
    left = shutil.get_terminal_size().columns
    for column in columns:
        left -= _WIDTHS[column]
        if left >= 0 or not found:
            found.append(column)
    return found


def fields_of(outcome: Outcome, columns: Sequence[str]) -> list[object]:
    """Return what a row of a table shows of an outcome."""
    return [_FIELDS[column](outcome) for column in columns]


def _status(outcome: Outcome) -> str | None:
    seen = outcome.described
    if seen is not None and seen.status and outcome.verdict != "failed":
        return seen.status
    return None if outcome.verdict == "pending" else outcome.verdict.value.upper()


def _age(outcome: Outcome) -> str | None:
    seen = outcome.described
    since = seen and (seen.active_since or seen.processing_since)
    return duration(time.time() - since) if since else None


def expected_end(outcome: Outcome) -> str | None:
    """Return when a task is expected to end, as a time of the day; None where unknown.

    It is an estimate from the usual durations of the task's kind.
    """
    from tiw_automation.core.tasks import find_kind

    seen, kind = outcome.described, find_kind(outcome.task_kind)
    if seen is None or outcome.is_final:
        return None
    end = _estimate(seen, kind)
    if end is None:
        return None
    if end <= time.time():
        return "soon" if seen.status in kind.processing else None
    return time.strftime("~%H:%M", time.localtime(end))


def _estimate(seen: OnlineRecord | TiwTask, kind: TaskKind) -> float | None:
    if seen.status in kind.processing:
        since = seen.processing_since
        return None if since is None else since + kind.processing_mean_s
    since = seen.active_since
    return None if since is None else since + kind.active_mean_s + kind.processing_mean_s


def duration(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(max(int(seconds), 0), _MINUTE_S)
    hours, minutes = divmod(minutes, _MINUTE_S)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _began(outcome: Outcome) -> str | None:
    since = outcome.described and outcome.described.active_since
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(since)) if since else None


def _users(outcome: Outcome) -> str | None:
    videos = outcome.record.videos if outcome.record else ()
    return ", ".join(dict.fromkeys(video.user_id for video in videos if video.user_id)) or None


_FIELDS: Mapping[str, Callable[[Outcome], object]] = {
    "ID": lambda outcome: outcome.task_id,
    "STATUS": _status,
    "AGE": _age,
    "EXPECTED END": expected_end,
    "REASON": lambda outcome: outcome.described and outcome.described.finish_reason,
    "BEGAN": _began,
    "VIDEOS": lambda outcome: len(outcome.record.videos) if outcome.record else None,
    "USERS": _users,
    "PROGRESS": lambda outcome: outcome.task and outcome.task.progress,
    "URLS": lambda outcome: len(outcome.task.urls) if outcome.task else None,
}
