# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a task on many recordings, made from record dicts alone.

The modules online_record_info and task_info use it, and so do the action plugins of these names:
they wait in slices and join them, in a Python that may lack the core.

Ansible masks the result of a module before the action plugin gets it: each value that equals or
contains a secret is replaced, be it an id, a state or a number. So a result is for people. What
decides how a wait continues is kept apart from it, see :class:`Known` and :class:`Note`.

This module util is PRIVATE to the collection; it may change with any version.
"""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass

REPORT_ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "fail_on": {
        "type": "list",
        "elements": "str",
        "choices": ["missing", "failed", "timeout"],
        "default": ["timeout"],
    },
}
"""The options of a report, beside wait."""

_PROBLEMS_IN_MESSAGE = 10


@dataclass(frozen=True)
class Form:
    """The names in the result of a module.

    :param key: the key of the list of what was asked for.
    :param urls: the key of the list of all URLs.
    :param noun: what messages call several of them.
    """

    key: str
    urls: str
    noun: str


RECORDS = Form("records", "video_urls", "recordings")
TASKS = Form("tasks", "urls", "tasks")


@dataclass(frozen=True)
class Known:
    """What decides how the wait for a task continues, unmasked.

    :param answered: whether the API has answered for it.
    :param chosen: the positions of the URLs that are reported, in the list of :func:`urls_of`.
    :param reached: whether it is in one of the states that end the wait.
    :param is_open: whether it may still reach one of them.
    """

    task_id: str
    verdict: str
    status: str | None
    answered: bool
    chosen: list[int]
    reached: bool
    is_open: bool


def urls_of(record: t.Mapping[str, t.Any]) -> list[str | None]:
    """Return the URLs of a task, or of the videos of a recording."""
    urls: list[str | None] | None = record.get("urls")
    return [video["url"] for video in record["videos"]] if urls is None else urls


@dataclass(frozen=True)
class Note:
    """What one run of the module found, for the action plugin.

    :param known: in the order of the result.
    :param fatal: whether it ended before the first answer of the API.
    :param retryable: whether the same task may succeed later without any change.
    """

    known: list[Known]
    polls: int
    fatal: bool
    retryable: bool

    def to_result(self) -> dict[str, None]:
        """Return a part of a result that Ansible does not mask: the key of a dict."""
        return {json.dumps(asdict(self)): None}

    @classmethod
    def of(cls, part: dict[str, None]) -> Note:
        """Read what :meth:`to_result` returned."""
        (text,) = part
        found = json.loads(text)
        return cls(**{**found, "known": [Known(**known) for known in found["known"]]})


class Report:
    """What is known of what a task asked for.

    :param options: the task's options, of which wait and fail_on are used.
    """

    def __init__(self, options: t.Mapping[str, t.Any], form: Form) -> None:
        self.options = options
        self.form = form
        # To show; values may be masked.
        self.records: dict[str, dict[str, t.Any]] = {}
        self.errors: dict[str, dict[str, t.Any]] = {}
        # To decide with; nothing is masked.
        self.known: dict[str, Known] = {}
        self.polls = 0
        self.elapsed = 0.0

    def add(
        self,
        records: t.Iterable[dict[str, t.Any]],
        errors: t.Mapping[str, dict[str, t.Any]],
        polls: int,
        known: t.Iterable[Known],
    ) -> None:
        """Add what a run found. It replaces what was known, unless the API did not answer.

        :param known: one for each record.
        """
        self.polls += polls
        for record, found in zip(records, known, strict=True):
            task_id = found.task_id
            earlier = self.known.get(task_id)
            if earlier is not None and earlier.answered and not found.answered:
                continue
            self.known[task_id] = found
            self.records[task_id] = {**record, "task_id": task_id}
            self.errors.pop(task_id, None)
            if task_id in errors:
                self.errors[task_id] = errors[task_id]

    def note(self, *, fatal: bool, retryable: bool) -> Note:
        """Return the note for the action plugin."""
        known = list(self.known.values())
        return Note(known=known, polls=self.polls, fatal=fatal, retryable=retryable)

    def ids(self, verdict: str) -> list[str]:
        """Return the ids with this verdict, in the order asked."""
        return [name for name, known in self.known.items() if known.verdict == verdict]

    def unreached(self) -> list[str]:
        """Return the ids of a wait that are in none of the states that end it."""
        if not self.options["wait"]:
            return []
        return [
            task_id
            for task_id, known in self.known.items()
            if known.verdict in ("pending", "finished") and not known.reached
        ]

    def to_result(self) -> dict[str, t.Any]:
        """Return the result of the task."""
        good = self.ids("finished")
        return {
            "changed": False,
            self.form.key: list(self.records.values()),
            self.form.urls: [
                urls_of(self.records[task_id])[position]
                for task_id in good
                for position in self.known[task_id].chosen
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

    def failure(self) -> dict[str, t.Any]:
        """Return the part of the result that fails the task; it is empty if nothing does."""
        bad = self._problems()
        if not bad:
            return {}
        named = [
            f"{task_id} ({reason}): {self.records[task_id]['message']}"
            for task_id, reason in bad[:_PROBLEMS_IN_MESSAGE]
        ]
        if len(bad) > len(named):
            named.append(f"and {len(bad) - len(named)} more, see {self.form.key}")
        error: dict[str, t.Any] = next(
            (self.errors[i] for i, reason in bad if i in self.errors), {}
        )
        return {
            "failed": True,
            "msg": f"{len(bad)} of {len(self.records)} {self.form.noun}: {'; '.join(named)}",
            **{name: error.get(name) for name in ("code", "request_id", "hint", "retryable")},
        }

    def _problems(self) -> list[tuple[str, str]]:
        """Return the ids that fail the task, in the order asked, each with the reason."""
        fail_on = self.options["fail_on"]
        verdicts = {"unknown", *({"missing", "failed"} & set(fail_on))}
        late = set(self.unreached()) if "timeout" in fail_on else set()
        return [
            (task_id, "timeout" if task_id in late else known.verdict)
            for task_id, known in self.known.items()
            if task_id in late or known.verdict in verdicts
        ]
