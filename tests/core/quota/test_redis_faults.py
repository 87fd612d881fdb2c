# SPDX-License-Identifier: Apache-2.0
"""Redis fails while several processes poll the simulator: no wait ends, nothing is refused.

The processes have their own temporary folders, as on hosts of their own.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis as client
from quotas import most_in_a_second
from redis_servers import RealRedis, free_port, needs_real

from tiw_automation.simulator import Simulator
from tiw_automation.simulator.limits import RateLimiter

pytestmark = needs_real

PACE = 19.0
WAITS = (28, 8, 4)
PROCESS = """
import asyncio, json, logging, sys
from tiw_automation.core import RecordWatcher, TiwClient
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
async def main():
    settings, ids = json.loads(sys.argv[1])
    watcher = RecordWatcher(TiwClient(**settings), running_list=False)
    async for outcome in watcher.watch(ids, poll_interval=0.3):
        print(outcome.verdict.value, flush=True)
asyncio.run(main())
"""


class Hosts:
    """Processes that wait for recordings of a simulator, and when their requests arrived."""

    def __init__(self, simulator: Simulator, folder: Path, arrivals: list[float]) -> None:
        self.simulator, self.folder, self.arrivals = simulator, folder, arrivals
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, url: str, **environment: str) -> None:
        for number, waits in enumerate(WAITS):
            own = self.folder / f"host{number}"
            own.mkdir()
            ids = [f"r{number}-{n}" for n in range(waits)]
            for task_id in ids:
                self.simulator.add(task_id, timeline=[{"RECORDING": 1e6}])
            order = json.dumps([self.simulator.settings(), ids])
            with (own / "log").open("w") as log, (own / "output").open("w") as output:
                process = subprocess.Popen(
                    [sys.executable, "-c", PROCESS, order],
                    env={**os.environ, "TMPDIR": str(own), "TIW_QUOTA_URL": url, **environment},
                    stdout=output,
                    stderr=log,
                )
            self.processes.append(process)

    def written(self, name: str) -> list[str]:
        return [(self.folder / f"host{n}" / name).read_text() for n in range(len(WAITS))]

    def longest_gap(self, begin: float, end: float) -> float:
        times = [begin, *(at for at in self.arrivals if begin < at < end), end]
        return max(b - a for a, b in itertools.pairwise(times))

    def rate(self, begin: float, end: float) -> float:
        return len([at for at in self.arrivals if begin <= at < end]) / (end - begin)

    def wait_until_steady(self, part: float = 0.8) -> float:
        """Wait until the requests of the last three seconds reach that part of the pace."""
        end = time.monotonic() + 60.0
        while time.monotonic() < end:
            time.sleep(0.1)
            now = time.monotonic()
            started = all((self.folder / f"host{n}" / "log").stat().st_size for n in range(3))
            if started and self.rate(now - 3, now) > part * PACE:
                return now
        pytest.fail("the processes do not reach their pace")

    def finish(self) -> None:
        """Let all recordings finish; check that no wait ended before and none was refused."""
        assert all(process.poll() is None for process in self.processes)
        self.simulator.advance(2e6)
        assert [process.wait(30) for process in self.processes] == [0] * len(WAITS)
        for output, waits in zip(self.written("output"), WAITS, strict=True):
            assert output.split() == ["finished"] * waits
        assert self.simulator.rejects == 0
        assert most_in_a_second(self.arrivals) <= 20

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    arrivals: list[float] = []
    request = RateLimiter.request

    def noted(self: RateLimiter, *given: object) -> object:
        arrivals.append(time.monotonic())
        return request(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(RateLimiter, "request", noted)
    with Simulator() as simulator:
        found = Hosts(simulator, tmp_path, arrivals)
        yield found
        found.end()


def command(server: RealRedis, *words: object) -> None:
    with client.Redis(port=server.port) as connection:
        connection.execute_command(*words)


def set_state(server: RealRedis, field: str, value: float) -> None:
    with client.Redis(port=server.port) as connection:
        for key in connection.scan_iter("*:state"):
            connection.hset(key, field, value)


Fault = Callable[[RealRedis], None]
OUTAGES: dict[str, tuple[Fault, Fault]] = {
    "it is killed and starts empty": (RealRedis.kill, RealRedis.start),
    "it hangs": (
        lambda server: server.signal(signal.SIGSTOP),
        lambda server: server.signal(signal.SIGCONT),
    ),
    "it becomes a replica": (
        lambda server: command(server, "REPLICAOF", "127.0.0.1", 1),
        lambda server: command(server, "REPLICAOF", "NO", "ONE"),
    ),
    "its memory is full": (
        lambda server: command(server, "CONFIG", "SET", "maxmemory", 1),
        lambda server: command(server, "CONFIG", "SET", "maxmemory", 0),
    ),
    "its password changes": (
        lambda server: command(server, "ACL", "SETUSER", "default", "-@scripting"),
        lambda server: command(server, "ACL", "SETUSER", "default", "+@all"),
    ),
}


@pytest.mark.parametrize("name", OUTAGES)
def test_each_process_goes_on_with_its_part_and_comes_back(
    hosts: Hosts, tmp_path: Path, name: str
) -> None:
    fails, returns = OUTAGES[name]
    server = RealRedis(tmp_path)
    try:
        hosts.start(server.url)
        before = hosts.wait_until_steady()
        fails(server)
        time.sleep(4.0)
        back = time.monotonic()
        returns(server)
        time.sleep(5.0)
        end = time.monotonic()
        assert hosts.longest_gap(before, back) < 1.2
        # All the parts that are used meanwhile add up to at most 1.
        assert 0.45 * PACE < hosts.rate(before + 1.5, back) < 1.03 * PACE + 1
        assert hosts.longest_gap(back, end) < 2.5
        assert hosts.rate(end - 2, end) > 0.5 * PACE
        hosts.finish()
        for log in hosts.written("log"):
            assert log.count("WARNING") == 1
            assert log.count("is not shared with the processes of other hosts through") == 1
            assert log.count("is shared with the processes of other hosts through") == 1
    finally:
        server.signal(signal.SIGCONT)
        server.kill()


FORGOTTEN: dict[str, Fault] = {
    "it forgot all": lambda server: command(server, "FLUSHALL"),
    "its clock went back": lambda server: set_state(server, "last", time.time() + 3600),
    "the next slot is far ahead": lambda server: set_state(server, "next", time.time() + 60),
    "the connections are lost": lambda server: command(server, "CLIENT", "KILL", "TYPE", "normal"),
}


def test_what_the_server_forgot_costs_a_second_and_no_warning(hosts: Hosts, tmp_path: Path) -> None:
    server = RealRedis(tmp_path)
    try:
        hosts.start(server.url)
        hosts.wait_until_steady()
        for fails in FORGOTTEN.values():
            begin = time.monotonic()
            fails(server)
            time.sleep(4.0)
            end = time.monotonic()
            # Slots that were granted before still leave.
            assert 0.4 < hosts.longest_gap(begin, end) < 2.0
            assert hosts.rate(end - 1.5, end) > 0.5 * PACE
        hosts.finish()
        assert not any("WARNING" in log for log in hosts.written("log"))
    finally:
        server.kill()


def test_a_server_that_is_never_reached_leaves_each_process_its_share(hosts: Hosts) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        # One that refuses, and one that accepts and sends nothing.
        silent.listen(16)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        hosts.start(url, TIW_QUOTA_SHARE="0.33")
        end = hosts.wait_until_steady()
        assert hosts.rate(end - 3, end) <= PACE + 1
        hosts.finish()
        assert all(log.count("WARNING") == 1 for log in hosts.written("log"))


def test_a_port_that_refuses_leaves_a_process_its_share(hosts: Hosts) -> None:
    hosts.start(f"redis://127.0.0.1:{free_port()}", TIW_QUOTA_SHARE="0.33")
    end = hosts.wait_until_steady()
    assert hosts.rate(end - 3, end) <= PACE + 1
    hosts.finish()
