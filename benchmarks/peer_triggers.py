# SPDX-License-Identifier: Apache-2.0
"""The triggers that ours is compared with; in a module, because Airflow imports them by name."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.core import RecordStatus


class EmptyTrigger(BaseTrigger):
    """Waits for a future that is never set: the smallest possible trigger."""

    def __init__(self, record_task_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record_task_id = record_task_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{__name__}.EmptyTrigger", {"record_task_id": self.record_task_id}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait without limit."""
        never = asyncio.get_running_loop().create_future()
        yield TriggerEvent(await never)  # type: ignore[no-untyped-call]


class WaiterTrigger(BaseTrigger):
    """Waits as the triggers on Amazon's ``AwsBaseWaiterTrigger`` do, for a recording.

    That is ``async_wait``: one attempt, then ``waiter_delay`` seconds of sleep, up to
    ``waiter_max_attempts``, each trigger by itself.
    """

    def __init__(
        self, record_task_id: str, waiter_delay: float = 60.0, waiter_max_attempts: int = 600
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.record_task_id = record_task_id
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{__name__}.WaiterTrigger", {
            "record_task_id": self.record_task_id,
            "waiter_delay": self.waiter_delay,
            "waiter_max_attempts": self.waiter_max_attempts,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Poll, sleep, poll."""
        client = await asyncio.to_thread(TiwHook().get_conn)
        for _ in range(self.waiter_max_attempts):
            record = await asyncio.to_thread(client.describe_online_record, self.record_task_id)
            if record.status == RecordStatus.FINISHED:
                found = {"status": "success", "record_task_id": self.record_task_id}
                yield TriggerEvent(found)  # type: ignore[no-untyped-call]
                return
            await asyncio.sleep(self.waiter_delay)
        raise RuntimeError("Waiter error: max attempts reached")
