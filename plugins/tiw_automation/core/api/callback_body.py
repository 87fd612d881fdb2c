# SPDX-License-Identifier: Apache-2.0
"""Reads the few fields of a posted callback that matter, from its bytes.

A JSON parser would build an object for each ``{}`` of a quarter of a million, and block all other
threads meanwhile. So the signature is searched for in the bytes first. All other content is skipped
by regular expressions that build nothing, one window at a time: other threads run in between. The
expressions never backtrack (each repetition is possessive), so the time grows only with the body's
length.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

FIELDS = ("EventType", "SdkAppId", "Timestamp", "ExpireTime", "Sign")
"""The fields that are read, beside the TaskId in EventData."""
TASK_IDS = ("TaskId", "TaskID")
"""The names of the task id in EventData; which one it is depends on the kind of task."""
UNREADABLE = "(unreadable)"
"""Replaces a value that is too long or not JSON; it is invalid for every field."""

# Tencent's callbacks have six keys, and up to a dozen in EventData.
_MOST_KEYS = 1000
# The first limit is for a value that ends within a window. In a longer one each level is scanned
# once more.
_DEEPEST = 32
_DEEPEST_LONG = 4
_WINDOW = 32 * 1024
_LONGEST_VALUE = 1024
# A name may also occur in EventData; the callback's own occurrences come before or after those.
_TRIED_FROM_EACH_END = 8

_SPACE = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _nested(depth: int) -> bytes:
    inner = rb"(?!)"
    for _ in range(depth):
        inner = rb'[\[{](?:[^"\[\]{}]++|' + _STRING + rb"|" + inner + rb")*+[\]}]"
    return inner


_OPENING = re.compile(_SPACE + rb"\{" + _SPACE + rb"(\}?)")
_NAME = re.compile(_SPACE + rb"(" + _STRING + rb")" + _SPACE + rb":" + _SPACE, re.DOTALL)
_TEXT = re.compile(_STRING, re.DOTALL)
_PLAIN = re.compile(_STRING + rb'|[^"\[\]{},\s]++', re.DOTALL)
_SHORT = re.compile(_nested(_DEEPEST), re.DOTALL)
_PIECES = re.compile(
    rb'(?:[^"\[\]{}]++|' + _STRING + rb"|" + _nested(_DEEPEST) + rb")*+", re.DOTALL
)
_AFTER_VALUE = re.compile(_SPACE + rb"([,}])")
_NOTHING_MORE = re.compile(_SPACE + rb"\Z")

_EXPIRE_TIME = re.compile(_SPACE + rb":" + _SPACE + rb"(0|[1-9][0-9]{0,18})" + _SPACE + rb"[,}]")
_SIGN = re.compile(_SPACE + rb":" + _SPACE + rb'"([0-9a-f]{32})"')


def expire_times(body: bytes) -> list[int]:
    """Return the values in a body that may be the callback's ExpireTime."""
    return [int(found) for found in _candidates(body, b'"ExpireTime"', _EXPIRE_TIME)]


def signatures(body: bytes) -> list[str]:
    """Return the values in a body that may be the callback's Sign."""
    return [found.decode() for found in _candidates(body, b'"Sign"', _SIGN)]


def read_fields(body: bytes) -> dict[str, Any]:
    """Return the :data:`FIELDS` that a callback has, and EventData with its :data:`TASK_IDS` alone.

    A name that appears twice has its last value, as in Python's JSON.

    :raises ValueError: it is not a JSON object, has more than a thousand names in one object, or is
        nested more than 32 levels deep.
    """
    body = body.removeprefix(b"\xef\xbb\xbf")
    fields, end = _object(body, 0, FIELDS, inner="EventData")
    if not _NOTHING_MORE.match(body, end):
        raise ValueError("The object is followed by something else.")
    return fields


def _candidates(body: bytes, name: bytes, value: re.Pattern[bytes]) -> list[bytes]:
    ends: dict[int, None] = {}
    at = -1
    for _ in range(_TRIED_FROM_EACH_END):
        at = body.find(name, at + 1)
        if at < 0:
            break
        ends[at + len(name)] = None
    at = len(body)
    for _ in range(_TRIED_FROM_EACH_END):
        at = body.rfind(name, 0, at)
        if at < 0 or at + len(name) in ends:
            break
        ends[at + len(name)] = None
    found = (value.match(body, end) for end in ends)
    return list(dict.fromkeys(each[1] for each in found if each))


def _object(
    body: bytes, at: int, wanted: tuple[str, ...], inner: str | None = None
) -> tuple[dict[str, Any], int]:
    """Read an object; return its wanted fields, and where it ends."""
    opening = _match(_OPENING, body, at)
    found: dict[str, Any] = {}
    at = opening.end()
    if opening[1]:
        return found, at
    for _ in range(_MOST_KEYS):
        name = _match(_NAME, body, at)
        key, at = _key(name[1]), name.end()
        if key == inner and body.startswith(b"{", at):
            found[key], at = _object(body, at, TASK_IDS)
        else:
            begin, at = at, _after(body, at)
            if key == inner or key in wanted:
                found[key] = _decoded(body, begin, at)
        after = _match(_AFTER_VALUE, body, at)
        at = after.end()
        if after[1] == b"}":
            return found, at
    raise ValueError(f"An object has more than {_MOST_KEYS} names.")


def _match(
    pattern: re.Pattern[bytes], body: bytes, at: int, end: int = sys.maxsize
) -> re.Match[bytes]:
    found = pattern.match(body, at, end)
    if found is None:
        raise ValueError("It is not JSON, or is nested too deep.")
    return found


def _key(name: bytes) -> str:
    if b"\\" in name and len(name) <= _LONGEST_VALUE:
        return str(json.loads(name.decode(errors="replace"), strict=False))
    return name[1:-1].decode(errors="replace")


def _after(body: bytes, at: int) -> int:
    """Return where a value of any kind ends."""
    if body[at : at + 1] not in (b"{", b"["):
        return _match(_PLAIN, body, at).end()
    short = _SHORT.match(body, at, at + _WINDOW)
    if short is not None:
        return short.end()
    depth = 1
    at += 1
    while depth:
        at = _match(_PIECES, body, at, at + _WINDOW).end()
        sign = body[at : at + 1]
        if sign == b'"':
            # A text that continues beyond the window.
            at = _match(_TEXT, body, at).end()
        elif sign in (b"]", b"}"):
            at += 1
            depth -= 1
        elif sign in (b"[", b"{"):
            at += 1
            depth += 1
            if depth > _DEEPEST_LONG:
                raise ValueError("It is nested too deep.")
        elif not sign:
            raise ValueError("It is cut off.")
    return at


def _decoded(body: bytes, begin: int, end: int) -> Any:
    if end - begin > _LONGEST_VALUE:
        return UNREADABLE
    try:
        return json.loads(body[begin:end].decode())
    except (ValueError, RecursionError):
        return UNREADABLE
