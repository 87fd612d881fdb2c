# SPDX-License-Identifier: Apache-2.0
"""The tasks that are not recordings: pushes, transcodes, checks, snapshots, video generation.

Their callbacks are tested in ``test_callbacks.py``.
"""

from __future__ import annotations

import io
import json
import random
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException

from tiw_automation.simulator import ScriptError, Simulator
from tiw_automation.simulator.families import CALLBACKS, CN_ONLY_ACTIONS, FAMILIES, callback_actions
from tiw_automation.simulator.oddity import oddly
from tiw_automation.simulator.schema import REQUESTS
from tiw_automation.simulator.task_script import FAILURE_MESSAGES
from tiw_automation.simulator.usersig import make

Call = Callable[..., dict[str, Any]]
CodeOf = Callable[..., str]

DECK = "http://example.com/a%20deck.pptx?sign=1"
PUSH = {"RoomId": 7, "PushUserId": "tic_push_user_7_1", "PushUserSig": "any"}
BOARD = {"RoomId": 7, "Whiteboard": {}}
DAY = 86400


@pytest.fixture
def still() -> Iterator[Simulator]:
    """Yield a simulator of the Chinese site whose virtual time moves only by ``advance``."""
    with Simulator(speed=0, limit=0, region="ap-guangzhou") as simulator:
        yield simulator


def options_of(family: str, simulator: Simulator) -> dict[str, Any]:
    """Return parameters with which a task of a family can be created."""
    if family == "video_generation":
        simulator.add("lesson", timeline=[{"RECORDING": 60}], age=60)
    return dict(FAMILIES[family].options)


def created(simulator: Simulator, call: Call, family: str, **options: Any) -> str:
    given = {**options_of(family, simulator), **options}
    return str(call(simulator, FAMILIES[family].create, **given)[FAMILIES[family].id_key])


def described(simulator: Simulator, call: Call, family: str, task_id: str) -> dict[str, Any]:
    return call(simulator, FAMILIES[family].describe, **{FAMILIES[family].id_key: task_id})


def download(url: str) -> tuple[str, bytes]:
    with urllib.request.urlopen(url) as answer:
        return answer.headers["Content-Type"], answer.read()


def refused_download(url: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as caught:
        download(url)
    with caught.value as error:
        return error.code


ONE_WAY = ("transcode", "ppt_check", "video_generation")


@pytest.mark.parametrize("family", ONE_WAY)
def test_progress_from_creation_to_the_end(still: Simulator, call: Call, family: str) -> None:
    task_id = created(still, call, family)
    seen = []
    for seconds in (0, 2, 4, 4):
        still.advance(seconds)
        answer = described(still, call, family, task_id)
        seen.append((answer["Status"], answer["Progress"]))
    queued, running, halfway, finished = seen
    assert (queued, running) == (("QUEUED", 0), ("PROCESSING", 0))
    assert halfway == ("PROCESSING", 50)
    assert finished == ("FINISHED", 100)
    (facts,) = still.tasks
    assert facts["family"] == family
    assert (facts["status"], facts["is_started"]) == ("FINISHED", True)
    assert still.requests[FAMILIES[family].create] == 1
    assert still.requests_by_task == {task_id: 4}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_answer_lacks_a_field(still: Simulator, call: Call, family: str) -> None:
    task_id = created(still, call, family)
    fields = set(described(still, call, family, task_id))
    still.advance(2)
    assert set(described(still, call, family, task_id)) == fields
    if FAMILIES[family].stop:
        call(still, FAMILIES[family].stop, TaskId=task_id)
    still.advance(100)
    assert set(described(still, call, family, task_id)) == fields


def test_a_dynamic_deck(still: Simulator, call: Call) -> None:
    task_id = created(
        still, call, "transcode", Url=DECK, ThumbnailResolution="320x180", CompressFileType="zip"
    )
    still.advance(10)
    answer = described(still, call, "transcode", task_id)
    assert (answer["Title"], answer["Pages"]) == ("a deck.pptx", 3)
    assert answer["Resolution"] == "960x540"
    assert answer["ResultUrl"].endswith(f"/{task_id}/index.html")
    assert download(answer["ResultUrl"])[0].startswith("text/html")
    assert answer["ThumbnailResolution"] == "320x180"
    kind, picture = download(f"{answer['ThumbnailUrl']}3.jpg")
    assert kind == "image/jpeg"
    assert picture.startswith(b"\xff\xd8")
    assert refused_download(f"{answer['ThumbnailUrl']}4.jpg") == 404
    kind, archive = download(answer["CompressFileUrl"])
    assert kind == "application/zip"
    assert "index.html" in zipfile.ZipFile(io.BytesIO(archive)).namelist()
    assert b"index.html" in download(answer["ResourceListUrl"])[1]
    assert answer["FinishedTime"] - answer["CreateTime"] == 10
    assert answer["AssignTime"] - answer["CreateTime"] == 2


@pytest.mark.parametrize(
    "options", [{"IsStaticPPT": True}, {"Url": "http://example.com/notes.pdf"}]
)
def test_a_static_deck(still: Simulator, call: Call, options: dict[str, Any]) -> None:
    task_id = created(
        still,
        call,
        "transcode",
        ThumbnailResolution="320x180",
        MinScaleResolution="1280x720",
        CompressFileType="tar.gz",
        **options,
    )
    still.advance(10)
    answer = described(still, call, "transcode", task_id)
    assert answer["ResultUrl"].endswith(f"/{task_id}/")
    pictures = [download(f"{answer['ResultUrl']}{page}.jpg")[1] for page in (1, 2, 3)]
    assert len(set(pictures)) == 3
    assert refused_download(f"{answer['ResultUrl']}4.jpg") == 404
    assert (answer["ThumbnailUrl"], answer["ThumbnailResolution"]) == ("", "")
    assert answer["Resolution"] == "1280x720"
    with tarfile.open(fileobj=io.BytesIO(download(answer["CompressFileUrl"])[1])) as archive:
        assert archive.getnames() == ["1.jpg", "2.jpg", "3.jpg"]


def test_what_was_not_asked_for_is_absent(still: Simulator, call: Call) -> None:
    task_id = created(still, call, "transcode", ThumbnailResolution="small", CompressFileType="rar")
    still.advance(10)
    answer = described(still, call, "transcode", task_id)
    assert (answer["ThumbnailUrl"], answer["CompressFileUrl"]) == ("", "")


def test_files_are_kept_for_a_week_and_records_for_half_a_year(
    still: Simulator, call: Call, code_of: CodeOf
) -> None:
    task_id = created(still, call, "transcode")
    url = f"{still.endpoint}/files/transcode/{still.sdk_app_id}/{task_id}/index.html"
    assert refused_download(url) == 404
    still.advance(10)
    url = described(still, call, "transcode", task_id)["ResultUrl"]
    download(url)
    still.inject("html_502", action="video", task_id=task_id, times=1)
    assert refused_download(url) == 502
    still.advance(7 * DAY)
    assert refused_download(url) == 404
    assert described(still, call, "transcode", task_id)["ResultUrl"] == url
    still.advance(180 * DAY)
    assert code_of(still, "DescribeTranscode", TaskId=task_id) == "InvalidParameter.TaskNotFound"


def test_the_newest_task_of_a_url(still: Simulator, call: Call, code_of: CodeOf) -> None:
    assert code_of(still, "DescribeTranscodeByUrl", Url=DECK) == "InvalidParameter.TaskNotFound"
    created(still, call, "transcode", Url=DECK)
    newest = created(still, call, "transcode", Url=DECK)
    created(still, call, "transcode", Url="http://example.com/another.pptx")
    still.advance(6)
    answer = call(still, "DescribeTranscodeByUrl", Url=DECK)
    del answer["RequestId"]
    assert answer == {"Progress": 50, "Status": "PROCESSING", "TaskId": newest}
    still.add_task("transcode", "broken", Url=DECK, failure="FailedOperation.FileOpenFail")
    still.advance(10)
    assert call(still, "DescribeTranscodeByUrl", Url=DECK)["Status"] == "EXCEPTION"
    still.advance(DAY)
    assert code_of(still, "DescribeTranscodeByUrl", Url=DECK) == "InvalidParameter.TaskNotFound"


def test_a_check_without_errors(still: Simulator, call: Call) -> None:
    task_id = created(still, call, "ppt_check", AutoHandleUnsupportedElement=True)
    still.advance(10)
    answer = described(still, call, "ppt_check", task_id)
    assert answer["IsOK"] is True
    assert (answer["ResultUrl"], answer["Slides"], answer["Errs"]) == (None, None, None)


@pytest.mark.parametrize("repairs", [True, False])
def test_a_check_with_errors(still: Simulator, call: Call, repairs: bool) -> None:
    still.set_task_defaults("ppt_check", IsOK=False)
    task_id = created(still, call, "ppt_check", AutoHandleUnsupportedElement=repairs)
    still.advance(10)
    answer = described(still, call, "ppt_check", task_id)
    assert (answer["IsOK"], answer["Status"]) == (False, "FINISHED")
    assert answer["Slides"][0]["Errs"][0]["Type"] == 0
    assert answer["Errs"]
    if repairs:
        deck = download(answer["ResultUrl"])[1]
        assert zipfile.ZipFile(io.BytesIO(deck)).namelist()
    else:
        assert answer["ResultUrl"] is None


def test_a_snapshot(still: Simulator, call: Call) -> None:
    task_id = created(still, call, "snapshot", Whiteboard={"Width": 640, "Height": 360})
    answer = described(still, call, "snapshot", task_id)
    assert (answer["TaskID"], answer["Status"]) == (task_id, "Running")
    assert (answer["Result"], answer["FinishTime"]) == (None, None)
    still.advance(10)
    answer = described(still, call, "snapshot", task_id)
    assert answer["Status"] == "Finished"
    result = answer["Result"]
    assert (result["ErrorCode"], result["ErrorMessage"], result["Total"]) == ("OK", "", 3)
    for url in result["Snapshots"]:
        kind, picture = download(url)
        assert kind == "image/png"
        assert picture[16:24] == (640).to_bytes(4, "big") + (360).to_bytes(4, "big")
    assert still.requests_by_task == {task_id: 2}


def test_a_snapshot_fails_in_its_result(still: Simulator, call: Call) -> None:
    task_id = still.add_task("snapshot", failure={"code": "NoMarks", "message": "no marks"})
    still.advance(10)
    answer = described(still, call, "snapshot", task_id)
    assert answer["Status"] == "Finished"
    expected = {"ErrorCode": "NoMarks", "ErrorMessage": "no marks", "Total": 0, "Snapshots": None}
    assert answer["Result"] == expected
    assert still.tasks[0]["status"] == "FAILED"


def test_videos_are_generated_from_a_recording(
    still: Simulator, call: Call, code_of: CodeOf
) -> None:
    assert (
        code_of(still, "CreateVideoGenerationTask", OnlineRecordTaskId="absent")
        == "InvalidParameter.TaskNotFound"
    )
    task_id = created(still, call, "video_generation")
    still.advance(10)
    answer = described(still, call, "video_generation", task_id)
    recording = call(still, "DescribeOnlineRecord", TaskId="lesson")
    for name in ("RoomId", "GroupId", "TotalTime"):
        assert answer[name] == recording[name]
    files = answer["VideoInfoList"]
    assert [file["VideoId"] for file in files] == [
        file["VideoId"] for file in recording["VideoInfos"]
    ]
    for file in files:
        assert len(download(file["VideoUrl"])[1]) == file["VideoSize"]
    assert set(answer["VideoInfos"]) == set(files[0])
    still.advance(3 * DAY)
    assert refused_download(files[0]["VideoUrl"]) == 404


def test_a_push_until_it_is_stopped(still: Simulator, call: Call, code_of: CodeOf) -> None:
    answer = call(still, "StartWhiteboardPush", **PUSH)
    task_id = answer["TaskId"]
    assert answer["Backup"] == ""
    first = described(still, call, "whiteboard_push", task_id)
    assert (first["Status"], first["PushStartTime"], first["FinishReason"]) == ("PREPARED", 0, "")
    still.advance(5 * DAY)
    running = described(still, call, "whiteboard_push", task_id)
    assert (running["Status"], running["PushStopTime"]) == ("PUSHING", 0)
    assert call(still, "StopWhiteboardPush", TaskId=task_id)["Backup"] == ""
    stopped = described(still, call, "whiteboard_push", task_id)
    assert (stopped["Status"], stopped["FinishReason"]) == ("STOPPED", "USER_CALL")
    assert stopped["PushStopTime"] - stopped["PushStartTime"] == 5 * DAY - 2
    assert (stopped["RoomId"], stopped["GroupId"], stopped["PushUserId"]) == (
        7,
        "7",
        PUSH["PushUserId"],
    )
    code = "UnsupportedOperation.TaskHasAlreadyStopped"
    assert code_of(still, "StopWhiteboardPush", TaskId=task_id) == code


def test_a_push_stops_in_an_idle_room(still: Simulator, call: Call) -> None:
    task_id = call(still, "StartWhiteboardPush", **PUSH, AutoStopTimeout=300)["TaskId"]
    still.advance(10)
    still.room_idle(task_id)
    still.advance(299)
    assert described(still, call, "whiteboard_push", task_id)["Status"] == "PUSHING"
    still.room_active(task_id)
    still.advance(1000)
    assert described(still, call, "whiteboard_push", task_id)["Status"] == "PUSHING"
    still.room_idle(task_id)
    still.advance(300)
    stopped = described(still, call, "whiteboard_push", task_id)
    assert (stopped["Status"], stopped["FinishReason"]) == ("STOPPED", "AUTO")
    still.room_idle(task_id)
    with pytest.raises(KeyError):
        still.room_idle("absent")


@pytest.mark.parametrize(
    ("options", "user"),
    [
        ({"Backup": {"PushUserId": "second", "PushUserSig": "any"}}, "second"),
        ({"AutoManageBackup": True}, "tic_push_user_7_1_backup"),
    ],
)
def test_a_push_with_a_backup(
    still: Simulator, call: Call, options: dict[str, Any], user: str
) -> None:
    answer = call(still, "StartWhiteboardPush", **PUSH, **options)
    backup_id = json.loads(answer["Backup"])["TaskId"]
    still.advance(5)
    backup = json.loads(described(still, call, "whiteboard_push", answer["TaskId"])["Backup"])
    assert (backup["TaskId"], backup["Status"], backup["PushUserId"]) == (
        backup_id,
        "PUSHING",
        user,
    )
    stopped = call(still, "StopWhiteboardPush", TaskId=answer["TaskId"])["Backup"]
    status = described(still, call, "whiteboard_push", backup_id)["Status"]
    if "AutoManageBackup" in options:
        assert "RequestId" in json.loads(stopped)
        assert status == "STOPPED"
    else:
        assert (stopped, status) == ("", "PUSHING")


def test_one_push_a_user(still: Simulator, call: Call, code_of: CodeOf) -> None:
    task_id = call(still, "StartWhiteboardPush", **PUSH)["TaskId"]
    assert code_of(still, "StartWhiteboardPush", **PUSH) == "ResourceInUse.RecordUserId"
    other = {"RoomId": 8, "PushUserId": "tic_push_user_8_1", "PushUserSig": "any"}
    used = {"PushUserId": PUSH["PushUserId"], "PushUserSig": "any"}
    assert code_of(still, "StartWhiteboardPush", **other, Backup=used) == (
        "ResourceInUse.RecordUserId"
    )
    alone = {**other, "Backup": {"PushUserId": other["PushUserId"], "PushUserSig": "any"}}
    assert code_of(still, "StartWhiteboardPush", **alone) == "ResourceInUse.RecordUserId"
    assert len(still.tasks) == 1
    call(still, "StopWhiteboardPush", TaskId=task_id)
    call(still, "StartWhiteboardPush", **PUSH)


def test_a_bad_user_signature_fails_later(call: Call) -> None:
    key = "5bd2850fff3ecb11d7c805251c51ee463a25727bddc2385f3fa8bfee1bb93b5e"
    with Simulator(speed=0, user_sig_key=key) as simulator:
        app, user = simulator.sdk_app_id, str(PUSH["PushUserId"])
        task_id = call(simulator, "StartWhiteboardPush", **PUSH)["TaskId"]
        assert described(simulator, call, "whiteboard_push", task_id)["Status"] == "PREPARED"
        simulator.advance(3)
        with pytest.raises(TencentCloudSDKException, match="code: 40006") as caught:
            described(simulator, call, "whiteboard_push", task_id)
        assert caught.value.get_code() == "FailedOperation.WhiteboardPush"
        signature = make(key, app, user, time.time(), 3600)
        task_id = call(simulator, "StartWhiteboardPush", **{**PUSH, "PushUserSig": signature})[
            "TaskId"
        ]
        simulator.advance(3)
        assert described(simulator, call, "whiteboard_push", task_id)["Status"] == "PUSHING"


FAILURES = [(family.name, code) for family in FAMILIES.values() for code in family.failures]


@pytest.mark.parametrize(("family", "code"), FAILURES)
def test_a_failure_is_the_answer_as_long_as_it_is_asked_for(
    still: Simulator, code_of: CodeOf, family: str, code: str
) -> None:
    task_id = still.add_task(family, "broken", duration_s=5, failure=code)
    still.advance(5)
    for _ in range(2):
        assert code_of(still, FAMILIES[family].describe, TaskId=task_id) == code
        still.advance(DAY)
    assert still.tasks[0]["status"] == "FAILED"


def test_every_message_belongs_to_a_code_of_the_table() -> None:
    assert set(FAILURE_MESSAGES) <= {code for _, code in FAILURES}


def test_a_url_of_another_form_fails_later(still: Simulator, call: Call, code_of: CodeOf) -> None:
    for family in ("transcode", "ppt_check"):
        task_id = created(still, call, family, Url="ftp://example.com/a.pptx")
        still.advance(10)
        code = code_of(still, FAMILIES[family].describe, TaskId=task_id)
        assert code == "InvalidParameter.UrlFormatError"


@pytest.mark.parametrize(
    ("url", "title"),
    [
        ("http://[/a.pptx", "a.pptx"),
        ("http://example.com/%3Cb%3E.pptx#x/y", "<b>.pptx"),
        ("http://example.com", "example.com"),
        ("http://example.com/?name=a.pptx", ""),
    ],
)
def test_the_title_of_an_odd_url(still: Simulator, call: Call, url: str, title: str) -> None:
    task_id = created(still, call, "transcode", Url=url)
    still.advance(10)
    answer = described(still, call, "transcode", task_id)
    assert answer["Title"] == title
    assert b"<b>" not in download(answer["ResourceListUrl"])[1]
    if answer["ResultUrl"].endswith("html"):
        assert b"<b>" not in download(answer["ResultUrl"])[1]


def test_the_running_list(still: Simulator, call: Call) -> None:
    def listed(task_type: str) -> list[dict[str, Any]]:
        answer = call(still, "DescribeRunningTasks", TaskType=task_type)
        assert answer["Total"] == len(answer["Tasks"])
        rows: list[dict[str, Any]] = answer["Tasks"]
        return rows

    push = call(still, "StartWhiteboardPush", **PUSH)["TaskId"]
    dynamic = created(still, call, "transcode", Url=DECK)
    static = created(still, call, "transcode", Url=DECK, IsStaticPPT=True)
    created(still, call, "ppt_check")
    created(still, call, "snapshot")
    assert [task["TaskID"] for task in listed("TranscodeH5")] == [dynamic]
    assert [task["Status"] for task in listed("TranscodeJPG")] == ["QUEUED"]
    assert listed("OnlineRecord") == []
    still.advance(6)
    (row,) = listed("TranscodeJPG")
    assert (row["TaskID"], row["Status"], row["Progress"]) == (static, "PROCESSING", 50)
    assert row["FileURL"] == DECK
    (row,) = listed("WhiteboardPush")
    assert (row["TaskID"], row["TaskType"], row["RoomID"]) == (push, "WhiteboardPush", 7)
    still.advance(10)
    assert listed("TranscodeH5") == listed("TranscodeJPG") == []
    # It runs on, but the list has only tasks that were created in the last three days.
    still.advance(3 * DAY)
    assert listed("WhiteboardPush") == []
    assert described(still, call, "whiteboard_push", push)["Status"] == "PUSHING"


def test_what_the_international_site_does_not_have(call: Call, code_of: CodeOf) -> None:
    assert len(CN_ONLY_ACTIONS) == 7
    with Simulator(speed=0, limit=0) as simulator:
        for action in CN_ONLY_ACTIONS:
            assert code_of(simulator, action) == "InvalidAction"
        for action, options in (
            ("StartWhiteboardPush", {**PUSH, "GroupId": "7"}),
            ("CreateTranscode", {"Url": DECK, "AutoHandleUnsupportedElementTypes": [1]}),
            ("CreateTranscode", {"Url": DECK, "ExcelParam": {"PaperSize": 1}}),
        ):
            assert code_of(simulator, action, **options) == "UnknownParameter"
            call(simulator, action, region="ap-guangzhou", **options)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_task_of_another_family_or_application_is_not_found(
    still: Simulator, code_of: CodeOf, family: str
) -> None:
    for other in FAMILIES:
        if other != family:
            still.add_task(other, "task")
    still.add_task(family, "task", sdk_app_id=5)
    describe, id_key = FAMILIES[family].describe, FAMILIES[family].id_key
    expected = "InvalidParameter" if family == "snapshot" else "InvalidParameter.TaskNotFound"
    assert code_of(still, describe, **{id_key: "task"}) == expected
    if FAMILIES[family].stop:
        assert code_of(still, FAMILIES[family].stop, TaskId="task") == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_applications_that_are_refused(still: Simulator, code_of: CodeOf, family: str) -> None:
    options = options_of(family, still)
    unknown = code_of(still, FAMILIES[family].create, **{**options, "SdkAppId": 9})
    kind = "UnauthorizedOperation" if family == "snapshot" else "InvalidParameter"
    assert unknown.partition(".")[0] == kind
    still.set_app(state="expired")
    code = code_of(still, FAMILIES[family].create, **options)
    assert code == "ResourceUnavailable.ServiceExpired"


TYPE = "InvalidParameter.BodyParameterTypeUnmatched"
RECORD = "InvalidParameter.RecordParameter"
TRANSCODE = "InvalidParameter.TranscodeParameter"


@pytest.mark.parametrize(
    ("action", "parameters", "code"),
    [
        ("StartWhiteboardPush", {"RoomId": 7}, "MissingParameter"),
        ("StartWhiteboardPush", {**PUSH, "RoomId": 0}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "PushUserId": "x" * 61}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "AutoStopTimeout": 299}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "AutoStopTimeout": 259201}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "VideoFPS": 31}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "VideoBitrate": -1}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "UserDefinedRecordId": "a b"}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "UserDefinedStreamId": "x" * 65}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "TRTCEnterRoomMode": "LIVE"}, RECORD),
        ("StartWhiteboardPush", {**PUSH, "Backup": {"PushUserId": "x"}}, "MissingParameter"),
        ("StartWhiteboardPush", {**PUSH, "IMAuthParam": {"UserId": "x"}}, "MissingParameter"),
        ("StartWhiteboardPush", {**PUSH, "RecordUserId": "x"}, "UnknownParameter"),
        ("StopWhiteboardPush", {}, "MissingParameter"),
        ("CreateTranscode", {}, "MissingParameter"),
        ("CreateTranscode", {"Url": ""}, TRANSCODE),
        ("CreateTranscode", {"Url": 5}, TYPE),
        ("CreateTranscode", {"Url": DECK, "IsStaticPPT": "yes"}, TYPE),
        (
            "CreateTranscode",
            {"Url": DECK, "AutoHandleUnsupportedElementTypes": [14]},
            TRANSCODE,
        ),
        ("DescribeTranscodeByUrl", {}, "MissingParameter"),
        ("CreatePPTCheckTask", {"Url": ""}, "InvalidParameter.PreprocessParameter"),
        ("CreatePPTCheckTask", {"Url": DECK, "IsStaticPPT": True}, "UnknownParameter"),
        ("CreateSnapshotTask", {"RoomId": 7}, "MissingParameter"),
        ("CreateSnapshotTask", {"RoomId": 7, "Whiteboard": {"Width": 2561}}, "InvalidParameter"),
        ("CreateSnapshotTask", {**BOARD, "SnapshotMode": "All"}, "InvalidParameter"),
        ("CreateSnapshotTask", {**BOARD, "COS": {"Uin": 1}}, "MissingParameter"),
        ("DescribeSnapshotTask", {"TaskId": "x"}, "UnknownParameter"),
        ("CreateVideoGenerationTask", {}, "MissingParameter"),
        (
            "CreateVideoGenerationTask",
            {"OnlineRecordTaskId": "x", "Concat": {}},
            "MissingParameter",
        ),
    ],
)
def test_bad_parameters(
    still: Simulator, code_of: CodeOf, action: str, parameters: dict[str, Any], code: str
) -> None:
    assert code_of(still, action, **parameters) == code


def test_each_family_has_its_own_callback(still: Simulator, call: Call, code_of: CodeOf) -> None:
    for number, family in enumerate(CALLBACKS):
        _, set_url, set_key = callback_actions(family)
        call(still, set_url, Callback=f"http://127.0.0.1:{number + 1}/")
        call(still, set_key, CallbackKey=f"key {number}")
        assert code_of(still, set_url, Callback="ftp://x") == (
            "InvalidParameter.CallbackAddressFormatError"
        )
        assert code_of(still, set_key, CallbackKey="x" * 65) == "InvalidParameter"
    for number, family in enumerate(CALLBACKS):
        found = call(still, callback_actions(family)[0])
        assert (found["Callback"], found["CallbackKey"]) == (
            f"http://127.0.0.1:{number + 1}/",
            f"key {number}",
        )
    assert still.writes == 2 * len(CALLBACKS)


def test_each_action_has_its_own_limit(call: Call, code_of: CodeOf) -> None:
    now = time.time()
    with Simulator(clock=lambda: now) as simulator:
        simulator.add_task("transcode", "deck")
        simulator.add_task("snapshot", "board")
        for _ in range(20):
            described(simulator, call, "transcode", "deck")
        assert code_of(simulator, "DescribeTranscode", TaskId="deck") == "RequestLimitExceeded"
        described(simulator, call, "snapshot", "board")


@pytest.mark.parametrize("family", FAMILIES)
def test_faults_strike_each_describe(still: Simulator, call: Call, family: str) -> None:
    for task_id in ("struck", "spared"):
        still.add_task(family, task_id, duration_s=0, queued_s=0)
    describe, id_key = FAMILIES[family].describe, FAMILIES[family].id_key
    fault = still.inject("request_id_only", action=describe, task_id="struck")
    assert set(described(still, call, family, "struck")) == {"RequestId"}
    assert described(still, call, family, "spared")[id_key] == "spared"
    assert fault.hits == 1
    still.clear_faults()
    still.fault = "other_task"
    assert described(still, call, family, "struck")[id_key] == "another-recording"
    still.fault = "unknown_enum"
    assert described(still, call, family, "struck")["Status"] == "STATE_OF_TOMORROW"
    still.fault = "null_arrays"
    answer = described(still, call, family, "struck")
    assert answer.get("VideoInfoList") is None
    assert (answer.get("Result") or {}).get("Snapshots") is None


@pytest.mark.parametrize("family", FAMILIES)
def test_odd_answers_have_the_same_meaning(still: Simulator, call: Call, family: str) -> None:
    still.add_task(family, "a1", duration_s=0)
    plain = described(still, call, family, "a1")
    still.odd = True
    for _ in range(30):
        odd = described(still, call, family, "a1")
        assert odd[FAMILIES[family].id_key] == "a1"
        assert odd["Status"].strip().casefold() == plain["Status"].casefold()
        for name in ("ResultUrl", "ThumbnailUrl", "CompressFileUrl"):
            assert odd.get(name) == plain.get(name)
        if "Pages" in plain:
            assert float(odd["Pages"]) == plain["Pages"]
        if "Result" in plain:
            assert [url for url in odd["Result"]["Snapshots"] if url] == (
                plain["Result"]["Snapshots"]
            )


def test_odd_task_ids_stay_as_they_are() -> None:
    assert oddly({"TaskID": "123"}, random.Random(0)) == {"TaskID": "123"}


def test_a_script_adds_tasks(call: Call, code_of: CodeOf) -> None:
    script = {
        "tasks": [
            {"family": "transcode", "task_id": "deck", "pages": 5, "age": 60, "IsStaticPPT": True},
            {"family": "snapshot", "task_id": "board", "duration_s": 3, "RoomId": 9},
        ],
        "task_defaults": {"transcode": {"duration_s": 4, "queued_s": 1, "Ext": "WPS"}},
    }
    with Simulator(script, speed=0) as simulator:
        answer = described(simulator, call, "transcode", "deck")
        assert (answer["Status"], answer["Pages"]) == ("FINISHED", 5)
        assert answer["ResultUrl"].endswith("/deck/")
        simulator.advance(3)
        assert described(simulator, call, "snapshot", "board")["Status"] == "Finished"
        task_id = created(simulator, call, "transcode")
        simulator.advance(4)
        answer = described(simulator, call, "transcode", task_id)
        assert (answer["Status"], answer["Ext"]) == ("FINISHED", "WPS")
        simulator.set_task_defaults("transcode", failure="FailedOperation.Transcode")
        task_id = created(simulator, call, "transcode")
        simulator.advance(10)
        code = code_of(simulator, "DescribeTranscode", TaskId=task_id)
        assert code == "FailedOperation.Transcode"


def over_http(simulator: Simulator, data: object) -> tuple[int, dict[str, Any]]:
    url = f"{simulator.endpoint}/_simulator/tasks"
    body = None if data is None else json.dumps(data).encode()
    try:
        with urllib.request.urlopen(url, data=body) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_tasks_over_http(still: Simulator) -> None:
    added = [
        {"family": "transcode", "task_id": "deck"},
        {"family": "ppt_check", "failure": "FailedOperation.FileOpenFail", "duration_s": 0},
    ]
    status, answer = over_http(still, added)
    assert (status, answer["task_ids"][0]) == (200, "deck")
    _, answer = over_http(still, None)
    assert [(task["task_id"], task["status"]) for task in answer["tasks"]] == [
        ("deck", "QUEUED"),
        (still.tasks[1]["task_id"], "FAILED"),
    ]
    status, answer = over_http(still, {"family": "transcodes"})
    assert status == 400
    assert "Did you mean transcode?" in answer["error"]
    status, answer = over_http(still, {"family": "transcode", "task_id": "deck"})
    assert status == 400
    assert "exists already" in answer["error"]


@pytest.mark.parametrize(
    ("family", "keys", "message"),
    [
        ("record", {}, 'add_task: family: got "record", allowed: whiteboard_push'),
        ("transcode", {"pagse": 3}, "Did you mean pages?"),
        ("transcode", {"pages": -1}, "pages: got -1, allowed: a whole number from 0 to 2000"),
        ("transcode", {"duration_s": "5"}, "duration_s: got"),
        ("transcode", {"failure": "FailedOperation.Record"}, "FailedOperation.Transcode"),
        ("transcode", {"failure": {"message": "x"}}, "code is missing"),
        ("transcode", {"IsStaticPPT": 1}, "`IsStaticPPT` must be a boolean"),
        ("snapshot", {"failure": ""}, "failure: got"),
    ],
)
def test_mistakes_in_a_task(
    tiw_simulator: Simulator, family: str, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(ScriptError) as caught:
        tiw_simulator.add_task(family, **keys)
    assert message in str(caught.value)


def test_mistakes_in_other_places(tiw_simulator: Simulator) -> None:
    with pytest.raises(ScriptError, match="Did you mean snapshot"):
        tiw_simulator.set_task_defaults("snapshots")
    with pytest.raises(ScriptError, match="allowed: pages, queued_s"):
        tiw_simulator.set_task_defaults("snapshot", age=3)
    with pytest.raises(ScriptError, match="allowed: online_record, whiteboard_push"):
        tiw_simulator.set_callback("", family="snapshot")
    with pytest.raises(ScriptError, match="task_defaults"):
        Simulator({"task_defaults": {"decks": {}}})


def test_each_action_of_the_families_is_simulated() -> None:
    actions = {family.create for family in FAMILIES.values()}
    actions |= {family.describe for family in FAMILIES.values()}
    actions |= {str(family.stop or family.by_url) for family in FAMILIES.values()} - {"None"}
    for family in FAMILIES:
        if family in CALLBACKS:
            actions |= set(callback_actions(family))
    assert len(actions) == 24
    assert actions <= set(REQUESTS)


def test_a_scripted_push_can_have_a_backup(still: Simulator, call: Call) -> None:
    task_id = still.add_task("whiteboard_push", AutoManageBackup=True)
    backup = json.loads(described(still, call, "whiteboard_push", task_id)["Backup"])
    assert described(still, call, "whiteboard_push", backup["TaskId"])["Backup"] == ""
    call(still, "StopWhiteboardPush", TaskId=backup["TaskId"])
    call(still, "StopWhiteboardPush", TaskId=task_id)
    assert [task["status"] for task in still.tasks] == ["STOPPED", "STOPPED"]
