# SPDX-License-Identifier: Apache-2.0
"""How many requests 1,000 deferrable sensors need for recordings that have finished already.

Each recording has its own sensor, executed as a worker does. The bound is one request for each.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile

from far_api import FarApi, finished
from report import Figure, report

COUNT = 1000


class TaskInstance:
    """Receives what a task pushes."""

    def __init__(self) -> None:
        self.pushed: dict[str, list[object]] = {}

    def xcom_push(self, key: str, value: list[object]) -> None:
        """Keep a value."""
        self.pushed[key] = value


def main() -> int:
    """Print the figure; return 1 when it misses its target."""
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="tiw-calls-") as home, FarApi(limit=0) as api:
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        }
        settings = api.settings()
        os.environ["AIRFLOW_CONN_TENCENTCLOUD_DEFAULT"] = json.dumps(
            {
                "conn_type": "tencentcloud",
                "login": settings["secret_id"],
                "password": settings["secret_key"],
                "host": settings["endpoint"],
                # The pace is not measured here.
                "extra": {"sdk_app_id": settings["sdk_app_id"], "requests_per_second": 2000},
            }
        )
        from tiw_automation.airflow.sensors import TiwOnlineRecordSensor

        for number, task_id in enumerate(finished(COUNT)):
            ti = TaskInstance()
            sensor = TiwOnlineRecordSensor(
                task_id=f"wait-{number}", record_task_id=task_id, deferrable=True
            )
            urls = sensor.execute({"ti": ti})  # type: ignore[typeddict-item]
            assert len(urls) == 1
            (record,) = ti.pushed["records"]
            assert isinstance(record, dict)
            assert record["task_id"] == task_id
        calls = api.control().requests
    return report(
        Figure(
            "requests of 1,000 sensors on finished recordings, records pushed / 1,000",
            calls / COUNT,
            1.0,
            f"{calls} requests",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
