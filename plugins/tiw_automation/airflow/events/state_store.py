# SPDX-License-Identifier: Apache-2.0
"""Where an event trigger keeps its state: Airflow 3.3's asset state, before that a Variable.

The asset's state is shared with the receiver of callbacks. Through two keys the trigger and the
receiver avoid publishing the same event twice.
"""

from __future__ import annotations

import json
from typing import Any, Protocol

from tiw_automation.airflow import supervisor

PUBLISHING = "tiw_telling"
"""The key that holds the ids of the events that a trigger has published in the last
:data:`PUBLISHING_S` seconds.

Airflow stores such an event a moment later; until then the receiver does not find it.
"""
PUBLISHING_S = 30.0
"""How long Airflow may take to store an event of a trigger; it usually takes two seconds."""


def published_key(event_id: str) -> str:
    """Return the key that the receiver of callbacks sets once it has published an event."""
    return f"tiw_told_{event_id}"


class Unreadable(Exception):
    """The stored value is not JSON. Reading it again does not help."""


class Store(Protocol):
    """Holds one JSON value for each key."""

    is_shared: bool
    """Whether the receiver of callbacks uses this store too."""

    async def get(self, key: str) -> Any:
        """Return the value, or None where there is none.

        :raises Unreadable: the value is not JSON.
        :raises Exception: the store cannot be read now.
        """

    async def set(self, key: str, value: Any) -> None:
        """Replace the value.

        :raises Exception: the store cannot be written now.
        """

    async def delete(self, key: str) -> None:
        """Remove the value.

        :raises Exception: the store cannot be written now.
        """


class AssetStore:
    """The state of an asset in Airflow 3.3.

    :param accessors: Airflow's ``asset_state_store`` of the trigger.
    """

    is_shared = True

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
            # Airflow 3.3.0 and 3.3.1 have only the blocking calls. asgiref comes with Airflow.
            from asgiref.sync import sync_to_async

            call = sync_to_async(getattr(self._accessors, name), thread_sensitive=False)
        return await call(*arguments)


class VariableStore:
    """Airflow Variables, for Airflow 3.1 and 3.2.

    It asks the triggerer's supervisor itself, because Airflow's own ``Variable`` reports every
    failed read as a missing Variable and ignores a failed write.
    """

    is_shared = False

    async def get(self, key: str) -> Any:
        """Return the value, or None.

        :raises Unreadable: the value is not JSON.
        :raises Exception: Airflow cannot read it now.
        """
        found = await self._find(key)
        if found is None:
            # Airflow's API also answers "not found" while it cannot read its database.
            await self._check_readable(key)
            found = await self._find(key)
        try:
            return None if found is None else json.loads(found)
        except (ValueError, RecursionError) as error:
            raise Unreadable(f"{type(error).__name__} in {len(found or '')} characters") from None

    async def set(self, key: str, value: Any) -> None:
        """Replace the value.

        :raises Exception: Airflow did not store it.
        """
        from airflow.sdk.execution_time.comms import PutVariable

        description = "What a TIW event trigger has announced."
        await _order(PutVariable(key=key, value=json.dumps(value), description=description))

    async def delete(self, key: str) -> None:
        """Remove the value.

        :raises Exception: Airflow did not remove it.
        """
        from airflow.sdk.execution_time.comms import DeleteVariable

        await _order(DeleteVariable(key=key))

    async def _check_readable(self, key: str) -> None:
        """Write another Variable and read it back.

        :raises OSError: Airflow does not find it.
        """
        probe = f"tiw_probe_{key}"
        await self.set(probe, True)
        if await self._find(probe) is None:
            raise OSError(f"Airflow cannot read Variables now, {key} included.")
        await self.delete(probe)

    async def _find(self, key: str) -> str | None:
        from airflow.sdk.execution_time.comms import GetVariable

        answer = await supervisor.request_async(GetVariable(key=key))
        try:
            variable = supervisor.found(answer, "VARIABLE_NOT_FOUND")
        except supervisor.SupervisorError as error:
            raise OSError(f"Airflow could not read the Variable {key}: {error}") from None
        return None if variable is None else variable.value


async def _order(message: Any) -> None:
    answer = await supervisor.request_async(message)
    if supervisor.is_error(answer):
        raise OSError(f"Airflow did not write a Variable: {answer!r}")
