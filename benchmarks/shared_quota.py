# SPDX-License-Identifier: Apache-2.0
"""One pace for many hosts: Redis far away, four hosts against one process, many accounts.

Needs ``redis-server``. A proxy delays what passes to and from it. Each process has its own
temporary folder, as on hosts of their own. ``--short`` runs each part for a few seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import redis
from children import clean_up_when_terminated, end, run_together
from far_api import FarApi, forever
from processes import SHARES, run
from report import Figure, report, report_row

from tiw_automation.core import Quota, RecordWatcher, TiwClient
from tiw_automation.core.quota.quota import BUSY_PAUSE_S
from tiw_automation.core.quota.redis import RedisPace

PACE = 19.0
SHORT = "--short" in sys.argv
SECONDS = 5.0 if SHORT else 30.0
# A process with a tenth of the pace knows its round trips after 16 requests.
WARM_UP_S = 3.0 if SHORT else 10.0
LEAVES_S = 6.0
ACCOUNTS = 30
WAITS = 400
TABLE = "quota"


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one_way_s: float
) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(65536):
        loop.call_later(one_way_s, writer.write, data)
    writer.close()


def far_redis(port: int, round_trip_s: float) -> int:
    """Return the port of a proxy to a server that seems to be that far away."""
    found: list[int] = []
    ready = threading.Event()

    async def serve() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(
                _copy(reader, to_server, round_trip_s / 2),
                _copy(from_server, writer, round_trip_s / 2),
            )

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        found.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()
    return found[0]


@contextlib.contextmanager
def redis_server() -> Iterator[int]:
    """Run a server without persistence; return its port."""
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server was not found: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            time.sleep(1.0)
            yield port
        finally:
            end([server])


def take_slots(quota: Quota) -> list[float]:
    """Take slots for the time of a part, after the warm-up; return when."""
    quota.expect_answers()
    times: list[float] = []
    begun = time.monotonic()
    while (now := time.monotonic()) - begun < WARM_UP_S + SECONDS:
        slot = quota.acquire()
        times.append(time.monotonic())
        quota.answered(slot, time.monotonic() - slot + 0.01)
    quota.close()
    return [at for at in times if begun + WARM_UP_S < at < now]


def pace_from(port: int, round_trip_s: float) -> dict[str, float]:
    """Return the part of the pace that a process reaches, and the most slots in a second."""
    url = f"redis://127.0.0.1:{far_redis(port, round_trip_s)}"
    times = take_slots(Quota(PACE, store=RedisPace(url, f"far{round_trip_s}", "host", "A")))
    most = max(sum(1 for b in times[n : n + 40] if b < a + 1) for n, a in enumerate(times))
    return {"part": (len(times) - 1) / (times[-1] - times[0]) / PACE, "most": most}


def distances(port: int) -> list[Figure]:
    """Measure the pace of one process with Redis near and far, at the same time."""
    targets = ((0.0, 0.99), (0.05, 0.95), (0.15, 0.90))
    parts = [["pace", str(port), str(away_s)] for away_s, _ in targets]
    found = run_together(__file__, parts)
    return [
        Figure(
            f"Redis {away_s * 1000:.0f} ms away: part of the pace that one process reaches",
            one["part"],
            least,
            f"{PACE:g}/s, at most {one['most']} slots in a second, {SECONDS:g} s",
            at_least=True,
        )
        for (away_s, least), one in zip(targets, found, strict=True)
    ]


async def _poll(settings: dict[str, object], waits: int, name: str) -> None:
    watcher = RecordWatcher(TiwClient(**settings), running_list=False)  # type: ignore[arg-type]
    ids = [f"{task_id}{name}" for task_id in forever(waits)]
    print("ready", flush=True)
    async for _ in watcher.watch(ids, poll_interval=1.0):
        pass


def four_hosts(url: str) -> list[Figure]:
    """Measure the pace of four processes, and that of three after the largest one is killed."""
    with FarApi() as api, tempfile.TemporaryDirectory() as folder:
        api.control(line=(0.02, 0.005))
        hosts: list[subprocess.Popen[bytes]] = []
        try:
            for number, share in enumerate(SHARES):
                own = os.path.join(folder, str(number))
                os.mkdir(own)
                order = json.dumps([api.settings(), round(share * WAITS), str(number)])
                hosts.append(
                    subprocess.Popen(
                        [sys.executable, __file__, "poll", order],
                        env={**os.environ, "TMPDIR": own, "TIW_QUOTA_URL": url},
                        stdout=subprocess.PIPE,
                    )
                )
            for host in hosts:
                assert host.stdout is not None
                host.stdout.readline()
            time.sleep(WARM_UP_S + 2.0)
            api.control(mark=True)
            time.sleep(SECONDS)
            four = api.control()
            hosts[0].kill()
            time.sleep(LEAVES_S)
            api.control(mark=True)
            time.sleep(SECONDS)
            three = api.control()
        finally:
            end(hosts)
    return [
        Figure(
            "part of the pace that four hosts reach, 70/10/10/10 % of the waits",
            four.requests / SECONDS / PACE,
            0.95,
            f"at most {four.most} requests in a second at the server, {SECONDS:g} s",
            at_least=True,
        ),
        Figure(
            f"part that three reach {LEAVES_S:g} s after the largest was killed (kill -9)",
            three.requests / SECONDS / PACE,
            0.95,
            f"at most {three.most} requests in a second, {SECONDS:g} s",
            at_least=True,
        ),
        Figure(
            "rejects of the four and of the three",
            four.rejects + three.rejects,
            0.0,
            f"of {four.requests + three.requests} requests",
        ),
    ]


def delays(url: str) -> list[Figure]:
    """Measure the delays of four hosts and of one process."""
    os.environ["TIW_QUOTA_URL"] = url
    one, four = run((1.0,), together=False), run(SHARES, together=False)
    means = [statistics.fmean(stats.delays) for stats in (four, one)]
    return [
        Figure(
            "mean delay: four hosts, 70/10/10/10 % of the waits / one process",
            means[0] / means[1],
            1.2,
            f"{means[0]:.2f} and {means[1]:.2f} s, {WAITS} waits",
        ),
        Figure("rejects of these four", four.rejects, 0.0, f"of {four.requests} requests"),
    ]


def many_accounts(port: int) -> list[Figure]:
    """Measure the accounts of one process: the least pace, and what a call costs Redis."""
    with redis.Redis(port=port) as server:
        server.config_resetstat()
        before = server.info()
        [found] = run_together(__file__, [["accounts", f"redis://127.0.0.1:{port}"]])
        after, calls = server.info(), server.info("commandstats")["cmdstat_evalsha"]["calls"]
    names = ("used_cpu_user_main_thread", "used_cpu_sys_main_thread")
    cpu_s = sum(after[name] - before[name] for name in names)
    return [
        Figure(
            f"{ACCOUNTS} accounts of one process: the least part of its pace that one reaches",
            found["least"],
            0.98,
            f"{calls} calls, {calls / found['sends']:.1f} sent together, {SECONDS:g} s",
            at_least=True,
        ),
        Figure(
            "their connections to Redis",
            after["total_connections_received"] - before["total_connections_received"],
            1.0,
            f"{found['cpu_s'] / calls * 1000:.2f} ms of the process's CPU a call, all included",
        ),
        Figure(
            "CPU of Redis that a call takes, ms",
            cpu_s / calls * 1000,
            0.15,
            f"{cpu_s:.2f} s for {calls} calls",
        ),
    ]


async def _one_account(store: RedisPace) -> float:
    """Take slots as a watcher does; return the part of the pace."""
    quota = Quota(PACE, store=store)
    quota.expect_answers()
    times: list[float] = []
    begun = time.monotonic()
    while time.monotonic() - begun < WARM_UP_S + SECONDS:
        slot = quota.reserve()
        await asyncio.sleep(slot - time.monotonic())
        while (used := quota.use(slot)) is None:
            await asyncio.sleep(BUSY_PAUSE_S)
        await asyncio.sleep(used - time.monotonic())
        times.append(time.monotonic())
        quota.answered(used, time.monotonic() - used + 0.01)
    steady = [at for at in times if at > begun + WARM_UP_S]
    return (len(steady) - 1) / (steady[-1] - steady[0]) / PACE


async def accounts(url: str) -> dict[str, float]:
    """Take slots for many accounts, and count how often the process sends."""
    stores = [RedisPace(url, f"account{n}", "host", "A") for n in range(ACCOUNTS)]
    sends, connection = 0, stores[0]._thread.connection
    run_calls = connection.run

    def counted(calls: Any) -> list[Any]:
        nonlocal sends
        sends += 1
        return run_calls(calls)

    connection.run = counted  # type: ignore[method-assign]
    parts = await asyncio.gather(*map(_one_account, stores))
    return {"least": min(parts), "sends": sends, "cpu_s": time.process_time()}


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    logging.disable(logging.WARNING)
    match sys.argv[1:]:
        case ["pace", number, away_s, *_]:
            print(json.dumps(pace_from(int(number), float(away_s))))
            return 0
        case ["accounts", address, *_]:
            print(json.dumps(asyncio.run(accounts(address))))
            return 0
        case ["poll", order, *_]:
            asyncio.run(_poll(*json.loads(order)))
            return 0
    clean_up_when_terminated()
    figures: list[Figure] = []
    with redis_server() as port:
        url = f"redis://127.0.0.1:{port}"
        parts: list[Callable[[], list[Figure]]] = [
            lambda: distances(port),
            lambda: four_hosts(url),
            lambda: many_accounts(port),
        ]
        if not SHORT:
            parts.append(lambda: delays(url))
        for part in parts:
            figures += part()
    for figure in figures:
        target = f"{'>=' if figure.at_least else '<='} {figure.target:g}"
        row = {"what": figure.what, "target": target, "reached": f"{figure.ratio:.3f}"}
        report_row(TABLE, {**row, "how": figure.how})
    return report(*figures)


if __name__ == "__main__":
    sys.exit(main())
