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
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import amount

_DEFAULT_S = 30.0
_NAMES_IN_LINE = 3

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
        every = _interval(self._task.args.get("progress_interval"))
        if self._task.async_val or not every:
            found = self._execute_module(task_vars=task_vars, wrap_async=self._task.async_val)
            return {**result, **found}
        began, copied, there = time.monotonic(), 0, None
        while True:
            args = {**self._task.args, "_slice_s": every}
            if there is not None:
                args["_there"] = there
            found = self._execute_module(module_args=args, task_vars=task_vars)
            part = found.get("slice")
            if part is None:
                return {**result, **found}
            there = part["there"]
            copied += part["arrived_bytes"]
            self._show(part, copied, time.monotonic() - began)

    def _show(self, part: dict[str, t.Any], copied: int, seconds: float) -> None:
        if self._task.no_log:
            return
        names = part.get("now", [])
        more = f" and {len(names) - _NAMES_IN_LINE} more" if len(names) > _NAMES_IN_LINE else ""
        display.display(
            f"{self._task.get_name()}: {part['done']} of {part['videos']} videos done after "
            f"{timedelta(seconds=round(seconds))}; {amount(copied)} copied, "
            f"{amount(copied / max(seconds, 0.001))}/s; "
            f"copying {', '.join(names[:_NAMES_IN_LINE])}{more}",
            stderr=True,
        )


def _interval(given: t.Any) -> float:
    """Return the seconds of a slice; 0 for none. The module reports an invalid option."""
    try:
        seconds = _DEFAULT_S if given is None else float(given)
    except (TypeError, ValueError):
        return 0.0
    return seconds if 0 < seconds < float("inf") else 0.0
