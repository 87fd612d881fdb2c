# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_a_reader_follows_a_modules_task_id_to_the_wire_and_back_in_few_files() -> None:
    """A process of its own: the count reads every call."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools/trips"), "module"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wings, changes, files = (
        int(word) for word in done.stdout.splitlines()[-1].split() if word.isdigit()
    )
    assert (wings <= 6, changes <= 9, files <= 15) == (True, True, True), done.stdout
