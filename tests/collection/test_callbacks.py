# SPDX-License-Identifier: Apache-2.0
"""The callback address, set and read by a real ansible-playbook."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from tiw_automation.core import TiwClient
from tiw_automation.simulator import Simulator

Play = Callable[..., Any]
OURS = "https://hooks.example.com/tiw"
THEIRS = "https://user:their-password@others.example.com/events?token=their-token"
KEY = "callback-key-callback-key"
OTHER_KEY = "another-callback-key"


def callback(**options: Any) -> dict[str, Any]:
    return {"tiw.automation.online_record_callback": options}


INFO: dict[str, Any] = {"tiw.automation.online_record_callback_info": {}}


def is_set(simulator: Simulator) -> tuple[str | None, str | None]:
    with TiwClient(**simulator.settings()) as client:
        found = client.describe_online_record_callback()
    return found.url, found.key


def nothing(simulator: Simulator) -> None:
    """No address and no key are set."""


def theirs(simulator: Simulator) -> None:
    """Another user has set an address and a key."""
    simulator.set_callback(THEIRS, "their-callback-key")


@pytest.mark.tasks(
    INFO,
    callback(url=OURS, key=KEY),
    callback(url=OURS, key=KEY),
    INFO,
    callback(url=OURS, key=OTHER_KEY, update_key="on_create"),
    callback(url=OURS, key=OTHER_KEY, update_key="never"),
    callback(url=OURS),
    callback(url=OURS, key=OTHER_KEY),
    callback(url=f"{OURS}?token=our-token"),
    callback(url=f"{OURS}?token=our-token"),
    callback(state="absent", url=OURS),
    callback(state="absent", url=OURS),
    callback(url=OURS, key=KEY, update_key="on_create"),
    callback(state="absent", force=True),
    INFO,
    prepare=nothing,
)
def test_set_change_and_remove(played: Any, simulator: Simulator) -> None:
    results = played.results
    assert not [result["msg"] for result in results if result.get("failed")], played.output
    changed = [result["changed"] for result in results]
    assert changed == [
        *(False, True, False, False),
        *(False, False, False, True, True, False),
        *(True, False, True, True, False),
    ]
    app = simulator.sdk_app_id
    absent = {"sdk_app_id": app, "url": None, "key_is_set": False}
    ours = {"sdk_app_id": app, "url": OURS, "key_is_set": True}
    assert results[0]["callback"] == absent
    assert results[1]["previous"] == absent
    assert results[1]["callback"] == ours
    assert results[3]["callback"] == ours
    assert results[-1]["callback"] == absent
    assert is_set(simulator) == (None, None)


@pytest.mark.tasks(
    callback(url=OURS, key=KEY),
    callback(state="absent"),
    callback(state="absent", url=OURS),
    INFO,
    callback(url=OURS, key=KEY, force=True),
    callback(state="absent", url=OURS, force=True),
    prepare=theirs,
    diff=True,
)
def test_the_address_of_another_user_is_named_and_kept(played: Any, simulator: Simulator) -> None:
    refused, not_removed, left, found, taken, gone = played.results
    for result in (refused, not_removed):
        assert result["failed"]
        assert result["code"] == "CallbackTaken"
        assert "https://others.example.com/events" in result["msg"]
        assert "Set force" in result["hint"]
    assert left["changed"] is False
    warning = "https://others.example.com/events. They were left unchanged."
    assert warning in " ".join(played.output.split())
    assert found["callback"]["url"] == "https://others.example.com/events"
    assert found["callback"]["key_is_set"] is True
    for secret in ("their-password", "their-token", "their-callback-key", KEY):
        assert secret not in played.output
    assert taken["changed"] is True
    assert gone["changed"] is True
    # Address and key were set and removed; the refused tasks wrote nothing.
    assert simulator.writes == 4


def ours(simulator: Simulator) -> None:
    simulator.set_callback(f"{OURS}?token=the-first-token", OTHER_KEY)


@pytest.mark.tasks(
    callback(url=f"{OURS}?token=the-second-token", key=KEY),
    callback(state="absent", url=OURS),
    callback(url="ftp://hooks.example.com"),
    callback(url=OURS, key="k" * 65),
    callback(url=OURS, key=""),
    callback(url=""),
    callback(),
    prepare=ours,
    check_mode=True,
    diff=True,
)
def test_check_and_diff_write_nothing_and_show_no_secret(played: Any, simulator: Simulator) -> None:
    results = played.results
    assert [bool(result.get("failed")) for result in results] == [False] * 2 + [True] * 5
    assert results[0]["changed"] is True
    assert results[0]["diff"] == {
        "before": {"url": OURS, "key": "set"},
        "after": {"url": f"{OURS} (with another query)", "key": "a new one"},
    }
    assert results[1]["diff"]["after"] == {"url": None, "key": "none"}
    words = ["malformed", "at most 64", "key is empty", "url is empty", "url"]
    for result, word in zip(results[2:], words, strict=True):
        assert word in result["msg"]
    assert simulator.writes == 0
    for secret in ("the-first-token", "the-second-token", KEY, OTHER_KEY):
        assert secret not in played.output


def test_the_next_run_repairs_a_fault_between_the_two_settings(
    tiw_simulator: Simulator, play: Play
) -> None:
    fault = {"action": "SetOnlineRecordCallback", "name": "outage"}
    tiw_simulator.fault = fault
    (broken,) = play(callback(url=OURS, key=KEY, timeout=1)).results
    assert broken["failed"]
    assert broken["changed"] is True
    # The key goes first: no event is ever posted unsigned.
    assert is_set(tiw_simulator) == (None, KEY)
    tiw_simulator.clear_faults()
    (mended,) = play(callback(url=OURS, key=KEY)).results
    assert mended["changed"] is True
    assert is_set(tiw_simulator) == (OURS, KEY)


GENERATED: dict[str, Any] = {"url": OURS, "generate_key": True}


@pytest.mark.tasks(
    callback(**GENERATED),
    callback(**GENERATED),
    callback(**GENERATED, rotate_key=True),
    callback(**GENERATED),
    callback(url=OURS),
    prepare=nothing,
    diff=True,
)
def test_a_key_is_generated_once_and_again_with_rotate_key(
    played: Any, simulator: Simulator
) -> None:
    first, same, rotated, kept, plain = played.results
    assert [result["changed"] for result in played.results] == [True, False, True, False, False]
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", first["key"])
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", rotated["key"])
    assert first["key"] != rotated["key"]
    assert same["key"] is None
    assert kept["key"] is None
    assert "key" not in plain
    assert rotated["diff"]["after"]["key"] == "a new one"
    assert is_set(simulator) == (OURS, rotated["key"])


TAKE = callback(**GENERATED, force=True)


@pytest.mark.tasks({**TAKE, "check_mode": True}, INFO, TAKE, prepare=theirs)
def test_a_key_is_generated_where_an_address_is_taken_over_and_not_in_check_mode(
    played: Any, simulator: Simulator
) -> None:
    checked, still_theirs, taken = played.results
    assert checked["changed"] is True
    assert checked["callback"]["key_is_set"] is True
    assert checked["key"] is None
    assert still_theirs["callback"]["url"] == "https://others.example.com/events"
    assert simulator.writes == 2
    assert is_set(simulator) == (OURS, taken["key"])
    assert taken["key"] != "their-callback-key"


def test_a_generated_key_is_returned_by_a_task_that_fails(
    tiw_simulator: Simulator, play: Play
) -> None:
    tiw_simulator.fault = {"action": "SetOnlineRecordCallback", "name": "outage"}
    (broken,) = play(callback(url=OURS, generate_key=True, timeout=1)).results
    assert broken["failed"]
    assert is_set(tiw_simulator) == (None, broken["key"])
    tiw_simulator.clear_faults()
    (mended,) = play(callback(url=OURS, generate_key=True)).results
    assert mended["key"] is None
    assert is_set(tiw_simulator) == (OURS, broken["key"])


def weak(simulator: Simulator) -> None:
    simulator.set_callback("http://hooks.example.com/tiw", "weak-key")


@pytest.mark.tasks(
    callback(url=OURS, key="Z"),
    callback(url=OURS, key="k" * 15),
    callback(url=OURS, key=KEY, generate_key=True),
    callback(url=OURS, rotate_key=True),
    callback(url="http://hooks.example.com/tiw"),
    prepare=weak,
)
def test_weak_keys_are_refused_and_one_that_is_set_is_a_warning(
    played: Any, simulator: Simulator
) -> None:
    *refused, left = played.results
    words = ["at least 16", "at least 16", "mutually exclusive", "without generate_key"]
    for result, word in zip(refused, words, strict=True):
        assert result["failed"]
        assert word in result["msg"]
    assert simulator.writes == 0
    assert left["changed"] is False
    output = " ".join(played.output.split())
    assert "plain http" in output
    assert "has 8 characters" in output
    assert "weak-key" not in played.output
