# SPDX-License-Identifier: Apache-2.0
"""The examples of the README: its fenced blocks, and what each of them is."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import yaml
from markdown_it import MarkdownIt

from release.places import ReleaseError


@dataclass(frozen=True)
class Example:
    """One block of the README.

    :param line: the line that it begins at, from 1.
    """

    kind: Literal["dag", "playbook", "python", "shell"]
    text: str
    line: int
    exit_code: int = 0


def examples(page: Path) -> list[Example]:
    """Return the examples of a page, without what is output.

    :raises ReleaseError: a block is of another kind.
    """
    found = []
    tokens = MarkdownIt().parse(page.read_text())
    for before, token in pairwise(tokens):
        if token.type == "fence" and token.info.strip() not in ("text", "mermaid"):
            line = (token.map or [0])[0] + 1
            example = _example(token.info.strip(), token.content, line)
            mark = re.search(r"<!-- test: .* with exit (\d+) -->", before.content)
            found.append(replace(example, exit_code=int(mark[1])) if mark else example)
    return found


def _example(language: str, text: str, line: int) -> Example:
    if language in ("shell", "sh", "bash"):
        return Example("shell", text, line)
    if language == "console":
        commands = [entry[2:] for entry in text.splitlines() if entry.startswith("$ ")]
        return Example("shell", "\n".join(commands), line)
    if language == "python":
        return Example("dag" if "airflow" in text else "python", text, line)
    if language == "yaml":
        plays = yaml.safe_load(text)
        if isinstance(plays, list) and all("hosts" in play for play in plays):
            return Example("playbook", text, line)
    raise ReleaseError(f"README.md, line {line}: nothing here can run this {language!r} block")
