# SPDX-License-Identifier: Apache-2.0
"""Downloads one video over HTTP: completely or not at all, also over a faulty connection.

The videos are in a bucket and are served without a signature, so no keys are needed here.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urljoin

import urllib3
from urllib3.exceptions import LocationParseError
from urllib3.util import Url, parse_url

from tiw_automation.core.api.transport import Transport, content_length, retry_after_s
from tiw_automation.core.archive.errors import (
    DownloadStopped,
    VideoChanged,
    VideoError,
    VideoForbidden,
    VideoGone,
)
from tiw_automation.core.errors import BadAnswer, ConfigurationError, TiwError, TransportError
from tiw_automation.core.formatting import shown_url
from tiw_automation.core.retry import chance, doubled

logger = logging.getLogger(__name__)

# A larger piece would need newly allocated memory each time, which costs more than it saves.
PIECE_BYTES = 64 * 1024
"""How many bytes must arrive within each timeout."""

# An attempt that brings fewer new bytes than this counts as a failure without progress.
_PROGRESS_BYTES = 1024 * 1024
_BACKOFF_CAP_S = 60.0
_RETRY_AFTER_CAP_S = 120.0
_REDIRECTS = 3
_ERROR_PAGE_BYTES = 4096

_STRONG_ETAG = re.compile(r'"[^"]*"')
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
# COS names the error in a short XML page.
_COS_CODE = re.compile(rb"<Code>([A-Za-z]{1,64})</Code>")


class Sink(Protocol):
    """Where the bytes go."""

    def write(self, data: bytes, /) -> object:
        """Append the next bytes."""

    def restart(self) -> None:
        """Drop what was written; the first byte comes next."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """A complete download; ``etag`` is the server's strong ETag, where it sent one."""

    size_bytes: int
    sha256: str
    etag: str | None


@dataclass(slots=True)
class _State:
    """The state of one download.

    ``offset`` is how many bytes have arrived, ``best`` the highest offset of any attempt,
    ``failures`` how many attempts in a row made no progress, and ``total`` the server's size.
    """

    url: str
    sink: Sink
    size_bytes: int | None
    progress: Callable[[int], object]
    offset: int = 0
    total: int | None = None
    etag: str | None = None
    best: int = 0
    failures: int = 0
    sha256: Any = field(default_factory=hashlib.sha256)

    @property
    def shown(self) -> str:
        return shown_url(self.url)

    def restart(self) -> None:
        self.sink.restart()
        self.offset = 0
        self.total = None
        self.sha256 = hashlib.sha256()
        self.progress(0)

    def count_failure(self) -> None:
        if self.offset - self.best >= _PROGRESS_BYTES:
            self.failures = 0
        self.best = max(self.best, self.offset)
        self.failures += 1

    def take(self, data: bytes) -> None:
        self.sha256.update(data)
        self.sink.write(data)
        self.offset += len(data)
        self.progress(self.offset)


class VideoDownloader:
    """Downloads videos: resumes after an interruption, retries, and gives up in bounded time.

    Safe to use from several threads. A download is resumed (``Range`` with ``If-Range``) where
    the server sent a strong ETag, and restarted where it did not. A redirect is followed only to
    the same host, never away from https. The proxy and the CA bundle are found as for the API.

    :param proxy: the URL of an HTTP proxy; by default the environment's.
    :param ca_file: a bundle of CA certificates to trust.
    :param timeout_s: how long the server may take to answer a request, and then to send each
        :data:`PIECE_BYTES`.
    :param attempts: how many requests in a row may fail without 1 MiB of progress. Between two,
        it sleeps a random part of 1, 2, 4 ... 60 s, or longer where ``Retry-After`` asks for it.
    :param pool_size: how many connections are kept; at least the number of threads.
    :param stop: once it is set, every download ends soon.
    :param uniform: returns a number between 0 and 1.
    :param sleep: sleeps for a number of seconds; ``stop.wait`` by default.
    :raises ConfigurationError: a setting is invalid.
    """

    def __init__(
        self,
        *,
        proxy: str | None = None,
        ca_file: str | None = None,
        timeout_s: float = 60.0,
        attempts: int = 6,
        pool_size: int = 4,
        stop: threading.Event | None = None,
        uniform: Callable[[], float] = chance.random,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if not timeout_s > 0:
            raise ConfigurationError(f"timeout_s must be above zero, not {timeout_s!r}.")
        if attempts < 1:
            raise ConfigurationError(f"attempts must be 1 or more, not {attempts!r}.")
        self.proxy = proxy
        self.ca_file = ca_file
        self.timeout_s = timeout_s
        self.attempts = attempts
        self.pool_size = pool_size
        self.stop = stop or threading.Event()
        self._uniform = uniform
        self._sleep = self.stop.wait if sleep is None else sleep
        self._lock = threading.Lock()
        self._transports: dict[str, Transport] = {}

    def download(
        self,
        url: str,
        sink: Sink,
        *,
        size_bytes: int | None = None,
        progress: Callable[[int], object] = lambda offset: None,
    ) -> Downloaded:
        """Write the complete video to the sink and return its size, hash and ETag.

        An exception that the sink raises passes through.

        :param size_bytes: the size by the record; None or 0 where it is unknown.
        :param progress: called with the number of bytes that have arrived.
        :raises VideoForbidden: the bucket is private.
        :raises VideoGone: the video was deleted.
        :raises VideoChanged: the size differs from the record's, or the file changed meanwhile.
        :raises DownloadStopped: ``stop`` was set.
        :raises VideoError: any other failure, after the attempts.
        :raises ConfigurationError: the URL cannot be downloaded from.
        """
        _check_url(url)
        state = _State(url, sink, size_bytes or None, progress)
        while True:
            try:
                self._request(state)
                return Downloaded(state.offset, state.sha256.hexdigest(), state.etag)
            except TransportError as error:
                state.count_failure()
                if not error.retryable or state.failures >= self.attempts:
                    raise _given_up(state, error) from error
                self._sleep(self._pause_s(state, error))

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            transports, self._transports = list(self._transports.values()), {}
        for transport in transports:
            transport.close()

    def _request(self, state: _State) -> None:
        """Send one request and read its answer up to the end of the video."""
        if state.offset and not state.etag:
            state.restart()
        headers = {}
        if state.offset and state.etag:
            headers = {"Range": f"bytes={state.offset}-", "If-Range": state.etag}
        url = state.url
        for _ in range(_REDIRECTS + 1):
            transport, response = self._open(state, url, headers)
            try:
                target = _redirect(state, url, response)
                if target is None:
                    self._begin(state, transport, response)
                    self._read(state, transport, response)
                    response.release_conn()
                    return
            except BaseException:
                response.close()
                raise
            response.close()
            url = target
        raise VideoError(f"{state.shown}: more than {_REDIRECTS} redirects.")

    def _open(
        self, state: _State, url: str, headers: dict[str, str]
    ) -> tuple[Transport, urllib3.BaseHTTPResponse]:
        self._check_stop(state)
        parsed = parse_url(url)
        transport = self._transport(Url(parsed.scheme, host=parsed.host, port=parsed.port).url)
        deadline = time.monotonic() + self.timeout_s
        with transport.bounded(deadline):
            return transport, transport.open("GET", parsed.request_uri, None, headers, deadline)

    def _begin(
        self, state: _State, transport: Transport, response: urllib3.BaseHTTPResponse
    ) -> None:
        """Check the head of an answer; afterwards its body continues at ``state.offset``."""
        status = response.status
        if status == 206 and state.offset:
            self._check_resumed(state, response)
            return
        if status == 416 and state.offset:
            raise VideoChanged(f"{state.shown}: it is shorter than before ({state.offset} bytes).")
        if status != 200:
            with transport.bounded(time.monotonic() + self.timeout_s):
                page = response.read(_ERROR_PAGE_BYTES)
            raise _refusal(state, response, page)
        if state.offset:
            # The server sent all of it: the file has changed, or it does not serve ranges.
            _check_etag(state, response)
            state.restart()
        self._check_first(state, response)

    def _check_first(self, state: _State, response: urllib3.BaseHTTPResponse) -> None:
        kind = response.headers.get("Content-Type", "")
        if kind.startswith("text/html"):
            raise BadAnswer("A web page came in place of the video.")
        encoding = response.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise BadAnswer(f"The video came encoded ({encoding}) unasked.", retryable=False)
        etag = response.headers.get("ETag", "")
        state.etag = etag if _STRONG_ETAG.fullmatch(etag) else None
        state.total = content_length(response.headers)
        if state.total is None and state.size_bytes is None:
            raise BadAnswer(
                "Neither the server nor the record names the size of the video.", retryable=False
            )
        if None not in (state.total, state.size_bytes) and state.total != state.size_bytes:
            raise _wrong_size(state, f"{state.total}")

    def _check_resumed(self, state: _State, response: urllib3.BaseHTTPResponse) -> None:
        _check_etag(state, response)
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != state.offset:
            # The next attempt asks for all of it.
            state.etag = None
            raise BadAnswer("The server sent another range than it was asked for.")
        if int(found[3]) != (state.total or state.size_bytes):
            raise VideoChanged(
                f"{state.shown}: it has {found[3]} bytes now, and had "
                f"{state.total or state.size_bytes} at first.",
                retryable=True,
            )

    def _read(
        self, state: _State, transport: Transport, response: urllib3.BaseHTTPResponse
    ) -> None:
        expected = state.total or state.size_bytes
        while True:
            with transport.bounded(time.monotonic() + self.timeout_s):
                data = response.read(PIECE_BYTES, decode_content=False)
            self._check_stop(state)
            if not data:
                break
            if expected is not None and state.offset + len(data) > expected:
                raise _wrong_size(state, f"more than {expected}")
            state.take(data)
        if state.offset != expected:
            # Without a Content-Length, a lost connection looks like the end of the body.
            raise BadAnswer("The answer was cut off.")

    def _check_stop(self, state: _State) -> None:
        if self.stop.is_set():
            raise DownloadStopped(f"{state.shown}: stopped after {state.offset} bytes.")

    def _pause_s(self, state: _State, error: TransportError) -> float:
        """Return the pause before the next attempt, and log it."""
        pause = self._uniform() * doubled(1.0, state.failures - 1, _BACKOFF_CAP_S)
        pause = max(pause, min(error.retry_after_s or 0.0, _RETRY_AFTER_CAP_S))
        logger.warning(
            "%s: %s Attempt %d of %d follows in %.1f s, after %d bytes.",
            state.shown,
            error.message,
            state.failures + 1,
            self.attempts,
            pause,
            state.offset,
        )
        return pause

    def _transport(self, origin: str) -> Transport:
        with self._lock:
            if origin not in self._transports:
                self._transports[origin] = Transport(
                    origin, proxy=self.proxy, ca_file=self.ca_file, pool_size=self.pool_size
                )
            return self._transports[origin]


def _given_up(state: _State, error: TransportError) -> VideoError:
    size = state.total or state.size_bytes
    tried = "1 attempt" if state.failures == 1 else f"{state.failures} attempts without progress"
    return VideoError(
        f"{state.shown}: {error.message} {state.offset} of {size or 'an unknown number of'} "
        f"bytes had arrived; given up after {tried}.",
        code=error.code,
        retryable=error.retryable,
        hint=error.hint,
    )


class _Busy(BadAnswer):
    """The server is busy; ``retry_after_s`` is how long it asked to wait, or 0."""

    def __init__(self, message: str, retry_after_s: float, **details: Any) -> None:
        super().__init__(message, **details)
        self.retry_after_s = retry_after_s


def _check_url(url: str) -> None:
    try:
        parsed = parse_url(url)
        usable = parsed.scheme in ("http", "https") and bool(parsed.host) and not parsed.auth
    except LocationParseError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{shown_url(url)!r} is not the URL of a video.",
            hint="Give an http or https URL with a host and without a user.",
        )


def _redirect(state: _State, url: str, response: urllib3.BaseHTTPResponse) -> str | None:
    """Return the target of a redirect, or None where the answer is not a redirect."""
    if response.status not in (301, 302, 303, 307, 308):
        return None
    try:
        target = parse_url(urljoin(url, response.headers.get("Location", "")))
    except (ValueError, LocationParseError):
        raise BadAnswer("The server redirects to a malformed URL.") from None
    here = parse_url(url)
    upgrade = (here.scheme, target.scheme) == ("http", "https") and target.port in (None, 443)
    same = (here.scheme, here.port) == (target.scheme, target.port)
    if target.host != here.host or not (same or upgrade):
        raise VideoError(
            f"{state.shown}: it redirects to {shown_url(target.url)}, which is not followed.",
            code="Video.Redirected",
            hint="Only a redirect to the same host is followed, and none away from https. "
            "If the other host is right, the records must name it.",
        )
    return target.url


def _check_etag(state: _State, response: urllib3.BaseHTTPResponse) -> None:
    etag = response.headers.get("ETag")
    if etag is not None and etag != state.etag:
        raise VideoChanged(
            f"{state.shown}: it was replaced while it was downloaded (another ETag after "
            f"{state.offset} bytes).",
            retryable=True,
        )


def _wrong_size(state: _State, found: str) -> VideoChanged:
    return VideoChanged(
        f"{state.shown}: it has {found} bytes, not {state.size_bytes} as in the record. It was "
        "replaced after the record was made, or another server answers here."
    )


def _refusal(state: _State, response: urllib3.BaseHTTPResponse, page: bytes) -> TiwError:
    status = response.status
    code = _COS_CODE.search(page)
    found = f"HTTP {status}" + (f", {code[1].decode()}" if code else "")
    if status in (401, 403):
        return VideoForbidden(f"{state.shown}: access is denied ({found}).")
    if status in (404, 410):
        return VideoGone(f"{state.shown}: the video does not exist any more ({found}).")
    if status in (408, 425, 429) or status >= 500:
        return _Busy(
            f"The server answered {found}.",
            retry_after_s(response.headers) or 0.0,
            hint="The storage is busy or broken; try again later.",
        )
    return VideoError(f"{state.shown}: the server answered {found}.", code=f"Video.Http{status}")
