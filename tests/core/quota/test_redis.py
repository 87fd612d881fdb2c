# SPDX-License-Identifier: Apache-2.0
"""The pace that many hosts share.

With ``TIW_REAL_REDIS=1`` a real ``redis-server`` runs the script, else a stand-in that runs the
same script in Lua.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client
from fakeredis import TcpFakeServer
from quotas import most_in_a_second

from tiw_automation.core import ConfigurationError, Quota, Settings
from tiw_automation.core.quota import redis as redis_module
from tiw_automation.core.quota.pace import Pace
from tiw_automation.core.quota.parts import Demand, ProcessRow, SharedSlot, part_alone
from tiw_automation.core.quota.redis import RedisPace, ServerClock
from tiw_automation.core.quota.store import Held

REAL = bool(os.environ.get("TIW_REAL_REDIS"))
real = pytest.mark.skipif(not REAL, reason="needs a real redis-server: tox -e redis")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class RealServer:
    def __init__(self, folder: Path, port: int) -> None:
        program = shutil.which("redis-server") or pytest.fail("apt-get install redis-server")
        self.process = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return
            time.sleep(0.02)
        pytest.fail("redis-server does not start")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a server."""
    number = free_port()
    if REAL:
        real_server = RealServer(tmp_path, number)
        yield number
        real_server.stop()
        return
    server = TcpFakeServer(("127.0.0.1", number), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield number
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _own_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_module, "_lines", {})


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


def call(port: int, store: RedisPace, *, now: float = 0.0) -> list[Any]:
    """Run the script once as a store would."""
    script, _ = redis_module._script()
    with client.Redis(port=port, decode_responses=True) as connection:
        found: list[Any] = connection.eval(script, 3, *store.keys, *store.arguments(now))
        return found


def wished(port: int, waits: int = 1, *, lost: bool = False) -> RedisPace:
    """A store with a wish, whose thread does not run."""
    store = RedisPace(url(port), "id", "host", "A")
    store._line.wake = lambda pace: None  # type: ignore[method-assign]
    with contextlib.suppress(Held):
        store.take(0.0, Pace(19.0), Demand(waits))
    store._lost = lost
    store._line.server.add(0.0, 0.0, 0.0)
    return store


def took(store: RedisPace, port: int, number: int = 1) -> list[float]:
    """Take slots by one call; return their delays."""
    store._needed_at = -1.0
    store._delays = lambda now: [0.0] * number  # type: ignore[method-assign]
    return [float(delay) for delay in call(port, store)[4]]


def test_a_new_key_grants_nothing_for_a_second_and_the_spread(port: int) -> None:
    delays = took(wished(port), port, 3)
    assert delays[0] == pytest.approx(1.0, abs=0.05)
    assert [b - a for a, b in itertools.pairwise(delays)] == pytest.approx([1 / 19] * 2, abs=1e-4)


def test_a_lost_connection_grants_nothing_for_a_second(port: int) -> None:
    one = wished(port)
    took(one, port)
    time.sleep(1.1)
    assert took(one, port)[0] < 0.1
    assert took(wished(port, lost=True), port)[0] == pytest.approx(1.0, abs=0.05)


def test_at_most_twenty_arrive_within_any_second(port: int) -> None:
    one = wished(port)
    begun = time.time()
    times = [time.time() - begun + delay for _ in range(3) for delay in took(one, port, 20)]
    assert most_in_a_second(times) <= 20


def test_a_clock_that_went_back_restarts_the_window(port: int) -> None:
    one = wished(port)
    took(one, port)
    with client.Redis(port=port) as connection:
        connection.hset(one.keys[0], "last", str(time.time() + 3600))
    assert took(one, port)[0] == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("value", ["9e99", "x", "nan"])
def test_a_slot_that_is_too_far_ahead_restarts_the_window(port: int, value: str) -> None:
    one = wished(port)
    took(one, port)
    with client.Redis(port=port) as connection:
        connection.hset(one.keys[0], "next", value)
    assert took(one, port)[0] == pytest.approx(1.0, abs=0.05)


def test_parts_alone_never_add_up_to_more_than_one(port: int) -> None:
    stores = [wished(port, waits) for waits in (500, 1, 1, 100, 7)]
    for _ in range(4):
        for store in stores:
            store._delays = lambda now: []  # type: ignore[method-assign]
            store.accept(call(port, store), 0.0, True)
            with client.Redis(port=port, decode_responses=True) as connection:
                rows = connection.hvals(stores[0].keys[2])
            assert sum(float(row.split()[7]) for row in rows) <= 1 + 1e-6
    assert sum(float(row.split()[7]) for row in rows) == pytest.approx(1.0, abs=0.01)


def test_a_process_that_leaves_has_no_part(port: int) -> None:
    one, two = wished(port), wished(port)
    took(one, port)
    took(two, port)
    two._leaving = True
    call(port, two)
    assert len(call(port, one)[5]) == 1


def test_a_refusal_lowers_the_pace_of_all(port: int) -> None:
    one, two = wished(port), wished(port)
    took(one, port)
    one._rejected = True
    call(port, one)
    assert float(call(port, two)[1]) == pytest.approx(19 * 0.9, rel=0.02)


def test_a_slot_that_is_returned_is_taken_again(port: int) -> None:
    one = wished(port)
    first = call(port, one)
    took(one, port)
    now, _, _, number, delays, _ = call(port, one)
    one._returned = SharedSlot(
        float(now) + float(delays[0]), 19.0, 1.0, 0.0, 1, 0.0, False, int(number)
    )
    again = call(port, one)
    assert again[3] == number
    assert first[3] == "0"


@pytest.mark.parametrize("waits", [[70, 10, 10, 10], [1000, 1], [1] * 60])
def test_the_least_parts_are_at_most_a_half_together(waits: list[int]) -> None:
    rows = [ProcessRow(1, 0, 0.0, count, 0, 1e6, 19.0, 1.0) for count in waits]
    alone = [part_alone([row, *rows[:n], *rows[n + 1 :]]) for n, row in enumerate(rows)]
    assert sum(alone) == pytest.approx(1.0)


def test_the_clocks_bounds() -> None:
    clock = ServerClock()
    assert clock.add(10.0, 10.2, 1010.1)
    assert (clock.least, clock.most) == pytest.approx((999.95, 1000.05))
    assert clock.add(11.0, 11.05, 1011.02)
    assert clock.uncertain_s == pytest.approx(0.025, abs=0.001)
    assert not clock.add(12.0, 12.05, 1013.0)


def run(quota: Quota, seconds: float) -> list[float]:
    end, times = time.monotonic() + seconds, []
    while time.monotonic() < end:
        times.append(quota.acquire())
    return times


def test_a_process_keeps_its_pace_while_the_server_is_away_and_takes_part_again(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = RedisPace(url(port), "id", "host", "A")
    quota = Quota(19.0, host=store)
    times = run(quota, 3.0)
    line = store._line
    good = line._url
    # A port that refuses.
    line._url = url(free_port())
    line._disconnect()
    times += run(quota, 3.0)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps[3:]) < 1.0
    assert most_in_a_second(times) <= 20
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    line._url = good
    times = run(quota, 4.0)
    assert most_in_a_second(times) <= 20
    assert quota._share.latest is not None
    assert "again" in caplog.text
    quota.close()


@pytest.mark.parametrize("value", ["http://h", "redis://:secret@h:x/0", "h:6379"])
def test_a_malformed_url_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigurationError, match="TIW_QUOTA_URL") as caught:
        Settings.resolve(secret_id="a" * 20, secret_key="b" * 20, environ={"TIW_QUOTA_URL": value})
    assert "secret" not in str(caught.value)


def test_no_message_holds_the_password(caplog: pytest.LogCaptureFixture) -> None:
    address = f"redis://user:pa%40ss@127.0.0.1:{free_port()}"
    quota = Quota(1000.0, host=RedisPace(address, "id", "host", "A"))
    run(quota, 1.0)
    assert "not shared" in caplog.text
    assert "pa@ss" not in caplog.text
    assert "pa%40ss" not in caplog.text


PROCESS = """
import sys, time
from tiw_automation.core.quota.quota import shared_quota
quota = shared_quota("AKIDfour", "h", "A", 19.0, 1.0, sys.argv[1])
quota.demand("test", int(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[3])
while time.monotonic() < end:
    quota.acquire()
    print(time.monotonic(), flush=True)
"""


def started(port: int, waits: int, seconds: float, folder: Path) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, url(port), str(waits), str(seconds)],
        env={**os.environ, "TMPDIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_four_processes_with_separate_folders_share_one_pace_and_one_dies(
    port: int, tmp_path: Path
) -> None:
    processes = [
        started(port, waits, 14.0, tmp_path / str(n)) for n, waits in enumerate((70, 10, 10, 10))
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    time.sleep(6.0)
    processes[0].kill()
    killed_at = time.monotonic()
    outputs = [process.communicate(timeout=40)[0] for process in processes]
    sent = [[float(line) for line in output.split()] for output in outputs]
    assert most_in_a_second(sorted(itertools.chain(*sent))) <= 20
    assert len(sent[0]) > 2 * max(len([at for at in times if at < killed_at]) for times in sent[1:])
    late = [at for times in sent[1:] for at in times if at > killed_at + 6]
    assert len(late) / (max(late) - killed_at - 6) > 0.85 * 19
