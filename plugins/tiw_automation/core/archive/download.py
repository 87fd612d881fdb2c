# SPDX-License-Identifier: Apache-2.0
"""Downloads one video over HTTP: completely or not at all, also over a faulty connection.

The videos are in a bucket and are served without a signature, so no keys are needed here.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from tiw_automation.core.archive.connection import Origins, Response
from tiw_automation.core.archive.errors import (
    DownloadStopped,
    VideoChanged,
    VideoError,
    VideoForbidden,
    VideoGone,
    VideoTooLarge,
)
from tiw_automation.core.archive.hashing import HashingThread
from tiw_automation.core.archive.hosts import HostPolicy
from tiw_automation.core.errors import BadAnswer, ConfigurationError, TiwError, TransportError
from tiw_automation.core.formatting import shown, shown_url
from tiw_automation.core.headers import content_length, retry_after_s
from tiw_automation.core.retry import chance, doubled

logger = logging.getLogger(__name__)

PIECE_BYTES = 64 * 1024
"""How many bytes must arrive within each timeout."""
DEFAULT_MAX_BYTES = 64 * 1024**3
"""The most bytes of one video, 64 GiB: a day of a lesson has some 50."""

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

    def write(self, data: memoryview, /) -> object:
        """Append the next bytes."""

    def restart(self) -> None:
        """Drop what was written; the first byte comes next."""


@dataclass(frozen=True)
class Begun:
    """The first bytes of a video that an earlier run has stored.

    :param etag: the strong ETag of the video then.
    :param pieces: returns the bytes.
    """

    size_bytes: int
    etag: str
    pieces: Callable[[], Iterable[bytes]]


@dataclass(frozen=True)
class Downloaded:
    """A complete download; ``etag`` is the server's strong ETag, where it sent one."""

    size_bytes: int
    sha256: str
    etag: str | None


@dataclass
class _State:
    """The state of one download.

    ``offset`` is how many bytes have arrived, ``best`` the highest offset of any attempt,
    ``failures`` how many attempts in a row made no progress, and ``total`` the server's size.
    """

    url: str
    sink: Sink
    size_bytes: int | None
    progress: Callable[[int], object]
    started: Callable[[str | None], object]
    hashing: HashingThread
    offset: int = 0
    total: int | None = None
    etag: str | None = None
    best: int = 0
    failures: int = 0
    is_old: bool = False
    """Whether all bytes so far are from an earlier run, and no answer has confirmed them."""

    @property
    def shown(self) -> str:
        return shown_url(self.url)

    @property
    def expected(self) -> int | None:
        return self.total or self.size_bytes

    def resume(self, begun: Begun) -> None:
        self.hashing.restart(begun.pieces())
        self.offset = self.best = begun.size_bytes
        self.etag = begun.etag
        self.is_old = True
        self.progress(self.offset)

    def restart(self) -> None:
        self.sink.restart()
        self.offset = 0
        self.total = None
        self.is_old = False
        self.hashing.restart()
        self.progress(0)

    def count_failure(self) -> None:
        if self.offset - self.best >= _PROGRESS_BYTES:
            self.failures = 0
        self.best = max(self.best, self.offset)
        self.failures += 1

    def take(self, buffer: memoryview, count: int) -> None:
        self.sink.write(buffer[:count])
        self.hashing.add(buffer, count)
        self.offset += count
        self.progress(self.offset)


class VideoDownloader:
    """Downloads videos: resumes after an interruption, retries, and gives up in bounded time.

    Safe to use from several threads. A download is resumed (``Range`` with ``If-Range``) where
    the server sent a strong ETag, and restarted where it did not. A redirect is followed only to
    a host that the policy allows, never away from https. The proxy and the CA bundle are found as
    for the API.

    :param policy: which hosts videos may come from.
    :param max_bytes: the most bytes of a video; None for no limit.
    :param proxy: the URL of an HTTP proxy; by default the environment's.
    :param ca_file: a bundle of CA certificates to trust.
    :param timeout_s: how long the server may take to answer a request, and then to send each
        64 KiB.
    :param attempts: how many requests in a row may fail without 1 MiB of progress. Between two,
        it sleeps a random part of 1, 2, 4 ... 60 s, or longer where ``Retry-After`` asks for it.
    :param stop: once it is set, every download ends soon.
    :param uniform: returns a number between 0 and 1.
    :param sleep: sleeps for a number of seconds; ``stop.wait`` by default.
    :raises ConfigurationError: a setting is invalid.
    """

    def __init__(
        self,
        *,
        policy: HostPolicy | None = None,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        proxy: str | None = None,
        ca_file: str | None = None,
        timeout_s: float = 60.0,
        attempts: int = 6,
        stop: threading.Event | None = None,
        uniform: Callable[[], float] = chance.random,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        if not timeout_s > 0:
            raise ConfigurationError(f"timeout_s must be above zero, not {timeout_s!r}.")
        if attempts < 1:
            raise ConfigurationError(f"attempts must be 1 or more, not {attempts!r}.")
        if max_bytes is not None and max_bytes < 0:
            raise ConfigurationError(f"max_bytes must be above zero, not {max_bytes!r}.")
        self.max_bytes: int | None = max_bytes or None
        self.timeout_s = timeout_s
        self.attempts = attempts
        self.stop: threading.Event = stop or threading.Event()
        self._uniform = uniform
        self._sleep = self.stop.wait if sleep is None else sleep
        self._origins = Origins(policy or HostPolicy(), proxy, ca_file)

    def download(
        self,
        url: str,
        sink: Sink,
        *,
        size_bytes: int | None = None,
        begun: Begun | None = None,
        started: Callable[[str | None], object] = lambda etag: None,
        progress: Callable[[int], object] = lambda offset: None,
    ) -> Downloaded:
        """Write the complete video to the sink and return its size, hash and ETag.

        An exception that the sink raises passes through.

        :param size_bytes: the size by the record; None or 0 where it is unknown.
        :param begun: what an earlier run has written to the sink; it is continued where the video
            is still the same.
        :param started: called before the first byte is written, with the strong ETag if the server
            sent one.
        :param progress: called with the number of bytes that have arrived.
        :raises VideoForbidden: the bucket is private.
        :raises VideoGone: the video was deleted.
        :raises VideoChanged: the size differs from the record's, or the file changed meanwhile.
        :raises VideoTooLarge: it has more than ``max_bytes``.
        :raises VideoHostRefused: videos may not come from there.
        :raises DownloadStopped: ``stop`` was set.
        :raises VideoError: any other failure, after the attempts.
        :raises ConfigurationError: the URL cannot be downloaded from.
        """
        _check_url(url)
        hashing = HashingThread()
        try:
            state = _State(url, sink, size_bytes or None, progress, started, hashing)
            if begun is not None:
                state.resume(begun)
            self._download(state)
            return Downloaded(state.offset, hashing.hexdigest(), state.etag)
        finally:
            hashing.close()

    def close(self) -> None:
        """Close the idle connections."""
        self._origins.close()

    def _download(self, state: _State) -> None:
        while True:
            try:
                return self._request(state)
            except VideoChanged:
                if not state.is_old:
                    raise
                state.restart()
            except TransportError as error:
                state.count_failure()
                if not error.retryable or state.failures >= self.attempts:
                    raise _given_up(state, error) from error
                self._sleep(self._pause_s(state, error))

    def _request(self, state: _State) -> None:
        """Send one request and read its answer up to the end of the video."""
        if state.offset and not state.etag:
            state.restart()
        headers = {}
        if state.offset and state.etag:
            headers = {"Range": f"bytes={state.offset}-", "If-Range": state.etag}
        url = state.url
        for _ in range(_REDIRECTS + 1):
            self._check_stop(state)
            response = self._origins.get(url, headers, self.timeout_s)
            try:
                target = self._redirect(state, url, response)
                if target is None:
                    self._begin(state, response)
                    self._read(state, response)
                    response.done()
                    return
            except BaseException:
                response.close()
                raise
            response.close()
            url = target
        raise VideoError(f"{state.shown}: more than {_REDIRECTS} redirects.")

    def _begin(self, state: _State, response: Response) -> None:
        """Check the head of an answer; afterwards its body continues at ``state.offset``."""
        status = response.status
        if status == 206 and state.offset:
            self._check_resumed(state, response)
        elif status == 416 and state.offset:
            raise VideoChanged(f"{state.shown}: it is shorter than before ({state.offset} bytes).")
        elif status != 200:
            page = response.read(_ERROR_PAGE_BYTES, self.timeout_s)
            raise _refusal(state, response, page)
        else:
            if state.offset:
                # The server sent all of it: the file has changed, or it does not serve ranges.
                _check_etag(state, response)
                state.restart()
            self._check_first(state, response)
            state.started(state.etag)
        state.is_old = False

    def _check_first(self, state: _State, response: Response) -> None:
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
        if self.max_bytes is not None and (state.expected or 0) > self.max_bytes:
            raise VideoTooLarge(
                f"{state.shown}: it has {state.expected} bytes, more than {self.max_bytes}."
            )

    def _check_resumed(self, state: _State, response: Response) -> None:
        _check_etag(state, response)
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or int(found[1]) != state.offset:
            # The next attempt asks for all of it.
            state.etag = None
            raise BadAnswer("The server sent another range than it was asked for.")
        total = int(found[3])
        if total != (state.expected or total):
            raise VideoChanged(
                f"{state.shown}: it has {total} bytes now, and had {state.expected} at first.",
                retryable=True,
            )
        state.total = total

    def _read(self, state: _State, response: Response) -> None:
        piece_ends, began = state.offset, 0.0
        while True:
            if state.offset >= piece_ends:
                piece_ends = state.offset + PIECE_BYTES
                began = time.monotonic()
            buffer = state.hashing.buffer()
            try:
                count = response.readinto(buffer, began, self.timeout_s)
                self._check_stop(state)
                if state.offset + count > (state.expected or 0):
                    raise _wrong_size(state, f"more than {state.expected}")
                if count:
                    state.take(buffer, count)
                    continue
            except BaseException:
                state.hashing.give_back(buffer)
                raise
            state.hashing.give_back(buffer)
            if state.offset != state.expected:
                # Without a Content-Length, a lost connection looks like the end of the body.
                raise BadAnswer("The answer was cut off.")
            return

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

    def _redirect(self, state: _State, url: str, response: Response) -> str | None:
        """Return the target of a redirect, or None where the answer is not a redirect."""
        if response.status not in (301, 302, 303, 307, 308):
            return None
        try:
            target = urljoin(url, response.headers.get("Location", ""))
            here, there = urlsplit(url), urlsplit(target)
            upgrade = (here.scheme, there.scheme) == ("http", "https")
            usable = there.scheme == here.scheme or upgrade
            usable = usable and bool(there.hostname) and not there.username
            usable = usable and there.port in (None, 443 if upgrade else here.port)
        except ValueError:
            raise BadAnswer("The server redirects to a malformed URL.") from None
        policy = self._origins.policy
        if not usable or not policy.may_redirect(here.hostname or "", there.hostname or ""):
            raise VideoError(
                f"{state.shown}: it redirects to {shown_url(target)}, which is not followed.",
                code="Video.Redirected",
                hint="By default only a redirect to the same host or to Tencent's storage is "
                "followed, and none away from https. If it is right, name the other "
                "host in the setting hosts (or in TIW_ARCHIVE_HOSTS).",
            )
        return target


def _given_up(state: _State, error: TransportError) -> VideoError:
    size = state.expected
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
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname)
        usable = usable and parts.username is None and parts.port != 0 and url.isprintable()
    except ValueError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{shown(shown_url(url))} is not the URL of a video.",
            hint="Give an http or https URL with a host and without a user.",
        )


def _check_etag(state: _State, response: Response) -> None:
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


def _refusal(state: _State, response: Response, page: bytes) -> TiwError:
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
