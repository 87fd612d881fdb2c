# SPDX-License-Identifier: Apache-2.0
"""``pytest_plugins = ["tiw_automation.simulator.pytest_plugin"]`` gives ``tiw_simulator``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tiw_automation.simulator.server import Simulator


@pytest.fixture
def tiw_simulator() -> Iterator[Simulator]:
    """Yield a simulator without recordings, on its own loopback port."""
    with Simulator() as simulator:
        yield simulator
