# SPDX-License-Identifier: Apache-2.0
"""The tests' own Airflow home, set before anything imports Airflow."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pytest
from connections import connection

from tiw_automation.simulator import Simulator

if TYPE_CHECKING:
    from airflow.sdk import Asset
    from supervisors import Supervisor

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
_HOME = tempfile.TemporaryDirectory(prefix="tiw-airflow-")
os.environ["AIRFLOW_HOME"] = _HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"


@pytest.fixture(scope="session", autouse=True)
def main_loop() -> Iterator[None]:
    """Give the main thread a loop: pytest-asyncio 1.3 would make one, and never close it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    loop.close()


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Return a function that makes a connection for a simulator."""

    def make(simulator: Simulator, name: str = "tencentcloud_default", **changes: object) -> None:
        extra = {"sdk_app_id": simulator.sdk_app_id}
        extra.update(changes.pop("extra", {}))  # type: ignore[call-overload]
        made = {**connection(simulator), **changes, "extra": extra}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(made))

    return make


@pytest.fixture
def break_secrets(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Return a function that gives Airflow a secrets backend that is down."""

    def give() -> None:
        monkeypatch.setenv("AIRFLOW__SECRETS__BACKEND", "supervisors.BrokenBackend")
        _forget_secrets_backends()

    yield give
    monkeypatch.delenv("AIRFLOW__SECRETS__BACKEND", raising=False)
    _forget_secrets_backends()


def _forget_secrets_backends() -> None:
    try:
        from airflow.sdk import configuration
    except ImportError:
        return

    # Before Airflow 3.3 they are created anew each time.
    getattr(configuration, "clear_secrets_backends_cache", lambda: None)()


@pytest.fixture
def supervised(tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    """Return a supervisor with two connections; the environment has another account's keys."""
    from airflow.sdk.execution_time import task_runner
    from supervisors import Supervisor

    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", "AKIDofanotheraccount")
    known = connection(tiw_simulator)
    made = Supervisor(tencentcloud_default=known, mine=known)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", made, raising=False)
    return made


@pytest.fixture(scope="module")
def tables() -> Iterator[None]:
    from airflow import models, settings
    from airflow.models.base import Base

    models.import_all_models()  # type: ignore[no-untyped-call]
    Base.metadata.create_all(settings.engine)
    yield
    Base.metadata.drop_all(settings.engine)


@pytest.fixture
def use(tables: None) -> Iterator[Callable[[Asset], int]]:
    """Return a function that registers an asset as used by a DAG, and returns its id."""
    from airflow.models.asset import AssetActive, AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    def make(asset: Asset) -> int:
        with create_session() as session:
            extra = json.loads(json.dumps(asset.extra))
            model = AssetModel(name=asset.name, uri=asset.uri, group=asset.group, extra=extra)
            session.add(model)
            session.flush()
            session.add(AssetActive.for_asset(model))
            return model.id

    yield make
    used: list[Any] = [AssetEvent, AssetActive, AssetModel]
    if AIRFLOW >= (3, 3):
        from airflow.models.asset import AssetWatcherModel
        from airflow.models.asset_state_store import AssetStateStoreModel
        from airflow.models.trigger import Trigger

        used = [AssetStateStoreModel, AssetWatcherModel, Trigger, *used]
    with create_session() as session:
        for table in used:
            session.execute(delete(table))
