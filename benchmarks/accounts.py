# SPDX-License-Identifier: Apache-2.0
"""Many accounts in one process: each gets its pace, and one that hangs delays no other.

A process waits for 100 recordings of each account. With 30 accounts, each should get its 19
requests a second, also where the endpoint of one of them hangs. With 100, the process cannot send
as many; then all should get the same, and together what the process can send at all: 64 threads
that call as fast as they can, without a watcher and without a pace.

    python benchmarks/accounts.py [--before FOLDER]

FOLDER holds the package of another version (its ``plugins``), which is measured in the same run.
Each measurement has a process of its own, and a simulator in another one. The processor time of
both is reported: where the simulator uses a whole core, it is the limit and the figure is invalid.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from children import clean_up_when_terminated, end
from report import Figure, report, report_row

from tiw_automation.core import RecordWatcher, TiwClient
from tiw_automation.core.quota.quota import Slot
from tiw_automation.simulator import Simulator

WAITS = 100
PACE = 19.0
THREADS = 64
WARM_UP_S = 5.0
APPLICATION = 1400000001


class Unpaced(Slot):
    """A slot that needs no wait."""

    def __init__(self) -> None:
        self.time = 0.0

    def acquire(self) -> None:
        """Do nothing."""

    def renew(self) -> None:
        """Do nothing."""


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


@contextlib.contextmanager
def _hanging() -> Iterator[str]:
    """Yield an endpoint that accepts connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def _processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rates(
    counts: Callable[[], list[int]], server: int, sleep: Callable[[float], None], seconds: float
) -> dict[str, Any]:
    """Return what is counted in a second each, and the processor time of both processes."""
    sleep(WARM_UP_S)
    pids = (os.getpid(), server)
    before, used, began = counts(), [_processor_s(pid) for pid in pids], time.monotonic()
    sleep(seconds)
    took = time.monotonic() - began
    ours, simulator = (
        (_processor_s(pid) - earlier) / took for pid, earlier in zip(pids, used, strict=True)
    )
    rates = [(now - earlier) / took for now, earlier in zip(counts(), before, strict=True)]
    return {"rates": rates, "processor": ours, "simulator": simulator}


def _watched(served: Any, options: argparse.Namespace, server: int) -> dict[str, Any]:
    """Return the requests a second of each account; the first one may hang, and is left out."""
    with _hanging() as endpoint:
        watchers = [
            RecordWatcher(
                TiwClient(
                    **{
                        **served["settings"],
                        **_account(number),
                        "requests_per_second": PACE,
                        **({"endpoint": endpoint} if options.hangs and not number else {}),
                    }
                )
            )
            for number in range(options.accounts)
        ]

        async def wait(watcher: RecordWatcher) -> None:
            async for _ in watcher.watch(served["ids"], poll_interval=0.1):
                pass

        async def run() -> dict[str, Any]:
            waits = [asyncio.create_task(wait(watcher)) for watcher in watchers]
            counted = watchers[1:] if options.hangs else watchers
            found = await asyncio.to_thread(
                _rates,
                lambda: [watcher.polls for watcher in counted],
                server,
                time.sleep,
                options.seconds,
            )
            for task in waits:
                task.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
            return found

        return asyncio.run(run())


def _called(served: Any, options: argparse.Namespace, server: int) -> dict[str, Any]:
    """Return the requests a second of each thread that calls as fast as it can."""
    clients = [
        TiwClient(**{**served["settings"], **_account(number)})
        for number in range(options.accounts)
    ]
    over, counts = threading.Event(), [0] * THREADS
    slot: Any = Unpaced()

    def call(number: int) -> None:
        client = clients[number % len(clients)]
        while not over.is_set():
            task_id = served["ids"][counts[number] % WAITS]
            client.describe_task("online_record", task_id, APPLICATION, slot=slot)
            counts[number] += 1

    threads = [threading.Thread(target=call, args=(n,), daemon=True) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    found = _rates(lambda: list(counts), server, time.sleep, options.seconds)
    over.set()
    for thread in threads:
        thread.join()
    return found


def _part(options: argparse.Namespace) -> None:
    """Measure one part, and print what was found."""
    command = [sys.executable, __file__, "--part", "serve", "--accounts", str(options.accounts)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            served = json.loads(server.stdout.readline())
            measure = _called if options.part == "called" else _watched
            print(json.dumps(measure(served, options, server.pid)), flush=True)
        finally:
            end([server])


def _measure(
    part: str, accounts: int, seconds: float, *, plugins: Path | None = None, hangs: bool = False
) -> dict[str, Any]:
    """Measure one part in a process of its own."""
    command = [sys.executable, __file__, "--part", part, "--accounts", str(accounts)]
    command += ["--seconds", str(seconds), *(["--hangs"] if hangs else [])]
    environment = dict(os.environ)
    if plugins is not None:
        environment["PYTHONPATH"] = str(plugins)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        try:
            printed, _ = child.communicate(timeout=WARM_UP_S + seconds + 60)
        finally:
            end([child])
    if child.returncode:
        raise SystemExit(f"accounts.py --part {part} failed")
    found: dict[str, Any] = json.loads(printed)
    return found


def _row(code: str, accounts: str, rounds: list[dict[str, Any]]) -> None:
    rates = _mean_rates(rounds)
    processor, simulator = (
        sum(found[name] for found in rounds) / len(rounds) for name in ("processor", "simulator")
    )
    report_row(
        "accounts",
        {
            "what": code,
            "accounts": accounts,
            "slowest": f"{min(rates):.2f}/s",
            "fastest": f"{max(rates):.2f}/s",
            "all": f"{sum(rates):.0f}/s",
            "its processor time": f"{processor:.2f} s/s",
            "the simulator's": f"{simulator:.2f} s/s",
        },
    )


def _mean_rates(rounds: list[dict[str, Any]]) -> list[float]:
    several = zip(*(found["rates"] for found in rounds), strict=True)
    return [sum(rates) / len(rounds) for rates in several]


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="how long each is measured")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is measured")
    parser.add_argument("--before", type=Path, help="the plugins folder of another version")
    parser.add_argument("--accounts", type=int, default=100, help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--hangs", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.part == "serve":
        _serve(options.accounts)
        return 0
    if options.part is not None:
        _part(options)
        return 0
    clean_up_when_terminated()
    return report(*_few(options), *_many(options))


def _few(options: argparse.Namespace) -> list[Figure]:
    """Measure 30 accounts, for which the process is fast enough."""
    figures = []
    for hangs, target in ((False, 0.98), (True, 0.95)):
        rounds = [
            _measure("watched", 30, options.seconds, hangs=hangs) for _ in range(options.rounds)
        ]
        name = "30, of which one hangs" if hangs else "30"
        _row("watchers", name, rounds)
        slowest = min(_mean_rates(rounds))
        figures.append(
            Figure(
                f"{name}: the slowest of the accounts / its pace",
                slowest / PACE,
                target,
                f"{slowest:.2f} requests/s",
                at_least=True,
            )
        )
    if options.before:
        _row("watchers, before", "30", [_measure("watched", 30, options.seconds,
                                                 plugins=options.before)])  # fmt: skip
    return figures


def _many(options: argparse.Namespace) -> list[Figure]:
    """Measure as many accounts as the process cannot serve at their pace."""
    parts: dict[str, tuple[str, Path | None]] = {
        "threads that only call": ("called", None),
        "watchers": ("watched", None),
    }
    if options.before:
        parts["watchers, before"] = ("watched", options.before.resolve())
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in parts}
    # One after the other, so that all have the same of what else the machine does.
    for _ in range(options.rounds):
        for name, (part, plugins) in parts.items():
            found[name].append(_measure(part, options.accounts, options.seconds, plugins=plugins))
    for name, rounds in found.items():
        _row(name, str(options.accounts), rounds)
    most = sum(_mean_rates(found.pop("threads that only call")))
    figures = []
    for name, rounds in found.items():
        rates = _mean_rates(rounds)
        is_target = name == "watchers"
        label = f"{options.accounts} accounts" + ("" if is_target else ", before")
        figures += [
            Figure(
                f"{label}: the fastest / the slowest",
                max(rates) / max(min(rates), 0.01),
                1.1 if is_target else None,
                f"{min(rates):.2f} to {max(rates):.2f} requests/s",
            ),
            Figure(
                f"{label}: all / what the process can send",
                sum(rates) / most,
                0.9 if is_target else None,
                f"{sum(rates):.0f} and {most:.0f} requests/s",
                at_least=True,
            ),
        ]
    return figures


if __name__ == "__main__":
    sys.exit(main())
