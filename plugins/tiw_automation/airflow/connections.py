# SPDX-License-Identifier: Apache-2.0
"""Reads an Airflow connection, and never reports a temporarily unreadable one as missing.

Airflow reports both as "not found": it ignores every secrets backend that fails. A caller that
then goes on without the connection uses other keys, in another account.
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
"""The code of the error where Airflow did not answer whether a connection exists."""


def find_connection(read: Callable[[str], Any], conn_id: str) -> Any:
    """Return a connection, or None where it does not exist.

    :param read: Airflow's own function.
    :raises TiwError: whether it exists is temporarily unknown; the error is retryable.
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
    """Return the same error with one more sentence in its message."""
    more = copy.copy(error)
    more.message = f"{error.message} {words}"
    return more


def _exists(conn_id: str) -> bool:
    """Ask Airflow's secrets backends in its order, and raise for one that fails."""
    from airflow.sdk.execution_time.secrets.execution_api import ExecutionAPISecretsBackend
    from airflow.sdk.execution_time.supervisor import ensure_secrets_backend_loaded

    for backend in ensure_secrets_backend_loaded():
        try:
            if isinstance(backend, ExecutionAPISecretsBackend):
                connection = _of_the_supervisor(conn_id)
            else:
                connection = backend.get_connection(conn_id=conn_id)
        except NotImplementedError:
            # This backend holds no connections.
            continue
        except supervisor.SupervisorError as error:
            raise _unreadable(conn_id, str(error)) from None
        except Exception as error:
            # Its message may hold a secret of the backend.
            reason = f"{type(error).__name__} of {type(backend).__name__}"
            raise _unreadable(conn_id, reason) from None
        if connection is not None:
            return True
    return False


def _of_the_supervisor(conn_id: str) -> Any:
    from airflow.sdk.execution_time import comms

    if supervisor.comms() is None:
        return None
    # Airflow's API also reports "no connection" where its database cannot be read. So the first
    # request is one whose errors it does report, and that every kind of process may send: a
    # supervisor never answers a kind of request that it does not know.
    probe: Any
    if hasattr(comms, "GetVariableKeys"):
        probe = comms.GetVariableKeys(prefix="tiw_probe", limit=1)
    else:
        probe = comms.GetTaskStates(dag_id="tiw_probe")
    supervisor.found(supervisor.request(probe), "")
    answer = supervisor.request(comms.GetConnection(conn_id=conn_id))
    return supervisor.found(answer, "CONNECTION_NOT_FOUND")


def _unreadable(conn_id: str, reason: str) -> TiwError:
    return TiwError(
        f"Airflow could not read connection {conn_id!r}: {reason}; it may exist.",
        code=UNREADABLE,
        retryable=True,
        hint="Try again later; if the error stays, check Airflow's database and secrets backend.",
    )
