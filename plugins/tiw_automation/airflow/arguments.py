# SPDX-License-Identifier: Apache-2.0
"""Arguments of operators as people write them."""

from __future__ import annotations

from datetime import timedelta

from tiw_automation.core import ConfigurationError
from tiw_automation.core.formatting import escaped
from tiw_automation.core.records import check_seconds, whole_number

_SHOWN = 80


def seconds(name: str, value: object) -> float:
    """Return a number of seconds, which may be given as a timedelta.

    :raises ConfigurationError: it is no number, below zero or without an end.
    """
    return check_seconds(name, value.total_seconds() if isinstance(value, timedelta) else value)


def count(name: str, value: object) -> int:
    """Return a number of things, 1 or more; its digits may be given.

    :raises ConfigurationError: it is no such number.
    """
    number = whole_number(value)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise ConfigurationError(
            f"{name} must be a whole number, 1 or more, not {escaped(repr(value), _SHOWN)}."
        )
    return number
