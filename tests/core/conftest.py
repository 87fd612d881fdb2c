# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from types import ModuleType

import pytest
import rude_server


@pytest.fixture
def rude() -> ModuleType:
    """The module of servers that misbehave."""
    return rude_server
