# SPDX-License-Identifier: Apache-2.0
"""A thousand and ten thousand finished recordings, each in one Ansible task.

The quota alone takes N / ``requests_per_second``. The figure is the time of the task beyond that:
the whole run of ``ansible-playbook``, less a run that does nothing.

At Tencent's own pace 10,000 take nine minutes, so the pace is 200 here, on a simulator whose
limit is raised to match; the time beyond it is then greater, as the machine is busier.
``--full`` adds a run of each at 19.

Beside it: a module that also returns ten thousand records and sends no request. Its time is that of
Ansible: sending the arguments, reading the result and keeping it as a variable.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from playbooks import NOTHING, Playbooks, holds
from report import Figure, report

from tiw_automation.core import TiwClient
from tiw_automation.simulator import Simulator

TARGETS_S = {1_000: 2.0, 10_000: 6.0}
TENCENTS_LIMIT, TENCENTS_PACE = 20, 19
RAISED_LIMIT, RAISED_PACE = 220, 200


def tasks(count: int) -> list[dict[str, Any]]:
    """Return the task, and one that checks that it found all recordings."""
    return [
        {
            "tiw.automation.online_record_info": {
                "task_ids": "{{ task_ids }}",
                "requests_per_second": "{{ pace }}",
            },
            "register": "lessons",
        },
        holds("lessons.all_finished", f"lessons.polls == {count}"),
    ]


RETURNS_ONLY = """
import json
from ansible.module_utils.basic import AnsibleModule

module = AnsibleModule({"task_ids": {"type": "list"}, "path": {"type": "path"}})
with open(module.params["path"]) as file:
    record = json.load(file)
records = [{**record, "task_id": task_id} for task_id in module.params["task_ids"]]
module.exit_json(records=records, video_urls=[url for r in records for url in r["video_urls"]])
"""


def measure_returning(count: int) -> Figure:
    """Run the module that sends no request."""
    with (
        Simulator() as simulator,
        tempfile.TemporaryDirectory() as folder,
        Playbooks(simulator, library=folder) as playbooks,
    ):
        task_ids = simulator.add_finished(count)
        with TiwClient(**simulator.settings()) as client:
            record = client.describe_online_record(task_ids[0]).to_dict()
        path = Path(folder, "record.json")
        path.write_text(json.dumps({**record, "exists": True, "verdict": "finished"}))
        Path(folder, "returns_only.py").write_text(RETURNS_ONLY)
        asked = {"task_ids": "{{ task_ids }}", "path": str(path)}
        returning = [
            {"returns_only": asked, "register": "lessons"},
            holds(f"lessons.records | length == {count}"),
        ]
        nothing = playbooks.play(NOTHING, task_ids=task_ids)
        whole = playbooks.play(returning, task_ids=task_ids)
    return Figure(
        f"{count:,} records from a module that sends no request: seconds",
        whole.wall - nothing.wall,
        None,
        f"one run, {whole.cpu - nothing.cpu:.1f} s of CPU",
    )


def measure(count: int, limit: int, pace: int) -> Figure:
    """Run it once."""
    with Simulator(limit=limit) as simulator, Playbooks(simulator) as playbooks:
        task_ids = simulator.add_finished(count)
        nothing = playbooks.play(NOTHING, task_ids=task_ids, pace=pace)
        whole = playbooks.play(tasks(count), task_ids=task_ids, pace=pace)
        rejects = simulator.rejects
    if rejects:
        raise SystemExit(f"{rejects} requests were refused: the comparison is invalid")
    took = whole.wall - nothing.wall
    return Figure(
        f"{count:,} finished recordings in one task: seconds beyond {count:,} / {pace}",
        took - count / pace,
        TARGETS_S[count],
        f"one run, {took:.1f} s, {whole.cpu - nothing.cpu:.1f} s of CPU, no request refused",
    )


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="at 19 requests a second as well")
    full = parser.parse_args().full
    figures = [measure(count, RAISED_LIMIT, RAISED_PACE) for count in TARGETS_S]
    figures.append(measure_returning(max(TARGETS_S)))
    if full:
        figures += [measure(count, TENCENTS_LIMIT, TENCENTS_PACE) for count in TARGETS_S]
    return report(*figures)


if __name__ == "__main__":
    sys.exit(main())
