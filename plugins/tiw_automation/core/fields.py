# SPDX-License-Identifier: Apache-2.0
"""Reading Tencent's JSON: strict about types, tolerant of what is absent, null or unknown."""

from __future__ import annotations

from collections.abc import Mapping

from tiw_automation.core.errors import BadAnswer


class Fields:
    """Reads the fields of one JSON object.

    :param where: what it is called in messages, e.g. ``Response``.
    :param action: the API action that it comes from, if one.
    :raises BadAnswer: it is no object.
    """

    def __init__(self, data: object, where: str, *, action: str | None = None) -> None:
        self.where = where
        self.action = action
        if not isinstance(data, Mapping):
            raise self._mismatch(where, data, "an object")
        self.data = data

    def text(self, key: str) -> str | None:
        """Return a string, or None.

        :raises BadAnswer: it is something else.
        """
        value = self.data.get(key)
        if value is not None and not isinstance(value, str):
            raise self._mismatch(f"{self.where}.{key}", value, "a string")
        return value

    def integer(self, key: str) -> int | None:
        """Return an integer, or None.

        :raises BadAnswer: it is something else.
        """
        value = self.data.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise self._mismatch(f"{self.where}.{key}", value, "an integer")
        return value

    def items(self, key: str) -> list[Fields]:
        """Return a list of objects; an absent or null one is empty.

        :raises BadAnswer: it is something else.
        """
        value = self.data.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._mismatch(f"{self.where}.{key}", value, "a list")
        return [
            Fields(item, f"{self.where}.{key}[{index}]", action=self.action)
            for index, item in enumerate(value)
        ]

    def _mismatch(self, where: str, value: object, wanted: str) -> BadAnswer:
        return BadAnswer(
            f"{where} has to be {wanted}, the answer holds a {type(value).__name__}.",
            action=self.action,
            # The API has changed its form: the next answer has the same.
            retryable=False,
        )
