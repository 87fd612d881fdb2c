# SPDX-License-Identifier: Apache-2.0
"""Arguments of several commands: durations, states, secrets from files, and mistakes in them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from tiw_automation.cli.option_names import in_options

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd]?)")
_UNITS_S = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 24 * 3600}
_LONGEST_SECRET = 64 * 1024


def read_duration(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """Return seconds; a number may have the unit s, m, h or d: ``90``, ``10m``, ``2h``."""
    if value is None:
        return None
    match = _DURATION.fullmatch(value.strip())
    if match is None:
        raise click.BadParameter(f"{value!r} is not a duration: give seconds, or 10m, 2h.")
    return float(match[1]) * _UNITS_S[match[2]]


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn an argument that the core refuses into a usage error (exit code 2)."""
    from tiw_automation.core import ConfigurationError

    try:
        yield
    except ConfigurationError as error:
        message, hint = in_options(error.message), in_options(error.hint or "")
        raise click.UsageError(f"{message} {hint}".rstrip()) from None


def split(texts: Sequence[str]) -> list[str]:
    """Return the parts of texts with commas between them; empty parts are left out."""
    parts = (part.strip() for text in texts for part in text.split(","))
    return [part for part in parts if part]


def read_states(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Any:
    """Return the states of ``--until`` in upper case; None where there are none."""
    return [state.upper() for state in split(value)] or None


def read_secret(path: str | None, variable: str) -> str | None:
    """Return a secret: a file's, standard input's for ``-``, else the environment's.

    :param path: the file, if one was given.
    :param variable: of the environment.
    :raises BadParameter: the file cannot be read or is empty.
    """
    if path is None:
        return os.environ.get(variable) or None
    text = _text_of(path).strip()
    if not text:
        raise click.BadParameter("The file with the secret is empty.")
    return text


def _text_of(path: str) -> str:
    try:
        if path == "-":
            return sys.stdin.read(_LONGEST_SECRET)
        with Path(path).expanduser().open(encoding="utf-8") as file:
            return file.read(_LONGEST_SECRET)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not a UTF-8 text"
        raise click.BadParameter(f"{path!r} cannot be read: {why}.") from None


def read_data(text: str) -> Any:
    """Return JSON: a text, or the content of a file for ``@FILE``.

    :raises BadParameter: it is not JSON.
    """
    import json

    content = _text_of(text[1:]) if text.startswith("@") else text
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        # The content is not shown: it may hold a secret.
        raise click.BadParameter("This is not JSON. Give {...}, [...] or @FILE.") from None
