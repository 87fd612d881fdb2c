# SPDX-License-Identifier: Apache-2.0
"""One line for each figure, and the exit code for all of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """A ratio that was measured.

    :param what: ours / the alternative
    :param target: the most that it may be
    :param how: what the figure comes from, e.g. the number of rounds
    """

    what: str
    ratio: float
    target: float
    how: str

    @property
    def met(self) -> bool:
        """Whether the ratio is within its target."""
        return self.ratio <= self.target


def report(*figures: Figure) -> int:
    """Print the figures; return 1 when one misses its target."""
    for figure in figures:
        verdict = "met" if figure.met else "MISSED"
        print(
            f"{figure.what}: {figure.ratio:.3f}, target {figure.target}, {verdict} ({figure.how})",
            flush=True,
        )
    return 0 if all(figure.met for figure in figures) else 1
