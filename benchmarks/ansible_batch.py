# SPDX-License-Identifier: Apache-2.0
"""A hundred finished recordings in one Ansible task, against a playbook that only pings.

The quota alone asks for 100 / ``requests_per_second``. The figure is what the task takes beyond
the ping, over that time plus 2 s; the target is 1.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import Figure, report

from tiw_automation.simulator import Simulator

COUNT = 100
REQUESTS_PER_SECOND = 19
SPARE_S = 2
ROUNDS = 3
COLLECTIONS = Path(__file__).parents[1] / "collections"

PING = """
- hosts: localhost
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - ansible.builtin.ping:
"""

BATCH = """
- hosts: localhost
  gather_facts: false
  vars: {ansible_python_interpreter: "{{ ansible_playbook_python }}"}
  tasks:
    - tiw.automation.online_record_info:
        task_ids: TASK_IDS
      register: lessons
    - ansible.builtin.assert:
        that: lessons.all_finished and lessons.polls == COUNT
        quiet: true
"""


def seconds(playbook: str, folder: str, environment: dict[str, str]) -> float:
    """Run a playbook and return its wall time."""
    path = Path(folder, "play.yml")
    path.write_text(playbook)
    started = time.perf_counter()
    done = subprocess.run(
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-i",
            "localhost,",
            "-c",
            "local",
            path,
        ],
        env=environment,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise SystemExit(done.stdout + done.stderr)
    return time.perf_counter() - started


def main() -> int:
    """Print the ratio; return 1 when it misses the target."""
    with Simulator() as simulator, tempfile.TemporaryDirectory() as folder:
        task_ids = simulator.add_finished(COUNT)
        batch = BATCH.replace("TASK_IDS", json.dumps(task_ids)).replace("COUNT", str(COUNT))
        environment = {
            **os.environ,
            **simulator.environment(),
            "ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS),
            "ANSIBLE_HOME": folder,
        }
        seconds(PING, folder, environment)
        times = [
            [seconds(playbook, folder, environment) for playbook in (PING, batch)]
            for _ in range(ROUNDS)
        ]
        rejects = simulator.rejects
    if rejects:
        print(f"{rejects} requests were over the limit")
        return 1
    beyond = statistics.median(batch - ping for ping, batch in times)
    allowed = COUNT / REQUESTS_PER_SECOND + SPARE_S
    return report(
        Figure(
            f"{COUNT} recordings in one task, beyond a ping / ({COUNT} / rate + {SPARE_S} s)",
            beyond / allowed,
            1.0,
            f"{ROUNDS} rounds, {beyond:.1f} s of {allowed:.1f} s",
        )
    )


if __name__ == "__main__":
    sys.exit(main())
