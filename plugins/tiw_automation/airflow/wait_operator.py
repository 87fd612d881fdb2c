# SPDX-License-Identifier: Apache-2.0
"""What every task that waits for recordings does: ask, defer, push, judge."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import AirflowFailException  # isort: skip

from tiw_automation.airflow import loops
from tiw_automation.airflow.deferral import Deferral, Return, settle
from tiw_automation.airflow.events.asset_events import publish_to_outlets
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.lineage import lineage
from tiw_automation.airflow.links import TiwConsoleLink, TiwReplayLink
from tiw_automation.airflow.rendering import KeepsTexts
from tiw_automation.airflow.summary import clock, story
from tiw_automation.airflow.trigger_event import Settled, from_payload, settled, to_payload
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
from tiw_automation.core.api import site_of
from tiw_automation.core.retry import chance, doubled

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

# How much later than the trigger Airflow itself may give up: the trigger knows what was last seen.
_GRACE_S = 60.0
# Airflow adds it to the present, and has no year 10000.
_AIRFLOW_COUNTS_TO_S = 100 * 365 * 86400.0
# How long a task stays deferred at least whose worker cannot reach TIW again and again: from twice
# this, or twice its poll interval, twice as long each time.
_REST_S = 5.0
_LONGEST_REST_S = 300.0
# How many recordings a line names that is about many.
_SHOWN = 3
# Airflow's words for a deferral that it ended itself.
_FAIL, _TIMEOUT = "__fail__", "Trigger timeout"


class TiwOnlineRecordFailed(AirflowFailException):
    """A recording failed or does not exist; trying the task again cannot change that."""


class WaitsForRecords(KeepsTexts):
    """Waits for recordings and pushes them.

    ``return_value`` is the flat list of URLs in the order asked; the key ``records`` holds the
    list of records. The asset events of its outlets say which recordings they were.
    """

    operator_extra_links = (TiwConsoleLink(), TiwReplayLink())
    structured_fields = frozenset({"record_task_id"})

    record_task_id: Any
    tencentcloud_conn_id: str | None
    sdk_app_id: int | str | None
    poll_interval_s: float
    wait_s: float
    video_kinds: Sequence[str] | None
    accept_finish_reasons: str | Sequence[str] | None
    require_videos: bool
    push_records: bool
    console_url: str | None = None
    replay_url: str | None = None
    _found_urls: Sequence[str] = ()

    def client(self) -> TiwClient:
        """Return a client with the connection's settings."""
        client = TiwHook(self.tencentcloud_conn_id).get_conn()
        self.console_url = site_of(client.settings.host).console_url
        return client

    def check_arguments(self) -> None:
        """Look at what no template can change, before anything is sent.

        :raises ConfigurationError: an argument is invalid.
        """
        check_video_kinds(self.video_kinds)
        self._acceptance()

    def defer_until_settled(
        self,
        record_task_ids: list[str],
        ended: Sequence[Settled] = (),
        earlier: Deferral | None = None,
    ) -> NoReturn:
        """Leave the worker until all have ended; :meth:`execute_complete` goes on.

        :param ended: those of them that have ended already: the trigger does not ask for them.
        :param earlier: the deferral that this one goes on with.
        """
        now = time.time()
        earlier = earlier or Deferral()
        end_time = now + self._limit_s() if earlier.end_time is None else earlier.end_time
        known = {end.record_task_id for end in ended}
        deferral = Deferral(
            end_time=end_time,
            deferred_at=earlier.deferred_at or now,
            in_vain=earlier.in_vain,
            record_task_ids=tuple(record_task_ids) if ended else (),
            ended=tuple(ended),
        )
        self.defer(
            trigger=TiwOnlineRecordTrigger(
                record_task_ids=[task_id for task_id in record_task_ids if task_id not in known],
                end_time=end_time,
                sdk_app_id=self.sdk_app_id,
                tencentcloud_conn_id=self.tencentcloud_conn_id,
                poll_interval=self.poll_interval_s,
                accept_finish_reasons=self._other_finish_reasons(),
                require_videos=self.require_videos,
                initial_delay=self._rest_s(deferral.in_vain),
            ),
            method_name="execute_complete",
            kwargs=deferral.to_kwargs(),
            timeout=_until_airflow_gives_up(end_time - now),
        )
        raise AssertionError("Airflow's defer raises")

    def _rest_s(self, in_vain: int) -> float | None:
        """Return how long the trigger asks nothing, or None for the poll interval."""
        if in_vain < 2:
            return None
        usual_s = max(self.poll_interval_s, _REST_S)
        rest_s = doubled(usual_s, in_vain - 1, max(_LONGEST_REST_S, usual_s))
        return rest_s * chance.uniform(1.0, 1.25)

    def execute_complete(self, context: Context, event: Any, **kept: Any) -> list[str]:
        """Take the trigger's event, get the records, push and judge.

        Asks for every recording: what is true now counts, and what this worker's connection
        finds. Where that is not what the triggerer said, or Tencent cannot be reached, the task is
        deferred again until its time has elapsed, for longer each time. ``dag.test()`` brings
        back the event alone, and the result is the same.

        :param kept: what :class:`Deferral` says.
        :raises ConfigurationError: the event is not one of this version's trigger.
        """
        deferral = Deferral.of(kept)
        told_of, told = from_payload(event)
        if deferral.deferred_at is not None:
            waited_s = max(time.time() - deferral.deferred_at, 0.0)
            self.log.info("The task was deferred for %s.", clock(waited_s))
        mine = deferral.record_task_ids or check_task_ids(self.record_task_id)
        ids = list(dict.fromkeys([*mine, *(end.record_task_id for end in told)]))
        app_id, outcomes = self._ask_again(ids, is_told=bool(told))
        # It is 0 where the trigger could read no connection.
        is_of_another = told_of not in (0, app_id)
        if is_of_another:
            self._blame_triggerer(f"asked for application {told_of}, this worker for {app_id}.")
        found = settle(
            outcomes,
            deferral.ended,
            () if is_of_another else told,
            is_time_up=deferral.is_over(time.time()) or any(end.timed_out for end in told),
            limit_s=self._limit_s(),
        )
        if found.denied:
            self._blame_triggerer(_denied(found.denied, outcomes))
        if found.pending:
            in_vain = deferral.in_vain + 1 if is_of_another or found.was_in_vain else 0
            self._defer_again(ids, found, replace(deferral, in_vain=in_vain))
        return self._conclude(context, [found.ends[task_id] for task_id in ids], outcomes)

    def _ask_again(self, record_task_ids: list[str], *, is_told: bool) -> tuple[int, list[Outcome]]:
        """Return this worker's application and what is true of each recording now."""
        try:
            with self.client() as client:
                app_id = client.sdk_app_id(self.sdk_app_id)
                return app_id, self.describe(client, record_task_ids)
        except TiwError as error:
            if is_told or not error.retryable:
                raise
            raise self.over_time(str(error)) from error

    def _defer_again(
        self, record_task_ids: list[str], found: Return, deferral: Deferral
    ) -> NoReturn:
        self.log.warning("%s The task is deferred again.", found.pending[0].message)
        if found.is_cut_off and deferral.in_vain > 1:
            self.log.warning(
                "The triggerer reaches TIW, and for the %d. time a worker does not: look at this "
                "worker's network, and at the connection's proxy.",
                deferral.in_vain,
            )
        self.defer_until_settled(record_task_ids, list(found.ends.values()), deferral)

    def _blame_triggerer(self, what: str) -> None:
        self.log.error(
            "The triggerer %s What this worker finds counts. The triggerer's connection %r or its "
            "environment is not the worker's: make them the same.",
            what,
            self.tencentcloud_conn_id,
        )

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

        return loops.run(ask)

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

        return loops.run(wait)

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
        return None if accepted is None else list(accepted)

    def _push(self, context: Context, records: list[OnlineRecord]) -> list[str]:
        kinds = check_video_kinds(self.video_kinds)
        urls = [video.url for record in records for video in record.select(kinds) if video.url]
        replays = [record.replay_url for record in records if record.replay_url]
        self._found_urls = urls
        self.replay_url = next(iter([*replays, *urls]), None)
        task_instance: Any = context["ti"]
        if self.do_xcom_push and self.push_records:
            task_instance.xcom_push(key="records", value=[record.to_dict() for record in records])
        if self.do_xcom_push:
            # Pushed here as well, because a failing task returns nothing.
            task_instance.xcom_push(key="return_value", value=urls)
        if self.outlets:
            publish_to_outlets(self.outlets, context["outlet_events"], records)
        return urls


def _until_airflow_gives_up(left_s: float) -> timedelta | None:
    """Return after how long Airflow itself ends a deferral; None where it cannot count so far."""
    return timedelta(seconds=left_s + _GRACE_S) if left_s < _AIRFLOW_COUNTS_TO_S else None


def _denied(denied: Sequence[Settled], outcomes: Sequence[Outcome]) -> str:
    """Return what the triggerer said and what is true: how many, and the first three."""
    by_id = {outcome.task_id: outcome for outcome in outcomes}
    shown = "; ".join(
        f"{end.record_task_id} {end.verdict}, this worker finds: "
        f"{by_id[end.record_task_id].message}"
        for end in denied[:_SHOWN]
    )
    return f"was wrong about {len(denied)} of {len(outcomes)} recordings. It called {shown}"


def _named(end: Settled) -> str:
    return f"[{end.record_task_id}: {end.verdict}] {end.message}"
