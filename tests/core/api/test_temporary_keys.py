# SPDX-License-Identifier: Apache-2.0
"""The renewal of keys: how often, in which thread, and what calls do meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tiw_automation.core import (
    AuthFailure,
    CredentialsError,
    DeadlineExceeded,
    RecordWatcher,
    ServerError,
    TiwClient,
    TiwError,
    TransportError,
)
from tiw_automation.core.api.credentials import Credentials, RenewedKeys
from tiw_automation.core.api.roles import InstanceRole, WebIdentityRole
from tiw_automation.core.quota.quota import Quota, Slot
from tiw_automation.simulator import Simulator


@pytest.fixture
def simulator(tiw_simulator: Simulator) -> Simulator:
    return tiw_simulator


ROLE = "qcs::cam::uin/100000000001:roleName/reader"


def once() -> Slot:
    return Slot(Quota(1000), time.monotonic())


class Numbered(RenewedKeys):
    """Numbered keys; ``now`` is the machine's clock, ``server_now`` the server's."""

    def __init__(self, life: float = 7200.0) -> None:
        super().__init__(clock=lambda: self.now)
        self.now = self.server_now = 1_700_000_000.0
        self.life = life
        self.fetched = 0
        self.failure: Exception | None = None
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.shows_its_time = True

    @property
    def identity(self) -> str:
        return "account"

    def fetch(self) -> Credentials:
        self.fetched += 1
        number = self.fetched
        assert self.may_go_on.wait(30)
        if self.failure is not None:
            raise self.failure
        self.saw_server_time(self.server_now if self.shows_its_time else None)
        return Credentials(f"id{number}", "key", "token", "x", self.server_now + self.life)


def in_threads(count: int, work: Callable[[], Any]) -> list[Any]:
    """Return what ``work`` returned or raised in each thread, and how long it took (s)."""
    found: list[Any] = []
    ready = threading.Barrier(count)

    def run() -> None:
        ready.wait()
        started = time.monotonic()
        try:
            result = work()
        except TiwError as error:
            result = error
        found.append((result, time.monotonic() - started))

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == count
    return found


def test_one_renewal_serves_all_callers() -> None:
    source = Numbered()
    source.may_go_on.clear()
    threading.Timer(0.2, source.may_go_on.set).start()
    found = in_threads(16, source.current)
    assert {keys.secret_id for keys, _ in found} == {"id1"}
    assert source.fetched == 1


def test_one_renewal_serves_all_callers_with_refused_keys() -> None:
    source = Numbered()
    refused = source.current()
    source.may_go_on.clear()
    threading.Timer(0.2, source.may_go_on.set).start()
    assert [changed for changed, _ in in_threads(16, lambda: source.renew(refused))] == [True] * 16
    assert source.fetched == 2


def test_each_caller_waits_no_longer_than_its_own_call_may_take() -> None:
    source = Numbered()
    source.may_go_on.clear()
    try:
        for error, seconds in in_threads(16, lambda: source.current(0.2)):
            assert isinstance(error, DeadlineExceeded)
            assert error.retryable
            assert seconds < 1
        assert source.fetched == 1
    finally:
        source.may_go_on.set()
    assert source.current(5).secret_id == "id1"


def test_the_old_keys_are_used_while_they_last() -> None:
    source = Numbered()
    source.current()
    source.now = source.server_now = source.now + 6700
    source.may_go_on.clear()
    try:
        assert source.current(0.05).secret_id == "id1"
    finally:
        source.may_go_on.set()


@pytest.mark.parametrize("shows_its_time", [True, False])
@pytest.mark.parametrize("ahead", [3 * 3600.0, -3 * 3600.0, 400 * 86400.0])
def test_a_wrong_clock_does_not_renew_more_often(ahead: float, shows_its_time: bool) -> None:
    source = Numbered()
    source.now += ahead
    source.shows_its_time = shows_its_time
    for _ in range(10):
        source.current()
        source.current()
    assert source.fetched == 1
    if shows_its_time:
        source.now += 6599
        assert source.current().secret_id == "id1"
        source.now += 1
        source.server_now += 6600
        assert source.current().secret_id == "id2"


def test_a_clock_that_is_set_back_does_not_keep_keys_forever() -> None:
    source = Numbered()
    source.now += 3 * 3600
    refused = source.current()
    source.now -= 3 * 3600
    assert source.current() == refused
    assert source.renew(refused)
    assert source.current().secret_id == "id2"


def test_keys_that_are_always_refused_are_renewed_once_in_ten_seconds() -> None:
    source = Numbered()
    assert source.renew(source.current())
    with pytest.raises(TransportError, match="refused again") as caught:
        source.renew(source.current())
    assert caught.value.retryable
    assert source.fetched == 2
    source.now += 10
    assert source.renew(source.current())
    assert source.fetched == 3


@pytest.mark.parametrize(
    "failure",
    [
        CredentialsError("the metadata service is down"),
        ServerError("down"),
        TransportError("no route"),
        OSError("too many open files"),
        KeyError("x"),
    ],
)
def test_a_failed_renewal_can_be_retried(failure: Exception) -> None:
    source = Numbered()
    refused = source.current()
    source.failure = failure
    errors = [error for error, _ in in_threads(4, lambda: source.renew(refused))]
    errors += [error for error, _ in in_threads(4, source.current)]
    assert all(isinstance(error, TiwError) and error.retryable for error in errors)
    # Each caller has an error of its own.
    assert len({id(error) for error in errors}) == len(errors)
    source.failure = None
    assert source.current().secret_id != refused.secret_id


def test_no_thread_for_a_renewal(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    source = Numbered()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(TransportError, match="can't start new thread") as caught:
            source.current()
    assert caught.value.retryable
    assert source.current().secret_id == "id1"


def in_a_child(work: Callable[[], object], seconds: float = 10) -> int | None:
    """Return the exit code of a forked child that runs ``work``, or None if it hangs."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            return code
        time.sleep(0.02)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return None


def test_a_child_does_not_wait_for_its_parents_renewal() -> None:
    source = Numbered()
    source.may_go_on.clear()
    thread = threading.Thread(target=source.current, daemon=True)
    thread.start()
    while not source.fetched:
        time.sleep(0.01)

    def work() -> None:
        source.may_go_on = threading.Event()
        source.may_go_on.set()
        assert source.current(5).secret_id == "id2"

    try:
        assert in_a_child(work) == 0
        with source._lock:
            assert in_a_child(work) == 0
    finally:
        source.may_go_on.set()
        thread.join(5)


def test_a_child_finds_files_of_keys_unlocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ".tccli" / "default.credential"
    path.parent.mkdir()
    path.write_text('{"secretId": "a", "secretKey": "b"}')
    monkeypatch.setenv("HOME", str(tmp_path))
    source: Any = TiwClient().settings.credentials
    with source._lock:
        assert in_a_child(source.current) == 0


def metadata_of(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TIW_METADATA_ENDPOINT", url)


def test_clients_wait_for_silent_metadata_at_the_same_time(
    rude: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rude.rude_server(rude.silent) as (port, _):
        metadata_of(monkeypatch, f"http://127.0.0.1:{port}")
        for error, seconds in in_threads(16, lambda: TiwClient(sdk_app_id=1, timeout=0.5)):
            assert isinstance(error, CredentialsError)
            assert seconds < 1.9


def test_calls_wait_for_silent_metadata_at_the_same_time(
    simulator: Simulator, rude: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nrole"
    (task_id,) = simulator.add_finished(1)
    with rude.rude_server(rude.answers(names)) as (port, _):
        metadata_of(monkeypatch, f"http://127.0.0.1:{port}")
        client = TiwClient(endpoint=simulator.endpoint, sdk_app_id=1400000001, timeout=0.5)
        with client:
            calls = in_threads(16, lambda: client.describe_online_record(task_id, slot=once()))
        for error, seconds in calls:
            assert isinstance(error, TransportError)
            assert error.retryable
            assert seconds < 1.9


@pytest.mark.parametrize("ahead", [3 * 3600, -3 * 3600])
def test_an_instances_keys_with_a_wrong_clock(ahead: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[float] = []
    fetch = InstanceRole.fetch

    def counted(role: InstanceRole) -> Credentials:
        fetched.append(time.monotonic())
        return fetch(role)

    monkeypatch.setattr(InstanceRole, "fetch", counted)
    with Simulator(metadata_role="reader", clock=lambda: time.time() - ahead) as simulator:
        (task_id,) = simulator.add_finished(1)
        metadata_of(monkeypatch, simulator.endpoint)
        client = TiwClient(endpoint=simulator.endpoint, sdk_app_id=simulator.sdk_app_id)
        for _ in range(10):
            assert client.describe_online_record(task_id, slot=once()).status == "FINISHED"
        source: Any = client.settings.credentials
        assert abs(source.clock_offset_s + ahead) < 5
    assert len(fetched) == 1


async def test_waits_go_on_without_the_metadata_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The keys are refused, and no service gives others."""
    with Simulator(metadata_role="reader", limit=0) as simulator:
        ids = [
            simulator.add(f"lesson-{n}", timeline=[{"RECORDING": 3600}, {"STOPPED": 1}])
            for n in range(20)
        ]
        metadata_of(monkeypatch, simulator.endpoint)
        client = TiwClient(
            endpoint=simulator.endpoint, sdk_app_id=simulator.sdk_app_id, requests_per_second=100
        )
        watcher = RecordWatcher(client)
        waits = [
            asyncio.ensure_future(watcher.wait(task_id, poll_interval=0.2, timeout=60))
            for task_id in ids
        ]
        while simulator.requests.get("DescribeOnlineRecord", 0) < 20:
            await asyncio.sleep(0.05)
        simulator.metadata_role = None
        simulator.inject("server_error", times=1, code="AuthFailure.TokenFailure")
        await asyncio.sleep(1.5)
        assert not any(wait.done() for wait in waits)
        simulator.metadata_role = "reader"
        simulator.advance(4000)
        records = await asyncio.gather(*waits)
        assert {record.status for record in records} == {"FINISHED"}


def test_a_role_whose_service_cannot_be_reached(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIW_STS_ENDPOINT", "http://127.0.0.1:1")
    client = TiwClient(**simulator.settings(), role_arn=ROLE)
    with pytest.raises(TransportError, match=r"127\.0\.0\.1:1 could not be reached") as caught:
        client.describe_online_record("t", slot=once())
    assert caught.value.retryable


def pod(monkeypatch: pytest.MonkeyPatch, simulator: Simulator, token_file: Path) -> None:
    for name, value in {
        "TKE_ROLE_ARN": ROLE,
        "TKE_PROVIDER_ID": "cls-1",
        "TKE_REGION": "ap-guangzhou",
        "TKE_WEB_IDENTITY_TOKEN_FILE": str(token_file),
        "TIW_STS_ENDPOINT": simulator.endpoint,
        "TIW_ENDPOINT": simulator.endpoint,
    }.items():
        monkeypatch.setenv(name, value)


def test_a_pod_needs_no_key(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (task_id,) = simulator.add_finished(1)
    token = tmp_path / "token"
    token.write_text("header.first.signature\n")
    simulator.web_identity_token = "header.first.signature"
    pod(monkeypatch, simulator, token)
    client = TiwClient(sdk_app_id=simulator.sdk_app_id)
    assert isinstance(client.settings.credentials, WebIdentityRole)
    assert client.settings.credentials.identity == f"CAM role {ROLE}"
    for _ in range(3):
        assert client.describe_online_record(task_id).status == "FINISHED"
    assert simulator.requests["AssumeRoleWithWebIdentity"] == 1
    # Kubernetes replaces the token, and Tencent ends the keys.
    token.write_text("header.second.signature")
    simulator.web_identity_token = "header.second.signature"
    simulator.remove_account(client.settings.credentials.current().secret_id)
    assert client.describe_online_record(task_id).status == "FINISHED"
    assert simulator.requests["AssumeRoleWithWebIdentity"] == 2


def test_a_pod_whose_token_is_refused_or_not_there(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    pod(monkeypatch, simulator, token)
    client = TiwClient(sdk_app_id=simulator.sdk_app_id)
    with pytest.raises(CredentialsError, match="TKE_WEB_IDENTITY_TOKEN_FILE") as absent:
        client.describe_online_record("t")
    assert str(token) in str(absent.value)
    token.write_text("s3cret-token")
    with pytest.raises(TiwError, match="token of this pod") as caught:
        client.describe_online_record("t")
    assert caught.value.action == "AssumeRoleWithWebIdentity"
    assert not caught.value.retryable
    assert "s3cret-token" not in str(caught.value)


@pytest.mark.parametrize("skew_s", [3600, -3600])
def test_threads_with_a_wrong_clock(skew_s: int) -> None:
    """Each is refused at first, and each goes on."""
    with Simulator(clock=lambda: time.time() + skew_s) as simulator:
        (task_id,) = simulator.add_finished(1)
        with TiwClient(**simulator.settings()) as client:
            found = in_threads(10, lambda: client.describe_online_record(task_id, slot=once()))
        assert [getattr(record, "status", record) for record, _ in found] == ["FINISHED"] * 10


async def test_waits_with_a_wrong_clock() -> None:
    with Simulator(clock=lambda: time.time() + 3600) as simulator:
        ids = simulator.add_finished(30)
        client = TiwClient(**simulator.settings())
        watcher = RecordWatcher(client)
        records = await asyncio.gather(*(watcher.wait(task_id, timeout=60) for task_id in ids))
        assert {record.status for record in records} == {"FINISHED"}


def test_a_refusal_that_is_not_about_the_clock(simulator: Simulator) -> None:
    """The call is not repeated without limit, nor by each thread that has corrected its clock."""
    simulator.inject("server_error", times=4, code="AuthFailure.SignatureExpire")
    client = TiwClient(**simulator.settings())
    for _ in range(2):
        with pytest.raises(AuthFailure):
            client.describe_online_record("t", slot=once())
    assert client.requests_sent == 2
