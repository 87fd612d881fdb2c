# SPDX-License-Identifier: Apache-2.0
"""How a host's pace is divided, and what a file that cannot be used costs."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import Quota
from tiw_automation.core.quota import host as host_module, quota as quota_module
from tiw_automation.core.quota.host import Demand, HostPace, parts
from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.pace_file import ProcessRow
from tiw_automation.core.quota.quota import WantedRate, shared_quota

PACE = 19.0
ANY_PACE = float("inf")


class Clock:
    def __init__(self, now: float = 100.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert 0 < seconds < 150
        self.now += seconds


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(host_module, "_warned", set())
    return tmp_path / f"tiw-automation-{os.geteuid()}"


@pytest.fixture
def neighbours() -> Iterator[list[int]]:
    """Ids of processes that are alive as long as the test runs."""
    found = [subprocess.Popen(["sleep", "60"]) for _ in range(3)]
    yield [process.pid for process in found]
    for process in found:
        process.kill()
        process.wait()


def row(
    waits: float, unconfirmed: float = 0, wanted: float = ANY_PACE, share: float = 1.0
) -> ProcessRow:
    return ProcessRow(1, 1, 0.0, waits, unconfirmed, min(wanted, 1e6), PACE * share, share)


@pytest.mark.parametrize(
    ("processes", "expected"),
    [
        pytest.param([row(700), row(300)], [0.7, 0.3], id="in proportion"),
        pytest.param([row(300, share=0.2), row(100)], [0.2, 0.8], id="a flood with a share"),
        pytest.param([row(1, share=0.2), row(100)], [0.01, 0.99], id="a share that is not used"),
        pytest.param([row(300, wanted=1.9), row(100)], [0.1, 0.9], id="what one leaves"),
        pytest.param([row(100, wanted=1.9), row(100, wanted=1.9)], [0.5, 0.5], id="both idle"),
        pytest.param([row(0, 300), row(100)], [0.1, 0.9], id="unconfirmed ones"),
        pytest.param([row(0, 300), row(100, wanted=3.8)], [0.8, 0.2], id="others idle"),
        pytest.param([row(0, 300), row(0, 100)], [0.75, 0.25], id="all are unconfirmed"),
        pytest.param([row(0, 300, share=0.05), row(100)], [0.05, 0.95], id="both limits"),
        pytest.param([row(100, 300), row(100)], [0.55, 0.45], id="both kinds in one"),
        pytest.param([row(9, share=0.2), row(9, share=0.3)], [0.2, 0.3], id="shares alone"),
    ],
)
def test_parts(processes: list[ProcessRow], expected: list[float]) -> None:
    pace = PACE
    assert [part.whole for part in parts(processes, pace)] == pytest.approx(expected, abs=0.006)


def test_waits_that_would_use_the_whole_share_leave_a_tenth_to_unconfirmed_recordings() -> None:
    mine, other = parts([row(100, 100, share=0.2), row(100)], PACE)
    assert (mine.waits, mine.unconfirmed) == pytest.approx((0.18, 0.02))
    assert other.whole == pytest.approx(0.8)


def test_a_few_unconfirmed_recordings_reserve_less_than_a_tenth() -> None:
    first, second = parts([row(0, 1), row(100)], PACE)
    assert first.unconfirmed == pytest.approx(1 / PACE)
    assert second.waits == pytest.approx(1 - 1 / PACE)


def simulated(quotas: list[Quota], clock: Clock, seconds: float, uses: list[float]) -> list[float]:
    """Let processes take slots for a while; return the requests a second of each.

    :param uses: how many a second each would send.
    """
    start = clock.now
    sent = [0] * len(quotas)
    next_at = [clock.now] * len(quotas)
    free_at = [clock.now] * len(quotas)
    reserved: list[float | None] = [None] * len(quotas)
    while clock.now < start + seconds:
        clock.now += 0.002
        for number, quota in enumerate(quotas):
            if clock.now < max(next_at[number], free_at[number]):
                continue
            slot = reserved[number]
            if slot is None:
                next_at[number] = reserved[number] = quota.reserve()
            else:
                used = quota.use(slot)
                assert used is not None
                sent[number] += 1
                reserved[number], next_at[number] = None, used
                free_at[number] = used + 1 / uses[number]
    return [count / seconds for count in sent]


def test_a_flood_with_a_share_costs_the_others_at_most_a_fifth(neighbours: list[int]) -> None:
    """F3: TIW_QUOTA_SHARE=0.2 in the process of the flood, nothing in the other."""
    clock = Clock()
    hosts = [HostPace("id", "host", "A") for _ in range(2)]
    for host, pid in zip(hosts, neighbours, strict=False):
        host._pid = pid
    flood, other = (
        Quota(PACE, 0.2, clock=clock, host=hosts[0]),
        Quota(PACE, clock=clock, host=hosts[1]),
    )
    flood.demand("flood", 300)
    other.demand("other", 100)
    simulated([flood, other], clock, 3.0, [1e9, 1e9])
    rates = simulated([flood, other], clock, 40.0, [1e9, 1e9])
    assert rates[0] == pytest.approx(0.2 * PACE, rel=0.05)
    assert rates[1] >= 0.8 * PACE * 0.97
    # The other may use what the flood leaves.
    flood.demand("flood", 0)
    flood.demand("small", 3, wanted=1.0)
    simulated([flood, other], clock, 3.0, [0.5, 1e9])
    rates = simulated([flood, other], clock, 40.0, [0.5, 1e9])
    assert sum(rates) == pytest.approx(PACE, rel=0.04)


def test_unconfirmed_recordings_of_one_process_leave_the_waits_of_another_nine_tenths(
    neighbours: list[int],
) -> None:
    """F3: without any share."""
    clock = Clock()
    hosts = [HostPace("id", "host", "A") for _ in range(2)]
    for host, pid in zip(hosts, neighbours, strict=False):
        host._pid = pid
    receiver, triggerer = (Quota(PACE, clock=clock, host=host) for host in hosts)
    receiver.demand("posts", 0, unconfirmed=300)
    triggerer.demand("waits", 100)
    simulated([receiver, triggerer], clock, 3.0, [1e9, 1e9])
    rates = simulated([receiver, triggerer], clock, 40.0, [1e9, 1e9])
    assert rates[0] == pytest.approx(PACE / 10, rel=0.07)
    assert rates[1] == pytest.approx(0.9 * PACE, rel=0.05)
    assert receiver.others_wait
    assert not triggerer.others_wait
    assert receiver.unconfirmed_rate == pytest.approx(PACE / 10)


def test_waits_that_are_always_due_would_use_any_pace() -> None:
    rate, now = WantedRate(), 100.0
    rate.idle(now)
    for _ in range(20):
        now += 0.2
        rate.sent(now)
        rate.idle(now)
    assert rate.wanted(now) == pytest.approx(1.5 * 5 + 1, abs=1.0)
    assert rate.wanted(now + 0.4) < 10
    assert rate.wanted(now + 0.6) == ANY_PACE


# A file that cannot be used: C8 and C9.


def no_space(*_: Any) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def half_written(file: int, data: bytes, offset: int) -> int:
    return len(data) // 2


FAULTS: dict[str, Any] = {
    "full disk": ("pwrite", no_space),
    "almost full disk": ("pwrite", half_written),
    "bad sector": ("pread", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "I/O error"))),
    "no descriptor": ("open", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many"))),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_process_that_cannot_use_the_file_paces_itself_and_tries_again_later(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    quota = Quota(PACE, clock=clock, host=HostPace("id", "host", "A"))
    quota.acquire(clock.sleep)
    tried = []
    take = HostPace.take

    def counted(self: HostPace, now: float, *given: Any) -> Any:
        tried.append(now)
        return take(self, now, *given)

    monkeypatch.setattr(HostPace, "take", counted)
    with monkeypatch.context() as broken:
        broken.setattr(os, *FAULTS[fault])
        start = clock.now
        for _ in range(4000):
            quota.acquire(clock.sleep)
        # The quota waits for the file once, for a second; then it leaves it alone for 30, 60 and
        # 120 seconds.
        assert (clock.now - start - 1.0) * PACE == pytest.approx(4000, rel=0.01)
    assert len([r for r in caplog.records if r.levelno >= logging.WARNING]) == 1
    assert "not shared" in caplog.text
    later = sorted({round(at - start) for at in tried if at > start + 2})
    assert later == pytest.approx([31, 91, 211], abs=3)
    # The file is usable again, and the pace is shared again.
    clock.now += 1800
    for _ in range(20):
        quota.acquire(clock.sleep)
    neighbour = HostPace("id", "host", "A").take(clock.now, Pace(PACE), Demand(waits=1))
    assert neighbour.number >= 20
    quota.close()


def test_a_real_full_disk_raises_no_signal(tmp_path: Path) -> None:
    """C8: a file size limit stands for a full disk; it could end the process by a signal."""
    script = (
        "import resource, signal, sys, tempfile, os\n"
        "from tiw_automation.core.quota.quota import shared_quota\n"
        "tempfile.tempdir = sys.argv[1]\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "quota = shared_quota('AKIDfull', 'h', 'A', 100.0)\n"
        "print(len([quota.acquire() for _ in range(30)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "30"), done.stderr
    assert done.stderr.count("not shared") <= 1


@pytest.mark.parametrize("length", [0, 1, 40, 64, 2112, 5000])
def test_a_file_that_is_truncated_meanwhile_costs_no_time(length: int) -> None:
    clock = Clock()
    host = HostPace("id", "host", "A")
    quota = Quota(PACE, clock=clock, host=host)
    for _ in range(5):
        quota.acquire(clock.sleep)
    os.truncate(host.path, length)
    start = clock.now
    for _ in range(20):
        quota.acquire(clock.sleep)
    assert 0.8 <= clock.now - start <= 3.0
    quota.close()


def test_three_hundred_accounts_keep_no_descriptor() -> None:
    """D."""
    before = len(os.listdir("/proc/self/fd"))
    for number in range(300):
        shared_quota(f"AKIDrotated{number}", "h", "A", 1000).acquire()
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_quotas_of_accounts_that_are_no_longer_used_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """D."""
    monkeypatch.setattr(quota_module, "_quotas", {})
    monkeypatch.setattr(quota_module, "_IDLE_S", -1.0)
    waits = shared_quota("AKIDwaits", "h", "A", 1000)
    waits.demand("watcher", 1)
    for number in range(300):
        shared_quota(f"AKIDrotated{number}", "h", "A", 1000).acquire()
    assert len(quota_module._quotas) <= 66
    assert shared_quota("AKIDwaits", "h", "A", 1000) is waits


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_that_is_forked_while_the_file_is_held_can_take_turns() -> None:
    """The child does not inherit the lock of a thread that takes a slot, nor its file."""
    quota = shared_quota("AKIDforked", "h", "A", 1000)
    quota.acquire()
    host = quota._host._host
    assert host is not None
    inside, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with quota._lock, host._file.change(0.0, 1.0, 20):
            inside.set()
            leave.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert inside.wait(10)
    child = os.fork()
    if child == 0:
        fresh = shared_quota("AKIDforked", "h", "A", 1000)
        released = host._file._file == -1 and fresh is not quota
        # The child waits at most a second for the file that the parent holds.
        os._exit(0 if released and fresh.reserve() and fresh.acquire() else 1)
    leave.set()
    holder.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
