# SPDX-License-Identifier: Apache-2.0
"""Undocumented answers in results, on the terminal and in the role."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.simulator import Simulator

Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]
MESSAGE = "code: 40004\x1b[2J\x1b[31m\nok: [localhost]\r\u202e"


@pytest.fixture(autouse=True)
def _new_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the simulator answer with a reason that is not on the API's page."""
    reasons = ("USER_CALL", "EXCEPTION", "TENANT_LIMIT")
    monkeypatch.setattr("tiw_automation.simulator.script.FINISH_REASONS", reasons)


def info(ids: list[str], **options: Any) -> dict[str, Any]:
    return {"tiw.automation.online_record_info": {"task_ids": ids, **options}}


def test_unknown_reasons_and_control_characters(tiw_simulator: Simulator, play: Play) -> None:
    tiw_simulator.add("new", timeline=[], finish_reason="TENANT_LIMIT")
    tiw_simulator.add("bad", timeline=[], finish_reason="EXCEPTION")
    tiw_simulator.add("drama", error={"message": MESSAGE})
    ids = ["new", "bad"]
    played = play(
        info([*ids, "drama"], fail_on=["failed"]),
        info(ids, accept_finish_reasons="AUTO, TENANT_LIMIT"),
        info(ids, accept_finish_reasons=["EXCEPTION"]),
        info(ids, accept_finish_reasons=["no reason"]),
        arguments=("-v",),
    )
    usual, named, other, wrong = played.results
    verdicts = [
        [record["verdict"] for record in found["records"]] for found in (usual, named, other)
    ]
    assert verdicts == [
        ["finished", "failed", "failed"],
        ["finished", "failed"],
        ["failed", "finished"],
    ]
    # Both are warnings: an unknown reason that is accepted by default, and one that is named.
    for found in (usual, named):
        assert "TENANT_LIMIT" in json.dumps(found["warnings"])
    assert "accept_finish_reasons" in wrong["msg"]
    assert usual["failed"]
    assert "code: 40004" in usual["msg"]
    for text in (usual["msg"], usual["records"][2]["message"], *map(str, usual["warnings"])):
        assert text.isprintable()
    for sign in ("\x1b", "\r", "\u202e"):
        assert sign not in played.output


def test_the_role_accepts_the_same_reasons_as_the_module(
    tiw_simulator: Simulator, command: Command, tmp_path: Path
) -> None:
    tiw_simulator.add("new", timeline=[], finish_reason="TENANT_LIMIT", videos=[{"kind": "mixed"}])
    (tmp_path / "lessons").mkdir()
    done = command(
        *("ansible-playbook", "tiw.automation.archive"),
        *("-e", "task_ids=new", "-e", f"folder={tmp_path}/lessons"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "lessons/new/manifest.json").exists()
