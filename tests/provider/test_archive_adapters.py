# SPDX-License-Identifier: Apache-2.0
"""One archive for Python, Airflow's operator and Ansible's module, in every order.

A run of ``ansible-playbook`` takes seconds, so one playbook serves all cases.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import pytest
import video_server as videos
from moto.server import ThreadedMotoServer
from page_blocks import blocks_for

from tiw_automation.airflow.transfers import TiwOnlineRecordToObjectStorageOperator
from tiw_automation.core import OnlineRecord, Video
from tiw_automation.core.archive import LocalStorage, RecordArchive, storage_for, verify

pytest.importorskip("ansible", reason="Ansible is in the environment of the newest Airflow")

ROOT = Path(__file__).resolve().parents[2]
CONTENT = bytes(range(256)) * 2000
PAIRS = list(itertools.permutations(("python", "airflow", "ansible"), 2))
HERE = ["127.0.0.1"]

Record = dict[str, Any]


@pytest.fixture(scope="module")
def server() -> Iterator[Any]:
    with videos.video_server() as running:
        yield running


def recording(server: Any, task_id: str, *behaviours: Any, count: int = 1) -> Record:
    """Return a recording with videos of the server, as the sensor pushes it."""
    found = []
    for name in range(count):
        url = server.put(f"{task_id}/{name}.mp4", CONTENT, *behaviours)
        found.append(Video(str(name), url, "mp4", 2, "teacher", 0, 1000, len(CONTENT), 320, 240))
    record = OnlineRecord(
        sdk_app_id=1400000001, task_id=task_id, status="FINISHED", videos=tuple(found)
    )
    data: Record = json.loads(json.dumps(record.to_dict()))
    return data


def requested(server: Any) -> Counter[str]:
    """Return how often each video was requested."""
    return Counter(path.partition("?")[0] for path, _ in list(server.requests))


# The adapters


def run_python(place: str, records: list[Record]) -> None:
    RecordArchive(storage_for(place), hosts=HERE).run(map(OnlineRecord.from_dict, records))


def run_airflow(place: str, records: list[Record]) -> None:
    url = place if "://" in place else f"file://{place}"
    TiwOnlineRecordToObjectStorageOperator(
        task_id="archive", destination=url, records=records, hosts=HERE
    ).execute({})


def step(place: str, records: list[Record], *, changed: bool) -> list[dict[str, Any]]:
    """Return the tasks of a playbook that archive recordings and check whether that was needed."""
    module = {"folder": place, "records": records, "hosts": HERE, "progress_interval": 0}
    return [
        {"tiw.automation.online_record_archive": module, "register": "done"},
        {"ansible.builtin.assert": {"that": f"done.changed == {changed}"}},
    ]


def play(folder: Path, *steps: list[dict[str, Any]]) -> None:
    """Run a playbook on this machine, without its environment."""
    folder.mkdir()
    book, tasks = folder / "play.yml", [task for one in steps for task in one]
    target = {"hosts": "localhost", "connection": "local", "gather_facts": False}
    python = {"ansible_python_interpreter": sys.executable}
    book.write_text(json.dumps([{**target, "vars": python, "tasks": tasks}]))
    environment = {
        **{name: value for name, value in os.environ.items() if name in ("PATH", "PYTHONPATH")},
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "HOME": str(folder),
        "LC_ALL": "C.UTF-8",
    }
    # As the program ansible-playbook, which may not be on the path.
    command = [sys.executable, "-m", "ansible", "playbook", str(book)]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


# What every archive must be


def check_folder(folder: Path, *records: Record) -> None:
    """Check that there is one manifest a recording, each video whole, and nothing else."""
    findings = list(verify(LocalStorage(folder)))
    assert {one.state for one in findings} == {"whole"}
    expected = [f"{record['task_id']}/manifest.json" for record in records]
    expected += [
        f"{record['task_id']}/whiteboard-{video['id']}.mp4"
        for record in records
        for video in record["videos"]
    ]
    paths = list(folder.rglob("*"))
    files = [path for path in paths if path.is_file()]
    assert sorted(str(path.relative_to(folder)) for path in files) == sorted(expected)
    assert {oct(path.stat().st_mode & 0o777) for path in files} == {"0o640"}
    folders = [folder, *(path for path in paths if path.is_dir())]
    assert {oct(path.stat().st_mode & 0o777) for path in folders} == {"0o750"}


# One after the other


@pytest.fixture(scope="module")
def archives(server: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[Any, Any]:
    """Archive one recording by each pair, in a folder of its own: the folder and the recording."""
    top = tmp_path_factory.mktemp("pairs")
    cases = {
        pair: (top / "-".join(pair), recording(server, "-then-".join(pair), count=2))
        for pair in PAIRS
    }
    run: dict[str, Callable[[str, list[Record]], None]] = {
        "python": run_python,
        "airflow": run_airflow,
    }
    steps = []
    for (first, second), (folder, record) in cases.items():
        if first in run:
            run[first](str(folder), [record])
        if "ansible" in (first, second):
            # Another spelling of the same folder.
            steps.append(step(f"{top}//./{folder.name}/", [record], changed=first == "ansible"))
    play(top / "play", *steps)
    for (_, second), (folder, record) in cases.items():
        if second in run:
            run[second](str(folder), [record])
    return cases


@pytest.mark.parametrize("pair", PAIRS, ids="-then-".join)
def test_one_after_the_other(server: Any, archives: dict[Any, Any], pair: tuple[str, str]) -> None:
    folder, record = archives[pair]
    check_folder(folder, record)
    counts = requested(server)
    paths = [f"/{record['task_id']}/{video['id']}.mp4" for video in record["videos"]]
    assert [counts[path] for path in paths] == [1, 1]


# At the same time


def test_at_the_same_time_in_one_folder(server: Any, tmp_path: Path) -> None:
    """The first of each pair copies a video; the second waits, and finds it whole."""
    folder = tmp_path / "archive"
    shared = {pair: recording(server, "-while-".join(pair), videos.hold(100_000)) for pair in PAIRS}
    own = {name: recording(server, f"own-of-{name}") for name in ("python", "airflow", "ansible")}

    def of(name: str, place: int) -> list[Record]:
        return [record for pair, record in shared.items() if pair[place] == name]

    def start(place: int, extra: Callable[[str], list[Record]], *, changed: bool) -> list[Any]:
        given = {name: [*of(name, place), *extra(name)] for name in own}
        book = step(str(folder), given["ansible"], changed=changed)
        return [
            pool.submit(run_python, str(folder), given["python"]),
            pool.submit(run_airflow, str(folder), given["airflow"]),
            pool.submit(play, tmp_path / f"play-{place}", book),
        ]

    with ThreadPoolExecutor(6) as pool:
        try:
            running = start(0, lambda name: [], changed=True)
            for _ in PAIRS:
                assert server.holding.acquire(timeout=60)
            # Each second run also copies a recording of its own: then its threads are at work.
            running += start(1, lambda name: [own[name]], changed=True)
            deadline = time.monotonic() + 25
            while not all(f"/own-of-{name}/0.mp4" in requested(server) for name in own):
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.5)
            assert not any(one.done() for one in running)
        finally:
            server.release.set()
        for one in running:
            one.result(60)
    records = [*shared.values(), *own.values()]
    check_folder(folder, *records)
    counts = requested(server)
    assert {counts[f"/{record['task_id']}/0.mp4"] for record in records} == {1}


# In a bucket


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """Return a client of an S3 on loopback, which Python and Airflow find by the environment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        connection = {"conn_type": "aws", "login": "id", "password": "key", "extra": extra}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AIRFLOW_CONN_PLACE", json.dumps(connection))
            patch.setenv("AWS_ENDPOINT_URL", endpoint)
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_ACCESS_KEY_ID", "id")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "key")
            yield boto3.client("s3")
    finally:
        server.stop()


@pytest.mark.parametrize("order", [("python", "airflow"), ("airflow", "python")], ids="-".join)
def test_python_and_airflow_in_a_bucket(server: Any, s3: Any, order: tuple[str, str]) -> None:
    name = "-and-".join(order)
    s3.create_bucket(Bucket=name)
    record = recording(server, f"bucket-{name}", count=2)
    for adapter in order:
        if adapter == "python":
            run_python(f"s3://{name}/lessons", [record])
        else:
            run_airflow(f"s3://place@{name}/lessons", [record])
    files = [item["Key"] for item in s3.list_objects_v2(Bucket=name)["Contents"]]
    names = ("manifest.json", "whiteboard-0.mp4", "whiteboard-1.mp4")
    assert files == [f"lessons/{record['task_id']}/{one}" for one in names]
    counts = requested(server)
    assert [counts[f"/{record['task_id']}/{n}.mp4"] for n in (0, 1)] == [1, 1]
    assert [one.state for one in verify(storage_for(f"s3://{name}/lessons"))] == ["whole"] * 2


def test_each_recording_of_a_bucket_has_a_writer_of_its_own(server: Any, s3: Any) -> None:
    s3.create_bucket(Bucket="shared")
    one, other = (recording(server, f"writer-{n}", count=3) for n in (1, 2))
    with ThreadPoolExecutor(2) as pool:
        running = [
            pool.submit(run_python, "s3://shared", [one]),
            pool.submit(run_airflow, "s3://place@shared", [other]),
        ]
        for run in running:
            run.result(60)
    assert [one.state for one in verify(storage_for("s3://shared"))] == ["whole"] * 6


def test_the_variable_for_cos_in_the_documentation(server: Any, s3: Any) -> None:
    (block,) = blocks_for(__file__)
    (value,) = re.findall(r"^export FSSPEC_S3='(\{.*?\})'\n", block.text, re.DOTALL)
    settings = json.loads(value)
    region = settings["client_kwargs"]["region_name"]
    assert settings["endpoint_url"] == f"https://cos.{region}.myqcloud.com"
    # moto's buckets have no host names.
    settings["endpoint_url"] = s3.meta.endpoint_url
    settings["config_kwargs"]["s3"]["addressing_style"] = "path"
    s3.create_bucket(Bucket="by-variable")
    # fsspec reads the variable when it is imported.
    program = (
        "import json, sys; from tiw_automation.core.archive import RecordArchive, storage_for\n"
        "RecordArchive(storage_for('s3://by-variable/x')).run([json.load(sys.stdin)])\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    subprocess.run(
        [sys.executable, "-c", program],
        env={**environment, "FSSPEC_S3": json.dumps(settings), "TIW_ARCHIVE_HOSTS": "127.0.0.1"},
        input=json.dumps(recording(server, "by-variable")),
        text=True,
        check=True,
        timeout=60,
    )
    assert [one.state for one in verify(storage_for("s3://by-variable/x"))] == ["whole"]
