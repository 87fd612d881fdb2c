# SPDX-License-Identifier: Apache-2.0
"""What people read: text from outside made safe to show, URLs without secrets, sizes."""

from __future__ import annotations

import re

LONGEST_TEXT = 2000
"""The most characters of a text from outside that a message repeats."""

_QUERY = re.compile("[?#]")
_USER = re.compile("^([^/]*//)[^/]*@")


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


def encodable(text: str) -> str:
    r"""Return a text as it is, but for lone surrogates: each becomes an escape, ``\ud800``."""
    return text.encode("utf-8", "backslashreplace").decode()


def shown(value: object, longest: int = 200) -> str:
    """Return a value as Python writes it, safe to show; its type where Python cannot write it."""
    try:
        return escaped(repr(value), longest)
    except Exception:
        # A number of 5,000 digits, what is nested too deep, an object with a faulty repr.
        return f"a {type(value).__name__}"


def shown_url(url: str) -> str:
    """Return a URL without what may be a secret: the query, the fragment, user and password.

    It never fails: a malformed URL is cut in the same places.
    """
    return _USER.sub(r"\1", _QUERY.split(url, maxsplit=1)[0])


def amount(count: float) -> str:
    """Return a number of bytes in the largest unit that it fills, up to GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError
