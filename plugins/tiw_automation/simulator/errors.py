# SPDX-License-Identifier: Apache-2.0
"""The error in the answer to an API request."""

from __future__ import annotations


class ApiFault(Exception):
    """An ``Error`` object of an answer.

    :param code: the API's code, e.g. ``InvalidParameter.TaskNotFound``
    :param message: the API's message
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def missing(name: str) -> ApiFault:
    """Return the fault about a missing parameter."""
    return ApiFault("MissingParameter", f"The request is missing a required parameter `{name}`.")
