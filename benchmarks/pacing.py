# SPDX-License-Identifier: Apache-2.0
"""Ten thousand waits on network paths of 0, 50 +- 20 and 300 +- 120 ms: what arrives, how often.

Each path has a cold start, a steady time, an outage in the middle and a steady time after it. G1:
the most requests that arrived within any one second over the limit of 20, and the rejects, in all
of it. G2: the accepted rate over ``requests_per_second`` in the steady times, which begin five
seconds after the start and after the first answer that follows the outage. G13: the connections
that were opened for it. The alternative, at the same time on another server, is the same watcher
without the window that follows the path's spread: a plain pace of 19 a second.

All paths are measured at the same time, each with its own client and server process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import sys
from dataclasses import asdict, dataclass
from typing import Any

from children import clean_up_when_terminated, run_together
from far_api import LIMIT, FarApi, Stats, forever
from report import Figure, report

from tiw_automation.core import RecordWatcher, TiwClient
from tiw_automation.core.quota.pace import RoundTrips

WAITS = 10_000
RATE = 19.0
START_S = 5.0
# The middle and the spread of the way in seconds, and the least G2.
LINES = {
    "0 ms": (0.0, 0.0, 0.98),
    "50 +- 20 ms": (0.05, 0.02, 0.98),
    "300 +- 120 ms": (0.3, 0.12, 0.82),
}


@dataclass(frozen=True)
class Line:
    """What a path's server saw: from the start, until the outage, after it, and until the end."""

    start: Stats
    steady: Stats
    again: Stats
    later: Stats
    polls: int

    @property
    def parts(self) -> tuple[Stats, ...]:
        """All of it."""
        return self.start, self.steady, self.again, self.later

    @property
    def rejects(self) -> int:
        """The requests that were refused."""
        return sum(part.rejects for part in self.parts)

    @property
    def steady_rate(self) -> float:
        """The accepted requests a second of the steady times."""
        return _rate(self.steady, self.later)

    @property
    def whole_rate(self) -> float:
        """The same from the first request on, without the outage."""
        return _rate(*self.parts)


def _rate(*parts: Stats) -> float:
    return sum(part.accepted - 1 for part in parts) / sum(part.lasted_s for part in parts)


async def _wait(watcher: RecordWatcher) -> None:
    async for _ in watcher.watch(forever(WAITS)):
        pass


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def measure(api: FarApi, way: tuple[float, float], seconds: float, outage_s: float) -> Line:
    """Wait from a cold start on, with an outage in the middle of the time."""
    api.control(line=way, reset=True)
    watcher = RecordWatcher(TiwClient(**api.settings()), running_list=False)
    task = asyncio.create_task(_wait(watcher))
    half_s = (seconds - outage_s) / 2 - START_S
    ask = asyncio.to_thread
    await asyncio.sleep(START_S)
    start = await ask(api.control, mark=True)
    await asyncio.sleep(half_s)
    steady = await ask(api.control, down=True, mark=True)
    await asyncio.sleep(outage_s)
    api.control(down=False, mark=True)
    while not (await ask(api.control)).requests:
        await asyncio.sleep(0.2)
    await asyncio.sleep(START_S)
    again = await ask(api.control, mark=True)
    await asyncio.sleep(half_s)
    later = await ask(api.control)
    polls = watcher.polls
    await _ended(task)
    return Line(start, steady, again, later, polls)


async def plain_pace(api: FarApi, way: tuple[float, float], seconds: float) -> Stats:
    """The alternative: the same pace on any network path."""
    RoundTrips.overdue_s = lambda self, seconds: 0.0  # type: ignore[method-assign]
    RoundTrips.late_s = lambda self, seconds: 0.0  # type: ignore[method-assign]
    RoundTrips.spread_s = property(lambda self: 0.0)  # type: ignore[assignment, method-assign]
    api.control(line=way, reset=True)
    watcher = RecordWatcher(TiwClient(**api.settings()), running_list=False)
    task = asyncio.create_task(_wait(watcher))
    await asyncio.sleep(seconds)
    stats = await asyncio.to_thread(api.control)
    await _ended(task)
    return stats


def _part(name: str, what: str, seconds: float, outage_s: float) -> object:
    """Do the work of one of the processes; return what it prints."""
    middle_s, spread_s, _ = LINES[name]
    way = (middle_s, spread_s)
    with FarApi() as api:
        if what == "plain":
            return asdict(asyncio.run(plain_pace(api, way, seconds)))
        return asdict(asyncio.run(measure(api, way, seconds, outage_s)))


def _line(found: dict[str, Any]) -> Line:
    parts = {name: Stats(**found[name]) for name in ("start", "steady", "again", "later")}
    return Line(**parts, polls=found["polls"])


def figures(name: str, line: Line, plain: Stats, seconds: float, outage_s: float) -> list[Figure]:
    """Return the figures of one path."""
    most = max(part.most for part in line.parts)
    each = ", ".join(str(part.most) for part in line.parts)
    requests = sum(part.requests for part in line.parts)
    connections = line.later.connections
    return [
        Figure(
            f"G1 most arrivals in 1 s / {LIMIT}, {name}",
            most / LIMIT,
            1.0,
            f"{seconds:.0f} s with an outage of {outage_s:.0f} s; at start, steady, after the "
            f"outage, steady: {each}",
        ),
        Figure(f"G1 rejects, {name}", line.rejects, 0.0, f"of {requests} requests"),
        Figure(
            f"G1 the same pace without the window: most arrivals in 1 s / {LIMIT}, {name}",
            plain.most / LIMIT,
            None,
            f"{plain.rejects} rejects of {plain.requests} requests",
        ),
        Figure(
            f"G2 accepted rate / requests_per_second, {name}",
            line.steady_rate / RATE,
            LINES[name][2],
            f"{line.whole_rate / RATE:.3f} with the first {START_S:.0f} s of both starts",
            at_least=True,
        ),
        Figure(
            f"G13 connections / polls, {name}",
            connections / line.polls,
            # As many are opened in a minute as in ten.
            0.01 if seconds >= 600 else None,
            f"{connections} connections, {line.polls} polls",
        ),
    ]


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="ten minutes a path")
    parser.add_argument("--seconds", type=float, help="how long each path is measured")
    parser.add_argument("--outage", type=float, help="the seconds of the outage in the middle")
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    seconds = options.seconds or (600.0 if options.full else 60.0)
    outage_s = options.outage or (60.0 if options.full else 10.0)
    if seconds < outage_s + 2 * START_S + 10:
        parser.error(f"{seconds:g} s are too short for an outage of {outage_s:g} s.")
    logging.disable(logging.WARNING)
    if options.part:
        name, what = options.part
        print(json.dumps(_part(name, what, seconds, outage_s)))
        return 0
    clean_up_when_terminated()
    times = ("--seconds", str(seconds), "--outage", str(outage_s))
    parts = [(name, what) for name in LINES for what in ("ours", "plain")]
    found = run_together(__file__, [(*times, "--part", *part) for part in parts])
    lines = [_line(one) for one in found[::2]]
    all_figures = [
        figure
        for name, line, plain in zip(LINES, lines, found[1::2], strict=True)
        for figure in figures(name, line, Stats(**plain), seconds, outage_s)
    ]
    return report(*all_figures)


if __name__ == "__main__":
    sys.exit(main())
