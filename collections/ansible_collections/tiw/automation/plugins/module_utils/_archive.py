# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module online_record_archive, which copies the videos of recordings to its host.

The archive itself is a copy of the core's, in C(_core_copy): the host that stores the videos needs
no Python package, and Python 3.9.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import grp
import json
import math
import os
import pwd
import re
import threading
import typing as t
from dataclasses import asdict, dataclass, field

from ansible_collections.tiw.automation.plugins.module_utils._account import without_queries
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.archive import (
    ArchiveFailed,
    Progress,
    RecordArchive,
)
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.errors import (
    DownloadStopped,
)
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.local import (
    LocalStorage,
)
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.names import (
    DEFAULT_MANIFEST,
    DEFAULT_NAMES,
    record_values,
)
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.archive.records import (
    record_dict,
)
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import TiwError
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import (
    amount,
    escaped,
)
from ansible_collections.tiw.automation.plugins.module_utils._module import failure, with_client

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

    from tiw_automation.core import TiwClient

ARCHIVE_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "task_ids": {"type": "list", "elements": "raw", "aliases": ["task_id"]},
    "records": {"type": "list", "elements": "dict"},
    "folder": {"type": "path", "required": True},
    "names": {"type": "str", "default": DEFAULT_NAMES},
    "manifest": {"type": "str", "default": DEFAULT_MANIFEST},
    "video_kinds": {
        "type": "list",
        "elements": "str",
        "choices": ["camera", "screen_share", "whiteboard", "mixed", "audio", "unknown"],
    },
    "mode": {"type": "raw"},
    "directory_mode": {"type": "raw"},
    "owner": {"type": "str"},
    "group": {"type": "str"},
    "hosts": {"type": "list", "elements": "str"},
    "max_bytes": {"type": "int", "default": 64 * 1024**3},
    "overwrite": {"type": "bool", "default": False},
    "verify_size": {"type": "bool", "default": True},
    "max_workers": {"type": "int", "default": 4},
    "video_timeout": {"type": "float", "default": 60},
    "attempts": {"type": "int", "default": 6},
    "skip_bad": {"type": "bool", "default": False},
    "accept_finish_reasons": {"type": "list", "elements": "str"},
    "require_videos": {"type": "bool", "default": True},
    # The module stops after so many seconds, and the action plugin continues it.
    "progress_interval": {"type": "float", "default": 30},
}
"""The options of the module, beside those of the account."""

ARCHIVE_RULES: dict[str, t.Any] = {
    "required_one_of": [("task_ids", "records")],
    "mutually_exclusive": [("task_ids", "records")],
}

_OCTAL = re.compile("0?[0-7]{3,4}")
_SYMBOLIC = re.compile("[ugoa]*([-+=]([rwxXst]*|[ugo]))+")
_FILE_MODE, _FOLDER_MODE = 0o640, 0o750


def run(module: AnsibleModule) -> dict[str, t.Any]:
    """Copy what is missing, and return the result."""
    given = module.params["records"]
    # Ansible returns the options, and the query of a URL may be a signature.
    module.params["records"] = without_queries(given)
    try:
        _check(module)
        asked = with_client(module, _ask) if given is None else {"records": given}
        return asked if asked.get("failed") else _Run(module, asked["records"]).result()
    except TiwError as error:
        return failure(error)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Note:
    """What one run found, for the action plugin; Ansible would mask it in a result.

    :param files: of a run that ended, the name and size of each file, and whether it was copied.
    :param copied: of a run that stopped, the names of the videos that it copied.
    :param parts_bytes: the bytes of the videos that it has begun.
    """

    files: list[tuple[str, int | None, bool]] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    stopped: bool = False
    videos: int = 0
    done: int = 0
    arrived_bytes: int = 0
    parts_bytes: int = 0

    def to_result(self) -> dict[str, None]:
        """Return a part of a result that Ansible does not mask: the key of a dict."""
        return {json.dumps(asdict(self)): None}

    @classmethod
    def of(cls, part: dict[str, None]) -> Note:
        """Read what :meth:`to_result` returned."""
        (text,) = part
        return cls(**json.loads(text))


def _check(module: AnsibleModule) -> None:
    """Fail before anything is asked or copied where an option is invalid."""
    params = module.params
    _check_folder(module)
    seconds = params["progress_interval"]
    if not 0 <= seconds < math.inf:
        module.fail_json(msg=f"progress_interval must be 0 or more seconds, not {seconds}.")
    if not params["video_timeout"] > 0:
        module.fail_json(msg=f"video_timeout must be above zero, not {params['video_timeout']}.")
    for option in ("mode", "directory_mode"):
        _check_mode(module, option)
    for option, look_up in (("owner", pwd.getpwnam), ("group", grp.getgrnam)):
        name = params[option]
        try:
            if name is not None and not name.isdigit():
                look_up(name)
        except KeyError:
            module.fail_json(msg=f"{option}: {name} is not known on this host.")


def _check_folder(module: AnsibleModule) -> None:
    folder = module.params["folder"]
    if not folder.strip():
        module.fail_json(msg="folder is empty.")
    found = os.path.abspath(folder)
    while not os.path.exists(found):
        found = os.path.dirname(found)
    if not os.path.isdir(found):
        module.fail_json(msg=f"folder: {found} is not a folder.")


def _check_mode(module: AnsibleModule, option: str) -> None:
    mode = module.params[option]
    if isinstance(mode, int) and not isinstance(mode, bool) and 0 <= mode <= 0o7777:
        return
    if isinstance(mode, str) and (
        _OCTAL.fullmatch(mode) or all(map(_SYMBOLIC.fullmatch, mode.split(",")))
    ):
        return
    if mode is not None:
        module.fail_json(msg=f"{option}: {mode!r} is not a mode such as '0640' or 'u=rw,g=r'.")


def _ask(module: AnsibleModule, client: TiwClient) -> dict[str, t.Any]:
    # Here, because Python 3.9 cannot import it.
    import asyncio

    from ansible_collections.tiw.automation.plugins.module_utils._info import (
        Findings,
        Request,
        ask,
    )

    waiting = {"wait": False, "wait_for": None, "wait_timeout": 1.0, "wait_sleep": 0.0}
    request = Request({**module.params, **waiting, "fail_on": []}, client, check_mode=False)
    found = Findings(request)
    fatal = asyncio.run(ask(request, found))
    return found.report().to_result() if fatal is None else failure(fatal)


class _Run:
    """One run of the module.

    :param records: record dicts, perhaps with the verdict of online_record_info.
    """

    def __init__(self, module: AnsibleModule, records: list[dict[str, t.Any]]) -> None:
        self.module = module
        self.params = params = module.params
        self.records = [record_dict(record) for record in records if _is_good(record)]
        self.bad = [record for record in records if not _is_good(record)]
        self.progress: Progress | None = None
        self.archive = RecordArchive(
            LocalStorage(
                params["folder"],
                file_mode=_octal(params["mode"], _FILE_MODE),
                folder_mode=_octal(params["directory_mode"], _FOLDER_MODE),
            ),
            progress=self._note,
            **{
                name: params[name]
                for name in (
                    "names",
                    "manifest",
                    "video_kinds",
                    "hosts",
                    "max_bytes",
                    "overwrite",
                    "verify_size",
                    "max_workers",
                    "proxy",
                    "ca_file",
                    "attempts",
                )
            },
            timeout_s=params["video_timeout"],
        )

    def result(self) -> dict[str, t.Any]:
        """Return the result of the task."""
        if self.module.check_mode:
            plan = self.archive.plan(self.records)
            failures = [(one.name, one.error) for one in plan if one.error is not None]
            good = [one for one in plan if one.error is None]
            return self._finished([_file(one, copied=not one.is_there) for one in good], failures)
        timer = self._timer()
        try:
            archived, failures = self.archive.run(self.records), []
        except ArchiveFailed as error:
            archived, failures = error.archived, error.failures
        except DownloadStopped:
            if timer is None:
                raise
            return self._stopped()
        finally:
            if timer is not None:
                timer.cancel()
        files = [_file(one, copied=one.copied, sha256=one.sha256) for one in archived]
        return self._finished(files, failures)

    def _note(self, progress: Progress) -> None:
        self.progress = progress

    def _timer(self) -> threading.Timer | None:
        seconds = self.params["progress_interval"]
        if not seconds:
            return None
        timer = threading.Timer(seconds, self.archive.stop)
        timer.daemon = True
        timer.start()
        return timer

    def _stopped(self) -> dict[str, t.Any]:
        """Return what the action plugin needs for its line, and to continue."""
        copied, progress = list(self.archive.copied), self.progress
        if progress is None:
            return {"note": Note(stopped=True, copied=copied).to_result(), "now": []}
        note = Note(
            stopped=True,
            copied=copied,
            videos=progress.videos,
            done=progress.videos_done,
            arrived_bytes=progress.arrived_bytes,
            parts_bytes=sum(file.arrived_bytes for file in progress.files),
        )
        return {"note": note.to_result(), "now": [file.name for file in progress.files]}

    def _finished(self, files: list[dict[str, t.Any]], failures: list[t.Any]) -> dict[str, t.Any]:
        new = [file for file in files if file["copied"]]
        manifests = sorted(
            {self.archive.manifest.render(record_values(record)) for record in self.records}
        )
        result: dict[str, t.Any] = {
            "changed": self._set_attributes(files, manifests) or bool(new),
            "folder": str(self.archive.storage.folder),  # type: ignore[attr-defined]
            "files": files,
            "paths": [file["path"] for file in files],
            "manifests": [self.archive.storage.path(name) for name in manifests],
            "bytes_copied": sum(file["size_bytes"] or 0 for file in new),
            "failures": {name: error.to_dict() for name, error in failures},
            "bad": [
                {"task_id": one.get("task_id"), "message": one.get("message")} for one in self.bad
            ],
        }
        if self.module._diff:
            result["diff"] = _diff(files)
        if self.params["progress_interval"]:
            found = [(file["name"], file["size_bytes"], file["copied"]) for file in files]
            result["note"] = Note(files=found).to_result()
        return {**result, **self._failure(failures)}

    def _failure(self, failures: list[t.Any]) -> dict[str, t.Any]:
        words = [f"{name}: {error}" for name, error in failures]
        if not self.params["skip_bad"]:
            words += [_why_bad(record) for record in self.bad]
        if not words:
            return {}
        first = failures[0][1].to_dict() if failures else {}
        return {
            "failed": True,
            "msg": f"{len(words)} could not be archived: {'; '.join(words)}",
            "retryable": any(error.retryable for _name, error in failures),
            **{name: first.get(name) for name in ("code", "request_id", "hint")},
        }

    def _set_attributes(self, files: list[dict[str, t.Any]], manifests: list[str]) -> bool:
        """Give owner, group and permissions that were named to what is there; return a change."""
        given = {name: self.params[name] for name in ("owner", "group")}
        modes = self.params["mode"], self.params["directory_mode"]
        if not any((*given.values(), *modes)):
            return False
        storage = self.archive.storage
        paths = {file["path"] for file in files} | {storage.path(name) for name in manifests}
        root = str(storage.folder)  # type: ignore[attr-defined]
        folders = {root} | {folder for path in paths for folder in _folders_of(path, root)}
        changed = False
        for found, mode in ((sorted(folders), modes[1]), (sorted(paths), modes[0])):
            for path in filter(os.path.lexists, found):
                arguments = {
                    "path": path,
                    "mode": mode,
                    "secontext": [None] * 3,
                    "attributes": None,
                    **given,
                }
                changed = self.module.set_fs_attributes_if_different(arguments, changed)
        return changed


def _folders_of(path: str, root: str) -> t.Iterator[str]:
    """Yield the folders between the archive's folder and a file."""
    folder = os.path.dirname(path)
    while len(folder) > len(root):
        yield folder
        folder = os.path.dirname(folder)


def _is_good(record: dict[str, t.Any]) -> bool:
    """Return whether a recording is to be archived; one that was not judged must be FINISHED."""
    verdict = record.get("verdict")
    if verdict is None:
        return record.get("status", "FINISHED") == "FINISHED"
    return bool(verdict == "finished")


def _why_bad(record: dict[str, t.Any]) -> str:
    why = record.get("message") or record.get("verdict") or record.get("status")
    return escaped(f"{record.get('task_id')}: {why}")


def _octal(mode: t.Any, default: int) -> int:
    """Return a mode as a number; a symbolic one is set when the file is there."""
    if isinstance(mode, int):
        return mode
    return int(mode, 8) if isinstance(mode, str) and _OCTAL.fullmatch(mode) else default


def _file(found: t.Any, *, copied: bool, sha256: str | None = None) -> dict[str, t.Any]:
    video = found.video
    return {
        "path": found.path,
        "name": found.name,
        "task_id": found.task_id,
        "video_id": video.get("id"),
        "kind": video.get("kind"),
        "source_url": found.source_url,
        "size_bytes": found.size_bytes,
        "sha256": sha256,
        "copied": copied,
    }


def _diff(files: list[dict[str, t.Any]]) -> dict[str, str]:
    def listed(chosen: t.Iterable[dict[str, t.Any]]) -> str:
        return "".join(f"{file['path']} ({_size(file)})\n" for file in chosen)

    return {"before": listed(f for f in files if not f["copied"]), "after": listed(files)}


def _size(file: dict[str, t.Any]) -> str:
    return "size unknown" if file["size_bytes"] is None else amount(file["size_bytes"])
