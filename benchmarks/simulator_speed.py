# SPDX-License-Identifier: Apache-2.0
"""What the simulator's checks cost: a bare aiohttp server / the simulator, requests per second.

The bare server reads the body and answers a constant of the same length. Both run as separate
processes, alternately; the load is the same: signed DescribeOnlineRecord requests over kept-alive
connections, each sent when the one before it was answered. The target is at most 2, that is half
the speed of the server alone, so that the simulator never distorts another benchmark.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator

from aiohttp import web
from report import Figure, report

from tiw_automation.simulator import Simulator
from tiw_automation.simulator.signature import sign

ROUNDS = 7
REQUESTS = 4_000
CONNECTIONS = 16
TASKS = 100
TARGET = 2.0
APP = 1400000001


async def _bare(length: int) -> None:
    answer = b"x" * length

    async def handle(request: web.BaseRequest) -> web.Response:
        await request.read()
        return web.Response(body=answer, headers={"Content-Type": "application/json"})

    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def _simulator() -> None:
    simulator = Simulator(limit=0)
    simulator.add_finished(TASKS)
    await simulator.serve(lambda: print(simulator.port, flush=True))


@contextlib.contextmanager
def server(*arguments: str) -> Iterator[int]:
    """Run one of the two servers as a process; yield its port."""
    command = [sys.executable, __file__, *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline())
    finally:
        process.terminate()
        process.wait()


def signed(port: int) -> list[bytes]:
    """Return a request for each recording, which may be sent for five minutes."""
    # A new signature for each request would measure the client.
    simulator = Simulator()
    now = int(time.time())
    date = time.strftime("%Y-%m-%d", time.gmtime(now))
    host, content_type = f"127.0.0.1:{port}", "application/json"
    requests = []
    for number in range(1, TASKS + 1):
        body = json.dumps({"SdkAppId": APP, "TaskId": f"finished-{number:06d}"}).encode()
        canonical = (
            f"POST\n/\n\ncontent-type:{content_type}\nhost:{host}\n\ncontent-type;host\n"
            f"{hashlib.sha256(body).hexdigest()}"
        )
        scope = f"{date}/tiw/tc3_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = sign(
            simulator.secret_key, date, "tiw", f"TC3-HMAC-SHA256\n{now}\n{scope}\n{digest}"
        )
        head = (
            f"POST / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: python-requests/2.32\r\n"
            "Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
            f"Content-Type: {content_type}\r\nX-TC-Action: DescribeOnlineRecord\r\n"
            f"X-TC-RequestClient: SDK_PYTHON_3.1\r\nX-TC-Timestamp: {now}\r\n"
            "X-TC-Version: 2019-09-19\r\nX-TC-Region: ap-singapore\r\nX-TC-Language: en-US\r\n"
            f"Authorization: TC3-HMAC-SHA256 Credential={simulator.secret_id}/{scope}, "
            f"SignedHeaders=content-type;host, Signature={signature}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        requests.append(head.encode() + body)
    return requests


async def _ask(port: int, requests: list[bytes], todo: Iterator[int]) -> int:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = 0
    for number in todo:
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length)
        assert b'"Error"' not in body, body
    writer.close()
    return length


async def load(port: int, requests: list[bytes], count: int) -> tuple[float, int]:
    """Send ``count`` requests; return how many were answered in a second, and a body's length."""
    todo = iter(range(count))
    started = time.perf_counter()
    lengths = await asyncio.gather(*(_ask(port, requests, todo) for _ in range(CONNECTIONS)))
    return count / (time.perf_counter() - started), max(lengths)


def main() -> int:
    """Print the speeds and their ratio; return 1 when it misses the target."""
    with server("simulator") as port:
        requests = signed(port)
        _, length = asyncio.run(load(port, requests, TASKS))
        with server("bare", str(length)) as bare_port:
            bare_requests = signed(bare_port)
            asyncio.run(load(bare_port, bare_requests, TASKS))
            speeds = [
                (
                    asyncio.run(load(bare_port, bare_requests, REQUESTS))[0],
                    asyncio.run(load(port, requests, REQUESTS))[0],
                )
                for _ in range(ROUNDS)
            ]
    bare, ours = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = statistics.median(other / mine for other, mine in speeds)
    print(f"bare aiohttp {bare:.0f}/s, simulator {ours:.0f}/s")
    how = f"{ROUNDS} rounds of {REQUESTS} requests, {CONNECTIONS} connections"
    return report(Figure("requests per second: bare aiohttp / simulator", ratio, TARGET, how))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("role", nargs="?", choices=["bare", "simulator"])
    parser.add_argument("length", nargs="?", type=int, default=0)
    chosen = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        if chosen.role == "bare":
            asyncio.run(_bare(chosen.length))
        elif chosen.role == "simulator":
            asyncio.run(_simulator())
        else:
            sys.exit(main())
