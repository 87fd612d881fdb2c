# SPDX-License-Identifier: Apache-2.0
"""What every task that waits for recordings does: ask, defer, push, judge."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import (  # isort: skip
    AirflowFailException,
    BaseOperator,
)

from tiw_automation.airflow.asset_events import tell_outlets
from tiw_automation.airflow.events import (
    Settled,
    from_payload,
    from_rows,
    settled,
    to_payload,
    to_rows,
)
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.lineage import lineage
from tiw_automation.airflow.links import TiwConsoleLink, TiwReplayLink, console_url
from tiw_automation.airflow.story import clock, story
from tiw_automation.airflow.triggers import TiwOnlineRecordTrigger
from tiw_automation.core import (
    Acceptance,
    OnlineRecord,
    Outcome,
    RecordWatcher,
    TiwClient,
    TiwError,
    Verdict,
    check_task_ids,
    check_video_kinds,
)
from tiw_automation.core.hearing import out_of_time
from tiw_automation.core.retry import chance, doubled

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

# How much later than the trigger Airflow itself may give up: the trigger knows what was last seen.
_GRACE_S = 60.0
# How long a task stays deferred at least whose worker cannot reach TIW again and again: from twice
# this, or twice its poll interval, twice as long each time.
_REST_S = 5.0
_LONGEST_REST_S = 300.0
# Airflow's words for a deferral that it ended itself.
_FAIL, _TIMEOUT = "__fail__", "Trigger timeout"


class TiwOnlineRecordFailed(AirflowFailException):
    """A recording failed or does not exist; trying the task again cannot change that."""


class WaitsForRecords(BaseOperator):
    """Waits for recordings and pushes them.

    ``return_value`` is the flat list of URLs in the order asked; the key ``records`` holds the
    list of records. The asset events of its outlets say which recordings they were.
    """

    operator_extra_links = (TiwConsoleLink(), TiwReplayLink())

    record_task_id: Any
    tencentcloud_conn_id: str
    sdk_app_id: int | str | None
    poll_interval_s: float
    wait_s: float
    video_kinds: Sequence[str] | None
    accept_finish_reasons: str | Sequence[str]
    require_videos: bool
    push_records: bool
    console_url: str | None = None
    replay_url: str | None = None
    _found_urls: Sequence[str] = ()

    def client(self) -> TiwClient:
        """Return a client with the connection's settings."""
        client = TiwHook(self.tencentcloud_conn_id).get_conn()
        self.console_url = console_url(client.settings.host)
        return client

    def check_arguments(self) -> None:
        """Look at what no template can change, before anything is sent.

        :raises ConfigurationError: an argument makes no sense.
        """
        check_video_kinds(self.video_kinds)
        self._acceptance()

    def defer_until_settled(
        self,
        record_task_ids: list[str],
        ended: Sequence[Settled] = (),
        end_time: float | None = None,
        deferred_at: float | None = None,
        in_vain: int = 0,
    ) -> NoReturn:
        """Leave the worker until all have ended; :meth:`execute_complete` goes on.

        :param ended: those of them that have ended already, which are not asked for again.
        :param end_time: when the time of an earlier deferral is up, UNIX seconds.
        :param deferred_at: when that one was, UNIX seconds.
        :param in_vain: how often in a row a worker could not reach TIW after a deferral.
        """
        now = time.time()
        if end_time is None:
            end_time = now + self._limit_s()
        known = {end.record_task_id for end in ended}
        kwargs: dict[str, Any] = {"end_time": end_time, "deferred_at": deferred_at or now}
        if ended:
            kwargs |= {"record_task_ids": record_task_ids, "ended": to_rows(ended)}
        if in_vain:
            kwargs["in_vain"] = in_vain
        self.defer(
            trigger=TiwOnlineRecordTrigger(
                record_task_ids=[task_id for task_id in record_task_ids if task_id not in known],
                end_time=end_time,
                sdk_app_id=self.sdk_app_id,
                tencentcloud_conn_id=self.tencentcloud_conn_id,
                poll_interval=self.poll_interval_s,
                accept_finish_reasons=self._other_finish_reasons(),
                require_videos=self.require_videos,
                initial_delay=self._rest_s(in_vain),
            ),
            method_name="execute_complete",
            kwargs=kwargs,
            timeout=timedelta(seconds=end_time - now + _GRACE_S),
        )
        raise AssertionError("Airflow's defer raises")

    def _rest_s(self, in_vain: int) -> float | None:
        """Return how long the trigger asks nothing, or None for the poll interval."""
        if in_vain < 2:
            return None
        usual_s = max(self.poll_interval_s, _REST_S)
        rest_s = doubled(usual_s, in_vain - 1, max(_LONGEST_REST_S, usual_s))
        return rest_s * chance.uniform(1.0, 1.25)

    def execute_complete(
        self,
        context: Context,
        event: Any,
        end_time: float | None = None,
        record_task_ids: list[str] | None = None,
        ended: list[dict[str, Any]] | None = None,
        deferred_at: float | None = None,
        in_vain: int = 0,
    ) -> list[str]:
        """Take the trigger's event, get the finished records, push and judge.

        Asks for all but those that failed or do not exist: what is true now counts. Where Tencent
        cannot be reached for them, the task is deferred again until its time is up, for longer
        each time; then that is an ordinary failure. ``dag.test()`` brings back the event alone:
        what it does not tell of is asked for, so that the result is the same.

        :param end_time: when the time is up, UNIX seconds.
        :param record_task_ids: all recordings in their order, where some had ended before.
        :param ended: how those had ended.
        :param deferred_at: when the task was deferred first, UNIX seconds.
        :param in_vain: how often in a row a worker could not reach TIW after a deferral.
        """
        _, told = from_payload(event)
        by_id = {end.record_task_id: end for end in [*from_rows(ended or []), *told]}
        if record_task_ids is None:
            record_task_ids = check_task_ids(self.record_task_id)
        ids = list(dict.fromkeys([*record_task_ids, *by_id]))
        if deferred_at is not None:
            waited_s = max(time.time() - deferred_at, 0.0)
            self.log.info("The task was deferred for %s.", clock(waited_s))
        # An event tells of no URL.
        wanted = [i for i in ids if i not in by_id or not _is_for_good(by_id[i])]
        is_time_up = any(end.timed_out for end in by_id.values())
        outcomes = []
        if wanted:
            try:
                with self.client() as client:
                    outcomes = self.describe(client, wanted)
            except TiwError as error:
                if told or not error.retryable:
                    raise
                raise self.over_time(str(error)) from error
        pending = {o.task_id: o for o in outcomes if may_change(o)}
        is_time_up = is_time_up or (end_time is not None and time.time() >= end_time)
        for outcome in outcomes:
            task_id = outcome.task_id
            # What nobody has told of, and cannot be asked for either, ran out of time.
            is_unheard = task_id in pending and task_id not in by_id
            if is_time_up and (outcome.verdict is Verdict.PENDING or is_unheard):
                by_id[task_id] = settled(out_of_time(outcome, self._limit_s()))
            # A fault on the way says less than what the trigger knew.
            elif not (task_id in pending and task_id in by_id and by_id[task_id].timed_out):
                by_id[task_id] = settled(outcome)
        if pending and not is_time_up:
            self._defer_again(ids, by_id, pending, end_time, deferred_at, in_vain)
        return self._conclude(context, [by_id[task_id] for task_id in ids], outcomes)

    def _defer_again(
        self,
        record_task_ids: list[str],
        by_id: dict[str, Settled],
        pending: dict[str, Outcome],
        end_time: float | None,
        deferred_at: float | None,
        in_vain: int,
    ) -> NoReturn:
        first = next(iter(pending.values()))
        self.log.warning("%s The task is deferred again.", first.message)
        is_cut_off = all(outcome.verdict is Verdict.UNKNOWN for outcome in pending.values())
        in_vain = in_vain + 1 if is_cut_off else 0
        if in_vain > 1:
            self.log.warning(
                "The triggerer reaches TIW, and for the %d. time a worker does not: look at this "
                "worker's network, and at the connection's proxy.",
                in_vain,
            )
        ended = [by_id[task_id] for task_id in record_task_ids if task_id not in pending]
        self.defer_until_settled(record_task_ids, ended, end_time, deferred_at, in_vain)

    def resume_execution(
        self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context
    ) -> Any:
        """Go on after a deferral; one that Airflow ended itself asks and judges as any other."""
        if next_method == _FAIL and (next_kwargs or {}).get("error") == _TIMEOUT:
            self.log.warning("No triggerer has ended this wait in time.")
            next_method = "execute_complete"
            next_kwargs = {"event": to_payload(0, []), "end_time": 0.0}
        return super().resume_execution(next_method, next_kwargs, context)

    def finish(self, context: Context, outcomes: list[Outcome]) -> list[str]:
        """Push what there is of recordings whose wait is over, and judge."""
        return self._conclude(context, [settled(outcome) for outcome in outcomes], outcomes)

    def _conclude(
        self, context: Context, ends: list[Settled], outcomes: list[Outcome]
    ) -> list[str]:
        found = {o.task_id: o.record for o in outcomes}
        good = []
        for end in ends:
            record = found.get(end.record_task_id)
            if end.verdict is Verdict.FINISHED and record is not None:
                good.append(record)
                self.log.info("%s", story(record))
            else:
                self.log.warning("%s", _named(end))
        urls = self._push(context, good)
        self._fail_if_needed(ends)
        return urls

    def _fail_if_needed(self, ends: list[Settled]) -> None:
        bad = [end for end in ends if end.verdict is not Verdict.FINISHED]
        if not bad:
            return
        summary = f"{len(bad)} of {len(ends)} recordings: " + " ".join(map(_named, bad))
        if any(end.verdict in (Verdict.FAILED, Verdict.MISSING) for end in bad):
            raise TiwOnlineRecordFailed(summary)
        if any(end.timed_out for end in bad):
            raise self.over_time(summary)
        # The API refuses or cannot be reached: an ordinary failure, so that retries apply.
        raise RuntimeError(summary)

    def over_time(self, summary: str) -> Exception:
        """Return what is raised where time is up: an ordinary failure, so that retries apply."""
        if self.execution_timeout_is_lower:
            summary = f"{summary} What is up is the task's execution_timeout, "
            summary += f"{self.execution_timeout}."
        return TimeoutError(summary)

    def describe(self, client: TiwClient, record_task_ids: list[str]) -> list[Outcome]:
        """Ask once for each; in the order given."""
        acceptance = self._acceptance()

        async def ask() -> list[Outcome]:
            found = RecordWatcher(client).describe(
                record_task_ids, sdk_app_id=self.sdk_app_id, acceptance=acceptance
            )
            by_id = {outcome.task_id: outcome async for outcome in found}
            return [by_id[task_id] for task_id in record_task_ids]

        return asyncio.run(ask())

    def wait(
        self, client: TiwClient, record_task_ids: list[str], timeout_s: float
    ) -> list[Outcome]:
        """Wait in this process until all have ended or time is up; in the order given."""
        acceptance = self._acceptance()

        async def wait() -> list[Outcome]:
            found = RecordWatcher(client).watch(
                record_task_ids,
                sdk_app_id=self.sdk_app_id,
                timeout=timeout_s,
                acceptance=acceptance,
                poll_interval=self.poll_interval_s,
            )
            by_id = {outcome.task_id: outcome async for outcome in found}
            return [by_id[task_id] for task_id in record_task_ids]

        return asyncio.run(wait())

    @property
    def execution_timeout_is_lower(self) -> bool:
        """Whether a deferral ends by ``execution_timeout`` before it ends by its own limit."""
        return self._limit_s() < self.wait_s

    def _limit_s(self) -> float:
        """Return how long a deferral may last: Airflow does not end it by execution_timeout."""
        if self.execution_timeout is None:
            return self.wait_s
        return min(self.wait_s, self.execution_timeout.total_seconds())

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the videos that were pushed as datasets, which this task has made available."""
        return lineage(outputs=self._found_urls)

    def _acceptance(self) -> Acceptance:
        return Acceptance.of(self.accept_finish_reasons, self.require_videos)

    def _other_finish_reasons(self) -> list[str] | None:
        """Return what is accepted, or None for the default: a triggerer holds it for each wait."""
        accepted = self._acceptance().accept_finish_reasons
        return None if accepted == Acceptance().accept_finish_reasons else list(accepted)

    def _push(self, context: Context, records: list[OnlineRecord]) -> list[str]:
        kinds = check_video_kinds(self.video_kinds)
        urls = [video.url for record in records for video in record.select(kinds) if video.url]
        replays = [record.replay_url for record in records if record.replay_url]
        self._found_urls = urls
        self.replay_url = next(iter([*replays, *urls]), None)
        task_instance: Any = context["ti"]
        if self.push_records:
            task_instance.xcom_push(key="records", value=[record.to_dict() for record in records])
        # Pushed here as well, because a failing task returns nothing.
        task_instance.xcom_push(key="return_value", value=urls)
        if self.outlets:
            tell_outlets(self.outlets, context["outlet_events"], records)
        return urls


def may_change(outcome: Outcome) -> bool:
    """Whether to go on waiting: for one that has not ended, and after a fault on the way.

    Not after a refusal, and not after answers that lack a Status several times in a row.
    """
    if outcome.verdict is Verdict.UNKNOWN:
        error = outcome.error
        return outcome.record is None and error is not None and error.retryable
    return outcome.verdict is Verdict.PENDING


def _is_for_good(end: Settled) -> bool:
    return end.verdict in (Verdict.FAILED, Verdict.MISSING)


def _named(end: Settled) -> str:
    return f"[{end.record_task_id}: {end.verdict}] {end.message}"
