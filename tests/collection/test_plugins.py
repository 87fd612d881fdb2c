# SPDX-License-Identifier: Apache-2.0
"""running_task_info, the lookup and the filter, in a real ansible-playbook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import OnlineRecord, TiwClient, tracks_of
from tiw_automation.core.api.running_tasks import RunningTask
from tiw_automation.simulator import Simulator

Play = Callable[..., Any]


def running(**options: Any) -> dict[str, Any]:
    return {"tiw.automation.running_task_info": options}


def shown(expression: str) -> dict[str, Any]:
    return {"ansible.builtin.debug": {"msg": "{{ " + expression + " }}"}}


def prepare(simulator: Simulator) -> None:
    """Add the recordings of the lookup, which asks from Ansible's own process."""
    videos = [{"kind": "camera"}, {"kind": "whiteboard"}]
    simulator.add("one", timeline=[], videos=videos)
    simulator.add("two", timeline=[], videos=videos)
    simulator.add("runs", timeline=[{"RECORDING": 1000}])
    simulator.add("bad", timeline=[], finish_reason="EXCEPTION")
    simulator.add("drama", error={"message": "code: 40004, msg: now, im login failed"})


def two_pages(simulator: Simulator) -> None:
    for number in range(501):
        simulator.add(f"lesson-{number}", timeline=[{"RECORDING": 1000}], room_id=number + 1)
    simulator.add("over", timeline=[])


@pytest.mark.tasks(
    running(region="ap-guangzhou"),
    running(region="ap-guangzhou", task_type="TranscodeH5"),
    running(region="ap-singapore"),
    running(region="ap-guangzhou", task_type="Everything"),
    prepare=two_pages,
    check_mode=True,
)
def test_running_tasks(played: Any, simulator: Simulator) -> None:
    all_of_them, others, abroad, wrong = played.results
    assert all_of_them["task_ids"] == [f"lesson-{number}" for number in range(501)]
    first = all_of_them["tasks"][0]
    assert set(first) == set(RunningTask.__slots__)
    assert first["room_id"] == 1
    assert first["status"] == "PROCESSING"
    assert all_of_them["changed"] is False
    assert others["tasks"] == []
    assert abroad["code"] == "InvalidAction"
    assert "DescribeRunningTasks" in abroad["hint"]
    assert "task_type" in wrong["msg"]
    # Two pages, and one request of each other task.
    assert simulator.requests["DescribeRunningTasks"] == 3


LOOKUP = "'tiw.automation.online_record'"


@pytest.mark.tasks(
    shown(f"query({LOOKUP}, 'one', 'two')"),
    shown(f"query({LOOKUP}, ids, kinds=['whiteboard'])"),
    shown(f"lookup({LOOKUP}, 'one', kinds='camera')"),
    shown(f"lookup({LOOKUP}, 'one', wantlist=True)"),
    shown(f"query({LOOKUP}, 'bad', accept_finish_reasons=['EXCEPTION'])"),
    shown(f"query({LOOKUP}, 'one', 'runs')"),
    shown(f"query({LOOKUP}, 'bad')"),
    shown(f"query({LOOKUP}, 'drama')"),
    shown(f"query({LOOKUP}, 'absent')"),
    shown(f"query({LOOKUP}, 12)"),
    shown(f"query({LOOKUP})"),
    shown(f"query({LOOKUP}, 'one', kinds=['film'])"),
    shown(f"query({LOOKUP}, 'one', secret_key='short-of-an-id')"),
    vars={"ids": ["two", "one"]},
)
def test_the_lookup(played: Any, simulator: Simulator) -> None:
    results = played.results
    assert not [result["msg"] for result in results[:5] if result.get("failed")], played.output
    with TiwClient(**simulator.settings()) as client:
        one, two = (client.describe_online_record(task_id) for task_id in ("one", "two"))
    assert results[0]["msg"] == [*one.video_urls, *two.video_urls]
    assert results[1]["msg"] == [two.video_urls[1], one.video_urls[1]]
    assert results[2]["msg"] == one.video_urls[0]
    assert results[3]["msg"] == one.video_urls
    assert len(results[4]["msg"]) == 2
    words = [
        "runs is RECORDING",
        "FinishReason EXCEPTION",
        "im login failed",
        "TaskNotFound",
        "must be a string",
        "No task id",
        "film",
        "secret_id",
    ]
    for result, word in zip(results[5:], words, strict=True):
        assert result["failed"], word
        assert word in result["msg"], result["msg"]
    assert "online_record_info" in results[5]["msg"]


def test_no_secret_is_in_ansibles_log(tiw_simulator: Simulator, play: Play, tmp_path: Path) -> None:
    """The lookup runs in Ansible's own process, whose log holds the messages of libraries."""
    tiw_simulator.add("one", timeline=[])
    log = tmp_path / "ansible.log"
    token = "token-token-token-token-token-token"
    password = "proxy-password-proxy-password"
    good, refused, lost = play(
        shown(f"query({LOOKUP}, 'one')"),
        shown(f"query({LOOKUP}, 'one', secret_id=id, secret_key=key, token=token)"),
        shown(f"query({LOOKUP}, 'one', proxy=proxy, timeout=1)"),
        arguments=("-vvvv",),
        environment={"ANSIBLE_LOG_PATH": str(log), "ANSIBLE_LOG_VERBOSITY": "6"},
        vars={
            **{"id": tiw_simulator.secret_id, "key": "wrong-key-wrong-key-wrong-key"},
            **{"token": token, "proxy": f"http://user:{password}@127.0.0.1:9"},
        },
    ).results
    assert not good.get("failed")
    assert refused["failed"]
    assert lost["failed"]
    text = log.read_text()
    assert "PLAY RECAP" in text
    for secret in (tiw_simulator.secret_key, "wrong-key", token, password, "TC3-HMAC"):
        assert secret not in text


def two_tracks(simulator: Simulator) -> None:
    simulator.add(
        "lesson",
        timeline=[{"RECORDING": 4}, {"PAUSED": 2}, {"RECORDING": 3}],
        videos=[{"kind": "camera", "user_id": user} for user in ("teacher", "anna")],
    )
    simulator.advance(60)


@pytest.mark.tasks(
    {"tiw.automation.online_record_info": {"task_id": "lesson"}},
    shown("result_0.records[0] | tiw.automation.tracks"),
    shown("result_0.records[0] | tiw.automation.tracks(least_gap_ms=100000)"),
    shown("result_0.records | map('tiw.automation.tracks') | list"),
    shown("result_0.records[0] | tiw.automation.tracks(least_gap_ms='100000')"),
    shown("result_0.records | tiw.automation.tracks"),
    shown("{'task_id': 'a'} | tiw.automation.tracks"),
    shown("result_0.records[0] | tiw.automation.tracks('wide')"),
    prepare=two_tracks,
)
def test_the_filter(played: Any) -> None:
    results = played.results
    assert not [result["msg"] for result in results[:5] if result.get("failed")], played.output
    record = OnlineRecord.from_dict(results[0]["records"][0])
    tracks = [track.to_dict() for track in tracks_of(record)]
    assert results[1]["msg"] == tracks
    assert [(track["kind"], track["user_id"]) for track in tracks] == [
        ("camera", "anna"),
        ("camera", "teacher"),
    ]
    assert [len(track["videos"]) for track in tracks] == [2, 2]
    assert [track["gaps"] for track in results[2]["msg"]] == [[], []]
    assert results[3]["msg"] == [tracks]
    # As text, as -e passes it.
    assert results[4]["msg"] == results[2]["msg"]
    for result, words in zip(results[5:], ["use map(", "not dict", "least_gap_ms"], strict=True):
        assert result["failed"]
        assert words in result["msg"]
