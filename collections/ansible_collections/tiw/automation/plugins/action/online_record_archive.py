# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shows the progress of the module of the same name, while it copies.

Ansible shows the output of a module only when the module ends. So this plugin runs it in slices:
each stops after some seconds, a line follows, and the next slice continues where it stopped, also
in the middle of a video. The lines go to standard error: standard output belongs to the callback
plugin, which may write JSON there.
"""

from __future__ import annotations

import time
import typing as t
from datetime import timedelta

from ansible.plugins.action import ActionBase
from ansible.utils.display import Display
from ansible_collections.tiw.automation.plugins.module_utils._archive import Note
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import amount

_DEFAULT_S = 30.0
_NAMES_IN_LINE = 3
# A slice first reads what it continues, some ten times as fast as this. So it is long beside it.
_PARTS_BYTES_PER_S = 100e6

display = Display()


class ActionModule(ActionBase):
    """Runs the module once, or in slices."""

    _supports_async = True
    _supports_check_mode = True
    _supports_diff = True

    def run(
        self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None
    ) -> dict[str, t.Any]:
        """Return the module's result."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        if self._task.async_val:
            args = {**self._task.args, "progress_interval": 0}
            found = self._execute_module(
                module_args=args, task_vars=task_vars, wrap_async=self._task.async_val
            )
        else:
            found = self._run_slices(task_vars)
        return {**result, **found}

    def _run_slices(self, task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        began, arrived, done = time.monotonic(), 0, 0
        every = length = _interval(self._task.args.get("progress_interval"))
        copied: set[str] = set()
        while True:
            args = dict(self._task.args)
            if length is not None:
                args["progress_interval"] = length
            found: dict[str, t.Any] = self._execute_module(module_args=args, task_vars=task_vars)
            part = found.pop("note", None)
            note = Note() if part is None else Note.of(part)
            if not note.stopped or every is None or length is None:
                return _joined(found, note, copied)
            # Each slice begins the module's limits of time anew. In one that is long enough, they
            # end a download that makes no progress.
            stalls = not note.arrived_bytes and note.done <= done
            length = max(2 * length if stalls else length, note.parts_bytes / _PARTS_BYTES_PER_S)
            copied.update(note.copied)
            arrived += note.arrived_bytes
            done = note.done
            self._show(note, found["now"], arrived, time.monotonic() - began)

    def _show(self, note: Note, names: list[str], arrived: int, seconds: float) -> None:
        if self._task.no_log:
            return
        more = f" and {len(names) - _NAMES_IN_LINE} more" if len(names) > _NAMES_IN_LINE else ""
        copying = f"; copying {', '.join(names[:_NAMES_IN_LINE])}{more}" if names else ""
        display.display(
            f"{self._task.get_name()}: {note.done} of {note.videos} videos done after "
            f"{timedelta(seconds=round(seconds))}; {amount(arrived)} copied, "
            f"{amount(arrived / max(seconds, 0.001))}/s{copying}",
            stderr=True,
        )


def _joined(found: dict[str, t.Any], note: Note, copied: set[str]) -> dict[str, t.Any]:
    """Return the result of the last slice, with what the earlier ones copied."""
    if not copied:
        return found
    found["changed"] = True
    new = [is_new or name in copied for name, _size, is_new in note.files]
    for file, is_new in zip(found.get("files", []), new, strict=False):
        file["copied"] = is_new
    sizes = [
        size or 0 for (_name, size, _new), is_new in zip(note.files, new, strict=True) if is_new
    ]
    if "files" in found:
        found["bytes_copied"] = sum(sizes)
    if "diff" in found:
        lines = found["diff"]["after"].splitlines(keepends=True)
        found["diff"]["before"] = "".join(
            line for line, is_new in zip(lines, new, strict=False) if not is_new
        )
    return found


def _interval(given: t.Any) -> float | None:
    """Return the seconds of a slice, or None: there is one, or the module reports the option."""
    try:
        seconds = _DEFAULT_S if given is None else float(given)
    except (TypeError, ValueError):
        return None
    return seconds if 0 < seconds < float("inf") else None
