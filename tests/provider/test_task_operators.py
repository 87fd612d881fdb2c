# SPDX-License-Identifier: Apache-2.0
"""The operators that create tasks of the other kinds, and the one that stops a push."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred
from airflow.sdk import DAG
from waits import fire, stored

from tiw_automation.airflow import operators
from tiw_automation.airflow.operators import (
    TiwCreateTaskOperator,
    TiwPptCheckOperator,
    TiwSnapshotOperator,
    TiwStopWhiteboardPushOperator,
    TiwTranscodeOperator,
    TiwWhiteboardPushOperator,
)
from tiw_automation.airflow.wait_operator import TiwTaskFailed
from tiw_automation.core import (
    TASK_KINDS,
    ConfigurationError,
    InvalidParameter,
    StartUncertain,
    TiwClient,
    make_user_sig,
)
from tiw_automation.simulator import Simulator

APPS_KEY = "the-apps-own-key"
DECK = "https://decks.example/lesson.pptx"
TYPED: dict[str, type[TiwCreateTaskOperator]] = {
    found.task_kind: found
    for found in vars(operators).values()
    if inspect.isclass(found)
    and issubclass(found, TiwCreateTaskOperator)
    and found is not TiwCreateTaskOperator
}
# The options of a task of each kind, and how many URLs the simulator's one has.
GIVEN: dict[str, tuple[dict[str, Any], int]] = {
    "whiteboard_push": ({"room_id": 880528, "auto_stop_timeout": 300}, 0),
    "transcode": ({"url": DECK}, 1),
    "ppt_check": ({"url": DECK, "auto_handle_unsupported_element": True}, 0),
    "snapshot": ({"room_id": 880528, "whiteboard": {"width": 640}}, 3),
    "video_generation": ({"online_record_task_id": "lesson"}, 2),
}
KINDS = sorted(GIVEN)


class TaskInstance:
    """The part of a task instance that the operators use."""

    dag_id, run_id, task_id, max_tries = "lessons", "run-1", "create", 2

    def __init__(self, map_index: int = -1) -> None:
        self.map_index = map_index
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        # Only JSON can be pushed.
        self.pushed[key] = json.loads(json.dumps(value))

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: int) -> Any:
        assert (task_ids, map_indexes) == (self.task_id, self.map_index)
        return self.pushed.get(key)


class Kept:
    """A task state store of Airflow 3.3."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        return self.values.get(key)

    def set(self, key: str, value: Any) -> None:
        self.values[key] = value


def context(ti: TaskInstance | None = None, **more: Any) -> Any:
    return {"ti": ti or TaskInstance(), **more}


@pytest.fixture
def simulator(connect: Callable[..., None]) -> Iterator[Simulator]:
    with Simulator(region="ap-guangzhou", user_sig_key=APPS_KEY) as running:
        running.add("lesson", timeline=[])
        extra = {"user_sig_secret": APPS_KEY, "region": "ap-guangzhou"}
        connect(running, extra=extra)
        yield running


def create(kind: str, **given: Any) -> TiwCreateTaskOperator:
    return TYPED[kind](task_id="create", **{**GIVEN[kind][0], **given})


def created(simulator: Simulator, kind: str) -> list[str]:
    return [task["task_id"] for task in simulator.tasks if task["family"] == kind]


def test_every_kind_has_an_operator() -> None:
    assert set(TYPED) == set(TASK_KINDS) - {"online_record"} == set(GIVEN)
    for kind, found in TYPED.items():
        assert found.__name__ == f"Tiw{kind.title().replace('_', '')}Operator"


@pytest.mark.parametrize("kind", KINDS)
def test_the_arguments_are_the_options_of_the_table(kind: str) -> None:
    options = {option.name: option for option in TASK_KINDS[kind].options}
    own = inspect.signature(inspect.unwrap(TYPED[kind].__init__)).parameters
    named = {name: own[name] for name in own if name not in ("self", "kwargs")}
    assert named.keys() == options.keys()
    # A push's user and signature are made.
    made = {"push_user_id", "push_user_sig"}
    required = {name for name, option in options.items() if option.required} - made
    assert {name for name, each in named.items() if each.default is each.empty} == required
    assert {each.default for name, each in named.items() if name not in required} <= {None}
    assert set(TYPED[kind].template_fields) == {*options, "sdk_app_id", "tencentcloud_conn_id"}
    structured = {name for name, option in options.items() if option.type in ("dict", "list")}
    assert TYPED[kind].structured_fields == structured
    operator = create(kind)
    assert all(hasattr(operator, name) for name in TYPED[kind].template_fields)
    # The docstring names each of them.
    assert all(f":param {name}:" in (TYPED[kind].__doc__ or "") for name in options)


@pytest.mark.parametrize("kind", KINDS)
def test_it_creates_and_pushes_the_task_id(kind: str, simulator: Simulator) -> None:
    ti = TaskInstance()
    task_id = create(kind).execute(context(ti))
    assert created(simulator, kind) == [task_id]
    (task,) = ti.pushed["tasks"]
    assert (task["task_id"], task["task_kind"], task["status"]) == (task_id, kind, None)


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_waits_and_pushes_what_the_sensor_pushes(
    kind: str, deferrable: bool, simulator: Simulator, connect: Callable[..., None]
) -> None:
    duration_s = 15 if deferrable else 0.3
    simulator.set_task_defaults(kind, queued_s=0, duration_s=duration_s)
    operator = create(
        kind, wait_for_completion=True, deferrable=deferrable, poll_interval=0.1, wait_timeout=60
    )
    ti = TaskInstance()
    if deferrable:
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(context(ti))
        assert deferred.value.trigger.task_kind == kind
        simulator.advance(100)
        event = asyncio.run(fire(deferred.value.trigger))
        kept = {**stored(deferred.value.kwargs), "event": event}
        urls = create(kind, wait_for_completion=True).resume_execution(
            deferred.value.method_name, kept, context(ti)
        )
    else:
        urls = operator.execute(context(ti))
    assert len(urls) == GIVEN[kind][1]
    assert ti.pushed["return_value"] == urls
    (task,) = ti.pushed["tasks"]
    assert [task["task_id"]] == created(simulator, kind)
    assert task["status"] in ("FINISHED", "STOPPED")


def test_a_resumed_task_knows_its_task_also_where_airflow_kept_nothing(
    simulator: Simulator,
) -> None:
    """No triggerer ran until the timeout elapsed; or ``dag.test()``."""
    ti = TaskInstance()
    operator = create("transcode", wait_for_completion=True, deferrable=True, wait_timeout=30)
    with pytest.raises(TaskDeferred):
        operator.execute(context(ti))
    pushed, again = dict(ti.pushed), create("transcode", wait_timeout=30)
    with pytest.raises(TimeoutError, match=r"was not FINISHED within 30 s; .* (QUEUED|PROC)"):
        again.resume_execution("__fail__", {"error": "Trigger timeout"}, context(ti))
    assert ti.pushed["tasks"] == []
    ti.pushed = pushed
    simulator.advance(100)
    urls = again.resume_execution("__fail__", {"error": "Trigger timeout"}, context(ti))
    assert len(urls) == 1


def test_a_failure_is_not_retried(simulator: Simulator) -> None:
    simulator.set_task_defaults("transcode", duration_s=0.2, failure="FailedOperation.FileOpenFail")
    ti = TaskInstance()
    with pytest.raises(TiwTaskFailed, match=r"1 of 1 tasks: \[.*FileOpenFail"):
        create("transcode", wait_for_completion=True, poll_interval=0.1).execute(context(ti))
    assert ti.pushed["return_value"] == []


def test_a_push_is_waited_for_until_it_runs(simulator: Simulator) -> None:
    ti = TaskInstance()
    create("whiteboard_push", wait_for_completion=True, until="PUSHING", poll_interval=0.1).execute(
        context(ti)
    )
    assert ti.pushed["tasks"][0]["status"] == "PUSHING"


def test_a_retry_goes_on_with_the_task_that_an_earlier_try_created(simulator: Simulator) -> None:
    where = context(task_state_store=Kept())
    first = create("transcode").execute(where)
    simulator.advance(100)
    assert create("transcode").execute(where) == first
    urls = create("transcode", wait_for_completion=True).execute(where)
    assert len(urls) == 1
    # A task that was cleared creates another one, and so does a retry after a failure.
    where["ti"].max_tries += 1
    second = create("transcode").execute(where)
    assert second != first
    failed = simulator.add_task("transcode", failure="FailedOperation.Transcode")
    simulator.advance(100)
    kept = {"tiw_task_id": failed, "max_tries": where["ti"].max_tries}
    where["task_state_store"].set("tiw_task_id", kept)
    assert create("transcode").execute(where) not in (first, second, failed)


def test_a_push_of_every_try_has_the_same_user(simulator: Simulator) -> None:
    first = create("whiteboard_push").execute(context())
    assert create("whiteboard_push").execute(context()) == first
    assert create("whiteboard_push").execute(context(TaskInstance(map_index=1))) != first


@pytest.mark.parametrize(
    ("kind", "error"), [("snapshot", TiwTaskFailed), ("whiteboard_push", StartUncertain)]
)
def test_a_create_whose_answer_is_lost_is_not_repeated_blindly(
    kind: str, error: type[Exception], simulator: Simulator, connect: Callable[..., None]
) -> None:
    """A push is safe to retry: its user is the same."""
    connect(simulator, extra={"user_sig_secret": APPS_KEY, "region": "ap-guangzhou", "timeout": 1})
    simulator.inject("answer_lost", action=TASK_KINDS[kind].create_action)
    simulator.inject("server_error", action="DescribeRunningTasks")
    with pytest.raises(error) as caught:
        create(kind).execute(context())
    assert isinstance(caught.value, AirflowFailException) is (kind == "snapshot")
    assert len(created(simulator, kind)) == 1
    simulator.clear_faults()
    if kind == "whiteboard_push":
        assert create(kind).execute(context()) == created(simulator, kind)[0]


def test_a_transcode_whose_answer_is_lost_is_found_by_its_url(simulator: Simulator) -> None:
    simulator.inject("answer_lost", action="CreateTranscode")
    task_id = create("transcode").execute(context())
    assert created(simulator, "transcode") == [task_id]


def test_a_given_signature_is_used(simulator: Simulator) -> None:
    given = {
        "push_user_id": "tic_push_user_880528_mine",
        "push_user_sig": make_user_sig(simulator.sdk_app_id, "tic_push_user_880528_mine", APPS_KEY),
    }
    assert create("whiteboard_push", **given).execute(context())


def test_a_backups_task_id_is_pushed(simulator: Simulator) -> None:
    user = "tic_push_user_880528_backup"
    sig = make_user_sig(simulator.sdk_app_id, user, APPS_KEY)
    ti = TaskInstance()
    operator = create("whiteboard_push", backup={"push_user_id": user, "push_user_sig": sig})
    task_id = operator.execute(context(ti))
    backup = ti.pushed["tasks"][0]["result"]["backup"]["task_id"]
    assert sorted(created(simulator, "whiteboard_push")) == sorted([task_id, backup])


def test_templates_are_rendered_and_texts_stay_texts(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, Any]] = []
    call = TiwClient.create_task

    def noted(client: TiwClient, task_kind: str, **given: Any) -> Any:
        sent.append(client.create_task_params(task_kind, **given))
        return call(client, task_kind, **given)

    monkeypatch.setattr(TiwClient, "create_task", noted)
    with DAG("lessons", schedule=None, render_template_as_native_obj=True):
        typed = TiwTranscodeOperator(
            task_id="create",
            url="{{ deck }}",
            is_static_ppt="{{ yes }}",
            extra_data="{{ text }}",
            auto_handle_unsupported_element_types="{{ types }}",
        )
        generic = TiwCreateTaskOperator(
            task_id="any",
            task_kind="{{ 'transcode' }}",
            options={"url": "{{ deck }}", "extra_data": "{{ text }}", "is_static_ppt": "true"},
        )
        whole = TiwCreateTaskOperator(
            task_id="whole", task_kind="transcode", options="{{ {'url': deck} }}"
        )
    values: dict[str, Any] = {"deck": DECK, "yes": True, "text": '{"a": 7}', "types": [0, 13]}
    for operator in (typed, generic, whole):
        where = context(**values)
        operator.render_template_fields(where)
        operator.execute(where)
    shared = {"SdkAppId": simulator.sdk_app_id, "Url": DECK}
    both = {**shared, "ExtraData": '{"a": 7}', "IsStaticPPT": True}
    assert sent == [
        {**both, "AutoHandleUnsupportedElementTypes": [0, 13]},
        both,
        shared,
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_mapped_operator_creates_one_for_each_value(kind: str, simulator: Simulator) -> None:
    given = dict(GIVEN[kind][0])
    name = next(iter(given))
    value = given.pop(name)
    with DAG("mapped") as dag:
        mapped = (
            TYPED[kind]
            .partial(task_id="create", wait_for_completion=False, until=None, **given)
            .expand(**{name: [value, value]})
        )
    whose = context(
        TaskInstance(map_index=1),
        dag=dag,
        dag_run=SimpleNamespace(conf={}),
        expanded_ti_count=2,
    )
    mapped.render_template_fields(whose)
    task = whose["task"]
    assert (type(task), getattr(task, name)) == (TYPED[kind], value)
    assert task.execute(whose) in created(simulator, kind)


def test_the_generic_operator_maps_over_options_and_creates_recordings_too(
    simulator: Simulator,
) -> None:
    decks = [{"url": f"https://decks.example/{number}.pptx"} for number in range(2)]
    with DAG("mapped") as dag:
        mapped = TiwCreateTaskOperator.partial(task_id="create", task_kind="ppt_check").expand(
            options=decks
        )
    whose = context(
        TaskInstance(map_index=1), dag=dag, dag_run=SimpleNamespace(conf={}), expanded_ti_count=2
    )
    mapped.render_template_fields(whose)
    assert whose["task"].options == decks[1]
    record = TiwCreateTaskOperator(
        task_id="create", task_kind="online_record", options={"room_id": 4711}
    )
    task_id = record.execute(context())
    (facts,) = [facts for facts in simulator.recordings if facts["room_id"] == 4711]
    assert facts["task_id"] == task_id


BAD: list[tuple[dict[str, Any], str]] = [
    ({"task_kind": "snapshots"}, "not a kind of task.*Did you mean snapshot.*transcode"),
    ({"options": {"url": DECK}}, "not a kind of task"),
    ({"task_kind": "transcode", "options": {}}, "url is missing"),
    ({"task_kind": "transcode", "options": 5}, "options must be a dictionary"),
    (
        {"task_kind": "transcode", "options": {"url": DECK, "snapshot_mode": "x"}},
        "snapshot_mode is not an option.*option of snapshot, not of transcode",
    ),
    (
        {"task_kind": "transcode", "options": {"url": DECK, "thumbnail_resolution": "big"}},
        "thumbnail_resolution",
    ),
    ({"task_kind": "transcode", "options": {"url": DECK}, "until": "PUSHING"}, "not a state"),
    ({"task_kind": "snapshot", "options": {}, "wait_timeout": "soon"}, "wait_timeout"),
    ({"task_kind": "snapshot", "options": {}, "wait_for_completion": "maybe"}, "wait_for"),
    ({"task_kind": "whiteboard_push", "options": {}}, "room_id"),
]


@pytest.mark.parametrize(("given", "words"), BAD)
def test_bad_arguments_are_refused_before_anything_is_sent(
    given: dict[str, Any], words: str, simulator: Simulator
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        TiwCreateTaskOperator(task_id="create", **given).execute(context())
    assert simulator.writes == 0


def test_what_the_international_site_does_not_have(
    simulator: Simulator, connect: Callable[..., None]
) -> None:
    other = {"name": "intl", "login": "AKIDother", "host": None, "port": None}
    connect(simulator, **other, extra={"site": "intl"})
    bad: list[tuple[TiwCreateTaskOperator, str]] = [
        (create("ppt_check"), "international site has no ppt_check"),
        (create("transcode", excel_param={"paper_size": 0}), "Only the Chinese site has this op"),
        (create("whiteboard_push", push_user_sig="s" * 20, group_id="g"), "Only the Chinese site"),
    ]
    for operator, words in bad:
        operator.tencentcloud_conn_id = "intl"
        with pytest.raises(ConfigurationError, match=words):
            operator.execute(context())


def test_an_api_refusal_is_an_ordinary_failure(
    simulator: Simulator, connect: Callable[..., None]
) -> None:
    connect(simulator, name="other", extra={"sdk_app_id": 1400009999, "region": "ap-guangzhou"})
    with pytest.raises(InvalidParameter, match="SdkAppId"):
        create("transcode", tencentcloud_conn_id="other").execute(context())


def test_every_secret_is_masked_once_it_is_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[str] = []
    monkeypatch.setattr("tiw_automation.airflow.task_operators.mask_secret", masked.append)
    auth = {"sdk_app_id": 1, "user_id": "u", "user_sig": "{{ sig }}-3"}
    push = TiwWhiteboardPushOperator(
        task_id="push",
        room_id=1,
        push_user_sig="{{ sig }}-1",
        backup={"push_user_id": "b", "push_user_sig": "{{ sig }}-2"},
        im_auth_param=auth,
        private_map_key="map-key",
    )
    push.render_template_fields(context(sig="signed"))
    assert sorted(masked) == ["map-key", "signed-1", "signed-2", "signed-3"]
    masked.clear()
    check = TiwPptCheckOperator(task_id="check", url=f"{DECK}?{{{{ sig }}}}")
    check.render_template_fields(context(sig="q-signature=abc"))
    # A URL without a signature stays readable.
    TiwPptCheckOperator(task_id="plain", url=DECK).render_template_fields(context())
    assert masked == ["q-signature=abc"]
    with DAG("mapped") as dag:
        mapped = TiwSnapshotOperator.partial(task_id="shot", room_id=1, whiteboard={}).expand(
            callback_url=[f"https://e.example/?token-{number}" for number in range(2)]
        )
    whose = context(
        TaskInstance(map_index=1), dag=dag, dag_run=SimpleNamespace(conf={}), expanded_ti_count=2
    )
    mapped.render_template_fields(whose)
    assert masked[1:] == ["token-1"]


def test_openlineage_knows_the_deck_and_the_result(simulator: Simulator) -> None:
    simulator.set_task_defaults("transcode", queued_s=0, duration_s=0.2)
    operator = create(
        "transcode", url=f"{DECK}?sign=x", wait_for_completion=True, poll_interval=0.1
    )
    operator.execute(context())
    found = operator.get_openlineage_facets_on_complete(None)
    assert [data.namespace + data.name for data in found.inputs] == [DECK]
    assert [data.name.rpartition("/")[2] for data in found.outputs] == ["index.html"]
    assert operator.console_url == "https://console.cloud.tencent.com/tiw"


def test_do_xcom_push_false_pushes_nothing(simulator: Simulator) -> None:
    ti = TaskInstance()
    assert create("transcode", do_xcom_push=False).execute(context(ti))
    assert ti.pushed == {}


def test_a_push_is_stopped_once(simulator: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    push = create("whiteboard_push").execute(context())
    simulator.advance(10)
    for done in ("was stopped", "had already been stopped"):
        stop = TiwStopWhiteboardPushOperator(task_id="stop", tiw_task_id=push)
        assert stop.execute(context()) == push
        assert f"{push} {done}" in capsys.readouterr().out
        simulator.advance(10)
    with pytest.raises(ConfigurationError, match="tiw_task_id must be one task, not 2"):
        TiwStopWhiteboardPushOperator(task_id="stop", tiw_task_id="a,b").execute(context())
