# SPDX-License-Identifier: Apache-2.0
"""``tiw wait``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from tiw_automation.cli import asking
from tiw_automation.cli.account import account_options, new_client
from tiw_automation.cli.ids import ids_argument
from tiw_automation.cli.output import FORMS, output_option

_REASONS, _VIDEOS = asking.ACCEPTANCE_OPTIONS


@click.command()
@ids_argument
@asking.UNTIL_OPTION
@asking.TIMEOUT_OPTION
@_REASONS
@_VIDEOS
@output_option(*FORMS)
@account_options
@click.pass_context
def wait(
    ctx: click.Context,
    task_ids: list[str],
    until: Sequence[str] | None,
    timeout: float | None,
    accept_finish_reasons: str | None,
    require_videos: bool,
    form: str,
) -> None:
    """Wait until recordings have ended and their videos are there.

    ID is a task id; give several with blanks or commas between them, or - for standard input, one a
    line. An interrupted wait loses nothing: the recordings go on, and can be waited for again.
    """
    acceptance = asking.acceptance_of(accept_finish_reasons, require_videos)
    question = asking.Question(task_ids, until=until, timeout_s=timeout, acceptance=acceptance)
    question.check()
    ctx.exit(asking.wait(new_client(ctx), question, form))
