# SPDX-License-Identifier: Apache-2.0
"""What the answers of each kind of task mean: verdicts, results, and what is odd about them."""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import partial
from typing import Any

import pytest

from tiw_automation.core import (
    TASK_KINDS,
    Acceptance,
    ConfigurationError,
    OnlineRecord,
    Outcome,
    RecordFailed,
    TaskFailed,
    TaskFailure,
    TaskNotFound,
    TiwClient,
    TiwError,
    TiwTask,
    judge,
)
from tiw_automation.core.api.error_codes import api_error
from tiw_automation.core.records import DEFAULT_ACCEPTANCE
from tiw_automation.core.records.task import RECORD_RULES
from tiw_automation.core.tasks import find_kind
from tiw_automation.core.tasks.kinds import create_params

APP = 1400000001
BUCKET = "http://tiw-snapshot-1259648581.cos.ap-guangzhou.myqcloud.com/"
PICTURES = [f"{BUCKET}{number}.png" for number in (1, 2)]


def seen(kind: str, **answer: Any) -> TiwTask:
    task = TASK_KINDS[kind].read(answer, sdk_app_id=APP, task_id="t")
    assert isinstance(task, TiwTask)
    return task


def outcome(kind: str, acceptance: Acceptance = DEFAULT_ACCEPTANCE, **answer: Any) -> Outcome:
    return judge(APP, "t", seen(kind, **answer), acceptance, TASK_KINDS[kind].rules)


@pytest.mark.parametrize(
    ("kind", "answer", "verdict"),
    [
        ("transcode", {"Status": "QUEUED"}, "pending"),
        ("transcode", {"Status": "PROCESSING", "Progress": 50}, "pending"),
        ("transcode", {"Status": "FINISHED", "ResultUrl": "https://h/index.html"}, "finished"),
        ("transcode", {"Status": "EXCEPTION"}, "failed"),
        ("transcode", {"Status": "FINISHED", "ResultUrl": ""}, "failed"),
        ("transcode", {"Status": "FINISHED", "ResultUrl": 5}, "unknown"),
        ("transcode", {"Status": "FINISHED", "ResultUrl": "https://h/", "Pages": -1}, "unknown"),
        ("transcode", {"Status": "FINISHED", "ResultUrl": "https://h/", "Pages": 1e9}, "unknown"),
        ("transcode", {}, "unknown"),
        ("transcode", {"Status": "SOMETHING_NEW"}, "pending"),
        # Slides with errors are a result.
        ("ppt_check", {"Status": "FINISHED", "IsOK": False, "ResultUrl": None}, "finished"),
        ("ppt_check", {"Status": "FINISHED", "IsOK": True}, "finished"),
        ("whiteboard_push", {"Status": "PUSHING"}, "pending"),
        ("whiteboard_push", {"Status": "STOPPED", "FinishReason": "USER_CALL"}, "finished"),
        ("whiteboard_push", {"Status": "STOPPED", "FinishReason": "EXCEPTION"}, "failed"),
        ("whiteboard_push", {"Status": "STOPPED", "FinishReason": ["?"]}, "unknown"),
        ("video_generation", {"Status": "PROCESSING"}, "pending"),
        ("video_generation", {"Status": "FINISHED", "VideoInfoList": []}, "failed"),
        ("video_generation", {"Status": "FINISHED", "VideoInfoList": 3}, "unknown"),
        (
            "video_generation",
            {"Status": "FINISHED", "VideoInfoList": [{"VideoUrl": "https://h/v.mp4"}]},
            "finished",
        ),
        ("snapshot", {"Status": "Running"}, "pending"),
        ("snapshot", {"Status": None, "Result": None}, "unknown"),
        ("snapshot", {"Status": "Finished", "Result": None}, "unknown"),
        ("snapshot", {"Status": "Finished", "Result": {"ErrorCode": "OK"}}, "finished"),
        (
            "snapshot",
            {"Status": "Finished", "Result": {"ErrorCode": "Broken", "ErrorMessage": "no board"}},
            "failed",
        ),
        (
            "snapshot",
            {"Status": "Finished", "Result": {"ErrorCode": "OK", "Snapshots": {"a": 1}}},
            "unknown",
        ),
    ],
)
def test_what_an_answer_means(kind: str, answer: dict[str, Any], verdict: str) -> None:
    assert outcome(kind, **answer).verdict == verdict


DECK = ("transcode", "ppt_check")
MEANINGS = [
    *((kind, "FailedOperation.FileOpenFail", "failed") for kind in DECK),
    *((kind, "FailedOperation.SomethingNew", "failed") for kind in DECK),
    *((kind, "LimitExceeded.TranscodePagesLimitation", "failed") for kind in DECK),
    *((kind, "InvalidParameter.FileFormatUnsupported", "failed") for kind in DECK),
    *((kind, "InvalidParameter.UrlFormatError", "failed") for kind in DECK),
    *((kind, "InvalidParameter.TaskNotFound", "missing") for kind in TASK_KINDS),
    *((kind, "InvalidParameter.SdkAppIdNotFound", "unknown") for kind in TASK_KINDS),
    *((kind, "InvalidParameter.BodyParameterTypeUnmatched", "unknown") for kind in TASK_KINDS),
    *((kind, "InvalidParameter", "unknown") for kind in TASK_KINDS),
    *((kind, "LimitExceeded", "unknown") for kind in TASK_KINDS),
    *((kind, "RequestLimitExceeded", "unknown") for kind in TASK_KINDS),
    *((kind, "InternalError", "unknown") for kind in TASK_KINDS),
    ("whiteboard_push", "FailedOperation.WhiteboardPush", "failed"),
    ("whiteboard_push", "FailedOperation", "unknown"),
    ("video_generation", "FailedOperation.Record", "failed"),
    ("online_record", "FailedOperation.Record", "failed"),
    ("online_record", "FailedOperation.FileOpenFail", "unknown"),
    ("snapshot", "FailedOperation.FileOpenFail", "unknown"),
]


@pytest.mark.parametrize(("kind", "code", "verdict"), MEANINGS)
def test_what_an_error_means(kind: str, code: str, verdict: str) -> None:
    error = TASK_KINDS[kind].error_of(api_error(code, "It is so.", request_id="r"), "t")
    found = judge(APP, "t", error, DEFAULT_ACCEPTANCE, TASK_KINDS[kind].rules)
    assert found.verdict == verdict
    assert found.task_kind == kind
    assert error.code == code
    assert error.request_id == "r"


@pytest.mark.parametrize(
    ("kind", "task_id", "hint"),
    [
        ("transcode", "g6ls63ps49vteb8bk1mb", "not have been started"),
        ("transcode", "f2e1728c-6e87-4481-abe1-cde8542a5a10", "does not look like"),
        ("snapshot", "f2e1728c-6e87-4481-abe1-cde8542a5a10", "not have been started"),
        ("snapshot", "g6ls63ps49vteb8bk1mb", "does not look like"),
        # The simulator's ids, for example: the API does not document a form.
        ("online_record", "algebra", "not have been started"),
    ],
)
def test_an_id_that_was_not_found_may_be_of_another_kind(
    kind: str, task_id: str, hint: str
) -> None:
    error = TASK_KINDS[kind].error_of(TaskNotFound("It does not exist."), task_id)
    assert error.hint is not None
    assert hint in error.hint
    assert "of another kind of task" in error.hint


def test_a_vague_error_of_a_snapshot_may_mean_a_wrong_id() -> None:
    error = TASK_KINDS["snapshot"].error_of(api_error("InvalidParameter", "It is so."), "t")
    assert error.hint is not None
    assert "may be of another kind" in error.hint


def test_a_kind_that_the_site_lacks_is_refused_before_anything_is_sent() -> None:
    client = TiwClient(secret_id="AKID", secret_key="key", sdk_app_id=APP, site="intl")
    for call in (partial(client.describe_task, task_id="t"), client.create_task_params):
        with pytest.raises(ConfigurationError, match="international site has no ppt_check"):
            call("ppt_check")
    assert client.requests_sent == 0


def test_a_static_deck_has_a_url_for_each_page() -> None:
    task = seen("transcode", Status="FINISHED", ResultUrl="https://h/x/", Pages="3")
    assert task.urls == ("https://h/x/1.jpg", "https://h/x/2.jpg", "https://h/x/3.jpg")


@pytest.mark.parametrize(
    ("answer", "thumbnails"),
    [
        ({"ThumbnailUrl": "https://t/", "ThumbnailResolution": "960x540"}, 2),
        ({"ThumbnailUrl": "https://t/", "ThumbnailResolution": ""}, 0),
        ({"ThumbnailUrl": "", "ThumbnailResolution": "960x540"}, 0),
        (
            {
                "ThumbnailUrl": "https://t/",
                "ThumbnailResolution": "960x540",
                "ResultUrl": "https://h/",
            },
            0,
        ),
    ],
)
def test_only_a_dynamic_deck_has_thumbnails(answer: dict[str, Any], thumbnails: int) -> None:
    base = {"Status": "FINISHED", "ResultUrl": "https://h/index.html", "Pages": 2}
    task = seen("transcode", **{**base, **answer})
    assert task.thumbnail_urls == ("https://t/1.jpg", "https://t/2.jpg")[:thumbnails]


def test_the_repaired_deck_of_a_check() -> None:
    task = seen("ppt_check", Status="FINISHED", IsOK=False, ResultUrl="https://h/fixed.ppt")
    assert task.urls == ("https://h/fixed.ppt",)
    assert task.result["is_ok"] is False


@pytest.mark.parametrize(
    ("backup", "read"),
    [
        ('{"TaskId": "b", "RequestId": "r"}', {"task_id": "b", "request_id": "r"}),
        ("", None),
        (None, None),
        ("{broken", "{broken"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_the_backup_of_a_push_is_json_text(backup: str | None, read: object) -> None:
    task = seen("whiteboard_push", Status="STOPPED", Backup=backup)
    assert task.result["backup"] == read


def test_a_created_push_names_its_backup() -> None:
    backup = json.dumps({"TaskId": "second", "RequestId": "r"})
    task = TASK_KINDS["whiteboard_push"].created("first", {"Backup": backup}, APP)
    assert (task.task_id, task.status) == ("first", None)
    assert task.result["backup"]["task_id"] == "second"


def test_the_pictures_of_a_snapshot_and_when_they_expire() -> None:
    result = {"ErrorCode": "OK", "Total": 2, "Snapshots": [*PICTURES, None, 5]}
    task = seen("snapshot", Status="Finished", FinishTime=1000, Result=result)
    assert task.urls == tuple(PICTURES)
    assert task.urls_expire_at == 1000 + 3 * 24 * 3600
    assert task.result["result"]["total"] == 2


def test_a_bucket_of_ones_own_never_expires() -> None:
    result = {"ErrorCode": "OK", "Snapshots": ["https://mine.example/1.png"]}
    task = seen("snapshot", Status="Finished", FinishTime=1000, Result=result)
    assert task.urls_expire_at is None


def test_a_snapshot_names_its_own_failure() -> None:
    failed = outcome(
        "snapshot",
        Status="Finished",
        Result={"ErrorCode": "NoBoard", "ErrorMessage": "nothing to draw\x1b"},
    )
    assert isinstance(failed.error, TaskFailure)
    assert failed.error.code == "NoBoard"
    assert "nothing to draw\\x1b" in failed.error.message
    with pytest.raises(TaskFailed) as caught:
        failed.finished()
    assert not isinstance(caught.value, RecordFailed)


def test_results_may_be_left_out() -> None:
    lenient = Acceptance(require_videos=False)
    assert outcome("transcode", lenient, Status="FINISHED", ResultUrl="").verdict == "finished"
    strict = outcome("transcode", Status="FINISHED", ResultUrl="").error
    assert strict is not None
    assert "require_urls" in str(strict)


def test_a_task_survives_json() -> None:
    task = seen("whiteboard_push", Status="STOPPED", FinishReason="USER_CALL", PushStartTime=5)
    data = json.loads(json.dumps(task.to_dict()))
    back = TiwTask.from_dict(data)
    assert back.to_dict() == data
    assert back.finish_reason == "USER_CALL"
    assert task.active_since == 5


def test_the_outcome_of_a_task_differs_from_that_of_a_recording() -> None:
    found = outcome("transcode", Status="FINISHED", ResultUrl="https://h/index.html")
    assert (found.record, found.task, found.described) == (None, found.task, found.task)
    assert found.to_dict()["task"]["urls"] == ["https://h/index.html"]
    assert found.message == "Transcode t is FINISHED, 1 URL."
    with pytest.raises(TiwError, match="not a recording"):
        found.raise_for_verdict()
    record = judge(APP, "t", OnlineRecord(APP, "t", "PAUSED"), DEFAULT_ACCEPTANCE)
    assert "task" not in record.to_dict()


@pytest.mark.parametrize("given", ["transcod", "Transcode", "", None, 5, ["transcode"]])
def test_an_unknown_kind_names_all(given: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        find_kind(given)
    assert all(name in str(caught.value) for name in TASK_KINDS)
    assert ("Did you mean transcode?" in str(caught.value)) is (given in ("transcod", "Transcode"))


@pytest.mark.parametrize(
    ("kind", "options", "is_intl", "words"),
    [
        ("transcode", {"url": "https://h/a.ppt", "push_user_id": "u"}, False, "whiteboard_push"),
        ("transcode", {"url": "https://h/a.ppt", "is_static": True}, False, "is_static_ppt"),
        ("transcode", {"url": "https://h/a b.ppt"}, False, "URL-encoded"),
        ("transcode", {}, False, "url is missing"),
        ("transcode", {"url": "https://h/a.ppt", "excel_param": {}}, True, "Chinese site"),
        ("whiteboard_push", {"group_id": "g"}, True, "Chinese site"),
        ("ppt_check", {"url": "https://h/a.ppt"}, True, "site to cn"),
        ("snapshot", {"room_id": 5, "whiteboard": {"width": 3000}}, False, "whiteboard.width"),
        (
            "transcode",
            {"url": "https://h/a.ppt", "auto_handle_unsupported_element_types": [14]},
            False,
            "to 13",
        ),
    ],
)
def test_bad_options(kind: str, options: dict[str, Any], is_intl: bool, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words):
        create_params(TASK_KINDS[kind], options, is_intl=is_intl)


def test_no_message_shows_the_query_of_a_url() -> None:
    secret = {"url": "https://h/a b.ppt?sign=secret"}
    with pytest.raises(ConfigurationError) as caught:
        create_params(TASK_KINDS["transcode"], secret, is_intl=False)
    assert "secret" not in str(caught.value)


def test_options_are_sent_under_the_apis_names() -> None:
    options = {
        "room_id": "5",
        "whiteboard": {"width": 640, "init_params": "{}"},
        "cos": {"uin": 1, "region": "r", "bucket": "b", "target_dir": "d"},
        "callback_url": "https://h/",
    }
    assert create_params(TASK_KINDS["snapshot"], options, is_intl=False) == {
        "RoomId": 5,
        "Whiteboard": {"Width": 640, "InitParams": "{}"},
        "COS": {"Uin": 1, "Region": "r", "Bucket": "b", "TargetDir": "d"},
        "CallbackURL": "https://h/",
    }


@pytest.mark.parametrize("kind", TASK_KINDS.values(), ids=lambda kind: kind.name)
def test_the_table_is_consistent(kind: Any) -> None:
    states = set(kind.state_names)
    assert kind.failed <= set(kind.states[-1])
    assert kind.processing <= states - set(kind.states[-1])
    assert kind.rules.final == set(kind.states[-1])
    if kind.name == RECORD_RULES.task_kind:
        assert asdict(kind.rules) == asdict(RECORD_RULES)
    if kind.user is not None:
        options = {option.name for option in kind.options}
        assert kind.name == "online_record" or {kind.user.id_option} <= options
