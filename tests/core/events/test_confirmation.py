# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tiw_automation.core import (
    Callback,
    ConfigurationError,
    Outcome,
    RecordWatcher,
    TiwClient,
    Verdict,
    WaitTimeout,
)
from tiw_automation.core.api.callbacks import EventType
from tiw_automation.core.events import confirmation
from tiw_automation.core.events.confirmation import (
    CallbackConfirmer,
    confirmed_outcome,
    describe_unconfirmed,
)
from tiw_automation.simulator import Simulator


def callback(
    simulator: Simulator, task_id: str | None, event: str = EventType.FINISHED
) -> Callback:
    return Callback(event, simulator.sdk_app_id, task_id=task_id)


@pytest.fixture
def client(tiw_simulator: Simulator) -> Any:
    with TiwClient(**tiw_simulator.settings()) as made:
        yield made


@pytest.fixture
def confirmer_of(client: TiwClient) -> Iterator[Callable[..., CallbackConfirmer]]:
    made: list[CallbackConfirmer] = []

    def make(**settings: Any) -> CallbackConfirmer:
        made.append(CallbackConfirmer(client, **settings))
        return made[-1]

    yield make
    for confirmer in made:
        confirmer.close()
    assert "tiw-confirm" not in [thread.name for thread in threading.enumerate()]


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirmation, "LAG_POLL_S", 0.05)


def eventually(confirmer: CallbackConfirmer, about: Callback, within_s: float = 0.0) -> Outcome:
    """Ask until there is an outcome."""
    for _ in range(600):
        found = confirmer.ask(about, within_s)
        if found is not None:
            return found
        time.sleep(0.05)
    raise AssertionError("no answer")


def test_an_end_that_comes_late_is_polled_for(
    confirmer_of: Callable[..., CallbackConfirmer], tiw_simulator: Simulator
) -> None:
    tiw_simulator.add("late", timeline=[{"STOPPED": 100}])
    threading.Timer(0.3, tiw_simulator.advance, [200]).start()
    found = eventually(confirmer_of(), callback(tiw_simulator, "late"))
    assert found.verdict is Verdict.FINISHED
    assert tiw_simulator.requests["DescribeOnlineRecord"] > 1


def test_an_end_that_never_comes(
    confirmer_of: Callable[..., CallbackConfirmer],
    tiw_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirmation, "LAG_S", 0.3)
    tiw_simulator.add("runs", timeline=[{"RECORDING": 10000}])
    found = eventually(confirmer_of(), callback(tiw_simulator, "runs"))
    assert found.verdict is Verdict.PENDING
    assert isinstance(found.error, WaitTimeout)


def test_another_event_takes_one_poll(
    confirmer_of: Callable[..., CallbackConfirmer], tiw_simulator: Simulator
) -> None:
    tiw_simulator.add("runs", timeline=[{"RECORDING": 10000}])
    found = eventually(confirmer_of(), callback(tiw_simulator, "runs", EventType.STARTED))
    assert found.verdict is Verdict.PENDING
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 1}


def test_the_outcome_is_waited_for_or_returned_for_the_next_post(
    confirmer_of: Callable[..., CallbackConfirmer], tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    confirmer = confirmer_of()
    about = callback(tiw_simulator, done)
    assert confirmer.ask(about, 0.0) is None
    assert confirmer.ask(about, 0.0) is None
    assert eventually(confirmer, about).verdict is Verdict.FINISHED
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 1}
    assert eventually(confirmer, about, within_s=1.0).verdict is Verdict.FINISHED
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 2}


def test_a_caller_is_blocked_for_a_share_of_its_time_at_most(
    confirmer_of: Callable[..., CallbackConfirmer],
    tiw_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, waited = [100.0], []

    def wait(answers: Any, timeout: float) -> None:
        waited.append(timeout)
        now[0] += timeout

    monkeypatch.setattr("concurrent.futures.wait", wait)
    tiw_simulator.fault = "hang"
    confirmer = confirmer_of(clock=lambda: now[0])
    for number in range(4):
        assert confirmer.ask(callback(tiw_simulator, f"task-{number}"), 0.75) is None
    assert waited == [0.75, 0.75, 0.5, 0.0]
    now[0] += 60
    confirmer.ask(callback(tiw_simulator, "task-5"), 5.0)
    assert waited[-1] == 2.0
    tiw_simulator.fault = None


@pytest.mark.parametrize("task_id", [None, "", " ", "a b\n"])
def test_an_invalid_task_id_is_not_polled(
    task_id: str | None, confirmer_of: Callable[..., CallbackConfirmer], tiw_simulator: Simulator
) -> None:
    with pytest.raises(ConfigurationError):
        confirmer_of().ask(callback(tiw_simulator, task_id), 1.0)
    assert tiw_simulator.requests == {}


def test_the_number_of_callbacks_is_bounded(
    confirmer_of: Callable[..., CallbackConfirmer],
    tiw_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(confirmation, "_MOST_AT_ONCE", 2)
    now = [0.0]
    confirmer = confirmer_of(clock=lambda: now[0])
    ids = tiw_simulator.add_finished(3)
    for task_id in ids:
        assert confirmer.ask(callback(tiw_simulator, task_id), 0.0) is None
    _until(lambda: tiw_simulator.requests.get("DescribeOnlineRecord") == 2)
    # No caller has fetched these outcomes: after a while they are dropped.
    _until(lambda: all(answer.is_final for answer in confirmer._answers.values()))
    now[0] += 1000
    assert eventually(confirmer, callback(tiw_simulator, ids[2])).verdict is Verdict.FINISHED


def test_closing_ends_the_polling(
    confirmer_of: Callable[..., CallbackConfirmer], tiw_simulator: Simulator
) -> None:
    tiw_simulator.add("runs", timeline=[{"RECORDING": 10000}])
    confirmer = confirmer_of()
    assert confirmer.ask(callback(tiw_simulator, "runs"), 0.0) is None
    _until(lambda: tiw_simulator.requests.get("DescribeOnlineRecord", 0) > 1)
    confirmer.close()
    polled = tiw_simulator.requests["DescribeOnlineRecord"]
    time.sleep(0.2)
    assert tiw_simulator.requests["DescribeOnlineRecord"] == polled
    confirmer.close()
    (done,) = tiw_simulator.add_finished(1)
    assert eventually(confirmer, callback(tiw_simulator, done)).verdict is Verdict.FINISHED


def test_a_fault_on_the_way_only_delays(
    confirmer_of: Callable[..., CallbackConfirmer], tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.fault = "outage"
    threading.Timer(0.5, setattr, [tiw_simulator, "fault", None]).start()
    found = eventually(confirmer_of(), callback(tiw_simulator, done))
    assert found.verdict is Verdict.FINISHED


async def test_an_unconfirmed_recording_is_polled_within_the_small_pace(
    client: TiwClient, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    asked: list[bool] = []
    real_describe = RecordWatcher.describe

    def recorded(*args: Any, **options: Any) -> Any:
        asked.append(options["unconfirmed"])
        return real_describe(*args, **options)

    monkeypatch.setattr(RecordWatcher, "describe", recorded)
    found = await describe_unconfirmed(RecordWatcher(client), tiw_simulator.sdk_app_id, done)
    assert found.verdict is Verdict.FINISHED
    assert asked == [True]


def test_a_finished_callback_is_polled_twice_however_long_the_first_poll_takes() -> None:
    """At a small pace, one poll in a burst takes longer than a callback may be ahead."""
    pending = Outcome(14, "t1", Verdict.PENDING)
    assert confirmed_outcome(pending, 0.0, is_finished=True) is None
    late = confirmed_outcome(pending, confirmation.LAG_S, is_finished=True)
    assert late is not None
    assert isinstance(late.error, WaitTimeout)
    finished = Outcome(14, "t1", Verdict.FINISHED)
    assert confirmed_outcome(finished, confirmation.LAG_S, is_finished=True) is finished


def test_a_callback_that_is_not_posted_again_is_still_confirmed(
    confirmer_of: Callable[..., CallbackConfirmer], tiw_simulator: Simulator
) -> None:
    now = [0.0]
    confirmer = confirmer_of(clock=lambda: now[0])
    ids = tiw_simulator.add_finished(30)
    tiw_simulator.fault = "outage"
    for task_id in ids:
        assert confirmer.ask(callback(tiw_simulator, task_id), 0.0) is None
    _until(lambda: tiw_simulator.requests.get("DescribeOnlineRecord", 0) > 0)
    tiw_simulator.fault = None
    _until(lambda: all(answer.is_final for answer in confirmer._answers.values()))
    # Each may still be posted again.
    assert confirmer.unclaimed() == []
    now[0] += 29.0
    assert eventually(confirmer, callback(tiw_simulator, ids[0])).task_id == ids[0]
    now[0] += 2.0
    found = confirmer.unclaimed()
    assert [about.task_id for about, _ in found] == ids[1:]
    assert {outcome.verdict for _, outcome in found} == {Verdict.FINISHED}
    assert {about.event_type for about, _ in found} == {EventType.FINISHED}
    assert confirmer.unclaimed() == []


def test_the_body_of_a_callback_is_not_kept(
    confirmer_of: Callable[..., CallbackConfirmer], tiw_simulator: Simulator
) -> None:
    tiw_simulator.add("runs", timeline=[{"RECORDING": 10000}])
    confirmer = confirmer_of()
    body = Body()
    posted = Callback(EventType.FINISHED, tiw_simulator.sdk_app_id, 5, "runs", posted=body)
    assert confirmer.ask(posted, 0.0) is None
    followed = weakref.ref(body)
    del posted, body
    gc.collect()
    assert followed() is None
    assert len(confirmer._answers) == 1


class Body(dict[str, Any]):
    """A body that a weak reference can follow."""


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)
