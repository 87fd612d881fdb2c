# A copy of core/archive/archive.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""Copies of recordings that outlive Tencent's three days.

An archive is a folder of videos with one manifest for each recording. The manifest names a video
before it is copied and describes it afterwards, so that a second run knows which videos are
complete, and no other file is overwritten.

This package needs the standard library alone, and Python 3.9: the Ansible collection takes it to
hosts that have nothing else.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Union

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.download import (
    DEFAULT_MAX_BYTES,
    Begun,
    Downloaded,
    VideoDownloader,
)
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.errors import DownloadStopped, FileInTheWay, VideoError
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.hosts import HostPolicy
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.manifest import Entry, Manifest, describes
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.names import (
    DEFAULT_MANIFEST,
    DEFAULT_NAMES,
    RECORD_KEYS,
    VIDEO_KEYS,
    NameTemplate,
    record_values,
    video_values,
)
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.records import check_kinds, record_dict
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.storage import Lock, Storage, Target
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import ConfigurationError, TiwError
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import amount, counted, shown, shown_url
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.metrics import report

logger = logging.getLogger(__name__)

# How long the waiting thread may take to see that it must stop, and between two reports.
_TICK_S = 0.2
# How long threads between two steps may take to see it; Airflow kills after five seconds.
_STOP_S = 1.0


@dataclass(frozen=True)
class ArchivedVideo:
    """A video in the archive; ``copied`` is false where an earlier run copied it.

    ``video`` is the ``Video`` of the record that was given, or its dict where that was a dict.
    """

    path: str
    name: str
    task_id: str
    video: Any
    source_url: str
    size_bytes: int
    sha256: str
    copied: bool


@dataclass(frozen=True)
class PlannedVideo:
    """What a run would do with a video; ``is_there`` is true where it would copy nothing.

    ``size_bytes`` is the file's where it is there, else the record's, or None. ``error`` is why it
    cannot be copied, as far as that is known without a request.
    """

    path: str
    name: str
    task_id: str
    video: Any
    source_url: str
    size_bytes: int | None
    is_there: bool
    error: TiwError | None = None


@dataclass(frozen=True)
class FileProgress:
    """A video that is being copied; ``size_bytes`` is None where it is unknown."""

    name: str
    size_bytes: int | None
    arrived_bytes: int


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    ``size_bytes`` is what all videos have by their records, ``arrived_bytes`` what has arrived of
    those that this run copies, without the bytes of an earlier run.
    """

    videos: int
    videos_done: int
    videos_failed: int
    size_bytes: int
    arrived_bytes: int
    files: tuple[FileProgress, ...]


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
        self.failures: list[tuple[str, TiwError]] = list(failures)
        self.archived: list[ArchivedVideo] = list(archived)


@dataclass(frozen=True)
class _Job:
    """One video and the name that it gets.

    ``given`` is the video as the caller gave it, ``video`` its JSON form. ``error`` is why it has
    no name of its own and cannot be archived.
    """

    name: str
    video: dict[str, Any]
    given: Any
    manifest: Manifest
    error: TiwError | None = None

    @property
    def url(self) -> str:
        return self.video["url"] or ""

    @property
    def task_id(self) -> str:
        return str(self.manifest.record["task_id"])

    @property
    def lock(self) -> str:
        """The name of a lock that all runs use for this video, whatever they call it."""
        key = self.video["id"] or shown_url(self.url)
        digest = hashlib.sha256(key.encode("utf-8", "backslashreplace")).hexdigest()
        return f"{self.manifest.name}.{digest[:16]}"


_Result = Union[ArchivedVideo, TiwError]


class RecordArchive:
    """Copies the videos of recordings into a storage, several at a time.

    A video is complete under its name or does not exist there, also when the process is killed. A
    video that the manifest describes, under any name and in the size that the storage has, is not
    requested again; the same video in another size is, over the file. A video that cannot be
    copied does not keep the others from being copied. In a folder, an interrupted copy is
    continued by the next run, and two runs at the same time copy each video once.

    :param storage: where the videos are copied to.
    :param names: the pattern of the videos' names, see :class:`NameTemplate`; it contains
        ``{task_id}``, and ``{video_id}`` or ``{index}``.
    :param manifest: the pattern of the manifests' names; it contains ``{task_id}``.
    :param max_workers: how many videos are copied at once.
    :param video_kinds: the kinds of video to copy; all by default.
    :param overwrite: replace a file that is not known to be the video, or is another one.
    :param verify_size: refuse a video whose size differs from the record's.
    :param hosts: the hosts that videos may come from; by default Tencent's storage and every
        public address, see :class:`HostPolicy`.
    :param max_bytes: the most bytes of one video, 64 GiB by default; None for no limit.
    :param progress: called by the thread that called :meth:`run`, five times a second.
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
        hosts: Iterable[str] | str | None = None,
        max_bytes: int | None = DEFAULT_MAX_BYTES,
        progress: Callable[[Progress], object] | None = None,
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
        self.names: NameTemplate = NameTemplate(
            names, "names", RECORD_KEYS + VIDEO_KEYS, [["task_id"], ["video_id", "index"]]
        )
        self.manifest: NameTemplate = NameTemplate(manifest, "manifest", RECORD_KEYS, [["task_id"]])
        self.max_workers = max_workers
        self.video_kinds: tuple[str, ...] | None = check_kinds(video_kinds)
        self.overwrite = overwrite
        self.verify_size = verify_size
        self.timeout_s = timeout_s
        self.progress = progress
        self.progress_s = progress_s
        self.log = log
        self._stop = threading.Event()
        self._downloader = VideoDownloader(
            policy=HostPolicy(hosts),
            max_bytes=max_bytes,
            proxy=proxy,
            ca_file=ca_file,
            timeout_s=timeout_s,
            attempts=attempts,
            stop=self._stop,
        )
        self.copied: list[str] = []
        """The names of the videos that were copied so far."""
        self._open: dict[str, _Copy] = {}
        self._arrived_bytes = self._reported_bytes = 0

    def stop(self) -> None:
        """Make :meth:`run` end soon; the next run continues. Safe in a signal handler."""
        self._stop.set()

    def plan(self, records: Iterable[Any]) -> list[PlannedVideo]:
        """Return what :meth:`run` would do; no video is requested and nothing is written.

        :raises ConfigurationError: two videos would have one name.
        """
        return [self._planned(job) for job in self._plan(records)]

    def run(self, records: Iterable[Any]) -> list[ArchivedVideo]:
        """Copy the missing videos; return every video, in the order of the records.

        :param records: ``OnlineRecord`` objects, or their JSON form.
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

    def _plan(self, records: Iterable[Any]) -> list[_Job]:
        jobs: dict[str, _Job] = {}
        manifests: dict[str, Manifest] = {}
        for given in records:
            record = record_dict(given)
            name = self.manifest.render(record_values(record))
            if name in manifests:
                if _identity(manifests[name].record) == _identity(record):
                    continue
                raise _collision(name, manifests[name].record, record)
            manifests[name] = Manifest(self.storage, name, record, overwrite=self.overwrite)
            for job in self._jobs_of(manifests[name], given):
                earlier = jobs.get(job.name)
                if earlier is not None and earlier.manifest is not job.manifest:
                    raise _collision(job.name, earlier.manifest.record, record)
                if earlier is None:
                    jobs[job.name] = job
                elif job.video != earlier.video:
                    # The API has returned one id for two videos.
                    job = _nameless(job, f"{job.name} ({len(jobs)})", "an earlier video has it")
                    jobs[job.name] = job
        for name in jobs.keys() & manifests.keys():
            raise _collision(name, jobs[name].manifest.record, manifests[name].record)
        return list(jobs.values())

    def _jobs_of(self, manifest: Manifest, given: Any) -> Iterator[_Job]:
        record = manifest.record
        videos = given.get("videos") if isinstance(given, Mapping) else given.videos
        videos = videos if isinstance(videos, (list, tuple)) else ()
        pairs = zip(record["videos"], videos)  # noqa: B905  # not in Python 3.9
        for index, (video, original) in enumerate(pairs, start=1):
            if self.video_kinds is not None and video["kind"] not in self.video_kinds:
                continue
            if not video["url"]:
                self.log.warning(
                    "Recording %s: video %s has no URL and is left out.",
                    record["task_id"],
                    video["id"],
                )
                continue
            try:
                name = self.names.render(video_values(record, index, video))
            except ConfigurationError as error:
                name = f"{record['task_id']} ({index})"
                yield _Job(name, video, original, manifest, error)
            else:
                yield _Job(name, video, original, manifest)

    def _planned(self, job: _Job) -> PlannedVideo:
        whole, error = None, job.error
        try:
            whole = self._whole(job)
            if whole is None and not self.overwrite:
                self._check_name(job)
        except (TiwError, OSError) as problem:
            error = problem if isinstance(problem, TiwError) else _not_stored(job, problem)
        name = job.name if whole is None else whole["name"]
        return PlannedVideo(
            path=self.storage.path(name),
            name=name,
            task_id=job.task_id,
            video=job.given,
            source_url=shown_url(job.url),
            size_bytes=job.video["size_bytes"] if whole is None else whole["size_bytes"],
            is_there=whole is not None,
            error=error,
        )

    def _collect(
        self, results: queue.SimpleQueue[tuple[_Job, _Result]], jobs: list[_Job]
    ) -> dict[str, _Result]:
        """Return the result of each job by its name, and report the progress meanwhile."""
        found: dict[str, _Result] = {}
        before, logged_at = 0, time.monotonic()
        reported_at = 0.0
        while len(found) < len(jobs):
            if self._stop.is_set():
                raise DownloadStopped(f"Stopped after {len(found)} of {len(jobs)} videos.")
            with contextlib.suppress(queue.Empty):
                job, result = results.get(timeout=_TICK_S)
                found[job.name] = result
                _count(result)
            self._report_bytes()
            now = time.monotonic()
            if self.progress is not None and (
                now - reported_at >= _TICK_S or len(found) == len(jobs)
            ):
                reported_at = now
                self.progress(self._progress(found, jobs))
            if now - logged_at >= self.progress_s and len(found) < len(jobs):
                progress = self._progress(found, jobs)
                self.log.info(
                    "%d of %d videos are done; %s of %s copied, %s/s.",
                    progress.videos_done,
                    progress.videos,
                    amount(progress.arrived_bytes),
                    amount(progress.size_bytes),
                    amount(max(progress.arrived_bytes - before, 0) / (now - logged_at)),
                )
                before, logged_at = progress.arrived_bytes, now
        return found

    def _report_bytes(self) -> None:
        arrived_bytes = self._arrived_bytes + sum(
            copy.arrived_bytes for copy in list(self._open.values())
        )
        # A copy that begins anew takes its bytes back, and those were reported.
        if arrived_bytes > self._reported_bytes:
            report("tiw.archive.bytes", arrived_bytes - self._reported_bytes)
            self._reported_bytes = arrived_bytes

    def _progress(self, found: Mapping[str, _Result], jobs: Sequence[_Job]) -> Progress:
        copies = list(self._open.values())
        failed = sum(isinstance(result, TiwError) for result in found.values())
        return Progress(
            videos=len(jobs),
            videos_done=len(found),
            videos_failed=failed,
            size_bytes=sum(job.video["size_bytes"] or 0 for job in jobs),
            arrived_bytes=self._arrived_bytes + sum(copy.arrived_bytes for copy in copies),
            files=tuple(
                FileProgress(copy.job.name, copy.job.video["size_bytes"], copy.offset)
                for copy in copies
            ),
        )

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
            report("tiw.archive.videos_started")
            try:
                result = self._archive(job)
            except DownloadStopped:
                return
            except TiwError as error:
                result = error
            except BaseException as error:
                # Without a result the run would wait without limit.
                result = _not_stored(job, error)
            results.put((job, result))

    def _archive(self, job: _Job) -> ArchivedVideo:
        """Copy one video, unless the archive has it."""
        if job.error is not None:
            raise job.error
        whole = self._whole(job)
        if whole is not None:
            return self._found(job, whole)
        with self.storage.exclusive(job.lock, self.timeout_s) as lock:
            # Another run may have copied it meanwhile.
            job.manifest.read_anew()
            whole = self._whole(job)
            if whole is not None:
                return self._found(job, whole)
            if not self.overwrite:
                self._check_name(job)
            downloaded = self._copy(job, lock)
        self.log.info(
            "Copied %s to %s: %d bytes, sha256 %s.",
            shown_url(job.url),
            self.storage.path(job.name),
            downloaded.size_bytes,
            downloaded.sha256,
        )
        size, sha256 = downloaded.size_bytes, downloaded.sha256
        return self._archived(job, job.name, size, sha256, copied=True)

    def _whole(self, job: _Job) -> Entry | None:
        """Return the manifest's entry of a file that is this video and complete, or None."""
        for entry in job.manifest.entries_of(job.video):
            size, wanted = entry.get("size_bytes"), job.video["size_bytes"]
            if entry.get("sha256") is None or (self.verify_size and (wanted or size) != size):
                continue
            # Something odd under another name concerns only that file.
            with contextlib.suppress(FileInTheWay):
                if self.storage.size(entry["name"]) == size:
                    return entry
        return None

    def _found(self, job: _Job, entry: Entry) -> ArchivedVideo:
        self.log.info("%s is there already.", self.storage.path(entry["name"]))
        size, sha256 = entry["size_bytes"], entry["sha256"]
        return self._archived(job, entry["name"], size, sha256, copied=False)

    def _check_name(self, job: _Job) -> None:
        """Raise where a file has the name already and is not known to be this video."""
        if self.storage.size(job.name) is None:
            return
        path, entry = self.storage.path(job.name), job.manifest.entry(job.name)
        if entry is None:
            raise FileInTheWay(f"{path} exists, and the manifest does not know it.")
        if not describes(entry, job.video):
            known, url = entry.get("video_id"), entry.get("source_url")
            raise FileInTheWay(
                f"{path} exists, and by the manifest it is the video {known!r} from {url}, not "
                f"{job.video['id']!r} from {shown_url(job.url)}.",
                hint="Put {video_id} into names, because {index} is another one where the API "
                "lists the videos in another order; or move the file away, or replace it by "
                "setting overwrite to true.",
            )

    def _copy(self, job: _Job, lock: Lock) -> Downloaded:
        target = self.storage.create(job.name, job.video["size_bytes"])
        copy = self._open[job.name] = _Copy(job, target, lock)
        try:
            downloaded = self._downloader.download(
                job.url,
                target,
                size_bytes=job.video["size_bytes"] if self.verify_size else None,
                begun=copy.begun(),
                started=copy.started,
                progress=copy.progress,
            )
            target.commit()
        finally:
            # After a commit there is nothing left to abort.
            copy.end()
            self._open.pop(job.name, None)
            self._arrived_bytes += copy.arrived_bytes
        job.manifest.complete(job.name, job.video, downloaded)
        self.copied.append(job.name)
        return downloaded

    def _abandon(self, threads: list[threading.Thread]) -> None:
        """Abort the open files; a thread that waits for the network may stay behind."""
        self._stop.set()
        for copy in list(self._open.values()):
            with contextlib.suppress(Exception):
                copy.end()
                copy.lock.release()
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

    def _archived(
        self, job: _Job, name: str, size_bytes: int, sha256: str, *, copied: bool
    ) -> ArchivedVideo:
        return ArchivedVideo(
            path=self.storage.path(name),
            name=name,
            task_id=job.task_id,
            video=job.given,
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
            counted(copied, "video"),
            len(archived) - copied,
            len(failures),
        )
        if failures:
            raise _failed(failures, archived)
        return archived


def _count(result: _Result) -> None:
    if isinstance(result, TiwError):
        report("tiw.archive.videos_failed", reason=result.code)
    else:
        report(f"tiw.archive.videos_{'copied' if result.copied else 'found'}")


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


class _Copy:
    """A video that is being copied."""

    def __init__(self, job: _Job, target: Target, lock: Lock) -> None:
        self.job = job
        self.target = target
        self.lock = lock
        self.offset = self._first = 0
        self._can_continue = False

    @property
    def arrived_bytes(self) -> int:
        """How many bytes this run has received."""
        return max(self.offset - self._first, 0)

    def begun(self) -> Begun | None:
        """Return what an earlier run has left of this video, if it can be continued."""
        target, entry = self.target, self.job.manifest.entry(self.job.name) or {}
        etag = entry.get("etag")
        is_open = entry.get("sha256") is None and isinstance(etag, str)
        if not (target.begun_bytes and is_open and describes(entry, self.job.video)):
            target.restart()
            return None
        self._first, self._can_continue = target.begun_bytes, True
        return Begun(target.begun_bytes, str(etag), target.begun)

    def started(self, etag: str | None) -> None:
        self._can_continue = etag is not None
        self._first = 0
        self.job.manifest.announce(self.job.name, self.job.video, etag)

    def progress(self, offset: int) -> None:
        self.offset = offset
        self.lock.progress()

    def end(self) -> None:
        """Close the file; what can be continued stays."""
        self.target.abort(keep=self._can_continue)


def _not_stored(job: _Job, error: BaseException) -> VideoError:
    found = VideoError(
        f"{job.name} cannot be stored: {type(error).__name__}: {error}",
        code="Archive.Storage",
        retryable=True,
        hint="Check the destination, its connection and its free space.",
    )
    found.__cause__ = error
    return found


def _nameless(job: _Job, name: str, why: str) -> _Job:
    error = FileInTheWay(
        f"{job.name} cannot be the name of the video {shown(job.video['id'])}: {why}.",
        hint="Put {index} into names.",
    )
    return _Job(name, job.video, job.given, job.manifest, error)


def _identity(record: Mapping[str, Any]) -> tuple[int, str]:
    return record["sdk_app_id"], record["task_id"]


def _collision(
    name: str, first: Mapping[str, Any], second: Mapping[str, Any]
) -> ConfigurationError:
    return ConfigurationError(
        f"Two files would have the name {name!r}: one of recording {first['task_id']!r} of "
        f"application {first['sdk_app_id']}, one of {second['task_id']!r} of "
        f"{second['sdk_app_id']}.",
        hint="Put more keys into names or manifest: {sdk_app_id}, {video_id}, {index}.",
    )
