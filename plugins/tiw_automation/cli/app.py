# SPDX-License-Identifier: Apache-2.0
"""The command ``tiw``: its commands by name, and how each of them ends.

A command is imported when it is called. ``tiw --help`` imports none, and none of the core.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from tiw_automation import __version__
from tiw_automation.cli import exits

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# By name: the module in cli/commands and the command in it; what it does, in a line.
COMMANDS: Mapping[str, tuple[str, str]] = {
    "show": ("show:show", "Show recordings as they are now."),
    "wait": ("wait:wait", "Wait until recordings have ended."),
    "start": ("start:start", "Start to record a room."),
    "pause": ("change:pause", "Pause recordings."),
    "resume": ("change:resume", "Resume paused recordings."),
    "stop": ("change:stop", "Stop recordings."),
    "archive": ("archive:archive", "Copy the videos of recordings to a folder or a bucket."),
    "verify": ("verify:verify", "Check the copies in a folder or a bucket."),
    "running": ("running:running", "List the tasks that run."),
    "callbacks": ("callbacks:callbacks", "Show or set where the events of recordings are posted."),
    "task": ("task:task", "Create, show or wait for tasks of any kind."),
    "doctor": ("doctor:doctor", "Check keys, settings, network and permissions."),
    "simulator": ("simulator:simulator", "Run a TIW API on this machine."),
    "completion": ("completion:completion", "Print the completion of a shell."),
}

_EPILOG = (
    "Exit codes: 0 all finished, 1 one failed or is missing, 2 usage, 3 the time elapsed, "
    "4 refused (keys, permission, settings), 5 could not be reached, 130 interrupted."
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called.

    :param lazy: as :data:`COMMANDS`.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **details: Any) -> None:
        super().__init__(*args, **details)
        self._lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._lazy:
            return None
        module, _, attribute = self._lazy[cmd_name][0].partition(":")
        found = getattr(import_module(f"tiw_automation.cli.commands.{module}"), attribute)
        assert isinstance(found, click.Command)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and not args[0].startswith("-") and args[0] not in self._lazy:
            from tiw_automation.core.checks import did_you_mean
            from tiw_automation.core.formatting import escaped

            close = did_you_mean(args[0], self._lazy)
            ctx.fail(f"There is no command {escaped(args[0], 80)}.{close}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self._lazy.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        return [
            CompletionItem(name, help=text)
            for name, (_, text) in self._lazy.items()
            if name.startswith(incomplete)
        ] + click.Command.shell_complete(self, ctx, incomplete)


class App(LazyGroup):
    """The command ``tiw``; every error becomes a message and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            ctx.exit(_interrupted(interrupt))
        except BrokenPipeError:
            ctx.exit(_closed_pipe())
        except Exception as error:
            from tiw_automation.core.errors import TiwError

            if not isinstance(error, TiwError):
                raise
            from tiw_automation.cli.output import show_error

            show_error(error)
            ctx.exit(exits.of_error(error))


@click.group(
    cls=App,
    lazy=COMMANDS,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="tiw", message="%(prog)s %(version)s")
def tiw() -> None:
    """Recordings and other tasks of Tencent Cloud's Interactive Whiteboard (TIW).

    The API key comes from the environment (TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY),
    from Tencent's own files, a profile or a role. No option takes a key.
    """


def run() -> int:
    """Run the command of this process and return its exit code."""
    from tiw_automation.cli import interrupts

    interrupts.install()
    try:
        tiw.main(prog_name="tiw")
    except SystemExit as end:
        return _flushed(end.code)
    except KeyboardInterrupt as interrupt:
        return _interrupted(interrupt)


def _flushed(code: object) -> int:
    """Return an exit code once everything is written."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return _closed_pipe()
    if code is None or isinstance(code, int):
        return code or exits.FINISHED
    print(code, file=sys.stderr)
    return exits.FAILED


def _interrupted(interrupt: KeyboardInterrupt) -> int:
    """Show what an interrupted command has left, and return its exit code."""
    from tiw_automation.core.errors import TiwError

    if isinstance(interrupt.__cause__, TiwError):
        from tiw_automation.cli.output import show_error

        show_error(interrupt.__cause__)
    else:
        print("tiw: interrupted.", file=sys.stderr)
    return getattr(interrupt, "exit_code", exits.INTERRUPTED)


def _closed_pipe() -> int:
    # Python flushes standard output again at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return exits.CLOSED_PIPE
