# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking for recordings, once or until they are in a state.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import dataclasses
import typing as t
from contextlib import aclosing

from ansible_collections.tiw.automation.plugins.module_utils._report import STATES

if t.TYPE_CHECKING:
    from tiw_automation.core import Acceptance, Outcome, RecordWatcher, TiwClient

WAIT_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "wait": {"type": "bool", "default": False},
    "wait_timeout": {"type": "float", "default": 3600},
    "wait_sleep": {"type": "float", "default": 5},
}
ACCEPTANCE_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "accept_finish_reasons": {"type": "list", "elements": "str"},
    "require_videos": {"type": "bool", "default": True},
}


class Waiting:
    """The options of a wait, checked.

    :param states: the states that end the wait.
    :raises ConfigurationError: an option is invalid.
    """

    def __init__(self, params: t.Mapping[str, t.Any], states: t.Sequence[str]) -> None:
        from tiw_automation.core import Acceptance, ConfigurationError
        from tiw_automation.core.checks import check_seconds

        if not states:
            raise ConfigurationError(
                "wait_for holds no state.", hint=f"Use any of {', '.join(STATES)}."
            )
        if not 0 < params["wait_timeout"] < float("inf"):
            raise ConfigurationError(
                "wait_timeout must be a number of seconds above zero, "
                f"not {params['wait_timeout']}.",
                hint="Set wait to false to ask once.",
            )
        self.states = frozenset(states)
        self.acceptance = Acceptance.of(params["accept_finish_reasons"], params["require_videos"])
        self.timeout: float = params["wait_timeout"]
        self.sleep = check_seconds("wait_sleep", params["wait_sleep"])
        self.delay = check_seconds("wait_delay", params.get("wait_delay") or 0.0)


def describe(client: TiwClient, task_id: str, acceptance: Acceptance) -> Outcome:
    """Ask once for a recording; one that failed is an outcome too.

    :raises TiwError: the API did not answer, refused, or has no such recording.
    """
    from tiw_automation.core import OnlineRecord, RecordingFailure, judge

    answer: OnlineRecord | RecordingFailure
    try:
        answer = client.describe_online_record(task_id)
    except RecordingFailure as failed:
        answer = failed
    return judge(client.sdk_app_id(), task_id, answer, acceptance)


def record_dict(
    sdk_app_id: int, task_id: str, outcome: Outcome | None, message: str
) -> dict[str, t.Any]:
    """Return a recording as the core's record dict, with ``exists``, ``verdict`` and ``message``.

    It always has every key, also if nothing is known.
    """
    from tiw_automation.core import OnlineRecord

    record = outcome.record if outcome else None
    if record is None:
        error = outcome.error if outcome else None
        record = OnlineRecord(sdk_app_id, task_id, request_id=error.request_id if error else None)
    verdict = outcome.verdict.value if outcome else "unknown"
    exists: bool | None = verdict != "missing"
    if verdict in ("pending", "unknown") and record.status is None:
        exists = None
    return {**record.to_dict(), "exists": exists, "verdict": verdict, "message": message}


async def watch_states(
    watcher: RecordWatcher,
    task_ids: t.Sequence[str],
    waiting: Waiting,
    on_change: t.Callable[[Outcome], None],
) -> t.AsyncGenerator[Outcome, None]:
    """Yield the outcome of each recording when its wait ends, in the order of the ends.

    A wait ends when the recording is in one of the states or can reach none of them any more, or
    when the timeout elapses. A recording that is in none of the states has an error.
    """
    outcomes = watcher.watch(
        task_ids,
        timeout=waiting.timeout,
        acceptance=waiting.acceptance,
        poll_interval=waiting.sleep,
        initial_delay=waiting.delay,
        until=waiting.states,
        on_change=on_change,
    )
    async with aclosing(outcomes):
        async for outcome in outcomes:
            yield _without_duration(outcome, waiting.states)


def _without_duration(outcome: Outcome, states: t.Collection[str]) -> Outcome:
    """Return the outcome of a timeout without the seconds: the wait may be a slice of a longer."""
    from tiw_automation.core import WaitTimeout

    timeout = outcome.error
    if not isinstance(timeout, WaitTimeout):
        return outcome
    earlier = timeout.outcome.error if timeout.outcome else None
    if outcome.record is not None and outcome.record.status is not None:
        seen = f"it was last seen {outcome.record.status}"
    elif earlier is not None:
        seen = f"the last answer was: {earlier}"
    else:
        seen = "it was not polled yet"
    wanted = " or ".join(state for state in STATES if state in states)
    error = WaitTimeout(
        f"Recording {outcome.task_id} was not {wanted} in time; {seen}.",
        outcome=outcome,
        request_id=outcome.record.request_id if outcome.record else None,
        retryable=True,
        hint=timeout.hint,
    )
    return dataclasses.replace(outcome, error=error)
