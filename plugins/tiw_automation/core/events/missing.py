# SPDX-License-Identifier: Apache-2.0
"""Recordings that the API did not find, and when each is polled again.

"Not found" is often an answer about the settings: another application, host or account was asked.
So it is kept with the settings that were used. With other settings the recording is due at once,
with the same after a pause that doubles from five minutes to a day.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tiw_automation.core.api.client import TiwClient
from tiw_automation.core.checks import check_task_id
from tiw_automation.core.errors import ConfigurationError

FIRST_PAUSE_S = 300.0
LAST_PAUSE_S = 24 * 3600.0

# The most that are stored for a restart: older ones are dropped, and polled anew after it.
_MOST_KEPT = 5_000
_LONGEST_SETTINGS = 512


def asked_with(client: TiwClient, sdk_app_id: int | str | None = None) -> str:
    """Return a short text for the settings that decide which recordings exist.

    It names the application and the host, and holds only a hash of the SecretId and the role.

    :param sdk_app_id: the application, or None for the client's.
    :raises ConfigurationError: neither is set.
    """
    keys = client.settings.credentials
    # A role may belong to another account than the keys that assume it.
    whose = f"{keys.identity} {getattr(keys, 'role_arn', None) or ''}"
    digest = hashlib.sha256(whose.encode(errors="backslashreplace")).hexdigest()[:16]
    return f"SdkAppId {client.sdk_app_id(sdk_app_id)}, {client.settings.host}, key {digest}"


@dataclass(frozen=True, slots=True)
class Missing:
    """When a recording that was not found is due again.

    :param settings: :func:`asked_with` of the client that asked.
    :param ask_at: UNIX seconds.
    :param pause_s: the pause that ends then.
    """

    settings: str
    ask_at: float
    pause_s: float

    def is_due(self, settings: str, now: float) -> bool:
        """Return whether to poll with these settings now, UNIX seconds."""
        # A clock that was set back must not make the pause longer.
        return settings != self.settings or not 0 < self.ask_at - now <= self.pause_s


class MissingRecordings:
    """The recordings that were not found, by task id."""

    def __init__(self) -> None:
        self._known: dict[str, Missing] = {}

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, task_id: str) -> Missing | None:
        """Return when a recording is due again, or None if it is not missing."""
        return self._known.get(task_id)

    def not_found(self, task_id: str, settings: str, now: float) -> None:
        """Note that a recording was not found with these settings."""
        before = self._known.pop(task_id, None)
        same = before is not None and before.settings == settings
        pause_s = min(before.pause_s * 2, LAST_PAUSE_S) if before and same else FIRST_PAUSE_S
        self._known[task_id] = Missing(settings, now + pause_s, pause_s)

    def found(self, task_id: str) -> None:
        """Remove a recording that was found."""
        self._known.pop(task_id, None)

    def adopt(self, others: Mapping[str, Missing]) -> None:
        """Add what was stored before a restart; an entry that is known already is newer."""
        self._known = {**others, **self._known}

    def due(self, settings: str, now: float) -> list[str]:
        """Return the recordings to poll with these settings now, UNIX seconds."""
        return [i for i, missing in self._known.items() if missing.is_due(settings, now)]


def to_json(missing: Mapping[str, Missing]) -> dict[str, Any]:
    """Return what to store, JSON-native: ``{settings: {task id: [ask_at, pause_s]}}``."""
    kept: dict[str, Any] = {}
    for task_id, each in list(missing.items())[-_MOST_KEPT:]:
        kept.setdefault(each.settings, {})[task_id] = [each.ask_at, each.pause_s]
    return kept


def from_json(kept: Any) -> dict[str, Missing]:
    """Read what :func:`to_json` wrote.

    :raises ValueError: it is not an object. An entry of another form is left out.
    """
    if not isinstance(kept, dict):
        raise ValueError("it is not an object")
    found: dict[str, Missing] = {}
    for settings, entries in kept.items():
        if isinstance(settings, str) and len(settings) <= _LONGEST_SETTINGS:
            found.update(_entries(settings, entries))
    return dict(list(found.items())[-_MOST_KEPT:])


def is_task_id(value: object) -> bool:
    """Return whether a stored value can be a task id."""
    try:
        check_task_id(value)
    except ConfigurationError:
        return False
    return True


def _entries(settings: str, entries: Any) -> Iterable[tuple[str, Missing]]:
    if not isinstance(entries, dict):
        return
    for task_id, entry in entries.items():
        if not is_task_id(task_id):
            continue
        match entry:
            case [int() | float() as ask_at, int() | float() as pause_s] if _is_time(
                ask_at
            ) and _is_time(pause_s):
                pause_s = min(max(float(pause_s), FIRST_PAUSE_S), LAST_PAUSE_S)
                yield task_id, Missing(settings, float(ask_at), pause_s)


def _is_time(value: float) -> bool:
    # An integer of any length is valid JSON, and may be too large for a float.
    return not isinstance(value, bool) and 0 <= value <= 2**63 and math.isfinite(value)
