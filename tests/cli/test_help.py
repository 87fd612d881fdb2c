# SPDX-License-Identifier: Apache-2.0
"""What ``tiw`` imports, what it is without its packages, and its own help."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner
from tiw_command import environment_of, run_tiw

from tiw_automation import __version__
from tiw_automation.cli.app import COMMANDS, tiw
from tiw_automation.simulator import Simulator

OURS = (
    "show",
    "wait",
    "start",
    "pause",
    "resume",
    "stop",
    "running",
    "callbacks",
    "task",
    "completion",
)


def _imported_by(*arguments: str) -> set[str]:
    program = (
        "import sys\n"
        "from tiw_automation.cli.__main__ import main\n"
        f"sys.argv[1:] = {list(arguments)!r}\n"
        "main()\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=environment_of(Simulator()),
    )
    return set(done.stderr.split())


def test_help_imports_neither_the_core_nor_a_command() -> None:
    imported = _imported_by("--help")
    foreign = {"rich", "asyncio", "tencentcloud", "requests", "urllib3", "logging", "fsspec"}
    assert not foreign & imported
    ours = {name for name in imported if name.startswith("tiw_automation")}
    assert not {name for name in ours if ".core" in name or ".commands" in name}


@pytest.mark.parametrize("name", OURS)
def test_help_of_a_command_imports_neither_rich_nor_the_sdk(name: str) -> None:
    assert not {"rich", "tencentcloud"} & _imported_by(name, "--help")


def test_help_names_each_command() -> None:
    shown = CliRunner().invoke(tiw, ["--help"])
    assert shown.exit_code == 0
    for name, (_, text) in COMMANDS.items():
        assert name in shown.stdout
        assert text.endswith(".")


def test_a_misspelt_command() -> None:
    shown = CliRunner().invoke(tiw, ["strt"])
    assert shown.exit_code == 2
    assert "There is no command strt. Did you mean start?" in shown.stderr


def test_a_misspelt_option(tiw_simulator: Simulator) -> None:
    shown = run_tiw(tiw_simulator, "start", "5", "--auto-stop-timout", "500")
    assert shown.exit_code == 2
    assert "--auto-stop-timeout" in shown.stderr


def test_version() -> None:
    assert CliRunner().invoke(tiw, ["--version"]).stdout == f"tiw {__version__}\n"


def _without_click(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys, importlib.util\n"
        "import tiw_automation.cli.__main__ as entry\n"
        "entry.find_spec = lambda name: None\n"
        "sys.exit(entry.main())"
    )
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment_of(Simulator()),
    )


def test_without_the_extra_one_sentence_names_it() -> None:
    done = _without_click("show", "x")
    assert done.returncode == 2
    assert done.stderr == (
        "tiw: the command line needs more packages: pip install 'tiw-automation[cli]'.\n"
    )


def test_without_the_extra_it_has_a_version() -> None:
    assert _without_click("--version").stdout == f"tiw {__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("tiw sto", "stop"),
        ("tiw task create tr", "transcode"),
        ("tiw task show sn", "snapshot"),
        ("tiw start 5 --record-m", "--record-mode"),
        ("tiw start 5 --record-mode REAL", "REALTIME_MODE"),
        ("tiw wait x --output js", "jsonl"),
    ],
)
def test_completion(words: str, expected: str) -> None:
    variables = {
        "_TIW_COMPLETE": "bash_complete",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split()) - 1),
    }
    done = subprocess.run(
        [sys.executable, "-m", "tiw_automation.cli"],
        capture_output=True,
        text=True,
        check=False,
        env=environment_of(Simulator(), **variables),
    )
    assert f"plain,{expected}" in done.stdout.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_printed(shell: str) -> None:
    shown = CliRunner().invoke(tiw, ["completion", shell])
    assert shown.exit_code == 0
    assert "_TIW_COMPLETE" in shown.stdout
