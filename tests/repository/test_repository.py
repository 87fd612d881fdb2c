# SPDX-License-Identifier: Apache-2.0
"""What has to hold for the repository as a whole."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from page_blocks import blocks

import tiw_automation

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"


def tracked() -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / name for name in listing.stdout.split("\0") if name]


def test_the_versions_agree() -> None:
    version = tiw_automation.__version__
    collection = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())["version"]
    assert collection.replace("-", "") == version
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


def test_the_changelog_repeats_nothing_and_dates_what_is_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    entries = [" ".join(entry.split()) for entry in re.split(r"^(?=- |#)", text, flags=re.M)]
    repeated = {e for e in entries if e.startswith("- ") and entries.count(e) > 1}
    assert not repeated
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(lines) == len(set(lines))
    _, *older = re.findall(r"^## \[.*\] - (.*)$", text, re.M)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", date) for date in older)


def test_no_index_and_no_address_in_the_pins() -> None:
    for pins in (ROOT / "requirements").iterdir():
        for line in pins.read_text().splitlines():
            assert "://" not in line
            assert not line.startswith(("--index", "--extra-index", "--find-links"))


def test_no_path_of_any_machine() -> None:
    homes = re.compile(r"/(?:root|home/\w+|Users/\w+)/")
    for path in tracked():
        if path.suffix in (".py", ".md", ".toml", ".ini", ".yml", ".in", ".txt", ""):
            assert not homes.search(path.read_text(errors="ignore").replace("/(?:root", "")), path


def test_the_collection_finds_what_it_imports() -> None:
    """Most of it is imported in functions, which no type checker reads with the core beside it."""
    for path in COLLECTION.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tiw_auto"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    assert hasattr(module, name.name), f"{path}: {node.module}.{name.name}"


def test_airflow_finds_no_plugin_files_of_ours() -> None:
    assert (ROOT / "plugins/.airflowignore").read_text().split() == ["tiw_automation/"]


@pytest.mark.parametrize("page", [p for p in tracked() if p.suffix == ".md"], ids=lambda p: p.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)", page.read_text())
    relative = [link for link in links if "://" not in link]
    assert not [link for link in relative if not (page.parent / link).exists()]


def test_every_example_is_shown() -> None:
    shown = {Path(block.mark).name for block in blocks("file")}
    assert {path.name for path in (ROOT / "dags").glob("*.py")} <= shown


def test_every_screenshot_is_shown() -> None:
    text = "".join(path.read_text() for path in tracked() if path.suffix == ".md")
    kept = {path.name for path in (ROOT / "docs/images").glob("*.png")}
    assert set(re.findall(r"images/([\w-]+\.png)", text)) == kept
