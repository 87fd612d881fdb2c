# SPDX-License-Identifier: Apache-2.0
"""G16: four processes of one host with 70, 10, 10 and 10 % of the waits, against one process.

400 recordings, polled at 19 a second on a network path of 20 +- 5 ms; each stops at a random time
within a minute and is FINISHED 10 to 30 s later. In the same run: four processes that do not share
the host's pace, each with its own folder for the file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
from typing import Any

from children import clean_up_when_terminated, end
from far_api import FarApi, Stats
from report import Figure, report

from tiw_automation.core import RecordWatcher, TiwClient

WAITS = 400
SHARES = (0.7, 0.1, 0.1, 0.1)


def recordings() -> list[str]:
    """Return ids that hold when each recording stops and is FINISHED."""
    chance = random.Random(16)
    stops = [chance.uniform(5, 65) for _ in range(WAITS)]
    return [
        f"r-{stop:.3f}-{stop + chance.uniform(10, 30):.3f}-{number}"
        for number, stop in enumerate(stops)
    ]


async def _wait(settings: dict[str, Any], task_ids: list[str]) -> None:
    watcher = RecordWatcher(TiwClient(**settings), running_list=False)
    async for _ in watcher.watch(task_ids, poll_interval=1.0):
        pass


def run(shares: tuple[float, ...], together: bool) -> Stats:
    """Wait for all of them in so many processes; return what the server saw."""
    ids = recordings()
    with FarApi() as api, tempfile.TemporaryDirectory() as folder:
        api.control(line=(0.02, 0.005), begin=True)
        processes: list[subprocess.Popen[str]] = []
        start = 0
        try:
            for number, share in enumerate(shares):
                stop = start + round(share * WAITS)
                own = os.path.join(folder, "all" if together else str(number))
                os.makedirs(own, exist_ok=True)
                process = subprocess.Popen(
                    [sys.executable, __file__, "wait"],
                    stdin=subprocess.PIPE,
                    env={**os.environ, "TMPDIR": own},
                    text=True,
                )
                processes.append(process)
                assert process.stdin is not None
                process.stdin.write(json.dumps([api.settings(), ids[start:stop]]))
                process.stdin.close()
                start = stop
            for process in processes:
                if process.wait():
                    raise SystemExit("a process failed")
        finally:
            end(processes)
        stats = api.control()
        assert len(stats.delays) == WAITS
        return stats


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    logging.disable(logging.WARNING)
    if sys.argv[1:] == ["wait"]:
        asyncio.run(_wait(*json.load(sys.stdin)))
        return 0
    clean_up_when_terminated()
    one = run((1.0,), together=True)
    four = run(SHARES, together=True)
    unshared = run(SHARES, together=False)
    mean = statistics.fmean
    return report(
        Figure(
            "G16 mean delay: four processes, 70/10/10/10 % of the waits / one",
            mean(four.delays) / mean(one.delays),
            1.2,
            f"{mean(four.delays):.2f} and {mean(one.delays):.2f} s, {WAITS} waits",
        ),
        Figure("G16 rejects of the four", four.rejects, 0.0, f"of {four.requests} requests"),
        Figure(
            "G16 the same four without the host's file / one",
            mean(unshared.delays) / mean(one.delays),
            None,
            f"{mean(unshared.delays):.2f} s, {unshared.rejects} rejects of "
            f"{unshared.requests} requests",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
