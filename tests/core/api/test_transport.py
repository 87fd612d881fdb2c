# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import http.server
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import rude_server as rude
from serving import serving

from tiw_automation.core import (
    ApiError,
    AuthFailure,
    BadAnswer,
    ConfigurationError,
    DeadlineExceeded,
    RequestLimitExceeded,
    ServerError,
    TaskNotFound,
    TiwClient,
    TiwError,
    TransportError,
)
from tiw_automation.core.api.transport import Transport
from tiw_automation.core.archive.download import VideoDownloader
from tiw_automation.core.archive.hosts import HostPolicy
from tiw_automation.core.headers import retry_after_s
from tiw_automation.core.quota.quota import Quota, Slot

KEY = "keyexamplekeyexamplekey00"
FINISHED = json.dumps(
    {"Response": {"Status": "FINISHED", "TaskId": "t", "RequestId": "r-1"}}
).encode()


def once() -> Slot:
    """Return a slot that was reserved already, with which a call makes one request."""
    return Slot(Quota(1000), time.monotonic())


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
            client(port, scheme, timeout=0.4).describe_online_record("t", slot=once())
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
def test_what_is_not_an_answer(raw: bytes, error: type[Exception], words: str) -> None:
    with rude.rude_server(rude.answer(raw)) as (port, _), pytest.raises(error, match=words):
        client(port).describe_online_record("t", slot=once())


@pytest.mark.parametrize(
    ("status", "content_type"),
    [
        ("200 OK", "application/json"),
        ("200 OK", "application/json; charset=utf-8"),
        ("200 OK", None),
        ("500 Internal Server Error", "application/json"),
    ],
)
def test_an_error_is_found_in_any_http_answer(status: str, content_type: str | None) -> None:
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
        client(port).describe_online_record("t", slot=once())
    assert caught.value.request_id == "r-7"


def test_an_error_without_a_request_id_has_its_class() -> None:
    body = b'{"Response": {"Error": {"Code": "AuthFailure", "Message": "no"}}}'
    with (
        rude.rude_server(rude.answer(http_answer("200 OK", None, body))) as (port, _),
        pytest.raises(AuthFailure),
    ):
        client(port).describe_online_record("t", slot=once())


def test_a_refused_connection_and_an_unknown_name() -> None:
    with pytest.raises(TransportError, match="Connection refused"):
        client(1).describe_online_record("t", slot=once())
    with pytest.raises(TransportError, match=r"nosuch\.invalid could not be reached"):
        client(1, endpoint="http://nosuch.invalid", allow_http=True).describe_online_record(
            "t", slot=once()
        )


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
            tiw.describe_online_record("t", slot=once())
        assert tiw.requests_sent == 5
    headers = [seen[1] for seen in recorder.seen]
    assert len({seen[2] for seen in recorder.seen}) == 1
    assert len({header["X-TC-TraceId"] for header in headers}) == 5
    assert headers[0]["X-TC-Language"] == "en-US"
    assert headers[0]["X-TC-Action"] == "DescribeOnlineRecord"
    assert "tiw-automation" in headers[0]["X-TC-RequestClient"]


def test_before_sending_is_called_on_an_open_connection(recorder: Any) -> None:
    """On a new connection and on one that was kept; nothing was sent before."""
    seen_before: list[int] = []
    transport = Transport(f"http://127.0.0.1:{recorder.server_port}")
    for _ in range(2):
        deadline = time.monotonic() + 5
        transport.exchange(
            "POST", "/", b"{}", {}, deadline, lambda: seen_before.append(len(recorder.seen))
        )
    assert seen_before == [0, 1]
    assert len({seen[2] for seen in recorder.seen}) == 1
    transport.close()


def test_an_error_before_sending_is_the_cause() -> None:
    """The request is not sent."""

    class NoSlot(Exception):
        pass

    def refuse() -> None:
        raise NoSlot

    with rude.rude_server(rude.silent) as (port, _):
        transport = Transport(f"http://127.0.0.1:{port}")
        with pytest.raises(TransportError) as caught:
            transport.exchange("POST", "/", b"{}", {}, time.monotonic() + 5, refuse)
    assert isinstance(caught.value.__cause__, NoSlot)


def test_a_netrc_does_not_replace_the_signature(
    recorder: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("default login somebody password sesame\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    client(recorder.server_port).describe_online_record("t", slot=once())
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
        # Nothing listens on port 1, so the proxy has answered.
        client(1).describe_online_record("t", slot=once())
        assert recorder.seen[0][0] == "http://127.0.0.1:1/"
    else:
        with pytest.raises(TransportError, match="refused"):
            client(1).describe_online_record("t", slot=once())


def test_a_given_proxy_gets_its_password_and_no_message_shows_it(recorder: Any) -> None:
    proxy = f"http://me:sesame@127.0.0.1:{recorder.server_port}"
    client(1, proxy=proxy).describe_online_record("t", slot=once())
    assert recorder.seen[0][1]["proxy-authorization"].startswith("Basic ")
    with pytest.raises(TransportError) as caught:
        client(1, proxy="http://me:sesame@127.0.0.1:1").describe_online_record("t", slot=once())
    error: BaseException | None = caught.value
    while error is not None:
        assert "sesame" not in repr(error)
        error = error.__cause__ or error.__context__


def test_no_secret_in_any_log(recorder: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        client(recorder.server_port, token="tokenexample").describe_online_record("t", slot=once())
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
                tiw.describe_online_record("t", slot=once())
        except ApiError as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(recorder.seen) == tiw.requests_sent == 80


def answer_about(task_id: str, **more: Any) -> bytes:
    return json.dumps({"Response": {"Status": "FINISHED", "TaskId": task_id, **more}}).encode()


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </x>; rel=preload\r\n\r\n"
GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def test_interim_answers_are_skipped_on_a_connection_that_is_kept() -> None:
    pieces = [
        HINTS + http_answer("200 OK", None, answer_about("one")),
        GO_ON + HINTS + HINTS + http_answer("200 OK", None, answer_about("two")),
        http_answer("200 OK", None, answer_about("three")),
    ]
    with rude.rude_server(rude.answers(*pieces)) as (port, connections), client(port) as tiw:
        for task_id in ("one", "two", "three"):
            found = tiw.call("DescribeOnlineRecord", {}, slot=once())
            assert found["TaskId"] == task_id
        assert len(connections) == 1


@pytest.mark.parametrize(
    "raw",
    [
        HINTS * 1000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        http_answer("200 OK", None, FINISHED).replace(
            b"Content-Length: ", "Content-Length: \u00b2".encode("latin-1")
        ),
        http_answer("200 OK", None, FINISHED).replace(b"Content-Length: ", b"Content-Length: -"),
        http_answer("200 OK", None, FINISHED).replace(b"Content-Length: ", b"Content-Length: 9, "),
        b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Many: 1\r\n" * 1000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 2x0 OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"\x1b[31mred\r\n\r\n",
        b"\x00\xff" * 100,
        http_answer("200 OK\r\nContent-Encoding: br", None, FINISHED),
        http_answer("200 OK\r\nContent-Encoding: gzip", None, FINISHED),
        http_answer(
            "200 OK\r\nContent-Encoding: gzip", None, gzip.compress(FINISHED, mtime=0)[:-3]
        ),
        http_answer("200 OK\r\nContent-Encoding: deflate", None, zlib.compress(FINISHED)[:-3]),
        http_answer("200 OK\r\nContent-Encoding: gzip", None, gzip.compress(bytes(20_000_000))),
        http_answer("200 OK", None, b"[" * 100_000),
        http_answer("200 OK", None, b'{"Response": ' + b"[" * 1000 + b"]" * 1000 + b"}"),
        http_answer("200 OK", None, b"\xff\xfe"),
        http_answer("301 Moved\r\nLocation: http://[", None, b""),
    ],
)
def test_junk_on_the_wire_is_a_transport_error(raw: bytes) -> None:
    with rude.rude_server(rude.answer(raw)) as (port, _), pytest.raises(TransportError) as caught:
        client(port).describe_online_record("t", slot=once())
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1500


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(FINISHED, mtime=0)),
        ("X-GZIP", gzip.compress(FINISHED[:9]) + gzip.compress(FINISHED[9:])),
        ("deflate", zlib.compress(FINISHED)),
        ("deflate", zlib.compress(FINISHED, wbits=-15)),
        ("identity", FINISHED),
    ],
)
def test_a_body_that_a_proxy_has_encoded_is_read(encoding: str, body: bytes) -> None:
    raw = http_answer(f"200 OK\r\nContent-Encoding: {encoding}", None, body)
    with rude.rude_server(rude.answer(raw)) as (port, _):
        assert client(port).describe_online_record("t", slot=once()).status == "FINISHED"


@pytest.mark.parametrize(
    "body",
    [
        b"<html>Too many requests</html>",
        b'{"message": "slow down"}',
        b'{"Response": {"Error": {"Code": "Busy", "Message": "later"}, "RequestId": "r"}}',
        b'{"Response": {"Error": {"Code": "RequestLimitExceeded", "Message": ""}}}',
    ],
)
def test_429_lowers_the_pace(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[Quota] = []
    monkeypatch.setattr(Quota, "rejected", lambda quota: lowered.append(quota))
    raw = http_answer("429 Too Many Requests\r\nRetry-After: 7", "text/html", body)
    with rude.rude_server(rude.answer(raw)) as (port, _):
        tiw = client(port)
        with pytest.raises(RequestLimitExceeded) as caught:
            tiw.describe_online_record("t", slot=once())
        assert lowered == [tiw.quota("DescribeOnlineRecord")]
    assert caught.value.retry_after_s == 7


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("0", 0),
        (" 7 ", 7),
        ("99999", 300),
        ("9" * 5000, 300),
        (formatdate(1_700_000_020, usegmt=True), 20),
        (formatdate(1_600_000_000, usegmt=True), 0),
        (formatdate(4_000_000_000, usegmt=True), 300),
        ("\u00b2", None),
        ("-7", None),
        ("7.5", None),
        ("soon", None),
        ("Mon, 99 Foo 99999999999999999999 00:00:00 GMT", None),
        ("", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    """By the server's own clock."""
    headers = {"Retry-After": value, "Date": formatdate(1_700_000_000, usegmt=True)}
    assert retry_after_s(headers) == seconds


def test_a_call_waits_as_long_as_retry_after_asks() -> None:
    busy = http_answer("503 Busy\r\nRetry-After: 1", "text/html", b"<html>")
    good = http_answer("200 OK", None, FINISHED)
    with rude.rude_server(rude.answers(busy, good)) as (port, _), client(port) as tiw:
        started = time.monotonic()
        assert tiw.describe_online_record("t").status == "FINISHED"
        assert time.monotonic() - started >= 1
    with (
        rude.rude_server(rude.answers(busy, good)) as (port, _),
        client(port, timeout=0.8) as tiw,
        # The deadline is too close for it.
        pytest.raises(ServerError),
    ):
        tiw.describe_online_record("t")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_an_address_that_drops_packets_costs_a_moment(
    recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rude.silent_address() as silent:
        resolve_to(
            monkeypatch,
            ("127.0.0.2", silent),
            ("127.0.0.2", silent),
            ("127.0.0.1", recorder.server_port),
        )
        started = time.monotonic()
        client(1, timeout=5).describe_online_record("t", slot=once())
        assert 0.4 < time.monotonic() - started < 3


def test_addresses_that_refuse_cost_nothing_and_silent_ones_the_deadline(
    recorder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rude.silent_address() as silent:
        resolve_to(monkeypatch, ("127.0.0.1", 1), ("127.0.0.1", recorder.server_port))
        started = time.monotonic()
        client(1, timeout=5).describe_online_record("t", slot=once())
        assert time.monotonic() - started < 0.25
        resolve_to(monkeypatch, ("127.0.0.1", 1), ("127.0.0.2", silent))
        with pytest.raises(DeadlineExceeded):
            client(1, timeout=0.6).describe_online_record("t", slot=once())
        resolve_to(monkeypatch, ("127.0.0.1", 1), ("127.0.0.1", 1))
        with pytest.raises(TransportError, match="refused"):
            client(1, timeout=5).describe_online_record("t", slot=once())
        resolve_to(monkeypatch)
        with pytest.raises(TransportError, match="no address"):
            client(1, timeout=5).describe_online_record("t", slot=once())


def test_a_name_that_cannot_be_looked_up_fails_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    started = time.monotonic()
    with pytest.raises(TransportError):
        client(1, endpoint=f"https://{'a' * 70}.example").describe_online_record("t", slot=once())
    assert time.monotonic() - started < 4
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["https_proxy", "HTTPS_PROXY", "ALL_PROXY"])
@pytest.mark.parametrize(
    "value",
    [
        "http://user:s3cret/password@proxy:3128",
        "http://user:s3cret#password@proxy:3128",
        "http://[s3cret",
        "http://s3cret:99999",
        "http://s3cret host:1",
        "http://",
        "socks5://user:s3cret@proxy:1080",
        "s3cret\x01:3128",
    ],
)
def test_a_proxy_that_is_malformed_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=name) as caught:
        client(1, endpoint="https://tiw.example")
    error: BaseException | None = caught.value
    while error is not None:
        for part in ("s3cret", "password@", "user:"):
            assert part not in str(error).replace("user:password@", "")
        error = error.__cause__
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    ("template", "signed"),
    [
        ("127.0.0.1:{}", None),
        ("localhost:{}", None),
        ("//127.0.0.1:{}/", None),
        ("HTTP://127.0.0.1:{}\n", None),
        ("http://me:p%40ss%2F1@127.0.0.1:{}", "bWU6cEBzcy8x"),
        ("me:sesame@127.0.0.1:{}", "bWU6c2VzYW1l"),
        ("http://me@127.0.0.1:{}", "bWU6"),
        ("http://me:a%20b%0A@127.0.0.1:{}", "bWU6YSBiCg=="),
        ("http://me:%E2%82%AC@127.0.0.1:{}", "bWU64oKs"),
    ],
)
def test_a_proxy_is_read_as_requests_and_curl_read_it(
    recorder: Any, monkeypatch: pytest.MonkeyPatch, template: str, signed: str | None
) -> None:
    proxy = template.format(recorder.server_port)
    for given in (False, True):
        monkeypatch.setenv("HTTP_PROXY", "" if given else proxy)
        client(1, proxy=proxy if given else None).describe_online_record("t", slot=once())
        path, headers, _ = recorder.seen.pop()
        assert path == "http://127.0.0.1:1/"
        basic = headers.get("proxy-authorization") or headers.get("Proxy-Authorization")
        assert basic == (signed and f"Basic {signed}")


def test_the_query_of_a_videos_url_is_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Neither by urllib3 nor in the error's traceback."""
    odd = b"HTTP/1.1 200 OK\r\n: no name\r\nContent-Length: 3\r\n\r\nabc"
    with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
        with rude.rude_server(rude.answer(odd)) as (port, _):
            url = f"http://127.0.0.1:{port}/v.mp4?sign=s3cret"
            VideoDownloader(attempts=1, policy=HostPolicy(["127.0.0.1"])).download(
                url, _Memory(), size_bytes=3
            )
        url = "http://127.0.0.1:1/?sign=s3cret"
        with pytest.raises(TiwError) as caught:
            VideoDownloader(attempts=1, policy=HostPolicy(["127.0.0.1"])).download(url, _Memory())
        logging.getLogger("test").error("failed", exc_info=caught.value)
    assert "s3cret" not in caplog.text
    assert "failed" in caplog.text


class _Memory:
    def write(self, data: bytes) -> None:
        pass

    def restart(self) -> None:
        pass


@pytest.mark.parametrize(
    "head",
    [
        "302 Found\r\nLocation: http://[",
        "302 Found\r\nLocation: //[::1",
        "503 Busy\r\nRetry-After: \u00b2",
        "200 OK\r\nContent-Length: \u00b2",
    ],
)
def test_odd_headers_of_a_video_are_errors_of_this_package(head: str) -> None:
    raw = f"HTTP/1.1 {head}\r\n\r\n".encode("latin-1")
    with rude.rude_server(rude.answer(raw)) as (port, _), pytest.raises(TiwError):
        VideoDownloader(attempts=1, policy=HostPolicy(["127.0.0.1"])).download(
            f"http://127.0.0.1:{port}/v", _Memory(), size_bytes=3
        )


def test_a_forked_child_has_connections_of_its_own() -> None:
    """Even if another thread holds the lock of the pool when the process forks."""
    good = http_answer("200 OK", None, FINISHED)
    with rude.rude_server(rude.answers(good, good)) as (port, connections), client(port) as tiw:
        tiw.describe_online_record("t", slot=once())
        (pool,) = tiw._transport._manager.pools._container.values()
        assert pool.pool is not None
        lock = pool.pool.mutex
        # Only the transport refers to the pool, so the child drops it.
        del pool
        with lock:
            child = os.fork()
            if not child:
                try:
                    tiw.describe_online_record("t", slot=once())
                    os._exit(0)
                finally:
                    os._exit(1)
        ends = time.monotonic() + 10
        while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < ends:
            time.sleep(0.02)
        if done == (0, 0):
            os.kill(child, 9)
            os.waitpid(child, 0)
        assert done == (child, 0)
        tiw.describe_online_record("t", slot=once())
        assert len(connections) == 2
        tiw.close()


def test_a_transport_without_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://[")
    Transport("http://127.0.0.1:1", use_environment=False)
    with pytest.raises(ConfigurationError, match="HTTP_PROXY"):
        Transport("http://127.0.0.1:1")
