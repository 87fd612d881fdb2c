# SPDX-License-Identifier: Apache-2.0
"""What people read: text from outside, made safe to show."""

from __future__ import annotations

LONGEST_TEXT = 2000
"""The most characters of a text from outside that a message repeats."""


def escaped(text: object, longest: int = LONGEST_TEXT) -> str:
    r"""Return text from outside so that it can stand in a log line, a terminal or an event.

    Line ends, ESC, direction marks and all else that does not print become escapes such as
    ``\n`` and ``\x1b``; what is longer than ``longest`` characters is cut, with ``...`` behind it.
    """
    shown = str(text)
    cut = shown[:longest] + "..." if len(shown) > longest else shown
    if cut.isprintable():
        return cut
    return "".join(
        sign if sign.isprintable() else sign.encode("unicode_escape").decode("ascii")
        for sign in cut
    )


def shown(value: object) -> str:
    """Return what was given, of any type, for the message of an error."""
    try:
        return escaped(repr(value))
    except Exception:
        # An integer of more digits than Python writes, or a class with a fault of its own.
        return f"a {type(value).__name__} that cannot be shown"


def encodable(text: str) -> str:
    r"""Return a text as it is, but for lone surrogates: each becomes an escape, ``\ud800``."""
    return text.encode("utf-8", "backslashreplace").decode()
