# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting until recordings are in some state, on the core's watcher.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import dataclasses
import typing as t
from contextlib import aclosing

from ansible_collections.tiw.automation.plugins.module_utils._report import STATES, can_become

if t.TYPE_CHECKING:
    from tiw_automation.core import Outcome, RecordWatcher

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

    :param states: what to wait for.
    :raises ConfigurationError: an option makes no sense.
    """

    def __init__(self, params: t.Mapping[str, t.Any], states: t.Sequence[str]) -> None:
        from tiw_automation.core import Acceptance, ConfigurationError

        self.states = frozenset(states)
        self.acceptance = Acceptance.of(params["accept_finish_reasons"], params["require_videos"])
        self.timeout: float = params["wait_timeout"]
        self.sleep: float = params["wait_sleep"]
        self.delay: float = params.get("wait_delay") or 0.0
        if not states:
            raise ConfigurationError(
                "wait_for holds no state.", hint=f"Use any of {', '.join(STATES)}."
            )
        if not 0 < self.timeout < float("inf"):
            raise ConfigurationError(
                f"wait_timeout has to be a number of seconds above zero, not {self.timeout}.",
                hint="Set wait to false to ask once.",
            )
        for name, value in (("wait_sleep", self.sleep), ("wait_delay", self.delay)):
            if not 0 <= value < float("inf"):
                raise ConfigurationError(
                    f"{name} has to be a number of seconds, zero or more, not {value}."
                )


def record_dict(
    sdk_app_id: int, task_id: str, outcome: Outcome | None, message: str
) -> dict[str, t.Any]:
    """Return the core's record dict of a recording, with what it means.

    Every key is there also where nothing is known.
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
    """Yield each recording's outcome once its wait is over, as it comes.

    It is over when the recording is in one of the states, can be in none of them any more, or the
    time is up; one that is in none of them comes with an error that says so.
    """
    ends = watcher.watch(
        task_ids,
        timeout=waiting.timeout,
        acceptance=waiting.acceptance,
        poll_interval=waiting.sleep,
        initial_delay=waiting.delay,
        until=waiting.states,
        on_change=on_change,
    )
    async with aclosing(ends):
        async for outcome in ends:
            yield _said(outcome, waiting)


def _said(outcome: Outcome, waiting: Waiting) -> Outcome:
    """Return the outcome with a word on the states that it is not in."""
    from tiw_automation.core import TiwError, WaitTimeout

    if outcome.verdict not in ("pending", "finished"):
        return outcome
    record = outcome.record
    status = record.status if record else None
    if status in waiting.states:
        return dataclasses.replace(outcome, error=None)
    # Which recording, but not how long: a wait may be one of several that a task consists of.
    wanted = " or ".join(state for state in STATES if state in waiting.states)
    error: TiwError
    if not can_become(status, waiting.states):
        error = TiwError(
            f"Recording {outcome.task_id} is {status} and cannot become {wanted} any more.",
            code="StateOutOfReach",
            request_id=record.request_id if record else None,
            hint="Look at its end, or wait for FINISHED.",
        )
    else:
        late = outcome.error
        earlier = late.outcome.error if isinstance(late, WaitTimeout) and late.outcome else None
        if status is not None:
            seen = f"it was last seen {status}"
        elif earlier is not None:
            seen = f"the last answer was: {earlier}"
        else:
            seen = "its turn on the quota had not come"
        error = WaitTimeout(
            f"Recording {outcome.task_id} was not {wanted} in time; {seen}.",
            outcome=outcome,
            request_id=record.request_id if record else None,
            retryable=True,
            hint="Wait longer, or ask again later: nothing is lost.",
        )
    return dataclasses.replace(outcome, error=error)
