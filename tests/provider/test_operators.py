# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import inspect
import logging
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowException, AirflowTaskTimeout, TaskDeferred
from airflow.sdk import DAG
from airflow.sdk.execution_time.timeout import timeout
from jinja2 import UndefinedError

from tiw_automation.airflow.operators import (
    TiwDescribeOnlineRecordOperator,
    TiwPauseOnlineRecordOperator,
    TiwResumeOnlineRecordOperator,
    TiwStartOnlineRecordOperator,
    TiwStopOnlineRecordOperator,
)
from tiw_automation.airflow.sensors import TiwOnlineRecordSensor
from tiw_automation.airflow.wait_operator import TiwOnlineRecordFailed
from tiw_automation.core import (
    START_OPTIONS,
    ConfigurationError,
    RecordingFailure,
    StartUncertain,
    TaskNotFound,
    TiwClient,
    make_user_sig,
)
from tiw_automation.simulator import Simulator

ROOM = 880528
USER = f"tic_record_user_{ROOM}_mine"


class TaskInstance:
    """The part of a task instance that the operators use."""

    def __init__(self, run_id: str = "run-1", map_index: int = -1) -> None:
        self.dag_id = "lessons"
        self.run_id = run_id
        self.task_id = "record"
        self.map_index = map_index
        self.max_tries = 2
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


def context(**whose: Any) -> Any:
    return {"ti": TaskInstance(**whose)}


@pytest.fixture
def simulator(connect: Callable[..., None]) -> Iterator[Simulator]:
    with Simulator(speed=0, region="ap-guangzhou", user_sig_key="the-apps-key") as running:
        extra = {"user_sig_secret": "the-apps-key", "region": "ap-guangzhou", "timeout": 1}
        connect(running, extra=extra)
        yield running


def start(**given: Any) -> TiwStartOnlineRecordOperator:
    return TiwStartOnlineRecordOperator(task_id="record", room_id=ROOM, **given)


def test_every_option_of_the_core_can_be_given_and_templated() -> None:
    known = set(inspect.signature(TiwStartOnlineRecordOperator.__init__).parameters)
    assert {option.name for option in START_OPTIONS} < known
    fields = set(TiwStartOnlineRecordOperator.template_fields)
    assert {option.name for option in START_OPTIONS} < fields
    assert {"room_id", "record_user_id", "record_user_sig", "preset"} < fields


# Texts that Python reads as other values.
ODD_TEXTS = [
    "880528",
    "007",
    "1_000",
    "0x10",
    "1e5",
    "None",
    "True",
    '{"a": 7}',
    '[{"a": 7}]',
    '"quoted"',
    "('a', 'b')",
    "a, b",
    "-5",
]
TEXTS = ("group_id", "chat_group_id", "extra_data", "trtc_room_id_str")


def sent_by(
    operator: TiwStartOnlineRecordOperator, where: Any, patch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Return the parameters that a start sends once its templates are rendered."""
    sent: list[dict[str, Any]] = []
    start_one = TiwClient.start_online_record

    def noted(client: TiwClient, room_id: int, **given: Any) -> str:
        plain = {name: value for name, value in given.items() if name != "before_each"}
        sent.append(client.start_online_record_params(room_id, **plain))
        return start_one(client, room_id, **given)

    patch.setattr(TiwClient, "start_online_record", noted)
    operator.render_template_fields(where)
    operator.execute(where)
    (params,) = sent
    return params


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    "template", ["{text}", "{{{{ text }}}}", "{{{{ text }}}}{{{{ none_of_it }}}}"]
)
@pytest.mark.parametrize("text", ODD_TEXTS)
def test_a_text_is_sent_as_it_was_given_or_rendered(
    text: str, template: str, native: bool, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = template.format(text=text)
    with DAG("lessons", schedule=None, render_template_as_native_obj=native):
        operator = start(
            **dict.fromkeys(TEXTS, given),
            record_user_id="{{ user }}",
            record_user_sig="{{ number }}",
            sdk_app_id="{{ app }}",
            whiteboard={"width": "{{ 640 }}", "height": "{{ height }}", "init_param": given},
            mix_stream={
                "enabled": "{{ yes }}",
                "custom": {
                    "canvas": {"layout_params": {"width": 640, "height": "{{ height }}"}},
                    "input_stream_list": [
                        {
                            "layout_params": {"width": 640, "height": 480},
                            "input_stream_id": given,
                        }
                    ],
                },
            },
            auto_stop_timeout="{{ seconds }}",
        )
    where: Any = {
        **context(),
        "text": text,
        "none_of_it": "",
        "user": USER,
        "number": "12345678",
        "app": simulator.sdk_app_id,
        "height": 480,
        "yes": True,
        "seconds": 600,
    }
    params = sent_by(operator, where, monkeypatch)
    assert params["SdkAppId"] == simulator.sdk_app_id
    assert (params["RecordUserId"], params["RecordUserSig"]) == (USER, "12345678")
    assert params["AutoStopTimeout"] == 600
    assert params["Whiteboard"] == {"Width": 640, "Height": 480, "InitParam": text}
    (stream,) = params["MixStream"]["Custom"]["InputStreamList"]
    assert stream["InputStreamId"] == text
    names = [option.api_name for option in START_OPTIONS if option.name in TEXTS]
    assert [params[name] for name in names] == [text] * len(TEXTS)


def test_what_a_template_gives_natively(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DAG("lessons", schedule=None, render_template_as_native_obj=True):
        operator = start(
            record_user_id="{{ empty }}{{ user }}",
            group_id="{{ number }}",
            chat_group_id="{{ unset }}",
            extras="{{ extras }}",
            whiteboard="{{ {'width': 640, 'height': 480} }}",
            concat="{{ concat }}",
            audio_file_needed="{{ yes }}",
            trtc_room_id="{{ number }}",
        )
    where: Any = {
        **context(),
        "empty": "",
        "user": USER,
        "number": 4711,
        "unset": None,
        "extras": ["MIX_STREAM"],
        "concat": {"enabled": True, "image": "https://e/x.png"},
        "yes": True,
    }
    params = sent_by(operator, where, monkeypatch)
    assert params["GroupId"] == "4711"
    assert "ChatGroupId" not in params
    assert params["Extras"] == ["MIX_STREAM"]
    assert params["Whiteboard"] == {"Width": 640, "Height": 480}
    assert params["Concat"] == {"Enabled": True, "Image": "https://e/x.png"}
    assert params["AudioFileNeeded"] is True
    assert params["TRTCRoomId"] == 4711


def test_an_undefined_value_is_an_error_in_a_natively_rendered_task() -> None:
    with DAG("lessons", schedule=None, render_template_as_native_obj=True):
        operator = start(group_id="{{ nothing }}")
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        operator.render_template_fields(context())


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("{{ ids }}", ["1", "2"]),
        ("{{ ['1', 'b'] }}", ["1", "b"]),
        ("['1', 'b']", ["1", "b"]),
        ("{{ ids[0] }}", "1"),
        ("{{ number }}", "880528"),
        ("880528", "880528"),
        ("{{ ids | join(',') }}", "1,2"),
        (["{{ ids[0] }}", "007"], ["1", "007"]),
    ],
)
def test_the_task_ids_of_a_natively_rendered_task(given: Any, found: Any) -> None:
    where: Any = {"ids": ["1", "2"], "number": 880528}
    with DAG("lessons", schedule=None, render_template_as_native_obj=True):
        kinds: tuple[Any, ...] = (TiwOnlineRecordSensor, TiwStopOnlineRecordOperator)
        waits = [kind(task_id=kind.__name__, record_task_id=given) for kind in kinds]
        asked = TiwDescribeOnlineRecordOperator(task_id="ask", record_task_id="{{ number }}")
    for wait in waits:
        wait.render_template_fields(where)
        assert wait.record_task_id == found
    asked.render_template_fields(where)
    assert asked.record_task_id == "880528"


def test_the_texts_of_mapped_tasks_stay_texts() -> None:
    with DAG("rooms", render_template_as_native_obj=True) as dag:
        mapped = TiwStartOnlineRecordOperator.partial(
            task_id="record", group_id="{{ group }}", extra_data='{"a": 7}'
        ).expand(room_id=[1, 2])
    whose: Any = {
        **context(map_index=1),
        "dag": dag,
        "dag_run": SimpleNamespace(conf={}),
        "expanded_ti_count": 2,
        "group": "007",
    }
    mapped.render_template_fields(whose)
    task = whose["task"]
    assert (task.room_id, task.group_id, task.extra_data) == (2, "007", '{"a": 7}')


@pytest.mark.parametrize("signature", [12345678, ["a"], {"a": 1}])
def test_a_signature_of_another_type_is_refused_and_not_shown(
    signature: Any, simulator: Simulator
) -> None:
    with pytest.raises(ConfigurationError, match="record_user_sig must be a text") as caught:
        start(record_user_sig=signature).execute(context())
    assert "12345678" not in str(caught.value)
    assert simulator.requests == {}


def test_it_starts_with_a_signature_made_from_the_connections_key(simulator: Simulator) -> None:
    operator = start(preset="audio_files", whiteboard={"width": 640, "height": 480})
    task_id = operator.execute(context())
    simulator.advance(30)
    (facts,) = simulator.recordings
    assert facts["task_id"] == task_id
    assert facts["status"] == "RECORDING"
    assert operator.console_url == "https://console.cloud.tencent.com/tiw"


def test_every_try_of_a_task_finds_the_same_recording(simulator: Simulator) -> None:
    first = start().execute(context())
    assert start().execute(context()) == first
    assert simulator.started == 1


def test_a_try_after_a_lost_answer_starts_no_second_recording(simulator: Simulator) -> None:
    # The first try is killed between request and answer: only the name of the run is left of it.
    simulator.inject("hang", times=9, action="DescribeRunningTasks")
    simulator.inject("answer_lost", times=9, action="StartOnlineRecord")
    with pytest.raises(StartUncertain):
        start().execute(context())
    simulator.clear_faults()
    assert start().execute(context()) == simulator.recordings[0]["task_id"]
    assert simulator.started == 1


class Kept:
    """A task's state store, as in the context of Airflow 3.3."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.lock = threading.Lock()

    def get(self, key: str, default: Any = None) -> Any:
        return self.values.get(key, default)

    def set(self, key: str, value: Any) -> None:
        with self.lock:
            self.values[key] = value

    def delete(self, key: str) -> None:
        with self.lock:
            del self.values[key]


class Unreachable:
    """The same, while Airflow's api-server is down."""

    def get(self, key: str, default: Any = None) -> Any:
        raise ConnectionError("no api-server to read from")

    def set(self, key: str, value: Any) -> None:
        raise ConnectionError("no api-server to write to")


def with_store(store: Any) -> Any:
    return {**context(), "task_state_store": store}


def test_a_store_that_fails_loses_no_recording(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    task_id = start().execute(with_store(Unreachable()))
    assert [facts["task_id"] for facts in simulator.recordings] == [task_id]
    logged = capsys.readouterr().out
    assert "no api-server to read from" in logged
    # The log names the recording in any case.
    _, started, after = logged.partition(f"recording {task_id}.")
    assert started
    assert f"Task {task_id} could not be kept" in after
    assert "no api-server to write to" in after


def test_a_later_try_finds_what_has_ended_meanwhile(simulator: Simulator) -> None:
    where = {**context(), "task_state_store": Kept()}
    first = start().execute(where)  # type: ignore[arg-type]
    simulator.advance(30)
    TiwStopOnlineRecordOperator(task_id="stop", record_task_id=first).execute(context())
    simulator.advance(600)
    later = start(stop_on_kill=True)
    assert later.execute(where) == first  # type: ignore[arg-type]
    assert simulator.started == 1
    # Stopping what has ended is not an error, and another try does not start anew.
    later.on_kill()
    assert start().execute(where) == first  # type: ignore[arg-type]
    assert simulator.started == 1


def test_a_cleared_task_records_again_unless_its_recording_still_runs(
    simulator: Simulator,
) -> None:
    where = {**context(), "task_state_store": Kept()}
    first = start().execute(where)  # type: ignore[arg-type]
    # Airflow adds the tries so far when a task is cleared.
    where["ti"].max_tries += 1
    assert start().execute(where) == first  # type: ignore[arg-type]
    simulator.advance(30)
    TiwStopOnlineRecordOperator(task_id="stop", record_task_id=first).execute(context())
    simulator.advance(600)
    where["ti"].max_tries += 1
    second = start().execute(where)  # type: ignore[arg-type]
    assert second != first
    assert start().execute(where) == second  # type: ignore[arg-type]
    assert simulator.started == 2


def test_a_later_try_starts_anew_where_the_recording_failed(simulator: Simulator) -> None:
    kept = Kept()
    simulator.add("f", error={"message": "code: 40004, msg: x"})
    kept.set("tiw_record_task_id", {"record_task_id": "f", "max_tries": 2})
    where = {**context(), "task_state_store": kept}
    second = start().execute(where)  # type: ignore[arg-type]
    assert second != "f"
    assert kept.values == {"tiw_record_task_id": {"record_task_id": second, "max_tries": 2}}
    kept.set("tiw_record_task_id", {"record_task_id": "gone", "max_tries": 2})
    assert start().execute(where) == second  # type: ignore[arg-type]
    assert simulator.started == 1


def test_a_signature_is_masked_once_it_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr("tiw_automation.airflow.operators.mask_secret", masked.append)
    operator = start(record_user_id="{{ 'me' }}", record_user_sig="{{ 'eJyrVgrx' }}signed")
    operator.render_template_fields(context())
    assert operator.record_user_id == "me"
    assert masked == ["eJyrVgrxsigned"]


def test_the_signatures_of_mapped_tasks_are_masked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr("tiw_automation.airflow.operators.mask_secret", masked.append)
    with DAG("rooms") as dag:
        mapped = TiwStartOnlineRecordOperator.partial(
            task_id="record", record_user_id="me"
        ).expand_kwargs([{"room_id": n, "record_user_sig": f"signed-for-{n}"} for n in (1, 2)])
    whose: Any = {
        **context(map_index=1),
        "dag": dag,
        "dag_run": SimpleNamespace(conf={}),
        "expanded_ti_count": 2,
    }
    mapped.render_template_fields(whose)
    assert masked == ["signed-for-2"]


def test_another_run_or_map_index_has_another_user(simulator: Simulator) -> None:
    users = set()
    runs: list[dict[str, Any]] = [{}, {"run_id": "run-2"}, {"map_index": 0}, {"map_index": 1}]
    for number, whose in enumerate(runs):
        TiwStartOnlineRecordOperator(task_id="record", room_id=ROOM + number).execute(
            context(**whose)
        )
    users = {facts["record_user_id"].rpartition("_")[2] for facts in simulator.recordings}
    assert len(users) == 4


def test_a_kill_stops_the_recording_only_if_that_was_asked_for(simulator: Simulator) -> None:
    kept = start()
    kept.execute(context())
    kept.on_kill()
    simulator.advance(30)
    assert simulator.recordings[0]["status"] == "RECORDING"
    stopped = start(stop_on_kill=True)
    stopped.execute(context())
    stopped.on_kill()
    simulator.advance(5)
    assert simulator.recordings[0]["status"] == "STOPPED"


@pytest.mark.parametrize("asked_to", [True, False])
def test_a_kill_in_the_middle_of_a_start(simulator: Simulator, asked_to: bool) -> None:
    """Airflow calls on_kill from a signal handler, while the answer is awaited."""
    operator = start(stop_on_kill=asked_to)
    simulator.inject("held", times=1, action="StartOnlineRecord")
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(operator.execute, context())
        while not simulator.started:
            time.sleep(0.01)
        operator.on_kill()
        simulator.advance(30)
        simulator.clear_faults()
        if asked_to:
            with pytest.raises(AirflowException, match="was killed while it was starting"):
                killed.result(10)
        else:
            killed.result(10)
    simulator.advance(5)
    assert simulator.recordings[0]["status"] == ("STOPPED" if asked_to else "RECORDING")


@pytest.mark.parametrize("lists", [True, False])
def test_a_start_that_execution_timeout_has_cut_off(simulator: Simulator, lists: bool) -> None:
    operator = start(stop_on_kill=True)
    simulator.inject("held", action="StartOnlineRecord")
    with pytest.raises(AirflowTaskTimeout), timeout(0.5):  # type: ignore[no-untyped-call]
        operator.execute(context())
    if not lists:
        simulator.inject("server_error", code="InvalidAction", action="DescribeRunningTasks")
    simulator.advance(30)
    operator.on_kill()
    simulator.advance(5)
    # A recording that cannot be found is not stopped, and the log states that.
    assert [r["status"] for r in simulator.recordings] == ["STOPPED" if lists else "RECORDING"]


def test_a_kill_before_anything_was_sent(simulator: Simulator) -> None:
    """For example while templates are rendered: Airflow then calls execute all the same."""
    operator = start(stop_on_kill=True)
    operator.on_kill()
    with pytest.raises(AirflowException, match="was killed"):
        operator.execute(context())
    assert simulator.requests == {}


def test_a_kill_in_the_middle_of_a_call_to_airflow(simulator: Simulator) -> None:
    """Airflow's next answer belongs to that call, so the call must end as usual."""

    class Interrupted(Kept):
        def get(self, key: str, default: Any = None) -> Any:
            operator.on_kill()
            return super().get(key, default)

    operator = start(stop_on_kill=True)
    with pytest.raises(AirflowException, match="was killed"):
        operator.execute(with_store(Interrupted()))
    assert simulator.requests == {}


def test_a_kill_while_the_start_waits_for_a_slot(
    simulator: Simulator, connect: Callable[..., None]
) -> None:
    """The kill ends the wait at once; nothing was sent, and no recording is looked for."""
    extra = {"user_sig_secret": "the-apps-key", "region": "ap-guangzhou"}
    connect(simulator, extra={**extra, "requests_per_second": 0.02})
    start().execute(context())
    operator = TiwStartOnlineRecordOperator(task_id="record", room_id=ROOM + 1, stop_on_kill=True)
    main, over = threading.get_ident(), threading.Event()

    def kill() -> None:
        while not over.wait(0.01):
            if sys._current_frames()[main].f_code.co_filename.endswith("quota.py"):
                os.kill(os.getpid(), signal.SIGTERM)
                return

    before = signal.signal(signal.SIGTERM, lambda *_: operator.on_kill())
    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        with pytest.raises(AirflowException, match="was killed"):
            operator.execute(context())
    finally:
        over.set()
        killer.join()
        signal.signal(signal.SIGTERM, before)
    assert simulator.requests == {"StartOnlineRecord": 1}
    # The slot is released: another caller may reserve one.
    with TiwClient(**simulator.settings()) as client:
        assert client.quota("StartOnlineRecord").reserve() > 0


def test_after_a_kill_no_further_start_is_sent(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = start(stop_on_kill=True, record_user_id=USER)
    waited: list[float] = []
    operator._sleep = waited.append
    simulator.inject("hang", action="StartOnlineRecord")
    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(operator.execute, context())
        while not simulator.requests.get("StartOnlineRecord"):
            time.sleep(0.01)
        operator.on_kill()
        with pytest.raises(AirflowException, match="was killed"):
            killed.result(10)
    assert simulator.requests["StartOnlineRecord"] == 1
    assert waited == [2.5]
    assert f"No recording of {USER} in room {ROOM} was found" in capsys.readouterr().out


def test_a_kill_sends_no_request_to_airflow(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call may await Airflow's answer at this moment."""
    operator = start(stop_on_kill=True)
    operator.execute(context())
    monkeypatch.delenv("AIRFLOW_CONN_TENCENTCLOUD_DEFAULT")
    simulator.advance(30)
    operator.on_kill()
    simulator.advance(5)
    assert [facts["status"] for facts in simulator.recordings] == ["STOPPED"]


def test_a_stop_that_fails_is_logged(
    simulator: Simulator, capsys: pytest.CaptureFixture[str]
) -> None:
    operator = start(stop_on_kill=True)
    task_id = operator.execute(context())
    simulator.inject("server_error", code="AuthFailure.Forbidden", action="StopOnlineRecord")
    operator.on_kill()
    assert f"its recording {task_id} could not be stopped" in capsys.readouterr().out


def test_a_start_that_is_listed_late_is_stopped_too(simulator: Simulator) -> None:
    operator = start(stop_on_kill=True, record_user_id=USER)
    simulator.inject("hang", action="StartOnlineRecord")
    with pytest.raises(AirflowTaskTimeout), timeout(0.5):  # type: ignore[no-untyped-call]
        operator.execute(context())
    simulator.clear_faults()

    def shows(seconds: float) -> None:
        assert 2 <= seconds <= 3
        with TiwClient(**simulator.settings()) as client:
            client.start_online_record(ROOM, record_user_id=USER, user_sig_key="the-apps-key")

    operator._sleep = shows
    operator.on_kill()
    simulator.advance(5)
    assert [facts["status"] for facts in simulator.recordings] == ["STOPPED"]


def test_a_try_after_a_kill_records_again(simulator: Simulator) -> None:
    kept = Kept()
    operator = start(stop_on_kill=True)
    first = operator.execute(with_store(kept))
    simulator.advance(30)
    operator.on_kill()
    simulator.advance(600)
    assert start(stop_on_kill=True).execute(with_store(kept)) != first
    assert simulator.started == 2


def test_a_kill_waits_for_no_store_that_is_in_use(simulator: Simulator) -> None:
    kept = Kept()
    operator = start(stop_on_kill=True)
    operator.execute(with_store(kept))
    simulator.advance(30)
    with kept.lock:
        # As from a signal handler in the middle of a call of the store.
        operator.on_kill()
    simulator.advance(5)
    assert [facts["status"] for facts in simulator.recordings] == ["STOPPED"]
    deadline = time.monotonic() + 60
    while kept.values:
        assert time.monotonic() < deadline, "the store still has the recording"
        time.sleep(0.01)


def test_without_a_list_of_running_tasks_every_try_is_uncertain(
    connect: Callable[..., None],
) -> None:
    with Simulator(speed=0, user_sig_key="the-apps-key") as abroad:
        connect(abroad, extra={"user_sig_secret": "the-apps-key", "timeout": 5})
        abroad.inject("answer_lost", times=1, action="StartOnlineRecord")
        for _ in range(2):
            with pytest.raises(StartUncertain, match="its TaskId is not known"):
                start().execute(context())
            abroad.advance(30)
        assert abroad.started == 1
        assert [facts["status"] for facts in abroad.recordings] == ["RECORDING"]


@pytest.mark.parametrize(("signed_for", "status"), [(USER, "RECORDING"), (f"{USER}2", None)])
def test_a_given_signature_is_sent(
    simulator: Simulator,
    connect: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    signed_for: str,
    status: str | None,
) -> None:
    # The connection has no key to make another one.
    connect(simulator, extra={"region": "ap-guangzhou"})
    signature = make_user_sig(simulator.sdk_app_id, signed_for, "the-apps-key")
    caplog.set_level(logging.DEBUG)
    where: Any = {**context(), "user": USER, "signature": signature}
    operator = start(record_user_id="{{ user }}", record_user_sig="{{ signature }}")
    operator.render_template_fields(where)
    task_id = operator.execute(where)
    logged = "".join([caplog.text, *capsys.readouterr()])
    simulator.advance(30)
    if status is None:
        with (
            TiwClient(**simulator.settings()) as client,
            pytest.raises(RecordingFailure, match="im login failed"),
        ):
            client.describe_online_record(task_id)
    else:
        assert [facts["status"] for facts in simulator.recordings] == [status]
    assert task_id in logged
    assert "urllib3" in logged
    assert signature not in logged


def test_without_a_signature_or_a_key_the_error_names_both(
    simulator: Simulator, connect: Callable[..., None]
) -> None:
    connect(simulator, name="no_key")
    with pytest.raises(ConfigurationError, match="Exactly one of record_user_sig"):
        start(tencentcloud_conn_id="no_key").execute(context())
    assert simulator.started == 0


def test_pause_resume_stop_and_describe(simulator: Simulator) -> None:
    task_id = start().execute(context())
    simulator.advance(30)
    for kind, status in (
        (TiwPauseOnlineRecordOperator, "PAUSED"),
        (TiwResumeOnlineRecordOperator, "RECORDING"),
        (TiwStopOnlineRecordOperator, "STOPPED"),
    ):
        for _ in range(2):
            assert kind(task_id="change", record_task_id=task_id).execute(context()) == task_id
            simulator.advance(3)
        asked = TiwDescribeOnlineRecordOperator(task_id="ask", record_task_id=task_id)
        assert asked.execute(context())["status"] == status


def test_describing_polls_exactly_once(simulator: Simulator) -> None:
    simulator.add("a", timeline=[{"RECORDING": 100}])
    asked = TiwDescribeOnlineRecordOperator(task_id="ask", record_task_id="a").execute(context())
    assert asked["status"] == "RECORDING"
    assert simulator.requests == {"DescribeOnlineRecord": 1}


def test_describing_a_failed_or_missing_recording_fails(simulator: Simulator) -> None:
    simulator.add("f", error={"message": "code: 40004, msg: x"})
    for task_id, error in (("f", RecordingFailure), ("gone", TaskNotFound)):
        with pytest.raises(error):
            TiwDescribeOnlineRecordOperator(task_id="ask", record_task_id=task_id).execute(
                context()
            )


def stop(task_id: str, **given: Any) -> TiwStopOnlineRecordOperator:
    given = {"wait_for_completion": True, **given}
    return TiwStopOnlineRecordOperator(task_id="stop", record_task_id=task_id, **given)


def test_a_stop_that_waits_pushes_what_the_sensor_pushes() -> None:
    with Simulator() as simulator:
        (task_id,) = simulator.add_finished(1)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in simulator.environment().items():
                patch.setenv(name, value)
            where = context()
            urls = stop(task_id, deferrable=False).execute(where)
        assert urls == where["ti"].pushed["return_value"]
        assert where["ti"].pushed["records"][0]["task_id"] == task_id


def test_a_stop_that_waits_defers(simulator: Simulator) -> None:
    task_id = start().execute(context())
    simulator.advance(30)
    operator = stop(task_id, deferrable=True, wait_timeout=900)
    with pytest.raises(TaskDeferred) as caught:
        operator.execute(context())
    assert caught.value.method_name == "execute_complete"
    _, arguments = caught.value.trigger.serialize()
    assert arguments["record_task_ids"] == [task_id]
    simulator.advance(600)
    row = {"record_task_id": task_id, "message": "m", "timed_out": False}
    for verdict in ("finished", "failed"):
        event = {"sdk_app_id": simulator.sdk_app_id, "outcomes": [{**row, "verdict": verdict}]}
        # What this worker finds counts, not what the triggerer reported.
        urls = operator.execute_complete(context(), event)
        assert urls
        assert operator.replay_url == urls[0]
    simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    row |= {"record_task_id": "broken", "verdict": "failed"}
    event = {"sdk_app_id": simulator.sdk_app_id, "outcomes": [row]}
    with pytest.raises(TiwOnlineRecordFailed):
        stop("broken", deferrable=True).execute_complete(context(), event)


def test_a_stop_whose_timeout_elapsed_is_retried_and_names_the_last_status(
    simulator: Simulator,
) -> None:
    """Airflow does not retry after an AirflowSensorTimeout: the archive would never run."""
    task_id = start().execute(context())
    simulator.advance(30)
    operator = stop(task_id, deferrable=False, wait_timeout=timedelta(0), poll_interval=0.1)
    with pytest.raises(TimeoutError, match=rf"1 of 1 .*{task_id}: pending"):
        operator.execute(context())
    with pytest.raises(TimeoutError, match="last seen STOPPED"):
        operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context())
    simulator.advance(600)
    assert operator.resume_execution("__fail__", {"error": "Trigger timeout"}, context())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"wait_timeout": "an hour"}, "wait_timeout must be a number of seconds"),
        ({"wait_timeout": timedelta(hours=-1)}, "wait_timeout must be a number of seconds"),
        ({"poll_interval": None}, "poll_interval must be a number of seconds"),
        ({"video_kinds": ["cam"]}, "video_kinds: 'cam' is not a kind"),
        ({"accept_finish_reasons": "by itself"}, "'by itself' is not a finish reason"),
        ({"accept_finish_reasons": 5}, "accept_finish_reasons must be a list of finish reasons"),
    ],
)
def test_nothing_is_stopped_where_the_wait_is_invalid(
    given: dict[str, Any], words: str, simulator: Simulator
) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(words)):
        stop("lesson", **given).execute(context())
    assert simulator.requests == {}


def test_a_flag_may_be_given_as_a_text(simulator: Simulator) -> None:
    (done,) = simulator.add_finished(1)
    flags: dict[str, Any] = {"wait_for_completion": "false", "push_records": "False"}
    assert stop(done, **flags).execute(context()) == done
    where = context()
    flags = {"wait_for_completion": "true", "deferrable": "false", "push_records": "false"}
    assert len(stop(done, **flags).execute(where)) == 1
    assert "records" not in where["ti"].pushed
    never: dict[str, Any] = {"stop_on_kill": "false"}
    operator = start(**never)
    task_id = operator.execute(context())
    simulator.advance(30)
    operator.on_kill()
    found = [facts["status"] for facts in simulator.recordings if facts["task_id"] == task_id]
    assert found == ["RECORDING"]


@pytest.mark.parametrize(
    "name", ["wait_for_completion", "deferrable", "push_records", "require_videos"]
)
@pytest.mark.parametrize("odd", ["no", "", 0, None])
def test_an_unclear_flag_is_refused_before_anything_is_sent(
    name: str, odd: Any, simulator: Simulator
) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be True or False"):
        stop("lesson", **{name: odd}).execute(context())
    flags: dict[str, Any] = {"stop_on_kill": odd}
    with pytest.raises(ConfigurationError, match="stop_on_kill must be True or False"):
        start(**flags).execute(context())
    assert simulator.requests == {}


def test_do_xcom_push_false_pushes_nothing(simulator: Simulator) -> None:
    (done,) = simulator.add_finished(1)
    where = context()
    operator = stop(done, deferrable=False, do_xcom_push=False)
    operator.execute(where)
    event = {"sdk_app_id": simulator.sdk_app_id, "outcomes": []}
    operator.execute_complete(where, event)
    assert where["ti"].pushed == {}
    assert operator.replay_url


async def test_in_a_running_loop(simulator: Simulator) -> None:
    task_id = start().execute(context())
    simulator.advance(30)
    asked = TiwDescribeOnlineRecordOperator(task_id="ask", record_task_id=task_id)
    assert asked.execute(context())["status"] == "RECORDING"
    with pytest.raises(TimeoutError, match="last seen STOPPED"):
        stop(task_id, deferrable=False, wait_timeout=0.5, poll_interval=0.1).execute(context())
    simulator.advance(600)
    assert stop(task_id, deferrable=False).execute(context())


def test_no_connection_means_the_environment(
    simulator: Simulator, connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(simulator, password="anotherkeyanotherkeyanother")
    for name, value in simulator.environment().items():
        monkeypatch.setenv(name, value)
    signature = make_user_sig(simulator.sdk_app_id, USER, "the-apps-key")
    nothing: dict[str, Any] = {"tencentcloud_conn_id": None}
    task_id = start(record_user_id=USER, record_user_sig=signature, **nothing).execute(context())
    simulator.advance(30)
    for kind in (
        TiwPauseOnlineRecordOperator,
        TiwResumeOnlineRecordOperator,
        TiwDescribeOnlineRecordOperator,
        TiwStopOnlineRecordOperator,
    ):
        assert kind(task_id="change", record_task_id=task_id, **nothing).execute(context())
        simulator.advance(3)
    assert simulator.recordings[0]["status"] == "STOPPED"


@pytest.mark.parametrize(
    "kind",
    [
        TiwPauseOnlineRecordOperator,
        TiwResumeOnlineRecordOperator,
        TiwDescribeOnlineRecordOperator,
        TiwStopOnlineRecordOperator,
    ],
)
@pytest.mark.parametrize(
    "bad", [None, "", "a,b", ["a", "b"], 880528, "['a']", "a\nb", {"a": 1}, "x" * 129]
)
def test_a_value_that_is_not_one_task_id_is_refused(
    kind: Any, bad: Any, simulator: Simulator
) -> None:
    with pytest.raises(ConfigurationError, match=r"(?i)task[_ ]id"):
        kind(task_id="change", record_task_id=bad).execute(context())
    assert simulator.requests == {}


def test_one_task_id_in_any_form(simulator: Simulator) -> None:
    (done,) = simulator.add_finished(1)
    for given in (done, f" {done} ", [done], (done, done)):
        asked = TiwDescribeOnlineRecordOperator(task_id="ask", record_task_id=given)  # type: ignore[arg-type]
        assert asked.execute(context())["task_id"] == done


def test_one_reason_needs_no_list(simulator: Simulator) -> None:
    simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    operator = stop("odd", deferrable=False, accept_finish_reasons="EXCEPTION")
    assert operator.execute(context())


def test_the_links_exist_when_their_urls_are_known() -> None:
    from tiw_automation.airflow.links import TiwConsoleLink, TiwReplayLink
    from tiw_automation.core.api import site_of

    shown: Any = SimpleNamespace(console_url="https://console/", replay_url=None)
    key: Any = None
    assert TiwConsoleLink().get_link(shown, ti_key=key) == "https://console/"
    assert TiwReplayLink().get_link(shown, ti_key=key) == ""
    assert (
        site_of("tiw.intl.tencentcloudapi.com").console_url
        == "https://console.tencentcloud.com/tiw"
    )
