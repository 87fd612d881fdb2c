# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import video_server as videos
from reported_metrics import Reported, reported

from tiw_automation.core import (
    METRICS,
    Metric,
    RecordWatcher,
    RequestLimitExceeded,
    TiwClient,
    metrics,
    on_metrics,
)
from tiw_automation.core.archive import ArchiveFailed, LocalStorage, RecordArchive
from tiw_automation.core.events import Backlog, NotConfirmed
from tiw_automation.core.quota.quota import Quota
from tiw_automation.simulator import Simulator

ACTION = "DescribeOnlineRecord"
OF_QUOTA = ("pace", "part", "alone")


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Iterator[Reported]:
    monkeypatch.setattr(metrics, "EVERY_S", 0.1)
    with reported() as collected:
        yield collected


def client(simulator: Simulator, **options: Any) -> TiwClient:
    return TiwClient(
        secret_id=simulator.secret_id,
        secret_key=simulator.secret_key,
        sdk_app_id=simulator.sdk_app_id,
        endpoint=simulator.endpoint,
        **options,
    )


def record(*urls: str) -> dict[str, object]:
    found = [
        {"id": f"v{n}", "url": url, "kind": "mixed", "size_bytes": None}
        for n, url in enumerate(urls, 1)
    ]
    return {"sdk_app_id": 1, "task_id": "lesson", "videos": found}


def test_a_callback_gets_what_is_reported_until_it_is_removed() -> None:
    seen: list[tuple[str, float, dict[str, str]]] = []
    remove = on_metrics(lambda metric, value, tags: seen.append((metric.name, value, tags)))
    assert metrics.wanted()
    metrics.report("tiw.callbacks.received")
    metrics.report("tiw.callbacks.waiting", 0)
    # Nothing is added to a counter.
    metrics.report("tiw.archive.bytes", 0)
    remove()
    remove()
    metrics.report("tiw.callbacks.received")
    assert seen == [("tiw.callbacks.received", 1, {}), ("tiw.callbacks.waiting", 0, {})]


def test_a_callback_that_fails_is_logged_once(
    found: Reported, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(metric: Metric, value: float, tags: dict[str, str]) -> None:
        raise ValueError(metric.name)

    remove = on_metrics(fails)
    metrics.report("tiw.callbacks.received")
    metrics.report("tiw.callbacks.received")
    remove()
    assert caplog.text.count("Traceback") == 1
    assert found.total("tiw.callbacks.received") == 2


def test_the_account_cannot_be_read_from_its_tag() -> None:
    tag = metrics.account_tag("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE")
    assert len(tag) == 8
    assert int(tag, 16) >= 0
    assert tag != metrics.account_tag("AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLF")


async def test_a_watcher_reports_its_waits_and_its_quota(
    found: Reported, tiw_simulator: Simulator
) -> None:
    ids = [tiw_simulator.add(f"t{n}", timeline=[{"RECORDING": 1000}]) for n in range(10)]
    mine = client(tiw_simulator, requests_per_second=18)
    watcher = RecordWatcher(mine)
    async for _ in watcher.watch(ids, timeout=0.8, poll_interval=0.1):
        pass
    # The end of the waits is reported in the loop's next iteration.
    await asyncio.sleep(0.01)
    account = metrics.account_tag(mine.account[0])
    tags = {"account": account, "app": str(tiw_simulator.sdk_app_id), "action": ACTION}
    assert {tuple(given.items()) for _, given in found.values["tiw.watcher.waits"]} == {
        tuple(tags.items())
    }
    assert max(found.series("tiw.watcher.waits")) == 10
    assert found.total("tiw.watcher.polls", **tags) == sum(tiw_simulator.requests.values())
    assert 0.1 < max(found.series("tiw.watcher.oldest_unpolled_s")) < 2
    assert max(found.series("tiw.watcher.rate")) > 0
    assert max(found.series("tiw.quota.pace")) == pytest.approx(18)
    assert max(found.series("tiw.quota.part")) == pytest.approx(1)
    assert set(found.series("tiw.quota.alone")) == {0}
    assert 0.3 < found.total("tiw.quota.slot_wait_s", account=account, store="host") < 2
    # A process without waits has no part of the pace.
    gauges = [f"tiw.quota.{name}" for name in OF_QUOTA]
    gauges += [f"tiw.watcher.{name}" for name in ("waits", "rate", "oldest_unpolled_s")]
    assert [found.series(name)[-1] for name in gauges] == [0] * 6


async def test_short_waits_are_counted_too(found: Reported, tiw_simulator: Simulator) -> None:
    ids = tiw_simulator.add_finished(2)
    watcher = RecordWatcher(client(tiw_simulator))
    for task_id in ids:
        await watcher.wait(task_id)
    await asyncio.sleep(0.01)
    assert found.total("tiw.watcher.polls") == 2


async def test_a_quota_that_another_application_uses_keeps_its_gauges(
    found: Reported, tiw_simulator: Simulator
) -> None:
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    (done,) = tiw_simulator.add_finished(1)
    other = RecordWatcher(client(tiw_simulator, requests_per_second=17))
    waiting = asyncio.create_task(other.wait("slow", timeout=5, poll_interval=0.1))
    await asyncio.sleep(0.1)
    await RecordWatcher(client(tiw_simulator, requests_per_second=17)).wait(done)
    await asyncio.sleep(0.01)
    assert 0 in found.series("tiw.watcher.waits")
    assert 0 not in found.series("tiw.quota.pace")
    waiting.cancel()
    await asyncio.wait([waiting])
    async with asyncio.timeout(20):
        while found.series("tiw.quota.pace")[-1] != 0:
            await asyncio.sleep(0.01)


async def test_a_process_that_cannot_reach_redis_is_alone(
    found: Reported, tiw_simulator: Simulator
) -> None:
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"redis://127.0.0.1:{closed.getsockname()[1]}/0"
        watcher = RecordWatcher(client(tiw_simulator, quota_url=url))
        async for _ in watcher.watch(["slow"], timeout=1.5, poll_interval=0.1):
            pass
        await asyncio.sleep(0.01)
    assert found.values["tiw.quota.alone"][0][1]["store"] == "redis"
    alone = found.series("tiw.quota.alone")
    # From its first failure to the end of the wait.
    assert alone[alone.index(1) :] == [1] * alone.count(1) + [0]


async def test_rejects_and_errors_are_counted(found: Reported) -> None:
    with Simulator(limit=1) as simulator:
        done = simulator.add_finished(1)[0]
        mine = client(simulator, requests_per_second=1000)
        await asyncio.gather(
            *(
                RecordWatcher(mine, jitter=lambda: 0.05).wait(done, poll_interval=0.1)
                for _ in range(3)
            )
        )
        await asyncio.sleep(0.01)
    account = metrics.account_tag(mine.account[0])
    rejects = found.total("tiw.quota.rejects", account=account, action=ACTION)
    assert rejects == simulator.rejects == found.total("tiw.watcher.rejects") > 0
    assert found.total("tiw.watcher.errors") == rejects


def test_a_call_without_a_watcher_that_is_rejected_is_counted(found: Reported) -> None:
    with Simulator(limit=1) as simulator:
        done = simulator.add_finished(1)[0]
        mine = client(simulator, requests_per_second=1000)
        params = {"SdkAppId": simulator.sdk_app_id, "TaskId": done}
        with pytest.raises(RequestLimitExceeded):
            list(map(mine.call, [ACTION] * 50, [params] * 50))
    assert found.total("tiw.quota.rejects", action=ACTION) >= 1
    assert "tiw.watcher.rejects" not in found.values


def test_a_quota_without_a_store_is_alone() -> None:
    quota = Quota(19)
    assert quota.is_alone
    assert quota.part == 1


def test_an_archive_reports_its_videos(found: Reported, tmp_path: Path) -> None:
    with videos.video_server() as bucket:
        good, long = bucket.put("1.mp4", b"x" * 1000), bucket.put("2.mp4", b"y" * 300_000)
        gone = f"{bucket.origin}/gone.mp4"
        for _ in range(2):
            archive = RecordArchive(LocalStorage(tmp_path), hosts=["127.0.0.1"])
            with pytest.raises(ArchiveFailed):
                archive.run([record(good, long, gone)])
    assert found.total("tiw.archive.videos_started") == 6
    assert found.total("tiw.archive.videos_copied") == 2
    assert found.total("tiw.archive.videos_found") == 2
    assert found.total("tiw.archive.videos_failed", reason="Video.Gone") == 2
    assert found.total("tiw.archive.bytes") == 301_000


async def test_what_waits_to_be_confirmed_and_what_is_dropped_is_reported(found: Reported) -> None:
    async def attempt(key: tuple[str], age_s: float) -> bool:
        if key == ("forged",):
            raise NotConfirmed
        return True

    backlog = Backlog(attempt, lambda age_s: 0.01)
    for name in ("good", "forged"):
        backlog.add((name,))
    async with asyncio.timeout(5):
        while len(backlog):
            await asyncio.sleep(0.01)
    assert found.total("tiw.callbacks.dropped") == 1
    assert found.series("tiw.callbacks.waiting") == [1, 2, 1, 0]


def test_every_metric_has_a_plain_name_and_a_type() -> None:
    for name, metric in METRICS.items():
        assert metric.name == name
        assert name.replace(".", "").replace("_", "").isalpha()
        assert name.startswith("tiw.")
        assert metric.kind in (metrics.COUNTER, metrics.GAUGE)
        assert metric.unit
