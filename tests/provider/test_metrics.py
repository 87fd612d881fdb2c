# SPDX-License-Identifier: Apache-2.0
"""The metrics reach Airflow's own, and through them StatsD and OpenTelemetry."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import pytest
from callback_posts import callback
from metric_servers import Received, otlp_server, statsd_server
from reported_metrics import reported

from tiw_automation.airflow import metrics as exported
from tiw_automation.airflow.events.callback_receiver import callback_apps
from tiw_automation.core import METRICS, metrics
from tiw_automation.simulator import Simulator

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
KEY = "a-callback-key-of-the-tests"
TAGS = {"account": "1f2e3d4c", "app": "1400000001", "action": "DescribeOnlineRecord"}

# Airflow initializes its metrics in the API server and in the triggerer, from which the process
# that runs triggers is forked; a task initializes its own.
AS_SERVER = """
try:
    from airflow.observability import stats
    from airflow.observability.metrics import stats_utils
except ImportError:
    pass
else:
    try:
        stats.Stats.initialize(factory=stats_utils.get_stats_factory(), export_legacy_names=True)
    except TypeError:
        stats.Stats.initialize(factory=stats_utils.get_stats_factory(stats.Stats))
"""
# The API server of Airflow 3.2 uses its metrics and does not initialize them.
USED_TOO_EARLY = """
try:
    from airflow.observability.stats import Stats
except ImportError:
    pass
else:
    Stats.incr("early")
"""
REPORT = """
from tiw_automation.airflow.metrics import export
from tiw_automation.core.metrics import METRICS, report

export(gauges=True)
for metric in METRICS.values():
    tags = {tag: TAGS.get(tag, "text") for tag in metric.tags}
    for value in (3, 1.5):
        report(metric.name, value, **tags)
"""


def run(code: str, settings: Mapping[str, str]) -> None:
    """Report each metric twice in another process with these settings of Airflow's metrics."""
    chosen = {f"AIRFLOW__METRICS__{name.upper()}": value for name, value in settings.items()}
    program = [sys.executable, "-W", "ignore", "-c", f"TAGS = {TAGS!r}\n{code}\n{REPORT}"]
    ended = subprocess.run(
        program, env={**os.environ, **chosen}, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr


def check(received: Received, counter: str, gauge: str) -> None:
    """Check that every metric was received with its type, its tags and its value."""
    for name, metric in METRICS.items():
        samples = received.until(f"airflow.{name}", 5)
        is_counter = metric.kind == metrics.COUNTER
        assert {sample.kind for sample in samples} == {counter if is_counter else gauge}, name
        of_host = set() if is_counter else {"hostname"}
        assert all(set(sample.tags) == {*metric.tags, *of_host} for sample in samples), name
        if "app" in metric.tags:
            assert samples[-1].tags.items() >= TAGS.items()
        assert samples[-1].value == (1.5 if gauge == "g" or not is_counter else 4.5), name


def test_statsd_receives_every_metric() -> None:
    with statsd_server() as (port, received):
        settings = {"statsd_on": "True", "statsd_host": "127.0.0.1", "statsd_port": str(port)}
        run(AS_SERVER, {**settings, "statsd_influxdb_enabled": "True"})
        check(received, "c", "g")


def test_opentelemetry_receives_every_metric() -> None:
    with otlp_server() as (port, received):
        run(USED_TOO_EARLY, {"otel_on": "True", "otel_host": "127.0.0.1", "otel_port": str(port)})
        check(received, "sum", "gauge")


class Stats:
    """Stands for Airflow's metrics."""

    def __init__(self) -> None:
        self.values: list[tuple[str, str, float, dict[str, str]]] = []

    def incr(self, name: str, count: float, *, tags: dict[str, str]) -> None:
        self.values.append(("incr", name, count, tags))

    def gauge(self, name: str, value: float, *, tags: dict[str, str]) -> None:
        self.values.append(("gauge", name, value, tags))


def test_a_task_reports_no_gauge(monkeypatch: pytest.MonkeyPatch) -> None:
    stats = Stats()
    monkeypatch.setattr(exported, "_stats", lambda: stats)
    monkeypatch.setattr(exported, "_exported", {metrics.COUNTER})
    exported._pass_on(METRICS["tiw.quota.alone"], 1, {})
    exported._pass_on(METRICS["tiw.archive.bytes"], 7, {})
    assert stats.values == [("incr", "tiw.archive.bytes", 7, {})]


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="Airflow 3.1 has one place for all metrics")
@pytest.mark.parametrize(("first", "second", "chosen"), [(0, 0, 0), (0, 1, 1), (1, 1, 0)])
def test_the_metrics_that_airflow_initialized_are_used(
    first: int, second: int, chosen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it initialized neither, the first are."""
    made: list[Any] = []
    initialized = (first, second)

    def place(name: str) -> Any:
        return SimpleNamespace(Stats=name)

    monkeypatch.setattr(exported, "import_module", place)
    monkeypatch.setattr(
        exported,
        "_is_initialized",
        lambda stats: initialized[[f"{p}.stats" for p in exported._SINCE_3_2].index(stats)],
    )
    monkeypatch.setattr(exported, "_initialize", made.append)
    exported._stats.cache_clear()
    try:
        assert exported._stats() == f"{exported._SINCE_3_2[chosen]}.stats"
    finally:
        exported._stats.cache_clear()
    assert len(made) == (not any(initialized))


async def test_the_receiver_reports_what_it_refuses_and_publishes(
    tiw_simulator: Simulator, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(tiw_simulator, "school", extra={"callback_secret": KEY})
    monkeypatch.setenv("AIRFLOW__TIW__CALLBACK_CONN_IDS", "school")
    (mounted,) = callback_apps()
    app = mounted["app"]
    app._sink = SimpleNamespace(wants=lambda *of: True, store=lambda *of: ["lessons", "exams"])
    (done,) = tiw_simulator.add_finished(1)
    posts = {
        "forged": ("/school", "POST", callback(tiw_simulator, done, key="guessed")),
        "expired": ("/school", "POST", callback(tiw_simulator, done, key=KEY, valid_s=-1)),
        "untrusted": ("/school", "POST", callback(tiw_simulator, done, key=KEY, SdkAppId=1)),
        "unknown_connection": ("/college", "POST", b""),
        "not_a_post": ("/school", "GET", b""),
        "too_long": ("/school", "POST", b" " * 10_000_000),
        "none": ("/school", "POST", callback(tiw_simulator, done, key=KEY)),
    }
    with reported() as found:
        for path, method, body in posts.values():
            await post(app, path, method, body)
    refused = {tags["reason"] for _, tags in found.values["tiw.callbacks.refused"]}
    assert refused == {*posts} - {"none"}
    assert found.total("tiw.callbacks.received") == len(posts)
    assert found.total("tiw.callbacks.confirmed", verdict="finished") == 1
    assert found.total("tiw.events.published", source="callback") == 2
    assert found.series("tiw.callbacks.waiting")[-1] == 0


async def post(app: Any, path: str, method: str, body: bytes) -> None:
    """Send a request as an ASGI server does."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        pass

    scope = {"type": "http", "method": method, "path": path, "root_path": "", "headers": []}
    await app(scope, receive, send)
