# SPDX-License-Identifier: Apache-2.0
"""The events that the receiver of callbacks stores, in Airflow's own tables."""

from __future__ import annotations

import contextlib
import importlib
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset
from sqlalchemy import delete, event, func, select, update

from tiw_automation.airflow import assets
from tiw_automation.airflow.events import event_sink
from tiw_automation.airflow.events.asset_events import TERMS, to_extra
from tiw_automation.airflow.events.event_sink import EventSink
from tiw_automation.core import OnlineRecord, Outcome, Verdict
from tiw_automation.core.events.record_events import event_id

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
APPLICATION: tuple[str, int, int | None] = ("school", 14, 14)
DAGS = """
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import Asset, dag
from tiw_automation.airflow import assets

CALLED = assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False)
EACH = assets.tiw_online_record_asset(tencentcloud_conn_id="school", partitioned=True)


def scheduled_by(name, schedule, paused):
    @dag(dag_id=name, schedule=schedule, catchup=False, is_paused_upon_creation=paused)
    def dag_():
        EmptyOperator(task_id="nothing")
    dag_()


for paused in (False, True):
    scheduled_by(f"called_{paused}", [CALLED], paused)
    scheduled_by(f"by_uri_{paused}", [Asset.ref(uri=CALLED.uri)], paused)
    scheduled_by(f"by_name_{paused}", [Asset.ref(name=CALLED.name)], paused)
    each = [EACH]
    if PARTITIONS:
        from airflow.sdk import PartitionedAssetTimetable

        each = PartitionedAssetTimetable(assets=EACH)
    scheduled_by(f"each_{paused}", each, paused)
"""


def end_of(task_id: str, stopped_at: float | None = None) -> Outcome:
    answer = {
        "Status": "FINISHED",
        "FinishReason": "AUTO",
        "RecordStopTime": None if stopped_at is None else int(stopped_at),
        "VideoInfos": [{"VideoUrl": "https://v.example/1.mp4"}],
    }
    record = OnlineRecord.from_response(answer, sdk_app_id=14, task_id=task_id)
    return Outcome(14, task_id, Verdict.FINISHED, record)


@pytest.fixture
def dags(tables: None, tmp_path: Path) -> Iterator[None]:
    """The DAGs of this module in Airflow's tables, as its DAG processor writes them."""
    where = "airflow.dag_processing.dagbag" if AIRFLOW >= (3, 2) else "airflow.models.dagbag"
    files = importlib.import_module(where)
    from airflow.models.base import Base
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.session import create_session

    (tmp_path / "dags.py").write_text(f"PARTITIONS = {AIRFLOW >= (3, 2)}\n{DAGS}")
    with create_session() as session:
        session.add(DagBundleModel(name="tests"))
    names: dict[str, Any] = {"bundle_name": "tests"} if AIRFLOW >= (3, 2) else {}
    bag = files.DagBag(str(tmp_path), bundle_path=tmp_path, **names)
    assert not bag.import_errors
    files.sync_bag_to_db(bag, "tests", None)
    yield
    with create_session() as session:
        for table in reversed(Base.metadata.sorted_tables):
            session.execute(delete(table))


def queued() -> dict[str, datetime]:
    """Return the DAGs whose next run is queued, and the time up to which it includes events."""
    from airflow.models.asset import AssetDagRunQueue
    from airflow.utils.session import create_session

    with create_session() as session:
        rows = select(AssetDagRunQueue.target_dag_id, AssetDagRunQueue.created_at)
        return {row[0]: row[1] for row in session.execute(rows)}


def unpause_all() -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        session.execute(update(DagModel).values(is_paused=False))


def needing_runs() -> set[str]:
    """Return the DAGs for which Airflow's scheduler would create a run by assets."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        dags, _ = DagModel.dags_needing_dagruns(session)
        return {dag.dag_id for dag in dags}


def test_a_paused_dag_has_its_run_after_it_is_unpaused(dags: None) -> None:
    names = {f"{kind}_{paused}" for kind in ("called", "by_uri", "by_name") for paused in "FT"}
    names = {name.replace("_F", "_False").replace("_T", "_True") for name in names}
    if AIRFLOW < (3, 2):
        names |= {"each_False", "each_True"}
    assert len(EventSink().store(*APPLICATION, end_of("algebra", time.time()))) == 2
    first = queued()
    assert set(first) == names
    assert needing_runs() == {name for name in names if name.endswith("False")}
    # One run includes both events: the time of the row is that of the last event.
    EventSink().store(*APPLICATION, end_of("history", time.time()))
    assert all(queued()[name] > at for name, at in first.items())
    unpause_all()
    assert needing_runs() == names


@pytest.mark.skipif(AIRFLOW < (3, 2), reason="Airflow 3.2 has partitions")
def test_a_paused_dag_has_the_run_of_each_partition(dags: None) -> None:
    from airflow.models.asset import AssetPartitionDagRun
    from airflow.utils.session import create_session

    for task_id in ("algebra", "history", "algebra"):
        EventSink().store(*APPLICATION, end_of(task_id, time.time()))
    with create_session() as session:
        rows = select(AssetPartitionDagRun.target_dag_id, AssetPartitionDagRun.partition_key)
        found = sorted(tuple(row) for row in session.execute(rows))
    expected = [(f"each_{p}", i) for p in (False, True) for i in ("algebra", "history")]
    assert found == sorted(expected)


def test_a_removed_dag_gets_no_run(dags: None) -> None:
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session

    with create_session() as session:
        gone = DagModel.dag_id.in_(["called_True", "each_True"])
        session.execute(update(DagModel).where(gone).values(is_stale=True))
    EventSink().store(*APPLICATION, end_of("algebra", time.time()))
    assert "called_True" not in queued()
    assert "by_uri_True" in queued()


# Whether an event is stored


def fill(asset_id: int, count: int, first: datetime, last: datetime) -> None:
    """Give an asset that many events of other recordings, spread evenly over a time."""
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    step = (last - first) / count
    rows = [
        {
            "asset_id": asset_id,
            "timestamp": first + step * n,
            "extra": to_extra(end_of(f"other-{asset_id}-{n}")),
        }
        for n in range(count)
    ]
    with create_session() as session:
        session.execute(AssetEvent.__table__.insert(), rows)


def stored_ids(asset_id: int) -> int:
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        count = select(func.count(AssetEvent.id)).where(AssetEvent.asset_id == asset_id)
        return session.scalar(count) or 0


def test_a_stored_event_is_found_by_another_process(use: Callable[[Asset], int]) -> None:
    asset_id = use(assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False))
    now = time.time()
    for stopped_at in (now, now - 86400, now + 9000, None, 0, 7):
        end = end_of(f"stopped-{stopped_at}", stopped_at)
        before = stored_ids(asset_id)
        assert len(EventSink().store(*APPLICATION, end)) == 1
        # Another process remembers nothing.
        assert EventSink().store(*APPLICATION, end) == []
        assert stored_ids(asset_id) == before + 1
        assert not EventSink().wants(*APPLICATION, event_id(14, end.task_id))


def test_an_old_event_is_found_among_many_newer_ones(
    use: Callable[[Asset], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sink, "_MOST_SEARCHED", 200)
    asset_id = use(assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False))
    now = datetime.now(UTC)
    end = end_of("old", (now - timedelta(days=20)).timestamp())
    assert len(EventSink().store(*APPLICATION, end)) == 1
    from airflow.models.asset import AssetEvent
    from airflow.utils.session import create_session

    with create_session() as session:
        moved = now - timedelta(days=20) + timedelta(minutes=1)
        session.execute(update(AssetEvent).values(timestamp=moved))
    fill(asset_id, 300, now - timedelta(days=19), now)
    assert EventSink().store(*APPLICATION, end) == []


@contextlib.contextmanager
def counted_comparisons() -> Iterator[list[str]]:
    """Yield the texts that SQLite compares by LIKE, row by row."""
    from airflow import settings

    compared: list[str] = []

    def like(pattern: str, text: str, escape: str = "") -> bool:
        compared.append(text)
        plain = re.sub(f"{re.escape(escape)}(.)", r"\1", pattern) if escape else pattern
        return plain.strip("%") in text

    def prepare(_: Any, record: Any, __: Any) -> None:
        for arguments in (2, 3):
            record.driver_connection.create_function("like", arguments, like)

    assert settings.engine is not None
    event.listen(settings.engine.pool, "checkout", prepare)
    try:
        yield compared
    finally:
        event.remove(settings.engine.pool, "checkout", prepare)
        settings.engine.dispose()


def test_a_search_is_limited_however_many_events_there_are(
    use: Callable[[Asset], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sink, "_MOST_SEARCHED", 500)
    now = datetime.now(UTC)
    many = use(assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False))
    few = use(assets.tiw_online_record_asset(tencentcloud_conn_id="other", watch=False))
    fill(many, 2_000, now - timedelta(minutes=50), now)
    fill(few, 400, now - timedelta(minutes=50), now)
    sink = EventSink()
    compared: dict[str, int] = {}
    for conn_id in ("school", "other"):
        with counted_comparisons() as rows:
            assert sink.wants(conn_id, 14, 14, event_id(14, "absent"))
            # The URIs of the assets are compared too.
            compared[conn_id] = len([text for text in rows if "event_id" in text])
    assert compared == {"school": 500, "other": 400}
    # For any age of the recording, known or not.
    for stopped_at in (time.time(), time.time() - 20 * 86400, None):
        with counted_comparisons() as rows:
            sink.store("school", 14, 14, end_of(f"new-{stopped_at}", stopped_at))
            assert len([text for text in rows if "event_id" in text]) <= 500


def test_an_event_of_this_process_is_not_searched_for(use: Callable[[Asset], int]) -> None:
    use(assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False))
    sink, end = EventSink(), end_of("algebra", time.time())
    assert len(sink.store(*APPLICATION, end)) == 1
    with counted_comparisons() as rows:
        for _ in range(20):
            assert not sink.wants(*APPLICATION, event_id(14, "algebra"))
            assert sink.store(*APPLICATION, end) == []
    assert [text for text in rows if "event_id" in text] == []


def test_the_number_of_remembered_events_is_limited(
    use: Callable[[Asset], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_sink, "_MOST_REMEMBERED", 3)
    use(assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False))
    sink = EventSink()
    for number in range(5):
        sink.store(*APPLICATION, end_of(f"lesson-{number}", time.time()))
    assert len(sink._stored) == 3


def test_an_event_that_was_rolled_back_is_not_remembered(
    use: Callable[[Asset], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    asset_id = use(assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False))
    sink, end = EventSink(), end_of("algebra", time.time())

    def fail(*_: Any) -> None:
        raise OSError("the database is away")

    with monkeypatch.context() as patched:
        patched.setattr(event_sink, "_queue", fail)
        with pytest.raises(OSError, match="away"):
            sink.store(*APPLICATION, end)
    assert stored_ids(asset_id) == 0
    assert len(sink.store(*APPLICATION, end)) == 1


@pytest.mark.parametrize(
    "terms",
    [
        7,
        "x",
        [],
        {"accept_finish_reasons": 7},
        {"accept_finish_reasons": ["not a reason"]},
        {"new": 1},
    ],
)
def test_invalid_terms_are_the_default_terms(
    terms: Any, use: Callable[[Asset], int], caplog: pytest.LogCaptureFixture
) -> None:
    asset = assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False)
    asset.extra[TERMS] = terms
    use(asset)
    assert len(EventSink().store(*APPLICATION, end_of("algebra", time.time()))) == 1
