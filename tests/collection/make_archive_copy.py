# SPDX-License-Identifier: Apache-2.0
"""Copy the core's archive into the collection, which takes it to hosts that have no package.

There is one source, ``plugins/tiw_automation/core``. A test fails when a copy differs from it::

    python tests/collection/make_archive_copy.py
"""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CORE = ROOT / "plugins/tiw_automation/core"
COPY = ROOT / "collections/ansible_collections/tiw/automation/plugins/module_utils/_core_copy"

_SOURCE = "tiw_automation.core"
_TARGET = "ansible_collections.tiw.automation.plugins.module_utils._core_copy"
_GROUND = ("errors", "formatting", "headers", "locks", "metrics", "retry", "route", "sockets")
# A bucket needs fsspec.
_STAYS = ("__init__.py", "bucket.py")
# Rules of ansible-test alone: they forbid the name "_", and "not x > 0", which finds NaN too.
_HEAD = (
    "# A copy of {name} of the package tiw-automation, made by make_archive_copy.py.\n"
    "# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation\n"
)


def copies() -> dict[Path, str]:
    """Return the content of each file of the copy."""
    sources = [CORE / f"{name}.py" for name in _GROUND]
    sources += [path for path in (CORE / "archive").glob("*.py") if path.name not in _STAYS]
    found = {
        COPY / source.relative_to(CORE): _HEAD.format(name=source.relative_to(CORE.parent))
        + source.read_text().replace(_SOURCE, _TARGET)
        for source in sources
    }
    return {**found, COPY / "__init__.py": "", COPY / "archive/__init__.py": ""}


def main() -> None:
    """Write the copy, and remove what no longer belongs to it."""
    wanted = copies()
    for path in COPY.rglob("*.py"):
        if path not in wanted:
            path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
