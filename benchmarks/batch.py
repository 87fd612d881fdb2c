# SPDX-License-Identifier: Apache-2.0
"""G7: many finished recordings at once, compared with the least time of a quota: N / rate.

The alternative, at the same time on its own server: the bare SDK in a thread pool behind a limiter
that users choose for this, a token bucket like that of ``aiolimiter``: as many as the rate at once,
then refilled evenly. It is written out here in ten lines; a refused request is repeated after a
second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from children import clean_up_when_terminated, run_together
from far_api import LIMIT, FarApi, finished
from report import Figure, report
from tencentcloud.common.credential import Credential
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tiw.v20190919 import tiw_client

from tiw_automation.core import RecordWatcher, TiwClient, Verdict

RATE = 19.0


async def ours(api: FarApi, count: int) -> float:
    """Return how long it takes to get all of them."""
    watcher = RecordWatcher(TiwClient(**api.settings()))
    began = time.monotonic()
    outcomes = [outcome async for outcome in watcher.watch(finished(count))]
    took = time.monotonic() - began
    assert len(outcomes) == count
    assert all(outcome.verdict is Verdict.FINISHED for outcome in outcomes)
    return took


class _Bucket:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._level, self._at = RATE, time.monotonic()

    def take(self) -> None:
        with self._lock:
            now = time.monotonic()
            self._level = min(self._level + (now - self._at) * RATE, RATE)
            self._at = now
            if self._level < 1:
                time.sleep((1 - self._level) / RATE)
                self._level, self._at = 1.0, time.monotonic()
            self._level -= 1


def with_a_bucket(api: FarApi, count: int) -> float:
    """Return how long the alternative takes."""
    host = api.endpoint.removeprefix("http://")
    profile = ClientProfile(httpProfile=HttpProfile(protocol="http", endpoint=host))
    client = tiw_client.TiwClient(Credential("AKID", "key"), "ap-singapore", profile)
    bucket = _Bucket()

    def fetch(task_id: str) -> None:
        while True:
            bucket.take()
            try:
                client.call_json("DescribeOnlineRecord", {"SdkAppId": 1, "TaskId": task_id})
                return
            except TencentCloudSDKException:
                time.sleep(1)

    began = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(fetch, finished(count)))
    return time.monotonic() - began


def _part(who: str, count: int) -> dict[str, float]:
    with FarApi() as api:
        took = asyncio.run(ours(api, count)) if who == "ours" else with_a_bucket(api, count)
        stats = api.control()
    return {"took": took, "rejects": stats.rejects, "most": stats.most}


def main() -> int:
    """Print the figures; return 1 when one misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="10,000 of them: nine minutes")
    parser.add_argument("--count", type=int, help="how many")
    parser.add_argument("--part", choices=("ours", "bucket"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    count = options.count or (10_000 if options.full else 1000)
    if options.part:
        print(json.dumps(_part(options.part, count)))
        return 0
    clean_up_when_terminated()
    mine, theirs = run_together(
        __file__, [("--count", str(count), "--part", part) for part in ("ours", "bucket")]
    )
    return report(
        Figure(
            f"G7 {count:,} finished at once / (N / rate)",
            mine["took"] * RATE / count,
            1.02,
            f"{mine['took']:.1f} s",
        ),
        Figure(
            f"G7 rejects, {count:,}",
            mine["rejects"],
            0.0,
            f"at most {mine['most']} arrivals in 1 s",
        ),
        Figure(
            f"G7 the SDK in 16 threads behind a token bucket of {RATE:g}, {count:,}",
            theirs["took"] * RATE / count,
            None,
            f"{theirs['took']:.1f} s, {theirs['rejects']} rejects, "
            f"{theirs['most'] / LIMIT:.2f} of the limit in the worst second",
        ),
    )


if __name__ == "__main__":
    sys.exit(main())
