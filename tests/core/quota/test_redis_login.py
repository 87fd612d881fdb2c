# SPDX-License-Identifier: Apache-2.0
"""How a process connects to a real Redis: passwords, users with few rights, TLS, memory."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client
import trustme
from page_blocks import blocks_for
from redis_servers import RealRedis, free_port, needs_real

from tiw_automation.core import Quota
from tiw_automation.core.quota.redis import RedisPace
from tiw_automation.core.quota.redis_connection import RedisConnection

pytestmark = needs_real

(_PAGE,) = blocks_for(__file__)
# Without the command, the name, "on" and the password.
RULES = _PAGE.text.split()[5:]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RealRedis]:
    found = RealRedis(tmp_path)
    try:
        with client.Redis(port=found.port) as connection:
            connection.execute_command("ACL", "SETUSER", "tiw", "on", ">pa@ss/word", *RULES)
            connection.execute_command("ACL", "SETUSER", "default", "resetpass", ">default-pass")
        yield found
    finally:
        found.kill()


def is_shared(url: str) -> bool:
    """Return whether a process gets a slot by the server."""
    store = RedisPace(url, "id", "host", "A")
    quota = Quota(19.0, store=store)
    end = time.monotonic() + 4.0
    while quota._share.latest is None and time.monotonic() < end:
        quota.acquire()
    try:
        return quota._share.latest is not None
    finally:
        quota.close()


@pytest.mark.parametrize("scheme", ["redis", "valkey"])
@pytest.mark.parametrize("database", ["", "/1"])
def test_a_user_with_few_rights_shares_the_pace(
    server: RealRedis, scheme: str, database: str
) -> None:
    assert is_shared(f"{scheme}://tiw:pa%40ss%2Fword@127.0.0.1:{server.port}{database}")


def test_a_password_alone_is_that_of_the_default_user(server: RealRedis) -> None:
    assert is_shared(f"redis://:default-pass@127.0.0.1:{server.port}")


@pytest.mark.parametrize("login", ["tiw:wrong-pass", ":wrong-pass", "nobody:wrong-pass", ""])
def test_a_wrong_password_is_reported_without_it(
    server: RealRedis, login: str, caplog: pytest.LogCaptureFixture
) -> None:
    login = f"{login}@" if login else ""
    assert not is_shared(f"redis://{login}127.0.0.1:{server.port}")
    assert caplog.text.count("is not shared with") == 1
    assert "assword" in caplog.text or "uthenti" in caplog.text
    assert "wrong-pass" not in caplog.text


def test_a_user_without_the_rights_is_reported(
    server: RealRedis, caplog: pytest.LogCaptureFixture
) -> None:
    with client.Redis(port=server.port, password="default-pass") as connection:
        connection.execute_command("ACL", "SETUSER", "less", "on", ">less-pass", "~x", "+@all")
    assert not is_shared(f"redis://less:less-pass@127.0.0.1:{server.port}")
    assert "permission" in caplog.text


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[RealRedis, str]]:
    """A server with TLS, and the file of its authority."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    certificate = authority.issue_cert("redis.example")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    options = {
        "--tls-port": str(port), "--tls-cert-file": "cert.pem", "--tls-key-file": "key.pem",
        "--tls-ca-cert-file": "ca.pem", "--tls-auth-clients": "no",
    }  # fmt: skip
    words = [word for pair in options.items() for word in pair]
    found = RealRedis(tmp_path, *words, port=port, plain=False)
    try:
        yield found, str(tmp_path / "ca.pem")
    finally:
        found.kill()


def test_tls_needs_the_authority_and_the_name(
    tls: tuple[RealRedis, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    server, authority = tls
    real = socket.getaddrinfo

    def lookup(host: str, *given: Any, **options: Any) -> Any:
        return real("127.0.0.1", *given, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lookup)
    good = f"rediss://redis.example:{server.port}/0?ssl_ca_certs={authority}"
    assert is_shared(good)
    assert is_shared(good.replace("rediss", "valkeys"))
    assert not caplog.records
    assert not is_shared(good.partition("?")[0])
    assert "CERTIFICATE_VERIFY_FAILED" in caplog.text
    caplog.clear()
    assert not is_shared(good.replace("redis.example", "other.example"))
    assert "ostname mismatch" in caplog.text
    assert authority not in caplog.text


def test_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    server = RealRedis(tmp_path, "--unixsocket", str(path))
    try:
        assert is_shared(f"unix://{path}?db=1")
        connection = RedisConnection(f"unix://{path}")
        connection.open()
        assert connection.time() == pytest.approx(time.time(), abs=5)
        connection.close()
    finally:
        server.kill()


def test_a_restart_with_another_password_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server = RealRedis(tmp_path, "--requirepass", "first-pass")
    url = f"redis://:first-pass@127.0.0.1:{server.port}"
    quota = Quota(19.0, store=RedisPace(url, "id", "host", "A"))
    try:
        quota.acquire()
        server.kill()
        server.options = ("--requirepass", "second-pass")
        server.start()
        end = time.monotonic() + 2.5
        sent = 0
        while time.monotonic() < end:
            quota.acquire()
            sent += 1
        assert sent > 20
        assert caplog.text.count("is not shared") == 1
        assert "first-pass" not in caplog.text
    finally:
        quota.close()
        server.kill()
