# SPDX-License-Identifier: Apache-2.0
"""The operator that copies recordings to a storage of your own."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, cast

from tiw_automation.airflow import _requires  # noqa: F401  # first: it explains an old Airflow

from airflow.sdk import Asset, ObjectStoragePath  # isort: skip

from tiw_automation.airflow import loops
from tiw_automation.airflow.arguments import count, flag, mode, seconds
from tiw_automation.airflow.hooks import TiwHook
from tiw_automation.airflow.lineage import lineage
from tiw_automation.airflow.metrics import export
from tiw_automation.airflow.object_storage import storage_of
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
    DEFAULT_MAX_BYTES,
    DEFAULT_NAMES,
    ArchivedVideo,
    ArchiveFailed,
    RecordArchive,
    public_record,
)
from tiw_automation.core.formatting import escaped, shown
from tiw_automation.core.records import ANY_END
from tiw_automation.core.waiting import in_order

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context, XComArg
    from airflow.sdk.exceptions import AirflowFailException
else:
    # 3.1 has it in another module; type checkers do not follow this one.
    from airflow.providers.common.compat.sdk import AirflowFailException


class TiwArchiveFailed(AirflowFailException):
    """Videos cannot be archived, and trying the task again cannot change that."""


class TiwOnlineRecordToObjectStorageOperator(KeepsTexts):
    """Copies the videos of recordings to an Airflow object storage, before Tencent deletes them.

    Tencent keeps the videos in its public bucket for three days. They are streamed, several at a
    time, in memory of a bounded size. A video appears under its name when it is whole and was
    checked; a manifest for each recording is stored beside them. A second run copies only videos
    on which the manifest and the storage disagree.

    Returns the paths of all videos, in the order of the records, also of those that were there
    already. Every video that can be copied is copied; then the task fails and names each that
    could not, without a retry where a retry could copy none of them.

    :param destination: the folder: a URL such as ``s3://conn@bucket/recordings`` or
        ``file:///mnt/recordings``, or an ``ObjectStoragePath``.
    :param destination_conn_id: the connection of the storage, where the URL names none.
    :param records: the records, as the sensor pushes them: ``sensor.output["records"]``. A list
        of lists, as a mapped sensor pushes, does too.
    :param record_task_id: instead of ``records``, one TaskId or a list: each is polled once.
    :param sdk_app_id: for ``record_task_id``: the application, or None for the connection's.
    :param tencentcloud_conn_id: the connection; its proxy and its CA bundle are used for the
        videos too.
    :param video_kinds: the kinds of video wanted: any of camera, screen_share, whiteboard,
        mixed, audio; all by default.
    :param accept_finish_reasons: for ``record_task_id``: the finish reasons that are not a
        failure.
    :param require_videos: for ``record_task_id``: whether a finished recording without a video is
        a failure.
    :param names: the pattern of the videos' names in the folder.
    :param manifest: the pattern of the manifests' names.
    :param max_workers: how many videos are copied at once.
    :param overwrite: whether to replace a file that is not known to be the video, or is another
        one.
    :param verify_size: whether to refuse a video of another size than the record states.
    :param hosts: the hosts that videos may come from, a list or a text with commas; by default
        ``TIW_ARCHIVE_HOSTS`` of the worker, else Tencent's storage and every public address.
    :param max_bytes: the most bytes of one video, 64 GiB by default; 0 for no limit.
    :param file_mode: the permissions of files in a folder of the worker, 0640 by default; an
        octal text, or an int.
    :param folder_mode: those of folders, 0750 by default.
    :param progress_interval: seconds (or a timedelta) between two lines about the progress in the
        log.
    :param video_timeout: seconds (or a timedelta) within which a video's server must answer, and
        then send each further 64 KiB.
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
        "hosts",
        "max_bytes",
    )
    structured_fields: frozenset[str] = frozenset({"records", "record_task_id", "hosts"})
    template_fields_renderers: ClassVar[dict[str, str]] = {"records": "json"}
    ui_color = "#dcecf5"

    def __init__(
        self,
        *,
        destination: str | ObjectStoragePath,
        destination_conn_id: str | None = None,
        records: Any = None,
        record_task_id: str | list[str] | XComArg | None = None,
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
        hosts: Sequence[str] | str | None = None,
        max_bytes: int | str = DEFAULT_MAX_BYTES,
        file_mode: str | int = 0o640,
        folder_mode: str | int = 0o750,
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
        self.hosts = hosts
        self.max_bytes = max_bytes
        self.file_mode = file_mode
        self.folder_mode = folder_mode
        self.progress_interval = progress_interval
        self.video_timeout = video_timeout
        self.attempts = attempts
        self._archive: RecordArchive | None = None
        self._killed = False
        self._archived: list[ArchivedVideo] = []

    def execute(self, context: Context) -> list[str]:
        """Copy what is missing, announce it to the outlets, and return the paths."""
        export()
        records, errors = self._find()
        self._archive = self._new_archive()
        if self._killed:
            self._archive.stop()
        try:
            self._archived = self._archive.run(records)
        except ArchiveFailed as error:
            self._archived = error.archived
            errors.append(error)
        paths = [video.path for video in self._archived]
        if errors:
            if self.do_xcom_push:
                # Pushed here, because a failing task returns nothing.
                context["ti"].xcom_push(key="return_value", value=paths)
            words = " ".join(map(str, errors))
            if any(error.retryable for error in errors):
                raise RuntimeError(words)
            raise TiwArchiveFailed(words)
        self._announce(context, records, paths)
        return paths

    def on_kill(self) -> None:
        """Stop the downloads; no temporary file and no open upload stays behind."""
        self._killed = True
        if self._archive is not None:
            self._archive.stop()

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> OperatorLineage[Any, Any]:
        """Return the videos as datasets: Tencent's as inputs, the copies as outputs."""
        return lineage(
            inputs=(video.source_url for video in self._archived),
            outputs=(video.path for video in self._archived),
        )

    def _new_archive(self) -> RecordArchive:
        return RecordArchive(
            storage_of(
                self._folder(),
                file_mode=mode("file_mode", self.file_mode),
                folder_mode=mode("folder_mode", self.folder_mode),
            ),
            names=self.names,
            manifest=self.manifest,
            max_workers=count("max_workers", self.max_workers),
            video_kinds=self.video_kinds,
            overwrite=flag("overwrite", self.overwrite),
            verify_size=flag("verify_size", self.verify_size),
            hosts=self.hosts,
            max_bytes=count("max_bytes", self.max_bytes, least=0),
            progress_s=seconds("progress_interval", self.progress_interval),
            timeout_s=seconds("video_timeout", self.video_timeout),
            attempts=count("attempts", self.attempts),
            log=cast("logging.Logger", self.log),
            **TiwHook(self.tencentcloud_conn_id).transport_settings(),
        )

    def _find(self) -> tuple[list[OnlineRecord], list[TiwError]]:
        """Return the records, and an error for each recording that cannot be archived."""
        if (self.records is None) == (self.record_task_id is None):
            raise ConfigurationError(
                "Exactly one of records and record_task_id must be given.",
                hint='For example records=sensor.output["records"].',
            )
        if self.records is not None:
            outcomes = [_outcome(record) for record in _flat(self.records)]
        else:
            outcomes = self._describe(check_task_ids(self.record_task_id))
        good = [o.record for o in outcomes if o.verdict is Verdict.FINISHED and o.record]
        errors = [
            TiwError(
                f"[{escaped(outcome.task_id)}: {outcome.verdict}] {outcome.message}",
                retryable=outcome.verdict in (Verdict.PENDING, Verdict.UNKNOWN),
            )
            for outcome in outcomes
            if outcome.verdict is not Verdict.FINISHED
        ]
        return good, errors

    def _describe(self, ids: list[str]) -> list[Outcome]:
        require_videos = flag("require_videos", self.require_videos)
        given = {
            "sdk_app_id": self.sdk_app_id,
            "acceptance": Acceptance.of(self.accept_finish_reasons, require_videos),
        }
        with TiwHook(self.tencentcloud_conn_id).get_conn() as client:
            describe: Any = RecordWatcher(client).describe
            return loops.run(lambda: in_order(describe(ids, **given), ids))

    def _folder(self) -> ObjectStoragePath:
        if isinstance(self.destination, str):
            if "://" not in self.destination:
                raise ConfigurationError(
                    f"destination: {self.destination!r} is not a URL.",
                    hint="Give one such as s3://conn@bucket/recordings or file:///mnt/recordings.",
                )
            # Airflow 3.1 would use a conn_id of None instead of the one in the URL.
            given = {"conn_id": self.destination_conn_id} if self.destination_conn_id else {}
            return ObjectStoragePath(self.destination, **given)
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


def _flat(records: Any) -> list[OnlineRecord]:
    """Read records from a record, a list of them, or a list of such lists."""
    if isinstance(records, Mapping):
        if not isinstance(records.get("task_id"), str) or "sdk_app_id" not in records:
            raise _not_records(records)
        return [OnlineRecord.from_dict(records)]
    if isinstance(records, str) or not isinstance(records, Iterable):
        raise _not_records(records)
    return [record for item in records for record in _flat(item)]


def _not_records(given: object) -> ConfigurationError:
    return ConfigurationError(
        f"records must be a list of records, not {type(given).__name__} {escaped(given, 60)}.",
        hint='Give sensor.output["records"]; a template needs render_template_as_native_obj=True.',
    )


def _outcome(record: OnlineRecord) -> Outcome:
    # A record that is given was accepted before.
    return judge(record.sdk_app_id, record.task_id, record, ANY_END)
