# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tiw_automation.core import BadAnswer, TiwClient
from tiw_automation.core.api.running_tasks import (
    PAGE_SIZE,
    RunningListUnavailable,
    check_lists_running,
    read_page,
)

ROW = {"TaskID": "good", "TaskType": "OnlineRecord", "Status": "RECORDING", "RoomID": 7}


def page(**changes: Any) -> tuple[int | None, list[str]]:
    answer = {"Total": 2, "Tasks": [ROW], **changes}
    total, tasks = read_page(answer, sdk_app_id=1, task_type="OnlineRecord")
    return total, [task.task_id for task in tasks]


@pytest.mark.parametrize(
    ("row", "attribute", "read"),
    [
        ({"RoomID": "7"}, "room_id", 7),
        ({"RoomID": 7.0}, "room_id", 7),
        ({"RoomID": "seven"}, "room_id", None),
        ({"RoomID": {}}, "room_id", None),
        ({"TaskID": 77}, "task_id", "77"),
        ({"Status": " recording"}, "status", "RECORDING"),
        ({"Status": 3}, "status", None),
        ({"Progress": "12"}, "progress", 12),
        ({"FileURL": 0}, "file_url", None),
        ({"SdkAppID": "5"}, "sdk_app_id", 5),
        ({"SdkAppID": []}, "sdk_app_id", 1),
        ({"CreateTime": None}, "create_time", None),
    ],
)
def test_an_odd_field_never_loses_another(
    row: dict[str, Any], attribute: str, read: object
) -> None:
    answer = {"Tasks": [{**ROW, **row}, {**ROW, "TaskID": "other"}]}
    _, tasks = read_page(answer, sdk_app_id=1, task_type="OnlineRecord")
    assert getattr(tasks[0], attribute) == read
    assert [task.task_id for task in tasks[1:]] == ["other"]


@pytest.mark.parametrize("odd", [None, 3, "row", [ROW], {}, {"TaskID": ["good"]}, {"TaskID": " "}])
def test_an_odd_row_never_loses_another(odd: object) -> None:
    assert page(Tasks=[odd, ROW, odd, {**ROW, "TaskID": "other"}]) == (2, ["good", "other"])


@pytest.mark.parametrize(
    ("tasks", "ids"), [(None, []), ([], []), ({}, []), (ROW, ["good"]), ([None], [])]
)
def test_the_forms_of_a_list(tasks: object, ids: list[str]) -> None:
    assert page(Tasks=tasks) == (2, ids)


@pytest.mark.parametrize("tasks", ["none", 0, True])
def test_a_value_that_is_not_a_list_is_not_an_empty_list(tasks: object) -> None:
    with pytest.raises(BadAnswer, match=r"Response\.Tasks") as caught:
        page(Tasks=tasks)
    assert caught.value.retryable


@pytest.mark.parametrize(
    ("total", "read"), [("2", 2), (2.0, 2), (None, None), ("many", None), (True, None)]
)
def test_the_total_in_any_form(total: object, read: int | None) -> None:
    assert page(Total=total) == (read, ["good"])


@pytest.mark.parametrize("total", [None, "many", 10**15])
def test_pages_end_whatever_the_total_is(total: object, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets: list[int] = []

    def answer(action: str, params: Mapping[str, Any]) -> dict[str, Any]:
        offsets.append(params["Offset"])
        first = min(params["Offset"], PAGE_SIZE)
        rows = [{**ROW, "TaskID": f"task-{first + number}"} for number in range(PAGE_SIZE)]
        return {"Total": total, "Tasks": rows}

    with TiwClient(secret_id="id", secret_key="key", sdk_app_id=1) as client:
        monkeypatch.setattr(client, "_repeatable", answer)
        assert len(client.describe_running_tasks()) == 2 * PAGE_SIZE
    assert offsets == [0, PAGE_SIZE, 2 * PAGE_SIZE]


def test_the_collection_of_0_1_asks_with_a_client() -> None:
    with TiwClient(secret_id="id", secret_key="key", site="intl") as client:
        for given in (client.settings.host, client):
            with pytest.raises(RunningListUnavailable, match=client.settings.host):
                check_lists_running(given)  # type: ignore[arg-type]
