# SPDX-License-Identifier: Apache-2.0
"""How a host's processes share its pace, and what a file that cannot be used costs."""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from quotas import Clock, most_in_a_second, take, two_processes, used

from tiw_automation.core import Quota
from tiw_automation.core.quota import pace_file as pace_file_module, quota as quota_module
from tiw_automation.core.quota.host import HostPace
from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.pace_file import close_idle_files
from tiw_automation.core.quota.parts import Demand, ProcessRow, parts
from tiw_automation.core.quota.quota import shared_quota

PACE = 19.0
ANY_PACE = float("inf")


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


def test_processes_of_a_host_keep_to_one_pace(folder: Path) -> None:
    """I1, for a group of processes."""
    one, two = two_processes()
    times = [1000.0]
    for number in range(100):
        # Each process comes when the last slot was just used.
        times.append(take((one, two)[number % 2], times[-1]).time)
    times = times[1:]
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert min(gaps) == pytest.approx(1 / 19)
    assert most_in_a_second(times) <= 20
    one.close()
    two.close()


def test_a_host_s_pace_is_shared_in_proportion_to_the_waits(folder: Path) -> None:
    one, two = two_processes()
    take(one, 1000.0, waits=700)
    take(two, 1000.1, waits=300)
    first = take(one, 1000.2, waits=700)
    second = take(two, 1000.3, waits=300)
    assert [first.part, second.part] == pytest.approx([0.7, 0.3])
    # A process that takes no more slots leaves its part to the other.
    later = take(one, 1010.0, waits=700)
    assert later.part == 1.0


def test_a_process_with_few_waits_has_a_least_part(folder: Path) -> None:
    one, two = two_processes()
    take(one, 1000.0, waits=100_000)
    small = take(two, 1000.0)
    assert small.part == 0.05


def test_two_processes_take_slots_in_proportion_to_their_waits(folder: Path) -> None:
    clock = Clock()
    hosts = two_processes()
    quotas = [Quota(19, clock=clock, host=host) for host in hosts]
    quotas[0].demand("a", 900)
    quotas[1].demand("b", 100)
    next_at = [clock.now, clock.now]
    reserved: list[float | None] = [None, None]
    sent: list[list[float]] = [[], []]
    while clock.now < 160:
        clock.now += 0.001
        for number, quota in enumerate(quotas):
            if clock.now < next_at[number]:
                continue
            slot = reserved[number]
            if slot is None:
                next_at[number] = reserved[number] = quota.reserve()
            else:
                time = used(quota, slot)
                sent[number].append(time)
                reserved[number], next_at[number] = None, time
    assert len(sent[0]) / len(sent[1]) == pytest.approx(9, rel=0.1)
    together = sorted(sent[0] + sent[1])
    assert len(together) / 60 == pytest.approx(19, rel=0.03)
    assert most_in_a_second(together) <= 20
    for quota in quotas:
        quota.close()


def test_a_dead_process_and_one_of_another_boot_are_forgotten(folder: Path) -> None:
    one, two = two_processes()
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    two._pid = child.pid
    take(two, 1000.0, waits=50)
    alone = take(one, 1000.1, waits=50)
    assert (alone.part, alone.processes) == (1.0, 1)
    # After a boot the clock restarts: the times in the file lie in the future.
    take(one, 90_000.0)
    fresh = take(one, 5.0)
    assert fresh.time == 5.0


def test_a_restart_continues_the_pace(folder: Path) -> None:
    """I1, I9."""
    before = HostPace("id", "host", "A")
    last = [take(before, 1000.0).time for _ in range(5)][-1]
    before.close()
    assert take(HostPace("id", "host", "A"), 1000.0).time == pytest.approx(last + 1 / 19)


def test_a_refusal_lowers_the_pace_of_every_process(folder: Path) -> None:
    one, two = two_processes()
    take(one, 1000.0)
    one.rejected(1000.0)
    slot = take(two, 1000.1)
    assert slot.pace == pytest.approx(19 * 0.9, rel=0.01)


def test_a_slot_released_to_the_host_is_taken_again(folder: Path) -> None:
    one, two = two_processes()
    first = take(one, 1000.0)
    one.release(first)
    assert take(two, 1000.0).time == first.time


def test_shares_of_a_host_that_add_up_to_more_than_one_are_logged(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    one, two = two_processes()
    take(one, Clock().now, share=0.7)
    quota = Quota(19, 0.6, clock=Clock(), host=two)
    for _ in range(3):
        quota.use(quota.reserve())
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "1.3" in warnings[0].message
    caplog.clear()
    # Processes without a share use the whole pace together.
    plain = Quota(19, 1.0, clock=Clock(), host=two)
    plain.use(plain.reserve())
    assert not caplog.records


def test_a_process_that_ends_leaves_the_file(folder: Path) -> None:
    one, two = two_processes()
    take(one, 1000.0)
    with contextlib.closing(two):
        take(two, 1000.0)
    slot = take(one, 1000.1)
    assert slot.processes == 1


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


def busy(quota: Quota, slots: int) -> list[float]:
    """Take slots one after the other, as a watcher does whose waits are always due."""
    clock = quota.clock
    assert isinstance(clock, Clock)
    return [quota.acquire(clock.sleep) for _ in range(slots)]


def exchanges(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often a pace file is read."""
    counted: list[int] = []
    pread = os.pread

    def read(*given: int) -> bytes:
        counted.append(1)
        return pread(*given)

    monkeypatch.setattr(os, "pread", read)
    return counted


def test_a_busy_process_that_is_alone_takes_several_slots_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = exchanges(monkeypatch)
    quota = Quota(PACE, clock=Clock(), host=HostPace("id", "host", "A"))
    times = busy(quota, 100)
    assert times[-1] - times[0] == pytest.approx(99 / PACE, rel=0.02)
    assert most_in_a_second(times) <= 20
    assert len(read) < 40
    quota.close()


def test_a_process_that_begins_waits_briefly_for_what_another_one_took_ahead() -> None:
    one, two = two_processes()
    clock = Clock()
    first, second = (Quota(PACE, clock=clock, host=host) for host in (one, two))
    times = busy(first, 20)
    began = clock.now
    times += busy(second, 1)
    assert times[-1] - began <= 0.3
    for _ in range(20):
        times += busy(first, 1)
        times += busy(second, 1)
    assert most_in_a_second(times) <= 20
    first.close()
    second.close()


def test_a_slot_that_is_released_is_used_before_those_taken_ahead() -> None:
    clock = Clock()
    quota = Quota(PACE, clock=clock, host=HostPace("id", "host", "A"))
    busy(quota, 5)
    slot = quota.acquire(clock.sleep)
    quota.release(slot)
    assert quota.acquire(clock.sleep) == pytest.approx(slot, abs=0.06)
    quota.close()


def test_slots_that_were_taken_ahead_and_missed_are_not_used_late() -> None:
    clock = Clock()
    quota = Quota(PACE, clock=clock, host=HostPace("id", "host", "A"))
    busy(quota, 6)
    clock.now += 0.15
    before = clock.now
    assert all(time >= before - 0.006 for time in busy(quota, 5))
    quota.close()


def open_files(folder: Path) -> int:
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(os.path.realpath(link).startswith(str(folder)) for link in links)


def test_few_pace_files_stay_open_and_none_that_is_not_used(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    kept = pace_file_module._KeptOpen()
    monkeypatch.setattr(pace_file_module, "_kept_open", kept)
    hosts = [HostPace(f"id{number}", "host", "A") for number in range(200)]
    for moment in (100.0, 100.1):
        for host in hosts:
            take(host, moment)
    assert open_files(folder) == pace_file_module._MOST_OPEN
    close_idle_files()
    assert open_files(folder) == pace_file_module._MOST_OPEN
    monkeypatch.setattr(pace_file_module, "_KEPT_OPEN_S", 0.0)
    close_idle_files()
    assert open_files(folder) == 0


@pytest.mark.parametrize("replaced", ["file", "folder"])
def test_a_file_that_is_replaced_is_noticed(
    replaced: str, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    monkeypatch.setattr(pace_file_module, "_CHECKED_EACH_S", 0.0)
    mine, other = HostPace("id", "host", "A"), HostPace("id", "host", "A")
    for moment in range(3):
        take(mine, 100.0 + moment)
    assert open_files(folder) == 1
    path = Path(mine.path)
    moved = path if replaced == "file" else path.parent
    moved.rename(moved.with_name("moved"))
    assert take(other, 110.0).number == 0
    assert take(mine, 110.0).number == 1
    mine.close()


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
    host = quota._share._store
    assert isinstance(host, HostPace)
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
