# SPDX-License-Identifier: Apache-2.0
"""How long ``tiw --help`` takes, beside an app of Click without a command.

Both run as fresh processes, alternately. The figure is the ratio of the medians; the target is
1.5.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from report import Figure, report

ROUNDS = 21
TARGET = 1.5

EMPTY = """
import sys
import click

@click.group()
def app():
    pass

sys.argv[1:] = ["--help"]
app()
"""

OURS = """
import sys
from tiw_automation.cli.__main__ import main

sys.argv[1:] = ["--help"]
sys.exit(main())
"""


def seconds(program: str) -> float:
    """Run a program in a fresh interpreter and return its wall time."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> int:
    """Print the ratio; return 1 when it misses the target."""
    programs = (EMPTY, OURS)
    for program in programs:
        seconds(program)
    times = [[seconds(program) for program in programs] for _ in range(ROUNDS)]
    empty, ours = (statistics.median(column) for column in zip(*times, strict=True))
    return report(Figure("tiw --help / empty Click app", ours / empty, TARGET, f"{ROUNDS} rounds"))


if __name__ == "__main__":
    sys.exit(main())
