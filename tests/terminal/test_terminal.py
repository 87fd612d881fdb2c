# SPDX-License-Identifier: Apache-2.0
"""The command line in a real terminal (tmux), and the pictures of it in docs/images.

The pictures are written where ``TIW_WRITE_IMAGES`` is set; otherwise they are compared with what
the terminal shows now, by their words.
"""

from __future__ import annotations

import html
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from terminal import Terminal
from tiw_automation.simulator import Simulator

ROOT = Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
WRITE = bool(os.environ.get("TIW_WRITE_IMAGES"))
NORMAL, NARROW = 100, 40
# What differs from run to run, and what a picture shows instead.
CHANGES = {
    r"127\.0\.0\.1:\d+": "127.0.0.1:8787",
    r"in \d+ ms": "in 4 ms",
    r"/\S*/(tiw-automation-)\d+/\w+\.pace": r"/tmp/\g<1>1000/5f2c.pace",
    r"(?<![\d.])\d+\.\d+\.\d+(?![\d.])": "1.0.0",
}

Open = Callable[..., Terminal]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator() as running:
        running.add("algebra", timeline=[{"RECORDING": 3600}, {"STOPPED": 5}])
        running.add("drama", timeline=[{"RECORDING": 600}, {"PAUSED": 3600}])
        running.add("music", timeline=[{"RECORDING": 1}])
        running.advance(1200)
        yield running


@pytest.fixture
def open_terminal(simulator: Simulator) -> Iterator[Open]:
    """Return a function that runs ``tiw`` with arguments in a new terminal."""
    opened: list[Terminal] = []
    # A socket's path must be short.
    folder = Path(tempfile.mkdtemp(prefix="tiw-", dir="/tmp"))

    def open_one(
        *arguments: str, columns: int = NORMAL, lines: int = 40, **variables: str
    ) -> Terminal:
        place = folder / str(len(opened))
        place.mkdir()
        line = " ".join(arguments)
        script = f'printf "%s\\n" "$ tiw {line}"; exec "$0" -m tiw_automation.cli "$@"'
        terminal = Terminal(
            ["sh", "-c", script, sys.executable, *arguments],
            place,
            columns=columns,
            lines=lines,
            environment=environment(simulator, folder) | variables,
        )
        opened.append(terminal)
        return terminal

    yield open_one
    for terminal in opened:
        terminal.close()
    shutil.rmtree(folder)


def environment(simulator: Simulator, folder: Path) -> dict[str, str]:
    kept = ("PATH", "HOME", "PYTHONPATH", "PYTHONDONTWRITEBYTECODE")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        **simulator.environment(),
        "TENCENTCLOUD_REGION": "ap-guangzhou",
        "TIW_ARCHIVE_HOSTS": "127.0.0.1",
        "LANG": "C.UTF-8",
        "TMPDIR": str(folder),
    }


def words(svg: str) -> set[str]:
    """Return the words of a picture; numbers and bars differ from run to run."""
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return set(re.findall(r"[A-Za-z]{3,}", html.unescape(" ".join(texts))))


def check_picture(terminal: Terminal, name: str, changes: Mapping[str, str] = CHANGES) -> None:
    svg = terminal.picture("tiw", changes)
    path = IMAGES / f"{name}.svg"
    if WRITE:
        path.write_text(svg, encoding="utf-8")
    assert path.exists(), f"Write {path.name} with TIW_WRITE_IMAGES=1."
    different = words(path.read_text(encoding="utf-8")) ^ words(svg)
    assert not different, f"{path.name} is old; write it again with TIW_WRITE_IMAGES=1."


def is_cursor_shown(terminal: Terminal) -> bool:
    return terminal.format("#{cursor_flag}") == "1"


def test_a_wait_is_a_live_table(open_terminal: Open, simulator: Simulator) -> None:
    terminal = open_terminal("wait", "algebra", "drama", "music", lines=16)
    terminal.wait_for(r"algebra +RECORDING(.|\n)*1 of 3 ended")
    terminal.wait_for(r"drama +PAUSED")
    check_picture(terminal, "cli-wait")
    simulator.advance(7200)
    assert terminal.wait_for_end() == 0
    screen = terminal.screen()
    for name in ("algebra", "drama", "music"):
        assert re.search(rf"{name} +FINISHED", screen), screen
    assert is_cursor_shown(terminal)


@pytest.mark.parametrize("columns", [NORMAL, NARROW])
def test_an_interrupted_wait_shows_what_is_known(open_terminal: Open, columns: int) -> None:
    terminal = open_terminal("wait", "algebra", "music", columns=columns)
    terminal.wait_for(r"algebra\s+RECORDING")
    terminal.keys("C-c")
    assert terminal.wait_for_end() == 130
    screen = terminal.screen()
    assert "Traceback" not in screen
    assert re.search(r"algebra\s+RECORDING", screen), screen
    assert is_cursor_shown(terminal)


def test_an_interrupted_archive_is_continued(
    open_terminal: Open, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.inject("drip", action="video", bytes=40, interval=0.2)
    folder = tmp_path / "lessons"
    terminal = open_terminal("archive", "music", str(folder), lines=16)
    terminal.wait_for(r"0 of 2 videos .* [1-9]\d %.*bytes/s(.|\n)*music/camera-.* [1-9]\d %.*/s")
    check_picture(terminal, "cli-archive", CHANGES | {re.escape(str(folder)): "lessons"})
    terminal.keys("C-c")
    assert terminal.wait_for_end() == 130
    screen = terminal.screen()
    assert "0 of 2 videos are whole" in screen
    assert "Traceback" not in screen
    assert is_cursor_shown(terminal)
    parts = [path for path in folder.rglob(".*.part") if path.stat().st_size]
    assert parts
    simulator.clear_faults()
    again = open_terminal("archive", "music", str(folder))
    assert again.wait_for_end() == 0
    assert len(list(folder.rglob("*.mp4"))) == 2
    assert not list(folder.rglob(".*.part"))
    verified = open_terminal("verify", "--all", str(folder))
    assert verified.wait_for_end() == 0
    assert "2 whole" in verified.screen()


def test_narrow_bars(open_terminal: Open, simulator: Simulator, tmp_path: Path) -> None:
    simulator.inject("drip", action="video", bytes=40, interval=0.2)
    terminal = open_terminal("archive", "music", str(tmp_path), columns=NARROW)
    terminal.wait_for(r"0 of 2 .* [1-9]\d* %")
    terminal.keys("C-c")
    assert terminal.wait_for_end() == 130


def test_doctor_is_one_screen(open_terminal: Open) -> None:
    terminal = open_terminal("doctor")
    assert terminal.wait_for_end() == 0
    screen = terminal.screen()
    assert screen.startswith("$ tiw doctor\nok          versions")
    assert "\x1b[32mok" in terminal.coloured()
    assert re.search(r"ok +Redis", screen)
    check_picture(terminal, "cli-doctor")


def test_doctor_in_a_narrow_terminal(open_terminal: Open) -> None:
    terminal = open_terminal("doctor", columns=NARROW, lines=80)
    assert terminal.wait_for_end() == 0
    screen = terminal.screen()
    assert "\nok account\n  The keys and the SdkAppId" in screen
    assert max(map(len, screen.splitlines())) <= NARROW


def test_no_color(open_terminal: Open) -> None:
    terminal = open_terminal("doctor", NO_COLOR="1")
    assert terminal.wait_for_end() == 0
    assert not re.search(r"\x1b\[(3[0-7]|38)", terminal.coloured())


def test_ctrl_c_reaches_the_command_around_which_the_simulator_runs(open_terminal: Open) -> None:
    waits = "trap 'echo got-it; exit 9' INT; echo ready; while :; do sleep 0.1; done"
    terminal = open_terminal("simulator", "--", "sh", "-c", waits)
    terminal.wait_for(r"\nready")
    terminal.keys("C-c")
    assert terminal.wait_for_end() == 9
    assert terminal.screen().count("got-it") == 2  # Once in the command line.
