# SPDX-License-Identifier: Apache-2.0
"""Stores asset events in Airflow's database, from within the API server.

Airflow has no public call for it there: its REST API wants a person's token. So this is the one
module that uses Airflow's inner ones, in the way its own REST endpoint does, on 3.1 to 3.3.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Text, cast, delete, or_, select, update

from tiw_automation.airflow.announced import TELLING, TELLING_S, told_key
from tiw_automation.airflow.asset_events import judged, to_extra
from tiw_automation.airflow.assets import asset_uri
from tiw_automation.core import Outcome, Verdict
from tiw_automation.core.record_events import event_id

if TYPE_CHECKING:
    from airflow.models.asset import AssetModel
    from airflow.models.asset_state_store import AssetStateStoreModel
    from sqlalchemy.orm import Session

logger = logging.getLogger(__name__)

# How far back an event counts as the same recording's: longer than Tencent keeps its videos.
_SAME_WITHIN = timedelta(days=30)
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

    All methods block; call them from a thread.
    """

    def wants(self, conn_id: str, sdk_app_id: int, own_app_id: int | None, event_id: str) -> bool:
        """Return whether there is an asset that has not got this event yet."""
        from airflow.utils.session import create_session

        with create_session() as session:
            models = _assets(session, conn_id, sdk_app_id, own_app_id)
            return any(not _has(session, model, event_id) for model in models)

    def store(
        self,
        conn_id: str,
        sdk_app_id: int,
        own_app_id: int | None,
        outcome: Outcome,
    ) -> list[str]:
        """Store an end in each asset that takes it and has not got it, and return their names.

        :raises BeingTold: it has to be seen whether a trigger's event is stored; then call again.
        """
        from airflow.assets.manager import asset_manager
        from airflow.utils.session import create_session

        identity = event_id(sdk_app_id, outcome.task_id)
        told = []
        is_being_told = False
        with create_session() as session:
            # Before anything is read: MySQL goes on seeing what was there at its first look.
            _lock(session, _uris(conn_id, sdk_app_id, own_app_id))
            for model in _assets(session, conn_id, sdk_app_id, own_app_id):
                if _has(session, model, identity):
                    continue
                end = judged(outcome, model.extra)
                if end.verdict is not Verdict.FINISHED:
                    logger.warning("%s Not told to %s.", end.message, model.name)
                    continue
                if _is_being_told(session, model, identity):
                    is_being_told = True
                    continue
                # Airflow 3.1 has no partitions and ignores both of the last arguments.
                partitioned = _bare(model.uri).endswith("/by-recording")
                asset_manager.register_asset_change(
                    asset=model,
                    extra=to_extra(end),
                    session=session,
                    partition_key=outcome.task_id if partitioned else None,
                    source_is_api=True,
                )
                if not partitioned:
                    _queue(session, model)
                if model.triggers:
                    _tell_trigger(session, model, identity)
                told.append(model.name)
        if is_being_told:
            raise BeingTold(told)
        return told


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
    event's: what comes before the scheduler looks would wait for the event after it.
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
    for reference in model.scheduled_dags:
        of_partitions = getattr(reference.dag, "timetable_partitioned", False)
        if reference.dag_id not in queued and not reference.dag.is_paused and not of_partitions:
            session.add(AssetDagRunQueue(asset_id=model.id, target_dag_id=reference.dag_id))
            session.flush()


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
    return age < _STORED_WITHIN and event_id in found.value


def _kept() -> type[AssetStateStoreModel] | None:
    """Return the table of what is kept for assets; Airflow 3.1 and 3.2 keep nothing."""
    try:
        from airflow.models.asset_state_store import AssetStateStoreModel
    except ImportError:
        return None
    return AssetStateStoreModel


def _has(session: Session, model: AssetModel, event_id: str) -> bool:
    from airflow.models.asset import AssetEvent

    since = datetime.now(UTC) - _SAME_WITHIN
    same = select(AssetEvent.id).where(
        AssetEvent.asset_id == model.id,
        AssetEvent.timestamp > since,
        cast(AssetEvent.extra, Text).contains(event_id),
    )
    return session.execute(same.limit(1)).first() is not None
