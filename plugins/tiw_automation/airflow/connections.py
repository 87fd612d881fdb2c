# SPDX-License-Identifier: Apache-2.0
"""Reads an Airflow connection, and takes none for missing that only cannot be read just now.

Airflow says "not found" for both: it passes over every secrets backend that fails. Whoever then
goes on without the connection works with other keys, in another account.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import AirflowException  # isort: skip

from tiw_automation.airflow import supervisor
from tiw_automation.core import TiwError

UNREADABLE = "ConnectionUnreadable"
"""The code of the error where Airflow could not say whether there is a connection."""


def find_connection(read: Callable[[str], Any], conn_id: str) -> Any:
    """Return a connection, or None where there is none.

    :param read: Airflow's own way.
    :raises TiwError: whether there is one cannot be known now; it is retryable.
    """
    try:
        return read(conn_id)
    except AirflowException:
        pass
    if not _exists(conn_id):
        return None
    try:
        return read(conn_id)
    except AirflowException:
        raise _unreadable(conn_id, "Airflow contradicts itself") from None


def with_more(error: TiwError, words: str) -> TiwError:
    """Return the same error, whose message has one more sentence."""
    more = copy.copy(error)
    more.message = f"{error.message} {words}"
    return more


def _exists(conn_id: str) -> bool:
    """Go through Airflow's secrets backends as it does, and pass over none that fails."""
    from airflow.sdk.execution_time.secrets.execution_api import ExecutionAPISecretsBackend
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    for backend in ensure_secrets_backend_loaded():
        try:
            if isinstance(backend, ExecutionAPISecretsBackend):
                connection = _of_the_supervisor(conn_id)
            else:
                connection = backend.get_connection(conn_id=conn_id)
        except NotImplementedError:
            # It holds no connections at all.
            continue
        except supervisor.Unsaid as error:
            raise _unreadable(conn_id, str(error)) from None
        except Exception as error:
            # Its words may hold a secret of the backend's.
            reason = f"{type(error).__name__} of {type(backend).__name__}"
            raise _unreadable(conn_id, reason) from None
        if connection is not None:
            return True
    return False


def _of_the_supervisor(conn_id: str) -> Any:
    from airflow.sdk.execution_time import comms

    if supervisor.comms() is None:
        return None
    # Airflow's API says that there is no connection where its database cannot be read, too. So
    # it is asked first for something that it does not pass over, and that every kind of process
    # may ask for: a kind of question that its supervisor does not know is never answered.
    honest: Any
    if hasattr(comms, "GetVariableKeys"):
        honest = comms.GetVariableKeys(prefix="tiw_probe", limit=1)
    else:
        honest = comms.GetTaskStates(dag_id="tiw_probe")
    supervisor.found(supervisor.ask(honest), "")
    answer = supervisor.ask(comms.GetConnection(conn_id=conn_id))
    return supervisor.found(answer, "CONNECTION_NOT_FOUND")


def _unreadable(conn_id: str, reason: str) -> TiwError:
    return TiwError(
        f"Airflow could not read connection {conn_id!r} just now: {reason}; it may exist.",
        code=UNREADABLE,
        retryable=True,
        hint="Try again later; if it stays, look at Airflow's database and secrets backend.",
    )
