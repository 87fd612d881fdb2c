# SPDX-License-Identifier: Apache-2.0
"""What an event trigger has published, waits for and did not find, across restarts.

A published event is recorded only once Airflow has stored it: a kill in between repeats an event
and loses none. *Missing* is recorded before its event, which is therefore published at most once.

:class:`Announced` is used by a running trigger, :class:`StoredState` is the JSON that it stores.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tiw_automation.airflow.events.state_store import (
    PUBLISHING,
    PUBLISHING_S,
    Store,
    Unreadable,
    published_key,
)
from tiw_automation.core.events import Missing, is_task_id, missing as missing_recordings
from tiw_automation.core.formatting import escaped

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# Airflow 3.1 and 3.2 do not report when an event is stored; it takes about two seconds.
STORED_AFTER_S = 10.0
# How long a settled recording is remembered after it left the list, in case the list had a gap.
_REMEMBER_S = 3600.0
_RETRY_FIRST_S = 1.0
_RETRY_LAST_S = 30.0
# No working watcher stores more task ids.
_MOST_IDS = 100_000
# No event without a recording is planned further ahead.
_LONGEST_SWEEP_S = 30 * 24 * 3600.0


class Announced:
    """The recordings that one trigger has published, and those that it still waits for.

    :param store: where the state is stored; None keeps it only in this process.
    :param key: its key there.

    ``sweep_at`` is part of the state: when an event without a recording is due, UNIX seconds, or
    None. ``wakes`` is true where such an event is due at once, because the trigger before this one
    has published something: that started no DAG that was paused then, and the DAG may be unpaused
    by now.
    """

    def __init__(self, store: Store | None, key: str) -> None:
        self._store = store
        self._key = key
        # When each was last listed, by the monotonic clock.
        self._settled: dict[str, float] = {}
        self._stored: set[str] = set()
        self._waiting: dict[str, None] = {}
        self._missing: dict[str, Missing] = {}
        self._passed_on_as_missing: set[str] = set()
        self.sweep_at: float | None = None
        self.wakes: bool = False
        self._has_published = False
        self._seen_keys: set[str] = set()
        self._publishing: dict[str, float] = {}
        self._dirty = False
        self._writing = asyncio.Lock()
        self._later: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Read the stored state; retry until that works, or every recording would seem new."""
        pause_s = _RETRY_FIRST_S
        while self._store is not None:
            try:
                value = await self._store.get(self._key)
            except Unreadable as error:
                self._warn_unreadable(error)
                return
            except Exception as error:
                if type(error) is ValueError:
                    self._keep_in_this_process(error)
                    return
                logger.warning("The state %s cannot be read yet: %r", self._key, error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_LAST_S)
            else:
                self._restore(value)
                return

    def is_settled(self, task_id: str) -> bool:
        """Whether nothing more is published about a recording."""
        return task_id in self._settled

    async def wait_for(self, task_ids: Iterable[str]) -> list[str]:
        """Add new recordings, store them, and return all that are waited for."""
        new = [i for i in task_ids if i not in self._settled and i not in self._waiting]
        self._waiting.update(dict.fromkeys(new))
        if new or self._dirty:
            await self._write()
        return list(self._waiting)

    def wait_only_for(self, task_ids: Collection[str]) -> None:
        """Stop waiting for all other recordings."""
        for task_id in self._waiting.keys() - set(task_ids):
            self._end_wait(task_id)
            self._dirty = True

    @property
    def missing(self) -> Mapping[str, Missing]:
        """The recordings that are waited for and were not found."""
        return self._missing

    def set_missing(self, task_id: str, missing: Missing | None) -> None:
        """Record when a recording that was not found is polled again; None if it was found."""
        if missing != self._missing.get(task_id):
            self._missing.pop(task_id, None)
            if missing is not None:
                self._missing[task_id] = missing
            self._dirty = True

    def is_passed_on_as_missing(self, task_id: str) -> bool:
        """Whether a recording was published as missing."""
        return task_id in self._passed_on_as_missing

    async def pass_on_as_missing(self, task_ids: Collection[str]) -> bool:
        """Record that these are published as missing, and return whether that is stored.

        Their event must not be published where it is not.
        """
        new = set(task_ids) - self._passed_on_as_missing
        self._passed_on_as_missing |= new
        if not new or await self._write():
            return True
        self._passed_on_as_missing -= new
        return False

    async def claim(self, event_ids: Iterable[str]) -> set[str]:
        """Claim the events to publish, and return those that a callback has already published.

        The claim is written before the callbacks' keys are read: of two that are about to publish
        the same event, at least one sees the other.
        """
        store = self._store
        if store is None or not store.is_shared:
            return set()
        keys = {event_id: published_key(event_id) for event_id in event_ids}
        published: set[str] = set()
        now = time.monotonic()
        recent = {i: at for i, at in self._publishing.items() if now - at < PUBLISHING_S}
        self._publishing = recent | dict.fromkeys(keys, now)
        try:
            await store.set(PUBLISHING, list(self._publishing))
            for event_id, key in keys.items():
                if await store.get(key) is not None:
                    published.add(event_id)
        except Exception as error:
            logger.warning("The events of callbacks cannot be read: %r", error)
        self._seen_keys.update(keys[event_id] for event_id in published)
        return published

    def settle(self, task_ids: Iterable[str]) -> None:
        """Mark these as ended; until they are :meth:`stored`, a restart publishes them again."""
        for task_id in task_ids:
            self._end_wait(task_id)
            self._settled[task_id] = time.monotonic()

    async def stored(self, task_ids: Collection[str]) -> None:
        """Record that Airflow has stored the events of these, or that they have none."""
        self._stored.update(task_ids)
        await self._write()

    async def published(self, task_ids: Collection[str]) -> None:
        """Record that Airflow has stored an event of these, which starts no DAG that is paused."""
        self.wakes, self._has_published = False, True
        await self.stored(task_ids)

    async def published_nothing(self) -> None:
        """Record that Airflow has stored an event without a recording."""
        self.wakes = False
        await self._write()

    def soon(self, then: Callable[[], Awaitable[None]]) -> None:
        """Call one of these once Airflow must have stored the event."""

        async def wait() -> None:
            await asyncio.sleep(STORED_AFTER_S)
            await then()

        task = asyncio.get_running_loop().create_task(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def forget_but(self, listed: Collection[str]) -> None:
        """Forget the settled recordings that left the list more than an hour ago."""
        now = time.monotonic()
        for task_id in list(self._settled):
            if task_id in listed:
                self._settled[task_id] = now
            elif now - self._settled[task_id] > _REMEMBER_S and task_id in self._stored:
                del self._settled[task_id]
                self._stored.discard(task_id)
                self._dirty = True

    def close(self) -> None:
        """Cancel the calls of :meth:`soon` that are not due yet."""
        for task in list(self._later):
            task.cancel()

    def _end_wait(self, task_id: str) -> None:
        self._waiting.pop(task_id, None)
        self._missing.pop(task_id, None)
        self._passed_on_as_missing.discard(task_id)

    def _restore(self, value: Any) -> None:
        found, problems = parse_state(value)
        if problems:
            self._warn_unreadable("; ".join(problems))
        self._settled = dict.fromkeys(found.settled, time.monotonic())
        self._stored = set(found.settled)
        self._waiting = dict.fromkeys(found.waiting)
        self._missing = dict(found.missing)
        self._passed_on_as_missing = set(found.passed_on_as_missing)
        self.sweep_at = found.sweep_at
        self.wakes = found.published

    def _state(self) -> StoredState:
        not_stored = [task_id for task_id in self._settled if task_id not in self._stored]
        return StoredState(
            settled=list(self._stored),
            waiting=[*self._waiting, *not_stored],
            missing=self._missing,
            passed_on_as_missing=list(self._passed_on_as_missing),
            sweep_at=self.sweep_at,
            published=self.wakes or self._has_published,
        )

    async def _write(self) -> bool:
        """Store the state; return whether it is stored."""
        self._dirty = True
        if self._store is None:
            return True
        async with self._writing:
            if not self._dirty:
                return True
            self._dirty = False
            try:
                await self._store.set(self._key, self._state().to_json())
            except Exception as error:
                self._dirty = True
                logger.warning("The state %s cannot be stored yet: %r", self._key, error)
                return False
            await self._remove_seen_keys(self._store)
            return True

    async def _remove_seen_keys(self, store: Store) -> None:
        """Remove the callbacks' keys, which the stored state replaces."""
        try:
            for key in list(self._seen_keys):
                await store.delete(key)
                self._seen_keys.discard(key)
        except Exception as error:
            logger.warning("The key of a callback cannot be removed yet: %r", error)

    def _keep_in_this_process(self, error: ValueError) -> None:
        # This is Airflow's answer where several assets share the trigger.
        logger.warning(
            "The state %s is kept only in this triggerer, because the trigger belongs to several "
            "assets (%s): give each its own asset_name.",
            self._key,
            error,
        )
        self._store = None

    def _warn_unreadable(self, why: object) -> None:
        logger.warning(
            "The state %s cannot be read (%s). It is treated as empty, so recordings that have "
            "ended may be published again.",
            self._key,
            escaped(why),
        )


@dataclass(frozen=True, slots=True)
class StoredState:
    """What an event trigger stores.

    :param settled: the recordings that have ended and whose event, if any, Airflow has stored.
    :param waiting: the recordings that have not ended yet.
    :param missing: those of ``waiting`` that were not found.
    :param passed_on_as_missing: those of ``waiting`` that were published as missing.
    :param sweep_at: when an event without a recording is due, UNIX seconds, or None.
    :param published: whether something was published since the last start.
    """

    settled: Sequence[str] = ()
    waiting: Sequence[str] = ()
    missing: Mapping[str, Missing] = field(default_factory=dict)
    passed_on_as_missing: Sequence[str] = ()
    sweep_at: float | None = None
    published: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the JSON to store; earlier versions read its first three keys."""
        state: dict[str, Any] = {
            "settled": sorted(self.settled),
            "waiting": list(self.waiting),
            "sweep_at": self.sweep_at,
        }
        if self.published:
            state["published"] = True
        if self.missing:
            state["missing"] = missing_recordings.to_json(self.missing)
        if self.passed_on_as_missing:
            state["passed_on_as_missing"] = sorted(self.passed_on_as_missing)
        return state


def parse_state(value: Any) -> tuple[StoredState, list[str]]:
    """Parse what :meth:`StoredState.to_json` of this or an earlier version wrote, or anything else.

    Never raises. A part that cannot be read is empty; the second value has a few words about each.
    """
    if value is None:
        return StoredState(), []
    if not isinstance(value, Mapping):
        return StoredState(), [f"it is a {type(value).__name__}, not an object"]
    problems: list[str] = []
    settled = _parse_part(value, "settled", _task_ids, problems) or []
    known = set(settled)
    waiting = [
        i for i in _parse_part(value, "waiting", _task_ids, problems) or () if i not in known
    ]
    waits = set(waiting)
    missing = _parse_part(value, "missing", missing_recordings.from_json, problems) or {}
    passed_on = _parse_part(value, "passed_on_as_missing", _task_ids, problems) or ()
    state = StoredState(
        settled=settled,
        waiting=waiting,
        missing={i: each for i, each in missing.items() if i in waits},
        passed_on_as_missing=[i for i in passed_on if i in waits],
        sweep_at=_parse_part(value, "sweep_at", _sweep_time, problems),
        published=value.get("published") is True,
    )
    return state, problems


def _parse_part(
    state: Mapping[str, Any], name: str, parse: Callable[[Any], _T], problems: list[str]
) -> _T | None:
    value = state.get(name)
    if value is None:
        return None
    try:
        return parse(value)
    except ValueError as error:
        problems.append(f"{name}: {error}")
        return None


def _task_ids(value: Any) -> list[str]:
    """Return the valid task ids of a list, each once.

    :raises ValueError: it is not a list, or longer than any watcher's.
    """
    if not isinstance(value, list) or len(value) > _MOST_IDS:
        raise ValueError(f"it is not a list of at most {_MOST_IDS} task ids")
    return list(dict.fromkeys(task_id for task_id in value if is_task_id(task_id)))


def _sweep_time(value: Any) -> float:
    """Return a time, UNIX seconds.

    :raises ValueError: it is not a time, or too far ahead.
    """
    last = time.time() + _LONGEST_SWEEP_S
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < last:
        raise ValueError("it is not a time within the next days")
    return float(value)
