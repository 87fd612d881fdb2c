# A copy of core/formatting.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""What people read: text from outside made safe to show, URLs without secrets, sizes."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit

LONGEST_TEXT = 2000
"""The most characters of a text from outside that a message repeats."""


def escaped(text: object, longest: int = LONGEST_TEXT) -> str:
    r"""Return text from outside in a form that is safe in a log line, a terminal or an event.

    Line ends, ESC, direction marks and everything else that does not print become escapes such as
    ``\n`` and ``\x1b``. A text of more than ``longest`` characters is cut and ends in ``...``.
    """
    shown = str(text)
    cut = shown[:longest] + "..." if len(shown) > longest else shown
    if cut.isprintable():
        return cut
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in cut
    )


def encodable(text: str) -> str:
    r"""Return a text with each lone surrogate replaced by an escape such as ``\ud800``."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(value: object, longest: int = 200) -> str:
    """Return ``repr(value)``, safe to show; the value's type where ``repr`` fails."""
    try:
        return escaped(repr(value), longest)
    except Exception:
        # A number of 5,000 digits, a value that is nested too deep, an object with a faulty repr.
        return f"a {type(value).__name__}"


def shown_url(url: str) -> str:
    """Return a URL without its query, fragment, user and password, which may be secrets.

    A URL that cannot be parsed becomes ``...``.
    """
    bare = re.split("[?#]", url, maxsplit=1)[0]
    # Without these, urlsplit would read a user as a scheme or a path.
    prefix = "" if re.match("([A-Za-z][A-Za-z0-9+.-]*:)?//", bare) else "//"
    try:
        parts = urlsplit(prefix + bare)
    except ValueError:
        return "..."
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")).removeprefix(prefix)


def counted(number: int, noun: str) -> str:
    """Return a number and its noun: ``1 video``, ``2 videos``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def amount(count: float) -> str:
    """Return a number of bytes in the largest unit that it fills, up to GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
