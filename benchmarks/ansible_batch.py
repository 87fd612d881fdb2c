# SPDX-License-Identifier: Apache-2.0
"""Twenty finished recordings: one task of ours, compared with the loops that users write.

* a ``loop`` over our own module, one process for each
* a ``loop`` of ``ansible.builtin.uri``; it cannot sign, so the requests are signed beforehand,
  which costs it nothing here
* a ``loop`` of ``ansible.builtin.command`` with Tencent's ``tccli``

All poll the same simulator, one after the other, and each must find all recordings FINISHED. The
time of a task is that of its run of ``ansible-playbook``, less a run that does nothing; the ratios
are of the medians, and those of the whole runs are given beside them. The quota slows ours down: at
19 requests a second the twentieth leaves a second after the first.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import statistics
import subprocess
import sys
import time
from typing import Any
from urllib.parse import urlsplit

from playbooks import NOTHING, ROOT, Playbooks, holds
from report import Figure, report

from tiw_automation.simulator import Simulator

COUNT = 20
TARGETS = {"module": 0.12, "uri": 0.25, "tccli": 0.1}

ONE_TASK = [
    {
        "tiw.automation.online_record_info": {"task_ids": "{{ task_ids }}"},
        "register": "lessons",
    },
    holds("lessons.all_finished", f"lessons.records | length == {COUNT}"),
]

LOOPS: dict[str, list[dict[str, Any]]] = {
    "module": [
        {
            "tiw.automation.online_record_info": {"task_ids": "{{ item }}"},
            "loop": "{{ task_ids }}",
            "register": "lessons",
        },
        holds(
            f"lessons.results | length == {COUNT}",
            "lessons.results | rejectattr('all_finished') | length == 0",
        ),
    ],
    "uri": [
        {
            "ansible.builtin.uri": {
                "url": "{{ endpoint }}",
                "method": "POST",
                "body": "{{ item.body }}",
                "headers": "{{ item.headers }}",
            },
            "loop": "{{ requests }}",
            "loop_control": {"label": "{{ item.body }}"},
            "register": "answers",
        },
        holds(
            f"answers.results | length == {COUNT}",
            "answers.results | map(attribute='json.Response.Status') | unique == ['FINISHED']",
        ),
    ],
    "tccli": [
        {
            "ansible.builtin.command": {
                "argv": [
                    *("{{ tccli }}", "tiw", "DescribeOnlineRecord"),
                    *("--SdkAppId", "{{ sdk_app_id }}", "--TaskId", "{{ item }}"),
                    *("--endpoint", "{{ endpoint }}"),
                ]
            },
            "changed_when": False,
            "loop": "{{ task_ids }}",
            "register": "answers",
        },
        holds(
            f"answers.results | length == {COUNT}",
            "answers.results | map(attribute='stdout') | map('from_json')"
            " | map(attribute='Status') | unique == ['FINISHED']",
        ),
    ],
}


def signed(simulator: Simulator, task_id: str) -> dict[str, Any]:
    """Return a request with the header of Tencent's TC3 signature, as a user must write it.

    See https://www.tencentcloud.com/document/product/1278/46715.
    """
    body = json.dumps({"SdkAppId": simulator.sdk_app_id, "TaskId": task_id})
    host = urlsplit(simulator.endpoint).netloc
    now = int(time.time())
    day = time.strftime("%Y-%m-%d", time.gmtime(now))
    head = f"content-type:application/json\nhost:{host}\n"
    whole = f"POST\n/\n\n{head}\ncontent-type;host\n{hashlib.sha256(body.encode()).hexdigest()}"
    scope = f"{day}/tiw/tc3_request"
    text = f"TC3-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(whole.encode()).hexdigest()}"
    key = f"TC3{simulator.secret_key}".encode()
    for word in (day, "tiw", "tc3_request"):
        key = hmac.digest(key, word.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    return {
        "body": body,
        "headers": {
            "Authorization": f"TC3-HMAC-SHA256 Credential={simulator.secret_id}/{scope}, "
            f"SignedHeaders=content-type;host, Signature={signature}",
            "Content-Type": "application/json",
            "X-TC-Action": "DescribeOnlineRecord",
            "X-TC-Region": simulator.region,
            "X-TC-Timestamp": str(now),
            "X-TC-Version": "2019-09-19",
        },
    }


def main() -> int:
    """Print the three ratios; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="five rounds instead of two")
    rounds = 5 if parser.parse_args().full else 2
    subprocess.run([ROOT / "tools/make-env", "tccli"], check=True)
    runs: dict[str, list[float]] = {name: [] for name in ("nothing", "ours", *LOOPS)}
    with Simulator() as simulator, Playbooks(simulator) as playbooks:
        task_ids = simulator.add_finished(COUNT)
        known = {
            "task_ids": task_ids,
            "endpoint": simulator.endpoint,
            "sdk_app_id": simulator.sdk_app_id,
            "tccli": str(ROOT / ".venvs/tccli/bin/tccli"),
        }
        for _ in range(rounds):
            runs["nothing"].append(playbooks.play(NOTHING, **known).wall)
            runs["ours"].append(playbooks.play(ONE_TASK, **known).wall)
            for name, tasks in LOOPS.items():
                # A signature is valid for five minutes.
                requests = [signed(simulator, task_id) for task_id in task_ids]
                runs[name].append(playbooks.play(tasks, **known, requests=requests).wall)
        asked = simulator.requests["DescribeOnlineRecord"]
        rejects = simulator.rejects
    if rejects or asked != COUNT * rounds * (1 + len(LOOPS)):
        print(f"{asked} requests were sent and {rejects} refused: the comparison is invalid")
        return 1
    took = {name: statistics.median(times) for name, times in runs.items()}
    nothing, ours = took["nothing"], took["ours"] - took["nothing"]
    return report(
        *(
            Figure(
                f"{COUNT} recordings: one task / a loop of {name}",
                ours / (took[name] - nothing),
                TARGETS[name],
                f"{rounds} rounds, {ours:.1f} s / {took[name] - nothing:.1f} s; "
                f"whole runs {took['ours'] / took[name]:.3f}",
            )
            for name in LOOPS
        )
    )


if __name__ == "__main__":
    sys.exit(main())
