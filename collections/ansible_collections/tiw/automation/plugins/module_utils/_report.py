# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a task reports on many recordings, made of record dicts alone.

The module online_record_info makes its result by it, and so does the action plugin of that name,
which waits in slices and joins them, in a Python that may lack the core.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import typing as t

STATES = ("PREPARED", "RECORDING", "PAUSED", "STOPPED", "FINISHED")
FINAL = ("finished", "failed", "missing")

REPORT_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "wait_for": {
        "type": "list",
        "elements": "str",
        "choices": list(STATES),
        "default": ["FINISHED"],
    },
    "fail_on": {
        "type": "list",
        "elements": "str",
        "choices": ["missing", "failed", "timeout"],
        "default": ["timeout"],
    },
    "video_kinds": {
        "type": "list",
        "elements": "str",
        "choices": ["camera", "screen_share", "whiteboard", "mixed", "audio", "unknown"],
    },
}
"""The options that a report depends on, beside wait."""

_LATER = {
    "RECORDING": ("RECORDING", "PAUSED", "STOPPED", "FINISHED"),
    "PAUSED": ("RECORDING", "PAUSED", "STOPPED", "FINISHED"),
    "STOPPED": ("STOPPED", "FINISHED"),
    "FINISHED": ("FINISHED",),
}
_PROBLEMS_IN_MESSAGE = 10


def can_become(status: str | None, states: t.Iterable[str]) -> bool:
    """Return whether a recording of this status is, or may come to be, in one of the states."""
    later = _LATER.get(status or "", STATES)
    return any(state in later for state in states)


def was_answered(record: dict[str, t.Any]) -> bool:
    """Return whether the API has said anything of a recording."""
    return record["verdict"] in FINAL or record["status"] is not None


class Report:
    """What is known of the recordings of a task.

    :param options: the task's options: wait, wait_for, fail_on and video_kinds count.
    """

    def __init__(self, options: t.Mapping[str, t.Any]) -> None:
        self.options = options
        self.records: dict[str, dict[str, t.Any]] = {}
        self.errors: dict[str, dict[str, t.Any]] = {}
        self.polls = 0
        self.elapsed = 0.0

    def add(
        self,
        records: t.Iterable[dict[str, t.Any]],
        errors: t.Mapping[str, dict[str, t.Any]],
        polls: int,
    ) -> None:
        """Take in what was found, which replaces what was known unless nothing was answered."""
        self.polls += polls
        for record in records:
            task_id = record["task_id"]
            known = self.records.get(task_id)
            if known is not None and was_answered(known) and not was_answered(record):
                continue
            self.records[task_id] = record
            self.errors.pop(task_id, None)
            if task_id in errors:
                self.errors[task_id] = errors[task_id]

    def ids(self, verdict: str) -> list[str]:
        """Return the ids with a verdict, in the order asked."""
        return [name for name, record in self.records.items() if record["verdict"] == verdict]

    def has_reached(self, task_id: str) -> bool:
        """Return whether a recording is in a state that was waited for."""
        return self.records[task_id]["status"] in self.options["wait_for"]

    def is_open(self, task_id: str) -> bool:
        """Return whether waiting longer for a recording makes sense."""
        record = self.records[task_id]
        return (
            record["verdict"] == "pending"
            and not self.has_reached(task_id)
            and can_become(record["status"], self.options["wait_for"])
        )

    def unreached(self) -> list[str]:
        """Return the ids that were waited for and are in none of the states."""
        if not self.options["wait"]:
            return []
        return [
            task_id
            for task_id, record in self.records.items()
            if record["verdict"] in ("pending", "finished") and not self.has_reached(task_id)
        ]

    def to_result(self) -> dict[str, t.Any]:
        """Return the result of the task."""
        good = self.ids("finished")
        kinds = self.options["video_kinds"]
        return {
            "changed": False,
            "records": list(self.records.values()),
            "video_urls": [
                video["url"]
                for task_id in good
                for video in self.records[task_id]["videos"]
                if video["url"] and (kinds is None or video["kind"] in kinds)
            ],
            "all_finished": len(good) == len(self.records),
            "pending": self.ids("pending"),
            "missing": self.ids("missing"),
            "failed_ids": self.ids("failed"),
            "unreached": self.unreached(),
            "errors": self.errors,
            "polls": self.polls,
            "elapsed": round(self.elapsed, 3),
        }

    def failure(self) -> dict[str, t.Any] | None:
        """Return what makes the task fail, with its message, or None."""
        bad = self._problems()
        if not bad:
            return None
        named = [
            f"{task_id} ({word}): {self.records[task_id]['message']}"
            for task_id, word in bad[:_PROBLEMS_IN_MESSAGE]
        ]
        if len(bad) > len(named):
            named.append(f"and {len(bad) - len(named)} more, see records")
        error: dict[str, t.Any] = next((self.errors[i] for i, word in bad if i in self.errors), {})
        return {
            "failed": True,
            "msg": f"{len(bad)} of {len(self.records)} recordings: {'; '.join(named)}",
            **{name: error.get(name) for name in ("code", "request_id", "hint", "retryable")},
        }

    def _problems(self) -> list[tuple[str, str]]:
        """Return the ids that make the task fail, in the order asked, each with the word for it."""
        fail_on = self.options["fail_on"]
        words = {"unknown": "unknown", **{w: w for w in ("missing", "failed") if w in fail_on}}
        late = set(self.unreached()) if "timeout" in fail_on else set()
        return [
            (task_id, "timeout" if task_id in late else words[record["verdict"]])
            for task_id, record in self.records.items()
            if task_id in late or record["verdict"] in words
        ]
