# SPDX-License-Identifier: Apache-2.0
"""What an event trigger has announced, kept where the next triggerer finds it.

Airflow 3.3 keeps state for an asset; before that an Airflow Variable does. An announcement is
written down only when its event is stored: so a kill in between repeats an event, and loses none.
That a recording is missing is written down before its event: that one is published at most once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any, Protocol

from asgiref.sync import sync_to_async

from tiw_automation.airflow import supervisor
from tiw_automation.airflow.events import kept
from tiw_automation.core.events import Missing
from tiw_automation.core.formatting import escaped

logger = logging.getLogger(__name__)

# Airflow 3.1 and 3.2 do not say when an event is stored; it takes them about two seconds.
STORED_AFTER_S = 10.0
# How long something that is no longer listed is remembered, in case the list had a gap.
_REMEMBER_S = 3600.0
_RETRY_FIRST_S = 1.0
_RETRY_LAST_S = 30.0


def told_key(event_id: str) -> str:
    """Return the key under which the receiver of callbacks says that it has told an event."""
    return f"tiw_told_{event_id}"


TELLING = "tiw_telling"
"""The key under which a trigger says which events it tells, those of the last :data:`TELLING_S`.

Airflow stores them a moment later; until then the receiver of callbacks finds none of them.
"""
TELLING_S = 30.0
"""How long Airflow may take to store what a trigger has told: about two seconds as a rule."""


class Unreadable(Exception):
    """What is kept is not JSON; it is there, and asking again gives the same."""


class Store(Protocol):
    """Holds one JSON value for a key."""

    others_tell: bool
    """Whether somebody else, too, says here what has been told."""

    async def get(self, key: str) -> Any:
        """Return the value, or None.

        :raises Unreadable: the value is not JSON.
        """

    async def set(self, key: str, value: Any) -> None:
        """Replace the value."""

    async def delete(self, key: str) -> None:
        """Remove the value."""


class AssetStore:
    """Airflow's own state store of an asset (3.3)."""

    others_tell = True

    def __init__(self, accessors: Any) -> None:
        self._accessors = accessors

    async def get(self, key: str) -> Any:
        """Return the value, or None."""
        return await self._call("get", key)

    async def set(self, key: str, value: Any) -> None:
        """Replace the value."""
        await self._call("set", key, value)

    async def delete(self, key: str) -> None:
        """Remove the value."""
        await self._call("delete", key)

    async def _call(self, name: str, *arguments: Any) -> Any:
        call = getattr(self._accessors, f"a{name}", None)
        if call is None:
            # Airflow 3.3.0 and 3.3.1 have the blocking calls only.
            call = sync_to_async(getattr(self._accessors, name), thread_sensitive=False)
        return await call(*arguments)


class VariableStore:
    """Airflow Variables, for versions without a state store.

    Speaks to the triggerer's supervisor itself: Airflow's own ``Variable`` takes whatever goes
    wrong with a read for a Variable that is not there, and says nothing of a write that failed.
    """

    others_tell = False

    async def get(self, key: str) -> Any:
        """Return the value, or None.

        :raises Unreadable: the value is not JSON.
        :raises Exception: Airflow did not say.
        """
        found = await self._find(key)
        if found is None:
            # Airflow's API says that there is none where its database cannot be read, too.
            probe = f"tiw_probe_{key}"
            await self.set(probe, True)
            if await self._find(probe) is None:
                raise OSError(f"Airflow cannot read Variables now, {key} included.")
            await self.delete(probe)
            found = await self._find(key)
        try:
            return None if found is None else json.loads(found)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{type(error).__name__} in {len(found or '')} characters") from None

    async def set(self, key: str, value: Any) -> None:
        """Replace the value.

        :raises Exception: Airflow did not keep it.
        """
        from airflow.sdk.execution_time.comms import PutVariable

        why = "What a TIW event trigger has announced."
        await _order(PutVariable(key=key, value=json.dumps(value), description=why))

    async def delete(self, key: str) -> None:
        """Remove the value.

        :raises Exception: Airflow did not remove it.
        """
        from airflow.sdk.execution_time.comms import DeleteVariable

        await _order(DeleteVariable(key=key))

    async def _find(self, key: str) -> str | None:
        from airflow.sdk.execution_time.comms import GetVariable

        answer = await supervisor.ask_soon(GetVariable(key=key))
        try:
            variable = supervisor.found(answer, "VARIABLE_NOT_FOUND")
        except supervisor.Unsaid as error:
            raise OSError(f"Airflow did not say what the Variable {key} holds: {error}") from None
        return None if variable is None else variable.value


async def _order(message: Any) -> None:
    answer = await supervisor.ask_soon(message)
    if supervisor.is_error(answer):
        raise OSError(f"Airflow did not do what it was asked for: {answer!r}")


class Announced:
    """The recordings that one trigger has announced, and those that it still waits for.

    :param store: where it is kept; None keeps it in this process alone.
    :param key: its name there.

    ``sweep_at`` is kept with it: when an event without a recording is due, UNIX seconds.
    ``wakes`` is whether one is due at once, because the trigger before this one has published:
    a DAG that was paused then was not started by that, and may be unpaused by now.
    """

    def __init__(self, store: Store | None, key: str) -> None:
        self._store = store
        self._key = key
        self._settled: dict[str, float] = {}
        self._stored: set[str] = set()
        self._waiting: dict[str, None] = {}
        self._missing: dict[str, Missing] = {}
        self._passed_on_as_missing: set[str] = set()
        self.sweep_at: float | None = None
        self.wakes = False
        self._has_published = False
        self._told: set[str] = set()
        self._telling: dict[str, float] = {}
        self._dirty = False
        self._writing = asyncio.Lock()
        self._later: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Read what was kept, and return only then: without it everything would be new."""
        pause_s = _RETRY_FIRST_S
        while self._store is not None:
            try:
                value = await self._store.get(self._key)
            except Unreadable as error:
                self._warn_of_what_was_kept(error)
                return
            except Exception as error:
                if type(error) is ValueError:
                    # Airflow's answer where several assets share this trigger.
                    logger.warning(
                        "What was announced is remembered by this triggerer alone, because the "
                        "trigger belongs to several assets (%s): give each its own asset_name.",
                        error,
                    )
                    self._store = None
                    return
                logger.warning("What was announced cannot be read yet: %r", error)
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, _RETRY_LAST_S)
            else:
                self._take(value)
                return

    @property
    def waiting(self) -> Collection[str]:
        """The recordings whose end is still to come."""
        return self._waiting.keys()

    def is_settled(self, task_id: str) -> bool:
        """Whether nothing more is to be said of a recording."""
        return task_id in self._settled

    async def wait_for(self, task_ids: Iterable[str]) -> list[str]:
        """Take in what is new, keep it, and return all that is waited for."""
        new = [i for i in task_ids if i not in self._settled and i not in self._waiting]
        self._waiting.update(dict.fromkeys(new))
        if new or self._dirty:
            await self._write()
        return list(self._waiting)

    def wait_only_for(self, task_ids: Collection[str]) -> None:
        """Wait no longer for any other."""
        for task_id in self._waiting.keys() - set(task_ids):
            del self._waiting[task_id]
            self._missing.pop(task_id, None)
            self._passed_on_as_missing.discard(task_id)
            self._dirty = True

    @property
    def missing(self) -> Mapping[str, Missing]:
        """The recordings that are waited for and were not found."""
        return self._missing

    def set_missing(self, task_id: str, missing: Missing | None) -> None:
        """Keep when a recording that was not found is due again; None where it was found."""
        if missing == self._missing.get(task_id):
            return
        self._missing.pop(task_id, None)
        if missing is not None:
            self._missing[task_id] = missing
        self._dirty = True

    def is_passed_on_as_missing(self, task_id: str) -> bool:
        """Whether it was published that a recording is missing."""
        return task_id in self._passed_on_as_missing

    async def pass_on_as_missing(self, task_ids: Collection[str]) -> bool:
        """Keep that these are published as missing, and return whether that is kept.

        Their event may leave only then.
        """
        new = set(task_ids) - self._passed_on_as_missing
        self._passed_on_as_missing |= new
        if not new or await self._write():
            return True
        self._passed_on_as_missing -= new
        return False

    async def claim(self, event_ids: Iterable[str]) -> set[str]:
        """Say that these are about to be told, and return those that a callback has told before.

        In this order: so of two who are about to tell the same, one sees the other.
        """
        store = self._store
        if store is None or not store.others_tell:
            return set()
        keys = {event_id: told_key(event_id) for event_id in event_ids}
        told: set[str] = set()
        now = time.monotonic()
        self._telling = {i: at for i, at in self._telling.items() if now - at < TELLING_S}
        self._telling |= dict.fromkeys(keys, now)
        try:
            await store.set(TELLING, list(self._telling))
            for event_id, key in keys.items():
                if await store.get(key) is not None:
                    told.add(event_id)
        except Exception as error:
            logger.warning("Whether a callback tells the same cannot be known: %r", error)
        self._told.update(keys[event_id] for event_id in told)
        return told

    def settle(self, task_ids: Iterable[str]) -> None:
        """Say that these have ended; until they are :meth:`stored`, a restart says so again."""
        for task_id in task_ids:
            self._waiting.pop(task_id, None)
            self._missing.pop(task_id, None)
            self._passed_on_as_missing.discard(task_id)
            self._settled[task_id] = time.monotonic()

    async def stored(self, task_ids: Collection[str]) -> None:
        """Say that the events of these are stored, or that they have none."""
        self._stored.update(task_ids)
        await self._write()

    async def published(self, task_ids: Collection[str]) -> None:
        """Say that an event with these is stored, and may have started no DAG that is paused."""
        self.wakes, self._has_published = False, True
        await self.stored(task_ids)

    async def published_nothing(self) -> None:
        """Say that an event without a recording is stored."""
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
        """Forget the settled that have long ceased to be listed; nobody will name them again."""
        now = time.monotonic()
        for task_id in list(self._settled):
            if task_id in listed:
                self._settled[task_id] = now
            elif now - self._settled[task_id] > _REMEMBER_S and task_id in self._stored:
                del self._settled[task_id]
                self._stored.discard(task_id)
                self._dirty = True

    def close(self) -> None:
        """Drop what is not written yet."""
        for task in list(self._later):
            task.cancel()

    def _take(self, value: Any) -> None:
        found, odd = kept.read(value)
        if odd:
            self._warn_of_what_was_kept("; ".join(odd))
        self._settled = dict.fromkeys(found.settled, time.monotonic())
        self._stored = set(found.settled)
        self._waiting = dict.fromkeys(found.waiting)
        self._missing = dict(found.missing)
        self._passed_on_as_missing = set(found.passed_on_as_missing)
        self.sweep_at = found.sweep_at
        self.wakes = found.published

    def _warn_of_what_was_kept(self, why: object) -> None:
        logger.warning(
            "What is kept as %s cannot be read (%s). That is taken for empty, so that recordings "
            "that have ended may be announced again.",
            self._key,
            escaped(why),
        )

    async def _write(self) -> bool:
        """Keep all of it; return whether it is kept."""
        self._dirty = True
        if self._store is None:
            return True
        async with self._writing:
            if not self._dirty:
                return True
            self._dirty = False
            unsure = [task_id for task_id in self._settled if task_id not in self._stored]
            value = kept.Kept(
                settled=list(self._stored),
                waiting=[*self._waiting, *unsure],
                missing=self._missing,
                passed_on_as_missing=list(self._passed_on_as_missing),
                sweep_at=self.sweep_at,
                published=self.wakes or self._has_published,
            )
            try:
                await self._store.set(self._key, value.to_json())
            except Exception as error:
                self._dirty = True
                logger.warning("What was announced cannot be kept yet: %r", error)
                return False
            try:
                for key in list(self._told):
                    await self._store.delete(key)
                    self._told.discard(key)
            except Exception as error:
                logger.warning("What a callback has left cannot be removed yet: %r", error)
            return True
