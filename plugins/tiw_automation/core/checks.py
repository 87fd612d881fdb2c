# SPDX-License-Identifier: Apache-2.0
"""Arguments as people write them: task ids, applications, numbers, names that are nearly right."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable, Mapping

from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import escaped, shown

_SHOWN = 80

# What TIW's ids look like, and room for more: no sign of it is special in a shell or a template.
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}")
_TASK_ID_HINT = "Give the TaskId that StartOnlineRecord returned, as a string."
# Ids of another form that StartOnlineRecord returned to this process.
_started_task_ids: set[str] = set()


def allow_task_id(task_id: str) -> None:
    """Note an id that StartOnlineRecord returned: this process never refuses it."""
    if not _TASK_ID.fullmatch(task_id):
        _started_task_ids.add(task_id)


def check_task_ids(value: object) -> list[str]:
    """Return the task ids of a wait: each once, in the order given.

    This is the one reader of task ids, for every adapter.

    :param value: one id, several in one string with commas between, or any iterable of ids.
    :raises ConfigurationError: there is none, or one is no string, empty or of another form than
        ``[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}``.
    """
    if isinstance(value, str) and value in _started_task_ids:
        return [value]
    if isinstance(value, str):
        _refuse_text_of_a_list(value)
        value = map(str.strip, value.split(","))
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"A task id has to be a string or a list of strings, not {shown(value, _SHOWN)}.",
            hint=_TASK_ID_HINT,
        )
    ids = dict.fromkeys(map(check_task_id, value))
    if not ids:
        raise ConfigurationError("No task id was given.", hint=_TASK_ID_HINT)
    return list(ids)


def check_task_id(value: object) -> str:
    """Return one task id.

    :raises ConfigurationError: it is no string, empty or of another form than
        ``[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}``.
    """
    if not isinstance(value, str):
        raise ConfigurationError(
            f"A task id has to be a string, not {shown(value, _SHOWN)} ({type(value).__name__}).",
            hint=_TASK_ID_HINT,
        )
    if _TASK_ID.fullmatch(value) or value in _started_task_ids:
        return value
    _refuse_text_of_a_list(value)
    if not value.strip():
        raise ConfigurationError("A task id is empty.", hint=_TASK_ID_HINT)
    raise ConfigurationError(
        f"This is not a task id: '{escaped(value, _SHOWN)}' ({len(value)} characters).",
        hint=(
            "A task id has 1 to 128 letters, digits and signs of _.:=@+- and begins with a "
            f"letter or a digit. {_TASK_ID_HINT}"
        ),
    )


def _refuse_text_of_a_list(text: str) -> None:
    if text.startswith(("[", "(", "{")):
        raise ConfigurationError(
            f"This is the text of a list, not a task id: '{escaped(text, _SHOWN)}'.",
            hint="Give the list itself: what makes it renders it as a text.",
        )


def check_sdk_app_id(value: object) -> int:
    """Return an SdkAppId as the API wants it; digits in a string are taken as the number.

    :raises ConfigurationError: it is no positive integer.
    """
    value = whole_number(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 2**63:
        raise ConfigurationError(
            f"sdk_app_id has to be a positive integer, not {shown(value, _SHOWN)}.",
            hint="It is the number that the TIW console shows for the application.",
        )
    return value


def check_seconds(name: str, value: object) -> float:
    """Return a number of seconds.

    :raises ConfigurationError: it is no number, below zero or without an end.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 <= value <= sys.float_info.max
    ):
        raise ConfigurationError(
            f"{name} has to be a number of seconds, zero or more, not {shown(value, _SHOWN)}."
        )
    return float(value)


# More than any number of ours has; Python refuses to read thousands.
_DIGITS = 40


def whole_number(value: object) -> object:
    """Return the number that a text of digits is, as templates render one; else what was given."""
    text = value.strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS else value


# Python writes out no number that is much longer.
MOST_BITS = 8192


def as_text(value: object) -> str | None:
    """Return a text as it is and an integer's digits, as a template renders them; else None."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int) or value.bit_length() > MOST_BITS:
        return None
    return str(value)


def did_you_mean(given: object, names: Iterable[str]) -> str:
    """Return the sentence " Did you mean NAME?", or an empty text where no name is close."""
    close = difflib.get_close_matches(str(given), list(names), n=1)
    return f" Did you mean {close[0]}?" if close else ""
