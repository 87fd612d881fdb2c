# SPDX-License-Identifier: Apache-2.0
"""One line for each figure, and the exit code for all of them."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

RESULTS = "BENCHMARK_RESULTS"
"""The environment variable that names a file, to which the figures are added as lines of JSON."""


@dataclass(frozen=True)
class Figure:
    """A ratio that was measured.

    :param what: ours / the alternative
    :param target: the most that it may be, or None: it is only shown beside another one
    :param how: how it was measured, e.g. the number of rounds
    :param at_least: whether the target is the least that it may be
    """

    what: str
    ratio: float
    target: float | None
    how: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the ratio is within its target."""
        if self.target is None:
            return True
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target

    @property
    def verdict(self) -> str:
        """The target, and whether it is met."""
        if self.target is None:
            return "beside it"
        bound = f"target {'at least ' if self.at_least else ''}{self.target:g}"
        return f"{bound}, {'met' if self.met else 'MISSED'}"


def report(*figures: Figure) -> int:
    """Print the figures; return 1 when one misses its target."""
    for figure in figures:
        print(f"{figure.what}: {figure.ratio:.3f}, {figure.verdict} ({figure.how})", flush=True)
        _keep({"figure": asdict(figure)})
    return 0 if all(figure.met for figure in figures) else 1


def report_row(table: str, cells: Mapping[str, str]) -> None:
    """Print a row of a table; the keys of ``cells`` are the columns."""
    print("| " + " | ".join(cells.values()) + " |", flush=True)
    _keep({"table": table, "row": dict(cells)})


def _keep(entry: dict[str, Any]) -> None:
    path = os.environ.get(RESULTS)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
