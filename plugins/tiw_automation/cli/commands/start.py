# SPDX-License-Identifier: Apache-2.0
"""``tiw start``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tiw_automation.cli import asking
from tiw_automation.cli.account import account_options, new_client
from tiw_automation.cli.arguments import usage_errors
from tiw_automation.cli.output import FORMS, note, output_option, print_json, print_line
from tiw_automation.cli.task_options import create_options, given_options
from tiw_automation.core.tasks import find_kind


@click.command()
@click.argument("room")
@create_options(find_kind("online_record"))
@click.option("--wait", "waits", is_flag=True, help="Wait until it records.")
@asking.UNTIL_OPTION
@asking.TIMEOUT_OPTION
@output_option(*FORMS)
@account_options
@click.pass_context
def start(
    ctx: click.Context,
    /,
    room: str,
    waits: bool,
    until: Sequence[str] | None,
    timeout: float | None,
    form: str,
    **options: Any,
) -> None:
    """Start to record the room with the number ROOM and print the task id.

    TIW enters the room as a user of its own. That user's login needs a signature, or the
    application's key to make one with. --until implies --wait.
    """
    asking.Question((), until=until).check()
    client = new_client(ctx)
    given = given_options(options)
    with usage_errors():
        client.start_online_record_params(room, **given)
    task_id = client.start_online_record(room, **given)
    if not waits and until is None:
        _print_started(client.sdk_app_id(), task_id, form)
        return
    note(f"recording {task_id} was started.")
    question = asking.Question([task_id], until=until or ["RECORDING"], timeout_s=timeout)
    ctx.exit(asking.wait(client, question, form, has_answered=True))


def _print_started(app_id: int, task_id: str, form: str) -> None:
    if form in ("json", "jsonl"):
        print_json({"sdk_app_id": app_id, "task_id": task_id})
    else:
        print_line(task_id)
