# SPDX-License-Identifier: Apache-2.0
"""Task ids as arguments: several, with commas between them, or ``-`` for standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])


def ids_argument(function: _Function) -> _Function:
    """Add the argument ``task_ids`` to a command: a checked list without repetitions."""
    argument = click.argument(
        "task_ids", metavar="ID...", nargs=-1, required=True, callback=_checked
    )
    return argument(function)


def ids_before_folder(
    ctx: click.Context, param: click.Parameter, value: tuple[str, ...]
) -> list[str]:
    """Check the ids of a command whose last argument is a folder: the callback of the ids.

    :raises UsageError: there are none, because a single argument is the folder.
    """
    if not value and not ctx.resilient_parsing:
        raise click.UsageError("ID or FOLDER is missing: give at least one id, and the folder.")
    return _checked(ctx, param, value)


def read_ids(given: Sequence[str]) -> list[str]:
    """Return task ids, each once, in the order given.

    :param given: ids, texts with commas between ids, or ``-`` for one id a line of standard input.
    :raises BadParameter: one is not a task id, or there is none.
    """
    from tiw_automation.core import ConfigurationError, check_task_ids

    found: list[str] = []
    for text in given:
        found += _lines() if text == "-" else [part.strip() for part in text.split(",")]
    try:
        return check_task_ids(found)
    except ConfigurationError as error:
        raise click.BadParameter(f"{error.message} {error.hint or ''}".rstrip()) from None


def _lines() -> list[str]:
    """Return the lines of standard input that are neither empty nor comments."""
    lines = (line.strip() for line in sys.stdin)
    return [line for line in lines if line and not line.startswith("#")]


def _checked(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> list[str]:
    return [] if ctx.resilient_parsing else read_ids(value)
