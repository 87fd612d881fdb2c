# SPDX-License-Identifier: Apache-2.0
"""Amounts of data in words."""

from __future__ import annotations


def amount(count: float) -> str:
    """Return a number of bytes in the largest unit that it fills, up to GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
