# SPDX-License-Identifier: Apache-2.0
"""Options as people write them in a file, where a number or a yes may have come as text."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tiw_automation.core.checks import MOST_BITS, did_you_mean
from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import LONGEST_TEXT, shown

SETTINGS: Mapping[str, type] = {
    "secret_id": str,
    "secret_key": str,
    "token": str,
    "profile": str,
    "role_arn": str,
    "sdk_app_id": int,
    "site": str,
    "region": str,
    "endpoint": str,
    "allow_http": bool,
    "requests_per_second": float,
    "timeout": float,
    "ca_file": str,
    "proxy": str,
}
"""What a client takes, and of which type."""
SECRETS = frozenset({"secret_id", "secret_key", "token", "proxy", "callback_key"})
"""The options whose values no message repeats."""

_YES = ("true", "yes", "on", "1")
_NO = ("false", "no", "off", "0")
_WORDS: Mapping[type, str] = {
    str: "a string",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list, or one string",
}


def read_options(given: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
    """Return the options that are given, each of its type; empty ones are as if not given.

    :param known: every option there is, and its type: str, bool, int, float or list.
    :raises ConfigurationError: there is no such option, or its value is of another type.
    """
    found = {}
    for name, value in given.items():
        if name not in known:
            raise ConfigurationError(
                f"There is no option {shown(name)}.{did_you_mean(name, known)}",
                hint=f"The options are {', '.join(sorted(known))}.",
            )
        if value is not None and value != "":
            found[name] = _as(known[name], name, value)
    return found


def _as(kind: type, name: str, value: Any) -> Any:
    result = _converted(kind, value)
    if result is None:
        what = "what was given" if name in SECRETS else shown(value, LONGEST_TEXT)
        raise ConfigurationError(f"{name} has to be {_WORDS[kind]}, not {what}.")
    return result


def _converted(kind: type, value: Any) -> Any:
    """Return the value as one of a type, or None where it is none."""
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        return None
    if kind is bool:
        text = str(value).strip().lower() if isinstance(value, (bool, int, str)) else ""
        return True if text in _YES else False if text in _NO else None
    if kind is list:
        usable = isinstance(value, (list, tuple))
        return list(value) if usable else [value] if isinstance(value, str) else None
    if kind is str:
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = kind(value)
    except (OverflowError, ValueError):
        return None
    if number != number or abs(number) == math.inf or (kind is int and str(number) != str(value)):
        return None
    return number
