# SPDX-License-Identifier: Apache-2.0
"""Requests to Airflow's supervisor: "does not exist" is not "temporarily unreadable".

Airflow's own calls in a task or a trigger report the second as the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class SupervisorError(OSError):
    """The supervisor did not answer whether something exists; the text holds no secret."""


def comms() -> Any:
    """Return the connection to this process's supervisor, or None where it has none."""
    from airflow.sdk.execution_time import task_runner

    return getattr(task_runner, "SUPERVISOR_COMMS", None)


def request(message: Any) -> Any:
    """Send a request and return the answer, which may be an ErrorResponse; blocks."""
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        return comms().send(message)
    except AirflowRuntimeError as error:
        return error.error


async def request_async(message: Any) -> Any:
    """Do the same in the triggerer's loop."""
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        return await uninterrupted(comms().asend(message))
    except AirflowRuntimeError as error:
        return error.error


async def uninterrupted(asking: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of a request to the supervisor, in the triggerer's loop.

    The request goes on where its caller is cancelled, for example because Airflow removes the
    trigger: an answer that is left unread ends the triggerer of Airflow 3.1 with all its triggers.
    """
    task = asyncio.get_running_loop().create_task(asking)
    _open_requests.add(task)
    task.add_done_callback(_read_error)
    return await asyncio.shield(task)


def found(answer: Any, nothing: str) -> Any:
    """Return an answer, or None where it states that nothing was found.

    :param nothing: the name of the ErrorType that states this.
    :raises SupervisorError: the answer is another error, or missing.
    """
    if is_error(answer):
        if answer.error.name == nothing:
            return None
        status = (answer.detail or {}).get("status_code")
        raise SupervisorError(
            answer.error.value if status is None else f"{answer.error.value} {status}"
        )
    if answer is None:
        raise SupervisorError("no answer")
    return answer


def is_error(answer: Any) -> bool:
    """Return whether an answer is an error."""
    from airflow.sdk.execution_time.comms import ErrorResponse

    return isinstance(answer, ErrorResponse)


_open_requests: set[asyncio.Task[Any]] = set()


def _read_error(task: asyncio.Task[Any]) -> None:
    _open_requests.discard(task)
    if not task.cancelled():
        task.exception()
