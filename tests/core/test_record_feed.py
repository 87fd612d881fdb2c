# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tiw_automation.core import Outcome, TiwClient
from tiw_automation.core import record_feed as module
from tiw_automation.core.record_feed import RecordFeed
from tiw_automation.core.running import RunningListUnavailable, check_lists_running
from tiw_automation.simulator import Simulator


@pytest.fixture
def chinese() -> Any:
    with Simulator(speed=10, region="ap-guangzhou") as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REFUSED_S", 0.2)
    monkeypatch.setattr(module, "_GATHER_S", 0.01)


class Told:
    """A feed, and what it has told."""

    def __init__(self, settings: dict[str, Any], **options: Any) -> None:
        self.settings = settings
        self.connected = 0
        self.changes: list[str] = []
        self.ends: list[str] = []
        self.feed = RecordFeed(
            self._connect,
            **{"poll_interval": 0.1, **options},
            on_change=lambda outcome: self.changes.append(_state(outcome)),
            on_end=lambda outcome: self.ends.append(f"{outcome.task_id} {outcome.verdict}"),
        )

    async def _connect(self) -> TiwClient:
        self.connected += 1
        return TiwClient(**self.settings)

    async def until(self, done: Callable[[], object], *task_ids: str) -> None:
        """Drive the feed until something is so."""
        changes = self.feed.changes()
        async with asyncio.timeout(30), contextlib.aclosing(changes):
            async for _ in changes:
                self.feed.follow([*task_ids, *self.feed.running])
                if done():
                    return


def _state(outcome: Outcome) -> str:
    status = outcome.record.status if outcome.record else None
    return f"{outcome.task_id} {outcome.verdict}/{status}"


async def test_given_recordings_to_their_ends(tiw_simulator: Simulator) -> None:
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 100}])
    told = Told(tiw_simulator.settings())
    seen = "slow pending/RECORDING"

    def both_seen() -> bool:
        if told.ends and seen in told.changes and told.feed.waiting == {"slow"}:
            end = told.feed.end(done)
            assert end is not None
            assert end.task_id == done
            assert told.feed.end("slow") is None
            tiw_simulator.advance(200)
        return len(told.ends) == 3

    await told.until(both_seen, done, "slow", "absent", done)
    assert sorted(told.ends) == ["absent missing", f"{done} finished", "slow finished"]
    assert not told.feed.waiting
    assert told.feed.answered
    assert not told.feed.listed


async def test_the_list_tells_which_there_are(chinese: Simulator) -> None:
    told = Told(chinese.settings(), discover=True)
    await told.until(lambda: told.feed.listed)
    chinese.add("algebra", timeline=[{"RECORDING": 30}])
    await told.until(lambda: told.ends)
    assert told.ends == ["algebra finished"]


async def test_a_refusal_is_told_and_lifted_without_a_restart(tiw_simulator: Simulator) -> None:
    (done,) = tiw_simulator.add_finished(1)
    good = tiw_simulator.settings()
    told = Told({**good, "secret_key": "wrong" * 8})
    refusals = []

    def mended() -> bool:
        if told.feed.refusal is not None:
            refusals.append(told.feed.refusal)
            assert not told.feed.answered
            told.settings = good
        return bool(told.ends)

    await told.until(mended, done)
    assert "AuthFailure" in refusals[0].code
    assert told.ends == [f"{done} finished"]
    assert told.feed.refusal is None
    assert told.connected > 1


async def test_a_fault_is_no_refusal_and_ends_nothing(tiw_simulator: Simulator) -> None:
    tiw_simulator.add_finished(1)
    tiw_simulator.inject("reset", times=2)
    told = Told(tiw_simulator.settings())
    await told.until(lambda: told.ends, "finished-000001")
    assert told.feed.refusal is None


DENIED = {"code": "UnauthorizedOperation", "action": "DescribeOnlineRecord"}


async def test_who_is_refused_is_asked_again_while_others_still_record(
    tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1_000_000}])
    tiw_simulator.inject("server_error", task_id=done, times=2, **DENIED)
    told = Told(tiw_simulator.settings())
    await told.until(lambda: told.ends and "slow pending/RECORDING" in told.changes, done, "slow")
    assert told.ends == [f"{done} finished"]
    assert told.feed.waiting == {"slow"}
    assert tiw_simulator.requests_by_task[done] == 3
    # Once for all, and once for each refusal.
    assert told.connected == 3
    lines = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    assert len(lines) == 2
    assert all(line.startswith("1 recordings cannot be asked for") for line in lines)


async def test_what_is_refused_together_is_asked_again_and_told_together(
    tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCHES_A_PAUSE", 0.1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1_000_000}])
    done = tiw_simulator.add_finished(6)
    for task_id in done:
        tiw_simulator.inject("server_error", task_id=task_id, times=1, **DENIED)
    told = Told(tiw_simulator.settings())
    await told.until(lambda: len(told.ends) == len(done), *done, "slow")
    lines = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    # One, on a machine that can send six requests within two seconds.
    assert len(lines) < len(done)
    assert sum(int(line.split()[0]) for line in lines) == len(done)
    assert told.connected == 1 + len(lines)


async def test_nothing_goes_on_once_it_is_closed(
    tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCHES_A_PAUSE", 0.001)
    before = asyncio.all_tasks()
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1_000_000}])
    done = tiw_simulator.add_finished(6)
    tiw_simulator.inject("server_error", task_id=done[0], **DENIED)
    told = Told(tiw_simulator.settings())
    refused = f"{done[0]} unknown/None"
    await told.until(lambda: len(told.ends) == 5 and refused in told.changes, *done, "slow")
    async with asyncio.timeout(10):
        while asyncio.all_tasks() != before:
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("abroad", [{"endpoint": None, "region": None, "site": "intl"}, {}])
async def test_where_there_is_no_list_it_says_so(
    abroad: dict[str, Any], tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {**tiw_simulator.settings(), **abroad}
    told = Told(settings, discover=True, other_ways="Do this instead.")
    await told.until(lambda: told.feed.refusal)
    assert isinstance(told.feed.refusal, RunningListUnavailable)
    (line, *_) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.endswith("Do this instead.")
    assert "DescribeRunningTasks" in line


def test_the_international_site_is_known_before_it_is_asked(tiw_simulator: Simulator) -> None:
    keys = {name: tiw_simulator.settings()[name] for name in ("secret_id", "secret_key")}
    with TiwClient(**keys, site="intl") as client, pytest.raises(RunningListUnavailable) as caught:
        check_lists_running(client)
    assert "tiw.intl.tencentcloudapi.com" in str(caught.value)
    with TiwClient(**keys, site="cn") as client:
        check_lists_running(client)


async def test_what_has_ended_is_forgotten_unless_it_is_listed(
    chinese: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    chinese.add_finished(1)
    chinese.add("runs", timeline=[{"RECORDING": 10000}])
    told = Told(chinese.settings(), discover=True)

    def forgotten() -> bool:
        if told.ends and told.feed.listed:
            monkeypatch.setattr(module, "_REMEMBER_S", -1.0)
        # Followed anew, because this test goes on to name it.
        return len(told.ends) > 1

    await told.until(forgotten, "finished-000001")
    assert set(told.ends) == {"finished-000001 finished"}
    assert told.feed.end("runs") is None
