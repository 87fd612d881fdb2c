# SPDX-License-Identifier: Apache-2.0
"""The size of the scale tests, and the servers of a platform, started anew for each test run."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

_PATIENCE_S = 30.0
# Read before a fixture replaces it.
_TEMPORARY_FOLDER = tempfile.gettempdir()
_HOW = {
    "PostgreSQL": "apt-get install postgresql (Debian), dnf install postgresql-server (Fedora), "
    "brew install postgresql (macOS)",
    "Redis": "apt-get install redis-server (Debian), dnf install valkey (Fedora), "
    "brew install redis (macOS)",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("scale")
    group.addoption("--sensors", type=int, default=48, help="deferred sensors, 6 or more (48)")
    group.addoption(
        "--database", choices=("sqlite", "postgresql"), default="sqlite", help="Airflow's (sqlite)"
    )
    group.addoption(
        "--gone", type=float, default=15.0, help="how long TIW cannot be reached, seconds (15)"
    )
    group.addoption("--parallelism", type=int, default=2, help="how many tasks run at once (2)")


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """An empty PostgreSQL on loopback; its address in the form of SQLAlchemy."""
    names = ("initdb", "postgres", "pg_isready")
    initdb, postgres, pg_isready = (_program("PostgreSQL", name) for name in names)
    user, port = _server_user(), _free_port()
    with _folder(user) as folder:
        data = folder / "data"
        _run(
            [initdb, "-D", str(data), "-U", "airflow", "-A", "trust", "-E", "UTF8", "--no-sync"],
            user,
            folder,
        )
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "max_connections": 300,
            # Its data is deleted with the test in any case.
            "fsync": "off",
        }
        command = [postgres, "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        # SIGINT is its fast shutdown: it does not wait for its clients.
        asked = [pg_isready, "--quiet", "--host=127.0.0.1", f"--port={port}"]
        with _server("PostgreSQL", command, user, folder, asked, signal.SIGINT):
            yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"


@pytest.fixture(scope="module")
def redis() -> Iterator[str]:
    """An empty Redis on loopback; its address."""
    program = _program("Redis", "redis-server", "valkey-server")
    cli = _program("Redis", "redis-cli", "valkey-cli")
    port = _free_port()
    with _folder(None) as folder:
        command = [program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
        command += ["--save", "", "--appendonly", "no"]
        asked = [cli, "-e", "-h", "127.0.0.1", "-p", str(port), "ping"]
        with _server("Redis", command, None, folder, asked, signal.SIGTERM):
            yield f"redis://127.0.0.1:{port}/0"


def _program(server: str, *names: str) -> str:
    # Debian keeps the programs of PostgreSQL off PATH.
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for path in (None, *map(str, folders)):
        for name in names:
            if found := shutil.which(name, path=path):
                return found
    raise FileNotFoundError(
        f"These tests need {server}, and {' or '.join(names)} is not on PATH. "
        f"Install it: {_HOW[server]}."
    )


def _server_user() -> str | None:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise RuntimeError(
        "PostgreSQL does not run as root, and neither the user postgres nor nobody exists."
    )


@contextlib.contextmanager
def _folder(user: str | None) -> Iterator[Path]:
    # Not pytest's folder: another user cannot enter it, and the path of a socket is limited.
    with tempfile.TemporaryDirectory(prefix="tiw-server-", dir=_TEMPORARY_FOLDER) as name:
        if user is not None:
            shutil.chown(name, user)
        yield Path(name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run(command: list[str], user: str | None, folder: Path) -> None:
    done = subprocess.run(
        command,
        user=user,
        cwd=folder,
        env=_environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, f"{command[0]}:\n{done.stdout}{done.stderr}"


@contextlib.contextmanager
def _server(
    name: str,
    command: list[str],
    user: str | None,
    folder: Path,
    ready: list[str],
    end: signal.Signals,
) -> Iterator[None]:
    """Run a server; enter when the command ``ready`` succeeds."""
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            user=user,
            cwd=folder,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + _PATIENCE_S
        while subprocess.run(ready, env=_environment(), capture_output=True).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{name} does not answer:\n{log.read_text(errors='replace')}")
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(end)
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
