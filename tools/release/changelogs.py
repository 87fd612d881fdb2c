# SPDX-License-Identifier: Apache-2.0
"""Both changelogs: CHANGELOG.md of the package, and the collection's, which antsibull writes."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from release.places import COLLECTION, ReleaseError, semantic
from release.running import run

PACKAGE = Path("CHANGELOG.md")
_HEADING = re.compile(r"^## \[(?P<version>[^\]]+)\] - (?P<date>\S+)$", re.MULTILINE)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def finish_package(root: Path, version: str, date: str) -> bool:
    """Give the version's section in CHANGELOG.md its date, if it has none; return whether it did.

    :param date: as 2026-11-29.
    :raises ReleaseError: the section is missing, empty, not the first, or dated by other words.
    """
    text = (root / PACKAGE).read_text()
    headings = list(_HEADING.finditer(text))
    if not headings or headings[0]["version"] != version:
        raise ReleaseError(f"{PACKAGE}: the first section must be '## [{version}] - unreleased'")
    first = headings[0]
    end = headings[1].start() if len(headings) > 1 else len(text)
    if not re.search(r"^- ", text[first.end() : end], re.MULTILINE):
        raise ReleaseError(f"{PACKAGE}: the section of {version} is empty")
    if _DATE.fullmatch(first["date"]):
        return False
    if first["date"] != "unreleased":
        raise ReleaseError(f"{PACKAGE}: {first['date']!r} must be a date or 'unreleased'")
    start, stop = first.span("date")
    (root / PACKAGE).write_text(text[:start] + date + text[stop:])
    return True


def finish_collection(root: Path, version: str, date: str) -> bool:
    """Turn the collection's fragments into the version's section; return whether it did.

    A version that has its section already must have no fragments left.

    :raises ReleaseError: a fragment is invalid, there is none, or some are left.
    """
    folder, version = root / COLLECTION, semantic(version)
    run("antsibull-changelog", "lint", cwd=folder)
    fragments = sorted(path.name for path in (folder / "changelogs/fragments").glob("*.y*ml"))
    changelog = yaml.safe_load((folder / "changelogs/changelog.yaml").read_text())
    if version in changelog["releases"]:
        if fragments:
            raise ReleaseError(f"the collection's {version} is released, yet has {fragments}")
        return False
    if not fragments:
        raise ReleaseError(f"the collection has no fragments for {version}")
    run("antsibull-changelog", "release", "--version", version, "--date", date, cwd=folder)
    return True
