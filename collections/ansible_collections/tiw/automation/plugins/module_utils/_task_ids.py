# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ids of recordings as people give them, and those that stand for a recording in check mode.

In check mode nothing is started, and still the id of what would be started has to pass through
the tasks that follow. So there it is one that TIW never makes, ``check-mode:`` and the user of the
recording, by which every task knows it again.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from tiw_automation.core import Outcome

_PREFIX = "check-mode:"


def read_task_ids(value: t.Any) -> list[str]:
    """Return the ids that an option holds, each once.

    :param value: one id, several in one text with commas between, or a list of ids. Ansible splits
        a text into a list by itself and leaves the blanks, so those of an item are nothing.
    :raises ConfigurationError: no id was given, or one is not a task id.
    """
    from tiw_automation.core import check_task_ids

    if isinstance(value, (list, tuple)):
        value = [item.strip() if isinstance(item, str) else item for item in value]
    return check_task_ids(value)


def foreseen_id(record_user_id: str) -> str:
    """Return the id of a recording that check mode would have started."""
    return f"{_PREFIX}{record_user_id}"


def is_foreseen(task_id: str) -> bool:
    """Return whether an id comes from check mode."""
    return task_id.startswith(_PREFIX)


def refuse_foreseen(task_ids: t.Iterable[str]) -> None:
    """Refuse ids that come from check mode, where TIW is going to be asked.

    :raises ConfigurationError: there is one.
    """
    from tiw_automation.core import ConfigurationError

    for task_id in filter(is_foreseen, task_ids):
        raise ConfigurationError(
            f"{task_id} is not a recording: check mode returned it for one that would be started.",
            hint="Run this task in check mode too, or the task that starts it without check mode.",
        )


def foreseen(sdk_app_id: int, task_id: str, status: str) -> Outcome:
    """Return the outcome of a recording that check mode would have started.

    :param status: the state in which it would be.
    """
    from tiw_automation.core import OnlineRecord, Outcome, Verdict

    verdict = Verdict.FINISHED if status == "FINISHED" else Verdict.PENDING
    return Outcome(
        sdk_app_id, task_id, verdict, record=OnlineRecord(sdk_app_id, task_id, status=status)
    )
