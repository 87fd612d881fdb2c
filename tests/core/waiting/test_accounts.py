# SPDX-License-Identifier: Apache-2.0
"""Many accounts in one process, with real threads, connections and pace files."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tiw_automation.core import RecordWatcher, TiwClient
from tiw_automation.core.api import idle_connections
from tiw_automation.core.quota import pace_file
from tiw_automation.core.waiting import threads as threads_module
from tiw_automation.core.waiting.threads import CallThreads
from tiw_automation.simulator import Simulator

PACE = 19.0
RUNNING = [{"RECORDING": 1e6}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary folder, where the pace files are."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def watchers(api: Simulator, count: int, threads: CallThreads) -> list[RecordWatcher]:
    """Return the watchers of so many accounts, which share some threads."""
    found = []
    for number in range(count):
        keys = {"secret_id": f"AKIDaccount{number}", "secret_key": f"key{number}"}
        api.add_account(**keys)
        found.append(
            RecordWatcher(
                TiwClient(**{**api.settings(), **keys, "requests_per_second": PACE, "timeout": 5})
            )
        )
        found[-1]._threads = threads
    return found


async def wait(watcher: RecordWatcher, ids: list[str]) -> None:
    async for _ in watcher.watch(ids, poll_interval=0.05):
        pass


async def rates(
    watching: list[RecordWatcher], ids: list[str], warm_up_s: float, seconds: float
) -> list[float]:
    """Return the requests a second of each watcher."""
    waits = [asyncio.create_task(wait(watcher, ids)) for watcher in watching]
    await asyncio.sleep(warm_up_s)
    before, began = [watcher.polls for watcher in watching], time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - began
    found = [(now.polls - n) / took for now, n in zip(watching, before, strict=True)]
    for task in waits:
        task.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    return found


async def test_an_account_that_hangs_slows_no_other(folder: Path) -> None:
    threads = CallThreads(16)
    with Simulator(limit=0) as api, socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        ids = [api.add(f"lesson{number}", timeline=RUNNING) for number in range(20)]
        watching = watchers(api, 4, threads)
        # It accepts connections, and never answers.
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        hanging = RecordWatcher(TiwClient(**{**api.settings(), "endpoint": endpoint}))
        hanging._threads = threads
        # On a busy machine, a process that is alone does not reach its pace either.
        for _ in range(3):
            *others, hung = await rates([*watching, hanging], ids, 1.5, 2.0)
            if min(others) >= 0.95 * PACE - 0.5:
                break
    assert hung < 5
    # One request less is chance.
    assert min(others) >= 0.95 * PACE - 0.5


def files(kind: Callable[[str], bool]) -> int:
    """Return how many open files of this process are of a kind."""
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += kind(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            continue
    return found


async def test_threads_connections_and_files_are_closed_when_they_are_idle(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module, name in (
        (threads_module, "_IDLE_S"),
        (idle_connections, "_IDLE_S"),
        (pace_file, "_KEPT_OPEN_S"),
    ):
        monkeypatch.setattr(module, name, 0.3)
    threads = CallThreads(16)

    def is_pace_file(path: str) -> bool:
        return path.endswith(".pace")

    def is_socket(path: str) -> bool:
        return path.startswith("socket:")

    with Simulator(limit=0) as api:
        ids = [api.add(f"lesson{number}", timeline=RUNNING) for number in range(20)]
        watching = watchers(api, 4, threads)
        before = files(is_socket)
        waits = [asyncio.create_task(wait(watcher, ids)) for watcher in watching]
        deadline = time.monotonic() + 5.0
        while files(is_pace_file) < 4 or files(is_socket) <= before:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        deadline = time.monotonic() + 5.0
        while threads._idle or files(is_pace_file) or files(is_socket) > before:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
