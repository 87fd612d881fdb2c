# SPDX-License-Identifier: Apache-2.0
"""Waits for other states than FINISHED."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    Outcome,
    RecordWatcher,
    TiwClient,
    TiwError,
    Verdict,
    WaitTimeout,
)
from tiw_automation.core.tasks.kinds import ONLINE_RECORD
from tiw_automation.core.tasks.until import check_until
from tiw_automation.simulator import Simulator

LENIENT = Acceptance(require_videos=False)


@pytest.fixture
def api() -> Iterator[Simulator]:
    with Simulator(limit=0) as simulator:
        yield simulator


@pytest.fixture
def watcher(api: Simulator) -> RecordWatcher:
    settings = {**api.settings(), "requests_per_second": 200, "timeout": 1.0}
    identity = f"AKIDtest{os.getpid()}{id(api)}"
    api.add_account(identity, settings["secret_key"])
    return RecordWatcher(TiwClient(**{**settings, "secret_id": identity}), jitter=lambda: 0.05)


async def ends(watcher: RecordWatcher, task_ids: list[str], **given: Any) -> dict[str, Outcome]:
    given = {"timeout": 20.0, "poll_interval": 0.05, "acceptance": LENIENT, **given}
    return {o.task_id: o async for o in watcher.watch(task_ids, **given)}


STATES = ["PREPARED", "RECORDING", "PAUSED", "STOPPED", "FINISHED"]


@pytest.mark.parametrize("status", STATES)
@pytest.mark.parametrize("wanted", STATES)
def test_a_recording_never_goes_back(status: str, wanted: str) -> None:
    reachable = STATES.index(wanted) >= STATES.index(status) or {status, wanted} == {
        "RECORDING",
        "PAUSED",
    }
    assert ONLINE_RECORD.can_become(status, frozenset({wanted})) is reachable


@pytest.mark.parametrize("status", [None, "", "SOMETHING_NEW"])
def test_a_recording_of_unknown_status_can_become_anything(status: str | None) -> None:
    assert all(ONLINE_RECORD.can_become(status, frozenset({state})) for state in STATES)


@pytest.mark.parametrize("given", [[], "Recording", ["RECORDING", "DONE"], [7], 7, [["PAUSED"]]])
def test_invalid_states(given: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"until.*PREPARED, RECORDING") as raised:
        check_until(given)
    assert "FINISHED" in str(raised.value)


def test_one_state_may_be_a_string() -> None:
    assert check_until("PAUSED") == frozenset({"PAUSED"}) == check_until(iter(["PAUSED"]))
    assert check_until(None) is None


async def test_each_wait_ends_in_its_state_or_when_it_is_out_of_reach(
    api: Simulator, watcher: RecordWatcher
) -> None:
    api.add("runs", timeline=[{"PREPARED": 1}, {"RECORDING": 100_000}])
    api.add("over", timeline=[])
    api.advance(2)
    found = await ends(watcher, ["runs", "over", "unknown"], until=["RECORDING", "PAUSED"])
    assert found["runs"].verdict is Verdict.PENDING
    assert found["runs"].error is None
    assert found["runs"].record is not None
    assert found["runs"].record.status == "RECORDING"
    assert found["over"].error is not None
    assert found["over"].error.code == "StateOutOfReach"
    assert "cannot become RECORDING or PAUSED" in str(found["over"].error)
    assert found["over"].record is not None
    assert found["unknown"].verdict is Verdict.MISSING
    assert not watcher.stats().waits


async def test_one_wait_returns_the_record_or_raises(
    api: Simulator, watcher: RecordWatcher
) -> None:
    api.add("runs", timeline=[{"RECORDING": 100_000}])
    api.add("stopped", timeline=[{"STOPPED": 100_000}])
    api.advance(1)
    record = await watcher.wait("runs", until={"RECORDING"}, timeout=10)
    assert record.status == "RECORDING"
    with pytest.raises(TiwError) as raised:
        await watcher.wait("stopped", until="RECORDING", timeout=10)
    assert raised.value.code == "StateOutOfReach"
    with pytest.raises(WaitTimeout, match=r"was not PAUSED within 0\.5 s; it was last seen RECORD"):
        await watcher.wait("runs", until="PAUSED", timeout=0.5, poll_interval=0.1)


async def test_finished_among_the_states_ends_it_too(
    api: Simulator, watcher: RecordWatcher
) -> None:
    api.add("over", timeline=[])
    api.advance(2)
    found = await ends(watcher, ["over"], until=["STOPPED", "FINISHED"])
    assert (found["over"].verdict, found["over"].error) == (Verdict.FINISHED, None)
    assert (await watcher.wait("over", until="FINISHED", acceptance=LENIENT)).status == "FINISHED"
    # A failure of the recording comes before a state that is out of reach.
    strict = await ends(watcher, ["over"], until=["RECORDING"], acceptance=Acceptance())
    assert strict["over"].error is not None
    assert strict["over"].verdict in (Verdict.FAILED, Verdict.FINISHED)


async def test_two_waits_for_different_states(api: Simulator, watcher: RecordWatcher) -> None:
    api.add("one", timeline=[{"RECORDING": 100_000}])
    api.advance(1)
    other = watcher.wait("one", timeout=20, poll_interval=0.05, acceptance=LENIENT)
    first = await watcher.wait("one", until="RECORDING", timeout=10, poll_interval=0.05)
    assert first.status == "RECORDING"
    api.advance(200_000)
    assert (await other).status == "FINISHED"
