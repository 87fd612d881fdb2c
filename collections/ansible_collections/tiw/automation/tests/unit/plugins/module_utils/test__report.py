# Copyright: (c) 2026, The tiw-automation contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the results of many recordings and of many slices are joined."""

from __future__ import annotations

import dataclasses
import typing as t

from ansible_collections.tiw.automation.plugins.module_utils._report import (
    RECORDS,
    TASKS,
    Known,
    Note,
    Report,
    urls_of,
)


def record(task_id: str, verdict: str, status: str | None = None) -> dict[str, t.Any]:
    videos = [{"url": f"http://{task_id}/{kind}", "kind": kind} for kind in ("camera", "audio")]
    return {
        "task_id": task_id,
        "verdict": verdict,
        "status": status,
        "message": f"{task_id} is {verdict}",
        "videos": [*videos, {"url": None, "kind": "camera"}] if verdict == "finished" else [],
    }


def known(seen: dict[str, t.Any], states: t.Collection[str] = ("FINISHED",)) -> Known:
    verdict, status = seen["verdict"], seen["status"]
    return Known(
        seen["task_id"],
        verdict,
        status,
        answered=verdict in ("finished", "failed", "missing") or status is not None,
        chosen=[position for position, url in enumerate(urls_of(seen)) if url],
        reached=status in states,
        is_open=verdict == "pending" and status not in states,
    )


class Found(Report):
    """A report that takes what is known of the records from them."""

    def __init__(self, **options: t.Any) -> None:
        self.states = options.pop("states", ["FINISHED"])
        super().__init__({"wait": True, "fail_on": ["timeout"], **options}, RECORDS)

    def note_all(
        self, records: list[dict[str, t.Any]], errors: dict[str, dict[str, t.Any]], polls: int
    ) -> None:
        self.add(records, errors, polls, [known(seen, self.states) for seen in records])


def report(**options: t.Any) -> Found:
    return Found(**options)


def test_a_later_slice_replaces_what_was_known_unless_it_got_no_answer() -> None:
    found = report()
    late = {"code": "WaitTimeout"}
    found.note_all(
        [record("a", "pending", "RECORDING"), record("b", "pending"), record("c", "missing")],
        {"a": late, "b": late, "c": {"code": "TaskNotFound"}},
        5,
    )
    assert [name for name in found.records if found.known[name].is_open] == ["a", "b"]
    found.note_all([record("b", "finished", "FINISHED"), record("a", "unknown")], {"a": {}}, 2)
    assert list(found.records) == ["a", "b", "c"]
    assert found.records["a"]["status"] == "RECORDING"
    assert found.errors == {"a": late, "c": {"code": "TaskNotFound"}}
    assert found.polls == 7
    assert found.unreached() == ["a"]
    result = found.to_result()
    assert result["video_urls"] == ["http://b/camera", "http://b/audio"]
    assert result["all_finished"] is False
    assert result["pending"] == ["a"]


def test_tasks_are_reported_like_recordings_under_other_names() -> None:
    found = Report({"wait": False, "fail_on": ["missing"]}, TASKS)
    tasks: list[dict[str, t.Any]] = [
        {"task_id": "a", "verdict": "finished", "status": "FINISHED", "urls": ["http://a/1", "2"]},
        {"task_id": "b", "verdict": "missing", "status": None, "urls": [], "message": "b is gone"},
    ]
    found.add(tasks, {}, 2, map(known, tasks))
    result = found.to_result()
    assert result["tasks"] == tasks
    assert result["urls"] == ["http://a/1", "2"]
    assert "records" not in result
    assert found.failure()["msg"] == "1 of 2 tasks: b (missing): b is gone"


def test_only_the_chosen_urls_are_reported() -> None:
    found = report()
    seen = record("a", "finished", "FINISHED")
    found.add([seen], {}, 1, [dataclasses.replace(known(seen), chosen=[1])])
    assert found.to_result()["video_urls"] == ["http://a/audio"]
    assert found.to_result()["all_finished"] is True
    assert found.failure() == {}


def test_the_message_names_the_problems_in_the_order_asked() -> None:
    records = [
        record("late", "pending", "RECORDING"),
        record("gone", "missing"),
        record("odd", "unknown"),
        record("bad", "failed", "FINISHED"),
    ]
    found = report(fail_on=["timeout", "missing"])
    error = {"code": "Odd", "request_id": "r", "hint": "h", "retryable": False, "action": "A"}
    found.note_all(records, {"odd": error}, 4)
    failure = found.failure()
    assert failure["msg"] == (
        "3 of 4 recordings: late (timeout): late is pending; gone (missing): gone is missing; "
        "odd (unknown): odd is unknown"
    )
    assert failure["code"] == "Odd"
    assert "action" not in failure
    # An unknown recording always fails the task; the others only with fail_on.
    lenient = report(fail_on=[])
    lenient.note_all([*records[:2], records[3]], {}, 3)
    assert lenient.failure() == {}
    lenient.note_all(records, {}, 4)
    assert lenient.failure()["msg"].startswith("1 of 4 recordings: odd")


def test_a_long_list_of_problems_is_cut() -> None:
    found = report(fail_on=["missing"])
    found.note_all([record(f"r{number}", "missing") for number in range(25)], {}, 25)
    message = found.failure()["msg"]
    assert "r9 (missing)" in message
    assert "r10" not in message
    assert message.endswith("and 15 more, see records")


def test_a_recording_that_ended_without_reaching_the_state_is_unreached() -> None:
    found = report(states=["RECORDING"])
    found.note_all(
        [record("over", "finished", "FINISHED"), record("on", "pending", "RECORDING")], {}, 2
    )
    assert found.unreached() == ["over"]
    assert report(wait=False).unreached() == []


def masked(value: t.Any) -> t.Any:
    """Return a result as Ansible masks it if every letter and digit is secret."""
    if isinstance(value, dict):
        return {name: masked(item) for name, item in value.items()}
    if isinstance(value, list):
        return [masked(item) for item in value]
    return value if value is None or isinstance(value, bool) else "********"


def test_masked_results_of_slices_are_joined_like_unmasked_ones() -> None:
    slices = [
        ([record("algebra", "finished", "FINISHED"), record("long", "pending", "RECORDING")], {}),
        ([record("long", "failed")], {"long": {"code": "FailedOperation.Record"}}),
    ]
    options = {"fail_on": ["failed"]}
    plain, joined = report(**options), report(**options)
    for records, errors in slices:
        found = report(**options)
        found.note_all(records, errors, 3)
        result = {
            **found.to_result(),
            "slice": found.note(fatal=False, retryable=False).to_result(),
        }
        note = Note.of(masked(result)["slice"])
        shown = masked(result)
        joined.add(shown["records"], shown["errors"], note.polls, note.known)
        plain.note_all(records, errors, 3)
    names = ("all_finished", "pending", "missing", "failed_ids", "unreached", "polls")
    for name in names:
        assert joined.to_result()[name] == plain.to_result()[name], name
    assert [entry["task_id"] for entry in joined.to_result()["records"]] == ["algebra", "long"]
    assert len(joined.to_result()["video_urls"]) == len(plain.to_result()["video_urls"]) == 2
    assert list(joined.errors) == ["long"]
    failure = joined.failure()
    assert failure["msg"] == "1 of 2 recordings: long (failed): ********"


def test_a_note_survives_the_result() -> None:
    found = report()
    found.note_all([record("a", "unknown"), record("b", "pending", "RECORDING")], {}, 1)
    note = found.note(fatal=True, retryable=False)
    assert Note.of(note.to_result()) == note
    assert [known.answered for known in note.known] == [False, True]
