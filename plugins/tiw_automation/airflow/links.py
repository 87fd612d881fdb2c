# SPDX-License-Identifier: Apache-2.0
"""The links of a task: to the replay of the recording and to TIW's console."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.sdk import BaseOperatorLink  # isort: skip

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class TiwConsoleLink(BaseOperatorLink):
    """TIW's console, of the site that the task uses; also while the task is deferred."""

    name: ClassVar[str] = "TIW console"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL; the worker calls this after the task has run or deferred."""
        return str(getattr(operator, "console_url", None) or "")


class TiwReplayLink(BaseOperatorLink):
    """The replay of the recording, or else its first video; empty until it has finished."""

    name: ClassVar[str] = "Replay"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the URL; the worker calls this after the task has run or deferred."""
        return str(getattr(operator, "replay_url", None) or "")
