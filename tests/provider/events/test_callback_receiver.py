# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import entry_points, version
from typing import Any

import pytest
from airflow.sdk import Asset
from sqlalchemy import select, update

from tiw_automation.airflow import assets
from tiw_automation.airflow.events import (
    callback_connection,
    callback_receiver,
    callback_request,
)
from tiw_automation.airflow.events.callback_receiver import CallbackReceiver, callback_apps
from tiw_automation.airflow.events.event_sink import EventSink
from tiw_automation.airflow.events.state_store import published_key
from tiw_automation.airflow.plugin import TiwCallbackPlugin
from tiw_automation.core import OnlineRecord, Outcome, Verdict, parse_callback
from tiw_automation.core.api.callbacks import MAX_BODY_BYTES, sign
from tiw_automation.core.events import backlog, confirmation
from tiw_automation.core.events.record_events import event_id
from tiw_automation.simulator import Simulator

AIRFLOW = tuple(int(part) for part in version("apache-airflow-core").split(".")[:2])
Connect = Callable[..., None]
KEY = "a-callback-key-of-the-tests"
REFUSAL = {"error_code": 1}
ANSWER = {"error_code": 0}


class Sink:
    """Stores events without a database."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.stored: list[str] = []

    def wants(self, conn_id: str, sdk_app_id: int, own_app_id: int | None, event_id: str) -> bool:
        if self.fails:
            raise OSError("the database is away")
        return event_id not in self.stored

    def store(
        self, conn_id: str, sdk_app_id: int, own_app_id: int | None, outcome: Outcome
    ) -> list[str]:
        self.stored.append(event_id(sdk_app_id, outcome.task_id))
        return ["an asset"]


def callback(simulator: Simulator, task_id: str, key: str = KEY, **changes: Any) -> bytes:
    expires = int(time.time()) + 600
    return json.dumps(
        {
            "EventType": "OnlineRecordFinished",
            "EventData": {"TaskId": task_id},
            "SdkAppId": simulator.sdk_app_id,
            "ExpireTime": expires,
            "Sign": sign(key, expires),
            **changes,
        }
    ).encode()


async def post(
    app: Any,
    *chunks: bytes,
    path: str = "/school",
    method: str = "POST",
    hangs: bool = False,
    headers: tuple[tuple[bytes, bytes], ...] = (),
    leaves: bool = False,
) -> tuple[int, Any]:
    """Send a request as an ASGI server does, and return status and answer."""
    sent: list[dict[str, Any]] = []
    messages = [
        {"type": "http.request", "body": chunk, "more_body": hangs or leaves or n < len(chunks)}
        for n, chunk in enumerate(chunks, 1)
    ]
    if leaves:
        messages.append({"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        if not messages:
            await asyncio.sleep(3600)
        return messages.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    prefix = "/air/tiw/callbacks"
    scope = {
        "type": "http",
        "method": method,
        "path": prefix + path,
        "root_path": prefix,
        "headers": list(headers),
    }
    await app(scope, receive, send)
    start, body = sent
    return start["status"], json.loads(body["body"])


@pytest.fixture
def receiver(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> CallbackReceiver:
    connect(tiw_simulator, "school", extra={"callback_secret": KEY})
    monkeypatch.setenv("AIRFLOW__TIW__CALLBACK_CONN_IDS", "school")
    (mounted,) = callback_apps()
    app = mounted["app"]
    assert isinstance(app, CallbackReceiver)
    app._sink = Sink()  # type: ignore[assignment]
    return app


async def until_idle(receiver: CallbackReceiver) -> None:
    """Wait until all that was posted is dealt with."""
    async with asyncio.timeout(30):
        while receiver._backlog:
            await asyncio.sleep(0.02)


# What is mounted


def test_it_is_off_by_default() -> None:
    assert callback_apps() == []


def test_airflow_finds_it_by_its_entry_point() -> None:
    (found,) = [e for e in entry_points(group="airflow.plugins") if e.name == "tiw_callbacks"]
    assert found.load() is TiwCallbackPlugin


def test_only_the_api_server_loads_the_app(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every process imports the plugin; the API server also reads its apps."""
    connect(tiw_simulator, "school", extra={"callback_secret": KEY})
    monkeypatch.setenv("AIRFLOW__TIW__CALLBACK_CONN_IDS", " school, school ,")
    program = """
import sys
from tiw_automation.airflow.plugin import TiwCallbackPlugin as Plugin

plugin = Plugin()
of_the_app = ("tiw_automation.core", "tiw_automation.airflow.events", "tencentcloud")
print("loaded:", [name for name in sys.modules if name.startswith(of_the_app)])
print(Plugin.fastapi_apps[0]["url_prefix"], plugin.fastapi_apps is Plugin.fastapi_apps)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # The log lines of the API server are among them.
    lines = done.stdout.strip().splitlines()
    assert "loaded: []" in lines
    assert lines[-1] == "/tiw/callbacks True"


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        ({}, "has no callback_secret"),
        ({"callback_secret": ""}, "has no callback_secret"),
        ({"callback_secret": KEY, "site": "moon"}, "moon"),
        (None, "There is no connection 'school'"),
    ],
)
def test_without_a_secret_nothing_is_mounted(
    extra: dict[str, Any] | None,
    words: str,
    tiw_simulator: Simulator,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if extra is not None:
        connect(tiw_simulator, "school", extra=extra)
    monkeypatch.setenv("AIRFLOW__TIW__CALLBACK_CONN_IDS", "school")
    assert callback_apps() == []
    assert "Callbacks for connection school are not received" in caplog.text
    assert words in caplog.text
    assert KEY not in caplog.text


# What is answered


async def test_a_callback_is_confirmed_and_stored_once(
    receiver: CallbackReceiver, tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    body = callback(tiw_simulator, done)
    assert await post(receiver, body[:20], body[20:]) == (200, {"error_code": 0})
    assert await post(receiver, body) == (200, {"error_code": 0})
    assert len(receiver._sink.stored) == 1  # type: ignore[attr-defined]
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 1}


async def test_simultaneous_posts_of_a_recording_cost_one_request(
    receiver: CallbackReceiver, tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    body = callback(tiw_simulator, done)
    answers = await asyncio.gather(*(post(receiver, body) for _ in range(20)))
    assert answers == [(200, {"error_code": 0})] * 20
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 1}


@pytest.mark.parametrize("kind", ["OnlineRecordStarted", "OnlineRecordStopped", "SomethingNew"])
async def test_a_callback_of_another_event_is_accepted(
    kind: str, receiver: CallbackReceiver, tiw_simulator: Simulator
) -> None:
    body = callback(tiw_simulator, "algebra", EventType=kind)
    assert await post(receiver, body) == (200, {"error_code": 0})
    assert tiw_simulator.requests == {}


async def test_an_end_that_is_not_confirmed_yet_is_posted_again(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_receiver, "_ANSWER_WITHIN_S", 0.3)
    monkeypatch.setattr(confirmation, "LAG_POLL_S", 0.1)
    tiw_simulator.add("early", timeline=[{"STOPPED": 10}])
    body = callback(tiw_simulator, "early")
    assert await post(receiver, body) == (503, REFUSAL)
    assert receiver._sink.stored == []  # type: ignore[attr-defined]
    # The backlog polls it meanwhile, so that the next post finds it done.
    tiw_simulator.advance(20)
    await until_idle(receiver)
    assert len(receiver._sink.stored) == 1  # type: ignore[attr-defined]
    assert await post(receiver, body) == (200, {"error_code": 0})


async def test_a_failed_recording_makes_no_event(
    receiver: CallbackReceiver, tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    assert (await post(receiver, callback(tiw_simulator, "broken")))[0] == 200
    assert receiver._sink.stored == []  # type: ignore[attr-defined]
    assert "im login failed" in caplog.text


async def test_wrong_keys_appear_only_in_the_log(
    tiw_simulator: Simulator,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connect(tiw_simulator, "school", password="wrong" * 8, extra={"callback_secret": KEY})
    monkeypatch.setenv("AIRFLOW__TIW__CALLBACK_CONN_IDS", "school")
    app = callback_apps()[0]["app"]
    app._sink = Sink()
    assert await post(app, callback(tiw_simulator, "algebra")) == (503, REFUSAL)
    assert "AuthFailure" in caplog.text


async def test_a_failing_database_appears_only_in_the_log(
    receiver: CallbackReceiver,
    tiw_simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(confirmation, "LAG_POLL_S", 0.1)
    (done,) = tiw_simulator.add_finished(1)
    sink = Sink(fails=True)
    receiver._sink = sink  # type: ignore[assignment]
    assert await post(receiver, callback(tiw_simulator, done)) == (503, REFUSAL)
    assert "the database is away" in caplog.text
    # It is stored once the database works again, without another post.
    sink.fails = False
    await until_idle(receiver)
    assert len(sink.stored) == 1


async def test_the_backlog_is_limited(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "MOST_BYTES", 0)
    assert await post(receiver, callback(tiw_simulator, "algebra")) == (503, REFUSAL)
    assert tiw_simulator.requests == {}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"chunks": [b" " * (MAX_BODY_BYTES + 1)]}, 413),
        ({"chunks": [b" " * 65536] * 13}, 413),
        ({"chunks": [b" " * 65536] * 40}, 413),
        ({"chunks": [b""], "headers": ((b"content-length", b"9999999"),)}, 413),
        ({"chunks": [b""], "headers": ((b"content-length", b"-1"),)}, 413),
        ({"chunks": [b"{"], "hangs": True}, 408),
        ({"chunks": [b"{"], "leaves": True}, 400),
        ({"chunks": [b""], "method": "PUT"}, 405),
        ({"chunks": [b"\xff\xfe"]}, 403),
        ({"chunks": [b"{}"], "path": "/school/more"}, 403),
        ({"chunks": [b"{}"], "path": "/"}, 403),
    ],
)
async def test_refused_requests(
    given: dict[str, Any],
    status: int,
    receiver: CallbackReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callback_request, "_BODY_WITHIN_S", 0.2)
    chunks = given.pop("chunks")
    assert await post(receiver, *chunks, **given) == (status, REFUSAL)


@pytest.mark.parametrize(
    "changes",
    [
        {"EventData": {"RoomId": "1253"}},
        {"EventData": {"Error": "x"}},
        {"EventData": {"VideoInfos": {}, "RecordUserId": [], "TotalTime": "x"}},
        {"Timestamp": "1575545412"},
        {"Timestamp": {}},
        {"SdkAppId": "text"},
    ],
    ids=str,
)
async def test_unusual_fields_do_not_prevent_the_event(
    changes: dict[str, Any], receiver: CallbackReceiver, tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    if "EventData" in changes:
        changes = {"EventData": {"TaskId": done, **changes["EventData"]}}
    if "SdkAppId" in changes:
        changes = {"SdkAppId": str(tiw_simulator.sdk_app_id)}
    assert await post(receiver, callback(tiw_simulator, done, **changes)) == (200, ANSWER)
    assert len(receiver._sink.stored) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize("sdk_app_id", [-1, 0, 2**63, True, None, "x", 99])
async def test_another_or_an_invalid_application_is_refused(
    sdk_app_id: Any,
    receiver: CallbackReceiver,
    tiw_simulator: Simulator,
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = callback(tiw_simulator, "algebra", SdkAppId=sdk_app_id)
    assert await post(receiver, body) == (403, REFUSAL)
    assert "SdkAppId" in caplog.text
    assert "Traceback" not in caplog.text
    assert tiw_simulator.requests == {}


async def test_the_history_is_searched_only_for_confirmed_recordings(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_receiver, "_ANSWER_WITHIN_S", 0.3)
    searched: list[str] = []

    class Recorded(Sink):
        def wants(self, conn_id: str, app_id: int, own: int | None, event_id: str) -> bool:
            searched.append(event_id)
            return super().wants(conn_id, app_id, own, event_id)

    receiver._sink = Recorded()  # type: ignore[assignment]
    (done,) = tiw_simulator.add_finished(1)
    tiw_simulator.add("runs", timeline=[{"RECORDING": 10000}])
    for number in range(8):
        assert await post(receiver, callback(tiw_simulator, f"absent-{number}")) == (200, ANSWER)
    assert await post(receiver, callback(tiw_simulator, "runs")) == (503, REFUSAL)
    assert searched == []
    for _ in range(3):
        assert await post(receiver, callback(tiw_simulator, done)) == (200, ANSWER)
    assert searched == [event_id(tiw_simulator.sdk_app_id, done)]


async def test_a_burst_is_stored_without_further_posts(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_receiver, "_ANSWER_WITHIN_S", 0.05)
    monkeypatch.setattr(callback_receiver, "_MOST_WAITING", 10)
    ids = tiw_simulator.add_finished(30)
    answers = await asyncio.gather(
        *(post(receiver, callback(tiw_simulator, task_id)) for task_id in ids)
    )
    assert (503, REFUSAL) in answers
    await until_idle(receiver)
    assert len(receiver._sink.stored) == 30  # type: ignore[attr-defined]
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 30}


async def test_bodies_that_are_too_long_are_one_error_a_minute_in_the_log(
    receiver: CallbackReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        assert (await post(receiver, b" " * (MAX_BODY_BYTES + 1)))[0] == 413
    (line,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert str(MAX_BODY_BYTES + 1) in line.getMessage()
    assert "2,100 videos" in line.getMessage()


async def test_a_long_body_is_parsed_in_a_thread(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[bool] = []

    def recorded(body: bytes, key: str) -> Any:
        threads.append(threading.current_thread() is threading.main_thread())
        return parse_callback(body, key)

    monkeypatch.setattr(callback_receiver, "parse_callback", recorded)
    (done,) = tiw_simulator.add_finished(1)
    body = callback(tiw_simulator, done)
    assert await post(receiver, body) == (200, ANSWER)
    assert await post(receiver, body + b" " * (MAX_BODY_BYTES - len(body))) == (200, ANSWER)
    assert threads == [True, False]
    # A forged body needs no thread, however long it is.
    forged = callback(tiw_simulator, done, key="another-key-of-the-tests")
    forged += b" " * (MAX_BODY_BYTES - len(forged))
    assert await post(receiver, forged) == (403, REFUSAL)
    assert threads == [True, False]


async def test_slow_senders_take_limited_memory_and_keep_no_short_post_out(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_request, "_BODY_WITHIN_S", 1.0)
    (done,) = tiw_simulator.add_finished(1)
    chunk = b" " * 65536
    hanging = [
        asyncio.create_task(post(receiver, *[chunk] * 11, hangs=True, leaves=False))
        for _ in range(300)
    ]
    await asyncio.sleep(0.2)
    assert 10 * 2**20 < receiver._memory._taken <= callback_request._MOST_BYTES
    assert await post(receiver, callback(tiw_simulator, done)) == (200, ANSWER)
    statuses = Counter(status for status, _ in await asyncio.gather(*hanging))
    assert set(statuses) == {408, 503}
    assert statuses[503] > 250
    assert receiver._memory._taken == 0


async def test_a_body_is_neither_kept_nor_parsed_in_full(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("It was parsed in full.")

    monkeypatch.setattr("tiw_automation.core.api.callbacks.OnlineRecord.from_response", never)
    monkeypatch.setattr("tiw_automation.core.api.callbacks.api_error", never)
    monkeypatch.setattr(callback_receiver, "_ANSWER_WITHIN_S", 0.0)
    tiw_simulator.fault = "outage"
    data: dict[str, Any] = {"VideoInfos": [{}] * 150_000, "Error": {"Code": "x", "Message": "y"}}
    body = callback(tiw_simulator, "lesson-00", EventData={"TaskId": "lesson-00", **data})
    await post(receiver, body)
    tracemalloc.start()
    try:
        for number in range(1, 31):
            posted = body.replace(b"lesson-00", b"lesson-%02d" % number)
            assert (await post(receiver, posted))[0] == 503
        del posted
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(receiver._backlog) == 31
    assert kept_bytes < 2_000_000
    tiw_simulator.fault = None


async def test_forged_posts_do_not_fill_the_log(
    receiver: CallbackReceiver, tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        forged = callback(tiw_simulator, "algebra", key="guessed")
        assert await post(receiver, forged) == (403, REFUSAL)
    assert caplog.text.count("were refused") == 1
    assert KEY not in caplog.text


async def test_a_signature_that_cannot_be_encoded_is_a_forgery(
    receiver: CallbackReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        posted = b'{"ExpireTime": 1, "Sign": "\\ud800"}'
        assert await post(receiver, posted) == (403, REFUSAL)
    assert caplog.text.count("were refused") == 1
    assert "Traceback" not in caplog.text


async def test_invalid_task_ids_do_not_fill_the_log(
    receiver: CallbackReceiver, tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(5):
        assert await post(receiver, callback(tiw_simulator, " algebra")) == (403, REFUSAL)
    assert caplog.text.count("were refused") == 1
    assert "TaskId" in caplog.text
    assert "not received" not in caplog.text


async def test_a_connection_without_a_secret_is_read_and_logged_seldom(
    receiver: CallbackReceiver,
    tiw_simulator: Simulator,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(callback_connection, "_SETTINGS_S", 0.0)
    body = callback(tiw_simulator, "x", EventType="OnlineRecordStarted")
    assert (await post(receiver, body))[0] == 200
    connect(tiw_simulator, "school", extra={})
    for _ in range(20):
        assert await post(receiver, b"{}") == (403, REFUSAL)
    assert caplog.text.count("are not received") == 1
    assert caplog.text.count("were refused") == 1
    # A new secret is not noticed at once, because the connection is not read for each post.
    connect(tiw_simulator, "school", extra={"callback_secret": KEY})
    assert await post(receiver, body) == (403, REFUSAL)
    monkeypatch.setattr(callback_connection, "_RETRY_S", 0.0)
    assert (await post(receiver, body))[0] == 200


async def test_known_settings_are_used_while_airflow_cannot_read_the_connection(
    receiver: CallbackReceiver,
    tiw_simulator: Simulator,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    break_secrets: Callable[[], None],
) -> None:
    monkeypatch.setattr(callback_connection, "_SETTINGS_S", 0.0)
    monkeypatch.setattr(callback_connection, "_RETRY_S", 0.0)
    body = callback(tiw_simulator, "x", EventType="OnlineRecordStarted")
    break_secrets()
    monkeypatch.delenv("AIRFLOW_CONN_SCHOOL")
    assert (await post(receiver, body))[0] == 200
    assert (await post(receiver, b"{}"))[0] == 403
    # A receiver that starts now waits until it can read the connection.
    (mounted,) = callback_apps()
    starting = mounted["app"]
    for _ in range(2):
        assert await post(starting, body) == (503, REFUSAL)
    # Further posts do not fill the log with it.
    assert caplog.text.count("Callbacks for school wait") == 2
    assert caplog.text.count("were refused") == 2
    connect(tiw_simulator, "school", extra={"callback_secret": KEY})
    assert (await post(starting, body))[0] == 200


async def test_a_new_secret_needs_no_restart(
    receiver: CallbackReceiver,
    tiw_simulator: Simulator,
    connect: Connect,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    body = callback(tiw_simulator, "x", EventType="OnlineRecordStarted", key="a-new-one")
    assert (await post(receiver, body))[0] == 403
    connect(tiw_simulator, "school", extra={"callback_secret": "a-new-one"})
    monkeypatch.setattr(callback_connection, "_SETTINGS_S", 0.0)
    assert (await post(receiver, body))[0] == 200
    # Without a secret nothing is accepted.
    connect(tiw_simulator, "school", extra={})
    assert await post(receiver, body) == (403, REFUSAL)
    assert "has no callback_secret" in caplog.text


async def test_a_weak_secret_is_a_warning(
    receiver: CallbackReceiver,
    tiw_simulator: Simulator,
    connect: Connect,
    caplog: pytest.LogCaptureFixture,
) -> None:
    connect(tiw_simulator, "school", extra={"callback_secret": "ab1cd"})
    for _ in range(3):
        assert callback_apps() != []
    assert caplog.text.count("callback key of 5 characters is in use") == 1
    assert "ab1cd" not in caplog.text


async def test_the_repr_of_the_settings_shows_no_secret(receiver: CallbackReceiver) -> None:
    settings = await receiver._connections["school"].settings()
    assert KEY not in repr(settings)


async def test_other_protocols_than_http_are_ignored(receiver: CallbackReceiver) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("nothing must be read or sent")

    await receiver({"type": "websocket"}, never, never)


# The events in Airflow's own tables


def published() -> dict[str, list[str]]:
    """Return the recordings of the stored events, by asset."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session

    with create_session() as session:
        events = session.execute(
            select(AssetModel.name, AssetEvent.extra)
            .join(AssetEvent, AssetEvent.asset_id == AssetModel.id)
            .order_by(AssetEvent.id)
        )
        found: dict[str, list[str]] = {}
        for name, extra in events:
            recording = extra.get("payload", extra)
            found.setdefault(name, []).append(recording["record_task_id"])
        return found


async def test_each_asset_accepts_by_its_own_terms(
    receiver: CallbackReceiver,
    tiw_simulator: Simulator,
    use: Callable[[Asset], int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    receiver._sink = EventSink()
    tiw_simulator.add("odd", timeline=[], finish_reason="EXCEPTION")
    tiw_simulator.add("empty", timeline=[], videos=[])
    (good,) = tiw_simulator.add_finished(1)
    of_school: Any = {"tencentcloud_conn_id": "school"}
    use(assets.tiw_online_record_asset("strict", **of_school))
    use(assets.tiw_online_record_asset("often", **of_school, poll_interval=2, include_failed=True))
    # Neither of these gets an event: one is of given recordings, the other of another connection.
    use(
        assets.tiw_online_record_asset(
            "given", **of_school, record_task_ids=[good], poll_interval=2
        )
    )
    use(assets.tiw_online_record_asset("theirs", tencentcloud_conn_id="School", watch=False))
    use(assets.tiw_online_record_asset("each", **of_school, partitioned=True, require_videos=False))
    lenient: Any = {"sdk_app_id": tiw_simulator.sdk_app_id}
    lenient["accept_finish_reasons"] = ["EXCEPTION"]
    use(assets.tiw_online_record_asset("lenient", **of_school, **lenient, watch=False))
    for _ in range(2):
        for task_id in ("odd", "empty", good):
            assert (await post(receiver, callback(tiw_simulator, task_id)))[0] == 200
    assert published() == {
        "strict": [good],
        "often": [good],
        "each": ["empty", good],
        "lenient": ["odd"],
    }
    assert "EXCEPTION" in caplog.text
    assert "Not published to strict." in caplog.text


def watch(asset_id: int) -> None:
    """Give an asset a watcher, as the DAG processor does."""
    from airflow.models.asset import AssetModel, AssetWatcherModel
    from airflow.models.trigger import Trigger
    from airflow.utils.session import create_session

    with create_session() as session:
        trigger = Trigger(classpath="x", kwargs={})
        session.add(trigger)
        session.flush()
        model = session.get_one(AssetModel, asset_id)
        model.watchers.append(AssetWatcherModel(name="x", trigger_id=trigger.id))


class StateOf:
    """The state of an asset, as a trigger has it, stored by Airflow's own backend."""

    def __init__(self, asset_id: int) -> None:
        from airflow._shared.state import AssetScope
        from airflow.state import get_state_backend

        self._scope = AssetScope(asset_id=asset_id)
        self._backend = get_state_backend()

    def get(self, key: str) -> Any:
        return json.loads(self._backend.get(self._scope, key) or "null")

    def set(self, key: str, value: Any) -> None:
        self._backend.set(self._scope, key, json.dumps(value))

    def delete(self, key: str) -> None:
        self._backend.delete(self._scope, key)


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 keeps state for an asset")
@pytest.mark.parametrize("is_stored", [True, False])
async def test_a_callback_waits_for_the_event_of_a_watcher(
    is_stored: bool,
    receiver: CallbackReceiver,
    connect: Connect,
    use: Callable[[Asset], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Airflow stores a trigger's event a moment later, or never if the trigger is killed."""
    from airflow.assets.manager import asset_manager
    from airflow.models.asset import AssetModel
    from airflow.models.asset_state_store import AssetStateStoreModel
    from airflow.utils.session import create_session

    monkeypatch.setattr(callback_receiver, "_ANSWER_WITHIN_S", 0.3)
    monkeypatch.setattr(callback_receiver, "_LOOK_AGAIN_S", 0.05)
    receiver._sink = EventSink()
    asset = assets.tiw_online_record_asset(tencentcloud_conn_id="school", poll_interval=0.2)
    asset_id = use(asset)
    watch(asset_id)
    quiet = assets.tiw_online_record_asset(tencentcloud_conn_id="school", watch=False)
    use(quiet)
    trigger: Any = asset.watchers[0].trigger
    trigger.asset_state_store = StateOf(asset_id)
    with Simulator(speed=10, region="ap-guangzhou") as chinese:
        extra = {"region": "ap-guangzhou", "callback_secret": KEY}
        connect(chinese, "school", extra=extra)
        monkeypatch.setattr(callback_connection, "_SETTINGS_S", 0.0)
        chinese.add("algebra", timeline=[{"RECORDING": 1000}])
        events = trigger.run()
        first = asyncio.ensure_future(anext(events))
        # The list of running tasks names it only while it runs.
        async with asyncio.timeout(30):
            while "algebra" not in chinese.requests_by_task:
                await asyncio.sleep(0.05)
        chinese.advance(2000)
        event = await asyncio.wait_for(first, 20)
        assert event.payload["record_task_id"] == "algebra"
        # The asset without a watcher gets its event without that of the watcher.
        async with asyncio.timeout(20):
            while not published():
                assert await post(receiver, callback(chinese, "algebra")) == (503, REFUSAL)
        assert await post(receiver, callback(chinese, "algebra")) == (503, REFUSAL)
        assert published() == {quiet.name: ["algebra"]}
        with create_session() as session:
            if is_stored:
                # As Airflow's triggerer does.
                payload = {"from_trigger": True, "payload": event.payload}
                model = session.get_one(AssetModel, asset_id)
                asset_manager.register_asset_change(asset=model, extra=payload, session=session)
            else:
                long_ago = datetime.now(UTC) - timedelta(seconds=31)
                session.execute(update(AssetStateStoreModel).values(updated_at=long_ago))
        assert (await post(receiver, callback(chinese, "algebra")))[0] == 200
        await events.aclose()
    assert published() == {quiet.name: ["algebra"], asset.name: ["algebra"]}


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="Airflow 3.3 keeps state for an asset")
def test_an_old_key_for_a_trigger_is_removed(use: Callable[[Asset], int]) -> None:
    from airflow.models.asset_state_store import AssetStateStoreModel
    from airflow.utils.session import create_session

    asset_id = use(assets.tiw_online_record_asset())
    watch(asset_id)
    now = datetime.now(UTC)
    ages = {"tiw_told_old": 31, "tiw_told_young": 29, "tiw_announced_x": 400, "tiwXtold_x": 400}
    with create_session() as session:
        for key, days in ages.items():
            at = now - timedelta(days=days)
            session.add(
                AssetStateStoreModel(asset_id=asset_id, key=key, value="true", updated_at=at)
            )
    answer = {"Status": "FINISHED", "VideoInfos": [{"VideoUrl": "https://v.example/1.mp4"}]}
    record = OnlineRecord.from_response(answer, sdk_app_id=14, task_id="a")
    end = Outcome(14, "a", Verdict.FINISHED, record)
    assert EventSink().store("tencentcloud_default", 14, 14, end) != []
    with create_session() as session:
        keys = set(session.scalars(select(AssetStateStoreModel.key)))
    expected = {"tiw_told_young", "tiw_announced_x", "tiwXtold_x", published_key(event_id(14, "a"))}
    assert keys == expected
