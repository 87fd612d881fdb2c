# SPDX-License-Identifier: Apache-2.0
"""The counts of ``tools/trips``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools/trips"


def trip(name: str) -> tuple[int, int, int]:
    """Return the wings, the changes of wing and the files of a trip.

    In a process of its own: the count reads every call, and an Airflow home is made for it.
    """
    done = subprocess.run(
        [sys.executable, str(TOOL), name],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wings, changes, files = (
        int(word) for word in done.stdout.splitlines()[-1].split() if word.isdigit()
    )
    return wings, changes, files
