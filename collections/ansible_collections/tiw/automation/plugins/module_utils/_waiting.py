# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking for tasks of a kind, once or until they are in a state.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import dataclasses
import typing as t
from contextlib import aclosing

if t.TYPE_CHECKING:
    from tiw_automation.core import (
        Acceptance,
        OnlineRecord,
        Outcome,
        RecordWatcher,
        TaskKind,
        TiwClient,
        TiwTask,
    )

WAIT_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "float", "default": 3600},
    "wait_sleep": {"type": "float", "default": 5},
}
_REASONS = {"type": "list", "elements": "str"}
ACCEPTANCE_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "accept_finish_reasons": _REASONS,
    "require_videos": {"type": "bool", "default": True},
}
TASK_WAIT_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "wait_for": {"type": "list", "elements": "str"},
    "accept_finish_reasons": _REASONS,
    "require_urls": {"type": "bool", "default": True},
}
"""The options of a wait for tasks of any kind, beside those of every wait."""


class Waiting:
    """The options of a wait, checked.

    :param states: the states that end the wait.
    :raises ConfigurationError: an option is invalid.
    """

    def __init__(
        self, params: t.Mapping[str, t.Any], states: t.Sequence[str], kind: TaskKind
    ) -> None:
        from tiw_automation.core import Acceptance, ConfigurationError
        from tiw_automation.core.checks import check_seconds

        _check_states(states, kind)
        if not 0 < params["wait_timeout"] < float("inf"):
            raise ConfigurationError(
                "wait_timeout must be a number of seconds above zero, "
                f"not {params['wait_timeout']}.",
                hint="Set wait to false to ask once.",
            )
        self.kind = kind
        self.states = frozenset(states)
        require = params["require_urls" if "require_urls" in params else "require_videos"]
        self.acceptance = Acceptance.of(params["accept_finish_reasons"], require)
        self.timeout: float = params["wait_timeout"]
        self.sleep = check_seconds("wait_sleep", params["wait_sleep"])
        self.delay = check_seconds("wait_delay", params.get("wait_delay") or 0.0)

    @property
    def first_state(self) -> str:
        """The first of the states in their order."""
        return next(state for state in self.kind.state_names if state in self.states)


def end_states(kind: TaskKind) -> list[str]:
    """Return the final states of a kind that are no failure."""
    return [state for state in kind.states[-1] if state not in kind.failed]


def _check_states(states: t.Sequence[str], kind: TaskKind) -> None:
    from tiw_automation.core import ConfigurationError
    from tiw_automation.core.checks import did_you_mean

    hint = f"Use any of {', '.join(kind.state_names)}."
    if not states:
        raise ConfigurationError("wait_for holds no state.", hint=hint)
    for state in states:
        if state not in kind.state_names:
            raise ConfigurationError(
                f"wait_for: {state} is not a state of {kind.name}."
                + did_you_mean(state, kind.state_names),
                hint=hint,
            )


def describe(client: TiwClient, kind: TaskKind, task_id: str, acceptance: Acceptance) -> Outcome:
    """Ask once for a task; one that failed is an outcome too.

    :raises TiwError: the API did not answer, refused, or has no such task.
    """
    from tiw_automation.core import TaskFailure, judge

    answer: OnlineRecord | TiwTask | TaskFailure
    try:
        answer = client.describe_task(kind.name, task_id)
    except TaskFailure as failed:
        answer = failed
    return judge(client.sdk_app_id(), task_id, answer, acceptance, kind.rules)


def record_dict(
    sdk_app_id: int, task_id: str, outcome: Outcome | None, message: str
) -> dict[str, t.Any]:
    """Return a recording as the core's record dict, with ``exists``, ``verdict`` and ``message``.

    It always has every key, also if nothing is known.
    """
    from tiw_automation.core import OnlineRecord

    record = outcome.record if outcome else None
    if record is None:
        record = OnlineRecord(sdk_app_id, task_id, request_id=_request_id(outcome))
    return {**record.to_dict(), **_meaning(outcome, record.status, message)}


def task_dict(
    sdk_app_id: int, task_id: str, outcome: Outcome | None, message: str, kind: TaskKind
) -> dict[str, t.Any]:
    """Return a task of any kind as the core's task dict, with the same keys beside it.

    The ``result`` of a recording is its record dict.
    """
    from tiw_automation.core import OnlineRecord, TiwTask

    seen = outcome.described if outcome else None
    if seen is None:
        seen = TiwTask(sdk_app_id, kind.name, task_id, request_id=_request_id(outcome))
    elif isinstance(seen, OnlineRecord):
        seen = TiwTask(
            sdk_app_id,
            kind.name,
            task_id,
            status=seen.status,
            finish_reason=seen.finish_reason,
            urls=tuple(seen.video_urls),
            urls_expire_at=seen.videos_expire_at,
            result=seen.to_dict(),
            request_id=seen.request_id,
        )
    return {**seen.to_dict(), **_meaning(outcome, seen.status, message)}


def _request_id(outcome: Outcome | None) -> str | None:
    return outcome.error.request_id if outcome and outcome.error else None


def _meaning(outcome: Outcome | None, status: str | None, message: str) -> dict[str, t.Any]:
    verdict = outcome.verdict.value if outcome else "unknown"
    exists: bool | None = verdict != "missing"
    if verdict in ("pending", "unknown") and status is None:
        exists = None
    return {"exists": exists, "verdict": verdict, "message": message}


async def watch_states(
    watcher: RecordWatcher,
    task_ids: t.Sequence[str],
    waiting: Waiting,
    on_change: t.Callable[[Outcome], None],
) -> t.AsyncGenerator[Outcome, None]:
    """Yield the outcome of each task when its wait ends, in the order of the ends.

    A wait ends when the task is in one of the states or can reach none of them any more, or when
    the timeout elapses. A task that is in none of the states has an error.
    """
    outcomes = watcher.watch(
        task_ids,
        task_kind=waiting.kind.name,
        timeout=waiting.timeout,
        acceptance=waiting.acceptance,
        poll_interval=waiting.sleep,
        initial_delay=waiting.delay,
        until=waiting.states,
        on_change=on_change,
    )
    async with aclosing(outcomes):
        async for outcome in outcomes:
            yield _without_duration(outcome, waiting)


def _without_duration(outcome: Outcome, waiting: Waiting) -> Outcome:
    """Return the outcome of a timeout without the seconds: the wait may be a slice of a longer."""
    from tiw_automation.core import WaitTimeout

    timeout = outcome.error
    if not isinstance(timeout, WaitTimeout):
        return outcome
    earlier = timeout.outcome.error if timeout.outcome else None
    described = outcome.described
    if described is not None and described.status is not None:
        seen = f"it was last seen {described.status}"
    elif earlier is not None:
        seen = f"the last answer was: {earlier}"
    else:
        seen = "it was not polled yet"
    kind = waiting.kind
    wanted = " or ".join(state for state in kind.state_names if state in waiting.states)
    error = WaitTimeout(
        f"{kind.noun} {outcome.task_id} was not {wanted} in time; {seen}.",
        outcome=outcome,
        request_id=described.request_id if described else None,
        retryable=True,
        hint=timeout.hint,
    )
    return dataclasses.replace(outcome, error=error)
