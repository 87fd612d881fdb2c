# SPDX-License-Identifier: Apache-2.0
"""What unauthenticated senders can do to the receiver of callbacks, and to the waits beside it.

Health: the receiver is mounted in a FastAPI app, served by uvicorn as Airflow's API server is. It
receives posts of the largest size, and ``/health`` is requested without a pause meanwhile. The
figure is how late the latest answer came, compared with an app in the same server that reads the
body and does nothing. Verified posts hold a quarter of a million objects, the others have an
invalid signature.

Waits: a hundred recordings are waited for, and 300 signed callbacks name others that continue; the
median delay of the ends is compared with that of the same waits without the flood, at the same time
on another server. And 200 genuine callbacks arrive at once beside a thousand waits of another
process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http.client
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from children import clean_up_when_terminated, end, run_together
from far_api import FarApi, finished, forever
from report import Figure, report

from tiw_automation.core import RecordWatcher, TiwClient, new_callback_key
from tiw_automation.core.api.callbacks import MAX_BODY_BYTES, sign

KEY = new_callback_key()
CONNECTION = "flood"
PACE = 19.0
ROUNDS = 15
# What fills a verified body: the objects that take longest.
FILLERS = {"objects": b"{},", "lists": b"[],", "strings": b'"",', "deep": b"[[[[[[[[]]]]]]]],"}


def body(task_id: str, key: str, filler: bytes = b"", length: int = 0) -> bytes:
    """Return the callback of a finished recording."""
    expires = int(time.time()) + 3600
    head = (
        b'{"EventType":"OnlineRecordFinished","SdkAppId":1400000001,"EventData":'
        b'{"TaskId":"%s","VideoInfos":[' % task_id.encode()
    )
    tail = b'{}]},"ExpireTime":%d,"Sign":"%s"}' % (expires, sign(key, expires).encode())
    count = max(length - len(head) - len(tail), 0) // max(len(filler), 1)
    return head + filler * count + tail


# The server, in its own process.


class _Sink:
    """Keeps events in memory."""

    def __init__(self) -> None:
        self.stored: set[str] = set()

    def wants(self, conn_id: str, app_id: int, own_app_id: int | None, event_id: str) -> bool:
        """Whether this event is new."""
        return event_id not in self.stored

    def store(self, conn_id: str, app_id: int, own_app_id: int | None, outcome: Any) -> list[str]:
        """Keep the recording of the event."""
        self.stored.add(outcome.task_id)
        return ["an asset"]


def _receiver(settings: dict[str, Any], key: str, sink: _Sink) -> Any:
    connection = {
        "conn_type": "tencentcloud",
        "login": settings["secret_id"],
        "password": settings["secret_key"],
        "host": settings["endpoint"],
        "extra": {"sdk_app_id": settings["sdk_app_id"], "callback_secret": key},
    }
    os.environ[f"AIRFLOW_CONN_{CONNECTION.upper()}"] = json.dumps(connection)
    from tiw_automation.airflow.events.callback_connection import CallbackConnection
    from tiw_automation.airflow.events.callback_receiver import CallbackReceiver

    source = CallbackConnection(CONNECTION)
    source.read()
    return CallbackReceiver({CONNECTION: source}, sink)  # type: ignore[arg-type]


async def _empty(scope: Any, receive: Any, send: Any) -> None:
    more = True
    while more:
        more = bool((await receive()).get("more_body"))
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def _serve(settings: dict[str, Any], key: str) -> None:
    import socket

    import uvicorn
    from fastapi import FastAPI

    app = FastAPI()

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    app.mount("/ours", _receiver(settings, key, _Sink()))
    app.mount("/empty", _empty)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as bound:
        print(json.dumps({"port": bound.getsockname()[1]}), flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(config).run([bound])


@contextlib.contextmanager
def _server(settings: dict[str, Any]) -> Iterator[tuple[int, int]]:
    """Run the server; return its port and process."""
    command = [sys.executable, __file__, "--part", "serve", json.dumps([settings, KEY])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["port"], process.pid
    finally:
        end([process])


# Health.


class _Health:
    """Requests the server's health without a pause, and keeps how long each answer took."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.took_s: list[float] = []

    def __enter__(self) -> _Health:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        with contextlib.closing(connection):
            while not self._ended.is_set():
                began = time.perf_counter()
                connection.request("GET", "/health")
                connection.getresponse().read()
                self.took_s.append(time.perf_counter() - began)
                time.sleep(0.002)


def _post(port: int, path: str, posted: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request("POST", path, posted)
        answer = connection.getresponse()
        answer.read()
        return answer.status


def _latest_s(port: int, path: str, posted: bytes) -> float:
    """Return how long the slowest answer about the health took while a post was handled."""
    with _Health(port) as health:
        time.sleep(0.02)
        _post(port, path, posted)
        time.sleep(0.02)
    return max(health.took_s)


def _delays_s(port: int, posts: dict[str, list[bytes]], rounds: int) -> dict[str, float]:
    """Return, for each kind of post, how much later the health is than beside an empty app."""
    later: dict[str, list[float]] = {name: [] for name in posts}
    for number in range(rounds):
        for name, bodies in posts.items():
            posted = bodies[number % len(bodies)]
            empty = _latest_s(port, "/empty/x", posted)
            later[name].append(_latest_s(port, f"/ours/{CONNECTION}", posted) - empty)
    return {name: statistics.median(found) for name, found in later.items()}


def _flooded_p90_s(port: int, count: int = 40, rate: float = 4.0) -> float:
    """Return the 90th of a hundred answers about the health during unauthenticated posts."""
    posted = body("x", "not-the-key", b"{},", MAX_BODY_BYTES)
    with _Health(port) as health, ThreadPoolExecutor(8) as pool:
        for _ in range(count):
            pool.submit(_post, port, f"/ours/{CONNECTION}", posted)
            time.sleep(1 / rate)
    return sorted(health.took_s)[int(len(health.took_s) * 0.9)]


def _memory_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status") as file:
        (line,) = [line for line in file if line.startswith("VmRSS:")]
    return int(line.split()[1]) / 1024


def _memory_after_mb(port: int, pid: int, count: int) -> float:
    """Return how much the server grows with so many verified posts, after a few first ones."""
    names = iter(finished(count + 20))

    def send(task_id: str) -> None:
        _post(port, f"/ours/{CONNECTION}", body(task_id, KEY, b"{},", MAX_BODY_BYTES))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(send, [next(names) for _ in range(20)]))
        before = _memory_mb(pid)
        list(pool.map(send, names))
        return _memory_mb(pid) - before


def _health(rounds: int, posts: int) -> list[Figure]:
    filled = {
        name: [body(f"r-0-0-{name}", KEY, filler, MAX_BODY_BYTES)]
        for name, filler in FILLERS.items()
    }
    forged = [body("x", "not-the-key", filler, MAX_BODY_BYTES) for filler in FILLERS.values()]
    with FarApi() as api, _server(api.settings()) as (port, pid):
        _post(port, f"/ours/{CONNECTION}", b"{}")
        found = _delays_s(port, {**filled, "forged": forged}, rounds)
        p90 = _flooded_p90_s(port)
        grown = _memory_after_mb(port, pid, posts)
    name, verified = max(
        ((name, delay) for name, delay in found.items() if name != "forged"),
        key=lambda item: item[1],
    )
    times = f"median of {rounds}"
    return [
        Figure(
            "health beside a verified post of 768 KiB: later than an empty app / 100 ms",
            verified / 0.1,
            1.0,
            f"{verified * 1000:.1f} ms, full of {name}, {times}",
        ),
        Figure(
            "health beside an unverified post of 768 KiB: later than an empty app / 10 ms",
            found["forged"] / 0.01,
            1.0,
            f"{found['forged'] * 1000:.1f} ms, {times}",
        ),
        Figure(
            "health beside 40 anonymous posts of 768 KiB, 4 a second: p90 / 200 ms",
            p90 / 0.2,
            1.0,
            f"{p90 * 1000:.1f} ms",
        ),
        Figure(
            f"memory after {posts} verified posts of 768 KiB: growth / 20 MB",
            grown / 20,
            1.0,
            f"{grown:.1f} MB",
        ),
    ]


# Waits.


async def _post_all(settings: dict[str, Any], key: str, ids: list[str]) -> dict[str, float]:
    """Post callbacks for recordings, and wait until all are handled."""
    sink = _Sink()
    receiver = _receiver(settings, key, sink)
    began = time.monotonic()

    async def post(task_id: str) -> None:
        messages = [{"type": "http.request", "body": body(task_id, key)}]

        async def receive() -> dict[str, Any]:
            return messages.pop()

        async def send(_: dict[str, Any]) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": f"/{CONNECTION}", "headers": []}
        await receiver(scope, receive, send)

    await asyncio.gather(*map(post, ids))
    while len(receiver._backlog):
        await asyncio.sleep(0.1)
    return {"stored": len(sink.stored), "seconds": time.monotonic() - began}


async def _watch(settings: dict[str, Any], ids: list[str]) -> None:
    watcher = RecordWatcher(TiwClient(**settings), running_list=False)
    async for _ in watcher.watch(ids):
        pass


def _child(settings: dict[str, Any], ids: list[str]) -> subprocess.Popen[str]:
    """Run :func:`_post_all` in another process."""
    given = json.dumps([settings, KEY, ids])
    command = [sys.executable, __file__, "--part", "post", given]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _delay_s(flood: int, waits: int, seconds: float) -> float:
    """Return the median delay of ends while so many callbacks name other recordings."""
    chance = random.Random(1)
    stops = [chance.uniform(5, seconds) for _ in range(waits)]
    ids = [f"r-{stop:.2f}-{stop + 5:.2f}-{number}" for number, stop in enumerate(stops)]
    with FarApi() as api:
        running: list[subprocess.Popen[str]] = []
        try:
            if flood:
                running.append(_child(api.settings(), forever(flood)))
            api.control(begin=True)
            asyncio.run(_watch(api.settings(), ids))
            return statistics.median(api.control().delays)
        finally:
            end(running)


def _burst(callbacks: int, waits: int) -> dict[str, float]:
    """Return the events of genuine callbacks that arrive at once beside waits elsewhere."""

    async def beside(settings: dict[str, Any]) -> dict[str, float]:
        waiting = asyncio.create_task(_watch(settings, forever(waits)))
        await asyncio.sleep(3)
        process = _child(settings, finished(callbacks))
        try:
            printed, _ = await asyncio.to_thread(process.communicate)
        finally:
            end([process])
            waiting.cancel()
        found: dict[str, float] = json.loads(printed)
        return found

    with FarApi() as api:
        return asyncio.run(beside(api.settings()))


def _waits(seconds: float) -> list[Figure]:
    part = ["--part", "delay"]
    alone, flooded = run_together(
        __file__, [[*part, json.dumps([n, 100, seconds])] for n in (0, 300)]
    )
    burst = _burst(200, 1000)
    bound_s = 200 / (PACE / 10) + 10
    return [
        Figure(
            "100 waits beside 300 signed callbacks for others: median delay / without",
            flooded / alone,
            1.5,
            f"{flooded:.2f} and {alone:.2f} s",
        ),
        Figure(
            "200 genuine callbacks beside 1,000 waits: time to the last event / its bound",
            burst["seconds"] / bound_s,
            1.0,
            f"{burst['seconds']:.0f} s of {bound_s:.0f}",
        ),
        Figure(
            "200 genuine callbacks beside 1,000 waits: events",
            burst["stored"] / 200,
            1.0,
            f"{burst['stored']:.0f} stored",
            at_least=True,
        ),
    ]


def _part(name: str, given: Any) -> object:
    """Do the work of one of the processes; return what it prints."""
    if name == "serve":
        _serve(*given)
        return None
    if name == "post":
        return asyncio.run(_post_all(*given))
    return _delay_s(*given)


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    logging.disable(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["serve", "post", "delay"], help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--posts", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--only", choices=["health", "waits"])
    parser.add_argument("given", nargs="?", help=argparse.SUPPRESS)
    options = parser.parse_args()
    clean_up_when_terminated()
    if options.part:
        # The process that started it ends it.
        with contextlib.suppress(KeyboardInterrupt):
            print(json.dumps(_part(options.part, json.loads(options.given))))
        return 0
    with tempfile.TemporaryDirectory(prefix="tiw-flood-") as home:
        os.environ |= {
            "AIRFLOW_HOME": home,
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "CRITICAL",
        }
        found = [] if options.only == "health" else _waits(options.seconds)
        found += [] if options.only == "waits" else _health(options.rounds, options.posts)
        return report(*found)


if __name__ == "__main__":
    sys.exit(main())
