# SPDX-License-Identifier: Apache-2.0
"""Deferred sensors under two triggerers, while one component after the other fails.

``--sensors``, ``--database`` and ``--gone`` set the size. One stack serves all tests, and each test
starts in the state that the one before it left: each lets a sixth of the recordings finish. With
PostgreSQL the triggerers share the pace in Redis, as on two hosts; with SQLite in the host's file.
"""

from __future__ import annotations

import os
import platform
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from airflow_stack import AirflowStack
from tiw_automation.simulator import Simulator

DAG = "waits"
# Below Airflow's max_map_length.
MOST_IN_A_RUN = 1000
PARTS = 6
PART_S = 1000.0
# Until a component is healthy on a busy machine.
PATIENCE_S = 300.0
# A process that dies leaves its part of the pace within this time.
LEAVES_WITHIN_S = 6.0
# A busy machine, and the time between two looks at the simulator.
SLACK_S = 2.0

DAGS = """
from airflow.sdk import BaseOperator, dag, task
from loop_lag import LoopLagTrigger
from tiw_automation.airflow.sensors import TiwOnlineRecordSensor


@dag(schedule=None, params={"record_task_ids": []})
def waits():
    @task
    def recordings(params=None):
        return params["record_task_ids"]

    waited = TiwOnlineRecordSensor.partial(
        task_id="wait",
        deferrable=True,
        poke_interval=5,
        # Airflow itself fails a task now and then, when a worker reports its deferral late.
        retries=3,
        retry_delay=20,
    ).expand(record_task_id=recordings())

    @task
    def collect(several):
        return [url for urls in several for url in urls]

    collect(waited.output)


class LoopLag(BaseOperator):
    def execute(self, context):
        self.defer(trigger=LoopLagTrigger(), method_name="execute_complete")


@dag(schedule=None)
def loop_lag():
    LoopLag(task_id="measure")


waits()
loop_lag()
"""

# In the plugins folder: a triggerer imports nothing from the DAGs' folder.
PLUGIN = '''
import asyncio, json, os, pathlib
from airflow.triggers.base import BaseTrigger

EVERY_S = 0.05
measuring = False


class LoopLagTrigger(BaseTrigger):
    """Measures how late a timer of the triggerer's loop is."""

    def serialize(self):
        return "loop_lag.LoopLagTrigger", {}

    async def run(self):
        global measuring
        if measuring:
            await asyncio.Event().wait()
        measuring = True
        loop, lags = asyncio.get_running_loop(), []
        name = f"{os.getppid()}.loop_lag"
        while True:
            due = loop.time() + EVERY_S
            await asyncio.sleep(EVERY_S)
            lags.append(round((loop.time() - due) * 1000, 1))
            if len(lags) == 100:
                with open(pathlib.Path(os.environ["AIRFLOW_HOME"]) / name, "a") as file:
                    print(*lags, file=file)
                lags = []
        yield
'''


# The process from which a worker's processes are forked has imported the provider already.
LOCAL_SETTINGS = "import tiw_automation.airflow.sensors\n"


def limit_s(tasks: int) -> float:
    """Return a limit for tests that hang: two busy cores start one task a second."""
    return 600.0 + 4.0 * tasks


@dataclass
class Waits:
    """The recordings, and the stack that waits for them."""

    simulator: Simulator
    airflow: AirflowStack
    recordings: list[str]
    gone_s: float
    began_at: float = field(default_factory=time.monotonic)
    runs: list[str] = field(default_factory=list)
    ended: int = 0

    @property
    def part(self) -> int:
        return len(self.recordings) // PARTS

    def report(self, words: str) -> None:
        """Print a line of progress (pytest -s)."""
        stats = self.simulator.stats()
        print(
            f"{time.monotonic() - self.began_at:6.0f} s  {words}; "
            f"{sum(stats['requests'].values())} requests, {stats['rejects']} rejects, "
            f"at most {stats['max_in_window']} a second",
            flush=True,
        )

    def count(self, *states: str) -> int:
        """Return how many tasks are in one of the states."""
        return self.airflow.count_tasks(DAG, *states)

    def until(self, state: str, wanted: int, *, tasks: int) -> None:
        """Wait until so many tasks are in a state, and report the progress."""
        what = f"{wanted} tasks that are {state}"
        deadline = time.monotonic() + limit_s(tasks)
        reported_at = -60.0
        while (count := self.count(state)) < wanted:
            self.airflow.check_alive()
            assert not self.count("failed"), self.failure()
            if time.monotonic() > deadline:
                raise AssertionError(f"{what} took more than {limit_s(tasks)} s: {count}")
            if time.monotonic() - reported_at >= 30:
                reported_at = time.monotonic()
                self.report(f"waiting for {what}: {count}")
            # The api-server takes 16 ms of CPU time for each count, for thousands much more.
            time.sleep(2 + tasks / 500)
        self.report(f"{what}: {count}")

    def end_part(self) -> None:
        """Let a sixth of the recordings finish."""
        self.ended += 1
        self.simulator.advance(PART_S)

    def end_part_and_measure(self) -> dict[str, float]:
        """Let a sixth of the recordings finish; return after how many seconds each was polled."""
        ending = set(self.recordings[self.ended :: PARTS])
        before = self.simulator.requests_by_task
        ended_at = time.monotonic()
        self.end_part()
        delays: dict[str, float] = {}
        while len(delays) < len(ending):
            polled = self.simulator.requests_by_task
            now = time.monotonic() - ended_at
            for task_id in ending - delays.keys():
                if polled.get(task_id, 0) > before.get(task_id, 0):
                    delays[task_id] = now
            assert now < limit_s(self.part), sorted(ending - delays.keys())
            time.sleep(0.1)
        return delays

    def until_ended(self) -> None:
        """Wait until the tasks of all recordings that have finished have ended."""
        wanted = self.ended * self.part + len(self.runs)
        self.until("success", wanted, tasks=self.part)

    def until_some_ended(self) -> None:
        """Wait until the first task of a part has ended, while others still run."""
        wanted = (self.ended - 1) * self.part + len(self.runs) + 1
        self.until("success", wanted, tasks=self.part)

    def tasks(self, state: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            path = f"/dags/{DAG}/dagRuns/~/taskInstances?state={state}&order_by=id&limit=100"
            page = self.airflow.get(f"{path}&offset={len(found)}")["task_instances"]
            found += page
            if len(page) < 100:
                return found

    def triggerers(self) -> dict[int, set[str]]:
        """Return the recordings that each triggerer's job waits for."""
        jobs: dict[int, set[str]] = {}
        for task in self.tasks("deferred"):
            job = (task["triggerer_job"] or {}).get("id")
            if job is not None:
                first = self.runs.index(task["dag_run_id"]) * MOST_IN_A_RUN
                jobs.setdefault(job, set()).add(self.recordings[first + task["map_index"]])
        return jobs

    def failure(self) -> str:
        task = self.tasks("failed")[0]
        return self.airflow.task_log(
            DAG, task["dag_run_id"], task["task_id"], task["try_number"], task["map_index"]
        )


class Memory:
    """The most memory that each triggerer had with its child, read every ten seconds."""

    def __init__(self, airflow: AirflowStack) -> None:
        self.most_mb: dict[str, float] = {}
        self._airflow = airflow
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._over.wait(10):
            for name in [n for n in self._airflow.components if n.startswith("triggerer")]:
                try:
                    pid = self._airflow.process_id(name)
                    family = [pid, *map(int, _children(pid))]
                    now = sum(_resident_mb(each) for each in family)
                except (KeyError, OSError, ValueError):
                    continue
                self.most_mb[name] = max(self.most_mb.get(name, 0.0), round(now, 1))


def _children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def _resident_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError(pid)


@pytest.fixture(scope="module")
def waits(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Waits]:
    option = request.config.getoption
    number = option("--sensors") // PARTS * PARTS
    assert number > 0, "--sensors must be 6 or more"
    database = request.getfixturevalue("postgresql") if option("--database") != "sqlite" else None
    quota = {"TIW_QUOTA_URL": request.getfixturevalue("redis")} if database else {}
    home = tmp_path_factory.mktemp("airflow")
    for path, text in (
        ("dags/waits.py", DAGS),
        ("plugins/loop_lag.py", PLUGIN),
        ("config/airflow_local_settings.py", LOCAL_SETTINGS),
    ):
        (home / path).parent.mkdir()
        (home / path).write_text(text)
    with ExitStack() as cleanup:
        # Its time moves only when a test advances it.
        simulator = cleanup.enter_context(Simulator(speed=0))
        recordings = [
            simulator.add(
                f"lesson-{index:05d}", timeline=[{"RECORDING": PART_S * (index % PARTS + 0.5)}]
            )
            for index in range(number)
        ]
        airflow = cleanup.enter_context(
            AirflowStack(
                home,
                dags_folder=home / "dags",
                environment={
                    **simulator.environment(),
                    **quota,
                    "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
                    # No DAG file changes. One that was not stored at first is read again.
                    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "120",
                    # The default is some seconds, less than an api-server takes to start.
                    "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "10",
                    # Each must hold all of them when the other one is killed.
                    "AIRFLOW__TRIGGERER__CAPACITY": str(2 * number + 10),
                },
                start_timeout_s=PATIENCE_S,
                triggerers=2,
                parallelism=option("--parallelism"),
                database=database,
            )
        )
        memory = cleanup.enter_context(Memory(airflow))
        found = Waits(simulator, airflow, recordings, option("--gone"))
        yield found
        report(found, memory, option("--database"))


def report(waits: Waits, memory: Memory, database: str) -> None:
    """Print what was measured (pytest -s), for docs/scale.md."""
    waits.report("the end")
    airflow = version("apache-airflow-core")
    print(
        f"Airflow {airflow}, Python {platform.python_version()}, {database}, "
        f"{os.cpu_count()} cores, {len(waits.recordings)} sensors"
    )
    for name, most in memory.most_mb.items():
        print(f"{name}: at most {most} MB of memory (PSS) with its child")
    for path in sorted(waits.airflow.home.glob("*.loop_lag")):
        lags = sorted(float(lag) for lag in path.read_text().split())
        p50, p99 = statistics.median(lags), lags[int(len(lags) * 0.99)]
        print(
            f"triggerer {path.stem}: its loop was late by {p50} ms (median), {p99} ms (p99), "
            f"{lags[-1]} ms (at most) in {len(lags)} looks"
        )
    for name in memory.most_mb:
        blocked = waits.airflow.log_file(name).read_text().count("async thread was blocked")
        print(f"{name}: Airflow found its loop blocked for 0.2 s {blocked} times")


def test_the_loops_of_both_are_measured(waits: Waits) -> None:
    """Where both look for triggers at nearly the same moments, one of them gets all triggers.

    So the other is started anew, and looks at other moments, until each has one.
    """
    jobs = {measure(waits)}
    (first,) = measured(waits, 1)
    for _ in range(10):
        jobs.add(measure(waits))
        if len(jobs) == 2:
            break
        components = ("triggerer", "triggerer-2")
        (other,) = [name for name in components if waits.airflow.process_id(name) != first]
        waits.airflow.stop_component(other)
        waits.airflow.start_component(other)
        waits.airflow.wait_until_healthy(timeout_s=PATIENCE_S)
    measured(waits, 2)


def measure(waits: Waits) -> int:
    """Start one more measurement, and return the job of the triggerer that runs it."""
    run_id = waits.airflow.trigger("loop_lag")
    path = f"/dags/loop_lag/dagRuns/{run_id}/taskInstances/measure"
    deadline = time.monotonic() + PATIENCE_S
    while True:
        task = waits.airflow.get(path)
        if (job := (task["triggerer_job"] or {}).get("id")) is not None:
            return int(job)
        assert time.monotonic() < deadline, task
        time.sleep(0.5)


def measured(waits: Waits, number: int) -> list[int]:
    """Return the process ids of the triggerers whose loops are measured."""
    deadline = time.monotonic() + PATIENCE_S
    while len(files := list(waits.airflow.home.glob("*.loop_lag"))) < number:
        assert time.monotonic() < deadline, files
        time.sleep(0.5)
    return [int(path.stem) for path in files]


def test_every_sensor_waits_in_a_triggerer_and_no_worker_is_busy(waits: Waits) -> None:
    for start in range(0, len(waits.recordings), MOST_IN_A_RUN):
        ids = waits.recordings[start : start + MOST_IN_A_RUN]
        waits.runs.append(waits.airflow.trigger(DAG, {"record_task_ids": ids}))
    number = len(waits.recordings)
    waits.until("deferred", number, tasks=number)
    assert waits.count("deferred") == number
    assert waits.count("scheduled", "queued", "running", "restarting") == 0


def test_both_triggerers_have_waits(waits: Waits) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while sum(map(len, (found := waits.triggerers()).values())) < len(waits.recordings):
        assert time.monotonic() < deadline, found
        time.sleep(1)
    waits.report(f"waits of each triggerer: {[len(ids) for ids in found.values()]}")
    assert len(found) == 2


def test_after_a_kill_no_wait_is_later_than_with_one_triggerer(waits: Waits) -> None:
    before = waits.triggerers()
    waits.airflow.kill_component("triggerer")
    delays = waits.end_part_and_measure()
    waits.until_ended()
    (left,) = waits.triggerers()
    alone = waits.end_part_and_measure()
    waits.until_ended()

    survivors = [delay for task_id, delay in delays.items() if task_id in before[left]]
    moved = [delay for task_id, delay in delays.items() if task_id not in before[left]]
    # A part fewer recordings were open when the second triggerer was alone from the start.
    as_alone = max(alone.values()) * PARTS / (PARTS - 1)
    waits.report(
        f"polled after {max(survivors, default=0):.1f} s at most by the triggerer that was left, "
        f"{min(moved, default=0):.1f} to {max(moved, default=0):.1f} s where Airflow moved them "
        f"to it; with one triggerer {as_alone:.1f} s"
    )
    limit = as_alone + LEAVES_WITHIN_S + SLACK_S
    assert max(survivors, default=0) <= limit
    # Airflow moves the waits of a dead triggerer; the first poll of one shows when.
    assert max(moved, default=0) - min(moved, default=0) <= limit
    waits.airflow.start_component("triggerer")
    waits.airflow.wait_until_healthy(timeout_s=PATIENCE_S)


def test_a_restart_of_the_scheduler(waits: Waits) -> None:
    waits.end_part()
    waits.until_some_ended()
    waits.airflow.stop_component("scheduler")
    waits.airflow.start_component("scheduler")
    waits.airflow.wait_until_healthy(timeout_s=PATIENCE_S)
    waits.until_ended()


def test_a_restart_of_the_api_server(waits: Waits) -> None:
    waits.end_part()
    waits.until_some_ended()
    waits.airflow.stop_component("api-server")
    waits.airflow.start_component("api-server")
    waits.airflow.wait_until_healthy(timeout_s=PATIENCE_S)
    waits.until_ended()


def test_a_tiw_that_cannot_be_reached_for_a_while(waits: Waits) -> None:
    left = len(waits.recordings) - waits.ended * waits.part
    waits.simulator.__exit__(None, None, None)
    waits.end_part()
    time.sleep(waits.gone_s)
    assert waits.count("deferred") == left
    waits.simulator.__enter__()
    waits.report("TIW is back")
    waits.until_ended()


def test_no_result_is_lost_or_doubled(waits: Waits) -> None:
    waits.end_part()
    waits.until_ended()
    urls: list[str] = []
    for run_id in waits.runs:
        states = waits.airflow.wait_for_run(DAG, run_id, timeout_s=limit_s(waits.part))
        assert set(states.values()) == {"success"}
        urls += waits.airflow.xcom(DAG, run_id, "collect")
    again = [task for task in waits.tasks("success") if task["try_number"] > 1]
    waits.report(f"{len(urls)} URLs; {len(again)} tasks were retried")
    of = [url.split("?")[0].split("/")[-2] for url in urls]
    assert sorted(of) == sorted(waits.recordings * 2)


def test_tiw_rejected_nothing(waits: Waits) -> None:
    assert waits.simulator.rejects == 0
