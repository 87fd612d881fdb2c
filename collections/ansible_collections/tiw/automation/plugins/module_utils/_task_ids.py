# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Task ids as users write them, and the ids that stand for a recording in check mode.

Check mode starts nothing, but the tasks that follow need the id of the recording that would be
started. So check mode returns an id that TIW never makes, ``check-mode:`` and the recording user.
Every task of the collection recognizes it.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from tiw_automation.core import Outcome

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


def check_mode_id(record_user_id: str) -> str:
    """Return the id of a recording that would be started."""
    return f"{_PREFIX}{record_user_id}"


def is_check_mode_id(task_id: str) -> bool:
    """Return whether check mode made this id."""
    return task_id.startswith(_PREFIX)


def refuse_check_mode_ids(task_ids: t.Iterable[str]) -> None:
    """Refuse the ids of check mode before TIW is asked.

    :raises ConfigurationError: there is one.
    """
    from tiw_automation.core import ConfigurationError

    for task_id in filter(is_check_mode_id, task_ids):
        raise ConfigurationError(
            f"{task_id} is not a recording: check mode returned it for one that would be started.",
            hint="Run this task in check mode too, or the task that starts it without check mode.",
        )


def check_mode_outcome(sdk_app_id: int, task_id: str, status: str) -> Outcome:
    """Return the outcome of a recording that would be started and have this status."""
    from tiw_automation.core import OnlineRecord, Outcome, Verdict

    verdict = Verdict.FINISHED if status == "FINISHED" else Verdict.PENDING
    record = OnlineRecord(sdk_app_id, task_id, status=status)
    return Outcome(sdk_app_id, task_id, verdict, record=record)
