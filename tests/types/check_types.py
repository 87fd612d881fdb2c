# SPDX-License-Identifier: Apache-2.0
"""Checks how complete the types of the installed package are, and that a strict user gets on.

It runs in the environment ``types`` of tox.ini, which installs the built wheel:

    python tests/types/check_types.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PACKAGES = ("tiw_automation.core", "tiw_automation.airflow", "tiw_automation.simulator")
LEAST = 0.98
# What a class inherits from a package without types, such as Tencent's SDK or the operators of
# Airflow, is not ours to declare.
_INHERITED = ("Type of base class ", "Type of metaclass unknown")


def unknown_symbols(report: dict[str, Any]) -> tuple[list[str], int]:
    """Return the public symbols whose own type is not declared, and the number of all."""
    public = [symbol for symbol in report["typeCompleteness"]["symbols"] if symbol["isExported"]]
    unknown = [
        f"{symbol['name']}: {found['message'].splitlines()[0]}"
        for symbol in public
        if not symbol["isTypeKnown"]
        for found in [
            each for each in symbol["diagnostics"] if not each["message"].startswith(_INHERITED)
        ][:1]
    ]
    return unknown, len(public)


def is_complete(package: str) -> bool:
    """Print how many public symbols of a package have known types, and return whether enough."""
    ended = subprocess.run(
        ["basedpyright", "--ignoreexternal", "--outputjson", "--verifytypes", package],
        cwd=HERE,
        capture_output=True,
        text=True,
    )
    unknown, count = unknown_symbols(json.loads(ended.stdout))
    if not count:
        print(f"{package}: no symbols were found. {ended.stdout[:500]}{ended.stderr[:500]}")
        return False
    score = 1 - len(unknown) / count
    print(f"{package}: {count - len(unknown)} of {count} public symbols are typed, {score:.1%}")
    if score < LEAST:
        print(*(f"  {line}" for line in unknown), sep="\n")
        print(f"At least {LEAST:.0%} must be.")
    return score >= LEAST


def accepts_user_program(*command: str) -> bool:
    """Return whether a strict type checker accepts the program of a user."""
    return subprocess.run([*command, "user_program.py"], cwd=HERE).returncode == 0


def main() -> int:
    """Run all checks; return the exit status."""
    results = [is_complete(package) for package in PACKAGES]
    results.append(accepts_user_program("mypy", "--strict", "--config-file="))
    results.append(accepts_user_program("basedpyright"))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
