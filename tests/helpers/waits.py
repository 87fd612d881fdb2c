# SPDX-License-Identifier: Apache-2.0
"""Sensors and triggers that run without a scheduler, with what they push and print."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tiw_automation.airflow.sensors import TiwOnlineRecordSensor
from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger


class Pushes:
    """Keeps what a task pushes, like the worker's task instance."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get_first_reschedule_date(self, context: Any) -> datetime:
        """Return a time long ago: a task that is rescheduled has no time left."""
        return datetime.now(UTC) - timedelta(days=30)

    def xcom_push(self, key: str, value: Any) -> None:
        # Only JSON can be pushed.
        self.values[key] = json.loads(json.dumps(value))


def sensor(record_task_id: Any, **given: Any) -> TiwOnlineRecordSensor:
    return TiwOnlineRecordSensor(task_id="wait", record_task_id=record_task_id, **given)


def context(pushes: Pushes) -> Any:
    return {"ti": pushes}


def stored(arguments: Any) -> Any:
    """Return the arguments of a deferral as the resumed task gets them."""
    return json.loads(json.dumps(arguments))


def logged(capfd: pytest.CaptureFixture[str]) -> str:
    """Return what Airflow has printed as the task's log since the last call."""
    return re.sub(r"\x1b\[[\d;]*m", "", "".join(capfd.readouterr()))


async def fire(trigger: TiwOnlineRecordTrigger) -> Any:
    path, arguments = trigger.serialize()
    assert path == "tiw_automation.airflow.triggers.TiwOnlineRecordTrigger"
    # Airflow stores a trigger as JSON.
    copy = TiwOnlineRecordTrigger(**json.loads(json.dumps(arguments)))
    (event,) = [event async for event in copy.run()]
    return json.loads(json.dumps(event.payload))
