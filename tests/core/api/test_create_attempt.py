# SPDX-License-Identifier: Apache-2.0
"""The two ends of a start, by tables: every first fault, second answer and running list."""

from __future__ import annotations

import itertools
import logging
import pickle
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tiw_automation.core import (
    ApiError,
    ChangeUncertain,
    Quota,
    StartUncertain,
    TiwClient,
    TransportError,
    UnsupportedOperation,
    check_task_ids,
)
from tiw_automation.core.retry import Retry, RetryBudget
from tiw_automation.simulator import Simulator, faults, tasks
from tiw_automation.simulator.faults import Kind

SIG = "signature"
_rooms = itertools.count(1000)


def _answers(response: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return an edit that replaces the real answer."""

    def edit(real: dict[str, Any]) -> None:
        real.clear()
        real.update(response)

    return edit


def _error(code: Any) -> dict[str, Any]:
    return {"Error": {"Code": code, "Message": "It is so."}}


# Starts that were carried out, by how they were answered.
CARRIED_OUT: dict[str, Any] = {
    "an internal error": _error("InternalError"),
    "unavailable for now": _error("ResourceUnavailable"),
    "an error without a code": _error(5),
    "an error that is a text": {"Error": "It is so."},
    "a null TaskId": {"TaskId": None},
    "an object as TaskId": {"TaskId": {"Id": "x"}},
}
ODD_TASK_IDS: tuple[Any, ...] = ("", " \n", [], ["x"], {}, True, False, 1.5)
# The simulator's faults; the last ones are not carried out, which the client cannot know.
FIRST = [
    *CARRIED_OUT,
    *("answer_lost", "truncated", "bad_json"),
    *("reset", "html_502", "json_500"),
]
CODES = [
    *("LimitExceeded.TaskConcurrency", "FailedOperation", "AuthFailure.SignatureFailure"),
    *("AuthFailure.SignatureExpire", "ResourceUnavailable.ServiceExpired", "ResourceInUse"),
    *("ResourceInUse.RecordUserId", "InvalidParameter.RecordParameter", "UnauthorizedOperation"),
    *("UnsupportedOperation", "InternalError", "RequestLimitExceeded", "FailedOperation.Record"),
    *("MissingParameter", "Something.New"),
]
SECOND = [None, *CODES, "reset", "answer_lost", "truncated", "a null TaskId", "an object as TaskId"]
_OTHER = {"SdkAppID": 1, "TaskType": "OnlineRecord", "Status": "PROCESSING"}
LISTS: dict[str, Any] = {
    "whole": None,
    "behind by one": {"Total": 0, "Tasks": []},
    "behind": {"Total": 0, "Tasks": []},
    "not here": _error("InvalidAction"),
    "not allowed": _error("UnauthorizedOperation"),
    "keys refused": _error("AuthFailure.SignatureFailure"),
    "a fault": _error("InternalError"),
    "no list": {"Total": 1, "Tasks": 5},
    "no rows": {"Total": 1, "Tasks": ["x", None, 7]},
    "odd rows": {"Total": 1, "Tasks": [{**_OTHER, "TaskID": "other", "RoomID": "7"}]},
    "odd fields": {
        "Total": 1,
        "Tasks": [{**_OTHER, "TaskID": "gone", "RoomID": [7], "Progress": {}}],
    },
    "odd ids": {"Total": 1, "Tasks": [{**_OTHER, "TaskID": "a\nb{{ x }}", "RoomID": None}]},
    "bad_json": None,
    "reset": None,
}
NOT_CARRIED_OUT = ("reset", "html_502", "json_500")


@pytest.fixture(scope="module")
def shared() -> Iterator[Simulator]:
    with (
        pytest.MonkeyPatch.context() as patch,
        Simulator(region="ap-guangzhou", speed=0, limit=0) as running,
    ):
        for name, response in {**CARRIED_OUT, **LISTS}.items():
            if response is not None:
                kind = Kind(name, edit=_answers(response))
                patch.setitem(faults.FAULTS, name, kind)
        yield running


@pytest.fixture
def simulator(shared: Simulator) -> Iterator[Simulator]:
    """The simulator of this module, without the traces of earlier tests."""
    with shared._api.lock:
        shared._recorder.recordings.clear()
        shared._recorder._running.clear()
    shared.clear_faults()
    shared.reset_stats()
    yield shared
    shared.clear_faults()


class Client(TiwClient):
    """A client that never sleeps and waits for no slot; ``paused`` replaces each pause."""

    def __init__(self, simulator: Simulator, **settings: Any) -> None:
        super().__init__(**{**simulator.settings(), **settings})
        self.paused: Callable[[], None] = lambda: None
        self._retry = Retry(RetryBudget(6), sleep=lambda _: self.paused())
        self._unlimited = Quota(100_000)

    def quota(self, action: str) -> Quota:
        return self._unlimited


@pytest.fixture
def client(simulator: Simulator) -> Iterator[Client]:
    with Client(simulator) as opened:
        yield opened


def _inject(simulator: Simulator, name: str, action: str, times: int | None) -> None:
    options: dict[str, Any] = {} if times is None else {"times": times}
    if name in faults.FAULTS:
        simulator.inject(name, action=action, **options)
    else:
        simulator.inject("server_error", action=action, code=name, **options)


def _outcome(call: Callable[[], Any]) -> Any:
    """Return the result of a call, or its uncertain end; any other error fails the test."""
    try:
        return call()
    except (ChangeUncertain, StartUncertain) as error:
        return error


def _end(simulator: Simulator, client: TiwClient) -> str | StartUncertain:
    """Start a recording; return one of the two ends."""
    room = next(_rooms)
    end = _outcome(lambda: client.start_online_record(room, record_user_sig=SIG))
    if isinstance(end, StartUncertain):
        assert end.record_user_id.startswith(f"tic_record_user_{room}_")
        assert end.record_user_id in str(end)
        assert end.__cause__ is not None
        for facts in simulator.recordings:
            assert facts["record_user_id"] == end.record_user_id
    else:
        assert [facts["task_id"] for facts in simulator.recordings] == [end]
    return end  # type: ignore[no-any-return]


def _was_carried_out(first: str) -> bool:
    return faults.FAULTS[first].executes


@pytest.mark.parametrize("second", SECOND)
@pytest.mark.parametrize("first", FIRST)
def test_every_first_fault_and_every_second_answer(
    simulator: Simulator, client: Client, first: str, second: str | None
) -> None:
    _inject(simulator, first, "StartOnlineRecord", 1)
    if second is not None:
        _inject(simulator, second, "StartOnlineRecord", 9)
    # The list is outdated once, so that a second start is sent.
    _inject(simulator, "behind by one", "DescribeRunningTasks", 1)
    end = _end(simulator, client)
    assert simulator.started <= 1
    if simulator.started == 1:
        assert isinstance(end, str)


@pytest.mark.parametrize("listed", LISTS)
@pytest.mark.parametrize("first", FIRST)
def test_every_first_fault_and_every_running_list(
    simulator: Simulator, client: Client, first: str, listed: str
) -> None:
    _inject(simulator, first, "StartOnlineRecord", 1)
    if listed != "whole":
        times = 1 if listed == "behind by one" else None
        _inject(simulator, listed, "DescribeRunningTasks", times)
    end = _end(simulator, client)
    assert simulator.started <= 1
    if listed in ("whole", "behind by one"):
        assert isinstance(end, str)
    elif _was_carried_out(first):
        assert isinstance(end, StartUncertain)


@pytest.mark.parametrize("listed", LISTS)
@pytest.mark.parametrize("second", SECOND)
def test_every_second_answer_and_every_running_list(
    simulator: Simulator, client: Client, second: str | None, listed: str
) -> None:
    _inject(simulator, "answer_lost", "StartOnlineRecord", 1)
    if second is not None:
        _inject(simulator, second, "StartOnlineRecord", 9)
    _inject(simulator, "behind by one", "DescribeRunningTasks", 1)
    if listed != "whole":
        _inject(simulator, listed, "DescribeRunningTasks", 1 if listed == "behind by one" else None)
    end = _end(simulator, client)
    assert simulator.started == 1
    assert isinstance(end, str) == (listed in ("whole", "behind by one"))


@pytest.mark.parametrize("how", ["stopped", "failed"])
@pytest.mark.parametrize("second", [None, "LimitExceeded.TaskConcurrency"])
@pytest.mark.parametrize("first", [name for name in FIRST if name not in NOT_CARRIED_OUT])
def test_a_recording_that_has_ended_by_then_is_not_started_twice(
    simulator: Simulator, client: Client, first: str, second: str | None, how: str
) -> None:
    _inject(simulator, first, "StartOnlineRecord", 1)
    if second is not None:
        _inject(simulator, second, "StartOnlineRecord", 9)

    def end_it() -> None:
        (facts,) = simulator.recordings
        if facts["status"] == "PREPARED":
            simulator.advance(10)
            TiwClient(**simulator.settings()).stop_online_record(facts["task_id"])
            simulator.advance(5)

    def fail_it() -> None:
        simulator.inject(
            "server_error", code="FailedOperation.Record", action="DescribeOnlineRecord"
        )

    client.paused = fail_it if how == "failed" else end_it
    end = _end(simulator, client)
    assert simulator.started == 1
    # The answer about a failed recording does not name its user.
    assert isinstance(end, StartUncertain) == (how == "failed")


@pytest.mark.parametrize("task_id", ODD_TASK_IDS, ids=repr)
@pytest.mark.parametrize("lists", [True, False])
def test_a_task_id_of_an_odd_type(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch, task_id: Any, lists: bool
) -> None:
    _answer_start_with(monkeypatch, simulator, {"TaskId": task_id})
    if not lists:
        _inject(simulator, "not here", "DescribeRunningTasks", None)
    end = _end(simulator, client)
    assert isinstance(end, str) == lists
    # The start was certainly carried out, so no other one is sent.
    assert simulator.requests["StartOnlineRecord"] == 1


def _answer_start_with(
    monkeypatch: pytest.MonkeyPatch, simulator: Simulator, response: dict[str, Any]
) -> None:
    kind = Kind("another answer", edit=_answers(response))
    monkeypatch.setitem(faults.FAULTS, "another answer", kind)
    simulator.inject("another answer", action="StartOnlineRecord", times=1)


@pytest.mark.parametrize(
    "field", ["RecordStartTime", "VideoInfos", "RecordUserId", "TaskId", "Status"]
)
def test_an_odd_field_of_another_recording_hides_nothing(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    for task_id in ("before", "after"):
        # The list does not name its room, so it is described as well.
        simulator.add(task_id, room_id=1, timeline=[{"RECORDING": 9000}])
        odd = Kind("odd field", edit=lambda response: response.update({field: {"odd": [7]}}))
        monkeypatch.setitem(faults.FAULTS, "odd field", odd)
        simulator.inject("odd field", action="DescribeOnlineRecord", task_id=task_id)

    def no_rooms(response: dict[str, Any]) -> None:
        for row in response["Tasks"]:
            row["RoomID"] = 0

    monkeypatch.setitem(faults.FAULTS, "no rooms", Kind("no rooms", edit=no_rooms))
    simulator.inject("no rooms", action="DescribeRunningTasks")
    simulator.inject("answer_lost", action="StartOnlineRecord", times=1)
    task_id = client.start_online_record(next(_rooms), record_user_sig=SIG)
    assert task_id not in ("before", "after")
    assert simulator.started == 1


def test_an_integer_as_task_id_is_its_digits(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _answer_start_with(monkeypatch, simulator, {"TaskId": 8705280042})
    assert client.start_online_record(7, record_user_sig=SIG) == "8705280042"


def _name_recordings(monkeypatch: pytest.MonkeyPatch, task_id: str) -> None:
    monkeypatch.setattr(tasks, "secrets", SimpleNamespace(token_hex=lambda _: task_id))


@pytest.mark.parametrize(
    "task_id",
    [
        "x" * 129,
        "x" * 5000,
        "two\nlines",
        " with blanks ",
        "{{ lookup('pipe', 'id') }}",
        "-",
        "a,b",
    ],
)
def test_a_task_id_of_another_form_is_never_refused(
    simulator: Simulator,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    task_id: str,
) -> None:
    _name_recordings(monkeypatch, task_id)
    with caplog.at_level(logging.DEBUG):
        assert client.start_online_record(next(_rooms), record_user_sig=SIG) == task_id
        simulator.advance(10)
        assert client.describe_online_record(task_id).status == "RECORDING"
        assert check_task_ids(task_id) == [task_id]
        assert client.stop_online_record(task_id)
    ours = [record for record in caplog.records if record.name.startswith("tiw_automation")]
    assert all(record.getMessage().isprintable() for record in ours)


def test_a_task_id_of_another_form_is_found_after_a_lost_answer(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    _name_recordings(monkeypatch, "found\x1b[2J later")
    simulator.inject("answer_lost", action="StartOnlineRecord", times=1)
    task_id = client.start_online_record(next(_rooms), record_user_sig=SIG)
    assert task_id == "found\x1b[2J later"
    assert client.stop_online_record(task_id)


@pytest.mark.parametrize("first", ["answer_lost", "reset", "html_502", "a null TaskId"])
def test_without_a_list_no_second_start_is_sent(
    simulator: Simulator, client: Client, first: str
) -> None:
    _inject(simulator, first, "StartOnlineRecord", 1)
    _inject(simulator, "not here", "DescribeRunningTasks", None)
    assert isinstance(_end(simulator, client), StartUncertain)
    assert simulator.requests["StartOnlineRecord"] == 1


def test_a_start_that_was_never_sent_is_not_in_doubt(simulator: Simulator) -> None:
    client = Client(simulator, endpoint="http://127.0.0.1:9")
    with pytest.raises(TransportError) as caught:
        client.start_online_record(7, record_user_sig=SIG)
    assert caught.value.code == "TransportError"


@pytest.mark.parametrize("code", [code for code in CODES if code != "InternalError"])
def test_a_first_refusal_stays_what_it_is(simulator: Simulator, client: Client, code: str) -> None:
    simulator.inject("server_error", action="StartOnlineRecord", code=code)
    if code == "ResourceInUse.RecordUserId":
        assert isinstance(_end(simulator, client), StartUncertain)
        return
    with pytest.raises(ApiError) as caught:
        client.start_online_record(7, record_user_sig=SIG)
    assert caught.value.code == code
    assert "DescribeRunningTasks" not in simulator.requests


class Interrupted(BaseException):
    """Stands for Ctrl-C or a timeout of Airflow."""


@pytest.mark.parametrize("kind", [Interrupted, KeyboardInterrupt, RecursionError, ValueError])
def test_an_interruption_in_flight_names_the_user(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    respond = client._sdk.respond

    def interrupted(*args: Any, **options: Any) -> Any:
        respond(*args, **options)
        raise kind("now")

    monkeypatch.setattr(client._sdk, "respond", interrupted)
    with pytest.raises(StartUncertain if issubclass(kind, Exception) else kind) as caught:
        client.start_online_record(7, record_user_sig=SIG)
    is_uncertain = isinstance(caught.value, StartUncertain)
    uncertain = caught.value if is_uncertain else caught.value.__cause__
    assert isinstance(uncertain, StartUncertain)
    assert uncertain.record_user_id == simulator.recordings[0]["record_user_id"]


@pytest.mark.parametrize("kind", [Interrupted, KeyboardInterrupt])
def test_an_interruption_before_anything_is_sent(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch, kind: type[BaseException]
) -> None:
    def interrupted(*args: Any, **options: Any) -> Any:
        raise kind("now")

    monkeypatch.setattr(client._unlimited, "acquire", interrupted)
    with pytest.raises(kind) as caught:
        client.start_online_record(7, record_user_sig=SIG)
    assert caught.value.__cause__ is None
    assert simulator.requests == {}


def test_an_interruption_of_a_pause_names_the_user(simulator: Simulator, client: Client) -> None:
    simulator.inject("answer_lost", action="StartOnlineRecord", times=1)

    def interrupt() -> None:
        raise Interrupted

    client.paused = interrupt
    with pytest.raises(Interrupted) as caught:
        client.start_online_record(7, record_user_sig=SIG)
    assert isinstance(caught.value.__cause__, StartUncertain)


@pytest.mark.parametrize("kind", [InterruptedError, Interrupted, TransportError])
@pytest.mark.parametrize("first", ["answer_lost", "reset", None])
def test_an_error_of_before_each_ends_a_start_and_names_the_user(
    simulator: Simulator, client: Client, kind: type[BaseException], first: str | None
) -> None:
    calls: list[int] = []
    if first is not None:
        simulator.inject(first, action="StartOnlineRecord", times=1)
        _inject(simulator, "behind", "DescribeRunningTasks", None)

    def before_each() -> None:
        calls.append(1)
        if len(calls) == 2 or first is None:
            raise kind("ended by the caller")

    with pytest.raises(kind, match="ended by the caller") as caught:
        client.start_online_record(7, record_user_sig=SIG, before_each=before_each)
    assert simulator.requests.get("StartOnlineRecord", 0) == (0 if first is None else 1)
    cause = caught.value.__cause__
    assert cause is None if first is None else isinstance(cause, StartUncertain)


def _user(room: int) -> str:
    return f"tic_record_user_{room}_lesson"


def _earlier(simulator: Simulator, client: TiwClient, room: int) -> str:
    """Start and stop a recording of the user of a room."""
    task_id = client.start_online_record(room, record_user_id=_user(room), record_user_sig=SIG)
    simulator.advance(10)
    client.stop_online_record(task_id)
    simulator.advance(5)
    return task_id


@pytest.mark.parametrize("first", ["reset", "answer_lost"])
def test_an_earlier_recording_of_the_same_user_is_not_the_starts(
    simulator: Simulator, client: Client, first: str
) -> None:
    room = next(_rooms)
    earlier = _earlier(simulator, client, room)
    simulator.inject(first, action="StartOnlineRecord", times=1)
    found = client.start_online_record(room, record_user_id=_user(room), record_user_sig=SIG)
    assert found != earlier
    assert simulator.started == 2


@pytest.mark.parametrize(
    ("began_s_ago", "end"),
    [(0, "found"), (3600, "new"), (301, "new"), (200, "uncertain"), (-60, "uncertain")],
)
def test_when_an_ended_recording_of_a_given_user_is_the_starts(
    simulator: Simulator,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    began_s_ago: float,
    end: str,
) -> None:
    room = next(_rooms)
    with Client(simulator) as another:
        listed = _earlier(simulator, another, room)
    began = {"RecordStartTime": int(time.time() - began_s_ago)}
    edit = Kind("another start", edit=lambda response: response.update(began))
    monkeypatch.setitem(faults.FAULTS, "another start", edit)
    simulator.inject("another start", action="DescribeOnlineRecord")
    simulator.inject("reset", action="StartOnlineRecord", times=1)
    found = _outcome(
        lambda: client.start_online_record(room, record_user_id=_user(room), record_user_sig=SIG)
    )
    assert simulator.started == (2 if end == "new" else 1)
    if end == "uncertain":
        assert isinstance(found, StartUncertain)
        assert listed in str(found)
    else:
        assert (found == listed) == (end == "found")


def test_an_uncertain_start_shows_each_error_escaped(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostile = {"Error": {"Code": "InternalError", "Message": "x\n\x1b[2Jforged " + "y" * 9000}}
    _answer_start_with(monkeypatch, simulator, hostile)
    _inject(simulator, "keys refused", "DescribeRunningTasks", None)
    end = _end(simulator, client)
    assert isinstance(end, StartUncertain)
    text = str(end)
    assert text.isprintable()
    assert len(text) < 2000
    assert "AuthFailure.SignatureFailure" in text
    assert "forged" in text
    again = pickle.loads(pickle.dumps(end))
    assert again.record_user_id == end.record_user_id


def _other(simulator: Simulator, task_id: str, room: int, **recording: Any) -> None:
    simulator.add(task_id, room_id=room, timeline=[{"RECORDING": 9000}], **recording)


@pytest.mark.parametrize(
    "fault",
    [
        "InvalidParameterValue",
        "FailedOperation",
        "UnsupportedOperation",
        "InternalError",
        "other_task",
    ],
)
def test_one_recording_that_cannot_be_read_does_not_end_a_search(
    simulator: Simulator, client: Client, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    room = next(_rooms)
    for task_id in ("before", "lesson", "after"):
        user = _user(room) if task_id == "lesson" else f"tic_record_user_{room}_another"
        _other(simulator, task_id, room, record_user_id=user)
    for task_id in ("before", "after"):
        options = {"task_id": task_id, "action": "DescribeOnlineRecord"}
        if fault in faults.FAULTS:
            simulator.inject(fault, **options)
        else:
            simulator.inject("server_error", code=fault, **options)
    assert client.find_online_record(room, _user(room)) == "lesson"
    assert "before" in caplog.text
    assert client.find_online_record(room, f"tic_record_user_{room}_x") is None


@pytest.mark.parametrize("code", ["AuthFailure.SignatureFailure", "UnauthorizedOperation"])
def test_an_error_about_the_account_ends_a_search(
    simulator: Simulator, client: Client, code: str
) -> None:
    room = next(_rooms)
    _other(simulator, "other", room)
    simulator.inject("server_error", code=code, action="DescribeOnlineRecord")
    with pytest.raises(ApiError, match=code):
        client.find_online_record(room, _user(room))


SECOND_OF_A_CHANGE = [
    *(None, "FailedOperation", "FailedOperation.Record", "AuthFailure.SignatureFailure"),
    *("InvalidParameter.TaskNotFound", "UnsupportedOperation", "InternalError", "Something.New"),
    *("UnsupportedOperation.TaskHasAlreadyStopped", "RequestLimitExceeded", "reset"),
]
CHANGES = {"pause": "PauseOnlineRecord", "resume": "ResumeOnlineRecord", "stop": "StopOnlineRecord"}


@pytest.mark.parametrize("seen", [None, "bad_json", "keys refused"])
@pytest.mark.parametrize("second", SECOND_OF_A_CHANGE)
@pytest.mark.parametrize("first", ["answer_lost", "an internal error", "reset"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_in_doubt_never_ends_in_a_plain_refusal(
    simulator: Simulator,
    client: Client,
    name: str,
    first: str,
    second: str | None,
    seen: str | None,
) -> None:
    simulator.add("lesson", timeline=[{"PAUSED" if name == "resume" else "RECORDING": 9000}])
    _inject(simulator, first, CHANGES[name], 1)
    if second is not None:
        _inject(simulator, second, CHANGES[name], 30)
    if seen is not None:
        _inject(simulator, seen, "DescribeOnlineRecord", None)
    client.paused = lambda: simulator.advance(3)
    end = _outcome(lambda: getattr(client, f"{name}_online_record")("lesson"))
    if end is True:
        return
    assert isinstance(end, ChangeUncertain)
    assert seen is not None or first == "reset"
    assert end.task_id == "lesson"
    assert end.__cause__ is not None
    assert end.retryable
    assert CHANGES[name] in str(end)
    assert "lesson" in str(end)


def test_a_change_that_was_refused_at_first_is_not_in_doubt(
    simulator: Simulator, client: Client
) -> None:
    simulator.add("lesson", timeline=[{"RECORDING": 9000}])
    for code in ("FailedOperation", "AuthFailure.SignatureFailure", "LimitExceeded"):
        simulator.inject("server_error", code=code, action="StopOnlineRecord", times=1)
        with pytest.raises(ApiError, match=code):
            client.stop_online_record("lesson")
    simulator.inject("server_error", code="FailedOperation", action="DescribeOnlineRecord")
    with pytest.raises(UnsupportedOperation):
        client.resume_online_record("lesson")


def test_an_interruption_of_a_change_names_the_recording(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.add("lesson", timeline=[{"RECORDING": 9000}])
    respond = client._sdk.respond

    def interrupted(*args: Any, **options: Any) -> Any:
        respond(*args, **options)
        raise Interrupted

    monkeypatch.setattr(client._sdk, "respond", interrupted)
    with pytest.raises(Interrupted) as caught:
        client.stop_online_record("lesson")
    cause = caught.value.__cause__
    assert isinstance(cause, ChangeUncertain)
    assert pickle.loads(pickle.dumps(cause)).task_id == "lesson"
