# SPDX-License-Identifier: Apache-2.0
"""What people do instead, on the same server: requests, rejects, delay, CPU and memory.

20 recordings stop at a random time within 40 s and are FINISHED 5 to 20 s later, on a line of
20 +- 5 ms and a quota of 20 requests a second; then 300 of them for those that can. Each peer is
told to ask every 5 s, as is ours. CPU and memory are those of all its processes; memory is the
largest process times the processes that live at once.

* ours: one watcher
* a thread pool on the SDK, one thread for each wait, which asks again after an error
* a poking sensor: Airflow's ``PythonSensor``, one process for each wait
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
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from far_api import FarApi, Stats
from report import Figure, report

INTERVAL_S = 5.0
LIMIT_S = 300.0

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
    """Return ids that say when each recording stops and is FINISHED."""
    chance = random.Random(7)
    stops = [chance.uniform(2, 40) for _ in range(count)]
    return [f"r-{stop:.2f}-{stop + chance.uniform(5, 20):.2f}-{n}" for n, stop in enumerate(stops)]


@dataclass
class Peer:
    """What one of them took."""

    name: str
    stats: Stats
    waits: int
    missed: int
    wall_s: float
    cpu_s: float
    memory_mb: float

    def row(self) -> str:
        """Return a row of the table in docs/performance.md."""
        found = self.stats.delays
        delay = f"{statistics.fmean(found):.1f}" if found else "-"
        return (
            f"| {self.name} | {self.waits} | {self.stats.requests} | {self.stats.rejects} | "
            f"{self.missed} | {delay} | {self.wall_s:.0f} | {self.cpu_s:.1f} | "
            f"{self.memory_mb:.0f} |"
        )


def measure(
    name: str, count: int, commands: Any, *, at_once: int, environment: dict[str, str] | None = None
) -> Peer:
    """Run a peer's processes to their end."""
    ids = recordings(count)
    with FarApi() as api, tempfile.TemporaryDirectory() as home:
        api.tell(line=(0.02, 0.005), begin=True)
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        own = {"HOME": home, "AIRFLOW_HOME": home, "ANSIBLE_HOME": home, "TMPDIR": home}
        running = [
            subprocess.Popen(
                command,
                env={**os.environ, **own, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for command in commands(api, ids, home)
        ]
        largest = [0.0]
        watching = threading.Event()
        watcher = threading.Thread(target=_largest, args=(running, largest, watching))
        watcher.start()
        for process in running:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(began + LIMIT_S - time.monotonic(), 0.1))
            if process.poll() is None:
                process.kill()
                process.wait()
        wall = time.monotonic() - began
        watching.set()
        watcher.join()
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        stats = api.tell()
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        missed = count - len(stats.delays)
        return Peer(name, stats, count, missed, wall, cpu, largest[0] * at_once / 1024)


def _largest(running: list[subprocess.Popen[bytes]], largest: list[float], end: Any) -> None:
    """Keep the resident size in kB of the largest of the processes."""
    while not end.wait(0.5):
        for process in running:
            with contextlib.suppress(OSError, StopIteration, ValueError):
                text = Path(f"/proc/{process.pid}/status").read_text()
                line = next(line for line in text.splitlines() if line.startswith("VmRSS"))
                largest[0] = max(largest[0], float(line.split()[1]))


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
    sensor.execute(context={})


def main() -> int:
    """Print a row for each peer, and the ratios of ours to the best of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="300 recordings as well")
    parser.add_argument("--tccli", default=shutil.which("tccli"), help="where tccli is")
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
    beside = Path(sys.executable).with_name("ansible-playbook")
    playbook = str(beside) if beside.exists() else shutil.which("ansible-playbook")
    if not options.tccli or not playbook:
        print("tccli (--tccli PATH) and ansible-playbook are needed for this benchmark.")
        return 1
    few = 20
    peers = [
        measure("ours", few, lambda api, ids, _: [_self("ours", api, ids)], at_once=1),
        measure("thread pool on the SDK", few, lambda api, ids, _: [_self("pool", api, ids)],
                at_once=1),
        measure("poking `PythonSensor`", few,
                lambda api, ids, _: [_self("sensor", api, [i]) for i in ids], at_once=few),
        measure("`tccli --waiter`", few, lambda api, ids, _: _tccli(options.tccli, api, ids),
                at_once=few),
        measure("Ansible `uri` with `until`", few,
                lambda api, ids, home: _ansible(playbook, api, ids, home), at_once=2),
    ]  # fmt: skip
    if options.full:
        peers += [
            measure("ours", 300, lambda api, ids, _: [_self("ours", api, ids)], at_once=1),
            measure(
                "thread pool on the SDK", 300, lambda api, ids, _: [_self("pool", api, ids)],
                at_once=1,
            ),
        ]  # fmt: skip
    print(
        "| who | waits | requests | rejects | never found | mean delay, s | wall, s | CPU, s | MB |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for peer in peers:
        print(peer.row())
    others = peers[1:5]
    ours = peers[0]
    return report(
        Figure(
            "peers: mean delay of ours / the best of those that found all, 20 waits",
            statistics.fmean(ours.stats.delays)
            / min(statistics.fmean(p.stats.delays) for p in others if not p.missed),
            1.0, "5 s between two requests",
        ),
        Figure("peers: rejects and losses of ours", float(ours.stats.rejects + ours.missed), 0.0,
               "20 waits"),
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
