# SPDX-License-Identifier: Apache-2.0
"""Small SVG charts, written by the benchmarks themselves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, LEFT, ROW, TOP, KEY = 760, 250, 26, 44, 220
COLOURS = ("#1f6feb", "#8a8f98", "#c2410c", "#15803d", "#7c3aed", "#b45309")
_MIDDLE = "text-anchor='middle'"
_STYLE = "font-family='system-ui,sans-serif' font-size='12' fill='#57606a'"


def bars(path: Path, title: str, unit: str, rows: Sequence[tuple[str, float]], ours: str) -> None:
    """Write horizontal bars on a logarithmic scale; ``ours`` begins the names in another colour."""
    least = min(value for _, value in rows if value > 0)
    most = max(value for _, value in rows)
    low, high = math.floor(math.log10(least)), math.ceil(math.log10(most) + 1e-9)
    scale = (WIDTH - LEFT - 90) / max(high - low, 1)
    height = TOP + ROW * len(rows) + 30
    out = _head(title, height)
    for power in range(low, high + 1):
        x = LEFT + (power - low) * scale
        out.append(f"<path d='M{x:.1f} {TOP - 6}V{height - 24}' stroke='#d0d7de'/>")
        out.append(
            f"<text x='{x:.1f}' y='{height - 8}' text-anchor='middle'>{10.0**power:g}</text>"
        )
    out.append(f"<text x='{WIDTH - 8}' y='{height - 8}' text-anchor='end'>{escape(unit)}</text>")
    for number, (name, value) in enumerate(rows):
        y = TOP + number * ROW
        width = max((math.log10(value) - low) * scale, 2) if value > 0 else 2
        colour = COLOURS[0] if name.startswith(ours) else COLOURS[1]
        out.append(f"<text x='{LEFT - 8}' y='{y + 14}' text-anchor='end'>{escape(name)}</text>")
        out.append(
            f"<rect x='{LEFT}' y='{y + 2}' width='{width:.1f}' height='16' fill='{colour}'/>"
        )
        out.append(f"<text x='{LEFT + width + 6:.1f}' y='{y + 14}'>{_number(value)}</text>")
    path.write_text("\n".join([*out, "</svg>"]) + "\n")


def shares(path: Path, title: str, unit: str, lines: Mapping[str, Sequence[float]]) -> None:
    """Write, for each name, the share of its values that is at most x; x is logarithmic."""
    low, high = -1, math.ceil(math.log10(max(max(values) for values in lines.values())))
    height, bottom = 330, 290
    scale = (WIDTH - 70 - KEY) / (high - low)
    out = _head(title, height)
    for power in range(low, high + 1):
        x = 60 + (power - low) * scale
        out.append(f"<path d='M{x:.1f} {TOP}V{bottom}' stroke='#d0d7de'/>")
        out.append(
            f"<text x='{x:.1f}' y='{bottom + 16}' text-anchor='middle'>{10.0**power:g}</text>"
        )
    for percent in range(0, 101, 25):
        y = bottom - (bottom - TOP) * percent / 100
        out.append(f"<text x='52' y='{y + 4:.1f}' text-anchor='end'>{percent} %</text>")
        out.append(f"<path d='M60 {y:.1f}H{60 + (high - low) * scale:.1f}' stroke='#eaeef2'/>")
    out.append(f"<text x='60' y='{bottom + 34}'>{escape(unit)}</text>")
    for number, (name, values) in enumerate(lines.items()):
        ordered = sorted(values)
        points = []
        for step in range(101):
            value = max(ordered[min(int(step / 100 * len(ordered)), len(ordered) - 1)], 10.0**low)
            x = 60 + (math.log10(value) - low) * scale
            points.append(f"{x:.1f},{bottom - (bottom - TOP) * step / 100:.1f}")
        colour = COLOURS[number % len(COLOURS)]
        line = f"fill='none' stroke='{colour}' stroke-width='2'"
        out.append(f"<polyline points='{' '.join(points)}' {line}/>")
        y = TOP + 12 + number * 20
        out.append(f"<rect x='{WIDTH - KEY}' y='{y - 9}' width='12' height='12' fill='{colour}'/>")
        out.append(f"<text x='{WIDTH - KEY + 18}' y='{y + 1}'>{escape(name)}</text>")
    path.write_text("\n".join([*out, "</svg>"]) + "\n")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _head(title: str, height: int) -> list[str]:
    return [
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' {_STYLE}>",
        f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>",
        f"<text x='12' y='24' font-size='14' fill='#1f2328'>{escape(title)}</text>",
    ]
