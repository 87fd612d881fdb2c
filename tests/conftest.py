# SPDX-License-Identifier: Apache-2.0
"""Fixtures for every test; the simulator's come from the plugin that users load too."""

from __future__ import annotations

import os

import pytest

pytest_plugins = ["tiw_automation.simulator.pytest_plugin"]

_OURS = ("TENCENTCLOUD_", "TIW_", "TCCLI_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what this machine sets for Tencent Cloud or a proxy out of every test."""
    for name in list(os.environ):
        if name.startswith(_OURS) or name.lower() in _PROXIES:
            monkeypatch.delenv(name)
