# SPDX-License-Identifier: Apache-2.0
"""What other tools find in the files of a release. No finding is allowed."""

from __future__ import annotations

import re
from pathlib import Path

from release.places import ReleaseError
from release.running import run


def python_archives(folder: Path) -> None:
    """Check the wheel and the source archive as an index does.

    :raises ReleaseError: there is a finding.
    """
    (wheel,) = folder.glob("*.whl")
    (source,) = folder.glob("tiw_automation-*.tar.gz")
    run("twine", "check", "--strict", wheel, source)
    run("check-wheel-contents", wheel)


def collection(folder: Path, home: Path) -> None:
    """Check the collection's archive as Galaxy does.

    :param home: an empty folder for what the tools write.
    :raises ReleaseError: there is a finding.
    """
    (archive,) = folder.glob("tiw-automation-*.tar.gz")
    env = {
        "ANSIBLE_HOME": str(home / "ansible"),
        "GALAXY_IMPORTER_CHECK_REQUIRED_TAGS": "true",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
    }
    output = run("python", "-m", "galaxy_importer.main", archive, cwd=home, env=env)
    findings = re.findall(r"^.*\b(?:ERROR|WARNING)\b.*$", output, re.MULTILINE)
    if findings or "completed successfully" not in output:
        raise ReleaseError("galaxy-importer:\n" + ("\n".join(findings) or output))


def bill_of_materials(python: Path, project: Path, target: Path) -> None:
    """Write what an environment holds as CycloneDX, valid by its schema.

    :param python: the interpreter of the environment, where only the wheel was installed.
    :param project: pyproject.toml.
    """
    run(
        *("cyclonedx-py", "environment", "--output-reproducible", "--output-format", "JSON"),
        *("--validate", "--pyproject", project, "--output-file", target, python),
    )
