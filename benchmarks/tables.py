# SPDX-License-Identifier: Apache-2.0
"""Renders the results of the benchmarks as Markdown, so that a page and the runs always agree.

    python benchmarks/tables.py RESULTS...                  print the tables
    python benchmarks/tables.py RESULTS... --into PAGE      put them between the marks of a page
    python benchmarks/tables.py RESULTS... --into PAGE --check      only compare

RESULTS are files that ``all.py`` wrote. A figure that is in two of them is taken from the later
one on the command line. The marks are ``<!-- NAME: begin -->`` and ``<!-- NAME: end -->``; NAME is
``figures`` (those of waiting, G1 and so on), ``others``, ``peers``, ``workloads``, ``quota`` (one
pace for many hosts), ``accounts`` (many in one process) or ``runs``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import Figure

_GOAL = re.compile(r"(G\d+) (.*)")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _reached(figure: Figure) -> str:
    """Return the ratio, rounded so that a miss never looks like the target."""
    text = f"{figure.ratio:,.0f}" if figure.ratio >= 100 else f"{figure.ratio:.3f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text if figure.met else f"{text}, **missed**"


def _target(figure: Figure) -> str:
    if figure.target is None:
        return ""
    return f"{'>=' if figure.at_least else '<='} {figure.target:g}"


def _row(figure: Figure, what: str) -> list[str]:
    # Figures without a target are set in italics.
    named = f"*{_cell(what)}*" if figure.target is None else _cell(what)
    return [named, _target(figure), _reached(figure), _cell(figure.how)]


def _figures(found: Sequence[dict[str, Any]]) -> list[Figure]:
    """Return the figures of all results; of two of the same name the later one."""
    by_name: dict[str, Figure] = {}
    for results in found:
        for entry in results["figures"]:
            fields = {name: entry[name] for name in Figure.__dataclass_fields__}
            by_name[entry["what"]] = Figure(**fields)
    return list(by_name.values())


def goals(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of the figures whose names begin with the number of a goal."""
    numbered = []
    for figure in _figures(found):
        match = _GOAL.match(figure.what)
        if match:
            numbered.append((int(match[1][1:]), match[1], match[2], figure))
    numbered.sort(key=lambda entry: entry[0])
    rows = []
    before = ""
    for _, goal, what, figure in numbered:
        rows.append([goal if goal != before else "", *_row(figure, what)])
        before = goal
    return _table(["", "what", "target", "reached", "how"], rows)


def others(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of all other figures."""
    rest = [figure for figure in _figures(found) if not _GOAL.match(figure.what)]
    rows = [_row(figure, figure.what) for figure in rest]
    return _table(["what", "target", "reached", "how"], rows)


def rows_of(name: str, found: Sequence[dict[str, Any]]) -> str:
    """Return a table of rows, of the last results that have it."""
    for results in reversed(found):
        rows = [entry["row"] for entry in results["rows"] if entry["table"] == name]
        if rows:
            return _table(list(rows[0]), [[_cell(cell) for cell in row.values()] for row in rows])
    return ""


def peers(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of the peers."""
    return rows_of("peers", found)


def workloads(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of the simulated workloads."""
    return rows_of("workloads", found)


def quota(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of the pace that many hosts share."""
    return rows_of("quota", found)


def accounts(found: Sequence[dict[str, Any]]) -> str:
    """Return the table of many accounts in one process."""
    return rows_of("accounts", found)


def runs(found: Sequence[dict[str, Any]]) -> str:
    """Return the date, machine, versions and command of the results."""
    lines = []
    for results in found:
        versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        machine = results["machine"]
        minutes = sum(run["seconds"] for run in results["runs"]) / 60
        lines.append(
            f"- {results['date']}, `{results['command']}`: {versions}; {machine['cores']} cores, "
            f"{machine['system']}, load average {machine['load_before']} before it."
        )
        took = [f"{run['benchmark']} {run['seconds']:.0f} s" for run in results["runs"]]
        lines.append(f"  {len(took)} benchmarks, {minutes:.0f} minutes one after the other: "
                     f"{', '.join(took)}.")  # fmt: skip
        lines += [
            f"  **{run['benchmark']} {run['failure']}.**"
            for run in results["runs"]
            if run["failure"]
        ]
    return "\n".join(lines) + "\n"


SECTIONS = {
    "figures": goals,
    "others": others,
    "peers": peers,
    "workloads": workloads,
    "quota": quota,
    "accounts": accounts,
    "runs": runs,
}


def put_into(page: str, found: Sequence[dict[str, Any]]) -> str:
    """Return a page with the tables between its marks.

    :raises ValueError: it has no marks, or one without its end.
    """
    marked = False
    for name, render in SECTIONS.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        if begin not in page:
            continue
        head, _, rest = page.partition(begin)
        _, mark, tail = rest.partition(end)
        if not mark:
            raise ValueError(f"{begin.strip()} is without {end}")
        page = head + begin + "\n" + render(found) + "\n" + end + tail
        marked = True
    if not marked:
        raise ValueError(
            "it has no marks; one of "
            + ", ".join(f"<!-- {name}: begin -->" for name in SECTIONS)
            + " is needed"
        )
    return page


def main() -> int:
    """Render; with --check return 1 when the page differs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--into", type=Path, metavar="PAGE")
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    options = parser.parse_args()
    found = [json.loads(path.read_text("utf-8")) for path in options.results]
    if options.into is None:
        for render in SECTIONS.values():
            print(render(found))
        return 0
    page = options.into.read_text("utf-8")
    try:
        rendered = put_into(page, found)
    except ValueError as error:
        parser.error(f"{options.into}: {error}.")
    if options.check:
        if rendered != page:
            print(f"{options.into} differs from {', '.join(map(str, options.results))}.")
        return int(rendered != page)
    options.into.write_text(rendered, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
