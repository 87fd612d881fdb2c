# SPDX-License-Identifier: Apache-2.0
"""Where the version stands. The first place is the source; the others repeat it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

COLLECTION = Path("collections/ansible_collections/tiw/automation")
_VERSION = re.compile(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+)?")
_EITHER_FORM = r"\d+\.\d+\.\d+(?:-?(?:a|b|rc)\d+)?"


class ReleaseError(Exception):
    """The release cannot be made; the message is for the person who makes it."""


@dataclass(frozen=True)
class Place:
    """One file, and what stands before the version in it, each time.

    :param of_collection: whether the version is in the form that Galaxy requires.
    """

    path: Path
    before: str
    of_collection: bool = False

    def versions(self, root: Path) -> list[str]:
        """Return the versions that the file names."""
        return self._pattern.findall((root / self.path).read_text())

    def change(self, root: Path, version: str) -> bool:
        """Write the version into the file; return whether that changed it.

        :raises ReleaseError: the file has no such place.
        """
        file = root / self.path
        old = file.read_text()
        wanted = semantic(version) if self.of_collection else version
        new, count = self._pattern.subn(wanted, old)
        if not count:
            raise ReleaseError(f"{self.path}: nothing like {self.before!r} before a version")
        file.write_text(new)
        return new != old

    @property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(rf"(?m)(?<={re.escape(self.before)}){_EITHER_FORM}")


SOURCE = Place(Path("plugins/tiw_automation/__init__.py"), '__version__ = "')
PLACES = [
    SOURCE,
    Place(COLLECTION / "galaxy.yml", "version: ", of_collection=True),
    Place(COLLECTION / "README.md", "tiw.automation:==", of_collection=True),
    Place(Path("SECURITY.md"), "tiw_automation-"),
    Place(Path("containers/airflow/Containerfile"), "TIW_AUTOMATION_VERSION="),
    Place(Path("containers/simulator/Containerfile"), "TIW_AUTOMATION_VERSION="),
    Place(
        Path("containers/execution-environment/execution-environment.yml"),
        " version: ",
        of_collection=True,
    ),
    Place(Path("containers/helm-values.yaml"), "tag: "),
]


def check(version: str) -> None:
    """Check a version.

    :raises ReleaseError: it is not in the form that PyPI shows.
    """
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"{version!r} is not a version such as 0.2.0 or 0.2.0rc1")


def semantic(version: str) -> str:
    """Return a version in the form that Galaxy requires: 0.2.0-rc1 for 0.2.0rc1."""
    return re.sub(r"(?=a|b|rc)", "-", version, count=1)


def current(root: Path) -> str:
    """Return the version of a checkout."""
    return SOURCE.versions(root)[0]


def change_all(root: Path, version: str) -> list[Path]:
    """Write the version into all places; return the files that changed."""
    return [place.path for place in PLACES if place.change(root, version)]
