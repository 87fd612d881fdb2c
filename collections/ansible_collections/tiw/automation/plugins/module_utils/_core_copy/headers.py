# A copy of core/headers.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""What headers of an HTTP answer mean, also where they are malformed."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import timezone
from email.message import Message
from email.utils import parsedate_to_datetime

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import BadAnswer
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import escaped

_RETRY_AFTER_CAP_S = 300.0
# The years 2000 to 2099; a server's clock that shows another year is ignored.
_DATES_BEGIN, _DATES_END = 946684800, 4102444800
_LENGTH = re.compile(r"(\d{1,15})(\s*,\s*\1)*", re.ASCII)


def content_length(headers: Mapping[str, str] | Message) -> int | None:
    """Return the announced length of a body in bytes, or None where none is announced.

    :raises BadAnswer: it is not a number, so the end of the answer is unknown.
    """
    text = headers.get("Content-Length")
    if text is None or "Transfer-Encoding" in headers:
        return None
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise BadAnswer(f"The answer's Content-Length is not a number: {escaped(text, 40)}")
    return int(found[1])


def retry_after_s(headers: Mapping[str, str] | Message) -> float | None:
    """Return the pause that ``Retry-After`` asks for, at most 300 s, or None.

    It may be seconds or a date; anything else is ignored.
    """
    text = headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        # Python refuses to parse thousands of digits.
        return min(float(text[:15]), _RETRY_AFTER_CAP_S)
    at = http_date(text)
    if at is None:
        return None
    # By the server's own clock if it shows it, because this machine's may be wrong.
    now = http_date(headers.get("Date", ""))
    return min(max(at - (time.time() if now is None else now), 0.0), _RETRY_AFTER_CAP_S)


def http_date(text: str) -> float | None:
    """Return the UNIX seconds of an HTTP date; None where it is malformed or implausible."""
    try:
        found = parsedate_to_datetime(text)
        seconds = (found if found.tzinfo else found.replace(tzinfo=timezone.utc)).timestamp()
        return seconds if _DATES_BEGIN <= seconds < _DATES_END else None
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
