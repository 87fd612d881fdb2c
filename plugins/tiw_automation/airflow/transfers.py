# SPDX-License-Identifier: Apache-2.0
"""The operator that copies recordings to where they stay."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.providers.common.compat.sdk import (  # isort: skip
    AirflowFailException,
    ObjectStoragePath,
)
from airflow.sdk import Asset  # isort: skip

from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile

from tiw_automation.airflow import loops
from tiw_automation.airflow.arguments import count, seconds
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.lineage import lineage
from tiw_automation.airflow.rendering import KeepsTexts
from tiw_automation.core import (
    Acceptance,
    ConfigurationError,
    OnlineRecord,
    Outcome,
    RecordWatcher,
    TiwError,
    Verdict,
    check_task_ids,
    judge,
)
from tiw_automation.core.archive import (
    DEFAULT_MANIFEST,
    DEFAULT_NAMES,
    ArchivedVideo,
    ArchiveFailed,
    DownloadStopped,
    LocalStorage,
    RecordArchive,
    Storage,
    Target,
    public_record,
)
from tiw_automation.core.formatting import escaped, shown

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

# S3 takes 10,000 parts of a file, each 5 MiB or more; a part is held in memory two or three times.
_PART_BYTES = 8 * 1024 * 1024
_MAX_PARTS = 9_000
_MIB = 1024 * 1024


class TiwArchiveFailed(AirflowFailException):
    """Videos cannot be archived, and trying the task again cannot change that."""


class TiwOnlineRecordToObjectStorageOperator(KeepsTexts):
    """Copies the videos of recordings to an Airflow object storage, before Tencent deletes them.

    Tencent keeps the videos in its public bucket for three days. They are streamed, several at a
    time, in memory of a bounded size. A video appears under its name when it is whole and has
    been checked; a manifest for each recording lies beside them. A second run copies nothing that
    the manifest and the storage agree on.

    Returns the paths of all videos, in the order of the records, those included that were there
    already. Every video that can be copied is; then the task fails and names each that could not,
    without a retry where none of them would fare better.

    :param destination: the folder: a URL such as ``s3://conn@bucket/recordings`` or
        ``file:///mnt/recordings``, or an ``ObjectStoragePath``.
    :param destination_conn_id: the connection of the storage, where the URL names none.
    :param records: the records, as the sensor pushes them: ``sensor.output["records"]``. A list
        of lists, as a mapped sensor pushes, does too.
    :param record_task_id: instead of ``records``, one TaskId or a list: each is asked for once.
    :param sdk_app_id: for ``record_task_id``: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection; its proxy and its CA bundle are used for the
        videos too.
    :param video_kinds: the kinds of video wanted: any of camera, screen_share, whiteboard,
        mixed, audio; all by default.
    :param accept_finish_reasons: for ``record_task_id``: the finish reasons that are no failure.
    :param require_videos: for ``record_task_id``: whether a finished recording without a video is
        a failure.
    :param names: the pattern of the videos' names below the folder.
    :param manifest: the pattern of the manifests' names.
    :param max_workers: how many videos at once.
    :param overwrite: replace a file that is not known to be the video, or is another one.
    :param verify_size: refuse a video of another size than the record says.
    :param progress_interval: seconds (or a timedelta) between two lines about the progress in the
        log.
    :param video_timeout: seconds (or a timedelta) within which a video's server has to answer, and
        then to send 64 KiB, again and again.
    :param attempts: how many requests in a row may fail without 1 MiB of progress.
    """

    template_fields: Sequence[str] = (
        "destination",
        "destination_conn_id",
        "records",
        "record_task_id",
        "sdk_app_id",
        "tencentcloud_conn_id",
        "names",
        "manifest",
    )
    structured_fields = frozenset({"records", "record_task_id"})
    template_fields_renderers = {"records": "json"}  # noqa: RUF012  # Airflow's own convention
    ui_color = "#dcecf5"

    def __init__(
        self,
        *,
        destination: str | ObjectStoragePath,
        destination_conn_id: str | None = None,
        records: Any = None,
        record_task_id: str | list[str] | None = None,
        sdk_app_id: int | str | None = None,
        tencentcloud_conn_id: str | None = TiwHook.default_conn_name,
        video_kinds: Sequence[str] | None = None,
        accept_finish_reasons: Sequence[str] | None = None,
        require_videos: bool = True,
        names: str = DEFAULT_NAMES,
        manifest: str = DEFAULT_MANIFEST,
        max_workers: int = 4,
        overwrite: bool = False,
        verify_size: bool = True,
        progress_interval: float | timedelta = 30.0,
        video_timeout: float | timedelta = 60.0,
        attempts: int = 6,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.destination_conn_id = destination_conn_id
        self.records = records
        self.record_task_id = record_task_id
        self.sdk_app_id = sdk_app_id
        self.tencentcloud_conn_id = tencentcloud_conn_id
        self.video_kinds = video_kinds
        self.accept_finish_reasons = accept_finish_reasons
        self.require_videos = require_videos
        self.names = names
        self.manifest = manifest
        self.max_workers = max_workers
        self.overwrite = overwrite
        self.verify_size = verify_size
        self.progress_interval = progress_interval
        self.video_timeout = video_timeout
        self.attempts = attempts
        self._archive: RecordArchive | None = None
        self._killed = False
        self._archived: list[ArchivedVideo] = []

    def execute(self, context: Context) -> list[str]:
        """Copy what is missing, announce it to the outlets, and return the paths."""
        if (self.records is None) == (self.record_task_id is None):
            raise ConfigurationError(
                "Either records or record_task_id has to be given.",
                hint='For example records=sensor.output["records"].',
            )
        records, troubles = self._find()
        self._archive = RecordArchive(
            storage_of(self._folder()),
            names=self.names,
            manifest=self.manifest,
            max_workers=count("max_workers", self.max_workers),
            video_kinds=self.video_kinds,
            overwrite=self.overwrite,
            verify_size=self.verify_size,
            progress_s=seconds("progress_interval", self.progress_interval),
            timeout_s=seconds("video_timeout", self.video_timeout),
            attempts=count("attempts", self.attempts),
            log=cast("logging.Logger", self.log),
            **TiwHook(self.tencentcloud_conn_id).transport_settings(),
        )
        if self._killed:
            self._archive.stop()
        try:
            self._archived = self._archive.run(records)
        except ArchiveFailed as error:
            self._archived = error.archived
            troubles.append(error)
        paths = [video.path for video in self._archived]
        if troubles:
            if self.do_xcom_push:
                # Pushed here, because a failing task returns nothing.
                context["ti"].xcom_push(key="return_value", value=paths)
            words = " ".join(str(trouble) for trouble in troubles)
            if any(trouble.retryable for trouble in troubles):
                raise RuntimeError(words)
            raise TiwArchiveFailed(words)
        self._announce(context, records, paths)
        return paths

    def on_kill(self) -> None:
        """Stop the downloads; neither a temporary file nor an open upload stays behind."""
        self._killed = True
        if self._archive is not None:
            self._archive.stop()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the videos as datasets: Tencent's as inputs, the copies as outputs."""
        return lineage(
            inputs=(video.source_url for video in self._archived),
            outputs=(video.path for video in self._archived),
        )

    def _find(self) -> tuple[list[OnlineRecord], list[TiwError]]:
        """Return the records, and what is wrong with those that cannot be archived."""
        if self.records is not None:
            outcomes = [_outcome(record) for record in _flat(self.records)]
        else:
            with TiwHook(self.tencentcloud_conn_id).get_conn() as client:
                outcomes = loops.run(partial(self._describe, RecordWatcher(client)))
        good = [o.record for o in outcomes if o.verdict is Verdict.FINISHED and o.record]
        troubles = []
        for outcome in outcomes:
            if outcome.verdict is not Verdict.FINISHED:
                troubles.append(
                    TiwError(
                        f"[{escaped(outcome.task_id)}: {outcome.verdict}] {outcome.message}",
                        retryable=outcome.verdict in (Verdict.PENDING, Verdict.UNKNOWN),
                    )
                )
        return good, troubles

    async def _describe(self, watcher: RecordWatcher) -> list[Outcome]:
        ids = check_task_ids(self.record_task_id)
        acceptance = Acceptance.of(self.accept_finish_reasons, self.require_videos)
        found = watcher.describe(ids, sdk_app_id=self.sdk_app_id, acceptance=acceptance)
        by_id = {outcome.task_id: outcome async for outcome in found}
        return [by_id[task_id] for task_id in ids]

    def _folder(self) -> ObjectStoragePath:
        if isinstance(self.destination, str):
            if "://" not in self.destination:
                raise ConfigurationError(
                    f"destination: {self.destination!r} is no URL.",
                    hint="Give one such as s3://conn@bucket/recordings or file:///mnt/recordings.",
                )
            # Airflow 3.1 would prefer a conn_id of None to the one in the URL.
            apart = {"conn_id": self.destination_conn_id} if self.destination_conn_id else {}
            return ObjectStoragePath(self.destination, **apart)
        if not isinstance(self.destination, ObjectStoragePath):
            raise ConfigurationError(
                f"destination must be a URL or an ObjectStoragePath, not {shown(self.destination)}."
            )
        return self.destination

    def _announce(self, context: Context, records: list[OnlineRecord], paths: list[str]) -> None:
        extra: Any = {"records": [public_record(record) for record in records], "paths": paths}
        for outlet in self.outlets:
            if isinstance(outlet, Asset):
                context["outlet_events"][outlet].extra = extra


def storage_of(folder: ObjectStoragePath) -> Storage:
    """Return the storage that an Airflow path stands for.

    Reads the storage's connection, so it is to be called by the task's own thread.
    """
    return _Local(folder) if isinstance(folder.fs, LocalFileSystem) else _Remote(folder)


class _Local(LocalStorage):
    """A folder of this machine, whose paths are URLs as everywhere in Airflow."""

    def __init__(self, folder: ObjectStoragePath) -> None:
        super().__init__(folder.path)

    def path(self, name: str) -> str:
        return f"file://{self.folder / name}"


class _Remote:
    """A bucket, by way of fsspec."""

    def __init__(self, folder: ObjectStoragePath) -> None:
        # As text: joining Airflow 3.1's paths brings a warning each time.
        self._url = str(folder).rstrip("/")
        self._root = str(folder.path).rstrip("/")
        self._fs: Any = folder.fs
        # What a listing of an earlier task found in this process may have changed.
        self._fs.invalidate_cache()

    def path(self, name: str) -> str:
        return f"{self._url}/{name}"

    def size(self, name: str) -> int | None:
        try:
            return int(self._fs.info(f"{self._root}/{name}")["size"])
        except FileNotFoundError:
            return None

    def read(self, name: str) -> bytes | None:
        # A size from an earlier listing would cut what has grown since.
        self._fs.invalidate_cache(f"{self._root}/{name}")
        try:
            return bytes(self._fs.cat_file(f"{self._root}/{name}"))
        except FileNotFoundError:
            return None

    def create(self, name: str, size_bytes: int | None) -> Target:
        return _RemoteFile(self._fs, f"{self._root}/{name}", size_bytes)

    def exclusive(self, name: str) -> contextlib.AbstractContextManager[object]:
        return contextlib.nullcontext()


class _RemoteFile:
    """An object in the making: an upload that is completed, or aborted and so never seen."""

    def __init__(self, fs: Any, path: str, size_bytes: int | None) -> None:
        self._fs = fs
        self._path = path
        least = -(-(size_bytes or 0) // _MAX_PARTS)
        self._part_bytes = max(_PART_BYTES, -(-least // _MIB) * _MIB)
        self._lock = threading.Lock()
        self._file: Any = self._new()

    def write(self, data: bytes, /) -> None:
        with self._lock:
            self._opened().write(data)

    def restart(self) -> None:
        with self._lock:
            self._discard(self._opened())
            self._file = self._new()

    def commit(self) -> None:
        with self._lock:
            file = self._opened()
            file.close()
            file.commit()
            self._file = None
            self._fs.invalidate_cache(self._path)

    def abort(self) -> None:
        with self._lock:
            if self._file is not None:
                file, self._file = self._file, None
                self._discard(file)

    def _new(self) -> Any:
        file = self._fs.open(self._path, "wb", block_size=self._part_bytes, autocommit=False)
        if not _can_be_dropped(file):
            # Otherwise its end would write what there is, which is nothing.
            with contextlib.suppress(AttributeError):
                file.closed = True
            # Such a storage has made an empty file by now.
            with contextlib.suppress(Exception):
                self._fs.rm_file(self._path)
            raise ConfigurationError(
                f"The storage of {self._path} ({type(self._fs).__name__}) shows a file before it "
                "is whole.",
                hint="Use file, s3 or gs (no zonal bucket): these complete an upload, or drop it.",
            )
        return file

    def _discard(self, file: Any) -> None:
        try:
            file.discard()
        finally:
            # Otherwise its end would upload what is left in its buffer.
            file.closed = True

    def _opened(self) -> Any:
        if self._file is None:
            raise DownloadStopped(f"{self._path}: writing was given up.")
        return self._file


def _can_be_dropped(file: Any) -> bool:
    """Return whether nobody sees the file before its commit, nor after a discard."""
    return (
        isinstance(file, AbstractBufferedFile)
        and type(file).commit is not AbstractBufferedFile.commit
        and type(file).discard is not AbstractBufferedFile.discard
        # By name: gcsfs may be absent. Its zonal buckets show each byte, and cannot drop any.
        and not any(kind.__name__ == "ZonalFile" for kind in type(file).__mro__)
    )


def _flat(records: Any) -> list[OnlineRecord]:
    """Read records from a record, a list of them, or a list of such lists."""
    if isinstance(records, Mapping):
        if not isinstance(records.get("task_id"), str) or "sdk_app_id" not in records:
            raise _no_records(records)
        return [OnlineRecord.from_dict(records)]
    if isinstance(records, str) or not isinstance(records, Iterable):
        raise _no_records(records)
    return [record for item in records for record in _flat(item)]


def _no_records(given: object) -> ConfigurationError:
    return ConfigurationError(
        f"records has to be a list of records, not {type(given).__name__} {escaped(given, 60)}.",
        hint='Give sensor.output["records"]; a template needs render_template_as_native_obj=True.',
    )


def _outcome(record: OnlineRecord) -> Outcome:
    # Whoever gives a record has accepted why it ended.
    taken = Acceptance(require_videos=False, any_reason=True)
    return judge(record.sdk_app_id, record.task_id, record, taken)
