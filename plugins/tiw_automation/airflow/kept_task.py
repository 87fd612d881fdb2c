# SPDX-License-Identifier: Apache-2.0
"""What an earlier try of an Airflow task has created: Airflow 3.3 keeps it in the task's state."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from tiw_automation.core import OnlineRecord, TaskFailure, TaskNotFound, TiwClient, TiwTask
from tiw_automation.core.tasks import find_kind

# How long a kill may wait for Airflow: Airflow gives it five seconds in total.
_FORGET_WITHIN_S = 1.0


class KeptTask:
    """The TIW task that an earlier try of an Airflow task has created.

    A task that was cleared finds none. Whatever goes wrong with the store is logged and raises
    nothing: the TIW task runs in any case.

    :param context: the task's context.
    :param name: what the task id is called, such as ``record_task_id``.
    :param log: the task's logger.
    """

    def __init__(self, context: Any, name: str, log: Any) -> None:
        self._name = name
        self._key = f"tiw_{name.removeprefix('tiw_')}"
        self._log = log
        self._store = context.get("task_state_store")
        # Grows when the task is cleared, and never by a retry.
        self._max_tries = None if self._store is None else context["ti"].max_tries

    def find(
        self, client: TiwClient, task_kind: str, sdk_app_id: int | str | None
    ) -> OnlineRecord | TiwTask | None:
        """Poll the task once and return it, also if it has ended, but not if it failed."""
        try:
            known = None if self._store is None else self._store.get(self._key)
        except Exception as error:
            self._log.warning("It is unknown whether an earlier try created a task: %s", error)
            return None
        if not isinstance(known, Mapping) or known.get("max_tries") != self._max_tries:
            return None
        kind, kept = find_kind(task_kind), str(known[self._name])
        what = f"An earlier try has created {kind.noun.lower()} {kept}"
        try:
            seen = client.describe_task(task_kind, kept, sdk_app_id)
        except (TaskFailure, TaskNotFound) as error:
            self._log.warning("%s, which failed: %s", what, error)
            return None
        self._log.info("%s, which is %s.", what, seen.status)
        return None if seen.status in kind.failed else seen

    def keep(self, task_id: str) -> None:
        """Keep the id for later tries."""
        if self._store is None:
            return
        try:
            self._store.set(self._key, {self._name: task_id, "max_tries": self._max_tries})
        except Exception as error:
            self._log.warning(
                "Task %s could not be kept for a later try, which may not find it: %s",
                task_id,
                error,
            )

    def forget(self) -> None:
        """Let a later try start anew.

        In another thread: at a kill the interrupted call may hold the store's lock until this
        returns.
        """
        store = self._store
        if store is None:
            return

        def delete() -> None:
            try:
                store.delete(self._key)
            except Exception as error:
                self._log.warning("A later try may return the task that was stopped: %s", error)

        thread = threading.Thread(target=delete, name="tiw-forget", daemon=True)
        thread.start()
        thread.join(_FORGET_WITHIN_S)
