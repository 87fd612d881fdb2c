# SPDX-License-Identifier: Apache-2.0
"""One Airflow of real components for all tests of this folder, with the simulators behind it.

A component that a test kills must be healthy again when the test ends.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import boto3
import pytest
from connections import connection
from metric_servers import Received, statsd_server
from moto.server import ThreadedMotoServer
from real_airflow import BUCKET, CALLBACK_KEY, LINEAGE, STORE_KEY, USER_SIG_KEY

from airflow_stack import AirflowStack
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = (
    "wait_for_recording",
    "lesson_lifecycle",
    "many_recordings",
    "finished_recordings",
    "archive_recordings",
)
# Tencent allows 20; a thousand recordings would take a minute.
PER_SECOND = 100

PYTHON_TASKS = "airflow.providers.standard.decorators.python._PythonDecoratedOperator"

# Airflow's processes import it when they start. Each task is a fork of one of them, and would
# otherwise import the provider again.
LOCAL_SETTINGS = """
import tiw_automation.airflow.operators
import tiw_automation.airflow.sensors
import tiw_automation.airflow.transfers
"""

# The tests' own DAGs, beside the examples.
MORE_DAGS = '''
from datetime import timedelta

from airflow.sdk import DAG, dag, task

from tiw_automation.airflow import assets
from tiw_automation.airflow.operators import TiwStartOnlineRecordOperator

CALLED = assets.tiw_online_record_asset(tencentcloud_conn_id="callbacks", watch=False)


@dag(schedule=[CALLED], catchup=False)
def called():
    @task
    def published(triggering_asset_events=None):
        found = assets.finished_recordings(triggering_asset_events)
        return [each["record_task_id"] for each in found]

    published()


called()
with DAG("signed", schedule=None):
    TiwStartOnlineRecordOperator(
        task_id="record",
        room_id=4712,
        record_user_id="tic_record_user_4712_signed",
        record_user_sig="{{ var.value.signature }}",
        tencentcloud_conn_id="stored",
    )


class Dies(TiwStartOnlineRecordOperator):
    """Its first try fails after the recording was started, before it returns the TaskId."""

    def execute(self, context):
        started = super().execute(context)
        if context["ti"].try_number == 1:
            raise RuntimeError("out of memory, for example")
        return started


again = {
    "retries": 1,
    "retry_delay": timedelta(seconds=6),
    "tencentcloud_conn_id": "starts",
}
with DAG("lost", schedule=None):
    TiwStartOnlineRecordOperator(task_id="record", room_id=101, **again)
with DAG("dies", schedule=None):
    Dies(task_id="record", room_id=102, **again)
with DAG("kills", schedule=None):
    patient = {"tencentcloud_conn_id": "patient"}
    TiwStartOnlineRecordOperator(task_id="kept", room_id=103, **patient)
    TiwStartOnlineRecordOperator(task_id="stopped", room_id=104, stop_on_kill=True, **patient)
'''


@pytest.fixture(scope="session")
def simulator() -> Iterator[Simulator]:
    """The simulator of the default connection."""
    with Simulator(
        region="ap-guangzhou", user_sig_key=USER_SIG_KEY, stopped_seconds=3, limit=PER_SECOND
    ) as running:
        yield running


@pytest.fixture(scope="session")
def starts() -> Iterator[Simulator]:
    """Another simulator, for starts: its faults and its time do not affect the other tests."""
    with Simulator(region="ap-guangzhou", user_sig_key=USER_SIG_KEY) as running:
        yield running


@pytest.fixture(scope="session")
def s3() -> Iterator[Any]:
    """A client of an S3 on loopback, with an empty bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        client = boto3.client(
            "s3",
            endpoint_url=f"http://{host}:{port}",
            region_name="us-east-1",
            aws_access_key_id="storeid",
            aws_secret_access_key=STORE_KEY,
        )
        client.create_bucket(Bucket=BUCKET)
        yield client
    finally:
        server.stop()


@pytest.fixture(scope="session")
def statsd() -> Iterator[tuple[int, Received]]:
    """The port of a server of StatsD's protocol, and what Airflow's components report to it."""
    with statsd_server() as running:
        yield running


@pytest.fixture(scope="session")
def airflow(
    simulator: Simulator,
    starts: Simulator,
    s3: Any,
    statsd: tuple[int, Received],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[AirflowStack]:
    home = tmp_path_factory.mktemp("airflow")
    dags = home / "dags"
    dags.mkdir()
    for name in EXAMPLES:
        shutil.copy(ROOT / "dags" / f"{name}.py", dags)
    (dags / "more.py").write_text(MORE_DAGS)
    (home / "config").mkdir()
    (home / "config/airflow_local_settings.py").write_text(LOCAL_SETTINGS)
    connections = {
        "TENCENTCLOUD_DEFAULT": {
            "conn_type": "tencentcloud",
            "extra": {"user_sig_secret": USER_SIG_KEY, "requests_per_second": 0.95 * PER_SECOND},
        },
        "CALLBACKS": {"conn_type": "tencentcloud", "extra": {"callback_secret": CALLBACK_KEY}},
        "STARTS": connection(starts, user_sig_secret=USER_SIG_KEY, timeout=5),
        "PATIENT": connection(starts, user_sig_secret=USER_SIG_KEY, timeout=90),
        "STORE": {
            "conn_type": "aws",
            "login": "storeid",
            "password": STORE_KEY,
            "extra": {"endpoint_url": s3.meta.endpoint_url, "region_name": "us-east-1"},
        },
    }
    lineage = {"type": "file", "log_file_path": str(home / LINEAGE), "append": True}
    with AirflowStack(
        home,
        dags_folder=dags,
        # This repository may be Airflow's home: its plugins folder must be harmless.
        plugins_folder=ROOT / "plugins",
        environment={
            **simulator.environment(),
            **{f"AIRFLOW_CONN_{name}": json.dumps(made) for name, made in connections.items()},
            "AIRFLOW__TIW__CALLBACK_CONN_IDS": "callbacks",
            "AIRFLOW__OPENLINEAGE__TRANSPORT": json.dumps(lineage),
            "AIRFLOW__OPENLINEAGE__NAMESPACE": "lessons",
            # No test reads the lineage of Airflow's own tasks, which costs two processes a task.
            "AIRFLOW__OPENLINEAGE__DISABLED_FOR_OPERATORS": PYTHON_TASKS,
            # No DAG file changes. One that was not stored at first is read again.
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "120",
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__METRICS__STATSD_ON": str(find_spec("statsd") is not None),
            "AIRFLOW__METRICS__STATSD_HOST": "127.0.0.1",
            "AIRFLOW__METRICS__STATSD_PORT": str(statsd[0]),
            "AIRFLOW__METRICS__STATSD_INFLUXDB_ENABLED": "True",
        },
        start_timeout_s=300.0,
    ) as running:
        yield running
