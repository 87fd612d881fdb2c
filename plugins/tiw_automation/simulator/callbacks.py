# SPDX-License-Identifier: Apache-2.0
"""Delivers the events of recordings and other tasks, signed and retried as Tencent does.

Retries wait in virtual time, as tasks do; the timeout of an answer is in real seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import ipaddress
import json
import random
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from .clock import Clock, VirtualClock
from .oddity import oddly
from .recordings import Event
from .task_state import AnyTask

MODES = ("normal", "forged", "late", "doubled", "out_of_order")
"""How events are posted: correctly, with a wrong signature, after their ExpireTime, twice, or
swapped with the next event."""
ANSWER_TIMEOUT_S = 10.0
RETRY_AFTER_S = 5.0
MAX_ATTEMPTS = 6
"""The first one and five retries."""
VALID_S = 600
"""The seconds from an event's Timestamp to its ExpireTime."""
_LOOK_AGAIN_S = 0.25

_Key = tuple[str, int, str]


def _key(task: AnyTask) -> _Key:
    return (task.family_name, task.sdk_app_id, task.task_id)


@dataclass(slots=True)
class Delivery:
    """One event on its way to the callback address.

    :param attempts: how often it was posted
    :param status: the last answer's HTTP status; ``None`` without an answer
    :param error: why there was no answer, or why it is not posted
    :param retry_at: when it will be posted again, virtual UNIX seconds
    :param is_over: whether there are no more attempts
    """

    event: str
    sdk_app_id: int
    task_id: str
    mode: str
    attempts: int = 0
    status: int | None = None
    error: str | None = None
    retry_at: float | None = None
    is_over: bool = False

    @property
    def is_delivered(self) -> bool:
        """Whether it was answered with 200."""
        return self.status == 200

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class Courier:
    """Posts each event at its virtual time; used from any thread.

    :param clock: the server's own time: events carry it and expire by it
    :param virtual: the time of the tasks
    :param destination: returns the address and the key of a task; either may be empty
    :param base_url: returns the URL of the files
    """

    def __init__(
        self,
        *,
        clock: Clock,
        virtual: VirtualClock,
        destination: Callable[[AnyTask], tuple[str, str]],
        base_url: Callable[[], str],
    ) -> None:
        self.mode = "normal"
        self.odd = False
        """Whether events have an odd form: see :mod:`.oddity`."""
        self._dice = random.Random(0)
        self._clock = clock
        self._virtual = virtual
        self._destination = destination
        self._base_url = base_url
        self._lock = threading.Lock()
        self._plans: dict[_Key, AnyTask] = {}
        self._fired: dict[_Key, int] = {}
        self._due: list[tuple[float, int, _Key, AnyTask]] = []
        self._number = 0
        self._deliveries: list[Delivery] = []
        self._held: dict[_Key, tuple[AnyTask, Event]] = {}
        self._last_first_attempt: dict[_Key, asyncio.Event] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def deliveries(self) -> list[Delivery]:
        """The posted events, oldest first, each in its state now."""
        with self._lock:
            return [replace(delivery) for delivery in self._deliveries]

    def schedule(self, task: AnyTask) -> None:
        """Plan the events of a task that is new or has changed.

        Events before its ``created`` time, set by a script, are not posted.
        """
        key = _key(task)
        with self._lock:
            if key not in self._plans:
                before = [event for event in task.events if event.at < task.created]
                self._fired[key] = len(before)
            self._plans[key] = task
            self._plan_next(key, task)
        self.wake()

    def wake(self) -> None:
        """Read the virtual time again, which may have jumped."""
        loop = self._loop
        if loop is not None:
            # A loop that was just closed posts nothing.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._ring)

    async def run(self) -> None:
        """Post events until cancelled."""
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        # A proxy of this machine does not lead to loopback.
        async with aiohttp.ClientSession(trust_env=False) as session:
            try:
                while True:
                    for task, event in self._take_due():
                        self._fire(session, task, event)
                    with self._lock:
                        next_at = self._due[0][0] if self._due else None
                    await self._wait(next_at)
            finally:
                self._loop = None
                for posting in self._tasks:
                    posting.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _plan_next(self, key: _Key, task: AnyTask) -> None:
        fired = self._fired[key]
        if fired < len(task.events):
            self._number += 1
            at = task.events[fired].at
            heapq.heappush(self._due, (at, self._number, key, task))

    def _take_due(self) -> list[tuple[AnyTask, Event]]:
        now, taken = self._virtual.now(), []
        with self._lock:
            while self._due and self._due[0][0] <= now:
                _, _, key, task = heapq.heappop(self._due)
                if self._plans[key] is not task:
                    continue
                taken.append((task, task.events[self._fired[key]]))
                self._fired[key] += 1
                self._plan_next(key, task)
        return taken

    def _ring(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _wait(self, until: float | None) -> None:
        """Wait for a change, or until about the virtual time ``until``."""
        changed, seconds = self._changed, None
        if until is not None and self._virtual.speed > 0:
            left = max(until - self._virtual.now(), 0) / self._virtual.speed
            # The clock may be a test's own, which moves without notice.
            seconds = min(left + 0.001, _LOOK_AGAIN_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await changed.wait()

    def _fire(self, session: aiohttp.ClientSession, task: AnyTask, event: Event) -> None:
        key = _key(task)
        for one in self._in_order(key, task, event):
            url, callback_key = self._destination(task)
            for _ in range(2 if self.mode == "doubled" and url else 1):
                if url:
                    self._post(session, url, callback_key, *one)

    def _in_order(self, key: _Key, task: AnyTask, event: Event) -> list[tuple[AnyTask, Event]]:
        held = self._held.pop(key, None)
        if held is not None:
            return [(task, event), held]
        swaps = event is not task.events[-1] and not event.kind.endswith("Started")
        if self.mode == "out_of_order" and swaps:
            self._held[key] = (task, event)
            return []
        return [(task, event)]

    def _post(
        self,
        session: aiohttp.ClientSession,
        url: str,
        callback_key: str,
        task: AnyTask,
        event: Event,
    ) -> None:
        key = _key(task)
        delivery = Delivery(event.kind, task.sdk_app_id, task.task_id, self.mode)
        with self._lock:
            self._deliveries.append(delivery)
        if not is_loopback(url):
            delivery.error = "only loopback hosts are allowed"
            delivery.is_over = True
            return
        body = self._body(task, event, callback_key)
        before = self._last_first_attempt.get(key)
        mine = self._last_first_attempt[key] = asyncio.Event()
        posting = asyncio.create_task(self._deliver(session, url, body, delivery, before, mine))
        self._tasks.add(posting)
        posting.add_done_callback(self._tasks.discard)

    def _body(self, task: AnyTask, event: Event, callback_key: str) -> bytes:
        now = int(self._clock())
        body: dict[str, Any] = {
            "EventType": event.kind,
            "EventData": task.event_data(event, self._base_url()),
            "Timestamp": now,
            "SdkAppId": task.sdk_app_id,
        }
        if callback_key or self.mode == "forged":
            expires = now - 60 if self.mode == "late" else now + VALID_S
            signed_with = f"not {callback_key}" if self.mode == "forged" else callback_key
            body |= {"ExpireTime": expires, "Sign": sign(signed_with, expires)}
        return json.dumps(oddly(body, self._dice) if self.odd else body).encode()

    async def _deliver(
        self,
        session: aiohttp.ClientSession,
        url: str,
        body: bytes,
        delivery: Delivery,
        before: asyncio.Event | None,
        first_attempt: asyncio.Event,
    ) -> None:
        """Post an event until it is delivered, the first time after the event before it."""
        if before is not None:
            await before.wait()
        while True:
            delivery.attempts += 1
            await _attempt(session, url, body, delivery)
            first_attempt.set()
            if delivery.is_delivered or delivery.attempts == MAX_ATTEMPTS:
                delivery.is_over = True
                return
            delivery.retry_at = self._virtual.now() + RETRY_AFTER_S
            while self._virtual.now() < delivery.retry_at:
                await self._wait(delivery.retry_at)
            delivery.retry_at = None


async def _attempt(
    session: aiohttp.ClientSession, url: str, body: bytes, delivery: Delivery
) -> None:
    delivery.status = delivery.error = None
    try:
        async with session.post(
            url,
            data=body,
            headers={"Content-Type": "application/json"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=ANSWER_TIMEOUT_S),
        ) as answer:
            delivery.status = answer.status
    except (aiohttp.ClientError, OSError, ValueError) as error:
        delivery.error = type(error).__name__


def sign(callback_key: str, expire_time: int) -> str:
    """Return the ``Sign`` of a callback."""
    text = f"{callback_key}{expire_time}"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def is_loopback(url: str) -> bool:
    """Whether the host of a URL is this machine, by its name."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
