# SPDX-License-Identifier: Apache-2.0
"""The asset that stands for an application's finished recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.sdk import Asset, AssetWatcher  # isort: skip

from tiw_automation.airflow.arguments import flag, seconds
from tiw_automation.airflow.events.asset_events import (
    PARTITIONED_BY,
    TERMS,
    asset_uri,
    finished_recordings,
    publish_to_outlets,
    tell_outlets,
)
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.triggers import TiwOnlineRecordFinishedEventTrigger
from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    check_sdk_app_id,
    check_task_ids,
)
from tiw_automation.core.waiting import DEFAULT_POLL_INTERVAL_S

if TYPE_CHECKING:
    from pydantic import JsonValue

__all__ = [
    "asset_uri",
    "finished_recordings",
    "publish_to_outlets",
    "tell_outlets",
    "tiw_online_record_asset",
]

_SWEEP_AFTER_S = 900.0


def tiw_online_record_asset(
    name: str | None = None,
    *,
    record_task_ids: str | Sequence[str] | None = None,
    sdk_app_id: int | str | None = None,
    tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
    watch: bool = True,
    partitioned: bool = False,
    poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL_S,
    accept_finish_reasons: str | Sequence[str] | None = None,
    require_videos: bool = True,
    include_failed: bool = False,
    sweep_after: float | timedelta | None = _SWEEP_AFTER_S,
) -> Asset:
    """Return the asset "a recording of this application has finished", to schedule a DAG by.

    Its events come from a watcher in the triggerer
    (:class:`~tiw_automation.airflow.triggers.TiwOnlineRecordFinishedEventTrigger`), from the
    receiver of Tencent's callbacks, and from every task that has it among its outlets; read them
    with :func:`finished_recordings`. Equal arguments make equal assets, so it may be written
    down in several DAGs. Each argument that is not the default is part of the URI, so that other
    arguments make another asset: two DAG files that gave one asset different watchers would
    replace each other's watcher without end.

    :param name: its name in Airflow, and part of its URI; its URI by default. With
        ``record_task_ids`` the asset stays the same when the ids change, and so what was announced
        stays announced. Airflow has one asset of a name: the DAGs of a second one get a warning
        "asset conflict", and do not run.
    :param record_task_ids: the recordings to watch; by default all that begin, which only the
        Chinese site can list.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param watch: whether the triggerer watches; False where only callbacks or tasks publish.
    :param partitioned: whether each event has its own partition, for one run per recording
        with ``PartitionedAssetTimetable`` (callbacks: Airflow 3.2, tasks: 3.3). Airflow gives the
        events of triggers no partition, so nothing watches then.
    :param accept_finish_reasons: the reasons that are not a failure, for the watcher and for
        callbacks; a task has its own. None, or AUTO, USER_CALL and FORCE_STOP in any order, means
        all but EXCEPTION, and makes the same asset.
    :param require_videos: whether a finished recording without a video is a failure, for both.
    :param poll_interval: see the trigger, also for what follows; times may be timedeltas.
    :raises ConfigurationError: an argument is invalid.
    """
    given = _Arguments(
        record_task_ids=None if record_task_ids is None else check_task_ids(record_task_ids),
        sdk_app_id=None if sdk_app_id is None else check_sdk_app_id(sdk_app_id),
        tencentcloud_conn_id=tencentcloud_conn_id,
        watch=flag("watch", watch),
        partitioned=flag("partitioned", partitioned),
        poll_interval=_seconds("poll_interval", poll_interval),
        accept_finish_reasons=_sorted_reasons(accept_finish_reasons),
        require_videos=flag("require_videos", require_videos),
        include_failed=flag("include_failed", include_failed),
        sweep_after=None if sweep_after is None else _seconds("sweep_after", sweep_after),
    )
    uri = given.uri(name)
    name = uri if name is None else name
    watchers = []
    if given.is_watched:
        watchers = [AssetWatcher(name="tiw_online_records", trigger=given.trigger(name))]
    return Asset(name=name, uri=uri, group="tiw", watchers=watchers, extra=given.extra())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arguments:
    """The arguments of :func:`tiw_online_record_asset` in one form; times are in seconds.

    :raises ConfigurationError: ``record_task_ids`` are given, and the triggerer does not watch.
    """

    record_task_ids: list[str] | None
    sdk_app_id: int | None
    tencentcloud_conn_id: str | None
    watch: bool
    partitioned: bool
    poll_interval: float
    accept_finish_reasons: list[str] | None
    require_videos: bool
    include_failed: bool
    sweep_after: float | None

    def __post_init__(self) -> None:
        if self.record_task_ids is not None and not self.is_watched:
            raise ConfigurationError(
                "record_task_ids are the recordings to watch, and nothing watches this asset.",
                hint="Leave out record_task_ids, or partitioned and watch=False.",
            )

    @property
    def is_watched(self) -> bool:
        return self.watch and not self.partitioned

    def uri(self, name: str | None) -> str:
        """Return the URI; each argument that is not the default is part of it."""
        uri = asset_uri(self.tencentcloud_conn_id, self.sdk_app_id, partitioned=self.partitioned)
        if self.record_task_ids is not None:
            ids = "\0".join(sorted(self.record_task_ids))
            digest = hashlib.sha256(ids.encode()).hexdigest()[:16]
            uri = f"{uri}/{digest if name is None else quote(name, safe='')}"
        # As Airflow writes a query, so that it keeps the URI unchanged.
        query = urlencode(sorted(self._others(name).items()))
        return f"{uri}?{query}" if query else uri

    def _others(self, name: str | None) -> dict[str, str]:
        """Return the texts of what is not the default, for the query of the URI."""
        reasons, sweep_after = self.accept_finish_reasons, self.sweep_after
        others = {
            "name": name if self.record_task_ids is None else None,
            "accept_finish_reasons": None if reasons is None else " ".join(reasons) or "none",
            "require_videos": None if self.require_videos else "false",
            "watch": None if self.watch or self.partitioned else "false",
        }
        if self.is_watched:
            others["include_failed"] = "true" if self.include_failed else None
            if self.poll_interval != DEFAULT_POLL_INTERVAL_S:
                others["poll_interval"] = _number(self.poll_interval)
            if sweep_after != _SWEEP_AFTER_S:
                others["sweep_after"] = "never" if sweep_after is None else _number(sweep_after)
        return {key: text for key, text in others.items() if text is not None}

    def trigger(self, asset_name: str) -> TiwOnlineRecordFinishedEventTrigger:
        return TiwOnlineRecordFinishedEventTrigger(
            record_task_ids=self.record_task_ids,
            sdk_app_id=self.sdk_app_id,
            tencentcloud_conn_id=self.tencentcloud_conn_id,
            poll_interval=self.poll_interval,
            accept_finish_reasons=self.accept_finish_reasons,
            require_videos=self.require_videos,
            include_failed=self.include_failed,
            sweep_after=self.sweep_after,
            asset_name=asset_name,
        )

    def extra(self) -> dict[str, JsonValue]:
        """Return what the receiver of callbacks reads, which knows only Airflow's database."""
        terms: dict[str, JsonValue] = {}
        if self.accept_finish_reasons is not None:
            terms["accept_finish_reasons"] = [*self.accept_finish_reasons]
        if not self.require_videos:
            terms["require_videos"] = False
        extra: dict[str, JsonValue] = {}
        if self.partitioned:
            extra[PARTITIONED_BY] = "record_task_id"
        if terms:
            extra[TERMS] = terms
        return extra


def _sorted_reasons(given: str | Sequence[str] | None) -> list[str] | None:
    """Return the accepted reasons, equal for equal meanings; None for the default."""
    accepted = Acceptance.of(given, require_videos=True).accept_finish_reasons
    return None if accepted is None else sorted(accepted)


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _seconds(name: str, value: object) -> float:
    number = seconds(name, value)
    if not number:
        raise ConfigurationError(f"{name} must be a number of seconds above zero, not {value!r}.")
    return number
