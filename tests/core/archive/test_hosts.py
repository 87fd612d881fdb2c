# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
from typing import Any

import pytest
import video_server as videos

from tiw_automation.core import ConfigurationError
from tiw_automation.core.archive.download import VideoDownloader
from tiw_automation.core.archive.errors import VideoError, VideoHostRefused
from tiw_automation.core.archive.hosts import HostPolicy

COS = "lessons-1250000000.cos.ap-guangzhou.myqcloud.com"


@pytest.fixture(autouse=True)
def no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIW_ARCHIVE_HOSTS", raising=False)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("videos.example.com", "8.8.8.8"),
        ("videos.example.com", "2001:4860:4860::8888"),
        # Inside Tencent's cloud COS has such addresses.
        (COS, "10.1.2.3"),
        (COS, "100.64.1.2"),
        (COS, "169.254.0.47"),
        (f"{COS.upper()}.", "10.1.2.3"),
        ("a.tencentcos.cn", "169.254.0.47"),
    ],
)
def test_addresses_that_are_allowed(host: str, address: str) -> None:
    policy = HostPolicy()
    policy.check_name(host)
    policy.check_address(host, address)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("videos.example.com", "127.0.0.1"),
        ("videos.example.com", "10.1.2.3"),
        ("videos.example.com", "192.168.1.1"),
        ("videos.example.com", "169.254.0.47"),
        ("videos.example.com", "100.64.1.2"),
        ("videos.example.com", "0.0.0.0"),
        ("videos.example.com", "::1"),
        ("videos.example.com", "::ffff:127.0.0.1"),
        ("videos.example.com", "::ffff:10.1.2.3"),
        ("videos.example.com", "fe80::1%eth0"),
        ("videos.example.com", "fd00::1"),
        ("videos.example.com", "224.0.0.1"),
        ("evilmyqcloud.com", "10.1.2.3"),
        ("myqcloud.com.example.com", "10.1.2.3"),
        (COS, "127.0.0.1"),
        (COS, "::1"),
        (COS, "0.0.0.0"),
        (COS, "169.254.169.254"),
        (COS, "169.254.0.23"),
        (COS, "::ffff:169.254.169.254"),
    ],
)
def test_addresses_that_are_refused(host: str, address: str) -> None:
    with pytest.raises(VideoHostRefused, match=r"hosts .*TIW_ARCHIVE_HOSTS"):
        HostPolicy().check_address(host, address)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "0251.0376.0251.0376",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "\uff11\uff16\uff19.254.169.254",
        "metadata.tencentyun.com",
        "METADATA.tencentyun.com.",
        "169.254.0.23",
    ],
)
@pytest.mark.parametrize("hosts", [None, ["*.tencentyun.com", "169.254.169.254", "169.254.0.23"]])
def test_the_metadata_service_is_never_allowed(host: str, hosts: Any) -> None:
    """Behind a proxy the name alone decides, so every spelling of the address is known."""
    with pytest.raises(VideoHostRefused):
        HostPolicy(hosts).check_name(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]", "0"])
def test_loopback_is_refused_in_every_spelling(host: str) -> None:
    with pytest.raises(VideoHostRefused):
        HostPolicy().check_name(host)


def test_hosts_that_are_named() -> None:
    policy = HostPolicy(["Videos.example.com", "*.cdn.example.com", "127.0.0.1"])
    for host in ("videos.example.com", "a.b.cdn.example.com", "127.0.0.1"):
        policy.check_name(host)
        policy.check_address(host, "10.1.2.3")
    for host in ("example.com", "cdn.example.com", "evilcdn.example.com", COS, "localhost"):
        with pytest.raises(VideoHostRefused, match=r"hosts allows only videos\.example"):
            policy.check_name(host)


def test_the_variable_names_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIW_ARCHIVE_HOSTS", "a.example.com, b.example.com,")
    HostPolicy().check_name("b.example.com")
    with pytest.raises(VideoHostRefused):
        HostPolicy().check_name("c.example.com")
    # An argument counts instead.
    HostPolicy(["c.example.com"]).check_name("c.example.com")


@pytest.mark.parametrize("hosts", [["http://a.com"], ["a.com:80"], ["a b"], [1], 5, ["*"], [""]])
def test_what_is_not_a_host(hosts: Any) -> None:
    with pytest.raises(ConfigurationError, match="host"):
        HostPolicy(hosts)


class _Nowhere:
    def write(self, data: memoryview, /) -> None:
        pass

    def restart(self) -> None:
        pass


def test_the_address_that_is_checked_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves to loopback gets no request, also if it did not a moment ago."""
    look_up = socket.getaddrinfo

    def resolved(host: str, *rest: Any, **named: Any) -> Any:
        return look_up("127.0.0.1" if host == COS else host, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with videos.video_server() as bucket:
        url = bucket.put("a.mp4", b"x").replace("127.0.0.1", COS)
        with pytest.raises(VideoHostRefused, match=r"127\.0\.0\.1 is not a public address"):
            VideoDownloader(attempts=1).download(url, _Nowhere())
        assert bucket.requests == []


@pytest.mark.parametrize("target", ["http://169.254.169.254/", "file:///etc/passwd", "ftp://h/x"])
def test_redirects_to_where_nothing_may_come_from(target: str) -> None:
    policy = HostPolicy(["127.0.0.1"])
    with videos.video_server() as bucket:
        url = bucket.put("a.mp4", b"", videos.answer(302, Location=target))
        with pytest.raises(VideoError, match="is not followed"):
            VideoDownloader(policy=policy).download(url, _Nowhere())


def test_a_redirect_between_named_hosts_is_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *r, **n: look_up("127.0.0.1", *r, **n))
    with videos.video_server() as bucket:
        target = bucket.put("b.mp4", b"video").replace("127.0.0.1", "b.example.com")
        url = bucket.put("a.mp4", b"", videos.answer(302, Location=target))
        policy = HostPolicy(["127.0.0.1", "b.example.com"])
        downloader = VideoDownloader(policy=policy)
        assert downloader.download(url, _Nowhere()).size_bytes == 5
        downloader.close()


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://h/v", "gopher://h/", "http://u:p@h/v", "//h/v", "v.mp4"]
)
def test_only_http_and_https(url: str) -> None:
    with pytest.raises(ConfigurationError, match="is not the URL of a video"):
        VideoDownloader().download(url, _Nowhere())


def test_a_netrc_is_not_sent(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password s3cret\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with videos.video_server() as bucket:
        downloader = VideoDownloader(policy=HostPolicy(["127.0.0.1"]))
        downloader.download(bucket.put("a.mp4", b"x"), _Nowhere())
        downloader.close()
        (headers,) = [headers for _, headers in bucket.requests]
    assert set(headers) == {"Host", "Accept-Encoding", "User-Agent"}


def test_an_address_that_does_not_answer_costs_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as silent,
        videos.video_server() as bucket,
    ):
        # A full queue: nothing more is answered.
        full = [socket.socket() for _ in range(4)]
        for one in full:
            one.setblocking(False)
            one.connect_ex(silent.getsockname())

        def resolved(host: str, port: int, **named: Any) -> Any:
            return look_up("127.0.0.1", silent.getsockname()[1], **named) + look_up(
                host, port, **named
            )

        monkeypatch.setattr(socket, "getaddrinfo", resolved)
        downloader = VideoDownloader(policy=HostPolicy(["127.0.0.1"]), timeout_s=5.0, attempts=1)
        assert downloader.download(bucket.put("a.mp4", b"video"), _Nowhere()).size_bytes == 5
        downloader.close()
        for one in full:
            one.close()
