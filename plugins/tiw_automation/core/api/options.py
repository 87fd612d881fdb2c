# SPDX-License-Identifier: Apache-2.0
"""Options as people write them in a file, where a number or a flag may be a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from tiw_automation.core.checks import as_integer, as_number, as_text, did_you_mean
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
    "quota_url": str,
}
"""The settings of a client, and their types."""
SECRETS = frozenset({"secret_id", "secret_key", "token", "proxy", "quota_url", "callback_key"})
"""Options whose values no message repeats."""

_FLAGS = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}


def _as_string(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _as_flag(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    text = as_text(value)
    return None if text is None else _FLAGS.get(text.strip().lower())


def _as_list(value: object) -> list[Any] | None:
    if isinstance(value, str):
        return [value]
    return list(value) if isinstance(value, (list, tuple)) else None


# How a value becomes one of a type (None: it is not one), and the type in words.
_READERS: Mapping[type, tuple[Callable[[object], Any], str]] = {
    str: (_as_string, "a string"),
    bool: (_as_flag, "true or false"),
    int: (as_integer, "a whole number"),
    float: (as_number, "a number"),
    list: (_as_list, "a list, or one string"),
}


def read_options(given: Mapping[str, Any], known: Mapping[str, type]) -> dict[str, Any]:
    """Return the options that are given, each as its type; an empty one counts as not given.

    :param known: all options and their types: str, bool, int, float or list.
    :raises ConfigurationError: an option is unknown, or its value is of another type.
    """
    found = {}
    for name, value in given.items():
        if name not in known:
            raise ConfigurationError(
                f"There is no option {shown(name)}.{did_you_mean(name, known)}",
                hint=f"The options are {', '.join(sorted(known))}.",
            )
        if value is not None and value != "":
            found[name] = _read(name, value, known[name])
    return found


def _read(name: str, value: object, kind: type) -> Any:
    reader, in_words = _READERS[kind]
    result = reader(value)
    if result is None:
        what = "what was given" if name in SECRETS else shown(value, LONGEST_TEXT)
        raise ConfigurationError(f"{name} must be {in_words}, not {what}.")
    return result
