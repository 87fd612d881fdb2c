# SPDX-License-Identifier: Apache-2.0
"""The thread that makes the calls to a Redis server, those of all accounts together."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from tiw_automation.core.quota.redis_connection import RedisConnection
from tiw_automation.core.quota.redis_script import Answer, Call
from tiw_automation.core.quota.server_clock import ServerClock

_RECONNECT_S = 0.25
# Calls that are due within this time are made together.
_TOGETHER_S = 0.005
# A connection that is unused for this long is closed, and its thread ends.
_UNUSED_S = 60.0


class Caller(Protocol):
    """An account whose calls the thread makes. None of these methods may block."""

    keys: Sequence[str]

    def call(self, now: float) -> Call:
        """Return the call that is made now."""

    def accept(self, answer: Answer, answered_at: float) -> None:
        """Take over the answer of a call."""

    def failed(self, reason: str, *, lost: bool) -> None:
        """Note that a call failed.

        :param lost: whether the connection was lost.
        """


class RedisThread:
    """The one connection of this process to a server, in a thread that ends when it is unused.

    :param clock: a monotonic clock in seconds.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.connection: RedisConnection = RedisConnection(url)
        self.clock = clock
        self.server: ServerClock = ServerClock()
        self.call_s: float = 0.0
        """How long a call takes, from the latest ones."""
        self.error: str | None = None
        """Why the server cannot be reached; None where it can."""
        # When the next call of each account is due.
        self._due: dict[Caller, float] = {}
        self._changed = threading.Condition()
        self._wakes_at = math.inf
        self._running = False

    def call_at(self, caller: Caller, due: float) -> None:
        """Make the next call of an account at that time; infinity for none."""
        with self._changed:
            self._due[caller] = due
            if not self._running and due < math.inf:
                self._running = True
                threading.Thread(target=self._run, name="tiw-redis", daemon=True).start()
            elif due < self._wakes_at:
                self._changed.notify_all()

    def wait_until(self, done: Callable[[], bool], seconds: float) -> None:
        """Wait until a call changed something, for so many seconds at most."""
        with self._changed:
            self._changed.wait_for(lambda: done() or self.error is not None, seconds)

    def _run(self) -> None:
        while (due := self._next_calls()) is not None:
            self._call(due)
            with self._changed:
                self._changed.notify_all()
            if self.error is not None:
                time.sleep(_RECONNECT_S)

    def _next_calls(self) -> list[Caller] | None:
        """Wait until calls are due and return whose; None where the thread ends."""
        unused_at = self.clock() + _UNUSED_S
        with self._changed:
            while True:
                now = self.clock()
                due_at = min(self._due.values(), default=math.inf)
                if due_at <= now:
                    self._wakes_at = -math.inf
                    due = [c for c, at in self._due.items() if at <= now + _TOGETHER_S]
                    self._due.update(dict.fromkeys(due, math.inf))
                    return due
                if now >= unused_at:
                    self.connection.close()
                    self._due.clear()
                    self._running = False
                    return None
                self._wakes_at = due_at
                self._changed.wait(min(due_at, unused_at) - now)

    def _call(self, due: Sequence[Caller]) -> None:
        try:
            if not self.connection.is_open:
                self._connect()
            self._make_calls(due)
            self.error = None
        except Exception as error:
            self.error = self.connection.reason(error)
            self.connection.close()
            for caller in {*due, *self._due}:
                caller.failed(self.error, lost=True)

    def _make_calls(self, due: Sequence[Caller]) -> None:
        sent_at = self.clock()
        calls = [(one.keys, one.call(sent_at).arguments()) for one in due]
        replies = self.connection.run(calls)
        answered_at = self.clock()
        answers = [_read(reply, answered_at) for reply in replies]
        self._check(answers, sent_at, answered_at)
        self.call_s = max(answered_at - sent_at, 0.9 * self.call_s)
        for one, answer in zip(due, answers, strict=True):
            if isinstance(answer, Answer):
                one.accept(answer, answered_at)
            else:
                one.failed(self.connection.reason(answer), lost=False)

    def _check(
        self, answers: Sequence[Answer | Exception], sent_at: float, answered_at: float
    ) -> None:
        """Check what concerns all accounts.

        :raises Exception: the server must be connected to anew.
        """
        times = [answer.now for answer in answers if isinstance(answer, Answer)]
        if not times:
            # The server may have become a replica, or needs another password by now.
            raise next(answer for answer in answers if isinstance(answer, Exception))
        if not all(self.server.add(sent_at, answered_at, now) for now in times):
            raise ValueError("its clock jumped")

    def _connect(self) -> None:
        self.connection.open()
        # The first slots need to know how far away the server is.
        server, sent_at = ServerClock(), self.clock()
        now = self.connection.time()
        server.add(sent_at, self.clock(), now)
        self.server = server


def _read(reply: Any, answered_at: float) -> Answer | Exception:
    if isinstance(reply, Exception):
        return reply
    try:
        return Answer.read(reply, answered_at)
    except ValueError as error:
        return error


_threads: dict[str, RedisThread] = {}
_threads_lock = threading.Lock()


def thread_of(url: str) -> RedisThread:
    """Return this process's one thread for a server."""
    with _threads_lock:
        if url not in _threads:
            _threads[url] = RedisThread(url)
        return _threads[url]


def _forget_after_fork() -> None:
    # A lock that another thread held at the fork would stay locked forever in the child.
    global _threads_lock
    _threads_lock = threading.Lock()
    _threads.clear()


os.register_at_fork(after_in_child=_forget_after_fork)
