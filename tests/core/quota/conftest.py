# SPDX-License-Identifier: Apache-2.0
"""Keeps the pace files and the connections of each test apart."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis_servers import redis_server

from tiw_automation.core.quota import redis_thread, share as share_module


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the pace files, which does not exist yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(share_module, "_warned", set())
    monkeypatch.setattr(redis_thread, "_threads", {})
    return tmp_path / f"tiw-automation-{os.geteuid()}"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """The port of a Redis server."""
    with redis_server(tmp_path) as found:
        yield found
