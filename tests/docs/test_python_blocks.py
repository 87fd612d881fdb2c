# SPDX-License-Identifier: Apache-2.0
"""Python blocks, each as a program of its own that asks the simulator."""

from __future__ import annotations

import ast
import asyncio
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from page_blocks import Block, blocks
from page_scenes import names_for, scene_of

from tiw_automation.core import metrics


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.id)
def test_a_python_block_runs(block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with scene_of(block.page, tmp_path) as scene:
        for name, value in scene.simulator.environment().items():
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", [])
        # A callback of the block must not reach other tests.
        monkeypatch.setattr(metrics, "_receivers", [])
        names = {"__name__": "__main__", **names_for(block, scene)}
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(scene.fitted(block.text), block.id, "exec", flags)
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(eval(code, names))
        else:
            exec(code, names)


@pytest.mark.parametrize("block", blocks("pytest"), ids=lambda block: block.id)
def test_a_block_of_tests_passes(block: Block, tmp_path: Path) -> None:
    (tmp_path / "test_block.py").write_text(block.text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout
