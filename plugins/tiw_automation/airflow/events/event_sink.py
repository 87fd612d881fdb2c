# SPDX-License-Identifier: Apache-2.0
"""Stores asset events in Airflow's database, from within the API server.

Airflow has no public call for that there: its REST API requires a user's token. So this is the
only module that uses Airflow's internals, as Airflow's own REST endpoint does, on 3.1 to 3.4.
"""

from __future__ import annotations

import inspect
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Text, cast, delete, or_, select, update

from tiw_automation.airflow.events.asset_events import asset_uri, judge_by_terms, to_extra
from tiw_automation.airflow.events.state_store import PUBLISHING, PUBLISHING_S, published_key
from tiw_automation.core import Outcome, Verdict
from tiw_automation.core.events import event_id

if TYPE_CHECKING:
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.models.asset_state_store import AssetStateStoreModel
    from airflow.models.dag import DagModel
    from sqlalchemy.orm import Session

logger = logging.getLogger(__name__)

# How far back an event counts as the same recording's: longer than Tencent keeps its videos.
_SAME_WITHIN = timedelta(days=30)
# By how much the clocks of Tencent and of Airflow's hosts may differ.
_CLOCKS_DIFFER = timedelta(hours=1)
# The most events of one asset that are searched for one recording, from its end on: a signed
# callback can be repeated any number of times.
_MOST_SEARCHED = 10_000
# The most event ids, of all assets, that are remembered as stored.
_MOST_REMEMBERED = 10_000
_STORED_WITHIN = timedelta(seconds=PUBLISHING_S)


class BeingPublished(Exception):
    """A trigger has published the event to an asset, and Airflow has not stored it yet.

    :param stored_in: the names of the other assets, in which the event was stored.
    """

    def __init__(self, stored_in: list[str]) -> None:
        super().__init__("A watcher is publishing the same event.")
        self.stored_in = stored_in


class EventSink:
    """The assets of :func:`~tiw_automation.airflow.assets.tiw_online_record_asset` that DAGs use.

    All methods block; call them from a thread. A search for an event takes the same time however
    many events an asset has: it looks at 10,000 of them at most.

    Assets are found by the connection ``conn_id``, the recording's ``sdk_app_id`` and the
    connection's own ``own_app_id``, None where the connection has none.
    """

    def __init__(self) -> None:
        self._stored: OrderedDict[tuple[int, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def wants(self, conn_id: str, sdk_app_id: int, own_app_id: int | None, event_id: str) -> bool:
        """Return whether there is an asset that is not known to have this event.

        It searches only what this process has seen stored, and the events of the last hour.
        :meth:`store` searches further.
        """
        from airflow.utils.session import create_session

        since = datetime.now(UTC) - _CLOCKS_DIFFER
        uris = _uris(conn_id, sdk_app_id, own_app_id)
        with create_session() as session:
            return bool(self._assets_without(session, uris, event_id, since))

    def store(
        self,
        conn_id: str,
        sdk_app_id: int,
        own_app_id: int | None,
        outcome: Outcome,
    ) -> list[str]:
        """Store the event in each asset that accepts it and lacks it, and return their names.

        The next run of each DAG that uses the asset gets the event. A DAG that is paused has that
        run when it is unpaused.

        :raises BeingPublished: a trigger has published the event too; call this again later.
        """
        from airflow.utils.session import create_session

        identity = event_id(sdk_app_id, outcome.task_id)
        uris = _uris(conn_id, sdk_app_id, own_app_id)
        with create_session() as session:
            # Before the first read, because MySQL goes on showing what that read has seen.
            _lock(session, uris)
            lacking = self._assets_without(session, uris, identity, _ended_at(outcome))
            accepting = [model for model in lacking if _accepts(model, outcome)]
            pending = [m for m in accepting if _is_being_published(session, m, identity)]
            stored = [model for model in accepting if model not in pending]
            for model in stored:
                _register(session, model, judge_by_terms(outcome, model.extra))
                if model.triggers:
                    _mark_published(session, model, identity)
            names = [model.name for model in stored]
            keys = [(model.id, identity) for model in stored]
        # After the commit: what is rolled back is not stored.
        self._remember(keys)
        if pending:
            raise BeingPublished(names)
        return names

    def _assets_without(
        self, session: Session, uris: list[str], event_id: str, since: datetime | None
    ) -> list[AssetModel]:
        assets = _assets(session, uris)
        return [model for model in assets if not self._has(session, model, event_id, since)]

    def _has(
        self, session: Session, model: AssetModel, event_id: str, since: datetime | None
    ) -> bool:
        key = (model.id, event_id)
        with self._lock:
            if key in self._stored:
                self._stored.move_to_end(key)
                return True
        if not _has_since(session, model, event_id, since):
            return False
        self._remember([key])
        return True

    def _remember(self, keys: Iterable[tuple[int, str]]) -> None:
        with self._lock:
            self._stored.update(dict.fromkeys(keys))
            while len(self._stored) > _MOST_REMEMBERED:
                self._stored.popitem(last=False)


def _ended_at(outcome: Outcome) -> datetime | None:
    """Return a time before which the event was not stored; None where that is not known."""
    stopped = outcome.record.record_stop_time if outcome.record is not None else None
    now = datetime.now(UTC)
    if not stopped or stopped < (now - _SAME_WITHIN).timestamp():
        return None
    # A time that is ahead comes from another clock.
    return now - timedelta(seconds=max(now.timestamp() - stopped, 0.0)) - _CLOCKS_DIFFER


def _accepts(model: AssetModel, outcome: Outcome) -> bool:
    """Return whether a recording is finished by the asset's terms; log why not."""
    judged = judge_by_terms(outcome, model.extra)
    if judged.verdict is Verdict.FINISHED:
        return True
    logger.warning("%s Not published to %s.", judged.message, model.name)
    return False


def _register(session: Session, model: AssetModel, outcome: Outcome) -> None:
    """Store an event, and queue a run of each DAG that uses the asset."""
    from airflow.assets.manager import asset_manager

    # Airflow 3.1 has no partitions and ignores both of the last arguments.
    has_partitions = hasattr(asset_manager, "_queue_partitioned_dags")
    is_partitioned = has_partitions and _bare(model.uri).endswith("/by-recording")
    partition_key = outcome.task_id if is_partitioned else None
    event = asset_manager.register_asset_change(
        asset=model,
        extra=to_extra(outcome),
        session=session,
        partition_key=partition_key,
        source_is_api=True,
    )
    if event is None:
        return
    if is_partitioned:
        _queue_paused_partitions(session, model, event, outcome.task_id)
    else:
        _queue(session, model, event)


def _uris(conn_id: str, sdk_app_id: int, own_app_id: int | None) -> list[str]:
    """Return the URIs, without a query, that the assets of an application may have."""
    apps = [sdk_app_id, None] if sdk_app_id == own_app_id else [sdk_app_id]
    return [asset_uri(conn_id, app, partitioned=each) for app in apps for each in (False, True)]


def _assets(session: Session, uris: list[str]) -> list[AssetModel]:
    """Return the assets with these URIs that a DAG uses, whatever their query."""
    from airflow.models.asset import AssetModel

    found = select(AssetModel).where(_is_one_of(uris), AssetModel.active.has())
    # SQLite and MySQL may ignore the case in a comparison by prefix.
    return [model for model in session.scalars(found).unique() if _bare(model.uri) in uris]


def _bare(uri: str) -> str:
    """Return an asset's URI without its query, which holds the asset's options."""
    return uri.partition("?")[0]


def _is_one_of(uris: list[str]) -> ColumnElement[bool]:
    from airflow.models.asset import AssetModel

    with_query = [AssetModel.uri.startswith(f"{uri}?", autoescape=True) for uri in uris]
    return or_(AssetModel.uri.in_(uris), *with_query)


def _lock(session: Session, uris: list[str]) -> None:
    """Lock these assets against other processes' events until this transaction ends.

    An update that changes nothing locks the rows, or SQLite's file, on every database.
    """
    from airflow.models.asset import AssetModel

    touch = update(AssetModel).where(_is_one_of(uris)).values(uri=AssetModel.uri)
    session.execute(touch.execution_options(synchronize_session=False))
    state = _state_table()
    if state is not None:
        # A trigger that is claiming events waits, and then sees what is published here.
        ids = select(AssetModel.id).where(_is_one_of(uris))
        claims = update(state).where(state.asset_id.in_(ids), state.key == PUBLISHING)
        touch = claims.values(key=state.key)
        session.execute(touch.execution_options(synchronize_session=False))


def _queue(session: Session, model: AssetModel, event: AssetEvent) -> None:
    """Let the next run of each DAG include this event.

    Up to Airflow 3.3 an asset has one queue row for each DAG, and a run includes the events up to
    the row's time. Airflow leaves that at the time of the first event, so a second event before
    the scheduler's next round would be left for a later run. Since Airflow 3.4 each event has rows
    of its own. Airflow adds no row for a DAG that is paused; a row that exists stays until the DAG
    is unpaused.
    """
    from airflow.models.asset import AssetDagRunQueue

    row = {"asset_id": model.id}
    if hasattr(AssetDagRunQueue, "asset_event_id"):
        row["asset_event_id"] = event.id
    session.flush()
    # This waits for a scheduler that is consuming the rows, and then finds none. Airflow 3.1 and
    # SQLite do not lock them: what arrives while a run is created may wait for the next event.
    session.execute(
        update(AssetDagRunQueue)
        .filter_by(**row)
        .values(created_at=datetime.now(UTC))
        .execution_options(synchronize_session=False)
    )
    queued = set(session.scalars(select(AssetDagRunQueue.target_dag_id).filter_by(**row)))
    for dag in _consumers(session, model):
        if dag.dag_id not in queued and not getattr(dag, "timetable_partitioned", False):
            session.add(AssetDagRunQueue(target_dag_id=dag.dag_id, **row))
            session.flush()


def _queue_paused_partitions(
    session: Session, model: AssetModel, event: AssetEvent, partition_key: str
) -> None:
    """Queue a partition's run of the DAGs that are paused, as Airflow has done for the others.

    Otherwise the event is lost for them: no later run includes it. Up to Airflow 3.3.2 the
    scheduler creates the run at once and starts it when the DAG is unpaused; later versions create
    it then (apache/airflow#73151).
    """
    from airflow.assets.manager import asset_manager

    partitioned = [dag for dag in _consumers(session, model) if dag.timetable_partitioned]
    # Airflow 3.4 pauses a DAG that is draining once its runs have ended.
    dags = [d for d in partitioned if d.is_paused or getattr(d, "is_draining", False)]
    if not dags:
        return
    arguments: dict[str, Any] = {
        "asset_id": model.id,
        "partition_dags": dags,
        "event": event,
        "partition_key": partition_key,
        "partition_date": None,
        "task_instance": None,
        "session": session,
    }
    queue = asset_manager._queue_partitioned_dags
    # Each version of Airflow has some of these parameters.
    known = inspect.signature(queue).parameters
    queue(**{name: value for name, value in arguments.items() if name in known})


def _consumers(session: Session, model: AssetModel) -> list[DagModel]:
    """Return the DAGs that are scheduled by an asset, paused or not, each once.

    In multi-team mode these are only the DAGs that Airflow itself has queued, by its rules.
    """
    from airflow.models.asset import (
        AssetDagRunQueue,
        DagScheduleAssetNameReference,
        DagScheduleAssetReference,
        DagScheduleAssetUriReference,
    )
    from airflow.models.dag import DagModel
    from airflow.providers.common.compat.sdk import conf

    by_id, by_name = DagScheduleAssetReference, DagScheduleAssetNameReference
    by_uri, queue = DagScheduleAssetUriReference, AssetDagRunQueue
    dag_ids = [
        select(by_id.dag_id).where(by_id.asset_id == model.id),
        select(by_name.dag_id).where(by_name.name == model.name),
        select(by_uri.dag_id).where(by_uri.uri == model.uri),
    ]
    if conf.getboolean("core", "multi_team", fallback=False):
        dag_ids = [select(queue.target_dag_id).where(queue.asset_id == model.id)]
    is_scheduled = or_(*(DagModel.dag_id.in_(ids) for ids in dag_ids))
    found = select(DagModel).where(is_scheduled, DagModel.is_stale.is_(False))
    return list(session.scalars(found.order_by(DagModel.dag_id)).unique())


def _mark_published(session: Session, model: AssetModel, event_id: str) -> None:
    """Leave a key for the triggers of the same asset, so that they do not publish the event too.

    A trigger removes the key when it finds the recording, which it may never do: so keys that are
    old are removed here.
    """
    state = _state_table()
    if state is None:
        # Before Airflow 3.3 only the event's id shows that it is the same.
        return
    from airflow._shared.state import AssetScope
    from airflow.state import get_state_backend

    is_old = state.updated_at < datetime.now(UTC) - _SAME_WITHIN
    is_ours = state.key.startswith(published_key(""), autoescape=True)
    session.execute(
        delete(state)
        .where(state.asset_id == model.id, is_ours, is_old)
        .execution_options(synchronize_session=False)
    )
    scope = AssetScope(asset_id=model.id)
    get_state_backend().set(scope, published_key(event_id), "true", session=session)


def _is_being_published(session: Session, model: AssetModel, event_id: str) -> bool:
    """Whether a trigger has claimed the event within the last 30 seconds."""
    state = _state_table()
    if state is None or not model.triggers:
        return False
    claims = select(state.value, state.updated_at).where(
        state.asset_id == model.id, state.key == PUBLISHING
    )
    found = session.execute(claims).first()
    if found is None:
        return False
    # Absolute, so that a claim from a clock that is ahead expires too.
    age = abs(datetime.now(UTC) - found.updated_at)
    return bool(age < _STORED_WITHIN and event_id in str(found.value))


def _state_table() -> type[AssetStateStoreModel] | None:
    """Return the table of the assets' state; Airflow 3.1 and 3.2 have none."""
    try:
        from airflow.models.asset_state_store import AssetStateStoreModel
    except ImportError:
        return None
    return AssetStateStoreModel


def _has_since(session: Session, model: AssetModel, event_id: str, since: datetime | None) -> bool:
    """Whether one of an asset's events has this id, among a limited number of them.

    :param since: the recording's end. Its event follows soon, so the oldest events since then are
        searched; for None the newest.
    """
    from airflow.models.asset import AssetEvent

    first = AssetEvent.timestamp.desc() if since is None else AssetEvent.timestamp
    # These conditions use an index of the table.
    near = (
        select(AssetEvent.extra)
        .where(
            AssetEvent.asset_id == model.id,
            AssetEvent.timestamp > (since or datetime.now(UTC) - _SAME_WITHIN),
        )
        .order_by(first)
        .limit(_MOST_SEARCHED)
        .subquery()
    )
    same = select(near.c.extra).where(cast(near.c.extra, Text).contains(event_id)).limit(1)
    return session.execute(same).first() is not None
