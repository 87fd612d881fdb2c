# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

_spec = importlib.util.spec_from_file_location(
    "rude_server", Path(__file__).with_name("rude_server.py")
)
assert _spec is not None
assert _spec.loader is not None
_rude = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_rude)


@pytest.fixture
def rude() -> ModuleType:
    """The module of servers that misbehave."""
    return _rude
