# SPDX-License-Identifier: Apache-2.0
"""Recordings and transcodes in one process: neither slows the other, and none is refused.

At the same time: 1,000 finished recordings alone, 1,000 finished transcodes alone, and both in one
watcher. Each has its own simulator, which allows 20 requests a second for each action.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time

from children import clean_up_when_terminated, run_together
from report import Figure, report

from tiw_automation.core import RecordWatcher, TiwClient, Verdict
from tiw_automation.simulator import Simulator

KINDS = ("online_record", "transcode")
PARTS = (*KINDS, "both")


async def _seconds(watcher: RecordWatcher, kind: str, ids: list[str]) -> float:
    began = time.monotonic()
    outcomes = [outcome async for outcome in watcher.watch(ids, task_kind=kind)]
    assert [outcome.verdict for outcome in outcomes] == [Verdict.FINISHED] * len(ids)
    return time.monotonic() - began


async def _wait_for(simulator: Simulator, ids: dict[str, list[str]]) -> dict[str, float]:
    watcher = RecordWatcher(TiwClient(**simulator.settings()))
    took = await asyncio.gather(*(_seconds(watcher, kind, ids[kind]) for kind in ids))
    return {**dict(zip(ids, took, strict=True)), "rejects": watcher.stats().rejects}


def _part(kinds: tuple[str, ...], count: int) -> dict[str, float]:
    with Simulator() as simulator:
        ids = {
            "online_record": simulator.add_finished(count),
            "transcode": [simulator.add_task("transcode", duration_s=0) for _ in range(count)],
        }
        return asyncio.run(_wait_for(simulator, {kind: ids[kind] for kind in kinds}))


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1000, help="how many of each")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    if options.part:
        kinds = KINDS if options.part == "both" else (options.part,)
        print(json.dumps(_part(kinds, options.count)))
        return 0
    clean_up_when_terminated()
    count = str(options.count)
    *alone, both = run_together(__file__, [("--count", count, "--part", part) for part in PARTS])
    return report(
        *(
            Figure(
                f"{options.count:,} of {kind} beside as many of another kind / alone",
                both[kind] / mine[kind],
                1.02,
                f"{both[kind]:.1f} and {mine[kind]:.1f} s",
            )
            for kind, mine in zip(KINDS, alone, strict=True)
        ),
        Figure(f"rejects, {options.count:,} of two kinds", both["rejects"], 0.0, "both actions"),
    )


if __name__ == "__main__":
    sys.exit(main())
