# SPDX-License-Identifier: Apache-2.0
"""How other programs are run: those of this environment first, with their output kept."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from release.places import ReleaseError

BIN = Path(sys.executable).parent


def run(
    program: str | Path,
    *arguments: str | Path,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a program and return what it printed.

    :param env: variables beside those of this process.
    :raises ReleaseError: it failed; the message has its output.
    """
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [program, *arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path, "NO_COLOR": "1", **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        command = " ".join([Path(program).name, *map(str, arguments)])
        raise ReleaseError(f"{command}: exit status {done.returncode}\n{done.stdout}")
    return done.stdout
