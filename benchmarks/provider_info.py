# SPDX-License-Identifier: Apache-2.0
"""What each start of Airflow costs for the provider: its ``get_provider_info``.

A fresh interpreter imports the entry point and calls it; another one imports an empty module in
the same folder. The target is 1.25. Each import of the call besides ``tiw_automation`` and
``tiw_automation.airflow`` themselves, which are empty, is a miss.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Figure, report

import tiw_automation

ROUNDS = 25
TARGET = 1.25
ALLOWED = {
    "tiw_automation",
    "tiw_automation.airflow",
    "tiw_automation.airflow.get_provider_info",
}

OURS = "from tiw_automation.airflow.get_provider_info import get_provider_info as info; info()"
EMPTY = "from an_empty.package.module import info; info()"
IMPORTED = "import sys; before = set(sys.modules)\n{}\nprint(*sorted(set(sys.modules) - before))"


def run(program: str, folder: str) -> str:
    """Run a program in a fresh interpreter whose only addition is ``folder``."""
    # -S and -I: other installed packages and their .pth files would take most of the time.
    # typing has been imported by any process that runs Airflow.
    program = f"import sys, typing; sys.path.insert(0, {folder!r})\n{program}"
    command = [sys.executable, "-I", "-S", "-c", program]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def seconds(program: str, folder: str) -> float:
    """Return how long :func:`run` takes."""
    started = time.perf_counter()
    run(program, folder)
    return time.perf_counter() - started


def main() -> int:
    """Print the ratio; return 1 when it misses the target."""
    source = str(Path(tiw_automation.__file__).parents[1])
    imported = set(run(IMPORTED.format(OURS), source).split()) - ALLOWED
    foreign = {name for name in imported if name.split(".")[0] not in sys.stdlib_module_names}
    if foreign:
        print(f"get_provider_info imports {', '.join(sorted(foreign))}")
        return 1
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder, "an_empty", "package")
        package.mkdir(parents=True)
        Path(folder, "an_empty", "__init__.py").touch()
        (package / "__init__.py").touch()
        (package / "module.py").write_text("def info():\n    return {}\n")
        programs = [(EMPTY, folder), (OURS, source)]
        for program in programs:
            seconds(*program)
        times = [[seconds(*program) for program in programs] for _ in range(ROUNDS)]
    empty, ours = (statistics.median(column) for column in zip(*times, strict=True))
    return report(
        Figure("get_provider_info / an empty module", ours / empty, TARGET, f"{ROUNDS} rounds")
    )


if __name__ == "__main__":
    sys.exit(main())
