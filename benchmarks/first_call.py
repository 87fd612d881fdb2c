# SPDX-License-Identifier: Apache-2.0
"""What a process pays for the core: import, client and one call; beside the bare SDK.

Both run as fresh processes, alternately, against the simulator in this process. The figure is the
ratio of the medians; the target is 1.15.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from report import Figure, report

from tiw_automation.simulator import Simulator

ROUNDS = 15
TARGET = 1.15

BARE = """
import os
from tencentcloud.common.credential import Credential
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import tiw_client

profile = ClientProfile(
    httpProfile=HttpProfile(protocol="http", endpoint=os.environ["TIW_ENDPOINT"].split("//")[1])
)
keys = Credential(os.environ["TENCENTCLOUD_SECRET_ID"], os.environ["TENCENTCLOUD_SECRET_KEY"])
client = tiw_client.TiwClient(keys, "ap-singapore", profile)
app = int(os.environ["TIW_SDK_APP_ID"])
answer = client.call_json("DescribeOnlineRecord", {"SdkAppId": app, "TaskId": "TASK"})
assert answer["Response"]["Status"] == "FINISHED"
"""

OURS = """
from tiw_automation.core import TiwClient

assert TiwClient().describe_online_record("TASK").status == "FINISHED"
"""


def seconds(program: str, environment: dict[str, str]) -> float:
    """Run a program in a fresh interpreter and return its wall time."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
    return time.perf_counter() - started


def main() -> int:
    """Print the ratio; return 1 when it misses the target."""
    with Simulator() as simulator:
        (task_id,) = simulator.add_finished(1)
        environment = {**os.environ, **simulator.environment()}
        programs = [text.replace("TASK", task_id) for text in (BARE, OURS)]
        for program in programs:
            seconds(program, environment)
        times = [[seconds(program, environment) for program in programs] for _ in range(ROUNDS)]
    bare, ours = (statistics.median(column) for column in zip(*times, strict=True))
    return report(Figure("first call: core / bare SDK", ours / bare, TARGET, f"{ROUNDS} rounds"))


if __name__ == "__main__":
    sys.exit(main())
