# SPDX-License-Identifier: Apache-2.0
"""Tasks of every kind are created, waited for and found again after a lost answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tiw_automation.core import (
    TASK_KINDS,
    Callback,
    ConfigurationError,
    OnlineRecord,
    RecordWatcher,
    StartUncertain,
    TaskFailed,
    TaskFailure,
    TaskNotFound,
    TiwClient,
    TiwError,
    TiwTask,
    Verdict,
    WaitTimeout,
    hint_waits,
)
from tiw_automation.core.retry import Retry, RetryBudget
from tiw_automation.simulator import Simulator

DECK = "https://example.com/lesson.pptx"
OPTIONS: dict[str, dict[str, Any]] = {
    "online_record": {"room_id": 5, "record_user_sig": "sig"},
    "whiteboard_push": {"room_id": 5, "push_user_sig": "sig"},
    "transcode": {"url": DECK},
    "ppt_check": {"url": DECK},
    "snapshot": {"room_id": 5, "whiteboard": {"width": 640}},
    "video_generation": {"online_record_task_id": "lesson"},
}


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(region="ap-guangzhou", speed=100, limit=0) as running:
        running.add("lesson", age=3600)
        yield running


@pytest.fixture
def client(simulator: Simulator) -> Iterator[TiwClient]:
    with TiwClient(**simulator.settings(), requests_per_second=200) as opened:
        opened._retry = Retry(RetryBudget(6), sleep=lambda _: None)
        yield opened


def wait(client: TiwClient, task: TiwTask, **terms: Any) -> OnlineRecord | TiwTask:
    async def run() -> OnlineRecord | TiwTask:
        watcher = RecordWatcher(client)
        found: OnlineRecord | TiwTask = await watcher.wait(
            task.task_id, task_kind=task.task_kind, poll_interval=0.05, timeout=30, **terms
        )
        return found

    return asyncio.run(run())


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_a_task_of_every_kind_is_created_and_ends(
    simulator: Simulator, client: TiwClient, kind: str
) -> None:
    created = client.create_task(kind, **OPTIONS[kind])
    assert (created.task_kind, created.status) == (kind, None)
    simulator.advance(60)
    if kind == "online_record":
        client.stop_online_record(created.task_id)
    if kind == "whiteboard_push":
        assert client.stop_whiteboard_push(created.task_id) is True
        assert client.stop_whiteboard_push(created.task_id) is False
    ended = wait(client, created)
    assert ended.status == TASK_KINDS[kind].states[-1][0]
    urls = ended.urls if isinstance(ended, TiwTask) else ended.video_urls
    assert bool(urls) is (kind not in ("whiteboard_push", "ppt_check"))
    assert simulator.requests[TASK_KINDS[kind].create_action] == 1


def test_the_parameters_of_a_create_are_sent_by_nothing_else(
    simulator: Simulator, client: TiwClient
) -> None:
    params = client.create_task_params("transcode", url=DECK, is_static_ppt=True)
    assert params == {"SdkAppId": simulator.sdk_app_id, "Url": DECK, "IsStaticPPT": True}
    assert not simulator.requests


@pytest.mark.parametrize("fault", ["answer_lost", "truncated", "bad_json"])
@pytest.mark.parametrize("kind", ["whiteboard_push", "transcode"])
def test_a_lost_answer_is_found_again(
    simulator: Simulator, client: TiwClient, kind: str, fault: str
) -> None:
    earlier = client.create_task(kind, **OPTIONS[kind])
    if kind == "whiteboard_push":
        client.stop_whiteboard_push(earlier.task_id)
    action = TASK_KINDS[kind].create_action
    simulator.inject(fault, times=1, action=action)
    found = client.create_task(kind, **OPTIONS[kind])
    assert found.task_id != earlier.task_id
    assert simulator.requests[action] == 2


@pytest.mark.parametrize("kind", ["transcode", "ppt_check", "snapshot", "video_generation"])
def test_a_create_in_doubt_is_never_repeated(
    simulator: Simulator, client: TiwClient, kind: str
) -> None:
    action = TASK_KINDS[kind].create_action
    # The connection ends before the request is carried out, which the client cannot know.
    simulator.inject("reset", times=1, action=action)
    with pytest.raises(StartUncertain) as caught:
        client.create_task(kind, **OPTIONS[kind])
    assert caught.value.action == action
    assert DECK not in str(caught.value)
    assert simulator.requests[action] <= 1


def test_a_push_that_was_not_started_is_started_again(
    simulator: Simulator, client: TiwClient
) -> None:
    simulator.inject("reset", times=1, action="StartWhiteboardPush")
    created = client.create_task("whiteboard_push", **OPTIONS["whiteboard_push"])
    assert wait(client, created, until="PUSHING").status == "PUSHING"


def test_a_transcode_without_the_look_up_is_uncertain(
    simulator: Simulator, client: TiwClient
) -> None:
    simulator.inject("server_error", action="DescribeTranscodeByUrl", code="UnauthorizedOperation")
    simulator.inject("answer_lost", times=1, action="CreateTranscode")
    with pytest.raises(StartUncertain):
        client.create_task("transcode", url=DECK)
    assert simulator.requests["CreateTranscode"] == 1


def test_a_push_user_in_use_is_found(simulator: Simulator, client: TiwClient) -> None:
    options = {**OPTIONS["whiteboard_push"], "push_user_id": "tic_push_user_5_a"}
    first = client.create_task("whiteboard_push", **options)
    assert client.create_task("whiteboard_push", **options).task_id == first.task_id


def test_a_push_names_its_backup(client: TiwClient) -> None:
    backup = {"push_user_id": "tic_push_user_5_b", "push_user_sig": "sig"}
    created = client.create_task("whiteboard_push", **OPTIONS["whiteboard_push"], backup=backup)
    second = created.result["backup"]["task_id"]
    assert second != created.task_id
    # A slow machine may see it push already.
    assert client.describe_task("whiteboard_push", second).status in ("PREPARED", "PUSHING")


def test_the_newest_transcode_of_a_url(client: TiwClient) -> None:
    assert client.find_transcode(DECK) is None
    client.create_task("transcode", url=DECK)
    newest = client.create_task("transcode", url=DECK)
    found = client.find_transcode(DECK)
    assert found is not None
    assert found.task_id == newest.task_id


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("transcode", "FailedOperation.FileOpenFail"),
        ("transcode", "InvalidParameter.FileFormatUnsupported"),
        ("ppt_check", "FailedOperation.FileDownloadFail"),
        ("whiteboard_push", "FailedOperation.WhiteboardPush"),
        ("video_generation", "FailedOperation.Record"),
    ],
)
def test_a_failed_task_ends_its_wait(
    simulator: Simulator, client: TiwClient, kind: str, failure: str
) -> None:
    task_id = simulator.add_task(kind, failure=failure, duration_s=1)
    with pytest.raises(TaskFailed) as caught:
        wait(client, TiwTask(simulator.sdk_app_id, kind, task_id))
    assert caught.value.code == failure
    with pytest.raises(TaskFailure):
        client.describe_task(kind, task_id)


def test_an_id_of_another_kind(simulator: Simulator, client: TiwClient) -> None:
    task_id = simulator.add_task("transcode")
    with pytest.raises(TaskNotFound, match="another kind"):
        client.describe_task("ppt_check", task_id)


def test_kinds_share_a_watcher_and_not_their_ids(simulator: Simulator, client: TiwClient) -> None:
    simulator.add("same", age=3600)
    simulator.add_task("transcode", "same", duration_s=0)

    async def run() -> None:
        watcher = RecordWatcher(client)
        record, deck = await asyncio.gather(
            watcher.wait("same", timeout=30), watcher.wait("same", task_kind="transcode")
        )
        assert record.video_urls
        assert deck.urls
        assert watcher.stats().polls == 2

    asyncio.run(run())


def test_a_callback_hints_the_wait_of_any_kind(simulator: Simulator, client: TiwClient) -> None:
    task_id = simulator.add_task("transcode", duration_s=10**6)
    about: dict[str, Any] = {"sdk_app_id": simulator.sdk_app_id, "task_id": task_id}

    async def run() -> None:
        watcher = RecordWatcher(client)
        waiting = asyncio.ensure_future(
            watcher.wait(task_id, task_kind="transcode", poll_interval=3600)
        )
        async with asyncio.timeout(20):
            while not simulator.requests_by_task.get(task_id):
                await asyncio.sleep(0.01)
        simulator.advance(10**6)
        hint_waits(Callback(event_type="TranscodeProgressChanged", **about))
        hint_waits(Callback(event_type="TranscodeFinished", sdk_app_id=1))
        await asyncio.sleep(1)
        assert watcher.polls == 1
        hint_waits(Callback(event_type="SomethingNew", **about))
        async with asyncio.timeout(20):
            assert (await waiting).status == "FINISHED"

    asyncio.run(run())


def test_until_knows_the_states_of_the_kind(simulator: Simulator, client: TiwClient) -> None:
    task = TiwTask(simulator.sdk_app_id, "transcode", simulator.add_task("transcode"))
    with pytest.raises(ConfigurationError, match="QUEUED, PROCESSING, FINISHED"):
        wait(client, task, until="STOPPED")
    simulator.advance(3600)
    with pytest.raises(TiwError, match="cannot become QUEUED any more"):
        wait(client, task, until="QUEUED")


def test_a_timeout_names_the_kind(simulator: Simulator, client: TiwClient) -> None:
    task_id = simulator.add_task("ppt_check", duration_s=10**6)

    async def run() -> None:
        watcher = RecordWatcher(client)
        with pytest.raises(WaitTimeout, match=r"PPT check .* was not FINISHED within 0\.3 s"):
            await watcher.wait(task_id, task_kind="ppt_check", timeout=0.3, poll_interval=0.05)
        outcomes = [one async for one in watcher.describe([task_id], task_kind="ppt_check")]
        assert [one.verdict for one in outcomes] == [Verdict.PENDING]

    asyncio.run(run())


@pytest.mark.parametrize("kind", TASK_KINDS)
def test_odd_answers_end_no_wait_wrongly(kind: str) -> None:
    with Simulator(region="ap-guangzhou", speed=100, limit=0, odd=True) as odd:
        odd.add("lesson", age=3600)
        with TiwClient(**odd.settings(), requests_per_second=200) as client:
            task_id = "lesson" if kind == "online_record" else odd.add_task(kind, duration_s=1)
            if kind == "whiteboard_push":
                client.stop_whiteboard_push(task_id)
            ended = wait(client, TiwTask(odd.sdk_app_id, kind, task_id))
            assert ended.status == TASK_KINDS[kind].states[-1][0]
