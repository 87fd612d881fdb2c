# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSkipException
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.execution_time.context import OutletEventAccessors
from airflow.triggers.base import BaseEventTrigger

from tiw_automation.airflow.assets import (
    asset_uri,
    finished_recordings,
    publish_to_outlets,
    tiw_online_record_asset,
)
from tiw_automation.airflow.events.asset_events import (
    PARTITIONED_BY,
    TERMS,
    judge_by_terms,
    to_event,
    to_extra,
)
from tiw_automation.airflow.operators import TiwStopOnlineRecordOperator
from tiw_automation.airflow.sensors import TiwOnlineRecordSensor
from tiw_automation.airflow.trigger_event import Settled, to_payload
from tiw_automation.core import ConfigurationError, OnlineRecord, Outcome, Verdict
from tiw_automation.core.archive import public_record
from tiw_automation.core.events.record_events import event_id
from tiw_automation.core.records.outcome import Acceptance, judge
from tiw_automation.simulator import Simulator

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
APP = 1400000001
DAGS = Path(__file__).parents[2] / "dags"
URI = "tiw://tencentcloud_default/default/online-records/finished"


class Worker:
    """A task instance that ignores what is pushed."""

    def xcom_push(self, key: str, value: Any) -> None:
        json.dumps(value)


def record(task_id: str, **changes: Any) -> OnlineRecord:
    video = {"VideoUrl": f"https://bucket.example/{task_id}.mp4?sign=secret#t", "VideoType": 0}
    answer = {
        "Status": "FINISHED",
        "FinishReason": "AUTO",
        "VideoInfos": [video],
        "ReplayUrl": "https://replay.example/r?sign=secret",
        **changes,
    }
    return OnlineRecord.from_response(answer, sdk_app_id=APP, task_id=task_id)


def outcome(task_id: str) -> Outcome:
    return judge(APP, task_id, record(task_id), Acceptance())


def event(extra: dict[str, Any], partition_key: str | None = None) -> Any:
    return SimpleNamespace(extra=json.loads(json.dumps(extra)), partition_key=partition_key)


# The asset


def test_the_default_watches_the_whole_application() -> None:
    asset = tiw_online_record_asset()
    assert (asset.name, asset.uri, asset.group) == (URI, URI, "tiw")
    (watcher,) = asset.watchers
    assert isinstance(watcher.trigger, BaseEventTrigger)
    path, arguments = watcher.trigger.serialize()
    assert path == "tiw_automation.airflow.triggers.TiwOnlineRecordFinishedEventTrigger"
    assert arguments["record_task_ids"] is None
    assert arguments["asset_name"] == URI
    # Airflow compares triggers by these; a value that is not JSON always differs.
    assert json.loads(json.dumps(arguments)) == arguments


def test_equal_arguments_make_equal_assets() -> None:
    made = [tiw_online_record_asset(record_task_ids=ids) for ids in (["b", "a"], ("a", "b"))]
    assert made[0].uri == made[1].uri
    hashes = {
        BaseEventTrigger.hash(*asset.watchers[0].trigger.serialize())
        for asset in (
            tiw_online_record_asset(poll_interval=5),
            tiw_online_record_asset(poll_interval=5.0),
        )
    }
    assert len(hashes) == 1
    by_default = tiw_online_record_asset(
        poll_interval=5,
        accept_finish_reasons=["USER_CALL", "AUTO", "FORCE_STOP", "AUTO"],
        sweep_after=900,
    )
    assert by_default == tiw_online_record_asset()
    lenient = [
        tiw_online_record_asset(accept_finish_reasons=reasons)
        for reasons in (["EXCEPTION", "AUTO"], ("AUTO", "EXCEPTION", "AUTO"))
    ]
    assert lenient[0] == lenient[1]


OTHER_TERMS: dict[str, dict[str, Any]] = {
    "poll_interval=10": {"poll_interval": 10},
    "poll_interval=0.25": {"poll_interval": 0.25},
    "include_failed=true": {"include_failed": True},
    "sweep_after=60": {"sweep_after": 60},
    "sweep_after=never": {"sweep_after": None},
    "require_videos=false": {"require_videos": False},
    "accept_finish_reasons=AUTO+EXCEPTION": {"accept_finish_reasons": ["EXCEPTION", "AUTO"]},
    "watch=false": {"watch": False},
    "name=lessons": {"name": "lessons"},
    "name=a%2Fb+%C3%A9%3F%26c%3D1": {"name": "a/b \u00e9?&c=1"},
    "include_failed=true&poll_interval=7": {"poll_interval": 7, "include_failed": True},
}


@pytest.mark.parametrize("query", OTHER_TERMS)
def test_other_arguments_make_another_asset(query: str) -> None:
    """Two DAG files that gave one asset different watchers would replace each other's endlessly."""
    given = OTHER_TERMS[query]
    other = tiw_online_record_asset(**given)
    # As it is written here, after Airflow's own normalisation.
    assert other.uri == f"{URI}?{query}"
    assert other.name == given.get("name", other.uri)
    assert other == tiw_online_record_asset(**given)
    for watcher in other.watchers:
        trigger: Any = watcher.trigger
        assert trigger.asset_name == other.name
    made = [
        tiw_online_record_asset(),
        *(tiw_online_record_asset(**o) for o in OTHER_TERMS.values()),
    ]
    assert len({asset.uri for asset in made}) == len({asset.name for asset in made}) == len(made)


def test_other_terms_make_another_asset() -> None:
    ids: Any = {"record_task_ids": "a"}
    one, two = tiw_online_record_asset(**ids), tiw_online_record_asset(**ids, poll_interval=10)
    assert two.uri == f"{one.uri}?poll_interval=10"
    assert two.name == two.uri
    # Without the arguments of the watcher.
    each = tiw_online_record_asset(partitioned=True, poll_interval=10, include_failed=True)
    assert each == tiw_online_record_asset(partitioned=True)


@pytest.mark.parametrize(
    "reasons",
    [
        None,
        ["AUTO", "USER_CALL", "FORCE_STOP"],
        ("FORCE_STOP", "AUTO", "USER_CALL", "AUTO"),
        "USER_CALL, FORCE_STOP,AUTO",
    ],
)
def test_the_usual_reasons_make_the_default_asset(reasons: Any) -> None:
    asset = tiw_online_record_asset(accept_finish_reasons=reasons)
    assert asset.uri == URI
    assert asset.extra == {}
    trigger: Any = asset.watchers[0].trigger
    assert trigger.accept_finish_reasons is None


def test_an_unknown_reason_is_accepted_with_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asset = tiw_online_record_asset(accept_finish_reasons=["AUTO", "AUTOMATIC", "EXCEPTIO"])
    assert asset.uri == f"{URI}?accept_finish_reasons=AUTO+AUTOMATIC+EXCEPTIO"
    assert "EXCEPTION" in caplog.text
    caplog.clear()
    odd = Outcome(APP, "odd", Verdict.FINISHED, record("odd", FinishReason="AUTOMATIC"))
    for _ in range(3):
        assert judge_by_terms(odd, asset.extra).verdict is Verdict.FINISHED
    # Once, not for each recording.
    assert len([r for r in caplog.records if "accept_finish_reasons" in r.getMessage()]) <= 2
    new = Outcome(APP, "new", Verdict.FINISHED, record("new", FinishReason="TIRED"))
    assert judge_by_terms(new, asset.extra).verdict is Verdict.FAILED
    assert judge_by_terms(new, {}).verdict is Verdict.FINISHED


def test_every_application_and_connection_has_its_own() -> None:
    assert asset_uri("school", 14) == "tiw://school/14/online-records/finished"
    assert asset_uri("a/b", None) == "tiw://a%2Fb/default/online-records/finished"
    assert tiw_online_record_asset(sdk_app_id="14", tencentcloud_conn_id="school").uri == asset_uri(
        "school", 14
    )


def test_a_name_keeps_an_asset_the_same_when_its_ids_change() -> None:
    one = tiw_online_record_asset("lessons", record_task_ids="a")
    two = tiw_online_record_asset("lessons", record_task_ids=["a", "b"])
    assert (one.name, one.uri) == (two.name, two.uri) == ("lessons", f"{URI}/lessons")
    unnamed = {tiw_online_record_asset(record_task_ids=ids).uri for ids in (["a"], ["a", "b"])}
    assert len(unnamed) == 2


def test_an_asset_without_a_watcher() -> None:
    assert tiw_online_record_asset(watch=False).watchers == []
    each = tiw_online_record_asset(partitioned=True)
    assert each.watchers == []
    assert each.uri == "tiw://tencentcloud_default/default/online-records/by-recording"
    assert PARTITIONED_BY in each.extra
    assert tiw_online_record_asset().extra == {}


def test_the_extra_of_an_asset_has_its_terms() -> None:
    terms: Any = {"accept_finish_reasons": ["AUTO", "EXCEPTION"], "require_videos": False}
    for where in ({}, {"watch": False}, {"partitioned": True}):
        terms_there: Any = {**terms, **where}
        extra = json.loads(json.dumps(tiw_online_record_asset(**terms_there).extra))
        assert extra[TERMS] == terms
    default = tiw_online_record_asset().extra
    odd = Outcome(APP, "odd", Verdict.FINISHED, record("odd", FinishReason="EXCEPTION"))
    bare = Outcome(APP, "bare", Verdict.FINISHED, record("bare", VideoInfos=[]))
    lost = Outcome(APP, "lost", Verdict.MISSING)
    for end, verdict in ((odd, Verdict.FAILED), (bare, Verdict.FAILED), (lost, Verdict.MISSING)):
        assert judge_by_terms(end, default).verdict is verdict
    assert (
        judge_by_terms(odd, extra).verdict
        is judge_by_terms(bare, extra).verdict
        is Verdict.FINISHED
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"record_task_ids": []}, "No task id"),
        ({"record_task_ids": [7]}, "7"),
        ({"sdk_app_id": "x"}, "sdk_app_id"),
        ({"poll_interval": 0}, "poll_interval"),
        ({"poll_interval": True}, "poll_interval"),
        ({"poll_interval": "5"}, "poll_interval"),
        ({"poll_interval": float("nan")}, "poll_interval"),
        ({"sweep_after": -1}, "sweep_after"),
        ({"accept_finish_reasons": ["not a reason"]}, "not a reason"),
        ({"accept_finish_reasons": [7]}, "accept_finish_reasons"),
        ({"accept_finish_reasons": 7}, "accept_finish_reasons"),
        ({"record_task_ids": "a", "watch": False}, "nothing watches"),
        ({"record_task_ids": "a", "partitioned": True}, "nothing watches"),
    ],
)
def test_invalid_arguments_are_refused_when_the_dag_is_read(
    arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        tiw_online_record_asset(**arguments)


# The events


def test_an_id_never_changes() -> None:
    # Consumers keep it: another value would make every old recording new.
    assert event_id(APP, "algebra") == "64daeb2e-4f26-5cb2-af58-670185bb6f62"
    assert event_id(APP, "algebra") != event_id(APP + 1, "algebra")


def test_an_event_has_no_query_string() -> None:
    extra = to_extra(outcome("algebra"))
    assert "secret" not in json.dumps(extra)
    assert extra["record"]["video_urls"] == ["https://bucket.example/algebra.mp4"]
    assert extra["record"]["videos"][0]["url"] == "https://bucket.example/algebra.mp4"
    assert extra["record"]["replay_url"] == "https://replay.example/r"
    assert extra["verdict"] == "finished"
    bare = OnlineRecord.from_response({"Status": "FINISHED"}, sdk_app_id=APP, task_id="bare")
    assert to_extra(Outcome(APP, "bare", Verdict.FINISHED, bare))["record"]["replay_url"] is None


def test_events_of_every_source_are_read_in_the_same_way() -> None:
    a, b, c, d = (to_extra(outcome(task_id)) for task_id in "abcd")
    without_record = to_extra(outcome("c"), with_record=False)
    events = {
        "an asset": [
            event({"from_trigger": True, "payload": a}),
            event({"from_trigger": True, "payload": to_event([a, b])}),
            event({"from_trigger": True, "payload": to_event([])}),
        ],
        "another": [
            event(to_event([without_record, to_extra(outcome("d"), with_record=False)])),
            event({**c, "from_rest_api": True}),
            event({"sdk_app_id": APP}, partition_key="e"),
            event({"records": [public_record(record("f"))], "paths": ["s3://b/f.mp4"]}),
            event({"sdk_app_id": APP}),
            event({"rows": 7}),
            event({}),
        ],
    }
    found = finished_recordings(events)
    assert [each["record_task_id"] for each in found] == ["a", "b", "c", "d", "e", "f"]
    assert [each["record"] is None for each in found] == [False] * 3 + [True] * 2 + [False]
    assert found[5] == to_extra(outcome("f"))
    assert found[0] == a
    assert found[4]["event_id"] == event_id(APP, "e")
    assert d["event_id"] == found[3]["event_id"]
    assert finished_recordings(events["an asset"]) == [a, b]


@pytest.mark.parametrize(
    "extra",
    [
        {"from_trigger": True, "payload": to_event([])},
        # As "Create asset event" on the asset's page makes it.
        {"from_rest_api": True},
        {},
        None,
        "x",
        [],
        {"from_trigger": True},
        {"from_trigger": True, "payload": "x"},
        {"event_id": 5},
        {"event_id": "a"},
        {"event_id": "a", "record_task_id": 7, "record": None},
        {"recordings": "x"},
        {"recordings": 7},
        {"recordings": [None, 7, {"event_id": "a"}]},
        {"records": 7, "paths": []},
        {"records": [7, None, "x", {"videos": [{"url": 7}]}], "paths": []},
        {"sdk_app_id": "x"},
        {"sdk_app_id": None},
        {"sdk_app_id": -1},
    ],
)
def test_an_event_without_a_recording_adds_nothing(extra: Any) -> None:
    odd = SimpleNamespace(extra=extra, partition_key="algebra")
    good = event(to_extra(outcome("algebra")))
    assert finished_recordings([odd]) == []
    assert finished_recordings({"an asset": [odd, good, odd]}) == [to_extra(outcome("algebra"))]


@pytest.mark.parametrize("events", [None, {}, [], {"an asset": []}])
def test_a_run_without_events_has_no_recordings(events: Any) -> None:
    assert finished_recordings(events) == []


@pytest.mark.parametrize("events", [{"asset": None}, [None], [5], ["x"]])
def test_a_value_that_is_not_an_event_adds_nothing(events: Any) -> None:
    assert finished_recordings(events) == []


@pytest.mark.parametrize("events", [5, "events", b"events", True])
def test_a_value_that_is_not_a_list_of_events_is_refused(events: Any) -> None:
    with pytest.raises(ConfigurationError, match="Asset events must be a list"):
        finished_recordings(events)


def test_a_flag_may_be_given_as_a_text() -> None:
    for name in ("watch", "partitioned", "require_videos", "include_failed"):
        for text, value in (("false", False), (" True ", True)):
            given: dict[str, Any] = {name: text}
            meant: dict[str, Any] = {name: value}
            assert tiw_online_record_asset(**given) == tiw_online_record_asset(**meant)


@pytest.mark.parametrize(
    "given",
    [
        {"tencentcloud_conn_id": ""},
        {"tencentcloud_conn_id": " "},
        {"tencentcloud_conn_id": 5},
        {"poll_interval": 10**400},
        {"sweep_after": 10**400},
        {"require_videos": "off"},
        {"include_failed": "no"},
        {"watch": ""},
        {"watch": None},
        {"partitioned": 1},
    ],
    ids=range(10),
)
def test_an_argument_of_another_type_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(given))):
        tiw_online_record_asset(**given)


def test_times_may_be_timedeltas() -> None:
    given = tiw_online_record_asset(poll_interval=timedelta(seconds=30), sweep_after=timedelta(1))
    assert given == tiw_online_record_asset(poll_interval=30, sweep_after=86400)


def test_no_accepted_reason_makes_another_asset_than_the_default() -> None:
    assert tiw_online_record_asset(accept_finish_reasons=[]).uri.endswith(
        "?accept_finish_reasons=none"
    )


def test_missing_has_another_event_id_than_the_end() -> None:
    missing = to_extra(Outcome(APP, "algebra", Verdict.MISSING))
    end = to_extra(outcome("algebra"))
    assert missing["event_id"] != end["event_id"] == event_id(APP, "algebra")
    both = [event({"from_trigger": True, "payload": each}) for each in (missing, end)]
    assert [each["verdict"] for each in finished_recordings(both)] == ["missing", "finished"]


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 has partitions")
def test_the_example_skips_where_all_have_their_runs() -> None:
    """The event without a recording, which follows several for a scheduler that was away."""
    example = runpy.run_path(str(DAGS / "each_finished_recording.py"))
    split = example["split_finished_recordings"]().task_dict["split"].python_callable
    outlets = OutletEventAccessors()
    with pytest.raises(AirflowSkipException):
        split(
            triggering_asset_events={example["FINISHED"]: [event(to_event([]))]},
            outlet_events=outlets,
        )
    assert not outlets[example["EACH"]].partition_keys


def test_outlets_publish_the_record_of_one() -> None:
    outlet_events = OutletEventAccessors()
    mine, alias = Asset("mine"), AssetAlias("alias")
    publish_to_outlets([mine, alias, Asset.ref(name="known")], outlet_events, [record("a")])
    assert outlet_events[mine].extra == to_extra(outcome("a"))
    assert list(outlet_events) == [mine]


def test_outlets_publish_the_ids_of_several() -> None:
    outlet_events = OutletEventAccessors()
    mine = Asset("mine")
    publish_to_outlets([mine], outlet_events, [record("a"), record("b")])
    found = outlet_events[mine].extra["recordings"]
    assert isinstance(found, list)
    assert found == [to_extra(outcome(task_id), with_record=False) for task_id in "ab"]


def test_outlets_publish_no_event_without_a_recording() -> None:
    outlet_events = OutletEventAccessors()
    publish_to_outlets([Asset("mine")], outlet_events, [])
    assert len(outlet_events) == 0


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 lets a task name partitions")
def test_outlets_with_partitions_have_one_for_each() -> None:
    outlet_events = OutletEventAccessors()
    each = tiw_online_record_asset(partitioned=True)
    publish_to_outlets([each], outlet_events, [record("a"), record("b")])
    event: Any = outlet_events[each]
    assert event.partition_keys == {"a", "b"}
    assert event.extra == {"sdk_app_id": APP}
    alone = OutletEventAccessors()
    publish_to_outlets([each], alone, [record("a")])
    assert alone[each].extra == to_extra(outcome("a"))


# The tasks that wait


def test_a_sensor_publishes_to_its_outlets(
    tiw_simulator: Simulator, connect: Callable[..., None]
) -> None:
    connect(tiw_simulator)
    one, two = tiw_simulator.add_finished(2)
    mine, outlet_events = Asset("mine"), OutletEventAccessors()
    context: Any = {"ti": Worker(), "outlet_events": outlet_events}
    sensor = TiwOnlineRecordSensor(task_id="wait", record_task_id=one, outlets=[mine])
    assert sensor.poke(context).is_done
    assert outlet_events[mine].extra["record_task_id"] == one
    assert outlet_events[mine].extra["event_id"] == event_id(tiw_simulator.sdk_app_id, one)
    # The trigger's event as the worker gets it.
    several = TiwOnlineRecordSensor(task_id="both", record_task_id=[one, two], outlets=[mine])
    ends = [Settled(task_id, Verdict.FINISHED, "") for task_id in (one, two)]
    several.execute_complete(context, to_payload(tiw_simulator.sdk_app_id, ends))
    found = outlet_events[mine].extra["recordings"]
    assert isinstance(found, list)
    assert [each["record_task_id"] for each in found if isinstance(each, dict)] == [one, two]


def test_a_stop_that_waits_publishes_to_its_outlets(
    tiw_simulator: Simulator, connect: Callable[..., None]
) -> None:
    connect(tiw_simulator)
    (done,) = tiw_simulator.add_finished(1)
    mine, outlet_events = Asset("mine"), OutletEventAccessors()
    context: Any = {"ti": Worker(), "outlet_events": outlet_events}
    for waits in (False, True):
        stop = TiwStopOnlineRecordOperator(
            task_id="stop", record_task_id=done, wait_for_completion=waits, outlets=[mine]
        )
        stop.execute(context)
        assert (len(outlet_events) > 0) is waits
    assert outlet_events[mine].extra["record_task_id"] == done
