# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

import pytest

from tiw_automation.airflow import callback_receiver
from tiw_automation.airflow.callback_receiver import CallbackReceiver, callback_apps
from tiw_automation.airflow.plugin import TiwCallbackPlugin
from tiw_automation.core import confirmation
from tiw_automation.core.callbacks import MAX_BODY_BYTES, sign
from tiw_automation.simulator import Simulator

Connect = Callable[..., None]
KEY = "a-callback-key-of-the-tests"
REFUSAL = {"error_code": 1}


class Sink:
    """Where events go, without a database."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.stored: list[str] = []

    def wants(self, conn_id: str, sdk_app_id: int, own_app_id: int | None, event_id: str) -> bool:
        if self.fails:
            raise OSError("the database is away")
        return event_id not in self.stored

    def store(self, *whose: Any) -> list[str]:
        self.stored.append(whose[-1]["event_id"])
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


# What is mounted


def test_it_is_off_by_default() -> None:
    assert callback_apps() == []


def test_airflow_finds_it_by_its_entry_point() -> None:
    (found,) = [e for e in entry_points(group="airflow.plugins") if e.name == "tiw_callbacks"]
    assert found.load() is TiwCallbackPlugin


def test_other_processes_load_nothing_of_it() -> None:
    program = (
        "import sys; from tiw_automation.airflow.plugin import TiwCallbackPlugin; "
        "TiwCallbackPlugin(); print([m for m in sys.modules if m.startswith(("
        "'tiw_automation.core', 'tiw_automation.airflow.c', 'tencentcloud'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "[]"


def test_the_api_server_is_given_the_app(
    tiw_simulator: Simulator, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(tiw_simulator, "school", extra={"callback_secret": KEY})
    monkeypatch.setenv("AIRFLOW__TIW__CALLBACK_CONN_IDS", " school, school ,")
    program = (
        "from tiw_automation.airflow.plugin import TiwCallbackPlugin as P; "
        "print(P.fastapi_apps[0]['url_prefix'], P().fastapi_apps is P.fastapi_apps)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().splitlines()[-1] == "/tiw/callbacks True"


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


async def test_who_posts_at_once_is_asked_for_once(
    receiver: CallbackReceiver, tiw_simulator: Simulator
) -> None:
    (done,) = tiw_simulator.add_finished(1)
    body = callback(tiw_simulator, done)
    answers = await asyncio.gather(*(post(receiver, body) for _ in range(20)))
    assert answers == [(200, {"error_code": 0})] * 20
    assert tiw_simulator.requests == {"DescribeOnlineRecord": 1}


@pytest.mark.parametrize("kind", ["OnlineRecordStarted", "OnlineRecordStopped", "SomethingNew"])
async def test_what_is_no_end_is_taken_note_of(
    kind: str, receiver: CallbackReceiver, tiw_simulator: Simulator
) -> None:
    body = callback(tiw_simulator, "algebra", EventType=kind)
    assert await post(receiver, body) == (200, {"error_code": 0})
    assert tiw_simulator.requests == {}


async def test_an_end_that_is_not_seen_yet_is_posted_again(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_receiver, "_ANSWER_WITHIN_S", 0.3)
    monkeypatch.setattr(confirmation, "LAG_POLL_S", 0.1)
    tiw_simulator.add("early", timeline=[{"STOPPED": 10}])
    body = callback(tiw_simulator, "early")
    assert await post(receiver, body) == (503, REFUSAL)
    assert receiver._sink.stored == []  # type: ignore[attr-defined]
    # It is asked for all the same, so that the next post finds it done.
    tiw_simulator.advance(20)
    async with asyncio.timeout(10):
        while receiver._under_way:
            await asyncio.sleep(0.02)
    assert len(receiver._sink.stored) == 1  # type: ignore[attr-defined]
    assert await post(receiver, body) == (200, {"error_code": 0})


async def test_a_failed_recording_makes_no_event(
    receiver: CallbackReceiver, tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    tiw_simulator.add("broken", error={"message": "code: 40004, msg: now, im login failed"})
    assert (await post(receiver, callback(tiw_simulator, "broken")))[0] == 200
    assert receiver._sink.stored == []  # type: ignore[attr-defined]
    assert "im login failed" in caplog.text


async def test_keys_that_are_wrong_are_told_of_in_the_log_alone(
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


async def test_a_database_that_is_away_is_told_of_in_the_log_alone(
    receiver: CallbackReceiver, tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    receiver._sink = Sink(fails=True)  # type: ignore[assignment]
    assert await post(receiver, callback(tiw_simulator, "algebra")) == (503, REFUSAL)
    assert "the database is away" in caplog.text


async def test_there_is_an_end_to_how_many_wait(
    receiver: CallbackReceiver, tiw_simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callback_receiver, "_MOST_AT_ONCE", 0)
    assert await post(receiver, callback(tiw_simulator, "algebra")) == (503, REFUSAL)
    assert tiw_simulator.requests == {}


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ({"chunks": [b" " * (MAX_BODY_BYTES + 1)]}, 413),
        ({"chunks": [b" " * 65536] * 17}, 413),
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
async def test_what_is_refused(
    given: dict[str, Any],
    status: int,
    receiver: CallbackReceiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(callback_receiver, "_BODY_WITHIN_S", 0.2)
    chunks = given.pop("chunks")
    assert await post(receiver, *chunks, **given) == (status, REFUSAL)


async def test_forged_posts_do_not_fill_the_log(
    receiver: CallbackReceiver, tiw_simulator: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(50):
        forged = callback(tiw_simulator, "algebra", key="guessed")
        assert await post(receiver, forged) == (403, REFUSAL)
    assert caplog.text.count("were refused") == 1
    assert KEY not in caplog.text


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
    monkeypatch.setattr(callback_receiver, "_SETTINGS_S", 0.0)
    assert (await post(receiver, body))[0] == 200
    # And one that is taken away closes the door.
    connect(tiw_simulator, "school", extra={})
    assert await post(receiver, body) == (403, REFUSAL)
    assert "has no callback_secret" in caplog.text


async def test_what_it_knows_is_never_shown(receiver: CallbackReceiver) -> None:
    settings = await receiver._sources["school"].settings()
    assert KEY not in repr(settings)


async def test_what_is_no_http_is_left_alone(receiver: CallbackReceiver) -> None:
    async def never(*_: Any) -> Any:
        raise AssertionError("nothing is to be said")

    await receiver({"type": "websocket"}, never, never)
