# SPDX-License-Identifier: Apache-2.0
"""The names of the core's settings in messages, as the options of the command that runs.

The core's messages name a setting as Python and Ansible do. One with an underscore is recognized
anywhere, such as ``ca_file``. One that is also a plain word is recognized where a message begins
with it, and after "the setting".
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import click

_COMMAND = "tiw.command"
CORE_NAMES: Mapping[str, str] = {"request_timeout": "timeout"}
"""The settings of options that have another name."""


def keep_command(ctx: click.Context) -> None:
    """Note which command runs, for the messages of its errors."""
    ctx.meta[_COMMAND] = ctx.command


def in_options(text: str) -> str:
    """Return a text of the core with options instead of names of settings."""
    ctx = click.get_current_context(silent=True)
    command = ctx.meta.get(_COMMAND) if ctx is not None else None
    return with_options(text, command) if command is not None else text


def with_options(text: str, command: click.Command) -> str:
    """Return a text of the core with the options of a command.

    ``Set require_videos to false`` becomes ``Give --no-require-videos``.
    """
    options = _options_of(command)
    names = "|".join(sorted(options, key=len, reverse=True))
    flags = {name: option for name, option in options.items() if option.is_flag}

    def switched(found: re.Match[str]) -> str:
        option = flags.get(found[2])
        given = option and (option.opts if found[3] == "true" else option.secondary_opts)
        return f"{'Give' if found[1] == 'S' else 'give'} {given[-1]}" if given else found[0]

    def named(found: re.Match[str]) -> str:
        plain = "_" not in found[2] and not found[1] and found.start() > 0
        return found[0] if plain else options[found[2]].opts[-1]

    text = re.sub(rf"\b([Ss])et ({names}) to (true|false)\b", switched, text)
    return re.sub(rf"(?<![\w./'\"{{-])(the setting )?\b({names})\b(?![\w/'\"}}-])", named, text)


def _options_of(command: click.Command) -> dict[str, click.Option]:
    """Return the options by the names of their settings."""
    found = {p.name: p for p in command.params if isinstance(p, click.Option) and p.name}
    renamed = {core: found[name] for name, core in CORE_NAMES.items() if name in found}
    return {**found, **renamed}
