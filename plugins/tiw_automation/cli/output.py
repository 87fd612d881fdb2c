# SPDX-License-Identifier: Apache-2.0
"""What commands print: results in the form that was asked for, and errors in one block."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import click

from tiw_automation.cli.option_names import in_options
from tiw_automation.core.formatting import encodable, escaped

if TYPE_CHECKING:
    from tiw_automation.core import TiwError

_Function = TypeVar("_Function", bound=Callable[..., Any])
FORMS = ("table", "json", "jsonl", "urls")


def output_option(*forms: str) -> Callable[[_Function], _Function]:
    """Return the option ``--output``, with these forms; the first one is the default."""
    return click.option(
        "--output",
        "-o",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help="The form of the result.",
    )


def is_terminal(stream: TextIO) -> bool:
    """Return whether a table may be drawn and redrawn on a stream."""
    return stream.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def print_line(text: str) -> None:
    """Print a line at once; what cannot be encoded or does not print is escaped."""
    print(_safe(escaped(text, len(text)), sys.stdout), flush=True)


def print_json(value: object) -> None:
    """Print a value as indented JSON."""
    print(_json(value, indent=2), flush=True)


def print_json_line(value: object) -> None:
    """Print a value as one line of JSON, at once."""
    print(_json(value), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table on a terminal, or lines with tabs between the fields on anything else.

    None is shown as ``-``. Texts may come from outside: they are escaped.
    """
    texts = [[shown_field(field, sys.stdout) for field in row] for row in rows]
    if not is_terminal(sys.stdout):
        for row in texts:
            print("\t".join(row), flush=True)
        return
    from tiw_automation.cli.tables import new_table, screen

    table = new_table(columns)
    for row in texts:
        table.add_row(*row)
    screen(sys.stdout).print(table)


def show_error(error: TiwError, about: str = "") -> None:
    """Print an error on standard error: the message, and below it code, request id and hint.

    :param about: the tasks that it is about.
    """
    message = in_options(error.message)
    message = f"{about}: {message}" if about else message
    lines = [f"tiw: {message.rstrip()}", f"  code: {error.code}"]
    if error.request_id:
        lines.append(f"  request id: {error.request_id}")
    if error.hint:
        lines.append(f"  hint: {in_options(error.hint)}")
    for line in lines:
        print(_safe(escaped(line), sys.stderr), file=sys.stderr)


def note(text: str) -> None:
    """Print a sentence for people on standard error."""
    print(_safe(f"tiw: {escaped(text)}", sys.stderr), file=sys.stderr)


def shown_field(field: object, stream: TextIO) -> str:
    """Return a field of a table: ``-`` for None, and what does not print escaped."""
    return "-" if field is None else _safe(escaped(field), stream)


def _json(value: object, indent: int | None = None) -> str:
    """Return JSON; what does not print, such as a direction mark, becomes an escape."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    if not text.isprintable():
        text = "".join(
            char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text
        )
    return text if _encodes(text, sys.stdout) else json.dumps(value, indent=indent)


def _encodes(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _safe(text: str, stream: TextIO) -> str:
    encoding = stream.encoding or "utf-8"
    return encodable(text).encode(encoding, "backslashreplace").decode(encoding)
