#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The drawings of the pages: docs/images/parts.svg, wait.svg and recording-states.svg.

python tests/docs/test_pictures.py     draws them again
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import pytest

from tiw_automation.core import TASK_KINDS, Verdict

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
_PLAIN, _OURS, _GOOD, _BAD = "#ffffff", "#dcecfb", "#dff3e0", "#fbe3e0"
_LINE_PX = 17


@dataclass(frozen=True)
class Box:
    """A box with a title and further lines, by its centre and size in pixels."""

    x: float
    y: float
    width: float
    lines: tuple[str, ...]
    fill: str = _PLAIN

    @property
    def height(self) -> float:
        return 22 + _LINE_PX * len(self.lines)

    def edge(self, towards: Box, shift: tuple[float, float]) -> tuple[float, float]:
        """Return the point of the border on the line from the centre to another centre."""
        dx, dy = towards.x - self.x, towards.y - self.y
        by_width = self.width / 2 / abs(dx) if dx else 9e9
        by_height = self.height / 2 / abs(dy) if dy else 9e9
        part = min(by_width, by_height)
        return self.x + dx * part + shift[0], self.y + dy * part + shift[1]

    def svg(self) -> str:
        left, top = self.x - self.width / 2, self.y - self.height / 2
        texts = [
            f'<text x="{self.x:g}" y="{top + 24 + _LINE_PX * number:g}"'
            f' font-weight="{"normal" if number else "bold"}">{escape(line)}</text>'
            for number, line in enumerate(self.lines)
        ]
        rect = (
            f'<rect x="{left:g}" y="{top:g}" width="{self.width:g}" height="{self.height:g}" '
            f'rx="6" fill="{self.fill}" stroke="#556"/>'
        )
        return "\n".join([rect, *texts])


@dataclass
class Drawing:
    """Boxes, and arrows between them."""

    title: str
    width: int
    height: int
    _shapes: list[str] = field(default_factory=list)

    def box(self, x: float, y: float, width: float, *lines: str, fill: str = _PLAIN) -> Box:
        drawn = Box(x, y, width, lines, fill)
        self._shapes.append(drawn.svg())
        return drawn

    def arrow(
        self,
        begin: Box,
        end: Box,
        *label: str,
        shift: tuple[float, float] = (0, 0),
        label_at: tuple[float, float] = (0, -8),
    ) -> None:
        """Draw an arrow; both places are offsets from the line between the centres, in pixels."""
        (x1, y1), (x2, y2) = begin.edge(end, shift), end.edge(begin, shift)
        self._shapes.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="#334" '
            'marker-end="url(#head)"/>'
        )
        x, y = (x1 + x2) / 2 + label_at[0], (y1 + y2) / 2 + label_at[1]
        self.note(x, y - 15 * (len(label) - 1), *label)

    def note(self, x: float, y: float, *lines: str) -> None:
        for number, line in enumerate(lines):
            self._shapes.append(
                f'<text x="{x:g}" y="{y + 15 * number:g}" font-size="12">{escape(line)}</text>'
            )

    def svg(self) -> str:
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
                'font-family="sans-serif" font-size="14" text-anchor="middle" fill="#112" '
                f'role="img" aria-label="{escape(self.title)}">',
                '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" '
                'markerHeight="7" orient="auto"><path d="M0 0L10 5L0 10z"/></marker></defs>',
                f'<rect width="{self.width}" height="{self.height}" rx="8" fill="#f7f7f9"/>',
                *self._shapes,
                "</svg>\n",
            ]
        )


def recording_states() -> Drawing:
    drawn = Drawing("The states of a recording", 900, 250)
    prepared = drawn.box(98, 75, 172, "PREPARED", "TIW enters the room")
    recording = drawn.box(315, 75, 130, "RECORDING")
    stopped = drawn.box(570, 75, 145, "STOPPED", "videos are made")
    finished = drawn.box(812, 75, 150, "FINISHED", "videos are there", fill=_GOOD)
    paused = drawn.box(315, 190, 130, "PAUSED")
    drawn.arrow(prepared, recording, "2 seconds")
    drawn.arrow(recording, stopped, "stop, silence,", "or 24 hours")
    drawn.arrow(stopped, finished, "some minutes")
    drawn.arrow(recording, paused, "pause", shift=(-25, 0), label_at=(-25, 4))
    drawn.arrow(paused, recording, "resume", shift=(25, 0), label_at=(30, 4))
    drawn.arrow(paused, stopped, "stop, or 90 minutes", label_at=(75, 12))
    drawn.note(690, 215, "A recording that fails has no state:", "each poll gets an error instead.")
    return drawn


def parts() -> Drawing:
    drawn = Drawing("How the parts fit together", 900, 380)
    users = [
        drawn.box(112, 55, 185, "Ansible", "modules, role, events"),
        drawn.box(340, 55, 210, "Airflow", "sensors, operators, assets"),
        drawn.box(565, 55, 170, "Command line", "tiw"),
        drawn.box(785, 55, 170, "Your Python", "tiw_automation.core"),
    ]
    core = drawn.box(
        450,
        190,
        620,
        "The core",
        "one quota, one order of polls, one verdict, one archive",
        fill=_OURS,
    )
    for user in users:
        middle = Box(core.x + (user.x - core.x) * 0.7, core.y, 200, core.lines)
        drawn.arrow(user, middle)
    pace = drawn.box(135, 325, 210, "Pace file, or Redis", "shared by all processes")
    api = drawn.box(450, 325, 240, "TIW of Tencent Cloud", "or the simulator")
    archive = drawn.box(765, 325, 210, "Your folder or bucket", "videos and manifests")
    drawn.arrow(core, pace, "a slot for", "each request", label_at=(-62, 4))
    drawn.arrow(core, api, "at most 20", "requests a second", shift=(-20, 0), label_at=(-62, 8))
    drawn.arrow(api, core, "callbacks", shift=(20, 0), label_at=(36, 4))
    drawn.arrow(core, archive, "copies", label_at=(40, -4))
    return drawn


def wait() -> Drawing:
    drawn = Drawing("How a wait goes", 900, 330)
    begun = drawn.box(95, 60, 150, "A wait", "task id, deadline")
    order = drawn.box(325, 60, 170, "The order", "which one is next?", fill=_OURS)
    slot = drawn.box(565, 60, 170, "The quota", "a slot to send in", fill=_OURS)
    poll = drawn.box(800, 60, 170, "A poll", "DescribeOnlineRecord")
    verdict = drawn.box(800, 170, 170, "The verdict", "what does it mean?", fill=_OURS)
    again = drawn.box(445, 170, 300, "pending, unknown", "it has not ended; or a fault on the way")
    end = drawn.box(800, 280, 190, "The outcome", "finished, failed, missing", fill=_GOOD)
    hint = drawn.box(95, 170, 150, "A hint", "callback, stop, list")
    over = drawn.box(
        445, 280, 300, "WaitTimeout", "the deadline elapsed; nothing is lost", fill=_BAD
    )
    drawn.arrow(begun, order)
    drawn.arrow(order, slot)
    drawn.arrow(slot, poll)
    drawn.arrow(poll, verdict, "answer", label_at=(28, 4))
    drawn.arrow(verdict, again)
    drawn.arrow(verdict, end)
    drawn.arrow(again, order, "later, again", label_at=(50, 4))
    drawn.arrow(hint, order, "sooner", label_at=(-20, -4))
    drawn.arrow(again, over)
    return drawn


DRAWINGS: dict[str, Callable[[], Drawing]] = {
    "parts.svg": parts,
    "recording-states.svg": recording_states,
    "wait.svg": wait,
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_the_picture_is_the_one_that_is_drawn_here(name: str) -> None:
    drawn = DRAWINGS[name]().svg()
    assert (IMAGES / name).read_text(encoding="utf-8") == drawn, f"run python {__file__}"


def test_the_pictures_name_every_state_and_verdict() -> None:
    states = [state for group in TASK_KINDS["online_record"].states for state in group]
    assert not [state for state in states if state not in recording_states().svg()]
    assert not [verdict.value for verdict in Verdict if verdict.value not in wait().svg()]


if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        (IMAGES / name).write_text(draw().svg(), encoding="utf-8")
