# SPDX-License-Identifier: Apache-2.0
"""Asking for tasks, once or until they have ended, and what an interrupt leaves."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from tiw_automation.cli import exits, interrupts
from tiw_automation.cli.arguments import read_duration, read_states, usage_errors
from tiw_automation.cli.forms import views_for_now, views_for_wait
from tiw_automation.cli.output import note
from tiw_automation.cli.views import View
from tiw_automation.core import Acceptance, Outcome, Verdict
from tiw_automation.core.tasks import check_until, find_kind
from tiw_automation.core.waiting import FirstAnswer, first_answer_s

if TYPE_CHECKING:
    from tiw_automation.core import RecordWatcher, TiwClient

_REFRESH_EVERY_S = 0.5
_MOST_IDS = 20

ACCEPTANCE_OPTIONS = (
    click.option(
        "--accept-finish-reasons",
        metavar="REASONS",
        help="The finish reasons that count as good; all but EXCEPTION by default.",
    ),
    click.option(
        "--require-videos/--no-require-videos",
        default=True,
        show_default=True,
        help="Whether an ended task without a result has failed.",
    ),
)
TIMEOUT_OPTION = click.option(
    "--timeout",
    callback=read_duration,
    metavar="DURATION",
    help="How long to wait: seconds, or 10m, 2h. Without limit by default.",
)
UNTIL_OPTION = click.option(
    "--until",
    multiple=True,
    metavar="STATE",
    callback=read_states,
    help="Wait for this state; several with commas.",
)


@dataclass(frozen=True)
class Question:
    """What is asked about which tasks.

    :param until: the states that a wait is for; None for the end.
    :param timeout_s: how long a wait may last; None for no limit.
    """

    task_ids: Sequence[str]
    task_kind: str = "online_record"
    until: Sequence[str] | None = None
    timeout_s: float | None = None
    acceptance: Acceptance | None = None

    def check(self) -> None:
        """Refuse states that the kind does not have.

        :raises UsageError: there is one.
        """
        with usage_errors():
            check_until(self.until, find_kind(self.task_kind))


def acceptance_of(reasons: str | None, require_videos: bool) -> Acceptance:
    """Return which ended tasks are accepted.

    :raises UsageError: a reason is malformed.
    """
    with usage_errors():
        return Acceptance.of(reasons, require_videos)


def describe(client: TiwClient, question: Question, form: str) -> int:
    """Show tasks as they are now and return the exit code."""

    def ask(watcher: RecordWatcher, on_change: Callable[[Outcome], None]) -> Any:
        return watcher.describe(
            question.task_ids, task_kind=question.task_kind, acceptance=question.acceptance
        )

    views = views_for_now(form, find_kind(question.task_kind))
    return _Asking(client, question, ask, views).run()


def wait(client: TiwClient, question: Question, form: str, *, has_answered: bool = False) -> int:
    """Wait for tasks, show them and return the exit code.

    :param has_answered: whether the API has answered this command already.
    :raises TiwError: the API has never answered.
    """
    within_s = None if has_answered else first_answer_s(client.settings)

    def ask(watcher: RecordWatcher, on_change: Callable[[Outcome], None]) -> Any:
        return watcher.watch(
            question.task_ids,
            task_kind=question.task_kind,
            timeout=question.timeout_s,
            acceptance=question.acceptance,
            until=question.until,
            on_change=on_change,
        )

    views = views_for_wait(form, find_kind(question.task_kind))
    return _Asking(client, question, ask, views, within_s).run()


class _Asking:
    """One question: what is known so far, and the views that show it.

    :param within_s: how long the first answer may take; None for no limit.
    """

    def __init__(
        self,
        client: TiwClient,
        question: Question,
        ask: Callable[..., AsyncGenerator[Outcome, None]],
        views: Sequence[View],
        within_s: float | None = None,
    ) -> None:
        self._client = client
        self._question = question
        self._ask = ask
        self._views = views
        self._first = FirstAnswer(within_s)
        self._settled: set[str] = set()
        self._interrupt: interrupts.Interrupted | None = None
        self._failure: Exception | None = None
        self._stop: Callable[[], object] = lambda: None
        app_id, kind = client.sdk_app_id(), question.task_kind
        self._known = {
            task_id: Outcome(app_id, task_id, Verdict.PENDING, task_kind=kind)
            for task_id in question.task_ids
        }

    def run(self) -> int:
        """Ask, show what is known, and return the exit code."""
        try:
            asyncio.run(self._run())
        except interrupts.Interrupted as interrupt:
            self._interrupt = interrupt
        finally:
            for view in self._views:
                view.close()
        if self._failure is not None:
            raise self._failure
        outcomes = list(self._known.values())
        for view in self._views:
            view.end(outcomes, self._settled)
        if self._interrupt is not None:
            self._note_rest()
            return self._interrupt.exit_code
        return exits.worst(map(exits.of_outcome, outcomes))

    async def _run(self) -> None:
        from tiw_automation.core import RecordWatcher

        watcher = RecordWatcher(self._client)
        for view in self._views:
            view.begin(list(self._known.values()))
        collecting = asyncio.ensure_future(self._collect(watcher))
        refreshing = asyncio.ensure_future(self._refresh(watcher))
        self._stop = collecting.cancel

        with interrupts.cancelling(asyncio.get_running_loop(), self._interrupted):
            try:
                await collecting
            except asyncio.CancelledError:
                if self._interrupt is None and self._failure is None:
                    raise
            finally:
                refreshing.cancel()

    def _interrupted(self, interrupt: interrupts.Interrupted) -> None:
        self._interrupt = interrupt
        self._stop()

    async def _collect(self, watcher: RecordWatcher) -> None:
        first = self._first
        async with first, contextlib.aclosing(self._ask(watcher, self._changed)) as outcomes:
            async for outcome in outcomes:
                first.note(outcome)
                self._known[outcome.task_id] = outcome
                self._settled.add(outcome.task_id)
                for view in self._views:
                    view.settled(outcome)
        if first.is_late:
            self._failure = first.error

    def _changed(self, outcome: Outcome) -> None:
        self._first.note(outcome)
        self._known[outcome.task_id] = outcome
        try:
            for view in self._views:
                view.changed(outcome)
        except Exception as error:
            # The watcher logs what a callback raises, and goes on: a closed pipe must end it.
            self._failure = error
            self._stop()

    async def _refresh(self, watcher: RecordWatcher) -> None:
        while True:
            stats = watcher.stats()
            for view in self._views:
                view.refresh(stats)
            await asyncio.sleep(_REFRESH_EVERY_S)

    def _note_rest(self) -> None:
        rest = [task_id for task_id in self._known if task_id not in self._settled]
        if not rest:
            return
        if not self._first.came:
            note("interrupted. The API has not answered yet.")
            return
        noun = "task goes" if len(rest) == 1 else "tasks go"
        kind = self._question.task_kind
        command = "tiw wait" if kind == "online_record" else f"tiw task wait {kind}"
        named = " ".join(rest[:_MOST_IDS]) + (" ..." if len(rest) > _MOST_IDS else "")
        note(f"interrupted. {len(rest)} {noun} on at Tencent. Wait again: {command} {named}")
