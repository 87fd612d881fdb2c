# SPDX-License-Identifier: Apache-2.0
"""When requests leave: evenly, within the limit of each second, with and without a host."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import logging
import math
import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from quotas import Clock, most_in_a_second, take, used

from tiw_automation.core import ConfigurationError, Quota
from tiw_automation.core.quota import host as host_module
from tiw_automation.core.quota.host import HostPace
from tiw_automation.core.quota.pace_file import Contents
from tiw_automation.core.quota.quota import Slot, WantedRate, shared_quota


@contextlib.contextmanager
def held(host: HostPace) -> Iterator[None]:
    """Hold the host's file, as another process does."""
    holder = os.open(host.path, os.O_RDWR)
    try:
        fcntl.flock(holder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(holder)


def first_stamp(host: HostPace) -> float:
    data = Path(host.path).read_bytes()
    return Contents.read(data, 1e9, 1.0).stamps[0]


def test_slots_are_evenly_spaced_also_after_an_idle_time() -> None:
    """I1."""
    clock = Clock()
    quota = Quota(19, clock=clock)
    sent = []
    for pause in [0.0] * 100 + [60.0] + [0.0] * 100:
        clock.now += pause
        quota.acquire(clock.sleep)
        sent.append(clock.now)
    assert most_in_a_second(sent) <= 20
    gaps = [b - a for a, b in itertools.pairwise(sent) if b - a < 50]
    assert min(gaps) >= 1 / 19 - 0.0051
    assert sent[99] - sent[0] == pytest.approx(99 / 19, abs=0.01)


def test_late_timers_do_not_lose_the_pace() -> None:
    clock = Clock()
    quota = Quota(20, clock=clock)
    for _ in range(200):
        slot = quota.reserve()
        # Every timer wakes up three milliseconds late.
        clock.now = max(clock.now, slot) + 0.003
    assert (clock.now - 100) * 20 == pytest.approx(200, rel=0.02)


def test_a_released_slot_is_reserved_again() -> None:
    quota = Quota(10, clock=Clock())
    first = quota.reserve()
    second = quota.reserve()
    quota.release(second)
    assert quota.reserve() == second
    quota.release(first)
    assert quota.reserve() > second


def test_threads_never_share_a_slot() -> None:
    """I1, from several threads at once."""
    quota = Quota(1000, clock=Clock())
    slots: list[float] = []
    threads = [
        threading.Thread(target=lambda: slots.extend(quota.reserve() for _ in range(200)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(slots)) == 1600


@pytest.mark.parametrize("pace", [0, -1, float("nan")])
def test_a_pace_must_be_above_zero(pace: float) -> None:
    with pytest.raises(ConfigurationError, match="requests_per_second"):
        Quota(pace)


def test_one_quota_for_an_account_host_and_action(caplog: pytest.LogCaptureFixture) -> None:
    one = shared_quota("AKIDa", "h", "DescribeOnlineRecord", 19)
    assert shared_quota("AKIDa", "h", "DescribeOnlineRecord", 19) is one
    assert shared_quota("AKIDb", "h", "DescribeOnlineRecord", 19) is not one
    assert shared_quota("AKIDa", "other", "DescribeOnlineRecord", 19) is not one
    assert shared_quota("AKIDa", "h", "StopOnlineRecord", 19) is not one
    with caplog.at_level(logging.INFO):
        assert shared_quota("AKIDa", "h", "DescribeOnlineRecord", 5) is one
    assert one.requests_per_second == pytest.approx(5)
    assert "from 19 to 5" in caplog.text


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_starts_empty() -> None:
    mine = shared_quota("AKIDfork", "h", "DescribeOnlineRecord", 19)
    child = os.fork()
    if child == 0:
        fresh = shared_quota("AKIDfork", "h", "DescribeOnlineRecord", 19)
        os._exit(0 if fresh is not mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("share", [0, -0.5, 1.5, float("nan")])
def test_a_share_must_be_above_zero_and_at_most_one(share: float) -> None:
    with pytest.raises(ConfigurationError, match="TIW_QUOTA_SHARE"):
        Quota(19, share)


LINES = pytest.mark.parametrize(
    ("middle_s", "spread_s", "least_rate"),
    [(0.0, 0.0, 0.98), (0.05, 0.02, 0.98), (0.3, 0.12, 0.82)],
)


def arrivals_on_a_line(
    quota: Quota,
    clock: Clock,
    middle_s: float,
    spread_s: float,
    stall: Callable[[random.Random], float] = lambda chance: 0.0,
) -> list[float]:
    """Send for five minutes, and return when each request arrives.

    :param stall: for how long the process does not run between a slot and its request.
    """
    chance = random.Random(1)
    quota.expect_answers()
    arrivals: list[float] = []
    under_way: list[tuple[float, float]] = []
    start = clock.now
    while clock.now < start + 300:
        slot = quota.reserve()
        # Every timer wakes up a little late.
        clock.now = max(clock.now, slot) + chance.uniform(0.0, 0.002)
        slot = used(quota, slot)
        clock.now = max(clock.now, slot) + stall(chance)
        landed = clock.now + chance.uniform(middle_s - spread_s, middle_s + spread_s)
        arrivals.append(landed)
        under_way.append((landed, slot))
        for landed, sent in [item for item in under_way if item[0] <= clock.now]:
            under_way.remove((landed, sent))
            quota.answered(sent, landed - sent)
    return arrivals


@LINES
@pytest.mark.parametrize("pace", [19.0, 20.0])
def test_jitter_on_the_way_never_exceeds_the_servers_limit(
    pace: float, middle_s: float, spread_s: float, least_rate: float
) -> None:
    """I1."""
    clock = Clock()
    arrivals = arrivals_on_a_line(Quota(pace, clock=clock), clock, middle_s, spread_s)
    assert most_in_a_second(arrivals) <= 20
    assert len(arrivals) / 300 >= least_rate * min(pace, 19.4)


def seldom_run(chance: random.Random) -> float:
    return chance.uniform(0.03, 0.9) if chance.random() < 0.02 else 0.0


@LINES
@pytest.mark.parametrize("shared", [False, True])
def test_a_process_that_does_not_run_for_a_while_never_exceeds_the_servers_limit(
    shared: bool, middle_s: float, spread_s: float, least_rate: float, folder: Path
) -> None:
    """I1."""
    clock = Clock()
    host = HostPace("id", "host", "A") if shared else None
    quota = Quota(19.0, clock=clock, store=host)
    arrivals = arrivals_on_a_line(quota, clock, middle_s, spread_s, seldom_run)
    assert most_in_a_second(arrivals) <= 20
    quota.close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_request_without_an_answer_counts_as_arriving_now(shared: bool, folder: Path) -> None:
    """I1; it uses one arrival of a second, and the pace stays."""
    clock = Clock()
    host = HostPace("id", "host", "action") if shared else None
    quota = Quota(19, clock=clock, store=host)
    quota.expect_answers()
    arrivals: list[float] = []
    unanswered: list[float] = []
    for number in range(400):
        clock.now = max(clock.now, quota.reserve())
        slot = used(quota, clock.now)
        clock.now = max(clock.now, slot)
        for sent in [sent for sent in unanswered if sent + 0.95 <= clock.now]:
            unanswered.remove(sent)
            quota.answered(sent, 0.95)
        # Three of a hundred arrive together with those that left almost a second later.
        if number > 100 and number % 100 < 3:
            unanswered.append(slot)
            arrivals.append(slot + 0.94)
        else:
            quota.answered(slot, 0.01)
            arrivals.append(slot + 0.005)
    assert most_in_a_second(arrivals) <= 20
    assert 399 / (clock.now - 100) >= 18


def test_a_refusal_lowers_the_pace_and_it_recovers() -> None:
    clock = Clock()
    quota = Quota(19, clock=clock)
    for _ in range(10):
        # What was sent within one second counts once.
        quota.rejected()
        clock.now += 0.05
    # A single refusal is soon forgotten.
    assert quota.rate == pytest.approx(19 * 0.9, rel=0.01)
    clock.now += 19
    assert quota.rate == pytest.approx(19)
    for expected in (0.9, 0.63, 0.45):
        quota.rejected()
        assert quota.rate == pytest.approx(19 * expected, rel=0.03)
        clock.now += 1
    clock.now += 120
    assert quota.rate == pytest.approx(19)
    for _ in range(100):
        clock.now += 1.5
        quota.rejected()
    assert quota.rate > 0.9


def test_two_clients_of_an_account_settle_below_its_limit() -> None:
    # The other one uses 10 a second of the 20 and never slows down.
    clock = Clock()
    quota = Quota(19, clock=clock)
    chance = random.Random(2)
    start = clock.now
    rejects = sent = 0
    seconds: dict[int, int] = {}
    while clock.now < start + 600:
        quota.acquire(clock.sleep)
        second = int(clock.now)
        taken = seconds.get(second, 10)
        sent += 1
        if taken >= 20:
            rejects += 1
            clock.now += chance.uniform(0, 0.01)
            quota.rejected()
        else:
            seconds[second] = taken + 1
    assert rejects / sent < 0.05
    assert (sent - rejects) / 600 > 6.5


def test_without_the_file_the_configured_share_is_used_with_one_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("in the way")
    for number in range(3):
        quota = shared_quota(f"AKIDalone{number}", "h", "A", 20, 0.25)
        assert quota.rate == pytest.approx(5)
        quota.acquire()
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "TIW_QUOTA_SHARE" in warnings[0].message


def test_a_file_that_stays_locked_blocks_no_process(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = HostPace("id", "host", "A")
    clock = Clock()
    quota = Quota(19, clock=clock, store=host)
    start = clock.now
    with held(host):
        for _ in range(100):
            quota.acquire(clock.sleep)
    # The quota waits for the file once, for a second.
    assert (clock.now - start - 1.0) * 19 == pytest.approx(99, rel=0.05)
    assert "not shared" in caplog.text


def test_a_process_that_finds_the_file_held_tries_again_and_takes_no_slot_without_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I1, where the process that holds the file waits for a processor."""
    monkeypatch.setattr(host_module, "_LEASE_S", 0.0)
    clock = Clock()
    host = HostPace("id", "host", "A")
    quota = Quota(19, clock=clock, store=host)
    slots = [quota.acquire(clock.sleep)]
    for _ in range(20):
        with held(host):
            slot = quota.reserve()
            clock.now = max(clock.now, slot)
            assert quota.use(slot) is None
            clock.now += 0.01
        slots.append(used(quota, slot))
    other = HostPace("id", "host", "A")
    assert take(other, clock.now).number == 21
    assert all(later - earlier > 0.047 for earlier, later in itertools.pairwise(slots))
    quota.close()


def test_an_arrival_that_cannot_be_noted_at_once_is_noted_with_the_next_slot(folder: Path) -> None:
    clock = Clock()
    host = HostPace("id", "host", "A")
    quota = Quota(19, clock=clock, store=host)
    quota.expect_answers()
    slot = quota.acquire(clock.sleep)
    clock.now += 0.8
    with held(host):
        quota.answered(slot, 0.8)
    quota.acquire(clock.sleep)
    assert first_stamp(host) == pytest.approx(slot + 0.81, abs=0.02)
    quota.close()


def test_an_overdue_answer_is_noted_once_the_file_is_free(folder: Path) -> None:
    clock = Clock()
    host = HostPace("id", "host", "A")
    quota = Quota(19, clock=clock, store=host)
    quota.expect_answers()
    silent = quota.acquire(clock.sleep)
    clock.now += 2.0
    with held(host):
        slot = quota.reserve()
        assert quota.use(slot) is None
    used(quota, slot)
    assert first_stamp(host) == pytest.approx(silent + 1.01, abs=0.001)
    quota.close()


@pytest.mark.parametrize("shared", [False, True])
def test_a_request_that_would_leave_too_late_takes_another_slot(shared: bool, folder: Path) -> None:
    """I1, where a process does not run for longer than a request can count as late."""
    clock = Clock()
    host = HostPace("id", "host", "A") if shared else None
    quota = Quota(19, clock=clock, store=host)
    chance = random.Random(2)
    left: list[float] = []
    waiting: list[tuple[float, float]] = []
    for _ in range(2000):
        slot = quota.acquire(clock.sleep)
        # One in fifty does not run for seconds; meanwhile the others continue.
        late_s = chance.uniform(1.0, 5.0) if chance.random() < 0.02 else chance.uniform(0, 0.01)
        waiting.append((slot + late_s, slot))
        waiting.sort()
        while waiting and waiting[0][0] <= clock.now + 0.05:
            due, taken = waiting.pop(0)
            clock.now = max(clock.now, due)
            renewed = quota.renew(taken, clock.sleep)
            left.append(max(clock.now, renewed))
    assert most_in_a_second(left) <= 20
    assert len(left) / (clock.now - 100) > 17
    quota.close()


def test_a_slot_is_valid_for_one_request_in_time() -> None:
    clock = Clock()
    quota = Quota(19, clock=clock)
    slot = Slot(quota, quota.acquire(clock.sleep))
    first = slot.time
    clock.now += 0.2
    slot.renew()
    assert slot.time == first
    quota.expect_answers()
    for _ in range(100):
        quota.answered(0.0, 0.03)
    # Where the durations of requests are known, the limit is stricter.
    slot.renew()
    assert slot.time > first


def test_a_folder_that_is_removed_is_made_again_and_costs_no_slot(folder: Path) -> None:
    clock = Clock()
    quota = Quota(19, clock=clock, store=HostPace("id", "host", "A"))
    slots = [quota.acquire(clock.sleep) for _ in range(5)]
    shutil.rmtree(folder)
    # It is noticed at the end of the slots that were taken at once.
    slots += [quota.acquire(clock.sleep) for _ in range(15)]
    assert list(folder.glob("*.pace"))
    assert all(later - earlier > 0.04 for earlier, later in itertools.pairwise(slots))
    quota.close()


def test_a_folder_that_cannot_be_made_again_blocks_no_process(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    quota = Quota(19, clock=clock, store=HostPace("id", "host", "A"))
    quota.acquire(clock.sleep)
    shutil.rmtree(folder)
    folder.write_text("in the way")
    start = clock.now
    for _ in range(100):
        quota.acquire(clock.sleep)
    # The quota waits for the file once, for a second.
    assert (clock.now - start - 1.0) * 19 == pytest.approx(100, rel=0.05)
    assert caplog.text.count("not shared") == 1
    quota.close()


PROCESS = """
import sys, time
from tiw_automation.core.quota.quota import shared_quota
import tempfile
tempfile.tempdir = sys.argv[1]
quota = shared_quota("AKIDfour", "h", "A", 40.0)
quota.demand("test", int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + 3.0
while time.monotonic() < end:
    quota.acquire()
    print(time.monotonic(), flush=True)
"""


def test_four_real_processes_share_one_pace(tmp_path: Path) -> None:
    """I1, for a group of processes."""
    weights = [70, 10, 10, 10]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(tmp_path), str(weight)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for weight in weights
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=30)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes)
    sent = [[float(line) for line in output.split()] for output in outputs]
    together = sorted(itertools.chain(*sent))
    # A pace of 40 allows 40 within a second; what is measured here is after the sleep.
    assert most_in_a_second(together) <= 44
    counts = [len(times) for times in sent]
    assert counts[0] > 3 * max(counts[1:])
    assert min(counts) > 0


def test_waits_that_are_always_due_would_use_any_pace() -> None:
    rate, now = WantedRate(), 100.0
    rate.idle(now)
    for _ in range(20):
        now += 0.2
        rate.sent(now)
        rate.idle(now)
    assert rate.wanted(now) == pytest.approx(1.5 * 5 + 1, abs=1.0)
    assert rate.wanted(now + 0.4) < 10
    assert rate.wanted(now + 0.6) == math.inf
