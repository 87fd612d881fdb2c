# SPDX-License-Identifier: Apache-2.0
"""Stores asset events in Airflow's database, from within the API server.

Airflow has no public call for it there: its REST API wants a person's token. So this is the one
module that uses Airflow's inner ones, in the way its own REST endpoint does, on 3.1 to 3.3.
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

from tiw_automation.airflow.assets import asset_uri
from tiw_automation.airflow.events.announced import TELLING, TELLING_S, told_key
from tiw_automation.airflow.events.asset_events import judged, to_extra
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
# Clocks differ, Tencent's and those of Airflow's hosts.
_CLOCKS_DIFFER = timedelta(hours=1)
# Events of one asset that are looked through for one recording, from its end on; a signed post can
# be repeated at will.
_MOST_LOOKED_THROUGH = 10_000
# Event ids that are known to be stored, of all assets.
_MOST_REMEMBERED = 10_000
_STORED_WITHIN = timedelta(seconds=TELLING_S)


class BeingTold(Exception):
    """A trigger is just telling an asset of it, and Airflow has not stored that yet.

    :param told: the names of the assets that have been told all the same.
    """

    def __init__(self, told: list[str]) -> None:
        super().__init__("A watcher is about to tell of it.")
        self.told = told


class EventSink:
    """The assets of :func:`~tiw_automation.airflow.assets.tiw_online_record_asset` that DAGs use.

    All methods block; call them from a thread. What is looked for costs the same however many
    events an asset has: at most 10,000 of them are looked through.
    """

    def __init__(self) -> None:
        self._stored: OrderedDict[tuple[int, str], None] = OrderedDict()
        self._lock = threading.Lock()

    def wants(self, conn_id: str, sdk_app_id: int, own_app_id: int | None, event_id: str) -> bool:
        """Return whether there is an asset that is not known to have this event.

        A short look: at what this process has seen stored, and at the events of the last hour.
        :meth:`store` looks further.
        """
        from airflow.utils.session import create_session

        since = datetime.now(UTC) - _CLOCKS_DIFFER
        with create_session() as session:
            models = _assets(session, conn_id, sdk_app_id, own_app_id)
            return any(not self._has(session, model, event_id, since) for model in models)

    def store(
        self,
        conn_id: str,
        sdk_app_id: int,
        own_app_id: int | None,
        outcome: Outcome,
    ) -> list[str]:
        """Store an end in each asset that takes it and has not got it, and return their names.

        The next run of each DAG that uses the asset takes the event in; a DAG that is paused has
        that run when it is unpaused.

        :raises BeingTold: it has to be seen whether a trigger's event is stored; then call again.
        """
        from airflow.utils.session import create_session

        identity = event_id(sdk_app_id, outcome.task_id)
        since = _ended_at(outcome)
        stored: list[AssetModel] = []
        is_being_told = False
        with create_session() as session:
            # Before anything is read: MySQL goes on seeing what was there at its first look.
            _lock(session, _uris(conn_id, sdk_app_id, own_app_id))
            for model in _assets(session, conn_id, sdk_app_id, own_app_id):
                if self._has(session, model, identity, since):
                    continue
                end = judged(outcome, model.extra)
                if end.verdict is not Verdict.FINISHED:
                    logger.warning("%s Not told to %s.", end.message, model.name)
                    continue
                if _is_being_told(session, model, identity):
                    is_being_told = True
                    continue
                _register(session, model, end)
                if model.triggers:
                    _tell_trigger(session, model, identity)
                stored.append(model)
            names = [model.name for model in stored]
            keys = [(model.id, identity) for model in stored]
        # Only now: what is rolled back is not stored.
        self._remember(keys)
        if is_being_told:
            raise BeingTold(names)
        return names

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
    """Return a time before which a recording's end was not stored; None where it is not known."""
    stopped = outcome.record.record_stop_time if outcome.record is not None else None
    now = datetime.now(UTC)
    if not stopped or stopped < (now - _SAME_WITHIN).timestamp():
        return None
    # One that is ahead is another clock's.
    return now - timedelta(seconds=max(now.timestamp() - stopped, 0.0)) - _CLOCKS_DIFFER


def _register(session: Session, model: AssetModel, end: Outcome) -> None:
    """Store an event, and queue a run of each DAG that uses the asset."""
    from airflow.assets.manager import asset_manager

    # Airflow 3.1 has no partitions and ignores both of the last arguments.
    has_partitions = hasattr(asset_manager, "_queue_partitioned_dags")
    is_partitioned = has_partitions and _bare(model.uri).endswith("/by-recording")
    partition_key = end.task_id if is_partitioned else None
    event = asset_manager.register_asset_change(
        asset=model,
        extra=to_extra(end),
        session=session,
        partition_key=partition_key,
        source_is_api=True,
    )
    if is_partitioned and event is not None:
        _queue_paused_partitions(session, model, event, end.task_id)
    elif not is_partitioned:
        _queue(session, model)


def _uris(conn_id: str, sdk_app_id: int, own_app_id: int | None) -> list[str]:
    apps = [sdk_app_id, None] if sdk_app_id == own_app_id else [sdk_app_id]
    return [asset_uri(conn_id, app, partitioned=each) for app in apps for each in (False, True)]


def _assets(
    session: Session, conn_id: str, sdk_app_id: int, own_app_id: int | None
) -> list[AssetModel]:
    from airflow.models.asset import AssetModel

    uris = _uris(conn_id, sdk_app_id, own_app_id)
    found = select(AssetModel).where(_is_one_of(uris), AssetModel.active.has())
    # SQLite and MySQL can take "School" for "school" where they compare a beginning.
    return [model for model in session.scalars(found).unique() if _bare(model.uri) in uris]


def _bare(uri: str) -> str:
    """Return an asset's URI without what it says of its own terms."""
    return uri.partition("?")[0]


def _is_one_of(uris: list[str]) -> ColumnElement[bool]:
    from airflow.models.asset import AssetModel

    beginnings = [AssetModel.uri.startswith(f"{uri}?", autoescape=True) for uri in uris]
    return or_(AssetModel.uri.in_(uris), *beginnings)


def _lock(session: Session, uris: list[str]) -> None:
    """Let nobody else look for these assets' events until this transaction ends.

    An update that changes nothing locks the rows, or SQLite's file, on every database.
    """
    from airflow.models.asset import AssetModel

    touch = update(AssetModel).where(_is_one_of(uris)).values(uri=AssetModel.uri)
    session.execute(touch.execution_options(synchronize_session=False))
    kept = _kept()
    if kept is not None:
        # A trigger that is just saying what it tells waits, and then sees what is told here.
        ids = select(AssetModel.id).where(_is_one_of(uris))
        touch = update(kept).where(kept.asset_id.in_(ids), kept.key == TELLING)
        touch = touch.values(key=kept.key)
        session.execute(touch.execution_options(synchronize_session=False))


def _queue(session: Session, model: AssetModel) -> None:
    """Let the next run of each DAG take in this event too.

    A run takes the events up to the time in its queue row, and Airflow leaves that at the first
    event's: what comes before the scheduler looks would wait for the event after it. Airflow makes
    no row at all for a DAG that is paused; one that is there stays until it is unpaused.
    """
    from airflow.models.asset import AssetDagRunQueue

    rows = AssetDagRunQueue.asset_id == model.id
    session.flush()
    # Waits for a scheduler that is just taking the rows, and then finds none.
    session.execute(
        update(AssetDagRunQueue)
        .where(rows)
        .values(created_at=datetime.now(UTC))
        .execution_options(synchronize_session=False)
    )
    queued = set(session.scalars(select(AssetDagRunQueue.target_dag_id).where(rows)))
    for dag in _consumers(session, model):
        if dag.dag_id not in queued and not getattr(dag, "timetable_partitioned", False):
            session.add(AssetDagRunQueue(asset_id=model.id, target_dag_id=dag.dag_id))
            session.flush()


def _queue_paused_partitions(
    session: Session, model: AssetModel, event: AssetEvent, partition_key: str
) -> None:
    """Do for DAGs that are paused what Airflow has done for the others.

    Without it, the event of a partition is lost for them: no later one takes it in. Up to 3.3.2 the
    scheduler makes the run at once and starts it when the DAG is unpaused, later versions make it
    then (apache/airflow#73151).
    """
    from airflow.assets.manager import asset_manager

    dags = [d for d in _consumers(session, model) if d.is_paused and d.timetable_partitioned]
    if not dags:
        return
    given: dict[str, Any] = {
        "asset_id": model.id,
        "partition_dags": dags,
        "event": event,
        "partition_key": partition_key,
        "partition_date": None,
        "task_instance": None,
        "session": session,
    }
    queue = asset_manager._queue_partitioned_dags
    known = inspect.signature(queue).parameters
    queue(**{name: value for name, value in given.items() if name in known})


def _consumers(session: Session, model: AssetModel) -> list[DagModel]:
    """Return the DAGs that are scheduled by an asset, paused or not, each once.

    Where Airflow keeps teams apart, its own rules alone say who is started by an event.
    """
    from airflow.models.asset import (
        AssetDagRunQueue,
        DagScheduleAssetNameReference,
        DagScheduleAssetReference,
        DagScheduleAssetUriReference,
    )
    from airflow.models.dag import DagModel
    from airflow.providers.common.compat.sdk import conf

    scheduled = [
        select(DagScheduleAssetReference.dag_id).where(
            DagScheduleAssetReference.asset_id == model.id
        ),
        select(DagScheduleAssetNameReference.dag_id).where(
            DagScheduleAssetNameReference.name == model.name
        ),
        select(DagScheduleAssetUriReference.dag_id).where(
            DagScheduleAssetUriReference.uri == model.uri
        ),
    ]
    if conf.getboolean("core", "multi_team", fallback=False):
        queued = AssetDagRunQueue.asset_id == model.id
        scheduled = [select(AssetDagRunQueue.target_dag_id).where(queued)]
    is_scheduled = or_(*(DagModel.dag_id.in_(ids) for ids in scheduled))
    found = select(DagModel).where(is_scheduled, DagModel.is_stale.is_(False))
    return list(session.scalars(found.order_by(DagModel.dag_id)).unique())


def _tell_trigger(session: Session, model: AssetModel, event_id: str) -> None:
    """Leave word for a trigger that watches the same asset, so that it does not tell it again.

    It takes the word away when it meets the recording, which it may never do.
    """
    kept = _kept()
    if kept is None:
        # The event's id has to do.
        return
    from airflow._shared.state import AssetScope
    from airflow.state import get_state_backend

    old = kept.updated_at < datetime.now(UTC) - _SAME_WITHIN
    words = kept.key.startswith(told_key(""), autoescape=True)
    session.execute(
        delete(kept)
        .where(kept.asset_id == model.id, words, old)
        .execution_options(synchronize_session=False)
    )
    scope = AssetScope(asset_id=model.id)
    get_state_backend().set(scope, told_key(event_id), "true", session=session)


def _is_being_told(session: Session, model: AssetModel, event_id: str) -> bool:
    """Whether a trigger is about to tell it, or was killed in the act a moment ago."""
    kept = _kept()
    if kept is None or not model.triggers:
        return False
    mark = select(kept.value, kept.updated_at).where(kept.asset_id == model.id, kept.key == TELLING)
    found = session.execute(mark).first()
    if found is None:
        return False
    # A clock that is off makes no mark that never ages.
    age = abs(datetime.now(UTC) - found.updated_at)
    return bool(age < _STORED_WITHIN and event_id in str(found.value))


def _kept() -> type[AssetStateStoreModel] | None:
    """Return the table of what is kept for assets; Airflow 3.1 and 3.2 keep nothing."""
    try:
        from airflow.models.asset_state_store import AssetStateStoreModel
    except ImportError:
        return None
    return AssetStateStoreModel


def _has_since(session: Session, model: AssetModel, event_id: str, since: datetime | None) -> bool:
    """Whether one of an asset's events has this id; looks at a bounded number of them.

    :param since: the recording's end. Its event comes soon after it, so the oldest since then are
        looked at; for None the newest.
    """
    from airflow.models.asset import AssetEvent

    first = AssetEvent.timestamp.desc() if since is None else AssetEvent.timestamp
    # By the table's own index.
    near = (
        select(AssetEvent.extra)
        .where(
            AssetEvent.asset_id == model.id,
            AssetEvent.timestamp > (since or datetime.now(UTC) - _SAME_WITHIN),
        )
        .order_by(first)
        .limit(_MOST_LOOKED_THROUGH)
        .subquery()
    )
    same = select(near.c.extra).where(cast(near.c.extra, Text).contains(event_id)).limit(1)
    return session.execute(same).first() is not None
