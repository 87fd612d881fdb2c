# SPDX-License-Identifier: Apache-2.0
"""The page about the kinds of tasks shows what the table says.

python tests/repository/test_tasks_page.py     updates the page
"""

from __future__ import annotations

import re
from pathlib import Path

from tiw_automation.core import TASK_KINDS, TaskKind

PAGE = Path(__file__).parents[2] / "docs/tasks.md"
_PART = re.compile("(<!-- kinds: begin -->\n).*?(<!-- kinds: end -->)", re.DOTALL)
_DAY_S = 86_400


def _days(seconds: int | None) -> str:
    return "-" if seconds is None else f"{seconds // _DAY_S} days"


def _row(kind: TaskKind) -> dict[str, str]:
    final = [state for state in kind.states[-1] if state not in kind.failed]
    return {
        "kind": f"`{kind.name}`",
        "created by, described by": f"{kind.create_action}, {kind.describe_action}",
        "states": ", ".join(kind.state_names),
        "ends in": ", ".join(final),
        "site": "Chinese" if kind.cn_only else "both",
        "rate": "documented" if kind.is_rate_documented else "assumed",
        "record kept": _days(kind.record_kept_s),
        "files kept": _days(kind.files_kept_s),
    }


def table() -> str:
    """Return the table of the page."""
    rows = [_row(kind) for kind in TASK_KINDS.values()]
    lines = [" | ".join(rows[0]), "|".join("---" for _ in rows[0])]
    lines += [" | ".join(row.values()) for row in rows]
    return "".join(f"| {line} |\n" if "---" not in line else f"|{line}|\n" for line in lines)


def page() -> str:
    """Return the page with the table as it must be."""
    return _PART.sub(lambda part: f"{part[1]}\n{table()}\n{part[2]}", PAGE.read_text("utf-8"))


def test_the_page_shows_every_kind() -> None:
    assert PAGE.read_text("utf-8") == page(), f"Run python {Path(__file__).name}"


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
