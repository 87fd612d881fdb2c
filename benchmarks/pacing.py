# SPDX-License-Identifier: Apache-2.0
"""Ten thousand waits on lines of 0, 50 +- 20 and 300 +- 120 ms: what arrives, and how often.

G1 and G2: the most requests that arrived within any one second over the limit of 20, and the
accepted rate over ``requests_per_second``, from a cold start on, and after an outage. The
alternative in the same run is the same watcher without the window that follows the line's spread:
a plain pace of 19 a second. G12: how late a timer of 5 ms comes in the same event loop, and for how
long at most its thread was busy meanwhile, whatever else the machine did. G13: the connections that
were opened for it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import time
from dataclasses import dataclass

from far_api import LIMIT, FarApi, Stats, forever
from report import Figure, report

from tiw_automation.core import RecordWatcher, TiwClient
from tiw_automation.core.quota import RoundTrips

WAITS = 10_000
RATE = 19.0
LINES = {
    "0 ms": (0.0, 0.0, 0.98),
    "50 +- 20 ms": (0.05, 0.02, 0.98),
    "300 +- 120 ms": (0.3, 0.12, 0.82),
}


@dataclass
class Run:
    """One line's figures."""

    start: Stats
    steady: Stats
    after: Stats
    lags: list[float]
    busy: list[float]
    polls: int


async def _lag(lags: list[float], busy: list[float]) -> None:
    while True:
        before, cpu = time.perf_counter(), time.thread_time()
        await asyncio.sleep(0.005)
        lags.append(time.perf_counter() - before - 0.005)
        busy.append(time.thread_time() - cpu)


async def _wait(watcher: RecordWatcher) -> None:
    async for _ in watcher.watch(forever(WAITS)):
        pass


async def run(api: FarApi, line: tuple[float, float], seconds: float, outage_s: float) -> Run:
    """Wait from a cold start on, with an outage in the middle."""
    api.tell(line=line, reset=True)
    watcher = RecordWatcher(TiwClient(**api.settings()), running_list=False)
    lags: list[float] = []
    busy: list[float] = []
    tasks = [asyncio.create_task(_wait(watcher)), asyncio.create_task(_lag(lags, busy))]
    await asyncio.sleep(5)
    start = await asyncio.to_thread(api.tell)
    api.tell(reset=True)
    await asyncio.sleep(seconds)
    steady = await asyncio.to_thread(api.tell, down=True)
    await asyncio.sleep(outage_s)
    api.tell(down=False, reset=True)
    while watcher.stats().rate < 2:
        await asyncio.sleep(0.2)
    await asyncio.sleep(max(seconds / 3, 10))
    after = await asyncio.to_thread(api.tell)
    polls = watcher.polls
    for task in tasks:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    await asyncio.sleep(1.2)
    return Run(start, steady, after, lags, busy, polls)


async def plain_pace(api: FarApi, line: tuple[float, float], seconds: float) -> Stats:
    """The alternative: the same pace, whatever the line does."""
    spread = RoundTrips.spread_s
    RoundTrips.spread_s = property(lambda self: 0.0)  # type: ignore[assignment, method-assign]
    try:
        api.tell(line=line, reset=True)
        watcher = RecordWatcher(TiwClient(**api.settings()), running_list=False)
        task = asyncio.create_task(_wait(watcher))
        await asyncio.sleep(seconds)
        stats = await asyncio.to_thread(api.tell)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        # A refusal lowers the pace for a while; the next run is to begin without.
        await asyncio.sleep(1.2)
        return stats
    finally:
        RoundTrips.spread_s = spread  # type: ignore[method-assign]


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="ten minutes a line")
    parser.add_argument("--seconds", type=float, help="how long each line is measured")
    options = parser.parse_args()
    seconds, outage_s = (600.0, 60.0) if options.full else (20.0, 10.0)
    seconds = options.seconds or seconds
    logging.disable(logging.WARNING)
    figures = []
    lags: list[float] = []
    busy: list[float] = []
    connections = polls = 0
    for name, (middle_s, spread_s, target) in LINES.items():
        line = (middle_s, spread_s)
        with FarApi() as api:
            ours = asyncio.run(run(api, line, seconds, outage_s))
        with FarApi() as api:
            plain = asyncio.run(plain_pace(api, line, max(seconds / 3, 15)))
        parts = (ours.start, ours.steady, ours.after)
        rejects = sum(part.rejects for part in parts)
        most = max(part.most for part in parts)
        how = f"{seconds:.0f} s, plain pace: {plain.most / LIMIT:.2f} and {plain.rejects} rejects"
        figures += [
            Figure(f"G1 most in 1 s / {LIMIT}, {name}", most / LIMIT, 1.0, how),
            Figure(f"G1 rejects, {name}", float(rejects), 0.0, f"of {ours.polls} requests"),
            Figure(
                f"G2 {RATE:g} / accepted rate, {name}",
                RATE / ours.steady.rate,
                1 / target,
                f"{ours.steady.rate / RATE:.3f} of requests_per_second, at least {target}",
            ),
        ]
        lags += ours.lags
        busy += ours.busy
        connections += sum(part.connections for part in parts)
        polls += ours.polls
    lags.sort()
    figures += [
        Figure(
            "G12 loop lag p99 / 10 ms, 10k waits",
            lags[int(0.99 * len(lags))] / 0.010,
            1.0,
            f"{len(lags)} samples",
        ),
        Figure(
            "G12 longest time that the loop's thread was busy in one turn / 50 ms",
            max(busy) / 0.050,
            1.0,
            f"{max(busy) * 1000:.1f} ms; the latest timer came {lags[-1] * 1000:.0f} ms late",
        ),
    ]
    if options.full:
        figures.append(
            Figure(
                "G13 connections / polls",
                connections / polls,
                0.01,
                f"{connections} connections, an outage on each line",
            )
        )
    return report(*figures)


if __name__ == "__main__":
    sys.exit(main())
