# SPDX-License-Identifier: Apache-2.0
"""The nginx configuration of docs/airflow-events.md, in a real nginx."""

from __future__ import annotations

import contextlib
import getpass
import http.client
import os
import posixpath
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.parse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from page_blocks import blocks_for
from serving import serving

from tiw_automation.core.api.callbacks import MAX_BODY_BYTES

PREFIX = "/tiw/callbacks/"
NAME = "airflow-callbacks.example"
LONGEST = 768 * 1024
ANSWER = b'{"error_code": 0}'


class Airflow(ThreadingHTTPServer):
    """Stands for the API server, and records the requests that reach it."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, str, dict[str, str], int]] = []
        self._lock = threading.Lock()

    def add(self, method: str, path: str, headers: dict[str, str], size: int) -> None:
        with self._lock:
            self.seen.append((method, path, headers, size))

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.seen]


class Handler(BaseHTTPRequestHandler):
    server: Airflow

    def handle_one_request(self) -> None:
        super().handle_one_request()
        self.close_connection = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.add(self.command, self.path, dict(self.headers.items()), len(body))
        self.send_response(200)
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    do_GET = do_PUT = do_DELETE = do_POST

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@pytest.fixture
def airflow() -> Iterator[Airflow]:
    server = Airflow()
    with serving(server):
        yield server


@pytest.fixture(params=["", "/air"], ids=["at the root", "below a path"])
def nginx(request: pytest.FixtureRequest, airflow: Airflow, tmp_path: Path) -> Iterator[int]:
    """Run nginx with the page's block, and return its port."""
    yield from run_nginx(tmp_path, airflow.server_port, request.param)


@pytest.fixture
def plain_nginx(airflow: Airflow, tmp_path: Path) -> Iterator[int]:
    yield from run_nginx(tmp_path, airflow.server_port, "")


def run_nginx(folder: Path, airflow_port: int, base: str) -> Iterator[int]:
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.fail("nginx is not installed: apt-get install nginx-light")
    errors = folder / "errors"
    # nginx takes over a bound socket, as it does when it is upgraded.
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as bound, errors.open("wb") as stderr:
        port = bound.getsockname()[1]
        (folder / "nginx.conf").write_text(configuration(folder, port, airflow_port, base))
        process = subprocess.Popen(
            [program, "-p", str(folder), "-e", "stderr", "-c", "nginx.conf"],
            env={**os.environ, "NGINX": f"{bound.fileno()};"},
            pass_fds=[bound.fileno()],
            stderr=stderr,
        )
    try:
        wait_until_it_answers(process, port, errors)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(30)
        finally:
            process.kill()
            process.wait()


def configuration(folder: Path, port: int, airflow_port: int, base: str) -> str:
    """Return the page's block; only the addresses of nginx and of Airflow are changed."""
    (found,) = blocks_for(__file__)
    block = found.text
    for old, new, times in (
        ("listen 443 ssl;", f"listen 127.0.0.1:{port};", 1),
        (r"    ssl_certificate.*\n", "", 2),
        ("127.0.0.1:8080", f"127.0.0.1:{airflow_port}", 1),
        # As the page describes for a path in [api] base_url.
        (PREFIX, f"{base}{PREFIX}", 2),
    ):
        block, replaced = re.subn(old, new, block)
        assert replaced == times, f"The page's block has {old!r} {replaced} times."
    temporary = "".join(
        f"    {what}_temp_path {folder / what};\n"
        for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off;\nuser {getpass.getuser()};\nworker_processes 1;\nerror_log stderr;\n"
        f"pid {folder / 'pid'};\nevents {{ worker_connections 4096; }}\n"
        f"http {{\n    access_log off;\n{temporary}{block}}}\n"
    )


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int, errors: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if send(port, "GET", "/")[0] == 404:
                return
        except OSError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"nginx does not run: {errors.read_text()}")
        time.sleep(0.02)


def send(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send one request with the path as it stands."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", NAME)
        connection.putheader("Content-Length", str(len(body)))
        # nginx may refuse before it has read everything, and still answers.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_a_post_arrives(nginx: int, airflow: Airflow, request: pytest.FixtureRequest) -> None:
    base = request.node.callspec.params["nginx"]
    path = f"{base}{PREFIX}tencentcloud_default"
    assert send(nginx, "POST", path, b"{}") == (200, ANSWER)
    ((method, seen, headers, size),) = airflow.seen
    assert (method, seen, size) == ("POST", path, 2)
    assert headers["Host"] == NAME
    assert headers["X-Forwarded-For"] == "127.0.0.1"
    assert headers["X-Forwarded-Proto"] == "http"


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_only_posts_pass(method: str, plain_nginx: int, airflow: Airflow) -> None:
    assert send(plain_nginx, method, f"{PREFIX}x")[0] == 403
    assert airflow.seen == []


@pytest.mark.parametrize(
    "path", ["/", "/tiw", "/tiw/callbacksx/x", "/api/v2/dags", "/execution/xcoms", "/auth/token"]
)
def test_no_other_path_of_airflow_passes(path: str, plain_nginx: int, airflow: Airflow) -> None:
    assert send(plain_nginx, "POST", path, b"{}")[0] == 404
    assert airflow.seen == []


def test_the_longest_callback_passes_and_no_longer_body(plain_nginx: int, airflow: Airflow) -> None:
    assert LONGEST == MAX_BODY_BYTES
    assert send(plain_nginx, "POST", f"{PREFIX}x", b" " * (LONGEST + 1))[0] == 413
    assert airflow.seen == []
    assert send(plain_nginx, "POST", f"{PREFIX}x", b" " * LONGEST)[0] == 200
    assert [size for *_, size in airflow.seen] == [LONGEST]


def test_slow_senders_never_reach_airflow(plain_nginx: int, airflow: Airflow) -> None:
    with contextlib.ExitStack() as opened:
        for _ in range(50):
            slow = opened.enter_context(socket.create_connection(("127.0.0.1", plain_nginx), 30))
            head = f"POST {PREFIX}x HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {LONGEST}"
            slow.sendall(head.encode() + b"\r\n\r\n{")
        assert send(plain_nginx, "POST", f"{PREFIX}x", b"{}") == (200, ANSWER)
        assert len(airflow.seen) == 1


@pytest.mark.parametrize(
    ("path", "arrives"),
    [
        ("/execution/xcoms/../../tiw/callbacks/x", f"{PREFIX}x"),
        ("/execution/%2e%2e/tiw/callbacks/x", f"{PREFIX}x"),
        ("/execution/..%2ftiw/callbacks/x", f"{PREFIX}x"),
        ("//tiw//callbacks//x", f"{PREFIX}x"),
        ("/tiw/callbacks/../../execution/xcoms", None),
        ("/tiw/callbacks/%2e%2e/%2e%2e/execution/xcoms", None),
        ("/tiw/callbacks/..%2f..%2fexecution/xcoms", None),
        ("/tiw/callbacks/..", None),
        ("/tiw/callbacks/%252e%252e/%252e%252e/execution/xcoms", PREFIX),
        ("/tiw/callbacks/..;/..;/execution/xcoms", PREFIX),
        ("/tiw/callbacks/%5c..%5c..%5cexecution", PREFIX),
        ("/tiw/callbacks/x%3f/../../../execution", None),
    ],
)
def test_no_path_leads_out_of_the_receiver(
    path: str, arrives: str | None, plain_nginx: int, airflow: Airflow
) -> None:
    status, _ = send(plain_nginx, "POST", path, b"{}")
    assert status == (404 if arrives is None else 200)
    for seen in airflow.paths:
        meant = posixpath.normpath(urllib.parse.unquote(seen))
        assert seen.startswith(PREFIX)
        assert meant.startswith(PREFIX)
    if arrives != PREFIX:
        assert airflow.paths == [arrives] * (arrives is not None)


def test_a_flood_is_limited(plain_nginx: int, airflow: Airflow) -> None:
    # 501 pass at once and then 50 a second: to pass, 2,000 would need half a minute.
    with ThreadPoolExecutor(16) as pool:
        sent = [pool.submit(send, plain_nginx, "POST", f"{PREFIX}x", b"{}") for _ in range(2000)]
    statuses = [each.result()[0] for each in sent]
    assert set(statuses) == {200, 503}
    assert statuses.count(200) >= 501
    assert len(airflow.seen) == statuses.count(200)
