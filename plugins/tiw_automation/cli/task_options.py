# SPDX-License-Identifier: Apache-2.0
"""Command-line options that are made from the core's tables of what an action takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from tiw_automation.cli.arguments import read_data, read_secret, split
from tiw_automation.core import PRESETS, TaskKind
from tiw_automation.core.tasks import Option

_Function = TypeVar("_Function", bound=Callable[..., Any])
_USER_SIG_KEY = "TIW_USER_SIG_KEY"


def create_options(kind: TaskKind) -> Callable[[_Function], _Function]:
    """Return a decorator that adds the options of a kind's create action to a command.

    The command gets them as keyword arguments; :func:`given_options` returns those that were given.
    """

    def decorate(function: _Function) -> _Function:
        for option in reversed([*_of_user(kind), *map(_click_option, _own_options(kind))]):
            function = option(function)
        return function

    return decorate


def given_options(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were given, as arguments of the client's create methods."""
    return {name: value for name, value in values.items() if value is not None}


def _own_options(kind: TaskKind) -> list[Option]:
    """Return the options of the table, without those of the kind's user."""
    user = (kind.user.id_option, kind.user.sig_option) if kind.user else ()
    return [option for option in kind.options if option.name not in user]


def _of_user(kind: TaskKind) -> list[Any]:
    if kind.user is None:
        return []
    id_option, sig_option = kind.user.id_option, kind.user.sig_option
    of_kind = [
        click.option(
            _flag(id_option),
            metavar="ID",
            help="The user that TIW enters the room as; one is made up by default.",
        ),
        _secret(sig_option, f"TIW_{sig_option.upper()}", "That user's signature."),
        _secret("user_sig_key", _USER_SIG_KEY, "Instead: the application's key, to sign with."),
    ]
    if kind.name == "online_record":
        of_kind.append(
            click.option("--preset", type=click.Choice(list(PRESETS)), help="A set of options.")
        )
    return of_kind


def _click_option(option: Option) -> Any:
    text = option.description + (" Required." if option.required else "")
    flag = _flag(option.name)
    if option.secret and not option.name.endswith("url"):
        return _secret(option.name, f"TIW_{option.name.upper()}", text)
    if option.type == "bool":
        return click.option(f"{flag}/--no{flag[1:]}", default=None, help=text)
    if option.type == "dict" or option.options:
        form = "@FILE" if _has_secret(option) else "JSON"
        names = ", ".join(inner.name for inner in option.options)
        text = f"{text} As JSON or @FILE, with {names}."
        return click.option(flag, metavar=form, help=text, callback=_read_object(option))
    if option.type == "list":
        return click.option(flag, multiple=True, help=text, callback=_read_list)
    if option.choices and all(isinstance(choice, str) for choice in option.choices):
        return click.option(flag, type=click.Choice(option.choices), help=text)
    metavar = "NUMBER" if option.type == "int" else "TEXT"
    return click.option(flag, metavar=metavar, help=text)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _secret(name: str, variable: str, text: str) -> Any:
    """Return an option that names the file of a secret; no argument holds a secret itself."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        return None if ctx.resilient_parsing else read_secret(value, variable)

    return click.option(
        f"{_flag(name)}-file",
        name,
        metavar="FILE",
        help=f"{text} In a file, - for standard input, or in {variable}.",
        callback=read,
    )


def _has_secret(option: Option) -> bool:
    return any(inner.secret or _has_secret(inner) for inner in option.options)


def _read_object(option: Option) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        if value is None or ctx.resilient_parsing:
            return None
        if _has_secret(option) and not value.startswith("@"):
            raise click.BadParameter("It holds a secret: give @FILE, or @- for standard input.")
        return read_data(value)

    return read


def _read_list(ctx: click.Context, param: click.Parameter, value: Sequence[str]) -> Any:
    return split(value) or None
