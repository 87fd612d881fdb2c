# SPDX-License-Identifier: Apache-2.0
"""A stand-in for Tencent's gateway at the end of a slow network path, in its own process.

It answers DescribeOnlineRecord only, checks no signature, and costs almost no CPU, so that the
client is measured. A request counts when it arrives, after its way there; the 21st within any
second is refused. That is stricter than Tencent's clock seconds.

A recording's id is its timeline: ``r-STOP-FINISH-n`` is STOPPED after STOP seconds of the server's
time and FINISHED after FINISH, so that the server stores no recordings.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from types import TracebackType
from typing import Any

LIMIT = 20


class _Gateway:
    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.began = time.monotonic()
        self.began_wall = time.time()
        self.middle_s = self.spread_s = 0.0
        self.down = False
        self.chance = random.Random(1)
        self.answered_at: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        self.recent: deque[float] = deque()
        self.connections = 0
        self.mark()

    def mark(self) -> None:
        self.marked_at = time.monotonic()
        self.arrivals: list[float] = []
        self.most = 0
        self.rejects = 0
        self.asked: dict[str, float] = {}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line[15:])
                    for line in head.split(b"\r\n")
                    if line[:15].lower() == b"content-length:"
                )
                body = json.loads(await reader.readexactly(length))
                if self.down:
                    break
                if self.middle_s:
                    way = self.middle_s + self.chance.uniform(-self.spread_s, self.spread_s)
                    await asyncio.sleep(way)
                raw = json.dumps({"Response": self.answer(body.get("TaskId"))}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    b"Content-Length: %d\r\n\r\n%s" % (len(raw), raw)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, task_id: str | None) -> dict[str, Any]:
        if task_id is None:
            error = {"Code": "InvalidAction", "Message": "Only DescribeOnlineRecord is served."}
            return {"Error": error, "RequestId": "0"}
        now = time.monotonic()
        recent = self.recent
        while recent and recent[0] <= now - 1.0:
            recent.popleft()
        recent.append(now)
        self.most = max(self.most, len(recent))
        self.arrivals.append(now)
        if self.limit and len(recent) > self.limit:
            recent.pop()
            self.rejects += 1
            error = {"Code": "RequestLimitExceeded", "Message": "Too many."}
            return {"Error": error, "RequestId": "0"}
        self.asked.setdefault(task_id, now)
        _, stop, finish, _ = task_id.split("-")
        age = now - self.began
        answer: dict[str, Any] = {
            "RequestId": f"{len(self.arrivals):032d}",
            "TaskId": task_id,
            "RecordStartTime": int(self.began_wall),
        }
        if age < float(stop):
            return {**answer, "Status": "RECORDING"}
        answer["RecordStopTime"] = int(self.began_wall + float(stop))
        if age < float(finish):
            return {**answer, "Status": "STOPPED"}
        self.answered_at.setdefault(task_id, age)
        video = {"VideoUrl": "https://video.example/1.mp4", "VideoType": 0}
        return {**answer, "Status": "FINISHED", "FinishReason": "AUTO", "VideoInfos": [video]}

    def stats(self) -> dict[str, Any]:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "requests": len(self.arrivals),
            "first": self.arrivals[0] if self.arrivals else 0.0,
            "last": self.arrivals[-1] if self.arrivals else 0.0,
            "most": self.most,
            "rejects": self.rejects,
            "connections": self.connections,
            "marked_at": self.marked_at,
            "asked": len(self.asked),
            "last_new": next(reversed(self.asked.values()), 0.0),
            "cpu_s": used.ru_utime + used.ru_stime,
            "delays": [
                at - float(task_id.split("-")[2]) for task_id, at in self.answered_at.items()
            ],
        }

    def command(self, order: dict[str, Any]) -> dict[str, Any]:
        if "line" in order:
            self.middle_s, self.spread_s = order["line"]
        if "down" in order:
            self.down = order["down"]
        if "begin" in order:
            self.began, self.began_wall = time.monotonic(), time.time()
            self.answered_at.clear()
        if "limit" in order:
            self.limit = order["limit"]
        stats = self.stats()
        if "mark" in order:
            self.mark()
        if "reset" in order:
            self.reset()
        return stats


async def _main(limit: int) -> None:
    gateway = _Gateway(limit)
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0, backlog=512)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    loop = asyncio.get_running_loop()
    while True:
        line = await loop.run_in_executor(None, sys.stdin.readline)
        if not line:
            os._exit(0)
        print(json.dumps(gateway.command(json.loads(line))), flush=True)


@dataclass(frozen=True)
class Stats:
    """What the server saw since the last ``mark`` or ``reset``; times are monotonic ones.

    :param most: the requests within one second; those before the mark count.
    :param connections: those since the last ``reset``.
    :param asked: the recordings that were polled and not refused.
    :param last_new: when the latest of them was polled first.
    """

    requests: int
    first: float
    last: float
    most: int
    rejects: int
    connections: int
    marked_at: float
    asked: int
    last_new: float
    cpu_s: float
    delays: list[float]

    @property
    def accepted(self) -> int:
        """The requests that were not refused."""
        return self.requests - self.rejects

    @property
    def lasted_s(self) -> float:
        """The time from the first of the requests to the last."""
        return self.last - self.first


class FarApi:
    """The server as a child process.

    :param limit: requests accepted within any one second; 0 accepts all.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit

    def __enter__(self) -> FarApi:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(self._limit)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.endpoint = f"http://127.0.0.1:{self._read()['port']}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        finally:
            self._process.kill()
            self._process.wait()

    def control(self, **order: Any) -> Stats:
        """Set ``line=(middle_s, spread_s)``, ``down``, ``limit``, ``begin``, ``mark`` or ``reset``.

        :return: what the server saw before.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Stats(**self._read())

    def settings(self, **more: Any) -> dict[str, Any]:
        """Return the keyword arguments of a client for this server."""
        return {
            "secret_id": f"AKIDbenchmark{self._process.pid}",
            "secret_key": "benchmark",
            "sdk_app_id": 1400000001,
            "endpoint": self.endpoint,
            **more,
        }

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def forever(count: int) -> list[str]:
    """Return ids of recordings that never end."""
    return [f"r-1e9-1e9-{number}" for number in range(count)]


def finished(count: int) -> list[str]:
    """Return ids of recordings that have finished."""
    return [f"r-0-0-{number}" for number in range(count)]


if __name__ == "__main__":
    # It ends with the process that started it, which closes its stdin.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(PermissionError):
        # Other work of the machine must not delay the clock of the measurements.
        os.nice(-10)
    asyncio.run(_main(int(sys.argv[1])))
