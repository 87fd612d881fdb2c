# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task ids as users write them, and the ids that stand for a task of TIW in check mode.

Check mode starts nothing, but the tasks that follow need the id of what would be started. So check
mode returns an id that TIW never makes, ``check-mode:`` and a name, for a recording its user. Every
task of the collection recognizes it.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from tiw_automation.core import Outcome, TaskKind

_PREFIX = "check-mode:"


def read_task_ids(value: t.Any) -> list[str]:
    """Return the task ids of an option, each once.

    :param value: one id, one text of several with commas between them, or a list of ids. Ansible
        itself splits a text into a list and keeps the blanks, so those around an item are ignored.
    :raises ConfigurationError: there is no id, or one is not a task id.
    """
    from tiw_automation.core import check_task_ids

    if isinstance(value, (list, tuple)):
        value = [item.strip() if isinstance(item, str) else item for item in value]
    return check_task_ids(value)


def check_mode_id(name: str) -> str:
    """Return the id of a recording or another task that would be started."""
    return f"{_PREFIX}{name}"


def is_check_mode_id(task_id: str) -> bool:
    """Return whether check mode made this id."""
    return task_id.startswith(_PREFIX)


def refuse_check_mode_ids(task_ids: t.Iterable[str], noun: str = "recording") -> None:
    """Refuse the ids of check mode before TIW is asked.

    :raises ConfigurationError: there is one.
    """
    from tiw_automation.core import ConfigurationError

    for task_id in filter(is_check_mode_id, task_ids):
        raise ConfigurationError(
            f"{task_id} is not a {noun}: check mode returned it for one that would be started.",
            hint="Run this task in check mode too, or the task that starts it without check mode.",
        )


def check_mode_outcome(sdk_app_id: int, task_id: str, status: str, kind: TaskKind) -> Outcome:
    """Return the outcome of a task that would be started and have this status."""
    from tiw_automation.core import OnlineRecord, Outcome, TiwTask, Verdict

    verdict = Verdict.FINISHED if status in kind.rules.final else Verdict.PENDING
    seen: OnlineRecord | TiwTask = TiwTask(sdk_app_id, kind.name, task_id, status)
    if kind.name == "online_record":
        seen = OnlineRecord(sdk_app_id, task_id, status=status)
    return Outcome.about(sdk_app_id, task_id, verdict, seen, task_kind=kind.name)


def running_state(kind: TaskKind) -> str:
    """Return the state of a task while it does what it is for, such as RECORDING."""
    return kind.states[min(1, len(kind.states) - 2)][0]
