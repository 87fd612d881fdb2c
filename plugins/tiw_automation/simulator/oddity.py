# SPDX-License-Identifier: Apache-2.0
"""Answers in another form than the API's pages show, with the same meaning.

Other services of Tencent Cloud answer so: a number as text or with a fraction, ``{}`` or null for
an empty list, one object for a list of one, a null row, a status in another case
(TencentCloud/tencentcloud-sdk-go#1, #38). A client that accepts them loses no result.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

_WORDS = frozenset({"Status", "FinishReason"})
# Numbers that no result depends on; some are unreadable now and then.
_NOTES = frozenset(
    {
        *("ExceptionCnt", "Height", "TotalTime", "VideoDuration", "VideoPlayTime", "VideoSize"),
        *("Width", "IMSyncTime", "AssignTime", "FinishedTime", "FinishTime"),
    }
)
_UNREADABLE: tuple[Any, ...] = ("n/a", [], {"value": 1}, "\u00b2", 10**400)
# They belong to an error, or a caller needs them unchanged.
_KEPT = frozenset({"Error", "ExpireTime", "RequestId", "Sign", "TaskID", "TaskId"})


def oddly(answer: Mapping[str, Any], dice: random.Random) -> dict[str, Any]:
    """Return an object of the API, or a callback, in an odd form.

    Errors, task ids, URLs and signatures stay as they are.
    """
    return {name: _value(name, value, dice) for name, value in answer.items()}


def _value(name: str, value: Any, dice: random.Random) -> Any:
    if name in _KEPT:
        return value
    if isinstance(value, dict):
        return oddly(value, dice)
    if isinstance(value, list):
        return _rows([_value(name, row, dice) for row in value], dice)
    if isinstance(value, str):
        return _text(name, value, dice)
    if isinstance(value, int) and not isinstance(value, bool):
        return _number(name, value, dice)
    return value


def _rows(rows: list[Any], dice: random.Random) -> Any:
    if not rows:
        return dice.choice(([], {}, None))
    if len(rows) == 1 and isinstance(rows[0], dict):
        return dice.choice((rows, rows[0]))
    return dice.choice((rows, [None, *rows], [*rows, None]))


def _text(name: str, text: str, dice: random.Random) -> Any:
    if name in _WORDS:
        return dice.choice((text, text.capitalize(), f" {text.lower()} "))
    if name == "ReplayUrl" and not text:
        return dice.choice((text, 0))
    if text.isascii() and text.isdigit() and str(int(text)) == text:
        return dice.choice((text, int(text)))
    return text


def _number(name: str, number: int, dice: random.Random) -> Any:
    if name in _NOTES and dice.random() < 0.125:
        return dice.choice(_UNREADABLE)
    return dice.choice((number, str(number), float(number), f"{number}.0"))
