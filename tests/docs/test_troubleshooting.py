# SPDX-License-Identifier: Apache-2.0
"""Each message that docs/troubleshooting.md quotes stands in the code."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/troubleshooting.md"
CODE = (
    "plugins/tiw_automation",
    "collections/ansible_collections/tiw/automation/plugins",
)
_OF_OTHERS = ("(of pip)", "(of Ansible)")
_NO_MESSAGES = ("become: true", "upstream_failed")
# What a text of the code holds where a value is put in.
_VALUE = "\0"


def rows() -> list[str]:
    """Return the rows of the tables whose messages are ours."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    found = [line for line in lines if line.startswith("|") and not line.startswith("|---")]
    return [row for row in found if not any(other in row for other in _OF_OTHERS)]


def quoted() -> list[str]:
    """Return the messages and codes in the first column, and the messages in the second."""
    found: list[str] = []
    for row in rows():
        first, second = row.split("|")[1:3]
        found += re.findall(r"`([^`]+)`", first)
        found += [text for text in re.findall(r"`([^`]+)`", second) if " " in text]
    return [text for text in found if text not in _NO_MESSAGES]


@cache
def texts() -> list[str]:
    """Return every text of the code; each value that is put in is one character."""
    found: list[str] = []
    for path in (path for folder in CODE for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(map(_shown, node.values)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str | int):
                found.append(re.sub(r"%[-.\w]*?[sdrfg]", _VALUE, str(node.value)))
            elif isinstance(node, ast.ClassDef):
                found.append(node.name)
    return found


def stands_in(message: str, text: str) -> bool:
    """Return whether a text has the parts of a message, with a value in place of each `...`."""
    at = 0
    for number, part in enumerate(message.strip().split("...")):
        at = text.find(_VALUE, at) if number else 0
        at = text.find(part, at) if at >= 0 else -1
        if at < 0:
            return False
    return True


def _shown(part: ast.expr) -> str:
    return str(part.value) if isinstance(part, ast.Constant) else _VALUE


@pytest.mark.parametrize("message", quoted())
def test_each_message_of_the_page_stands_in_the_code(message: str) -> None:
    assert any(stands_in(message, text) for text in texts())


def test_the_page_quotes_messages() -> None:
    assert len(quoted()) > 60
