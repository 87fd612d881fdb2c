# SPDX-License-Identifier: Apache-2.0
"""``tiw pause``, ``tiw resume`` and ``tiw stop``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import click

from tiw_automation.cli import asking, exits
from tiw_automation.cli.account import account_options, new_client
from tiw_automation.cli.ids import ids_argument
from tiw_automation.cli.output import FORMS, note, output_option, print_line, show_error
from tiw_automation.core import TiwError


@dataclass
class _Changes:
    """The changes of a command, one recording after the other.

    :param change: makes one; returns whether this call made it.
    :param done: what a message calls a recording that was changed.
    :param shows_done: whether a line is printed for each.
    """

    change: Callable[[str], bool]
    done: str
    shows_done: bool = True
    codes: list[int] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def make(self, task_ids: Sequence[str]) -> None:
        """Change recordings; an error of one is shown and leaves the others."""
        for number, task_id in enumerate(task_ids):
            try:
                self._make(task_id)
            except TiwError as error:
                show_error(error)
                self.codes.append(exits.of_error(error))
                if error.concerns_account:
                    self._note_rest(task_ids[number + 1 :])
                    return
            except KeyboardInterrupt:
                self._note_rest(task_ids[number + 1 :])
                raise

    def _note_rest(self, task_ids: Sequence[str]) -> None:
        if task_ids:
            note(f"not {self.done}: {' '.join(task_ids)}")

    def _make(self, task_id: str) -> None:
        is_new = self.change(task_id)
        self.changed.append(task_id)
        if self.shows_done:
            print_line(f"{task_id} {self.done if is_new else f'was {self.done} already'}")


@click.command()
@ids_argument
@account_options
@click.pass_context
def pause(ctx: click.Context, task_ids: list[str]) -> None:
    """Pause recordings. Tencent ends one that is paused for 90 minutes."""
    changes = _Changes(new_client(ctx).pause_online_record, "paused")
    changes.make(task_ids)
    ctx.exit(exits.worst(changes.codes))


@click.command()
@ids_argument
@account_options
@click.pass_context
def resume(ctx: click.Context, task_ids: list[str]) -> None:
    """Resume paused recordings."""
    changes = _Changes(new_client(ctx).resume_online_record, "resumed")
    changes.make(task_ids)
    ctx.exit(exits.worst(changes.codes))


@click.command()
@ids_argument
@click.option("--wait", "waits", is_flag=True, help="Wait until the videos are there.")
@asking.UNTIL_OPTION
@asking.TIMEOUT_OPTION
@output_option(*FORMS)
@account_options
@click.pass_context
def stop(
    ctx: click.Context,
    task_ids: list[str],
    waits: bool,
    until: Sequence[str] | None,
    timeout: float | None,
    form: str,
) -> None:
    """Stop recordings permanently. Their videos follow minutes later; --wait waits for them.

    --output is the form of what --wait shows. --until implies --wait.
    """
    asking.Question(task_ids, until=until).check()
    client = new_client(ctx)
    waits = waits or until is not None
    changes = _Changes(client.stop_online_record, "stopped", shows_done=not waits)
    changes.make(task_ids)
    if waits and changes.changed:
        question = asking.Question(changes.changed, until=until, timeout_s=timeout)
        code = asking.wait(client, question, form, has_answered=True)
        if code in (exits.INTERRUPTED, exits.TERMINATED):
            ctx.exit(code)
        changes.codes.append(code)
    ctx.exit(exits.worst(changes.codes))
