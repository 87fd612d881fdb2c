# SPDX-License-Identifier: Apache-2.0
"""Arguments as people write them: task ids, applications, numbers, misspelt names."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping

from tiw_automation.core.errors import ConfigurationError
from tiw_automation.core.formatting import escaped, shown

_SHOWN = 80

# The form of TIW's ids, with room for more. No character of it is special in a shell or a template.
_TASK_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}")
_TASK_ID_HINT = "Give the TaskId that the create action (StartOnlineRecord) returned, as a string."
# Ids of another form that StartOnlineRecord returned to this process.
_started_task_ids: set[str] = set()


def allow_task_id(task_id: str) -> None:
    """Accept an id of any form in this process, because StartOnlineRecord returned it."""
    if not _TASK_ID.fullmatch(task_id):
        _started_task_ids.add(task_id)


def check_task_ids(value: object) -> list[str]:
    """Return the task ids of a wait: each once, in the order given.

    Every adapter reads task ids with this function.

    :param value: one id, several in one string with commas between, or any iterable of ids.
    :raises ConfigurationError: there is no id, or one is not a string, is empty or has another
        form than ``[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}``.
    """
    if isinstance(value, str) and value in _started_task_ids:
        return [value]
    if isinstance(value, str):
        _refuse_text_of_a_list(value)
        value = map(str.strip, value.split(","))
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise ConfigurationError(
            f"A task id must be a string or a list of strings, not {shown(value, _SHOWN)}.",
            hint=_TASK_ID_HINT,
        )
    ids = dict.fromkeys(map(check_task_id, value))
    if not ids:
        raise ConfigurationError("No task id was given.", hint=_TASK_ID_HINT)
    return list(ids)


def check_task_id(value: object) -> str:
    """Return one task id.

    :raises ConfigurationError: it is not a string, is empty or has another form than
        ``[A-Za-z0-9][A-Za-z0-9_.:=@+-]{0,127}``.
    """
    if not isinstance(value, str):
        raise ConfigurationError(
            f"A task id must be a string, not {shown(value, _SHOWN)} ({type(value).__name__}).",
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
            "A task id has 1 to 128 letters, digits and characters of _.:=@+- and begins with a "
            f"letter or a digit. {_TASK_ID_HINT}"
        ),
    )


def _refuse_text_of_a_list(text: str) -> None:
    if text.startswith(("[", "(", "{")):
        raise ConfigurationError(
            f"This is the text of a list, not a task id: '{escaped(text, _SHOWN)}'.",
            hint="Give the list itself: something on the way renders it as a text.",
        )


def check_sdk_app_id(value: object) -> int:
    """Return an SdkAppId as the API takes it; a string of digits counts as the number.

    :raises ConfigurationError: it is not a positive integer.
    """
    number = as_integer(value)
    if number is None or not 0 < number < 2**63:
        raise ConfigurationError(
            f"sdk_app_id must be a positive integer, not {shown(value, _SHOWN)}.",
            hint="It is the number that the TIW console shows for the application.",
        )
    return number


def check_seconds(name: str, value: object) -> float:
    """Return a number of seconds.

    :raises ConfigurationError: it is not a number, is below zero or is infinite.
    """
    number = None if isinstance(value, str) else as_number(value)
    if number is None or number < 0:
        raise ConfigurationError(
            f"{name} must be a number of seconds, zero or more, not {shown(value, _SHOWN)}."
        )
    return number


# Python refuses to write out, or to read, a number that is much longer than these.
_MOST_BITS = 8192
_MOST_DIGITS = 40
_INTEGER = re.compile(rf"-?[0-9]{{1,{_MOST_DIGITS}}}")


def as_integer(value: object) -> int | None:
    """Return an integer as it is, and that of a text of ASCII digits, as a template renders one.

    Blanks around the digits and a minus sign are allowed. All else gives None: true and false,
    floats, a text of more than 40 digits, an integer of more than 8192 bits.
    """
    if isinstance(value, str):
        text = value.strip()
        return int(text) if _INTEGER.fullmatch(text) else None
    if isinstance(value, bool) or not isinstance(value, int) or value.bit_length() > _MOST_BITS:
        return None
    return value


def as_number(value: object) -> float | None:
    """Return an integer, a float or a text of one as a float.

    All else gives None: true and false, what is infinite or not a number, a text that only Python
    reads as a number (``1_000``, digits that are not ASCII).
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str) and ("_" in value or not value.isascii()):
        return None
    try:
        number = float(value)
    except (OverflowError, ValueError):
        return None
    return number if math.isfinite(number) else None


def as_text(value: object) -> str | None:
    """Return a text as it is and an integer's digits, as a template renders them; else None."""
    if isinstance(value, str):
        return value
    number = as_integer(value)
    return None if number is None else str(number)


def did_you_mean(given: object, names: Iterable[str], *, least: float = 0.6) -> str:
    """Return the sentence " Did you mean NAME?", or an empty text where no name is close.

    :param least: the least similarity of the two, from 0 to 1.
    """
    close = difflib.get_close_matches(as_text(given) or "", list(names), n=1, cutoff=least)
    return f" Did you mean {close[0]}?" if close else ""
