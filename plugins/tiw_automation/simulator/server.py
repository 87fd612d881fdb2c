# SPDX-License-Identifier: Apache-2.0
"""The API over HTTP: a server in a thread of its own, for tests and for the command."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web

from .api import REGIONS, Api
from .clock import Clock, VirtualClock
from .limits import DEFAULT_LIMIT, RateLimiter
from .recordings import Recording, VideoFile
from .script import ScriptError, load_script, parse_recording
from .signature import Account, SignedRequest

DEFAULT_SDK_APP_ID = 1400000001
# No key of Tencent's looks like these.
DEFAULT_SECRET_ID = "AKIDsimulatorsimulatorsimulator00001"
DEFAULT_SECRET_KEY = "simulatorsimulatorsimulatorkey01"
_TYPES = {"mp4": "video/mp4", "mp3": "audio/mpeg"}


class Simulator:
    """A TIW API on this machine.

    As a context manager it listens from entry to exit, on loopback unless told otherwise.

    :param script: a script's file or contents: the recordings there are at the start
    :param speed: virtual seconds per real second, before the script's, 1 by default
    :param host: where to listen
    :param port: 0 picks a free one
    :param limit: requests per second, account and action, before the script's, 20 by default;
        0 refuses nothing
    :param secret_id: before the script's
    :param secret_key: before the script's
    :param token: where set, requests have to carry it
    :param sdk_app_id: before the script's
    :param region: what :meth:`settings` names
    :param clock: the real time in UNIX seconds
    :raises ScriptError: the script has a mistake; nothing listens yet
    """

    def __init__(
        self,
        *,
        script: str | Path | Mapping[str, Any] | None = None,
        speed: float | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        limit: int | None = None,
        secret_id: str | None = None,
        secret_key: str | None = None,
        token: str | None = None,
        sdk_app_id: int | None = None,
        region: str | None = None,
        clock: Clock = time.time,
    ) -> None:
        read = load_script(script)
        self.host = host
        self.port = port
        self.secret_id = secret_id or read.secret_id or DEFAULT_SECRET_ID
        self.secret_key = secret_key or read.secret_key or DEFAULT_SECRET_KEY
        self.token = token or read.token
        self.sdk_app_id = sdk_app_id or read.sdk_app_id or DEFAULT_SDK_APP_ID
        self.region = region or read.region or "ap-singapore"
        if self.region not in REGIONS:
            raise ScriptError(
                f"{read.source}: region must be one of {', '.join(REGIONS)}, not {self.region!r}."
            )
        chosen = speed if speed is not None else read.speed
        wanted = limit if limit is not None else read.limit
        self._api = Api(
            sdk_app_id=self.sdk_app_id,
            accounts={self.secret_id: Account(self.secret_key, self.token)},
            limiter=RateLimiter(DEFAULT_LIMIT if wanted is None else wanted),
            clock=clock,
            virtual=VirtualClock(clock, 1.0 if chosen is None else chosen),
        )
        for number, recording in enumerate(read.recordings):
            self._put(recording, f"{read.source}: recordings[{number}]")
        self._added = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Simulator:
        listening = threading.Event()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self.serve(lambda: listening.set()))
            except BaseException as error:
                failures.append(error)
            finally:
                listening.set()

        self._thread = threading.Thread(target=run, name="tiw-simulator", daemon=True)
        self._thread.start()
        listening.wait()
        if failures:
            self._thread.join()
            raise failures[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._loop is not None and self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
        if self._thread is not None:
            self._thread.join()

    async def serve(self, listening: Any) -> None:
        """Listen until cancelled, or until the context manager is left.

        :param listening: called once, when the port is open
        :raises OSError: the port is taken
        """
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self.host, self.port, backlog=1024)
            await site.start()
            self.port = runner.addresses[0][1]
            listening()
            await self._stopped.wait()
        finally:
            await runner.cleanup()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    @property
    def requests(self) -> dict[str, int]:
        """How many requests of each action came with a good signature."""
        return dict(self._api.requests)

    @property
    def requests_by_task(self) -> dict[str, int]:
        """How many requests for each recording were let through."""
        return dict(self._api.by_task)

    @property
    def rejects(self) -> int:
        """How many requests were over the limit."""
        return self._api.rejects

    @property
    def max_in_window(self) -> int:
        """The most requests of one action within any one second."""
        return self._api.limiter.max_in_window

    def reset_stats(self) -> None:
        """Begin all counts anew."""
        self._api.forget_requests()

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of a ``TiwClient`` that asks this simulator."""
        return {
            "secret_id": self.secret_id,
            "secret_key": self.secret_key,
            "token": self.token,
            "sdk_app_id": self.sdk_app_id,
            "endpoint": self.endpoint,
            "region": self.region,
        }

    def environment(self) -> dict[str, str]:
        """Return the variables by which every adapter finds this simulator."""
        variables = {
            "TENCENTCLOUD_SECRET_ID": self.secret_id,
            "TENCENTCLOUD_SECRET_KEY": self.secret_key,
            "TENCENTCLOUD_REGION": self.region,
            "TIW_SDK_APP_ID": str(self.sdk_app_id),
            "TIW_ENDPOINT": self.endpoint,
        }
        return {**variables, "TENCENTCLOUD_TOKEN": self.token} if self.token else variables

    def add(self, task_id: str, **recording: Any) -> str:
        """Add a recording that begins now; the keys are those of a script's recording.

        :raises ScriptError: a key or a value makes no sense
        """
        self._put({"task_id": task_id, **recording}, f"recording {task_id!r}")
        return task_id

    def add_finished(self, count: int) -> list[str]:
        """Add recordings that have finished already, each with one small video."""
        ids = []
        for _ in range(count):
            self._added += 1
            task_id = f"finished-{self._added:06d}"
            ids.append(self.add(task_id, timeline=[], videos=[{"kind": "whiteboard"}]))
        return ids

    def advance(self, seconds: float) -> None:
        """Move the recordings' time forward at once, by virtual seconds."""
        self._api.virtual.advance(seconds)

    def _put(self, data: Mapping[str, Any], where: str) -> None:
        recording = parse_recording(
            data, where, sdk_app_id=self.sdk_app_id, now=self._api.virtual.now()
        )
        if recording.task_id in self._api.recordings:
            raise ScriptError(f"{where}: there is a recording {recording.task_id!r} already.")
        self._api.recordings[recording.task_id] = recording

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.startswith("/videos/"):
            return self._video(path, request)
        if path == "/_simulator/stats":
            return web.json_response(self._stats())
        if path == "/_simulator/reset-stats" and request.method == "POST":
            self.reset_stats()
            return web.json_response({})
        if path != "/" or request.method not in ("GET", "POST"):
            return web.Response(status=404, text="There is nothing here.\n")
        body = await request.read()
        query = request.rel_url.raw_query_string
        signed = SignedRequest(request.method, query, request.headers, body)
        params = _body(body) if request.method == "POST" else _query(query)
        return web.Response(
            body=self._api.answer(signed, params, self.endpoint), content_type="application/json"
        )

    def _stats(self) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "rejects": self.rejects,
            "max_in_window": self.max_in_window,
            "by_task": self.requests_by_task,
        }

    def _video(self, path: str, request: web.BaseRequest) -> web.Response:
        file = self._file(path)
        if file is None:
            return web.Response(status=404, text="There is no such video.\n")
        content = file.content
        headers = {"Accept-Ranges": "bytes", "Content-Type": _TYPES[file.format]}
        try:
            wanted = request.http_range
            start, stop, _ = wanted.indices(len(content))
        except ValueError:
            headers["Content-Range"] = f"bytes */{len(content)}"
            return web.Response(status=416, headers=headers)
        if "Range" not in request.headers:
            return web.Response(body=content, headers=headers)
        if start >= stop:
            headers["Content-Range"] = f"bytes */{len(content)}"
            return web.Response(status=416, headers=headers)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return web.Response(status=206, body=content[start:stop], headers=headers)

    def _file(self, path: str) -> VideoFile | None:
        parts = path.removeprefix("/videos/").split("/")
        if len(parts) != 3:
            return None
        recording: Recording | None = self._api.recordings.get(parts[1])
        if recording is None or recording.status(self._api.virtual.now()) != "FINISHED":
            return None
        return next((f for f in recording.files if f"{f.video_id}.{f.format}" == parts[2]), None)


def _body(body: bytes) -> object:
    try:
        return json.loads(body or b"{}")
    except ValueError:
        return None


def _query(query: str) -> dict[str, Any]:
    params: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    # In a query everything is a string; the gateway reads numbers out of them.
    if str(params.get("SdkAppId", "")).isdigit():
        params["SdkAppId"] = int(params["SdkAppId"])
    return params
