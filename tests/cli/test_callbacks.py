# SPDX-License-Identifier: Apache-2.0
"""``tiw callbacks``."""

from __future__ import annotations

import json

from tiw_command import run_tiw

from tiw_automation.core import TiwClient
from tiw_automation.simulator import Simulator

KEY = "k" * 43
URL = "https://hooks.example.com/tiw?secret=1"


def _settings(simulator: Simulator) -> tuple[str | None, str | None]:
    with TiwClient(**simulator.settings()) as client:
        found = client.describe_online_record_callback()
    return found.url, found.key


def test_set_show_and_remove(tiw_simulator: Simulator) -> None:
    done = run_tiw(tiw_simulator, "callbacks", "set", URL, "--key-file", "-", given=KEY)
    assert done.exit_code == 0
    assert _settings(tiw_simulator) == (URL, KEY)
    shown = run_tiw(tiw_simulator, "callbacks", "show")
    assert shown.stdout == "https://hooks.example.com/tiw\tset\n"
    found = json.loads(run_tiw(tiw_simulator, "callbacks", "show", "-o", "json").stdout)
    assert found["key_is_set"] is True
    assert KEY not in done.output + shown.output
    assert run_tiw(tiw_simulator, "callbacks", "remove", URL).exit_code == 0
    assert _settings(tiw_simulator) == (None, None)


def test_the_key_of_the_environment(tiw_simulator: Simulator) -> None:
    run_tiw(tiw_simulator, "callbacks", "set", URL, TIW_CALLBACK_KEY=KEY)
    assert _settings(tiw_simulator) == (URL, KEY)
    # Without a key the present one stays.
    run_tiw(tiw_simulator, "callbacks", "set", f"{URL}2")
    assert _settings(tiw_simulator) == (f"{URL}2", KEY)


def test_the_address_of_another_user(tiw_simulator: Simulator) -> None:
    tiw_simulator.set_callback("https://other.example.com/", KEY)
    for command in (["set", URL], ["remove", URL]):
        refused = run_tiw(tiw_simulator, "callbacks", *command)
        assert refused.exit_code == 1
        assert "code: CallbackTaken" in refused.stderr
    assert run_tiw(tiw_simulator, "callbacks", "set", URL, "--force").exit_code == 0
    assert _settings(tiw_simulator)[0] == URL


def test_usage(tiw_simulator: Simulator) -> None:
    short = run_tiw(tiw_simulator, "callbacks", "set", URL, TIW_CALLBACK_KEY="short")
    assert short.exit_code == 2
    assert "short" not in short.output.replace("a short one", "")
    assert run_tiw(tiw_simulator, "callbacks", "set", "ftp://x").exit_code == 2
    assert run_tiw(tiw_simulator, "callbacks", "remove").exit_code == 2
    assert not tiw_simulator.requests


def test_make_key(tiw_simulator: Simulator) -> None:
    key = run_tiw(tiw_simulator, "callbacks", "make-key").stdout.strip()
    assert len(key) == 43
    assert not tiw_simulator.requests
