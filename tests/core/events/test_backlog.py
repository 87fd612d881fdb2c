# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import logging
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from tiw_automation.core.events import backlog
from tiw_automation.core.events.backlog import Backlog, NotConfirmed

Key = tuple[str, int, str]


def key(number: int) -> Key:
    return ("school", 1400000001, f"{number:020}")


def backlog_of(attempt: Callable[[Key, float], Awaitable[bool]]) -> Backlog[Key]:
    return Backlog(attempt, lambda _: 0.01)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not done():
            await asyncio.sleep(0.005)


async def test_each_key_is_tried_until_it_is_done_without_a_caller_that_waits() -> None:
    tries: Counter[Key] = Counter()

    async def attempt(key: Key, age_s: float) -> bool:
        tries[key] += 1
        if tries[key] == 2:
            raise OSError("a fault on the way")
        return tries[key] == 4

    waiting = backlog_of(attempt)
    keys = [key(number) for number in range(300)]
    assert all(waiting.add(each) for each in keys)
    assert waiting.add(keys[0])
    assert len(waiting) == 300
    await until(lambda: not waiting)
    assert tries == dict.fromkeys(keys, 4)


async def test_at_most_a_hundred_keys_are_tried_at_once_in_the_order_of_their_arrival() -> None:
    begun: list[Key] = []
    go = asyncio.Event()

    async def attempt(key: Key, age_s: float) -> bool:
        begun.append(key)
        await go.wait()
        return True

    waiting = backlog_of(attempt)
    keys = [key(number) for number in range(250)]
    for each in keys:
        waiting.add(each)
    await asyncio.sleep(0.05)
    assert begun == keys[:100]
    go.set()
    await until(lambda: not waiting)
    assert begun == keys


async def test_a_caller_that_waits_gets_the_result_or_the_latest_fault() -> None:
    answers: list[bool | Exception] = [OSError("away"), False, True]

    async def attempt(key: Key, age_s: float) -> bool:
        await asyncio.sleep(0.01)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    waiting = backlog_of(attempt)
    waiting.add(key(1))
    with pytest.raises(OSError, match="away"):
        await asyncio.gather(*(waiting.result(key(1)) for _ in range(3)))
    assert key(1) in waiting
    await asyncio.gather(*(waiting.result(key(1)) for _ in range(3)))
    assert key(1) not in waiting


async def test_a_dropped_key_is_not_tried_again() -> None:
    tries = 0

    async def attempt(key: Key, age_s: float) -> bool:
        nonlocal tries
        tries += 1
        raise NotConfirmed("It runs.")

    waiting = backlog_of(attempt)
    waiting.add(key(1))
    with pytest.raises(NotConfirmed, match="runs"):
        await waiting.result(key(1))
    await asyncio.sleep(0.05)
    assert (tries, len(waiting)) == (1, 0)


async def test_a_key_is_tried_for_15_minutes(caplog: pytest.LogCaptureFixture) -> None:
    now, ages = [1000.0], []

    async def attempt(key: Key, age_s: float) -> bool:
        ages.append(age_s)
        now[0] += 300
        return False

    waiting: Backlog[Key] = Backlog(attempt, lambda _: 0.0, clock=lambda: now[0])
    waiting.add(key(1))
    await until(lambda: not waiting)
    assert ages == [0.0, 300.0, 600.0]
    assert "not confirmed within 15 minutes" in caplog.text


async def test_a_cancelled_wait_inside_a_try_does_not_end_the_task() -> None:
    tries = 0

    async def attempt(key: Key, age_s: float) -> bool:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise asyncio.CancelledError
        return True

    waiting = backlog_of(attempt)
    waiting.add(key(1))
    await until(lambda: not waiting)
    assert tries == 2


async def test_ten_thousand_keys_fit_into_two_megabytes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def attempt(key: Key, age_s: float) -> bool:
        await asyncio.sleep(3600)
        return True

    waiting = backlog_of(attempt)
    for number in range(100):
        waiting.add(key(number))
    await asyncio.sleep(0)
    keys = [key(number) for number in range(100, backlog.MOST_KEYS)]
    tracemalloc.start()
    try:
        assert all(waiting.add(each) for each in keys)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    # Without the keys themselves, of some hundred bytes each.
    assert taken < 1_200_000
    assert [waiting.add(key(-number)) for number in range(1, 50)] == [False] * 49
    assert waiting.add(keys[0])
    assert len(waiting) == backlog.MOST_KEYS
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert "no more fit" in line.getMessage()


async def test_fewer_long_keys_fit() -> None:
    async def attempt(key: Key, age_s: float) -> bool:
        await asyncio.sleep(3600)
        return True

    waiting = backlog_of(attempt)
    count = 0
    while waiting.add(("school", 1, f"{count:0128}")):
        count += 1
    assert count * 300 < backlog.MOST_BYTES
    assert count > 5000
