# SPDX-License-Identifier: Apache-2.0
"""A filter that writes a text to a file, in Ansible's own process: no module is started for it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_file(text: str, path: str) -> str:
    """Write the text and return the path."""
    Path(path).write_text(text, encoding="utf-8")
    return path


class FilterModule:
    """Registers the filter."""

    def filters(self) -> dict[str, Callable[..., str]]:
        """Return the filters by name."""
        return {"write_file": write_file}
