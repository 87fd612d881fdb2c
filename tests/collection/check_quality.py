# SPDX-License-Identifier: Apache-2.0
"""Check the collection with the tools that Ansible's own community checks collections with.

python tests/collection/check_quality.py            check, docs/ansible included
python tests/collection/check_quality.py --render   render docs/ansible
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
DOCS = ROOT / "docs/ansible"
BIN = Path(sys.executable).parent


class Checks:
    """Runs the tools with a separate home, and counts their findings."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.failed: list[str] = []
        self.counts: dict[str, int] = {}
        self.environment = {
            **os.environ,
            "ANSIBLE_COLLECTIONS_PATH": str(ROOT / "collections"),
            "ANSIBLE_HOME": str(home / "ansible"),
            "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
            "HOME": str(home),
            "NO_COLOR": "1",
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "XDG_CACHE_HOME": str(home / "cache"),
        }

    def run(self, name: str, *arguments: str | Path, cwd: Path = COLLECTION) -> str:
        """Run a tool and return what it printed."""
        print(f"{name} {arguments[0]}", flush=True)
        done = subprocess.run(
            [BIN / name, *arguments],
            cwd=cwd,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            self.fail(name, done.stdout)
        return done.stdout

    def fail(self, name: str, why: str) -> None:
        """Print and count a failure."""
        print(why, flush=True)
        self.failed.append(name)

    def render(self, folder: Path) -> None:
        """Write the documentation of the modules and other plugins."""
        # The tool refuses a folder that other users may write to.
        folder.mkdir(mode=0o755)
        self.run(
            *("antsibull-docs", "collection", "--use-current", "--squash-hierarchy"),
            *("--output-format", "ansible-docsite", "--fail-on-error"),
            *("--dest-dir", folder, "tiw.automation"),
        )
        # It lists only variables that plugins declare as such; docs/reference has all of them.
        (folder / "environment_variables.rst").unlink()

    def documentation(self) -> None:
        """Compare docs/ansible with the rendered documentation."""
        self.render(self.home / "docs")
        if _pages(self.home / "docs") != _pages(DOCS):
            why = "docs/ansible is out of date: run tests/collection/check_quality.py --render"
            self.fail("antsibull-docs", why)

    def count(self, what: str, found: list[str]) -> None:
        """Print and count findings; none are allowed."""
        self.counts[what] = len(found)
        if found:
            self.fail(what, "\n".join(found))

    def ignores(self) -> None:
        """Count the findings that ansible-test sanity ignores."""
        files = COLLECTION.glob("tests/sanity/ignore-*")
        self.count("sanity ignores", [line for f in files for line in f.read_text().splitlines()])

    def lint(self) -> None:
        """Count the findings of ansible-lint, warnings included."""
        output = self.run("ansible-lint", "--offline", "--strict", "--parseable")
        self.count("lint findings", re.findall(r"^\S+:\d+.*$", output, re.MULTILINE))

    def importer(self) -> None:
        """Build the archive and let Galaxy's importer read it."""
        self.run("ansible-galaxy", "collection", "build", "--output-path", self.home, COLLECTION)
        (archive,) = self.home.glob("tiw-automation-*.tar.gz")
        output = self.run("python", "-m", "galaxy_importer.main", archive, cwd=self.home)
        self.count(
            "importer errors", re.findall(r"^.*\b(?:ERROR|WARNING)\b.*$", output, re.MULTILINE)
        )
        if "completed successfully" not in output:
            self.fail("galaxy-importer", output)
        result = json.loads((self.home / "importer_result.json").read_text())
        listed = {(content["content_type"], content["name"]) for content in result["contents"]}
        for kind in ("event_source", "event_filter"):
            for path in (COLLECTION / "extensions/eda/plugins" / kind).glob("*.py"):
                if not any(kind in of and path.stem == name for of, name in listed):
                    self.fail("galaxy-importer", f"{kind} {path.stem} is not among {listed}")

    def execution_environment(self) -> None:
        """Check that an execution environment gets the core."""
        output = self.run("ansible-builder", "introspect", ROOT / "collections")
        if "tiw-automation>=" not in output:
            self.fail("ansible-builder", output)


def _pages(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*.rst")}


def main() -> int:
    """Run all checks; return 1 if one of them failed."""
    with tempfile.TemporaryDirectory() as home:
        checks = Checks(Path(home))
        if sys.argv[1:] == ["--render"]:
            shutil.rmtree(DOCS, ignore_errors=True)
            checks.render(DOCS)
        else:
            checks.ignores()
            checks.lint()
            checks.run("antsibull-changelog", "lint")
            checks.run(
                *("antsibull-docs", "lint-collection-docs", "--plugin-docs"),
                *("--validate-collection-refs", "self", "."),
            )
            checks.documentation()
            checks.importer()
            checks.execution_environment()
        for what, count in checks.counts.items():
            print(f"{what}: {count}, target 0, {'MISSED' if count else 'met'}")
        if checks.failed:
            print(f"Failed: {', '.join(checks.failed)}")
        return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
