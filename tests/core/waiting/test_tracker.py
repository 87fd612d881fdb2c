# SPDX-License-Identifier: Apache-2.0
"""The promises to waits, on a fake clock; a test names the promise that it checks.

- I1: no more than the quota in any second, also at start, after an outage and after a restart.
- I2: every wait ends exactly once.
- I3: every task is polled in the end.
- I4: one request in flight for a recording; all its waits share the answer.
- I5: the answer to a request in flight at the deadline counts, and the last one is aimed at it.
- I6: a recording that fails delays no other one.
- I7: jumps of the wall clock change nothing.
- I8: a cancelled wait leaves nothing behind.
- I9: a restart loses nothing.
- I10: a hint decides nothing.
- I11: an endpoint that is down is probed, and all waits are kept.
- I12: no secret and no URL is shown.
"""

from __future__ import annotations

import errno
import itertools
import logging
import random
import tempfile
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tiw_automation.core import (
    Acceptance,
    BadAnswer,
    DeadlineExceeded,
    OnlineRecord,
    PermissionDenied,
    Quota,
    RecordingFailure,
    RequestLimitExceeded,
    ServerError,
    TaskNotFound,
    TiwError,
    TransportError,
    Verdict,
)
from tiw_automation.core.api.error_codes import CLASS_OF_CODE, api_error
from tiw_automation.core.quota.host import HostPace
from tiw_automation.core.waiting.poll_order import SAFETY_SHARE, PollOrder
from tiw_automation.core.waiting.tracker import (
    Agenda,
    Budget,
    Caller,
    Key,
    Terms,
    TrackedTask,
    Tracker,
    Wait,
)

APP = 1400000001
PACE = 19.0
TERMS = Terms(Acceptance(require_videos=False), 1.0, once=False)
ONCE = Terms(Acceptance(require_videos=False), 0.0, once=True)
CALLS_AT_ONCE = 16


def record(task_id: str, status: str | None, **more: Any) -> OnlineRecord:
    reason = "AUTO" if status == "FINISHED" else None
    return OnlineRecord(APP, task_id, status=status, finish_reason=reason, **more)


class Driver:
    """Drives a tracker as the dispatcher does, on a clock that only :meth:`advance` moves."""

    def __init__(self, host: HostPace | None = None, now: float = 1000.0) -> None:
        self.now = now
        self.wall = 1_700_000_000.0
        self.chance = random.Random(1)
        self.tracker = Tracker(
            PollOrder(pace=PACE), self.chance.random, lambda: self.wall + self.now
        )
        self.quota = Quota(PACE, clock=lambda: self.now, store=host)
        self.in_flight: list[TrackedTask] = []
        self.sent: list[tuple[float, Key]] = []
        self.slot: float | None = None

    def wait(
        self, *task_ids: str, timeout: float | None = None, terms: Terms = TERMS, delay: float = 0.0
    ) -> Caller:
        caller = Caller(terms, self.now, timeout)
        self.tracker.open(caller, self.now)
        for task_id in task_ids:
            self.tracker.join(caller, (APP, task_id), self.now, self.now + delay)
        return caller

    def cancel(self, caller: Caller) -> None:
        for wait in list(caller.waits):
            self.tracker.leave(wait)
        self.tracker.close(caller)

    def advance(self, seconds: float) -> None:
        """Let time pass, and send requests in their slots."""
        end = self.now + seconds
        while True:
            step = min(self._next_step(), end)
            self.now = max(self.now, step)
            self.tracker.run_events(self.now)
            if self.slot is not None and self.now >= self.slot:
                self._use_slot(self.slot)
            due = self.tracker.next_due(self.now)
            if self.slot is None and due is not None and due <= self.now and self._room():
                self.slot = self.quota.reserve()
                if self.slot <= self.now:
                    continue
            if self.now >= end:
                return

    def _room(self) -> bool:
        return len(self.in_flight) < CALLS_AT_ONCE

    def _next_step(self) -> float:
        times = [self.tracker.next_event()]
        if self.slot is not None:
            times.append(self.slot)
        elif self._room():
            due = self.tracker.next_due(self.now)
            if due is not None:
                times.append(due)
        return max(min(times), self.now)

    def _use_slot(self, slot: float) -> None:
        self.slot = None
        slot = self.quota.use(slot) or slot
        self.now = max(self.now, slot)
        task = self.tracker.take(self.now)
        if task is None:
            self.quota.release(slot)
            return
        self.in_flight.append(task)
        self.sent.append((self.now, task.key))

    def answer(self, task: TrackedTask, what: OnlineRecord | TiwError) -> None:
        self.in_flight.remove(task)
        self.tracker.complete(task, what, self.now)
        if isinstance(what, RequestLimitExceeded):
            self.quota.rejected()

    def answer_all(self, status: str | TiwError) -> None:
        for task in list(self.in_flight):
            what = record(task.key[1], status) if isinstance(status, str) else status
            self.answer(task, what)

    def run(self, seconds: float, status: str | TiwError = "RECORDING", step: float = 0.05) -> None:
        """Let time pass; every request is answered a little later."""
        end = self.now + seconds
        while self.now < end:
            self.advance(step)
            self.answer_all(status)


def settled(caller: Caller) -> dict[str, Wait]:
    return {wait.task.task_id: wait for wait in caller.waits if wait.settled}


def only(caller: Caller) -> Wait:
    (wait,) = caller.waits
    return wait


def keys(caller: Caller) -> list[Key]:
    return [wait.task.key for wait in caller.waits]


def task_keys(driver: Driver) -> set[Key]:
    return {task.key for task in driver.tracker.tasks}


def most_in_a_second(times: list[float]) -> int:
    ordered = sorted(times)
    return max(
        (bisect_left(ordered, start + 1 - 1e-9) - n for n, start in enumerate(ordered)), default=0
    )


def test_no_window_holds_more_than_the_limit_also_at_start_and_after_an_outage() -> None:
    """I1, with ten minutes of outage."""
    driver = Driver()
    driver.wait(*(f"t{n}" for n in range(300)))
    driver.run(60)
    driver.run(600, TransportError("down"))
    driver.run(60)
    assert most_in_a_second([time for time, _ in driver.sent]) <= 20
    assert len([time for time, _ in driver.sent if time < 1060]) == pytest.approx(60 * 19, rel=0.02)


def test_an_endpoint_that_is_down_is_probed_every_few_seconds_and_every_wait_is_kept() -> None:
    """I11, for ten minutes."""
    driver = Driver()
    caller = driver.wait(*(f"t{n}" for n in range(200)))
    driver.run(20)
    begin = driver.now
    driver.run(600, TransportError("down"))
    probes = [time for time, _ in driver.sent if time > begin + 10]
    # Full jitter below 8 s: 4 s on average.
    assert 590 / 6 < len(probes) < 590 / 2.5
    gaps = [b - a for a, b in itertools.pairwise(probes)]
    assert len({round(gap, 1) for gap in gaps}) > 20
    assert not settled(caller)
    end = driver.now
    driver.run(200 / PACE + 12)
    asked = {key for time, key in driver.sent if time > end}
    assert len(asked) == 200
    driver.run(40, "FINISHED")
    assert len(settled(caller)) == 200


@pytest.mark.parametrize(
    "trouble", [TransportError("down"), ServerError("Sorry.", code="InternalError")]
)
def test_waits_survive_an_outage_of_a_day_like_one_of_an_hour(trouble: TiwError) -> None:
    """I11. A pause that doubles each time exceeds every float after a thousand times."""
    driver = Driver()
    caller = driver.wait("lesson", "another")
    driver.run(1)
    for _ in range(2500):
        driver.advance(60)
        driver.answer_all(trouble)
    assert driver.tracker.errors > 2400
    assert not settled(caller)
    driver.run(70)
    driver.run(40, "FINISHED")
    assert len(settled(caller)) == 2


def test_a_slot_that_was_reserved_before_the_outage_is_not_used() -> None:
    """I11."""
    driver = Driver()
    driver.wait(*(f"t{n}" for n in range(20)))
    driver.advance(0.5)
    breaker = driver.tracker.breaker
    assert breaker.down_since is None
    waiting = len(driver.in_flight)
    assert waiting >= 5
    driver.answer_all(TransportError("down"))
    assert driver.tracker.breaker.down_since is not None
    assert driver.tracker.take(driver.now) is None
    driver.now = driver.tracker.breaker.probe_at
    assert driver.tracker.take(driver.now) is not None
    # One probe at a time.
    assert driver.tracker.take(driver.now) is None


def test_one_failing_answer_among_good_ones_opens_no_breaker() -> None:
    """I11."""
    driver = Driver()
    driver.wait(*(f"t{n}" for n in range(20)))
    answers = itertools.cycle([*[TransportError("lost")] * 4, None])
    for _ in range(400):
        driver.advance(0.1)
        for task in list(driver.in_flight):
            driver.answer(task, next(answers) or record(task.key[1], "RECORDING"))
        assert driver.tracker.breaker.down_since is None
    assert driver.tracker.errors > 100


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    driver = Driver()
    driver.wait(*(f"t{n}" for n in range(50)))
    with caplog.at_level(logging.WARNING):
        driver.run(120, DeadlineExceeded("silence"))
        driver.run(30)
    assert ["does not answer" in line.message for line in caplog.records] == [True, False]


def test_html_pages_with_5xx_count_as_an_outage_and_the_api_s_own_errors_do_not() -> None:
    """I11."""
    driver = Driver()
    driver.wait(*(f"t{n}" for n in range(50)))
    driver.run(10, ServerError("Sorry.", code="InternalError"))
    assert driver.tracker.breaker.down_since is None
    driver.run(10, ServerError("The server answered with an error page.", code="Http502"))
    assert driver.tracker.breaker.down_since is not None


def test_a_caller_that_wants_one_answer_does_not_wait_for_the_end_of_an_outage() -> None:
    """I2."""
    driver = Driver()
    patient = driver.wait("patient")
    hasty = driver.wait(*(f"t{n}" for n in range(100)), terms=ONCE)
    driver.run(60, TransportError("down"))
    assert len(settled(hasty)) == 100
    assert {wait.outcome.verdict for wait in hasty.waits} == {Verdict.UNKNOWN}
    assert not settled(patient)


def test_a_failing_recording_delays_no_other_one() -> None:
    """I6."""
    driver = Driver()
    ids = [f"t{n}" for n in range(10)]
    driver.wait(*ids)
    for _ in range(600):
        driver.advance(0.1)
        for task in list(driver.in_flight):
            bad = task.key[1] == "t0"
            what = ServerError("Sorry.") if bad else record(task.key[1], "RECORDING")
            driver.answer(task, what)
    asked = Counter(key[1] for _, key in driver.sent)
    others = [asked[task_id] for task_id in ids[1:]]
    assert min(others) > 50
    assert 2 <= asked["t0"] < 12


def test_at_most_one_request_in_flight_for_a_recording_and_duplicates_share_it() -> None:
    """I4."""
    driver = Driver()
    callers = [driver.wait("t") for _ in range(5)]
    driver.advance(1)
    late = driver.wait("t")
    driver.advance(10)
    assert len(driver.sent) == 1
    driver.answer_all("FINISHED")
    assert all(settled(caller) for caller in (*callers, late))


def test_the_answer_to_a_request_in_flight_at_the_deadline_counts() -> None:
    """I5."""
    driver = Driver()
    caller = driver.wait("t", timeout=5.0)
    driver.advance(20)
    assert caller.expired
    assert driver.tracker.expire(caller) == []
    driver.answer_all("FINISHED")
    assert settled(caller)["t"].outcome.verdict is Verdict.FINISHED


def test_the_last_request_is_aimed_at_the_deadline() -> None:
    """I5."""
    driver = Driver()
    driver.wait(*(f"other{n}" for n in range(400)))
    terms = Terms(TERMS.acceptance, 60.0, once=False)
    driver.wait("t", timeout=100.0, terms=terms)
    driver.run(105)
    times = [time - 1000.0 for time, key in driver.sent if key[1] == "t"]
    assert 98.9 < times[-1] < 99.3


def test_a_cancelled_wait_leaves_nothing() -> None:
    """I8."""
    driver = Driver()
    caller = driver.wait(*(f"t{n}" for n in range(50)), timeout=100.0)
    driver.advance(1)
    in_flight = {task.key for task in driver.in_flight}
    driver.cancel(caller)
    assert task_keys(driver) == in_flight
    driver.answer_all("RECORDING")
    assert not driver.tracker.tasks
    assert not driver.tracker.tasks.counts()
    assert len(driver.tracker.order) == 0
    assert driver.tracker.next_due(driver.now) is None


def test_callers_that_come_and_go_leave_no_events_behind() -> None:
    """I8."""
    driver = Driver()
    for _ in range(2000):
        driver.cancel(driver.wait("t", timeout=1e6))
    assert len(driver.tracker.agenda) < 200


def test_a_wall_clock_that_jumps_changes_no_request() -> None:
    """I7."""

    def sends(jumps: bool) -> list[tuple[float, Key]]:
        driver = Driver()
        driver.wait(*(f"t{n}" for n in range(50)), timeout=500.0)
        for number in range(300):
            if jumps:
                driver.wall += (-1) ** number * 10.0**6
            driver.advance(1.0)
            driver.answer_all("RECORDING")
        return driver.sent

    assert [time for time, _ in sends(True)] == [time for time, _ in sends(False)]


def test_a_second_wait_with_a_shorter_interval_does_not_use_that_of_the_first() -> None:
    driver = Driver()
    driver.wait("t", terms=Terms(TERMS.acceptance, 3600.0, once=False))
    driver.run(5)
    assert len(driver.sent) == 1
    second = driver.wait("t")
    assert only(second).outcome.record is not None
    driver.run(2)
    assert len(driver.sent) >= 2


def test_bursts_of_throttling_end_no_wait_and_are_followed_by_the_full_pace() -> None:
    """I1, I2: something else takes the whole account for ten seconds, again and again."""
    driver = Driver()
    caller = driver.wait(*(f"t{n}" for n in range(300)))
    for _ in range(3):
        driver.run(10, RequestLimitExceeded("Too many."))
        driver.run(190)
    assert not settled(caller)
    assert driver.tracker.rejects > 30
    assert most_in_a_second([time for time, _ in driver.sent]) <= 20
    assert driver.quota.rate == pytest.approx(PACE)
    driver.run(60, "FINISHED")
    assert len(settled(caller)) == 300


def test_ten_thousand_waits_for_one_recording_share_its_request_and_leave_it() -> None:
    """I4, I8: a wait joins and leaves without a look at the others."""
    driver = Driver()
    callers = [driver.wait("t") for _ in range(10_000)]
    driver.advance(1)
    assert len(driver.sent) == 1
    for caller in callers[::2]:
        driver.cancel(caller)
    driver.answer_all("FINISHED")
    assert all(settled(caller) for caller in callers[1::2])
    for caller in callers[1::2]:
        driver.cancel(caller)
    assert not driver.tracker.tasks
    assert len(driver.tracker.agenda) < 200


def test_a_wait_for_another_state_has_a_few_recordings_polled_in_each_interval() -> None:
    driver = Driver()
    terms = Terms(Acceptance(require_videos=False), 5.0, once=False)
    # The processing of two was seen: it takes five minutes.
    processing = driver.tracker.order.processing
    processing.know([1 / 300] * len(processing.edges))
    processing.events = 2
    driver.wait("a", terms=terms)
    driver.run(2)
    sent = len(driver.sent)
    driver.run(20)
    assert len(driver.sent) - sent <= 2
    joined_at = driver.now
    driver.wait("a", terms=replace(terms, until=frozenset({"PAUSED"})))
    driver.run(20)
    assert len([time for time, _ in driver.sent if time > joined_at]) >= 4


def test_a_shorter_interval_does_not_cancel_the_delay_before_a_first_request() -> None:
    driver = Driver()
    driver.wait("t", terms=Terms(TERMS.acceptance, 60.0, once=False), delay=30.0)
    driver.wait("t", terms=TERMS, delay=20.0)
    driver.advance(19)
    assert not driver.sent
    driver.advance(2)
    assert len(driver.sent) == 1


@pytest.mark.parametrize("seed", range(5))
def test_events_come_at_their_time_once_and_not_after_they_were_dropped(seed: int) -> None:
    chance = random.Random(seed)
    agenda = Agenda()
    callers = [Caller(TERMS, 0.0, None) for _ in range(500)]
    planned = {caller: chance.choice([5.0, chance.uniform(0.0, 10.0)]) for caller in callers}
    for caller, at in planned.items():
        agenda.plan(caller, at)
    dropped = set(chance.sample(callers, 300))
    for caller in dropped:
        agenda.forget(caller)
        agenda.forget(caller)
    came: dict[Caller, float] = {}
    now = 0.0
    while agenda.next() < float("inf"):
        now = agenda.next()
        for due in agenda.due(now):
            assert isinstance(due, Caller)
            assert due not in came
            came[due] = now
    assert set(came) == set(callers) - dropped
    assert all(0.0 <= at - planned[caller] <= 1 / 128 for caller, at in came.items())
    assert len(agenda) == 0


def test_a_heartbeat_now_and_then() -> None:
    driver = Driver()
    caller = driver.wait("t")
    beats = 0
    for _ in range(380):
        driver.run(5.0, step=5.0)
        beats += caller.heartbeat_due
        caller.heartbeat_due = False
    assert beats == 3


def test_what_is_kept_of_a_pending_recording_is_small() -> None:
    driver = Driver()
    caller = driver.wait("t")
    driver.advance(0.1)
    driver.answer(driver.in_flight[0], record("t", "RECORDING", raw={"Status": "RECORDING"}))
    seen = only(caller).outcome.record
    assert seen is not None
    assert (seen.status, seen.raw) == ("RECORDING", {})


ANSWERS = st.sampled_from(
    ["PREPARED", "RECORDING", "PAUSED", "STOPPED", "FINISHED", "FINISHED", None]
)
ERRORS = st.sampled_from(
    [
        TransportError("lost"),
        TransportError("lost"),
        DeadlineExceeded("silence"),
        ServerError("Sorry.", code="InternalError"),
        ServerError("A page.", code="Http503"),
        RequestLimitExceeded("Too many."),
        TaskNotFound("Unknown."),
        RecordingFailure("code: 40004, msg: 1, failed"),
        PermissionDenied("No."),
    ]
)
TASKS = st.lists(st.sampled_from([f"t{n}" for n in range(12)]), min_size=1, max_size=6, unique=True)
_FINAL = {Verdict.FINISHED, Verdict.FAILED, Verdict.MISSING}


class WaitsMachine(RuleBasedStateMachine):
    """Any events in any order: nothing is lost, doubled, or sent too often."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        tempfile_before, tempfile.tempdir = tempfile.tempdir, self.folder.name
        try:
            self.host = HostPace("AKID", "host", "DescribeOnlineRecord")
        finally:
            tempfile.tempdir = tempfile_before
        self.driver = Driver(self.host)
        self.all_sent: list[float] = []
        self.callers: list[Caller] = []
        self.deadlines: dict[int, float | None] = {}
        # How each wait ended: once, and with the verdict of an answer.
        self.ends: dict[tuple[int, Key], Verdict | str] = {}
        self.truth: dict[int, Verdict] = {}
        self.asked_for: set[tuple[int, Key]] = set()

    def _take_news(self) -> None:
        for caller in list(self.callers):
            for wait in list(caller.news):
                if wait.settled and wait in caller.waits:
                    self._end(wait, wait.outcome.verdict)
            if caller.expired:
                for wait in self.driver.tracker.expire(caller):
                    self._end(wait, "timeout")
            if not caller.waits:
                self.driver.tracker.close(caller)
                self.callers.remove(caller)

    def _end(self, wait: Wait, how: Verdict | str) -> None:
        """I2: each wait ends once."""
        end = id(wait.caller), wait.task.key
        assert end not in self.ends, "it ended twice"
        self.ends[end] = how
        self.driver.tracker.leave(wait)

    @rule(
        tasks=TASKS,
        timeout=st.sampled_from([None, None, 1.0, 30.0, 4000.0]),
        once=st.sampled_from([False, False, True]),
        delay=st.sampled_from([0.0, 0.0, 10.0]),
    )
    def add(self, tasks: list[str], timeout: float | None, once: bool, delay: float) -> None:
        caller = self.driver.wait(
            *tasks, timeout=timeout, terms=ONCE if once else TERMS, delay=delay
        )
        self.callers.append(caller)
        self.kept = getattr(self, "kept", [])
        # Ids of objects must not be used twice.
        self.kept.append(caller)
        self.asked_for |= {(id(caller), key) for key in keys(caller)}

    @precondition(lambda self: self.callers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        caller = data.draw(st.sampled_from(self.callers))
        self.callers.remove(caller)
        for key in keys(caller):
            self.ends[id(caller), key] = "cancelled"
        self.driver.cancel(caller)

    @rule(seconds=st.sampled_from([0.01, 0.06, 1.0, 1.0, 10.0, 120.0]))
    def advance(self, seconds: float) -> None:
        self.driver.advance(seconds)
        self._take_news()

    @precondition(lambda self: self.driver.in_flight)
    @rule(data=st.data(), status=ANSWERS, ago=st.one_of(st.none(), st.integers(-(10**6), 10**6)))
    def answer(self, data: st.DataObject, status: str | None, ago: int | None) -> None:
        task = data.draw(st.sampled_from(self.driver.in_flight))
        at = None if ago is None else int(self.driver.wall + self.driver.now - ago)
        what = record(task.key[1], status, record_start_time=at, record_stop_time=at)
        waits = list(task.waits)
        self.driver.answer(task, what)
        self._check(waits, Verdict.FINISHED if status == "FINISHED" else None)

    @precondition(lambda self: self.driver.in_flight)
    @rule(data=st.data(), error=ERRORS)
    def fail(self, data: st.DataObject, error: TiwError) -> None:
        task = data.draw(st.sampled_from(self.driver.in_flight))
        waits = list(task.waits)
        self.driver.answer(task, error)
        verdicts: dict[type[TiwError], Verdict] = {
            RecordingFailure: Verdict.FAILED,
            TaskNotFound: Verdict.MISSING,
        }
        self._check(waits, verdicts.get(type(error)))

    def _check(self, waits: list[Wait], final: Verdict | None) -> None:
        for wait in waits:
            if final is not None:
                assert wait.settled
                assert wait.outcome.verdict is final
            elif wait.settled:
                assert wait.outcome.verdict not in _FINAL
        self._take_news()

    @rule(task=st.sampled_from([f"t{n}" for n in range(14)]), what=st.sampled_from("hslu"))
    def hint(self, task: str, what: str) -> None:
        """I10: a hint ends nothing."""
        tracker, now = self.driver.tracker, self.driver.now
        before = dict(self.ends)
        for tracked in tracker.tasks.named(task):
            if what == "h":
                tracker.order.hint(tracked, now)
            elif what == "s":
                tracker.order.expect_stop(tracked, now, now + self.driver.chance.uniform(-60, 600))
            else:
                tracker.order.set_listed(tracked, now, what == "l")
        self._take_news()
        assert self.ends == before

    @rule(seconds=st.sampled_from([-1e9, -3600.0, 3600.0, 1e9]))
    def wall_clock_jumps(self, seconds: float) -> None:
        """I7."""
        self.driver.wall += seconds

    @rule()
    def restart(self) -> None:
        """I9: the process dies and begins again from what a wait is: ids and a deadline."""
        old = self.driver
        self.all_sent += [time for time, _ in old.sent]
        self.driver = Driver(self.host, old.now)
        self.driver.wall = old.wall
        callers, self.callers = self.callers, []
        for caller in callers:
            left = None if caller.deadline == float("inf") else max(caller.deadline - old.now, 0.0)
            again = self.driver.wait(
                *(task_id for _, task_id in keys(caller)), timeout=left, terms=caller.terms
            )
            for key in keys(caller):
                self.ends[id(caller), key] = "resumed"
            self.kept.append(again)
            self.callers.append(again)
            self.asked_for |= {(id(again), key) for key in keys(again)}

    @invariant()
    def no_window_is_over_the_limit(self) -> None:
        """I1, also across restarts."""
        if hasattr(self, "driver"):
            times = self.all_sent + [time for time, _ in self.driver.sent]
            assert most_in_a_second(times[-200:]) <= 20

    @invariant()
    def one_request_in_flight_for_a_recording(self) -> None:
        """I4."""
        if hasattr(self, "driver"):
            keys = [task.key for task in self.driver.in_flight]
            assert len(keys) == len(set(keys))
            assert self.driver.tracker.in_flight == len(keys)

    @invariant()
    def what_is_known_is_what_is_waited_for(self) -> None:
        """I8, I11: nothing is left of what was cancelled, nothing lost in an outage."""
        if not hasattr(self, "driver"):
            return
        waited = {key for caller in self.callers for key in keys(caller)}
        in_flight = {task.key for task in self.driver.in_flight}
        assert waited <= task_keys(self.driver)
        assert task_keys(self.driver) <= waited | in_flight
        assert len(self.driver.tracker.order) == len(self.driver.tracker.tasks)

    def teardown(self) -> None:
        if not hasattr(self, "driver"):
            return
        driver = self.driver
        # I3: the endpoint answers again: each is polled within what the safety share promises.
        driver.answer_all("RECORDING")
        self._take_news()
        waiting = {key for caller in self.callers for key in keys(caller)}
        begin = len(driver.sent)
        bound = 60.0 + 30.0 + len(waiting) / (SAFETY_SHARE * PACE)
        end = driver.now + bound
        while driver.now < end:
            driver.advance(0.2)
            driver.answer_all("RECORDING")
            self._take_news()
        gone = {key for caller in self.callers for key in keys(caller)}
        asked = {key for _, key in driver.sent[begin:]}
        assert (waiting & gone) <= asked
        # I2: and then everything ends.
        while self.callers and driver.now < end + bound:
            driver.advance(0.2)
            driver.answer_all("FINISHED")
            self._take_news()
        assert not self.callers
        assert not driver.tracker.tasks
        assert set(self.ends) == self.asked_for
        self.host.close()
        self.folder.cleanup()


TestWaitsMachine = WaitsMachine.TestCase
TestWaitsMachine.settings = hypothesis_settings(
    max_examples=80, stateful_step_count=50, deadline=None, derandomize=True
)


# What odd answers cost: A5, A6 and D of the field notes.

ODD: list[TiwError] = [
    *[api_error(code, "odd") for code in sorted(CLASS_OF_CODE) if "RequestLimit" not in code],
    api_error("Something.New", "odd"),
    BadAnswer("The answer is about another recording."),
    TiwError("odd"),
    TiwError("odd", retryable=True),
]


@pytest.mark.parametrize("error", ODD, ids=lambda error: error.code)
@pytest.mark.parametrize("order", [("odd", "good"), ("good", "odd")])
@pytest.mark.parametrize("terms", [TERMS, ONCE], ids=["watch", "describe"])
def test_an_odd_answer_affects_its_own_task_only(
    error: TiwError, order: tuple[str, str], terms: Terms
) -> None:
    """I6, in every order of the ids."""
    driver = Driver()
    caller = driver.wait(*order, timeout=60.0, terms=terms)
    for _ in range(200):
        driver.advance(0.5)
        for task in list(driver.in_flight):
            is_odd = task.task_id == "odd"
            driver.answer(task, error if is_odd else record(task.task_id, "FINISHED"))
    ends = {wait.task.task_id: wait.outcome for wait in caller.waits}
    assert ends["good"].verdict is Verdict.FINISHED
    assert ends["odd"].error is not None
    assert ends["odd"].verdict is not Verdict.FINISHED


def test_answers_about_another_recording_never_count_as_an_outage() -> None:
    """A6."""
    driver = Driver()
    driver.wait(*[f"odd{n}" for n in range(6)])
    good = driver.wait("good", delay=20.0)
    for _ in range(60):
        driver.advance(0.5)
        for task in list(driver.in_flight):
            odd = task.task_id.startswith("odd")
            wrong = BadAnswer("Asked for one, the answer is about another.")
            driver.answer(task, wrong if odd else record(task.task_id, "FINISHED"))
        assert driver.tracker.breaker.down_since is None
    assert next(iter(good.waits)).outcome.verdict is Verdict.FINISHED


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (TransportError("no connection"), True),
        (DeadlineExceeded("no answer"), True),
        (ServerError("page", code="Http502"), True),
        (TransportError("refused", code="ProxyError"), True),
        (ServerError("its own"), False),
        (BadAnswer("cut"), False),
        (api_error("FailedOperation", "odd"), False),
        (api_error("Brand.New", "odd"), False),
        (TiwError("no thread", code="NoThread", retryable=True), False),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_only_failed_connections_and_error_pages_count_as_an_outage(
    error: TiwError, counts: bool
) -> None:
    """A6."""
    driver = Driver()
    driver.wait(*[f"r{n}" for n in range(12)])
    driver.advance(2.0)
    driver.answer_all(error)
    assert (driver.tracker.breaker.down_since is not None) is counts


def no_descriptor() -> TransportError:
    error = TransportError("It could not be reached: too many open files.")
    error.__cause__ = OSError(errno.EMFILE, "too many open files")
    return error


def is_down(driver: Driver) -> bool:
    return driver.tracker.breaker.down_since is not None


def test_a_machine_without_descriptors_does_not_count_as_an_outage() -> None:
    """D."""
    driver = Driver()
    caller = driver.wait(*[f"r{n}" for n in range(12)])
    driver.advance(2.0)
    driver.answer_all(no_descriptor())
    assert not is_down(driver)
    assert not any(wait.settled for wait in caller.waits)
    # Nor does it end an outage.
    driver.advance(60.0)
    driver.answer_all(TransportError("gone"))
    assert is_down(driver)
    driver.advance(60.0)
    driver.answer_all(no_descriptor())
    assert is_down(driver)
    assert driver.tracker.breaker.probe_at > driver.now


@pytest.mark.parametrize(("count", "shown"), [(1, " 1 wait goes on;"), (2, " 2 waits go on;")])
def test_the_warning_of_an_outage_counts_waits(
    count: int, shown: str, caplog: pytest.LogCaptureFixture
) -> None:
    driver = Driver()
    driver.wait(*[f"r{n}" for n in range(count)])
    while not is_down(driver):
        driver.advance(10.0)
        driver.answer_all(TransportError("gone"))
    assert shown in caplog.text


def wrong_certificate() -> TransportError:
    return TransportError("certificate has expired", code="TlsError", retryable=False)


def test_a_certificate_that_is_wrong_for_a_moment_ends_no_wait() -> None:
    """D: it had been right before."""
    driver = Driver()
    caller = driver.wait(*[f"r{n}" for n in range(12)])
    driver.advance(2.0)
    driver.answer_all("RECORDING")
    for _ in range(20):
        driver.advance(10.0)
        driver.answer_all(wrong_certificate())
    assert not any(wait.settled for wait in caller.waits)
    assert len(driver.sent) < 150
    for _ in range(30):
        driver.advance(10.0)
        driver.answer_all("FINISHED")
    assert {wait.outcome.verdict for wait in caller.waits} == {Verdict.FINISHED}


def test_a_certificate_that_was_never_right_is_a_refusal_at_once() -> None:
    """D."""
    driver = Driver()
    caller = driver.wait(*[f"r{n}" for n in range(12)])
    began = driver.now
    while not all(wait.settled for wait in caller.waits):
        driver.advance(0.5)
        driver.answer_all(wrong_certificate())
        assert driver.now - began < 10.0
    assert {wait.outcome.verdict for wait in caller.waits} == {Verdict.UNKNOWN}
    assert Counter(key for _, key in driver.sent).most_common(1)[0][1] == 1


# Recordings that no caller knows: F3 of the field notes.

UNCONFIRMED = Terms(Acceptance(require_videos=False), 2.0, once=False, unconfirmed=True)


def answers(driver: Driver, seconds: float, finished: Callable[[str], bool]) -> None:
    end = driver.now + seconds
    while driver.now < end:
        driver.advance(0.05)
        for task in list(driver.in_flight):
            status = "FINISHED" if finished(task.task_id) else "RECORDING"
            driver.answer(task, record(task.task_id, status))


def test_a_flood_of_unconfirmed_ids_takes_a_tenth_while_others_are_due() -> None:
    """F3."""
    driver = Driver()
    driver.wait(*[f"lesson{n}" for n in range(2000)])
    answers(driver, 5.0, lambda _: False)
    before = len(driver.sent)
    driver.wait(*[f"forged{n}" for n in range(300)], terms=UNCONFIRMED)
    answers(driver, 60.0, lambda _: False)
    asked = [key[1].startswith("forged") for _, key in driver.sent[before:]]
    assert len(asked) / 60 == pytest.approx(PACE, rel=0.1)
    assert 0.08 <= sum(asked) / len(asked) <= 0.105


def test_a_genuine_burst_is_polled_within_its_tenth() -> None:
    """F3: two hundred lessons that end on the hour, beside a thousand that go on."""
    driver = Driver()
    driver.wait(*[f"lesson{n}" for n in range(1000)])
    answers(driver, 5.0, lambda _: False)
    caller = driver.wait(*[f"ended{n}" for n in range(200)], terms=UNCONFIRMED)
    answers(driver, 200 / (PACE / 10) + 10, lambda task_id: task_id.startswith("ended"))
    assert {wait.outcome.verdict for wait in caller.waits} == {Verdict.FINISHED}


def test_unconfirmed_ids_may_use_everything_while_nothing_else_is_due() -> None:
    """F3."""
    driver = Driver()
    caller = driver.wait(*[f"ended{n}" for n in range(200)], terms=UNCONFIRMED)
    answers(driver, 200 / PACE + 1, lambda _: True)
    assert all(wait.settled for wait in caller.waits)
    # A wait that comes then is polled at once: the tokens that they took are no debt.
    driver.cancel(caller)
    more = driver.wait(*[f"again{n}" for n in range(200)], terms=UNCONFIRMED)
    answers(driver, 3.0, lambda _: False)
    driver.wait("lesson")
    answers(driver, 0.3, lambda _: False)
    assert "lesson" in {key[1] for _, key in driver.sent}
    driver.cancel(more)
    assert not len(driver.tracker.unconfirmed)


def test_beside_waits_of_other_processes_they_have_their_budget_only() -> None:
    """F3."""
    driver = Driver()
    driver.tracker.others_wait = True
    driver.wait(*[f"forged{n}" for n in range(300)], terms=UNCONFIRMED)
    answers(driver, 30.0, lambda _: False)
    assert len(driver.sent) / 30 == pytest.approx(PACE / 10, rel=0.1)


@pytest.mark.parametrize("when", ["waiting", "in flight", "resting"])
def test_a_wait_that_joins_confirms_a_recording(when: str) -> None:
    """F3."""
    driver = Driver()
    driver.tracker.others_wait = True
    driver.wait(*[f"forged{n}" for n in range(50)], terms=UNCONFIRMED)
    if when != "waiting":
        while not any(key[1] == "forged7" for _, key in driver.sent):
            driver.advance(0.5)
            if when == "resting":
                driver.answer_all("RECORDING")
    caller = driver.wait("forged7")
    task = next(iter(caller.waits)).task
    assert not task.unconfirmed
    assert (len(driver.tracker.order), len(driver.tracker.unconfirmed)) == (1, 49)
    answers(driver, 3.0, lambda task_id: task_id == "forged7")
    assert next(iter(caller.waits)).outcome.verdict is Verdict.FINISHED
    assert driver.tracker.tasks.get(task.key) is None
    assert (len(driver.tracker.order), len(driver.tracker.unconfirmed)) == (0, 49)


def test_nothing_is_learned_from_unconfirmed_answers() -> None:
    """F3."""
    driver = Driver()
    driver.wait("lesson")
    rates = list(driver.tracker.order.recording.rates)
    driver.wait(*[f"forged{n}" for n in range(100)], terms=UNCONFIRMED)
    answers(driver, 60.0, lambda task_id: task_id.startswith("forged"))
    assert driver.tracker.order.recording.events == PollOrder().recording.events
    assert list(driver.tracker.order.recording.rates) == rates


def test_thousands_of_events_of_one_moment_come_in_slices() -> None:
    agenda = Agenda()
    callers = [Caller(TERMS, 1000.0, 5.0) for _ in range(1000)]
    for caller in callers:
        agenda.plan(caller, 1005.0)
    for caller in callers[::3]:
        agenda.forget(caller)
    found = []
    slices = 0
    while agenda.next() <= 1005.0:
        batch = agenda.due(1005.0)
        assert len(batch) <= 250
        found += batch
        slices += 1
    assert slices >= 3
    assert found == [caller for number, caller in enumerate(callers) if number % 3]
    assert len(agenda) == 0


def test_a_budget_follows_its_rate_at_once_and_saves_half_a_token() -> None:
    budget = Budget(1 / 60)
    budget.take(1000.0)
    assert budget.next_at == pytest.approx(1030.0)
    budget.take(1000.0)
    assert budget.next_at == pytest.approx(1060.0)
    budget.rate = 2.0
    assert budget.next_at == pytest.approx(1000.5)
    # A token that was taken before it was available is no debt.
    for _ in range(10):
        budget.take(1000.1)
    assert budget.next_at == pytest.approx(1000.6)
