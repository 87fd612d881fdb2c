# SPDX-License-Identifier: Apache-2.0
"""Tencent's unmodified command line, ``tccli``."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

Call = Callable[[str, dict[str, Any]], dict[str, Any]]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(simulator: Simulator, tmp_path: Path) -> Run:
    """Return a function that runs ``tccli tiw`` with some arguments."""
    beside = Path(sys.executable).with_name("tccli")
    tccli = str(beside) if beside.exists() else shutil.which("tccli")
    if tccli is None:
        pytest.fail("tccli is missing: pip install -r requirements/tccli.txt.")
    environment = {**os.environ, **simulator.environment(), "HOME": str(tmp_path)}

    def run_it(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [tccli, "tiw", *arguments, "--endpoint", simulator.endpoint],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run_it


@pytest.fixture
def call(run: Run) -> Call:
    def call_it(action: str, parameters: dict[str, Any]) -> dict[str, Any]:
        arguments = []
        for name, value in parameters.items():
            shown = value if isinstance(value, str) else json.dumps(value)
            arguments += [f"--{name}", shown]
        done = run(action, *arguments)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    return call_it


def test_tccli_calls_every_action(call: Call, all_actions: Callable[[Call], None]) -> None:
    all_actions(call)


def test_its_waiter_sees_the_end(simulator: Simulator, run: Run) -> None:
    simulator.add("lesson", timeline=[{"RECORDING": 5}])
    simulator.advance(10)
    waiter = {"expr": "Status", "to": "FINISHED", "timeout": 20, "interval": 1}
    done = run(
        *("DescribeOnlineRecord", "--SdkAppId", str(simulator.sdk_app_id), "--TaskId", "lesson"),
        *("--waiter", str(waiter), "--filter", "VideoInfos[0].VideoFormat"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[-1] == '"mp4"'
