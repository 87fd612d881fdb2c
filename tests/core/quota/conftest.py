# SPDX-License-Identifier: Apache-2.0
"""Keeps the pace files of each test in its own folder."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from tiw_automation.core.quota import share as share_module


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of the pace files, which does not exist yet."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(share_module, "_warned", set())
    return tmp_path / f"tiw-automation-{os.geteuid()}"
