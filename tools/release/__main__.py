# SPDX-License-Identifier: Apache-2.0
"""Make a release, in a copy of the checkout.

python -m release VERSION            dry: changes nothing but dist/, which git ignores
python -m release VERSION --write    the same, then writes the changes into the checkout
"""

from __future__ import annotations

import argparse
import datetime
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from release import artifacts, changelogs, inspections, places, trials
from release.places import ReleaseError
from release.running import run

ROOT = Path(__file__).resolve().parents[2]


class Release:
    """One release, step by step.

    :param version: as 0.2.0.
    :param work: an empty folder outside the checkout.
    """

    def __init__(self, version: str, work: Path) -> None:
        self.version = version
        self.work = work
        self.copy = work / "checkout"
        self.files = work / "files"

    def prepare(self) -> None:
        """Copy the checkout."""
        artifacts.copy_checkout(ROOT, self.copy)

    def change_version(self) -> None:
        """Write the version into all its places."""
        places.change_all(self.copy, self.version)

    def finish_changelogs(self) -> None:
        """Check both changelogs, and give the version's sections the date of today (UTC)."""
        today = datetime.datetime.now(datetime.UTC).date().isoformat()
        changelogs.finish_package(self.copy, self.version, today)
        changelogs.finish_collection(self.copy, self.version, today)

    def build(self) -> None:
        """Build all files twice, and compare them byte by byte."""
        built = artifacts.build_twice(self.copy, self.work, artifacts.commit_time(ROOT))
        built.rename(self.files)

    def inspect_python(self) -> None:
        """Check the wheel and the source archive: twine, check-wheel-contents."""
        inspections.python_archives(self.files)

    def inspect_collection(self) -> None:
        """Check the collection: galaxy-importer."""
        home = self.work / "importer"
        home.mkdir()
        inspections.collection(self.files, home)

    def try_core(self) -> None:
        """Install the wheel alone, and write its bill of materials."""
        environment = self._environment("core")
        trials.try_core(environment)
        inspections.bill_of_materials(
            environment.python,
            self.copy / "pyproject.toml",
            self.files / f"tiw-automation-{self.version}.cdx.json",
        )

    def try_source(self) -> None:
        """Install the source archive, and run the README's commands."""
        trials.try_source(self._environment("source"))

    def try_everything(self) -> None:
        """Install the wheel with its extras and the collection, and run the README's examples."""
        trials.try_everything(self._environment("everything"))

    def keep(self) -> None:
        """Write the files and their SHA-256 to dist/."""
        dist = ROOT / "dist"
        shutil.rmtree(dist, ignore_errors=True)
        shutil.copytree(self.files, dist)
        sums = [f"{artifacts.digest(path)}  {path.name}\n" for path in sorted(dist.iterdir())]
        (dist / "SHA256SUMS").write_text("".join(sums))

    def write(self) -> None:
        """Write the changes into the checkout."""
        for name in artifacts.copy_changes(self.copy, ROOT):
            print(f"  {name}")

    def _environment(self, name: str) -> trials.Environment:
        return trials.Environment(self.work / name, self.copy, self.files)

    def steps(self, write: bool) -> list[Callable[[], None]]:
        """Return the steps in order."""
        steps = [
            *(self.prepare, self.change_version, self.finish_changelogs, self.build),
            *(self.inspect_python, self.inspect_collection),
            *(self.try_core, self.try_source, self.try_everything, self.keep),
        ]
        return [*steps, self.write] if write else steps


def main() -> int:
    """Make the release; return the exit status."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("version", metavar="VERSION")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tiw-release-") as work:
        try:
            places.check(options.version)
            if options.write and run("git", "status", "--porcelain", cwd=ROOT):
                raise ReleaseError("commit or stash your changes first")
            for step in Release(options.version, Path(work)).steps(options.write):
                began = time.monotonic()
                print(f"{(step.__doc__ or '').splitlines()[0]}", flush=True)
                step()
                print(f"  done in {time.monotonic() - began:.1f} s", flush=True)
        except ReleaseError as error:
            print(f"Release {options.version} cannot be made: {error}", file=sys.stderr)
            return 1
    print(f"Release {options.version} can be made. Its files are in dist/.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
