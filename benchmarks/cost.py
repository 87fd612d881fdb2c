# SPDX-License-Identifier: Apache-2.0
"""What a poll, a decision and a pending wait cost.

G8: CPU of a poll through the watcher, over that of ``call_json`` of the bare SDK through
``run_in_executor``, both at 19 a second, in turns. G9: the time of a decision with 100,000 waits
over that with 1,000, and over the CPU of the bare call. G10: memory of a pending wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import time
import tracemalloc
from typing import Any

from far_api import FarApi, forever
from report import Figure, report
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import tiw_client

from tiw_automation.core import OnlineRecord, RecordWatcher, TiwClient
from tiw_automation.core.board import Board, Caller, Terms
from tiw_automation.core.order import Place, PollOrder, Stage
from tiw_automation.core.records import Acceptance

RATE = 19.0
ROUNDS = 5
ROUND_S = 6.0
WAITS = 1000


async def through_watcher(api: FarApi) -> float:
    """Return the CPU of a poll in ms."""
    watcher = RecordWatcher(TiwClient(**api.settings()), running_list=False)

    async def wait() -> None:
        async for _ in watcher.watch(forever(WAITS)):
            pass

    task = asyncio.create_task(wait())
    await asyncio.sleep(1.5)
    polls, cpu = watcher.polls, time.process_time()
    await asyncio.sleep(ROUND_S)
    cost = (time.process_time() - cpu) / (watcher.polls - polls)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return cost * 1000


async def through_executor(api: FarApi) -> float:
    """Return the CPU of a bare call in ms."""
    host = api.endpoint.removeprefix("http://")
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=host))
    keys = Credential("AKIDbenchmark", "benchmark")
    client = tiw_client.TiwClient(keys, "ap-singapore", profile)
    ids = forever(WAITS)
    loop = asyncio.get_running_loop()
    calls = 0
    begin = time.monotonic()

    def call(task_id: str) -> None:
        answer = client.call_json(
            "DescribeOnlineRecord", {"SdkAppId": 1400000001, "TaskId": task_id}
        )
        assert answer["Response"]["Status"] == "RECORDING"

    async def run(until: float) -> None:
        nonlocal calls
        running: set[asyncio.Future[None]] = set()
        while time.monotonic() < until:
            calls += 1
            future = loop.run_in_executor(None, call, ids[calls % WAITS])
            running.add(future)
            future.add_done_callback(running.discard)
            await asyncio.sleep(max(begin + calls / RATE - time.monotonic(), 0))
        await asyncio.gather(*running)

    await run(begin + 1.5)
    before, cpu = calls, time.process_time()
    await run(begin + 1.5 + ROUND_S)
    return (time.process_time() - cpu) / (calls - before) * 1000


def _waiting(count: int) -> tuple[PollOrder[Place], float]:
    """Return an order with this many waits in every state and age, and its time."""
    chance = random.Random(1)
    order: PollOrder[Place] = PollOrder(pace=RATE)
    now = 0.0
    for _ in range(count):
        order.add(Place(), now)
    for _ in range(count):
        now += 1 / RATE
        place = order.pop(now)
        assert place is not None
        stopped = chance.random() < 0.1
        order.answered(
            place,
            now,
            Stage.STOPPED if stopped else Stage.ACTIVE,
            poll_interval=2 * count / RATE,
            started_ago=chance.uniform(0, 7200),
            stopped_ago=chance.uniform(0, 600) if stopped else None,
        )
    # Everybody has rested, and is in the ring of its age.
    now += 3 * count / RATE
    order.next_due(now)
    return order, now


def decisions_us() -> tuple[float, float]:
    """Return the time of a decision among 1,000 and among 100,000 waits, measured in turns."""
    orders = [_waiting(count) for count in (1000, 100_000)]
    gc.collect()
    took: list[list[float]] = [[], []]
    for _ in range(40):
        for number, (order, now) in enumerate(orders):
            start = time.perf_counter()
            for _ in range(500):
                now += 1 / RATE
                place = order.pop(now)
                assert place is not None
                order.put_back(place, now, now)
            took[number].append((time.perf_counter() - start) / 500)
            orders[number] = order, now
    small, large = (statistics.median(times) * 1e6 for times in took)
    return small, large


def _rss() -> int:
    gc.collect()
    if tracemalloc.is_tracing():
        return tracemalloc.get_traced_memory()[0]
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _pending(kind: str, count: int) -> float:
    """Return the bytes of a pending wait; runs in a process of its own."""
    if kind == "traced":
        # What Python itself has handed out: the resident size grows in steps.
        tracemalloc.start()
        kind = "watch"
    ids = forever(count)
    answer = {
        "Status": "RECORDING",
        "RecordStartTime": 1700000000,
        "RoomId": 880528,
        "GroupId": "880528",
        "RecordUserId": "tic_record_user",
    }
    if kind == "board":
        board = Board(PollOrder(), random.random, time.time)
        caller = Caller(Terms(Acceptance(), 5.0, once=False), 0.0, None)
        board.open(caller, 0.0)
        before = _rss()
        for number, task_id in enumerate(ids):
            board.join(caller, (1400000001, task_id), 0.0, 0.0)
            poll = board.take(number / RATE)
            assert poll is not None
            raw = {**answer, "RequestId": f"{number:032d}", "TaskId": poll.key[1]}
            record = OnlineRecord.from_response(raw, sdk_app_id=poll.key[0], task_id=poll.key[1])
            board.landed(poll, record, number / RATE)
            caller.take_news()
        return (_rss() - before) / count
    watcher = RecordWatcher(
        TiwClient(
            secret_id="AKIDbenchmark",
            secret_key="benchmark",
            sdk_app_id=1400000001,
            endpoint="http://127.0.0.1:9",
            requests_per_second=0.01,
        ),
        running_list=False,
    )

    async def watch() -> None:
        async for _ in watcher.watch(ids):
            pass

    async def bare(future: asyncio.Future[None]) -> None:
        await future

    loop = asyncio.get_running_loop()
    before = _rss()
    tasks: list[asyncio.Task[Any]]
    if kind == "watch":
        tasks = [asyncio.create_task(watch())]
    elif kind == "tasks":
        tasks = [asyncio.create_task(watcher.wait(i)) for i in ids]
    else:
        tasks = [asyncio.create_task(bare(loop.create_future())) for _ in ids]
    while kind in ("watch", "tasks") and watcher.stats().waits < count:
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    size = (_rss() - before) / count
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return size


def pending_bytes(kind: str, count: int) -> float:
    """Return the bytes of a pending wait, measured in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, kind, str(count)], capture_output=True, text=True, check=True
    )
    return float(json.loads(done.stdout))


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    if len(sys.argv) > 2:
        logging.disable(logging.CRITICAL)
        print(asyncio.run(_pending(sys.argv[1], int(sys.argv[2]))))
        return 0
    logging.disable(logging.WARNING)
    with FarApi(limit=0) as api:
        api.tell(line=(0.02, 0.005))
        pairs = []
        for _ in range(ROUNDS):
            bare = asyncio.run(through_executor(api))
            time.sleep(1.1)
            pairs.append((bare, asyncio.run(through_watcher(api))))
            time.sleep(1.1)
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    small, large = decisions_us()
    sizes = {
        (kind, count): pending_bytes(kind, count)
        for kind in ("watch", "traced", "board", "tasks", "bare")
        for count in (10_000, 100_000)
    }
    tasks = sizes["tasks", 100_000]
    return report(
        Figure(
            "G8 CPU of a poll / of call_json in run_in_executor",
            ours / bare,
            1.15,
            f"{ROUNDS} rounds of {ROUND_S:g} s each, {ours:.2f} and {bare:.2f} ms",
        ),
        Figure(
            "G9 a decision with 100k waits / with 1k",
            large / small,
            1.2,
            f"{large:.1f} and {small:.1f} us",
        ),
        Figure("G9 a decision / CPU of a bare call", large / bare / 1000, 0.02, "100k waits"),
        Figure(
            "G10 bytes of a pending wait / 1.2 kB, 100k in one watch()",
            sizes["watch", 100_000] / 1200,
            1.0,
            f"{sizes['watch', 100_000]:.0f} B before the first answer",
        ),
        Figure(
            "G10 bytes of a pending wait / 1.2 kB, 100k, answered once",
            sizes["board", 100_000] / 1200,
            1.0,
            f"{sizes['board', 100_000]:.0f} B with what was last seen of it",
        ),
        Figure(
            "G10 bytes of a wait() beyond its own task / 1.2 kB, 100k",
            (tasks - sizes["bare", 100_000]) / 1200,
            1.0,
            f"{tasks:.0f} B, a task that awaits a future {sizes['bare', 100_000]:.0f} B",
        ),
        Figure(
            "G10 bytes of a pending wait, 100k / 10k",
            sizes["traced", 100_000] / sizes["traced", 10_000],
            1.1,
            f"{sizes['traced', 100_000]:.0f} and {sizes['traced', 10_000]:.0f} B handed out",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
