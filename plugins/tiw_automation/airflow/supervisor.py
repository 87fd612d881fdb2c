# SPDX-License-Identifier: Apache-2.0
"""What Airflow's supervisor answers, with "there is none" told apart from "it cannot say now".

Airflow's own calls in a task or a trigger take the one for the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class Unsaid(OSError):
    """The supervisor did not say whether there is what it was asked for; holds no secret."""


def comms() -> Any:
    """Return what asks the supervisor of this process, or None where there is none."""
    from airflow.sdk.execution_time import task_runner

    return getattr(task_runner, "SUPERVISOR_COMMS", None)


def ask(message: Any) -> Any:
    """Return the answer, which may be an ErrorResponse; blocks."""
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        return comms().send(message)
    except AirflowRuntimeError as error:
        return error.error


async def ask_soon(message: Any) -> Any:
    """Return the same, in the triggerer's loop."""
    from airflow.sdk.exceptions import AirflowRuntimeError

    try:
        return await to_its_end(comms().asend(message))
    except AirflowRuntimeError as error:
        return error.error


async def to_its_end(asking: Coroutine[Any, Any, _T]) -> _T:
    """Return the result of what asks the supervisor, in the triggerer's loop.

    It goes on where the one who waits is cancelled, as a trigger is that Airflow takes away: the
    triggerer of Airflow 3.1, with all of its triggers, breaks on an answer that is left unread.
    """
    task = asyncio.get_running_loop().create_task(asking)
    _asking.add(task)
    task.add_done_callback(_heard)
    return await asyncio.shield(task)


def found(answer: Any, nothing: str) -> Any:
    """Return an answer, or None where it says that there is no such thing.

    :param nothing: the name of the ErrorType that says so.
    :raises Unsaid: it says neither.
    """
    if is_error(answer):
        if answer.error.name == nothing:
            return None
        status = (answer.detail or {}).get("status_code")
        raise Unsaid(answer.error.value if status is None else f"{answer.error.value} {status}")
    if answer is None:
        raise Unsaid("no answer")
    return answer


def is_error(answer: Any) -> bool:
    """Whether an answer is one that says that something went wrong."""
    from airflow.sdk.execution_time.comms import ErrorResponse

    return isinstance(answer, ErrorResponse)


_asking: set[asyncio.Task[Any]] = set()


def _heard(task: asyncio.Task[Any]) -> None:
    _asking.discard(task)
    if not task.cancelled():
        task.exception()
