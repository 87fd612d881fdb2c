# SPDX-License-Identifier: Apache-2.0
"""``tiw running``."""

from __future__ import annotations

import click

from tiw_automation.cli.account import account_options, new_client
from tiw_automation.cli.output import output_option, print_json, print_json_line, print_table
from tiw_automation.core import TASK_KINDS
from tiw_automation.core.api import check_lists_running

_LISTED = {name: kind.running_types for name, kind in TASK_KINDS.items() if kind.running_types}


@click.command()
@click.option(
    "--kind",
    type=click.Choice(list(_LISTED)),
    default="online_record",
    show_default=True,
    help="The kind of the tasks.",
)
@output_option("table", "json", "jsonl")
@account_options
@click.pass_context
def running(ctx: click.Context, kind: str, form: str) -> None:
    """List the tasks that run, or have ended lately (Chinese site only)."""
    client = new_client(ctx)
    check_lists_running(client.settings.host)
    tasks = [task for name in _LISTED[kind] for task in client.describe_running_tasks(name)]
    if form == "json":
        print_json([task.to_dict() for task in tasks])
    elif form == "jsonl":
        for task in tasks:
            print_json_line(task.to_dict())
    else:
        rows = [(task.task_id, task.status, task.room_id, task.create_time) for task in tasks]
        print_table(("ID", "STATUS", "ROOM", "CREATED"), rows)
