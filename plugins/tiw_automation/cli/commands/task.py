# SPDX-License-Identifier: Apache-2.0
"""``tiw task``: tasks of every kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from tiw_automation.cli import asking
from tiw_automation.cli.account import account_options, new_client
from tiw_automation.cli.arguments import usage_errors
from tiw_automation.cli.ids import ids_argument
from tiw_automation.cli.output import FORMS, note, output_option, print_json, print_line
from tiw_automation.cli.task_options import create_options, given_options
from tiw_automation.core import TASK_KINDS, TaskKind
from tiw_automation.core.tasks import find_kind

_KIND = click.argument("kind", type=click.Choice(list(TASK_KINDS)), metavar="KIND")
_KINDS_HELP = "KIND is one of " + ", ".join(TASK_KINDS) + "."
_REASONS, _RESULTS = asking.ACCEPTANCE_OPTIONS


@click.group()
def task() -> None:
    """Create, show or wait for tasks of any kind."""


@task.command(epilog=_KINDS_HELP)
@_KIND
@ids_argument
@output_option(*FORMS)
@account_options
@click.pass_context
def show(ctx: click.Context, kind: str, task_ids: list[str], form: str) -> None:
    """Show tasks as they are now."""
    ctx.exit(asking.describe(new_client(ctx), asking.Question(task_ids, kind), form))


@task.command(epilog=_KINDS_HELP)
@_KIND
@ids_argument
@asking.UNTIL_OPTION
@asking.TIMEOUT_OPTION
@_REASONS
@_RESULTS
@output_option(*FORMS)
@account_options
@click.pass_context
def wait(
    ctx: click.Context,
    kind: str,
    task_ids: list[str],
    until: Sequence[str] | None,
    timeout: float | None,
    accept_finish_reasons: str | None,
    require_videos: bool,
    form: str,
) -> None:
    """Wait until tasks have ended."""
    acceptance = asking.acceptance_of(accept_finish_reasons, require_videos)
    question = asking.Question(task_ids, kind, until, timeout, acceptance)
    question.check()
    ctx.exit(asking.wait(new_client(ctx), question, form))


class _CreateGroup(click.Group):
    """One command for each kind, made when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(TASK_KINDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        kind = TASK_KINDS.get(cmd_name)
        return None if kind is None else _create_command(kind)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and not args[0].startswith("-"):
            with usage_errors():
                find_kind(args[0])
        return super().resolve_command(ctx, args)


@task.group(cls=_CreateGroup)
def create() -> None:
    """Create a task of a kind and print its task id."""


def _create_command(kind: TaskKind) -> click.Command:
    @click.command(kind.name, help=f"Create a {kind.noun.lower()} ({kind.create_action}).")
    @create_options(kind)
    @click.option("--wait", "waits", is_flag=True, help="Wait until it has ended.")
    @asking.UNTIL_OPTION
    @asking.TIMEOUT_OPTION
    @output_option(*FORMS)
    @account_options
    @click.pass_context
    def command(
        ctx: click.Context,
        /,
        waits: bool,
        until: Sequence[str] | None,
        timeout: float | None,
        form: str,
        **options: Any,
    ) -> None:
        asking.Question((), kind.name, until).check()
        task_id = _create(ctx, kind, given_options(options), form, waits or until is not None)
        if waits or until is not None:
            question = asking.Question([task_id], kind.name, until, timeout)
            ctx.exit(asking.wait(new_client(ctx), question, form, has_answered=True))

    if kind.name == "online_record":
        click.option("--room-id", metavar="NUMBER", required=True, help="The room.")(command)
    return command


def _create(
    ctx: click.Context, kind: TaskKind, options: dict[str, Any], form: str, waits: bool
) -> str:
    """Create a task, print it unless it is waited for, and return its id."""
    client = new_client(ctx)
    with usage_errors():
        client.create_task_params(kind.name, **options)
    created = client.create_task(kind.name, **options)
    if waits:
        note(f"{kind.noun.lower()} {created.task_id} was created.")
    elif form in ("json", "jsonl"):
        print_json(created.to_dict())
    else:
        print_line(created.task_id)
    return created.task_id
