# SPDX-License-Identifier: Apache-2.0
"""Reads the asset events of a real Airflow, and the state of its triggers."""

from __future__ import annotations

import json
import sqlite3
import time
import urllib.parse
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
FINISHED = "tiw://tencentcloud_default/default/online-records/finished"


def until(what: Callable[[], Any], airflow: Any, *, within_s: float = 180.0, of: str = "") -> Any:
    deadline = time.monotonic() + within_s
    while not (found := what()):
        airflow.check_alive()
        if time.monotonic() > deadline:
            raise AssertionError(f"{of or what} did not happen within {within_s} s")
        time.sleep(0.5)
    return found


def asset_of(airflow: Any, uri: str) -> dict[str, Any] | None:
    found = airflow.get(f"/assets?limit=100&uri_pattern={urllib.parse.quote(uri, safe='')}")
    return next((asset for asset in found["assets"] if asset["uri"] == uri), None)


def events_of(airflow: Any, uri: str) -> list[dict[str, Any]]:
    """Return the recordings in an asset's events, oldest first."""
    asset = asset_of(airflow, uri)
    if asset is None:
        return []
    path = f"/assets/events?asset_id={asset['id']}&order_by=timestamp&limit=100"
    found = []
    for event in patiently(airflow, path)["asset_events"]:
        extra = event["extra"].get("payload", event["extra"])
        found += extra.get("recordings", [extra])
    return found


def patiently(airflow: Any, path: str) -> Any:
    """Get an asset's events, which Airflow cannot show while a run that they started is queued.

    A queued run has no start_date, and the answer's model requires one: HTTP 500 on 3.1 to 3.3.2
    (github.com/apache/airflow/issues/71360).
    """
    for _ in range(40):
        try:
            return airflow.get(path)
        except Exception as error:
            if "HTTP 500" not in str(error):
                raise
            time.sleep(0.5)
    return airflow.get(path)


def ids_of(airflow: Any, uri: str) -> list[str]:
    return [event["record_task_id"] for event in events_of(airflow, uri)]


def remembered(airflow: Any) -> str:
    """Return the state of the triggers, from where this version of Airflow stores it."""
    if AIRFLOW < (3, 3):
        variables = airflow.get("/variables?limit=100")["variables"]
        return json.dumps([v["value"] for v in variables if v["key"].startswith("tiw_announced_")])
    database = sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=ro", uri=True)
    try:
        return json.dumps(database.execute("SELECT value FROM asset_state_store").fetchall())
    finally:
        database.close()


def published_in_runs(airflow: Any, dag_id: str, task_id: str = "published") -> list[Any]:
    """Return what a task of each finished run of a DAG pushed, oldest first."""
    runs = airflow.get(f"/dags/{dag_id}/dagRuns?order_by=run_after&limit=100")["dag_runs"]
    assert "failed" not in [run["state"] for run in runs]
    done = [run["dag_run_id"] for run in runs if run["state"] == "success"]
    return [airflow.xcom(dag_id, run_id, task_id) for run_id in done]


def set_paused(airflow: Any, dag_id: str, is_paused: bool) -> None:
    airflow.patch(f"/dags/{dag_id}", {"is_paused": is_paused})
    assert airflow.get(f"/dags/{dag_id}")["is_paused"] is is_paused


def watchers_of(airflow: Any, uri: str) -> int:
    """Return how many triggers watch an asset: none while all of its DAGs are paused."""
    asset = asset_of(airflow, uri)
    assert asset is not None
    table = "asset_trigger" if AIRFLOW < (3, 2) else "asset_watcher"
    database = sqlite3.connect(f"file:{airflow.home / 'airflow.db'}?mode=ro", uri=True)
    try:
        count = f"SELECT count(*) FROM {table} WHERE asset_id = ?"
        return int(database.execute(count, [asset["id"]]).fetchone()[0])
    finally:
        database.close()
