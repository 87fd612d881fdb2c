# SPDX-License-Identifier: Apache-2.0
"""Many accounts in one process: each gets its pace, and one that hangs delays no other.

A process waits for 100 recordings of each account. With 30 accounts, each should get its 19
requests a second. With 100, the process cannot send as many; then all should get the same, and
together what the process can send at all: as many threads that call as fast as they can. ``own
threads`` is how it was before: 16 threads for each account.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from typing import Any

from children import clean_up_when_terminated, end
from report import Figure, report

from tiw_automation.core import RecordWatcher, TiwClient
from tiw_automation.core.waiting.threads import CallThreads
from tiw_automation.simulator import Simulator

WAITS = 100
PACE = 19.0
WARM_UP_S = 5.0


def _account(number: int) -> dict[str, str]:
    return {"secret_id": f"AKIDaccount{number:03d}", "secret_key": f"key{number:03d}"}


def _serve(accounts: int) -> None:
    """Run the simulator until standard input ends."""
    with Simulator(limit=0) as simulator:
        for number in range(accounts):
            simulator.add_account(**_account(number))
        ids = [simulator.add(f"lesson{n}", timeline=[{"RECORDING": 1e6}]) for n in range(WAITS)]
        print(json.dumps({"settings": simulator.settings(), "ids": ids}), flush=True)
        sys.stdin.read()


def _client(settings: dict[str, Any], number: int) -> TiwClient:
    return TiwClient(**{**settings, **_account(number), "requests_per_second": PACE})


async def _rates(served: Any, accounts: int, seconds: float, own_threads: bool) -> list[float]:
    """Return the requests a second of each account."""
    watchers = [RecordWatcher(_client(served["settings"], n)) for n in range(accounts)]
    for watcher in watchers if own_threads else ():
        watcher._threads = CallThreads(64)

    async def wait(watcher: RecordWatcher) -> None:
        async for _ in watcher.watch(served["ids"], poll_interval=0.1):
            pass

    waits = [asyncio.create_task(wait(watcher)) for watcher in watchers]
    await asyncio.sleep(WARM_UP_S)
    before, began = [watcher.polls for watcher in watchers], time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    rates = [(w.polls - n) / took for w, n in zip(watchers, before, strict=True)]
    for task in waits:
        task.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    return rates


def _most(served: Any, accounts: int, seconds: float) -> float:
    """Return the requests a second of 64 threads that call as fast as they can."""
    # A pace that never holds them up.
    clients = [
        TiwClient(**{**served["settings"], **_account(n), "requests_per_second": 10_000})
        for n in range(accounts)
    ]
    over, counts = threading.Event(), [0] * 64

    def call(number: int) -> None:
        client = clients[number % accounts]
        while not over.is_set():
            client.call(
                "DescribeOnlineRecord", {"SdkAppId": 1400000001, "TaskId": served["ids"][0]}
            )
            counts[number] += 1

    threads = [threading.Thread(target=call, args=(n,), daemon=True) for n in range(64)]
    for thread in threads:
        thread.start()
    time.sleep(WARM_UP_S)
    before, began = sum(counts), time.monotonic()
    time.sleep(seconds)
    rate = (sum(counts) - before) / (time.monotonic() - began)
    over.set()
    for thread in threads:
        thread.join()
    return rate


def _measure(part: str, accounts: int, seconds: float) -> Any:
    command = [sys.executable, __file__, "--part", "serve", "--accounts", str(accounts)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            served = json.loads(server.stdout.readline())
            if part == "most":
                return _most(served, accounts, seconds)
            return asyncio.run(_rates(served, accounts, seconds, part == "own threads"))
        finally:
            end([server])


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0, help="how long each is measured")
    parser.add_argument("--accounts", type=int, default=100, help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.part == "serve":
        _serve(options.accounts)
        return 0
    clean_up_when_terminated()
    few = _measure("shared", 30, options.seconds)
    figures = [
        Figure(
            "the slowest of 30 accounts / its pace",
            min(few) / PACE,
            0.98,
            f"{min(few):.2f} requests/s",
            at_least=True,
        )
    ]
    most = _measure("most", options.accounts, options.seconds)
    for part, target in (("shared", True), ("own threads", False)):
        rates = _measure(part, options.accounts, options.seconds)
        label = f"{options.accounts} accounts" + ("" if target else ", own threads")
        figures += [
            Figure(
                f"{label}: the fastest / the slowest",
                max(rates) / max(min(rates), 0.01),
                1.1 if target else None,
                f"{min(rates):.2f} to {max(rates):.2f} requests/s",
            ),
            Figure(
                f"{label}: all / what the process can send",
                sum(rates) / most,
                0.9 if target else None,
                f"{sum(rates):.0f} and {most:.0f} requests/s",
                at_least=True,
            ),
        ]
    return report(*figures)


if __name__ == "__main__":
    sys.exit(main())
