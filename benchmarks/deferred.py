# SPDX-License-Identifier: Apache-2.0
"""Waits on Airflow's real components: how many workers are busy, how soon the next task starts.

1. 1,000 recordings are waited for by ten mapped sensors with a hundred each and by twenty sensors
   with one each. Once all are deferred, the slots of Airflow's pool that are taken and its busy
   workers are counted repeatedly.
2. 60 times three recordings finish at the same random times: one that our sensor waits for, one
   that a poking ``PythonSensor`` polls every 60 s, and one for a trigger in the style of Amazon's
   ``AwsBaseWaiterTrigger``, every 60 s. All three run at once and have a task after each wait; the
   time from FINISHED to the start of that task is compared.

Takes about twelve minutes and 5 GB: twenty poking sensors are twenty processes.
"""

from __future__ import annotations

import argparse
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from report import Figure, report

from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "demo"))
from airflow_stack import AirflowStack  # noqa: E402

EACH = 20
MANY = 1000
LOOKS = 15
# Of the recordings that finish, so that starting a process does not wait for another one's start.
SPREAD_S = 300.0
PROCESSING_S = 10.0
# The first ends when all are waiting: twenty processes take a while to start.
FIRST_S = 150.0
KINDS = ("ours", "poking", "waiter")

DAGS = '''
from airflow.sdk import BaseOperator, dag, task, task_group
from airflow.providers.standard.sensors.python import PythonSensor

from peer_triggers import WaiterTrigger
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.sensors import TiwOnlineRecordSensor


def is_finished(record_task_id):
    with TiwHook().get_conn() as client:
        return client.describe_online_record(record_task_id).status == "FINISHED"


class WaiterOperator(BaseOperator):
    """Polls once and defers, as Amazon's deferrable sensors do."""

    template_fields = ("record_task_id",)

    def __init__(self, *, record_task_id, **kwargs):
        super().__init__(**kwargs)
        self.record_task_id = record_task_id

    def execute(self, context):
        if not is_finished(self.record_task_id):
            self.defer(trigger=WaiterTrigger(self.record_task_id), method_name="execute_complete")

    def execute_complete(self, context, event):
        assert event["status"] == "success"


def ours(record_task_id):
    # The defaults, except for the arguments that a user gives.
    return TiwOnlineRecordSensor(
        task_id="wait", record_task_id=record_task_id, deferrable=True, retries=2
    )


def poking(record_task_id):
    return PythonSensor(
        task_id="wait",
        python_callable=is_finished,
        op_args=[record_task_id],
        poke_interval=60,
        retries=2,
    )


def waiter(record_task_id):
    return WaiterOperator(task_id="wait", record_task_id=record_task_id, retries=2)


def waiting(name, wait):
    @dag(dag_id=name, schedule=None, params={"ids": []}, max_active_tasks=64)
    def make():
        @task
        def ids(params=None):
            return params["ids"]

        @task_group
        def each(record_task_id):
            @task
            def then():
                pass

            wait(record_task_id) >> then()

        each.expand(record_task_id=ids())

    make()


for sensor in (ours, poking, waiter):
    waiting(sensor.__name__, sensor)
'''


def until(what: Callable[[], bool], airflow: AirflowStack, of: str, within_s: float) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + within_s
    while not what():
        airflow.check_alive()
        if time.monotonic() > deadline:
            raise SystemExit(f"{of} did not happen within {within_s:g} s; see {airflow.home}")
        time.sleep(0.5)


def instances(airflow: AirflowStack, dag_id: str, run_id: str, task_id: str) -> dict[int, Any]:
    """Return a mapped task's instances by their index."""
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=100"
    rows = airflow.get(path)["task_instances"]
    return {row["map_index"]: row for row in rows if row["task_id"] == task_id}


def all_are(airflow: AirflowStack, dag_id: str, run_id: str, task_id: str, states: str) -> bool:
    """Return whether all of a mapped task are in one of these states."""
    found = instances(airflow, dag_id, run_id, task_id)
    return (
        bool(found)
        and -1 not in found
        and {row["state"] for row in found.values()} <= set(states.split())
    )


def busy_workers(home: Path) -> int:
    """Return how many processes of this Airflow run a task, by their process titles."""
    busy = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            # Another Airflow may run on this machine.
            if (path.parent / "cwd").readlink() != home:
                continue
            words = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        busy += "airflow worker" in words and "<idle>" not in words
    return busy


def worst(airflow: AirflowStack, looks: int) -> tuple[int, int]:
    """Return the most slots and the most workers that were seen busy."""
    slots, workers = [], []
    for _ in range(looks):
        pool = airflow.get("/pools/default_pool")
        slots.append(pool["running_slots"] + pool["queued_slots"])
        workers.append(busy_workers(airflow.home))
        time.sleep(1.0)
    return max(slots), max(workers)


def waited_for(airflow: AirflowStack, simulator: Simulator) -> tuple[int, int]:
    """Wait for many recordings; return the slots and the workers that were busy meanwhile."""
    many = [simulator.add(f"many-{n}", timeline=[{"RECORDING": 36_000}]) for n in range(MANY)]
    single, chunked = many[:EACH], many[EACH:]
    runs = {
        "many_recordings": airflow.trigger(
            "many_recordings", {"record_task_ids": chunked, "chunk": 98}
        ),
        "ours": airflow.trigger("ours", {"ids": single}),
    }
    tasks = {"many_recordings": "wait_for_recordings", "ours": "each.wait"}
    for dag_id, task_id in tasks.items():
        until(
            lambda dag_id=dag_id, task_id=task_id: all_are(  # type: ignore[misc]
                airflow, dag_id, runs[dag_id], task_id, "deferred"
            ),
            airflow,
            f"{dag_id} deferred",
            600,
        )
    time.sleep(5.0)
    seen = worst(airflow, LOOKS)
    for dag_id, task_id in tasks.items():
        assert all_are(airflow, dag_id, runs[dag_id], task_id, "deferred")
    simulator.advance(40_000)
    for dag_id, run_id in runs.items():
        states = airflow.wait_for_run(dag_id, run_id, timeout_s=600)
        assert set(states.values()) == {"success"}, states
    return seen


def delays(airflow: AirflowStack, simulator: Simulator, spread_s: float) -> dict[str, list[float]]:
    """Return the seconds from FINISHED to the start of the next task, for each kind."""
    chance = random.Random(11)
    lasts = [FIRST_S + chance.uniform(0, spread_s) for _ in range(EACH)]
    began = time.time()
    runs = {}
    for kind in KINDS:
        ids = [
            simulator.add(f"{kind}-{n}", timeline=[{"RECORDING": last}, {"STOPPED": PROCESSING_S}])
            for n, last in enumerate(lasts)
        ]
        runs[kind] = airflow.trigger(kind, {"ids": ids})
    for kind, run_id in runs.items():
        until(
            lambda kind=kind, run_id=run_id: all_are(  # type: ignore[misc]
                airflow, kind, run_id, "each.wait", "deferred running"
            ),
            airflow,
            f"{kind} waiting",
            600,
        )
    found = {}
    for kind, run_id in runs.items():
        states = airflow.wait_for_run(kind, run_id, timeout_s=spread_s + FIRST_S + 300)
        assert set(states.values()) == {"success"}, states
        rows = instances(airflow, kind, run_id, "each.then")
        found[kind] = [
            datetime.fromisoformat(rows[n]["start_date"]).timestamp() - began - last - PROCESSING_S
            for n, last in enumerate(lasts)
        ]
    return found


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spread", type=float, default=SPREAD_S, metavar="SECONDS")
    spread_s = parser.parse_args().spread
    with tempfile.TemporaryDirectory(prefix="tiw-deferred-") as name:
        dags = Path(name, "dags")
        dags.mkdir()
        shutil.copy(ROOT / "dags" / "many_recordings.py", dags)
        (dags / "peers.py").write_text(DAGS)
        with (
            Simulator(region="ap-guangzhou") as simulator,
            AirflowStack(
                Path(name, "airflow"),
                dags_folder=dags,
                environment={
                    **simulator.environment(),
                    # The poking sensors take twenty slots while they wait.
                    "AIRFLOW__CORE__PARALLELISM": "32",
                    "PYTHONPATH": str(ROOT / "benchmarks"),
                },
                start_timeout_s=300.0,
            ) as airflow,
        ):
            slots, workers = waited_for(airflow, simulator)
            took = delays(airflow, simulator, spread_s)
            rejects = simulator.rejects
    means = {kind: statistics.fmean(took[kind]) for kind in KINDS}
    for kind in KINDS:
        print(
            f"{kind}: mean {means[kind]:.1f} s, median {statistics.median(took[kind]):.1f} s, "
            f"longest {max(took[kind]):.1f} s",
            flush=True,
        )
    how = f"{EACH} recordings each, mean {means['ours']:.1f} s"
    return report(
        Figure(
            f"slots taken while {MANY} recordings are waited for",
            slots,
            0,
            f"most of {LOOKS} looks",
        ),
        Figure(
            f"worker processes busy while {MANY} recordings are waited for",
            workers,
            0,
            f"most of {LOOKS} looks",
        ),
        Figure(
            "FINISHED to the next task's start / a PythonSensor that pokes every 60 s",
            means["ours"] / means["poking"],
            0.2,
            f"{how} and {means['poking']:.1f} s",
        ),
        Figure(
            "FINISHED to the next task's start / a waiter trigger of 60 s",
            means["ours"] / means["waiter"],
            0.2,
            f"{how} and {means['waiter']:.1f} s",
        ),
        Figure("requests over the quota", rejects, 0, "all three on one account"),
    )


if __name__ == "__main__":
    sys.exit(main())
