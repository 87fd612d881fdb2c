# SPDX-License-Identifier: Apache-2.0
"""What a run of the module costs, compared with ``ansible.builtin.ping``.

The wall time of the whole command, and the CPU time of all its processes, which other work on the
machine changes less. The module polls one recording; the ping sends no request.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from playbooks import Playbooks, Took
from report import Figure, report

from tiw_automation.simulator import Simulator

TARGET = 1.25
PING: list[dict[str, Any]] = [{"ansible.builtin.ping": {}}]
MODULE: list[dict[str, Any]] = [{"tiw.automation.online_record_info": {"task_ids": "{{ ids }}"}}]


def main() -> int:
    """Print the ratios; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="25 rounds instead of 10")
    rounds = 25 if parser.parse_args().full else 10
    runs: dict[str, list[Took]] = {"ping": [], "module": []}
    with Simulator() as simulator, Playbooks(simulator) as playbooks:
        ids = simulator.add_finished(1)
        for _ in range(rounds):
            runs["ping"].append(playbooks.play(PING))
            runs["module"].append(playbooks.play(MODULE, ids=ids))
    figures = []
    for clock, of in (("wall", lambda took: took.wall), ("CPU", lambda took: took.cpu)):
        module, ping = (statistics.median(map(of, runs[name])) for name in ("module", "ping"))
        figures.append(
            Figure(
                f"a run of the module / a run of ansible.builtin.ping, {clock} time",
                module / ping,
                TARGET,
                f"{rounds} rounds, {module:.2f} s / {ping:.2f} s",
            )
        )
    return report(*figures)


if __name__ == "__main__":
    sys.exit(main())
