# SPDX-License-Identifier: Apache-2.0
"""Redis servers of tests: a real one, and a stand-in that runs the same script in Lua."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

REAL = bool(os.environ.get("TIW_REAL_REDIS"))
needs_real = pytest.mark.skipif(not REAL, reason="needs a real redis-server: tox -e redis")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


class RealRedis:
    """A redis-server without persistence on loopback.

    :param plain: whether ``port`` speaks plain Redis; else the options say what it speaks.
    """

    def __init__(
        self, folder: Path, *options: str, port: int | None = None, plain: bool = True
    ) -> None:
        self.folder, self.options, self.plain = folder, options, plain
        self.port = port or free_port()
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def start(self) -> None:
        program = shutil.which("redis-server") or pytest.fail("apt-get install redis-server")
        port = str(self.port if self.plain else 0)
        self.process = subprocess.Popen(
            [program, "--port", port, "--bind", "127.0.0.1", "--save", "", *self.options],
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
        )
        for _ in range(500):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                return
            time.sleep(0.01)
        pytest.fail("redis-server does not start")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextlib.contextmanager
def redis_server(folder: Path) -> Iterator[int]:
    """Run a server, a real one where the tests ask for it; return its port."""
    if REAL:
        real = RealRedis(folder)
        yield real.port
        real.kill()
    else:
        with fake_redis() as port:
            yield port


@contextlib.contextmanager
def fake_redis() -> Iterator[int]:
    """Run a stand-in for a server; return its port."""
    # The scripts of some tests use this module without it.
    from fakeredis import TcpFakeServer

    server = TcpFakeServer(("127.0.0.1", 0), server_type="redis")
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
