# A copy of core/archive/manifest.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""The manifest of a recording: what the archive knows about each of its files.

``manifest.schema.json`` describes its form. The Ansible role of version 0.1 wrote another one,
without a version, with ``file`` in the place of ``name`` and relative to the manifest's folder; it
is read, and stored in today's form at the next change.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.errors import FileInTheWay
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.records import stored_form
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.storage import Storage
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import shown_url

if TYPE_CHECKING:
    from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.download import Downloaded

_VERSION = 1
_PATIENCE_S = 60.0

Entry = dict[str, Any]
"""One file of a manifest; without a ``sha256`` it was begun and is not complete."""


class Manifest:
    """The manifest of one recording; safe to use from several threads.

    Other runs may write to it at the same time, so each change is merged into what is stored then.

    :param name: its name in the storage.
    :param record: the recording, in its JSON form.
    :param overwrite: replace a file of that name that is not this recording's manifest.
    """

    def __init__(
        self, storage: Storage, name: str, record: Mapping[str, Any], *, overwrite: bool
    ) -> None:
        self.name = name
        self.record = record
        self.overwrite = overwrite
        self._storage = storage
        self._lock = threading.Lock()
        self._known: dict[str, Entry] | None = None
        self._own: dict[str, Entry] = {}

    def entry(self, name: str) -> Entry | None:
        """Return what is known of a file."""
        with self._lock:
            return self._read_once().get(name)

    def entries_of(self, video: Mapping[str, Any]) -> list[Entry]:
        """Return the files that are this video, whatever their names are."""
        with self._lock:
            return [entry for entry in self._read_once().values() if describes(entry, video)]

    def read_anew(self) -> None:
        """Forget what was read: another run may have stored more."""
        with self._lock:
            self._known = None

    def announce(self, name: str, video: Mapping[str, Any], etag: str | None) -> None:
        """Store the name of a file before its first byte is written.

        :param etag: the strong ETag of the video, with which a later run can continue.
        """
        with self._lock:
            self._own[name] = {**_new_entry(name, video), "etag": etag}
            known = self._read_once().get(name)
            if known is None or known.get("etag") != etag or not describes(known, video):
                self._save(newest=name)

    def complete(self, name: str, video: Mapping[str, Any], downloaded: Downloaded) -> None:
        """Store the size and the hash of a file that is copied now."""
        with self._lock:
            self._own[name] = {
                **_new_entry(name, video),
                "size_bytes": downloaded.size_bytes,
                "sha256": downloaded.sha256,
                "etag": downloaded.etag,
                "archived_at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            }
            self._save(newest=name)

    def restore(self) -> None:
        """Store again what another run, on a storage without locks, has overwritten."""
        with self._lock:
            if self._own:
                stored = self._read()
                if self._merged(stored) != stored:
                    self._save()

    def _read_once(self) -> dict[str, Entry]:
        if self._known is None:
            self._known = self._read()
        return self._known

    def _read(self) -> dict[str, Entry]:
        try:
            text = self._storage.read(self.name)
            return {} if text is None else self._parse(text)
        except FileInTheWay:
            if not self.overwrite:
                raise
            return {}

    def _parse(self, text: bytes) -> dict[str, Entry]:
        path = self._storage.path(self.name)
        task_id, app_id, entries = parse_manifest(text, self.name, path)
        if (app_id, task_id) != (self.record["sdk_app_id"], self.record["task_id"]):
            raise FileInTheWay(
                f"{path} is the manifest of recording {task_id!r} of application {app_id}, not "
                f"of {self.record['task_id']!r} of {self.record['sdk_app_id']}."
            )
        return {entry["name"]: entry for entry in entries}

    def _merged(self, stored: dict[str, Entry]) -> dict[str, Entry]:
        """Return what is stored, with this run's entries where they are newer."""
        merged = {**stored}
        for name, entry in self._own.items():
            other = stored.get(name)
            # Another run may copy the same file: the later copy replaced the earlier one.
            if other is None or (other.get("archived_at") or "") < (entry["archived_at"] or ""):
                merged[name] = entry
        return merged

    def _save(self, newest: str | None = None) -> None:
        with self._storage.exclusive(self.name, _PATIENCE_S):
            known = self._merged(self._read())
            if newest is not None:
                # Even if the clock of another machine is ahead.
                known[newest] = self._own[newest]
            content = {
                "manifest_version": _VERSION,
                "record": stored_form(self.record),
                "files": sorted(known.values(), key=lambda file: str(file["name"])),
            }
            # JSON may hold half a character, which no file can.
            shown = json.dumps(content, indent=2, ensure_ascii=False)
            text = shown.encode("utf-8", "backslashreplace") + b"\n"
            target = self._storage.create(self.name, len(text))
            try:
                target.restart()
                target.write(memoryview(text))
                target.commit()
            finally:
                target.abort()
            self._known = known


def parse_manifest(text: bytes, name: str, path: str) -> tuple[str, int, list[Entry]]:
    """Return the TaskId, the application and the files of a manifest.

    :param name: its name in the storage, which older files are relative to.
    :param path: what a message calls it.
    :raises FileInTheWay: it is not a manifest of this version or an older one.
    """
    try:
        data = json.loads(text)
        record = data["record"]
        task_id, app_id = record["task_id"], record["sdk_app_id"]
        version = data.get("manifest_version")
        if version is None:
            entries = list(_entries_of_role(data, name))
        elif version == _VERSION:
            entries = [{**file} for file in data["files"]]
        else:
            raise ValueError(f"version {version!r}")
        for entry in entries:
            _check_inside(entry["name"])
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError) as error:
        raise FileInTheWay(f"{path} is not a manifest of this version ({error}).") from None
    return task_id, app_id, entries


def _entries_of_role(data: Mapping[str, Any], name: str) -> Iterator[Entry]:
    """Yield the files of a manifest that the Ansible role of version 0.1 wrote."""
    videos = {video["id"]: video for video in data["record"]["videos"]}
    folder = name.rpartition("/")[0]
    for file in data["files"]:
        video = videos.get(file["video_id"], {})
        yield {
            "name": f"{folder}/{file['file']}" if folder else file["file"],
            "video_id": file["video_id"],
            "kind": video.get("kind", "unknown"),
            "source_url": shown_url(video.get("url") or ""),
            "size_bytes": file["size_bytes"],
            "sha256": file["sha256"],
            "etag": None,
            "archived_at": None,
        }


def _check_inside(name: object) -> None:
    """Refuse a name that leaves the archive's folder."""
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise ValueError(f"the name {name!r}")


def _new_entry(name: str, video: Mapping[str, Any]) -> Entry:
    return {
        "name": name,
        "video_id": video["id"],
        "kind": video["kind"],
        "source_url": shown_url(video["url"] or ""),
        "size_bytes": None,
        "sha256": None,
        "etag": None,
        "archived_at": None,
    }


def describes(entry: Mapping[str, Any], video: Mapping[str, Any]) -> bool:
    """Return whether a manifest's entry is that of this video."""
    # The host in a URL may change, for a CDN in front of the bucket.
    if video["id"] and entry.get("video_id"):
        return bool(entry["video_id"] == video["id"])
    return bool(entry.get("source_url") == shown_url(video["url"] or ""))
