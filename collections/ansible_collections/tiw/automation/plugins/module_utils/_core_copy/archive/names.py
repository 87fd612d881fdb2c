# A copy of core/archive/names.py of the package tiw-automation, made by make_archive_copy.py.
# pylint: disable=disallowed-name,unidiomatic-typecheck,unnecessary-negation
# SPDX-License-Identifier: Apache-2.0
"""The names of an archive's files: patterns, and the values that a recording fills in."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote

from ansible_collections.tiw.automation.plugins.module_utils._core_copy.errors import ConfigurationError
from ansible_collections.tiw.automation.plugins.module_utils._core_copy.formatting import shown_url

DEFAULT_NAMES = "{task_id}/{kind}-{video_id}.{format}"
DEFAULT_MANIFEST = "{task_id}/manifest.json"

RECORD_KEYS = ("sdk_app_id", "task_id", "room_id", "group_id", "record_user_id", "start_date")
VIDEO_KEYS = (
    "video_id",
    "index",
    "kind",
    "format",
    "user_id",
    "play_time_ms",
    "duration_ms",
    "width",
    "height",
)

# The longest name that common file systems allow, less what a temporary name adds.
_NAME_BYTES = 220
# Not escaped in a value; everything else is, so that two values give two names.
_PLAIN = "@+=,"
_NUMBER_SPEC = re.compile(r"0?(1?\d)?d?")
_FORMAT = re.compile(r"[A-Za-z0-9]{1,8}")


class NameTemplate:
    """A pattern for names, with keys in braces: ``{task_id}/{index:03d}.{format}``.

    A value never adds a folder: what is not an ASCII letter, digit or one of ``-_.~@+=,`` is
    escaped as ``%XX``, and so is a leading dot. A value that is empty or unknown becomes ``none``.

    :param what: what a message calls the pattern.
    :param keys: the keys that it may use.
    :param needed: groups of keys; it must use one of each, or two names could be the same.
    :raises ConfigurationError: it leaves the folder, uses another key or misses one.
    """

    def __init__(
        self, template: str, what: str, keys: Sequence[str], needed: Sequence[Sequence[str]]
    ) -> None:
        self.template = template
        self._what = what
        self._parts = _parse(template, what, keys)
        used = {key for _, key, _ in self._parts}
        for group in needed:
            if not used.intersection(group):
                wanted = " or ".join("{" + key + "}" for key in group)
                raise ConfigurationError(
                    f"{what}: {template!r} must contain {wanted}.",
                    hint="Otherwise two files could have the same name.",
                )
        self._check(self.render(dict.fromkeys(keys, "x")))

    def render(self, values: Mapping[str, str | int | None]) -> str:
        """Return the name.

        :raises ConfigurationError: a part of it is longer than file systems allow.
        """
        name = "".join(
            literal + ("" if key is None else _rendered(values[key], spec))
            for literal, key, spec in self._parts
        )
        self._check(name)
        return name

    def _check(self, name: str) -> None:
        parts = name.split("/")
        if any(part in ("", ".", "..") for part in parts) or not all(
            character.isprintable() and character != "\\" for character in name
        ):
            raise ConfigurationError(
                f"{self._what}: {self.template!r} gives {name!r}, which is not a path inside the "
                "destination.",
                hint='Leave out a "/" at either end, "//", "." and ".." as folders, and "\\".',
            )
        for part in parts:
            if len(part.encode()) > _NAME_BYTES:
                raise ConfigurationError(
                    f"{self._what}: {self.template!r} gives the name {part[:40]!r}..., which has "
                    f"more than {_NAME_BYTES} bytes.",
                    hint="Use fewer keys, or a folder for some of them.",
                )


def _parse(template: object, what: str, keys: Sequence[str]) -> list[tuple[str, str | None, str]]:
    """Return the parts of a pattern: text, the key after it if any, and that key's format."""
    hint = f"Use the keys {', '.join('{' + key + '}' for key in keys)}."
    if not isinstance(template, str):
        raise ConfigurationError(f"{what} must be a string, not {template!r}.", hint=hint)
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise ConfigurationError(f"{what}: {template!r}: {error}.", hint=hint) from None
    for _, key, spec, conversion in parts:
        if key is None:
            continue
        if key not in keys:
            raise ConfigurationError(f"{what}: {{{key}}} is not a key.", hint=hint)
        if conversion or not _NUMBER_SPEC.fullmatch(spec or ""):
            raise ConfigurationError(
                f"{what}: {{{key}}} has the format {(conversion or '') + (spec or '')!r}.",
                hint="Only a width of up to 19 is possible, as in {index:03d}.",
            )
    return [(literal, key, spec or "") for literal, key, spec, _ in parts]


def _rendered(value: str | int | None, spec: str) -> str:
    if isinstance(value, int):
        return format(value, spec)
    text = quote(value or "none", safe=_PLAIN, errors="backslashreplace")
    return "%2E" + text[1:] if text.startswith(".") else text


def record_values(record: Mapping[str, Any]) -> dict[str, str | int | None]:
    """Return the values of :data:`RECORD_KEYS` for a record's JSON form."""
    values = {key: _plain(record.get(key)) for key in RECORD_KEYS if key != "start_date"}
    return {**values, "start_date": _date(record.get("record_start_time"))}


def video_values(
    record: Mapping[str, Any], index: int, video: Mapping[str, Any]
) -> dict[str, str | int | None]:
    """Return the values of :data:`RECORD_KEYS` and :data:`VIDEO_KEYS`.

    :param index: the video's place in the record, from 1.
    """
    stem, _, suffix = shown_url(video["url"] or "").rpartition("/")[2].rpartition(".")
    given = video["format"] or suffix
    return {
        **record_values(record),
        "video_id": video["id"] or stem or None,
        "index": index,
        "format": given.lower() if _FORMAT.fullmatch(given) else "bin",
        **{key: video[key] for key in VIDEO_KEYS if key not in ("video_id", "index", "format")},
    }


def _plain(value: object) -> str | int | None:
    return value if isinstance(value, (str, int)) and not isinstance(value, bool) else None


def _date(seconds: object) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, timezone.utc).date().isoformat()  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError, OSError):
        return None
