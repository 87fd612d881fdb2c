# SPDX-License-Identifier: Apache-2.0
"""The manifest of a recording: what the archive knows about each of its files."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tiw_automation.core.archive.errors import FileInTheWay
from tiw_automation.core.archive.storage import Storage
from tiw_automation.core.formatting import shown_url
from tiw_automation.core.records.record import OnlineRecord, Video, public_record

if TYPE_CHECKING:
    from tiw_automation.core.archive.download import Downloaded

_VERSION = 1

Entry = dict[str, Any]
"""One file of a manifest; without a ``sha256`` it was begun and is not complete."""


class Manifest:
    """The manifest of one recording; safe to use from several threads.

    Other runs may write to it at the same time, so each change is merged into what is stored then.

    :param name: its name in the storage.
    :param overwrite: replace a file of that name that is not this recording's manifest.
    """

    def __init__(
        self, storage: Storage, name: str, record: OnlineRecord, *, overwrite: bool
    ) -> None:
        self.name = name
        self.record = record
        self.overwrite = overwrite
        self._storage = storage
        self._lock = threading.Lock()
        self._known: dict[str, Entry] | None = None
        self._own: dict[str, Entry] = {}

    def entry(self, name: str, *, anew: bool = False) -> Entry | None:
        """Return what is known of a file; ``anew`` reads what other runs have stored since."""
        with self._lock:
            if self._known is None or anew:
                self._known = self._read()
            return self._known.get(name)

    def announce(self, name: str, video: Video) -> None:
        """Store the name of a file before its copying begins."""
        with self._lock:
            self._own[name] = _new_entry(name, video)
            if self._known is None or name not in self._known:
                self._save()

    def complete(self, name: str, downloaded: Downloaded) -> None:
        """Store the size and the hash of a file that was announced and is copied now."""
        with self._lock:
            self._own[name] = {
                **self._own[name],
                "size_bytes": downloaded.size_bytes,
                "sha256": downloaded.sha256,
                "etag": downloaded.etag,
                "archived_at": datetime.now(UTC).isoformat(timespec="seconds"),
            }
            self._save(newest=name)

    def restore(self) -> None:
        """Store again what another run, on a storage without locks, has overwritten."""
        with self._lock:
            if self._own:
                stored = self._read()
                if self._merged(stored) != stored:
                    self._save()

    def _read(self) -> dict[str, Entry]:
        text = self._storage.read(self.name)
        try:
            return {} if text is None else self._parse(text)
        except FileInTheWay:
            if not self.overwrite:
                raise
            return {}

    def _parse(self, text: bytes) -> dict[str, Entry]:
        path = self._storage.path(self.name)
        try:
            data = json.loads(text)
            record = data["record"]
            owner = (record["sdk_app_id"], record["task_id"])
            entries = {file["name"]: {**file} for file in data["files"]}
            if data["manifest_version"] != _VERSION:
                raise ValueError(f"version {data['manifest_version']!r}")
        except (KeyError, TypeError, ValueError) as error:
            raise FileInTheWay(f"{path} is not a manifest of this version ({error}).") from None
        if owner != (self.record.sdk_app_id, self.record.task_id):
            raise FileInTheWay(
                f"{path} is the manifest of recording {owner[1]!r} of application {owner[0]}, not "
                f"of {self.record.task_id!r} of {self.record.sdk_app_id}."
            )
        return entries

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
        with self._storage.exclusive(self.name):
            known = self._merged(self._read())
            if newest is not None:
                # Even if the clock of another machine is ahead.
                known[newest] = self._own[newest]
            content = {
                "manifest_version": _VERSION,
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


def _new_entry(name: str, video: Video) -> Entry:
    return {
        "name": name,
        "video_id": video.id,
        "kind": video.kind.value,
        "source_url": shown_url(video.url or ""),
        "size_bytes": None,
        "sha256": None,
        "etag": None,
        "archived_at": None,
    }


def describes(entry: Mapping[str, Any], video: Video) -> bool:
    """Return whether a manifest's entry is that of this video."""
    # The host in a URL may change, for a CDN in front of the bucket.
    if video.id and entry.get("video_id"):
        return bool(entry["video_id"] == video.id)
    return bool(entry.get("source_url") == shown_url(video.url or ""))
