# SPDX-License-Identifier: Apache-2.0
"""Each code block and each picture of the documentation has exactly one kind of test."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from page_blocks import KINDS, ROOT, all_blocks, blocks, blocks_of, pages, without_blocks

_IMAGE = re.compile(r"!\[[^\]]*\]\(([^)]*images/[^)]+)\)|<img[^>]+src=\"([^\"]*images/[^\"]+)\"")


@pytest.mark.parametrize("page", pages())
def test_every_block_is_found(page: str) -> None:
    parsed = MarkdownIt().parse((ROOT / page).read_text(encoding="utf-8"))
    fences = [(token.map or [0])[0] + 1 for token in parsed if token.type == "fence"]
    assert [block.line for block in blocks_of(page)] == fences
    marks = re.findall(r"^ *<!-- (?:test|file): ", without_blocks(page), re.MULTILINE)
    assert len(marks) == len([block for block in blocks_of(page) if block.mark])
    indented = [token.content for token in parsed if token.type == "code_block"]
    assert not indented, "use a fence with a language"


def test_every_block_has_a_kind() -> None:
    own = [block for block in all_blocks() if block.kind not in KINDS]
    unknown = [f"{block.id} ({block.language or 'no language'})" for block in own if not block.kind]
    assert not unknown, f"CONTRIBUTING.md describes how to mark these blocks: {unknown}"
    for block in own:
        test = ROOT / block.kind
        assert test.is_file(), f"{block.id}: {block.kind} is neither a kind nor a test"
        assert "blocks_for(__file__)" in test.read_text(encoding="utf-8"), test


def test_every_kind_is_described_and_tested() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    table = text.partition("| kind | which blocks |")[2].partition("\n\n")[0]
    cells = "".join(re.findall(r"^\|(.*?)\|", table, re.MULTILINE))
    assert set(re.findall(r"`([^`]+)`", cells)) == set(KINDS)
    for kind, test in KINDS.items():
        assert f'"{kind}"' in (ROOT / test).read_text(encoding="utf-8"), kind


def test_a_file_is_shown_as_it_is() -> None:
    """So what tests the file tests the block."""
    with_files = runpy.run_path(str(ROOT / "tools/show-files"))["with_files"]
    for page in {block.page for block in blocks("file")}:
        path = ROOT / page
        assert path.read_text(encoding="utf-8") == with_files(path), f"run tools/show-files {page}"


def test_a_directive_is_only_in_the_site() -> None:
    assert all(block.page.startswith("docs/") for block in blocks("directive"))


def test_what_is_output_runs_nothing() -> None:
    """A command in a block of output would not be tested."""
    for block in blocks("output"):
        command = r"^(\$ |pip |tiw |ansible\S* |airflow |export |python )"
        assert not re.search(command, block.text, re.MULTILINE), block.id


def test_every_picture_is_made_by_a_test_or_a_benchmark_and_shown() -> None:
    shown = set()
    for page in pages():
        for found in _IMAGE.findall((ROOT / page).read_text(encoding="utf-8")):
            path = (ROOT / page).parent / "".join(found)
            assert path.is_file(), f"{page}: {path}"
            assert is_made(path), path.name
            shown.add(path.resolve())
    assert shown == set((ROOT / "docs/images").iterdir())


def is_made(picture: Path) -> bool:
    if found := re.fullmatch(r"(simulated-(?:delays?|burst))-\d+k\.svg", picture.name):
        maker, name = "benchmarks/simulation.py", found[1]
    elif picture.suffix == ".png":
        maker, name = "tests/pages/test_pages.py", f'"{picture.stem}"'
    elif picture.name.startswith("cli-"):
        maker, name = "tests/terminal/test_terminal.py", f'"{picture.stem}"'
    else:
        maker, name = "tests/docs/test_pictures.py", f'"{picture.name}"'
    return name in (ROOT / maker).read_text(encoding="utf-8")
