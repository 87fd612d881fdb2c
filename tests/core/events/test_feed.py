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
from tiw_automation.core.events import feed as module, missing_polls
from tiw_automation.core.events.feed import RecordFeed
from tiw_automation.core.events.missing import Missing, asked_with
from tiw_automation.simulator import Simulator


@pytest.fixture
def chinese() -> Any:
    with Simulator(speed=10, region="ap-guangzhou") as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REFUSED_S", 0.2)
    monkeypatch.setattr(module, "_GATHER_S", 0.01)
    monkeypatch.setattr(missing_polls, "_GATHER_S", 0.01)
    monkeypatch.setattr(missing_polls, "_READ_SETTINGS_S", 0.3)


class Following:
    """A feed, and the changes and ends that it has reported."""

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
        """Drive the feed until ``done`` returns true."""
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
    following = Following(tiw_simulator.settings())
    seen = "slow pending/RECORDING"

    def both_seen() -> bool:
        if following.ends and seen in following.changes and following.feed.waiting == {"slow"}:
            end = following.feed.end(done)
            assert end is not None
            assert end.task_id == done
            assert following.feed.end("slow") is None
            tiw_simulator.advance(200)
        return len(following.ends) == 3

    await following.until(both_seen, done, "slow", "absent", done)
    assert sorted(following.ends) == ["absent missing", f"{done} finished", "slow finished"]
    assert not following.feed.waiting
    assert following.feed.answered
    assert not following.feed.listed


async def test_recordings_from_the_list(chinese: Simulator) -> None:
    following = Following(chinese.settings(), discover=True)
    await following.until(lambda: following.feed.listed)
    chinese.add("algebra", timeline=[{"RECORDING": 30}])
    await following.until(lambda: following.ends)
    assert following.ends == ["algebra finished"]


async def test_a_refusal_is_kept_until_an_answer_without_a_restart(
    tiw_simulator: Simulator,
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    good = tiw_simulator.settings()
    following = Following({**good, "secret_key": "wrong" * 8})
    refusals = []

    def corrected() -> bool:
        if following.feed.refusal is not None:
            refusals.append(following.feed.refusal)
            assert not following.feed.answered
            following.settings = good
        return bool(following.ends)

    await following.until(corrected, done)
    assert "AuthFailure" in refusals[0].code
    assert following.ends == [f"{done} finished"]
    assert following.feed.refusal is None
    assert following.connected > 1


async def test_a_fault_is_not_a_refusal_and_ends_no_recording(tiw_simulator: Simulator) -> None:
    tiw_simulator.add_finished(1)
    tiw_simulator.inject("reset", times=2)
    following = Following(tiw_simulator.settings())
    await following.until(lambda: following.ends, "finished-000001")
    assert following.feed.refusal is None


DENIED = {"code": "UnauthorizedOperation", "action": "DescribeOnlineRecord"}


async def test_a_refused_recording_is_polled_again_while_others_still_record(
    tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1_000_000}])
    tiw_simulator.inject("server_error", task_id=done, times=2, **DENIED)
    following = Following(tiw_simulator.settings())
    await following.until(
        lambda: following.ends and "slow pending/RECORDING" in following.changes, done, "slow"
    )
    assert following.ends == [f"{done} finished"]
    assert following.feed.waiting == {"slow"}
    assert tiw_simulator.requests_by_task[done] == 3
    # Once for both, and once for each refusal.
    assert following.connected == 3
    lines = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    assert len(lines) == 2
    assert all(line.startswith("1 recording cannot be asked for") for line in lines)


async def test_recordings_refused_together_are_polled_again_and_logged_together(
    tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCHES_A_PAUSE", 0.1)
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1_000_000}])
    done = tiw_simulator.add_finished(6)
    for task_id in done:
        tiw_simulator.inject("server_error", task_id=task_id, times=1, **DENIED)
    following = Following(tiw_simulator.settings())
    await following.until(lambda: len(following.ends) == len(done), *done, "slow")
    lines = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    # It is one on a machine that can send six requests within two seconds.
    assert len(lines) < len(done)
    assert sum(int(line.split()[0]) for line in lines) == len(done)
    assert following.connected == 1 + len(lines)


async def test_no_task_is_left_once_it_is_closed(
    tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCHES_A_PAUSE", 0.001)
    before = asyncio.all_tasks()
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1_000_000}])
    done = tiw_simulator.add_finished(6)
    tiw_simulator.inject("server_error", task_id=done[0], **DENIED)
    following = Following(tiw_simulator.settings())
    refused = f"{done[0]} unknown/None"
    await following.until(
        lambda: len(following.ends) == 5 and refused in following.changes, *done, "slow"
    )
    async with asyncio.timeout(10):
        while asyncio.all_tasks() != before:
            await asyncio.sleep(0.01)


ABROAD = {"endpoint": None, "region": None, "site": "intl", "secret_id": "AKIDother"}


@pytest.mark.parametrize("abroad", [ABROAD, {}])
async def test_a_site_without_the_list_is_logged(
    abroad: dict[str, Any], tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    settings = {**tiw_simulator.settings(), **abroad}
    following = Following(settings, discover=True, other_ways="Do this instead.")
    await following.until(lambda: following.feed.refusal)
    assert isinstance(following.feed.refusal, RunningListUnavailable)
    (line, *_) = [r.getMessage() for r in caplog.records if r.levelno == logging.ERROR]
    assert line.endswith("Do this instead.")
    assert "DescribeRunningTasks" in line


def test_the_international_site_is_refused_without_a_request() -> None:
    keys: dict[str, Any] = {"secret_id": "AKIDother", "secret_key": "other" * 6}
    with TiwClient(**keys, site="intl") as client, pytest.raises(RunningListUnavailable) as caught:
        check_lists_running(client.settings.host)
    assert "tiw.intl.tencentcloudapi.com" in str(caught.value)
    with TiwClient(**keys, site="cn") as client:
        check_lists_running(client.settings.host)


async def test_an_end_is_forgotten_unless_its_recording_is_listed(
    chinese: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    chinese.add_finished(1)
    chinese.add("runs", timeline=[{"RECORDING": 10000}])
    following = Following(chinese.settings(), discover=True)

    def forgotten() -> bool:
        if following.ends and following.feed.listed:
            monkeypatch.setattr(module, "_REMEMBER_S", -1.0)
        # Followed anew, because this test keeps following it.
        return len(following.ends) > 1

    await following.until(forgotten, "finished-000001")
    assert set(following.ends) == {"finished-000001 finished"}
    assert following.feed.end("runs") is None


# Recordings that are missing


@pytest.fixture
def hours(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that puts the clock of the feed forward by hours."""
    passed = 0.0

    class Clock:
        monotonic = staticmethod(lambda: time.monotonic() + passed)
        time = staticmethod(lambda: time.time() + passed)

    def advance(count: float) -> None:
        nonlocal passed
        passed += count * 3600

    for each in (module, missing_polls):
        monkeypatch.setattr(each, "time", Clock)
    return advance


@pytest.fixture
def two() -> Any:
    with Simulator(speed=10) as one, Simulator(speed=10, sdk_app_id=one.sdk_app_id + 1) as other:
        yield one, other


async def test_other_settings_find_a_missing_recording_at_once(two: Any) -> None:
    wrong, right = two
    ids = right.add_finished(3)
    following = Following(wrong.settings())

    def corrected() -> bool:
        if len(following.ends) == 3:
            assert {each.split()[1] for each in following.ends} == {"missing"}
            assert not following.feed.waiting
            assert all(following.feed.missing(task_id) for task_id in ids)
            following.settings = right.settings()
        return len(following.ends) >= 6

    await following.until(corrected, *ids)
    assert sorted(following.ends[3:]) == [f"{task_id} finished" for task_id in ids]
    assert [following.feed.missing(task_id) for task_id in ids] == [None] * 3
    # With the wrong settings each was polled once.
    assert set(wrong.requests_by_task.values()) == {1}


async def test_the_same_settings_poll_after_pauses_that_double(
    tiw_simulator: Simulator, hours: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    following = Following(tiw_simulator.settings())
    answers: list[Missing] = []

    def at_the_next_pause() -> bool:
        # Only a new answer changes this: until then the previous one is kept.
        found = following.feed.missing("absent")
        if found is not None and found not in answers:
            answers.append(found)
            hours(found.pause_s / 3600)
        return len(answers) >= 11

    await following.until(at_the_next_pause, "absent")
    pauses = [300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 76800, 86400, 86400]
    assert [answer.pause_s for answer in answers] == pauses
    assert tiw_simulator.requests_by_task["absent"] == len(pauses)
    # Reported once all the same.
    assert following.ends == ["absent missing"]


async def test_one_error_an_hour_with_the_count_and_three_ids(
    tiw_simulator: Simulator, hours: Callable[[float], None], caplog: pytest.LogCaptureFixture
) -> None:
    ids = [f"absent-{n}" for n in range(5)]
    following = Following(tiw_simulator.settings())

    def errors() -> list[str]:
        return [r.getMessage() for r in caplog.records if "do not exist" in r.getMessage()]

    await following.until(lambda: len(following.ends) == 5 and len(errors()) == 1, *ids)
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

    await following.until(an_hour_later)


async def test_a_missing_recording_that_appears_is_followed_to_its_end(
    tiw_simulator: Simulator, hours: Callable[[float], None]
) -> None:
    following = Following(tiw_simulator.settings())

    def appears() -> bool:
        if following.ends == ["late missing"] and "added" not in following.changes:
            tiw_simulator.add("late", timeline=[{"RECORDING": 1000}])
            following.changes.append("added")
            hours(1)
        if (
            following.changes[-1:] == ["late pending/RECORDING"]
            and following.feed.end("late") is None
        ):
            assert following.feed.waiting == {"late"}
            tiw_simulator.advance(2000)
        return len(following.ends) == 2

    await following.until(appears, "late")
    assert following.ends == ["late missing", "late finished"]


async def test_stored_missing_recordings_are_polled_when_they_are_due(two: Any) -> None:
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
    following = Following(right.settings())
    following.feed.adopt_missing(kept)

    def asked() -> bool:
        due = [following.feed.missing(task_id) for task_id in ("due", "far-ahead")]
        return bool(following.ends) and [each.pause_s for each in due if each] == [600, 600]

    await following.until(asked)
    # The caller who stored the others has reported them before.
    assert following.ends == [f"{done} finished"]
    assert "not-yet" not in right.requests_by_task
    assert right.requests_by_task == {done: 1, "due": 1, "far-ahead": 1}


async def test_an_invalid_id_does_not_affect_the_others(
    tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    following = Following(tiw_simulator.settings())
    await following.until(lambda: following.ends, "", "a b\x1b[2J", done, "x" * 900)
    assert following.ends == [f"{done} finished"]
    assert len([r for r in caplog.records if "is not followed" in r.getMessage()]) == 3
    assert "\x1b" not in caplog.text
