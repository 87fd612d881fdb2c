# SPDX-License-Identifier: Apache-2.0
"""The command ``tiw`` in tests: within this process, as a process, and on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from tiw_automation.cli.app import tiw
from tiw_automation.simulator import Simulator

COMMAND = (sys.executable, "-m", "tiw_automation.cli")
LIMIT_S = 30.0


def run_tiw(simulator: Simulator, *arguments: str, given: str = "", **variables: str) -> Result:
    """Run a command in this process.

    :param given: its standard input.
    :param variables: of the environment, beside the simulator's.
    """
    environment = {**simulator.environment(), **variables}
    return CliRunner().invoke(tiw, list(arguments), input=given, env=environment)


def environment_of(simulator: Simulator, **variables: str) -> dict[str, str]:
    """Return the environment of a process that calls the simulator."""
    package = str(Path(__file__).parents[2] / "plugins")
    # pytest-xdist sets the size of a terminal.
    kept = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "LINES")}
    return {**kept, "PYTHONPATH": package, **simulator.environment(), **variables}


def start_tiw(environment: Mapping[str, str], *arguments: str, **details: Any) -> Any:
    """Start a command as a process, with pipes."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": _take_ctrl_c}
    return subprocess.Popen(
        [*COMMAND, *arguments], env=environment, text=True, **{**pipes, **details}
    )


@contextmanager
def running(process: Any) -> Iterator[Any]:
    """End a process at the end, also where the test fails."""
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _take_ctrl_c() -> None:
    # A test run in the background ignores it, and so would the command.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command on a terminal.

    :param master: the terminal's other side.
    """

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.shown = ""
        self._master = master

    def read_until(self, text: str) -> None:
        """Read until the terminal has shown a text."""
        end = time.monotonic() + LIMIT_S
        while text not in self.shown:
            assert time.monotonic() < end, f"{text!r} is not in {self.shown!r}"
            assert self._read() or self.process.poll() is None, self.shown
        assert text in self.shown

    def press(self, keys: str) -> None:
        """Type keys."""
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Wait for the end of the command and return its exit code."""
        end = time.monotonic() + LIMIT_S
        while self.process.poll() is None:
            assert time.monotonic() < end, self.shown
            self._read()
        while self._read():
            pass
        return self.process.wait()

    def _read(self) -> bool:
        if not select.select([self._master], [], [], 0.2)[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def _take_terminal() -> None:
    _take_ctrl_c()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


@contextmanager
def on_terminal(
    environment: Mapping[str, str], *arguments: str, columns: int = 80, lines: int = 24
) -> Iterator[Terminal]:
    """Run a command on a terminal of this size; it is ended with the block."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env={"TERM": "xterm-256color", **environment},
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(slave)
    try:
        yield Terminal(process, master)
    finally:
        process.kill()
        process.wait()
        os.close(master)
