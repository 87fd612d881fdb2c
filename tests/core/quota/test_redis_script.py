# SPDX-License-Identifier: Apache-2.0
"""What the script in Redis grants."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import redis as client
from quotas import most_in_a_second

from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.parts import Demand, ProcessRow, part_alone
from tiw_automation.core.quota.redis_connection import RedisConnection
from tiw_automation.core.quota.redis_script import Answer, Call

KEYS = ["{a}:state", "{a}:arrivals", "{a}:processes"]


class Process:
    """Calls the script as one process does."""

    def __init__(self, port: int, name: str = "one", waits: int = 1) -> None:
        self.name, self.waits = name, waits
        self.alone = 1.0
        self.connection = RedisConnection(f"redis://127.0.0.1:{port}")
        self.connection.open()

    def call(
        self,
        delays: Sequence[float] = (),
        *,
        pause_s: float = 0.0,
        pace: float = 19.0,
        rejected: bool = False,
        leaving: bool = False,
        arrivals: Mapping[int, float | None] | None = None,
    ) -> Answer:
        demand = Demand(self.waits)
        call = Call(
            self.name, pause_s, 0.0, Pace(pace), demand, self.alone,
            rejected, leaving, delays, arrivals or {},
        )  # fmt: skip
        [reply] = self.connection.run([(KEYS, call.arguments())])
        answer = Answer.read(reply, 0.0)
        if answer.processes:
            self.alone = part_alone(answer.processes)
        return answer


@pytest.fixture
def one(port: int) -> Process:
    """The only process so far, to which slots are granted at once."""
    found = Process(port)
    found.call([0.0])
    with client.Redis(port=port) as connection:
        connection.hset(KEYS[0], "next", "0")
        connection.delete(KEYS[1])
    return found


def test_a_new_key_grants_nothing_for_a_second(port: int) -> None:
    delays = Process(port).call([0.0] * 3).delays
    assert delays[0] == pytest.approx(1.0, abs=0.05)
    assert [b - a for a, b in itertools.pairwise(delays)] == pytest.approx([1 / 19] * 2, abs=1e-4)


def test_a_lost_connection_grants_nothing_for_a_second(one: Process) -> None:
    assert one.call([0.0]).delays[0] < 0.1
    assert one.call([0.0], pause_s=1.0).delays[0] == pytest.approx(1.0, abs=0.05)


def test_at_most_twenty_arrive_within_any_second(one: Process) -> None:
    times: list[float] = []
    for _ in range(3):
        answer = one.call([0.0] * 20)
        times += [answer.now + delay for delay in answer.delays]
    assert most_in_a_second(times) <= 20
    # No slot lies more than four seconds ahead.
    assert one.call([0.0] * 64).delays[-1] <= 4.0


def test_a_late_request_delays_the_ones_after_it(one: Process) -> None:
    answer = one.call([0.0] * 19)
    late = answer.now + 0.9
    arrivals = dict.fromkeys(range(answer.first, answer.first + 19), late)
    after = one.call([0.0] * 2, arrivals=arrivals)
    assert after.now + after.delays[1] == pytest.approx(late + 1.0, abs=0.05)


def test_a_slot_that_never_left_leaves_room_for_another_one(one: Process) -> None:
    answer = one.call([0.0] * 20)
    arrivals = dict.fromkeys(range(answer.first, answer.first + 20))
    assert one.call(arrivals=arrivals).now
    with client.Redis(port=one.connection._arguments["port"]) as connection:
        assert connection.zcard(KEYS[1]) == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [("next", "9e99"), ("next", "x"), ("next", "nan"), ("last", "9e9"), ("taken", "x")],
)
def test_a_clock_that_went_back_or_an_invalid_state_restarts_the_window(
    one: Process, port: int, field: str, value: str
) -> None:
    with client.Redis(port=port) as connection:
        connection.hset(KEYS[0], field, value)
    assert one.call([0.0]).delays[0] == pytest.approx(1.0, abs=0.05)


def test_a_state_that_is_empty_restarts_the_window(one: Process, port: int) -> None:
    with client.Redis(port=port) as connection:
        connection.flushall()
    assert one.call([0.0]).delays[0] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(
    "row", ["", "x", "nan " * 8, "9e99 9e99 1 0 1 19 1 0.5", "9e99 1 x x x 19 x 0", "1 2 3"]
)
def test_an_invalid_process_costs_only_itself(one: Process, port: int, row: str) -> None:
    with client.Redis(port=port) as connection:
        connection.hset(KEYS[2], "other", row)
    answer = one.call([0.0])
    assert answer.delays
    assert 0 <= answer.alone <= 1


def test_parts_alone_never_add_up_to_more_than_one(port: int) -> None:
    processes = [Process(port, f"p{n}", waits) for n, waits in enumerate((500, 1, 1, 100, 7))]
    for _ in range(4):
        for process in processes:
            process.call()
            with client.Redis(port=port, decode_responses=True) as connection:
                rows: Any = connection.hvals(KEYS[2])
            assert sum(float(row.split()[7]) for row in rows) <= 1 + 1e-6
    assert sum(float(row.split()[7]) for row in rows) == pytest.approx(1.0, abs=0.01)


def test_a_process_that_leaves_has_no_part(one: Process, port: int) -> None:
    two = Process(port, "two")
    assert len(two.call().processes) == 2
    assert len(two.call(leaving=True).processes) == 1
    assert len(one.call().processes) == 1


def test_a_refusal_lowers_the_pace_of_all(one: Process, port: int) -> None:
    one.call(rejected=True)
    assert Process(port, "two").call().pace == pytest.approx(19 * 0.9, rel=0.02)


def test_the_fastest_process_sets_the_pace(one: Process, port: int) -> None:
    two = Process(port, "two")
    two.call([0.0], pace=5.0)
    assert two.call([0.0], pace=5.0).pace == pytest.approx(19.0)


def test_all_keys_expire(one: Process, port: int) -> None:
    one.call([0.0])
    time.sleep(0.01)
    one.call([0.0])
    with client.Redis(port=port) as connection:
        assert all(0 < connection.ttl(key) <= 3600 for key in KEYS)


@pytest.mark.parametrize("waits", [[70, 10, 10, 10], [1000, 1], [1] * 60])
def test_the_parts_of_processes_that_are_alone_add_up_to_one(waits: list[int]) -> None:
    rows = [ProcessRow(1, 0, 0.0, count, 0, 1e6, 19.0, 1.0) for count in waits]
    alone = [part_alone([row, *rows[:n], *rows[n + 1 :]]) for n, row in enumerate(rows)]
    assert sum(alone) == pytest.approx(1.0)


@pytest.mark.parametrize(
    "reply",
    [
        None, 7, b"x", [], ["1"] * 6, ["nan", "19", "1", "0", [], []],
        ["1", "-1", "1", "0", [], []], ["1", "19", "2", "0", [], []],
        ["1", "19", "1", "0", ["1e9"], []], ["1", "19", "1", "0", [], [None]],
        ["1", "19", "1", "inf", [], []], ["1", "19", "1", "0", [None], []],
    ],
)  # fmt: skip
def test_an_answer_of_something_else_cannot_be_read(reply: Any) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        Answer.read(reply, 0.0)
