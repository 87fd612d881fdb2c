# SPDX-License-Identifier: Apache-2.0
"""Lists of recordings with odd ones, over a real connection; A5 and A6 of the field notes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import Iterator

import pytest

from tiw_automation.core import Acceptance, RecordWatcher, TiwClient, Verdict
from tiw_automation.core.events.feed import RecordFeed
from tiw_automation.simulator import Simulator

LENIENT = Acceptance(require_videos=False)
ODD = [
    "InvalidParameterValue",
    "FailedOperation",
    "UnsupportedOperation",
    "UnknownParameter",
    "other_task",
    "bad_json",
    "truncated",
]


def make_odd(api: Simulator, task_id: str, fault: str) -> None:
    if fault[0].isupper():
        api.inject("server_error", task_id=task_id, code=fault)
    else:
        api.inject(fault, task_id=task_id)


@pytest.fixture
def api() -> Iterator[Simulator]:
    with Simulator(limit=0) as simulator:
        yield simulator


def client(api: Simulator) -> TiwClient:
    settings = {**api.settings(), "requests_per_second": 200, "timeout": 1.0}
    identity = f"AKIDtest{os.getpid()}{id(api)}"
    api.add_account(identity, settings["secret_key"])
    return TiwClient(**{**settings, "secret_id": identity})


@pytest.mark.parametrize("fault", ODD)
async def test_the_result_is_the_same_for_every_order(api: Simulator, fault: str) -> None:
    api.add("odd", timeline=[{"RECORDING": 1e6}])
    api.add("good", timeline=[])
    api.add("runs", timeline=[{"RECORDING": 1e6}])
    make_odd(api, "odd", fault)
    found = []
    for ids in itertools.permutations(["odd", "good", "runs"]):
        waits = RecordWatcher(client(api), jitter=lambda: 0.02)
        ends = waits.describe(ids, acceptance=LENIENT)
        found.append(sorted([(o.task_id, o.verdict) async for o in ends]))
    assert found == [
        [("good", Verdict.FINISHED), ("odd", Verdict.UNKNOWN), ("runs", Verdict.PENDING)]
    ] * len(found)


async def test_six_odd_ones_do_not_stop_the_others(api: Simulator) -> None:
    odd = [api.add(f"odd{n}", timeline=[]) for n in range(6)]
    good = api.add_finished(20)
    for task_id in odd:
        api.inject("other_task", task_id=task_id)
    waits = RecordWatcher(client(api), jitter=lambda: 0.02)
    ends = waits.watch([*odd, *good], timeout=3.0, poll_interval=0.1)
    found = {outcome.task_id: outcome.verdict async for outcome in ends}
    assert {found[task_id] for task_id in good} == {Verdict.FINISHED}
    assert waits._dispatchers["online_record"].tracker.breaker.down_since is None


@pytest.mark.parametrize(("fault", "ends_all"), [("FailedOperation", False), ("AuthFailure", True)])
async def test_a_feed_gives_up_only_for_an_error_that_concerns_the_account(
    api: Simulator, fault: str, ends_all: bool
) -> None:
    api.add("odd", timeline=[])
    make_odd(api, "odd", fault)
    found = client(api)

    async def connect() -> TiwClient:
        return found

    feed = RecordFeed(connect, poll_interval=0.1, acceptance=LENIENT)
    changes = feed.changes()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2.0), contextlib.aclosing(changes):
            async for _ in changes:
                feed.follow(["odd"])
                if feed.refusal is not None:
                    break
    assert api.requests["DescribeOnlineRecord"] >= 1
    assert (feed.refusal is not None) is ends_all
