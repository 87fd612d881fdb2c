# SPDX-License-Identifier: Apache-2.0
"""The tasks that run in an application (DescribeRunningTasks), which only the Chinese site lists.

https://cloud.tencent.com/document/product/1137/89907. Its list names the room of a recording,
not its recording user, and holds tasks of the last three days.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.api.sites import site_of
from tiw_automation.core.errors import BadAnswer, ConfigurationError
from tiw_automation.core.formatting import shown
from tiw_automation.core.records.fields import Fields

ACTION = "DescribeRunningTasks"
TASK_TYPES = ("OnlineRecord", "WhiteboardPush", "TranscodeH5", "TranscodeJPG")
PAGE_SIZE = 500
"""The most tasks that one answer may hold."""
# A longer list does not end: an application has at most 100 recordings at a time.
_MOST_PAGES = 200


class RunningListUnavailable(ConfigurationError):
    """The site does not list which recordings run; only the Chinese one does."""

    default_code = "RunningListUnavailable"


@dataclass(frozen=True, slots=True)
class RunningTask:
    """One task. ``create_time`` and ``cancel_time`` are the API's texts, without a time zone."""

    sdk_app_id: int
    task_id: str
    task_type: str
    status: str | None
    room_id: int | None
    create_time: str | None
    cancel_time: str | None
    progress: int | None
    file_url: str | None

    @classmethod
    def from_item(cls, read: Fields, *, sdk_app_id: int, task_type: str) -> RunningTask:
        """Read one entry of ``Tasks``; what is unreadable in it is None."""
        return cls(
            sdk_app_id=read.integer("SdkAppID") or sdk_app_id,
            task_id=(read.text("TaskID") or "").strip(),
            task_type=read.text("TaskType") or task_type,
            status=read.word("Status"),
            room_id=read.positive("RoomID"),
            create_time=read.text("CreateTime"),
            cancel_time=read.text("CancelTime") or None,
            progress=read.integer("Progress"),
            file_url=read.url("FileURL"),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-native data."""
        return {name: getattr(self, name) for name in self.__slots__}


def check_lists_running(host: str) -> None:
    """Refuse a host whose site is known to have no list of running tasks.

    :param host: the host that the client calls.
    :raises RunningListUnavailable: it belongs to the international site.
    """
    # The collection 0.1 gives a client; to be removed in 0.3.
    host = getattr(getattr(host, "settings", None), "host", host)
    if not site_of(host).lists_running:
        raise RunningListUnavailable(
            f"{host} does not list which recordings run; only the Chinese site does ({ACTION})."
        )


def check_task_type(value: object) -> str:
    """Return the type of tasks to list.

    :raises ConfigurationError: the API has no such type.
    """
    if value not in TASK_TYPES:
        raise ConfigurationError(
            f"task_type: {shown(value)} is not a type of task.",
            hint=f"Use one of {', '.join(TASK_TYPES)}.",
        )
    return str(value)


def read_list(
    ask: Callable[[dict[str, Any]], Mapping[str, Any]], *, sdk_app_id: int, task_type: str
) -> tuple[list[RunningTask], bool]:
    """Return all tasks of the running list, and whether it holds others that were not read.

    :param ask: calls DescribeRunningTasks with the parameters that it is given.
    :raises BadAnswer: an answer has no list, or the list does not end.
    """
    found: dict[str, RunningTask] = {}
    offset, hidden = 0, False
    about: dict[str, Any] = {"SdkAppID": sdk_app_id, "TaskType": task_type}
    for _ in range(_MOST_PAGES):
        response = ask({**about, "Offset": offset, "Limit": PAGE_SIZE})
        total, page = read_page(response, sdk_app_id=sdk_app_id, task_type=task_type)
        known = len(found)
        # The list changes while it is read: a task may be on two pages.
        found.update((task.task_id, task) for task in page)
        # A page may have fewer rows than were asked for although more follow.
        rows = max(_count_rows(response), len(page))
        hidden = hidden or rows > len(page)
        offset += rows
        # Total may be missing or wrong, and a page may come again: one without a new task is the
        # last.
        if len(found) == known or (total is not None and len(found) <= total <= offset):
            return list(found.values()), hidden or (total or 0) > len(found)
    raise BadAnswer(
        f"The list of running tasks does not end: {len(found)} tasks in {_MOST_PAGES} answers.",
        action=ACTION,
        retryable=False,
    )


def read_page(
    response: Mapping[str, Any], *, sdk_app_id: int, task_type: str
) -> tuple[int | None, list[RunningTask]]:
    """Return the total number of tasks, None where it is unknown, and the tasks of this page.

    A row without a readable TaskID is left out, with a warning; the others are returned.

    :raises BadAnswer: the answer has no list, so which tasks run is not known.
    """
    read = Fields(response, "Response", action=ACTION)
    rows = read.items("Tasks")
    if not rows and "Tasks" in read.unreadable and not isinstance(response.get("Tasks"), list):
        raise BadAnswer(
            "Response.Tasks must be a list, the answer holds a "
            f"{type(response.get('Tasks')).__name__}.",
            action=ACTION,
        )
    tasks = [RunningTask.from_item(row, sdk_app_id=sdk_app_id, task_type=task_type) for row in rows]
    return read.integer("Total"), [task for task in tasks if task.task_id]


def _count_rows(response: Mapping[str, Any]) -> int:
    """Return how many rows a page has, unreadable ones included."""
    rows = response.get("Tasks")
    return len(rows) if isinstance(rows, list) else 1 if rows else 0
