# SPDX-License-Identifier: Apache-2.0
"""The data of an asset event: the same form and ids, whatever publishes it.

The event trigger, the tasks that wait and the receiver of callbacks give the same recording the
same ``event_id``, so that a DAG can recognise a recording that it has already seen.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote

from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    OnlineRecord,
    Outcome,
    TiwError,
    Verdict,
    check_sdk_app_id,
    judge,
    metrics,
)
from tiw_automation.core.events import end_id
from tiw_automation.core.formatting import shown
from tiw_automation.core.records import DEFAULT_ACCEPTANCE, public_record

logger = logging.getLogger(__name__)

PARTITIONED_BY = "tiw_partitioned_by"
"""The key in an asset's ``extra`` that asks for a partition for each recording."""
TERMS = "tiw_terms"
"""The key in an asset's ``extra`` that holds its terms: which recordings are not a failure."""


def judge_by_terms(outcome: Outcome, asset_extra: Mapping[str, Any]) -> Outcome:
    """Return the outcome of a recording by an asset's terms."""
    if outcome.record is None or outcome.error is not None:
        return outcome
    acceptance = _terms(asset_extra)
    return judge(outcome.sdk_app_id, outcome.task_id, outcome.record, acceptance)


def _terms(asset_extra: Any) -> Acceptance:
    """Return an asset's terms; the default terms, with a warning, where they are invalid."""
    given = asset_extra.get(TERMS) if isinstance(asset_extra, Mapping) else None
    if given is None:
        return DEFAULT_ACCEPTANCE
    try:
        reasons = given.get("accept_finish_reasons")
        return _acceptance(
            tuple(reasons) if isinstance(reasons, list) else reasons,
            given.get("require_videos", True) is not False,
        )
    except (AttributeError, TypeError, ConfigurationError) as error:
        logger.warning("An asset's %s are invalid and ignored: %s", TERMS, error)
        return DEFAULT_ACCEPTANCE


@lru_cache(maxsize=64)
def _acceptance(reasons: Any, require_videos: bool) -> Acceptance:
    # Made once for the same terms, because it warns of each unknown reason.
    return Acceptance.of(reasons, require_videos)


def to_extra(outcome: Outcome, *, with_record: bool = True) -> dict[str, Any]:
    """Return the JSON-native data of one recording's event.

    :param with_record: whether it includes the record. The record's URLs have no query string:
        that may hold a signature, and Airflow logs events and stores them unencrypted.
    """
    record = outcome.record if with_record else None
    return {
        "event_id": end_id(outcome),
        "sdk_app_id": outcome.sdk_app_id,
        "record_task_id": outcome.task_id,
        "verdict": outcome.verdict.value,
        "message": outcome.message,
        "record": None if record is None else public_record(record),
    }


def to_event(extras: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return one event's data for any number of recordings."""
    return extras[0] if len(extras) == 1 else {"recordings": list(extras)}


def finished_recordings(events: Any) -> list[dict[str, Any]]:
    """Return the recordings of a run's asset events, each once, oldest first.

    Each is a dictionary with ``event_id, sdk_app_id, record_task_id, verdict, message, record``.
    ``record`` is the record without the query strings of its URLs. It is None where one task
    published several recordings: get it by :class:`TiwDescribeOnlineRecordOperator`. The events of
    :class:`TiwOnlineRecordToObjectStorageOperator` are read too; they also hold the paths.

    Events without a recording, such as the one that starts a DAG after it was unpaused, and events
    of another form on the same asset are ignored.

    :param events: ``triggering_asset_events`` of the task's context, or a list of events. None,
        which a manual run has, means no events.
    :raises ConfigurationError: ``events`` is something else.
    """
    if isinstance(events, Mapping):
        events = [event for of_one_asset in events.values() for event in of_one_asset or ()]
    if events is not None and (
        isinstance(events, (str, bytes)) or not isinstance(events, Iterable)
    ):
        raise ConfigurationError(
            f"Asset events must be a list, not {type(events).__name__}.",
            hint='Give context["triggering_asset_events"].',
        )
    found: dict[str, dict[str, Any]] = {}
    for event in events or ():
        for recording in _recordings_of(event):
            known = found.setdefault(recording["event_id"], recording)
            if known["record"] is None:
                found[recording["event_id"]] = recording
    return list(found.values())


def publish_to_outlets(
    outlets: Iterable[Any], outlet_events: Any, records: Sequence[OnlineRecord]
) -> None:
    """Fill the events of a task's outlets, which Airflow publishes if the task succeeds.

    The event of one recording holds its record; the event of several holds their ids. An outlet of
    :func:`~tiw_automation.airflow.assets.tiw_online_record_asset` with ``partitioned=True`` gets
    an event for each recording, with its id as the partition.

    :param outlets: the task's outlets; asset aliases and references are skipped.
    :param outlet_events: ``outlet_events`` of the task's context.
    :param records: the recordings that have finished; an empty list changes nothing.
    """
    if not records:
        return
    ends = [Outcome(r.sdk_app_id, r.task_id, Verdict.FINISHED, r) for r in records]
    alone = len(ends) == 1
    for outlet in outlets:
        extra = getattr(outlet, "extra", None)
        if not isinstance(extra, MutableMapping) or not hasattr(outlet, "uri"):
            continue
        event = outlet_events[outlet]
        if alone:
            event.extra = to_extra(ends[0])
        elif PARTITIONED_BY in extra:
            # All partitions of a task share one extra: a list in it would grow by the square.
            event.extra = {"sdk_app_id": ends[0].sdk_app_id}
        else:
            event.extra = to_event([to_extra(end, with_record=False) for end in ends])
        if PARTITIONED_BY in extra:
            event.add_partitions([end.task_id for end in ends])
        metrics.report("tiw.events.published", len(ends), source="task")


def tell_outlets(
    outlets: Iterable[Any], outlet_events: Any, records: Sequence[OnlineRecord]
) -> None:
    """Do the same as :func:`publish_to_outlets`, by its name in 0.1."""
    warnings.warn("tell_outlets is now publish_to_outlets.", DeprecationWarning, stacklevel=2)
    publish_to_outlets(outlets, outlet_events, records)


def _recordings_of(event: Any) -> list[dict[str, Any]]:
    extra = getattr(event, "extra", None)
    if isinstance(extra, Mapping) and extra.get("from_trigger"):
        extra = extra.get("payload")
    if not isinstance(extra, Mapping):
        return []
    if "event_id" in extra:
        return [dict(extra)] if _is_recording(extra) else []
    if isinstance(extra.get("recordings"), (list, tuple)):
        return [dict(each) for each in extra["recordings"] if _is_recording(each)]
    if isinstance(extra.get("records"), (list, tuple)) and "paths" in extra:
        return list(filter(None, map(_archived, extra["records"])))
    task_id = getattr(event, "partition_key", None)
    if task_id and "sdk_app_id" in extra:
        try:
            app_id = check_sdk_app_id(extra["sdk_app_id"])
        except ConfigurationError:
            return []
        outcome = Outcome(app_id, task_id, Verdict.FINISHED)
        return [{**to_extra(outcome), "message": f"Recording {task_id} is FINISHED."}]
    # An event of another form, which is not ours.
    return []


def _is_recording(data: Any) -> bool:
    return (
        isinstance(data, Mapping)
        and isinstance(data.get("event_id"), str)
        and isinstance(data.get("record_task_id"), str)
        and "record" in data
    )


def _archived(record: Any) -> dict[str, Any] | None:
    try:
        known = OnlineRecord.from_dict(record)
        if not known.task_id or not known.sdk_app_id:
            return None
        return to_extra(Outcome(known.sdk_app_id, known.task_id, Verdict.FINISHED, known))
    except (AttributeError, TypeError, ValueError, TiwError):
        return None


def asset_uri(
    tencentcloud_conn_id: str | None, sdk_app_id: int | None, *, partitioned: bool = False
) -> str:
    """Return the URI by which a connection's callbacks find the assets of an application.

    An asset with other arguments has this URI and a query, which names them.

    :param tencentcloud_conn_id: None for the environment's settings.
    :param sdk_app_id: None for the connection's own.
    :raises ConfigurationError: the connection's name is empty or not a text.
    """
    given: object = tencentcloud_conn_id
    if given is not None and (not isinstance(given, str) or not given.strip()):
        raise ConfigurationError(
            f"tencentcloud_conn_id must be the name of a connection, not {shown(given)}.",
            hint="None stands for the environment's settings.",
        )
    # An Airflow connection cannot have this name.
    conn_id = "~" if tencentcloud_conn_id is None else tencentcloud_conn_id
    app = "default" if sdk_app_id is None else sdk_app_id
    tail = "by-recording" if partitioned else "finished"
    return f"tiw://{quote(conn_id, safe='')}/{app}/online-records/{tail}"
