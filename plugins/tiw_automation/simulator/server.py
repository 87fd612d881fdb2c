# SPDX-License-Identifier: Apache-2.0
"""The simulator as a Python object, and its HTTP side."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import unquote, urlsplit

from aiohttp import web

from .api import Api
from .callbacks import MODES, Courier, Delivery
from .clock import Clock, VirtualClock
from .downloads import ACCESS_DENIED, NO_SUCH_KEY, file_answer
from .families import CALLBACKS, FAMILIES
from .faults import VIDEO, Answer, Fault, Faults, Sent, parse_fault
from .limits import DEFAULT_LIMIT
from .pages import LIVE, REPLAY
from .reading import Place, ScriptError, Table, count, number, one_of, secret
from .recordings import Recording
from .script import (
    DEFAULT_SDK_APP_ID,
    Script,
    default_recording,
    load_script,
    parse_recording,
)
from .signature import Account, SignedRequest
from .starting import Room
from .sts import METADATA_PATH, TemporaryKeys
from .task_script import parse_defaults, parse_task
from .task_state import AnyTask, Task
from .tasks import APP_STATES, App, Callback, Recorder
from .wire import MAX_BODY_BYTES, Call, too_large

# Tencent's own keys look different.
DEFAULT_SECRET_ID = "AKIDsimulatorsimulatorsimulator00001"
DEFAULT_SECRET_KEY = "simulatorsimulatorsimulatorkey01"
_MAX_LINE_BYTES = 64 * 1024


class _Server(web.Server):
    """Closes every connection at its end; aiohttp forgets those that it accepts meanwhile."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self._open: dict[web.RequestHandler, asyncio.Transport] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        self._open[handler] = transport

    def connection_lost(
        self, handler: web.RequestHandler, exc: BaseException | None = None
    ) -> None:
        self._open.pop(handler, None)
        super().connection_lost(handler, exc)

    async def close_connections(self) -> None:
        """Close what is still open, or is being accepted."""
        # A connection is accepted, made and lost in different iterations of the loop.
        for _ in range(5):
            for transport in list(self._open.values()):
                transport.abort()
            await asyncio.sleep(0)


async def _stop_accepting(listener: asyncio.Server) -> None:
    """Close the listening sockets, and leave no half-accepted connection behind."""
    # asyncio never closes a connection whose acceptance the server's end overtakes:
    # https://github.com/python/cpython/issues/109564
    for listening in listener.sockets:
        asyncio.get_running_loop().remove_reader(listening)
    await asyncio.sleep(0)
    listener.close()


T = TypeVar("T", Recording, Task)


class Simulator:
    """A TIW API on this machine.

    As a context manager it serves from its own thread::

        with Simulator(speed=60) as simulator:
            simulator.add("lesson")
            client = TiwClient(**simulator.settings())

    An argument replaces the script's value. Times are virtual seconds unless stated otherwise; all
    methods and properties may be used from any thread.

    :param script: a YAML or JSON file, or the same as a mapping
    :param speed: virtual seconds per real second (1); with 0 only :meth:`advance` moves the time
    :param host: where to listen
    :param port: 0 picks a free one
    :param limit: requests per second, account and action (20); 0 rejects nothing
    :param secret_id: of the first account, together with ``secret_key``; see :meth:`add_account`
    :param token: makes the account's keys temporary: requests must carry this token
    :param sdk_app_id: the default application; recordings can name others
    :param region: the one in :meth:`settings`; requests may name either site's
    :param clock: the server's own time in UNIX seconds, for signatures, limits and the Date
        header; the virtual time is derived from it
    :param max_recordings: how many of an application may run at once (100)
    :param stopped_seconds: how long a recording is STOPPED after a call stopped it (8)
    :param user_sig_key: where given, a RecordUserSig must be signed with it
    :param metadata_role: where given, the simulator serves the metadata of a cloud server with
        this role
    :param callback_mode: how events are posted, one of ``normal, forged, late, doubled,
        out_of_order``
    :param odd: whether answers and events have another form than the API's pages show, with the
        same meaning: see docs/simulator.md
    :raises ScriptError: for a mistake in the script or in an argument
    """

    def __init__(
        self,
        script: str | Path | Mapping[str, Any] | None = None,
        *,
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
        max_recordings: int | None = None,
        stopped_seconds: float | None = None,
        user_sig_key: str | None = None,
        metadata_role: str | None = None,
        callback_mode: str | None = None,
        odd: bool | None = None,
    ) -> None:
        arguments = {
            "speed": speed,
            "limit": limit,
            "secret_id": secret_id,
            "secret_key": secret_key,
            "token": token,
            "sdk_app_id": sdk_app_id,
            "region": region,
            "max_recordings": max_recordings,
            "stopped_seconds": stopped_seconds,
            "user_sig_key": user_sig_key,
            "metadata_role": metadata_role,
            "callback_mode": callback_mode,
            "odd": odd,
        }
        chosen = _merged(script, arguments)
        self.host = host
        self.port: int = port
        self.sdk_app_id: int = chosen.sdk_app_id or DEFAULT_SDK_APP_ID
        self.secret_id: str = chosen.secret_id or DEFAULT_SECRET_ID
        self.secret_key: str = chosen.secret_key or DEFAULT_SECRET_KEY
        self.token: str | None = chosen.token
        self.region: str = chosen.region or "ap-singapore"
        self.metadata_role: str | None = chosen.metadata_role
        self._clock = clock
        self._virtual = VirtualClock(clock, 1.0 if chosen.speed is None else chosen.speed)
        self._accounts = {self.secret_id: Account(self.secret_key, self.token)}
        self._courier = Courier(
            clock=clock,
            virtual=self._virtual,
            destination=self._destination,
            base_url=lambda: self.endpoint,
        )
        self._courier.mode = chosen.callback_mode or "normal"
        self._recorder = Recorder(clock, self._virtual.now, self._courier.schedule)
        self._keys = TemporaryKeys(self._accounts, clock)
        self._api = Api(
            accounts=self._accounts,
            recorder=self._recorder,
            keys=self._keys,
            limit=DEFAULT_LIMIT if chosen.limit is None else chosen.limit,
            clock=clock,
        )
        self.odd = bool(chosen.odd)
        self._faults = Faults(clock)
        self._standing_fault: Fault | None = None
        self._added = 0
        self._head_second = -1
        self._head_known: tuple[Mapping[str, str], bytes] = ({}, b"")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._load(chosen)

    def _load(self, script: Script) -> None:
        recorder = self._recorder
        if script.stopped_seconds is not None:
            recorder.stopped_s = script.stopped_seconds
        callback = Callback(script.callback or "", script.callback_key or "")
        app = App(callbacks={Recording.family_name: callback}, user_sig_key=script.user_sig_key)
        if script.max_recordings is not None:
            app.max_recordings = script.max_recordings
        recorder.apps[self.sdk_app_id] = app
        recorder.rooms.update(script.rooms)
        recorder.engine.defaults.update(script.task_defaults)
        for recording in script.recordings:
            self._put(recording)
        for task in script.tasks:
            self._put_task(task, Place("tasks"))
        for fault in script.faults:
            self._faults.add(fault)
        if script.begin == "first_request":
            self._virtual.hold()

    def _begin_at(self, task_id: str | None) -> None:
        """Let the time run from the first request that names one of the tasks."""
        recorder = self._recorder
        known = {key[-1] for key in (*recorder.recordings, *recorder.engine.tasks)}
        if task_id not in known:
            return
        with self._api.lock:
            held_s = self._virtual.release()
            for recording in list(recorder.recordings.values()):
                recorder.put(replace(recording, created=recording.created + held_s))
            for task in list(recorder.engine.tasks.values()):
                recorder.engine.put(replace(task, created=task.created + held_s))

    def __enter__(self) -> Self:
        listening = threading.Event()
        failures: list[BaseException] = []

        def run() -> None:
            try:
                asyncio.run(self.serve(listening.set))
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

    async def serve(self, listening: Callable[[], object]) -> None:
        """Listen until cancelled, or until the context manager is left.

        :param listening: called once, when the port is open
        :raises OSError: the port is taken
        """
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = _Server(
            self._handle,
            access_log=None,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
        )
        listener = await self._loop.create_server(server, self.host, self.port, backlog=1024)
        posting: asyncio.Task[None] | None = None
        try:
            self.port = listener.sockets[0].getsockname()[1]
            self._recorder.base_url = self.endpoint
            posting = asyncio.create_task(self._courier.run())
            listening()
            await self._stopped.wait()
        finally:
            if posting is not None:
                posting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await posting
            await _stop_accepting(listener)
            server.pre_shutdown()
            await server.shutdown(timeout=1)
            await server.close_connections()

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def requests(self) -> dict[str, int]:
        """How many requests of each action had a valid signature."""
        return dict(self.stats()["requests"])

    @property
    def requests_by_task(self) -> dict[str, int]:
        """How many requests for each recording passed the limit."""
        return dict(self.stats()["by_task"])

    @property
    def rejects(self) -> int:
        """How many requests exceeded the limit."""
        return int(self.stats()["rejects"])

    @property
    def max_in_window(self) -> int:
        """The most requests of one action within any one second."""
        return int(self.stats()["max_in_window"])

    @property
    def started(self) -> int:
        """How many recordings StartOnlineRecord has started."""
        return int(self.stats()["started"])

    @property
    def writes(self) -> int:
        """How many requests have changed something."""
        return int(self.stats()["writes"])

    @property
    def recordings(self) -> list[dict[str, Any]]:
        """The state of each recording now, oldest first, as JSON."""
        with self._api.lock:
            now = self._virtual.now()
            return [recording.facts(now) for recording in self._recorder.recordings.values()]

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """The state of each task that is not a recording now, oldest first, as JSON."""
        with self._api.lock:
            now = self._virtual.now()
            return [task.facts(now) for task in self._recorder.engine.tasks.values()]

    @property
    def callbacks(self) -> list[Delivery]:
        """The events that were posted, oldest first, each as it stands now."""
        return self._courier.deliveries

    @property
    def callback_mode(self) -> str:
        """How events are posted; can be set at any time, for the events from then on."""
        return self._courier.mode

    @callback_mode.setter
    def callback_mode(self, mode: str) -> None:
        self._courier.mode = one_of(MODES)(mode, Place("callback_mode"))

    @property
    def web_identity_token(self) -> str | None:
        """The token with which a pod may assume roles without keys; None refuses all pods."""
        return self._keys.web_identity_token

    @web_identity_token.setter
    def web_identity_token(self, token: str | None) -> None:
        self._keys.web_identity_token = token

    @property
    def odd(self) -> bool:
        """Whether answers and events have an odd form; can be set at any time."""
        return self._api.odd

    @odd.setter
    def odd(self, odd: bool) -> None:
        self._api.odd = self._courier.odd = odd

    def stats(self) -> dict[str, Any]:
        """Return all counts, as ``/_simulator/stats`` shows them."""
        return self._api.stats()

    def reset_stats(self) -> None:
        """Reset all counts."""
        self._api.reset_stats()

    def settings(self) -> dict[str, Any]:
        """Return the keyword arguments of a ``TiwClient`` for this simulator."""
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
            "TIW_ARCHIVE_HOSTS": urlsplit(self.endpoint).hostname or "",
        }
        return {**variables, "TENCENTCLOUD_TOKEN": self.token} if self.token else variables

    def add(self, task_id: str, **recording: Any) -> str:
        """Add a recording that begins now; the keys are those of a script's recording.

        :raises ScriptError: a key or a value is invalid, or the recording exists already
        """
        place = Place(f"recording {task_id!r}")
        parsed = parse_recording({"task_id": task_id, **recording}, place, self.sdk_app_id)
        with self._api.lock:
            self._put_new(parsed, place)
        return task_id

    def add_finished(self, number_of: int) -> list[str]:
        """Add recordings that have finished already, each with one small video."""
        ids = []
        for _ in range(number_of):
            self._added += 1
            task_id = f"finished-{self._added:06d}"
            ids.append(self.add(task_id, timeline=[], videos=[{"kind": "whiteboard"}]))
        return ids

    def _put_new(self, recording: Recording, place: Place) -> None:
        if (recording.sdk_app_id, recording.task_id) in self._recorder.recordings:
            place.fail(f"a recording with the task_id {recording.task_id} exists already")
        self._put(recording)

    def _put(self, recording: Recording) -> None:
        created = self._virtual.now() + recording.created
        self._recorder.put(replace(recording, created=created))

    def add_task(self, family: str, task_id: str | None = None, **task: Any) -> str:
        """Add a task of another family that begins now; return its id.

        The keys are those of a script's task.

        :param family: one of ``whiteboard_push, transcode, ppt_check, snapshot, video_generation``
        :param task_id: without one, the simulator makes one
        :raises ScriptError: a key or a value is invalid, or the task exists already
        """
        own_id = {} if task_id is None else {"task_id": task_id}
        given, place = {"family": family, **own_id, **task}, Place("add_task")
        parsed = parse_task(given, place, self.sdk_app_id)
        with self._api.lock:
            self._put_task(parsed, place)
        return parsed.task_id

    def _put_task(self, task: Task, place: Place) -> None:
        engine, created = self._recorder.engine, self._virtual.now() + task.created
        if (task.family_name, task.sdk_app_id, task.task_id) in engine.tasks:
            place.fail(f"a task with the task_id {task.task_id} exists already")
        source_id = task.options.get(task.family.source_key or "")
        if source_id is not None:
            known = self._recorder.recordings.get((task.sdk_app_id, source_id))
            recording = known or default_recording(task.sdk_app_id, source_id)
            task = replace(task, recording=recording)
        engine.add(replace(task, created=created))

    def set_task_defaults(self, family: str, **defaults: Any) -> None:
        """Set what the tasks of a family have that requests create from now on.

        :param pages: of the document, or the pictures of the snapshot (3)
        :param queued_s: how long a task has its first status
        :param duration_s: how long a task lasts in all
        :param failure: with which code it fails
        :param defaults: also fields of the answer, by the API's names
        :raises ScriptError: a name or a value is invalid
        """
        place = Place("set_task_defaults")
        parsed = parse_defaults(defaults, place, one_of(FAMILIES)(family, place))
        with self._api.lock:
            self._recorder.engine.defaults[family] = parsed

    def advance(self, seconds: float) -> None:
        """Move the tasks' time forward at once, by virtual seconds."""
        with self._api.lock:
            self._virtual.advance(seconds)
        self._courier.wake()

    def room_idle(self, task_id: str, *, sdk_app_id: int | None = None) -> None:
        """Silence the room of a recording or a push: it stops after its AutoStopTimeout."""
        self._set_idle(task_id, sdk_app_id, True)

    def room_active(self, task_id: str, *, sdk_app_id: int | None = None) -> None:
        """End the silence in the room of a recording or a push."""
        self._set_idle(task_id, sdk_app_id, False)

    def _set_idle(self, task_id: str, sdk_app_id: int | None, idle: bool) -> None:
        app = sdk_app_id or self.sdk_app_id
        with self._api.lock:
            recording = self._recorder.recordings.get((app, task_id))
            if recording is None:
                if not self._recorder.engine.set_idle(app, task_id, idle):
                    raise KeyError(f"recording {task_id!r} was not found")
                return
            changed = recording.room_idle(self._virtual.now(), idle)
            if changed is not recording:
                self._recorder.put(changed)

    def set_room(
        self, room_id: int, *, users: Iterable[str], screen_shares: Iterable[str] = ()
    ) -> None:
        """Set who is in a room, for recordings that are started from now on."""
        with self._api.lock:
            self._recorder.rooms[room_id] = Room(tuple(users), tuple(screen_shares))

    def set_app(self, sdk_app_id: int | None = None, **changes: Any) -> None:
        """Change an application, or add one.

        :param state: ``active``, ``not_registered``, ``expired`` or ``foreign``
        :param max_recordings: how many may run at once
        :param user_sig_key: what signs its users; with ``None`` every signature is valid
        :raises ScriptError: a name or a value is invalid
        """
        allowed = {name: changes[name] for name in changes if changes[name] is not None}
        table = Table(allowed, Place("set_app"))
        table.take("state", one_of(APP_STATES))
        table.take("max_recordings", count)
        table.take("user_sig_key", secret)
        table.done()
        self._change_app(sdk_app_id, changes)

    def set_callback(
        self,
        url: str,
        callback_key: str = "",
        *,
        sdk_app_id: int | None = None,
        family: str = Recording.family_name,
    ) -> None:
        """Set where an application's events are posted, as the two API actions do.

        :param family: of which tasks; snapshots have no callback of the application
        """
        one_of(CALLBACKS)(family, Place("set_callback"))
        app = self._recorder.apps.get(sdk_app_id or self.sdk_app_id) or App()
        callbacks = {**app.callbacks, family: Callback(url, callback_key)}
        self._change_app(sdk_app_id, {"callbacks": callbacks})

    def _change_app(self, sdk_app_id: int | None, changes: Mapping[str, Any]) -> None:
        key, apps = sdk_app_id or self.sdk_app_id, self._recorder.apps
        with self._api.lock:
            apps[key] = replace(apps.get(key) or App(), **changes)

    def _destination(self, task: AnyTask) -> tuple[str, str]:
        if task.callback_url is not None:
            return task.callback_url, ""
        with self._api.lock:
            return self._recorder.apps[task.sdk_app_id].callback(task.family_name)

    def add_account(self, secret_id: str, secret_key: str, token: str | None = None) -> None:
        """Accept these keys, too; they have their own quota."""
        with self._api.lock:
            self._accounts[secret_id] = Account(secret_key, token)

    def remove_account(self, secret_id: str) -> None:
        """Revoke keys at once; :class:`KeyError` if they are unknown."""
        with self._api.lock:
            del self._accounts[secret_id]

    @property
    def fault(self) -> str | None:
        """The fault that strikes each request that no other fault strikes; ``None`` ends it.

        Set it to a name, or to a mapping with a name and options, as in a script's ``faults``.
        """
        return None if self._standing_fault is None else self._standing_fault.name

    @fault.setter
    def fault(self, fault: str | Mapping[str, Any] | None) -> None:
        parsed = None if fault is None else parse_fault(fault, Place("fault"))
        if self._standing_fault is not None:
            self._faults.remove(self._standing_fault)
        self._standing_fault = parsed
        if parsed is not None:
            self._faults.add(parsed, last=True)

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The faults that can still strike, with their hits, as JSON."""
        return self._faults.to_list()

    def inject(self, name: str, **options: Any) -> Fault:
        """Set a fault; of several that match a request, the one that was set first strikes.

        :param name: one of the faults of docs/simulator.md
        :param times: for how many requests
        :param action: only for this action, or for ``video``, the download of a video or of
            another file
        :param task_id: only for requests about this task
        :param seconds: for how long, by the simulator's clock
        :param probability: how likely it strikes, 0 to 1; the same in every run
        :returns: the fault; its ``hits`` count
        :raises ScriptError: a name, an option or a value is invalid
        """
        fault = parse_fault({"name": name, **options}, Place("fault"))
        self._faults.add(fault)
        return fault

    def clear_faults(self) -> None:
        """End every fault."""
        self._faults.clear()
        self._standing_fault = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if path == "/" and request.method in ("GET", "POST"):
            if not query and request.method == "GET" and _is_browser(request):
                return _html(LIVE)
            return await self._answer(request, query)
        if path.startswith(("/videos/", "/files/")):
            return await self._download(request, path)
        if path.startswith("/replays/"):
            return _html(REPLAY)
        if path.startswith(METADATA_PATH):
            return self._metadata(path.removeprefix(METADATA_PATH).strip("/"))
        if path.startswith("/_simulator/"):
            return await self._control(request, path.removeprefix("/_simulator/"))
        return _not_found()

    async def _answer(self, request: web.BaseRequest, query: str) -> web.StreamResponse:
        body = await _body(request)
        if body is None:
            fault = too_large(MAX_BODY_BYTES)
            error = {"Code": fault.code, "Message": fault.message}
            response = web.json_response({"Response": {"Error": error, "RequestId": ""}})
            response.force_close()
            return response
        signed = SignedRequest(request.method, query, request.headers, body)
        call = Call(signed)
        if self._virtual.is_held:
            self._begin_at(call.task_id())
        struck = self._faults.take(call.action, call.task_id)
        body = self._api.answer(signed, call, struck)
        if struck is None or not struck.changes_sending:
            return Sent(b"%b%d\r\n\r\n%b" % (self._head()[1], len(body), body))
        return await struck.send(request, Answer(body, self._head()[0]))

    def _head(self) -> tuple[Mapping[str, str], bytes]:
        """Return the headers of an answer, and its bytes up to the length of its body."""
        now = int(self._clock())
        if now != self._head_second:
            # Clients correct their own clock by the date.
            headers = {"Content-Type": "application/json", "Date": formatdate(now, usegmt=True)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            start = f"HTTP/1.1 200 OK\r\nServer: tiw-simulator\r\n{lines}Content-Length: "
            self._head_second, self._head_known = now, (headers, start.encode())
        return self._head_known

    async def _control(self, request: web.BaseRequest, name: str) -> web.Response:
        routes: dict[tuple[str, str], Callable[[object], object]] = {
            ("GET", "stats"): lambda _: self.stats(),
            ("POST", "reset-stats"): lambda _: self.reset_stats(),
            ("GET", "recordings"): lambda _: {
                "now": self._virtual.now(),
                "speed": self._virtual.speed,
                "recordings": self.recordings,
            },
            ("POST", "recordings"): self._post_recordings,
            ("GET", "tasks"): lambda _: {"tasks": self.tasks},
            ("POST", "tasks"): self._post_tasks,
            ("GET", "callbacks"): lambda _: {
                "callbacks": [delivery.to_dict() for delivery in self.callbacks]
            },
            ("GET", "faults"): lambda _: {"faults": self.faults},
            ("POST", "faults"): self._post_faults,
            ("DELETE", "faults"): lambda _: self.clear_faults(),
            ("POST", "advance"): self._post_advance,
        }
        handler = routes.get((request.method, name))
        if handler is None:
            return _not_found()
        try:
            body = await request.read()
            given = json.loads(body) if body else {}
        except ValueError:
            return web.json_response({"error": "the body is not valid JSON"}, status=400)
        try:
            return web.json_response(handler(given) or {})
        except ScriptError as error:
            return web.json_response({"error": str(error)}, status=400)

    def _post_faults(self, given: object) -> object:
        entries = given if isinstance(given, list) else [given]
        parsed = [parse_fault(entry, Place("faults").item(n)) for n, entry in enumerate(entries)]
        for fault in parsed:
            self._faults.add(fault)
        return {"faults": self.faults}

    def _post_recordings(self, given: object) -> object:
        return self._post_new("recordings", given, parse_recording, self._put_new)

    def _post_tasks(self, given: object) -> object:
        return self._post_new("tasks", given, parse_task, self._put_task)

    def _post_new(
        self,
        name: str,
        given: object,
        parse: Callable[[Any, Place, int], T],
        put: Callable[[T, Place], object],
    ) -> object:
        """Add all of the given entries, or none where one of them is invalid."""
        entries = given if isinstance(given, list) else [given]
        places = [Place(name).item(number) for number in range(len(entries))]
        parsed = [
            parse(entry, place, self.sdk_app_id)
            for entry, place in zip(entries, places, strict=True)
        ]
        with self._api.lock:
            for one, place in zip(parsed, places, strict=True):
                put(one, place)
        return {"task_ids": [one.task_id for one in parsed]}

    def _post_advance(self, given: object) -> object:
        table = Table(given, Place("advance"))
        seconds = table.require("seconds", number)
        table.done()
        self.advance(seconds)
        return {"now": self._virtual.now()}

    def _metadata(self, role: str) -> web.Response:
        if self.metadata_role is None or role not in ("", self.metadata_role):
            return _not_found()
        headers = {"Date": self._head()[0]["Date"]}
        if not role:
            return web.Response(text=self.metadata_role, headers=headers)
        with self._api.lock:
            return web.json_response(self._keys.of_the_server(), headers=headers)

    async def _download(self, request: web.BaseRequest, path: str) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD"):
            return web.Response(status=405, headers={"Allow": "GET, HEAD"})
        kind, *parts = [unquote(part) for part in path.strip("/").split("/")]
        # A recording's video has no family in its URL, and no folder.
        if kind == "videos":
            parts = [Recording.family_name, *parts]
        family, app, task_id, *names = [*parts, "", "", ""]
        app_id = int(app) if app.isascii() and app.isdigit() else 0
        struck = self._faults.take(VIDEO, lambda: task_id or None)
        answer = self._file_answer(request, (family, app_id, task_id), "/".join(names).strip("/"))
        return answer.response() if struck is None else await struck.send(request, answer)

    def _file_answer(
        self, request: web.BaseRequest, key: tuple[str, int, str], name: str
    ) -> Answer:
        with self._api.lock:
            recording = self._recorder.recordings.get(key[1:])
            task = self._recorder.engine.tasks.get(key)
        now, content = self._virtual.now(), None
        if key[0] == Recording.family_name and recording is not None:
            if recording.private_bucket:
                return ACCESS_DENIED
            content = recording.file(name, now)
        elif task is not None:
            content = task.file(name, now)
        return NO_SUCH_KEY if content is None else file_answer(request, name, content)


def _merged(script: str | Path | Mapping[str, Any] | None, arguments: Mapping[str, Any]) -> Script:
    """Return a script with the values of the arguments, which are checked as its keys are."""
    given = {name: value for name, value in arguments.items() if value is not None}
    load_script(given, source="Simulator")
    return replace(load_script(script, sdk_app_id=given.get("sdk_app_id")), **given)


async def _body(request: web.BaseRequest) -> bytes | None:
    """Return the request's body, or ``None`` where it is too large for any request."""
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return None
    content = request.content
    body = await content.readany()
    if content.at_eof():
        return body
    pieces, size = [body], len(body)
    while size <= MAX_BODY_BYTES:
        piece = await content.readany()
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)
        size += len(piece)
    return None


def _is_browser(request: web.BaseRequest) -> bool:
    headers = request.headers
    return "Authorization" not in headers and "text/html" in headers.get("Accept", "")


def _html(page: str) -> web.Response:
    return web.Response(text=page, content_type="text/html")


def _not_found() -> web.Response:
    return web.Response(status=404, text="Not found.\n")
