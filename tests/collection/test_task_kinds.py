# SPDX-License-Identifier: Apache-2.0
"""Tasks of every kind, by a real ansible-playbook against the simulator."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tiw_automation.core import TASK_KINDS, TaskFailure, TiwClient, TiwTask
from tiw_automation.simulator import Simulator

HERE = Path(__file__).parent
COLLECTION = HERE.parents[1] / "collections/ansible_collections/tiw/automation"
Play = Callable[..., Any]
Command = Callable[..., subprocess.CompletedProcess[str]]

_SPEC = importlib.util.spec_from_file_location("make_task_options", HERE / "make_task_options.py")
assert _SPEC is not None
assert _SPEC.loader is not None
make_task_options = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(make_task_options)

KEY = "user-signature-key-user-signature-key"
SECRETS = {
    "url": "deck-secret-deck-secret-deck-secret",
    "push_user_sig": "push-user-sig-push-user-sig",
    "private_map_key": "private-map-key-private-map-key",
    "user_sig": "im-user-sig-im-user-sig-im-user-sig",
    "callback_url": "callback-secret-callback-secret",
    "backup": "backup-user-sig-backup-user-sig",
}
DECK = f"http://127.0.0.1/algebra.pptx?sign={SECRETS['url']}"
PUSH = {"room_id": 7, "push_user_id": "tic_push_user_7_algebra"}
CHINA = {"region": "ap-guangzhou"}
SOON: dict[str, Any] = {"wait": True, "wait_timeout": 60, "wait_sleep": 0.3}


def task(task_kind: str, **options: Any) -> dict[str, Any]:
    return {"tiw.automation.task": {"task_kind": task_kind, **CHINA, **options}}


def info(task_kind: str, task_ids: Any, **options: Any) -> dict[str, Any]:
    given = {"task_kind": task_kind, "task_ids": task_ids, **CHINA, **options}
    return {"tiw.automation.task_info": given}


def checked(step: dict[str, Any]) -> dict[str, Any]:
    return {**step, "check_mode": True, "diff": True}


# What is written and what the core has


def documented(module: str, part: str) -> dict[str, Any]:
    text = (COLLECTION / f"plugins/modules/{module}.py").read_text()
    found = re.search(rf'^{part} = r"""\n(.*?)"""', text, re.DOTALL | re.MULTILINE)
    assert found is not None
    data: dict[str, Any] = yaml.safe_load(found[1])
    return data


@pytest.mark.parametrize("path", make_task_options.pages(), ids=lambda path: path.parent.name)
def test_the_options_of_the_kinds_are_those_of_the_core(path: Path) -> None:
    assert path.read_text() == make_task_options.pages()[path], (
        "Run tests/collection/make_task_options.py"
    )


def test_a_task_is_documented_as_the_core_returns_it() -> None:
    seen = TiwTask(1, "transcode", "t", result={"pages": 3}).to_dict()
    keys = set(seen) | {"exists", "verdict", "message"}
    contains = documented("task_info", "RETURN")["tasks"]["contains"]
    assert set(contains) == keys
    types = {"int": int, "str": str, "list": list, "dict": dict, "bool": bool}
    for name, value in seen.items():
        assert value is None or isinstance(value, types[contains[name]["type"]]), name
        assert {"description", "sample", "returned"} <= set(contains[name]), name
    assert documented("task", "RETURN")["task"]["contains"] == contains
    (error,) = documented("task_info", "RETURN")["errors"]["sample"].values()
    assert set(error) == set(TaskFailure("").to_dict())


def test_what_is_beside_the_tasks_is_as_for_recordings() -> None:
    found, records = documented("task_info", "RETURN"), documented("online_record_info", "RETURN")
    assert set(found) - {"tasks", "urls"} == set(records) - {"records", "video_urls"}


# In one playbook


def prepare(simulator: Simulator) -> None:
    """Add the tasks of the tests that share a playbook."""
    simulator.set_app(user_sig_key=KEY)
    simulator.add("lesson", timeline=[])
    for kind in ("transcode", "ppt_check", "snapshot", "video_generation"):
        simulator.set_task_defaults(kind, queued_s=0.2, duration_s=0.5)
        if kind != "snapshot":
            simulator.add_task(kind, task_id=f"runs-{kind}", duration_s=100_000)
    for name in ("runs-whiteboard_push", "to-stop"):
        simulator.add_task(
            "whiteboard_push", task_id=name, RoomId=9, PushUserId=f"tic_push_user_9_{name}"
        )
    simulator.add_task("transcode", task_id="done", age=100, ThumbnailResolution="200x200")
    simulator.add_task(
        "transcode", task_id="broken", age=100, failure="FailedOperation.FileDownloadFail"
    )
    simulator.add_task("ppt_check", task_id="with-errors", age=100, IsOK=False)


CREATED: dict[str, dict[str, Any]] = {
    "transcode": {"url": DECK, "thumbnail_resolution": "200x200"},
    "ppt_check": {"url": DECK, "auto_handle_unsupported_element": "yes"},
    "snapshot": {
        "room_id": "7",
        "whiteboard": {"width": 640},
        "callback_url": f"http://127.0.0.1/?token={SECRETS['callback_url']}",
    },
    "video_generation": {"online_record_task_id": "lesson", "concat": {"enabled": True}},
}


@pytest.mark.tasks(*(task(kind, options=given, **SOON) for kind, given in CREATED.items()))
def test_a_task_of_each_kind_is_created_and_waited_for(played: Any) -> None:
    for kind, found in zip(CREATED, played.results, strict=True):
        assert not found.get("failed"), found["msg"]
        assert found["changed"] is True
        assert found["previous_status"] is None
        shown = found["task"]
        assert (shown["task_kind"], shown["task_id"]) == (kind, found["task_id"])
        assert (shown["status"], shown["verdict"]) == ("FINISHED", "finished")
        assert "request" not in found
    deck, check, snapshot, video = (found["task"] for found in played.results)
    assert deck["urls"][0].endswith("/index.html")
    assert len(deck["thumbnail_urls"]) == deck["result"]["pages"] == 3
    assert (check["result"]["is_ok"], check["urls"]) == (True, [])
    assert len(snapshot["urls"]) == 3
    assert video["urls"]


START = task("whiteboard_push", options={**PUSH, "auto_record": False}, user_sig_key=KEY, **SOON)
STOP = task("whiteboard_push", state="stopped", task_id="to-stop", **SOON)


@pytest.mark.tasks(checked(START), START, START, checked(START), checked(STOP), STOP, STOP)
def test_a_push_is_started_once_and_stopped(played: Any, simulator: Simulator) -> None:
    assert not [result["msg"] for result in played.results if result.get("failed")], played.output
    predicted, started, again, found, to_stop, stopped, ended = played.results
    changed = [result["changed"] for result in played.results]
    assert changed == [True, True, False, False, True, True, False]
    assert predicted["task_id"].startswith("check-mode:whiteboard_push-")
    assert predicted["task"]["status"] == "PUSHING"
    assert predicted["request"]["action"] == "StartWhiteboardPush"
    assert predicted["request"]["params"]["PushUserId"] == PUSH["push_user_id"]
    assert predicted["diff"]["after"]["request"] == predicted["request"]
    assert started["task"]["status"] == "PUSHING"
    assert {result["task_id"] for result in (again, found)} == {started["task_id"]}
    assert again["previous_status"] == "PUSHING"
    assert to_stop["diff"]["after"] == {"task_id": "to-stop", "status": "STOPPED"}
    assert (stopped["previous_status"], stopped["task"]["status"]) == ("PUSHING", "STOPPED")
    assert (stopped["task"]["verdict"], ended["previous_status"]) == ("finished", "STOPPED")
    assert simulator.requests["StartWhiteboardPush"] == 1


RUNNING = [f"runs-{kind}" for kind in TASK_KINDS if kind not in ("online_record", "snapshot")]


@pytest.mark.tasks(
    info("transcode", ["done", "broken", "absent", "runs-transcode", "done"]),
    info("transcode", "done, broken", wait=True, fail_on=["failed"]),
    info("ppt_check", "with-errors", wait=True),
    info("whiteboard_push", "runs-whiteboard_push", wait_for=["PREPARED", "PUSHING"], wait=True),
    info("online_record", "lesson"),
)
def test_what_is_known_of_tasks(played: Any) -> None:
    many, picky, check, push, lesson = played.results
    assert not many.get("failed"), many["msg"]
    assert [one["verdict"] for one in many["tasks"]] == ["finished", "failed", "missing", "pending"]
    assert [one["exists"] for one in many["tasks"]] == [True, True, False, True]
    assert many["failed_ids"] == ["broken"]
    assert many["missing"] == ["absent"]
    assert many["pending"] == ["runs-transcode"]
    assert many["urls"] == many["tasks"][0]["urls"]
    assert many["polls"] == 4
    assert many["all_finished"] is False
    assert many["errors"]["broken"]["code"] == "FailedOperation.FileDownloadFail"
    assert picky["failed"]
    assert picky["msg"].startswith("1 of 2 tasks: broken (failed): ")
    assert picky["code"] == "FailedOperation.FileDownloadFail"
    assert check["all_finished"] is True
    assert check["tasks"][0]["result"]["is_ok"] is False
    assert not push.get("failed"), push["msg"]
    assert push["tasks"][0]["status"] == "PUSHING"
    assert push["unreached"] == []
    record = lesson["tasks"][0]
    assert set(record) == {*TiwTask(1, "a", "b").to_dict(), "exists", "verdict", "message"}
    assert record["urls"] == lesson["urls"] == record["result"]["video_urls"]


@pytest.mark.tasks(
    {
        "name": "Slow",
        **info(
            "transcode",
            ["done", "runs-transcode"],
            wait=True,
            wait_timeout=8,
            wait_sleep=0.5,
            timeout=1,
            progress_interval=2,
        ),
    }
)
def test_a_long_wait_shows_its_progress(played: Any) -> None:
    (late,) = played.results
    lines = [line for line in played.output.splitlines() if line.startswith("Slow: ")]
    assert lines
    assert "1 of 2 tasks done after" in lines[0]
    assert "waiting for runs-transcode" in lines[0]
    assert late["failed"]
    assert late["unreached"] == ["runs-transcode"]
    assert "Transcode runs-transcode was not FINISHED in time" in late["msg"]
    assert late["code"] == "WaitTimeout"
    assert late["urls"][0].endswith("/index.html")


# The site of an endpoint is not known, so these are for Tencent's own. Nothing is sent there.
ABROAD = {
    "site": "intl",
    "region": "ap-singapore",
    "secret_id": "AKIDother",
    "secret_key": "other" * 6,
}
BAD: list[tuple[dict[str, Any], str]] = [
    (
        task("transcod", options={}),
        "transcode, ppt_check, snapshot, video_generation, got: transcod",
    ),
    (task("transcod", options={}), "Did you mean transcode?"),
    (info("online_records", ["a"]), "Did you mean online_record?"),
    (task("snapshot", options={"url": DECK}), "It is an option of transcode and ppt_check, not of"),
    (task("transcode", options={"uri": DECK}), "options.uri"),
    (task("transcode", options={}), "url is missing"),
    (task("transcode", options={"url": "algebra.pptx"}), "url: the given value is malformed"),
    (task("transcode"), "options"),
    (
        task("whiteboard_push", options={**PUSH, "group_id": "7"}, user_sig_key=KEY, **ABROAD),
        "Only the Chinese site has this option",
    ),
    (
        task("transcode", options={"url": DECK, "excel_param": {"paper_size": 1}}, **ABROAD),
        "Only the Chinese site has this option",
    ),
    (task("ppt_check", options={"url": DECK}, **ABROAD), "international site has no ppt_check"),
    (task("whiteboard_push", options=PUSH), "Exactly one of push_user_sig and user_sig_key"),
    (task("transcode", options={"url": DECK}, user_sig_key=KEY), "no user_sig_key"),
    (task("transcode", state="stopped", task_id="a"), "A transcode cannot be stopped"),
    (task("whiteboard_push", state="stopped"), "task_id"),
    (task("whiteboard_push", state="stopped", task_id=7), "must be a string"),
    (
        task("whiteboard_push", state="stopped", task_id="a", options=PUSH),
        "mutually exclusive",
    ),
    (
        task("transcode", options={"url": DECK}, wait=True, wait_for=["PUSHING"]),
        "wait_for: PUSHING is not a state of transcode",
    ),
    (info("snapshot", ["a"], wait_for=["FINISH"]), "Did you mean FINISHED?"),
    (info("transcode", []), "task id"),
    (info("transcode", ["check-mode:a"]), "is not a transcode: check mode returned it"),
]


@pytest.mark.tasks(
    *(step for step, _words in BAD), info("transcode", "runs-whiteboard_push", fail_on=["missing"])
)
def test_bad_input(played: Any, simulator: Simulator) -> None:
    *refused, missing = played.results
    for found, (step, words) in zip(refused, BAD, strict=True):
        assert found["failed"], step
        assert words in found["msg"], step
    assert missing["failed"]
    assert "of another kind of task" in missing["hint"]
    assert simulator.requests_by_task.get("a") is None


PUSH_SECRETS = {
    "push_user_sig": SECRETS["push_user_sig"],
    "private_map_key": SECRETS["private_map_key"],
    "im_auth_param": {"sdk_app_id": 5, "user_id": "im", "user_sig": SECRETS["user_sig"]},
    "backup": {"push_user_id": "tic_push_user_7_b", "push_user_sig": SECRETS["backup"]},
}


@pytest.mark.tasks(
    *(checked(task(kind, options=given, wait=True)) for kind, given in CREATED.items()),
    checked(task("whiteboard_push", options={"room_id": 8, **PUSH_SECRETS})),
    checked(task("whiteboard_push", options={"room_id": 8}, user_sig_key=KEY)),
    {**info("transcode", ["check-mode:a", "check-mode:b"], wait=True), "check_mode": True},
    {**info("snapshot", ["check-mode:a"]), "check_mode": True},
)
def test_check_mode_shows_what_it_would_send_and_no_secret(
    played: Any, simulator: Simulator
) -> None:
    assert not [result["msg"] for result in played.results if result.get("failed")], played.output
    *created, given, made, waited, asked = played.results
    for kind, found in zip(CREATED, created, strict=True):
        assert found["changed"] is True
        assert found["task_id"].startswith(f"check-mode:{kind}-")
        assert (found["task"]["status"], found["task"]["urls"]) == ("FINISHED", [])
        assert found["request"]["action"] == TASK_KINDS[kind].create_action
    assert created[0]["request"]["params"]["ThumbnailResolution"] == "200x200"
    assert created[2]["request"]["params"]["RoomId"] == 7
    hidden = "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"
    assert created[0]["request"]["params"]["Url"] == hidden
    sent = given["request"]["params"]
    assert sent["PushUserSig"] == sent["PrivateMapKey"] == hidden
    assert sent["IMAuthParam"]["UserSig"] == sent["Backup"]["PushUserSig"] == hidden
    assert made["request"]["params"]["PushUserSig"] == hidden
    assert waited["all_finished"] is True
    assert asked["tasks"][0]["status"] == "RUNNING"
    text = played.output + json.dumps(played.results)
    for name, secret in {**SECRETS, "key": KEY}.items():
        assert secret not in text, name


# In a playbook each


def test_a_lost_answer_is_searched_for_or_reported(tiw_simulator: Simulator, play: Play) -> None:
    tiw_simulator.set_app(user_sig_key=KEY)
    actions = {kind: TASK_KINDS[kind].create_action for kind in ("transcode", "snapshot")}
    for action in (*actions.values(), "StartWhiteboardPush"):
        tiw_simulator.inject("answer_lost", action=action, times=1)
    played = play(
        task("transcode", options=CREATED["transcode"]),
        task("whiteboard_push", options=PUSH, user_sig_key=KEY),
        task("snapshot", options=CREATED["snapshot"]),
        task("whiteboard_push", options=PUSH, user_sig_key=KEY, **{"region": "ap-singapore"}),
        arguments=("-vvvv",),
    )
    deck, push, lost, abroad = played.results
    assert not deck.get("failed"), deck["msg"]
    assert not push.get("failed"), push["msg"]
    assert {deck["task_id"], push["task_id"]} <= {one["task_id"] for one in tiw_simulator.tasks}
    for found in (lost, abroad):
        assert found["failed"]
        assert found["code"] == "StartUncertain"
        assert found["task_id"] is None
        assert found["hint"]
    assert len(tiw_simulator.tasks) == 3
    for secret in (*SECRETS.values(), KEY):
        assert secret not in played.output


def test_the_playbook_checks_and_transcodes_a_folder_of_slide_decks(
    tiw_simulator: Simulator, command: Command, ansible_environment: dict[str, str], tmp_path: Path
) -> None:
    ansible_environment["TENCENTCLOUD_REGION"] = "ap-guangzhou"
    tiw_simulator.set_task_defaults("ppt_check", queued_s=0.1, duration_s=0.3, IsOK=False)
    tiw_simulator.set_task_defaults("transcode", queued_s=0.1, duration_s=0.3)
    result = tmp_path / "slides.json"
    variables = {
        "base_url": "http://127.0.0.1:9/slides",
        "files": "history of art.PPT, plan.pdf,plan.pdf",
        "thumbnail_resolution": "200x200",
        "wait_sleep": 0.3,
        "result_file": str(result),
    }

    def run(*arguments: str, rc: int = 0, **more: Any) -> Any:
        given = json.dumps({**variables, **more})
        book = "tiw.automation.transcode_slides"
        done = command("ansible-playbook", book, "-e", given, *arguments)
        assert done.returncode == rc, done.stdout + done.stderr
        return json.loads(result.read_text()), done.stdout

    slides, output = run()
    assert [slide["file"] for slide in slides] == ["history of art.PPT", "plan.pdf"]
    assert [slide["is_ok"] for slide in slides] == [False, None]
    assert [len(slide["urls"]) for slide in slides] == [1, 3]
    assert [len(slide["thumbnails"]) for slide in slides] == [3, 0]
    assert output.count("TASK [Wait for all") == 2
    # The repaired deck is transcoded.
    created = [one["task_id"] for one in tiw_simulator.tasks if one["family"] == "transcode"]
    with TiwClient(**tiw_simulator.settings()) as client:
        titles = [client.describe_task("transcode", name).result["title"] for name in created]
    assert titles[0].endswith("_fixed.pptx")
    assert titles[1:] == ["plan.pdf"]
    tiw_simulator.set_task_defaults("transcode", failure="FailedOperation.FileDownloadFail")
    slides, output = run(repair=False, files=["algebra.pptx", "plan.pdf"], rc=2)
    assert [slide["urls"] for slide in slides] == [[], []]
    assert slides[0]["message"] == "The check found errors, and the deck was not repaired."
    assert "Failed to download the file" in slides[1]["message"]
    assert "These decks were not transcoded: algebra.pptx, plan.pdf" in output
    slides, output = run(base_url="ftp://127.0.0.1", files=["algebra.pptx"], check=False, rc=2)
    assert "url: the given value is malformed" in slides[0]["message"]
