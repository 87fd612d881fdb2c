# SPDX-License-Identifier: Apache-2.0
"""Tencent's answers with anything at all in every field."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fuzzing import examples
from hypothesis import given, strategies as st

from tiw_automation.core import (
    TASK_KINDS,
    Acceptance,
    ConfigurationError,
    OnlineRecord,
    Outcome,
    TaskKind,
    TiwError,
    TiwTask,
    Verdict,
    judge,
    tracks_of,
)
from tiw_automation.core.api.error_codes import api_error
from tiw_automation.core.api.running_tasks import read_page
from tiw_automation.core.events.record_events import to_event

APP = 1400000001
TASK = "ghucnligqtgtvk2624mb"

# Lone surrogates too, which JSON holds and UTF-8 does not.
texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=20)
numbers = st.integers() | st.integers(-(10**400), 10**400) | st.floats()
near_numbers = st.from_regex(r"[+-]?[0-9_]{1,25}(\.[0-9]{1,3})?", fullmatch=True)
words = st.sampled_from(
    ["FINISHED", " Finished", "STOPPED", "EXCEPTION", "exception ", "AUTO", "NEW_ONE", ""]
)
urls = st.sampled_from(["http://videos/1.mp4", "http://[::1/", "http://x:y/", "//", "\ud800", "x"])
plain = st.none() | st.booleans() | numbers | near_numbers | words | urls | texts
anything = st.recursive(
    plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=10,
)


def objects(names: list[str], usual: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Any]:
    """Return objects with any of these fields: of the usual form, or anything."""
    fields = {name: usual.get(name, plain) | anything for name in names}
    return st.fixed_dictionaries({}, optional=fields)


def lists_of(rows: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(rows | anything, max_size=4) | rows | anything


video_names = [
    "VideoPlayTime", "VideoSize", "VideoFormat", "VideoDuration", "VideoUrl", "VideoId",
    "VideoType", "UserId", "Width", "Height",
]  # fmt: skip
videos = objects(video_names, {"VideoUrl": urls})
pauses = objects(["VideoTime", "PauseTime", "ResumeTime"], {})
interrupts = objects(["UserId", "Count"], {})
answers = objects(
    [
        "FinishReason", "TaskId", "Status", "RoomId", "GroupId", "RecordUserId", "RecordStartTime",
        "RecordStopTime", "TotalTime", "ExceptionCnt", "OmittedDurations", "VideoInfos",
        "ReplayUrl", "Interrupts", "RequestId", "New",
    ],
    {
        "TaskId": st.sampled_from([TASK, None, ""]),
        "Status": words,
        "FinishReason": words,
        "VideoInfos": lists_of(videos),
        "OmittedDurations": lists_of(pauses),
        "Interrupts": lists_of(interrupts),
    },
)  # fmt: skip
acceptances = st.builds(
    Acceptance,
    st.sampled_from([None, (), ("AUTO",), ("EXCEPTION", "AUTO")]),
    require_videos=st.booleans(),
)


def encoded(data: object) -> Any:
    """Return the data as another process reads it."""
    return json.loads(json.dumps(data, ensure_ascii=False, allow_nan=False).encode())


def attempt(read: Callable[[], Any]) -> Any:
    """Return the result of ``read``, or its TiwError, which must be printable."""
    try:
        return read()
    except TiwError as error:
        found = error
    assert str(found).isprintable()
    encoded(found.to_dict())
    return found


@examples()
@given(answers | anything, acceptances)
def test_an_answer_is_a_record_or_an_error(answer: Any, acceptance: Acceptance) -> None:
    read = attempt(lambda: OnlineRecord.from_response(answer, sdk_app_id=APP, task_id=TASK))
    outcome = judge(APP, TASK, read, acceptance)
    assert outcome.message.isprintable()
    data = outcome.to_dict()
    assert encoded(data) == data
    assert pickle.loads(pickle.dumps(outcome)).to_dict() == data
    assert asdict(outcome)["task_id"] == TASK
    if isinstance(read, OnlineRecord):
        assert OnlineRecord.from_dict(data["record"]) == read
        encoded([track.to_dict() for track in tracks_of(read)])
    if outcome.is_final:
        encoded(to_event(outcome))


task_answers = objects(
    [
        "TaskId", "TaskID", "Status", "Progress", "FinishReason", "Pages", "ResultUrl",
        "ThumbnailUrl", "ThumbnailResolution", "IsOK", "Slides", "Backup", "PushStartTime",
        "CreateTime", "FinishTime", "FinishedTime", "Result", "VideoInfoList", "RequestId", "New",
    ],
    {
        "TaskId": st.sampled_from([TASK, None, ""]),
        "TaskID": st.sampled_from([TASK, None, ""]),
        "Status": words,
        "FinishReason": words,
        "ResultUrl": st.sampled_from(["https://h/x/", "https://h/x/index.html", ""]),
        "Pages": st.integers(-1, 20_000),
        "Backup": st.sampled_from(['{"TaskId": "b"}', "{", "[" * 5000, ""]),
        "Result": objects(["ErrorCode", "ErrorMessage", "Total", "Snapshots"], {}),
        "VideoInfoList": lists_of(videos),
    },
)  # fmt: skip
others = st.sampled_from([kind for kind in TASK_KINDS.values() if kind.name != "online_record"])


@examples()
@given(others, task_answers | anything, acceptances)
def test_an_answer_is_a_task_or_an_error(
    kind: TaskKind, answer: Any, acceptance: Acceptance
) -> None:
    read = attempt(lambda: kind.read(answer, sdk_app_id=APP, task_id=TASK))
    outcome = judge(APP, TASK, read, acceptance, kind.rules)
    assert outcome.message.isprintable()
    data = outcome.to_dict()
    assert encoded(data) == data
    assert pickle.loads(pickle.dumps(outcome)).to_dict() == data
    if isinstance(read, TiwTask):
        assert TiwTask.from_dict(data["task"]).to_dict() == data["task"]
        assert all(isinstance(url, str) for url in read.urls + read.thumbnail_urls)
    if outcome.verdict is Verdict.UNKNOWN:
        assert outcome.error is not None
        assert outcome.error.retryable
    if outcome.is_final:
        assert isinstance(read, TiwTask)
        assert read.status in kind.states[-1]


@examples()
@given(answers, acceptances)
def test_a_verdict_follows_from_the_answer(answer: dict[str, Any], acceptance: Acceptance) -> None:
    read = attempt(lambda: OnlineRecord.from_response(answer, sdk_app_id=APP, task_id=TASK))
    outcome = judge(APP, TASK, read, acceptance)
    status, reason = answer.get("Status"), answer.get("FinishReason")
    if outcome.verdict is Verdict.UNKNOWN:
        assert outcome.error is not None
        assert outcome.error.retryable
    if outcome.is_final:
        assert isinstance(status, str)
        assert status.strip().upper() == "FINISHED"
        assert reason is None or isinstance(reason, str)
    if outcome.verdict is Verdict.FINISHED and acceptance.accept_finish_reasons is None:
        assert not isinstance(reason, str) or reason.strip().upper() != "EXCEPTION"
    if outcome.verdict is Verdict.FINISHED and acceptance.require_videos:
        assert isinstance(read, OnlineRecord)
        assert read.video_urls


@examples()
@given(answers)
def test_an_odd_field_never_loses_a_url(answer: dict[str, Any]) -> None:
    url = "http://videos/good.mp4"
    rows = answer.get("VideoInfos")
    known = {"Status": "finished", "FinishReason": "AUTO", "TaskId": TASK}
    mine = [*(rows if isinstance(rows, list) else [rows]), {"VideoUrl": url, "Width": rows}]
    read = OnlineRecord.from_response(
        {**answer, **known, "VideoInfos": mine}, sdk_app_id=APP, task_id=TASK
    )
    outcome = judge(APP, TASK, read, Acceptance())
    assert outcome.verdict is Verdict.FINISHED
    assert read.video_urls[-1] == url


@examples()
@given(anything | objects(["task_id", "sdk_app_id", "status", "videos", "interrupts"], {}))
def test_stored_data_is_a_record_or_an_error(data: Any) -> None:
    read = attempt(lambda: OnlineRecord.from_dict(data))
    if isinstance(read, OnlineRecord):
        shown = read.to_dict()
        assert encoded(shown) == shown
        assert OnlineRecord.from_dict(shown) == read
        encoded([track.to_dict() for track in tracks_of(read)])


task_names = [
    "SdkAppID", "TaskID", "TaskType", "Status", "RoomID", "CreateTime", "CancelTime", "Progress",
    "FileURL",
]  # fmt: skip


@examples()
@given(objects(["Total", "Tasks"], {"Tasks": lists_of(objects(task_names, {}))}) | anything)
def test_a_page_of_tasks_is_a_list_or_an_error(answer: Any) -> None:
    found = attempt(lambda: read_page(answer, sdk_app_id=APP, task_type="OnlineRecord"))
    if not isinstance(found, TiwError):
        total, tasks = found
        assert total is None or isinstance(total, int)
        encoded([task.to_dict() for task in tasks])


@examples()
@given(st.lists(objects(task_names, {}) | anything, max_size=4))
def test_an_odd_row_never_loses_another_row(rows: list[Any]) -> None:
    good = {"TaskID": "good", "RoomID": 7}
    _, tasks = read_page({"Tasks": [*rows, good]}, sdk_app_id=APP, task_type="OnlineRecord")
    assert (tasks[-1].task_id, tasks[-1].room_id) == ("good", 7)


@examples()
@given(texts, texts, st.none() | texts)
def test_an_error_of_the_api_can_be_shown(code: str, message: str, request_id: str | None) -> None:
    error = api_error(code, message, request_id=request_id)
    assert str(error).isprintable()
    encoded(error.to_dict())
    outcome = judge(APP, TASK, error, Acceptance())
    assert pickle.loads(pickle.dumps(outcome)).to_dict() == outcome.to_dict()


@examples()
@given(anything, st.booleans())
def test_reasons_are_an_acceptance_or_an_error(reasons: Any, require_videos: bool) -> None:
    made = attempt(lambda: Acceptance.of(reasons, require_videos))
    assert isinstance(made, (Acceptance, ConfigurationError))
    if isinstance(made, Acceptance):
        assert made == Acceptance.of(made.accept_finish_reasons, require_videos)
        assert isinstance(hash(made), int)


@examples()
@given(anything)
def test_a_least_gap_is_a_number_or_an_error(least: Any) -> None:
    found = attempt(lambda: tracks_of(OnlineRecord(APP, TASK), least_gap_ms=least))
    assert found == [] or isinstance(found, ConfigurationError)


def test_an_empty_outcome_can_be_shown() -> None:
    encoded(Outcome(APP, TASK, Verdict.PENDING).to_dict())
