# SPDX-License-Identifier: Apache-2.0
"""Parsing and checking a script's tables.

A mistake raises :class:`ScriptError`, whose text names the file and the key, what was given, what
is allowed and, where there is one, the closest name.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar, overload

MAX_NUMBER = 1_000_000


class ScriptError(ValueError):
    """A mistake in a script or an argument; its text is for people."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a script.

    :param source: the file, or what else begins the message about a mistake
    :param path: the keys that lead there
    """

    source: str
    path: str = ""

    def key(self, key: object) -> Place:
        """Return the place of a key of this mapping."""
        return Place(self.source, f"{self.path}.{key}" if self.path else str(key))

    def item(self, number: int) -> Place:
        """Return the place of an item, counted from 0, of this list."""
        return Place(self.source, f"{self.path}[{number}]")

    def fail(self, problem: str) -> NoReturn:
        """Raise the error about this place."""
        raise ScriptError(": ".join(filter(None, (self.source, self.path, problem))))

    def wrong(self, value: object, allowed: str, names: Collection[str] = ()) -> NoReturn:
        """Raise the error about an invalid value.

        :param names: of which the closest is proposed
        """
        shown = json.dumps(value, ensure_ascii=False, default=str)
        if len(shown) > 80:
            shown = shown[:77] + "..."
        self.fail(f"got {shown}, allowed: {allowed}{did_you_mean(value, names)}")


def did_you_mean(given: object, names: Collection[str]) -> str:
    """Return ". Did you mean NAME?", or an empty text where no name is close."""
    by_folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(str(given).casefold(), by_folded, n=1)
    return f". Did you mean {by_folded[close[0]]}?" if close else ""


_T = TypeVar("_T")
_D = TypeVar("_D")
Check = Callable[[object, Place], _T]
"""Returns a valid value, converted where necessary, or raises :class:`ScriptError`."""


@dataclass(slots=True)
class Table:
    """A mapping whose keys are taken one by one; a key that is left is a mistake."""

    data: object
    place: Place
    _known: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not isinstance(self.data, Mapping):
            self.place.wrong(self.data, "a mapping (key: value)")

    @overload
    def take(self, key: str, check: Check[_T]) -> _T | None: ...

    @overload
    def take(self, key: str, check: Check[_T], default: _D) -> _T | _D: ...

    def take(self, key: str, check: Check[_T], default: object = None) -> object:
        """Return the value of ``key``, or ``default`` where the key is absent."""
        assert isinstance(self.data, Mapping)
        self._known.append(key)
        return check(self.data[key], self.place.key(key)) if key in self.data else default

    def require(self, key: str, check: Check[_T]) -> _T:
        """Return the value of ``key``, which is required."""
        assert isinstance(self.data, Mapping)
        self._known.append(key)
        if key not in self.data:
            close = [name for name in self.data if did_you_mean(name, [key])]
            hint = f". Did you mean {key} instead of {close[0]}?" if close else ""
            self.place.fail(f"{key} is missing{hint}")
        return check(self.data[key], self.place.key(key))

    def done(self) -> None:
        """Raise the error about a key that was not taken."""
        assert isinstance(self.data, Mapping)
        for key in self.data:
            if key not in self._known:
                allowed = ", ".join(self._known) + did_you_mean(key, self._known)
                self.place.key(key).fail(f"unknown key, allowed: {allowed}")


def text(value: object, place: Place) -> str:
    """Check for a text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        hint = " (put it in quotes)" if isinstance(value, int | float) else ""
        place.wrong(value, f"a text that is not empty{hint}")
    return value


def secret(value: object, place: Place) -> str:
    """Check for a text that is not empty; the message does not show it."""
    if not isinstance(value, str) or not value.strip():
        place.fail("allowed: a text that is not empty")
    return value


def any_text(value: object, place: Place) -> str:
    """Check for a text, which may be empty."""
    if not isinstance(value, str):
        place.wrong(value, "a text (put it in quotes)")
    return value


def flag(value: object, place: Place) -> bool:
    """Check for true or false."""
    if not isinstance(value, bool):
        place.wrong(value, "true or false")
    return value


def integer(low: int, high: int, allowed: str) -> Check[int]:
    """Return a check for a whole number from ``low`` to ``high``."""

    def check(value: object, place: Place) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            place.wrong(value, allowed)
        return value

    return check


positive = integer(1, 2**63 - 1, "a positive whole number")
count = integer(0, 2**31, "a whole number of 0 or more")
room_number = integer(1, 2**32 - 1, "a whole number from 1 to 4294967295")


def number(value: object, place: Place) -> float:
    """Check for a number from 0 to ``MAX_NUMBER``."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not 0 <= value <= MAX_NUMBER
    ):
        place.wrong(value, f"a number from 0 to {MAX_NUMBER}")
    return float(value)


def one_of(names: Collection[str]) -> Check[str]:
    """Return a check for one of some names."""

    def check(value: object, place: Place) -> str:
        if not isinstance(value, str) or value not in names:
            place.wrong(value, ", ".join(names), names)
        return value

    return check


def list_of(check_item: Check[_T]) -> Check[tuple[_T, ...]]:
    """Return a check for a list whose items pass ``check_item``."""

    def check(value: object, place: Place) -> tuple[_T, ...]:
        if not isinstance(value, list | tuple):
            place.wrong(value, "a list")
        return tuple(check_item(item, place.item(number)) for number, item in enumerate(value))

    return check


def mapping(value: object, place: Place) -> dict[str, Any]:
    """Check for a mapping whose keys are texts."""
    if not isinstance(value, Mapping):
        place.wrong(value, "a mapping of names to values")
    return {text(name, place): content for name, content in value.items()}
