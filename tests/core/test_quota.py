# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import itertools
import logging
import os
import threading

import pytest

from tiw_automation.core import ConfigurationError, Quota
from tiw_automation.core.quota import shared_quota


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds


def most_in_a_second(times: list[float]) -> int:
    return max(sum(1 for t in times if start <= t < start + 1) for start in times)


def test_turns_are_evenly_spaced_also_after_an_idle_time() -> None:
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
        turn = quota.reserve()
        # Every timer wakes up three milliseconds late.
        clock.now = max(clock.now, turn) + 0.003
    assert (clock.now - 100) * 20 == pytest.approx(200, rel=0.02)


def test_a_turn_that_is_given_back_is_the_next_ones() -> None:
    quota = Quota(10, clock=Clock())
    first = quota.reserve()
    second = quota.reserve()
    quota.give_back(second)
    assert quota.reserve() == second
    quota.give_back(first)
    assert quota.reserve() > second


def test_threads_never_share_a_turn() -> None:
    quota = Quota(1000, clock=Clock())
    turns: list[float] = []
    threads = [
        threading.Thread(target=lambda: turns.extend(quota.reserve() for _ in range(200)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(turns)) == 1600


@pytest.mark.parametrize("pace", [0, -1, float("nan")])
def test_a_pace_has_to_be_above_zero(pace: float) -> None:
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
