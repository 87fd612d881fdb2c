# SPDX-License-Identifier: Apache-2.0
"""Copies of recordings that outlive Tencent's three days.

An archive is a folder of videos with one manifest for each recording. The manifest names a video
before it is copied and describes it afterwards, so that a second run knows what is there, and
nothing is overwritten that belongs to something else.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import queue
import re
import secrets
import string
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from tiw_automation.core.archive.download import (
    Downloaded,
    DownloadStopped,
    VideoDownloader,
    VideoError,
)
from tiw_automation.core.errors import ConfigurationError, TiwError
from tiw_automation.core.formatting import amount, shown_url
from tiw_automation.core.records.record import OnlineRecord, Video, check_video_kinds

logger = logging.getLogger(__name__)

DEFAULT_NAMES = "{task_id}/{kind}-{video_id}.{format}"
DEFAULT_MANIFEST = "{task_id}/manifest.json"

RECORD_KEYS = ("sdk_app_id", "task_id", "room_id", "group_id", "record_user_id", "start_date")
VIDEO_KEYS = (
    "video_id",
    "index",
    "kind",
    "format",
    "user_id",
    "play_time_ms",
    "duration_ms",
    "width",
    "height",
)

_MANIFEST_VERSION = 1
# The longest name that common file systems take, less what a temporary one adds.
_NAME_BYTES = 220
# Kept as they are in a value; everything else is escaped, so that two values stay two.
_PLAIN = "@+=,"
_NUMBER_SPEC = re.compile(r"0?(1?\d)?d?")
_FORMAT = re.compile(r"[A-Za-z0-9]{1,8}")
_WRITE_BACK_BYTES = 16 * 1024 * 1024
# How soon the waiting thread hears that it has to stop.
_TICK_S = 0.2
# How long those who are between two steps may take to see it; Airflow kills after five seconds.
_PARTING_S = 1.0


class FileInTheWay(VideoError):
    """There is a file of that name that is not known to be this video, or is another one."""

    default_code = "Archive.FileInTheWay"
    default_hint = "Move it away, choose other names, or overwrite it by setting overwrite to true."


class ArchiveFailed(TiwError):
    """Some videos could not be copied; all others were.

    ``failures`` are pairs of a name and its error, ``archived`` is what there is. It is retryable
    where one of the failures is: a retry copies only what is missing.
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


class Target(Protocol):
    """A file in the making: nobody sees it under its name before :meth:`commit`."""

    def write(self, data: bytes, /) -> object:
        """Append."""

    def restart(self) -> None:
        """Forget what was written."""

    def commit(self) -> None:
        """Give it its name, whole and stored safely; what had the name is replaced."""

    def abort(self) -> None:
        """Leave nothing behind. Safe at any time, from any thread, also after :meth:`commit`.

        A write or a commit that comes later raises :class:`DownloadStopped`.
        """


class Storage(Protocol):
    """Where an archive lies; names are relative, with ``/`` between folders."""

    def path(self, name: str) -> str:
        """Return what opens the file later."""

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None where there is none."""

    def read(self, name: str) -> bytes | None:
        """Return a small file's content, or None where there is none."""

    def create(self, name: str, size_bytes: int | None) -> Target:
        """Begin a file, of about that size where it is known."""

    def exclusive(self, name: str) -> AbstractContextManager[object]:
        """Keep other runs from the same for that file meanwhile, where the storage can do so."""


@dataclass(frozen=True, slots=True)
class ArchivedVideo:
    """A video that is in the archive; ``copied`` is false where it was there already."""

    path: str
    name: str
    task_id: str
    video: Video
    source_url: str
    size_bytes: int
    sha256: str
    copied: bool


class NameTemplate:
    """A pattern for names, with keys in braces: ``{task_id}/{index:03d}.{format}``.

    A value never adds a folder: what is not an ASCII letter, digit or one of ``-_.~@+=,`` is
    escaped as ``%XX``, and so is a leading dot. One that is empty or not known is ``none``.

    :param what: what it is called in a message.
    :param keys: the keys that it may use.
    :param needed: groups of keys; it has to use one of each, or two names could be the same.
    :raises ConfigurationError: it leaves the folder, uses another key or misses one.
    """

    def __init__(
        self, template: str, what: str, keys: Sequence[str], needed: Sequence[Sequence[str]]
    ) -> None:
        self.template = template
        self._what = what
        hint = f"Use the keys {', '.join('{' + key + '}' for key in keys)}."
        if not isinstance(template, str):
            raise ConfigurationError(f"{what} has to be a string, not {template!r}.", hint=hint)
        try:
            self._parts = list(string.Formatter().parse(template))
        except ValueError as error:
            raise ConfigurationError(f"{what}: {template!r}: {error}.", hint=hint) from None
        used = set()
        for _, key, spec, conversion in self._parts:
            if key is None:
                continue
            if key not in keys:
                raise ConfigurationError(f"{what}: {{{key}}} is not a key.", hint=hint)
            if conversion or not _NUMBER_SPEC.fullmatch(spec or ""):
                raise ConfigurationError(
                    f"{what}: {{{key}}} has the format {(conversion or '') + (spec or '')!r}.",
                    hint="Only a width of up to 19 is possible, as in {index:03d}.",
                )
            used.add(key)
        for group in needed:
            if not used.intersection(group):
                wanted = " or ".join("{" + key + "}" for key in group)
                raise ConfigurationError(
                    f"{what}: {template!r} has to contain {wanted}.",
                    hint="Otherwise two files could have the same name.",
                )
        self._check(self.render(dict.fromkeys(keys, "x")))

    def render(self, values: Mapping[str, str | int | None]) -> str:
        """Return the name.

        :raises ConfigurationError: a part of it is longer than file systems allow.
        """
        pieces = []
        for literal, key, spec, _ in self._parts:
            pieces.append(literal)
            if key is None:
                continue
            value = values[key]
            if isinstance(value, int):
                pieces.append(format(value, spec or ""))
            else:
                pieces.append(_escaped(value or "none"))
        name = "".join(pieces)
        self._check(name)
        return name

    def _check(self, name: str) -> None:
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or not all(
            character.isprintable() and character != "\\" for character in name
        ):
            raise ConfigurationError(
                f"{self._what}: {self.template!r} gives {name!r}, which is no path inside of the "
                "destination.",
                hint='Leave out a "/" at either end, "//", "." and ".." as folders, and "\\".',
            )
        for part in parts:
            if len(part.encode()) > _NAME_BYTES:
                raise ConfigurationError(
                    f"{self._what}: {self.template!r} gives the name {part[:40]!r}..., which has "
                    f"more than {_NAME_BYTES} bytes.",
                    hint="Use fewer keys, or a folder for some of them.",
                )


def _escaped(value: str) -> str:
    text = quote(value, safe=_PLAIN)
    return "%2E" + text[1:] if text.startswith(".") else text


def _record_values(record: OnlineRecord) -> dict[str, str | int | None]:
    start = record.record_start_time
    return {
        "sdk_app_id": record.sdk_app_id,
        "task_id": record.task_id,
        "room_id": record.room_id,
        "group_id": record.group_id,
        "record_user_id": record.record_user_id,
        "start_date": None
        if start is None
        else datetime.fromtimestamp(start, UTC).date().isoformat(),
    }


def _video_values(record: OnlineRecord, index: int, video: Video) -> dict[str, str | int | None]:
    stem, _, suffix = urlsplit(video.url or "").path.rpartition("/")[2].rpartition(".")
    given = video.format or suffix
    return {
        **_record_values(record),
        "video_id": video.id or stem or None,
        "index": index,
        "kind": video.kind.value,
        "format": given.lower() if _FORMAT.fullmatch(given) else "bin",
        "user_id": video.user_id,
        "play_time_ms": video.play_time_ms,
        "duration_ms": video.duration_ms,
        "width": video.width,
        "height": video.height,
    }


@dataclass(frozen=True, slots=True)
class _Job:
    """One video and the name that it gets."""

    name: str
    video: Video
    manifest: _Manifest

    @property
    def url(self) -> str:
        return self.video.url or ""


class _Manifest:
    """What the archive knows about one recording; safe to use from several threads.

    Other runs may write to it at the same time, so each change goes into what is stored then.
    """

    def __init__(
        self, storage: Storage, name: str, record: OnlineRecord, *, overwrite: bool
    ) -> None:
        self.name = name
        self.record = record
        self.overwrite = overwrite
        self.lock = threading.Lock()
        self._storage = storage
        self._planned: dict[str, dict[str, Any]] = {}
        self._known: dict[str, dict[str, Any]] | None = None
        self._own: dict[str, dict[str, Any]] = {}

    def plan(self, name: str, video: Video) -> None:
        """Note a name that this run may create."""
        self._planned[name] = {
            "name": name,
            "video_id": video.id,
            "kind": video.kind.value,
            "source_url": shown_url(video.url or ""),
            "size_bytes": None,
            "sha256": None,
            "etag": None,
            "archived_at": None,
        }

    def entry(self, name: str, *, anew: bool = False) -> dict[str, Any] | None:
        """Return what is known of a file; ``anew`` looks for what other runs have stored since."""
        with self.lock:
            if self._known is None or anew:
                self._known = self._read()
            return self._known.get(name)

    def announce(self, name: str) -> None:
        """Store the name of what is about to be copied."""
        with self.lock:
            self._own[name] = self._planned[name]
            if self._known is None or name not in self._known:
                self._save()

    def add(self, name: str, downloaded: Downloaded) -> None:
        """Store what a file turned out to be."""
        with self.lock:
            self._own[name] = {
                **self._planned[name],
                "size_bytes": downloaded.size_bytes,
                "sha256": downloaded.sha256,
                "etag": downloaded.etag,
                "archived_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            self._save(newest=name)

    def settle(self) -> None:
        """Store again what another run, on a storage without locks, wrote over."""
        with self.lock:
            if self._own:
                stored = self._read()
                if self._merged(stored) != stored:
                    self._save()

    def _read(self) -> dict[str, dict[str, Any]]:
        text = self._storage.read(self.name)
        try:
            return {} if text is None else self._parsed(text)
        except FileInTheWay:
            if not self.overwrite:
                raise
            return {}

    def _merged(self, stored: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return what is stored with what this run knows better."""
        merged = {**stored}
        for name, entry in self._own.items():
            other = stored.get(name)
            # The same file may be another run's too; the later copy is the one that is there.
            if other is None or (other.get("archived_at") or "") < (entry["archived_at"] or ""):
                merged[name] = entry
        return merged

    def _parsed(self, text: bytes) -> dict[str, dict[str, Any]]:
        path = self._storage.path(self.name)
        try:
            data = json.loads(text)
            record = data["record"]
            whose = (record["sdk_app_id"], record["task_id"])
            entries = {file["name"]: {**file} for file in data["files"]}
            if data["manifest_version"] != _MANIFEST_VERSION:
                raise ValueError(f"version {data['manifest_version']!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise FileInTheWay(f"{path} is no manifest of this version ({error}).") from None
        if whose != (self.record.sdk_app_id, self.record.task_id):
            raise FileInTheWay(
                f"{path} is the manifest of recording {whose[1]!r} of application {whose[0]}, not "
                f"of {self.record.task_id!r} of {self.record.sdk_app_id}."
            )
        return entries

    def _save(self, newest: str | None = None) -> None:
        with self._storage.exclusive(self.name):
            known = self._merged(self._read())
            if newest is not None:
                # Whatever the clock of another machine says.
                known[newest] = self._own[newest]
            content = {
                "manifest_version": _MANIFEST_VERSION,
                "record": public_record(self.record),
                "files": sorted(known.values(), key=lambda file: str(file["name"])),
            }
            text = json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"
            target = self._storage.create(self.name, len(text))
            try:
                target.write(text)
                target.commit()
            finally:
                target.abort()
            self._known = known


def public_record(record: OnlineRecord) -> dict[str, Any]:
    """Return :meth:`OnlineRecord.to_dict` without the queries of its URLs."""
    data = replace(
        record,
        videos=tuple(
            replace(video, url=shown_url(video.url) if video.url else video.url)
            for video in record.videos
        ),
        replay_url=shown_url(record.replay_url) if record.replay_url else record.replay_url,
    ).to_dict()
    return data


class RecordArchive:
    """Copies the videos of recordings into a storage, several at a time.

    A video is whole under its name or not there at all, also when this is killed. What the
    manifest says is there, in the size that the storage has, is not copied again; the same video
    in another size is, over the file. One that cannot be copied does not keep the others from it.

    :param storage: where to.
    :param names: the pattern of the videos' names, see :class:`NameTemplate`; it holds
        ``{task_id}``, and ``{video_id}`` or ``{index}``.
    :param manifest: the pattern of the manifests' names; it holds ``{task_id}``.
    :param max_workers: how many videos at once.
    :param video_kinds: the kinds of video wanted; all by default.
    :param overwrite: replace a file that is not known to be the video, or is another one.
    :param verify_size: refuse a video of another size than the record says.
    :param progress_s: seconds between two lines about the progress.
    :param proxy: the URL of an HTTP proxy; by default the environment's.
    :param ca_file: a bundle of CA certificates to trust.
    :param timeout_s: see :class:`VideoDownloader`, as ``attempts``.
    :param log: where the progress goes.
    :raises ConfigurationError: an argument makes no sense.
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
            raise ConfigurationError(f"max_workers has to be 1 or more, not {max_workers!r}.")
        if not progress_s > 0:
            raise ConfigurationError(f"progress_s has to be above zero, not {progress_s!r}.")
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
        """Have :meth:`run` end soon and leave nothing half. Safe in a signal handler."""
        self._stop.set()

    def run(self, records: Iterable[OnlineRecord]) -> list[ArchivedVideo]:
        """Copy what is missing; return every video, in the order of the records.

        :raises ArchiveFailed: some could not be copied; the others were.
        :raises DownloadStopped: :meth:`stop` was called; the next run goes on.
        :raises ConfigurationError: two videos would have one name; nothing was copied.
        """
        jobs = self._plan(records)
        results: queue.SimpleQueue[tuple[_Job, ArchivedVideo | TiwError]] = queue.SimpleQueue()
        waiting: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        threads = [
            threading.Thread(
                target=self._work, args=(waiting, results), name=f"tiw-archive-{n}", daemon=True
            )
            for n in range(min(self.max_workers, len(jobs)))
        ]
        ends: dict[str, ArchivedVideo | TiwError] = {}
        finished = False
        try:
            for thread in threads:
                thread.start()
            for job, end in self._collect(results, jobs):
                ends[job.name] = end
            finished = True
        finally:
            if not finished:
                self._abandon(threads)
            self._downloader.close()
        self._settle(jobs)
        return self._judge(jobs, ends)

    def _plan(self, records: Iterable[OnlineRecord]) -> list[_Job]:
        jobs: dict[str, _Job] = {}
        manifests: dict[str, _Manifest] = {}
        for record in records:
            name = self.manifest.render(_record_values(record))
            if name in manifests:
                if _identity(manifests[name].record) == _identity(record):
                    continue
                raise _collision(name, manifests[name].record, record)
            manifest = manifests[name] = _Manifest(
                self.storage, name, record, overwrite=self.overwrite
            )
            for job in self._videos(record, manifest):
                if job.name in jobs:
                    raise _collision(job.name, jobs[job.name].manifest.record, record)
                manifest.plan(job.name, job.video)
                jobs[job.name] = job
        for name in jobs.keys() & manifests.keys():
            raise _collision(name, jobs[name].manifest.record, manifests[name].record)
        return list(jobs.values())

    def _videos(self, record: OnlineRecord, manifest: _Manifest) -> Iterator[_Job]:
        for index, video in enumerate(record.videos, start=1):
            if self.video_kinds is not None and video.kind not in self.video_kinds:
                continue
            if not video.url:
                self.log.warning(
                    "Recording %s: video %s has no URL and is left out.", record.task_id, video.id
                )
                continue
            yield _Job(self.names.render(_video_values(record, index, video)), video, manifest)

    def _collect(
        self,
        results: queue.SimpleQueue[tuple[_Job, ArchivedVideo | TiwError]],
        jobs: list[_Job],
    ) -> Iterator[tuple[_Job, ArchivedVideo | TiwError]]:
        """Yield the ends as they come, and tell the log now and then how far it is."""
        total = sum(job.video.size_bytes or 0 for job in jobs)
        done = 0
        next_line = time.monotonic() + self.progress_s
        seen = (0, time.monotonic())
        while done < len(jobs):
            if self._stop.is_set():
                raise DownloadStopped(f"Stopped after {done} of {len(jobs)} videos.")
            with contextlib.suppress(queue.Empty):
                yield results.get(timeout=_TICK_S)
                done += 1
            now = time.monotonic()
            if now >= next_line and done < len(jobs):
                arrived = sum(list(self._offsets.values()))
                speed = max(arrived - seen[0], 0) / (now - seen[1])
                self.log.info(
                    "%d of %d videos are done; %s of %s copied, %s/s.",
                    done,
                    len(jobs),
                    amount(arrived),
                    amount(total),
                    amount(speed),
                )
                seen = (arrived, now)
                next_line = now + self.progress_s

    def _work(
        self,
        waiting: queue.SimpleQueue[_Job],
        results: queue.SimpleQueue[tuple[_Job, ArchivedVideo | TiwError]],
    ) -> None:
        while not self._stop.is_set():
            try:
                job = waiting.get_nowait()
            except queue.Empty:
                return
            end: ArchivedVideo | TiwError
            try:
                end = self._archive(job)
            except DownloadStopped:
                return
            except TiwError as error:
                end = error
            except BaseException as error:
                # Whatever it was, somebody waits for the end of this job.
                end = VideoError(
                    f"{job.name} cannot be stored: {type(error).__name__}: {error}",
                    code="Archive.Storage",
                    retryable=True,
                    hint="Check the destination, its connection and the room that is left.",
                )
                end.__cause__ = error
            results.put((job, end))

    def _archive(self, job: _Job) -> ArchivedVideo:
        """Copy one video, unless it is there."""
        size = self.storage.size(job.name)
        entry = job.manifest.entry(job.name)
        if size is not None and (entry is None or not _is_of(entry, job.video)):
            # Another run may have begun it after the manifest was read.
            entry = job.manifest.entry(job.name, anew=True)
            if entry is not None:
                size = self.storage.size(job.name)
        if entry is not None and self._is_there(job, entry, size):
            self.log.info("%s is there already.", self.storage.path(job.name))
            return self._archived(job, entry["size_bytes"], entry["sha256"], copied=False)
        if size is not None and not self.overwrite:
            self._check_free(job, entry)
        job.manifest.announce(job.name)
        downloaded = self._copy(job)
        job.manifest.add(job.name, downloaded)
        self.log.info(
            "Copied %s to %s: %d bytes, sha256 %s.",
            shown_url(job.url),
            self.storage.path(job.name),
            downloaded.size_bytes,
            downloaded.sha256,
        )
        return self._archived(job, downloaded.size_bytes, downloaded.sha256, copied=True)

    def _check_free(self, job: _Job, entry: dict[str, Any] | None) -> None:
        """Raise where a file belongs to something else than this video."""
        path = self.storage.path(job.name)
        if entry is None:
            raise FileInTheWay(f"{path} exists, and the manifest does not know it.")
        if not _is_of(entry, job.video):
            known, url = entry.get("video_id"), entry.get("source_url")
            raise FileInTheWay(
                f"{path} exists, and by the manifest it is the video {known!r} from {url}, not "
                f"{job.video.id!r} from {shown_url(job.url)}.",
                hint="Put {video_id} into names, because {index} is another one where the API "
                "lists the videos in another order; or move the file away, or replace it by "
                "setting overwrite to true.",
            )

    def _is_there(self, job: _Job, entry: dict[str, Any], size: int | None) -> bool:
        return (
            _is_of(entry, job.video)
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
        """End whatever is in the making; a thread that hangs on the network may stay behind."""
        self._stop.set()
        for target in list(self._open.values()):
            with contextlib.suppress(Exception):
                target.abort()
        deadline = time.monotonic() + _PARTING_S
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(deadline - time.monotonic(), 0.0))

    def _settle(self, jobs: list[_Job]) -> None:
        for manifest in {job.manifest.name: job.manifest for job in jobs}.values():
            try:
                manifest.settle()
            except Exception as error:
                # All that was copied was stored there when it was.
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

    def _judge(
        self, jobs: list[_Job], ends: Mapping[str, ArchivedVideo | TiwError]
    ) -> list[ArchivedVideo]:
        found = [(job.name, ends[job.name]) for job in jobs]
        archived = [end for _, end in found if isinstance(end, ArchivedVideo)]
        failures = [(name, end) for name, end in found if isinstance(end, TiwError)]
        copied = sum(video.copied for video in archived)
        self.log.info(
            "Copied %s; %d were there already, %d failed.",
            "1 video" if copied == 1 else f"{copied} videos",
            len(archived) - copied,
            len(failures),
        )
        if failures:
            # A manifest in the way is the same for all videos of its recording.
            reasons: dict[str, list[str]] = {}
            for name, error in failures:
                reasons.setdefault(str(error), []).append(name)
            raise ArchiveFailed(
                f"{len(failures)} of {len(jobs)} videos were not archived: "
                + " ".join(f"[{', '.join(names)}] {reason}" for reason, names in reasons.items()),
                failures=failures,
                archived=archived,
                retryable=any(error.retryable for _, error in failures),
            )
        return archived


def _is_of(entry: Mapping[str, Any], video: Video) -> bool:
    """Return whether a manifest's entry is that of this video."""
    # The host in a URL may change, for a CDN in front of the bucket.
    if video.id and entry.get("video_id"):
        return bool(entry["video_id"] == video.id)
    return bool(entry.get("source_url") == shown_url(video.url or ""))


def _identity(record: OnlineRecord) -> tuple[int, str]:
    return record.sdk_app_id, record.task_id


def _collision(name: str, first: OnlineRecord, second: OnlineRecord) -> ConfigurationError:
    return ConfigurationError(
        f"Two files would have the name {name!r}: one of recording {first.task_id!r} of "
        f"application {first.sdk_app_id}, one of {second.task_id!r} of {second.sdk_app_id}.",
        hint="Put more keys into names or manifest: {sdk_app_id}, {video_id}, {index}.",
    )


class LocalStorage:
    """An archive in a folder of this machine, which is made where it is missing."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def path(self, name: str) -> str:
        """Return the file's path."""
        return str(self.folder / name)

    def size(self, name: str) -> int | None:
        """Return the file's size in bytes, or None."""
        try:
            return (self.folder / name).stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def read(self, name: str) -> bytes | None:
        """Return the file's content, or None."""
        try:
            return (self.folder / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def create(self, name: str, size_bytes: int | None) -> Target:
        """Begin a file."""
        return _LocalFile(self.folder / name)

    def exclusive(self, name: str) -> AbstractContextManager[object]:
        """Hold a lock, also against other processes of this machine."""
        return _held(self.folder / name)


class _LocalFile:
    """A file with a hidden name until it is on the disk.

    It is locked as long as its writer lives: what a killed one left behind is found by that.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        _make_folders(path.parent)
        _remove_left_behind(path)
        self._temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        self._file: int | None = os.open(self._temporary, flags, 0o666)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._written = self._handed_over = 0

    def write(self, data: bytes, /) -> None:
        with self._lock:
            file = self._opened()
            view = memoryview(data)
            while view:
                count = os.write(file, view)
                view = view[count:]
                self._written += count
            if self._written - self._handed_over >= _WRITE_BACK_BYTES:
                # Has the kernel write it now, or the last fsync would wait for all of it; and
                # nobody reads a video from the cache.
                os.posix_fadvise(
                    file,
                    self._handed_over,
                    self._written - self._handed_over,
                    os.POSIX_FADV_DONTNEED,
                )
                self._handed_over = self._written

    def restart(self) -> None:
        with self._lock:
            file = self._opened()
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            self._written = self._handed_over = 0

    def commit(self) -> None:
        with self._lock:
            file = self._opened()
            os.fsync(file)
            os.replace(self._temporary, self._path)
            self._file = None
            os.close(file)
            _sync_folder(self._path.parent)

    def abort(self) -> None:
        with self._lock:
            if self._file is not None:
                self._temporary.unlink(missing_ok=True)
                os.close(self._file)
                self._file = None

    def _opened(self) -> int:
        if self._file is None:
            raise DownloadStopped(f"{self._path}: writing was given up.")
        return self._file


@contextlib.contextmanager
def _held(path: Path) -> Iterator[None]:
    _make_folders(path.parent)
    lock = path.with_name(f".{path.name}.lock")
    file = _locked(lock)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(file)


def _locked(lock: Path) -> int:
    while True:
        # For writing: NFS wants that of whoever locks.
        file = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Whoever had it has removed it by now, and the next may have a new one.
            if os.path.samestat(os.fstat(file), lock.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _make_folders(folder: Path) -> None:
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _remove_left_behind(path: Path) -> None:
    pattern = re.compile(re.escape(f".{path.name}.") + r"[0-9a-f]{8}\.part")
    for other in path.parent.iterdir():
        if not pattern.fullmatch(other.name):
            continue
        with contextlib.suppress(OSError):
            file = os.open(other, os.O_WRONLY)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                other.unlink()
            finally:
                os.close(file)
