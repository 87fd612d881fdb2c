# SPDX-License-Identifier: Apache-2.0
"""What a poll, a decision and a pending wait cost.

G8: CPU of a poll through the watcher, over that of ``call_json`` of the bare SDK through
``run_in_executor``, both at 19 a second, alternately. G9: the time of a decision with 100,000 waits
over that with 1,000, and over the CPU of the bare call; both in CPU time, in alternate rounds. G10:
memory of a pending wait, beside a task that awaits a future.
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
from collections.abc import Coroutine, Iterator
from typing import Any

from far_api import FarApi, forever
from report import Figure, report
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import tiw_client

from tiw_automation.core import OnlineRecord, RecordWatcher, TiwClient
from tiw_automation.core.waiting.poll_order import Place, PollOrder, Stage

RATE = 19.0
ROUNDS = 5
ROUND_S = 6.0
WAITS = 1000
KINDS = ("watch", "watch+answered", "traced", "tasks", "tasks+answered", "tasks-at-once", "bare")
DECISIONS = 1000
DECISION_ROUNDS = 41
# Tasks that begin in one iteration of the loop: ten thousand at once would block it.
TASKS_A_TURN = 500


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
    # All have waited, and are in the ring of their age.
    now += 3 * count / RATE
    order.next_due(now)
    return order, now


def decision_us(orders: list[tuple[PollOrder[Place], float]], number: int) -> float:
    """Return the CPU of a decision of one of the orders, whose time continues."""
    order, now = orders[number]
    start = time.thread_time()
    for _ in range(DECISIONS):
        now += 1 / RATE
        place = order.pop(now)
        assert place is not None
        order.put_back(place, now, now)
    took = (time.thread_time() - start) / DECISIONS
    orders[number] = order, now
    return took * 1e6


def decisions_us() -> tuple[float, float, float]:
    """Return a decision's CPU among 1,000 and among 100,000 waits, and the ratio.

    All three are medians over rounds; in each, one is measured between two halves of the other, so
    that other work of the machine affects both.
    """
    orders = [_waiting(count) for count in (1000, 100_000)]
    gc.collect()
    gc.disable()
    rounds = []
    try:
        for _ in range(DECISION_ROUNDS):
            before = decision_us(orders, 0)
            large = decision_us(orders, 1)
            small = (before + decision_us(orders, 0)) / 2
            rounds.append((small, large, large / small))
    finally:
        gc.enable()
    small, large, ratio = (statistics.median(column) for column in zip(*rounds, strict=True))
    return small, large, ratio


def _rss() -> int:
    gc.collect()
    if tracemalloc.is_tracing():
        return tracemalloc.get_traced_memory()[0]
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _answer_all(watcher: RecordWatcher, count: int) -> None:
    """Give every wait a first answer, as it comes from the network."""
    tracker = watcher._dispatchers["online_record"].tracker
    answer = {
        "Status": "RECORDING",
        "RecordStartTime": 1700000000,
        "RoomId": 880528,
        "GroupId": "880528",
        "RecordUserId": "tic_record_user_1400000001_1234567",
    }
    now = time.monotonic()
    for number in range(count):
        now += 1 / RATE
        task = tracker.take(now)
        assert task is not None
        raw = json.dumps({**answer, "RequestId": f"{number:036d}", "TaskId": task.task_id})
        record = OnlineRecord.from_response(
            json.loads(raw), sdk_app_id=task.app_id, task_id=task.task_id
        )
        tracker.complete(task, record, now)
        if number % TASKS_A_TURN == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0.1)


async def _begun(waits: Iterator[Coroutine[Any, Any, Any]], at_once: int) -> list[Any]:
    tasks = []
    for wait in waits:
        tasks.append(asyncio.create_task(wait))
        if len(tasks) % at_once == 0:
            await asyncio.sleep(0)
    return tasks


async def _pending(kind: str, count: int) -> float:
    """Return the bytes of a pending wait; runs in its own process."""
    if kind == "traced":
        # What Python itself has allocated: the resident size grows in steps.
        tracemalloc.start()
        kind = "watch"
    kind, _, answered = kind.partition("+")
    ids = forever(count)
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
        tasks = await _begun((watcher.wait(task_id) for task_id in ids), TASKS_A_TURN)
    elif kind == "tasks-at-once":
        tasks = await _begun((watcher.wait(task_id) for task_id in ids), count)
    else:
        tasks = await _begun((bare(loop.create_future()) for _ in ids), TASKS_A_TURN)
    while kind not in ("bare",) and watcher.stats().waits < count:
        await asyncio.sleep(0)
    await asyncio.sleep(0.1)
    if answered:
        await _answer_all(watcher, count)
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
        api.control(line=(0.02, 0.005))
        pairs = []
        for _ in range(ROUNDS):
            bare = asyncio.run(through_executor(api))
            time.sleep(1.1)
            pairs.append((bare, asyncio.run(through_watcher(api))))
            time.sleep(1.1)
    bare, ours = (statistics.median(column) for column in zip(*pairs, strict=True))
    small, large, larger = decisions_us()
    sizes = {
        (kind, count): pending_bytes(kind, count) for kind in KINDS for count in (10_000, 100_000)
    }
    figures = [
        Figure(
            "G8 CPU of a poll / of call_json in run_in_executor",
            ours / bare,
            1.15,
            f"{ROUNDS} rounds of {ROUND_S:g} s each, {ours:.2f} and {bare:.2f} ms",
        ),
        Figure(
            "G9 a decision with 100k waits / with 1k",
            larger,
            1.2,
            f"{large:.1f} and {small:.1f} us of CPU, {DECISION_ROUNDS} rounds",
        ),
        Figure("G9 a decision / CPU of a bare call", large / bare / 1000, 0.02, "100k waits"),
    ]
    task = sizes["bare", 100_000]
    for kind, (what, target) in {
        "watch": ("in one watch(), new", 600),
        "watch+answered": ("in one watch(), answered once", 1100),
        "tasks": ("wait() with its task, new", 2300),
        "tasks+answered": ("wait() with its task, answered once", 2800),
        "tasks-at-once": (
            "wait() with its task, new, all begun in one iteration",
            2300,
        ),
    }.items():
        size = sizes[kind, 100_000]
        how = f"{size:.0f} B"
        if kind.startswith("tasks"):
            how += f", a task that awaits a future {task:.0f} B"
        name = f"G10 bytes of a pending wait / {target / 1000:g} kB, 100k, {what}"
        figures.append(Figure(name, size / target, 1.0, how))
    for kind, how in {
        "watch": "resident, watch()",
        "traced": "allocated, watch()",
        "tasks": "resident, wait() with its task",
    }.items():
        large_size, small_size = sizes[kind, 100_000], sizes[kind, 10_000]
        figures.append(
            Figure(
                f"G10 bytes of a pending wait, 100k / 10k, {how}",
                large_size / small_size,
                1.1,
                f"{large_size:.0f} and {small_size:.0f} B",
            )
        )
    return report(*figures)


if __name__ == "__main__":
    sys.exit(main())
