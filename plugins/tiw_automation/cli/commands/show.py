# SPDX-License-Identifier: Apache-2.0
"""``tiw show``."""

from __future__ import annotations

import click

from tiw_automation.cli.account import account_options, new_client
from tiw_automation.cli.asking import Question, describe
from tiw_automation.cli.ids import ids_argument
from tiw_automation.cli.output import FORMS, output_option


@click.command()
@ids_argument
@output_option(*FORMS)
@account_options
@click.pass_context
def show(ctx: click.Context, task_ids: list[str], form: str) -> None:
    """Show recordings as they are now.

    ID is a task id; give several with blanks or commas between them, or - for standard input, one a
    line.
    """
    ctx.exit(describe(new_client(ctx), Question(task_ids), form))
