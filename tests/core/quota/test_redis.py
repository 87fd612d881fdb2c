# SPDX-License-Identifier: Apache-2.0
"""The pace that many hosts share.

With ``TIW_REAL_REDIS=1`` a real ``redis-server`` runs the script, else a stand-in that runs the
same script in Lua.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from quotas import most_in_a_second
from redis_servers import free_port, needs_real

from tiw_automation.core import ConfigurationError, Quota, Settings
from tiw_automation.core.quota.redis import RedisPace
from tiw_automation.core.quota.redis_connection import RedisConnection
from tiw_automation.core.quota.redis_thread import RedisThread


def url(port: int) -> str:
    return f"redis://127.0.0.1:{port}"


def run(quota: Quota, seconds: float) -> list[float]:
    end, times = time.monotonic() + seconds, []
    while time.monotonic() < end:
        times.append(quota.acquire())
    return times


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_process_keeps_its_pace_while_the_server_is_away_and_takes_part_again(
    port: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    store = RedisPace(url(port), "id", "host", "A")
    quota = Quota(19.0, store=store)
    times = run(quota, 1.4)
    thread = store._thread
    # A port that refuses.
    thread.connection._arguments["port"] = free_port()
    thread.connection.close()
    times += run(quota, 1.5)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert max(gaps) < 1.0
    assert len(times) > 15
    warnings = [r for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    thread.connection._arguments["port"] = port
    times += run(quota, 2.2)
    assert most_in_a_second(times) <= 20
    assert quota._share.latest is not None
    assert "again" in caplog.text
    quota.close()
    # It has left, and its thread does not enter it again.
    assert store._wish is None


# What servers that are not a working Redis send for everything.
ODD = (
    b"-LOADING Redis is loading the dataset in memory\r\n",
    b"-MOVED 1234 192.0.2.1:6379\r\n",
    b"-READONLY You can't write against a read only replica.\r\n",
    b"-OOM command not allowed when used memory > 'maxmemory'.\r\n",
    b"-NOAUTH Authentication required.\r\n",
    b"-ERR pa@ss pa%40ss\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"+OK\r\n",
    b":-1\r\n",
    b"*-1\r\n",
    b"*2\r\n:1\r\n:2\r\n",
    b"*2\r\n$3\r\nnan\r\n$3\r\nnan\r\n",
    b"*6\r\n$1\r\n1\r\n$3\r\nnan\r\n$1\r\n0\r\n$1\r\n0\r\n*0\r\n*0\r\n",
    b"$999999999999\r\n",
    b"*1\r\n" * 200,
    b"\x00\xff\xfe" * 500 + b"\r\n",
    b"",
)


class OddServer:
    """Answers everything with the same bytes; with none it closes the connection."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(65536) and self.answer:
                    connection.sendall(self.answer)
            except OSError:
                pass


def test_servers_that_are_no_working_redis_cost_no_pace_and_show_no_password(
    caplog: pytest.LogCaptureFixture,
) -> None:
    servers = [OddServer(answer) for answer in ODD]
    times: list[list[float]] = []

    def use(server: OddServer) -> None:
        address = f"redis://user:pa%40ss@127.0.0.1:{server.port}/0"
        store = RedisPace(address, "id", "host", "A")
        times.append(run(Quota(19.0, store=store), 2.0))
        assert "pa" + "ss" not in repr(store)

    users = [threading.Thread(target=use, args=(server,)) for server in servers]
    for user in users:
        user.start()
    for user in users:
        user.join()
    for server in servers:
        server.listener.close()
    assert len(times) == len(ODD)
    # They go on within a second.
    assert min(map(len, times)) >= 15
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == len(ODD)
    assert "pa@ss" not in caplog.text
    assert "pa%40ss" not in caplog.text


@pytest.mark.parametrize("value", ["http://h", "redis://:secret@h:x/0", "h:6379"])
def test_a_malformed_url_is_refused_and_not_shown(value: str) -> None:
    with pytest.raises(ConfigurationError, match="TIW_QUOTA_URL") as caught:
        Settings.resolve(secret_id="a" * 20, secret_key="b" * 20, environ={"TIW_QUOTA_URL": value})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "redis://user:se%2Fcret@h:1/0", "redis://:se%2Fcret@h:1", "valkeys://u:se%2Fcret@h:1",
        "redis://h:1/0?password=se%2Fcret", "unix://u:se%2Fcret@/run/redis.sock?db=1",
    ],
)  # fmt: skip
def test_no_form_of_a_password_is_shown(address: str) -> None:
    connection = RedisConnection(address)
    store = RedisPace(address, "id", "host", "A")
    settings = Settings.resolve(
        secret_id="a" * 20, secret_key="b" * 20, environ={"TIW_QUOTA_URL": address}
    )
    texts = [
        connection.shown,
        connection.reason(ValueError("AUTH se/cret se%2Fcret failed")),
        store.shared_with,
        *map(repr, (connection, store, store._thread, settings)),
        str(settings),
    ]
    assert not any("cret" in text for text in texts)


def test_a_certificate_must_be_of_the_host() -> None:
    for scheme in ("rediss", "valkeys"):
        assert RedisConnection(f"{scheme}://h:1")._arguments["ssl_check_hostname"] is True


def test_a_process_that_stops_using_it_ends_the_thread_and_the_connection(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tiw_automation.core.quota.redis_thread._UNUSED_S", 0.1)
    store = RedisPace(url(port), "id", "host", "A")
    quota = Quota(19.0, store=store)
    quota.use(quota.reserve())
    thread = store._thread
    wait_until(lambda: thread.connection.is_open)
    quota.close()
    wait_until(lambda: not thread._running)
    assert not thread.connection.is_open
    # The next slot connects anew.
    quota.use(quota.reserve())
    wait_until(lambda: thread.connection.is_open)
    quota.close()


def test_many_accounts_share_one_connection(port: int) -> None:
    stores = [RedisPace(url(port), f"id{n}", "host", "A") for n in range(10)]
    thread = stores[0]._thread
    sent: list[int] = []
    run_calls = thread.connection.run

    def counted(calls: list[tuple[list[str], list[str]]]) -> list[object]:
        sent.append(len(calls))
        return run_calls(calls)

    thread.connection.run = counted  # type: ignore[method-assign,assignment]
    quotas = [Quota(19.0, store=store) for store in stores]
    users = [threading.Thread(target=run, args=(quota, 0.3)) for quota in quotas]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert all(store._thread is thread for store in stores)
    # All have had an answer, and several calls were sent together.
    assert all(store.part_alone is not None for store in stores)
    assert max(sent) >= 3


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


@needs_real
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


def share_by_waits(port: int, account: str, waits: Sequence[int]) -> list[list[float]]:
    """Return when each of several connections sent, which take slots for so many waits each."""
    sent: list[list[float]] = [[] for _ in waits]

    def use(number: int) -> None:
        thread = RedisThread(url(port))
        quota = Quota(19.0, store=RedisPace(url(port), account, "host", "A", thread=thread))
        quota.demand(quota, waits[number])
        sent[number] = run(quota, 3.5)
        quota.close()

    users = [threading.Thread(target=use, args=(number,)) for number in range(len(waits))]
    for user in users:
        user.start()
    for user in users:
        user.join()
    return sent


def test_four_connections_share_one_pace_by_their_waits(port: int) -> None:
    # On a machine that is busy, the largest one may not run when its slots come.
    for attempt in range(3):
        most, *others = share_by_waits(port, f"id{attempt}", (70, 10, 10, 10))
        every = sorted(itertools.chain(most, *others))
        assert most_in_a_second(every) <= 20
        if len(every) > 15 and len(most) > 2 * max(map(len, others)):
            return
    pytest.fail(f"{len(most)} of the largest, {[len(sent) for sent in others]} of the others")


def test_a_process_that_leaves_while_a_call_is_under_way_leaves(port: int) -> None:
    one, two = (
        RedisPace(url(port), "id", "host", "A", thread=RedisThread(url(port))) for _ in range(2)
    )
    quotas = [Quota(19.0, store=store) for store in (one, two)]
    for _ in range(3):
        run(quotas[0], 0.2)
        quotas[0].close()
        run(quotas[1], 0.2)
        latest = quotas[1]._share.latest
        assert latest is None or latest.processes == 1
    quotas[1].close()
