# SPDX-License-Identifier: Apache-2.0
"""Arguments of operators as people write them."""

from __future__ import annotations

import re
from datetime import timedelta

from tiw_automation.core import ConfigurationError, check_task_ids
from tiw_automation.core.checks import as_integer, check_seconds
from tiw_automation.core.formatting import shown

_FLAGS = {"true": True, "false": False}


def seconds(name: str, value: object) -> float:
    """Return a number of seconds, which may be given as a timedelta.

    :raises ConfigurationError: it is not a number, below zero or infinite.
    """
    return check_seconds(name, value.total_seconds() if isinstance(value, timedelta) else value)


def flag(name: str, value: object) -> bool:
    """Return true or false, which may be given as one of these words, as templates render them.

    :raises ConfigurationError: it is something else.
    """
    given = _FLAGS.get(value.strip().lower()) if isinstance(value, str) else value
    if not isinstance(given, bool):
        raise ConfigurationError(f"{name} must be True or False, not {shown(value)}.")
    return given


def count(name: str, value: object, least: int = 1) -> int:
    """Return a number of things, ``least`` or more, which may be given as digits.

    :raises ConfigurationError: it is not such a number.
    """
    number = as_integer(value)
    if number is None or number < least:
        raise ConfigurationError(
            f"{name} must be a whole number, {least} or more, not {shown(value)}."
        )
    return number


def one_task_id(name: str, value: object) -> str:
    """Return one task id.

    :raises ConfigurationError: it is not one, or there are several.
    """
    ids = check_task_ids(value)
    if len(ids) > 1:
        raise ConfigurationError(
            f"{name} must be one task, not {len(ids)}.",
            hint=f"Map the task: .partial(...).expand({name}=ids).",
        )
    return ids[0]


def mode(name: str, value: object) -> int:
    """Return the permissions of a file, which may be given as octal digits such as ``"0640"``.

    :raises ConfigurationError: it is something else.
    """
    if isinstance(value, str) and re.fullmatch("[0-7]{3,4}", value):
        return int(value, 8)
    # More than 0o777 is a number that was meant as octal digits.
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 0o777:
        return value
    raise ConfigurationError(
        f"{name} must be permissions such as '0640', not {shown(value)}.",
        hint="Give octal digits as a text.",
    )
