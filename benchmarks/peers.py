# SPDX-License-Identifier: Apache-2.0
"""The alternatives of users, on the same server: requests, rejects, delay, CPU and memory.

20 recordings stop at a random time within 40 s and are FINISHED 5 to 20 s later, on a network path
of 20 +- 5 ms and a quota of 20 requests a second; then 300 of them for the peers that can. Each
peer polls every 5 s, as ours does. CPU is that of all its processes, from their start on. Memory is
the most that all its processes held at once: their private pages and their part of shared ones.

* ours: one watcher
* a thread pool on the SDK, one thread for each wait, which polls again after an error
* a poking sensor: Airflow's ``PythonSensor``, one process for each wait; the recordings begin when
  all of the processes have imported Airflow
* ``tccli --waiter``, one process for each wait; its first error ends it
* Ansible's ``uri`` with ``until`` in a loop, one after the other
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import random
import resource
import select
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from children import clean_up_when_terminated, end
from far_api import FarApi, Stats
from report import Figure, report, report_row

INTERVAL_S = 5.0
LIMIT_S = 240.0
READY_S = 300.0
# Where tools/make-env puts it; it has its own SDK, so it has its own environment.
TCCLI = Path(__file__).parents[1] / ".venvs/tccli/bin/tccli"

PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - ansible.builtin.uri:
        url: ENDPOINT
        method: POST
        body_format: json
        body: {SdkAppId: 1400000001, TaskId: "{{ item }}"}
        headers: {X-TC-Action: DescribeOnlineRecord}
      register: answer
      until: answer.json.Response.Status | default("") == "FINISHED"
      retries: 60
      delay: 5
      loop: TASK_IDS
"""


def recordings(count: int) -> list[str]:
    """Return ids that hold when each recording stops and is FINISHED."""
    chance = random.Random(7)
    stops = [chance.uniform(2, 40) for _ in range(count)]
    return [f"r-{stop:.2f}-{stop + chance.uniform(5, 20):.2f}-{n}" for n, stop in enumerate(stops)]


@dataclass(frozen=True)
class Peer:
    """One way to wait.

    :param commands: returns what to run, for a server, the recordings and an empty folder.
    :param starts_on_line: the processes print a line when they are ready, and begin on one from us.
    """

    name: str
    commands: Callable[[FarApi, list[str], str], list[list[str]]]
    note: str
    starts_on_line: bool = False


@dataclass(frozen=True)
class Found:
    """What a peer achieved and used."""

    peer: Peer
    stats: Stats
    waits: int
    missed: int
    wall_s: float
    cpu_s: float
    memory_mb: float

    @property
    def mean(self) -> float:
        """The mean delay in seconds from FINISHED to the answer with it."""
        return statistics.fmean(self.stats.delays)

    def cells(self) -> dict[str, str]:
        """Return its row of the table."""
        return {
            "who": self.peer.name,
            "waits": str(self.waits),
            "requests": str(self.stats.requests),
            "rejects": str(self.stats.rejects),
            "never found": str(self.missed),
            "mean delay, s": f"{self.mean:.1f}" if self.stats.delays else "-",
            "wall, s": f"{self.wall_s:.0f}",
            "CPU, s": f"{self.cpu_s:.1f}",
            "MB": f"{self.memory_mb:.0f}",
            "note": self.peer.note,
        }


def measure(peer: Peer, count: int) -> Found:
    """Run a peer's processes to their end."""
    ids = recordings(count)
    with FarApi() as api, tempfile.TemporaryDirectory() as home:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        own = {"HOME": home, "AIRFLOW_HOME": home, "ANSIBLE_HOME": home, "TMPDIR": home}
        running: list[subprocess.Popen[bytes]] = []
        over = threading.Event()
        most = [0.0]
        watcher = threading.Thread(target=_most_memory, args=(running, most, over))
        watcher.start()
        try:
            for command in peer.commands(api, ids, home):
                running.append(
                    subprocess.Popen(
                        command,
                        env={**os.environ, **own},
                        stdin=subprocess.PIPE if peer.starts_on_line else subprocess.DEVNULL,
                        stdout=subprocess.PIPE if peer.starts_on_line else subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                    )
                )
            if peer.starts_on_line:
                ready_by = time.monotonic() + READY_S
                for process in running:
                    assert process.stdout is not None
                    left = max(ready_by - time.monotonic(), 0.0)
                    if not select.select([process.stdout], [], [], left)[0]:
                        raise SystemExit(f"{peer.name} was not ready within {READY_S:.0f} s")
            api.control(line=(0.02, 0.005), begin=True)
            began = time.monotonic()
            if peer.starts_on_line:
                for process in running:
                    assert process.stdin is not None
                    process.stdin.close()
            for process in running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(max(began + LIMIT_S - time.monotonic(), 0.1))
            wall = time.monotonic() - began
        finally:
            over.set()
            watcher.join()
            end(running)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        stats = api.control()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        missed = count - len(stats.delays)
        return Found(peer, stats, count, missed, wall, cpu, most[0] / 1024)


def _most_memory(
    running: list[subprocess.Popen[bytes]], most: list[float], over: threading.Event
) -> None:
    """Keep the most kB that the processes and their children hold together."""
    while not over.wait(0.5):
        held = 0.0
        for pid in _family([process.pid for process in list(running)]):
            with contextlib.suppress(OSError, StopIteration, ValueError):
                text = Path(f"/proc/{pid}/smaps_rollup").read_text()
                line = next(line for line in text.splitlines() if line.startswith("Pss:"))
                held += float(line.split()[1])
        most[0] = max(most[0], held)


def _family(pids: list[int]) -> list[int]:
    """Return processes and all that they started."""
    found = list(pids)
    for pid in found:
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _self(kind: str, api: FarApi, ids: list[str]) -> list[str]:
    settings = json.dumps(api.settings())
    return [sys.executable, __file__, "--as", kind, "--settings", settings, "--ids", ",".join(ids)]


def _tccli(tccli: str, api: FarApi, ids: list[str]) -> list[list[str]]:
    waiter = json.dumps(
        {"expr": "Status", "to": "FINISHED", "timeout": 240, "interval": int(INTERVAL_S)}
    )
    keys = ["--secretId", "AKIDbenchmark", "--secretKey", "benchmark", "--region", "ap-singapore"]
    return [
        [tccli, "tiw", "DescribeOnlineRecord", "--SdkAppId", "1400000001", "--TaskId", task_id,
         "--endpoint", api.endpoint, *keys, "--waiter", waiter]
        for task_id in ids
    ]  # fmt: skip


def _ansible(playbook: str, api: FarApi, ids: list[str], home: str) -> list[list[str]]:
    path = Path(home, "play.yml")
    text = PLAYBOOK.replace("ENDPOINT", api.endpoint).replace("TASK_IDS", json.dumps(ids))
    path.write_text(text)
    return [[playbook, "-i", "localhost,", "-c", "local", str(path)]]


async def _ours(settings: dict[str, Any], ids: list[str]) -> None:
    from tiw_automation.core import RecordWatcher, TiwClient

    async for _ in RecordWatcher(TiwClient(**settings)).watch(ids, poll_interval=INTERVAL_S):
        pass


def _bare(settings: dict[str, Any]) -> Any:
    from tencentcloud.common.credential import Credential
    from tencentcloud.common.profile.client_profile import ClientProfile
    from tencentcloud.common.profile.http_profile import HttpProfile
    from tencentcloud.tiw.v20190919 import tiw_client

    host = settings["endpoint"].removeprefix("http://")
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=host))
    keys = Credential(settings["secret_id"], settings["secret_key"])
    return tiw_client.TiwClient(keys, "ap-singapore", profile)


def _is_finished(client: Any, task_id: str) -> bool:
    answer = client.call_json("DescribeOnlineRecord", {"SdkAppId": 1400000001, "TaskId": task_id})
    return bool(answer["Response"]["Status"] == "FINISHED")


def _pool(settings: dict[str, Any], ids: list[str]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    from tencentcloud.common.exception.tencent_cloud_sdk_exception import (
        TencentCloudSDKException,
    )

    client = _bare(settings)

    def wait(task_id: str) -> None:
        while True:
            with contextlib.suppress(TencentCloudSDKException):
                if _is_finished(client, task_id):
                    return
            time.sleep(INTERVAL_S)

    with ThreadPoolExecutor(len(ids)) as pool:
        list(pool.map(wait, ids))


def _sensor(settings: dict[str, Any], ids: list[str]) -> None:
    from airflow.providers.standard.sensors.python import PythonSensor

    client = _bare(settings)
    sensor = PythonSensor(
        task_id="wait",
        python_callable=lambda: _is_finished(client, ids[0]),
        poke_interval=INTERVAL_S,
        timeout=LIMIT_S,
    )
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.read()
    sensor.execute(context={})


def _tool(given: str | None, *places: Path) -> str | None:
    """Return where a program is."""
    if given:
        return given
    found = next((str(place) for place in places if place.exists()), None)
    return found or shutil.which(places[0].name)


def main() -> int:
    """Print a row for each peer, and the ratios of ours to the best of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="300 recordings as well")
    parser.add_argument("--tccli", help="where tccli is; by default what tools/make-env built")
    parser.add_argument("--only", action="append", metavar="NAME", help="measure only this peer")
    parser.add_argument("--as", dest="kind", help=argparse.SUPPRESS)
    parser.add_argument("--settings", help=argparse.SUPPRESS)
    parser.add_argument("--ids", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind:
        logging.disable(logging.CRITICAL)
        settings, ids = json.loads(options.settings), options.ids.split(",")
        if options.kind == "ours":
            asyncio.run(_ours(settings, ids))
        else:
            {"pool": _pool, "sensor": _sensor}[options.kind](settings, ids)
        return 0
    clean_up_when_terminated()
    beside = Path(sys.executable)
    tccli = _tool(options.tccli, TCCLI, beside.with_name("tccli"))
    playbook = _tool(None, beside.with_name("ansible-playbook"))
    if not tccli or not playbook:
        print("tccli (tools/make-env tccli) and ansible-playbook are needed for this benchmark.")
        return 2
    ours = Peer("ours", lambda api, ids, _: [_self("ours", api, ids)], "one process")
    pool = Peer(
        "thread pool on the SDK",
        lambda api, ids, _: [_self("pool", api, ids)],
        "one process, a thread for each wait; polls again after an error",
    )
    others = [
        pool,
        Peer(
            "poking `PythonSensor`",
            lambda api, ids, _: [_self("sensor", api, [one]) for one in ids],
            "a process for each wait; most of the CPU goes into its imports, which ended before "
            "the recordings began",
            starts_on_line=True,
        ),
        Peer(
            "`tccli --waiter`",
            lambda api, ids, _: _tccli(tccli, api, ids),
            "a process for each wait; most of the CPU goes into its imports. Its first error ends "
            "it",
        ),
        Peer(
            "Ansible `uri` with `until`",
            lambda api, ids, home: _ansible(playbook, api, ids, home),
            "one after the other: few requests, because it polls one only when the one before "
            "it is FINISHED, and so finds most of them late",
        ),
    ]
    plan = [(peer, 20) for peer in (ours, *others)]
    if options.full:
        plan += [(ours, 300), (pool, 300)]
    found = []
    for peer, count in plan:
        if not options.only or peer.name in options.only:
            found.append(measure(peer, count))
            report_row("peers", found[-1].cells())
    mine = [one for one in found if one.peer is ours]
    theirs = [one for one in found if one.peer is not ours]
    return report(
        *(
            Figure(
                f"peers, {one.waits} waits, mean delay: ours / the best of those that found all",
                one.mean / min(o.mean for o in theirs if o.waits == one.waits and not o.missed),
                # With few waits all peers that keep the interval are about as fast.
                None if one.waits == 20 else 1.0,
                f"{INTERVAL_S:g} s between two requests",
            )
            for one in mine
            if any(other.waits == one.waits and not other.missed for other in theirs)
        ),
        *(
            Figure(
                f"peers, {one.waits} waits: rejects and losses of ours",
                one.stats.rejects + one.missed,
                0.0,
                f"{one.stats.requests} requests",
            )
            for one in mine
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
