# SPDX-License-Identifier: Apache-2.0
"""The pages are written in short blocks, and begin with what the reader gets."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

ROOT = Path(__file__).resolve().parents[2]
COLLECTION = ROOT / "collections/ansible_collections/tiw/automation"
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *(COLLECTION / name for name in ("README.md", "roles/archive_recordings/README.md")),
]
# Lists of pages, pages that include another one, and a form that Galaxy prescribes.
_BEGIN_OTHERWISE = {
    ROOT / "CONTRIBUTING.md",
    COLLECTION / "README.md",
    *(
        ROOT / "docs" / name
        for name in ("index.md", "changelog.md", "collection.md", "contributing.md")
    ),
}
_LONGEST_BLOCK = 6
_WIDTH = 120


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_block_of_prose_is_long(page: Path) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    blocks = [
        token.content.splitlines()
        for before, token in pairwise(tokens)
        if token.type == "inline" and before.type == "paragraph_open"
    ]
    long = [
        lines[0]
        for lines in blocks
        if sum(math.ceil(len(line) / _WIDTH) for line in lines) > _LONGEST_BLOCK
    ]
    assert not long


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_begins_with_a_sentence(page: Path) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    if page not in _BEGIN_OTHERWISE:
        assert [token.type for token in tokens[:4:3]] == ["heading_open", "paragraph_open"]
