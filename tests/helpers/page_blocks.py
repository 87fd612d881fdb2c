# SPDX-License-Identifier: Apache-2.0
"""The code blocks of the documentation, and which kind of test each of them has.

The kind follows from the language and the content of a block, or from the comment above it:

    <!-- test: KIND -->             another kind than the usual one, for example ``helm``
    <!-- test: tests/PATH -->       that file tests the block, see ``blocks_for``
    <!-- test: KIND with SCENE -->  what the block needs is in tests/helpers/page_scenes.py
    <!-- file: PATH -->             the block shows a file, see tools/show-files

CONTRIBUTING.md describes the kinds to authors.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]

KINDS = {
    "file": "tests/docs/test_blocks.py",
    "output": "tests/docs/test_blocks.py",
    "directive": "tests/docs/test_blocks.py",
    "python": "tests/docs/test_python_blocks.py",
    "pytest": "tests/docs/test_python_blocks.py",
    "shell": "tests/docs/test_shell_blocks.py",
    "console": "tests/docs/test_shell_blocks.py",
    "syntax": "tests/docs/test_data_blocks.py",
    "json": "tests/docs/test_data_blocks.py",
    "toml": "tests/docs/test_data_blocks.py",
    "nginx": "tests/docs/test_data_blocks.py",
    "manifest": "tests/docs/test_data_blocks.py",
    "script": "tests/docs/test_data_blocks.py",
    "statsd exporter": "tests/docs/test_data_blocks.py",
    "helm": "tests/docs/test_data_blocks.py",
    "kubernetes": "tests/docs/test_data_blocks.py",
    "compose": "tests/docs/test_data_blocks.py",
    "workflow": "tests/docs/test_data_blocks.py",
    "used": "tests/docs/test_data_blocks.py",
    "dag": "tests/provider/test_page_blocks.py",
    "airflow": "tests/provider/test_page_blocks.py",
    "airflow.cfg": "tests/provider/test_page_blocks.py",
    "playbook": "tests/collection/test_page_blocks.py",
    "tasks": "tests/collection/test_page_blocks.py",
    "keywords": "tests/collection/test_page_blocks.py",
    "rulebook": "tests/collection/test_page_blocks.py",
    "ansible": "tests/collection/test_page_blocks.py",
}
"""Which file tests the blocks of a kind."""

_BLOCK = re.compile(
    r"^(?P<indent> *)(?P<fence>```+|~~~+) *(?P<language>[^\n`]*?) *\n"
    r"(?P<text>.*?)^(?P=indent)(?P=fence) *$",
    re.DOTALL | re.MULTILINE,
)
_MARK = re.compile(r"<!-- ((?:test|file): .+?) -->\Z")
_SAVED = re.compile(r"[Ss]ave this(?: block)? as `([\w./-]+)`")
_NAMED = re.compile(r"# ([\w-]+\.\w+)\b")
_PROGRAM = re.compile(r"^(?:\$ )?(?:[A-Z_]+=\S+ )*(ansible|airflow)\b", re.MULTILINE)
_AIRFLOW = re.compile(r"^\s*(?:from|import) (?:airflow|tiw_automation\.airflow)\b", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    :param page: the path of the page in the repository
    :param line: the line of its first fence
    :param language: the info string of the fence
    :param mark: the content of the comment above it, such as ``test: helm``; empty without one
    :param above: the paragraph above it
    """

    page: str
    line: int
    language: str
    mark: str
    above: str
    text: str

    @property
    def id(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str:
        """The name under which a reader saves it, for the other blocks of the page, or empty."""
        found = _SAVED.search(self.above) or _NAMED.match(self.text)
        return found[1] if found else ""

    @property
    def scene(self) -> str:
        """The name of the scene that it needs, or an empty text."""
        return self.mark.partition(" with ")[2]

    @property
    def kind(self) -> str:
        """A key of ``KINDS`` or the path of a test; empty if nothing tests the block."""
        verb, _, rest = self.mark.partition(": ")
        if verb == "file":
            return "file"
        return rest.partition(" with ")[0] or _usual_kind(self)


def _usual_kind(block: Block) -> str:
    match block.language:
        case "python" if _AIRFLOW.search(block.text):
            return "dag"
        case "python" if "def test_" in block.text:
            return "pytest"
        case "shell" | "console" if found := _PROGRAM.search(block.text):
            return found[1]
        case "text":
            return "output"
        case "yaml":
            return _kind_of_yaml(block.text) or ("used" if block.file else "")
        case "python" | "shell" | "console" | "json" | "toml" | "nginx" as kind:
            return kind
        case language if language.startswith("{"):
            return "directive"
    return ""


def _kind_of_yaml(text: str) -> str:
    content = yaml.safe_load(text)
    if "module_defaults" in content:
        return "keywords"
    first = content[0] if isinstance(content, list) and content else {}
    if "sources" in first:
        return "rulebook"
    if "hosts" in first:
        return "playbook"
    return "tasks" if any("." in key for key in first) else ""


def pages() -> list[str]:
    """Return the pages of the repository, by their paths in it."""
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("collections/**/*.md")]
    return sorted(str(path.relative_to(ROOT)) for path in found)


def blocks_of(page: str) -> list[Block]:
    """Return the code blocks of a page in their order."""
    content = (ROOT / page).read_text(encoding="utf-8")
    found, end = [], 0
    for match in _BLOCK.finditer(content):
        above = content[end : match.start()].rstrip()
        mark = _MARK.search(above)
        paragraph = _MARK.sub("", above).rstrip().rpartition("\n\n")[2]
        line = content.count("\n", 0, match.start()) + 1
        text = textwrap.dedent(match["text"]) if match["indent"] else match["text"]
        found.append(Block(page, line, match["language"], mark[1] if mark else "", paragraph, text))
        end = match.end()
    return found


def without_blocks(page: str) -> str:
    """Return the text of a page between its code blocks."""
    return _BLOCK.sub("", (ROOT / page).read_text(encoding="utf-8"))


def all_blocks() -> list[Block]:
    """Return the code blocks of all pages."""
    return [block for page in pages() for block in blocks_of(page)]


def blocks(*kinds: str) -> list[Block]:
    """Return the blocks of some kinds."""
    return [block for block in all_blocks() if block.kind in kinds]


def outputs(page: str, words: str) -> list[str]:
    """Return the lines of output in a page that contain some words."""
    lines = "".join(block.text for block in blocks_of(page) if block.kind == "output").splitlines()
    return [line for line in lines if words in line]


def blocks_for(test: str) -> list[Block]:
    """Return the blocks that name a test of their own.

    :param test: its ``__file__``
    """
    return blocks(str(Path(test).resolve().relative_to(ROOT)))
