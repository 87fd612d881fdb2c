# SPDX-License-Identifier: Apache-2.0
"""G18 on a wire: after an outage, until the wait that was unpolled for longest is polled.

Each of 10,000 waits is polled once, at 190 requests a second on a server that accepts 200, to save
time. Then pace and limit fall to 19 and 20, and the server is away for a minute. The figure is the
time from its return until each wait was polled again, over N / rate; it includes the time until the
watcher notices the return. Takes eleven minutes, nine of them for the figure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys

from far_api import LIMIT, FarApi, Stats, forever
from report import Figure, report

from tiw_automation.core import RecordWatcher, TiwClient
from tiw_automation.core.waiting.poll_order import PollOrder
from tiw_automation.core.waiting.tracker import TrackedTask

RATE = 19.0
FAST = 10
TARGET = 1.05


async def _until(api: FarApi, count: int, limit_s: float) -> Stats:
    """Return what the server saw once so many were polled, or after the time limit."""
    loop = asyncio.get_running_loop()
    end = loop.time() + limit_s
    while True:
        stats = await asyncio.to_thread(api.control)
        if stats.asked >= count or loop.time() > end:
            return stats
        await asyncio.sleep(0.5)


async def measure(api: FarApi, count: int, outage_s: float) -> tuple[Stats, Stats]:
    """Return what the server saw before the outage and since."""
    api.control(line=(0.02, 0.005), limit=FAST * LIMIT, reset=True)
    order: PollOrder[TrackedTask] = PollOrder()
    fast = TiwClient(**api.settings(requests_per_second=FAST * RATE))
    watcher = RecordWatcher(fast, order=lambda: order, running_list=False)

    async def wait() -> None:
        async for _ in watcher.watch(forever(count)):
            pass

    task = asyncio.create_task(wait())
    await _until(api, count, 2 * count / (FAST * RATE) + 10)
    before = await asyncio.to_thread(api.control, limit=LIMIT, down=True)
    # The same as a new watcher with this pace.
    watcher._dispatchers["online_record"].client = TiwClient(
        **api.settings(requests_per_second=RATE)
    )
    watcher._dispatchers["online_record"].client.quota("DescribeOnlineRecord")
    order.pace = RATE
    await asyncio.sleep(outage_s)
    await asyncio.to_thread(api.control, down=False, mark=True)
    after = await _until(api, count, 1.3 * count / RATE + 10)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return before, after


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--waits", type=int, default=10_000)
    parser.add_argument("--outage", type=float, default=60.0, help="the seconds of the outage")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    count = options.waits
    with FarApi() as api:
        before, after = asyncio.run(measure(api, count, options.outage))
    if before.asked < count or after.asked < count:
        print(f"{before.asked} of {count} were polled before the outage, {after.asked} after it.")
        return 1
    took_s = after.last_new - after.marked_at
    return report(
        Figure(
            f"G18 after an outage, {count // 1000}k waits, on a wire: until all were polled / "
            "(N / rate)",
            took_s * RATE / count,
            TARGET,
            f"{took_s:.0f} s from the server's return, {after.first - after.marked_at:.1f} s of "
            f"them until it was noticed; {options.outage:.0f} s of outage, 20 +- 5 ms",
        ),
        Figure("G18 rejects after the outage", after.rejects, 0.0, f"of {after.requests} requests"),
    )


if __name__ == "__main__":
    sys.exit(main())
