# SPDX-License-Identifier: Apache-2.0
"""Keeps the pace files and the connections of each test apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as client
from redis_servers import redis_server

from tiw_automation.core.quota import redis_thread, share as share_module


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the pace files, which does not exist yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(share_module, "_warned", set())
    monkeypatch.setattr(redis_thread, "_threads", {})
    return tmp_path / f"tiw-automation-{os.geteuid()}"


@pytest.fixture(scope="session")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with redis_server(tmp_path_factory.mktemp("redis")) as port:
        yield port


@pytest.fixture
def port(_server: int) -> int:
    """The port of an empty Redis server."""
    with client.Redis(port=_server) as connection:
        connection.flushall()
    return _server
