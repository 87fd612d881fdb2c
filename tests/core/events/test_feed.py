# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from tiw_automation.core import Outcome, TiwClient
from tiw_automation.core.api.running_tasks import RunningListUnavailable, check_lists_running
from tiw_automation.core.events import feed as module
from tiw_automation.core.events.feed import RecordFeed
from tiw_automation.core.events.missing import Missing, asked_with
from tiw_automation.simulator import Simulator


@pytest.fixture
def chinese() -> Any:
    with Simulator(speed=10, region="ap-guangzhou") as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REFUSED_S", 0.2)
    monkeypatch.setattr(module, "_GATHER_S", 0.01)
    monkeypatch.setattr(module, "_LOOK_AT_SETTINGS_S", 0.3)


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
        check_lists_running(client.settings.host)
    assert "tiw.intl.tencentcloudapi.com" in str(caught.value)
    with TiwClient(**keys, site="cn") as client:
        check_lists_running(client.settings.host)


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


# Recordings that are missing


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function by which hours pass, for what is missing."""
    passed = 0.0

    class Clock:
        monotonic = staticmethod(lambda: time.monotonic() + passed)
        time = staticmethod(lambda: time.time() + passed)

    def pass_by(count: float) -> None:
        nonlocal passed
        passed += count * 3600

    monkeypatch.setattr(module, "time", Clock)
    return pass_by


@pytest.fixture
def two() -> Any:
    with Simulator(speed=10) as one, Simulator(speed=10, sdk_app_id=one.sdk_app_id + 1) as other:
        yield one, other


async def test_other_settings_find_what_was_missing_at_once(two: Any) -> None:
    wrong, right = two
    ids = right.add_finished(3)
    told = Told(wrong.settings())

    def mended() -> bool:
        if len(told.ends) == 3:
            assert {each.split()[1] for each in told.ends} == {"missing"}
            assert not told.feed.waiting
            assert all(told.feed.missing(task_id) for task_id in ids)
            told.settings = right.settings()
        return len(told.ends) >= 6

    await told.until(mended, *ids)
    assert sorted(told.ends[3:]) == [f"{task_id} finished" for task_id in ids]
    assert [told.feed.missing(task_id) for task_id in ids] == [None] * 3
    # With the wrong settings each was asked for once.
    assert set(wrong.requests_by_task.values()) == {1}


async def test_the_same_settings_ask_after_pauses_that_double(
    tiw_simulator: Simulator, hours: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    told = Told(tiw_simulator.settings())
    answers: list[Missing] = []

    def much_later() -> bool:
        # Only a new answer changes this: while it is asked for, the one before still stands.
        found = told.feed.missing("absent")
        if found is not None and found not in answers:
            answers.append(found)
            hours(found.pause_s / 3600)
        return len(answers) >= 11

    await told.until(much_later, "absent")
    pauses = [300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 76800, 86400, 86400]
    assert [answer.pause_s for answer in answers] == pauses
    assert tiw_simulator.requests_by_task["absent"] == len(pauses)
    # Passed on once for all that.
    assert told.ends == ["absent missing"]


async def test_one_error_an_hour_with_the_count_and_three_ids(
    tiw_simulator: Simulator, hours: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    ids = [f"absent-{n}" for n in range(5)]
    told = Told(tiw_simulator.settings())

    def errors() -> list[str]:
        return [r.getMessage() for r in caplog.records if "do not exist" in r.getMessage()]

    await told.until(lambda: len(told.ends) == 5 and len(errors()) == 1, *ids)
    (first,) = errors()
    assert first.startswith("5 recordings do not exist (absent-0, absent-1, absent-2) by")
    assert str(tiw_simulator.sdk_app_id) in first
    rounds = 0

    def an_hour_later() -> bool:
        nonlocal rounds
        rounds += 1
        if rounds == 1:
            hours(0.99)
        elif rounds == 10:
            assert len(errors()) == 1
            hours(0.02)
        return len(errors()) == 2

    await told.until(an_hour_later)


async def test_a_missing_recording_that_appears_is_followed_to_its_end(
    tiw_simulator: Simulator, hours: Callable[[float], None]
) -> None:
    told = Told(tiw_simulator.settings())

    def appears() -> bool:
        if told.ends == ["late missing"] and "added" not in told.changes:
            tiw_simulator.add("late", timeline=[{"RECORDING": 1000}])
            told.changes.append("added")
            hours(1)
        if told.changes[-1:] == ["late pending/RECORDING"] and told.feed.end("late") is None:
            assert told.feed.waiting == {"late"}
            tiw_simulator.advance(2000)
        return len(told.ends) == 2

    await told.until(appears, "late")
    assert told.ends == ["late missing", "late finished"]


async def test_what_was_kept_is_asked_for_when_it_is_due(two: Any) -> None:
    _, right = two
    (done,) = right.add_finished(1)
    with TiwClient(**right.settings()) as client:
        same = asked_with(client)
    now = time.time()
    kept = {
        done: Missing("other settings", now + 80_000, 86_400),
        "not-yet": Missing(same, now + 200, 300),
        "due": Missing(same, now - 1, 300),
        "far-ahead": Missing(same, now + 10**9, 300),
    }
    told = Told(right.settings())
    told.feed.adopt_missing(kept)

    def asked() -> bool:
        due = [told.feed.missing(task_id) for task_id in ("due", "far-ahead")]
        return bool(told.ends) and [each.pause_s for each in due if each] == [600, 600]

    await told.until(asked)
    # The one who kept the others has passed them on before.
    assert told.ends == [f"{done} finished"]
    assert "not-yet" not in right.requests_by_task
    assert right.requests_by_task == {done: 1, "due": 1, "far-ahead": 1}


async def test_an_odd_id_keeps_no_other_from_its_end(
    tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    told = Told(tiw_simulator.settings())
    await told.until(lambda: told.ends, "", "a b\x1b[2J", done, "x" * 900)
    assert told.ends == [f"{done} finished"]
    assert len([r for r in caplog.records if "is not followed" in r.getMessage()]) == 3
    assert "\x1b" not in caplog.text
