# SPDX-License-Identifier: Apache-2.0
"""The shell blocks and the sessions of a page, run in their order by one bash.

A variable, a file or a folder of one block is there for the next one, as for a reader.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page_blocks import Block, blocks, blocks_of
from page_scenes import Shell, scene_of

# An id that TIW makes is another one each time.
_ID = re.compile(r"\b[0-9a-f]{20}\b")
_ORIGIN = re.compile(r"http://127\.0\.0\.1:\d+/videos/\d+/")


@pytest.mark.parametrize("page", sorted({block.page for block in blocks("shell", "console")}))
def test_the_shell_blocks_of_a_page_run(page: str, tmp_path: Path) -> None:
    with scene_of(page, tmp_path) as scene, scene.shell() as shell:
        for block in blocks_of(page):
            if block.kind == "console":
                compare_session(block, shell, tmp_path)
            elif block.kind == "shell":
                code, output = shell.run(block.text)
                expected = int(block.scene.removeprefix("exit ") or 0)
                assert code == expected, f"{block.id} ends with {code}:\n{output}"


def compare_session(block: Block, shell: Shell, folder: Path) -> None:
    """Run the commands of a session, and compare the output of those that show one."""
    ids: dict[str, str] = {}

    def actual(text: str) -> str:
        return _ID.sub(lambda found: ids.get(found[0], found[0]), text)

    for command, shown in steps(block.text):
        code, output = shell.run(actual(command))
        printed = _ORIGIN.sub("http://videos.example.com/", output).replace(str(folder), "")
        assert code == 0, f"{block.id}: {command}:\n{printed}"
        if shown:
            ids.update(zip(_ID.findall(shown), _ID.findall(printed), strict=False))
            assert printed == actual(shown), f"{block.id}: {command}"


def steps(text: str) -> list[tuple[str, str]]:
    """Return each command of a session, with the output below it, or an empty text."""
    _, *parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    return [(command, shown) for command, _, shown in (part.partition("\n") for part in parts)]
