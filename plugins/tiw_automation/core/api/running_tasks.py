# SPDX-License-Identifier: Apache-2.0
"""The tasks that run in an application (DescribeRunningTasks), which only the Chinese site lists.

https://cloud.tencent.com/document/product/1137/89907. Its list names the room of a recording,
not its recording user, and holds tasks of the last three days.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiw_automation.core.api.sites import site_of
from tiw_automation.core.errors import BadAnswer, ConfigurationError
from tiw_automation.core.formatting import shown
from tiw_automation.core.records.fields import Fields

if TYPE_CHECKING:
    from tiw_automation.core.api.client import TiwClient

TASK_TYPES = ("OnlineRecord", "WhiteboardPush", "TranscodeH5", "TranscodeJPG")
PAGE_SIZE = 500
"""The most tasks that one answer may hold."""
MOST_PAGES = 200
"""A list that is longer does not end: an application has 100 recordings at a time."""


class RunningListUnavailable(ConfigurationError):
    """The site does not tell which recordings run; only the Chinese one does."""

    default_code = "RunningListUnavailable"


@dataclass(frozen=True, slots=True)
class RunningTask:
    """One task. ``create_time`` and ``cancel_time`` are the API's words, without a time zone."""

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


def check_lists_running(client: TiwClient) -> None:
    """See that a client's site is not one that is known to have no list of running tasks.

    :raises RunningListUnavailable: it is the international site.
    """
    if not site_of(client.settings.host).lists_running:
        raise RunningListUnavailable(
            f"{client.settings.host} does not tell which recordings run; only the Chinese site "
            "does (DescribeRunningTasks)."
        )


def check_task_type(value: object) -> str:
    """Return the kind of tasks to list.

    :raises ConfigurationError: the API has no such kind.
    """
    if value not in TASK_TYPES:
        raise ConfigurationError(
            f"task_type: {shown(value)} is not a type of task.",
            hint=f"Use one of {', '.join(TASK_TYPES)}.",
        )
    return str(value)


def read_page(
    response: Mapping[str, Any], *, sdk_app_id: int, task_type: str
) -> tuple[int | None, list[RunningTask]]:
    """Return how many tasks there are in all, None where that is unknown, and those of this page.

    A row without a readable TaskID is left out, with a warning; the others are returned.

    :raises BadAnswer: there is no list in the answer, so that which tasks run is not known.
    """
    read = Fields(response, "Response", action="DescribeRunningTasks")
    rows = read.items("Tasks")
    if not rows and "Tasks" in read.unreadable and not isinstance(response.get("Tasks"), list):
        raise BadAnswer(
            "Response.Tasks must be a list, the answer holds a "
            f"{type(response.get('Tasks')).__name__}.",
            action="DescribeRunningTasks",
        )
    tasks = [RunningTask.from_item(row, sdk_app_id=sdk_app_id, task_type=task_type) for row in rows]
    return read.integer("Total"), [task for task in tasks if task.task_id]


def count_rows(response: Mapping[str, Any]) -> int:
    """Return how many rows a page has, also those that cannot be read."""
    rows = response.get("Tasks")
    return len(rows) if isinstance(rows, list) else 1 if rows else 0
