# SPDX-License-Identifier: Apache-2.0
"""Fixtures for every test; the simulator's come from the plugin that users load too."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator

import pytest

pytest_plugins = ["tiw_automation.simulator.pytest_plugin"]

_OURS = ("TENCENTCLOUD_", "TIW_", "TCCLI_", "TKE_")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_AUTHORITIES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


@pytest.fixture(autouse=True)
def _clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Keep what this machine sets for Tencent Cloud, a proxy or TLS out of every test.

    Each has an empty home of its own, too: Tencent's tools keep keys and endpoints there.
    """
    for name in list(os.environ):
        if name.startswith(_OURS) or name.lower() in _PROXIES or name in _AUTHORITIES:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session", autouse=True)
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what the pace of this host leaves, in this process and its children, within the run.

    For the whole run: processes that pace each other have to find the same folder, and what is
    started for many tests must not see this machine's home either.
    """
    with pytest.MonkeyPatch.context() as patch:
        # Which repositories git may read is written there.
        patch.setenv("GIT_CONFIG_GLOBAL", os.path.expanduser("~/.gitconfig"))
        patch.setenv("TMPDIR", str(tmp_path_factory.mktemp("tmp")))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def _temporary_folder_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
