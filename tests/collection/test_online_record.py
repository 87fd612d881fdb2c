# SPDX-License-Identifier: Apache-2.0
"""Starting, pausing, resuming and stopping, by a real ansible-playbook."""

from __future__ import annotations

from typing import Any

import pytest

from tiw_automation.core import OnlineRecord
from tiw_automation.simulator import Simulator

KEY = "user-signature-key-user-signature-key"
ROOM = 29001
USER = f"tic_record_user_{ROOM}_algebra"


def record(state: str, **options: Any) -> dict[str, Any]:
    return {"tiw.automation.online_record": {"state": state, **options}}


def start(**options: Any) -> dict[str, Any]:
    chosen = {
        "room_id": ROOM,
        "record_user_id": USER,
        "user_sig_key": KEY,
        "region": "ap-guangzhou",
    }
    return record("started", **{**chosen, **options})


def waiting(**options: Any) -> dict[str, Any]:
    return {"wait": True, "wait_timeout": 30, "wait_sleep": 0.3, **options}


def room(simulator: Simulator) -> None:
    simulator.set_app(user_sig_key=KEY)


def recordings(simulator: Simulator) -> None:
    room(simulator)
    simulator.add("runs", timeline=[{"RECORDING": 1000}], room_id=7)
    simulator.add("rests", timeline=[{"RECORDING": 1}, {"PAUSED": 1000}])
    simulator.add("over", timeline=[{"RECORDING": 1}])
    simulator.advance(3)


def lost_answers(simulator: Simulator) -> None:
    room(simulator)
    for action in ("StartOnlineRecord", "PauseOnlineRecord", "StopOnlineRecord"):
        simulator.inject("answer_lost", action=action, times=1)


LESSON = {"task_id": "{{ result_0.task_id }}"}


@pytest.mark.tasks(
    start(**waiting()),
    start(),
    record("paused", **LESSON, **waiting()),
    record("paused", **LESSON),
    start(**waiting()),
    record("paused", **LESSON),
    record("started", **LESSON, **waiting()),
    record("started", **LESSON),
    record("stopped", **LESSON, **waiting()),
    record("stopped", **LESSON, **waiting(wait_for=["FINISHED"])),
    record("paused", **LESSON),
    record("started", **LESSON),
    prepare=room,
)
def test_the_life_of_a_recording(played: Any, simulator: Simulator) -> None:
    results = played.results
    assert [bool(result.get("failed")) for result in results] == [False] * 10 + [True] * 2, (
        played.output
    )
    changed = [result["changed"] for result in results]
    assert changed == [True, False, True, False, True, True, True, False, True, *[False] * 3]
    before = [result["previous_status"] for result in results]
    assert before[0] is None
    assert before[2:8] == ["RECORDING", "PAUSED", "PAUSED", "RECORDING", "PAUSED", "RECORDING"]
    statuses = [result["record"]["status"] for result in results[:9]]
    assert statuses[0] == "RECORDING"
    assert statuses[2:5] == ["PAUSED", "PAUSED", "RECORDING"]
    assert statuses[8] in ("STOPPED", "FINISHED")
    assert results[9]["record"]["verdict"] == "finished"
    assert len(results[9]["record"]["video_urls"]) > 1
    assert len({result["task_id"] for result in results}) == 1
    assert results[10]["code"] == "UnsupportedOperation.TaskHasAlreadyStopped"
    assert "cannot be paused any more" in results[10]["msg"]
    assert simulator.started == 1
    assert simulator.writes == 6
    keys = set(OnlineRecord(1, "t").to_dict()) | {"exists", "verdict", "message"}
    assert set(results[0]["record"]) == keys


@pytest.mark.tasks(
    start(),
    start(room_id=7, record_user_id="tic_record_user_7_runs"),
    record("paused", task_id="runs"),
    record("paused", task_id="rests"),
    record("started", task_id="rests"),
    record("stopped", task_id="runs", **waiting(wait_for=["FINISHED"])),
    record("stopped", task_id="over"),
    record("paused", task_id="over"),
    record("stopped", task_id="absent"),
    start(auto_stop_timeout=5),
    prepare=recordings,
    check_mode=True,
    diff=True,
)
def test_check_mode_predicts_and_writes_nothing(played: Any, simulator: Simulator) -> None:
    results = played.results
    failed = [bool(result.get("failed")) for result in results]
    assert failed == [False] * 7 + [True] * 3, played.output
    changed = [result["changed"] for result in results[:7]]
    assert changed == [True, False, True, False, True, True, False]
    assert simulator.writes == 0
    assert simulator.started == 0
    diffs = [result["diff"] for result in results[:7]]
    assert diffs[0] == {
        "before": {"task_id": None, "status": None},
        "after": {"task_id": f"check-mode:{USER}", "status": "RECORDING"},
    }
    assert diffs[2]["before"] == {"task_id": "runs", "status": "RECORDING"}
    assert diffs[2]["after"] == {"task_id": "runs", "status": "PAUSED"}
    assert diffs[3]["before"] == diffs[3]["after"]
    assert diffs[5]["after"]["status"] == "STOPPED"
    assert '"status": "PAUSED"' in played.output
    assert results[8]["code"] == "InvalidParameter.TaskNotFound"
    assert "auto_stop_timeout must be an integer from 300" in results[9]["msg"]


@pytest.mark.tasks(
    start(**waiting()),
    record("paused", **LESSON),
    record("stopped", **LESSON),
    start(),
    prepare=lost_answers,
)
def test_a_lost_answer_never_starts_a_second_one(played: Any, simulator: Simulator) -> None:
    results = played.results
    assert not [result["msg"] for result in results if result.get("failed")], played.output
    assert [result["changed"] for result in results] == [True] * 4
    # The last one is a new lesson of the same user: the first has ended.
    assert results[3]["task_id"] != results[0]["task_id"]
    assert simulator.started == 2


ABROAD = start(region="ap-singapore")


@pytest.mark.tasks({**ABROAD, "check_mode": True}, ABROAD, ABROAD, prepare=room)
def test_a_site_without_a_list_of_running_tasks(played: Any, simulator: Simulator) -> None:
    checked, first, second = played.results
    assert checked["changed"] is True
    assert "Whether it runs already cannot be checked here" in " ".join(played.output.split())
    assert first["changed"] is True
    assert second["failed"]
    assert second["code"] == "StartUncertain"
    assert simulator.started == 1


WRONG = {"user_sig_key": "another-key-another-key-another-key"}


@pytest.mark.tasks(start(**WRONG, **waiting()), start(**WRONG), prepare=room)
def test_a_recording_that_fails_after_its_start(played: Any) -> None:
    failed, second = played.results
    assert failed["failed"]
    assert failed["code"] == "FailedOperation.Record"
    assert failed["changed"] is True
    assert failed["task_id"]
    assert failed["record"]["verdict"] == "failed"
    assert "signature" in failed["hint"]
    assert failed["request_id"]
    # Without a wait the failure is not known.
    assert not second.get("failed")


@pytest.mark.tasks(
    record("started", task_id="runs", **{**waiting(wait_for=["PAUSED"]), "wait_timeout": 1.5}),
    prepare=recordings,
)
def test_the_timeout_elapses(played: Any) -> None:
    (late,) = played.results
    assert late["failed"]
    assert late["code"] == "WaitTimeout"
    assert late["retryable"] is True
    assert late["record"]["status"] == "RECORDING"
    assert late["changed"] is False


@pytest.mark.tasks(
    start(preset="audio_files", concat={"enabled": True}, **waiting()),
    record("stopped", **LESSON, **waiting(wait_for=["FINISHED"])),
    start(
        preset="whiteboard_only",
        record_control={"enabled": True, "disable_audio": False},
        record_user_id=f"tic_record_user_{ROOM}_board",
        **waiting(),
    ),
    record("stopped", task_id="{{ result_2.task_id }}", **waiting(wait_for=["FINISHED"])),
    prepare=room,
)
def test_options_of_a_start_reach_the_api(played: Any) -> None:
    results = played.results
    assert not [result["msg"] for result in results if result.get("failed")], played.output
    assert "audio" in {video["kind"] for video in results[1]["record"]["videos"]}
    # An option beside a preset overrides it; the others of the preset stay.
    assert {video["kind"] for video in results[3]["record"]["videos"]} == {"whiteboard"}


CANVAS = {"layout_params": {"width": 1, "height": 720}}
INVALID: list[tuple[dict[str, Any], str]] = [
    (record("started"), "one of the following is required: task_id, room_id"),
    (record("stopped"), "task_id"),
    (record("stopped", room_id=ROOM, record_user_id=USER), "task_id"),
    (record("begun", task_id="a"), "state"),
    (record("paused", task_id=12), "must be a string"),
    (record("paused", task_id="a", room_id=1, record_user_id="u"), "mutually exclusive"),
    (record("paused", task_id="a", **waiting(wait_for=["PREPARED"])), "wait_for"),
    (record("paused", task_id="a", wait_timeout=-1), "wait_timeout"),
    (record("started", room_id=ROOM), "record_user_id"),
    (record("started", room_id=ROOM, record_user_id=USER), "Exactly one of record_user_sig"),
    (start(record_user_sig="both"), "mutually exclusive"),
    (start(user_sig_key="with a blank"), "user_sig_key"),
    (start(record_user_id="me"), f"It must begin with tic_record_user_{ROOM}_"),
    (start(room_id=0), "room_id"),
    (start(preset="whiteboard"), "preset"),
    (start(mix_stream={"enabled": True}), "model_id"),
    (start(mix_stream={"enabled": True, "custom": {"canvas": CANVAS}}), "input_stream_list"),
    (start(auto_stop_timeout=299), "auto_stop_timeout"),
    (start(whiteboard={"width": "wide"}), "width"),
    (start(extras=["MIX"]), "extras"),
    (start(record_control={"disable_audio": True}), "enabled"),
]


@pytest.mark.tasks(*(task for task, _words in INVALID), prepare=room)
def test_invalid_options_send_nothing(played: Any, simulator: Simulator) -> None:
    for result, (task, words) in zip(played.results, INVALID, strict=True):
        assert result["failed"], task
        assert words in result["msg"], task
    assert simulator.requests == {}
