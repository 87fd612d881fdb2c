# SPDX-License-Identifier: Apache-2.0
"""What the files of the collection may import."""

from __future__ import annotations

import ast
import graphlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
OURS = "ansible_collections.tiw.automation.plugins."
FILES = [
    path
    for path in (*COLLECTION.glob("plugins/**/*.py"), *COLLECTION.glob("extensions/**/*.py"))
    if "_core_copy" not in path.parts
]
UTILS = sorted(COLLECTION.glob("plugins/module_utils/*.py"))

# The public names of the core, the lazy faces of its wings, and its ground floor.
FACES = {
    "tiw_automation",
    "tiw_automation.core",
    *(
        f"tiw_automation.core.{name}"
        for name in ("api", "archive", "events", "quota", "records", "tasks", "waiting")
    ),
    *(f"tiw_automation.core.{name}" for name in ("checks", "errors", "formatting")),
}


def imported(path: Path) -> set[str]:
    """Return the modules that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, path
            found.add(str(node.module))
    return found


def ours(path: Path) -> set[str]:
    """Return the imported parts of the collection, such as ``module_utils._core``."""
    return {name.removeprefix(OURS) for name in imported(path) if name.startswith(OURS)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_file_imports_module_utils_and_the_faces_of_the_core(path: Path) -> None:
    core = {name for name in imported(path) if name.startswith("tiw_automation")}
    assert core <= FACES
    assert all(name.startswith("module_utils._") for name in ours(path))
    if "extensions" in path.parts:
        # ansible-rulebook runs an event plugin as a file, without the collection.
        assert not ours(path)


def test_module_utils_import_each_other_without_a_circle() -> None:
    graph = {
        f"module_utils.{path.stem}": {name for name in ours(path) if "_core_copy" not in name}
        for path in UTILS
    }
    assert len(list(graphlib.TopologicalSorter(graph).static_order())) == len(graph)


def test_the_copy_of_the_archive_is_up_to_date() -> None:
    """There is one source; ``python tests/collection/make_archive_copy.py`` copies it."""
    spec = importlib.util.spec_from_file_location(
        "make_archive_copy", Path(__file__).with_name("make_archive_copy.py")
    )
    assert spec is not None
    assert spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    wanted = maker.copies()
    assert {path: path.read_text() for path in maker.COPY.rglob("*.py")} == wanted
