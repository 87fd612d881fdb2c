# SPDX-License-Identifier: Apache-2.0
"""Copies of recordings that outlive Tencent's three days.

An archive is a folder of videos with one manifest for each recording. The manifest names a video
before it is copied and describes it afterwards, so that a second run knows which videos are
complete, and no other file is overwritten.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tiw_automation.core.archive.download import Downloaded, VideoDownloader
from tiw_automation.core.archive.errors import DownloadStopped, FileInTheWay, VideoError
from tiw_automation.core.archive.manifest import Entry, Manifest, describes
from tiw_automation.core.archive.names import (
    DEFAULT_MANIFEST,
    DEFAULT_NAMES,
    RECORD_KEYS,
    VIDEO_KEYS,
    NameTemplate,
    record_values,
    video_values,
)
from tiw_automation.core.archive.storage import Storage, Target
from tiw_automation.core.errors import ConfigurationError, TiwError
from tiw_automation.core.formatting import amount, shown_url
from tiw_automation.core.records.record import OnlineRecord, Video, check_video_kinds

logger = logging.getLogger(__name__)

# How long the waiting thread may take to see that it must stop.
_TICK_S = 0.2
# How long threads between two steps may take to see it; Airflow kills after five seconds.
_STOP_S = 1.0


@dataclass(frozen=True, slots=True)
class ArchivedVideo:
    """A video in the archive; ``copied`` is false where an earlier run copied it."""

    path: str
    name: str
    task_id: str
    video: Video
    source_url: str
    size_bytes: int
    sha256: str
    copied: bool


class ArchiveFailed(TiwError):
    """Some videos could not be copied; all others were.

    ``failures`` are pairs of a name and its error; ``archived`` are the videos in the archive. It
    is retryable where one of the failures is: a retry copies only what is missing.
    """

    default_code = "ArchiveFailed"

    def __init__(
        self,
        message: str,
        *,
        failures: Sequence[tuple[str, TiwError]],
        archived: Sequence[ArchivedVideo],
        **details: Any,
    ) -> None:
        super().__init__(message, **details)
        self.failures = list(failures)
        self.archived = list(archived)


@dataclass(frozen=True, slots=True)
class _Job:
    """One video and the name that it gets."""

    name: str
    video: Video
    manifest: Manifest

    @property
    def url(self) -> str:
        return self.video.url or ""


if TYPE_CHECKING:
    # Python 3.9 on an archive host cannot evaluate this.
    _Result = ArchivedVideo | TiwError


class RecordArchive:
    """Copies the videos of recordings into a storage, several at a time.

    A video is complete under its name or does not exist there, also when the process is killed. A
    video that the manifest describes, in the size that the storage has, is not copied again; the
    same video in another size is, over the file. A video that cannot be copied does not keep the
    others from being copied.

    :param storage: where the videos are copied to.
    :param names: the pattern of the videos' names, see :class:`NameTemplate`; it contains
        ``{task_id}``, and ``{video_id}`` or ``{index}``.
    :param manifest: the pattern of the manifests' names; it contains ``{task_id}``.
    :param max_workers: how many videos are copied at once.
    :param video_kinds: the kinds of video to copy; all by default.
    :param overwrite: replace a file that is not known to be the video, or is another one.
    :param verify_size: refuse a video whose size differs from the record's.
    :param progress_s: seconds between two log lines about the progress.
    :param proxy: the URL of an HTTP proxy; by default the environment's.
    :param ca_file: a bundle of CA certificates to trust.
    :param timeout_s: see :class:`VideoDownloader`, as ``attempts``.
    :param log: the logger of the progress.
    :raises ConfigurationError: an argument is invalid.
    """

    def __init__(
        self,
        storage: Storage,
        *,
        names: str = DEFAULT_NAMES,
        manifest: str = DEFAULT_MANIFEST,
        max_workers: int = 4,
        video_kinds: Sequence[str] | None = None,
        overwrite: bool = False,
        verify_size: bool = True,
        progress_s: float = 30.0,
        proxy: str | None = None,
        ca_file: str | None = None,
        timeout_s: float = 60.0,
        attempts: int = 6,
        log: logging.Logger = logger,
    ) -> None:
        if max_workers < 1:
            raise ConfigurationError(f"max_workers must be 1 or more, not {max_workers!r}.")
        if not progress_s > 0:
            raise ConfigurationError(f"progress_s must be above zero, not {progress_s!r}.")
        self.storage = storage
        self.names = NameTemplate(
            names, "names", RECORD_KEYS + VIDEO_KEYS, [["task_id"], ["video_id", "index"]]
        )
        self.manifest = NameTemplate(manifest, "manifest", RECORD_KEYS, [["task_id"]])
        self.max_workers = max_workers
        self.video_kinds = check_video_kinds(video_kinds)
        self.overwrite = overwrite
        self.verify_size = verify_size
        self.progress_s = progress_s
        self.log = log
        self._stop = threading.Event()
        self._downloader = VideoDownloader(
            proxy=proxy,
            ca_file=ca_file,
            timeout_s=timeout_s,
            attempts=attempts,
            pool_size=max_workers,
            stop=self._stop,
        )
        self._open: dict[str, Target] = {}
        self._offsets: dict[str, int] = {}

    def stop(self) -> None:
        """Make :meth:`run` end soon, without incomplete files. Safe in a signal handler."""
        self._stop.set()

    def run(self, records: Iterable[OnlineRecord]) -> list[ArchivedVideo]:
        """Copy the missing videos; return every video, in the order of the records.

        :raises ArchiveFailed: some could not be copied; the others were.
        :raises DownloadStopped: :meth:`stop` was called; the next run copies the rest.
        :raises ConfigurationError: two videos would have one name; nothing was copied.
        """
        jobs = self._plan(records)
        results: queue.SimpleQueue[tuple[_Job, _Result]] = queue.SimpleQueue()
        waiting: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        threads = [
            threading.Thread(
                target=self._work, args=(waiting, results), name=f"tiw-archive-{n}", daemon=True
            )
            for n in range(min(self.max_workers, len(jobs)))
        ]
        try:
            for thread in threads:
                thread.start()
            found = self._collect(results, jobs)
        except BaseException:
            self._abandon(threads)
            raise
        finally:
            self._downloader.close()
        self._restore_manifests(jobs)
        return self._archived_videos([(job.name, found[job.name]) for job in jobs])

    def _plan(self, records: Iterable[OnlineRecord]) -> list[_Job]:
        jobs: dict[str, _Job] = {}
        manifests: dict[str, Manifest] = {}
        for record in records:
            name = self.manifest.render(record_values(record))
            if name in manifests:
                if _identity(manifests[name].record) == _identity(record):
                    continue
                raise _collision(name, manifests[name].record, record)
            manifests[name] = Manifest(self.storage, name, record, overwrite=self.overwrite)
            for job in self._jobs_of(manifests[name]):
                if job.name in jobs:
                    raise _collision(job.name, jobs[job.name].manifest.record, record)
                jobs[job.name] = job
        for name in jobs.keys() & manifests.keys():
            raise _collision(name, jobs[name].manifest.record, manifests[name].record)
        return list(jobs.values())

    def _jobs_of(self, manifest: Manifest) -> Iterator[_Job]:
        record = manifest.record
        for index, video in enumerate(record.videos, start=1):
            if self.video_kinds is not None and video.kind not in self.video_kinds:
                continue
            if not video.url:
                self.log.warning(
                    "Recording %s: video %s has no URL and is left out.", record.task_id, video.id
                )
                continue
            yield _Job(self.names.render(video_values(record, index, video)), video, manifest)

    def _collect(
        self, results: queue.SimpleQueue[tuple[_Job, _Result]], jobs: list[_Job]
    ) -> dict[str, _Result]:
        """Return the result of each job by its name, and log the progress meanwhile."""
        found: dict[str, _Result] = {}
        before, logged_at = 0, time.monotonic()
        while len(found) < len(jobs):
            if self._stop.is_set():
                raise DownloadStopped(f"Stopped after {len(found)} of {len(jobs)} videos.")
            with contextlib.suppress(queue.Empty):
                job, result = results.get(timeout=_TICK_S)
                found[job.name] = result
            now = time.monotonic()
            if now - logged_at >= self.progress_s and len(found) < len(jobs):
                arrived = sum(list(self._offsets.values()))
                self.log.info(
                    "%d of %d videos are done; %s of %s copied, %s/s.",
                    len(found),
                    len(jobs),
                    amount(arrived),
                    amount(sum(job.video.size_bytes or 0 for job in jobs)),
                    amount(max(arrived - before, 0) / (now - logged_at)),
                )
                before, logged_at = arrived, now
        return found

    def _work(
        self,
        waiting: queue.SimpleQueue[_Job],
        results: queue.SimpleQueue[tuple[_Job, _Result]],
    ) -> None:
        while not self._stop.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            result: _Result
            try:
                result = self._archive(job)
            except DownloadStopped:
                return
            except TiwError as error:
                result = error
            except BaseException as error:
                # Without a result the run would wait without limit.
                result = VideoError(
                    f"{job.name} cannot be stored: {type(error).__name__}: {error}",
                    code="Archive.Storage",
                    retryable=True,
                    hint="Check the destination, its connection and its free space.",
                )
                result.__cause__ = error
            results.put((job, result))

    def _archive(self, job: _Job) -> ArchivedVideo:
        """Copy one video, unless the archive has it."""
        size = self.storage.size(job.name)
        entry = job.manifest.entry(job.name)
        if size is not None and (entry is None or not describes(entry, job.video)):
            # Another run may have begun it after the manifest was read.
            entry = job.manifest.entry(job.name, anew=True)
            if entry is not None:
                size = self.storage.size(job.name)
        if entry is not None and self._is_complete(job, entry, size):
            self.log.info("%s is there already.", self.storage.path(job.name))
            return self._archived(job, entry["size_bytes"], entry["sha256"], copied=False)
        if size is not None and not self.overwrite:
            self._check_same_video(job, entry)
        job.manifest.announce(job.name, job.video)
        downloaded = self._copy(job)
        job.manifest.complete(job.name, downloaded)
        self.log.info(
            "Copied %s to %s: %d bytes, sha256 %s.",
            shown_url(job.url),
            self.storage.path(job.name),
            downloaded.size_bytes,
            downloaded.sha256,
        )
        return self._archived(job, downloaded.size_bytes, downloaded.sha256, copied=True)

    def _check_same_video(self, job: _Job, entry: Entry | None) -> None:
        """Raise where the file that exists is not known to be this video."""
        path = self.storage.path(job.name)
        if entry is None:
            raise FileInTheWay(f"{path} exists, and the manifest does not know it.")
        if not describes(entry, job.video):
            known, url = entry.get("video_id"), entry.get("source_url")
            raise FileInTheWay(
                f"{path} exists, and by the manifest it is the video {known!r} from {url}, not "
                f"{job.video.id!r} from {shown_url(job.url)}.",
                hint="Put {video_id} into names, because {index} is another one where the API "
                "lists the videos in another order; or move the file away, or replace it by "
                "setting overwrite to true.",
            )

    def _is_complete(self, job: _Job, entry: Entry, size: int | None) -> bool:
        return (
            describes(entry, job.video)
            and entry.get("sha256") is not None
            and entry.get("size_bytes") == size
            and (not self.verify_size or (job.video.size_bytes or size) == size)
        )

    def _copy(self, job: _Job) -> Downloaded:
        target = self.storage.create(job.name, job.video.size_bytes)
        self._open[job.name] = target

        def progress(offset: int) -> None:
            self._offsets[job.name] = offset

        try:
            downloaded = self._downloader.download(
                job.url,
                target,
                size_bytes=job.video.size_bytes if self.verify_size else None,
                progress=progress,
            )
            target.commit()
        finally:
            # After a commit there is nothing left to abort.
            target.abort()
            self._open.pop(job.name, None)
        return downloaded

    def _abandon(self, threads: list[threading.Thread]) -> None:
        """Abort the open files; a thread that waits for the network may stay behind."""
        self._stop.set()
        for target in list(self._open.values()):
            with contextlib.suppress(Exception):
                target.abort()
        deadline = time.monotonic() + _STOP_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(deadline - time.monotonic(), 0.0))

    def _restore_manifests(self, jobs: list[_Job]) -> None:
        for manifest in {job.manifest.name: job.manifest for job in jobs}.values():
            try:
                manifest.restore()
            except Exception as error:
                # Each entry was stored when its video was copied; this was only a check.
                self.log.warning(
                    "%s could not be read back: %s", self.storage.path(manifest.name), error
                )

    def _archived(self, job: _Job, size_bytes: int, sha256: str, *, copied: bool) -> ArchivedVideo:
        return ArchivedVideo(
            path=self.storage.path(job.name),
            name=job.name,
            task_id=job.manifest.record.task_id,
            video=job.video,
            source_url=shown_url(job.url),
            size_bytes=size_bytes,
            sha256=sha256,
            copied=copied,
        )

    def _archived_videos(self, results: list[tuple[str, _Result]]) -> list[ArchivedVideo]:
        """Return the videos, or raise where some failed; log a summary."""
        archived = [result for _, result in results if isinstance(result, ArchivedVideo)]
        failures = [(name, result) for name, result in results if isinstance(result, TiwError)]
        copied = sum(video.copied for video in archived)
        self.log.info(
            "Copied %s; %d were there already, %d failed.",
            "1 video" if copied == 1 else f"{copied} videos",
            len(archived) - copied,
            len(failures),
        )
        if failures:
            raise _failed(failures, archived)
        return archived


def _failed(
    failures: Sequence[tuple[str, TiwError]], archived: Sequence[ArchivedVideo]
) -> ArchiveFailed:
    # Each message once: a manifest in the way is the same for all videos of its recording.
    reasons: dict[str, list[str]] = {}
    for name, error in failures:
        reasons.setdefault(str(error), []).append(name)
    return ArchiveFailed(
        f"{len(failures)} of {len(failures) + len(archived)} videos were not archived: "
        + " ".join(f"[{', '.join(names)}] {reason}" for reason, names in reasons.items()),
        failures=failures,
        archived=archived,
        retryable=any(error.retryable for _, error in failures),
    )


def _identity(record: OnlineRecord) -> tuple[int, str]:
    return record.sdk_app_id, record.task_id


def _collision(name: str, first: OnlineRecord, second: OnlineRecord) -> ConfigurationError:
    return ConfigurationError(
        f"Two files would have the name {name!r}: one of recording {first.task_id!r} of "
        f"application {first.sdk_app_id}, one of {second.task_id!r} of {second.sdk_app_id}.",
        hint="Put more keys into names or manifest: {sdk_app_id}, {video_id}, {index}.",
    )
