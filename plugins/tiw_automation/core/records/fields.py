# SPDX-License-Identifier: Apache-2.0
"""Reads Tencent's JSON; fields may be absent, null, unknown or of an unexpected type.

A value is converted where its meaning is clear; an unreadable one becomes None, with one warning
per field and process. A reader notes which fields were present and unreadable, because *absent*
and *unreadable* may have different consequences.
"""

from __future__ import annotations

import logging
import re
import string
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tiw_automation.core.errors import BadAnswer
from tiw_automation.core.formatting import encodable, escaped

logger = logging.getLogger(__name__)

_NUMBER = re.compile(r"([+-]?[0-9]{1,40})(?:\.0{1,40})?")
_NUMBERS_END = 2**63
_DIGITS_END = 10**128
# Above this a float cannot hold every integer exactly.
_EXACT_END = 2**53
_LONGEST_WORD = 128
# Blanks and invisible characters, such as a byte order mark and a NUL.
_AROUND_WORDS = string.whitespace + "\x00\x85\xa0\u200b\u2060\u3000\ufeff"
# The year 5138: a later time is not in seconds.
_TIMES_END = 10**11

# How many levels of nesting are kept of an answer.
_DEEPEST = 64
_SHOWN = 80

_warned: set[str] = set()

_Value = TypeVar("_Value")


class Fields:
    """Reads the fields of one JSON object.

    :param where: what messages call it, e.g. ``Response``.
    :param action: the API action that returned it, if any.
    :raises BadAnswer: it is not an object.
    """

    def __init__(self, data: object, where: str, *, action: str | None = None) -> None:
        self.where = where
        self.action = action
        self.unreadable: set[str] = set()
        """The keys that were present and could not be read, or not completely."""
        if not isinstance(data, Mapping):
            raise BadAnswer(
                f"{where} must be an object, the answer holds a {type(data).__name__}.",
                action=action,
            )
        self.data: Mapping[str, Any] = data

    def text(self, key: str) -> str | None:
        """Return a text unchanged, or a whole number's digits; None for anything else.

        Lone surrogates, which cannot be encoded, become escapes.
        """
        return self._read(key, _text)

    def word(self, key: str) -> str | None:
        """Return a word of the API, such as a status: trimmed, in upper case and escaped.

        An empty text, and anything but a text, is None.
        """
        return self._read(key, _word) or None

    def url(self, key: str) -> str | None:
        """Return a URL unchanged; None for an empty text, and for anything but a text."""
        return self._read(key, _url) or None

    def integer(self, key: str) -> int | None:
        """Return a whole number, or None.

        A float without a fraction counts, and so does a text of ASCII digits with an optional
        sign and ``.0``; each must be below 2**63.
        """
        return self._read(key, _integer)

    def positive(self, key: str) -> int | None:
        """Return a whole number other than 0, which stands for *not known* in some fields."""
        return self.integer(key) or None

    def time(self, key: str) -> int | None:
        """Return a UNIX time in seconds; None for 0 and for an invalid time."""
        return self._read(key, _time) or None

    def urls(self, key: str) -> tuple[str, ...]:
        """Return the URLs of a list; one text counts as a list of one.

        What is not a text, or is empty, is left out.
        """
        value = self.data.get(key)
        rows = [value] if isinstance(value, str) else [] if value is None else value
        if not isinstance(rows, list):
            self._note(key, value)
            return ()
        found = [_url(row) for row in rows]
        for row, url in zip(rows, found, strict=True):
            if url is None and row is not None:
                self.unreadable.add(key)
                self._warn(f"{self.where}.{key}[]", row, "it is left out")
        return tuple(filter(None, found))

    def items(self, key: str) -> list[Fields]:
        """Return a reader for each object of a list; a row that is not an object is left out.

        A single object counts as a list of one, an object with numbers as keys as the list of its
        values, null and an empty object as an empty list.
        """
        value = self.data.get(key)
        if value is None or (isinstance(value, Mapping) and not value):
            return []
        rows = _rows(value) if isinstance(value, Mapping) else value
        if not isinstance(rows, list):
            self._note(key, value)
            return []
        where = f"{self.where}.{key}[]"
        found = []
        for row in rows:
            if isinstance(row, Mapping):
                found.append(Fields(row, where, action=self.action))
            else:
                self.unreadable.add(key)
                self._warn(where, row, "it is left out")
        return found

    def _read(self, key: str, convert: Callable[[object], _Value | None]) -> _Value | None:
        value = self.data.get(key)
        found = None if value is None else convert(value)
        if found is None and value is not None:
            self._note(key, value)
        return found

    def _note(self, key: str, value: object) -> None:
        self.unreadable.add(key)
        self._warn(f"{self.where}.{key}", value, "it counts as unknown")

    def _warn(self, where: str, value: object, consequence: str) -> None:
        field = f"{self.action}: {where}" if self.action else where
        if field not in _warned:
            _warned.add(field)
            logger.warning("%s is unreadable (a %s); %s.", field, type(value).__name__, consequence)


def request_id(read: Fields, key: str = "RequestId") -> str | None:
    """Return an answer's RequestId, escaped."""
    found = read.text(key)
    return None if found is None else escaped(found, _SHOWN)


def check_task_id_of_answer(read: Fields, key: str, task_id: str, noun: str) -> None:
    """Refuse an answer about another task than the one that was asked for.

    :param noun: what messages call the task.
    :raises BadAnswer: its TaskId is another one, or unreadable.
    """
    answered = read.text(key) or task_id
    if answered.strip() in (task_id.strip(), "") and key not in read.unreadable:
        return
    other = "unreadable" if key in read.unreadable else escaped(answered, _SHOWN)
    raise BadAnswer(
        f"Asked for {noun} '{escaped(task_id, _SHOWN)}', the answer's {key} is '{other}'.",
        request_id=request_id(read),
        action=read.action,
    )


def not_too_deep(response: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an answer without the fields that are nested too deep to be copied or pickled."""
    deep = [key for key, value in response.items() if _is_too_deep(value)]
    return {**response, **dict.fromkeys(deep)} if deep else response


def _is_too_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [
            inner
            for item in level
            if isinstance(item, (dict, list))
            for inner in (item.values() if isinstance(item, dict) else item)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def _rows(value: Mapping[str, object]) -> list[object]:
    numbered = all(key.isascii() and key.isdigit() for key in value)
    return list(value.values()) if numbered else [value]


def _text(value: object) -> str | None:
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, float):
        exact = value.is_integer() and abs(value) < _EXACT_END
        return str(int(value)) if exact else None
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < _DIGITS_END else None
    return None


def _word(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    word = value.strip(_AROUND_WORDS)
    # A word with an escape was read before, and stays unchanged.
    upper = word.upper() if word.isascii() and "\\" not in word else word
    return escaped(upper, _LONGEST_WORD)


def _url(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    return encodable(value) if value.strip() else ""


def _integer(value: object) -> int | None:
    number: int | None = None
    if isinstance(value, str):
        match = _NUMBER.fullmatch(value)
        number = int(match[1]) if match else None
    elif isinstance(value, float):
        number = int(value) if value.is_integer() else None
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    return number if number is not None and abs(number) < _NUMBERS_END else None


def _time(value: object) -> int | None:
    seconds = _integer(value)
    return seconds if seconds is not None and 0 <= seconds < _TIMES_END else None
