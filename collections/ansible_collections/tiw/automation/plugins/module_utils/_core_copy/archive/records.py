# A copy of core/archive/records.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""Records in the form that an archive works with: the JSON form of an ``OnlineRecord``.

That is what Ansible returns, what XCom holds, and what a manifest keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import ConfigurationError
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import escaped, shown, shown_url

VIDEO_KINDS = ("camera", "screen_share", "whiteboard", "mixed", "audio", "unknown")

_TEXTS = ("id", "url", "format", "kind", "user_id")
_NUMBERS = ("type", "play_time_ms", "duration_ms", "size_bytes", "width", "height")


def record_dict(record: Any) -> dict[str, Any]:
    """Return a record in its JSON form; of a dict, what can be read of it.

    :param record: an ``OnlineRecord``, or what its ``to_dict`` returned.
    :raises ConfigurationError: it is not a record.
    """
    found = record if isinstance(record, Mapping) else _to_dict(record)
    task_id, app_id = found.get("task_id"), found.get("sdk_app_id")
    is_app_id = isinstance(app_id, int) and not isinstance(app_id, bool)
    if not isinstance(task_id, str) or not task_id or not is_app_id:
        raise ConfigurationError(
            f"A record must have a task_id and an sdk_app_id: {shown(record, 100)}.",
            hint="Give the records as the sensor, the module or the client returns them.",
        )
    videos = found.get("videos")
    return {
        **found,
        "videos": [_video_dict(video) for video in videos] if isinstance(videos, list) else [],
    }


def _to_dict(record: Any) -> dict[str, Any]:
    to_dict = getattr(record, "to_dict", None)
    return to_dict() if callable(to_dict) else {}


def _video_dict(video: Any) -> dict[str, Any]:
    given = video if isinstance(video, Mapping) else {}
    found: dict[str, Any] = {name: _typed(given.get(name), str) for name in _TEXTS}
    found.update({name: _typed(given.get(name), int) for name in _NUMBERS})
    if found["kind"] not in VIDEO_KINDS:
        found["kind"] = "unknown"
    return found


def _typed(value: Any, kind: type) -> Any:
    return value if isinstance(value, kind) and not isinstance(value, bool) else None


def stored_form(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as a manifest keeps it: no URL has a query, which may be a signature."""
    videos = [{**v, "url": v["url"] and shown_url(v["url"])} for v in record["videos"]]
    replay_url = record.get("replay_url")
    return {
        **record,
        "videos": videos,
        "video_urls": [video["url"] for video in videos if video["url"]],
        "replay_url": shown_url(replay_url) if isinstance(replay_url, str) else None,
    }


def check_kinds(value: Iterable[str] | str | None) -> tuple[str, ...] | None:
    """Return the kinds of video that are wanted, or None for all.

    :raises ConfigurationError: one is not a kind.
    """
    if value is None:
        return None
    hint = f"Use any of {', '.join(VIDEO_KINDS)}."
    names = [value] if isinstance(value, str) else value
    if isinstance(names, Mapping) or not isinstance(names, Iterable):
        raise ConfigurationError(f"video_kinds must be a list, not {shown(value, 80)}.", hint=hint)
    kinds = tuple(str(name) for name in names)
    for kind in kinds:
        if kind not in VIDEO_KINDS:
            raise ConfigurationError(
                f"video_kinds: {escaped(repr(kind), 80)} is not a kind of video.", hint=hint
            )
    return kinds
