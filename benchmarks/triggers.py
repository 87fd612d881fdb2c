# SPDX-License-Identifier: Apache-2.0
"""Memory of waits in Airflow's own trigger runner.

10,000 deferred waits of ours over 10,000 empty triggers, and one trigger with a list of 10,000
recordings. The runner is Airflow's ``TriggerRunner`` without a database: it gets the work that its
supervisor reads there. Each measurement has its own process, in which some waits exist before
anything is measured, so that threads, connections and modules are not part of the figure; and in
which each recording was polled once.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from far_api import FarApi, forever
from report import Figure, report

COUNT = 10_000
# Waits that exist before.
FIRST = 500
# Ten thousand first answers take two minutes. At a higher pace all waits would rest at once, which
# costs a few bytes for each; at Tencent's pace, one in ten does.
PER_SECOND = 100
PATIENCE_S = 600.0
LIST_TARGET_B = 2000
OURS = "tiw_automation.airflow.triggers.TiwOnlineRecordTrigger"
EMPTY = "peer_triggers.EmptyTrigger"


def trigger(kind: str, number: int, ids: list[str]) -> tuple[str, dict[str, Any]]:
    """Return the class path and the arguments of one trigger, as the sensor gives them."""
    if kind == "empty":
        return EMPTY, {"record_task_id": ids[number]}
    return OURS, {
        "record_task_ids": ids if kind == "list" else [ids[number]],
        "end_time": time.time() + 6 * 3600,
        "sdk_app_id": None,
        "tencentcloud_conn_id": "tencentcloud_default",
        "poll_interval": 5.0,
        "accept_finish_reasons": None,
        "require_videos": True,
    }


def _rss() -> int:
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def weigh(kind: str, api: FarApi, count: int) -> float:
    """Return the bytes that the runner grows by for each wait; runs in its own process."""
    from airflow.executors.workloads.task import TaskInstanceDTO
    from airflow.executors.workloads.trigger import RunTrigger
    from airflow.jobs.triggerer_job_runner import TriggerRunner
    from airflow.models.trigger import Trigger

    ids = forever(FIRST + count)

    def workload(number: int, classpath: str, kwargs: dict[str, Any]) -> RunTrigger:
        return RunTrigger(
            id=number,
            classpath=classpath,
            encrypted_kwargs=Trigger.encrypt_kwargs(kwargs),
            ti=TaskInstanceDTO(
                id=uuid4(),
                dag_version_id=UUID(int=1),
                task_id="wait_for_recordings",
                dag_id="many_recordings",
                run_id="manual__2026-11-24T00:00:00+00:00",
                try_number=1,
                map_index=number,
                pool_slots=1,
                queue="default",
                priority_weight=1,
            ),
        )

    class Runner(TriggerRunner):
        """A runner that gets its work from here, not from a supervisor with a database."""

        async def init_comms(self) -> None:
            class Comms:
                _reader_task = asyncio.get_running_loop().create_future()

            self.comms_decoder: Any = Comms()

        async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:
            assert not finished_ids, "a wait has ended"
            assert not self.failed_triggers, self.failed_triggers

    runner = Runner()  # type: ignore[no-untyped-call]

    async def settle(number: int, asked: int) -> None:
        """Wait until that many triggers run, and so many requests were sent and some more."""
        deadline = time.monotonic() + PATIENCE_S
        most = asked + PER_SECOND if asked else 0
        while len(runner.triggers) < number or api.control().requests < most:
            assert time.monotonic() < deadline, "the waits did not begin in time"
            await asyncio.sleep(0.5)
        await asyncio.sleep(1.0)

    def add(kind: str, ids: list[str]) -> None:
        many = 1 if kind == "list" else len(ids)
        for number in range(many):
            runner.to_create.append(workload(next(numbers), *trigger(kind, number, ids)))

    numbers = itertools.count()
    running = asyncio.create_task(runner.arun())  # type: ignore[no-untyped-call]
    # What the first ones load does not count for the others.
    first = "empty" if kind == "empty" else "each"
    add(first, ids[:FIRST])
    await settle(FIRST, 0 if kind == "empty" else FIRST)
    before = _rss()
    add(kind, ids[FIRST:])
    each = 1 if kind == "list" else count
    await settle(FIRST + each, 0 if kind == "empty" else FIRST + count)
    size = (_rss() - before) / count
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return size


def child(kind: str, count: int) -> None:
    """Measure one kind and print the bytes."""
    logging.disable(logging.CRITICAL)
    with FarApi(limit=0) as api:
        settings = api.settings()
        connection = {
            "conn_type": "tencentcloud",
            "login": settings["secret_id"],
            "password": settings["secret_key"],
            "host": settings["endpoint"],
            "extra": {
                "sdk_app_id": settings["sdk_app_id"],
                "requests_per_second": PER_SECOND,
            },
        }
        os.environ["AIRFLOW_CONN_TENCENTCLOUD_DEFAULT"] = json.dumps(connection)
        print(asyncio.run(weigh(kind, api, count)))


def weighed(kind: str, home: Path, *, portal: bool = True) -> float:
    """Return the bytes of a wait of one kind."""
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
        "AIRFLOW_DISABLE_GREENBACK_PORTAL": "false" if portal else "true",
        "PYTHONPATH": str(Path(__file__).parent),
    }
    done = subprocess.run(
        [sys.executable, __file__, kind, str(COUNT)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env=environment,
        timeout=2 * PATIENCE_S,
    )
    return float(done.stdout.splitlines()[-1])


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    if len(sys.argv) > 2:
        child(sys.argv[1], int(sys.argv[2]))
        return 0
    with tempfile.TemporaryDirectory(prefix="tiw-triggers-") as name:
        home = Path(name)
        empty, each, of_list = (weighed(kind, home) for kind in ("empty", "each", "list"))
        bare = {kind: weighed(kind, home, portal=False) for kind in ("empty", "each")}
    return report(
        Figure(
            "memory of a deferred wait / an empty trigger, 10k in Airflow's runner",
            each / empty,
            1.20,
            f"{each / 1000:.2f} and {empty / 1000:.2f} kB; without Airflow's greenback portal "
            f"{bare['each'] / 1000:.2f} and {bare['empty'] / 1000:.2f} kB",
        ),
        Figure(
            f"memory of a recording of 10k in one sensor / {LIST_TARGET_B / 1000:g} kB",
            of_list / LIST_TARGET_B,
            1.0,
            f"{of_list / 1000:.2f} kB",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
