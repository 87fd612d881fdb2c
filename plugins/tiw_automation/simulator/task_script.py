# SPDX-License-Identifier: Apache-2.0
"""A script's tasks of other families than recordings; see ``script.py``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import ApiFault
from .families import FAMILIES
from .parameters import check
from .reading import Check, Place, Table, integer, mapping, number, one_of, positive, text
from .schema import REQUESTS
from .task_engine import new_id
from .task_state import Family, Task

_pages = integer(0, 2000, "a whole number from 0 to 2000")
FAILURE_MESSAGES: Mapping[str, str] = {
    "FailedOperation.FileDownloadFail": "Failed to download the file.",
    "FailedOperation.FileFormatError": "The format of the file is invalid.",
    "FailedOperation.FileOpenFail": "Failed to open the file.",
    "FailedOperation.FileUploadFail": "Failed to upload the result.",
    "FailedOperation.Record": "code: 40004, msg: im login failed with code 6206\n",
    "FailedOperation.WhiteboardPush": "code: 40006, msg: TRTC onError, code: -70003\n",
    "InvalidParameter.FileFormatUnsupported": "The format of the file is not supported.",
    "LimitExceeded.TranscodePagesLimitation": "The document has too many pages.",
}


def _failure(family: Family) -> Check[ApiFault | None]:
    def parse(value: object, place: Place) -> ApiFault | None:
        if value is None:
            return None
        if isinstance(value, Mapping):
            table = Table(value, place)
            code = table.require("code", text)
            message = table.take("message", text)
            table.done()
        else:
            code = (one_of(family.failures) if family.failures else text)(value, place)
            message = None
        return ApiFault(code, message or FAILURE_MESSAGES.get(code, "The task has failed."))

    return parse


def _plan(table: Table, family: Family) -> dict[str, Any]:
    """Return the arguments of a :class:`Task` that both kinds of entries have."""
    given = {
        "pages": table.take("pages", _pages),
        "queued_s": table.take("queued_s", number),
        "duration_s": table.take("duration_s", number),
        "failure": table.take("failure", _failure(family)),
    }
    return {name: value for name, value in given.items() if value is not None}


def parse_defaults(value: object, place: Place, family_name: str) -> dict[str, Any]:
    """Return the arguments of a :class:`Task` for the tasks that requests create.

    :param value: ``pages``, ``queued_s``, ``duration_s``, ``failure``, fields of the answer
    """
    own, of_the_api = _split(value, place)
    table = Table(own, place)
    plan = _plan(table, FAMILIES[family_name])
    table.done()
    return {**plan, "fields": of_the_api}


def parse_task(value: object, place: Place, sdk_app_id: int) -> Task:
    """Return the task that ``value`` describes, its ``created`` relative to now.

    :param sdk_app_id: its application unless it names another
    """
    own, of_the_api = _split(value, place)
    table = Table(own, place)
    family = FAMILIES[table.require("family", one_of(FAMILIES))]
    sdk_app_id = table.take("sdk_app_id", positive, sdk_app_id)
    schema = REQUESTS[family.create]
    options = {name: of_the_api.pop(name) for name in list(of_the_api) if name in schema}
    try:
        options = check(
            {**family.options, "SdkAppId": sdk_app_id, **options}, schema, is_flat=False
        )
    except ApiFault as fault:
        place.fail(fault.message)
    task = Task(
        family,
        sdk_app_id,
        table.take("task_id", text, new_id(family)),
        -table.take("age", number, 0.0),
        options,
        fields=of_the_api,
        **_plan(table, family),
    )
    table.done()
    return task


def _split(value: object, place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the keys of a script's entry, and those that are names of the API."""
    given = mapping(value, place)
    own = {name: content for name, content in given.items() if not name[:1].isupper()}
    return own, {name: given[name] for name in given if name not in own}
