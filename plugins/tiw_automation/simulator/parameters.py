# SPDX-License-Identifier: Apache-2.0
"""Checks the parameters of a request: names, types, ranges; and the errors for invalid ones."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiFault, missing

RECORD_PARAMETER = "InvalidParameter.RecordParameter"
_MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Field:
    """One parameter.

    :param kind: ``int``, ``str``, ``bool``, or for an object its own fields
    :param is_list: whether it is a list of that kind
    :param least: of a number, or of the bytes of a text
    :param most: of a number, or of the bytes of a text
    :param choices: the values that are allowed
    :param pattern: of the whole text
    :param code: the error for a value that is out of range
    """

    kind: type | dict[str, Field]
    required: bool = False
    is_list: bool = False
    least: int | None = None
    most: int | None = None
    choices: tuple[str | int, ...] = ()
    pattern: str | None = None
    code: str = RECORD_PARAMETER


Schema = Mapping[str, Field]


def check(parameters: Mapping[str, Any], schema: Schema, *, is_flat: bool) -> dict[str, Any]:
    """Return the parameters in their types; absent and null ones are left out.

    :param is_flat: whether numbers and booleans are texts, and lists are ``{"0": ...}``
    :raises ApiFault: for the first mistake
    """
    return _object(parameters, schema, "", is_flat)


def _object(data: Mapping[str, Any], schema: Schema, path: str, is_flat: bool) -> dict[str, Any]:
    for name in data:
        if name not in schema:
            raise ApiFault("UnknownParameter", f"The parameter `{path}{name}` is not recognized.")
    checked = {}
    for name, field in schema.items():
        value = data.get(name)
        if value is not None:
            checked[name] = _value(value, field, path + name, is_flat)
        elif field.required:
            raise missing(path + name)
    return checked


def _value(value: Any, field: Field, path: str, is_flat: bool) -> Any:
    if not field.is_list:
        return _single(value, field, path, is_flat)
    if is_flat and isinstance(value, dict):
        if not all(name.isdecimal() and int(name) < _MAX_ITEMS for name in value):
            raise _mismatch(path, "a list")
        value = [value[name] for name in sorted(value, key=int)]
    if not isinstance(value, list):
        raise _mismatch(path, "a list")
    return [_single(item, field, f"{path}.{number}", is_flat) for number, item in enumerate(value)]


def _single(value: Any, field: Field, path: str, is_flat: bool) -> Any:
    if isinstance(field.kind, dict):
        if not isinstance(value, dict):
            raise _mismatch(path, "an object")
        return _object(value, field.kind, f"{path}.", is_flat)
    if is_flat:
        value = _from_text(value, field.kind)
    # In Python true is an integer, in JSON it is not.
    if type(value) is not field.kind or (type(value) is int and not -(2**63) <= value < 2**63):
        raise _mismatch(path, _NAMES[field.kind])
    _check_range(value, field, path)
    return value


def _from_text(value: Any, kind: type) -> Any:
    if not isinstance(value, str):
        return value
    if kind is int and re.fullmatch(r"-?[0-9]{1,19}", value):
        return int(value)
    if kind is bool:
        # Python's SDK sends True, Node's true.
        return {"true": True, "false": False}.get(value.lower(), value)
    return value


_NAMES = {int: "an integer", str: "a string", bool: "a boolean"}


def _mismatch(path: str, wanted: str) -> ApiFault:
    return ApiFault(
        "InvalidParameter.BodyParameterTypeUnmatched",
        f"The parameter type does not match: `{path}` must be {wanted}.",
    )


def _check_range(value: Any, field: Field, path: str) -> None:
    size = len(value.encode()) if isinstance(value, str) else value
    if field.least is not None and size < field.least:
        raise _out_of_range(field, path, f"at least {field.least}", value)
    if field.most is not None and size > field.most:
        raise _out_of_range(field, path, f"at most {field.most}", value)
    if field.choices and value not in field.choices:
        raise _out_of_range(field, path, f"one of {', '.join(map(str, field.choices))}", value)
    if field.pattern is not None and not re.fullmatch(field.pattern, value):
        raise _out_of_range(field, path, f"of the form {field.pattern}", value)


def _out_of_range(field: Field, path: str, allowed: str, value: object) -> ApiFault:
    if isinstance(value, str) and not field.choices and field.pattern is None:
        # It may be a key or a signature.
        return ApiFault(field.code, f"`{path}` must be {allowed} bytes long.")
    return ApiFault(field.code, f"`{path}` must be {allowed}, not `{value}`.")
