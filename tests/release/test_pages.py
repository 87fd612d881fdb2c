# SPDX-License-Identifier: Apache-2.0
"""Commands of pages that need an engine, a cluster or an account: their syntax and their files."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

page_blocks = pytest.importorskip("page_blocks")
ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = {"ansible-builder", "ansible-navigator", "cd", "export", "gh", "helm", "kubectl", "make"}
PROGRAMS |= {"pip", "podman"}


@pytest.mark.parametrize("block", page_blocks.blocks_for(__file__), ids=lambda block: block.id)
def test_the_commands_are_valid_and_their_files_exist(block: Any) -> None:
    subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)
    folder = ROOT
    for line in re.sub(r"\s#.*", "", block.text).splitlines():
        program, *words = line.split()
        assert program in PROGRAMS, line
        named = [word for word in words if word.startswith("containers")]
        assert all((folder / word).exists() for word in named), line
        if program == "cd":
            folder /= words[0]
