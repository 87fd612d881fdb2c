# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import http.server
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import rude_server as rude
from serving import serving

from tiw_automation.core import (
    ApiError,
    AuthFailure,
    BadAnswer,
    DeadlineExceeded,
    ServerError,
    TaskNotFound,
    TiwClient,
    TransportError,
)
from tiw_automation.core.quota import Quota, Ticket

KEY = "keyexamplekeyexamplekey00"
FINISHED = json.dumps(
    {"Response": {"Status": "FINISHED", "TaskId": "t", "RequestId": "r-1"}}
).encode()


def once() -> Ticket:
    """Return what a caller has that has taken its turn: it is asked once."""
    return Ticket(Quota(1000), time.monotonic())


def client(port: int, scheme: str = "http", **given: Any) -> TiwClient:
    settings = {
        "secret_id": "AKIDexample",
        "secret_key": KEY,
        "sdk_app_id": 1400000001,
        "endpoint": f"{scheme}://127.0.0.1:{port}",
        "timeout": 5,
        "requests_per_second": 1000,
        **given,
    }
    return TiwClient(**settings)


def http_answer(
    status: str, content_type: str | None, body: bytes, length: int | None = None
) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    if content_type:
        head.append(f"Content-Type: {content_type}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("behaviour", "scheme"),
    [
        (rude.silent, "http"),
        (rude.dripping_headers, "http"),
        (rude.dripping_body, "http"),
        (rude.dripping_chunks, "http"),
        (rude.silent, "https"),
        (rude.half_a_tls_handshake, "https"),
    ],
)
def test_a_call_that_hangs_ends_at_its_deadline(behaviour: Any, scheme: str) -> None:
    with rude.rude_server(behaviour) as (port, _):
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.\d+ s") as caught:
            client(port, scheme, timeout=0.4).describe_online_record("t", ticket=once())
        assert 0.35 < time.monotonic() - started < 3
        assert caught.value.retryable
        assert caught.value.action == "DescribeOnlineRecord"


@pytest.mark.parametrize(
    "behaviour", ["silent", "dripping_headers", "dripping_body", "half_a_tls_handshake"]
)
def test_a_process_whose_call_hangs_can_exit(behaviour: str) -> None:
    program = """
import asyncio, sys
from tiw_automation.core import RecordWatcher, TiwClient, WaitTimeout

async def main():
    client = TiwClient(secret_id="AKIDx", secret_key="keykey", sdk_app_id=1, endpoint=sys.argv[1],
                       timeout=60)
    task = asyncio.create_task(RecordWatcher(client).wait("t"))
    await asyncio.sleep(0.5)
    task.cancel()

asyncio.run(main())
print("main is over", flush=True)
"""
    scheme = "https" if "tls" in behaviour else "http"
    with rude.rude_server(getattr(rude, behaviour)) as (port, connections):
        process = subprocess.Popen(
            [sys.executable, "-c", program, f"{scheme}://127.0.0.1:{port}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        output = process.stdout
        assert output is not None
        try:
            assert output.readline() == "main is over\n"
            # The call would hang for a minute; the process must not wait for it.
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            output.close()
        assert len(connections) == 1


@pytest.mark.parametrize(
    ("raw", "error", "words"),
    [
        (b"", TransportError, "could not be reached"),
        (http_answer("200 OK", "application/json", FINISHED, 9999), BadAnswer, "cut off"),
        (http_answer("200 OK", "application/json", b"{"), BadAnswer, "not the API's"),
        (http_answer("200 OK", "text/html", b"<html>"), BadAnswer, "text/html"),
        (http_answer("200 OK", "application/json", b"[]"), BadAnswer, "not the API's"),
        (http_answer("200 OK", "application/json", b'{"Response": 1}'), BadAnswer, "not the"),
        (
            http_answer("200 OK", "application/json", b'{"Response": {"Error": 1}}'),
            BadAnswer,
            "not the API's",
        ),
        (http_answer("502 Bad Gateway", "text/html", b"<html>"), ServerError, "HTTP 502"),
        (
            http_answer("302 Found\r\nLocation: http://127.0.0.1:1/", None, b""),
            BadAnswer,
            "HTTP 302",
        ),
        (b"no http at all\r\n\r\n", TransportError, "could not be reached"),
    ],
)
def test_what_is_no_answer(raw: bytes, error: type[Exception], words: str) -> None:
    with rude.rude_server(rude.answer(raw)) as (port, _), pytest.raises(error, match=words):
        client(port).describe_online_record("t", ticket=once())


@pytest.mark.parametrize(
    ("status", "content_type"),
    [
        ("200 OK", "application/json"),
        ("200 OK", "application/json; charset=utf-8"),
        ("200 OK", None),
        ("500 Internal Server Error", "application/json"),
    ],
)
def test_an_error_is_found_whatever_is_around_it(status: str, content_type: str | None) -> None:
    body = json.dumps(
        {
            "Response": {
                "Error": {"Code": "InvalidParameter.TaskNotFound", "Message": "No such task."},
                "RequestId": "r-7",
            }
        }
    ).encode()
    with (
        rude.rude_server(rude.answer(http_answer(status, content_type, body))) as (port, _),
        pytest.raises(TaskNotFound, match=r"No such task\.") as caught,
    ):
        client(port).describe_online_record("t", ticket=once())
    assert caught.value.request_id == "r-7"


def test_an_error_without_a_request_id_is_still_that_error() -> None:
    body = b'{"Response": {"Error": {"Code": "AuthFailure", "Message": "no"}}}'
    with (
        rude.rude_server(rude.answer(http_answer("200 OK", None, body))) as (port, _),
        pytest.raises(AuthFailure),
    ):
        client(port).describe_online_record("t", ticket=once())


def test_a_refused_connection_and_an_unknown_name() -> None:
    with pytest.raises(TransportError, match="Connection refused"):
        client(1).describe_online_record("t", ticket=once())
    with pytest.raises(TransportError, match=r"nosuch\.invalid could not be reached"):
        client(1, endpoint="http://nosuch.invalid").describe_online_record("t", ticket=once())


class _Recorder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers["Content-Length"]))
        server.seen.append((self.path, dict(self.headers), self.client_address))
        self.send_response(200)
        self.send_header("Content-Length", str(len(FINISHED)))
        self.end_headers()
        self.wfile.write(FINISHED)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def recorder() -> Iterator[Any]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Recorder)
    server.seen = []
    server.daemon_threads = True
    with serving(server):
        yield server


def test_connections_are_kept_and_headers_are_fresh(recorder: Any) -> None:
    with client(recorder.server_port) as tiw:
        for _ in range(5):
            tiw.describe_online_record("t", ticket=once())
        assert tiw.requests_sent == 5
    headers = [seen[1] for seen in recorder.seen]
    assert len({seen[2] for seen in recorder.seen}) == 1
    assert len({header["X-TC-TraceId"] for header in headers}) == 5
    assert headers[0]["X-TC-Language"] == "en-US"
    assert headers[0]["X-TC-Action"] == "DescribeOnlineRecord"
    assert "tiw-automation" in headers[0]["X-TC-RequestClient"]


def test_who_may_still_wait_is_asked_when_there_is_a_connection(recorder: Any) -> None:
    """On a new one and on one that is kept, and nothing was sent by then."""
    asked: list[int] = []

    class Asked(Ticket):
        def check(self) -> None:
            asked.append(len(recorder.seen))

    with client(recorder.server_port) as tiw:
        for _ in range(2):
            tiw.describe_online_record("t", ticket=Asked(Quota(1000)))
    assert asked == [0, 1]
    assert len({seen[2] for seen in recorder.seen}) == 1


def test_what_keeps_a_request_from_being_sent_is_told() -> None:
    """No request leaves, and the connection is not kept."""

    class StillWaiting(Exception):
        pass

    class Refused(Ticket):
        def check(self) -> None:
            raise StillWaiting

    with (
        rude.rude_server(rude.silent) as (port, _),
        client(port) as tiw,
        pytest.raises(TransportError) as caught,
    ):
        tiw.describe_online_record("t", ticket=Refused(Quota(1000)))
    assert isinstance(caught.value.__cause__, StillWaiting)


def test_a_netrc_does_not_replace_the_signature(
    recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password sesame\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    client(recorder.server_port).describe_online_record("t", ticket=once())
    assert recorder.seen[0][1]["Authorization"].startswith(
        "TC3-HMAC-SHA256 Credential=AKIDexample/"
    )


@pytest.mark.parametrize(
    ("no_proxy", "proxied"),
    [("", True), ("other.example", True), ("127.0.0.1", False), ("*", False)],
)
def test_proxies_of_the_environment(
    recorder: Any, monkeypatch: pytest.MonkeyPatch, no_proxy: str, proxied: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{recorder.server_port}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{recorder.server_port}")
    monkeypatch.setenv("NO_PROXY", no_proxy)
    monkeypatch.setenv("no_proxy", no_proxy)
    if proxied:
        # Port 1 answers nobody: only the proxy can have.
        client(1).describe_online_record("t", ticket=once())
        assert recorder.seen[0][0] == "http://127.0.0.1:1/"
    else:
        with pytest.raises(TransportError, match="refused"):
            client(1).describe_online_record("t", ticket=once())


def test_a_given_proxy_gets_its_password_and_no_message_shows_it(recorder: Any) -> None:
    proxy = f"http://me:sesame@127.0.0.1:{recorder.server_port}"
    client(1, proxy=proxy).describe_online_record("t", ticket=once())
    assert recorder.seen[0][1]["proxy-authorization"].startswith("Basic ")
    with pytest.raises(TransportError) as caught:
        client(1, proxy="http://me:sesame@127.0.0.1:1").describe_online_record("t", ticket=once())
    error: BaseException | None = caught.value
    while error is not None:
        assert "sesame" not in repr(error)
        error = error.__cause__ or error.__context__


def test_no_secret_in_any_log(recorder: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client(recorder.server_port, token="tokenexample").describe_online_record(
            "t", ticket=once()
        )
    assert caplog.records
    for record in caplog.records:
        text = record.getMessage()
        assert KEY not in text
        assert "tokenexample" not in text
        assert "Signature=" not in text


def test_warnings_as_errors_do_not_break_a_call(recorder: Any) -> None:
    program = """
import sys
from tiw_automation.core import TiwClient
client = TiwClient(secret_id="AKIDx", secret_key="keykey", sdk_app_id=1, endpoint=sys.argv[1])
print(client.describe_online_record("t").status)
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, f"http://127.0.0.1:{recorder.server_port}"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ},
        check=False,
    )
    assert done.stdout == "FINISHED\n", done.stderr


def test_one_client_serves_many_threads(recorder: Any) -> None:
    tiw = client(recorder.server_port)
    errors: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                tiw.describe_online_record("t", ticket=once())
        except ApiError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(recorder.seen) == tiw.requests_sent == 80
