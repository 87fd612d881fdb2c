# SPDX-License-Identifier: Apache-2.0
"""The bases of the operators: a client of the connection, and waiting for TIW tasks of a kind."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from tiw_automation.airflow import (
    _requires,  # noqa: F401  # first: it explains an old Airflow
    loops,
)
from tiw_automation.airflow.arguments import flag, seconds
from tiw_automation.airflow.deferral import Deferral, Return, settle
from tiw_automation.airflow.events.asset_events import publish_to_outlets
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.lineage import lineage
from tiw_automation.airflow.links import TiwConsoleLink, TiwReplayLink
from tiw_automation.airflow.rendering import KeepsTexts
from tiw_automation.airflow.summary import clock, summary
from tiw_automation.airflow.trigger_event import (
    Settled,
    from_payload,
    reached,
    settled,
    to_payload,
)
from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger
from tiw_automation.core import (
    Acceptance,
    OnlineRecord,
    Outcome,
    RecordWatcher,
    TiwClient,
    TiwError,
    TiwTask,
    Verdict,
    check_task_ids,
    check_video_kinds,
)
from tiw_automation.core.api import site_of
from tiw_automation.core.retry import chance, doubled
from tiw_automation.core.tasks import check_until, find_kind, wanted_states
from tiw_automation.core.waiting import in_order

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import BaseOperatorLink, Context
    from airflow.sdk.exceptions import AirflowFailException
else:
    # 3.1 has it in another module; type checkers do not follow this one.
    from airflow.providers.common.compat.sdk import AirflowFailException

# How much later than the trigger Airflow may end a deferral: only the trigger knows what was last
# seen.
_GRACE_S = 60.0
# Airflow adds it to the present, and has no year 10000.
_AIRFLOW_COUNTS_TO_S = 100 * 365 * 86400.0
# The shortest deferral of a task whose worker cannot reach TIW again and again: twice this, or
# twice its poll interval, and then twice as long each time.
_REST_S = 5.0
_LONGEST_REST_S = 300.0
# How Airflow resumes a task whose deferral it ended itself.
_FAIL, _TIMEOUT = "__fail__", "Trigger timeout"


class TiwTaskFailed(AirflowFailException):
    """A TIW task failed or does not exist; trying the Airflow task again cannot change that."""


class TiwOnlineRecordFailed(TiwTaskFailed):
    """A recording failed or does not exist; trying the task again cannot change that."""


@dataclass(frozen=True, slots=True)
class WaitLimits:
    """How often a wait polls, when it ends, and what it raises then.

    :param poll_interval_s: the least seconds between two polls of one task.
    :param timeout_s: how long the wait may last, in seconds.
    :param execution_timeout: the task's, where a deferral must keep it, because Airflow does not;
        None for no such limit.
    :param timed_out: makes the error where ``timeout_s`` elapsed.
    """

    poll_interval_s: float
    timeout_s: float
    execution_timeout: timedelta | None = None
    timed_out: Callable[[str], Exception] = TimeoutError

    @property
    def limit_s(self) -> float:
        """How long the wait may last until the first of the two timeouts, in seconds."""
        if self.execution_timeout is None:
            return self.timeout_s
        return min(self.timeout_s, self.execution_timeout.total_seconds())

    def error(self, summary: str) -> Exception:
        """Return what the task raises where its time has elapsed."""
        if self.limit_s == self.timeout_s:
            return self.timed_out(summary)
        # An ordinary failure, so that retries apply.
        return TimeoutError(
            f"{summary} The task's execution_timeout elapsed: {self.execution_timeout}."
        )


class TiwOperator(KeepsTexts):
    """An operator with the connection's client and a link to the console."""

    operator_extra_links: Sequence[Any] = (TiwConsoleLink(),)
    ui_color = "#e6f1f2"

    tencentcloud_conn_id: str | None
    console_url: str | None = None

    def client(self) -> TiwClient:
        """Return a client with the connection's settings."""
        client = TiwHook(self.tencentcloud_conn_id).get_conn()
        self.console_url = site_of(client.settings.host).console_url
        return client


class WaitsForTasks(TiwOperator):
    """Waits for TIW tasks of one kind and pushes their results.

    ``return_value`` is the flat list of URLs in the order asked; the key ``tasks`` holds the
    results (:meth:`~tiw_automation.core.TiwTask.to_dict`).
    """

    structured_fields: frozenset[str] = frozenset({"tiw_task_id"})
    failure: ClassVar[type[TiwTaskFailed]] = TiwTaskFailed
    nouns: ClassVar[str] = "tasks"

    task_kind: str = ""
    """The kind that a class is for; empty where its argument of this name decides."""
    tiw_task_id: Any
    sdk_app_id: int | str | None
    accept_finish_reasons: str | Sequence[str] | None = None
    require_urls: bool = True
    until: str | Sequence[str] | None = None
    _found_urls: Sequence[str] = ()

    def limits(self) -> WaitLimits:
        """Return how often to poll, and when the wait ends."""
        raise NotImplementedError

    def asked_ids(self, context: Context) -> list[str]:
        """Return the tasks to wait for."""
        return check_task_ids(self.tiw_task_id)

    def acceptance(self) -> Acceptance:
        """Return which finished tasks count as good."""
        require_urls = flag("require_urls", self.require_urls)
        return Acceptance.of(self.accept_finish_reasons, require_urls)

    def check_arguments(self) -> None:
        """Check what templates cannot change, before anything is sent.

        :raises ConfigurationError: an argument is invalid.
        """
        self.acceptance()
        self._until()

    def execute_complete(self, context: Context, event: Any, **kept: Any) -> list[str]:
        """Go on with the trigger's event.

        :param kept: see :class:`~tiw_automation.airflow.deferral.Deferral`.
        :raises ConfigurationError: the event is not of this version's trigger.
        """
        return self.complete(context, event, Deferral.of(kept), self.limits())

    def describe(self, client: TiwClient, task_ids: list[str]) -> list[Outcome]:
        """Poll each task once; return the outcomes in the order given."""
        return self._outcomes(RecordWatcher(client).describe, task_ids)

    def wait(self, client: TiwClient, task_ids: list[str], limits: WaitLimits) -> list[Outcome]:
        """Wait in this process until all have ended or the timeout elapsed; in the order given."""
        watch = partial(
            RecordWatcher(client).watch,
            timeout=limits.timeout_s,
            poll_interval=limits.poll_interval_s,
            until=self._until(),
        )
        return self._outcomes(watch, task_ids)

    def defer_until_settled(
        self,
        task_ids: Sequence[str],
        limits: WaitLimits,
        ended: Sequence[Settled] = (),
        earlier: Deferral | None = None,
    ) -> NoReturn:
        """Leave the worker until all have ended; :meth:`complete` goes on.

        :param ended: those of them that have ended already: the trigger does not wait for them.
        :param earlier: the deferral that this one continues.
        """
        now = time.time()
        earlier = earlier or Deferral()
        end_time = now + limits.limit_s if earlier.end_time is None else earlier.end_time
        deferral = replace(
            earlier,
            end_time=end_time,
            deferred_at=earlier.deferred_at or now,
            task_ids=tuple(task_ids),
            ended=tuple(ended),
        )
        known = {end.task_id for end in ended}
        acceptance = self.acceptance()
        reasons = acceptance.accept_finish_reasons
        self.defer(
            trigger=TiwOnlineRecordTrigger(
                record_task_ids=[task_id for task_id in task_ids if task_id not in known],
                end_time=end_time,
                sdk_app_id=self.sdk_app_id,
                tencentcloud_conn_id=self.tencentcloud_conn_id,
                poll_interval=limits.poll_interval_s,
                # A triggerer holds them for each wait: so the default is None.
                accept_finish_reasons=None if reasons is None else list(reasons),
                require_videos=acceptance.require_videos,
                task_kind=self.task_kind,
                until=self._until(),
                initial_delay=rest_s(deferral.failed_returns, limits.poll_interval_s),
            ),
            method_name="execute_complete",
            kwargs=deferral.to_kwargs(),
            timeout=_until_airflow_gives_up(end_time - now),
        )
        raise AssertionError("Airflow's defer raises")

    def complete(
        self, context: Context, event: object, deferral: Deferral, limits: WaitLimits
    ) -> list[str]:
        """Take the trigger's event, get the results, push and judge.

        Polls every task: what this worker's connection finds now counts. Where that
        contradicts the triggerer, or Tencent cannot be reached, the task is deferred again until
        its time has elapsed, for longer each time. ``dag.test()`` loses the deferral, and the
        result is the same.

        :raises ConfigurationError: the event is not of this version's trigger.
        """
        report = from_payload(event)
        if deferral.deferred_at is not None:
            waited_s = max(time.time() - deferral.deferred_at, 0.0)
            self.log.info("The task was deferred for %s.", clock(waited_s))
        mine = deferral.task_ids or self.asked_ids(context)
        ids = [*dict.fromkeys([*mine, *(end.task_id for end in report.ends)])]
        try:
            with self.client() as client:
                answers = self.describe(client, ids)
        except TiwError as error:
            if report.ends or not error.retryable:
                raise
            raise limits.error(str(error)) from error
        found = settle(
            answers,
            deferral,
            report,
            now=time.time(),
            limit_s=limits.limit_s,
            wanted=self.wanted_states(),
        )
        if found.contradiction is not None:
            self._blame_triggerer(found.contradiction)
        if found.pending:
            self._defer_again(ids, found, deferral, limits)
        return self._conclude(context, found.ends, answers, limits)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Go on after a deferral, also after one that Airflow ended itself."""
        if next_method == _FAIL and (next_kwargs or {}).get("error") == _TIMEOUT:
            self.log.warning("No triggerer has ended this wait in time.")
            next_method = "execute_complete"
            next_kwargs = {"event": to_payload(0, ()), "end_time": 0.0}
        return super().resume_execution(next_method, next_kwargs, context)

    def finish(self, context: Context, outcomes: list[Outcome], limits: WaitLimits) -> list[str]:
        """Push the tasks whose wait is over, and judge.

        :raises TiwTaskFailed: one failed or does not exist.
        :raises Exception: what ``limits`` state where the time elapsed.
        :raises RuntimeError: the API refuses or cannot be reached.
        """
        return self._conclude(context, [settled(outcome) for outcome in outcomes], outcomes, limits)

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the files that were pushed as datasets, which this task has made available."""
        return lineage(outputs=self._found_urls)

    def wanted_states(self) -> str:
        """Return the names of the states that the wait is for, for a message."""
        kind = find_kind(self.task_kind)
        return wanted_states(check_until(self.until, kind), kind)

    def push(self, context: Context, found: list[OnlineRecord | TiwTask]) -> list[str]:
        """Push the results of these tasks, and return their URLs."""
        urls = [
            url
            for seen in found
            for url in (seen.urls if isinstance(seen, TiwTask) else seen.video_urls)
        ]
        self.push_results(context, "tasks", found, urls)
        return urls

    def push_results(
        self,
        context: Context,
        key: str | None,
        found: Sequence[OnlineRecord | TiwTask],
        urls: list[str],
    ) -> None:
        """Push URLs, and results under a key; None does not push the results."""
        self._found_urls = urls
        task_instance: Any = context["ti"]
        if self.do_xcom_push and key:
            task_instance.xcom_push(key=key, value=[seen.to_dict() for seen in found])
        if self.do_xcom_push:
            # Pushed here as well, because a failing task returns nothing.
            task_instance.xcom_push(key="return_value", value=urls)

    def _until(self) -> list[str] | None:
        states = check_until(self.until, find_kind(self.task_kind))
        return None if states is None else sorted(states)

    def _outcomes(
        self, ask: Callable[..., AsyncGenerator[Outcome, None]], task_ids: list[str]
    ) -> list[Outcome]:
        given = {
            "task_kind": self.task_kind,
            "sdk_app_id": self.sdk_app_id,
            "acceptance": self.acceptance(),
        }
        outcomes = loops.run(lambda: in_order(ask(task_ids, **given), task_ids))
        until = self._until()
        return [reached(outcome, until) for outcome in outcomes]

    def _defer_again(
        self, task_ids: list[str], found: Return, deferral: Deferral, limits: WaitLimits
    ) -> NoReturn:
        failed_returns = 0 if found.made_progress else deferral.failed_returns + 1
        self.log.warning("%s The task is deferred again.", found.pending[0].message)
        if found.is_cut_off and failed_returns > 1:
            self.log.warning(
                "The triggerer reaches TIW, and this worker failed to %d times in a row: check "
                "this worker's network, and the connection's proxy.",
                failed_returns,
            )
        deferral = replace(deferral, failed_returns=failed_returns)
        self.defer_until_settled(task_ids, limits, found.ends, deferral)

    def _blame_triggerer(self, what: str) -> None:
        self.log.error(
            "The triggerer %s What this worker finds counts. The triggerer's connection %r or its "
            "environment is not the worker's: make them the same.",
            what,
            self.tencentcloud_conn_id,
        )

    def _conclude(
        self,
        context: Context,
        ends: Sequence[Settled],
        outcomes: Sequence[Outcome],
        limits: WaitLimits,
    ) -> list[str]:
        found = {outcome.task_id: outcome.described for outcome in outcomes}
        good = []
        for end in ends:
            seen = found.get(end.task_id)
            if end.verdict is Verdict.FINISHED and seen is not None:
                good.append(seen)
                self.log.info(
                    "%s", summary(seen) if isinstance(seen, OnlineRecord) else end.message
                )
            else:
                self.log.warning("%s", _named(end))
        urls = self.push(context, good)
        self._fail_if_needed(ends, limits)
        return urls

    def _fail_if_needed(self, ends: Sequence[Settled], limits: WaitLimits) -> None:
        bad = [end for end in ends if end.verdict is not Verdict.FINISHED]
        if not bad:
            return
        words = f"{len(bad)} of {len(ends)} {self.nouns}: " + " ".join(map(_named, bad))
        if any(end.verdict in (Verdict.FAILED, Verdict.MISSING) for end in bad):
            raise self.failure(words)
        if any(end.timed_out for end in bad):
            raise limits.error(words)
        # The API refuses or cannot be reached: an ordinary failure, so that retries apply.
        raise RuntimeError(words)


class WaitsForRecords(WaitsForTasks):
    """Waits for recordings and pushes them.

    ``return_value`` is the flat list of URLs in the order asked; the key ``records`` holds the
    list of records. The asset events of its outlets name the recordings.
    """

    operator_extra_links: Sequence[BaseOperatorLink] = (TiwConsoleLink(), TiwReplayLink())
    structured_fields: frozenset[str] = frozenset({"record_task_id"})
    failure: ClassVar[type[TiwTaskFailed]] = TiwOnlineRecordFailed
    nouns = "recordings"
    task_kind = "online_record"

    record_task_id: Any
    video_kinds: Sequence[str] | None
    require_videos: bool
    push_records: bool
    replay_url: str | None = None

    def asked_ids(self, context: Context) -> list[str]:
        """Return the recordings to wait for."""
        return check_task_ids(self.record_task_id)

    def acceptance(self) -> Acceptance:
        """Return which finished recordings count as good."""
        require_videos = flag("require_videos", self.require_videos)
        return Acceptance.of(self.accept_finish_reasons, require_videos)

    def check_arguments(self) -> None:
        """Check what templates cannot change, before anything is sent.

        :raises ConfigurationError: an argument is invalid.
        """
        super().check_arguments()
        check_video_kinds(self.video_kinds)
        flag("push_records", self.push_records)

    def push(self, context: Context, found: list[OnlineRecord | TiwTask]) -> list[str]:
        """Push the records, and return the URLs of the videos that are wanted."""
        kinds = check_video_kinds(self.video_kinds)
        records = [each for each in found if isinstance(each, OnlineRecord)]
        urls = [video.url for record in records for video in record.select(kinds) if video.url]
        replays = [record.replay_url for record in records if record.replay_url]
        self.replay_url = next(iter([*replays, *urls]), None)
        key = "records" if flag("push_records", self.push_records) else None
        self.push_results(context, key, records, urls)
        if self.outlets:
            publish_to_outlets(self.outlets, context["outlet_events"], records)
        return urls


class MayWait(WaitsForTasks):
    """Does something to one task, and then waits for it where that was asked for."""

    wait_for_completion: bool
    wait_timeout: float | timedelta
    poll_interval: float | timedelta
    deferrable: bool

    def check_arguments(self) -> None:
        """Check what templates cannot change, before anything is sent.

        :raises ConfigurationError: an argument is invalid.
        """
        super().check_arguments()
        self.limits()
        flag("wait_for_completion", self.wait_for_completion)
        flag("deferrable", self.deferrable)

    def limits(self) -> WaitLimits:
        """Return how often to poll, and when the wait ends."""
        return WaitLimits(
            poll_interval_s=seconds("poll_interval", self.poll_interval),
            timeout_s=seconds("wait_timeout", self.wait_timeout),
            execution_timeout=self.execution_timeout,
        )

    def wait_if_asked(self, context: Context, client: TiwClient, task_id: str) -> Any:
        """Return the task id; with ``wait_for_completion`` wait, and return the URLs."""
        limits = self.limits()
        if not flag("wait_for_completion", self.wait_for_completion):
            return task_id
        if flag("deferrable", self.deferrable):
            self.defer_until_settled([task_id], limits)
        return self.finish(context, self.wait(client, [task_id], limits), limits)


def rest_s(failed_returns: int, poll_interval_s: float) -> float | None:
    """Return for how many seconds the trigger does not poll, or None for the poll interval."""
    if failed_returns < 2:
        return None
    usual_s = max(poll_interval_s, _REST_S)
    longest_s = max(_LONGEST_REST_S, usual_s)
    return doubled(usual_s, failed_returns - 1, longest_s) * chance.uniform(1.0, 1.25)


def _until_airflow_gives_up(left_s: float) -> timedelta | None:
    """Return after how long Airflow itself ends a deferral; None where it cannot count so far."""
    return timedelta(seconds=left_s + _GRACE_S) if left_s < _AIRFLOW_COUNTS_TO_S else None


def _named(end: Settled) -> str:
    return f"[{end.task_id}: {end.verdict}] {end.message}"
