# SPDX-License-Identifier: Apache-2.0
"""One pace for many hosts: the pace with Redis far away, and four processes against one.

Needs ``redis-server``. A proxy delays what passes to and from it. Each process has its own
temporary folder, as on hosts of their own.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

from children import clean_up_when_terminated, end
from processes import SHARES, run
from report import Figure, report

from tiw_automation.core.quota.quota import Quota
from tiw_automation.core.quota.redis import RedisPace

PACE = 19.0
SECONDS = 30.0


async def _copy(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, one_way_s: float
) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(65536):
        loop.call_later(one_way_s, writer.write, data)
    writer.close()


def far_redis(port: int, round_trip_s: float) -> int:
    """Return the port of a proxy to a server that seems to be that far away."""
    found: list[int] = []
    ready = threading.Event()

    async def serve() -> None:
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(
                _copy(reader, to_server, round_trip_s / 2),
                _copy(from_server, writer, round_trip_s / 2),
            )

        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        found.append(server.sockets[0].getsockname()[1])
        ready.set()
        await server.serve_forever()

    threading.Thread(target=lambda: asyncio.run(serve()), daemon=True).start()
    ready.wait()
    return found[0]


def pace_with(port: int, action: str) -> tuple[float, int]:
    """Return the part of the pace that one process reaches, and the most slots in a second."""
    store = RedisPace(f"redis://127.0.0.1:{port}", "benchmark", "host", action)
    quota = Quota(PACE, store=store)
    quota.expect_answers()
    times: list[float] = []
    begun = time.monotonic()
    while time.monotonic() - begun < SECONDS + 5:
        slot = quota.acquire()
        times.append(time.monotonic())
        quota.answered(slot, time.monotonic() - slot + 0.01)
    quota.close()
    steady = [at for at in times if at > begun + 5]
    most = max(sum(1 for b in times[n : n + 40] if b < a + 1) for n, a in enumerate(times))
    return (len(steady) - 1) / (steady[-1] - steady[0]) / PACE, most


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    logging.disable(logging.WARNING)
    clean_up_when_terminated()
    program = shutil.which("redis-server")
    if program is None:
        raise SystemExit("redis-server was not found: apt-get install redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder:
        server = subprocess.Popen(
            [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder],
            stdout=subprocess.DEVNULL,
        )
        try:
            time.sleep(1.0)
            for number, (away_s, least) in enumerate(((0.0, 0.95), (0.05, 0.95), (0.15, 0.90))):
                part, most = pace_with(far_redis(port, away_s), f"A{number}")
                figures.append(
                    Figure(
                        f"part of the pace lost, Redis {away_s * 1000:.0f} ms away",
                        1.0 - part,
                        1.0 - least,
                        f"{part:.3f} of {PACE:g}/s, at most {most} in a second",
                    )
                )
            if "--pace-only" not in sys.argv:
                os.environ["TIW_QUOTA_URL"] = f"redis://127.0.0.1:{port}"
                one, four = run((1.0,), together=False), run(SHARES, together=False)
                means = [statistics.fmean(stats.delays) for stats in (four, one)]
                figures += [
                    Figure(
                        "mean delay: four hosts, 70/10/10/10 % of the waits / one process",
                        means[0] / means[1],
                        1.2,
                        f"{means[0]:.2f} and {means[1]:.2f} s",
                    ),
                    Figure("rejects of the four", four.rejects, 0.0, f"of {four.requests}"),
                ]
        finally:
            end([server])
    return report(*itertools.chain(figures))


if __name__ == "__main__":
    sys.exit(main())
