# SPDX-License-Identifier: Apache-2.0
"""The asset that stands for an application's finished recordings."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote, urlencode

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.sdk import Asset, AssetWatcher  # isort: skip

from tiw_automation.airflow.arguments import flag, seconds
from tiw_automation.airflow.events.asset_events import (
    PARTITIONED_BY,
    TERMS,
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
from tiw_automation.core.formatting import shown
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
    down in several DAGs; each argument that is not the default is part of the URI, so that others
    make another asset. Airflow would let two DAG files that give one asset different watchers undo
    each other for ever.

    :param name: its name in Airflow, and part of its URI; its URI by default. With
        ``record_task_ids`` it makes the asset stay the same when the ids change, and so what was
        announced stays announced. Airflow has one asset of a name: the DAGs of the other get a
        warning "asset conflict", and do not run.
    :param record_task_ids: the recordings to watch; by default all that begin, which only the
        Chinese site can list.
    :param sdk_app_id: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection, or None for the environment's settings.
    :param watch: whether the triggerer watches; False where callbacks or tasks tell.
    :param partitioned: whether each event is a partition of its own, for one run per recording
        with ``PartitionedAssetTimetable`` (callbacks: Airflow 3.2, tasks: 3.3). Airflow gives the
        events of triggers no partition, so nothing watches then.
    :param accept_finish_reasons: the reasons that are no failure, for the watcher and for
        callbacks; a task has its own. None, or AUTO, USER_CALL and FORCE_STOP in any order, means
        all but EXCEPTION, and makes the same asset.
    :param require_videos: whether a finished recording without a video is a failure, for both.
    :param poll_interval: see the trigger, as for what follows; times may be timedeltas.
    :raises ConfigurationError: an argument is invalid.
    """
    for flag_name, given in (
        ("watch", watch),
        ("partitioned", partitioned),
        ("require_videos", require_videos),
        ("include_failed", include_failed),
    ):
        flag(flag_name, given)
    ids = None if record_task_ids is None else check_task_ids(record_task_ids)
    app_id = None if sdk_app_id is None else check_sdk_app_id(sdk_app_id)
    poll_interval_s = _seconds("poll_interval", poll_interval)
    sweep_after_s = None if sweep_after is None else _seconds("sweep_after", sweep_after)
    reasons = _other_reasons(accept_finish_reasons)
    if ids is not None and (partitioned or not watch):
        raise ConfigurationError(
            "record_task_ids says what is watched, and nothing watches this asset.",
            hint="Leave out record_task_ids, or partitioned and watch=False.",
        )
    watched = watch and not partitioned
    uri = asset_uri(tencentcloud_conn_id, app_id, partitioned=partitioned)
    others: dict[str, str] = {}
    if ids is not None:
        digest = hashlib.sha256("\0".join(sorted(ids)).encode()).hexdigest()[:16]
        uri = f"{uri}/{digest if name is None else quote(name, safe='')}"
    elif name is not None:
        others["name"] = name
    if reasons is not None:
        others["accept_finish_reasons"] = " ".join(reasons) or "none"
    if not require_videos:
        others["require_videos"] = "false"
    if watched:
        others |= _of_the_watcher(poll_interval_s, include_failed, sweep_after_s)
    elif not partitioned:
        others["watch"] = "false"
    if others:
        # As Airflow writes a query: so it keeps it as it is.
        uri = f"{uri}?{urlencode(sorted(others.items()))}"
    name = uri if name is None else name
    watchers = []
    if watched:
        trigger = TiwOnlineRecordFinishedEventTrigger(
            record_task_ids=ids,
            sdk_app_id=app_id,
            tencentcloud_conn_id=tencentcloud_conn_id,
            poll_interval=poll_interval_s,
            accept_finish_reasons=reasons,
            require_videos=require_videos,
            include_failed=include_failed,
            sweep_after=sweep_after_s,
            asset_name=name,
        )
        watchers = [AssetWatcher(name="tiw_online_records", trigger=trigger)]
    asset = Asset(name=name, uri=uri, group="tiw", watchers=watchers)
    if partitioned:
        asset.extra[PARTITIONED_BY] = "record_task_id"
    # For the receiver of callbacks, which knows the asset from Airflow's database alone.
    terms: dict[str, JsonValue] = {}
    if reasons is not None:
        terms["accept_finish_reasons"] = [*reasons]
    if not require_videos:
        terms["require_videos"] = False
    if terms:
        asset.extra[TERMS] = terms
    return asset


def _other_reasons(given: str | Sequence[str] | None) -> list[str] | None:
    """Return what is accepted, alike for all who mean the same; None for the default."""
    accepted = Acceptance.of(given, require_videos=True).accept_finish_reasons
    return None if accepted is None else sorted(accepted)


def _of_the_watcher(
    poll_interval_s: float, include_failed: bool, sweep_after_s: float | None
) -> dict[str, str]:
    others = {}
    if poll_interval_s != DEFAULT_POLL_INTERVAL_S:
        others["poll_interval"] = _number(poll_interval_s)
    if include_failed:
        others["include_failed"] = "true"
    if sweep_after_s != _SWEEP_AFTER_S:
        others["sweep_after"] = "never" if sweep_after_s is None else _number(sweep_after_s)
    return others


def _number(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def _seconds(name: str, value: object) -> float:
    number = seconds(name, value)
    if not number:
        raise ConfigurationError(f"{name} has to be a number of seconds above zero, not {value!r}.")
    return number


def asset_uri(
    tencentcloud_conn_id: str | None, sdk_app_id: int | None, *, partitioned: bool = False
) -> str:
    """Return the URI by which a connection's callbacks find the assets of an application.

    An asset that is not the default has it before a query, which says in what it differs.

    :param tencentcloud_conn_id: None for the environment's settings.
    :param sdk_app_id: None for the connection's own.
    :raises ConfigurationError: the connection's name is empty or no text.
    """
    given: object = tencentcloud_conn_id
    if given is not None and (not isinstance(given, str) or not given.strip()):
        raise ConfigurationError(
            f"tencentcloud_conn_id must be the name of a connection, not {shown(given)}.",
            hint="None stands for the environment's settings.",
        )
    # No connection of Airflow's can have that name.
    conn_id = "~" if tencentcloud_conn_id is None else tencentcloud_conn_id
    app = "default" if sdk_app_id is None else sdk_app_id
    tail = "by-recording" if partitioned else "finished"
    return f"tiw://{quote(conn_id, safe='')}/{app}/online-records/{tail}"
