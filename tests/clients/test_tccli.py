# SPDX-License-Identifier: Apache-2.0
"""Tencent's unmodified command line, ``tccli``."""

from __future__ import annotations

import importlib.util
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
from tiw_automation.simulator.parameters import Schema
from tiw_automation.simulator.schema import REQUESTS

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


def test_tccli_runs_a_task_of_each_family(call: Call, all_families: Callable[[Call], None]) -> None:
    all_families(call)


def test_each_request_has_the_parameters_of_the_service() -> None:
    tccli = importlib.util.find_spec("tccli")
    assert tccli is not None
    assert tccli.origin is not None
    source = Path(tccli.origin).with_name("services") / "tiw/v20190919/api.json"
    api = json.loads(source.read_text(encoding="utf-8"))

    def parameters(name: str) -> dict[str, tuple[Any, ...]]:
        described = {}
        for member in api["objects"][name]["members"]:
            is_list = member["type"] == "list"
            nested = member["member"] in api["objects"]
            kind = parameters(member["member"]) if nested else _TYPES[member["member"]]
            described[member["name"]] = (kind, is_list, member["required"])
        return described

    def simulated(schema: Schema) -> dict[str, tuple[Any, ...]]:
        return {
            name: (
                simulated(field.kind) if isinstance(field.kind, dict) else field.kind,
                field.is_list,
                field.required,
            )
            for name, field in schema.items()
        }

    actions = [name for name in REQUESTS if not name.startswith("AssumeRole")]
    # The warnings, which are on an allow list, are not simulated.
    assert set(api["actions"]) - set(actions) == {"DescribeWarningCallback", "SetWarningCallback"}
    for name in actions:
        assert simulated(REQUESTS[name]) == parameters(api["actions"][name]["input"]), name


_TYPES = {"int64": int, "uint64": int, "string": str, "bool": bool}


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
