# SPDX-License-Identifier: Apache-2.0
"""``tiw simulator``: a TIW API on this machine, alone or around another command."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from tiw_automation.cli import exits
from tiw_automation.cli.output import note

if TYPE_CHECKING:
    from tiw_automation.simulator import Simulator

# What a shell returns for a command that cannot be run, and for one that does not exist.
_NOT_RUNNABLE, _NOT_FOUND = 126, 127
# Keys, endpoints and roles that a command must not find beside the simulator's.
_FOREIGN = ("TENCENTCLOUD_", "TCCLI_", "TKE_", "TIW_")
_PASSED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_FROM_KEYS = (signal.SIGINT, signal.SIGQUIT)
_LOOPBACK = "127.0.0.1"


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--host", default=_LOOPBACK, show_default=True, help="Where to listen.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help="0 picks a free one.  [default: 8787; with a command: 0]",
)
@click.option("--speed", type=click.FloatRange(0), help="Virtual seconds per real second.")
@click.option("--script", metavar="FILE", help="What it starts with, YAML or JSON.")
@click.option("--example", is_flag=True, help="Start with the lessons algebra, history, drama.")
@click.option("--export", is_flag=True, help="Print `export NAME=value` lines in place of JSON.")
@click.option("--odd", is_flag=True, help="Answer in other forms with the same meaning.")
@click.argument("command", metavar="[-- COMMAND...]", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def simulator(ctx: click.Context, /, command: tuple[str, ...], **options: Any) -> None:
    """Run a TIW API on this machine, without an account.

    Once it listens it prints one line of JSON: endpoint, keys, application and region. SIGINT or
    SIGTERM ends it. With --example it has three lessons, of which drama fails; they begin when the
    first of them is asked for.

    With a command, run the command with an environment that points to a new simulator, and end
    with its exit code:

        tiw simulator --example --speed 10 -- tiw wait algebra history drama
    """
    from tiw_automation.simulator.__main__ import main, missing_packages

    missing = missing_packages()
    if missing:
        note(missing)
        ctx.exit(exits.USAGE)
    if options["script"] and options["example"]:
        raise click.UsageError("Give --script or --example, not both.")
    if not command:
        ctx.exit(main(_arguments(options), "tiw simulator"))
    ctx.exit(_run(command, options))


def _arguments(options: Mapping[str, Any]) -> list[str]:
    given = {name: v for name, v in options.items() if v is not None and v is not False}
    return [f"--{name}" if value is True else f"--{name}={value}" for name, value in given.items()]


def _run(command: tuple[str, ...], options: Mapping[str, Any]) -> int:
    """Run a command beside a new simulator; return its exit code."""
    from tiw_automation.simulator import ScriptError, Simulator
    from tiw_automation.simulator.example import EXAMPLE

    try:
        simulator = Simulator(
            script=EXAMPLE if options["example"] else options["script"],
            speed=options["speed"],
            host=options["host"],
            port=options["port"] or 0,
            odd=options["odd"] or None,
        )
        with simulator:
            return _carried_out(command, environment_for(simulator, os.environ))
    except (ScriptError, OSError) as error:
        note(f"The simulator cannot start: {getattr(error, 'strerror', None) or error}.")
        return exits.USAGE


def environment_for(simulator: Simulator, environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which every client finds this simulator, and nothing else."""
    found = {name: value for name, value in environ.items() if not name.startswith(_FOREIGN)}
    found |= simulator.environment() | {"TIW_ARCHIVE_HOSTS": _LOOPBACK}
    direct = [environ.get("no_proxy"), environ.get("NO_PROXY"), _LOOPBACK]
    found["NO_PROXY"] = found["no_proxy"] = ",".join(filter(None, direct))
    return found


def _carried_out(command: tuple[str, ...], environment: Mapping[str, str]) -> int:
    with _Signals() as signals:
        try:
            process = subprocess.Popen(command, env=environment)
        except FileNotFoundError:
            note(f"There is no command {command[0]}.")
            return _NOT_FOUND
        except OSError as error:
            note(f"{command[0]} cannot be run: {error.strerror}.")
            return _NOT_RUNNABLE
        signals.pass_to(process)
        code = process.wait()
    return code if code >= 0 else 128 - code


class _Signals:
    """Passes signals of this process to the command, after which this process ends."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._early: list[int] = []
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Signals:
        self._before = {number: signal.signal(number, self._handle) for number in _PASSED}
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def pass_to(self, process: subprocess.Popen[bytes]) -> None:
        """Pass the signals to this process, those that came before it too."""
        self._process = process
        for number in self._early:
            process.send_signal(number)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A key such as Ctrl-C reaches the command too, and a second SIGINT would end it at once.
        if number in _FROM_KEYS and _has_terminal():
            return
        if self._process is None:
            self._early.append(number)
        else:
            self._process.send_signal(number)


def _has_terminal() -> bool:
    """Return whether this process and the command get the signals of a terminal's keys."""
    try:
        with open("/dev/tty", "rb") as terminal:
            return os.tcgetpgrp(terminal.fileno()) == os.getpgrp()
    except OSError:
        return False
