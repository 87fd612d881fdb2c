# SPDX-License-Identifier: Apache-2.0
"""What a task of another kind than a recording is, and how the tasks of a kind end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tiw_automation.core.records.fields import Fields

_NOUNS = {"online_record": "Recording", "ppt_check": "PPT check"}


def noun_of(task_kind: str) -> str:
    """Return what messages call a task of a kind: ``Whiteboard push`` for whiteboard_push."""
    return _NOUNS.get(task_kind) or task_kind.replace("_", " ").capitalize()


@dataclass(frozen=True, slots=True)
class TiwTask:
    """A task as its Describe action described it at one moment.

    ``status`` is the API's own word in upper case (``FINISHED``, ``PUSHING``), so a word that
    Tencent adds later passes through. ``urls`` are the results, ``thumbnail_urls`` the small
    pictures of a transcoded deck. ``result`` is the answer under names in Python's case
    (``push_start_time``), its known and its new fields, with the API's units: times in UNIX
    seconds, durations in milliseconds. ``failure`` is the code and the message of a task that
    reports its failure in its answer. ``raw`` is the answer as it arrived.
    """

    sdk_app_id: int
    task_kind: str
    task_id: str
    status: str | None = None
    progress: int | None = None
    finish_reason: str | None = None
    """Why a push ended; None for the other kinds."""
    urls: tuple[str, ...] = ()
    thumbnail_urls: tuple[str, ...] = ()
    urls_expire_at: int | None = None
    """When Tencent deletes the files of its public bucket: an estimate in UNIX seconds, or None."""
    result: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = None
    active_since: int | None = None
    """When its work for people began, such as a push, UNIX seconds; None where unknown."""
    processing_since: int | None = None
    """When Tencent began to process it, UNIX seconds; None where unknown."""
    failure: tuple[str, str] | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)
    unreadable: frozenset[str] = field(default=frozenset(), repr=False, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native data with every key, always."""
        return {
            "sdk_app_id": self.sdk_app_id,
            "task_kind": self.task_kind,
            "task_id": self.task_id,
            "status": self.status,
            "progress": self.progress,
            "finish_reason": self.finish_reason,
            "urls": list(self.urls),
            "thumbnail_urls": list(self.thumbnail_urls),
            "urls_expire_at": self.urls_expire_at,
            "result": dict(self.result),
            "request_id": self.request_id,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TiwTask:
        """Read what :meth:`to_dict` wrote; unknown keys are ignored.

        :raises BadAnswer: it is not an object.
        """
        read = Fields(data, "task")
        result = data.get("result")
        return cls(
            sdk_app_id=read.integer("sdk_app_id") or 0,
            task_kind=read.text("task_kind") or "",
            task_id=read.text("task_id") or "",
            status=read.word("status"),
            progress=read.integer("progress"),
            finish_reason=read.word("finish_reason"),
            urls=read.urls("urls"),
            thumbnail_urls=read.urls("thumbnail_urls"),
            urls_expire_at=read.time("urls_expire_at"),
            result=result if isinstance(result, Mapping) else {},
            request_id=read.text("request_id"),
        )


@dataclass(frozen=True, eq=False)
class EndRules:
    """How tasks of a kind end.

    :param describe_action: the action that describes them.
    :param final: the states after which nothing changes any more.
    :param failed: those of them that mean a failure.
    :param result: what a finished task must have, such as ``video``; None for nothing.
    """

    task_kind: str
    describe_action: str
    final: frozenset[str]
    failed: frozenset[str] = frozenset()
    result: str | None = None


RECORD_RULES = EndRules(
    "online_record",
    "DescribeOnlineRecord",
    final=frozenset({"FINISHED"}),
    result="video",
)
"""How recordings end."""
