# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import logging
import random
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import gcs_server
import pytest
import video_server as videos
from airflow.sdk import DAG, Asset, ObjectStoragePath
from airflow.sdk.io import attach
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractBufferedFile, AbstractFileSystem
from gcsfs.core import GCSFile, GCSFileSystem
from gcsfs.zonal_file import ZonalFile
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer
from page_blocks import blocks_for
from serving import serving
from werkzeug.serving import make_server

from tiw_automation.airflow.lineage import lineage
from tiw_automation.airflow.object_storage import storage_of
from tiw_automation.airflow.transfers import (
    TiwArchiveFailed,
    TiwOnlineRecordToObjectStorageOperator,
)
from tiw_automation.core import ConfigurationError, OnlineRecord, TiwClient, TiwError, Video
from tiw_automation.core.archive import DownloadStopped
from tiw_automation.simulator import Simulator

Connect = Callable[..., None]

# gcsfs passes its parts to aiohttp in this way.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body directly:ResourceWarning")

ROOT = Path(__file__).resolve().parents[2]
MIB = 1024 * 1024
SMALL = random.Random(4).randbytes(200_000)
# Three parts of an upload.
LARGE = random.Random(5).randbytes(20 * MIB)


def keys_for(endpoint: str) -> Any:
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "key"}
    return {"endpoint_url": endpoint, "region_name": "us-east-1", **keys}


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """Return a client of an S3 on loopback, to read it without Airflow."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        with pytest.MonkeyPatch.context() as patch:
            extra = {"endpoint_url": endpoint, "region_name": "us-east-1"}
            connection = {"conn_type": "aws", "login": "id", "password": "key", "extra": extra}
            patch.setenv("AIRFLOW_CONN_STORE", json.dumps(connection))
            yield boto3.client("s3", **keys_for(endpoint))
    finally:
        server.stop()


@dataclass
class Place:
    """The place of a test's archive, and what is visible there."""

    url: str
    names: Callable[[], list[str]]
    unfinished: Callable[[], int]


@pytest.fixture(scope="module")
def gcs() -> Iterator[gcs_server.Store]:
    with gcs_server.gcs_server() as store:
        # What Airflow's Google provider makes of a connection. The class that gcsfs puts before
        # this one sends a gRPC request for the kind of the bucket.
        fs = GCSFileSystem(endpoint_url=store.origin, token="anon", skip_instance_cache=True)
        attach(protocol="gs", conn_id="google", fs=fs)
        yield store


@pytest.fixture(params=["file", "s3", "gs"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":

        def found(hidden: bool) -> list[str]:
            paths = [path for path in tmp_path.rglob("*") if path.is_file()]
            return sorted(
                str(path.relative_to(tmp_path))
                for path in paths
                if path.name.startswith(".") is hidden
            )

        return Place(f"file://{tmp_path}", lambda: found(False), lambda: len(found(True)))
    if request.param == "gs":
        return google_bucket_of(request.getfixturevalue("gcs"))
    return bucket_of(request.getfixturevalue("s3"))


def bucket_of(client: Any) -> Place:
    name = f"bucket-{random.SystemRandom().randrange(10**12)}"
    client.create_bucket(Bucket=name)

    def names() -> list[str]:
        found = client.list_objects_v2(Bucket=name).get("Contents", [])
        return sorted(item["Key"].removeprefix("rec/") for item in found)

    def unfinished() -> int:
        return len(client.list_multipart_uploads(Bucket=name).get("Uploads", []))

    return Place(f"s3://store@{name}/rec", names, unfinished)


def google_bucket_of(store: gcs_server.Store) -> Place:
    name = f"bucket-{next(store.numbers)}"
    stored = store.buckets[name] = {}

    def names() -> list[str]:
        return sorted(key.removeprefix("rec/") for key in list(stored))

    def unfinished() -> int:
        return sum(bucket == name for bucket, _, _ in list(store.uploads.values()))

    return Place(f"gs://google@{name}/rec", names, unfinished)


@pytest.fixture(autouse=True)
def hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIW_ARCHIVE_HOSTS", "127.0.0.1")


@pytest.fixture
def bucket() -> Iterator[Any]:
    with videos.video_server() as running:
        yield running


class _Context(dict[str, Any]):
    """A task's context: the values that it pushes, and the events of its outlets."""

    def __init__(self) -> None:
        from airflow.sdk.execution_time.context import OutletEventAccessors

        self.pushed: dict[str, Any] = {}
        super().__init__(ti=self, outlet_events=OutletEventAccessors())

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = json.loads(json.dumps(value))


def fresh_context() -> Any:
    return _Context()


def operator(destination: Any, **given: Any) -> TiwOnlineRecordToObjectStorageOperator:
    return TiwOnlineRecordToObjectStorageOperator(
        task_id="archive", destination=destination, **given
    )


def video(url: str, video_id: str = "v1", size_bytes: int = len(SMALL)) -> Video:
    return Video(video_id, url, "mp4", 2, "teacher", 0, 1000, size_bytes, 320, 240)


PLAIN = {"sdk_app_id": 1400000001, "task_id": "lesson", "status": "FINISHED"}


def records(*found: Video, **changes: Any) -> list[dict[str, Any]]:
    # As they come from XCom.
    whole: Any = {**PLAIN, "videos": found, **changes}
    data: list[dict[str, Any]] = json.loads(json.dumps([OnlineRecord(**whole).to_dict()]))
    return data


def test_from_the_sensors_records(place: Place, tiw_simulator: Simulator, connect: Connect) -> None:
    connect(tiw_simulator)
    for name in ("algebra", "history"):
        tiw_simulator.add(name, timeline=[])
    with TiwClient(**tiw_simulator.settings()) as client:
        found = [client.describe_online_record(name) for name in ("history", "algebra")]
    given = [record.to_dict() for record in found]
    paths = operator(place.url, records=given).execute(fresh_context())
    assert paths == json.loads(json.dumps(paths))
    expected = [
        f"{record.task_id}/{video.kind}-{video.id}.mp4"
        for record in found
        for video in record.videos
    ]
    assert paths == [f"{place.url}/{name}" for name in expected]
    assert place.names() == sorted([*expected, "algebra/manifest.json", "history/manifest.json"])
    assert place.unfinished() == 0
    described = json.loads(ObjectStoragePath(f"{place.url}/algebra/manifest.json").read_bytes())
    files = {file["name"]: file for file in described["files"]}
    for path, name in zip(paths[2:], expected[2:], strict=True):
        data = ObjectStoragePath(path).read_bytes()
        assert files[name]["size_bytes"] == len(data)
        assert files[name]["sha256"] == hashlib.sha256(data).hexdigest()
    assert described["record"] == json.loads(json.dumps(found[1].to_dict()))
    # A mapped sensor pushes a list of lists.
    assert operator(place.url, records=[given[:1], given[1:]]).execute(fresh_context()) == paths


def test_a_second_run_copies_nothing(place: Place, bucket: Any) -> None:
    given = records(video(bucket.put("v1.mp4", SMALL)))
    paths = operator(place.url, records=given).execute(fresh_context())
    assert operator(place.url, records=given).execute(fresh_context()) == paths
    assert len(bucket.requests) == 1
    # A file that another job truncated is detected by its size.
    ObjectStoragePath(paths[0]).write_bytes(b"half")
    operator(place.url, records=given).execute(fresh_context())
    assert len(bucket.requests) == 2
    assert ObjectStoragePath(paths[0]).read_bytes() == SMALL


def test_two_tasks_at_once_share_a_manifest(place: Place, bucket: Any) -> None:
    camera = replace(video(bucket.put("c.mp4", SMALL, videos.hold(9)), "c"), type=0)
    given = records(camera, video(bucket.put("b.mp4", SMALL), "b"))
    with ThreadPoolExecutor(1) as pool:
        first = operator(place.url, records=given, video_kinds=["camera"])
        running = pool.submit(first.execute, fresh_context())
        try:
            assert bucket.holding.acquire(timeout=20)
            operator(place.url, records=given, video_kinds=["whiteboard"]).execute(fresh_context())
        finally:
            bucket.release.set()
        running.result(20)
    text = ObjectStoragePath(f"{place.url}/lesson/manifest.json").read_bytes()
    assert all(file["sha256"] for file in json.loads(text)["files"])
    assert len(operator(place.url, records=given).execute(fresh_context())) == 2
    assert len(bucket.requests) == 2


def test_an_object_storage_path_and_a_connection_apart(s3: Any, bucket: Any) -> None:
    given = records(video(bucket.put("v1.mp4", SMALL)))
    url = bucket_of(s3).url
    expected = [f"{url}/lesson/whiteboard-v1.mp4"]
    assert operator(ObjectStoragePath(url), records=given).execute(fresh_context()) == expected
    bare = url.replace("store@", "")
    again = operator(bare, destination_conn_id="store", records=given)
    assert again.execute(fresh_context()) == expected
    assert len(bucket.requests) == 1


def test_each_recording_is_polled_once(
    place: Place, tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator)
    tiw_simulator.add("done", timeline=[])
    tiw_simulator.add("slow", timeline=[{"RECORDING": 1000}])
    tiw_simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    paths = operator(place.url, record_task_id="done", video_kinds=["camera"]).execute(
        fresh_context()
    )
    assert len(paths) == 1
    context = fresh_context()
    with pytest.raises(RuntimeError, match=r"\[slow: pending\]") as pending:
        operator(place.url, record_task_id=["slow", "done"]).execute(context)
    assert not isinstance(pending.value, TiwArchiveFailed)
    # The finished recordings are archived and pushed all the same.
    assert len(context.pushed["return_value"]) == 2
    with pytest.raises(TiwArchiveFailed, match=r"\[absent: missing\].*\[odd: failed\]"):
        operator(place.url, record_task_id=["absent", "odd"]).execute(fresh_context())
    taken = operator(place.url, record_task_id="odd", accept_finish_reasons=["EXCEPTION"])
    assert len(taken.execute(fresh_context())) == 2
    assert tiw_simulator.requests_by_task["slow"] == 1


def test_a_record_that_is_not_finished(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"\[lesson: pending\] Recording lesson is STOPPED"):
        operator(f"file://{tmp_path}", records=records(status="STOPPED")).execute(fresh_context())


def test_a_large_video_with_a_cut(place: Place, bucket: Any) -> None:
    url = bucket.put("v1.mp4", LARGE, videos.cut(9 * MIB))
    (path,) = operator(place.url, records=records(video(url, size_bytes=len(LARGE)))).execute(
        fresh_context()
    )
    assert ObjectStoragePath(path).read_bytes() == LARGE
    assert bucket.ranges()[1] is not None
    assert place.unfinished() == 0


def test_a_large_video_that_must_begin_anew(place: Place, bucket: Any) -> None:
    url = bucket.put("v1.mp4", LARGE, videos.cut(9 * MIB), etag=None)
    (path,) = operator(place.url, records=records(video(url, size_bytes=len(LARGE)))).execute(
        fresh_context()
    )
    assert ObjectStoragePath(path).read_bytes() == LARGE
    assert place.unfinished() == 0
    assert place.names() == ["lesson/manifest.json", "lesson/whiteboard-v1.mp4"]


def test_no_file_is_visible_before_it_is_whole_nor_after_a_kill(place: Place, bucket: Any) -> None:
    url = bucket.put("v1.mp4", LARGE, videos.hold(18 * MIB))
    given = records(video(url, size_bytes=len(LARGE)))
    killed = operator(place.url, records=given)
    ends: list[BaseException] = []

    def run() -> None:
        try:
            killed.execute(fresh_context())
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert bucket.holding.acquire(timeout=20)
    while not place.unfinished():
        time.sleep(0.05)
    assert place.names() == ["lesson/manifest.json"]
    started = time.monotonic()
    killed.on_kill()
    thread.join(20)
    # Airflow sends a SIGKILL after five seconds.
    assert time.monotonic() - started < 4
    assert [type(end) for end in ends] == [DownloadStopped]
    # What is in a folder is continued by the next try.
    left = int(place.url.startswith("file:"))
    assert place.unfinished() == left
    bucket.release.set()
    time.sleep(0.5)
    assert place.names() == ["lesson/manifest.json"]
    assert place.unfinished() == left
    operator(place.url, records=given).execute(fresh_context())
    assert place.names() == ["lesson/manifest.json", "lesson/whiteboard-v1.mp4"]


def test_a_kill_before_the_first_byte(tmp_path: Path, bucket: Any) -> None:
    killed = operator(f"file://{tmp_path}", records=records(video(bucket.put("a", SMALL))))
    killed.on_kill()
    with pytest.raises(DownloadStopped):
        killed.execute(fresh_context())
    assert list(tmp_path.rglob("*.mp4")) == []


def test_a_failure_leaves_no_partial_file(place: Place, bucket: Any) -> None:
    def replaced(handler: Any, file: Any) -> None:
        file.etag = '"two"'
        videos.serve(handler, file)

    bad = video(bucket.put("v1.mp4", LARGE, videos.cut(9 * MIB), replaced), "v1", len(LARGE))
    good = video(bucket.put("v2.mp4", SMALL), "v2")
    context = fresh_context()
    with pytest.raises(RuntimeError, match="it was replaced while it was downloaded"):
        operator(place.url, records=records(bad, good)).execute(context)
    assert place.names() == ["lesson/manifest.json", "lesson/whiteboard-v2.mp4"]
    assert place.unfinished() == int(place.url.startswith("file:"))
    assert context.pushed["return_value"] == [f"{place.url}/lesson/whiteboard-v2.mp4"]


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (403, TiwArchiveFailed, "access is denied .* public read"),
        (404, TiwArchiveFailed, "three days"),
        (503, RuntimeError, "busy or broken"),
    ],
)
def test_whether_another_try_can_help(
    tmp_path: Path, bucket: Any, status: int, kind: Any, words: str
) -> None:
    given = records(video(bucket.put("v1.mp4", SMALL, videos.answer(status))))
    with pytest.raises(kind, match=words) as caught:
        operator(f"file://{tmp_path}", records=given, attempts=1).execute(fresh_context())
    assert type(caught.value) is kind
    assert "secret" not in str(caught.value)


def test_a_bucket_that_does_not_exist(s3: Any, bucket: Any) -> None:
    given = records(video(bucket.put("v1.mp4", SMALL)))
    with pytest.raises(RuntimeError, match="Check the destination"):
        operator("s3://store@absent-bucket/rec", records=given).execute(fresh_context())
    # That fails when the first answer is there, before its body is read.
    assert len(bucket.requests) == 1


def test_a_storage_that_shows_partial_files_is_refused(bucket: Any) -> None:
    memory = MemoryFileSystem()
    attach(protocol="memory", fs=memory)
    given = records(video(bucket.put("v1.mp4", SMALL)))
    with pytest.raises(TiwArchiveFailed, match="shows a file before it is whole"):
        operator("memory://rec", records=given).execute(fresh_context())
    assert bucket.requests == []
    assert memory.find("/") == []

    class Plain(AbstractFileSystem):  # type: ignore[misc]
        """Uploads in parts, and cannot drop an upload."""

        def info(self, path: str, **options: Any) -> Any:
            raise FileNotFoundError(path)

        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            if mode == "rb":
                raise FileNotFoundError(path)
            return AbstractBufferedFile(self, path, mode, **options)

    attach(protocol="memory", conn_id="plain", fs=Plain())
    with pytest.raises(TiwArchiveFailed, match=r"Plain.* shows a file before it is whole"):
        operator("memory://plain@rec", records=given).execute(fresh_context())


def test_a_zonal_bucket_is_refused(gcs: gcs_server.Store, bucket: Any) -> None:
    class Zonal(ZonalFile):  # type: ignore[misc]
        """The file of a zonal bucket, without the gRPC that it needs."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            GCSFile.__init__(self, *arguments, **options)

    class Rapid(GCSFileSystem):  # type: ignore[misc]
        def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:
            return Zonal(self, path, mode, **options)

    fs = Rapid(endpoint_url=gcs.origin, token="anon", skip_instance_cache=True)
    attach(protocol="gs", conn_id="rapid", fs=fs)
    url = google_bucket_of(gcs).url.replace("google@", "rapid@")
    given = records(video(bucket.put("v1.mp4", SMALL)))
    with pytest.raises(TiwArchiveFailed, match=r"Zonal\) shows a file|Rapid\) shows a file"):
        operator(url, records=given).execute(fresh_context())
    assert bucket.requests == []


# Google accepts multiples of 256 KiB, except for the last part; gcsfs sends less in another way.
@pytest.mark.parametrize("size", [0, 1, 2**18 - 1, 2**18, 2**18 + 1, 700_000, 8 * MIB, 9 * MIB])
def test_a_file_of_any_size_appears_with_its_commit(place: Place, size: int) -> None:
    target = storage_of(ObjectStoragePath(place.url)).create("x", size)
    for start in range(0, size, 65_536):
        target.write(memoryview(LARGE[start : min(start + 65_536, size)]))
    assert place.names() == []
    target.commit()
    assert (place.names(), place.unfinished()) == (["x"], 0)
    assert ObjectStoragePath(f"{place.url}/x").read_bytes() == LARGE[:size]


def test_an_upload_that_was_dropped_stays_dropped(s3: Any) -> None:
    place = bucket_of(s3)
    target: Any = storage_of(ObjectStoragePath(place.url)).create("x", None)
    target.write(LARGE[: 9 * MIB])
    assert place.unfinished() == 1
    file = target._file
    target.abort()
    # The interpreter calls this when it frees the file.
    file.close()
    assert (place.names(), place.unfinished()) == ([], 0)


def test_an_old_listing_is_not_used(s3: Any, bucket: Any) -> None:
    place = bucket_of(s3)
    given = records(video(bucket.put("v1.mp4", SMALL)))
    (path,) = operator(place.url, records=given).execute(fresh_context())
    stored = ObjectStoragePath(path)
    stored.fs.ls(stored.path.rpartition("/")[0])
    s3.put_object(Bucket=stored.bucket.rpartition("@")[2], Key=stored.key, Body=b"half")
    operator(place.url, records=given).execute(fresh_context())
    assert len(bucket.requests) == 2


@contextlib.contextmanager
def recording_s3() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Serve S3 on loopback; yield its URL and the headers of all requests."""
    received: list[dict[str, str]] = []
    serve = DomainDispatcherApplication(create_backend_app)

    def recording(environ: dict[str, Any], start_response: Any) -> Any:
        prefix = "HTTP_"
        received.append(
            {
                name.removeprefix(prefix).replace("_", "-").lower(): value
                for name, value in environ.items()
                if name.startswith(prefix)
            }
        )
        return serve(environ, start_response)

    server = make_server("127.0.0.1", 0, recording, threaded=True)
    with serving(server):
        yield f"http://127.0.0.1:{server.server_port}", received


def checksums(received: list[dict[str, str]]) -> set[str]:
    """Return the checksum headers, which S3 has and COS refuses."""
    names = {name for headers in received for name in headers if "checksum" in name}
    chunked = {"aws-chunked" for headers in received if "aws-chunked" in str(headers.values())}
    trailers = {"trailer" for headers in received if "TRAILER" in str(headers.values())}
    return names | chunked | trailers


def test_the_connection_for_cos_in_the_documentation(
    bucket: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = blocks_for(__file__)
    extra = json.loads(block.text)
    assert extra["endpoint_url"] == f"https://cos.{extra['region_name']}.myqcloud.com"
    assert extra["config_kwargs"]["s3"]["addressing_style"] == "virtual"
    # A video in parts and one in a single request.
    given = records(
        video(bucket.put("v1.mp4", LARGE), size_bytes=len(LARGE)),
        video(bucket.put("v2.mp4", SMALL), "v2"),
    )
    with recording_s3() as (origin, received):
        # moto's buckets have no host names.
        extra["endpoint_url"] = origin
        extra["config_kwargs"]["s3"]["addressing_style"] = "path"
        bare = {"endpoint_url": origin, "region_name": extra["region_name"]}
        for name, settings in (("cos", extra), ("bare", bare)):
            connection = {"conn_type": "aws", "login": "id", "password": "key", "extra": settings}
            monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(connection))
            place = bucket_of(boto3.client("s3", **keys_for(origin)))
            received.clear()
            url = place.url.replace("store@", f"{name}@")
            paths = operator(url, records=given).execute(fresh_context())
            assert ObjectStoragePath(paths[0]).read_bytes() == LARGE
            assert place.unfinished() == 0
            scopes = [h["authorization"] for h in received if "authorization" in h]
            assert f"/{extra['region_name']}/s3/aws4_request" in scopes[0]
            # Without the settings the headers are sent, so this test checks the right ones.
            assert bool(checksums(received)) is (name == "bare"), checksums(received)


def test_the_size_of_a_part_depends_on_the_size_of_the_file(s3: Any) -> None:
    place = bucket_of(s3)
    storage: Any = storage_of(ObjectStoragePath(place.url))
    for size, part in ((None, 8 * MIB), (5, 8 * MIB), (2 * 10**9, 8 * MIB), (10**12, 106 * MIB)):
        target = storage.create("x", size)
        assert target._part_bytes == part
        assert part * 10_000 >= (size or 0)
        target.abort()
        target.abort()
        with pytest.raises(DownloadStopped):
            target.write(b"late")
        with pytest.raises(DownloadStopped):
            target.commit()
    assert place.names() == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "Exactly one of records and record_task_id"),
        ({"records": [], "record_task_id": "t"}, "Exactly one of records and record_task_id"),
        ({"records": "[{'task_id': 't'}]"}, "render_template_as_native_obj"),
        ({"records": [{"id": 1}]}, "list of records"),
        ({"records": [3]}, "list of records"),
        ({"records": [{"task_id": "t"}]}, "list of records"),
        ({"records": [], "names": "{task_id}"}, "{video_id} or {index}"),
        ({"records": [], "manifest": "../{task_id}"}, "not a path inside"),
        ({"records": [], "max_workers": 0}, "max_workers"),
        ({"records": [], "max_workers": "many"}, "max_workers must be a whole number"),
        ({"records": [], "max_workers": 1.5}, "max_workers must be a whole number"),
        ({"records": [], "attempts": None}, "attempts must be a whole number"),
        ({"records": [], "progress_interval": None}, "progress_interval must be a number"),
        ({"records": [], "video_timeout": "60"}, "video_timeout must be a number"),
        ({"records": [], "video_kinds": ["film"]}, "video_kinds"),
        ({"records": [], "destination": "/mnt/recordings"}, "is not a URL"),
        ({"records": [], "overwrite": "no"}, "overwrite must be True or False"),
        ({"records": [], "verify_size": 1}, "verify_size must be True or False"),
        ({"records": [], "tencentcloud_conn_id": "absent"}, "no connection 'absent'"),
    ],
)
def test_bad_arguments(tmp_path: Path, given: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        operator(given.pop("destination", f"file://{tmp_path}"), **given).execute(fresh_context())
    assert words in str(caught.value)


def test_an_odd_record_fails_alone(tmp_path: Path, bucket: Any) -> None:
    good = records(video(bucket.put("v1.mp4", SMALL)))
    odd = [
        {**PLAIN, "task_id": "odd", "videos": 5},
        {**PLAIN, "task_id": "odder", "status": ["FINISHED"]},
        {**PLAIN, "task_id": "far", "record_start_time": "yesterday", "omitted_durations": [3]},
    ]
    where = fresh_context()
    with pytest.raises(RuntimeError, match=r"\[odd: unknown\].*\[odder: unknown\]") as caught:
        operator(f"file://{tmp_path}", records=[*odd, *good]).execute(where)
    assert "far" not in str(caught.value)
    assert where.pushed["return_value"] == [f"file://{tmp_path}/lesson/whiteboard-v1.mp4"]


def test_the_fields_of_a_natively_rendered_task(tmp_path: Path, bucket: Any) -> None:
    given = records(video(bucket.put("v1.mp4", SMALL)), task_id="880528")
    with DAG("lessons", schedule=None, render_template_as_native_obj=True):
        made = operator(
            "{{ folder }}",
            records="{{ records }}",
            names="{task_id}/{{ number }}-{video_id}",
            manifest="{{ number }}",
            record_task_id="{{ number }}",
        )
    where: Any = {"folder": f"file://{tmp_path}", "records": given, "number": "17"}
    made.render_template_fields(where)
    assert made.records == given
    assert (made.manifest, made.record_task_id) == ("17", "17")
    made.record_task_id, made.manifest = None, "{task_id}.json"
    assert made.execute(fresh_context()) == [f"file://{tmp_path}/880528/17-v1"]


async def test_do_xcom_push_false_and_no_connection_in_a_running_loop(
    tmp_path: Path,
    tiw_simulator: Simulator,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect(tiw_simulator, password="anotherkeyanotherkeyanother")
    for name, value in tiw_simulator.environment().items():
        monkeypatch.setenv(name, value)
    (done,) = tiw_simulator.add_finished(1)
    where = fresh_context()
    made = operator(
        progress_interval=timedelta(seconds=30),
        video_timeout=timedelta(minutes=1),
        max_workers="2",
        destination=f"file://{tmp_path}",
        record_task_id=f"{done}, absent",
        tencentcloud_conn_id=None,
        do_xcom_push=False,
    )
    with pytest.raises(TiwArchiveFailed, match="absent: missing"):
        made.execute(where)
    assert where.pushed == {}
    assert len(list(tmp_path.rglob("*.mp4"))) == 1


def test_the_outlets_get_an_event(tmp_path: Path, bucket: Any) -> None:
    asset = Asset(name="archive", uri="s3://bucket/rec")
    given = records(video(bucket.put("v1.mp4", SMALL)), replay_url="http://h/r?sign=q-secret")
    context = fresh_context()
    paths = operator(f"file://{tmp_path}", records=given, outlets=[asset]).execute(context)
    extra = context["outlet_events"][asset].extra
    assert extra["paths"] == paths
    assert [record["task_id"] for record in extra["records"]] == ["lesson"]
    assert extra["records"][0]["video_urls"] == [f"{bucket.origin}/v1.mp4"]
    assert "secret" not in json.dumps(extra)


def test_the_documentations_dag_reads_the_event(tmp_path: Path, bucket: Any) -> None:
    page = (ROOT / "docs" / "archive.md").read_text()
    (block,) = re.findall(r"```python\n(from airflow.sdk import Asset, dag.*?)```", page, re.DOTALL)
    names: dict[str, Any] = {}
    exec(block, names)
    asset = Asset(name="archive", uri="s3://bucket/rec")
    context = fresh_context()
    given = records(video(bucket.put("v1.mp4", SMALL)))
    paths = operator(f"file://{tmp_path}", records=given, outlets=[asset]).execute(context)
    event = SimpleNamespace(extra=context["outlet_events"][asset].extra)
    read = names["transcribe"]().get_task("videos").python_callable
    assert read({"archive": [event, event]}) == paths * 2


def test_openlineage(s3: Any, tmp_path: Path, bucket: Any) -> None:
    given = records(video(bucket.put("x/v1.mp4", SMALL)))
    url = bucket_of(s3).url
    name = url.replace("store@", "").removesuffix("/rec")
    expected = {
        url: (name, "rec/lesson/whiteboard-v1.mp4"),
        f"file://{tmp_path}": ("file", f"{tmp_path}/lesson/whiteboard-v1.mp4"),
    }
    for destination, output in expected.items():
        done = operator(destination, records=given)
        done.execute(fresh_context())
        facets = done.get_openlineage_facets_on_complete(None)
        assert [(d.namespace, d.name) for d in facets.outputs] == [output]
        assert [(d.namespace, d.name) for d in facets.inputs] == [(bucket.origin, "/x/v1.mp4")]


def test_a_text_that_is_not_a_url_has_no_name() -> None:
    pytest.importorskip("airflow.providers.openlineage.extractors")
    found = lineage(outputs=["http://[", "https://e/a.mp4?q"])
    assert [data.name for data in found.outputs] == ["/a.mp4"]


def test_openlineage_is_not_needed() -> None:
    program = (
        "import sys, tiw_automation.airflow.transfers\n"
        "needed = ('openlineage', 'airflow.providers.openlineage.extractors')\n"
        "assert not [name for name in sys.modules if name.startswith(needed)]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_connections_proxy_is_used(
    tmp_path: Path, bucket: Any, tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator, extra={"proxy": bucket.origin})
    bucket.files["/v1.mp4"] = videos.File(SMALL)
    url = "http://recordings.invalid/v1.mp4"
    given = {"records": records(video(url)), "hosts": "recordings.invalid"}
    (path,) = operator(f"file://{tmp_path}", **given).execute(fresh_context())
    assert ObjectStoragePath(path).read_bytes() == SMALL
    assert bucket.requests[0][0] == url


def test_hosts_sizes_and_modes_are_the_operators(tmp_path: Path, bucket: Any) -> None:
    given = records(video(bucket.put("v1.mp4", SMALL)))
    url = f"file://{tmp_path}/new"
    with pytest.raises(TiwArchiveFailed, match=r"may not come from the host 127\.0\.0\.1"):
        operator(url, records=given, hosts=["videos.example.com"]).execute(fresh_context())
    with pytest.raises(TiwArchiveFailed, match="more than 1000"):
        operator(url, records=given, max_bytes="1000").execute(fresh_context())
    modes_given = {"file_mode": "0600", "folder_mode": 0o700}
    operator(f"{url}/deep", records=given, **modes_given).execute(fresh_context())
    modes = {
        str(path.relative_to(tmp_path)): oct(path.stat().st_mode & 0o777)
        for path in (tmp_path / "new/deep").rglob("*")
    }
    assert modes == {
        "new/deep/lesson": "0o700",
        "new/deep/lesson/manifest.json": "0o600",
        "new/deep/lesson/whiteboard-v1.mp4": "0o600",
    }
    # 0 is no limit.
    operator(url, records=given, max_bytes=0).execute(fresh_context())
    for wrong in ("rw", 640, True):
        with pytest.raises(ConfigurationError, match="file_mode must be permissions"):
            operator(url, records=given, file_mode=wrong).execute(fresh_context())


def test_no_keys_are_needed_for_records(tmp_path: Path, bucket: Any) -> None:
    given = records(video(bucket.put("v1.mp4", SMALL)))
    assert len(operator(f"file://{tmp_path}", records=given).execute(fresh_context())) == 1


def test_the_log_shows_the_progress(
    tmp_path: Path,
    bucket: Any,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.INFO)
    given = records(video(bucket.put("v1.mp4", SMALL, videos.hold(100_000))))
    logged = ""
    with ThreadPoolExecutor(1) as pool:
        held = operator(f"file://{tmp_path}", records=given, progress_interval=0.2)
        running = pool.submit(held.execute, fresh_context())
        try:
            deadline = time.monotonic() + 30
            while "of 200.0 kB copied" not in logged and time.monotonic() < deadline:
                time.sleep(0.05)
                logged += caplog.text + "".join(capfd.readouterr())
        finally:
            bucket.release.set()
        running.result(20)
    assert re.search(
        r"0 of 1 videos are done; [0-9.]+ k?B of 200\.0 kB copied, [0-9.]+ k?B/s\.", logged
    )


def test_at_most_max_workers_videos_at_once(tmp_path: Path, bucket: Any) -> None:
    urls = [bucket.put(f"{n}.mp4", SMALL, videos.hold(1000)) for n in range(3)]
    given = records(*(video(url, f"v{n}") for n, url in enumerate(urls)))
    with ThreadPoolExecutor(1) as pool:
        two = operator(f"file://{tmp_path}", records=given, max_workers=2)
        running = pool.submit(two.execute, fresh_context())
        try:
            for _ in range(2):
                assert bucket.holding.acquire(timeout=20)
            assert not bucket.holding.acquire(timeout=0.5)
            assert len(bucket.requests) == 2
        finally:
            bucket.release.set()
        assert len(running.result(20)) == 3


def test_nothing_secret_is_logged(
    place: Place, bucket: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    good = video(bucket.put("v1.mp4", SMALL, videos.cut(9000)))
    bad = video(bucket.put("v2.mp4", SMALL, videos.answer(403)), "v2")
    with pytest.raises(TiwArchiveFailed):
        operator(place.url, records=records(good, bad)).execute(fresh_context())
    lines = [line for line in caplog.records if line.name.startswith(("tiw_automation", "airflow"))]
    assert lines
    assert not [line for line in lines if "secret" in line.getMessage()]


def test_it_can_be_copied_and_its_templates_exist() -> None:
    one = copy.deepcopy(operator("file:///x", record_task_id="t"))
    for name in one.template_fields:
        assert hasattr(one, name)


def test_an_api_refusal_keeps_its_message(
    tmp_path: Path, tiw_simulator: Simulator, connect: Connect
) -> None:
    connect(tiw_simulator, password="anotherkeyanotherkeyanother")
    with pytest.raises((TiwError, RuntimeError), match=r"AuthFailure\.SignatureFailure"):
        operator(f"file://{tmp_path}", record_task_id="t").execute(fresh_context())


@pytest.mark.parametrize("destination", [None, 5, ["s3://bucket"], b"s3://bucket"])
def test_a_destination_of_another_type_is_refused(destination: Any) -> None:
    operator = TiwOnlineRecordToObjectStorageOperator(
        task_id="archive", destination=destination, records=[]
    )
    with pytest.raises(ConfigurationError, match="destination must be"):
        operator.execute({})


def test_an_id_in_a_record_is_safe_to_log(tmp_path: Path) -> None:
    operator = TiwOnlineRecordToObjectStorageOperator(
        task_id="archive",
        destination=f"file://{tmp_path}",
        records=[{"task_id": "x\n\x1b[2J", "sdk_app_id": 5}],
        do_xcom_push=False,
    )
    with pytest.raises(RuntimeError) as caught:
        operator.execute({})
    assert str(caught.value).isprintable()
