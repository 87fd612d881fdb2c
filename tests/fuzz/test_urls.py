# SPDX-License-Identifier: Apache-2.0
"""Any endpoint, any URL, and any answer of a server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from fuzzing import examples
from hypothesis import given, strategies as st
from rude_server import rude_server

from tiw_automation.core import ConfigurationError, DeadlineExceeded, TiwClient, TiwError
from tiw_automation.core.api.endpoints import is_loopback, parse_endpoint
from tiw_automation.core.formatting import shown_url
from tiw_automation.core.headers import http_date, retry_after_s
from tiw_automation.core.quota.quota import Quota, Slot

SECRET = "s3cretS3CRETs3cret"
pieces = st.sampled_from(
    [
        "http://",
        "https://",
        "HTTP://",
        "ftp://",
        "//",
        ":",
        "/",
        "[",
        "]",
        "::1",
        "?",
        "#",
        "@",
        "127.0.0.1",
        "127.1",
        "localhost",
        "tiw.example",
        "8787",
        "0",
        "99999",
        "\u00b2",
        "%41",
        SECRET,
        " ",
        "\n",
        "\x00",
        "\x1b[31m",
        "\N{KELVIN SIGN}",
        "\u3002",
        ".",
        "-",
        "xn--",
        "a" * 300,
    ]
)
urls = st.text(max_size=40) | st.lists(pieces, min_size=1, max_size=7).map("".join)


@examples(500)
@given(urls | st.none() | st.integers() | st.binary(max_size=5))
def test_any_endpoint_is_a_host_or_an_error(value: Any) -> None:
    try:
        scheme, host = parse_endpoint(value)
    except ConfigurationError as error:
        message = str(error)
    else:
        message = ""
        check_host(scheme, host)
    assert message.isprintable()
    assert not (isinstance(value, str) and "@" in value and SECRET in message)


def check_host(scheme: str, host: str) -> None:
    assert scheme in ("http", "https")
    assert host.isascii()
    assert host.isprintable()
    assert not set(host) & set(" /?#@\\")
    assert parse_endpoint(f"{scheme}://{host}") == (scheme, host)
    is_loopback(host)


@examples(500)
@given(urls)
def test_any_url_is_shown_without_its_query(value: str) -> None:
    assert not set(shown_url(value)) & {"?", "#"}


@examples()
@given(st.text(max_size=40), st.sampled_from(["https://", "//", ""]))
def test_no_password_of_a_url_is_shown(path: str, scheme: str) -> None:
    assert SECRET not in shown_url(f"{scheme}me:{SECRET}@host/{path}?sign={SECRET}")


@examples()
@given(urls)
def test_a_client_of_any_endpoint_or_an_error(value: str) -> None:
    try:
        client = TiwClient(secret_id="AKIDexample", secret_key=SECRET, endpoint=value)
    except ConfigurationError:
        return
    settings = client.settings
    assert settings.scheme == "https" or is_loopback(settings.host)


@examples(500)
@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ .*"))
def test_any_retry_after_is_bounded_or_ignored(value: str) -> None:
    for date in ("", value, "Tue, 14 Nov 2023 22:13:20 GMT"):
        found = retry_after_s({"Retry-After": value, "Date": date})
        assert found is None or 0 <= found <= 300
    http_date(value)


class _Answers:
    """The next answer of this module's server."""

    raw = b""


@pytest.fixture(scope="module")
def client() -> Iterator[TiwClient]:
    def behave(peer: socket.socket, stop: threading.Event) -> None:
        peer.recv(65536)
        peer.sendall(_Answers.raw)

    with (
        rude_server(behave) as (port, _),
        TiwClient(
            secret_id="AKIDexample",
            secret_key=SECRET,
            endpoint=f"http://127.0.0.1:{port}",
            timeout=5,
        ) as client,
    ):
        yield client


heads = st.lists(
    st.sampled_from(
        [
            b"HTTP/1.1 200 OK",
            b"HTTP/1.1 103 Early Hints",
            b"HTTP/1.1 429 x",
            b"HTTP/1.1 302 Found",
            b"HTTP/1.1 503 Busy",
            b"HTTP/1.1 204 None",
            b"HTTP/1.1 101 Switch",
            b"HTTP/1.1 9 x",
            b"",
            b"Content-Length: 5",
            b"Content-Length: \xb2",
            b"Content-Length: -1",
            b"Transfer-Encoding: chunked",
            b"Content-Encoding: gzip",
            b"Content-Encoding: deflate",
            b"Content-Encoding: br",
            b"Retry-After: 1",
            b"Retry-After: \xb2",
            b"Location: http://[",
            b": no name",
            b" folded",
            b"No colon",
            b"Date: yesterday",
            b"Connection: keep-alive",
        ]
    )
    | st.binary(max_size=30),
    max_size=6,
).map(b"\r\n".join)
bodies = st.binary(max_size=60) | st.sampled_from(
    [
        b'{"Response": {"RequestId": "r"}}',
        b'{"Response": {"Error": {"Code": "\\ud800"}}}',
        b'{"Response": [',
        b"5\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello",
        b"[" * 10000,
        b'{"Response": {"Error": {"Code": "' + b"." * 10000 + b'"}}}',
    ]
)


@examples()
@given(heads, bodies)
def test_any_answer_is_a_response_or_an_error(client: TiwClient, head: bytes, body: bytes) -> None:
    _Answers.raw = head + b"\r\n\r\n" + body
    started = time.monotonic()
    try:
        found = client.call("DescribeOnlineRecord", {}, slot=Slot(Quota(1000), started))
        assert isinstance(found, dict)
    except TiwError as error:
        message = f"{type(error).__name__} {error}"
    else:
        message = ""
    assert message.isprintable()
    assert len(message) < 30_000
    assert DeadlineExceeded.__name__ not in message
    assert SECRET not in message
    assert time.monotonic() - started < 5
