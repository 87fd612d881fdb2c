# SPDX-License-Identifier: Apache-2.0
"""For how long ten thousand waits block an event loop for its other tasks (G12).

Two things are measured by the clock: how late a timer of 5 ms comes, and how long an iteration of
the loop takes, from when it has something to do until it waits again. An empty loop in another
process shows what the machine does to any loop at that time; and the kernel reports how long the
thread waited for a processor in each iteration, which is not caused by the waits.

Waits begin and end in one ``watch()``, are polled, and begin and are cancelled as ``wait()`` in
separate tasks, all in one iteration of the caller. The alternative for those is bare tasks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import logging
import subprocess
import sys
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

from far_api import FarApi, forever
from report import Figure, report

from tiw_automation.core import RecordWatcher, TiwClient

WAITS = 10_000
TIMER_S = 0.005


def _kept_waiting_s() -> float:
    """Return how long this thread was ready but not running, as the kernel counts."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


@dataclass
class Meter:
    """The measurements of a loop."""

    lags: list[float] = field(default_factory=list)
    iterations: list[tuple[float, float]] = field(default_factory=list)

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Measure each iteration of the running loop from now on."""
        selector = loop._selector  # type: ignore[attr-defined]
        select = selector.select
        began = time.perf_counter(), _kept_waiting_s()

        def timed(timeout: float | None = None) -> Any:
            nonlocal began
            took = time.perf_counter() - began[0]
            self.iterations.append((took, took - (_kept_waiting_s() - began[1])))
            events = select(timeout)
            began = time.perf_counter(), _kept_waiting_s()
            return events

        selector.select = timed

    async def time_timers(self) -> None:
        """Measure how late timers come, until cancelled."""
        while True:
            before = time.perf_counter()
            await asyncio.sleep(TIMER_S)
            self.lags.append(time.perf_counter() - before - TIMER_S)

    def take(self) -> dict[str, float]:
        """Return the measurements since the last call, in ms, and reset them."""
        lags, iterations = sorted(self.lags) or [0.0], self.iterations or [(0.0, 0.0)]
        self.lags, self.iterations = [], []
        return {
            "p99": lags[int(0.99 * len(lags))] * 1000,
            "latest": lags[-1] * 1000,
            "longest": max(took for took, _ in iterations) * 1000,
            "own": max(own for _, own in iterations) * 1000,
        }


async def empty_loop() -> None:
    """Run the empty loop; print its measurements on each line of stdin."""
    meter = Meter()
    loop = asyncio.get_running_loop()
    meter.watch(loop)
    timers = asyncio.create_task(meter.time_timers())
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(meter.take()), flush=True)
    timers.cancel()


class Beside:
    """The empty loop in another process."""

    def __enter__(self) -> Beside:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--empty"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def take(self) -> dict[str, float]:
        """Return its measurements since the last call."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        seen: dict[str, float] = json.loads(self._process.stdout.readline())
        return seen


Seen = dict[str, tuple[dict[str, float], dict[str, float]]]


async def measure(api: FarApi, beside: Beside, count: int, seconds: float) -> Seen:
    """Return, for each step of the waits, the measurements of both loops."""
    meter = Meter()
    meter.watch(asyncio.get_running_loop())
    timers = asyncio.create_task(meter.time_timers())
    watcher = RecordWatcher(TiwClient(**api.settings()), running_list=False)
    ids = forever(count)
    seen: Seen = {}

    async def note(what: str) -> None:
        ours = meter.take()
        seen[what] = ours, await asyncio.to_thread(beside.take)
        await asyncio.sleep(0.1)
        meter.take()

    async def watch() -> None:
        async for _ in watcher.watch(ids):
            pass

    async def until(waits: int) -> None:
        while watcher.stats().waits != waits:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)

    await asyncio.sleep(0.5)
    await note("nothing")
    watching = asyncio.create_task(watch())
    await until(count)
    await note("begun by watch()")
    await asyncio.sleep(seconds)
    await note("polled")
    watching.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await watching
    while watcher.stats().waits > 16:
        await asyncio.sleep(0.01)
    await note("ended by watch()")

    async def bare() -> None:
        await asyncio.get_running_loop().create_future()

    async def begin_and_cancel(what: str, waits: list[Coroutine[Any, Any, Any]]) -> None:
        gc.collect()
        await note("collected")
        tasks = [asyncio.create_task(wait) for wait in waits]
        await asyncio.sleep(1)
        await note(f"{what} begun")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.5)
        await note(f"{what} cancelled")

    await begin_and_cancel("bare tasks", [bare() for _ in ids])
    await begin_and_cancel("wait()", [watcher.wait(task_id) for task_id in ids])
    timers.cancel()
    return seen


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long waits are polled")
    parser.add_argument("--waits", type=int, default=WAITS)
    parser.add_argument("--empty", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.empty:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(empty_loop())
        return 0
    logging.disable(logging.WARNING)
    with FarApi() as api, Beside() as beside:
        seen = asyncio.run(measure(api, beside, options.waits, options.seconds))
    for what, (ours, empty) in seen.items():
        print(f"{what}: {_shown(ours)}; beside {_shown(empty)}")
    polled, empty = seen["polled"]
    figures = [
        Figure(
            f"G12 loop lag p99 / 10 ms, {options.waits} waits polled",
            polled["p99"] / 10,
            1.0,
            f"{polled['p99']:.1f} ms by the clock, an empty loop beside it {empty['p99']:.1f} ms",
        )
    ]
    figures.append(
        Figure(
            "G12 loop lag p99 / an empty loop's at the same time",
            polled["p99"] / max(empty["p99"], 0.01),
            None,
            f"{polled['p99']:.1f} and {empty['p99']:.1f} ms",
        )
    )
    for what in ("begun by watch()", "polled", "ended by watch()"):
        ours, empty = seen[what]
        figures += [
            Figure(
                f"G12 longest iteration of the loop / 50 ms, {what}",
                ours["longest"] / 50,
                1.0,
                f"{ours['longest']:.1f} ms by the clock, "
                f"the empty loop's {empty['longest']:.1f} ms",
            ),
            Figure(
                f"G12 the same without the time in which the thread waited for a processor, {what}",
                ours["own"] / 50,
                None,
                f"{ours['own']:.1f} ms",
            ),
        ]
    for what, target in (("begun", 6.0), ("cancelled", 3.0)):
        ours, bare = seen[f"wait() {what}"][0], seen[f"bare tasks {what}"][0]
        how = f"the longest iteration {ours['own']:.0f} and {bare['own']:.0f} ms"
        name = f"G12 {options.waits} wait() {what} in one iteration of the caller"
        figures += [
            Figure(f"{name} / 250 ms", ours["own"] / 250, 1.0, how),
            Figure(f"{name} / bare tasks", ours["own"] / max(bare["own"], 0.01), target, how),
        ]
    return report(*figures)


def _shown(seen: dict[str, float]) -> str:
    return (
        f"lag p99 {seen['p99']:.1f}, latest {seen['latest']:.1f} ms, longest iteration "
        f"{seen['longest']:.1f}, {seen['own']:.1f} ms of it its own"
    )


if __name__ == "__main__":
    sys.exit(main())
