# SPDX-License-Identifier: Apache-2.0
"""What Describe answers for a task of each family, and the task's files.

Each ``*_answer`` gets a task, the virtual time and the URL that leads to the task's files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .documents import jpg, page, png, pptx, tarred, zipped
from .task_state import Task

_DEFAULT_RESOLUTION = "960x540"
_THUMBNAILS = "thumbnails/"
_ARCHIVES = {"zip": zipped, "tar.gz": tarred}
_INK = {"Name": "Ink 1", "Type": 0, "Detail": "wps ink"}
_DEPRECATED_VIDEO = {
    "VideoPlayTime": 0,
    "VideoSize": 0,
    "VideoFormat": "",
    "VideoDuration": 0,
    "VideoUrl": "deprecated, use VideoInfoList",
    "VideoId": "",
    "VideoType": 0,
    "UserId": "",
    "Width": 0,
    "Height": 0,
}


def push_answer(task: Task, now: float, url: str) -> dict[str, Any]:
    room_id, over = task.options["RoomId"], task.is_over(now)
    # A push that was stopped, or failed, before it began has no start.
    has_begun = task.started_at < task.ended_at and now >= task.started_at
    started_at = int(task.started_at) if has_begun else 0
    reason = task.finish_reason if task.failure is None else "EXCEPTION"
    return {
        "FinishReason": reason if over else "",
        "TaskId": task.task_id,
        "Status": task.status(now),
        "RoomId": room_id,
        "GroupId": task.options.get("GroupId") or str(room_id),
        "PushUserId": task.options["PushUserId"],
        "PushStartTime": started_at,
        "PushStopTime": int(task.ended_at) if over else 0,
        "ExceptionCnt": 0 if task.failure is None else 1,
        "IMSyncTime": started_at,
        "Backup": "",
    }


def transcode_answer(task: Task, now: float, url: str) -> dict[str, Any]:
    done = task.has_result(now)
    started = now >= task.started_at
    thumbnails = _thumbnail_resolution(task) if done else ""
    result = url if task.is_static else f"{url}index.html"
    archive = _archive(task)
    return {
        "Pages": task.pages if started and task.failure is None else 0,
        "Progress": task.progress(now),
        "Resolution": _resolution(task) if started and task.failure is None else "",
        "ResultUrl": result if done else "",
        "Status": task.status(now),
        "TaskId": task.task_id,
        "Title": task.title if started else "",
        "ThumbnailUrl": url + _THUMBNAILS if thumbnails else "",
        "ThumbnailResolution": thumbnails,
        "CompressFileUrl": url + archive if archive and done else "",
        "ResourceListUrl": f"{url}resources.txt" if done else None,
        "Ext": "Office" if done else None,
        "CreateTime": int(task.created),
        "AssignTime": int(task.started_at) if started else None,
        "FinishedTime": int(task.ended_at) if task.is_over(now) else None,
    }


def transcode_files(task: Task) -> Mapping[str, bytes]:
    pages = range(1, task.pages + 1)
    files = {}
    if task.is_static:
        files = {f"{number}.jpg": _picture(_resolution(task), number) for number in pages}
    else:
        files["index.html"] = page(task.title)
        if thumbnails := _thumbnail_resolution(task):
            for number in pages:
                files[f"{_THUMBNAILS}{number}.jpg"] = _picture(thumbnails, number)
    if archive := _archive(task):
        files[archive] = _ARCHIVES[task.options["CompressFileType"]](dict(files))
    return {**files, "resources.txt": "\n".join(files).encode()}


def _picture(resolution: str, number: int) -> bytes:
    width, height = resolution.split("x")
    return jpg(int(width), int(height), f"page {number}")


def _resolution(task: Task) -> str:
    return _as_resolution(task.options.get("MinScaleResolution", "")) or _DEFAULT_RESOLUTION


def _thumbnail_resolution(task: Task) -> str:
    return "" if task.is_static else _as_resolution(task.options.get("ThumbnailResolution", ""))


def _as_resolution(text: str) -> str:
    # The API ignores a resolution of another form.
    return text if re.fullmatch(r"[1-9][0-9]{1,3}x[1-9][0-9]{1,3}", text) else ""


def _archive(task: Task) -> str:
    suffix = task.options.get("CompressFileType", "")
    return f"{task.task_id}.{suffix}" if suffix in _ARCHIVES else ""


def ppt_check_answer(task: Task, now: float, url: str) -> dict[str, Any]:
    done = task.has_result(now)
    has_errors = done and task.fields.get("IsOK") is False
    repaired = has_errors and task.options.get("AutoHandleUnsupportedElement")
    return {
        "TaskId": task.task_id,
        "IsOK": done and not has_errors,
        "ResultUrl": url + _repaired_name(task) if repaired else None,
        "Slides": [{"Page": "Slide 5", "Errs": [_INK]}] if has_errors else None,
        "Status": task.status(now),
        "Progress": task.progress(now),
        "Errs": [_INK] if has_errors else None,
    }


def ppt_check_files(task: Task) -> Mapping[str, bytes]:
    return {_repaired_name(task): pptx(task.title)}


def _repaired_name(task: Task) -> str:
    return f"{task.task_id}_fixed.pptx"


def snapshot_answer(task: Task, now: float, url: str) -> dict[str, Any]:
    result = None
    if task.has_result(now):
        pictures = [url + name for name in task.files]
        result = {"ErrorCode": "OK", "ErrorMessage": "", "Total": len(pictures)}
        result["Snapshots"] = pictures
    elif task.failure is not None and task.is_over(now):
        result = {"ErrorCode": task.failure.code, "ErrorMessage": task.failure.message}
        result |= {"Total": 0, "Snapshots": None}
    return {
        "TaskID": task.task_id,
        "Status": task.status(now),
        "CreateTime": int(task.created),
        "FinishTime": int(task.ended_at) if task.is_over(now) else None,
        "Result": result,
    }


def snapshot_files(task: Task) -> Mapping[str, bytes]:
    board = task.options["Whiteboard"]
    width, height = board.get("Width") or 1280, board.get("Height") or 720
    return {f"{number}.png": png(width, height, f"{number}") for number in range(1, task.pages + 1)}


def video_generation_answer(task: Task, now: float, url: str) -> dict[str, Any]:
    assert task.recording is not None
    done = task.has_result(now)
    return {
        "GroupId": task.recording.group_id,
        "RoomId": task.recording.room_id,
        "TaskId": task.task_id,
        "Progress": task.progress(now),
        "Status": task.status(now),
        "TotalTime": task.recording.total_ms if done else 0,
        "VideoInfos": _DEPRECATED_VIDEO,
        "VideoInfoList": [file.info(url) for file in task.recording.files] if done else [],
    }


def video_generation_files(task: Task) -> Mapping[str, bytes]:
    assert task.recording is not None
    return {file.name: file.content for file in task.recording.files}
