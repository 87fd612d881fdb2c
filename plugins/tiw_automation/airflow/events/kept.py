# SPDX-License-Identifier: Apache-2.0
"""The form in which an event trigger keeps what it has announced: JSON, beside other people's.

What another version or another hand has left there costs only itself: what cannot be read is
taken for empty, and a few words say why. Imports nothing of Airflow.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tiw_automation.core.events import Missing, is_task_id, missing as missing_recordings

_T = TypeVar("_T")

# No watcher that works keeps more.
_MOST_IDS = 100_000
# No event without a recording is planned further ahead.
_LONGEST_SWEEP_S = 30 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """What an event trigger keeps.

    :param settled: the recordings that have ended and whose event is stored, if they have one.
    :param waiting: the recordings whose end is still to come.
    :param missing: those of ``waiting`` that were not found.
    :param passed_on_as_missing: those of ``waiting`` that were published as missing.
    :param sweep_at: when an event without a recording is due, UNIX seconds, or None.
    :param published: whether something was published since the last start.
    """

    settled: Sequence[str] = ()
    waiting: Sequence[str] = ()
    missing: Mapping[str, Missing] = field(default_factory=dict)
    passed_on_as_missing: Sequence[str] = ()
    sweep_at: float | None = None
    published: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return what to keep; earlier versions read the first three keys of it."""
        kept: dict[str, Any] = {
            "settled": sorted(self.settled),
            "waiting": list(self.waiting),
            "sweep_at": self.sweep_at,
        }
        if self.published:
            kept["published"] = True
        if self.missing:
            kept["missing"] = missing_recordings.to_json(self.missing)
        if self.passed_on_as_missing:
            kept["passed_on_as_missing"] = sorted(self.passed_on_as_missing)
        return kept


def read(kept: Any) -> tuple[Kept, list[str]]:
    """Read what :meth:`Kept.to_json` or an earlier version wrote, or anything else.

    Never raises; returns a few words for each part that could not be read.
    """
    if kept is None:
        return Kept(), []
    if not isinstance(kept, Mapping):
        return Kept(), [f"it is a {type(kept).__name__}, not an object"]
    odd: list[str] = []
    settled = _part(kept, "settled", _ids, odd) or []
    known = set(settled)
    waiting = [i for i in _part(kept, "waiting", _ids, odd) or () if i not in known]
    waits = set(waiting)
    missing = _part(kept, "missing", missing_recordings.from_json, odd) or {}
    passed_on = _part(kept, "passed_on_as_missing", _ids, odd) or ()
    found = Kept(
        settled=settled,
        waiting=waiting,
        missing={i: each for i, each in missing.items() if i in waits},
        passed_on_as_missing=[i for i in passed_on if i in waits],
        sweep_at=_part(kept, "sweep_at", _time, odd),
        published=kept.get("published") is True,
    )
    return found, odd


def _part(
    kept: Mapping[str, Any], name: str, read_it: Callable[[Any], _T], odd: list[str]
) -> _T | None:
    value = kept.get(name)
    if value is None:
        return None
    try:
        return read_it(value)
    except ValueError as error:
        odd.append(f"{name}: {error}")
        return None


def _ids(kept: Any) -> list[str]:
    """Return the task ids of a list that was kept, each once, without what cannot be one.

    :raises ValueError: it is something else, or longer than any watcher's.
    """
    if not isinstance(kept, list) or len(kept) > _MOST_IDS:
        raise ValueError(f"it is not a list of at most {_MOST_IDS} task ids")
    return list(dict.fromkeys(task_id for task_id in kept if is_task_id(task_id)))


def _time(kept: Any) -> float:
    """Return a time that was kept, UNIX seconds.

    :raises ValueError: it is none, or one that is too far ahead.
    """
    last = time.time() + _LONGEST_SWEEP_S
    if isinstance(kept, bool) or not isinstance(kept, (int, float)) or not 0 < kept < last:
        raise ValueError("it is not a time within the next days")
    return float(kept)
