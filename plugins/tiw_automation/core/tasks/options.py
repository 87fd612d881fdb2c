# SPDX-License-Identifier: Apache-2.0
"""Options of an action, as data, and the functions that check and translate them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.checks import as_integer, as_text, did_you_mean
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import escaped, shown

LARGEST_ROOM = 2**32 - 1
"""The greatest number of a room."""


@dataclass(frozen=True, eq=False)
class Option:
    """One option.

    :param name: the name that users type; the API's own is :attr:`api_name`.
    :param type: ``int``, ``str``, ``bool``, ``dict`` (of ``options``) or ``list`` (of ``options``,
        or of ``items``).
    :param description: a sentence for the adapters' documentation.
    :param least: the smallest integer that is allowed.
    :param most: the largest integer that is allowed.
    :param choices: the only values that are allowed, where there are any.
    :param pattern: a regular expression that a string must match.
    :param items: the type of a list's items, where they are no objects.
    :param sent_as: the API's own name, where it does not follow from ``name``.
    :param cn_only: whether only the Chinese site has it.
    :param secret: whether its value must not be shown.
    """

    name: str
    type: str
    description: str
    required: bool = False
    least: int | None = None
    most: int | None = None
    choices: tuple[Any, ...] = ()
    pattern: str | None = None
    options: tuple[Option, ...] = ()
    items: str = "str"
    sent_as: str | None = None
    cn_only: bool = False
    secret: bool = False

    @property
    def api_name(self) -> str:
        """The name that is sent, such as ``RecordMode`` for ``record_mode``."""
        return self.sent_as or self.name.title().replace("_", "").replace("Trtc", "TRTC")


# As templates render them.
_FLAGS = {"true": True, "false": False}
_READ_AS_DATA = (
    "Give the text itself, in quotes: templates and YAML read {...}, [...], true and 1.5 as data."
)
_SHOWN = 200


def read_options(
    options: object, known: Sequence[Option], place: str = "", *, hint: str | None = None
) -> dict[str, Any]:
    """Return the parameters of an action for options, under the API's names.

    Options that are None are left out.

    :param known: the options that the action has.
    :param place: where the options stand, for messages.
    :param hint: what to add where a name is unknown.
    :raises ConfigurationError: a name, type or value is invalid.
    """
    if not isinstance(options, Mapping):
        names = ", ".join(option.name for option in known)
        raise ConfigurationError(f"{place} must hold {names}, not {shown(options)}.")
    by_name = {option.name: option for option in known}
    for name in options:
        if name not in by_name:
            unknown = escaped(_under(place, name), _SHOWN)
            raise ConfigurationError(
                f"{unknown} is not an option.{did_you_mean(as_text(name), by_name)}",
                hint=hint or f"Use any of {', '.join(by_name)}.",
            )
    params = {}
    for option in known:
        given = options.get(option.name)
        inner = _under(place, option.name)
        if given is not None:
            params[option.api_name] = _READERS[option.type](given, option, inner)
        elif option.required:
            raise ConfigurationError(f"{inner} is missing.", hint=option.description)
    return params


def _read_list(value: object, option: Option, place: str) -> list[Any]:
    if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
        raise ConfigurationError(f"{place} must be a list, not {shown(value)}.")
    read_item = _READERS["dict" if option.options else option.items]
    return [read_item(item, option, f"{place}[{number}]") for number, item in enumerate(value)]


def _read_dict(value: object, option: Option, place: str) -> dict[str, Any]:
    return read_options(value, option.options, place)


def _read_bool(value: object, option: Option, place: str) -> bool:
    flag = _FLAGS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(flag, bool):
        raise ConfigurationError(f"{place} must be true or false, not {shown(value)}.")
    return flag


def _read_int(value: object, option: Option, place: str) -> int:
    number = read_integer(value, place, option.least, option.most)
    _check_choice(number, option, place)
    return number


def _read_text(value: object, option: Option, place: str) -> str:
    text, given = as_text(value), "the given value" if option.secret else shown(value)
    if text is None or not text.strip():
        raise ConfigurationError(
            f"{place} must be a text that is not empty, not {given}.",
            hint=None if isinstance(value, str) else f"{_READ_AS_DATA} {option.description}",
        )
    _check_choice(text, option, place)
    if option.pattern and not re.fullmatch(option.pattern, text):
        raise ConfigurationError(f"{place}: {given} is malformed.", hint=option.description)
    return text


_READERS: Mapping[str, Callable[[object, Option, str], Any]] = {
    "bool": _read_bool,
    "dict": _read_dict,
    "int": _read_int,
    "list": _read_list,
    "str": _read_text,
}


def read_integer(value: object, place: str, least: int | None, most: int | None) -> int:
    """Return an integer within its bounds.

    :raises ConfigurationError: it is not one.
    """
    number = as_integer(value)
    if (
        number is None
        or (least is not None and number < least)
        or (most is not None and number > most)
    ):
        bounds = [f"from {least}" if least is not None else "", f"to {most}" if most else ""]
        limits = " ".join(filter(None, ["an integer", *bounds]))
        raise ConfigurationError(f"{place} must be {limits}, not {shown(value)}.")
    return number


def _check_choice(value: object, option: Option, place: str) -> None:
    if option.choices and value not in option.choices:
        choices = [str(choice) for choice in option.choices]
        raise ConfigurationError(
            f"{place}: {shown(value)} is not allowed.{did_you_mean(value, choices)}",
            hint=f"Use {', '.join(choices)}.",
        )


def _under(place: str, name: object) -> str:
    return f"{place}.{name}" if place else str(name)
