# SPDX-License-Identifier: Apache-2.0
"""Where a request has its parameters: in headers and JSON, or all in one flat list."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

from .errors import ApiFault
from .signature import SignedRequest

MAX_QUERY_BYTES = 32 * 1024
MAX_FORM_BYTES = 1024 * 1024
MAX_BODY_BYTES = 10 * 1024 * 1024
"""Tencent's limits: for GET, for a POST that is signed with v1, and for one signed with TC3."""

_FORM = "application/x-www-form-urlencoded"
_V1_COMMON = (
    "Action",
    "Version",
    "Region",
    "Timestamp",
    "Nonce",
    "SecretId",
    "SignatureMethod",
    "Token",
    "Language",
    "RequestClient",
    "Signature",
)


class Call:
    """A request, parsed as far as that cannot fail.

    ``is_flat`` means that each parameter is a text, as in a query or a form. ``v1`` are all
    parameters of a request with a v1 signature, else ``None``.
    """

    __slots__ = (
        "_parameters",
        "_request",
        "action",
        "is_flat",
        "language",
        "region",
        "request_client",
        "v1",
        "version",
    )

    def __init__(self, request: SignedRequest) -> None:
        headers = request.headers
        self._request = request
        self._parameters: dict[str, Any] | None = None
        self.v1: dict[str, str] | None = None
        if "Authorization" not in headers:
            if request.method == "GET":
                self.v1 = _flat(request.query)
            elif _content_type(request) == _FORM:
                self.v1 = _flat(request.body.decode("utf-8", "replace"))
        common, prefix = (headers, "X-TC-") if self.v1 is None else (self.v1, "")
        self.is_flat: bool = request.method == "GET" or self.v1 is not None
        self.action: str = common.get(f"{prefix}Action", "")
        self.version: str = common.get(f"{prefix}Version", "")
        self.region: str = common.get(f"{prefix}Region", "")
        self.language: str = common.get(f"{prefix}Language", "zh-CN")
        self.request_client: str = common.get(f"{prefix}RequestClient", "")

    def task_id(self) -> str | None:
        """Return the task that the request is about, if it can be read and names one."""
        try:
            parameters = self.parameters()
            task_id = parameters.get("TaskId") or parameters.get("TaskID")
        except ApiFault:
            return None
        return task_id if isinstance(task_id, str) else None

    def check_size(self) -> None:
        """Raise ``RequestSizeLimitExceeded`` for a request above Tencent's limit."""
        request = self._request
        if request.method == "GET":
            size, limit = len(request.query), MAX_QUERY_BYTES
        else:
            size = len(request.body)
            limit = MAX_BODY_BYTES if self.v1 is None else MAX_FORM_BYTES
        if size > limit:
            raise too_large(limit)

    def parameters(self) -> dict[str, Any]:
        """Return the action's own parameters.

        :raises ApiFault: they cannot be read
        """
        if self._parameters is None:
            self._parameters = self._read()
        return self._parameters

    def _read(self) -> dict[str, Any]:
        request = self._request
        if self.v1 is not None:
            return _nested({n: value for n, value in self.v1.items() if n not in _V1_COMMON})
        if request.method == "GET":
            return _nested(_flat(request.query))
        content_type = _content_type(request)
        if content_type != "application/json":
            raise ApiFault(
                "InvalidRequest",
                f"The content type `{content_type}` is invalid for this signature; "
                "application/json goes with TC3-HMAC-SHA256, and "
                f"{_FORM} with HmacSHA1 and HmacSHA256.",
            )
        try:
            parameters = json.loads(request.body.decode() or "{}")
        except (ValueError, RecursionError):
            raise ApiFault("InvalidRequest", "The request body is not valid JSON.") from None
        if not isinstance(parameters, dict):
            raise ApiFault("InvalidRequest", "The request body is not a JSON object.")
        return parameters


def too_large(limit: int) -> ApiFault:
    """Return the fault about a request of more than ``limit`` bytes."""
    return ApiFault(
        "RequestSizeLimitExceeded", f"The request is larger than the limit of {limit} bytes."
    )


def _content_type(request: SignedRequest) -> str:
    return request.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _flat(text: str) -> dict[str, str]:
    return dict(parse_qsl(text, keep_blank_values=True))


def _nested(flat: dict[str, str]) -> dict[str, Any]:
    """Return ``{"A": {"0": {"B": "c"}}}`` for ``{"A.0.B": "c"}``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, last = name.split(".")
        level = nested
        for parent in parents:
            below = level.setdefault(parent, {})
            if not isinstance(below, dict):
                raise _ambiguous(name)
            level = below
        if isinstance(level.get(last), dict):
            raise _ambiguous(name)
        level[last] = value
    return nested


def _ambiguous(name: str) -> ApiFault:
    return ApiFault("InvalidParameter", f"The parameter `{name}` is both a value and an object.")
