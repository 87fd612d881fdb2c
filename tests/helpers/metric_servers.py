# SPDX-License-Identifier: Apache-2.0
"""Servers on loopback that receive metrics, as StatsD's protocol and as OTLP."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from serving import serving


class Sample(NamedTuple):
    """A value as a server received it; ``kind`` is its type in the server's protocol."""

    name: str
    value: float
    kind: str
    tags: Mapping[str, str]


class Received:
    """What a server has received so far; from any thread."""

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._lock = threading.Lock()

    def add(self, sample: Sample) -> None:
        """Add a sample."""
        with self._lock:
            self._samples.append(sample)

    def of(self, name: str, **tags: str) -> list[Sample]:
        """Return the samples of a metric with these tags."""
        with self._lock:
            return [s for s in self._samples if s.name == name and s.tags.items() >= tags.items()]

    def total(self, name: str, **tags: str) -> float:
        """Return the sum of the values."""
        return sum(sample.value for sample in self.of(name, **tags))

    def until(self, name: str, within_s: float = 30.0, **tags: str) -> list[Sample]:
        """Wait for a sample of a metric, and return all there are."""
        ends_at = time.monotonic() + within_s
        while not self.of(name, **tags):
            assert time.monotonic() < ends_at, f"{name} {tags} was not received"
            time.sleep(0.1)
        return self.of(name, **tags)


def parse_statsd(line: str) -> Sample:
    """Parse a line of StatsD's protocol with InfluxDB's tags: ``name,tag=text:1.5|g``.

    A part that may follow, ``|@0.1``, shows that Airflow sends only some values of a metric of its
    own.
    """
    key, _, rest = line.partition(":")
    value, kind, *_rate = rest.split("|")
    name, *tags = key.split(",")
    return Sample(name, float(value), kind, dict(tag.split("=", 1) for tag in tags))


@contextmanager
def statsd_server() -> Iterator[tuple[int, Received]]:
    """Run a server of StatsD's protocol; yield its UDP port and what it receives."""
    received = Received()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(0.1)
        ended = threading.Event()

        def receive() -> None:
            while not ended.is_set():
                try:
                    packet = server.recv(65536)
                except TimeoutError:
                    continue
                for line in packet.decode().splitlines():
                    if line.startswith("airflow.tiw."):
                        received.add(parse_statsd(line))

        thread = threading.Thread(target=receive, name="statsd-server")
        thread.start()
        try:
            yield server.getsockname()[1], received
        finally:
            ended.set()
            thread.join()


def parse_otlp(body: bytes) -> list[Sample]:
    """Parse an export of OTLP over HTTP; histograms are left out."""
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2

    request = metrics_service_pb2.ExportMetricsServiceRequest.FromString(body)
    scopes = [scope for of in request.resource_metrics for scope in of.scope_metrics]
    found: list[Sample] = []
    for metric in (metric for scope in scopes for metric in scope.metrics):
        kind = metric.WhichOneof("data")
        if kind not in ("sum", "gauge"):
            continue
        for point in getattr(metric, kind).data_points:
            value = getattr(point, point.WhichOneof("value"))
            tags = {each.key: each.value.string_value for each in point.attributes}
            found.append(Sample(metric.name, value, kind, tags))
    return found


@contextmanager
def otlp_server() -> Iterator[tuple[int, Received]]:
    """Run a receiver of OTLP over HTTP; yield its port and what it receives."""
    received = Received()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == "/v1/metrics"
            for sample in parse_otlp(body):
                received.add(sample)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    with serving(server):
        yield server.server_port, received
