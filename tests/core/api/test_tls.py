# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import http.server
import os
import socket
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from tiw_automation.core import ConfigurationError, TiwClient, TransportError

FINISHED = b'{"Response": {"Status": "FINISHED", "RequestId": "r"}}'


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(FINISHED)))
        self.end_headers()
        self.wfile.write(FINISHED)

    def do_CONNECT(self) -> None:
        self.send_error(403)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


def serve(certificate: trustme.LeafCert | None) -> Iterator[int]:
    server: Any = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    # Clients break off handshakes in these tests.
    server.handle_error = lambda *_: None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def port(authority: trustme.CA) -> Iterator[int]:
    yield from serve(authority.issue_cert("127.0.0.1"))


@pytest.fixture
def port_of_another(authority: trustme.CA) -> Iterator[int]:
    yield from serve(authority.issue_cert("tiw.tencentcloudapi.com"))


@pytest.fixture
def refusing_proxy() -> Iterator[int]:
    yield from serve(None)


class _Tunnel(socketserver.StreamRequestHandler):
    """A proxy that connects its client to the host of the request."""

    def handle(self) -> None:
        host, _, port = self.rfile.readline().split()[1].decode().partition(":")
        while self.rfile.readline().strip():
            pass
        with socket.create_connection((host, int(port))) as server:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            answering = threading.Thread(target=_copy, args=(server, self.connection))
            answering.start()
            _copy(self.connection, server)
            answering.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def tunnel() -> Iterator[int]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Tunnel) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def status(port: int, **given: Any) -> str | None:
    settings = {"secret_id": "AKIDexample", "secret_key": "keyexample", "sdk_app_id": 1, **given}
    # An error of TLS is retried like any other, and the test must not wait long.
    settings.setdefault("timeout", 1.0)
    with TiwClient(endpoint=f"https://127.0.0.1:{port}", **settings) as client:
        return client.describe_online_record("t").status


def test_a_certificate_of_an_unknown_authority_is_refused(port: int) -> None:
    with pytest.raises(TransportError, match=r"certificate.* ca_file") as caught:
        status(port)
    assert caught.value.code == "TlsError"
    assert not caught.value.retryable


def test_the_same_behind_a_proxy(port: int, tunnel: int) -> None:
    with pytest.raises(TransportError, match="certificate") as caught:
        status(port, proxy=f"http://127.0.0.1:{tunnel}")
    assert caught.value.code == "TlsError"
    assert not caught.value.retryable


def test_a_given_bundle_is_trusted(port: int, bundle: Path) -> None:
    assert status(port, ca_file=bundle) == "FINISHED"


@pytest.mark.parametrize("name", BUNDLES)
def test_the_environments_bundle_is_trusted(
    port: int, bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(bundle))
    assert status(port) == "FINISHED"


def test_a_certificate_for_another_host_is_refused(port_of_another: int, bundle: Path) -> None:
    with pytest.raises(TransportError, match=r"127\.0\.0\.1"):
        status(port_of_another, ca_file=bundle)


def a_folder(authority: trustme.CA, path: Path) -> Path:
    """Return a folder of certificates as ``openssl rehash`` leaves it."""
    path.mkdir()
    authority.cert_pem.write_to_path(str(path / "ca.pem"))
    subprocess.run(["openssl", "rehash", str(path)], check=True, timeout=30)
    return path


@pytest.mark.parametrize("name", ["ca_file", *BUNDLES])
def test_a_folder_of_certificates_is_trusted(
    port: int,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
) -> None:
    folder = a_folder(authority, tmp_path / "certs")
    if name in BUNDLES:
        monkeypatch.setenv(name, str(folder))
        assert status(port) == "FINISHED"
    else:
        assert status(port, ca_file=folder) == "FINISHED"


def nothing(path: Path) -> None:
    pass


def text(path: Path) -> None:
    path.write_text("no certificate")


def broken(path: Path) -> None:
    path.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["ca_file", *BUNDLES])
@pytest.mark.parametrize("make", [nothing, text, broken, Path.touch, Path.mkdir, a_pipe])
def test_a_bundle_without_certificates(
    make: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused when the client is made, not by each request."""
    path = tmp_path / "odd.pem"
    make(path)
    given: dict[str, Any] = {"ca_file": path} if name == "ca_file" else {}
    if not given:
        monkeypatch.setenv(name, str(path))
    with pytest.raises(ConfigurationError, match=f"{name}: .*odd.pem"):
        TiwClient(secret_id="AKIDexample", secret_key="keyexample", **given)


def test_a_role_is_not_assumed_without_authorities(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))
    with pytest.raises(ConfigurationError, match="REQUESTS_CA_BUNDLE"):
        TiwClient(
            endpoint="http://127.0.0.1:1",
            secret_id="AKIDexample",
            secret_key="keyexample",
            role_arn="qcs::cam::uin/1:roleName/r",
        )


def test_a_proxy_that_refuses_is_named(port: int, bundle: Path, refusing_proxy: int) -> None:
    proxy = f"http://127.0.0.1:{refusing_proxy}"
    keys: Any = {"secret_id": "AKIDexample", "secret_key": "keyexample"}
    with (
        TiwClient(endpoint=f"https://127.0.0.1:{port}", ca_file=bundle, proxy=proxy, **keys) as c,
        pytest.raises(TransportError, match="proxy") as caught,
    ):
        # One call, without the repetitions of a method.
        c.call("DescribeOnlineRecord", {"SdkAppId": 1, "TaskId": "t"})
    assert caught.value.code == "ProxyError"
