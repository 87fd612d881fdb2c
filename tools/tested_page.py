# SPDX-License-Identifier: Apache-2.0
"""The page docs/tested.md: the last result of each environment of tox.ini.

`tools/run-tests` writes it. After a change to tox.ini alone, this adds and removes rows:

    python tools/tested_page.py
"""

from __future__ import annotations

import configparser
import re
import subprocess
from collections import Counter
from dataclasses import astuple, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs/tested.md"
NOT_RUN = "not run"
# They run no test.
NO_TESTS = ("format",)
HEAD = """\
# The last test results

`tools/run-tests` writes this page; do not edit it. `make test-all` runs every environment of
`tox.ini` that the machine can run, `tools/run-tests NAME...` those that are named. Each updates
only the rows of what it ran. [CONTRIBUTING.md](../CONTRIBUTING.md#tests) describes them.

A `+` after a commit means that changes were not committed yet. *May fail* means that the
environment uses versions that are not released.

| environment | result | versions | seconds | commit | date |
|---|---|---|---|---|---|
"""
# The distributions whose versions an environment is about, by the first words of its name.
_ABOUT = {
    "bench": "apache-airflow-core ansible-core",
    "clients-tccli": "tccli",
    "collection": "ansible-core",
    "eda": "ansible-core ansible-rulebook",
    "events": "apache-airflow-core",
    "faults": "apache-airflow-core",
    "lint": "mypy ruff",
    "pages": "apache-airflow-core",
    "provider": "apache-airflow-core",
    "quality": "ansible-core ansible-lint galaxy-importer",
    "real": "apache-airflow-core",
    "sanity": "ansible-core",
    "scale": "apache-airflow-core",
    "sdk-umbrella": "tencentcloud-sdk-python",
    "types": "mypy basedpyright",
    "urllib3": "urllib3 requests",
}
_SDK = "tencentcloud-sdk-python-tiw urllib3"
_OUTCOMES = ("passed", "failed", "errors", "skipped", "xfailed")
_PRINT_VERSIONS = """
import platform, sys
from importlib.metadata import PackageNotFoundError, version
found = [f"Python {platform.python_version()}"]
for name in sys.argv[1:]:
    try:
        found.append(f"{name} {version(name)}")
    except PackageNotFoundError:
        pass
print(", ".join(found))
"""


@dataclass
class Row:
    """One line of the table; all of it is text."""

    name: str
    result: str = NOT_RUN
    versions: str = ""
    seconds: str = ""
    commit: str = ""
    date: str = ""


def environments() -> list[str]:
    """Return the names of all environments of tox.ini, in its order."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(ROOT / "tox.ini")
    listed = parser["tox"]["env_list"].split()
    sections = [name.removeprefix("testenv:") for name in parser if name.startswith("testenv:")]
    names = [name for pattern in listed + sections for name in _expanded(pattern)]
    return [name for name in dict.fromkeys(names) if name not in NO_TESTS]


def _expanded(pattern: str) -> list[str]:
    """Return the names that a pattern with braces stands for."""
    found = re.search(r"\{([^}]*)\}", pattern)
    if found is None:
        return [pattern]
    before, after = pattern[: found.start()], pattern[found.end() :]
    return [name for part in found[1].split(",") for name in _expanded(before + part + after)]


def rows() -> dict[str, Row]:
    """Return what the page has now, by environment, with a row for each of tox.ini."""
    lines = PAGE.read_text().splitlines() if PAGE.exists() else []
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    known = {row[0].strip("`"): row for row in cells if len(row) == 6 and row[0].startswith("`")}
    return {name: Row(name, *known.get(name, [])[1:]) for name in environments()}


def write(updated: Row) -> None:
    """Put one row in the page; the others stay, and those of former environments go."""
    table = {**rows(), updated.name: updated}
    PAGE.write_text(rendered(table))


def rendered(table: dict[str, Row]) -> str:
    """Return the whole page."""
    lines = [f"| `{row.name}` | {' | '.join(astuple(row)[1:])} |" for row in table.values()]
    return HEAD + "\n".join(lines) + "\n"


def result_row(name: str, code: int, wall_s: float, output: str, *, may_fail: bool) -> Row:
    """Return the row of an environment that has just ended.

    :param code: its exit status.
    :param output: what it printed.
    :param may_fail: whether a failure is only reported.
    """
    result = counted(output) or ("passed" if code == 0 else "failed")
    if code != 0:
        note = "may fail" if may_fail else "FAILED"
        result = f"**{note}**: {result}, exit status {code}"
    now = datetime.now(UTC).strftime("%Y-%m-%d")
    return Row(name, result, versions_of(name), f"{wall_s:.0f}", commit(), now)


def counted(output: str) -> str:
    """Return the sum of the closing lines of pytest: ``41 passed, 1 failed``; "" without one."""
    total: Counter[str] = Counter()
    for line in re.findall(r"^=+ (.*) in [\d.]+s.*=+$", re.sub(r"\x1b\[\d*m", "", output), re.M):
        for number, word in re.findall(r"(\d+) (\w+)", line):
            total["errors" if word == "error" else word] += int(number)
    return ", ".join(f"{total[word]:,} {word}" for word in _OUTCOMES if total[word])


def versions_of(name: str) -> str:
    """Return the versions that an environment of tox was built with."""
    about = next((_ABOUT[key] for key in _ABOUT if name.startswith(key)), _SDK)
    python = ROOT / ".tox" / name / "bin/python"
    if not python.exists():
        return ""
    ended = subprocess.run(
        [python, "-I", "-c", _PRINT_VERSIONS, *about.split()], capture_output=True, text=True
    )
    return ended.stdout.strip()


def commit() -> str:
    """Return the commit that is checked out, with a ``+`` where files differ from it.

    The page itself does not count, nor the pictures, which environments write too.
    """
    written = (f":!{path}" for path in (PAGE.relative_to(ROOT), "docs/images"))
    changed = _git("status", "--porcelain", "--", ".", *written)
    return _git("rev-parse", "--short=7", "HEAD") + ("+" if changed else "")


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return ended.stdout.strip()


if __name__ == "__main__":
    PAGE.write_text(rendered(rows()))
