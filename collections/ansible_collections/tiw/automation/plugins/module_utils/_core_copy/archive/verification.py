# A copy of core/archive/verification.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""Checks an archive against its manifests."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.errors import DownloadStopped, FileInTheWay
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.manifest import Entry, parse_manifest
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.names import DEFAULT_MANIFEST
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.storage import Storage
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import ConfigurationError

_PIECE_BYTES = 1024 * 1024

WHOLE, MISSING, CUT, CHANGED = "whole", "missing", "cut", "changed"
INCOMPLETE, UNLISTED, UNREADABLE = "incomplete", "unlisted", "unreadable"


@dataclass(frozen=True)
class Finding:
    """What a check found about one file.

    ``state`` is one of: ``whole``; ``missing``; ``cut``, another size; ``changed``, another
    content; ``incomplete``, a copy that has not ended; ``unlisted``, a file that no manifest
    names; ``unreadable``, a manifest or file that cannot be read.
    """

    name: str
    path: str
    task_id: str | None
    state: str
    message: str
    size_bytes: int | None = None

    @property
    def is_bad(self) -> bool:
        """Whether a video is lost or damaged, or a manifest is."""
        return self.state in (MISSING, CUT, CHANGED, UNREADABLE)


def verify(
    storage: Storage,
    *,
    manifest: str = DEFAULT_MANIFEST,
    contents: bool = True,
    progress: Callable[[int], object] = lambda count: None,
    stop: threading.Event | None = None,
) -> Iterator[Finding]:
    """Check every file of an archive, and yield what was found.

    :param manifest: the pattern of the manifests' names; they are known by what follows its last
        key.
    :param contents: whether the files are read and their SHA-256 is compared; without it only
        their sizes are.
    :param progress: called with each number of bytes that were read.
    :param stop: once it is set, :class:`DownloadStopped` is raised.
    :raises ConfigurationError: the pattern ends with a key.
    """
    ending = manifest.rpartition("}")[2]
    if not ending:
        raise ConfigurationError(
            f"manifest: {manifest!r} must end with a text, by which manifests are known.",
            hint=f"For example {DEFAULT_MANIFEST}.",
        )
    check = _Check(storage, contents, progress, stop or threading.Event())
    listed: set[str] = set()
    others: list[str] = []
    for name in storage.names():
        if not name.endswith(ending.lstrip("/")):
            others.append(name)
            continue
        for finding in check.manifest(name):
            listed.add(finding.name)
            yield finding
    for name in others:
        if name not in listed:
            message = "no manifest names it"
            yield Finding(name, storage.path(name), None, UNLISTED, message)


@dataclass(frozen=True)
class _Check:
    storage: Storage
    contents: bool
    progress: Callable[[int], object]
    stop: threading.Event

    def manifest(self, name: str) -> Iterator[Finding]:
        path = self.storage.path(name)
        try:
            text = self.storage.read(name)
            task_id, _, entries = parse_manifest(text or b"", name, path)
        except (FileInTheWay, OSError) as error:
            yield Finding(name, path, None, UNREADABLE, str(error))
            return
        for entry in entries:
            yield self._file(task_id, entry)

    def _file(self, task_id: str, entry: Entry) -> Finding:
        name = entry["name"]
        path = self.storage.path(name)
        try:
            state, message, size = self._state(name, entry)
        except (FileInTheWay, OSError) as error:
            state, message, size = UNREADABLE, str(error), None
        return Finding(name, path, task_id, state, message, size)

    def _state(self, name: str, entry: Entry) -> tuple[str, str, int | None]:
        expected, sha256 = entry.get("size_bytes"), entry.get("sha256")
        if sha256 is None:
            return INCOMPLETE, "its copy has not ended; archive it again", None
        size = self.storage.size(name)
        if size is None:
            return MISSING, "the file is not there", None
        if size != expected:
            return CUT, f"it has {size} bytes, not {expected}", size
        if self.contents and self._sha256(name) != sha256:
            return CHANGED, "its content is not what was copied (another SHA-256)", size
        return WHOLE, "", size

    def _sha256(self, name: str) -> str:
        found = hashlib.sha256()
        file = self.storage.open(name)
        if file is None:
            return ""
        try:
            while True:
                if self.stop.is_set():
                    raise DownloadStopped(f"{self.storage.path(name)}: the check was stopped.")
                piece = file.read(_PIECE_BYTES)
                if not piece:
                    return found.hexdigest()
                found.update(piece)
                self.progress(len(piece))
        finally:
            file.close()
