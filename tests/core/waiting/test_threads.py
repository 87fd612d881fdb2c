# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Hashable
from typing import Any

import pytest

from tiw_automation.core.waiting.threads import CallThreads, Place

HERE = "https://tiw.example.com"
THERE = "https://tiw.example.org"


async def places(threads: CallThreads, account: Hashable, endpoint: str, count: int) -> list[Place]:
    return [await threads.place(account, endpoint) for _ in range(count)]


async def waits(threads: CallThreads, account: Hashable, endpoint: str) -> asyncio.Task[Place]:
    """Return a task that waits for a place."""
    task = asyncio.create_task(threads.place(account, endpoint))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not task.done()
    return task


async def test_an_account_gets_a_quarter() -> None:
    threads = CallThreads(8)
    first, _ = await places(threads, "a", HERE, 2)
    more = await waits(threads, "a", HERE)
    await places(threads, "b", HERE, 2)
    threads.release(first)
    assert (await more).account == "a"


async def test_an_endpoint_leaves_a_quarter_to_the_others() -> None:
    """It may have more than a quarter, because most accounts share one endpoint."""
    threads = CallThreads(8)
    for account in range(6):
        await places(threads, account, HERE, 1)
    one_more = await waits(threads, 6, HERE)
    await places(threads, 7, THERE, 2)
    one_more.cancel()


async def test_places_are_given_in_the_order_of_the_requests() -> None:
    threads = CallThreads(4)
    taken = await places(threads, "a", HERE, 1) + await places(threads, "b", HERE, 1)
    taken += await places(threads, "c", HERE, 1) + await places(threads, "d", THERE, 1)
    queue = [await waits(threads, name, f"https://{name}.example.com") for name in "efg"]
    for place, task in zip(taken[:3], queue, strict=True):
        threads.release(place)
        assert (await task).granted is not None


async def test_accounts_that_always_wait_get_equally_many_calls() -> None:
    threads = CallThreads(4)
    calls: Counter[int] = Counter()

    async def call(account: int) -> None:
        while calls.total() < 300:
            place = await threads.place(account, HERE)
            calls[account] += 1
            await asyncio.sleep(0)
            threads.release(place)

    await asyncio.gather(*(call(account) for account in range(10)))
    assert max(calls.values()) - min(calls.values()) <= 1


async def test_who_stops_waiting_keeps_no_place() -> None:
    threads = CallThreads(4)
    (mine,) = await places(threads, "a", HERE, 1)
    early = await waits(threads, "a", HERE)
    early.cancel()
    late = await waits(threads, "a", HERE)
    threads.release(mine)
    # The place is granted, and the loop has not run yet.
    late.cancel()
    for task in (early, late):
        with pytest.raises(asyncio.CancelledError):
            await task
    await places(threads, "a", HERE, 1)


async def test_a_loop_that_was_closed_gets_no_place() -> None:
    threads = CallThreads(4)
    (mine,) = await places(threads, "a", HERE, 1)
    other = asyncio.new_event_loop()

    def begin() -> None:
        lost = other.create_task(threads.place("a", HERE))
        other.run_until_complete(asyncio.sleep(0))
        lost._log_destroy_pending = False  # type: ignore[attr-defined]
        other.close()

    thread = threading.Thread(target=begin)
    thread.start()
    thread.join()
    next_one = await waits(threads, "a", HERE)
    threads.release(mine)
    assert (await next_one).account == "a"


async def test_a_job_runs_and_its_place_is_free_before_its_result_is_there() -> None:
    threads = CallThreads(4)
    results: asyncio.Queue[Any] = asyncio.Queue()
    for number in range(20):
        place = await threads.place("a", HERE)
        threads.run(place, lambda number=number: number, results.put_nowait)  # type: ignore[misc]
        assert await results.get() == number
        assert threads._free == 4
