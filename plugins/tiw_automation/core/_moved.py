# SPDX-License-Identifier: Apache-2.0
"""The names that modules had in 0.1, for the collection tiw.automation 0.1.

To be removed in 0.3.
"""

from __future__ import annotations

import sys
import warnings
from importlib import import_module
from types import ModuleType
from typing import Any

_NEW_NAMES = {
    "callbacks": "api.callback_settings",
    "confirmation": "events.confirmation",
    "download": "archive.download",
    "options": "api.options",
    "record_events": "events.record_events",
    "record_feed": "events.feed",
    "running": "api.running_tasks",
    "start": "tasks.start_options",
}


class _Moved(ModuleType):
    def __init__(self, name: str, new_name: str) -> None:
        super().__init__(name)
        self._new_name = new_name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        warnings.warn(
            f"{self.__name__} has moved to {self._new_name}.", DeprecationWarning, stacklevel=2
        )
        return getattr(import_module(self._new_name), name)


def keep_old_names(package: str) -> None:
    """Make the old names importable, with a DeprecationWarning; this loads no module."""
    for old, new in _NEW_NAMES.items():
        sys.modules[f"{package}.{old}"] = _Moved(f"{package}.{old}", f"{package}.{new}")
