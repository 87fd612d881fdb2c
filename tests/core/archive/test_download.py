# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import random
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import video_server as videos

from tiw_automation.core import ConfigurationError
from tiw_automation.core.archive.download import VideoDownloader
from tiw_automation.core.archive.errors import (
    DownloadStopped,
    VideoChanged,
    VideoError,
    VideoForbidden,
    VideoGone,
)
from tiw_automation.core.archive.hosts import HostPolicy
from tiw_automation.core.formatting import shown_url

MIB = 1024 * 1024
HERE = HostPolicy(["127.0.0.1"])
SMALL = random.Random(1).randbytes(300_000)
LARGE = random.Random(2).randbytes(9 * MIB)


class Memory:
    """A sink in memory."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.restarts = 0

    def write(self, data: bytes, /) -> None:
        self.data += data

    def restart(self) -> None:
        self.data.clear()
        self.restarts += 1


class Sleeps(list[float]):
    """The pauses that the downloader asked for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


@pytest.fixture
def bucket() -> Iterator[Any]:
    with videos.video_server() as running:
        yield running


def downloader(**given: Any) -> VideoDownloader:
    return VideoDownloader(**{"sleep": Sleeps(), "timeout_s": 10.0, "policy": HERE, **given})


def test_a_whole_video(bucket: Any) -> None:
    sink = Memory()
    offsets: list[int] = []
    found = downloader().download(
        bucket.put("a.mp4", SMALL), sink, size_bytes=len(SMALL), progress=offsets.append
    )
    assert sink.data == SMALL
    assert found.size_bytes == len(SMALL)
    assert found.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert found.etag == '"one"'
    assert offsets == sorted(offsets)
    assert offsets[-1] == len(SMALL)
    # A signed URL works only with its query, so the server gets it.
    assert bucket.requests[0][0] == "/a.mp4?sign=q-secret"
    assert bucket.requests[0][1]["Accept-Encoding"] == "identity"


def test_an_interrupted_download_is_resumed(bucket: Any, caplog: pytest.LogCaptureFixture) -> None:
    sink, sleeps = Memory(), Sleeps()
    url = bucket.put("a.mp4", LARGE, videos.cut(2 * MIB), videos.cut(3 * MIB))
    found = downloader(sleep=sleeps).download(url, sink, size_bytes=len(LARGE))
    assert sink.data == LARGE
    assert found.sha256 == hashlib.sha256(LARGE).hexdigest()
    first, second, third = bucket.requests
    assert "Range" not in first[1]
    for _, headers in (second, third):
        assert headers["If-Range"] == '"one"'
    starts = [int(text[6:-1]) for text in bucket.ranges()[1:]]
    assert 0 < starts[0] <= 2 * MIB < starts[1] <= 5 * MIB
    # Only the bytes that were still on the way are sent again.
    assert bucket.sent_bytes < len(LARGE) + MIB
    assert sink.restarts == 0
    assert len(sleeps) == 2
    assert "The answer was cut off" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("etag", [None, 'W/"one"'])
def test_without_a_strong_etag_it_restarts(bucket: Any, etag: str | None) -> None:
    sink = Memory()
    url = bucket.put("a.mp4", SMALL, videos.cut(200_000), etag=etag)
    assert downloader().download(url, sink).etag is None
    assert sink.data == SMALL
    assert bucket.ranges() == [None, None]
    assert sink.restarts == 1


def test_a_server_without_ranges(bucket: Any) -> None:
    sink = Memory()
    url = bucket.put("a.mp4", SMALL, videos.cut(200_000), videos.without_ranges)
    found = downloader().download(url, sink, size_bytes=len(SMALL))
    assert sink.data == SMALL
    assert found.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert bucket.ranges()[1] is not None


def test_a_wrong_range_is_refused(bucket: Any) -> None:
    def wrong(handler: Any, file: Any) -> None:
        status, headers = videos.part(file, 7)
        videos.head(handler, status, headers)
        videos.body(handler, file.content[7:])

    sink = Memory()
    url = bucket.put("a.mp4", SMALL, videos.cut(200_000), wrong)
    downloader().download(url, sink, size_bytes=len(SMALL))
    assert sink.data == SMALL
    assert bucket.ranges()[2] is None


def replaced(handler: Any, file: Any) -> None:
    file.content, file.etag = file.content[::-1], '"two"'
    videos.serve(handler, file)


def replaced_and_careless(handler: Any, file: Any) -> None:
    start = videos.wanted(handler, file)
    file.etag = '"two"'
    videos.head(handler, *videos.part(file, start))


def grown(handler: Any, file: Any) -> None:
    start = videos.wanted(handler, file)
    file.content += b"more"
    videos.head(handler, *videos.part(file, start))


@pytest.mark.parametrize(
    "change",
    [replaced, replaced_and_careless, grown, videos.answer(416)],
    ids=["another ETag", "another ETag in a range", "another size", "shorter"],
)
def test_a_file_that_changes_on_the_way(bucket: Any, change: Any) -> None:
    url = bucket.put("a.mp4", SMALL, videos.cut(200_000), change)
    with pytest.raises(VideoChanged) as caught:
        downloader().download(url, Memory(), size_bytes=len(SMALL))
    assert len(bucket.requests) == 2
    assert f"{bucket.origin}/a.mp4" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_another_size_than_in_the_record(bucket: Any) -> None:
    sink = Memory()
    with pytest.raises(VideoChanged, match="300000 bytes, not 300001 as in the record") as caught:
        downloader().download(bucket.put("a.mp4", SMALL), sink, size_bytes=300_001)
    assert not caught.value.retryable
    assert not sink.data
    assert len(bucket.requests) == 1


def test_without_a_content_length_the_record_decides(bucket: Any) -> None:
    sink = Memory()
    url = bucket.put("a.mp4", SMALL, videos.chunked())
    downloader().download(url, sink, size_bytes=len(SMALL))
    assert sink.data == SMALL
    url = bucket.put("b.mp4", SMALL, videos.chunked(SMALL + b"x"))
    with pytest.raises(VideoChanged, match="more than 300000"):
        downloader().download(url, Memory(), size_bytes=len(SMALL))
    url = bucket.put("c.mp4", SMALL, videos.chunked(SMALL[:-1]))
    sink = Memory()
    downloader().download(url, sink, size_bytes=len(SMALL))
    assert sink.data == SMALL
    url = bucket.put("d.mp4", SMALL, videos.until_closed)
    with pytest.raises(VideoError, match="Neither the server nor the record"):
        downloader().download(url, Memory())


@pytest.mark.parametrize(
    ("status", "page", "kind", "words"),
    [
        (403, b"<Error><Code>AccessDenied</Code></Error>", VideoForbidden, "403, AccessDenied"),
        (401, b"", VideoForbidden, "public read"),
        (404, b"<Error>\n<Code>NoSuchKey</Code>", VideoGone, "three days"),
        (410, b"", VideoGone, "HTTP 410"),
        (400, b"<Code>q-secret=1</Code>", VideoError, "HTTP 400"),
        (206, b"", VideoError, "HTTP 206"),
        (304, b"", VideoError, "HTTP 304"),
    ],
)
def test_a_refusal_is_final(bucket: Any, status: int, page: bytes, kind: Any, words: str) -> None:
    url = bucket.put("a.mp4", SMALL, videos.answer(status, page))
    with pytest.raises(VideoError) as caught:
        downloader().download(url, Memory())
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert not caught.value.retryable
    assert "secret" not in str(caught.value)
    assert len(bucket.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_busy_server_is_asked_again_after_its_retry_after(bucket: Any, status: int) -> None:
    sink, sleeps = Memory(), Sleeps()
    url = bucket.put(
        "a.mp4",
        SMALL,
        videos.answer(status, Retry_After=17),
        videos.answer(status, Retry_After=99999),
        videos.answer(status),
    )
    downloader(sleep=sleeps, uniform=lambda: 0.5).download(url, sink)
    assert sink.data == SMALL
    assert sleeps == [17.0, 120.0, 2.0]


def test_attempts_are_bounded_and_their_pauses_random(bucket: Any) -> None:
    whole = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]
    for uniform in (1.0, 0.0, 0.25):
        sleeps = Sleeps()
        bucket.requests.clear()
        url = bucket.put("a.mp4", SMALL, *[videos.answer(500)] * 99)
        with pytest.raises(VideoError, match="8 attempts without progress") as caught:
            downloader(attempts=8, sleep=sleeps, uniform=lambda u=uniform: u).download(
                url, Memory()
            )
        assert caught.value.retryable
        assert len(bucket.requests) == 8
        assert list(sleeps) == [uniform * most for most in whole]


def test_progress_gives_new_attempts(bucket: Any) -> None:
    sink = Memory()
    url = bucket.put("a.mp4", LARGE, *[videos.cut(2 * MIB)] * 4)
    downloader(attempts=2).download(url, sink, size_bytes=len(LARGE))
    assert sink.data == LARGE


def test_receiving_the_same_half_repeatedly_is_not_progress(bucket: Any) -> None:
    url = bucket.put("a.mp4", LARGE, *[videos.cut(4 * MIB)] * 99, etag=None)
    with pytest.raises(VideoError, match="cut off"):
        downloader(attempts=3).download(url, Memory(), size_bytes=len(LARGE))
    assert len(bucket.requests) <= 4


@pytest.mark.parametrize("rude", [videos.drip, videos.silent])
def test_a_server_that_is_too_slow(bucket: Any, rude: Any) -> None:
    url = bucket.put("a.mp4", SMALL, rude, rude, rude)
    started = time.monotonic()
    with pytest.raises(VideoError, match=r"did not answer within 0\.3 s") as caught:
        downloader(timeout_s=0.3, attempts=2).download(url, Memory(), size_bytes=len(SMALL))
    assert time.monotonic() - started < 5
    assert caught.value.retryable
    assert len(bucket.requests) == 2


def test_a_slow_server_within_the_timeout(bucket: Any) -> None:
    def slow(handler: Any, file: Any) -> None:
        videos.head(handler, *videos.part(file, 0))
        for start in range(0, len(file.content), 150_000):
            time.sleep(0.15)
            videos.body(handler, file.content[start : start + 150_000])
            handler.wfile.flush()

    content = LARGE[:1_500_000]
    sink = Memory()
    # The download takes longer than the timeout, which bounds each piece only.
    url = bucket.put("a.mp4", content, slow)
    downloader(timeout_s=1.0, attempts=1).download(url, sink)
    assert sink.data == content


def test_a_page_in_place_of_a_video(bucket: Any) -> None:
    page = videos.answer(200, b"<html>log in first</html>", Content_Type="text/html")
    sink = Memory()
    downloader().download(bucket.put("a.mp4", SMALL, page), sink)
    assert sink.data == SMALL
    coded = videos.answer(200, b"xx", Content_Type="video/mp4", Content_Encoding="gzip")
    with pytest.raises(VideoError, match="encoded"):
        downloader().download(bucket.put("b.mp4", SMALL, coded), Memory())


def test_redirects(bucket: Any) -> None:
    sink = Memory()
    bucket.put("b.mp4", SMALL)
    moved = videos.answer(302, Location="/b.mp4")
    downloader().download(bucket.put("a.mp4", b"", moved), sink)
    assert sink.data == SMALL
    # Another port, and another host: neither may get a request.
    with videos.video_server() as other:
        target = other.put("c.mp4", SMALL)
        away = bucket.put("c.mp4", b"", videos.answer(307, Location=target))
        with pytest.raises(VideoError, match="is not followed") as caught:
            downloader().download(away, Memory())
        assert other.requests == []
    assert "secret" not in str(caught.value)
    away = bucket.put(
        "e.mp4", b"", videos.answer(302, Location=bucket.origin.replace("127.0.0.1", "localhost"))
    )
    with pytest.raises(VideoError, match="redirects to http://localhost"):
        downloader().download(away, Memory())
    round_trip = bucket.put("d.mp4", b"", *[videos.answer(301, Location="/d.mp4")] * 9)
    bucket.requests.clear()
    with pytest.raises(VideoError, match="more than 3 redirects"):
        downloader().download(round_trip, Memory())
    assert len(bucket.requests) == 4


def test_tls_with_a_private_ca_and_no_redirect_to_plain_http(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with videos.video_server(context) as bucket:
        sink = Memory()
        url = bucket.put("a.mp4", SMALL)
        downloader(ca_file=str(bundle)).download(url, sink)
        assert sink.data == SMALL
        with pytest.raises(VideoError, match="TLS"):
            downloader(attempts=1).download(url, Memory())
        plain = bucket.origin.replace("https", "http")
        down = bucket.put("b.mp4", b"", videos.answer(302, Location=f"{plain}/a.mp4"))
        with pytest.raises(VideoError, match="is not followed"):
            downloader(ca_file=str(bundle)).download(down, Memory())


def test_a_proxy(bucket: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.files["/a.mp4"] = videos.File(SMALL)
    url = "http://recordings.invalid/a.mp4"
    sink = Memory()
    anywhere = HostPolicy()
    downloader(proxy=bucket.origin, policy=anywhere).download(url, sink)
    assert sink.data == SMALL
    assert bucket.requests[0][0] == url
    monkeypatch.setenv("HTTP_PROXY", bucket.origin)
    monkeypatch.setenv("http_proxy", bucket.origin)
    downloader(policy=anywhere).download(url, Memory())
    assert len(bucket.requests) == 2


def test_stopping(bucket: Any) -> None:
    stop = threading.Event()
    url = bucket.put("a.mp4", LARGE, videos.hold(MIB))
    ends: list[BaseException] = []

    def run() -> None:
        try:
            VideoDownloader(stop=stop, policy=HERE).download(url, Memory())
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert bucket.holding.acquire(timeout=10)
    stop.set()
    bucket.release.set()
    thread.join(10)
    assert [type(end) for end in ends] == [DownloadStopped]
    # A pause between two attempts ends too.
    bucket.release.clear()
    stop.clear()
    timer = threading.Timer(0.2, stop.set)
    timer.start()
    url = bucket.put("b.mp4", LARGE, videos.answer(503, Retry_After=60))
    started = time.monotonic()
    with pytest.raises(DownloadStopped):
        VideoDownloader(stop=stop, policy=HERE).download(url, Memory())
    assert time.monotonic() - started < 10


def test_an_error_of_the_sink_passes_through(bucket: Any) -> None:
    class Full(Memory):
        def write(self, data: bytes, /) -> None:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        downloader().download(bucket.put("a.mp4", SMALL), Full())
    assert len(bucket.requests) == 1


@pytest.mark.parametrize(
    "url",
    ["", "a.mp4", "ftp://host/a.mp4", "file:///etc/passwd", "http://", "http://me:secret@host/a"],
)
def test_invalid_urls(url: str) -> None:
    with pytest.raises(ConfigurationError, match="not the URL of a video") as caught:
        downloader().download(url, Memory())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("given", [{"timeout_s": 0}, {"attempts": 0}])
def test_invalid_settings(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(given))):
        VideoDownloader(**given)


def test_a_shown_url_has_no_secret() -> None:
    assert shown_url("https://me:key@host:8/a/b.mp4?sign=1#x") == "https://host:8/a/b.mp4"


def test_connections_are_kept_and_closed(bucket: Any) -> None:
    one = downloader()
    for _ in range(3):
        one.download(bucket.put("a.mp4", SMALL), Memory())
    assert len(bucket.peers) == 1
    one.close()
    one.close()
